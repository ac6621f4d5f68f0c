/*
 * Goal: label sets have one order, one identity and hard limits, whatever a client sends. Method:
 * tables of sets; limits at and one past; Prometheus' own fingerprints as known values.
 */
#include <string.h>

#include "base/mem.h"
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

static void look_up(void **state) {
    struct labels labels = SET(L("__name__", "up"), L("job", "api"));
    assert_true(str_eq_c(labels_get(labels, STR("job")), "api"));
    assert_true(str_eq_c(labels_get(labels, METRIC_NAME), "up"));
    assert_int_equal(labels_get(labels, STR("jo")).len, 0);
    assert_int_equal(labels_get(none, STR("job")).len, 0);
}

static void order_is_prometheus_order(void **state) {
    /* ascending */
    const struct labels sets[] = {
        none,
        SET(L("a", "a")),
        SET(L("a", "a"), L("b", "a")),
        SET(L("a", "a"), L("c", "a")),
        SET(L("a", "b")),
        SET(L("aa", "a")),
        SET(L("b", "\x7f")),
        SET(L("b", "\xc3\xa9")),
    };
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        for (size_t j = 0; j < ARRAY_LEN(sets); j++) {
            int order = labels_cmp(sets[i], sets[j]);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
            assert_int_equal(labels_equal(sets[i], sets[j]), i == j);
            assert_int_equal(labels_hash(sets[i]) == labels_hash(sets[j]), i == j);
            assert_int_equal(labels_fingerprint(sets[i]) == labels_fingerprint(sets[j]), i == j);
        }
    }
}

/* From prometheus/common model.TestFingerprint, and one computed with Go's hash/fnv. */
static void fingerprints_are_upstreams(void **state) {
    const struct {
        struct labels labels;
        uint64_t fingerprint;
    } cases[] = {
        { none, UINT64_C(14695981039346656037) },
        { SET(L("first_name", "electro"), L("manufacturer", "westinghouse"),
              L("occupation", "robot")),
          UINT64_C(5911716720268894962) },
        { SET(L("x", "y")), UINT64_C(8241431561484471700) },
        { SET(L("a", "bb"), L("b", "c")), UINT64_C(3016285359649981711) },
        { SET(L("a", "b"), L("bb", "c")), UINT64_C(7122421792099404749) },
        { SET(L("alertname", "HighLatency"), L("severity", "page")), UINT64_C(0x4423e39380a92178) },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(labels_fingerprint(cases[i].labels) == cases[i].fingerprint);
    }
}

static void hash_separates_names_from_values(void **state) {
    assert_true(labels_hash(SET(L("ab", "c"))) != labels_hash(SET(L("a", "bc"))));
    assert_true(labels_hash(SET(L("a", "b"), L("c", "d"))) !=
                labels_hash(SET(L("a", "bc"), L("d", "e"))));
    /* Stored on disk: may never change. */
    assert_true(labels_hash(SET(L("__name__", "up"), L("job", "api"))) ==
                UINT64_C(0x49292020accb0bcb));
    /* larger than the buffer on the stack */
    static char value[LABEL_VALUE_BYTES_MAX];
    memset(value, 'v', sizeof(value));
    struct label large = { .name = STR("a"), .value = str_n(value, sizeof(value)) };
    struct labels labels = { .items = &large, .count = 1 };
    uint64_t hash = labels_hash(labels);
    value[4000] = 'w';
    assert_true(labels_hash(labels) != hash);
}

static void copies_are_deep(void **state) {
    char value[] = "api";
    struct label label = { .name = STR("job"), .value = str_n(value, 3) };
    struct labels labels = { .items = &label, .count = 1 };
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct labels in_arena = labels_dup(labels, &arena);
    struct labels on_heap = labels_dup_heap(labels);
    struct labels empty = labels_dup_heap(none);
    value[0] = 'X';
    label.name = STR("other");
    assert_true(labels_equal(in_arena, SET(L("job", "api"))));
    assert_true(labels_equal(on_heap, SET(L("job", "api"))));
    assert_string_equal(on_heap.items[0].value.ptr, "api");
    assert_int_equal(empty.count, 0);
    assert_int_equal(labels_dup(none, &arena).count, 0);
    mem_free(on_heap.items);
    mem_free(empty.items);
    arena_finish(&arena);
}

static void normalizing_sorts_and_drops_empty_values(void **state) {
    struct err err = ERR_INIT;
    struct labels labels = SET(L("job", "api"), L("zone", ""), L("__name__", "up"), L("a", "1"));
    assert_true(labels_normalize(&labels, &err));
    assert_true(labels_equal(labels, SET(L("__name__", "up"), L("a", "1"), L("job", "api"))));
    labels = none;
    assert_true(labels_normalize(&labels, &err));
    labels = SET(L("a", ""));
    assert_true(labels_normalize(&labels, &err));
    assert_int_equal(labels.count, 0);
}

