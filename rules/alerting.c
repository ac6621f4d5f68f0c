/*
 * Alerting rules: from an expression's vector to the next state of every alert.
 *
 * The order is upstream's (rules/alerting.go): expand labels and annotations of every element,
 * refuse duplicates, then walk all alerts of the rule. Here the walk fills a plan; the rule's
 * state changes when the plan has become durable (rules_alerting_adopt).
 *
 * Evidence  After a gap longer than the look-back (engine down, machine suspended) every series
 *           looks absent until its source has sent again. An alert that is missing from a vector
 *           for which no sample at all was read is therefore left as it is for one look-back more,
 *           the time its series would have stayed visible had the engine been there.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "rules/engine.h"
#include "rules/expand.h"

struct walk {
    struct cycle *cycle;
    struct rule_plan *plan;
    struct rule *rule;
    struct promql_result result;
    struct map by_labels; /* encoded labels → struct alert_plan */
    struct map carried;   /* element hash → struct active_alert that may pass its clock on */
    struct buf key;
    bool has_evidence;
};

/* ---- elements ---- */

static bool query_for_template(void *ctx,
                               struct str query,
                               struct arena *arena,
                               struct promql_result *ret,
                               struct err *err) {
    struct cycle *cycle = ctx;
    struct promql_expr *expr = NULL;
    if (!promql_parse(query, &cycle->rules->set->features, arena, &expr, NULL, err)) {
        return false;
    }
    bool ok = rules_cycle_query(cycle, expr, query, cycle->slot_ms, arena, ret, err);
    promql_expr_finish(expr);
    return ok;
}

static struct str expand(struct walk *walk,
                         const struct expand_input *input,
                         const struct rule_text *text) {
    struct rules *rules = walk->cycle->rules;
    struct err err = ERR_INIT;
    struct str out;
    if (text->tmpl == NULL) {
        return text->text;
    }
    metric_inc(rules->metrics.expansions);
    if (!rules_expand_text(input, text, &walk->cycle->query_arena, &out, &err)) {
        metric_inc(rules->metrics.expansion_failures);
        if (walk->plan->expansion_error.len == 0) {
            walk->plan->expansion_error = arena_str(&walk->cycle->arena, str_from(err.msg));
        }
    }
    return out;
}

/* The alert's identity: the element's labels, overridden by the rule's, overridden by alertname. */
static bool make_labels(struct walk *walk,
                        const struct expand_input *input,
                        struct labels *ret,
                        struct err *err) {
    const struct rule_def *def = walk->rule->def;
    struct labels_builder builder;
    labels_builder_init(&builder, &walk->cycle->query_arena, input->labels);
    labels_builder_del(&builder, METRIC_NAME);
    for (size_t i = 0; i < def->labels.count; i++) {
        labels_builder_set(&builder, def->labels.items[i].name,
                           expand(walk, input, &def->label_texts[i]));
    }
    labels_builder_set(&builder, STR("alertname"), def->name);
    struct labels labels = labels_builder_build(&builder);
    if (!labels_normalize(&labels, err)) {
        return false;
    }
    *ret = labels_dup(labels, &walk->cycle->arena);
    return true;
}

static struct labels make_annotations(struct walk *walk, const struct expand_input *input) {
    const struct rule_def *def = walk->rule->def;
    struct labels annotations = {
        .items = arena_calloc(&walk->cycle->arena, def->annotations.count, sizeof(struct label)),
        .count = def->annotations.count,
    };
    for (size_t i = 0; i < annotations.count; i++) {
        annotations.items[i].name = def->annotations.items[i].name;
        annotations.items[i].value =
            arena_str(&walk->cycle->arena, expand(walk, input, &def->annotation_texts[i]));
    }
    return annotations;
}

static uint64_t hash_element(struct walk *walk, struct labels labels) {
    struct labels_builder builder;
    labels_builder_init(&builder, &walk->cycle->query_arena, labels);
    labels_builder_del(&builder, METRIC_NAME);
    return labels_hash(labels_builder_build(&builder));
}

