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

/* So does its size type. */
static const uint64_t size_bytes_max = INT64_MAX;

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

/* "B", "KB", "KiB", "MB" …: powers of 1024. "kB" means 1000 bytes where it is used at all, so it is
 * refused rather than guessed. */
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
    const char *prefix = memchr(prefixes, unit.ptr[0], sizeof(prefixes) - 1);
    if ((unit.len != 2 && !is_binary) || prefix == NULL) {
        return false;
    }
    *ret_shift = 10 * (int)(prefix - prefixes + 1);
    return true;
}

/* A number with its unit, cut off the front of *rest. */
struct size_part {
    struct str number; /* digits with at most one point among them */
    struct str unit;
};

static struct size_part cut_size_part(struct str *rest) {
    size_t number_len = digits_length(*rest, true);
    if (number_len < rest->len && rest->ptr[number_len] == '.') {
        struct str fraction = str_n(rest->ptr + number_len + 1, rest->len - number_len - 1);
        number_len += 1 + digits_length(fraction, true);
    }
    struct str after = str_n(rest->ptr + number_len, rest->len - number_len);
    size_t unit_len = 0;
    while (unit_len < after.len && !is_digit(after.ptr[unit_len]) && after.ptr[unit_len] != '.') {
        unit_len++;
    }
    struct size_part part = {
        .number = str_n(rest->ptr, number_len),
        .unit = str_n(after.ptr, unit_len),
    };
    *rest = str_n(after.ptr + unit_len, after.len - unit_len);
    return part;
}

/* Whole numbers exactly, fractions through a double. False: out of range. */
static bool scale_size(struct str number, double value, int shift, uint64_t *ret) {
    uint64_t whole;
    if (str_parse_u64(number, &whole)) {
        *ret = whole << shift;
        return whole <= size_bytes_max >> shift;
    }
    double bytes = ldexp(value, shift);
    if (bytes >= 0x1p63) {
        return false;
    }
    *ret = (uint64_t)bytes;
    return true;
}

bool bytes_parse(struct str text, uint64_t *ret_bytes, struct err *err) {
    if (str_eq_c(text, "0")) {
        *ret_bytes = 0;
        return true;
    }
    uint64_t total = 0;
    struct str rest = text;
    do {
        struct size_part part = cut_size_part(&rest);
        double value;
        int shift;
        uint64_t bytes;
        if (!str_parse_f64(part.number, &value)) {
            return err_set(err, ERR_INVALID, "not a valid size: \"%.*s\"", STR_FMT(text));
        }
        if (!parse_size_unit(part.unit, &shift)) {
            return err_set(err, ERR_INVALID,
                           "not a valid size: \"%.*s\": %s unit (use B, KB, MB, GB, TB, PB or EB)",
                           STR_FMT(text), part.unit.len == 0 ? "missing" : "unknown");
        }
        if (!scale_size(part.number, value, shift, &bytes) || bytes > size_bytes_max - total) {
            return err_set(err, ERR_INVALID, "size out of range: \"%.*s\"", STR_FMT(text));
        }
        total += bytes;
    } while (rest.len > 0);
    *ret_bytes = total;
    return true;
}
