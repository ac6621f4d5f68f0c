/* The replay beside everything else; see ready.h. */
#include "tsdb/journal/ready.h"

#include <errno.h>
#include <time.h>

#include "tsdb/db.h"
#include "tsdb/rollup/rollup.h"

void ready_init(struct ready *ready) {
    pthread_condattr_t attr;
    pthread_mutex_init(&ready->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ready->cond, &attr);
    pthread_condattr_destroy(&attr);
}

void ready_finish(struct ready *ready) {
    pthread_cond_destroy(&ready->cond);
    pthread_mutex_destroy(&ready->lock);
}

void ready_open(struct ready *ready) {
    pthread_mutex_lock(&ready->lock);
    atomic_store_explicit(&ready->is_replaying, false, memory_order_release);
    pthread_cond_broadcast(&ready->cond);
    pthread_mutex_unlock(&ready->lock);
}

/* Without the journal's samples nothing may be trimmed or answered. What was to be replayed is
 * replayed by the next opening, and so is what still gets written while this one is closed. */
static void fail(struct tsdb *db, const struct err *err) {
    struct ready *ready = &db->ready;
    if (!ready->is_stopping) {
        db_latch(db, err);
    }
    pthread_mutex_lock(&ready->lock);
    ready->is_failed = true;
    ready->err = *err;
    pthread_cond_broadcast(&ready->cond);
    pthread_mutex_unlock(&ready->lock);
}

static void *ready_main(void *arg) {
    struct tsdb *db = arg;
    struct err err = ERR_INIT;
    if (!rollup_load(db, &err) || !recover(db, &err)) {
        err_wrap(&err, "replaying the journal");
        fail(db, &err);
    }
    committer_wake(db);
    return NULL;
}

bool ready_start(struct tsdb *db, struct err *err) {
    if (db->is_read_only) {
        return rollup_load(db, err) && recover(db, err);
    }
    struct ready *ready = &db->ready;
    ready->is_replaying = true;
    int rc = pthread_create(&ready->thread, NULL, ready_main, db);
    if (rc != 0) {
        ready->is_replaying = false;
        return err_set_errno(err, ERR_IO, rc, "starting the replay");
    }
    ready->has_thread = true;
    return true;
}

void ready_stop(struct tsdb *db) {
    if (db->ready.has_thread) {
        db->ready.is_stopping = true;
        pthread_join(db->ready.thread, NULL);
        db->ready.has_thread = false;
    }
}

bool ready_refuse(struct ready *ready, struct err *err) {
    uint64_t end = ready->lsn_end;
    uint64_t now = ready->lsn_now;
    return err_set(err, ERR_UNAVAILABLE, "the journal is being replayed (%llu records left)",
                   (unsigned long long)(end > now ? end - now : 0));
}

bool ready_wait(struct ready *ready, int64_t timeout_ms, struct err *err) {
    if (!ready_is_replaying(ready) && !ready->is_failed) {
        return true; /* for good: no lock, for whoever reads */
    }
    int64_t until_ns = clock_mono_ns(clock_system()) + timeout_ms * 1000000;
    struct timespec until = {
        .tv_sec = (time_t)(until_ns / 1000000000),
        .tv_nsec = (long)(until_ns % 1000000000),
    };
    int rc = 0;
    pthread_mutex_lock(&ready->lock);
    while (ready_is_replaying(ready) && !ready->is_failed && rc != ETIMEDOUT) {
        rc = timeout_ms < 0 ? pthread_cond_wait(&ready->cond, &ready->lock)
                            : pthread_cond_timedwait(&ready->cond, &ready->lock, &until);
    }
    bool is_over = !ready_is_replaying(ready) || ready->is_failed;
    bool is_failed = ready->is_failed;
    if (is_failed) {
        *err = ready->err;
    }
    pthread_mutex_unlock(&ready->lock);
    return is_over ? !is_failed : ready_refuse(ready, err);
}
