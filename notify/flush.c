/*
 * A group's flush: which of its alerts are muted, who has news to hear, what the log remembers.
 * Everything decided here joins notify->ops and is on disk before any of it is sent.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "notify/engine.h"

struct flush {
    struct notify *notify;
    struct group *group;
    int64_t now_ms;
    struct arena arena;
    struct live_alert **alerts; /* not muted, in upstream's order */
    size_t alert_count;
    struct hash_set firing;
    struct hash_set resolved;
    bool has_message; /* group->state.seq was raised */
};

/* ---- who is heard ---- */

static bool is_route_muted(const struct route_config *route, int64_t now_ms) {
    for (size_t i = 0; i < route->mute_interval_count; i++) {
        if (time_interval_contains(route->mute_intervals[i], now_ms)) {
            return true;
        }
    }
    bool is_active = route->active_interval_count == 0;
    for (size_t i = 0; i < route->active_interval_count; i++) {
        is_active |= time_interval_contains(route->active_intervals[i], now_ms);
    }
    return !is_active;
}

static const struct inhibit_index *inhibition(struct notify *notify) {
    if (notify->inhibit == NULL || notify->inhibit_generation != notify->alerts_generation) {
        inhibit_index_destroy(notify->inhibit);
        notify->inhibit = inhibit_index_create(notify->config, &notify->live);
        notify->inhibit_generation = notify->alerts_generation;
    }
    return notify->inhibit;
}

static bool is_muted(struct flush *flush, const struct live_alert *alert) {
    struct notify *notify = flush->notify;
    const struct notify_silencer *silencer = &notify->silencer;
    return (notify->config->inhibit_rule_count > 0 &&
            inhibit_index_mutes(inhibition(notify), alert)) ||
           (silencer->is_silenced != NULL &&
            silencer->is_silenced(silencer->ctx, alert->labels, flush->now_ms));
}

/* Upstream's order: by job, by instance (absent ones last), then by all labels. */
static int cmp_alert(const void *a, const void *b) {
    const struct live_alert *x = *(const struct live_alert *const *)a;
    const struct live_alert *y = *(const struct live_alert *const *)b;
    static const char *const first[] = { "job", "instance" };
    for (size_t i = 0; i < ARRAY_LEN(first); i++) {
        struct str left = labels_get(x->labels, str_from(first[i]));
        struct str right = labels_get(y->labels, str_from(first[i]));
        if ((left.len == 0) != (right.len == 0)) {
            return left.len == 0 ? 1 : -1;
        }
        int order = str_cmp(left, right);
        if (order != 0) {
            return order;
        }
    }
    return labels_cmp(x->labels, y->labels);
}

static void collect(struct flush *flush) {
    struct group *group = flush->group;
    flush->alerts = arena_calloc(&flush->arena, group->member_count, sizeof(flush->alerts[0]));
    flush->firing.items = mem_calloc(group->member_count, sizeof(uint64_t));
    flush->resolved.items = mem_calloc(group->member_count, sizeof(uint64_t));
    bool is_all_muted = is_route_muted(group->route, flush->now_ms);
    group->muted_count = 0;
    for (size_t i = 0; i < group->member_count; i++) {
        struct live_alert *alert = group->members[i]->alert;
        if (group->members[i]->is_done) {
            continue;
        }
        if (is_all_muted || is_muted(flush, alert)) {
            group->muted_count++;
            continue;
        }
        flush->alerts[flush->alert_count++] = alert;
        struct hash_set *set = live_alert_is_firing(alert) ? &flush->firing : &flush->resolved;
        set->items[set->count++] = alert->hash;
    }
    qsort(flush->alerts, flush->alert_count, sizeof(flush->alerts[0]), cmp_alert);
    hash_set_build(&flush->firing);
    hash_set_build(&flush->resolved);
}

/* ---- the notification ---- */

