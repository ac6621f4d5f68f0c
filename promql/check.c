/*
 * The second pass: types and rules the grammar cannot express. Nodes are visited in upstream's
 * order, so that of several problems the same one is reported.
 */
#include <assert.h>

#include "promql/lex_scan.h"
#include "promql/parser.h"
#include "promql/quote.h"

static bool check(struct promql_parser *parser, struct promql_expr *expr);

static bool expect_type(struct promql_parser *parser,
                        struct promql_expr *expr,
                        enum promql_type wanted,
                        const char *context) {
    if (!check(parser, expr)) {
        return false;
    }
    if (expr->type != wanted) {
        return promql_parser_fail(parser, expr->pos_start, "expected type %s in %s, got %s",
                                  promql_type_to_string(wanted), context,
                                  promql_type_to_string(expr->type));
    }
    return true;
}

/* ---- selectors ---- */

static bool check_single_name(struct promql_parser *parser, const struct promql_expr *expr) {
    /* The last matcher is the name written before the braces. */
    for (size_t i = 0; i + 1 < expr->selector.matcher_count; i++) {
        const struct matcher *matcher = &expr->selector.matchers[i];
        if (!str_eq(matcher->name, METRIC_NAME)) {
            continue;
        }
        struct buf after;
        buf_init(&after, sizeof(parser->err->msg));
        buf_cstr(&after, " or ");
        promql_quote(&after, matcher->value);
        promql_parser_fail_quoted(parser, expr->pos_start,
                                  "metric name must not be set twice: ", expr->selector.name,
                                  after.ptr);
        buf_finish(&after);
        return false;
    }
    return true;
}

static bool check_selector(struct promql_parser *parser, const struct promql_expr *expr) {
    if (expr->selector.name.len > 0) {
        return check_single_name(parser, expr);
    }
    for (size_t i = 0; i < expr->selector.matcher_count; i++) {
        if (!matcher_matches(&expr->selector.matchers[i], STR(""))) {
            return true;
        }
    }
    return promql_parser_fail(parser, expr->pos_start,
                              "vector selector must contain at least one non-empty matcher");
}

/* ---- aggregations ---- */

static bool check_aggregate(struct promql_parser *parser, struct promql_expr *expr) {
    if (!expect_type(parser, expr->aggregate.expr, PROMQL_VECTOR, "aggregation expression")) {
        return false;
    }
    if (expr->aggregate.param == NULL) {
        return true;
    }
    bool is_text = expr->aggregate.op == PROMQL_AGG_COUNT_VALUES;
    return expect_type(parser, expr->aggregate.param, is_text ? PROMQL_STRING : PROMQL_SCALAR,
                       "aggregation parameter");
}

/* ---- binary operators ---- */

/* Errors about the operator point at it rather than at the left operand. */
static size_t operator_pos(const struct promql_parser *parser, const struct promql_expr *expr) {
    struct str text = parser->lexer.text;
    size_t pos = expr->binary.lhs->pos_end;
    while (pos < text.len && promql_is_space((unsigned char)text.ptr[pos])) {
        pos++;
    }
    return pos;
}

static bool check_include(struct promql_parser *parser, const struct promql_expr *expr) {
    const struct promql_matching *matching = &expr->binary.matching;
    if (!matching->is_on) {
        return true;
    }
    for (size_t i = 0; i < matching->label_count; i++) {
        for (size_t j = 0; j < matching->include_count; j++) {
            if (str_eq(matching->labels[i], matching->include[j])) {
                return promql_parser_fail_quoted(parser, operator_pos(parser, expr), "label ",
                                                 matching->labels[i],
                                                 " must not occur in ON and GROUP clause at once");
            }
        }
    }
    return true;
}

static bool is_operand(const struct promql_expr *expr) {
    return expr->type == PROMQL_SCALAR || expr->type == PROMQL_VECTOR;
}

