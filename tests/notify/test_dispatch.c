/*
 * Goal: routing, grouping and deduplication follow Alertmanager to the millisecond.
 * Method: a simulated notifier with a recording webhook; timelines of alerts against the list of
 * messages that must leave.
 */
#include "base/mem.h"
#include "tests/notify/sim.h"
#include "tests/unit.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)

static const char one_hook[] = "route:\n"
                               "  receiver: hook\n"
                               "  group_by: [alertname]\n"
                               "receivers:\n"
                               "  - name: hook\n"
                               "    webhook_configs:\n"
                               "      - url: http://hook.example/\n";

/* ---- timing ---- */

static void test_group_wait(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 29999);
    sim_expect(&sim, "");
    sim_fire(&sim, "alertname=X,id=B"); /* joins in the last moment */
    sim_run(&sim, 1);
    sim_expect(&sim, "30 hook +A +B\n");
    sim_finish(&sim);
}

static void test_group_interval(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 31 * SECOND);
    sim_fire(&sim, "alertname=X,id=B");
    sim_run(&sim, 4 * MINUTE + 58 * SECOND);
    sim_expect(&sim, "30 hook +A\n");
    sim_run(&sim, SECOND);
    sim_expect(&sim, "30 hook +A\n330 hook +A +B\n");
    sim_finish(&sim);
}

static void test_groups_are_separate(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 10 * SECOND);
    sim_fire(&sim, "alertname=Y,id=B");
    sim_run(&sim, MINUTE);
    sim_expect(&sim, "30 hook +A\n40 hook +B\n");
    sim_finish(&sim);
}

static void test_old_alert_is_flushed_at_once(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_alert(&sim, &(struct sim_alert){ .labels = "alertname=X,id=A",
                                         .starts_ms = SIM_START_MS - 31 * SECOND });
    sim_run(&sim, 0);
    sim_expect(&sim, "0 hook +A\n");
    sim_finish(&sim);
}

static void test_resolved_before_first_flush(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 10 * SECOND);
    sim_resolve(&sim, "alertname=X,id=A");
    sim_run(&sim, HOUR);
    sim_expect(&sim, ""); /* nobody was told: nobody is */
    struct arena arena;
    struct notify_status status;
    arena_init(&arena, SIZE_MAX);
    notify_status_get(sim.notify, &arena, &status);
    assert_int_equal(status.alert_count, 0);
    assert_int_equal(status.group_count, 0);
    assert_int_equal(kv_memory_count(sim.memory, KV_NOTIFY_ALERT), 0);
    assert_int_equal(kv_memory_count(sim.memory, KV_NOTIFY_GROUP), 0);
    arena_finish(&arena);
    sim_finish(&sim);
}

static void test_resolved_is_told_once(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 2 * MINUTE);
    sim_resolve(&sim, "alertname=X,id=A");
    sim_run(&sim, 4 * MINUTE);
    for (int i = 0; i < 15; i++) { /* the rules repeat it for a while */
        sim_alert(&sim, &(struct sim_alert){ .labels = "alertname=X,id=A",
                                             .starts_ms = SIM_START_MS,
                                             .ends_ms = SIM_START_MS + 2 * MINUTE });
        sim_run(&sim, MINUTE);
    }
    sim_run(&sim, 8 * HOUR);
    sim_expect(&sim, "30 hook +A\n330 hook -A\n");
    assert_int_equal(kv_memory_count(sim.memory, KV_NOTIFY_ALERT), 0);
    assert_int_equal(kv_memory_count(sim.memory, KV_NOTIFY_GROUP), 0);
    assert_int_equal(kv_memory_count(sim.memory, KV_OUTBOX), 0);
    sim_finish(&sim);
}

static void test_fires_again_after_resolve(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 2 * MINUTE);
    sim_resolve(&sim, "alertname=X,id=A");
    sim_run(&sim, 8 * MINUTE); /* told at 330; the group is gone */
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, MINUTE); /* a new group waits group_wait again */
    sim_expect(&sim, "30 hook +A\n330 hook -A\n630 hook +A\n");
    assert_string_not_equal(sim.sent[0].key, sim.sent[2].key);
    sim_finish(&sim);
}

