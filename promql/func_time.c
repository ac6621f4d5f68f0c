/* Functions of moments: hour() and its kin, timestamp(). */
#include <assert.h>

#include "promql/func_math.h"

/* ---- civil dates ---- */

static bool is_leap(int64_t year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int64_t year, int month) {
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    assert(month >= 1 && month <= 12);
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Proleptic Gregorian calendar; `days` since the epoch. Years are counted from March, so that the
 * leap day comes last, in eras of 400 years. */
static void date_from_days(int64_t days, struct moment *ret) {
    const int64_t days_per_era = 146097;
    int64_t shifted = days + 719468; /* since 0000-03-01 */
    int64_t era = (shifted >= 0 ? shifted : shifted - (days_per_era - 1)) / days_per_era;
    int64_t of_era = shifted - era * days_per_era;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    ret->day = (int)(of_year - (153 * month + 2) / 5 + 1);
    ret->month = (int)(month < 10 ? month + 3 : month - 9);
    ret->year = year + era * 400 + (ret->month <= 2);
    ret->year_day = ret->day;
    for (int m = 1; m < ret->month; m++) {
        ret->year_day += days_in_month(ret->year, m);
    }
    ret->weekday = (int)(((days % 7) + 11) % 7); /* the epoch was a Thursday */
}

/* Upstream converts the value to an int64; what does not fit becomes the smallest one, which its
 * clock takes for the far end of time. */
static struct moment moment_from_seconds(double value) {
    const double limit = 9223372036854775808.0;
    const int64_t clock_min = -9223372028741760000; /* earlier seconds wrap around */
    int64_t seconds = value >= -limit && value < limit ? (int64_t)value : INT64_MIN;
    int64_t days;
    int64_t of_day;
    if (seconds < clock_min) {
        days = (int64_t)((uint64_t)seconds / 86400);
        of_day = (int64_t)((uint64_t)seconds % 86400);
    } else {
        of_day = (seconds % 86400 + 86400) % 86400;
        days = seconds / 86400 - (seconds % 86400 < 0);
    }
    struct moment moment = {
        .hour = (int)(of_day / 3600),
        .minute = (int)(of_day / 60 % 60),
    };
    date_from_days(days, &moment);
    return moment;
}

double date_day_of_month(const struct moment *moment) {
    return moment->day;
}

double date_day_of_week(const struct moment *moment) {
    return moment->weekday;
}

double date_day_of_year(const struct moment *moment) {
    return moment->year_day;
}

double date_days_in_month(const struct moment *moment) {
    return days_in_month(moment->year, moment->month);
}

double date_hour(const struct moment *moment) {
    return moment->hour;
}

double date_minute(const struct moment *moment) {
    return moment->minute;
}

double date_month(const struct moment *moment) {
    return moment->month;
}

double date_year(const struct moment *moment) {
    return (double)moment->year;
}

/* ---- functions ---- */

static bool map_date(const struct value_map *map, size_t step, double *value) {
    (void)step;
    struct moment moment = moment_from_seconds(*value);
    *value = map->date(&moment);
    return true;
}

/* hour() without an argument: of the step's time, as a vector of one. */
static bool stream_step_date(struct eval *eval,
                             double (*date)(const struct moment *moment),
                             const struct steps *steps,
                             const struct sink *sink,
                             struct err *err) {
    struct step_matrix scratch;
    struct step_series *series;
    step_matrix_init(&scratch, eval, steps);
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &series, err);
    if (is_ok) {
        for (size_t i = 0; i < steps->count; i++) {
            struct moment moment = moment_from_seconds((double)(steps_at(steps, i) / 1000));
            step_series_set(series, i, date(&moment));
        }
        is_ok = eval_hold(eval, series->count, err) && sink_take(sink, series, err);
    }
    step_matrix_finish(&scratch);
    return is_ok;
}

bool func_date(struct eval *eval,
               const struct node *node,
               const struct steps *steps,
               const struct sink *sink,
               struct err *err) {
    const struct function_def *def = &function_defs[node->expr->call.function->id];
    if (node->arg_count == 0) {
        return stream_step_date(eval, def->date, steps, sink, err);
    }
    struct value_map map = { .apply = map_date, .date = def->date, .steps = steps };
    return value_map_stream(eval, node->args[0], steps, &map, sink, err);
}

/* ---- timestamp ---- */

static bool map_ms_to_seconds(const struct value_map *map, size_t step, double *value) {
    (void)map;
    (void)step;
    *value /= 1000;
    return true;
}

static bool map_step_time(const struct value_map *map, size_t step, double *value) {
    *value = (double)steps_at(map->steps, step) / 1000;
    return true;
}

bool func_timestamp(struct eval *eval,
                    const struct node *node,
                    const struct steps *steps,
                    const struct sink *sink,
                    struct err *err) {
    bool is_selector = node->args[0]->kind == NODE_SELECTOR;
    struct value_map map = {
        .apply = is_selector ? map_ms_to_seconds : map_step_time,
        .wants_times = is_selector,
        .steps = steps,
    };
    return value_map_stream(eval, node->args[0], steps, &map, sink, err);
}

/* The store keeps no start timestamps, and without them upstream has no result either. */
bool func_start_timestamp(struct eval *eval,
                          const struct node *node,
                          const struct steps *steps,
                          const struct sink *sink,
                          struct err *err) {
    return func_histogram_native(eval, node, steps, sink, err);
}
