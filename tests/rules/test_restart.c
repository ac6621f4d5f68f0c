/*
 * Goal: whatever ends the process, alerts go on exactly where they were durable. Method: on a
 * virtual clock the store is closed and opened again, or copied as it lies on disk while the
 * process still runs (what kill -9 leaves) and the copy opened; states and sent alerts must match
 * those of an engine that never stopped.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/rules/sim.h"

#define RULE(fields)    \
    "groups:\n"         \
    "- name: g\n"       \
    "  interval: 1m\n"  \
    "  rules:\n"        \
    "  - alert: Down\n" \
    "    expr: up == 0\n" fields

static const char *const job_a[] = { "job", "a", NULL };

/* ---- kill -9: the files as they are now ---- */

static void copy_file(const char *from, const char *to) {
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(in >= 0 && out >= 0);
    char bytes[1 << 16];
    for (ssize_t got; (got = read(in, bytes, sizeof(bytes))) > 0;) {
        assert_int_equal(write(out, bytes, (size_t)got), got);
    }
    (void)close(in);
    (void)close(out);
}

static void copy_tree(const char *from, const char *to) {
    DIR *dir = opendir(from);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char source[600];
        char target[600];
        struct stat st;
        if (entry->d_name[0] == '.') {
            continue;
        }
        (void)snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
        (void)snprintf(target, sizeof(target), "%s/%s", to, entry->d_name);
        assert_int_equal(stat(source, &st), 0);
        if (S_ISDIR(st.st_mode)) {
            assert_int_equal(mkdir(target, 0700), 0);
            copy_tree(source, target);
        } else {
            copy_file(source, target);
        }
    }
    (void)closedir(dir);
}

/* Another engine on what this one has made durable so far, at the same time of day. */
static void sim_fork(struct sim *from, struct sim *to) {
    *to = (struct sim){ 0 };
    (void)snprintf(to->dir, sizeof(to->dir), "/tmp/tocsin-rules-XXXXXX");
    assert_non_null(mkdtemp(to->dir));
    copy_tree(from->dir, to->dir);
    fake_clock_init(&to->clock, clock_wall_ms(&from->clock.clock));
    to->metrics = metric_registry_create();
    struct err err = ERR_INIT;
    struct tsdb_options options = { .path = to->dir, .clock = &to->clock.clock };
    if (!tsdb_open(&options, &to->db, &err) || !tsdb_wait_ready(to->db, &err)) {
        fail_msg("opening the copy: %s", err.msg);
    }
    sim_open_rules(to);
    for (size_t i = 0; i < from->gauge_count; i++) {
        if (from->gauges[i].is_on) {
            sim_set(to, from->gauges[i].name, (const char *const *)from->gauges[i].labels,
                    from->gauges[i].value);
        }
    }
}

/* ---- cases ---- */

static void test_for_goes_on(void **state) {
    static const char *const holds[] = { "    for: 10s\n", "    for: 90s\n", "    for: 5m\n" };
    static const int firing_steps[] = { 1, 2, 5 };
    for (size_t i = 0; i < ARRAY_LEN(holds); i++) {
        for (int killed_after = 0; killed_after < 4; killed_after++) {
            char yaml[512];
            struct sim sim;
            sim_init(&sim);
            (void)snprintf(yaml, sizeof(yaml), RULE("%s"), holds[i]);
            sim_rules(&sim, yaml);
            sim_set(&sim, "up", job_a, 0);
            int64_t active_ms = sim_step(&sim);
            for (int step = 1; step <= 8; step++) {
                if (step - 1 == killed_after) {
                    sim_pass(&sim, 7000);
                    sim_restart(&sim);
                    sim_rules(&sim, yaml);
                    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
                }
                assert_int_equal(sim_step(&sim), active_ms + step * 60000);
                assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
                enum alert_state expected = step < firing_steps[i] ? ALERT_PENDING : ALERT_FIRING;
                assert_int_equal(sim_alert(&sim, 0, 0)->state, expected);
            }
            assert_int_equal(sim.sent[0].starts_ms, active_ms + firing_steps[i] * 60000);
            sim_finish(&sim);
        }
    }
}