static void test_flap_between_flushes_is_silent(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, MINUTE);
    sim_resolve(&sim, "alertname=X,id=A");
    sim_run(&sim, MINUTE);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 10 * MINUTE);
    sim_expect(&sim, "30 hook +A\n");
    sim_finish(&sim);
}

static void test_repeat(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route:\n"
                   "  receiver: hook\n"
                   "  group_wait: 10s\n"
                   "  group_interval: 1m\n"
                   "  repeat_interval: 5m\n"
                   "receivers:\n"
                   "  - name: hook\n"
                   "    webhook_configs:\n"
                   "      - url: http://hook.example/\n");
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 14 * MINUTE);
    /* at 310 the interval has not passed by more than nothing; upstream waits for the next flush */
    sim_expect(&sim, "10 hook +A\n370 hook +A\n730 hook +A\n");
    sim_finish(&sim);
}

static void test_partly_resolved(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    const char *both[] = { "alertname=X,id=A", "alertname=X,id=B", NULL };
    sim_alerts(&sim, both);
    sim_run(&sim, MINUTE);
    sim_resolve(&sim, "alertname=X,id=A");
    sim_run(&sim, 20 * MINUTE);
    sim_expect(&sim, "30 hook +A +B\n330 hook -A +B\n");
    sim_finish(&sim);
}

static void test_send_resolved_false(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route: {receiver: hook, group_by: [alertname]}\n"
                   "receivers:\n"
                   "  - name: hook\n"
                   "    webhook_configs:\n"
                   "      - {url: 'http://hook.example/', send_resolved: false}\n");
    const char *both[] = { "alertname=X,id=A", "alertname=X,id=B", NULL };
    sim_alerts(&sim, both);
    sim_run(&sim, MINUTE);
    sim_resolve(&sim, "alertname=X,id=A");
    sim_run(&sim, 10 * MINUTE);
    sim_resolve(&sim, "alertname=X,id=B");
    sim_run(&sim, 10 * MINUTE);
    sim_fire(&sim, "alertname=X,id=B"); /* the log has forgotten: told again */
    sim_run(&sim, MINUTE);
    sim_expect(&sim, "30 hook +A +B\n1290 hook +B\n");
    sim_finish(&sim);
}

/* ---- routing ---- */

static const char tree[] = "route:\n"
                           "  receiver: top\n"
                           "  group_by: ['...']\n"
                           "  group_wait: 0s\n"
                           "  routes:\n"
                           "    - matchers: [team=\"a\"]\n"
                           "      receiver: a\n"
                           "      routes:\n"
                           "        - matchers: ['severity=~\"crit.*\"']\n"
                           "          receiver: a-page\n"
                           "          continue: true\n"
                           "        - match: {severity: critical, region: eu}\n"
                           "          receiver: a-eu\n"
                           "    - match_re: {team: b|c}\n"
                           "      receiver: bc\n"
                           "      continue: true\n"
                           "    - matchers: [env!=\"prod\", env!=\"\"]\n"
                           "      receiver: dev\n"
                           "receivers:\n";

static const char *const tree_receivers[] = { "top", "a", "a-page", "a-eu", "bc", "dev" };

static char *tree_yaml(void) {
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_cstr(&text, tree);
    for (size_t i = 0; i < ARRAY_LEN(tree_receivers); i++) {
        buf_printf(&text, "  - name: %s\n    webhook_configs: [{url: 'http://%s.example/'}]\n",
                   tree_receivers[i], tree_receivers[i]);
    }
    return buf_take(&text, NULL);
}

