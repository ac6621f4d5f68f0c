/*
 * Values at steps: the currency between plan nodes. A series holds one double per step and a bitmap
 * of the steps that have a value; the double of an absent step is 0.
 */
#pragma once

#include "model/model.h"

struct eval;

/* The times of one evaluation: start_ms + i * step_ms for i < count. */
struct steps {
    int64_t start_ms;
    int64_t end_ms;  /* as asked for; may lie past the last step */
    int64_t step_ms; /* > 0 */
    size_t count;    /* 0: nothing to evaluate */
};

struct steps steps_make(int64_t start_ms, int64_t end_ms, int64_t step_ms);

static inline int64_t steps_at(const struct steps *steps, size_t index) {
    return steps->start_ms + (int64_t)index * steps->step_ms;
}

/* Only one moment is evaluated: the order of the result is the order of evaluation. */
static inline bool steps_is_instant(const struct steps *steps) {
    return steps->start_ms == steps->end_ms;
}

/* ---- bitmaps of steps ---- */

static inline size_t bits_words(size_t count) {
    return (count + 63) / 64;
}

static inline bool bit_get(const uint64_t *bits, size_t index) {
    return (bits[index / 64] >> (index % 64)) & 1;
}

static inline void bit_set(uint64_t *bits, size_t index) {
    bits[index / 64] |= UINT64_C(1) << (index % 64);
}

static inline void bit_clear(uint64_t *bits, size_t index) {
    bits[index / 64] &= ~(UINT64_C(1) << (index % 64));
}

void bits_zero(uint64_t *bits, size_t count);
void bits_fill(uint64_t *bits, size_t count); /* sets the first `count`, clears the rest */
void bits_or(uint64_t *bits, const uint64_t *other, size_t count);
size_t bits_count(const uint64_t *bits, size_t count);
bool bits_overlap(const uint64_t *a, const uint64_t *b, size_t count);
/* First index set in both, `count` when there is none. */
size_t bits_first_common(const uint64_t *a, const uint64_t *b, size_t count);
/* First index >= from that is set, `count` when there is none. */
size_t bits_next_far(const uint64_t *bits, size_t from, size_t count);

static inline size_t bits_next(const uint64_t *bits, size_t from, size_t count) {
    return from < count && bit_get(bits, from) ? from : bits_next_far(bits, from, count);
}

/* ---- series ---- */

struct step_series {
    struct labels labels; /* live as long as the query */
    double *values;       /* one per step; 0 where absent */
    uint64_t *present;
    size_t count;    /* steps present */
    bool drops_name; /* the metric name goes at the end (delayed name removal) */
};

/* An empty series with room for all steps. */
void step_series_init(struct step_series *series, struct arena *arena, const struct steps *steps);
void step_series_clear(struct step_series *series, const struct steps *steps);

static inline void step_series_set(struct step_series *series, size_t index, double value) {
    series->values[index] = value;
    bit_set(series->present, index);
    series->count++;
}

struct step_matrix {
    struct step_series *series;
    size_t count;
    size_t cap;
    size_t samples;     /* present values of all series */
    struct eval *eval;  /* whose memory budget it counts against */
    struct arena arena; /* private */
    size_t bytes;       /* private: counted against the budget */
    struct steps steps;
};

void step_matrix_init(struct step_matrix *matrix, struct eval *eval, const struct steps *steps);
void step_matrix_finish(struct step_matrix *matrix);

/* Append an empty series / a copy. Errors: ERR_LIMIT. */
WARN_UNUSED bool step_matrix_new(struct step_matrix *matrix,
                                 struct labels labels,
                                 struct step_series **ret,
                                 struct err *err);
WARN_UNUSED bool step_matrix_copy(struct step_matrix *matrix,
                                  const struct step_series *series,
                                  struct err *err);
/* Count after writing to series in place. */
void step_matrix_recount(struct step_matrix *matrix);

/* Union of `series` into `into`, which must not overlap (ERR_EXEC in upstream's words). */
WARN_UNUSED bool step_series_merge(struct step_series *into,
                                   const struct step_series *series,
                                   const struct steps *steps,
                                   struct err *err);

bool duplicate_labelset(struct err *err);
