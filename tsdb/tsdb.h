/*
 * The embedded time-series store: samples and small transactional tables in two LMDB environments.
 *
 *   write   tsdb_batch_begin → tsdb_series → tsdb_batch_append … → tsdb_commit
 *   read    tsdb_querier_open → tsdb_select → tsdb_read (a column per series) → tsdb_querier_close
 *
 * Promises
 *   1. A commit reported as done is on disk (fsynced): samples and table changes, all or nothing
 *      towards a crash, in one step towards readers.
 *   2. No sample is visible to a querier before it is durable (the caller's own overlay excepted).
 *   3. A series has one sample per time; a sample that repeats (time, value) is a no-op, wherever
 *      the first one is. Samples may come out of order within out_of_order_ms.
 *   4. One process per data directory; a second one is refused naming the holder.
 *
 * Time is int64 Unix milliseconds; ranges are inclusive on both ends. Values keep every bit
 * (NaN payloads, the stale marker, -0).
 * Threads: any, for every function, unless stated. A batch or querier has one user at a time.
 */
#pragma once

#include "base/clock.h"
#include "base/kv.h"
#include "base/metric.h"
#include "model/model.h"

struct tsdb;
struct tsdb_batch;
struct tsdb_querier;

/* ---- life ---- */

/* A resolution to keep rollups at, for how long. */
struct tsdb_rollup {
    int64_t resolution_ms; /* divides a day and block_ms, at least TSDB_ROLLUP_RESOLUTION_MS_MIN */
    int64_t retention_ms;  /* 0 = for ever */
};

/* Series that are kept longer or shorter than the others; the first class that matches counts. */
struct tsdb_retention_class {
    const struct matcher *matchers; /* borrowed as long as the store is open */
    size_t matcher_count;
    int64_t retention_ms; /* 0 = for ever */
};

#define TSDB_RETENTION_CLASSES_MAX    16
#define TSDB_ROLLUPS_MAX              4
#define TSDB_ROLLUP_RESOLUTION_MS_MIN INT64_C(60000)

#define TSDB_OUT_OF_ORDER_NONE INT64_C(-1) /* every older sample is refused */
#define TSDB_OUT_OF_ORDER_ANY  INT64_MAX

struct tsdb_options {
    const char *path;                /* data directory, created (0750) when missing */
    const struct clock *clock;       /* retention, future bound; NULL = clock_system() */
    struct metric_registry *metrics; /* NULL = none */
    int64_t retention_ms;            /* older data is dropped; 0 = keep for ever */
    int64_t future_ms_max;           /* samples further ahead of the clock are refused; 0 = none */
    int64_t out_of_order_ms; /* how much older than the newest of its series a sample may be; 0 =
                                1 h, TSDB_OUT_OF_ORDER_NONE, TSDB_OUT_OF_ORDER_ANY */
    uint64_t series_max;     /* active series; 0 = 10,000,000 */
    uint64_t series_per_metric_max; /* … of one metric name; 0 = none */
    uint64_t space_reserve_bytes;   /* less free disk: ingest gets ERR_NO_SPACE; 0 = 64 MiB */
    uint64_t pending_bytes_max;     /* uncommitted batches before ERR_THROTTLED; 0 = 64 MiB */
    int64_t block_ms;               /* width of a head/segment window; 0 = 2 h */
    int64_t querier_ms_max;         /* a querier open for longer may be ended; 0 = 2 min */
    uint64_t retention_bytes;       /* of all tables; above it the oldest parts go; 0 = no limit */
    struct tsdb_retention_class retention_classes[TSDB_RETENTION_CLASSES_MAX];
    size_t retention_class_count;
    struct tsdb_rollup rollups[TSDB_ROLLUPS_MAX]; /* finest first */
    size_t rollup_count;
    bool keeps_rollups;           /* those of other resolutions are not dropped (tools) */
    const char *ship_dir;         /* the journal is shipped there as well; NULL = not */
    uint64_t ship_retained_bytes; /* journal kept for a ship_dir that fails; 0 = 512 MiB */
    bool is_read_only;            /* for offline tools: no lock taken, no recovery written */
    /* Told what is damaged on disk, once per place, in words for the operator. On any thread; must
     * not call back. NULL = nobody. */
    void (*on_damage)(void *ctx, const char *what);
    void *on_damage_ctx;
    /* Told of samples committed during the replay that are not kept (tsdb_open), in words for the
     * operator; of the first few. As on_damage. */
    void (*on_conflict)(void *ctx, const char *what);
    void *on_conflict_ctx;
    /* Told of every journal record before it is replayed, but for the last few, which nobody can
     * commit beside; tests hold the replay up so. */
    void (*on_replay)(void *ctx, uint64_t lsn);
    void *on_replay_ctx;
};

