/* What receivers take over from `global:`, and what must be there in the end. */
#include "base/mem.h"
#include "notify/config.h"

static char *dup_or_null(const char *text) {
    return text == NULL ? NULL : mem_strdup(text);
}

/* Empty counts as not given, as upstream's cmp.Or. */
static void inherit(char **own, const char *global) {
    if ((*own == NULL || (*own)[0] == '\0') && global != NULL) {
        mem_free(*own);
        *own = mem_strdup(global);
    }
}

static void inherit_secret(struct secret *own, const struct secret *global) {
    if (!secret_is_set(own)) {
        secret_finish(own);
        own->value = dup_or_null(global->value);
        own->file = dup_or_null(global->file);
    }
}

static void inherit_tls(struct tls_settings *own, const struct tls_settings *global) {
    *own = (struct tls_settings){
        .ca_file = dup_or_null(global->ca_file),
        .cert_file = dup_or_null(global->cert_file),
        .key_file = dup_or_null(global->key_file),
        .server_name = dup_or_null(global->server_name),
        .insecure_skip_verify = global->insecure_skip_verify,
    };
}

static bool smarthost_is_valid(const char *smarthost) {
    struct str text = str_from(smarthost);
    const char *colon = strrchr(smarthost, ':');
    if (colon == NULL || colon == smarthost) {
        return false;
    }
    uint64_t port = 0;
    bool is_ok = str_parse_u64(str_from(colon + 1), &port) && port > 0 && port < 65536;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        is_ok = is_ok && c > ' ' && c < 0x7f && strchr("/@?#\\\"<>", c) == NULL;
    }
    return is_ok;
}

static void resolve_email(struct yaml_decode *ctx,
                          const struct yaml_node *node,
                          struct integration_config *integration) {
    struct config_decode *decode = ctx->user;
    const struct global_config *global = &decode->config->global;
    struct email_config *email = &integration->email;
    inherit(&email->smarthost, global->smtp_smarthost);
    inherit(&email->from.text, global->smtp_from);
    inherit(&email->hello, global->smtp_hello);
    inherit(&email->auth_username, global->smtp_auth_username);
    inherit(&email->auth_identity, global->smtp_auth_identity);
    inherit_secret(&email->auth_password, &global->smtp_auth_password);
    inherit_secret(&email->auth_secret, &global->smtp_auth_secret);
    if (!email->has_tls) {
        inherit_tls(&email->tls, &global->smtp_tls);
    }
    if (email->require_tls < 0) {
        email->require_tls = global->smtp_require_tls ? 1 : 0;
    }
    if (email->force_implicit_tls < 0) {
        email->force_implicit_tls = global->smtp_force_implicit_tls;
    }
    if (email->auth_identity != NULL && email->auth_identity[0] != '\0') {
        yaml_error(ctx, node, DIAG_WARNING, "\"auth_identity\" is not supported, ignored");
    }
    if (email->smarthost == NULL || email->smarthost[0] == '\0') {
        yaml_error(ctx, node, DIAG_ERROR, "no SMTP smarthost set, here or in global");
    } else if (!smarthost_is_valid(email->smarthost)) {
        yaml_error(ctx, node, DIAG_ERROR, "smarthost \"%s\" is not host:port", email->smarthost);
    }
    if (email->from.text == NULL || email->from.text[0] == '\0') {
        yaml_error(ctx, node, DIAG_ERROR, "no SMTP from address set, here or in global");
    }
}

static void resolve_slack(struct yaml_decode *ctx,
                          const struct yaml_node *node,
                          struct integration_config *integration) {
    struct config_decode *decode = ctx->user;
    const struct global_config *global = &decode->config->global;
    struct slack_config *slack = &integration->slack;
    inherit(&slack->app_url, global->slack_app_url);
    bool has_bearer = integration->http != NULL && secret_is_set(&integration->http->bearer_token);
    if (!secret_is_set(&slack->app_token) && !has_bearer && slack->api_url.value == NULL) {
        inherit_secret(&slack->app_token, &global->slack_app_token);
    }
    if (!secret_is_set(&slack->app_token)) {
        inherit_secret(&slack->api_url, &global->slack_api_url);
    }
    if (!secret_is_set(&slack->api_url) && !secret_is_set(&slack->app_token)) {
        yaml_error(ctx, node, DIAG_ERROR,
                   "no Slack API URL nor App token set, here or in global, inline or in a file");
    }
    if (secret_is_set(&slack->app_token) && has_bearer) {
        yaml_error(ctx, node, DIAG_ERROR,
                   "http authorization can't be set when using Slack App tokens");
    }
}

void config_resolve_receivers(struct yaml_decode *ctx) {
    struct config_decode *decode = ctx->user;
    for (size_t i = 0; i < decode->config->receiver_count; i++) {
        struct receiver_config *receiver = decode->config->receivers[i];
        for (size_t k = 0; k < receiver->integration_count; k++) {
            struct integration_config *integration = receiver->integrations[k];
            if (integration->kind == NOTIFY_EMAIL) {
                resolve_email(ctx, receiver->node, integration);
            } else if (integration->kind == NOTIFY_SLACK) {
                resolve_slack(ctx, receiver->node, integration);
            }
        }
        receiver->node = NULL;
    }
}
