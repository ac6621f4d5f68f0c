/*
 * Goal: alertmanager.yml files are read as upstream reads them; every mistake is named with its
 * position; secrets never print. Method: tables of texts with the expected findings, and upstream's
 * own test files in place when they are there.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "notify/config.h"
#include "tests/notify/sim.h"
#include "tests/unit.h"

#define RECEIVERS "receivers: [{name: r, webhook_configs: [{url: 'http://h.example/'}]}]\n"

struct decoded {
    struct notify_config *config;
    struct buf findings;
    size_t error_count;
    size_t warning_count;
};

static void count_findings(const struct diag_list *diags, struct decoded *ret) {
    ret->error_count = diags->error_count;
    for (size_t i = 0; i < diags->count; i++) {
        ret->warning_count += diags->items[i].severity == DIAG_WARNING ? 1 : 0;
    }
    buf_init(&ret->findings, 1 << 20);
    diag_print(diags, &ret->findings);
}

static struct decoded decode_doc(struct yaml_doc *doc,
                                 struct diag_list *diags,
                                 bool is_standalone) {
    struct decoded result = { 0 };
    struct notify_config_params params = { .is_standalone = is_standalone };
    if (doc != NULL) {
        struct yaml_decode ctx = { .doc = doc, .diags = diags };
        bool is_ok = notify_config_decode(&ctx, yaml_root(doc), &params, &result.config);
        assert_int_equal(is_ok, diags->error_count == 0);
        assert_int_equal(is_ok, result.config != NULL);
    }
    count_findings(diags, &result);
    return result;
}

static struct decoded decode(const char *text, bool is_standalone) {
    struct diag_list diags;
    struct yaml_doc *doc = NULL;
    diag_list_init(&diags);
    bool is_ok = yaml_parse("am.yml", str_from(text), &doc, &diags);
    struct decoded result = decode_doc(is_ok ? doc : NULL, &diags, is_standalone);
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
    return result;
}

static void finish(struct decoded *decoded) {
    notify_config_unref(decoded->config);
    buf_finish(&decoded->findings);
}

/* ---- findings ---- */

