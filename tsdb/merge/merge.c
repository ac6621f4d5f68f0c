/*
 * Merging: beginning, ending, litter. The two phases between are in merge_chunks.c and
 * merge_index.c, the choice of what to merge in merge_plan.c.
 */
#include "tsdb/merge/merge.h"

#include <assert.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/merge/merge_steps.h"

/* Rows deleted per transaction, so that about a slice of pages comes free. */
#define SEGMENTS_PER_SWEEP 128
#define ROWS_PER_SWEEP     4096

/* ---- begin ---- */

/* Parts are numbered like segments, by one counter: neither is ever used again. */
static int put_building(void *ctx, struct store *store, MDB_txn *txn) {
    struct merge *merge = ctx;
    struct store_state state;
    struct err err = ERR_INIT;
    bool found;
    if (!store_get_state(store, txn, &state, &found, &err)) {
        return store_rc_of(&err);
    }
    merge->target.place = part_place(state.segment_next++);
    merge->segment_floor = state.segment_next;
    int rc = store_put_state(store, txn, &state);
    return rc == 0 ? part_put(store, txn, &merge->target) : rc;
}

bool merge_begin(struct tsdb *db,
                 const struct merge_plan *plan,
                 struct merge **ret,
                 struct err *err) {
    struct merge *merge = mem_calloc(1, sizeof(*merge));
    merge->db = db;
    merge->plan = *plan;
    merge->start_ns = clock_mono_ns(clock_system());
    merge->target = (struct part){
        .window_first = plan->window_first,
        .window_end = plan->window_end,
        .is_merged = true,
        .state = PART_BUILDING,
        .stats = { .t_min_ms = INT64_MAX, .t_max_ms = INT64_MIN },
    };
    arena_init(&merge->name_arena, SIZE_MAX);
    arena_init(&merge->arena, SIZE_MAX);
    run_cache_init(&merge->cache);
    run_writer_init(&merge->writer);
    merge->places = mem_alloc((plan->source_count + 1) * sizeof(merge->places[0]));
    for (size_t i = 0; i < plan->source_count; i++) {
        merge->places[i] = plan->sources[i].place;
    }
    posting_union_init(&merge->postings, db);
    merge->postings.places = merge->places;
    merge->postings.place_count = plan->source_count;
    if (!store_write(db, put_building, merge, "beginning a merge", err) ||
        !merge_load(merge, err)) {
        merge_destroy(merge);
        return false;
    }
    *ret = merge;
    return true;
}

void merge_destroy(struct merge *merge) {
    if (merge == NULL) {
        return;
    }
    mem_free(merge->plan.sources);
    arena_finish(&merge->name_arena);
    arena_finish(&merge->arena);
    mem_free(merge->names);
    idset_finish(&merge->ids);
    idset_finish(&merge->taken);
    idset_finish(&merge->metric_ids);
    mem_free(merge->series);
    run_cache_finish(&merge->cache);
    run_writer_finish(&merge->writer);
    tsdb_column_finish(&merge->column);
    mem_free(merge->cuts);
    mem_free(merge->entries);
    mem_free(merge->lasts);
    idset_finish(&merge->entry_ids);
    mem_free(merge->places);
    posting_union_finish(&merge->postings);
    mem_free(merge);
}

void merge_abandon(struct tsdb *db) {
    merge_destroy(db->merge);
    db->merge = NULL;
}

bool merge_uses(const struct merge *merge, int64_t place) {
    for (size_t i = 0; merge != NULL && i < merge->plan.source_count; i++) {
        if (merge->plan.sources[i].place == place) {
            return true;
        }
    }
    return false;
}

/* ---- the flip ---- */

/* What was sealed into a window part since the merge began stays in it. */
static void keep_rest(struct store_window *stats, const struct store_window *merged) {
    stats->series_count -= merged->series_count;
    stats->sample_count -= merged->sample_count;
    stats->chunk_count -= merged->chunk_count;
    stats->segment_bytes -= merged->segment_bytes;
}

