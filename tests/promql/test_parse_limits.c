/*
 * Goal: the parser's caps hold exactly, and selectors alone and inside trees are handed out whole.
 * Method: texts at each limit and one past it; small tables for the rest of the public interface.
 */
#include <stdio.h>

#include "base/mem.h"
#include "tests/promql/parse_cases.h"

/* ---- limits ---- */

static enum err_code parse_text(struct str text, struct err *err) {
    struct arena arena;
    struct promql_expr *expr;
    arena_init(&arena, SIZE_MAX);
    *err = (struct err)ERR_INIT;
    if (promql_parse(text, &all_features, &arena, &expr, NULL, err)) {
        struct buf out;
        buf_init(&out, SIZE_MAX);
        promql_print(expr, &out);
        promql_prettify(expr, &out);
        buf_finish(&out);
        promql_expr_finish(expr);
    }
    arena_finish(&arena);
    return err->code;
}

/* `count` times `open`, then `middle`, then `count` times `close`. */
static enum err_code parse_repeated(size_t count,
                                    const char *open,
                                    const char *middle,
                                    const char *close,
                                    struct err *err) {
    struct buf text;
    buf_init(&text, SIZE_MAX);
    for (size_t i = 0; i < count; i++) {
        buf_cstr(&text, open);
    }
    buf_cstr(&text, middle);
    for (size_t i = 0; i < count; i++) {
        buf_cstr(&text, close);
    }
    enum err_code code = parse_text(buf_as_str(&text), err);
    buf_finish(&text);
    return code;
}

static void nesting(void **state) {
    static const struct {
        const char *open;
        const char *middle;
        const char *close;
    } cases[] = {
        { "(", "1", ")" },      { "(1 + ", "1", ")" },  { "-", "foo", "" },
        { "abs(", "foo", ")" }, { "sum(", "foo", ")" }, { "sum by (a) (", "foo", ")" },
        { "2 ^ ", "1", "" },    { "(a or ", "b", ")" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err;
        enum err_code code = parse_repeated(PROMQL_NESTING_MAX, cases[i].open, cases[i].middle,
                                            cases[i].close, &err);
        if (code != ERR_NONE) {
            fail_msg("%s: %s", cases[i].open, err.msg);
        }
        code = parse_repeated(PROMQL_NESTING_MAX + 1, cases[i].open, cases[i].middle,
                              cases[i].close, &err);
        assert_true(code == ERR_LIMIT);
        assert_non_null(strstr(err.msg, "parse error: expression is nested deeper than 256"));
    }
}

static void nested_durations(void **state) {
    static const char *const opens[] = { "(", "-", "2 ^ " };
    static const char *const closes[] = { ")", "", "" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(opens); i++) {
        for (size_t extra = 0; extra < 2; extra++) {
            struct buf text;
            struct err err;
            buf_init(&text, SIZE_MAX);
            buf_cstr(&text, "foo offset (");
            for (size_t j = 0; j + 1 < PROMQL_NESTING_MAX + extra; j++) {
                buf_cstr(&text, opens[i]);
            }
            buf_cstr(&text, "5m");
            for (size_t j = 0; j + 1 < PROMQL_NESTING_MAX + extra; j++) {
                buf_cstr(&text, closes[i]);
            }
            buf_cstr(&text, ")");
            enum err_code code = parse_text(buf_as_str(&text), &err);
            assert_true(code == (extra == 0 ? ERR_NONE : ERR_LIMIT));
            buf_finish(&text);
        }
    }
}

static void height(void **state) {
    struct err err;

    (void)state;
    /* A chain of n operators is n + 1 high. */
    assert_true(parse_repeated(PROMQL_HEIGHT_MAX - 1, "1 + ", "1", "", &err) == ERR_NONE);
    assert_true(parse_repeated(PROMQL_HEIGHT_MAX, "1 + ", "1", "", &err) == ERR_LIMIT);
    assert_non_null(strstr(err.msg, "1024 levels"));
    assert_true(parse_repeated(PROMQL_HEIGHT_MAX, "foo[1 + ", "", "", &err) == ERR_INVALID);
}

static void length(void **state) {
    struct buf text;
    struct err err;

    (void)state;
    buf_init(&text, SIZE_MAX);
    buf_cstr(&text, "1");
    while (text.len < PROMQL_TEXT_BYTES_MAX) {
        buf_putc(&text, ' ');
    }
    assert_true(parse_text(buf_as_str(&text), &err) == ERR_NONE);
    buf_putc(&text, ' ');
    assert_true(parse_text(buf_as_str(&text), &err) == ERR_LIMIT);
    assert_non_null(strstr(err.msg, "65537 bytes"));
    struct matcher *matchers;
    size_t count;
    assert_false(promql_parse_selector(buf_as_str(&text), &matchers, &count, &err));
    buf_finish(&text);
}

/* ---- selectors ---- */

static void print_matchers(const struct matcher *matchers, size_t count, struct buf *out) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_putc(out, ' ');
        }
        buf_str(out, matchers[i].name);
        buf_cstr(out, match_type_to_string(matchers[i].type));
        buf_str(out, matchers[i].value);
    }
}

