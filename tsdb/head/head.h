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
 *   epoch    a run of journal records that replay can start at (epoch.h).
 *   entry    an accepted sample between judging and publishing.
 *
 * Invariants
 *   1. Chunks hold durable samples only; the committer alone appends.
 *   2. A reader at snapshot L sees exactly the samples with lsn <= L of an unsealed chunk.
 *   3. A chunk is freed only after the store holds it and every open querier sees all of it.
 *   4. Within a series chunks and windows ascend in time.
 *
 * Locks, in this order: apply (db.h) → index_lock → stripe. They are for those who write:
 * for accepting, bringing series in, sealing, leaving. Readers take none of them and nobody waits
 * for a reader. What they look at is stored and loaded as race.h says, and they look again when it
 * changed meanwhile: the samples of a series have a version (head_begin_change), its labels are
 * good while its id is, the index has a generation.
 * A series struct stays mapped while index_lock is held (shared), or apply, or a slot of the
 * readers.
 */
#pragma once

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tsdb/codec/bytes.h"
#include "tsdb/codec/chunk.h"
#include "tsdb/codec/token.h"
#include "tsdb/head/index.h"
#include "tsdb/head/readers.h"
#include "tsdb/journal/epoch.h"
#include "tsdb/tsdb.h"

#define HEAD_SHARD_COUNT    16
#define HEAD_STRIPE_COUNT   16
#define HEAD_VERSION_COUNT  1024 /* a multiple of 64 * HEAD_STRIPE_COUNT: one writer at a time */
#define HEAD_PAGE_SHIFT     10
#define HEAD_PAGE_SERIES    (1U << HEAD_PAGE_SHIFT)
#define HEAD_PAGE_COUNT_MAX (1U << (32 - HEAD_PAGE_SHIFT))

/* One cache line. */
struct series {
    uint64_t id; /* 0: nobody here (never was, or left); immutable while the ref is valid */

    /* owned by the committer (under apply) */
    _Atomic int64_t t_last_ms; /* newest accepted sample, durable or being committed */
    uint64_t last;             /* … its value, with `exponent`: see token.h */

    /* guarded by the stripe, with a version */
    uint64_t lsn_last;  /* newest commit with samples of this series */
    int64_t t_first_ms; /* oldest sample no window index covers; INT64_MAX = none */
    uint32_t chunks;    /* newest unsealed chunk or 0; its `next` is the oldest (a ring) */
    uint32_t history;   /* see append.c; 0 = none */
    uint32_t fresh;     /* samples of the commit lsn_last */

    uint32_t labels; /* in head->index.labels; immutable like the id */

    /* owned by the committer */
    uint32_t step_ms; /* between the two newest samples; 0 = unknown or larger */
    unsigned exponent : 5;
    bool has_last : 1;
    bool is_defined : 1; /* journal or store knows the labels */
    bool is_pending : 1; /* has samples in the commit that is under way */

    /* owned by the store thread */
    bool is_stored; /* the store has the series row */

    _Atomic uint16_t touched; /* maintenance round of the last look-up (wraps) */
};

static_assert(sizeof(struct series) == 64, "a series fills a cache line");

#define CHUNK_INLINE_BYTES 7

/* Followed by a ring of blocks with the rest of its stream of tokens (token.h). */
struct chunk {
    uint32_t next;  /* the chunk after it; of the newest one: the oldest */
    uint32_t tail;  /* newest block, whose next is the first; 0 = none yet */
    uint32_t epoch; /* of the first sample */
    uint16_t count;
    uint16_t len; /* bytes of the stream */
    int64_t t_first_ms;
    uint8_t flags;
    uint8_t bytes[CHUNK_INLINE_BYTES];
};

#define CHUNK_OPEN  UINT8_C(1)
#define CHUNK_RUN   UINT8_C(2) /* the last byte is a run that may grow */
#define CHUNK_SHORT UINT8_C(4) /* cut early, see append.c */

static inline bool chunk_is_open(const struct chunk *chunk) {
    return (chunk->flags & CHUNK_OPEN) != 0;
}

/* What a stream can grow to: a chunk is closed when one more sample might not fit. */
#define CHUNK_STREAM_BYTES_MAX 288

/* Of the table of series; many, so that growing one does not take long. Under index_lock. */
struct head_shard {
    uint64_t *slots; /* high half of the hash above the handle; 0 = free */
    uint32_t slot_count;
    uint32_t count;
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

    struct readers readers;

    struct epochs epochs;
    uint32_t epoch;     /* the newest, which commits belong to; under apply */
    uint64_t epoch_lsn; /* its first record */

    pthread_rwlock_t index_lock;
    struct head_shard shards[HEAD_SHARD_COUNT]; /* guarded by index_lock */
    struct index index;                         /* guarded by index_lock */
    struct head_stripe stripes[HEAD_STRIPE_COUNT];
    uint32_t versions[HEAD_VERSION_COUNT]; /* by handle; odd while samples change */
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
    series_ref_t ref; /* head_find_all(), head_insert_all() */
    uint64_t id;      /* 0: give it a new one */
    bool is_defined;
    bool is_stored;
    bool has_last;
    int64_t t_last_ms;
    uint64_t value_last_bits;
    int64_t t_first_ms; /* oldest sample no window index covers; INT64_MAX = none */
};

/* head_find() for many: sets hash and ref. */
void head_find_all(struct head *head, struct head_newcomer *newcomers, size_t count);

/* Insert unless another thread just did; the ref either way. */
series_ref_t head_insert(struct head *head, const struct head_newcomer *newcomer);
/* The same for those whose ref is 0. They are few: nobody else gets at the index meanwhile. */
void head_insert_all(struct head *head, struct head_newcomer *newcomers, size_t count);

