/*
 * The head: every series that is active or not yet covered by a window index, with the samples not
 * yet sealed into the store.
 *
 * Terms
 *   handle   number of a series in this process, from 1, never reused; indexes pages of structs.
 *   id       durable number of a series (store, journal); never reused either.
 *   ref      what callers hold: low half of the id above the handle, so that a handle whose series
 *            left the head is recognised.
 *   chunk    up to 120 samples of one series within one window; "open" takes samples, "closed" ones
 *            wait for sealing. Together: unsealed.
 *   lsn      number of the journal record (= commit) a sample came with.
 *
 * Invariants
 *   1. Chunks hold durable samples only; the committer alone appends.
 *   2. A reader at snapshot L sees exactly the samples with lsn <= L of an unsealed chunk.
 *   3. A chunk is freed only after the store holds it and every open querier sees all of it.
 *   4. Within a series chunks and windows ascend in time.
 *
 * Locks, in this order: apply (db.h) → shard → index_lock → stripe. A series struct stays
 * mapped while index_lock is held (shared), or apply.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "tsdb/bytes.h"
#include "tsdb/chunk.h"
#include "tsdb/index.h"
#include "tsdb/tsdb.h"

#define HEAD_SHARD_COUNT    16
#define HEAD_STRIPE_COUNT   16
#define HEAD_PAGE_SHIFT     12
#define HEAD_PAGE_SERIES    (1U << HEAD_PAGE_SHIFT)
#define HEAD_PAGE_COUNT_MAX (1U << (32 - HEAD_PAGE_SHIFT))

struct series {
    /* set before the ref is handed out, then immutable */
    uint64_t id; /* 0: nobody here (never was, or left) */
    uint64_t hash;
    uint32_t labels; /* slab handle in head->index.labels */
    uint8_t label_count;

    /* owned by the committer (under apply) */
    bool is_defined; /* journal or store knows the labels */
    bool has_last;
    int64_t t_last_ms; /* newest accepted sample, durable or being committed */
    uint64_t value_last_bits;

    /* owned by the store thread */
    bool is_stored; /* the store has the series row */

    _Atomic uint32_t touched; /* maintenance round of the last look-up */

    /* guarded by the stripe */
    uint32_t open;       /* chunk or 0 */
    uint32_t closed;     /* newest closed chunk or 0; its `next` is the oldest (a ring) */
    uint32_t history;    /* see head_history in append.c; 0 = none */
    uint32_t seq_end;    /* samples appended so far (wraps) */
    uint32_t seq_before; /* seq_end before the commit lsn_last */
    uint64_t lsn_last;   /* newest commit with samples of this series */
    int64_t t_first_ms;  /* oldest sample no window index covers; INT64_MAX = none */
    int64_t t_newest_ms; /* newest sample */
};

struct chunk {
    uint32_t next; /* ring of closed chunks */
    uint32_t seq_first;
    uint64_t lsn_first;
    uint64_t lsn_last;
    int64_t t_first_ms;
    struct chunk_appender appender;
    uint16_t payload_cap;
    uint8_t payload[];
};

struct head_shard {
    pthread_rwlock_t lock;
    uint64_t *slots; /* high half of the hash above the handle; 0 = free */
    size_t slot_count;
    size_t count;
};

struct head_stripe {
    pthread_mutex_t lock;
    struct slab chunks;
};

struct head {
    /* immutable */
    uint64_t seed;
    uint64_t series_max;
    int64_t block_ms;

    struct series *_Atomic *pages; /* [HEAD_PAGE_COUNT_MAX] */
    _Atomic uint32_t handle_end;   /* handles below it were given out */
    _Atomic uint64_t id_next;
    _Atomic uint64_t series_count;
    _Atomic uint32_t round; /* maintenance round, see series.touched */
    _Atomic uint64_t open_count;
    _Atomic uint64_t closed_count;
    _Atomic uint64_t closed_bytes;

    struct head_shard shards[HEAD_SHARD_COUNT];
    pthread_rwlock_t index_lock;
    struct index index; /* guarded by index_lock */
    struct head_stripe stripes[HEAD_STRIPE_COUNT];
};

void head_init(struct head *head, int64_t block_ms, uint64_t series_max);
void head_finish(struct head *head);

/* ---- series ---- */

static inline uint32_t ref_handle(series_ref_t ref) {
    return (uint32_t)ref;
}

