/* Function calls: the dispatch table and the step from a plan node to an entry of it. */
#include "promql/eval_call.h"

#include <assert.h>
#include <math.h>

#include "promql/func_math.h"

const struct function_def function_defs[PROMQL_FN_COUNT] = {
    [PROMQL_FN_ABS] = { .kind = CALL_MATH, .math = fabs },
    [PROMQL_FN_ABSENT] = { .kind = CALL_OTHER, .other = func_absent },
    [PROMQL_FN_ABSENT_OVER_TIME] = { .kind = CALL_OTHER, .other = func_absent_over_time },
    [PROMQL_FN_ACOS] = { .kind = CALL_MATH, .math = acos },
    [PROMQL_FN_ACOSH] = { .kind = CALL_MATH, .math = acosh },
    [PROMQL_FN_ASIN] = { .kind = CALL_MATH, .math = asin },
    [PROMQL_FN_ASINH] = { .kind = CALL_MATH, .math = asinh },
    [PROMQL_FN_ATAN] = { .kind = CALL_MATH, .math = atan },
    [PROMQL_FN_ATANH] = { .kind = CALL_MATH, .math = atanh },
    [PROMQL_FN_AVG_OVER_TIME] = { .kind = CALL_RANGE, .range = range_avg, .bucket = bucket_avg },
    [PROMQL_FN_CEIL] = { .kind = CALL_MATH, .math = ceil },
    [PROMQL_FN_CHANGES] = { .kind = CALL_RANGE, .range = range_changes, .reach = REACH_ANCHORED },
    [PROMQL_FN_CLAMP] = { .kind = CALL_OTHER, .other = func_clamp },
    [PROMQL_FN_CLAMP_MAX] = { .kind = CALL_OTHER, .other = func_clamp_max },
    [PROMQL_FN_CLAMP_MIN] = { .kind = CALL_OTHER, .other = func_clamp_min },
    [PROMQL_FN_COS] = { .kind = CALL_MATH, .math = cos },
    [PROMQL_FN_COSH] = { .kind = CALL_MATH, .math = cosh },
    [PROMQL_FN_COUNT_OVER_TIME] = { .kind = CALL_RANGE,
                                    .range = range_count,
                                    .bucket = bucket_count },
    [PROMQL_FN_DAY_OF_MONTH] = { .kind = CALL_DATE,
                                 .date = date_day_of_month,
                                 .depends_on_time = true },
    [PROMQL_FN_DAY_OF_WEEK] = { .kind = CALL_DATE,
                                .date = date_day_of_week,
                                .depends_on_time = true },
    [PROMQL_FN_DAY_OF_YEAR] = { .kind = CALL_DATE,
                                .date = date_day_of_year,
                                .depends_on_time = true },
    [PROMQL_FN_DAYS_IN_MONTH] = { .kind = CALL_DATE,
                                  .date = date_days_in_month,
                                  .depends_on_time = true },
    [PROMQL_FN_DEG] = { .kind = CALL_MATH, .math = math_deg },
    [PROMQL_FN_DELTA] = { .kind = CALL_RANGE,
                          .range = range_delta,
                          .bucket = bucket_delta,
                          .reach = REACH_SMOOTHED },
    [PROMQL_FN_DERIV] = { .kind = CALL_RANGE, .window = window_deriv },
    [PROMQL_FN_DOUBLE_EXPONENTIAL_SMOOTHING] = { .kind = CALL_RANGE, .range = range_smoothing },
    [PROMQL_FN_END] = { .kind = CALL_FOLDED },
    [PROMQL_FN_EXP] = { .kind = CALL_MATH, .math = exp },
    [PROMQL_FN_FIRST_OVER_TIME] = { .kind = CALL_RANGE,
                                    .window = window_first,
                                    .bucket = bucket_first,
                                    .keeps_name = true },
    [PROMQL_FN_FLOOR] = { .kind = CALL_MATH, .math = floor },
    [PROMQL_FN_HISTOGRAM_AVG] = { .kind = CALL_OTHER, .other = func_histogram_native },
    [PROMQL_FN_HISTOGRAM_COUNT] = { .kind = CALL_OTHER, .other = func_histogram_native },
    [PROMQL_FN_HISTOGRAM_FRACTION] = { .kind = CALL_OTHER, .other = func_histogram_fraction },
    [PROMQL_FN_HISTOGRAM_QUANTILE] = { .kind = CALL_OTHER, .other = func_histogram_quantile },
    [PROMQL_FN_HISTOGRAM_QUANTILES] = { .kind = CALL_OTHER, .other = func_histogram_quantiles },
    [PROMQL_FN_HISTOGRAM_STDDEV] = { .kind = CALL_OTHER, .other = func_histogram_native },
    [PROMQL_FN_HISTOGRAM_STDVAR] = { .kind = CALL_OTHER, .other = func_histogram_native },
    [PROMQL_FN_HISTOGRAM_SUM] = { .kind = CALL_OTHER, .other = func_histogram_native },
    [PROMQL_FN_HOUR] = { .kind = CALL_DATE, .date = date_hour, .depends_on_time = true },
    [PROMQL_FN_IDELTA] = { .kind = CALL_RANGE, .window = window_idelta },
    [PROMQL_FN_INCREASE] = { .kind = CALL_RANGE,
                             .range = range_increase,
                             .bucket = bucket_increase,
                             .reach = REACH_SMOOTHED,
                             .wants_counter = true },
    [PROMQL_FN_INFO] = { .kind = CALL_OTHER, .other = func_info, .makes_labels = true },
    [PROMQL_FN_IRATE] = { .kind = CALL_RANGE, .window = window_irate },
    [PROMQL_FN_LABEL_JOIN] = { .kind = CALL_OTHER, .other = func_label_join, .makes_labels = true },
    [PROMQL_FN_LABEL_REPLACE] = { .kind = CALL_OTHER,
                                  .other = func_label_replace,
                                  .makes_labels = true },
    [PROMQL_FN_LAST_OVER_TIME] = { .kind = CALL_RANGE,
                                   .window = window_last,
                                   .bucket = bucket_last,
                                   .keeps_name = true },
    [PROMQL_FN_LN] = { .kind = CALL_MATH, .math = log },
    [PROMQL_FN_LOG10] = { .kind = CALL_MATH, .math = log10 },
    [PROMQL_FN_LOG2] = { .kind = CALL_MATH, .math = log2 },
    [PROMQL_FN_MAD_OVER_TIME] = { .kind = CALL_RANGE, .window = window_mad },
    [PROMQL_FN_MAX_OF] = { .kind = CALL_OTHER, .other = func_max_of },
    [PROMQL_FN_MAX_OVER_TIME] = { .kind = CALL_RANGE, .range = range_max, .bucket = bucket_max },
    [PROMQL_FN_MIN_OF] = { .kind = CALL_OTHER, .other = func_min_of },
    [PROMQL_FN_MIN_OVER_TIME] = { .kind = CALL_RANGE, .range = range_min, .bucket = bucket_min },
    [PROMQL_FN_MINUTE] = { .kind = CALL_DATE, .date = date_minute, .depends_on_time = true },
    [PROMQL_FN_MONTH] = { .kind = CALL_DATE, .date = date_month, .depends_on_time = true },
    [PROMQL_FN_PI] = { .kind = CALL_OTHER, .other = func_pi },
    [PROMQL_FN_PREDICT_LINEAR] = { .kind = CALL_RANGE,
                                   .window = window_predict_linear,
                                   .depends_on_time = true },
    [PROMQL_FN_PRESENT_OVER_TIME] = { .kind = CALL_RANGE,
                                      .window = window_present,
                                      .bucket = bucket_present },
    [PROMQL_FN_QUANTILE_OVER_TIME] = { .kind = CALL_RANGE, .window = window_quantile },
    [PROMQL_FN_RAD] = { .kind = CALL_MATH, .math = math_rad },
    [PROMQL_FN_RANGE] = { .kind = CALL_FOLDED },
    [PROMQL_FN_RATE] = { .kind = CALL_RANGE,
                         .range = range_rate,
                         .bucket = bucket_rate,
                         .reach = REACH_SMOOTHED,
                         .wants_counter = true },
    [PROMQL_FN_RESETS] = { .kind = CALL_RANGE, .range = range_resets, .reach = REACH_ANCHORED },
    [PROMQL_FN_ROUND] = { .kind = CALL_OTHER, .other = func_round },
    [PROMQL_FN_SCALAR] = { .kind = CALL_OTHER, .other = func_scalar },
    [PROMQL_FN_SGN] = { .kind = CALL_MATH, .math = math_sgn },
    [PROMQL_FN_SIN] = { .kind = CALL_MATH, .math = sin },
    [PROMQL_FN_SINH] = { .kind = CALL_MATH, .math = sinh },
    [PROMQL_FN_SORT] = { .kind = CALL_OTHER, .other = func_sort, .keeps_name = true },
    [PROMQL_FN_SORT_BY_LABEL] = { .kind = CALL_OTHER,
                                  .other = func_sort_by_label,
                                  .keeps_name = true },
    [PROMQL_FN_SORT_BY_LABEL_DESC] = { .kind = CALL_OTHER,
                                       .other = func_sort_by_label,
                                       .keeps_name = true },
    [PROMQL_FN_SORT_DESC] = { .kind = CALL_OTHER, .other = func_sort, .keeps_name = true },
    [PROMQL_FN_SQRT] = { .kind = CALL_MATH, .math = sqrt },
    [PROMQL_FN_START] = { .kind = CALL_FOLDED },
    [PROMQL_FN_START_TIMESTAMP] = { .kind = CALL_OTHER, .other = func_start_timestamp },
    [PROMQL_FN_STDDEV_OVER_TIME] = { .kind = CALL_RANGE, .window = window_stddev },
    [PROMQL_FN_STDVAR_OVER_TIME] = { .kind = CALL_RANGE, .window = window_stdvar },
    [PROMQL_FN_STEP] = { .kind = CALL_FOLDED },
    [PROMQL_FN_SUM_OVER_TIME] = { .kind = CALL_RANGE, .range = range_sum, .bucket = bucket_sum },
    [PROMQL_FN_TAN] = { .kind = CALL_MATH, .math = tan },
    [PROMQL_FN_TANH] = { .kind = CALL_MATH, .math = tanh },
    [PROMQL_FN_TIME] = { .kind = CALL_OTHER, .other = func_time, .depends_on_time = true },
    [PROMQL_FN_TIMESTAMP] = { .kind = CALL_OTHER,
                              .other = func_timestamp,
                              .depends_on_time = true },
    [PROMQL_FN_TS_OF_FIRST_OVER_TIME] = { .kind = CALL_RANGE,
                                          .window = window_ts_of_first,
                                          .bucket = bucket_ts_of_first },
    [PROMQL_FN_TS_OF_LAST_OVER_TIME] = { .kind = CALL_RANGE,
                                         .window = window_ts_of_last,
                                         .bucket = bucket_ts_of_last },
    [PROMQL_FN_TS_OF_MAX_OVER_TIME] = { .kind = CALL_RANGE, .window = window_ts_of_max },
    [PROMQL_FN_TS_OF_MIN_OVER_TIME] = { .kind = CALL_RANGE, .window = window_ts_of_min },
    [PROMQL_FN_VECTOR] = { .kind = CALL_OTHER, .other = func_vector },
    [PROMQL_FN_YEAR] = { .kind = CALL_DATE, .date = date_year, .depends_on_time = true },
};

bool call_depends_on_time(uint8_t function_id) {
    assert(function_id < PROMQL_FN_COUNT);
    return function_defs[function_id].depends_on_time;
}

struct str call_string_arg(const struct node *node, size_t index) {
    assert(index < node->arg_count && node->args[index]->kind == NODE_STRING);
    return node->args[index]->expr->string;
}

bool eval_call(struct eval *eval,
               const struct node *node,
               const struct steps *steps,
               const struct sink *sink,
               struct err *err) {
    uint8_t id = node->expr->call.function->id;
    assert(id < PROMQL_FN_COUNT);
    const struct function_def *def = &function_defs[id];
    switch (def->kind) {
    case CALL_MATH: {
        struct value_map map = { .apply = value_map_math, .math = def->math, .steps = steps };
        return value_map_stream(eval, node->args[0], steps, &map, sink, err);
    }
    case CALL_DATE: return func_date(eval, node, steps, sink, err);
    case CALL_RANGE: return eval_range_call(eval, node, steps, sink, err);
    case CALL_OTHER: return def->other(eval, node, steps, sink, err);
    case CALL_NONE:
    case CALL_FOLDED: break;
    }
    BUG("function %s has no evaluator", node->expr->call.function->name);
}