static const struct {
    const char *text;
    const char *finding; /* part of it; NULL = accepted without any */
} cases[] = {
    { "route: {receiver: r}\n" RECEIVERS, NULL },
    { "receivers: []\n", "am.yml:1:1: error: no routes provided" },
    { "route: {}\n" RECEIVERS, "am.yml:1:8: error: root route must specify a default receiver" },
    { "route: {receiver: x}\n" RECEIVERS,
      "am.yml:1:19: error: undefined receiver \"x\" used in route" },
    { "route: {receiver: r, matchers: [a=b]}\n" RECEIVERS,
      "root route must not have any matchers" },
    { "route: {receiver: r, match: {a: b}}\n" RECEIVERS, "root route must not have any matchers" },
    { "route: {receiver: r, mute_time_intervals: [x]}\n" RECEIVERS,
      "root route must not have any time intervals" },
    { "route: {receiver: r, routes: [{receiver: r, group_wait: 1}]}\n" RECEIVERS,
      "am.yml:1:57: error: " },
    { "route: {receiver: r, group_intervall: 1m}\n" RECEIVERS,
      "am.yml:1:22: error: unknown key \"group_intervall\", did you mean \"group_interval\"?" },
    { "route: {receiver: r, group_interval: 0s}\n" RECEIVERS, "group_interval cannot be zero" },
    { "route: {receiver: r, repeat_interval: 0s}\n" RECEIVERS, "repeat_interval cannot be zero" },
    { "route: {receiver: r, group_by: ['...', a]}\n" RECEIVERS, "cannot have wildcard group_by" },
    { "route: {receiver: r, group_by: [a, b, a]}\n" RECEIVERS,
      "duplicated label \"a\" in group_by" },
    { "route: {receiver: r, group_by: ['']}\n" RECEIVERS, "invalid label name \"\"" },
    { "route: {receiver: r, routes: [{match: {'a-b': c}}]}\n" RECEIVERS,
      "invalid label name \"a-b\"" },
    { "route: {receiver: r, routes: [{match_re: {a: '('}}]}\n" RECEIVERS, "am.yml:1:46: error: " },
    { "route: {receiver: r, routes: [{matchers: ['a=~(']}]}\n" RECEIVERS, "am.yml:1:43: error: " },
    { "route: {receiver: r, routes: [{matchers: ['a']}]}\n" RECEIVERS, "bad matcher format: a" },
    { "route: {receiver: r, routes: [{mute_time_intervals: [x]}]}\n" RECEIVERS,
      "undefined time interval \"x\" used in route" },
    { "route: {receiver: r}\nreceivers: [{name: r}, {name: r}]\n",
      "am.yml:2:31: error: receiver name \"r\" is not unique" },
    { "route: {receiver: r}\nreceivers: [{webhook_configs: []}]\n", "missing name in receiver" },
    { "route: {receiver: r}\nreceivers: [{name: r, webhok_configs: []}]\n",
      "did you mean \"webhook_configs\"?" },
    { "route: {receiver: r}\nreceivers: [{name: r, webhook_configs: [{}]}]\n",
      "one of url or url_file must be configured" },
    { "route: {receiver: r}\nreceivers: [{name: r, webhook_configs: [{url: 'http://a/', url_file: "
      "f}]}]\n",
      "at most one of url & url_file" },
    { "route: {receiver: r}\nreceivers: [{name: r, webhook_configs: [{url: 'ftp://a/'}]}]\n",
      "not an http:// or https:// URL" },
    { "route: {receiver: r}\nreceivers: [{name: r, webhook_configs: [{url: '{{ .X }}'}]}]\n",
      "templates in url are not supported" },
    { "route: {receiver: r}\nreceivers: [{name: r, slack_configs: [{channel: c}]}]\n",
      "no Slack API URL nor App token set" },
    { "global: {slack_api_url: 'http://a.example/'}\nroute: {receiver: r}\nreceivers: [{name: r, "
      "slack_configs: [null]}]\n",
      NULL },
    { "route: {receiver: r}\nreceivers: [{name: r, slack_configs: [{api_url: 'http://a.example/', "
      "title: '{{ .Foo'}]}]\n",
      "template: r/slack/0@2:77:1:" },
    { "route: {receiver: r}\nreceivers: [{name: r, slack_configs: [{api_url: 'http://a.example/', "
      "actions: [{type: button}]}]}]\n",
      "a Slack action needs a type and a text" },
    { "route: {receiver: r}\nreceivers: [{name: r, email_configs: [{to: a@b.c}]}]\n",
      "no SMTP smarthost set" },
    { "global: {smtp_smarthost: 'nohost'}\nroute: {receiver: r}\nreceivers: [{name: r, "
      "email_configs: [{to: a@b.c, from: d@e.f}]}]\n",
      "smarthost \"nohost\" is not host:port" },
    { "global: {smtp_smarthost: 'h:25'}\nroute: {receiver: r}\nreceivers: [{name: r, "
      "email_configs: [{to: a@b.c}]}]\n",
      "no SMTP from address set" },
    { "global: {smtp_smarthost: 'h:25', smtp_from: a@b.c}\nroute: {receiver: r}\nreceivers: "
      "[{name: r, email_configs: [{}]}]\n",
      "missing \"to\" address" },
    { "global: {smtp_smarthost: 'h:25', smtp_from: a@b.c}\nroute: {receiver: r}\nreceivers: "
      "[{name: r, email_configs: [{to: a@b.c, headers: {Subject: x, subject: y}}]}]\n",
      "duplicate header \"Subject\"" },
    { "global: {smtp_smarthost: 'h:25', smtp_from: a@b.c}\nroute: {receiver: r}\nreceivers: "
      "[{name: r, email_configs: [{to: a@b.c, headers: {\"X\\nY\": x}}]}]\n",
      "not a header name" },
    { "route: {receiver: r}\nreceivers: [{name: r, pagerduty_configs: [{routing_key: x}, "
      "{routing_key: y}]}]\n",
      "am.yml:2:43: warning: this integration is not supported" },
    { "route: {receiver: r}\nreceivers: [{name: r, pagerduty_configs: [{routing_key: x}]}]\n",
      "receiver \"r\" has no supported integration: its alerts reach nobody" },
    { "global: {pagerduty_url: 'http://p/'}\nroute: {receiver: r}\n" RECEIVERS,
      "am.yml:1:10: warning: \"pagerduty_url\" is not supported" },
    { "global: {smtp_form: a}\nroute: {receiver: r}\n" RECEIVERS, "did you mean \"smtp_from\"?" },
    { "rout: {}\nroute: {receiver: r}\n" RECEIVERS,
      "unknown key \"rout\", did you mean \"route\"?" },
    { "route: {receiver: r}\ninhibit_rules: [{source_match: {'a b': c}}]\n" RECEIVERS,
      "invalid label name \"a b\"" },
    { "route: {receiver: r}\ninhibit_rules: [{sources: {}}]\n" RECEIVERS,
      "unknown key \"sources\"" },
    { "route: {receiver: r}\ntime_intervals: [{name: a}, {name: a}]\n" RECEIVERS,
      "time interval \"a\" is not unique" },
    { "route: {receiver: r}\ntime_intervals: [{name: a, time_intervals: [{times: [{start_time: "
      "'17:00', end_time: '09:00'}]}]}]\n" RECEIVERS,
      "start_time must be before end_time" },
    { "route: {receiver: r}\ntime_intervals: [{name: a, time_intervals: [{location: "
      "Mars/Olympus}]}]\n" RECEIVERS,
      "time zone \"Mars/Olympus\"" },
    { "route: {receiver: inbox}\n", NULL }, /* built in */
    { "templates: ['/nowhere/*.tmpl']\nroute: {receiver: r}\n" RECEIVERS, NULL },
};

