/*
 * Goal: messages read well, carry everything a reader needs, and nothing from outside can break out
 * of its place. Method: golden files for whole messages, tables of hostile texts, an independent
 * little MIME reader.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "tests/notify/mime_read.h"
#include "tests/notify/sim.h"
#include "tests/unit.h"

#define MINUTE (60 * INT64_C(1000))

static const char chat[] =
    "route: {receiver: chat, group_by: [alertname], group_wait: 0s}\n"
    "receivers:\n"
    "  - name: chat\n"
    "    slack_configs:\n"
    "      - {api_url: 'https://hooks.slack.example/T1', send_resolved: true}\n";

static const char mail[] =
    "global: {smtp_smarthost: 'mail.example:25', smtp_from: 'Tocsin <t@s.example>'}\n"
    "route: {receiver: ops, group_by: [alertname], group_wait: 0s}\n"
    "receivers:\n"
    "  - name: ops\n"
    "    email_configs:\n"
    "      - {to: 'Ops <ops@x.example>', send_resolved: true}\n";

static const char hook[] = "route: {receiver: hook, group_by: [alertname], group_wait: 0s}\n"
                           "receivers:\n"
                           "  - {name: hook, webhook_configs: [{url: 'http://h.example/'}]}\n";

static const char inbox[] = "route: {receiver: inbox, group_by: [alertname], group_wait: 0s}\n";

static const struct sim_alert error_rate = {
    .labels = "alertname=HighErrorRate,severity=critical,job=api,instance=api-1:8000",
    .annotations = "summary=Error rate of api-1 above 5 %,"
                   "description=More than 5 % of requests failed for 5 minutes.\nSee the log.,"
                   "runbook_url=https://runbooks.example/HighErrorRate",
    .generator_url = "http://tocsin.example:9090/graph?g0.expr=rate%285m%29&g0.tab=1",
    .starts_ms = SIM_START_MS - 7 * MINUTE,
    .value = 0.0734,
};

static const struct sim_alert error_rate_2 = {
    .labels = "alertname=HighErrorRate,severity=warning,job=api,instance=api-2:8000",
    .annotations = "summary=Error rate of api-2 above 5 %",
    .generator_url = "http://tocsin.example:9090/graph?g0.expr=rate%285m%29&g0.tab=1",
    .starts_ms = SIM_START_MS,
    .value = 123456789.123456,
};

/* Fires one, adds another, resolves the first: NEW, then STILL and NEW and RESOLVED. */
static void play(struct sim *sim) {
    sim_alert(sim, &error_rate);
    sim_run(sim, 0);
    sim_alert(sim, &error_rate_2);
    sim_run(sim, 6 * MINUTE);
    struct sim_alert resolved = error_rate;
    resolved.ends_ms = sim->now_ms;
    resolved.value = 0.01;
    sim_alert(sim, &resolved);
    sim_run(sim, 5 * MINUTE);
    struct sim_alert resolved_2 = error_rate_2;
    resolved_2.ends_ms = sim->now_ms;
    sim_alert(sim, &resolved_2);
    sim_run(sim, 5 * MINUTE);
    sim_run(sim, 5 * MINUTE);
}

/* ---- golden messages ---- */

static void check_all(struct sim *sim, const char *prefix, const char *suffix) {
    for (size_t i = 0; i < sim->sent_count; i++) {
        char name[100];
        (void)snprintf(name, sizeof(name), "%s_%zu.%s", prefix, i + 1, suffix);
        golden_check(name, str_from(sim->sent[i].body));
    }
}

static void test_slack_golden(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, chat);
    play(&sim);
    assert_int_equal(sim.sent_count, 4);
    check_all(&sim, "slack", "json");
    sim_finish(&sim);
}

static void test_email_golden(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, mail);
    play(&sim);
    assert_int_equal(sim.sent_count, 4);
    check_all(&sim, "email", "eml");
    sim_finish(&sim);
}

static void test_webhook_golden(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, hook);
    play(&sim);
    assert_int_equal(sim.sent_count, 4);
    check_all(&sim, "webhook", "json");
    sim_finish(&sim);
}

