/*
 * The notifier: alerts in, messages out, nothing lost and nothing said twice.
 *
 *   rules ─▶ alert_sink ─▶ route tree ─▶ groups ─▶ dedup ─▶ outbox ─▶ Slack, email, webhook
 *                                                     └─▶ inbox
 *
 * Semantics  Alertmanager's: route tree, group_wait / group_interval / repeat_interval, inhibition,
 *            time intervals, send_resolved, deduplication against the notification log. Unlike it,
 *            alerts never resolve by timeout: only the rules say so.
 * Durability alerts (KV_NOTIFY_ALERT) join the evaluation's own batch; a group's state, its
 *            notification log (KV_NOTIFY_GROUP) and the rendered messages (KV_OUTBOX, KV_INBOX)
 *            change in one batch before anything is sent. A restart continues with the same timers.
 * Delivery   at least once, in order per group and receiver; a message has one key for life (Slack
 *            footer, mail Message-ID, Idempotency-Key header). A duplicate is possible only when
 *            the process dies, or the connection breaks, between the peer's acceptance and our
 *            commit of the receipt. Permanent refusals end as dead letters: kept, counted, logged.
 * Threads    one notifier thread (notify_start) or a simulation calling notify_tick. The alert
 *            sink, snapshots and the inbox may be used from any thread.
 */
#pragma once

#include "base/arena.h"
#include "base/clock.h"
#include "base/http.h"
#include "base/kv.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/yaml.h"
#include "model/alert.h"

/* ---- configuration ---- */

/* Immutable once made; reference-counted. */
struct notify_config;

struct notify_config *notify_config_ref(struct notify_config *config);
void notify_config_unref(struct notify_config *config); /* NULL ok */

struct notify_config_params {
    const char *external_url; /* for links back to us; NULL = "" */
    const char *hello;        /* host name of this machine: Message-ID, EHLO; NULL = "localhost" */
    /* True for an alertmanager.yml of its own: unknown keys at the top and under `global:` are
     * errors. False for the union file, whose other keys belong to (and are judged by) app. */
    bool is_standalone;
};

/* The keys this module owns, NULL-terminated: at the top of the file and under `global:`. Whoever
 * decodes the union file accepts these besides its own. */
extern const char *const notify_config_root_keys[];
extern const char *const notify_config_global_keys[];
/* Keys whose values are secrets, at any depth: to be shown as <secret>. */
extern const char *const notify_config_secret_keys[];

/* True when the file says where alerts go (has `route` or `receivers`). */
bool notify_config_is_present(const struct yaml_node *root);

/*
 * Decode the alertmanager-shaped part of a configuration file. Relative paths (templates, *_file)
 * count from the file's directory. Valid integrations we do not have give one warning each, at
 * their position. False when any error was added to ctx->diags; *ret is untouched then.
 */
WARN_UNUSED bool notify_config_decode(struct yaml_decode *ctx,
                                      const struct yaml_node *root,
                                      const struct notify_config_params *params,
                                      struct notify_config **ret);

/* What the environment says; NULL or "" = not set. */
struct notify_env_config {
    const char *slack_webhook_url; /* ALERT_WEBHOOK_URL */
    const char *email_to;          /* ALERT_EMAIL: addresses separated by commas */
    const char *smtp_host;         /* SMTP_HOST: host or host:port */
    const char *smtp_port;         /* SMTP_PORT: 587 by default; 465 means TLS from the start */
    const char *smtp_username;     /* SMTP_USER or SMTP_USERNAME */
    const char *smtp_password;     /* SMTP_PASSWORD */
    const char *smtp_from;         /* SMTP_FROM; by default the user name, if it is an address */
    const char *smtp_tls;          /* SMTP_TLS: "starttls" (default), "tls", "none"; or a boolean */
};

/*
 * The configuration without a file: everything to `inbox`, and to Slack and email where the
 * environment names them. Grouped by alertname and job, group_wait 10 s, group_interval 1 m,
 * repeat_interval 4 h, resolved messages sent. ERR_INVALID names the variable.
 */
WARN_UNUSED bool notify_config_from_env(const struct notify_env_config *env,
                                        const struct notify_config_params *params,
                                        struct notify_config **ret,
                                        struct err *err);

/* The effective configuration as YAML, secrets as <secret>. */
void notify_config_print(const struct notify_config *config, struct buf *out);

/* ---- life ---- */

/* How messages leave the process; a recording double in tests. The contract is http_submit()'s:
 * true means `done` is called exactly once, from any thread, possibly before submit returns. */
struct notify_transport {
    bool (*submit)(void *ctx,
                   const struct http_request *request,
                   http_done_fn done,
                   void *done_ctx,
                   struct err *err);
    void *ctx;
};

/* Silences: asked at every flush for every alert. NULL is_silenced = none. Called on the notifier
 * thread with the notifier's lock held: must not call back. */
struct notify_silencer {
    bool (*is_silenced)(void *ctx, struct labels labels, int64_t now_ms);
    void *ctx;
};

struct notify_options {
    struct kv_store *kv;               /* outlives the notifier */
    struct notify_config *config;      /* a reference is taken */
    const struct clock *clock;         /* read by the notifier thread only */
    struct log *log;                   /* may be NULL */
    struct metric_registry *metrics;   /* may be NULL */
    struct notify_transport transport; /* submit NULL = an http client of its own */
    struct notify_silencer silencer;
    uint64_t jitter_seed; /* of retry delays; 0 = random */
};

struct notify;

/* Restores all state from the store. Rows that fail their checksum are logged, counted and left
 * alone. ERR_INVALID when rows were written by a newer program; ERR_IO. */
