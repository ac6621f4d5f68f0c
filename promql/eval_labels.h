/*
 * Label sets in evaluation: projections, an index from label sets to numbers, upstream's text form.
 * Projections borrow names and values from their source; only the array is new.
 */
#pragma once

#include "model/model.h"

/* Without __name__, __type__ and __unit__: a slice of the source where possible. */
struct labels lset_drop_metadata(struct labels labels, struct arena *arena);
bool lset_is_metadata(struct str name); /* __name__, __type__, __unit__ */
size_t lset_metadata_count(struct labels labels);

struct lset_names {
    const struct str *names; /* sorted */
    size_t count;
};
/* Sorted copy. */
struct lset_names lset_names_sort(const struct str *names, size_t count, struct arena *arena);
bool lset_names_has(const struct lset_names *names, struct str name);

/* Scratch for projections that are looked at and thrown away. */
struct lset_scratch {
    struct label *items;
    size_t cap;
    struct arena *arena;
};

/* The labels in `names` (or, with is_without, those not in it). */
struct labels lset_project(struct lset_scratch *scratch,
                           struct labels labels,
                           const struct lset_names *names,
                           bool is_without);
/* A copy of the array, names and values borrowed. */
struct labels lset_keep(struct labels labels, struct arena *arena);

/* The set plus one label (replaced if there; removed when value is empty). */
struct labels lset_with(struct labels labels,
                        struct str name,
                        struct str value,
                        struct arena *arena);

/* {a="b", c="d"} with the name as a label, as upstream's errors print it. */
void lset_print_go(struct labels labels, struct buf *out);

/* Numbers distinct label sets 0, 1, 2 … in order of first appearance. */
struct lset_slot {
    uint64_t hash;
    size_t number; /* + 1; 0 = free */
};

struct lset_index {
    struct arena *arena;
    struct labels *keys;
    size_t count;
    size_t cap;
    struct lset_slot *slots;
    size_t slot_count;
};

void lset_index_init(struct lset_index *index, struct arena *arena);
/* The number of a set; SIZE_MAX when it is not there. */
size_t lset_index_find(const struct lset_index *index, struct labels labels);
/* Adds when missing (ret_is_new). With is_borrowed the caller's array is kept, else copied. */
size_t lset_index_add(struct lset_index *index,
                      struct labels labels,
                      bool is_borrowed,
                      bool *ret_is_new);
