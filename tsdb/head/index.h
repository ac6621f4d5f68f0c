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
 * Threads: none of its own; head.c guards it with index_lock.
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
    uint32_t name;  /* symbol; 0 = free number */
    uint32_t value; /* symbol; also the free list's link */
    struct handle_set handles;
};

struct index_name {
    uint32_t symbol; /* 0 = free number */
    uint32_t *pairs; /* every pair of the name; new ones at the end */
    size_t count;
    size_t cap;
};

struct index_retired {
    uint32_t string;
    uint16_t bytes;
    uint64_t epoch;
};

struct index_table {
    uint32_t *slots; /* numbers; 0 = free */
    uint32_t slot_count;
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
    uint32_t generation; /* counts drops: numbers kept from before it changed may be gone */
    struct index_retired *retired;
    size_t retired_count;
    size_t retired_cap;
};

void index_init(struct index *index, uint64_t seed);
void index_finish(struct index *index);

/* Intern the labels and put the handle into the set of every pair. Returns a label block, a slab
 * handle in index->labels. */
uint32_t index_add(struct index *index, uint32_t handle, struct labels labels);

/* True when the block's pairs spell exactly these labels. */
bool index_labels_equal(const struct index *index, uint32_t block, struct labels labels);

/* Labels pointing at the index' own strings (see Life). `items` has room for LABELS_COUNT_MAX;
 * returns their count, index_label_count(). */
size_t index_labels(const struct index *index, uint32_t block, struct label *items);

static inline size_t index_label_count(const struct index *index, uint32_t block) {
    return *(const uint8_t *)slab_at(&index->labels, block);
}

/* Take the handle out of the sets of its pairs and free its label block. */
void index_remove(struct index *index, uint32_t handle, uint32_t block);
/*
 * Drop pairs without handles and symbols nobody uses, a slice at a time: *name and *left start at 0
 * and say where to go on. Strings go to the retired list under `epoch`. False when all is done.
 */
bool index_drop_pairs(struct index *index, uint32_t *name, size_t *left, uint64_t epoch);
/* Free retired strings with an epoch < `epoch`. */
void index_release(struct index *index, uint64_t epoch);

/* Number of the pair or 0. */
uint32_t index_find_pair(const struct index *index, struct str name, struct str value);
/* The name's entry or NULL. */
const struct index_name *index_find_name(const struct index *index, struct str name);

struct str index_string(const struct index *index, uint32_t symbol);
