/* Numbers for people: the humanize family, times and durations, as both upstreams do. */
#include <math.h>

#include "base/duration.h"
#include "base/template_format.h"
#include "base/template_func.h"

static const char *const small_prefixes[] = { "m", "u", "n", "p", "f", "a", "z", "y" };

/* The argument as a number; Prometheus' ConvertToFloat. */
static bool to_float(const struct tmpl_value *value, double *ret, struct err *err) {
    int64_t ns = 0;
    switch (value->type) {
    case TMPL_FLOAT: *ret = value->number; return true;
    case TMPL_INT: *ret = (double)value->integer; return true;
    case TMPL_STRING:
        if (str_parse_f64(value->string, ret)) {
            return true;
        }
        return err_set(err, ERR_EXEC, "strconv.ParseFloat: parsing \"%.*s\": invalid syntax",
                       STR_FMT(value->string));
    default: break;
    }
    if (tmpl_get_duration(value, &ns)) {
        *ret = (double)ns / 1e9;
        return true;
    }
    return err_set(err, ERR_EXEC, "can't convert %s to float", tmpl_type_name(value));
}

static struct tmpl_value finish(struct buf *out, struct arena *arena) {
    struct tmpl_value value = tmpl_string(arena_str(arena, buf_as_str(out)));
    buf_finish(out);
    return value;
}

/* %.4g and a suffix */
static struct tmpl_value four_digits(double value, const char *suffix, struct arena *arena) {
    struct buf out;
    buf_init(&out, 64);
    tmpl_append_float(&out, value, 'g', 4);
    buf_cstr(&out, suffix);
    return finish(&out, arena);
}

/* Divide by `unit` while it is reached and there are prefixes left. */
static const char *scale_down(double *value,
                              double unit,
                              const char *const *prefixes,
                              size_t count) {
    const char *prefix = "";
    for (size_t i = 0; i < count && fabs(*value) >= unit; i++) {
        prefix = prefixes[i];
        *value /= unit;
    }
    return prefix;
}

static const char *scale_up(double *value) {
    const char *prefix = "";
    for (size_t i = 0; i < ARRAY_LEN(small_prefixes) && fabs(*value) < 1; i++) {
        prefix = small_prefixes[i];
        *value *= 1000;
    }
    return prefix;
}

bool tmpl_call_humanize(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    static const char *const prefixes[] = { "k", "M", "G", "T", "P", "E", "Z", "Y" };
    double value = 0;
    if (!to_float(&args[0], &value, err)) {
        return false;
    }
    const char *prefix = "";
    if (value != 0 && isfinite(value)) {
        prefix = fabs(value) >= 1 ? scale_down(&value, 1000, prefixes, ARRAY_LEN(prefixes))
                                  : scale_up(&value);
    }
    *ret = four_digits(value, prefix, arena);
    return true;
}

bool tmpl_call_humanize1024(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    static const char *const prefixes[] = { "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi" };
    double value = 0;
    if (!to_float(&args[0], &value, err)) {
        return false;
    }
    const char *prefix = "";
    if (isfinite(value) && fabs(value) > 1) {
        prefix = scale_down(&value, 1024, prefixes, ARRAY_LEN(prefixes));
    }
    *ret = four_digits(value, prefix, arena);
    return true;
}

bool tmpl_call_humanize_percentage(void *ctx,
                                   const struct tmpl_value *args,
                                   size_t arg_count,
                                   struct arena *arena,
                                   struct tmpl_value *ret,
                                   struct err *err) {
    double value = 0;
    if (!to_float(&args[0], &value, err)) {
        return false;
    }
    *ret = four_digits(value * 100, "%", arena);
    return true;
}

/* From a second up: days to seconds as whole numbers, alone seconds with four digits. */
static struct tmpl_value humanize_seconds(double value, struct arena *arena) {
    struct buf out;
    buf_init(&out, 128);
    buf_cstr(&out, value < 0 ? "-" : "");
    value = fabs(value);
    if (value >= 0x1p63) { /* Go's conversion is undefined here; say something true */
        tmpl_append_float(&out, value, 'g', 4);
        buf_putc(&out, 's');
        return finish(&out, arena);
    }
    long long whole = (long long)value;
    long long seconds = whole % 60;
    long long minutes = whole / 60 % 60;
    long long hours = whole / 3600 % 24;
    long long days = whole / 86400;
    if (days != 0) {
        buf_printf(&out, "%lldd %lldh %lldm %llds", days, hours, minutes, seconds);
    } else if (hours != 0) {
        buf_printf(&out, "%lldh %lldm %llds", hours, minutes, seconds);
    } else if (minutes != 0) {
        buf_printf(&out, "%lldm %llds", minutes, seconds);
    } else {
        tmpl_append_float(&out, value, 'g', 4);
        buf_putc(&out, 's');
    }
    return finish(&out, arena);
}

