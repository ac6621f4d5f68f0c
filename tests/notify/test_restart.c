/*
 * Goal: a process that dies at any commit or transfer loses no message and repeats at most those
 * whose receipt it had not saved; timers and logs go on as if nothing had happened.
 * Method: one scripted story is played without a fault, then once per possible crash: the n-th
 * commit lost, the n-th commit saved but unseen, the n-th transfer accepted but unseen. The
 * messages of the faultless run, by key, bytes and time, are the oracle.
 */
#include <stdio.h>

#include "base/mem.h"
#include "tests/notify/sim.h"
#include "tests/unit.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

static const char config[] = "global: {smtp_smarthost: 'mail.example:25', smtp_from: a@b.example}\n"
                             "route:\n"
                             "  receiver: hook\n"
                             "  group_by: [alertname]\n"
                             "  group_wait: 10s\n"
                             "  group_interval: 1m\n"
                             "  repeat_interval: 3m\n"
                             "  routes:\n"
                             "    - {matchers: [team=b], receiver: both, continue: true}\n"
                             "    - {matchers: [team=b], receiver: slow, group_interval: 4m}\n"
                             "receivers:\n"
                             "  - name: hook\n"
                             "    webhook_configs: [{url: 'http://hook.example/'}]\n"
                             "  - name: slow\n"
                             "    webhook_configs: [{url: 'http://slow.example/'}]\n"
                             "  - name: both\n"
                             "    webhook_configs: [{url: 'http://both.example/'}]\n"
                             "    inbox_configs: [{}]\n"
                             "    email_configs:\n"
                             "      - {to: 'x@b.example, y@b.example', send_resolved: true}\n"
                             "inhibit_rules:\n"
                             "  - {source_matchers: [id=S], target_matchers: [id=T]}\n";

/* Fails every fifth attempt, by a count kept in the story: a crash changes nothing of it. */
struct story {
    struct sim sim;
    size_t attempts;
    const char *down; /* URL that answers 503 */
};

static struct reply reply(void *ctx, const struct sent *sent) {
    const struct story *story = ctx;
    if (story->down != NULL && strcmp(sent->url, story->down) == 0) {
        return (struct reply){ .status = 503, .body = "away" };
    }
    return (struct reply){ .status = sent->recipient != NULL ? 250 : 200, .body = "ok" };
}

static void play(struct story *story) {
    struct sim *sim = &story->sim;
    sim_fire(sim, "alertname=X,id=A");
    sim_run(sim, 5 * SECOND);
    const char *some[] = { "alertname=X,id=B", "alertname=Y,id=C,team=b", "alertname=Z,id=T",
                           NULL };
    sim_alerts(sim, some);
    sim_run(sim, 30 * SECOND);
    sim_resolve(sim, "alertname=X,id=B");
    sim_fire(sim, "alertname=Y,id=D,team=b");
    sim_run(sim, MINUTE);
    sim_fire(sim, "alertname=W,id=S");
    sim_run(sim, 2 * MINUTE);
    sim_resolve(sim, "alertname=Y,id=C,team=b");
    sim_resolve(sim, "alertname=X,id=A");
    sim_run(sim, 5 * MINUTE);
    sim_fire(sim, "alertname=X,id=A");
    sim_resolve(sim, "alertname=W,id=S");
    sim_run(sim, 5 * MINUTE);
    sim_resolve(sim, "alertname=X,id=A");
    sim_resolve(sim, "alertname=Y,id=D,team=b");
    sim_resolve(sim, "alertname=Z,id=T");
    sim_run(sim, 20 * MINUTE);
}

static void begin(struct story *story) {
    *story = (struct story){ 0 };
    sim_init(&story->sim, config);
    story->sim.reply = reply;
    story->sim.reply_ctx = story;
}

static bool is_same(const struct sent *a, const struct sent *b) {
    bool same_recipient = (a->recipient == NULL) == (b->recipient == NULL) &&
                          (a->recipient == NULL || strcmp(a->recipient, b->recipient) == 0);
    return same_recipient && strcmp(a->key, b->key) == 0 && strcmp(a->url, b->url) == 0 &&
           strcmp(a->body, b->body) == 0;
}

/* Every message of `oracle` in `run` at its time; returns how many came twice. */
static size_t compare(const struct sim *oracle, const struct sim *run, const char *what) {
    for (size_t i = 0; i < oracle->sent_count; i++) {
        bool is_found = false;
        for (size_t k = 0; k < run->sent_count && !is_found; k++) {
            is_found = is_same(&oracle->sent[i], &run->sent[k]) &&
                       oracle->sent[i].at_ms == run->sent[k].at_ms;
        }
        if (!is_found) {
            fail_msg("%s: lost or late: %s at %lld s\n%s", what, oracle->sent[i].url,
                     (long long)((oracle->sent[i].at_ms - SIM_START_MS) / 1000),
                     oracle->sent[i].body);
        }
    }
    for (size_t k = 0; k < run->sent_count; k++) {
        bool is_known = false;
        for (size_t i = 0; i < oracle->sent_count && !is_known; i++) {
            is_known = is_same(&oracle->sent[i], &run->sent[k]);
        }
        if (!is_known) {
            fail_msg("%s: invented: %s at %lld s\n%s", what, run->sent[k].url,
                     (long long)((run->sent[k].at_ms - SIM_START_MS) / 1000), run->sent[k].body);
        }
    }
    assert_true(run->sent_count >= oracle->sent_count);
    return run->sent_count - oracle->sent_count;
}

