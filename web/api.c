/* Parameters, selection and JSON forms that several handlers of the query API share. */
#include "web/api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/duration.h"
#include "base/float.h"
#include "base/mem.h"

enum {
    SELECTORS_MAX = 1000,
    NOTES_MAX = 10,
};

/* ---- time ---- */

/* What upstream's clients send for "no bound"; their years have more than four digits. */
static bool parse_bound(struct str text, int64_t *ret_ms) {
    bool is_min = str_eq_c(text, "-292273086-05-16T16:47:06Z");
    bool is_max = str_eq_c(text, "292277025-08-18T07:12:54.999999999Z");
    *ret_ms = is_min ? INT64_MIN : is_max ? INT64_MAX : *ret_ms;
    return is_min || is_max;
}

bool api_time_parse(struct str text, int64_t *ret_ms, struct err *err) {
    double seconds;
    if (str_parse_f64(text, &seconds)) {
        /* ±292 million years are int64 milliseconds; NaN and the infinities fail here too. */
        if (!(fabs(seconds) < 9.2e15)) {
            return err_set(err, ERR_INVALID, "time \"%.*s\" is out of range", STR_FMT(text));
        }
        double whole = floor(seconds);
        *ret_ms = (int64_t)whole * 1000 + (int64_t)round((seconds - whole) * 1000);
        return true;
    }
    return rfc3339_to_ms(text, ret_ms) || parse_bound(text, ret_ms) ||
           err_set(err, ERR_INVALID, "cannot parse \"%.*s\" to a valid timestamp",
                   (int)(text.len < 64 ? text.len : 64), text.ptr);
}

/* ---- parameters ---- */

bool api_bad_param(struct web_request *request, const char *name, const char *why) {
    struct err err = ERR_INIT;
    err_set(&err, ERR_INVALID, "invalid parameter \"%s\": %s", name, why);
    web_reply_error(request, &err);
    return false;
}

bool api_param_time(struct web_request *request,
                    const char *name,
                    int64_t default_ms,
                    int64_t *ret_ms) {
    struct str text = web_param(request, name);
    struct err err = ERR_INIT;
    if (text.len == 0) {
        *ret_ms = default_ms;
        return true;
    }
    if (api_time_parse(text, ret_ms, &err)) {
        return true;
    }
    err_wrap(&err, "invalid time value for '%s'", name);
    return api_bad_param(request, name, err.msg);
}

bool api_duration_parse(struct str text, int64_t *ret_ms, struct err *err) {
    double seconds;
    int shown = (int)(text.len < 64 ? text.len : 64);
    if (!str_parse_f64(text, &seconds)) {
        return duration_parse(text, ret_ms, err) ||
               err_set(err, ERR_INVALID, "cannot parse \"%.*s\" to a valid duration", shown,
                       text.ptr);
    }
    if (!(fabs(seconds) < 9.2e9)) { /* upstream counts nanoseconds in 64 bits; NaN fails too */
        return err_set(err, ERR_INVALID,
                       "cannot parse \"%.*s\" to a valid duration. It overflows int64", shown,
                       text.ptr);
    }
    *ret_ms = (int64_t)trunc(seconds * 1000);
    return true;
}

bool api_param_duration(struct web_request *request, const char *name, int64_t *ret_ms) {
    struct err err = ERR_INIT;
    return api_duration_parse(web_param(request, name), ret_ms, &err) ||
           api_bad_param(request, name, err.msg);
}

bool api_param_limit(struct web_request *request, uint64_t *ret) {
    struct str text = web_param(request, "limit");
    int64_t limit = 0;
    *ret = 0;
    if (text.len > 0 && !str_parse_i64(text, &limit)) {
        return api_bad_param(request, "limit", "not a whole number");
    }
    if (limit < 0) {
        return api_bad_param(request, "limit", "limit must be non-negative");
    }
    *ret = (uint64_t)limit;
    return true;
}

bool api_param_count(struct web_request *request, const char *name, int64_t *ret) {
    struct str text = web_param(request, name);
    *ret = -1;
    if (text.len == 0 || str_parse_i64(text, ret)) {
        return true;
    }
    struct err err = ERR_INIT;
    err_set(&err, ERR_INVALID, "%s must be a number", name);
    web_reply_error(request, &err);
    return false;
}

