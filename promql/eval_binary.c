/* Operators between scalars, between a vector and a scalar, and the unary ones. */
#include "promql/eval_binary.h"

#include <assert.h>
#include <math.h>

#include "promql/eval_call.h"

bool binary_apply(enum promql_op op, double lhs, double rhs, double *ret) {
    *ret = lhs;
    switch (op) {
    case PROMQL_OP_ADD: *ret = lhs + rhs; return true;
    case PROMQL_OP_SUB: *ret = lhs - rhs; return true;
    case PROMQL_OP_MUL: *ret = lhs * rhs; return true;
    case PROMQL_OP_DIV: *ret = lhs / rhs; return true;
    case PROMQL_OP_MOD: *ret = fmod(lhs, rhs); return true;
    case PROMQL_OP_POW: *ret = pow(lhs, rhs); return true;
    case PROMQL_OP_ATAN2: *ret = atan2(lhs, rhs); return true;
    case PROMQL_OP_EQ: return lhs == rhs;
    case PROMQL_OP_NE: return lhs != rhs;
    case PROMQL_OP_LT: return lhs < rhs;
    case PROMQL_OP_LE: return lhs <= rhs;
    case PROMQL_OP_GT: return lhs > rhs;
    case PROMQL_OP_GE: return lhs >= rhs;
    case PROMQL_OP_TRIM_UPPER:
    case PROMQL_OP_TRIM_LOWER: return false;
    case PROMQL_OP_AND:
    case PROMQL_OP_OR:
    case PROMQL_OP_UNLESS:
    case PROMQL_OP_COUNT: break;
    }
    BUG("operator %d is not one of floats", (int)op);
}

void binary_note_incompatible(struct eval *eval, const struct node *node) {
    const char *op = promql_op_to_string(node->expr->binary.op);
    note_add(&eval->notes, NOTE_INFO, node->expr->pos_start,
             "incompatible sample types encountered for binary operator \"%s\": float %s float", op,
             op);
}

/* ---- scalars ---- */

static bool eval_scalars(struct eval *eval,
                         const struct node *node,
                         const struct steps *steps,
                         const struct sink *sink,
                         struct err *err) {
    enum promql_op op = node->expr->binary.op;
    uint64_t mark = eval->samples_now;
    struct step_matrix scratch;
    struct step_series *series;
    double *lhs;
    double *rhs;
    step_matrix_init(&scratch, eval, steps);
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &series, err) &&
                 eval_scalar(eval, node->args[0], steps, &scratch.arena, &lhs, err) &&
                 eval_scalar(eval, node->args[1], steps, &scratch.arena, &rhs, err);
    if (is_ok) {
        for (size_t i = 0; i < steps->count; i++) {
            double value;
            bool holds = binary_apply(op, lhs[i], rhs[i], &value);
            step_series_set(series, i, promql_op_is_comparison(op) ? holds : value);
        }
        is_ok = eval_account(eval, mark, 2, steps->count, err) && sink_take(sink, series, err);
    }
    step_matrix_finish(&scratch);
    return is_ok;
}

/* ---- vector and scalar ---- */

struct operator_map {
    struct value_map map; /* first: apply() gets a pointer to it */
    enum promql_op op;
    bool is_swapped; /* the scalar is on the left */
    bool return_bool;
};

static bool map_operator(const struct value_map *map, size_t step, double *value) {
    const struct operator_map *operator=(const struct operator_map *) map;
    double vector = *value;
    double scalar = map->scalars[0][step];
    bool holds = operator->is_swapped ? binary_apply(operator->op, scalar, vector, value)
                                      : binary_apply(operator->op, vector, scalar, value);
    if (!promql_op_is_comparison(operator->op)) {
        return holds;
    }
    *value = vector; /* whichever side the vector is on */
    if (operator->return_bool) {
        *value = holds;
        return true;
    }
    return holds;
}

