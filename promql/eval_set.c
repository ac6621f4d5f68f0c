/*
 * and, or, unless: which steps of a series survive depends on where the other side has its
 * signature. Only those bitmaps are kept; the series themselves stream through.
 */
#include <assert.h>

#include "promql/eval_binary.h"
#include "promql/eval_call.h"

struct set_operation {
    struct eval *eval;
    const struct steps *steps;
    struct signatures signatures;
    struct arena arena;
    uint64_t **present; /* per signature: the steps where the other side has it */
    size_t cap;
    size_t bytes;
    bool keeps_matches; /* and: keep what matches; else what does not */
    struct step_series *out;
    const struct sink *sink;
    uint64_t gathered;
    uint64_t produced;
};

/* Note where a side has its signatures. */
static bool note_presence(void *ctx, const struct step_series *series, struct err *err) {
    struct set_operation *set = ctx;
    size_t known = set->signatures.index.count;
    size_t number = signature_add(&set->signatures, series->labels);
    if (number == known) {
        size_t bytes = bits_words(set->steps->count) * sizeof(uint64_t);
        if (!eval_reserve_bytes(set->eval, bytes, err)) {
            return false;
        }
        set->bytes += bytes;
        set->present = arena_vec_grow(&set->arena, set->present, &set->cap, number + 1,
                                      sizeof(set->present[0]));
        set->present[number] = arena_calloc(&set->arena, bytes, 1);
    }
    bits_or(set->present[number], series->present, set->steps->count);
    set->gathered += bit_get(series->present, set->steps->count - 1);
    return true;
}

/* Pass on what survives of a series. */
static bool filter_series(void *ctx, const struct step_series *series, struct err *err) {
    struct set_operation *set = ctx;
    size_t steps = set->steps->count;
    struct step_series *out = set->out;
    size_t number =
        lset_index_find(&set->signatures.index, signature_labels(&set->signatures, series->labels));
    set->gathered += bit_get(series->present, steps - 1);
    for (size_t word = 0; word < bits_words(steps); word++) {
        uint64_t other = number == SIZE_MAX ? 0 : set->present[number][word];
        out->present[word] = series->present[word] & (set->keeps_matches ? other : ~other);
    }
    out->count = bits_count(out->present, steps);
    memset(out->values, 0, steps * sizeof(out->values[0]));
    for (size_t i = bits_next(out->present, 0, steps); i < steps;
         i = bits_next(out->present, i + 1, steps)) {
        out->values[i] = series->values[i];
    }
    out->labels = series->labels;
    out->drops_name = series->drops_name;
    set->produced += out->count;
    return eval_fits(set->eval, set->produced, err) && sink_take(set->sink, out, err);
}

/* or: the left side as it is, and where it is. */
static bool pass_and_note(void *ctx, const struct step_series *series, struct err *err) {
    struct set_operation *set = ctx;
    set->produced += series->count;
    return note_presence(ctx, series, err) && eval_fits(set->eval, set->produced, err) &&
           sink_take(set->sink, series, err);
}

static bool eval_filter(struct set_operation *set,
                        const struct node *node,
                        const struct sink *sink,
                        struct err *err) {
    struct sink note = { .take = note_presence, .ctx = set };
    struct sink filter = { .take = filter_series, .ctx = set };
    set->sink = sink;
    /* The right side first, so that the left one need not be kept; its notes come later, though. */
    struct annotations notes = set->eval->notes;
    annotations_init(&set->eval->notes, notes.arena);
    bool is_ok = eval_stream(set->eval, node->args[1], set->steps, &note, err);
    struct annotations later = set->eval->notes;
    set->eval->notes = notes;
    is_ok = is_ok && eval_stream(set->eval, node->args[0], set->steps, &filter, err);
    annotations_merge(&set->eval->notes, &later);
    annotations_finish(&later);
    return is_ok;
}

/* Both sides may have a series of the same labels at different steps: joined here. */
static bool eval_or(struct set_operation *set,
                    const struct node *node,
                    const struct sink *sink,
                    struct err *err) {
    struct merger merger;
    merger_init(&merger, set->eval, set->steps);
    struct sink merge = { .take = merger_take, .ctx = &merger };
    struct sink left = { .take = pass_and_note, .ctx = set };
    struct sink right = { .take = filter_series, .ctx = set };
    set->sink = &merge;
    bool is_ok = eval_stream(set->eval, node->args[0], set->steps, &left, err) &&
                 eval_stream(set->eval, node->args[1], set->steps, &right, err) &&
                 matrix_stream(&merger.matrix, sink, err);
    step_matrix_finish(&merger.matrix);
    return is_ok;
}

bool eval_set(struct eval *eval,
              const struct node *node,
              const struct steps *steps,
              const struct sink *sink,
              struct err *err) {
    enum promql_op op = node->expr->binary.op;
    uint64_t mark = eval->samples_now;
    struct set_operation set = {
        .eval = eval,
        .steps = steps,
        .keeps_matches = op == PROMQL_OP_AND,
    };
    struct step_matrix scratch;
    step_matrix_init(&scratch, eval, steps);
    arena_init(&set.arena, SIZE_MAX);
    signatures_init(&set.signatures, node, &set.arena);
    bool is_ok = step_matrix_new(&scratch, (struct labels){ 0 }, &set.out, err);
    if (op == PROMQL_OP_OR) {
        is_ok = is_ok && eval_or(&set, node, sink, err);
    } else {
        is_ok = is_ok && eval_filter(&set, node, sink, err);
    }
    is_ok = is_ok && eval_account(eval, mark, set.gathered, set.produced, err);
    eval->bytes_held -= set.bytes;
    arena_finish(&set.arena);
    step_matrix_finish(&scratch);
    return is_ok;
}
