/*
 * The inside of struct tsdb_querier, and matching against any index.
 *
 * A querier is a snapshot by LSN. It holds no LMDB transaction between calls and no lock; what it
 * does hold back is, for querier_ms_max at most, the sealing of head chunks it has not seen all of,
 * and the freeing of memory it may point at.
 */
#pragma once

#include "tsdb/db.h"
#include "tsdb/parts/part.h"

struct querier_entry {
    uint64_t id;
    uint32_t handle; /* 0: not in the head */
    uint32_t next;   /* number of another entry with equal labels; 0 = none */
};

struct overlay {
    const struct tsdb_batch *batch; /* NULL = none */
    size_t seen;                    /* samples of the batch indexed so far */
    struct u64map last;             /* ref → number of its newest sample (from 1) */
    uint32_t *previous; /* number → number of the sample of the same ref before it; 0 = none */
    size_t previous_cap;
};

struct tsdb_querier {
    struct tsdb *db;
    struct reader_slot *reader;
    uint64_t lsn;
    int64_t t_min_ms;
    int64_t t_max_ms;
    struct overlay overlay;
    struct querier_entry *entries; /* view id - 1 */
    size_t entry_count;
    size_t entry_cap;
    struct tsdb_column scratch;
    struct run_cache cache;
    struct u64map near; /* stretches of the store's file that were asked for, see querier_near() */
    struct part *parts; /* of the store in range, as of parts_txn_id */
    size_t part_count;
    uint64_t parts_txn_id;
    int64_t *rolled; /* built periods in range at rolled_resolution_ms, as of rolled_txn_id */
    size_t rolled_count;
    int64_t rolled_first; /* first period with a mark, built or not; INT64_MAX = none */
    int64_t rolled_resolution_ms;
    uint64_t rolled_txn_id;
    char *warnings[TSDB_WARNINGS_MAX];
    size_t warning_count;
};

/* Damage met: noted in the store (damage.h) and among the warnings of this querier. */
void querier_note_damage(struct tsdb_querier *querier,
                         enum damage_kind kind,
                         const struct err *what);

/*
 * The index row at `bytes` was read: its neighbours will be, too. They were written together, the
 * system reads nothing ahead of faults, and a fault costs as much as a quarter of a mebibyte at
 * once; so that much around the row is asked for, once.
 */
void querier_near(struct tsdb_querier *querier, const void *bytes);
/* After reading: false when the querier was ended, so that what was read may be of another
 * snapshot. */
WARN_UNUSED bool querier_holds(const struct tsdb_querier *querier, struct err *err);
/* The store's parts in the querier's range, cached until the store changes. */
WARN_UNUSED bool querier_parts(struct tsdb_querier *querier, MDB_txn *txn, struct err *err);
/* A view id for the sealed samples of a series, whether it matches anything or not. */
uint64_t querier_add_stored(struct tsdb_querier *querier, uint64_t id);
/* Time of the oldest sample of the view that is not sealed; INT64_MAX when all are. */
int64_t querier_unsealed_ms(struct tsdb_querier *querier, uint64_t view_id);
/* Has the series samples for this querier that no window index covers? index_lock is held. */
bool querier_has_in_range(struct tsdb_querier *querier,
                          const struct series *series,
                          uint32_t handle);

/* ---- match.c ---- */

struct match_source {
    void *ctx;
    bool (*all)(void *ctx, struct idset *out, struct err *err);
    /* Add the ids of every value of the matcher's label with matcher_matches() != is_inverse. */
    bool (*collect)(void *ctx,
                    const struct matcher *matcher,
                    bool is_inverse,
                    struct idset *out,
                    struct err *err);
};

/* The ids that match all matchers, normalized. Ids without the label have the empty value. */
WARN_UNUSED bool match_series(const struct match_source *source,
                              const struct matcher *matchers,
                              size_t count,
                              struct idset *out,
                              struct err *err);

/* At least one matcher does not match the empty value, or there is none at all. */
bool match_is_selective(const struct matcher *matchers, size_t count);

/* The literals a positive regex matcher can match; NULL when it is not a small set. */
const struct str *match_literals(const struct matcher *matcher, size_t *ret_count);
/* Prefix every matching value has (positive matchers only). */
struct str match_prefix(const struct matcher *matcher, bool is_inverse);

/* ---- head_match.c ---- */

struct head_match {
    uint64_t id;
    uint32_t handle;
    bool is_in_range; /* unsealed or unindexed samples in range, or overlay samples */
    bool is_in_store; /* set by select */
};

/* Series of the head that match, ordered by id (mem_free). */
WARN_UNUSED bool head_match(struct tsdb_querier *querier,
                            const struct matcher *matchers,
                            size_t count,
                            struct head_match **ret,
                            size_t *ret_count,
                            struct err *err);

/* ---- window.c: the index of finished windows and merged parts, by place ---- */

/* Damaged rows of the index are noted for the querier and left out; without one (NULL) they are an
 * error. */

/* Ids of a part's indexed series that match, added to `out` (not normalized). */
WARN_UNUSED bool window_match(struct store *store,
                              struct tsdb_querier *querier,
                              MDB_txn *txn,
                              int64_t place,
                              const struct matcher *matchers,
                              size_t count,
                              struct idset *out,
                              struct err *err);
/* Label names, or values of `name`, of a part's indexed series. */
WARN_UNUSED bool window_visit(struct store *store,
                              struct tsdb_querier *querier,
                              MDB_txn *txn,
                              int64_t place,
                              struct str name, /* empty: names */
                              void (*visit)(void *ctx, struct str text),
                              void *ctx,
                              struct err *err);
