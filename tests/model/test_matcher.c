/*
 * Goal: matchers select what Prometheus' select; an absent label is the empty value. Method: table
 * of matchers and values, covering the set, prefix and general forms of patterns.
 */
#include <string.h>

#include "model/model.h"
#include "tests/unit.h"

static void matching(void **state) {
    static const struct {
        enum match_type type;
        const char *pattern;
        const char *value;
        bool matches;
    } cases[] = {
        { MATCH_EQ, "a", "a", true },
        { MATCH_EQ, "a", "b", false },
        { MATCH_EQ, "", "", true },
        { MATCH_EQ, "", "a", false },
        { MATCH_NE, "a", "a", false },
        { MATCH_NE, "a", "", true },
        { MATCH_NE, "", "a", true },
        { MATCH_NE, "", "", false },
        { MATCH_RE, "a|b", "b", true },
        { MATCH_RE, "a|b", "ab", false },
        { MATCH_RE, "a|", "", true },
        { MATCH_RE, "api-.+", "api-1", true },
        { MATCH_RE, "api-.+", "api-", false },
        { MATCH_RE, "api-.+", "ap", false },
        { MATCH_RE, ".*", "", true },
        { MATCH_RE, ".+", "", false },
        { MATCH_RE, "", "", true },
        { MATCH_RE, "", "a", false },
        { MATCH_RE, "(?i)get|post", "POST", true },
        { MATCH_RE, "5..", "503", true },
        { MATCH_RE, "5..", "5030", false },
        { MATCH_RE, "5[0-9]{2}", "503", true },
        { MATCH_NRE, "a|b", "b", false },
        { MATCH_NRE, "a|b", "c", true },
        { MATCH_NRE, "api-.+", "web", true },
        { MATCH_NRE, ".*", "x", false },
        { MATCH_NRE, ".+", "", true },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matcher matcher;
        struct err err = ERR_INIT;
        assert_true(
            matcher_init(&matcher, cases[i].type, STR("l"), str_from(cases[i].pattern), &err));
        if (matcher_matches(&matcher, str_from(cases[i].value)) != cases[i].matches) {
            fail_msg("l%s\"%s\" on \"%s\" is not %d", match_type_to_string(cases[i].type),
                     cases[i].pattern, cases[i].value, cases[i].matches);
        }
        matcher_finish(&matcher);
    }
}

static void matcher_owns_its_text(void **state) {
    char name[] = "job";
    char value[] = "a|b";
    struct matcher matcher;
    struct err err = ERR_INIT;
    assert_true(matcher_init(&matcher, MATCH_RE, str_n(name, 3), str_n(value, 3), &err));
    memset(name, 'X', 3);
    memset(value, 'X', 3);
    assert_true(str_eq_c(matcher.name, "job"));
    assert_true(str_eq_c(matcher.value, "a|b"));
    assert_true(matcher_matches(&matcher, STR("b")));
    matcher_finish(&matcher);
    matcher_finish(&matcher);
}

static void bad_patterns_leave_the_matcher_alone(void **state) {
    struct matcher matcher = { .type = MATCH_NE };
    struct err err = ERR_INIT;
    assert_false(matcher_init(&matcher, MATCH_RE, STR("job"), STR("a("), &err));
    assert_string_equal(err.msg, "error parsing regexp: missing closing ): `a(`");
    assert_int_equal(matcher.type, MATCH_NE);
    assert_true(matcher_init(&matcher, MATCH_EQ, STR("job"), STR("a("), &err));
    matcher_finish(&matcher);
}

static void all_matchers_must_agree(void **state) {
    struct label items[] = {
        { .name = STR("__name__"), .value = STR("up") },
        { .name = STR("job"), .value = STR("api") },
    };
    struct labels labels = { .items = items, .count = ARRAY_LEN(items) };
    struct matcher matchers[3];
    struct err err = ERR_INIT;
    assert_true(matcher_init(&matchers[0], MATCH_EQ, METRIC_NAME, STR("up"), &err));
    assert_true(matcher_init(&matchers[1], MATCH_RE, STR("job"), STR("a.*"), &err));
    assert_true(matcher_init(&matchers[2], MATCH_EQ, STR("zone"), STR(""), &err));
    assert_true(matchers_match_labels(matchers, 3, labels));
    assert_true(matchers_match_labels(matchers, 0, labels));
    items[1].value = STR("web");
    assert_false(matchers_match_labels(matchers, 3, labels));
    assert_true(matchers_match_labels(matchers, 1, labels));
    for (size_t i = 0; i < ARRAY_LEN(matchers); i++) {
        matcher_finish(&matchers[i]);
    }
}

static void printing(void **state) {
    static const struct {
        enum match_type type;
        struct str name;
        struct str value;
        const char *text;
    } cases[] = {
        { MATCH_EQ, { "job", 3 }, { "api", 3 }, "job=\"api\"" },
        { MATCH_NE, { "job", 3 }, { "", 0 }, "job!=\"\"" },
        { MATCH_RE, { "a.b", 3 }, { "\\d+", 3 }, "\"a.b\"=~\"\\\\d+\"" },
        { MATCH_NRE, { "job", 3 }, { "\"", 1 }, "job!~\"\\\"\"" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matcher matcher;
        struct err err = ERR_INIT;
        struct buf out;
        buf_init(&out, 100);
        assert_true(matcher_init(&matcher, cases[i].type, cases[i].name, cases[i].value, &err));
        matcher_print(&matcher, &out);
        assert_string_equal(out.ptr, cases[i].text);
        matcher_finish(&matcher);
        buf_finish(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matching),
        cmocka_unit_test(matcher_owns_its_text),
        cmocka_unit_test(bad_patterns_leave_the_matcher_alone),
        cmocka_unit_test(all_matchers_must_agree),
        cmocka_unit_test(printing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
