/* The values of number, duration and string tokens, read as Go reads them. */
#include <math.h>

#include "base/duration.h"
#include "base/utf8.h"
#include "promql/parser.h"

/* ---- numbers ---- */

#define NUMBER_BYTES_MAX 4096

static bool is_hex(struct str text) {
    return text.len >= 2 && text.ptr[0] == '0' && (text.ptr[1] == 'x' || text.ptr[1] == 'X');
}

static bool is_digit_of(char c, unsigned base) {
    if (c >= '0' && c <= '9') {
        return (unsigned)(c - '0') < base;
    }
    return base == 16 && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'));
}

static unsigned digit_of(char c) {
    if (c >= '0' && c <= '9') {
        return (unsigned)(c - '0');
    }
    return (unsigned)((c | 0x20) - 'a') + 10;
}

/* Every underscore stands between two digits, or between the 0x and a digit. */
static bool underscores_are_fine(struct str text) {
    unsigned base = is_hex(text) ? 16 : 10;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '_') {
            continue;
        }
        bool follows = i > 0 && (is_digit_of(text.ptr[i - 1], base) || (base == 16 && i == 2));
        if (!follows || i + 1 == text.len || !is_digit_of(text.ptr[i + 1], base)) {
            return false;
        }
    }
    return true;
}

/* A whole number with Go's prefixes: 0x hexadecimal, a leading 0 octal. Underscores are gone. */
static bool parse_integer(struct str text, int64_t *ret) {
    unsigned base = 10;
    size_t pos = 0;
    if (is_hex(text)) {
        base = 16;
        pos = 2;
    } else if (text.len > 1 && text.ptr[0] == '0') {
        base = 8;
        pos = 1;
    }
    if (pos == text.len) {
        return false;
    }
    uint64_t value = 0;
    for (; pos < text.len; pos++) {
        if (!is_digit_of(text.ptr[pos], base)) {
            return false;
        }
        if (value > ((uint64_t)INT64_MAX - digit_of(text.ptr[pos])) / base) {
            return false;
        }
        value = value * base + digit_of(text.ptr[pos]);
    }
    *ret = (int64_t)value;
    return true;
}

static bool fail_number(struct promql_parser *parser,
                        const struct promql_token *token,
                        const char *reason) {
    return promql_parser_fail_quoted(parser, token->pos,
                                     "error parsing number: strconv.ParseFloat: parsing ",
                                     token->text, reason);
}

static bool parse_number(struct promql_parser *parser,
                         const struct promql_token *token,
                         double *ret) {
    char digits[NUMBER_BYTES_MAX];
    size_t len = 0;
    if (token->text.len > sizeof(digits)) {
        return promql_parser_limit(parser, token->pos, "number has more than %zu characters",
                                   sizeof(digits));
    }
    for (size_t i = 0; i < token->text.len; i++) {
        if (token->text.ptr[i] != '_') {
            digits[len++] = token->text.ptr[i];
        }
    }
    struct str number = str_n(digits, len);
    int64_t integer;
    double value;
    if (!underscores_are_fine(token->text)) {
        return fail_number(parser, token, ": invalid syntax");
    }
    if (parse_integer(number, &integer)) {
        *ret = (double)integer;
        return true;
    }
    if (is_hex(number) || !str_parse_f64(number, &value)) {
        return fail_number(parser, token, ": invalid syntax");
    }
    if (isinf(value) && digits[0] != 'i' && digits[0] != 'I') {
        return fail_number(parser, token, ": value out of range");
    }
    *ret = value;
    return true;
}

/* ---- durations ---- */

static bool parse_duration(struct promql_parser *parser,
                           const struct promql_token *token,
                           double *ret) {
    int64_t ms;
    struct err err = ERR_INIT;
    if (!duration_parse(token->text, &ms, &err)) {
        /* Base's message goes on with the text, which the position names here. */
        const char *colon = strchr(err.msg, ':');
        bool is_out_of_range = str_starts_with(str_from(err.msg), STR("duration out of range"));
        if (is_out_of_range && colon != NULL) {
            return promql_parser_fail(parser, token->pos, "duration out of range");
        }
        return promql_parser_fail(parser, token->pos, "%s", err.msg);
    }
    *ret = (double)(ms / 1000) + (double)(ms % 1000) * 1e6 / 1e9;
    return true;
}

bool promql_parse_number_token(struct promql_parser *parser,
                               const struct promql_token *token,
                               double *ret) {
    if (token->type == PROMQL_TOKEN_DURATION) {
        return parse_duration(parser, token, ret);
    }
    return parse_number(parser, token, ret);
}

/* ---- strings ---- */

static uint32_t read_digits(struct str text, size_t pos, size_t count, unsigned base) {
    uint32_t value = 0;
    for (size_t i = 0; i < count; i++) {
        value = value * base + digit_of(text.ptr[pos + i]);
    }
    return value;
}

static char simple_escape(char c) {
    switch (c) {
    case 'a': return '\a';
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'v': return '\v';
    default: return c; /* backslash and quote */
    }
}

/* Decode the escape at `pos` (its backslash); returns where it ends. The lexer has checked it. */
static size_t unescape(struct str text, size_t pos, struct buf *out) {
    char c = text.ptr[pos + 1];
    switch (c) {
    case 'x': buf_putc(out, (char)read_digits(text, pos + 2, 2, 16)); return pos + 4;
    case 'u': utf8_append(out, read_digits(text, pos + 2, 4, 16)); return pos + 6;
    case 'U': utf8_append(out, read_digits(text, pos + 2, 8, 16)); return pos + 10;
    default: break;
    }
    if (c >= '0' && c <= '7') {
        buf_putc(out, (char)read_digits(text, pos + 1, 3, 8));
        return pos + 4;
    }
    buf_putc(out, simple_escape(c));
    return pos + 2;
}

void promql_parse_string_token(struct promql_parser *parser,
                               const struct promql_token *token,
                               struct str *ret) {
    struct str inner = str_n(token->text.ptr + 1, token->text.len - 2);
    if (token->text.ptr[0] == '`' || memchr(inner.ptr, '\\', inner.len) == NULL) {
        *ret = arena_str(parser->arena, inner);
        return;
    }
    struct buf out;
    buf_init(&out, inner.len);
    size_t pos = 0;
    while (pos < inner.len) {
        if (inner.ptr[pos] == '\\') {
            pos = unescape(inner, pos, &out);
        } else {
            buf_putc(&out, inner.ptr[pos++]);
        }
    }
    *ret = arena_str(parser->arena, buf_as_str(&out));
    buf_finish(&out);
}
