/* absent() and absent_over_time(): 1 where nothing is, with the labels the selector asked for. */
#include "promql/eval_call.h"

/* The labels a selector fixes: equality matchers, unless a label is matched more than once. */
static struct labels absent_labels(struct eval *eval, const struct node *arg) {
    struct labels labels = { 0 };
    if (arg->kind != NODE_SELECTOR && arg->kind != NODE_RANGE) {
        return labels;
    }
    const struct promql_expr *expr = arg->expr;
    for (size_t i = 0; i < expr->selector.matcher_count; i++) {
        const struct matcher *matcher = &expr->selector.matchers[i];
        if (str_eq(matcher->name, METRIC_NAME)) {
            continue;
        }
        bool was_seen = false;
        for (size_t k = 0; k < i; k++) {
            const struct matcher *other = &expr->selector.matchers[k];
            was_seen = was_seen || (other->type == MATCH_EQ && str_eq(other->name, matcher->name));
        }
        bool is_fixed = matcher->type == MATCH_EQ && !was_seen;
        labels = lset_with(labels, matcher->name, is_fixed ? matcher->value : (struct str){ 0 },
                           &eval->arena);
    }
    return labels;
}

struct presence {
    const struct steps *steps;
    uint64_t *present;
    uint64_t gathered;
};

static bool take_vector(void *ctx, const struct step_series *series, struct err *err) {
    struct presence *presence = ctx;
    (void)err;
    bits_or(presence->present, series->present, presence->steps->count);
    presence->gathered += bit_get(series->present, presence->steps->count - 1);
    return true;
}

/* A series that is 1 at every step not in `present`. */
static void fill_absence(struct eval *eval,
                         const struct node *node,
                         const struct presence *presence,
                         struct step_series *series) {
    series->labels = absent_labels(eval, node->args[0]);
    for (size_t i = 0; i < presence->steps->count; i++) {
        if (!bit_get(presence->present, i)) {
            step_series_set(series, i, 1);
        }
    }
}

bool func_absent(struct eval *eval,
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
        struct presence presence = {
            .steps = steps,
            .present = arena_calloc(&scratch.arena, bits_words(steps->count), sizeof(uint64_t)),
        };
        struct sink take = { .take = take_vector, .ctx = &presence };
        is_ok = eval_stream(eval, node->args[0], steps, &take, err);
        fill_absence(eval, node, &presence, series);
        is_ok = is_ok && eval_account(eval, mark, presence.gathered, series->count, err) &&
                sink_take(sink, series, err);
    }
    step_matrix_finish(&scratch);
    return is_ok;
}

/* ---- absent_over_time ---- */

struct range_presence {
    struct presence presence;
    struct range_call call;
};

static bool take_range(void *ctx, const struct range_series *series, struct err *err) {
    struct range_presence *range = ctx;
    struct range_call *call = &range->call;
    call->frame = window_frame_get(call, series);
    call->eval->samples_total += call->frame->total;
    size_t found = 0;
    for (size_t i = 0; i < call->steps->count; i++) {
        if (call->frame->lo[i] != call->frame->hi[i]) {
            bit_set(range->presence.present, i);
            found++;
        }
    }
    range_call_account(call, found);
    return eval_fits(call->eval, call->peak, err);
}

bool func_absent_over_time(struct eval *eval,
                           const struct node *node,
                           const struct steps *steps,
                           const struct sink *sink,
                           struct err *err) {
    uint64_t mark = eval->samples_now;
    struct step_matrix scratch;
    struct step_series *series;
    step_matrix_init(&scratch, eval, steps);
    struct range_presence range = { .presence = { .steps = steps } };
    range_call_init(&range.call, eval, node, node->args[0], steps);
    bool is_ok = range_call_check_reach(node, node->args[0], err) &&
                 step_matrix_new(&scratch, (struct labels){ 0 }, &series, err);
    if (is_ok) {
        range.presence.present =
            arena_calloc(&scratch.arena, bits_words(steps->count), sizeof(uint64_t));
        struct range_sink take = { .take = take_range, .ctx = &range };
        is_ok = eval_range_stream(eval, node->args[0], steps, false, &take, err) &&
                eval_touch(eval, range.call.peak, err);
        /* Upstream holds a 1 per series and step until the consumer is done. */
        eval->samples_now = mark + range.call.produced;
        fill_absence(eval, node, &range.presence, series);
        is_ok = is_ok && sink_take(sink, series, err);
    }
    range_call_finish(&range.call);
    step_matrix_finish(&scratch);
    return is_ok;
}