static uint64_t inbox_total(struct sim *sim) {
    struct arena arena;
    struct notify_inbox_page page;
    struct err err = ERR_INIT;
    arena_init(&arena, SIZE_MAX);
    assert_true(notify_inbox_list(sim->notify, 0, 1, &arena, &page, &err));
    uint64_t total = page.total;
    arena_finish(&arena);
    return total;
}

/* Plays the story with a crash at the n-th point; false when there is no such point. */
static bool play_with_crash(struct sim *oracle,
                            uint64_t inbox_count,
                            enum crash_point point,
                            size_t n) {
    static const char *const names[] = { "", "before commit", "after commit", "after send" };
    char what[100];
    (void)snprintf(what, sizeof(what), "crash %s %zu", names[point], n);
    struct story story;
    begin(&story);
    story.sim.crash = point;
    story.sim.crash_countdown = n;
    play(&story);
    bool has_struck = story.sim.crash == CRASH_NEVER;
    size_t twice = compare(oracle, &story.sim, what);
    if (twice > story.sim.window) {
        fail_msg("%s: %zu messages twice, %zu could", what, twice, story.sim.window);
    }
    assert_true(point != CRASH_AFTER_COMMIT || twice == 0);
    assert_int_equal(kv_memory_count(story.sim.memory, KV_OUTBOX), 0);
    assert_int_equal(kv_memory_count(story.sim.memory, KV_NOTIFY_ALERT), 0);
    assert_int_equal(inbox_total(&story.sim), inbox_count);
    sim_finish(&story.sim);
    return has_struck;
}

static void test_every_crash(void **state) {
    (void)state;
    struct story oracle;
    begin(&oracle);
    play(&oracle);
    assert_true(oracle.sim.sent_count > 20);
    uint64_t inbox_count = inbox_total(&oracle.sim);
    assert_true(inbox_count >= 4);

    static const enum crash_point points[] = { CRASH_BEFORE_COMMIT, CRASH_AFTER_COMMIT,
                                               CRASH_AFTER_SEND };

    for (size_t p = 0; p < ARRAY_LEN(points); p++) {
        size_t n = 1;
        while (play_with_crash(&oracle.sim, inbox_count, points[p], n)) {
            n++;
        }
        assert_true(n > 20);
    }
    sim_finish(&oracle.sim);
}

/* A restart between any two steps, without anything in flight, changes nothing at all. */
static void test_restart_everywhere(void **state) {
    (void)state;
    struct story oracle;
    begin(&oracle);
    play(&oracle);
    struct story story;
    begin(&story);
    struct sim *sim = &story.sim;
    sim_fire(sim, "alertname=X,id=A");
    sim_restart(sim);
    sim_run(sim, 5 * SECOND);
    sim_restart(sim);
    const char *some[] = { "alertname=X,id=B", "alertname=Y,id=C,team=b", "alertname=Z,id=T",
                           NULL };
    sim_alerts(sim, some);
    sim_restart(sim);
    for (int i = 0; i < 30; i++) {
        sim_run(sim, SECOND);
        sim_restart(sim);
    }
    sim_resolve(sim, "alertname=X,id=B");
    sim_restart(sim);
    sim_fire(sim, "alertname=Y,id=D,team=b");
    for (int i = 0; i < 60; i++) {
        sim_run(sim, SECOND);
        sim_restart(sim);
    }
    sim_fire(sim, "alertname=W,id=S");
    sim_restart(sim);
    sim_run(sim, 2 * MINUTE);
    sim_restart(sim);
    sim_resolve(sim, "alertname=Y,id=C,team=b");
    sim_resolve(sim, "alertname=X,id=A");
    for (int i = 0; i < 300; i++) {
        sim_run(sim, SECOND);
        sim_restart(sim);
    }
    sim_fire(sim, "alertname=X,id=A");
    sim_resolve(sim, "alertname=W,id=S");
    sim_run(sim, 5 * MINUTE);
    sim_restart(sim);
    sim_resolve(sim, "alertname=X,id=A");
    sim_resolve(sim, "alertname=Y,id=D,team=b");
    sim_resolve(sim, "alertname=Z,id=T");
    sim_run(sim, 20 * MINUTE);
    assert_int_equal(compare(&oracle.sim, sim, "restart everywhere"), 0);
    sim_finish(&story.sim);
    sim_finish(&oracle.sim);
}

