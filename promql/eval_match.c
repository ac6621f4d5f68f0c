/*
 * Vector matching: one-to-one, group_left, group_right, with fill values.
 *
 * Both sides are collected; a signature numbers the labels they are matched by. The "one" side must
 * have a signature at most once per step. Then every series of the "many" side meets the one
 * side's series of its signature; each pair is computed over all steps both are present at.
 */
#include <assert.h>

#include "promql/eval_binary.h"
#include "promql/eval_call.h"
#include "promql/quote.h"

enum {
    ERR_LABELS_BYTES_MAX = 1 << 14
};

struct join_side {
    struct step_matrix matrix;
    size_t *signature; /* per series */
    uint64_t *any;     /* steps with any series */
};

/* A result series and the steps at which it was matched, kept or not. */
struct join_result {
    uint64_t *matched;
    size_t signature;
};

struct join {
    struct eval *eval;
    const struct node *node;
    const struct promql_matching *matching;
    struct lset_names names; /* of the matching, as written */
    const struct steps *steps;
    size_t words;
    struct arena arena;
    struct signatures signatures;
    struct join_side many; /* after swapping sides for group_right */
    struct join_side one;
    uint64_t *active;       /* steps at which there is anything to match */
    uint64_t **one_present; /* per signature: the steps the one side has it at */
    uint64_t **matched;     /* per signature: the steps a pair was found at */
    size_t *one_first;      /* per signature: its series on the one side, as a list … */
    size_t *one_next;       /* … by one-side series; SIZE_MAX ends it */
    struct lset_index labels;
    struct step_matrix output;
    struct join_result *results;
    size_t result_cap;
    size_t bytes; /* of bitmaps, counted against the budget */
};

/* ---- preparation ---- */

static void side_prepare(struct join *join, struct join_side *side) {
    side->signature = arena_alloc(&join->arena, side->matrix.count * sizeof(size_t));
    side->any = arena_calloc(&join->arena, join->words, sizeof(uint64_t));
    for (size_t i = 0; i < side->matrix.count; i++) {
        const struct step_series *series = &side->matrix.series[i];
        side->signature[i] = signature_add(&join->signatures, series->labels);
        bits_or(side->any, series->present, join->steps->count);
    }
}

static bool join_prepare(struct join *join, struct err *err) {
    side_prepare(join, &join->many);
    side_prepare(join, &join->one);
    size_t bytes = 2 * join->signatures.index.count * join->words * sizeof(uint64_t);
    if (!eval_reserve_bytes(join->eval, bytes, err)) {
        return false;
    }
    join->bytes = bytes;
    bool has_fill = join->matching->has_fill_left || join->matching->has_fill_right;
    join->active = arena_calloc(&join->arena, join->words, sizeof(uint64_t));
    for (size_t i = 0; i < join->words; i++) {
        join->active[i] =
            has_fill ? join->many.any[i] | join->one.any[i] : join->many.any[i] & join->one.any[i];
    }
    size_t count = join->signatures.index.count;
    join->one_present = arena_calloc(&join->arena, count, sizeof(join->one_present[0]));
    join->matched = arena_calloc(&join->arena, count, sizeof(join->matched[0]));
    join->one_first = arena_alloc(&join->arena, count * sizeof(size_t));
    join->one_next = arena_alloc(&join->arena, join->one.matrix.count * sizeof(size_t));
    for (size_t i = 0; i < count; i++) {
        join->one_present[i] = arena_calloc(&join->arena, join->words, sizeof(uint64_t));
        join->matched[i] = arena_calloc(&join->arena, join->words, sizeof(uint64_t));
        join->one_first[i] = SIZE_MAX;
    }
    return true;
}

/* ---- the one side ---- */

static struct labels match_labels(struct join *join, struct labels labels) {
    return lset_keep(signature_labels(&join->signatures, labels), &join->eval->arena);
}

static bool fail_duplicate(struct join *join,
                           struct labels one,
                           struct labels other,
                           struct err *err) {
    struct buf text[2];
    struct buf group;
    buf_init(&text[0], ERR_LABELS_BYTES_MAX);
    buf_init(&text[1], ERR_LABELS_BYTES_MAX);
    buf_init(&group, ERR_LABELS_BYTES_MAX);
    lset_print_go(one, &text[0]);
    lset_print_go(other, &text[1]);
    lset_print_go(match_labels(join, one), &group);
    bool is_swapped = str_cmp(buf_as_str(&text[0]), buf_as_str(&text[1])) > 0;
    err_set(err, ERR_EXEC,
            "found duplicate series for the match group %.*s on the %s hand-side of the "
            "operation: [%.*s, %.*s];many-to-many matching not allowed: matching labels must be "
            "unique on one side",
            STR_FMT(buf_as_str(&group)),
            join->matching->card == PROMQL_ONE_TO_MANY ? "left" : "right",
            STR_FMT(buf_as_str(&text[is_swapped])), STR_FMT(buf_as_str(&text[!is_swapped])));
    buf_finish(&text[0]);
    buf_finish(&text[1]);
    buf_finish(&group);
    return false;
}

