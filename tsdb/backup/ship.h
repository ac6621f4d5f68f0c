/*
 * Shipping the journal: a thread appends every committed journal record, and every table change of
 * the same commits, to files in another directory (ship_file.h), so that a restore can go to any
 * moment after a base backup.
 *
 * Invariants
 *   1. The journal is trimmed only up to what was shipped (db_trim_target), unless shipping has
 *      failed for so long that ship_retained_bytes wait: then it is let go and the gap is counted.
 *      Ingest never waits for the shipping directory.
 *   2. Records and table changes are shipped in the order of their commits, each numbered without
 *      a gap (LSN; sequence). A gap shows by the numbers and starts a new file.
 *   3. Table changes wait in table "ship" of the journal, written in the very commit; its newest
 *      row stays, so that a backup tells up to where its tables go.
 *
 * Threads: ship_put and ship_committed: the committer. Everything else: open and close.
 */
#pragma once

#include "tsdb/db.h"

#define SHIP_TABLE_NAME    "ship"
#define SHIP_ROW_KEY_BYTES 8

struct ship;

/* A row of table "ship". */
struct ship_row {
    uint64_t seq;
    uint64_t lsn;   /* of the newest record then */
    int64_t now_ms; /* of the commit */
    struct str ops; /* ship_next_op */
};

WARN_UNUSED bool ship_row_parse(MDB_val key, MDB_val row, struct ship_row *ret, struct err *err);

/* The changes in order; false at the end, and with *ret_bad for what is none. */
bool ship_next_op(struct str *ops, struct kv_op *ret, bool *ret_bad);

/* Before the committer starts, db->journal open and recovered. `dir` NULL: drop what an earlier
 * run left waiting. */
WARN_UNUSED bool ship_start(struct tsdb *db, const char *dir, struct err *err);
/* After the committer ended: ships what is left, if it can. */
void ship_stop(struct tsdb *db);

/* Note the batches' table changes in the transaction, and drop shipped ones. `lsn`: of the newest
 * record, this commit's included. Returns an LMDB code. */
int ship_put(struct tsdb *db,
             MDB_txn *txn,
             uint64_t lsn,
             int64_t now_ms,
             struct tsdb_batch *const *batches,
             size_t count);
/* That transaction was committed. */
void ship_committed(struct tsdb *db);
