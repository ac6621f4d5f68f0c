/* The common functions on text: case, regular expressions, hosts, encodings. */
#include <arpa/inet.h>

#include "base/regex.h"
#include "base/template_func.h"
#include "base/unicode.h"
#include "base/utf8.h"

enum {
    TEXT_BYTES_MAX = 1 << 20,
};

static bool finish(struct buf *out, struct arena *arena, struct tmpl_value *ret, struct err *err) {
    bool ok = !out->is_over;
    if (ok) {
        *ret = tmpl_string(arena_str(arena, buf_as_str(out)));
    }
    buf_finish(out);
    return ok ? true : err_set(err, ERR_LIMIT, "result longer than %d bytes", TEXT_BYTES_MAX);
}

/* ---- case ---- */

static bool map_runes(struct str text,
                      uint32_t (*map)(uint32_t rune),
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err) {
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    for (size_t pos = 0; pos < text.len;) {
        uint32_t rune = 0;
        pos += utf8_decode(text, pos, &rune);
        utf8_append(&out, rune == UTF8_INVALID ? UTF8_REPLACEMENT : map(rune));
    }
    return finish(&out, arena, ret, err);
}

bool tmpl_call_to_upper(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    return tmpl_want_strings(args, 0, arg_count, err) &&
           map_runes(args[0].string, unicode_upper, arena, ret, err);
}

bool tmpl_call_to_lower(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    return tmpl_want_strings(args, 0, arg_count, err) &&
           map_runes(args[0].string, unicode_lower, arena, ret, err);
}

static bool is_digit(uint32_t rune) {
    return rune >= '0' && rune <= '9';
}

static bool is_cased(uint32_t rune) {
    return unicode_upper(rune) != rune || unicode_lower(rune) != rune;
}

/* Punctuation that does not end a word between two letters: don't, foo.bar, job:rate. */
static bool is_inside_word(struct str text, size_t pos, uint32_t rune, uint32_t before) {
    bool is_joiner = rune == '\'' || rune == '.' || rune == ':' || rune == 0xb7 || rune == 0x2019;
    if (!is_joiner || pos >= text.len || !unicode_is_letter(before) || is_digit(before)) {
        return false;
    }
    uint32_t after = 0;
    (void)utf8_decode(text, pos, &after);
    return unicode_is_letter(after) && !is_digit(after);
}

/* The first cased letter of every word in upper case; the others lowered or left alone. */
static bool title(struct str text,
                  bool lowers_rest,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err) {
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    bool is_titled = false;
    uint32_t before = 0;
    for (size_t pos = 0; pos < text.len;) {
        uint32_t rune = 0;
        pos += utf8_decode(text, pos, &rune);
        rune = rune == UTF8_INVALID ? UTF8_REPLACEMENT : rune;
        uint32_t shown = rune;
        if (!unicode_is_letter(rune) && rune != '_') {
            is_titled = is_titled && is_inside_word(text, pos, rune, before);
        } else if (is_cased(rune)) {
            shown = !is_titled ? unicode_upper(rune) : lowers_rest ? unicode_lower(rune) : rune;
            is_titled = true;
        }
        utf8_append(&out, shown);
        before = rune;
    }
    return finish(&out, arena, ret, err);
}

bool tmpl_call_title(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    return tmpl_want_strings(args, 0, arg_count, err) &&
           title(args[0].string, false, arena, ret, err);
}

bool tmpl_call_title_lower(void *ctx,
                           const struct tmpl_value *args,
                           size_t arg_count,
                           struct arena *arena,
                           struct tmpl_value *ret,
                           struct err *err) {
    return tmpl_want_strings(args, 0, arg_count, err) &&
           title(args[0].string, true, arena, ret, err);
}

/* strings.TrimSpace */
bool tmpl_call_trim_space(void *ctx,
                          const struct tmpl_value *args,
                          size_t arg_count,
                          struct arena *arena,
                          struct tmpl_value *ret,
                          struct err *err) {
    if (!tmpl_want_strings(args, 0, arg_count, err)) {
        return false;
    }
    struct str text = args[0].string;
    size_t start = SIZE_MAX;
    size_t end = 0;
    for (size_t pos = 0; pos < text.len;) {
        uint32_t rune = 0;
        size_t len = utf8_decode(text, pos, &rune);
        if (!unicode_is_space(rune)) {
            start = start == SIZE_MAX ? pos : start;
            end = pos + len;
        }
        pos += len;
    }
    *ret = tmpl_string(start == SIZE_MAX ? STR("") : str_n(text.ptr + start, end - start));
    return true;
}

