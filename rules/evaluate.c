/*
 * One evaluation of a group: every rule into one batch, the batch made durable, and only then the
 * new state adopted. Later rules query with the batch as overlay, so they see what earlier rules
 * of the same cycle wrote.
 */
#include <stdatomic.h>

#include "base/mem.h"
#include "rules/engine.h"

/* ---- queries and samples ---- */

bool rules_cycle_query(struct cycle *cycle,
                       const struct promql_expr *expr,
                       struct str text,
                       int64_t t_ms,
                       struct arena *arena,
                       struct promql_result *ret,
                       struct err *err) {
    struct rules *rules = cycle->rules;
    struct promql_query query = {
        .db = rules->options.db,
        .overlay = cycle->batch,
        .text = text,
        .start_ms = t_ms,
        .end_ms = t_ms,
        .lookback_ms = rules->options.lookback_ms,
        .samples_max = rules->options.samples_max,
        .clock = rules->clock,
        .is_canceled = &rules->is_canceled,
        .features = rules->set->features,
    };
    if (rules->options.query_timeout_ms > 0) {
        query.deadline_mono_ns =
            clock_mono_ns(rules->clock) + rules->options.query_timeout_ms * 1000000;
    }
    return promql_eval(&query, expr, arena, ret, err);
}

void rules_cycle_append(struct cycle *cycle,
                        struct rule_plan *plan,
                        series_ref_t ref,
                        double value) {
    tsdb_batch_append(cycle->batch, ref, cycle->sample_ms, value);
    plan->sample_count++;
    plan->returned = arena_vec_grow(&cycle->arena, plan->returned, &plan->returned_cap,
                                    plan->returned_count + 1, sizeof(plan->returned[0]));
    plan->returned[plan->returned_count++] = ref;
}

/* Series the rule wrote last time and nobody in this cycle has written. */
static void mark_stale(struct cycle *cycle, const struct rule_plan *plan) {
    const struct rule *rule = plan->rule;
    for (size_t i = 0; i < rule->previous_count; i++) {
        bool is_written = false;
        for (const struct rule_plan *p = cycle->plans; !is_written && p <= plan; p++) {
            is_written = rules_refs_contain(p->returned, p->returned_count, rule->previous[i]);
        }
        if (!is_written) {
            tsdb_batch_append(cycle->batch, rule->previous[i], cycle->sample_ms,
                              double_from_bits(STALE_NAN_BITS));
        }
    }
}

/* ---- the sink ---- */

struct labels rules_alert_sent_labels(const struct rules *rules,
                                      struct labels labels,
                                      struct arena *arena) {
    if (rules->external_labels.count == 0) {
        return labels;
    }
    struct labels_builder builder;
    labels_builder_init(&builder, arena, rules->external_labels);
    for (size_t i = 0; i < labels.count; i++) {
        labels_builder_set(&builder, labels.items[i].name, labels.items[i].value);
    }
    return labels_builder_build(&builder);
}

static struct alert make_alert(struct cycle *cycle,
                               const struct rule_plan *rule,
                               const struct alert_plan *plan,
                               bool has_ended) {
    const struct alert_status *status = has_ended ? &plan->alert->status : &plan->next;
    struct alert alert = {
        .labels = rules_alert_sent_labels(cycle->rules, plan->labels, &cycle->arena),
        .annotations = plan->annotations,
        .generator_url = rule->rule->def->generator_url,
        .active_ms = status->active_ms,
        .starts_ms = status->fired_ms,
        .value = status->value,
    };
    if (has_ended) {
        alert.ends_ms = cycle->slot_ms;
    } else if (plan->next.state == ALERT_INACTIVE) {
        alert.ends_ms = plan->next.resolved_ms;
    }
    return alert;
}

static void *stage_alerts(struct cycle *cycle) {
    const struct alert_sink *sink = &cycle->rules->options.sink;
    if (cycle->sent_count == 0 || sink->stage == NULL) {
        return NULL;
    }
    struct alert *alerts = arena_calloc(&cycle->arena, cycle->sent_count, sizeof(*alerts));
    size_t count = 0;
    for (size_t r = 0; r < cycle->group->rule_count; r++) {
        const struct rule_plan *rule = &cycle->plans[r];
        for (size_t a = 0; a < rule->alert_count; a++) {
            const struct alert_plan *plan = &rule->alerts[a];
            if (plan->has_ended) {
                alerts[count++] = make_alert(cycle, rule, plan, true);
            }
            if (plan->is_sent) {
                alerts[count++] = make_alert(cycle, rule, plan, false);
            }
        }
    }
    return sink->stage(sink->ctx, alerts, count, cycle->now_ms, tsdb_batch_kv(cycle->batch));
}

