/* Private to web/: parameters of the query API, and series selection shared by its handlers. */
#pragma once

#include "web/handlers.h"
#include "web/server.h"

/* A time parameter: float Unix seconds or RFC 3339. False with a reply when malformed. */
bool api_param_time(struct web_request *request,
                    const char *name,
                    int64_t default_ms,
                    int64_t *ret_ms);
/* A duration parameter: float seconds or "1h30m". */
bool api_param_duration(struct web_request *request, const char *name, int64_t *ret_ms);
/* `limit`: 0 = none. */
bool api_param_limit(struct web_request *request, uint64_t *ret);

WARN_UNUSED bool api_time_parse(struct str text, int64_t *ret_ms, struct err *err);
WARN_UNUSED bool api_duration_parse(struct str text, int64_t *ret_ms, struct err *err);

/* Reply with "invalid parameter "name": why". Returns false. */
bool api_bad_param(struct web_request *request, const char *name, const char *why);

/* Upstream's `limit` of metadata: a negative one is none. False with a reply. */
bool api_param_count(struct web_request *request, const char *name, int64_t *ret);

/* The match[] selectors of a request. */
struct api_selectors {
    struct matcher **matchers; /* per selector */
    size_t *matcher_counts;
    size_t count;
};

/* How a path refuses its match[] in upstream. */
enum api_match_style {
    API_MATCH_PLAIN,   /* the bare message; a selector must refuse the empty value of some label */
    API_MATCH_NAMED,   /* invalid parameter "match[]": …; the same demand */
    API_MATCH_FEDERATE /* as text; any selector */
};

/* False with a reply when one does not parse. */
bool api_selectors_parse(struct web_request *request,
                         enum api_match_style style,
                         struct api_selectors *ret);
void api_selectors_finish(struct api_selectors *selectors);

/* tsdb_select, also for selectors whose matchers all take the empty value. */
WARN_UNUSED bool api_select_one(struct tsdb_querier *querier,
                                const struct matcher *matchers,
                                size_t matcher_count,
                                struct arena *arena,
                                struct tsdb_series_view **ret,
                                size_t *ret_count,
                                struct err *err);

/* Union of the series of all selectors, sorted by labels, each once. */
WARN_UNUSED bool api_select(struct tsdb_querier *querier,
                            const struct api_selectors *selectors,
                            struct arena *arena,
                            struct tsdb_series_view **ret,
                            size_t *ret_count,
                            struct err *err);

/* Start and end parameters and a querier over them; false with a reply. */
bool api_querier_open(struct web_request *request, struct tsdb_querier **ret);

/* {"__name__":"up","job":"x"} */
void api_json_labels(struct json_writer *json, struct labels labels);
/* "2026-01-02T03:04:05.678Z"; the zero time for 0. */
void api_json_time(struct json_writer *json, int64_t t_ms);
/* 1435781451.781 from milliseconds, as a JSON number. */
void api_json_seconds(struct json_writer *json, int64_t t_ms);
/* [1435781451.781,"1"] */
void api_json_point(struct json_writer *json, int64_t t_ms, double value);
/* "warnings":[...], when there are any: `first` (NULL = none), then at most ten in all; `what` is
 * "warning" or "info". */
void api_json_notes(struct json_writer *json,
                    const char *what,
                    const char *first,
                    const struct str *items,
                    size_t count);

#define API_TRUNCATED "results truncated due to limit"
