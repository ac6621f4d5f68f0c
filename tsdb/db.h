/*
 * The inside of struct tsdb, shared by the files of this folder.
 *
 * Threads: callers · committer (journal writer, appends to the head) · store thread (store
 * writer, frees head memory). Locks, outermost first: maintain → apply → series → alias shards →
 * index_lock → stripe; leaves (nothing is taken while they are held): queue, metadata,
 * creations, health, damage, ready, defer, env gates, the side's stripes (side.h). Readers take
 * only env gates, and no writer waits for those but to grow a map.
 */
#pragma once

#include "base/hash.h"
#include "base/map.h"
#include "tsdb/env/env.h"
#include "tsdb/head/head.h"
#include "tsdb/head/side.h"
#include "tsdb/head/u64map.h"
#include "tsdb/journal/damage.h"
#include "tsdb/journal/journal.h"
#include "tsdb/journal/ready.h"
#include "tsdb/parts/catalog.h"
#include "tsdb/write/defer.h"

#define FORMAT_VERSION      3
#define FORMAT_KEY          STR("format") /* in table meta: version, directory id */
#define FORMAT_ID_BYTES     16
#define FORMAT_ROW_BYTES    (4 + FORMAT_ID_BYTES)
#define KV_KEY_BYTES_MAX    500
#define METADATA_FAMILY_MAX 100000 /* families kept; more are not remembered */
#define ALIAS_SHARD_COUNT   16
#define JOURNAL_BYTES_SOFT  ((uint64_t)1 << 30) /* above: seal early to trim it */

/* ---- batches ---- */

struct pending_sample {
    series_ref_t ref;
    struct sample sample;
};

struct tsdb_batch {
    struct kv_batch kv; /* first: a kv_batch pointer is a batch pointer */
    struct tsdb *db;
    enum tsdb_class cls;
    struct pending_sample *samples;
    size_t sample_count;
    size_t sample_cap;
    struct buf kv_ops;   /* batch.c */
    struct buf metadata; /* metadata.c */
    struct err invalid;  /* first reason why it cannot be committed */
    /* from tsdb_commit on */
    struct tsdb_batch *next;
    size_t bytes;
    uint8_t *outcomes;
    struct tsdb_commit_result result;
    tsdb_committed_fn done;
    void *ctx;
};

/* Walk the table changes of a batch: *at from 0. False at the end. */
struct kv_op {
    bool is_put;
    enum kv_table table;
    struct str key;
    struct str value;
};

bool batch_next_kv_op(const struct tsdb_batch *batch, size_t *at, struct kv_op *ret);
/* Without asking whether the store takes writes: the commit will tell. */
struct tsdb_batch *batch_create(struct tsdb *db, enum tsdb_class cls);
void batch_destroy(struct tsdb_batch *batch);

/* ---- metadata.c ---- */

struct metadata_table {
    pthread_rwlock_t lock;
    struct map rows; /* family → struct metadata_row; guarded by lock, changed by the committer */
};

struct metadata_row {
    size_t len;
    char bytes[]; /* as in the KV_METADATA row */
};

/* Put the batch's changed rows into the transaction. Returns an LMDB code. */
int metadata_put(struct tsdb *db, MDB_txn *txn, const struct tsdb_batch *batch);
/* After the commit: what metadata_put wrote becomes visible. */
void metadata_publish(struct tsdb *db, const struct tsdb_batch *batch);
WARN_UNUSED bool metadata_load(struct tsdb *db, struct err *err);
void metadata_finish(struct metadata_table *table);

/* ---- kv.c ---- */

/* Rows carry CRC-32C over table, key and value. Return LMDB codes. */
int kv_put_row(const MDB_dbi dbis[KV_TABLE_COUNT],
               MDB_txn *txn,
               enum kv_table table,
               struct str key,
               struct str value);
int kv_del_row(const MDB_dbi dbis[KV_TABLE_COUNT],
               MDB_txn *txn,
               enum kv_table table,
               struct str key);
