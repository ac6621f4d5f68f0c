/*
 * Goal: messages get through faulty receivers in order, at the receiver's pace, without holding up
 * others; what cannot get through ends as a visible dead letter.
 * Method: a simulated notifier whose transport answers by script.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "tests/notify/sim.h"
#include "tests/unit.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

static const char each_alert[] = "route: {receiver: hook, group_by: ['...'], group_wait: 0s}\n"
                                 "receivers:\n"
                                 "  - name: hook\n"
                                 "    webhook_configs: [{url: 'http://hook.example/'}]\n";

static const char slack[] =
    "route: {receiver: chat, group_by: ['...'], group_wait: 0s}\n"
    "receivers:\n"
    "  - name: chat\n"
    "    slack_configs:\n"
    "      - {api_url: 'https://hooks.slack.example/T1', send_resolved: true}\n";

static const char two_receivers[] = "route:\n"
                                    "  receiver: hook\n"
                                    "  group_by: ['...']\n"
                                    "  group_wait: 0s\n"
                                    "  routes:\n"
                                    "    - {receiver: hook, continue: true}\n"
                                    "    - {receiver: other}\n"
                                    "receivers:\n"
                                    "  - name: hook\n"
                                    "    webhook_configs: [{url: 'http://hook.example/'}]\n"
                                    "  - name: other\n"
                                    "    webhook_configs: [{url: 'http://other.example/'}]\n";

static const char mail[] = "global: {smtp_smarthost: 'mail.example:25', smtp_from: t@s.example}\n"
                           "route: {receiver: ops, group_by: [alertname], group_wait: 0s}\n"
                           "receivers:\n"
                           "  - name: ops\n"
                           "    email_configs:\n"
                           "      - {to: 'a@x.example, b@x.example', send_resolved: true}\n";

/* Replies one after the other, the last one for ever; only for URLs that contain `only`. */
struct script {
    const struct reply *replies;
    size_t count;
    size_t next;
    const char *only;
};

static struct reply by_script(void *ctx, const struct sent *sent) {
    struct script *script = ctx;
    struct reply fine = { .status = sent->recipient != NULL ? 250 : 200, .body = "ok" };
    const char *subject = sent->recipient != NULL ? sent->recipient : sent->url;
    bool is_in_body =
        sent->recipient == NULL && script->only != NULL && strstr(sent->body, script->only) != NULL;
    if (script->only != NULL && strstr(subject, script->only) == NULL && !is_in_body) {
        return fine;
    }
    size_t at = script->next < script->count ? script->next++ : script->count - 1;
    return script->replies[at];
}

static void use(struct sim *sim, struct script *script) {
    sim->reply = by_script;
    sim->reply_ctx = script;
}

static size_t dead_letters(struct sim *sim, struct notify_dead_letter *ret_first) {
    static char reason[600];
    struct arena arena;
    struct notify_dead_letter *letters = NULL;
    size_t count = 0;
    struct err err = ERR_INIT;
    arena_init(&arena, SIZE_MAX);
    assert_true(notify_dead_letters_list(sim->notify, &arena, &letters, &count, &err));
    if (count > 0 && ret_first != NULL) {
        *ret_first = letters[0];
        (void)snprintf(reason, sizeof(reason), "%.*s", STR_FMT(letters[0].reason));
        ret_first->reason = str_from(reason);
    }
    arena_finish(&arena);
    return count;
}

/* ---- retries ---- */

static void test_retry_with_backoff(void **state) {
    (void)state;
    static const struct reply replies[] = { { .status = 0 },   { .status = 500 },
                                            { .status = 503 }, { .status = 408 },
                                            { .status = 425 }, { .status = 200, .body = "fine" } };
    struct script script = { replies, ARRAY_LEN(replies), 0, NULL };
    struct sim sim;
    sim_init(&sim, each_alert);
    use(&sim, &script);
    sim_fire(&sim, "id=A");
    sim_run(&sim, 5 * MINUTE);
    assert_int_equal(sim.sent_count, 6);
    int64_t ideal_ms = 1000;
    for (size_t i = 1; i < sim.sent_count; i++) {
        int64_t gap_ms = sim.sent[i].at_ms - sim.sent[i - 1].at_ms;
        assert_true(gap_ms <= ideal_ms && gap_ms >= ideal_ms * 3 / 4);
        ideal_ms *= 2;
        assert_string_equal(sim.sent[i].body, sim.sent[0].body);
        assert_string_equal(sim.sent[i].key, sim.sent[0].key);
    }
    assert_int_equal(kv_memory_count(sim.memory, KV_OUTBOX), 0);
    sim_finish(&sim);
}