static bool eval_vector_scalar(struct eval *eval,
                               const struct node *node,
                               const struct steps *steps,
                               const struct sink *sink,
                               struct err *err) {
    const struct promql_expr *expr = node->expr;
    bool is_swapped = node->args[0]->type == PROMQL_SCALAR;
    struct operator_map operator= {
        .map = {
            .apply = map_operator,
            .steps = steps,
            .keeps_name = !binary_changes_schema(expr->binary.op) && !expr->binary.return_bool,
            .scalar_count = 1,
        },
        .op = expr->binary.op,
        .is_swapped = is_swapped,
        .return_bool = expr->binary.return_bool,
    };
    uint64_t mark = eval->samples_now;
    struct step_matrix scratch;
    double *scalars;
    step_matrix_init(&scratch, eval, steps);
    bool is_ok =
        eval_scalar(eval, node->args[is_swapped ? 0 : 1], steps, &scratch.arena, &scalars, err);
    if (is_ok) {
        operator.map.scalars[0] = scalars;
        operator.map.scalars_held = eval->samples_now - mark;
        operator.map.is_scalar_first = is_swapped;
        eval->samples_now = mark;
        is_ok =
            value_map_stream(eval, node->args[is_swapped ? 1 : 0], steps, &operator.map, sink, err);
    }
    if (is_ok && binary_is_trim(expr->binary.op)) {
        binary_note_incompatible(eval, node);
    }
    step_matrix_finish(&scratch);
    return is_ok;
}

bool eval_binary(struct eval *eval,
                 const struct node *node,
                 const struct steps *steps,
                 const struct sink *sink,
                 struct err *err) {
    bool is_lhs_scalar = node->args[0]->type == PROMQL_SCALAR;
    bool is_rhs_scalar = node->args[1]->type == PROMQL_SCALAR;
    if (is_lhs_scalar && is_rhs_scalar) {
        return eval_scalars(eval, node, steps, sink, err);
    }
    if (is_lhs_scalar || is_rhs_scalar) {
        return eval_vector_scalar(eval, node, steps, sink, err);
    }
    if (promql_op_is_set(node->expr->binary.op)) {
        return eval_set(eval, node, steps, sink, err);
    }
    return eval_join(eval, node, steps, sink, err);
}

/* ---- unary ---- */

static bool map_negate(const struct value_map *map, size_t step, double *value) {
    (void)map;
    (void)step;
    *value = -*value;
    return true;
}

bool eval_unary(struct eval *eval,
                const struct node *node,
                const struct steps *steps,
                const struct sink *sink,
                struct err *err) {
    if (node->expr->unary.op != PROMQL_OP_SUB) {
        return eval_stream(eval, node->args[0], steps, sink, err);
    }
    struct value_map map = { .apply = map_negate, .steps = steps, .is_in_place = true };
    return value_map_stream(eval, node->args[0], steps, &map, sink, err);
}

/* ---- signatures ---- */

void signatures_init(struct signatures *signatures, const struct node *node, struct arena *arena) {
    const struct promql_matching *matching = &node->expr->binary.matching;
    struct str *names = arena_alloc(arena, (matching->label_count + 1) * sizeof(names[0]));
    size_t count = matching->label_count;
    if (count > 0) {
        memcpy(names, matching->labels, count * sizeof(names[0]));
    }
    if (!matching->is_on) {
        names[count++] = METRIC_NAME;
    }
    *signatures = (struct signatures){
        .names = lset_names_sort(names, count, arena),
        .is_without = !matching->is_on,
        .scratch = { .arena = arena },
    };
    lset_index_init(&signatures->index, arena);
}

struct labels signature_labels(struct signatures *signatures, struct labels labels) {
    return lset_project(&signatures->scratch, labels, &signatures->names, signatures->is_without);
}

size_t signature_add(struct signatures *signatures, struct labels labels) {
    bool is_new;
    return lset_index_add(&signatures->index, signature_labels(signatures, labels), false, &is_new);
}
