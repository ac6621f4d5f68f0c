/* Quantiles of plain values. */
#include "promql/func_quantile.h"

#include <math.h>
#include <stdlib.h>

#include "promql/eval_call.h"

static int compare_values(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    if (isnan(x) || isnan(y)) {
        return isnan(y) - isnan(x);
    }
    return (x > y) - (x < y);
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
    qsort(values, count, sizeof(values[0]), compare_values);
    double n = (double)count;
    double rank = q * (n - 1);
    double lower = fmax(0, floor(rank));
    double upper = fmin(n - 1, lower + 1);
    double weight = rank - floor(rank);
    return values[(size_t)lower] * (1 - weight) + values[(size_t)upper] * weight;
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
