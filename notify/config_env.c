/* The configuration without a file. */
#include "base/mem.h"
#include "notify/address.h"
#include "notify/config.h"

enum {
    GROUP_WAIT_MS = 10 * 1000,
    GROUP_INTERVAL_MS = 60 * 1000,
    REPEAT_INTERVAL_MS = 4 * 3600 * 1000,
};

static bool is_given(const char *text) {
    return text != NULL && text[0] != '\0';
}

static bool add_slack(struct receiver_config *receiver, const char *url, struct err *err) {
    struct str text = str_from(url);
    bool is_http = str_starts_with(text, STR("https://")) || str_starts_with(text, STR("http://"));
    for (size_t i = 0; i < text.len; i++) {
        is_http = is_http && (unsigned char)url[i] > ' ' && url[i] != 0x7f;
    }
    if (!is_http) {
        return err_set(err, ERR_INVALID, "ALERT_WEBHOOK_URL is not an http:// or https:// URL");
    }
    struct integration_config *slack = config_add_integration(receiver, NOTIFY_SLACK);
    slack->send_resolved = true;
    slack->slack.api_url.value = mem_strdup(url);
    return true;
}

/* SMTP_TLS as require_tls and force_implicit_tls. */
static bool parse_tls(const char *text, struct email_config *email, struct err *err) {
    static const struct {
        const char *word;
        int require;
        int implicit; /* -1 = by port */
    } words[] = {
        { "", 1, -1 },     { "starttls", 1, 0 }, { "true", 1, -1 }, { "1", 1, -1 },
        { "yes", 1, -1 },  { "on", 1, -1 },      { "tls", 1, 1 },   { "ssl", 1, 1 },
        { "smtps", 1, 1 }, { "none", 0, 0 },     { "false", 0, 0 }, { "0", 0, 0 },
        { "no", 0, 0 },    { "off", 0, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_eq_nocase(str_from(text == NULL ? "" : text), str_from(words[i].word))) {
            email->require_tls = words[i].require;
            email->force_implicit_tls = words[i].implicit;
            return true;
        }
    }
    return err_set(err, ERR_INVALID, "SMTP_TLS is \"%s\": expected starttls, tls or none", text);
}

static bool set_smarthost(const struct notify_env_config *env,
                          struct email_config *email,
                          struct err *err) {
    if (!is_given(env->smtp_host)) {
        return err_set(err, ERR_INVALID, "ALERT_EMAIL needs SMTP_HOST, the mail server to use");
    }
    struct buf host;
    buf_init(&host, 1024);
    const char *colon = strrchr(env->smtp_host, ':');
    const char *bracket = strrchr(env->smtp_host, ']');
    bool has_port = colon != NULL && (bracket == NULL || colon > bracket);
    if (has_port) {
        buf_cstr(&host, env->smtp_host);
    } else {
        buf_printf(&host, "%s:%s", env->smtp_host,
                   is_given(env->smtp_port) ? env->smtp_port : "587");
    }
    struct str text = buf_as_str(&host);
    uint64_t port = 0;
    const char *port_text = strrchr(text.ptr, ':') + 1;
    bool is_ok = !host.is_over && str_parse_u64(str_from(port_text), &port) && port > 0 &&
                 port < 65536 && strpbrk(text.ptr, " \t\r\n/@<>\"\\?#") == NULL;
    if (is_ok) {
        email->smarthost = mem_strdup(text.ptr);
    }
    buf_finish(&host);
    return is_ok ||
           err_set(err, ERR_INVALID, "SMTP_HOST and SMTP_PORT do not make a host and port");
}

static bool set_addresses(const struct notify_env_config *env,
                          struct email_config *email,
                          struct err *err) {
    const char *from = is_given(env->smtp_from) ? env->smtp_from : env->smtp_username;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct address_list list;
    bool is_ok = true;
    if (!is_given(from) || !address_list_parse(str_from(from), &arena, &list, err) ||
        list.count != 1) {
        is_ok = err_set(err, ERR_INVALID, "ALERT_EMAIL needs SMTP_FROM, the sender's address");
    }
    if (is_ok && !address_list_parse(str_from(env->email_to), &arena, &list, err)) {
        is_ok = err_wrap(err, "ALERT_EMAIL");
    }
    arena_finish(&arena);
    if (is_ok) {
        email->from.text = mem_strdup(from);
        email->to.text = mem_strdup(env->email_to);
    }
    return is_ok;
}

static bool add_email(struct receiver_config *receiver,
                      const struct notify_env_config *env,
                      struct err *err) {
    struct integration_config *integration = config_add_integration(receiver, NOTIFY_EMAIL);
    struct email_config *email = &integration->email;
    integration->send_resolved = true;
    if (!parse_tls(env->smtp_tls, email, err) || !set_smarthost(env, email, err) ||
        !set_addresses(env, email, err)) {
        return false;
    }
    if (is_given(env->smtp_username)) {
        email->auth_username = mem_strdup(env->smtp_username);
    }
    if (is_given(env->smtp_password)) {
        email->auth_password.value = mem_strdup(env->smtp_password);
    }
    return true;
}

static struct route_config *default_route(const struct receiver_config *receiver) {
    struct route_config *route = mem_calloc(1, sizeof(*route));
    route->receiver = receiver;
    route->group_by = mem_calloc(2, sizeof(route->group_by[0]));
    route->group_by[0] = mem_strdup("alertname");
    route->group_by[1] = mem_strdup("job");
    route->group_by_count = 2;
    route->group_wait_ms = GROUP_WAIT_MS;
    route->group_interval_ms = GROUP_INTERVAL_MS;
    route->repeat_interval_ms = REPEAT_INTERVAL_MS;
    route->key = mem_strdup("{}");
    return route;
}

bool notify_config_from_env(const struct notify_env_config *env,
                            const struct notify_config_params *params,
                            struct notify_config **ret,
                            struct err *err) {
    struct notify_config *config = config_create(params, "");
    struct receiver_config *receiver = config_add_receiver(config, STR("default"));
    (void)config_add_integration(receiver, NOTIFY_INBOX);
    config->route = default_route(receiver);
    bool is_ok =
        (!is_given(env->slack_webhook_url) || add_slack(receiver, env->slack_webhook_url, err)) &&
        (!is_given(env->email_to) || add_email(receiver, env, err));
    if (!is_ok) {
        notify_config_unref(config);
        return false;
    }
    *ret = config;
    return true;
}
