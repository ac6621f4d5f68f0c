/* The notification log: see dedup.h. */
#include "notify/dedup.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

/* ---- sets ---- */

void hash_set_finish(struct hash_set *set) {
    mem_free(set->items);
    *set = (struct hash_set){ 0 };
}

struct hash_set hash_set_dup(const struct hash_set *set) {
    struct hash_set copy = { 0 };
    if (set->count > 0) {
        copy.items = mem_alloc(set->count * sizeof(copy.items[0]));
        memcpy(copy.items, set->items, set->count * sizeof(copy.items[0]));
        copy.count = set->count;
    }
    return copy;
}

static int cmp_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y ? 1 : 0;
}

void hash_set_build(struct hash_set *set) {
    if (set->count < 2) {
        return;
    }
    qsort(set->items, set->count, sizeof(set->items[0]), cmp_hash);
    size_t kept = 1;
    for (size_t i = 1; i < set->count; i++) {
        if (set->items[i] != set->items[kept - 1]) {
            set->items[kept++] = set->items[i];
        }
    }
    set->count = kept;
}

bool hash_set_has(const struct hash_set *set, uint64_t hash) {
    return set->count > 0 && bsearch(&hash, set->items, set->count, sizeof(hash), cmp_hash) != NULL;
}

bool hash_set_is_subset(const struct hash_set *part, const struct hash_set *whole) {
    for (size_t i = 0; i < part->count; i++) {
        if (!hash_set_has(whole, part->items[i])) {
            return false;
        }
    }
    return true;
}

/* ---- log ---- */

void log_entry_finish(struct log_entry *entry) {
    mem_free(entry->integration);
    hash_set_finish(&entry->firing);
    hash_set_finish(&entry->resolved);
    *entry = (struct log_entry){ 0 };
}

const char *notify_reason_to_string(enum notify_reason reason) {
    /* the first six as upstream's .NotificationReason */
    static const char *const names[] = {
        "none",
        "first notification",
        "new alerts added",
        "some alerts resolved",
        "all alerts resolved",
        "repeat interval elapsed",
        "test",
        "digest",
    };
    static_assert(ARRAY_LEN(names) == REASON_COUNT, "one name per reason");
    return names[reason];
}

enum notify_reason dedup_needs_update(const struct dedup_query *query) {
    const struct log_entry *entry = query->entry;
    if (entry == NULL) {
        return query->firing->count > 0 ? REASON_FIRST : REASON_NONE;
    }
    if (!hash_set_is_subset(query->firing, &entry->firing)) {
        return entry->firing.count == 0 ? REASON_FIRST : REASON_NEW_ALERTS;
    }
    if (query->firing->count == 0) {
        /* Holds without send_resolved, too: the log must forget the firing alerts. When it knows
         * of none, they fired and resolved between two flushes: nobody was told, nobody is. */
        return entry->firing.count > 0 ? REASON_ALL_RESOLVED : REASON_NONE;
    }
    if (query->send_resolved && !hash_set_is_subset(query->resolved, &entry->resolved)) {
        return REASON_NEW_RESOLVED;
    }
    return entry->at_ms < query->now_ms - query->repeat_ms ? REASON_REPEAT : REASON_NONE;
}
