/* The template lexer: what Go's does in a chain of state functions, one call per token. */
#include "base/template_lex.h"

#include <assert.h>

#include "base/template_format.h"
#include "base/unicode.h"
#include "base/utf8.h"

#define NO_RUNE         (UINT32_MAX - 1) /* end of input */
#define TRIM_MARKER_LEN 2                /* the minus and its space */

void tmpl_lex_init(struct tmpl_lexer *lexer, struct str input, struct arena *arena) {
    *lexer = (struct tmpl_lexer){ .input = input, .arena = arena, .line = 1, .start_line = 1 };
}

/* ---- characters ---- */

static bool is_space(uint32_t rune) {
    return rune == ' ' || rune == '\t' || rune == '\r' || rune == '\n';
}

static bool is_alphanumeric(uint32_t rune) {
    return rune == '_' || unicode_is_letter(rune);
}

static struct str rest_at(const struct tmpl_lexer *lexer, size_t pos) {
    if (pos > lexer->input.len) {
        pos = lexer->input.len;
    }
    return str_n(lexer->input.ptr + pos, lexer->input.len - pos);
}

static struct str rest(const struct tmpl_lexer *lexer) {
    return rest_at(lexer, lexer->pos);
}

/* The rune at pos and its length; NO_RUNE and 0 at the end. */
static uint32_t peek(const struct tmpl_lexer *lexer, size_t *ret_len) {
    uint32_t rune = NO_RUNE;
    *ret_len = 0;
    if (lexer->pos < lexer->input.len) {
        *ret_len = utf8_decode(lexer->input, lexer->pos, &rune);
        if (rune == UTF8_INVALID) {
            rune = UTF8_REPLACEMENT;
        }
    }
    return rune;
}

static uint32_t peek_rune(const struct tmpl_lexer *lexer) {
    size_t len = 0;
    return peek(lexer, &len);
}

static uint32_t next_rune(struct tmpl_lexer *lexer) {
    size_t len = 0;
    uint32_t rune = peek(lexer, &len);
    lexer->pos += len;
    lexer->line += rune == '\n' ? 1 : 0;
    return rune;
}

/* Move to `pos`, counting lines. */
static void skip_to(struct tmpl_lexer *lexer, size_t pos) {
    for (size_t i = lexer->pos; i < pos; i++) {
        lexer->line += lexer->input.ptr[i] == '\n' ? 1 : 0;
    }
    lexer->pos = pos;
}

static void drop(struct tmpl_lexer *lexer) {
    lexer->start = lexer->pos;
    lexer->start_line = lexer->line;
}

static bool has_left_trim_marker(struct str text) {
    return text.len >= 2 && text.ptr[0] == '-' && is_space((unsigned char)text.ptr[1]);
}

static bool has_right_trim_marker(struct str text) {
    return text.len >= 2 && is_space((unsigned char)text.ptr[0]) && text.ptr[1] == '-';
}

/* At "}}" or " -}}"? */
static bool at_right_delim(const struct tmpl_lexer *lexer, bool *ret_trims) {
    *ret_trims = has_right_trim_marker(rest(lexer)) &&
                 str_starts_with(rest_at(lexer, lexer->pos + TRIM_MARKER_LEN), STR("}}"));
    return *ret_trims || str_starts_with(rest(lexer), STR("}}"));
}

/* ---- tokens ---- */

static struct tmpl_token take(struct tmpl_lexer *lexer, enum tmpl_token_type type) {
    struct tmpl_token token = {
        .type = type,
        .pos = (uint32_t)lexer->start,
        .line = lexer->start_line,
        .text = str_n(lexer->input.ptr + lexer->start, lexer->pos - lexer->start),
    };
    drop(lexer);
    return token;
}

static struct tmpl_token fail(struct tmpl_lexer *lexer, struct str message) {
    struct tmpl_token token = {
        .type = TOKEN_ERROR,
        .pos = (uint32_t)lexer->start,
        .line = lexer->start_line,
        .text = message,
    };
    lexer->input.len = lexer->pos = lexer->start = 0;
    lexer->is_inside_action = false;
    return token;
}