/* ---- lists and regular expressions ---- */

bool tmpl_call_join(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err) {
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    if (args[1].type != TMPL_LIST && args[1].type != TMPL_NIL) {
        return tmpl_wrong_type(&args[1], "[]string", err);
    }
    const struct tmpl_list none = { .count = 0 };
    const struct tmpl_list *list = args[1].type == TMPL_NIL ? &none : args[1].list;
    if (!tmpl_want_strings(list->items, 0, list->count, err)) {
        return false;
    }
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    for (size_t i = 0; i < list->count; i++) {
        buf_str(&out, i > 0 ? args[0].string : STR(""));
        buf_str(&out, list->items[i].string);
    }
    return finish(&out, arena, ret, err);
}

bool tmpl_call_match(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    struct regex *regex = NULL;
    if (!tmpl_want_strings(args, 0, arg_count, err) ||
        !regex_create_unanchored(args[0].string, &regex, err)) {
        return false;
    }
    *ret = tmpl_bool(regex_matches(regex, args[1].string));
    regex_destroy(regex);
    return true;
}

bool tmpl_call_re_replace_all(void *ctx,
                              const struct tmpl_value *args,
                              size_t arg_count,
                              struct arena *arena,
                              struct tmpl_value *ret,
                              struct err *err) {
    struct regex *regex = NULL;
    if (!tmpl_want_strings(args, 0, arg_count, err) ||
        !regex_create_unanchored(args[0].string, &regex, err)) {
        return false;
    }
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    regex_replace_all(regex, args[2].string, args[1].string, &out);
    regex_destroy(regex);
    return finish(&out, arena, ret, err);
}

/* ---- HTML and URLs ---- */

bool tmpl_call_safe_html(void *ctx,
                         const struct tmpl_value *args,
                         size_t arg_count,
                         struct arena *arena,
                         struct tmpl_value *ret,
                         struct err *err) {
    if (!tmpl_want_strings(args, 0, arg_count, err)) {
        return false;
    }
    *ret = args[0];
    ret->is_html = true;
    return true;
}

bool tmpl_call_safe_url(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    if (!tmpl_want_strings(args, 0, arg_count, err)) {
        return false;
    }
    *ret = args[0];
    return true;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* url.QueryUnescape */
bool tmpl_call_url_unescape(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    if (!tmpl_want_strings(args, 0, arg_count, err)) {
        return false;
    }
    struct str text = args[0].string;
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '%') {
            buf_putc(&out, text.ptr[i] == '+' ? ' ' : text.ptr[i]);
            continue;
        }
        struct str escape = str_n(text.ptr + i, text.len - i < 3 ? text.len - i : 3);
        int high = escape.len == 3 ? hex_value(escape.ptr[1]) : -1;
        int low = escape.len == 3 ? hex_value(escape.ptr[2]) : -1;
        if (high < 0 || low < 0) {
            buf_finish(&out);
            struct str quoted = tmpl_quote(escape, arena);
            return err_set(err, ERR_EXEC, "invalid URL escape %s", quoted.ptr);
        }
        buf_putc(&out, (char)(high * 16 + low));
        i += 2;
    }
    return finish(&out, arena, ret, err);
}

/* ---- base64, URL alphabet with padding ---- */

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool tmpl_call_base64_encode(void *ctx,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err) {
    if (!tmpl_want_strings(args, 0, arg_count, err)) {
        return false;
    }
    struct str text = args[0].string;
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    for (size_t i = 0; i < text.len; i += 3) {
        size_t count = text.len - i < 3 ? text.len - i : 3;
        uint32_t group = 0;
        for (size_t j = 0; j < 3; j++) {
            group = group << 8 | (j < count ? (unsigned char)text.ptr[i + j] : 0U);
        }
        for (size_t j = 0; j < 4; j++) {
            buf_putc(&out, j <= count ? base64_digits[group >> (18 - 6 * j) & 63] : '=');
        }
    }
    return finish(&out, arena, ret, err);
}

