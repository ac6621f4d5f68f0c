/*
 * The index of the head: interned symbols, interned label pairs, one set of series handles per
 * pair, and the values of every label name.
 *
 * Terms  symbol = a label name or value, interned; pair = (name symbol, value symbol), numbered
 *        from 1.
 * Life   a pair lives while its set is not empty (and until index_drop_pairs() comes by), a symbol
 *        while a pair uses it. Strings of
 *        dropped symbols are kept until index_release() says that nobody can still point at them.
 * Hash   every table is keyed with a per-process seed.
 * Threads: one changes it at a time; head.c sees to that with index_lock. Any may look at it with
 * that lock, shared, or with an open slot of the readers (readers.h) and no lock at all, as far as
 * functions say so. Without the lock a series or pair may leave, and its numbers go to another,
 * between two looks: the caller asks afterwards whether it was so (index_generation, series.id).
 */
#pragma once

#include "model/model.h"
#include "tsdb/head/handles.h"
#include "tsdb/head/slab.h"

struct index_symbol {
    uint32_t string; /* in `strings`: u16 length, bytes; 0 = free number */
    uint32_t refs;   /* pairs using it; also the free list's link */
    uint32_t name;   /* number in `names` when it is a label name, else 0 */
};

struct index_pair {
    uint32_t name;  /* symbol; 0 = free number, or being made */
    uint32_t value; /* symbol; also the free list's link */
    struct handle_set handles;
};

/* Every pair of a name; new ones at the end. */
struct index_values {
    uint32_t count;
    uint32_t cap;
    uint32_t pairs[];
};

struct index_name {
    uint32_t symbol;             /* 0 = free number */
    struct index_values *values; /* NULL: none yet */
};

struct index_retired {
    uint32_t string;
    uint16_t bytes;
    uint64_t epoch;
};

struct index_slots {
    uint32_t mask;
    uint32_t numbers[]; /* 0 = free */
};

struct index_table {
    struct index_slots *slots;
    uint32_t used;
};

struct index {
    uint64_t seed;
    struct slab strings;
    struct slab labels; /* the pair numbers of every series */
    struct index_symbol *symbols;
    size_t symbol_cap;
    uint32_t symbol_count; /* highest number + 1 */
    uint32_t symbol_free;
    struct index_table symbol_table;
    struct index_pair *pairs;
    size_t pair_cap;
    uint32_t pair_count; /* highest number + 1 */
    uint32_t pair_free;
    struct index_table pair_table;
    struct index_name *names;
    size_t name_cap;
    uint32_t name_count;               /* highest number + 1 */
    uint32_t recent[LABELS_COUNT_MAX]; /* pairs of the series added last, by position; 0 = none */
    uint32_t generation;               /* private: counts drops twice; odd while one is under way */
    struct retired garbage;            /* arrays that were replaced */
    struct index_retired *retired;
    size_t retired_count;
    size_t retired_cap;
};

/* `readers`: who may look without the lock; NULL = nobody. */
void index_init(struct index *index, uint64_t seed, struct readers *readers);
void index_finish(struct index *index);

/* Intern the labels and put the handle into the set of every pair. Returns a label block, a slab
 * handle in index->labels. */
uint32_t index_add(struct index *index, uint32_t handle, struct labels labels);

/* True when the block's pairs spell exactly these labels. */
bool index_labels_equal(const struct index *index, uint32_t block, struct labels labels);

/* Labels pointing at the index' own strings (see Life). `items` has room for LABELS_COUNT_MAX;
 * returns their count. */
size_t index_labels(const struct index *index, uint32_t block, struct label *items);
/* The same in two steps, without the lock: the numbers mean something if the series was still there
 * after the first one, the labels if it was after the second. */
size_t index_label_numbers(const struct index *index,
                           uint32_t block,
                           uint32_t numbers[LABELS_COUNT_MAX]);
struct label index_label(const struct index *index, uint32_t pair);

/* Take the handle out of the sets of its pairs and free its label block. */
void index_remove(struct index *index, uint32_t handle, uint32_t block);
/*
 * Drop pairs without handles and symbols nobody uses, a slice at a time: *name and *left start at 0
 * and say where to go on. Strings are kept for who reads now. False when all is done.
 */
bool index_drop_pairs(struct index *index, uint32_t *name, size_t *left);
/* Free strings and arrays that nobody can look at any more. */
void index_release(struct index *index);

/*
 * The rest is for any reader, see Threads. What was found between two equal generations is true.
 * index_generation() waits for a drop under way, which is short.
 */
uint32_t index_generation(const struct index *index);

static inline bool index_is_same(const struct index *index, uint32_t generation) {
    return RACE_LOAD(&index->generation) == generation;
}

static inline const struct index_pair *index_pair(const struct index *index, uint32_t number) {
    return &RACE_LOAD(&index->pairs)[number];
}

static inline const struct index_name *index_name(const struct index *index, uint32_t number) {
    return &RACE_LOAD(&index->names)[number];
}

/* How many pairs the name has, and *ret_pairs: read each with RACE_LOAD. */
static inline uint32_t index_name_pairs(const struct index_name *name, const uint32_t **ret_pairs) {
    const struct index_values *values = RACE_LOAD(&name->values);
    *ret_pairs = values == NULL ? NULL : values->pairs;
    return values == NULL ? 0 : RACE_LOAD(&values->count);
}

/* Number of the pair or 0. */
uint32_t index_find_pair(const struct index *index, struct str name, struct str value);
/* The name's entry or NULL. */
const struct index_name *index_find_name(const struct index *index, struct str name);

struct str index_string(const struct index *index, uint32_t symbol);
