/*
 * Goal: alerts change state at exactly the slots the alert-generator specification names, and
 * exactly the right ones are handed over. Method: one small rule file per case on a virtual clock,
 * gauges as input; states, sent alerts and the ALERTS series are compared as text.
 */
#include <math.h>
#include <stdio.h>

#include "tests/rules/sim.h"

#define RULE(fields)    \
    "groups:\n"         \
    "- name: g\n"       \
    "  interval: 1m\n"  \
    "  rules:\n"        \
    "  - alert: Down\n" \
    "    expr: up == 0\n" fields

static const char *const job_a[] = { "job", "a", NULL };
static const char *const job_b[] = { "job", "b", NULL };

static void test_pending_firing_resolved(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    for: 2m\n    annotations: {v: 'is {{ $value }}'}\n"));
    assert_string_equal(alert_state_to_string(sim_rule(&sim, 0)->state), "unknown");
    sim_set(&sim, "up", job_a, 1);
    (void)sim_step(&sim);
    assert_string_equal(alert_state_to_string(sim_rule(&sim, 0)->state), "inactive");
    assert_string_equal(sim_alerts(&sim), "");

    sim_set(&sim, "up", job_a, 0);
    int64_t active_ms = sim_step(&sim);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"a\"} pending");
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_int_equal(sim_alert(&sim, 0, 0)->fired_ms, 0);
    assert_int_equal(sim_step(&sim), active_ms + 60000);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"a\"} pending");
    assert_string_equal(sim_sent_text(&sim, active_ms), "");

    assert_int_equal(sim_step(&sim), active_ms + 120000);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"a\"} firing");
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_int_equal(sim_alert(&sim, 0, 0)->fired_ms, active_ms + 120000);
    assert_int_equal(sim.sent_count, 1);
    assert_int_equal(sim.sent[0].active_ms, active_ms);
    assert_int_equal(sim.sent[0].starts_ms, active_ms + 120000);
    assert_int_equal(sim.sent[0].ends_ms, 0);
    assert_string_equal(sim.sent[0].annotations, "v=is 0");
    assert_string_equal(sim_sent_text(&sim, active_ms), "F {alertname=\"Down\",job=\"a\"}@120");

    sim_set(&sim, "up", job_a, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim), "");
    assert_int_equal(sim.sent_count, 1);
    assert_int_equal(sim.sent[0].starts_ms, active_ms + 120000);
    assert_int_equal(sim.sent[0].ends_ms, active_ms + 180000);
    assert_float_equal(sim.sent[0].value, 0, 0);
    assert_string_equal(sim_sent_text(&sim, active_ms), "R {alertname=\"Down\",job=\"a\"}@180");
    sim_finish(&sim);
}

struct hold_case {
    const char *fields;
    int firing_step; /* the step, from 0, at which it fires */
};

static void test_for_against_interval(void **state) {
    static const struct hold_case cases[] = {
        { "", 0 },
        { "    for: 0s\n", 0 },
        { "    for: 1ms\n", 1 },
        { "    for: 10s\n", 1 },
        { "    for: 1m\n", 1 },
        { "    for: 61s\n", 2 },
        { "    for: 5m\n", 5 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sim sim;
        char yaml[512];
        sim_init(&sim);
        (void)snprintf(yaml, sizeof(yaml), RULE("%s"), cases[i].fields);
        sim_rules(&sim, yaml);
        sim_set(&sim, "up", NULL, 0);
        for (int step = 0; step <= cases[i].firing_step; step++) {
            (void)sim_step(&sim);
            enum alert_state expected = step < cases[i].firing_step ? ALERT_PENDING : ALERT_FIRING;
            assert_int_equal(sim_alert(&sim, 0, 0)->state, expected);
        }
        sim_finish(&sim);
    }
}

static void test_pending_that_ends_is_never_sent(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    for: 2m\n"));
    sim_set(&sim, "up", NULL, 0);
    (void)sim_steps(&sim, 2);
    sim_set(&sim, "up", NULL, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim), "");
    sim_set(&sim, "up", NULL, 0);
    int64_t active_ms = sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\"} pending");
    assert_string_equal(sim_sent_text(&sim, 0), "");
    sim_finish(&sim);
}

