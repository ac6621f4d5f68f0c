/* Aggregations that look at all values of a step: quantile and count_values. */
#include <assert.h>
#include <math.h>

#include "base/float.h"
#include "promql/agg.h"
#include "promql/eval_call.h"
#include "promql/func_quantile.h"

/* ---- quantile ---- */

/* Series of each group in one array, group after group. */
struct members {
    const struct step_series **series;
    size_t *from; /* per group, and the end */
};

static struct members group_members(const struct step_matrix *input,
                                    struct grouping *grouping,
                                    struct arena *arena) {
    size_t *group_of = arena_alloc(arena, input->count * sizeof(group_of[0]));
    for (size_t i = 0; i < input->count; i++) {
        bool is_new;
        group_of[i] = grouping_of(grouping, input->series[i].labels, &is_new);
    }
    size_t groups = grouping->index.count;
    struct members members = {
        .series = arena_alloc(arena, input->count * sizeof(members.series[0])),
        .from = arena_calloc(arena, groups + 2, sizeof(members.from[0])),
    };
    /* from[g + 1] first counts group g, then runs ahead while g is filled. */
    for (size_t i = 0; i < input->count; i++) {
        members.from[group_of[i] + 2]++;
    }
    for (size_t g = 2; g < groups + 2; g++) {
        members.from[g] += members.from[g - 1];
    }
    for (size_t i = 0; i < input->count; i++) {
        members.series[members.from[group_of[i] + 1]++] = &input->series[i];
    }
    return members;
}

static bool quantile_group(struct eval *eval,
                           const struct steps *steps,
                           const struct step_series **series,
                           size_t count,
                           const double *quantiles,
                           double *buffer,
                           struct step_series *out,
                           struct err *err) {
    for (size_t i = 0; i < steps->count; i++) {
        size_t filled = 0;
        for (size_t k = 0; k < count; k++) {
            if (bit_get(series[k]->present, i)) {
                buffer[filled++] = series[k]->values[i];
            }
        }
        if (!eval_work(eval, count, err)) {
            return false;
        }
        if (filled > 0) {
            step_series_set(out, i, quantile_of(quantiles[i], buffer, filled));
        }
    }
    for (size_t k = 0; k < count; k++) {
        out->drops_name = out->drops_name || series[k]->drops_name;
    }
    return true;
}

static bool quantile_groups(struct eval *eval,
                            const struct node *node,
                            const struct step_matrix *input,
                            const struct agg_param *param,
                            struct step_matrix *output,
                            struct err *err) {
    struct grouping grouping;
    grouping_init(&grouping, node, (struct str){ 0 }, &eval->arena);
    struct members members = group_members(input, &grouping, &output->arena);
    double *buffer = arena_alloc(&output->arena, input->count * sizeof(buffer[0]));
    for (size_t g = 0; g < grouping.index.count; g++) {
        struct step_series *out;
        if (!step_matrix_new(output, grouping.index.keys[g], &out, err) ||
            !quantile_group(eval, &output->steps, members.series + members.from[g],
                            members.from[g + 1] - members.from[g], param->values, buffer, out,
                            err)) {
            return false;
        }
        output->samples += out->count;
    }
    return true;
}

bool agg_quantile(struct eval *eval,
                  const struct node *node,
                  const struct steps *steps,
                  const struct sink *sink,
                  struct err *err) {
    uint64_t mark = eval->samples_now;
    struct step_matrix input = { 0 };
    struct step_matrix output;
    struct agg_param param;
    step_matrix_init(&output, eval, steps);
    bool is_ok = agg_param_eval(eval, node, steps, &output.arena, &param, err) &&
                 eval_collect(eval, node->args[0], steps, &input, err);
    if (is_ok) {
        uint32_t pos = node->args[1]->expr->pos_start;
        if (param.has_nan) {
            quantile_check(eval, (double)NAN, pos);
        }
        if (param.max > 1) {
            quantile_check(eval, param.max, pos);
        }
        if (param.min < 0) {
            quantile_check(eval, param.min, pos);
        }
        is_ok = quantile_groups(eval, node, &input, &param, &output, err) &&
                eval_release_to(eval, mark, output.samples, err);
    }
    step_matrix_finish(&input);
    is_ok = is_ok && matrix_stream(&output, sink, err);
    step_matrix_finish(&output);
    return is_ok;
}

/* ---- count_values ---- */

struct value_counter {
    struct eval *eval;
    const struct steps *steps;
    struct str label;
    struct grouping grouping;
    struct step_matrix output;
    uint64_t gathered;
};

/* The group a value of a series counts for. */
static bool group_of_value(struct value_counter *counter,
                           struct labels labels,
                           double value,
                           size_t *ret,
                           struct err *err) {
    char text[FLOAT_TEXT_MAX];
    size_t len = float_to_text(value, text);
    struct str copy = arena_str(&counter->eval->arena, str_n(text, len));
    struct labels with = lset_with(labels, counter->label, copy, &counter->eval->arena);
    bool is_new;
    *ret = grouping_of(&counter->grouping, with, &is_new);
    struct step_series *out;
    return !is_new ||
           step_matrix_new(&counter->output, counter->grouping.index.keys[*ret], &out, err);
}

static bool count_series(void *ctx, const struct step_series *series, struct err *err) {
    struct value_counter *counter = ctx;
    size_t group = SIZE_MAX;
    uint64_t group_bits = 0;
    for (size_t i = bits_next(series->present, 0, counter->steps->count); i < counter->steps->count;
         i = bits_next(series->present, i + 1, counter->steps->count)) {
        uint64_t bits = double_bits(series->values[i]);
        if (group == SIZE_MAX || bits != group_bits) {
            if (!group_of_value(counter, series->labels, series->values[i], &group, err)) {
                return false;
            }
            group_bits = bits;
        }
        struct step_series *out = &counter->output.series[group];
        out->values[i]++;
        bit_set(out->present, i);
    }
    counter->gathered += bit_get(series->present, counter->steps->count - 1);
    if (arena_is_over(&counter->eval->arena)) {
        return eval_too_many_bytes(counter->eval, err);
    }
    return eval_work(counter->eval, series->count, err);
}

bool agg_count_values(struct eval *eval,
                      const struct node *node,
                      const struct steps *steps,
                      const struct sink *sink,
                      struct err *err) {
    struct str label = call_string_arg(node, 1);
    if (label.len == 0 || !str_is_utf8(label)) {
        struct str quoted = note_quote(&eval->notes, label);
        return err_set(err, ERR_EXEC, "invalid label name %.*s", STR_FMT(quoted));
    }
    uint64_t mark = eval->samples_now;
    struct value_counter counter = { .eval = eval, .steps = steps, .label = label };
    step_matrix_init(&counter.output, eval, steps);
    grouping_init(&counter.grouping, node, label, &eval->arena);
    struct sink count = { .take = count_series, .ctx = &counter };
    bool is_ok = eval_stream(eval, node->args[0], steps, &count, err);
    if (is_ok) {
        step_matrix_recount(&counter.output);
        is_ok = eval_account(eval, mark, counter.gathered, counter.output.samples, err) &&
                matrix_stream(&counter.output, sink, err);
    }
    step_matrix_finish(&counter.output);
    return is_ok;
}