static void test_inbox_golden(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, inbox);
    play(&sim);
    struct arena arena;
    struct notify_inbox_page page;
    struct err err = ERR_INIT;
    arena_init(&arena, SIZE_MAX);
    assert_true(notify_inbox_list(sim.notify, 0, 100, &arena, &page, &err));
    assert_int_equal(page.count, 4);
    assert_int_equal(page.total, 4);
    for (size_t i = 0; i < page.count; i++) {
        const struct notify_inbox_message *message = &page.messages[page.count - 1 - i];
        char name[100];
        struct buf out;
        buf_init(&out, 1 << 20);
        buf_printf(&out, "id %llu at %lld status %.*s firing %u resolved %u\n%.*s\n\n%.*s\n%.*s\n",
                   (unsigned long long)message->id, (long long)message->at_ms,
                   STR_FMT(message->status), message->firing_count, message->resolved_count,
                   STR_FMT(message->title), STR_FMT(message->text), STR_FMT(message->alerts_json));
        (void)snprintf(name, sizeof(name), "inbox_%zu.txt", i + 1);
        golden_check(name, buf_as_str(&out));
        buf_finish(&out);
    }
    arena_finish(&arena);
    sim_finish(&sim);
}

/* ---- Slack ---- */

/* The attachment of the first message, parsed. */
struct slack_message {
    struct arena arena;
    struct json_parser *parser;
    struct json_value *root;
    const struct json_value *attachment;
};

static void parse_slack(const char *body, struct slack_message *ret) {
    struct err err = ERR_INIT;
    arena_init(&ret->arena, SIZE_MAX);
    ret->parser = json_parser_create(16 << 20);
    if (!json_parse(ret->parser, str_from(body), &ret->arena, &ret->root, &err)) {
        fail_msg("%s: %s", err.msg, body);
    }
    ret->attachment = &json_get(ret->root, "attachments")->items[0];
}

static void finish_slack(struct slack_message *message) {
    json_parser_destroy(message->parser);
    arena_finish(&message->arena);
}

static struct str field(const struct json_value *object, const char *key) {
    const struct json_value *value = json_get(object, key);
    return value == NULL ? STR("") : value->string;
}

static bool contains(struct str text, const char *part) {
    return str_find(text, str_from(part)) != SIZE_MAX;
}

static void test_slack_colors(void **state) {
    (void)state;

    static const struct {
        const char *labels;
        const char *color;
    } cases[] = {
        { "alertname=X,severity=critical", "#d32f2f" },
        { "alertname=X,severity=page", "#d32f2f" },
        { "alertname=X,severity=warning", "#ffa000" },
        { "alertname=X,severity=Info", "#1976d2" },
        { "alertname=X", "#ef6c00" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sim sim;
        struct slack_message message;
        sim_init(&sim, chat);
        sim_fire(&sim, cases[i].labels);
        sim_run(&sim, MINUTE);
        parse_slack(sim.sent[0].body, &message);
        assert_true(str_eq_c(field(message.attachment, "color"), cases[i].color));
        finish_slack(&message);
        sim_resolve(&sim, cases[i].labels);
        sim_run(&sim, 10 * MINUTE);
        parse_slack(sim.sent[1].body, &message);
        assert_true(str_eq_c(field(message.attachment, "color"), "#2e7d32"));
        finish_slack(&message);
        sim_finish(&sim);
    }
}

/* What comes from labels and annotations, and what of it may be in the message. */
static const struct {
    const char *hostile;
    const char *absent;
    const char *present;
} slack_injections[] = {
    { "<!channel> <http://evil|ok> & *x*", "<!channel>", "&lt;!channel&gt;" },
    { "<!channel> <http://evil|ok> & *x*", "<http://evil", "&lt;http://evil|ok&gt; &amp; " },
    { "<@U123>", "<@U123>", "&lt;@U123&gt;" },
    { "a & b", "a & b", "a &amp; b" },
    { "*bold*", "*bold*", NULL },
    { "_it_ ~no~", "_it_", NULL },
    { "`code`", "`code`", NULL },
    { "http_requests_total", NULL, "http_requests_total" },
    { "rate * 100", NULL, "rate * 100" },
    { "line\nbreak \x1b[31m", "\x1b", "line" },
    { "\xff\xfe", "\xff", "\xef\xbf\xbd" },
    { "\xe2\x80\xaegnp.exe", "\xe2\x80\xae", "gnp.exe" }, /* right-to-left override */
};

static void test_slack_injection(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(slack_injections); i++) {
        struct sim sim;
        struct slack_message message;
        char labels[300];
        char annotations[300];
        (void)snprintf(labels, sizeof(labels), "alertname=X,path=%s", slack_injections[i].hostile);
        (void)snprintf(annotations, sizeof(annotations), "summary=%s,description=%s",
                       slack_injections[i].hostile, slack_injections[i].hostile);
        sim_init(&sim, chat);
        sim_alert(&sim, &(struct sim_alert){ .labels = labels,
                                             .annotations = annotations,
                                             .starts_ms = SIM_START_MS });
        sim_run(&sim, MINUTE);
        parse_slack(sim.sent[0].body, &message);
        struct str text = field(message.attachment, "text");
        struct str title = field(message.attachment, "title");
        /* the label pair stands in code, where only < > & and the backtick mean anything */
        size_t end = str_find(text, STR("`path="));
        assert_true(end != SIZE_MAX);
        struct str head = str_n(text.ptr, end);
        if (slack_injections[i].absent != NULL) {
            assert_false(contains(head, slack_injections[i].absent));
            assert_false(contains(title, slack_injections[i].absent));
        }
        if (slack_injections[i].present != NULL && !contains(head, slack_injections[i].present)) {
            fail_msg("%s not in %.*s", slack_injections[i].present, STR_FMT(head));
        }
        assert_false(contains(str_n(text.ptr + end, text.len - end), "<!"));
        assert_true(str_is_utf8(text));
        finish_slack(&message);
        sim_finish(&sim);
    }
}

