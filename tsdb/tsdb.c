/* Opening and closing, health, facts. */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "tsdb/backup/ship.h"
#include "tsdb/env/pages.h"
#include "tsdb/merge/merge.h"
#include "tsdb/rollup/rollup.h"
#include "tsdb/sync.h"
#include "tsdb/upkeep/scrub.h"

#define JOURNAL_MAP_BYTES ((size_t)1 << 36)
/* What of each file is looked through at opening: more would take more than a moment. */
#define PAGES_CHECK_BYTES      (UINT64_C(64) << 20)
#define BLOCK_MS_DEFAULT       INT64_C(7200000)
#define OUT_OF_ORDER_DEFAULT   INT64_C(3600000)
#define SHIP_RETAINED_DEFAULT  (UINT64_C(512) << 20)
#define SERIES_MAX_DEFAULT     UINT64_C(10000000)
#define QUERIER_MS_MAX_DEFAULT INT64_C(120000)
#define SPACE_RESERVE_DEFAULT  (UINT64_C(64) << 20)
#define PENDING_DEFAULT        (UINT64_C(64) << 20)

/* ---- health ---- */

void db_latch(struct tsdb *db, const struct err *err) {
    pthread_mutex_lock(&db->health_lock);
    if (!db->is_latched) {
        db->latched = *err;
        err_wrap(&db->latched, "the store is read-only until it is restarted");
        db->is_latched = true;
    }
    pthread_mutex_unlock(&db->health_lock);
}

bool db_check_space(struct tsdb *db) {
    bool is_low = dir_free_bytes(db->path) < db->space_reserve_bytes;
    db->is_no_space = is_low;
    return is_low;
}

bool tsdb_health(struct tsdb *db, struct err *err) {
    if (db->is_latched) {
        pthread_mutex_lock(&db->health_lock);
        *err = db->latched;
        pthread_mutex_unlock(&db->health_lock);
        return false;
    }
    if (!db->is_read_only && db_check_space(db)) {
        return err_set(err, ERR_NO_SPACE,
                       "less than %llu MiB are free in %s: new samples are refused until there is "
                       "space again",
                       (unsigned long long)(db->space_reserve_bytes >> 20), db->path);
    }
    return true;
}

/* ---- opening ---- */

void tsdb_set_out_of_order(struct tsdb *db, int64_t out_of_order_ms) {
    if (out_of_order_ms == 0) {
        out_of_order_ms = OUT_OF_ORDER_DEFAULT;
    }
    db->out_of_order_ms = out_of_order_ms > 0 ? out_of_order_ms : 0;
}

static void set_retention(struct tsdb *db, const struct tsdb_options *options) {
    db->retention_ms = options->retention_ms;
    db->retention_default_ms = options->retention_ms;
    db->retention_bytes = options->retention_bytes;
    db->retention_class_count = options->retention_class_count;
    db->classes_window = INT64_MIN;
    for (size_t i = 0; i < options->retention_class_count; i++) {
        int64_t retention_ms = options->retention_classes[i].retention_ms;
        db->retention_classes[i] = options->retention_classes[i];
        if (retention_ms == 0 || db->retention_ms == 0) {
            db->retention_ms = 0;
        } else if (retention_ms > db->retention_ms) {
            db->retention_ms = retention_ms;
        }
    }
}

static void set_options(struct tsdb *db, const struct tsdb_options *options) {
    db->path = mem_strdup(options->path);
    db->clock = options->clock != NULL ? options->clock : clock_system();
    set_retention(db, options);
    db->future_ms_max = options->future_ms_max;
    tsdb_set_out_of_order(db, options->out_of_order_ms);
    db->space_reserve_bytes =
        options->space_reserve_bytes != 0 ? options->space_reserve_bytes : SPACE_RESERVE_DEFAULT;
    db->pending_bytes_max =
        options->pending_bytes_max != 0 ? options->pending_bytes_max : PENDING_DEFAULT;
    db->series_per_metric_max = options->series_per_metric_max;
    db->querier_ns_max =
        (options->querier_ms_max > 0 ? options->querier_ms_max : QUERIER_MS_MAX_DEFAULT) * 1000000;
    db->ship_retained_bytes =
        options->ship_retained_bytes != 0 ? options->ship_retained_bytes : SHIP_RETAINED_DEFAULT;
    db->is_read_only = options->is_read_only;
    db->t_min_ms = INT64_MAX;
    db->t_max_ms = INT64_MIN;
    db->maintained_window = INT64_MIN;
    memcpy(db->rollups, options->rollups, sizeof(db->rollups));
    db->rollup_count = options->rollup_count;
    db->keeps_rollups = options->keeps_rollups;
    db->rolled_until_ms = INT64_MIN;
    db->rollup_needs_ms = INT64_MAX;
    db->raw_floor_ms = INT64_MIN;
}

