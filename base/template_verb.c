/*
 * One value by a printf verb: every verb on every type, after Go's fmt, and Go's way of showing
 * what does not fit (%!d(string=hi)).
 */
#include <math.h>

#include "base/template_printf.h"
#include "base/unicode.h"
#include "base/utf8.h"

enum {
    PRINT_DEPTH_MAX = 64,
    INTEGER_TEXT_MAX = 80,
};

/* ---- padding ---- */

static void write_padding(struct tmpl_printer *p, size_t count, bool zeros) {
    for (size_t i = 0; i < count && !p->out->is_over; i++) {
        buf_putc(p->out, zeros && !p->minus ? '0' : ' ');
    }
}

static void pad_with(struct tmpl_printer *p, struct str text, bool zeros) {
    size_t used = utf8_count(text);
    size_t padding = p->has_width && p->width > used ? p->width - used : 0;
    if (!p->minus) {
        write_padding(p, padding, zeros);
    }
    buf_str(p->out, text);
    if (p->minus) {
        write_padding(p, padding, false);
    }
}

static void pad(struct tmpl_printer *p, struct str text) {
    pad_with(p, text, p->zero);
}

/* ---- values by type ---- */

static void bad_verb(struct tmpl_printer *p, const struct tmpl_value *value, uint32_t verb) {
    buf_cstr(p->out, "%!");
    utf8_append(p->out, verb);
    buf_putc(p->out, '(');
    if (value->type == TMPL_NIL) {
        buf_cstr(p->out, "<nil>");
    } else {
        p->is_erroring = true;
        buf_cstr(p->out, tmpl_type_name(value));
        buf_putc(p->out, '=');
        tmpl_print_verb(p, value, 'v', 0);
        p->is_erroring = false;
    }
    buf_putc(p->out, ')');
}

/* Digits of `value` in `base`, right-aligned in the buffer; returns where they start. */
static size_t format_digits(uint64_t value,
                            unsigned base,
                            bool is_upper,
                            char out[INTEGER_TEXT_MAX]) {
    const char *digits = is_upper ? "0123456789ABCDEF" : "0123456789abcdef";
    size_t start = INTEGER_TEXT_MAX;
    do {
        out[--start] = digits[value % base];
        value /= base;
    } while (value > 0);
    return start;
}

struct integer_style {
    unsigned base;
    bool is_upper;
    bool is_octal_prefixed; /* %O */
};

static void print_integer(struct tmpl_printer *p, int64_t integer, struct integer_style style) {
    bool is_negative = integer < 0;
    uint64_t magnitude = is_negative ? 0 - (uint64_t)integer : (uint64_t)integer;
    bool has_sign = is_negative || p->plus || p->space;
    size_t digits_min = 0;
    if (p->has_precision) {
        digits_min = p->precision;
        if (digits_min == 0 && magnitude == 0) {
            write_padding(p, p->has_width ? p->width : 0, false);
            return;
        }
    } else if (p->zero && !p->minus && p->has_width) {
        digits_min = p->width - (has_sign && p->width > 0 ? 1 : 0);
    }
    char digits[INTEGER_TEXT_MAX];
    size_t start = format_digits(magnitude, style.base, style.is_upper, digits);
    size_t count = INTEGER_TEXT_MAX - start;
    struct buf text;
    buf_init(&text, TMPL_PRINTF_NUMBER_MAX + INTEGER_TEXT_MAX);
    buf_cstr(&text, is_negative ? "-" : p->plus ? "+" : p->space ? " " : "");
    buf_cstr(&text, style.is_octal_prefixed ? "0o" : "");
    if (p->sharp && style.base != 10) {
        bool needs_octal = style.base == 8 && digits[start] != '0' && digits_min <= count;
        buf_cstr(&text, style.base == 2    ? "0b"
                        : style.base == 16 ? (style.is_upper ? "0X" : "0x")
                        : needs_octal      ? "0"
                                           : "");
    }
    for (; digits_min > count && !text.is_over; digits_min--) {
        buf_putc(&text, '0');
    }
    buf_append(&text, digits + start, count);
    pad_with(p, buf_as_str(&text), false);
    buf_finish(&text);
}

static uint32_t to_rune(int64_t integer) {
    return integer < 0 || integer > 0x10ffff ? UTF8_REPLACEMENT : (uint32_t)integer;
}

