/*
 * Goal: patterns accept, match, capture and replace exactly as Go's regexp does inside Prometheus
 * 3, and hostile ones cost bounded time and memory. Method: tables checked with Go 1.26; large and
 * hostile patterns on a megabyte of text.
 */
#include <stdlib.h>
#include <string.h>

#include "base/regex.h"
#include "tests/unit.h"

static struct regex *must_compile(struct str pattern) {
    struct regex *regex = NULL;
    struct err err = ERR_INIT;
    if (!regex_create(pattern, &regex, &err)) {
        fail_msg("%.*s: %s", STR_FMT(pattern), err.msg);
    }
    return regex;
}

static void matching_is_anchored_and_dot_matches_newline(void **state) {
    static const struct {
        const char *pattern;
        const char *text;
        bool matches;
    } cases[] = {
        { "", "", true },
        { "", "a", false },
        { "a", "a", true },
        { "a", "ab", false },
        { "a", "ba", false },
        { "a|b", "b", true },
        { "a|b", "ab", false },
        { "a.c", "a\nc", true },
        { "(?-s)a.c", "a\nc", false },
        { ".*", "", true },
        { ".+", "\n", true },
        { "^a$", "a", true },
        { "^a", "ab", false },
        { "a$|b", "a", true },
        { "(?m)^b$", "a\nb", false },
        { "(?s:.)x", "\nx", true },
        { "(?i)ABC", "abc", true },
        { "(?i:a)B", "Ab", false },
        { "(?i)\xc3\x89", "\xc3\xa9", true },
        { "\xc3\xa9+", "\xc3\xa9\xc3\xa9", true },
        { "\\d+", "123", true },
        { "\\d+", "12a", false },
        { "[[:alpha:]]+", "abc", true },
        { "\\pL+", "\xc3\xa9t\xc3\xa9", true },
        { "\\s", "\v", false },
        { "\\bfoo\\b", "foo", true },
        { "(?P<n>x)", "x", true },
        { "(?<n>x)y", "xy", true },
        { "((?<a>x)|(?<b>y))+", "xy", true },
        { "\\Qa.b\\E", "a.b", true },
        { "\\Qa.b\\E", "axb", false },
        { "\\Qa.b", "a.b", true },
        { "\\Q(?<n>x\\E", "(?<n>x", true },
        { "\\Q)\\E", ")", true },
        { "\\Q\\C\\E", "\\C", true },
        { "\\Qab\\E+", "abbb", true },
        { "\\Qab\\E+", "abab", false },
        { "[\\]]", "]", true },
        { "[]a]+", "]a", true },
        { "[^]a]+", "b", true },
        { "[(?<n>]+", "(?<n>", true },
        { "[)]", ")", true },
        { "[[:alpha:])]+", "a)", true },
        { "\\(\\)", "()", true },
        { "\\x41\\x{42}\\103", "ABC", true },
        { "a{2}", "aa", true },
        { "a{2,3}", "aaaa", false },
        { "a{,2}", "a{,2}", true },
        { "a{", "a{", true },
        { "x*?y", "xxy", true },
        { "(?U)a+", "aaa", true },
        { "a||b", "", true },
        { "\\z", "", true },
        { "\\Aa\\z", "a", true },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct regex *regex = must_compile(str_from(cases[i].pattern));
        if (regex_matches(regex, str_from(cases[i].text)) != cases[i].matches) {
            fail_msg("%s on %s: not %d", cases[i].pattern, cases[i].text, cases[i].matches);
        }
        regex_destroy(regex);
    }
}

