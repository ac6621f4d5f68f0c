/* Live alerts, groups and the heap of their timers: see groups.h. */
#include "notify/groups.h"

#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"

enum {
    LABELS_TEXT_BYTES_MAX = 4 * 1024 * 1024,
};

/* ---- alert bodies ---- */

struct alert_body *alert_body_create(const struct alert *alert) {
    struct alert_body *body = mem_calloc(1, sizeof(*body));
    body->annotations = labels_dup_heap(alert->annotations);
    body->generator_url = mem_strndup(alert->generator_url.ptr, alert->generator_url.len);
    body->active_ms = alert->active_ms;
    body->starts_ms = alert->starts_ms;
    body->ends_ms = alert->ends_ms;
    body->value = alert->value;
    return body;
}

void alert_body_destroy(struct alert_body *body) {
    if (body == NULL) {
        return;
    }
    mem_free(body->annotations.items);
    mem_free(body->generator_url);
    mem_free(body);
}

bool alert_body_is_same(const struct alert_body *body, const struct alert *alert) {
    return body->starts_ms == alert->starts_ms && body->ends_ms == alert->ends_ms &&
           body->active_ms == alert->active_ms &&
           str_eq_c(alert->generator_url, body->generator_url) &&
           labels_equal(body->annotations, alert->annotations);
}

/* ---- group state ---- */

void group_state_finish(struct group_state *state) {
    for (size_t i = 0; i < state->entry_count; i++) {
        log_entry_finish(&state->entries[i]);
    }
    mem_free(state->entries);
    *state = (struct group_state){ 0 };
}

struct group_state group_state_dup(const struct group_state *state) {
    struct group_state copy = *state;
    copy.entries = mem_calloc(state->entry_count, sizeof(copy.entries[0]));
    for (size_t i = 0; i < state->entry_count; i++) {
        const struct log_entry *entry = &state->entries[i];
        copy.entries[i] = (struct log_entry){
            .integration = mem_strdup(entry->integration),
            .at_ms = entry->at_ms,
            .firing = hash_set_dup(&entry->firing),
            .resolved = hash_set_dup(&entry->resolved),
        };
    }
    return copy;
}

const struct log_entry *group_state_find(const struct group_state *state, const char *integration) {
    for (size_t i = 0; i < state->entry_count; i++) {
        if (strcmp(state->entries[i].integration, integration) == 0) {
            return &state->entries[i];
        }
    }
    return NULL;
}

void group_state_set(struct group_state *state, struct log_entry entry) {
    for (size_t i = 0; i < state->entry_count; i++) {
        if (strcmp(state->entries[i].integration, entry.integration) == 0) {
            log_entry_finish(&state->entries[i]);
            state->entries[i] = entry;
            return;
        }
    }
    state->entries =
        mem_realloc(state->entries, (state->entry_count + 1) * sizeof(state->entries[0]));
    state->entries[state->entry_count++] = entry;
}

bool group_state_has_told(const struct group_state *state, uint64_t hash) {
    for (size_t i = 0; i < state->entry_count; i++) {
        if (hash_set_has(&state->entries[i].firing, hash)) {
            return true;
        }
    }
    return false;
}

bool group_state_is_blank(const struct group_state *state) {
    for (size_t i = 0; i < state->entry_count; i++) {
        if (state->entries[i].firing.count > 0) {
            return false;
        }
    }
    return true;
}

size_t group_active_count(const struct group *group) {
    size_t count = 0;
    for (size_t i = 0; i < group->member_count; i++) {
        count += group->members[i]->is_done ? 0 : 1;
    }
    return count;
}

/* ---- the set ---- */

void live_set_init(struct live_set *set) {
    *set = (struct live_set){ 0 };
    map_init(&set->alerts);
    map_init(&set->groups);
}

static void alert_destroy(struct live_alert *alert) {
    live_set_leave_all(alert);
    mem_free(alert->memberships);
    mem_free(alert->labels.items);
    alert_body_destroy(alert->body);
    mem_free(alert);
}

static void notify_group_destroy(struct group *group) {
    assert(group->member_count == 0);
    group_state_finish(&group->state);
    mem_free(group->members);
    mem_free(group->labels.items);
    mem_free(group->key);
    mem_free(group->receiver);
    mem_free(group);
}

static void free_alert(void *value) {
    alert_destroy(value);
}

static void free_group(void *value) {
    notify_group_destroy(value);
}