/*
 * Open or create; recovers what a crash left, in the background. Tables (tsdb_kv) and writing work
 * at once, while queriers wait for the journal to be replayed (at most 30 s, then ERR_UNAVAILABLE).
 * Damage is left out and told (on_damage).
 *
 * A commit during the replay is as durable as any, but its samples are judged when the replay comes
 * to them: all are TSDB_ACCEPTED unless too old or too new, and stay so: repeated ones change
 * nothing, late ones are taken however late, limits of series do not apply; where a time has
 * another value already, that one stays, and the conflict is counted and told (on_conflict).
 * Errors: ERR_UNAVAILABLE (in use: message names the pid), ERR_CORRUPT, ERR_IO, ERR_NO_SPACE,
 * ERR_INVALID (newer format, network file system).
 */
WARN_UNUSED bool tsdb_open(const struct tsdb_options *options, struct tsdb **ret, struct err *err);
/* What tsdb_options.out_of_order_ms says, for what is committed from now on. */
void tsdb_set_out_of_order(struct tsdb *db, int64_t out_of_order_ms);

struct tsdb_replay { /* journal records; as they were counted at the opening */
    uint64_t lsn_first;
    uint64_t lsn_last;
    uint64_t lsn_now;
};

/* Is the journal being replayed? *ret either way. */
bool tsdb_is_replaying(struct tsdb *db, struct tsdb_replay *ret);
/* Wait until the journal is replayed, however long it takes. False: why it could not be. */
WARN_UNUSED bool tsdb_wait_ready(struct tsdb *db, struct err *err);
/* Commits what is pending, joins the threads. No batch or querier may be open. NULL ok. */
void tsdb_close(struct tsdb *db);

/* False with the reason while the store cannot take writes: disk
 * reserve reached (ERR_NO_SPACE, recovers by itself), first sync error (ERR_IO, latched until
 * restart). */
WARN_UNUSED bool tsdb_health(struct tsdb *db, struct err *err);

/* False with the reason while the journal cannot be shipped. Writes go on. */
WARN_UNUSED bool tsdb_ship_health(struct tsdb *db, struct err *err);

/* ---- write ---- */

enum tsdb_class {
    TSDB_INGEST, /* refused under pressure and below the disk reserve */
    TSDB_STATE,  /* rules and notifications: goes on into the reserve */
};

enum tsdb_outcome {
    TSDB_ACCEPTED,
    TSDB_DUPLICATE,    /* same time, same value bits: nothing to do, counts as written */
    TSDB_CONFLICT,     /* same time, other value */
    TSDB_OUT_OF_ORDER, /* more than out_of_order_ms older than the newest of the series */
    TSDB_TOO_OLD,      /* before the retention */
    TSDB_TOO_NEW,      /* beyond future_ms_max */
    TSDB_OUTCOME_COUNT,
};

const char *tsdb_outcome_to_string(enum tsdb_outcome outcome); /* "out of order sample" … */

/* ERR_THROTTLED (pending_bytes_max, too many out-of-order samples unsealed), ERR_NO_SPACE, ERR_IO
 * (latched), ERR_UNAVAILABLE (closing). */
WARN_UNUSED bool tsdb_batch_begin(struct tsdb *db,
                                  enum tsdb_class cls,
                                  struct tsdb_batch **ret,
                                  struct err *err);
void tsdb_batch_abandon(struct tsdb_batch *batch); /* NULL ok */

/* A series as known to this process. Never reused while the process lives; not for disk. */
typedef uint64_t series_ref_t;

/*
 * Find or create the series with exactly these labels (normalized: see labels_normalize).
 * Errors: ERR_THROTTLED when series_max or series_per_metric_max is reached (names the metric and
 * the limit; several threads at once may pass it by one each); existing series go on.
 * ERR_UNAVAILABLE when too much is new while the journal is replayed.
 * A ref got while the journal is replayed stays valid, but may differ from one got later.
 */
