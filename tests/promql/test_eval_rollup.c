/*
 * Goal: queries give the same whether they are answered from samples or from rollups, and something
 * sensible, with an info, when only rollups are left. Method: two stores with the same random
 * samples, one of them with rollups built; the same queries over both, values compared to a few
 * units in the last place. The seed is printed.
 */
#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "promql/promql.h"
#include "tests/tsdb/fixture.h"

#define DAY_MS     (24 * HOUR_MS)
#define SERIES_MAX 8
#define SPAN_MS    (4 * DAY_MS)

struct rig {
    struct fixture raw;
    struct fixture rolled;
    uint64_t seed;
};

static uint64_t next_random(struct rig *rig) {
    rig->seed = rig->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return rig->seed >> 33;
}

static double make_value(struct rig *rig, int series, double before) {
    uint64_t dice = next_random(rig) % 1000;
    if (dice < 4) {
        return double_from_bits(STALE_NAN_BITS);
    }
    if (series < 4) { /* counters that restart at times */
        double last = isnan(before) ? 0 : before;
        return dice < 10 ? (double)dice : last + (double)(dice % 100) / (series == 3 ? 7 : 1);
    }
    return series == 4 && dice < 50 ? double_from_bits(NORMAL_NAN_BITS) : ((double)dice - 500) / 8;
}

static void fill(struct rig *rig) {
    struct err err = ERR_INIT;
    for (int s = 0; s < SERIES_MAX; s++) {
        char job[4];
        snprintf(job, sizeof(job), "%d", s % 3);
        char id[4];
        snprintf(id, sizeof(id), "%d", s);
        const char *name = s < 4 ? "c_total" : "g";
        struct fixture *both[] = { &rig->raw, &rig->rolled };
        struct tsdb_batch *batches[2];
        series_ref_t refs[2];
        for (int i = 0; i < 2; i++) {
            refs[i] = make_series(both[i], name, PAIRS("id", id, "job", job));
            assert_true(tsdb_batch_begin(both[i]->db, TSDB_INGEST, &batches[i], &err));
        }
        double value = 0;
        int64_t gap_ms = s == 7 ? 17 * MINUTE_MS : 30 * 1000;
        for (int64_t t = FIXTURE_NOW_MS - SPAN_MS + s * 997; t < FIXTURE_NOW_MS; t += gap_ms) {
            value = make_value(rig, s, value);
            tsdb_batch_append(batches[0], refs[0], t, value);
            tsdb_batch_append(batches[1], refs[1], t, value);
        }
        assert_true(tsdb_commit_blocking(batches[0], NULL, &err));
        assert_true(tsdb_commit_blocking(batches[1], NULL, &err));
    }
}

static void maintain(struct fixture *f) {
    struct err err = ERR_INIT;
    for (int i = 0; i < 20; i++) {
        if (!tsdb_maintain_blocking(f->db, &err)) {
            fail_msg("tsdb_maintain_blocking: %s", err.msg);
        }
    }
}

static int setup(void **state) {
    struct rig *rig = test_calloc(1, sizeof(*rig));
    random_bytes(&rig->seed, sizeof(rig->seed));
    print_message("# seed %llu\n", (unsigned long long)rig->seed);
    fixture_init(&rig->raw);
    fixture_init(&rig->rolled);
    rig->rolled.options.rollups[0] = (struct tsdb_rollup){ .resolution_ms = 5 * MINUTE_MS };
    rig->rolled.options.rollups[1] = (struct tsdb_rollup){ .resolution_ms = HOUR_MS };
    rig->rolled.options.rollup_count = 2;
    fixture_open(&rig->raw);
    fixture_open(&rig->rolled);
    fill(rig);
    maintain(&rig->rolled);
    assert_true(tsdb_rolled_until_ms(rig->rolled.db) > FIXTURE_NOW_MS - 2 * DAY_MS);
    *state = rig;
    return 0;
}

static int teardown(void **state) {
    struct rig *rig = *state;
    fixture_finish(&rig->raw);
    fixture_finish(&rig->rolled);
    test_free(rig);
    return 0;
}

struct range {
    int64_t start_ms;
    int64_t end_ms;
    int64_t step_ms;
};

