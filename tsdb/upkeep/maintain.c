/*
 * The store thread: every two seconds it looks at what there is to do. Sealing runs when enough
 * chunks were closed, when a window ended or when the journal grew too long; indexing, retention
 * and eviction follow when a window ended. The rest of the time it merges, step by step.
 */
#include <errno.h>
#include <time.h>

#include "base/mem.h"
#include "tsdb/merge/merge.h"
#include "tsdb/parts/seal.h"
#include "tsdb/parts/window.h"
#include "tsdb/rollup/rollup.h"
#include "tsdb/upkeep/retention.h"
#include "tsdb/upkeep/scrub.h"

#define TICK_NS             INT64_C(2000000000)
#define READER_CHECK_TICKS  5
#define IDLE_TICKS          30
#define RELEASE_TICKS       15
#define RELEASE_STORE_NS    INT64_C(100000000)
#define RELEASE_JOURNAL_NS  INT64_C(2000000)
#define CLOSED_BYTES_ENOUGH 65536
#define GRACE_MS_MAX        (5 * 60 * 1000)
#define MERGE_DELAY_MS_MAX  (60 * 60 * 1000)
#define SLOW_COMMITS        2 /* times the usual time */
#define SLOW_REST           8 /* times the step */

/* Windows before this one are finished: nobody is expected to add to them. */
static int64_t finished_before(const struct tsdb *db) {
    int64_t grace_ms = db->head.block_ms / 4 < GRACE_MS_MAX ? db->head.block_ms / 4 : GRACE_MS_MAX;
    return head_window(&db->head, i64_sub_sat(clock_wall_ms(db->clock), grace_ms));
}

bool store_write(struct tsdb *db,
                 int (*put)(void *ctx, struct store *store, MDB_txn *txn),
                 void *ctx,
                 const char *what,
                 struct err *err) {
    struct env *env = &db->store.env;
    for (;;) {
        MDB_txn *txn;
        if (!env_write_begin(env, &txn, err)) {
            return false;
        }
        int rc = put(ctx, &db->store, txn);
        if (rc == 0) {
            rc = mdb_txn_commit(txn);
        } else {
            mdb_txn_abort(txn);
        }
        if (rc == 0) {
            return true;
        }
        if (rc == MDB_MAP_FULL) {
            if (!env_grow(env, err)) {
                return false;
            }
            continue;
        }
        if (rc == EIO && db_check_space(db)) {
            rc = ENOSPC; /* LMDB reports a short write as EIO */
        }
        if (env_revive(env, rc == ENOSPC || rc == EDQUOT || rc == EFBIG) == ENV_DEAD) {
            rc = EIO; /* whatever it was: the head page may be half-written */
        }
        env_fail(env, err, rc, "%s", what);
        if (err->code == ERR_IO) {
            db_latch(db, err);
        }
        return false;
    }
}

/* What one run does. The maintain lock is held. */
static bool maintain_locked(struct tsdb *db, const struct seal_limits *limits, struct err *err) {
    bool is_new_window = limits->end_window > db->maintained_window;
    if (!seal_chunks(db, limits, err)) {
        return false;
    }
    /* Damage in one window's index must not keep retention from making room. */
    bool is_indexed = window_index_all(db, limits->end_window, err);
    struct err other = ERR_INIT;
    bool has_more = false;
    if (is_indexed &&
        !rollup_maintain(db, limits->end_window * db->head.block_ms, &has_more, err)) {
        return false;
    }
    db->has_rollups_due = has_more;
    if (!retention_apply(db, is_indexed ? err : &other) || !is_indexed) {
        return false;
    }
    if (is_new_window) {
        if (!retention_evict(db, err)) {
            return false;
        }
        db->maintained_window = limits->end_window;
        db->head.round++;
    }
    return true;
}

