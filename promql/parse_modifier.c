/*
 * What follows an expression (ranges, subqueries, offset, @, anchored, smoothed) and what follows a
 * binary operator (bool, on, ignoring, group_left, group_right, fill).
 */
#include <math.h>

#include "promql/parser.h"

/* ---- durations as the tree keeps them ---- */

/* Go rounds to nanoseconds here and drops the rest of a millisecond when it uses the value. */
static struct promql_duration to_duration(struct promql_expr *expr) {
    if (expr->duration.op != PROMQL_DURATION_NUMBER || expr->duration.is_wrapped) {
        return (struct promql_duration){ .expr = expr };
    }
    double ns = round(expr->duration.seconds * 1e9);
    double ns_max = 9223372036854774784.0; /* the largest double below 2^63 */
    ns = fmin(fmax(ns, -ns_max), ns_max);
    return (struct promql_duration){ .ms = (int64_t)ns / 1000000 };
}

static bool is_set(struct promql_duration duration) {
    return duration.ms != 0 || duration.expr != NULL;
}

/* ---- [range] and [range:step] ---- */

static const struct promql_scope range_scope = {
    .context = "subquery or range selector",
    .expected = "number, duration, step(), or range()",
};

static const struct promql_scope step_scope = {
    .context = "subquery selector",
    .expected = "number, duration, step(), range(), or \"]\"",
};

static bool parse_positive(struct promql_parser *parser, struct promql_duration *ret) {
    struct promql_expr *expr = promql_parse_duration(parser);
    if (expr == NULL) {
        return false;
    }
    promql_parser_peek(parser); /* a broken token behind it is reported first */
    struct promql_duration duration = to_duration(expr);
    if (duration.expr == NULL && expr->duration.seconds <= 0) {
        return promql_parser_fail(parser, expr->pos_start, "duration must be greater than 0");
    }
    *ret = duration;
    return !parser->has_failed;
}

static const char *range_problem(const struct promql_expr *expr) {
    if (expr->kind != PROMQL_NODE_SELECTOR) {
        return "ranges only allowed for vector selectors";
    }
    if (is_set(expr->selector.shift.offset)) {
        return "no offset modifiers allowed before range";
    }
    if (expr->selector.shift.at != PROMQL_AT_NONE) {
        return "no @ modifiers allowed before range";
    }
    return NULL;
}

static struct promql_expr *new_range(struct promql_parser *parser,
                                     struct promql_expr *selector,
                                     struct promql_duration range,
                                     size_t bracket_pos) {
    promql_parser_take(parser);
    const char *problem = range_problem(selector);
    if (problem != NULL) {
        promql_parser_fail(parser, bracket_pos, "%s", problem);
        return NULL;
    }
    struct promql_expr *expr =
        promql_parser_node(parser, PROMQL_NODE_RANGE, PROMQL_MATRIX, selector->pos_start);
    expr->range.selector = selector;
    expr->range.range = range;
    return promql_parser_raise(parser, expr, selector) ? expr : NULL;
}

/* Behind the colon. */
static bool parse_step(struct promql_parser *parser, struct promql_duration *ret) {
    if (promql_parser_sees(parser, PROMQL_TOKEN_RIGHT_BRACKET)) {
        return true;
    }
    parser->scope = step_scope;
    if (!parse_positive(parser, ret)) {
        return false;
    }
    if (!promql_parser_sees(parser, PROMQL_TOKEN_RIGHT_BRACKET)) {
        return promql_parser_unexpected_in(parser, "subquery selector", "\"]\"");
    }
    return true;
}

static struct promql_expr *new_subquery(struct promql_parser *parser,
                                        struct promql_expr *inner,
                                        struct promql_duration range) {
    promql_parser_take(parser);
    struct promql_duration step = { .ms = 0 };
    if (!parse_step(parser, &step)) {
        return NULL;
    }
    promql_parser_take(parser);
    struct promql_expr *expr =
        promql_parser_node(parser, PROMQL_NODE_SUBQUERY, PROMQL_MATRIX, inner->pos_start);
    expr->subquery.expr = inner;
    expr->subquery.range = range;
    expr->subquery.step = step;
    return promql_parser_raise(parser, expr, inner) ? expr : NULL;
}

