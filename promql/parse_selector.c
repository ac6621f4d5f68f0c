/* Vector selectors with their matchers, and lists of label names. */
#include "promql/parser.h"

#define MATCHING_CONTEXT "label matching"
#define GROUPING_CONTEXT "grouping opts"

/* ---- matchers ---- */

/* A selector while its matchers are read. */
struct selector {
    struct promql_expr *expr;
    size_t matcher_cap;
};

static bool add_matcher(struct promql_parser *parser,
                        struct selector *selector,
                        enum match_type type,
                        const struct promql_token *name,
                        struct str value) {
    struct promql_expr *expr = selector->expr;
    expr->selector.matchers =
        arena_vec_grow(parser->arena, expr->selector.matchers, &selector->matcher_cap,
                       expr->selector.matcher_count + 1, sizeof(struct matcher));
    struct matcher *matcher = &expr->selector.matchers[expr->selector.matcher_count];
    struct err err = ERR_INIT;
    if (!matcher_init(matcher, type, name->text, value, &err)) {
        return err.code == ERR_LIMIT ? promql_parser_limit(parser, name->pos, "%s", err.msg)
                                     : promql_parser_fail(parser, name->pos, "%s", err.msg);
    }
    expr->selector.matcher_count++;
    return true;
}

static bool match_type_of(enum promql_token_type type, enum match_type *ret) {
    switch (type) {
    case PROMQL_TOKEN_EQL: *ret = MATCH_EQ; return true;
    case PROMQL_TOKEN_NEQ: *ret = MATCH_NE; return true;
    case PROMQL_TOKEN_EQL_REGEX: *ret = MATCH_RE; return true;
    case PROMQL_TOKEN_NEQ_REGEX: *ret = MATCH_NRE; return true;
    default: return false;
    }
}

/* name op "value", or just "metric name". */
static bool parse_matcher(struct promql_parser *parser, struct selector *selector) {
    bool is_quoted = promql_parser_sees(parser, PROMQL_TOKEN_STRING);
    if (!is_quoted && !promql_parser_sees(parser, PROMQL_TOKEN_IDENTIFIER)) {
        return promql_parser_unexpected_in(parser, MATCHING_CONTEXT, "identifier or \"}\"");
    }
    struct promql_token name = promql_parser_take(parser);
    if (is_quoted) {
        promql_parse_string_token(parser, &name, &name.text);
    }
    enum match_type type;
    if (!match_type_of(promql_parser_peek(parser)->type, &type)) {
        if (!is_quoted) {
            return promql_parser_unexpected_in(parser, MATCHING_CONTEXT, "label matching operator");
        }
        struct str metric = name.text;
        name.text = METRIC_NAME;
        return !parser->has_failed && add_matcher(parser, selector, MATCH_EQ, &name, metric);
    }
    promql_parser_take(parser);
    if (!promql_parser_sees(parser, PROMQL_TOKEN_STRING)) {
        return promql_parser_unexpected_in(parser, MATCHING_CONTEXT, "string");
    }
    struct promql_token text = promql_parser_take(parser);
    struct str value;
    promql_parse_string_token(parser, &text, &value);
    return add_matcher(parser, selector, type, &name, value);
}

static bool parse_braces(struct promql_parser *parser, struct selector *selector) {
    promql_parser_take(parser);
    while (!promql_parser_sees(parser, PROMQL_TOKEN_RIGHT_BRACE)) {
        if (!parse_matcher(parser, selector)) {
            return false;
        }
        if (promql_parser_sees(parser, PROMQL_TOKEN_RIGHT_BRACE)) {
            break;
        }
        if (!promql_parser_sees(parser, PROMQL_TOKEN_COMMA)) {
            return promql_parser_unexpected_in(parser, MATCHING_CONTEXT, "\",\" or \"}\"");
        }
        promql_parser_take(parser);
    }
    promql_parser_take(parser);
    return true;
}

