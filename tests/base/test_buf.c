/*
 * Goal: bytes are appended whole or not at all, and one overflow silences everything after it.
 * Method: every kind of append at the cap and one past it.
 */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tests/unit.h"

static void appends_concatenate(void **state) {
    struct buf buf;
    buf_init(&buf, 1000);
    assert_string_equal(buf_as_str(&buf).ptr, "");
    buf_cstr(&buf, "a");
    buf_str(&buf, STR("bc"));
    buf_putc(&buf, 'd');
    buf_append(&buf, NULL, 0);
    buf_printf(&buf, "[%d %s]", 7, "x");
    buf_i64(&buf, INT64_MIN);
    buf_putc(&buf, ' ');
    buf_i64(&buf, INT64_MAX);
    buf_putc(&buf, ' ');
    buf_u64(&buf, UINT64_MAX);
    buf_putc(&buf, ' ');
    buf_i64(&buf, 0);
    assert_string_equal(buf.ptr,
                        "abcd[7 x]-9223372036854775808 9223372036854775807 18446744073709551615 0");
    assert_int_equal(buf.len, strlen(buf.ptr));
    assert_false(buf.is_over);
    buf_finish(&buf);
}

static void long_prints_are_whole(void **state) {
    struct buf buf;
    buf_init(&buf, 100000);
    for (int width = 250; width < 262; width++) {
        buf_reset(&buf);
        buf_printf(&buf, "%*d", width, 5);
        assert_int_equal(buf.len, width);
        assert_int_equal(buf.ptr[width - 1], '5');
        assert_int_equal(buf.ptr[width], '\0');
    }
    buf_finish(&buf);
}

static void append_past(struct buf *buf, int kind) {
    switch (kind) {
    case 0: buf_append(buf, "xy", 2); break;
    case 1: buf_cstr(buf, "xy"); break;
    case 2: buf_printf(buf, "%s", "xy"); break;
    case 3: buf_i64(buf, -1); break;
    case 4: buf_u64(buf, 10); break;
    case 5: assert_null(buf_reserve(buf, 2)); break;
    default: buf_printf(buf, "%300d", 1); break;
    }
}

static void the_cap_is_exact_and_sticky(void **state) {
    for (int kind = 0; kind < 7; kind++) {
        struct buf buf;
        buf_init(&buf, 10);
        buf_cstr(&buf, "123456789");
        append_past(&buf, kind); /* two bytes where one is left */
        assert_true(buf.is_over);
        assert_string_equal(buf.ptr, "123456789");
        buf_putc(&buf, 'z'); /* would fit, but the flag is sticky */
        assert_string_equal(buf.ptr, "123456789");
        assert_int_equal(buf.len, 9);
        buf_reset(&buf);
        assert_false(buf.is_over);
        assert_string_equal(buf.ptr, "");
        buf_cstr(&buf, "1234567890");
        assert_false(buf.is_over);
        assert_string_equal(buf.ptr, "1234567890");
        buf_putc(&buf, 'x');
        assert_true(buf.is_over);
        assert_int_equal(buf.len, 10);
        buf_finish(&buf);
    }
}

static void a_zero_cap_takes_nothing(void **state) {
    struct buf buf = { 0 };
    buf_cstr(&buf, "");
    assert_false(buf.is_over);
    buf_putc(&buf, 'x');
    assert_true(buf.is_over);
    buf_finish(&buf);
}

static void huge_requests_are_refused_not_allocated(void **state) {
    struct buf buf;
    buf_init(&buf, 1000);
    assert_null(buf_reserve(&buf, SIZE_MAX));
    assert_true(buf.is_over);
    buf_finish(&buf);
    buf_init(&buf, SIZE_MAX);
    buf_cstr(&buf, "abc");
    assert_null(buf_reserve(&buf, SIZE_MAX - 3));
    assert_true(buf.is_over);
    buf_finish(&buf);
}

static void reserved_room_is_the_callers(void **state) {
    struct buf buf;
    buf_init(&buf, 100);
    buf_cstr(&buf, "ab");
    char *room = buf_reserve(&buf, 98);
    assert_non_null(room);
    memset(room, 'x', 98);
    buf.len += 98;
    assert_int_equal(buf.ptr[100], '\0');
    assert_null(buf_reserve(&buf, 1));
    buf_finish(&buf);
}

static void take_hands_over(void **state) {
    struct buf buf;
    buf_init(&buf, 100);
    size_t len = 42;
    char *bytes = buf_take(&buf, &len);
    assert_string_equal(bytes, "");
    assert_int_equal(len, 0);
    mem_free(bytes);
    buf_cstr(&buf, "text");
    bytes = buf_take(&buf, &len);
    assert_string_equal(bytes, "text");
    assert_int_equal(len, 4);
    assert_int_equal(buf.len, 0);
    mem_free(bytes);
    buf_cstr(&buf, "again");
    assert_string_equal(buf.ptr, "again");
    bytes = buf_take(&buf, NULL);
    mem_free(bytes);
    buf_finish(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_concatenate),
        cmocka_unit_test(long_prints_are_whole),
        cmocka_unit_test(the_cap_is_exact_and_sticky),
        cmocka_unit_test(a_zero_cap_takes_nothing),
        cmocka_unit_test(huge_requests_are_refused_not_allocated),
        cmocka_unit_test(reserved_room_is_the_callers),
        cmocka_unit_test(take_hands_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
