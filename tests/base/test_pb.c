/*
 * Goal: the reader takes every well-formed message, refuses the rest at the right place, and never
 * reads past the end. Method: written messages read back; tables of malformed bytes; every prefix
 * of a good message.
 */
#include <math.h>
#include <string.h>

#include "base/pb.h"
#include "tests/unit.h"

static void what_is_written_reads_back(void **state) {
    static const uint64_t values[] = { 0,     1,     127,        128,       300,
                                       16383, 16384, UINT32_MAX, INT64_MAX, UINT64_MAX };
    struct buf out;
    buf_init(&out, 10000);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        pb_put_uint(&out, 1, values[i]);
    }
    pb_put_double(&out, 2, -0.5);
    pb_put_double(&out, 2, (double)INFINITY);
    pb_put_bytes(&out, 3, STR("text"));
    pb_put_bytes(&out, 536870911, STR(""));

    struct pb_reader reader = pb_reader_init(buf_as_str(&out));
    struct pb_field field;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_true(pb_next(&reader, &field));
        assert_int_equal(field.number, 1);
        assert_int_equal(field.wire, PB_VARINT);
        assert_true(field.value == values[i]);
    }
    assert_true(pb_next(&reader, &field));
    assert_int_equal(field.wire, PB_FIXED64);
    assert_true(pb_double(field.value) == -0.5);
    assert_true(pb_next(&reader, &field));
    assert_true(isinf(pb_double(field.value)));
    assert_true(pb_next(&reader, &field));
    assert_true(str_eq_c(field.bytes, "text"));
    assert_true(pb_next(&reader, &field));
    assert_int_equal(field.number, 536870911);
    assert_int_equal(field.bytes.len, 0);
    assert_false(pb_next(&reader, &field));
    assert_false(reader.is_bad);
    assert_int_equal(pb_offset(&reader), out.len);
    buf_finish(&out);
}

static void fixed_width_fields(void **state) {
    struct pb_reader reader = pb_reader_init(STR("\x0d\x01\x02\x03\x84\x11\x01\0\0\0\0\0\0\x80"));
    struct pb_field field;
    assert_true(pb_next(&reader, &field));
    assert_int_equal(field.wire, PB_FIXED32);
    assert_true(field.value == 0x84030201);
    assert_true(pb_next(&reader, &field));
    assert_int_equal(field.wire, PB_FIXED64);
    assert_true(field.value == UINT64_C(0x8000000000000001));
    assert_false(pb_next(&reader, &field));
    assert_false(reader.is_bad);
}

static void malformed_messages(void **state) {
    static const struct {
        struct str bytes;
        size_t offset;
    } cases[] = {
        { { "\x08", 1 }, 1 },                                              /* value missing */
        { { "\x08\x80", 2 }, 1 },                                          /* value cut */
        { { "\x80", 1 }, 0 },                                              /* tag cut */
        { { "\x00\x01", 2 }, 1 },                                          /* field number 0 */
        { { "\x0b", 1 }, 1 },                                              /* group start */
        { { "\x0c", 1 }, 1 },                                              /* group end */
        { { "\x0e", 1 }, 1 },                                              /* wire type 6 */
        { { "\x0f", 1 }, 1 },                                              /* wire type 7 */
        { { "\x0a\x02x", 3 }, 2 },                                         /* bytes cut */
        { { "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 }, 11 },    /* huge length */
        { { "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11 }, 1 },     /* 65 bits */
        { { "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 12 }, 1 }, /* 11 bytes */
        { { "\x0d\x01\x02\x03", 4 }, 1 },                                  /* fixed32 cut */
        { { "\x09\x01\x02\x03\x04\x05\x06\x07", 8 }, 1 },                  /* fixed64 cut */
        { { "\x80\x80\x80\x80\x10\x01", 6 }, 5 },                          /* number 2^29 */
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pb_reader reader = pb_reader_init(cases[i].bytes);
        struct pb_field field;
        assert_false(pb_next(&reader, &field));
        assert_true(reader.is_bad);
        assert_int_equal(pb_offset(&reader), cases[i].offset);
        assert_false(pb_next(&reader, &field));
    }
}

static void embedded_messages_keep_the_offset(void **state) {
    struct pb_reader outer = pb_reader_init(STR("\x08\x01\x12\x04\x08\x02\x08\x80"));
    struct pb_field field;
    assert_true(pb_next(&outer, &field));
    assert_true(pb_next(&outer, &field));
    struct pb_reader inner = pb_reader_sub(&outer, field.bytes);
    assert_true(pb_next(&inner, &field));
    assert_true(field.value == 2);
    assert_false(pb_next(&inner, &field));
    assert_true(inner.is_bad);
    assert_int_equal(pb_offset(&inner), 7);
    assert_false(outer.is_bad);
}

static void no_prefix_reads_past_its_end(void **state) {
    struct buf out;
    buf_init(&out, 1000);
    pb_put_uint(&out, 300, UINT64_MAX);
    pb_put_double(&out, 2, 1.5);
    pb_put_bytes(&out, 3, STR("hello"));
    for (size_t len = 0; len < out.len; len++) {
        char *copy = test_malloc(len + 1); /* the allocator guards what follows */
        memcpy(copy, out.ptr, len);
        struct pb_reader reader = pb_reader_init(str_n(copy, len));
        struct pb_field field;
        while (pb_next(&reader, &field)) {
        }
        test_free(copy);
    }
    buf_finish(&out);
}

static void zigzag(void **state) {
    assert_true(pb_zigzag_decode(0) == 0);
    assert_true(pb_zigzag_decode(1) == -1);
    assert_true(pb_zigzag_decode(2) == 1);
    assert_true(pb_zigzag_decode(UINT64_MAX) == INT64_MIN);
    assert_true(pb_zigzag_decode(UINT64_MAX - 1) == INT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(fixed_width_fields),
        cmocka_unit_test(malformed_messages),
        cmocka_unit_test(embedded_messages_keep_the_offset),
        cmocka_unit_test(no_prefix_reads_past_its_end),
        cmocka_unit_test(zigzag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