static void test_retry_after(void **state) {
    (void)state;

    static const struct {
        int status;
        int64_t retry_after_ms;
        int64_t expected_ms;
    } cases[] = {
        { 429, 30 * SECOND, 30 * SECOND },
        { 503, 90 * SECOND, 90 * SECOND },
        { 500, 45 * SECOND, 45 * SECOND },
        { 429, 5 * HOUR, HOUR }, /* capped */
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply replies[] = {
            { .status = cases[i].status, .retry_after_ms = cases[i].retry_after_ms },
            { .status = 200, .body = "ok" },
        };
        struct script script = { replies, 2, 0, NULL };
        struct sim sim;
        sim_init(&sim, slack);
        use(&sim, &script);
        sim_fire(&sim, "id=A");
        sim_run(&sim, SECOND);
        sim_fire(&sim, "id=B"); /* waits, too: the limit is the hook's */
        sim_run(&sim, 2 * HOUR);
        assert_int_equal(sim.sent_count, 3);
        assert_int_equal(sim.sent[1].at_ms - sim.sent[0].at_ms, cases[i].expected_ms);
        assert_string_equal(sim.sent[1].key, sim.sent[0].key);
        assert_int_equal(sim.sent[2].at_ms - sim.sent[1].at_ms, 1000);
        sim_finish(&sim);
    }
}

/* A pause the receiver asked for outlives the process. */
static void test_retry_after_survives_restart(void **state) {
    (void)state;
    struct reply replies[] = { { .status = 429, .retry_after_ms = 10 * MINUTE },
                               { .status = 200, .body = "ok" } };
    struct script script = { replies, 2, 0, NULL };
    struct sim sim;
    sim_init(&sim, slack);
    use(&sim, &script);
    sim_fire(&sim, "id=A");
    sim_run(&sim, SECOND);
    sim_fire(&sim, "id=B");
    sim_run(&sim, SECOND);
    sim_restart(&sim);
    sim_run(&sim, 9 * MINUTE);
    assert_int_equal(sim.sent_count, 1);
    sim_run(&sim, 2 * MINUTE);
    assert_int_equal(sim.sent_count, 3);
    assert_int_equal(sim.sent[1].at_ms - SIM_START_MS, 10 * MINUTE);
    sim_finish(&sim);
}

/* A storm of 429s: paced probes, everything arrives once, in order. */
static void test_rate_limit_storm(void **state) {
    (void)state;
    struct reply replies[21];
    for (size_t i = 0; i < 20; i++) {
        replies[i] = (struct reply){ .status = 429, .retry_after_ms = 10 * SECOND };
    }
    replies[20] = (struct reply){ .status = 200, .body = "ok" };
    struct script script = { replies, ARRAY_LEN(replies), 0, NULL };
    struct sim sim;
    sim_init(&sim, slack);
    use(&sim, &script);
    for (int i = 0; i < 10; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "id=%d", i);
        sim_fire(&sim, text);
        sim_run(&sim, SECOND);
    }
    sim_run(&sim, 2 * HOUR);
    assert_int_equal(sim.sent_count, 30);
    for (size_t i = 0; i < 20; i++) {
        assert_string_equal(sim.sent[i].key, sim.sent[0].key); /* one probe at a time */
    }
    for (size_t i = 20; i < 30; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "id=%zu", i - 20);
        assert_non_null(strstr(sim.sent[i].body, id));
    }
    sim_finish(&sim);
}

static void test_connection_cut_is_counted(void **state) {
    (void)state;
    static const struct reply replies[] = { { .status = 0, .was_sent = true },
                                            { .status = 200, .body = "ok" } };
    struct script script = { replies, 2, 0, NULL };
    struct sim sim;
    sim_init(&sim, each_alert);
    use(&sim, &script);
    sim_fire(&sim, "id=A");
    sim_run(&sim, MINUTE);
    assert_int_equal(sim.sent_count, 2);
    assert_string_equal(sim.sent[0].key, sim.sent[1].key);
    static const char *const labels[] = { "integration", "webhook", "receiver", "hook", NULL };
    struct metric *possible =
        metric_counter(sim.metrics, "tocsin_notify_duplicates_possible_total", "", labels);
    assert_true(metric_get(possible) == 1);
    sim_finish(&sim);
}

