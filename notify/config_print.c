/*
 * The effective configuration as YAML that can be read back, but for secrets: they print as
 * <secret>, by construction: put_secret() never sees the value.
 */
#include "base/duration.h"
#include "base/json.h"
#include "notify/config.h"

struct printer {
    struct buf *out;
    int indent;
};

static void put_key(const struct printer *p, const char *key) {
    buf_printf(p->out, "%*s%s:", p->indent, "", key);
}

static void put_text(const struct printer *p, const char *key, const char *value) {
    if (value != NULL) {
        put_key(p, key);
        buf_putc(p->out, ' ');
        buf_json_str(p->out, str_from(value)); /* a JSON string is a YAML one */
        buf_putc(p->out, '\n');
    }
}

static void put_bool(const struct printer *p, const char *key, bool value) {
    put_key(p, key);
    buf_cstr(p->out, value ? " true\n" : " false\n");
}

static void put_duration_ms(const struct printer *p, const char *key, int64_t value_ms) {
    put_key(p, key);
    buf_putc(p->out, ' ');
    duration_print(p->out, value_ms);
    buf_putc(p->out, '\n');
}

static void put_secret(const struct printer *p, const char *key, const struct secret *secret) {
    if (secret->file != NULL && secret->file[0] != '\0') {
        buf_printf(p->out, "%*s%s_file: ", p->indent, "", key);
        buf_json_str(p->out, str_from(secret->file));
        buf_putc(p->out, '\n');
    } else if (secret_is_set(secret)) {
        put_key(p, key);
        buf_cstr(p->out, " <secret>\n");
    }
}

static void put_list(const struct printer *p,
                     const char *key,
                     char *const *items,
                     size_t count,
                     bool is_all) {
    put_key(p, key);
    buf_cstr(p->out, " [");
    for (size_t i = 0; i < count; i++) {
        buf_cstr(p->out, i == 0 ? "" : ", ");
        buf_json_str(p->out, str_from(items[i]));
    }
    buf_cstr(p->out, is_all ? "\"...\"]\n" : "]\n");
}

static void put_matchers(const struct printer *p,
                         const char *key,
                         const struct matcher_list *matchers) {
    if (matchers->count == 0) {
        return;
    }
    put_key(p, key);
    buf_putc(p->out, '\n');
    for (size_t i = 0; i < matchers->count; i++) {
        struct buf text;
        buf_init(&text, 1024 * 1024);
        matcher_print(&matchers->items[i], &text);
        buf_printf(p->out, "%*s- ", p->indent, "");
        buf_json_str(p->out, buf_as_str(&text));
        buf_putc(p->out, '\n');
        buf_finish(&text);
    }
}

/* ---- sections ---- */

static void print_tls(const struct printer *p, const char *key, const struct tls_settings *tls) {
    if (tls->ca_file == NULL && tls->cert_file == NULL && tls->server_name == NULL &&
        !tls->insecure_skip_verify) {
        return;
    }
    put_key(p, key);
    buf_putc(p->out, '\n');
    struct printer inner = { .out = p->out, .indent = p->indent + 2 };
    put_text(&inner, "ca_file", tls->ca_file);
    put_text(&inner, "cert_file", tls->cert_file);
    put_text(&inner, "key_file", tls->key_file);
    put_text(&inner, "server_name", tls->server_name);
    put_bool(&inner, "insecure_skip_verify", tls->insecure_skip_verify);
}

static void print_http(const struct printer *p, const struct http_settings *http) {
    struct printer inner = { .out = p->out, .indent = p->indent + 2 };
    struct printer innermost = { .out = p->out, .indent = p->indent + 4 };
    put_key(p, "http_config");
    buf_putc(p->out, '\n');
    put_bool(&inner, "follow_redirects", http->follow_redirects);
    if (http->username != NULL) {
        put_key(&inner, "basic_auth");
        buf_putc(p->out, '\n');
        put_text(&innermost, "username", http->username);
        put_secret(&innermost, "password", &http->password);
    }
    if (secret_is_set(&http->bearer_token)) {
        put_key(&inner, "authorization");
        buf_putc(p->out, '\n');
        put_secret(&innermost, "credentials", &http->bearer_token);
    }
    print_tls(&inner, "tls_config", &http->tls);
}

