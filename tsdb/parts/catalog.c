/* The catalog of series: its tables together, and the rows of older formats; see catalog.h. */
#include "tsdb/parts/catalog.h"

#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/parts/catalog_rows.h"

#define CONVERT_ROWS 4096 /* per transaction */

int catalog_seek(struct store *store,
                 MDB_txn *txn,
                 enum store_table table,
                 size_t key_bytes,
                 uint64_t number,
                 struct catalog_row *ret) {
    MDB_cursor *cursor;
    uint8_t bytes[8];
    *ret = (struct catalog_row){ .first = number };
    if (!store->has_all) {
        return 0;
    }
    int rc = mdb_cursor_open(txn, store->dbis[table], &cursor);
    if (rc != 0) {
        return rc;
    }
    bytes_put_be64(bytes, (number + 1) << 8 * (8 - key_bytes));
    MDB_val key = { .mv_size = key_bytes, .mv_data = bytes };
    bool is_greatest = bytes_be64(bytes) == 0;
    rc = is_greatest ? MDB_NOTFOUND : mdb_cursor_get(cursor, &key, &ret->value, MDB_SET_RANGE);
    if (rc == 0 && key.mv_size == key_bytes) {
        ret->end = key_bytes == 8 ? bytes_be64(key.mv_data) : bytes_be32(key.mv_data);
        rc = mdb_cursor_get(cursor, &key, &ret->value, MDB_PREV);
    } else if (rc == MDB_NOTFOUND) {
        rc = mdb_cursor_get(cursor, &key, &ret->value, MDB_LAST);
    }
    if (rc == 0 && key.mv_size == key_bytes) {
        ret->is_there = true;
        ret->first = key_bytes == 8 ? bytes_be64(key.mv_data) : bytes_be32(key.mv_data);
        ret->key = key;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* ---- formats 1 and 2: a row per series ---- */

static struct str id_key(uint64_t id, uint8_t bytes[STORE_KEY_ID_BYTES]) {
    store_key_id(bytes, id);
    return str_n((const char *)bytes, STORE_KEY_ID_BYTES);
}

bool catalog_old_labels(struct store *store,
                        MDB_txn *txn,
                        uint64_t id,
                        struct arena *arena,
                        struct labels *ret,
                        bool *ret_found,
                        struct err *err) {
    uint8_t key[STORE_KEY_ID_BYTES];
    struct str body;
    arena_reset(arena);
    return store_get(store, txn, STORE_OLD_SERIES, id_key(id, key), &body, ret_found, err) &&
           (!*ret_found || labels_decode(body, arena, ret) ||
            err_set(err, ERR_CORRUPT, "store: a row of table series is malformed"));
}

bool catalog_old_last(struct store *store,
                      MDB_txn *txn,
                      uint64_t id,
                      int64_t *ret_window,
                      bool *ret_found,
                      struct err *err) {
    uint8_t key[STORE_KEY_ID_BYTES];
    struct str body;
    if (!store_get(store, txn, STORE_OLD_LAST, id_key(id, key), &body, ret_found, err)) {
        return false;
    }
    if (*ret_found && body.len != 8) {
        return err_set(err, ERR_CORRUPT, "store: a row of table last is malformed");
    }
    *ret_window = *ret_found ? (int64_t)bytes_le64((const uint8_t *)body.ptr) : STORE_LAST_NONE;
    return true;
}

struct conversion {
    struct catalog_series *series;
    size_t series_count;
    struct catalog_last *lasts;
    size_t last_count;
    uint64_t *unknown; /* ids whose row of table last is damaged */
    size_t unknown_count;
    size_t seen;
    uint64_t next;
    struct arena arena;
};

static bool convert_row(struct conversion *conversion,
                        struct store *store,
                        MDB_txn *txn,
                        MDB_val key,
                        MDB_val row) {
    struct catalog_series *series = &conversion->series[conversion->series_count];
    struct err err = ERR_INIT;
    struct str body;
    bool found;
    if (key.mv_size != STORE_KEY_ID_BYTES ||
        !store_check(STORE_OLD_SERIES, key, row, &body, &err) ||
        !labels_decode(arena_str(&conversion->arena, body), &conversion->arena, &series->labels) ||
        series->labels.count > LABELS_COUNT_MAX) {
        return false;
    }
    series->id = bytes_be64(key.mv_data);
    conversion->series_count++;
    int64_t window;
    if (!catalog_old_last(store, txn, series->id, &window, &found, &err)) {
        conversion->unknown[conversion->unknown_count++] = series->id;
    } else if (found && window != STORE_LAST_NONE) {
        conversion->lasts[conversion->last_count++] = (struct catalog_last){ series->id, window };
    }
    return true;
}

/* The next rows, from conversion->next on. */
static int read_old(struct conversion *conversion, struct store *store, MDB_txn *txn) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_OLD_SERIES], &cursor);
    if (rc != 0) {
        return rc;
    }
    uint8_t start[STORE_KEY_ID_BYTES];
    store_key_id(start, conversion->next);
    MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
    for (; rc == 0 && conversion->seen < CONVERT_ROWS; conversion->seen++) {
        (void)convert_row(conversion, store, txn, key, row); /* what is damaged stays */
        if (key.mv_size == STORE_KEY_ID_BYTES) {
            conversion->next = bytes_be64(key.mv_data) + 1;
        }
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int delete_old(const struct conversion *conversion, struct store *store, MDB_txn *txn) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < conversion->series_count; i++) {
        const struct catalog_series *series = &conversion->series[i];
        uint8_t key[16];
        bytes_put_be64(key, labels_hash(series->labels));
        bytes_put_be64(key + 8, series->id);
        rc = store_del(store, txn, STORE_OLD_HASH, str_n((const char *)key, sizeof(key)));
        rc = rc == 0 ? store_del(store, txn, STORE_OLD_SERIES, id_key(series->id, key)) : rc;
        rc = rc == 0 ? store_del(store, txn, STORE_OLD_LAST, id_key(series->id, key)) : rc;
    }
    return rc;
}