static void test_gives_up_after_a_day(void **state) {
    (void)state;
    static const struct reply replies[] = { { .status = 503 } };
    struct script script = { replies, 1, 0, NULL };
    struct sim sim;
    sim_init(&sim, each_alert);
    use(&sim, &script);
    sim_fire(&sim, "id=A");
    sim_run(&sim, 23 * HOUR);
    assert_int_equal(dead_letters(&sim, NULL), 0);
    sim_run(&sim, HOUR + 6 * MINUTE);
    struct notify_dead_letter letter;
    assert_int_equal(dead_letters(&sim, &letter), 1);
    assert_true(
        str_starts_with(letter.reason, STR("not delivered within 24 h; last: HTTP status 503")));
    sim_finish(&sim);
}

/* ---- permanent refusals ---- */

static void test_dead_letters(void **state) {
    (void)state;

    static const struct {
        const char *config;
        struct reply reply;
        const char *reason;
    } cases[] = {
        { each_alert, { .status = 400, .body = "bad\njson" }, "HTTP status 400: bad json" },
        { each_alert, { .status = 404 }, "HTTP status 404" },
        { each_alert, { .status = 301 }, "HTTP status 301" },
        { slack, { .status = 403, .body = "invalid_token" }, "HTTP status 403: invalid_token" },
        { slack, { .status = 404, .body = "no_service" }, "HTTP status 404: no_service" },
        { slack,
          { .status = 410, .body = "channel_is_archived" },
          "HTTP status 410: channel_is_archived" },
        { slack, { .status = 200, .body = "no_service" }, "Slack answered 200: no_service" },
        { slack,
          { .status = 200, .body = "{\"ok\":false,\"error\":\"invalid_auth\"}" },
          "Slack answered 200: {\"ok\":false,\"error\":\"invalid_auth\"}" },
        { mail, { .status = 552, .body = "552 too big" }, "SMTP status 552: 552 too big" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct script script = { &cases[i].reply, 1, 0, NULL };
        struct notify_dead_letter letter;
        struct sim sim;
        sim_init(&sim, cases[i].config);
        use(&sim, &script);
        sim_fire(&sim, "id=A");
        sim_run(&sim, MINUTE);
        size_t expected = cases[i].config == mail ? 2 : 1;
        assert_int_equal(sim.sent_count, expected);
        sim_restart(&sim);
        assert_int_equal(dead_letters(&sim, &letter), expected);
        if (!str_eq_c(letter.reason, cases[i].reason)) {
            fail_msg("%.*s, expected %s", STR_FMT(letter.reason), cases[i].reason);
        }
        assert_int_equal(letter.attempts, 1);
        sim_finish(&sim);
    }
}

static void test_slack_accepts(void **state) {
    (void)state;
    static const char *const bodies[] = { "ok", "", "ok\n", "{\"ok\":true,\"ts\":\"1\"}",
                                          "{\"success\": true}" };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        struct reply reply = { .status = 200, .body = bodies[i] };
        struct script script = { &reply, 1, 0, NULL };
        struct sim sim;
        sim_init(&sim, slack);
        use(&sim, &script);
        sim_fire(&sim, "id=A");
        sim_run(&sim, MINUTE);
        assert_int_equal(sim.sent_count, 1);
        assert_int_equal(dead_letters(&sim, NULL), 0);
        sim_finish(&sim);
    }
}

static void test_dead_letters_are_bounded(void **state) {
    (void)state;
    static const struct reply refused = { .status = 400 };
    struct script script = { &refused, 1, 0, NULL };
    struct sim sim;
    sim_init(&sim, each_alert);
    use(&sim, &script);
    for (int i = 0; i < 1010; i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "id=%d", i);
        sim_fire(&sim, text);
        sim_run(&sim, 1);
    }
    assert_int_equal(dead_letters(&sim, NULL), 1000);
    assert_int_equal(kv_memory_count(sim.memory, KV_OUTBOX), 2000);
    sim_finish(&sim);
}

/* ---- order ---- */

