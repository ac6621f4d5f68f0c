/* Literals of templates: quoted strings, numbers, characters, with Go's syntax. */
#include <math.h>

#include "base/template_format.h"
#include "base/template_parse.h"
#include "base/utf8.h"

/* ---- quoted strings ---- */

static int hex_value(unsigned char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `count` digits of the base at *pos; false when they are not there. */
static bool read_digits(struct str text, size_t *pos, size_t count, unsigned base, uint32_t *ret) {
    if (text.len - *pos < count) {
        return false;
    }
    *ret = 0;
    for (size_t i = 0; i < count; i++) {
        int digit = hex_value((unsigned char)text.ptr[*pos + i]);
        if (digit < 0 || (unsigned)digit >= base) {
            return false;
        }
        *ret = *ret * base + (uint32_t)digit;
    }
    *pos += count;
    return true;
}

/* The escape after a backslash. Bytes (\x, \ooo) are appended as such, characters as UTF-8. */
static bool read_escape(struct str text, size_t *pos, char quote, struct buf *out, uint32_t *ret) {
    static const char names[] = "abfnrtv\\";
    static const char values[] = "\a\b\f\n\r\t\v\\";
    if (*pos >= text.len) {
        return false;
    }
    char kind = text.ptr[(*pos)++];
    const char *named = kind == '\0' ? NULL : strchr(names, kind);
    if (named != NULL || kind == quote) {
        *ret = (unsigned char)(named != NULL ? values[named - names] : quote);
        buf_putc(out, (char)*ret);
        return true;
    }
    if (kind == 'x' || (kind >= '0' && kind <= '7')) {
        bool is_hex = kind == 'x';
        *pos -= is_hex ? 0 : 1;
        if (!read_digits(text, pos, is_hex ? 2 : 3, is_hex ? 16 : 8, ret) || *ret > 0xff) {
            return false;
        }
        buf_putc(out, (char)*ret);
        return true;
    }
    if ((kind != 'u' && kind != 'U') || !read_digits(text, pos, kind == 'u' ? 4 : 8, 16, ret) ||
        *ret > 0x10ffff || (*ret >= 0xd800 && *ret < 0xe000)) {
        return false;
    }
    utf8_append(out, *ret);
    return true;
}

static bool unquote(struct str quoted, struct buf *out) {
    char quote = quoted.ptr[0];
    struct str text = str_n(quoted.ptr + 1, quoted.len - 2);
    for (size_t pos = 0; pos < text.len;) {
        char c = text.ptr[pos++];
        uint32_t rune = 0;
        if (quote == '`') {
            if (c != '\r') {
                buf_putc(out, c);
            }
        } else if (c != '\\') {
            buf_putc(out, c);
        } else if (!read_escape(text, &pos, quote, out, &rune)) {
            return false;
        }
    }
    return true;
}

bool tmpl_unquote(struct tmpl_parser *p, struct str quoted, struct str *ret) {
    struct buf out;
    buf_init(&out, quoted.len * 4);
    bool ok = unquote(quoted, &out);
    if (ok) {
        *ret = arena_str(p->arena, buf_as_str(&out));
    }
    buf_finish(&out);
    return ok ? true : tmpl_parse_fail(p, "invalid syntax");
}

/* ---- numbers ---- */

/* The text without underscores, which may stand between digits and after a base prefix. */
static bool strip_underscores(struct str text, struct buf *out) {
    size_t sign = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+') ? 1 : 0;
    bool has_prefix = text.len > sign + 1 && text.ptr[sign] == '0' &&
                      strchr("xXoObB", text.ptr[sign + 1]) != NULL;
    bool is_hex = has_prefix && (text.ptr[sign + 1] | 0x20) == 'x';
    bool after_digit = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        int value = hex_value((unsigned char)c);
        bool is_digit = (value >= 0 && (is_hex || value < 10)) || (has_prefix && i == sign + 1);
        bool after_underscore = i > 0 && text.ptr[i - 1] == '_';
        if (c == '_' ? !after_digit || i + 1 == text.len : after_underscore && !is_digit) {
            return false;
        }
        after_digit = is_digit;
        if (c != '_') {
            buf_putc(out, c);
        }
    }
    return true;
}