static struct promql_expr *parse_brackets(struct promql_parser *parser, struct promql_expr *expr) {
    size_t pos = promql_parser_take(parser).pos;
    struct promql_duration range;
    parser->scope = range_scope;
    if (!parse_positive(parser, &range)) {
        return NULL;
    }
    if (promql_parser_sees(parser, PROMQL_TOKEN_RIGHT_BRACKET)) {
        return new_range(parser, expr, range, pos);
    }
    if (promql_parser_sees(parser, PROMQL_TOKEN_COLON)) {
        return new_subquery(parser, expr, range);
    }
    promql_parser_unexpected_in(parser, "subquery or range", "\":\" or \"]\"");
    return NULL;
}

/* ---- offset and @ ---- */

/* Where the node keeps offset and @; NULL when it has none. */
static struct promql_shift *shift_of(struct promql_expr *expr) {
    switch (expr->kind) {
    case PROMQL_NODE_SELECTOR: return &expr->selector.shift;
    case PROMQL_NODE_RANGE: return &expr->range.selector->selector.shift;
    case PROMQL_NODE_SUBQUERY: return &expr->subquery.shift;
    default: return NULL;
    }
}

static bool fail_not_shiftable(struct promql_parser *parser,
                               const struct promql_expr *expr,
                               const char *modifier) {
    return promql_parser_fail(parser, expr->pos_start,
                              "%s modifier must be preceded by an instant vector selector or range "
                              "vector selector or a subquery",
                              modifier);
}

static bool parse_offset(struct promql_parser *parser, struct promql_expr *expr) {
    promql_parser_take(parser);
    parser->scope = (struct promql_scope){
        .context = "offset",
        .expected = "number, duration, step(), or range()",
    };
    struct promql_expr *duration = promql_parse_offset_duration(parser);
    if (duration == NULL) {
        return false;
    }
    struct promql_duration offset = to_duration(duration);
    if (offset.expr == NULL && isnan(duration->duration.seconds)) {
        /* Upstream takes it for -292 years. Inside an expression evaluating it fails. */
        return promql_parser_fail(parser, duration->pos_start, "duration out of range");
    }
    struct promql_shift *shift = shift_of(expr);
    if (shift == NULL) {
        return fail_not_shiftable(parser, expr, "offset");
    }
    if (is_set(shift->offset)) {
        return promql_parser_fail(parser, expr->pos_start, "offset may not be set multiple times");
    }
    shift->offset = offset;
    expr->pos_end = (uint32_t)parser->pos_end;
    return true;
}

struct at {
    enum promql_at at;
    double seconds;
};

static bool parse_at_number(struct promql_parser *parser, double sign, struct at *ret) {
    if (!promql_parser_sees(parser, PROMQL_TOKEN_NUMBER) &&
        !promql_parser_sees(parser, PROMQL_TOKEN_DURATION)) {
        return promql_parser_unexpected(parser);
    }
    struct promql_token token = promql_parser_take(parser);
    ret->at = PROMQL_AT_TIME;
    if (!promql_parse_number_token(parser, &token, &ret->seconds)) {
        return false;
    }
    ret->seconds *= sign;
    return true;
}

static bool parse_at_value(struct promql_parser *parser, struct at *ret) {
    switch (promql_parser_peek(parser)->type) {
    case PROMQL_TOKEN_ADD: promql_parser_take(parser); return parse_at_number(parser, 1, ret);
    case PROMQL_TOKEN_SUB: promql_parser_take(parser); return parse_at_number(parser, -1, ret);
    case PROMQL_TOKEN_START:
    case PROMQL_TOKEN_END:
        ret->at =
            promql_parser_take(parser).type == PROMQL_TOKEN_START ? PROMQL_AT_START : PROMQL_AT_END;
        return promql_parser_expect(parser, PROMQL_TOKEN_LEFT_PAREN) &&
               promql_parser_expect(parser, PROMQL_TOKEN_RIGHT_PAREN);
    default: return parse_at_number(parser, 1, ret);
    }
}

