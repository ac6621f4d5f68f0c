/* From the plan's root to the caller's result: points instead of step arrays, names removed. */
#include "promql/eval_result.h"

#include <assert.h>
#include <stdlib.h>

#include "promql/eval_range.h"
#include "promql/func_extended.h"

static bool check_room(const struct arena *arena, const struct eval *eval, struct err *err) {
    return !arena_is_over(arena) || eval_too_many_bytes(eval, err);
}

/* ---- instant and range vectors ---- */

/* Turns series into points as they come. */
struct vector_builder {
    struct eval *eval;
    const struct steps *steps;
    struct arena *arena;
    struct promql_series *series;
    size_t count;
    size_t cap;
    size_t bytes; /* counted against the budget while the evaluation goes on */
};

static bool build_series(void *ctx, const struct step_series *series, struct err *err) {
    struct vector_builder *builder = ctx;
    const struct steps *steps = builder->steps;
    struct arena *arena = builder->arena;
    size_t bytes = series->count * sizeof(struct promql_point) + sizeof(struct promql_series);
    if (!eval_reserve_bytes(builder->eval, bytes, err)) {
        return false;
    }
    builder->bytes += bytes;
    builder->series = arena_vec_grow(arena, builder->series, &builder->cap, builder->count + 1,
                                     sizeof(builder->series[0]));
    struct promql_series *final = &builder->series[builder->count++];
    final->labels = labels_dup(series->labels, arena);
    final->points = arena_alloc(arena, series->count * sizeof(final->points[0]));
    final->point_count = 0;
    for (size_t i = bits_next(series->present, 0, steps->count); i < steps->count;
         i = bits_next(series->present, i + 1, steps->count)) {
        final->points[final->point_count++] =
            (struct promql_point){ .t_ms = steps_at(steps, i), .value = series->values[i] };
    }
    assert(final->point_count == series->count);
    return check_room(arena, builder->eval, err);
}

/* Late name removal: series may become equal, so all are needed before the first is final. */
struct name_remover {
    struct eval *eval;
    struct merger merger;
};

static bool remove_name(void *ctx, const struct step_series *series, struct err *err) {
    struct name_remover *remover = ctx;
    struct step_series final = *series;
    if (final.drops_name) {
        final.labels = lset_drop_metadata(final.labels, &remover->eval->arena);
    }
    return merger_take(&remover->merger, &final, err);
}

static bool stream_nameless(struct eval *eval,
                            const struct node *root,
                            const struct steps *steps,
                            const struct sink *sink,
                            struct err *err) {
    struct name_remover remover = { .eval = eval };
    merger_init(&remover.merger, eval, steps);
    struct sink remove = { .take = remove_name, .ctx = &remover };
    bool is_ok = eval_stream(eval, root, steps, &remove, err) &&
                 matrix_stream(&remover.merger.matrix, sink, err);
    step_matrix_finish(&remover.merger.matrix);
    return is_ok;
}

static bool build_vector(struct eval *eval,
                         const struct node *root,
                         const struct steps *steps,
                         struct arena *arena,
                         struct promql_result *ret,
                         struct err *err) {
    struct vector_builder builder = { .eval = eval, .steps = steps, .arena = arena };
    struct sink sink = { .take = build_series, .ctx = &builder };
    bool is_ok = eval->delays_name_removal ? stream_nameless(eval, root, steps, &sink, err)
                                           : eval_stream(eval, root, steps, &sink, err);
    eval->bytes_held -= builder.bytes;
    ret->series = builder.series;
    ret->series_count = builder.count;
    return is_ok;
}

/* ---- range vectors as the result of an instant query ---- */

struct matrix_builder {
    struct eval *eval;
    struct arena *arena;
    const struct node *node;
    int64_t ref_ms;
    struct promql_series *series;
    size_t count;
    size_t cap;
};

/* Room for the samples of an anchored or smoothed selector: two more at the borders. */
static size_t copy_points(const struct matrix_builder *builder,
                          const struct range_series *range,
                          struct promql_point *points) {
    const struct node *node = builder->node;
    if (node->kind == NODE_RANGE &&
        (node->expr->selector.is_anchored || node->expr->selector.is_smoothed)) {
        return extended_points(range, builder->ref_ms - node->range_ms, builder->ref_ms,
                               node->expr->selector.is_smoothed, points);
    }
    for (size_t i = 0; i < range->count; i++) {
        points[i] = (struct promql_point){ .t_ms = range->t_ms[i], .value = range->values[i] };
    }
    return range->count;
}