static int flip(void *ctx, struct store *store, MDB_txn *txn) {
    const struct merge *merge = ctx;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < merge->plan.source_count; i++) {
        const struct part *source = &merge->plan.sources[i];
        struct part part;
        struct err err = ERR_INIT;
        bool found;
        if (!part_get(store, txn, source->place, &part, &found, &err)) {
            return store_rc_of(&err);
        }
        if (!found || part.state != PART_LIVE) {
            BUG("a part went away while it was merged");
        }
        if (part.is_merged) {
            part.state = PART_DEAD;
        } else {
            part.stats.segment_floor = merge->segment_floor;
            part.stats.is_swept = false;
            keep_rest(&part.stats, &source->stats);
        }
        rc = part_put(store, txn, &part);
    }
    if (rc != 0) {
        return rc;
    }
    struct part target = merge->target;
    target.state = merge->entry_count > 0 || merge->last_count > 0 ? PART_LIVE : PART_DEAD;
    return part_put(store, txn, &target);
}

static bool finish(struct merge *merge, struct err *err) {
    if (!store_write(merge->db, flip, merge, "ending a merge", err)) {
        return false;
    }
    struct tsdb_metrics *metrics = &merge->db->metrics;
    metric_inc(metrics->merges);
    metric_add(metrics->merge_seconds,
               (double)(clock_mono_ns(clock_system()) - merge->start_ns) / 1e9);
    merge->phase = MERGE_DONE;
    return true;
}

bool merge_step(struct merge *merge, bool *ret_is_done, struct err *err) {
    bool ok = false;
    switch (merge->phase) {
    case MERGE_CHUNKS: ok = merge_chunks(merge, err); break;
    case MERGE_DIRECTORY: ok = merge_directory(merge, err); break;
    case MERGE_POSTINGS: ok = merge_postings(merge, err); break;
    case MERGE_FLIP: ok = finish(merge, err); break;
    case MERGE_DONE: BUG("a merge that is done goes on"); break;
    }
    *ret_is_done = ok && merge->phase == MERGE_DONE;
    return ok;
}

bool merge_run(struct tsdb *db, const struct merge_plan *plan, struct err *err) {
    struct merge *merge;
    if (!merge_begin(db, plan, &merge, err)) {
        return false;
    }
    bool is_done = false;
    bool ok = true;
    while (ok && !is_done) {
        ok = merge_step(merge, &is_done, err);
    }
    merge_destroy(merge);
    return ok;
}

/* ---- work ---- */

/* Sources with damage are served as they are; merging would make the damage final. */
static void set_aside(struct tsdb *db, const struct err *what) {
    damage_note(db, DAMAGE_SEGMENT, what);
    for (size_t i = 0; i < db->merge->plan.source_count; i++) {
        idset_add(&db->unmergeable, (uint64_t)db->merge->plan.sources[i].place);
    }
    idset_normalize(&db->unmergeable);
}

static bool begin_next(struct tsdb *db,
                       const struct merge_limits *limits,
                       bool *ret_is_idle,
                       struct err *err) {
    struct merge_plan plan;
    bool found;
    if (!window_index_all(db, limits->end_window, err) ||
        !merge_choose(db, limits, &plan, &found, err)) {
        return false;
    }
    *ret_is_idle = !found;
    return !found || merge_begin(db, &plan, &db->merge, err);
}

bool merge_work(struct tsdb *db,
                const struct merge_limits *limits,
                bool *ret_is_idle,
                struct err *err) {
    *ret_is_idle = false;
    if (db->merge == NULL) {
        return begin_next(db, limits, ret_is_idle, err);
    }
    bool is_done;
    if (merge_step(db->merge, &is_done, err)) {
        if (is_done) {
            merge_abandon(db);
            return merge_sweep(db, err);
        }
        return true;
    }
    bool is_damage = err->code == ERR_CORRUPT;
    if (is_damage) {
        set_aside(db, err);
        *err = (struct err)ERR_INIT;
    }
    merge_abandon(db);
    return is_damage;
}

/* ---- dead parts ---- */

