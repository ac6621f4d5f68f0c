/* The *_over_time functions that add up or pick: sum, avg, count, deviation, first, last. */
#include <math.h>

#include "model/kahan.h"
#include "promql/eval_call.h"

/* ---- sums ---- */

/*
 * Integers whose absolute sum stays below 2^53 add up without rounding in any order: then window
 * sums are differences of prefix sums, bit for bit what compensated summation gives. Returns the
 * prefix sums (count + 1 of them), or NULL.
 */
static double *exact_prefix_sums(struct arena *arena, const double *values, size_t count) {
    const double exact_max = 9007199254740992.0;
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        double magnitude = fabs(values[i]);
        if (!(magnitude <= exact_max) || trunc(values[i]) != values[i]) {
            return NULL;
        }
        total += magnitude;
    }
    if (total > exact_max) {
        return NULL;
    }
    double *sums = arena_alloc(arena, (count + 1) * sizeof(sums[0]));
    sums[0] = 0;
    for (size_t i = 0; i < count; i++) {
        sums[i + 1] = sums[i] + values[i];
    }
    return sums;
}

static bool window_sum(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    struct kahan sum = { 0 };
    for (size_t i = 0; i < window->count; i++) {
        sum = kahan_add(sum, window->values[i]);
    }
    *ret = kahan_is_inf(sum.sum) ? sum.sum : sum.sum + sum.c;
    return true;
}

static bool window_avg(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    struct kahan_mean mean = kahan_mean_start(window->values[0]);
    for (size_t i = 1; i < window->count; i++) {
        kahan_mean_add(&mean, window->values[i]);
    }
    *ret = kahan_mean_value(&mean);
    return true;
}

static void fill_exact(const struct range_call *call,
                       const double *sums,
                       bool is_mean,
                       struct step_series *out) {
    for (size_t i = 0; i < call->steps->count; i++) {
        uint32_t lo = call->frame->lo[i];
        uint32_t hi = call->frame->hi[i];
        if (lo != hi) {
            double sum = sums[hi] - sums[lo];
            step_series_set(out, i, is_mean ? sum / (hi - lo) : sum);
        }
    }
}

bool range_sum(struct range_call *call,
               const struct range_series *series,
               struct step_series *out,
               struct err *err) {
    const double *sums = exact_prefix_sums(&call->scratch, series->values, series->count);
    if (sums == NULL) {
        return window_apply(call, window_sum, series, out, err);
    }
    fill_exact(call, sums, false, out);
    return true;
}

bool range_avg(struct range_call *call,
               const struct range_series *series,
               struct step_series *out,
               struct err *err) {
    const double *sums = exact_prefix_sums(&call->scratch, series->values, series->count);
    if (sums == NULL) {
        return window_apply(call, window_avg, series, out, err);
    }
    fill_exact(call, sums, true, out);
    return true;
}

bool range_count(struct range_call *call,
                 const struct range_series *series,
                 struct step_series *out,
                 struct err *err) {
    (void)series;
    (void)err;
    for (size_t i = 0; i < call->steps->count; i++) {
        uint32_t count = call->frame->hi[i] - call->frame->lo[i];
        if (count > 0) {
            step_series_set(out, i, count);
        }
    }
    return true;
}

/* ---- deviation ---- */

static double window_variance(const struct window *window) {
    double count = 0;
    struct kahan mean = { 0 };
    struct kahan squares = { 0 };
    for (size_t i = 0; i < window->count; i++) {
        count++;
        double delta = window->values[i] - (mean.sum + mean.c);
        mean = kahan_add(mean, delta / count);
        squares = kahan_add(squares, delta * (window->values[i] - (mean.sum + mean.c)));
    }
    return (squares.sum + squares.c) / count;
}

bool window_stdvar(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    *ret = window_variance(window);
    return true;
}

bool window_stddev(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    *ret = sqrt(window_variance(window));
    return true;
}

/* ---- picks ---- */

bool window_first(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    *ret = window->values[0];
    return true;
}

bool window_last(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    *ret = window->values[window->count - 1];
    return true;
}

bool window_present(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    (void)window;
    *ret = 1;
    return true;
}

bool window_ts_of_first(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    *ret = (double)window->t_ms[0] / 1000;
    return true;
}

bool window_ts_of_last(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    *ret = (double)window->t_ms[window->count - 1] / 1000;
    return true;
}

/* The latest of equal extremes; NaN only when there is nothing else. */
bool window_ts_of_max(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    size_t best = 0;
    for (size_t i = 0; i < window->count; i++) {
        if (window->values[i] >= window->values[best] || isnan(window->values[best])) {
            best = i;
        }
    }
    *ret = (double)window->t_ms[best] / 1000;
    return true;
}

bool window_ts_of_min(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    size_t best = 0;
    for (size_t i = 0; i < window->count; i++) {
        if (window->values[i] <= window->values[best] || isnan(window->values[best])) {
            best = i;
        }
    }
    *ret = (double)window->t_ms[best] / 1000;
    return true;
}