static bool has_fill(const struct promql_matching *matching) {
    return matching->has_fill_left || matching->has_fill_right;
}

/* At least one side is no vector: nothing is matched. */
static bool check_scalar_matching(struct promql_parser *parser, struct promql_expr *expr) {
    struct promql_matching *matching = &expr->binary.matching;
    if (matching->label_count > 0) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "vector matching only allowed between instant vectors");
    }
    if (has_fill(matching)) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "filling in missing series only allowed between instant vectors");
    }
    *matching = (struct promql_matching){ .card = PROMQL_ONE_TO_ONE };
    if (promql_op_is_set(expr->binary.op)) {
        struct str name = str_from(promql_op_to_string(expr->binary.op));
        return promql_parser_fail_quoted(parser, expr->pos_start, "set operator ", name,
                                         " not allowed in binary scalar expression");
    }
    return true;
}

static bool check_set_matching(struct promql_parser *parser, struct promql_expr *expr) {
    struct promql_matching *matching = &expr->binary.matching;
    if (matching->card != PROMQL_ONE_TO_ONE) {
        struct str name = str_from(promql_op_to_string(expr->binary.op));
        return promql_parser_fail_quoted(parser, expr->pos_start, "no grouping allowed for ", name,
                                         " operation");
    }
    matching->card = PROMQL_MANY_TO_MANY;
    if (has_fill(matching)) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "filling in missing series not allowed for set operators");
    }
    return true;
}

static bool check_operator(struct promql_parser *parser, const struct promql_expr *expr) {
    bool is_comparison = promql_op_is_comparison(expr->binary.op);
    if (expr->binary.return_bool && !is_comparison) {
        return promql_parser_fail(parser, operator_pos(parser, expr),
                                  "bool modifier can only be used on comparison operators");
    }
    bool is_scalar =
        expr->binary.lhs->type == PROMQL_SCALAR && expr->binary.rhs->type == PROMQL_SCALAR;
    if (is_comparison && !expr->binary.return_bool && is_scalar) {
        return promql_parser_fail(parser, operator_pos(parser, expr),
                                  "comparisons between scalars must use BOOL modifier");
    }
    return check_include(parser, expr);
}

static bool check_binary(struct promql_parser *parser, struct promql_expr *expr) {
    struct promql_expr *lhs = expr->binary.lhs;
    struct promql_expr *rhs = expr->binary.rhs;
    if (!check(parser, lhs) || !check(parser, rhs) || !check_operator(parser, expr)) {
        return false;
    }
    if (!is_operand(lhs) || !is_operand(rhs)) {
        return promql_parser_fail(
            parser, is_operand(lhs) ? rhs->pos_start : lhs->pos_start,
            "binary expression must contain only scalar and instant vector types");
    }
    if (lhs->type != PROMQL_VECTOR || rhs->type != PROMQL_VECTOR) {
        return check_scalar_matching(parser, expr);
    }
    return !promql_op_is_set(expr->binary.op) || check_set_matching(parser, expr);
}

/* ---- calls ---- */

static bool check_argument_count(struct promql_parser *parser, const struct promql_expr *expr) {
    const struct promql_function *function = expr->call.function;
    size_t count = expr->call.arg_count;
    size_t least = function->arg_count;
    const char *kind = "";
    size_t bound = least;
    bool is_fine = count == least;
    if (function->variadic != 0) {
        assert(least > 0);
        least--;
        size_t most = function->variadic > 0 ? least + (size_t)function->variadic : SIZE_MAX;
        kind = count < least ? "at least " : "at most ";
        bound = count < least ? least : most;
        is_fine = count >= least && count <= most;
    }
    return is_fine || promql_parser_fail(parser, expr->pos_start,
                                         "expected %s%zu argument(s) in call to \"%s\", got %zu",
                                         kind, bound, function->name, count);
}

