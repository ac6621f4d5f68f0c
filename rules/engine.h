/*
 * The engine's insides: groups, rules and alerts as they run, and one evaluation of a group.
 *
 * Ownership  A group and everything in it belongs to whoever set is_busy (under rules->mu): the
 *            thread that evaluates it, or rules_apply() when no group is busy. Others see views.
 * Locks      rules->mu only; never held over a query, a commit, the sink or a report.
 */
#pragma once

#include <pthread.h>

#include "base/map.h"
#include "rules/set.h"

#define RULES_RESEND_MS_DEFAULT   INT64_C(60000)
#define RULES_LOOKBACK_MS_DEFAULT INT64_C(300000)
#define RULES_TIMEOUT_MS_DEFAULT  INT64_C(120000)
#define RULES_RESOLVED_KEPT_MS    INT64_C(900000) /* resolved alerts are handed over that long */
#define RULES_CLOCK_STEP_MS       INT64_C(3000)   /* smaller differences are slewing and rounding */

#define RULES_CYCLE_BYTES_MAX ((size_t)512 << 20) /* of each arena of an evaluation */

#define ALERT_ROW_KEY_BYTES 24
#define GROUP_ROW_KEY_BYTES 8

/* ---- alerts ---- */

/* What changes from evaluation to evaluation. Instants are slots, 0 = not (yet). */
struct alert_status {
    enum alert_state state; /* pending, firing, or inactive: resolved and still handed over */
    double value;
    int64_t active_ms;
    int64_t fired_ms;
    int64_t resolved_ms;
    int64_t last_sent_ms;
    int64_t keep_firing_since_ms;
};

enum alert_series {
    SERIES_PENDING,
    SERIES_FIRING,
    SERIES_FOR_STATE,
    ALERT_SERIES_COUNT,
};

struct active_alert {
    struct labels labels;      /* heap */
    struct labels annotations; /* heap */
    struct alert_status status;
    uint64_t element_hash; /* of the vector element it came from */
    bool is_carried;       /* from before an edit of the rule's labels: may pass its clock on */
    bool has_series[ALERT_SERIES_COUNT];
    series_ref_t series[ALERT_SERIES_COUNT];
    bool has_row;
    uint8_t row_key[ALERT_ROW_KEY_BYTES]; /* where its row is on disk */
    uint64_t row_hash;                    /* of the row's bytes there */
};

/* ---- rules and groups ---- */

struct rule {
    const struct rule_def *def; /* NULL once no set has it (orphan), or not yet (restored) */

    /* identity; own copies, as an orphan outlives its set */
    enum rule_type type;
    char *file;
    char *group;
    char *name;
    char *generator_url;
    uint64_t match_hash;
    uint64_t labels_hash;
    uint64_t key; /* of its rows: file, group, match_hash and which of several equal rules */
    int64_t for_ms;
    int64_t query_offset_ms;
    int64_t last_slot_ms;

    /* state */
    struct map alerts;      /* encoded labels → struct active_alert */
    bool is_matched;        /* took over from a rule of the set before */
    bool has_carried;       /* some alert is_carried */
    bool is_for_raised;     /* since the last evaluation: firing may go back to pending */
    series_ref_t *previous; /* series it wrote last time, ascending: what vanishes gets a marker */
    size_t previous_count;

    /* health */
    enum rule_health health;
    char *last_error; /* NULL = none */
    bool is_error_reported;
    char *last_expansion_error; /* as reported; NULL = the last evaluation had none */
    double evaluation_s;
    int64_t last_evaluation_ms;
};

struct group_metrics {
    struct metric *evaluations;
    struct metric *failures;
    struct metric *iterations;
    struct metric *missed;
    struct metric *interval;
    struct metric *last_evaluation;
    struct metric *last_duration;
    struct metric *rules;
    struct metric *samples;
};

/* A group's row without a group: restored, or of a group no set has any more. */
struct old_group {
    char *file;
    char *name;
    uint8_t key[GROUP_ROW_KEY_BYTES];
    int64_t last_slot_ms;
    int64_t query_offset_ms;
};

struct group_view;

struct group {
    const struct rule_group_def *def;
    struct rule **rules;
    size_t rule_count;
    struct group_metrics metrics;
    uint8_t row_key[GROUP_ROW_KEY_BYTES];

    /* guarded by rules->mu */
    int64_t next_slot_ms;
    bool is_busy;
    uint64_t slots_missed;
    struct group_view *view;

