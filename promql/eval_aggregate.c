/* Aggregations: dispatch, grouping, parameters. */
#include <assert.h>
#include <float.h>
#include <math.h>

#include "promql/agg.h"
#include "promql/eval_call.h"

static node_eval_fn *const agg_fns[] = {
    [PROMQL_AGG_SUM] = agg_fold,          [PROMQL_AGG_AVG] = agg_fold,
    [PROMQL_AGG_COUNT] = agg_fold,        [PROMQL_AGG_MIN] = agg_fold,
    [PROMQL_AGG_MAX] = agg_fold,          [PROMQL_AGG_GROUP] = agg_fold,
    [PROMQL_AGG_STDDEV] = agg_fold,       [PROMQL_AGG_STDVAR] = agg_fold,
    [PROMQL_AGG_TOPK] = agg_topk,         [PROMQL_AGG_BOTTOMK] = agg_topk,
    [PROMQL_AGG_LIMITK] = agg_topk,       [PROMQL_AGG_COUNT_VALUES] = agg_count_values,
    [PROMQL_AGG_QUANTILE] = agg_quantile, [PROMQL_AGG_LIMIT_RATIO] = agg_limit_ratio,
};
static_assert(ARRAY_LEN(agg_fns) == PROMQL_AGG_KIND_COUNT, "one evaluator per operator");

bool eval_aggregate(struct eval *eval,
                    const struct node *node,
                    const struct steps *steps,
                    const struct sink *sink,
                    struct err *err) {
    return agg_fns[node->expr->aggregate.op](eval, node, steps, sink, err);
}

void grouping_init(struct grouping *grouping,
                   const struct node *node,
                   struct str extra,
                   struct arena *arena) {
    const struct promql_expr *expr = node->expr;
    size_t count = expr->aggregate.grouping_count;
    struct str *names = arena_alloc(arena, (count + 1) * sizeof(names[0]));
    if (count > 0) {
        memcpy(names, expr->aggregate.grouping, count * sizeof(names[0]));
    }
    *grouping = (struct grouping){
        .is_without = expr->aggregate.is_without,
        .scratch = { .arena = arena },
    };
    if (grouping->is_without) {
        names[count++] = METRIC_NAME;
    } else if (extra.len > 0) {
        names[count++] = extra;
    }
    grouping->names = lset_names_sort(names, count, arena);
    lset_index_init(&grouping->index, arena);
}

size_t grouping_of(struct grouping *grouping, struct labels labels, bool *ret_is_new) {
    struct labels key =
        lset_project(&grouping->scratch, labels, &grouping->names, grouping->is_without);
    return lset_index_add(&grouping->index, key, false, ret_is_new);
}

bool agg_param_eval(struct eval *eval,
                    const struct node *node,
                    const struct steps *steps,
                    struct arena *arena,
                    struct agg_param *ret,
                    struct err *err) {
    assert(node->arg_count == 2);
    *ret = (struct agg_param){ .min = DBL_MAX, .max = -DBL_MAX };
    if (!eval_scalar(eval, node->args[1], steps, arena, &ret->values, err)) {
        return false;
    }
    for (size_t i = 0; i < steps->count; i++) {
        ret->max = go_max(ret->max, ret->values[i]);
        ret->min = go_min(ret->min, ret->values[i]);
        ret->has_nan = ret->has_nan || isnan(ret->values[i]);
    }
    return true;
}