WARN_UNUSED bool tsdb_series(struct tsdb *db,
                             struct labels labels,
                             series_ref_t *ret,
                             struct err *err);

/* The same for many, much cheaper each: 0 where that needs tsdb_series() to be asked, which knows
 * why. */
void tsdb_series_all(struct tsdb *db, const struct labels *labels, size_t count, series_ref_t *ret);

/*
 * Shortcut for hot doors: remember the series under a keyed 128-bit hash of its bytes as they came
 * over the wire, so that labels are parsed once. tsdb_alias_hash keys with a per-process secret.
 */
struct tsdb_alias {
    uint64_t low;
    uint64_t high;
};
struct tsdb_alias tsdb_alias_hash(struct tsdb *db, struct str wire_bytes);
bool tsdb_alias_get(struct tsdb *db, struct tsdb_alias alias, series_ref_t *ret);
/* Many at once, much cheaper each: ret[i] is 0 where the alias is not known. */
void tsdb_alias_get_all(struct tsdb *db,
                        const struct tsdb_alias *aliases,
                        size_t count,
                        series_ref_t *ret);
void tsdb_alias_put(struct tsdb *db, struct tsdb_alias alias, series_ref_t ref);
/* Those with a ref that is not 0. */
void tsdb_alias_put_all(struct tsdb *db,
                        const struct tsdb_alias *aliases,
                        const series_ref_t *refs,
                        size_t count);

/* Add a sample; its verdict comes with the commit, by append order (0, 1, …). */
void tsdb_batch_append(struct tsdb_batch *batch, series_ref_t ref, int64_t t_ms, double value);
size_t tsdb_batch_sample_count(const struct tsdb_batch *batch);

/* Table changes that become durable together with the samples. */
struct kv_batch *tsdb_batch_kv(struct tsdb_batch *batch);

/* Type, help, unit of a metric family; written only when it changed. */
void tsdb_batch_metadata(struct tsdb_batch *batch,
                         struct str family,
                         const struct family_metadata *metadata);

struct tsdb_commit_result {
    bool is_durable; /* false: nothing of the batch was or will be stored */
    struct err err;  /* why, when not durable */
    size_t counts[TSDB_OUTCOME_COUNT];
    const uint8_t *outcomes; /* enum tsdb_outcome per sample; valid during the callback */
    size_t sample_count;
};

/* Called on the committer thread; must not block or call tsdb_commit_blocking. */
typedef void (*tsdb_committed_fn)(void *ctx, const struct tsdb_commit_result *result);

/* Hand the batch over (taken in any case). Valid samples are stored even if others are refused. */
void tsdb_commit(struct tsdb_batch *batch, tsdb_committed_fn done, void *ctx);

/* The same, waiting. True when durable; ret_result (NULL ok) gets counts, outcomes = NULL. */
WARN_UNUSED bool tsdb_commit_blocking(struct tsdb_batch *batch,
                                      struct tsdb_commit_result *ret_result,
                                      struct err *err);

/* The tables, for reading and for batches without samples. Lives as long as db. */
struct kv_store *tsdb_kv(struct tsdb *db);

/* ---- read ---- */

/*
 * A consistent snapshot of everything durable at this moment, however many commits follow.
 * `overlay` (may be NULL) is an open batch of the same thread whose samples this querier shall also
 * see; it must outlive the querier and may grow meanwhile.
 *
 * No write, no new series, no maintenance ever waits for a reader. The journal keeps what an open
 * querier must not see sealed yet, so one that has been open for longer than querier_ms_max is
 * ended when that is in the way: from then on its functions fail with ERR_TIMEOUT.
 * Errors: ERR_UNAVAILABLE (replaying), ERR_THROTTLED (320 queriers are open).
 */
WARN_UNUSED bool tsdb_querier_open(struct tsdb *db,
                                   int64_t t_min_ms,
                                   int64_t t_max_ms,
                                   const struct tsdb_batch *overlay,
                                   struct tsdb_querier **ret,
                                   struct err *err);
void tsdb_querier_close(struct tsdb_querier *querier); /* NULL ok */

/*
 * What damage on disk kept out of this querier's answers so far, one text per damaged place (at
 * most TSDB_WARNINGS_MAX; the last one then says that there is more). Valid until the close.
 */
