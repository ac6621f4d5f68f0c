/*
 * The parser's state and the pieces its files share. Recursive descent over one token of
 * look-ahead, which is read no earlier than upstream's generated parser reads it: of several
 * problems in a query the same one is reported. The first problem ends the parse.
 */
#pragma once

#include "promql/ast.h"
#include "promql/lex.h"

/* What an unexpected token is said to be in, and what would have been welcome. A construct sets it
 * for everything nested in it that has no better words. */
struct promql_scope {
    const char *context;
    const char *expected;
};

struct promql_parser {
    struct promql_lexer lexer;
    struct promql_features features;
    struct arena *arena;
    struct promql_token token; /* look-ahead, when has_token */
    bool has_token;
    bool has_failed;
    size_t pos_end; /* of the last token taken */
    uint32_t nesting;
    struct promql_scope scope;
    struct promql_expr **selectors; /* every one made, to free their matchers on failure */
    size_t selector_count;
    size_t selector_cap;
    size_t error_pos;
    struct err *err;
};

/* ---- tokens ---- */

const struct promql_token *promql_parser_peek(struct promql_parser *parser);
struct promql_token promql_parser_take(struct promql_parser *parser);

static inline bool promql_parser_sees(struct promql_parser *parser, enum promql_token_type type) {
    return promql_parser_peek(parser)->type == type;
}

/* ---- failures; all return false and keep the first one ---- */

PRINTF_LIKE(3, 4)
bool promql_parser_fail(struct promql_parser *parser, size_t pos, const char *fmt, ...);
/* ERR_LIMIT instead of ERR_INVALID. */
PRINTF_LIKE(3, 4)
bool promql_parser_limit(struct promql_parser *parser, size_t pos, const char *fmt, ...);
/* "<before> "<quoted>"<after>" */
bool promql_parser_fail_quoted(struct promql_parser *parser,
                               size_t pos,
                               const char *before,
                               struct str quoted,
                               const char *after);
/* The look-ahead is unexpected, in the words of the scope or in the given ones. */
bool promql_parser_unexpected(struct promql_parser *parser);
bool promql_parser_unexpected_in(struct promql_parser *parser,
                                 const char *context,
                                 const char *expected);
/* Take a token of this type or fail as unexpected in the current scope. */
bool promql_parser_expect(struct promql_parser *parser, enum promql_token_type type);

/* Every construct that can hold itself enters and leaves; entering may fail. */
bool promql_parser_enter(struct promql_parser *parser, size_t pos);
void promql_parser_leave(struct promql_parser *parser);

/* ---- nodes ---- */

/* A node in the arena, zeroed but for kind, type and start. */
struct promql_expr *promql_parser_node(struct promql_parser *parser,
                                       enum promql_kind kind,
                                       enum promql_type type,
                                       size_t pos_start);
/* Make `expr` at least one higher than `child` (NULL ok); false when that is too high. */
bool promql_parser_raise(struct promql_parser *parser,
                         struct promql_expr *expr,
                         const struct promql_expr *child);

/* ---- literals (parse_literal.c) ---- */

void promql_parse_string_token(struct promql_parser *parser,
                               const struct promql_token *token,
                               struct str *ret);
/* Value in seconds for a DURATION. */
bool promql_parse_number_token(struct promql_parser *parser,
                               const struct promql_token *token,
                               double *ret);

/* ---- the grammar, one function per file's main rule; NULL or false on failure ---- */

struct promql_expr *promql_parse_expression(struct promql_parser *parser);
struct promql_expr *promql_parse_primary(struct promql_parser *parser);
/* [range], [range:step], offset, @, anchored, smoothed after an expression. */
struct promql_expr *promql_parse_postfix(struct promql_parser *parser, struct promql_expr *expr);
/* What stands behind a binary operator and before its right-hand side. */
bool promql_parse_bin_modifier(struct promql_parser *parser, struct promql_expr *binary);

/* A vector selector; `name` has been taken (NULL: it starts with the brace). */
struct promql_expr *promql_parse_vector_selector(struct promql_parser *parser,
                                                 const struct promql_token *name);
/* ( label, … ) */
bool promql_parse_grouping_labels(struct promql_parser *parser,
                                  struct str **ret_labels,
                                  size_t *ret_count);

/* Duration expressions: everything in brackets, and what may follow `offset`. */
struct promql_expr *promql_parse_duration(struct promql_parser *parser);
struct promql_expr *promql_parse_offset_duration(struct promql_parser *parser);

/* True for tokens that may be the name of a metric. */
bool promql_token_is_metric_name(enum promql_token_type type);
/* True for tokens an expression can start with. */
bool promql_token_starts_expression(enum promql_token_type type);

/* ---- after parsing (check.c): types and what the grammar cannot say ---- */

bool promql_check(struct promql_parser *parser, struct promql_expr *expr);