static void make_key(char ret[MESSAGE_KEY_BYTES],
                     const char *integration_id,
                     const struct group *group,
                     int64_t created_ms,
                     uint64_t seq) {
    struct buf text;
    buf_init(&text, 2 * 1024 * 1024);
    buf_cstr(&text, integration_id);
    buf_putc(&text, '\0');
    buf_cstr(&text, group->key);
    buf_putc(&text, '\0');
    buf_i64(&text, created_ms);
    buf_putc(&text, '\0');
    buf_u64(&text, seq);
    char hex[65];
    hash_sha256_hex(buf_as_str(&text), hex);
    buf_finish(&text);
    memcpy(ret, hex, MESSAGE_KEY_BYTES - 1);
    ret[MESSAGE_KEY_BYTES - 1] = '\0';
}

static struct message_alert message_alert(const struct live_alert *alert,
                                          const struct log_entry *entry) {
    struct alert view = live_alert_view(alert);
    bool was_told = entry != NULL && hash_set_has(&entry->firing, alert->hash);
    return (struct message_alert){
        .labels = view.labels,
        .annotations = view.annotations,
        .generator_url = view.generator_url,
        .active_ms = view.active_ms,
        .starts_ms = view.starts_ms,
        .ends_ms = view.ends_ms,
        .value = view.value,
        .change = view.ends_ms != 0 ? CHANGE_RESOLVED
                  : was_told        ? CHANGE_STILL
                                    : CHANGE_NEW,
    };
}

static void build(struct flush *flush,
                  const struct integration *integration,
                  const struct log_entry *entry,
                  enum notify_reason reason,
                  struct notification *n) {
    const struct group *group = flush->group;
    const struct notify_config *config = flush->notify->config;
    *n = (struct notification){
        .receiver = str_from(group->receiver),
        .external_url = str_from(config->external_url),
        .hello = str_from(config->hello),
        .group_key = str_from(group->key),
        .group_labels = group->labels,
        .reason = reason,
        .now_ms = flush->now_ms,
    };
    make_key(n->key, integration->id, group, group->state.created_ms, group->state.seq);
    make_key(n->thread_key, integration->id, group, group->state.created_ms, 0);
    make_key(n->group_thread_key, integration->id, group, 0, 0);
    n->alerts = arena_calloc(&flush->arena, flush->alert_count, sizeof(n->alerts[0]));
    for (size_t i = 0; i < flush->alert_count; i++) {
        if (integration->config->send_resolved || live_alert_is_firing(flush->alerts[i])) {
            n->alerts[n->alert_count++] = message_alert(flush->alerts[i], entry);
        }
    }
    notification_summarize(n, &flush->arena);
}

static uint64_t lane_of(const struct group *group) {
    return hash_bytes(str_n(group->id, GROUP_ID_BYTES));
}

static void notify_integration(struct flush *flush, struct integration *integration) {
    struct group *group = flush->group;
    struct notify *notify = flush->notify;
    const struct log_entry *entry = group_state_find(&group->state, integration->id);
    struct dedup_query query = {
        .entry = entry,
        .firing = &flush->firing,
        .resolved = &flush->resolved,
        .send_resolved = integration->config->send_resolved,
        .repeat_ms = group->route->repeat_interval_ms,
        .now_ms = flush->now_ms,
    };
    enum notify_reason reason = dedup_needs_update(&query);
    if (reason == REASON_NONE) {
        return;
    }
    if (reason == REASON_REPEAT && deliver_is_pending(notify, integration, lane_of(group))) {
        metric_inc(integration->metrics.coalesced); /* what waits says the same */
        return;
    }
    bool has_something = integration->config->send_resolved || flush->firing.count > 0;
    if (has_something) {
        group->state.seq += flush->has_message ? 0 : 1;
        flush->has_message = true;
        struct notification n;
        build(flush, integration, entry, reason, &n);
        deliver(notify, integration, &n, lane_of(group), &flush->arena);
    }
    group_state_set(&group->state, (struct log_entry){
                                       .integration = mem_strdup(integration->id),
                                       .at_ms = flush->now_ms,
                                       .firing = hash_set_dup(&flush->firing),
                                       .resolved = hash_set_dup(&flush->resolved),
                                   });
}