#define TSDB_WARNINGS_MAX 10
size_t tsdb_querier_warning_count(const struct tsdb_querier *querier);
const char *tsdb_querier_warning(const struct tsdb_querier *querier, size_t number);

struct tsdb_series_view {
    struct labels labels; /* valid until the querier closes or `arena` is reset */
    uint64_t id;          /* opaque, for tsdb_read of the same querier */
};

/*
 * Series that match all matchers and may have samples in the querier's range, sorted by labels.
 * At least one matcher must not match the empty value (ERR_INVALID otherwise), unless count is 0,
 * which selects every series.
 * Damaged index rows and series are left out and warned of (tsdb_querier_warning).
 * Ownership: *ret lives in `arena`. Errors: ERR_LIMIT (arena budget), ERR_CORRUPT, ERR_IO.
 */
WARN_UNUSED bool tsdb_select(struct tsdb_querier *querier,
                             const struct matcher *matchers,
                             size_t matcher_count,
                             struct arena *arena,
                             struct tsdb_series_view **ret,
                             size_t *ret_count,
                             struct err *err);

/* Decoded samples of one series, reused from series to series. Init with {0}. */
struct tsdb_column {
    int64_t *t_ms;
    double *values;
    size_t count;
    size_t cap; /* private */
};

void tsdb_column_finish(struct tsdb_column *column);
/* Make room for `more` samples behind the present ones. */
void tsdb_column_reserve(struct tsdb_column *column, size_t more);

/* Samples with t_min_ms <= t <= t_max_ms (clipped to the querier's range), ascending; stale
 * markers included. Damaged chunks are left out and warned of, naming series and time. Errors:
 * ERR_IO. */
WARN_UNUSED bool tsdb_read(struct tsdb_querier *querier,
                           uint64_t id,
                           int64_t t_min_ms,
                           int64_t t_max_ms,
                           struct tsdb_column *column,
                           struct err *err);

/*
 * What the samples of (t_ms - resolution, t_ms] come to: enough to answer for them whenever a
 * window consists of whole buckets. Stale markers count for nothing but ends_stale.
 */
struct tsdb_bucket {
    int64_t t_ms;       /* the end, a multiple of the resolution */
    uint64_t count;     /* samples; 0 in a bucket of stale markers: the values mean nothing */
    int64_t t_first_ms; /* first and last sample */
    int64_t t_last_ms;
    double first;
    double last;
    double sum; /* compensated */
    double min; /* NaN only when there is nothing else */
    double max;
    double lost;     /* by a counter: the sum of the values before each fall inside the bucket */
    bool ends_stale; /* a stale marker follows the last sample */
};

struct tsdb_buckets {
    struct tsdb_bucket *items;
    size_t count;
    size_t cap; /* private */
};

void tsdb_buckets_finish(struct tsdb_buckets *buckets);

/* The resolutions kept, finest first; lives as long as db. */
const struct tsdb_rollup *tsdb_rollups(const struct tsdb *db, size_t *ret_count);
/* Samples before this time are gone (retention), though rollups of them may be there; INT64_MIN =
 * none are gone. */
int64_t tsdb_raw_floor_ms(const struct tsdb *db);
/* From where on there are rollups of the index'th resolution; INT64_MAX = nowhere. */
int64_t tsdb_rolled_from_ms(const struct tsdb *db, size_t index);
/* Nothing is rolled up after it; INT64_MIN = nothing at all. */
int64_t tsdb_rolled_until_ms(const struct tsdb *db);

/*
 * The buckets of one series that end in [t_first_ms, t_last_ms], both multiples of resolution_ms
 * (one of tsdb_rollups), ascending, empty ones left out: from rollups where they are built, from
 * samples elsewhere, so that the result is always the same but for samples that retention took.
 * Errors: as tsdb_read.
 */
WARN_UNUSED bool tsdb_read_buckets(struct tsdb_querier *querier,
                                   uint64_t id,
                                   int64_t resolution_ms,
                                   int64_t t_first_ms,
                                   int64_t t_last_ms,
                                   struct tsdb_buckets *buckets,
                                   struct err *err);

/* Sorted, unique; with matchers restricted to matching series. */
WARN_UNUSED bool tsdb_label_names(struct tsdb_querier *querier,
                                  const struct matcher *matchers,
                                  size_t matcher_count,
                                  struct arena *arena,
                                  struct str **ret,
                                  size_t *ret_count,
                                  struct err *err);