void live_set_finish(struct live_set *set) {
    map_finish(&set->alerts, free_alert);
    map_finish(&set->groups, free_group);
    mem_free(set->heap);
    *set = (struct live_set){ 0 };
}

static struct str encode_labels(struct labels labels, struct buf *out) {
    buf_init(out, LABELS_TEXT_BYTES_MAX);
    labels_encode(labels, out);
    assert(!out->is_over);
    return buf_as_str(out);
}

struct live_alert *live_set_find(const struct live_set *set, struct labels labels) {
    struct buf key;
    struct live_alert *alert = map_get(&set->alerts, encode_labels(labels, &key));
    buf_finish(&key);
    return alert;
}

struct live_alert *live_set_add_alert(struct live_set *set,
                                      struct labels labels,
                                      struct alert_body *body) {
    struct live_alert *alert = mem_calloc(1, sizeof(*alert));
    alert->labels = labels_dup_heap(labels);
    alert->hash = labels_hash(labels);
    alert->body = body;
    struct buf key;
    void *before = map_put(&set->alerts, encode_labels(labels, &key), alert);
    buf_finish(&key);
    assert(before == NULL);
    return alert;
}

void live_set_remove_alert(struct live_set *set, struct live_alert *alert) {
    struct buf key;
    void *removed = map_del(&set->alerts, encode_labels(alert->labels, &key));
    buf_finish(&key);
    assert(removed == alert);
    alert_destroy(alert);
}

static int cmp_arrival(const void *a, const void *b) {
    const struct live_alert *x = *(const struct live_alert *const *)a;
    const struct live_alert *y = *(const struct live_alert *const *)b;
    if (x->received_ms != y->received_ms) {
        return x->received_ms < y->received_ms ? -1 : 1;
    }
    return labels_cmp(x->labels, y->labels);
}

struct live_alert **live_set_in_order(const struct live_set *set) {
    struct live_alert **alerts = mem_calloc(set->alerts.count + 1, sizeof(alerts[0]));
    size_t count = 0;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&set->alerts, &cursor, &key, &value)) {
        alerts[count++] = value;
    }
    assert(count == set->alerts.count);
    qsort(alerts, count, sizeof(alerts[0]), cmp_arrival);
    return alerts;
}

struct group *live_set_find_group(const struct live_set *set, const char id[GROUP_ID_BYTES]) {
    return map_get(&set->groups, str_n(id, GROUP_ID_BYTES));
}

struct group *live_set_add_group(struct live_set *set,
                                 const char id[GROUP_ID_BYTES],
                                 struct str key,
                                 struct str receiver,
                                 struct labels labels) {
    struct group *group = mem_calloc(1, sizeof(*group));
    memcpy(group->id, id, GROUP_ID_BYTES);
    group->key = mem_strndup(key.ptr, key.len);
    group->receiver = mem_strndup(receiver.ptr, receiver.len);
    group->labels = labels_dup_heap(labels);
    group->heap_index = SIZE_MAX;
    group->state.next_flush_ms = INT64_MAX;
    void *before = map_put(&set->groups, str_n(id, GROUP_ID_BYTES), group);
    assert(before == NULL);
    return group;
}

void live_set_remove_group(struct live_set *set, struct group *group) {
    live_set_schedule(set, group, INT64_MAX);
    void *removed = map_del(&set->groups, str_n(group->id, GROUP_ID_BYTES));
    assert(removed == group);
    notify_group_destroy(group);
}

void live_set_join(struct live_alert *alert, struct group *group) {
    struct membership *member = mem_calloc(1, sizeof(*member));
    member->alert = alert;
    member->group = group;
    member->index = group->member_count;
    group->members =
        vec_grow(group->members, &group->member_cap, group->member_count + 1, sizeof(member));
    group->members[group->member_count++] = member;
    alert->memberships = vec_grow(alert->memberships, &alert->membership_cap,
                                  alert->membership_count + 1, sizeof(member));
    alert->memberships[alert->membership_count++] = member;
}

void live_set_leave_all(struct live_alert *alert) {
    for (size_t i = 0; i < alert->membership_count; i++) {
        struct membership *member = alert->memberships[i];
        struct group *group = member->group;
        struct membership *last = group->members[--group->member_count];
        group->members[member->index] = last;
        last->index = member->index;
        mem_free(member);
    }
    alert->membership_count = 0;
}

/* ---- timers: a binary heap ---- */

static void heap_place(struct live_set *set, size_t index, struct group *group) {
    set->heap[index] = group;
    group->heap_index = index;
}