/* Cutting never splits a character or an entity. */
static void test_slack_truncation(void **state) {
    (void)state;
    for (size_t pad = 0; pad < 12; pad++) {
        struct buf summary;
        struct sim sim;
        struct slack_message message;
        buf_init(&summary, 1 << 20);
        buf_cstr(&summary, "summary=");
        for (size_t i = 0; i < pad; i++) {
            buf_putc(&summary, 'x');
        }
        for (size_t i = 0; i < 400; i++) {
            buf_cstr(&summary, "&\xe4\xbd\xa0");
        }
        sim_init(&sim, chat);
        sim_alert(&sim, &(struct sim_alert){ .labels = "alertname=X",
                                             .annotations = buf_as_str(&summary).ptr,
                                             .starts_ms = SIM_START_MS });
        sim_run(&sim, MINUTE);
        parse_slack(sim.sent[0].body, &message);
        struct str title = field(message.attachment, "title");
        assert_true(str_is_utf8(title));
        assert_true(contains(title, "…"));
        for (size_t i = 0; i < title.len; i++) {
            if (title.ptr[i] == '&') {
                assert_true(str_starts_with(str_n(title.ptr + i, title.len - i), STR("&amp;")));
            }
        }
        finish_slack(&message);
        sim_finish(&sim);
        buf_finish(&summary);
    }
}

static void test_many_alerts(void **state) {
    (void)state;
    struct sim sim;
    struct slack_message message;
    static char texts[47][64];
    static const char *alerts[48];
    for (size_t i = 0; i < 47; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "alertname=X,instance=%02zu,severity=%s", i,
                       i == 40 ? "critical" : "warning");
        alerts[i] = texts[i];
    }
    sim_init(&sim, chat);
    sim_alerts(&sim, alerts);
    sim_run(&sim, MINUTE);
    assert_int_equal(sim.sent_count, 1);
    parse_slack(sim.sent[0].body, &message);
    struct str text = field(message.attachment, "text");
    assert_true(contains(text, "*NEW (47)*"));
    assert_true(contains(text, "… and 37 more"));
    assert_true(contains(text, "instance=40")); /* the worst is always shown */
    assert_true(contains(field(message.root, "text"), "[FIRING:47] X"));
    finish_slack(&message);
    sim_finish(&sim);
}

/* ---- users' templates ---- */