/* The payload of a row as LMDB gave it; ERR_CORRUPT. */
WARN_UNUSED bool kv_check_row(enum kv_table table,
                              MDB_val key,
                              MDB_val row,
                              struct str *ret,
                              struct err *err);
void kv_store_init(struct tsdb *db);
extern const char *const kv_table_names[KV_TABLE_COUNT];

/* ---- cardinality.c ---- */

#define CREATIONS_METRICS_MAX 10000 /* metrics counted; series of more are not */

/* Series brought into the head since the start, by metric. A leaf lock. */
struct creations {
    pthread_mutex_t lock;
    struct map counts; /* metric name → count as a pointer; guarded by lock */
};

void creations_init(struct creations *creations);
void creations_finish(struct creations *creations);
/* `count` series of one metric. */
void creations_note(struct creations *creations, struct str metric, size_t count);

/* ---- alias.c ---- */

struct alias_entry {
    uint64_t low;
    uint32_t high;   /* low half of alias.high */
    uint32_t handle; /* 0: free */
};

struct alias_shard {
    pthread_rwlock_t lock;
    struct alias_entry *entries;
    uint32_t slot_count;
    uint32_t count;
};

void alias_init(struct tsdb *db);
void alias_finish(struct tsdb *db);
/* Forget aliases of series that left. On the store thread, before their structs are freed. */
void alias_sweep(struct tsdb *db);

/* ---- metrics.c ---- */

struct tsdb_metrics {
    struct metric *samples;
    struct metric *samples_late;
    struct metric *samples_deferred;
    struct metric *deferred_conflicts;
    struct metric *refused[TSDB_OUTCOME_COUNT];
    struct metric *commits;
    struct metric *commit_failures;
    struct metric *commit_seconds;
    struct metric *journal_record_bytes;
    struct metric *throttled;
    struct metric *series;
    struct metric *series_created;
    struct metric *series_refused;        /* at the limit of all series */
    struct metric *series_metric_refused; /* … of one metric */
    struct metric *series_evicted;
    struct metric *chunks_open;
    struct metric *chunks_closed;
    struct metric *side_samples;
    struct metric *side_bytes;
    struct metric *chunks_sealed;
    struct metric *segment_bytes;
    struct metric *maintenance_failures;
    struct metric *windows_deleted;
    struct metric *stale_readers;
    struct metric *merges;
    struct metric *merge_bytes;
    struct metric *merge_seconds;
    struct metric *rollup_rows;
    struct metric *scrub_bytes;
    struct metric *scrub_passes;
    struct metric *journal_bytes;
    struct metric *store_bytes;
    struct metric *pending_bytes;
    struct metric *free_bytes;
    struct metric *is_read_only;
    struct metric *queries_open;
};

void metrics_init(struct tsdb_metrics *metrics, struct metric_registry *registry);
void metrics_refresh(struct tsdb *db); /* the gauges */

/* ---- the store ---- */

struct tsdb {
    char *path;
    const struct clock *clock;
    int64_t retention_ms;         /* of what is kept longest; 0 = for ever */
    int64_t retention_default_ms; /* of series of no class */
    struct tsdb_retention_class retention_classes[TSDB_RETENTION_CLASSES_MAX];
    size_t retention_class_count;
    uint64_t retention_bytes;
    int64_t classes_window; /* up to which classes were applied; under maintain_lock */
    int64_t future_ms_max;
    _Atomic int64_t out_of_order_ms; /* 0 = none; TSDB_OUT_OF_ORDER_ANY */
    uint64_t space_reserve_bytes;
    uint64_t pending_bytes_max;
    uint64_t series_per_metric_max; /* 0 = none */
    bool is_read_only;
    int lock_fd;

