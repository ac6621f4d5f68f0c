/*
 * Goal: durations and sizes mean what Prometheus means by them and errors use its words. Method:
 * tables checked against prometheus/common's ParseDuration and alecthomas/units' ParseBase2Bytes.
 */
#include "base/duration.h"
#include "tests/unit.h"

static void good_durations(void **state) {
    static const struct {
        const char *text;
        int64_t ms;
        const char *printed;
    } cases[] = {
        { "0", 0, "0s" },
        { "0s", 0, "0s" },
        { "0w0ms", 0, "0s" },
        { "1ms", 1, "1ms" },
        { "324ms", 324, "324ms" },
        { "3s", 3000, "3s" },
        { "5m", 300000, "5m" },
        { "1h", 3600000, "1h" },
        { "1h30m", 5400000, "1h30m" },
        { "60m", 3600000, "1h" },
        { "90m", 5400000, "1h30m" },
        { "4d", 345600000, "4d" },
        { "4d1h", 349200000, "4d1h" },
        { "24h", 86400000, "1d" },
        { "14d", 1209600000, "2w" },
        { "15d", 1296000000, "15d" },
        { "3w", 1814400000, "3w" },
        { "3w2d1h", INT64_C(1990800000), "23d1h" },
        { "10y", INT64_C(315360000000), "10y" },
        { "1y1w", INT64_C(32140800000), "372d" },
        { "90d", INT64_C(7776000000), "90d" },
        { "1h1ms", 3600001, "1h1ms" },
        { "05m", 300000, "5m" },
        { "1y2w3d4h5m6s7ms", INT64_C(33019506007), "382d4h5m6s7ms" },
        { "9223372036854ms", INT64_C(9223372036854), "106751d23h47m16s854ms" },
        { "292y", INT64_C(9208512000000), "292y" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ms = -1;
        struct err err = ERR_INIT;
        if (!duration_parse(str_from(cases[i].text), &ms, &err)) {
            fail_msg("%s: %s", cases[i].text, err.msg);
        }
        assert_true(ms == cases[i].ms);
        struct buf printed;
        buf_init(&printed, 100);
        duration_print(&printed, ms);
        assert_string_equal(printed.ptr, cases[i].printed);
        buf_finish(&printed);
    }
}

static void bad_durations(void **state) {
    static const struct {
        const char *text;
        const char *msg;
    } cases[] = {
        { "", "empty duration string" },
        { "1", "not a valid duration string: \"1\"" },
        { "10", "not a valid duration string: \"10\"" },
        { "-1s", "not a valid duration string: \"-1s\"" },
        { "+1s", "not a valid duration string: \"+1s\"" },
        { " 1s", "not a valid duration string: \" 1s\"" },
        { "s", "not a valid duration string: \"s\"" },
        { "ms", "not a valid duration string: \"ms\"" },
        { "1m1d", "not a valid duration string: \"1m1d\"" },
        { "1m1m", "not a valid duration string: \"1m1m\"" },
        { "1ms1s", "not a valid duration string: \"1ms1s\"" },
        { "1h30", "not a valid duration string: \"1h30\"" },
        { "99999999999999999999s", "not a valid duration string: \"99999999999999999999s\"" },
        { "15x", "unknown unit \"x\" in duration \"15x\"" },
        { "1.5h", "unknown unit \".\" in duration \"1.5h\"" },
        { "1s ", "unknown unit \"s \" in duration \"1s \"" },
        { "1H", "unknown unit \"H\" in duration \"1H\"" },
        { "1us", "unknown unit \"us\" in duration \"1us\"" },
        { "1M", "unknown unit \"M\" in duration \"1M\"" },
        { "d1m", "not a valid duration string: \"d1m\"" },
        { "294y", "duration out of range: \"294y\"" },
        { "200y10400w", "duration out of range: \"200y10400w\"" },
        { "9223372036855ms", "duration out of range: \"9223372036855ms\"" },
        { "18446744073709551615y", "duration out of range: \"18446744073709551615y\"" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ms = 42;
        struct err err = ERR_INIT;
        assert_false(duration_parse(str_from(cases[i].text), &ms, &err));
        assert_int_equal(ms, 42);
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.msg, cases[i].msg);
    }
}

static void negative_durations_print(void **state) {
    struct buf out;
    buf_init(&out, 200);
    duration_print(&out, -5400000);
    buf_putc(&out, ' ');
    duration_print(&out, INT64_MIN);
    assert_string_equal(out.ptr, "-1h30m -106751991167d7h12m55s808ms");
    buf_finish(&out);
}

static void sizes(void **state) {
    static const struct {
        const char *text;
        uint64_t bytes;
        const char *msg; /* NULL = fine */
    } cases[] = {
        { "0", 0, NULL },
        { "0B", 0, NULL },
        { "1B", 1, NULL },
        { "1KB", 1024, NULL },
        { "1KiB", 1024, NULL },
        { "512MB", UINT64_C(512) << 20, NULL },
        { "10GiB", UINT64_C(10) << 30, NULL },
        { "2TB", UINT64_C(2) << 40, NULL },
        { "3PB", UINT64_C(3) << 50, NULL },
        { "7EB", UINT64_C(7) << 60, NULL },
        { "1.5GB", UINT64_C(3) << 29, NULL },
        { ".5KB", 512, NULL },
        { "1GB512MB", (UINT64_C(1) << 30) + (UINT64_C(512) << 20), NULL },
        { "9007199254740993B", UINT64_C(9007199254740993), NULL },
        { "9223372036854775807B", INT64_MAX, NULL },
        { "9223372036854775808B", 0, "size out of range: \"9223372036854775808B\"" },
        { "8EB", 0, "size out of range: \"8EB\"" },
        { "4EB4EB", 0, "size out of range: \"4EB4EB\"" },
        { "99999999999999999999999B", 0, "size out of range: \"99999999999999999999999B\"" },
        { "", 0, "not a valid size: \"\"" },
        { ".", 0, "not a valid size: \".\"" },
        { "GB", 0, "not a valid size: \"GB\"" },
        { "-1GB", 0, "not a valid size: \"-1GB\"" },
        { "1GB ", 0, "not a valid size: \"1GB \": unknown unit (use B, KB, MB, GB, TB, PB or EB)" },
        { "15", 0, "not a valid size: \"15\": missing unit (use B, KB, MB, GB, TB, PB or EB)" },
        { "1kB", 0, "not a valid size: \"1kB\": unknown unit (use B, KB, MB, GB, TB, PB or EB)" },
        { "1M", 0, "not a valid size: \"1M\": unknown unit (use B, KB, MB, GB, TB, PB or EB)" },
        { "1ZB", 0, "not a valid size: \"1ZB\": unknown unit (use B, KB, MB, GB, TB, PB or EB)" },
        { "1KiBB", 0,
          "not a valid size: \"1KiBB\": unknown unit (use B, KB, MB, GB, TB, PB or EB)" },
        { "1e3B", 0, "not a valid size: \"1e3B\": unknown unit (use B, KB, MB, GB, TB, PB or EB)" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t bytes = 42;
        struct err err = ERR_INIT;
        bool ok = bytes_parse(str_from(cases[i].text), &bytes, &err);
        assert_string_equal(err.msg, cases[i].msg == NULL ? "" : cases[i].msg);
        assert_int_equal(ok, cases[i].msg == NULL);
        assert_true(bytes == (ok ? cases[i].bytes : 42));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_durations),
        cmocka_unit_test(bad_durations),
        cmocka_unit_test(negative_durations_print),
        cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
