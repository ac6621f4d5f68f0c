/*
 * Samples that came out of order and are not sealed yet: per series sorted by time, in blocks,
 * beside the head's chunks. What a series has here of one window is called a run.
 *
 * Invariants
 *   1. The side holds durable samples only; the committer alone adds (replay does, before it
 *      starts).
 *   2. A reader at snapshot L sees exactly the samples with lsn <= L.
 *   3. A sample leaves only after the store holds it and every open querier may see it.
 *   4. A series has a time once; it is neither in the head's chunks nor sealed.
 *
 * A series stays known here after its last sample was sealed, for as long as the head has older
 * samples than what was sealed: readers must then look into the store beyond the head's first
 * sample (t_sealed_ms).
 *
 * Threads: any, for every function, unless stated. The lock of a stripe is a leaf, for those who
 * write. Readers (with an open slot, readers.h) take none: they look again when the version of the
 * stripe changed meanwhile; memory that is replaced is retired.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "tsdb/head/head.h"

#define SIDE_STRIPE_COUNT  16
#define SIDE_BLOCK_MAX     128                   /* samples */
#define SIDE_RUN_ENOUGH    120                   /* samples: worth a chunk of their own */
#define SIDE_BYTES_SOFT    (UINT64_C(64) << 20)  /* above: everything is sealed at once */
#define SIDE_BYTES_HARD    (UINT64_C(256) << 20) /* above: new batches get ERR_THROTTLED */
#define SIDE_T_SEALED_NONE INT64_MIN

struct side_sample {
    int64_t t_ms;
    uint64_t value_bits;
    uint64_t lsn;
};

struct side_block {
    uint64_t lsn_first; /* no sample is older */
    uint32_t count;     /* > 0 */
    uint32_t cap;
    struct side_sample samples[]; /* ascending in time */
};

struct side_place {
    int64_t t_first_ms; /* of the block; here for the search */
    struct side_block *block;
};

struct side_series {
    uint32_t handle;
    uint32_t block_count;
    size_t block_cap;
    struct side_place *blocks; /* ascending in time, not overlapping */
    int64_t t_sealed_ms;       /* newest sample sealed from here */
};

/* By handle; at least a quarter of the slots is free. */
struct side_table {
    uint32_t mask;
    struct side_series *slots[];
};

struct side_stripe {
    pthread_mutex_t lock;
    uint32_t version;            /* odd while something changes */
    struct side_table *table;    /* the same series as in the list */
    struct side_series **series; /* the list: for who holds the lock */
    size_t count;
    size_t cap;
    struct retired garbage;
};

struct side {
    int64_t block_ms;
    _Atomic uint64_t series_count; /* 0: nothing to look for */
    _Atomic uint64_t sample_count;
    _Atomic uint64_t bytes;
    _Atomic uint64_t bytes_enough; /* above: wake the store thread; it may find nothing to seal */
    struct side_stripe stripes[SIDE_STRIPE_COUNT];
};

/* `readers`: those who look without the lock; NULL = nobody. */
void side_init(struct side *side, int64_t block_ms, struct readers *readers);
void side_finish(struct side *side);

static inline bool side_is_empty(const struct side *side) {
    return atomic_load_explicit(&side->series_count, memory_order_acquire) == 0;
}

/* Add a durable sample (invariants 1 and 4); a time already there is left as it is. Lsns ascend. */
void side_add(struct side *side, uint32_t handle, struct sample sample, uint64_t lsn);

/* The value at exactly this time, of any lsn. */
bool side_find(struct side *side, uint32_t handle, int64_t t_ms, uint64_t *ret_value_bits);

/*
 * Add the samples in range that the snapshot sees to the column, ascending; read->id is not looked
 * at. *ret_t_sealed_ms: up to there the store must be read, whatever the head has
 * (SIDE_T_SEALED_NONE: nowhere). A reader asks here before it asks the head and the store.
 */
void side_read(struct side *side,
               const struct head_read *read,
               struct tsdb_column *column,
               int64_t *ret_t_sealed_ms);

/* Has the series samples in range that the snapshot sees? */
bool side_has_in_range(struct side *side, uint32_t handle, const struct head_read *read);

/* Time of the oldest sample, of any lsn; INT64_MAX when there is none. */
int64_t side_first_ms(struct side *side, uint32_t handle);

/* Has the series samples here at all? Then it must stay in the head. */
bool side_has(struct side *side, uint32_t handle);

/* lsn of the oldest sample; UINT64_MAX when there is none. */
uint64_t side_lsn_oldest(struct side *side);

/* Take out the samples for which is_gone() says so, as if they had been sealed from here. It is
 * called under the stripe's lock. */
void side_filter(struct side *side,
                 bool (*is_gone)(void *ctx, uint32_t handle, struct side_sample sample),
                 void *ctx);

/* What a stripe knows of a series, NULL when nothing. Any reader, or the stripe is locked. */
struct side_series *side_series_of(const struct side_stripe *stripe, uint32_t handle);

/* ---- sealing: on the store thread ---- */

struct side_limits {
    bool is_all;        /* every run; else those that … */
    int64_t end_window; /* … lie before this window and have nothing newer than lsn_idle */
    uint64_t lsn_idle;
    uint64_t lsn_cut;  /* … or anything as old as this, or SIDE_RUN_ENOUGH samples */
    uint64_t lsn_safe; /* and in any case only what every open querier sees */
};

struct side_entry {
    int64_t window;
    uint64_t id; /* the caller's to fill */
    uint32_t handle;
};

/* The runs that are due, appended to *ret (mem_free), in no order. */
void side_list(struct side *side,
               const struct side_limits *limits,
               struct side_entry **ret,
               size_t *ret_count);

/* Append the run's samples with lsn <= lsn_max to the column. */
void side_copy(struct side *side,
               uint32_t handle,
               int64_t window,
               uint64_t lsn_max,
               struct tsdb_column *column);

/* The store holds the run's samples with lsn <= lsn_max: they leave. */
void side_drop(struct side *side, uint32_t handle, int64_t window, uint64_t lsn_max);

/* Forget series without samples where the head has nothing older than what was sealed. */
void side_forget_sealed(struct side *side, struct head *head);