static void test_findings(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct decoded decoded = decode(cases[i].text, true);
        const char *findings = decoded.findings.len == 0 ? "" : buf_as_str(&decoded.findings).ptr;
        if (cases[i].finding == NULL ? findings[0] != '\0'
                                     : strstr(findings, cases[i].finding) == NULL) {
            fail_msg("%s\nexpected: %s\ngot:\n%s", cases[i].text,
                     cases[i].finding == NULL ? "nothing" : cases[i].finding, findings);
        }
        finish(&decoded);
    }
}

static void test_all_errors_at_once(void **state) {
    (void)state;
    struct decoded decoded = decode("route: {receiver: x, group_by: [a, a], group_wait: y}\n"
                                    "receivers: [{name: r, slack_configs: [{chanel: c}]}]\n",
                                    true);
    assert_true(decoded.error_count >= 4);
    finish(&decoded);
}

/* The union file: keys of others are not judged here. */
static void test_union_file(void **state) {
    (void)state;
    struct decoded decoded = decode("global: {scrape_interval: 15s, smtp_from: a@b.c}\n"
                                    "scrape_configs: []\n"
                                    "route: {receiver: r}\n" RECEIVERS,
                                    false);
    assert_int_equal(decoded.findings.len, 0);
    assert_non_null(decoded.config);
    assert_string_equal(decoded.config->global.smtp_from, "a@b.c");
    finish(&decoded);
    decoded = decode("global: {slack_api_url: 'x y'}\nroute: {receiver: r}\n" RECEIVERS, false);
    assert_int_equal(decoded.error_count, 1);
    finish(&decoded);
}

static void test_is_present(void **state) {
    (void)state;

    static const struct {
        const char *text;
        bool is_present;
    } present[] = {
        { "scrape_configs: []\n", false },
        { "route: {}\n", true },
        { "receivers: []\n", true },
        { "global: {smtp_from: x}\n", false },
    };

    for (size_t i = 0; i < ARRAY_LEN(present); i++) {
        struct diag_list diags;
        struct yaml_doc *doc = NULL;
        diag_list_init(&diags);
        assert_true(yaml_parse("x.yml", str_from(present[i].text), &doc, &diags));
        assert_int_equal(notify_config_is_present(yaml_root(doc)), present[i].is_present);
        yaml_doc_destroy(doc);
        diag_list_finish(&diags);
    }
}

/* ---- defaults ---- */

static void test_defaults(void **state) {
    (void)state;
    struct decoded decoded = decode(
        "global: {smtp_smarthost: 'h:25', smtp_from: a@b.c, slack_api_url: 'http://s.example/'}\n"
        "route: {receiver: r}\n"
        "receivers:\n"
        "  - name: r\n"
        "    slack_configs: [{}]\n"
        "    email_configs: [{to: x@y.z}]\n"
        "    webhook_configs: [{url: 'http://w.example/'}]\n"
        "    inbox_configs: [{}]\n",
        true);
    const struct notify_config *config = decoded.config;
    assert_non_null(config);
    assert_int_equal(config->route->group_wait_ms, 30 * 1000);
    assert_int_equal(config->route->group_interval_ms, 5 * 60 * 1000);
    assert_int_equal(config->route->repeat_interval_ms, 4 * 3600 * 1000);
    assert_int_equal(config->global.resolve_timeout_ms, 5 * 60 * 1000);
    const struct receiver_config *receiver = config->receivers[0];
    assert_int_equal(receiver->integration_count, 4);
    static const bool resolved[NOTIFY_KIND_COUNT] = {
        [NOTIFY_SLACK] = false,
        [NOTIFY_EMAIL] = false,
        [NOTIFY_WEBHOOK] = true,
        [NOTIFY_INBOX] = true,
    };
    for (size_t i = 0; i < receiver->integration_count; i++) {
        const struct integration_config *integration = receiver->integrations[i];
        assert_int_equal(integration->send_resolved, resolved[integration->kind]);
    }
    assert_string_equal(receiver->integrations[0]->id, "r/slack/0");
    assert_int_equal(receiver->integrations[1]->email.require_tls, 1);
    finish(&decoded);
}

