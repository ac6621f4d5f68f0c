/*
 * Wire-byte aliases: a keyed 128-bit hash of a series as it came over the wire → its handle. It is
 * a cache: it may forget at any time.
 *
 * 96 bits of the hash are kept, four more choose the shard: with a secret of 192 random bytes
 * nobody can make two spellings meet, and a hundred million aliases do so by chance once in 10^14
 * times.
 *
 * An alias of a series that left gives nothing. Reading its struct is safe: pages of structs are
 * freed after alias_sweep(), which waits for every reader of a shard.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/db.h"
#include "tsdb/sync.h"

#define ALIAS_SLOTS_MIN 64

/* Slots in use at most, and how a table grows, so that it is about three quarters full. */
#define ALIAS_IS_FULL(count, slot_count) (8 * (uint64_t)(count) >= 7 * (uint64_t)(slot_count))
#define ALIAS_GROWN(slot_count)          ((slot_count) + (slot_count) / 4)

#define ALIAS_AHEAD 12 /* slots fetched before their turn */

/* Clients may spell one series in many ways; beyond this many a shard starts over. */
#define ALIAS_COUNT_MAX(db) ((uint32_t)((db)->head.series_count / ALIAS_SHARD_COUNT) * 4 + 65536)

void alias_init(struct tsdb *db) {
    random_bytes(db->alias_secret, sizeof(db->alias_secret));
    for (size_t i = 0; i < ALIAS_SHARD_COUNT; i++) {
        rwlock_init(&db->aliases[i].lock);
    }
}

void alias_finish(struct tsdb *db) {
    for (size_t i = 0; i < ALIAS_SHARD_COUNT; i++) {
        mem_free(db->aliases[i].entries);
        pthread_rwlock_destroy(&db->aliases[i].lock);
    }
}

struct tsdb_alias tsdb_alias_hash(struct tsdb *db, struct str wire_bytes) {
    struct tsdb_alias alias;
    hash_bytes_keyed(wire_bytes, db->alias_secret, &alias.low, &alias.high);
    return alias;
}

static struct alias_shard *shard_of(struct tsdb *db, struct tsdb_alias alias) {
    return &db->aliases[alias.high >> 60];
}

static uint32_t home_of(const struct alias_shard *shard, uint64_t low) {
    return (uint32_t)((low >> 32) * shard->slot_count >> 32);
}

/* The alias' slot or the free one where it would go. The table is not empty. */
static uint32_t find_slot(const struct alias_shard *shard, uint64_t low, uint32_t high) {
    uint32_t i = home_of(shard, low);
    for (;;) {
        const struct alias_entry *at = &shard->entries[i];
        if (at->handle == 0 || (at->low == low && at->high == high)) {
            return i;
        }
        i = i + 1 == shard->slot_count ? 0 : i + 1;
    }
}

static series_ref_t find_locked(struct tsdb *db, struct tsdb_alias alias) {
    const struct alias_shard *shard = shard_of(db, alias);
    if (shard->count == 0) {
        return 0;
    }
    uint32_t handle = shard->entries[find_slot(shard, alias.low, (uint32_t)alias.high)].handle;
    const struct series *series = handle == 0 ? NULL : head_at(&db->head, handle);
    return series == NULL ? 0 : ref_make(series->id, handle);
}

bool tsdb_alias_get(struct tsdb *db, struct tsdb_alias alias, series_ref_t *ret) {
    struct alias_shard *shard = shard_of(db, alias);
    pthread_rwlock_rdlock(&shard->lock);
    series_ref_t ref = find_locked(db, alias);
    pthread_rwlock_unlock(&shard->lock);
    if (ref != 0) {
        *ret = ref;
    }
    return ref != 0;
}

static void prefetch_slot(struct tsdb *db, struct tsdb_alias alias) {
    const struct alias_shard *shard = shard_of(db, alias);
    if (shard->count > 0) {
        __builtin_prefetch(&shard->entries[home_of(shard, alias.low)]);
    }
}

/* Most aliases are in their first slot. */
static void prefetch_series(struct tsdb *db, struct tsdb_alias alias) {
    const struct alias_shard *shard = shard_of(db, alias);
    if (shard->count > 0) {
        uint32_t handle = shard->entries[home_of(shard, alias.low)].handle;
        head_prefetch(&db->head, handle);
    }
}