static void test_resolved_waits_for_firing(void **state) {
    (void)state;
    static const struct reply replies[] = { { .status = 500 }, { .status = 500 }, { .status = 500 },
                                            { .status = 500 }, { .status = 500 }, { .status = 500 },
                                            { .status = 500 }, { .status = 500 }, { .status = 500 },
                                            { .status = 500 }, { .status = 200 } };
    struct script script = { replies, ARRAY_LEN(replies), 0, "\"id\":\"A\"" };
    struct sim sim;
    sim_init(&sim, each_alert);
    use(&sim, &script);
    sim_fire(&sim, "id=A");
    sim_run(&sim, SECOND);
    sim_resolve(&sim, "id=A");
    sim_fire(&sim, "id=B"); /* a 500 is about one message: B passes */
    sim_run(&sim, HOUR);
    size_t at_b = 0;
    size_t last_firing = 0;
    size_t resolved = 0;
    for (size_t i = 0; i < sim.sent_count; i++) {
        if (strstr(sim.sent[i].body, "\"id\":\"B\"") != NULL) {
            at_b = i;
        } else if (strstr(sim.sent[i].body, "\"status\":\"firing\"") != NULL) {
            last_firing = i;
        } else {
            resolved = i;
        }
    }
    assert_int_equal(sim.sent_count, 13);
    assert_true(at_b > 0 && at_b < 5);
    assert_true(resolved > last_firing);
    sim_finish(&sim);
}

static void test_broken_receiver_delays_no_other(void **state) {
    (void)state;
    static const struct reply away = { .status = 0 };
    struct script script = { &away, 1, 0, "hook.example" };
    struct sim sim;
    sim_init(&sim, two_receivers);
    use(&sim, &script);
    sim_fire(&sim, "id=A");
    sim_run(&sim, 0);
    assert_int_equal(sim.sent_count, 2); /* one each, in either order */
    sim_run(&sim, MINUTE);
    assert_true(sim.sent_count > 4);
    sim_fire(&sim, "id=B");
    size_t before = sim.sent_count;
    sim_run(&sim, 0);
    assert_int_equal(sim.sent_count, before + 1);
    assert_string_equal(sim.sent[before].url, "http://other.example/");
    sim_finish(&sim);
}

static void test_hanging_receiver_delays_no_other(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, two_receivers);
    sim.is_holding = true;
    sim_fire(&sim, "id=A");
    sim_run(&sim, SECOND);
    sim_fire(&sim, "id=B");
    sim_run(&sim, SECOND);
    assert_int_equal(sim.pending_count, 4); /* webhooks: lanes do not wait for each other */
    sim_resolve(&sim, "id=A");
    sim_run(&sim, 10 * MINUTE);
    assert_int_equal(sim.pending_count, 4); /* but a lane waits for itself */
    sim_release(&sim, (struct reply){ .status = 200, .body = "ok" });
    sim_run(&sim, 0);
    assert_int_equal(sim.pending_count, 2);
    sim_finish(&sim);
}

/* ---- pace ---- */

static void test_slack_pace(void **state) {
    (void)state;
    struct sim sim; /* two receivers, one hook: one message a second between them */
    sim_init(&sim, "global: {slack_api_url: 'https://hooks.slack.example/T1'}\n"
                   "route:\n"
                   "  receiver: one\n"
                   "  group_by: ['...']\n"
                   "  group_wait: 0s\n"
                   "  routes:\n"
                   "    - {receiver: one, continue: true}\n"
                   "    - {receiver: two}\n"
                   "receivers:\n"
                   "  - {name: one, slack_configs: [{channel: '#one'}]}\n"
                   "  - {name: two, slack_configs: [{channel: '#two'}]}\n");
    const char *alerts[] = { "id=A", "id=B", "id=C", NULL };
    sim_alerts(&sim, alerts);
    sim_run(&sim, MINUTE);
    assert_int_equal(sim.sent_count, 6);
    for (size_t i = 0; i < sim.sent_count; i++) {
        assert_int_equal(sim.sent[i].at_ms - SIM_START_MS, (int64_t)i * 1000);
    }
    sim_finish(&sim);
}

/* ---- mail ---- */