static const char templated[] =
    "templates: ['" GOLDEN_DIR_TEXT "/*.tmpl']\n"
    "route: {receiver: chat, group_by: [alertname, job], group_wait: 0s}\n"
    "receivers:\n"
    "  - name: chat\n"
    "    slack_configs:\n"
    "      - api_url: 'https://hooks.slack.example/T1'\n"
    "        send_resolved: true\n"
    "        channel: '#{{ .CommonLabels.team }}'\n"
    "        username: '{{ template \"slack.default.username\" . }}'\n"
    "        title: '{{ template \"slack.default.title\" . }}'\n"
    "        title_link: '{{ template \"slack.default.titlelink\" . }}'\n"
    "        color: '{{ template \"slack.default.color\" . }}'\n"
    "        text: |-\n"
    "          {{ .Status }} {{ .Receiver }} {{ len .Alerts }} {{ .NotificationReason }}\n"
    "          {{ range .Alerts.Firing }}F {{ .Labels.instance }} {{ .Annotations.summary }}"
    " {{ .StartsAt.Format \"15:04:05\" }} {{ .Value }} {{ .Fingerprint }} {{ .EndsAt.IsZero }}\n"
    "          {{ end }}{{ range .Alerts.Resolved }}R {{ .Labels.instance }}\n"
    "          {{ end }}{{ .GroupLabels.SortedPairs.Names | join \",\" }}"
    " {{ .CommonLabels.Values.Join \"/\" }} {{ .CommonLabels.Remove .GroupLabels.Names }}\n"
    "          {{ .ExternalURL | toUpper }} {{ (index .Alerts 0).GeneratorURL }}"
    " [{{ .CommonLabels.nothing }}] {{ title \"hIGH\" }}\n"
    "          {{ (index .Alerts 0).StartsAt | tz \"Europe/Berlin\" | date \"15:04 MST\" }}"
    " {{ since (index .Alerts 0).StartsAt }} {{ template \"own\" . }}\n"
    "        fields:\n"
    "          - {title: Job, value: '{{ .GroupLabels.job }}', short: true}\n"
    "        actions:\n"
    "          - {type: button, text: Silence, url: '{{ .ExternalURL }}/#/silences'}\n";

static void test_templates(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, templated);
    sim_alert(&sim, &(struct sim_alert){
                        .labels = "alertname=HighErrorRate,job=api,team=core,instance=a<b>&c",
                        .annotations = "summary=<!channel> <https://x.example|see> ok",
                        .generator_url = "http://g.example/",
                        .starts_ms = SIM_START_MS - 90 * 1000,
                        .value = 0.5 });
    sim_run(&sim, MINUTE);
    assert_int_equal(sim.sent_count, 1);
    golden_check("slack_templated.json", str_from(sim.sent[0].body));
    sim_finish(&sim);
}

/* A template that fails at run time: the message goes out with the default text and says so. */
static void test_template_failure(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route: {receiver: chat, group_wait: 0s}\n"
                   "receivers:\n"
                   "  - name: chat\n"
                   "    slack_configs:\n"
                   "      - api_url: 'https://hooks.slack.example/T1'\n"
                   "        channel: '#fixed'\n"
                   "        text: '{{ .Nonsense }}'\n");
    sim_fire(&sim, "alertname=X");
    sim_run(&sim, MINUTE);
    assert_int_equal(sim.sent_count, 1);
    assert_non_null(strstr(sim.sent[0].body, "The configured template failed"));
    assert_non_null(strstr(sim.sent[0].body, "[FIRING:1] X"));
    assert_non_null(strstr(sim.sent[0].body, "\"channel\":\"#fixed\""));
    sim_finish(&sim);
}

