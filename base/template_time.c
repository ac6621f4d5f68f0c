/* Times as template values: their methods and printed form, after Go's time.Time. */
#include "base/template_time.h"

#include "base/clock.h"

enum {
    TIME_MS,
    TIME_OFFSET,
    TIME_ZONE,
    TIME_FIELD_COUNT,
};

static struct tmpl_time time_of(const struct tmpl_map *map) {
    return (struct tmpl_time){
        .t_ms = map->values[TIME_MS].integer,
        .offset_s = (int32_t)map->values[TIME_OFFSET].integer,
        .zone = map->values[TIME_ZONE].string,
    };
}

static void print_time(const struct tmpl_map *map, struct buf *out) {
    struct tmpl_time time = time_of(map);
    tmpl_time_format(out, &time, STR("2006-01-02 15:04:05.999999999 -0700 MST"));
}

bool tmpl_get_time(const struct tmpl_value *value, struct tmpl_time *ret) {
    if (value->type != TMPL_OBJECT || value->map->print != print_time) {
        return false;
    }
    *ret = time_of(value->map);
    return true;
}

static struct civil civil_of(const struct tmpl_value *self) {
    struct tmpl_time time = time_of(self->map);
    return civil_from_ms(time.t_ms + (int64_t)time.offset_s * 1000);
}

static bool want_time(const struct tmpl_value *arg, struct tmpl_time *ret, struct err *err) {
    return tmpl_get_time(arg, ret) ? true : tmpl_wrong_type(arg, "time.Time", err);
}

static bool time_format(const struct tmpl_value *self,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    struct tmpl_time time = time_of(self->map);
    struct buf out;
    buf_init(&out, args[0].string.len * 16 + 64);
    tmpl_time_format(&out, &time, args[0].string);
    *ret = tmpl_string(arena_str(arena, buf_as_str(&out)));
    buf_finish(&out);
    return true;
}

static bool time_string(const struct tmpl_value *self,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    *ret = tmpl_string(tmpl_printed(self->map, print_time, arena));
    return true;
}

static int64_t floor_div(int64_t value, int64_t unit) {
    return value / unit - (value % unit < 0 ? 1 : 0);
}

static bool time_unix(const struct tmpl_value *self,
                      const struct tmpl_value *args,
                      size_t arg_count,
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err) {
    *ret = tmpl_int(floor_div(time_of(self->map).t_ms, 1000));
    return true;
}

static bool time_unix_milli(const struct tmpl_value *self,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    *ret = tmpl_int(time_of(self->map).t_ms);
    return true;
}

static bool time_unix_nano(const struct tmpl_value *self,
                           const struct tmpl_value *args,
                           size_t arg_count,
                           struct arena *arena,
                           struct tmpl_value *ret,
                           struct err *err) {
    *ret = tmpl_int((int64_t)((uint64_t)time_of(self->map).t_ms * (uint64_t)NS_PER_MS));
    return true;
}

static bool time_year(const struct tmpl_value *self,
                      const struct tmpl_value *args,
                      size_t arg_count,
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err) {
    *ret = tmpl_int(civil_of(self).year);
    return true;
}

static bool format_as(const struct tmpl_value *self,
                      const char *layout,
                      struct arena *arena,
                      struct tmpl_value *ret) {
    struct tmpl_time time = time_of(self->map);
    struct buf out;
    buf_init(&out, 64);
    tmpl_time_format(&out, &time, str_from(layout));
    *ret = tmpl_string(arena_str(arena, buf_as_str(&out)));
    buf_finish(&out);
    return true;
}

static bool time_month(const struct tmpl_value *self,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    return format_as(self, "January", arena, ret);
}

static bool time_weekday(const struct tmpl_value *self,
                         const struct tmpl_value *args,
                         size_t arg_count,
                         struct arena *arena,
                         struct tmpl_value *ret,
                         struct err *err) {
    return format_as(self, "Monday", arena, ret);
}

static bool time_day(const struct tmpl_value *self,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    *ret = tmpl_int(civil_of(self).day);
    return true;
}

static bool time_hour(const struct tmpl_value *self,
                      const struct tmpl_value *args,
                      size_t arg_count,
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err) {
    *ret = tmpl_int(civil_of(self).hour);
    return true;
}

static bool time_minute(const struct tmpl_value *self,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    *ret = tmpl_int(civil_of(self).minute);
    return true;
}

static bool time_second(const struct tmpl_value *self,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    *ret = tmpl_int(civil_of(self).second);
    return true;
}