/* The second argument of info() is not evaluated: it only lends its label matchers. */
static bool check_info_selector(struct promql_parser *parser, const struct promql_expr *expr) {
    const struct promql_expr *selector = expr->call.args[1];
    if (selector->type != PROMQL_VECTOR) {
        return promql_parser_fail(
            parser, expr->pos_start, "expected type %s in call to function \"info\", got %s",
            promql_type_to_string(PROMQL_VECTOR), promql_type_to_string(selector->type));
    }
    if (selector->kind != PROMQL_NODE_SELECTOR) {
        return promql_parser_fail(parser, selector->pos_start, "expected label selectors only");
    }
    if (selector->selector.name.len > 0) {
        return promql_parser_fail(parser, selector->pos_start,
                                  "expected label selectors only, got vector selector instead");
    }
    return true;
}

static bool check_argument(struct promql_parser *parser, struct promql_expr *expr, size_t i) {
    const struct promql_function *function = expr->call.function;
    struct promql_expr *argument = expr->call.args[i];
    bool is_info_selector = function->id == PROMQL_FN_INFO && i == 1;
    if (!is_info_selector && !check(parser, argument)) {
        return false;
    }
    size_t last = (size_t)function->arg_count - 1;
    enum promql_type wanted = function->args[i < last ? i : last];
    return argument->type == wanted ||
           promql_parser_fail(parser, argument->pos_start,
                              "expected type %s in call to function \"%s\", got %s",
                              promql_type_to_string(wanted), function->name,
                              promql_type_to_string(argument->type));
}

static bool check_call(struct promql_parser *parser, struct promql_expr *expr) {
    if (!check_argument_count(parser, expr)) {
        return false;
    }
    bool is_info = expr->call.function->id == PROMQL_FN_INFO;
    if (is_info && expr->call.arg_count > 1 && !check_info_selector(parser, expr)) {
        return false;
    }
    for (size_t i = 0; i < expr->call.arg_count; i++) {
        if (!check_argument(parser, expr, i)) {
            return false;
        }
    }
    return true;
}

/* ---- the rest ---- */

static bool check_unary(struct promql_parser *parser, struct promql_expr *expr) {
    if (!check(parser, expr->unary.expr)) {
        return false;
    }
    return is_operand(expr->unary.expr) ||
           promql_parser_fail(parser, expr->pos_start,
                              "unary expression only allowed on expressions of type scalar or "
                              "instant vector, got \"%s\"",
                              promql_type_to_string(expr->unary.expr->type));
}

static bool check_subquery(struct promql_parser *parser, struct promql_expr *expr) {
    if (!check(parser, expr->subquery.expr)) {
        return false;
    }
    return expr->subquery.expr->type == PROMQL_VECTOR ||
           promql_parser_fail(parser, expr->pos_start,
                              "subquery is only allowed on instant vector, got %s instead",
                              promql_type_to_api(expr->subquery.expr->type));
}

static bool check(struct promql_parser *parser, struct promql_expr *expr) {
    switch (expr->kind) {
    case PROMQL_NODE_NUMBER:
    case PROMQL_NODE_STRING: return true;
    case PROMQL_NODE_SELECTOR: return check_selector(parser, expr);
    case PROMQL_NODE_RANGE: return check_selector(parser, expr->range.selector);
    case PROMQL_NODE_SUBQUERY: return check_subquery(parser, expr);
    case PROMQL_NODE_UNARY: return check_unary(parser, expr);
    case PROMQL_NODE_BINARY: return check_binary(parser, expr);
    case PROMQL_NODE_AGGREGATE: return check_aggregate(parser, expr);
    case PROMQL_NODE_CALL: return check_call(parser, expr);
    case PROMQL_NODE_PAREN: return check(parser, expr->paren);
    case PROMQL_NODE_DURATION:
    case PROMQL_NODE_KIND_COUNT: break;
    }
    BUG("node kind %d where an expression belongs", (int)expr->kind);
}

bool promql_check(struct promql_parser *parser, struct promql_expr *expr) {
    return check(parser, expr);
}