static void test_routing_tree(void **state) {
    (void)state;

    static const struct {
        const char *labels;
        const char *expected;
    } cases[] = {
        { "id=1", "0 top +1\n" },
        { "id=1,team=a", "0 a +1\n" },
        { "id=1,team=a,severity=critical", "0 a-page +1\n" },
        { "id=1,team=a,severity=critical,region=eu", "0 a-page +1\n0 a-eu +1\n" },
        { "id=1,team=a,region=eu", "0 a +1\n" },
        { "id=1,team=b", "0 bc +1\n" },
        { "id=1,team=bb", "0 top +1\n" }, /* anchored */
        { "id=1,team=c,env=test", "0 bc +1\n0 dev +1\n" },
        { "id=1,env=prod", "0 top +1\n" },
        { "id=1,env=x", "0 dev +1\n" },
        { "id=1,team=a,env=x", "0 a +1\n" }, /* no continue on a */
    };

    char *yaml = tree_yaml();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sim sim;
        sim_init(&sim, yaml);
        sim_fire(&sim, cases[i].labels);
        sim_run(&sim, 0);
        sim_expect(&sim, cases[i].expected);
        sim_finish(&sim);
    }
    mem_free(yaml);
}

static void test_inheritance(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route:\n"
                   "  receiver: hook\n"
                   "  group_by: [alertname]\n"
                   "  group_wait: 7s\n"
                   "  routes:\n"
                   "    - matchers: [team=a]\n" /* inherits all */
                   "    - matchers: [team=b]\n"
                   "      group_by: []\n"
                   "      group_wait: 3s\n"
                   "receivers:\n"
                   "  - name: hook\n"
                   "    webhook_configs: [{url: 'http://hook.example/'}]\n");
    const char *alerts[] = { "alertname=X,id=A,team=a", "alertname=Y,id=B,team=a",
                             "alertname=X,id=C,team=b", "alertname=Y,id=D,team=b", NULL };
    sim_alerts(&sim, alerts);
    sim_run(&sim, MINUTE);
    /* groups due at the same moment are flushed in a fixed but arbitrary order */
    assert_int_equal(sim.sent_count, 3);
    assert_int_equal(sim.sent[0].at_ms - SIM_START_MS, 3000);
    assert_non_null(strstr(sim.sent[0].body, "\"id\":\"C\""));
    assert_non_null(strstr(sim.sent[0].body, "\"id\":\"D\""));
    assert_int_equal(sim.sent[1].at_ms - SIM_START_MS, 7000);
    assert_int_equal(sim.sent[2].at_ms - SIM_START_MS, 7000);
    sim_finish(&sim);
}

static void test_group_key(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route:\n"
                   "  receiver: hook\n"
                   "  group_by: [b, a]\n"
                   "  group_wait: 0s\n"
                   "  routes:\n"
                   "    - matchers: ['severity=~\"x|y\"', 'a=\"1\"']\n"
                   "receivers:\n"
                   "  - name: hook\n"
                   "    webhook_configs: [{url: 'http://hook.example/'}]\n");
    sim_fire(&sim, "id=A,a=1,b=2,severity=x");
    sim_run(&sim, 0);
    assert_int_equal(sim.sent_count, 1);
    assert_non_null(strstr(sim.sent[0].body,
                           "\"groupKey\":\"{}/{a=\\\"1\\\",severity=~\\\"x|y\\\"}:"
                           "{a=\\\"1\\\", b=\\\"2\\\"}\""));
    sim_finish(&sim);
}

static void test_twin_routes(void **state) {
    (void)state;
    struct sim sim; /* same matchers, same receiver: two groups, both are told */
    sim_init(&sim, "route:\n"
                   "  receiver: hook\n"
                   "  group_wait: 0s\n"
                   "  routes:\n"
                   "    - {matchers: [a=1], continue: true}\n"
                   "    - {matchers: [a=1]}\n"
                   "receivers:\n"
                   "  - name: hook\n"
                   "    webhook_configs: [{url: 'http://hook.example/'}]\n");
    sim_fire(&sim, "id=A,a=1");
    sim_run(&sim, MINUTE);
    sim_expect(&sim, "0 hook +A\n0 hook +A\n");
    sim_restart(&sim);
    sim_resolve(&sim, "id=A,a=1");
    sim_run(&sim, 10 * MINUTE);
    sim_expect(&sim, "0 hook +A\n0 hook +A\n300 hook -A\n300 hook -A\n");
    sim_finish(&sim);
}

