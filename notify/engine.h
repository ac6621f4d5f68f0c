/*
 * The notifier's insides. One lock guards everything; the notifier thread releases it while it
 * waits for the disk or hands transfers over. Only that thread removes alerts, groups, rows,
 * channels and integrations, so its pointers to them survive the gaps.
 *
 * Invariants
 *   1. Memory runs ahead of the disk by `ops` and `committing`, the changes not yet committed.
 *   2. Nothing leaves the process before the ops that explain it are committed: rows in `starting`
 *      are submitted only after their batch.
 *   3. A commit that fails is repeated with the same changes until it succeeds; until then no
 *      group is flushed and nothing is sent. Alerts keep coming in, with the rules' own batches.
 *   4. The state on disk is complete: restore.c rebuilds memory from it alone.
 */
#pragma once

#include <pthread.h>

#include "notify/groups.h"
#include "notify/message.h"
#include "notify/outbox.h"
#include "notify/outcome.h"

#define NOTIFY_SOURCE "notify" /* of log lines */

enum {
    OPS_BYTES_MAX = 8 * 1024 * 1024, /* a flush round stops here and commits */
    COMMIT_RETRY_MS = 1000,
    SLACK_PACE_MS = 1000, /* one message a second and hook */
    HEALTHY_TICK_MS = 30 * 1000,
    HEALTHY_FAILING_MS = 5 * 60 * 1000,
    TICK_MS_MAX = 1000, /* the thread looks at the clock at least that often: it may jump */
    MESSAGE_AGE_MS_MAX = 24 * 3600 * 1000,
    TIDY_MS = 3600 * 1000,
    CLOCK_JUMP_MS = 2000, /* a wall clock that goes back by more shifts all timers */
    LOG_RETENTION_MS = 5 * 24 * 3600 * 1000, /* upstream's nflog retention, 120 h */
};

/* ---- pending changes to the store ---- */

struct op {
    enum kv_table table;
    bool is_del;
    size_t key_at; /* offsets into bytes */
    size_t key_len;
    size_t value_len;
};

struct op_list {
    struct op *items;
    size_t count;
    size_t cap;
    struct buf bytes;
};

void op_list_init(struct op_list *ops);
void op_list_finish(struct op_list *ops);
void op_list_reset(struct op_list *ops);
void op_put(struct op_list *ops, enum kv_table table, struct str key, struct str value);
void op_del(struct op_list *ops, enum kv_table table, struct str key);

/* ---- integrations at run time ---- */

struct integration_metrics {
    struct metric *accepted;
    struct metric *failed[FAILURE_COUNT];
    struct metric *retried;
    struct metric *dead;
    struct metric *coalesced;
    struct metric *ambiguous;
    struct metric *latency;
};

struct integration {
    const struct integration_config *config;
    char *id;
    struct pacer *pacer;     /* NULL = none */
    uint32_t inflight_count; /* over all its channels */
    int64_t last_success_ms;
    int64_t last_failure_ms;
    int64_t failing_since_ms; /* 0 = the last attempt succeeded, or none was made */
    char last_error[512];
    struct integration_metrics metrics;
};

struct dead_ref {
    uint64_t id;
    char *integration_id;
};

/* A transfer between submit and its completion being taken in. */
struct transfer {
    struct transfer *next;
    struct notify *notify;
    struct outbox_row *row;
    enum notify_kind kind;
    struct verdict verdict;
    double duration_s;
};

struct engine_metrics {
    struct metric *alerts_received;
    struct metric *flushes;
    struct metric *commit_failures;
    struct metric *corrupt_rows;
    struct metric *alerts;
    struct metric *groups;
    struct metric *queued;
    struct metric *dead;
    struct metric *inbox;
};

struct notify {
    /* immutable after create */
    struct kv_store *kv;
    const struct clock *clock;
    struct log *log;
    struct metric_registry *metrics_registry;
    struct notify_transport transport;
    struct notify_silencer silencer;
    struct http_client *client; /* NULL with a transport of the caller's */
    int wake_fd;