/* Every field comes back, bit for bit. */
static void test_everything_is_restored(void **state) {
    static const char yaml[] = RULE("    keep_firing_for: 10m\n"
                                    "    labels: {sev: page}\n"
                                    "    annotations: {a: 'v {{ $value }}', e: ''}\n");
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, yaml);
    sim_set(&sim, "up", job_a, -0.0);
    int64_t fired_ms = sim_step(&sim);
    sim_set(&sim, "up", job_a, 1);
    int64_t since_ms = sim_step(&sim);
    (void)sim_sent_text(&sim, 0);
    sim_restart(&sim);
    sim_rules(&sim, yaml);
    const struct alert_view *alert = sim_alert(&sim, 0, 0);
    assert_int_equal(alert->state, ALERT_FIRING);
    assert_int_equal(alert->active_ms, fired_ms);
    assert_int_equal(alert->fired_ms, fired_ms);
    assert_int_equal(alert->keep_firing_since_ms, since_ms);
    assert_int_equal(double_bits(alert->value), double_bits(-0.0));
    assert_true(str_eq_c(labels_get(alert->annotations, STR("a")), "v -0"));
    assert_int_equal(alert->annotations.count, 2);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"a\",sev=\"page\"} firing");
    (void)sim_step(&sim); /* last sent at since_ms: one resend period later */
    assert_string_equal(sim_sent_text(&sim, since_ms),
                        "F {alertname=\"Down\",job=\"a\",sev=\"page\"}@60");
    sim_finish(&sim);
}

/* A restart between two resends neither repeats nor skips one. */
static void test_resend_goes_on(void **state) {
    struct sim sim;
    static const char yaml[] = "groups:\n- name: g\n  interval: 20s\n  rules:\n"
                               "  - {alert: Down, expr: up == 0}\n";
    sim_init(&sim);
    sim_rules(&sim, yaml);
    sim_set(&sim, "up", NULL, 0);
    int64_t fired_ms = sim_step(&sim);
    for (int i = 0; i < 6; i++) {
        sim_restart(&sim);
        sim_rules(&sim, yaml);
        (void)sim_step(&sim);
    }
    assert_string_equal(
        sim_sent_text(&sim, fired_ms),
        "F {alertname=\"Down\"}@0|F {alertname=\"Down\"}@60|F {alertname=\"Down\"}@120");
    sim_set(&sim, "up", NULL, 1);
    int64_t resolved_ms = sim_step(&sim);
    for (int i = 0; i < 4; i++) {
        sim_restart(&sim);
        sim_rules(&sim, yaml);
        (void)sim_step(&sim);
    }
    assert_int_equal(sim.sent_count, 2);
    assert_int_equal(sim.sent[0].ends_ms, resolved_ms);
    assert_int_equal(sim.sent[1].ends_ms, resolved_ms);
    assert_int_equal(sim.sent[1].now_ms, resolved_ms + 60000);
    sim_finish(&sim);
}

/* The engine dies without a word: the copy continues like the original. */
static void test_kill(void **state) {
    static const char yaml[] = RULE("    for: 3m\n    keep_firing_for: 1m\n");
    for (int killed_after = 1; killed_after <= 9; killed_after++) {
        struct sim sim;
        struct sim copy;
        sim_init(&sim);
        sim_rules(&sim, yaml);
        int64_t base_ms = 0;
        for (int step = 0; step < 12; step++) {
            sim_set(&sim, "up", job_a, step >= 1 && step < 6 ? 0 : 1);
            int64_t slot_ms = sim_step(&sim);
            base_ms = step == 0 ? slot_ms : base_ms;
            if (step < killed_after) {
                continue;
            }
            if (step == killed_after) {
                sim_fork(&sim, &copy);
                sim_rules(&copy, yaml);
                (void)sim_sent_text(&sim, 0);
                continue;
            }
            sim_set(&copy, "up", job_a, step >= 1 && step < 6 ? 0 : 1);
            assert_int_equal(sim_step(&copy), slot_ms);
            char expected[1024];
            (void)snprintf(expected, sizeof(expected), "%s", sim_alerts(&sim));
            assert_string_equal(sim_alerts(&copy), expected);
            (void)snprintf(expected, sizeof(expected), "%s", sim_sent_text(&sim, base_ms));
            assert_string_equal(sim_sent_text(&copy, base_ms), expected);
            (void)snprintf(expected, sizeof(expected), "%s", sim_query(&sim, "ALERTS"));
            assert_string_equal(sim_query(&copy, "ALERTS"), expected);
        }
        sim_finish(&copy);
        sim_finish(&sim);
    }
}

