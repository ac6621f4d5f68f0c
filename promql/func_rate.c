/*
 * rate, increase, delta: the difference of last and first sample, plus what counters lost at
 * resets, extrapolated to the ends of the range.
 *
 * Everything that depends on timestamps only is computed once per column of timestamps
 * (struct rate_step). What remains per step is a subtraction and a multiplication; windows with
 * resets add the values before the reset in order, so that rounding is upstream's.
 */
#include <assert.h>

#include "promql/eval_call.h"
#include "promql/func_extended.h"

struct rate_kind {
    bool is_counter;
    bool is_rate;
};

/* Go's Duration.Seconds(). */
static double range_seconds(int64_t ms) {
    return (double)(ms / 1000) + (double)(ms % 1000 * 1000000) / 1e9;
}

/* ---- by timestamps ---- */

/* When a window's samples were taken. */
struct rate_times {
    int64_t first_ms;
    int64_t last_ms;
    uint64_t count;   /* > 1 */
    int64_t start_ms; /* of the window */
    int64_t end_ms;
};

static void rate_step_make(const struct rate_times *times, double divisor, struct rate_step *ret) {
    ret->interval = (double)(times->last_ms - times->first_ms) / 1000;
    ret->to_start = (double)(times->first_ms - times->start_ms) / 1000;
    ret->to_end = (double)(times->end_ms - times->last_ms) / 1000;
    double average = ret->interval / (double)(times->count - 1);
    double threshold = average * 1.1;
    if (ret->to_start >= threshold) {
        ret->to_start = average / 2;
    }
    if (ret->to_end >= threshold) {
        ret->to_end = average / 2;
    }
    ret->factor = (ret->interval + ret->to_start + ret->to_end) / ret->interval;
    ret->factor /= divisor;
}

static void rate_step_fill(const struct range_call *call,
                           const struct window_frame *frame,
                           size_t step,
                           double divisor,
                           struct rate_step *ret) {
    int64_t end_ms = window_end_ms(call, step);
    struct rate_times times = {
        .first_ms = frame->t_ms[frame->lo[step]],
        .last_ms = frame->t_ms[frame->hi[step] - 1],
        .count = frame->hi[step] - frame->lo[step],
        .start_ms = end_ms - call->arg->range_ms,
        .end_ms = end_ms,
    };
    rate_step_make(&times, divisor, ret);
}

static void rate_steps_fill(struct range_call *call, double divisor) {
    struct window_frame *frame = call->frame;
    size_t steps = call->steps->count;
    struct arena *arena = &call->frames.arena;
    if (frame->rate_steps == NULL) {
        frame->rate_steps = arena_alloc(arena, steps * sizeof(frame->rate_steps[0]));
        frame->rate_present = arena_alloc(arena, bits_words(steps) * sizeof(uint64_t));
    }
    bits_zero(frame->rate_present, steps);
    frame->rate_count = 0;
    for (size_t i = 0; i < steps; i++) {
        if (frame->hi[i] - frame->lo[i] >= 2) {
            rate_step_fill(call, frame, i, divisor, &frame->rate_steps[i]);
            bit_set(frame->rate_present, i);
            frame->rate_count++;
        }
    }
    frame->has_rate_steps = true;
}

/* ---- by values ---- */

/* Where a counter fell: the samples below their predecessor, in order. */
struct reset_list {
    const uint32_t *at;
    size_t count;
    size_t next; /* first one that may lie in the window at hand */
};

static struct reset_list find_resets(struct arena *arena, const double *values, size_t count) {
    size_t reset_count = 0;
    for (size_t i = 1; i < count; i++) {
        reset_count += values[i] < values[i - 1];
    }
    struct reset_list list = { .count = reset_count };
    if (reset_count > 0) {
        uint32_t *at = arena_alloc(arena, reset_count * sizeof(at[0]));
        size_t filled = 0;
        for (size_t i = 1; i < count; i++) {
            if (values[i] < values[i - 1]) {
                at[filled++] = (uint32_t)i;
            }
        }
        list.at = at;
    }
    return list;
}

/* Add what was lost at the resets between samples lo and hi - 1. */
static double add_resets(struct reset_list *resets,
                         const double *values,
                         size_t lo,
                         size_t hi,
                         double sum) {
    while (resets->next < resets->count && resets->at[resets->next] <= lo) {
        resets->next++;
    }
    for (size_t i = resets->next; i < resets->count && resets->at[i] < hi; i++) {
        sum += values[resets->at[i] - 1];
    }
    return sum;
}

/* A counter cannot have been negative: do not extrapolate beyond its zero point. */
static double limit_to_zero(const struct rate_step *step,
                            double first,
                            double increase,
                            double divisor) {
    if (first >= increase && step->to_start <= step->interval) {
        return step->factor; /* the zero point lies further back than that */
    }
    double to_zero = step->interval * (first / increase);
    if (!(to_zero < step->to_start)) {
        return step->factor;
    }
    return (step->interval + to_zero + step->to_end) / step->interval / divisor;
}

