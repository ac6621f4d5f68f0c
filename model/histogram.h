/*
 * Native histograms: one sample whose value is a distribution. The meaning is that of Prometheus'
 * model/histogram, with absolute bucket counts throughout (there, integer ones are differences
 * between neighbours). No I/O, no locks, no clocks.
 *
 * Buckets    Each side has spans of neighbouring bucket indexes and a count for each, ascending.
 *            Index i of a schema n in -4..8 ends at 2^(i * 2^-n), on the negative side
 *            mirrored; the zero bucket reaches zero_threshold to either side of 0.
 * Custom     Schema -53 has its own bounds: index i of the positive side ends at bounds[i], the
 *            last one at +Inf. It has no zero bucket and no negative side.
 * Stale      A sum with the bits of the stale marker: the series ended, nothing else counts.
 * Ownership  All pointers are borrowed or in an arena; says the holder.
 */
#pragma once

#include "model/model.h"

/* Limits of one histogram, each tested at the limit and one past it. */
#define HISTOGRAM_BUCKETS_MAX 10000 /* both sides together */
#define HISTOGRAM_SPANS_MAX   10000 /* both sides together */
#define HISTOGRAM_BOUNDS_MAX  10000

#define HISTOGRAM_SCHEMA_MIN    (-4)
#define HISTOGRAM_SCHEMA_MAX    8
#define HISTOGRAM_SCHEMA_CUSTOM (-53)

/* What is known about a counter reset between the sample before and this one. */
enum histogram_reset {
    HISTOGRAM_RESET_UNKNOWN,
    HISTOGRAM_RESET, /* it was reset */
    HISTOGRAM_NO_RESET,
    HISTOGRAM_GAUGE, /* resets do not apply */
    HISTOGRAM_RESET_COUNT,
};

/* A count is an integer or, in a float histogram, a double. */
union histogram_count {
    uint64_t whole;
    double real;
};

/* `length` buckets with neighbouring indexes. */
struct histogram_span {
    int32_t offset; /* first span: the first index; others: the gap before it, >= 0 */
    uint32_t length;
};

struct histogram_side {
    const struct histogram_span *spans;
    size_t span_count;
    const union histogram_count *buckets;
    size_t bucket_count; /* = the spans' lengths together */
};

struct histogram {
    enum histogram_reset reset;
    bool is_float;
    int32_t schema;
    double zero_threshold;
    union histogram_count count;
    union histogram_count zero_count;
    double sum;
    struct histogram_side negative;
    struct histogram_side positive;
    const double *bounds; /* schema -53: upper bounds, ascending, without +Inf */
    size_t bound_count;
};

static inline bool histogram_is_stale(const struct histogram *histogram) {
    return is_stale(histogram->sum);
}

/*
 * Whether the parts belong together, whatever the numbers mean: lengths of spans are the counts of
 * buckets, indexes ascend, limits are kept. What is stored must be. ERR_INVALID, ERR_LIMIT.
 */
WARN_UNUSED bool histogram_check_shape(const struct histogram *histogram, struct err *err);
/* As Prometheus' Validate, for every door: the shape, and schema, bounds, counts that add up. */
WARN_UNUSED bool histogram_validate(const struct histogram *histogram, struct err *err);

/* Every field the same to the last bit; spans one by one, not what they cover. */
bool histogram_equal(const struct histogram *a, const struct histogram *b);
struct histogram histogram_dup(const struct histogram *histogram, struct arena *arena);
