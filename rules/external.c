/*
 * External labels are part of what an alert is called outside. When they are edited, everything
 * that fires gets a new name, and nobody else will ever end the old one: it is resolved here, in
 * the batch that also records the labels used from now on. Until that batch is durable the old
 * labels stay in use.
 */
#include "base/mem.h"
#include "rules/engine.h"

/* Calls visit for every firing alert of every group. */
static void visit_firing(struct rules *rules,
                         void (*visit)(void *ctx, struct rule *rule, struct active_alert *alert),
                         void *ctx) {
    for (size_t g = 0; g < rules->group_count; g++) {
        for (size_t r = 0; r < rules->groups[g]->rule_count; r++) {
            struct rule *rule = rules->groups[g]->rules[r];
            size_t cursor = 0;
            struct str key;
            void *value;
            while (map_next(&rule->alerts, &cursor, &key, &value)) {
                struct active_alert *alert = value;
                if (alert->status.state == ALERT_FIRING) {
                    visit(ctx, rule, alert);
                }
            }
        }
    }
}

struct ending {
    struct rules *rules;
    struct arena arena;
    struct alert *alerts;
    size_t count;
    size_t cap;
    int64_t now_ms;
};

static void end_alert(void *ctx, struct rule *rule, struct active_alert *alert) {
    struct ending *ending = ctx;
    ending->alerts = arena_vec_grow(&ending->arena, ending->alerts, &ending->cap, ending->count + 1,
                                    sizeof(ending->alerts[0]));
    ending->alerts[ending->count++] = (struct alert){
        .labels = rules_alert_sent_labels(ending->rules, alert->labels, &ending->arena),
        .annotations = alert->annotations,
        .generator_url = rule->def->generator_url,
        .active_ms = alert->status.active_ms,
        .starts_ms = alert->status.fired_ms,
        .ends_ms = ending->now_ms,
        .value = alert->status.value,
    };
}

/* Under its new name it has never been sent. */
static void forget_sending(void *ctx, struct rule *rule, struct active_alert *alert) {
    alert->status.last_sent_ms = 0;
}

static void put_row(struct kv_batch *kv, struct labels labels) {
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    labels_encode(labels, &bytes);
    kv->put(kv, KV_RULE_STATE, EXTERNAL_ROW_KEY, buf_as_str(&bytes));
    buf_finish(&bytes);
}

static bool commit_ending(struct ending *ending, struct err *err) {
    struct rules *rules = ending->rules;
    const struct alert_sink *sink = &rules->options.sink;
    struct tsdb_batch *batch = NULL;
    void *token = NULL;
    if (!tsdb_batch_begin(rules->options.db, TSDB_STATE, &batch, err)) {
        return false;
    }
    bool is_staged = ending->count > 0 && sink->stage != NULL;
    if (is_staged) {
        token = sink->stage(sink->ctx, ending->alerts, ending->count, ending->now_ms,
                            tsdb_batch_kv(batch));
    }
    put_row(tsdb_batch_kv(batch), rules->set->external_labels);
    bool ok = tsdb_commit_blocking(batch, NULL, err);
    if (is_staged) {
        sink->settle(sink->ctx, token, ok);
    }
    return ok;
}

void rules_switch_external(struct rules *rules, int64_t now_ms) {
    if (labels_equal(rules->external_labels, rules->set->external_labels)) {
        return;
    }
    struct ending ending = { .rules = rules, .now_ms = now_ms };
    struct err err = ERR_INIT;
    arena_init(&ending.arena, SIZE_MAX);
    visit_firing(rules, end_alert, &ending);
    if (commit_ending(&ending, &err)) {
        visit_firing(rules, forget_sending, NULL);
        mem_free(rules->external_labels.items);
        rules->external_labels = labels_dup_heap(rules->set->external_labels);
    } else {
        metric_inc(rules->metrics.commit_failures);
        if (rules->group_count > 0) {
            rules_report_group(rules, RULES_COMMIT_FAILED, rules->groups[0], 1,
                               "external labels stay as they were: %s", err.msg);
        }
    }
    arena_finish(&ending.arena);
}
