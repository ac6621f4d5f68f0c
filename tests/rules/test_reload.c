/*
 * Goal: a reload keeps the clocks of what stayed the same, ends explicitly what is gone, and a
 * broken file changes nothing. Method: two rule files one after the other in the middle of `for`
 * or while firing, on a virtual clock.
 */
#include <stdio.h>

#include "tests/rules/sim.h"

static const char *const job_a[] = { "job", "a", NULL };

#define GROUP "groups:\n- name: g\n  interval: 1m\n  rules:\n"
#define DOWN  "  - alert: Down\n    expr: up == 0\n"

struct keep_case {
    const char *name;
    const char *file;
    const char *before;
    const char *after;
};

/* `for: 3m` started at step 0, reload after step 1: it must fire at step 3 all the same. */
static void test_clock_goes_on(void **state) {
    static const char plain[] = GROUP DOWN "    for: 3m\n";
    static const struct keep_case cases[] = {
        { "nothing changed", "test.yml", plain, plain },
        { "annotation", "test.yml", plain, GROUP DOWN "    for: 3m\n    annotations: {a: b}\n" },
        { "file", "other.yml", plain, plain },
        { "group", "test.yml", plain,
          "groups:\n- name: h\n  interval: 1m\n  rules:\n" DOWN "    for: 3m\n" },
        { "group and file", "other.yml", plain,
          "groups:\n- name: h\n  interval: 1m\n  rules:\n" DOWN "    for: 3m\n" },
        { "spelling of the expression", "test.yml", plain,
          GROUP "  - alert: Down\n    expr: |\n      up\n      ==  0.0\n    for: 3m\n" },
        { "keep_firing_for", "test.yml", plain,
          GROUP DOWN "    for: 3m\n    keep_firing_for: 1m\n" },
        { "for", "test.yml", GROUP DOWN "    for: 1h\n", plain },
        { "limit", "test.yml", plain,
          "groups:\n- name: g\n  interval: 1m\n  limit: 9\n  rules:\n" DOWN "    for: 3m\n" },
        { "rules before and after it", "test.yml", plain,
          GROUP "  - {record: r, expr: up}\n" DOWN "    for: 3m\n  - {alert: X, expr: up == 7}\n" },
        { "label", "test.yml", plain, GROUP DOWN "    for: 3m\n    labels: {sev: page}\n" },
        { "label value", "test.yml", GROUP DOWN "    for: 3m\n    labels: {sev: warn}\n",
          GROUP DOWN "    for: 3m\n    labels: {sev: page}\n" },
        { "label of the group", "test.yml", plain,
          "groups:\n- name: g\n  interval: 1m\n  labels: {sev: page}\n  rules:\n" DOWN
          "    for: 3m\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int is_restart = 0; is_restart < 2; is_restart++) {
            struct sim sim;
            sim_init(&sim);
            sim_rules(&sim, cases[i].before);
            sim_set(&sim, "up", job_a, 0);
            int64_t active_ms = sim_steps(&sim, 1);
            (void)sim_step(&sim);
            if (is_restart) {
                sim_restart(&sim);
            }
            sim_rules_file(&sim, cases[i].file, cases[i].after);
            while (sim.due_ms < active_ms + 180000) {
                (void)sim_step(&sim);
                assert_int_equal(sim.sent_count, 0);
            }
            int64_t fired_ms = sim_step(&sim);
            assert_true(fired_ms < active_ms + 240000);
            if (sim.sent_count != 1 || sim.sent[0].active_ms != active_ms ||
                sim.sent[0].starts_ms != fired_ms) {
                fail_msg("%s%s: the clock has not gone on: %s", cases[i].name,
                         is_restart ? " and restart" : "", sim_alerts(&sim));
            }
            sim_finish(&sim);
        }
    }
}

