/* Retention, the table of series, and eviction; see retention.h. */
#include "tsdb/upkeep/retention.h"

#include <assert.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/merge/merge.h"
#include "tsdb/parts/window.h"
#include "tsdb/rollup/rollup.h"
#include "tsdb/upkeep/rewrite.h"

#define SLICE_ROWS_MAX 4096
#define SWEEP_IDS_MAX  512 /* series rows deleted per transaction */

/* From this window on samples have to stay until they are folded. */
static int64_t needed_window(const struct tsdb *db) {
    return db->rollup_count > 0 ? head_window(&db->head, db->rollup_needs_ms) : INT64_MAX;
}

/* ---- windows ---- */

struct deletion {
    int64_t window;
    size_t step; /* into deletion_order */
    bool has_more;
};

/* Rows first: a row never points at a segment that is gone. The window's own row goes last, so that
 * an interrupted deletion is found again. */
static const enum store_table deletion_order[] = {
    STORE_ROWS, STORE_PENDING, STORE_POSTINGS, STORE_SEGMENTS, STORE_WINDOWS,
};

static int delete_slice(void *ctx, struct store *store, MDB_txn *txn) {
    struct deletion *deletion = ctx;
    return store_trim_window(store, txn, deletion_order[deletion->step], deletion->window,
                             SLICE_ROWS_MAX, &deletion->has_more);
}

/* All of it at once, for readers and for verify: as if it were merged away. */
static int bury_window(void *ctx, struct store *store, MDB_txn *txn) {
    const struct deletion *deletion = ctx;
    struct part part;
    struct store_state state;
    struct err err = ERR_INIT;
    bool found;
    bool has_state;
    if (!part_get(store, txn, deletion->window, &part, &found, &err)) {
        return err.code == ERR_CORRUPT ? 0 : store_rc_of(&err); /* it goes as it is */
    }
    if (!store_get_state(store, txn, &state, &has_state, &err)) {
        return store_rc_of(&err);
    }
    if (!found || !has_state) {
        return 0;
    }
    part.stats = (struct store_window){
        .t_min_ms = part.stats.t_min_ms,
        .t_max_ms = part.stats.t_max_ms,
        .segment_floor = state.segment_next,
        .changed_ms = part.stats.changed_ms,
    };
    return part_put(store, txn, &part);
}

static bool delete_window(struct tsdb *db, int64_t window, struct err *err) {
    struct deletion deletion = { .window = window };
    if (!store_write(db, bury_window, &deletion, "deleting an old window", err)) {
        return false;
    }
    for (; deletion.step < ARRAY_LEN(deletion_order); deletion.step++) {
        do {
            if (!store_write(db, delete_slice, &deletion, "deleting an old window", err)) {
                return false;
            }
        } while (deletion.has_more);
    }
    metric_inc(db->metrics.windows_deleted);
    return true;
}

static bool delete_part(struct tsdb *db, const struct part *part, struct err *err) {
    if (merge_uses(db->merge, part->place)) {
        merge_abandon(db);
    }
    if (!part->is_merged) {
        return delete_window(db, part->place, err);
    }
    metric_inc(db->metrics.windows_deleted);
    return merge_drop_part(db, part->place, err);
}

static bool list_parts(struct tsdb *db,
                       int64_t end,
                       struct part **ret,
                       size_t *ret_count,
                       struct err *err) {
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = part_list(&db->store, txn, INT64_MIN, end - 1, ret, ret_count, err);
    env_read_end(&db->store.env, txn);
    return ok;
}

static int put_floor(void *ctx, struct store *store, MDB_txn *txn) {
    return store_put_floor(store, txn, *(const int64_t *)ctx);
}

/* Samples of before the window are gone, or about to be. It never goes down: what is written there
 * later does not bring them back. */
static bool raise_floor(struct tsdb *db, int64_t window, struct err *err) {
    int64_t floor_ms = window * db->head.block_ms;
    if (floor_ms <= db->raw_floor_ms) {
        return true;
    }
    if (!store_write(db, put_floor, &floor_ms, "noting what is gone", err)) {
        return false;
    }
    db->raw_floor_ms = floor_ms;
    return true;
}