static bool plan_element(struct walk *walk, const struct promql_series *series, struct err *err) {
    struct rule *rule = walk->rule;
    struct expand_input input = {
        .set = walk->cycle->rules->set,
        .template_name = rule->def->template_name,
        .labels = series->labels,
        .value = series->points[0].value,
        .now_ms = walk->cycle->slot_ms,
        .query = query_for_template,
        .query_ctx = walk->cycle,
    };
    struct labels labels;
    if (!make_labels(walk, &input, &labels, err)) {
        return false;
    }
    struct str key = rules_alert_key(labels, &walk->key);
    if (map_get(&walk->by_labels, key) != NULL) {
        return err_set(
            err, ERR_EXEC,
            "vector contains metrics with the same labelset after applying alert labels");
    }
    struct alert_plan *alert = &walk->plan->alerts[walk->plan->alert_count++];
    alert->alert = map_get(&rule->alerts, key);
    alert->labels = labels;
    alert->is_present = true;
    alert->element_hash = hash_element(walk, series->labels);
    alert->next.value = series->points[0].value;
    (void)map_put(&walk->by_labels, key, alert);
    alert->annotations = make_annotations(walk, &input);
    return true;
}

/* ---- the state machine ---- */

static void shift(int64_t *instant_ms, int64_t step_ms) {
    if (*instant_ms != 0) {
        *instant_ms += step_ms;
    }
}

/* Present state, with running clocks moved along when the wall clock jumped: `for`,
 * keep_firing_for and the resend delay measure time that passed, not what the clock was set to. */
static struct alert_status current(const struct walk *walk, const struct active_alert *alert) {
    struct alert_status status = alert->status;
    int64_t step_ms = walk->cycle->step_ms;
    if (step_ms != 0) {
        if (status.state == ALERT_PENDING) {
            shift(&status.active_ms, step_ms);
        }
        shift(&status.keep_firing_since_ms, step_ms);
        shift(&status.last_sent_ms, step_ms);
    }
    return status;
}

static const struct active_alert *find_carried(struct walk *walk, uint64_t element_hash) {
    if (!walk->rule->has_carried) {
        return NULL;
    }
    struct str key = str_n((const char *)&element_hash, sizeof(element_hash));
    return map_get(&walk->carried, key);
}

static void advance_present(struct walk *walk, struct alert_plan *plan) {
    int64_t now_ms = walk->cycle->slot_ms;
    int64_t for_ms = walk->rule->def->for_ms;
    double value = plan->next.value;
    if (plan->alert != NULL && plan->alert->status.state != ALERT_INACTIVE) {
        plan->next = current(walk, plan->alert);
        plan->next.keep_firing_since_ms = 0;
    } else {
        plan->next = (struct alert_status){ .state = ALERT_PENDING, .active_ms = now_ms };
        const struct active_alert *carried = find_carried(walk, plan->element_hash);
        if (carried != NULL) {
            plan->next.active_ms = current(walk, carried).active_ms;
        }
    }
    plan->next.value = value;
    bool is_held = now_ms - plan->next.active_ms < for_ms;
    if (plan->next.state == ALERT_PENDING && !is_held) {
        plan->next.state = ALERT_FIRING;
        plan->next.fired_ms = now_ms;
    } else if (plan->next.state == ALERT_FIRING && is_held && walk->rule->is_for_raised) {
        plan->has_ended = true;
        plan->next.state = ALERT_PENDING;
        plan->next.fired_ms = 0;
        plan->next.last_sent_ms = 0;
    }
}

static bool keeps_firing(const struct walk *walk, struct alert_status *next) {
    int64_t keep_ms = walk->rule->def->keep_firing_for_ms;
    if (keep_ms <= 0) {
        return false;
    }
    if (next->keep_firing_since_ms == 0) {
        next->keep_firing_since_ms = walk->cycle->slot_ms;
    }
    return walk->cycle->slot_ms - next->keep_firing_since_ms < keep_ms;
}

static void advance_absent(struct walk *walk, struct alert_plan *plan) {
    int64_t now_ms = walk->cycle->slot_ms;
    plan->next = current(walk, plan->alert);
    if (plan->next.state == ALERT_INACTIVE) {
        int64_t since_ms = now_ms - plan->next.resolved_ms;
        plan->is_removed = since_ms < 0 || since_ms >= RULES_RESOLVED_KEPT_MS;
    } else if (!walk->has_evidence) {
        return;
    } else if (plan->next.state == ALERT_PENDING) {
        plan->is_removed = true;
    } else if (!keeps_firing(walk, &plan->next)) {
        plan->next.state = ALERT_INACTIVE;
        plan->next.resolved_ms = now_ms;
    }
}

