/* Arithmetic on the buckets of one classic histogram. */
#include <assert.h>
#include <float.h>
#include <math.h>

#include "promql/func_histogram.h"

/* Merge buckets of the same bound. */
static size_t coalesce(struct bucket *buckets, size_t count) {
    size_t last = 0;
    for (size_t i = 1; i < count; i++) {
        if (buckets[i].upper_bound == buckets[last].upper_bound) {
            buckets[last].count += buckets[i].count;
        } else {
            buckets[++last] = buckets[i];
        }
    }
    return last + 1;
}

/* Differences that small are rounding, not data. */
static bool almost_equal(double a, double b) {
    const double tolerance = 1e-12;
    if (isnan(a) && isnan(b)) {
        return true;
    }
    if (a == b) {
        return true;
    }
    double sum = fabs(a) + fabs(b);
    double diff = fabs(a - b);
    if (a == 0 || b == 0 || sum < DBL_MIN) {
        return diff < tolerance * DBL_MIN;
    }
    return diff / fmin(sum, DBL_MAX) < tolerance;
}

static void make_monotonic(struct bucket *buckets, size_t count, struct bucket_repair *repair) {
    *repair = (struct bucket_repair){ .bucket_min = HUGE_VAL, .bucket_max = -HUGE_VAL };
    double previous = buckets[0].count;
    for (size_t i = 1; i < count; i++) {
        double current = buckets[i].count;
        if (current == previous) {
            continue;
        }
        if (almost_equal(previous, current)) {
            buckets[i].count = previous;
            continue;
        }
        if (!(current < previous)) {
            previous = current;
            continue;
        }
        buckets[i].count = previous;
        repair->is_forced = true;
        repair->bucket_min = fmin(repair->bucket_min, buckets[i].upper_bound);
        repair->bucket_max = fmax(repair->bucket_max, buckets[i].upper_bound);
        repair->diff_max = fmax(repair->diff_max, previous - current);
    }
}

static bool is_complete(const struct bucket *buckets, size_t count) {
    double last = buckets[count - 1].upper_bound;
    return isinf(last) && last > 0;
}

double bucket_quantile(double q,
                       struct bucket *buckets,
                       size_t count,
                       struct bucket_repair *repair) {
    assert(count > 0);
    *repair = (struct bucket_repair){ 0 };
    if (isnan(q)) {
        return (double)NAN;
    }
    if (q < 0 || q > 1) {
        return q < 0 ? -HUGE_VAL : HUGE_VAL;
    }
    if (!is_complete(buckets, count)) {
        return (double)NAN;
    }
    count = coalesce(buckets, count);
    make_monotonic(buckets, count, repair);
    double observations = buckets[count - 1].count;
    if (count < 2 || observations == 0) {
        return (double)NAN;
    }
    double rank = q * observations;
    size_t b = 0;
    size_t end = count - 1;
    while (b < end) {
        size_t middle = b + (end - b) / 2;
        if (buckets[middle].count >= rank) {
            end = middle;
        } else {
            b = middle + 1;
        }
    }
    if (b == count - 1) {
        return buckets[count - 2].upper_bound;
    }
    if (b == 0 && buckets[0].upper_bound <= 0) {
        return buckets[0].upper_bound;
    }
    double start = 0;
    double in_bucket = buckets[b].count;
    if (b > 0) {
        start = buckets[b - 1].upper_bound;
        in_bucket -= buckets[b - 1].count;
        rank -= buckets[b - 1].count;
    }
    return start + (buckets[b].upper_bound - start) * (rank / in_bucket);
}

/* ---- fractions ---- */

/* The rank of one border of the fraction, once it is found. */
struct border {
    double value;
    double rank;
    bool is_set;
};

static void border_look(struct border *border,
                        double lower_bound,
                        const struct bucket *bucket,
                        double rank) {
    if (border->is_set) {
        return;
    }
    if (lower_bound >= border->value) {
        border->rank = rank;
        border->is_set = true;
    } else if (bucket->upper_bound > border->value) {
        /* Nothing can be interpolated in a bucket that starts at -Inf. */
        border->rank = isinf(lower_bound)
                           ? bucket->count
                           : rank + (bucket->count - rank) * (border->value - lower_bound) /
                                        (bucket->upper_bound - lower_bound);
        border->is_set = true;
    }
}

double bucket_fraction(double lower, double upper, struct bucket *buckets, size_t count) {
    assert(count > 0);
    if (!is_complete(buckets, count)) {
        return (double)NAN;
    }
    count = coalesce(buckets, count);
    double observations = buckets[count - 1].count;
    if (observations == 0 || isnan(lower) || isnan(upper)) {
        return (double)NAN;
    }
    if (lower >= upper) {
        return 0;
    }
    struct border from = { .value = lower };
    struct border to = { .value = upper };
    double rank = 0;
    for (size_t i = 0; i < count && !(from.is_set && to.is_set); i++) {
        double bound =
            i > 0 ? buckets[i - 1].upper_bound : (buckets[0].upper_bound <= 0 ? -HUGE_VAL : 0);
        border_look(&from, bound, &buckets[i], rank);
        border_look(&to, bound, &buckets[i], rank);
        rank = buckets[i].count;
    }
    if (!from.is_set || from.rank > observations) {
        from.rank = observations;
    }
    if (!to.is_set || to.rank > observations) {
        to.rank = observations;
    }
    return (to.rank - from.rank) / observations;
}
