/* The engine's own metrics. */
#include "base/mem.h"
#include "rules/engine.h"

void rules_metrics_init(struct rules *rules) {
    static const double seconds[] = { 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30 };
    static const char *const pending[] = { "state", "pending", NULL };
    static const char *const firing[] = { "state", "firing", NULL };
    struct metric_registry *registry = rules->options.metrics;
    rules->metrics = (struct rules_metrics){
        .evaluation_seconds = metric_histogram(registry, "tocsin_rule_evaluation_duration_seconds",
                                               "Time a rule took to evaluate, without the commit.",
                                               NULL, seconds, ARRAY_LEN(seconds)),
        .group_seconds = metric_histogram(registry, "tocsin_rule_group_duration_seconds",
                                          "Time a group took to evaluate and commit.", NULL,
                                          seconds, ARRAY_LEN(seconds)),
        .reload_ok = metric_gauge(registry, "tocsin_rules_last_reload_successful",
                                  "Whether the last load of the rule files succeeded.", NULL),
        .reload_success_time =
            metric_gauge(registry, "tocsin_rules_last_reload_success_timestamp_seconds",
                         "When rule files were last loaded with success.", NULL),
        .pending = metric_gauge(registry, "tocsin_alerts", "Alerts by state.", pending),
        .firing = metric_gauge(registry, "tocsin_alerts", "Alerts by state.", firing),
        .expansions = metric_counter(registry, "tocsin_template_text_expansions_total",
                                     "Templates of labels and annotations expanded.", NULL),
        .expansion_failures =
            metric_counter(registry, "tocsin_template_text_expansion_failures_total",
                           "Templates of labels and annotations that failed to expand.", NULL),
        .commit_failures =
            metric_counter(registry, "tocsin_rule_group_commit_failures_total",
                           "Group evaluations that could not be made durable.", NULL),
        .clock_steps = metric_counter(registry, "tocsin_rule_clock_steps_total",
                                      "Jumps of the wall clock seen by rule groups.", NULL),
    };
}

void rules_group_metrics_init(struct rules *rules, struct group *group) {
    struct metric_registry *registry = rules->options.metrics;
    struct buf key;
    buf_init(&key, SIZE_MAX);
    buf_str(&key, group->def->file);
    buf_putc(&key, ';');
    buf_str(&key, group->def->name);
    const char *const labels[] = { "rule_group", key.ptr, NULL };
    group->metrics = (struct group_metrics){
        .evaluations = metric_counter(registry, "tocsin_rule_evaluations_total",
                                      "Evaluations of rules.", labels),
        .failures = metric_counter(registry, "tocsin_rule_evaluation_failures_total",
                                   "Evaluations of rules that failed.", labels),
        .iterations = metric_counter(registry, "tocsin_rule_group_iterations_total",
                                     "Evaluations of groups, executed.", labels),
        .missed = metric_counter(registry, "tocsin_rule_group_iterations_missed_total",
                                 "Evaluations of groups, skipped for being late.", labels),
        .interval = metric_gauge(registry, "tocsin_rule_group_interval_seconds",
                                 "Interval of a group.", labels),
        .last_evaluation =
            metric_gauge(registry, "tocsin_rule_group_last_evaluation_timestamp_seconds",
                         "When a group was last evaluated.", labels),
        .last_duration = metric_gauge(registry, "tocsin_rule_group_last_duration_seconds",
                                      "How long the last evaluation of a group took.", labels),
        .rules = metric_gauge(registry, "tocsin_rule_group_rules", "Rules in a group.", labels),
        .samples = metric_gauge(registry, "tocsin_rule_group_last_evaluation_samples",
                                "Samples the last evaluation of a group wrote.", labels),
    };
    metric_set(group->metrics.interval, (double)group->def->interval_ms / 1e3);
    metric_set(group->metrics.rules, (double)group->rule_count);
    buf_finish(&key);
}
