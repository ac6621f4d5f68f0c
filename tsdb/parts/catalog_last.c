/* The newest window by id: rows about 256 ids each, in runs of equal windows. */
#include "tsdb/parts/catalog_rows.h"

#define VERSION 1
#define ROW_IDS 256

enum kind {
    KIND_UNKNOWN,
    KIND_NONE, /* known, no samples */
    KIND_WINDOW,
};

struct last_row {
    uint8_t kinds[ROW_IDS];
    int64_t windows[ROW_IDS];
};

static struct str row_key(uint64_t number, uint8_t bytes[8]) {
    bytes_put_be64(bytes, number);
    return str_n((const char *)bytes, 8);
}

static bool malformed(struct err *err) {
    return err_set(err, ERR_CORRUPT,
                   "store: a row of table lasts is malformed or of a newer version");
}

static bool decode_row(struct str body, struct last_row *row, struct err *err) {
    struct reader reader = reader_init(body.ptr, body.len);
    *row = (struct last_row){ .kinds = { 0 } };
    int64_t window = 0;
    size_t at = 0;
    bool is_known = reader_u8(&reader) == VERSION;
    while (is_known && reader_left(&reader) > 0) {
        uint64_t head = reader_uvarint(&reader);
        uint8_t kind = head & 3;
        uint64_t count = (head >> 2) + 1;
        if (kind == KIND_WINDOW) {
            window = i64_add(window, reader_svarint(&reader));
        }
        if (reader.is_bad || kind > KIND_WINDOW || count > ROW_IDS - at) {
            return malformed(err);
        }
        for (uint64_t i = 0; i < count; i++, at++) {
            row->kinds[at] = kind;
            row->windows[at] = kind == KIND_WINDOW ? window : STORE_LAST_NONE;
        }
    }
    return is_known || malformed(err);
}

/* No row: nothing is known. */
static bool get_row(struct store *store,
                    MDB_txn *txn,
                    uint64_t number,
                    struct last_row *row,
                    bool *ret_found,
                    struct err *err) {
    uint8_t key[8];
    struct str body;
    *row = (struct last_row){ .kinds = { 0 } };
    *ret_found = false;
    return !store->has_all ||
           (store_get(store, txn, STORE_LASTS, row_key(number, key), &body, ret_found, err) &&
            (!*ret_found || decode_row(body, row, err)));
}

static int put_row(struct store *store, MDB_txn *txn, uint64_t number, const struct last_row *row) {
    uint8_t bytes[1 + ROW_IDS * (2 + UVARINT_BYTES_MAX)];
    uint8_t key[8];
    uint8_t *out = bytes;
    *out++ = VERSION;
    int64_t window = 0;
    size_t known_end = ROW_IDS;
    while (known_end > 0 && row->kinds[known_end - 1] == KIND_UNKNOWN) {
        known_end--;
    }
    for (size_t at = 0, end; at < known_end; at = end) {
        for (end = at + 1; end < known_end && row->kinds[end] == row->kinds[at] &&
                           row->windows[end] == row->windows[at];
             end++) {
        }
        out = bytes_put_uvarint(out, (end - at - 1) << 2 | row->kinds[at]);
        if (row->kinds[at] == KIND_WINDOW) {
            out = bytes_put_uvarint(out, zigzag(i64_sub(row->windows[at], window)));
            window = row->windows[at];
        }
    }
    if (known_end == 0) {
        return store_del(store, txn, STORE_LASTS, row_key(number, key));
    }
    return store_put(store, txn, STORE_LASTS, row_key(number, key),
                     str_n((const char *)bytes, (size_t)(out - bytes)));
}

/* To change it: of a damaged row nothing is known. */
static int load_row(struct store *store, MDB_txn *txn, uint64_t number, struct last_row *row) {
    struct err err = ERR_INIT;
    bool found;
    if (get_row(store, txn, number, row, &found, &err)) {
        return 0;
    }
    *row = (struct last_row){ .kinds = { 0 } };
    return err.code == ERR_CORRUPT ? 0 : store_rc_of(&err);
}

/* ---- reading ---- */

bool catalog_get_last(struct store *store,
                      MDB_txn *txn,
                      uint64_t id,
                      int64_t *ret_window,
                      bool *ret_found,
                      struct err *err) {
    struct last_row row;
    if (!get_row(store, txn, id / ROW_IDS, &row, ret_found, err)) {
        return false;
    }
    *ret_window = row.windows[id % ROW_IDS];
    *ret_found = row.kinds[id % ROW_IDS] != KIND_UNKNOWN;
    return *ret_found || catalog_old_last(store, txn, id, ret_window, ret_found, err);
}