static void test_one_refused_recipient(void **state) {
    (void)state;
    static const struct reply refused = { .status = 550, .body = "550 no such user" };
    struct script script = { &refused, 1, 0, "a@x.example" };
    struct notify_dead_letter letter;
    struct sim sim;
    sim_init(&sim, mail);
    use(&sim, &script);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, MINUTE);
    sim_expect(&sim, "0 a@x.example\n0 b@x.example\n");
    assert_string_equal(sim.sent[0].body, sim.sent[1].body); /* the same mail, two envelopes */
    assert_int_equal(dead_letters(&sim, &letter), 1);
    sim_finish(&sim);
}

static void test_many_recipients(void **state) {
    (void)state;
    struct sim sim; /* at most four connections to one mail server at a time */
    sim_init(&sim, "global: {smtp_smarthost: 'mail.example:25', smtp_from: t@s.example}\n"
                   "route: {receiver: ops, group_wait: 0s}\n"
                   "receivers:\n"
                   "  - name: ops\n"
                   "    email_configs: [{to: 'a@x.y, b@x.y, c@x.y, d@x.y, e@x.y, f@x.y'}]\n");
    sim.is_holding = true;
    sim_fire(&sim, "id=A");
    sim_run(&sim, SECOND);
    assert_int_equal(sim.pending_count, 4);
    sim_release(&sim, (struct reply){ .status = 250, .body = "ok" });
    sim_run(&sim, SECOND);
    assert_int_equal(sim.pending_count, 2);
    sim_release(&sim, (struct reply){ .status = 250, .body = "ok" });
    sim_run(&sim, SECOND);
    assert_int_equal(kv_memory_count(sim.memory, KV_OUTBOX), 0);
    sim_finish(&sim);
}

static void test_greylisting(void **state) {
    (void)state;
    static const struct reply replies[] = { { .status = 451, .body = "451 greylisted" },
                                            { .status = 250, .body = "250 ok" } };
    struct script script = { replies, 2, 0, "a@x.example" };
    struct sim sim;
    sim_init(&sim, mail);
    use(&sim, &script);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 10 * MINUTE);
    sim_expect(&sim, "0 a@x.example\n0 b@x.example\n300 a@x.example\n");
    assert_string_equal(sim.sent[0].body, sim.sent[2].body);
    sim_finish(&sim);
}

static void test_mail_transfer(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route: {receiver: ops, group_wait: 0s}\n"
                   "receivers:\n"
                   "  - name: ops\n"
                   "    email_configs:\n"
                   "      - to: '\"Ops, all\" <ops@x.example>'\n"
                   "        from: 'Tocsin <t@s.example>'\n"
                   "        smarthost: 'mail.example:465'\n"
                   "        auth_username: u\n"
                   "        auth_password: p\n"
                   "      - to: ops2@x.example\n"
                   "        from: t@s.example\n"
                   "        smarthost: 'mail.example:587'\n"
                   "        require_tls: false\n"
                   "      - to: ops3@x.example\n"
                   "        from: t@s.example\n"
                   "        smarthost: 'mail.example:587'\n");
    sim_fire(&sim, "id=A");
    sim_run(&sim, 0);
    assert_int_equal(sim.sent_count, 3);
    assert_string_equal(sim.sent[0].url, "smtps://mail.example:465");
    assert_string_equal(sim.sent[0].recipient, "ops@x.example");
    assert_string_equal(sim.sent[0].mail_from, "t@s.example");
    assert_string_equal(sim.sent[0].username, "u");
    assert_false(sim.sent[0].mail_require_tls);
    assert_string_equal(sim.sent[1].url, "smtp://mail.example:587");
    assert_false(sim.sent[1].mail_require_tls);
    assert_true(sim.sent[2].mail_require_tls);
    sim_finish(&sim);
}

static void test_bad_recipient_is_a_dead_letter(void **state) {
    (void)state;
    struct notify_dead_letter letter;
    struct sim sim;
    sim_init(&sim, "global: {smtp_smarthost: 'mail.example:25', smtp_from: t@s.example}\n"
                   "route: {receiver: ops, group_wait: 0s}\n"
                   "receivers:\n"
                   "  - name: ops\n"
                   "    email_configs: [{to: '{{ .CommonLabels.owner }}@x.example'}]\n");
    sim_fire(&sim, "id=A,owner=eve\r\nBcc: all");
    sim_run(&sim, MINUTE);
    assert_int_equal(sim.sent_count, 0);
    assert_int_equal(dead_letters(&sim, &letter), 1);
    assert_non_null(strstr(letter.reason.ptr, "control character in an address"));
    sim_fire(&sim, "id=B,owner=ann");
    sim_run(&sim, 10 * MINUTE);
    assert_int_equal(sim.sent_count, 0); /* owners differ: no common label, "@x.example" */
    assert_int_equal(dead_letters(&sim, &letter), 2);
    sim_finish(&sim);
}

