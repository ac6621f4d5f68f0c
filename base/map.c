/*
 * Open addressing with linear probing. The seed sits in front of the slots and is drawn per map,
 * so a client who learns one map's order learns nothing about another.
 */
#include "base/map.h"

#include <assert.h>

#include "base/hash.h"
#include "base/mem.h"

enum {
    HASH_EMPTY = 0,
    HASH_TOMBSTONE = 1,
    HASH_LIVE_MIN = 2, /* hashes of live entries are moved up to this */
    SLOT_COUNT_MIN = 8,
};

struct map_slot {
    uint64_t hash;
    char *key;
    size_t key_len;
    void *value;
};

struct map_table {
    uint64_t seed;
    struct map_slot slots[];
};

static struct map_table *table_of(struct map_slot *slots) {
    return (struct map_table *)(void *)((char *)slots - offsetof(struct map_table, slots));
}

static struct map_slot *table_create(size_t slot_count, uint64_t seed) {
    size_t bytes;
    if (__builtin_mul_overflow(slot_count, sizeof(struct map_slot), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct map_table), &bytes)) {
        bytes = SIZE_MAX;
    }
    struct map_table *table = mem_calloc(1, bytes);
    table->seed = seed;
    return table->slots;
}

void map_init(struct map *map) {
    *map = (struct map){ 0 };
}

void map_finish(struct map *map, void (*free_value)(void *value)) {
    for (size_t i = 0; i < map->slot_count; i++) {
        if (map->slots[i].hash >= HASH_LIVE_MIN) {
            mem_free(map->slots[i].key);
            if (free_value != NULL) {
                free_value(map->slots[i].value);
            }
        }
    }
    if (map->slots != NULL) {
        mem_free(table_of(map->slots));
    }
    *map = (struct map){ 0 };
}

static uint64_t hash_key(const struct map *map, struct str key) {
    uint64_t hash = hash_bytes_seeded(key, table_of(map->slots)->seed);
    return hash < HASH_LIVE_MIN ? hash + HASH_LIVE_MIN : hash;
}

static struct map_slot *find(const struct map *map, struct str key, uint64_t hash) {
    size_t mask = map->slot_count - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct map_slot *slot = &map->slots[i];
        if (slot->hash == HASH_EMPTY) {
            return NULL;
        }
        if (slot->hash == hash && str_eq(str_n(slot->key, slot->key_len), key)) {
            return slot;
        }
    }
}

/* The first slot a new entry may take; its key must be absent. */
static struct map_slot *find_free(const struct map *map, uint64_t hash) {
    size_t mask = map->slot_count - 1;
    size_t i = (size_t)hash & mask;
    while (map->slots[i].hash >= HASH_LIVE_MIN) {
        i = (i + 1) & mask;
    }
    return &map->slots[i];
}

/* Also clears tombstones, so that `used` is `count` again. */
static void rehash(struct map *map, size_t slot_count) {
    struct map old = *map;
    uint64_t seed;
    if (old.slots == NULL) {
        random_bytes(&seed, sizeof(seed));
    } else {
        seed = table_of(old.slots)->seed;
    }
    map->slots = table_create(slot_count, seed);
    map->slot_count = slot_count;
    map->used = old.count;
    for (size_t i = 0; i < old.slot_count; i++) {
        if (old.slots[i].hash >= HASH_LIVE_MIN) {
            *find_free(map, old.slots[i].hash) = old.slots[i];
        }
    }
    if (old.slots != NULL) {
        mem_free(table_of(old.slots));
    }
}

/* Keeps at least a quarter of the slots empty: every probe ends. */
static void make_room(struct map *map) {
    if (map->slots != NULL && map->used + 1 <= map->slot_count / 4 * 3) {
        return;
    }
    size_t slot_count = SLOT_COUNT_MIN;
    while (map->count + 1 > slot_count / 2) {
        slot_count *= 2;
    }
    rehash(map, slot_count);
}

void *map_get(const struct map *map, struct str key) {
    if (map->count == 0) {
        return NULL;
    }
    const struct map_slot *slot = find(map, key, hash_key(map, key));
    return slot == NULL ? NULL : slot->value;
}

void *map_put(struct map *map, struct str key, void *value) {
    assert(value != NULL);
    if (map->count > 0) {
        struct map_slot *slot = find(map, key, hash_key(map, key));
        if (slot != NULL) {
            void *previous = slot->value;
            slot->value = value;
            return previous;
        }
    }
    make_room(map);
    uint64_t hash = hash_key(map, key);
    struct map_slot *slot = find_free(map, hash);
    map->used += slot->hash == HASH_EMPTY ? 1 : 0;
    map->count++;
    *slot = (struct map_slot){
        .hash = hash,
        .key = mem_strndup(key.ptr, key.len),
        .key_len = key.len,
        .value = value,
    };
    return NULL;
}

void *map_del(struct map *map, struct str key) {
    if (map->count == 0) {
        return NULL;
    }
    struct map_slot *slot = find(map, key, hash_key(map, key));
    if (slot == NULL) {
        return NULL;
    }
    void *value = slot->value;
    mem_free(slot->key);
    *slot = (struct map_slot){ .hash = HASH_TOMBSTONE };
    map->count--;
    return value;
}

bool map_next(const struct map *map, size_t *cursor, struct str *ret_key, void **ret_value) {
    for (; *cursor < map->slot_count; (*cursor)++) {
        const struct map_slot *slot = &map->slots[*cursor];
        if (slot->hash >= HASH_LIVE_MIN) {
            *ret_key = str_n(slot->key, slot->key_len);
            *ret_value = slot->value;
            (*cursor)++;
            return true;
        }
    }
    return false;
}
