/*
 * Hash map from non-zero 64-bit keys to 64-bit values, for identities the process chose itself
 * (series ids and references), so the hash needs no key. Threads: one owner at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct u64map {
    uint64_t *slots; /* private: pairs of key, value; key 0 = free */
    size_t slot_count;
    size_t count;
};

void u64map_init(struct u64map *map);
void u64map_finish(struct u64map *map);
void u64map_reset(struct u64map *map); /* empty, memory given back */

bool u64map_get(const struct u64map *map, uint64_t key, uint64_t *ret);
void u64map_put(struct u64map *map, uint64_t key, uint64_t value);
