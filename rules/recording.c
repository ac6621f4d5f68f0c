/* Recording rules: an expression's vector under a new name. */
#include "base/map.h"
#include "rules/engine.h"

/* The element under the rule's name, with the rule's labels. */
static struct labels make_labels(const struct rule_def *def,
                                 struct labels element,
                                 struct arena *arena) {
    struct labels_builder builder;
    labels_builder_init(&builder, arena, element);
    labels_builder_set(&builder, METRIC_NAME, def->name);
    for (size_t i = 0; i < def->labels.count; i++) {
        labels_builder_set(&builder, def->labels.items[i].name, def->labels.items[i].value);
    }
    return labels_builder_build(&builder);
}

static bool make_all(struct cycle *cycle,
                     const struct rule_def *def,
                     const struct promql_result *result,
                     struct labels *ret,
                     struct err *err) {
    struct map seen;
    struct buf key;
    bool ok = true;
    map_init(&seen);
    buf_init(&key, SIZE_MAX);
    for (size_t i = 0; ok && i < result->series_count; i++) {
        ret[i] = make_labels(def, result->series[i].labels, &cycle->query_arena);
        ok = labels_normalize(&ret[i], err);
        if (ok && map_put(&seen, rules_alert_key(ret[i], &key), cycle) != NULL) {
            ok = err_set(err, ERR_EXEC,
                         "vector contains metrics with the same labelset after applying rule "
                         "labels");
        }
    }
    map_finish(&seen, NULL);
    buf_finish(&key);
    return ok;
}

static bool evaluate(struct cycle *cycle,
                     struct rule_plan *plan,
                     const struct rule_def *def,
                     struct err *err) {
    struct promql_result result;
    if (!rules_cycle_query(cycle, def->expr, def->query_text, cycle->sample_ms, &cycle->query_arena,
                           &result, err)) {
        return false;
    }
    if (result.type != PROMQL_VECTOR && result.type != PROMQL_SCALAR) {
        return err_set(err, ERR_EXEC, "rule result is not a vector or scalar");
    }
    struct labels *labels =
        arena_calloc(&cycle->query_arena, result.series_count, sizeof(struct labels));
    if (!make_all(cycle, def, &result, labels, err)) {
        return false;
    }
    uint64_t limit = cycle->group->def->limit;
    if (limit > 0 && result.series_count > limit) {
        return err_set(err, ERR_LIMIT, "exceeded limit of %llu with %zu series",
                       (unsigned long long)limit, result.series_count);
    }
    for (size_t i = 0; i < result.series_count; i++) {
        series_ref_t ref = 0;
        /* A series the store refuses makes the rule unhealthy, the others are written. */
        if (tsdb_series(cycle->rules->options.db, labels[i], &ref, &plan->err)) {
            rules_cycle_append(cycle, plan, ref, result.series[i].points[0].value);
        }
    }
    return true;
}

void rules_recording_evaluate(struct cycle *cycle, struct rule_plan *plan) {
    if (!evaluate(cycle, plan, plan->rule->def, &plan->err)) {
        plan->is_failed = true;
    }
}
