/* Reading buckets: rows of built periods, rows and samples everywhere else. */
#include <assert.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/query/querier.h"
#include "tsdb/rollup/rollup.h"

const struct tsdb_rollup *tsdb_rollups(const struct tsdb *db, size_t *ret_count) {
    *ret_count = db->rollup_count;
    return db->rollups;
}

int64_t tsdb_raw_floor_ms(const struct tsdb *db) {
    return db->raw_floor_ms;
}

int64_t tsdb_rolled_from_ms(const struct tsdb *db, size_t index) {
    assert(index < db->rollup_count);
    return db->rolled_from_ms[index];
}

int64_t tsdb_rolled_until_ms(const struct tsdb *db) {
    return db->rolled_until_ms;
}

/* ---- which periods are built ---- */

static bool list_rolled(struct tsdb_querier *querier, MDB_txn *txn, struct err *err) {
    struct rollup_mark *marks;
    size_t count;
    if (!rollup_list_marks(querier->db, txn, &marks, &count, err)) {
        return false;
    }
    querier->rolled = mem_alloc((count + 1) * sizeof(querier->rolled[0]));
    for (size_t i = 0; i < count; i++) {
        int64_t period = marks[i].period;
        if (marks[i].resolution_ms != querier->rolled_resolution_ms) {
            continue;
        }
        querier->rolled_first = period < querier->rolled_first ? period : querier->rolled_first;
        if (marks[i].is_built) {
            querier->rolled[querier->rolled_count++] = period;
        }
    }
    mem_free(marks);
    return true;
}

static bool load_rolled(struct tsdb_querier *querier,
                        MDB_txn *txn,
                        int64_t resolution_ms,
                        struct err *err) {
    uint64_t txn_id = mdb_txn_id(txn);
    if (querier->rolled_txn_id == txn_id && querier->rolled_resolution_ms == resolution_ms) {
        return true;
    }
    mem_free(querier->rolled);
    querier->rolled = NULL;
    querier->rolled_count = 0;
    querier->rolled_first = INT64_MAX;
    querier->rolled_resolution_ms = resolution_ms;
    querier->rolled_txn_id = UINT64_MAX;
    if (!list_rolled(querier, txn, err)) {
        return false;
    }
    querier->rolled_txn_id = txn_id;
    return true;
}

static bool is_built(const struct tsdb_querier *querier, int64_t period) {
    size_t low = 0;
    size_t high = querier->rolled_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (querier->rolled[middle] < period) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < querier->rolled_count && querier->rolled[low] == period;
}

/* ---- one period ---- */

/* Buckets from the row; is it sound, if there is one? */
static bool read_row(const struct rollup_read *read,
                     struct tsdb_buckets *buckets,
                     bool *ret_is_sound,
                     struct err *err) {
    struct store *store = &read->querier->db->store;
    uint8_t key[ROLLUP_KEY_BYTES];
    rollup_key(key, read->resolution_ms, read->period,
               read->querier->entries[read->view_id - 1].id);
    MDB_txn *txn;
    if (!env_read_begin(&store->env, &txn, err)) {
        return false;
    }
    struct str body;
    bool found;
    struct err damage = ERR_INIT;
    size_t count = buckets->count;
    bool ok = store_get(store, txn, STORE_ROLLUPS, str_n((const char *)key, sizeof(key)), &body,
                        &found, &damage);
    if (ok && found) {
        ok = rollup_decode(body, read->resolution_ms, read->t_after_ms, read->t_last_ms, buckets) ||
             err_set(&damage, ERR_CORRUPT, "store: a row of table rollups is malformed");
    }
    env_read_end(&store->env, txn);
    *ret_is_sound = ok;
    if (!ok) {
        buckets->count = count;
        if (damage.code != ERR_CORRUPT) {
            *err = damage;
            return false;
        }
        querier_note_damage(read->querier, DAMAGE_ROLLUP, &damage);
    }
    return true;
}

/* Those of a row and those of samples, in place of the row's from number `first` on. */
static void unite(struct tsdb_buckets *buckets, size_t first, const struct tsdb_buckets *folded) {
    struct tsdb_buckets all = { 0 };
    size_t i = first;
    size_t k = 0;
    while (i < buckets->count || k < folded->count) {
        const struct tsdb_bucket *row = i < buckets->count ? &buckets->items[i] : NULL;
        const struct tsdb_bucket *fold = k < folded->count ? &folded->items[k] : NULL;
        bool takes_row = fold == NULL || (row != NULL && row->t_ms < fold->t_ms);
        bool has_both = row != NULL && fold != NULL && row->t_ms == fold->t_ms;
        takes_row = takes_row || (has_both && row->count > fold->count);
        all.items = vec_grow(all.items, &all.cap, all.count + 1, sizeof(all.items[0]));
        all.items[all.count++] = takes_row ? *row : *fold;
        i += takes_row || has_both;
        k += !takes_row || has_both;
    }
    buckets->count = first;
    for (size_t at = 0; at < all.count; at++) {
        buckets->items =
            vec_grow(buckets->items, &buckets->cap, buckets->count + 1, sizeof(buckets->items[0]));
        buckets->items[buckets->count++] = all.items[at];
    }
    tsdb_buckets_finish(&all);
}

