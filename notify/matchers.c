/*
 * Matcher texts. Two grammars, as upstream: the classic one (a tolerant regular expression per
 * comma-separated token) and the UTF-8 one (a lexer with quoted names). Neither subsumes the other.
 */
#include "notify/matchers.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/utf8.h"

enum {
    MATCHERS_TEXT_BYTES_MAX = 64 * 1024,
};

/* ---- list ---- */

void matcher_list_finish(struct matcher_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        matcher_finish(&list->items[i]);
    }
    mem_free(list->items);
    *list = (struct matcher_list){ 0 };
}

bool matcher_list_add(struct matcher_list *list,
                      enum match_type type,
                      struct str name,
                      struct str value,
                      struct err *err) {
    struct matcher matcher = { 0 };
    if (!matcher_init(&matcher, type, name, value, err)) {
        return false;
    }
    list->items = vec_grow(list->items, &list->cap, list->count + 1, sizeof(list->items[0]));
    list->items[list->count++] = matcher;
    return true;
}

static int cmp_matcher(const void *a, const void *b) {
    const struct matcher *x = a;
    const struct matcher *y = b;
    int order = str_cmp(x->name, y->name);
    if (order == 0) {
        order = str_cmp(x->value, y->value);
    }
    return order != 0 ? order : (int)x->type - (int)y->type;
}

void matcher_list_sort(struct matcher_list *list) {
    if (list->count > 1) {
        qsort(list->items, list->count, sizeof(list->items[0]), cmp_matcher);
    }
}

void matcher_list_print(const struct matcher_list *list, struct buf *out) {
    buf_putc(out, '{');
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) {
            buf_putc(out, ',');
        }
        matcher_print(&list->items[i], out);
    }
    buf_putc(out, '}');
}

static bool lists_equal(const struct matcher_list *a, const struct matcher_list *b) {
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (cmp_matcher(&a->items[i], &b->items[i]) != 0) {
            return false;
        }
    }
    return true;
}

/* Moves the items of `from` to the end of `to`. */
static void list_take(struct matcher_list *to, struct matcher_list *from) {
    for (size_t i = 0; i < from->count; i++) {
        to->items = vec_grow(to->items, &to->cap, to->count + 1, sizeof(to->items[0]));
        to->items[to->count++] = from->items[i];
    }
    mem_free(from->items);
    *from = (struct matcher_list){ 0 };
}

/* ---- classic grammar ---- */

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static size_t name_length(struct str text) {
    size_t n = 0;
    while (n < text.len) {
        char c = text.ptr[n];
        bool is_alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
        if (!is_alpha && (n == 0 || c < '0' || c > '9')) {
            break;
        }
        n++;
    }
    return n;
}

/* The operator at the start of `text`: its length, 0 when there is none. */
static size_t operator_at(struct str text, enum match_type *ret) {
    if (str_starts_with(text, STR("=~"))) {
        *ret = MATCH_RE;
        return 2;
    }
    if (str_starts_with(text, STR("!="))) {
        *ret = MATCH_NE;
        return 2;
    }
    if (str_starts_with(text, STR("!~"))) {
        *ret = MATCH_NRE;
        return 2;
    }
    if (str_starts_with(text, STR("="))) {
        *ret = MATCH_EQ;
        return 1;
    }
    return 0;
}

static struct str skip(struct str text, size_t n) {
    assert(n <= text.len);
    return str_n(text.ptr + n, text.len - n);
}

static bool classic_unescape(struct str raw, struct buf *out, struct err *err) {
    struct str shown = raw;
    bool expect_quote = raw.len > 0 && raw.ptr[0] == '"';
    raw = skip(raw, expect_quote ? 1 : 0);
    if (!str_is_utf8(raw)) {
        return err_set(err, ERR_INVALID, "matcher value is not valid UTF-8");
    }
    bool is_escaped = false;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (is_escaped) {
            is_escaped = false;
            if (c != 'n' && c != '"' && c != '\\') {
                buf_putc(out, '\\'); /* a spurious escape stands for itself */
            }
            buf_putc(out, c == 'n' ? '\n' : c);
        } else if (c == '\\' && i + 1 < raw.len) {
            is_escaped = true;
        } else if (c == '"') {
            if (!expect_quote || i + 1 < raw.len) {
                return err_set(err, ERR_INVALID,
                               "matcher value contains unescaped double quote: %.*s",
                               STR_FMT(shown));
            }
            expect_quote = false;
        } else {
            buf_putc(out, c);
        }
    }
    if (expect_quote) {
        return err_set(err, ERR_INVALID, "matcher value contains unescaped double quote: %.*s",
                       STR_FMT(shown));
    }
    return true;
}