/* Go's %f. */
static bool fail_time_bounds(struct promql_parser *parser,
                             const struct promql_expr *expr,
                             double seconds) {
    const char *text = isnan(seconds) ? "NaN" : seconds > 0 ? "+Inf" : "-Inf";
    if (isfinite(seconds)) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "timestamp out of bounds for @ modifier: %f", seconds);
    }
    return promql_parser_fail(parser, expr->pos_start, "timestamp out of bounds for @ modifier: %s",
                              text);
}

static bool parse_at(struct promql_parser *parser, struct promql_expr *expr) {
    promql_parser_take(parser);
    parser->scope = (struct promql_scope){ .context = "@", .expected = "timestamp" };
    struct at at = { .at = PROMQL_AT_NONE };
    if (!parse_at_value(parser, &at)) {
        return false;
    }
    double bound = 9223372036854775808.0;
    if (at.at == PROMQL_AT_TIME && !(at.seconds < bound && at.seconds > -bound)) {
        return fail_time_bounds(parser, expr, at.seconds);
    }
    struct promql_shift *shift = shift_of(expr);
    if (shift == NULL) {
        return fail_not_shiftable(parser, expr, "@");
    }
    if (shift->at != PROMQL_AT_NONE) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "@ <timestamp> may not be set multiple times");
    }
    shift->at = at.at;
    double ms = round(at.seconds * 1000);
    if (ms >= bound || ms <= -bound) {
        return fail_time_bounds(parser, expr, at.seconds);
    }
    shift->at_ms = (int64_t)ms;
    expr->pos_end = (uint32_t)parser->pos_end;
    return true;
}

/* ---- anchored and smoothed ---- */

static bool set_extended(struct promql_parser *parser, struct promql_expr *expr) {
    bool is_anchored = promql_parser_take(parser).type == PROMQL_TOKEN_ANCHORED;
    const char *name = is_anchored ? "anchored" : "smoothed";
    if (!parser->features.extended_range_selectors) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "%s modifier is experimental and not enabled", name);
    }
    if (expr->kind == PROMQL_NODE_SUBQUERY) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "%s modifier is not supported for subqueries", name);
    }
    if (expr->kind != PROMQL_NODE_SELECTOR && expr->kind != PROMQL_NODE_RANGE) {
        return promql_parser_fail(parser, expr->pos_start, "%s modifier not implemented", name);
    }
    struct promql_expr *selector = expr->kind == PROMQL_NODE_RANGE ? expr->range.selector : expr;
    if (is_anchored) {
        selector->selector.is_anchored = true;
    } else {
        selector->selector.is_smoothed = true;
    }
    if (selector->selector.is_anchored && selector->selector.is_smoothed) {
        return promql_parser_fail(parser, expr->pos_start,
                                  "anchored and smoothed modifiers cannot be used together");
    }
    return true;
}

struct promql_expr *promql_parse_postfix(struct promql_parser *parser, struct promql_expr *expr) {
    struct promql_scope outer = parser->scope;
    for (;;) {
        bool is_done;
        switch (promql_parser_peek(parser)->type) {
        case PROMQL_TOKEN_LEFT_BRACKET:
            expr = parse_brackets(parser, expr);
            is_done = expr != NULL;
            break;
        case PROMQL_TOKEN_OFFSET: is_done = parse_offset(parser, expr); break;
        case PROMQL_TOKEN_AT: is_done = parse_at(parser, expr); break;
        case PROMQL_TOKEN_ANCHORED:
        case PROMQL_TOKEN_SMOOTHED: is_done = set_extended(parser, expr); break;
        default: return expr;
        }
        parser->scope = outer;
        if (!is_done) {
            return NULL;
        }
    }
}

