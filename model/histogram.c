/* Native histograms: checks, comparison, copies. */
#include "model/histogram.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

/* ---- shape ---- */

static bool check_side(const struct histogram_side *side, const char *name, struct err *err) {
    uint64_t lengths = 0;
    for (size_t i = 0; i < side->span_count; i++) {
        if (i > 0 && side->spans[i].offset < 0) {
            return err_set(err, ERR_INVALID,
                           "native histogram: %s span %zu has the negative offset %" PRId32, name,
                           i + 1, side->spans[i].offset);
        }
        lengths += side->spans[i].length;
    }
    if (lengths != side->bucket_count) {
        return err_set(err, ERR_INVALID,
                       "native histogram: %s spans need %" PRIu64 " buckets, there are %zu", name,
                       lengths, side->bucket_count);
    }
    return true;
}

static bool check_limit(size_t count, size_t max, const char *what, struct err *err) {
    return count <= max ||
           err_set(err, ERR_LIMIT, "native histogram: %zu %s, at most %zu are taken", count, what,
                   max);
}

bool histogram_check_shape(const struct histogram *histogram, struct err *err) {
    const struct histogram_side *negative = &histogram->negative;
    const struct histogram_side *positive = &histogram->positive;
    return check_limit(negative->bucket_count, HISTOGRAM_BUCKETS_MAX, "buckets", err) &&
           check_limit(negative->bucket_count + positive->bucket_count, HISTOGRAM_BUCKETS_MAX,
                       "buckets", err) &&
           check_limit(negative->span_count, HISTOGRAM_SPANS_MAX, "spans", err) &&
           check_limit(negative->span_count + positive->span_count, HISTOGRAM_SPANS_MAX, "spans",
                       err) &&
           check_limit(histogram->bound_count, HISTOGRAM_BOUNDS_MAX, "custom bounds", err) &&
           check_side(negative, "negative", err) && check_side(positive, "positive", err);
}

/* ---- meaning ---- */

static bool check_bounds(const struct histogram *histogram, struct err *err) {
    for (size_t i = 0; i < histogram->bound_count; i++) {
        double bound = histogram->bounds[i];
        if (isnan(bound) || (i > 0 && bound <= histogram->bounds[i - 1])) {
            return err_set(err, ERR_INVALID,
                           "native histogram: custom bounds must ascend, number %zu does not",
                           i + 1);
        }
    }
    if (histogram->bound_count > 0 && histogram->bounds[histogram->bound_count - 1] > DBL_MAX) {
        return err_set(err, ERR_INVALID,
                       "native histogram: the custom bound +Inf is implied, it must not be given");
    }
    const struct histogram_side *side = &histogram->positive;
    uint64_t reach = 0;
    for (size_t i = 0; i < side->span_count; i++) {
        if (side->spans[i].offset < 0) {
            return err_set(err, ERR_INVALID,
                           "native histogram: custom buckets begin before the first bound");
        }
        reach += (uint64_t)side->spans[i].offset + side->spans[i].length;
    }
    if (reach > histogram->bound_count + 1) {
        return err_set(err, ERR_INVALID,
                       "native histogram: %zu custom bounds are too few for %" PRIu64 " buckets",
                       histogram->bound_count, reach);
    }
    return true;
}

static bool check_schema(const struct histogram *histogram, struct err *err) {
    if (histogram->schema == HISTOGRAM_SCHEMA_CUSTOM) {
        bool has_zero = histogram->is_float ? histogram->zero_count.real != 0
                                            : histogram->zero_count.whole != 0;
        if (has_zero || histogram->zero_threshold != 0) {
            return err_set(err, ERR_INVALID,
                           "native histogram: custom buckets have no zero bucket");
        }
        if (histogram->negative.span_count > 0) {
            return err_set(err, ERR_INVALID,
                           "native histogram: custom buckets have no negative side");
        }
        return check_bounds(histogram, err);
    }
    if (histogram->schema < HISTOGRAM_SCHEMA_MIN || histogram->schema > HISTOGRAM_SCHEMA_MAX) {
        return err_set(
            err, ERR_INVALID, "native histogram: schema %" PRId32 " is neither in %d..%d nor %d",
            histogram->schema, HISTOGRAM_SCHEMA_MIN, HISTOGRAM_SCHEMA_MAX, HISTOGRAM_SCHEMA_CUSTOM);
    }
    if (histogram->bound_count > 0) {
        return err_set(err, ERR_INVALID,
                       "native histogram: schema %" PRId32 " has no custom bounds",
                       histogram->schema);
    }
    return true;
}

