/*
 * Goal: a query that wants too much is refused by name, one nobody waits for stops. Method:
 * upstream's own table of how many samples each query holds at its peak, run at the limit and one
 * below; budgets, deadlines and cancel flags that have already struck.
 */

#include "tests/promql/eval_fixture.h"
#include "tests/unit.h"

static bool run(const struct fixture *fixture,
                const struct fixture_query *query,
                struct promql_result *ret,
                struct err *err) {
    struct promql_query options = query->options;
    struct arena arena;
    struct promql_expr *expr;
    options.db = fixture->store.db;
    options.features.experimental_functions = true;
    options.start_ms = query->start_ms;
    options.end_ms = query->step_ms > 0 ? query->end_ms : query->start_ms;
    options.step_ms = query->step_ms;
    arena_init(&arena, query->bytes_max == 0 ? SIZE_MAX : query->bytes_max);
    struct arena parse_arena;
    arena_init(&parse_arena, SIZE_MAX);
    assert_true(
        promql_parse(str_from(query->text), &options.features, &parse_arena, &expr, NULL, err));
    bool is_ok = promql_eval(&options, expr, &arena, ret, err);
    promql_expr_finish(expr);
    arena_finish(&parse_arena);
    arena_finish(&arena);
    return is_ok;
}

static const char load[] = "load 10s\n"
                           " metric 1+1x100\n"
                           " bigmetric{a=\"1\"} 1+1x100\n"
                           " bigmetric{a=\"2\"} 1+1x100\n";

static void samples_at_the_limit(void **state) {
    (void)state;

    static const struct {
        const char *text;
        uint64_t samples;
        int64_t start_s;
        int64_t end_s;
        int64_t step_s;
    } cases[] = {
        { "1", 1, 1, 0, 0 },
        { "metric", 1, 1, 0, 0 },
        { "metric[20s]", 2, 10, 0, 0 },
        { "rate(metric[20s])", 3, 10, 0, 0 },
        { "metric[20s:5s]", 3, 10, 0, 0 },
        { "metric[20s] @ 10", 2, 0, 0, 0 },
        { "1", 3, 0, 2, 1 },
        { "metric", 3, 0, 2, 1 },
        { "metric", 3, 0, 10, 5 },
        { "rate(bigmetric[1s])", 1, 0, 10, 5 },
        { "metric @ 10", 3, 0, 10, 5 },
        { "rate(bigmetric[10s:1s] @ 10)", 32, 0, 10, 5 },
        { "rate(bigmetric[10s:1s] @ 10) + rate(bigmetric[10s:1s] @ 30)", 34, 0, 10, 5 },
        { "rate(bigmetric[10s:1s]) + rate(bigmetric[10s:1s] @ 30)", 56, 10, 20, 5 },
        { "rate(rate(bigmetric[10:1s] @ 10)[100s:25s] @ 1000)[100s:20s] @ 2000", 32, 10, 0, 0 },
        { "rate(rate(bigmetric[10s:1s] @ 10)[100s:25s] @ 1000)[17s:1s] @ 2000", 34, 10, 0, 0 },
    };
    struct fixture fixture;
    fixture_open(&fixture, load);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture_query query = {
            .text = cases[i].text,
            .start_ms = cases[i].start_s * 1000,
            .end_ms = cases[i].end_s * 1000,
            .step_ms = cases[i].step_s * 1000,
        };
        struct promql_result result;
        struct err err = ERR_INIT;
        query.options.samples_max = cases[i].samples;
        if (!run(&fixture, &query, &result, &err)) {
            fail_msg("%s with %u: %s", cases[i].text, (unsigned)cases[i].samples, err.msg);
        }
        if (result.samples_peak != cases[i].samples) {
            fail_msg("%s: peak %u, expected %u", cases[i].text, (unsigned)result.samples_peak,
                     (unsigned)cases[i].samples);
        }
        if (cases[i].samples == 1) {
            continue; /* 0 asks for the default */
        }
        query.options.samples_max = cases[i].samples - 1;
        assert_false(run(&fixture, &query, &result, &err));
        assert_int_equal(err.code, ERR_LIMIT);
        assert_string_equal(
            err.msg, "query processing would load too many samples into memory in query execution");
    }
    fixture_close(&fixture);
}

/* Every evaluator path must notice that the arena's budget is gone, and free what it holds. */
static void memory_budget(void **state) {
    (void)state;
    static const char *const texts[] = {
        "bigmetric",
        "rate(bigmetric[1m])",
        "sum by (a) (bigmetric)",
        "topk(1, bigmetric)",
        "quantile(0.5, bigmetric)",
        "count_values(\"v\", bigmetric)",
        "bigmetric + bigmetric",
        "bigmetric and bigmetric",
        "bigmetric or metric",
        "bigmetric * 2",
        "-bigmetric",
        "abs(bigmetric)",
        "label_replace(bigmetric, \"x\", \"$1\", \"a\", \"(.*)\")",
        "sum_over_time(bigmetric[1m:1s])",
        "scalar(bigmetric)",
        "absent(bigmetric)",
        "absent_over_time(bigmetric[1m])",
        "histogram_quantile(0.5, bigmetric)",
        "time()",
        "vector(1)",
        "metric @ 10",
        "sort(bigmetric)",
        "timestamp(metric)",
        "hour()",
        "1 + 1",
    };
    struct fixture fixture;
    fixture_open(&fixture, load);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t failures = 0;
        for (size_t bytes = 1; bytes <= (1 << 20); bytes *= 2) {
            struct fixture_query query = {
                .text = texts[i], .end_ms = 900000, .step_ms = 1000, .bytes_max = bytes
            };
            struct promql_result result;
            struct err err = ERR_INIT;
            if (!run(&fixture, &query, &result, &err)) {
                assert_int_equal(err.code, ERR_LIMIT);
                failures++;
            }
        }
        if (failures < 8) {
            fail_msg("%s failed only %zu times", texts[i], failures);
        }
    }
    fixture_close(&fixture);
}

