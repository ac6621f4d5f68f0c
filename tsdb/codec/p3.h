/*
 * Codec P3: a sealed chunk as a column of values and a column of times, bit-exact for every double
 * and every int64 (FORMAT.md, "Chunk payloads"). Values become decimal integers where they can,
 * then small residuals, then packed blocks. Made once, when nothing more is appended.
 *
 * Ranges     1 <= count <= P3_SAMPLES_MAX. A column never takes more than 1 byte + 8 per sample.
 * Bad input  Decoders take any bytes: false when they are malformed; they write inside
 *            ret[0, count) either way and leave the reader behind the column when true.
 *
 * Groups     Chunks of series that were sampled together can lean on another chunk's columns
 *            instead of repeating them (codec 3, below). Who stores them keeps both in one place
 *            and hands the decoded columns back.
 */
#pragma once

#include "tsdb/codec/bytes.h"

#define P3_SAMPLES_MAX 65535

/* What a payload of either codec takes at most. */
#define P3_BYTES_MAX(count) (2 + 16 * (size_t)(count))

/* What is known of a chunk beside its payload: its header stores these. */
struct p3_bounds {
    size_t count;
    int64_t t_min_ms; /* time of the first sample */
    int64_t t_max_ms; /* of the last */
};

/* Working memory, reused from chunk to chunk. All fields are private. */
struct p3_encoder {
    int64_t *ints;
    int64_t *ulps;
    uint64_t *residuals;
    struct p3_run *runs;
    uint8_t *best;
    uint8_t *trial;
    size_t cap; /* samples */
};

void p3_encoder_init(struct p3_encoder *encoder);
void p3_encoder_finish(struct p3_encoder *encoder); /* also fine on a zeroed one */
/* Make room for chunks of `count` samples; the encoding functions do it themselves. */
void p3_encoder_reserve(struct p3_encoder *encoder, size_t count);

/* Append a column to `out`. `neighbour`: as in groups, below; NULL = none. */
void p3_values_encode(struct p3_encoder *encoder,
                      const double *values,
                      size_t count,
                      const double *neighbour,
                      struct buf *out);
void p3_times_encode(struct p3_encoder *encoder,
                     const int64_t *t_ms,
                     size_t count,
                     struct buf *out);

/* `scratch` has room for `count` elements. */
WARN_UNUSED bool p3_values_decode(struct reader *reader,
                                  size_t count,
                                  const double *neighbour,
                                  int64_t *scratch,
                                  double *ret_values);
WARN_UNUSED bool p3_times_decode(struct reader *reader,
                                 const struct p3_bounds *bounds,
                                 int64_t *ret_t_ms);

/* A whole payload: values, then times. */
void p3_encode(struct p3_encoder *encoder,
               const int64_t *t_ms,
               const double *values,
               size_t count,
               struct buf *out);
WARN_UNUSED bool p3_decode(const uint8_t *bytes,
                           size_t len,
                           const struct p3_bounds *bounds,
                           int64_t *ret_t_ms,
                           double *ret_values);

/*
 * A chunk in a group: its value column alone.
 *
 * Times      are those of another chunk, equal to the last bit. The caller keeps where that one is
 *            and checks, reading, that its count and its first and last time are those of this
 *            chunk's header (p3_group_fits): damage must not lend a chunk foreign times.
 * Neighbour  `count` values sampled at the same times that are likely to differ little: the
 *            bucket of the same histogram with the next lower `le`. NULL = there is none.
 *            Encoding takes whole numbers as differences to it, what is no number in both (stale
 *            markers) for free, and ignores it when the chunk is smaller without. Decoding needs
 *            bit by bit what encoding had, where p3_group_has_neighbour; otherwise it does not look
 *            at it. May not overlap ret_values.
 * Chains     A neighbour may have a neighbour. Whoever builds chains bounds them: reading the last
 *            chunk decodes all before it.
 * Bad input  As above; a payload that leans on a neighbour is refused when there is none.
 */
void p3_group_encode(struct p3_encoder *encoder,
                     const double *values,
                     size_t count,
                     const double *neighbour,
                     struct buf *out);
WARN_UNUSED bool p3_group_decode(const uint8_t *bytes,
                                 size_t len,
                                 size_t count,
                                 const double *neighbour,
                                 int64_t *scratch,
                                 double *ret_values);
bool p3_group_has_neighbour(const uint8_t *bytes, size_t len);

/* Whether `count` times can be those of a chunk with these bounds. */
static inline bool p3_group_fits(const struct p3_bounds *bounds,
                                 const int64_t *t_ms,
                                 size_t count) {
    return count == bounds->count && count > 0 && t_ms[0] == bounds->t_min_ms &&
           t_ms[count - 1] == bounds->t_max_ms;
}