WARN_UNUSED bool tsdb_label_values(struct tsdb_querier *querier,
                                   struct str name,
                                   const struct matcher *matchers,
                                   size_t matcher_count,
                                   struct arena *arena,
                                   struct str **ret,
                                   size_t *ret_count,
                                   struct err *err);

/* Calls visit for every known family (family = empty) or one, in name order. */
void tsdb_metadata(struct tsdb *db,
                   struct str family,
                   void (*visit)(void *ctx,
                                 struct str family,
                                 const struct family_metadata *metadata),
                   void *ctx);

/* ---- facts ---- */

struct tsdb_stats {
    uint64_t series_count;  /* in the head */
    uint64_t samples_total; /* accepted since start */
    uint64_t chunk_count;   /* open chunks in the head */
    int64_t t_min_ms;       /* oldest sample stored; INT64_MAX when empty */
    int64_t t_max_ms;       /* newest; INT64_MIN when empty */
    uint64_t journal_bytes;
    uint64_t store_bytes;
    uint64_t pending_bytes;
    uint64_t damage_count; /* damaged rows met since the start */
};

void tsdb_stats(struct tsdb *db, struct tsdb_stats *ret);

/* Heap memory of the head, by what it is for. Takes a look at every label pair. */
struct tsdb_memory {
    uint64_t series_bytes;
    uint64_t table_bytes;   /* labels → series */
    uint64_t label_bytes;   /* which pairs a series has */
    uint64_t posting_bytes; /* which series a pair has */
    uint64_t symbol_bytes;  /* strings, pairs and their tables */
    uint64_t chunk_bytes;   /* samples not sealed yet */
    uint64_t chunk_free_bytes;
    uint64_t alias_bytes; /* wire bytes → series */
};

void tsdb_memory(struct tsdb *db, struct tsdb_memory *ret);

/* A window of the store: what is sealed; the head holds the rest. */
struct tsdb_window {
    int64_t start_ms; /* first and last instant that belong to it */
    int64_t end_ms;
    int64_t t_min_ms; /* of its samples */
    int64_t t_max_ms;
    uint64_t series_count;
    uint64_t sample_count;
    uint64_t chunk_count;
    uint64_t segment_bytes;
    uint64_t row_bytes;   /* chunk references, one row per series */
    uint64_t index_bytes; /* postings */
};

/* The store's windows, ascending; *ret lives in `arena`. With `with_tables` the rows and postings
 * are measured too, which reads all of their keys. Errors: ERR_CORRUPT, ERR_IO. */
WARN_UNUSED bool tsdb_windows(struct tsdb *db,
                              bool with_tables,
                              struct arena *arena,
                              struct tsdb_window **ret,
                              size_t *ret_count,
                              struct err *err);

struct tsdb_count {
    struct str name;
    uint64_t count;
};

struct tsdb_count_list { /* largest first, then by name */
    struct tsdb_count *items;
    size_t count;
};

/* What the series of the head (the active ones) are made of. */
struct tsdb_cardinality {
    uint64_t series_count;
    uint64_t pair_count;
    uint64_t name_count;
    uint64_t created_total; /* series since the start */
    uint64_t left_total;
    struct tsdb_count_list series_by_metric;
    struct tsdb_count_list values_by_label;
    struct tsdb_count_list bytes_by_label;    /* of values, once per series */
    struct tsdb_count_list series_by_pair;    /* "name=value" */
    struct tsdb_count_list created_by_metric; /* since the start, of the first 10,000 metrics */
};

/* The first `limit` of each list; everything lives in `arena`. Cost: one pass over the distinct
 * label pairs, in slices that hold up nobody for long. */
void tsdb_cardinality(struct tsdb *db,
                      size_t limit,
                      struct arena *arena,
                      struct tsdb_cardinality *ret);

/* Seal everything sealable up to now and apply retention, as the background work would; for tests
 * and offline tools. */
WARN_UNUSED bool tsdb_maintain_blocking(struct tsdb *db, struct err *err);
/* The same for all that was committed so far, open chunks included, so that hardly a journal is
 * left: before a directory is copied, after a backfill. ERR_UNAVAILABLE: a query that was open
 * before goes on for longer than 30 s. */
WARN_UNUSED bool tsdb_compact_blocking(struct tsdb *db, struct err *err);