static void test_keep_firing_for(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    keep_firing_for: 2m\n"));
    sim_set(&sim, "up", NULL, 0);
    int64_t fired_ms = sim_step(&sim);
    sim_set(&sim, "up", NULL, 1);
    int64_t since_ms = sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_FIRING);
    assert_int_equal(sim_alert(&sim, 0, 0)->keep_firing_since_ms, since_ms);
    sim_set(&sim, "up", NULL, 0); /* comes back: the hold starts anew later */
    (void)sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->keep_firing_since_ms, 0);
    assert_int_equal(sim_alert(&sim, 0, 0)->fired_ms, fired_ms);
    sim_set(&sim, "up", NULL, 1);
    (void)sim_steps(&sim, 2);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\"} firing");
    (void)sim_sent_text(&sim, 0);
    int64_t resolved_ms = sim_step(&sim);
    assert_int_equal(resolved_ms, fired_ms + 5 * 60000);
    assert_string_equal(sim_alerts(&sim), "");
    assert_int_equal(sim.sent_count, 1);
    assert_int_equal(sim.sent[0].starts_ms, fired_ms);
    assert_int_equal(sim.sent[0].ends_ms, resolved_ms);
    sim_finish(&sim);
}

/* A pending alert is not kept by keep_firing_for. */
static void test_keep_firing_for_of_pending(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    for: 5m\n    keep_firing_for: 10m\n"));
    sim_set(&sim, "up", NULL, 0);
    (void)sim_step(&sim);
    sim_set(&sim, "up", NULL, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim), "");
    sim_finish(&sim);
}

struct resend_case {
    const char *interval;
    const char *expected; /* seconds after firing, of 300 s */
};

static void test_resend_period(void **state) {
    static const struct resend_case cases[] = {
        { "1m", "F {alertname=\"Down\"}@0|F {alertname=\"Down\"}@60|F {alertname=\"Down\"}@120|"
                "F {alertname=\"Down\"}@180|F {alertname=\"Down\"}@240" },
        { "45s", "F {alertname=\"Down\"}@0|F {alertname=\"Down\"}@90|F {alertname=\"Down\"}@180|"
                 "F {alertname=\"Down\"}@270" },
        { "2m", "F {alertname=\"Down\"}@0|F {alertname=\"Down\"}@120|F {alertname=\"Down\"}@240" },
        { "20s", "F {alertname=\"Down\"}@0|F {alertname=\"Down\"}@60|F {alertname=\"Down\"}@120|"
                 "F {alertname=\"Down\"}@180|F {alertname=\"Down\"}@240" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sim sim;
        char yaml[512];
        sim_init(&sim);
        (void)snprintf(yaml, sizeof(yaml),
                       "groups:\n- name: g\n  interval: %s\n  rules:\n"
                       "  - {alert: Down, expr: up == 0}\n",
                       cases[i].interval);
        sim_rules(&sim, yaml);
        sim_set(&sim, "up", NULL, 0);
        int64_t fired_ms = sim_step(&sim);
        while (sim.due_ms < fired_ms + 300000) {
            (void)sim_step(&sim);
        }
        assert_string_equal(sim_sent_text(&sim, fired_ms), cases[i].expected);
        sim_finish(&sim);
    }
}

static void test_resolved_is_sent_for_15_minutes(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE(""));
    sim_set(&sim, "up", NULL, 0);
    (void)sim_step(&sim);
    sim_set(&sim, "up", NULL, 1);
    (void)sim_sent_text(&sim, 0);
    int64_t resolved_ms = sim_step(&sim);
    (void)sim_steps(&sim, 20);
    assert_int_equal(sim.sent_count, 15);
    for (size_t i = 0; i < sim.sent_count; i++) {
        assert_int_equal(sim.sent[i].ends_ms, resolved_ms);
        assert_int_equal(sim.sent[i].now_ms, resolved_ms + (int64_t)i * 60000);
    }
    sim_finish(&sim);
}