static struct tmpl_token fail_rune(struct tmpl_lexer *lexer, const char *what, uint32_t rune) {
    struct buf text;
    buf_init(&text, 64);
    if (unicode_is_print(rune)) {
        utf8_append(&text, rune);
    }
    struct str shown = arena_str(lexer->arena, buf_as_str(&text));
    buf_finish(&text);
    uint32_t code = rune == NO_RUNE ? 0 : rune;
    struct str message = shown.len > 0
                             ? arena_printf(lexer->arena, "%s U+%04X '%s'", what, code, shown.ptr)
                             : arena_printf(lexer->arena, "%s U+%04X", what, code);
    return fail(lexer, message);
}

static size_t count_right_spaces(struct str text) {
    size_t count = 0;
    while (count < text.len && is_space((unsigned char)text.ptr[text.len - 1 - count])) {
        count++;
    }
    return count;
}

static void skip_spaces(struct tmpl_lexer *lexer) {
    while (is_space(peek_rune(lexer))) {
        (void)next_rune(lexer);
    }
}

/* A comment, whose left delimiter has been passed. True when it was one; *ret_error is set when it
 * is faulty. */
static bool skip_comment(struct tmpl_lexer *lexer, const char **ret_error) {
    size_t body = lexer->pos + 2;
    size_t end = str_find(rest_at(lexer, body), STR("*/"));
    if (end == SIZE_MAX) {
        *ret_error = "unclosed comment";
        return false;
    }
    skip_to(lexer, body + end + 2);
    bool trims = false;
    if (!at_right_delim(lexer, &trims)) {
        *ret_error = "comment ends before closing delimiter";
        return false;
    }
    skip_to(lexer, lexer->pos + (trims ? TRIM_MARKER_LEN : 0) + 2);
    if (trims) {
        skip_spaces(lexer);
    }
    drop(lexer);
    return true;
}

/* Text up to the next action, or the action's left delimiter. */
static struct tmpl_token lex_text(struct tmpl_lexer *lexer) {
    for (;;) {
        size_t found = str_find(rest(lexer), STR("{{"));
        if (found == SIZE_MAX) {
            skip_to(lexer, lexer->input.len);
            return take(lexer, lexer->pos > lexer->start ? TOKEN_TEXT : TOKEN_EOF);
        }
        size_t delim = lexer->pos + found;
        bool trims = has_left_trim_marker(rest_at(lexer, delim + 2));
        size_t end = delim;
        if (trims) {
            end -= count_right_spaces(str_n(lexer->input.ptr + lexer->start, delim - lexer->start));
        }
        skip_to(lexer, end);
        if (end > lexer->start) {
            struct tmpl_token text = take(lexer, TOKEN_TEXT);
            skip_to(lexer, delim);
            drop(lexer);
            return text;
        }
        skip_to(lexer, delim);
        drop(lexer);
        size_t after = delim + 2 + (trims ? TRIM_MARKER_LEN : 0);
        if (!str_starts_with(rest_at(lexer, after), STR("/*"))) {
            lexer->pos = delim + 2;
            struct tmpl_token token = take(lexer, TOKEN_LEFT_DELIM);
            skip_to(lexer, after);
            drop(lexer);
            lexer->is_inside_action = true;
            lexer->paren_depth = 0;
            return token;
        }
        skip_to(lexer, after);
        drop(lexer);
        const char *error = NULL;
        if (!skip_comment(lexer, &error)) {
            return fail(lexer, str_from(error));
        }
    }
}

static struct tmpl_token lex_right_delim(struct tmpl_lexer *lexer) {
    bool trims = false;
    (void)at_right_delim(lexer, &trims);
    if (trims) {
        skip_to(lexer, lexer->pos + TRIM_MARKER_LEN);
        drop(lexer);
    }
    lexer->pos += 2;
    struct tmpl_token token = take(lexer, TOKEN_RIGHT_DELIM);
    if (trims) {
        skip_spaces(lexer);
        drop(lexer);
    }
    lexer->is_inside_action = false;
    return token;
}

/* A run of spaces; the last one may belong to " -}}". */
static struct tmpl_token lex_space(struct tmpl_lexer *lexer) {
    size_t count = 0;
    while (is_space(peek_rune(lexer))) {
        (void)next_rune(lexer);
        count++;
    }
    struct str last = rest_at(lexer, lexer->pos - 1);
    if (has_right_trim_marker(last) &&
        str_starts_with(rest_at(lexer, lexer->pos - 1 + TRIM_MARKER_LEN), STR("}}"))) {
        lexer->pos--;
        lexer->line -= lexer->input.ptr[lexer->pos] == '\n' ? 1 : 0;
        if (count == 1) {
            return lex_right_delim(lexer);
        }
    }
    return take(lexer, TOKEN_SPACE);
}

