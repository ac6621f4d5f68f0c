/* Rules as they run: life, alerts, series references. */
#include <stdlib.h>

#include "base/mem.h"
#include "rules/engine.h"

static char *dup_str(struct str text) {
    return mem_strndup(text.ptr, text.len);
}

struct rule *rule_create(const struct rule_def *def) {
    struct rule *rule = mem_calloc(1, sizeof(*rule));
    map_init(&rule->alerts);
    if (def == NULL) {
        return rule;
    }
    rule->def = def;
    rule->type = def->type;
    rule->file = dup_str(def->group->file);
    rule->group = dup_str(def->group->name);
    rule->name = dup_str(def->name);
    rule->generator_url = dup_str(def->generator_url);
    rule->match_hash = def->match_hash;
    rule->labels_hash = def->labels_hash;
    rule->for_ms = def->for_ms;
    rule->query_offset_ms = def->group->query_offset_ms;
    return rule;
}

void rules_active_alert_destroy(struct active_alert *alert) {
    if (alert == NULL) {
        return;
    }
    mem_free(alert->labels.items);
    mem_free(alert->annotations.items);
    mem_free(alert);
}

static void free_alert(void *alert) {
    rules_active_alert_destroy(alert);
}

void rule_destroy(struct rule *rule) {
    if (rule == NULL) {
        return;
    }
    map_finish(&rule->alerts, free_alert);
    mem_free(rule->file);
    mem_free(rule->group);
    mem_free(rule->name);
    mem_free(rule->generator_url);
    mem_free(rule->previous);
    mem_free(rule->last_error);
    mem_free(rule->last_expansion_error);
    mem_free(rule);
}

void rule_set_error(struct rule *rule, const char *message) {
    mem_free(rule->last_error);
    rule->last_error = message == NULL ? NULL : mem_strdup(message);
    rule->health = message == NULL ? RULE_HEALTH_OK : RULE_HEALTH_ERR;
}

struct str rules_alert_key(struct labels labels, struct buf *out) {
    buf_reset(out);
    labels_encode(labels, out);
    return buf_as_str(out);
}

/* ---- series ---- */

static int compare_refs(const void *a, const void *b) {
    series_ref_t left = *(const series_ref_t *)a;
    series_ref_t right = *(const series_ref_t *)b;
    return (left > right) - (left < right);
}

void rules_refs_sort(series_ref_t *refs, size_t *count) {
    if (*count < 2) {
        return;
    }
    qsort(refs, *count, sizeof(refs[0]), compare_refs);
    size_t kept = 1;
    for (size_t i = 1; i < *count; i++) {
        if (refs[i] != refs[kept - 1]) {
            refs[kept++] = refs[i];
        }
    }
    *count = kept;
}

bool rules_refs_contain(const series_ref_t *refs, size_t count, series_ref_t ref) {
    return count > 0 && bsearch(&ref, refs, count, sizeof(refs[0]), compare_refs) != NULL;
}

bool rules_alert_series_ref(struct tsdb *db,
                            struct labels labels,
                            enum alert_series which,
                            series_ref_t *ret,
                            struct err *err) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct labels_builder builder;
    labels_builder_init(&builder, &arena, labels);
    labels_builder_set(&builder, METRIC_NAME,
                       which == SERIES_FOR_STATE ? STR("ALERTS_FOR_STATE") : STR("ALERTS"));
    if (which != SERIES_FOR_STATE) {
        labels_builder_set(&builder, STR("alertstate"),
                           which == SERIES_FIRING ? STR("firing") : STR("pending"));
    }
    struct labels series = labels_builder_build(&builder);
    bool ok = labels_normalize(&series, err) && tsdb_series(db, series, ret, err);
    arena_finish(&arena);
    return ok;
}