static void lone_selectors(void **state) {
    static const struct {
        const char *text;
        const char *matchers; /* NULL: refused */
    } cases[] = {
        { "foo", "__name__=foo" },
        { "foo{}", "__name__=foo" },
        { " foo { a = \"b\" } ", "a=b __name__=foo" },
        { "{a=\"b\",c!~\"d.*\"}", "a=b c!~d.*" },
        { "{\"my.metric\",\"x y\"!=\"z\"}", "__name__=my.metric x y!=z" },
        { "{}", "" },
        { "sum{a=~\"b\"}", "a=~b __name__=sum" },
        { "sum(foo)", NULL },
        { "foo offset 5m", NULL },
        { "foo[5m]", NULL },
        { "-foo", NULL },
        { "(foo)", NULL },
        { "foo bar", NULL },
        { "foo{a=~\"(\"}", NULL },
        { "foo{a=\"b\",c=~\"(\"}", NULL },
        { "1", NULL },
        { "", NULL },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct matcher *matchers;
        size_t count;
        struct err err = ERR_INIT;
        bool is_selector = promql_parse_selector(str_from(cases[i].text), &matchers, &count, &err);
        if (is_selector != (cases[i].matchers != NULL)) {
            fail_msg("%s: %s", cases[i].text, is_selector ? "accepted" : err.msg);
        }
        if (!is_selector) {
            assert_true(err.code == ERR_INVALID);
            continue;
        }
        struct buf out;
        buf_init(&out, 1000);
        print_matchers(matchers, count, &out);
        assert_true(str_eq_c(buf_as_str(&out), cases[i].matchers));
        buf_finish(&out);
        for (size_t j = 0; j < count; j++) {
            matcher_finish(&matchers[j]);
        }
        mem_free(matchers);
    }
}

static void collect(void *ctx, const struct matcher *matchers, size_t count) {
    struct buf *out = ctx;
    buf_putc(out, '{');
    print_matchers(matchers, count, out);
    buf_putc(out, '}');
}

static void visiting(void **state) {
    struct arena arena;
    struct promql_expr *expr;
    struct err err = ERR_INIT;
    struct buf out;

    (void)state;
    arena_init(&arena, SIZE_MAX);
    buf_init(&out, 1000);
    struct str text = STR("topk(scalar(k), -(a + sum(rate(b[5m]))[1h:]) unless c{x=\"y\"})");
    bool is_parsed = promql_parse(text, NULL, &arena, &expr, NULL, &err);
    assert_false(is_parsed); /* a subquery has no sign */
    text = STR("topk(scalar(k), -(a + min_over_time(sum(rate(b[5m]))[1h:])) unless c{x=\"y\"})");
    if (!promql_parse(text, NULL, &arena, &expr, NULL, &err)) {
        fail_msg("%s", err.msg);
    }
    promql_visit_selectors(expr, collect, &out);
    assert_string_equal(out.ptr, "{__name__=a}{__name__=b}{x=y __name__=c}{__name__=k}");
    assert_true(promql_expr_type(expr) == PROMQL_VECTOR);
    promql_expr_finish(expr);
    promql_expr_finish(NULL);
    buf_finish(&out);
    arena_finish(&arena);
}

/* ---- functions ---- */

static void functions(void **state) {
    (void)state;
    assert_null(promql_function_find(STR("")));
    assert_null(promql_function_find(STR("ab")));
    assert_null(promql_function_find(STR("Abs")));
    assert_null(promql_function_find(STR("zzz")));
    const struct promql_function *abs = promql_function_find(STR("abs"));
    const struct promql_function *year = promql_function_find(STR("year"));
    assert_non_null(abs);
    assert_non_null(year);
    const char *last = "";
    for (const struct promql_function *f = abs; f <= year; f++) {
        assert_true(strcmp(last, f->name) < 0);
        assert_ptr_equal(promql_function_find(str_from(f->name)), f);
        assert_int_equal(f->id, f - abs);
        assert_true(f->variadic == 0 || f->arg_count > 0);
        last = f->name;
    }
    assert_int_equal(year - abs + 1, PROMQL_FN_COUNT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nesting),   cmocka_unit_test(nested_durations), cmocka_unit_test(height),
        cmocka_unit_test(length),    cmocka_unit_test(lone_selectors),   cmocka_unit_test(visiting),
        cmocka_unit_test(functions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
