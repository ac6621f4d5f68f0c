/*
 * Goal: the literal shape of a pattern never loses a text the pattern matches. Method: a table of
 * shapes; then generated patterns whose shape is compared with the matcher on every short text.
 */
#include <stdio.h>
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

/* "{a,b}" for a set, "prefix*" otherwise. */
static void print_shape(const struct regex_shape *shape, struct buf *out) {
    if (shape->set_count == 0) {
        buf_str(out, shape->prefix);
        buf_putc(out, '*');
        return;
    }
    buf_putc(out, '{');
    for (size_t i = 0; i < shape->set_count; i++) {
        buf_printf(out, "%s%.*s", i == 0 ? "" : ",", STR_FMT(shape->set[i]));
    }
    buf_putc(out, '}');
}

static const struct {
    const char *pattern;
    const char *shape;
} shape_cases[] = {
    { "", "{}" },
    { "abc", "{abc}" },
    { "a|b|c", "{a,b,c}" },
    { "b|a|b", "{a,b}" },
    { "a|", "{,a}" },
    { "^(a|b)$", "{a,b}" },
    { "^a|b$", "{a,b}" },
    { "(?:a|b)", "{a,b}" },
    { "(?P<x>a|b)c", "{ac,bc}" },
    { "(?<x>a|b)c", "{ac,bc}" },
    { "foo(bar|baz)", "{foobar,foobaz}" },
    { "(a|b)(c|d)", "{ac,ad,bc,bd}" },
    { "[ab]c", "{ac,bc}" },
    { "[a-c]", "{a,b,c}" },
    { "[a-]", "{-,a}" },
    { "[]a]", "{],a}" },
    { "[\\]\\-]", "{-,]}" },
    { "5[0-9][0-9]", "{500,501,502,503,504,505,506,507,508,509,510,511,512,513,514,515,516,"
                     "517,518,519,520,521,522,523,524,525,526,527,528,529,530,531,532,533,"
                     "534,535,536,537,538,539,540,541,542,543,544,545,546,547,548,549,550,"
                     "551,552,553,554,555,556,557,558,559,560,561,562,563,564,565,566,567,"
                     "568,569,570,571,572,573,574,575,576,577,578,579,580,581,582,583,584,"
                     "585,586,587,588,589,590,591,592,593,594,595,596,597,598,599}" },
    { "[0-9][0-9][0-9]", "*" },
    { "a[0-9][0-9][0-9]", "a*" },
    { "https?", "{http,https}" },
    { "ab?c", "{abc,ac}" },
    { "(a|b)?", "{,a,b}" },
    { "a{2}", "{aa}" },
    { "(ab){2}c", "{ababc}" },
    { "a{0}b", "{b}" },
    { "a{2,3}b", "aa*" },
    { "a{1,}", "a*" },
    { "a{,2}", "{a{,2}}" },
    { "a{x}", "{a{x}}" },
    { "a+", "a*" },
    { "ab*", "a*" },
    { "ab+", "ab*" },
    { "ab+?c", "ab*" },
    { "abc.*", "abc*" },
    { "abc.*|abd", "ab*" },
    { "abc.+def", "abc*" },
    { "(foo|fob).*", "fo*" },
    { "(?:api|app)-.+", "ap*" },
    { ".*abc", "*" },
    { "a|b.*|c", "*" },
    { "a\\.b", "{a.b}" },
    { "a\\.b.*", "a.b*" },
    { "10\\.0\\.0\\.\\d+", "10.0.0.*" },
    { "\\n|\\t", "{\t,\n}" },
    { "\\Qa.b\\E", "{a.b}" },
    { "\\Qa|b\\E|c", "{a|b,c}" },
    { "a\\d", "a*" },
    { "a\\x41", "a*" },
    { "a\\x{41}{2}", "a*" },
    { "a\\p{Greek}+|ab", "a*" },
    { "a\\bb", "a*" },
    { "a^b", "a*" },
    { "a$b", "a*" },
    { "a\\$", "{a$}" },
    { "a\\\\$", "{a\\}" },
    { "a[^b]", "a*" },
    { "a[[:alpha:]]", "a*" },
    { "a[[:alpha:]b]|ac", "a*" },
    { "a[\\d]", "a*" },
    { "a[\\p{Lu}]|ab", "a*" },
    { "\xc3\xa9|\xc3\xa8", "{\xc3\xa8,\xc3\xa9}" },
    { "a\xc3\xa9*", "a*" },
    { "[\xc3\xa9x]", "{x,\xc3\xa9}" },
    { "a[\xc3\xa0-\xc3\xa9]", "a*" },
    { "(?i)abc", "*" },
    { "(?i:abc)", "*" },
    { "a(?i)b", "*" },
    { "a(?i:b)c", "*" },
    { "(?si)abc", "*" },
    { "(?m)abc", "*" },
    { "(?s)abc", "{abc}" },
    { "(?s:a|b)", "{a,b}" },
    { "(?-s)a.", "a*" },
    { "(?U)ab+", "ab*" },
    { "(?-i)abc", "*" },
    { "()", "{}" },
    { "(|a)b", "{ab,b}" },
    { "((((a))))", "{a}" },
    { "]", "{]}" },
    { "}", "{}}" },
};

static void shapes(void **state) {
    for (size_t i = 0; i < ARRAY_LEN(shape_cases); i++) {
        struct regex *regex = must_compile(str_from(shape_cases[i].pattern));
        struct buf out;
        buf_init(&out, 100000);
        print_shape(regex_shape(regex), &out);
        if (!str_eq_c(buf_as_str(&out), shape_cases[i].shape)) {
            fail_msg("%s has shape %s", shape_cases[i].pattern, out.ptr);
        }
        buf_finish(&out);
        regex_destroy(regex);
    }
}