/* May an identifier, field or variable end here? */
static bool at_terminator(const struct tmpl_lexer *lexer) {
    switch (peek_rune(lexer)) {
    case NO_RUNE:
    case ' ':
    case '\t':
    case '\r':
    case '\n':
    case '.':
    case ',':
    case '|':
    case ':':
    case ')':
    case '(': return true;
    default: return str_starts_with(rest(lexer), STR("}}"));
    }
}

static struct tmpl_token lex_word(struct tmpl_lexer *lexer, enum tmpl_token_type type) {
    while (is_alphanumeric(peek_rune(lexer))) {
        (void)next_rune(lexer);
    }
    if (!at_terminator(lexer)) {
        return fail_rune(lexer, "bad character", peek_rune(lexer));
    }
    return take(lexer, type);
}

static struct tmpl_token lex_identifier(struct tmpl_lexer *lexer) {
    static const struct {
        const char *word;
        enum tmpl_token_type type;
    } keywords[] = {
        { "block", TOKEN_BLOCK },
        { "break", TOKEN_BREAK },
        { "continue", TOKEN_CONTINUE },
        { "define", TOKEN_DEFINE },
        { "else", TOKEN_ELSE },
        { "end", TOKEN_END },
        { "if", TOKEN_IF },
        { "nil", TOKEN_NIL },
        { "range", TOKEN_RANGE },
        { "template", TOKEN_TEMPLATE },
        { "with", TOKEN_WITH },
        { "true", TOKEN_BOOL },
        { "false", TOKEN_BOOL },
    };
    struct tmpl_token token = lex_word(lexer, TOKEN_IDENTIFIER);
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        if (token.type == TOKEN_IDENTIFIER && str_eq_c(token.text, keywords[i].word)) {
            token.type = keywords[i].type;
        }
    }
    return token;
}

/* After the quote: to its partner, over escapes. */
static struct tmpl_token lex_quoted(struct tmpl_lexer *lexer,
                                    uint32_t quote,
                                    enum tmpl_token_type type,
                                    const char *fault) {
    for (;;) {
        uint32_t rune = next_rune(lexer);
        if (rune == '\\') {
            rune = next_rune(lexer);
            if (rune != NO_RUNE && rune != '\n') {
                continue;
            }
        }
        if (rune == NO_RUNE || rune == '\n') {
            return fail(lexer, str_from(fault));
        }
        if (rune == quote) {
            return take(lexer, type);
        }
    }
}

static struct tmpl_token lex_raw_string(struct tmpl_lexer *lexer) {
    for (;;) {
        uint32_t rune = next_rune(lexer);
        if (rune == NO_RUNE) {
            return fail(lexer, STR("unterminated raw quoted string"));
        }
        if (rune == '`') {
            return take(lexer, TOKEN_RAW_STRING);
        }
    }
}

static bool accept(struct tmpl_lexer *lexer, const char *set) {
    uint32_t rune = peek_rune(lexer);
    if (rune == 0 || rune >= 0x80 || strchr(set, (int)rune) == NULL) {
        return false;
    }
    (void)next_rune(lexer);
    return true;
}

static void accept_run(struct tmpl_lexer *lexer, const char *set) {
    while (accept(lexer, set)) {
    }
}

/* Scans what can be a number; the parser decides whether it is one. */
static bool scan_number(struct tmpl_lexer *lexer) {
    const char *digits = "0123456789_";
    bool is_hex = false;
    bool is_decimal = true;
    (void)accept(lexer, "+-");
    if (accept(lexer, "0")) {
        if (accept(lexer, "xX")) {
            digits = "0123456789abcdefABCDEF_";
            is_hex = true;
        } else if (accept(lexer, "oO")) {
            digits = "01234567_";
            is_decimal = false;
        } else if (accept(lexer, "bB")) {
            digits = "01_";
            is_decimal = false;
        }
    }
    accept_run(lexer, digits);
    if (accept(lexer, ".")) {
        accept_run(lexer, digits);
    }
    if (is_hex ? accept(lexer, "pP") : is_decimal && accept(lexer, "eE")) {
        (void)accept(lexer, "+-");
        accept_run(lexer, "0123456789_");
    }
    bool is_imaginary = accept(lexer, "i");
    if (is_alphanumeric(peek_rune(lexer))) {
        (void)next_rune(lexer);
        return false;
    }
    return !is_imaginary; /* no value here is complex */
}

