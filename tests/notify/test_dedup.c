/*
 * Goal: the decision whether a flush is news equals upstream's DedupStage.needsUpdate. Method: its
 * table, with the alerts as small numbers.
 */
#include "base/mem.h"
#include "notify/dedup.h"
#include "tests/unit.h"

enum {
    NOW = 1000000,
    REPEAT = 100000,
};

struct set {
    size_t count;
    uint64_t items[4];
};

static struct hash_set make(const struct set *set) {
    struct hash_set made = { .count = set->count };
    made.items = mem_calloc(4, sizeof(made.items[0]));
    memcpy(made.items, set->items, sizeof(set->items));
    hash_set_build(&made);
    return made;
}

static const struct {
    bool has_entry;
    struct set told_firing;
    struct set told_resolved;
    int64_t age_ms;
    struct set firing;
    struct set resolved;
    bool send_resolved;
    enum notify_reason reason;
} cases[] = {
    /* never told */
    { false, { 0 }, { 0 }, 0, { 3, { 1, 2, 3 } }, { 0 }, true, REASON_FIRST },
    { false, { 0 }, { 0 }, 0, { 0 }, { 1, { 1 } }, true, REASON_NONE },
    { false, { 0 }, { 0 }, 0, { 0 }, { 0 }, true, REASON_NONE },
    /* more fire than told */
    { true, { 3, { 1, 2, 3 } }, { 0 }, 0, { 4, { 1, 2, 3, 4 } }, { 0 }, true, REASON_NEW_ALERTS },
    { true, { 0 }, { 1, { 1 } }, 0, { 1, { 1 } }, { 0 }, true, REASON_FIRST },
    /* fewer, or the same: nothing before the interval */
    { true, { 3, { 1, 2, 3 } }, { 0 }, 0, { 2, { 2, 1 } }, { 0 }, true, REASON_NONE },
    { true, { 3, { 1, 2, 3 } }, { 0 }, REPEAT, { 3, { 1, 2, 3 } }, { 0 }, true, REASON_NONE },
    { true, { 3, { 1, 2, 3 } }, { 0 }, REPEAT + 1, { 3, { 3, 2, 1 } }, { 0 }, true, REASON_REPEAT },
    /* something resolved */
    { true,
      { 3, { 1, 2, 3 } },
      { 0 },
      0,
      { 2, { 1, 2 } },
      { 1, { 3 } },
      true,
      REASON_NEW_RESOLVED },
    { true, { 3, { 1, 2, 3 } }, { 1, { 3 } }, 0, { 2, { 1, 2 } }, { 1, { 3 } }, true, REASON_NONE },
    { true, { 3, { 1, 2, 3 } }, { 0 }, 0, { 2, { 1, 2 } }, { 1, { 3 } }, false, REASON_NONE },
    { true,
      { 3, { 1, 2, 3 } },
      { 0 },
      REPEAT + 1,
      { 2, { 1, 2 } },
      { 1, { 3 } },
      false,
      REASON_REPEAT },
    /* all resolved: even without send_resolved, the log must forget */
    { true, { 2, { 1, 2 } }, { 0 }, 0, { 0 }, { 2, { 1, 2 } }, true, REASON_ALL_RESOLVED },
    { true, { 2, { 1, 2 } }, { 0 }, 0, { 0 }, { 2, { 1, 2 } }, false, REASON_ALL_RESOLVED },
    { true, { 2, { 1, 2 } }, { 0 }, 0, { 0 }, { 0 }, true, REASON_ALL_RESOLVED },
    /* fired and resolved between two flushes */
    { true, { 0 }, { 1, { 1 } }, 0, { 0 }, { 2, { 1, 2 } }, true, REASON_NONE },
    { true, { 0 }, { 1, { 1 } }, REPEAT + 1, { 0 }, { 2, { 1, 2 } }, true, REASON_NONE },
};

static void test_needs_update(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hash_set firing = make(&cases[i].firing);
        struct hash_set resolved = make(&cases[i].resolved);
        struct log_entry entry = {
            .at_ms = NOW - cases[i].age_ms,
            .firing = make(&cases[i].told_firing),
            .resolved = make(&cases[i].told_resolved),
        };
        struct dedup_query query = {
            .entry = cases[i].has_entry ? &entry : NULL,
            .firing = &firing,
            .resolved = &resolved,
            .send_resolved = cases[i].send_resolved,
            .repeat_ms = REPEAT,
            .now_ms = NOW,
        };
        enum notify_reason reason = dedup_needs_update(&query);
        if (reason != cases[i].reason) {
            fail_msg("case %zu: %s", i, notify_reason_to_string(reason));
        }
        hash_set_finish(&firing);
        hash_set_finish(&resolved);
        log_entry_finish(&entry);
    }
}

static void test_sets(void **state) {
    (void)state;
    static const struct set unsorted = { 4, { 9, 1, 9, 4 } };
    struct hash_set set = make(&unsorted);
    assert_int_equal(set.count, 3);
    assert_true(hash_set_has(&set, 1) && hash_set_has(&set, 4) && hash_set_has(&set, 9));
    assert_false(hash_set_has(&set, 5));
    struct hash_set copy = hash_set_dup(&set);
    assert_true(hash_set_is_subset(&copy, &set));
    copy.items[0] = 2;
    assert_false(hash_set_is_subset(&copy, &set));
    struct hash_set empty = { 0 };
    assert_true(hash_set_is_subset(&empty, &set) && !hash_set_is_subset(&set, &empty));
    hash_set_finish(&set);
    hash_set_finish(&copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_needs_update),
        cmocka_unit_test(test_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
