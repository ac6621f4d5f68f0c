/*
 * Goal: findings print like a compiler's, whatever the source line holds. Method: add findings for
 * given places of given texts and compare the whole print-out.
 */
#include <stdio.h>

#include "base/diag.h"
#include "tests/unit.h"

static void check_print(struct str text, uint32_t line, uint32_t column, const char *expected) {
    struct diag_list list;
    diag_list_init(&list);
    struct diag_at at = { .file = "f.yml", .line = line, .column = column, .text = text };
    diag_add(&list, DIAG_ERROR, at, "bad %s", "thing");
    struct buf out;
    buf_init(&out, 65536);
    diag_print(&list, &out);
    assert_string_equal(buf_as_str(&out).ptr, expected);
    buf_finish(&out);
    diag_list_finish(&list);
}

static void excerpts(void **state) {
    struct str text = STR("a: 1\r\n        for: 15x\n\tx: y\n\n指标: 请求量过高 x\nlast");
    check_print(text, 1, 4, "f.yml:1:4: error: bad thing\n    a: 1\n       ^\n");
    check_print(text, 2, 14, "f.yml:2:14: error: bad thing\n    for: 15x\n         ^\n");
    check_print(text, 2, 4, "f.yml:2:4: error: bad thing\n         for: 15x\n    ^\n");
    check_print(text, 3, 2, "f.yml:3:2: error: bad thing\n    x: y\n    ^\n");
    check_print(text, 4, 1, "f.yml:4:1: error: bad thing\n");
    check_print(text, 5, 11,
                "f.yml:5:11: error: bad thing\n    指标: 请求量过高 x\n                     ^\n");
    check_print(text, 6, 9, "f.yml:6:9: error: bad thing\n    last\n        ^\n");
    check_print(text, 7, 1, "f.yml:7:1: error: bad thing\n");
    check_print(text, 0, 0, "f.yml: error: bad thing\n");
    check_print(STR(""), 3, 1, "f.yml:3:1: error: bad thing\n");
    check_print(STR("a\x1b[31mb\xff c"), 1, 8,
                "f.yml:1:8: error: bad thing\n    a [31mb? c\n           ^\n");
}

static void long_lines_show_a_window(void **state) {
    char text[3000];
    memset(text, 'x', sizeof(text));
    text[2000] = '!';
    struct diag_list list;
    diag_list_init(&list);
    struct diag_at at = { .file = "f", .line = 1, .column = 2001, .text = str_n(text, 3000) };
    diag_add(&list, DIAG_ERROR, at, "here");
    assert_true(strlen(list.items[0].source_line) < 140);
    assert_int_equal(list.items[0].source_line[list.items[0].caret], '!');
    diag_list_finish(&list);
}

static void messages_stay_on_one_line(void **state) {
    struct diag_list list;
    diag_list_init(&list);
    diag_add(&list, DIAG_WARNING, (struct diag_at){ .file = "f" }, "value \"%s\"", "a\nb\x1b[0m");
    assert_string_equal(list.items[0].message, "value \"a b [0m\"");
    assert_int_equal(list.error_count, 0);
    diag_list_finish(&list);
}

static void keeps_one_hundred_and_counts_the_rest(void **state) {
    struct diag_list list;
    diag_list_init(&list);
    for (uint32_t i = 0; i < 150; i++) {
        diag_add(&list, DIAG_ERROR, (struct diag_at){ .file = "f", .line = i + 1 }, "no %u", i);
    }
    assert_int_equal(list.count, 100);
    assert_int_equal(list.error_count, 150);
    assert_int_equal(list.dropped, 50);
    struct err err = ERR_INIT;
    assert_false(diag_to_err(&list, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.msg, "f:1: no 0 (and 149 more)");
    struct buf out;
    buf_init(&out, 65536);
    diag_print(&list, &out);
    assert_true(
        str_ends_with(buf_as_str(&out), STR("f:100: error: no 99\n(and 50 more findings)\n")));
    buf_finish(&out);
    diag_list_finish(&list);
}

static void to_err_skips_warnings(void **state) {
    struct diag_list list;
    diag_list_init(&list);
    diag_add(&list, DIAG_WARNING, (struct diag_at){ .file = "f", .line = 1 }, "first");
    diag_add(&list, DIAG_ERROR, (struct diag_at){ .file = "f", .line = 2, .column = 3 }, "second");
    struct err err = ERR_INIT;
    assert_false(diag_to_err(&list, &err));
    assert_string_equal(err.msg, "f:2:3: second");
    diag_list_finish(&list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(excerpts),
        cmocka_unit_test(long_lines_show_a_window),
        cmocka_unit_test(messages_stay_on_one_line),
        cmocka_unit_test(keeps_one_hundred_and_counts_the_rest),
        cmocka_unit_test(to_err_skips_warnings),
    };
    return cmocka_run_group_tests_name("base/diag", tests, NULL, NULL);
}
