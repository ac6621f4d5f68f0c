/*
 * Alerting and recording rules: Prometheus' rule files, the group scheduler, the alert state
 * machine and its durable state.
 *
 *   check    rules_load → diagnostics → rule_set_destroy
 *   serve    rules_create → rules_load → rules_apply → rules_start … rules_stop → rules_destroy
 *   reload   rules_load → rules_apply, or rules_reload_failed (the old set keeps running)
 *   show     rules_snapshot → read → rules_snapshot_unref
 *
 * Promises
 *   1. One evaluation of a group is one durable step: recorded samples, ALERTS series, the state
 *      of every alert and the sink's rows are committed together or not at all. When the commit
 *      fails (disk full, I/O error) nothing in memory has moved: the rules show the error and the
 *      next slot evaluates again from the last durable state.
 *   2. A restart, kill -9 included, restores each alert exactly: no `for` clock starts again.
 *   3. What upstream leaves to time-outs is explicit: alerts of a removed rule are resolved.
 *
 * Time is int64 Unix milliseconds. Threads: any, for every function, unless stated.
 */
#pragma once

#include "base/clock.h"
#include "base/diag.h"
#include "base/metric.h"
#include "model/alert.h"
#include "promql/promql.h"

/* ---- rule files ---- */

struct rules_load_options {
    int64_t interval_ms;     /* of groups that name none; 0 = 1 min */
    int64_t query_offset_ms; /* of groups that name none */
    struct promql_features features;
    const char *external_url;      /* NULL = ""; no trailing slash; for templates and links */
    struct labels external_labels; /* for templates, and added to what the sink is handed */
    bool is_reload;                /* a directory or file that has gone is an error, not a warning:
                                      it must not silently end the rules that are running */
};

/* The parsed content of all rule files; immutable. */
struct rule_set;

/*
 * Read every file the patterns name (glob(7); one that names nothing is a warning) and check it
 * completely: YAML, structure, expressions, template syntax, names. False when any error was
 * added to `diags`; then *ret is NULL. Warnings (duplicate rules …) do not make it fail.
 */
WARN_UNUSED bool rules_load(const char *const *patterns,
                            size_t pattern_count,
                            const struct rules_load_options *options,
                            struct rule_set **ret,
                            struct diag_list *diags);

/* The same for one text; `file` is what groups and messages show. */
WARN_UNUSED bool rules_load_text(const char *file,
                                 struct str text,
                                 const struct rules_load_options *options,
                                 struct rule_set **ret,
                                 struct diag_list *diags);

void rule_set_destroy(struct rule_set *set); /* NULL ok */

struct rule_file_info {
    const char *path;
    size_t group_count;
    size_t rule_count;
};

size_t rule_set_file_count(const struct rule_set *set);
struct rule_file_info rule_set_file(const struct rule_set *set, size_t index);
size_t rule_set_rule_count(const struct rule_set *set);

/* ---- engine ---- */

struct rules;

/* Libraries do not log: what an operator should read is reported here. */
enum rules_event_kind {
    RULES_RULE_FAILED,    /* evaluation of a rule failed; once per change of the message */
    RULES_RULE_RECOVERED, /* … and works again */
    RULES_COMMIT_FAILED,  /* an evaluation could not be made durable; it is repeated */
    RULES_SLOTS_MISSED,   /* `count` slots of a group were skipped */
    RULES_GAP,            /* the engine did not run for `count` ms; `for` clocks continue */
    RULES_CLOCK_STEP,     /* the wall clock jumped by `count` ms; running clocks were moved along */
    RULES_STATE_RESET,    /* an edited expression ended `count` alerts of a rule */
    RULES_ALERT_FIRING,   /* durable by now */
    RULES_ALERT_RESOLVED,
    RULES_TEMPLATE_FAILED, /* a label or annotation template failed while expanding */
    RULES_EVENT_KIND_COUNT,
};

const char *rules_event_to_string(enum rules_event_kind kind); /* "rule failed" … */

struct rules_event {
    enum rules_event_kind kind;
    const char *file;
    const char *group;
    const char *rule;    /* "" when about the group */
    const char *message; /* "" or the cause; labels of the alert for RULES_ALERT_* */
    int64_t count;
};

struct rules_options {
    struct tsdb *db;
    const struct clock *clock;       /* NULL = clock_system(); durations, deadlines, clock steps */
    struct metric_registry *metrics; /* NULL = none */
    struct alert_sink sink;          /* zeroed = alerts go nowhere */
    int64_t resend_delay_ms;         /* 0 = 1 min */
    int64_t lookback_ms;             /* 0 = 5 min */
    int64_t query_timeout_ms;        /* 0 = 2 min; negative = none */
    uint64_t samples_max;            /* per query; 0 = 50,000,000 */
    uint32_t thread_count;           /* of rules_start; 0 = 1 */
    void (*report)(void *ctx, const struct rules_event *event); /* NULL ok; any rule thread */
    void *report_ctx;
};

