/*
 * Putting a rule set in force: which running rule becomes which new one, and the explicit end of
 * those that become none.
 */
#include "base/mem.h"
#include "rules/engine.h"

/* ---- matching ---- */

enum match_stage {
    MATCH_SAME_PLACE, /* file, group, name and expression are the same */
    MATCH_ANYWHERE,   /* name and expression are: the rule was moved */
    MATCH_STAGE_COUNT,
};

/* Every rule that has run so far: of the groups in force, restored ones, and those whose end is
 * not durable yet. What is taken becomes NULL. */
struct old_rules {
    struct rule **items;
    size_t count;
    size_t *next;     /* of the same key, in order; SIZE_MAX ends */
    struct map heads; /* key → first item that is left */
};

static struct str match_key(const struct rule *rule, enum match_stage stage, struct buf *out) {
    buf_reset(out);
    buf_append(out, &rule->match_hash, sizeof(rule->match_hash));
    if (stage == MATCH_SAME_PLACE) {
        buf_cstr(out, rule->file);
        buf_putc(out, '\xff');
        buf_cstr(out, rule->group);
    }
    return buf_as_str(out);
}

static void old_index(struct old_rules *old, enum match_stage stage) {
    struct buf key;
    buf_init(&key, SIZE_MAX);
    map_init(&old->heads);
    for (size_t i = old->count; i > 0; i--) { /* backwards, so that the first leads its chain */
        struct rule **item = &old->items[i - 1];
        if (*item == NULL) {
            continue;
        }
        struct rule **head = map_put(&old->heads, match_key(*item, stage, &key), item);
        old->next[i - 1] = head == NULL ? SIZE_MAX : (size_t)(head - old->items);
    }
    buf_finish(&key);
}

static struct rule *old_take(struct old_rules *old, struct str key) {
    struct rule **item = map_get(&old->heads, key);
    if (item == NULL) {
        return NULL;
    }
    struct rule *rule = *item;
    *item = NULL;
    size_t next = old->next[item - old->items];
    if (next == SIZE_MAX) {
        (void)map_del(&old->heads, key);
    } else {
        (void)map_put(&old->heads, key, &old->items[next]);
    }
    return rule;
}

/* ---- taking over ---- */

static void carry_alerts(struct rule *rule) {
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&rule->alerts, &cursor, &key, &value)) {
        ((struct active_alert *)value)->is_carried = true;
        rule->has_carried = true;
    }
}

/* `rule` goes on where `old` was; `old` ends. */
static void rule_take_over(struct rule *rule, struct rule *old) {
    map_finish(&rule->alerts, NULL);
    rule->alerts = old->alerts;
    map_init(&old->alerts);
    mem_free(rule->previous);
    rule->previous = old->previous;
    rule->previous_count = old->previous_count;
    old->previous = NULL;
    rule->last_error = old->last_error;
    old->last_error = NULL;
    rule->is_error_reported = old->is_error_reported;
    rule->health = old->health;
    rule->evaluation_s = old->evaluation_s;
    rule->last_evaluation_ms = old->last_evaluation_ms;
    rule->last_slot_ms = old->last_slot_ms;
    rule->has_carried = old->has_carried;
    rule->is_for_raised = old->is_for_raised || rule->for_ms > old->for_ms;
    if (rule->labels_hash != old->labels_hash) {
        carry_alerts(rule);
    }
    rule_destroy(old);
}

static bool is_new(const struct rule *rule) {
    return rule->last_slot_ms == 0 && rule->previous == NULL && rule->alerts.count == 0;
}

/* New rules that have not run yet, by type and name. */
static struct rule *find_new(struct group **groups, size_t group_count, const struct rule *old) {
    for (size_t g = 0; g < group_count; g++) {
        for (size_t r = 0; r < groups[g]->rule_count; r++) {
            struct rule *rule = groups[g]->rules[r];
            if (rule->type == old->type && str_eq_c(str_from(rule->name), old->name) &&
                is_new(rule)) {
                return rule;
            }
        }
    }
    return NULL;
}

/* The old rule's expression was edited or it is gone. A recording rule of the same name will say
 * by itself which series have vanished; alerts end here. */
