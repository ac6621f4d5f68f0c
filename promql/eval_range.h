/*
 * Range vectors: series with their own timestamps, as arguments of range functions or as the result
 * of an instant query.
 */
#pragma once

#include "promql/eval.h"

/* One series: samples without stale markers. Borrowed for the call. */
struct range_series {
    struct labels labels;
    const int64_t *t_ms;
    const double *values;
    size_t count;
    bool drops_name;
};

struct range_sink {
    bool (*take)(void *ctx, const struct range_series *series, struct err *err);
    void *ctx;
};

/* Every series of a NODE_RANGE or NODE_SUBQUERY with the samples any of the steps can see, at
 * least one. A subquery's own samples stay held; what it looked at counts only if asked for. */
WARN_UNUSED bool eval_range_stream(struct eval *eval,
                                   const struct node *node,
                                   const struct steps *steps,
                                   bool counts_inner,
                                   const struct range_sink *sink,
                                   struct err *err);

/* The steps a subquery is evaluated at for a parent evaluated at `steps`. */
struct steps subquery_steps(const struct node *node, const struct steps *steps);

/* How far a range selector looks: (t - before_ms, t + after_ms] around its reference times. */
struct range_reach {
    int64_t before_ms; /* the range, plus the lookback for anchored and smoothed */
    int64_t after_ms;  /* the lookback for smoothed */
};
struct range_reach range_reach(const struct eval *eval, const struct node *node);

/* Remove stale markers in place. */
void range_drop_stale(struct tsdb_column *column);

/* The value at t_ms on the line through samples 0 and 1; a counter that fell starts from 0. */
double range_interpolate(const int64_t *t_ms, const double *values, int64_t at_ms, bool is_counter);
