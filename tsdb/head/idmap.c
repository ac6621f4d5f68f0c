/* Pages of numbers by id; see idmap.h. */
#include "tsdb/head/idmap.h"

#include <string.h>

#include "base/mem.h"

void idmap_finish(struct idmap *map) {
    u64map_finish(&map->pages);
    mem_free(map->values);
    memset(map, 0, sizeof(*map));
}

/* The page of the id, which becomes the last one used; false when there is none. */
static bool find_page(struct idmap *map, uint64_t id) {
    uint64_t page = (id >> IDMAP_PAGE_SHIFT) + 1;
    uint64_t at;
    if (page == map->page_last) {
        return true;
    }
    if (!u64map_get(&map->pages, page, &at)) {
        return false;
    }
    map->page_last = page;
    map->at_last = map->values + (at - 1);
    return true;
}

uint64_t idmap_get(struct idmap *map, uint64_t id) {
    return find_page(map, id) ? map->at_last[id & (IDMAP_PAGE_IDS - 1)] : 0;
}

void idmap_put(struct idmap *map, uint64_t id, uint64_t value) {
    if (!find_page(map, id)) {
        uint64_t page = (id >> IDMAP_PAGE_SHIFT) + 1;
        map->values =
            vec_grow(map->values, &map->cap, map->count + IDMAP_PAGE_IDS, sizeof(map->values[0]));
        memset(map->values + map->count, 0, IDMAP_PAGE_IDS * sizeof(map->values[0]));
        u64map_put(&map->pages, page, map->count + 1);
        map->page_last = page;
        map->at_last = map->values + map->count;
        map->count += IDMAP_PAGE_IDS;
    }
    map->at_last[id & (IDMAP_PAGE_IDS - 1)] = value;
}
