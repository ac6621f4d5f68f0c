/*
 * Goal: arena memory is aligned, disjoint, survives growth, and the budget is told, not enforced.
 * Method: patterned blocks of many sizes read back; budget at the limit and one past it.
 */
#include <string.h>

#include "base/arena.h"
#include "tests/unit.h"

static void blocks_are_aligned_and_disjoint(void **state) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    unsigned char *blocks[400];
    size_t sizes[400];
    for (size_t i = 0; i < 400; i++) {
        sizes[i] = i % 7 == 0 ? i * 1000 : i % 13;
        blocks[i] = arena_alloc(&arena, sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)(i & 0xff), sizes[i]);
    }
    for (size_t i = 0; i < 400; i++) {
        for (size_t j = 0; j < sizes[i]; j++) {
            assert_int_equal(blocks[i][j], i & 0xff);
        }
    }
    arena_finish(&arena);
}

static void calloc_zeroes_reused_memory(void **state) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    memset(arena_alloc(&arena, 1000), 0xff, 1000);
    arena_reset(&arena);
    const unsigned char *bytes = arena_calloc(&arena, 100, 10);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(bytes[i], 0);
    }
    arena_finish(&arena);
}

static void reset_starts_over(void **state) {
    struct arena arena;
    arena_init(&arena, 1000);
    for (size_t round = 0; round < 50; round++) {
        for (size_t i = 0; i < 100; i++) {
            memset(arena_alloc(&arena, 5000), 1, 5000);
        }
        assert_true(arena_is_over(&arena));
        arena_reset(&arena);
        assert_int_equal(arena.bytes_used, 0);
        assert_false(arena_is_over(&arena));
    }
    (void)arena_alloc(&arena, (size_t)5 << 20);
    arena_reset(&arena);
    arena_reset(&arena);
    arena_finish(&arena);
    /* A first block of unusual size is not kept. */
    (void)arena_alloc(&arena, (size_t)5 << 20);
    arena_reset(&arena);
    assert_int_equal(arena.left, 0);
    assert_non_null(arena_alloc(&arena, 1));
    arena_finish(&arena);
}

static void budget_is_sticky_and_exact(void **state) {
    struct arena arena;
    arena_init(&arena, 160);
    (void)arena_alloc(&arena, 144);
    assert_true(arena_can(&arena, 16));
    assert_false(arena_can(&arena, 17));
    (void)arena_alloc(&arena, 16);
    assert_false(arena_is_over(&arena));
    assert_true(arena_can(&arena, 0));
    assert_non_null(arena_alloc(&arena, 1));
    assert_true(arena_is_over(&arena));
    assert_false(arena_can(&arena, 0));
    (void)arena_alloc(&arena, 1);
    assert_true(arena_is_over(&arena));
    arena_finish(&arena);

    arena_init(&arena, SIZE_MAX);
    assert_true(arena_can(&arena, SIZE_MAX));
    arena_finish(&arena);
}

static void text_is_copied(void **state) {
    struct arena arena = { 0 };
    arena_finish(&arena);
    arena_init(&arena, SIZE_MAX);
    struct str empty = arena_str(&arena, str_n(NULL, 0));
    assert_int_equal(empty.len, 0);
    assert_string_equal(empty.ptr, "");
    struct str text = arena_str(&arena, str_n("abcdef", 3));
    assert_string_equal(text.ptr, "abc");
    struct str printed = arena_printf(&arena, "%s-%d", "x", 42);
    assert_true(str_eq_c(printed, "x-42"));
    struct str large = arena_printf(&arena, "%10000d", 1);
    assert_int_equal(large.len, 10000);
    assert_int_equal(large.ptr[10000], 0);
    arena_finish(&arena);
}

static void vectors_grow(void **state) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    uint32_t *items = NULL;
    size_t cap = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        items = arena_vec_grow(&arena, items, &cap, i + 1, sizeof(items[0]));
        items[i] = i;
    }
    for (uint32_t i = 0; i < 10000; i++) {
        assert_int_equal(items[i], i);
    }
    arena_finish(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_aligned_and_disjoint),
        cmocka_unit_test(calloc_zeroes_reused_memory),
        cmocka_unit_test(reset_starts_over),
        cmocka_unit_test(budget_is_sticky_and_exact),
        cmocka_unit_test(text_is_copied),
        cmocka_unit_test(vectors_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
