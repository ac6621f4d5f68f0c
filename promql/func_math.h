/* Plain functions of one number or one moment, for the dispatch table. */
#pragma once

#include "promql/eval_call.h"

/* A moment in UTC, taken apart. */
struct moment {
    int64_t year;
    int month; /* 1 … 12 */
    int day;
    int hour;
    int minute;
    int weekday;  /* 0 = Sunday */
    int year_day; /* from 1 */
};

double math_deg(double value);
double math_rad(double value);
double math_sgn(double value);

double date_day_of_month(const struct moment *moment);
double date_day_of_week(const struct moment *moment);
double date_day_of_year(const struct moment *moment);
double date_days_in_month(const struct moment *moment);
double date_hour(const struct moment *moment);
double date_minute(const struct moment *moment);
double date_month(const struct moment *moment);
double date_year(const struct moment *moment);

bool value_map_math(const struct value_map *map, size_t step, double *value);

node_eval_fn func_date;
