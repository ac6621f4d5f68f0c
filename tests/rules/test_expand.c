/*
 * Goal: labels and annotations expand as Prometheus expands them, queries included. Method: one
 * alert whose annotation is the template under test; the text that is handed over is compared.
 */
#include <stdio.h>

#include "tests/rules/sim.h"

struct expand_case {
    const char *text;     /* without single quotes */
    const char *expected; /* "<error…" compares the beginning */
};

static void run_case(const struct expand_case *one) {
    struct sim sim;
    char yaml[4096];
    sim_init(&sim);
    sim.load.external_url = "http://testhost:9090/path/prefix";
    (void)snprintf(yaml, sizeof(yaml),
                   "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: metric > 0\n"
                   "    annotations:\n      a: '%s'\n",
                   one->text);
    sim_set(&sim, "metric", (const char *const[]){ "instance", "h1.example.org:80", NULL }, 1234.5);
    sim_set(&sim, "q", (const char *const[]){ "instance", "b", NULL }, 21);
    sim_set(&sim, "q", (const char *const[]){ "instance", "a", NULL }, 11);
    sim_rules(&sim, yaml);
    (void)sim_step(&sim);
    assert_int_equal(sim.sent_count, 1);
    const char *found = sim.sent[0].annotations + 2;
    bool is_prefix = str_starts_with(str_from(one->expected), STR("<error"));
    if (is_prefix ? !str_starts_with(str_from(found), str_from(one->expected))
                  : strcmp(found, one->expected) != 0) {
        fail_msg("%s\nexpected: %s\nfound:    %s", one->text, one->expected, found);
    }
    sim_finish(&sim);
}

static void run_cases(const struct expand_case *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        run_case(&cases[i]);
    }
}

static void test_data(void **state) {
    static const struct expand_case cases[] = {
        { "plain text", "plain text" },
        { "{{ $value }} {{ .Value }} {{ $.Value }}", "1234.5 1234.5 1234.5" },
        { "{{ $labels.instance }} {{ .Labels.instance }}", "h1.example.org:80 h1.example.org:80" },
        { "{{ $labels.__name__ }}", "metric" },
        { "[{{ $labels.nothing }}]", "[]" },
        { "{{ $value | humanize }} {{ printf \"%.2f\" $value }}", "1.234k 1234.50" },
        { "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
          "__name__=metric;instance=h1.example.org:80;" },
        { "{{ with $labels.nothing }}yes{{ else }}no{{ end }}", "no" },
        { "{{ if gt $value 1000.0 }}high{{ end }}", "high" },
        { "{{ .Nope }}", "<error expanding template: error executing template __alert_A: " },
        { "{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" $value }}", "<1234.5>" },
    };
    run_cases(cases, ARRAY_LEN(cases));
}

static void test_queries(void **state) {
    static const struct expand_case cases[] = {
        { "{{ query \"q{instance=\\\"a\\\"}\" | first | value }}", "11" },
        { "{{ range query \"q\" | sortByLabel \"instance\" }}"
          "{{ .Labels.instance }}:{{ .Value }};{{ end }}",
          "a:11;b:21;" },
        { "{{ range query \"sort_desc(q)\" }}{{ label \"instance\" . }}:{{ value . }};{{ end }}",
          "b:21;a:11;" },
        { "{{ with query \"q > 15\" }}{{ . | first | label \"instance\" }}{{ end }}", "b" },
        { "{{ with query \"q > 99\" }}some{{ else }}none{{ end }}", "none" },
        { "{{ query \"1 + 1\" | first | value }}", "2" },
        { "{{ query \"q\" | len }}", "2" },
        { "{{ query \"label_replace(vector(1), \\\"__value__\\\", \\\"x\\\", \\\"\\\", \\\"\\\")\" "
          "| first | strvalue }}",
          "x" },
        { "{{ query \"q[1m]\" }}", "<error expanding template: " },
        { "{{ query \"sum(\" }}", "<error expanding template: " },
        { "{{ query \"none\" | first }}", "<error expanding template: " },
    };
    run_cases(cases, ARRAY_LEN(cases));
}

static void test_functions(void **state) {
    static const struct expand_case cases[] = {
        { "{{ graphLink \"up{a=\\\"b c\\\"}\" }}",
          "/graph?g0.expr=up%7Ba%3D%22b+c%22%7D&g0.tab=0" },
        { "{{ tableLink \"up\" }}", "/graph?g0.expr=up&g0.tab=1" },
        { "{{ externalURL }} {{ pathPrefix }} {{ $externalURL }}",
          "http://testhost:9090/path/prefix /path/prefix http://testhost:9090/path/prefix" },
        { "{{ urlQueryEscape \"a b&c\" }}", "a+b%26c" },
        { "{{ $labels.instance | stripPort }}", "h1.example.org" },
        { "{{ $labels.instance | stripDomain }}", "h1:80" },
        { "{{ \"aa bb\" | title }} {{ toUpper \"a\" }} {{ toLower \"B\" }}", "Aa Bb A b" },
        { "{{ match \"^h[0-9]\" $labels.instance }}", "true" },
        { "{{ reReplaceAll \"h([0-9])\" \"host-$1\" $labels.instance }}", "host-1.example.org:80" },
        { "{{ parseDuration \"1h2m\" }} {{ humanizeDuration 3723.0 }}", "3720 1h 2m 3s" },
        { "{{ humanize1024 2048.0 }} {{ humanizePercentage 0.1234 }}", "2ki 12.34%" },
        { "{{ define \"x\" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template \"x\" (args 1 \"b\") }}",
          "1-b" },
        { "{{ define \"x\" }}in{{ end }}{{ tmpl \"x\" . }}", "in" },
        { "{{ define \"x\" }}{{ tmpl \"x\" . }}{{ end }}{{ tmpl \"x\" . }}",
          "<error expanding template: " },
        { "{{ tmpl \"none\" . }}", "<error expanding template: " },
        { "{{ printf \"%70000d\" 1 }}", "<error expanding template: " },
        { "{{ label \"a\" 1 }}", "<error expanding template: " },
        { "{{ first \"a\" }}", "<error expanding template: " },
    };
    run_cases(cases, ARRAY_LEN(cases));
}

static void test_now(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: '1'\n"
                    "    annotations: {a: '{{ now | printf \"%.3f\" }}'}\n");
    int64_t slot_ms = sim_step(&sim);
    char expected[64];
    (void)snprintf(expected, sizeof(expected), "a=%.3f", (double)slot_ms / 1000);
    assert_string_equal(sim.sent[0].annotations, expected);
    sim_finish(&sim);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_now),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
