/*
 * From the syntax tree to the plan: durations and @ times resolved, parentheses gone, functions of
 * the query's own parameters folded, and the largest parts that do not depend on the step wrapped
 * in NODE_INVARIANT nodes. The tree itself stays untouched.
 */
#include <assert.h>

#include "promql/eval_call.h"
#include "promql/eval_range.h"

/* Some three thousand years: with it sums over all levels of nesting stay within an int64. */
static const int64_t DURATION_MS_MAX = INT64_C(100000000000000);

static int64_t clamp_ms(int64_t ms, int64_t max_ms) {
    return ms > max_ms ? max_ms : ms < -max_ms ? -max_ms : ms;
}

static struct node *node_new(struct eval *eval,
                             enum node_kind kind,
                             const struct promql_expr *expr) {
    struct node *node = arena_calloc(&eval->arena, 1, sizeof(*node));
    node->kind = kind;
    node->expr = expr;
    node->type = expr->type;
    return node;
}

static void node_args(struct eval *eval, struct node *node, size_t count) {
    node->arg_count = count;
    node->args = arena_calloc(&eval->arena, count, sizeof(node->args[0]));
}

static bool build_arg(struct eval *eval,
                      struct node *node,
                      size_t index,
                      const struct promql_expr *expr,
                      struct err *err) {
    return plan_build(eval, expr, &node->args[index], err);
}

static bool build_shift(struct eval *eval,
                        struct node *node,
                        const struct promql_shift *shift,
                        struct err *err) {
    if (!plan_duration(eval->query, &shift->offset, true, &node->offset_ms, err)) {
        return false;
    }
    node->offset_ms = clamp_ms(node->offset_ms, DURATION_MS_MAX);
    node->has_at = shift->at != PROMQL_AT_NONE;
    switch (shift->at) {
    case PROMQL_AT_NONE: break;
    case PROMQL_AT_TIME: node->at_ms = clamp_ms(shift->at_ms, EVAL_TIME_MS_MAX); break;
    case PROMQL_AT_START: node->at_ms = eval->query->start_ms; break;
    case PROMQL_AT_END: node->at_ms = eval->query->end_ms; break;
    }
    return true;
}

static bool build_selector(struct eval *eval,
                           const struct promql_expr *expr,
                           struct node **ret,
                           struct err *err) {
    struct node *node = node_new(eval, NODE_SELECTOR, expr);
    node->selection = arena_calloc(&eval->arena, 1, sizeof(*node->selection));
    *ret = node;
    return build_shift(eval, node, &expr->selector.shift, err);
}

static bool build_range(struct eval *eval,
                        const struct promql_expr *expr,
                        struct node **ret,
                        struct err *err) {
    struct node *node;
    if (!build_selector(eval, expr->range.selector, &node, err)) {
        return false;
    }
    node->kind = NODE_RANGE;
    node->type = PROMQL_MATRIX;
    *ret = node;
    if (!plan_duration(eval->query, &expr->range.range, false, &node->range_ms, err)) {
        return false;
    }
    node->range_ms = clamp_ms(node->range_ms, DURATION_MS_MAX);
    return true;
}

static bool build_subquery(struct eval *eval,
                           const struct promql_expr *expr,
                           struct node **ret,
                           struct err *err) {
    struct node *node = node_new(eval, NODE_SUBQUERY, expr);
    node_args(eval, node, 1);
    *ret = node;
    if (!build_shift(eval, node, &expr->subquery.shift, err) ||
        !plan_duration(eval->query, &expr->subquery.step, false, &node->resolution_ms, err) ||
        !plan_duration(eval->query, &expr->subquery.range, false, &node->range_ms, err)) {
        return false;
    }
    node->range_ms = clamp_ms(node->range_ms, DURATION_MS_MAX);
    if (node->resolution_ms <= 0) {
        node->resolution_ms = eval->subquery_step_ms;
    }
    return build_arg(eval, node, 0, expr->subquery.expr, err);
}

static bool build_aggregate(struct eval *eval,
                            const struct promql_expr *expr,
                            struct node **ret,
                            struct err *err) {
    struct node *node = node_new(eval, NODE_AGGREGATE, expr);
    node_args(eval, node, expr->aggregate.param == NULL ? 1 : 2);
    *ret = node;
    return build_arg(eval, node, 0, expr->aggregate.expr, err) &&
           (expr->aggregate.param == NULL || build_arg(eval, node, 1, expr->aggregate.param, err));
}

/* start(), end(), range() and step() as functions: constants of the query. */
static bool fold_query_function(const struct eval *eval, uint8_t id, double *ret) {
    const struct promql_query *query = eval->query;
    switch (id) {
    case PROMQL_FN_START: *ret = (double)query->start_ms / 1000; return true;
    case PROMQL_FN_END: *ret = (double)query->end_ms / 1000; return true;
    case PROMQL_FN_RANGE: *ret = (double)(query->end_ms - query->start_ms) / 1000; return true;
    case PROMQL_FN_STEP:
        *ret = query->start_ms == query->end_ms ? 0 : (double)query->step_ms / 1000;
        return true;
    default: return false;
    }
}

