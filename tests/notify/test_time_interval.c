/*
 * Goal: time intervals contain exactly the moments upstream's contain, in any zone and across
 * daylight saving. Method: tables of intervals and moments on both sides of every border.
 */
#include "base/mem.h"
#include "notify/time_interval.h"
#include "tests/unit.h"

static int64_t at(int year, int month, int day, int hour, int minute) {
    struct civil civil = {
        .year = year, .month = month, .day = day, .hour = hour, .minute = minute
    };
    return civil_to_ms(&civil);
}

static bool contains(const char *span, int64_t t_ms) {
    struct buf text;
    struct diag_list diags;
    struct yaml_doc *doc = NULL;
    struct time_interval *items = NULL;
    size_t count = 0;
    buf_init(&text, 4096);
    buf_printf(&text, "- {name: x, time_intervals: [%s]}\n", span);
    diag_list_init(&diags);
    assert_true(yaml_parse("x.yml", buf_as_str(&text), &doc, &diags));
    struct yaml_decode ctx = { .doc = doc, .diags = &diags };
    time_intervals_decode(&ctx, yaml_root(doc), &items, &count);
    if (diags.error_count > 0) {
        fail_msg("%s: %s", span, diags.items[0].message);
    }
    assert_int_equal(count, 1);
    bool is_in = time_interval_contains(&items[0], t_ms);
    time_intervals_free(items, count);
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
    buf_finish(&text);
    return is_in;
}

#define OFFICE "{times: [{start_time: '09:00', end_time: '17:00'}], weekdays: ['monday:friday']}"