static void leave(struct rules *rules,
                  struct group **groups,
                  size_t group_count,
                  struct rule *old) {
    struct rule *heir = find_new(groups, group_count, old);
    old->def = NULL;
    if (heir != NULL && old->type == RULE_RECORDING && old->previous_count > 0) {
        heir->previous = old->previous;
        heir->previous_count = old->previous_count;
        old->previous = NULL;
        old->previous_count = 0;
    }
    if (heir != NULL && old->alerts.count > 0) {
        rules_report(rules, RULES_STATE_RESET, old, (int64_t)old->alerts.count, "%s", "");
    }
    if (old->alerts.count == 0 && old->previous_count == 0) {
        rule_destroy(old);
        return;
    }
    rules->orphans = vec_grow(rules->orphans, &rules->orphan_cap, rules->orphan_count + 1,
                              sizeof(struct rule *));
    rules->orphans[rules->orphan_count++] = old;
}

static void old_collect(struct rules *rules, struct old_rules *old) {
    size_t count = rules->orphan_count;
    for (size_t g = 0; g < rules->group_count; g++) {
        count += rules->groups[g]->rule_count;
    }
    old->items = mem_calloc(count, sizeof(struct rule *));
    old->next = mem_calloc(count, sizeof(size_t));
    for (size_t g = 0; g < rules->group_count; g++) {
        struct group *group = rules->groups[g];
        for (size_t r = 0; r < group->rule_count; r++) {
            old->items[old->count++] = group->rules[r];
            group->rules[r] = NULL;
        }
    }
    for (size_t i = 0; i < rules->orphan_count; i++) {
        old->items[old->count++] = rules->orphans[i];
    }
    rules->orphan_count = 0;
}

/* A rule has taken over at most once; a second stage finds only those that have not. */
static void match_stage(struct old_rules *old,
                        struct group **groups,
                        size_t group_count,
                        enum match_stage stage) {
    struct buf key;
    buf_init(&key, SIZE_MAX);
    old_index(old, stage);
    for (size_t g = 0; g < group_count; g++) {
        for (size_t r = 0; r < groups[g]->rule_count; r++) {
            struct rule *rule = groups[g]->rules[r];
            struct rule *from =
                rule->is_matched ? NULL : old_take(old, match_key(rule, stage, &key));
            if (from != NULL) {
                rule->is_matched = true;
                rule_take_over(rule, from);
            }
        }
    }
    map_finish(&old->heads, NULL);
    buf_finish(&key);
}

static void match_rules(struct rules *rules, struct group **groups, size_t group_count) {
    struct old_rules old = { 0 };
    old_collect(rules, &old);
    for (int stage = 0; stage < MATCH_STAGE_COUNT; stage++) {
        match_stage(&old, groups, group_count, (enum match_stage)stage);
    }
    for (size_t i = 0; i < old.count; i++) {
        if (old.items[i] != NULL) {
            leave(rules, groups, group_count, old.items[i]);
        }
    }
    mem_free(old.items);
    mem_free(old.next);
}

/* ---- groups ---- */

static struct group *find_group(const struct rules *rules, const struct group *like) {
    for (size_t i = 0; i < rules->group_count; i++) {
        struct group *group = rules->groups[i];
        if (str_eq(group->def->file, like->def->file) &&
            str_eq(group->def->name, like->def->name)) {
            return group;
        }
    }
    return NULL;
}

static void take_old_group(struct rules *rules, struct group *group) {
    for (size_t i = 0; i < rules->old_group_count; i++) {
        struct old_group *old = &rules->old_groups[i];
        if (str_eq_c(group->def->file, old->file) && str_eq_c(group->def->name, old->name)) {
            group->last_slot_ms = old->last_slot_ms;
            rules_old_group_finish(old);
            *old = rules->old_groups[--rules->old_group_count];
            return;
        }
    }
}

/* Schedule and history of a group that was there before. */
static void group_take_over(struct rules *rules, struct group *group, int64_t now_ms) {
    const struct group *old = find_group(rules, group);
    group->next_slot_ms = rule_group_slot(group->def, now_ms) + group->def->interval_ms;
    if (old == NULL) {
        take_old_group(rules, group);
    } else {
        if (old->def->interval_ms == group->def->interval_ms) {
            group->next_slot_ms = old->next_slot_ms;
        }
        group->slots_missed = old->slots_missed;
        group->last_slot_ms = old->last_slot_ms;
        group->last_evaluation_ms = old->last_evaluation_ms;
        group->evaluation_s = old->evaluation_s;
        group->is_first = old->is_first;
        group->is_after_gap = old->is_after_gap;
        group->last_now_ms = old->last_now_ms;
        group->last_mono_ns = old->last_mono_ns;
        group->evidence_until_ms = old->evidence_until_ms;
        group->gap_start_ms = old->gap_start_ms;
        group->gap_end_ms = old->gap_end_ms;
    }
    for (size_t r = 0; group->last_slot_ms == 0 && r < group->rule_count; r++) {
        group->last_slot_ms = group->rules[r]->last_slot_ms; /* moved here from elsewhere */
    }
}