static void init_locks(struct tsdb *db) {
    pthread_mutex_init(&db->health_lock, NULL);
    pthread_mutex_init(&db->queue_lock, NULL);
    pthread_mutex_init(&db->apply, NULL);
    pthread_mutex_init(&db->maintain_lock, NULL);
    pthread_mutex_init(&db->wake_lock, NULL);
    rwlock_init(&db->series_lock);
    rwlock_init(&db->metadata.lock);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&db->queue_cond, &attr);
    pthread_cond_init(&db->wake_cond, &attr);
    pthread_condattr_destroy(&attr);
}

static void finish_locks(struct tsdb *db) {
    pthread_mutex_destroy(&db->health_lock);
    pthread_mutex_destroy(&db->queue_lock);
    pthread_cond_destroy(&db->queue_cond);
    pthread_mutex_destroy(&db->apply);
    pthread_mutex_destroy(&db->maintain_lock);
    pthread_mutex_destroy(&db->wake_lock);
    pthread_rwlock_destroy(&db->series_lock);
    pthread_rwlock_destroy(&db->metadata.lock);
    pthread_cond_destroy(&db->wake_cond);
}

static bool sub_path(const struct tsdb *db, const char *name, char out[PATH_MAX], struct err *err) {
    if (snprintf(out, PATH_MAX, "%s/%s", db->path, name) >= PATH_MAX) {
        return err_set(err, ERR_INVALID, "data directory %s: the name is too long", db->path);
    }
    return db->is_read_only || dir_make(out, err);
}

/* The store's file is created last: while there is none, the journal may be half-created. */
static bool is_unborn(const struct tsdb *db) {
    char path[PATH_MAX];
    return snprintf(path, sizeof(path), "%s/store", db->path) < (int)sizeof(path) &&
           !dir_has_data(path);
}

static void note_pages(void *ctx, const struct err *what) {
    damage_note(ctx, DAMAGE_PAGES, what);
}

/* Before LMDB maps the file in `path`. */
static bool check_pages(struct tsdb *db, const char *path, const char *name, struct err *err) {
    char file[PATH_MAX];
    struct pages_result ignored;
    struct pages_check check = {
        .path = file,
        .name = name,
        .bytes_max = PAGES_CHECK_BYTES,
        .is_ours = true,
        .is_repairing = true,
        .told = note_pages,
        .ctx = db,
    };
    return snprintf(file, sizeof(file), "%s/data.mdb", path) < (int)sizeof(file) &&
           pages_check(&check, &ignored, err);
}

static bool open_journal(struct tsdb *db, struct err *err) {
    char path[PATH_MAX];
    if (!sub_path(db, "journal", path, err) ||
        (!db->is_read_only &&
         (!dir_clear_unborn(path, is_unborn(db), err) || !check_pages(db, path, "journal", err)))) {
        return false;
    }
    struct env_params params = {
        .name = "journal",
        .path = path,
        .map_bytes = JOURNAL_MAP_BYTES,
        .db_count = KV_TABLE_COUNT + 2,
        .is_read_only = db->is_read_only,
    };
    const char *log_name = "log";
    return env_open(&db->journal, &params, err) &&
           env_open_dbs(&db->journal, &log_name, 1, &db->log, err) &&
           env_open_dbs(&db->journal, kv_table_names, KV_TABLE_COUNT, db->kv_dbis, err) &&
           (db->is_read_only || dir_sync(path, err));
}

/* The format row is written when both files are there. */
static bool open_store(struct tsdb *db, struct err *err) {
    char path[PATH_MAX];
    bool is_complete = false;
    if (!sub_path(db, "store", path, err)) {
        return false;
    }
    if (!db->is_read_only &&
        (!recover_has_format(db, &is_complete, err) || !dir_clear_unborn(path, !is_complete, err) ||
         !check_pages(db, path, "store", err))) {
        return false;
    }
    return store_open(&db->store, path, db->is_read_only, err) &&
           (db->is_read_only || dir_sync(path, err));
}

static bool open_files(struct tsdb *db, const struct tsdb_options *options, struct err *err) {
    if (!dir_prepare(db->path, db->is_read_only, err)) {
        return false;
    }
    if (!db->is_read_only && !dir_lock(db->path, &db->lock_fd, err)) {
        return false;
    }
    if (!open_journal(db, err) || !open_store(db, err)) {
        return false;
    }
    int64_t block_ms = options->block_ms != 0 ? options->block_ms : BLOCK_MS_DEFAULT;
    if (!recover_formats(db, &block_ms, err)) {
        return false;
    }
    head_init(&db->head, block_ms,
              options->series_max != 0 ? options->series_max : SERIES_MAX_DEFAULT);
    side_init(&db->side, block_ms, &db->head.readers);
    return metadata_load(db, err) && recover_check(db, err) && ready_start(db, err);
}

