/* Where metric names go: which operations drop them and when that makes series equal. */
#include "promql/eval_call.h"

void eval_drop_name(struct eval *eval, struct step_series *series) {
    if (eval->delays_name_removal) {
        series->drops_name = true;
    } else {
        series->labels = lset_drop_metadata(series->labels, &eval->arena);
    }
}

static bool aggregate_is_unique(const struct promql_expr *expr) {
    if (expr->aggregate.is_without || expr->aggregate.op == PROMQL_AGG_TOPK ||
        expr->aggregate.op == PROMQL_AGG_BOTTOMK || expr->aggregate.op == PROMQL_AGG_LIMITK ||
        expr->aggregate.op == PROMQL_AGG_LIMIT_RATIO ||
        expr->aggregate.op == PROMQL_AGG_COUNT_VALUES) {
        return false;
    }
    for (size_t i = 0; i < expr->aggregate.grouping_count; i++) {
        if (lset_is_metadata(expr->aggregate.grouping[i])) {
            return false;
        }
    }
    return true;
}

static bool call_is_unique(struct eval *eval, const struct node *node, bool *ret, struct err *err) {
    const struct function_def *def = &function_defs[node->expr->call.function->id];
    if (!def->keeps_name) {
        *ret = !def->makes_labels;
        return true;
    }
    for (size_t i = 0; i < node->arg_count; i++) {
        if (node->args[i]->type == PROMQL_VECTOR || node->args[i]->type == PROMQL_MATRIX) {
            return eval_is_unique_sans_name(eval, node->args[i], ret, err);
        }
    }
    *ret = false;
    return true;
}

bool eval_is_unique_sans_name(struct eval *eval,
                              const struct node *node,
                              bool *ret,
                              struct err *err) {
    switch (node->kind) {
    case NODE_NUMBER: *ret = true; return true;
    case NODE_SELECTOR:
    case NODE_RANGE:
        if (!selection_load(eval, node, err)) {
            return false;
        }
        *ret = node->selection->is_unique_sans_name;
        return true;
    case NODE_SUBQUERY:
    case NODE_INVARIANT: return eval_is_unique_sans_name(eval, node->args[0], ret, err);
    case NODE_UNARY:
        *ret = true;
        return node->expr->unary.op == PROMQL_OP_SUB ||
               eval_is_unique_sans_name(eval, node->args[0], ret, err);
    case NODE_BINARY:
        *ret = node->expr->binary.return_bool || (!promql_op_is_comparison(node->expr->binary.op) &&
                                                  !promql_op_is_set(node->expr->binary.op));
        return true;
    case NODE_AGGREGATE: *ret = aggregate_is_unique(node->expr); return true;
    case NODE_CALL: return call_is_unique(eval, node, ret, err);
    case NODE_STRING:
    case NODE_KIND_COUNT: break;
    }
    BUG("plan node kind %d has no names", (int)node->kind);
}

bool eval_dropping_names(struct eval *eval,
                         const struct node *arg,
                         const struct steps *steps,
                         const struct dropping_stage *stage,
                         const struct sink *out,
                         struct err *err) {
    bool is_unique = true;
    if (!eval->delays_name_removal && !eval_is_unique_sans_name(eval, arg, &is_unique, err)) {
        return false;
    }
    if (is_unique) {
        return stage->run(stage->ctx, out, err);
    }
    struct merger merger;
    merger_init(&merger, eval, steps);
    struct sink sink = { .take = merger_take, .ctx = &merger };
    bool is_ok = stage->run(stage->ctx, &sink, err) && matrix_stream(&merger.matrix, out, err);
    step_matrix_finish(&merger.matrix);
    return is_ok;
}
