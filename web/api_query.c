/* Evaluation: /api/v1/query, query_range, and what is done with expressions alone. */
#include <stdio.h>

#include "web/api.h"

enum {
    POINTS_PER_SERIES_MAX = 11000,
};

static struct promql_query make_query(struct web_request *request) {
    struct web *web = request->web;
    return (struct promql_query){
        .db = web->opts.db,
        .text = web_param(request, "query"),
        .lookback_ms = web->opts.query_lookback_ms,
        .samples_max = web->opts.query_samples_max,
        .clock = web->clock,
        .is_canceled = &request->is_canceled,
        .features = web->opts.features,
    };
}

/* Parse `query`; false with a reply. */
static bool parse_expression(struct web_request *request, struct promql_expr **ret) {
    struct err err = ERR_INIT;
    if (promql_parse(web_param(request, "query"), &request->web->opts.features, &request->arena,
                     ret, NULL, &err)) {
        return true;
    }
    err.code = ERR_INVALID;
    return api_bad_param(request, "query", err.msg);
}

/* ---- results ---- */

static void write_series(struct json_writer *json,
                         const struct promql_series *series,
                         bool is_matrix) {
    json_object(json);
    json_key(json, "metric");
    api_json_labels(json, series->labels);
    if (is_matrix) {
        json_key(json, "values");
        json_array(json);
        for (size_t i = 0; i < series->point_count; i++) {
            api_json_point(json, series->points[i].t_ms, series->points[i].value);
        }
        json_array_end(json);
    } else {
        json_key(json, "value");
        api_json_point(json, series->points[0].t_ms, series->points[0].value);
    }
    json_object_end(json);
}

/* Samples as upstream's "stats" member shows them; it has no timings that are not the client's. */
static void write_stats(struct json_writer *json, const struct promql_result *result) {
    json_key(json, "stats");
    json_object(json);
    json_key(json, "timings");
    json_object(json);
    json_object_end(json);
    json_key(json, "samples");
    json_object(json);
    json_key(json, "totalQueryableSamples");
    json_u64(json, result->samples_read);
    json_key(json, "peakSamples");
    json_u64(json, result->samples_peak);
    json_object_end(json);
    json_object_end(json);
}

static void write_data(struct web_request *request,
                       struct json_writer *json,
                       const struct promql_result *result,
                       size_t series_count,
                       int64_t time_ms) {
    json_object(json);
    json_key(json, "resultType");
    json_cstr(json, promql_type_to_api(result->type));
    json_key(json, "result");
    if (result->type == PROMQL_SCALAR) {
        const struct promql_point *point = &result->series[0].points[0];
        api_json_point(json, point->t_ms, point->value);
    } else if (result->type == PROMQL_STRING) {
        json_array(json);
        api_json_seconds(json, time_ms);
        json_str(json, result->string);
        json_array_end(json);
    } else {
        json_array(json);
        for (size_t i = 0; i < series_count; i++) {
            write_series(json, &result->series[i], result->type == PROMQL_MATRIX);
        }
        json_array_end(json);
    }
    if (web_param(request, "stats").len > 0) {
        write_stats(json, result);
    }
    json_object_end(json);
}

static void write_result(struct web_request *request,
                         const struct promql_result *result,
                         uint64_t limit,
                         int64_t time_ms) {
    struct json_writer json;
    bool is_list = result->type == PROMQL_VECTOR || result->type == PROMQL_MATRIX;
    bool is_cut = is_list && limit > 0 && result->series_count > limit;
    web_json_open(request, &json);
    write_data(request, &json, result, is_cut ? (size_t)limit : result->series_count, time_ms);
    api_json_notes(&json, "warning", is_cut ? API_TRUNCATED : NULL, result->warnings,
                   result->warning_count);
    api_json_notes(&json, "info", NULL, result->infos, result->info_count);
    web_json_close(request, &json);
}

/* Parse, evaluate, reply. */
static void evaluate(struct web_request *request, struct promql_query *query, uint64_t limit) {
    struct promql_expr *expr = NULL;
    if (!parse_expression(request, &expr)) {
        return;
    }
    struct err err = ERR_INIT;
    struct promql_result result;
    enum promql_type type = promql_expr_type(expr);
    if (query->step_ms > 0 && type != PROMQL_SCALAR && type != PROMQL_VECTOR) {
        char why[128];
        snprintf(why, sizeof(why),
                 "invalid expression type \"%s\" for range query, must be Scalar or instant Vector",
                 promql_type_to_string(type));
        api_bad_param(request, "query", why);
    } else if (promql_eval(query, expr, &request->arena, &result, &err)) {
        write_result(request, &result, limit, query->end_ms);
    } else {
        web_reply_error(request, &err);
    }
    promql_expr_finish(expr);
}

