/*
 * Ids by labels: rows of (upper half of the hash, id), ascending. Nothing here cannot be made again
 * from the table of labels.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/parts/catalog_rows.h"

#define VERSION  1
#define BODY_MAX 1000
#define BODY_AIM 700 /* of rows a full one is divided into */

struct id_list {
    struct catalog_id *items;
    size_t count;
    size_t cap;
};

static int compare_ids(const void *a, const void *b) {
    const struct catalog_id *x = a;
    const struct catalog_id *y = b;
    if (x->hash != y->hash) {
        return x->hash < y->hash ? -1 : 1;
    }
    return (x->id > y->id) - (x->id < y->id);
}

static void list_add(struct id_list *list, struct catalog_id id) {
    list->items = vec_grow(list->items, &list->cap, list->count + 1, sizeof(list->items[0]));
    list->items[list->count++] = id;
}

/* ---- one row ---- */

/* `wanted`: only ids of this hash; NULL: all. */
static bool decode_body(uint64_t hash,
                        struct str body,
                        const uint32_t *wanted,
                        struct id_list *list) {
    struct reader reader = reader_init(body.ptr, body.len);
    list->count = 0;
    bool is_known = reader_u8(&reader) == VERSION;
    while (is_known && !reader.is_bad && reader_left(&reader) > 0) {
        hash += reader_uvarint(&reader);
        uint64_t id = reader_uvarint(&reader);
        is_known = hash <= UINT32_MAX;
        if (wanted != NULL && hash > *wanted) {
            break;
        }
        if (wanted == NULL || hash == *wanted) {
            list_add(list, (struct catalog_id){ .hash = (uint32_t)hash, .id = id });
        }
    }
    return is_known && !reader.is_bad;
}

static bool decode_row(const struct catalog_row *row,
                       const uint32_t *wanted,
                       struct id_list *list) {
    struct str body;
    struct err ignored = ERR_INIT;
    list->count = 0;
    return store_check(STORE_IDS, row->key, row->value, &body, &ignored) &&
           decode_body(row->first, body, wanted, list);
}

struct rebuild {
    const struct catalog_row *row;
    struct id_list *list;
};

static bool take_id(void *ctx, const struct catalog_series *series) {
    struct rebuild *rebuild = ctx;
    uint32_t hash = catalog_hash(series->labels);
    if (hash >= rebuild->row->first && catalog_row_has(rebuild->row, hash)) {
        list_add(rebuild->list, (struct catalog_id){ .hash = hash, .id = series->id });
    }
    return true;
}

/* What a row has, or should have. */
static bool load_row(struct store *store,
                     MDB_txn *txn,
                     const struct catalog_row *row,
                     const uint32_t *wanted,
                     struct id_list *list,
                     struct err *err) {
    list->count = 0;
    if (!row->is_there || decode_row(row, wanted, list)) {
        return true;
    }
    struct rebuild rebuild = { .row = row, .list = list };
    list->count = 0;
    if (!catalog_walk(store, txn, 0, take_id, NULL, &rebuild, err)) {
        return false;
    }
    if (list->count > 1) {
        qsort(list->items, list->count, sizeof(list->items[0]), compare_ids);
    }
    return true;
}

static size_t entry_bytes(const struct catalog_id *before, const struct catalog_id *entry) {
    uint8_t bytes[2 * UVARINT_BYTES_MAX];
    uint8_t *end = bytes_put_uvarint(bytes, entry->hash - before->hash);
    return (size_t)(bytes_put_uvarint(end, entry->id) - bytes);
}

/* Entries of one hash stay in one row. Returns how many were put. */
static int put_row(struct store *store,
                   MDB_txn *txn,
                   uint32_t key_hash,
                   const struct id_list *list,
                   size_t first,
                   size_t body_max,
                   size_t *ret_end) {
    struct buf body;
    buf_init(&body, SIZE_MAX);
    buf_putc(&body, VERSION);
    struct catalog_id before = { .hash = key_hash };
    size_t at = first;
    for (; at < list->count; at++) {
        const struct catalog_id *entry = &list->items[at];
        if (at > first && entry->hash != before.hash &&
            body.len + entry_bytes(&before, entry) > body_max) {
            break;
        }
        buf_uvarint(&body, entry->hash - before.hash);
        buf_uvarint(&body, entry->id);
        before = *entry;
    }
    uint8_t key[CATALOG_HASH_BYTES];
    bytes_put_be32(key, key_hash);
    int rc =
        store_put(store, txn, STORE_IDS, str_n((const char *)key, sizeof(key)), buf_as_str(&body));
    buf_finish(&body);
    *ret_end = at;
    return rc;
}

