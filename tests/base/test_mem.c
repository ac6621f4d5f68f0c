/*
 * Goal: allocation helpers give usable memory at every size and die, loudly, when there is none.
 * Method: edge sizes in-process; exhaustion in a child process whose end is looked at.
 */
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "tests/unit.h"

static void zero_sizes_are_fine(void **state) {
    void *ptr = mem_alloc(0);
    assert_non_null(ptr);
    ptr = mem_realloc(ptr, 0);
    assert_non_null(ptr);
    mem_free(ptr);
    ptr = mem_calloc(0, 8);
    assert_non_null(ptr);
    mem_free(ptr);
    mem_free(NULL);
}

static void calloc_zeroes(void **state) {
    unsigned char *bytes = mem_calloc(100, 10);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(bytes[i], 0);
    }
    mem_free(bytes);
}

static void strings_are_copied(void **state) {
    char *copy = mem_strdup("text");
    assert_string_equal(copy, "text");
    mem_free(copy);
    copy = mem_strndup("text", 2);
    assert_string_equal(copy, "te");
    mem_free(copy);
    copy = mem_strndup(NULL, 0);
    assert_string_equal(copy, "");
    mem_free(copy);
}

static void vectors_grow_and_keep_their_items(void **state) {
    int *items = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < 1000; i++) {
        items = vec_grow(items, &cap, i + 1, sizeof(items[0]));
        assert_true(cap > i);
        items[i] = (int)i;
    }
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(items[i], i);
    }
    size_t before = cap;
    assert_ptr_equal(vec_grow(items, &cap, 10, sizeof(items[0])), items);
    assert_int_equal(cap, before);
    mem_free(items);
}

static void cleanup_frees_and_forgets(void **state) {
    char *text = mem_strdup("x");
    mem_freep(&text);
    assert_null(text);
    mem_freep(&text);
    CLEANUP(mem_freep) char *scoped = mem_strdup("freed at the end of the scope");
    assert_non_null(scoped);
}

static void overflowing_calloc(void) {
    mem_free(mem_calloc(SIZE_MAX / 2, 3));
}

static void overflowing_vector(void) {
    size_t cap = 0;
    mem_free(vec_grow(NULL, &cap, SIZE_MAX / 4, 16));
}

static void expect_abort(void (*run)(void)) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = { 0 };
        (void)setrlimit(RLIMIT_CORE, &no_core);
        close(STDERR_FILENO);
        run();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void overflow_aborts(void **state) {
    expect_abort(overflowing_calloc);
    expect_abort(overflowing_vector);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_sizes_are_fine),
        cmocka_unit_test(calloc_zeroes),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(vectors_grow_and_keep_their_items),
        cmocka_unit_test(cleanup_frees_and_forgets),
        cmocka_unit_test(overflow_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
