/*
 * Goal: numbers print exactly as Go prints them. Method: a table generated with Go 1.26's
 * strconv.FormatFloat, and a sweep of bit patterns that must read back to themselves.
 */
#include <math.h>
#include <string.h>

#include "base/float.h"
#include "tests/unit.h"

/* clang-format off */
static const struct {
    double value;
    const char *text; /* 'f', -1; NULL where it has hundreds of digits */
    const char *json;
    const char *general;  /* 'g', -1 */
    const char *exponent; /* 'e', -1 */
} cases[] = {
    { 0.0, "0", "0", "0", "0e+00" },
    { -0.0, "-0", "-0", "-0", "-0e+00" },
    { 1.00000000000000000e+00, "1", "1", "1", "1e+00" },
    { -1.00000000000000000e+00, "-1", "-1", "-1", "-1e+00" },
    { 1.00000000000000000e+01, "10", "10", "10", "1e+01" },
    { 1.00000000000000006e-01, "0.1", "0.1", "0.1", "1e-01" },
    { -2.50000000000000000e-01, "-0.25", "-0.25", "-0.25", "-2.5e-01" },
    { 1.00000000000000000e+02, "100", "100", "100", "1e+02" },
    { 1.50000000000000000e+00, "1.5", "1.5", "1.5", "1.5e+00" },
    { 1.23456000000000000e+05, "123456", "123456", "123456", "1.23456e+05" },
    { 1.23456700000000000e+06, "1234567", "1234567", "1.234567e+06", "1.234567e+06" },
    { 9.99999000000000000e+05, "999999", "999999", "999999", "9.99999e+05" },
    { 1.00000000000000000e+05, "100000", "100000", "100000", "1e+05" },
    { 1.00000000000000000e+06, "1000000", "1000000", "1e+06", "1e+06" },
    { 1.23456789000000000e+08, "123456789", "123456789", "1.23456789e+08", "1.23456789e+08" },
    { 1.00000000000000000e+15, "1000000000000000", "1000000000000000", "1e+15", "1e+15" },
    { 1.00000000000000000e+16, "10000000000000000", "10000000000000000", "1e+16", "1e+16" },
    { 1.23456789012345680e+17, "123456789012345680", "123456789012345680",
      "1.2345678901234568e+17", "1.2345678901234568e+17" },
    { 1.00000000000000000e+20, "100000000000000000000", "100000000000000000000", "1e+20", "1e+20" },
    { 1.00000000000000000e+21, "1000000000000000000000", "1e+21", "1e+21", "1e+21" },
    { 1.00000000000000000e+22, "10000000000000000000000", "1e+22", "1e+22", "1e+22" },
    { 9.99999999999999916e+22, "100000000000000000000000", "1e+23", "1e+23", "1e+23" },
    { -9.99999999999999916e+22, "-100000000000000000000000", "-1e+23", "-1e+23", "-1e+23" },
    { 1.00000000000000002e-03, "0.001", "0.001", "0.001", "1e-03" },
    { 1.00000000000000005e-04, "0.0001", "0.0001", "0.0001", "1e-04" },
    { 1.00000000000000008e-05, "0.00001", "0.00001", "1e-05", "1e-05" },
    { 9.99999999999999955e-07, "0.000001", "0.000001", "1e-06", "1e-06" },
    { 9.99999999999999955e-08, "0.0000001", "1e-07", "1e-07", "1e-07" },
    { 9.99999900000000016e-07, "0.0000009999999", "9.999999e-07", "9.999999e-07", "9.999999e-07" },
    { 1.49999999999999993e-07, "0.00000015", "1.5e-07", "1.5e-07", "1.5e-07" },
    { 1.23449999999999992e-04, "0.00012345", "0.00012345", "0.00012345", "1.2345e-04" },
    { 3.14159265358979312e+00, "3.141592653589793", "3.141592653589793",
      "3.141592653589793", "3.141592653589793e+00" },
    { 6.66666666666666630e-01, "0.6666666666666666", "0.6666666666666666",
      "0.6666666666666666", "6.666666666666666e-01" },
    { 4.94065645841246544e-324, NULL, "5e-324", "5e-324", "5e-324" },
    { 2.22507385850720138e-308, NULL, "2.2250738585072014e-308",
      "2.2250738585072014e-308", "2.2250738585072014e-308" },
    { 1.79769313486231571e+308, NULL, "1.7976931348623157e+308",
      "1.7976931348623157e+308", "1.7976931348623157e+308" },
    { -1.79769313486231571e+308, NULL, "-1.7976931348623157e+308",
      "-1.7976931348623157e+308", "-1.7976931348623157e+308" },
    { 4.50359962737049800e+15, "4503599627370498", "4503599627370498",
      "4.503599627370498e+15", "4.503599627370498e+15" },
    { 9.00719925474099200e+15, "9007199254740992", "9007199254740992",
      "9.007199254740992e+15", "9.007199254740992e+15" },
    { 1.79769313486231565e+300, NULL, "1.7976931348623156e+300",
      "1.7976931348623156e+300", "1.7976931348623156e+300" },
    { (double)INFINITY, "+Inf", "+Inf", "+Inf", "+Inf" },
    { -(double)INFINITY, "-Inf", "-Inf", "-Inf", "-Inf" },
    { (double)NAN, "NaN", "NaN", "NaN", "NaN" },
};

