/*
 * The index of finished windows: postings rows in the store, so that series which left the head can
 * be selected. Reading is declared in querier.h (window_match, window_visit).
 */
#pragma once

#include "tsdb/db.h"

/*
 * Cover the pending rows of every window before `end_window` with postings. Idempotent after a
 * crash; runs in slices. Under the maintain lock.
 */
WARN_UNUSED bool window_index_all(struct tsdb *db, int64_t end_window, struct err *err);

/* Run `put` in a write transaction of the store and commit; again after growing a full map. */
WARN_UNUSED bool store_write(struct tsdb *db,
                             int (*put)(void *ctx, struct store *store, MDB_txn *txn),
                             void *ctx,
                             const char *what,
                             struct err *err);
