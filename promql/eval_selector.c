/*
 * Instant vector selectors: one pass over a series' samples with one cursor, the newest sample in
 * (t - lookback, t] for every step t.
 */
#include "promql/eval_rollup.h"

bool selection_load(struct eval *eval, const struct node *node, struct err *err) {
    struct selection *selection = node->selection;
    if (selection->is_loaded) {
        return true;
    }
    if (eval->querier == NULL) { /* below a subquery without a single step: no time is read */
        selection->is_loaded = true;
        return true;
    }
    const struct promql_expr *expr = node->expr;
    if (!tsdb_select(eval->querier, expr->selector.matchers, expr->selector.matcher_count,
                     &eval->arena, &selection->views, &selection->count, err)) {
        return false;
    }
    selection->is_loaded = true;
    selection->is_unique_sans_name = true;
    struct str name = { 0 };
    for (size_t i = 0; i < selection->count && selection->is_unique_sans_name; i++) {
        struct labels labels = selection->views[i].labels;
        struct str own_name = labels_get(labels, METRIC_NAME);
        size_t metadata = lset_metadata_count(labels);
        name = i == 0 ? own_name : name;
        selection->is_unique_sans_name =
            str_eq(name, own_name) && metadata == (own_name.len > 0 ? 1 : 0);
    }
    return true;
}

void selector_fill(const struct eval *eval,
                   const struct node *node,
                   const struct steps *steps,
                   const struct tsdb_column *column,
                   bool wants_times,
                   struct step_series *series) {
    step_series_clear(series, steps);
    const int64_t *t_ms = column->t_ms;
    size_t next = 0; /* first sample after the reference time */
    for (size_t i = 0; i < steps->count; i++) {
        int64_t ref_ms = node_reference_ms(node, steps_at(steps, i));
        while (next < column->count && t_ms[next] <= ref_ms) {
            next++;
        }
        if (next == 0) {
            continue;
        }
        double value = column->values[next - 1];
        if (t_ms[next - 1] > ref_ms - eval->lookback_ms && !is_stale(value)) {
            step_series_set(series, i, wants_times ? (double)t_ms[next - 1] : value);
        }
    }
}

/* ---- smoothed ---- */

/* The value at ref_ms on the line between its neighbours, or the last one carried on. */
static bool smooth_at(const int64_t *t_ms,
                      const double *values,
                      size_t count,
                      int64_t ref_ms,
                      double *ret) {
    size_t i = 0;
    while (i < count && t_ms[i] < ref_ms) {
        i++;
    }
    if (i < count && t_ms[i] == ref_ms) {
        *ret = values[i];
        return true;
    }
    if (i == 0) {
        return false;
    }
    *ret = values[i - 1];
    if (i < count) {
        *ret = range_interpolate(t_ms + i - 1, values + i - 1, ref_ms, false);
    }
    return true;
}

static void smoothed_fill(const struct eval *eval,
                          const struct node *node,
                          const struct steps *steps,
                          struct tsdb_column *column,
                          struct step_series *series) {
    step_series_clear(series, steps);
    range_drop_stale(column);
    size_t from = 0;
    size_t to = 0;
    for (size_t i = 0; i < steps->count; i++) {
        int64_t ref_ms = node_reference_ms(node, steps_at(steps, i));
        while (from < column->count && column->t_ms[from] <= ref_ms - eval->lookback_ms) {
            from++;
        }
        to = to < from ? from : to;
        while (to < column->count && column->t_ms[to] <= ref_ms + eval->lookback_ms) {
            to++;
        }
        double value;
        if (smooth_at(column->t_ms + from, column->values + from, to - from, ref_ms, &value)) {
            step_series_set(series, i, value);
        }
    }
}

/* ---- streams ---- */

static bool fill_from_buckets(struct eval *eval,
                              const struct rollup_use *use,
                              const struct node *node,
                              const struct steps *steps,
                              const struct tsdb_series_view *view,
                              bool wants_times,
                              struct step_series *series,
                              struct err *err) {
    int64_t first_ms =
        rollup_reference_ms(use, node, steps->start_ms) - rollup_reach_ms(use, eval->lookback_ms);
    int64_t rest_ms = first_ms % use->resolution_ms;
    first_ms += rest_ms > 0 ? use->resolution_ms - rest_ms : -rest_ms;
    int64_t last_ms = rollup_reference_ms(use, node, steps_at(steps, steps->count - 1));
    struct tsdb_buckets buckets = { 0 };
    bool is_ok = tsdb_read_buckets(eval->querier, view->id, use->resolution_ms, first_ms, last_ms,
                                   &buckets, err) &&
                 eval_work(eval, buckets.count + steps->count, err);
    if (is_ok) {
        rollup_fill_selector(eval, use, node, steps, &buckets, wants_times, series);
    }
    tsdb_buckets_finish(&buckets);
    return is_ok;
}

static bool stream_series(struct eval *eval,
                          const struct node *node,
                          const struct steps *steps,
                          bool wants_times,
                          struct tsdb_column *column,
                          struct step_series *series,
                          const struct sink *sink,
                          struct err *err) {
    bool is_smoothed = node->expr->selector.is_smoothed && !wants_times;
    int64_t first_ms = node_reference_ms(node, steps->start_ms) - eval->lookback_ms + 1;
    int64_t last_ms = node_reference_ms(node, steps_at(steps, steps->count - 1)) +
                      (is_smoothed ? eval->lookback_ms : 0);
    struct rollup_use use = { 0 };
    if (!is_smoothed && node->selection->count > 0) {
        use = rollup_use_get(eval, node, steps, eval->lookback_ms);
    }
    for (size_t i = 0; i < node->selection->count; i++) {
        const struct tsdb_series_view *view = &node->selection->views[i];
        if (use.resolution_ms != 0) {
            if (!fill_from_buckets(eval, &use, node, steps, view, wants_times, series, err)) {
                return false;
            }
        } else if (!tsdb_read(eval->querier, view->id, first_ms, last_ms, column, err) ||
                   !eval_work(eval, column->count + steps->count, err)) {
            return false;
        } else if (is_smoothed) {
            smoothed_fill(eval, node, steps, column, series);
        } else {
            selector_fill(eval, node, steps, column, wants_times, series);
        }
        series->labels = view->labels;
        series->drops_name = false;
        eval->samples_total += series->count;
        /* Upstream looks times up step by step: they are not held beside the result. */
        if ((!wants_times && !eval_hold(eval, series->count, err)) ||
            !sink_take(sink, series, err)) {
            return false;
        }
    }
    return true;
}

static bool stream_selector(struct eval *eval,
                            const struct node *node,
                            const struct steps *steps,
                            bool wants_times,
                            const struct sink *sink,
                            struct err *err) {
    if (!selection_load(eval, node, err)) {
        return false;
    }
    struct step_matrix scratch;
    struct step_series *series;
    struct tsdb_column column = { 0 };
    step_matrix_init(&scratch, eval, steps);
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &series, err) &&
                 stream_series(eval, node, steps, wants_times, &column, series, sink, err);
    tsdb_column_finish(&column);
    step_matrix_finish(&scratch);
    return is_ok;
}

bool eval_selector(struct eval *eval,
                   const struct node *node,
                   const struct steps *steps,
                   const struct sink *sink,
                   struct err *err) {
    return stream_selector(eval, node, steps, false, sink, err);
}

bool eval_selector_times(struct eval *eval,
                         const struct node *node,
                         const struct steps *steps,
                         const struct sink *sink,
                         struct err *err) {
    return stream_selector(eval, node, steps, true, sink, err);
}
