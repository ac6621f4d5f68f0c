/*
 * Calls of range functions: per series one look at the column of samples, all steps at once, result
 * straight on to the consumer.
 */
#include <assert.h>

#include "promql/eval_call.h"
#include "promql/func_extended.h"

struct range_runner {
    struct range_call call;
    const struct function_def *def;
    const struct sink *sink;
    struct step_series *out;
    bool checks_labels; /* dropped names may have been all that told two series apart */
    struct lset_index seen;
    struct str noted_name; /* metric last reported as no counter */
};

static bool looks_like_counter(const struct eval *eval, struct labels labels, struct str name) {
    if (eval->query->features.type_and_unit_labels) {
        struct str type = labels_get(labels, STR("__type__"));
        return str_eq(type, STR("counter")) || str_eq(type, STR("histogram"));
    }
    return str_ends_with(name, STR("_total")) || str_ends_with(name, STR("_sum")) ||
           str_ends_with(name, STR("_count")) || str_ends_with(name, STR("_bucket"));
}

static void note_no_counter(struct range_runner *runner, struct labels labels) {
    struct eval *eval = runner->call.eval;
    struct str name = labels_get(labels, METRIC_NAME);
    if (name.len == 0 || str_eq(name, runner->noted_name) ||
        looks_like_counter(eval, labels, name)) {
        return;
    }
    uint32_t pos = range_call_pos(&runner->call);
    struct str quoted = note_quote(&eval->notes, name);
    if (!eval->query->features.type_and_unit_labels) {
        runner->noted_name = name;
        note_add(&eval->notes, NOTE_INFO, pos,
                 "metric might not be a counter, name does not end in "
                 "_total/_sum/_count/_bucket: %.*s",
                 STR_FMT(quoted));
        return;
    }
    struct str type = note_quote(&eval->notes, labels_get(labels, STR("__type__")));
    note_add(&eval->notes, NOTE_INFO, pos,
             "metric might not be a counter, __type__ label is not set to \"counter\" or "
             "\"histogram\", got %.*s: %.*s",
             STR_FMT(type), STR_FMT(quoted));
}

static bool check_labels(struct range_runner *runner, struct labels labels, struct err *err) {
    if (!runner->checks_labels) {
        return true;
    }
    bool is_new;
    lset_index_add(&runner->seen, labels, true, &is_new);
    return is_new || duplicate_labelset(err);
}

/* runner->out was filled from what is described by call->frame: account, name, pass on. */
static bool pass_on(struct range_runner *runner,
                    struct labels labels,
                    bool drops_name,
                    struct err *err) {
    struct range_call *call = &runner->call;
    struct eval *eval = call->eval;
    struct step_series *out = runner->out;
    eval->samples_total += call->frame->total;
    range_call_account(call, out->count);
    out->labels = labels;
    out->drops_name = drops_name;
    if (!runner->def->keeps_name) {
        eval_drop_name(eval, out);
    }
    if (out->count == 0) {
        return true;
    }
    if (runner->def->wants_counter) {
        note_no_counter(runner, labels);
    }
    return check_labels(runner, out->labels, err) && eval_fits(eval, call->peak, err) &&
           sink_take(runner->sink, out, err);
}

static bool take_range(void *ctx, const struct range_series *series, struct err *err) {
    struct range_runner *runner = ctx;
    struct range_call *call = &runner->call;
    step_series_clear(runner->out, call->steps);
    arena_reset(&call->scratch);
    call->buffer = NULL;
    call->frame = window_frame_get(call, series);
    bool is_ok = runner->def->range != NULL
                     ? runner->def->range(call, series, runner->out, err)
                     : window_apply(call, runner->def->window, series, runner->out, err);
    return is_ok && pass_on(runner, series->labels, series->drops_name, err);
}

/* The same over the buckets of rollups. */
static bool stream_buckets(struct range_runner *runner,
                           const struct rollup_use *use,
                           struct err *err) {
    struct range_call *call = &runner->call;
    struct eval *eval = call->eval;
    const struct node *arg = call->arg;
    if (!selection_load(eval, arg, err)) {
        return false;
    }
    int64_t first_ms = rollup_reference_ms(use, arg, call->steps->start_ms) -
                       rollup_reach_ms(use, arg->range_ms) + use->resolution_ms;
    int64_t last_ms = rollup_reference_ms(use, arg, steps_at(call->steps, call->steps->count - 1));
    struct tsdb_buckets buckets = { 0 };
    struct window_frame frame = { 0 };
    call->frame = &frame;
    bool is_ok = true;
    for (size_t i = 0; is_ok && i < arg->selection->count; i++) {
        const struct tsdb_series_view *view = &arg->selection->views[i];
        is_ok = tsdb_read_buckets(eval->querier, view->id, use->resolution_ms, first_ms, last_ms,
                                  &buckets, err) &&
                eval_work(eval, buckets.count + call->steps->count, err);
        if (is_ok && buckets.count > 0) {
            step_series_clear(runner->out, call->steps);
            rollup_fill_range(use, call, runner->def->bucket, &buckets, &frame, runner->out);
            is_ok = pass_on(runner, view->labels, false, err);
        }
    }
    call->frame = NULL;
    tsdb_buckets_finish(&buckets);
    return is_ok;
}

