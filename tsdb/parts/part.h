/*
 * Parts: what holds sealed samples. A *window part* is what sealing fills, one per window. A
 * *merged part* is made from others by merge.h, covers one or more windows, and never changes.
 *
 * A part's rows in the tables of the store are found by its *place*: the number of the window, or,
 * for merged parts, numbers below every window's. Functions that take a window as the first half of
 * a key take a place as well.
 *
 * Life of a merged part: building → live → dead; one transaction makes it live and its sources
 * dead (window parts: moves their floor), so that a reader sees either. Rows of building parts
 * nobody builds and of dead parts are litter, swept by merge_sweep().
 */
#pragma once

#include "tsdb/journal/damage.h"
#include "tsdb/parts/catalog.h"
#include "tsdb/parts/run.h"

enum part_state {
    PART_BUILDING,
    PART_LIVE,
    PART_DEAD,
};

struct part {
    int64_t place;
    int64_t window_first;
    int64_t window_end; /* exclusive */
    bool is_merged;
    bool is_damaged; /* its row is: all but place and is_merged are made up, see part_list() */
    uint8_t state;   /* enum part_state; window parts are live */
    struct store_window stats;
};

#define PART_NUMBER_MAX (UINT64_C(1) << 40)

/* The place of the merged part with this number. */
static inline int64_t part_place(uint64_t number) {
    return (int64_t)((uint64_t)INT64_MIN + number);
}

static inline bool part_is_merged(int64_t place) {
    return place < part_place(PART_NUMBER_MAX);
}

/* Live parts that may have samples of windows first..last: merged ones by age, then window parts;
 * *ret is for mem_free. Of a part whose row is damaged nothing is known but where its samples are:
 * it counts as live, a merged one as covering all time (what it has twice is equal). */
WARN_UNUSED bool part_list(struct store *store,
                           MDB_txn *txn,
                           int64_t first,
                           int64_t last,
                           struct part **ret,
                           size_t *ret_count,
                           struct err *err);

/* Windows within first..last that live parts cover, ascending, each once (mem_free). */
WARN_UNUSED bool part_windows(struct store *store,
                              MDB_txn *txn,
                              int64_t first,
                              int64_t last,
                              int64_t **ret,
                              size_t *ret_count,
                              struct err *err);

/* Every merged part in whatever state, by age. */
WARN_UNUSED bool part_list_merged(struct store *store,
                                  MDB_txn *txn,
                                  struct part **ret,
                                  size_t *ret_count,
                                  struct err *err);

WARN_UNUSED bool part_get(struct store *store,
                          MDB_txn *txn,
                          int64_t place,
                          struct part *ret,
                          bool *ret_found,
                          struct err *err);
/* Either kind. */
int part_put(struct store *store, MDB_txn *txn, const struct part *part);

struct part_read {
    struct store *store;
    MDB_txn *txn;
    const struct part *part;
    uint64_t id;
    int64_t t_min_ms;
    int64_t t_max_ms;
    struct run_cache *cache; /* the caller's */
    /* What to do about an error near a time: true = leave that out and go on, false = *err is set
     * (may be called with codes other than ERR_CORRUPT). NULL: every error ends reading. */
    bool (*damaged)(void *ctx,
                    enum damage_kind kind,
                    int64_t t_ms,
                    struct err *what,
                    struct err *err);
    void *ctx;
};

/* Add the samples of one series in range to the column: ascending per chunk, chunks in the order
 * of store_row, hence not normalized. */
WARN_UNUSED bool part_read(const struct part_read *read,
                           struct tsdb_column *column,
                           struct err *err);

/* The newest sealed sample that came in order (struct store_row) of a series in one part. */
WARN_UNUSED bool part_last(struct store *store,
                           MDB_txn *txn,
                           const struct part *part,
                           uint64_t id,
                           struct sample *ret,
                           bool *ret_found,
                           struct err *err);
/* The same over the parts of `window`, the one its `last` row names. */
WARN_UNUSED bool part_find_last(struct store *store,
                                MDB_txn *txn,
                                int64_t window,
                                uint64_t id,
                                struct sample *ret,
                                bool *ret_found,
                                struct err *err);

/* Ids of every series with a row in the part, appended, ascending. */
WARN_UNUSED bool part_ids(struct store *store,
                          MDB_txn *txn,
                          int64_t place,
                          struct idset *out,
                          struct err *err);

/* ---- the directory of a merged part (directory.c) ---- */

struct directory_entry {
    uint64_t id;
    uint32_t segment;
    uint16_t offset;
};

#define DIRECTORY_BLOCK_ENTRIES 406 /* fill one page each */

/* Write up to DIRECTORY_BLOCK_ENTRIES entries, ascending by id, as one block. Returns how many in
 * *ret_taken. */
int directory_put_block(struct store *store,
                        MDB_txn *txn,
                        int64_t place,
                        const struct directory_entry *entries,
                        size_t count,
                        size_t *ret_taken);
WARN_UNUSED bool directory_find(struct store *store,
                                MDB_txn *txn,
                                int64_t place,
                                uint64_t id,
                                struct directory_entry *ret,
                                bool *ret_found,
                                struct err *err);
WARN_UNUSED bool directory_ids(struct store *store,
                               MDB_txn *txn,
                               int64_t place,
                               struct idset *out,
                               struct err *err);
