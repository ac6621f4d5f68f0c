/* Functions that give a scalar, or make a vector of one: time, pi, scalar, vector, max_of. */
#include <math.h>

#include "promql/eval_call.h"

/* Stream one series with a value at every step, computed by `value`. */
struct scalar_source {
    double (*value)(const struct scalar_source *source, size_t step);
    const struct steps *steps;
    const double *args[2];
};

static bool stream_scalar(struct eval *eval,
                          const struct node *node,
                          const struct steps *steps,
                          struct scalar_source *source,
                          const struct sink *sink,
                          struct err *err) {
    uint64_t mark = eval->samples_now;
    struct step_matrix scratch;
    struct step_series *series;
    step_matrix_init(&scratch, eval, steps);
    source->steps = steps;
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &series, err);
    for (size_t i = 0; i < node->arg_count && is_ok; i++) {
        double *values;
        is_ok = eval_scalar(eval, node->args[i], steps, &scratch.arena, &values, err);
        source->args[i] = values;
    }
    if (is_ok) {
        for (size_t i = 0; i < steps->count; i++) {
            step_series_set(series, i, source->value(source, i));
        }
        is_ok = eval_account(eval, mark, node->arg_count, steps->count, err) &&
                sink_take(sink, series, err);
    }
    step_matrix_finish(&scratch);
    return is_ok;
}

static double value_time(const struct scalar_source *source, size_t step) {
    return (double)steps_at(source->steps, step) / 1000;
}

bool func_time(struct eval *eval,
               const struct node *node,
               const struct steps *steps,
               const struct sink *sink,
               struct err *err) {
    struct scalar_source source = { .value = value_time };
    return stream_scalar(eval, node, steps, &source, sink, err);
}

static double value_pi(const struct scalar_source *source, size_t step) {
    (void)source;
    (void)step;
    return M_PI;
}

bool func_pi(struct eval *eval,
             const struct node *node,
             const struct steps *steps,
             const struct sink *sink,
             struct err *err) {
    struct scalar_source source = { .value = value_pi };
    return stream_scalar(eval, node, steps, &source, sink, err);
}

static double value_max(const struct scalar_source *source, size_t step) {
    return go_max(source->args[0][step], source->args[1][step]);
}

bool func_max_of(struct eval *eval,
                 const struct node *node,
                 const struct steps *steps,
                 const struct sink *sink,
                 struct err *err) {
    struct scalar_source source = { .value = value_max };
    return stream_scalar(eval, node, steps, &source, sink, err);
}

static double value_min(const struct scalar_source *source, size_t step) {
    return go_min(source->args[0][step], source->args[1][step]);
}

bool func_min_of(struct eval *eval,
                 const struct node *node,
                 const struct steps *steps,
                 const struct sink *sink,
                 struct err *err) {
    struct scalar_source source = { .value = value_min };
    return stream_scalar(eval, node, steps, &source, sink, err);
}

static double value_same(const struct scalar_source *source, size_t step) {
    return source->args[0][step];
}

bool func_vector(struct eval *eval,
                 const struct node *node,
                 const struct steps *steps,
                 const struct sink *sink,
                 struct err *err) {
    struct scalar_source source = { .value = value_same };
    return stream_scalar(eval, node, steps, &source, sink, err);
}

/* ---- scalar(): the only value of a vector ---- */

struct single_value {
    const struct steps *steps;
    double *values;
    uint64_t *seen;
    uint64_t *ambiguous;
    uint64_t gathered;
};

static bool take_single(void *ctx, const struct step_series *series, struct err *err) {
    struct single_value *single = ctx;
    const struct steps *steps = single->steps;
    (void)err;
    for (size_t word = 0; word < bits_words(steps->count); word++) {
        single->ambiguous[word] |= single->seen[word] & series->present[word];
        single->seen[word] |= series->present[word];
    }
    for (size_t i = bits_next(series->present, 0, steps->count); i < steps->count;
         i = bits_next(series->present, i + 1, steps->count)) {
        single->values[i] = series->values[i];
    }
    single->gathered += bit_get(series->present, steps->count - 1);
    return true;
}

bool func_scalar(struct eval *eval,
                 const struct node *node,
                 const struct steps *steps,
                 const struct sink *sink,
                 struct err *err) {
    uint64_t mark = eval->samples_now;
    struct step_matrix scratch;
    struct step_series *series;
    step_matrix_init(&scratch, eval, steps);
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &series, err);
    if (is_ok) {
        size_t words = bits_words(steps->count);
        struct single_value single = {
            .steps = steps,
            .values = series->values,
            .seen = arena_calloc(&scratch.arena, words, sizeof(uint64_t)),
            .ambiguous = arena_calloc(&scratch.arena, words, sizeof(uint64_t)),
        };
        struct sink take = { .take = take_single, .ctx = &single };
        is_ok = eval_stream(eval, node->args[0], steps, &take, err);
        for (size_t i = 0; i < steps->count && is_ok; i++) {
            if (!bit_get(single.seen, i) || bit_get(single.ambiguous, i)) {
                series->values[i] = (double)NAN;
            }
        }
        bits_fill(series->present, steps->count);
        series->count = steps->count;
        is_ok = is_ok && eval_account(eval, mark, single.gathered, steps->count, err) &&
                sink_take(sink, series, err);
    }
    step_matrix_finish(&scratch);
    return is_ok;
}