/* Everything that lies before window *end in full; *end is moved back to the first window left. */
static bool delete_before(struct tsdb *db, int64_t *end, size_t *ret_count, struct err *err) {
    struct part *parts;
    size_t count;
    int64_t left = *end;
    *ret_count = 0;
    if (!list_parts(db, *end, &parts, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (parts[i].window_end <= *end) {
            (*ret_count)++;
        } else if (!parts[i].is_damaged && parts[i].window_first < left) {
            left = parts[i].window_first;
        }
    }
    bool ok = *ret_count == 0 || raise_floor(db, left, err);
    for (size_t i = 0; ok && i < count; i++) {
        if (parts[i].window_end <= *end) {
            ok = delete_part(db, &parts[i], err);
        }
    }
    *end = left;
    mem_free(parts);
    return ok && (*ret_count == 0 || merge_sweep(db, err));
}

/* ---- by size ---- */

/* Windows before *ret_end have to go for the rest to fit; as it is when everything fits. The newest
 * part stays. */
static bool find_oldest_kept(struct tsdb *db, int64_t *ret_end, struct err *err) {
    struct part *parts;
    size_t count;
    uint64_t bytes = store_bytes(&db->store);
    if (db->retention_bytes == 0 || bytes <= db->retention_bytes) {
        return true;
    }
    if (!list_parts(db, INT64_MAX, &parts, &count, err)) {
        return false;
    }
    uint64_t all = 0;
    int64_t newest = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        all += parts[i].stats.segment_bytes;
        newest = parts[i].window_end > newest ? parts[i].window_end : newest;
    }
    /* What finds samples shrinks with them. */
    double share = all == 0 ? 1 : (double)bytes / (double)all;
    while (bytes > db->retention_bytes) {
        int64_t oldest = INT64_MAX;
        for (size_t i = 0; i < count; i++) {
            bool is_left = parts[i].window_end > *ret_end && parts[i].window_end < newest;
            oldest = is_left && parts[i].window_end < oldest ? parts[i].window_end : oldest;
        }
        if (oldest == INT64_MAX) {
            break;
        }
        *ret_end = oldest;
        for (size_t i = 0; i < count; i++) {
            if (parts[i].window_end == oldest) {
                uint64_t freed = (uint64_t)(share * (double)parts[i].stats.segment_bytes);
                bytes -= freed < bytes ? freed : bytes;
            }
        }
    }
    mem_free(parts);
    return true;
}

/* ---- by class ---- */

static bool is_expired(int64_t window_end_ms, int64_t now_ms, int64_t retention_ms) {
    return retention_ms > 0 && window_end_ms <= i64_sub_sat(now_ms, retention_ms);
}

static void add_all(struct idset *set, const struct idset *more) {
    for (size_t i = 0; i < more->count; i++) {
        idset_add(set, more->ids[i]);
    }
    idset_normalize(set);
}

/* Series of the part whose class is kept shorter than since it ended. *ret_is_all: no other is in
 * it. */
static bool find_expired(struct tsdb *db,
                         const struct part *part,
                         int64_t now_ms,
                         struct idset *ret,
                         bool *ret_is_all,
                         struct err *err) {
    int64_t end_ms = part->window_end * db->head.block_ms;
    struct idset rest = { 0 };
    bool ok = rewrite_find(db, part, NULL, 0, &rest, err);
    size_t count = rest.count;
    for (size_t i = 0; ok && i < db->retention_class_count; i++) {
        const struct tsdb_retention_class *class = &db->retention_classes[i];
        struct idset ids = { 0 };
        ok = rewrite_find(db, part, class->matchers, class->matcher_count, &ids, err);
        idset_intersect(&ids, &rest);
        idset_subtract(&rest, &ids);
        if (is_expired(end_ms, now_ms, class->retention_ms)) {
            add_all(ret, &ids);
        }
        idset_finish(&ids);
    }
    if (is_expired(end_ms, now_ms, db->retention_default_ms)) {
        add_all(ret, &rest);
    }
    idset_finish(&rest);
    *ret_is_all = ret->count == count;
    return ok;
}