static void test_resolved_ends_when_the_alert_is_back(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    for: 2m\n"));
    sim_set(&sim, "up", NULL, 0);
    (void)sim_steps(&sim, 3);
    sim_set(&sim, "up", NULL, 1);
    (void)sim_steps(&sim, 2);
    (void)sim_sent_text(&sim, 0);
    sim_set(&sim, "up", NULL, 0);
    int64_t again_ms = sim_step(&sim);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_PENDING);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, again_ms);
    (void)sim_step(&sim);
    assert_string_equal(sim_sent_text(&sim, 0), "");
    (void)sim_step(&sim);
    assert_string_equal(sim_sent_text(&sim, again_ms), "F {alertname=\"Down\"}@120");
    sim_finish(&sim);
}

static void test_alerts_series(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    for: 1m\n    labels: {severity: page}\n"));
    sim_set(&sim, "up", job_a, 0);
    int64_t active_ms = sim_step(&sim);
    assert_string_equal(
        sim_query(&sim, "ALERTS"),
        "ALERTS{alertname=\"Down\",alertstate=\"pending\",job=\"a\",severity=\"page\"} 1");
    char expected[256];
    (void)snprintf(expected, sizeof(expected),
                   "ALERTS_FOR_STATE{alertname=\"Down\",job=\"a\",severity=\"page\"} %lld",
                   (long long)(active_ms / 1000));
    assert_string_equal(sim_query(&sim, "ALERTS_FOR_STATE"), expected);
    (void)sim_step(&sim);
    assert_string_equal(
        sim_query(&sim, "ALERTS"),
        "ALERTS{alertname=\"Down\",alertstate=\"firing\",job=\"a\",severity=\"page\"} 1");
    assert_string_equal(sim_query(&sim, "ALERTS_FOR_STATE"), expected);
    sim_set(&sim, "up", job_a, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_query(&sim, "ALERTS"), "");
    assert_string_equal(sim_query(&sim, "ALERTS_FOR_STATE"), "");
    sim_finish(&sim);
}

static void test_labels(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, "groups:\n"
                    "- name: g\n"
                    "  labels: {team: core, tier: '1'}\n"
                    "  rules:\n"
                    "  - alert: Down\n"
                    "    expr: '{__name__=\"up\"} == 0'\n"
                    "    labels:\n"
                    "      team: web\n"
                    "      who: '{{ $labels.job | toUpper }}-{{ $labels.__name__ }}'\n"
                    "      job: ''\n"
                    "      alertname: other\n");
    sim_set(&sim, "up", (const char *const[]){ "job", "a", "alertname", "x", NULL }, 0);
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim),
                        "{alertname=\"Down\",team=\"web\",tier=\"1\",who=\"A-up\"} firing");
    sim_finish(&sim);
}

/* The value is no identity, unless a label says so. */
static void test_identity_after_templates(void **state) {
    static const char yaml[] = "groups:\n"
                               "- name: g\n"
                               "  rules:\n"
                               "  - alert: Down\n"
                               "    expr: up == 0\n"
                               "    for: 1m\n"
                               "    labels: {v: '{{ $value }}'}\n"
                               "  - alert: Steady\n"
                               "    expr: x > 0\n"
                               "    for: 1m\n"
                               "    annotations: {v: '{{ $value }}'}\n";
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, yaml);
    sim_set(&sim, "up", NULL, 0);
    sim_set(&sim, "x", NULL, 1);
    (void)sim_step(&sim);
    sim_set(&sim, "up", NULL, -0.0);
    sim_set(&sim, "x", NULL, 2);
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim),
                        "{alertname=\"Down\",v=\"-0\"} pending|{alertname=\"Steady\"} firing");
    assert_string_equal(sim.sent[0].annotations, "v=2");
    assert_float_equal(sim_alert(&sim, 1, 0)->value, 2, 0);
    sim_finish(&sim);
}

static void test_annotations_follow_the_value(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, "groups:\n- name: g\n  rules:\n"
                    "  - alert: Hot\n"
                    "    expr: temp > 10\n"
                    "    for: 2m\n"
                    "    annotations: {t: '{{ $value }} {{ .Labels.job }}', e: ''}\n");
    for (int i = 0; i < 3; i++) {
        sim_set(&sim, "temp", job_a, 11 + i);
        (void)sim_step(&sim);
        char expected[16];
        (void)snprintf(expected, sizeof(expected), "%d a", 11 + i);
        struct labels annotations = sim_alert(&sim, 0, 0)->annotations;
        assert_true(str_eq_c(labels_get(annotations, STR("t")), expected));
    }
    assert_string_equal(sim.sent[0].annotations, "e= t=13 a");
    sim_finish(&sim);
}

