/* /api/v1/status/tsdb: sizes of the store, and which labels its series are made of. */
#include "web/api.h"

enum {
    LIMIT_DEFAULT = 10,
    LIMIT_MAX = 10000,
    GROWTH_WINDOWS = 84, /* a week of two hours each */
};

static void write_list(struct json_writer *json,
                       const char *key,
                       const struct tsdb_count_list *list) {
    json_key(json, key);
    json_array(json);
    for (size_t i = 0; i < list->count; i++) {
        json_object(json);
        json_key(json, "name");
        json_str(json, list->items[i].name);
        json_key(json, "value");
        json_u64(json, list->items[i].count);
        json_object_end(json);
    }
    json_array_end(json);
}

static void write_number(struct json_writer *json, const char *key, uint64_t value) {
    json_key(json, key);
    json_u64(json, value);
}

static void write_time(struct json_writer *json, const char *key, int64_t t_ms) {
    json_key(json, key);
    json_i64(json, t_ms);
}

/* Ours: series and samples of the newest sealed windows, oldest first. */
static void write_growth(struct json_writer *json,
                         const struct tsdb_window *windows,
                         size_t count) {
    json_key(json, "growth");
    json_array(json);
    for (size_t i = count > GROWTH_WINDOWS ? count - GROWTH_WINDOWS : 0; i < count; i++) {
        json_object(json);
        write_time(json, "start", windows[i].start_ms);
        write_time(json, "end", windows[i].end_ms);
        write_number(json, "series", windows[i].series_count);
        write_number(json, "samples", windows[i].sample_count);
        write_number(json, "bytes", windows[i].segment_bytes);
        json_object_end(json);
    }
    json_array_end(json);
}

static bool write_status(struct web_request *request, size_t limit, struct err *err) {
    struct tsdb *db = request->web->opts.db;
    struct tsdb_stats stats;
    struct tsdb_cardinality c;
    struct tsdb_window *windows;
    size_t window_count;
    if (!tsdb_windows(db, false, &request->arena, &windows, &window_count, err)) {
        return false;
    }
    tsdb_cardinality(db, limit, &request->arena, &c);
    tsdb_stats(db, &stats);
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "headStats");
    json_object(&json);
    write_number(&json, "numSeries", c.series_count);
    write_number(&json, "numLabelPairs", c.pair_count);
    write_number(&json, "chunkCount", stats.chunk_count);
    write_time(&json, "minTime", stats.t_min_ms);
    write_time(&json, "maxTime", stats.t_max_ms);
    json_object_end(&json);
    write_list(&json, "seriesCountByMetricName", &c.series_by_metric);
    write_list(&json, "labelValueCountByLabelName", &c.values_by_label);
    write_list(&json, "memoryInBytesByLabelName", &c.bytes_by_label);
    write_list(&json, "seriesCountByLabelValuePair", &c.series_by_pair);
    /* From here on ours. */
    write_number(&json, "numLabelNames", c.name_count);
    write_number(&json, "seriesCreated", c.created_total);
    write_number(&json, "seriesLeft", c.left_total);
    write_list(&json, "seriesCreatedByMetricName", &c.created_by_metric);
    write_growth(&json, windows, window_count);
    write_number(&json, "journalBytes", stats.journal_bytes);
    write_number(&json, "storeBytes", stats.store_bytes);
    json_object_end(&json);
    web_json_close(request, &json);
    return true;
}

void api_tsdb_status(struct web_request *request) {
    struct str text = web_param(request, "limit");
    struct err err = ERR_INIT;
    int64_t limit = LIMIT_DEFAULT;
    if (text.len > 0 && (!str_parse_i64(text, &limit) || limit < 1)) {
        err_set(&err, ERR_INVALID, "limit must be a positive number");
    } else if (limit > LIMIT_MAX) {
        err_set(&err, ERR_INVALID, "limit must not exceed %d", LIMIT_MAX);
    }
    if (err.code != ERR_NONE || !write_status(request, (size_t)limit, &err)) {
        web_reply_error(request, &err);
    }
}
