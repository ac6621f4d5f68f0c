/*
 * The notification log of one group: what each integration was last told, and whether a flush has
 * news for it. Source: alertmanager notify/dedup_stage.go.
 */
#pragma once

#include "base/str.h"

/* Sorted, unique hashes of label sets. */
struct hash_set {
    uint64_t *items;
    size_t count;
};

void hash_set_finish(struct hash_set *set);
struct hash_set hash_set_dup(const struct hash_set *set);
/* Sorts the items in place and drops duplicates. */
void hash_set_build(struct hash_set *set);
bool hash_set_has(const struct hash_set *set, uint64_t hash);
bool hash_set_is_subset(const struct hash_set *part, const struct hash_set *whole);

struct log_entry {
    char *integration; /* its id */
    int64_t at_ms;
    struct hash_set firing;
    struct hash_set resolved;
};

void log_entry_finish(struct log_entry *entry);

enum notify_reason {
    REASON_NONE, /* nothing to tell */
    REASON_FIRST,
    REASON_NEW_ALERTS,
    REASON_NEW_RESOLVED,
    REASON_ALL_RESOLVED,
    REASON_REPEAT,
    REASON_TEST,
    REASON_DIGEST,
    REASON_COUNT,
};

const char *notify_reason_to_string(enum notify_reason reason);

struct dedup_query {
    const struct log_entry *entry; /* NULL = never told anything */
    const struct hash_set *firing;
    const struct hash_set *resolved;
    bool send_resolved;
    int64_t repeat_ms;
    int64_t now_ms;
};

enum notify_reason dedup_needs_update(const struct dedup_query *query);
