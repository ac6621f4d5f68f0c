/*
 * The catalog: every series the store knows. Three tables of packed rows (FORMAT.md 2.5), since a
 * row per series would take more room than a day of its samples: labels by id, ids by the hash of
 * the labels, the newest window by id. Series the head has are not looked up here.
 *
 * Writers pass many series at once: a row is then decoded and written once for all of them.
 * Damage: a damaged row of ids or of windows can be made again, and is when it is next written;
 * labels cannot: their row is left as it is, and told.
 * Threads: as store.h.
 */
#pragma once

#include "tsdb/parts/store.h"

#define STORE_LAST_NONE INT64_MIN /* a series without samples in order */

struct catalog_series {
    uint64_t id;
    struct labels labels;
};

struct catalog_last {
    uint64_t id;
    int64_t window; /* newest with samples that came in order */
};

/* ---- labels by id ---- */

/* A row of labels, entry by entry. */
struct catalog_decoder {
    struct catalog_series
        entry; /* labels: valid until the next one and while the row's bytes are */
    bool is_bad;
    /* private */
    struct reader bytes;
    uint64_t left;
    struct label items[2][LABELS_COUNT_MAX]; /* of this entry and the one before, in turn */
    struct label added[LABELS_COUNT_MAX];    /* scratch: zeroing it per entry would cost most */
    struct label *pairs;                     /* of the row, as they came */
    size_t pair_count;
    size_t pair_cap;
    struct arena arena;
};

void catalog_decoder_init(struct catalog_decoder *decoder);
void catalog_decoder_finish(struct catalog_decoder *decoder);
/* Start with the row of this key. */
void catalog_decoder_begin(struct catalog_decoder *decoder, uint64_t first, struct str body);
/* False at the end; look at is_bad then. */
WARN_UNUSED bool catalog_decoder_next(struct catalog_decoder *decoder);

/* Reading many: ascending ids cost least. Holds on to its transaction. */
struct catalog_reader {
    struct store *store;
    MDB_txn *txn;
    /* private: the row being read */
    bool has_row;
    bool has_entry;
    uint64_t first; /* it is about ids from here */
    uint64_t end;   /* to before here; 0 = to the end of ids */
    struct catalog_decoder decoder;
    bool has_old; /* rows of formats 1 and 2 */
    struct arena old;
};

void catalog_reader_init(struct catalog_reader *reader, struct store *store, MDB_txn *txn);
void catalog_reader_finish(struct catalog_reader *reader);

/* ret: valid until the next call and within the transaction. */
WARN_UNUSED bool catalog_read(struct catalog_reader *reader,
                              uint64_t id,
                              struct labels *ret,
                              bool *ret_found,
                              struct err *err);

/* All of them, ascending, from `first` on. `visit` returns false to stop. A damaged row is told to
 * `damaged` (may be NULL) and passed over. */
WARN_UNUSED bool catalog_walk(struct store *store,
                              MDB_txn *txn,
                              uint64_t first,
                              bool (*visit)(void *ctx, const struct catalog_series *series),
                              void (*damaged)(void *ctx, const struct err *what),
                              void *ctx,
                              struct err *err);

/* One; *ret is copied to the arena. */
WARN_UNUSED bool catalog_get(struct store *store,
                             MDB_txn *txn,
                             uint64_t id,
                             struct arena *arena,
                             struct labels *ret,
                             bool *ret_found,
                             struct err *err);

/* ---- ids by labels ---- */

/* The id of exactly these labels; 0 when there is none. One row is read, and the labels of what has
 * the same 32 bits of hash. */
WARN_UNUSED bool catalog_find(struct store *store,
                              MDB_txn *txn,
                              struct labels labels,
                              uint64_t *ret_id,
                              struct err *err);

/* ---- the newest window by id ---- */

/* STORE_LAST_NONE: no samples so far. Not found: not known. */
WARN_UNUSED bool catalog_get_last(struct store *store,
                                  MDB_txn *txn,
                                  uint64_t id,
                                  int64_t *ret_window,
                                  bool *ret_found,
                                  struct err *err);
/* All that are known, ascending, from `first` on. `visit` returns false to stop. */
WARN_UNUSED bool catalog_walk_lasts(struct store *store,
                                    MDB_txn *txn,
                                    uint64_t first,
                                    bool (*visit)(void *ctx, const struct catalog_last *last),
                                    void *ctx,
                                    struct err *err);

/* ---- writing ---- */

/* Sorted in place, by id; of two with the same id the later one counts. */
int catalog_put(struct store *store, MDB_txn *txn, struct catalog_series *series, size_t count);
int catalog_put_lasts(struct store *store, MDB_txn *txn, struct catalog_last *lasts, size_t count);
/* `ids` ascend. */
int catalog_del(struct store *store, MDB_txn *txn, const uint64_t *ids, size_t count);

/* ---- the whole ---- */

WARN_UNUSED bool catalog_count(struct store *store, MDB_txn *txn, uint64_t *ret, struct err *err);

/* Rows of formats 1 and 2 (one per series and table) into packed ones, some thousands at a time.
 * *ret_more: call again, from *next on (0 at first). What is damaged stays, and is read so. */
int catalog_convert(struct store *store, MDB_txn *txn, uint64_t *next, bool *ret_more);