bool tmpl_call_humanize_duration(void *ctx,
                                 const struct tmpl_value *args,
                                 size_t arg_count,
                                 struct arena *arena,
                                 struct tmpl_value *ret,
                                 struct err *err) {
    double value = 0;
    if (!to_float(&args[0], &value, err)) {
        return false;
    }
    if (!isfinite(value)) {
        *ret = four_digits(value, "", arena);
    } else if (value == 0) {
        *ret = four_digits(value, "s", arena);
    } else if (fabs(value) >= 1) {
        *ret = humanize_seconds(value, arena);
    } else {
        const char *prefix = scale_up(&value);
        struct buf suffix;
        buf_init(&suffix, 8);
        buf_printf(&suffix, "%ss", prefix);
        *ret = four_digits(value, buf_as_str(&suffix).ptr, arena);
        buf_finish(&suffix);
    }
    return true;
}

/* Seconds since the epoch as a time, of millisecond precision like Prometheus' own. */
static bool to_time(double seconds, struct arena *arena, struct tmpl_value *ret, struct err *err) {
    double ns = seconds * 1e9;
    if (ns >= 0x1p63 || ns < -0x1p63) {
        struct tmpl_value number = tmpl_float(seconds);
        struct str text = tmpl_value_text(&number, arena);
        return err_set(err, ERR_EXEC,
                       "%.*s cannot be represented as a nanoseconds timestamp since it overflows "
                       "int64",
                       STR_FMT(text));
    }
    *ret = tmpl_time(arena, (struct tmpl_time){ .t_ms = (int64_t)ns / 1000000 });
    return true;
}

bool tmpl_call_to_time(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    double value = 0;
    if (!to_float(&args[0], &value, err)) {
        return false;
    }
    if (!isfinite(value)) {
        return err_set(err, ERR_EXEC, "value is NaN or Inf");
    }
    return to_time(value, arena, ret, err);
}

bool tmpl_call_humanize_timestamp(void *ctx,
                                  const struct tmpl_value *args,
                                  size_t arg_count,
                                  struct arena *arena,
                                  struct tmpl_value *ret,
                                  struct err *err) {
    double value = 0;
    if (!to_float(&args[0], &value, err)) {
        return false;
    }
    if (!isfinite(value)) {
        *ret = four_digits(value, "", arena);
        return true;
    }
    struct tmpl_value time = { .type = TMPL_NIL };
    if (!to_time(value, arena, &time, err)) {
        return false;
    }
    *ret = tmpl_string(tmpl_value_text(&time, arena));
    return true;
}

bool tmpl_call_to_duration(void *ctx,
                           const struct tmpl_value *args,
                           size_t arg_count,
                           struct arena *arena,
                           struct tmpl_value *ret,
                           struct err *err) {
    double value = 0;
    if (!to_float(&args[0], &value, err)) {
        return false;
    }
    double ns = value * 1e9;
    if (isnan(ns) || ns >= 0x1p63 || ns < -0x1p63) {
        return err_set(err, ERR_EXEC, "duration out of range");
    }
    *ret = tmpl_duration(arena, (int64_t)ns);
    return true;
}

/* Prometheus' spelling ("1h30m", also negative) to seconds. */
bool tmpl_call_parse_duration(void *ctx,
                              const struct tmpl_value *args,
                              size_t arg_count,
                              struct arena *arena,
                              struct tmpl_value *ret,
                              struct err *err) {
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    struct str text = args[0].string;
    bool is_negative = text.len > 0 && text.ptr[0] == '-';
    int64_t duration_ms = 0;
    if (!duration_parse(is_negative ? str_n(text.ptr + 1, text.len - 1) : text, &duration_ms,
                        err)) {
        return false;
    }
    double seconds = (double)duration_ms / 1000;
    *ret = tmpl_float(is_negative ? -seconds : seconds);
    return true;
}

bool tmpl_call_date(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err) {
    struct tmpl_time time;
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    if (!tmpl_get_time(&args[1], &time)) {
        return tmpl_wrong_type(&args[1], "time.Time", err);
    }
    struct buf out;
    buf_init(&out, args[0].string.len * 16 + 64);
    tmpl_time_format(&out, &time, args[0].string);
    *ret = finish(&out, arena);
    return true;
}
