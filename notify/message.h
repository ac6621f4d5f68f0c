/*
 * One notification, ready to be rendered for a channel, and the renderers. Everything a message
 * says comes from here; renderers read no clock and no state, so that a message is a pure function
 * of what was committed with it.
 */
#pragma once

#include "base/arena.h"
#include "notify/address.h"
#include "notify/config.h"
#include "notify/dedup.h"

#define MESSAGE_KEY_BYTES      33 /* 32 hex digits and the NUL */
#define MESSAGE_ALERTS_SHOWN   10 /* per section of a rendered message */
#define MESSAGE_BODY_BYTES_MAX (16 * 1024 * 1024)

enum alert_change {
    CHANGE_NEW,   /* firing, not told before */
    CHANGE_STILL, /* firing, told before */
    CHANGE_RESOLVED,
    CHANGE_COUNT,
};

struct message_alert {
    struct labels labels;
    struct labels annotations;
    struct str generator_url;
    int64_t active_ms;
    int64_t starts_ms;
    int64_t ends_ms; /* 0 = firing */
    double value;
    enum alert_change change;
};

struct notification {
    char key[MESSAGE_KEY_BYTES];
    char thread_key[MESSAGE_KEY_BYTES];       /* one per life of the group: mail threads */
    char group_thread_key[MESSAGE_KEY_BYTES]; /* the group's for ever */
    struct str receiver;
    struct str external_url;
    struct str hello; /* host name for Message-ID */
    struct str group_key;
    struct labels group_labels;
    struct labels common_labels;
    struct labels common_annotations;
    struct message_alert *alerts; /* upstream's order */
    size_t alert_count;
    size_t counts[CHANGE_COUNT]; /* of all alerts, those left out of `alerts` included */
    enum notify_reason reason;
    int64_t now_ms;
    size_t digest_update_count; /* > 0: a digest of that many updates */
    size_t digest_group_count;
    struct str note; /* for the reader, e.g. that a template failed; may be empty */
};

/* ---- facts about a notification (message.c) ---- */

static inline size_t notification_firing_count(const struct notification *n) {
    return n->counts[CHANGE_NEW] + n->counts[CHANGE_STILL];
}

static inline const char *notification_status(const struct notification *n) {
    return notification_firing_count(n) > 0 ? "firing" : "resolved";
}

/* Count changes, find common labels and annotations of `alerts`. */
void notification_summarize(struct notification *n, struct arena *arena);

enum severity {
    SEVERITY_NONE, /* no or an unknown severity label */
    SEVERITY_INFO,
    SEVERITY_WARNING,
    SEVERITY_CRITICAL,
    SEVERITY_COUNT,
};

enum severity severity_of(struct labels labels);
/* The worst among the firing alerts; SEVERITY_COUNT when none fires (all is well). */
enum severity notification_severity(const struct notification *n);
/* "#d32f2f" and friends; green when nothing fires. */
const char *notification_color(const struct notification *n);

/* The alerts of one section, worst and oldest first, at most `max`. */
struct alert_view {
    const struct message_alert **items;
    size_t count;
    size_t omitted; /* in the section, not in items */
};
struct alert_view notification_section(const struct notification *n,
                                       enum alert_change change,
                                       size_t max,
                                       struct arena *arena);

struct str annotation_or(const struct message_alert *alert, const char *name, struct str fallback);
/* Summary annotation, else alertname, else the labels. */
struct str alert_headline(const struct message_alert *alert, struct arena *arena);
/* The labels that tell this alert from the others of the message: not in group or common. */
struct labels alert_own_labels(const struct notification *n,
                               const struct message_alert *alert,
                               struct arena *arena);
/* An http(s) link fit for a message, or an empty text. */
struct str safe_url(struct str url);

/* "[FIRING:2] HighErrorRate (job=api)", "[RESOLVED] …", "[FIRING:1, RESOLVED:2] …". One line. */
struct str notification_title(const struct notification *n, struct arena *arena);

/* ---- words (words.c) ---- */

void put_value(struct buf *out, double value);           /* 0.4213, 1.234e+09, NaN */
void put_duration(struct buf *out, int64_t duration_ms); /* 45s, 5m, 1h 2m, 3d 4h */
void put_time(struct buf *out, int64_t t_ms);            /* 2026-01-02 15:04:05 UTC */
/* At most `chars_max` characters of one line: controls become blanks, "…" marks a cut. */
struct str one_line(struct str text, size_t chars_max, struct arena *arena);
/* As one_line, keeping up to `lines_max` line breaks. */
struct str few_lines(struct str text, size_t chars_max, size_t lines_max, struct arena *arena);

/* ---- renderers ---- */

/* Plain text, several lines: mail's text part, the inbox. */
void render_text(const struct notification *n, struct arena *arena, struct buf *out);
void render_html(const struct notification *n, struct arena *arena, struct buf *out);

/* The notification as the templates see it, built at first use. */
struct template_data {
    bool is_built;
    struct tmpl_value value;
};

/* A rendering may fail in a user's template: ERR_EXEC. */
struct render {
    const struct notify_config *config;
    const struct integration_config *integration;
    const struct notification *n;
    struct arena *arena;
    struct template_data *data;
    bool is_default; /* ignore the user's templates */
};

/* The request body of an incoming webhook or chat.postMessage. */
WARN_UNUSED bool render_slack(const struct render *render, struct buf *out, struct err *err);
/* Alertmanager's webhook JSON, version 4. */
WARN_UNUSED bool render_webhook(const struct render *render, struct buf *out, struct err *err);

struct inbox_text {
    struct str title;
    struct str text;
    struct str alerts_json;
};

WARN_UNUSED bool render_inbox(const struct render *render, struct inbox_text *ret, struct err *err);
void render_alerts_json(const struct notification *n, size_t max, struct buf *out);

/* The envelope of a mail; every recipient gets its own copy of the same message. ERR_INVALID for
 * what are no addresses. */
struct mail_envelope {
    struct address_list from; /* exactly one */
    struct address_list to;
};

WARN_UNUSED bool render_envelope(const struct render *render,
                                 struct mail_envelope *ret,
                                 struct err *err);
/* A complete RFC 5322 message. */
WARN_UNUSED bool render_email(const struct render *render,
                              const struct mail_envelope *envelope,
                              struct buf *out,
                              struct err *err);

/* ---- templates (templates.c) ---- */

/* The text with its actions executed; literals are returned as they are, absent ones empty. */
WARN_UNUSED bool render_template(const struct render *render,
                                 const struct template_text *text,
                                 bool is_html,
                                 struct str *ret,
                                 struct err *err);