/* What both kinds of query take: timeout, lookback_delta. False with a reply. */
static bool common_params(struct web_request *request, struct promql_query *query) {
    struct err err = ERR_INIT;
    if (!web_query_deadline(request, &query->deadline_mono_ns, &err)) {
        web_reply_error(request, &err);
        return false;
    }
    int64_t lookback_ms = 0;
    struct str text = web_param(request, "lookback_delta");
    if (text.len > 0 && !api_duration_parse(text, &lookback_ms, &err)) {
        err_wrap(&err, "error parsing lookback delta duration");
        web_reply_error(request, &err);
        return false;
    }
    query->lookback_ms = lookback_ms > 0 ? lookback_ms : query->lookback_ms;
    return true;
}

void api_query(struct web_request *request) {
    struct promql_query query = make_query(request);
    uint64_t limit;
    int64_t now_ms = clock_wall_ms(request->web->clock);
    if (api_param_limit(request, &limit) &&
        api_param_time(request, "time", now_ms, &query.start_ms) &&
        common_params(request, &query)) {
        query.end_ms = query.start_ms;
        evaluate(request, &query, limit);
    }
}

static bool range_bound(struct web_request *request, const char *name, int64_t *ret_ms) {
    struct err err = ERR_INIT;
    return api_time_parse(web_param(request, name), ret_ms, &err) ||
           api_bad_param(request, name, err.msg);
}

static bool range_params(struct web_request *request, struct promql_query *query) {
    if (!range_bound(request, "start", &query->start_ms) ||
        !range_bound(request, "end", &query->end_ms)) {
        return false;
    }
    if (query->end_ms < query->start_ms) {
        return api_bad_param(request, "end", "end timestamp must not be before start time");
    }
    if (!api_param_duration(request, "step", &query->step_ms)) {
        return false;
    }
    if (query->step_ms <= 0) {
        return api_bad_param(request, "step",
                             "zero or negative query resolution step widths are not accepted. "
                             "Try a positive integer");
    }
    uint64_t span_ms = (uint64_t)query->end_ms - (uint64_t)query->start_ms;
    if (span_ms / (uint64_t)query->step_ms > POINTS_PER_SERIES_MAX) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_INVALID,
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the "
                "query resolution (?step=XX)");
        web_reply_error(request, &err);
        return false;
    }
    return true;
}

void api_query_range(struct web_request *request) {
    struct promql_query query = make_query(request);
    uint64_t limit;
    if (api_param_limit(request, &limit) && range_params(request, &query) &&
        common_params(request, &query)) {
        evaluate(request, &query, limit);
    }
}

/* ---- expressions ---- */

void api_format_query(struct web_request *request) {
    struct promql_expr *expr = NULL;
    if (!parse_expression(request, &expr)) {
        return;
    }
    struct buf text;
    buf_init(&text, 1u << 20);
    promql_prettify(expr, &text);
    struct json_writer json;
    web_json_open(request, &json);
    json_str(&json, buf_as_str(&text));
    web_json_close(request, &json);
    buf_finish(&text);
    promql_expr_finish(expr);
}

void api_parse_query(struct web_request *request) {
    struct promql_expr *expr = NULL;
    if (!parse_expression(request, &expr)) {
        return;
    }
    struct buf tree;
    buf_init(&tree, 16u << 20);
    promql_tree(expr, &tree);
    struct json_writer json;
    web_json_open(request, &json);
    json_raw(&json, buf_as_str(&tree));
    web_json_close(request, &json);
    if (tree.is_over) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_LIMIT, "the tree is larger than %zu bytes", tree.bytes_max);
        web_reply_error(request, &err);
    }
    buf_finish(&tree);
    promql_expr_finish(expr);
}

static void note_selector(void *ctx, const struct matcher *matchers, size_t count) {
    (void)matchers;
    (void)count;
    *(bool *)ctx = true;
}

/* Exemplars are not stored: well-formed questions have the empty answer. */
void api_query_exemplars(struct web_request *request) {
    int64_t start_ms;
    int64_t end_ms;
    struct err err = ERR_INIT;
    struct promql_expr *expr = NULL;
    if (!api_param_time(request, "start", INT64_MIN, &start_ms) ||
        !api_param_time(request, "end", INT64_MAX, &end_ms)) {
        return;
    }
    if (end_ms < start_ms) {
        err_set(&err, ERR_INVALID, "end timestamp must not be before start timestamp");
    } else if (!promql_parse(web_param(request, "query"), &request->web->opts.features,
                             &request->arena, &expr, NULL, &err)) {
        err.code = ERR_INVALID;
    }
    if (err.code != ERR_NONE) {
        web_reply_error(request, &err);
        return;
    }
    bool has_selector = false;
    promql_visit_selectors(expr, note_selector, &has_selector);
    struct json_writer json;
    web_json_open(request, &json);
    if (has_selector) {
        json_array(&json);
        json_array_end(&json);
    } else {
        json_null(&json);
    }
    web_json_close(request, &json);
    promql_expr_finish(expr);
}