    pthread_mutex_t mu;
    /* guarded by mu */
    struct notify_config *config;
    struct notify_config *next_config; /* taken over at the next tick */
    struct live_set live;
    struct integration **integrations;
    size_t integration_count;
    struct channel **channels;
    size_t channel_count;
    size_t channel_cap;
    struct pacer **pacers;
    size_t pacer_count;
    struct dead_ref *dead; /* ascending ids */
    size_t dead_count;
    size_t dead_cap;
    uint64_t next_row_id;
    uint64_t next_inbox_id;
    uint64_t inbox_count;
    size_t inflight_count;
    int64_t last_tick_ms;
    int64_t next_tidy_ms;
    int64_t last_commit_error_ms;
    char last_commit_error[512];
    bool is_stopping;
    uint64_t alerts_generation;    /* counts changes of the alerts */
    struct inhibit_index *inhibit; /* built for inhibit_generation; NULL = not yet */
    uint64_t inhibit_generation;

    struct op_list ops; /* decided since the last tick's commit began */
    bool has_unsaved;   /* some alert is_unsaved */

    /* owned by the notifier thread */
    struct op_list committing;
    int64_t commit_retry_at_ms; /* 0 = the last commit succeeded */
    struct outbox_row **starting;
    size_t starting_count;
    size_t starting_cap;
    uint64_t random_state;
    pthread_t thread;
    bool has_thread;
    struct engine_metrics metrics;

    pthread_mutex_t done_mu;
    /* guarded by done_mu */
    struct transfer *done_head;
    struct transfer *done_tail;
};

/* ---- notify.c ---- */

void engine_wake(struct notify *notify);
uint64_t engine_random(struct notify *notify);

/* ---- rows.c: alerts and groups as rows ---- */

#define ALERT_KEY_BYTES 24 /* fingerprint, hash, start of the episode */

struct str alert_row_key(char out[ALERT_KEY_BYTES], struct labels labels, int64_t starts_ms);
void alert_row_encode(const struct alert *alert,
                      int64_t received_ms,
                      struct str key,
                      struct buf *out);
WARN_UNUSED bool alert_row_decode(struct str key,
                                  struct str value,
                                  struct arena *arena,
                                  struct alert *ret,
                                  int64_t *ret_received_ms,
                                  struct err *err);
struct alert live_alert_view(const struct live_alert *alert);
void op_put_alert(struct op_list *ops, const struct live_alert *alert);
void op_del_alert(struct op_list *ops, struct labels labels, int64_t starts_ms);

struct group_row {
    struct str key;
    struct str receiver;
    struct labels labels;
    struct group_state state; /* owned by the caller after decode */

    struct done_ref {
        uint64_t hash;
        int64_t starts_ms;
    } * done; /* members dealt with, in the arena */

    size_t done_count;
};

void op_put_group(struct op_list *ops, const struct group *group);
void op_del_group(struct op_list *ops, const struct group *group);
WARN_UNUSED bool group_row_decode(struct str key,
                                  struct str value,
                                  struct arena *arena,
                                  struct group_row *ret,
                                  struct err *err);

/* ---- intake.c: routing of alerts into groups ---- */

/* Put an alert into the groups its routes say. Groups that are created, or wake up, are flushed
 * group_wait after `received_ms`, or at once when the alert is older than that. */
void intake_route(struct notify *notify, struct live_alert *alert, int64_t received_ms);
/* Take over what the rules say of one alert. `was_saved`: a row of it is durable, or will be. */
void intake_apply(struct notify *notify, const struct alert *alert, bool was_saved, int64_t now_ms);
struct alert_sink intake_sink(struct notify *notify);

/* ---- flush.c ---- */

/* Flush groups that are due, until the ops are full. True when some are left. */
bool flush_due_groups(struct notify *notify, int64_t now_ms);

/* ---- inhibit.c ---- */

struct inhibit_index;
void inhibit_index_destroy(struct inhibit_index *index); /* NULL ok */
struct inhibit_index *inhibit_index_create(const struct notify_config *config,
                                           const struct live_set *live);
