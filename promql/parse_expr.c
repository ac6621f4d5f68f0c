/*
 * Expressions: operators by precedence climbing, calls, aggregations, parentheses.
 */
#include <assert.h>

#include "promql/parser.h"

/* ---- classes of tokens ---- */

bool promql_token_is_metric_name(enum promql_token_type type) {
    switch (type) {
    case PROMQL_TOKEN_IDENTIFIER:
    case PROMQL_TOKEN_METRIC_IDENTIFIER:
    case PROMQL_TOKEN_LAND:
    case PROMQL_TOKEN_LOR:
    case PROMQL_TOKEN_LUNLESS:
    case PROMQL_TOKEN_OFFSET:
    case PROMQL_TOKEN_SMOOTHED:
    case PROMQL_TOKEN_ANCHORED:
    case PROMQL_TOKEN_BY:
    case PROMQL_TOKEN_WITHOUT:
    case PROMQL_TOKEN_FILL:
    case PROMQL_TOKEN_FILL_LEFT:
    case PROMQL_TOKEN_FILL_RIGHT: return true;
    default: return promql_token_is_aggregation(type) || promql_token_is_preprocessor(type);
    }
}

bool promql_token_starts_expression(enum promql_token_type type) {
    switch (type) {
    case PROMQL_TOKEN_NUMBER:
    case PROMQL_TOKEN_DURATION:
    case PROMQL_TOKEN_STRING:
    case PROMQL_TOKEN_LEFT_PAREN:
    case PROMQL_TOKEN_LEFT_BRACE:
    case PROMQL_TOKEN_ADD:
    case PROMQL_TOKEN_SUB: return true;
    default: return promql_token_is_metric_name(type);
    }
}

/* ---- calls ---- */

struct arguments {
    struct promql_expr **items;
    size_t count;
    size_t cap;
};

/* The argument list behind an opening parenthesis that has been taken, up to the closing one. */
static bool parse_argument_list(struct promql_parser *parser, struct arguments *arguments) {
    if (promql_parser_sees(parser, PROMQL_TOKEN_RIGHT_PAREN)) {
        promql_parser_take(parser);
        return true;
    }
    for (;;) {
        struct promql_expr *argument = promql_parse_expression(parser);
        if (argument == NULL) {
            return false;
        }
        arguments->items = arena_vec_grow(parser->arena, arguments->items, &arguments->cap,
                                          arguments->count + 1, sizeof(struct promql_expr *));
        arguments->items[arguments->count++] = argument;
        if (!promql_parser_sees(parser, PROMQL_TOKEN_COMMA)) {
            return promql_parser_expect(parser, PROMQL_TOKEN_RIGHT_PAREN);
        }
        size_t comma_pos = promql_parser_take(parser).pos;
        if (!promql_token_starts_expression(promql_parser_peek(parser)->type)) {
            return promql_parser_fail(parser, comma_pos,
                                      "trailing commas not allowed in function call args");
        }
    }
}

static bool parse_arguments(struct promql_parser *parser, struct arguments *arguments) {
    *arguments = (struct arguments){ .items = NULL };
    if (!promql_parser_expect(parser, PROMQL_TOKEN_LEFT_PAREN) ||
        !promql_parser_enter(parser, parser->pos_end - 1)) {
        return false;
    }
    bool is_done = parse_argument_list(parser, arguments);
    promql_parser_leave(parser);
    return is_done;
}

static struct promql_expr *parse_call(struct promql_parser *parser,
                                      const struct promql_token *name) {
    struct arguments arguments;
    if (!parse_arguments(parser, &arguments)) {
        return NULL;
    }
    const struct promql_function *function = promql_function_find(name->text);
    if (function == NULL) {
        promql_parser_fail_quoted(parser, name->pos, "unknown function with name ", name->text, "");
        return NULL;
    }
    if (function->is_experimental && !parser->features.experimental_functions) {
        promql_parser_fail_quoted(parser, name->pos, "function ", name->text, " is not enabled");
        return NULL;
    }
    struct promql_expr *expr =
        promql_parser_node(parser, PROMQL_NODE_CALL, function->returns, name->pos);
    expr->call.function = function;
    expr->call.args = arguments.items;
    expr->call.arg_count = arguments.count;
    for (size_t i = 0; i < arguments.count; i++) {
        if (!promql_parser_raise(parser, expr, arguments.items[i])) {
            return NULL;
        }
    }
    return expr;
}

/* ---- aggregations ---- */

static enum promql_agg aggregation_of(enum promql_token_type type) {
    return (enum promql_agg)(type - PROMQL_TOKEN_SUM);
}

