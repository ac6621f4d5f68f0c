/*
 * Every way in: pushed events, remote write, text import, scraping, our own metrics, the host.
 *
 *   bodies   ingest_events, ingest_write, ingest_import: a body in, one result out when the store
 *            says that it is durable
 *   pull     ingest_scrape_decode (configuration) -> ingest_scrape_apply -> ingest_targets (view)
 *   self     ingest_expose for /metrics; the same families are sampled into the store
 *   time     ingest_start runs everything on threads; without it the owner drives
 *            ingest_tick_blocking() with times of its own (simulation, tests)
 *
 * Promises
 *   1. A result without error is about bytes on disk (fsynced). Kill -9 at any moment loses no
 *      acknowledged event and counts no retried event twice within dedup_window_ms.
 *   2. A body that cannot be parsed stores nothing. Lines of an event batch and series of a write
 *      are judged one by one; what was refused is named with its place and its reason.
 *   3. Counters made from events live in the store: neither a worker's nor our own restart makes
 *      one dip, and a new one is seen at 0 one full step before its first increment.
 * Threads: any, for every function, unless stated.
 */
#pragma once

#include "base/clock.h"
#include "base/metric.h"
#include "base/yaml.h"
#include "model/model.h"
#include "tsdb/tsdb.h"

/* ---- limits (each tested at the limit and one past it) ---- */

#define INGEST_BODY_BYTES_MAX        (32u << 20) /* decompressed */
#define INGEST_EVENT_LINE_BYTES_MAX  (64u << 10)
#define INGEST_EVENTS_PER_BODY_MAX   100000u
#define INGEST_SAMPLES_PER_BODY_MAX  500000u
#define INGEST_REJECTIONS_MAX        100u /* named in a result; all of them are counted */
#define INGEST_ID_BYTES_MAX          128u /* event id, Idempotency-Key, worker */
#define INGEST_EVENT_LABEL_BYTES_MAX 256u /* of a label value taken from an event */

/* ---- life ---- */

struct ingest;

/* How events become series; zero means the default named beside the field. */
struct ingest_event_options {
    int64_t step_ms;           /* distance of the samples written from live aggregates: 5 s */
    int64_t dedup_window_ms;   /* how long ids are remembered: 24 h */
    uint64_t dedup_marks_max;  /* ids remembered at most, oldest go first: 2,000,000 */
    int64_t late_ms_max;       /* older `ts` are refused: 1 h, at most dedup_window_ms */
    int64_t future_ms_max;     /* `ts` further ahead are refused: 10 min */
    int64_t beat_ms;           /* beat interval of workers that do not state theirs: 15 s */
    int64_t forget_ms;         /* a job silent this long is forgotten, its series go stale: 7 d */
    uint64_t label_values_max; /* distinct values per app and label, then "other": 200 */
    uint64_t aggregates_max;   /* counters, histograms, gauges in all: 100,000 */
    uint64_t apps_max;         /* distinct app names: 100 */
    /* Names taken from an event's "labels" object onto its counters and histograms; others are
     * dropped and counted. NULL-terminated, borrowed for ingest_create() only. NULL = none. */
    const char *const *extra_labels;
};

struct ingest_options {
    struct tsdb *db;                 /* borrowed; outlives the ingest */
    const struct clock *clock;       /* NULL = clock_system() */
    struct metric_registry *metrics; /* what ingest_expose() shows; NULL = none */
    struct ingest_event_options events;
    int64_t self_interval_ms; /* self-scrape into the store with job="tocsin"; 0 = 15 s, -1 = off */
    int64_t host_interval_ms; /* host sampling with job="node"; 0 = 15 s, -1 = off */
    const char *self_instance; /* instance label of both until ingest_set_self_instance() */
    const char *proc_path;     /* NULL = "/proc" */
    const char *user_agent;    /* of scrapes; NULL = "tocsin/<version>" */
};

/* Load the durable state of events. Errors: ERR_CORRUPT, ERR_IO, ERR_INVALID (options). */
WARN_UNUSED bool ingest_create(const struct ingest_options *options,
                               struct ingest **ret,
                               struct err *err);
/* Stops first, waits for what the store still has to settle; the store must be open. NULL ok. */
void ingest_destroy(struct ingest *ingest);

/* Start the threads: events and time (1), scraping (1 and the HTTP client's). */
WARN_UNUSED bool ingest_start(struct ingest *ingest, struct err *err);
/* Finish what was accepted, join the threads. Later bodies are refused with ERR_UNAVAILABLE. */
void ingest_stop(struct ingest *ingest);