/* %q of a number: a character constant. */
static void print_quoted_rune(struct tmpl_printer *p, int64_t integer) {
    struct buf rune;
    struct buf text;
    buf_init(&rune, 8);
    buf_init(&text, 32);
    utf8_append(&rune, to_rune(integer));
    tmpl_append_quoted(&text, buf_as_str(&rune), p->plus);
    struct str inside = str_n(text.ptr + 1, text.len - 2);
    struct buf quoted;
    buf_init(&quoted, 32);
    if (str_eq_c(inside, "'")) {
        inside = STR("\\'");
    } else if (str_eq_c(inside, "\\\"")) {
        inside = STR("\"");
    }
    buf_printf(&quoted, "'%.*s'", STR_FMT(inside));
    pad(p, buf_as_str(&quoted));
    buf_finish(&rune);
    buf_finish(&text);
    buf_finish(&quoted);
}

/* %U */
static void print_code_point(struct tmpl_printer *p, int64_t integer) {
    size_t digits_min = p->has_precision && p->precision > 4 ? p->precision : 4;
    char digits[INTEGER_TEXT_MAX];
    size_t start = format_digits((uint64_t)integer, 16, true, digits);
    struct buf text;
    buf_init(&text, TMPL_PRINTF_NUMBER_MAX + INTEGER_TEXT_MAX);
    buf_cstr(&text, "U+");
    for (size_t count = INTEGER_TEXT_MAX - start; count < digits_min; count++) {
        buf_putc(&text, '0');
    }
    buf_append(&text, digits + start, INTEGER_TEXT_MAX - start);
    bool is_char = integer >= 0 && integer <= 0x10ffff && unicode_is_print((uint32_t)integer);
    if (p->sharp && is_char) {
        buf_cstr(&text, " '");
        utf8_append(&text, (uint32_t)integer);
        buf_putc(&text, '\'');
    }
    pad_with(p, buf_as_str(&text), false);
    buf_finish(&text);
}

/* `value` is what the integer belongs to. */
static void print_int(struct tmpl_printer *p,
                      const struct tmpl_value *value,
                      int64_t integer,
                      uint32_t verb) {
    switch (verb) {
    case 'v':
    case 'd': print_integer(p, integer, (struct integer_style){ .base = 10 }); break;
    case 'b': print_integer(p, integer, (struct integer_style){ .base = 2 }); break;
    case 'o': print_integer(p, integer, (struct integer_style){ .base = 8 }); break;
    case 'O':
        print_integer(p, integer, (struct integer_style){ .base = 8, .is_octal_prefixed = true });
        break;
    case 'x': print_integer(p, integer, (struct integer_style){ .base = 16 }); break;
    case 'X':
        print_integer(p, integer, (struct integer_style){ .base = 16, .is_upper = true });
        break;
    case 'c': {
        struct buf rune;
        buf_init(&rune, 8);
        utf8_append(&rune, to_rune(integer));
        pad(p, buf_as_str(&rune));
        buf_finish(&rune);
        break;
    }
    case 'q': print_quoted_rune(p, integer); break;
    case 'U': print_code_point(p, integer); break;
    default: bad_verb(p, value, verb); break;
    }
}

/*
 * The # flag on floats: a decimal point always, and %g keeps trailing zeros. `text` starts with a
 * sign. `digits` is how many significant digits %g and %x are to show, 0 for other verbs.
 */
static void append_sharp_float(struct buf *out, struct str text, size_t digits, bool is_hex) {
    size_t tail = 0;
    while (tail < text.len && !(strchr("pP", text.ptr[tail]) != NULL ||
                                (!is_hex && strchr("eE", text.ptr[tail]) != NULL))) {
        tail++;
    }
    bool has_point = false;
    bool has_nonzero = false;
    for (size_t i = 1; i < tail; i++) {
        has_point |= text.ptr[i] == '.';
        has_nonzero |= text.ptr[i] != '.' && text.ptr[i] != '0';
        digits -= text.ptr[i] != '.' && has_nonzero && digits > 0 ? 1 : 0;
    }
    buf_append(out, text.ptr, tail);
    if (!has_point) {
        digits -= tail == 2 && text.ptr[1] == '0' && digits > 0 ? 1 : 0;
        buf_putc(out, '.');
    }
    for (; digits > 0 && !out->is_over; digits--) {
        buf_putc(out, '0');
    }
    buf_append(out, text.ptr + tail, text.len - tail);
}

/* Sign, then digits; zeros of padding go between. */
static void pad_number(struct tmpl_printer *p, struct str text) {
    if (!p->plus && text.ptr[0] == '+') {
        pad(p, str_n(text.ptr + 1, text.len - 1));
        return;
    }
    if (p->zero && !p->minus && p->has_width && p->width > text.len) {
        buf_putc(p->out, text.ptr[0]);
        write_padding(p, p->width - text.len, true);
        buf_append(p->out, text.ptr + 1, text.len - 1);
        return;
    }
    pad(p, text);
}

