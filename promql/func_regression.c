/* Functions that fit something to the samples: lines and double exponential smoothing. */
#include <math.h>

#include "model/kahan.h"
#include "promql/eval_call.h"

struct line {
    double slope;
    double intercept; /* at the time asked for */
};

/* Least squares; times in seconds relative to at_ms. */
static struct line fit_line(const struct window *window, int64_t at_ms) {
    double first = window->values[0];
    bool is_constant = true;
    double n = 0;
    struct kahan sum_x = { 0 };
    struct kahan sum_y = { 0 };
    struct kahan sum_xy = { 0 };
    struct kahan sum_x2 = { 0 };
    for (size_t i = 0; i < window->count; i++) {
        double y = window->values[i];
        is_constant = is_constant && (i == 0 || !(y != first));
        n += 1;
        double x = (double)(window->t_ms[i] - at_ms) / 1e3;
        sum_x = kahan_add(sum_x, x);
        sum_y = kahan_add(sum_y, y);
        sum_xy = kahan_add(sum_xy, x * y);
        sum_x2 = kahan_add(sum_x2, x * x);
    }
    if (is_constant) {
        return isinf(first) ? (struct line){ (double)NAN, (double)NAN } : (struct line){ 0, first };
    }
    double x = sum_x.sum + sum_x.c;
    double y = sum_y.sum + sum_y.c;
    double xy = sum_xy.sum + sum_xy.c;
    double x2 = sum_x2.sum + sum_x2.c;
    double covariance = xy - x * y / n;
    double variance = x2 - x * x / n;
    double slope = covariance / variance;
    return (struct line){ .slope = slope, .intercept = y / n - slope * x / n };
}

bool window_deriv(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    if (window->count < 2) {
        return false;
    }
    /* Relative to a time close by, for accuracy. */
    *ret = fit_line(window, window->t_ms[0]).slope;
    return true;
}

bool window_predict_linear(struct range_call *call, const struct window *window, double *ret) {
    if (window->count < 2) {
        return false;
    }
    struct line line = fit_line(window, steps_at(call->steps, window->step));
    *ret = line.slope * call->scalars[0][window->step] + line.intercept;
    return true;
}

/* ---- double exponential smoothing ---- */

static bool smooth(struct range_call *call, const struct window *window, double *ret) {
    double smoothing = call->scalars[0][window->step];
    double trend = call->scalars[1][window->step];
    if (window->count < 2) {
        return false;
    }
    const double *values = window->values;
    double previous = 0;
    double current = values[0];
    double slope = values[1] - values[0];
    for (size_t i = 1; i < window->count; i++) {
        double level = smoothing * values[i];
        if (i > 1) {
            double step = trend * (current - previous);
            slope = step + (1 - trend) * slope;
        }
        double rest = (1 - smoothing) * (current + slope);
        previous = current;
        current = level + rest;
    }
    *ret = current;
    return true;
}

static bool check_factor(double factor, const char *what, const char *symbol, struct err *err) {
    if (!(factor <= 0 || factor >= 1)) {
        return true;
    }
    return err_set(err, ERR_EXEC, "invalid %s factor. Expected: 0 < %s < 1, got: %f", what, symbol,
                   factor);
}

bool range_smoothing(struct range_call *call,
                     const struct range_series *series,
                     struct step_series *out,
                     struct err *err) {
    for (size_t i = 0; i < call->steps->count; i++) {
        if (call->frame->lo[i] != call->frame->hi[i] &&
            (!check_factor(call->scalars[0][i], "smoothing", "sf", err) ||
             !check_factor(call->scalars[1][i], "trend", "tf", err))) {
            return false;
        }
    }
    return window_apply(call, smooth, series, out, err);
}
