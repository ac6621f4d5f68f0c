/*
 * Columns a chunk may carry beside values and times, and the chunk that carries them (codec 5, "P3
 * with further columns"; native histograms have theirs in p3_histogram.h). FORMAT.md draws
 * the bytes. Ranges and bad input are those of p3.h.
 *
 * Start      When the counting behind a sample began, in Unix ms; 0 = unknown. Mostly the same for
 *            long, or the time of the sample before.
 * Exemplar   A reference of 64 bits that means something to whoever stores exemplars; 0 = none.
 */
#pragma once

#include "tsdb/codec/p3.h"

/* What a column takes at most. */
#define P3_COLUMN_BYTES_MAX(count) (1 + 8 * (size_t)(count))

/* A start for every time. Append a column; `scratch` has room for `count` elements. */
void p3_starts_encode(struct p3_encoder *encoder,
                      const int64_t *start_ms,
                      const int64_t *t_ms,
                      size_t count,
                      struct buf *out);
WARN_UNUSED bool p3_starts_decode(struct reader *reader,
                                  const int64_t *t_ms,
                                  size_t count,
                                  int64_t *ret_start_ms);

void p3_exemplars_encode(struct p3_encoder *encoder,
                         const uint64_t *refs,
                         size_t count,
                         struct buf *out);
WARN_UNUSED bool p3_exemplars_decode(struct reader *reader, size_t count, uint64_t *ret_refs);

/* Samples with what belongs to each. */
struct p3_columns {
    size_t count;
    const int64_t *t_ms;
    const double *values;
    const int64_t *start_ms;       /* NULL = none */
    const uint64_t *exemplar_refs; /* NULL = none */
};

/* Where decoding puts them: room for `count` elements each. The last two are NULL together: then
 * what is behind the times is not read. */
struct p3_columns_ret {
    int64_t *t_ms;
    double *values;
    int64_t *start_ms;       /* all 0 when the chunk has none */
    uint64_t *exemplar_refs; /* all 0 when the chunk has none */
};

/* What a chunk in a group leans on (p3.h). */
struct p3_group {
    const int64_t *t_ms;     /* NULL = the chunk has its own times */
    const double *neighbour; /* NULL = none; else t_ms is not NULL */
};

void p3_columns_encode(struct p3_encoder *encoder,
                       const struct p3_columns *columns,
                       const struct p3_group *group,
                       struct buf *out);
/* `group` as at encoding: refused when the chunk leans on times or a neighbour that are missing. */
WARN_UNUSED bool p3_columns_decode(const uint8_t *bytes,
                                   size_t len,
                                   const struct p3_bounds *bounds,
                                   const struct p3_group *group,
                                   const struct p3_columns_ret *ret);