static void format_float(struct tmpl_printer *p, double number, char verb, int precision) {
    struct buf text;
    struct buf sharp;
    buf_init(&text, TMPL_PRINTF_NUMBER_MAX);
    buf_init(&sharp, TMPL_PRINTF_NUMBER_MAX * 2);
    precision = p->has_precision ? (int)p->precision : precision;
    if (!signbit(number) || isnan(number)) {
        buf_putc(&text, '+');
    }
    if (isinf(number)) {
        text.len = 0;
    }
    tmpl_append_float(&text, number, verb, precision);
    if (p->space && text.ptr[0] == '+' && !p->plus) {
        text.ptr[0] = ' ';
    }
    struct str shown = buf_as_str(&text);
    if (!isfinite(number)) {
        bool hides_sign = isnan(number) && !p->space && !p->plus;
        pad_with(p, hides_sign ? str_n(shown.ptr + 1, shown.len - 1) : shown, false);
    } else {
        if (p->sharp && verb != 'b') {
            bool counts = strchr("gGx", verb) != NULL;
            size_t digits = !counts ? 0 : precision < 0 ? 6 : (size_t)precision;
            append_sharp_float(&sharp, shown, digits, verb == 'x' || verb == 'X');
            shown = buf_as_str(&sharp);
        }
        pad_number(p, shown);
    }
    buf_finish(&text);
    buf_finish(&sharp);
}

static void print_float(struct tmpl_printer *p, const struct tmpl_value *value, uint32_t verb) {
    switch (verb) {
    case 'v': format_float(p, value->number, 'g', -1); break;
    case 'b':
    case 'g':
    case 'G':
    case 'x':
    case 'X': format_float(p, value->number, (char)verb, -1); break;
    case 'f':
    case 'e':
    case 'E': format_float(p, value->number, (char)verb, 6); break;
    case 'F': format_float(p, value->number, 'f', 6); break;
    default: bad_verb(p, value, verb); break;
    }
}

static struct str truncate(const struct tmpl_printer *p, struct str text) {
    size_t end = 0;
    for (size_t runes = 0; end < text.len && (!p->has_precision || runes < p->precision); runes++) {
        uint32_t rune = 0;
        end += utf8_decode(text, end, &rune);
    }
    return str_n(text.ptr, end);
}

/* %x of a string: its bytes. */
static void print_hex(struct tmpl_printer *p, struct str text, bool is_upper) {
    const char *prefix = is_upper ? "0X" : "0x";
    struct buf out;
    buf_init(&out, text.len * 5 + 1);
    if (p->has_precision && p->precision < text.len) {
        text.len = p->precision;
    }
    for (size_t i = 0; i < text.len; i++) {
        buf_cstr(&out, p->space && i > 0 ? " " : "");
        buf_cstr(&out, p->sharp && (i == 0 || p->space) ? prefix : "");
        buf_printf(&out, is_upper ? "%02X" : "%02x", (unsigned)(unsigned char)text.ptr[i]);
    }
    pad(p, buf_as_str(&out));
    buf_finish(&out);
}

static bool can_backquote(struct str text) {
    for (size_t pos = 0; pos < text.len;) {
        uint32_t rune = 0;
        pos += utf8_decode(text, pos, &rune);
        if (rune == UTF8_INVALID || rune == 0xfeff || (rune < ' ' && rune != '\t') || rune == '`' ||
            rune == 0x7f) {
            return false;
        }
    }
    return true;
}

static void print_quoted(struct tmpl_printer *p, struct str text) {
    text = truncate(p, text);
    struct buf out;
    buf_init(&out, text.len * 10 + 3);
    if (p->sharp && can_backquote(text)) {
        buf_putc(&out, '`');
        buf_str(&out, text);
        buf_putc(&out, '`');
    } else {
        tmpl_append_quoted(&out, text, p->plus);
    }
    pad(p, buf_as_str(&out));
    buf_finish(&out);
}

static void print_string(struct tmpl_printer *p,
                         const struct tmpl_value *value,
                         struct str text,
                         uint32_t verb) {
    switch (verb) {
    case 'v':
        if (p->sharp_v) {
            print_quoted(p, text);
        } else {
            pad(p, truncate(p, text));
        }
        break;
    case 's': pad(p, truncate(p, text)); break;
    case 'x':
    case 'X': print_hex(p, text, verb == 'X'); break;
    case 'q': print_quoted(p, text); break;
    default: bad_verb(p, value, verb); break;
    }
}

/* ---- containers ---- */

