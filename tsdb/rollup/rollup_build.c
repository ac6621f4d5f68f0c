/*
 * Building rollups: a period at a time, some thousand series per call, each series' buckets read as
 * a query would read them and put down as a row. The mark that makes the period count comes last;
 * until then it remembers how far the building got, so that a restart goes on from there.
 */
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/codec/p3.h"
#include "tsdb/parts/part.h"
#include "tsdb/parts/window.h"
#include "tsdb/query/querier.h"
#include "tsdb/rollup/rollup.h"

#define SLICE_SERIES_MAX 2048
#define SLICE_BYTES_MAX  ((size_t)3 << 20)
#define TRIM_ROWS_MAX    4096

struct build {
    struct tsdb *db;
    struct rollup_mark mark;
    struct idset ids; /* of this slice */
    size_t id_count;  /* of them done */
    struct p3_encoder encoder;
    struct tsdb_buckets buckets;
    struct buf rows;  /* bodies back to back */
    size_t *row_ends; /* per id, in rows */
    size_t row_end_cap;
};

/* ---- one slice ---- */

/* The next series with samples in the period, ascending by id. */
static bool find_ids(struct build *build, struct err *err) {
    struct tsdb *db = build->db;
    int64_t start_ms = build->mark.period * ROLLUP_PERIOD_MS;
    struct idset ids = { 0 };
    struct part *parts = NULL;
    size_t count = 0;
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = part_list(&db->store, txn, head_window(&db->head, start_ms + 1),
                        head_window(&db->head, start_ms + ROLLUP_PERIOD_MS), &parts, &count, err);
    for (size_t i = 0; ok && i < count; i++) {
        ok = window_match(&db->store, NULL, txn, parts[i].place, NULL, 0, &ids, err);
    }
    env_read_end(&db->store.env, txn);
    mem_free(parts);
    idset_normalize(&ids);
    build->ids.count = 0;
    for (size_t i = 0; i < ids.count && build->ids.count < SLICE_SERIES_MAX; i++) {
        if (ids.ids[i] >= build->mark.id_next) {
            idset_add(&build->ids, ids.ids[i]);
        }
    }
    idset_finish(&ids);
    return ok;
}

/* Read and encode rows until the slice is full or its series are through. */
static bool fill_slice(struct build *build, struct tsdb_querier *querier, struct err *err) {
    int64_t start_ms = build->mark.period * ROLLUP_PERIOD_MS;
    buf_reset(&build->rows);
    build->id_count = 0;
    while (build->id_count < build->ids.count && build->rows.len < SLICE_BYTES_MAX) {
        struct rollup_read read = {
            .querier = querier,
            .view_id = querier_add_stored(querier, build->ids.ids[build->id_count]),
            .resolution_ms = build->mark.resolution_ms,
            .period = build->mark.period,
            .t_after_ms = start_ms,
            .t_last_ms = start_ms + ROLLUP_PERIOD_MS,
        };
        build->buckets.count = 0;
        if (!rollup_read_period(&read, &build->buckets, err)) {
            return false;
        }
        if (build->buckets.count > 0) {
            rollup_encode(&build->encoder, build->mark.resolution_ms, build->buckets.items,
                          build->buckets.count, &build->rows);
        }
        build->row_ends = vec_grow(build->row_ends, &build->row_end_cap, build->id_count + 1,
                                   sizeof(build->row_ends[0]));
        build->row_ends[build->id_count++] = build->rows.len;
    }
    return true;
}

static int put_slice(void *ctx, struct store *store, MDB_txn *txn) {
    struct build *build = ctx;
    size_t at = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < build->id_count; i++) {
        size_t end = build->row_ends[i];
        uint8_t key[ROLLUP_KEY_BYTES];
        rollup_key(key, build->mark.resolution_ms, build->mark.period, build->ids.ids[i]);
        if (end > at) {
            rc = store_put(store, txn, STORE_ROLLUPS, str_n((const char *)key, sizeof(key)),
                           str_n(build->rows.ptr + at, end - at));
        }
        at = end;
    }
    return rc == 0 ? rollup_put_mark(store, txn, &build->mark) : rc;
}

/* The rows are all there: find their series by, then count the period as built. */
static bool index_period(struct build *build, struct err *err) {
    if (!rollup_index(build->db, &build->mark, err)) {
        return false;
    }
    build->id_count = 0;
    build->mark.is_built = true;
    build->mark.id_next = 0;
    return store_write(build->db, put_slice, build, "writing rollups", err);
}