    struct env journal;
    MDB_dbi log;
    MDB_dbi kv_dbis[KV_TABLE_COUNT];
    struct store store;
    struct head head;
    struct side side;
    struct metadata_table metadata;
    struct creations creations;
    struct alias_shard aliases[ALIAS_SHARD_COUNT];
    uint8_t alias_secret[HASH_SECRET_BYTES];
    struct kv_store kv;
    struct tsdb_metrics metrics;
    struct damage damage;
    struct ready ready;
    struct defer defer;
    void (*on_conflict)(void *ctx, const char *what); /* may be NULL */
    void *on_conflict_ctx;

    pthread_mutex_t health_lock;
    struct err latched; /* guarded by health_lock; set once */
    _Atomic bool is_latched;
    _Atomic bool is_no_space;

    pthread_mutex_t queue_lock;
    pthread_cond_t queue_cond;
    struct tsdb_batch *queue_first; /* guarded by queue_lock */
    struct tsdb_batch *queue_last;
    bool is_closing; /* guarded by queue_lock */
    _Atomic uint64_t pending_bytes;
    _Atomic uint64_t trim_lsn; /* journal records up to here may go */
    uint64_t trimmed_lsn;      /* committer: … and did */
    struct ship *ship;         /* NULL: the journal is not shipped */
    uint64_t ship_retained_bytes;
    _Atomic uint64_t ship_floor; /* … it is, up to here; UINT64_MAX = do not wait for it */
    struct metric_registry *registry;
    bool has_committer;
    pthread_t committer;

    pthread_mutex_t apply;  /* committer: one group; store thread: eviction */
    uint64_t epoch_bytes;   /* under apply: of journal records since head.epoch_lsn … */
    int64_t epoch_start_ms; /* … which was then */
    _Atomic uint64_t visible_lsn;
    _Atomic int64_t commit_ns_recent; /* how long commits take, written by the committer */
    _Atomic int64_t commit_ns_usual;
    _Atomic uint64_t samples_total;
    _Atomic int64_t t_min_ms;
    _Atomic int64_t t_max_ms;

    int64_t querier_ns_max;

    pthread_mutex_t maintain_lock; /* one maintenance at a time */
    pthread_mutex_t wake_lock;
    pthread_cond_t wake_cond;
    bool is_stopping; /* guarded by wake_lock */
    bool is_woken;    /* guarded by wake_lock */
    bool has_store_thread;
    pthread_t store_thread;
    uint64_t id_floor;            /* ids below were not given out by this process */
    struct u64map left_ids;       /* of those, the ones evicted since; under maintain_lock */
    pthread_rwlock_t series_lock; /* shared: bringing a series in; exclusive: deleting rows */
    bool has_uncovered;           /* late samples were sealed since; under maintain_lock */
    struct merge *merge;          /* the one that runs, or NULL; under maintain_lock */
    bool holds_merges;            /* nothing is merged (tests of what comes before) */
    struct idset unmergeable;     /* places of parts with damage; under maintain_lock */
    int64_t maintained_window;    /* windows before it were indexed; under maintain_lock */
    uint64_t lsn_mark;            /* store thread: visible_lsn at the last mark, a minute apart */
    uint64_t lsn_idle;            /* store thread: … at the one before */
    struct tsdb_rollup rollups[TSDB_ROLLUPS_MAX]; /* immutable */
    size_t rollup_count;
    bool keeps_rollups;
    _Atomic int64_t rolled_from_ms[TSDB_ROLLUPS_MAX]; /* start of the oldest period built */
    _Atomic int64_t rolled_until_ms;                  /* end of the newest */
    bool has_rollups_due;                             /* under maintain_lock */
    int64_t rollup_needs_ms;      /* samples after it are not folded yet; under maintain_lock */
    _Atomic int64_t raw_floor_ms; /* samples before it are gone */
    struct scrub *scrub;          /* NULL: not begun; under maintain_lock */
    bool has_swept;               /* under maintain_lock: the series table, since the start */
};

/* Up to where the journal may go by now: sealed, and shipped if it is shipped at all. */
static inline uint64_t db_trim_target(const struct tsdb *db) {
    uint64_t trim_lsn = db->trim_lsn;
    uint64_t floor = db->ship_floor;
    return trim_lsn < floor ? trim_lsn : floor;
}

