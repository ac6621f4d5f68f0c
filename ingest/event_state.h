/*
 * The durable state behind events: aggregates, workers, jobs, marks of ids.
 *
 * Terms
 *   aggregate  one counter, histogram or gauge with its labels; becomes 1..n series
 *   worker     one pushing process, by app, job and name; holds a lease
 *   job        what `up` is about; its state follows the leases of its workers
 *   mark       an id that was counted, kept until it expires
 *   group      bodies staged together and committed at once
 *
 * Invariants
 *   1. Memory is a cache of the committed rows plus what the open group or tick changed. A failed
 *      commit throws the cache away (events_reload), so nothing half-counted can survive.
 *   2. One writer: everything here is used with events.mu held, by one thread at a time, from
 *      staging to the end of the commit.
 *   3. An aggregate is born (sampled, with its 0 one step before) exactly once: the flag is part of
 *      its row and changes in the commit that holds those samples.
 *
 * Job states (transitions in brackets): EVENTS, DOWN, GONE -> UP [worker_renew]; UP -> DOWN
 * [leases_expire]; UP, DOWN -> GONE [worker_goodbye]; GONE -> EVENTS [jobs_sample, in the commit
 * that holds the stale marker of `up`]; any -> forgotten [jobs_forget].
 *
 * The gauges of a job outlive its last goodbye by a lease: workers that restart may all be away for
 * a moment, which must not end what is known, and alerted on, about a provider.
 */
#pragma once

#include "base/map.h"
#include "ingest/event.h"
#include "ingest/sampler.h"

#define LEASE_INTERVALS     3
#define FAILURES_UNTIL_DOWN 3
#define JOBS_MAX            1000
/* Hearing somebody is written down at most this often: leases start anew at load anyway. */
#define HEARD_WRITE_MS (60 * 1000)
#define WORKERS_MAX    10000
/* Workers whose lease ran out are remembered this long, so that one that was only stopped does not
 * count its CPU time twice. */
#define WORKER_MEMORY_MS (60 * 60 * 1000)

struct aggregate {
    uint64_t id; /* key of its row */
    enum event_family family;
    struct str app;       /* interned */
    struct labels labels; /* sorted, with job, without __name__; owned */
    double value;         /* counter, gauge */
    double sum;           /* histogram */
    uint64_t *counts;     /* histogram: per bucket, bound_count + 1, not cumulative; else NULL */
    uint32_t failures;    /* FAMILY_LLM_AVAILABLE: failed calls in a row */
    bool is_born;         /* invariant 3 */
    bool is_dirty;        /* in events.dirty_aggregates */
    series_ref_t *refs;   /* one per series, NULL until first sampled by this process */
};

/* Numbers a worker reports; a resource event changes those it carries. */
enum worker_value {
    WORKER_AGENTS,
    WORKER_RSS_BYTES,
    WORKER_OPEN_FDS,
    WORKER_LOOP_LAG_S,
    WORKER_CPU_SECONDS,
    WORKER_VALUE_COUNT,
};

enum worker_state {
    WORKER_EXPIRED, /* its lease ran out */
    WORKER_LIVE,
    WORKER_GONE, /* it said goodbye; only a beat brings it back */
    WORKER_STATE_COUNT,
};

struct worker {
    struct str app; /* these three point into `key` */
    struct str job;
    struct str name;
    char *key; /* app \0 job \0 name */
    size_t key_len;
    int64_t heard_ms;
    int64_t interval_ms;
    int64_t written_ms; /* heard_ms of the row */
    enum worker_state state;
    bool is_dirty;
    double values[WORKER_VALUE_COUNT]; /* NaN = never reported */
};

struct job {
    char *name;
    enum ingest_job_state state;
    int64_t heard_ms;
    int64_t written_ms;  /* heard_ms of the row */
    int64_t retire_ms;   /* after the last goodbye: when its gauges end; 0 = they do not */
    uint64_t live_count; /* workers */
    bool is_dirty;
};

struct marks {
    struct map staged; /* keys of marks put by the open group */
    uint64_t count;    /* in the store, the open group's included */
};

struct request; /* event_door.c */

struct events {
    struct ingest *ingest;
    struct ingest_event_options options; /* defaults filled in; extra_labels owned */
    char **extra_names;                  /* what options.extra_labels points to */
    size_t extra_label_count;

    pthread_mutex_t mu;    /* invariant 2 */
    bool is_loaded;        /* guarded by mu: memory equals the store */
    struct map aggregates; /* by family, app, labels */
    struct aggregate **list;
    size_t count;
    size_t cap;
    uint64_t next_id;
    struct map workers;
    struct map jobs;
    struct map apps;         /* name -> interned text */
    struct map label_values; /* app \0 label -> set of values */
    struct aggregate **dirty_aggregates;
    size_t dirty_aggregate_count;
    size_t dirty_aggregate_cap;
    struct worker **dirty_workers;
    size_t dirty_worker_count;
    size_t dirty_worker_cap;
    struct marks marks;
    struct sampler sampler; /* series computed at every step: up, sums over workers */
    int64_t last_step_ms;   /* newest point of the grid that is done */
    int64_t last_tick_ms;
    struct metric *capped;  /* label values turned into "other" */
    struct metric *dropped; /* labels not on the list */
    struct metric *evicted; /* marks dropped before their time */
    struct metric *missed;  /* steps that were not sampled */
    struct metric *live_workers;
    struct metric *aggregate_gauge;