void tsdb_alias_get_all(struct tsdb *db,
                        const struct tsdb_alias *aliases,
                        size_t count,
                        series_ref_t *ret) {
    for (size_t i = 0; i < ALIAS_SHARD_COUNT; i++) {
        pthread_rwlock_rdlock(&db->aliases[i].lock);
    }
    for (size_t i = 0; i < count && i < ALIAS_AHEAD; i++) {
        prefetch_slot(db, aliases[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (i + ALIAS_AHEAD < count) {
            prefetch_slot(db, aliases[i + ALIAS_AHEAD]);
        }
        if (i + ALIAS_AHEAD / 2 < count) {
            prefetch_series(db, aliases[i + ALIAS_AHEAD / 2]);
        }
        ret[i] = find_locked(db, aliases[i]);
    }
    for (size_t i = ALIAS_SHARD_COUNT; i > 0; i--) {
        pthread_rwlock_unlock(&db->aliases[i - 1].lock);
    }
}

static void put_entry(struct alias_shard *shard, struct alias_entry entry) {
    uint32_t i = find_slot(shard, entry.low, entry.high);
    shard->count += shard->entries[i].handle == 0;
    shard->entries[i] = entry;
}

/* Move the entries, or those of series that are still there, into a table of `slot_count` slots. */
static void rebuild(struct alias_shard *shard, uint32_t slot_count, struct head *live_only) {
    struct alias_entry *old = shard->entries;
    uint32_t old_count = shard->slot_count;
    shard->entries = mem_calloc(slot_count, sizeof(old[0]));
    shard->slot_count = slot_count;
    shard->count = 0;
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i].handle != 0 &&
            (live_only == NULL || head_at(live_only, old[i].handle) != NULL)) {
            put_entry(shard, old[i]);
        }
    }
    mem_free(old);
}

/* The shard is locked for writing: a sweep comes before or after; the index, too. */
static void put_locked(struct tsdb *db, struct tsdb_alias alias, series_ref_t ref) {
    struct alias_shard *shard = shard_of(db, alias);
    struct alias_entry entry = {
        .low = alias.low,
        .high = (uint32_t)alias.high,
        .handle = ref_handle(ref),
    };
    if (head_series(&db->head, ref) == NULL) {
        return;
    }
    if (shard->count >= ALIAS_COUNT_MAX(db)) {
        mem_free(shard->entries);
        shard->entries = NULL;
        shard->slot_count = 0;
        shard->count = 0;
    }
    if (shard->slot_count == 0) {
        rebuild(shard, ALIAS_SLOTS_MIN, NULL);
    } else if (ALIAS_IS_FULL(shard->count + 1, shard->slot_count)) {
        rebuild(shard, ALIAS_GROWN(shard->slot_count), NULL);
    }
    put_entry(shard, entry);
}

/* The shard's share of them. */
static void put_shard(struct tsdb *db,
                      struct alias_shard *shard,
                      const struct tsdb_alias *aliases,
                      const series_ref_t *refs,
                      size_t count) {
    pthread_rwlock_wrlock(&shard->lock);
    pthread_rwlock_rdlock(&db->head.index_lock);
    for (size_t i = 0; i < count; i++) {
        if (shard_of(db, aliases[i]) == shard) {
            prefetch_slot(db, aliases[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (refs[i] != 0 && shard_of(db, aliases[i]) == shard) {
            put_locked(db, aliases[i], refs[i]);
        }
    }
    pthread_rwlock_unlock(&db->head.index_lock);
    pthread_rwlock_unlock(&shard->lock);
}

void tsdb_alias_put_all(struct tsdb *db,
                        const struct tsdb_alias *aliases,
                        const series_ref_t *refs,
                        size_t count) {
    uint32_t shards = 0; /* a bit for each that gets some */
    for (size_t i = 0; i < count; i++) {
        shards |= refs[i] == 0 ? 0 : 1U << (shard_of(db, aliases[i]) - db->aliases);
    }
    for (; shards != 0; shards &= shards - 1) {
        put_shard(db, &db->aliases[__builtin_ctz(shards)], aliases, refs, count);
    }
}

void tsdb_alias_put(struct tsdb *db, struct tsdb_alias alias, series_ref_t ref) {
    tsdb_alias_put_all(db, &alias, &ref, 1);
}

void alias_sweep(struct tsdb *db) {
    for (size_t i = 0; i < ALIAS_SHARD_COUNT; i++) {
        struct alias_shard *shard = &db->aliases[i];
        pthread_rwlock_wrlock(&shard->lock);
        uint32_t before = shard->count;
        if (before > 0) {
            rebuild(shard, shard->slot_count, &db->head);
        }
        if (shard->count < before / 2) {
            uint32_t slots = ALIAS_GROWN(ALIAS_GROWN(shard->count));
            rebuild(shard, slots > ALIAS_SLOTS_MIN ? slots : ALIAS_SLOTS_MIN, NULL);
        }
        pthread_rwlock_unlock(&shard->lock);
    }
}