/* ---- overload ---- */

static void test_storm_becomes_a_digest(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, slack);

    enum {
        COUNT = 3000
    };

    static char texts[COUNT][48];
    static const char *alerts[COUNT + 1];
    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "alertname=Storm,id=%05zu", i);
        alerts[i] = texts[i];
    }
    sim_alerts(&sim, alerts);
    sim_run(&sim, 30 * SECOND);
    assert_true(sim.sent_count >= 30); /* the first page does not wait for the storm */
    sim_run(&sim, 2 * MINUTE);
    assert_int_equal(sim.sent_count, 51);
    const char *digest = sim.sent[50].body;
    assert_non_null(strstr(digest, "[DIGEST] 2950 updates of "));
    assert_non_null(strstr(digest, "2950 firing, 0 resolved"));
    sim_run(&sim, 10 * MINUTE);
    assert_int_equal(sim.sent_count, 51); /* all of it was told */
    assert_int_equal(kv_memory_count(sim.memory, KV_OUTBOX), 0);
    sim_finish(&sim);
}

/* Digests keep order and survive a restart; resolved ones in a digest name what resolved. */
static void test_digest_in_order(void **state) {
    (void)state;
    static const struct reply away = { .status = 0 };
    struct script script = { &away, 1, 0, NULL };
    struct sim sim;
    sim_init(&sim, slack);
    use(&sim, &script);
    for (int i = 0; i < 60; i++) {
        char text[48];
        (void)snprintf(text, sizeof(text), "alertname=Down,id=%02d", i);
        sim_fire(&sim, text);
        sim_run(&sim, SECOND);
    }
    sim_restart(&sim);
    sim_resolve(&sim, "alertname=Down,id=07");
    sim_resolve(&sim, "alertname=Down,id=55");
    sim_run(&sim, 6 * MINUTE);
    sim_forget(&sim);
    sim.reply = NULL;
    sim_run(&sim, 10 * MINUTE);
    assert_int_equal(sim.sent_count, 51);
    assert_non_null(strstr(sim.sent[0].body, "id=00"));
    assert_non_null(strstr(sim.sent[49].body, "id=49"));
    assert_non_null(
        strstr(sim.sent[50].body, "[DIGEST] 12 updates of 11 groups: 9 firing, 2 resolved"));
    assert_non_null(strstr(sim.sent[50].body, "id=07"));
    assert_int_equal(kv_memory_count(sim.memory, KV_OUTBOX), 0);
    sim_finish(&sim);
}

/* ---- configuration ---- */

static void test_removed_receiver(void **state) {
    (void)state;
    static const struct reply away = { .status = 0 };
    struct script script = { &away, 1, 0, NULL };
    struct notify_dead_letter letter;
    struct sim sim;
    sim_init(&sim, each_alert);
    use(&sim, &script);
    sim_fire(&sim, "id=A");
    sim_run(&sim, MINUTE);
    struct notify_config *config =
        config_from_yaml("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n");
    notify_reload(sim.notify, config);
    notify_config_unref(config);
    sim_run(&sim, MINUTE);
    assert_int_equal(dead_letters(&sim, &letter), 1);
    assert_true(str_eq(letter.reason, STR("the receiver is no longer configured")));
    sim_finish(&sim);
}

static void test_secrets_from_files(void **state) {
    (void)state;
    char path[] = "/tmp/tocsin_secret_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "https://hooks.slack.example/T9\n", 31), 31);
    char yaml[600];
    (void)snprintf(yaml, sizeof(yaml),
                   "route: {receiver: chat, group_by: ['...'], group_wait: 0s}\n"
                   "receivers:\n"
                   "  - name: chat\n"
                   "    slack_configs: [{api_url_file: %s}]\n",
                   path);
    struct sim sim;
    sim_init(&sim, yaml);
    sim_fire(&sim, "id=A");
    sim_run(&sim, SECOND);
    assert_int_equal(sim.sent_count, 1);
    assert_string_equal(sim.sent[0].url, "https://hooks.slack.example/T9");
    assert_int_equal(unlink(path), 0); /* unreadable: retried, not lost */
    sim_fire(&sim, "id=B");
    sim_run(&sim, MINUTE);
    assert_int_equal(sim.sent_count, 1);
    assert_int_equal(dead_letters(&sim, NULL), 0);
    close(fd);
    sim_finish(&sim);
}

