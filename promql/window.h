/*
 * Windows of range functions over the samples of one series. Where each step's window begins and
 * ends depends on timestamps only, so series scraped together share one frame.
 */
#pragma once

#include "promql/eval_range.h"

/* What rate() knows of a step before it sees values: seconds between the first and the last
 * sample, from the start of the range to the first and from the last to the end as far as it is
 * extrapolated, and what the increase is multiplied with. */
struct rate_step {
    double interval;
    double to_start;
    double to_end;
    double factor;
};

/* Bounds of every step's window in one column of timestamps. */
struct window_frame {
    int64_t *t_ms; /* the column, to recognise it */
    size_t count;
    uint32_t *lo; /* per step: samples [lo, hi) */
    uint32_t *hi;
    size_t total;                 /* samples of all windows together */
    size_t largest;               /* samples of the largest window */
    size_t last;                  /* samples of the last step's window */
    struct rate_step *rate_steps; /* filled by the first rate() that meets the frame */
    uint64_t *rate_present;       /* the steps rate() has a result for */
    size_t rate_count;
    bool has_rate_steps;
    size_t capacity; /* private */
};

enum {
    WINDOW_FRAMES_MAX = 64
};

/* The frames of the timestamp columns seen lately. */
struct window_frames {
    struct arena arena;
    struct window_frame slots[WINDOW_FRAMES_MAX];
    size_t slot_count;
};

/* State of one call of a range function. */
struct range_call {
    struct eval *eval;
    const struct node *node; /* the call */
    const struct node *arg;  /* its range vector */
    const struct steps *steps;
    struct range_reach reach;
    double *scalars[2]; /* the other arguments in order, per step */
    struct window_frames frames;
    struct window_frame *frame; /* of the series at hand */
    struct arena scratch;       /* reset before every series */
    uint64_t produced;          /* samples of the results so far */
    uint64_t peak;              /* with the samples of a window */
    double *buffer;             /* in scratch: room for the largest window, when asked for */
};

/* One step's samples. */
struct window {
    const int64_t *t_ms;
    const double *values;
    size_t count; /* > 0 */
    size_t step;
};

/* Fills `out` (empty before) from the samples of one series. */
typedef bool range_eval_fn(struct range_call *call,
                           const struct range_series *series,
                           struct step_series *out,
                           struct err *err);

/* The value of one window; false when it has none. */
typedef bool window_eval_fn(struct range_call *call, const struct window *window, double *ret);

void range_call_init(struct range_call *call,
                     struct eval *eval,
                     const struct node *node,
                     const struct node *arg,
                     const struct steps *steps);
void range_call_finish(struct range_call *call);

/* Account for a series with `count` results: one series' window is held beside the results. */
void range_call_account(struct range_call *call, size_t count);

/* Find or compute the frame of a series; valid until the next call. */
struct window_frame *window_frame_get(struct range_call *call, const struct range_series *series);

/* Apply a window function at every step. */
WARN_UNUSED bool window_apply(struct range_call *call,
                              window_eval_fn *fn,
                              const struct range_series *series,
                              struct step_series *out,
                              struct err *err);

/* End of a step's window: the reference time. */
static inline int64_t window_end_ms(const struct range_call *call, size_t step) {
    return node_reference_ms(call->arg, steps_at(call->steps, step));
}

/* Position notes about the range vector point at. */
uint32_t range_call_pos(const struct range_call *call);