bool tmpl_call_base64_decode(void *ctx,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err) {
    if (!tmpl_want_strings(args, 0, arg_count, err)) {
        return false;
    }
    struct str text = args[0].string;
    size_t padding = 0;
    while (padding < 2 && padding < text.len && text.ptr[text.len - 1 - padding] == '=') {
        padding++;
    }
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    uint32_t group = 0;
    size_t bad = text.len % 4 == 0 ? SIZE_MAX : text.len;
    for (size_t i = 0; i < text.len && bad == SIZE_MAX; i++) {
        bool is_padding = i >= text.len - padding;
        const char *digit = text.ptr[i] == '\0' ? NULL : strchr(base64_digits, text.ptr[i]);
        if (digit == NULL && !is_padding) {
            bad = i;
        }
        group = group << 6 | (digit == NULL ? 0U : (uint32_t)(digit - base64_digits));
        if (i % 4 == 3) {
            size_t count = i + 1 == text.len ? 3 - padding : 3;
            for (size_t j = 0; j < count; j++) {
                buf_putc(&out, (char)(group >> (16 - 8 * j)));
            }
            group = 0;
        }
    }
    if (bad != SIZE_MAX) {
        buf_finish(&out);
        return err_set(err, ERR_EXEC, "illegal base64 data at input byte %zu", bad);
    }
    return finish(&out, arena, ret, err);
}

/* ---- hosts ---- */

/* net.SplitHostPort */
static bool split_host_port(struct str text, struct str *ret_host, struct str *ret_port) {
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0) {
        return false;
    }
    colon--;
    struct str host = str_n(text.ptr, colon);
    struct str port = str_n(text.ptr + colon + 1, text.len - colon - 1);
    struct str unbracketed = host;
    if (text.ptr[0] == '[') {
        size_t end = str_find(text, STR("]"));
        if (end == SIZE_MAX || end + 1 != colon) {
            return false;
        }
        host = unbracketed = str_n(text.ptr + 1, end - 1);
    } else if (str_find(host, STR(":")) != SIZE_MAX) {
        return false;
    }
    if (str_find(unbracketed, STR("[")) != SIZE_MAX ||
        str_find(unbracketed, STR("]")) != SIZE_MAX || str_find(port, STR("[")) != SIZE_MAX ||
        str_find(port, STR("]")) != SIZE_MAX) {
        return false;
    }
    *ret_host = host;
    *ret_port = port;
    return true;
}

bool tmpl_call_strip_port(void *ctx,
                          const struct tmpl_value *args,
                          size_t arg_count,
                          struct arena *arena,
                          struct tmpl_value *ret,
                          struct err *err) {
    struct str host;
    struct str port;
    if (!tmpl_want_strings(args, 0, arg_count, err)) {
        return false;
    }
    bool is_split = split_host_port(args[0].string, &host, &port);
    *ret = tmpl_string(is_split ? host : args[0].string);
    return true;
}

static bool is_ip(struct str host) {
    char text[INET6_ADDRSTRLEN + 1];
    unsigned char address[sizeof(struct in6_addr)];
    if (host.len >= sizeof(text) || memchr(host.ptr, '\0', host.len) != NULL) {
        return false;
    }
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

bool tmpl_call_strip_domain(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    if (!tmpl_want_strings(args, 0, arg_count, err)) {
        return false;
    }
    struct str host = args[0].string;
    struct str port = STR("");
    if (!split_host_port(args[0].string, &host, &port)) {
        host = args[0].string;
    }
    if (is_ip(host)) {
        *ret = args[0];
        return true;
    }
    struct str rest;
    struct str name;
    (void)str_cut(host, '.', &name, &rest);
    if (port.len == 0) {
        *ret = tmpl_string(name);
    } else {
        bool is_v6 = str_find(name, STR(":")) != SIZE_MAX;
        *ret = tmpl_string(
            arena_printf(arena, is_v6 ? "[%.*s]:%.*s" : "%.*s:%.*s", STR_FMT(name), STR_FMT(port)));
    }
    return true;
}
