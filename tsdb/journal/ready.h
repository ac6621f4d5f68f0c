/*
 * Opening does not wait for the journal: a thread replays it while the tables can be read and
 * changed already, and samples are written down to be judged later (defer.h). What needs the head
 * waits for the replay: queriers, maintenance. So a verdict is always given with the whole of what
 * is on disk in view, and an answer has all of it.
 *
 * Threads: any, for every function.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"

#define READY_WAIT_MS_MAX 30000 /* then a caller is told to come back later */

struct ready {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    _Atomic bool is_replaying; /* set back under apply (db.h) and lock; stays when stopped */
    _Atomic bool is_stopping;  /* the replay gives up */
    uint64_t lsn_start;        /* up to here nothing is to be replayed */
    uint64_t lsn_end;          /* newest record on disk at the opening */
    _Atomic uint64_t lsn_now;  /* how far it is */
    void (*on_replay)(void *ctx, uint64_t lsn); /* may be NULL */
    void *on_replay_ctx;
    _Atomic bool is_failed;
    struct err err; /* guarded by lock: why */
    bool has_thread;
    pthread_t thread;
};

struct tsdb;

void ready_init(struct ready *ready);
void ready_finish(struct ready *ready);

/* Start the replay; for reading only it is done when this returns. */
WARN_UNUSED bool ready_start(struct tsdb *db, struct err *err);
/* By the replay, under apply: it is through. */
void ready_open(struct ready *ready);
/* Give it up if it still runs; then the store stays as it is in the middle of it. */
void ready_stop(struct tsdb *db);

static inline bool ready_is_replaying(const struct ready *ready) {
    return atomic_load_explicit(&ready->is_replaying, memory_order_acquire);
}

/* Wait for the end of the replay. ERR_UNAVAILABLE after timeout_ms (< 0: never), or why the replay
 * failed. */
WARN_UNUSED bool ready_wait(struct ready *ready, int64_t timeout_ms, struct err *err);
/* "the journal is being replayed (40 %)": always false. */
bool ready_refuse(struct ready *ready, struct err *err);
