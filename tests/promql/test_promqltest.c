/*
 * Goal: the runner of the test language notices what it should, so that green means something.
 * Method: tables of small scripts that must pass, fail (with a word of the reason), be skipped, or
 * be refused as scripts; the notation of series by itself.
 */
#include <stdio.h>

#include "tests/promql/promqltest.h"
#include "tests/unit.h"

/* ---- scripts ---- */

#define LOAD                             \
    "load 1m\n"                          \
    "  m{a=\"x\"} 1 2 3\n"               \
    "  m{a=\"y\"} 4 NaN stale\n"         \
    "  h {{schema:0 count:1 sum:1}} 5\n" \
    "  st@st -1m 0s\n"                   \
    "  st 1 2\n\n"

struct script_case {
    const char *text; /* behind LOAD */
    enum pqt_outcome outcome;
    const char *reason; /* part of the error */
};

static const struct script_case scripts[] = {
    { "eval instant at 0 m\n m{a=\"x\"} 1\n m{a=\"y\"} 4", PQT_PASSED, "" },
    { "eval instant at 1m m\n m{a=\"x\"} 2\n m{a=\"y\"} NaN", PQT_PASSED, "" },
    { "eval instant at 0 m\n m{a=\"x\"} 1", PQT_FAILED, "unexpected series m{a=\"y\"}" },
    { "eval instant at 2m m\n m{a=\"x\"} 3\n m{a=\"y\"} 1", PQT_FAILED, "not found: m{a=\"y\"}" },
    { "eval instant at 0 m{a=\"x\"}\n m{a=\"x\"} 1.00001", PQT_FAILED, "expected 1.00001, got 1" },
    { "eval instant at 0 m{a=\"x\"}\n m{a=\"x\"} 1.0000001", PQT_PASSED, "" },
    { "eval instant at 0 m{a=\"x\"}\n {a=\"x\"} 1", PQT_FAILED, "unexpected series" },
    { "eval instant at 0 m\n 1", PQT_FAILED, "expected a scalar" },
    { "eval instant at 0 1 + 1\n 2", PQT_PASSED, "" },
    { "eval instant at 0 1 + 1\n 3", PQT_FAILED, "expected 3, got 2" },
    { "eval instant at 0 1 + 1\n {} 2", PQT_FAILED, "expected a vector" },
    { "eval instant at 0 m[1m]\n m 1", PQT_FAILED, "" },
    { "eval instant at 0 nonsense(", PQT_FAILED, "parse error" },
    { "eval instant at 0 sort(m)\n expect ordered\n m{a=\"x\"} 1\n m{a=\"y\"} 4", PQT_PASSED, "" },
    { "eval instant at 0 sort(m)\n expect ordered\n m{a=\"y\"} 4\n m{a=\"x\"} 1", PQT_FAILED,
      "expected at position" },
    { "eval_ordered instant at 0 sort_desc(m)\n m{a=\"x\"} 1\n m{a=\"y\"} 4", PQT_FAILED,
      "position" },
    { "eval range from 0 to 2m step 1m m{a=\"x\"}\n m{a=\"x\"} 1+1x2", PQT_PASSED, "" },
    { "eval range from 0 to 2m step 1m m{a=\"y\"}\n m{a=\"y\"} 4 NaN _", PQT_PASSED, "" },
    { "eval range from 0 to 2m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 _ 3", PQT_FAILED, "t=120000" },
    { "eval range from 0 to 2m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 2", PQT_FAILED,
      "2 points, got 3" },
    { "eval range from 0 to 2m step 1m m{a=\"x\"}\n m{a=\"x\"} 1 2 3 4", PQT_FAILED,
      "more points" },
    { "eval range from 0 to 2m step 1m m\n m{a=\"x\"} 1 2 3", PQT_FAILED, "unexpected series" },
    { "eval instant at 2m m{a=\"x\"}[2m1s]\n expect range vector from 0 to 2m step 1m\n"
      " m{a=\"x\"} 1 2 3",
      PQT_PASSED, "" },
    { "eval instant at 0 \"a\\nb\"\n expect string \"a\\nb\"", PQT_PASSED, "" },
    { "eval instant at 0 \"a\"\n expect string \"b\"", PQT_FAILED, "got string \"a\"" },
    { "eval instant at 0 \"a\"", PQT_FAILED, "got string" },
    { "eval instant at 0 m + on () m\n expect fail", PQT_PASSED, "" },
    { "eval instant at 0 m + on () m\n expect fail regex:found duplicate .* group", PQT_PASSED,
      "" },
    { "eval instant at 0 m + on () m\n expect fail msg:found duplicate", PQT_FAILED,
      "another error" },
    { "eval_fail instant at 0 m + on () m\n expected_fail_regexp duplicate", PQT_PASSED, "" },
    { "eval_fail instant at 0 m + on () m\n expected_fail_message duplicate", PQT_FAILED,
      "another" },
    { "eval instant at 0 m + on () m", PQT_FAILED, "found duplicate series" },
    { "eval instant at 0 m{a=\"x\"}\n expect fail", PQT_FAILED, "expected an error" },
    { "eval instant at 2m rate(m{a=\"x\"}[3m])\n expect no_info\n {a=\"x\"} 0.0166666666",
      PQT_FAILED, "unexpected info" },
    { "eval instant at 2m rate(m{a=\"x\"}[3m])\n expect info\n {a=\"x\"} 0.0166666666", PQT_PASSED,
      "" },
    { "eval instant at 2m rate(m{a=\"x\"}[3m])\n expect info msg:no\n {a=\"x\"} 0.0166666666",
      PQT_FAILED, "expected info not found" },
    { "eval instant at 2m rate(m{a=\"x\"}[3m])\n expect info regex:counter\n expect info msg:no\n"
      " {a=\"x\"} 0.0166666666",
      PQT_FAILED, "expected info not found" },
    { "eval instant at 2m rate(m{a=\"x\"}[3m])\n expect warn\n {a=\"x\"} 0.0166666666", PQT_FAILED,
      "expected warning not found" },
    { "eval_warn instant at 0 m{a=\"x\"}\n m{a=\"x\"} 1", PQT_FAILED, "expected warnings" },
    { "eval_info instant at 0 m{a=\"x\"}\n m{a=\"x\"} 1", PQT_FAILED, "expected infos" },
    { "eval instant at 0 quantile(2, m{a=\"x\"})\n expect no_warn\n {} Inf", PQT_FAILED,
      "unexpected warning" },
    { "eval instant at 0 quantile(2, m{a=\"x\"})\n expect warn\n {} Inf", PQT_PASSED, "" },
    { "eval instant at 0 h\n h {{}}", PQT_SKIPPED, "" },
    { "eval instant at 0 m{a=\"x\"}\n m{a=\"x\"} {{schema:1}}x3", PQT_FAILED, "" },
    { "eval instant at 1m h\n h 5", PQT_SKIPPED, "" },
    { "eval instant at 1m {__name__=~\".+\",a=\"\"}", PQT_SKIPPED, "" },
    { "eval instant at 1m st\n st 2", PQT_SKIPPED, "" },
};

