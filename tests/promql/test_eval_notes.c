/*
 * Goal: warnings, infos and errors say what upstream says, where it says it. Method: queries that
 * give rise to each of them, over several lines, several positions and several steps.
 */

#include "tests/promql/eval_fixture.h"
#include "tests/unit.h"

#define COUNTER_INFO                                                          \
    "info: PromQL info: metric might not be a counter, name does not end in " \
    "_total/_sum/_count/_bucket: \"g\" "
#define QUANTILE_WARNING "warning: PromQL warning: quantile value should be between 0 and 1, got "
#define RATIO_WARNING    "warning: PromQL warning: ratio value should be between -1 and 1, got "
#define LE_WARNING \
    "warning: PromQL warning: bucket label \"le\" is missing or has a malformed value of "
#define SORT_WARNING                                                                           \
    "warning: PromQL warning: sort is ineffective for range queries since results are always " \
    "ordered by labels "

static const char load[] = "load 1m\n"
                           " g{i=\"0\"} 0 60 120\n"
                           " c_total{i=\"0\"} 0 60 120\n"
                           " b{le=\"1\"} 5 5 5\n"
                           " b{le=\"2\"} 3 4 5\n"
                           " b{le=\"+Inf\"} 9 9 9\n"
                           " bad{le=\"x\"} 1 1 1\n"
                           " bad 1 1 1\n";

static void notes(void **state) {
    (void)state;
    static const struct fixture_case cases[] = {
        { "rate(c_total[2m])", 120000, 0, 0, "{i=\"0\"} 1@120000" },
        { "rate(g[2m])", 120000, 0, 0, "{i=\"0\"} 1@120000\n" COUNTER_INFO "(1:6)" },
        { "1 +\n  increase(g[2m])", 120000, 0, 0, "{i=\"0\"} 121@120000\n" COUNTER_INFO "(2:12)" },
        /* the same text at two places is told once, at the last */
        { "rate(g[2m]) + rate(g[2m])", 120000, 0, 0, "{i=\"0\"} 2@120000\n" COUNTER_INFO "(1:20)" },
        { "rate(g[2m]) and rate(g[2m])", 120000, 0, 0,
          "{i=\"0\"} 1@120000\n" COUNTER_INFO "(1:22)" },
        { "rate(g[2m]) and (rate(g[2m]) unless rate(g[2m]) > 9)", 120000, 0, 0,
          "{i=\"0\"} 1@120000\n" COUNTER_INFO "(1:42)" },
        /* no result, no info */
        { "rate(g[2m])", 0, 0, 0, "" },
        /* the result of a subquery has no place */
        { "rate(g[2m:1m])", 120000, 0, 0, "{i=\"0\"} 1@120000\n" COUNTER_INFO "(1:1)" },
        { "quantile(1.5, g)", 0, 0, 0, "{} +Inf@0\n" QUANTILE_WARNING "1.5 (1:10)" },
        { "quantile(-0.001, g)", 0, 0, 0, "{} -Inf@0\n" QUANTILE_WARNING "-0.001 (1:10)" },
        { "quantile(NaN, g)", 0, 0, 0, "{} NaN@0\n" QUANTILE_WARNING "NaN (1:10)" },
        { "quantile_over_time(1e7, g[2m])", 0, 0, 0,
          "{i=\"0\"} +Inf@0\n" QUANTILE_WARNING "1e+07 (1:20)" },
        { "histogram_quantile(2, b)", 0, 0, 0, "{} +Inf@0\n" QUANTILE_WARNING "2 (1:20)" },
        { "count(limit_ratio(-1.1, g))", 0, 0, 0,
          "{} 1@0\n" RATIO_WARNING "-1.1, capping to -1 (1:19)" },
        { "histogram_quantile(0.5, bad)", 0, 0, 0,
          LE_WARNING "\"\" (1:25)\n" LE_WARNING "\"x\" (1:25)" },
        { "histogram_fraction(0, 1, bad)", 0, 0, 0,
          LE_WARNING "\"\" (1:26)\n" LE_WARNING "\"x\" (1:26)" },
        { "sort(g)", 0, 60000, 60000, "g{i=\"0\"} 0@0 60@60000\n" SORT_WARNING "(1:1)" },
        { "1 + sort_desc(g)", 0, 60000, 60000, "{i=\"0\"} 1@0 61@60000\n" SORT_WARNING "(1:5)" },
        { "g </ 1", 0, 0, 0,
          "info: PromQL info: incompatible sample types encountered for binary operator \"</\": "
          "float </ float (1:1)" },
        { "histogram_quantile(0.5, b)", 0, 120000, 60000,
          "{} 0.9@0 0.9@60000 0.9@120000\n"
          "info: PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see "
          "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), "
          "from buckets 2 to 2, with a max diff of 2, over 2 samples from 1970-01-01T00:00:00Z to "
          "1970-01-01T00:01:00Z (1:25)" },
    };
    struct fixture fixture;
    fixture_open(&fixture, load);
    fixture_check(&fixture, NULL, cases, ARRAY_LEN(cases));
    fixture_close(&fixture);
}