static void test_duplicates(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    labels: {job: same}\n"));
    sim_set(&sim, "up", job_a, 0);
    (void)sim_step(&sim);
    (void)sim_sent_text(&sim, 0);
    sim_set(&sim, "up", job_b, 0);
    (void)sim_step(&sim);
    const struct rule_view *rule = sim_rule(&sim, 0);
    assert_int_equal(rule->health, RULE_HEALTH_ERR);
    assert_true(str_eq_c(rule->last_error, "vector contains metrics with the same labelset after "
                                           "applying alert labels"));
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"same\"} firing");
    assert_string_equal(sim_sent_text(&sim, 0), "");
    assert_int_equal(sim_event_count(&sim, RULES_RULE_FAILED), 1);
    (void)sim_step(&sim); /* the same error is reported once */
    assert_int_equal(sim_event_count(&sim, RULES_RULE_FAILED), 1);
    sim_off(&sim, "up", job_b);
    (void)sim_steps(&sim, 6);
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_OK);
    assert_int_equal(sim_rule(&sim, 0)->last_error.len, 0);
    assert_int_equal(sim_event_count(&sim, RULES_RULE_RECOVERED), 1);
    sim_finish(&sim);
}

static void test_limit(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, "groups:\n- name: g\n  limit: 1\n  rules:\n  - {alert: Down, expr: up == 0}\n");
    sim_set(&sim, "up", job_a, 0);
    int64_t fired_ms = sim_step(&sim);
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_OK);
    assert_string_equal(sim_sent_text(&sim, fired_ms), "F {alertname=\"Down\",job=\"a\"}@0");
    sim_set(&sim, "up", job_b, 0);
    (void)sim_step(&sim);
    assert_true(str_eq_c(sim_rule(&sim, 0)->last_error, "exceeded limit of 1 with 2 alerts"));
    assert_string_equal(sim_alerts(&sim), "");
    assert_string_equal(sim_query(&sim, "ALERTS"), "");
    assert_string_equal(sim_sent_text(&sim, fired_ms), "R {alertname=\"Down\",job=\"a\"}@60");
    sim_set(&sim, "up", job_a, 1);
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"b\"} firing");
    sim_finish(&sim);
}

/* An expression that fails leaves everything as it was. */
static void test_failed_evaluation_keeps_state(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, "groups:\n- name: g\n  rules:\n"
                    "  - {alert: Down, expr: 'up == 0 and on() (x * on() y)', for: 2m}\n");
    sim_set(&sim, "up", NULL, 0);
    sim_set(&sim, "x", NULL, 1);
    sim_set(&sim, "y", job_a, 1);
    int64_t active_ms = sim_step(&sim);
    sim_set(&sim, "y", job_b, 1);
    (void)sim_step(&sim);
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_ERR);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_PENDING);
    sim_off(&sim, "y", job_b);
    (void)sim_steps(&sim, 5);
    assert_int_equal(sim_alert(&sim, 0, 0)->active_ms, active_ms);
    assert_int_equal(sim_alert(&sim, 0, 0)->state, ALERT_FIRING);
    sim_finish(&sim);
}

static void test_external_labels_and_link(void **state) {
    struct sim sim;
    struct label external[] = { { STR("job"), STR("ext") }, { STR("region"), STR("eu") } };
    sim_init(&sim);
    sim.load.external_url = "http://localhost:9090/t";
    sim.load.external_labels = (struct labels){ external, ARRAY_LEN(external) };
    sim_rules(&sim, RULE("    annotations:\n"
                         "      a: '{{ $externalLabels.region }} {{ $externalURL }} {{ pathPrefix "
                         "}} {{ .ExternalLabels.region }} {{ externalURL }}'\n"));
    sim_set(&sim, "up", job_a, 0);
    (void)sim_step(&sim);
    assert_string_equal(sim.sent[0].labels, "{alertname=\"Down\",job=\"a\",region=\"eu\"}");
    assert_string_equal(sim.sent[0].generator_url,
                        "http://localhost:9090/t/graph?g0.expr=up+%3D%3D+0&g0.tab=1");
    assert_string_equal(sim.sent[0].annotations,
                        "a=eu http://localhost:9090/t /t eu http://localhost:9090/t");
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\",job=\"a\"} firing");
    sim_finish(&sim);
}

