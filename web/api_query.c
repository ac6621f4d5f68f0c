/* Evaluation: /api/v1/query, query_range, and what is done with expressions alone. */

#include "web/api.h"

enum {
    POINTS_PER_SERIES_MAX = 11000,
};

static struct promql_query make_query(struct web_request *request) {
    struct web *web = request->web;
    return (struct promql_query){
        .db = web->opts.db,
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

static void write_data(struct json_writer *json,
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
    json_object_end(json);
}

static void write_result(struct web_request *request,
                         const struct promql_result *result,
                         uint64_t limit,
                         int64_t time_ms) {
    struct json_writer json;
    bool is_cut = limit > 0 && result->series_count > limit;
    web_json_open(request, &json);
    write_data(&json, result, is_cut ? (size_t)limit : result->series_count, time_ms);
    if (is_cut) {
        json_key(&json, "warnings");
        json_array(&json);
        json_cstr(&json, "results truncated due to limit");
        for (size_t i = 0; i < result->warning_count; i++) {
            json_str(&json, result->warnings[i]);
        }
        json_array_end(&json);
    } else {
        api_json_notes(&json, "warnings", result->warnings, result->warning_count);
    }
    api_json_notes(&json, "infos", result->infos, result->info_count);
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
    if (query->step_ms > 0 && promql_expr_type(expr) != PROMQL_SCALAR &&
        promql_expr_type(expr) != PROMQL_VECTOR) {
        err_set(&err, ERR_INVALID,
                "invalid expression type \"%s\" for range query, must be Scalar or instant Vector",
                promql_type_to_string(promql_expr_type(expr)));
        web_reply_error(request, &err);
    } else if (promql_eval(query, expr, &request->arena, &result, &err)) {
        write_result(request, &result, limit, query->end_ms);
    } else {
        web_reply_error(request, &err);
    }
    promql_expr_finish(expr);
}

/* What both kinds of query take: timeout, lookback_delta, limit. False with a reply. */
static bool common_params(struct web_request *request,
                          struct promql_query *query,
                          uint64_t *limit) {
    struct err err = ERR_INIT;
    if (!web_query_deadline(request, &query->deadline_mono_ns, &err)) {
        web_reply_error(request, &err);
        return false;
    }
    if (web_param(request, "lookback_delta").len > 0 &&
        !api_param_duration(request, "lookback_delta", &query->lookback_ms)) {
        return false;
    }
    return api_param_limit(request, limit);
}

void api_query(struct web_request *request) {
    struct promql_query query = make_query(request);
    uint64_t limit;
    int64_t now_ms = clock_wall_ms(request->web->clock);
    if (!api_param_time(request, "time", now_ms, &query.start_ms) ||
        !common_params(request, &query, &limit)) {
        return;
    }
    query.end_ms = query.start_ms;
    evaluate(request, &query, limit);
}

static bool range_params(struct web_request *request, struct promql_query *query) {
    static const char *const needed[] = { "start", "end", "step" };
    for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
        if (web_param(request, needed[i]).len == 0) {
            return api_bad_param(request, needed[i], "it is required");
        }
    }
    if (!api_param_time(request, "start", 0, &query->start_ms) ||
        !api_param_time(request, "end", 0, &query->end_ms) ||
        !api_param_duration(request, "step", &query->step_ms)) {
        return false;
    }
    if (query->end_ms < query->start_ms) {
        return api_bad_param(request, "end", "end timestamp must not be before start time");
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
    if (range_params(request, &query) && common_params(request, &query, &limit)) {
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
    struct buf text;
    buf_init(&text, 1u << 20);
    promql_print(expr, &text);
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "type");
    json_cstr(&json, promql_type_to_api(promql_expr_type(expr)));
    json_key(&json, "query");
    json_str(&json, buf_as_str(&text));
    json_object_end(&json);
    web_json_close(request, &json);
    buf_finish(&text);
    promql_expr_finish(expr);
}

void api_query_exemplars(struct web_request *request) {
    struct json_writer json;
    web_json_open(request, &json);
    json_array(&json); /* exemplars are not stored */
    json_array_end(&json);
    web_json_close(request, &json);
}
