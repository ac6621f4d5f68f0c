/* /api/v1/rules and /api/v1/alerts, from one snapshot of the rules. */
#include "base/float.h"
#include "web/api.h"

static void write_alert(struct json_writer *json, const struct alert_view *alert) {
    char value[FLOAT_TEXT_MAX];
    json_object(json);
    json_key(json, "labels");
    api_json_labels(json, alert->labels);
    json_key(json, "annotations");
    api_json_labels(json, alert->annotations);
    json_key(json, "state");
    json_cstr(json, alert_state_to_string(alert->state));
    json_key(json, "activeAt");
    api_json_time(json, alert->active_ms);
    if (alert->keep_firing_since_ms != 0) {
        json_key(json, "keepFiringSince");
        api_json_time(json, alert->keep_firing_since_ms);
    }
    json_key(json, "value");
    json_str(json, str_n(value, float_to_exponent(alert->value, value)));
    json_object_end(json);
}

/* Which rules are asked for; empty lists take all. */
struct rule_filter {
    struct web_request *request;
    struct str type; /* "alert", "record" or empty */
    bool without_alerts;
    struct api_selectors selectors;
};

/* True when a repeated parameter is absent or has the value. */
static bool param_allows(const struct web_request *request, const char *name, struct str value) {
    bool is_present = false;
    for (size_t i = 0; i < request->param_count; i++) {
        if (str_eq_c(request->params[i].name, name)) {
            is_present = true;
            if (str_eq(request->params[i].value, value)) {
                return true;
            }
        }
    }
    return !is_present;
}

static bool filter_takes(const struct rule_filter *filter, const struct rule_view *rule) {
    bool is_alerting = rule->type == RULE_ALERTING;
    if (filter->type.len > 0 && str_eq_c(filter->type, "alert") != is_alerting) {
        return false;
    }
    if (!param_allows(filter->request, "rule_name[]", rule->name)) {
        return false;
    }
    for (size_t i = 0; i < filter->selectors.count; i++) {
        if (matchers_match_labels(filter->selectors.matchers[i],
                                  filter->selectors.matcher_counts[i], rule->labels)) {
            return true;
        }
    }
    return filter->selectors.count == 0;
}

static void write_alerting(struct json_writer *json,
                           const struct rule_view *rule,
                           const struct rule_filter *filter) {
    json_key(json, "state");
    json_cstr(json, alert_state_to_string(rule->state));
    json_key(json, "duration");
    json_f64(json, (double)rule->for_ms / 1000);
    json_key(json, "keepFiringFor");
    json_f64(json, (double)rule->keep_firing_for_ms / 1000);
    json_key(json, "annotations");
    api_json_labels(json, rule->annotations);
    json_key(json, "alerts");
    json_array(json);
    for (size_t i = 0; !filter->without_alerts && i < rule->alert_count; i++) {
        write_alert(json, &rule->alerts[i]);
    }
    json_array_end(json);
}

static void write_rule(struct json_writer *json,
                       const struct rule_view *rule,
                       const struct rule_filter *filter) {
    json_object(json);
    json_key(json, "name");
    json_str(json, rule->name);
    json_key(json, "query");
    json_str(json, rule->query);
    json_key(json, "labels");
    api_json_labels(json, rule->labels);
    json_key(json, "health");
    json_cstr(json, rule_health_to_string(rule->health));
    json_key(json, "lastError");
    json_str(json, rule->last_error);
    json_key(json, "evaluationTime");
    json_f64(json, rule->evaluation_s);
    json_key(json, "lastEvaluation");
    api_json_time(json, rule->last_evaluation_ms);
    json_key(json, "type");
    json_cstr(json, rule->type == RULE_ALERTING ? "alerting" : "recording");
    if (rule->type == RULE_ALERTING) {
        write_alerting(json, rule, filter);
    }
    json_object_end(json);
}

static void write_group(struct json_writer *json,
                        const struct rule_group_view *group,
                        const struct rule_filter *filter) {
    json_object(json);
    json_key(json, "name");
    json_str(json, group->name);
    json_key(json, "file");
    json_str(json, group->file);
    json_key(json, "rules");
    json_array(json);
    for (size_t i = 0; i < group->rule_count; i++) {
        if (filter_takes(filter, &group->rules[i])) {
            write_rule(json, &group->rules[i], filter);
        }
    }
    json_array_end(json);
    json_key(json, "interval");
    json_f64(json, (double)group->interval_ms / 1000);
    json_key(json, "limit");
    json_u64(json, group->limit);
    json_key(json, "evaluationTime");
    json_f64(json, group->evaluation_s);
    json_key(json, "lastEvaluation");
    api_json_time(json, group->last_evaluation_ms);
    json_object_end(json);
}

static bool group_has_match(const struct rule_group_view *group, const struct rule_filter *filter) {
    for (size_t i = 0; i < group->rule_count; i++) {
        if (filter_takes(filter, &group->rules[i])) {
            return true;
        }
    }
    return false;
}

static void write_groups(struct web_request *request, const struct rule_filter *filter) {
    struct rules_snapshot *snapshot = rules_snapshot(request->web->opts.rules);
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "groups");
    json_array(&json);
    bool is_filtered = request->param_count > 0;
    for (size_t i = 0; i < snapshot->group_count; i++) {
        const struct rule_group_view *group = snapshot->groups[i];
        if (param_allows(request, "rule_group[]", group->name) &&
            param_allows(request, "file[]", group->file) &&
            (!is_filtered || group_has_match(group, filter))) {
            write_group(&json, group, filter);
        }
    }
    json_array_end(&json);
    if (snapshot->reload_ms != 0 && !snapshot->is_reload_ok) {
        json_key(&json, "reloadError");
        json_str(&json, snapshot->reload_error);
    }
    json_object_end(&json);
    web_json_close(request, &json);
    rules_snapshot_unref(snapshot);
}

void api_rules(struct web_request *request) {
    struct rule_filter filter = { .request = request, .type = web_param(request, "type") };
    bool is_type_known =
        filter.type.len == 0 || str_eq_c(filter.type, "alert") || str_eq_c(filter.type, "record");
    if (!is_type_known) {
        api_bad_param(request, "type", "expected alert or record");
        return;
    }
    struct str without = web_param(request, "exclude_alerts");
    filter.without_alerts = str_eq_c(without, "true") || str_eq_c(without, "1");
    if (!api_selectors_parse(request, &filter.selectors)) {
        return;
    }
    write_groups(request, &filter);
    api_selectors_finish(&filter.selectors);
}

void api_alerts(struct web_request *request) {
    struct rules_snapshot *snapshot = rules_snapshot(request->web->opts.rules);
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "alerts");
    json_array(&json);
    for (size_t i = 0; i < snapshot->group_count; i++) {
        const struct rule_group_view *group = snapshot->groups[i];
        for (size_t j = 0; j < group->rule_count; j++) {
            for (size_t k = 0; k < group->rules[j].alert_count; k++) {
                write_alert(&json, &group->rules[j].alerts[k]);
            }
        }
    }
    json_array_end(&json);
    json_object_end(&json);
    web_json_close(request, &json);
    rules_snapshot_unref(snapshot);
}