static bool time_nanosecond(const struct tmpl_value *self,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    *ret = tmpl_int(civil_of(self).ms * NS_PER_MS);
    return true;
}

static bool time_year_day(const struct tmpl_value *self,
                          const struct tmpl_value *args,
                          size_t arg_count,
                          struct arena *arena,
                          struct tmpl_value *ret,
                          struct err *err) {
    *ret = tmpl_int(civil_of(self).year_day);
    return true;
}

static bool time_utc(const struct tmpl_value *self,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    *ret = tmpl_time(arena, (struct tmpl_time){ .t_ms = time_of(self->map).t_ms });
    return true;
}

static bool time_is_zero(const struct tmpl_value *self,
                         const struct tmpl_value *args,
                         size_t arg_count,
                         struct arena *arena,
                         struct tmpl_value *ret,
                         struct err *err) {
    *ret = tmpl_bool(time_of(self->map).t_ms == TMPL_TIME_ZERO_MS);
    return true;
}

static bool time_before(const struct tmpl_value *self,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    struct tmpl_time other = { .t_ms = 0 };
    bool ok = want_time(&args[0], &other, err);
    *ret = tmpl_bool(ok && time_of(self->map).t_ms < other.t_ms);
    return ok;
}

static bool time_after(const struct tmpl_value *self,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    struct tmpl_time other = { .t_ms = 0 };
    bool ok = want_time(&args[0], &other, err);
    *ret = tmpl_bool(ok && time_of(self->map).t_ms > other.t_ms);
    return ok;
}

static bool time_equal(const struct tmpl_value *self,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    struct tmpl_time other = { .t_ms = 0 };
    bool ok = want_time(&args[0], &other, err);
    *ret = tmpl_bool(ok && time_of(self->map).t_ms == other.t_ms);
    return ok;
}

/* Saturates at the longest duration, as in Go. */
static bool time_sub(const struct tmpl_value *self,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    struct tmpl_time other = { .t_ms = 0 };
    if (!want_time(&args[0], &other, err)) {
        return false;
    }
    int64_t ns = 0;
    int64_t ms = time_of(self->map).t_ms - other.t_ms;
    if (__builtin_mul_overflow(ms, NS_PER_MS, &ns)) {
        ns = ms < 0 ? INT64_MIN : INT64_MAX;
    }
    *ret = tmpl_duration(arena, ns);
    return true;
}

static bool time_add(const struct tmpl_value *self,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    int64_t ns = 0;
    if (!tmpl_want_duration(&args[0], &ns, err)) {
        return false;
    }
    struct tmpl_time time = time_of(self->map);
    time.t_ms += ns / NS_PER_MS;
    *ret = tmpl_time(arena, time);
    return true;
}

static const struct tmpl_method time_methods[] = {
    { "Format", time_format, 1, 1 },
    { "String", time_string, 0, 0 },
    { "Unix", time_unix, 0, 0 },
    { "UnixMilli", time_unix_milli, 0, 0 },
    { "UnixNano", time_unix_nano, 0, 0 },
    { "Year", time_year, 0, 0 },
    { "Month", time_month, 0, 0 },
    { "Day", time_day, 0, 0 },
    { "Weekday", time_weekday, 0, 0 },
    { "YearDay", time_year_day, 0, 0 },
    { "Hour", time_hour, 0, 0 },
    { "Minute", time_minute, 0, 0 },
    { "Second", time_second, 0, 0 },
    { "Nanosecond", time_nanosecond, 0, 0 },
    { "UTC", time_utc, 0, 0 },
    { "Local", time_utc, 0, 0 }, /* the server's zone plays no role */
    { "IsZero", time_is_zero, 0, 0 },
    { "Before", time_before, 1, 1 },
    { "After", time_after, 1, 1 },
    { "Equal", time_equal, 1, 1 },
    { "Sub", time_sub, 1, 1 },
    { "Add", time_add, 1, 1 },
};

struct tmpl_value tmpl_time(struct arena *arena, struct tmpl_time time) {
    struct tmpl_map *map = tmpl_hidden_object(arena, TIME_FIELD_COUNT);
    map->values[TIME_MS] = tmpl_int(time.t_ms);
    map->values[TIME_OFFSET] = tmpl_int(time.offset_s);
    map->values[TIME_ZONE] =
        tmpl_string(time.zone.ptr == NULL ? STR("") : arena_str(arena, time.zone));
    map->type_name = "time.Time";
    map->print = print_time;
    map->methods = time_methods;
    map->method_count = ARRAY_LEN(time_methods);
    return (struct tmpl_value){ .type = TMPL_OBJECT, .map = map };
}
