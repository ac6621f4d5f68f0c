/*
 * Goal: rows on disk give back what was put in and nothing else is taken for one. Method: encode,
 * decode, compare; then every truncation and every flipped byte must decode or fail, never crash.
 */
#include <math.h>

#include "base/mem.h"
#include "rules/engine.h"
#include "tests/unit.h"

/* Labels and annotations live in the caller's arrays. */
struct pairs {
    struct label labels[2];
    struct label annotations[2];
};

static struct alert_row make_row(struct pairs *pairs) {
    *pairs = (struct pairs){
        .labels = { { STR("alertname"), STR("Down") }, { STR("job"), STR("a") } },
        .annotations = { { STR("empty"), STR("") }, { STR("s"), STR("line\n2") } },
    };
    return (struct alert_row){
        .file = STR("rules.d/a.yml"),
        .group = STR("g"),
        .name = STR("Down"),
        .match_hash = UINT64_C(0x0123456789abcdef),
        .labels_hash = 2,
        .rule_key = UINT64_MAX,
        .element_hash = 4,
        .for_ms = 300000,
        .status = { .state = ALERT_FIRING,
                    .value = -0.0,
                    .active_ms = 1700000000000,
                    .fired_ms = 1700000060000,
                    .resolved_ms = 0,
                    .last_sent_ms = 1700000120000,
                    .keep_firing_since_ms = -5 },
        .labels = { pairs->labels, ARRAY_LEN(pairs->labels) },
        .annotations = { pairs->annotations, ARRAY_LEN(pairs->annotations) },
    };
}

static void test_alert_round_trip(void **state) {
    static const double values[] = { 0, -0.0, 1.5, HUGE_VAL, -HUGE_VAL };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct pairs pairs;
        struct alert_row row = make_row(&pairs);
        struct alert_row back;
        struct buf bytes;
        struct arena arena;
        arena_init(&arena, SIZE_MAX);
        buf_init(&bytes, SIZE_MAX);
        row.status.value = values[i];
        rules_alert_row_encode(&row, &bytes);
        assert_true(rules_alert_row_decode(buf_as_str(&bytes), &arena, &back));
        assert_true(str_eq(back.file, row.file));
        assert_true(str_eq(back.group, row.group));
        assert_true(str_eq(back.name, row.name));
        assert_true(back.match_hash == row.match_hash && back.labels_hash == row.labels_hash);
        assert_true(back.rule_key == row.rule_key && back.element_hash == row.element_hash);
        assert_int_equal(back.for_ms, row.for_ms);
        assert_int_equal(double_bits(back.status.value), double_bits(row.status.value));
        back.status.value = row.status.value = 0;
        assert_memory_equal(&back.status.active_ms, &row.status.active_ms,
                            sizeof(row.status) - offsetof(struct alert_status, active_ms));
        assert_true(labels_equal(back.labels, row.labels));
        assert_true(labels_equal(back.annotations, row.annotations));
        buf_finish(&bytes);
        arena_finish(&arena);
    }
}

static void test_damaged_alert(void **state) {
    struct alert_row back;
    struct buf bytes;
    struct arena arena;
    struct pairs pairs;
    struct alert_row row = make_row(&pairs);
    arena_init(&arena, SIZE_MAX);
    buf_init(&bytes, SIZE_MAX);
    rules_alert_row_encode(&row, &bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        char *copy = mem_strndup(bytes.ptr, len); /* exact size: a read past it is noticed */
        assert_false(rules_alert_row_decode(str_n(copy, len), &arena, &back));
        mem_free(copy);
    }
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.ptr[i] = (char)(bytes.ptr[i] ^ 0x80);
        bool is_taken = rules_alert_row_decode(buf_as_str(&bytes), &arena, &back);
        assert_true(!is_taken || back.labels.count <= bytes.len);
        bytes.ptr[i] = (char)(bytes.ptr[i] ^ 0x80);
    }
    buf_putc(&bytes, 'x');
    assert_false(rules_alert_row_decode(buf_as_str(&bytes), &arena, &back));
    buf_finish(&bytes);
    arena_finish(&arena);
}

static void test_group_round_trip(void **state) {
    struct group_row row = { STR("a.yml"), STR("g"), 1700000000000, -1 };
    struct group_row back;
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    rules_group_row_encode(&row, &bytes);
    assert_true(rules_group_row_decode(buf_as_str(&bytes), &back));
    assert_true(str_eq(back.file, row.file) && str_eq(back.name, row.name));
    assert_int_equal(back.last_slot_ms, row.last_slot_ms);
    assert_int_equal(back.query_offset_ms, row.query_offset_ms);
    for (size_t len = 0; len < bytes.len; len++) {
        assert_false(rules_group_row_decode(str_n(bytes.ptr, len), &back));
    }
    buf_finish(&bytes);
}

static void test_keys(void **state) {
    uint8_t one[ALERT_ROW_KEY_BYTES];
    uint8_t two[ALERT_ROW_KEY_BYTES];
    struct pairs pairs;
    struct alert_row sample = make_row(&pairs);
    rules_alert_row_key(1, sample.labels, one);
    rules_alert_row_key(1, sample.annotations, two);
    assert_memory_equal(one, two, 8); /* one rule's rows stand together */
    assert_memory_not_equal(one + 8, two + 8, 16);
    rules_alert_row_key(2, sample.labels, two);
    assert_memory_not_equal(one, two, 8);
    assert_memory_equal(one + 8, two + 8, 16);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alert_round_trip),
        cmocka_unit_test(test_damaged_alert),
        cmocka_unit_test(test_group_round_trip),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
