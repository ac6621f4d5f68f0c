/* Making damaged rows again; see rebuild.h. */
#include "tsdb/parts/rebuild.h"

#include "base/str.h"
#include "tsdb/codec/bytes.h"

/* Calls visit for the rows of a window in one table. */
static bool walk_window(struct store *store,
                        MDB_txn *txn,
                        enum store_table table,
                        int64_t window,
                        void (*visit)(void *ctx, MDB_val key, MDB_val value),
                        void *ctx,
                        struct err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[table], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table %s", store_table_names[table]);
    }
    uint8_t start[8];
    store_key_window(start, window);
    MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
    MDB_val value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size == STORE_KEY_ROW_BYTES &&
           bytes_be64_signed(key.mv_data) == window) {
        visit(ctx, key, value);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND ||
           env_fail(&store->env, err, rc, "reading table %s", store_table_names[table]);
}

/* ---- rows ---- */

struct collect {
    uint64_t id;
    uint64_t floor;
    uint64_t end;
    struct store_row *row;
};

static void collect_segment(void *ctx, MDB_val key, MDB_val value) {
    const struct collect *collect = ctx;
    struct segment_walk walk;
    struct segment_chunk chunk;
    uint32_t offset;
    struct err ignored = ERR_INIT;
    if (!segment_walk_begin(key, value, &walk, &ignored) || walk.number < collect->floor ||
        walk.number >= collect->end) {
        return;
    }
    while (segment_walk_next(&walk, &chunk, &offset, &ignored)) {
        if (chunk.id == collect->id) {
            store_row_add(collect->row, (struct chunk_ref){
                                            .segment = walk.number,
                                            .offset = offset,
                                            .count = chunk.count,
                                            .t_min_ms = chunk.t_min_ms,
                                            .t_max_ms = chunk.t_max_ms,
                                        });
        }
    }
}

bool rebuild_row(struct store *store,
                 MDB_txn *txn,
                 int64_t window,
                 uint64_t id,
                 uint64_t floor,
                 uint64_t end,
                 struct store_row *row,
                 struct err *err) {
    struct collect collect = { .id = id, .floor = floor, .end = end, .row = row };
    row->count = 0;
    row->has_last = false;
    return walk_window(store, txn, STORE_SEGMENTS, window, collect_segment, &collect, err);
}

/* ---- windows ---- */

struct recount {
    struct store *store;
    MDB_txn *txn;
    int64_t window;
    struct store_row row;
    struct store_window *stats;
};

static void count_row(void *ctx, MDB_val key, MDB_val value) {
    struct recount *recount = ctx;
    struct store_window *stats = recount->stats;
    uint64_t id = bytes_be64((const uint8_t *)key.mv_data + 8);
    bool found;
    struct err ignored = ERR_INIT;
    (void)value;
    stats->series_count++;
    if (!store_get_row(recount->store, recount->txn, recount->window, id, &recount->row, &found,
                       &ignored)) {
        return;
    }
    for (size_t i = 0; i < recount->row.count; i++) {
        const struct chunk_ref *ref = &recount->row.refs[i];
        stats->chunk_count++;
        stats->sample_count += ref->count;
        stats->t_min_ms = ref->t_min_ms < stats->t_min_ms ? ref->t_min_ms : stats->t_min_ms;
        stats->t_max_ms = ref->t_max_ms > stats->t_max_ms ? ref->t_max_ms : stats->t_max_ms;
    }
}

static void count_segment(void *ctx, MDB_val key, MDB_val value) {
    struct recount *recount = ctx;
    (void)key;
    recount->stats->segment_bytes += value.mv_size + 16; /* LMDB's page header */
}

bool rebuild_window(struct store *store,
                    MDB_txn *txn,
                    int64_t window,
                    struct store_window *ret,
                    struct err *err) {
    struct recount recount = { .store = store, .txn = txn, .window = window, .stats = ret };
    *ret = (struct store_window){ .t_min_ms = INT64_MAX, .t_max_ms = INT64_MIN };
    bool ok = walk_window(store, txn, STORE_ROWS, window, count_row, &recount, err) &&
              walk_window(store, txn, STORE_SEGMENTS, window, count_segment, &recount, err);
    store_row_finish(&recount.row);
    return ok;
}