static_assert(PROMQL_TOKEN_LIMIT_RATIO - PROMQL_TOKEN_SUM + 1 == (int)PROMQL_AGG_KIND_COUNT,
              "aggregation tokens follow enum promql_agg");

static bool aggregation_has_param(enum promql_agg op) {
    return op >= PROMQL_AGG_TOPK;
}

static bool sees_aggregate_modifier(struct promql_parser *parser) {
    return promql_parser_sees(parser, PROMQL_TOKEN_BY) ||
           promql_parser_sees(parser, PROMQL_TOKEN_WITHOUT);
}

static bool parse_aggregate_modifier(struct promql_parser *parser, struct promql_expr *expr) {
    expr->aggregate.has_grouping = true;
    expr->aggregate.is_without = promql_parser_take(parser).type == PROMQL_TOKEN_WITHOUT;
    return promql_parse_grouping_labels(parser, &expr->aggregate.grouping,
                                        &expr->aggregate.grouping_count);
}

/* The number of arguments and what they are. */
static bool assign_aggregate_arguments(struct promql_parser *parser,
                                       struct promql_expr *expr,
                                       const struct arguments *arguments) {
    enum promql_agg op = expr->aggregate.op;
    if (arguments->count == 0) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "no arguments for aggregate expression provided");
    }
    bool is_experimental = op == PROMQL_AGG_LIMITK || op == PROMQL_AGG_LIMIT_RATIO;
    if (is_experimental && !parser->features.experimental_functions) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "%s() is experimental and must be enabled with "
                                  "--enable-feature=promql-experimental-functions",
                                  promql_agg_to_string(op));
    }
    size_t wanted = aggregation_has_param(op) ? 2 : 1;
    if (arguments->count != wanted) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "wrong number of arguments for aggregate expression provided, "
                                  "expected %zu, got %zu",
                                  wanted, arguments->count);
    }
    expr->aggregate.expr = arguments->items[wanted - 1];
    expr->aggregate.param = wanted == 2 ? arguments->items[0] : NULL;
    return promql_parser_raise(parser, expr, expr->aggregate.expr) &&
           promql_parser_raise(parser, expr, expr->aggregate.param);
}

static bool parse_aggregate_parts(struct promql_parser *parser, struct promql_expr *expr) {
    struct arguments arguments;
    bool has_modifier = sees_aggregate_modifier(parser);
    if (has_modifier && !parse_aggregate_modifier(parser, expr)) {
        return false;
    }
    if (!parse_arguments(parser, &arguments)) {
        return false;
    }
    if (!has_modifier && sees_aggregate_modifier(parser) &&
        !parse_aggregate_modifier(parser, expr)) {
        return false;
    }
    expr->pos_end = (uint32_t)parser->pos_end;
    return !parser->has_failed && assign_aggregate_arguments(parser, expr, &arguments);
}

static struct promql_expr *parse_aggregate(struct promql_parser *parser,
                                           const struct promql_token *op) {
    struct promql_expr *expr =
        promql_parser_node(parser, PROMQL_NODE_AGGREGATE, PROMQL_VECTOR, op->pos);
    expr->aggregate.op = aggregation_of(op->type);
    struct promql_scope outer = parser->scope;
    parser->scope = (struct promql_scope){ .context = "aggregation" };
    bool is_done = parse_aggregate_parts(parser, expr);
    parser->scope = outer;
    return is_done ? expr : NULL;
}

/* ---- primary expressions ---- */

static struct promql_expr *parse_paren(struct promql_parser *parser) {
    size_t pos = promql_parser_take(parser).pos;
    if (!promql_parser_enter(parser, pos)) {
        return NULL;
    }
    struct promql_expr *inner = promql_parse_expression(parser);
    promql_parser_leave(parser);
    if (inner == NULL || !promql_parser_expect(parser, PROMQL_TOKEN_RIGHT_PAREN)) {
        return NULL;
    }
    struct promql_expr *expr = promql_parser_node(parser, PROMQL_NODE_PAREN, inner->type, pos);
    expr->paren = inner;
    return promql_parser_raise(parser, expr, inner) ? expr : NULL;
}

static struct promql_expr *parse_number(struct promql_parser *parser) {
    struct promql_token token = promql_parser_take(parser);
    double value;
    if (!promql_parse_number_token(parser, &token, &value)) {
        return NULL;
    }
    struct promql_expr *expr =
        promql_parser_node(parser, PROMQL_NODE_NUMBER, PROMQL_SCALAR, token.pos);
    expr->number.value = value;
    expr->number.is_duration = token.type == PROMQL_TOKEN_DURATION;
    return expr;
}

