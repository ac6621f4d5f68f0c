/*
 * Goal: what the writer prints is JSON with the right escapes and commas, what the parser reads is
 * the text's meaning, and refused texts say where they are wrong. Method: golden print-outs, tables
 * of texts with their re-printed value, tables of faults with offset and reason.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/str.h"
#include "tests/unit.h"

static void expect_text(struct buf *out, const char *expected) {
    assert_string_equal(buf_as_str(out).ptr, expected);
    buf_finish(out);
}

static void writer_places_commas(void **state) {
    struct buf out;
    buf_init(&out, 4096);
    struct json_writer json;
    json_init(&json, &out);
    json_object(&json);
    json_key(&json, "a");
    json_i64(&json, -1);
    json_key(&json, "b");
    json_array(&json);
    json_array(&json);
    json_array_end(&json);
    json_object(&json);
    json_object_end(&json);
    json_u64(&json, UINT64_MAX);
    json_f64(&json, 0.1);
    json_f64(&json, 1e21);
    json_f64(&json, (double)NAN);
    json_f64(&json, -(double)INFINITY);
    json_bool(&json, true);
    json_null(&json);
    json_cstr(&json, NULL);
    json_cstr(&json, "x");
    json_raw(&json, STR("{\"raw\":1}"));
    json_array_end(&json);
    json_key_str(&json, STR("c"));
    json_object(&json);
    json_key(&json, "d");
    json_str(&json, STR("e"));
    json_object_end(&json);
    json_object_end(&json);
    expect_text(&out,
                "{\"a\":-1,\"b\":[[],{},18446744073709551615,0.1,1e+21,null,null,true,null,null,"
                "\"x\",{\"raw\":1}],\"c\":{\"d\":\"e\"}}");
}

static void strings_are_escaped(void **state) {
    static const struct {
        struct str value;
        const char *expected;
    } cases[] = {
        { { "", 0 }, "\"\"" },
        { { "plain 中文 😀", 19 }, NULL },
        { { "\"\\/\b\f\n\r\t", 8 }, "\"\\\"\\\\/\\b\\f\\n\\r\\t\"" },
        { { "\0\x01\x1f\x7f", 4 }, "\"\\u0000\\u0001\\u001f\x7f\"" },
        { { "a\xff"
            "b\xc3",
            4 },
          "\"a\xef\xbf\xbd"
          "b\xef\xbf\xbd\"" },
        { { "\xed\xa0\x80", 3 }, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
        { { "\xf4\x90\x80\x80", 4 }, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
        { { "\xc0\x80", 2 }, "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 4096);
        struct str value = cases[i].value;
        char plain[64];
        if (cases[i].expected == NULL) {
            value = str_from(value.ptr);
            snprintf(plain, sizeof(plain), "\"%s\"", value.ptr);
        }
        buf_json_str(&out, value);
        expect_text(&out, cases[i].expected == NULL ? plain : cases[i].expected);
    }
}

/* ---- parser ---- */

static void print_value(struct json_writer *json, const struct json_value *value) {
    switch (value->type) {
    case JSON_NULL: json_null(json); break;
    case JSON_BOOL: json_bool(json, value->boolean); break;
    case JSON_I64: json_i64(json, value->i64); break;
    case JSON_U64: json_u64(json, value->u64); break;
    case JSON_F64: json_f64(json, value->f64); break;
    case JSON_STRING: json_str(json, value->string); break;
    case JSON_ARRAY:
        json_array(json);
        for (size_t i = 0; i < value->count; i++) {
            print_value(json, &value->items[i]);
        }
        json_array_end(json);
        break;
    case JSON_OBJECT:
        json_object(json);
        for (size_t i = 0; i < value->count; i++) {
            json_key_str(json, value->keys[i]);
            print_value(json, &value->items[i]);
        }
        json_object_end(json);
        break;
    }
}

