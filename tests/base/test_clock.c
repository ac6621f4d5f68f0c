/*
 * Goal: civil time is right over the whole range and the fake clock only moves when told. Method:
 * known dates, a round trip over every day of 800 years, agreement with libc's gmtime_r.
 */
#include <time.h>

#include "base/attr.h"
#include "base/clock.h"
#include "tests/unit.h"

static void known_instants(void **state) {
    static const struct {
        int64_t t_ms;
        const char *text;
        int weekday;
        int year_day;
    } cases[] = {
        { 0, "1970-01-01T00:00:00.000Z", 4, 1 },
        { -1, "1969-12-31T23:59:59.999Z", 3, 365 },
        { 951782400000, "2000-02-29T00:00:00.000Z", 2, 60 },
        { 951868800000, "2000-03-01T00:00:00.000Z", 3, 61 },
        { 1767323045678, "2026-01-02T03:04:05.678Z", 5, 2 },
        { 4107542399999, "2100-02-28T23:59:59.999Z", 0, 59 },
        { 4107542400000, "2100-03-01T00:00:00.000Z", 1, 60 },
        { 1735603200000, "2024-12-31T00:00:00.000Z", 2, 366 },
        { -62135596800000, "0001-01-01T00:00:00.000Z", 1, 1 },
        { -62167219200000, "0000-01-01T00:00:00.000Z", 6, 1 },
        { 253402300799999, "9999-12-31T23:59:59.999Z", 5, 365 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[RFC3339_TEXT_MAX];
        rfc3339_from_ms(cases[i].t_ms, text);
        assert_string_equal(text, cases[i].text);
        int64_t back = 0;
        assert_true(rfc3339_to_ms(str_from(cases[i].text), &back) && back == cases[i].t_ms);
        struct civil civil = civil_from_ms(cases[i].t_ms);
        assert_int_equal(civil.weekday, cases[i].weekday);
        assert_int_equal(civil.year_day, cases[i].year_day);
        assert_true(civil_to_ms(&civil) == cases[i].t_ms);
    }
}

static void years_beyond_the_format_are_clamped(void **state) {
    char text[RFC3339_TEXT_MAX];
    rfc3339_from_ms(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    rfc3339_from_ms(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01T00:00:00.000Z");
}

static void every_day_agrees_with_libc(void **state) {
    for (int64_t day = -150000; day < 150000; day++) {
        int64_t t_ms = day * 86400000 + 45296789;
        struct civil civil = civil_from_ms(t_ms);
        assert_true(civil_to_ms(&civil) == t_ms);
        time_t seconds = (time_t)(day * 86400 + 45296);
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        assert_int_equal(civil.year, tm.tm_year + 1900);
        assert_int_equal(civil.month, tm.tm_mon + 1);
        assert_int_equal(civil.day, tm.tm_mday);
        assert_int_equal(civil.hour, tm.tm_hour);
        assert_int_equal(civil.minute, tm.tm_min);
        assert_int_equal(civil.second, tm.tm_sec);
        assert_int_equal(civil.ms, 789);
        assert_int_equal(civil.weekday, tm.tm_wday);
        assert_int_equal(civil.year_day, tm.tm_yday + 1);
    }
}

static void the_extremes_round_trip(void **state) {
    static const int64_t extremes[] = { INT64_MAX, INT64_MIN, INT64_MAX - 86399999,
                                        INT64_MIN + 86399999 };
    for (size_t i = 0; i < ARRAY_LEN(extremes); i++) {
        struct civil civil = civil_from_ms(extremes[i]);
        assert_in_range(civil.month, 1, 12);
        assert_in_range(civil.day, 1, 31);
        assert_in_range(civil.weekday, 0, 6);
        assert_in_range(civil.year_day, 1, 366);
        assert_true(civil_to_ms(&civil) == extremes[i]);
    }
}

static void the_fake_clock_stands_still(void **state) {
    struct fake_clock fake;
    fake_clock_init(&fake, 1000);
    assert_int_equal(clock_wall_ms(&fake.clock), 1000);
    assert_int_equal(clock_mono_ns(&fake.clock), 0);
    fake_clock_advance(&fake, 250);
    fake_clock_advance(&fake, 1);
    assert_int_equal(clock_wall_ms(&fake.clock), 1251);
    assert_int_equal(clock_mono_ns(&fake.clock), 251000000);
}

static void the_system_clock_moves_forward(void **state) {
    const struct clock *clock = clock_system();
    int64_t first = clock_mono_ns(clock);
    assert_true(clock_mono_ns(clock) >= first);
    assert_true(clock_wall_ms(clock) > INT64_C(1700000000000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_instants),
        cmocka_unit_test(years_beyond_the_format_are_clamped),
        cmocka_unit_test(every_day_agrees_with_libc),
        cmocka_unit_test(the_extremes_round_trip),
        cmocka_unit_test(the_fake_clock_stands_still),
        cmocka_unit_test(the_system_clock_moves_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