/* An alert in two groups with different rhythms: the one that is done must not be told twice. */
static void test_two_rhythms(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, "route:\n"
                   "  receiver: fast\n"
                   "  group_wait: 0s\n"
                   "  routes:\n"
                   "    - {matchers: [a=1], receiver: fast, group_interval: 10s, continue: true}\n"
                   "    - {matchers: [a=1], receiver: slow, group_interval: 10m}\n"
                   "receivers:\n"
                   "  - name: fast\n"
                   "    webhook_configs: [{url: 'http://fast.example/'}]\n"
                   "  - name: slow\n"
                   "    webhook_configs: [{url: 'http://slow.example/'}]\n");
    sim_fire(&sim, "id=A,a=1");
    sim_fire(&sim, "id=B,a=1");
    sim_run(&sim, 15 * SECOND);
    sim_forget(&sim);
    sim_resolve(&sim, "id=A,a=1");
    sim_run(&sim, 20 * SECOND);
    sim_restart(&sim); /* the slow group still needs A */
    sim_run(&sim, MINUTE);
    sim_fire(&sim, "id=C,a=1");
    sim_run(&sim, MINUTE);
    sim_expect(&sim, "20 fast -A +B\n100 fast +B +C\n");
    sim_forget(&sim);
    sim_run(&sim, 10 * MINUTE);
    sim_expect(&sim, "600 slow -A +B +C\n");
    assert_int_equal(kv_memory_count(sim.memory, KV_NOTIFY_ALERT), 2);
    sim_finish(&sim);
}

/* ---- muting ---- */

static const char inhibiting[] = "route: {receiver: hook, group_by: [alertname], group_wait: 10s}\n"
                                 "receivers:\n"
                                 "  - name: hook\n"
                                 "    webhook_configs: [{url: 'http://hook.example/'}]\n"
                                 "inhibit_rules:\n"
                                 "  - source_matchers: [severity=critical]\n"
                                 "    target_matchers: [severity=~\"warning|critical\"]\n"
                                 "    equal: [cluster, zone]\n";

static void test_inhibition(void **state) {
    (void)state;

    static const struct {
        const char *alerts[5];
        const char *expected;
    } cases[] = {
        /* muted: same cluster; zone absent on both is equal */
        { { "alertname=Up,id=S,severity=critical,cluster=1",
            "alertname=Slow,id=T,severity=warning,cluster=1" },
          "10 hook +S\n" },
        /* another cluster */
        { { "alertname=Up,id=S,severity=critical,cluster=1",
            "alertname=Slow,id=T,severity=warning,cluster=2" },
          "10 hook +S\n10 hook +T\n" },
        /* zone on one side only: not equal */
        { { "alertname=Up,id=S,severity=critical,cluster=1",
            "alertname=Slow,id=T,severity=warning,cluster=1,zone=z" },
          "10 hook +S\n10 hook +T\n" },
        /* both match source and target: they do not mute each other, nor themselves */
        { { "alertname=Up,id=S,severity=critical,cluster=1",
            "alertname=Down,id=T,severity=critical,cluster=1" },
          "10 hook +S\n10 hook +T\n" },
        /* no source */
        { { "alertname=Slow,id=T,severity=warning,cluster=1" }, "10 hook +T\n" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sim sim;
        sim_init(&sim, inhibiting);
        for (size_t k = 0; cases[i].alerts[k] != NULL; k++) {
            sim_fire(&sim, cases[i].alerts[k]);
        }
        sim_run(&sim, MINUTE);
        /* two groups of one moment come in either order */
        const char *other = strstr(cases[i].expected, "+S\n10 hook +T") != NULL
                                ? "10 hook +T\n10 hook +S\n"
                                : cases[i].expected;
        bool is_swapped = sim.sent_count == 2 && strstr(sim.sent[0].body, "\"id\":\"T\"") != NULL;
        sim_expect(&sim, is_swapped ? other : cases[i].expected);
        sim_finish(&sim);
    }
}

static void test_inhibition_ends(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, inhibiting);
    sim_fire(&sim, "alertname=Up,id=S,severity=critical,cluster=1");
    sim_fire(&sim, "alertname=Slow,id=T,severity=warning,cluster=1");
    sim_run(&sim, MINUTE);
    sim_resolve(&sim, "alertname=Up,id=S,severity=critical,cluster=1");
    sim_run(&sim, 10 * MINUTE); /* both groups flush at 310; the order does not matter: T is free */
    assert_int_equal(sim.sent_count, 3);
    assert_int_equal(sim.sent[1].at_ms - SIM_START_MS, 310000);
    assert_int_equal(sim.sent[2].at_ms - SIM_START_MS, 310000);
    sim_finish(&sim);
}

