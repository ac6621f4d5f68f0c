/* Sealing everything: open chunks and late samples too; see seal.h. */
#include <errno.h>
#include <time.h>

#include "tsdb/parts/seal.h"
#include "tsdb/parts/window.h"
#include "tsdb/query/querier.h"

#define LOOK_NS      INT64_C(10000000)
#define PATIENCE_NS  INT64_C(30000000000) /* for queries that were open before */
#define SEALINGS_MAX 100

/* Until every open querier sees everything up to lsn. Those that close tell nobody, so that they
 * need no lock: it is looked at every 10 ms. */
static bool wait_for_queriers(struct tsdb *db, uint64_t lsn, int64_t until_ns, struct err *err) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&never, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&lock);
    int64_t now_ns = clock_mono_ns(clock_system());
    for (; db_lsn_safe(db) < lsn && now_ns < until_ns; now_ns = clock_mono_ns(clock_system())) {
        struct timespec next = {
            .tv_sec = (time_t)((now_ns + LOOK_NS) / 1000000000),
            .tv_nsec = (long)((now_ns + LOOK_NS) % 1000000000),
        };
        (void)pthread_cond_timedwait(&never, &lock, &next);
    }
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&never);
    return db_lsn_safe(db) >= lsn ||
           err_set(err, ERR_UNAVAILABLE,
                   "a query has been running for long and still reads what is to be deleted: try "
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
