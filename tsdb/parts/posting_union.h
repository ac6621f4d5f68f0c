/*
 * Uniting the postings of several places into those of a new one, pair by pair in the order of
 * keys, in slices of one transaction: for merged parts and for periods of rollups.
 *
 * Threads: under the maintain lock. Repeating a union from its beginning is harmless.
 */
#pragma once

#include "tsdb/parts/window.h"

struct posting_union {
    struct tsdb *db;
    const int64_t *places; /* sources */
    size_t place_count;
    int64_t target;
    const struct idset *ids; /* only these are taken */
    struct buf after;        /* private: key of the pair written last, without place and part */
    bool has_after;          /* private */
};

void posting_union_init(struct posting_union *postings, struct tsdb *db);
void posting_union_finish(struct posting_union *postings);

/* Write the next slice. */
WARN_UNUSED bool posting_union_step(struct posting_union *postings,
                                    bool *ret_is_over,
                                    struct err *err);
