/* Finding series for writers: in the head, in the store's series table, or new. */
#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"
#include "tsdb/db.h"
#include "tsdb/parts/part.h"

/* What the store knows of a series that is not in the head. */
static bool load_known(struct tsdb *db,
                       MDB_txn *txn,
                       struct head_newcomer *newcomer,
                       struct err *err) {
    struct sample last;
    bool has_last = false;
    int64_t window;
    bool found = false;
    bool ok = catalog_find(&db->store, txn, newcomer->labels, &newcomer->id, err);
    if (ok && newcomer->id != 0) {
        newcomer->is_defined = true;
        newcomer->is_stored = true;
        ok = catalog_get_last(&db->store, txn, newcomer->id, &window, &found, err);
        if (ok && found && window != STORE_LAST_NONE) {
            ok = part_find_last(&db->store, txn, window, newcomer->id, &last, &has_last, err);
        }
    }
    if (ok && has_last) {
        newcomer->has_last = true;
        newcomer->t_last_ms = last.t_ms;
        newcomer->value_last_bits = double_bits(last.value);
    }
    return ok;
}

static uint64_t count_of_metric(struct tsdb *db, struct str name) {
    struct head *head = &db->head;
    pthread_rwlock_rdlock(&head->index_lock);
    uint32_t pair = index_find_pair(&head->index, METRIC_NAME, name);
    uint64_t count = pair == 0 ? 0 : handles_count(&head->index.pairs[pair].handles);
    pthread_rwlock_unlock(&head->index_lock);
    return count;
}

static bool check_limits(struct tsdb *db, struct labels labels, struct err *err) {
    struct str name = labels_get(labels, METRIC_NAME);
    int shown = name.len > 200 ? 200 : (int)name.len;
    if (db->head.series_count >= db->head.series_max) {
        metric_inc(db->metrics.series_refused);
        return err_set(err, ERR_THROTTLED,
                       "the limit of %" PRIu64 " active series is reached: no new series of %.*s",
                       db->head.series_max, shown, name.len == 0 ? "" : name.ptr);
    }
    uint64_t max = db->series_per_metric_max;
    if (max > 0 && name.len > 0 && count_of_metric(db, name) >= max) {
        metric_inc(db->metrics.series_metric_refused);
        return err_set(err, ERR_THROTTLED,
                       "the limit of %" PRIu64 " active series of one metric is reached by %.*s",
                       max, shown, name.ptr);
    }
    return true;
}

static void note_created(struct tsdb *db, const struct head_newcomer *newcomers, size_t count) {
    metric_add(db->metrics.series_created, (double)count);
    for (size_t i = 0; i < count;) {
        struct str metric = labels_get(newcomers[i].labels, METRIC_NAME);
        size_t end = i + 1;
        while (end < count && str_eq(labels_get(newcomers[end].labels, METRIC_NAME), metric)) {
            end++;
        }
        creations_note(&db->creations, metric, end - i);
        i = end;
    }
}

bool db_find_or_load_series(struct tsdb *db,
                            struct labels labels,
                            uint64_t hash,
                            bool is_limited,
                            series_ref_t *ret,
                            struct err *err) {
    if (is_limited && !check_limits(db, labels, err)) {
        return false;
    }
    struct head_newcomer newcomer = { .labels = labels, .hash = hash, .t_first_ms = INT64_MAX };
    MDB_txn *txn;
    pthread_rwlock_rdlock(&db->series_lock);
    bool ok = env_read_begin(&db->store.env, &txn, err);
    if (ok) {
        ok = load_known(db, txn, &newcomer, err);
        env_read_end(&db->store.env, txn);
    }
    if (ok) {
        *ret = head_insert(&db->head, &newcomer);
        note_created(db, &newcomer, 1);
    }
    pthread_rwlock_unlock(&db->series_lock);
    return ok;
}

/* Doors normalize labels; what gets past one all the same must not reach the index. */
static bool check_labels(struct labels labels, struct err *err) {
    if (labels.count == 0) {
        return err_set(err, ERR_INVALID, "a series without labels");
    }
    bool is_ok = labels.count <= LABELS_COUNT_MAX;
    for (size_t i = 0; is_ok && i < labels.count; i++) {
        is_ok = labels.items[i].name.len <= LABEL_NAME_BYTES_MAX &&
                labels.items[i].value.len <= LABEL_VALUE_BYTES_MAX;
    }
    return is_ok || err_set(err, ERR_LIMIT, "a series with too many or too long labels");
}