static struct tmpl_token lex_number(struct tmpl_lexer *lexer) {
    bool is_valid = scan_number(lexer);
    uint32_t sign = peek_rune(lexer);
    if (is_valid && (sign == '+' || sign == '-')) { /* complex */
        (void)scan_number(lexer);
        is_valid = false;
    }
    if (!is_valid) {
        struct str text = str_n(lexer->input.ptr + lexer->start, lexer->pos - lexer->start);
        struct str quoted = tmpl_quote(text, lexer->arena);
        return fail(lexer, arena_printf(lexer->arena, "bad number syntax: %s", quoted.ptr));
    }
    return take(lexer, TOKEN_NUMBER);
}

static struct tmpl_token lex_punctuation(struct tmpl_lexer *lexer, uint32_t rune) {
    switch (rune) {
    case NO_RUNE: return fail(lexer, STR("unclosed action"));
    case '=': return take(lexer, TOKEN_ASSIGN);
    case ':':
        return next_rune(lexer) == '=' ? take(lexer, TOKEN_DECLARE)
                                       : fail(lexer, STR("expected :="));
    case '|': return take(lexer, TOKEN_PIPE);
    case '"': return lex_quoted(lexer, '"', TOKEN_STRING, "unterminated quoted string");
    case '\'':
        return lex_quoted(lexer, '\'', TOKEN_CHAR_CONSTANT, "unterminated character constant");
    case '`': return lex_raw_string(lexer);
    case '(': lexer->paren_depth++; return take(lexer, TOKEN_LEFT_PAREN);
    case ')':
        if (--lexer->paren_depth < 0) {
            return fail(lexer, STR("unexpected right paren"));
        }
        return take(lexer, TOKEN_RIGHT_PAREN);
    default:
        if (rune > 0x20 && rune < 0x7f) {
            return take(lexer, TOKEN_CHAR);
        }
        return fail_rune(lexer, "unrecognized character in action:", rune);
    }
}

static struct tmpl_token lex_inside_action(struct tmpl_lexer *lexer) {
    bool trims = false;
    if (at_right_delim(lexer, &trims)) {
        return lexer->paren_depth == 0 ? lex_right_delim(lexer)
                                       : fail(lexer, STR("unclosed left paren"));
    }
    uint32_t rune = peek_rune(lexer);
    if (is_space(rune)) {
        return lex_space(lexer);
    }
    if (rune == '+' || rune == '-' || (rune >= '0' && rune <= '9')) {
        return lex_number(lexer);
    }
    if (is_alphanumeric(rune)) {
        return lex_identifier(lexer);
    }
    if (rune == '.') {
        struct str next = rest_at(lexer, lexer->pos + 1);
        if (next.len == 0 || (next.ptr[0] >= '0' && next.ptr[0] <= '9')) {
            return lex_number(lexer);
        }
    }
    (void)next_rune(lexer);
    if (rune == '.' || rune == '$') {
        if (at_terminator(lexer)) {
            return take(lexer, rune == '.' ? TOKEN_DOT : TOKEN_VARIABLE);
        }
        return lex_word(lexer, rune == '.' ? TOKEN_FIELD : TOKEN_VARIABLE);
    }
    return lex_punctuation(lexer, rune);
}

struct tmpl_token tmpl_lex_next(struct tmpl_lexer *lexer) {
    return lexer->is_inside_action ? lex_inside_action(lexer) : lex_text(lexer);
}

struct str tmpl_token_describe(const struct tmpl_token *token, struct arena *arena) {
    if (token->type == TOKEN_EOF) {
        return STR("EOF");
    }
    if (token->type == TOKEN_ERROR) {
        return token->text;
    }
    if (token->type >= TOKEN_DOT) {
        return arena_printf(arena, "<%.*s>", STR_FMT(token->text));
    }
    if (token->text.len <= 10) {
        return tmpl_quote(token->text, arena);
    }
    size_t end = 0;
    for (int runes = 0; runes < 10 && end < token->text.len; runes++) {
        uint32_t rune = 0;
        end += utf8_decode(token->text, end, &rune);
    }
    return arena_printf(arena, "%s...", tmpl_quote(str_n(token->text.ptr, end), arena).ptr);
}