static void test_email_templates(void **state) {
    (void)state;
    struct sim sim;
    struct mime_mail mail_read;
    sim_init(&sim, "global: {smtp_smarthost: 'mail.example:25', smtp_from: t@s.example}\n"
                   "route: {receiver: ops, group_wait: 0s}\n"
                   "receivers:\n"
                   "  - name: ops\n"
                   "    email_configs:\n"
                   "      - to: ops@x.example\n"
                   "        headers:\n"
                   "          subject: '{{ .Status }} {{ .CommonLabels.alertname }}'\n"
                   "          reply-to: 'oncall@x.example'\n"
                   "          X-Prio: '1'\n"
                   "          content-type: 'text/evil'\n"
                   "        html: '<b>{{ .CommonLabels.alertname }}</b>'\n"
                   "        text: 'T {{ .CommonLabels.alertname }}'\n");
    sim_fire(&sim, "alertname=<script>&\"x");
    sim_run(&sim, MINUTE);
    mime_read(sim.sent[0].body, &mail_read);
    assert_string_equal(mime_header(&mail_read, "Subject"), "firing <script>&\"x");
    assert_string_equal(mime_header(&mail_read, "Reply-To"), "oncall@x.example");
    assert_string_equal(mime_header(&mail_read, "X-Prio"), "1");
    assert_int_equal(mail_read.part_count, 2);
    assert_string_equal(mail_read.parts[0].text, "T <script>&\"x\n");
    assert_string_equal(mail_read.parts[1].text, "<b>&lt;script&gt;&amp;&#34;x</b>\n");
    mime_finish(&mail_read);
    sim_finish(&sim);
}

/* ---- mail ---- */

static const struct {
    const char *labels;
    const char *annotations;
    const char *subject; /* part of it, decoded */
} mail_injections[] = {
    { "alertname=X\r\nBcc: evil@x.example", "summary=a", "X  Bcc: evil@x.example" },
    { "alertname=X\nSubject: other", "summary=a", "X Subject: other" },
    { "alertname=X", "summary=a\r\n.\r\nQUIT\r\n", "X" },
    { "alertname=X", "summary=</td><script>alert(1)</script>", "X" },
    { "alertname=X", "summary=--=_tocsin", "X" },
    { "alertname=Überlauf größer", "summary=漢字", "Überlauf größer" },
    { "alertname==?UTF-8?Q?evil?=", "summary=a", "=?UTF-8?Q?evil?=" },
    { "alertname=X", "summary=a,runbook_url=javascript:alert(1)", "X" },
    { "alertname=X", "summary=a,runbook_url=https://x.example/\"onclick=\"alert(1)", "X" },
    { "alertname=X\xff\xfe", "summary=\xff", "X" },
    { "alertname=A very long name that goes on and on until nobody can read it any more in one "
      "line of a mail header because it is far too long for that",
      "summary=a", "far too long" },
};

static void test_mail_injection(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mail_injections); i++) {
        struct sim sim;
        struct mime_mail read;
        sim_init(&sim, mail);
        sim_alert(&sim, &(struct sim_alert){ .labels = mail_injections[i].labels,
                                             .annotations = mail_injections[i].annotations,
                                             .starts_ms = SIM_START_MS });
        sim_run(&sim, MINUTE);
        assert_int_equal(sim.sent_count, 1);
        assert_string_equal(sim.sent[0].recipient, "ops@x.example");
        mime_read(sim.sent[0].body, &read);
        static const char *const headers[] = {
            "From",        "To",   "Subject",        "Message-ID",   "References",
            "In-Reply-To", "Date", "Auto-Submitted", "MIME-Version", "Content-Type"
        };
        assert_int_equal(read.header_count, ARRAY_LEN(headers));
        for (size_t k = 0; k < ARRAY_LEN(headers); k++) {
            assert_string_equal(read.headers[k].name, headers[k]);
        }
        const char *subject = mime_header(&read, "Subject");
        if (strstr(subject, mail_injections[i].subject) == NULL) {
            fail_msg("subject: %s", subject);
        }
        assert_int_equal(read.part_count, 2);
        assert_string_equal(read.parts[0].content_type, "text/plain; charset=utf-8");
        assert_string_equal(read.parts[1].content_type, "text/html; charset=utf-8");
        assert_null(strstr(read.parts[1].text, "<script"));
        assert_null(strstr(read.parts[1].text, "javascript:"));
        assert_null(strstr(read.parts[1].text, "onclick=\""));
        assert_true(str_is_utf8(str_from(read.parts[0].text)));
        assert_true(str_is_utf8(str_from(read.parts[1].text)));
        mime_finish(&read);
        sim_finish(&sim);
    }
}

