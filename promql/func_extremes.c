/*
 * min_over_time and max_over_time by a monotonic deque: candidates in time order, each better than
 * all that follow it; the front is the window's extreme. Every sample enters and leaves once.
 */
#include <math.h>

#include "promql/eval_call.h"

struct deque {
    uint32_t *at;
    size_t head;
    size_t tail;
};

static bool is_better(double a, double b, bool is_max) {
    return is_max ? a > b : a < b;
}

static void deque_push(struct deque *deque, const double *values, uint32_t index, bool is_max) {
    if (isnan(values[index])) {
        return; /* the result only when the window has nothing else */
    }
    /* Of equal values the first stays, as upstream (it matters for 0 and -0). */
    while (deque->tail > deque->head &&
           is_better(values[index], values[deque->at[deque->tail - 1]], is_max)) {
        deque->tail--;
    }
    deque->at[deque->tail++] = index;
}

static bool fill_extremes(struct range_call *call,
                          const struct range_series *series,
                          bool is_max,
                          struct step_series *out) {
    const struct window_frame *frame = call->frame;
    struct deque deque = {
        .at = arena_alloc(&call->scratch, series->count * sizeof(deque.at[0])),
    };
    uint32_t next = 0;
    for (size_t i = 0; i < call->steps->count; i++) {
        uint32_t lo = frame->lo[i];
        uint32_t hi = frame->hi[i];
        if (next < lo) {
            next = lo; /* a gap between windows */
        }
        for (; next < hi; next++) {
            deque_push(&deque, series->values, next, is_max);
        }
        while (deque.head < deque.tail && deque.at[deque.head] < lo) {
            deque.head++;
        }
        if (lo != hi) {
            size_t best = deque.head < deque.tail ? deque.at[deque.head] : hi - 1;
            step_series_set(out, i, series->values[best]);
        }
    }
    return true;
}

bool range_max(struct range_call *call,
               const struct range_series *series,
               struct step_series *out,
               struct err *err) {
    (void)err;
    return fill_extremes(call, series, true, out);
}

bool range_min(struct range_call *call,
               const struct range_series *series,
               struct step_series *out,
               struct err *err) {
    (void)err;
    return fill_extremes(call, series, false, out);
}