static bool build_slice(struct build *build, struct err *err) {
    struct tsdb *db = build->db;
    if (!find_ids(build, err)) {
        return false;
    }
    if (build->ids.count == 0) {
        return index_period(build, err);
    }
    int64_t start_ms = build->mark.period * ROLLUP_PERIOD_MS;
    struct tsdb_querier *querier;
    if (!tsdb_querier_open(db, start_ms + 1, start_ms + ROLLUP_PERIOD_MS, NULL, &querier, err)) {
        return false;
    }
    bool ok = fill_slice(build, querier, err);
    tsdb_querier_close(querier);
    if (!ok) {
        return false;
    }
    build->mark.id_next = build->ids.ids[build->id_count - 1] + 1;
    if (!store_write(db, put_slice, build, "writing rollups", err)) {
        return false;
    }
    metric_add(db->metrics.rollup_rows, (double)build->id_count);
    return true;
}

static bool build_period(struct tsdb *db, const struct rollup_mark *mark, struct err *err) {
    struct build build = { .db = db, .mark = *mark };
    p3_encoder_init(&build.encoder);
    buf_init(&build.rows, SIZE_MAX);
    bool ok = build_slice(&build, err);
    p3_encoder_finish(&build.encoder);
    buf_finish(&build.rows);
    idset_finish(&build.ids);
    tsdb_buckets_finish(&build.buckets);
    mem_free(build.row_ends);
    return ok || err_wrap(err, "building rollups");
}

/* ---- what is due ---- */

struct due {
    struct rollup_mark mark;
    bool is_found;
};

/* Is the period there to be built? Damaged marks are built again. */
static bool look_at_period(struct tsdb *db,
                           MDB_txn *txn,
                           int64_t resolution_ms,
                           int64_t period,
                           struct due *due,
                           struct err *err) {
    bool found;
    struct err damage = ERR_INIT;
    if (!rollup_get_mark(&db->store, txn, resolution_ms, period, &due->mark, &found, &damage)) {
        if (damage.code != ERR_CORRUPT) {
            *err = damage;
            return false;
        }
        damage_note(db, DAMAGE_ROLLUP, &damage);
        due->mark = (struct rollup_mark){ .resolution_ms = resolution_ms, .period = period };
    }
    due->is_found = !due->mark.is_built;
    return true;
}

/* The first period with samples, all of them sealed, that is not built. */
static bool find_due(struct tsdb *db,
                     const struct tsdb_rollup *rollup,
                     int64_t t_sealed_ms,
                     struct due *due,
                     struct err *err) {
    const struct head *head = &db->head;
    int64_t oldest_ms = -ROLLUP_TIME_MS_MAX;
    if (rollup->retention_ms > 0) {
        oldest_ms = i64_sub_sat(clock_wall_ms(db->clock), rollup->retention_ms);
    }
    int64_t period_end = i64_floor_div(t_sealed_ms - 1, ROLLUP_PERIOD_MS);
    int64_t *windows;
    size_t count;
    MDB_txn *txn;
    due->is_found = false;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = part_windows(&db->store, txn, head_window(head, oldest_ms),
                           head_window(head, t_sealed_ms), &windows, &count, err);
    int64_t next = rollup_period(oldest_ms);
    for (size_t i = 0; ok && !due->is_found && i < count; i++) {
        int64_t t_first_ms = windows[i] * head->block_ms;
        int64_t first = rollup_period(t_first_ms);
        int64_t last = rollup_period(t_first_ms + head->block_ms - 1);
        next = first > next ? first : next;
        for (; ok && !due->is_found && next <= last && next < period_end; next++) {
            ok = look_at_period(db, txn, rollup->resolution_ms, next, due, err);
        }
    }
    env_read_end(&db->store.env, txn);
    mem_free(windows);
    return ok;
}

/* ---- dropping ---- */

struct expired {
    const struct rollup_mark *mark;
    bool has_more;
};

static bool is_expired(const struct tsdb *db, const struct rollup_mark *mark) {
    for (size_t i = 0; i < db->rollup_count; i++) {
        const struct tsdb_rollup *rollup = &db->rollups[i];
        if (rollup->resolution_ms == mark->resolution_ms) {
            int64_t end_ms = (mark->period + 1) * ROLLUP_PERIOD_MS;
            return rollup->retention_ms > 0 &&
                   end_ms < i64_sub_sat(clock_wall_ms(db->clock), rollup->retention_ms);
        }
    }
    return !db->keeps_rollups; /* no longer configured */
}

static bool load_marks(struct tsdb *db,
                       struct rollup_mark **ret,
                       size_t *ret_count,
                       struct err *err) {
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = rollup_list_marks(db, txn, ret, ret_count, err);
    env_read_end(&db->store.env, txn);
    return ok;
}