/* ---- dir.c ---- */

WARN_UNUSED bool dir_prepare(const char *path, bool is_read_only, struct err *err);
/* Exclusive lock on the directory; *ret_fd stays open as long as it is held. */
WARN_UNUSED bool dir_lock(const char *path, int *ret_fd, struct err *err);
void dir_unlock(int fd);
WARN_UNUSED bool dir_make(const char *path, struct err *err); /* its name is durable */
/* Make the names in a directory durable. */
WARN_UNUSED bool dir_sync(const char *path, struct err *err);
/* Does the environment's directory hold a data file? */
bool dir_has_data(const char *path);
/* Before an environment is opened. Unborn: power may have been lost while it was created, so a file
 * without data is removed. Otherwise such a file, or none, is ERR_CORRUPT. */
WARN_UNUSED bool dir_clear_unborn(const char *path, bool is_unborn, struct err *err);
/* Free bytes for this user; UINT64_MAX when the system does not say. */
uint64_t dir_free_bytes(const char *path);

/* ---- health (tsdb.c) ---- */

/* Stop taking writes until restart. */
void db_latch(struct tsdb *db, const struct err *err);
/* Measure the free space; true when below the reserve. */
bool db_check_space(struct tsdb *db);

/* ---- commit.c ---- */

struct group; /* the committer's working memory */
struct group *group_create(struct tsdb *db);
void group_destroy(struct group *group);
/* Judge, write and publish the list (or, when it is NULL, trim the journal). On the committer
 * thread. */
void group_run(struct group *group, struct tsdb_batch *list);
/* Call back and free every batch of it. */
void group_finish(struct tsdb_batch *list);
/* Count, call back and free a batch whose result is set. */
void batch_finish(struct tsdb_batch *batch);

/* ---- committer.c ---- */

WARN_UNUSED bool committer_start(struct tsdb *db, struct err *err);
void committer_stop(struct tsdb *db); /* after the last batch */
void committer_wake(struct tsdb *db);

/* Widen the range of times stored; used by the committer and by recovery. */
void db_note_time(struct tsdb *db, int64_t t_min_ms, int64_t t_max_ms);

/* ---- recover.c ---- */

/* Was the directory ever completely created? The journal is open. */
WARN_UNUSED bool recover_has_format(struct tsdb *db, bool *ret, struct err *err);
/* Check (or write) the format rows; *block_ms is what the data was written with, if any was. */
WARN_UNUSED bool recover_formats(struct tsdb *db, int64_t *block_ms, struct err *err);
/* Do journal and store belong together? */
WARN_UNUSED bool recover_check(struct tsdb *db, struct err *err);
/*
 * Bring back the head; nothing else uses it meanwhile. Ends with everything in order, and with
 * ready_open() while commits are held up.
 */
WARN_UNUSED bool recover(struct tsdb *db, struct err *err);

/* ---- series.c ---- */

/* The labels must be normalized. Like tsdb_series but never refuses. */
WARN_UNUSED bool db_find_or_load_series(struct tsdb *db,
                                        struct labels labels,
                                        uint64_t hash,
                                        bool is_limited,
                                        series_ref_t *ret,
                                        struct err *err);
/* The series of a ref that head_series() does not know: one that left the head comes back, a
 * provisional one gets the ref it stands for. On the committer. */
WARN_UNUSED bool db_revive(struct tsdb *db, series_ref_t ref, series_ref_t *ret, struct err *err);

/* ---- querier.c ---- */

/* What every open querier sees: the oldest snapshot, visible_lsn when there is none. Queriers that
 * have been open for querier_ns_max are ended first. */
uint64_t db_lsn_safe(struct tsdb *db);

/* ---- maintain.c ---- */

WARN_UNUSED bool store_thread_start(struct tsdb *db, struct err *err);
void store_thread_wake(struct tsdb *db);
void store_thread_stop(struct tsdb *db);
