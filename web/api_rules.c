/* /api/v1/rules and /api/v1/alerts, from one snapshot of the rules. */
#include "base/float.h"
#include "base/hash.h"
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
    if (filter->type.len > 0 && str_eq_nocase(filter->type, STR("alert")) != is_alerting) {
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
    if (rule->last_error.len > 0) {
        json_key(json, "lastError");
        json_str(json, rule->last_error);
    }
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

/* ---- which groups ---- */

/* Pages of groups: `group_limit` of them, and a token of the next one. */
struct rule_page {
    uint64_t limit; /* 0 = all */
    struct str token;
};

static void group_token(const struct rule_group_view *group, struct arena *arena, char out[65]) {
    struct str text = arena_printf(arena, "%.*s;%.*s", STR_FMT(group->file), STR_FMT(group->name));
    hash_sha256_hex(text, out);
}

static bool page_params(struct web_request *request, struct rule_page *ret) {
    struct str limit = web_param(request, "group_limit");
    *ret = (struct rule_page){ .token = web_param(request, "group_next_token") };
    if (limit.len == 0 && ret->token.len > 0) {
        return api_bad_param(
            request, "group_next_token",
            "group_limit needs to be present in order to paginate over the groups");
    }
    int64_t count = 1;
    if (limit.len > 0 && (!str_parse_i64(limit, &count) || count > INT32_MAX)) {
        return api_bad_param(request, "group_limit", "group_limit needs to be a valid number");
    }
    if (count <= 0) {
        return api_bad_param(request, "group_limit", "group_limit needs to be greater than 0");
    }
    ret->limit = limit.len > 0 ? (uint64_t)count : 0;
    return true;
}

static bool is_asked_for(const struct rule_filter *filter, const struct rule_group_view *group) {
    return param_allows(filter->request, "rule_group[]", group->name) &&
           param_allows(filter->request, "file[]", group->file) && group_has_match(group, filter);
}

/* Index of the first group of the page; group_count when the token names none. */
static size_t page_start(const struct rules_snapshot *snapshot,
                         const struct rule_page *page,
                         struct arena *arena) {
    if (page->token.len == 0) {
        return 0;
    }
    for (size_t i = 0; i < snapshot->group_count; i++) {
        char token[65];
        group_token(snapshot->groups[i], arena, token);
        if (str_eq_c(page->token, token)) {
            return i;
        }
    }
    return snapshot->group_count;
}

static void write_groups(struct web_request *request,
                         const struct rules_snapshot *snapshot,
                         const struct rule_filter *filter,
                         const struct rule_page *page,
                         size_t start) {
    struct json_writer json;
    char next_token[65] = "";
    uint64_t count = 0;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "groups");
    json_array(&json);
    for (size_t i = start; i < snapshot->group_count; i++) {
        if (!is_asked_for(filter, snapshot->groups[i])) {
            continue;
        }
        if (page->limit > 0 && count == page->limit) {
            group_token(snapshot->groups[i], &request->arena, next_token);
            break;
        }
        write_group(&json, snapshot->groups[i], filter);
        count++;
    }
    json_array_end(&json);
    if (next_token[0] != '\0') {
        json_key(&json, "groupNextToken");
        json_cstr(&json, next_token);
    }
    if (snapshot->reload_ms != 0 && !snapshot->is_reload_ok) {
        json_key(&json, "reloadError"); /* ours */
        json_str(&json, snapshot->reload_error);
    }
    json_object_end(&json);
    web_json_close(request, &json);
}

/* Go's strconv.ParseBool. */
static bool parse_bool(struct str text, bool *ret) {
    static const char *const words[][5] = {
        { "0", "f", "F", "false", "False" },
        { "1", "t", "T", "true", "True" },
    };
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 5; j++) {
            if (str_eq_nocase(text, str_from(words[i][j]))) {
                *ret = i == 1;
                return true;
            }
        }
    }
    return false;
}

/* All but the selectors. */
static bool filter_params(struct web_request *request, struct rule_filter *ret) {
    *ret = (struct rule_filter){ .request = request, .type = web_param(request, "type") };
    struct err err = ERR_INIT;
    if (ret->type.len > 0 && !str_eq_nocase(ret->type, STR("alert")) &&
        !str_eq_nocase(ret->type, STR("record"))) {
        err_set(&err, ERR_INVALID, "not supported value \"%.*s\"",
                (int)(ret->type.len < 64 ? ret->type.len : 64), ret->type.ptr);
        return api_bad_param(request, "type", err.msg);
    }
    struct str without = web_param(request, "exclude_alerts");
    if (without.len > 0 && !parse_bool(without, &ret->without_alerts)) {
        return api_bad_param(request, "exclude_alerts",
                             "error converting exclude_alerts: expected true or false");
    }
    return true;
}

void api_rules(struct web_request *request) {
    struct rule_filter filter;
    struct rule_page page;
    if (!filter_params(request, &filter) || !page_params(request, &page) ||
        !api_selectors_parse(request, API_MATCH_PLAIN, &filter.selectors)) {
        return;
    }
    struct rules_snapshot *snapshot = rules_snapshot(request->web->opts.rules);
    size_t start = page_start(snapshot, &page, &request->arena);
    if (page.token.len > 0 && start == snapshot->group_count) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_INVALID, "invalid group_next_token '%.*s'. were rule groups changed?",
                (int)(page.token.len < 64 ? page.token.len : 64), page.token.ptr);
        api_bad_param(request, "group_next_token", err.msg);
    } else {
        write_groups(request, snapshot, &filter, &page, start);
    }
    rules_snapshot_unref(snapshot);
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