bool inhibit_index_mutes(const struct inhibit_index *index, const struct live_alert *alert);

/* ---- deliver.c: from a notification to rows ---- */

/* Render for the integration and put the result into the outbox or the inbox. A rendering that
 * fails becomes a plain one with the reason in it, or a dead letter when there is nobody to send
 * it to: a notification never vanishes. */
void deliver(struct notify *notify,
             struct integration *integration,
             const struct notification *n,
             uint64_t lane,
             struct arena *arena);
/* Render what a digest has become: its payload and title. */
void deliver_digest(struct notify *notify,
                    struct outbox_row *row,
                    const struct notification *n,
                    struct str stored,
                    struct arena *arena);
/* True while an earlier message of the lane is on its way through this integration. */
bool deliver_is_pending(const struct notify *notify,
                        const struct integration *integration,
                        uint64_t lane);

/* ---- digest.c ---- */

/* When the channel's queue is long, add the notification to the digest at its end, opening one if
 * need be, instead of queueing it. True when done. */
bool digest_take(struct notify *notify,
                 struct channel *channel,
                 const struct notification *n,
                 uint64_t lane);
/* Render what digests have become and put it into the ops; before every commit. */
void digest_write_all(struct notify *notify, int64_t now_ms);
/* Rebuild a queued digest from its stored form. ERR_CORRUPT. */
WARN_UNUSED bool digest_restore(struct outbox_row *row, struct str stored, struct err *err);

/* ---- queue.c: rows in memory and in the ops ---- */

struct integration *queue_integration(const struct notify *notify, struct str id);
struct channel *queue_channel(struct notify *notify,
                              struct str integration_id,
                              struct str recipient);

struct new_row {
    struct channel *channel;
    uint64_t lane;
    bool is_digest;
    const char *key;
    struct str group_key;
    struct str title;
    struct row_payload payload;
    int64_t now_ms;
};
struct outbox_row *queue_add(struct notify *notify, const struct new_row *spec);
/* Replace title and payload; only before the first attempt. */
void queue_rewrite(struct notify *notify,
                   struct outbox_row *row,
                   struct str title,
                   const struct row_payload *payload);
void queue_put_header(struct notify *notify, const struct outbox_row *row);
/* Delivered: forget the row. */
void queue_finish(struct notify *notify, struct outbox_row *row);
/* Refused for good, or too old: keep it as a dead letter. */
void queue_bury(struct notify *notify, struct outbox_row *row, const char *reason, int64_t now_ms);
/* Remember a dead letter that is in the store. */
void queue_note_dead(struct notify *notify, uint64_t id, struct str integration_id);
/* Rebuild integrations for the current configuration; those that stay keep their figures. */
void queue_configure(struct notify *notify);
/* Free channels that have nothing to do. */
void queue_sweep(struct notify *notify);
void queue_finish_all(struct notify *notify);
size_t queue_row_count(const struct notify *notify);

/* ---- send.c ---- */

/* Mark rows that may go now as in flight and remember them in `starting`. Returns when the next
 * one may. */
int64_t send_start(struct notify *notify, int64_t now_ms);
/* Hand `starting` to the transport; called without the lock, after the commit. */
void send_submit(struct notify *notify);
/* Take in what came back. */
void send_absorb(struct notify *notify, int64_t now_ms);
void send_drop_done(struct notify *notify);

/* ---- inbox.c ---- */

/* Delivery and receipt in one: the message is in the inbox when the batch is committed. */
void inbox_put(struct notify *notify, const struct notification *n, const struct inbox_text *text);
WARN_UNUSED bool inbox_restore(struct notify *notify, struct err *err);

/* ---- restore.c, reload.c ---- */

WARN_UNUSED bool restore(struct notify *notify, struct err *err);
void reload_apply(struct notify *notify, int64_t now_ms);
/* Drop alerts all groups are done with, groups without alerts and anything to remember, and log
 * entries nobody needs. */
void reload_tidy(struct notify *notify);
