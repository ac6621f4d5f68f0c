/*
 * A notifier in a bottle: memory store, virtual clock, recording transport. A day of alerts takes
 * milliseconds, and the process can be "killed" at any commit or transfer.
 */
#pragma once

#include "notify/notify.h"
#include "tests/base/kv_memory.h"

/* One transfer as it left the process. */
struct sent {
    int64_t at_ms;
    char *url;
    char *body;
    char *key;       /* Idempotency-Key */
    char *recipient; /* mail */
    char *mail_from;
    char *bearer;
    char *username;
    bool mail_require_tls;
};

/* A reply to play back; status 0 = a network failure. */
struct reply {
    int status;
    const char *body;
    int64_t retry_after_ms; /* 0 = none */
    bool was_sent;          /* of a network failure */
    enum err_code code;     /* of a network failure; 0 = ERR_IO */
};

enum crash_point {
    CRASH_NEVER,
    CRASH_BEFORE_COMMIT, /* the n-th commit does not reach the disk */
    CRASH_AFTER_COMMIT,  /* it does, but the process does not learn of it */
    CRASH_AFTER_SEND,    /* the n-th transfer is accepted, its receipt is lost */
};

struct pending {
    http_done_fn done;
    void *done_ctx;
};

struct sim {
    struct kv_store store; /* in front of the memory, to kill at commits */
    struct kv_memory *memory;
    struct notify *notify;
    struct notify_config *config;
    struct metric_registry *metrics;
    int64_t now_ms;
    struct sent *sent;
    size_t sent_count;
    size_t sent_cap;
    /* Chooses the reply; NULL = always 200 "ok". */
    struct reply (*reply)(void *ctx, const struct sent *sent);
    void *reply_ctx;
    bool is_holding; /* transfers stay in flight until sim_release() */
    struct pending *pending;
    size_t pending_count;
    size_t pending_cap;
    enum crash_point crash;
    size_t crash_countdown; /* 1 = the next one */
    bool has_crashed;
    size_t unsaved_receipts; /* transfers since the last commit */
    size_t window;           /* those at the moment of the crash: they may come twice */
    bool (*is_silenced)(void *ctx, struct labels labels, int64_t now_ms);
    void *silence_ctx;
};

#define SIM_START_MS INT64_C(1767366245000) /* 2026-01-02T15:04:05Z */

/* A configuration from YAML text; fails the test when it is not accepted. */
struct notify_config *config_from_yaml(const char *text);

void sim_init(struct sim *sim, const char *yaml);
void sim_finish(struct sim *sim);
/* End the process without a word and start it anew on what was committed. */
void sim_restart(struct sim *sim);

/* Run the notifier until `by_ms` have passed; restarts after a crash. */
void sim_run(struct sim *sim, int64_t by_ms);
void sim_release(struct sim *sim, struct reply reply);

/* An alert through the sink, in a committed batch; `text` is "alertname=X,instance=a". */
void sim_fire(struct sim *sim, const char *text);
void sim_resolve(struct sim *sim, const char *text);
/* Several at once, NULL-terminated; a leading '-' resolves. */
void sim_alerts(struct sim *sim, const char *const *texts);

struct sim_alert {
    const char *labels;
    const char *annotations;
    const char *generator_url;
    int64_t starts_ms;
    int64_t ends_ms;
    double value;
};

void sim_alert(struct sim *sim, const struct sim_alert *alert);

/*
 * What went out, a line per transfer: seconds since the start, receiver or recipient, and for
 * webhooks the alerts (+ firing, - resolved) by their "id" label, else alertname:
 *   30 team-x +A -B
 * Compares with `expected` and fails with both texts.
 */
void sim_expect(struct sim *sim, const char *expected);
void sim_forget(struct sim *sim); /* start a new list */

struct labels parse_labels(const char *text, struct arena *arena);
/* Whole file under tests/notify/golden; NULL when absent. mem_free. */
char *golden_read(const char *name);
/* Compare with a golden file; with TOCSIN_GOLDEN_WRITE set, write it. */
void golden_check(const char *name, struct str text);