static void notes_by_labels(void **state) {
    (void)state;
    struct promql_query options = { .features = { .type_and_unit_labels = true } };
    static const struct fixture_case cases[] = {
        { "rate(t[2m])", 120000, 0, 0, "{} 1@120000" },
        { "rate(u_total[2m])", 120000, 0, 0,
          "{} 1@120000\ninfo: PromQL info: metric might not be a counter, __type__ label is not "
          "set to \"counter\" or \"histogram\", got \"gauge\": \"u_total\" (1:6)" },
    };
    struct fixture fixture;
    fixture_open(&fixture, "load 1m\n t{__type__=\"counter\"} 0 60 120\n"
                           " u_total{__type__=\"gauge\"} 0 60 120\n");
    fixture_check(&fixture, &options, cases, ARRAY_LEN(cases));
    fixture_close(&fixture);
}

static void notes_with_names(void **state) {
    (void)state;
    struct promql_query options = { .features = { .delayed_name_removal = true } };
    static const struct fixture_case cases[] = {
        { "histogram_quantile(0.5, bad{le=\"x\"})", 0, 0, 0,
          LE_WARNING "\"x\" for metric name \"bad\" (1:25)" },
    };
    struct fixture fixture;
    fixture_open(&fixture, load);
    fixture_check(&fixture, &options, cases, ARRAY_LEN(cases));
    fixture_close(&fixture);
}

static void errors(void **state) {
    (void)state;
    static const struct fixture_case cases[] = {
        { "one + on(job) many", 0, 0, 0,
          "error: found duplicate series for the match group {job=\"a\"} on the right hand-side of "
          "the operation: [{__name__=\"many\", i=\"0\", job=\"a\"}, {__name__=\"many\", i=\"1\", "
          "job=\"a\"}];many-to-many matching not allowed: matching labels must be unique on one "
          "side" },
        { "many + on(job) group_right many", 0, 0, 0,
          "error: found duplicate series for the match group {job=\"a\"} on the left hand-side of "
          "the operation: [{__name__=\"many\", i=\"0\", job=\"a\"}, {__name__=\"many\", i=\"1\", "
          "job=\"a\"}];many-to-many matching not allowed: matching labels must be unique on one "
          "side" },
        { "many + on(job) one", 0, 0, 0,
          "error: multiple matches for labels: many-to-one matching must be explicit "
          "(group_left/group_right)" },
        { "many + on(job) group_left(i) one", 0, 0, 0,
          "error: multiple matches for labels: grouping labels must ensure unique matches" },
        { "topk(NaN, many)", 0, 0, 0, "error: Parameter value is NaN" },
        { "topk(1e30, many)", 0, 0, 0, "error: Scalar value 1e+30 overflows int64" },
        { "limit_ratio(NaN, many)", 0, 0, 0, "error: Ratio value is NaN" },
        { "label_replace(one, \"a\", \"b\", \"c\", \"(\")", 0, 0, 0,
          "error: invalid regular expression in label_replace(): (" },
        { "label_replace(one, \"\", \"b\", \"c\", \"d\")", 0, 0, 0,
          "error: invalid destination label name in label_replace(): " },
        { "double_exponential_smoothing(one[2m], 1, 0.5)", 60000, 0, 0,
          "error: invalid smoothing factor. Expected: 0 < sf < 1, got: 1.000000" },
        { "double_exponential_smoothing(one[2m], 0.5, 0)", 60000, 0, 0,
          "error: invalid trend factor. Expected: 0 < tf < 1, got: 0.000000" },
        { "one[step() - step()]", 0, 0, 0, "error: 4:19: duration must be greater than 0" },
        { "one[1m / (step() - step())]", 0, 0, 0, "error: 4:25: division by zero" },
    };
    struct fixture fixture;
    fixture_open(&fixture, "load 1m\n one{job=\"a\"} 1 2\n"
                           " many{job=\"a\",i=\"0\"} 1 2\n many{job=\"a\",i=\"1\"} 1 2\n");
    fixture_check(&fixture, NULL, cases, ARRAY_LEN(cases));
    fixture_close(&fixture);
}

/* A duplicate counts only where both sides have something: the first such step is named. */
static void errors_by_step(void **state) {
    (void)state;
    static const struct fixture_case cases[] = {
        { "l + on() r", 0, 60000, 60000, "{} 2@0" },
        { "l + on() r", 0, 120000, 60000,
          "error: found duplicate series for the match group {} on the right hand-side of the "
          "operation: [{__name__=\"r\", i=\"1\"}, {__name__=\"r\", i=\"2\"}];many-to-many matching "
          "not allowed: matching labels must be unique on one side" },
    };
    struct fixture fixture;
    fixture_open(&fixture, "load 1m\n l 1 stale 1\n r{i=\"0\"} 1 1 stale\n"
                           " r{i=\"1\"} _ 1 1\n r{i=\"2\"} _ _ 1\n");
    fixture_check(&fixture, NULL, cases, ARRAY_LEN(cases));
    fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notes),          cmocka_unit_test(notes_by_labels),
        cmocka_unit_test(errors),         cmocka_unit_test(notes_with_names),
        cmocka_unit_test(errors_by_step),
    };
    return cmocka_run_group_tests_name("promql/eval_notes", tests, NULL, NULL);
}
