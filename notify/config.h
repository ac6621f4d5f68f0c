/*
 * The notifier's configuration in memory: receivers with their integrations, the route tree,
 * inhibition rules and time intervals. Immutable once made.
 */
#pragma once

#include <stdatomic.h>

#include "base/template.h"
#include "notify/matchers.h"
#include "notify/notify.h"
#include "notify/time_interval.h"

/* ---- pieces ---- */

/* A secret given inline or as a file that is read at every use; at most one is set. */
struct secret {
    char *value;
    char *file;
};

bool secret_is_set(const struct secret *secret);
void secret_finish(struct secret *secret);
/* The secret without trailing white space. ERR_IO, ERR_LIMIT (64 KiB). Never printed in errors. */
WARN_UNUSED bool secret_read(const struct secret *secret, struct buf *ret, struct err *err);

/* A text that may hold template actions; then `name` is its template in the configuration's set. */
struct template_text {
    char *text; /* NULL = not given */
    char *name; /* NULL = literal */
};

struct tls_settings {
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *server_name;
    bool insecure_skip_verify;
};

/* What we honour of upstream's http_config. */
struct http_settings {
    char *username;
    struct secret password;
    struct secret bearer_token;
    struct tls_settings tls;
    bool follow_redirects;
};

/* ---- integrations ---- */

enum notify_kind {
    NOTIFY_SLACK,
    NOTIFY_EMAIL,
    NOTIFY_WEBHOOK,
    NOTIFY_INBOX,
    NOTIFY_KIND_COUNT,
};

const char *notify_kind_to_string(enum notify_kind kind);

struct slack_field {
    struct template_text title;
    struct template_text value;
    int is_short; /* -1 = as the attachment says */
};

struct slack_confirm {
    struct template_text title;
    struct template_text text;
    struct template_text ok_text;
    struct template_text dismiss_text;
};

struct slack_action {
    struct template_text type;
    struct template_text text;
    struct template_text url;
    struct template_text style;
    struct template_text name;
    struct template_text value;
    struct slack_confirm confirm;
};

struct slack_config {
    struct secret api_url;
    struct secret app_token; /* set: posted to app_url with this bearer token */
    char *app_url;
    struct template_text channel;
    struct template_text username;
    struct template_text color;
    struct template_text title;
    struct template_text title_link;
    struct template_text pretext;
    struct template_text text;
    struct template_text message_text;
    struct template_text footer;
    struct template_text fallback;
    struct template_text callback_id;
    struct template_text icon_emoji;
    struct template_text icon_url;
    struct template_text image_url;
    struct template_text thumb_url;
    struct slack_field *fields;
    size_t field_count;
    struct slack_action *actions;
    size_t action_count;
    char **mrkdwn_in;
    size_t mrkdwn_in_count;
    bool short_fields;
    bool link_names;
    bool update_message;
};

struct email_header {
    char *name; /* canonical: "Reply-To" */
    struct template_text value;
};

enum email_threading {
    EMAIL_THREAD_INCIDENT, /* one thread per life of a group */
    EMAIL_THREAD_GROUP,    /* threading.enabled, thread_by_date: none */
    EMAIL_THREAD_DAILY,    /* threading.enabled, thread_by_date: daily */
};

struct email_config {
    struct template_text to;
    struct template_text from;
    char *hello;
    char *smarthost; /* host:port */
    char *auth_username;
    char *auth_identity;
    struct secret auth_password;
    struct secret auth_secret;
    struct email_header *headers;
    size_t header_count;
    struct template_text html;
    struct template_text text;
    int require_tls;        /* -1 = as global */
    int force_implicit_tls; /* -1 = by port */
    struct tls_settings tls;
    bool has_tls;
    enum email_threading threading;
};

struct webhook_config {
    struct secret url;
    uint64_t max_alerts; /* 0 = all */
};

struct inbox_config {
    struct template_text title;
    struct template_text text;
};

struct integration_config {
    enum notify_kind kind;
    uint32_t index; /* among those of its kind in the receiver */
    char *id;       /* "receiver/slack/0": the identity across restarts and reloads */
    const struct receiver_config *receiver;
    bool send_resolved;
    int64_t timeout_ms;         /* of one transfer; 0 = default */
    struct http_settings *http; /* NULL = the global one */

    union {
        struct slack_config slack;
        struct email_config email;
        struct webhook_config webhook;
        struct inbox_config inbox;
    };
};

struct receiver_config {
    char *name;
    struct integration_config **integrations;
    size_t integration_count;
    size_t integration_cap;       /* private */
    size_t unsupported_count;     /* integrations of other kinds */
    const struct yaml_node *node; /* while decoding */
};

