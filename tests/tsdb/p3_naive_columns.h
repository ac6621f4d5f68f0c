/*
 * Further columns and native histograms of P3 a second time, after FORMAT.md alone, as plainly as
 * possible; encoders make any of the choices the format allows, at random (p3_naive.h).
 */
#pragma once

#include "tests/tsdb/p3_naive.h"
#include "tsdb/codec/p3_columns.h"
#include "tsdb/codec/p3_histogram.h"

void naive_put_starts(struct naive_random *random,
                      const int64_t *start_ms,
                      const int64_t *t_ms,
                      size_t count,
                      struct buf *out);
void naive_put_exemplars(struct naive_random *random,
                         const uint64_t *refs,
                         size_t count,
                         struct buf *out);
void naive_read_starts(struct reader *reader, const int64_t *t_ms, size_t count, int64_t *ret);
void naive_read_exemplars(struct reader *reader, size_t count, uint64_t *ret);

void naive_columns_encode(struct naive_random *random,
                          const struct p3_columns *columns,
                          const struct p3_group *group,
                          struct buf *out);
bool naive_columns_decode(const uint8_t *bytes,
                          size_t len,
                          const struct p3_bounds *bounds,
                          const struct p3_group *group,
                          const struct p3_columns_ret *ret);

/* All of them in one chunk: histograms of one kind within the limits of a chunk. */
void naive_histograms_encode(struct naive_random *random,
                             const struct p3_histograms *in,
                             bool is_group,
                             struct buf *out);
bool naive_histograms_decode(const uint8_t *bytes,
                             size_t len,
                             const struct p3_bounds *bounds,
                             const int64_t *group_t_ms,
                             struct arena *arena,
                             struct p3_histograms *ret);
