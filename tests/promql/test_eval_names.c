/*
 * Goal: with names dropped at once, as upstream's default, series that become equal are joined
 * where they do not overlap and refused where they do. Upstream's own files run with delayed
 * removal; this is the other mode. Method: two metrics that differ in their names only.
 */

#include "tests/promql/eval_fixture.h"
#include "tests/unit.h"

#define DUPLICATE "error: vector cannot contain metrics with the same labelset"
#define BOTH      "{__name__=~\"a|b\"}"
#define APART     "{__name__=~\"a|later\"}"

static void names(void **state) {
    (void)state;
    static const struct fixture_case cases[] = {
        { "abs(" BOTH ")", 0, 0, 0, DUPLICATE },
        { "-" BOTH, 0, 0, 0, DUPLICATE },
        { BOTH " * 2", 0, 0, 0, DUPLICATE },
        { BOTH " > bool 2", 0, 0, 0, DUPLICATE },
        { BOTH " > 5", 0, 0, 0, "b 7@0" },
        { "rate(" BOTH "[2m])", 60000, 0, 0, DUPLICATE },
        { "last_over_time(" BOTH "[2m])", 0, 0, 0, "a 1@0\nb 7@0" },
        { "sum_over_time(abs(" BOTH ")[1m:])", 60000, 0, 0, DUPLICATE },
        { "timestamp(" BOTH ")", 0, 0, 0, DUPLICATE },
        { "hour(" BOTH ")", 0, 0, 0, DUPLICATE },
        { "clamp(" BOTH ", 0, 1)", 0, 0, 0, DUPLICATE },
        { "label_replace(abs(a), \"x\", \"y\", \"\", \"\")", 0, 0, 0, "{x=\"y\"} 1@0" },
        { "label_replace(" BOTH ", \"__name__\", \"c\", \"\", \"\")", 0, 0, 0, DUPLICATE },
        { "sum(rate(" BOTH "[2m]))", 60000, 0, 0, DUPLICATE },
        { "sum(" BOTH ")", 0, 0, 0, "{} 8@0" },
        { "sum by (__name__) (" BOTH ")", 0, 0, 0, "a 1@0\nb 7@0" },
        { "abs(sum by (__name__) (" BOTH "))", 0, 0, 0, DUPLICATE },
        { "abs(a or b)", 0, 0, 0, "{} 1@0" },
        { "a or b", 0, 0, 0, "a 1@0" },
        { "topk(1, " BOTH ")", 0, 0, 0, "b 7@0" },
        { "absent(" BOTH ")", 0, 0, 0, "" },
        /* never at the same step: one series */
        { "abs(" APART ")", 0, 120000, 120000, "{} 1@0 5@120000" },
        { "-" APART, 0, 120000, 120000, "{} -1@0 -5@120000" },
        { APART " + 1", 0, 120000, 120000, "{} 2@0 6@120000" },
        { APART " > 0", 0, 120000, 120000, "a 1@0\nlater 5@120000" },
        /* but range functions look at series as a whole, as upstream */
        { "count_over_time(" APART "[1m])", 0, 120000, 120000, DUPLICATE },
        /* the same series from both sides at different steps */
        { "a or a offset 2m", 0, 120000, 120000, "a 1@0 1@120000" },
        { "rate(a[2m]) + 0", 60000, 0, 0,
          "{} 0.016666666666666666@60000\ninfo: PromQL info: metric might not be a counter, name "
          "does not end in _total/_sum/_count/_bucket: \"a\" (1:6)" },
    };
    struct fixture fixture;
    fixture_open(&fixture, "load 1m\n a 1 2 stale\n b 7 8 9\n later _ _ 5\n");
    fixture_check(&fixture, NULL, cases, ARRAY_LEN(cases));
    fixture_close(&fixture);
}

static void metadata_labels(void **state) {
    (void)state;
    static const struct fixture_case cases[] = {
        /* __type__ and __unit__ go with the name, even where the name alone is unique */
        { "abs(t)", 0, 0, 0, DUPLICATE },
        { "rate(t[2m])", 60000, 0, 0, DUPLICATE },
        { "abs(t{__type__=\"x\"})", 0, 0, 0, "{} 1@0" },
    };
    struct fixture fixture;
    fixture_open(&fixture, "load 1m\n t{__type__=\"x\"} 1 1\n t{__type__=\"y\"} 1 1\n");
    fixture_check(&fixture, NULL, cases, ARRAY_LEN(cases));
    fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(metadata_labels),
    };
    return cmocka_run_group_tests_name("promql/eval_names", tests, NULL, NULL);
}
