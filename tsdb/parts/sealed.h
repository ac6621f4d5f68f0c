/*
 * Is a sample sealed? Exact look-ups of single times in the store, with what was decoded for the
 * last ones kept: a client that repeats hours of samples, or fills in old ones, asks for the same
 * stretches again and again.
 *
 * What is kept is good for one state of the store (its transaction's number) and forgotten when
 * the store changed. Damaged rows and chunks are noted; what they hold is not found. Threads: one
 * owner at a time.
 */
#pragma once

#include "tsdb/db.h"
#include "tsdb/parts/part.h"

/* What is known of a series in a window: between first_ms and last_ms these samples are sealed and
 * no others. */
struct sealed_stretch {
    uint64_t id; /* 0: free */
    int64_t window;
    size_t txn_id;
    int64_t first_ms;
    int64_t last_ms;
    struct tsdb_column column;
};

struct sealed {
    struct tsdb *db;
    struct sealed_stretch *stretches; /* by hash; NULL until the first look-up */
    size_t bytes;                     /* in columns */
    size_t hand;                      /* next one to give its column back */
    struct store_row row;
    struct run_cache cache;
    struct part *parts; /* all live ones, as of parts_txn_id */
    size_t part_count;
    size_t parts_txn_id;
};

void sealed_init(struct sealed *sealed, struct tsdb *db);
void sealed_finish(struct sealed *sealed);

bool sealed_find(struct sealed *sealed,
                 MDB_txn *txn,
                 uint64_t id,
                 int64_t t_ms,
                 uint64_t *ret_value_bits);
