/*
 * Goal: URLs, forms and times are read as clients write them, and refused when malformed.
 * Method: tables over the private parsers.
 */
#include "base/mem.h"
#include "tests/unit.h"
#include "web/api.h"

static void test_url_decode(void **state) {
    (void)state;

    static const struct {
        const char *text;
        bool plus_is_space;
        const char *expected; /* NULL = refused */
    } cases[] = {
        { "", true, "" },           { "a%20b", true, "a b" },  { "a+b", true, "a b" },
        { "a+b", false, "a+b" },    { "%2f%2F", false, "//" }, { "%41%4a%4A", true, "AJJ" },
        { "%e2%82%ac", true, "€" }, { "%", true, NULL },       { "%4", true, NULL },
        { "%4g", true, NULL },      { "a%00b", true, NULL },   { "100%", true, NULL },
        { "%zz", false, NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct arena arena;
        arena_init(&arena, SIZE_MAX);
        struct str out;
        bool is_ok = web_url_decode(&arena, str_from(cases[i].text), cases[i].plus_is_space, &out);
        assert_int_equal(is_ok, cases[i].expected != NULL);
        if (is_ok) {
            assert_true(str_eq_c(out, cases[i].expected));
        }
        arena_finish(&arena);
    }
}

static void test_params(void **state) {
    (void)state;
    struct web_request request = { 0 };
    struct err err = ERR_INIT;
    arena_init(&request.arena, SIZE_MAX);
    assert_true(
        web_params_add(&request, STR("query=up%7Ba%3D%22b%22%7D&match[]=x&&match[]=y&e="), &err));
    assert_int_equal(request.param_count, 4);
    assert_true(str_eq(web_param(&request, "query"), STR("up{a=\"b\"}")));
    assert_true(str_eq(web_param(&request, "match[]"), STR("x")));
    assert_non_null(web_param(&request, "e").ptr);
    assert_null(web_param(&request, "absent").ptr);
    assert_false(web_params_add(&request, STR("bad=%x"), &err));
    assert_string_equal(err.msg, "malformed escape in parameter \"bad\"");
    arena_finish(&request.arena);
}

static void test_param_cap(void **state) {
    (void)state;
    struct web_request request = { 0 };
    struct err err = ERR_INIT;
    struct buf text;
    buf_init(&text, 1 << 20);
    arena_init(&request.arena, SIZE_MAX);
    for (int i = 0; i < WEB_PARAMS_MAX; i++) {
        buf_cstr(&text, "a=1&");
    }
    assert_true(web_params_add(&request, buf_as_str(&text), &err));
    assert_false(web_params_add(&request, STR("one=more"), &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_finish(&text);
    arena_finish(&request.arena);
}

static void test_times(void **state) {
    (void)state;

    static const struct {
        const char *text;
        bool is_ok;
        int64_t t_ms;
    } cases[] = {
        { "0", true, 0 },
        { "1435781451.781", true, 1435781451781 },
        { "1435781451.7816", true, 1435781451782 },
        { "-1.5", true, -1500 },
        { "2015-07-01T20:10:51.781Z", true, 1435781451781 },
        { "2015-07-01T20:10:51.781+01:00", true, 1435777851781 },
        { "2015-07-01T20:10:51-00:30", true, 1435783251000 },
        { "1970-01-01T00:00:00Z", true, 0 },
        { "2015-07-01T20:10:51", false, 0 },
        { "2015-13-01T20:10:51Z", false, 0 },
        { "2015-07-01 20:10:51Zx", false, 0 },
        { "now", false, 0 },
        { "NaN", false, 0 },
        { "Inf", false, 0 },
        { "1e30", false, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        int64_t t_ms = 0;
        assert_int_equal(api_time_parse(str_from(cases[i].text), &t_ms, &err), cases[i].is_ok);
        assert_true(t_ms == cases[i].t_ms);
    }
}

static void test_json_seconds(void **state) {
    (void)state;

    static const struct {
        int64_t t_ms;
        const char *expected;
    } cases[] = {
        { 0, "0" },
        { 1435781451000, "1435781451" },
        { 1435781451781, "1435781451.781" },
        { 1, "0.001" },
        { 50, "0.050" },
        { -1, "-0.001" },
        { -1500, "-1.500" },
        { INT64_MIN, "-9223372036854775.808" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        struct json_writer json;
        buf_init(&out, 1024);
        json_init(&json, &out);
        api_json_seconds(&json, cases[i].t_ms);
        assert_string_equal(out.ptr, cases[i].expected);
        buf_finish(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url_decode),   cmocka_unit_test(test_params),
        cmocka_unit_test(test_param_cap),    cmocka_unit_test(test_times),
        cmocka_unit_test(test_json_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