/* Firing alerts: nobody is told anything when only looks changed. */
static void test_firing_goes_on(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP DOWN);
    sim_set(&sim, "up", job_a, 0);
    int64_t fired_ms = sim_step(&sim);
    sim_rules_file(&sim, "moved.yml", GROUP DOWN "    annotations: {a: b}\n");
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"a\"} firing");
    while (sim.due_ms < fired_ms + 180000) {
        (void)sim_step(&sim);
    }
    for (size_t i = 0; i < sim.sent_count; i++) {
        assert_int_equal(sim.sent[i].ends_ms, 0);
        assert_int_equal(sim.sent[i].starts_ms, fired_ms);
    }
    sim_restart(&sim);
    sim_rules_file(&sim, "moved.yml", GROUP DOWN);
    assert_int_equal(sim_alert(&sim, 0, 0)->fired_ms, fired_ms);
    sim_finish(&sim);
}

/* An edited label makes another alert: the new one takes the clock, the old one is resolved. */
static void test_relabelled_firing(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP DOWN "    for: 1m\n    labels: {sev: warn}\n");
    sim_set(&sim, "up", job_a, 0);
    int64_t active_ms = sim_step(&sim);
    (void)sim_step(&sim);
    (void)sim_sent_text(&sim, 0);
    sim_rules(&sim, GROUP DOWN "    for: 1m\n    labels: {sev: page}\n");
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"a\",sev=\"page\"} firing");
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_string_equal(sim_sent_text(&sim, active_ms),
                        "F {alertname=\"Down\",job=\"a\",sev=\"page\"}@120|"
                        "R {alertname=\"Down\",job=\"a\",sev=\"warn\"}@120");
    assert_string_equal(sim_query(&sim, "ALERTS"),
                        "ALERTS{alertname=\"Down\",alertstate=\"firing\",job=\"a\","
                        "sev=\"page\"} 1");
    sim_finish(&sim);
}

/* Labels that change with the value make new alerts every time, reload or not. */
static void test_no_clock_for_changing_labels(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  - {alert: X, expr: x > 0, for: 2m, labels: {v: '{{ $value }}'}}\n");
    for (int i = 1; i < 6; i++) {
        sim_set(&sim, "x", NULL, i);
        int64_t slot_ms = sim_step(&sim);
        assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, slot_ms);
    }
    sim_finish(&sim);
}

static void test_edited_expression_starts_anew(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP DOWN "    for: 1m\n");
    sim_set(&sim, "up", job_a, 0);
    int64_t active_ms = sim_steps(&sim, 1);
    (void)sim_step(&sim);
    (void)sim_sent_text(&sim, 0);
    sim_rules(&sim, GROUP "  - {alert: Down, expr: up < 1, for: 1m}\n");
    assert_int_equal(sim_event_count(&sim, RULES_STATE_RESET), 1);
    assert_string_equal(sim_sent_text(&sim, active_ms), "R {alertname=\"Down\",job=\"a\"}@60");
    assert_string_equal(sim_alerts(&sim), "");
    sim_pass(&sim, 1000);
    assert_string_equal(sim_query(&sim, "ALERTS"), "");
    (void)sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms + 120000);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_PENDING);
    sim_finish(&sim);
}

static void test_removed_rule(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP DOWN "  - {alert: Wait, expr: up == 0, for: 1h}\n"
                               "  - {record: r, expr: up}\n"
                               "  - {record: s, expr: up}\n");
    sim_set(&sim, "up", job_a, 0);
    int64_t fired_ms = sim_step(&sim);
    assert_string_equal(sim_query(&sim, "r"), "r{job=\"a\"} 0");
    (void)sim_sent_text(&sim, 0);
    sim_pass(&sim, 10000);
    sim_rules(&sim, GROUP "  - {record: s, expr: up}\n");
    assert_string_equal(sim_sent_text(&sim, fired_ms), "R {alertname=\"Down\",job=\"a\"}@10");
    assert_string_equal(sim_query(&sim, "ALERTS"), "");
    assert_string_equal(sim_query(&sim, "ALERTS_FOR_STATE"), "");
    assert_string_equal(sim_query(&sim, "r"), "");
    assert_string_equal(sim_query(&sim, "s"), "s{job=\"a\"} 0");
    sim_restart(&sim);
    sim_rules(&sim, GROUP DOWN);
    assert_string_equal(sim_alerts(&sim), "");
    sim_finish(&sim);
}

