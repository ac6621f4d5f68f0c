/*
 * Durations: what stands in brackets and behind `offset`. A lone number or duration literal is
 * part of the stable language; anything more is a duration expression and experimental.
 */
#include "promql/parser.h"

/* Go keeps durations as nanoseconds in an int64. */
#define DURATION_SECONDS_MAX 9223372036.854775807

static bool is_out_of_range(double seconds) {
    return seconds > DURATION_SECONDS_MAX || seconds < -DURATION_SECONDS_MAX;
}

static bool is_literal(const struct promql_expr *expr) {
    return expr->duration.op == PROMQL_DURATION_NUMBER && !expr->duration.is_wrapped;
}

static struct promql_expr *new_duration(struct promql_parser *parser,
                                        enum promql_duration_op op,
                                        size_t pos) {
    struct promql_expr *expr = promql_parser_node(parser, PROMQL_NODE_DURATION, PROMQL_SCALAR, pos);
    expr->duration.op = op;
    return expr;
}

static bool check_enabled(struct promql_parser *parser, size_t pos) {
    return parser->features.duration_expressions ||
           promql_parser_fail(parser, pos, "experimental duration expression is not enabled");
}

/* ---- pieces ---- */

static struct promql_expr *parse_literal(struct promql_parser *parser) {
    struct promql_token token = promql_parser_take(parser);
    struct promql_expr *expr = new_duration(parser, PROMQL_DURATION_NUMBER, token.pos);
    expr->duration.is_duration = token.type == PROMQL_TOKEN_DURATION;
    return promql_parse_number_token(parser, &token, &expr->duration.seconds) ? expr : NULL;
}

/* Parentheses are kept, so that the printed form reads back to the same tree. */
static struct promql_expr *wrap(struct promql_expr *expr, size_t pos) {
    if (is_literal(expr)) {
        expr->pos_start = (uint32_t)pos;
    }
    expr->duration.is_wrapped = true;
    return expr;
}

static struct promql_expr *negate(struct promql_parser *parser,
                                  const struct promql_token *sign,
                                  struct promql_expr *operand) {
    struct promql_expr *expr = new_duration(parser, PROMQL_DURATION_NEG, sign->pos);
    expr->pos_end = operand->pos_end;
    expr->duration.rhs = operand;
    return promql_parser_raise(parser, expr, operand) ? expr : NULL;
}

static struct promql_expr *sign_literal(struct promql_parser *parser,
                                        const struct promql_token *sign,
                                        struct promql_expr *literal) {
    literal->duration.seconds *= sign->type == PROMQL_TOKEN_SUB ? -1 : 1;
    literal->pos_start = (uint32_t)sign->pos;
    if (is_out_of_range(literal->duration.seconds)) {
        promql_parser_fail(parser, sign->pos, "duration out of range");
        return NULL;
    }
    return literal;
}

/* A plus sign leaves no trace in the tree. */
static struct promql_expr *apply_sign(struct promql_parser *parser,
                                      const struct promql_token *sign,
                                      struct promql_expr *operand) {
    if (is_literal(operand)) {
        return sign_literal(parser, sign, operand);
    }
    return sign->type == PROMQL_TOKEN_SUB ? negate(parser, sign, operand) : operand;
}

/* step() and range(); the name is the look-ahead. */
static struct promql_expr *parse_context_value(struct promql_parser *parser) {
    struct promql_token name = promql_parser_take(parser);
    if (!promql_parser_expect(parser, PROMQL_TOKEN_LEFT_PAREN) ||
        !promql_parser_expect(parser, PROMQL_TOKEN_RIGHT_PAREN)) {
        return NULL;
    }
    bool is_step = name.type == PROMQL_TOKEN_STEP;
    return new_duration(parser, is_step ? PROMQL_DURATION_STEP : PROMQL_DURATION_RANGE, name.pos);
}

static bool parse_pair(struct promql_parser *parser, struct promql_expr *expr) {
    expr->duration.lhs = promql_parse_duration(parser);
    if (expr->duration.lhs == NULL || !promql_parser_expect(parser, PROMQL_TOKEN_COMMA)) {
        return false;
    }
    expr->duration.rhs = promql_parse_duration(parser);
    return expr->duration.rhs != NULL && promql_parser_expect(parser, PROMQL_TOKEN_RIGHT_PAREN) &&
           promql_parser_raise(parser, expr, expr->duration.lhs) &&
           promql_parser_raise(parser, expr, expr->duration.rhs);
}

