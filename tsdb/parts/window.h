/*
 * The index of finished windows: postings rows in the store, so that series which left the head can
 * be selected. What queries read of it is declared in querier.h (window_match, window_visit).
 */
#pragma once

#include "tsdb/codec/bytes.h"
#include "tsdb/db.h"

#define POSTING_VALUE_BYTES 160 /* of a value in the key */
#define POSTING_KEY_MAX     (8 + 2 + LABEL_NAME_BYTES_MAX + POSTING_VALUE_BYTES + 8 + 4)
#define POSTING_ROW_VERSION 2
#define POSTING_IDS_MAX     8192 /* in a row */

struct posting_walk {
    struct store *store;
    MDB_txn *txn;
    int64_t window;
    struct tsdb_querier *querier; /* for which damaged rows are left out; NULL: an error */
};

/* The key of a pair's rows without the part number; returns its length. */
size_t posting_key(uint8_t key[POSTING_KEY_MAX], int64_t window, struct str name, struct str value);

struct posting_row {
    struct str name; /* in the key or the body, as value is */
    struct str value;
    /* private: see posting_next */
    uint8_t version;
    struct reader ids;
    uint64_t left; /* of a run of ids; version 1: of all */
    uint64_t id;
};

WARN_UNUSED bool posting_parse(struct str key,
                               struct str body,
                               struct posting_row *ret,
                               struct err *err);
/* The ids, ascending. False at the end, or with row->ids.is_bad set. */
WARN_UNUSED bool posting_next(struct posting_row *row, uint64_t *ret_id);
/* The same of a row met with a cursor, its checksum first. */
WARN_UNUSED bool posting_check(MDB_val key, MDB_val row, struct posting_row *ret, struct err *err);
/* Make a pair's rows those of `ids` (normalized; may be empty); adds their size. Returns an LMDB
 * code. */
int posting_put(const struct posting_walk *walk,
                struct str name,
                struct str value,
                const struct idset *ids,
                size_t *bytes);

/* Add the ids stored for exactly this pair. */
WARN_UNUSED bool posting_collect(const struct posting_walk *walk,
                                 struct str name,
                                 struct str value,
                                 struct idset *out,
                                 struct err *err);

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