/* One thread per incident; every mail has an id of its own that a retry keeps. */
static void test_mail_threads(void **state) {
    (void)state;
    struct sim sim;
    struct mime_mail first;
    struct mime_mail second;
    struct mime_mail third;
    sim_init(&sim, mail);
    sim_fire(&sim, "alertname=X");
    sim_run(&sim, MINUTE);
    sim_resolve(&sim, "alertname=X");
    sim_run(&sim, 10 * MINUTE);
    sim_fire(&sim, "alertname=X");
    sim_run(&sim, MINUTE);
    assert_int_equal(sim.sent_count, 3);
    mime_read(sim.sent[0].body, &first);
    mime_read(sim.sent[1].body, &second);
    mime_read(sim.sent[2].body, &third);
    assert_string_equal(mime_header(&first, "References"), mime_header(&second, "References"));
    assert_string_equal(mime_header(&first, "References"), mime_header(&first, "In-Reply-To"));
    assert_string_not_equal(mime_header(&first, "References"), mime_header(&third, "References"));
    assert_string_not_equal(mime_header(&first, "Message-ID"), mime_header(&second, "Message-ID"));
    assert_non_null(strstr(mime_header(&first, "Message-ID"), "@tocsin.example>"));
    assert_string_equal(mime_header(&first, "Date"), "Fri, 02 Jan 2026 15:04:05 +0000");
    mime_finish(&first);
    mime_finish(&second);
    mime_finish(&third);
    sim_finish(&sim);
}

/* ---- inbox ---- */

static void test_inbox_cap_and_pages(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route: {receiver: inbox, group_by: ['...'], group_wait: 0s}\n");
    for (int i = 0; i < NOTIFY_INBOX_COUNT_MAX + 25; i++) {
        char text[48];
        (void)snprintf(text, sizeof(text), "alertname=N%d", i);
        sim_fire(&sim, text);
        if (i % 500 == 0) {
            sim_run(&sim, 1);
        }
    }
    sim_run(&sim, 1);
    sim_restart(&sim);
    sim_fire(&sim, "alertname=Last");
    sim_run(&sim, 1);
    struct arena arena;
    struct notify_inbox_page page;
    struct err err = ERR_INIT;
    arena_init(&arena, SIZE_MAX);
    assert_true(notify_inbox_list(sim.notify, 0, 2, &arena, &page, &err));
    assert_int_equal(page.total, NOTIFY_INBOX_COUNT_MAX);
    assert_int_equal(page.count, 2);
    assert_true(str_eq(page.messages[0].title, STR("[FIRING:1] Last")));
    assert_int_equal(page.messages[0].id, NOTIFY_INBOX_COUNT_MAX + 26);
    assert_int_equal(page.messages[1].id, NOTIFY_INBOX_COUNT_MAX + 25);
    assert_true(notify_inbox_list(sim.notify, NOTIFY_INBOX_COUNT_MAX - 1, 5, &arena, &page, &err));
    assert_int_equal(page.count, 1);
    assert_int_equal(page.messages[0].id, 27);
    assert_true(notify_inbox_list(sim.notify, NOTIFY_INBOX_COUNT_MAX + 1, 5, &arena, &page, &err));
    assert_int_equal(page.count, 0);
    assert_int_equal(kv_memory_count(sim.memory, KV_INBOX), NOTIFY_INBOX_COUNT_MAX);
    arena_finish(&arena);
    sim_finish(&sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slack_golden),     cmocka_unit_test(test_email_golden),
        cmocka_unit_test(test_webhook_golden),   cmocka_unit_test(test_inbox_golden),
        cmocka_unit_test(test_slack_colors),     cmocka_unit_test(test_slack_injection),
        cmocka_unit_test(test_slack_truncation), cmocka_unit_test(test_many_alerts),
        cmocka_unit_test(test_templates),        cmocka_unit_test(test_template_failure),
        cmocka_unit_test(test_email_templates),  cmocka_unit_test(test_mail_injection),
        cmocka_unit_test(test_mail_threads),     cmocka_unit_test(test_inbox_cap_and_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