/* NULL when the series left the head (or never was). See "Locks" for how long it stays mapped. */
struct series *head_series(struct head *head, series_ref_t ref);
struct series *head_at(struct head *head, uint32_t handle);

/* The struct will be looked at soon. */
static inline void head_prefetch(struct head *head, uint32_t handle) {
    struct series *page =
        atomic_load_explicit(&head->pages[handle >> HEAD_PAGE_SHIFT], memory_order_relaxed);
    if (page != NULL) {
        __builtin_prefetch(&page[handle & (HEAD_PAGE_SERIES - 1)], 1);
    }
}

/* The full id behind a ref whose series left. */
uint64_t head_ref_id(struct head *head, series_ref_t ref);

static inline int64_t head_window(const struct head *head, int64_t t_ms) {
    return i64_floor_div(t_ms, head->block_ms);
}

/*
 * Take a series out if may_leave() says so (called with the series' locks held; must not call
 * back). The caller holds apply. Its pairs stay until index_drop_pairs().
 */
bool head_evict(struct head *head,
                uint32_t handle,
                bool (*may_leave)(void *ctx, struct series *series, uint32_t handle),
                void *ctx);
/* Give back a page of structs if it can get no more series and has none left. The caller holds
 * apply. */
void head_free_page(struct head *head, uint32_t number);

/* ---- samples: accepting (accept.c) ---- */

/* An accepted sample: what its series was before, and what publishing needs. */
struct head_entry {
    struct series *series;
    int64_t t_ms;
    int64_t t_before_ms;
    uint64_t last; /* token state after the sample */
    uint64_t last_before;
    uint32_t handle;
    uint32_t step_before_ms;
    uint8_t exponent;
    uint8_t exponent_before;
    bool had_last;
    bool was_defined;
    bool was_pending;
    bool is_late; /* goes to the side (side.h); no token */
    uint8_t token_len;
    uint8_t token[TOKEN_BYTES_MAX];
};

/* Bits of the newest accepted value; series->has_last is set. */
uint64_t series_last_bits(const struct series *series);
/* What is known of the newest sample from elsewhere: the store, or the journal. */
void series_set_last(struct series *series, int64_t t_ms, uint64_t value_bits);

/*
 * The series takes a sample newer than its newest: its state moves, and *ret holds the step as a
 * token: absolute when the series has no sample in the current epoch yet. head_undo() takes it
 * back, newest first. The caller holds apply.
 */
void head_accept(struct head *head,
                 struct series *series,
                 uint32_t handle,
                 struct sample sample,
                 struct head_entry *ret);
/* The same for one that is older: nothing of the series moves. */
void head_accept_late(struct series *series,
                      uint32_t handle,
                      struct sample sample,
                      struct head_entry *ret);
void head_undo(const struct head_entry *entry);
struct sample head_entry_sample(const struct head_entry *entry);

/* A new epoch starts with the record `lsn`. The caller holds apply. */
void head_begin_epoch(struct head *head, uint64_t lsn);

/* ---- samples (append.c) ---- */

/* Around a change of what readers look at of a series' samples. The stripe is locked. */
static inline uint32_t *head_version(struct head *head, uint32_t handle) {
    return &head->versions[handle % HEAD_VERSION_COUNT];
}

static inline void head_begin_change(struct head *head, uint32_t handle) {
    uint32_t *version = head_version(head, handle);
    RACE_STORE(version, *version + 1);
}

static inline void head_end_change(struct head *head, uint32_t handle) {
    head_begin_change(head, handle);
}

static inline struct head_stripe *head_stripe(struct head *head, uint32_t handle) {
    return &head->stripes[(handle >> 6) % HEAD_STRIPE_COUNT];
}

/*
 * Publish a durable sample (invariant 1), in the order of acceptance. The stripe is locked.
 * `snapshots` are those of the open queriers (NULL: none): where they end is remembered. One that
 * is opened later ends behind every earlier commit.
 */
void head_append_locked(struct head *head,
                        const struct head_entry *entry,
                        uint64_t lsn,
                        const struct snapshots *snapshots);

struct head_read {
    uint32_t handle; /* the readers' slot is open */
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
 * read->handle and id are not looked at. Any reader, or the stripe is locked. */
bool head_has_in_range(struct head *head,
                       uint32_t handle,
                       const struct series *series,
                       const struct head_read *read);

/* The oldest unsealed chunk or NULL; the one after it, or NULL. The stripe is locked. */
const struct chunk *head_oldest_locked(struct head *head,
                                       uint32_t handle,
                                       const struct series *series);
const struct chunk *head_next_locked(struct head *head,
                                     uint32_t handle,
                                     const struct series *series,
                                     const struct chunk *chunk);
/* How many unsealed samples a reader at `lsn` sees. Any reader, or the stripe is locked. */
uint64_t head_visible(struct head *head,
                      uint32_t handle,
                      const struct series *series,
                      uint64_t lsn);
/* The chunk's stream; `out` has room for CHUNK_STREAM_BYTES_MAX. The stripe is locked. */
void head_copy_stream_locked(struct head *head,
                             uint32_t handle,
                             const struct chunk *chunk,
                             uint8_t *out);
/* Close the newest chunk. The stripe is locked. */
void head_close_chunk_locked(struct head *head, uint32_t handle, struct series *series);
/* Free the oldest chunk, a closed one (invariant 3 is the caller's). The stripe is locked. */
void head_drop_oldest_locked(struct head *head, uint32_t handle, struct series *series);

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