static bool build_call(struct eval *eval,
                       const struct promql_expr *expr,
                       struct node **ret,
                       struct err *err) {
    double number;
    if (fold_query_function(eval, expr->call.function->id, &number)) {
        *ret = node_new(eval, NODE_NUMBER, expr);
        (*ret)->number = number;
        return true;
    }
    struct node *node = node_new(eval, NODE_CALL, expr);
    node_args(eval, node, expr->call.arg_count);
    *ret = node;
    for (size_t i = 0; i < expr->call.arg_count; i++) {
        if (!build_arg(eval, node, i, expr->call.args[i], err)) {
            return false;
        }
    }
    return true;
}

static bool build_node(struct eval *eval,
                       const struct promql_expr *expr,
                       struct node **ret,
                       struct err *err) {
    switch (expr->kind) {
    case PROMQL_NODE_NUMBER:
        *ret = node_new(eval, NODE_NUMBER, expr);
        (*ret)->number = expr->number.value;
        return true;
    case PROMQL_NODE_STRING: *ret = node_new(eval, NODE_STRING, expr); return true;
    case PROMQL_NODE_SELECTOR: return build_selector(eval, expr, ret, err);
    case PROMQL_NODE_RANGE: return build_range(eval, expr, ret, err);
    case PROMQL_NODE_SUBQUERY: return build_subquery(eval, expr, ret, err);
    case PROMQL_NODE_UNARY:
        *ret = node_new(eval, NODE_UNARY, expr);
        node_args(eval, *ret, 1);
        return build_arg(eval, *ret, 0, expr->unary.expr, err);
    case PROMQL_NODE_BINARY:
        *ret = node_new(eval, NODE_BINARY, expr);
        node_args(eval, *ret, 2);
        return build_arg(eval, *ret, 0, expr->binary.lhs, err) &&
               build_arg(eval, *ret, 1, expr->binary.rhs, err);
    case PROMQL_NODE_AGGREGATE: return build_aggregate(eval, expr, ret, err);
    case PROMQL_NODE_CALL: return build_call(eval, expr, ret, err);
    case PROMQL_NODE_PAREN:
    case PROMQL_NODE_DURATION:
    case PROMQL_NODE_KIND_COUNT: break;
    }
    BUG("node kind %d in an expression", (int)expr->kind);
}

/* ---- step invariance ---- */

/* Whether a node's value is the same at every step, and whether evaluating it once is worth a
 * wrapper: literals are cheap, range vectors are evaluated by their functions. */
struct invariance {
    bool is_invariant;
    bool wants_wrapper;
};

static struct invariance mark_invariant(struct eval *eval, struct node *node);

static void wrap(struct eval *eval, struct node **slot) {
    struct node *wrapper = node_new(eval, NODE_INVARIANT, (*slot)->expr);
    wrapper->type = (*slot)->type;
    node_args(eval, wrapper, 1);
    wrapper->args[0] = *slot;
    *slot = wrapper;
}

/* Nodes that are invariant when all their arguments are, unless `is_unsafe`. */
static struct invariance mark_args(struct eval *eval, struct node *node, bool is_unsafe) {
    bool is_invariant = !is_unsafe;
    bool are_selectors = node->arg_count > 0;
    bool *wants = arena_calloc(&eval->arena, node->arg_count, sizeof(wants[0]));
    for (size_t i = 0; i < node->arg_count; i++) {
        struct invariance arg = mark_invariant(eval, node->args[i]);
        wants[i] = arg.wants_wrapper;
        is_invariant = is_invariant && arg.is_invariant;
        are_selectors = are_selectors && arg.is_invariant && node->args[i]->kind == NODE_SELECTOR;
    }
    /* timestamp(m @ 1) looks at the sample's own time; timestamp(abs(m @ 1)) at the step's. */
    bool is_timestamp =
        node->kind == NODE_CALL && node->expr->call.function->id == PROMQL_FN_TIMESTAMP;
    if (is_invariant || (is_timestamp && are_selectors)) {
        return (struct invariance){ .is_invariant = true, .wants_wrapper = true };
    }
    for (size_t i = 0; i < node->arg_count; i++) {
        if (wants[i]) {
            wrap(eval, &node->args[i]);
        }
    }
    return (struct invariance){ false, false };
}

