/*
 * Evaluation: set-up, dispatch over plan nodes, collecting streams.
 *
 * Sample accounting follows upstream: every node adds what it produces to samples_now, and whoever
 * consumes a node releases the node's samples once its own result stands.
 */
#include "promql/eval.h"

#include <assert.h>

#include "promql/eval_labels.h"
#include "promql/eval_result.h"

static const int64_t LOOKBACK_MS_DEFAULT = 5 * 60 * 1000;
static const int64_t SUBQUERY_STEP_MS_DEFAULT = 60 * 1000;
static const uint64_t SAMPLES_MAX_DEFAULT = 50 * 1000 * 1000;

/* ---- small nodes ---- */

/* One series without labels and the same value everywhere. */
static bool stream_constant(struct eval *eval,
                            double value,
                            const struct steps *steps,
                            const struct sink *sink,
                            struct err *err) {
    struct step_matrix matrix;
    struct step_series *series;
    step_matrix_init(&matrix, eval, steps);
    bool is_ok = step_matrix_new(&matrix, (struct labels){ 0 }, &series, err);
    if (is_ok) {
        for (size_t i = 0; i < steps->count; i++) {
            series->values[i] = value;
        }
        bits_fill(series->present, steps->count);
        series->count = steps->count;
        is_ok = eval_hold(eval, steps->count, err) && sink_take(sink, series, err);
    }
    step_matrix_finish(&matrix);
    return is_ok;
}

static bool eval_number(struct eval *eval,
                        const struct node *node,
                        const struct steps *steps,
                        const struct sink *sink,
                        struct err *err) {
    return stream_constant(eval, node->number, steps, sink, err);
}

struct repeater {
    const struct sink *sink;
    const struct steps *steps;
    struct step_series series;
    uint64_t repeated; /* samples beyond the first step's */
};

static bool repeat_series(void *ctx, const struct step_series *once, struct err *err) {
    struct repeater *repeater = ctx;
    size_t count = repeater->steps->count;
    struct step_series *series = &repeater->series;
    for (size_t i = 0; i < count; i++) {
        series->values[i] = once->values[0];
    }
    bits_fill(series->present, count);
    series->count = count;
    series->labels = once->labels;
    series->drops_name = once->drops_name;
    repeater->repeated += count - 1;
    return sink_take(repeater->sink, series, err);
}

static bool eval_invariant(struct eval *eval,
                           const struct node *node,
                           const struct steps *steps,
                           const struct sink *sink,
                           struct err *err) {
    struct steps once = *steps;
    once.count = 1;
    once.end_ms = once.start_ms;
    if (steps->count == 1) {
        return eval_stream(eval, node->args[0], &once, sink, err);
    }
    struct step_matrix scratch;
    step_matrix_init(&scratch, eval, steps);
    struct step_series *series;
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &series, err);
    if (is_ok) {
        struct repeater repeater = { .sink = sink, .steps = steps, .series = *series };
        struct sink repeat = { .take = repeat_series, .ctx = &repeater };
        uint64_t total_before = eval->samples_total;
        is_ok = eval_stream(eval, node->args[0], &once, &repeat, err) &&
                eval_hold(eval, repeater.repeated, err);
        eval->samples_total += (eval->samples_total - total_before) * (steps->count - 1);
    }
    step_matrix_finish(&scratch);
    return is_ok;
}

static bool eval_misplaced(struct eval *eval,
                           const struct node *node,
                           const struct steps *steps,
                           const struct sink *sink,
                           struct err *err) {
    (void)eval;
    (void)steps;
    (void)sink;
    return err_set(err, ERR_EXEC, "a %s cannot be evaluated here",
                   promql_type_to_string(node->type));
}

/* ---- dispatch ---- */

static node_eval_fn *const node_fns[] = {
    [NODE_NUMBER] = eval_number,      [NODE_STRING] = eval_misplaced,
    [NODE_SELECTOR] = eval_selector,  [NODE_RANGE] = eval_misplaced,
    [NODE_SUBQUERY] = eval_misplaced, [NODE_UNARY] = eval_unary,
    [NODE_BINARY] = eval_binary,      [NODE_AGGREGATE] = eval_aggregate,
    [NODE_CALL] = eval_call,          [NODE_INVARIANT] = eval_invariant,
};
static_assert(ARRAY_LEN(node_fns) == NODE_KIND_COUNT, "one evaluator per kind");

bool eval_stream(struct eval *eval,
                 const struct node *node,
                 const struct steps *steps,
                 const struct sink *sink,
                 struct err *err) {
    if (steps->count == 0) {
        return true;
    }
    if (arena_is_over(&eval->arena)) {
        return eval_too_many_bytes(eval, err);
    }
    return eval_work(eval, steps->count, err) && node_fns[node->kind](eval, node, steps, sink, err);
}

/* ---- collecting ---- */

static bool collect_series(void *ctx, const struct step_series *series, struct err *err) {
    struct step_matrix *matrix = ctx;
    return step_matrix_copy(matrix, series, err);
}

bool eval_collect(struct eval *eval,
                  const struct node *node,
                  const struct steps *steps,
                  struct step_matrix *ret,
                  struct err *err) {
    step_matrix_init(ret, eval, steps);
    struct sink sink = { .take = collect_series, .ctx = ret };
    return eval_stream(eval, node, steps, &sink, err);
}

void merger_init(struct merger *merger, struct eval *eval, const struct steps *steps) {
    step_matrix_init(&merger->matrix, eval, steps);
    lset_index_init(&merger->index, &merger->matrix.arena);
}

