/*
 * Deleting by matcher and time. Everything committed so far is sealed first and the journal's mark
 * moved behind it, so that no replay brings a deleted sample back; then the parts are rewritten one
 * by one without the samples. There are no tombstones: a part is read as before or after.
 */
#include <errno.h>
#include <time.h>

#include "base/mem.h"
#include "tsdb/merge/merge.h"
#include "tsdb/parts/seal.h"
#include "tsdb/parts/window.h"
#include "tsdb/query/querier.h"
#include "tsdb/rollup/rollup.h"
#include "tsdb/upkeep/rewrite.h"

#define PATIENCE_NS  INT64_C(30000000000) /* for queries that were open before */
#define SEALINGS_MAX 100

/* Until every open querier sees everything up to lsn. */
static bool wait_for_queriers(struct tsdb *db, uint64_t lsn, int64_t until_ns, struct err *err) {
    struct timespec until = {
        .tv_sec = (time_t)(until_ns / 1000000000),
        .tv_nsec = (long)(until_ns % 1000000000),
    };
    int rc = 0;
    while (db_lsn_safe(db) < lsn && rc != ETIMEDOUT) {
        pthread_mutex_lock(&db->queriers_lock);
        uint64_t closed = db->queriers_closed;
        while (db->queriers_closed == closed && rc != ETIMEDOUT) {
            rc = pthread_cond_timedwait(&db->queriers_cond, &db->queriers_lock, &until);
        }
        pthread_mutex_unlock(&db->queriers_lock);
    }
    return db_lsn_safe(db) >= lsn ||
           err_set(err, ERR_UNAVAILABLE,
                   "a query has been running for long and still reads what is to be deleted: try "
                   "again later");
}

/* Seal all that was committed so far and move the journal's mark behind it. */
static bool seal_all(struct tsdb *db, struct err *err) {
    uint64_t lsn = seal_begin_epoch(db);
    int64_t until_ns = clock_mono_ns(clock_system()) + PATIENCE_NS;
    struct seal_limits limits = { .end_window = INT64_MIN, .lsn_cut = lsn };
    for (int i = 0; db->trim_lsn < lsn; i++) {
        if (i == SEALINGS_MAX) {
            return err_set(err, ERR_UNAVAILABLE, "the store is too busy to be sealed: try again");
        }
        if (!wait_for_queriers(db, lsn, until_ns, err) || !seal_chunks(db, &limits, err)) {
            return false;
        }
    }
    return window_index_all(db, INT64_MAX, err);
}

struct deletion {
    struct rewrite rewrite;
    const struct matcher *matchers;
    size_t matcher_count;
    struct idset all; /* ids of every part so far, not normalized */
};

static bool delete_from(struct deletion *deletion, const struct part *part, struct err *err) {
    struct tsdb *db = deletion->rewrite.db;
    struct idset ids = { 0 };
    bool ok = rewrite_find(db, part, deletion->matchers, deletion->matcher_count, &ids, err);
    for (size_t i = 0; ok && i < ids.count; i++) {
        idset_add(&deletion->all, ids.ids[i]);
    }
    if (ok && ids.count > 0) {
        deletion->rewrite.ids = &ids;
        ok = rewrite_part(&deletion->rewrite, part, err);
    }
    idset_finish(&ids);
    return ok;
}

/* Where samples are gone and rollups are left, series are found by the rollups' own postings. */
static bool find_rolled(struct deletion *deletion, struct err *err) {
    struct tsdb *db = deletion->rewrite.db;
    struct rollup_mark *marks;
    size_t count;
    MDB_txn *txn;
    if (!env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = rollup_list_marks(db, txn, &marks, &count, err);
    env_read_end(&db->store.env, txn);
    for (size_t i = 0; ok && i < count; i++) {
        struct part part = { .place = rollup_place(marks[i].resolution_ms, marks[i].period) };
        ok = !rollup_reaches(marks[i].period, deletion->rewrite.t_first_ms,
                             deletion->rewrite.t_last_ms) ||
             rewrite_find(db, &part, deletion->matchers, deletion->matcher_count, &deletion->all,
                          err);
    }
    mem_free(marks);
    return ok;
}

static bool delete_locked(struct deletion *deletion, struct err *err) {
    struct tsdb *db = deletion->rewrite.db;
    struct part *parts;
    size_t count;
    MDB_txn *txn;
    if (!seal_all(db, err) || !env_read_begin(&db->store.env, &txn, err)) {
        return false;
    }
    bool ok = part_list(&db->store, txn, head_window(&db->head, deletion->rewrite.t_first_ms),
                        head_window(&db->head, deletion->rewrite.t_last_ms), &parts, &count, err);
    env_read_end(&db->store.env, txn);
    for (size_t i = 0; ok && i < count; i++) {
        ok = delete_from(deletion, &parts[i], err);
    }
    mem_free(parts);
    ok = ok && find_rolled(deletion, err);
    idset_normalize(&deletion->all);
    deletion->rewrite.ids = &deletion->all;
    return ok && rewrite_rollups(&deletion->rewrite, err) && merge_sweep(db, err);
}

bool tsdb_delete_blocking(struct tsdb *db,
                          const struct matcher *matchers,
                          size_t matcher_count,
                          int64_t t_min_ms,
                          int64_t t_max_ms,
                          struct tsdb_deleted *ret,
                          struct err *err) {
    if (!match_is_selective(matchers, matcher_count) || matcher_count == 0) {
        return err_set(err, ERR_INVALID, "match[] must contain at least one non-empty matcher");
    }
    if (db->is_read_only) {
        return err_set(err, ERR_UNAVAILABLE, "the store is open for reading only");
    }
    if (db->is_latched) {
        return tsdb_health(db, err);
    }
    if (!ready_wait(&db->ready, READY_WAIT_MS_MAX, err)) {
        return false;
    }
    struct deletion deletion = {
        .rewrite = { .db = db, .t_first_ms = t_min_ms, .t_last_ms = t_max_ms },
        .matchers = matchers,
        .matcher_count = matcher_count,
    };
    pthread_mutex_lock(&db->maintain_lock);
    bool ok = t_min_ms > t_max_ms || delete_locked(&deletion, err);
    pthread_mutex_unlock(&db->maintain_lock);
    if (ok) {
        *ret = (struct tsdb_deleted){
            .series_count = deletion.all.count,
            .sample_count = deletion.rewrite.sample_count,
        };
    }
    idset_finish(&deletion.all);
    return ok;
}