static void test_contains(void **state) {
    (void)state;

    const struct {
        const char *span;
        int64_t t_ms;
        bool is_in;
    } cases[] = {
        { "{}", at(2026, 1, 1, 0, 0), true },
        { OFFICE, at(2020, 7, 8, 9, 0), true }, /* Wednesday */
        { OFFICE, at(2020, 7, 8, 8, 59), false },
        { OFFICE, at(2020, 7, 10, 16, 59), true }, /* Friday */
        { OFFICE, at(2020, 7, 10, 17, 0), false }, /* ends exclusive */
        { OFFICE, at(2020, 7, 11, 12, 0), false }, /* Saturday */
        { "{times: [{start_time: '23:00', end_time: '24:00'}]}", at(2020, 7, 8, 23, 59), true },
        { "{days_of_month: ['1:3'], months: ['january:march']}", at(2020, 3, 3, 5, 0), true },
        { "{days_of_month: ['1:3'], months: ['january:march']}", at(2020, 4, 3, 5, 0), false },
        { "{days_of_month: ['-3:-1']}", at(2020, 2, 27, 0, 0), true }, /* leap year: 29 days */
        { "{days_of_month: ['-3:-1']}", at(2020, 2, 26, 23, 59), false },
        { "{days_of_month: ['-3:-1']}", at(2019, 2, 26, 0, 0), true },
        { "{days_of_month: ['31']}", at(2020, 4, 30, 12, 0), false }, /* no 31 in April */
        { "{days_of_month: ['28:31']}", at(2020, 4, 30, 12, 0), true },
        { "{months: ['2', '5:6']}", at(2020, 6, 1, 0, 0), true },
        { "{months: ['2', '5:6']}", at(2020, 4, 1, 0, 0), false },
        { "{years: ['2020:2021', '2030']}", at(2030, 1, 1, 0, 0), true },
        { "{years: ['2020:2021', '2030']}", at(2022, 1, 1, 0, 0), false },
        { "{weekdays: [Sunday]}", at(2026, 1, 4, 0, 0), true },
        /* 09:00 in Berlin is 08:00 UTC in winter, 07:00 in summer */
        { "{times: [{start_time: '09:00', end_time: '17:00'}], location: Europe/Berlin}",
          at(2026, 1, 5, 8, 0), true },
        { "{times: [{start_time: '09:00', end_time: '17:00'}], location: Europe/Berlin}",
          at(2026, 1, 5, 7, 59), false },
        { "{times: [{start_time: '09:00', end_time: '17:00'}], location: Europe/Berlin}",
          at(2026, 7, 6, 7, 0), true },
        /* the date changes with the zone */
        { "{days_of_month: ['1'], months: [january], location: Asia/Shanghai}",
          at(2025, 12, 31, 16, 0), true },
        { "{days_of_month: ['1'], months: [january], location: Asia/Shanghai}",
          at(2026, 1, 1, 16, 0), false },
        { "{weekdays: [monday], location: America/New_York}", at(2026, 1, 6, 4, 59), true },
        { "{weekdays: [monday], location: America/New_York}", at(2026, 1, 6, 5, 0), false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (contains(cases[i].span, cases[i].t_ms) != cases[i].is_in) {
            fail_msg("case %zu: %s at %lld", i, cases[i].span, (long long)cases[i].t_ms);
        }
    }
}

static void test_refused(void **state) {
    (void)state;
    static const char *const spans[] = {
        "{weekdays: ['friday:monday']}",
        "{weekdays: [someday]}",
        "{days_of_month: ['0']}",
        "{days_of_month: ['32']}",
        "{days_of_month: ['-1:5']}",
        "{days_of_month: ['10:-25']}",
        "{months: ['13']}",
        "{months: ['june:january']}",
        "{years: ['2021:2020']}",
        "{times: [{start_time: '9:00', end_time: '17:00'}]}",
        "{times: [{start_time: '09:00', end_time: '24:01'}]}",
        "{times: [{start_time: '09:00'}]}",
        "{location: ../../etc/passwd}",
        "{location: ''}",
        "{weekday: [monday]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
        struct buf text;
        struct diag_list diags;
        struct yaml_doc *doc = NULL;
        struct time_interval *items = NULL;
        size_t count = 0;
        buf_init(&text, 4096);
        buf_printf(&text, "- {name: x, time_intervals: [%s]}\n", spans[i]);
        diag_list_init(&diags);
        assert_true(yaml_parse("x.yml", buf_as_str(&text), &doc, &diags));
        struct yaml_decode ctx = { .doc = doc, .diags = &diags };
        time_intervals_decode(&ctx, yaml_root(doc), &items, &count);
        if (diags.error_count == 0) {
            fail_msg("accepted: %s", spans[i]);
        }
        time_intervals_free(items, count);
        yaml_doc_destroy(doc);
        diag_list_finish(&diags);
        buf_finish(&text);
    }
}

/* The rule in the footer carries on after the last transition of the table. */
static void test_zone(void **state) {
    (void)state;

    const struct {
        const char *zone;
        int64_t t_ms;
        int32_t offset_s;
        const char *name;
    } cases[] = {
        { "UTC", at(2026, 1, 1, 0, 0), 0, "UTC" },
        { "Europe/Berlin", at(2026, 3, 29, 0, 59), 3600, "CET" },
        { "Europe/Berlin", at(2026, 3, 29, 1, 0), 7200, "CEST" },
        { "Europe/Berlin", at(2026, 10, 25, 0, 59), 7200, "CEST" },
        { "Europe/Berlin", at(2026, 10, 25, 1, 0), 3600, "CET" },
        { "Europe/Berlin", at(2090, 7, 1, 0, 0), 7200, "CEST" },
        { "Europe/Berlin", at(2090, 12, 1, 0, 0), 3600, "CET" },
        { "America/New_York", at(2090, 3, 12, 6, 59), -18000, "EST" },
        { "America/New_York", at(2090, 3, 12, 7, 0), -14400, "EDT" },
        { "Australia/Sydney", at(2090, 1, 1, 0, 0), 39600, "AEDT" }, /* south: start after end */
        { "Australia/Sydney", at(2090, 6, 1, 0, 0), 36000, "AEST" },
        { "Asia/Kolkata", at(2026, 1, 1, 0, 0), 19800, "IST" },
        { "Asia/Tehran", at(2026, 1, 1, 0, 0), 12600, "+0330" },
        { "Europe/Berlin", at(1900, 1, 1, 0, 0), 3600, "CET" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct zone *zone = NULL;
        struct err err = ERR_INIT;
        if (!zone_load(str_from(cases[i].zone), &zone, &err)) {
            fail_msg("%s", err.msg);
        }
        struct zone_offset offset = zone_at(zone, cases[i].t_ms);
        if (offset.offset_s != cases[i].offset_s || strcmp(offset.name, cases[i].name) != 0) {
            fail_msg("case %zu, %s: %d %s", i, cases[i].zone, offset.offset_s, offset.name);
        }
        zone_destroy(zone);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contains),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_zone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