/* The address others reach us at ("127.0.0.1:9090"), known once the listener is bound. */
void ingest_set_self_instance(struct ingest *ingest, const char *instance);

/*
 * Do what is due at now_ms: sample the aggregates of events (on the grid of step_ms), expire
 * leases, purge old ids, scrape targets, ourselves and the host. Waits for the store. Returns when
 * the next thing is due. A gap of more than four steps between two ticks (suspend, SIGSTOP, clock
 * jump) is not held against the pushers: leases are extended by it.
 * Threads: not after ingest_start(), which owns time from then on.
 */
int64_t ingest_tick_blocking(struct ingest *ingest, int64_t now_ms);

/* ---- bodies ---- */

/* One element that was refused. */
struct ingest_rejection {
    uint64_t line;   /* 1-based line of the body; 0 = not a matter of lines */
    uint64_t offset; /* byte offset in the decompressed body */
    struct str reason;
};

/*
 * What became of one body.
 *
 * err.code   ERR_NONE         everything is durable, or was before; for events also when some lines
 *                             were refused (see rejected)
 *            ERR_INVALID      remote write, import: malformed (nothing stored, message has offset
 *                             or line:col), or some samples refused (the others are durable).
 *                             events: not one line was accepted
 *            ERR_LIMIT        the body is over a named cap, nothing stored
 *            ERR_THROTTLED, ERR_NO_SPACE, ERR_UNAVAILABLE, ERR_IO  retry later (Retry-After); with
 *                             ERR_THROTTLED for new series the known series were stored
 * The counts hold in every case.
 */
struct ingest_result {
    struct err err;
    uint64_t accepted;                         /* samples or events made durable by this body */
    uint64_t duplicates;                       /* already stored identically */
    uint64_t rejected;                         /* refused for good */
    const struct ingest_rejection *rejections; /* the first of them, in body order */
    size_t rejection_count;                    /* <= INGEST_REJECTIONS_MAX */
};

/*
 * Called exactly once per body; on the caller's thread before the call returns, or on another
 * thread. Everything in *result is valid during the callback only. Must not block.
 */
typedef void (*ingest_done_fn)(void *ctx, const struct ingest_result *result);

struct ingest_body {
    struct str bytes;           /* as received; borrowed for the call */
    struct str encoding;        /* Content-Encoding; empty = identity */
    struct str content_type;    /* empty = the door's default */
    struct str idempotency_key; /* Idempotency-Key header (events) */
};

/*
 * POST /v1/events: NDJSON, one finished thing per line. Reply 202 (400 when err is ERR_INVALID)
 * with ingest_result_to_json() in both cases.
 *
 * Fields     every line: kind, app, [job = app], [ts: end time in ms], [id], [worker], [n = 1],
 *            [labels: {}]; see docs for the fields of request, llm, resource, dependency, begin,
 *            beat. Unknown fields are ignored.
 * Ack        the durable thing is the aggregate (counter, histogram, gauge) and, in the same
 *            commit, the mark of the id. The sample is derived from it at the next step.
 * Idempotency  a counting line (request, llm, dependency, begin) with an id is counted once per
 *            app and id. Lines without id share the fate of their batch: known by its
 *            Idempotency-Key, else by the digest of the body if each of them has a `ts`; without
 *            id, key and ts a body that is sent again counts again. Beats and resources are
 *            states: the last one holds, however often it is sent.
 */
void ingest_events(struct ingest *ingest,
                   const struct ingest_body *body,
                   ingest_done_fn done,
                   void *ctx);

/* {"accepted":2,"duplicate":0,"rejected":[{"line":3,"reason":"…"}]}; "rejected_count" when not all
 * are listed; "error" when err is set. */
void ingest_result_to_json(const struct ingest_result *result, struct buf *out);

/* True when POST /api/v1/write takes this media type and encoding; otherwise answer 415 with the
 * message (remote write 2.0, unknown encodings). */
WARN_UNUSED bool ingest_write_is_supported(struct str content_type,
                                           struct str encoding,
                                           struct err *err);

/*
 * POST /api/v1/write: remote write 1.0. Success is 204. Samples out of order, in conflict, too old
 * or too new, and native histograms, are refused with ERR_INVALID while the rest is stored;
 * exemplars are ignored. Both are counted.
 */
