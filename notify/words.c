/* Figures, times and cut texts as people read them. */
#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/duration.h"
#include "base/float.h"
#include "base/utf8.h"
#include "notify/message.h"

enum {
    EXACT_CHARS_MAX = 12, /* a value is shown in full up to that many characters */
    TEXT_BYTES_MAX = 1024 * 1024,
};

/* The exact text if it is short, else six significant digits and at least the whole integer part:
 * close enough to act on, never invented, no exponent where people would not write one. */
void put_value(struct buf *out, double value) {
    char text[FLOAT_TEXT_MAX];
    size_t len = float_to_general(value, text);
    if (!isfinite(value) || len <= EXACT_CHARS_MAX) {
        buf_append(out, text, len);
        return;
    }
    bool is_large = fabs(value) >= 1e5 && fabs(value) < 1e15;
    (void)snprintf(text, sizeof(text), is_large ? "%.0f" : "%.6g", value);
    buf_cstr(out, text);
}

/* The two largest units; seconds under a minute, "0s" for nothing. */
void put_duration(struct buf *out, int64_t duration_ms) {
    static const struct {
        int64_t ms;
        char unit;
    } units[] = {
        { 86400000, 'd' },
        { 3600000, 'h' },
        { 60000, 'm' },
        { 1000, 's' },
    };

    duration_ms = duration_ms < 0 ? 0 : duration_ms;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        int64_t count = duration_ms / units[i].ms;
        if (count == 0 && i + 1 < ARRAY_LEN(units)) {
            continue;
        }
        buf_i64(out, count);
        buf_putc(out, units[i].unit);
        int64_t rest = i + 1 < ARRAY_LEN(units) ? duration_ms % units[i].ms / units[i + 1].ms : 0;
        if (rest > 0) {
            buf_putc(out, ' ');
            buf_i64(out, rest);
            buf_putc(out, units[i + 1].unit);
        }
        return;
    }
}

void put_time(struct buf *out, int64_t t_ms) {
    struct civil civil = civil_from_ms(t_ms);
    buf_printf(out, "%04d-%02d-%02d %02d:%02d:%02d UTC", civil.year, civil.month, civil.day,
               civil.hour, civil.minute, civil.second);
}

/* Line and paragraph separators and the marks that reorder text are no better than controls. */
static bool is_control(uint32_t rune) {
    return rune < 0x20 || (rune >= 0x7f && rune < 0xa0) || rune == UTF8_INVALID || rune == 0x2028 ||
           rune == 0x2029 || (rune >= 0x202a && rune <= 0x202e) ||
           (rune >= 0x2066 && rune <= 0x2069) || rune == 0xfeff;
}

struct str few_lines(struct str text, size_t chars_max, size_t lines_max, struct arena *arena) {
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    size_t pos = 0;
    size_t lines = 1;
    text = str_trim(text);
    for (size_t chars = 0; pos < text.len; chars++) {
        uint32_t rune = 0;
        size_t len = utf8_decode(text, pos, &rune);
        if (chars + 1 >= chars_max && pos + len < text.len) {
            buf_cstr(&out, "…");
            break;
        }
        if (rune == '\n' && lines < lines_max) {
            buf_putc(&out, '\n');
            lines++;
        } else if (rune == UTF8_INVALID) {
            utf8_append(&out, UTF8_REPLACEMENT);
        } else if (is_control(rune)) {
            buf_putc(&out, ' ');
        } else {
            buf_append(&out, text.ptr + pos, len);
        }
        pos += len;
    }
    struct str copy = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return copy;
}

struct str one_line(struct str text, size_t chars_max, struct arena *arena) {
    return few_lines(text, chars_max, 1, arena);
}
