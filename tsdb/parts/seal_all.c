/* Sealing everything: open chunks and late samples too; see seal.h. */
#include <errno.h>
#include <time.h>

#include "tsdb/parts/seal.h"
#include "tsdb/parts/window.h"
#include "tsdb/query/querier.h"

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
                   "a query has been running for long and keeps the head from being sealed: try "
                   "again later");
}

bool seal_all(struct tsdb *db, struct err *err) {
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