/* ---- routes, inhibition ---- */

struct route_config {
    const struct route_config *parent;
    struct route_config **routes;
    size_t route_count;
    struct matcher_list matchers;
    bool is_continue;

    /* effective values, inherited ones included */
    const struct receiver_config *receiver;
    char **group_by; /* sorted */
    size_t group_by_count;
    bool group_by_all;
    int64_t group_wait_ms;
    int64_t group_interval_ms;
    int64_t repeat_interval_ms;

    /* of this route only */
    const struct time_interval **mute_intervals;
    size_t mute_interval_count;
    const struct time_interval **active_intervals;
    size_t active_interval_count;

    char *key;        /* upstream's Route.Key(): matchers from the root, joined by '/' */
    uint32_t ordinal; /* among routes with the same key and receiver */
};

struct inhibit_rule {
    char *name; /* may be NULL */
    struct matcher_list source;
    struct matcher_list target;
    char **equal; /* sorted */
    size_t equal_count;
};

struct global_config {
    int64_t resolve_timeout_ms; /* accepted; alerts of our own rules never time out */
    struct http_settings http;
    char *smtp_from;
    char *smtp_hello;
    char *smtp_smarthost;
    char *smtp_auth_username;
    char *smtp_auth_identity;
    struct secret smtp_auth_password;
    struct secret smtp_auth_secret;
    struct tls_settings smtp_tls;
    bool smtp_require_tls;
    int smtp_force_implicit_tls; /* -1 = by port */
    struct secret slack_api_url;
    struct secret slack_app_token;
    char *slack_app_url;
};

struct notify_config {
    atomic_uint ref_count;
    char *external_url;
    char *hello;
    char *dir; /* relative paths count from here */
    struct global_config global;
    struct receiver_config **receivers;
    size_t receiver_count;
    size_t receiver_cap; /* private */
    struct route_config *route;
    struct inhibit_rule *inhibit_rules;
    size_t inhibit_rule_count;
    struct time_interval *time_intervals;
    size_t time_interval_count;
    char **templates;
    size_t template_count;
    struct tmpl *tmpl; /* defaults, files and every template_text */
    struct tmpl_func *tmpl_funcs;
};

struct receiver_config *config_find_receiver(const struct notify_config *config, struct str name);
const struct integration_config *config_find_integration(const struct notify_config *config,
                                                         struct str id);
/* The settings that hold for an integration's HTTP transfers. */
const struct http_settings *config_http(const struct notify_config *config,
                                        const struct integration_config *integration);

/* ---- shared between the decoders ---- */

/* yaml_decode.user of every decoder here. */
struct config_decode {
    struct notify_config *config;
    struct receiver_config *receiver;
    struct integration_config *integration;
};

struct notify_config *config_create(const struct notify_config_params *params, const char *dir);
struct receiver_config *config_add_receiver(struct notify_config *config, struct str name);
struct integration_config *config_add_integration(struct receiver_config *receiver,
                                                  enum notify_kind kind);
/* A path as written, made relative to the configuration's directory. Replaces *path. */
void config_resolve_path(const struct notify_config *config, char **path);

/* A struct template_text of the integration being decoded. */
void config_decode_template(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
void config_decode_tristate(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
/* Scalars of a sequence; false when it is none. */
bool config_decode_strings(struct yaml_decode *ctx,
                           const struct yaml_node *node,
                           char ***ret,
                           size_t *ret_count);
void config_decode_http(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
void config_decode_tls(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
void config_decode_global(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
void config_decode_receivers(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
void config_decode_inhibit_rules(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
/* After receivers and time intervals. */
void config_decode_route_tree(struct yaml_decode *ctx, const struct yaml_node *node);
/* Fill what receivers inherit from `global:` and check what must be there. */
void config_resolve_receivers(struct yaml_decode *ctx);
/* An URL we can post to, or a finding. */
void config_check_url(struct yaml_decode *ctx, const struct yaml_node *node, const char *url);
/* One finding when both are given. */
void config_check_one_of(struct yaml_decode *ctx,
                         const struct yaml_node *node,
                         bool has_a,
                         bool has_b,
                         const char *names);

void tls_settings_finish(struct tls_settings *tls);
void http_settings_finish(struct http_settings *http);
void integration_config_destroy(struct integration_config *integration);
void route_config_destroy(struct route_config *route);
void inhibit_rule_finish(struct inhibit_rule *rule);
void string_list_free(char **items, size_t count);

/* ---- templates (templates.c) ---- */

/* A set with upstream's functions and default templates. *ret_funcs (mem_free) outlives it. */
struct tmpl *templates_create(struct tmpl_func **ret_funcs);