/* The row of a group no set has any more is to be deleted. */
static void leave_group(struct rules *rules, const struct group *group) {
    if (group->last_slot_ms == 0) {
        return;
    }
    rules->old_groups = vec_grow(rules->old_groups, &rules->old_group_cap,
                                 rules->old_group_count + 1, sizeof(rules->old_groups[0]));
    struct old_group *old = &rules->old_groups[rules->old_group_count++];
    *old = (struct old_group){
        .file = mem_strndup(group->def->file.ptr, group->def->file.len),
        .name = mem_strndup(group->def->name.ptr, group->def->name.len),
        .last_slot_ms = group->last_slot_ms,
        .query_offset_ms = group->def->query_offset_ms,
    };
    memcpy(old->key, group->row_key, sizeof(old->key));
}

/* ---- in force ---- */

static struct group **create_groups(struct rules *rules, struct rule_set *set) {
    struct group **groups = mem_calloc(set->group_count, sizeof(struct group *));
    for (size_t i = 0; i < set->group_count; i++) {
        groups[i] = rules_group_create(rules, set->groups[i]);
    }
    return groups;
}

static void note_reload_locked(struct rules *rules, int64_t now_ms) {
    rules->reload_ms = now_ms;
    rules->is_reload_ok = true;
    mem_free(rules->reload_error);
    rules->reload_error = NULL;
    metric_set(rules->metrics.reload_ok, 1);
    metric_set(rules->metrics.reload_success_time, (double)now_ms / 1e3);
}

/* Old groups are empty shells by now. */
static void drop_old_groups(struct rules *rules,
                            struct group **groups,
                            size_t count,
                            struct rule_set *set) {
    for (size_t i = 0; i < count; i++) {
        if (find_group(rules, groups[i]) == NULL) {
            metric_set(groups[i]->metrics.rules, 0);
            leave_group(rules, groups[i]);
        }
        rules_group_destroy(groups[i]);
    }
    mem_free(groups);
    rule_set_destroy(set);
}

static void swap_set(struct rules *rules, struct rule_set *set, int64_t now_ms) {
    struct group **groups = create_groups(rules, set);
    match_rules(rules, groups, set->group_count);
    struct group_view **views = mem_calloc(set->group_count, sizeof(struct group_view *));
    for (size_t i = 0; i < set->group_count; i++) {
        group_take_over(rules, groups[i], now_ms);
        views[i] = rules_group_view_create(set, groups[i], groups[i]->slots_missed);
    }
    pthread_mutex_lock(&rules->mu);
    struct group **old_groups = rules->groups;
    size_t old_count = rules->group_count;
    struct rule_set *old_set = rules->set;
    for (size_t i = 0; i < old_count; i++) {
        rules_group_view_publish_locked(rules, old_groups[i], NULL);
    }
    for (size_t i = 0; i < set->group_count; i++) {
        rules_group_view_publish_locked(rules, groups[i], views[i]);
    }
    rules->groups = groups;
    rules->group_count = set->group_count;
    rules->set = set;
    note_reload_locked(rules, now_ms);
    pthread_mutex_unlock(&rules->mu);
    mem_free(views);
    drop_old_groups(rules, old_groups, old_count, old_set);
}

void rules_apply(struct rules *rules, struct rule_set *set, int64_t now_ms) {
    pthread_mutex_lock(&rules->mu);
    while (rules->is_applying || rules->is_retiring) {
        pthread_cond_wait(&rules->changed, &rules->mu);
    }
    rules->is_applying = true; /* no group becomes busy from here on */
    while (rules->busy_count > 0) {
        pthread_cond_wait(&rules->changed, &rules->mu);
    }
    pthread_mutex_unlock(&rules->mu);

    swap_set(rules, set, now_ms);
    rules_retire_orphans(rules, now_ms);
    rules_switch_external(rules, now_ms);

    pthread_mutex_lock(&rules->mu);
    rules->is_applying = false;
    pthread_cond_broadcast(&rules->changed);
    pthread_mutex_unlock(&rules->mu);
}

/* ---- the end of orphans ---- */

static int64_t stale_time(const struct rule *rule, int64_t now_ms) {
    int64_t after_ms = rule->last_slot_ms + 1;
    return (now_ms > after_ms ? now_ms : after_ms) - rule->query_offset_ms;
}