void ingest_write(struct ingest *ingest,
                  const struct ingest_body *body,
                  ingest_done_fn done,
                  void *ctx);

/*
 * POST /api/v1/import/prometheus: text 0.0.4 (optional timestamps in ms), or OpenMetrics when the
 * content type says application/openmetrics-text. Samples without a timestamp get the time of
 * arrival. Success is 204. A syntax error is line:col and stores nothing.
 */
void ingest_import(struct ingest *ingest,
                   const struct ingest_body *body,
                   ingest_done_fn done,
                   void *ctx);

/* ---- in bulk: files of samples, other servers ---- */

/* Samples of one series, in the order of the source. Valid during the call only. */
struct ingest_rows {
    struct labels labels; /* as given, not normalized */
    bool is_same_series;  /* the labels are those of the call before */
    const int64_t *t_ms;
    const double *values;
    size_t count;
    uint64_t line; /* where they begin; 0 = not a matter of lines */
};

typedef bool (*ingest_rows_fn)(void *ctx, const struct ingest_rows *rows, struct err *err);

enum ingest_file_format {
    INGEST_FILE_OPENMETRICS, /* "# EOF" at the end */
    INGEST_FILE_TEXT,        /* text 0.0.4 */
    INGEST_FILE_JSONL,       /* lines of VictoriaMetrics' /api/v1/export, see ingest_put_jsonl */
    INGEST_FILE_FORMAT_COUNT,
};

#define INGEST_JSONL_LINE_BYTES_MAX (64u << 20)

/* Hand out what a file holds, in its order; every sample needs a timestamp. Stops at the first
 * malformed line or when `take` returns false. Errors begin with "name:line". */
WARN_UNUSED bool ingest_read_file(enum ingest_file_format format,
                                  const char *name,
                                  struct str bytes,
                                  ingest_rows_fn take,
                                  void *ctx,
                                  struct err *err);

/*
 * One line of JSON: {"metric":{…},"values":[…],"timestamps":[…]}, times in milliseconds. NaN is
 * null, infinities are "Infinity" and "-Infinity". A NaN of other bits than the ordinary one (a
 * stale marker, a payload) is null too, and the member "nans" names it: [[index,"hex bits"],…];
 * others ignore that member, ingest_read_file restores the bits.
 */
void ingest_put_jsonl(const struct ingest_rows *rows, struct buf *out);

/* A server that answers Prometheus' remote read. */
struct ingest_remote {
    const char *url; /* of the endpoint: http://host:9090/api/v1/read */
    const struct matcher *matchers;
    size_t matcher_count;
    int64_t t_min_ms; /* bounds of what is asked for: both are given */
    int64_t t_max_ms;
};

/* Hand out its samples, an hour to a day at a time (narrower when a reply would be too big), so
 * every series ascends. Blocks. Errors name the URL; what was handed out before stands. */
WARN_UNUSED bool ingest_read_remote(const struct ingest_remote *from,
                                    ingest_rows_fn take,
                                    void *ctx,
                                    struct err *err);

/* ---- pushing jobs, as seen by their leases ---- */

enum ingest_job_state {
    INGEST_JOB_EVENTS, /* sends events, never a beat: no up series */
    INGEST_JOB_UP,
    INGEST_JOB_DOWN, /* no worker heard within three beat intervals */
    INGEST_JOB_GONE, /* last worker said goodbye */
    INGEST_JOB_STATE_COUNT,
};

const char *ingest_job_state_to_string(enum ingest_job_state state);

struct ingest_job {
    struct str job;
    enum ingest_job_state state;
    uint64_t worker_count; /* live leases */
    int64_t heard_ms;      /* last event of any kind */
};

/* As of the last tick or commit, sorted by job. *ret lives in `arena`. */
void ingest_jobs(struct ingest *ingest,
                 struct arena *arena,
                 struct ingest_job **ret,
                 size_t *ret_count);

/* ---- scraping: configuration ---- */

enum ingest_scrape_protocol {
    INGEST_PROTOCOL_PROMETHEUS_PROTO, /* known to the configuration, never negotiated */
    INGEST_PROTOCOL_OPENMETRICS_0_0_1,
    INGEST_PROTOCOL_OPENMETRICS_1_0_0,
    INGEST_PROTOCOL_PROMETHEUS_TEXT_0_0_4,
    INGEST_PROTOCOL_PROMETHEUS_TEXT_1_0_0,
    INGEST_PROTOCOL_COUNT,
};

