/*
 * Codec P3 a second time, after FORMAT.md alone and as plainly as possible: bit by bit, one element
 * at a time. The encoder makes any of the choices the format allows, at random, not the good ones.
 */
#pragma once

#include "tsdb/codec/p3.h"

struct naive_random {
    uint64_t state; /* not 0 */
};

uint64_t naive_random(struct naive_random *random);

void naive_encode(struct naive_random *random,
                  const int64_t *t_ms,
                  const double *values,
                  size_t count,
                  struct buf *out);
bool naive_decode(const uint8_t *bytes,
                  size_t len,
                  const struct p3_bounds *bounds,
                  int64_t *ret_t_ms,
                  double *ret_values);

/* A chunk in a group; neighbour may be NULL. */
void naive_group_encode(struct naive_random *random,
                        const double *values,
                        size_t count,
                        const double *neighbour,
                        struct buf *out);
bool naive_group_decode(const uint8_t *bytes,
                        size_t len,
                        size_t count,
                        const double *neighbour,
                        double *ret_values);

/* ---- columns ---- */

void naive_put_ints(struct naive_random *random,
                    const int64_t *ints,
                    size_t count,
                    struct buf *out);
void naive_put_values(struct naive_random *random,
                      const double *values,
                      size_t count,
                      const double *neighbour,
                      struct buf *out);
void naive_put_times(struct naive_random *random,
                     const int64_t *t_ms,
                     size_t count,
                     struct buf *out);
/* What is malformed sets reader->is_bad. */
void naive_read_ints(struct reader *reader, size_t count, int64_t *ret);
void naive_read_values(struct reader *reader, size_t count, const double *neighbour, double *ret);
void naive_read_times(struct reader *reader, const struct p3_bounds *bounds, int64_t *ret);
