/* Between the files of the catalog: rows that hold what lies between their key and the next. */
#pragma once

#include "tsdb/parts/catalog.h"

/* A row's key is the least number it may be about, `key_bytes` long, big-endian. */
struct catalog_row {
    bool is_there;
    uint64_t first;
    uint64_t end; /* key of the next row; 0 = there is none */
    MDB_val key;
    MDB_val value;
};

/* The row `number` belongs to: the last one whose key is not above it. */
int catalog_seek(struct store *store,
                 MDB_txn *txn,
                 enum store_table table,
                 size_t key_bytes,
                 uint64_t number,
                 struct catalog_row *ret);

/* Is `number` in the range of the row, or where one should be? */
static inline bool catalog_row_has(const struct catalog_row *row, uint64_t number) {
    return row->end == 0 || number < row->end;
}

#define CATALOG_HASH_BYTES 4

static inline uint32_t catalog_hash(struct labels labels) {
    return (uint32_t)(labels_hash(labels) >> 32);
}

/* catalog_labels.c; series ascend by id, each once */
int catalog_labels_put(struct store *store,
                       MDB_txn *txn,
                       const struct catalog_series *series,
                       size_t count);
int catalog_labels_del(struct store *store, MDB_txn *txn, const uint64_t *ids, size_t count);

/* catalog_hash.c */
struct catalog_id {
    uint32_t hash;
    uint64_t id;
};

int catalog_ids_put(struct store *store, MDB_txn *txn, struct catalog_id *ids, size_t count);
int catalog_ids_del(struct store *store, MDB_txn *txn, struct catalog_id *ids, size_t count);
/* Ids of series with this hash, appended to *ret (mem_free). A damaged row: all labels are looked
 * through instead. */
WARN_UNUSED bool catalog_ids_find(struct store *store,
                                  MDB_txn *txn,
                                  uint32_t hash,
                                  struct catalog_id **ret,
                                  size_t *ret_count,
                                  struct err *err);

/* Is it under its hash? */
bool catalog_has_id(struct store *store, MDB_txn *txn, const struct catalog_series *series);
/* What a row says; false: it is malformed. */
WARN_UNUSED bool catalog_check_ids(struct str key,
                                   struct str body,
                                   void (*visit)(void *ctx, const struct catalog_id *id),
                                   void *ctx);
WARN_UNUSED bool catalog_check_lasts(struct str key,
                                     struct str body,
                                     void (*visit)(void *ctx, uint64_t id),
                                     void *ctx);

/* catalog_last.c; all ascend by id. New ones are known and without samples from now on. */
int catalog_lasts_add(struct store *store,
                      MDB_txn *txn,
                      const struct catalog_series *series,
                      size_t count);
int catalog_lasts_put(struct store *store,
                      MDB_txn *txn,
                      const struct catalog_last *lasts,
                      size_t count);
int catalog_lasts_del(struct store *store, MDB_txn *txn, const uint64_t *ids, size_t count);

/* catalog.c: what older formats have */
WARN_UNUSED bool catalog_old_labels(struct store *store,
                                    MDB_txn *txn,
                                    uint64_t id,
                                    struct arena *arena, /* reset */
                                    struct labels *ret,
                                    bool *ret_found,
                                    struct err *err);
WARN_UNUSED bool catalog_old_last(struct store *store,
                                  MDB_txn *txn,
                                  uint64_t id,
                                  int64_t *ret_window,
                                  bool *ret_found,
                                  struct err *err);
