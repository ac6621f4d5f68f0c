/*
 * Sets of series handles: the postings of the head. A set that is one range needs no memory of its
 * own; others keep, per 2^16 handles, runs (4 bytes each) or, when there are many, one bit per
 * handle (8 KiB). Handles of one target follow each other, so most sets are a few runs.
 * Threads: one changes a set at a time (whoever owns it sees to that), any may look at it meanwhile
 * without a lock: they find every handle that was there all the time, and none that never was. For
 * them memory is retired (readers.h) instead of freed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tsdb/head/race.h"
#include "tsdb/head/readers.h"

#define HANDLES_BLOCK_SHIFT 16
#define HANDLES_BLOCK_WORDS (1U << (HANDLES_BLOCK_SHIFT - 6))

struct handle_map;

/* Zeroed: empty. */
struct handle_set {
    uint64_t range;         /* high half the first of the one range, 0 = see map; low half count */
    struct handle_map *map; /* private */
};

static inline uint32_t handles_count(const struct handle_set *set) {
    return (uint32_t)RACE_LOAD(&set->range);
}

void handles_finish(struct handle_set *set, struct retired *retired); /* leaves it empty */

/* Not in the set yet; cheapest when larger than all others. `retired` may be NULL where nobody
 * looks meanwhile. */
void handles_add(struct handle_set *set, uint32_t handle, struct retired *retired);
/* In the set. */
void handles_remove(struct handle_set *set, uint32_t handle, struct retired *retired);

/* Smallest handle >= from in the set; UINT32_MAX, which is no handle, when there is none. */
uint32_t handles_next(const struct handle_set *set, uint32_t from);

/* Add the handles of block `block` (those with handle >> 16 == block) to the bits. False when there
 * are none. */
bool handles_or(const struct handle_set *set, uint32_t block, uint64_t bits[HANDLES_BLOCK_WORDS]);

/* Bytes besides the struct itself. */
size_t handles_bytes(const struct handle_set *set);
