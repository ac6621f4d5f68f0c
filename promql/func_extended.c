/* Anchored and smoothed ranges. */
#include "promql/func_extended.h"

#include <assert.h>

bool range_is_extended(const struct node *arg) {
    return arg->kind == NODE_RANGE &&
           (arg->expr->selector.is_anchored || arg->expr->selector.is_smoothed);
}

/* The samples an extended window starts and ends with, and the values at its borders. */
struct extent {
    size_t first;
    size_t last;
    double left;
    double right;
};

/* First index in [0, last) whose time is after (or, with `or_at`, at) t_ms; else last. */
static size_t search(const int64_t *t_ms, size_t last, int64_t at_ms, bool or_at) {
    size_t lo = 0;
    size_t hi = last;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t_ms[mid] > at_ms || (or_at && t_ms[mid] == at_ms)) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

static bool find_extent(const int64_t *t_ms,
                        const double *values,
                        size_t count,
                        int64_t start_ms,
                        int64_t end_ms,
                        bool is_smoothed,
                        bool is_counter,
                        struct extent *ret) {
    assert(count > 0);
    size_t last = count - 1;
    size_t first = search(t_ms, last, start_ms, false);
    first = first > 0 ? first - 1 : 0;
    if (is_smoothed) {
        last = search(t_ms, last, end_ms, true);
    }
    if (t_ms[last] <= start_ms || (is_smoothed && t_ms[first] > end_ms)) {
        return false;
    }
    ret->first = first;
    ret->last = last;
    ret->left = values[first];
    if (is_smoothed && t_ms[first] < start_ms) {
        ret->left = range_interpolate(t_ms + first, values + first, start_ms, is_counter);
    }
    ret->right = values[last];
    if (is_smoothed && last > 0 && t_ms[last] > end_ms) {
        ret->right = range_interpolate(t_ms + last - 1, values + last - 1, end_ms, is_counter);
    }
    return true;
}

/* What a counter lost at resets strictly inside the range. */
static double extended_correction(const struct window *window,
                                  const struct extent *extent,
                                  int64_t start_ms,
                                  int64_t end_ms) {
    size_t from = extent->first + (window->t_ms[extent->first] <= start_ms);
    size_t to = extent->last + 1 - (window->t_ms[extent->last] >= end_ms);
    double correction = 0;
    double previous = extent->left;
    for (size_t i = from; i < to; i++) {
        if (window->values[i] < previous) {
            correction += previous;
        }
        previous = window->values[i];
    }
    if (extent->right < previous) {
        correction += previous;
    }
    return correction;
}

bool extended_rate(struct range_call *call,
                   const struct range_series *series,
                   bool is_counter,
                   bool is_rate,
                   struct step_series *out,
                   struct err *err) {
    const struct window_frame *frame = call->frame;
    bool is_smoothed = call->arg->expr->selector.is_smoothed;
    double divisor =
        (double)(call->arg->range_ms / 1000) + (double)(call->arg->range_ms % 1000 * 1000000) / 1e9;
    for (size_t i = 0; i < call->steps->count; i++) {
        struct window window = {
            .t_ms = series->t_ms + frame->lo[i],
            .values = series->values + frame->lo[i],
            .count = frame->hi[i] - frame->lo[i],
        };
        int64_t end_ms = window_end_ms(call, i);
        int64_t start_ms = end_ms - call->arg->range_ms;
        struct extent extent;
        if (!eval_work(call->eval, window.count, err)) {
            return false;
        }
        if (window.count == 0 || !find_extent(window.t_ms, window.values, window.count, start_ms,
                                              end_ms, is_smoothed, is_counter, &extent)) {
            continue;
        }
        double value = extent.right - extent.left;
        if (is_counter) {
            value += extended_correction(&window, &extent, start_ms, end_ms);
        }
        step_series_set(out, i, is_rate ? value / divisor : value);
    }
    return true;
}

bool extended_first(const struct range_call *call,
                    const struct range_series *series,
                    size_t step,
                    size_t *lo) {
    size_t hi = call->frame->hi[step];
    int64_t start_ms = window_end_ms(call, step) - call->arg->range_ms;
    size_t after = *lo;
    while (after < hi && series->t_ms[after] <= start_ms) {
        after++;
    }
    if (after == hi) {
        return false;
    }
    *lo = after > *lo ? after - 1 : after;
    return true;
}

size_t extended_points(const struct range_series *series,
                       int64_t start_ms,
                       int64_t end_ms,
                       bool is_smoothed,
                       struct promql_point *points) {
    struct extent extent;
    if (!find_extent(series->t_ms, series->values, series->count, start_ms, end_ms, is_smoothed,
                     false, &extent)) {
        return 0;
    }
    size_t from = extent.first + (series->t_ms[extent.first] <= start_ms);
    size_t to = extent.last + 1 - (series->t_ms[extent.last] >= end_ms);
    size_t count = 0;
    points[count++] = (struct promql_point){ .t_ms = start_ms, .value = extent.left };
    for (size_t i = from; i < to; i++) {
        points[count++] =
            (struct promql_point){ .t_ms = series->t_ms[i], .value = series->values[i] };
    }
    points[count++] = (struct promql_point){ .t_ms = end_ms, .value = extent.right };
    return count;
}
