/* Names of types, operators and aggregations; walking and freeing trees. */
#include "promql/ast.h"

#include <assert.h>

static const char *const type_names[] = {
    [PROMQL_NONE] = "none",           [PROMQL_SCALAR] = "scalar",
    [PROMQL_STRING] = "string",       [PROMQL_VECTOR] = "instant vector",
    [PROMQL_MATRIX] = "range vector",
};
static_assert(ARRAY_LEN(type_names) == PROMQL_TYPE_COUNT, "every type has a name");

static const char *const api_type_names[] = {
    [PROMQL_NONE] = "none",     [PROMQL_SCALAR] = "scalar", [PROMQL_STRING] = "string",
    [PROMQL_VECTOR] = "vector", [PROMQL_MATRIX] = "matrix",
};
static_assert(ARRAY_LEN(api_type_names) == PROMQL_TYPE_COUNT, "every type has a name");

static const char *const op_names[] = {
    [PROMQL_OP_ADD] = "+",         [PROMQL_OP_SUB] = "-",         [PROMQL_OP_MUL] = "*",
    [PROMQL_OP_DIV] = "/",         [PROMQL_OP_MOD] = "%",         [PROMQL_OP_POW] = "^",
    [PROMQL_OP_ATAN2] = "atan2",   [PROMQL_OP_EQ] = "==",         [PROMQL_OP_NE] = "!=",
    [PROMQL_OP_LT] = "<",          [PROMQL_OP_LE] = "<=",         [PROMQL_OP_GT] = ">",
    [PROMQL_OP_GE] = ">=",         [PROMQL_OP_AND] = "and",       [PROMQL_OP_OR] = "or",
    [PROMQL_OP_UNLESS] = "unless", [PROMQL_OP_TRIM_UPPER] = "</", [PROMQL_OP_TRIM_LOWER] = ">/",
};
static_assert(ARRAY_LEN(op_names) == PROMQL_OP_COUNT, "every operator has a name");

static const char *const agg_names[] = {
    [PROMQL_AGG_SUM] = "sum",
    [PROMQL_AGG_AVG] = "avg",
    [PROMQL_AGG_COUNT] = "count",
    [PROMQL_AGG_MIN] = "min",
    [PROMQL_AGG_MAX] = "max",
    [PROMQL_AGG_GROUP] = "group",
    [PROMQL_AGG_STDDEV] = "stddev",
    [PROMQL_AGG_STDVAR] = "stdvar",
    [PROMQL_AGG_TOPK] = "topk",
    [PROMQL_AGG_BOTTOMK] = "bottomk",
    [PROMQL_AGG_COUNT_VALUES] = "count_values",
    [PROMQL_AGG_QUANTILE] = "quantile",
    [PROMQL_AGG_LIMITK] = "limitk",
    [PROMQL_AGG_LIMIT_RATIO] = "limit_ratio",
};
static_assert(ARRAY_LEN(agg_names) == PROMQL_AGG_KIND_COUNT, "every aggregation has a name");

const char *promql_type_to_string(enum promql_type type) {
    assert((unsigned)type < PROMQL_TYPE_COUNT);
    return type_names[type];
}

const char *promql_type_to_api(enum promql_type type) {
    assert((unsigned)type < PROMQL_TYPE_COUNT);
    return api_type_names[type];
}

const char *promql_op_to_string(enum promql_op op) {
    assert((unsigned)op < PROMQL_OP_COUNT);
    return op_names[op];
}

const char *promql_agg_to_string(enum promql_agg op) {
    assert((unsigned)op < PROMQL_AGG_KIND_COUNT);
    return agg_names[op];
}

enum promql_type promql_expr_type(const struct promql_expr *expr) {
    return expr->type;
}

/* ---- walking ---- */

typedef void (*selector_fn)(void *ctx, const struct promql_expr *selector);

/* Recursion is bounded by PROMQL_HEIGHT_MAX. Operand before parameter, as upstream walks. */
static void each_selector(const struct promql_expr *expr, selector_fn visit, void *ctx) {
    switch (expr->kind) {
    case PROMQL_NODE_SELECTOR: visit(ctx, expr); break;
    case PROMQL_NODE_RANGE: visit(ctx, expr->range.selector); break;
    case PROMQL_NODE_SUBQUERY: each_selector(expr->subquery.expr, visit, ctx); break;
    case PROMQL_NODE_UNARY: each_selector(expr->unary.expr, visit, ctx); break;
    case PROMQL_NODE_PAREN: each_selector(expr->paren, visit, ctx); break;
    case PROMQL_NODE_BINARY:
        each_selector(expr->binary.lhs, visit, ctx);
        each_selector(expr->binary.rhs, visit, ctx);
        break;
    case PROMQL_NODE_AGGREGATE:
        each_selector(expr->aggregate.expr, visit, ctx);
        if (expr->aggregate.param != NULL) {
            each_selector(expr->aggregate.param, visit, ctx);
        }
        break;
    case PROMQL_NODE_CALL:
        for (size_t i = 0; i < expr->call.arg_count; i++) {
            each_selector(expr->call.args[i], visit, ctx);
        }
        break;
    case PROMQL_NODE_NUMBER:
    case PROMQL_NODE_STRING:
    case PROMQL_NODE_DURATION:
    case PROMQL_NODE_KIND_COUNT: break;
    }
}

struct visitor {
    void (*visit)(void *ctx, const struct matcher *matchers, size_t count);
    void *ctx;
};

static void visit_matchers(void *ctx, const struct promql_expr *selector) {
    const struct visitor *visitor = ctx;
    visitor->visit(visitor->ctx, selector->selector.matchers, selector->selector.matcher_count);
}

void promql_visit_selectors(const struct promql_expr *expr,
                            void (*visit)(void *ctx, const struct matcher *matchers, size_t count),
                            void *ctx) {
    struct visitor visitor = { .visit = visit, .ctx = ctx };
    each_selector(expr, visit_matchers, &visitor);
}

/* The tree is the caller's own and not const: promql_expr_finish() got it as such. */
static void finish_selector(void *ctx, const struct promql_expr *selector) {
    (void)ctx;
    for (size_t i = 0; i < selector->selector.matcher_count; i++) {
        matcher_finish(&selector->selector.matchers[i]);
    }
}

void promql_expr_finish(struct promql_expr *expr) {
    if (expr != NULL) {
        each_selector(expr, finish_selector, NULL);
    }
}
