/*
 * histogram_quantile(s) and histogram_fraction on classic histograms: series are grouped by their
 * labels without `le`, sorted by bound once, and evaluated step by step. Native histograms are not
 * stored, so functions that work on nothing else have no result.
 */
#include "promql/func_histogram.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/float.h"
#include "promql/eval_call.h"
#include "promql/func_quantile.h"

/* One bucket of a histogram over all steps. */
struct bucket_series {
    double upper_bound;
    size_t number; /* order of appearance, to keep the sort stable */
    const struct step_series *series;
};

struct histogram {
    struct labels labels;
    struct bucket_series *buckets;
    size_t count;
    size_t cap;
};

struct histograms {
    struct eval *eval;
    const struct node *arg;
    const struct steps *steps;
    struct step_matrix input;
    struct histogram *items;
    size_t count;
    size_t cap;
    struct bucket *scratch; /* room for the largest histogram */
    size_t scalar_count;    /* scalar arguments of the call */
};

/* ---- grouping ---- */

static void note_bad_bucket(struct histograms *histograms, struct labels labels) {
    struct eval *eval = histograms->eval;
    struct str le = note_quote(&eval->notes, labels_get(labels, STR("le")));
    struct str name = { 0 };
    if (eval->delays_name_removal) {
        name = labels_get(labels, METRIC_NAME);
    }
    struct str quoted = name.len == 0 ? name : note_quote(&eval->notes, name);
    note_add(&eval->notes, NOTE_WARNING, histograms->arg->expr->pos_start,
             "bucket label \"le\" is missing or has a malformed value of %.*s%s%.*s", STR_FMT(le),
             name.len == 0 ? "" : " for metric name ", STR_FMT(quoted));
}

static int compare_bounds(const void *a, const void *b) {
    const struct bucket_series *x = a;
    const struct bucket_series *y = b;
    if (x->upper_bound != y->upper_bound) {
        return x->upper_bound < y->upper_bound ? -1 : 1;
    }
    return (x->number > y->number) - (x->number < y->number);
}

static void group_series(struct histograms *histograms, struct lset_index *index) {
    struct arena *arena = &histograms->input.arena;
    static const struct str le = { .ptr = "le", .len = 2 };
    struct lset_names names = { .names = &le, .count = 1 };
    struct lset_scratch scratch = { .arena = arena };
    for (size_t i = 0; i < histograms->input.count; i++) {
        const struct step_series *series = &histograms->input.series[i];
        double bound;
        if (!str_parse_f64(labels_get(series->labels, le), &bound)) {
            note_bad_bucket(histograms, series->labels);
            continue;
        }
        bool is_new;
        struct labels labels = lset_project(&scratch, series->labels, &names, true);
        size_t number = lset_index_add(index, labels, false, &is_new);
        if (is_new) {
            histograms->items = arena_vec_grow(arena, histograms->items, &histograms->cap,
                                               number + 1, sizeof(histograms->items[0]));
            histograms->items[number] = (struct histogram){ .labels = index->keys[number] };
            histograms->count++;
        }
        struct histogram *histogram = &histograms->items[number];
        histogram->buckets = arena_vec_grow(arena, histogram->buckets, &histogram->cap,
                                            histogram->count + 1, sizeof(histogram->buckets[0]));
        histogram->buckets[histogram->count] = (struct bucket_series){ .upper_bound = bound,
                                                                       .number = histogram->count,
                                                                       .series = series };
        histogram->count++;
    }
}

/* Evaluate the argument and sort its series into histograms. Finish histograms->input after.
 * scalar_count is the caller's to set before. */
static bool histograms_load(struct histograms *histograms,
                            struct eval *eval,
                            const struct node *arg,
                            const struct steps *steps,
                            struct err *err) {
    histograms->eval = eval;
    histograms->arg = arg;
    histograms->steps = steps;
    if (!eval_collect(eval, arg, steps, &histograms->input, err)) {
        return false;
    }
    struct lset_index index;
    lset_index_init(&index, &eval->arena);
    group_series(histograms, &index);
    size_t largest = 0;
    for (size_t i = 0; i < histograms->count; i++) {
        struct histogram *histogram = &histograms->items[i];
        qsort(histogram->buckets, histogram->count, sizeof(histogram->buckets[0]), compare_bounds);
        largest = histogram->count > largest ? histogram->count : largest;
    }
    histograms->scratch =
        arena_alloc(&histograms->input.arena, (largest + 1) * sizeof(struct bucket));
    return true;
}

/* The buckets present at a step, in scratch. */
static size_t gather_buckets(const struct histograms *histograms,
                             const struct histogram *histogram,
                             size_t step) {
    size_t count = 0;
    for (size_t i = 0; i < histogram->count; i++) {
        const struct bucket_series *bucket = &histogram->buckets[i];
        if (bit_get(bucket->series->present, step)) {
            histograms->scratch[count++] = (struct bucket){
                .upper_bound = bucket->upper_bound,
                .count = bucket->series->values[step],
            };
        }
    }
    return count;
}

/* ---- evaluation ---- */

