/*
 * Goal: evaluating all steps at once gives what evaluating each step alone gives; that is what the
 * cursors, frames, prefix sums and deques of the columnar evaluator must not change. Method: random
 * series (gaps, stale markers, resets, NaN and infinities; shared and private timestamps), many
 * expressions; the range query's value at each step must be the instant query's, bit for bit.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/float.h"
#include "tests/promql/eval_fixture.h"
#include "tests/unit.h"

enum {
    SAMPLES = 90,
    STEP_MS = 17000,
    END_MS = 900000,
};

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void print_value(struct buf *out, uint64_t *random, bool is_counter, double *level) {
    uint64_t dice = next_random(random) % 100;
    if (dice < 4) {
        buf_cstr(out, " _");
    } else if (dice < 6) {
        buf_cstr(out, " stale");
    } else if (dice < 8 && !is_counter) {
        buf_cstr(out, dice == 6 ? " NaN" : " -Inf");
    } else {
        double step = (double)(next_random(random) % 1000) / (is_counter ? 1 : 7);
        *level = is_counter && dice > 10 ? *level + step : step;
        buf_putc(out, ' ');
        buf_float_general(out, *level);
    }
}

static void print_series(struct buf *out, const char *name, uint64_t *random, bool is_counter) {
    double level = 0;
    buf_printf(out, " %s", name);
    for (size_t i = 0; i < SAMPLES; i++) {
        print_value(out, random, is_counter, &level);
    }
    buf_putc(out, '\n');
}

static void open_random(struct fixture *fixture, uint64_t seed) {
    static const char *const names[] = {
        "c_total{job=\"a\",i=\"0\"}", "c_total{job=\"a\",i=\"1\"}", "c_total{job=\"b\",i=\"0\"}",
        "g{job=\"a\",i=\"0\"}",       "g{job=\"a\",i=\"1\"}",       "g{job=\"b\",i=\"0\"}",
        "b_bucket{le=\"1\"}",         "b_bucket{le=\"5\"}",         "b_bucket{le=\"+Inf\"}",
    };
    uint64_t random = seed;
    struct buf load;
    buf_init(&load, 1 << 20);
    buf_cstr(&load, "load 10s\n");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        print_series(&load, names[i], &random, names[i][0] != 'g');
    }
    fixture_open(fixture, load.ptr);
    buf_finish(&load);
}

static const char *const texts[] = {
    "g",
    "g offset 30s",
    "rate(c_total[1m])",
    "rate(c_total[3s])",
    "increase(c_total[45s])",
    "delta(g[1m])",
    "irate(c_total[1m])",
    "idelta(g[1m])",
    "rate(c_total[1m] anchored)",
    "increase(c_total[1m] smoothed)",
    "changes(g[2m] anchored)",
    "resets(c_total[2m])",
    "changes(g[2m])",
    "sum_over_time(c_total[2m])",
    "avg_over_time(c_total[2m])",
    "sum_over_time(g[2m])",
    "avg_over_time(g[2m])",
    "min_over_time(g[1m])",
    "max_over_time(g[1m])",
    "max_over_time(g[5s])",
    "count_over_time(g[1m])",
    "stddev_over_time(g[1m])",
    "quantile_over_time(0.3, g[1m])",
    "mad_over_time(g[1m])",
    "last_over_time(g[1m])",
    "first_over_time(g[1m])",
    "ts_of_max_over_time(g[1m])",
    "deriv(g[1m])",
    "predict_linear(g[1m], 60)",
    "absent_over_time(g[5s])",
    "present_over_time(g[5s])",
    "max_over_time(rate(c_total[1m])[2m:30s])",
    "sum(g)",
    "avg(g)",
    "sum by (job) (rate(c_total[1m]))",
    "min without (i) (g)",
    "max by (i) (g)",
    "count(g)",
    "stddev(g)",
    "quantile(0.4, g)",
    "topk(2, c_total)",
    "bottomk by (job) (1, c_total)",
    "limitk(2, c_total)",
    "count_values(\"v\", g > 100)",
    "g + on (job, i) c_total",
    "c_total / on (job) group_left sum by (job) (c_total)",
    "g > bool on (job, i) c_total",
    "g and on (job, i) c_total > 300",
    "g or on (i) c_total",
    "g unless on (job) c_total > 300",
    "g * on (job, i) fill_right(2) (c_total > 300)",
    "histogram_quantile(0.9, rate(b_bucket[1m]))",
    "histogram_fraction(0, 2, b_bucket)",
    "abs(-g % 7)",
    "clamp(g, 3, 50)",
    "scalar(sum(g))",
    "absent(g > 1e9)",
    "timestamp(g)",
    "label_join(g, \"x\", \"-\", \"job\", \"i\")",
    "minute(vector(time()))",
};

/* Print the value each series has at one time, as "{labels} value" lines sorted by labels. */
static void print_at(const struct promql_result *result, int64_t t_ms, struct buf *out) {
    for (size_t i = 0; i < result->series_count; i++) {
        const struct promql_series *series = &result->series[i];
        for (size_t k = 0; k < series->point_count; k++) {
            if (series->points[k].t_ms == t_ms) {
                labels_print(series->labels, out);
                uint64_t bits = double_bits(series->points[k].value);
                bool is_nan = series->points[k].value != series->points[k].value;
                buf_printf(out, " %llx\n", is_nan ? 0 : (unsigned long long)bits);
            }
        }
    }
}