/* ---- behind a binary operator ---- */

static bool parse_fill_value(struct promql_parser *parser, double *ret) {
    promql_parser_take(parser);
    if (!promql_parser_expect(parser, PROMQL_TOKEN_LEFT_PAREN)) {
        return false;
    }
    double sign = 1;
    if (promql_parser_sees(parser, PROMQL_TOKEN_ADD)) {
        promql_parser_take(parser);
    } else if (promql_parser_sees(parser, PROMQL_TOKEN_SUB)) {
        promql_parser_take(parser);
        sign = -1;
    }
    if (!promql_parser_sees(parser, PROMQL_TOKEN_NUMBER) &&
        !promql_parser_sees(parser, PROMQL_TOKEN_DURATION)) {
        return promql_parser_unexpected(parser);
    }
    struct promql_token token = promql_parser_take(parser);
    double value;
    if (!promql_parse_number_token(parser, &token, &value)) {
        return false;
    }
    *ret = sign * value;
    return promql_parser_expect(parser, PROMQL_TOKEN_RIGHT_PAREN);
}

static bool parse_fill_left(struct promql_parser *parser, struct promql_matching *matching) {
    matching->has_fill_left = true;
    return parse_fill_value(parser, &matching->fill_left);
}

static bool parse_fill_right(struct promql_parser *parser, struct promql_matching *matching) {
    matching->has_fill_right = true;
    return parse_fill_value(parser, &matching->fill_right);
}

static bool parse_fill(struct promql_parser *parser, struct promql_matching *matching) {
    switch (promql_parser_peek(parser)->type) {
    case PROMQL_TOKEN_FILL:
        if (!parse_fill_left(parser, matching)) {
            return false;
        }
        matching->has_fill_right = true;
        matching->fill_right = matching->fill_left;
        return true;
    case PROMQL_TOKEN_FILL_LEFT:
        return parse_fill_left(parser, matching) &&
               (!promql_parser_sees(parser, PROMQL_TOKEN_FILL_RIGHT) ||
                parse_fill_right(parser, matching));
    case PROMQL_TOKEN_FILL_RIGHT:
        return parse_fill_right(parser, matching) &&
               (!promql_parser_sees(parser, PROMQL_TOKEN_FILL_LEFT) ||
                parse_fill_left(parser, matching));
    default: return true;
    }
}

/* group_left and group_right may do without parentheses, when an operand follows. */
static bool parse_group(struct promql_parser *parser, struct promql_matching *matching) {
    bool is_left = promql_parser_sees(parser, PROMQL_TOKEN_GROUP_LEFT);
    if (!is_left && !promql_parser_sees(parser, PROMQL_TOKEN_GROUP_RIGHT)) {
        return true;
    }
    promql_parser_take(parser);
    matching->card = is_left ? PROMQL_MANY_TO_ONE : PROMQL_ONE_TO_MANY;
    if (!promql_parser_sees(parser, PROMQL_TOKEN_LEFT_PAREN) &&
        promql_token_starts_expression(promql_parser_peek(parser)->type)) {
        return true;
    }
    return promql_parse_grouping_labels(parser, &matching->include, &matching->include_count);
}

bool promql_parse_bin_modifier(struct promql_parser *parser, struct promql_expr *binary) {
    struct promql_matching *matching = &binary->binary.matching;
    if (promql_parser_sees(parser, PROMQL_TOKEN_BOOL)) {
        promql_parser_take(parser);
        binary->binary.return_bool = true;
    }
    matching->is_on = promql_parser_sees(parser, PROMQL_TOKEN_ON);
    if (matching->is_on || promql_parser_sees(parser, PROMQL_TOKEN_IGNORING)) {
        promql_parser_take(parser);
        matching->has_modifier = true;
        if (!promql_parse_grouping_labels(parser, &matching->labels, &matching->label_count) ||
            !parse_group(parser, matching)) {
            return false;
        }
    }
    return parse_fill(parser, matching);
}
