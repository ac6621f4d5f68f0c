/*
 * Hash map from byte-string keys to pointers. Keys are copied; values are the caller's.
 * Open addressing, keyed hash (random per process), so clients cannot aim at collisions.
 * Threads: none of its own; guard it outside.
 */
#pragma once

#include "base/str.h"

struct map_slot;

struct map {
    struct map_slot *slots; /* private */
    size_t slot_count;      /* private */
    size_t used;            /* private: live + tombstones */
    size_t count;           /* live entries */
};

void map_init(struct map *map);
void map_finish(struct map *map, void (*free_value)(void *value)); /* free_value may be NULL */

void *map_get(const struct map *map, struct str key); /* NULL when absent */
/* Returns the previous value (NULL if none). value must not be NULL. */
void *map_put(struct map *map, struct str key, void *value);
void *map_del(struct map *map, struct str key); /* returns the removed value or NULL */

/* Iterate in no particular order: for (size_t i = 0; map_next(map, &i, &key, &value);).
 * Deleting the entry just returned is allowed; inserting is not. */
bool map_next(const struct map *map, size_t *cursor, struct str *ret_key, void **ret_value);
