/* Taking samples out of parts; see rewrite.h. */
#include "tsdb/upkeep/rewrite.h"

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/codec/p3.h"
#include "tsdb/merge/merge.h"
#include "tsdb/parts/window.h"
#include "tsdb/query/querier.h"
#include "tsdb/rollup/rollup.h"

#define IDS_PER_SLICE 512 /* rows put per transaction */

bool rewrite_find(struct tsdb *db,
                  const struct part *part,
                  const struct matcher *matchers,
                  size_t count,
                  struct idset *ret,
                  struct err *err) {
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = window_match(&db->store, NULL, txn, part->place, matchers, count, ret, err);
    env_read_end(&db->store.env, txn);
    idset_normalize(ret);
    return ok;
}

/* ---- parts ---- */

static void drop_range(void *ctx, uint64_t id, struct labels labels, struct tsdb_column *column) {
    struct rewrite *rewrite = ctx;
    (void)labels;
    if (!idset_contains(rewrite->ids, id)) {
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < column->count; i++) {
        if (column->t_ms[i] < rewrite->t_first_ms || column->t_ms[i] > rewrite->t_last_ms) {
            column->t_ms[kept] = column->t_ms[i];
            column->values[kept] = column->values[i];
            kept++;
        }
    }
    rewrite->sample_count += column->count - kept;
    column->count = kept;
}

bool rewrite_part(struct rewrite *rewrite, const struct part *part, struct err *err) {
    struct tsdb *db = rewrite->db;
    if (merge_uses(db->merge, part->place)) {
        merge_abandon(db);
    }
    struct merge_plan plan = {
        .sources = mem_alloc(sizeof(*part)),
        .source_count = 1,
        .window_first = part->window_first,
        .window_end = part->window_end,
        .filter = drop_range,
        .filter_ctx = rewrite,
    };
    plan.sources[0] = *part;
    return merge_run(db, &plan, err);
}

/* ---- rollups ---- */

struct rollup_cut {
    const struct rewrite *rewrite;
    int64_t resolution_ms;
    int64_t period;
    size_t next; /* of the ids */
    struct p3_encoder encoder;
    struct tsdb_buckets buckets;
    struct buf body;
};

/* Write the row of a series again without the buckets that reach into the range. */
static int cut_row(struct rollup_cut *cut, struct store *store, MDB_txn *txn, uint64_t id) {
    uint8_t key_bytes[ROLLUP_KEY_BYTES];
    rollup_key(key_bytes, cut->resolution_ms, cut->period, id);
    struct str key = str_n((const char *)key_bytes, sizeof(key_bytes));
    struct str body;
    bool found;
    struct err err = ERR_INIT;
    cut->buckets.count = 0;
    bool is_sound = store_get(store, txn, STORE_ROLLUPS, key, &body, &found, &err);
    if (!is_sound && err.code != ERR_CORRUPT) {
        return MDB_PANIC;
    }
    if (is_sound && !found) {
        return 0;
    }
    /* A damaged row cannot be cut: it goes as a whole. */
    is_sound =
        is_sound && rollup_decode(body, cut->resolution_ms, INT64_MIN, INT64_MAX, &cut->buckets);
    size_t kept = 0;
    for (size_t i = 0; is_sound && i < cut->buckets.count; i++) {
        int64_t end_ms = cut->buckets.items[i].t_ms;
        if (end_ms < cut->rewrite->t_first_ms ||
            end_ms - cut->resolution_ms >= cut->rewrite->t_last_ms) {
            cut->buckets.items[kept++] = cut->buckets.items[i];
        }
    }
    if (kept == 0) {
        return store_del(store, txn, STORE_ROLLUPS, key);
    }
    buf_reset(&cut->body);
    rollup_encode(&cut->encoder, cut->resolution_ms, cut->buckets.items, kept, &cut->body);
    return store_put(store, txn, STORE_ROLLUPS, key, buf_as_str(&cut->body));
}

static int cut_slice(void *ctx, struct store *store, MDB_txn *txn) {
    struct rollup_cut *cut = ctx;
    const struct idset *ids = cut->rewrite->ids;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < IDS_PER_SLICE && cut->next + i < ids->count; i++) {
        rc = cut_row(cut, store, txn, ids->ids[cut->next + i]);
    }
    return rc;
}

static bool cut_period(struct rollup_cut *cut, struct err *err) {
    for (cut->next = 0; cut->next < cut->rewrite->ids->count; cut->next += IDS_PER_SLICE) {
        if (!store_write(cut->rewrite->db, cut_slice, cut, "deleting from rollups", err)) {
            return false;
        }
    }
    return true;
}

static int touch(void *ctx, struct store *store, MDB_txn *txn) {
    const struct rewrite *rewrite = ctx;
    (void)store;
    return rollup_touch(rewrite->db, txn, rewrite->t_first_ms, rewrite->t_last_ms);
}

bool rewrite_rollups(struct rewrite *rewrite, struct err *err) {
    struct tsdb *db = rewrite->db;
    struct rollup_mark *marks;
    size_t count;
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = rollup_list_marks(db, txn, &marks, &count, err);
    env_read_end(&db->store.env, txn);
    if (!ok || count == 0) {
        return ok;
    }
    struct rollup_cut cut = { .rewrite = rewrite };
    p3_encoder_init(&cut.encoder);
    buf_init(&cut.body, SIZE_MAX);
    /* From here on rows do not answer alone: what is cut is not missed. */
    ok = store_write(db, touch, rewrite, "deleting from rollups", err);
    for (size_t i = 0; ok && i < count; i++) {
        cut.resolution_ms = marks[i].resolution_ms;
        cut.period = marks[i].period;
        ok = !rollup_reaches(cut.period, rewrite->t_first_ms, rewrite->t_last_ms) ||
             (cut_period(&cut, err) && rollup_index(db, &marks[i], err));
    }
    p3_encoder_finish(&cut.encoder);
    tsdb_buckets_finish(&cut.buckets);
    buf_finish(&cut.body);
    mem_free(marks);
    return ok;
}