static bool run(struct tsdb *db, bool is_forced, struct err *err) {
    if (db->is_latched) {
        return tsdb_health(db, err);
    }
    if (ready_is_replaying(&db->ready)) {
        return true; /* nothing to do yet */
    }
    struct seal_limits limits = {
        .end_window = finished_before(db),
        .lsn_idle = is_forced ? UINT64_MAX : db->lsn_idle,
    };
    if (env_db_bytes(&db->journal, db->log) > JOURNAL_BYTES_SOFT) {
        /* The older half of what the journal holds. */
        limits.lsn_cut = db->trim_lsn + (db->visible_lsn - db->trim_lsn) / 2;
    }
    bool is_due = is_forced || limits.end_window > db->maintained_window ||
                  db->head.closed_bytes >= CLOSED_BYTES_ENOUGH ||
                  db->side.bytes > SIDE_BYTES_SOFT || db->has_rollups_due ||
                  limits.lsn_cut > db->trim_lsn;
    if (!is_due) {
        return true;
    }
    bool ok = maintain_locked(db, &limits, err);
    if (!ok) {
        metric_inc(db->metrics.maintenance_failures);
    }
    return ok;
}

/* Before late samples stop to come, a merge would be done twice. */
static struct merge_limits merge_limits(const struct tsdb *db, bool is_forced) {
    int64_t delay_ms =
        db->out_of_order_ms < MERGE_DELAY_MS_MAX ? db->out_of_order_ms : MERGE_DELAY_MS_MAX;
    int64_t now_ms = clock_wall_ms(db->clock);
    int64_t end_window = head_window(&db->head, i64_sub_sat(now_ms, delay_ms));
    int64_t finished = finished_before(db);
    return (struct merge_limits){
        .end_window = end_window < finished ? end_window : finished,
        .now_ms = now_ms,
        .is_forced = is_forced,
    };
}

/* One step. The maintain lock is held. */
static bool merge_locked(struct tsdb *db, bool is_forced, bool *ret_is_idle, struct err *err) {
    struct merge_limits limits = merge_limits(db, is_forced);
    *ret_is_idle = true;
    if (db->holds_merges || ready_is_replaying(&db->ready)) {
        return true; /* indexing what merges need changes series of the head */
    }
    if (db->is_latched) {
        return tsdb_health(db, err);
    }
    bool ok = merge_work(db, &limits, ret_is_idle, err);
    if (!ok) {
        metric_inc(db->metrics.maintenance_failures);
    }
    return ok;
}

/* Free pages cost nothing to find, but commits wait meanwhile: not long. Where the file system
 * knows no holes nothing is lost but the space. */
static void release_pages(struct tsdb *db) {
    if (!db->is_latched) {
        (void)env_release_pages(&db->store.env, RELEASE_STORE_NS);
        (void)env_release_pages(&db->journal, RELEASE_JOURNAL_NS);
    }
}

static bool merge_all_locked(struct tsdb *db, struct err *err) {
    bool is_idle = false;
    bool ok = merge_sweep(db, err);
    while (ok && !is_idle) {
        ok = merge_locked(db, true, &is_idle, err);
    }
    return ok;
}

static bool maintain_now(struct tsdb *db, bool with_head, struct err *err) {
    if (db->is_read_only) {
        return err_set(err, ERR_UNAVAILABLE, "the store is open for reading only");
    }
    if (!ready_wait(&db->ready, -1, err)) {
        return false;
    }
    pthread_mutex_lock(&db->maintain_lock);
    bool ok = (!with_head || db->is_latched || seal_all(db, err)) && run(db, true, err) &&
              merge_all_locked(db, err);
    release_pages(db);
    pthread_mutex_unlock(&db->maintain_lock);
    metrics_refresh(db);
    return ok;
}

bool tsdb_maintain_blocking(struct tsdb *db, struct err *err) {
    return maintain_now(db, false, err);
}

bool tsdb_compact_blocking(struct tsdb *db, struct err *err) {
    return maintain_now(db, true, err);
}

void tsdb_scrub_blocking(struct tsdb *db) {
    pthread_mutex_lock(&db->maintain_lock);
    scrub_pass(db);
    pthread_mutex_unlock(&db->maintain_lock);
}

/* ---- the thread ---- */

/* Commits take much longer than they use to. */
static bool is_disk_busy(const struct tsdb *db) {
    return db->commit_ns_recent > SLOW_COMMITS * db->commit_ns_usual;
}

