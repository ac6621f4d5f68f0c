/*
 * Rollups: per series and resolution one bucket for every (k × resolution, (k+1) × resolution],
 * exact enough that whole buckets answer for their samples (struct tsdb_bucket in tsdb.h).
 *
 * Terms
 *   bucket   named by its end, a multiple of the resolution; left-open as PromQL's windows are.
 *   period   a day of buckets: what is built, stored and dropped together. Period p holds the
 *            buckets that end in (p × ROLLUP_PERIOD_MS, (p+1) × ROLLUP_PERIOD_MS].
 *   built    the period's rows stand for everything sealed in it. Sealing late samples takes the
 *            mark away (the rows stay: what they were built from may be gone); the next maintenance
 *            builds again.
 *
 * Reading is exact whatever is built: buckets of built periods come from rows, all others from rows
 * and samples, whichever knows of more: samples only come, so a bucket of a row that has more of
 * them than are there now stands for those that retention took. Deleting by matcher therefore cuts
 * the rows before the samples.
 */
#pragma once

#include "tsdb/codec/p3.h"
#include "tsdb/db.h"

#define ROLLUP_PERIOD_MS INT64_C(86400000)
/* Samples further from the epoch are in no bucket. */
#define ROLLUP_TIME_MS_MAX (INT64_MAX / 4)

/* ---- folding (rollup_fold.c) ---- */

/* End of the bucket a time belongs to. */
int64_t rollup_bucket_end(int64_t t_ms, int64_t resolution_ms);
/* The period a bucket or a sample's time belongs to. */
int64_t rollup_period(int64_t t_ms);

/* Append the buckets of ascending samples, stale markers among them. The first sample belongs to a
 * bucket after the last one in `buckets`. */
void rollup_fold(const struct tsdb_column *column,
                 int64_t resolution_ms,
                 struct tsdb_buckets *buckets);

/* ---- rows (rollup_codec.c) ---- */

/* The buckets of one series and period as a row's body. */
void rollup_encode(struct p3_encoder *encoder,
                   int64_t resolution_ms,
                   const struct tsdb_bucket *buckets,
                   size_t count,
                   struct buf *out);
/* Append those of a row that end in (t_after_ms, t_last_ms]; false: malformed. */
WARN_UNUSED bool rollup_decode(struct str body,
                               int64_t resolution_ms,
                               int64_t t_after_ms,
                               int64_t t_last_ms,
                               struct tsdb_buckets *buckets);

#define ROLLUP_KEY_BYTES      20
#define ROLLUP_MARK_KEY_BYTES 12

void rollup_key(uint8_t key[ROLLUP_KEY_BYTES], int64_t resolution_ms, int64_t period, uint64_t id);
void rollup_mark_key(uint8_t key[ROLLUP_MARK_KEY_BYTES], int64_t resolution_ms, int64_t period);

/* ---- reading (rollup_read.c) ---- */

/*
 * The buckets of a view that end in (t_after_ms, t_last_ms] of one period, from its row and, unless
 * the row stands for all of them, from samples. The row may be damaged or absent: then samples
 * answer.
 */
struct rollup_read {
    struct tsdb_querier *querier;
    uint64_t view_id;
    int64_t resolution_ms;
    int64_t period;
    int64_t t_after_ms;
    int64_t t_last_ms;
    bool is_whole; /* the row stands for all samples */
};

WARN_UNUSED bool rollup_read_period(const struct rollup_read *read,
                                    struct tsdb_buckets *buckets,
                                    struct err *err);

/* ---- marks (rollup_marks.c) ---- */

/* A row of table rollup_marks. */
struct rollup_mark {
    int64_t resolution_ms;
    int64_t period;
    bool is_built;
    uint64_t id_next; /* while building: series below are done */
};

WARN_UNUSED bool rollup_get_mark(struct store *store,
                                 MDB_txn *txn,
                                 int64_t resolution_ms,
                                 int64_t period,
                                 struct rollup_mark *ret,
                                 bool *ret_found,
                                 struct err *err);
/* Returns an LMDB code. */
int rollup_put_mark(struct store *store, MDB_txn *txn, const struct rollup_mark *mark);

/* Every mark, by resolution and period; *ret is for mem_free. Damaged ones are noted and listed as
 * not built. */
WARN_UNUSED bool rollup_list_marks(struct tsdb *db,
                                   MDB_txn *txn,
                                   struct rollup_mark **ret,
                                   size_t *ret_count,
                                   struct err *err);

/* May a bucket of the period have a share in [t_min_ms, t_max_ms]? (start < t_max: left-open.) */
bool rollup_reaches(int64_t period, int64_t t_min_ms, int64_t t_max_ms);

/* Samples in [t_min_ms, t_max_ms] came or went: periods that were built no longer are. Returns an
 * LMDB code. */
int rollup_touch(struct tsdb *db, MDB_txn *txn, int64_t t_min_ms, int64_t t_max_ms);

/* ---- finding (rollup_index.c) ---- */

/* Where the postings of a period stand: a place (part.h) of its own. */
int64_t rollup_place(int64_t resolution_ms, int64_t period);

/* Write the postings of the series a period has rows of, from those of its parts and its own. */
WARN_UNUSED bool rollup_index(struct tsdb *db, const struct rollup_mark *mark, struct err *err);

bool rollup_is_place(int64_t place);
/* Ids of every series with a row at the place, appended. */
WARN_UNUSED bool rollup_ids(struct store *store,
                            MDB_txn *txn,
                            int64_t place,
                            struct idset *out,
                            struct err *err);

/* Add to the querier's parts, for finding series only, the places of its range where samples are
 * gone and rollups are left. */
WARN_UNUSED bool rollup_add_places(struct tsdb_querier *querier, MDB_txn *txn, struct err *err);

/* ---- building (rollup_build.c) ---- */

/*
 * Build what is due, some thousand series per call, and drop what is older than its retention.
 * `t_sealed_ms`: everything before it is sealed. *ret_has_more: call again soon. Under the maintain
 * lock.
 */
WARN_UNUSED bool rollup_maintain(struct tsdb *db,
                                 int64_t t_sealed_ms,
                                 bool *ret_has_more,
                                 struct err *err);

/* Find out how far rollups reach, when opening. */
WARN_UNUSED bool rollup_load(struct tsdb *db, struct err *err);