/* Resolved alerts of one orphan into `alerts`, its rows out of the table. */
static size_t end_alerts(struct rules *rules,
                         struct rule *rule,
                         struct kv_batch *kv,
                         int64_t now_ms,
                         struct arena *arena,
                         struct alert *alerts) {
    size_t count = 0;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&rule->alerts, &cursor, &key, &value)) {
        const struct active_alert *alert = value;
        if (alert->has_row) {
            kv->del(kv, KV_ALERT_STATE, str_n((const char *)alert->row_key, ALERT_ROW_KEY_BYTES));
        }
        if (alert->status.state == ALERT_FIRING) {
            alerts[count++] = (struct alert){
                .labels = rules_alert_sent_labels(rules, alert->labels, arena),
                .annotations = alert->annotations,
                .generator_url = str_from(rule->generator_url),
                .active_ms = alert->status.active_ms,
                .starts_ms = alert->status.fired_ms,
                .ends_ms = now_ms,
                .value = alert->status.value,
            };
        }
    }
    return count;
}

static size_t fill_batch(struct rules *rules,
                         struct tsdb_batch *batch,
                         int64_t now_ms,
                         struct arena *arena,
                         struct alert **ret) {
    struct kv_batch *kv = tsdb_batch_kv(batch);
    size_t room = 0;
    size_t count = 0;
    for (size_t i = 0; i < rules->orphan_count; i++) {
        room += rules->orphans[i]->alerts.count;
    }
    *ret = arena_calloc(arena, room, sizeof(struct alert));
    for (size_t i = 0; i < rules->orphan_count; i++) {
        struct rule *rule = rules->orphans[i];
        for (size_t s = 0; s < rule->previous_count; s++) {
            tsdb_batch_append(batch, rule->previous[s], stale_time(rule, now_ms),
                              double_from_bits(STALE_NAN_BITS));
        }
        count += end_alerts(rules, rule, kv, now_ms, arena, *ret + count);
    }
    for (size_t i = 0; i < rules->old_group_count; i++) {
        const struct old_group *old = &rules->old_groups[i];
        kv->del(kv, KV_RULE_STATE, str_n((const char *)old->key, GROUP_ROW_KEY_BYTES));
    }
    return count;
}

static void report_resolved(struct rules *rules, const struct rule *rule) {
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&rule->alerts, &cursor, &key, &value)) {
        const struct active_alert *alert = value;
        if (alert->status.state == ALERT_FIRING) {
            struct buf text;
            buf_init(&text, 4096);
            labels_print(alert->labels, &text);
            rules_report(rules, RULES_ALERT_RESOLVED, rule, 1, "%s", buf_as_str(&text).ptr);
            buf_finish(&text);
        }
    }
}

static bool commit_end(struct rules *rules, int64_t now_ms, struct err *err) {
    const struct alert_sink *sink = &rules->options.sink;
    struct tsdb_batch *batch = NULL;
    if (!tsdb_batch_begin(rules->options.db, TSDB_STATE, &batch, err)) {
        return false;
    }
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct alert *alerts = NULL;
    void *token = NULL;
    size_t count = fill_batch(rules, batch, now_ms, &arena, &alerts);
    bool is_staged = count > 0 && sink->stage != NULL;
    if (is_staged) {
        token = sink->stage(sink->ctx, alerts, count, now_ms, tsdb_batch_kv(batch));
    }
    bool ok = tsdb_commit_blocking(batch, NULL, err);
    if (is_staged) {
        sink->settle(sink->ctx, token, ok);
    }
    arena_finish(&arena);
    return ok;
}

void rules_retire_orphans(struct rules *rules, int64_t now_ms) {
    if (rules->orphan_count == 0 && rules->old_group_count == 0) {
        return;
    }
    struct err err = ERR_INIT;
    if (!commit_end(rules, now_ms, &err)) {
        metric_inc(rules->metrics.commit_failures);
        if (rules->orphan_count > 0) {
            rules_report(rules, RULES_COMMIT_FAILED, rules->orphans[0], 1, "%s", err.msg);
        }
        return;
    }
    for (size_t i = 0; i < rules->orphan_count; i++) {
        report_resolved(rules, rules->orphans[i]);
        rule_destroy(rules->orphans[i]);
    }
    rules->orphan_count = 0;
    for (size_t i = 0; i < rules->old_group_count; i++) {
        rules_old_group_finish(&rules->old_groups[i]);
    }
    rules->old_group_count = 0;
}