static bool silence_id_b(void *ctx, struct labels labels, int64_t now_ms) {
    const bool *is_on = ctx;
    (void)now_ms;
    return *is_on && str_eq(labels_get(labels, STR("id")), STR("B"));
}

static void test_silence(void **state) {
    (void)state;
    struct sim sim;
    bool is_on = true;
    sim_init(&sim, one_hook);
    sim.is_silenced = silence_id_b;
    sim.silence_ctx = &is_on;
    const char *both[] = { "alertname=X,id=A", "alertname=X,id=B", NULL };
    sim_alerts(&sim, both);
    sim_run(&sim, MINUTE);
    sim_expect(&sim, "30 hook +A\n");
    is_on = false;
    sim_run(&sim, 5 * MINUTE);
    sim_expect(&sim, "30 hook +A\n330 hook +A +B\n");
    sim_finish(&sim);
}

/* Told, then silenced, resolved while silenced: as upstream nobody hears of the resolution; the
 * log remembers, so that the next firing is no news until repeat_interval. */
static void test_resolved_while_silenced(void **state) {
    (void)state;
    struct sim sim;
    bool is_on = false;
    sim_init(&sim, one_hook);
    sim.is_silenced = silence_id_b;
    sim.silence_ctx = &is_on;
    sim_fire(&sim, "alertname=X,id=B");
    sim_run(&sim, MINUTE);
    is_on = true;
    sim_resolve(&sim, "alertname=X,id=B");
    sim_run(&sim, 10 * MINUTE);
    sim_expect(&sim, "30 hook +B\n");
    is_on = false;
    sim_restart(&sim);
    sim_fire(&sim, "alertname=X,id=B");
    sim_run(&sim, HOUR);
    sim_expect(&sim, "30 hook +B\n");
    sim_resolve(&sim, "alertname=X,id=B");
    sim_run(&sim, 10 * MINUTE);
    assert_int_equal(sim.sent_count, 2);
    sim_finish(&sim);
}

static void test_time_intervals(void **state) {
    (void)state;
    struct sim sim; /* the start is a Friday, 15:04:05 UTC, 16:04:05 in Berlin */
    sim_init(&sim, "route:\n"
                   "  receiver: hook\n"
                   "  group_by: ['...']\n"
                   "  group_wait: 0s\n"
                   "  group_interval: 1m\n"
                   "  routes:\n"
                   "    - matchers: [id=A]\n"
                   "      mute_time_intervals: [office]\n"
                   "    - matchers: [id=B]\n"
                   "      active_time_intervals: [office]\n"
                   "time_intervals:\n"
                   "  - name: office\n"
                   "    time_intervals:\n"
                   "      - weekdays: ['monday:friday']\n"
                   "        times: [{start_time: '09:00', end_time: '16:10'}]\n"
                   "        location: Europe/Berlin\n"
                   "receivers:\n"
                   "  - name: hook\n"
                   "    webhook_configs: [{url: 'http://hook.example/'}]\n");
    sim_fire(&sim, "id=A");
    sim_fire(&sim, "id=B");
    sim_run(&sim, 10 * MINUTE);
    sim_expect(&sim, "0 hook +B\n360 hook +A\n"); /* 16:10:05 Berlin */
    sim_finish(&sim);
}

