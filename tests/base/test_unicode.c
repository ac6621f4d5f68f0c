/*
 * Goal: UTF-8 is decoded by character with stray bytes told apart, and case mapping follows
 * Unicode. Method: tables of bytes and characters, and round trips over all of Unicode.
 */
#include "base/unicode.h"
#include "base/utf8.h"
#include "tests/unit.h"

static void decoding(void **state) {
    static const struct {
        const char *bytes;
        size_t len;
        uint32_t rune;
        size_t used;
    } cases[] = {
        { "a", 1, 'a', 1 },
        { "\xc3\xa9", 2, 0xe9, 2 },
        { "\xe4\xb8\xad", 3, 0x4e2d, 3 },
        { "\xf0\x9f\x98\x80", 4, 0x1f600, 4 },
        { "\xf4\x8f\xbf\xbf", 4, 0x10ffff, 4 },
        { "\x80", 1, UTF8_INVALID, 1 },
        { "\xff", 1, UTF8_INVALID, 1 },
        { "\xc3", 1, UTF8_INVALID, 1 },
        { "\xc3(", 2, UTF8_INVALID, 1 },
        { "\xe4\xb8", 2, UTF8_INVALID, 1 },
        { "\xc0\x80", 2, UTF8_INVALID, 1 },
        { "\xe0\x80\x80", 3, UTF8_INVALID, 1 },
        { "\xed\xa0\x80", 3, UTF8_INVALID, 1 },
        { "\xf4\x90\x80\x80", 4, UTF8_INVALID, 1 },
        { "\xf8\x88\x80\x80\x80", 5, UTF8_INVALID, 1 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint32_t rune = 0;
        assert_int_equal(utf8_decode(str_n(cases[i].bytes, cases[i].len), 0, &rune), cases[i].used);
        assert_int_equal(rune, cases[i].rune);
    }
}

static void every_character_round_trips(void **state) {
    for (uint32_t rune = 0; rune <= 0x110000; rune++) {
        struct buf out;
        buf_init(&out, 8);
        utf8_append(&out, rune);
        uint32_t decoded = 0;
        assert_int_equal(utf8_decode(buf_as_str(&out), 0, &decoded), out.len);
        bool is_scalar = rune <= 0x10ffff && (rune < 0xd800 || rune >= 0xe000);
        assert_int_equal(decoded, is_scalar ? rune : UTF8_REPLACEMENT);
        buf_finish(&out);
    }
}

static void cutting_and_counting(void **state) {
    struct str text = STR("a\xe4\xb8\xad\xf0\x9f\x98\x80");
    static const size_t floors[] = { 0, 1, 1, 1, 4, 4, 4, 4, 8, 8 };
    for (size_t max = 0; max < ARRAY_LEN(floors); max++) {
        assert_int_equal(utf8_floor(text, max), floors[max]);
    }
    assert_int_equal(utf8_count(text), 3);
    assert_int_equal(utf8_count(STR("\xff\xff"
                                    "a")),
                     3);
    assert_int_equal(utf8_floor(STR("ab\xe4\xb8"), 9), 2);
}

static void case_mapping(void **state) {
    static const uint32_t pairs[][2] = {
        { 'a', 'A' },         { 0xe9, 0xc9 },     { 0xff, 0x178 },  { 0x101, 0x100 },
        { 0x3b1, 0x391 },     { 0x434, 0x414 },   { 0x561, 0x531 }, { 0xff41, 0xff21 },
        { 0x1f600, 0x1f600 }, { 0x4e2d, 0x4e2d }, { '5', '5' },     { 0x10428, 0x10400 },
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        assert_int_equal(unicode_upper(pairs[i][0]), pairs[i][1]);
        assert_int_equal(unicode_upper(pairs[i][1]), pairs[i][1]);
        assert_int_equal(unicode_lower(pairs[i][1]), pairs[i][0]);
        assert_int_equal(unicode_lower(pairs[i][0]), pairs[i][0]);
    }
    for (uint32_t rune = 0; rune <= 0x10ffff; rune++) {
        assert_int_equal(unicode_upper(unicode_upper(rune)), unicode_upper(rune));
        assert_int_equal(unicode_lower(unicode_lower(rune)), unicode_lower(rune));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding),
        cmocka_unit_test(every_character_round_trips),
        cmocka_unit_test(cutting_and_counting),
        cmocka_unit_test(case_mapping),
    };
    return cmocka_run_group_tests_name("base/unicode", tests, NULL, NULL);
}
