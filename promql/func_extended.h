/*
 * Extended range selectors: anchored takes the last sample before the range as its first, smoothed
 * interpolates the values at both ends of the range.
 */
#pragma once

#include "promql/window.h"

/* Whether a range vector is anchored or smoothed. */
bool range_is_extended(const struct node *arg);

/* rate, increase or delta over the samples of an extended range. */
bool extended_rate(struct range_call *call,
                   const struct range_series *series,
                   bool is_counter,
                   bool is_rate,
                   struct step_series *out,
                   struct err *err);

/* Move *lo to the anchor of an anchored window; false when nothing lies behind the range start. */
bool extended_first(const struct range_call *call,
                    const struct range_series *series,
                    size_t step,
                    size_t *lo);

/* The points of an extended range as a query result; `points` has room for two more than the
 * series has samples. Returns their number. */
size_t extended_points(const struct range_series *series,
                       int64_t start_ms,
                       int64_t end_ms,
                       bool is_smoothed,
                       struct promql_point *points);
