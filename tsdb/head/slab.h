/*
 * Small blocks addressed by 32-bit handles: size classes with free lists over 256 KiB areas.
 * Handles count 8-byte granules, so one slab holds up to 32 GiB; handle 0 is "none".
 * Memory never moves: a pointer from slab_at() stays good until the block is freed.
 * Threads: none of its own; guard it outside.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

#define SLAB_CLASS_COUNT 24
#define SLAB_BYTES_MAX   6144 /* largest block */

#define SLAB_AREA_SHIFT 15 /* granules per area, as a power of two */

struct slab {
    uint8_t **areas; /* private */
    size_t area_cap; /* private */
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

static inline void *slab_at(const struct slab *slab, uint32_t handle) {
    return slab->areas[handle >> SLAB_AREA_SHIFT] +
           (size_t)(handle & ((1U << SLAB_AREA_SHIFT) - 1)) * 8;
}