/* Reads the durable state of earlier runs. Errors: ERR_CORRUPT, ERR_IO. */
WARN_UNUSED bool rules_create(const struct rules_options *options,
                              struct rules **ret,
                              struct err *err);

/* Stops the threads. State stays on disk; NULL ok. */
void rules_destroy(struct rules *rules);

/*
 * Run `set` (taken in any case) from now on instead of the present one. Waits for evaluations
 * under way. Which clocks go on:
 *   - A rule is the same while alert name and expression (canonical form) are; file, group,
 *     annotations, `for`, `keep_firing_for` may change. A raised `for` turns a firing alert back
 *     to pending, as upstream.
 *   - Edited rule labels make other alerts; each takes over the clock of the alert that came from
 *     the same vector element, and the old one resolves.
 *   - An edited expression ends the rule's alerts (RULES_STATE_RESET) and starts anew.
 *   - Alerts of rules that are gone are handed to the sink as resolved; their series and those of
 *     gone recording rules get stale markers. If that cannot be made durable now, every tick
 *     tries again.
 * The first call after rules_create() matches what earlier runs left in the same way.
 */
void rules_apply(struct rules *rules, struct rule_set *set, int64_t now_ms);

/* A reload was refused: keep the reason for the snapshot, flip the metric. */
void rules_reload_failed(struct rules *rules, const struct diag_list *diags, int64_t now_ms);

/* Evaluate on own threads, on the system's clock. */
WARN_UNUSED bool rules_start(struct rules *rules, struct err *err);
void rules_stop(struct rules *rules); /* cancels running queries, joins; fine when not started */

/*
 * Evaluate every group that has a slot in (last evaluation, now_ms], each once, at its newest
 * slot; older slots count as missed. Returns when the next group is due (INT64_MAX: never).
 * `now_ms` is the wall time of options.clock. For simulation, instead of rules_start().
 */
int64_t rules_tick(struct rules *rules, int64_t now_ms);

/* ---- what is shown ---- */

enum rule_type {
    RULE_ALERTING,
    RULE_RECORDING,
};

enum rule_health {
    RULE_HEALTH_UNKNOWN,
    RULE_HEALTH_OK,
    RULE_HEALTH_ERR,
};

const char *rule_health_to_string(enum rule_health health); /* "unknown", "ok", "err" */

enum alert_state {
    ALERT_UNKNOWN, /* of a rule not evaluated yet */
    ALERT_INACTIVE,
    ALERT_PENDING,
    ALERT_FIRING,
};

const char *alert_state_to_string(enum alert_state state); /* "unknown", "inactive" … */

struct alert_view {
    enum alert_state state; /* pending or firing */
    struct labels labels;
    struct labels annotations;
    double value;
    int64_t active_ms;
    int64_t fired_ms;             /* 0 while pending */
    int64_t keep_firing_since_ms; /* 0 = expression holds */
};

struct rule_view {
    enum rule_type type;
    struct str name;
    struct str query; /* canonical form */
    int64_t for_ms;
    int64_t keep_firing_for_ms;
    struct labels labels;      /* as configured, group's labels merged */
    struct labels annotations; /* as configured; values may be empty */
    enum rule_health health;
    struct str last_error;
    double evaluation_s;        /* duration of the last evaluation */
    int64_t last_evaluation_ms; /* wall time; 0 = never */
    enum alert_state state;     /* worst of its alerts */
    struct alert_view *alerts;  /* pending and firing, by labels */
    size_t alert_count;
};

struct rule_group_view {
    struct str name;
    struct str file;
    int64_t interval_ms;
    int64_t query_offset_ms;
    uint64_t limit; /* 0 = none */
    double evaluation_s;
    int64_t last_evaluation_ms; /* wall time; 0 = never */
    int64_t last_slot_ms;       /* evaluation timestamp; 0 = never */
    uint64_t slots_missed;      /* since start */
    int64_t gap_start_ms;       /* last time the engine did not run; 0 = none */
    int64_t gap_end_ms;
    struct rule_view *rules; /* in file order */
    size_t rule_count;
};

/* Immutable; one consistent moment per group. */
struct rules_snapshot {
    const struct rule_group_view **groups; /* by file, then in file order */
    size_t group_count;
    int64_t reload_ms; /* last attempt; 0 = none */
    bool is_reload_ok;
    struct str reload_error; /* findings with excerpts; empty when ok */
};

/* Never NULL; end with rules_snapshot_unref(). */
struct rules_snapshot *rules_snapshot(struct rules *rules);
void rules_snapshot_ref(struct rules_snapshot *snapshot);
void rules_snapshot_unref(struct rules_snapshot *snapshot); /* NULL ok */