static bool thin_part(struct tsdb *db,
                      const struct part *part,
                      int64_t now_ms,
                      bool *ret_is_gone,
                      struct err *err) {
    struct idset ids = { 0 };
    bool is_all;
    bool ok = find_expired(db, part, now_ms, &ids, &is_all, err);
    if (ok && ids.count > 0) {
        struct rewrite rewrite = {
            .db = db,
            .ids = &ids,
            .t_first_ms = INT64_MIN,
            .t_last_ms = INT64_MAX,
        };
        ok = is_all ? delete_part(db, part, err) : rewrite_part(&rewrite, part, err);
        *ret_is_gone = *ret_is_gone || is_all;
    }
    idset_finish(&ids);
    return ok;
}

/* The first window that is left, `end` when none is. */
static bool note_gone(struct tsdb *db, int64_t end, struct err *err) {
    struct part *parts;
    size_t count;
    if (!list_parts(db, end, &parts, &count, err)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        end = !parts[i].is_damaged && parts[i].window_first < end ? parts[i].window_first : end;
    }
    mem_free(parts);
    return raise_floor(db, end, err);
}

/* Take out of finished parts what only other series are kept for; once per window. */
static bool apply_classes(struct tsdb *db, struct err *err) {
    int64_t now_ms = clock_wall_ms(db->clock);
    int64_t window = head_window(&db->head, now_ms);
    if (db->retention_class_count == 0 || window <= db->classes_window || db->has_rollups_due) {
        return true;
    }
    struct part *parts;
    size_t count;
    if (!list_parts(db, window - 1, &parts, &count, err)) {
        return false;
    }
    bool ok = true;
    bool is_gone = false; /* some part as a whole */
    int64_t end = INT64_MIN;
    int64_t needed = needed_window(db);
    for (size_t i = 0; ok && i < count; i++) {
        if (parts[i].window_end < window && parts[i].window_end <= needed && !parts[i].is_damaged) {
            ok = thin_part(db, &parts[i], now_ms, &is_gone, err);
            end = is_gone && parts[i].window_end > end ? parts[i].window_end : end;
        }
    }
    mem_free(parts);
    ok = ok && (!is_gone || note_gone(db, end, err)) && merge_sweep(db, err);
    db->classes_window = ok ? window : db->classes_window;
    return ok;
}

/* ---- series rows ---- */

struct sweep {
    struct tsdb *db;
    int64_t cut; /* windows before it are gone */
    uint64_t next_id;
    uint64_t ids[SWEEP_IDS_MAX]; /* to delete, ascending */
    size_t count;
    struct catalog_reader catalog;
    struct err err;
};

/* Nobody in this process can hold a ref to it, and no window has samples of it. */
static bool is_unneeded(const struct sweep *sweep, uint64_t id, int64_t last_window) {
    uint64_t ignored;
    return (last_window == STORE_LAST_NONE || last_window < sweep->cut) &&
           id < sweep->db->id_floor && !u64map_get(&sweep->db->left_ids, id, &ignored);
}

static bool is_in_head(struct sweep *sweep, uint64_t id, bool *ret) {
    struct head *head = &sweep->db->head;
    struct labels labels;
    bool found;
    bool ok = catalog_read(&sweep->catalog, id, &labels, &found, &sweep->err);
    *ret = ok && found && head_find_quiet(head, labels, head_hash(head, labels)) != 0;
    return ok;
}

static bool take_unneeded(void *ctx, const struct catalog_last *last) {
    struct sweep *sweep = ctx;
    bool is_kept = true;
    sweep->next_id = last->id + 1;
    if (is_unneeded(sweep, last->id, last->window) && is_in_head(sweep, last->id, &is_kept) &&
        !is_kept) {
        sweep->ids[sweep->count++] = last->id;
    }
    return sweep->err.code == ERR_NONE && sweep->count < SWEEP_IDS_MAX;
}

static bool find_unneeded(struct sweep *sweep, MDB_txn *txn, struct err *err) {
    struct store *store = &sweep->db->store;
    sweep->count = 0;
    sweep->err = (struct err)ERR_INIT;
    catalog_reader_init(&sweep->catalog, store, txn);
    bool ok = catalog_walk_lasts(store, txn, sweep->next_id, take_unneeded, sweep, err);
    catalog_reader_finish(&sweep->catalog);
    if (ok && sweep->err.code != ERR_NONE) {
        *err = sweep->err;
        return false;
    }
    return ok;
}

static int delete_series(void *ctx, struct store *store, MDB_txn *txn) {
    const struct sweep *sweep = ctx;
    return catalog_del(store, txn, sweep->ids, sweep->count);
}

