/* Running tables of expressions. */
#include "tests/promql/parse_cases.h"

#include <stdio.h>
#include <stdlib.h>

const struct promql_features all_features = {
    .experimental_functions = true,
    .duration_expressions = true,
    .extended_range_selectors = true,
    .binop_fill_modifiers = true,
};

static void print_after_parse(struct str text, bool is_pretty, struct buf *out) {
    struct arena arena;
    struct promql_expr *expr;
    struct err err = ERR_INIT;
    arena_init(&arena, SIZE_MAX);
    /* A copy of its own, so that a sanitizer sees a read past the end. */
    char *copy = malloc(text.len);
    memcpy(copy, text.ptr, text.len);
    if (!promql_parse(str_n(copy, text.len), &all_features, &arena, &expr, NULL, &err)) {
        fail_msg("%.*s: %s", STR_FMT(text), err.msg);
    }
    free(copy);
    if (is_pretty) {
        promql_prettify(expr, out);
    } else {
        promql_print(expr, out);
    }
    promql_expr_finish(expr);
    arena_finish(&arena);
}

static void check_one_good(const struct good_case *one) {
    struct buf printed;
    struct buf again;
    const char *expected = one->printed == NULL ? one->text : one->printed;
    buf_init(&printed, SIZE_MAX);
    buf_init(&again, SIZE_MAX);
    print_after_parse(str_from(one->text), false, &printed);
    if (!str_eq_c(buf_as_str(&printed), expected)) {
        fail_msg("%s: printed as %.*s", one->text, STR_FMT(buf_as_str(&printed)));
    }
    print_after_parse(buf_as_str(&printed), false, &again);
    if (!str_eq(buf_as_str(&printed), buf_as_str(&again))) {
        fail_msg("%s: printed again as %.*s", one->text, STR_FMT(buf_as_str(&again)));
    }
    struct buf pretty;
    buf_init(&pretty, SIZE_MAX);
    print_after_parse(str_from(one->text), true, &pretty);
    buf_reset(&again);
    print_after_parse(buf_as_str(&pretty), false, &again);
    if (!str_eq(buf_as_str(&printed), buf_as_str(&again))) {
        fail_msg("%s: pretty form reads as %.*s", one->text, STR_FMT(buf_as_str(&again)));
    }
    buf_finish(&pretty);
    buf_finish(&again);
    buf_finish(&printed);
}

void check_good(const struct good_case *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        check_one_good(&cases[i]);
    }
}

/* What stands before the message, from the offset. */
static void position_of(const struct bad_case *one, char *out, size_t bytes) {
    size_t line = 1;
    size_t column = 1;
    for (size_t i = 0; i < one->offset; i++) {
        column = one->text[i] == '\n' ? 1 : column + 1;
        line += one->text[i] == '\n';
    }
    if (one->text[0] == '\0') {
        snprintf(out, bytes, "unknown position: parse error: ");
    } else {
        snprintf(out, bytes, "%zu:%zu: parse error: ", line, column);
    }
}

static void check_one_bad(const struct promql_features *features, const struct bad_case *one) {
    char expected[sizeof(((struct err *)0)->msg)];
    position_of(one, expected, sizeof(expected));
    size_t len = strlen(expected);
    snprintf(expected + len, sizeof(expected) - len, "%s", one->msg);
    struct arena arena;
    struct promql_expr *expr = NULL;
    size_t offset = SIZE_MAX;
    struct err err = ERR_INIT;
    arena_init(&arena, SIZE_MAX);
    if (promql_parse(str_from(one->text), features, &arena, &expr, &offset, &err)) {
        fail_msg("%s: accepted", one->text);
    }
    if (strcmp(err.msg, expected) != 0) {
        fail_msg("%s: got \"%s\", expected \"%s\"", one->text, err.msg, expected);
    }
    assert_true(offset == one->offset);
    assert_true(err.code == ERR_INVALID);
    arena_finish(&arena);
}

void check_bad(const struct promql_features *features, const struct bad_case *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        check_one_bad(features, &cases[i]);
    }
}