static bool add_samples(const struct rollup_read *read,
                        size_t first,
                        struct tsdb_buckets *buckets,
                        struct err *err) {
    struct tsdb_column column = { 0 };
    bool ok = tsdb_read(read->querier, read->view_id, read->t_after_ms + 1, read->t_last_ms,
                        &column, err);
    if (ok && buckets->count == first) {
        rollup_fold(&column, read->resolution_ms, buckets);
    } else if (ok && column.count > 0) {
        struct tsdb_buckets folded = { 0 };
        rollup_fold(&column, read->resolution_ms, &folded);
        unite(buckets, first, &folded);
        tsdb_buckets_finish(&folded);
    }
    tsdb_column_finish(&column);
    return ok;
}

bool rollup_read_period(const struct rollup_read *read,
                        struct tsdb_buckets *buckets,
                        struct err *err) {
    size_t first = buckets->count;
    bool is_sound;
    return read->t_after_ms >= read->t_last_ms ||
           (read_row(read, buckets, &is_sound, err) &&
            ((read->is_whole && is_sound) || add_samples(read, first, buckets, err)));
}

/* ---- a range ---- */

/* Does a row stand for all samples the view has in the period? */
static bool is_whole(const struct tsdb_querier *querier,
                     const struct querier_entry *entry,
                     int64_t unsealed_ms,
                     int64_t period) {
    int64_t end_ms = (period + 1) * ROLLUP_PERIOD_MS;
    return is_built(querier, period) && entry->next == 0 && unsealed_ms > end_ms;
}

/* The periods of [t_first_ms, t_last_ms] that can have anything. */
static void clip_periods(const struct tsdb_querier *querier, int64_t *first, int64_t *last) {
    const struct tsdb *db = querier->db;
    if (querier->overlay.batch != NULL) {
        return;
    }
    int64_t t_min_ms = db->t_min_ms;
    int64_t t_max_ms = db->t_max_ms;
    t_max_ms = db->rolled_until_ms > t_max_ms ? db->rolled_until_ms : t_max_ms;
    int64_t oldest = t_min_ms == INT64_MIN ? INT64_MIN : rollup_period(t_min_ms);
    oldest = oldest < querier->rolled_first ? oldest : querier->rolled_first;
    int64_t newest = t_max_ms == INT64_MIN ? INT64_MIN : rollup_period(t_max_ms);
    *first = oldest > *first ? oldest : *first;
    *last = newest < *last ? newest : *last;
}

bool tsdb_read_buckets(struct tsdb_querier *querier,
                       uint64_t id,
                       int64_t resolution_ms,
                       int64_t t_first_ms,
                       int64_t t_last_ms,
                       struct tsdb_buckets *buckets,
                       struct err *err) {
    assert(id > 0 && id <= querier->entry_count);
    assert(t_first_ms % resolution_ms == 0 && t_last_ms % resolution_ms == 0);
    buckets->count = 0;
    /* In this order: what is sealed in between takes the mark of its period away. */
    int64_t unsealed_ms = querier_unsealed_ms(querier, id);
    MDB_txn *txn;
    if (!env_read_begin(&querier->db->store.env, &txn, err)) {
        return false;
    }
    bool ok = load_rolled(querier, txn, resolution_ms, err);
    env_read_end(&querier->db->store.env, txn);
    int64_t period = rollup_period(t_first_ms);
    int64_t last = rollup_period(t_last_ms);
    clip_periods(querier, &period, &last);
    for (; ok && period <= last; period++) {
        int64_t start_ms = period * ROLLUP_PERIOD_MS;
        int64_t end_ms = start_ms + ROLLUP_PERIOD_MS;
        struct rollup_read read = {
            .querier = querier,
            .view_id = id,
            .resolution_ms = resolution_ms,
            .period = period,
            .t_after_ms =
                t_first_ms - resolution_ms > start_ms ? t_first_ms - resolution_ms : start_ms,
            .t_last_ms = t_last_ms < end_ms ? t_last_ms : end_ms,
            .is_whole = is_whole(querier, &querier->entries[id - 1], unsealed_ms, period),
        };
        ok = rollup_read_period(&read, buckets, err);
    }
    return ok && querier_holds(querier, err);
}