    pthread_mutex_t view_mu;
    struct ingest_job *view; /* guarded by view_mu; names point into view_arena */
    size_t view_count;
    struct arena view_arena;

    /* event_door.c */
    struct queue *queue;
    atomic_size_t pending_bytes;
    pthread_mutex_t parsers_mu;
    struct event_parser *parsers[8]; /* guarded by parsers_mu: idle ones */
    size_t parser_count;
    atomic_bool has_thread;
};

/* ---- event_state.c: the collections ---- */

void events_init_state(struct events *events);
void events_finish_state(struct events *events);
/* Drop the memory and read the committed rows. Live leases start anew at now_ms. */
WARN_UNUSED bool events_load(struct events *events, int64_t now_ms, struct err *err);

/* labels are copied. The caller has made sure that it does not exist. */
struct aggregate *aggregate_create(struct events *events,
                                   uint64_t id,
                                   enum event_family family,
                                   struct str app,
                                   struct labels labels);
struct aggregate *aggregate_get(struct events *events,
                                enum event_family family,
                                struct str app,
                                struct labels labels);
/* Removes it from the collections and frees it; `index` is its place in the list. */
void aggregate_forget(struct events *events, size_t index);
void aggregate_touch(struct events *events, struct aggregate *aggregate);

struct worker *worker_get(struct events *events, struct str app, struct str job, struct str name);
struct worker *worker_create(struct events *events,
                             struct str app,
                             struct str job,
                             struct str name);
void worker_forget(struct events *events, struct worker *worker);
void worker_touch(struct events *events, struct worker *worker);

struct job *job_get(struct events *events, struct str name);
struct job *job_create(struct events *events, struct str name);
void job_forget(struct events *events, struct job *job);

struct str app_intern(struct events *events, struct str app);
/* This value is in use. */
void label_value_note(struct events *events, struct str app, struct str name, struct str value);
/* The value itself, or "other" once the label has too many values in this app. */
struct str label_value_cap(struct events *events,
                           struct str app,
                           struct str name,
                           struct str value);

/* Publish what ingest_jobs() shows. */
void events_publish(struct events *events);

/* ---- event_rows.c: bytes of the rows (ingest/FORMAT.md) ---- */

/* Put everything dirty, and forget that it was. */
void rows_write_dirty(struct events *events, struct kv_batch *batch);
void row_delete_aggregate(const struct aggregate *aggregate, struct kv_batch *batch);
void row_delete_worker(const struct worker *worker, struct kv_batch *batch);
void row_write_job(const struct job *job, struct kv_batch *batch);
void row_delete_job(const struct job *job, struct kv_batch *batch);
WARN_UNUSED bool rows_load(struct events *events, struct err *err);

/* ---- event_apply.c: one event into the state ---- */

/* False: refused whole, nothing changed. */
WARN_UNUSED bool event_apply(struct events *events,
                             const struct event *event,
                             int64_t now_ms,
                             enum refusal *ret_why,
                             struct err *err);

/* ---- event_dedup.c: marks ---- */

/* Keys of marks: of one id, of a whole batch. */
#define MARK_KEY_MAX 320
struct str mark_key_of_id(const struct event *event, char out[MARK_KEY_MAX]);
struct str mark_key_of_batch(struct str idempotency_key,
                             const char digest[65],
                             char out[MARK_KEY_MAX]);

void marks_init(struct marks *marks);
void marks_finish(struct marks *marks);
void marks_end_group(struct marks *marks);
/* ERR_NONE in err and the answer, or an error of the store. */
bool marks_has(struct events *events, struct str key, int64_t now_ms, struct err *err);
void marks_put(struct events *events, struct kv_batch *batch, struct str key, int64_t now_ms);
void marks_write_count(struct events *events, struct kv_batch *batch);
/* Delete what expired and what exceeds the cap; a bounded piece of work per call. */
WARN_UNUSED bool marks_purge(struct events *events,
                             struct kv_batch *batch,
                             int64_t now_ms,
                             struct err *err);

/* ---- event_sample.c: the grid ---- */

/* Returns when the next point of the grid is due. */
int64_t events_tick_locked(struct events *events, int64_t now_ms);

/* ---- event_door.c ---- */

WARN_UNUSED bool events_create(struct ingest *ingest,
                               const struct ingest_event_options *options,
                               int64_t now_ms,
                               struct events **ret,
                               struct err *err);
void events_destroy(struct events *events);
/* Commit everything staged; on failure the memory is loaded anew. Called with mu held. */
WARN_UNUSED bool events_commit(struct events *events,
                               struct tsdb_batch *batch,
                               int64_t now_ms,
                               struct err *err);
/* One round of the thread: take what is queued within timeout_ms and settle it. */
void events_serve(struct events *events, int timeout_ms);
/* No more bodies; what is queued is settled by events_serve until it is empty. */
void events_close(struct events *events);
bool events_is_idle(struct events *events);
int64_t events_tick(struct events *events, int64_t now_ms);