static bool extrapolate(struct range_call *call,
                        const struct range_series *series,
                        struct rate_kind kind,
                        struct step_series *out,
                        struct err *err) {
    if (range_is_extended(call->arg)) {
        return extended_rate(call, series, kind.is_counter, kind.is_rate, out, err);
    }
    double divisor = kind.is_rate ? range_seconds(call->arg->range_ms) : 1;
    struct window_frame *frame = call->frame;
    if (!frame->has_rate_steps) {
        rate_steps_fill(call, divisor);
    }
    const double *values = series->values;
    struct reset_list resets = { 0 };
    if (kind.is_counter) {
        resets = find_resets(&call->scratch, values, series->count);
    }
    size_t steps = call->steps->count;
    for (size_t i = 0; i < steps; i++) {
        size_t lo = frame->lo[i];
        size_t hi = frame->hi[i];
        if (hi - lo < 2) {
            continue;
        }
        const struct rate_step *step = &frame->rate_steps[i];
        double first = values[lo];
        double increase = values[hi - 1] - first;
        if (resets.count > 0) {
            increase = add_resets(&resets, values, lo, hi, increase);
        }
        double factor = step->factor;
        if (kind.is_counter && increase > 0 && first >= 0) {
            factor = limit_to_zero(step, first, increase, divisor);
        }
        out->values[i] = increase * factor;
    }
    memcpy(out->present, frame->rate_present, bits_words(steps) * sizeof(uint64_t));
    out->count = frame->rate_count;
    return true;
}

bool range_rate(struct range_call *call,
                const struct range_series *series,
                struct step_series *out,
                struct err *err) {
    return extrapolate(call, series, (struct rate_kind){ true, true }, out, err);
}

bool range_increase(struct range_call *call,
                    const struct range_series *series,
                    struct step_series *out,
                    struct err *err) {
    return extrapolate(call, series, (struct rate_kind){ true, false }, out, err);
}

bool range_delta(struct range_call *call,
                 const struct range_series *series,
                 struct step_series *out,
                 struct err *err) {
    return extrapolate(call, series, (struct rate_kind){ false, false }, out, err);
}

/* ---- from rollups ---- */

/* Of a window that was widened the share that was asked for. */
static double bucket_divisor(const struct bucket_window *window, bool is_rate) {
    return is_rate ? range_seconds(window->range_ms)
                   : (double)window->range_ms / (double)window->asked_ms;
}

static bool bucket_extrapolate(const struct bucket_window *window,
                               struct rate_kind kind,
                               double *ret) {
    const struct tsdb_bucket *all = &window->all;
    if (all->count < 2) {
        return false;
    }
    struct rate_times times = {
        .first_ms = all->t_first_ms,
        .last_ms = all->t_last_ms,
        .count = all->count,
        .start_ms = all->t_ms - window->range_ms,
        .end_ms = all->t_ms,
    };
    double divisor = bucket_divisor(window, kind.is_rate);
    struct rate_step step;
    rate_step_make(&times, divisor, &step);
    double increase = all->last - all->first;
    double factor = step.factor;
    if (kind.is_counter) {
        increase += all->lost;
        if (increase > 0 && all->first >= 0) {
            factor = limit_to_zero(&step, all->first, increase, divisor);
        }
    }
    *ret = increase * factor;
    return true;
}

bool bucket_rate(const struct bucket_window *window, double *ret) {
    return bucket_extrapolate(window, (struct rate_kind){ true, true }, ret);
}

bool bucket_increase(const struct bucket_window *window, double *ret) {
    return bucket_extrapolate(window, (struct rate_kind){ true, false }, ret);
}

bool bucket_delta(const struct bucket_window *window, double *ret) {
    return bucket_extrapolate(window, (struct rate_kind){ false, false }, ret);
}

/* ---- the last two samples ---- */

static bool instant_value(const struct window *window, bool is_rate, double *ret) {
    if (window->count < 2) {
        return false;
    }
    size_t last = window->count - 1;
    double value = window->values[last];
    int64_t interval_ms = window->t_ms[last] - window->t_ms[last - 1];
    assert(interval_ms > 0);
    if (!is_rate || !(value < window->values[last - 1])) {
        value -= window->values[last - 1];
    }
    *ret = is_rate ? value / ((double)interval_ms / 1000) : value;
    return true;
}

bool window_irate(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    return instant_value(window, true, ret);
}

bool window_idelta(struct range_call *call, const struct window *window, double *ret) {
    (void)call;
    return instant_value(window, false, ret);
}

/* ---- events between neighbours: counts by prefix sums ---- */

static bool is_reset(double previous, double value) {
    return value < previous;
}

static bool is_change(double previous, double value) {
    return value != previous && !(value != value && previous != previous);
}

static bool count_events(struct range_call *call,
                         const struct range_series *series,
                         bool (*is_event)(double previous, double value),
                         struct step_series *out) {
    /* events[i]: among samples 1 … i. */
    uint32_t *events = arena_alloc(&call->scratch, series->count * sizeof(events[0]));
    events[0] = 0;
    for (size_t i = 1; i < series->count; i++) {
        events[i] = events[i - 1] + is_event(series->values[i - 1], series->values[i]);
    }
    bool is_extended = range_is_extended(call->arg);
    for (size_t i = 0; i < call->steps->count; i++) {
        size_t lo = call->frame->lo[i];
        size_t hi = call->frame->hi[i];
        if (lo == hi) {
            continue;
        }
        if (is_extended && !extended_first(call, series, i, &lo)) {
            continue;
        }
        step_series_set(out, i, events[hi - 1] - events[lo]);
    }
    return true;
}

bool range_resets(struct range_call *call,
                  const struct range_series *series,
                  struct step_series *out,
                  struct err *err) {
    (void)err;
    return count_events(call, series, is_reset, out);
}

bool range_changes(struct range_call *call,
                   const struct range_series *series,
                   struct step_series *out,
                   struct err *err) {
    (void)err;
    return count_events(call, series, is_change, out);
}
