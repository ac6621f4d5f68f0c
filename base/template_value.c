/* Template values: their names, truth, printed form, quoting and escaping. */
#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "base/float.h"
#include "base/template_format.h"
#include "base/unicode.h"
#include "base/utf8.h"

enum {
    VALUE_TEXT_BYTES_MAX = 1 << 20, /* of one value on its way into an arena */
    PRINT_DEPTH_MAX = 64,
    FLOAT_PRECISION_MAX = 1100, /* no double has more digits than that */
};

const char *tmpl_type_name(const struct tmpl_value *value) {
    static const char *const names[] = {
        [TMPL_NIL] = "<nil>",
        [TMPL_BOOL] = "bool",
        [TMPL_INT] = "int",
        [TMPL_FLOAT] = "float64",
        [TMPL_STRING] = "string",
        [TMPL_LIST] = "[]interface {}",
        [TMPL_MAP] = "map[string]string",
        [TMPL_OBJECT] = "struct {}",
    };
    static_assert(ARRAY_LEN(names) == TMPL_TYPE_COUNT, "a name for every type");
    const char *own = NULL;
    if (value->type == TMPL_LIST) {
        own = value->list->type_name;
    } else if (value->type == TMPL_MAP || value->type == TMPL_OBJECT) {
        own = value->map->type_name;
    }
    return own != NULL ? own : names[value->type];
}

bool tmpl_is_true(const struct tmpl_value *value) {
    switch (value->type) {
    case TMPL_BOOL: return value->boolean;
    case TMPL_INT: return value->integer != 0;
    case TMPL_FLOAT: return value->number != 0;
    case TMPL_STRING: return value->string.len > 0;
    case TMPL_LIST: return value->list->count > 0;
    case TMPL_MAP: return value->map->count > 0;
    case TMPL_OBJECT: return true;
    case TMPL_NIL:
    case TMPL_TYPE_COUNT: break;
    }
    return false;
}

const struct tmpl_value *tmpl_map_find(const struct tmpl_map *map, struct str key) {
    for (size_t i = 0; i < map->count; i++) {
        if (str_eq(map->keys[i], key)) {
            return &map->values[i];
        }
    }
    return NULL;
}

struct tmpl_value tmpl_map_zero(const struct tmpl_map *map) {
    if (map->type_name != NULL && strcmp(map->type_name, TMPL_ANY_MAP) == 0) {
        return (struct tmpl_value){ .type = TMPL_NIL };
    }
    return tmpl_string(STR(""));
}

/* ---- floats ---- */