static bool visit_row(uint64_t number,
                      uint64_t first,
                      const struct last_row *row,
                      bool (*visit)(void *ctx, const struct catalog_last *last),
                      void *ctx) {
    for (uint64_t i = 0; i < ROW_IDS; i++) {
        struct catalog_last last = { .id = number * ROW_IDS + i, .window = row->windows[i] };
        if (row->kinds[i] != KIND_UNKNOWN && last.id >= first && !visit(ctx, &last)) {
            return false;
        }
    }
    return true;
}

bool catalog_walk_lasts(struct store *store,
                        MDB_txn *txn,
                        uint64_t first,
                        bool (*visit)(void *ctx, const struct catalog_last *last),
                        void *ctx,
                        struct err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_LASTS], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table lasts");
    }
    uint8_t start[8];
    struct last_row row;
    struct str body;
    bool ok = true;
    bool goes_on = true;
    MDB_val key = { .mv_size = 8, .mv_data = start };
    MDB_val value;
    row_key(first / ROW_IDS, start);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    for (; goes_on && rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        ok = store_check(STORE_LASTS, key, value, &body, err) && decode_row(body, &row, err);
        goes_on = ok && visit_row(bytes_be64(key.mv_data), first, &row, visit, ctx);
    }
    mdb_cursor_close(cursor);
    if (goes_on && rc != MDB_NOTFOUND) {
        return env_fail(&store->env, err, rc, "reading table lasts");
    }
    return ok;
}

bool catalog_check_lasts(struct str key,
                         struct str body,
                         void (*visit)(void *ctx, uint64_t id),
                         void *ctx) {
    struct last_row row;
    struct err ignored = ERR_INIT;
    if (key.len != 8 || !decode_row(body, &row, &ignored)) {
        return false;
    }
    for (uint64_t i = 0; i < ROW_IDS; i++) {
        if (row.kinds[i] != KIND_UNKNOWN) {
            visit(ctx, bytes_be64((const uint8_t *)key.ptr) * ROW_IDS + i);
        }
    }
    return true;
}

/* ---- writing ---- */

int catalog_lasts_put(struct store *store,
                      MDB_txn *txn,
                      const struct catalog_last *lasts,
                      size_t count) {
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < count;) {
        struct last_row row;
        uint64_t number = lasts[at].id / ROW_IDS;
        rc = load_row(store, txn, number, &row);
        for (; at < count && lasts[at].id / ROW_IDS == number; at++) {
            bool is_none = lasts[at].window == STORE_LAST_NONE;
            row.kinds[lasts[at].id % ROW_IDS] = is_none ? KIND_NONE : KIND_WINDOW;
            row.windows[lasts[at].id % ROW_IDS] = lasts[at].window;
        }
        rc = rc == 0 ? put_row(store, txn, number, &row) : rc;
    }
    return rc;
}

int catalog_lasts_add(struct store *store,
                      MDB_txn *txn,
                      const struct catalog_series *series,
                      size_t count) {
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < count;) {
        struct last_row row;
        uint64_t number = series[at].id / ROW_IDS;
        rc = load_row(store, txn, number, &row);
        for (; at < count && series[at].id / ROW_IDS == number; at++) {
            size_t i = series[at].id % ROW_IDS;
            if (row.kinds[i] == KIND_UNKNOWN) {
                row.kinds[i] = KIND_NONE;
                row.windows[i] = STORE_LAST_NONE;
            }
        }
        rc = rc == 0 ? put_row(store, txn, number, &row) : rc;
    }
    return rc;
}

int catalog_lasts_del(struct store *store, MDB_txn *txn, const uint64_t *ids, size_t count) {
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < count;) {
        struct last_row row;
        uint64_t number = ids[at] / ROW_IDS;
        rc = load_row(store, txn, number, &row);
        for (; at < count && ids[at] / ROW_IDS == number; at++) {
            row.kinds[ids[at] % ROW_IDS] = KIND_UNKNOWN;
            row.windows[ids[at] % ROW_IDS] = 0;
        }
        rc = rc == 0 ? put_row(store, txn, number, &row) : rc;
    }
    return rc;
}