static bool check_options(const struct tsdb_options *options, struct err *err) {
    if (options->retention_ms < 0 || options->block_ms < 0 || options->future_ms_max < 0 ||
        options->out_of_order_ms < TSDB_OUT_OF_ORDER_NONE) {
        return err_set(err, ERR_INVALID, "a negative duration among the store's options");
    }
    int64_t finer_ms = 0;
    for (size_t i = 0; i < options->rollup_count; i++) {
        const struct tsdb_rollup *rollup = &options->rollups[i];
        int64_t resolution_ms = rollup->resolution_ms;
        if (resolution_ms < TSDB_ROLLUP_RESOLUTION_MS_MIN || resolution_ms % 1000 != 0 ||
            ROLLUP_PERIOD_MS % resolution_ms != 0 || resolution_ms <= finer_ms ||
            rollup->retention_ms < 0) {
            return err_set(err, ERR_INVALID,
                           "rollups: resolutions ascend, divide a day and are at least a minute");
        }
        finer_ms = resolution_ms;
    }
    return true;
}

bool tsdb_open(const struct tsdb_options *options, struct tsdb **ret, struct err *err) {
    if (!check_options(options, err)) {
        return false;
    }
    struct tsdb *db = mem_calloc(1, sizeof(*db));
    db->lock_fd = -1;
    init_locks(db);
    set_options(db, options);
    map_init(&db->metadata.rows);
    creations_init(&db->creations);
    u64map_init(&db->left_ids);
    kv_store_init(db);
    alias_init(db);
    db->registry = options->metrics;
    metrics_init(&db->metrics, options->metrics);
    damage_init(&db->damage, options->metrics);
    ready_init(&db->ready);
    defer_init(&db->defer);
    db->damage.report = options->on_damage;
    db->damage.ctx = options->on_damage_ctx;
    db->on_conflict = options->on_conflict;
    db->on_conflict_ctx = options->on_conflict_ctx;
    db->ready.on_replay = options->on_replay;
    db->ready.on_replay_ctx = options->on_replay_ctx;
    if (!open_files(db, options, err) ||
        (!db->is_read_only && (!ship_start(db, options->ship_dir, err) ||
                               !committer_start(db, err) || !store_thread_start(db, err)))) {
        err_wrap(err, "opening the store");
        tsdb_close(db);
        return false;
    }
    (void)db_check_space(db); /* kept in the health state */
    metrics_refresh(db);
    *ret = db;
    return true;
}

void tsdb_close(struct tsdb *db) {
    if (db == NULL) {
        return;
    }
    assert(db->head.pages == NULL || readers_count(&db->head.readers) == 0);
    ready_stop(db);
    store_thread_stop(db);
    committer_stop(db);
    ship_stop(db);
    head_finish(&db->head);
    side_finish(&db->side);
    metadata_finish(&db->metadata);
    creations_finish(&db->creations);
    alias_finish(db);
    u64map_finish(&db->left_ids);
    merge_abandon(db);
    scrub_destroy(db->scrub);
    idset_finish(&db->unmergeable);
    store_close(&db->store);
    env_close(&db->journal);
    dir_unlock(db->lock_fd);
    finish_locks(db);
    damage_finish(&db->damage);
    ready_finish(&db->ready);
    defer_finish(&db->defer);
    mem_free(db->path);
    mem_free(db);
}

bool tsdb_is_replaying(struct tsdb *db, struct tsdb_replay *ret) {
    const struct ready *ready = &db->ready;
    *ret = (struct tsdb_replay){
        .lsn_first = ready->lsn_start < ready->lsn_end ? ready->lsn_start + 1 : ready->lsn_end,
        .lsn_last = ready->lsn_end,
        .lsn_now = ready->lsn_now < ready->lsn_end ? ready->lsn_now : ready->lsn_end,
    };
    return ready_is_replaying(ready);
}

bool tsdb_wait_ready(struct tsdb *db, struct err *err) {
    return ready_wait(&db->ready, -1, err);
}

/* ---- facts ---- */

void tsdb_stats(struct tsdb *db, struct tsdb_stats *ret) {
    *ret = (struct tsdb_stats){
        .series_count = db->head.series_count,
        .samples_total = db->samples_total,
        .chunk_count = db->head.open_count,
        .t_min_ms = db->t_min_ms,
        .t_max_ms = db->t_max_ms,
        .journal_bytes = env_used_bytes(&db->journal),
        .store_bytes = env_used_bytes(&db->store.env),
        .pending_bytes = db->pending_bytes,
        .damage_count = damage_count(&db->damage),
    };
}