static enum pqt_outcome run_last(const struct pqt_script *script, struct err *err) {
    struct pqt_store store;
    enum pqt_skip skip = PQT_SKIP_NONE;
    const struct pqt_command *last = &script->commands[script->count - 1];
    assert_true(script->commands[0].kind == PQT_LOAD);
    assert_true(last->kind == PQT_EVAL);
    if (!pqt_store_open(&store, err) || !pqt_store_load(&store, &script->commands[0].load, err)) {
        fail_msg("%s", err->msg);
    }
    enum pqt_outcome outcome = pqt_eval_run(&last->eval, &store, &skip, err);
    assert_true((skip != PQT_SKIP_NONE) == (outcome == PQT_SKIPPED));
    pqt_store_close(&store);
    return outcome;
}

static void check_script(const struct script_case *one) {
    struct pqt_script script;
    struct err err = ERR_INIT;
    char text[2000];
    snprintf(text, sizeof(text), "%s%s\n", LOAD, one->text);
    enum pqt_outcome outcome = PQT_FAILED;
    if (pqt_script_parse(str_from(text), &script, &err)) {
        outcome = run_last(&script, &err);
        pqt_script_finish(&script);
    }
    if (outcome != one->outcome || strstr(err.msg, one->reason) == NULL) {
        fail_msg("%s: outcome %d, %s", one->text, (int)outcome, err.msg);
    }
}

static void outcomes(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        check_script(&scripts[i]);
    }
}