/* Look and delete while no thread is bringing one of them back (series_lock). */
static bool sweep_series(struct tsdb *db, int64_t cut, struct err *err) {
    struct sweep sweep = { .db = db, .cut = cut };
    bool ok;
    do {
        pthread_rwlock_wrlock(&db->series_lock);
        MDB_txn *txn;
        ok = env_read_begin(&db->store.env, &txn, err);
        if (ok) {
            ok = find_unneeded(&sweep, txn, err);
            env_read_end(&db->store.env, txn);
        }
        if (ok && sweep.count > 0) {
            ok = store_write(db, delete_series, &sweep, "deleting series", err);
        }
        pthread_rwlock_unlock(&db->series_lock);
    } while (ok && sweep.count == SWEEP_IDS_MAX);
    return ok;
}

/* Before this window neither samples nor rollups are kept. */
static int64_t series_cut(const struct tsdb *db, int64_t cut) {
    int64_t retention_ms = 0;
    for (size_t i = 0; i < db->rollup_count; i++) {
        if (db->rollups[i].retention_ms == 0) {
            return INT64_MIN;
        }
        if (db->rollups[i].retention_ms > retention_ms) {
            retention_ms = db->rollups[i].retention_ms;
        }
    }
    if (retention_ms == 0 || cut == INT64_MIN) {
        return cut;
    }
    int64_t rolled = head_window(
        &db->head, i64_sub_sat(clock_wall_ms(db->clock), retention_ms + ROLLUP_PERIOD_MS));
    return rolled < cut ? rolled : cut;
}

/* Before this window no sample is kept. */
static bool find_cut(struct tsdb *db, int64_t *ret_cut, struct err *err) {
    *ret_cut = INT64_MIN;
    if (db->retention_ms > 0) {
        int64_t oldest_ms = i64_sub_sat(clock_wall_ms(db->clock), db->retention_ms);
        *ret_cut = head_window(&db->head, oldest_ms);
    }
    if (!find_oldest_kept(db, ret_cut, err)) {
        return false;
    }
    int64_t needed = needed_window(db);
    *ret_cut = needed < *ret_cut ? needed : *ret_cut;
    return true;
}

bool retention_apply(struct tsdb *db, struct err *err) {
    int64_t cut;
    size_t count = 0;
    bool ok = find_cut(db, &cut, err) && (cut == INT64_MIN || delete_before(db, &cut, &count, err));
    if (ok && (count > 0 || !db->has_swept)) {
        ok = sweep_series(db, series_cut(db, cut), err);
        db->has_swept = ok;
        if (count > 0 && db->t_min_ms < cut * db->head.block_ms) {
            db->t_min_ms = cut * db->head.block_ms;
        }
    }
    return ok && apply_classes(db, err);
}

/* ---- eviction ---- */

static bool is_idle(struct tsdb *db, const struct series *series, uint32_t handle) {
    uint16_t touched = atomic_load_explicit(&series->touched, memory_order_relaxed);
    return series->chunks == 0 && series->t_first_ms == INT64_MAX && !side_has(&db->side, handle) &&
           (uint16_t)(db->head.round - touched) > 1;
}

struct orphans {
    struct tsdb *db;
    uint32_t *handles;
    size_t count;
    size_t cap;
};

static void find_orphans(struct orphans *orphans) {
    struct head *head = &orphans->db->head;
    for (uint32_t handle = 1; handle < head->handle_end; handle++) {
        pthread_rwlock_rdlock(&head->index_lock);
        struct series *series = head_at(head, handle);
        if (series != NULL && !series->is_stored) {
            struct head_stripe *stripe = head_stripe(head, handle);
            pthread_mutex_lock(&stripe->lock);
            bool is_orphan = is_idle(orphans->db, series, handle);
            pthread_mutex_unlock(&stripe->lock);
            if (is_orphan) {
                orphans->handles = vec_grow(orphans->handles, &orphans->cap, orphans->count + 1,
                                            sizeof(orphans->handles[0]));
                orphans->handles[orphans->count++] = handle;
            }
        }
        pthread_rwlock_unlock(&head->index_lock);
    }
}

