/* Set operations by merging, galloping through the longer side. */
#include "tsdb/head/idset.h"

#include <stdlib.h>

#include "base/mem.h"

void idset_finish(struct idset *set) {
    mem_free(set->ids);
    *set = (struct idset){ 0 };
}

void idset_add(struct idset *set, uint64_t id) {
    set->ids = vec_grow(set->ids, &set->cap, set->count + 1, sizeof(set->ids[0]));
    set->ids[set->count++] = id;
}

static int compare_ids(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void idset_normalize(struct idset *set) {
    bool is_sorted = true;
    for (size_t i = 1; i < set->count && is_sorted; i++) {
        is_sorted = set->ids[i - 1] < set->ids[i];
    }
    if (is_sorted) {
        return;
    }
    qsort(set->ids, set->count, sizeof(set->ids[0]), compare_ids);
    size_t kept = 1;
    for (size_t i = 1; i < set->count; i++) {
        if (set->ids[i] != set->ids[kept - 1]) {
            set->ids[kept++] = set->ids[i];
        }
    }
    set->count = kept;
}

/* First index >= from whose id is >= `id`. */
static size_t gallop(const struct idset *set, size_t from, uint64_t id) {
    size_t step = 1;
    size_t low = from;
    while (low + step < set->count && set->ids[low + step] < id) {
        low += step;
        step *= 2;
    }
    size_t high = low + step < set->count ? low + step : set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->ids[middle] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void filter(struct idset *set, const struct idset *other, bool keep_common) {
    size_t kept = 0;
    size_t at = 0;
    for (size_t i = 0; i < set->count; i++) {
        at = gallop(other, at, set->ids[i]);
        bool is_common = at < other->count && other->ids[at] == set->ids[i];
        if (is_common == keep_common) {
            set->ids[kept++] = set->ids[i];
        }
    }
    set->count = kept;
}

void idset_intersect(struct idset *set, const struct idset *other) {
    filter(set, other, true);
}

void idset_subtract(struct idset *set, const struct idset *other) {
    filter(set, other, false);
}

bool idset_contains(const struct idset *set, uint64_t id) {
    size_t at = gallop(set, 0, id);
    return at < set->count && set->ids[at] == id;
}