static int put_dead(void *ctx, struct store *store, MDB_txn *txn) {
    struct part part;
    struct err err = ERR_INIT;
    bool found;
    if (!part_get(store, txn, *(const int64_t *)ctx, &part, &found, &err)) {
        return store_rc_of(&err);
    }
    part.state = PART_DEAD;
    return found ? part_put(store, txn, &part) : 0;
}

bool merge_drop_part(struct tsdb *db, int64_t place, struct err *err) {
    assert(part_is_merged(place));
    return store_write(db, put_dead, &place, "deleting a part", err);
}

struct sweep {
    struct part part;
    const enum store_table *tables; /* to empty, in this order */
    size_t table_count;
    uint64_t next_id;
    bool has_more;
    bool is_empty; /* window parts: no row is left */
};

/* A slice: up to where a table has more than fits one. */
static int trim_tables(void *ctx, struct store *store, MDB_txn *txn) {
    struct sweep *sweep = ctx;
    int rc = 0;
    sweep->has_more = false;
    for (size_t i = 0; rc == 0 && !sweep->has_more && i < sweep->table_count; i++) {
        enum store_table table = sweep->tables[i];
        size_t max = table == STORE_SEGMENTS ? SEGMENTS_PER_SWEEP : ROWS_PER_SWEEP;
        rc = store_trim_window(store, txn, table, sweep->part.place, max, &sweep->has_more);
    }
    return rc;
}

static bool trim_all(struct tsdb *db, struct sweep *sweep, struct err *err) {
    do {
        if (!store_write(db, trim_tables, sweep, "deleting what was merged", err)) {
            return false;
        }
    } while (sweep->has_more);
    return true;
}

static bool sweep_merged(struct tsdb *db, const struct part *part, struct err *err) {
    static const enum store_table tables[] = {
        STORE_DIRECTORY, STORE_ROWS, STORE_POSTINGS, STORE_SEGMENTS, STORE_PARTS,
    };
    struct sweep sweep = {
        .part = *part,
        .tables = tables,
        .table_count = ARRAY_LEN(tables),
    };
    return trim_all(db, &sweep, err);
}

/* ---- window parts ---- */

/* Drop references to merged chunks from a row, or the row. */
static int sweep_row(const struct sweep *sweep, struct store *store, MDB_txn *txn, uint64_t id) {
    int64_t window = sweep->part.place;
    struct store_row row = { 0 };
    struct err err = ERR_INIT;
    bool found;
    if (!store_get_row(store, txn, window, id, &row, &found, &err)) {
        store_row_finish(&row);
        return store_rc_of(&err);
    }
    size_t count = row.count;
    store_row_drop_below(&row, sweep->part.stats.segment_floor);
    int rc = 0;
    if (found && row.count == 0) {
        uint8_t key[STORE_KEY_ROW_BYTES];
        store_key_row(key, window, id);
        rc = store_del(store, txn, STORE_ROWS, str_n((const char *)key, sizeof(key)));
    } else if (found && row.count < count) {
        rc = store_put_row(store, txn, window, id, &row);
    }
    store_row_finish(&row);
    return rc;
}