/* The series before `index` that has the same signature at `step`. */
static size_t find_other(const struct join *join, size_t index, size_t step) {
    for (size_t i = 0; i < index; i++) {
        if (join->one.signature[i] == join->one.signature[index] &&
            bit_get(join->one.matrix.series[i].present, step)) {
            return i;
        }
    }
    BUG("no duplicate of series %zu at step %zu", index, step);
}

/* List the one side's series by signature; the first step with a duplicate is the error. */
static bool index_one_side(struct join *join, struct err *err) {
    size_t steps = join->steps->count;
    uint64_t *relevant = arena_alloc(&join->arena, join->words * sizeof(uint64_t));
    size_t worst_step = steps;
    size_t worst = 0;
    for (size_t i = 0; i < join->one.matrix.count; i++) {
        const struct step_series *series = &join->one.matrix.series[i];
        size_t signature = join->one.signature[i];
        for (size_t w = 0; w < join->words; w++) {
            relevant[w] = series->present[w] & join->active[w];
        }
        size_t step = bits_first_common(relevant, join->one_present[signature], steps);
        if (step < worst_step) {
            worst_step = step;
            worst = i;
        }
        bits_or(join->one_present[signature], series->present, steps);
    }
    for (size_t i = join->one.matrix.count; i-- > 0;) {
        join->one_next[i] = join->one_first[join->one.signature[i]];
        join->one_first[join->one.signature[i]] = i;
    }
    if (worst_step == steps) {
        return true;
    }
    size_t other = find_other(join, worst, worst_step);
    return fail_duplicate(join, join->one.matrix.series[worst].labels,
                          join->one.matrix.series[other].labels, err);
}

/* ---- results ---- */

static struct labels result_labels(struct join *join, struct labels many, struct labels one) {
    const struct promql_expr *expr = join->node->expr;
    const struct promql_matching *matching = join->matching;
    struct arena *arena = &join->eval->arena;
    struct labels labels = many;
    if (binary_changes_schema(expr->binary.op) ||
        (expr->binary.return_bool && !join->eval->delays_name_removal)) {
        labels = lset_drop_metadata(labels, arena);
    }
    if (matching->card == PROMQL_ONE_TO_ONE) {
        labels = lset_keep(
            lset_project(&join->signatures.scratch, labels, &join->names, !matching->is_on), arena);
    }
    for (size_t i = 0; i < matching->include_count; i++) {
        struct str name = matching->include[i];
        labels = lset_with(labels, name, labels_get(one, name), arena);
    }
    return labels;
}

static bool result_find(struct join *join,
                        struct labels labels,
                        size_t signature,
                        size_t *ret,
                        struct err *err) {
    bool is_new;
    *ret = lset_index_add(&join->labels, labels, true, &is_new);
    if (!is_new) {
        return true;
    }
    struct step_series *series;
    if (!step_matrix_new(&join->output, labels, &series, err)) {
        return false;
    }
    series->drops_name = join->node->expr->binary.return_bool;
    join->results = arena_vec_grow(&join->arena, join->results, &join->result_cap, *ret + 1,
                                   sizeof(join->results[0]));
    join->results[*ret] = (struct join_result){
        .matched = arena_calloc(&join->arena, join->words, sizeof(uint64_t)),
        .signature = signature,
    };
    return true;
}

/* Each step of `mask` may be matched once: per signature, or with grouping per result. */
static bool check_unique(struct join *join,
                         struct join_result *result,
                         size_t signature,
                         const uint64_t *mask,
                         struct err *err) {
    size_t steps = join->steps->count;
    if (join->matching->card == PROMQL_ONE_TO_ONE) {
        if (bits_overlap(join->matched[signature], mask, steps)) {
            return err_set(err, ERR_EXEC,
                           "multiple matches for labels: many-to-one matching must be explicit "
                           "(group_left/group_right)");
        }
    } else if (result->signature == signature && bits_overlap(result->matched, mask, steps)) {
        return err_set(err, ERR_EXEC,
                       "multiple matches for labels: grouping labels must ensure unique matches");
    }
    bits_or(join->matched[signature], mask, steps);
    bits_or(result->matched, mask, steps);
    result->signature = signature;
    return true;
}

/* One operand of a pair: a series' values, or a fill value (values NULL). */
struct operand {
    struct labels labels;
    const double *values;
    double fill;
};

static inline double operand_at(const struct operand *operand, size_t step) {
    return operand->values == NULL ? operand->fill : operand->values[step];
}

static bool join_pair(struct join *join,
                      const struct operand *many,
                      const struct operand *one,
                      size_t signature,
                      const uint64_t *mask,
                      struct err *err) {
    const struct promql_expr *expr = join->node->expr;
    size_t steps = join->steps->count;
    size_t number;
    if (bits_next(mask, 0, steps) == steps) {
        return true;
    }
    if (!result_find(join, result_labels(join, many->labels, one->labels), signature, &number,
                     err) ||
        !check_unique(join, &join->results[number], signature, mask, err) ||
        !eval_work(join->eval, steps, err)) {
        return false;
    }
    struct step_series *out = &join->output.series[number];
    bool is_swapped = join->matching->card == PROMQL_ONE_TO_MANY;
    for (size_t i = bits_next(mask, 0, steps); i < steps; i = bits_next(mask, i + 1, steps)) {
        double lhs = operand_at(is_swapped ? one : many, i);
        double rhs = operand_at(is_swapped ? many : one, i);
        double value;
        bool holds = binary_apply(expr->binary.op, lhs, rhs, &value);
        if (expr->binary.return_bool) {
            value = holds;
            holds = true;
        }
        if (!holds) {
            continue;
        }
        if (bit_get(out->present, i)) {
            return duplicate_labelset(err);
        }
        step_series_set(out, i, value);
    }
    return true;
}