static struct promql_expr *parse_string(struct promql_parser *parser) {
    struct promql_token token = promql_parser_take(parser);
    struct promql_expr *expr =
        promql_parser_node(parser, PROMQL_NODE_STRING, PROMQL_STRING, token.pos);
    promql_parse_string_token(parser, &token, &expr->string);
    return expr;
}

/* A word: what it is depends on the next token. */
static struct promql_expr *parse_named(struct promql_parser *parser) {
    struct promql_token name = promql_parser_take(parser);
    bool sees_paren = promql_parser_sees(parser, PROMQL_TOKEN_LEFT_PAREN);
    if (promql_token_is_aggregation(name.type) && (sees_paren || sees_aggregate_modifier(parser))) {
        return parse_aggregate(parser, &name);
    }
    if (sees_paren &&
        (name.type == PROMQL_TOKEN_IDENTIFIER || promql_token_is_preprocessor(name.type))) {
        return parse_call(parser, &name);
    }
    return promql_parse_vector_selector(parser, &name);
}

struct promql_expr *promql_parse_primary(struct promql_parser *parser) {
    enum promql_token_type type = promql_parser_peek(parser)->type;
    switch (type) {
    case PROMQL_TOKEN_NUMBER:
    case PROMQL_TOKEN_DURATION: return parse_number(parser);
    case PROMQL_TOKEN_STRING: return parse_string(parser);
    case PROMQL_TOKEN_LEFT_PAREN: return parse_paren(parser);
    case PROMQL_TOKEN_LEFT_BRACE: return promql_parse_vector_selector(parser, NULL);
    default: break;
    }
    if (promql_token_is_metric_name(type)) {
        return parse_named(parser);
    }
    promql_parser_unexpected(parser);
    return NULL;
}

/* ---- operators ---- */

enum precedence {
    PRECEDENCE_NONE,
    PRECEDENCE_OR,
    PRECEDENCE_AND,
    PRECEDENCE_COMPARISON,
    PRECEDENCE_ADD,
    PRECEDENCE_MUL,
    PRECEDENCE_POW, /* the only one that groups to the right */
};

struct operator_info {
    enum promql_token_type token;
    enum promql_op op;
    enum precedence precedence;
};

static const struct operator_info operators[] = {
    { PROMQL_TOKEN_LOR, PROMQL_OP_OR, PRECEDENCE_OR },
    { PROMQL_TOKEN_LAND, PROMQL_OP_AND, PRECEDENCE_AND },
    { PROMQL_TOKEN_LUNLESS, PROMQL_OP_UNLESS, PRECEDENCE_AND },
    { PROMQL_TOKEN_EQLC, PROMQL_OP_EQ, PRECEDENCE_COMPARISON },
    { PROMQL_TOKEN_NEQ, PROMQL_OP_NE, PRECEDENCE_COMPARISON },
    { PROMQL_TOKEN_LSS, PROMQL_OP_LT, PRECEDENCE_COMPARISON },
    { PROMQL_TOKEN_LTE, PROMQL_OP_LE, PRECEDENCE_COMPARISON },
    { PROMQL_TOKEN_GTR, PROMQL_OP_GT, PRECEDENCE_COMPARISON },
    { PROMQL_TOKEN_GTE, PROMQL_OP_GE, PRECEDENCE_COMPARISON },
    { PROMQL_TOKEN_TRIM_UPPER, PROMQL_OP_TRIM_UPPER, PRECEDENCE_COMPARISON },
    { PROMQL_TOKEN_TRIM_LOWER, PROMQL_OP_TRIM_LOWER, PRECEDENCE_COMPARISON },
    { PROMQL_TOKEN_ADD, PROMQL_OP_ADD, PRECEDENCE_ADD },
    { PROMQL_TOKEN_SUB, PROMQL_OP_SUB, PRECEDENCE_ADD },
    { PROMQL_TOKEN_MUL, PROMQL_OP_MUL, PRECEDENCE_MUL },
    { PROMQL_TOKEN_DIV, PROMQL_OP_DIV, PRECEDENCE_MUL },
    { PROMQL_TOKEN_MOD, PROMQL_OP_MOD, PRECEDENCE_MUL },
    { PROMQL_TOKEN_ATAN2, PROMQL_OP_ATAN2, PRECEDENCE_MUL },
    { PROMQL_TOKEN_POW, PROMQL_OP_POW, PRECEDENCE_POW },
};