static void append_special(struct buf *out, double value) {
    buf_cstr(out, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
}

/* %x: one digit before the point, which is 1 for every number but 0; exponents of two digits. */
static void append_hex_float(struct buf *out, double value, bool is_upper, int precision) {
    const char *digits = is_upper ? "0123456789ABCDEF" : "0123456789abcdef";
    int exponent = 0;
    double fraction = frexp(fabs(value), &exponent);   /* in [0.5, 1), or 0 */
    uint64_t mantissa = (uint64_t)ldexp(fraction, 61); /* the leading 1 is bit 60 */
    exponent = value == 0 ? 0 : exponent - 1;
    if (precision >= 0 && precision < 15) {
        unsigned drop = 60 - 4 * (unsigned)precision;
        uint64_t rest = mantissa & ((UINT64_C(1) << drop) - 1);
        uint64_t half = UINT64_C(1) << (drop - 1);
        mantissa >>= drop;
        mantissa += rest > half || (rest == half && (mantissa & 1) != 0) ? 1 : 0;
        mantissa <<= drop;
        if (mantissa >> 61 != 0) {
            mantissa >>= 1;
            exponent++;
        }
    }
    buf_printf(out, is_upper ? "%s0X%c" : "%s0x%c", signbit(value) ? "-" : "",
               digits[mantissa >> 60]);
    uint64_t rest = mantissa << 4;
    buf_cstr(out, precision > 0 || (precision < 0 && rest != 0) ? "." : "");
    for (int i = 0; precision < 0 ? rest != 0 : i < precision; i++) {
        buf_putc(out, digits[rest >> 60]);
        rest <<= 4;
    }
    buf_printf(out, is_upper ? "P%+03d" : "p%+03d", exponent);
}

/* %b: the mantissa as an integer and the power of two. */
static void append_binary_float(struct buf *out, double value) {
    int exponent = 0;
    double fraction = frexp(value, &exponent);
    if (value == 0) {
        buf_cstr(out, signbit(value) ? "-0p-1074" : "0p-1074");
        return;
    }
    if (exponent < -1021) { /* subnormal: the exponent stays */
        buf_printf(out, "%.0fp-1074", ldexp(fraction, exponent + 1074));
        return;
    }
    buf_printf(out, "%.0fp%+d", ldexp(fraction, 53), exponent - 53);
}

void tmpl_append_float(struct buf *out, double value, char verb, int precision) {
    char text[FLOAT_PRECISION_MAX + FLOAT_TEXT_MAX];
    if (!isfinite(value)) {
        append_special(out, value);
        return;
    }
    if (precision > FLOAT_PRECISION_MAX) {
        precision = FLOAT_PRECISION_MAX;
    }
    int len = 0;
    switch (verb) {
    case 'b': append_binary_float(out, value); return;
    case 'x':
    case 'X': append_hex_float(out, value, verb == 'X', precision); return;
    case 'e':
        len = precision < 0 ? (int)float_to_exponent(value, text)
                            : snprintf(text, sizeof(text), "%.*e", precision, value);
        break;
    case 'E': len = snprintf(text, sizeof(text), "%.*E", precision, value); break;
    case 'f':
        len = precision < 0 ? (int)float_to_text(value, text)
                            : snprintf(text, sizeof(text), "%.*f", precision, value);
        break;
    case 'g':
    case 'G':
        len = precision < 0 ? (int)float_to_general(value, text)
                            : snprintf(text, sizeof(text), "%.*g", precision, value);
        break;
    default: BUG("float verb %c", verb);
    }
    assert(len > 0 && (size_t)len < sizeof(text));
    for (int i = 0; verb == 'G' && i < len; i++) {
        text[i] = text[i] == 'e' ? 'E' : text[i];
    }
    buf_append(out, text, (size_t)len);
}

/* ---- %v ---- */

static void append_value(struct buf *out, const struct tmpl_value *value, int depth);

static void append_map(struct buf *out, const struct tmpl_value *value, int depth) {
    const struct tmpl_map *map = value->map;
    if (map->print != NULL) {
        map->print(map, out);
        return;
    }
    bool is_map = value->type == TMPL_MAP;
    buf_cstr(out, is_map ? "map[" : "{");
    for (size_t i = 0; i < map->count && !out->is_over; i++) {
        buf_cstr(out, i > 0 ? " " : "");
        if (is_map) {
            buf_str(out, map->keys[i]);
            buf_putc(out, ':');
        }
        append_value(out, &map->values[i], depth + 1);
    }
    buf_putc(out, is_map ? ']' : '}');
}

static void append_value(struct buf *out, const struct tmpl_value *value, int depth) {
    if (depth > PRINT_DEPTH_MAX) {
        buf_cstr(out, "...");
        return;
    }
    switch (value->type) {
    case TMPL_NIL:
    case TMPL_TYPE_COUNT: buf_cstr(out, "<nil>"); break;
    case TMPL_BOOL: buf_cstr(out, value->boolean ? "true" : "false"); break;
    case TMPL_INT: buf_i64(out, value->integer); break;
    case TMPL_FLOAT: tmpl_append_float(out, value->number, 'g', -1); break;
    case TMPL_STRING: buf_str(out, value->string); break;
    case TMPL_LIST:
        buf_putc(out, '[');
        for (size_t i = 0; i < value->list->count && !out->is_over; i++) {
            buf_cstr(out, i > 0 ? " " : "");
            append_value(out, &value->list->items[i], depth + 1);
        }
        buf_putc(out, ']');
        break;
    case TMPL_MAP:
    case TMPL_OBJECT: append_map(out, value, depth); break;
    }
}

void tmpl_append_value(struct buf *out, const struct tmpl_value *value) {
    append_value(out, value, 0);
}

struct str tmpl_value_text(const struct tmpl_value *value, struct arena *arena) {
    if (value->type == TMPL_STRING) {
        return value->string;
    }
    struct buf out;
    buf_init(&out, VALUE_TEXT_BYTES_MAX);
    tmpl_append_value(&out, value);
    struct str text = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return text;
}

void tmpl_sprint(struct buf *out, const struct tmpl_value *args, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bool is_between_others =
            i > 0 && args[i].type != TMPL_STRING && args[i - 1].type != TMPL_STRING;
        buf_cstr(out, is_between_others ? " " : "");
        tmpl_append_value(out, &args[i]);
    }
}