static int next_ids(const struct sweep *sweep,
                    struct store *store,
                    MDB_txn *txn,
                    struct idset *out) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_ROWS], &cursor);
    if (rc != 0) {
        return rc;
    }
    uint8_t start[STORE_KEY_ROW_BYTES];
    store_key_row(start, sweep->part.place, sweep->next_id);
    MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size == sizeof(start) && out->count < ROWS_PER_SWEEP &&
           bytes_be64_signed(key.mv_data) == sweep->part.place) {
        idset_add(out, bytes_be64((const uint8_t *)key.mv_data + 8));
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int sweep_rows(void *ctx, struct store *store, MDB_txn *txn) {
    struct sweep *sweep = ctx;
    struct idset ids = { 0 };
    int rc = next_ids(sweep, store, txn, &ids);
    for (size_t i = 0; rc == 0 && i < ids.count; i++) {
        rc = sweep_row(sweep, store, txn, ids.ids[i]);
    }
    sweep->has_more = ids.count == ROWS_PER_SWEEP;
    if (rc == 0 && sweep->has_more) {
        sweep->next_id = ids.ids[ids.count - 1] + 1;
    }
    idset_finish(&ids);
    return rc;
}

/* Segments of a window ascend: those below the floor come first. */
static int sweep_segments(void *ctx, struct store *store, MDB_txn *txn) {
    struct sweep *sweep = ctx;
    return store_trim_segments(store, txn, sweep->part.place, sweep->part.stats.segment_floor,
                               SEGMENTS_PER_SWEEP, &sweep->has_more);
}

/* No row below the floor is left; and if there is no row at all, the window goes. */
static int end_window_sweep(void *ctx, struct store *store, MDB_txn *txn) {
    struct sweep *sweep = ctx;
    struct part part;
    struct err err = ERR_INIT;
    struct idset ids = { 0 };
    bool found;
    sweep->next_id = 0;
    int rc = next_ids(sweep, store, txn, &ids);
    sweep->is_empty = ids.count == 0;
    idset_finish(&ids);
    if (rc != 0 || sweep->is_empty) {
        return rc;
    }
    if (!part_get(store, txn, sweep->part.place, &part, &found, &err) || !found) {
        return store_rc_of(&err);
    }
    part.stats.is_swept = true;
    return part_put(store, txn, &part);
}

static bool sweep_window(struct tsdb *db, const struct part *part, struct err *err) {
    static const enum store_table tables[] = { STORE_PENDING, STORE_POSTINGS, STORE_WINDOWS };
    struct sweep sweep = {
        .part = *part,
        .tables = tables,
        .table_count = ARRAY_LEN(tables),
    };
    do {
        if (!store_write(db, sweep_rows, &sweep, "deleting merged rows", err)) {
            return false;
        }
    } while (sweep.has_more);
    do {
        if (!store_write(db, sweep_segments, &sweep, "deleting merged segments", err)) {
            return false;
        }
    } while (sweep.has_more);
    if (!store_write(db, end_window_sweep, &sweep, "deleting a merged window", err)) {
        return false;
    }
    return !sweep.is_empty || trim_all(db, &sweep, err);
}

/* ---- all litter ---- */

static bool list_all(struct tsdb *db,
                     struct part **merged,
                     size_t *merged_count,
                     struct part **live,
                     size_t *live_count,
                     struct err *err) {
    MDB_txn *txn;
    *merged = NULL;
    *live = NULL;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = part_list_merged(&db->store, txn, merged, merged_count, err) &&
              part_list(&db->store, txn, INT64_MIN, INT64_MAX, live, live_count, err);
    env_read_end(&db->store.env, txn);
    return ok;
}

/* LMDB reuses what a transaction freed only after another one. */
static int put_same_state(void *ctx, struct store *store, MDB_txn *txn) {
    struct store_state state;
    struct err err = ERR_INIT;
    bool found;
    if (!store_get_state(store, txn, &state, &found, &err)) {
        return store_rc_of(&err);
    }
    return found ? store_put_state(store, txn, &state) : 0;
}

bool merge_sweep(struct tsdb *db, struct err *err) {
    struct part *merged;
    struct part *live;
    size_t merged_count;
    size_t live_count;
    bool has_swept = false;
    bool ok = list_all(db, &merged, &merged_count, &live, &live_count, err);
    for (size_t i = 0; ok && i < merged_count; i++) {
        bool is_being_built = db->merge != NULL && merged[i].place == db->merge->target.place;
        if (merged[i].state != PART_LIVE && !is_being_built) {
            ok = sweep_merged(db, &merged[i], err);
            has_swept = true;
        }
    }
    for (size_t i = 0; ok && i < live_count; i++) {
        if (!live[i].is_merged && live[i].stats.segment_floor > 0 && !live[i].stats.is_swept) {
            ok = sweep_window(db, &live[i], err);
            has_swept = true;
        }
    }
    mem_free(merged);
    mem_free(live);
    return ok && (!has_swept || store_write(db, put_same_state, NULL, "freeing pages", err));
}