static bool stream_series(struct range_runner *runner, struct err *err) {
    struct range_call *call = &runner->call;
    const struct node *arg = call->arg;
    if (runner->def->bucket != NULL && arg->kind == NODE_RANGE && arg->range_ms > 0 &&
        !range_is_extended(arg)) {
        struct rollup_use use = rollup_use_get(call->eval, arg, call->steps, arg->range_ms);
        if (use.resolution_ms != 0) {
            return stream_buckets(runner, &use, err);
        }
    }
    struct range_sink take = { .take = take_range, .ctx = runner };
    return eval_range_stream(call->eval, arg, call->steps, false, &take, err);
}

bool range_call_check_reach(const struct node *node, const struct node *arg, struct err *err) {
    if (arg->kind != NODE_RANGE) {
        return true;
    }
    const struct promql_function *function = node->expr->call.function;
    enum call_reach reach = function_defs[function->id].reach;
    if (arg->expr->selector.is_anchored && reach < REACH_ANCHORED) {
        return err_set(err, ERR_EXEC,
                       "anchored modifier can only be used with: changes, delta, increase, rate, "
                       "resets - not with %s",
                       function->name);
    }
    if (arg->expr->selector.is_smoothed && reach < REACH_SMOOTHED) {
        return err_set(err, ERR_EXEC,
                       "smoothed modifier can only be used with: delta, increase, rate - not "
                       "with %s",
                       function->name);
    }
    return true;
}

/* The scalar arguments, in the order written. */
static bool eval_scalars(struct range_runner *runner,
                         struct step_matrix *scratch,
                         struct err *err) {
    struct range_call *call = &runner->call;
    size_t count = 0;
    for (size_t i = 0; i < call->node->arg_count; i++) {
        const struct node *arg = call->node->args[i];
        if (arg == call->arg) {
            continue;
        }
        assert(count < ARRAY_LEN(call->scalars));
        if (!eval_scalar(call->eval, arg, call->steps, &scratch->arena, &call->scalars[count++],
                         err)) {
            return false;
        }
    }
    return true;
}

static bool needs_label_check(struct eval *eval,
                              const struct function_def *def,
                              const struct node *arg,
                              bool *ret,
                              struct err *err) {
    *ret = false;
    if (eval->delays_name_removal || (def->keeps_name && arg->kind == NODE_RANGE)) {
        return true;
    }
    bool is_unique;
    if (!eval_is_unique_sans_name(eval, arg, &is_unique, err)) {
        return false;
    }
    *ret = !is_unique;
    return true;
}

bool eval_range_call(struct eval *eval,
                     const struct node *node,
                     const struct steps *steps,
                     const struct sink *sink,
                     struct err *err) {
    const struct node *arg = NULL;
    for (size_t i = 0; i < node->arg_count && arg == NULL; i++) {
        arg = node->args[i]->type == PROMQL_MATRIX ? node->args[i] : NULL;
    }
    assert(arg != NULL);
    struct range_runner runner = {
        .def = &function_defs[node->expr->call.function->id],
        .sink = sink,
    };
    struct step_matrix scratch;
    step_matrix_init(&scratch, eval, steps);
    range_call_init(&runner.call, eval, node, arg, steps);
    lset_index_init(&runner.seen, &scratch.arena);
    bool is_ok = range_call_check_reach(node, arg, err) &&
                 needs_label_check(eval, runner.def, arg, &runner.checks_labels, err) &&
                 step_matrix_new(&scratch, (struct labels){ 0 }, &runner.out, err) &&
                 eval_scalars(&runner, &scratch, err);
    if (is_ok) {
        uint64_t mark = eval->samples_now;
        is_ok = stream_series(&runner, err) && eval_touch(eval, runner.call.peak, err);
        eval->samples_now = mark + runner.call.produced;
    }
    range_call_finish(&runner.call);
    step_matrix_finish(&scratch);
    return is_ok;
}
