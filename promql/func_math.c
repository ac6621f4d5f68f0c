/* Functions of single values: abs and its kin, clamp, round, rad. */
#include "promql/func_math.h"

#include <assert.h>
#include <math.h>

double math_deg(double value) {
    return value * 180 / M_PI;
}

double math_rad(double value) {
    return value * M_PI / 180;
}

double math_sgn(double value) {
    return value < 0 ? -1 : value > 0 ? 1 : value;
}

double go_max(double a, double b) {
    if (isinf(a) && a > 0) {
        return a;
    }
    if (isinf(b) && b > 0) {
        return b;
    }
    if (isnan(a) || isnan(b)) {
        return (double)NAN;
    }
    if (a == 0 && a == b) {
        return signbit(a) ? b : a;
    }
    return a > b ? a : b;
}

double go_min(double a, double b) {
    if (isinf(a) && a < 0) {
        return a;
    }
    if (isinf(b) && b < 0) {
        return b;
    }
    if (isnan(a) || isnan(b)) {
        return (double)NAN;
    }
    if (a == 0 && a == b) {
        return signbit(a) ? a : b;
    }
    return a < b ? a : b;
}

/* ---- mapping a vector ---- */

struct map_runner {
    struct eval *eval;
    const struct node *arg;
    const struct steps *steps;
    const struct value_map *map;
    struct step_series *out;
    const struct sink *sink;
    uint64_t gathered; /* inputs at the last step */
    uint64_t produced;
};

static bool map_series(void *ctx, const struct step_series *series, struct err *err) {
    struct map_runner *runner = ctx;
    const struct steps *steps = runner->steps;
    struct step_series *out = runner->out;
    step_series_clear(out, steps);
    out->labels = series->labels;
    out->drops_name = series->drops_name;
    for (size_t i = bits_next(series->present, 0, steps->count); i < steps->count;
         i = bits_next(series->present, i + 1, steps->count)) {
        double value = series->values[i];
        if (runner->map->apply(runner->map, i, &value)) {
            step_series_set(out, i, value);
        }
    }
    if (!runner->map->keeps_name) {
        eval_drop_name(runner->eval, out);
    }
    runner->gathered += bit_get(series->present, steps->count - 1);
    runner->produced += out->count;
    return eval_work(runner->eval, steps->count, err) &&
           eval_fits(runner->eval, runner->produced, err) && sink_take(runner->sink, out, err);
}

static bool run_map(void *ctx, const struct sink *out, struct err *err) {
    struct map_runner *runner = ctx;
    runner->sink = out;
    struct sink sink = { .take = map_series, .ctx = runner };
    node_eval_fn *stream = runner->map->wants_times ? eval_selector_times : eval_stream;
    return stream(runner->eval, runner->arg, runner->steps, &sink, err);
}

bool value_map_stream(struct eval *eval,
                      const struct node *arg,
                      const struct steps *steps,
                      const struct value_map *map,
                      const struct sink *sink,
                      struct err *err) {
    uint64_t mark = eval->samples_now;
    eval->samples_now += map->is_scalar_first ? map->scalars_held : 0;
    struct step_matrix scratch;
    step_matrix_init(&scratch, eval, steps);
    struct map_runner runner = {
        .eval = eval,
        .arg = arg,
        .steps = steps,
        .map = map,
        .gathered = map->scalar_count,
    };
    struct dropping_stage stage = { .run = run_map, .ctx = &runner };
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &runner.out, err);
    if (map->keeps_name) {
        is_ok = is_ok && run_map(&runner, sink, err);
    } else {
        is_ok = is_ok && eval_dropping_names(eval, arg, steps, &stage, sink, err);
    }
    if (!map->is_in_place) {
        uint64_t scalars_held = map->is_scalar_first ? 0 : map->scalars_held;
        uint64_t gathered = runner.gathered + scalars_held;
        is_ok = is_ok && eval_account(eval, mark, gathered, runner.produced, err);
    }
    step_matrix_finish(&scratch);
    return is_ok;
}

bool value_map_math(const struct value_map *map, size_t step, double *value) {
    (void)step;
    *value = map->math(*value);
    return true;
}

/* ---- clamp, round ---- */

static bool map_clamp(const struct value_map *map, size_t step, double *value) {
    double min = map->scalars[0] == NULL ? -HUGE_VAL : map->scalars[0][step];
    double max = map->scalars[1] == NULL ? HUGE_VAL : map->scalars[1][step];
    if (max < min) {
        return false;
    }
    *value = go_max(min, go_min(max, *value));
    return true;
}

static bool map_round(const struct value_map *map, size_t step, double *value) {
    double to_nearest = map->scalars[0] == NULL ? 1 : map->scalars[0][step];
    /* Inverted as upstream, for the same rounding. */
    double inverse = 1.0 / to_nearest;
    *value = floor(*value * inverse + 0.5) / inverse;
    return true;
}

/* A map whose scalar arguments are at the given positions (0: none). */
static bool stream_with_scalars(struct eval *eval,
                                const struct node *node,
                                const struct steps *steps,
                                struct value_map map,
                                const size_t positions[2],
                                const struct sink *sink,
                                struct err *err) {
    struct step_matrix scratch;
    step_matrix_init(&scratch, eval, steps);
    bool is_ok = true;
    uint64_t mark = eval->samples_now;
    for (size_t i = 0; i < ARRAY_LEN(map.scalars) && is_ok; i++) {
        if (positions[i] == 0 || positions[i] >= node->arg_count) {
            continue;
        }
        double *values;
        is_ok = eval_scalar(eval, node->args[positions[i]], steps, &scratch.arena, &values, err);
        map.scalars[i] = values;
        map.scalar_count++;
    }
    map.steps = steps;
    map.scalars_held = eval->samples_now - mark;
    eval->samples_now = mark;
    is_ok = is_ok && value_map_stream(eval, node->args[0], steps, &map, sink, err);
    step_matrix_finish(&scratch);
    return is_ok;
}

bool func_clamp(struct eval *eval,
                const struct node *node,
                const struct steps *steps,
                const struct sink *sink,
                struct err *err) {
    struct value_map map = { .apply = map_clamp };
    return stream_with_scalars(eval, node, steps, map, (size_t[]){ 1, 2 }, sink, err);
}

bool func_clamp_max(struct eval *eval,
                    const struct node *node,
                    const struct steps *steps,
                    const struct sink *sink,
                    struct err *err) {
    struct value_map map = { .apply = map_clamp };
    return stream_with_scalars(eval, node, steps, map, (size_t[]){ 0, 1 }, sink, err);
}

bool func_clamp_min(struct eval *eval,
                    const struct node *node,
                    const struct steps *steps,
                    const struct sink *sink,
                    struct err *err) {
    struct value_map map = { .apply = map_clamp };
    return stream_with_scalars(eval, node, steps, map, (size_t[]){ 1, 0 }, sink, err);
}

bool func_round(struct eval *eval,
                const struct node *node,
                const struct steps *steps,
                const struct sink *sink,
                struct err *err) {
    struct value_map map = { .apply = map_round };
    return stream_with_scalars(eval, node, steps, map, (size_t[]){ 1, 0 }, sink, err);
}
