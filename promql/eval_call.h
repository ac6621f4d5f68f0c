/*
 * Functions: the dispatch table and what its entries are made of. Names and signatures stand in the
 * parser's table (functions_table.c); both are joined by enum promql_function_id.
 */
#pragma once

#include "promql/eval_rollup.h"

enum call_kind {
    CALL_NONE,   /* not a function: a gap in the table */
    CALL_MATH,   /* every value on its own */
    CALL_DATE,   /* as MATH, on the value as a time; without argument on the step's time */
    CALL_RANGE,  /* a range vector, series by series */
    CALL_OTHER,  /* has its own evaluator */
    CALL_FOLDED, /* a constant of the query; never evaluated */
};

/* How far range selectors may reach for a function. */
enum call_reach {
    REACH_PLAIN,
    REACH_ANCHORED, /* [5m] anchored, too */
    REACH_SMOOTHED, /* and smoothed */
};

struct moment;

struct function_def {
    enum call_kind kind;
    bool depends_on_time; /* the result may change with the step though the arguments do not */
    bool keeps_name;      /* the result has the names of the vector argument */
    bool makes_labels;    /* the result has labels of its own making */
    bool wants_counter;   /* RANGE: an info when the name does not look like a counter's */
    enum call_reach reach;
    double (*math)(double value);
    double (*date)(const struct moment *moment);
    range_eval_fn *range;   /* all steps at once … */
    window_eval_fn *window; /* … or one by one */
    bucket_eval_fn *bucket; /* the same from rollups; NULL: wants samples */
    node_eval_fn *other;
};

extern const struct function_def function_defs[PROMQL_FN_COUNT];

bool call_depends_on_time(uint8_t function_id);

/* ---- maps over the values of one vector argument (func_math.c) ---- */

struct value_map {
    /* False: no result at this step. */
    bool (*apply)(const struct value_map *map, size_t step, double *value);
    const struct steps *steps;
    const double *scalars[2];
    double (*math)(double value);
    double (*date)(const struct moment *moment);
    bool wants_times; /* of the selector's samples instead of their values */
    bool keeps_name;
    bool is_in_place;      /* upstream overwrites its input: no extra samples are held */
    size_t scalar_count;   /* looked at beside the vector at each step */
    uint64_t scalars_held; /* samples of the scalars; the stage accounts for them */
    bool is_scalar_first;  /* the scalar stands before the vector */
};

/* Stream arg's series with every present value changed, names dropped. */
WARN_UNUSED bool value_map_stream(struct eval *eval,
                                  const struct node *arg,
                                  const struct steps *steps,
                                  const struct value_map *map,
                                  const struct sink *sink,
                                  struct err *err);

/* ---- shared by the evaluators ---- */

struct str call_string_arg(const struct node *node, size_t index);

/* Go's math.Max and math.Min: NaN wins over everything but the infinity asked for. */
double go_max(double a, double b);
double go_min(double a, double b);

/* When info() looks at info series: the times its first argument's selector looks at. */
struct node info_reference(const struct node *arg);

/* The call of a range function (eval_call_range.c). */
node_eval_fn eval_range_call;
/* Whether the function takes an anchored or smoothed range; the error in upstream's words. */
WARN_UNUSED bool range_call_check_reach(const struct node *node,
                                        const struct node *arg,
                                        struct err *err);

/* ---- own evaluators (func_*.c) ---- */

node_eval_fn func_absent;
node_eval_fn func_absent_over_time;
node_eval_fn func_clamp;
node_eval_fn func_clamp_max;
node_eval_fn func_clamp_min;
node_eval_fn func_histogram_fraction;
node_eval_fn func_histogram_native;
node_eval_fn func_histogram_quantile;
node_eval_fn func_histogram_quantiles;
node_eval_fn func_info;
node_eval_fn func_label_join;
node_eval_fn func_label_replace;
node_eval_fn func_max_of;
node_eval_fn func_min_of;
node_eval_fn func_pi;
node_eval_fn func_round;
node_eval_fn func_scalar;
node_eval_fn func_sort;
node_eval_fn func_sort_by_label;
node_eval_fn func_start_timestamp;
node_eval_fn func_time;
node_eval_fn func_timestamp;
node_eval_fn func_vector;

/* ---- range functions (func_rate.c, func_over_time.c, …) ---- */

range_eval_fn range_changes;
range_eval_fn range_avg;
range_eval_fn range_count;
range_eval_fn range_delta;
range_eval_fn range_increase;
range_eval_fn range_max;
range_eval_fn range_min;
range_eval_fn range_rate;
range_eval_fn range_resets;
range_eval_fn range_smoothing;
range_eval_fn range_sum;

window_eval_fn window_deriv;
window_eval_fn window_first;
window_eval_fn window_idelta;
window_eval_fn window_irate;
window_eval_fn window_last;
window_eval_fn window_mad;
window_eval_fn window_predict_linear;
window_eval_fn window_present;
window_eval_fn window_quantile;
window_eval_fn window_stddev;
window_eval_fn window_stdvar;
window_eval_fn window_ts_of_first;
window_eval_fn window_ts_of_last;
window_eval_fn window_ts_of_max;
window_eval_fn window_ts_of_min;
