/*
 * Linear probing over a power-of-two table, at most two thirds full; no deletes. Keys that follow
 * each other, as ids do, share cache lines: only what is above GROUP_BITS is mixed.
 */
#include "tsdb/head/u64map.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

#define SLOTS_MIN  64
#define GROUP_BITS 4

void u64map_init(struct u64map *map) {
    memset(map, 0, sizeof(*map));
}

void u64map_finish(struct u64map *map) {
    mem_free(map->slots);
    memset(map, 0, sizeof(*map));
}

void u64map_reset(struct u64map *map) {
    u64map_finish(map);
}

static uint64_t mix(uint64_t key) {
    key ^= key >> 32;
    key *= UINT64_C(0x9e3779b97f4a7c15);
    key ^= key >> 29;
    key *= UINT64_C(0xbf58476d1ce4e5b9);
    return key ^ key >> 32;
}

static size_t find_slot(const struct u64map *map, uint64_t key) {
    size_t mask = map->slot_count - 1;
    uint64_t group = mix(key >> GROUP_BITS) << GROUP_BITS;
    size_t i = (size_t)(group | (key & ((1U << GROUP_BITS) - 1))) & mask;
    while (map->slots[2 * i] != 0 && map->slots[2 * i] != key) {
        i = (i + 1) & mask;
    }
    return i;
}

bool u64map_get(const struct u64map *map, uint64_t key, uint64_t *ret) {
    assert(key != 0);
    if (map->count == 0) {
        return false;
    }
    size_t i = find_slot(map, key);
    if (map->slots[2 * i] == 0) {
        return false;
    }
    *ret = map->slots[2 * i + 1];
    return true;
}

static void grow(struct u64map *map) {
    struct u64map bigger = { 0 };
    bigger.slot_count = map->slot_count == 0 ? SLOTS_MIN : map->slot_count * 2;
    bigger.slots = mem_calloc(bigger.slot_count, 2 * sizeof(uint64_t));
    for (size_t i = 0; i < map->slot_count; i++) {
        if (map->slots[2 * i] != 0) {
            size_t slot = find_slot(&bigger, map->slots[2 * i]);
            bigger.slots[2 * slot] = map->slots[2 * i];
            bigger.slots[2 * slot + 1] = map->slots[2 * i + 1];
        }
    }
    bigger.count = map->count;
    mem_free(map->slots);
    *map = bigger;
}

void u64map_put(struct u64map *map, uint64_t key, uint64_t value) {
    assert(key != 0);
    if (3 * (map->count + 1) > 2 * map->slot_count) {
        grow(map);
    }
    size_t i = find_slot(map, key);
    if (map->slots[2 * i] == 0) {
        map->slots[2 * i] = key;
        map->count++;
    }
    map->slots[2 * i + 1] = value;
}