static void normalizing_refuses(void **state) {
    const struct {
        struct labels labels;
        const char *msg;
    } cases[] = {
        { SET(L("a", "1"), L("b", "2"), L("a", "3")), "label \"a\" is given more than once" },
        { SET(L("a", "1"), L("a", "1")), "label \"a\" is given more than once" },
        { SET(L("a", "1"), L("a", "")), "label \"a\" is given more than once" },
        { SET(L("", "1")), "a label has an empty name" },
        { SET(L("", "")), "a label has an empty name" },
        { SET(L("\xff", "1")), "a label name is not valid UTF-8" },
        { SET(L("a", "\xc3(")), "value of label \"a\" is not valid UTF-8" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        struct labels labels = cases[i].labels;
        assert_false(labels_normalize(&labels, &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.msg, cases[i].msg);
    }
}

static void limits_hold_at_and_past(void **state) {
    static char text[LABEL_VALUE_BYTES_MAX + 1];
    memset(text, 'x', sizeof(text));
    struct err err = ERR_INIT;
    struct label label = { .name = str_n(text, LABEL_NAME_BYTES_MAX),
                           .value = str_n(text, LABEL_VALUE_BYTES_MAX) };
    struct labels labels = { .items = &label, .count = 1 };
    assert_true(labels_normalize(&labels, &err));

    label.name.len++;
    assert_false(labels_normalize(&labels, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_true(str_starts_with(str_from(err.msg), STR("label name \"xxxx")));
    assert_true(str_ends_with(str_from(err.msg), STR("of 257 bytes exceeds the limit of 256")));

    /* A cut name in the message stays UTF-8. */
    text[63] = '\xc3';
    text[64] = '\xa9';
    err = (struct err)ERR_INIT;
    assert_false(labels_normalize(&labels, &err));
    assert_true(str_is_utf8(str_from(err.msg)));
    memset(text, 'x', sizeof(text));

    label.name = STR("path");
    label.value.len++;
    err = (struct err)ERR_INIT;
    assert_false(labels_normalize(&labels, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.msg,
                        "value of label \"path\" has 4097 bytes, more than the limit of 4096");
}

static void the_count_limit_ignores_empty_values(void **state) {
    static const char alphabet[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
        "+*";
    struct label items[LABELS_COUNT_MAX + 2];
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        items[i] = (struct label){ .name = str_n(alphabet + i, 1), .value = STR("v") };
    }
    struct err err = ERR_INIT;
    struct labels labels = { .items = items, .count = LABELS_COUNT_MAX };
    assert_true(labels_normalize(&labels, &err));
    assert_int_equal(labels.count, LABELS_COUNT_MAX);

    items[LABELS_COUNT_MAX].value = STR("");
    labels.count = LABELS_COUNT_MAX + 1;
    assert_true(labels_normalize(&labels, &err));
    assert_int_equal(labels.count, LABELS_COUNT_MAX);

    items[LABELS_COUNT_MAX] = items[LABELS_COUNT_MAX + 1];
    labels.count = LABELS_COUNT_MAX + 1;
    assert_false(labels_normalize(&labels, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.msg, "65 labels exceed the limit of 64 per series");
}

static void a_refused_set_is_untouched_but_sorted(void **state) {
    struct err err = ERR_INIT;
    struct labels labels = SET(L("b", ""), L("a", "\xff"), L("c", "1"));
    assert_false(labels_normalize(&labels, &err));
    assert_int_equal(labels.count, 3);
}

static void building(void **state) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct labels base = SET(L("__name__", "up"), L("job", "api"), L("zone", "a"));
    struct labels_builder builder;
    labels_builder_init(&builder, &arena, base);
    assert_true(labels_equal(labels_builder_build(&builder), base));

    labels_builder_del(&builder, METRIC_NAME);
    labels_builder_del(&builder, STR("absent"));
    labels_builder_set(&builder, STR("zone"), STR("b"));
    labels_builder_set(&builder, STR("alertname"), STR("Down"));
    labels_builder_set(&builder, STR("job"), STR(""));
    labels_builder_set(&builder, STR("job"), STR("web"));
    assert_true(str_eq_c(labels_builder_get(&builder, STR("job")), "web"));
    assert_int_equal(labels_builder_get(&builder, METRIC_NAME).len, 0);
    assert_int_equal(labels_builder_get(&builder, STR("absent")).len, 0);
    assert_true(labels_equal(labels_builder_build(&builder),
                             SET(L("alertname", "Down"), L("job", "web"), L("zone", "b"))));
    assert_true(labels_equal(base, SET(L("__name__", "up"), L("job", "api"), L("zone", "a"))));

    labels_builder_init(&builder, &arena, none);
    assert_int_equal(labels_builder_build(&builder).count, 0);
    for (size_t i = 0; i < 60; i++) {
        struct str name = arena_printf(&arena, "n%02d", (int)(59 - i));
        labels_builder_set(&builder, name, STR("v"));
    }
    struct labels built = labels_builder_build(&builder);
    assert_int_equal(built.count, 60);
    assert_true(str_eq_c(built.items[0].name, "n00"));
    assert_true(str_eq_c(built.items[59].name, "n59"));
    arena_finish(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(look_up),
        cmocka_unit_test(order_is_prometheus_order),
        cmocka_unit_test(fingerprints_are_upstreams),
        cmocka_unit_test(hash_separates_names_from_values),
        cmocka_unit_test(copies_are_deep),
        cmocka_unit_test(normalizing_sorts_and_drops_empty_values),
        cmocka_unit_test(normalizing_refuses),
        cmocka_unit_test(limits_hold_at_and_past),
        cmocka_unit_test(the_count_limit_ignores_empty_values),
        cmocka_unit_test(a_refused_set_is_untouched_but_sorted),
        cmocka_unit_test(building),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