/* ---- commit ---- */

struct commit_wait {
    pthread_mutex_t mu;
    pthread_cond_t done;
    bool is_done;
    bool is_durable;
    struct err err;
    uint8_t *outcomes;
    size_t count;
};

static void on_committed(void *ctx, const struct tsdb_commit_result *result) {
    struct commit_wait *wait = ctx;
    pthread_mutex_lock(&wait->mu);
    wait->is_done = true;
    wait->is_durable = result->is_durable;
    wait->err = result->err;
    if (result->is_durable && result->sample_count > 0) {
        wait->outcomes = mem_alloc(result->sample_count);
        memcpy(wait->outcomes, result->outcomes, result->sample_count);
        wait->count = result->sample_count;
    }
    pthread_cond_signal(&wait->done);
    pthread_mutex_unlock(&wait->mu);
}

/* Samples of a rule the store did not take; upstream calls such a rule unhealthy, too. */
static void judge_samples(const struct commit_wait *wait, struct rule_plan *plan) {
    size_t refused = 0;
    enum tsdb_outcome why = TSDB_ACCEPTED;
    for (size_t i = 0; i < plan->sample_count && plan->sample_first + i < wait->count; i++) {
        enum tsdb_outcome outcome = (enum tsdb_outcome)wait->outcomes[plan->sample_first + i];
        if (outcome != TSDB_ACCEPTED && outcome != TSDB_DUPLICATE) {
            refused++;
            why = outcome;
        }
    }
    if (refused > 0 && plan->err.code == ERR_NONE) {
        (void)err_set(&plan->err, ERR_EXEC, "%zu of %zu samples were refused: %s", refused,
                      plan->sample_count, tsdb_outcome_to_string(why));
    }
}

static bool commit(struct cycle *cycle, struct err *err) {
    const struct alert_sink *sink = &cycle->rules->options.sink;
    void *token = stage_alerts(cycle);
    struct commit_wait wait = { 0 };
    pthread_mutex_init(&wait.mu, NULL);
    pthread_cond_init(&wait.done, NULL);
    tsdb_commit(cycle->batch, on_committed, &wait);
    cycle->batch = NULL;
    pthread_mutex_lock(&wait.mu);
    while (!wait.is_done) {
        pthread_cond_wait(&wait.done, &wait.mu);
    }
    pthread_mutex_unlock(&wait.mu);
    if (cycle->sent_count > 0 && sink->stage != NULL) {
        sink->settle(sink->ctx, token, wait.is_durable);
    }
    for (size_t i = 0; wait.is_durable && i < cycle->group->rule_count; i++) {
        judge_samples(&wait, &cycle->plans[i]);
    }
    if (!wait.is_durable) {
        *err = wait.err;
    }
    mem_free(wait.outcomes);
    pthread_mutex_destroy(&wait.mu);
    pthread_cond_destroy(&wait.done);
    return wait.is_durable;
}

/* ---- after the commit ---- */

static void set_health(struct cycle *cycle, const struct rule_plan *plan, const struct err *err) {
    struct rule *rule = plan->rule;
    bool is_ok = err->code == ERR_NONE;
    if (!is_ok) {
        metric_inc(cycle->group->metrics.failures);
    }
    rule_set_error(rule, is_ok ? NULL : err->msg);
    rule->evaluation_s = plan->evaluation_s;
    rule->last_evaluation_ms = plan->started_ms;
}

/* A failure is said once per change of its message, and so is its end. */
static void adopt_health(struct cycle *cycle, const struct rule_plan *plan) {
    struct rule *rule = plan->rule;
    bool is_ok = plan->err.code == ERR_NONE;
    bool is_known = rule->is_error_reported && rule->last_error != NULL &&
                    str_eq_c(str_from(plan->err.msg), rule->last_error);
    if (!is_ok && !is_known) {
        rules_report(cycle->rules, RULES_RULE_FAILED, rule, 1, "%s", plan->err.msg);
    } else if (is_ok && rule->is_error_reported) {
        rules_report(cycle->rules, RULES_RULE_RECOVERED, rule, 1, "%s", "");
    }
    rule->is_error_reported = !is_ok;
    set_health(cycle, plan, &plan->err);
}