static inline series_ref_t ref_make(uint64_t id, uint32_t handle) {
    return id << 32 | handle;
}

uint64_t head_hash(const struct head *head, struct labels labels);

/* Ref or 0. */
series_ref_t head_find(struct head *head, struct labels labels, uint64_t hash);
/* The same without counting as use of the series. */
series_ref_t head_find_quiet(struct head *head, struct labels labels, uint64_t hash);

struct head_newcomer {
    struct labels labels;
    uint64_t hash;
    uint64_t id; /* 0: give it a new one */
    bool is_defined;
    bool is_stored;
    bool has_last;
    int64_t t_last_ms;
    uint64_t value_last_bits;
    int64_t t_first_ms; /* oldest sample no window index covers; INT64_MAX = none */
};

/* Insert unless another thread just did; the ref either way. */
series_ref_t head_insert(struct head *head, const struct head_newcomer *newcomer);

/* NULL when the series left the head (or never was). See "Locks" for how long it stays mapped. */
struct series *head_series(struct head *head, series_ref_t ref);
struct series *head_at(struct head *head, uint32_t handle);

/* The full id behind a ref whose series left. */
uint64_t head_ref_id(struct head *head, series_ref_t ref);

static inline int64_t head_window(const struct head *head, int64_t t_ms) {
    return i64_floor_div(t_ms, head->block_ms);
}

/*
 * Remove every series for which may_leave() says so (called with all locks of the head held; must
 * not call back). Strings are retired under `epoch`. The caller holds apply. Returns the count.
 */
size_t head_evict(struct head *head,
                  bool (*may_leave)(void *ctx, struct series *series, uint32_t handle),
                  void *ctx,
                  uint64_t epoch);

/* ---- samples (append.c) ---- */

static inline struct head_stripe *head_stripe(struct head *head, uint32_t handle) {
    return &head->stripes[(handle >> 6) % HEAD_STRIPE_COUNT];
}

/*
 * Append a durable sample (invariant 1). The stripe is locked. `lsn_floor` is the oldest snapshot
 * of any open querier: what only older ones would need is forgotten.
 */
void head_append_locked(struct head *head,
                        uint32_t handle,
                        struct series *series,
                        struct sample sample,
                        uint64_t lsn,
                        uint64_t lsn_floor);

struct head_read {
    uint32_t handle;
    uint64_t id;
    uint64_t lsn; /* snapshot */
    int64_t t_min_ms;
    int64_t t_max_ms;
};

/* Add the unsealed samples in range to the column. *ret_t_first_ms is the time of the oldest
 * unsealed sample, in range or not (INT64_MAX: none); the store has everything before it. */
void head_read(struct head *head,
               const struct head_read *read,
               struct tsdb_column *column,
               int64_t *ret_t_first_ms);

/* May the series have samples in range that no window index covers and the snapshot sees?
 * index_lock is held; read->handle and id are not looked at. */
bool head_has_in_range(struct head *head,
                       uint32_t handle,
                       const struct series *series,
                       const struct head_read *read);

/* Close the open chunk. The stripe is locked. */
void head_close_chunk_locked(struct head *head, uint32_t handle, struct series *series);
/* The oldest closed chunk or NULL. The stripe is locked. */
struct chunk *head_oldest_closed_locked(struct head *head, uint32_t handle, struct series *series);
/* Free the oldest closed chunk (invariant 3 is the caller's). The stripe is locked. */
void head_drop_oldest_locked(struct head *head, uint32_t handle, struct series *series);
/* lsn of the oldest unsealed sample, UINT64_MAX when there is none. The stripe is locked. */
uint64_t head_lsn_unsealed_locked(struct head *head, uint32_t handle, const struct series *series);

/* Window indexes now cover the series' sealed samples before t_after_ms. index_lock is held. */
void head_cover(struct head *head, uint32_t handle, struct series *series, int64_t t_after_ms);

/* ---- columns (column.c) ---- */

void column_append(struct tsdb_column *column, int64_t t_ms, double value);
/* Make what stands from number `from` on ascend, one sample per time: of several the first. What
 * is in order already costs a look at each; runs in order are merged. */
void column_sort(struct tsdb_column *column, size_t from);
/* Decode a chunk and keep those in range. False when the bytes are malformed. */
WARN_UNUSED bool column_decode(struct tsdb_column *column,
                               const struct chunk_view *chunk,
                               int64_t t_min_ms,
                               int64_t t_max_ms);
