/* Time intervals: decoding and membership. Source: alertmanager timeinterval/. */
#include "notify/time_interval.h"

#include "base/mem.h"

static const char *const weekday_names[] = {
    "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
};
static const char *const month_names[] = {
    "january", "february", "march",     "april",   "may",      "june",
    "july",    "august",   "september", "october", "november", "december",
};

/* ---- decoding ---- */

static bool find_name(struct str word, const char *const *names, size_t count, int *ret) {
    for (size_t i = 0; i < count; i++) {
        if (str_eq_nocase(word, str_from(names[i]))) {
            *ret = (int)i;
            return true;
        }
    }
    return false;
}

static bool parse_int(struct str word, int *ret) {
    int64_t value = 0;
    if (!str_parse_i64(word, &value) || value < -9999 || value > 9999) {
        return false;
    }
    *ret = (int)value;
    return true;
}

static bool weekday_member(struct str word, int *ret) {
    return find_name(word, weekday_names, ARRAY_LEN(weekday_names), ret);
}

static bool month_member(struct str word, int *ret) {
    if (find_name(word, month_names, ARRAY_LEN(month_names), ret)) {
        *ret += 1;
        return true;
    }
    return parse_int(word, ret) && *ret >= 1 && *ret <= 12;
}

static bool year_member(struct str word, int *ret) {
    return parse_int(word, ret) && *ret >= 0;
}

static bool day_member(struct str word, int *ret) {
    return parse_int(word, ret) && *ret != 0 && *ret >= -31 && *ret <= 31;
}

static void add_range(struct span_ranges *ranges, struct span_range range) {
    ranges->items = mem_realloc(ranges->items, (ranges->count + 1) * sizeof(ranges->items[0]));
    ranges->items[ranges->count++] = range;
}

/* "monday:friday" or one member. */
static void decode_ranges(struct yaml_decode *ctx,
                          const struct yaml_node *node,
                          struct span_ranges *ranges,
                          bool (*member)(struct str word, int *ret),
                          const char *what) {
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a list of %s", what);
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *item = node->items[i];
        struct str head = item->scalar;
        struct str tail;
        bool has_end = item->kind == YAML_SCALAR && str_cut(item->scalar, ':', &head, &tail);
        struct span_range range;
        if (item->kind != YAML_SCALAR || !member(head, &range.begin) ||
            !member(has_end ? tail : head, &range.end)) {
            yaml_error(ctx, item, DIAG_ERROR, "expected %s or a range of them (a:b)", what);
            continue;
        }
        bool is_day = member == day_member;
        int begin = is_day && range.begin < 0 ? 28 + range.begin : range.begin;
        int end = is_day && range.end < 0 ? 28 + range.end : range.end;
        if (is_day && range.begin < 0 && range.end > 0) {
            yaml_error(ctx, item, DIAG_ERROR, "the end must be negative when the start is");
        } else if (begin > end) {
            yaml_error(ctx, item, DIAG_ERROR, "the end comes before the start");
        } else {
            add_range(ranges, range);
        }
    }
}

static void decode_weekdays(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    decode_ranges(ctx, node, dest, weekday_member, "weekdays (monday)");
}

static void decode_months(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    decode_ranges(ctx, node, dest, month_member, "months (january or 1)");
}

static void decode_years(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    decode_ranges(ctx, node, dest, year_member, "years (2026)");
}

static void decode_days(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    decode_ranges(ctx, node, dest, day_member, "days of the month (1 to 31, -31 to -1)");
}

struct raw_times {
    char *start;
    char *end;
};

static const struct yaml_field times_fields[] = {
    { .key = "start_time",
      .type = YAML_STRING,
      .offset = offsetof(struct raw_times, start),
      .required = true },
    { .key = "end_time",
      .type = YAML_STRING,
      .offset = offsetof(struct raw_times, end),
      .required = true },
};

/* "HH:MM", up to 24:00. */
static bool parse_minutes(const char *text, int *ret) {
    struct str hour;
    struct str minute;
    int64_t hours = 0;
    int64_t minutes = 0;
    if (text == NULL || !str_cut(str_from(text), ':', &hour, &minute) || hour.len != 2 ||
        minute.len != 2 || !str_parse_i64(hour, &hours) || !str_parse_i64(minute, &minutes) ||
        hours < 0 || minutes < 0 || minutes > 59 || hours * 60 + minutes > 24 * 60) {
        return false;
    }
    *ret = (int)(hours * 60 + minutes);
    return true;
}

static void decode_times(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a list of start_time and end_time");
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        struct raw_times raw = { 0 };
        struct span_range range;
        if (yaml_decode_mapping(ctx, node->items[i], times_fields, ARRAY_LEN(times_fields), &raw)) {
            if (!parse_minutes(raw.start, &range.begin) || !parse_minutes(raw.end, &range.end)) {
                yaml_error(ctx, node->items[i], DIAG_ERROR, "times are written HH:MM");
            } else if (range.begin >= range.end) {
                yaml_error(ctx, node->items[i], DIAG_ERROR,
                           "start_time must be before end_time (split at 24:00)");
            } else {
                add_range(dest, range);
            }
        }
        mem_free(raw.start);
        mem_free(raw.end);
    }
}