/* min_of(a, b) and max_of(a, b); the name is the look-ahead. */
static struct promql_expr *parse_choice(struct promql_parser *parser) {
    struct promql_token name = promql_parser_take(parser);
    bool is_min = name.type == PROMQL_TOKEN_MIN_OF;
    struct promql_expr *expr =
        new_duration(parser, is_min ? PROMQL_DURATION_MIN : PROMQL_DURATION_MAX, name.pos);
    if (!promql_parser_expect(parser, PROMQL_TOKEN_LEFT_PAREN) ||
        !promql_parser_enter(parser, name.pos)) {
        return NULL;
    }
    bool is_done = parse_pair(parser, expr);
    promql_parser_leave(parser);
    if (!is_done) {
        return NULL;
    }
    /* Upstream takes the place of such a node from its operands. */
    expr->pos_start = expr->duration.lhs->pos_start;
    expr->pos_end = expr->duration.rhs->pos_end;
    return expr;
}

static bool sees_sign(struct promql_parser *parser) {
    return promql_parser_sees(parser, PROMQL_TOKEN_ADD) ||
           promql_parser_sees(parser, PROMQL_TOKEN_SUB);
}

/* ( duration ), without a word about whether that is allowed. */
static struct promql_expr *parse_parenthesised(struct promql_parser *parser) {
    size_t pos = promql_parser_take(parser).pos;
    if (!promql_parser_enter(parser, pos)) {
        return NULL;
    }
    struct promql_expr *expr = promql_parse_duration(parser);
    promql_parser_leave(parser);
    return expr != NULL && promql_parser_expect(parser, PROMQL_TOKEN_RIGHT_PAREN) ? expr : NULL;
}

/* ---- operators ---- */

struct duration_operator {
    enum promql_token_type token;
    enum promql_duration_op op;
    int precedence;
};

#define PRECEDENCE_LOWEST 1
#define PRECEDENCE_POW    3

static const struct duration_operator duration_operators[] = {
    { PROMQL_TOKEN_ADD, PROMQL_DURATION_ADD, PRECEDENCE_LOWEST },
    { PROMQL_TOKEN_SUB, PROMQL_DURATION_SUB, PRECEDENCE_LOWEST },
    { PROMQL_TOKEN_MUL, PROMQL_DURATION_MUL, 2 },
    { PROMQL_TOKEN_DIV, PROMQL_DURATION_DIV, 2 },
    { PROMQL_TOKEN_MOD, PROMQL_DURATION_MOD, 2 },
    { PROMQL_TOKEN_POW, PROMQL_DURATION_POW, PRECEDENCE_POW },
};

static const struct duration_operator *find_operator(enum promql_token_type type) {
    for (size_t i = 0; i < ARRAY_LEN(duration_operators); i++) {
        if (duration_operators[i].token == type) {
            return &duration_operators[i];
        }
    }
    return NULL;
}

static struct promql_expr *parse_binary(struct promql_parser *parser, int least);

static struct promql_expr *parse_signed(struct promql_parser *parser) {
    struct promql_token sign = promql_parser_take(parser);
    if (!promql_parser_enter(parser, sign.pos)) {
        return NULL;
    }
    struct promql_expr *operand = parse_binary(parser, PRECEDENCE_POW);
    promql_parser_leave(parser);
    return operand == NULL ? NULL : apply_sign(parser, &sign, operand);
}

static struct promql_expr *parse_enabled(struct promql_parser *parser, struct promql_expr *expr) {
    return expr != NULL && check_enabled(parser, expr->pos_start) ? expr : NULL;
}

static struct promql_expr *parse_wrapped(struct promql_parser *parser) {
    size_t pos = promql_parser_peek(parser)->pos;
    struct promql_expr *expr = parse_enabled(parser, parse_parenthesised(parser));
    return expr == NULL ? NULL : wrap(expr, pos);
}

static struct promql_expr *parse_range_checked_literal(struct promql_parser *parser) {
    struct promql_expr *expr = parse_literal(parser);
    if (expr != NULL && is_out_of_range(expr->duration.seconds)) {
        promql_parser_fail(parser, expr->pos_start, "duration out of range");
        return NULL;
    }
    return expr;
}

static struct promql_expr *parse_operand(struct promql_parser *parser) {
    switch (promql_parser_peek(parser)->type) {
    case PROMQL_TOKEN_NUMBER:
    case PROMQL_TOKEN_DURATION: return parse_range_checked_literal(parser);
    case PROMQL_TOKEN_ADD:
    case PROMQL_TOKEN_SUB: return parse_signed(parser);
    case PROMQL_TOKEN_STEP:
    case PROMQL_TOKEN_RANGE: return parse_enabled(parser, parse_context_value(parser));
    case PROMQL_TOKEN_MIN_OF:
    case PROMQL_TOKEN_MAX_OF: return parse_enabled(parser, parse_choice(parser));
    case PROMQL_TOKEN_LEFT_PAREN: return parse_wrapped(parser);
    default: promql_parser_unexpected(parser); return NULL;
    }
}

