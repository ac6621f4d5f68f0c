/* Prometheus durations and byte sizes. */
#include "base/duration.h"

#include <math.h>

struct unit {
    struct str name;
    int64_t ms;
    bool is_exact_only; /* printed only when it divides the rest: 90d reads better than 12w6d */
};

static const struct unit units[] = {
    { .name = { .ptr = "y", .len = 1 }, .ms = INT64_C(31536000000), .is_exact_only = true },
    { .name = { .ptr = "w", .len = 1 }, .ms = INT64_C(604800000), .is_exact_only = true },
    { .name = { .ptr = "d", .len = 1 }, .ms = INT64_C(86400000) },
    { .name = { .ptr = "h", .len = 1 }, .ms = INT64_C(3600000) },
    { .name = { .ptr = "m", .len = 1 }, .ms = INT64_C(60000) },
    { .name = { .ptr = "s", .len = 1 }, .ms = INT64_C(1000) },
    { .name = { .ptr = "ms", .len = 2 }, .ms = INT64_C(1) },
};

/* Go keeps nanoseconds in an int64; a text Prometheus refuses must not be accepted here. */
static const int64_t duration_ms_max = INT64_MAX / 1000000;

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static size_t digits_length(struct str text, bool wanted) {
    size_t len = 0;
    while (len < text.len && is_digit(text.ptr[len]) == wanted) {
        len++;
    }
    return len;
}

static bool not_a_duration(struct str text, struct err *err) {
    return err_set(err, ERR_INVALID, "not a valid duration string: \"%.*s\"", STR_FMT(text));
}

static const struct unit *find_unit(struct str name) {
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (str_eq(units[i].name, name)) {
            return &units[i];
        }
    }
    return NULL;
}

bool duration_parse(struct str text, int64_t *ret_ms, struct err *err) {
    if (text.len == 0) {
        return err_set(err, ERR_INVALID, "empty duration string");
    }
    if (str_eq_c(text, "0")) {
        *ret_ms = 0;
        return true;
    }
    struct str rest = text;
    const struct unit *last = NULL;
    int64_t total_ms = 0;
    while (rest.len > 0) {
        size_t number_len = digits_length(rest, true);
        uint64_t number;
        if (!str_parse_u64(str_n(rest.ptr, number_len), &number)) {
            return not_a_duration(text, err);
        }
        rest = str_n(rest.ptr + number_len, rest.len - number_len);
        struct str unit_name = str_n(rest.ptr, digits_length(rest, false));
        if (unit_name.len == 0) {
            return not_a_duration(text, err);
        }
        rest = str_n(rest.ptr + unit_name.len, rest.len - unit_name.len);
        const struct unit *unit = find_unit(unit_name);
        if (unit == NULL) {
            return err_set(err, ERR_INVALID, "unknown unit \"%.*s\" in duration \"%.*s\"",
                           STR_FMT(unit_name), STR_FMT(text));
        }
        if (last != NULL && unit <= last) {
            return not_a_duration(text, err);
        }
        last = unit;
        if (number > (uint64_t)(duration_ms_max / unit->ms) ||
            (int64_t)number * unit->ms > duration_ms_max - total_ms) {
            return err_set(err, ERR_INVALID, "duration out of range: \"%.*s\"", STR_FMT(text));
        }
        total_ms += (int64_t)number * unit->ms;
    }
    *ret_ms = total_ms;
    return true;
}

void duration_print(struct buf *buf, int64_t duration_ms) {
    if (duration_ms == 0) {
        buf_cstr(buf, "0s");
        return;
    }
    uint64_t rest = (uint64_t)duration_ms;
    if (duration_ms < 0) {
        buf_putc(buf, '-');
        rest = 0 - rest;
    }
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t unit_ms = (uint64_t)units[i].ms;
        if (rest < unit_ms || (units[i].is_exact_only && rest % unit_ms != 0)) {
            continue;
        }
        buf_u64(buf, rest / unit_ms);
        buf_str(buf, units[i].name);
        rest %= unit_ms;
    }
}

/* "", "K", "M" … with "B" or "iB" after it; powers of 1024. */
static bool parse_size_unit(struct str unit, int *ret_shift) {
    static const char prefixes[] = "KMGTPE";
    if (unit.len == 0 || unit.ptr[unit.len - 1] != 'B') {
        return false;
    }
    if (unit.len == 1) {
        *ret_shift = 0;
        return true;
    }
    bool is_binary = unit.len == 3 && unit.ptr[1] == 'i';
    char wanted = unit.ptr[0] == 'k' ? 'K' : unit.ptr[0];
    const char *prefix = wanted == '\0' ? NULL : strchr(prefixes, wanted);
    if ((unit.len != 2 && !is_binary) || prefix == NULL) {
        return false;
    }
    *ret_shift = 10 * (int)(prefix - prefixes + 1);
    return true;
}

bool bytes_parse(struct str text, uint64_t *ret_bytes, struct err *err) {
    if (str_eq_c(text, "0")) {
        *ret_bytes = 0;
        return true;
    }
    size_t whole_len = digits_length(text, true);
    size_t number_len = whole_len;
    if (number_len < text.len && text.ptr[number_len] == '.') {
        number_len++;
        number_len += digits_length(str_n(text.ptr + number_len, text.len - number_len), true);
    }
    struct str number = str_n(text.ptr, number_len);
    struct str unit = str_n(text.ptr + number_len, text.len - number_len);
    int shift = 0;
    double value = 0;
    if (!str_parse_f64(number, &value)) {
        return err_set(err, ERR_INVALID, "not a valid size: \"%.*s\"", STR_FMT(text));
    }
    if (!parse_size_unit(unit, &shift)) {
        const char *what = unit.len == 0 ? "missing unit" : "unknown unit";
        return err_set(err, ERR_INVALID,
                       "not a valid size: \"%.*s\": %s (use B, KB, MB, GB, TB, PB or EB)",
                       STR_FMT(text), what);
    }
    uint64_t whole = 0;
    if (number_len == whole_len && str_parse_u64(number, &whole)) {
        if (whole <= UINT64_MAX >> shift) {
            *ret_bytes = whole << shift;
            return true;
        }
    } else {
        double bytes = ldexp(value, shift);
        if (bytes < 0x1p64) {
            *ret_bytes = (uint64_t)bytes;
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "size out of range: \"%.*s\"", STR_FMT(text));
}
