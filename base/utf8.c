/* UTF-8 decoding and encoding by character, and terminal width. */
#include "base/utf8.h"

#include <assert.h>

static bool is_continuation(unsigned char byte) {
    return (byte & 0xc0) == 0x80;
}

/* Length announced by a lead byte and the smallest code point that needs it; 0 = not a lead. */
static size_t lead_length(unsigned char byte, uint32_t *ret_min, uint32_t *ret_bits) {
    if (byte < 0x80) {
        *ret_min = 0;
        *ret_bits = byte;
        return 1;
    }
    if ((byte & 0xe0) == 0xc0) {
        *ret_min = 0x80;
        *ret_bits = byte & 0x1fU;
        return 2;
    }
    if ((byte & 0xf0) == 0xe0) {
        *ret_min = 0x800;
        *ret_bits = byte & 0x0fU;
        return 3;
    }
    if ((byte & 0xf8) == 0xf0) {
        *ret_min = 0x10000;
        *ret_bits = byte & 0x07U;
        return 4;
    }
    return 0;
}

size_t utf8_decode(struct str text, size_t pos, uint32_t *ret_rune) {
    assert(pos < text.len);
    const unsigned char *bytes = (const unsigned char *)text.ptr + pos;
    uint32_t min = 0;
    uint32_t rune = 0;
    size_t len = lead_length(bytes[0], &min, &rune);
    *ret_rune = UTF8_INVALID;
    if (len == 0 || len > text.len - pos) {
        return 1;
    }
    for (size_t i = 1; i < len; i++) {
        if (!is_continuation(bytes[i])) {
            return 1;
        }
        rune = rune << 6 | (bytes[i] & 0x3fU);
    }
    if (rune < min || rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000)) {
        return 1;
    }
    *ret_rune = rune;
    return len;
}

void utf8_append(struct buf *out, uint32_t rune) {
    if (rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000)) {
        rune = UTF8_REPLACEMENT;
    }
    char bytes[4];
    size_t len = 0;
    if (rune < 0x80) {
        bytes[len++] = (char)rune;
    } else if (rune < 0x800) {
        bytes[len++] = (char)(0xc0 | rune >> 6);
        bytes[len++] = (char)(0x80 | (rune & 0x3f));
    } else if (rune < 0x10000) {
        bytes[len++] = (char)(0xe0 | rune >> 12);
        bytes[len++] = (char)(0x80 | (rune >> 6 & 0x3f));
        bytes[len++] = (char)(0x80 | (rune & 0x3f));
    } else {
        bytes[len++] = (char)(0xf0 | rune >> 18);
        bytes[len++] = (char)(0x80 | (rune >> 12 & 0x3f));
        bytes[len++] = (char)(0x80 | (rune >> 6 & 0x3f));
        bytes[len++] = (char)(0x80 | (rune & 0x3f));
    }
    buf_append(out, bytes, len);
}

uint32_t utf8_width(uint32_t rune) {
    /* Unicode's East Asian Width W and F, as ranges coarse enough for placing a caret. */
    static const struct {
        uint32_t first;
        uint32_t last;
    } wide[] = {
        { 0x1100, 0x115f },   { 0x2e80, 0x303e },   { 0x3041, 0xa4cf },   { 0xac00, 0xd7a3 },
        { 0xf900, 0xfaff },   { 0xfe30, 0xfe6f },   { 0xff00, 0xff60 },   { 0xffe0, 0xffe6 },
        { 0x1f300, 0x1f64f }, { 0x1f900, 0x1f9ff }, { 0x20000, 0x3fffd },
    };

    for (size_t i = 0; i < ARRAY_LEN(wide); i++) {
        if (rune >= wide[i].first && rune <= wide[i].last) {
            return 2;
        }
    }
    return 1;
}

size_t utf8_count(struct str text) {
    size_t count = 0;
    for (size_t pos = 0; pos < text.len; count++) {
        uint32_t rune = 0;
        pos += utf8_decode(text, pos, &rune);
    }
    return count;
}

size_t utf8_floor(struct str text, size_t max) {
    if (max >= text.len) {
        max = text.len;
    }
    /* Step back over at most one partial character. */
    for (size_t back = 1; back <= 3 && back <= max; back++) {
        unsigned char byte = (unsigned char)text.ptr[max - back];
        if (!is_continuation(byte)) {
            uint32_t min = 0;
            uint32_t bits = 0;
            size_t len = lead_length(byte, &min, &bits);
            return len > back ? max - back : max;
        }
    }
    return max;
}
