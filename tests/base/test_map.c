/*
 * Goal: the map keeps what was put and forgets what was deleted, at any size and mix. Method: the
 * same random operations on the map and on a plain array; 100,000 entries; deletes while walking.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "tests/unit.h"

static struct str key_of(char out[32], size_t i) {
    int len = snprintf(out, 32, "key-%zu", i);
    return str_n(out, (size_t)len);
}

static void basics(void **state) {
    struct map map;
    map_init(&map);
    int a = 1;
    int b = 2;
    assert_null(map_get(&map, STR("x")));
    assert_null(map_del(&map, STR("x")));
    assert_null(map_put(&map, STR("x"), &a));
    assert_ptr_equal(map_put(&map, STR("x"), &b), &a);
    assert_int_equal(map.count, 1);
    assert_ptr_equal(map_get(&map, STR("x")), &b);
    assert_null(map_get(&map, STR("xy")));
    assert_null(map_put(&map, STR(""), &a));
    assert_ptr_equal(map_get(&map, str_n(NULL, 0)), &a);
    assert_null(map_put(&map, STR("a\0b"), &a));
    assert_null(map_get(&map, STR("a\0c")));
    assert_ptr_equal(map_del(&map, STR("x")), &b);
    assert_null(map_get(&map, STR("x")));
    assert_int_equal(map.count, 2);
    map_finish(&map, NULL);
    map_finish(&map, NULL);
    assert_int_equal(map.count, 0);
}

enum {
    MANY = 100000
};

static void a_hundred_thousand_entries(void **state) {
    static unsigned char values[MANY];
    struct map map;
    map_init(&map);
    char text[32];
    for (size_t i = 0; i < MANY; i++) {
        assert_null(map_put(&map, key_of(text, i), &values[i]));
    }
    assert_int_equal(map.count, MANY);
    for (size_t i = 0; i < MANY; i += 2) {
        assert_ptr_equal(map_del(&map, key_of(text, i)), &values[i]);
    }
    assert_int_equal(map.count, MANY / 2);
    for (size_t i = 0; i < MANY; i++) {
        assert_ptr_equal(map_get(&map, key_of(text, i)), i % 2 == 0 ? NULL : &values[i]);
    }
    size_t seen = 0;
    struct str key;
    void *value;
    for (size_t cursor = 0; map_next(&map, &cursor, &key, &value);) {
        size_t index = (size_t)((unsigned char *)value - values);
        assert_true(str_eq(key, key_of(text, index)));
        seen++;
    }
    assert_int_equal(seen, MANY / 2);
    map_finish(&map, NULL);
}

static void churn_does_not_grow_the_table(void **state) {
    struct map map;
    map_init(&map);
    char text[32];
    for (size_t i = 0; i < MANY; i++) {
        (void)map_put(&map, key_of(text, i), &map);
        if (i >= 10) {
            assert_non_null(map_del(&map, key_of(text, i - 10)));
        }
    }
    assert_int_equal(map.count, 10);
    assert_true(map.slot_count <= 64);
    map_finish(&map, NULL);
}

static void random_operations_match_a_plain_array(void **state) {
    enum {
        KEYS = 200
    };

    void *model[KEYS] = { NULL };
    struct map map;
    map_init(&map);
    char text[32];
    uint64_t random = 1;
    for (int i = 0; i < 50000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1;
        size_t k = (size_t)(random >> 33) % KEYS;
        struct str key = key_of(text, k);
        if ((random >> 60) % 2 == 0) {
            void *value = &model[(random >> 50) % KEYS];
            assert_ptr_equal(map_put(&map, key, value), model[k]);
            model[k] = value;
        } else {
            assert_ptr_equal(map_del(&map, key), model[k]);
            model[k] = NULL;
        }
        assert_ptr_equal(map_get(&map, key), model[k]);
    }
    size_t live = 0;
    for (size_t k = 0; k < KEYS; k++) {
        live += model[k] != NULL ? 1 : 0;
    }
    assert_int_equal(map.count, live);
    map_finish(&map, NULL);
}

static void deleting_while_walking(void **state) {
    struct map map;
    map_init(&map);
    char text[32];
    for (size_t i = 0; i < 1000; i++) {
        (void)map_put(&map, key_of(text, i), malloc(1));
    }
    size_t seen = 0;
    struct str key;
    void *value;
    for (size_t cursor = 0; map_next(&map, &cursor, &key, &value);) {
        if (++seen % 3 != 0) {
            assert_ptr_equal(map_del(&map, key), value);
            free(value);
        }
    }
    assert_int_equal(seen, 1000);
    assert_int_equal(map.count, 333);
    map_finish(&map, free); /* the leak checker sees a missed one */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(basics),
        cmocka_unit_test(a_hundred_thousand_entries),
        cmocka_unit_test(churn_does_not_grow_the_table),
        cmocka_unit_test(random_operations_match_a_plain_array),
        cmocka_unit_test(deleting_while_walking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