/* What is computed of each histogram at each step. */
struct histogram_query {
    const double *q; /* quantile; or NULL for a fraction between: */
    const double *lower;
    const double *upper;
    struct str quantile_label; /* histogram_quantiles: the label and its value … */
    struct str quantile_value;
    const uint64_t *only; /* … and the steps with that quantile */
};

static void note_repair(struct histograms *histograms,
                        struct labels labels,
                        size_t step,
                        const struct bucket_repair *repair) {
    struct eval *eval = histograms->eval;
    int64_t t_ms = steps_at(histograms->steps, step);
    struct note_monotonicity what = {
        .t_min_ms = t_ms,
        .t_max_ms = t_ms,
        .bucket_min = repair->bucket_min,
        .bucket_max = repair->bucket_max,
        .diff_max = repair->diff_max,
        .samples = 1,
    };
    struct str name = { 0 };
    if (eval->delays_name_removal) {
        name = labels_get(labels, METRIC_NAME);
    }
    note_add_monotonicity(&eval->notes, histograms->arg->expr->pos_start, name, &what);
}

static bool query_histogram(struct histograms *histograms,
                            const struct histogram *histogram,
                            const struct histogram_query *query,
                            struct step_series *out,
                            struct err *err) {
    struct bucket *buckets = histograms->scratch;
    for (size_t i = 0; i < histograms->steps->count; i++) {
        if (query->only != NULL && !bit_get(query->only, i)) {
            continue;
        }
        size_t count = gather_buckets(histograms, histogram, i);
        if (count == 0) {
            continue;
        }
        double value;
        if (query->q == NULL) {
            value = bucket_fraction(query->lower[i], query->upper[i], buckets, count);
        } else {
            struct bucket_repair repair;
            value = bucket_quantile(query->q[i], buckets, count, &repair);
            if (repair.is_forced) {
                note_repair(histograms, histogram->labels, i, &repair);
            }
        }
        step_series_set(out, i, value);
    }
    return eval_work(histograms->eval, histogram->count * histograms->steps->count, err);
}

static bool query_all(struct histograms *histograms,
                      const struct histogram_query *query,
                      struct step_series *out,
                      const struct sink *sink,
                      uint64_t *produced,
                      struct err *err) {
    for (size_t i = 0; i < histograms->count; i++) {
        const struct histogram *histogram = &histograms->items[i];
        step_series_clear(out, histograms->steps);
        out->drops_name = false;
        out->labels = histogram->labels;
        if (!query_histogram(histograms, histogram, query, out, err)) {
            return false;
        }
        eval_drop_name(histograms->eval, out);
        if (query->quantile_label.len > 0) {
            out->labels = lset_with(out->labels, query->quantile_label, query->quantile_value,
                                    &histograms->eval->arena);
        }
        *produced += out->count;
        if (!eval_fits(histograms->eval, *produced, err) || !sink_take(sink, out, err)) {
            return false;
        }
    }
    return true;
}

/* What is looked at at the last step: scalars and buckets. */
static uint64_t count_last(const struct histograms *histograms) {
    uint64_t count = histograms->scalar_count;
    for (size_t i = 0; i < histograms->input.count; i++) {
        count += bit_get(histograms->input.series[i].present, histograms->steps->count - 1);
    }
    return count;
}

/* Run the queries and join what names alone told apart. */
static bool stream_queries(struct histograms *histograms,
                           const struct histogram_query *queries,
                           size_t query_count,
                           uint64_t mark,
                           const struct sink *sink,
                           struct err *err) {
    struct eval *eval = histograms->eval;
    struct merger merger;
    struct step_series *out;
    struct step_matrix scratch;
    uint64_t produced = 0;
    merger_init(&merger, eval, histograms->steps);
    step_matrix_init(&scratch, eval, histograms->steps);
    struct sink merge = { .take = merger_take, .ctx = &merger };
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &out, err);
    for (size_t i = 0; i < query_count && is_ok; i++) {
        is_ok = query_all(histograms, &queries[i], out, &merge, &produced, err);
    }
    is_ok = is_ok && eval_account(eval, mark, count_last(histograms), produced, err) &&
            matrix_stream(&merger.matrix, sink, err);
    step_matrix_finish(&merger.matrix);
    step_matrix_finish(&scratch);
    return is_ok;
}

/* ---- functions ---- */

static void check_quantiles(struct eval *eval,
                            const struct node *arg,
                            const double *q,
                            const struct steps *steps) {
    for (size_t i = 0; i < steps->count; i++) {
        if (i == 0 || double_bits(q[i]) != double_bits(q[i - 1])) {
            quantile_check(eval, q[i], arg->expr->pos_start);
        }
    }
}

