/*
 * Finding series by what rollups hold: the postings of a period, made from those of the parts it
 * was built from, at a place between those of merged parts and of windows.
 */
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/parts/part.h"
#include "tsdb/parts/posting_union.h"
#include "tsdb/query/querier.h"
#include "tsdb/rollup/rollup.h"

/* Places: resolution in seconds (17 bits) above 40 bits of period. */
#define PLACE_PERIOD_BITS 40
#define PLACE_PERIOD_BIAS (INT64_C(1) << (PLACE_PERIOD_BITS - 1))
#define PLACE_FIRST       ((uint64_t)INT64_MIN + PART_NUMBER_MAX)

int64_t rollup_place(int64_t resolution_ms, int64_t period) {
    uint64_t number = (uint64_t)(resolution_ms / 1000) << PLACE_PERIOD_BITS |
                      (uint64_t)(period + PLACE_PERIOD_BIAS);
    return (int64_t)(PLACE_FIRST + number);
}

bool rollup_is_place(int64_t place) {
    uint64_t number = (uint64_t)place - PLACE_FIRST;
    return number >> PLACE_PERIOD_BITS >= TSDB_ROLLUP_RESOLUTION_MS_MIN / 1000 &&
           number >> PLACE_PERIOD_BITS <= ROLLUP_PERIOD_MS / 1000;
}

bool rollup_ids(struct store *store,
                MDB_txn *txn,
                int64_t place,
                struct idset *out,
                struct err *err) {
    uint64_t number = (uint64_t)place - PLACE_FIRST;
    uint64_t period_bits = (UINT64_C(1) << PLACE_PERIOD_BITS) - 1;
    uint8_t start[ROLLUP_KEY_BYTES];
    rollup_key(start, (int64_t)(number >> PLACE_PERIOD_BITS) * 1000,
               (int64_t)(number & period_bits) - PLACE_PERIOD_BIAS, 0);
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_ROLLUPS], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table rollups");
    }
    MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size == sizeof(start) &&
           memcmp(key.mv_data, start, ROLLUP_MARK_KEY_BYTES) == 0) {
        idset_add(out, bytes_be64((const uint8_t *)key.mv_data + ROLLUP_MARK_KEY_BYTES));
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND || env_fail(&store->env, err, rc, "reading table rollups");
}

/* ---- writing ---- */

static bool list_sources(struct tsdb *db,
                         int64_t period,
                         struct part **ret,
                         size_t *ret_count,
                         struct err *err) {
    int64_t start_ms = period * ROLLUP_PERIOD_MS;
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = part_list(&db->store, txn, head_window(&db->head, start_ms + 1),
                        head_window(&db->head, start_ms + ROLLUP_PERIOD_MS), ret, ret_count, err);
    env_read_end(&db->store.env, txn);
    return ok;
}

/* `ids`: the series of the period. */
static bool unite(struct tsdb *db,
                  const struct rollup_mark *mark,
                  const struct idset *ids,
                  struct err *err) {
    struct part *parts;
    size_t count;
    if (!list_sources(db, mark->period, &parts, &count, err)) {
        return false;
    }
    /* What stands there already covers series whose samples are gone meanwhile. */
    int64_t *places = mem_alloc((count + 1) * sizeof(places[0]));
    for (size_t i = 0; i < count; i++) {
        places[i] = parts[i].place;
    }
    int64_t target = rollup_place(mark->resolution_ms, mark->period);
    places[count] = target;
    struct posting_union postings;
    posting_union_init(&postings, db);
    postings.places = places;
    postings.place_count = count + 1;
    postings.target = target;
    postings.ids = ids;
    bool is_over = false;
    bool ok = true;
    while (ok && !is_over) {
        ok = posting_union_step(&postings, &is_over, err);
    }
    posting_union_finish(&postings);
    mem_free(places);
    mem_free(parts);
    return ok;
}

bool rollup_index(struct tsdb *db, const struct rollup_mark *mark, struct err *err) {
    struct idset ids = { 0 };
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok =
        rollup_ids(&db->store, txn, rollup_place(mark->resolution_ms, mark->period), &ids, err);
    env_read_end(&db->store.env, txn);
    ok = ok && unite(db, mark, &ids, err);
    idset_finish(&ids);
    return ok;
}

/* ---- for queriers ---- */

/* Before this time samples of some series may be gone. */
static int64_t gone_before_ms(const struct tsdb *db) {
    int64_t gone_ms = db->raw_floor_ms;
    int64_t now_ms = clock_wall_ms(db->clock);
    for (size_t i = 0; i < db->retention_class_count; i++) {
        int64_t retention_ms = db->retention_classes[i].retention_ms;
        int64_t class_ms = retention_ms > 0 ? i64_sub_sat(now_ms, retention_ms) : INT64_MIN;
        gone_ms = class_ms > gone_ms ? class_ms : gone_ms;
    }
    if (db->retention_class_count > 0 && db->retention_default_ms > 0) {
        int64_t default_ms = i64_sub_sat(now_ms, db->retention_default_ms);
        gone_ms = default_ms > gone_ms ? default_ms : gone_ms;
    }
    return gone_ms;
}

bool rollup_add_places(struct tsdb_querier *querier, MDB_txn *txn, struct err *err) {
    struct tsdb *db = querier->db;
    struct rollup_mark *marks;
    size_t count;
    int64_t gone_ms = gone_before_ms(db);
    if (db->rollup_count == 0 || querier->t_min_ms >= gone_ms) {
        return true;
    }
    if (!rollup_list_marks(db, txn, &marks, &count, err)) {
        return false;
    }
    size_t cap = querier->part_count;
    for (size_t i = 0; i < count; i++) {
        int64_t start_ms = marks[i].period * ROLLUP_PERIOD_MS;
        if (start_ms >= gone_ms || start_ms > querier->t_max_ms ||
            start_ms + ROLLUP_PERIOD_MS < querier->t_min_ms) {
            continue;
        }
        querier->parts =
            vec_grow(querier->parts, &cap, querier->part_count + 1, sizeof(querier->parts[0]));
        querier->parts[querier->part_count++] = (struct part){
            .place = rollup_place(marks[i].resolution_ms, marks[i].period),
            .window_first = INT64_MAX, /* no window has samples here */
            .window_end = INT64_MIN,
            .state = PART_LIVE,
        };
    }
    mem_free(marks);
    return true;
}