static void print_global(const struct printer *p, const struct global_config *global) {
    struct printer inner = { .out = p->out, .indent = p->indent + 2 };
    put_key(p, "global");
    buf_putc(p->out, '\n');
    put_duration_ms(&inner, "resolve_timeout", global->resolve_timeout_ms);
    print_http(&inner, &global->http);
    put_text(&inner, "smtp_from", global->smtp_from);
    put_text(&inner, "smtp_hello", global->smtp_hello);
    put_text(&inner, "smtp_smarthost", global->smtp_smarthost);
    put_text(&inner, "smtp_auth_username", global->smtp_auth_username);
    put_secret(&inner, "smtp_auth_password", &global->smtp_auth_password);
    put_secret(&inner, "smtp_auth_secret", &global->smtp_auth_secret);
    put_text(&inner, "smtp_auth_identity", global->smtp_auth_identity);
    put_bool(&inner, "smtp_require_tls", global->smtp_require_tls);
    print_tls(&inner, "smtp_tls_config", &global->smtp_tls);
    put_secret(&inner, "slack_api_url", &global->slack_api_url);
    put_secret(&inner, "slack_app_token", &global->slack_app_token);
    put_text(&inner, "slack_app_url", global->slack_app_url);
}

static void print_intervals(const struct printer *p,
                            const char *key,
                            const struct time_interval *const *intervals,
                            size_t count) {
    if (count == 0) {
        return;
    }
    put_key(p, key);
    buf_cstr(p->out, " [");
    for (size_t i = 0; i < count; i++) {
        buf_cstr(p->out, i == 0 ? "" : ", ");
        buf_json_str(p->out, str_from(intervals[i]->name));
    }
    buf_cstr(p->out, "]\n");
}

static void print_route(const struct printer *p, const struct route_config *route) {
    put_text(p, "receiver", route->receiver->name);
    put_list(p, "group_by", route->group_by, route->group_by_count, route->group_by_all);
    put_matchers(p, "matchers", &route->matchers);
    put_bool(p, "continue", route->is_continue);
    put_duration_ms(p, "group_wait", route->group_wait_ms);
    put_duration_ms(p, "group_interval", route->group_interval_ms);
    put_duration_ms(p, "repeat_interval", route->repeat_interval_ms);
    print_intervals(p, "mute_time_intervals", route->mute_intervals, route->mute_interval_count);
    print_intervals(p, "active_time_intervals", route->active_intervals,
                    route->active_interval_count);
    if (route->route_count == 0) {
        return;
    }
    put_key(p, "routes");
    buf_putc(p->out, '\n');
    for (size_t i = 0; i < route->route_count; i++) {
        struct printer inner = { .out = p->out, .indent = p->indent + 2 };
        buf_printf(p->out, "%*s-\n", p->indent, "");
        print_route(&inner, route->routes[i]);
    }
}

static void print_slack(const struct printer *p, const struct slack_config *slack) {
    put_secret(p, "api_url", &slack->api_url);
    put_secret(p, "app_token", &slack->app_token);
    put_text(p, "channel", slack->channel.text);
    put_text(p, "username", slack->username.text);
    put_text(p, "color", slack->color.text);
    put_text(p, "title", slack->title.text);
    put_text(p, "title_link", slack->title_link.text);
    put_text(p, "pretext", slack->pretext.text);
    put_text(p, "text", slack->text.text);
    put_text(p, "message_text", slack->message_text.text);
    put_text(p, "footer", slack->footer.text);
    put_text(p, "fallback", slack->fallback.text);
    put_text(p, "icon_emoji", slack->icon_emoji.text);
    put_text(p, "icon_url", slack->icon_url.text);
}

