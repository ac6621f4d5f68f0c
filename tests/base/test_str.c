/*
 * Goal: slices compare, cut and parse exactly, with no NUL assumed and no input accepted by halves.
 * Method: tables of inputs with results; parsed numbers also round-trip.
 */
#include <math.h>
#include <string.h>

#include "base/str.h"
#include "tests/unit.h"

static void compare(void **state) {
    static const struct {
        const char *a;
        const char *b;
        int order;
    } cases[] = {
        { "", "", 0 },    { "", "a", -1 },   { "a", "", 1 },         { "a", "b", -1 },
        { "ab", "a", 1 }, { "ab", "b", -1 }, { "\x7f", "\x80", -1 }, { "abc", "abc", 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int order = str_cmp(str_from(cases[i].a), str_from(cases[i].b));
        assert_int_equal((order > 0) - (order < 0), cases[i].order);
        assert_int_equal(str_eq(str_from(cases[i].a), str_from(cases[i].b)), cases[i].order == 0);
    }
    assert_true(str_eq(str_n(NULL, 0), STR("")));
    assert_true(str_eq(str_from(NULL), STR("")));
    assert_false(str_eq(STR("a\0b"), STR("a\0c")));
    assert_true(str_eq_nocase(STR("aZ[@`{9"), STR("Az[@`{9")));
    assert_false(str_eq_nocase(STR("@"), STR("`")));
    assert_false(str_eq_nocase(STR("a"), STR("ab")));
}

static void search(void **state) {
    assert_true(str_starts_with(STR("abc"), STR("")));
    assert_true(str_starts_with(STR("abc"), STR("abc")));
    assert_false(str_starts_with(STR("abc"), STR("abcd")));
    assert_true(str_ends_with(STR("abc"), STR("bc")));
    assert_true(str_ends_with(str_n(NULL, 0), STR("")));
    assert_false(str_ends_with(STR("bc"), STR("abc")));
    assert_int_equal(str_find(STR("hay needle"), STR("needle")), 4);
    assert_int_equal(str_find(STR("hay"), STR("")), 0);
    assert_true(str_find(STR("hay"), STR("hays")) == SIZE_MAX);
    assert_true(str_find(str_n(NULL, 0), STR("x")) == SIZE_MAX);
    assert_true(str_eq_c(str_trim(STR(" \t\r\n\v\f a b \n")), "a b"));
    assert_int_equal(str_trim(STR(" \n ")).len, 0);
}

static void cut(void **state) {
    struct str head;
    struct str tail;
    assert_true(str_cut(STR("a=b=c"), '=', &head, &tail));
    assert_true(str_eq_c(head, "a"));
    assert_true(str_eq_c(tail, "b=c"));
    assert_true(str_cut(STR("="), '=', &head, &tail));
    assert_int_equal(head.len + tail.len, 0);
    assert_false(str_cut(STR("abc"), '=', &head, &tail));
    assert_true(str_eq_c(head, "abc"));
    assert_int_equal(tail.len, 0);
    assert_false(str_cut(str_n(NULL, 0), '=', &head, &tail));
}

static void integers(void **state) {
    static const struct {
        const char *text;
        bool is_i64;
        int64_t i64;
        bool is_u64;
        uint64_t u64;
    } cases[] = {
        { "0", true, 0, true, 0 },
        { "007", true, 7, true, 7 },
        { "-1", true, -1, false, 0 },
        { "+1", true, 1, false, 0 },
        { "9223372036854775807", true, INT64_MAX, true, INT64_MAX },
        { "9223372036854775808", false, 0, true, UINT64_C(9223372036854775808) },
        { "-9223372036854775808", true, INT64_MIN, false, 0 },
        { "-9223372036854775809", false, 0, false, 0 },
        { "18446744073709551615", false, 0, true, UINT64_MAX },
        { "18446744073709551616", false, 0, false, 0 },
        { "99999999999999999999999", false, 0, false, 0 },
        { "", false, 0, false, 0 },
        { "-", false, 0, false, 0 },
        { "+", false, 0, false, 0 },
        { "--1", false, 0, false, 0 },
        { " 1", false, 0, false, 0 },
        { "1 ", false, 0, false, 0 },
        { "1x", false, 0, false, 0 },
        { "0x1", false, 0, false, 0 },
        { "1_0", false, 0, false, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t i64 = 42;
        uint64_t u64 = 42;
        assert_int_equal(str_parse_i64(str_from(cases[i].text), &i64), cases[i].is_i64);
        assert_true(i64 == (cases[i].is_i64 ? cases[i].i64 : 42));
        assert_int_equal(str_parse_u64(str_from(cases[i].text), &u64), cases[i].is_u64);
        assert_true(u64 == (cases[i].is_u64 ? cases[i].u64 : 42));
    }
    int64_t value;
    assert_true(str_parse_i64(str_n("123", 2), &value));
    assert_int_equal(value, 12);
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Expected values come from Go 1.26's strconv.ParseFloat (range errors ignored). */
static const struct {
    const char *text;
    double value;
} good_floats[] = {
    { "0", 0 },
    { "-0", -0.0 },
    { "+0", 0 },
    { "1", 1 },
    { "1.", 1 },
    { ".5", 0.5 },
    { "+.5e1", 5 },
    { "1e3", 1000 },
    { "1E+3", 1000 },
    { "1e-3", 0.001 },
    { "00001.50", 1.5 },
    { "123456789012345678901234567890", 123456789012345678901234567890.0 },
    { "0.1", 0.1 },
    { "2.2250738585072011e-308", 2.2250738585072011e-308 },
    { "2.2250738585072014e-308", 2.2250738585072014e-308 },
    { "1.7976931348623157e308", 1.7976931348623157e308 },
    { "1.7976931348623159e308", (double)INFINITY },
    { "1e309", (double)INFINITY },
    { "-1e309", -(double)INFINITY },
    { "1e400", (double)INFINITY },
    { "1e5000000000000", (double)INFINITY },
    { "0e5000000000000", 0 },
    { "1e-5000000000000", 0 },
    { "-1e-400", -0.0 },
    { "5e-324", 5e-324 },
    { "3e-324", 5e-324 },
    { "2e-324", 0 },
    { "1e23", 1e23 },
    { "0x1p0", 1 },
    { "0X1P-2", 0.25 },
    { "-0x1.8p1", -3 },
    { "0x.8p1", 1 },
    { "0x1.p1", 2 },
    { "0x10p+0", 16 },
    { "0x1.fffffffffffffp1023", 1.7976931348623157e308 },
    { "0x1p1024", (double)INFINITY },
    { "0x1p-1074", 5e-324 },
    { "0x1p-1075", 0 },
    { "0x1.8p-1075", 5e-324 },
    { "0x1p-1080", 0 },
    { "0x1.00000000000008p0", 1 },
    { "0x1.000000000000081p0", 0x1.0000000000001p0 },
    { "inf", (double)INFINITY },
    { "+Inf", (double)INFINITY },
    { "-INF", -(double)INFINITY },
    { "infinity", (double)INFINITY },
    { "-InFiNiTy", -(double)INFINITY },
};

static void floats(void **state) {
    for (size_t i = 0; i < ARRAY_LEN(good_floats); i++) {
        double value = 42;
        assert_true(str_parse_f64(str_from(good_floats[i].text), &value));
        if (bits_of(value) != bits_of(good_floats[i].value)) {
            fail_msg("%s: %a, want %a", good_floats[i].text, value, good_floats[i].value);
        }
    }
    static const char *const bad[] = {
        "",     "+",    "-",      ".",     "+.",    "e1",           "1e",    "1e+",     "1 ",
        " 1",   "1x",   "--1",    "+-1",   "1_000", "0x",           "0x1",   "0xp1",    "0x.p1",
        "0x1p", "1p1",  "0b1p",   "1.2.3", "1,5",   "infi",         "infin", "infinit", "nanx",
        "+nan", "-nan", "nan(1)", "1e1.5", "0x1e1", "\xef\xbc\x91", "1f",    "0x_1p0",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        double value = 42;
        if (str_parse_f64(str_from(bad[i]), &value)) {
            fail_msg("\"%s\" was taken for %g", bad[i], value);
        }
        assert_true(value == 42);
    }
    double value = 0;
    assert_true(str_parse_f64(str_n("1.25", 3), &value));
    assert_true(value == 1.2);
}

static void nan_is_the_normal_one(void **state) {
    static const char *const names[] = { "NaN", "nan", "NAN", "nAn" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        double value = 0;
        assert_true(str_parse_f64(str_from(names[i]), &value));
        assert_true(bits_of(value) == UINT64_C(0x7ff8000000000001));
    }
}

static void utf8(void **state) {
    static const struct {
        const char *text;
        bool is_valid;
    } cases[] = {
        { "", true },
        { "plain ASCII, longer than a word", true },
        { "12345678\xc3\xa9", true },
        { "\xc3\xa9", true },
        { "\xe2\x82\xac", true },
        { "\xf0\x9f\x98\x80", true },
        { "\xed\x9f\xbf", true },
        { "\xee\x80\x80", true },
        { "\xf4\x8f\xbf\xbf", true },
        { "\x80", false },
        { "\xc0\x80", false },
        { "\xc1\xbf", false },
        { "\xc3", false },
        { "\xc3(", false },
        { "\xe0\x9f\xbf", false },
        { "\xe2\x82", false },
        { "\xe2\x82(", false },
        { "\xed\xa0\x80", false },
        { "\xed\xbf\xbf", false },
        { "\xf0\x8f\xbf\xbf", false },
        { "\xf4\x90\x80\x80", false },
        { "\xf5\x80\x80\x80", false },
        { "\xff", false },
        { "1234567\xff", false },
        { "12345678\xe2\x82", false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(str_is_utf8(str_from(cases[i].text)), cases[i].is_valid);
    }
    assert_true(str_is_utf8(STR("a\0b")));
    assert_false(str_is_utf8(str_n("\xe2\x82\xac", 2)));
}

static void suggestions(void **state) {
    static const char *const keys[] = { "interval", "labels", "annotations", "expr",
                                        "for",      "alert",  "record",      "keep_firing_for" };

    static const struct {
        const char *word;
        const char *nearest;
    } cases[] = {
        { "intervall", "interval" },
        { "interavl", "interval" },
        { "label", "labels" },
        { "Labels", "labels" },
        { "anotations", "annotations" },
        { "exp", "expr" },
        { "epxr", "expr" },
        { "fro", "for" },
        { "alrt", "alert" },
        { "keep_firing", NULL },
        { "keep_firing_fro", "keep_firing_for" },
        { "zzzzz", NULL },
        { "", NULL },
        { "x", NULL },
        { "interval", "interval" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *found = str_nearest(str_from(cases[i].word), keys, ARRAY_LEN(keys));
        if (cases[i].nearest == NULL) {
            assert_null(found);
        } else {
            assert_non_null(found);
            assert_string_equal(found, cases[i].nearest);
        }
    }
    char longest[4096];
    memset(longest, 'a', sizeof(longest));
    assert_null(str_nearest(str_n(longest, sizeof(longest)), keys, ARRAY_LEN(keys)));
    assert_null(str_nearest(STR("expr"), NULL, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compare), cmocka_unit_test(search),
        cmocka_unit_test(cut),     cmocka_unit_test(integers),
        cmocka_unit_test(floats),  cmocka_unit_test(nan_is_the_normal_one),
        cmocka_unit_test(utf8),    cmocka_unit_test(suggestions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