static void test_removed_group(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP DOWN "- name: h\n  interval: 1m\n  rules:\n  - {record: r, expr: up}\n");
    sim_set(&sim, "up", job_a, 0);
    (void)sim_steps(&sim, 3);
    (void)sim_sent_text(&sim, 0);
    sim_pass(&sim, 1000);
    sim_rules(&sim, "groups: []\n");
    assert_int_equal(sim.due_ms, INT64_MAX);
    assert_string_equal(sim_query(&sim, "ALERTS"), "");
    assert_string_equal(sim_query(&sim, "r"), "");
    assert_int_equal(sim.sent_count, 1);
    assert_int_equal(sim.sent[0].ends_ms, clock_wall_ms(&sim.clock.clock));
    struct rules_snapshot *snapshot = rules_snapshot(sim.rules);
    assert_int_equal(snapshot->group_count, 0);
    rules_snapshot_unref(snapshot);
    sim_finish(&sim);
}

/* A recording rule with an edited expression: what it no longer gives ends, the rest has no gap. */
static void test_edited_recording_rule(void **state) {
    struct sim sim;
    static const char *const job_b[] = { "job", "b", NULL };
    sim_init(&sim);
    sim_rules(&sim, GROUP "  - {record: r, expr: up}\n");
    sim_set(&sim, "up", job_a, 0);
    sim_set(&sim, "up", job_b, 1);
    (void)sim_step(&sim);
    sim_rules(&sim, GROUP "  - {record: r, expr: up == 0}\n");
    sim_pass(&sim, 1000);
    assert_string_equal(sim_query(&sim, "r"), "r{job=\"a\"} 0|r{job=\"b\"} 1");
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "r"), "r{job=\"a\"} 0");
    sim_finish(&sim);
}

/* Equal rules are told apart by their order. */
static void test_twins(void **state) {
    struct sim sim;
    sim_init(&sim);
    static const char twins[] = GROUP DOWN "    for: 5m\n" DOWN "    for: 1m\n"
                                           "    labels: {sev: page}\n";
    sim_rules(&sim, twins);
    sim_set(&sim, "up", job_a, 0);
    int64_t active_ms = sim_steps(&sim, 1);
    (void)sim_step(&sim);
    for (int i = 0; i < 2; i++) {
        sim_restart(&sim);
        sim_rules(&sim, twins);
        assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"a\",sev=\"page\"} firing|"
                                              "{alertname=\"Down\",job=\"a\"} pending");
        assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
        assert_int_equal(sim_alert(&sim, 1, 0)->active_ms, active_ms);
        (void)sim_step(&sim);
    }
    sim_finish(&sim);
}

static void test_raised_for(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP DOWN "    for: 1m\n");
    sim_set(&sim, "up", job_a, 0);
    int64_t active_ms = sim_steps(&sim, 1);
    (void)sim_step(&sim);
    (void)sim_sent_text(&sim, 0);
    sim_rules(&sim, GROUP DOWN "    for: 3m\n");
    (void)sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_PENDING);
    assert_int_equal(sim_alert(&sim, 0, 0)->fired_ms, 0);
    assert_string_equal(sim_sent_text(&sim, active_ms), "R {alertname=\"Down\",job=\"a\"}@120");
    (void)sim_step(&sim);
    assert_string_equal(sim_sent_text(&sim, active_ms), "F {alertname=\"Down\",job=\"a\"}@180");
    sim_finish(&sim);
}