static void print_email(const struct printer *p, const struct email_config *email) {
    put_text(p, "to", email->to.text);
    put_text(p, "from", email->from.text);
    put_text(p, "hello", email->hello);
    put_text(p, "smarthost", email->smarthost);
    put_text(p, "auth_username", email->auth_username);
    put_secret(p, "auth_password", &email->auth_password);
    put_secret(p, "auth_secret", &email->auth_secret);
    put_text(p, "auth_identity", email->auth_identity);
    put_bool(p, "require_tls", email->require_tls != 0);
    if (email->force_implicit_tls >= 0) {
        put_bool(p, "force_implicit_tls", email->force_implicit_tls != 0);
    }
    print_tls(p, "tls_config", &email->tls);
    put_text(p, "html", email->html.text);
    put_text(p, "text", email->text.text);
    if (email->header_count > 0) {
        struct printer inner = { .out = p->out, .indent = p->indent + 2 };
        put_key(p, "headers");
        buf_putc(p->out, '\n');
        for (size_t i = 0; i < email->header_count; i++) {
            put_text(&inner, email->headers[i].name,
                     email->headers[i].value.text == NULL ? "" : email->headers[i].value.text);
        }
    }
}

static void print_integration(const struct printer *p,
                              const struct integration_config *integration) {
    put_bool(p, "send_resolved", integration->send_resolved);
    if (integration->timeout_ms > 0) {
        put_duration_ms(p, "timeout", integration->timeout_ms);
    }
    if (integration->http != NULL) {
        print_http(p, integration->http);
    }
    switch (integration->kind) {
    case NOTIFY_SLACK: print_slack(p, &integration->slack); break;
    case NOTIFY_EMAIL: print_email(p, &integration->email); break;
    case NOTIFY_WEBHOOK:
        put_secret(p, "url", &integration->webhook.url);
        if (integration->webhook.max_alerts > 0) {
            buf_printf(p->out, "%*smax_alerts: %llu\n", p->indent, "",
                       (unsigned long long)integration->webhook.max_alerts);
        }
        break;
    case NOTIFY_INBOX:
        put_text(p, "title", integration->inbox.title.text);
        put_text(p, "text", integration->inbox.text.text);
        break;
    case NOTIFY_KIND_COUNT: break;
    }
}

static void print_receiver(const struct printer *p, const struct receiver_config *receiver) {
    struct printer inner = { .out = p->out, .indent = p->indent + 2 };
    struct printer item = { .out = p->out, .indent = p->indent + 4 };
    buf_printf(p->out, "%*s-\n", p->indent, "");
    put_text(&inner, "name", receiver->name);
    for (int kind = 0; kind < NOTIFY_KIND_COUNT; kind++) {
        bool is_first = true;
        for (size_t i = 0; i < receiver->integration_count; i++) {
            if ((int)receiver->integrations[i]->kind != kind) {
                continue;
            }
            if (is_first) {
                buf_printf(p->out, "%*s%s_configs:\n", inner.indent, "",
                           notify_kind_to_string((enum notify_kind)kind));
            }
            is_first = false;
            buf_printf(p->out, "%*s-\n", inner.indent, "");
            print_integration(&item, receiver->integrations[i]);
        }
    }
}

static void print_inhibit_rule(const struct printer *p, const struct inhibit_rule *rule) {
    struct printer inner = { .out = p->out, .indent = p->indent + 2 };
    buf_printf(p->out, "%*s-\n", p->indent, "");
    put_text(&inner, "name", rule->name);
    put_matchers(&inner, "source_matchers", &rule->source);
    put_matchers(&inner, "target_matchers", &rule->target);
    put_list(&inner, "equal", rule->equal, rule->equal_count, false);
}

void notify_config_print(const struct notify_config *config, struct buf *out) {
    struct printer top = { .out = out };
    struct printer inner = { .out = out, .indent = 2 };
    print_global(&top, &config->global);
    put_list(&top, "templates", config->templates, config->template_count, false);
    buf_cstr(out, "route:\n");
    print_route(&inner, config->route);
    buf_cstr(out, config->receiver_count > 0 ? "receivers:\n" : "receivers: []\n");
    for (size_t i = 0; i < config->receiver_count; i++) {
        print_receiver(&top, config->receivers[i]);
    }
    if (config->inhibit_rule_count > 0) {
        buf_cstr(out, "inhibit_rules:\n");
        for (size_t i = 0; i < config->inhibit_rule_count; i++) {
            print_inhibit_rule(&top, &config->inhibit_rules[i]);
        }
    }
}