static struct promql_result query(struct fixture *f, const char *text, const struct range *range) {
    struct err err = ERR_INIT;
    struct promql_features features = { .experimental_functions = true };
    struct promql_expr *expr;
    struct promql_result result = { 0 };
    if (!promql_parse(str_from(text), &features, &f->arena, &expr, NULL, &err)) {
        fail_msg("%s: %s", text, err.msg);
    }
    struct promql_query query = {
        .db = f->db,
        .text = str_from(text),
        .start_ms = range->start_ms,
        .end_ms = range->end_ms,
        .step_ms = range->step_ms,
        .features = features,
    };
    if (!promql_eval(&query, expr, &f->arena, &result, &err)) {
        fail_msg("%s: %s", text, err.msg);
    }
    promql_expr_finish(expr);
    return result;
}

static bool is_close(double a, double b) {
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b)) ||
           fabs(a - b) < 1e-9;
}

static void compare(const char *text,
                    const struct promql_result *a,
                    const struct promql_result *b) {
    if (a->series_count != b->series_count) {
        fail_msg("%s: %zu series from samples, %zu from rollups", text, a->series_count,
                 b->series_count);
    }
    for (size_t s = 0; s < a->series_count; s++) {
        const struct promql_series *x = &a->series[s];
        const struct promql_series *y = &b->series[s];
        if (!labels_equal(x->labels, y->labels) || x->point_count != y->point_count) {
            fail_msg("%s: series %zu has %zu points from samples, %zu from rollups", text, s,
                     x->point_count, y->point_count);
        }
        for (size_t i = 0; i < x->point_count; i++) {
            if (x->points[i].t_ms != y->points[i].t_ms ||
                !is_close(x->points[i].value, y->points[i].value)) {
                fail_msg("%s: series %zu at %lld: %.17g from samples, %.17g from rollups", text, s,
                         (long long)x->points[i].t_ms, x->points[i].value, y->points[i].value);
            }
        }
    }
}

static const char *const functions[] = {
    "avg_over_time",
    "count_over_time",
    "delta",
    "first_over_time",
    "increase",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "sum_over_time",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "quantile_over_time",
    "changes",
    "irate",
};

static void check_both(struct rig *rig, const char *text, const struct range *range) {
    struct promql_result a = query(&rig->raw, text, range);
    struct promql_result b = query(&rig->rolled, text, range);
    compare(text, &a, &b);
    arena_reset(&rig->raw.arena);
    arena_reset(&rig->rolled.arena);
}

static void same_answers(void **state) {
    struct rig *rig = *state;
    static const char *const windows[] = { "5m", "15m", "1h", "3h", "7m", "90s", "1d" };
    static const int64_t steps[] = { 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, DAY_MS,
                                     7 * MINUTE_MS };
    for (int i = 0; i < 400; i++) {
        char text[160];
        const char *function = functions[next_random(rig) % ARRAY_LEN(functions)];
        const char *window = windows[next_random(rig) % ARRAY_LEN(windows)];
        const char *offset = next_random(rig) % 4 == 0 ? " offset 1h" : "";
        const char *name = next_random(rig) % 2 == 0 ? "c_total" : "g";
        if (next_random(rig) % 5 == 0) {
            snprintf(text, sizeof(text), "%s%s", name, offset);
        } else if (next_random(rig) % 3 == 0) {
            snprintf(text, sizeof(text), "sum by (job) (max_over_time(%s[%s]%s))", name, window,
                     offset);
        } else {
            snprintf(text, sizeof(text), "%s(%s%s[%s]%s)", function,
                     function[0] == 'q' ? "0.9, " : "", name, window, offset);
        }
        int64_t unit_ms = next_random(rig) % 3 == 0 ? 5 * MINUTE_MS : HOUR_MS;
        int64_t end_ms = FIXTURE_NOW_MS - (int64_t)(next_random(rig) % (2 * DAY_MS));
        if (next_random(rig) % 5 != 0) {
            end_ms = end_ms / unit_ms * unit_ms;
        }
        struct range range = {
            .start_ms = end_ms - (int64_t)(next_random(rig) % 24) * 2 * HOUR_MS,
            .end_ms = end_ms,
            .step_ms = steps[next_random(rig) % ARRAY_LEN(steps)],
        };
        check_both(rig, text, &range);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(same_answers, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
