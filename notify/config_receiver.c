/* `receivers:` and what their integrations inherit from `global:`. */
#include "base/mem.h"
#include "notify/config.h"

enum {
    RECEIVERS_MAX = 10000,
};

/* ---- making and freeing ---- */

struct receiver_config *config_add_receiver(struct notify_config *config, struct str name) {
    struct receiver_config *receiver = mem_calloc(1, sizeof(*receiver));
    receiver->name = mem_strndup(name.ptr, name.len);
    config->receivers = vec_grow(config->receivers, &config->receiver_cap,
                                 config->receiver_count + 1, sizeof(config->receivers[0]));
    config->receivers[config->receiver_count++] = receiver;
    return receiver;
}

struct integration_config *config_add_integration(struct receiver_config *receiver,
                                                  enum notify_kind kind) {
    struct integration_config *integration = mem_calloc(1, sizeof(*integration));
    integration->kind = kind;
    integration->receiver = receiver;
    for (size_t i = 0; i < receiver->integration_count; i++) {
        integration->index += receiver->integrations[i]->kind == kind ? 1 : 0;
    }
    struct buf id;
    buf_init(&id, 64 * 1024);
    buf_printf(&id, "%s/%s/%u", receiver->name, notify_kind_to_string(kind), integration->index);
    integration->id = buf_take(&id, NULL);
    switch (kind) {
    case NOTIFY_WEBHOOK:
    case NOTIFY_INBOX: integration->send_resolved = true; break;
    case NOTIFY_EMAIL:
        integration->email.require_tls = -1;
        integration->email.force_implicit_tls = -1;
        break;
    case NOTIFY_SLACK:
    case NOTIFY_KIND_COUNT: break;
    }
    receiver->integrations =
        vec_grow(receiver->integrations, &receiver->integration_cap,
                 receiver->integration_count + 1, sizeof(receiver->integrations[0]));
    receiver->integrations[receiver->integration_count++] = integration;
    return integration;
}

static void template_finish(struct template_text *text) {
    mem_free(text->text);
    mem_free(text->name);
}

static void slack_finish(struct slack_config *slack) {
    struct template_text *const texts[] = {
        &slack->channel,    &slack->username,  &slack->color,       &slack->title,
        &slack->title_link, &slack->pretext,   &slack->text,        &slack->message_text,
        &slack->footer,     &slack->fallback,  &slack->callback_id, &slack->icon_emoji,
        &slack->icon_url,   &slack->image_url, &slack->thumb_url,
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        template_finish(texts[i]);
    }
    for (size_t i = 0; i < slack->field_count; i++) {
        template_finish(&slack->fields[i].title);
        template_finish(&slack->fields[i].value);
    }
    for (size_t i = 0; i < slack->action_count; i++) {
        struct slack_action *action = &slack->actions[i];
        struct template_text *const parts[] = {
            &action->type,
            &action->text,
            &action->url,
            &action->style,
            &action->name,
            &action->value,
            &action->confirm.title,
            &action->confirm.text,
            &action->confirm.ok_text,
            &action->confirm.dismiss_text,
        };
        for (size_t k = 0; k < ARRAY_LEN(parts); k++) {
            template_finish(parts[k]);
        }
    }
    mem_free(slack->fields);
    mem_free(slack->actions);
    string_list_free(slack->mrkdwn_in, slack->mrkdwn_in_count);
    secret_finish(&slack->api_url);
    secret_finish(&slack->app_token);
    mem_free(slack->app_url);
}

static void email_finish(struct email_config *email) {
    template_finish(&email->to);
    template_finish(&email->from);
    template_finish(&email->html);
    template_finish(&email->text);
    for (size_t i = 0; i < email->header_count; i++) {
        mem_free(email->headers[i].name);
        template_finish(&email->headers[i].value);
    }
    mem_free(email->headers);
    mem_free(email->hello);
    mem_free(email->smarthost);
    mem_free(email->auth_username);
    mem_free(email->auth_identity);
    secret_finish(&email->auth_password);
    secret_finish(&email->auth_secret);
    tls_settings_finish(&email->tls);
}

