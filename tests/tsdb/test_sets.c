/*
 * Goal: the small containers of the store keep what they promise: slab handles, id maps, id sets.
 * Method: seeded random operations against plain arrays.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit.h"
#include "tsdb/head/handles.h"
#include "tsdb/head/idset.h"
#include "tsdb/head/slab.h"
#include "tsdb/head/u64map.h"

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void slab_blocks(void **state) {
    enum {
        COUNT = 3000
    };
    struct slab slab;
    slab_init(&slab);
    uint32_t handles[COUNT] = { 0 };
    size_t sizes[COUNT] = { 0 };
    uint64_t seed = 7;
    for (int round = 0; round < 20000; round++) {
        size_t i = next_random(&seed) % COUNT;
        if (handles[i] != 0) {
            const uint8_t *block = slab_at(&slab, handles[i]);
            assert_int_equal(block[0], (uint8_t)i);
            assert_int_equal(block[sizes[i] - 1], (uint8_t)i);
            slab_free(&slab, handles[i], sizes[i]);
            handles[i] = 0;
            continue;
        }
        sizes[i] = 1 + next_random(&seed) % SLAB_BYTES_MAX;
        assert_true(slab_block_bytes(sizes[i]) >= sizes[i]);
        handles[i] = slab_alloc(&slab, sizes[i]);
        assert_int_not_equal(handles[i], 0);
        memset(slab_at(&slab, handles[i]), (int)(uint8_t)i, sizes[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        slab_free(&slab, handles[i], sizes[i]);
    }
    assert_int_equal(slab.bytes_live, 0);
    slab_finish(&slab);
}

static void id_map(void **state) {
    enum {
        KEYS = 5000
    };
    struct u64map map;
    u64map_init(&map);
    uint64_t *values = calloc(KEYS, sizeof(values[0]));
    uint64_t seed = 99;
    uint64_t got;
    assert_false(u64map_get(&map, 1, &got));
    for (int round = 0; round < 30000; round++) {
        uint64_t key = 1 + next_random(&seed) % KEYS;
        if (values[key - 1] == 0) {
            assert_false(u64map_get(&map, key << 32, &got));
        } else {
            assert_true(u64map_get(&map, key << 32, &got));
            assert_int_equal(got, values[key - 1]);
        }
        values[key - 1] = next_random(&seed);
        u64map_put(&map, key << 32, values[key - 1]);
    }
    u64map_finish(&map);
    free(values);
}

static void fill(struct idset *set, bool *member, size_t count, uint64_t *seed, uint64_t one_in) {
    for (size_t i = 0; i < count; i++) {
        member[i] = next_random(seed) % one_in == 0;
    }
    /* In a scrambled order, some twice. */
    for (size_t i = 0; i < 2 * count; i++) {
        size_t at = (i * 7919) % count;
        if (member[at]) {
            idset_add(set, at);
        }
    }
    idset_normalize(set);
}

static void id_sets(void **state) {
    enum {
        IDS = 2000
    };

    static const uint64_t densities[] = { 1, 2, 10, 500, 100000 };
    uint64_t seed = 3;
    bool a_has[IDS];
    bool b_has[IDS];
    for (size_t i = 0; i < ARRAY_LEN(densities) * ARRAY_LEN(densities); i++) {
        for (int op = 0; op < 2; op++) {
            struct idset a = { 0 };
            struct idset b = { 0 };
            fill(&a, a_has, IDS, &seed, densities[i % ARRAY_LEN(densities)]);
            fill(&b, b_has, IDS, &seed, densities[i / ARRAY_LEN(densities)]);
            (op == 0 ? idset_intersect : idset_subtract)(&a, &b);
            size_t at = 0;
            for (size_t id = 0; id < IDS; id++) {
                bool want = a_has[id] && (op == 0 ? b_has[id] : !b_has[id]);
                assert_int_equal(idset_contains(&a, id), want);
                if (want) {
                    assert_int_equal(a.ids[at++], id);
                }
            }
            assert_int_equal(at, a.count);
            idset_finish(&a);
            idset_finish(&b);
        }
    }
}

/* Bits, runs and single ranges say the same as a plain array, whatever the order. */
static void handle_sets(void **state) {
    enum {
        HANDLES = 300000
    };

    static uint64_t bits[HANDLES_BLOCK_WORDS];
    bool *has = calloc(HANDLES, 1);
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        uint64_t random = seed * 7919;
        struct handle_set set = { 0 };
        memset(has, 0, HANDLES);
        uint32_t count = 0;
        uint64_t stride = 1 + next_random(&random) % 30;
        uint64_t run = 1 + next_random(&random) % 40;
        uint32_t from = (uint32_t)(next_random(&random) % 150000);
        for (uint32_t i = from; i < HANDLES; i++) { /* as series are created */
            if (seed % 3 == 0 || i / run % stride == 0) {
                handles_add(&set, i, NULL);
                has[i] = true;
                count++;
            }
        }
        for (int change = 0; change < 100000; change++) {
            uint32_t i = (uint32_t)(next_random(&random) % HANDLES);
            i = seed % 4 == 0 ? i % 200 + 65500 : i;
            (has[i] ? handles_remove : handles_add)(&set, i, NULL);
            count = has[i] ? count - 1 : count + 1;
            has[i] = !has[i];
        }
        assert_int_equal(handles_count(&set), count);
        uint32_t next = handles_next(&set, 0);
        for (uint32_t i = 0; i < HANDLES; i++) {
            if (has[i]) {
                assert_int_equal(next, i);
                next = handles_next(&set, i + 1);
            }
        }
        assert_int_equal(next, UINT32_MAX);
        for (uint32_t block = 0; block <= HANDLES >> HANDLES_BLOCK_SHIFT; block++) {
            memset(bits, 0, sizeof(bits));
            bool has_any = handles_or(&set, block, bits);
            bool want_any = false;
            for (uint32_t i = 0; i < 1U << HANDLES_BLOCK_SHIFT; i++) {
                uint32_t handle = (block << HANDLES_BLOCK_SHIFT) + i;
                bool want = handle < HANDLES && has[handle];
                assert_true((bits[i >> 6] >> (i & 63) & 1) == want);
                want_any |= want;
            }
            assert_true(has_any == want_any);
        }
        for (uint32_t i = 0; i < HANDLES; i++) {
            if (has[i]) {
                handles_remove(&set, i, NULL);
            }
        }
        assert_true(handles_count(&set) == 0 && handles_bytes(&set) == 0);
        handles_finish(&set, NULL);
    }
    free(has);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slab_blocks),
        cmocka_unit_test(id_map),
        cmocka_unit_test(id_sets),
        cmocka_unit_test(handle_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
