/*
 * Live alerts and the aggregation groups they belong to: the dispatcher's working set. Plain data
 * structures without locks, clocks or I/O; struct notify guards them.
 *
 *   struct live_alert ──< struct membership >── struct group
 */
#pragma once

#include "base/map.h"
#include "notify/config.h"
#include "notify/dedup.h"

/* ---- alerts ---- */

/* What the rules last said about an alert; replaced as a whole. */
struct alert_body {
    struct labels annotations; /* one heap block */
    char *generator_url;
    int64_t active_ms;
    int64_t starts_ms;
    int64_t ends_ms; /* 0 = firing */
    double value;
};

struct alert_body *alert_body_create(const struct alert *alert);
void alert_body_destroy(struct alert_body *body); /* NULL ok */
/* The same for its readers, apart from the value: nothing that must be saved again. */
bool alert_body_is_same(const struct alert_body *body, const struct alert *alert);

struct membership {
    struct live_alert *alert;
    struct group *group;
    size_t index;         /* in group->members */
    bool is_done;         /* resolved, and this group has dealt with it */
    bool is_done_planned; /* by the batch being committed */
};

struct live_alert {
    struct labels labels; /* one heap block */
    uint64_t hash;        /* labels_hash() */
    struct alert_body *body;
    int64_t received_ms; /* when this episode (starts_ms) came in */
    uint64_t generation; /* counts the updates */
    struct membership **memberships;
    size_t membership_count;
    size_t membership_cap;
    bool is_unsaved; /* its row must be written again */
};

static inline bool live_alert_is_firing(const struct live_alert *alert) {
    return alert->body->ends_ms == 0;
}

/* ---- groups ---- */

#define GROUP_ID_BYTES 32 /* hex digits */

/* The durable part of a group: one row of KV_NOTIFY_GROUP. */
struct group_state {
    int64_t created_ms;
    int64_t next_flush_ms; /* INT64_MAX = dormant: no alerts, only the log */
    int64_t last_flush_ms; /* 0 = never */
    uint64_t seq;          /* of messages; with created_ms it makes their keys unique */
    struct log_entry *entries;
    size_t entry_count;
};

void group_state_finish(struct group_state *state);
struct group_state group_state_dup(const struct group_state *state);
const struct log_entry *group_state_find(const struct group_state *state, const char *integration);
/* Takes over the entry, replacing the integration's old one. */
void group_state_set(struct group_state *state, struct log_entry entry);
/* True when some integration was told of an alert that fires and not yet that it resolved. */
bool group_state_has_told(const struct group_state *state, uint64_t hash);
bool group_state_is_blank(const struct group_state *state); /* no entry knows firing alerts */

struct group {
    char id[GROUP_ID_BYTES];
    char *key;                        /* upstream's group key */
    char *receiver;                   /* name */
    struct labels labels;             /* one heap block */
    const struct route_config *route; /* NULL = the configuration has no such route any more */
    struct group_state state;
    struct membership **members;
    size_t member_count;
    size_t member_cap;
    size_t heap_index;    /* SIZE_MAX = not in the heap */
    uint32_t muted_count; /* at the last flush */
    bool is_saved;        /* has a row */
};

/* Alerts waiting for a flush or firing: members that are not done. */
size_t group_active_count(const struct group *group);

/* ---- the working set ---- */

struct live_set {
    struct map alerts;   /* by encoded labels */
    struct map groups;   /* by id */
    struct group **heap; /* by next_flush_ms */
    size_t heap_count;
    size_t heap_cap;
};

void live_set_init(struct live_set *set);
void live_set_finish(struct live_set *set);

struct live_alert *live_set_find(const struct live_set *set, struct labels labels);
/* The labels must not be there yet. Takes over the body. */
struct live_alert *live_set_add_alert(struct live_set *set,
                                      struct labels labels,
                                      struct alert_body *body);
/* Also leaves its groups. */
void live_set_remove_alert(struct live_set *set, struct live_alert *alert);

/* All alerts in the order they came in (then by labels). mem_free the result. */
struct live_alert **live_set_in_order(const struct live_set *set);

struct group *live_set_find_group(const struct live_set *set, const char id[GROUP_ID_BYTES]);
struct group *live_set_add_group(struct live_set *set,
                                 const char id[GROUP_ID_BYTES],
                                 struct str key,
                                 struct str receiver,
                                 struct labels labels);
/* Must have no members. */
void live_set_remove_group(struct live_set *set, struct group *group);
void live_set_join(struct live_alert *alert, struct group *group);
void live_set_leave_all(struct live_alert *alert);

/* Change the group's timer; keeps the heap in order. */
void live_set_schedule(struct live_set *set, struct group *group, int64_t next_flush_ms);
/* The group flushed next, NULL when none is scheduled. */
struct group *live_set_next(const struct live_set *set);

/* ---- routing ---- */

/* Depth-first, left to right; a matching child without `continue` ends the search among its
 * siblings; a route none of whose children matches stands for itself. Appends to *ret. */
struct route_list {
    const struct route_config **items;
    size_t count;
    size_t cap;
};

void route_match(const struct route_config *root, struct labels labels, struct route_list *ret);
void route_list_finish(struct route_list *list);

/* The labels an alert is grouped by on this route; in `arena`. */
struct labels route_group_labels(const struct route_config *route,
                                 struct labels labels,
                                 struct arena *arena);
/* Upstream's group key, and the id made from it, the receiver and the route's ordinal. */
void group_key_print(const struct route_config *route, struct labels group_labels, struct buf *out);
void group_id_make(const struct route_config *route, struct str key, char ret[GROUP_ID_BYTES]);