void integration_config_destroy(struct integration_config *integration) {
    if (integration == NULL) {
        return;
    }
    switch (integration->kind) {
    case NOTIFY_SLACK: slack_finish(&integration->slack); break;
    case NOTIFY_EMAIL: email_finish(&integration->email); break;
    case NOTIFY_WEBHOOK: secret_finish(&integration->webhook.url); break;
    case NOTIFY_INBOX:
        template_finish(&integration->inbox.title);
        template_finish(&integration->inbox.text);
        break;
    case NOTIFY_KIND_COUNT: break;
    }
    if (integration->http != NULL) {
        http_settings_finish(integration->http);
        mem_free(integration->http);
    }
    mem_free(integration->id);
    mem_free(integration);
}

/* ---- fields common to all kinds ---- */

static void decode_own_http(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct http_settings **http = dest;
    if (yaml_is_null(node)) {
        return;
    }
    if (*http == NULL) {
        *http = mem_calloc(1, sizeof(**http));
    }
    config_decode_http(ctx, node, *http);
}

#define AT(member_) offsetof(struct integration_config, member_)
#define PLAIN(key_, type_, member_) \
    { .key = (key_), .type = (type_), .offset = AT(member_) }
#define CUSTOM(key_, decode_, member_) \
    { .key = (key_), .type = YAML_CUSTOM, .offset = AT(member_), .decode = (decode_) }
#define TEXT(key_, member_) CUSTOM(key_, config_decode_template, member_)
#define IGNORED(key_) \
    { .key = (key_), .type = YAML_IGNORED }
#define COMMON_FIELDS PLAIN("send_resolved", YAML_BOOL, send_resolved)
#define HTTP_FIELDS \
    CUSTOM("http_config", decode_own_http, http), PLAIN("timeout", YAML_DURATION, timeout_ms)

/* ---- Slack ---- */

#define FIELD(type_, key_)                                                         \
    {                                                                              \
        .key = #key_, .type = YAML_CUSTOM, .offset = offsetof(struct type_, key_), \
        .decode = config_decode_template                                           \
    }

static const struct yaml_field slack_field_fields[] = {
    FIELD(slack_field, title),
    FIELD(slack_field, value),
    { .key = "short",
      .type = YAML_CUSTOM,
      .offset = offsetof(struct slack_field, is_short),
      .decode = config_decode_tristate },
};

static bool is_empty(const struct template_text *text) {
    return text->text == NULL || text->text[0] == '\0';
}

/* The items of a list, or a finding. */
static size_t list_count(struct yaml_decode *ctx, const struct yaml_node *node) {
    if (yaml_is_null(node)) {
        return 0;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a list");
        return 0;
    }
    return node->count;
}

static void decode_slack_fields(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct slack_config *slack = dest;
    size_t count = list_count(ctx, node);
    slack->fields = mem_calloc(count, sizeof(slack->fields[0]));
    slack->field_count = count;
    for (size_t i = 0; i < count; i++) {
        struct slack_field *field = &slack->fields[i];
        field->is_short = -1;
        (void)yaml_decode_mapping(ctx, node->items[i], slack_field_fields,
                                  ARRAY_LEN(slack_field_fields), field);
        if (is_empty(&field->title) || is_empty(&field->value)) {
            yaml_error(ctx, node->items[i], DIAG_ERROR, "a Slack field needs a title and a value");
        }
    }
}

static const struct yaml_field slack_confirm_fields[] = {
    FIELD(slack_confirm, title),
    FIELD(slack_confirm, text),
    FIELD(slack_confirm, ok_text),
    FIELD(slack_confirm, dismiss_text),
};

static void decode_confirm(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct slack_confirm *confirm = dest;
    (void)yaml_decode_mapping(ctx, node, slack_confirm_fields, ARRAY_LEN(slack_confirm_fields),
                              confirm);
    if (is_empty(&confirm->text)) {
        yaml_error(ctx, node, DIAG_ERROR, "a Slack confirmation needs a text");
    }
}