/* A message that would be too large tells as much as fits. */
static void test_huge_group(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route: {receiver: hook, group_by: [alertname], group_wait: 0s}\n"
                   "receivers: [{name: hook, webhook_configs: [{url: 'http://hook.example/'}]}]\n");
    struct buf annotation;
    buf_init(&annotation, 1 << 20);
    buf_cstr(&annotation, "description=");
    for (size_t i = 0; i < 40000; i++) {
        buf_putc(&annotation, 'x');
    }
    for (int i = 0; i < 1500; i++) {
        char labels[64];
        (void)snprintf(labels, sizeof(labels), "alertname=X,id=%d", i);
        sim_alert(&sim, &(struct sim_alert){ .labels = labels,
                                             .annotations = buf_as_str(&annotation).ptr,
                                             .starts_ms = SIM_START_MS });
    }
    sim_run(&sim, SECOND);
    assert_int_equal(sim.sent_count, 1);
    assert_int_equal(dead_letters(&sim, NULL), 0);
    assert_true(strlen(sim.sent[0].body) < (16u << 20));
    assert_non_null(strstr(sim.sent[0].body, "\"truncatedAlerts\":750"));
    buf_finish(&annotation);
    sim_finish(&sim);
}

static void test_app_token(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route: {receiver: chat, group_wait: 0s}\n"
                   "receivers:\n"
                   "  - name: chat\n"
                   "    slack_configs: [{app_token: xoxb-1, channel: '#a'}]\n");
    sim_fire(&sim, "id=A");
    sim_run(&sim, SECOND);
    assert_string_equal(sim.sent[0].url, "https://slack.com/api/chat.postMessage");
    assert_string_equal(sim.sent[0].bearer, "xoxb-1");
    assert_non_null(strstr(sim.sent[0].body, "\"channel\":\"#a\""));
    sim_finish(&sim);
}

static void test_check_receiver(void **state) {
    (void)state;
    struct err err = ERR_INIT;
    struct sim sim;
    sim_init(&sim, slack);
    assert_true(notify_check_receiver(sim.notify, "chat", sim.now_ms, &err));
    sim_run(&sim, SECOND);
    assert_int_equal(sim.sent_count, 1);
    assert_non_null(strstr(sim.sent[0].body, "[TEST] [FIRING:1] TocsinTest"));
    assert_false(notify_check_receiver(sim.notify, "nobody", sim.now_ms, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    sim_finish(&sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry_with_backoff),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_retry_after_survives_restart),
        cmocka_unit_test(test_rate_limit_storm),
        cmocka_unit_test(test_connection_cut_is_counted),
        cmocka_unit_test(test_gives_up_after_a_day),
        cmocka_unit_test(test_dead_letters),
        cmocka_unit_test(test_slack_accepts),
        cmocka_unit_test(test_dead_letters_are_bounded),
        cmocka_unit_test(test_resolved_waits_for_firing),
        cmocka_unit_test(test_broken_receiver_delays_no_other),
        cmocka_unit_test(test_hanging_receiver_delays_no_other),
        cmocka_unit_test(test_slack_pace),
        cmocka_unit_test(test_one_refused_recipient),
        cmocka_unit_test(test_many_recipients),
        cmocka_unit_test(test_greylisting),
        cmocka_unit_test(test_mail_transfer),
        cmocka_unit_test(test_bad_recipient_is_a_dead_letter),
        cmocka_unit_test(test_storm_becomes_a_digest),
        cmocka_unit_test(test_digest_in_order),
        cmocka_unit_test(test_removed_receiver),
        cmocka_unit_test(test_secrets_from_files),
        cmocka_unit_test(test_huge_group),
        cmocka_unit_test(test_app_token),
        cmocka_unit_test(test_check_receiver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
