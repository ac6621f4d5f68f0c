/*
 * Goal: long expressions are laid out as promtool and Prometheus' UI do it. Method: a table of
 * expressions and their pretty form, from just under the 100 bytes of a line on.
 */
#include "tests/promql/parse_cases.h"

static const struct good_case cases[] = {
    /* clang-format off: shows the layout */
    { "foo + bar", "foo + bar" },
    { "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"} + "
      "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}",
      "  http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      "+\n"
      "  http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}" },
    { "sum by (job, instance) "
      "(rate(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}[5m])) "
      "/ on (job) group_left (instance) "
      "sum(rate(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}[5m]"
      "))",
      "  sum by (job, instance) (\n"
      "    "
      "rate(http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}[5m])\n"
      "  )\n"
      "/ on (job) group_left (instance)\n"
      "  "
      "sum(rate(http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}[5m]"
      "))" },
    { "sum(rate(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}[5m]"
      ")) by (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)",
      "sum by (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p) (\n"
      "  "
      "rate(http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}[5m])\n"
      ")" },
    { "topk(10, http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"} > "
      "bool 100 and "
      "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"})",
      "topk(\n"
      "  10,\n"
      "    http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"} > bool "
      "100\n"
      "  and\n"
      "    http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      ")" },
    { "histogram_quantile(0.99, sum by (le, job) "
      "(rate(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}[5m] "
      "offset 1h @ 1234.5)))",
      "histogram_quantile(\n"
      "  0.99,\n"
      "  sum by (le, job) (\n"
      "    "
      "rate(http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}[5m] @ "
      "1234.500 offset 1h)\n"
      "  )\n"
      ")" },
    { "label_replace(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\""
      "}, \"destination_label_with_a_long_name\", \"$1-$2\", \"source_label\", \"(.*):(.*)\")",
      "label_replace(\n"
      "  http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"},\n"
      "  \"destination_label_with_a_long_name\",\n"
      "  \"$1-$2\",\n"
      "  \"source_label\",\n"
      "  \"(.*):(.*)\"\n"
      ")" },
    { "-(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"} + "
      "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"})",
      "-(\n"
      "    http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      "  +\n"
      "    http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      ")" },
    { "-sum(rate(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}[5m"
      "]) + "
      "rate(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}[10m]))",
      "-sum(\n"
      "    "
      "rate(http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}[5m])\n"
      "  +\n"
      "    "
      "rate(http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}[10m])\n"
      ")" },
    { "((http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"} or "
      "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}))",
      "(\n"
      "  (\n"
      "      http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      "    or\n"
      "      http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      "  )\n"
      ")" },
    { "max_over_time(sum(rate(http_requests_total{job=\"api-server\",instance=\"0\",group=\"pro"
      "duction\"}[5m]) + "
      "rate(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}[1m]))[1"
      "h:5m] offset 1d)",
      "max_over_time(\n"
      "  sum(\n"
      "      "
      "rate(http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}[5m])\n"
      "    +\n"
      "      "
      "rate(http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}[1m])\n"
      "  )[1h:5m] offset 1d\n"
      ")" },
    { "min_over_time(sum(http_requests_total{job=\"api-server\",instance=\"0\",group=\"producti"
      "on\"})[30m:1m] @ start() offset 5m) + max_over_time(foo[5m:]) + 1 ^ 2",
      "    min_over_time(\n"
      "      "
      "sum(http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"})[30m:1m]"
      " @ start() offset 5m\n"
      "    )\n"
      "  +\n"
      "    max_over_time(foo[5m:])\n"
      "+\n"
      "  1 ^ 2" },
    { "count_values without (instance) (\"value\", "
      "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}) unless "
      "ignoring (value) "
      "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}",
      "  count_values without (instance) (\n"
      "    \"value\",\n"
      "    http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      "  )\n"
      "unless ignoring (value)\n"
      "  http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}" },
    { "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"} == bool "
      "ignoring (group) fill_left (1) fill_right (2) "
      "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}",
      "  http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      "== bool ignoring (group) fill_left (1) fill_right (2)\n"
      "  http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}" },
    { "a + b + c + http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"} "
      "+ http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}",
      "  a + b + c + "
      "http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      "+\n"
      "  http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}" },
    { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaa",
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaa" },
    { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaa",
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaa" },
    { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + "
      "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + "
      "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" },
    { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + "
      "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
      "  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
      "+\n"
      "  bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb" },
    { "vector(1) + vector(11111) * "
      "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"} atan2 "
      "http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}",
      "  vector(1)\n"
      "+\n"
      "    vector(11111) * "
      "http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}\n"
      "  atan2\n"
      "    http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}" },
    { "clamp(http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}, "
      "-Inf, 1e21)   # a comment\n"
      " / http_requests_total{job=\"api-server\",instance=\"0\",group=\"production\"}",
      "  clamp(\n"
      "    http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"},\n"
      "    -Inf,\n"
      "    1000000000000000000000\n"
      "  )\n"
      "/\n"
      "  http_requests_total{group=\"production\",instance=\"0\",job=\"api-server\"}" },
    /* clang-format on */
};

static void prettify(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        struct promql_expr *expr;
        struct err err = ERR_INIT;
        struct buf out;
        arena_init(&arena, SIZE_MAX);
        buf_init(&out, SIZE_MAX);
        if (!promql_parse(str_from(cases[i].text), &all_features, &arena, &expr, NULL, &err)) {
            fail_msg("%s: %s", cases[i].text, err.msg);
        }
        promql_prettify(expr, &out);
        assert_string_equal(out.ptr, cases[i].printed);
        promql_expr_finish(expr);
        buf_finish(&out);
        arena_finish(&arena);
    }
}

/* The pretty form reads back to the same expression. */
static void reads_back(void **state) {
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct good_case again = { .text = cases[i].printed };
        struct good_case original = { .text = cases[i].text };
        struct buf texts[2];
        const struct good_case *both[] = { &again, &original };
        for (size_t j = 0; j < ARRAY_LEN(both); j++) {
            struct arena arena;
            struct promql_expr *expr;
            struct err err = ERR_INIT;
            arena_init(&arena, SIZE_MAX);
            buf_init(&texts[j], SIZE_MAX);
            assert_true(
                promql_parse(str_from(both[j]->text), &all_features, &arena, &expr, NULL, &err));
            promql_print(expr, &texts[j]);
            promql_expr_finish(expr);
            arena_finish(&arena);
        }
        assert_string_equal(texts[0].ptr, texts[1].ptr);
        buf_finish(&texts[0]);
        buf_finish(&texts[1]);
    }
    (void)state;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prettify),
        cmocka_unit_test(reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