static const struct yaml_field slack_action_fields[] = {
    FIELD(slack_action, type),
    FIELD(slack_action, text),
    FIELD(slack_action, url),
    FIELD(slack_action, style),
    FIELD(slack_action, name),
    FIELD(slack_action, value),
    { .key = "confirm",
      .type = YAML_CUSTOM,
      .offset = offsetof(struct slack_action, confirm),
      .decode = decode_confirm },
};

static void decode_slack_actions(struct yaml_decode *ctx,
                                 const struct yaml_node *node,
                                 void *dest) {
    struct slack_config *slack = dest;
    size_t count = list_count(ctx, node);
    slack->actions = mem_calloc(count, sizeof(slack->actions[0]));
    slack->action_count = count;
    for (size_t i = 0; i < count; i++) {
        struct slack_action *action = &slack->actions[i];
        (void)yaml_decode_mapping(ctx, node->items[i], slack_action_fields,
                                  ARRAY_LEN(slack_action_fields), action);
        if (is_empty(&action->type) || is_empty(&action->text)) {
            yaml_error(ctx, node->items[i], DIAG_ERROR, "a Slack action needs a type and a text");
        } else if (is_empty(&action->url) && is_empty(&action->name)) {
            yaml_error(ctx, node->items[i], DIAG_ERROR, "a Slack action needs a name or a url");
        }
    }
}

static void decode_mrkdwn_in(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct slack_config *slack = dest;
    (void)config_decode_strings(ctx, node, &slack->mrkdwn_in, &slack->mrkdwn_in_count);
}

static const struct yaml_field slack_fields[] = {
    COMMON_FIELDS,
    HTTP_FIELDS,
    PLAIN("api_url", YAML_STRING, slack.api_url.value),
    PLAIN("api_url_file", YAML_STRING, slack.api_url.file),
    PLAIN("app_token", YAML_STRING, slack.app_token.value),
    PLAIN("app_token_file", YAML_STRING, slack.app_token.file),
    PLAIN("app_url", YAML_STRING, slack.app_url),
    TEXT("channel", slack.channel),
    TEXT("username", slack.username),
    TEXT("color", slack.color),
    TEXT("title", slack.title),
    TEXT("title_link", slack.title_link),
    TEXT("pretext", slack.pretext),
    TEXT("text", slack.text),
    TEXT("message_text", slack.message_text),
    TEXT("footer", slack.footer),
    TEXT("fallback", slack.fallback),
    TEXT("callback_id", slack.callback_id),
    TEXT("icon_emoji", slack.icon_emoji),
    TEXT("icon_url", slack.icon_url),
    TEXT("image_url", slack.image_url),
    TEXT("thumb_url", slack.thumb_url),
    CUSTOM("fields", decode_slack_fields, slack),
    CUSTOM("actions", decode_slack_actions, slack),
    CUSTOM("mrkdwn_in", decode_mrkdwn_in, slack),
    PLAIN("short_fields", YAML_BOOL, slack.short_fields),
    PLAIN("link_names", YAML_BOOL, slack.link_names),
    PLAIN("update_message", YAML_BOOL, slack.update_message),
};

static void check_slack(struct yaml_decode *ctx, const struct yaml_node *node) {
    struct config_decode *decode = ctx->user;
    struct slack_config *slack = &decode->integration->slack;
    config_resolve_path(decode->config, &slack->api_url.file);
    config_resolve_path(decode->config, &slack->app_token.file);
    config_check_one_of(ctx, node, slack->api_url.value != NULL, slack->api_url.file != NULL,
                        "api_url & api_url_file");
    config_check_one_of(ctx, node, slack->app_token.value != NULL, slack->app_token.file != NULL,
                        "app_token & app_token_file");
    config_check_one_of(ctx, node, secret_is_set(&slack->api_url), secret_is_set(&slack->app_token),
                        "api_url/api_url_file & app_token/app_token_file");
    if (slack->api_url.value != NULL) {
        config_check_url(ctx, yaml_get(node, "api_url"), slack->api_url.value);
    }
    if (slack->app_url != NULL) {
        config_check_url(ctx, yaml_get(node, "app_url"), slack->app_url);
    }
    if (slack->update_message) {
        const struct yaml_node *at = yaml_get(node, "update_message");
        if (slack->api_url.value == NULL ||
            strcmp(slack->api_url.value, "https://slack.com/api/chat.postMessage") != 0) {
            yaml_error(ctx, at, DIAG_ERROR,
                       "update_message can only be used with bot tokens: api_url must be "
                       "https://slack.com/api/chat.postMessage");
        } else {
            yaml_error(ctx, at, DIAG_WARNING,
                       "\"update_message\" is not supported: every update is posted");
        }
    }
}

