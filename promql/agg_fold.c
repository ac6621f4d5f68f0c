/*
 * Aggregations that fold series into groups one by one: sum, avg, count, min, max, group, stddev,
 * stdvar. Each group holds a few step arrays; the input is never kept.
 */
#include <assert.h>
#include <math.h>

#include "model/kahan.h"
#include "promql/agg.h"

enum {
    STATE_ARRAYS_MAX = 3
};

struct group {
    struct step_series out;          /* out.values is the first state array */
    double *state[STATE_ARRAYS_MAX]; /* state[0] = out.values; zeroed at first */
    uint64_t *flags;                 /* avg: the step went over to the incremental mean */
};

/* How one operator folds: `add` takes a series in, `finish` turns state into results. */
struct fold {
    size_t arrays;
    bool has_flags;
    void (*add)(struct group *group, const struct step_series *series, size_t count);
    void (*finish)(struct group *group, size_t count);
};

/* ---- sum ---- */

/* Absent steps add 0, which leaves sum and compensation as they are. */
static void sum_add(struct group *group, const struct step_series *series, size_t count) {
    double *restrict sums = group->state[0];
    double *restrict cs = group->state[1];
    const double *restrict values = series->values;
    for (size_t i = 0; i < count; i++) {
        struct kahan next = kahan_add((struct kahan){ sums[i], cs[i] }, values[i]);
        sums[i] = next.sum;
        cs[i] = next.c;
    }
}

static void sum_finish(struct group *group, size_t count) {
    for (size_t i = 0; i < count; i++) {
        group->state[0][i] += group->state[1][i];
    }
}

/* ---- avg ---- */

static void avg_add(struct group *group, const struct step_series *series, size_t count) {
    double *sums = group->state[0];
    double *cs = group->state[1];
    double *counts = group->state[2];
    for (size_t i = bits_next(series->present, 0, count); i < count;
         i = bits_next(series->present, i + 1, count)) {
        struct kahan_mean mean;
        if (counts[i] == 0) {
            mean = kahan_mean_start(series->values[i]);
        } else {
            mean = (struct kahan_mean){
                .sum = { sums[i], cs[i] },
                .count = counts[i],
                .is_incremental = bit_get(group->flags, i),
            };
            kahan_mean_add(&mean, series->values[i]);
        }
        sums[i] = mean.sum.sum;
        cs[i] = mean.sum.c;
        counts[i] = mean.count;
        if (mean.is_incremental) {
            bit_set(group->flags, i);
        }
    }
}

static void avg_finish(struct group *group, size_t count) {
    for (size_t i = bits_next(group->out.present, 0, count); i < count;
         i = bits_next(group->out.present, i + 1, count)) {
        struct kahan_mean mean = {
            .sum = { group->state[0][i], group->state[1][i] },
            .count = group->state[2][i],
            .is_incremental = bit_get(group->flags, i),
        };
        group->state[0][i] = kahan_mean_value(&mean);
    }
}

/* ---- count, group ---- */

static void count_add(struct group *group, const struct step_series *series, size_t count) {
    for (size_t i = bits_next(series->present, 0, count); i < count;
         i = bits_next(series->present, i + 1, count)) {
        group->state[0][i]++;
    }
}

static void group_add(struct group *group, const struct step_series *series, size_t count) {
    for (size_t i = bits_next(series->present, 0, count); i < count;
         i = bits_next(series->present, i + 1, count)) {
        group->state[0][i] = 1;
    }
}

/* ---- min, max: NaN gives way to anything ---- */

static void min_add(struct group *group, const struct step_series *series, size_t count) {
    double *best = group->state[0];
    for (size_t i = bits_next(series->present, 0, count); i < count;
         i = bits_next(series->present, i + 1, count)) {
        double value = series->values[i];
        if (!bit_get(group->out.present, i) || best[i] > value || isnan(best[i])) {
            best[i] = value;
        }
    }
}

static void max_add(struct group *group, const struct step_series *series, size_t count) {
    double *best = group->state[0];
    for (size_t i = bits_next(series->present, 0, count); i < count;
         i = bits_next(series->present, i + 1, count)) {
        double value = series->values[i];
        if (!bit_get(group->out.present, i) || best[i] < value || isnan(best[i])) {
            best[i] = value;
        }
    }
}

/* ---- stddev, stdvar: Welford ---- */

static void variance_add(struct group *group, const struct step_series *series, size_t count) {
    double *squares = group->state[0];
    double *means = group->state[1];
    double *counts = group->state[2];
    for (size_t i = bits_next(series->present, 0, count); i < count;
         i = bits_next(series->present, i + 1, count)) {
        double value = series->values[i];
        counts[i]++;
        if (counts[i] == 1) {
            means[i] = value;
            squares[i] = isfinite(value) ? 0 : (double)NAN;
            continue;
        }
        double delta = value - means[i];
        means[i] += delta / counts[i];
        squares[i] += delta * (value - means[i]);
    }
}

