/* Slab allocator: bump within an area, free lists per class threaded through the free blocks. */
#include "tsdb/head/slab.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

#define AREA_GRANULES  (1U << SLAB_AREA_SHIFT)
#define AREA_COUNT_MAX (1U << (32 - SLAB_AREA_SHIFT))

static const uint16_t class_bytes[SLAB_CLASS_COUNT] = {
    16,  24,  32,  40,  48,  56,  64,   80,   96,   112,  128,  160,
    192, 256, 320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, SLAB_BYTES_MAX,
};

static uint32_t class_of(size_t bytes) {
    assert(bytes <= SLAB_BYTES_MAX);
    uint32_t cls = 0;
    while (class_bytes[cls] < bytes) {
        cls++;
    }
    return cls;
}

void slab_init(struct slab *slab) {
    memset(slab, 0, sizeof(*slab));
}

void slab_finish(struct slab *slab) {
    for (uint32_t i = 0; i < slab->area_count; i++) {
        mem_free(slab->areas[i]);
    }
    for (size_t i = 0; i < slab->outgrown_count; i++) {
        mem_free(slab->outgrown[i]);
    }
    mem_free(slab->areas);
    memset(slab, 0, sizeof(*slab));
}

/* Somebody may look at the old array yet: it stays, all of them together take no more than the
 * newest. */
static void grow_areas(struct slab *slab) {
    size_t cap = slab->area_cap == 0 ? 4 : 2 * slab->area_cap;
    uint8_t **old = slab->areas;
    uint8_t **areas = mem_calloc(cap, sizeof(areas[0]));
    if (old != NULL) {
        memcpy(areas, old, slab->area_count * sizeof(areas[0]));
    }
    RACE_STORE(&slab->areas, areas);
    slab->area_cap = cap;
    if (old != NULL) {
        slab->outgrown[slab->outgrown_count++] = old;
    }
}

static void add_area(struct slab *slab) {
    if (slab->area_count == AREA_COUNT_MAX) {
        BUG("a slab is full: %u areas", slab->area_count);
    }
    if (slab->area_count == slab->area_cap) {
        grow_areas(slab);
    }
    slab->areas[slab->area_count] = mem_alloc((size_t)AREA_GRANULES * 8);
    /* Granule 0 of the first area stays unused: handle 0 means none. */
    slab->used = slab->area_count == 0 ? 1 : 0;
    slab->area_count++;
}

uint32_t slab_alloc(struct slab *slab, size_t bytes) {
    uint32_t cls = class_of(bytes);
    slab->bytes_live += class_bytes[cls];
    uint32_t handle = slab->free_heads[cls];
    if (handle != 0) {
        memcpy(&slab->free_heads[cls], slab_at(slab, handle), sizeof(handle));
        return handle;
    }
    uint32_t granules = class_bytes[cls] / 8U;
    if (slab->area_count == 0 || slab->used + granules > AREA_GRANULES) {
        add_area(slab);
    }
    handle = (slab->area_count - 1) << SLAB_AREA_SHIFT | slab->used;
    slab->used += granules;
    return handle;
}

void slab_free(struct slab *slab, uint32_t handle, size_t bytes) {
    if (handle == 0) {
        return;
    }
    uint32_t cls = class_of(bytes);
    assert(slab->bytes_live >= class_bytes[cls]);
    slab->bytes_live -= class_bytes[cls];
    uint32_t *link = slab_at(slab, handle);
    RACE_STORE(link, slab->free_heads[cls]);
    slab->free_heads[cls] = handle;
}

size_t slab_block_bytes(size_t bytes) {
    return class_bytes[class_of(bytes)];
}
