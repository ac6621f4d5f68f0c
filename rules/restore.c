/*
 * Reading back what earlier runs made durable. Every row becomes an alert of a rule without a
 * definition; rules_apply() then matches these like the rules of a set that is being replaced.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "rules/engine.h"

/* Rows as scanned: decoding and look-ups in the store happen after the scan, which must not call
 * back into it. */
struct scan {
    struct arena arena;
    struct str *keys;
    struct str *values;
    size_t count;
    size_t key_cap;
    size_t value_cap;
};

static bool collect(void *ctx, struct str key, struct str value) {
    struct scan *scan = ctx;
    scan->keys = arena_vec_grow(&scan->arena, scan->keys, &scan->key_cap, scan->count + 1,
                                sizeof(struct str));
    scan->values = arena_vec_grow(&scan->arena, scan->values, &scan->value_cap, scan->count + 1,
                                  sizeof(struct str));
    scan->keys[scan->count] = arena_str(&scan->arena, key);
    scan->values[scan->count] = arena_str(&scan->arena, value);
    scan->count++;
    return true;
}

static bool scan_table(struct rules *rules,
                       enum kv_table table,
                       struct scan *scan,
                       struct err *err) {
    *scan = (struct scan){ 0 };
    arena_init(&scan->arena, SIZE_MAX);
    struct kv_store *kv = tsdb_kv(rules->options.db);
    return kv->scan(kv, table, STR(""), STR(""), collect, scan, err);
}

/* ---- groups ---- */

void rules_old_group_finish(struct old_group *old) {
    mem_free(old->file);
    mem_free(old->name);
}

static bool restore_external(struct rules *rules,
                             struct str value,
                             struct arena *arena,
                             struct err *err) {
    struct labels labels;
    if (!labels_decode(value, arena, &labels)) {
        return err_set(err, ERR_CORRUPT, "the external labels last used are damaged");
    }
    mem_free(rules->external_labels.items);
    rules->external_labels = labels_dup_heap(labels);
    return true;
}

static bool restore_groups(struct rules *rules, struct err *err) {
    struct scan scan;
    bool ok = scan_table(rules, KV_RULE_STATE, &scan, err);
    for (size_t i = 0; ok && i < scan.count; i++) {
        struct group_row row;
        if (str_eq(scan.keys[i], EXTERNAL_ROW_KEY)) {
            ok = restore_external(rules, scan.values[i], &scan.arena, err);
            continue;
        }
        if (!rules_group_row_decode(scan.values[i], &row)) {
            ok = err_set(err, ERR_CORRUPT, "state of a rule group is damaged (row %zu of %zu)",
                         i + 1, scan.count);
            break;
        }
        rules->old_groups = vec_grow(rules->old_groups, &rules->old_group_cap,
                                     rules->old_group_count + 1, sizeof(rules->old_groups[0]));
        struct old_group *old = &rules->old_groups[rules->old_group_count++];
        *old = (struct old_group){
            .file = mem_strndup(row.file.ptr, row.file.len),
            .name = mem_strndup(row.name.ptr, row.name.len),
            .last_slot_ms = row.last_slot_ms,
            .query_offset_ms = row.query_offset_ms,
        };
        rules_group_row_key(row.file, row.name, old->key);
    }
    arena_finish(&scan.arena);
    return ok;
}

static const struct old_group *find_group(const struct rules *rules,
                                          const char *file,
                                          const char *name) {
    for (size_t i = 0; i < rules->old_group_count; i++) {
        const struct old_group *row = &rules->old_groups[i];
        if (str_eq_c(str_from(row->file), file) && str_eq_c(str_from(row->name), name)) {
            return row;
        }
    }
    return NULL;
}

/* ---- alerts ---- */

static struct rule *create_rule(struct rules *rules, const struct alert_row *row) {
    struct rule *rule = rule_create(NULL);
    rule->type = RULE_ALERTING;
    rule->file = mem_strndup(row->file.ptr, row->file.len);
    rule->group = mem_strndup(row->group.ptr, row->group.len);
    rule->name = mem_strndup(row->name.ptr, row->name.len);
    rule->generator_url = mem_strdup("");
    rule->match_hash = row->match_hash;
    rule->labels_hash = row->labels_hash;
    rule->key = row->rule_key;
    rule->for_ms = row->for_ms;
    const struct old_group *group = find_group(rules, rule->file, rule->group);
    if (group != NULL) {
        rule->query_offset_ms = group->query_offset_ms;
        rule->last_slot_ms = group->last_slot_ms;
    }
    rules->orphans = vec_grow(rules->orphans, &rules->orphan_cap, rules->orphan_count + 1,
                              sizeof(struct rule *));
    rules->orphans[rules->orphan_count++] = rule;
    return rule;
}

/* The series the alert had at the last evaluation; what the first one does not write again gets
 * a stale marker. A series the store will not give back needs none. */
static void restore_series(struct rules *rules, struct rule *rule, struct active_alert *alert) {
    if (alert->status.state == ALERT_INACTIVE) {
        return;
    }

    enum alert_series wanted[] = {
        alert->status.state == ALERT_FIRING ? SERIES_FIRING : SERIES_PENDING,
        SERIES_FOR_STATE,
    };

    rule->previous = mem_realloc(rule->previous,
                                 (rule->previous_count + ARRAY_LEN(wanted)) * sizeof(series_ref_t));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        struct err err = ERR_INIT;
        series_ref_t ref = 0;
        if (rules_alert_series_ref(rules->options.db, alert->labels, wanted[i], &ref, &err)) {
            alert->has_series[wanted[i]] = true;
            alert->series[wanted[i]] = ref;
            rule->previous[rule->previous_count++] = ref;
        }
    }
}

