/* What the store holds, for offline tools: windows and their sizes. */
#include "base/mem.h"
#include "tsdb/bytes.h"
#include "tsdb/db.h"

/* Bytes of keys and values of one window in a table whose keys begin with the window. */
static bool measure_table(struct store *store,
                          MDB_txn *txn,
                          enum store_table table,
                          int64_t window,
                          uint64_t *ret_bytes,
                          struct err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[table], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "measuring a window");
    }
    uint8_t start[8];
    store_key_window(start, window);
    MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size >= sizeof(start) && bytes_be64_signed(key.mv_data) == window) {
        *ret_bytes += key.mv_size + row.mv_size;
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND || env_fail(&store->env, err, rc, "measuring a window");
}

static bool describe(struct tsdb *db,
                     MDB_txn *txn,
                     int64_t window,
                     bool with_tables,
                     struct tsdb_window *ret,
                     struct err *err) {
    struct store *store = &db->store;
    struct store_window stats = { .t_min_ms = INT64_MAX, .t_max_ms = INT64_MIN };
    bool found;
    int64_t block_ms = db->head.block_ms;
    if (!store_get_window(store, txn, window, &stats, &found, err)) {
        return false;
    }
    *ret = (struct tsdb_window){
        .start_ms = window * block_ms,
        .end_ms = i64_add(window * block_ms, block_ms - 1),
        .t_min_ms = stats.t_min_ms,
        .t_max_ms = stats.t_max_ms,
        .series_count = stats.series_count,
        .sample_count = stats.sample_count,
        .chunk_count = stats.chunk_count,
        .segment_bytes = stats.segment_bytes,
    };
    return !with_tables ||
           (measure_table(store, txn, STORE_ROWS, window, &ret->row_bytes, err) &&
            measure_table(store, txn, STORE_POSTINGS, window, &ret->index_bytes, err));
}

bool tsdb_windows(struct tsdb *db,
                  bool with_tables,
                  struct arena *arena,
                  struct tsdb_window **ret,
                  size_t *ret_count,
                  struct err *err) {
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    int64_t *windows = NULL;
    size_t count = 0;
    bool is_ok = store_list_windows(&db->store, txn, INT64_MIN, INT64_MAX, &windows, &count, err);
    *ret = arena_alloc(arena, (count + 1) * sizeof(**ret));
    for (size_t i = 0; is_ok && i < count; i++) {
        is_ok = describe(db, txn, windows[i], with_tables, &(*ret)[i], err);
    }
    env_read_end(&db->store.env, txn);
    mem_free(windows);
    *ret_count = count;
    return is_ok;
}
