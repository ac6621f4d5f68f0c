/*
 * Goal: what a caller gets has the promised shape and order, and selectors see the samples they
 * should. Method: small stores, queries, results as text.
 */

#include "tests/promql/eval_fixture.h"
#include "tests/unit.h"

static void shapes(void **state) {
    (void)state;
    static const struct fixture_case cases[] = {
        { "1 + 2", 5000, 0, 0, "{} 3@5000" },
        { "1 + 2", 0, 60000, 30000, "{} 3@0 3@30000 3@60000" },
        { "\"text\"", 0, 0, 0, "text" },
        { "m", 60000, 0, 0, "m{i=\"0\"} 2@60000\nm{i=\"1\"} 20@60000" },
        { "m", 0, 60000, 60000, "m{i=\"0\"} 1@0 2@60000\nm{i=\"1\"} 10@0 20@60000" },
        { "m[2m]", 60000, 0, 0, "m{i=\"0\"} 1@0 2@60000\nm{i=\"1\"} 10@0 20@60000" },
        { "m{i=\"0\"}[1m:30s]", 60000, 0, 0, "m{i=\"0\"} 1@30000 2@60000" },
        { "nothing", 0, 0, 0, "" },
        { "nothing", 0, 60000, 60000, "" },
        { "m[2m]", 0, 60000, 60000,
          "error: invalid expression type \"range vector\" for range query, must be Scalar or "
          "instant Vector" },
        { "\"text\"", 0, 60000, 60000,
          "error: invalid expression type \"string\" for range query, must be Scalar or instant "
          "Vector" },
        /* the end need not be a step */
        { "time()", 0, 50000, 30000, "{} 0@0 30@30000" },
        { "time()", 1000, 0, 30000, "" },
    };
    struct fixture fixture;
    fixture_open(&fixture, "load 1m\n m{i=\"0\"} 1 2 3\n m{i=\"1\"} 10 20 30\n");
    fixture_check(&fixture, NULL, cases, ARRAY_LEN(cases));
    fixture_close(&fixture);
}

static void order(void **state) {
    (void)state;
    static const struct fixture_case cases[] = {
        { "sort(m)", 0, 0, 0, "m{i=\"b\"} 1@0\nm{i=\"c\"} 2@0\nm{i=\"a\"} 3@0\nm{i=\"d\"} NaN@0" },
        { "sort_desc(m)", 0, 0, 0,
          "m{i=\"a\"} 3@0\nm{i=\"c\"} 2@0\nm{i=\"b\"} 1@0\nm{i=\"d\"} NaN@0" },
        { "topk(2, m)", 0, 0, 0, "m{i=\"a\"} 3@0\nm{i=\"c\"} 2@0" },
        { "bottomk(2, m)", 0, 0, 0, "m{i=\"b\"} 1@0\nm{i=\"c\"} 2@0" },
        { "topk(9, m)", 0, 0, 0,
          "m{i=\"a\"} 3@0\nm{i=\"c\"} 2@0\nm{i=\"b\"} 1@0\nm{i=\"d\"} NaN@0" },
        { "sort_by_label(n, \"v\")", 0, 0, 0,
          "n{v=\"x2\"} 1@0\nn{v=\"x10\"} 1@0\nn{v=\"x10a\"} 1@0" },
        { "sort_by_label_desc(n, \"v\")", 0, 0, 0,
          "n{v=\"x10a\"} 1@0\nn{v=\"x10\"} 1@0\nn{v=\"x2\"} 1@0" },
        { "topk(1, m)", 0, 60000, 60000, "m{i=\"a\"} 3@0\nm{i=\"b\"} 9@60000" },
    };
    struct fixture fixture;
    fixture_open(&fixture,
                 "load 1m\n"
                 " m{i=\"a\"} 3 3\n m{i=\"b\"} 1 9\n m{i=\"c\"} 2 2\n m{i=\"d\"} NaN NaN\n"
                 " n{v=\"x10\"} 1\n n{v=\"x2\"} 1\n n{v=\"x10a\"} 1\n");
    fixture_check(&fixture, NULL, cases, ARRAY_LEN(cases));
    fixture_close(&fixture);
}

