/*
 * Wire-byte aliases: a keyed 128-bit hash of a series as it came over the wire → ref. A cache: it
 * may forget at any time, and a ref whose series left the head is found again by the committer.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/db.h"
#include "tsdb/sync.h"

#define ALIAS_SLOTS_MIN 64

/* Clients may spell one series in many ways; beyond this many a shard starts over. */
#define ALIAS_COUNT_MAX(db) ((size_t)((db)->head.series_count / ALIAS_SHARD_COUNT) * 4 + 65536)

void alias_init(struct tsdb *db) {
    random_bytes(db->alias_seed, sizeof(db->alias_seed));
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
    struct tsdb_alias alias = {
        .low = hash_bytes_seeded(wire_bytes, db->alias_seed[0]),
        .high = hash_bytes_seeded(wire_bytes, db->alias_seed[1]),
    };
    alias.low |= alias.low == 0 && alias.high == 0;
    return alias;
}

static struct alias_shard *shard_of(struct tsdb *db, struct tsdb_alias alias) {
    return &db->aliases[alias.high % ALIAS_SHARD_COUNT];
}

static size_t find_slot(const struct alias_shard *shard, struct tsdb_alias alias) {
    size_t mask = shard->slot_count - 1;
    size_t i = (size_t)alias.low & mask;
    for (;; i = (i + 1) & mask) {
        struct tsdb_alias at = shard->entries[i].alias;
        if ((at.low == 0 && at.high == 0) || (at.low == alias.low && at.high == alias.high)) {
            return i;
        }
    }
}

bool tsdb_alias_get(struct tsdb *db, struct tsdb_alias alias, series_ref_t *ret) {
    struct alias_shard *shard = shard_of(db, alias);
    bool is_found = false;
    pthread_rwlock_rdlock(&shard->lock);
    if (shard->count > 0) {
        const struct alias_entry *entry = &shard->entries[find_slot(shard, alias)];
        is_found = entry->ref != 0;
        if (is_found) {
            *ret = entry->ref;
        }
    }
    pthread_rwlock_unlock(&shard->lock);
    return is_found;
}

static void put_entry(struct alias_shard *shard, struct alias_entry entry) {
    size_t i = find_slot(shard, entry.alias);
    shard->count += shard->entries[i].ref == 0;
    shard->entries[i] = entry;
}

/* Move the entries keep() likes into a table of `slot_count` slots. */
static void rebuild(struct alias_shard *shard, size_t slot_count, struct head *live_only) {
    struct alias_entry *old = shard->entries;
    size_t old_count = shard->slot_count;
    shard->entries = mem_calloc(slot_count, sizeof(old[0]));
    shard->slot_count = slot_count;
    shard->count = 0;
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].ref != 0 && (live_only == NULL || head_series(live_only, old[i].ref) != NULL)) {
            put_entry(shard, old[i]);
        }
    }
    mem_free(old);
}

void tsdb_alias_put(struct tsdb *db, struct tsdb_alias alias, series_ref_t ref) {
    struct alias_shard *shard = shard_of(db, alias);
    pthread_rwlock_wrlock(&shard->lock);
    if (shard->count >= ALIAS_COUNT_MAX(db)) {
        mem_free(shard->entries);
        shard->entries = NULL;
        shard->slot_count = 0;
        shard->count = 0;
    }
    if (3 * (shard->count + 1) > 2 * shard->slot_count) {
        rebuild(shard, shard->slot_count == 0 ? ALIAS_SLOTS_MIN : shard->slot_count * 2, NULL);
    }
    put_entry(shard, (struct alias_entry){ .alias = alias, .ref = ref });
    pthread_rwlock_unlock(&shard->lock);
}

void alias_sweep(struct tsdb *db) {
    for (size_t i = 0; i < ALIAS_SHARD_COUNT; i++) {
        struct alias_shard *shard = &db->aliases[i];
        pthread_rwlock_wrlock(&shard->lock);
        if (shard->count > 0) {
            rebuild(shard, shard->slot_count, &db->head);
        }
        pthread_rwlock_unlock(&shard->lock);
    }
}
