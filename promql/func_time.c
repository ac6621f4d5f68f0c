/* Functions of moments: hour() and its kin, timestamp(). */
#include <assert.h>
#include <math.h>

#include "promql/func_math.h"

static bool is_leap(int year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

double date_day_of_month(const struct civil *civil) {
    return civil->day;
}

double date_day_of_week(const struct civil *civil) {
    return civil->weekday;
}

double date_day_of_year(const struct civil *civil) {
    return civil->year_day;
}

double date_days_in_month(const struct civil *civil) {
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    assert(civil->month >= 1 && civil->month <= 12);
    return days[civil->month - 1] + (civil->month == 2 && is_leap(civil->year));
}

double date_hour(const struct civil *civil) {
    return civil->hour;
}

double date_minute(const struct civil *civil) {
    return civil->minute;
}

double date_month(const struct civil *civil) {
    return civil->month;
}

double date_year(const struct civil *civil) {
    return civil->year;
}

/* Whole seconds as upstream's int64(value); what does not fit is the far past. */
static struct civil civil_from_seconds(double seconds) {
    const double seconds_max = 9e15; /* in milliseconds still an int64 */
    if (!(fabs(seconds) < seconds_max)) {
        seconds = -seconds_max;
    }
    return civil_from_ms((int64_t)seconds * 1000);
}

static bool map_date(const struct value_map *map, size_t step, double *value) {
    (void)step;
    struct civil civil = civil_from_seconds(*value);
    *value = map->date(&civil);
    return true;
}

/* hour() without an argument: of the step's time, as a vector of one. */
static bool stream_step_date(struct eval *eval,
                             double (*date)(const struct civil *civil),
                             const struct steps *steps,
                             const struct sink *sink,
                             struct err *err) {
    struct step_matrix scratch;
    struct step_series *series;
    step_matrix_init(&scratch, eval, steps);
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &series, err);
    if (is_ok) {
        for (size_t i = 0; i < steps->count; i++) {
            struct civil civil = civil_from_ms(steps_at(steps, i) / 1000 * 1000);
            step_series_set(series, i, date(&civil));
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