/* On every transition to firing or resolved, then at the first slot at least one delay later. */
static bool needs_sending(const struct walk *walk, const struct alert_plan *plan) {
    if (plan->is_removed || plan->next.state == ALERT_PENDING) {
        return false;
    }
    enum alert_state before = plan->alert == NULL ? ALERT_PENDING : plan->alert->status.state;
    int64_t since_ms = walk->cycle->slot_ms - plan->next.last_sent_ms;
    return before != plan->next.state || plan->next.last_sent_ms == 0 || since_ms < 0 ||
           since_ms >= walk->cycle->rules->options.resend_delay_ms;
}

/* ---- series and rows ---- */

static bool is_active(const struct alert_plan *plan) {
    return !plan->is_removed && plan->next.state != ALERT_INACTIVE;
}

/* An alert whose series cannot be created or written is still an alert: the rule shows the error,
 * the notification goes out. */
static void write_series(struct walk *walk,
                         struct alert_plan *plan,
                         enum alert_series which,
                         double value) {
    if (!plan->has_series[which]) {
        struct err err = ERR_INIT;
        if (!rules_alert_series_ref(walk->cycle->rules->options.db, plan->labels, which,
                                    &plan->series[which], &err)) {
            walk->plan->err = err;
            return;
        }
        plan->has_series[which] = true;
    }
    rules_cycle_append(walk->cycle, walk->plan, plan->series[which], value);
}

static void write_alert(struct walk *walk, struct alert_plan *plan) {
    if (plan->alert != NULL) {
        memcpy(plan->has_series, plan->alert->has_series, sizeof(plan->has_series));
        memcpy(plan->series, plan->alert->series, sizeof(plan->series));
    }
    if (!is_active(plan)) {
        return;
    }
    bool is_firing = plan->next.state == ALERT_FIRING;
    write_series(walk, plan, is_firing ? SERIES_FIRING : SERIES_PENDING, 1);
    int64_t active_s = plan->next.active_ms / 1000 - (plan->next.active_ms % 1000 < 0 ? 1 : 0);
    write_series(walk, plan, SERIES_FOR_STATE, (double)active_s);
}

static struct str as_str(const uint8_t *bytes, size_t len) {
    return str_n((const char *)bytes, len);
}

static void write_row(struct walk *walk, struct alert_plan *plan) {
    struct kv_batch *kv = tsdb_batch_kv(walk->cycle->batch);
    const struct rule *rule = walk->rule;
    const struct active_alert *old = plan->alert;
    if (plan->is_removed) {
        if (old != NULL && old->has_row) {
            kv->del(kv, KV_ALERT_STATE, as_str(old->row_key, ALERT_ROW_KEY_BYTES));
        }
        return;
    }
    struct alert_row row = {
        .file = str_from(rule->file),
        .group = str_from(rule->group),
        .name = str_from(rule->name),
        .match_hash = rule->match_hash,
        .labels_hash = rule->labels_hash,
        .rule_key = rule->key,
        .element_hash = plan->element_hash,
        .for_ms = rule->def->for_ms,
        .status = plan->next,
        .labels = plan->labels,
        .annotations = plan->annotations,
    };
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    rules_alert_row_encode(&row, &bytes);
    rules_alert_row_key(rule->key, plan->labels, plan->row_key);
    plan->row_hash = hash_bytes(buf_as_str(&bytes));
    bool is_moved = old != NULL && old->has_row &&
                    memcmp(old->row_key, plan->row_key, sizeof(plan->row_key)) != 0;
    if (old == NULL || !old->has_row || is_moved || old->row_hash != plan->row_hash) {
        kv->put(kv, KV_ALERT_STATE, as_str(plan->row_key, ALERT_ROW_KEY_BYTES), buf_as_str(&bytes));
    }
    if (is_moved) {
        kv->del(kv, KV_ALERT_STATE, as_str(old->row_key, ALERT_ROW_KEY_BYTES));
    }
    buf_finish(&bytes);
}