/* A template that fails does so at every evaluation: said once per change. */
static void adopt_expansions(struct cycle *cycle, const struct rule_plan *plan) {
    struct rule *rule = plan->rule;
    struct str error = plan->expansion_error;
    bool is_known =
        rule->last_expansion_error != NULL && str_eq_c(error, rule->last_expansion_error);
    if (error.len > 0 && !is_known) {
        rules_report(cycle->rules, RULES_TEMPLATE_FAILED, rule, 1, "%.*s", STR_FMT(error));
    }
    mem_free(rule->last_expansion_error);
    rule->last_expansion_error = error.len == 0 ? NULL : mem_strndup(error.ptr, error.len);
}

static void adopt_series(struct rule *rule, const struct rule_plan *plan) {
    if (plan->is_failed && !plan->is_cleared) {
        return;
    }
    mem_free(rule->previous);
    rule->previous = NULL;
    rule->previous_count = plan->returned_count;
    if (plan->returned_count > 0) {
        rule->previous = mem_alloc(plan->returned_count * sizeof(series_ref_t));
        memcpy(rule->previous, plan->returned, plan->returned_count * sizeof(series_ref_t));
    }
}

/* When the engine was not there, or was late by more than slots count. */
static void note_gap(struct cycle *cycle) {
    struct group *group = cycle->group;
    int64_t gap_ms = group->last_slot_ms == 0 ? 0 : cycle->slot_ms - group->last_slot_ms;
    if (gap_ms > group->def->interval_ms) {
        group->gap_start_ms = group->last_slot_ms;
        group->gap_end_ms = cycle->slot_ms;
        if (group->is_first) {
            rules_report_group(cycle->rules, RULES_GAP, group, gap_ms, "%s", "");
        }
    }
    if (cycle->step_ms != 0) {
        metric_inc(cycle->rules->metrics.clock_steps);
        rules_report_group(cycle->rules, RULES_CLOCK_STEP, group, cycle->step_ms, "%s", "");
    }
}

static void adopt(struct cycle *cycle, int64_t mono_ns) {
    struct group *group = cycle->group;
    size_t samples = 0;
    note_gap(cycle);
    for (size_t i = 0; i < group->rule_count; i++) {
        struct rule_plan *plan = &cycle->plans[i];
        rules_alerting_adopt(cycle, plan);
        adopt_series(plan->rule, plan);
        adopt_expansions(cycle, plan);
        adopt_health(cycle, plan);
        plan->rule->last_slot_ms = cycle->slot_ms;
        samples += plan->sample_count;
    }
    metric_set(group->metrics.samples, (double)samples);
    group->last_slot_ms = cycle->slot_ms;
    group->last_now_ms = cycle->now_ms;
    group->last_mono_ns = mono_ns;
    group->is_first = false;
}

/* Nothing of the evaluation counts; what the rules show is why. */
static void refuse(struct cycle *cycle, const struct err *err) {
    metric_inc(cycle->rules->metrics.commit_failures);
    rules_report_group(cycle->rules, RULES_COMMIT_FAILED, cycle->group, 1, "%s", err->msg);
    for (size_t i = 0; i < cycle->group->rule_count; i++) {
        set_health(cycle, &cycle->plans[i], err);
    }
}

/* ---- the cycle ---- */

static double elapsed_s(const struct rules *rules, int64_t since_mono_ns) {
    return (double)(clock_mono_ns(rules->clock) - since_mono_ns) / 1e9;
}

static void evaluate_rule(struct cycle *cycle, struct rule_plan *plan, int64_t mono_start_ns) {
    int64_t mono_ns = clock_mono_ns(cycle->rules->clock);
    plan->started_ms = cycle->now_ms + (mono_ns - mono_start_ns) / 1000000;
    plan->sample_first = tsdb_batch_sample_count(cycle->batch);
    arena_reset(&cycle->query_arena);
    metric_inc(cycle->group->metrics.evaluations);
    if (plan->rule->type == RULE_ALERTING) {
        rules_alerting_evaluate(cycle, plan);
    } else {
        rules_recording_evaluate(cycle, plan);
    }
    rules_refs_sort(plan->returned, &plan->returned_count);
    if (!plan->is_failed || plan->is_cleared) {
        mark_stale(cycle, plan);
    }
    plan->evaluation_s = elapsed_s(cycle->rules, mono_ns);
    metric_observe(cycle->rules->metrics.evaluation_seconds, plan->evaluation_s);
}

