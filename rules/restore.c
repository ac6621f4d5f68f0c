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

void old_group_finish(struct old_group *old) {
    mem_free(old->file);
    mem_free(old->name);
}

static bool restore_groups(struct rules *rules, struct err *err) {
    struct scan scan;
    bool ok = scan_table(rules, KV_RULE_STATE, &scan, err);
    for (size_t i = 0; ok && i < scan.count; i++) {
        struct group_row row;
        if (!group_row_decode(scan.values[i], &row)) {
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
        group_row_key(row.file, row.name, old->key);
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
        if (alert_series_ref(rules->options.db, alert->labels, wanted[i], &ref, &err)) {
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
    struct str name = alert_key(row->labels, &encoded);
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
        if (!alert_row_decode(scan.values[i], &scan.arena, &row)) {
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
        refs_sort(rules->orphans[i]->previous, &rules->orphans[i]->previous_count);
    }
    arena_finish(&scan.arena);
    return ok;
}

bool rules_restore(struct rules *rules, struct err *err) {
    return restore_groups(rules, err) && restore_alerts(rules, err);
}
