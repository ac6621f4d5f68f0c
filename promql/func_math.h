/* Plain functions of one number or one moment, for the dispatch table. */
#pragma once

#include "promql/eval_call.h"

double math_deg(double value);
double math_rad(double value);
double math_sgn(double value);

double date_day_of_month(const struct civil *civil);
double date_day_of_week(const struct civil *civil);
double date_day_of_year(const struct civil *civil);
double date_days_in_month(const struct civil *civil);
double date_hour(const struct civil *civil);
double date_minute(const struct civil *civil);
double date_month(const struct civil *civil);
double date_year(const struct civil *civil);

bool value_map_math(const struct value_map *map, size_t step, double *value);

node_eval_fn func_date;