static bool restore_alert(struct rules *rules,
                          struct rule *rule,
                          const struct alert_row *row,
                          struct str key,
                          struct str value) {
    struct buf encoded;
    buf_init(&encoded, SIZE_MAX);
    struct str name = rules_alert_key(row->labels, &encoded);
    if (key.len != ALERT_ROW_KEY_BYTES || map_get(&rule->alerts, name) != NULL) {
        buf_finish(&encoded);
        return false;
    }
    struct active_alert *alert = mem_calloc(1, sizeof(*alert));
    alert->labels = labels_dup_heap(row->labels);
    alert->annotations = labels_dup_heap(row->annotations);
    alert->status = row->status;
    alert->element_hash = row->element_hash;
    alert->has_row = true;
    memcpy(alert->row_key, key.ptr, ALERT_ROW_KEY_BYTES);
    alert->row_hash = hash_bytes(value);
    (void)map_put(&rule->alerts, name, alert);
    buf_finish(&encoded);
    restore_series(rules, rule, alert);
    return true;
}

static bool restore_alerts(struct rules *rules, struct err *err) {
    struct scan scan;
    bool ok = scan_table(rules, KV_ALERT_STATE, &scan, err);
    struct rule *rule = NULL; /* keys start with the rule: its rows stand together */
    for (size_t i = 0; ok && i < scan.count; i++) {
        struct alert_row row;
        if (!rules_alert_row_decode(scan.values[i], &scan.arena, &row)) {
            ok = err_set(err, ERR_CORRUPT, "state of an alert is damaged (row %zu of %zu)", i + 1,
                         scan.count);
            break;
        }
        if (rule == NULL || rule->key != row.rule_key) {
            rule = create_rule(rules, &row);
        }
        if (!restore_alert(rules, rule, &row, scan.keys[i], scan.values[i])) {
            ok = err_set(err, ERR_CORRUPT, "state of an alert of rule %s is there twice",
                         rule->name);
        }
    }
    for (size_t i = 0; i < rules->orphan_count; i++) {
        rules_refs_sort(rules->orphans[i]->previous, &rules->orphans[i]->previous_count);
    }
    arena_finish(&scan.arena);
    return ok;
}

/* ---- series of recording rules ---- */

/* Of several rules of one name the last is given all their series: when its turn comes the others
 * have written theirs. */
static bool is_last_of_name(const struct group *group, size_t index) {
    for (size_t i = index + 1; i < group->rule_count; i++) {
        if (str_eq_c(str_from(group->rules[i]->name), group->rules[index]->name)) {
            return false;
        }
    }
    return true;
}

/* Series of the name that have a sample at exactly the time of the last evaluation. */
static bool find_recorded(struct rules *rules,
                          struct rule *rule,
                          struct tsdb_querier *querier,
                          int64_t t_ms,
                          struct arena *arena,
                          struct err *err) {
    struct matcher name;
    struct tsdb_series_view *series = NULL;
    struct tsdb_column column = { 0 };
    size_t count = 0;
    if (!matcher_init(&name, MATCH_EQ, METRIC_NAME, str_from(rule->name), err)) {
        return false;
    }
    bool ok = tsdb_select(querier, &name, 1, arena, &series, &count, err);
    matcher_finish(&name);
    if (ok && count > 0) {
        rule->previous = mem_alloc(count * sizeof(series_ref_t));
    }
    for (size_t i = 0; ok && i < count; i++) {
        series_ref_t ref = 0;
        ok = tsdb_read(querier, series[i].id, t_ms, t_ms, &column, err);
        if (ok && column.count > 0 && !is_stale(column.values[0]) &&
            tsdb_series(rules->options.db, series[i].labels, &ref, err)) {
            rule->previous[rule->previous_count++] = ref;
        }
    }
    tsdb_column_finish(&column);
    rules_refs_sort(rule->previous, &rule->previous_count);
    return ok;
}

/* A series that cannot be found again just ages instead of ending with a marker; a store that
 * cannot be read says so to the queries that follow. */
void rules_restore_recorded(struct rules *rules, struct group *group) {
    struct tsdb_querier *querier = NULL;
    struct arena arena;
    struct err err = ERR_INIT;
    int64_t t_ms = group->last_slot_ms - group->def->query_offset_ms;
    if (group->last_slot_ms == 0 ||
        !tsdb_querier_open(rules->options.db, t_ms, t_ms, NULL, &querier, &err)) {
        return;
    }
    arena_init(&arena, RULES_CYCLE_BYTES_MAX);
    for (size_t i = 0; i < group->rule_count; i++) {
        struct rule *rule = group->rules[i];
        if (rule->type == RULE_RECORDING && rule->last_slot_ms == 0 && rule->previous == NULL &&
            is_last_of_name(group, i)) {
            (void)find_recorded(rules, rule, querier, t_ms, &arena, &err);
        }
    }
    arena_finish(&arena);
    tsdb_querier_close(querier);
}

bool rules_restore(struct rules *rules, struct err *err) {
    return restore_groups(rules, err) && restore_alerts(rules, err);
}