/* ---- email ---- */

/* textproto.CanonicalMIMEHeaderKey: "reply-to" -> "Reply-To". */
static char *canonical_header(struct str name) {
    char *text = mem_strndup(name.ptr, name.len);
    bool is_start = true;
    for (char *c = text; *c != '\0'; c++) {
        if (is_start && *c >= 'a' && *c <= 'z') {
            *c = (char)(*c - 'a' + 'A');
        } else if (!is_start && *c >= 'A' && *c <= 'Z') {
            *c = (char)(*c - 'A' + 'a');
        }
        is_start = *c == '-';
    }
    return text;
}

static bool header_name_is_valid(struct str name) {
    bool is_ok = name.len > 0 && name.len <= 76;
    for (size_t i = 0; i < name.len; i++) {
        is_ok = is_ok && name.ptr[i] > ' ' && name.ptr[i] < 0x7f && name.ptr[i] != ':';
    }
    return is_ok;
}

static void decode_headers(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct email_config *email = dest;
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_MAPPING) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a mapping of header names to texts");
        return;
    }
    email->headers = mem_calloc(node->count, sizeof(email->headers[0]));
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        if (!header_name_is_valid(pair->key->scalar)) {
            yaml_error(ctx, pair->key, DIAG_ERROR, "not a header name");
            continue;
        }
        char *name = canonical_header(pair->key->scalar);
        for (size_t k = 0; k < email->header_count; k++) {
            if (strcmp(email->headers[k].name, name) == 0) {
                yaml_error(ctx, pair->key, DIAG_ERROR, "duplicate header \"%s\"", name);
            }
        }
        struct email_header *header = &email->headers[email->header_count++];
        header->name = name;
        config_decode_template(ctx, pair->value, &header->value);
    }
}

struct raw_threading {
    bool is_enabled;
    char *by_date;
};

static const struct yaml_field threading_fields[] = {
    { .key = "enabled", .type = YAML_BOOL, .offset = offsetof(struct raw_threading, is_enabled) },
    { .key = "thread_by_date",
      .type = YAML_STRING,
      .offset = offsetof(struct raw_threading, by_date) },
};

static void decode_threading(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    enum email_threading *threading = dest;
    struct raw_threading raw = { 0 };
    (void)yaml_decode_mapping(ctx, node, threading_fields, ARRAY_LEN(threading_fields), &raw);
    if (raw.is_enabled) {
        struct str by_date = str_from(raw.by_date);
        if (str_eq(by_date, STR("daily"))) {
            *threading = EMAIL_THREAD_DAILY;
        } else if (str_eq(by_date, STR("none"))) {
            *threading = EMAIL_THREAD_GROUP;
        } else {
            yaml_error(ctx, node, DIAG_ERROR, "thread_by_date must be either none or daily");
        }
    }
    mem_free(raw.by_date);
}

static void decode_email_tls(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct email_config *email = dest;
    email->has_tls = true;
    config_decode_tls(ctx, node, &email->tls);
}

static const struct yaml_field email_fields[] = {
    COMMON_FIELDS,
    TEXT("to", email.to),
    TEXT("from", email.from),
    PLAIN("hello", YAML_STRING, email.hello),
    PLAIN("smarthost", YAML_STRING, email.smarthost),
    PLAIN("auth_username", YAML_STRING, email.auth_username),
    PLAIN("auth_password", YAML_STRING, email.auth_password.value),
    PLAIN("auth_password_file", YAML_STRING, email.auth_password.file),
    PLAIN("auth_secret", YAML_STRING, email.auth_secret.value),
    PLAIN("auth_secret_file", YAML_STRING, email.auth_secret.file),
    PLAIN("auth_identity", YAML_STRING, email.auth_identity),
    CUSTOM("headers", decode_headers, email),
    TEXT("html", email.html),
    TEXT("text", email.text),
    CUSTOM("require_tls", config_decode_tristate, email.require_tls),
    CUSTOM("tls_config", decode_email_tls, email),
    CUSTOM("force_implicit_tls", config_decode_tristate, email.force_implicit_tls),
    CUSTOM("threading", decode_threading, email.threading),
};