static void notify_receiver(struct flush *flush) {
    const struct receiver_config *receiver = flush->group->route->receiver;
    for (size_t i = 0; i < receiver->integration_count; i++) {
        struct integration *integration =
            queue_integration(flush->notify, str_from(receiver->integrations[i]->id));
        assert(integration != NULL);
        notify_integration(flush, integration);
    }
}

/* ---- after the notification ---- */

/* A group without members, timer and anything to remember goes away. */
static void drop_if_idle(struct notify *notify, struct group *group) {
    if (group->member_count > 0 || group->state.next_flush_ms != INT64_MAX ||
        !group_state_is_blank(&group->state)) {
        return;
    }
    if (group->is_saved) {
        op_del_group(&notify->ops, group);
    }
    live_set_remove_group(&notify->live, group);
}

static bool is_settled(const struct live_alert *alert) {
    for (size_t i = 0; i < alert->membership_count; i++) {
        if (!alert->memberships[i]->is_done) {
            return false;
        }
    }
    return !live_alert_is_firing(alert);
}

/* All groups are done with it. */
static void forget_alert(struct flush *flush, struct live_alert *alert) {
    struct notify *notify = flush->notify;
    size_t count = alert->membership_count;
    struct group **groups = arena_calloc(&flush->arena, count, sizeof(groups[0]));
    for (size_t i = 0; i < count; i++) {
        groups[i] = alert->memberships[i]->group;
    }
    op_del_alert(&notify->ops, alert->labels, alert->body->starts_ms);
    live_set_remove_alert(&notify->live, alert);
    for (size_t i = 0; i < count; i++) {
        if (groups[i] != flush->group) {
            drop_if_idle(notify, groups[i]);
        }
    }
}

static void forget_resolved(struct flush *flush) {
    struct group *group = flush->group;
    size_t count = group->member_count;
    struct live_alert **settled = arena_calloc(&flush->arena, count, sizeof(settled[0]));
    size_t settled_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct live_alert *alert = group->members[i]->alert;
        if (!live_alert_is_firing(alert) && !group->members[i]->is_done) {
            group->members[i]->is_done = true;
            if (is_settled(alert)) {
                settled[settled_count++] = alert;
            }
        }
    }
    for (size_t i = 0; i < settled_count; i++) {
        forget_alert(flush, settled[i]);
    }
}

/* The next flush of the same rhythm that lies in the future. */
static int64_t next_flush(const struct group *group, int64_t now_ms) {
    int64_t interval_ms = group->route->group_interval_ms;
    int64_t due_ms = group->state.next_flush_ms;
    assert(interval_ms > 0 && due_ms <= now_ms);
    return due_ms + ((now_ms - due_ms) / interval_ms + 1) * interval_ms;
}

static void flush_group(struct notify *notify, struct group *group, int64_t now_ms) {
    assert(group->route != NULL);
    struct flush flush = { .notify = notify, .group = group, .now_ms = now_ms };
    arena_init(&flush.arena, SIZE_MAX);
    collect(&flush);
    if (flush.alert_count > 0) {
        notify_receiver(&flush);
    }
    forget_resolved(&flush);
    group->state.last_flush_ms = now_ms;
    bool is_empty = group_active_count(group) == 0;
    live_set_schedule(&notify->live, group, is_empty ? INT64_MAX : next_flush(group, now_ms));
    if (is_empty && group->member_count == 0 && group_state_is_blank(&group->state)) {
        drop_if_idle(notify, group);
    } else {
        op_put_group(&notify->ops, group);
        group->is_saved = true;
    }
    hash_set_finish(&flush.firing);
    hash_set_finish(&flush.resolved);
    arena_finish(&flush.arena);
    metric_inc(notify->metrics.flushes);
}

bool flush_due_groups(struct notify *notify, int64_t now_ms) {
    for (;;) {
        struct group *group = live_set_next(&notify->live);
        if (group == NULL || group->state.next_flush_ms > now_ms) {
            return false;
        }
        if (notify->ops.bytes.len > OPS_BYTES_MAX) {
            return true;
        }
        flush_group(notify, group, now_ms);
    }
}
