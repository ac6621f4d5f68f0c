/*
 * Native histograms as columns of P3 (chunk codec 4; FORMAT.md draws the bytes): sums, counts, and
 * every bucket a column of its own, with the layout of buckets beside them. Bit-exact for integer
 * and float histograms of any schema, -53 with its bounds included.
 *
 * Layouts    Neighbouring samples may differ in spans, schema, zero threshold, bounds. Buckets come
 *            and go cheaply while the last three stay.
 * Stale      Of a stale sample the kind, the hint and the marker are kept; the rest decodes as
 *            zeros and no buckets.
 * Limits     Histograms have a shape (histogram_check_shape). A chunk holds at most
 *            P3_HISTOGRAM_CELLS_MAX bucket counts, so that a few hostile bytes do not become
 *            gigabytes; and as many bytes as the caller says. One that does not fit alone has no
 *            place in the store: doors ask p3_histogram_fits() before they acknowledge.
 * Bad input  Decoding takes any bytes: false when they are malformed.
 */
#pragma once

#include "base/arena.h"
#include "model/histogram.h"
#include "tsdb/codec/p3.h"

/* Samples times buckets, and samples times bucket columns. 8 bytes each when decoded. */
#define P3_HISTOGRAM_CELLS_MAX ((size_t)1 << 20)

/* Samples of one series, all integer or all float histograms. */
struct p3_histograms {
    size_t count;
    const int64_t *t_ms;
    const struct histogram *histograms;
    const int64_t *start_ms;       /* p3_columns.h; NULL = none */
    const uint64_t *exemplar_refs; /* NULL = none */
};

/*
 * Append the payload of a chunk with the first samples of `in`, as many as belong in one: returns
 * how many. 0: the first alone takes more than `bytes_max`. With `is_group` the times are those of
 * another chunk (p3.h, "a chunk in a group") and not in the payload.
 */
WARN_UNUSED size_t p3_histograms_encode(struct p3_encoder *encoder,
                                        const struct p3_histograms *in,
                                        bool is_group,
                                        size_t bytes_max,
                                        struct buf *out);

/*
 * Decode into the arena. `group_t_ms`: the times of the chunk this one leans on, NULL = none; the
 * times are copied. Columns the chunk does not have are NULL.
 */
WARN_UNUSED bool p3_histograms_decode(const uint8_t *bytes,
                                      size_t len,
                                      const struct p3_bounds *bounds,
                                      const int64_t *group_t_ms,
                                      struct arena *arena,
                                      struct p3_histograms *ret);

/* Whether a chunk of this one sample, with a start and an exemplar, takes at most `bytes_max`. */
bool p3_histogram_fits(const struct histogram *histogram, size_t bytes_max);
