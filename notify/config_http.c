/* `http_config:`, `tls_config:` and `global:`. */
#include "base/mem.h"
#include "notify/config.h"

/* ---- TLS ---- */

void tls_settings_finish(struct tls_settings *tls) {
    mem_free(tls->ca_file);
    mem_free(tls->cert_file);
    mem_free(tls->key_file);
    mem_free(tls->server_name);
    *tls = (struct tls_settings){ 0 };
}

#define TLS(name_, type_) \
    { .key = #name_, .type = (type_), .offset = offsetof(struct tls_settings, name_) }

static const struct yaml_field tls_fields[] = {
    TLS(ca_file, YAML_STRING),
    TLS(cert_file, YAML_STRING),
    TLS(key_file, YAML_STRING),
    TLS(server_name, YAML_STRING),
    TLS(insecure_skip_verify, YAML_BOOL),
    { .key = "ca", .type = YAML_IGNORED },
    { .key = "cert", .type = YAML_IGNORED },
    { .key = "key", .type = YAML_IGNORED },
    { .key = "min_version", .type = YAML_IGNORED },
    { .key = "max_version", .type = YAML_IGNORED },
};

void config_decode_tls(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct config_decode *decode = ctx->user;
    struct tls_settings *tls = dest;
    (void)yaml_decode_mapping(ctx, node, tls_fields, ARRAY_LEN(tls_fields), tls);
    config_resolve_path(decode->config, &tls->ca_file);
    config_resolve_path(decode->config, &tls->cert_file);
    config_resolve_path(decode->config, &tls->key_file);
    if ((tls->cert_file == NULL) != (tls->key_file == NULL)) {
        yaml_error(ctx, node, DIAG_ERROR, "cert_file and key_file belong together");
    }
}

/* ---- http_config ---- */

struct raw_auth {
    char *username;
    char *type;
    struct secret secret;
};

struct raw_http {
    struct http_settings http;
    struct raw_auth basic;
    struct raw_auth authorization;
    bool has_basic;
    bool has_authorization;
};

static const struct yaml_field basic_fields[] = {
    { .key = "username", .type = YAML_STRING, .offset = offsetof(struct raw_auth, username) },
    { .key = "password", .type = YAML_STRING, .offset = offsetof(struct raw_auth, secret.value) },
    { .key = "password_file",
      .type = YAML_STRING,
      .offset = offsetof(struct raw_auth, secret.file) },
    { .key = "username_file", .type = YAML_IGNORED },
};

static const struct yaml_field authorization_fields[] = {
    { .key = "type", .type = YAML_STRING, .offset = offsetof(struct raw_auth, type) },
    { .key = "credentials",
      .type = YAML_STRING,
      .offset = offsetof(struct raw_auth, secret.value) },
    { .key = "credentials_file",
      .type = YAML_STRING,
      .offset = offsetof(struct raw_auth, secret.file) },
};

static void decode_basic(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct raw_http *raw = dest;
    raw->has_basic = !yaml_is_null(node);
    (void)yaml_decode_mapping(ctx, node, basic_fields, ARRAY_LEN(basic_fields), &raw->basic);
    config_check_one_of(ctx, node, raw->basic.secret.value != NULL, raw->basic.secret.file != NULL,
                        "password & password_file");
}

static void decode_authorization(struct yaml_decode *ctx,
                                 const struct yaml_node *node,
                                 void *dest) {
    struct raw_http *raw = dest;
    struct raw_auth *auth = &raw->authorization;
    raw->has_authorization = !yaml_is_null(node);
    (void)yaml_decode_mapping(ctx, node, authorization_fields, ARRAY_LEN(authorization_fields),
                              auth);
    config_check_one_of(ctx, node, auth->secret.value != NULL, auth->secret.file != NULL,
                        "credentials & credentials_file");
    if (auth->type != NULL && !str_eq_nocase(str_from(auth->type), STR("Bearer"))) {
        yaml_error(ctx, node, DIAG_ERROR,
                   "authorization type \"%s\" is not supported: use Bearer, or basic_auth",
                   auth->type);
    }
}

static const struct yaml_field http_fields[] = {
    { .key = "basic_auth", .type = YAML_CUSTOM, .offset = 0, .decode = decode_basic },
    { .key = "authorization", .type = YAML_CUSTOM, .offset = 0, .decode = decode_authorization },
    { .key = "bearer_token",
      .type = YAML_STRING,
      .offset = offsetof(struct raw_http, http.bearer_token.value) },
    { .key = "bearer_token_file",
      .type = YAML_STRING,
      .offset = offsetof(struct raw_http, http.bearer_token.file) },
    { .key = "tls_config",
      .type = YAML_CUSTOM,
      .offset = offsetof(struct raw_http, http.tls),
      .decode = config_decode_tls },
    { .key = "follow_redirects",
      .type = YAML_BOOL,
      .offset = offsetof(struct raw_http, http.follow_redirects) },
    { .key = "oauth2", .type = YAML_IGNORED },
    { .key = "enable_http2", .type = YAML_IGNORED },
    { .key = "http_headers", .type = YAML_IGNORED },
    { .key = "proxy_url", .type = YAML_IGNORED },
    { .key = "no_proxy", .type = YAML_IGNORED },
    { .key = "proxy_from_environment", .type = YAML_IGNORED },
    { .key = "proxy_connect_header", .type = YAML_IGNORED },
};

void http_settings_finish(struct http_settings *http) {
    mem_free(http->username);
    secret_finish(&http->password);
    secret_finish(&http->bearer_token);
    tls_settings_finish(&http->tls);
    *http = (struct http_settings){ 0 };
}

void config_decode_http(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct config_decode *decode = ctx->user;
    struct http_settings *http = dest;
    struct raw_http raw = { .http.follow_redirects = true };
    if (yaml_is_null(node)) {
        return;
    }
    (void)yaml_decode_mapping(ctx, node, http_fields, ARRAY_LEN(http_fields), &raw);
    bool has_bearer = secret_is_set(&raw.http.bearer_token);
    if ((int)raw.has_basic + (int)raw.has_authorization + (int)has_bearer > 1) {
        yaml_error(ctx, node, DIAG_ERROR,
                   "at most one of basic_auth, authorization & bearer_token must be configured");
    }
    if (raw.has_basic) {
        raw.http.username = raw.basic.username;
        raw.http.password = raw.basic.secret;
        raw.basic = (struct raw_auth){ 0 };
    }
    if (raw.has_authorization && !has_bearer) {
        raw.http.bearer_token = raw.authorization.secret;
        raw.authorization.secret = (struct secret){ 0 };
    }
    config_resolve_path(decode->config, &raw.http.password.file);
    config_resolve_path(decode->config, &raw.http.bearer_token.file);
    mem_free(raw.basic.username);
    secret_finish(&raw.basic.secret);
    mem_free(raw.authorization.type);
    secret_finish(&raw.authorization.secret);
    http_settings_finish(http);
    *http = raw.http;
}

/* ---- global ---- */

#define GLOBAL(name_, type_, field_) \
    { .key = (name_), .type = (type_), .offset = offsetof(struct global_config, field_) }
#define GLOBAL_CUSTOM(name_, field_, decode_)                                                  \
    {                                                                                          \
        .key = (name_), .type = YAML_CUSTOM, .offset = offsetof(struct global_config, field_), \
        .decode = (decode_)                                                                    \
    }
#define GLOBAL_IGNORED(name_) \
    { .key = (name_), .type = YAML_IGNORED }

static const struct yaml_field global_fields[] = {
    GLOBAL("resolve_timeout", YAML_DURATION, resolve_timeout_ms),
    GLOBAL_CUSTOM("http_config", http, config_decode_http),
    GLOBAL("smtp_from", YAML_STRING, smtp_from),
    GLOBAL("smtp_hello", YAML_STRING, smtp_hello),
    GLOBAL("smtp_smarthost", YAML_STRING, smtp_smarthost),
    GLOBAL("smtp_auth_username", YAML_STRING, smtp_auth_username),
    GLOBAL("smtp_auth_password", YAML_STRING, smtp_auth_password.value),
    GLOBAL("smtp_auth_password_file", YAML_STRING, smtp_auth_password.file),
    GLOBAL("smtp_auth_secret", YAML_STRING, smtp_auth_secret.value),
    GLOBAL("smtp_auth_secret_file", YAML_STRING, smtp_auth_secret.file),
    GLOBAL("smtp_auth_identity", YAML_STRING, smtp_auth_identity),
    GLOBAL("smtp_require_tls", YAML_BOOL, smtp_require_tls),
    GLOBAL_CUSTOM("smtp_tls_config", smtp_tls, config_decode_tls),
    GLOBAL_CUSTOM("smtp_force_implicit_tls", smtp_force_implicit_tls, config_decode_tristate),
    GLOBAL("slack_api_url", YAML_STRING, slack_api_url.value),
    GLOBAL("slack_api_url_file", YAML_STRING, slack_api_url.file),
    GLOBAL("slack_app_token", YAML_STRING, slack_app_token.value),
    GLOBAL("slack_app_token_file", YAML_STRING, slack_app_token.file),
    GLOBAL("slack_app_url", YAML_STRING, slack_app_url),
    GLOBAL_IGNORED("jira_api_url"),
    GLOBAL_IGNORED("mattermost_webhook_url"),
    GLOBAL_IGNORED("mattermost_webhook_url_file"),
    GLOBAL_IGNORED("opsgenie_api_key"),
    GLOBAL_IGNORED("opsgenie_api_key_file"),
    GLOBAL_IGNORED("opsgenie_api_url"),
    GLOBAL_IGNORED("pagerduty_url"),
    GLOBAL_IGNORED("rocketchat_api_url"),
    GLOBAL_IGNORED("rocketchat_token"),
    GLOBAL_IGNORED("rocketchat_token_file"),
    GLOBAL_IGNORED("rocketchat_token_id"),
    GLOBAL_IGNORED("rocketchat_token_id_file"),
    GLOBAL_IGNORED("telegram_api_url"),
    GLOBAL_IGNORED("telegram_bot_token"),
    GLOBAL_IGNORED("telegram_bot_token_file"),
    GLOBAL_IGNORED("victorops_api_key"),
    GLOBAL_IGNORED("victorops_api_key_file"),
    GLOBAL_IGNORED("victorops_api_url"),
    GLOBAL_IGNORED("webex_api_url"),
    GLOBAL_IGNORED("wechat_api_corp_id"),
    GLOBAL_IGNORED("wechat_api_secret"),
    GLOBAL_IGNORED("wechat_api_secret_file"),
    GLOBAL_IGNORED("wechat_api_url"),
};

const char *const notify_config_global_keys[] = {
    "resolve_timeout",
    "http_config",
    "smtp_from",
    "smtp_hello",
    "smtp_smarthost",
    "smtp_auth_username",
    "smtp_auth_password",
    "smtp_auth_password_file",
    "smtp_auth_secret",
    "smtp_auth_secret_file",
    "smtp_auth_identity",
    "smtp_require_tls",
    "smtp_tls_config",
    "smtp_force_implicit_tls",
    "slack_api_url",
    "slack_api_url_file",
    "slack_app_token",
    "slack_app_token_file",
    "slack_app_url",
    "jira_api_url",
    "mattermost_webhook_url",
    "mattermost_webhook_url_file",
    "opsgenie_api_key",
    "opsgenie_api_key_file",
    "opsgenie_api_url",
    "pagerduty_url",
    "rocketchat_api_url",
    "rocketchat_token",
    "rocketchat_token_file",
    "rocketchat_token_id",
    "rocketchat_token_id_file",
    "telegram_api_url",
    "telegram_bot_token",
    "telegram_bot_token_file",
    "victorops_api_key",
    "victorops_api_key_file",
    "victorops_api_url",
    "webex_api_url",
    "wechat_api_corp_id",
    "wechat_api_secret",
    "wechat_api_secret_file",
    "wechat_api_url",
    NULL,
};
_Static_assert(ARRAY_LEN(notify_config_global_keys) == ARRAY_LEN(global_fields) + 1,
               "one key per field");

void config_decode_global(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct config_decode *decode = ctx->user;
    struct global_config *global = dest;
    global->http.follow_redirects = true;
    (void)yaml_decode_mapping(ctx, node, global_fields, ARRAY_LEN(global_fields), global);
    config_resolve_path(decode->config, &global->smtp_auth_password.file);
    config_resolve_path(decode->config, &global->smtp_auth_secret.file);
    config_resolve_path(decode->config, &global->slack_api_url.file);
    config_resolve_path(decode->config, &global->slack_app_token.file);
    config_check_one_of(ctx, node, global->smtp_auth_password.value != NULL,
                        global->smtp_auth_password.file != NULL,
                        "smtp_auth_password & smtp_auth_password_file");
    config_check_one_of(ctx, node, global->smtp_auth_secret.value != NULL,
                        global->smtp_auth_secret.file != NULL,
                        "smtp_auth_secret & smtp_auth_secret_file");
    config_check_one_of(ctx, node, global->slack_api_url.value != NULL,
                        global->slack_api_url.file != NULL, "slack_api_url & slack_api_url_file");
    config_check_one_of(ctx, node, global->slack_app_token.value != NULL,
                        global->slack_app_token.file != NULL,
                        "slack_app_token & slack_app_token_file");
    /* api_url pointing at the app's own URL is the old way to say the same, not a conflict */
    bool has_other_url = secret_is_set(&global->slack_api_url) &&
                         (global->slack_api_url.value == NULL ||
                          strcmp(global->slack_api_url.value, global->slack_app_url) != 0);
    config_check_one_of(ctx, node, secret_is_set(&global->slack_app_token), has_other_url,
                        "slack_app_token/slack_app_token_file & slack_api_url/slack_api_url_file");
    if (global->slack_api_url.value != NULL && global->slack_api_url.value[0] != '\0') {
        config_check_url(ctx, yaml_get(node, "slack_api_url"), global->slack_api_url.value);
    }
}