/* ---- matching ---- */

static bool match_many(struct join *join, size_t index, uint64_t *mask, struct err *err) {
    const struct step_series *series = &join->many.matrix.series[index];
    size_t signature = join->many.signature[index];
    struct operand many = { .labels = series->labels, .values = series->values };
    for (size_t i = join->one_first[signature]; i != SIZE_MAX; i = join->one_next[i]) {
        const struct step_series *other = &join->one.matrix.series[i];
        struct operand one = { .labels = other->labels, .values = other->values };
        for (size_t w = 0; w < join->words; w++) {
            mask[w] = series->present[w] & other->present[w];
        }
        if (!join_pair(join, &many, &one, signature, mask, err)) {
            return false;
        }
    }
    if (!join->matching->has_fill_right) {
        return true;
    }
    struct operand fill = {
        .labels = match_labels(join, series->labels),
        .fill = join->matching->fill_right,
    };
    for (size_t w = 0; w < join->words; w++) {
        mask[w] = series->present[w] & ~join->one_present[signature][w];
    }
    return join_pair(join, &many, &fill, signature, mask, err);
}

static bool fill_many(struct join *join, size_t index, uint64_t *mask, struct err *err) {
    const struct step_series *series = &join->one.matrix.series[index];
    size_t signature = join->one.signature[index];
    struct operand one = { .labels = series->labels, .values = series->values };
    struct operand fill = {
        .labels = match_labels(join, series->labels),
        .fill = join->matching->fill_left,
    };
    for (size_t w = 0; w < join->words; w++) {
        mask[w] = series->present[w] & ~join->matched[signature][w];
    }
    return join_pair(join, &fill, &one, signature, mask, err);
}

static bool join_run(struct join *join, struct err *err) {
    if (!join_prepare(join, err) || !index_one_side(join, err)) {
        return false;
    }
    uint64_t *mask = arena_alloc(&join->arena, join->words * sizeof(mask[0]));
    for (size_t i = 0; i < join->many.matrix.count; i++) {
        if (!match_many(join, i, mask, err)) {
            return false;
        }
    }
    for (size_t i = 0; join->matching->has_fill_left && i < join->one.matrix.count; i++) {
        if (!fill_many(join, i, mask, err)) {
            return false;
        }
    }
    return true;
}

static size_t count_at(const struct step_matrix *matrix, size_t step) {
    size_t count = 0;
    for (size_t i = 0; i < matrix->count; i++) {
        count += bit_get(matrix->series[i].present, step);
    }
    return count;
}

bool eval_join(struct eval *eval,
               const struct node *node,
               const struct steps *steps,
               const struct sink *sink,
               struct err *err) {
    struct join join = {
        .eval = eval,
        .node = node,
        .matching = &node->expr->binary.matching,
        .steps = steps,
        .words = bits_words(steps->count),
    };
    assert(join.matching->card != PROMQL_MANY_TO_MANY);
    bool is_swapped = join.matching->card == PROMQL_ONE_TO_MANY;
    struct join_side *lhs = is_swapped ? &join.one : &join.many;
    struct join_side *rhs = is_swapped ? &join.many : &join.one;
    uint64_t mark = eval->samples_now;
    arena_init(&join.arena, SIZE_MAX);
    signatures_init(&join.signatures, node, &join.arena);
    join.names = lset_names_sort(join.matching->labels, join.matching->label_count, &join.arena);
    lset_index_init(&join.labels, &join.arena);
    step_matrix_init(&join.output, eval, steps);
    bool is_ok = eval_collect(eval, node->args[0], steps, &lhs->matrix, err) &&
                 eval_collect(eval, node->args[1], steps, &rhs->matrix, err) &&
                 join_run(&join, err);
    if (is_ok) {
        step_matrix_recount(&join.output);
        uint64_t gathered = count_at(&join.many.matrix, steps->count - 1) +
                            count_at(&join.one.matrix, steps->count - 1);
        is_ok = eval_account(eval, mark, gathered, join.output.samples, err);
        if (is_ok && binary_is_trim(node->expr->binary.op) && join.output.count > 0) {
            binary_note_incompatible(eval, node);
        }
    }
    eval->bytes_held -= join.bytes;
    step_matrix_finish(&join.many.matrix);
    step_matrix_finish(&join.one.matrix);
    is_ok = is_ok && matrix_stream(&join.output, sink, err);
    step_matrix_finish(&join.output);
    arena_finish(&join.arena);
    return is_ok;
}