/* clang-format on */

static void formats_match_go(void **state) {
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[FLOAT_TEXT_MAX];
        size_t len = float_to_text(cases[i].value, out);
        assert_int_equal(len, strlen(out));
        if (cases[i].text != NULL) {
            assert_string_equal(out, cases[i].text);
        }
        assert_int_equal(float_to_json(cases[i].value, out), strlen(cases[i].json));
        assert_string_equal(out, cases[i].json);
        assert_int_equal(float_to_general(cases[i].value, out), strlen(cases[i].general));
        assert_string_equal(out, cases[i].general);
        assert_int_equal(float_to_exponent(cases[i].value, out), strlen(cases[i].exponent));
        assert_string_equal(out, cases[i].exponent);
    }
}

static void extremes_in_plain_digits(void **state) {
    char out[FLOAT_TEXT_MAX];
    assert_int_equal(float_to_text(5e-324, out), 326);
    assert_true(str_starts_with(str_from(out), STR("0.000")));
    assert_true(str_ends_with(str_from(out), STR("0005")));
    assert_int_equal(float_to_text(-1.7976931348623157e308, out), 310);
    assert_true(str_starts_with(str_from(out), STR("-179769313486231570000")));
    assert_true(str_ends_with(str_from(out), STR("000")));
    assert_int_equal(float_to_text(-2.2250738585072014e-308, out), 327);
}

static void check_round_trip(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof(value));
    if (!isfinite(value)) {
        return;
    }
    size_t (*const printers[])(double, char[FLOAT_TEXT_MAX]) = { float_to_text, float_to_json,
                                                                 float_to_general,
                                                                 float_to_exponent };
    for (size_t i = 0; i < ARRAY_LEN(printers); i++) {
        char out[FLOAT_TEXT_MAX];
        double back = 0;
        size_t len = printers[i](value, out);
        assert_true(len < FLOAT_TEXT_MAX);
        assert_true(str_parse_f64(str_n(out, len), &back));
        assert_memory_equal(&back, &value, sizeof(value));
    }
}

static void every_text_reads_back(void **state) {
    uint64_t bits = UINT64_C(0x9e3779b97f4a7c15);
    for (int i = 0; i < 20000; i++) {
        bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        check_round_trip(bits);
    }
    for (uint64_t small = 0; small < 2000; small++) {
        check_round_trip(small);                                /* subnormal */
        check_round_trip(UINT64_C(0x7fefffffffffffff) - small); /* largest */
    }
}

static void buffers_get_the_same_text(void **state) {
    struct buf buf;
    buf_init(&buf, 100);
    buf_float_text(&buf, 1e21);
    buf_putc(&buf, ' ');
    buf_float_json(&buf, 1e21);
    buf_putc(&buf, ' ');
    buf_float_general(&buf, 1e6);
    assert_string_equal(buf.ptr, "1000000000000000000000 1e+21 1e+06");
    buf_finish(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_match_go),
        cmocka_unit_test(extremes_in_plain_digits),
        cmocka_unit_test(every_text_reads_back),
        cmocka_unit_test(buffers_get_the_same_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
