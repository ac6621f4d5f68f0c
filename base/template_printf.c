/* printf of templates: the format string with flags, width, precision and argument indexes. */
#include "base/template_printf.h"

#include "base/utf8.h"

static char char_at(const struct tmpl_printer *p, size_t pos) {
    return pos < p->format.len ? p->format.ptr[pos] : '\0';
}

static void clear_flags(struct tmpl_printer *p) {
    p->minus = p->plus = p->sharp = p->space = p->zero = false;
    p->plus_v = p->sharp_v = false;
    p->has_width = p->has_precision = false;
    p->width = p->precision = 0;
}

static void read_flags(struct tmpl_printer *p) {
    for (;; p->pos++) {
        switch (char_at(p, p->pos)) {
        case '#': p->sharp = true; break;
        case '0': p->zero = true; break;
        case '+': p->plus = true; break;
        case '-': p->minus = true; break;
        case ' ': p->space = true; break;
        default: return;
        }
    }
}

/* Decimal digits between pos and end; an overflow swallows the rest, as in Go. */
static bool read_number(struct tmpl_printer *p, size_t end, size_t *ret) {
    size_t number = 0;
    bool has_digits = false;
    for (; p->pos < end && char_at(p, p->pos) >= '0' && char_at(p, p->pos) <= '9'; p->pos++) {
        if (number > TMPL_PRINTF_NUMBER_MAX) {
            p->pos = end;
            return false;
        }
        number = number * 10 + (size_t)(char_at(p, p->pos) - '0');
        has_digits = true;
    }
    *ret = number;
    return has_digits;
}

/* An argument index "[n]"; true when there was a bracket that could be read. */
static bool read_index(struct tmpl_printer *p) {
    if (char_at(p, p->pos) != '[') {
        return false;
    }
    p->is_reordered = true;
    size_t close = p->pos + 1;
    while (close < p->format.len && p->format.ptr[close] != ']') {
        close++;
    }
    if (close >= p->format.len || p->format.len - p->pos < 3) {
        p->is_index_good = false;
        p->pos++;
        return false;
    }
    p->pos++;
    size_t index = 0;
    bool is_number = read_number(p, close, &index) && p->pos == close;
    p->pos = close + 1;
    if (is_number && index >= 1 && index <= p->arg_count) {
        p->arg = index - 1;
    } else {
        p->is_index_good = false;
    }
    return is_number;
}

/* The integer argument a * stands for; consumes it. */
static bool read_star(struct tmpl_printer *p, int64_t *ret) {
    *ret = 0;
    if (p->arg >= p->arg_count) {
        return false;
    }
    const struct tmpl_value *value = &p->args[p->arg++];
    if (value->type != TMPL_INT || value->integer > TMPL_PRINTF_NUMBER_MAX ||
        value->integer < -TMPL_PRINTF_NUMBER_MAX) {
        return false;
    }
    *ret = value->integer;
    return true;
}

static void read_width(struct tmpl_printer *p, bool *after_index) {
    if (char_at(p, p->pos) != '*') {
        p->has_width = read_number(p, p->format.len, &p->width);
        if (*after_index && p->has_width) {
            p->is_index_good = false;
        }
        return;
    }
    p->pos++;
    int64_t width = 0;
    p->has_width = read_star(p, &width);
    if (!p->has_width) {
        buf_cstr(p->out, "%!(BADWIDTH)");
    }
    if (width < 0) {
        width = -width;
        p->minus = true;
        p->zero = false;
    }
    p->width = (size_t)width;
    *after_index = false;
}

static void read_precision(struct tmpl_printer *p, bool *after_index) {
    if (p->pos + 1 >= p->format.len || char_at(p, p->pos) != '.') {
        return;
    }
    p->pos++;
    if (*after_index) {
        p->is_index_good = false;
    }
    *after_index = read_index(p);
    if (char_at(p, p->pos) != '*') {
        if (!read_number(p, p->format.len, &p->precision)) {
            p->precision = 0;
        }
        p->has_precision = true;
        return;
    }
    p->pos++;
    int64_t precision = 0;
    p->has_precision = read_star(p, &precision) && precision >= 0;
    p->precision = precision < 0 ? 0 : (size_t)precision;
    if (!p->has_precision) {
        buf_cstr(p->out, "%!(BADPREC)");
    }
    *after_index = false;
}

static void print_verb(struct tmpl_printer *p, uint32_t verb) {
    if (verb == '%') {
        buf_putc(p->out, '%');
        return;
    }
    if (!p->is_index_good || p->arg >= p->arg_count) {
        buf_cstr(p->out, "%!");
        utf8_append(p->out, verb);
        buf_cstr(p->out, p->is_index_good ? "(MISSING)" : "(BADINDEX)");
        return;
    }
    if (verb == 'v' || verb == 'w') {
        p->sharp_v = p->sharp;
        p->plus_v = p->plus;
        p->sharp = p->plus = false;
    }
    tmpl_print_verb(p, &p->args[p->arg++], verb, 0);
}

/* After the percent sign. False at the end of the format. */
static bool print_directive(struct tmpl_printer *p) {
    clear_flags(p);
    p->is_index_good = true;
    read_flags(p);
    bool after_index = read_index(p);
    read_width(p, &after_index);
    read_precision(p, &after_index);
    if (!after_index) {
        (void)read_index(p);
    }
    if (p->pos >= p->format.len) {
        buf_cstr(p->out, "%!(NOVERB)");
        return false;
    }
    uint32_t verb = 0;
    p->pos += utf8_decode(p->format, p->pos, &verb);
    print_verb(p, verb == UTF8_INVALID ? UTF8_REPLACEMENT : verb);
    return true;
}

static void print_extra(struct tmpl_printer *p) {
    clear_flags(p);
    buf_cstr(p->out, "%!(EXTRA ");
    for (size_t i = p->arg; i < p->arg_count; i++) {
        buf_cstr(p->out, i > p->arg ? ", " : "");
        if (p->args[i].type == TMPL_NIL) {
            buf_cstr(p->out, "<nil>");
        } else {
            buf_cstr(p->out, tmpl_type_name(&p->args[i]));
            buf_putc(p->out, '=');
            tmpl_print_verb(p, &p->args[i], 'v', 0);
        }
    }
    buf_putc(p->out, ')');
}

void tmpl_sprintf(struct buf *out, struct str format, const struct tmpl_value *args, size_t count) {
    struct tmpl_printer p = { .out = out, .format = format, .args = args, .arg_count = count };
    while (p.pos < format.len && !out->is_over) {
        size_t found = str_find(str_n(format.ptr + p.pos, format.len - p.pos), STR("%"));
        size_t text = found == SIZE_MAX ? format.len - p.pos : found;
        buf_append(out, format.ptr + p.pos, text);
        p.pos += text;
        if (found == SIZE_MAX) {
            break;
        }
        p.pos++;
        if (!print_directive(&p)) {
            break;
        }
    }
    if (!p.is_reordered && p.arg < p.arg_count) {
        print_extra(&p);
    }
}
