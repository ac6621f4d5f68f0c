/* Rows of table rollup_marks: how far the periods of a resolution are built. */
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/rollup/rollup.h"

#define MARK_VERSION 1

static bool parse_mark(struct str body, struct rollup_mark *mark, struct err *err) {
    struct reader reader = reader_init(body.ptr, body.len);
    uint8_t version = reader_u8(&reader);
    mark->is_built = reader_u8(&reader) != 0;
    mark->id_next = reader_le64(&reader);
    if (reader.is_bad || version != MARK_VERSION) {
        mark->is_built = false;
        mark->id_next = 0;
        return err_set(err, ERR_CORRUPT, "store: a row of table rollup_marks is malformed");
    }
    return true;
}

bool rollup_get_mark(struct store *store,
                     MDB_txn *txn,
                     int64_t resolution_ms,
                     int64_t period,
                     struct rollup_mark *ret,
                     bool *ret_found,
                     struct err *err) {
    uint8_t key[ROLLUP_MARK_KEY_BYTES];
    rollup_mark_key(key, resolution_ms, period);
    struct str body;
    *ret = (struct rollup_mark){ .resolution_ms = resolution_ms, .period = period };
    return store_get(store, txn, STORE_ROLLUP_MARKS, str_n((const char *)key, sizeof(key)), &body,
                     ret_found, err) &&
           (!*ret_found || parse_mark(body, ret, err));
}

int rollup_put_mark(struct store *store, MDB_txn *txn, const struct rollup_mark *mark) {
    uint8_t key[ROLLUP_MARK_KEY_BYTES];
    rollup_mark_key(key, mark->resolution_ms, mark->period);
    uint8_t body[10] = { MARK_VERSION, mark->is_built };
    bytes_put_le64(body + 2, mark->id_next);
    return store_put(store, txn, STORE_ROLLUP_MARKS, str_n((const char *)key, sizeof(key)),
                     str_n((const char *)body, sizeof(body)));
}

bool rollup_list_marks(struct tsdb *db,
                       MDB_txn *txn,
                       struct rollup_mark **ret,
                       size_t *ret_count,
                       struct err *err) {
    struct store *store = &db->store;
    MDB_cursor *cursor;
    size_t cap = 0;
    *ret = NULL;
    *ret_count = 0;
    if (!store->has_all) {
        return true; /* written by a version that had no rollups */
    }
    int rc = mdb_cursor_open(txn, store->dbis[STORE_ROLLUP_MARKS], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table rollup_marks");
    }
    MDB_val key;
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT)) {
        if (key.mv_size != ROLLUP_MARK_KEY_BYTES) {
            continue;
        }
        struct rollup_mark mark = {
            .resolution_ms = (int64_t)bytes_be32(key.mv_data) * 1000,
            .period = bytes_be64_signed((const uint8_t *)key.mv_data + 4),
        };
        struct str body;
        struct err damage = ERR_INIT;
        if (!store_check(STORE_ROLLUP_MARKS, key, row, &body, &damage) ||
            !parse_mark(body, &mark, &damage)) {
            damage_note(db, DAMAGE_ROLLUP, &damage); /* as if it were not built */
        }
        *ret = vec_grow(*ret, &cap, *ret_count + 1, sizeof((*ret)[0]));
        (*ret)[(*ret_count)++] = mark;
    }
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND) {
        return true;
    }
    mem_free(*ret);
    *ret = NULL;
    *ret_count = 0;
    return env_fail(&store->env, err, rc, "reading table rollup_marks");
}

bool rollup_reaches(int64_t period, int64_t t_min_ms, int64_t t_max_ms) {
    int64_t start_ms = period * ROLLUP_PERIOD_MS;
    return start_ms < t_max_ms && start_ms + ROLLUP_PERIOD_MS >= t_min_ms;
}

int rollup_touch(struct tsdb *db, MDB_txn *txn, int64_t t_min_ms, int64_t t_max_ms) {
    struct rollup_mark *marks;
    size_t count;
    struct err err = ERR_INIT;
    if (t_min_ms > db->rolled_until_ms) {
        return 0;
    }
    if (!rollup_list_marks(db, txn, &marks, &count, &err)) {
        return store_rc_of(&err);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        bool is_begun = marks[i].is_built || marks[i].id_next > 0;
        if (is_begun && rollup_reaches(marks[i].period, t_min_ms, t_max_ms)) {
            marks[i].is_built = false;
            marks[i].id_next = 0;
            rc = rollup_put_mark(&db->store, txn, &marks[i]);
        }
    }
    mem_free(marks);
    return rc;
}