static void too_many_steps(void **state) {
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, load);
    static const char *const texts[] = { "1", "count_over_time(metric[10000d:1ms])" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct fixture_query query = { .text = texts[i],
                                       .end_ms = INT64_C(1) << 50,
                                       .step_ms = i == 0 ? 1 : INT64_C(1) << 50 };
        struct promql_result result;
        struct err err = ERR_INIT;
        assert_false(run(&fixture, &query, &result, &err));
        assert_int_equal(err.code, ERR_LIMIT);
    }
    fixture_close(&fixture);
}

/* As deep and as high as the parser lets through. */
static void deep_expressions(void **state) {
    (void)state;

    static const struct {
        const char *before;
        const char *middle;
        const char *after;
        size_t count;
    } cases[] = {
        { "", "metric", " + metric", 1000 }, { "", "metric", " or metric", 1000 },
        { "", "metric", " * 2", 1000 },      { "-", "metric", "", 250 },
        { "abs(", "metric", ")", 250 },      { "sum(", "metric", ")", 250 },
        { "sort(", "metric", ")", 250 },     { "max_over_time(", "metric", "[20s:10s])", 120 },
    };
    struct fixture fixture;
    fixture_open(&fixture, load);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf text;
        buf_init(&text, 1 << 16);
        for (size_t k = 0; k < cases[i].count; k++) {
            buf_cstr(&text, cases[i].before);
        }
        buf_cstr(&text, cases[i].middle);
        for (size_t k = 0; k < cases[i].count; k++) {
            buf_cstr(&text, cases[i].after);
        }
        struct fixture_query query = { .text = text.ptr, .start_ms = 10000 };
        struct promql_result result;
        struct err err = ERR_INIT;
        if (!run(&fixture, &query, &result, &err)) {
            fail_msg("%s…: %s", cases[i].before, err.msg);
        }
        assert_int_equal(result.series_count, 1);
        buf_finish(&text);
    }
    fixture_close(&fixture);
}

static void far_times(void **state) {
    (void)state;
    static const char *const texts[] = {
        "metric",
        "metric offset 100y",
        "metric offset -100y",
        "metric @ 1e15",
        "metric @ -1e15",
        "rate(metric[100y])",
        "timestamp(metric)",
        "max_over_time(metric[100y:50y] offset 100y)",
        "max_over_time(max_over_time(metric[100y:50y])[100y:50y])[100y:50y]",
        "year()",
        "info(metric)",
    };
    static const int64_t times[] = {
        INT64_MIN, INT64_MIN + 1, -INT64_MAX / 4 - 1, -INT64_MAX / 4, -1,
        0,         INT64_MAX / 4, INT64_MAX / 4 + 1,  INT64_MAX,
    };
    struct fixture fixture;
    fixture_open(&fixture, load);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        for (size_t k = 0; k < ARRAY_LEN(times); k++) {
            struct fixture_query query = { .text = texts[i], .start_ms = times[k] };
            struct promql_result result;
            struct err err = ERR_INIT;
            if (!run(&fixture, &query, &result, &err)) {
                assert_int_equal(err.code, ERR_INVALID);
                assert_true(times[k] > INT64_MAX / 4 || times[k] < -INT64_MAX / 4);
            }
        }
    }
    fixture_close(&fixture);
}

static void time_is_up(void **state) {
    (void)state;
    struct fixture fixture;
    struct fake_clock clock;
    fixture_open(&fixture, load);
    fake_clock_init(&clock, 1000000);
    fake_clock_advance(&clock, 5000);
    struct fixture_query query = { .text = "sum(rate(bigmetric[1m]))",
                                   .end_ms = 900000,
                                   .step_ms = 1000 };
    query.options.clock = &clock.clock;
    struct promql_result result;
    struct err err = ERR_INIT;
    query.options.deadline_mono_ns = clock_mono_ns(&clock.clock) + 1;
    assert_true(run(&fixture, &query, &result, &err));
    query.options.deadline_mono_ns = clock_mono_ns(&clock.clock);
    assert_false(run(&fixture, &query, &result, &err));
    assert_int_equal(err.code, ERR_TIMEOUT);
    assert_string_equal(err.msg, "query timed out in expression evaluation");
    fixture_close(&fixture);
}

static void nobody_waits(void **state) {
    (void)state;
    struct fixture fixture;
    fixture_open(&fixture, load);
    _Atomic bool is_canceled = true;
    struct fixture_query query = { .text = "metric" };
    query.options.is_canceled = &is_canceled;
    struct promql_result result;
    struct err err = ERR_INIT;
    assert_false(run(&fixture, &query, &result, &err));
    assert_int_equal(err.code, ERR_CANCELED);
    assert_string_equal(err.msg, "query was canceled in expression evaluation");
    is_canceled = false;
    assert_true(run(&fixture, &query, &result, &err));
    fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_at_the_limit),
        cmocka_unit_test(memory_budget),
        cmocka_unit_test(too_many_steps),
        cmocka_unit_test(time_is_up),
        cmocka_unit_test(nobody_waits),
        cmocka_unit_test(deep_expressions),
        cmocka_unit_test(far_times),
    };
    return cmocka_run_group_tests_name("promql/eval_limits", tests, NULL, NULL);
}