/* ---- one rule ---- */

static bool plan_elements(struct walk *walk) {
    struct rule_plan *plan = walk->plan;
    struct promql_result *result = &walk->result;
    const struct rule_def *def = walk->rule->def;
    if (!rules_cycle_query(walk->cycle, def->expr, def->query_text, walk->cycle->sample_ms,
                           &walk->cycle->query_arena, result, &plan->err)) {
        return false;
    }
    if (result->type != PROMQL_VECTOR && result->type != PROMQL_SCALAR) {
        return err_set(&plan->err, ERR_EXEC, "rule result is not a vector or scalar");
    }
    walk->has_evidence =
        result->samples_read > 0 || walk->cycle->slot_ms > walk->cycle->group->evidence_until_ms;
    size_t room = result->series_count + walk->rule->alerts.count;
    plan->alerts = arena_calloc(&walk->cycle->arena, room, sizeof(struct alert_plan));
    for (size_t i = 0; i < result->series_count; i++) {
        if (!plan_element(walk, &result->series[i], &plan->err)) {
            return false;
        }
        if (arena_is_over(&walk->cycle->arena) || arena_is_over(&walk->cycle->query_arena)) {
            return err_set(&plan->err, ERR_LIMIT,
                           "more than %zu MiB of memory are needed for %zu alerts",
                           RULES_CYCLE_BYTES_MAX >> 20, result->series_count);
        }
    }
    return true;
}

/* Alerts the vector does not have. */
static void plan_absent(struct walk *walk) {
    struct rule_plan *plan = walk->plan;
    size_t cursor = 0;
    struct str key;
    void *value;
    while (map_next(&walk->rule->alerts, &cursor, &key, &value)) {
        if (map_get(&walk->by_labels, key) != NULL) {
            continue;
        }
        struct active_alert *alert = value;
        struct alert_plan *absent = &plan->alerts[plan->alert_count++];
        absent->alert = alert;
        absent->labels = alert->labels;
        absent->annotations = alert->annotations;
        absent->element_hash = alert->element_hash;
    }
}

static int compare_plans(const void *a, const void *b) {
    return labels_cmp(((const struct alert_plan *)a)->labels,
                      ((const struct alert_plan *)b)->labels);
}

/* Over the limit nothing of the rule stays active; firing alerts are told to be resolved, for
 * nothing else would ever end them. */
static void clear_alerts(struct walk *walk, size_t active_count) {
    struct rule_plan *plan = walk->plan;
    (void)err_set(&plan->err, ERR_LIMIT, "exceeded limit of %llu with %zu alerts",
                  (unsigned long long)walk->cycle->group->def->limit, active_count);
    plan->is_failed = true;
    plan->is_cleared = true;
    for (size_t i = 0; i < plan->alert_count; i++) {
        struct alert_plan *alert = &plan->alerts[i];
        bool was_firing = alert->alert != NULL && alert->alert->status.state == ALERT_FIRING;
        if (alert->next.state == ALERT_INACTIVE) {
            continue;
        }
        alert->has_ended = false;
        if (was_firing) {
            alert->next = current(walk, alert->alert);
            alert->next.state = ALERT_INACTIVE;
            alert->next.resolved_ms = walk->cycle->slot_ms;
        } else {
            alert->is_removed = true;
        }
    }
}

static void index_carried(struct walk *walk) {
    size_t cursor = 0;
    struct str name;
    void *value;
    while (walk->rule->has_carried && map_next(&walk->rule->alerts, &cursor, &name, &value)) {
        struct active_alert *alert = value;
        if (alert->is_carried && alert->status.state != ALERT_INACTIVE) {
            struct str key = str_n((const char *)&alert->element_hash, sizeof(alert->element_hash));
            (void)map_put(&walk->carried, key, alert);
        }
    }
}