/* An hour away: `for` has gone on, the gap is recorded. */
static void test_downtime_counts(void **state) {
    static const char yaml[] = RULE("    for: 30m\n");
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, yaml);
    sim_set(&sim, "up", NULL, 0);
    int64_t active_ms = sim_step(&sim);
    sim_pass(&sim, 3600000);
    sim_restart(&sim);
    sim_rules(&sim, yaml);
    int64_t slot_ms = sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_FIRING);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_int_equal(sim_event_count(&sim, RULES_GAP), 1);
    struct rules_snapshot *snapshot = rules_snapshot(sim.rules);
    assert_int_equal(snapshot->groups[0]->gap_start_ms, active_ms);
    assert_int_equal(snapshot->groups[0]->gap_end_ms, slot_ms);
    rules_snapshot_unref(snapshot);
    sim_finish(&sim);
}

/* What ended meanwhile is resolved by the first evaluation, and its series get their markers. */
static void test_ended_during_downtime(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE(""));
    sim_set(&sim, "up", NULL, 0);
    int64_t fired_ms = sim_step(&sim);
    (void)sim_sent_text(&sim, 0);
    sim_pass(&sim, 120000);
    sim_restart(&sim);
    sim_rules(&sim, RULE(""));
    assert_string_equal(sim_query(&sim, "ALERTS"),
                        "ALERTS{alertname=\"Down\",alertstate=\"firing\"} 1");
    sim_set(&sim, "up", NULL, 1);
    int64_t slot_ms = sim_step(&sim);
    assert_string_equal(sim_alerts(&sim), "");
    assert_string_equal(sim_query(&sim, "ALERTS"), "");
    assert_string_equal(sim_query(&sim, "ALERTS_FOR_STATE"), "");
    assert_int_equal(sim.sent_count, 1);
    assert_int_equal(sim.sent[0].starts_ms, fired_ms);
    assert_int_equal(sim.sent[0].ends_ms, slot_ms);
    sim_finish(&sim);
}

/* A recorded series that the first evaluation does not give again ends with a marker. */
static void test_recorded_series_end(void **state) {
    static const char yaml[] = "groups:\n- name: g\n  interval: 1m\n  rules:\n"
                               "  - {record: r, expr: up == 0, labels: {which: first}}\n"
                               "  - {record: r, expr: up == 1, labels: {which: second}}\n"
                               "  - {record: s, expr: up}\n";
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, yaml);
    sim_set(&sim, "up", job_a, 0);
    (void)sim_step(&sim);
    sim_restart(&sim);
    sim_rules(&sim, yaml);
    assert_string_equal(sim_query(&sim, "r"), "r{job=\"a\",which=\"first\"} 0");
    sim_set(&sim, "up", job_a, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "r"), "r{job=\"a\",which=\"second\"} 1");
    assert_string_equal(sim_query(&sim, "s"), "s{job=\"a\"} 1");
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sim_rule(&sim, i)->health, RULE_HEALTH_OK);
    }
    sim_finish(&sim);
}

/* After an hour no series is visible until its source has sent: silence is no evidence. */
static void test_no_evidence_after_downtime(void **state) {
    static const char yaml[] = RULE("    for: 1m\n") "  - {alert: Gone, expr: 'absent(up)'}\n";
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, yaml);
    sim_set(&sim, "up", NULL, 0);
    int64_t active_ms = sim_step(&sim);
    (void)sim_step(&sim);
    (void)sim_sent_text(&sim, 0);
    sim_pass(&sim, 3600000);
    sim_restart(&sim);
    sim_rules(&sim, yaml);
    sim_off(&sim, "up", NULL);
    (void)sim_steps(&sim, 3);
    assert_string_equal(sim_alerts(&sim),
                        "{alertname=\"Down\"} firing|{alertname=\"Gone\"} firing");
    sim_set(&sim, "up", NULL, 0); /* the source is back, and so is the condition */
    (void)sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_FIRING);
    for (size_t i = 0; i < sim.sent_count; i++) {
        assert_true(strstr(sim.sent[i].labels, "Down") == NULL || sim.sent[i].ends_ms == 0);
    }
    sim_finish(&sim);
}