static void decode_location(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct zone **zone = dest;
    struct err err = ERR_INIT;
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SCALAR || !zone_load(node->scalar, zone, &err)) {
        yaml_error(ctx, node, DIAG_ERROR, "%s",
                   err.code == ERR_NONE ? "expected a time zone name" : err.msg);
    }
}

#define SPAN(name_, decode_)                                                             \
    {                                                                                    \
        .key = #name_, .type = YAML_CUSTOM, .offset = offsetof(struct time_span, name_), \
        .decode = (decode_)                                                              \
    }

static const struct yaml_field span_fields[] = {
    SPAN(times, decode_times),
    SPAN(weekdays, decode_weekdays),
    SPAN(days_of_month, decode_days),
    SPAN(months, decode_months),
    SPAN(years, decode_years),
    { .key = "location",
      .type = YAML_CUSTOM,
      .offset = offsetof(struct time_span, zone),
      .decode = decode_location },
};

static void decode_spans(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct time_interval *interval = (struct time_interval *)dest;
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a list of time spans");
        return;
    }
    interval->spans = mem_calloc(node->count, sizeof(interval->spans[0]));
    interval->span_count = node->count;
    for (size_t i = 0; i < node->count; i++) {
        (void)yaml_decode_mapping(ctx, node->items[i], span_fields, ARRAY_LEN(span_fields),
                                  &interval->spans[i]);
    }
}

static const struct yaml_field interval_fields[] = {
    { .key = "name",
      .type = YAML_STRING,
      .offset = offsetof(struct time_interval, name),
      .required = true },
    { .key = "time_intervals", .type = YAML_CUSTOM, .offset = 0, .decode = decode_spans },
};

void time_intervals_decode(struct yaml_decode *ctx,
                           const struct yaml_node *node,
                           struct time_interval **items,
                           size_t *count) {
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a list of time intervals");
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        struct time_interval interval = { 0 };
        (void)yaml_decode_mapping(ctx, node->items[i], interval_fields, ARRAY_LEN(interval_fields),
                                  &interval);
        for (size_t k = 0; interval.name != NULL && k < *count; k++) {
            if ((*items)[k].name != NULL && strcmp((*items)[k].name, interval.name) == 0) {
                yaml_error(ctx, node->items[i], DIAG_ERROR, "time interval \"%s\" is not unique",
                           interval.name);
            }
        }
        *items = mem_realloc(*items, (*count + 1) * sizeof((*items)[0]));
        (*items)[(*count)++] = interval;
    }
}

void time_intervals_free(struct time_interval *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        for (size_t s = 0; s < items[i].span_count; s++) {
            struct time_span *span = &items[i].spans[s];
            mem_free(span->times.items);
            mem_free(span->weekdays.items);
            mem_free(span->days_of_month.items);
            mem_free(span->months.items);
            mem_free(span->years.items);
            zone_destroy(span->zone);
        }
        mem_free(items[i].spans);
        mem_free(items[i].name);
    }
    mem_free(items);
}

/* ---- membership ---- */

static int days_in_month(int year, int month) {
    struct civil first = { .year = year, .month = month, .day = 1 };
    struct civil next = first;
    next.year += month == 12 ? 1 : 0;
    next.month = month == 12 ? 1 : month + 1;
    return (int)((civil_to_ms(&next) - civil_to_ms(&first)) / 86400000);
}

static bool contains(const struct span_ranges *ranges, int value) {
    for (size_t i = 0; i < ranges->count; i++) {
        if (value >= ranges->items[i].begin && value <= ranges->items[i].end) {
            return true;
        }
    }
    return ranges->count == 0;
}

static bool contains_minute(const struct span_ranges *ranges, int minute) {
    for (size_t i = 0; i < ranges->count; i++) {
        if (minute >= ranges->items[i].begin && minute < ranges->items[i].end) {
            return true;
        }
    }
    return ranges->count == 0;
}

static bool contains_day(const struct span_ranges *ranges, const struct civil *civil) {
    int days = days_in_month(civil->year, civil->month);
    for (size_t i = 0; i < ranges->count; i++) {
        int begin = ranges->items[i].begin;
        int end = ranges->items[i].end;
        begin = begin < 0 ? days + begin + 1 : begin;
        end = end < 0 ? days + end + 1 : end;
        if (civil->day >= begin && civil->day <= end) {
            return true;
        }
    }
    return ranges->count == 0;
}

static bool span_contains(const struct time_span *span, int64_t t_ms) {
    int64_t offset_ms = span->zone == NULL ? 0 : (int64_t)zone_at(span->zone, t_ms).offset_s * 1000;
    struct civil civil = civil_from_ms(t_ms + offset_ms);
    return contains_minute(&span->times, civil.hour * 60 + civil.minute) &&
           contains_day(&span->days_of_month, &civil) && contains(&span->months, civil.month) &&
           contains(&span->weekdays, civil.weekday) && contains(&span->years, civil.year);
}

bool time_interval_contains(const struct time_interval *interval, int64_t t_ms) {
    for (size_t i = 0; i < interval->span_count; i++) {
        if (span_contains(&interval->spans[i], t_ms)) {
            return true;
        }
    }
    return false;
}
