/*
 * Goal: label sets print as Prometheus writes them and their bytes read back to the same set or not
 * at all. Method: golden texts; every truncation and every changed byte of an encoding.
 */
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "tests/unit.h"

#define SET(...)                                                \
    ((struct labels){ .items = (struct label[]){ __VA_ARGS__ }, \
                      .count = ARRAY_LEN(((struct label[]){ __VA_ARGS__ })) })
#define L(n, v)                                                        \
    {                                                                  \
        .name = { (n), sizeof(n) - 1 }, .value = {(v), sizeof(v) - 1 } \
    }

static const struct labels none = { .count = 0 };

static void printing(void **state) {
    const struct {
        struct labels labels;
        const char *text;
    } cases[] = {
        { none, "{}" },
        { SET(L("__name__", "up")), "up" },
        { SET(L("__name__", "job:up:sum"), L("job", "api")), "job:up:sum{job=\"api\"}" },
        { SET(L("__name__", "up"), L("a", "b"), L("c", "d")), "up{a=\"b\",c=\"d\"}" },
        { SET(L("a", "b")), "{a=\"b\"}" },
        { SET(L("__name__", "my.name")), "{\"my.name\"}" },
        { SET(L("__name__", "my.name"), L("a", "b")), "{\"my.name\",a=\"b\"}" },
        { SET(L("__name__", "up"), L("a.b", "c")), "up{\"a.b\"=\"c\"}" },
        { SET(L("A", "z"), L("__name__", "up"), L("b", "y")), "up{A=\"z\",b=\"y\"}" },
        { SET(L("a", "\"\\\n\t\r\a\b\f\v\x01\x7f")),
          "{a=\"\\\"\\\\\\n\\t\\r\\a\\b\\f\\v\\x01\\x7f\"}" },
        { SET(L("a", "\xc3\xa9")), "{a=\"\xc3\xa9\"}" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        buf_init(&out, 1000);
        labels_print(cases[i].labels, &out);
        assert_string_equal(out.ptr, cases[i].text);
        buf_finish(&out);
    }
}

static void classic_names(void **state) {
    static const struct {
        const char *name;
        bool is_label;
        bool is_metric;
    } cases[] = {
        { "", false, false },   { "a", true, true },          { "_", true, true },
        { "a1", true, true },   { "1a", false, false },       { "a:b", false, true },
        { ":a", false, true },  { "a-b", false, false },      { "a.b", false, false },
        { "A_z9", true, true }, { "\xc3\xa9", false, false }, { "a ", false, false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str name = str_from(cases[i].name);
        assert_int_equal(label_name_is_valid_legacy(name), cases[i].is_label);
        assert_int_equal(metric_name_is_valid_legacy(name), cases[i].is_metric);
    }
    assert_false(label_name_is_valid_legacy(STR("a\0b")));
}

static void what_is_encoded_decodes(void **state) {
    static char large[LABEL_VALUE_BYTES_MAX];
    memset(large, 'x', sizeof(large));
    struct label large_label = { .name = STR("large"), .value = str_n(large, sizeof(large)) };
    const struct labels sets[] = {
        none,
        SET(L("a", "b")),
        SET(L("__name__", "up"), L("job", "api"), L("\xc3\xa9", "\xe2\x82\xac")),
        { .items = &large_label, .count = 1 },
    };
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct buf bytes;
        buf_init(&bytes, 10000);
        labels_encode(sets[i], &bytes);
        struct labels back;
        assert_true(labels_decode(buf_as_str(&bytes), &arena, &back));
        assert_true(labels_equal(back, sets[i]));
        buf_finish(&bytes);
    }
    arena_finish(&arena);
}

static bool decodes(struct str bytes, struct labels *ret, struct arena *arena) {
    char *copy = malloc(bytes.len + 1); /* so that the sanitizer sees a read past the end */
    memcpy(copy, bytes.ptr, bytes.len);
    struct labels labels;
    bool ok = labels_decode(str_n(copy, bytes.len), arena, &labels);
    if (ok) {
        *ret = labels_dup(labels, arena);
    }
    free(copy);
    return ok;
}

static void malformed_bytes_are_refused(void **state) {
    static const struct str cases[] = {
        { "", 0 },
        { "\x01", 1 },
        { "\x01\x01", 2 },
        { "\x01\x01"
          "a",
          3 },
        { "\x01\x01"
          "a\x02"
          "b",
          5 },
        { "\x01\x01"
          "a\x01"
          "bx",
          6 },
        { "\x02\x01"
          "a\x01"
          "b",
          5 },
        { "\x01\x00\x01"
          "b",
          4 }, /* empty name */
        { "\x01\x01"
          "a\x00",
          4 }, /* empty value */
        { "\x02\x01"
          "b\x01"
          "1\x01"
          "a\x01"
          "1",
          9 }, /* out of order */
        { "\x02\x01"
          "a\x01"
          "1\x01"
          "a\x01"
          "2",
          9 },                         /* twice */
        { "\x80\x00", 2 },             /* count not in its shortest form */
        { "\xff\xff\xff\xff\x0f", 5 }, /* count beyond the bytes */
        { "\xff\xff\xff\xff\xff\xff\x01", 7 },
    };
    struct arena arena;
    arena_init(&arena, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct labels labels;
        assert_false(decodes(cases[i], &labels, &arena));
    }
    assert_false(arena_is_over(&arena));
    arena_finish(&arena);
}

static void every_damage_is_refused_or_another_set(void **state) {
    struct labels labels = SET(L("__name__", "up"), L("job", "api"), L("zone", "eu"));
    struct buf bytes;
    buf_init(&bytes, 1000);
    labels_encode(labels, &bytes);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct labels back;
    for (size_t len = 0; len < bytes.len; len++) {
        assert_false(decodes(str_n(bytes.ptr, len), &back, &arena));
    }
    for (size_t i = 0; i < bytes.len; i++) {
        for (unsigned change = 1; change < 256; change++) {
            bytes.ptr[i] = (char)(bytes.ptr[i] ^ (char)(unsigned char)change);
            if (decodes(buf_as_str(&bytes), &back, &arena)) {
                assert_false(labels_equal(back, labels));
            }
            bytes.ptr[i] = (char)(bytes.ptr[i] ^ (char)(unsigned char)change);
        }
        arena_reset(&arena);
    }
    arena_finish(&arena);
    buf_finish(&bytes);
}

static void enums_have_names(void **state) {
    assert_string_equal(match_type_to_string(MATCH_EQ), "=");
    assert_string_equal(match_type_to_string(MATCH_NRE), "!~");
    assert_string_equal(family_type_to_string(FAMILY_UNKNOWN), "unknown");
    assert_string_equal(family_type_to_string(FAMILY_GAUGE_HISTOGRAM), "gaugehistogram");
    for (int type = 0; type < FAMILY_TYPE_COUNT; type++) {
        assert_true(strlen(family_type_to_string((enum family_type)type)) > 0);
    }
}

static void the_stale_marker_is_one_nan_of_many(void **state) {
    double stale = double_from_bits(STALE_NAN_BITS);
    assert_true(stale != stale);
    assert_true(is_stale(stale));
    assert_false(is_stale(double_from_bits(NORMAL_NAN_BITS)));
    assert_false(is_stale(0));
    struct sample sample = { .t_ms = 1, .value = stale };
    struct sample copy = sample;
    assert_true(double_bits(copy.value) == STALE_NAN_BITS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printing),
        cmocka_unit_test(classic_names),
        cmocka_unit_test(what_is_encoded_decodes),
        cmocka_unit_test(malformed_bytes_are_refused),
        cmocka_unit_test(every_damage_is_refused_or_another_set),
        cmocka_unit_test(enums_have_names),
        cmocka_unit_test(the_stale_marker_is_one_nan_of_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