static int compare_series(const void *a, const void *b) {
    return labels_cmp(((const struct promql_series *)a)->labels,
                      ((const struct promql_series *)b)->labels);
}

static void run(const struct fixture *fixture,
                const char *text,
                int64_t start_ms,
                int64_t end_ms,
                int64_t step_ms,
                struct arena *arena,
                struct promql_result *ret) {
    struct err err = ERR_INIT;
    struct promql_expr *expr;
    struct promql_query query = {
        .db = fixture->store.db,
        .start_ms = start_ms,
        .end_ms = end_ms,
        .step_ms = step_ms,
        .features = { .experimental_functions = true,
                      .extended_range_selectors = true,
                      .binop_fill_modifiers = true },
    };
    if (!promql_parse(str_from(text), &query.features, arena, &expr, NULL, &err) ||
        !promql_eval(&query, expr, arena, ret, &err)) {
        fail_msg("%s: %s", text, err.msg);
    }
    if (ret->series_count > 1) {
        qsort(ret->series, ret->series_count, sizeof(ret->series[0]), compare_series);
    }
    promql_expr_finish(expr);
}

static void check_text(const struct fixture *fixture, const char *text, uint64_t seed) {
    struct arena arena;
    struct promql_result range;
    struct buf all;
    struct buf one;
    arena_init(&arena, SIZE_MAX);
    buf_init(&all, 1 << 16);
    buf_init(&one, 1 << 16);
    run(fixture, text, 0, END_MS, STEP_MS, &arena, &range);
    for (int64_t t_ms = 0; t_ms <= END_MS; t_ms += STEP_MS) {
        struct promql_result instant;
        run(fixture, text, t_ms, t_ms, 0, &arena, &instant);
        buf_reset(&all);
        buf_reset(&one);
        print_at(&range, t_ms, &all);
        print_at(&instant, t_ms, &one);
        if (!str_eq(buf_as_str(&all), buf_as_str(&one))) {
            fail_msg("seed %llu: %s at %lld\nrange:\n%.*sinstant:\n%.*s", (unsigned long long)seed,
                     text, (long long)t_ms, STR_FMT(buf_as_str(&all)), STR_FMT(buf_as_str(&one)));
        }
    }
    buf_finish(&all);
    buf_finish(&one);
    arena_finish(&arena);
}

static void each_step_is_an_instant_query(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct fixture fixture;
        open_random(&fixture, seed * UINT64_C(0x9e3779b97f4a7c15));
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
            check_text(&fixture, texts[i], seed);
        }
        fixture_close(&fixture);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_step_is_an_instant_query),
    };
    return cmocka_run_group_tests_name("promql/eval_steps", tests, NULL, NULL);
}