static void advance(struct walk *walk) {
    struct rule_plan *plan = walk->plan;
    size_t active_count = 0;
    plan_absent(walk);
    if (plan->alert_count > 0) {
        qsort(plan->alerts, plan->alert_count, sizeof(plan->alerts[0]), compare_plans);
    }
    for (size_t i = 0; i < plan->alert_count; i++) {
        struct alert_plan *alert = &plan->alerts[i];
        if (alert->is_present) {
            advance_present(walk, alert);
        } else {
            advance_absent(walk, alert);
        }
        active_count += is_active(alert) ? 1 : 0;
    }
    uint64_t limit = walk->cycle->group->def->limit;
    if (limit > 0 && active_count > limit) {
        clear_alerts(walk, active_count);
    }
    for (size_t i = 0; i < plan->alert_count; i++) {
        struct alert_plan *alert = &plan->alerts[i];
        alert->is_sent = needs_sending(walk, alert);
        if (alert->is_sent) {
            alert->next.last_sent_ms = walk->cycle->slot_ms;
        }
        walk->cycle->sent_count += (alert->is_sent ? 1U : 0U) + (alert->has_ended ? 1U : 0U);
        write_alert(walk, alert);
        write_row(walk, alert);
    }
}

void rules_alerting_evaluate(struct cycle *cycle, struct rule_plan *plan) {
    struct walk walk = { .cycle = cycle, .plan = plan, .rule = plan->rule };
    map_init(&walk.by_labels);
    map_init(&walk.carried);
    buf_init(&walk.key, SIZE_MAX);
    index_carried(&walk);
    if (plan_elements(&walk)) {
        advance(&walk);
    } else {
        plan->is_failed = true;
        plan->alert_count = 0;
    }
    map_finish(&walk.by_labels, NULL);
    map_finish(&walk.carried, NULL);
    buf_finish(&walk.key);
}

/* ---- after the commit ---- */

static void report_transition(struct cycle *cycle,
                              const struct rule *rule,
                              const struct alert_plan *plan,
                              enum alert_state before) {
    bool has_fired = plan->next.state == ALERT_FIRING && before != ALERT_FIRING;
    bool has_resolved = before == ALERT_FIRING && plan->next.state != ALERT_FIRING;
    if (!has_fired && !has_resolved) {
        return;
    }
    struct buf text;
    buf_init(&text, 4096);
    labels_print(plan->labels, &text);
    rules_report(cycle->rules, has_fired ? RULES_ALERT_FIRING : RULES_ALERT_RESOLVED, rule, 1, "%s",
                 buf_as_str(&text).ptr);
    buf_finish(&text);
}

static void adopt_alert(struct cycle *cycle, struct rule *rule, struct alert_plan *plan) {
    struct active_alert *alert = plan->alert;
    struct buf key;
    buf_init(&key, SIZE_MAX);
    if (plan->is_removed) {
        if (alert != NULL) {
            (void)map_del(&rule->alerts, rules_alert_key(alert->labels, &key));
            rules_active_alert_destroy(alert);
        }
        buf_finish(&key);
        return;
    }
    report_transition(cycle, rule, plan, alert == NULL ? ALERT_PENDING : alert->status.state);
    if (alert == NULL) {
        alert = mem_calloc(1, sizeof(*alert));
        alert->labels = labels_dup_heap(plan->labels);
        (void)map_put(&rule->alerts, rules_alert_key(alert->labels, &key), alert);
    }
    buf_finish(&key);
    if (plan->is_present && !labels_equal(alert->annotations, plan->annotations)) {
        mem_free(alert->annotations.items);
        alert->annotations = labels_dup_heap(plan->annotations);
    }
    alert->status = plan->next;
    alert->element_hash = plan->element_hash;
    alert->is_carried = false;
    memcpy(alert->has_series, plan->has_series, sizeof(alert->has_series));
    memcpy(alert->series, plan->series, sizeof(alert->series));
    alert->has_row = true;
    memcpy(alert->row_key, plan->row_key, sizeof(alert->row_key));
    alert->row_hash = plan->row_hash;
}

void rules_alerting_adopt(struct cycle *cycle, struct rule_plan *plan) {
    if (plan->is_failed && !plan->is_cleared) {
        return;
    }
    for (size_t i = 0; i < plan->alert_count; i++) {
        adopt_alert(cycle, plan->rule, &plan->alerts[i]);
    }
    plan->rule->has_carried = false;
    plan->rule->is_for_raised = false;
}