static bool classic_matcher(struct matcher_list *list, struct str token, struct err *err) {
    struct str rest = str_trim(token);
    size_t name_len = name_length(rest);
    struct str name = str_n(rest.ptr, name_len);
    rest = skip(rest, name_len);
    while (rest.len > 0 && is_space(rest.ptr[0])) {
        rest = skip(rest, 1);
    }
    enum match_type type = MATCH_EQ;
    size_t op_len = operator_at(rest, &type);
    if (name_len == 0 || op_len == 0) {
        return err_set(err, ERR_INVALID, "bad matcher format: %.*s", STR_FMT(token));
    }
    struct buf value;
    buf_init(&value, MATCHERS_TEXT_BYTES_MAX);
    bool is_ok = classic_unescape(str_trim(skip(rest, op_len)), &value, err) &&
                 matcher_list_add(list, type, name, buf_as_str(&value), err);
    buf_finish(&value);
    return is_ok;
}

static bool parse_classic(struct matcher_list *list, struct str text, struct err *err) {
    if (str_starts_with(text, STR("{"))) {
        text = skip(text, 1);
    }
    if (str_ends_with(text, STR("}"))) {
        text.len--;
    }
    bool is_quoted = false;
    bool is_escaped = false;
    size_t start = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == ',' && !is_quoted) {
            if (!classic_matcher(list, str_n(text.ptr + start, i - start), err)) {
                return false;
            }
            start = i + 1;
        } else if (c == '"') {
            is_quoted = is_escaped ? is_quoted : !is_quoted;
            is_escaped = false;
        } else if (c == '\\') {
            is_escaped = !is_escaped;
        } else {
            is_escaped = false;
        }
    }
    struct str last = str_trim(skip(text, start));
    return last.len == 0 || classic_matcher(list, last, err);
}

/* ---- UTF-8 grammar ---- */

enum token_kind {
    TOKEN_END,
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_COMMA,
    TOKEN_OPERATOR,
    TOKEN_TEXT, /* quoted or not */
    TOKEN_ERROR,
};

struct lexer {
    struct str rest;
    struct buf text; /* of the last TOKEN_TEXT, unquoted */
    enum match_type operator_type;
};

static bool is_reserved(uint32_t rune) {
    static const char reserved[] = "{}!=~,\\\"'`";
    if (rune < 0x80) {
        return is_space((char)rune) || (rune != 0 && strchr(reserved, (int)rune) != NULL);
    }
    /* Go's unicode.IsSpace beyond ASCII */
    return rune == 0x85 || rune == 0xa0 || rune == 0x1680 || (rune >= 0x2000 && rune <= 0x200a) ||
           rune == 0x2028 || rune == 0x2029 || rune == 0x202f || rune == 0x205f || rune == 0x3000;
}

static bool read_digits(struct str *rest, size_t count, unsigned base, uint32_t *ret) {
    uint32_t value = 0;
    if (rest->len < count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        char c = rest->ptr[i];
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                : 99;
        if (digit >= base) {
            return false;
        }
        value = value * base + digit;
    }
    *rest = skip(*rest, count);
    *ret = value;
    return true;
}

/* One escape of a Go string literal, after the backslash. */
static bool read_escape(struct str *rest, struct buf *out) {
    static const char names[] = "abfnrtv\\\"";
    static const char values[] = "\a\b\f\n\r\t\v\\\"";
    if (rest->len == 0) {
        return false;
    }
    char c = rest->ptr[0];
    const char *known = c == '\0' ? NULL : strchr(names, c);
    if (known != NULL) {
        buf_putc(out, values[known - names]);
        *rest = skip(*rest, 1);
        return true;
    }
    uint32_t value = 0;
    if (c >= '0' && c <= '7') {
        if (!read_digits(rest, 3, 8, &value) || value > 255) {
            return false;
        }
        buf_putc(out, (char)value);
        return true;
    }
    *rest = skip(*rest, 1);
    if (c == 'x') {
        if (!read_digits(rest, 2, 16, &value)) {
            return false;
        }
        buf_putc(out, (char)value);
        return true;
    }
    if ((c != 'u' && c != 'U') || !read_digits(rest, c == 'u' ? 4 : 8, 16, &value) ||
        value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return false;
    }
    utf8_append(out, value);
    return true;
}

static enum token_kind lex_quoted(struct lexer *lexer) {
    lexer->rest = skip(lexer->rest, 1);
    while (lexer->rest.len > 0) {
        char c = lexer->rest.ptr[0];
        lexer->rest = skip(lexer->rest, 1);
        if (c == '"') {
            return str_is_utf8(buf_as_str(&lexer->text)) ? TOKEN_TEXT : TOKEN_ERROR;
        }
        if (c == '\n') {
            return TOKEN_ERROR;
        }
        if (c != '\\') {
            buf_putc(&lexer->text, c);
        } else if (!read_escape(&lexer->rest, &lexer->text)) {
            return TOKEN_ERROR;
        }
    }
    return TOKEN_ERROR;
}