/* ---- reload ---- */

static void reload(struct sim *sim, const char *yaml) {
    struct notify_config *config = config_from_yaml(yaml);
    notify_config_unref(sim->config);
    sim->config = config;
    notify_reload(sim->notify, config);
}

static void test_reload_keeps_state(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 20 * SECOND);
    reload(&sim, one_hook);
    sim_run(&sim, MINUTE);
    sim_expect(&sim, "30 hook +A\n");
    reload(&sim, "route:\n"
                 "  receiver: hook\n"
                 "  group_by: [alertname]\n"
                 "  routes:\n"
                 "    - {matchers: [id=B], receiver: other}\n"
                 "receivers:\n"
                 "  - name: hook\n"
                 "    webhook_configs: [{url: 'http://elsewhere.example/'}]\n"
                 "  - name: other\n"
                 "    webhook_configs: [{url: 'http://other.example/'}]\n");
    sim_run(&sim, MINUTE);
    sim_resolve(&sim, "alertname=X,id=A");
    sim_fire(&sim, "alertname=X,id=B");
    sim_run(&sim, 5 * MINUTE);
    sim_expect(&sim, "30 hook +A\n170 other +B\n330 hook -A\n");
    assert_string_equal(sim.sent[2].url, "http://elsewhere.example/");
    sim_finish(&sim);
}

static void test_reload_to_other_receiver(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, MINUTE);
    reload(&sim, "route: {receiver: new, group_by: [alertname]}\n"
                 "receivers:\n"
                 "  - name: new\n"
                 "    webhook_configs: [{url: 'http://new.example/'}]\n");
    sim_run(&sim, 10 * MINUTE);
    sim_expect(&sim, "30 hook +A\n60 new +A\n"); /* old enough: told at once */
    assert_int_equal(kv_memory_count(sim.memory, KV_NOTIFY_GROUP), 1);
    sim_finish(&sim);
}

/* ---- clock ---- */

static void test_clock_goes_back(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, one_hook);
    sim_run(&sim, HOUR);
    sim_fire(&sim, "alertname=X,id=A");
    sim_run(&sim, 10 * SECOND);
    sim.now_ms -= HOUR; /* 20 s of group_wait are left, and stay 20 s */
    sim_run(&sim, 20 * SECOND);
    sim_expect(&sim, "30 hook +A\n");
    sim_finish(&sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_wait),
        cmocka_unit_test(test_group_interval),
        cmocka_unit_test(test_groups_are_separate),
        cmocka_unit_test(test_old_alert_is_flushed_at_once),
        cmocka_unit_test(test_resolved_before_first_flush),
        cmocka_unit_test(test_resolved_is_told_once),
        cmocka_unit_test(test_fires_again_after_resolve),
        cmocka_unit_test(test_flap_between_flushes_is_silent),
        cmocka_unit_test(test_repeat),
        cmocka_unit_test(test_partly_resolved),
        cmocka_unit_test(test_send_resolved_false),
        cmocka_unit_test(test_routing_tree),
        cmocka_unit_test(test_inheritance),
        cmocka_unit_test(test_group_key),
        cmocka_unit_test(test_twin_routes),
        cmocka_unit_test(test_two_rhythms),
        cmocka_unit_test(test_inhibition),
        cmocka_unit_test(test_inhibition_ends),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_resolved_while_silenced),
        cmocka_unit_test(test_time_intervals),
        cmocka_unit_test(test_reload_keeps_state),
        cmocka_unit_test(test_reload_to_other_receiver),
        cmocka_unit_test(test_clock_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