static void put_group_row(struct cycle *cycle) {
    struct group *group = cycle->group;
    struct group_row row = {
        .file = group->def->file,
        .name = group->def->name,
        .last_slot_ms = cycle->slot_ms,
        .query_offset_ms = group->def->query_offset_ms,
    };
    struct buf bytes;
    buf_init(&bytes, SIZE_MAX);
    rules_group_row_encode(&row, &bytes);
    struct kv_batch *kv = tsdb_batch_kv(cycle->batch);
    kv->put(kv, KV_RULE_STATE, str_n((const char *)group->row_key, GROUP_ROW_KEY_BYTES),
            buf_as_str(&bytes));
    buf_finish(&bytes);
}

/* How far the wall clock ran ahead of the monotonic one since the last durable evaluation. */
static int64_t clock_step(const struct group *group, int64_t now_ms, int64_t mono_ns) {
    if (group->is_first) {
        return 0;
    }
    int64_t step_ms = (now_ms - group->last_now_ms) - (mono_ns - group->last_mono_ns) / 1000000;
    return step_ms < RULES_CLOCK_STEP_MS && step_ms > -RULES_CLOCK_STEP_MS ? 0 : step_ms;
}

/* A gap that may have emptied every selector; see alerting.c. One after the other does not count:
 * a group that is always late must not hold its alerts for ever. */
static void judge_evidence(struct cycle *cycle) {
    struct group *group = cycle->group;
    int64_t gap_ms = group->last_slot_ms == 0 ? 0 : cycle->slot_ms - group->last_slot_ms;
    int64_t lookback_ms = cycle->rules->options.lookback_ms;
    bool is_gap = gap_ms > lookback_ms && gap_ms > group->def->interval_ms;
    if (is_gap && !group->is_after_gap) {
        group->evidence_until_ms = cycle->slot_ms + lookback_ms;
    }
    group->is_after_gap = is_gap;
}

/* False when the engine is stopping: then nothing has happened. */
static bool evaluate_rules(struct cycle *cycle, int64_t mono_start_ns) {
    for (size_t i = 0; i < cycle->group->rule_count; i++) {
        evaluate_rule(cycle, &cycle->plans[i], mono_start_ns);
        if (atomic_load(&cycle->rules->is_canceled)) {
            return false;
        }
    }
    return true;
}

void rules_group_evaluate(struct rules *rules,
                          struct group *group,
                          int64_t slot_ms,
                          int64_t now_ms) {
    int64_t mono_start_ns = clock_mono_ns(rules->clock);
    struct cycle cycle = {
        .rules = rules,
        .group = group,
        .slot_ms = slot_ms,
        .sample_ms = slot_ms - group->def->query_offset_ms,
        .now_ms = now_ms,
        .step_ms = clock_step(group, now_ms, mono_start_ns),
    };
    arena_init(&cycle.arena, RULES_CYCLE_BYTES_MAX);
    arena_init(&cycle.query_arena, RULES_CYCLE_BYTES_MAX);
    cycle.plans = arena_calloc(&cycle.arena, group->rule_count, sizeof(struct rule_plan));
    for (size_t i = 0; i < group->rule_count; i++) {
        cycle.plans[i].rule = group->rules[i];
        cycle.plans[i].started_ms = now_ms;
    }
    judge_evidence(&cycle);
    if (group->is_first) {
        rules_restore_recorded(rules, group);
    }
    metric_inc(group->metrics.iterations);
    struct err err = ERR_INIT;
    bool ok = tsdb_batch_begin(rules->options.db, TSDB_STATE, &cycle.batch, &err);
    if (ok && !evaluate_rules(&cycle, mono_start_ns)) {
        tsdb_batch_abandon(cycle.batch);
    } else {
        if (ok) {
            put_group_row(&cycle);
            ok = commit(&cycle, &err);
        }
        if (ok) {
            adopt(&cycle, mono_start_ns);
        } else {
            refuse(&cycle, &err);
        }
        group->last_evaluation_ms = now_ms;
        group->evaluation_s = elapsed_s(rules, mono_start_ns);
        metric_set(group->metrics.last_evaluation, (double)now_ms / 1e3);
        metric_set(group->metrics.last_duration, group->evaluation_s);
        metric_observe(rules->metrics.group_seconds, group->evaluation_s);
    }
    arena_finish(&cycle.query_arena);
    arena_finish(&cycle.arena);
}
