/*
 * A new configuration: alerts are routed anew. Groups that come out the same (same matchers on the
 * way, same receiver, same labels) keep timer and log.
 */
#include "base/mem.h"
#include "notify/engine.h"

/* Which groups had dealt with an alert, across the rerouting. */
struct done_ids {
    char (*ids)[GROUP_ID_BYTES];
    size_t count;
};

static struct done_ids collect_done(const struct live_alert *alert) {
    struct done_ids done = { .ids = mem_calloc(alert->membership_count, GROUP_ID_BYTES) };
    for (size_t i = 0; i < alert->membership_count; i++) {
        if (alert->memberships[i]->is_done) {
            memcpy(done.ids[done.count++], alert->memberships[i]->group->id, GROUP_ID_BYTES);
        }
    }
    return done;
}

static void apply_done(struct live_alert *alert, const struct done_ids *done) {
    for (size_t i = 0; i < alert->membership_count; i++) {
        struct membership *member = alert->memberships[i];
        for (size_t k = 0; k < done->count; k++) {
            member->is_done |= memcmp(member->group->id, done->ids[k], GROUP_ID_BYTES) == 0;
        }
    }
}

static void reroute_all(struct notify *notify, int64_t now_ms) {
    size_t count = notify->live.alerts.count;
    struct live_alert **alerts = live_set_in_order(&notify->live);
    for (size_t i = 0; i < count; i++) {
        struct done_ids done = collect_done(alerts[i]);
        live_set_leave_all(alerts[i]);
        intake_route(notify, alerts[i], now_ms);
        apply_done(alerts[i], &done);
        mem_free(done.ids);
    }
    mem_free(alerts);
}

/* ---- alerts every group has dealt with ---- */

static bool is_settled(const struct live_alert *alert) {
    for (size_t i = 0; i < alert->membership_count; i++) {
        if (!alert->memberships[i]->is_done) {
            return false;
        }
    }
    return !live_alert_is_firing(alert);
}

static void forget_settled(struct notify *notify) {
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&notify->live.alerts, &cursor, &key, &value)) {
        struct live_alert *alert = value;
        if (is_settled(alert)) {
            op_del_alert(&notify->ops, alert->labels, alert->body->starts_ms);
            live_set_remove_alert(&notify->live, alert);
        }
    }
}

/* ---- groups nobody needs ---- */

static bool entry_is_live(const struct notify *notify, const struct log_entry *entry) {
    return config_find_integration(notify->config, str_from(entry->integration)) != NULL;
}

/* Forget what integrations were told that are gone, or told so long ago that upstream's log would
 * have forgotten it. */
static bool prune_entries(struct notify *notify, struct group *group) {
    size_t kept = 0;
    for (size_t i = 0; i < group->state.entry_count; i++) {
        struct log_entry *entry = &group->state.entries[i];
        bool is_old =
            group->member_count == 0 && entry->at_ms < notify->last_tick_ms - LOG_RETENTION_MS;
        if (entry_is_live(notify, entry) && !is_old) {
            group->state.entries[kept++] = *entry;
        } else {
            log_entry_finish(entry);
        }
    }
    bool has_changed = kept != group->state.entry_count;
    group->state.entry_count = kept;
    return has_changed;
}

static void tidy_group(struct notify *notify, struct group *group) {
    bool has_changed = prune_entries(notify, group);
    if (group->member_count == 0) {
        live_set_schedule(&notify->live, group, INT64_MAX);
        if (group_state_is_blank(&group->state)) {
            if (group->is_saved) {
                op_del_group(&notify->ops, group);
            }
            live_set_remove_group(&notify->live, group);
            return;
        }
    }
    if (has_changed && group->is_saved) {
        op_put_group(&notify->ops, group);
    }
}

void reload_tidy(struct notify *notify) {
    forget_settled(notify);
    size_t count = 0;
    size_t cursor = 0;
    struct str key;
    void *value;
    struct group **groups = mem_calloc(notify->live.groups.count + 1, sizeof(groups[0]));
    while (map_next(&notify->live.groups, &cursor, &key, &value)) {
        groups[count++] = value;
    }
    for (size_t i = 0; i < count; i++) {
        tidy_group(notify, groups[i]);
    }
    mem_free(groups);
}

void reload_apply(struct notify *notify, int64_t now_ms) {
    struct notify_config *old = notify->config;
    notify->config = notify->next_config;
    notify->next_config = NULL;
    inhibit_index_destroy(notify->inhibit); /* it refers to the old rules */
    notify->inhibit = NULL;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&notify->live.groups, &cursor, &key, &value)) {
        struct group *group = value;
        group->route = NULL;
    }
    queue_configure(notify);
    reroute_all(notify, now_ms);
    reload_tidy(notify);
    notify_config_unref(old);
    log_info(notify->log, NOTIFY_SOURCE, "Notifier configuration taken over",
             LOG_I64("receivers", notify->config->receiver_count),
             LOG_I64("integrations", notify->integration_count));
}