/* Ordered by preference; count 0 = upstream's default order. */
struct ingest_scrape_protocols {
    enum ingest_scrape_protocol items[INGEST_PROTOCOL_COUNT];
    size_t count;
};

/* What scrape configurations inherit from `global`; 0 = upstream's default (limits: none). */
struct ingest_scrape_global {
    int64_t scrape_interval_ms; /* 1 m */
    int64_t scrape_timeout_ms;  /* 10 s */
    struct ingest_scrape_protocols scrape_protocols;
    uint64_t body_size_limit;
    uint64_t sample_limit;
    uint64_t target_limit;
    uint64_t label_limit;
    uint64_t label_name_length_limit;
    uint64_t label_value_length_limit;
    uint64_t keep_dropped_targets;
};

/* YAML_CUSTOM decoder for `scrape_protocols` into a struct ingest_scrape_protocols. */
void ingest_scrape_protocols_decode(struct yaml_decode *ctx,
                                    const struct yaml_node *node,
                                    void *dest);

/* A set of scrape configurations, unique by job_name, immutable once applied. */
struct ingest_scrape_configs;
struct ingest_scrape_configs *ingest_scrape_configs_create(void);
void ingest_scrape_configs_destroy(struct ingest_scrape_configs *configs); /* NULL ok */
size_t ingest_scrape_configs_count(const struct ingest_scrape_configs *configs);

/*
 * Decode the sequence under `scrape_configs` and add it to the set. A job_name that an earlier call
 * (an earlier layer of configuration) added is replaced; twice in one call is an error. Files
 * named in it are relative to the YAML file. True when no error was added.
 */
bool ingest_scrape_decode(struct yaml_decode *ctx,
                          const struct yaml_node *node,
                          const struct ingest_scrape_global *global,
                          struct ingest_scrape_configs *configs);

/* Scrape by this set from now on (takes it). Unchanged targets keep their schedule and their
 * series; vanished ones go stale. */
void ingest_scrape_apply(struct ingest *ingest, struct ingest_scrape_configs *configs);

/* ---- scraping: relabelling, also for alerts and remote doors ---- */

struct ingest_relabel; /* a list of relabel rules */
/* YAML_CUSTOM decoder for a `relabel_configs` sequence; dest is struct ingest_relabel **. */
void ingest_relabel_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
void ingest_relabel_destroy(struct ingest_relabel *relabel); /* NULL ok */
/* False when a rule drops the labels. *ret lives in `arena`; a NULL list keeps all. */
WARN_UNUSED bool ingest_relabel_apply(const struct ingest_relabel *relabel,
                                      struct labels labels,
                                      struct arena *arena,
                                      struct labels *ret);

/* ---- scraping: state, for /api/v1/targets ---- */

enum ingest_target_health {
    INGEST_TARGET_UNKNOWN,
    INGEST_TARGET_UP,
    INGEST_TARGET_DOWN,
    INGEST_TARGET_DROPPED, /* by relabelling; only discovered_labels and scrape_pool are set */
    INGEST_TARGET_HEALTH_COUNT,
};

const char *ingest_target_health_to_string(enum ingest_target_health health); /* "up" … */

struct ingest_target {
    enum ingest_target_health health;
    struct labels discovered_labels;
    struct labels labels;
    struct str scrape_pool; /* job_name */
    struct str scrape_url;
    struct str global_url;
    struct str last_error;
    int64_t last_scrape_ms; /* 0 = never */
    double last_scrape_duration_s;
    int64_t scrape_interval_ms;
    int64_t scrape_timeout_ms;
};

/* Sorted by pool, then labels. *ret lives in `arena`. */
void ingest_targets(struct ingest *ingest,
                    struct arena *arena,
                    struct ingest_target **ret,
                    size_t *ret_count);

/* ---- our own metrics ---- */

enum ingest_exposition {
    INGEST_EXPOSITION_TEXT_0_0_4,
    INGEST_EXPOSITION_OPENMETRICS_1_0_0,
    INGEST_EXPOSITION_COUNT,
};

/* By Accept header; text 0.0.4 when nothing better is asked for. */
enum ingest_exposition ingest_exposition_negotiate(struct str accept);
const char *ingest_exposition_content_type(enum ingest_exposition format);

/* The registry of the options, process_* families refreshed first. */
void ingest_expose(struct ingest *ingest, enum ingest_exposition format, struct buf *out);
