/*
 * The committer thread and its queue: batches come in by tsdb_commit, go out in groups to commit.c.
 * A commit starts as soon as the one before is done, so groups form by themselves under load.
 *
 * Writers that wait for their acknowledgement come back at once: where several were under way at
 * the end of the last two commits, a commit waits until as many are there again, no longer than a
 * commit takes and GATHER_NS_MAX. A single writer never waits, nor does what belongs to alerts.
 */
#include <errno.h>

#include "tsdb/db.h"

#define GROUP_BYTES_MAX ((size_t)1 << 20)   /* of batches in one commit; one batch may be larger */
#define GATHER_BYTES    ((size_t)256 << 10) /* enough to commit, some 32 KiB of journal */
#define GATHER_NS_MAX   2000000

/* ---- the thread ---- */

/* Batches under way, in the group or behind it, when commits end. */
struct pace {
    size_t last;
    size_t least; /* of the last two commits */
};

static void note_pace(struct tsdb *db, struct pace *pace, const struct tsdb_batch *group) {
    size_t count = 0;
    for (; group != NULL; group = group->next) {
        count++;
    }
    pthread_mutex_lock(&db->queue_lock);
    for (const struct tsdb_batch *at = db->queue_first; at != NULL; at = at->next) {
        count++;
    }
    pthread_mutex_unlock(&db->queue_lock);
    pace->least = count < pace->last ? count : pace->last;
    pace->last = count;
}

/* Do batches wait, all of them of the kind that can, but fewer than are under way? */
static bool lacks_company(const struct tsdb *db, const struct pace *pace) {
    size_t count = 0;
    size_t bytes = 0;
    for (const struct tsdb_batch *at = db->queue_first; at != NULL; at = at->next) {
        if (at->cls != TSDB_INGEST) {
            return false;
        }
        count++;
        bytes += at->bytes;
    }
    return count > 0 && count < pace->least && bytes < GATHER_BYTES;
}

/* The queue is locked. */
static void await_company(struct tsdb *db, const struct pace *pace) {
    if (!lacks_company(db, pace)) {
        return;
    }
    int64_t ns = db->commit_ns_recent;
    int64_t until_ns = clock_mono_ns(clock_system()) + (ns < GATHER_NS_MAX ? ns : GATHER_NS_MAX);
    struct timespec until = {
        .tv_sec = (time_t)(until_ns / 1000000000),
        .tv_nsec = (long)(until_ns % 1000000000),
    };
    int rc = 0;
    while (rc == 0 && !db->is_closing && lacks_company(db, pace)) {
        rc = pthread_cond_timedwait(&db->queue_cond, &db->queue_lock, &until);
    }
}

/* Take what waits, up to GROUP_BYTES_MAX; blocks until there is work. False: closing and
 * drained. */
static bool take_batches(struct tsdb *db, const struct pace *pace, struct tsdb_batch **ret) {
    pthread_mutex_lock(&db->queue_lock);
    while (db->queue_first == NULL && !db->is_closing &&
           (db_trim_target(db) <= db->trimmed_lsn || db->is_latched || db->is_no_space)) {
        pthread_cond_wait(&db->queue_cond, &db->queue_lock);
    }
    await_company(db, pace);
    bool has_work = db->queue_first != NULL || !db->is_closing;
    struct tsdb_batch *first = db->queue_first;
    struct tsdb_batch *last = NULL;
    size_t bytes = 0;
    for (struct tsdb_batch *at = first; at != NULL; at = at->next) {
        bytes += at->bytes;
        if (last != NULL && bytes > GROUP_BYTES_MAX) {
            break;
        }
        last = at;
    }
    if (last != NULL) {
        db->queue_first = last->next;
        last->next = NULL;
        if (db->queue_first == NULL) {
            db->queue_last = NULL;
        }
    }
    pthread_mutex_unlock(&db->queue_lock);
    *ret = first;
    return has_work;
}

static void *committer_main(void *arg) {
    struct tsdb *db = arg;
    struct group *group = group_create(db);
    struct pace pace = { 0 };
    struct tsdb_batch *list;
    while (take_batches(db, &pace, &list)) {
        group_run(group, list);
        note_pace(db, &pace, list); /* before any of its writers can come back */
        group_finish(list);
    }
    group_destroy(group);
    return NULL;
}

bool committer_start(struct tsdb *db, struct err *err) {
    int rc = pthread_create(&db->committer, NULL, committer_main, db);
    if (rc != 0) {
        return err_set_errno(err, ERR_IO, rc, "starting the committer");
    }
    db->has_committer = true;
    return true;
}

void committer_stop(struct tsdb *db) {
    pthread_mutex_lock(&db->queue_lock);
    db->is_closing = true;
    pthread_cond_signal(&db->queue_cond);
    pthread_mutex_unlock(&db->queue_lock);
    if (db->has_committer) {
        pthread_join(db->committer, NULL);
        db->has_committer = false;
    }
}

void committer_wake(struct tsdb *db) {
    pthread_mutex_lock(&db->queue_lock);
    pthread_cond_signal(&db->queue_cond);
    pthread_mutex_unlock(&db->queue_lock);
}

/* ---- handing over ---- */

void tsdb_commit(struct tsdb_batch *batch, tsdb_committed_fn done, void *ctx) {
    struct tsdb *db = batch->db;
    batch->done = done;
    batch->ctx = ctx;
    batch->bytes = sizeof(*batch) + batch->sample_count * sizeof(batch->samples[0]) +
                   batch->kv_ops.len + batch->metadata.len;
    db->pending_bytes += batch->bytes;
    pthread_mutex_lock(&db->queue_lock);
    bool is_late = db->is_closing || db->is_read_only;
    if (!is_late) {
        if (db->queue_last == NULL) {
            db->queue_first = batch;
        } else {
            db->queue_last->next = batch;
        }
        db->queue_last = batch;
        pthread_cond_signal(&db->queue_cond);
    }
    pthread_mutex_unlock(&db->queue_lock);
    if (is_late) {
        err_set(&batch->result.err, ERR_UNAVAILABLE, "the store is closing");
        batch_finish(batch);
    }
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_done;
    struct tsdb_commit_result result;
};

static void wake_waiter(void *ctx, const struct tsdb_commit_result *result) {
    struct waiter *waiter = ctx;
    pthread_mutex_lock(&waiter->lock);
    waiter->result = *result;
    waiter->result.outcomes = NULL;
    waiter->is_done = true;
    pthread_cond_signal(&waiter->cond);
    pthread_mutex_unlock(&waiter->lock);
}

bool tsdb_commit_blocking(struct tsdb_batch *batch,
                          struct tsdb_commit_result *ret_result,
                          struct err *err) {
    struct waiter waiter = { .is_done = false };
    pthread_mutex_init(&waiter.lock, NULL);
    pthread_cond_init(&waiter.cond, NULL);
    tsdb_commit(batch, wake_waiter, &waiter);
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.is_done) {
        pthread_cond_wait(&waiter.cond, &waiter.lock);
    }
    pthread_mutex_unlock(&waiter.lock);
    pthread_cond_destroy(&waiter.cond);
    pthread_mutex_destroy(&waiter.lock);
    if (ret_result != NULL) {
        *ret_result = waiter.result;
    }
    if (!waiter.result.is_durable) {
        *err = waiter.result.err;
    }
    return waiter.result.is_durable;
}
