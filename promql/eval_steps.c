/* Values at steps: bitmaps, series, matrices. */
#include "promql/eval_steps.h"

#include <assert.h>

#include "promql/eval.h"

struct steps steps_make(int64_t start_ms, int64_t end_ms, int64_t step_ms) {
    assert(step_ms > 0);
    struct steps steps = { .start_ms = start_ms, .end_ms = end_ms, .step_ms = step_ms };
    if (end_ms >= start_ms) {
        uint64_t span_ms = (uint64_t)end_ms - (uint64_t)start_ms;
        steps.count = (size_t)(span_ms / (uint64_t)step_ms) + 1;
    }
    return steps;
}

/* ---- bitmaps ---- */

void bits_zero(uint64_t *bits, size_t count) {
    memset(bits, 0, bits_words(count) * sizeof(bits[0]));
}

void bits_fill(uint64_t *bits, size_t count) {
    memset(bits, 0xff, bits_words(count) * sizeof(bits[0]));
    if (count % 64 != 0) {
        bits[count / 64] = (UINT64_C(1) << (count % 64)) - 1;
    }
}

void bits_or(uint64_t *bits, const uint64_t *other, size_t count) {
    for (size_t i = 0; i < bits_words(count); i++) {
        bits[i] |= other[i];
    }
}

size_t bits_count(const uint64_t *bits, size_t count) {
    size_t sum = 0;
    for (size_t i = 0; i < bits_words(count); i++) {
        sum += (size_t)__builtin_popcountll(bits[i]);
    }
    return sum;
}

bool bits_overlap(const uint64_t *a, const uint64_t *b, size_t count) {
    for (size_t i = 0; i < bits_words(count); i++) {
        if ((a[i] & b[i]) != 0) {
            return true;
        }
    }
    return false;
}

size_t bits_first_common(const uint64_t *a, const uint64_t *b, size_t count) {
    for (size_t i = 0; i < bits_words(count); i++) {
        uint64_t both = a[i] & b[i];
        if (both != 0) {
            return i * 64 + (size_t)__builtin_ctzll(both);
        }
    }
    return count;
}

size_t bits_next_far(const uint64_t *bits, size_t from, size_t count) {
    if (from >= count) {
        return count;
    }
    size_t word = from / 64;
    uint64_t rest = bits[word] & (UINT64_MAX << (from % 64));
    while (rest == 0) {
        word++;
        if (word >= bits_words(count)) {
            return count;
        }
        rest = bits[word];
    }
    return word * 64 + (size_t)__builtin_ctzll(rest);
}

/* ---- series ---- */

void step_series_init(struct step_series *series, struct arena *arena, const struct steps *steps) {
    *series = (struct step_series){
        .values = arena_calloc(arena, steps->count, sizeof(series->values[0])),
        .present = arena_calloc(arena, bits_words(steps->count), sizeof(series->present[0])),
    };
}

void step_series_clear(struct step_series *series, const struct steps *steps) {
    memset(series->values, 0, steps->count * sizeof(series->values[0]));
    bits_zero(series->present, steps->count);
    series->count = 0;
}

bool duplicate_labelset(struct err *err) {
    return err_set(err, ERR_EXEC, "vector cannot contain metrics with the same labelset");
}

bool step_series_merge(struct step_series *into,
                       const struct step_series *series,
                       const struct steps *steps,
                       struct err *err) {
    if (bits_overlap(into->present, series->present, steps->count)) {
        return duplicate_labelset(err);
    }
    for (size_t i = bits_next(series->present, 0, steps->count); i < steps->count;
         i = bits_next(series->present, i + 1, steps->count)) {
        into->values[i] = series->values[i];
    }
    bits_or(into->present, series->present, steps->count);
    into->count += series->count;
    return true;
}

/* ---- matrices ---- */

void step_matrix_init(struct step_matrix *matrix, struct eval *eval, const struct steps *steps) {
    *matrix = (struct step_matrix){ .eval = eval, .steps = *steps };
    arena_init(&matrix->arena, SIZE_MAX);
}

void step_matrix_finish(struct step_matrix *matrix) {
    if (matrix->eval != NULL) {
        assert(matrix->eval->bytes_held >= matrix->bytes);
        matrix->eval->bytes_held -= matrix->bytes;
    }
    arena_finish(&matrix->arena);
    *matrix = (struct step_matrix){ 0 };
}

bool step_matrix_new(struct step_matrix *matrix,
                     struct labels labels,
                     struct step_series **ret,
                     struct err *err) {
    size_t bytes = matrix->steps.count * sizeof(double) +
                   bits_words(matrix->steps.count) * sizeof(uint64_t) + sizeof(struct step_series);
    if (!eval_reserve_bytes(matrix->eval, bytes, err)) {
        return false;
    }
    matrix->bytes += bytes;
    matrix->series = arena_vec_grow(&matrix->arena, matrix->series, &matrix->cap, matrix->count + 1,
                                    sizeof(matrix->series[0]));
    struct step_series *series = &matrix->series[matrix->count++];
    step_series_init(series, &matrix->arena, &matrix->steps);
    series->labels = labels;
    *ret = series;
    return true;
}

bool step_matrix_copy(struct step_matrix *matrix,
                      const struct step_series *series,
                      struct err *err) {
    struct step_series *copy;
    if (!step_matrix_new(matrix, series->labels, &copy, err)) {
        return false;
    }
    size_t steps = matrix->steps.count;
    memcpy(copy->values, series->values, steps * sizeof(copy->values[0]));
    memcpy(copy->present, series->present, bits_words(steps) * sizeof(copy->present[0]));
    copy->count = series->count;
    copy->drops_name = series->drops_name;
    matrix->samples += copy->count;
    return true;
}

void step_matrix_recount(struct step_matrix *matrix) {
    matrix->samples = 0;
    for (size_t i = 0; i < matrix->count; i++) {
        struct step_series *series = &matrix->series[i];
        series->count = bits_count(series->present, matrix->steps.count);
        matrix->samples += series->count;
    }
}