static void lookback(void **state) {
    (void)state;
    static const struct fixture_case cases[] = {
        /* (t - 5m, t] */
        { "m", -1, 0, 0, "" },
        { "m", 0, 0, 0, "m 7@0" },
        { "m", 299999, 0, 0, "m 7@299999" },
        { "m", 300000, 0, 0, "" },
        { "m offset 5m", 300000, 0, 0, "m 7@300000" },
        { "m offset -1m", -60000, 0, 0, "m 7@-60000" },
        { "m @ 0", 9000000, 0, 0, "m 7@9000000" },
        { "m @ end()", -60000, 0, 60000, "m 7@-60000 7@0" },
        { "m @ start()", 0, 600000, 300000, "m 7@0 7@300000 7@600000" },
        { "timestamp(m)", 200000, 0, 0, "{} 0@200000" },
        { "timestamp(abs(m))", 200000, 0, 0, "{} 200@200000" },
        /* a range is open on the left */
        { "count_over_time(m[1m])", 60000, 0, 0, "" },
        { "count_over_time(m[1m])", 59999, 0, 0, "{} 1@59999" },
        /* a stale marker hides what came before, and a range leaves it out */
        { "gone", 60000, 0, 0, "" },
        { "gone", 59999, 0, 0, "gone 1@59999" },
        { "count_over_time(gone[5m])", 120000, 0, 0, "{} 2@120000" },
    };
    struct fixture fixture;
    fixture_open(&fixture, "load 1m\n m 7\n gone 1 stale 3\n");
    fixture_check(&fixture, NULL, cases, ARRAY_LEN(cases));
    struct promql_query short_lookback = { .lookback_ms = 1000 };
    static const struct fixture_case short_cases[] = {
        { "m", 999, 0, 0, "m 7@999" },
        { "m", 1000, 0, 0, "" },
    };
    fixture_check(&fixture, &short_lookback, short_cases, ARRAY_LEN(short_cases));
    fixture_close(&fixture);
}

static void subqueries(void **state) {
    (void)state;
    static const struct fixture_case cases[] = {
        /* steps are multiples of the resolution, whenever the query runs */
        { "m[1m:20s]", 70000, 0, 0, "m 0@20000 0@40000 1@60000" },
        { "m[1m:20s]", 80000, 0, 0, "m 0@40000 1@60000 1@80000" },
        { "m[1m:]", 119999, 0, 0, "m 1@60000" },
        { "m[2m:1m] offset 1m", 180000, 0, 0, "m 1@60000 2@120000" },
        { "m[2m:1m] @ 120", 0, 0, 0, "m 1@60000 2@120000" },
        { "sum_over_time(m[2m:1m])", 120000, 240000, 60000, "{} 3@120000 5@180000 7@240000" },
        { "max_over_time(sum_over_time(m[2m:1m])[2m:1m])", 240000, 0, 0, "{} 7@240000" },
        { "m[1m:1m]", -60000, 0, 0, "" },
        { "m[1m:20s]", -1, 0, 0, "" },
    };
    struct fixture fixture;
    fixture_open(&fixture, "load 1m\n m 0+1x10\n");
    fixture_check(&fixture, NULL, cases, ARRAY_LEN(cases));
    struct promql_query other_step = { .subquery_step_ms = 30000 };
    static const struct fixture_case step_cases[] = {
        { "m[1m:]", 60000, 0, 0, "m 0@30000 1@60000" },
    };
    fixture_check(&fixture, &other_step, step_cases, ARRAY_LEN(step_cases));
    fixture_close(&fixture);
}

/* An open batch of the caller is seen by its own query and by no other. */
static void overlay(void **state) {
    (void)state;
    struct fixture fixture;
    struct err err = ERR_INIT;
    fixture_open(&fixture, "load 1m\n m 1\n");
    struct tsdb_batch *batch;
    series_ref_t ref;
    struct label name = { .name = METRIC_NAME, .value = STR("m") };
    assert_true(tsdb_batch_begin(fixture.store.db, TSDB_STATE, &batch, &err));
    assert_true(
        tsdb_series(fixture.store.db, (struct labels){ .items = &name, .count = 1 }, &ref, &err));
    tsdb_batch_append(batch, ref, 60000, 2);
    static const struct fixture_case seen[] = { { "m", 60000, 0, 0, "m 2@60000" } };
    static const struct fixture_case unseen[] = { { "m", 60000, 0, 0, "m 1@60000" } };
    struct promql_query with_overlay = { .overlay = batch };
    fixture_check(&fixture, &with_overlay, seen, 1);
    fixture_check(&fixture, NULL, unseen, 1);
    tsdb_batch_abandon(batch);
    fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),     cmocka_unit_test(order),   cmocka_unit_test(lookback),
        cmocka_unit_test(subqueries), cmocka_unit_test(overlay),
    };
    return cmocka_run_group_tests_name("promql/eval_results", tests, NULL, NULL);
}
