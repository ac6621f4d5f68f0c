/* Entry points of the parser, its tokens and its error messages. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "promql/parser.h"
#include "promql/quote.h"

#define MESSAGE_BYTES_MAX 480 /* leaves room for line and column in struct err */

/* ---- tokens ---- */

const struct promql_token *promql_parser_peek(struct promql_parser *parser) {
    if (!parser->has_token) {
        promql_lexer_next(&parser->lexer, &parser->token);
        parser->has_token = true;
        if (parser->token.type == PROMQL_TOKEN_ERROR) {
            promql_parser_fail(parser, parser->token.pos, "%.*s", STR_FMT(parser->token.text));
        }
    }
    return &parser->token;
}

struct promql_token promql_parser_take(struct promql_parser *parser) {
    struct promql_token token = *promql_parser_peek(parser);
    parser->has_token = false;
    parser->pos_end = token.pos + token.text.len;
    return token;
}

/* ---- failures ---- */

/* "LINE:COL: parse error: " before the message, both counted in bytes from 1 as upstream does. */
static void format_position(const struct promql_parser *parser, size_t pos, struct buf *out) {
    struct str text = parser->lexer.text;
    if (text.len == 0) {
        buf_cstr(out, "unknown position: parse error: ");
        return;
    }
    assert(pos <= text.len);
    size_t line = 1;
    size_t line_start = 0;
    for (size_t i = 0; i < pos; i++) {
        if (text.ptr[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    buf_printf(out, "%zu:%zu: parse error: ", line, pos - line_start + 1);
}

static bool fail_with(struct promql_parser *parser,
                      enum err_code code,
                      size_t pos,
                      struct str message) {
    if (parser->has_failed) {
        return false;
    }
    parser->has_failed = true;
    parser->error_pos = pos;
    struct buf position;
    buf_init(&position, MESSAGE_BYTES_MAX);
    format_position(parser, pos, &position);
    err_set(parser->err, code, "%.*s%.*s", STR_FMT(buf_as_str(&position)), STR_FMT(message));
    buf_finish(&position);
    return false;
}

bool promql_parser_fail(struct promql_parser *parser, size_t pos, const char *fmt, ...) {
    char message[MESSAGE_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    return fail_with(parser, ERR_INVALID, pos, str_from(message));
}

bool promql_parser_limit(struct promql_parser *parser, size_t pos, const char *fmt, ...) {
    char message[MESSAGE_BYTES_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    return fail_with(parser, ERR_LIMIT, pos, str_from(message));
}

bool promql_parser_fail_quoted(struct promql_parser *parser,
                               size_t pos,
                               const char *before,
                               struct str quoted,
                               const char *after) {
    struct buf message;
    buf_init(&message, MESSAGE_BYTES_MAX);
    buf_cstr(&message, before);
    promql_quote(&message, quoted);
    buf_cstr(&message, after);
    fail_with(parser, ERR_INVALID, pos, buf_as_str(&message));
    buf_finish(&message);
    return false;
}

bool promql_parser_unexpected_in(struct promql_parser *parser,
                                 const char *context,
                                 const char *expected) {
    const struct promql_token *token = promql_parser_peek(parser);
    struct buf message;
    buf_init(&message, MESSAGE_BYTES_MAX);
    buf_cstr(&message, "unexpected ");
    promql_token_describe(token, &message);
    if (context != NULL) {
        buf_printf(&message, " in %s", context);
    }
    if (expected != NULL) {
        buf_printf(&message, ", expected %s", expected);
    }
    fail_with(parser, ERR_INVALID, token->pos, buf_as_str(&message));
    buf_finish(&message);
    return false;
}

bool promql_parser_unexpected(struct promql_parser *parser) {
    return promql_parser_unexpected_in(parser, parser->scope.context, parser->scope.expected);
}

bool promql_parser_expect(struct promql_parser *parser, enum promql_token_type type) {
    if (!promql_parser_sees(parser, type)) {
        return promql_parser_unexpected(parser);
    }
    promql_parser_take(parser);
    return true;
}

bool promql_parser_enter(struct promql_parser *parser, size_t pos) {
    if (parser->nesting == PROMQL_NESTING_MAX) {
        return promql_parser_limit(parser, pos, "expression is nested deeper than %d",
                                   PROMQL_NESTING_MAX);
    }
    parser->nesting++;
    return true;
}

void promql_parser_leave(struct promql_parser *parser) {
    assert(parser->nesting > 0);
    parser->nesting--;
}

/* ---- nodes ---- */

struct promql_expr *promql_parser_node(struct promql_parser *parser,
                                       enum promql_kind kind,
                                       enum promql_type type,
                                       size_t pos_start) {
    struct promql_expr *expr = arena_calloc(parser->arena, 1, sizeof(*expr));
    expr->kind = kind;
    expr->type = type;
    expr->pos_start = (uint32_t)pos_start;
    expr->pos_end = (uint32_t)parser->pos_end;
    expr->height = 1;
    return expr;
}

bool promql_parser_raise(struct promql_parser *parser,
                         struct promql_expr *expr,
                         const struct promql_expr *child) {
    if (child == NULL || child->height < expr->height) {
        return true;
    }
    if (child->height == PROMQL_HEIGHT_MAX) {
        return promql_parser_limit(parser, expr->pos_start,
                                   "expression has more than %d levels of operators",
                                   PROMQL_HEIGHT_MAX);
    }
    expr->height = child->height + 1;
    return true;
}

/* ---- entry points ---- */

static void parser_init(struct promql_parser *parser,
                        struct str text,
                        const struct promql_features *features,
                        struct arena *arena,
                        struct err *err) {
    *parser = (struct promql_parser){ .arena = arena, .err = err };
    if (features != NULL) {
        parser->features = *features;
    }
    promql_lexer_init(&parser->lexer, text);
}

static void finish_matchers(struct matcher *matchers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        matcher_finish(&matchers[i]);
    }
}

static void parser_drop_selectors(struct promql_parser *parser) {
    for (size_t i = 0; i < parser->selector_count; i++) {
        struct promql_expr *expr = parser->selectors[i];
        finish_matchers(expr->selector.matchers, expr->selector.matcher_count);
    }
}

static struct promql_expr *parse_whole(struct promql_parser *parser) {
    if (promql_parser_sees(parser, PROMQL_TOKEN_EOF)) {
        promql_parser_fail(parser, 0, "no expression found in input");
        return NULL;
    }
    struct promql_expr *expr = promql_parse_expression(parser);
    if (expr == NULL) {
        return NULL;
    }
    if (!promql_parser_sees(parser, PROMQL_TOKEN_EOF)) {
        promql_parser_unexpected(parser);
        return NULL;
    }
    return promql_check(parser, expr) ? expr : NULL;
}

static bool check_length(struct str text, struct err *err) {
    if (text.len > PROMQL_TEXT_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "query is %zu bytes long, the limit is %d", text.len,
                       PROMQL_TEXT_BYTES_MAX);
    }
    return true;
}

bool promql_parse(struct str text,
                  const struct promql_features *features,
                  struct arena *arena,
                  struct promql_expr **ret,
                  size_t *ret_offset,
                  struct err *err) {
    if (!check_length(text, err)) {
        if (ret_offset != NULL) {
            *ret_offset = 0;
        }
        return false;
    }
    struct promql_parser parser;
    parser_init(&parser, text, features, arena, err);
    struct promql_expr *expr = parse_whole(&parser);
    promql_lexer_finish(&parser.lexer);
    if (expr == NULL) {
        assert(parser.has_failed);
        parser_drop_selectors(&parser);
        if (ret_offset != NULL) {
            *ret_offset = parser.error_pos;
        }
        return false;
    }
    *ret = expr;
    return true;
}

static struct promql_expr *parse_selector_only(struct promql_parser *parser) {
    struct promql_expr *expr = NULL;
    if (promql_token_is_metric_name(promql_parser_peek(parser)->type)) {
        struct promql_token name = promql_parser_take(parser);
        expr = promql_parse_vector_selector(parser, &name);
    } else if (promql_parser_sees(parser, PROMQL_TOKEN_LEFT_BRACE)) {
        expr = promql_parse_vector_selector(parser, NULL);
    } else {
        promql_parser_unexpected(parser);
    }
    if (expr != NULL && !promql_parser_sees(parser, PROMQL_TOKEN_EOF)) {
        promql_parser_unexpected(parser);
        return NULL;
    }
    return expr;
}

bool promql_parse_selector(struct str text,
                           struct matcher **ret_matchers,
                           size_t *ret_count,
                           struct err *err) {
    if (!check_length(text, err)) {
        return false;
    }
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct promql_parser parser;
    parser_init(&parser, text, NULL, &arena, err);
    struct promql_expr *expr = parse_selector_only(&parser);
    promql_lexer_finish(&parser.lexer);
    if (expr == NULL) {
        assert(parser.has_failed);
        parser_drop_selectors(&parser);
    } else {
        size_t count = expr->selector.matcher_count;
        struct matcher *matchers = mem_calloc(count, sizeof(*matchers));
        for (size_t i = 0; i < count; i++) {
            matchers[i] = expr->selector.matchers[i]; /* names, values and regexes move along */
        }
        *ret_matchers = matchers;
        *ret_count = count;
    }
    arena_finish(&arena);
    return expr != NULL;
}