static int put_orphans(void *ctx, struct store *store, MDB_txn *txn) {
    const struct orphans *orphans = ctx;
    struct head *head = &orphans->db->head;
    struct label items[LABELS_COUNT_MAX];
    struct arena arena;
    struct catalog_series *list = mem_calloc(orphans->count, sizeof(list[0]));
    arena_init(&arena, SIZE_MAX);
    for (size_t i = 0; i < orphans->count; i++) {
        pthread_rwlock_rdlock(&head->index_lock);
        const struct series *series = head_at(head, orphans->handles[i]);
        assert(series != NULL);
        struct labels labels = { .items = items };
        labels.count = index_labels(&head->index, series->labels, items);
        list[i] = (struct catalog_series){ series->id, labels_dup(labels, &arena) };
        pthread_rwlock_unlock(&head->index_lock);
    }
    int rc = catalog_put(store, txn, list, orphans->count);
    arena_finish(&arena);
    mem_free(list);
    return rc;
}

static bool store_orphans(struct tsdb *db, struct err *err) {
    struct orphans orphans = { .db = db };
    find_orphans(&orphans);
    bool ok = orphans.count == 0 || store_write(db, put_orphans, &orphans, "storing series", err);
    for (size_t i = 0; ok && i < orphans.count; i++) {
        pthread_rwlock_rdlock(&db->head.index_lock);
        head_at(&db->head, orphans.handles[i])->is_stored = true;
        pthread_rwlock_unlock(&db->head.index_lock);
    }
    mem_free(orphans.handles);
    return ok;
}

static bool may_leave(void *ctx, struct series *series, uint32_t handle) {
    struct tsdb *db = ctx;
    if (!series->is_stored || !is_idle(db, series, handle)) {
        return false;
    }
    if (series->id < db->id_floor) {
        u64map_put(&db->left_ids, series->id, 1);
    }
    return true;
}

/* A look without locks: most series stay. */
static bool looks_idle(const struct tsdb *db, const struct series *series) {
    uint16_t touched = atomic_load_explicit(&series->touched, memory_order_relaxed);
    return series->is_stored && (uint16_t)(db->head.round - touched) > 1;
}

/* Commits wait for one page at most. */
static size_t evict_page(struct tsdb *db, uint32_t page) {
    struct head *head = &db->head;
    size_t count = 0;
    pthread_mutex_lock(&db->apply);
    uint32_t handle = page << HEAD_PAGE_SHIFT;
    for (uint32_t i = 0; i < HEAD_PAGE_SERIES && handle < head->handle_end; i++, handle++) {
        const struct series *series = handle == 0 ? NULL : head_at(head, handle);
        count +=
            series != NULL && looks_idle(db, series) && head_evict(head, handle, may_leave, db);
    }
    pthread_mutex_unlock(&db->apply);
    return count;
}

/* After alias_sweep(). */
static void free_pages(struct tsdb *db) {
    for (uint32_t page = 0; page < db->head.handle_end >> HEAD_PAGE_SHIFT; page++) {
        pthread_mutex_lock(&db->apply);
        head_free_page(&db->head, page);
        pthread_mutex_unlock(&db->apply);
    }
}

/* Strings may be in use by queriers open now: they are kept until those have closed. */
static void drop_pairs(struct tsdb *db) {
    struct head *head = &db->head;
    uint32_t name = 0;
    size_t left = 0;
    bool has_more = true;
    while (has_more) {
        pthread_mutex_lock(&db->apply);
        pthread_rwlock_wrlock(&head->index_lock);
        has_more = index_drop_pairs(&head->index, &name, &left);
        pthread_rwlock_unlock(&head->index_lock);
        pthread_mutex_unlock(&db->apply);
    }
}

bool retention_evict(struct tsdb *db, struct err *err) {
    if (!store_orphans(db, err)) {
        return false;
    }
    size_t count = 0;
    for (uint32_t page = 0; page <= (db->head.handle_end - 1) >> HEAD_PAGE_SHIFT; page++) {
        count += evict_page(db, page);
    }
    if (count > 0) {
        alias_sweep(db);
        free_pages(db);
        drop_pairs(db);
    }
    metric_add(db->metrics.series_evicted, (double)count);
    pthread_rwlock_wrlock(&db->head.index_lock);
    index_release(&db->head.index);
    pthread_rwlock_unlock(&db->head.index_lock);
    return true;
}
