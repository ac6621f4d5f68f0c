/* Aggregations: grouping and what the operators share. */
#pragma once

#include "promql/eval.h"

/* Maps series to groups by their labels. */
struct grouping {
    struct lset_names names;
    bool is_without;
    struct lset_scratch scratch;
    struct lset_index index; /* group labels by number */
};

/* `extra`: one more label to group by or without; empty for none. */
void grouping_init(struct grouping *grouping,
                   const struct node *node,
                   struct str extra,
                   struct arena *arena);
size_t grouping_of(struct grouping *grouping, struct labels labels, bool *ret_is_new);

/* The parameter of an aggregation at every step, with what upstream checks it for. */
struct agg_param {
    double *values;
    double min;
    double max;
    bool has_nan;
};

WARN_UNUSED bool agg_param_eval(struct eval *eval,
                                const struct node *node,
                                const struct steps *steps,
                                struct arena *arena,
                                struct agg_param *ret,
                                struct err *err);

/* One evaluator per family of operators. */
node_eval_fn agg_fold;         /* sum avg count min max group stddev stdvar */
node_eval_fn agg_quantile;     /* quantile */
node_eval_fn agg_count_values; /* count_values */
node_eval_fn agg_topk;         /* topk bottomk limitk */
node_eval_fn agg_limit_ratio;  /* limit_ratio */