static bool wait_until(struct tsdb *db, int64_t until_ns) {
    struct timespec until = {
        .tv_sec = (time_t)(until_ns / 1000000000),
        .tv_nsec = (long)(until_ns % 1000000000),
    };
    pthread_mutex_lock(&db->wake_lock);
    int rc = 0;
    while (!db->is_stopping && !db->is_woken && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&db->wake_cond, &db->wake_lock, &until);
    }
    bool goes_on = !db->is_stopping;
    db->is_woken = false;
    pthread_mutex_unlock(&db->wake_lock);
    return goes_on;
}

/*
 * Merge until the next tick, taking as long a rest after every step as the step took. While commits
 * take much longer than they use to, the disk is busy with somebody else: then a longer one.
 */
static bool merge_until(struct tsdb *db, int64_t until_ns) {
    const struct clock *clock = clock_system();
    bool is_idle = false;
    bool goes_on = true;
    while (goes_on && !is_idle && clock_mono_ns(clock) < until_ns) {
        struct err err = ERR_INIT;
        int64_t start_ns = clock_mono_ns(clock);
        pthread_mutex_lock(&db->maintain_lock);
        bool ok = merge_locked(db, false, &is_idle, &err); /* counted, and tried again */
        pthread_mutex_unlock(&db->maintain_lock);
        int64_t end_ns = clock_mono_ns(clock);
        int64_t rest_ns = (end_ns - start_ns) * (is_disk_busy(db) ? SLOW_REST : 1);
        is_idle = is_idle || !ok;
        goes_on =
            is_idle || wait_until(db, end_ns + rest_ns < until_ns ? end_ns + rest_ns : until_ns);
    }
    return goes_on && wait_until(db, until_ns);
}

/* What a crash left. When it fails, the end of the next merge tries again. */
static void sweep_first(struct tsdb *db) {
    struct err err = ERR_INIT;
    pthread_mutex_lock(&db->maintain_lock);
    if (!merge_sweep(db, &err)) {
        metric_inc(db->metrics.maintenance_failures);
    }
    pthread_mutex_unlock(&db->maintain_lock);
}

static void *store_main(void *arg) {
    struct tsdb *db = arg;
    sweep_first(db);
    for (unsigned tick = 1; merge_until(db, clock_mono_ns(clock_system()) + TICK_NS); tick++) {
        if (tick % READER_CHECK_TICKS == 0) {
            unsigned dead = env_check_readers(&db->journal) + env_check_readers(&db->store.env);
            metric_add(db->metrics.stale_readers, (double)dead);
        }
        if (tick % IDLE_TICKS == 0) {
            db->lsn_idle = db->lsn_mark;
            db->lsn_mark = db->visible_lsn;
        }
        (void)db_check_space(db); /* kept in the health state */
        if (tick % RELEASE_TICKS == 0) {
            pthread_mutex_lock(&db->maintain_lock);
            release_pages(db);
            pthread_mutex_unlock(&db->maintain_lock);
        }
        struct err err = ERR_INIT;
        pthread_mutex_lock(&db->maintain_lock);
        /* A failure is counted, shows in tsdb_health when it matters, and is tried again. */
        (void)run(db, false, &err);
        if (!is_disk_busy(db)) {
            scrub_tick(db);
        }
        pthread_mutex_unlock(&db->maintain_lock);
        metrics_refresh(db);
    }
    return NULL;
}

bool store_thread_start(struct tsdb *db, struct err *err) {
    int rc = pthread_create(&db->store_thread, NULL, store_main, db);
    if (rc != 0) {
        return err_set_errno(err, ERR_IO, rc, "starting the store thread");
    }
    db->has_store_thread = true;
    return true;
}

void store_thread_wake(struct tsdb *db) {
    pthread_mutex_lock(&db->wake_lock);
    db->is_woken = true;
    pthread_cond_signal(&db->wake_cond);
    pthread_mutex_unlock(&db->wake_lock);
}

void store_thread_stop(struct tsdb *db) {
    pthread_mutex_lock(&db->wake_lock);
    db->is_stopping = true;
    pthread_cond_signal(&db->wake_cond);
    pthread_mutex_unlock(&db->wake_lock);
    if (db->has_store_thread) {
        pthread_join(db->store_thread, NULL);
        db->has_store_thread = false;
    }
}