static bool is_before(const struct group *a, const struct group *b) {
    if (a->state.next_flush_ms != b->state.next_flush_ms) {
        return a->state.next_flush_ms < b->state.next_flush_ms;
    }
    return memcmp(a->id, b->id, GROUP_ID_BYTES) < 0; /* a total order: runs repeat exactly */
}

static void heap_up(struct live_set *set, size_t index) {
    struct group *group = set->heap[index];
    while (index > 0 && is_before(group, set->heap[(index - 1) / 2])) {
        heap_place(set, index, set->heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_place(set, index, group);
}

static void heap_down(struct live_set *set, size_t index) {
    struct group *group = set->heap[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= set->heap_count) {
            break;
        }
        if (child + 1 < set->heap_count && is_before(set->heap[child + 1], set->heap[child])) {
            child++;
        }
        if (!is_before(set->heap[child], group)) {
            break;
        }
        heap_place(set, index, set->heap[child]);
        index = child;
    }
    heap_place(set, index, group);
}

static void heap_remove(struct live_set *set, struct group *group) {
    size_t index = group->heap_index;
    struct group *last = set->heap[--set->heap_count];
    group->heap_index = SIZE_MAX;
    if (last != group) {
        heap_place(set, index, last);
        heap_down(set, index);
        heap_up(set, last->heap_index);
    }
}

void live_set_schedule(struct live_set *set, struct group *group, int64_t next_flush_ms) {
    if (group->heap_index != SIZE_MAX) {
        heap_remove(set, group);
    }
    group->state.next_flush_ms = next_flush_ms;
    if (next_flush_ms != INT64_MAX) {
        set->heap = vec_grow(set->heap, &set->heap_cap, set->heap_count + 1, sizeof(set->heap[0]));
        heap_place(set, set->heap_count, group);
        heap_up(set, set->heap_count++);
    }
}

struct group *live_set_next(const struct live_set *set) {
    return set->heap_count == 0 ? NULL : set->heap[0];
}

/* ---- routing ---- */

static bool match_route(const struct route_config *route,
                        struct labels labels,
                        struct route_list *ret) {
    if (!matcher_list_matches(&route->matchers, labels)) {
        return false;
    }
    size_t before = ret->count;
    for (size_t i = 0; i < route->route_count; i++) {
        if (match_route(route->routes[i], labels, ret) && !route->routes[i]->is_continue) {
            break;
        }
    }
    if (ret->count == before) {
        ret->items = vec_grow(ret->items, &ret->cap, ret->count + 1, sizeof(ret->items[0]));
        ret->items[ret->count++] = route;
    }
    return true;
}

void route_match(const struct route_config *root, struct labels labels, struct route_list *ret) {
    (void)match_route(root, labels, ret);
}

void route_list_finish(struct route_list *list) {
    mem_free(list->items);
    *list = (struct route_list){ 0 };
}

struct labels route_group_labels(const struct route_config *route,
                                 struct labels labels,
                                 struct arena *arena) {
    struct labels picked = { .items = arena_calloc(arena, labels.count, sizeof(picked.items[0])) };
    for (size_t i = 0; i < labels.count; i++) {
        bool is_picked = route->group_by_all;
        for (size_t k = 0; !is_picked && k < route->group_by_count; k++) {
            is_picked = str_eq_c(labels.items[i].name, route->group_by[k]);
        }
        if (is_picked) {
            picked.items[picked.count++] = labels.items[i];
        }
    }
    return picked;
}

void group_key_print(const struct route_config *route,
                     struct labels group_labels,
                     struct buf *out) {
    buf_printf(out, "%s:{", route->key);
    for (size_t i = 0; i < group_labels.count; i++) {
        if (i > 0) {
            buf_cstr(out, ", ");
        }
        buf_str(out, group_labels.items[i].name);
        buf_putc(out, '=');
        buf_json_str(out, group_labels.items[i].value);
    }
    buf_putc(out, '}');
}

void group_id_make(const struct route_config *route, struct str key, char ret[GROUP_ID_BYTES]) {
    struct buf text;
    buf_init(&text, LABELS_TEXT_BYTES_MAX);
    buf_cstr(&text, route->receiver->name);
    buf_putc(&text, '\0');
    buf_str(&text, key);
    buf_putc(&text, '\0');
    buf_u64(&text, route->ordinal);
    char hex[65];
    hash_sha256_hex(buf_as_str(&text), hex);
    buf_finish(&text);
    memcpy(ret, hex, GROUP_ID_BYTES);
}
