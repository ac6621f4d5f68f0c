/*
 * What is shown of groups: one immutable copy per group, made after each of its evaluations and
 * shared by reference, so that a slow reader and a busy evaluation never wait for each other.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "rules/engine.h"

struct group_view {
    struct rule_group_view view;
    struct arena arena;   /* alerts and errors */
    struct rule_set *set; /* names, queries, configured labels */
    size_t pending_count;
    size_t firing_count;
    _Atomic unsigned ref_count;
};

struct snapshot {
    struct rules_snapshot snapshot; /* first: callers hold a pointer to it */
    struct group_view **views;
    char *reload_error;
    _Atomic unsigned ref_count;
};

/* ---- one group ---- */

static int compare_alerts(const void *a, const void *b) {
    return labels_cmp(((const struct alert_view *)a)->labels,
                      ((const struct alert_view *)b)->labels);
}

static void view_alerts(struct group_view *group, struct rule *rule, struct rule_view *ret) {
    ret->alerts = arena_calloc(&group->arena, rule->alerts.count, sizeof(struct alert_view));
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&rule->alerts, &cursor, &key, &value)) {
        const struct active_alert *alert = value;
        enum alert_state state = alert->status.state;
        if (state > ret->state) {
            ret->state = state;
        }
        if (state == ALERT_INACTIVE) {
            continue;
        }
        group->pending_count += state == ALERT_PENDING ? 1 : 0;
        group->firing_count += state == ALERT_FIRING ? 1 : 0;
        ret->alerts[ret->alert_count++] = (struct alert_view){
            .state = state,
            .labels = labels_dup(alert->labels, &group->arena),
            .annotations = labels_dup(alert->annotations, &group->arena),
            .value = alert->status.value,
            .active_ms = alert->status.active_ms,
            .fired_ms = alert->status.fired_ms,
            .keep_firing_since_ms = alert->status.keep_firing_since_ms,
        };
    }
    if (ret->alert_count > 0) {
        qsort(ret->alerts, ret->alert_count, sizeof(struct alert_view), compare_alerts);
    }
}

static void view_rule(struct group_view *group, struct rule *rule, struct rule_view *ret) {
    const struct rule_def *def = rule->def;
    *ret = (struct rule_view){
        .type = def->type,
        .name = def->name,
        .query = def->query,
        .for_ms = def->for_ms,
        .keep_firing_for_ms = def->keep_firing_for_ms,
        .labels = def->labels,
        .annotations = def->annotations,
        .health = rule->health,
        .last_error = arena_str(&group->arena, str_from(rule->last_error)),
        .evaluation_s = rule->evaluation_s,
        .last_evaluation_ms = rule->last_evaluation_ms,
        .state = rule->last_evaluation_ms == 0 ? ALERT_UNKNOWN : ALERT_INACTIVE,
    };
    view_alerts(group, rule, ret);
}

struct group_view *rules_group_view_create(struct rule_set *set,
                                           const struct group *group,
                                           uint64_t slots_missed) {
    struct group_view *copy = mem_calloc(1, sizeof(*copy));
    const struct rule_group_def *def = group->def;
    arena_init(&copy->arena, SIZE_MAX);
    atomic_init(&copy->ref_count, 1);
    rule_set_ref(set);
    copy->set = set;
    copy->view = (struct rule_group_view){
        .name = def->name,
        .file = def->file,
        .interval_ms = def->interval_ms,
        .query_offset_ms = def->query_offset_ms,
        .limit = def->limit,
        .evaluation_s = group->evaluation_s,
        .last_evaluation_ms = group->last_evaluation_ms,
        .last_slot_ms = group->last_slot_ms,
        .slots_missed = slots_missed,
        .gap_start_ms = group->gap_start_ms,
        .gap_end_ms = group->gap_end_ms,
        .rules = arena_calloc(&copy->arena, group->rule_count, sizeof(struct rule_view)),
        .rule_count = group->rule_count,
    };
    for (size_t i = 0; i < group->rule_count; i++) {
        view_rule(copy, group->rules[i], &copy->view.rules[i]);
    }
    return copy;
}

void rules_group_view_unref(struct group_view *view) {
    if (view == NULL || atomic_fetch_sub(&view->ref_count, 1) != 1) {
        return;
    }
    arena_finish(&view->arena);
    rule_set_destroy(view->set);
    mem_free(view);
}

void rules_group_view_publish_locked(struct rules *rules,
                                     struct group *group,
                                     struct group_view *view) {
    if (group->view != NULL) {
        rules->pending_count -= group->view->pending_count;
        rules->firing_count -= group->view->firing_count;
        rules_group_view_unref(group->view);
    }
    group->view = view;
    if (view != NULL) {
        rules->pending_count += view->pending_count;
        rules->firing_count += view->firing_count;
    }
    metric_set(rules->metrics.pending, (double)rules->pending_count);
    metric_set(rules->metrics.firing, (double)rules->firing_count);
}

/* ---- all groups ---- */

struct rules_snapshot *rules_snapshot(struct rules *rules) {
    struct snapshot *snapshot = mem_calloc(1, sizeof(*snapshot));
    atomic_init(&snapshot->ref_count, 1);
    pthread_mutex_lock(&rules->mu);
    size_t count = rules->group_count;
    snapshot->views = mem_calloc(count, sizeof(struct group_view *));
    snapshot->snapshot.groups = mem_calloc(count, sizeof(struct rule_group_view *));
    for (size_t i = 0; i < count; i++) {
        struct group_view *view = rules->groups[i]->view;
        atomic_fetch_add(&view->ref_count, 1);
        snapshot->views[i] = view;
        snapshot->snapshot.groups[i] = &view->view;
    }
    snapshot->snapshot.group_count = count;
    snapshot->snapshot.reload_ms = rules->reload_ms;
    snapshot->snapshot.is_reload_ok = rules->is_reload_ok;
    snapshot->reload_error = mem_strdup(rules->reload_error == NULL ? "" : rules->reload_error);
    pthread_mutex_unlock(&rules->mu);
    snapshot->snapshot.reload_error = str_from(snapshot->reload_error);
    return &snapshot->snapshot;
}

void rules_snapshot_ref(struct rules_snapshot *snapshot) {
    atomic_fetch_add(&((struct snapshot *)snapshot)->ref_count, 1);
}

void rules_snapshot_unref(struct rules_snapshot *snapshot) {
    struct snapshot *whole = (struct snapshot *)snapshot;
    if (whole == NULL || atomic_fetch_sub(&whole->ref_count, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < whole->snapshot.group_count; i++) {
        rules_group_view_unref(whole->views[i]);
    }
    mem_free(whole->views);
    mem_free(whole->snapshot.groups);
    mem_free(whole->reload_error);
    mem_free(whole);
}
