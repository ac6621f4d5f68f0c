/* Goal: lists in the store's flags are read in any order and refused by name. Method: a table. */
#include "app/storage.h"
#include "tests/unit.h"

#define HOUR_MS (INT64_C(60) * 60 * 1000)
#define DAY_MS  (24 * HOUR_MS)

static const struct {
    const char *text;
    struct tsdb_rollup expected[2];
    size_t count;
    const char *error; /* NULL = fine */
} cases[] = {
    { "5m:90d", { { HOUR_MS / 12, 90 * DAY_MS } }, 1, NULL },
    { "1h:0,5m:90d", { { HOUR_MS / 12, 90 * DAY_MS }, { HOUR_MS, 0 } }, 2, NULL },
    { "5m", { { 0 } }, 0, "--storage.rollups: \"5m\": expected RESOLUTION:RETENTION as in 5m:90d" },
    { "30s:1d",
      { { 0 } },
      0,
      "--storage.rollups: \"30s:1d\": a resolution is at least 1m and divides a day" },
    { "7m:1d",
      { { 0 } },
      0,
      "--storage.rollups: \"7m:1d\": a resolution is at least 1m and divides a day" },
    { "5m:1d,5m:2d", { { 0 } }, 0, "--storage.rollups: a resolution stands there twice" },
    { "1m:1d,2m:1d,3m:1d,4m:1d,5m:1d", { { 0 } }, 0, "--storage.rollups: more than 4 resolutions" },
};

static void rollups(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct string_list texts = { 0 };
        struct tsdb_options options = { 0 };
        struct err err = ERR_INIT;
        string_list_add(&texts, str_from(cases[i].text));
        bool is_ok = storage_parse_rollups(&texts, &options, &err);
        string_list_finish(&texts);
        if (cases[i].error != NULL) {
            assert_false(is_ok);
            assert_string_equal(err.msg, cases[i].error);
            continue;
        }
        assert_true(is_ok);
        assert_int_equal(options.rollup_count, cases[i].count);
        for (size_t k = 0; k < cases[i].count; k++) {
            assert_int_equal(options.rollups[k].resolution_ms, cases[i].expected[k].resolution_ms);
            assert_int_equal(options.rollups[k].retention_ms, cases[i].expected[k].retention_ms);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(rollups) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