/* Check every row that is on the disk, as the background does in its time (half a MiB per second);
 * damage is told and counted as when a query meets it. Blocks. */
void tsdb_scrub_blocking(struct tsdb *db);

/* ---- backups (docs/backup.md) ---- */

enum tsdb_backup_file {
    TSDB_BACKUP_JOURNAL,
    TSDB_BACKUP_STORE,
    TSDB_BACKUP_FILE_COUNT,
};

/* "journal/data.mdb", as in a data directory. */
const char *tsdb_backup_file_name(enum tsdb_backup_file file);

/* What the manifest of a backup says. Numbers have 64 bits: manifest.c. */
struct tsdb_backup_info {
    char tool[32];
    char directory_id[33]; /* hex */
    int64_t data_format;
    int64_t created_ms;     /* the moment whose state it holds */
    int64_t last_commit_ms; /* of the newest journal record; 0 = none */
    uint64_t lsn_first;     /* journal records it holds; 0 = none */
    uint64_t lsn_last;
    uint64_t applied_lsn;
    uint64_t series_count; /* this and the next: sealed */
    uint64_t window_count;
    uint64_t segment_count;
    uint64_t chunk_count;
    uint64_t sample_count;
    uint64_t kv_row_count;
    bool is_head_skipped;

    struct {
        uint64_t bytes;
        char sha256[65];
    } files[TSDB_BACKUP_FILE_COUNT];

    int64_t verified_ms; /* 0 = not yet (not part of the manifest) */
};

struct tsdb_backup_options {
    const char *path;          /* data directory; may be in use by a running process */
    const char *target;        /* directory to make; NULL = a tar stream to fd */
    int fd;                    /* stays the caller's */
    bool skip_head;            /* without the journal's samples; not to a stream */
    uint64_t growth_bytes_max; /* give up when the store grew by more meanwhile; 0 = a quarter of
                                  its size, at least 1 GiB */
    const struct clock *clock; /* NULL = clock_system() */
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t all_bytes); /* NULL ok */
    void *ctx;
};

/*
 * Copy a data directory as of one moment. The target appears at once and whole, or not at all.
 * Not for a directory this very process has open: LMDB's locks are per process.
 * Errors: ERR_INVALID (target exists), ERR_UNAVAILABLE, ERR_LIMIT (growth), ERR_CORRUPT, ERR_IO,
 * ERR_NO_SPACE. Blocks.
 */
WARN_UNUSED bool tsdb_backup(const struct tsdb_backup_options *options,
                             struct tsdb_backup_info *ret,
                             struct err *err);

/* The manifest of a backup directory. ERR_NOT_FOUND when there is none: not (wholly) a backup. */
WARN_UNUSED bool tsdb_backup_read(const char *path, struct tsdb_backup_info *ret, struct err *err);
/* Sizes and SHA-256 of its files against the manifest. ERR_CORRUPT names the file. */
WARN_UNUSED bool tsdb_backup_check(const char *path, struct tsdb_backup_info *ret, struct err *err);
/* Note in the directory that the backup was found whole; void when the manifest changes. */
WARN_UNUSED bool tsdb_backup_mark_verified(const char *path, int64_t now_ms, struct err *err);

struct tsdb_restore_options {
    const char *backup; /* backup directory; NULL = a tar stream from fd */
    int fd;
    const char *into;     /* becomes a data directory: must be absent or empty */
    bool is_forced;       /* what is at `into` is moved aside to "<into>.before-<ms>" */
    const char *ship_dir; /* shipped journal to add; NULL = none */
    int64_t until_ms;     /* … of commits up to here, inclusive; INT64_MAX = all */
    /* Change the tables before the directory is handed over; NULL = not. */
    bool (*settle)(void *ctx, struct kv_store *kv, struct err *err);
    void *settle_ctx;
    const struct clock *clock; /* NULL = clock_system() */
};

struct tsdb_restore_result {
    struct tsdb_backup_info info; /* of the backup */
    uint64_t record_count;        /* shipped journal records added */
    uint64_t change_count;        /* shipped changes of state tables */
    bool is_at_end;               /* the shipped journal ended before until_ms */
    uint64_t lsn_last;            /* the journal ends here */
    int64_t last_commit_ms;       /* its newest commit; 0 = none */
    char moved_to[256];           /* where what was there is now, or "" */
};

