/*
 * Series id → a number that is not 0, for many ids that mostly follow each other and are asked for
 * in about that order: pages of numbers, the page used last at hand.
 * Threads: none of its own; looking up changes it, too.
 */
#pragma once

#include "tsdb/head/u64map.h"

struct idmap {
    struct u64map pages; /* private, as all: id >> IDMAP_PAGE_SHIFT, + 1 → where it begins, + 1 */
    uint64_t *values;
    size_t count;
    size_t cap;
    uint64_t page_last; /* + 1; 0 = none */
    uint64_t *at_last;
};

#define IDMAP_PAGE_SHIFT 6
#define IDMAP_PAGE_IDS   (1U << IDMAP_PAGE_SHIFT)

/* Zeroed: empty. */
void idmap_finish(struct idmap *map);
/* 0: not there. */
uint64_t idmap_get(struct idmap *map, uint64_t id);
void idmap_put(struct idmap *map, uint64_t id, uint64_t value);