static void expect_parsed(struct json_parser *parser, struct str text, const char *expected) {
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct json_value *value = NULL;
    struct err err = ERR_INIT;
    struct buf out;
    buf_init(&out, 1 << 20);
    if (json_parse(parser, text, &arena, &value, &err)) {
        struct json_writer json;
        json_init(&json, &out);
        print_value(&json, value);
    } else {
        buf_printf(&out, "%s: %s", err_code_to_string(err.code), err.msg);
    }
    expect_text(&out, expected);
    arena_finish(&arena);
}

static void texts_are_read(void **state) {
    static const char *const cases[][2] = {
        { "null", "null" },
        { " true\n", "true" },
        { "-0", "0" },
        { "9223372036854775807", "9223372036854775807" },
        { "-9223372036854775808", "-9223372036854775808" },
        { "9223372036854775808", "9223372036854775808" },
        { "18446744073709551615", "18446744073709551615" },
        { "1.5e3", "1500" },
        { "-0.0", "-0" },
        { "5e-324", "5e-324" },
        { "\"a\\u4e2d\\ud83d\\ude00\\n\\\"\\/\"", "\"a中😀\\n\\\"/\"" },
        { "\"a\\u0000b\"", "\"a\\u0000b\"" },
        { "[]", "[]" },
        { "{}", "{}" },
        { "[1,[2,[3,{}]],\"x\"]", "[1,[2,[3,{}]],\"x\"]" },
        { "{\"a\":1,\"b\":{\"c\":[true,null]},\"a\":2}",
          "{\"a\":1,\"b\":{\"c\":[true,null]},\"a\":2}" },
    };
    struct json_parser *parser = json_parser_create(1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_parsed(parser, str_from(cases[i][0]), cases[i][1]);
    }
    json_parser_destroy(parser);
}

static void faults_are_located(void **state) {
    static const char *const cases[][2] = {
        { "", "the document is empty" },
        { "  ", "at byte 2: the text ends too early" },
        { "nul", "at byte 3: the text ends too early" },
        { "nulL", "at byte 3: expected a value" },
        { "{\"a\":1", "at byte 6: the text ends too early" },
        { "{\"a\" 1}", "at byte 5: expected \":\" after a key" },
        { "{a:1}", "at byte 1: expected a key in quotes" },
        { "{\"a\":1,}", "at byte 7: expected a key in quotes" },
        { "[1,]", "at byte 3: expected a value" },
        { "[1 2]", "at byte 3: expected \",\" or \"]\"" },
        { "{\"a\":1 2}", "at byte 7: expected \",\" or \"}\"" },
        { "[1}", "at byte 2: expected \",\" or \"]\"" },
        { "1 2", "at byte 2: text after the end of the document" },
        { "{} x", "at byte 3: text after the end of the document" },
        { "\"abc", "at byte 4: the text ends too early" },
        { "\"a\nb\"", "at byte 2: control character in a string, write it as an escape" },
        { "\"a\\qb\"", "at byte 3: unknown escape in a string" },
        { "\"\\u12g4\"", "at byte 5: \\u takes four hexadecimal digits" },
        { "\"\\ud800\"", "at byte 1: half of a surrogate pair" },
        { "\"\\ud800\\u0041\"", "at byte 1: half of a surrogate pair" },
        { "\"x\\udc00\"", "at byte 2: half of a surrogate pair" },
        { "\"a\xff\"", "at byte 2: not UTF-8" },
        { "01", "at byte 0: a number must not start with 0" },
        { "-", "at byte 1: the text ends too early" },
        { "[1.]", "at byte 3: expected a digit" },
        { "[1e]", "at byte 3: expected a digit" },
        { "[.5]", "at byte 1: expected a value" },
        { "+1", "at byte 0: expected a value" },
        { "1e999", "at byte 0: number out of range" },
        { "[18446744073709551616]", "at byte 1: number out of range" },
        { "[NaN]", "at byte 1: expected a value" },
        { "[Infinity]", "at byte 1: expected a value" },
        { "'a'", "at byte 0: expected a value" },
        { "\xef\xbb\xbf{}", "at byte 0: expected a value" },
        { "// x\n1", "at byte 0: expected a value" },
    };
    struct json_parser *parser = json_parser_create(1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char expected[200];
        snprintf(expected, sizeof(expected), "invalid: invalid JSON%s%s",
                 cases[i][1][0] == 'a' ? " " : ": ", cases[i][1]);
        expect_parsed(parser, str_from(cases[i][0]), expected);
    }
    expect_parsed(
        parser, str_n("[\"\0\"]", 5),
        "invalid: invalid JSON at byte 2: control character in a string, write it as an escape");
    json_parser_destroy(parser);
}