static void test_scalar_and_nan(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, "groups:\n- name: g\n  rules:\n"
                    "  - {alert: Always, expr: '1'}\n"
                    "  - {alert: Nan, expr: 'vector(NaN)', annotations: {v: '{{ $value }}'}}\n");
    (void)sim_step(&sim);
    assert_string_equal(sim_alerts(&sim),
                        "{alertname=\"Always\"} firing|{alertname=\"Nan\"} firing");
    assert_true(isnan(sim_alert(&sim, 1, 0)->value));
    sim_finish(&sim);
}

static void test_template_failure_is_shown(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    annotations: {a: '{{ query \"nothing\" | first | value }}'}\n"));
    sim_set(&sim, "up", NULL, 0);
    (void)sim_step(&sim);
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_OK);
    assert_non_null(strstr(sim.sent[0].annotations,
                           "a=<error expanding template: error executing template __alert_Down: "));
    assert_non_null(strstr(sim.sent[0].annotations, "first() called on vector with no elements"));
    (void)sim_step(&sim); /* said once */
    assert_int_equal(sim_event_count(&sim, RULES_TEMPLATE_FAILED), 1);
    sim_finish(&sim);
}

/* Labels made by templates keep to the caps of all labels: at the cap, and one byte past it. */
static void test_label_caps(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, RULE("    labels: {pad: '{{ printf \"%4096d\" 1 }}'}\n"));
    sim_set(&sim, "up", NULL, 0);
    (void)sim_step(&sim);
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_OK);
    assert_int_equal(sim.sent_count, 1);
    sim_finish(&sim);

    sim_init(&sim);
    sim_rules(&sim, RULE("    labels: {pad: '{{ printf \"%4097d\" 1 }}'}\n"));
    sim_set(&sim, "up", NULL, 0);
    (void)sim_step(&sim);
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_ERR);
    assert_non_null(strstr(sim_rule(&sim, 0)->last_error.ptr, "pad"));
    assert_int_equal(sim.sent_count, 0);
    sim_finish(&sim);
}

/* A store that takes no new series must not keep anybody from being told. */
static void test_alert_without_series(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim.series_max = 1;
    sim_restart(&sim);
    sim_rules(&sim, RULE(""));
    sim_set(&sim, "up", NULL, 0);
    (void)sim_step(&sim);
    assert_int_equal(sim_rule(&sim, 0)->health, RULE_HEALTH_ERR);
    assert_string_equal(sim_alerts(&sim), "{alertname=\"Down\"} firing");
    assert_int_equal(sim.sent_count, 1);
    sim_set(&sim, "up", NULL, 1);
    (void)sim_step(&sim);
    assert_int_equal(sim.sent_count, 2);
    assert_true(sim.sent[1].ends_ms > 0);
    sim_finish(&sim);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pending_firing_resolved),
        cmocka_unit_test(test_for_against_interval),
        cmocka_unit_test(test_pending_that_ends_is_never_sent),
        cmocka_unit_test(test_keep_firing_for),
        cmocka_unit_test(test_keep_firing_for_of_pending),
        cmocka_unit_test(test_resend_period),
        cmocka_unit_test(test_resolved_is_sent_for_15_minutes),
        cmocka_unit_test(test_resolved_ends_when_the_alert_is_back),
        cmocka_unit_test(test_alerts_series),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_identity_after_templates),
        cmocka_unit_test(test_annotations_follow_the_value),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_failed_evaluation_keeps_state),
        cmocka_unit_test(test_external_labels_and_link),
        cmocka_unit_test(test_scalar_and_nan),
        cmocka_unit_test(test_template_failure_is_shown),
        cmocka_unit_test(test_label_caps),
        cmocka_unit_test(test_alert_without_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
