/*
 * The store thread: every two seconds it looks at what there is to do. Sealing runs when enough
 * chunks were closed, when a window ended or when the journal grew too long; indexing, retention
 * and eviction follow when a window ended.
 */
#include <errno.h>
#include <time.h>

#include "base/mem.h"
#include "tsdb/retention.h"
#include "tsdb/rollup.h"
#include "tsdb/seal.h"
#include "tsdb/window.h"

#define TICK_NS             INT64_C(2000000000)
#define READER_CHECK_TICKS  5
#define IDLE_TICKS          30
#define CLOSED_BYTES_ENOUGH 65536
#define GRACE_MS_MAX        (5 * 60 * 1000)

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
        if (env_revive(env)) {
            rc = EIO; /* whatever it was: the head page may be half-written */
        } else if (rc == EIO && db_check_space(db)) {
            rc = ENOSPC; /* LMDB reports a short write as EIO */
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

bool tsdb_maintain_blocking(struct tsdb *db, struct err *err) {
    if (db->is_read_only) {
        return err_set(err, ERR_UNAVAILABLE, "the store is open for reading only");
    }
    pthread_mutex_lock(&db->maintain_lock);
    bool ok = run(db, true, err);
    pthread_mutex_unlock(&db->maintain_lock);
    metrics_refresh(db);
    return ok;
}

/* ---- the thread ---- */

static bool wait_for_tick(struct tsdb *db) {
    int64_t until_ns = clock_mono_ns(clock_system()) + TICK_NS;
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

static void *store_main(void *arg) {
    struct tsdb *db = arg;
    for (unsigned tick = 1; wait_for_tick(db); tick++) {
        if (tick % READER_CHECK_TICKS == 0) {
            env_check_readers(&db->journal);
            env_check_readers(&db->store.env);
        }
        if (tick % IDLE_TICKS == 0) {
            db->lsn_idle = db->lsn_mark;
            db->lsn_mark = db->visible_lsn;
        }
        (void)db_check_space(db); /* kept in the health state */
        struct err err = ERR_INIT;
        pthread_mutex_lock(&db->maintain_lock);
        /* A failure is counted, shows in tsdb_health when it matters, and is tried again. */
        (void)run(db, false, &err);
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