static void a_set_has_at_most_256_strings(void **state) {
    for (int count = 256; count <= 257; count++) {
        struct buf pattern;
        buf_init(&pattern, 4096);
        for (int i = 0; i < count; i++) {
            buf_printf(&pattern, "%sh%d", i == 0 ? "" : "|", i);
        }
        struct regex *regex = must_compile(buf_as_str(&pattern));
        assert_int_equal(regex_shape(regex)->set_count, count == 256 ? 256 : 0);
        assert_true(regex_matches(regex, STR("h255")));
        regex_destroy(regex);
        buf_finish(&pattern);
    }
    struct regex *regex = must_compile(STR("x([ab][ab][ab][ab][ab][ab][ab][ab])"));
    assert_int_equal(regex_shape(regex)->set_count, 256);
    regex_destroy(regex);
    regex = must_compile(STR("x([ab][ab][ab][ab][ab][ab][ab][ab]c?)"));
    assert_int_equal(regex_shape(regex)->set_count, 0);
    assert_true(str_eq_c(regex_shape(regex)->prefix, "x"));
    regex_destroy(regex);
}

static void hostile_patterns_cost_little(void **state) {
    struct buf pattern;
    buf_init(&pattern, 4096);
    for (int i = 0; i < 60; i++) {
        buf_cstr(&pattern, "((a|b)(c|d)(e|f)(g|h)(a|b)(c|d)(e|f)(g|h)(x\\.x\\.x)|");
    }
    buf_cstr(&pattern, "z");
    for (int i = 0; i < 60; i++) {
        buf_cstr(&pattern, ")");
    }
    assert_false(pattern.is_over);
    regex_destroy(must_compile(buf_as_str(&pattern)));
    buf_reset(&pattern);
    for (int i = 0; i < 900; i++) {
        buf_cstr(&pattern, "(a?");
    }
    for (int i = 0; i < 900; i++) {
        buf_cstr(&pattern, ")");
    }
    struct regex *regex = NULL;
    struct err err = ERR_INIT;
    if (regex_create(buf_as_str(&pattern), &regex, &err)) {
        assert_int_equal(regex_shape(regex)->set_count, 0);
        regex_destroy(regex);
    }
    buf_finish(&pattern);
}

static uint32_t next_random(uint64_t *random) {
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*random >> 33);
}

static void generate(struct buf *out, uint64_t *random, int depth) {
    static const char *const atoms[] = { "a",    "b", "ab", ".", "[ab]",  "[^a]", "\\.",     "\\w",
                                         "a\\b", "$", "^",  "",  "[a-b]", "(?s)", "\\Qab\\E" };
    static const char *const repeats[] = { "", "", "", "*", "+", "?", "{2}", "{0,1}", "{1,2}" };
    uint32_t parts = 1 + next_random(random) % 3;
    for (uint32_t i = 0; i < parts; i++) {
        if (i > 0 && next_random(random) % 3 == 0) {
            buf_putc(out, '|');
        }
        if (depth > 0 && next_random(random) % 2 == 0) {
            buf_putc(out, '(');
            generate(out, random, depth - 1);
            buf_putc(out, ')');
        } else {
            buf_cstr(out, atoms[next_random(random) % ARRAY_LEN(atoms)]);
        }
        buf_cstr(out, repeats[next_random(random) % ARRAY_LEN(repeats)]);
    }
}

static bool shape_allows(const struct regex_shape *shape, struct str text, bool *ret_is_exact) {
    *ret_is_exact = shape->set_count > 0;
    for (size_t i = 0; i < shape->set_count; i++) {
        if (str_eq(shape->set[i], text)) {
            return true;
        }
    }
    return shape->set_count == 0 && str_starts_with(text, shape->prefix);
}

/* All texts over {a, b, .} of up to four characters. */
static void check_on_all_texts(const struct regex *regex, struct str pattern) {
    static const char letters[] = "ab.";
    for (int len = 0; len <= 4; len++) {
        int total = len == 0 ? 1 : len == 1 ? 3 : len == 2 ? 9 : len == 3 ? 27 : 81;
        for (int code = 0; code < total; code++) {
            char text[4];
            int rest = code;
            for (int i = 0; i < len; i++) {
                text[i] = letters[rest % 3];
                rest /= 3;
            }
            struct str subject = str_n(text, (size_t)len);
            bool is_exact;
            bool allowed = shape_allows(regex_shape(regex), subject, &is_exact);
            bool matches = regex_matches(regex, subject);
            if ((matches && !allowed) || (is_exact && allowed && !matches)) {
                fail_msg("%.*s on \"%.*s\": matcher %d, shape %d", STR_FMT(pattern),
                         STR_FMT(subject), matches, allowed);
            }
        }
    }
}

static void shapes_agree_with_the_matcher(void **state) {
    uint64_t random = 42;
    int checked = 0;
    for (int i = 0; i < 1500; i++) {
        struct buf pattern;
        buf_init(&pattern, 4096);
        generate(&pattern, &random, 2);
        struct regex *regex = NULL;
        struct err err = ERR_INIT;
        if (regex_create(buf_as_str(&pattern), &regex, &err)) {
            check_on_all_texts(regex, buf_as_str(&pattern));
            checked++;
        }
        regex_destroy(regex);
        buf_finish(&pattern);
    }
    assert_true(checked > 500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(a_set_has_at_most_256_strings),
        cmocka_unit_test(hostile_patterns_cost_little),
        cmocka_unit_test(shapes_agree_with_the_matcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
