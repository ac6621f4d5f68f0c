/*
 * topk, bottomk, limitk and limit_ratio: the result is some of the input's series, at each step
 * those that made it. An instant query lists the chosen ones best first.
 */
#include <assert.h>
#include <math.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "promql/agg.h"
#include "promql/eval_rank.h"

/* Steps at which each input series is in the result. */
struct choice {
    struct eval *eval;
    const struct node *node;
    const struct steps *steps;
    struct step_matrix input;
    struct agg_param param;
    struct arena arena;
    uint64_t **chosen; /* per series */
    size_t *group_of;  /* per series */
    size_t group_count;
    size_t *order; /* instant query: the chosen in order */
    size_t order_count;
    size_t bytes; /* of bitmaps, counted against the budget */
};

static bool choice_group(struct choice *choice, struct err *err) {
    struct grouping grouping;
    size_t count = choice->input.count;
    size_t bytes = count * bits_words(choice->steps->count) * sizeof(uint64_t);
    if (!eval_reserve_bytes(choice->eval, bytes, err)) {
        return false;
    }
    choice->bytes = bytes;
    grouping_init(&grouping, choice->node, (struct str){ 0 }, &choice->arena);
    choice->group_of = arena_alloc(&choice->arena, count * sizeof(choice->group_of[0]));
    choice->chosen = arena_alloc(&choice->arena, count * sizeof(choice->chosen[0]));
    choice->order = arena_alloc(&choice->arena, count * sizeof(choice->order[0]));
    for (size_t i = 0; i < count; i++) {
        bool is_new;
        choice->group_of[i] = grouping_of(&grouping, choice->input.series[i].labels, &is_new);
        choice->chosen[i] =
            arena_calloc(&choice->arena, bits_words(choice->steps->count), sizeof(uint64_t));
    }
    choice->group_count = grouping.index.count;
    return true;
}

static bool stream_series(struct choice *choice,
                          size_t index,
                          const struct sink *sink,
                          struct err *err) {
    size_t steps = choice->steps->count;
    struct step_series *series = &choice->input.series[index];
    const uint64_t *chosen = choice->chosen[index];
    for (size_t i = bits_next(series->present, 0, steps); i < steps;
         i = bits_next(series->present, i + 1, steps)) {
        if (!bit_get(chosen, i)) {
            bit_clear(series->present, i);
            series->values[i] = 0;
            series->count--;
        }
    }
    return eval_hold(choice->eval, series->count, err) && sink_take(sink, series, err);
}

static bool stream_chosen(struct choice *choice, const struct sink *sink, struct err *err) {
    bool has_order = steps_is_instant(choice->steps);
    size_t count = has_order ? choice->order_count : choice->input.count;
    for (size_t i = 0; i < count; i++) {
        if (!stream_series(choice, has_order ? choice->order[i] : i, sink, err)) {
            return false;
        }
    }
    return true;
}

static void choose(struct choice *choice, size_t series, size_t step) {
    bit_set(choice->chosen[series], step);
    if (steps_is_instant(choice->steps)) {
        choice->order[choice->order_count++] = series;
    }
}

/* Evaluate parameter and input, let `pick` choose, stream what is left. */
static bool choice_run(struct choice *choice,
                       bool (*check)(struct choice *choice, bool *ret_is_empty, struct err *err),
                       bool (*pick)(struct choice *choice, struct err *err),
                       const struct sink *sink,
                       struct err *err) {
    struct eval *eval = choice->eval;
    uint64_t mark = eval->samples_now;
    bool is_empty = false;
    arena_init(&choice->arena, SIZE_MAX);
    bool is_ok =
        agg_param_eval(eval, choice->node, choice->steps, &choice->arena, &choice->param, err) &&
        eval_collect(eval, choice->node->args[0], choice->steps, &choice->input, err) &&
        check(choice, &is_empty, err);
    if (is_ok && !is_empty) {
        is_ok = choice_group(choice, err) && pick(choice, err);
        eval->samples_now = mark;
        is_ok = is_ok && stream_chosen(choice, sink, err);
    } else {
        eval->samples_now = mark;
    }
    eval->bytes_held -= choice->bytes;
    step_matrix_finish(&choice->input);
    arena_finish(&choice->arena);
    return is_ok;
}

/* ---- topk, bottomk, limitk ---- */

static bool fail_parameter(const struct choice *choice,
                           double value,
                           const char *what,
                           struct err *err) {
    struct str text = note_float(&choice->eval->notes, value);
    return err_set(err, ERR_EXEC, "Scalar value %.*s %s int64", STR_FMT(text), what);
}

static bool check_k(struct choice *choice, bool *ret_is_empty, struct err *err) {
    const struct agg_param *param = &choice->param;
    *ret_is_empty = param->max < 1;
    if (*ret_is_empty) {
        return true;
    }
    if (param->has_nan) {
        return err_set(err, ERR_EXEC, "Parameter value is NaN");
    }
    if (param->min <= -9223372036854775808.0) {
        return fail_parameter(choice, param->min, "underflows", err);
    }
    if (param->max >= 9223372036854774784.0) {
        return fail_parameter(choice, param->max, "overflows", err);
    }
    return true;
}

static void take_ranked(struct choice *choice,
                        struct rank_heap *heap,
                        struct ranked item,
                        size_t k) {
    if (heap->count < k) {
        rank_heap_push(heap, item);
    } else if (choice->node->expr->aggregate.op != PROMQL_AGG_LIMITK) {
        rank_heap_offer(heap, item);
    }
}

