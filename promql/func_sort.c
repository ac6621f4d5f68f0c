/* sort, sort_desc, sort_by_label(_desc): the order of an instant query's result. */
#include <assert.h>
#include <stdlib.h>

#include "promql/eval_call.h"
#include "promql/eval_rank.h"

static bool map_same(const struct value_map *map, size_t step, double *value) {
    (void)map;
    (void)step;
    (void)value;
    return true;
}

/* A range query's result is sorted by labels in the end: pass everything through. */
static bool stream_unsorted(struct eval *eval,
                            const struct node *node,
                            const struct steps *steps,
                            const struct sink *sink,
                            struct err *err) {
    struct value_map map = { .apply = map_same, .keeps_name = true, .steps = steps };
    bool is_ok = value_map_stream(eval, node->args[0], steps, &map, sink, err);
    note_add(&eval->notes, NOTE_WARNING, node->expr->pos_start,
             "sort is ineffective for range queries since results are always ordered by labels");
    return is_ok;
}

/* Upstream's account of one step: the input, gathered again, and the result. */
static bool account_sorted(struct eval *eval, uint64_t mark, size_t count, struct err *err) {
    return eval_account(eval, mark, count, count, err);
}

/* ---- by value ---- */

bool func_sort(struct eval *eval,
               const struct node *node,
               const struct steps *steps,
               const struct sink *sink,
               struct err *err) {
    if (!steps_is_instant(steps)) {
        return stream_unsorted(eval, node, steps, sink, err);
    }
    uint64_t mark = eval->samples_now;
    struct step_matrix matrix;
    bool is_ok = eval_collect(eval, node->args[0], steps, &matrix, err) &&
                 account_sorted(eval, mark, matrix.count, err);
    struct ranked *ranked = arena_alloc(&matrix.arena, matrix.count * sizeof(ranked[0]));
    for (size_t i = 0; i < matrix.count; i++) {
        ranked[i] = (struct ranked){ .value = matrix.series[i].values[0], .index = i };
    }
    rank_sort(ranked, matrix.count, node->expr->call.function->id == PROMQL_FN_SORT);
    for (size_t i = 0; i < matrix.count && is_ok; i++) {
        is_ok = sink_take(sink, &matrix.series[ranked[i].index], err);
    }
    step_matrix_finish(&matrix);
    return is_ok;
}

/* ---- by label, numbers inside values compared as numbers ---- */

/* The next run of digits or of anything else. */
static struct str next_chunk(struct str *rest) {
    size_t len = 0;
    bool is_digit = rest->len > 0 && rest->ptr[0] >= '0' && rest->ptr[0] <= '9';
    while (len < rest->len && (rest->ptr[len] >= '0' && rest->ptr[len] <= '9') == is_digit) {
        len++;
    }
    struct str chunk = str_n(rest->ptr, len);
    *rest = str_n(rest->ptr + len, rest->len - len);
    return chunk;
}

/* As upstream, but for a missing label, which upstream orders neither way: it comes first here. */
static bool is_naturally_less(struct str a, struct str b) {
    if (a.len == 0) {
        return b.len > 0;
    }
    while (a.len > 0) {
        if (b.len == 0) {
            return false;
        }
        struct str chunk_a = next_chunk(&a);
        struct str chunk_b = next_chunk(&b);
        int64_t number_a;
        int64_t number_b;
        bool is_equal = str_eq(chunk_a, chunk_b);
        if (str_parse_i64(chunk_a, &number_a) && str_parse_i64(chunk_b, &number_b)) {
            is_equal = number_a == number_b;
            if (!is_equal) {
                return number_a < number_b;
            }
        }
        if (!is_equal) {
            return str_cmp(chunk_a, chunk_b) < 0;
        }
        if (a.len == 0) {
            return true;
        }
        if (b.len == 0) {
            return false;
        }
    }
    return false;
}

static int compare_by_labels(const void *a, const void *b, void *ctx) {
    const struct step_series *x = *(const struct step_series *const *)a;
    const struct step_series *y = *(const struct step_series *const *)b;
    const struct node *node = ctx;
    bool is_descending = node->expr->call.function->id == PROMQL_FN_SORT_BY_LABEL_DESC;
    int order = 0;
    for (size_t i = 1; i < node->arg_count && order == 0; i++) {
        struct str value_x = labels_get(x->labels, call_string_arg(node, i));
        struct str value_y = labels_get(y->labels, call_string_arg(node, i));
        if (!str_eq(value_x, value_y)) {
            order = is_naturally_less(value_x, value_y) ? -1 : 1;
        }
    }
    if (order == 0) {
        order = labels_cmp(x->labels, y->labels);
    }
    return is_descending ? -order : order;
}

bool func_sort_by_label(struct eval *eval,
                        const struct node *node,
                        const struct steps *steps,
                        const struct sink *sink,
                        struct err *err) {
    if (!steps_is_instant(steps)) {
        return stream_unsorted(eval, node, steps, sink, err);
    }
    uint64_t mark = eval->samples_now;
    struct step_matrix matrix;
    bool is_ok = eval_collect(eval, node->args[0], steps, &matrix, err) &&
                 account_sorted(eval, mark, matrix.count, err);
    const struct step_series **order = arena_alloc(&matrix.arena, matrix.count * sizeof(order[0]));
    for (size_t i = 0; i < matrix.count; i++) {
        order[i] = &matrix.series[i];
    }
    if (matrix.count > 1) {
        struct node copy = *node; /* qsort_r's context is not const */
        qsort_r(order, matrix.count, sizeof(order[0]), compare_by_labels, &copy);
    }
    for (size_t i = 0; i < matrix.count && is_ok; i++) {
        is_ok = sink_take(sink, order[i], err);
    }
    step_matrix_finish(&matrix);
    return is_ok;
}
