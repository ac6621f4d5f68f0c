/* Durations as template values: their methods and printed form, after Go's time.Duration. */
#include "base/template_time.h"

/* A number of `unit` nanoseconds as a decimal fraction without trailing zeros. */
static void append_fraction(struct buf *out, uint64_t ns, uint64_t unit) {
    buf_u64(out, ns / unit);
    uint64_t rest = ns % unit;
    if (rest == 0) {
        return;
    }
    buf_putc(out, '.');
    while (rest > 0) {
        unit /= 10;
        buf_putc(out, (char)('0' + rest / unit));
        rest %= unit;
    }
}

/* 1h2m3.5s; below a second 1.5ms, 2µs, 3ns. */
static void append_duration(struct buf *out, int64_t duration_ns) {
    uint64_t ns = duration_ns < 0 ? 0 - (uint64_t)duration_ns : (uint64_t)duration_ns;
    if (ns == 0) {
        buf_cstr(out, "0s");
        return;
    }
    buf_cstr(out, duration_ns < 0 ? "-" : "");
    if (ns < 1000) {
        append_fraction(out, ns, 1);
        buf_cstr(out, "ns");
    } else if (ns < (uint64_t)NS_PER_MS) {
        append_fraction(out, ns, 1000);
        buf_cstr(out, "\xc2\xb5s");
    } else if (ns < (uint64_t)NS_PER_SECOND) {
        append_fraction(out, ns, (uint64_t)NS_PER_MS);
        buf_cstr(out, "ms");
    } else {
        uint64_t minute_ns = 60 * (uint64_t)NS_PER_SECOND;
        uint64_t minutes = ns / minute_ns;
        if (minutes >= 60) {
            buf_printf(out, "%lluh", (unsigned long long)(minutes / 60));
        }
        if (minutes > 0) {
            buf_printf(out, "%llum", (unsigned long long)(minutes % 60));
        }
        append_fraction(out, ns % minute_ns, (uint64_t)NS_PER_SECOND);
        buf_putc(out, 's');
    }
}

static void print_duration(const struct tmpl_map *map, struct buf *out) {
    append_duration(out, map->values[0].integer);
}

bool tmpl_get_duration(const struct tmpl_value *value, int64_t *ret_ns) {
    if (value->type != TMPL_OBJECT || value->map->print != print_duration) {
        return false;
    }
    *ret_ns = value->map->values[0].integer;
    return true;
}

bool tmpl_want_duration(const struct tmpl_value *arg, int64_t *ret_ns, struct err *err) {
    if (tmpl_get_duration(arg, ret_ns)) {
        return true;
    }
    if (arg->type == TMPL_INT) {
        *ret_ns = arg->integer;
        return true;
    }
    return tmpl_wrong_type(arg, "time.Duration", err);
}

struct str tmpl_printed(const struct tmpl_map *map,
                        void (*print)(const struct tmpl_map *map, struct buf *out),
                        struct arena *arena) {
    struct buf out;
    buf_init(&out, 256);
    print(map, &out);
    struct str text = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return text;
}

static bool duration_string(const struct tmpl_value *self,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    *ret = tmpl_string(tmpl_printed(self->map, print_duration, arena));
    return true;
}

static bool duration_nanoseconds(const struct tmpl_value *self,
                                 const struct tmpl_value *args,
                                 size_t arg_count,
                                 struct arena *arena,
                                 struct tmpl_value *ret,
                                 struct err *err) {
    *ret = tmpl_int(self->map->values[0].integer);
    return true;
}

static bool duration_microseconds(const struct tmpl_value *self,
                                  const struct tmpl_value *args,
                                  size_t arg_count,
                                  struct arena *arena,
                                  struct tmpl_value *ret,
                                  struct err *err) {
    *ret = tmpl_int(self->map->values[0].integer / 1000);
    return true;
}

