/*
 * Sorted sets of 64-bit ids: what matchers become before labels are looked at.
 * Threads: one owner at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct idset {
    uint64_t *ids; /* ascending and unique after idset_normalize() */
    size_t count;
    size_t cap; /* private */
};

void idset_finish(struct idset *set); /* also fine on a zeroed set */
void idset_add(struct idset *set, uint64_t id);
void idset_normalize(struct idset *set); /* sort, drop duplicates; cheap when already sorted */

/* Both normalized; the result is in `set`. */
void idset_intersect(struct idset *set, const struct idset *other);
void idset_subtract(struct idset *set, const struct idset *other);

bool idset_contains(const struct idset *set, uint64_t id);
