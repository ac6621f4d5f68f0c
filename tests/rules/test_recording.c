/*
 * Goal: recording rules write what Prometheus would, are seen by later rules of the same cycle,
 * and series that vanish end with a stale marker. Method: rules on a virtual clock over gauges;
 * what the store holds is queried.
 */
#include <stdio.h>

#include "tests/rules/sim.h"

#define GROUP "groups:\n- name: g\n  interval: 1m\n"

static const char *const job_a[] = { "job", "a", NULL };
static const char *const job_b[] = { "job", "b", NULL };

static void test_name_and_labels(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  labels: {env: prod, team: x}\n"
                          "  rules:\n"
                          "  - record: job:up:sum\n"
                          "    expr: sum by (job, env, gone) (up)\n"
                          "    labels: {team: y, gone: '', literal: '{{ $value }}'}\n");
    sim_set(&sim, "up", (const char *const[]){ "job", "a", "env", "dev", "gone", "z", NULL }, 3);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "{__name__=\"job:up:sum\"}"),
                        "job:up:sum{env=\"prod\",job=\"a\",literal=\"{{ $value }}\",team=\"y\"} 3");
    const struct rule_view *rule = sim_rule(&sim, 0);
    assert_int_equal(rule->type, RULE_RECORDING);
    assert_int_equal(rule->health, RULE_HEALTH_OK);
    sim_finish(&sim);
}

static void test_scalar(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  rules:\n  - {record: two, expr: '1 + 1'}\n");
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "two"), "two 2");
    sim_finish(&sim);
}

static void test_later_rules_see_earlier_ones(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  rules:\n"
                          "  - {alert: TooEarly, expr: a > 0}\n"
                          "  - {record: a, expr: up}\n"
                          "  - {record: b, expr: a * 2}\n"
                          "  - {alert: High, expr: b > 5}\n"
                          "  - {record: firing, expr: 'count(ALERTS{alertstate=\"firing\"})'}\n");
    sim_set(&sim, "up", NULL, 3);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "b"), "b 6");
    assert_string_equal(sim_query(&sim, "firing"), "firing 1");
    assert_string_equal(sim_alerts(&sim), "{alertname=\"High\"} firing");
    sim_set(&sim, "up", NULL, 4);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "b"), "b 8");
    assert_string_equal(sim_alerts(&sim),
                        "{alertname=\"High\"} firing|{alertname=\"TooEarly\"} firing");
    sim_finish(&sim);
}

static void test_vanished_series_go_stale(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  rules:\n"
                          "  - {record: bad, expr: up == 0}\n"
                          "  - {record: seen, expr: 'bad * 1'}\n");
    sim_set(&sim, "up", job_a, 0);
    sim_set(&sim, "up", job_b, 0);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "seen"), "seen{job=\"a\"} 0|seen{job=\"b\"} 0");
    sim_set(&sim, "up", job_b, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "bad"), "bad{job=\"a\"} 0");
    assert_string_equal(sim_query(&sim, "seen"), "seen{job=\"a\"} 0");
    sim_set(&sim, "up", job_b, 0);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "seen"), "seen{job=\"a\"} 0|seen{job=\"b\"} 0");
    sim_finish(&sim);
}

/* A failing rule says nothing about its series: they live on until they age. */
static void test_failure_marks_nothing(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  rules:\n  - {record: r, expr: 'x * on() y'}\n");
    sim_set(&sim, "x", NULL, 1);
    sim_set(&sim, "y", job_a, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "r"), "r 1");
    sim_set(&sim, "y", job_b, 1);
    (void)sim_step(&sim);
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_ERR);
    assert_string_equal(sim_query(&sim, "r"), "r 1");
    sim_finish(&sim);
}

static void test_duplicates(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  rules:\n  - {record: r, expr: up, labels: {job: same}}\n");
    sim_set(&sim, "up", job_a, 1);
    sim_set(&sim, "up", job_b, 1);
    (void)sim_step(&sim);
    assert_true(
        str_eq_c(sim_rule(&sim, 0)->last_error,
                 "vector contains metrics with the same labelset after applying rule labels"));
    assert_string_equal(sim_query(&sim, "r"), "");
    sim_finish(&sim);
}

static void test_limit(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  limit: 1\n  rules:\n  - {record: r, expr: up}\n");
    sim_set(&sim, "up", job_a, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "r"), "r{job=\"a\"} 1");
    sim_set(&sim, "up", job_b, 1);
    (void)sim_step(&sim);
    assert_true(str_eq_c(sim_rule(&sim, 0)->last_error, "exceeded limit of 1 with 2 series"));
    sim_finish(&sim);
}

static void test_wrong_type(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim,
              GROUP "  rules:\n  - {record: r, expr: 'up[5m]'}\n  - {alert: A, expr: '\"x\"'}\n");
    (void)sim_step(&sim);
    for (size_t i = 0; i < 2; i++) {
        assert_true(
            str_eq_c(sim_rule(&sim, i)->last_error, "rule result is not a vector or scalar"));
    }
    sim_finish(&sim);
}

/* Two rules writing the same series: the second's sample is refused, and the rule says so. */
static void test_refused_samples(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  rules:\n"
                          "  - {record: r, expr: '1'}\n"
                          "  - {record: r, expr: '2'}\n"
                          "  - {record: s, expr: '1'}\n"
                          "  - {record: s, expr: '1'}\n");
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "r"), "r 1");
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_OK);
    assert_int_equal(sim_rule(&sim, 1)->health, RULE_HEALTH_ERR);
    assert_non_null(strstr(sim_rule(&sim, 1)->last_error.ptr, "1 of 1 samples were refused: "));
    assert_int_equal(sim_rule(&sim, 3)->health, RULE_HEALTH_OK); /* equal values are no conflict */
    sim_finish(&sim);
}

static void test_query_offset(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, GROUP "  query_offset: 30s\n"
                          "  rules:\n"
                          "  - {record: r, expr: up}\n"
                          "  - {record: t, expr: time()}\n"
                          "  - {alert: A, expr: up == 2}\n");
    sim_set(&sim, "up", NULL, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "r"), ""); /* there was nothing 30 s ago */
    sim_set(&sim, "up", NULL, 2);
    int64_t slot_ms = sim_step(&sim);
    assert_string_equal(sim_query(&sim, "r"), "r 1");
    assert_string_equal(sim_query_at(&sim, "timestamp(r) - 0", slot_ms - 30000 - 1), "");
    char expected[64];
    (void)snprintf(expected, sizeof(expected), "t %.13g", (double)(slot_ms - 30000) / 1000);
    assert_string_equal(sim_query(&sim, "t"), expected);
    assert_string_equal(sim_alerts(&sim), "");
    slot_ms = sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 2, 0)->active_ms, slot_ms); /* the slot, not the offset */
    assert_string_equal(sim_query_at(&sim, "ALERTS", slot_ms - 30000),
                        "ALERTS{alertname=\"A\",alertstate=\"firing\"} 1");
    assert_string_equal(sim_query_at(&sim, "ALERTS", slot_ms - 30001), "");
    sim_finish(&sim);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name_and_labels),
        cmocka_unit_test(test_scalar),
        cmocka_unit_test(test_later_rules_see_earlier_ones),
        cmocka_unit_test(test_vanished_series_go_stale),
        cmocka_unit_test(test_failure_marks_nothing),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_wrong_type),
        cmocka_unit_test(test_refused_samples),
        cmocka_unit_test(test_query_offset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