static bool duration_milliseconds(const struct tmpl_value *self,
                                  const struct tmpl_value *args,
                                  size_t arg_count,
                                  struct arena *arena,
                                  struct tmpl_value *ret,
                                  struct err *err) {
    *ret = tmpl_int(self->map->values[0].integer / NS_PER_MS);
    return true;
}

static bool duration_seconds(const struct tmpl_value *self,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err) {
    *ret = tmpl_float((double)self->map->values[0].integer / 1e9);
    return true;
}

static bool duration_minutes(const struct tmpl_value *self,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err) {
    *ret = tmpl_float((double)self->map->values[0].integer / 60e9);
    return true;
}

static bool duration_hours(const struct tmpl_value *self,
                           const struct tmpl_value *args,
                           size_t arg_count,
                           struct arena *arena,
                           struct tmpl_value *ret,
                           struct err *err) {
    *ret = tmpl_float((double)self->map->values[0].integer / 3600e9);
    return true;
}

/* Towards zero, to a multiple of the argument. */
static bool duration_truncate(const struct tmpl_value *self,
                              const struct tmpl_value *args,
                              size_t arg_count,
                              struct arena *arena,
                              struct tmpl_value *ret,
                              struct err *err) {
    int64_t unit = 0;
    if (!tmpl_want_duration(&args[0], &unit, err)) {
        return false;
    }
    int64_t ns = self->map->values[0].integer;
    *ret = tmpl_duration(arena, unit <= 0 ? ns : ns - ns % unit);
    return true;
}

/* To the nearest multiple, halves away from zero. */
static bool duration_round(const struct tmpl_value *self,
                           const struct tmpl_value *args,
                           size_t arg_count,
                           struct arena *arena,
                           struct tmpl_value *ret,
                           struct err *err) {
    int64_t unit = 0;
    if (!tmpl_want_duration(&args[0], &unit, err)) {
        return false;
    }
    int64_t ns = self->map->values[0].integer;
    int64_t rest = unit <= 0 ? 0 : ns % unit;
    int64_t down = ns - rest;
    bool is_far = rest < 0 ? -rest >= unit - -rest : rest >= unit - rest;
    int64_t rounded = down;
    if (unit > 0 && rest != 0 && is_far &&
        __builtin_add_overflow(down, rest < 0 ? -unit : unit, &rounded)) {
        rounded = ns < 0 ? INT64_MIN : INT64_MAX;
    }
    *ret = tmpl_duration(arena, rounded);
    return true;
}

static const struct tmpl_method duration_methods[] = {
    { "String", duration_string, 0, 0 },
    { "Nanoseconds", duration_nanoseconds, 0, 0 },
    { "Microseconds", duration_microseconds, 0, 0 },
    { "Milliseconds", duration_milliseconds, 0, 0 },
    { "Seconds", duration_seconds, 0, 0 },
    { "Minutes", duration_minutes, 0, 0 },
    { "Hours", duration_hours, 0, 0 },
    { "Truncate", duration_truncate, 1, 1 },
    { "Round", duration_round, 1, 1 },
};

struct tmpl_map *tmpl_hidden_object(struct arena *arena, size_t field_count) {
    struct tmpl_map *map = arena_calloc(arena, 1, sizeof(*map));
    map->keys = arena_calloc(arena, field_count, sizeof(map->keys[0]));
    map->values = arena_calloc(arena, field_count, sizeof(map->values[0]));
    map->count = field_count;
    for (size_t i = 0; i < field_count; i++) {
        map->keys[i] = STR("");
    }
    return map;
}

struct tmpl_value tmpl_duration(struct arena *arena, int64_t duration_ns) {
    struct tmpl_map *map = tmpl_hidden_object(arena, 1);
    map->values[0] = tmpl_int(duration_ns);
    map->type_name = "time.Duration";
    map->print = print_duration;
    map->methods = duration_methods;
    map->method_count = ARRAY_LEN(duration_methods);
    return (struct tmpl_value){ .type = TMPL_OBJECT, .map = map };
}