/* ---- environment ---- */

static void test_environment(void **state) {
    (void)state;

    static const struct {
        struct notify_env_config env;
        const char *expected; /* integrations, or the error */
    } envs[] = {
        { { 0 }, "default/inbox/0 " },
        { { .slack_webhook_url = "https://hooks.slack.example/x" },
          "default/inbox/0 default/slack/0 " },
        { { .slack_webhook_url = "hooks.slack.example/x" },
          "ALERT_WEBHOOK_URL is not an http:// or https:// URL" },
        { { .email_to = "a@b.example, c@d.example",
            .smtp_host = "mail.example",
            .smtp_from = "t@s.example" },
          "default/inbox/0 default/email/0 " },
        { { .email_to = "a@b.example" }, "ALERT_EMAIL needs SMTP_HOST, the mail server to use" },
        { { .email_to = "a@b.example", .smtp_host = "mail.example", .smtp_username = "user" },
          "ALERT_EMAIL needs SMTP_FROM, the sender's address" },
        { { .email_to = "a@b.example",
            .smtp_host = "mail.example",
            .smtp_username = "u@v.example" },
          "default/inbox/0 default/email/0 " },
        { { .email_to = "nobody", .smtp_host = "mail.example", .smtp_from = "t@s.example" },
          "ALERT_EMAIL: not a mail address: \"nobody\"" },
        { { .email_to = "a@b.example\r\nRCPT TO:<x@y.z>",
            .smtp_host = "mail.example",
            .smtp_from = "t@s.example" },
          "ALERT_EMAIL: control character in an address at byte 11" },
        { { .email_to = "a@b.example",
            .smtp_host = "mail.example",
            .smtp_port = "x",
            .smtp_from = "t@s.example" },
          "SMTP_HOST and SMTP_PORT do not make a host and port" },
        { { .email_to = "a@b.example",
            .smtp_host = "mail.example",
            .smtp_tls = "maybe",
            .smtp_from = "t@s.example" },
          "SMTP_TLS is \"maybe\": expected starttls, tls or none" },
    };

    for (size_t i = 0; i < ARRAY_LEN(envs); i++) {
        struct notify_config_params params = { 0 };
        struct notify_config *config = NULL;
        struct err err = ERR_INIT;
        struct buf got;
        buf_init(&got, 4096);
        if (notify_config_from_env(&envs[i].env, &params, &config, &err)) {
            const struct receiver_config *receiver = config->route->receiver;
            for (size_t k = 0; k < receiver->integration_count; k++) {
                buf_printf(&got, "%s ", receiver->integrations[k]->id);
                assert_true(receiver->integrations[k]->send_resolved);
            }
            notify_config_unref(config);
        } else {
            assert_int_equal(err.code, ERR_INVALID);
            buf_cstr(&got, err.msg);
        }
        assert_string_equal(buf_as_str(&got).ptr, envs[i].expected);
        buf_finish(&got);
    }
}