static struct promql_expr *new_selector(struct promql_parser *parser, size_t pos) {
    struct promql_expr *expr = promql_parser_node(parser, PROMQL_NODE_SELECTOR, PROMQL_VECTOR, pos);
    parser->selectors = arena_vec_grow(parser->arena, parser->selectors, &parser->selector_cap,
                                       parser->selector_count + 1, sizeof(struct promql_expr *));
    parser->selectors[parser->selector_count++] = expr;
    return expr;
}

struct promql_expr *promql_parse_vector_selector(struct promql_parser *parser,
                                                 const struct promql_token *name) {
    size_t pos = name != NULL ? name->pos : promql_parser_peek(parser)->pos;
    struct selector selector = { .expr = new_selector(parser, pos) };
    struct promql_expr *expr = selector.expr;
    if (promql_parser_sees(parser, PROMQL_TOKEN_LEFT_BRACE) && !parse_braces(parser, &selector)) {
        return NULL;
    }
    expr->pos_end = (uint32_t)parser->pos_end;
    if (name == NULL) {
        return expr;
    }
    expr->selector.name = arena_str(parser->arena, name->text);
    struct promql_token label = { .pos = name->pos, .text = METRIC_NAME };
    return add_matcher(parser, &selector, MATCH_EQ, &label, expr->selector.name) ? expr : NULL;
}

/* ---- lists of labels ---- */

/* Most reserved words are fine as label names; upstream leaves out "without". */
static bool is_label_name(enum promql_token_type type) {
    return type == PROMQL_TOKEN_IDENTIFIER || type == PROMQL_TOKEN_METRIC_IDENTIFIER ||
           type == PROMQL_TOKEN_LAND || type == PROMQL_TOKEN_LOR || type == PROMQL_TOKEN_LUNLESS ||
           type == PROMQL_TOKEN_ATAN2 || promql_token_is_aggregation(type) ||
           promql_token_is_preprocessor(type) ||
           (promql_token_is_keyword(type) && type != PROMQL_TOKEN_WITHOUT);
}

static bool parse_grouping_label(struct promql_parser *parser, struct str *ret) {
    bool is_quoted = promql_parser_sees(parser, PROMQL_TOKEN_STRING);
    if (!is_quoted && !is_label_name(promql_parser_peek(parser)->type)) {
        return promql_parser_unexpected_in(parser, GROUPING_CONTEXT, "label");
    }
    struct promql_token token = promql_parser_take(parser);
    struct str name = token.text;
    if (is_quoted) {
        promql_parse_string_token(parser, &token, &name);
    }
    if (name.len == 0 || !str_is_utf8(name)) {
        return promql_parser_fail_quoted(parser, token.pos,
                                         "invalid label name for grouping: ", name, "");
    }
    *ret = arena_str(parser->arena, name);
    return true;
}

bool promql_parse_grouping_labels(struct promql_parser *parser,
                                  struct str **ret_labels,
                                  size_t *ret_count) {
    if (!promql_parser_sees(parser, PROMQL_TOKEN_LEFT_PAREN)) {
        return promql_parser_unexpected_in(parser, GROUPING_CONTEXT, "\"(\"");
    }
    promql_parser_take(parser);
    struct str *labels = NULL;
    size_t count = 0;
    size_t cap = 0;
    while (!promql_parser_sees(parser, PROMQL_TOKEN_RIGHT_PAREN)) {
        labels = arena_vec_grow(parser->arena, labels, &cap, count + 1, sizeof(*labels));
        if (!parse_grouping_label(parser, &labels[count])) {
            return false;
        }
        count++;
        if (promql_parser_sees(parser, PROMQL_TOKEN_RIGHT_PAREN)) {
            break;
        }
        if (!promql_parser_sees(parser, PROMQL_TOKEN_COMMA)) {
            return promql_parser_unexpected_in(parser, GROUPING_CONTEXT, "\",\" or \")\"");
        }
        promql_parser_take(parser);
    }
    promql_parser_take(parser);
    *ret_labels = labels;
    *ret_count = count;
    return true;
}
