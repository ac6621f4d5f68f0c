/* Classic histograms: quantiles and fractions of cumulative buckets. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct bucket {
    double upper_bound;
    double count; /* cumulative */
};

/* Where counts fell from one bucket to the next and were raised. */
struct bucket_repair {
    bool is_forced;
    double bucket_min;
    double bucket_max;
    double diff_max;
};

/* Buckets come in ascending order of upper bounds, at least one; they are changed in place. */
double bucket_quantile(double q,
                       struct bucket *buckets,
                       size_t count,
                       struct bucket_repair *repair);
double bucket_fraction(double lower, double upper, struct bucket *buckets, size_t count);