static void test_refused_reload(void **state) {
    struct sim sim;
    struct diag_list diags;
    sim_init(&sim);
    sim_rules(&sim, GROUP DOWN "    for: 2m\n");
    sim_set(&sim, "up", job_a, 0);
    int64_t active_ms = sim_step(&sim);
    struct rule_set *set = NULL;
    diag_list_init(&diags);
    assert_false(rules_load_text("test.yml", STR("groups: [{nam: x}]\n"), &sim.load, &set, &diags));
    rules_reload_failed(sim.rules, &diags, clock_wall_ms(&sim.clock.clock));
    diag_list_finish(&diags);
    struct rules_snapshot *snapshot = rules_snapshot(sim.rules);
    assert_false(snapshot->is_reload_ok);
    assert_int_equal(snapshot->reload_ms, active_ms);
    assert_non_null(strstr(snapshot->reload_error.ptr, "test.yml:1:11: error: unknown key"));
    assert_int_equal(snapshot->group_count, 1);
    rules_snapshot_unref(snapshot);
    (void)sim_steps(&sim, 2);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_FIRING);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    sim_rules(&sim, GROUP DOWN "    for: 2m\n");
    snapshot = rules_snapshot(sim.rules);
    assert_true(snapshot->is_reload_ok);
    assert_int_equal(snapshot->reload_error.len, 0);
    rules_snapshot_unref(snapshot);
    sim_finish(&sim);
}

/* External labels are part of the name outside: the old one is ended, the new one begins. */
static void test_edited_external_labels(void **state) {
    struct label eu[] = { { STR("region"), STR("eu") } };
    struct label us[] = { { STR("region"), STR("us") } };
    for (int is_restart = 0; is_restart < 2; is_restart++) {
        struct sim sim;
        sim_init(&sim);
        sim.load.external_labels = (struct labels){ eu, 1 };
        sim_rules(&sim, GROUP DOWN);
        sim_set(&sim, "up", NULL, 0);
        int64_t fired_ms = sim_step(&sim);
        sim_pass(&sim, 20000);
        if (is_restart) {
            sim_restart(&sim);
        }
        sim_rules(&sim, GROUP DOWN);
        assert_string_equal(sim_sent_text(&sim, fired_ms),
                            "F {alertname=\"Down\",region=\"eu\"}@0");
        if (is_restart) {
            sim_restart(&sim);
        }
        sim.load.external_labels = (struct labels){ us, 1 };
        sim_rules(&sim, GROUP DOWN);
        (void)sim_step(&sim);
        assert_string_equal(sim_sent_text(&sim, fired_ms),
                            "R {alertname=\"Down\",region=\"eu\"}@20|"
                            "F {alertname=\"Down\",region=\"us\"}@60");
        assert_int_equal(sim_alert(&sim, 0, 0)->fired_ms, fired_ms);
        sim_finish(&sim);
    }
}

/* A view taken before a reload stays what it was. */
static void test_snapshot_outlives_the_set(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP DOWN "    labels: {sev: page}\n    annotations: {a: b}\n");
    sim_set(&sim, "up", job_a, 0);
    (void)sim_step(&sim);
    struct rules_snapshot *snapshot = rules_snapshot(sim.rules);
    rules_snapshot_ref(snapshot);
    rules_snapshot_unref(snapshot);
    sim_rules(&sim, "groups: []\n");
    const struct rule_view *rule = &snapshot->groups[0]->rules[0];
    assert_true(str_eq_c(snapshot->groups[0]->file, "test.yml"));
    assert_true(str_eq_c(rule->query, "up == 0"));
    assert_true(str_eq_c(labels_get(rule->labels, STR("sev")), "page"));
    assert_int_equal(rule->alert_count, 1);
    rules_snapshot_unref(snapshot);
    sim_finish(&sim);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock_goes_on),
        cmocka_unit_test(test_firing_goes_on),
        cmocka_unit_test(test_relabelled_firing),
        cmocka_unit_test(test_no_clock_for_changing_labels),
        cmocka_unit_test(test_edited_expression_starts_anew),
        cmocka_unit_test(test_removed_rule),
        cmocka_unit_test(test_removed_group),
        cmocka_unit_test(test_edited_recording_rule),
        cmocka_unit_test(test_twins),
        cmocka_unit_test(test_raised_for),
        cmocka_unit_test(test_refused_reload),
        cmocka_unit_test(test_edited_external_labels),
        cmocka_unit_test(test_snapshot_outlives_the_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
