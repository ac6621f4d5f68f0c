/*
 * Reading rollups instead of samples (tsdb_read_buckets).
 *
 * Exact: when every window of a selector begins and ends where buckets do, the buckets give what
 * the samples would, up to the rounding of sums. Widened: when samples were taken by retention and
 * only rollups are left, windows are moved back and widened to whole buckets, and an info says so.
 */
#pragma once

#include "promql/window.h"

struct rollup_use {
    int64_t resolution_ms; /* 0: read samples */
    bool is_widened;
};

/* Whether a selector that looks reach_ms back from each step's reference time is to be answered
 * from buckets. Notes it when they are widened. */
struct rollup_use rollup_use_get(struct eval *eval,
                                 const struct node *node,
                                 const struct steps *steps,
                                 int64_t reach_ms);

/* The reference time of a step and how far back its window reaches, in whole buckets. */
int64_t rollup_reference_ms(const struct rollup_use *use, const struct node *node, int64_t t_ms);
int64_t rollup_reach_ms(const struct rollup_use *use, int64_t reach_ms);

/* The resolution at which something is left of t_ms, whose samples are gone; 0 = none (or samples
 * are there). */
int64_t rollup_leftover_ms(const struct eval *eval, int64_t t_ms);

/* Say that a selector reaches back to where only rollups are left. */
void rollup_note_leftover(struct eval *eval, const struct node *node, int64_t resolution_ms);

/* What all buckets of a window come to. */
struct bucket_window {
    struct tsdb_bucket all; /* t_ms: end of the window */
    int64_t range_ms;       /* from start to end */
    int64_t asked_ms;       /* the range written in the query */
};

/* Sums up buckets [lo, hi); all.count is 0 when they hold no samples. */
struct tsdb_bucket rollup_sum(const struct tsdb_bucket *buckets, size_t lo, size_t hi);

/* The value of a window with samples; false when it has none. */
typedef bool bucket_eval_fn(const struct bucket_window *window, double *ret);

bucket_eval_fn bucket_avg;
bucket_eval_fn bucket_count;
bucket_eval_fn bucket_delta; /* func_rate.c, as the next two */
bucket_eval_fn bucket_increase;
bucket_eval_fn bucket_rate;
bucket_eval_fn bucket_first;
bucket_eval_fn bucket_last;
bucket_eval_fn bucket_max;
bucket_eval_fn bucket_min;
bucket_eval_fn bucket_present;
bucket_eval_fn bucket_sum;
bucket_eval_fn bucket_ts_of_first;
bucket_eval_fn bucket_ts_of_last;

/* An instant selector's series from buckets: the newest sample of (ref - lookback, ref]. */
void rollup_fill_selector(const struct eval *eval,
                          const struct rollup_use *use,
                          const struct node *node,
                          const struct steps *steps,
                          const struct tsdb_buckets *buckets,
                          bool wants_times,
                          struct step_series *series);

/* A range call's series from buckets; `frame` gets the numbers of samples the accounts want. */
void rollup_fill_range(const struct rollup_use *use,
                       const struct range_call *call,
                       bucket_eval_fn *fn,
                       const struct tsdb_buckets *buckets,
                       struct window_frame *frame,
                       struct step_series *out);

/* Put before the samples of a column, all later than `floor_ms`, the last one of every bucket up to
 * there: for functions that want samples where only rollups are left. */
WARN_UNUSED bool rollup_prepend(struct eval *eval,
                                uint64_t view_id,
                                int64_t resolution_ms,
                                int64_t first_ms,
                                struct tsdb_column *column,
                                struct err *err);