static enum token_kind lex_unquoted(struct lexer *lexer) {
    size_t n = 0;
    while (n < lexer->rest.len) {
        uint32_t rune = 0;
        size_t len = utf8_decode(lexer->rest, n, &rune);
        if (is_reserved(rune)) {
            break;
        }
        n += len;
    }
    buf_append(&lexer->text, lexer->rest.ptr, n);
    lexer->rest = skip(lexer->rest, n);
    return n == 0 ? TOKEN_ERROR : TOKEN_TEXT;
}

static enum token_kind lex(struct lexer *lexer) {
    buf_reset(&lexer->text);
    while (lexer->rest.len > 0) {
        uint32_t rune = 0;
        size_t len = utf8_decode(lexer->rest, 0, &rune);
        bool is_blank = is_reserved(rune) && (rune >= 0x80 || is_space((char)rune));
        if (!is_blank) {
            break;
        }
        lexer->rest = skip(lexer->rest, len);
    }
    if (lexer->rest.len == 0) {
        return TOKEN_END;
    }
    size_t op_len = operator_at(lexer->rest, &lexer->operator_type);
    if (op_len > 0) {
        lexer->rest = skip(lexer->rest, op_len);
        return TOKEN_OPERATOR;
    }
    char c = lexer->rest.ptr[0];
    if (c == '"') {
        return lex_quoted(lexer);
    }
    if (c == '{' || c == '}' || c == ',') {
        lexer->rest = skip(lexer->rest, 1);
        return c == '{' ? TOKEN_OPEN : c == '}' ? TOKEN_CLOSE : TOKEN_COMMA;
    }
    return lex_unquoted(lexer);
}

/* `name op value`, the name's token being the current one. */
static bool utf8_matcher(struct lexer *lexer, struct matcher_list *list, struct err *err) {
    struct buf name;
    buf_init(&name, MATCHERS_TEXT_BYTES_MAX);
    buf_str(&name, buf_as_str(&lexer->text));
    bool is_ok = lex(lexer) == TOKEN_OPERATOR;
    enum match_type type = lexer->operator_type;
    is_ok = is_ok && lex(lexer) == TOKEN_TEXT;
    is_ok = is_ok ? matcher_list_add(list, type, buf_as_str(&name), buf_as_str(&lexer->text), err)
                  : err_set(err, ERR_INVALID, "expected name, operator (=, !=, =~, !~) and value");
    buf_finish(&name);
    return is_ok;
}

static bool parse_utf8_tokens(struct lexer *lexer, struct matcher_list *list, struct err *err) {
    enum token_kind token = lex(lexer);
    bool has_open = token == TOKEN_OPEN;
    if (has_open) {
        token = lex(lexer);
    }
    while (token == TOKEN_TEXT) {
        if (!utf8_matcher(lexer, list, err)) {
            return false;
        }
        token = lex(lexer);
        if (token != TOKEN_COMMA) {
            break;
        }
        token = lex(lexer);
    }
    if (has_open != (token == TOKEN_CLOSE)) {
        return err_set(err, ERR_INVALID, has_open ? "missing closing brace" : "unexpected token");
    }
    if (has_open) {
        token = lex(lexer);
    }
    return token == TOKEN_END || err_set(err, ERR_INVALID, "expected the end of the matchers");
}

static bool parse_utf8(struct matcher_list *list, struct str text, struct err *err) {
    struct lexer lexer = { .rest = text };
    buf_init(&lexer.text, MATCHERS_TEXT_BYTES_MAX);
    bool is_ok = parse_utf8_tokens(&lexer, list, err);
    buf_finish(&lexer.text);
    return is_ok;
}

/* ---- both ---- */

bool matcher_list_parse(struct matcher_list *list, struct str text, struct err *err) {
    if (text.len > MATCHERS_TEXT_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "matchers longer than %d bytes", MATCHERS_TEXT_BYTES_MAX);
    }
    struct err utf8_err = ERR_INIT;
    struct err classic_err = ERR_INIT;
    struct matcher_list utf8 = { 0 };
    struct matcher_list classic = { 0 };
    bool is_utf8_ok = parse_utf8(&utf8, text, &utf8_err);
    bool is_classic_ok = parse_classic(&classic, text, &classic_err);
    bool is_ok = is_utf8_ok || is_classic_ok;
    if (!is_ok) {
        *err = classic_err;
    } else if (is_classic_ok && !(is_utf8_ok && lists_equal(&utf8, &classic))) {
        list_take(list, &classic);
    } else {
        list_take(list, &utf8);
    }
    matcher_list_finish(&utf8);
    matcher_list_finish(&classic);
    return is_ok;
}
