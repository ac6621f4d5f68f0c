/*
 * Goal: messages reach the operator whole, with their causes, and never overflow. Method: set, wrap
 * and overfill errors, also with arguments that point into the error itself.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "tests/unit.h"

static void set_keeps_code_and_message(void **state) {
    struct err err = ERR_INIT;
    assert_false(err_set(&err, ERR_NOT_FOUND, "no rule group \"%s\"", "api"));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(err.msg, "no rule group \"api\"");
}

static void set_may_quote_itself(void **state) {
    struct err err = ERR_INIT;
    err_set(&err, ERR_IO, "disk");
    err_set(&err, ERR_INTERNAL, "again: %s", err.msg);
    assert_string_equal(err.msg, "again: disk");
    assert_int_equal(err.code, ERR_INTERNAL);
}

static void wrap_prepends_and_keeps_the_code(void **state) {
    struct err err = ERR_INIT;
    err_set(&err, ERR_LIMIT, "too long");
    assert_false(err_wrap(&err, "loading %s", "a.yml"));
    assert_false(err_wrap(&err, "reload"));
    assert_string_equal(err.msg, "reload: loading a.yml: too long");
    assert_int_equal(err.code, ERR_LIMIT);
    err_wrap(&err, "%s", err.msg);
    assert_string_equal(err.msg,
                        "reload: loading a.yml: too long: reload: loading a.yml: too long");
}

static void errno_is_named(void **state) {
    static const struct {
        enum err_code asked;
        int errnum;
        enum err_code code;
        const char *msg;
    } cases[] = {
        { ERR_IO, ENOENT, ERR_IO, "cannot open x: No such file or directory" },
        { ERR_IO, ENOSPC, ERR_NO_SPACE, "cannot open x: No space left on device" },
        { ERR_IO, EDQUOT, ERR_NO_SPACE, "cannot open x: Disk quota exceeded" },
        { ERR_INVALID, ENOSPC, ERR_INVALID, "cannot open x: No space left on device" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        assert_false(err_set_errno(&err, cases[i].asked, cases[i].errnum, "cannot open %s", "x"));
        assert_int_equal(err.code, cases[i].code);
        assert_string_equal(err.msg, cases[i].msg);
    }
}

static void long_messages_end_in_dots(void **state) {
    char text[2000];
    struct err err = ERR_INIT;
    size_t room = sizeof(err.msg) - 1;

    memset(text, 'x', sizeof(text));
    text[room] = '\0';
    err_set(&err, ERR_INVALID, "%s", text);
    assert_string_equal(err.msg, text);

    text[room] = 'x';
    text[room + 1] = '\0';
    err_set(&err, ERR_INVALID, "%s", text);
    assert_int_equal(strlen(err.msg), room);
    assert_string_equal(err.msg + room - 4, "x...");

    /* never inside a UTF-8 sequence */
    for (size_t shift = 0; shift < 2; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 2 < sizeof(text); i += 2) {
            memcpy(text + i, "\xc3\xa9", 2);
        }
        text[1800 + shift] = '\0';
        err_set(&err, ERR_INVALID, "%s", text);
        assert_true(str_is_utf8(str_from(err.msg)));
        assert_true(str_ends_with(str_from(err.msg), STR("\xc3\xa9...")));
    }

    err_set(&err, ERR_INVALID, "short");
    text[sizeof(text) - 1] = '\0';
    err_wrap(&err, "%.600s", text);
    assert_true(str_ends_with(str_from(err.msg), STR("...")));
}

static void every_code_has_a_name(void **state) {
    for (int code = 0; code < ERR_COUNT; code++) {
        assert_true(strlen(err_code_to_string((enum err_code)code)) > 0);
    }
    assert_string_equal(err_code_to_string(ERR_NO_SPACE), "no_space");
}

/* In a child whose standard error comes back through a pipe. */
static void a_bug_says_where_and_aborts(void **state) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = { 0 };
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)dup2(fds[1], STDERR_FILENO);
        bug_abort("base/x.c", 42, "state %d", 7);
    }
    close(fds[1]);
    char text[200];
    ssize_t len = read(fds[0], text, sizeof(text));
    close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_true(len > 0);
    assert_true(str_starts_with(str_n(text, (size_t)len), STR("BUG: base/x.c:42: state 7\n")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_keeps_code_and_message),       cmocka_unit_test(set_may_quote_itself),
        cmocka_unit_test(wrap_prepends_and_keeps_the_code), cmocka_unit_test(errno_is_named),
        cmocka_unit_test(long_messages_end_in_dots),        cmocka_unit_test(every_code_has_a_name),
        cmocka_unit_test(a_bug_says_where_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