bool merger_take(void *ctx, const struct step_series *series, struct err *err) {
    struct merger *merger = ctx;
    bool is_new;
    size_t number = lset_index_add(&merger->index, series->labels, true, &is_new);
    if (is_new) {
        assert(number == merger->matrix.count);
        return step_matrix_copy(&merger->matrix, series, err);
    }
    merger->matrix.samples += series->count;
    return step_series_merge(&merger->matrix.series[number], series, &merger->matrix.steps, err);
}

bool eval_collect_merged(struct eval *eval,
                         const struct node *node,
                         const struct steps *steps,
                         struct step_matrix *ret,
                         struct err *err) {
    struct merger merger;
    merger_init(&merger, eval, steps);
    struct sink sink = { .take = merger_take, .ctx = &merger };
    bool is_ok = eval_stream(eval, node, steps, &sink, err);
    *ret = merger.matrix;
    return is_ok;
}

bool matrix_stream(const struct step_matrix *matrix, const struct sink *sink, struct err *err) {
    for (size_t i = 0; i < matrix->count; i++) {
        if (!sink_take(sink, &matrix->series[i], err)) {
            return false;
        }
    }
    return true;
}

struct scalar_taker {
    double *values;
    const struct steps *steps;
};

static bool take_scalar(void *ctx, const struct step_series *series, struct err *err) {
    struct scalar_taker *taker = ctx;
    (void)err;
    assert(series->count == taker->steps->count);
    memcpy(taker->values, series->values, taker->steps->count * sizeof(taker->values[0]));
    return true;
}

bool eval_scalar(struct eval *eval,
                 const struct node *node,
                 const struct steps *steps,
                 struct arena *arena,
                 double **ret,
                 struct err *err) {
    struct scalar_taker taker = {
        .values = arena_calloc(arena, steps->count, sizeof(double)),
        .steps = steps,
    };
    struct sink sink = { .take = take_scalar, .ctx = &taker };
    *ret = taker.values;
    return eval_stream(eval, node, steps, &sink, err);
}

/* ---- entry ---- */

static bool open_querier(struct eval *eval,
                         const struct node *root,
                         const struct steps *steps,
                         struct err *err) {
    int64_t min_ms;
    int64_t max_ms;
    if (!plan_time_range(eval, root, steps, &min_ms, &max_ms)) {
        return true;
    }
    size_t rollup_count;
    const struct tsdb_rollup *rollups = tsdb_rollups(eval->query->db, &rollup_count);
    if (rollup_count > 0) {
        /* Windows that are widened to whole buckets reach further back. */
        min_ms -= 2 * rollups[rollup_count - 1].resolution_ms;
    }
    return tsdb_querier_open(eval->query->db, min_ms, max_ms, eval->query->overlay, &eval->querier,
                             err);
}

static bool check_times(const struct promql_query *query, struct err *err) {
    if (query->start_ms < -EVAL_TIME_MS_MAX || query->start_ms > EVAL_TIME_MS_MAX ||
        query->end_ms < -EVAL_TIME_MS_MAX || query->end_ms > EVAL_TIME_MS_MAX) {
        return err_set(err, ERR_INVALID, "the time of the query is too far from the present");
    }
    return true;
}

static bool run(struct eval *eval,
                const struct promql_expr *expr,
                struct arena *arena,
                struct promql_result *ret,
                struct err *err) {
    const struct promql_query *query = eval->query;
    bool is_range = query->step_ms > 0;
    if (is_range && expr->type != PROMQL_SCALAR && expr->type != PROMQL_VECTOR) {
        return err_set(err, ERR_INVALID,
                       "invalid expression type \"%s\" for range query, must be Scalar or "
                       "instant Vector",
                       promql_type_to_string(expr->type));
    }
    struct steps steps = steps_make(query->start_ms, query->end_ms, is_range ? query->step_ms : 1);
    if (!check_times(query, err) || !eval_check_steps(&steps, err)) {
        return false;
    }
    struct node *root;
    return plan_build(eval, expr, &root, err) && plan_finish(eval, &root, err) &&
           open_querier(eval, root, &steps, err) &&
           result_build(eval, root, &steps, arena, ret, err);
}

bool promql_eval(const struct promql_query *query,
                 const struct promql_expr *expr,
                 struct arena *arena,
                 struct promql_result *ret,
                 struct err *err) {
    assert(query->step_ms >= 0);
    size_t bytes_max =
        arena->bytes_used < arena->bytes_max ? arena->bytes_max - arena->bytes_used : 0;
    struct eval eval = {
        .query = query,
        .lookback_ms = query->lookback_ms > 0 ? query->lookback_ms : LOOKBACK_MS_DEFAULT,
        .subquery_step_ms =
            query->subquery_step_ms > 0 ? query->subquery_step_ms : SUBQUERY_STEP_MS_DEFAULT,
        .delays_name_removal = query->features.delayed_name_removal,
        .samples_max = query->samples_max > 0 ? query->samples_max : SAMPLES_MAX_DEFAULT,
        .bytes_max = bytes_max,
    };
    arena_init(&eval.arena, bytes_max);
    annotations_init(&eval.notes, &eval.arena);
    struct promql_result result = { 0 };
    bool is_ok = run(&eval, expr, arena, &result, err);
    if (is_ok) {
        *ret = result;
    }
    tsdb_querier_close(eval.querier);
    annotations_finish(&eval.notes);
    arena_finish(&eval.arena);
    assert(eval.bytes_held == 0);
    return is_ok;
}
