/* Parsing of address lists, deliberately stricter than RFC 5322: no comments, groups or routes. */
#include "notify/address.h"

enum {
    MAILBOX_BYTES_MAX = 254,
    LOCAL_BYTES_MAX = 64,
    TEXT_BYTES_MAX = 64 * 1024,
};

static bool is_atom(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~.", c) != NULL);
}

static bool is_domain(struct str text) {
    bool is_ok = text.len > 0 && text.ptr[0] != '.' && text.ptr[0] != '-' &&
                 text.ptr[text.len - 1] != '.' && text.ptr[text.len - 1] != '-';
    for (size_t i = 0; is_ok && i < text.len; i++) {
        char c = text.ptr[i];
        is_ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '-' || (c == '.' && text.ptr[i - 1] != '.');
    }
    return is_ok;
}

/* [192.0.2.1] or [IPv6:…] */
static bool is_domain_literal(struct str text) {
    bool is_ok = text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']';
    for (size_t i = 1; is_ok && i + 1 < text.len; i++) {
        char c = text.ptr[i];
        is_ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '.' || c == ':';
    }
    return is_ok;
}

static bool mailbox_is_valid(struct str text) {
    size_t at = text.len;
    for (size_t i = 0; i < text.len; i++) {
        at = text.ptr[i] == '@' ? i : at;
    }
    if (at == text.len || at == 0 || at > LOCAL_BYTES_MAX || text.len > MAILBOX_BYTES_MAX ||
        text.ptr[0] == '.' || text.ptr[at - 1] == '.') {
        return false;
    }
    for (size_t i = 0; i < at; i++) {
        if (!is_atom(text.ptr[i]) || (text.ptr[i] == '.' && text.ptr[i + 1] == '.')) {
            return false;
        }
    }
    struct str domain = str_n(text.ptr + at + 1, text.len - at - 1);
    return is_domain(domain) || is_domain_literal(domain);
}

static struct str skip_blanks(struct str text) {
    while (text.len > 0 && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text = str_n(text.ptr + 1, text.len - 1);
    }
    return text;
}

/* A quoted display name; *text starts at the quote and ends behind the closing one. */
static bool take_quoted(struct str *text, struct buf *out) {
    for (size_t i = 1; i < text->len; i++) {
        char c = text->ptr[i];
        if (c == '"') {
            *text = str_n(text->ptr + i + 1, text->len - i - 1);
            return true;
        }
        if (c == '\\' && i + 1 < text->len) {
            c = text->ptr[++i];
        }
        buf_putc(out, c);
    }
    return false;
}

static size_t find_any(struct str text, const char *stops) {
    size_t n = 0;
    while (n < text.len && strchr(stops, text.ptr[n]) == NULL) {
        n++;
    }
    return n;
}

static bool take_address(struct str *text, struct arena *arena, struct address *ret) {
    struct buf name;
    buf_init(&name, TEXT_BYTES_MAX);
    bool is_quoted = text->len > 0 && text->ptr[0] == '"';
    bool is_ok = !is_quoted || take_quoted(text, &name);
    struct str word = str_n(text->ptr, is_ok ? find_any(*text, "<,") : 0);
    struct str rest = str_n(text->ptr + word.len, text->len - word.len);
    struct str mailbox = str_trim(word);
    if (is_ok && rest.len > 0 && rest.ptr[0] == '<') {
        if (!is_quoted) {
            buf_str(&name, str_trim(word));
        }
        size_t end = find_any(rest, ">");
        is_ok = end < rest.len && (!is_quoted || str_trim(word).len == 0);
        mailbox = str_trim(str_n(rest.ptr + 1, end - 1));
        rest = is_ok ? skip_blanks(str_n(rest.ptr + end + 1, rest.len - end - 1)) : rest;
    } else {
        is_ok = is_ok && !is_quoted;
    }
    is_ok = is_ok && mailbox_is_valid(mailbox) && (rest.len == 0 || rest.ptr[0] == ',');
    if (is_ok) {
        *ret = (struct address){ .name = arena_str(arena, buf_as_str(&name)),
                                 .mailbox = arena_str(arena, mailbox).ptr };
        *text = rest;
    }
    buf_finish(&name);
    return is_ok;
}

bool address_list_parse(struct str text,
                        struct arena *arena,
                        struct address_list *ret,
                        struct err *err) {
    if (text.len > TEXT_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "address list longer than %d bytes", TEXT_BYTES_MAX);
    }
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return err_set(err, ERR_INVALID, "control character in an address at byte %zu", i);
        }
    }
    if (!str_is_utf8(text)) {
        return err_set(err, ERR_INVALID, "address list is not valid UTF-8");
    }
    struct address_list list = { .items = arena_calloc(arena, ADDRESS_COUNT_MAX,
                                                       sizeof(list.items[0])) };
    struct str rest = skip_blanks(text);
    while (rest.len > 0) {
        if (list.count == ADDRESS_COUNT_MAX) {
            return err_set(err, ERR_LIMIT, "more than %d addresses", ADDRESS_COUNT_MAX);
        }
        if (!take_address(&rest, arena, &list.items[list.count])) {
            return err_set(err, ERR_INVALID, "not a mail address: \"%.*s\"",
                           (int)(rest.len > 80 ? 80 : rest.len), rest.ptr);
        }
        list.count++;
        rest = rest.len > 0 ? skip_blanks(str_n(rest.ptr + 1, rest.len - 1)) : rest;
    }
    if (list.count == 0) {
        return err_set(err, ERR_INVALID, "no mail address given");
    }
    *ret = list;
    return true;
}
