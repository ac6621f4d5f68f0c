/*
 * Commits while the journal is replayed. Nobody knows then which series there are nor what their
 * newest samples are, so samples are written down first and judged later:
 *
 *   find     tsdb_series() gives a provisional ref: a number in this table, which is by labels
 *   commit   one ordinary journal record per group, marked as deferred: every series is defined
 *            in it by its labels, under an id nobody has (ids continue behind what the newest
 *            record says), every sample is whole. Only what time alone tells is judged (too old,
 *            too new); the others are accepted, for good
 *   replay   goes on with these records when it comes to them. The labels of a definition may turn
 *            out to be known under another id: then the new one stands for that. A sample goes
 *            in order when it is newer than the newest of its series. An older one goes to the
 *            side, whatever the out-of-order window, unless its time is taken: then the one
 *            written first stays; another value is a conflict, which is counted and told
 *   settle   when the replay has caught up it holds the committer up for the last few records;
 *            from then on everything is ordinary. Provisional refs stay valid: they stand for
 *            the ref of their series (commit.c: resolve_refs())
 *
 * So nothing is converted and nothing waits outside the journal: after another crash the records
 * are replayed again, in order, with the same result; they are shipped, restored and trimmed as
 * any other. All of those of one process are one epoch, so they are trimmed together with the
 * definitions that only they have.
 *
 * Limits: series limits do not apply. Above DEFER_BYTES_MAX, of labels here and of samples
 * accepted, writers get ERR_UNAVAILABLE; so memory and journal stay bounded.
 *
 * Threads: any for defer_series(); defer_ref() once settled; the committer for the commit side, the
 * replay for the rest. The lock is a leaf. After settling the numbers do not change but for refs
 * that were not known, which the committer fills in.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "model/model.h"
#include "tsdb/tsdb.h"

#define DEFER_BYTES_MAX (UINT64_C(512) << 20)

/* A series until it is settled. */
struct defer_entry {
    uint64_t hash;
    struct str labels; /* encoded; in the arena */
    bool is_defined;   /* in a record of this process */
};

/* … and afterwards, if no record had it. */
struct defer_left {
    uint32_t number;
    struct str labels;
};

struct defer {
    pthread_mutex_t lock;
    bool is_over; /* settled; guarded by lock, as all up to `encoded` */
    struct arena labels;
    struct defer_entry *entries; /* by number; NULL once settled */
    size_t entry_cap;
    uint32_t *slots; /* number + 1 by hash; 0 = free */
    size_t slot_count;
    struct buf encoded; /* scratch */

    uint64_t id_first;          /* of number 0; the others follow */
    _Atomic series_ref_t *refs; /* by number: what it stands for, 0 = not known yet; guarded by
                                    lock until settled, then the committer's */
    size_t ref_cap;
    size_t count;             /* of numbers; as `refs` */
    struct defer_left *lefts; /* ascending; of settling */
    size_t left_count;

    uint64_t bytes_max;     /* DEFER_BYTES_MAX; tests set less */
    _Atomic uint64_t bytes; /* of labels and samples, as far as they count for it */

    /* committer */
    uint64_t lsn_last;  /* newest record, of before the start or deferred */
    uint32_t *defining; /* numbers defined by the group under way */
    size_t defining_count;
    size_t defining_cap;

    /* replay */
    uint64_t lsn_before;     /* newest record of before the start */
    uint64_t conflict_count; /* in later ones */
};

struct tsdb;
struct tsdb_batch;
struct journal_record;

static inline bool defer_is_ref(series_ref_t ref) {
    return (uint32_t)ref == 0; /* no series has handle 0 */
}

void defer_init(struct defer *defer);
void defer_finish(struct defer *defer);

/* Before the replay starts: ids from `id_first` on are free, records behind `lsn_last`. */
void defer_begin(struct defer *defer, uint64_t id_first, uint64_t lsn_last);

/* The provisional ref of the series. *ret 0: settled, look it up as usual. ERR_UNAVAILABLE above
 * the limit. */
WARN_UNUSED bool defer_series(struct tsdb *db,
                              struct labels labels,
                              uint64_t hash,
                              series_ref_t *ret,
                              struct err *err);
/* What a provisional ref stands for; 0 when it is not known (yet). */
series_ref_t defer_ref(struct tsdb *db, series_ref_t provisional);

/* ---- the committer ---- */

/* False with the reason when the batch has samples and there is no room for them. */
WARN_UNUSED bool defer_admit(struct tsdb *db, const struct tsdb_batch *batch, struct err *err);
/* Add the batch's samples with outcome TSDB_ACCEPTED to the record. */
void defer_add(struct tsdb *db, const struct tsdb_batch *batch, struct journal_record *record);
/* The group was written as record `lsn` (0: it had no samples); or it was not. */
void defer_committed(struct tsdb *db, uint64_t lsn, size_t sample_count);
void defer_undo(struct tsdb *db);
/* After settling: the ref, finding or creating the series. */
WARN_UNUSED bool defer_resolve(struct tsdb *db,
                               series_ref_t provisional,
                               series_ref_t *ret,
                               struct err *err);

/* ---- the replay ---- */

/* Id `id`, defined in record `lsn`, is this series. */
void defer_note_series(struct tsdb *db, uint64_t lsn, uint64_t id, series_ref_t ref);
/* The sample was judged a conflict. */
void defer_note_conflict(struct tsdb *db, uint64_t lsn, uint32_t handle, struct sample sample);
/* All is replayed. Under apply. */
void defer_settle(struct tsdb *db);