static void variance_finish(struct group *group, size_t count) {
    for (size_t i = bits_next(group->out.present, 0, count); i < count;
         i = bits_next(group->out.present, i + 1, count)) {
        group->state[0][i] /= group->state[2][i];
    }
}

static void deviation_finish(struct group *group, size_t count) {
    for (size_t i = bits_next(group->out.present, 0, count); i < count;
         i = bits_next(group->out.present, i + 1, count)) {
        group->state[0][i] = sqrt(group->state[0][i] / group->state[2][i]);
    }
}

static const struct fold folds[PROMQL_AGG_KIND_COUNT] = {
    [PROMQL_AGG_SUM] = { .arrays = 2, .add = sum_add, .finish = sum_finish },
    [PROMQL_AGG_AVG] = { .arrays = 3, .has_flags = true, .add = avg_add, .finish = avg_finish },
    [PROMQL_AGG_COUNT] = { .arrays = 1, .add = count_add },
    [PROMQL_AGG_MIN] = { .arrays = 1, .add = min_add },
    [PROMQL_AGG_MAX] = { .arrays = 1, .add = max_add },
    [PROMQL_AGG_GROUP] = { .arrays = 1, .add = group_add },
    [PROMQL_AGG_STDDEV] = { .arrays = 3, .add = variance_add, .finish = deviation_finish },
    [PROMQL_AGG_STDVAR] = { .arrays = 3, .add = variance_add, .finish = variance_finish },
};

/* ---- folding ---- */

struct folder {
    struct eval *eval;
    const struct steps *steps;
    const struct fold *fold;
    struct grouping grouping;
    struct arena arena;
    struct group *groups;
    size_t cap;
    size_t bytes;
};

static bool group_init(struct folder *folder, size_t number, struct err *err) {
    const struct steps *steps = folder->steps;
    size_t bytes = steps->count * folder->fold->arrays * sizeof(double) +
                   2 * bits_words(steps->count) * sizeof(uint64_t) + sizeof(struct group);
    if (!eval_reserve_bytes(folder->eval, bytes, err)) {
        return false;
    }
    folder->bytes += bytes;
    folder->groups = arena_vec_grow(&folder->arena, folder->groups, &folder->cap, number + 1,
                                    sizeof(folder->groups[0]));
    struct group *group = &folder->groups[number];
    *group = (struct group){ 0 };
    step_series_init(&group->out, &folder->arena, steps);
    group->out.labels = folder->grouping.index.keys[number];
    group->state[0] = group->out.values;
    for (size_t i = 1; i < folder->fold->arrays; i++) {
        group->state[i] = arena_calloc(&folder->arena, steps->count, sizeof(double));
    }
    if (folder->fold->has_flags) {
        group->flags = arena_calloc(&folder->arena, bits_words(steps->count), sizeof(uint64_t));
    }
    return true;
}

static bool fold_series(void *ctx, const struct step_series *series, struct err *err) {
    struct folder *folder = ctx;
    bool is_new;
    size_t number = grouping_of(&folder->grouping, series->labels, &is_new);
    if (is_new && !group_init(folder, number, err)) {
        return false;
    }
    struct group *group = &folder->groups[number];
    folder->fold->add(group, series, folder->steps->count);
    bits_or(group->out.present, series->present, folder->steps->count);
    group->out.drops_name = group->out.drops_name || series->drops_name;
    return true;
}

static bool stream_groups(struct folder *folder, const struct sink *sink, struct err *err) {
    size_t steps = folder->steps->count;
    for (size_t i = 0; i < folder->grouping.index.count; i++) {
        struct group *group = &folder->groups[i];
        if (folder->fold->finish != NULL) {
            folder->fold->finish(group, steps);
        }
        group->out.count = bits_count(group->out.present, steps);
        if (!eval_hold(folder->eval, group->out.count, err) || !sink_take(sink, &group->out, err)) {
            return false;
        }
    }
    return true;
}

bool agg_fold(struct eval *eval,
              const struct node *node,
              const struct steps *steps,
              const struct sink *sink,
              struct err *err) {
    struct folder folder = {
        .eval = eval,
        .steps = steps,
        .fold = &folds[node->expr->aggregate.op],
    };
    assert(folder.fold->add != NULL);
    uint64_t mark = eval->samples_now;
    arena_init(&folder.arena, SIZE_MAX);
    grouping_init(&folder.grouping, node, (struct str){ 0 }, &eval->arena);
    struct sink fold = { .take = fold_series, .ctx = &folder };
    bool is_ok = eval_stream(eval, node->args[0], steps, &fold, err);
    if (is_ok) {
        eval->samples_now = mark;
        is_ok = stream_groups(&folder, sink, err);
    }
    eval->bytes_held -= folder.bytes;
    arena_finish(&folder.arena);
    return is_ok;
}