    /* the evaluating thread's */
    int64_t last_slot_ms; /* durable; 0 = never */
    int64_t last_evaluation_ms;
    double evaluation_s;
    bool is_first;       /* not evaluated by this process yet */
    bool is_after_gap;   /* the last evaluation came after one */
    int64_t last_now_ms; /* wall and monotonic time of the last durable evaluation */
    int64_t last_mono_ns;
    int64_t evidence_until_ms; /* see alerting.c */
    int64_t gap_start_ms;
    int64_t gap_end_ms;
};

struct rules_metrics {
    struct metric *evaluation_seconds;
    struct metric *group_seconds;
    struct metric *reload_ok;
    struct metric *reload_success_time;
    struct metric *pending;
    struct metric *firing;
    struct metric *expansions;
    struct metric *expansion_failures;
    struct metric *commit_failures;
    struct metric *clock_steps;
};

struct rules {
    /* immutable after create */
    struct rules_options options;
    const struct clock *clock;
    struct rules_metrics metrics;

    _Atomic bool is_canceled;

    pthread_mutex_t mu;
    pthread_cond_t changed; /* a group came free, a set was applied, stop was asked for */

    /* guarded by mu */
    struct rule_set *set; /* NULL before the first apply */
    struct group **groups;
    size_t group_count;
    unsigned busy_count;
    bool is_applying;
    bool is_stopping;
    pthread_t *threads;
    size_t thread_count;
    int64_t reload_ms;
    bool is_reload_ok;
    char *reload_error;
    size_t pending_count;
    size_t firing_count;
    bool is_retiring; /* orphans are being flushed */

    /* read by evaluations; changed only by rules_apply() with no group busy */
    struct labels external_labels; /* heap: what alerts that are out there were sent with */

    /* owned by whoever set is_applying or is_retiring */
    struct rule **orphans; /* rules no set has; their end is not durable yet */
    size_t orphan_count;
    size_t orphan_cap;
    struct old_group *old_groups;
    size_t old_group_count;
    size_t old_group_cap;
};

/* rule.c */
struct rule *rule_create(const struct rule_def *def);
void rule_destroy(struct rule *rule);                        /* NULL ok; with its alerts */
void rule_set_error(struct rule *rule, const char *message); /* NULL = healthy */
void rules_active_alert_destroy(struct active_alert *alert);
/* Encoded labels, the key of rule->alerts; lives in `out`. */
struct str rules_alert_key(struct labels labels, struct buf *out);
/* One of the alert's own series; false when the store refuses a new one. */
WARN_UNUSED bool rules_alert_series_ref(struct tsdb *db,
                                        struct labels labels,
                                        enum alert_series which,
                                        series_ref_t *ret,
                                        struct err *err);
void rules_refs_sort(series_ref_t *refs, size_t *count); /* ascending and unique */
bool rules_refs_contain(const series_ref_t *refs, size_t count, series_ref_t ref);

/* row.c: what is on disk */
struct alert_row {
    struct str file;
    struct str group;
    struct str name;
    uint64_t match_hash;
    uint64_t labels_hash;
    uint64_t rule_key;
    uint64_t element_hash;
    int64_t for_ms;
    struct alert_status status;
    struct labels labels;
    struct labels annotations;
};

struct group_row {
    struct str file;
    struct str name;
    int64_t last_slot_ms;
    int64_t query_offset_ms;
};

void rules_alert_row_key(uint64_t rule_key, struct labels labels, uint8_t out[ALERT_ROW_KEY_BYTES]);
void rules_alert_row_encode(const struct alert_row *row, struct buf *out);
WARN_UNUSED bool rules_alert_row_decode(struct str bytes,
                                        struct arena *arena,
                                        struct alert_row *ret);
void rules_group_row_key(struct str file, struct str name, uint8_t out[GROUP_ROW_KEY_BYTES]);
void rules_group_row_encode(const struct group_row *row, struct buf *out);
WARN_UNUSED bool rules_group_row_decode(struct str bytes, struct group_row *ret);

/* group.c */
struct group *rules_group_create(struct rules *rules, const struct rule_group_def *def);
void rules_group_destroy(struct group *group); /* with what rules it still has; NULL ok */

/* restore.c */
void rules_old_group_finish(struct old_group *old);

/* restore.c: rows of earlier runs → rules->orphans, rules->old_groups, rules->external_labels */
WARN_UNUSED bool rules_restore(struct rules *rules, struct err *err);
/* Before a group's first evaluation: which series its recording rules wrote in the last life. */
void rules_restore_recorded(struct rules *rules, struct group *group);