/* Rows from `key_hash` on, in the place of one. */
static int put_rows(struct store *store,
                    MDB_txn *txn,
                    uint32_t key_hash,
                    const struct id_list *list) {
    size_t bytes = 1;
    struct catalog_id before = { .hash = key_hash };
    for (size_t i = 0; i < list->count; i++) {
        bytes += entry_bytes(&before, &list->items[i]);
        before = list->items[i];
    }
    size_t body_max = BODY_MAX;
    if (bytes > BODY_MAX) {
        size_t rows = (bytes + BODY_AIM - 1) / BODY_AIM;
        body_max = (bytes + rows - 1) / rows + UVARINT_BYTES_MAX;
    }
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < list->count;) {
        uint32_t key = at == 0 ? key_hash : list->items[at].hash;
        rc = put_row(store, txn, key, list, at, body_max, &at);
    }
    return rc;
}

/* ---- the table ---- */

bool catalog_ids_find(struct store *store,
                      MDB_txn *txn,
                      uint32_t hash,
                      struct catalog_id **ret,
                      size_t *ret_count,
                      struct err *err) {
    struct catalog_row row;
    struct id_list list = { .count = 0 };
    *ret = NULL;
    *ret_count = 0;
    int rc = catalog_seek(store, txn, STORE_IDS, CATALOG_HASH_BYTES, hash, &row);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table ids");
    }
    if (!load_row(store, txn, &row, &hash, &list, err)) {
        mem_free(list.items);
        return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (list.items[i].hash == hash) {
            list.items[kept++] = list.items[i];
        }
    }
    *ret = list.items;
    *ret_count = kept;
    return true;
}

bool catalog_has_id(struct store *store, MDB_txn *txn, const struct catalog_series *series) {
    struct catalog_row row;
    uint32_t hash = catalog_hash(series->labels);
    struct id_list list = { .count = 0 };
    bool is_there = catalog_seek(store, txn, STORE_IDS, CATALOG_HASH_BYTES, hash, &row) == 0 &&
                    row.is_there && decode_row(&row, &hash, &list);
    bool has = false;
    for (size_t i = 0; is_there && i < list.count; i++) {
        has = has || (list.items[i].hash == hash && list.items[i].id == series->id);
    }
    mem_free(list.items);
    return has;
}

bool catalog_check_ids(struct str key,
                       struct str body,
                       void (*visit)(void *ctx, const struct catalog_id *id),
                       void *ctx) {
    struct id_list list = { .count = 0 };
    bool ok = key.len == CATALOG_HASH_BYTES &&
              decode_body(bytes_be32((const uint8_t *)key.ptr), body, NULL, &list);
    for (size_t i = 0; ok && i < list.count; i++) {
        visit(ctx, &list.items[i]);
    }
    mem_free(list.items);
    return ok;
}

/* `change` makes what a row has into what it shall have, given ids[0..count) of its range. */
static int rewrite(struct store *store,
                   MDB_txn *txn,
                   struct catalog_id *ids,
                   size_t count,
                   void (*change)(struct id_list *list, const struct catalog_id *ids, size_t n)) {
    struct id_list list = { .count = 0 };
    struct err err = ERR_INIT;
    int rc = 0;
    if (count > 1) {
        qsort(ids, count, sizeof(ids[0]), compare_ids);
    }
    for (size_t at = 0, end; rc == 0 && at < count; at = end) {
        struct catalog_row row;
        rc = catalog_seek(store, txn, STORE_IDS, CATALOG_HASH_BYTES, ids[at].hash, &row);
        for (end = at + 1; end < count && catalog_row_has(&row, ids[end].hash); end++) {
        }
        if (rc == 0 && !load_row(store, txn, &row, NULL, &list, &err)) {
            rc = store_rc_of(&err);
        }
        if (rc != 0) {
            break;
        }
        change(&list, ids + at, end - at);
        uint8_t key[CATALOG_HASH_BYTES];
        bytes_put_be32(key, (uint32_t)row.first);
        rc = list.count > 0
                 ? put_rows(store, txn, (uint32_t)row.first, &list)
                 : store_del(store, txn, STORE_IDS, str_n((const char *)key, sizeof(key)));
    }
    mem_free(list.items);
    return rc;
}

static void add_ids(struct id_list *list, const struct catalog_id *ids, size_t count) {
    for (size_t i = 0; i < count; i++) {
        list_add(list, ids[i]);
    }
    qsort(list->items, list->count, sizeof(list->items[0]), compare_ids);
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (kept == 0 || compare_ids(&list->items[kept - 1], &list->items[i]) != 0) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

static void remove_ids(struct id_list *list, const struct catalog_id *ids, size_t count) {
    size_t kept = 0;
    size_t next = 0;
    for (size_t i = 0; i < list->count; i++) {
        while (next < count && compare_ids(&ids[next], &list->items[i]) < 0) {
            next++;
        }
        if (next == count || compare_ids(&ids[next], &list->items[i]) != 0) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

int catalog_ids_put(struct store *store, MDB_txn *txn, struct catalog_id *ids, size_t count) {
    return rewrite(store, txn, ids, count, add_ids);
}

int catalog_ids_del(struct store *store, MDB_txn *txn, struct catalog_id *ids, size_t count) {
    return rewrite(store, txn, ids, count, remove_ids);
}