/*
 * Make a data directory out of a backup: checks every checksum, gives the directory an id of its
 * own, and shows it under its name at once and whole or not at all. Errors: ERR_INVALID (not empty,
 * in use, a backup of after until_ms), ERR_CORRUPT names the file, ERR_NOT_FOUND (shipped records
 * missing), ERR_IO, ERR_NO_SPACE. Blocks.
 */
WARN_UNUSED bool tsdb_restore(const struct tsdb_restore_options *options,
                              struct tsdb_restore_result *ret,
                              struct err *err);

struct tsdb_backup_entry {
    char *name;    /* in the directory */
    bool is_whole; /* has a good manifest; else `fault` says why not */
    struct tsdb_backup_info info;
    struct err fault;
};

/* The backups in a directory of backups, oldest first; what is no backup at all is left out.
 * *ret: tsdb_backup_list_free. */
WARN_UNUSED bool tsdb_backup_list(const char *path,
                                  struct tsdb_backup_entry **ret,
                                  size_t *ret_count,
                                  struct err *err);
void tsdb_backup_list_free(struct tsdb_backup_entry *entries, size_t count);

/*
 * Which of them may go: older than keep_ms, but never the newest whole one nor the newest verified
 * one. `entries` as listed; sets ret_is_expired[i].
 */
void tsdb_backup_expire(const struct tsdb_backup_entry *entries,
                        size_t count,
                        int64_t now_ms,
                        int64_t keep_ms,
                        bool *ret_is_expired);
/* Remove a backup directory: its manifest first, so that half of it is no backup. */
WARN_UNUSED bool tsdb_backup_remove(const char *path, struct err *err);

/* Remove shipped files that a backup ending with journal record `lsn`, and every later one, can do
 * without. Nothing there is fine. */
WARN_UNUSED bool tsdb_ship_expire(const char *ship_dir,
                                  const char *directory_id,
                                  uint64_t lsn,
                                  struct err *err);

/* ---- checking a directory ---- */

struct tsdb_verify_totals {
    uint64_t table_rows;      /* of the state tables */
    uint64_t journal_records; /* not yet sealed */
    uint64_t journal_samples;
    uint64_t series;
    uint64_t windows;
    uint64_t rows;
    uint64_t segments;
    uint64_t chunks;
    uint64_t samples; /* sealed */
    uint64_t problems;
};

struct tsdb_verify_visitor {
    /* "store: table rows": what is read from here on; for naming the place of a crash. */
    void (*place)(void *ctx, const char *place);
    void (*problem)(void *ctx, const char *place, const char *what);
    void *ctx;
};

/*
 * Read everything in a data directory, also beside another process that has it open (not beside
 * this one: LMDB takes an environment once per process): every checksum, every chunk decoded, every
 * reference between rows, segments, index and series. Changes nothing.
 * True when it could be checked: ret->problems says with what result. Errors (nothing to check, not
 * readable, a newer format): ERR_NOT_FOUND, ERR_INVALID, ERR_IO.
 * A file that is shorter than it should be kills the process by SIGBUS: call this in a process of
 * its own (tocsin verify does).
 */
WARN_UNUSED bool tsdb_verify(const char *path,
                             const struct tsdb_verify_visitor *visitor,
                             struct tsdb_verify_totals *ret,
                             struct err *err);

/* ---- deleting ---- */

struct tsdb_deleted {
    uint64_t series_count; /* that matched */
    uint64_t sample_count;
};

/*
 * Delete the samples of matching series in [t_min_ms, t_max_ms] that are committed when it is
 * called: samples, index entries and rollups (buckets whose samples are there are made anew).
 * Blocks until all is gone from every table; a failure or crash on the way leaves a part of it
 * done, and a repetition finishes. A backup or shipped journal made before still has them.
 * Errors: ERR_INVALID (no selective matcher), ERR_UNAVAILABLE (a query that was open before did not
 * end in 30 s), ERR_IO, ERR_NO_SPACE, ERR_CORRUPT (a damaged part cannot be rewritten).
 */
WARN_UNUSED bool tsdb_delete_blocking(struct tsdb *db,
                                      const struct matcher *matchers,
                                      size_t matcher_count,
                                      int64_t t_min_ms,
                                      int64_t t_max_ms,
                                      struct tsdb_deleted *ret,
                                      struct err *err);