bool web_query_deadline(struct web_request *request, int64_t *ret_mono_ns, struct err *err) {
    const struct web *web = request->web;
    int64_t timeout_ms = web->opts.query_timeout_ms == 0 ? 120000 : web->opts.query_timeout_ms;
    struct str text = web_param(request, "timeout");
    int64_t asked_ms;
    if (text.len > 0) {
        if (!api_duration_parse(text, &asked_ms, err)) {
            return err_wrap(err, "invalid parameter \"timeout\"");
        }
        timeout_ms = asked_ms < timeout_ms ? asked_ms : timeout_ms;
    }
    /* No time at all is over already. */
    *ret_mono_ns = clock_mono_ns(web->clock) + (timeout_ms <= 0 ? -1 : timeout_ms * 1000000);
    return true;
}

/* ---- selection ---- */

/* True when a matcher of the selector refuses the empty value. */
static bool is_selective(const struct matcher *matchers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!matcher_matches(&matchers[i], STR(""))) {
            return true;
        }
    }
    return false;
}

static bool add_selector(struct api_selectors *selectors,
                         struct str text,
                         enum api_match_style style,
                         struct err *err) {
    size_t i = selectors->count;
    if (!promql_parse_selector(text, &selectors->matchers[i], &selectors->matcher_counts[i], err)) {
        err->code = ERR_INVALID;
        return false;
    }
    selectors->count++;
    return style == API_MATCH_FEDERATE ||
           is_selective(selectors->matchers[i], selectors->matcher_counts[i]) ||
           err_set(err, ERR_INVALID, "match[] must contain at least one non-empty matcher");
}

static bool refuse_selector(struct web_request *request,
                            enum api_match_style style,
                            const struct err *err) {
    switch (style) {
    case API_MATCH_PLAIN: web_reply_error(request, err); break;
    case API_MATCH_NAMED: api_bad_param(request, "match[]", err->msg); break;
    case API_MATCH_FEDERATE: web_reply_error_text(request, err); break;
    }
    return false;
}

bool api_selectors_parse(struct web_request *request,
                         enum api_match_style style,
                         struct api_selectors *ret) {
    *ret = (struct api_selectors){ 0 };
    struct err err = ERR_INIT;
    size_t count = 0;
    for (size_t i = 0; i < request->param_count; i++) {
        count += str_eq_c(request->params[i].name, "match[]");
    }
    if (count > SELECTORS_MAX) {
        err_set(&err, ERR_INVALID, "more than %d selectors", SELECTORS_MAX);
        return refuse_selector(request, style, &err);
    }
    ret->matchers = mem_calloc(count, sizeof(ret->matchers[0]));
    ret->matcher_counts = mem_calloc(count, sizeof(ret->matcher_counts[0]));
    for (size_t i = 0; i < request->param_count; i++) {
        if (str_eq_c(request->params[i].name, "match[]") &&
            !add_selector(ret, request->params[i].value, style, &err)) {
            api_selectors_finish(ret);
            return refuse_selector(request, style, &err);
        }
    }
    return true;
}

void api_selectors_finish(struct api_selectors *selectors) {
    for (size_t i = 0; i < selectors->count; i++) {
        for (size_t j = 0; j < selectors->matcher_counts[i]; j++) {
            matcher_finish(&selectors->matchers[i][j]);
        }
        mem_free(selectors->matchers[i]);
    }
    mem_free(selectors->matchers);
    mem_free(selectors->matcher_counts);
    *selectors = (struct api_selectors){ 0 };
}

bool api_select_one(struct tsdb_querier *querier,
                    const struct matcher *matchers,
                    size_t matcher_count,
                    struct arena *arena,
                    struct tsdb_series_view **ret,
                    size_t *ret_count,
                    struct err *err) {
    if (is_selective(matchers, matcher_count)) {
        return tsdb_select(querier, matchers, matcher_count, arena, ret, ret_count, err);
    }
    struct tsdb_series_view *views = NULL;
    size_t count = 0;
    if (!tsdb_select(querier, NULL, 0, arena, &views, &count, err)) {
        return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (matchers_match_labels(matchers, matcher_count, views[i].labels)) {
            views[kept++] = views[i];
        }
    }
    *ret = views;
    *ret_count = kept;
    return true;
}

