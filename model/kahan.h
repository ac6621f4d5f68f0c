/* Compensated summation (Kahan, Neumaier) with Prometheus' treatment of overflow. */
#pragma once

#include <float.h>
#include <math.h>
#include <stdbool.h>

struct kahan {
    double sum;
    double c; /* what rounding lost; 0 once the sum is infinite */
};

static inline bool kahan_is_inf(double value) {
    return value > DBL_MAX || value < -DBL_MAX;
}

static inline struct kahan kahan_add(struct kahan kahan, double value) {
    double sum = kahan.sum + value;
    double c;
    if (kahan_is_inf(sum)) {
        c = 0;
    } else if (fabs(kahan.sum) >= fabs(value)) {
        c = kahan.c + ((kahan.sum - sum) + value);
    } else {
        c = kahan.c + ((value - sum) + kahan.sum);
    }
    return (struct kahan){ .sum = sum, .c = c };
}

/* A mean that sums up as long as that does not overflow and goes on incrementally from there. */
struct kahan_mean {
    struct kahan sum; /* or the mean, once is_incremental */
    double count;
    bool is_incremental;
};

static inline struct kahan_mean kahan_mean_start(double value) {
    return (struct kahan_mean){ .sum = { .sum = value }, .count = 1 };
}

static inline void kahan_mean_add(struct kahan_mean *mean, double value) {
    mean->count++;
    if (!mean->is_incremental) {
        struct kahan next = kahan_add(mean->sum, value);
        if (!kahan_is_inf(next.sum)) {
            mean->sum = next;
            return;
        }
        mean->is_incremental = true;
        mean->sum.sum /= mean->count - 1;
        mean->sum.c /= mean->count - 1;
    }
    double weight = (mean->count - 1) / mean->count;
    struct kahan scaled = { .sum = weight * mean->sum.sum, .c = weight * mean->sum.c };
    mean->sum = kahan_add(scaled, value / mean->count);
}

static inline double kahan_mean_value(const struct kahan_mean *mean) {
    if (mean->is_incremental) {
        return mean->sum.sum + mean->sum.c;
    }
    return mean->sum.sum / mean->count + mean->sum.c / mean->count;
}