static void test_environment_smarthost(void **state) {
    (void)state;

    static const struct {
        const char *host;
        const char *port;
        const char *tls;
        const char *smarthost;
        int require_tls;
    } hosts[] = {
        { "m.example", NULL, NULL, "m.example:587", 1 },
        { "m.example", "2525", "none", "m.example:2525", 0 },
        { "m.example:465", NULL, "tls", "m.example:465", 1 },
        { "[::1]", "25", "false", "[::1]:25", 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct notify_env_config env = { .email_to = "a@b.example",
                                         .smtp_from = "t@s.example",
                                         .smtp_host = hosts[i].host,
                                         .smtp_port = hosts[i].port,
                                         .smtp_tls = hosts[i].tls };
        struct notify_config_params params = { 0 };
        struct notify_config *config = NULL;
        struct err err = ERR_INIT;
        assert_true(notify_config_from_env(&env, &params, &config, &err));
        const struct email_config *email = &config->route->receiver->integrations[1]->email;
        assert_string_equal(email->smarthost, hosts[i].smarthost);
        assert_int_equal(email->require_tls, hosts[i].require_tls);
        notify_config_unref(config);
    }
}

/* ---- printing ---- */

static void test_print_hides_secrets(void **state) {
    (void)state;
    static const char text[] =
        "global:\n"
        "  smtp_smarthost: 'h:25'\n"
        "  smtp_from: a@b.c\n"
        "  smtp_auth_password: CANARY1\n"
        "  smtp_auth_secret: CANARY2\n"
        "  slack_api_url: 'http://s.example/CANARY3'\n"
        "  http_config: {basic_auth: {username: u, password: CANARY4}}\n"
        "route:\n"
        "  receiver: r\n"
        "  group_by: ['...']\n"
        "  routes: [{matchers: ['a=~\"b|c\"'], receiver: r, continue: true}]\n"
        "receivers:\n"
        "  - name: r\n"
        "    slack_configs:\n"
        "      - {api_url: 'http://s.example/CANARY5'}\n"
        "      - {app_token: CANARY6, channel: '#c', title: '{{ .Status }}'}\n"
        "    email_configs: [{to: x@y.z, auth_password: CANARY7, headers: {Subject: hi}}]\n"
        "    webhook_configs:\n"
        "      - url: 'http://w.example/CANARY8'\n"
        "        http_config: {authorization: {credentials: CANARY9}}\n"
        "    inbox_configs: [{title: T}]\n"
        "inhibit_rules: [{source_matchers: [a=b], target_matchers: [c=d], equal: [e]}]\n";
    struct decoded decoded = decode(text, true);
    struct buf out;
    buf_init(&out, 1 << 20);
    notify_config_print(decoded.config, &out);
    assert_null(strstr(buf_as_str(&out).ptr, "CANARY"));
    assert_non_null(strstr(buf_as_str(&out).ptr, "api_url: <secret>"));
    /* what is printed reads back, with the same meaning */
    struct buf again;
    buf_init(&again, 1 << 20);
    const char *printed = buf_as_str(&out).ptr;
    char *readable = mem_strdup(printed);
    for (char *at = strstr(readable, "<secret>"); at != NULL; at = strstr(at, "<secret>")) {
        memcpy(at, "http://s", 8); /* <secret> is no URL */
    }
    struct decoded twin = decode(readable, true);
    if (twin.config == NULL) {
        fail_msg("%s\n%s", buf_as_str(&twin.findings).ptr, readable);
    }
    notify_config_print(twin.config, &again);
    assert_string_equal(buf_as_str(&again).ptr, printed);
    mem_free(readable);
    buf_finish(&again);
    buf_finish(&out);
    finish(&twin);
    finish(&decoded);
}

/* ---- upstream's files ---- */

/* Upstream refuses these for reasons within what we support. */
static const char *const refused[] = {
    "conf.nil-match_re-route.yml",
    "conf.nil-source_match_re-inhibition.yml",
    "conf.nil-target_match_re-inhibition.yml",
    "conf.opsgenie-default-apikey-old-team.yml", /* routes to a receiver that is not there */
    "conf.slack-both-file-and-token.yml",
    "conf.slack-both-file-and-url.yml",
    "conf.slack-both-url-and-token.yml",
    "conf.slack-no-api-url-or-token.yml",
    "conf.slack-update-message-and-webhook.yml",
    "conf.smtp-both-password-and-file.yml",
};

static bool is_refused(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (strcmp(name, refused[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void check_upstream(const char *name) {
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", UPSTREAM_DIR, name);
    struct diag_list diags;
    struct yaml_doc *doc = NULL;
    diag_list_init(&diags);
    bool is_ok = yaml_load(path, &doc, &diags);
    struct decoded decoded = decode_doc(is_ok ? doc : NULL, &diags, true);
    if ((decoded.error_count > 0) != is_refused(name)) {
        fail_msg("%s: %zu errors\n%s", name, decoded.error_count,
                 decoded.findings.len > 0 ? buf_as_str(&decoded.findings).ptr : "");
    }
    finish(&decoded);
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
}

static void test_upstream_files(void **state) {
    (void)state;
    DIR *dir = opendir(UPSTREAM_DIR);
    if (dir == NULL) {
        unit_skip("upstream's configuration files are not there");
        return;
    }
    size_t count = 0;
    const struct dirent *entry = NULL;
    while ((entry = readdir(dir)) != NULL) {
        if (str_ends_with(str_from(entry->d_name), STR(".yml"))) {
            check_upstream(entry->d_name);
            count++;
        }
    }
    closedir(dir);
    assert_true(count > 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_findings),
        cmocka_unit_test(test_all_errors_at_once),
        cmocka_unit_test(test_union_file),
        cmocka_unit_test(test_is_present),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_environment_smarthost),
        cmocka_unit_test(test_print_hides_secrets),
        cmocka_unit_test(test_upstream_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
