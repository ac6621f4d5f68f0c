/* Quantiles of plain values. */
#include "promql/func_quantile.h"

#include <math.h>

#include "promql/eval_call.h"

static void swap_values(double *a, double *b) {
    double kept = *a;
    *a = *b;
    *b = kept;
}

/* Hoare's partition of values[lo, hi) around a median of three; returns where the upper part
 * starts. Nothing is NaN, there are at least three. */
static size_t partition(double *values, size_t lo, size_t hi) {
    size_t middle = lo + (hi - lo) / 2;
    if (values[middle] < values[lo]) {
        swap_values(&values[middle], &values[lo]);
    }
    if (values[hi - 1] < values[lo]) {
        swap_values(&values[hi - 1], &values[lo]);
    }
    if (values[hi - 1] < values[middle]) {
        swap_values(&values[hi - 1], &values[middle]);
    }
    double pivot = values[middle];
    size_t i = lo;
    size_t k = hi - 1;
    for (;;) {
        while (values[i] < pivot) {
            i++;
        }
        while (values[k] > pivot) {
            k--;
        }
        if (i >= k) {
            return k + 1;
        }
        swap_values(&values[i], &values[k]);
        i++;
        k--;
    }
}

/* Move the value of the given rank to its place, smaller ones before, greater ones behind it. */
static void select_rank(double *values, size_t count, size_t rank) {
    size_t lo = 0;
    size_t hi = count;
    while (hi - lo > 2) {
        size_t upper = partition(values, lo, hi);
        if (rank < upper) {
            hi = upper;
        } else {
            lo = upper;
        }
    }
    if (hi - lo == 2 && values[lo + 1] < values[lo]) {
        swap_values(&values[lo], &values[lo + 1]);
    }
}

static double least_of(const double *values, size_t count) {
    double least = values[0];
    for (size_t i = 1; i < count; i++) {
        least = values[i] < least ? values[i] : least;
    }
    return least;
}

/* NaN sorts before everything: move it to the front. */
static size_t gather_nans(double *values, size_t count) {
    size_t nans = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i])) {
            swap_values(&values[i], &values[nans++]);
        }
    }
    return nans;
}

double quantile_of(double q, double *values, size_t count) {
    if (count == 0 || isnan(q)) {
        return (double)NAN;
    }
    if (q < 0) {
        return -HUGE_VAL;
    }
    if (q > 1) {
        return HUGE_VAL;
    }
    double n = (double)count;
    double rank = q * (n - 1);
    double weight = rank - floor(rank);
    size_t lower = (size_t)floor(rank);
    size_t upper = lower + 1 < count ? lower + 1 : count - 1;
    size_t nans = gather_nans(values, count);
    if (lower >= nans) {
        select_rank(values + nans, count - nans, lower - nans);
    }
    double low = values[lower];
    double high = low;
    if (upper > lower && upper >= nans) {
        high = least_of(values + upper, count - upper);
    }
    return low * (1 - weight) + high * weight;
}

void quantile_check(struct eval *eval, double q, uint32_t pos) {
    if (isnan(q) || q < 0 || q > 1) {
        struct str text = note_float(&eval->notes, q);
        note_add(&eval->notes, NOTE_WARNING, pos,
                 "quantile value should be between 0 and 1, got %.*s", STR_FMT(text));
    }
}

static double *copy_values(struct range_call *call, const struct window *window) {
    /* The scratch is reset per series; one buffer for the largest window serves all steps. */
    if (call->buffer == NULL) {
        call->buffer = arena_alloc(&call->scratch, call->frame->largest * sizeof(double));
    }
    memcpy(call->buffer, window->values, window->count * sizeof(double));
    return call->buffer;
}

bool window_quantile(struct range_call *call, const struct window *window, double *ret) {
    double q = call->scalars[0][window->step];
    quantile_check(call->eval, q, call->node->args[0]->expr->pos_start);
    *ret = quantile_of(q, copy_values(call, window), window->count);
    return true;
}

/* The median distance from the median; undefined as soon as there is a NaN. */
bool window_mad(struct range_call *call, const struct window *window, double *ret) {
    double *values = copy_values(call, window);
    for (size_t i = 0; i < window->count; i++) {
        if (isnan(values[i])) {
            *ret = (double)NAN;
            return true;
        }
    }
    double median = quantile_of(0.5, values, window->count);
    for (size_t i = 0; i < window->count; i++) {
        values[i] = fabs(values[i] - median);
    }
    *ret = quantile_of(0.5, values, window->count);
    return true;
}