static_assert(ARRAY_LEN(operators) == PROMQL_OP_COUNT, "every operator has a precedence");

static const struct operator_info *find_operator(enum promql_token_type type) {
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        if (operators[i].token == type) {
            return &operators[i];
        }
    }
    return NULL;
}

static struct promql_expr *parse_binary(struct promql_parser *parser, enum precedence least);

/* A sign binds like multiplication: -2^2 is -(2^2), -2*3 is (-2)*3. */
static struct promql_expr *parse_signed(struct promql_parser *parser) {
    struct promql_token sign = promql_parser_take(parser);
    if (!promql_parser_enter(parser, sign.pos)) {
        return NULL;
    }
    struct promql_expr *operand = parse_binary(parser, PRECEDENCE_POW);
    promql_parser_leave(parser);
    if (operand == NULL) {
        return NULL;
    }
    bool is_minus = sign.type == PROMQL_TOKEN_SUB;
    if (operand->kind == PROMQL_NODE_NUMBER) {
        operand->number.value *= is_minus ? -1 : 1;
        operand->pos_start = (uint32_t)sign.pos;
        return operand;
    }
    struct promql_expr *expr =
        promql_parser_node(parser, PROMQL_NODE_UNARY, operand->type, sign.pos);
    expr->pos_end = operand->pos_end;
    expr->unary.op = is_minus ? PROMQL_OP_SUB : PROMQL_OP_ADD;
    expr->unary.expr = operand;
    return promql_parser_raise(parser, expr, operand) ? expr : NULL;
}

static struct promql_expr *parse_operand(struct promql_parser *parser) {
    enum promql_token_type type = promql_parser_peek(parser)->type;
    if (type == PROMQL_TOKEN_ADD || type == PROMQL_TOKEN_SUB) {
        return parse_signed(parser);
    }
    struct promql_expr *expr = promql_parse_primary(parser);
    return expr == NULL ? NULL : promql_parse_postfix(parser, expr);
}

/* Only a chain of ^ nests without bound: a ^ (b ^ (c … */
static struct promql_expr *parse_right_side(struct promql_parser *parser,
                                            const struct operator_info *info,
                                            size_t operator_pos) {
    if (info->precedence != PRECEDENCE_POW) {
        return parse_binary(parser, (enum precedence)(info->precedence + 1));
    }
    if (!promql_parser_enter(parser, operator_pos)) {
        return NULL;
    }
    struct promql_expr *rhs = parse_binary(parser, PRECEDENCE_POW);
    promql_parser_leave(parser);
    return rhs;
}

/* The operator is the look-ahead. */
static struct promql_expr *parse_binary_rest(struct promql_parser *parser,
                                             const struct operator_info *info,
                                             struct promql_expr *lhs) {
    struct promql_token token = promql_parser_take(parser);
    struct promql_expr *expr =
        promql_parser_node(parser, PROMQL_NODE_BINARY, PROMQL_VECTOR, lhs->pos_start);
    expr->binary.op = info->op;
    expr->binary.lhs = lhs;
    if (!promql_parse_bin_modifier(parser, expr)) {
        return NULL;
    }
    struct promql_expr *rhs = parse_right_side(parser, info, token.pos);
    if (rhs == NULL) {
        return NULL;
    }
    expr->binary.rhs = rhs;
    expr->pos_end = rhs->pos_end;
    if (lhs->type == PROMQL_SCALAR && rhs->type == PROMQL_SCALAR) {
        expr->type = PROMQL_SCALAR;
    }
    bool has_fill = expr->binary.matching.has_fill_left || expr->binary.matching.has_fill_right;
    if (has_fill && !parser->features.binop_fill_modifiers) {
        promql_parser_fail(parser, expr->pos_start,
                           "binop fill modifiers are experimental and not enabled");
        return NULL;
    }
    return promql_parser_raise(parser, expr, lhs) && promql_parser_raise(parser, expr, rhs) ? expr
                                                                                            : NULL;
}

static struct promql_expr *parse_binary(struct promql_parser *parser, enum precedence least) {
    struct promql_expr *lhs = parse_operand(parser);
    while (lhs != NULL) {
        const struct operator_info *info = find_operator(promql_parser_peek(parser)->type);
        if (info == NULL || info->precedence < least) {
            return lhs;
        }
        lhs = parse_binary_rest(parser, info, lhs);
    }
    return NULL;
}

struct promql_expr *promql_parse_expression(struct promql_parser *parser) {
    return parse_binary(parser, PRECEDENCE_OR);
}