bool tsdb_series(struct tsdb *db, struct labels labels, series_ref_t *ret, struct err *err) {
    uint64_t hash = head_hash(&db->head, labels);
    bool is_replaying = ready_is_replaying(&db->ready);
    *ret = is_replaying ? 0 : head_find(&db->head, labels, hash);
    if (*ret != 0) {
        return true;
    }
    if (!check_labels(labels, err)) {
        return false;
    }
    if (is_replaying) {
        if (!defer_series(db, labels, hash, ret, err)) {
            return false;
        }
        *ret = *ret != 0 ? *ret : head_find(&db->head, labels, hash);
    }
    return *ret != 0 || db_find_or_load_series(db, labels, hash, true, ret, err);
}

/* ---- many at once ---- */

#define SERIES_AT_ONCE 64 /* for so many the index is held */

/* Whether there is room for all of them; if not, tsdb_series() finds out for each. */
static bool has_room(struct tsdb *db, size_t count) {
    return db->series_per_metric_max == 0 && db->head.series_count + count <= db->head.series_max;
}

/* Bring in those that are not in the head; what fails is left out. */
static void load_all(struct tsdb *db, struct head_newcomer *newcomers, size_t count) {
    struct err err = ERR_INIT;
    MDB_txn *txn;
    pthread_rwlock_rdlock(&db->series_lock);
    if (env_read_begin(&db->store.env, &txn, &err)) {
        size_t loaded = 0;
        while (loaded < count && load_known(db, txn, &newcomers[loaded], &err)) {
            loaded++;
        }
        env_read_end(&db->store.env, txn);
        head_insert_all(&db->head, newcomers, loaded);
        note_created(db, newcomers, loaded);
    }
    pthread_rwlock_unlock(&db->series_lock);
}

/* At most SERIES_AT_ONCE. */
static void find_or_load(struct tsdb *db,
                         const struct labels *labels,
                         size_t count,
                         series_ref_t *ret) {
    struct head_newcomer newcomers[SERIES_AT_ONCE];
    size_t number[SERIES_AT_ONCE]; /* of the newcomer among them */
    size_t absent = 0;
    struct err err = ERR_INIT;
    for (size_t i = 0; i < count; i++) {
        newcomers[i] = (struct head_newcomer){
            .labels = labels[i],
            .t_first_ms = INT64_MAX,
        };
    }
    head_find_all(&db->head, newcomers, count);
    for (size_t i = 0; i < count; i++) {
        ret[i] = newcomers[i].ref;
        if (ret[i] == 0 && check_labels(labels[i], &err)) {
            newcomers[absent] = newcomers[i];
            number[absent++] = i;
        }
    }
    if (absent > 0 && has_room(db, absent)) {
        load_all(db, newcomers, absent);
        for (size_t i = 0; i < absent; i++) {
            ret[number[i]] = newcomers[i].ref;
        }
    }
}

void tsdb_series_all(struct tsdb *db,
                     const struct labels *labels,
                     size_t count,
                     series_ref_t *ret) {
    if (ready_is_replaying(&db->ready)) {
        memset(ret, 0, count * sizeof(ret[0]));
        return;
    }
    for (size_t i = 0; i < count; i += SERIES_AT_ONCE) {
        size_t left = count - i;
        find_or_load(db, labels + i, left < SERIES_AT_ONCE ? left : SERIES_AT_ONCE, ret + i);
    }
}

/* ---- coming back ---- */

bool db_revive(struct tsdb *db, series_ref_t ref, series_ref_t *ret, struct err *err) {
    if (defer_is_ref(ref)) {
        if (!defer_resolve(db, ref, &ref, err)) {
            return false;
        }
        if (head_series(&db->head, ref) != NULL) {
            *ret = ref;
            return true;
        }
    }
    uint64_t id = head_ref_id(&db->head, ref);
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool found;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct labels labels;
    bool ok = catalog_get(&db->store, txn, id, &arena, &labels, &found, err);
    if (ok && !found) {
        ok = err_set(err, ERR_CORRUPT, "store: series %" PRIu64 " is not in the table", id);
    }
    env_read_end(&db->store.env, txn);
    if (ok) {
        uint64_t hash = head_hash(&db->head, labels);
        *ret = head_find(&db->head, labels, hash);
        ok = *ret != 0 || db_find_or_load_series(db, labels, hash, false, ret, err);
    }
    arena_finish(&arena);
    return ok;
}
