/* Header encoding and quoted-printable: RFC 5322, 2045, 2047. */
#include "notify/mime.h"

#include <assert.h>

#include "base/clock.h"
#include "base/utf8.h"

enum {
    LINE_CHARS_MAX = 76,
    ENCODED_WORD_BYTES_MAX = 33, /* of text: 56 characters as a word, room for a name before it */
    WORD_CHARS_MAX = 200,        /* longer ASCII words are encoded, too: they cannot be folded */
    HEADER_VALUE_BYTES_MAX = 64 * 1024,
    HOST_BYTES_MAX = 253,
};

static void put_base64(struct buf *out, struct str bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t group = (uint32_t)(unsigned char)bytes.ptr[i] << 16;
        group |= left > 1 ? (uint32_t)(unsigned char)bytes.ptr[i + 1] << 8 : 0;
        group |= left > 2 ? (uint32_t)(unsigned char)bytes.ptr[i + 2] : 0;
        buf_putc(out, digits[group >> 18]);
        buf_putc(out, digits[group >> 12 & 63]);
        buf_putc(out, left > 1 ? digits[group >> 6 & 63] : '=');
        buf_putc(out, left > 2 ? digits[group & 63] : '=');
    }
}

/* "=?UTF-8?B?…?=" words, each of whole characters, on lines of their own. */
static void put_encoded_words(struct buf *out, struct str text) {
    bool is_first = true;
    while (text.len > 0) {
        size_t cut =
            text.len > ENCODED_WORD_BYTES_MAX ? utf8_floor(text, ENCODED_WORD_BYTES_MAX) : text.len;
        buf_cstr(out, is_first ? "=?UTF-8?B?" : "\r\n =?UTF-8?B?");
        put_base64(out, str_n(text.ptr, cut));
        buf_cstr(out, "?=");
        text = str_n(text.ptr + cut, text.len - cut);
        is_first = false;
    }
}

/* Plain ASCII whose words all fit into a line. "=?" would be read as an encoded word. */
static bool can_be_folded(struct str text) {
    size_t word = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < ' ' || c >= 0x7f) {
            return false;
        }
        word = c == ' ' ? 0 : word + 1;
        if (word > WORD_CHARS_MAX) {
            return false;
        }
    }
    return str_find(text, STR("=?")) == SIZE_MAX;
}

static void put_folded(struct buf *out, struct str text, size_t column) {
    while (text.len > 0) {
        struct str word;
        struct str rest;
        bool has_more = str_cut(text, ' ', &word, &rest);
        /* only before a word: a line of blanks alone would end the header for some readers */
        if (column > 1 && column + word.len > LINE_CHARS_MAX && word.len > 0) {
            buf_cstr(out, "\r\n ");
            column = 1;
        }
        buf_str(out, word);
        column += word.len;
        if (has_more && str_trim(rest).len > 0) {
            buf_putc(out, ' ');
            column++;
        }
        text = has_more ? rest : STR("");
    }
}

/* Controls to blanks, broken UTF-8 to U+FFFD. */
static void put_clean(struct buf *out, struct str text) {
    for (size_t i = 0; i < text.len;) {
        uint32_t rune = 0;
        size_t len = utf8_decode(text, i, &rune);
        if (rune < ' ' || (rune >= 0x7f && rune < 0xa0) || rune == 0x2028 || rune == 0x2029) {
            buf_putc(out, ' ');
        } else {
            utf8_append(out, rune);
        }
        i += len;
    }
}

void mime_text_header(struct buf *out, const char *name, struct str value) {
    struct buf clean;
    buf_init(&clean, HEADER_VALUE_BYTES_MAX);
    size_t max = value.len > HEADER_VALUE_BYTES_MAX / 4
                     ? utf8_floor(value, HEADER_VALUE_BYTES_MAX / 4)
                     : value.len;
    put_clean(&clean, str_n(value.ptr, max));
    struct str text = str_trim(buf_as_str(&clean));
    buf_printf(out, "%s: ", name);
    if (can_be_folded(text)) {
        put_folded(out, text, strlen(name) + 2);
    } else {
        if (strlen(name) > 12) {
            buf_cstr(out, "\r\n ");
        }
        put_encoded_words(out, text);
    }
    buf_cstr(out, "\r\n");
    buf_finish(&clean);
}

static void put_display_name(struct buf *out, struct str name) {
    if (!can_be_folded(name) || name.len > 60) {
        put_encoded_words(out, name);
        return;
    }
    buf_putc(out, '"');
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '"' || name.ptr[i] == '\\') {
            buf_putc(out, '\\');
        }
        buf_putc(out, name.ptr[i]);
    }
    buf_putc(out, '"');
}

void mime_address_header(struct buf *out, const char *name, const struct address_list *addresses) {
    buf_printf(out, "%s: ", name);
    for (size_t i = 0; i < addresses->count; i++) {
        const struct address *address = &addresses->items[i];
        buf_cstr(out, i == 0 ? "" : ",\r\n ");
        if (address->name.len > 0) {
            put_display_name(out, address->name);
            buf_printf(out, "%s<%s>", address->name.len > 30 ? "\r\n " : " ", address->mailbox);
        } else {
            buf_cstr(out, address->mailbox);
        }
    }
    buf_cstr(out, "\r\n");
}

void mime_plain_header(struct buf *out, const char *name, struct str value) {
    for (size_t i = 0; i < value.len; i++) {
        assert(value.ptr[i] >= ' ' && value.ptr[i] < 0x7f);
    }
    assert(strlen(name) + value.len < 900);
    buf_printf(out, "%s: %.*s\r\n", name, STR_FMT(value));
}

void mime_date(struct buf *out, int64_t t_ms) {
    static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    struct civil civil = civil_from_ms(t_ms);
    buf_printf(out, "%s, %02d %s %04d %02d:%02d:%02d +0000", days[civil.weekday], civil.day,
               months[civil.month - 1], civil.year, civil.hour, civil.minute, civil.second);
}

/* ---- quoted-printable ---- */

static bool is_literal(unsigned char c, bool is_line_end) {
    if (c == ' ' || c == '\t') {
        return !is_line_end; /* mail systems strip blanks there */
    }
    return c > ' ' && c < 0x7f && c != '=';
}

static void put_hex(struct buf *out, unsigned char c) {
    static const char digits[] = "0123456789ABCDEF";
    buf_putc(out, '=');
    buf_putc(out, digits[c >> 4]);
    buf_putc(out, digits[c & 15]);
}

static void put_line(struct buf *out, struct str line) {
    size_t column = 0;
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        bool is_plain = is_literal(c, i + 1 == line.len);
        size_t width = is_plain ? 1 : 3;
        if (column + width > LINE_CHARS_MAX - 1) {
            buf_cstr(out, "=\r\n");
            column = 0;
        }
        if (is_plain) {
            buf_putc(out, (char)c);
        } else {
            put_hex(out, c);
        }
        column += width;
    }
    buf_cstr(out, "\r\n");
}

void mime_quoted_printable(struct buf *out, struct str text) {
    while (text.len > 0) {
        struct str line;
        struct str rest;
        (void)str_cut(text, '\n', &line, &rest);
        if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
            line.len--;
        }
        put_line(out, line);
        text = rest;
    }
}

struct str mime_host(struct str host) {
    bool is_ok = host.len > 0 && host.len <= HOST_BYTES_MAX;
    for (size_t i = 0; is_ok && i < host.len; i++) {
        char c = host.ptr[i];
        is_ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '-' || (c == '.' && i > 0 && i + 1 < host.len && host.ptr[i - 1] != '.');
    }
    return is_ok ? host : STR("localhost");
}