int catalog_convert(struct store *store, MDB_txn *txn, uint64_t *next, bool *ret_more) {
    struct conversion conversion = {
        .series = mem_calloc(CONVERT_ROWS, sizeof(struct catalog_series)),
        .lasts = mem_calloc(CONVERT_ROWS, sizeof(struct catalog_last)),
        .unknown = mem_calloc(CONVERT_ROWS, sizeof(uint64_t)),
        .next = *next,
    };
    arena_init(&conversion.arena, SIZE_MAX);
    int rc = read_old(&conversion, store, txn);
    rc = rc == 0 ? delete_old(&conversion, store, txn) : rc;
    rc = rc == 0 ? catalog_put(store, txn, conversion.series, conversion.series_count) : rc;
    rc = rc == 0 ? catalog_lasts_del(store, txn, conversion.unknown, conversion.unknown_count) : rc;
    rc = rc == 0 ? catalog_put_lasts(store, txn, conversion.lasts, conversion.last_count) : rc;
    *next = conversion.next;
    *ret_more = conversion.seen == CONVERT_ROWS;
    arena_finish(&conversion.arena);
    mem_free(conversion.series);
    mem_free(conversion.lasts);
    mem_free(conversion.unknown);
    return rc;
}

/* ---- reading ---- */

bool catalog_get(struct store *store,
                 MDB_txn *txn,
                 uint64_t id,
                 struct arena *arena,
                 struct labels *ret,
                 bool *ret_found,
                 struct err *err) {
    struct catalog_reader reader;
    struct labels labels;
    catalog_reader_init(&reader, store, txn);
    bool ok = catalog_read(&reader, id, &labels, ret_found, err);
    if (ok && *ret_found) {
        *ret = labels_dup(labels, arena);
    }
    catalog_reader_finish(&reader);
    return ok;
}

bool catalog_find(struct store *store,
                  MDB_txn *txn,
                  struct labels labels,
                  uint64_t *ret_id,
                  struct err *err) {
    struct catalog_id *ids;
    size_t count;
    *ret_id = 0;
    if (!catalog_ids_find(store, txn, catalog_hash(labels), &ids, &count, err)) {
        return false;
    }
    struct catalog_reader reader;
    catalog_reader_init(&reader, store, txn);
    bool ok = true;
    for (size_t i = 0; ok && i < count && *ret_id == 0; i++) {
        struct labels stored;
        bool found;
        ok = catalog_read(&reader, ids[i].id, &stored, &found, err);
        if (ok && found && labels_equal(stored, labels)) {
            *ret_id = ids[i].id;
        }
    }
    catalog_reader_finish(&reader);
    mem_free(ids);
    return ok;
}

/* ---- writing ---- */

static int compare_series(const void *a, const void *b) {
    const struct catalog_series *x = a;
    const struct catalog_series *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int compare_lasts(const void *a, const void *b) {
    const struct catalog_last *x = a;
    const struct catalog_last *y = b;
    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }
    return (x->window > y->window) - (x->window < y->window);
}

int catalog_put(struct store *store, MDB_txn *txn, struct catalog_series *series, size_t count) {
    if (count == 0) {
        return 0;
    }
    qsort(series, count, sizeof(series[0]), compare_series);
    struct catalog_id *ids = mem_calloc(count, sizeof(ids[0]));
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || series[kept - 1].id != series[i].id) {
            ids[kept] = (struct catalog_id){ catalog_hash(series[i].labels), series[i].id };
            series[kept++] = series[i];
        }
    }
    int rc = catalog_labels_put(store, txn, series, kept);
    rc = rc == 0 ? catalog_ids_put(store, txn, ids, kept) : rc;
    rc = rc == 0 ? catalog_lasts_add(store, txn, series, kept) : rc;
    mem_free(ids);
    return rc;
}

int catalog_put_lasts(struct store *store, MDB_txn *txn, struct catalog_last *lasts, size_t count) {
    if (count > 1) {
        qsort(lasts, count, sizeof(lasts[0]), compare_lasts);
    }
    return catalog_lasts_put(store, txn, lasts, count);
}

int catalog_del(struct store *store, MDB_txn *txn, const uint64_t *ids, size_t count) {
    struct catalog_id *hashes = mem_calloc(count, sizeof(hashes[0]));
    size_t known = 0;
    struct catalog_reader reader;
    int rc = 0;
    catalog_reader_init(&reader, store, txn);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct labels labels;
        struct err err = ERR_INIT;
        bool found;
        if (catalog_read(&reader, ids[i], &labels, &found, &err) && found) {
            hashes[known++] = (struct catalog_id){ catalog_hash(labels), ids[i] };
        } else if (err.code != ERR_NONE && err.code != ERR_CORRUPT) {
            rc = store_rc_of(&err);
        }
    }
    catalog_reader_finish(&reader);
    rc = rc == 0 ? catalog_ids_del(store, txn, hashes, known) : rc;
    rc = rc == 0 ? catalog_labels_del(store, txn, ids, count) : rc;
    rc = rc == 0 ? catalog_lasts_del(store, txn, ids, count) : rc;
    mem_free(hashes);
    return rc;
}
