/*
 * Small blocks addressed by 32-bit handles: size classes with free lists over 256 KiB areas.
 * Handles count 8-byte granules, so one slab holds up to 32 GiB; handle 0 is "none".
 * Memory never moves and is never given back before slab_finish(): a pointer from slab_at() stays
 * good until the block is freed, and whoever looks at a block without a guard finds old bytes or
 * those of another block, never nothing.
 * Threads: none of its own; guard it outside. slab_at() needs no guard with a handle that was good
 * at some time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "tsdb/head/race.h"

#define SLAB_CLASS_COUNT 24
#define SLAB_BYTES_MAX   6144 /* largest block */

#define SLAB_GROWTHS_MAX 32 /* each doubles */
#define SLAB_AREA_SHIFT  15 /* granules per area, as a power of two */

struct slab {
    uint8_t **areas;                      /* private */
    uint8_t **outgrown[SLAB_GROWTHS_MAX]; /* private: arrays before, for who still looks */
    size_t outgrown_count;                /* private */
    size_t area_cap;                      /* private */
    uint32_t area_count;
    uint32_t used; /* private: granules handed out from the newest area */
    uint32_t free_heads[SLAB_CLASS_COUNT];
    uint64_t bytes_live; /* in blocks handed out */
};

void slab_init(struct slab *slab);
void slab_finish(struct slab *slab);

/* Uninitialised; `bytes` <= SLAB_BYTES_MAX. */
WARN_UNUSED uint32_t slab_alloc(struct slab *slab, size_t bytes);
/* `bytes` as given to slab_alloc (or anything of the same class). Handle 0 is fine. */
void slab_free(struct slab *slab, uint32_t handle, size_t bytes);
/* What a block asked for with `bytes` can really hold. */
size_t slab_block_bytes(size_t bytes);

/* Bytes from a block to the end of its area. */
static inline size_t slab_room(uint32_t handle) {
    return (size_t)((1U << SLAB_AREA_SHIFT) - (handle & ((1U << SLAB_AREA_SHIFT) - 1))) * 8;
}

static inline void *slab_at(const struct slab *slab, uint32_t handle) {
    return RACE_LOAD(&slab->areas)[handle >> SLAB_AREA_SHIFT] +
           (size_t)(handle & ((1U << SLAB_AREA_SHIFT) - 1)) * 8;
}