static int compare_views(const void *a, const void *b) {
    const struct tsdb_series_view *x = a;
    const struct tsdb_series_view *y = b;
    return labels_cmp(x->labels, y->labels);
}

bool api_select(struct tsdb_querier *querier,
                const struct api_selectors *selectors,
                struct arena *arena,
                struct tsdb_series_view **ret,
                size_t *ret_count,
                struct err *err) {
    struct tsdb_series_view *all = NULL;
    size_t count = 0;
    size_t cap = 0;
    for (size_t i = 0; i < selectors->count; i++) {
        struct tsdb_series_view *found = NULL;
        size_t found_count = 0;
        if (!api_select_one(querier, selectors->matchers[i], selectors->matcher_counts[i], arena,
                            &found, &found_count, err)) {
            return false;
        }
        if (found_count == 0) {
            continue;
        }
        all = arena_vec_grow(arena, all, &cap, count + found_count, sizeof(*all));
        memcpy(all + count, found, found_count * sizeof(*all));
        count += found_count;
    }
    if (selectors->count > 1 && count > 0) {
        qsort(all, count, sizeof(*all), compare_views);
        size_t kept = 0;
        for (size_t i = 0; i < count; i++) {
            if (kept == 0 || !labels_equal(all[kept - 1].labels, all[i].labels)) {
                all[kept++] = all[i];
            }
        }
        count = kept;
    }
    *ret = all;
    *ret_count = count;
    return true;
}

bool api_querier_open(struct web_request *request, struct tsdb_querier **ret) {
    int64_t start_ms;
    int64_t end_ms;
    struct err err = ERR_INIT;
    if (!api_param_time(request, "start", INT64_MIN, &start_ms) ||
        !api_param_time(request, "end", INT64_MAX, &end_ms)) {
        return false;
    }
    if (end_ms < start_ms) {
        return api_bad_param(request, "end", "end timestamp must not be before start time");
    }
    if (!tsdb_querier_open(request->web->opts.db, start_ms, end_ms, NULL, ret, &err)) {
        web_reply_error(request, &err);
        return false;
    }
    return true;
}

/* ---- JSON forms ---- */

void api_json_labels(struct json_writer *json, struct labels labels) {
    json_object(json);
    for (size_t i = 0; i < labels.count; i++) {
        json_key_str(json, labels.items[i].name);
        json_str(json, labels.items[i].value);
    }
    json_object_end(json);
}

void api_json_time(struct json_writer *json, int64_t t_ms) {
    char text[RFC3339_TEXT_MAX];
    if (t_ms == 0) {
        json_cstr(json, "0001-01-01T00:00:00Z");
        return;
    }
    rfc3339_from_ms(t_ms, text);
    json_cstr(json, text);
}

void api_json_seconds(struct json_writer *json, int64_t t_ms) {
    char text[40];
    uint64_t magnitude = t_ms < 0 ? 0 - (uint64_t)t_ms : (uint64_t)t_ms;
    int len = snprintf(text, sizeof(text), "%s%llu", t_ms < 0 ? "-" : "",
                       (unsigned long long)(magnitude / 1000));
    if (magnitude % 1000 != 0) {
        len +=
            snprintf(text + len, sizeof(text) - (size_t)len, ".%03u", (unsigned)(magnitude % 1000));
    }
    json_raw(json, str_n(text, (size_t)len));
}

void api_json_point(struct json_writer *json, int64_t t_ms, double value) {
    char text[FLOAT_TEXT_MAX];
    json_array(json);
    api_json_seconds(json, t_ms);
    json_str(json, str_n(text, float_to_json(value, text)));
    json_array_end(json);
}

void api_json_notes(struct json_writer *json,
                    const char *what,
                    const char *first,
                    const struct str *items,
                    size_t count) {
    size_t total = count + (first != NULL);
    if (total == 0) {
        return;
    }
    char text[64];
    snprintf(text, sizeof(text), "%ss", what);
    json_key(json, text);
    json_array(json);
    if (first != NULL) {
        json_cstr(json, first);
    }
    for (size_t i = 0; i < count && i + (first != NULL) < NOTES_MAX; i++) {
        json_str(json, items[i]);
    }
    if (total > NOTES_MAX) {
        snprintf(text, sizeof(text), "%zu more %s annotations omitted", total - NOTES_MAX, what);
        json_cstr(json, text);
    }
    json_array_end(json);
}