/* Six hours without a receiver, three restarts meanwhile: everything arrives, in order. */
static void test_receiver_down(void **state) {
    (void)state;
    struct story story;
    begin(&story);
    story.down = "http://hook.example/";
    struct sim *sim = &story.sim;
    sim_fire(sim, "alertname=X,id=A");
    for (int hour = 0; hour < 6; hour++) {
        sim_run(sim, HOUR);
        if (hour % 2 == 1) {
            sim_restart(sim);
        }
        sim_fire(sim, hour % 2 == 0 ? "alertname=X,id=B" : "-alertname=X,id=B");
    }
    size_t attempts = sim->sent_count;
    assert_true(attempts > 60 && attempts < 120); /* backed off to five minutes */
    sim_forget(sim);
    sim_resolve(sim, "alertname=X,id=A");
    story.down = NULL;
    sim_run(sim, 7 * MINUTE);
    /* the first firing, then each change, then the end; repeats were coalesced */
    static const char *const order[] = {
        "+A", "+A +B", "+A -B", "+A +B", "+A -B", "+A +B", "-A -B"
    };
    assert_int_equal(sim->sent_count, ARRAY_LEN(order));
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        bool has_b = strstr(sim->sent[i].body, "\"id\":\"B\"") != NULL;
        bool b_fires = strchr(order[i], 'B') != NULL && strstr(order[i], "+B") != NULL;
        assert_int_equal(has_b, strchr(order[i], 'B') != NULL);
        if (has_b) {
            const char *b = strstr(sim->sent[i].body, "\"id\":\"B\"");
            const char *status = b;
            while (strncmp(status, "\"status\":\"", 10) != 0) {
                status--;
            }
            assert_int_equal(status[10] == 'f', b_fires);
        }
    }
    sim_finish(sim);
}

/* The store refuses for a while (disk full): nothing leaves, nothing is lost. */
static void test_commits_fail(void **state) {
    (void)state;
    struct story story;
    begin(&story);
    struct sim *sim = &story.sim;
    sim_fire(sim, "alertname=X,id=A");
    kv_memory_fail_commits(sim->memory, ERR_NO_SPACE);
    sim_run(sim, 30 * SECOND);
    sim_expect(sim, "");
    assert_false(notify_is_healthy(sim->notify, sim->now_ms, NULL));
    kv_memory_fail_commits(sim->memory, ERR_NONE);
    sim_run(sim, SECOND);
    assert_true(notify_is_healthy(sim->notify, sim->now_ms, NULL));
    assert_int_equal(sim->sent_count, 1);
    sim_run(sim, 10 * SECOND);
    assert_int_equal(sim->sent_count, 1);
    sim_restart(sim);
    sim_run(sim, MINUTE);
    assert_int_equal(sim->sent_count, 1);
    sim_finish(sim);
}

/* One damaged row is ignored; the rest of the state lives on. */
static void test_damaged_row(void **state) {
    (void)state;
    struct story story;
    begin(&story);
    struct sim *sim = &story.sim;
    struct err err = ERR_INIT;
    sim_fire(sim, "alertname=X,id=A");
    sim_run(sim, MINUTE);
    struct kv_store *kv = kv_memory_store(sim->memory);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_NOTIFY_ALERT, STR("zzz"), STR("\x01garbage"));
    batch->put(batch, KV_NOTIFY_GROUP, STR("zzz"), STR("\x01garbage"));
    batch->put(batch, KV_OUTBOX, STR("\x01zzzzzzzz"), STR("\x01garbage"));
    assert_true(kv->commit_blocking(kv, batch, &err));
    sim_restart(sim);
    sim_resolve(sim, "alertname=X,id=A");
    sim_run(sim, 2 * MINUTE);
    sim_expect(sim, "10 hook +A\n70 hook -A\n");
    sim_finish(sim);
}

/* Out of a backup: what waited is told as dead letters, what is young enough is sent. */
static void test_restored_outbox(void **state) {
    static const struct {
        int64_t age_max_ms;
        bool is_sent;
    } cases[] = { { 10 * MINUTE, false }, { 2 * HOUR, true } };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct story story = { .down = "http://hook.example/" };
        sim_init(&story.sim, config);
        struct sim *sim = &story.sim;
        sim->reply = reply;
        sim->reply_ctx = &story;
        sim_fire(sim, "alertname=X,id=A");
        sim_run(sim, MINUTE);
        sim->now_ms += HOUR;
        story.down = NULL;
        sim_forget(sim);
        size_t count = 0;
        struct err err = ERR_INIT;
        assert_true(notify_retire_waiting(&sim->store, sim->now_ms - cases[i].age_max_ms,
                                          sim->now_ms, &count, &err));
        assert_int_equal(count, cases[i].is_sent ? 0 : 1);
        sim_restart(sim);
        struct notify_status status;
        struct arena arena;
        arena_init(&arena, SIZE_MAX);
        notify_status_get(sim->notify, &arena, &status);
        assert_int_equal(status.queued_count, cases[i].is_sent ? 1 : 0);
        assert_int_equal(status.dead_count, cases[i].is_sent ? 0 : 1);
        arena_finish(&arena);
        sim_run(sim, 1);
        assert_true(!cases[i].is_sent || sim->sent_count > 0);
        sim_finish(sim);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_crash),   cmocka_unit_test(test_restart_everywhere),
        cmocka_unit_test(test_receiver_down), cmocka_unit_test(test_commits_fail),
        cmocka_unit_test(test_damaged_row),   cmocka_unit_test(test_restored_outbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