static bool take_range(void *ctx, const struct range_series *range, struct err *err) {
    struct matrix_builder *builder = ctx;
    struct promql_point *points =
        arena_alloc(builder->arena, (range->count + 2) * sizeof(points[0]));
    size_t count = copy_points(builder, range, points);
    if (count == 0) {
        return true;
    }
    if (builder->node->kind == NODE_RANGE) {
        builder->eval->samples_total += count;
        if (!eval_hold(builder->eval, range->count, err)) {
            return false;
        }
    }
    builder->series = arena_vec_grow(builder->arena, builder->series, &builder->cap,
                                     builder->count + 1, sizeof(builder->series[0]));
    struct promql_series *series = &builder->series[builder->count++];
    struct labels labels = range->labels;
    if (range->drops_name) {
        labels = lset_drop_metadata(labels, &builder->eval->arena);
    }
    series->labels = labels_dup(labels, builder->arena);
    series->points = points;
    series->point_count = count;
    return check_room(builder->arena, builder->eval, err);
}

static int compare_series(const void *a, const void *b) {
    return labels_cmp(((const struct promql_series *)a)->labels,
                      ((const struct promql_series *)b)->labels);
}

static bool is_sorted(const struct promql_result *result) {
    for (size_t i = 1; i < result->series_count; i++) {
        if (compare_series(&result->series[i - 1], &result->series[i]) > 0) {
            return false;
        }
    }
    return true;
}

static void sort_series(struct promql_result *result) {
    if (!is_sorted(result)) {
        qsort(result->series, result->series_count, sizeof(result->series[0]), compare_series);
    }
}

static bool build_matrix(struct eval *eval,
                         const struct node *root,
                         const struct steps *steps,
                         struct arena *arena,
                         struct promql_result *ret,
                         struct err *err) {
    struct matrix_builder builder = {
        .eval = eval,
        .arena = arena,
        .node = root,
        .ref_ms = node_reference_ms(root, steps->start_ms),
    };
    struct range_sink sink = { .take = take_range, .ctx = &builder };
    if (!eval_range_stream(eval, root, steps, true, &sink, err)) {
        return false;
    }
    ret->series = builder.series;
    ret->series_count = builder.count;
    sort_series(ret);
    for (size_t i = 1; i < ret->series_count; i++) {
        if (labels_equal(ret->series[i - 1].labels, ret->series[i].labels)) {
            return duplicate_labelset(err);
        }
    }
    return true;
}

/* ---- all ---- */

static bool build_data(struct eval *eval,
                       const struct node *root,
                       const struct steps *steps,
                       struct arena *arena,
                       struct promql_result *ret,
                       struct err *err) {
    ret->type = eval->query->step_ms > 0 ? PROMQL_MATRIX : root->type;
    switch (root->type) {
    case PROMQL_STRING: ret->string = arena_str(arena, root->expr->string); return true;
    case PROMQL_MATRIX:
        if (!build_matrix(eval, root, steps, arena, ret, err)) {
            return false;
        }
        break;
    default:
        if (!build_vector(eval, root, steps, arena, ret, err)) {
            return false;
        }
        break;
    }
    if (ret->type == PROMQL_MATRIX) {
        sort_series(ret);
    }
    return true;
}

/* What the store had to leave out. */
static void note_damage(struct eval *eval) {
    size_t count = eval->querier == NULL ? 0 : tsdb_querier_warning_count(eval->querier);
    for (size_t i = 0; i < count; i++) {
        note_add(&eval->notes, NOTE_WARNING, 0, "%s", tsdb_querier_warning(eval->querier, i));
    }
}

bool result_build(struct eval *eval,
                  const struct node *root,
                  const struct steps *steps,
                  struct arena *arena,
                  struct promql_result *ret,
                  struct err *err) {
    if (!build_data(eval, root, steps, arena, ret, err)) {
        return false;
    }
    note_damage(eval);
    struct str text = eval->query->text;
    ret->warnings = annotations_texts(&eval->notes, NOTE_WARNING, text, arena, &ret->warning_count);
    ret->infos = annotations_texts(&eval->notes, NOTE_INFO, text, arena, &ret->info_count);
    ret->samples_read = eval->samples_total;
    ret->samples_peak = eval->samples_peak;
    return check_room(arena, eval, err);
}