static struct invariance mark_invariant(struct eval *eval, struct node *node) {
    switch (node->kind) {
    case NODE_NUMBER:
    case NODE_STRING: return (struct invariance){ .is_invariant = true };
    case NODE_SELECTOR: return (struct invariance){ node->has_at, node->has_at };
    case NODE_RANGE: return (struct invariance){ .is_invariant = node->has_at };
    case NODE_SUBQUERY:
        if (mark_invariant(eval, node->args[0]).is_invariant) {
            wrap(eval, &node->args[0]);
        }
        return (struct invariance){ .is_invariant = node->has_at };
    case NODE_UNARY: return mark_invariant(eval, node->args[0]);
    case NODE_BINARY:
    case NODE_AGGREGATE: return mark_args(eval, node, false);
    case NODE_CALL:
        return mark_args(eval, node, call_depends_on_time(node->expr->call.function->id));
    case NODE_INVARIANT:
    case NODE_KIND_COUNT: break;
    }
    BUG("plan node kind %d", (int)node->kind);
}

bool plan_build(struct eval *eval,
                const struct promql_expr *expr,
                struct node **ret,
                struct err *err) {
    return build_node(eval, promql_unparen(expr), ret, err);
}

bool plan_finish(struct eval *eval, struct node **root, struct err *err) {
    if (mark_invariant(eval, *root).wants_wrapper) {
        wrap(eval, root);
    }
    if (arena_is_over(&eval->arena)) {
        return eval_too_many_bytes(eval, err);
    }
    return true;
}

/* ---- times ---- */

struct range_reach range_reach(const struct eval *eval, const struct node *node) {
    struct range_reach reach = { .before_ms = node->range_ms };
    if (node->kind == NODE_RANGE && node->expr->selector.is_anchored) {
        reach.before_ms += eval->lookback_ms;
    } else if (node->kind == NODE_RANGE && node->expr->selector.is_smoothed) {
        reach.before_ms += eval->lookback_ms;
        reach.after_ms = eval->lookback_ms;
    }
    return reach;
}

struct steps subquery_steps(const struct node *node, const struct steps *steps) {
    if (steps->count == 0) {
        return (struct steps){ .step_ms = node->resolution_ms, .end_ms = -1 };
    }
    int64_t first_ms = node_reference_ms(node, steps->start_ms) - node->range_ms;
    int64_t last_ms = node_reference_ms(node, steps_at(steps, steps->count - 1));
    /* The first multiple of the resolution after first_ms. */
    int64_t start_ms = node->resolution_ms * (first_ms / node->resolution_ms);
    if (start_ms <= first_ms) {
        start_ms += node->resolution_ms;
    }
    return steps_make(start_ms, last_ms, node->resolution_ms);
}

static void widen(int64_t from_ms, int64_t to_ms, int64_t *ret_min_ms, int64_t *ret_max_ms) {
    *ret_min_ms = from_ms < *ret_min_ms ? from_ms : *ret_min_ms;
    *ret_max_ms = to_ms > *ret_max_ms ? to_ms : *ret_max_ms;
}

static void collect_time_range(const struct eval *eval,
                               const struct node *node,
                               const struct steps *steps,
                               int64_t *min_ms,
                               int64_t *max_ms) {
    if (steps->count == 0) {
        return;
    }
    int64_t first_ms = node_reference_ms(node, steps->start_ms);
    int64_t last_ms = node_reference_ms(node, steps_at(steps, steps->count - 1));
    struct steps inner = *steps;
    switch (node->kind) {
    case NODE_SELECTOR: {
        int64_t after_ms = node->expr->selector.is_smoothed ? eval->lookback_ms : 0;
        widen(first_ms - eval->lookback_ms + 1, last_ms + after_ms, min_ms, max_ms);
        break;
    }
    case NODE_RANGE: {
        struct range_reach reach = range_reach(eval, node);
        widen(first_ms - reach.before_ms + 1, last_ms + reach.after_ms, min_ms, max_ms);
        break;
    }
    case NODE_SUBQUERY: inner = subquery_steps(node, steps); break;
    case NODE_INVARIANT: inner.count = 1; break;
    case NODE_CALL:
        if (node->expr->call.function->id == PROMQL_FN_INFO) {
            struct node info = info_reference(node->args[0]);
            widen(node_reference_ms(&info, steps->start_ms) - eval->lookback_ms + 1,
                  node_reference_ms(&info, steps_at(steps, steps->count - 1)), min_ms, max_ms);
        }
        break;
    default: break;
    }
    for (size_t i = 0; i < node->arg_count; i++) {
        collect_time_range(eval, node->args[i], &inner, min_ms, max_ms);
    }
}

bool plan_time_range(const struct eval *eval,
                     const struct node *node,
                     const struct steps *steps,
                     int64_t *ret_min_ms,
                     int64_t *ret_max_ms) {
    *ret_min_ms = INT64_MAX;
    *ret_max_ms = INT64_MIN;
    collect_time_range(eval, node, steps, ret_min_ms, ret_max_ms);
    return *ret_min_ms <= *ret_max_ms;
}