/* external.c: go over to the set's external labels. Alerts change their identity with them, so
 * those that fire are resolved under the old ones in the same batch. No group may be busy. */
void rules_switch_external(struct rules *rules, int64_t now_ms);
#define EXTERNAL_ROW_KEY STR("external_labels") /* in KV_RULE_STATE, beside the groups' rows */

/* apply.c: make the end of orphans durable: markers, resolved alerts, deleted rows. Whoever calls
 * has set is_applying or is_retiring. */
void rules_retire_orphans(struct rules *rules, int64_t now_ms);

/* engine.c */
PRINTF_LIKE(5, 6)
void rules_report(const struct rules *rules,
                  enum rules_event_kind kind,
                  const struct rule *rule,
                  int64_t count,
                  const char *fmt,
                  ...);
PRINTF_LIKE(5, 6)
void rules_report_group(const struct rules *rules,
                        enum rules_event_kind kind,
                        const struct group *group,
                        int64_t count,
                        const char *fmt,
                        ...);

/* metrics.c */
void rules_metrics_init(struct rules *rules);
void rules_group_metrics_init(struct rules *rules, struct group *group);

/* view.c */
struct group_view *rules_group_view_create(struct rule_set *set,
                                           const struct group *group,
                                           uint64_t slots_missed);
void rules_group_view_unref(struct group_view *view); /* NULL ok */
/* Put it in place of the group's present view; rules->mu held. */
void rules_group_view_publish_locked(struct rules *rules,
                                     struct group *group,
                                     struct group_view *view);

/* ---- one evaluation ---- */

struct alert_plan {
    struct active_alert *alert; /* NULL: new */
    bool is_present;            /* in this evaluation's vector */
    bool is_removed;
    bool is_sent;
    bool has_ended; /* a firing alert sent back to pending: handed over as resolved */
    struct alert_status next;
    struct labels labels;
    struct labels annotations;
    uint64_t element_hash;
    bool has_series[ALERT_SERIES_COUNT];
    series_ref_t series[ALERT_SERIES_COUNT];
    bool is_row_written;
    uint8_t row_key[ALERT_ROW_KEY_BYTES];
    uint64_t row_hash;
};

/* What an evaluation of a rule wants to change; nothing has moved before it is durable. */
struct rule_plan {
    struct rule *rule;
    bool is_failed;             /* the expression: state stays as it is */
    bool is_cleared;            /* … except over the limit: alerts end */
    struct err err;             /* also of refused samples, with is_failed false */
    struct str expansion_error; /* the first of this evaluation; in the cycle's arena */
    double evaluation_s;
    int64_t started_ms;
    struct alert_plan *alerts;
    size_t alert_count;
    series_ref_t *returned; /* ascending once the rule is through */
    size_t returned_count;
    size_t returned_cap;
    size_t sample_first; /* its samples in the batch: values, then markers */
    size_t sample_count;
};

struct cycle {
    struct rules *rules;
    struct group *group;
    struct tsdb_batch *batch;
    struct arena arena;       /* plans: lives until the commit is settled */
    struct arena query_arena; /* results: reset for every rule */
    int64_t slot_ms;          /* evaluation time of the state machine */
    int64_t sample_ms;        /* slot minus query offset: queries and samples */
    int64_t now_ms;
    int64_t step_ms; /* wall clock minus monotonic clock since the last evaluation, 0 if small */
    struct rule_plan *plans;
    size_t sent_count;
};

/* evaluate.c */
void rules_group_evaluate(struct rules *rules,
                          struct group *group,
                          int64_t slot_ms,
                          int64_t now_ms);
WARN_UNUSED bool rules_cycle_query(struct cycle *cycle,
                                   const struct promql_expr *expr,
                                   struct str text,
                                   int64_t t_ms,
                                   struct arena *arena,
                                   struct promql_result *ret,
                                   struct err *err);
/* What the sink gets: external labels, overridden by the alert's own. */
struct labels rules_alert_sent_labels(const struct rules *rules,
                                      struct labels labels,
                                      struct arena *arena);
void rules_cycle_append(struct cycle *cycle,
                        struct rule_plan *plan,
                        series_ref_t ref,
                        double value);

/* alerting.c, recording.c: fill the plan and append to the batch */
void rules_alerting_evaluate(struct cycle *cycle, struct rule_plan *plan);
void rules_recording_evaluate(struct cycle *cycle, struct rule_plan *plan);
/* After the commit: make the plan the rule's state. */
void rules_alerting_adopt(struct cycle *cycle, struct rule_plan *plan);