static void nest(struct json_parser *parser, size_t depth, const char *expected) {
    char *text = malloc(2 * depth);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct json_value *value = NULL;
    struct err err = ERR_INIT;
    bool ok = json_parse(parser, str_n(text, 2 * depth), &arena, &value, &err);
    assert_string_equal(ok ? "" : err.msg, expected);
    assert_int_equal(ok ? ERR_NONE : ERR_LIMIT, err.code);
    arena_finish(&arena);
    free(text);
}

static void limits(void **state) {
    struct json_parser *parser = json_parser_create(1 << 20);
    nest(parser, 64, "");
    nest(parser, 65, "JSON nested more than 64 levels deep at byte 64");
    nest(parser, 500000, "JSON nested more than 64 levels deep at byte 64");
    json_parser_destroy(parser);

    parser = json_parser_create(10);
    expect_parsed(parser, STR("[1,2,3,45]"), "[1,2,3,45]");
    expect_parsed(parser, STR("[1,2,3,456]"), "limit: JSON document of 11 bytes is larger than 10");
    json_parser_destroy(parser);

    parser = json_parser_create(1 << 20);
    struct arena arena;
    arena_init(&arena, 4096);
    struct json_value *value = NULL;
    struct err err = ERR_INIT;
    struct buf text;
    buf_init(&text, 1 << 16);
    buf_putc(&text, '[');
    for (int i = 0; i < 1000; i++) {
        buf_cstr(&text, "1,");
    }
    buf_cstr(&text, "1]");
    assert_false(json_parse(parser, buf_as_str(&text), &arena, &value, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_finish(&text);
    arena_finish(&arena);
    json_parser_destroy(parser);
}

static void lookups(void **state) {
    struct json_parser *parser = json_parser_create(1 << 16);
    struct arena arena;
    arena_init(&arena, 1 << 20);
    struct json_value *value = NULL;
    struct err err = ERR_INIT;
    assert_true(json_parse(
        parser, STR("{\"a\":1,\"b\":2.5,\"c\":18446744073709551615,\"d\":\"x\",\"a\":7}"), &arena,
        &value, &err));
    double number = 0;
    assert_true(json_number(json_get(value, "a"), &number) && number == 7);
    assert_true(json_number(json_get(value, "b"), &number) && number == 2.5);
    assert_true(json_number(json_get(value, "c"), &number) && number == 0x1p64);
    assert_false(json_number(json_get(value, "d"), &number));
    assert_false(json_number(json_get(value, "e"), &number));
    assert_null(json_get(json_get(value, "a"), "x"));
    /* values outlive the parser's next document */
    struct json_value *other = NULL;
    assert_true(
        json_parse(parser, STR("[\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"]"), &arena, &other, &err));
    assert_true(str_eq_c(json_get(value, "d")->string, "x"));
    arena_finish(&arena);
    json_parser_destroy(parser);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writer_places_commas),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(texts_are_read),
        cmocka_unit_test(faults_are_located),
        cmocka_unit_test(limits),
        cmocka_unit_test(lookups),
    };
    return cmocka_run_group_tests_name("base/json", tests, NULL, NULL);
}