static void refused_scripts(void **state) {
    static const char *const texts[] = {
        "lode 1m\n m 1",
        "load\n m 1",
        "load x\n m 1",
        "load_with 1m\n m 1",
        "load 1m\n m{a} 1",
        "load 1m\n m{a=b} 1",
        "load 1m\n m{a=\"b\" 1",
        "load 1m\n m 1+2",
        "load 1m\n m 1x",
        "load 1m\n m _1",
        "load 1m\n m old",
        "load 1m\n m {{count:1",
        "load 1m\n m@st 1m",
        "eval instant 1 + 1",
        "eval instant at x 1",
        "eval sometimes at 0 1",
        "eval_never instant at 0 1",
        "eval range from 0 to 1m 1",
        "eval instant at 0 1\n expect nothing",
        "eval instant at 0 1\n expect fail text:x",
        "eval instant at 0 1\n expect fail regex:(",
        "eval instant at 0 \"a\"\n expect string a",
        "eval instant at 0 m\n m 1 2",
        "eval instant at 0 m\n m",
        "eval instant at 0 m[1m]\n expect range vector from 0 to 1m\n m 1",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct pqt_script script;
        struct err err = ERR_INIT;
        if (pqt_script_parse(str_from(texts[i]), &script, &err)) {
            fail_msg("%s: accepted", texts[i]);
        }
        assert_non_null(strstr(err.msg, "line "));
    }
}

/* ---- series ---- */

static void print_values(const struct pqt_series *series, char *out, size_t bytes) {
    size_t len = 0;
    for (size_t i = 0; i < series->count && len < bytes; i++) {
        const struct pqt_value *value = &series->values[i];
        const char *space = i == 0 ? "" : " ";
        if (value->kind == PQT_OMITTED) {
            len += (size_t)snprintf(out + len, bytes - len, "%s_", space);
        } else if (value->kind == PQT_HISTOGRAM) {
            len += (size_t)snprintf(out + len, bytes - len, "%sH", space);
        } else if (is_stale(value->number)) {
            len += (size_t)snprintf(out + len, bytes - len, "%sS", space);
        } else {
            len += (size_t)snprintf(out + len, bytes - len, "%s%g", space, value->number);
        }
    }
    out[len] = '\0';
}

static void series_notation(void **state) {
    static const struct {
        const char *text;
        const char *labels;
        const char *values;
    } cases[] = {
        { "m", "m", "" },
        { "m 1", "m", "1" },
        { "m  1\t-2 +3", "m", "1 -2 3" },
        { "m 1x3", "m", "1 1 1 1" },
        { "m 1+2x3", "m", "1 3 5 7" },
        { "m 1-2x2", "m", "1 -1 -3" },
        { "m -1-1x1", "m", "-1 -2" },
        { "m 0.5+0.25x2", "m", "0.5 0.75 1" },
        { "m 1e3+1e2x1", "m", "1000 1100" },
        { "m 0x3", "m", "0 0 0 0" },
        { "m _ _x2 1", "m", "_ _ _ 1" },
        { "m stale stalex1 1", "m", "S S S 1" },
        { "m Inf -Inf +inf NaN", "m", "inf -inf inf nan" },
        { "m {{}} {{schema:1 buckets:[1 2]}}x1 {{}}+{{}}x1", "m", "H H H H H" },
        { "m{} 1", "m", "1" },
        { "m{a=\"b\", c='d',} 1", "m{a=\"b\",c=\"d\"}", "1" },
        { "{a=\"b\"} 1", "{a=\"b\"}", "1" },
        { "{} 1", "{}", "1" },
        { "{\"x y\",\"l.m\"=\"v\"} 1", "{\"x y\",\"l.m\"=\"v\"}", "1" },
        { "sum{by=\"x\"} 1", "sum{by=\"x\"}", "1" },
        { "a:b 1", "a:b", "1" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        struct pqt_series series;
        struct err err = ERR_INIT;
        struct buf labels;
        char values[1000];
        arena_init(&arena, SIZE_MAX);
        buf_init(&labels, 1000);
        if (!pqt_series_parse(str_from(cases[i].text), &arena, &series, &err)) {
            fail_msg("%s: %s", cases[i].text, err.msg);
        }
        labels_print(series.labels, &labels);
        print_values(&series, values, sizeof(values));
        if (!str_eq_c(buf_as_str(&labels), cases[i].labels) ||
            strcmp(values, cases[i].values) != 0) {
            fail_msg("%s: %.*s %s", cases[i].text, STR_FMT(buf_as_str(&labels)), values);
        }
        buf_finish(&labels);
        arena_finish(&arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes),
        cmocka_unit_test(refused_scripts),
        cmocka_unit_test(series_notation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