static void pick_step(struct choice *choice, struct rank_heap *heaps, size_t step, size_t k) {
    enum promql_agg op = choice->node->expr->aggregate.op;
    for (size_t g = 0; g < choice->group_count; g++) {
        heaps[g].count = 0;
    }
    for (size_t i = 0; i < choice->input.count; i++) {
        const struct step_series *series = &choice->input.series[i];
        if (bit_get(series->present, step)) {
            struct ranked item = { .value = series->values[step], .index = i };
            take_ranked(choice, &heaps[choice->group_of[i]], item, k);
        }
    }
    for (size_t g = 0; g < choice->group_count; g++) {
        if (op != PROMQL_AGG_LIMITK && heaps[g].count > 1 && steps_is_instant(choice->steps)) {
            rank_sort(heaps[g].items, heaps[g].count, op == PROMQL_AGG_BOTTOMK);
        }
        for (size_t i = 0; i < heaps[g].count; i++) {
            choose(choice, heaps[g].items[i].index, step);
        }
    }
}

static bool pick_k(struct choice *choice, struct err *err) {
    size_t count = choice->input.count;
    double k_max = choice->param.max < (double)count ? trunc(choice->param.max) : (double)count;
    struct rank_heap *heaps = arena_calloc(&choice->arena, choice->group_count, sizeof(heaps[0]));
    /* No group needs more places than it has series. */
    size_t *sizes = arena_calloc(&choice->arena, choice->group_count, sizeof(sizes[0]));
    for (size_t i = 0; i < count; i++) {
        sizes[choice->group_of[i]]++;
    }
    for (size_t g = 0; g < choice->group_count; g++) {
        size_t room = sizes[g] < (size_t)k_max ? sizes[g] : (size_t)k_max;
        heaps[g].items = arena_alloc(&choice->arena, room * sizeof(heaps[g].items[0]));
        heaps[g].is_reverse = choice->node->expr->aggregate.op == PROMQL_AGG_BOTTOMK;
    }
    for (size_t step = 0; step < choice->steps->count; step++) {
        double k = choice->param.values[step];
        if (!eval_work(choice->eval, count, err)) {
            return false;
        }
        if (k >= 1) {
            pick_step(choice, heaps, step, k < (double)count ? (size_t)k : count);
        }
    }
    return true;
}

bool agg_topk(struct eval *eval,
              const struct node *node,
              const struct steps *steps,
              const struct sink *sink,
              struct err *err) {
    struct choice choice = { .eval = eval, .node = node, .steps = steps };
    return choice_run(&choice, check_k, pick_k, sink, err);
}

/* ---- limit_ratio ---- */

static void note_ratio(const struct choice *choice, double ratio, double cap) {
    struct annotations *notes = &choice->eval->notes;
    struct str text = note_float(notes, ratio);
    note_add(notes, NOTE_WARNING, choice->node->args[1]->expr->pos_start,
             "ratio value should be between -1 and 1, got %.*s, capping to %d", STR_FMT(text),
             (int)cap);
}

static bool check_ratio(struct choice *choice, bool *ret_is_empty, struct err *err) {
    const struct agg_param *param = &choice->param;
    *ret_is_empty = param->max == 0 && param->min == 0;
    if (*ret_is_empty) {
        return true;
    }
    if (param->has_nan) {
        return err_set(err, ERR_EXEC, "Ratio value is NaN");
    }
    if (param->max > 1) {
        note_ratio(choice, param->max, 1);
    }
    if (param->min < -1) {
        note_ratio(choice, param->min, -1);
    }
    return true;
}

static void put_sized(struct buf *out, struct str text) {
    if (text.len < 255) {
        buf_putc(out, (char)text.len);
    } else {
        buf_putc(out, (char)255);
        buf_putc(out, (char)(text.len & 0xff));
        buf_putc(out, (char)((text.len >> 8) & 0xff));
        buf_putc(out, (char)((text.len >> 16) & 0xff));
    }
    buf_str(out, text);
}

/* Where a label set falls in [0, 1]: upstream's hash, so that both choose the same series. */
static double ratio_offset(struct labels labels, struct buf *bytes) {
    buf_reset(bytes);
    for (size_t i = 0; i < labels.count; i++) {
        put_sized(bytes, labels.items[i].name);
        put_sized(bytes, labels.items[i].value);
    }
    struct str all = buf_as_str(bytes);
    return (double)XXH64(all.ptr, all.len, 0) / 18446744073709551615.0;
}

static bool is_in_ratio(double offset, double ratio) {
    if (ratio >= 0) {
        return offset < (ratio > 1 ? 1 : ratio);
    }
    return offset >= 1.0 + (ratio < -1 ? -1 : ratio);
}

static bool pick_ratio(struct choice *choice, struct err *err) {
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    bool is_ok = true;
    for (size_t i = 0; i < choice->input.count && is_ok; i++) {
        double offset = ratio_offset(choice->input.series[i].labels, &bytes);
        for (size_t step = 0; step < choice->steps->count; step++) {
            double ratio = choice->param.values[step];
            if (ratio != 0 && bit_get(choice->input.series[i].present, step) &&
                is_in_ratio(offset, ratio)) {
                choose(choice, i, step);
            }
        }
        is_ok = eval_work(choice->eval, choice->steps->count, err);
    }
    buf_finish(&bytes);
    return is_ok;
}

bool agg_limit_ratio(struct eval *eval,
                     const struct node *node,
                     const struct steps *steps,
                     const struct sink *sink,
                     struct err *err) {
    struct choice choice = { .eval = eval, .node = node, .steps = steps };
    return choice_run(&choice, check_ratio, pick_ratio, sink, err);
}
