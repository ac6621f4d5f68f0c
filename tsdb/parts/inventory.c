/* What the store holds, for offline tools: windows and their sizes. */
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/db.h"
#include "tsdb/parts/part.h"

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
                     const struct part *part,
                     bool with_tables,
                     struct tsdb_window *ret,
                     struct err *err) {
    struct store *store = &db->store;
    const struct store_window *stats = &part->stats;
    int64_t block_ms = db->head.block_ms;
    bool is_unknown = part->is_merged && part->is_damaged;
    *ret = (struct tsdb_window){
        .start_ms = is_unknown ? INT64_MIN : part->window_first * block_ms,
        .end_ms = is_unknown ? INT64_MAX : i64_sub(part->window_end * block_ms, 1),
        .t_min_ms = stats->t_min_ms,
        .t_max_ms = stats->t_max_ms,
        .series_count = stats->series_count,
        .sample_count = stats->sample_count,
        .chunk_count = stats->chunk_count,
        .segment_bytes = stats->segment_bytes,
    };
    return !with_tables ||
           (measure_table(store, txn, STORE_ROWS, part->place, &ret->row_bytes, err) &&
            (!part->is_merged ||
             measure_table(store, txn, STORE_DIRECTORY, part->place, &ret->row_bytes, err)) &&
            measure_table(store, txn, STORE_POSTINGS, part->place, &ret->index_bytes, err));
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
    struct part *parts = NULL;
    size_t count = 0;
    bool is_ok = part_list(&db->store, txn, INT64_MIN, INT64_MAX, &parts, &count, err);
    *ret = arena_alloc(arena, (count + 1) * sizeof(**ret));
    for (size_t i = 0; is_ok && i < count; i++) {
        is_ok = describe(db, txn, &parts[i], with_tables, &(*ret)[i], err);
    }
    env_read_end(&db->store.env, txn);
    mem_free(parts);
    *ret_count = count;
    return is_ok;
}