/* … but not for ever: after one look-back the alert has ended. */
static void test_evidence_hold_ends(void **state) {
    static const char yaml[] = RULE("");
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, yaml);
    sim_set(&sim, "up", NULL, 0);
    (void)sim_step(&sim);
    sim_off(&sim, "up", NULL);
    sim_pass(&sim, 3600000);
    sim_restart(&sim);
    sim_rules(&sim, yaml);
    (void)sim_steps(&sim, 6);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\"} firing");
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim), "");
    sim_finish(&sim);
}

static void test_rule_removed_while_down(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("") "  - {alert: Slow, expr: up == 0, for: 1h}\n");
    sim_set(&sim, "up", NULL, 0);
    int64_t fired_ms = sim_step(&sim);
    (void)sim_sent_text(&sim, 0);
    sim_pass(&sim, 5000);
    sim_restart(&sim);
    sim_rules(&sim, "groups:\n- name: other\n  rules:\n  - {alert: X, expr: up == 5}\n");
    assert_string_equal(sim_alerts(&sim), "");
    assert_string_equal(sim_query(&sim, "ALERTS"), "");
    assert_string_equal(sim_sent_text(&sim, fired_ms), "R {alertname=\"Down\"}@5");
    sim_restart(&sim); /* and nothing of it comes back */
    sim_rules(&sim, RULE(""));
    assert_string_equal(sim_alerts(&sim), "");
    sim_finish(&sim);
}

/* `for` raised while the engine was away. */
static void test_for_raised_while_down(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    for: 1m\n"));
    sim_set(&sim, "up", NULL, 0);
    int64_t active_ms = sim_step(&sim);
    (void)sim_step(&sim);
    (void)sim_sent_text(&sim, 0);
    sim_restart(&sim);
    sim_rules(&sim, RULE("    for: 4m\n"));
    (void)sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_PENDING);
    assert_string_equal(sim_sent_text(&sim, active_ms), "R {alertname=\"Down\"}@120");
    (void)sim_steps(&sim, 2);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_FIRING);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_string_equal(sim_sent_text(&sim, active_ms), "F {alertname=\"Down\"}@240");
    sim_finish(&sim);
}

/* A store that cannot write: the evaluation shows the error and nothing has moved, neither in
 * memory nor, after the restart, on disk. */
static void test_commit_fails(void **state) {
    static const char yaml[] = RULE("    for: 1m\n");
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, yaml);
    sim_set(&sim, "up", NULL, 0);
    int64_t active_ms = sim_step(&sim);
    sim_pass(&sim, sim.due_ms - clock_wall_ms(&sim.clock.clock));
    struct rlimit old;
    struct rlimit none = { .rlim_cur = 0 };
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    none.rlim_max = old.rlim_max;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    sim.due_ms = rules_tick(sim.rules, clock_wall_ms(&sim.clock.clock));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_ERR);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_PENDING);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_int_equal(sim.sent_count, 0);
    assert_int_equal(sim_event_count(&sim, RULES_COMMIT_FAILED), 1);
    sim_restart(&sim);
    sim_rules(&sim, yaml);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_PENDING);
    (void)sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_string_equal(sim_sent_text(&sim, active_ms), "F {alertname=\"Down\"}@120");
    sim_finish(&sim);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_for_goes_on),
        cmocka_unit_test(test_everything_is_restored),
        cmocka_unit_test(test_resend_goes_on),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_downtime_counts),
        cmocka_unit_test(test_ended_during_downtime),
        cmocka_unit_test(test_recorded_series_end),
        cmocka_unit_test(test_no_evidence_after_downtime),
        cmocka_unit_test(test_evidence_hold_ends),
        cmocka_unit_test(test_rule_removed_while_down),
        cmocka_unit_test(test_for_raised_while_down),
        cmocka_unit_test(test_commit_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