bool func_histogram_quantile(struct eval *eval,
                             const struct node *node,
                             const struct steps *steps,
                             const struct sink *sink,
                             struct err *err) {
    uint64_t mark = eval->samples_now;
    struct step_matrix scratch;
    struct histograms histograms = { .scalar_count = 1 };
    double *q;
    step_matrix_init(&scratch, eval, steps);
    bool is_ok = eval_scalar(eval, node->args[0], steps, &scratch.arena, &q, err) &&
                 histograms_load(&histograms, eval, node->args[1], steps, err);
    if (is_ok) {
        check_quantiles(eval, node->args[0], q, steps);
        struct histogram_query query = { .q = q };
        is_ok = stream_queries(&histograms, &query, 1, mark, sink, err);
    }
    step_matrix_finish(&histograms.input);
    step_matrix_finish(&scratch);
    return is_ok;
}

bool func_histogram_fraction(struct eval *eval,
                             const struct node *node,
                             const struct steps *steps,
                             const struct sink *sink,
                             struct err *err) {
    uint64_t mark = eval->samples_now;
    struct step_matrix scratch;
    struct histograms histograms = { .scalar_count = 2 };
    double *lower;
    double *upper;
    step_matrix_init(&scratch, eval, steps);
    bool is_ok = eval_scalar(eval, node->args[0], steps, &scratch.arena, &lower, err) &&
                 eval_scalar(eval, node->args[1], steps, &scratch.arena, &upper, err) &&
                 histograms_load(&histograms, eval, node->args[2], steps, err);
    if (is_ok) {
        struct histogram_query query = { .lower = lower, .upper = upper };
        is_ok = stream_queries(&histograms, &query, 1, mark, sink, err);
    }
    step_matrix_finish(&histograms.input);
    step_matrix_finish(&scratch);
    return is_ok;
}

/* A quantile as a label value: as OpenMetrics writes floats, integers with ".0". */
static struct str quantile_text(double q, struct arena *arena) {
    char text[FLOAT_TEXT_MAX];
    size_t len = float_to_general(q == 0 ? 0 : q, text);
    bool is_plain = isfinite(q) && memchr(text, 'e', len) == NULL && memchr(text, '.', len) == NULL;
    return arena_printf(arena, "%s%s", text, is_plain ? ".0" : "");
}

struct query_list {
    struct histogram_query *items;
    size_t count;
    size_t cap;
};

/* One query per value a quantile argument takes: where it changes with the step, so does the
 * label. */
static void add_queries(struct histograms *histograms,
                        const double *q,
                        struct str label,
                        struct query_list *list) {
    struct arena *arena = &histograms->input.arena;
    size_t steps = histograms->steps->count;
    uint64_t *done = arena_calloc(arena, bits_words(steps), sizeof(done[0]));
    for (size_t i = 0; i < steps; i++) {
        if (bit_get(done, i)) {
            continue;
        }
        uint64_t *only = arena_calloc(arena, bits_words(steps), sizeof(only[0]));
        for (size_t k = i; k < steps; k++) {
            if (q[k] == q[i] || double_bits(q[k]) == double_bits(q[i])) {
                bit_set(only, k);
            }
        }
        bits_or(done, only, steps);
        list->items =
            arena_vec_grow(arena, list->items, &list->cap, list->count + 1, sizeof(list->items[0]));
        list->items[list->count++] = (struct histogram_query){
            .q = q,
            .quantile_label = label,
            .quantile_value = quantile_text(q[i], &histograms->eval->arena),
            .only = only,
        };
    }
}

bool func_histogram_quantiles(struct eval *eval,
                              const struct node *node,
                              const struct steps *steps,
                              const struct sink *sink,
                              struct err *err) {
    uint64_t mark = eval->samples_now;
    struct step_matrix scratch;
    struct histograms histograms = { .scalar_count = node->arg_count - 2 };
    step_matrix_init(&scratch, eval, steps);
    double **values = arena_calloc(&scratch.arena, node->arg_count, sizeof(values[0]));
    bool is_ok = true;
    for (size_t i = 2; i < node->arg_count && is_ok; i++) {
        is_ok = eval_scalar(eval, node->args[i], steps, &scratch.arena, &values[i - 2], err);
    }
    is_ok = is_ok && histograms_load(&histograms, eval, node->args[0], steps, err);
    struct query_list list = { 0 };
    for (size_t i = 2; i < node->arg_count && is_ok; i++) {
        check_quantiles(eval, node->args[i], values[i - 2], steps);
        add_queries(&histograms, values[i - 2], call_string_arg(node, 1), &list);
    }
    is_ok = is_ok && stream_queries(&histograms, list.items, list.count, mark, sink, err);
    step_matrix_finish(&histograms.input);
    step_matrix_finish(&scratch);
    return is_ok;
}

static bool count_series(void *ctx, const struct step_series *series, struct err *err) {
    uint64_t *gathered = ctx;
    (void)err;
    *gathered += series->count > 0;
    return true;
}

bool func_histogram_native(struct eval *eval,
                           const struct node *node,
                           const struct steps *steps,
                           const struct sink *sink,
                           struct err *err) {
    (void)sink;
    uint64_t mark = eval->samples_now;
    uint64_t gathered = 0;
    struct sink count = { .take = count_series, .ctx = &gathered };
    return eval_stream(eval, node->args[0], steps, &count, err) &&
           eval_account(eval, mark, gathered, 0, err);
}
