/*
 * Goal: matcher texts mean what they mean to Alertmanager in its default mode, in both of its
 * grammars. Method: a table of texts with the matchers they stand for, printed; most are
 * upstream's.
 */
#include "notify/matchers.h"
#include "tests/unit.h"

static const struct {
    const char *text;
    const char *printed; /* "!…": the error instead */
} cases[] = {
    { "{}", "{}" },
    { "", "{}" },
    { ",", "!bad matcher format: " },
    { "{,}", "!bad matcher format: " },
    { "{foo='}", "{foo=\"'\"}" },
    { "{foo=`}", "{foo=\"`\"}" },
    { "{foo=\\\"}", "{foo=\"\\\"\"}" },
    { "{foo=bar}", "{foo=\"bar\"}" },
    { "{foo=\"bar\"}", "{foo=\"bar\"}" },
    { "{foo=~bar.*}", "{foo=~\"bar.*\"}" },
    { "{foo!=bar}", "{foo!=\"bar\"}" },
    { "{foo!~\"bar.*\"}", "{foo!~\"bar.*\"}" },
    { "{foo=\"bar\", baz!=\"quux\"}", "{foo=\"bar\",baz!=\"quux\"}" },
    { "{foo=\"bar\",baz!~\".*quux\", derp=\"wat\"}", "{foo=\"bar\",baz!~\".*quux\",derp=\"wat\"}" },
    { "{foo=\"\"}", "{foo=\"\"}" },
    { "{foo=\"bar,quux\", job=\"job1\"}", "{foo=\"bar,quux\",job=\"job1\"}" },
    { "{foo = \"bar\", dings != \"bums\", }", "{foo=\"bar\",dings!=\"bums\"}" },
    { "foo=bar,dings!=bums", "{foo=\"bar\",dings!=\"bums\"}" },
    { "{quote=\"She said: \\\"Hi, ladies!\\\"\"}", "{quote=\"She said: \\\"Hi, ladies!\\\"\"}" },
    { "statuscode=~\"5..\"", "{statuscode=~\"5..\"}" },
    { "tricky=~~~", "{tricky=~\"~~\"}" },
    { "trickier==\\\\=\\=\\\"", "{trickier=\"=\\\\=\\\\=\\\"\"}" },
    { "contains_quote != \"\\\"\" , contains_comma !~ \"foo,bar\" , ",
      "{contains_quote!=\"\\\"\",contains_comma!~\"foo,bar\"}" },
    { "{foo=bar}}", "{foo=\"bar}\"}" },
    { "{foo=bar}},}", "{foo=\"bar}}\"}" },
    { "{foo=,bar=}}", "{foo=\"\",bar=\"}\"}" },
    { "{foo=bar\\t}", "{foo=\"bar\\\\t\"}" },
    { "{foo=bar\\n}", "{foo=\"bar\\n\"}" },
    { "{foo=bar\\}", "{foo=\"bar\\\\\"}" },
    { "{foo=bar\\\\}", "{foo=\"bar\\\\\"}" },
    { "job=", "{job=\"\"}" },
    { "job=\"value", "!matcher value contains unescaped double quote: \"value" },
    { "job=value\"", "!matcher value contains unescaped double quote: value\"" },
    { "contains = foo\"bar", "!matcher value contains unescaped double quote: foo\"bar" },
    { "{foo=~\"invalid[regexp\"}", "!" },
    { "\"{foo=\\\"bar\"}", "!bad matcher format: \"{foo=\\\"bar\"" },
    { "{{foo=", "!bad matcher format: {foo=" },
    { "{foo=", "{foo=\"\"}" },
    { "{foo=}b", "{foo=\"}b\"}" },
    { "foo", "!bad matcher format: foo" },
    { "a=\"\xff\"", "!matcher value is not valid UTF-8" },
    /* only the UTF-8 grammar has these */
    { "{\"my.name\"=\"x\"}", "{\"my.name\"=\"x\"}" },
    { "{invalid-name = \"valid label\"}", "{\"invalid-name\"=\"valid label\"}" },
    { "{foo=bar,}", "{foo=\"bar\"}" },
    { "{\"\\u00fc\\x41\\101\"=\"\\U0001F600\"}", "{\"\xc3\xbc"
                                                 "AA\"=\"\xf0\x9f\x98\x80\"}" },
    /* both accept and disagree: the classic reading holds */
    { "foo=\"\\x41\"", "{foo=\"\\\\x41\"}" },
};

static void test_parse(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matcher_list list = { 0 };
        struct err err = ERR_INIT;
        struct buf out;
        buf_init(&out, 4096);
        bool is_ok = matcher_list_parse(&list, str_from(cases[i].text), &err);
        if (is_ok) {
            matcher_list_print(&list, &out);
        } else {
            assert_int_equal(list.count, 0);
            buf_printf(&out, "!%s", err.msg);
        }
        bool is_any_error = strcmp(cases[i].printed, "!") == 0 && !is_ok;
        if (!is_any_error && !str_eq_c(buf_as_str(&out), cases[i].printed)) {
            fail_msg("%s: %s, expected %s", cases[i].text, buf_as_str(&out).ptr, cases[i].printed);
        }
        matcher_list_finish(&list);
        buf_finish(&out);
    }
}

static void test_append_and_sort(void **state) {
    (void)state;
    struct matcher_list list = { 0 };
    struct err err = ERR_INIT;
    struct buf out;
    buf_init(&out, 4096);
    assert_true(matcher_list_parse(&list, STR("b=1,a=~2"), &err));
    assert_false(matcher_list_parse(&list, STR("c=3,d"), &err)); /* nothing of it stays */
    assert_true(matcher_list_parse(&list, STR("a=0"), &err));
    matcher_list_sort(&list);
    matcher_list_print(&list, &out);
    assert_string_equal(buf_as_str(&out).ptr, "{a=\"0\",a=~\"2\",b=\"1\"}");
    matcher_list_finish(&list);
    buf_finish(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_append_and_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