static void refusals_use_the_words_of_go(void **state) {
    static const struct {
        const char *pattern;
        const char *msg;
    } cases[] = {
        { "a(b", "error parsing regexp: missing closing ): `a(b`" },
        { "a)b", "error parsing regexp: unexpected ): `a)b`" },
        { "a)(b", "error parsing regexp: unexpected ): `a)(b`" },
        { "(a))", "error parsing regexp: unexpected ): `(a))`" },
        { "a[b", "error parsing regexp: missing closing ]: `[b`" },
        { "[]", "error parsing regexp: missing closing ]: `[]`" },
        { "[z-a]", "error parsing regexp: invalid character class range: `z-a`" },
        { "[[:foo:]]", "error parsing regexp: invalid character class range: `[:foo:]`" },
        { "*a", "error parsing regexp: missing argument to repetition operator: `*`" },
        { "a|*", "error parsing regexp: missing argument to repetition operator: `*`" },
        { "a**", "error parsing regexp: invalid nested repetition operator: `**`" },
        { "a++", "error parsing regexp: invalid nested repetition operator: `++`" },
        { "a{1001}", "error parsing regexp: invalid repeat count: `{1001}`" },
        { "a{3,2}", "error parsing regexp: invalid repeat count: `{3,2}`" },
        { "a\\", "error parsing regexp: trailing backslash at end of expression: ``" },
        { "\\h", "error parsing regexp: invalid escape sequence: `\\h`" },
        { "\\Z", "error parsing regexp: invalid escape sequence: `\\Z`" },
        { "\\1", "error parsing regexp: invalid escape sequence: `\\1`" },
        { "(a)\\1", "error parsing regexp: invalid escape sequence: `\\1`" },
        { "\\C", "error parsing regexp: invalid escape sequence: `\\C`" },
        { "a\\\\\\C", "error parsing regexp: invalid escape sequence: `\\C`" },
        { "[\\C]", "error parsing regexp: invalid escape sequence: `\\C`" },
        { "[\\Qa\\E]", "error parsing regexp: invalid escape sequence: `\\Q`" },
        { "a\\E", "error parsing regexp: invalid escape sequence: `\\E`" },
        { "(?P<n", "error parsing regexp: invalid named capture: `(?P<n`" },
        { "(?<n", "error parsing regexp: invalid named capture: `(?<n`" },
        { "(?P<n-m>a)", "error parsing regexp: invalid named capture: `(?P<n-m>`" },
        { "(?<n-m>a)", "error parsing regexp: invalid named capture: `(?<n-m>`" },
        { "\\p{Foo}", "error parsing regexp: invalid character class range: `\\p{Foo}`" },
        { "\xff", "error parsing regexp: invalid UTF-8: ``" },
        { "(?z)", "error parsing regexp: invalid or unsupported Perl syntax: `(?z`" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct regex *regex = NULL;
        struct err err = ERR_INIT;
        if (regex_create(str_from(cases[i].pattern), &regex, &err)) {
            fail_msg("%s was accepted", cases[i].pattern);
        }
        assert_null(regex);
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.msg, cases[i].msg);
    }
    static const char *const unsupported[] = { "(?=a)", "(?!a)",   "(?<=a)b", "(?<!a)b",
                                               "(?>a)", "(?'n'a)", "(?P=n)",  "(?x)a" };
    for (size_t i = 0; i < ARRAY_LEN(unsupported); i++) {
        struct regex *regex = NULL;
        struct err err = ERR_INIT;
        assert_false(regex_create(str_from(unsupported[i]), &regex, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
}

static void sizes_are_capped(void **state) {
    static char pattern[4097];
    memset(pattern, 'a', sizeof(pattern));
    struct err err = ERR_INIT;
    struct regex *regex = must_compile(str_n(pattern, 4096));
    assert_true(regex_matches(regex, str_n(pattern, 4096)));
    assert_false(regex_matches(regex, str_n(pattern, 4095)));
    regex_destroy(regex);
    regex = NULL;
    assert_false(regex_create(str_n(pattern, 4097), &regex, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_false(regex_create_unanchored(str_n(pattern, 4097), &regex, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_null(regex);

    static const char *const large[] = { "(\\pL{100}){9}", ".{1000}.{1000}.{1000}",
                                         "(?i)\\pL{900}" };
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        err = (struct err)ERR_INIT;
        assert_false(regex_create(str_from(large[i]), &regex, &err));
        assert_int_equal(err.code, ERR_LIMIT);
        assert_true(str_find(str_from(err.msg), STR("expression too large")) != SIZE_MAX);
    }
    assert_false(regex_create(STR("(x{1000}){1000}"), &regex, &err));
}

static void hostile_patterns_stay_linear(void **state) {
    size_t len = (size_t)1 << 20;
    char *text = malloc(len);
    memset(text, 'a', len);
    static const char *const patterns[] = { "(a+)+$b", "(a|aa)*b", "(.*)(.*)(.*)(.*)(.*)[^a]$",
                                            "(a?){50}a{50}b" };
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        struct regex *regex = must_compile(str_from(patterns[i]));
        assert_false(regex_matches(regex, str_n(text, len)));
        regex_destroy(regex);
    }
    free(text);
}

static void a_name_may_be_used_once_per_alternative(void **state) {
    struct regex *regex = must_compile(STR("(?<n>a+)|x(?P<n>b+)"));

    static const struct {
        const char *text;
        const char *result;
    } cases[] = { { "aa", "<aa>" }, { "xb", "<b>" } };

    assert_int_equal(regex_group_index(regex, STR("n")), 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 100);
        regex_replace_all(regex, str_from(cases[i].text), STR("<$n>"), &out);
        assert_string_equal(out.ptr, cases[i].result);
        buf_finish(&out);
    }
    regex_destroy(regex);
}

static void groups(void **state) {
    struct regex *regex = must_compile(STR("(a*)(?<mid>b)?(?P<end>c)"));
    struct str found[REGEX_GROUPS_MAX];
    assert_int_equal(regex_groups(regex, STR("aac"), found), 4);
    assert_true(str_eq_c(found[0], "aac"));
    assert_true(str_eq_c(found[1], "aa"));
    assert_null(found[2].ptr);
    assert_true(str_eq_c(found[3], "c"));
    assert_int_equal(regex_groups(regex, STR("bc"), found), 4);
    assert_non_null(found[1].ptr);
    assert_int_equal(found[1].len, 0);
    assert_true(str_eq_c(found[2], "b"));
    assert_int_equal(regex_groups(regex, STR("xc"), found), 0);
    assert_int_equal(regex_group_index(regex, STR("mid")), 2);
    assert_int_equal(regex_group_index(regex, STR("end")), 3);
    assert_true(regex_group_index(regex, STR("none")) == SIZE_MAX);
    assert_true(regex_group_index(regex, str_n(NULL, 0)) == SIZE_MAX);
    regex_destroy(regex);

    regex = must_compile(STR("(.*)"));
    assert_int_equal(regex_groups(regex, str_n(NULL, 0), found), 2);
    assert_non_null(found[1].ptr);
    regex_destroy(regex);

    char many[200] = "";
    for (size_t i = 0; i < 40; i++) {
        memcpy(many + 3 * i, "(x)", 4);
    }
    regex = must_compile(str_from(many));
    assert_int_equal(regex_groups(regex, STR("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"), found),
                     REGEX_GROUPS_MAX);
    regex_destroy(regex);
    regex_destroy(NULL);
}

static void replacements_expand_as_in_go(void **state) {
    static const struct {
        const char *replacement;
        const char *result;
    } cases[] = {
        { "", "" },
        { "plain", "plain" },
        { "$1", "one" },
        { "${1}", "one" },
        { "$1x", "" },
        { "${1}x", "onex" },
        { "$1-$2", "one-two" },
        { "$0", "one:two" },
        { "$name", "two" },
        { "${name}!", "two!" },
        { "$name_", "" },
        { "$none", "" },
        { "$9", "" },
        { "$99999999999", "" },
        { "$01", "" },
        { "$$1", "$1" },
        { "$$$1", "$one" },
        { "$", "$" },
        { "a$", "a$" },
        { "$ ", "$ " },
        { "$-", "$-" },
        { "${", "${" },
        { "${}", "${}" },
        { "${1", "${1" },
        { "${1 }", "${1 }" },
        { "${na-me}", "${na-me}" },
        { "$1\xe2\x82\xac", "one\xe2\x82\xac" },
        { "$1\xc3\xa9", "" },
        { "${\xc3\xa9}", "" },
        { "$\xe2\x82\xac", "$\xe2\x82\xac" },
        { "$\xff", "$\xff" },
        { "$3", "" },
    };
    struct regex *regex = must_compile(STR("(\\w+):(?P<name>\\w+)(x)?"));
    struct str found[REGEX_GROUPS_MAX];
    size_t count = regex_groups(regex, STR("one:two"), found);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 100);
        regex_expand(regex, str_from(cases[i].replacement), found, count, &out);
        if (!str_eq_c(buf_as_str(&out), cases[i].result)) {
            fail_msg("%s gave %s", cases[i].replacement, buf_as_str(&out).ptr);
        }
        buf_finish(&out);
    }
    regex_destroy(regex);
}

/* Results of Go's regexp.ReplaceAllString. */
static void replace_all_as_in_go(void **state) {
    static const struct {
        const char *pattern;
        const char *text;
        const char *replacement;
        const char *result;
    } cases[] = {
        { "a", "banana", "o", "bonono" },
        { "a*", "baac", "x", "xbxcx" },
        { "x*", "abc", "-", "-a-b-c-" },
        { "", "\xc3\xa9\xe2\x82\xac", "-", "-\xc3\xa9-\xe2\x82\xac-" },
        { "", "", "x", "x" },
        { "a", "", "x", "" },
        { "(b)(c)?", "abcb", "[$1$2]", "a[bc][b]" },
        { "^a", "aaa", "x", "xaa" },
        { "a$", "aaa", "x", "aax" },
        { "(?m)^", "a\nb", ">", ">a\n>b" },
        { "\\b", "one two", "|", "|one| |two|" },
        { "\\ba", "aa a", "x", "xa x" },
        { "b+", "abbbc", "", "ac" },
        { "(?<n>o)", "foo", "${n}0", "fo0o0" },
        { ".", "a\nb", "x", "x\nx" },
        { "[^a]*", "aba", "<$0>", "<>a<b>a<>" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct regex *regex = NULL;
        struct err err = ERR_INIT;
        assert_true(regex_create_unanchored(str_from(cases[i].pattern), &regex, &err));
        struct buf out;
        buf_init(&out, 1000);
        regex_replace_all(regex, str_from(cases[i].text), str_from(cases[i].replacement), &out);
        if (!str_eq_c(buf_as_str(&out), cases[i].result)) {
            fail_msg("%s on %s gave %s", cases[i].pattern, cases[i].text, buf_as_str(&out).ptr);
        }
        buf_finish(&out);
        regex_destroy(regex);
    }
}

static void replacing_in_no_text(void **state) {
    struct regex *regex = NULL;
    struct err err = ERR_INIT;
    assert_true(regex_create_unanchored(STR(""), &regex, &err));
    struct buf out;
    buf_init(&out, 5);
    regex_replace_all(regex, str_n(NULL, 0), STR("x"), &out);
    assert_string_equal(out.ptr, "x");
    buf_finish(&out);
    regex_destroy(regex);
}

static void replacing_stops_at_the_cap(void **state) {
    struct regex *regex = NULL;
    struct err err = ERR_INIT;
    assert_true(regex_create_unanchored(STR("a"), &regex, &err));
    struct buf out;
    buf_init(&out, 5);
    regex_replace_all(regex, STR("aaaaaaaaaa"), STR("xx"), &out);
    assert_true(out.is_over);
    buf_finish(&out);
    regex_destroy(regex);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matching_is_anchored_and_dot_matches_newline),
        cmocka_unit_test(refusals_use_the_words_of_go),
        cmocka_unit_test(sizes_are_capped),
        cmocka_unit_test(hostile_patterns_stay_linear),
        cmocka_unit_test(groups),
        cmocka_unit_test(a_name_may_be_used_once_per_alternative),
        cmocka_unit_test(replacements_expand_as_in_go),
        cmocka_unit_test(replace_all_as_in_go),
        cmocka_unit_test(replacing_in_no_text),
        cmocka_unit_test(replacing_stops_at_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