static void check_email(struct yaml_decode *ctx, const struct yaml_node *node) {
    struct config_decode *decode = ctx->user;
    struct email_config *email = &decode->integration->email;
    config_resolve_path(decode->config, &email->auth_password.file);
    config_resolve_path(decode->config, &email->auth_secret.file);
    if (is_empty(&email->to)) {
        yaml_error(ctx, node, DIAG_ERROR, "missing \"to\" address in email config");
    }
    for (size_t i = 0; email->threading != EMAIL_THREAD_INCIDENT && i < email->header_count; i++) {
        const char *name = email->headers[i].name;
        if (strcmp(name, "References") == 0 || strcmp(name, "In-Reply-To") == 0) {
            yaml_error(ctx, node, DIAG_ERROR, "threading.enabled conflicts with a custom %s header",
                       name);
        }
    }
}

/* ---- webhook, inbox ---- */

static const struct yaml_field webhook_fields[] = {
    COMMON_FIELDS,
    HTTP_FIELDS,
    PLAIN("url", YAML_STRING, webhook.url.value),
    PLAIN("url_file", YAML_STRING, webhook.url.file),
    PLAIN("max_alerts", YAML_U64, webhook.max_alerts),
    IGNORED("payload"),
};

static void check_webhook(struct yaml_decode *ctx, const struct yaml_node *node) {
    struct config_decode *decode = ctx->user;
    struct webhook_config *webhook = &decode->integration->webhook;
    config_resolve_path(decode->config, &webhook->url.file);
    if (!secret_is_set(&webhook->url)) {
        yaml_error(ctx, node, DIAG_ERROR, "one of url or url_file must be configured");
    }
    config_check_one_of(ctx, node, webhook->url.value != NULL, webhook->url.file != NULL,
                        "url & url_file");
    if (webhook->url.value == NULL) {
        return;
    }
    if (str_find(str_from(webhook->url.value), STR("{{")) != SIZE_MAX) {
        yaml_error(ctx, yaml_get(node, "url"), DIAG_ERROR, "templates in url are not supported");
    } else {
        config_check_url(ctx, yaml_get(node, "url"), webhook->url.value);
    }
}

static const struct yaml_field inbox_fields[] = {
    COMMON_FIELDS,
    TEXT("title", inbox.title),
    TEXT("text", inbox.text),
};

static void check_inbox(struct yaml_decode *ctx, const struct yaml_node *node) {
    (void)ctx;
    (void)node;
}

/* ---- receivers ---- */

struct kind_decoder {
    const struct yaml_field *fields;
    size_t field_count;
    void (*check)(struct yaml_decode *ctx, const struct yaml_node *node);
};

static const struct kind_decoder decoders[] = {
    [NOTIFY_SLACK] = { slack_fields, ARRAY_LEN(slack_fields), check_slack },
    [NOTIFY_EMAIL] = { email_fields, ARRAY_LEN(email_fields), check_email },
    [NOTIFY_WEBHOOK] = { webhook_fields, ARRAY_LEN(webhook_fields), check_webhook },
    [NOTIFY_INBOX] = { inbox_fields, ARRAY_LEN(inbox_fields), check_inbox },
};
_Static_assert(ARRAY_LEN(decoders) == NOTIFY_KIND_COUNT, "one decoder per kind");

static void decode_integrations(struct yaml_decode *ctx,
                                const struct yaml_node *node,
                                enum notify_kind kind) {
    struct config_decode *decode = ctx->user;
    size_t count = list_count(ctx, node);
    for (size_t i = 0; i < count; i++) {
        decode->integration = config_add_integration(decode->receiver, kind);
        if (yaml_decode_mapping(ctx, node->items[i], decoders[kind].fields,
                                decoders[kind].field_count, decode->integration)) {
            decoders[kind].check(ctx, node->items[i]);
        }
    }
    decode->integration = NULL;
}