static void print_element(struct tmpl_printer *p,
                          const struct tmpl_value *value,
                          uint32_t verb,
                          int depth) {
    if (value->type == TMPL_NIL) {
        buf_cstr(p->out, p->sharp_v ? "interface {}(nil)" : "<nil>");
    } else {
        tmpl_print_verb(p, value, verb, depth + 1);
    }
}

static void print_list(struct tmpl_printer *p,
                       const struct tmpl_value *value,
                       uint32_t verb,
                       int depth) {
    const struct tmpl_list *list = value->list;
    buf_cstr(p->out, p->sharp_v ? tmpl_type_name(value) : "");
    buf_putc(p->out, p->sharp_v ? '{' : '[');
    for (size_t i = 0; i < list->count && !p->out->is_over; i++) {
        buf_cstr(p->out, i == 0 ? "" : p->sharp_v ? ", " : " ");
        print_element(p, &list->items[i], verb, depth);
    }
    buf_putc(p->out, p->sharp_v ? '}' : ']');
}

/* True when the value's own print function has said it all. */
static bool print_by_method(struct tmpl_printer *p, const struct tmpl_value *value, uint32_t verb) {
    bool is_text_verb = verb == 'v' || verb == 's' || verb == 'x' || verb == 'X' || verb == 'q';
    if (value->map->print == NULL || p->is_erroring || p->sharp_v || !is_text_verb) {
        return false;
    }
    struct buf text;
    buf_init(&text, TMPL_PRINTF_NUMBER_MAX);
    value->map->print(value->map, &text);
    print_string(p, value, buf_as_str(&text), verb);
    buf_finish(&text);
    return true;
}

static void print_map(struct tmpl_printer *p,
                      const struct tmpl_value *value,
                      uint32_t verb,
                      int depth) {
    const struct tmpl_map *map = value->map;
    bool is_map = value->type == TMPL_MAP;
    bool has_names = is_map || p->plus_v || p->sharp_v;
    buf_cstr(p->out, p->sharp_v ? tmpl_type_name(value) : is_map ? "map" : "");
    buf_putc(p->out, is_map && !p->sharp_v ? '[' : '{');
    for (size_t i = 0; i < map->count && !p->out->is_over; i++) {
        buf_cstr(p->out, i == 0 ? "" : p->sharp_v ? ", " : " ");
        if (is_map) {
            struct tmpl_value key = tmpl_string(map->keys[i]);
            tmpl_print_verb(p, &key, verb, depth + 1);
        } else if (has_names) {
            buf_str(p->out, map->keys[i]);
        }
        buf_cstr(p->out, has_names ? ":" : "");
        print_element(p, &map->values[i], verb, depth);
    }
    buf_putc(p->out, is_map && !p->sharp_v ? ']' : '}');
}

static void print_container(struct tmpl_printer *p,
                            const struct tmpl_value *value,
                            uint32_t verb,
                            int depth) {
    int64_t ns = 0;
    if (verb == 'w' || verb == 'p') {
        bad_verb(p, value, verb);
    } else if (value->type == TMPL_LIST) {
        print_list(p, value, verb, depth);
    } else if (print_by_method(p, value, verb)) {
        return;
    } else if (tmpl_get_duration(value, &ns)) {
        print_int(p, value, ns, verb);
    } else {
        print_map(p, value, verb, depth);
    }
}

void tmpl_print_verb(struct tmpl_printer *p,
                     const struct tmpl_value *value,
                     uint32_t verb,
                     int depth) {
    if (depth > PRINT_DEPTH_MAX) {
        buf_cstr(p->out, "...");
        return;
    }
    if (verb == 'T') {
        struct str name = str_from(tmpl_type_name(value));
        pad(p, value->type == TMPL_NIL ? name : truncate(p, name));
        return;
    }
    switch (value->type) {
    case TMPL_NIL:
    case TMPL_TYPE_COUNT:
        if (verb == 'v') {
            pad(p, STR("<nil>"));
        } else {
            bad_verb(p, value, verb);
        }
        break;
    case TMPL_BOOL:
        if (verb == 't' || verb == 'v') {
            pad(p, value->boolean ? STR("true") : STR("false"));
        } else {
            bad_verb(p, value, verb);
        }
        break;
    case TMPL_INT: print_int(p, value, value->integer, verb); break;
    case TMPL_FLOAT: print_float(p, value, verb); break;
    case TMPL_STRING: print_string(p, value, value->string, verb); break;
    case TMPL_LIST:
    case TMPL_MAP:
    case TMPL_OBJECT: print_container(p, value, verb, depth); break;
    }
}