static bool check_real(double count, const char *what, struct err *err) {
    return !(count < 0) ||
           err_set(err, ERR_INVALID, "native histogram: %s has the negative count %g", what, count);
}

static bool check_real_counts(const struct histogram *histogram, struct err *err) {
    const struct histogram_side *sides[] = { &histogram->negative, &histogram->positive };
    for (size_t s = 0; s < ARRAY_LEN(sides); s++) {
        for (size_t i = 0; i < sides[s]->bucket_count; i++) {
            if (!check_real(sides[s]->buckets[i].real, "a bucket", err)) {
                return false;
            }
        }
    }
    return check_real(histogram->zero_count.real, "the zero bucket", err) &&
           check_real(histogram->count.real, "all of it", err);
}

/* Observations of NaN count, but are in no bucket. */
static bool check_whole_counts(const struct histogram *histogram, struct err *err) {
    const struct histogram_side *sides[] = { &histogram->negative, &histogram->positive };
    uint64_t total = histogram->zero_count.whole;
    bool is_over = false;
    for (size_t s = 0; s < ARRAY_LEN(sides); s++) {
        for (size_t i = 0; i < sides[s]->bucket_count; i++) {
            is_over |= __builtin_add_overflow(total, sides[s]->buckets[i].whole, &total);
        }
    }
    uint64_t count = histogram->count.whole;
    if (is_over || (isnan(histogram->sum) ? total > count : total != count)) {
        return err_set(err, ERR_INVALID,
                       "native histogram: buckets hold %" PRIu64
                       " observations, the count is %" PRIu64,
                       is_over ? UINT64_MAX : total, count);
    }
    return true;
}

bool histogram_validate(const struct histogram *histogram, struct err *err) {
    return histogram_check_shape(histogram, err) && check_schema(histogram, err) &&
           (histogram->is_float ? check_real_counts(histogram, err)
                                : check_whole_counts(histogram, err));
}

/* ---- comparison and copies ---- */

static bool side_equal(const struct histogram_side *a, const struct histogram_side *b) {
    if (a->span_count != b->span_count || a->bucket_count != b->bucket_count) {
        return false;
    }
    for (size_t i = 0; i < a->span_count; i++) {
        if (a->spans[i].offset != b->spans[i].offset || a->spans[i].length != b->spans[i].length) {
            return false;
        }
    }
    for (size_t i = 0; i < a->bucket_count; i++) {
        if (a->buckets[i].whole != b->buckets[i].whole) {
            return false;
        }
    }
    return true;
}

bool histogram_equal(const struct histogram *a, const struct histogram *b) {
    if (a->reset != b->reset || a->is_float != b->is_float || a->schema != b->schema ||
        double_bits(a->zero_threshold) != double_bits(b->zero_threshold) ||
        a->count.whole != b->count.whole || a->zero_count.whole != b->zero_count.whole ||
        double_bits(a->sum) != double_bits(b->sum) || a->bound_count != b->bound_count) {
        return false;
    }
    for (size_t i = 0; i < a->bound_count; i++) {
        if (double_bits(a->bounds[i]) != double_bits(b->bounds[i])) {
            return false;
        }
    }
    return side_equal(&a->negative, &b->negative) && side_equal(&a->positive, &b->positive);
}

static const void *dup_items(const void *items,
                             size_t count,
                             size_t elem_bytes,
                             struct arena *arena) {
    if (count == 0) {
        return NULL;
    }
    void *copy = arena_alloc(arena, count * elem_bytes);
    return memcpy(copy, items, count * elem_bytes);
}

static void dup_side(struct histogram_side *side, struct arena *arena) {
    side->spans = dup_items(side->spans, side->span_count, sizeof(side->spans[0]), arena);
    side->buckets = dup_items(side->buckets, side->bucket_count, sizeof(side->buckets[0]), arena);
}

struct histogram histogram_dup(const struct histogram *histogram, struct arena *arena) {
    struct histogram copy = *histogram;
    dup_side(&copy.negative, arena);
    dup_side(&copy.positive, arena);
    copy.bounds = dup_items(copy.bounds, copy.bound_count, sizeof(copy.bounds[0]), arena);
    return copy;
}