void tmpl_sprintln(struct buf *out, const struct tmpl_value *args, size_t count) {
    for (size_t i = 0; i < count; i++) {
        buf_cstr(out, i > 0 ? " " : "");
        tmpl_append_value(out, &args[i]);
    }
    buf_putc(out, '\n');
}

/* ---- quoting and escaping ---- */

static void append_quoted_rune(struct buf *out, uint32_t rune, bool ascii_only) {
    static const char names[] = "abfnrtv";
    static const char values[] = "\a\b\f\n\r\t\v";
    if (rune == '"' || rune == '\\') {
        buf_printf(out, "\\%c", (char)rune);
        return;
    }
    if (unicode_is_print(rune) && (rune < 0x80 || !ascii_only)) {
        utf8_append(out, rune);
        return;
    }
    const char *named = rune == 0 || rune >= 0x20 ? NULL : strchr(values, (int)rune);
    if (named != NULL) {
        buf_printf(out, "\\%c", names[named - values]);
    } else if (rune < ' ' || rune == 0x7f) {
        buf_printf(out, "\\x%02x", rune);
    } else if (rune < 0x10000) {
        buf_printf(out, "\\u%04x", rune);
    } else {
        buf_printf(out, "\\U%08x", rune);
    }
}

void tmpl_append_quoted(struct buf *out, struct str text, bool ascii_only) {
    buf_putc(out, '"');
    for (size_t pos = 0; pos < text.len;) {
        uint32_t rune = 0;
        size_t len = utf8_decode(text, pos, &rune);
        if (rune == UTF8_INVALID) {
            buf_printf(out, "\\x%02x", (unsigned)(unsigned char)text.ptr[pos]);
        } else {
            append_quoted_rune(out, rune, ascii_only);
        }
        pos += len;
    }
    buf_putc(out, '"');
}

struct str tmpl_quote(struct str text, struct arena *arena) {
    struct buf out;
    buf_init(&out, text.len * 10 + 3);
    tmpl_append_quoted(&out, text, false);
    struct str quoted = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return quoted;
}

static void append_escaped(struct buf *out, struct str text, bool escapes_plus) {
    for (size_t i = 0; i < text.len; i++) {
        switch (text.ptr[i]) {
        case '\0': buf_cstr(out, "\xef\xbf\xbd"); break;
        case '"': buf_cstr(out, "&#34;"); break;
        case '\'': buf_cstr(out, "&#39;"); break;
        case '&': buf_cstr(out, "&amp;"); break;
        case '<': buf_cstr(out, "&lt;"); break;
        case '>': buf_cstr(out, "&gt;"); break;
        case '+': buf_cstr(out, escapes_plus ? "&#43;" : "+"); break;
        default: buf_putc(out, text.ptr[i]); break;
        }
    }
}

void tmpl_append_html(struct buf *out, struct str text) {
    append_escaped(out, text, false);
}

void tmpl_append_html_strict(struct buf *out, struct str text) {
    append_escaped(out, text, true);
}

void tmpl_append_js(struct buf *out, struct str text) {
    for (size_t pos = 0; pos < text.len;) {
        uint32_t rune = 0;
        size_t len = utf8_decode(text, pos, &rune);
        rune = rune == UTF8_INVALID ? UTF8_REPLACEMENT : rune;
        pos += len;
        if (rune == '\\' || rune == '\'' || rune == '"') {
            buf_printf(out, "\\%c", (char)rune);
        } else if (rune == '<' || rune == '>' || rune == '&' || rune == '=' ||
                   (!unicode_is_print(rune) && rune != 0x7f)) {
            buf_printf(out, "\\u%04X", rune);
        } else {
            buf_append(out, text.ptr + pos - len, len);
        }
    }
}

void tmpl_append_query(struct buf *out, struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
        if (is_plain) {
            buf_putc(out, (char)c);
        } else if (c == ' ') {
            buf_putc(out, '+');
        } else {
            buf_printf(out, "%%%02X", (unsigned)c);
        }
    }
}