/* Rows first, the mark last, so that an interrupted deletion is found again. */
static int drop_slice(void *ctx, struct store *store, MDB_txn *txn) {
    struct expired *expired = ctx;
    const struct rollup_mark *mark = expired->mark;
    uint8_t key[ROLLUP_MARK_KEY_BYTES];
    rollup_mark_key(key, mark->resolution_ms, mark->period);
    struct str prefix = str_n((const char *)key, sizeof(key));
    int rc =
        store_trim_prefix(store, txn, STORE_ROLLUPS, prefix, TRIM_ROWS_MAX, &expired->has_more);
    if (rc == 0 && !expired->has_more) {
        rc = store_trim_window(store, txn, STORE_POSTINGS,
                               rollup_place(mark->resolution_ms, mark->period), TRIM_ROWS_MAX,
                               &expired->has_more);
    }
    return rc == 0 && !expired->has_more ? store_del(store, txn, STORE_ROLLUP_MARKS, prefix) : rc;
}

static bool drop_expired(struct tsdb *db, struct err *err) {
    struct rollup_mark *marks;
    size_t count;
    if (!load_marks(db, &marks, &count, err)) {
        return false;
    }
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        struct expired expired = { .mark = &marks[i] };
        expired.has_more = is_expired(db, &marks[i]);
        while (ok && expired.has_more) {
            ok = store_write(db, drop_slice, &expired, "dropping old rollups", err);
        }
    }
    mem_free(marks);
    return ok;
}

/* ---- how far rollups reach ---- */

static bool update_reach(struct tsdb *db, struct err *err) {
    struct rollup_mark *marks;
    size_t count;
    if (!load_marks(db, &marks, &count, err)) {
        return false;
    }
    int64_t until_ms = INT64_MIN;
    int64_t from_ms[TSDB_ROLLUPS_MAX];
    for (size_t k = 0; k < TSDB_ROLLUPS_MAX; k++) {
        from_ms[k] = INT64_MAX;
    }
    for (size_t i = 0; i < count; i++) {
        int64_t start_ms = marks[i].period * ROLLUP_PERIOD_MS;
        int64_t end_ms = start_ms + ROLLUP_PERIOD_MS;
        until_ms = end_ms > until_ms ? end_ms : until_ms;
        for (size_t k = 0; k < db->rollup_count; k++) {
            if (db->rollups[k].resolution_ms == marks[i].resolution_ms && start_ms < from_ms[k]) {
                from_ms[k] = start_ms;
            }
        }
    }
    for (size_t k = 0; k < TSDB_ROLLUPS_MAX; k++) {
        db->rolled_from_ms[k] = from_ms[k];
    }
    db->rolled_until_ms = until_ms;
    mem_free(marks);
    return true;
}

bool rollup_load(struct tsdb *db, struct err *err) {
    MDB_txn *txn;
    int64_t floor_ms;
    struct err damage = ERR_INIT;
    if (!update_reach(db, err) || !env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = store_get_floor(&db->store, txn, &floor_ms, &damage);
    env_read_end(&db->store.env, txn);
    if (ok) {
        db->raw_floor_ms = floor_ms;
    } else if (damage.code == ERR_CORRUPT) {
        damage_note(db, DAMAGE_STATE, &damage); /* the next part that goes sets it anew */
    } else {
        *err = damage;
    }
    return ok || damage.code == ERR_CORRUPT;
}

/* ---- the whole ---- */

static bool build_due(struct tsdb *db, int64_t t_sealed_ms, bool *ret_has_more, struct err *err) {
    /* The day that is not over yet, and what is due before it. */
    int64_t needs_ms = i64_floor_div(t_sealed_ms - 1, ROLLUP_PERIOD_MS) * ROLLUP_PERIOD_MS;
    for (size_t i = 0; i < db->rollup_count; i++) {
        struct due due;
        if (!find_due(db, &db->rollups[i], t_sealed_ms, &due, err)) {
            return false;
        }
        if (due.is_found) {
            int64_t start_ms = due.mark.period * ROLLUP_PERIOD_MS;
            needs_ms = start_ms < needs_ms ? start_ms : needs_ms;
            *ret_has_more = true;
            if (!build_period(db, &due.mark, err)) {
                return false;
            }
        }
    }
    db->rollup_needs_ms = needs_ms;
    return true;
}

bool rollup_maintain(struct tsdb *db, int64_t t_sealed_ms, bool *ret_has_more, struct err *err) {
    *ret_has_more = false;
    bool ok = build_due(db, t_sealed_ms, ret_has_more, err) && drop_expired(db, err);
    /* In any case: late samples must find what was begun (rollup_touch). */
    struct err other = ERR_INIT;
    return update_reach(db, ok ? err : &other) && ok;
}
