/*
 * Prometheus durations. Units ms, s, m, h, d (24 h), w (7 d), y (365 d), in descending order,
 * each at most once: "1h30m", "0". Source: prometheus/common model.ParseDuration.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

WARN_UNUSED bool duration_parse(struct str text, int64_t *ret_ms, struct err *err);

/* Prometheus' printing: 5400000 -> "1h30m", 0 -> "0s", 86400000 -> "1d". */
void duration_print(struct buf *buf, int64_t duration_ms);

/* "512MB", "10GiB", "0": powers of 1024 for every unit, as Prometheus' flags do. */
WARN_UNUSED bool bytes_parse(struct str text, uint64_t *ret_bytes, struct err *err);