static void decode_slacks(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)dest;
    decode_integrations(ctx, node, NOTIFY_SLACK);
}

static void decode_emails(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)dest;
    decode_integrations(ctx, node, NOTIFY_EMAIL);
}

static void decode_webhooks(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)dest;
    decode_integrations(ctx, node, NOTIFY_WEBHOOK);
}

static void decode_inboxes(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)dest;
    decode_integrations(ctx, node, NOTIFY_INBOX);
}

/* Valid upstream, not here: one warning at each integration. */
static void decode_unsupported(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)dest;
    struct config_decode *decode = ctx->user;
    size_t count = list_count(ctx, node);
    for (size_t i = 0; i < count; i++) {
        decode->receiver->unsupported_count++;
        yaml_error(ctx, node->items[i], DIAG_WARNING,
                   "this integration is not supported, nothing will be sent through it "
                   "(supported: slack, email, webhook, inbox)");
    }
}

static void skip_name(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)ctx;
    (void)node;
    (void)dest;
}

#define RECEIVER(key_, decode_) \
    { .key = (key_), .type = YAML_CUSTOM, .decode = (decode_) }
#define UNSUPPORTED(key_) RECEIVER(key_, decode_unsupported)

static const struct yaml_field receiver_fields[] = {
    RECEIVER("name", skip_name),
    RECEIVER("labels", skip_name),
    RECEIVER("slack_configs", decode_slacks),
    RECEIVER("email_configs", decode_emails),
    RECEIVER("webhook_configs", decode_webhooks),
    RECEIVER("inbox_configs", decode_inboxes),
    UNSUPPORTED("discord_configs"),
    UNSUPPORTED("incidentio_configs"),
    UNSUPPORTED("jira_configs"),
    UNSUPPORTED("mattermost_configs"),
    UNSUPPORTED("msteams_configs"),
    UNSUPPORTED("msteamsv2_configs"),
    UNSUPPORTED("opsgenie_configs"),
    UNSUPPORTED("pagerduty_configs"),
    UNSUPPORTED("pushover_configs"),
    UNSUPPORTED("rocketchat_configs"),
    UNSUPPORTED("sns_configs"),
    UNSUPPORTED("telegram_configs"),
    UNSUPPORTED("victorops_configs"),
    UNSUPPORTED("webex_configs"),
    UNSUPPORTED("wechat_configs"),
};

static void decode_receiver(struct yaml_decode *ctx, const struct yaml_node *node) {
    struct config_decode *decode = ctx->user;
    const struct yaml_node *name = node->kind == YAML_MAPPING ? yaml_get(node, "name") : NULL;
    if (yaml_is_null(name) || name->kind != YAML_SCALAR || name->scalar.len == 0) {
        yaml_error(ctx, node, DIAG_ERROR, "missing name in receiver");
        return;
    }
    if (config_find_receiver(decode->config, name->scalar) != NULL) {
        yaml_error(ctx, name, DIAG_ERROR, "receiver name \"%.*s\" is not unique",
                   STR_FMT(name->scalar));
        return;
    }
    decode->receiver = config_add_receiver(decode->config, name->scalar);
    decode->receiver->node = node;
    (void)yaml_decode_mapping(ctx, node, receiver_fields, ARRAY_LEN(receiver_fields), NULL);
    if (decode->receiver->unsupported_count > 0 && decode->receiver->integration_count == 0) {
        yaml_error(ctx, name, DIAG_WARNING,
                   "receiver \"%s\" has no supported integration: its alerts reach nobody",
                   decode->receiver->name);
    }
}

void config_decode_receivers(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)dest;
    size_t count = list_count(ctx, node);
    if (count > RECEIVERS_MAX) {
        yaml_error(ctx, node, DIAG_ERROR, "more than %d receivers", RECEIVERS_MAX);
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        decode_receiver(ctx, node->items[i]);
    }
}