static bool check_division(struct promql_parser *parser,
                           const struct promql_token *token,
                           const struct promql_expr *rhs) {
    if (!is_literal(rhs) || rhs->duration.seconds != 0) {
        return true;
    }
    if (token->type == PROMQL_TOKEN_DIV) {
        return promql_parser_fail(parser, token->pos, "division by zero");
    }
    return token->type != PROMQL_TOKEN_MOD ||
           promql_parser_fail(parser, token->pos, "modulo by zero");
}

/* Only a chain of ^ nests without bound. */
static struct promql_expr *parse_right_side(struct promql_parser *parser,
                                            const struct duration_operator *info,
                                            size_t operator_pos) {
    if (info->precedence != PRECEDENCE_POW) {
        return parse_binary(parser, info->precedence + 1);
    }
    if (!promql_parser_enter(parser, operator_pos)) {
        return NULL;
    }
    struct promql_expr *rhs = parse_binary(parser, PRECEDENCE_POW);
    promql_parser_leave(parser);
    return rhs;
}

static struct promql_expr *parse_binary_from(struct promql_parser *parser,
                                             struct promql_expr *lhs,
                                             int least) {
    while (lhs != NULL) {
        const struct duration_operator *info = find_operator(promql_parser_peek(parser)->type);
        if (info == NULL || info->precedence < least) {
            return lhs;
        }
        struct promql_token token = promql_parser_take(parser);
        struct promql_expr *rhs = parse_right_side(parser, info, token.pos);
        if (rhs == NULL || !check_enabled(parser, lhs->pos_start) ||
            !check_division(parser, &token, rhs)) {
            return NULL;
        }
        struct promql_expr *expr = new_duration(parser, info->op, lhs->pos_start);
        expr->pos_end = rhs->pos_end;
        expr->duration.lhs = lhs;
        expr->duration.rhs = rhs;
        bool is_fine =
            promql_parser_raise(parser, expr, lhs) && promql_parser_raise(parser, expr, rhs);
        lhs = is_fine ? expr : NULL;
    }
    return NULL;
}

static struct promql_expr *parse_binary(struct promql_parser *parser, int least) {
    return parse_binary_from(parser, parse_operand(parser), least);
}

struct promql_expr *promql_parse_duration(struct promql_parser *parser) {
    return parse_binary(parser, PRECEDENCE_LOWEST);
}

/* ---- behind `offset` ---- */

/* -step(), -range(), -min_of(…): experimental at the place of the sign. */
static struct promql_expr *parse_signed_call(struct promql_parser *parser,
                                             const struct promql_token *sign,
                                             struct promql_expr *operand) {
    if (operand == NULL) {
        return NULL;
    }
    if (sign->type == PROMQL_TOKEN_SUB) {
        operand = negate(parser, sign, operand);
    } else {
        operand->pos_start = (uint32_t)sign->pos;
    }
    return parse_enabled(parser, operand);
}

static struct promql_expr *parse_signed_offset(struct promql_parser *parser) {
    struct promql_token sign = promql_parser_take(parser);
    struct promql_expr *operand;
    switch (promql_parser_peek(parser)->type) {
    case PROMQL_TOKEN_NUMBER:
    case PROMQL_TOKEN_DURATION:
        operand = parse_literal(parser);
        return operand == NULL ? NULL : sign_literal(parser, &sign, operand);
    case PROMQL_TOKEN_STEP:
    case PROMQL_TOKEN_RANGE: return parse_signed_call(parser, &sign, parse_context_value(parser));
    case PROMQL_TOKEN_MIN_OF:
    case PROMQL_TOKEN_MAX_OF: return parse_signed_call(parser, &sign, parse_choice(parser));
    case PROMQL_TOKEN_LEFT_PAREN:
        operand = parse_parenthesised(parser);
        return operand == NULL ? NULL
                               : apply_sign(parser, &sign, wrap(operand, operand->pos_start));
    default: break;
    }
    if (!sees_sign(parser)) {
        promql_parser_unexpected(parser);
        return NULL;
    }
    operand = parse_binary(parser, PRECEDENCE_POW);
    if (operand != NULL) {
        operand = apply_sign(parser, &sign, operand);
    }
    return parse_binary_from(parser, operand, PRECEDENCE_LOWEST);
}

/* foo offset -2 ^ 2 means (foo offset -2) ^ 2: a signed number or call ends the offset; only a
 * leading parenthesis or a second sign makes it go on. */
struct promql_expr *promql_parse_offset_duration(struct promql_parser *parser) {
    switch (promql_parser_peek(parser)->type) {
    case PROMQL_TOKEN_ADD:
    case PROMQL_TOKEN_SUB: return parse_signed_offset(parser);
    case PROMQL_TOKEN_LEFT_PAREN: return promql_parse_duration(parser);
    default: return parse_operand(parser);
    }
}
