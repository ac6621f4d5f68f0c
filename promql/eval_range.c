/* Range vectors from the store and from subqueries. */
#include <assert.h>

#include "promql/eval_rollup.h"

void range_drop_stale(struct tsdb_column *column) {
    size_t kept = 0;
    while (kept < column->count && !is_stale(column->values[kept])) {
        kept++;
    }
    for (size_t i = kept; i < column->count; i++) {
        if (!is_stale(column->values[i])) {
            column->t_ms[kept] = column->t_ms[i];
            column->values[kept] = column->values[i];
            kept++;
        }
    }
    column->count = kept;
}

double range_interpolate(const int64_t *t_ms,
                         const double *values,
                         int64_t at_ms,
                         bool is_counter) {
    double from = values[0];
    double to = values[1];
    if (is_counter && to < from) {
        from = 0;
    }
    return from + (to - from) * (double)(at_ms - t_ms[0]) / (double)(t_ms[1] - t_ms[0]);
}

/* ---- selectors ---- */

static bool stream_selector(struct eval *eval,
                            const struct node *node,
                            const struct steps *steps,
                            struct tsdb_column *column,
                            const struct range_sink *sink,
                            struct err *err) {
    if (!selection_load(eval, node, err)) {
        return false;
    }
    struct range_reach reach = range_reach(eval, node);
    int64_t first_ms = node_reference_ms(node, steps->start_ms) - reach.before_ms + 1;
    int64_t last_ms = node_reference_ms(node, steps_at(steps, steps->count - 1)) + reach.after_ms;
    if (first_ms > last_ms) {
        return true; /* an empty range */
    }
    int64_t leftover_ms = node->selection->count > 0 ? rollup_leftover_ms(eval, first_ms) : 0;
    if (leftover_ms != 0) {
        rollup_note_leftover(eval, node, leftover_ms);
    }
    for (size_t i = 0; i < node->selection->count; i++) {
        const struct tsdb_series_view *view = &node->selection->views[i];
        if (!tsdb_read(eval->querier, view->id, first_ms, last_ms, column, err) ||
            !eval_work(eval, column->count + steps->count, err)) {
            return false;
        }
        range_drop_stale(column);
        if (leftover_ms != 0 &&
            !rollup_prepend(eval, view->id, leftover_ms, first_ms, column, err)) {
            return false;
        }
        if (column->count == 0) {
            continue;
        }
        struct range_series series = {
            .labels = view->labels,
            .t_ms = column->t_ms,
            .values = column->values,
            .count = column->count,
        };
        if (!sink->take(sink->ctx, &series, err)) {
            return false;
        }
    }
    return true;
}

/* ---- subqueries ---- */

struct subquery {
    struct eval *eval;
    const struct steps *steps;
    bool counts_inner;
    uint64_t total; /* samples looked at, without the inner expression's */
    int64_t *t_ms;
    double *values;
    const struct range_sink *sink;
};

static bool take_inner(void *ctx, const struct step_series *series, struct err *err) {
    struct subquery *subquery = ctx;
    const struct steps *steps = subquery->steps;
    size_t count = 0;
    for (size_t i = bits_next(series->present, 0, steps->count); i < steps->count;
         i = bits_next(series->present, i + 1, steps->count)) {
        subquery->t_ms[count] = steps_at(steps, i);
        subquery->values[count] = series->values[i];
        count++;
    }
    assert(count == series->count);
    struct range_series range = {
        .labels = series->labels,
        .t_ms = subquery->t_ms,
        .values = subquery->values,
        .count = count,
        .drops_name = series->drops_name,
    };
    if (!subquery->counts_inner) {
        subquery->eval->samples_total = subquery->total;
    }
    bool is_ok = subquery->sink->take(subquery->sink->ctx, &range, err);
    subquery->total = subquery->eval->samples_total;
    return is_ok;
}

static bool stream_subquery(struct eval *eval,
                            const struct node *node,
                            const struct steps *steps,
                            bool counts_inner,
                            const struct range_sink *sink,
                            struct err *err) {
    struct steps inner = subquery_steps(node, steps);
    if (inner.count == 0) {
        return true;
    }
    if (!eval_check_steps(&inner, err)) {
        return false;
    }
    size_t bytes = inner.count * (sizeof(int64_t) + sizeof(double));
    if (!eval_reserve_bytes(eval, bytes, err)) {
        return false;
    }
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct subquery subquery = {
        .eval = eval,
        .steps = &inner,
        .counts_inner = counts_inner,
        .total = eval->samples_total,
        .t_ms = arena_alloc(&arena, inner.count * sizeof(int64_t)),
        .values = arena_alloc(&arena, inner.count * sizeof(double)),
        .sink = sink,
    };
    struct sink take = { .take = take_inner, .ctx = &subquery };
    bool is_ok = eval_stream(eval, node->args[0], &inner, &take, err);
    if (!counts_inner) {
        eval->samples_total = subquery.total;
    }
    arena_finish(&arena);
    eval->bytes_held -= bytes;
    return is_ok;
}

bool eval_range_stream(struct eval *eval,
                       const struct node *node,
                       const struct steps *steps,
                       bool counts_inner,
                       const struct range_sink *sink,
                       struct err *err) {
    assert(steps->count > 0);
    if (node->kind == NODE_SUBQUERY) {
        return stream_subquery(eval, node, steps, counts_inner, sink, err);
    }
    assert(node->kind == NODE_RANGE);
    struct tsdb_column column = { 0 };
    bool is_ok = stream_selector(eval, node, steps, &column, sink, err);
    tsdb_column_finish(&column);
    return is_ok;
}
