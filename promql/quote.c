/* Quoting as Go does it. */
#include "promql/quote.h"

#include "base/utf8.h"

#define RUNE_MAX UINT32_C(0x10ffff)

/* The letter after the backslash, 0 when the character has no short escape. */
static char short_escape(uint32_t rune) {
    switch (rune) {
    case '\a': return 'a';
    case '\b': return 'b';
    case '\f': return 'f';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    case '\v': return 'v';
    default: return '\0';
    }
}

static void escape_rune(struct buf *out, uint32_t rune, char quote) {
    if (rune == (uint32_t)quote || rune == '\\') {
        buf_putc(out, '\\');
        buf_putc(out, (char)rune);
    } else if (promql_rune_is_printable(rune)) {
        utf8_append(out, rune);
    } else if (short_escape(rune) != '\0') {
        buf_putc(out, '\\');
        buf_putc(out, short_escape(rune));
    } else if (rune < ' ' || rune == 0x7f) {
        buf_printf(out, "\\x%02x", rune);
    } else if (rune < 0x10000) {
        buf_printf(out, "\\u%04x", rune);
    } else {
        buf_printf(out, "\\U%08x", rune);
    }
}

void promql_quote(struct buf *out, struct str text) {
    buf_putc(out, '"');
    size_t pos = 0;
    while (pos < text.len) {
        uint32_t rune;
        size_t len = utf8_decode(text, pos, &rune);
        if (rune == UTF8_INVALID) {
            buf_printf(out, "\\x%02x", (unsigned char)text.ptr[pos]);
        } else {
            escape_rune(out, rune, '"');
        }
        pos += len;
    }
    buf_putc(out, '"');
}

static uint32_t valid_rune(uint32_t rune) {
    return rune > RUNE_MAX ? UTF8_REPLACEMENT : rune;
}

void promql_quote_rune(struct buf *out, uint32_t rune) {
    buf_putc(out, '\'');
    escape_rune(out, valid_rune(rune), '\'');
    buf_putc(out, '\'');
}

void promql_describe_rune(struct buf *out, uint32_t rune) {
    rune = valid_rune(rune);
    buf_printf(out, "U+%04X", rune);
    if (promql_rune_is_printable(rune)) {
        buf_cstr(out, " '");
        utf8_append(out, rune);
        buf_putc(out, '\'');
    }
}