WARN_UNUSED bool notify_create(const struct notify_options *options,
                               struct notify **ret,
                               struct err *err);
/* Stops the thread first. What is in flight is abandoned: it stays committed as in flight and is
 * sent again after the next start. NULL ok. */
void notify_destroy(struct notify *notify);

WARN_UNUSED bool notify_start(struct notify *notify, struct err *err);
/* Joins the thread; waits at most grace_ms for transfers in flight. */
void notify_stop(struct notify *notify, int64_t grace_ms);

/* Hand this to rules. Valid as long as the notifier. */
struct alert_sink notify_alert_sink(struct notify *notify);

/* Take a new configuration, in force from the next tick: groups keep their timers and their log
 * where route and receiver still exist; messages already in the outbox go out through the
 * integration of the same name, or become dead letters when there is none. */
void notify_reload(struct notify *notify, struct notify_config *config);

/*
 * One step of the notifier: take in completions, flush due groups, send what may be sent. Returns
 * when to call again at the latest (Unix ms; INT64_MAX = only when something arrives). The
 * notifier thread's body; call it directly only when notify_start was not.
 */
int64_t notify_tick(struct notify *notify, int64_t now_ms);

/*
 * For a store that was restored from a backup, before a notifier runs on it: messages that wait in
 * the outbox and were made before created_before_ms become dead letters. Their groups know them as
 * told; alerts that still fire are told again after repeat_interval. Waits for the disk.
 */
WARN_UNUSED bool notify_retire_waiting(struct kv_store *kv,
                                       int64_t created_before_ms,
                                       int64_t now_ms,
                                       size_t *ret_count,
                                       struct err *err);

/* ---- looking inside ---- */

struct notify_receiver_view {
    struct str receiver;      /* "team-x" */
    struct str integration;   /* "slack", "email", "webhook", "inbox" */
    uint32_t index;           /* among those of its kind in the receiver */
    int64_t last_success_ms;  /* 0 = never since start */
    int64_t last_failure_ms;  /* 0 = never since start */
    struct str last_error;    /* of the last failure, for people */
    uint64_t queued_count;    /* messages waiting or in flight */
    uint64_t dead_count;      /* dead letters kept */
    int64_t oldest_queued_ms; /* 0 = nothing queued */
    uint32_t failures_in_a_row;
};

struct notify_group_view {
    struct str key; /* Alertmanager's group key: {}/{severity="page"}:{alertname="X"} */
    struct str receiver;
    struct labels labels;
    uint32_t firing_count;
    uint32_t resolved_count;
    uint32_t muted_count; /* inhibited or silenced at the last flush */
    int64_t next_flush_ms;
    int64_t last_flush_ms; /* 0 = not yet */
};

struct notify_status {
    struct notify_receiver_view *receivers;
    size_t receiver_count;
    struct notify_group_view *groups;
    size_t group_count;
    uint64_t alert_count;
    uint64_t queued_count;
    uint64_t dead_count;
    int64_t last_tick_ms;         /* wall clock of the last notify_tick; 0 = none */
    int64_t last_commit_error_ms; /* 0 = the last commit succeeded */
    struct str last_commit_error;
};

/* A consistent copy in `arena`. */
void notify_status_get(struct notify *notify, struct arena *arena, struct notify_status *ret);

/* For readiness: true when the notifier has ticked within 30 s, its commits succeed and no
 * receiver has been failing for more than 5 minutes. ret_reason (may be NULL) says why not. */
bool notify_is_healthy(struct notify *notify, int64_t now_ms, struct buf *ret_reason);

struct notify_dead_letter {
    uint64_t id;
    struct str receiver;
    struct str integration;
    struct str recipient; /* mail only */
    struct str key;       /* hex */
    struct str group_key;
    struct str title;
    struct str reason;
    int64_t created_ms;
    int64_t died_ms;
    uint32_t attempts;
};

/* Newest first. At most 1,000 are kept. */
WARN_UNUSED bool notify_dead_letters_list(struct notify *notify,
                                          struct arena *arena,
                                          struct notify_dead_letter **ret,
                                          size_t *ret_count,
                                          struct err *err);

/* ---- inbox ---- */

#define NOTIFY_INBOX_COUNT_MAX 10000 /* newest kept */

struct notify_inbox_message {
    uint64_t id; /* ascending in time, never reused */
    int64_t at_ms;
    struct str receiver;
    struct str status; /* "firing" or "resolved" */
    struct str title;
    struct str text; /* plain text, several lines */
    struct str group_key;
    struct str key; /* hex: the message's identity across channels */
    uint32_t firing_count;
    uint32_t resolved_count;
    /* A JSON array of {status, labels, annotations, startsAt, endsAt, value, generatorURL,
     * fingerprint}; at most 100 alerts. */
    struct str alerts_json;
};

struct notify_inbox_page {
    struct notify_inbox_message *messages; /* newest first */
    size_t count;
    uint64_t total; /* messages in the inbox */
};

WARN_UNUSED bool notify_inbox_list(struct notify *notify,
                                   uint64_t offset,
                                   uint64_t limit,
                                   struct arena *arena,
                                   struct notify_inbox_page *ret,
                                   struct err *err);

/* ---- proving a channel ---- */

/* Queue one test message for every integration of the receiver (marked [TEST]); the notifier's next
 * tick saves and sends it. ERR_NOT_FOUND. */
WARN_UNUSED bool notify_check_receiver(struct notify *notify,
                                       const char *receiver,
                                       int64_t now_ms,
                                       struct err *err);