static bool parse_magnitude(struct str text, uint64_t *ret) {
    unsigned base = 10;
    if (text.len > 1 && text.ptr[0] == '0') {
        char kind = (char)(text.ptr[1] | 0x20);
        base = kind == 'x' ? 16 : kind == 'b' ? 2 : 8;
        size_t skip = kind == 'x' || kind == 'b' || kind == 'o' ? 2 : 1;
        text = str_n(text.ptr + skip, text.len - skip);
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = hex_value((unsigned char)text.ptr[i]);
        if (digit < 0 || (unsigned)digit >= base ||
            __builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value)) {
            return false;
        }
    }
    *ret = value;
    return text.len > 0;
}

static bool has_float_syntax(struct str text) {
    size_t start = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+') ? 1 : 0;
    bool is_hex =
        text.len > start + 1 && text.ptr[start] == '0' && (text.ptr[start + 1] | 0x20) == 'x';
    for (size_t i = 0; i < text.len; i++) {
        if (strchr(is_hex ? "pP" : ".eEpP", text.ptr[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* `text` without underscores; node->number.text is how it was written. */
static bool parse_number(struct tmpl_parser *p, struct str text, struct tmpl_node *node) {
    bool is_negative = text.len > 0 && text.ptr[0] == '-';
    size_t sign = is_negative || (text.len > 0 && text.ptr[0] == '+') ? 1 : 0;
    uint64_t magnitude = 0;
    if (parse_magnitude(str_n(text.ptr + sign, text.len - sign), &magnitude)) {
        uint64_t max = (uint64_t)INT64_MAX + (is_negative ? 1 : 0);
        if (magnitude <= max) {
            node->number.is_int = true;
            node->number.integer = (int64_t)(is_negative ? 0 - magnitude : magnitude);
        } else if (is_negative) {
            return tmpl_parse_fail(p, "integer overflow: %s",
                                   tmpl_quote(node->number.text, p->arena).ptr);
        }
        return true; /* a number of 2^63 and more is refused where it is used, as in Go */
    }
    double value = 0;
    if (!str_parse_f64(text, &value) || !isfinite(value)) {
        return tmpl_parse_fail(p, "illegal number syntax: %s",
                               tmpl_quote(node->number.text, p->arena).ptr);
    }
    if (!has_float_syntax(text)) {
        return tmpl_parse_fail(p, "integer overflow: %s",
                               tmpl_quote(node->number.text, p->arena).ptr);
    }
    node->number.is_float = true;
    node->number.number = value;
    return true;
}

struct tmpl_node *tmpl_parse_number_token(struct tmpl_parser *p, struct tmpl_token token) {
    struct tmpl_node *node = tmpl_node_new(p, NODE_NUMBER, token.pos);
    node->number.text = token.text;
    p->last = token;
    struct buf digits;
    buf_init(&digits, token.text.len + 1);
    bool ok =
        strip_underscores(token.text, &digits)
            ? parse_number(p, buf_as_str(&digits), node)
            : tmpl_parse_fail(p, "illegal number syntax: %s", tmpl_quote(token.text, p->arena).ptr);
    buf_finish(&digits);
    return ok ? node : NULL;
}

/* 'x' is its code point. */
struct tmpl_node *tmpl_parse_char_token(struct tmpl_parser *p, struct tmpl_token token) {
    struct tmpl_node *node = tmpl_node_new(p, NODE_NUMBER, token.pos);
    struct str inside = str_n(token.text.ptr + 1, token.text.len - 2);
    struct buf bytes;
    buf_init(&bytes, 16);
    uint32_t rune = 0;
    size_t pos = 1;
    bool ok = inside.len > 0;
    if (ok && inside.ptr[0] == '\\') {
        ok = read_escape(inside, &pos, '\'', &bytes, &rune);
    } else if (ok) {
        pos = utf8_decode(inside, 0, &rune);
        rune = rune == UTF8_INVALID ? UTF8_REPLACEMENT : rune;
    }
    buf_finish(&bytes);
    p->last = token;
    if (!ok) {
        (void)tmpl_parse_fail(p, "invalid syntax");
        return NULL;
    }
    if (pos != inside.len) {
        (void)tmpl_parse_fail(p, "malformed character constant: %.*s", STR_FMT(token.text));
        return NULL;
    }
    node->number.text = token.text;
    node->number.is_int = true;
    node->number.integer = rune;
    return node;
}
