/* /api/v1/targets and its relatives. */
#include "base/duration.h"
#include "web/api.h"

static void write_duration(struct json_writer *json, int64_t duration_ms) {
    struct buf text;
    buf_init(&text, 64);
    duration_print(&text, duration_ms);
    json_str(json, buf_as_str(&text));
    buf_finish(&text);
}

static void write_active(struct json_writer *json, const struct ingest_target *target) {
    json_object(json);
    json_key(json, "discoveredLabels");
    api_json_labels(json, target->discovered_labels);
    json_key(json, "labels");
    api_json_labels(json, target->labels);
    json_key(json, "scrapePool");
    json_str(json, target->scrape_pool);
    json_key(json, "scrapeUrl");
    json_str(json, target->scrape_url);
    json_key(json, "globalUrl");
    json_str(json, target->global_url);
    json_key(json, "lastError");
    json_str(json, target->last_error);
    json_key(json, "lastScrape");
    api_json_time(json, target->last_scrape_ms);
    json_key(json, "lastScrapeDuration");
    json_f64(json, target->last_scrape_duration_s);
    json_key(json, "health");
    json_cstr(json, ingest_target_health_to_string(target->health));
    json_key(json, "scrapeInterval");
    write_duration(json, target->scrape_interval_ms);
    json_key(json, "scrapeTimeout");
    write_duration(json, target->scrape_timeout_ms);
    json_object_end(json);
}

static void write_dropped(struct json_writer *json, const struct ingest_target *target) {
    json_object(json);
    json_key(json, "discoveredLabels");
    api_json_labels(json, target->discovered_labels);
    json_key(json, "scrapePool");
    json_str(json, target->scrape_pool);
    json_object_end(json);
}

static void write_list(struct json_writer *json,
                       const struct ingest_target *targets,
                       size_t count,
                       struct str pool,
                       bool is_dropped) {
    json_key(json, is_dropped ? "droppedTargets" : "activeTargets");
    json_array(json);
    for (size_t i = 0; i < count; i++) {
        const struct ingest_target *target = &targets[i];
        bool is_in_pool = pool.len == 0 || str_eq(pool, target->scrape_pool);
        if (!is_in_pool || (target->health == INGEST_TARGET_DROPPED) != is_dropped) {
            continue;
        }
        if (is_dropped) {
            write_dropped(json, target);
        } else {
            write_active(json, target);
        }
    }
    json_array_end(json);
}

/* {"pool":3}: how many targets relabelling dropped. */
static void write_dropped_counts(struct json_writer *json,
                                 const struct ingest_target *targets,
                                 size_t count) {
    json_key(json, "droppedTargetCounts");
    json_object(json);
    for (size_t i = 0; i < count;) {
        size_t end = i;
        int64_t dropped = 0;
        while (end < count && str_eq(targets[end].scrape_pool, targets[i].scrape_pool)) {
            dropped += targets[end].health == INGEST_TARGET_DROPPED;
            end++;
        }
        json_key_str(json, targets[i].scrape_pool);
        json_i64(json, dropped);
        i = end;
    }
    json_object_end(json);
}

void api_targets(struct web_request *request) {
    struct ingest_target *targets = NULL;
    size_t count = 0;
    ingest_targets(request->web->opts.ingest, &request->arena, &targets, &count);
    struct str state = web_param(request, "state");
    struct str pool = web_param(request, "scrapePool");
    bool wants_any = state.len == 0 || str_eq_nocase(state, STR("any"));
    bool wants_active = wants_any || str_eq_nocase(state, STR("active"));
    bool wants_dropped = wants_any || str_eq_nocase(state, STR("dropped"));
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    write_list(&json, targets, wants_active ? count : 0, pool, false);
    write_list(&json, targets, wants_dropped ? count : 0, pool, true);
    write_dropped_counts(&json, targets, wants_dropped ? count : 0);
    json_object_end(&json);
    web_json_close(request, &json);
}

void api_targets_metadata(struct web_request *request) {
    struct json_writer json;
    web_json_open(request, &json);
    json_array(&json); /* metadata is kept per family, not per target */
    json_array_end(&json);
    web_json_close(request, &json);
}

void api_scrape_pools(struct web_request *request) {
    struct ingest_target *targets = NULL;
    size_t count = 0;
    ingest_targets(request->web->opts.ingest, &request->arena, &targets, &count);
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "scrapePools");
    json_array(&json);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !str_eq(targets[i].scrape_pool, targets[i - 1].scrape_pool)) {
            json_str(&json, targets[i].scrape_pool);
        }
    }
    json_array_end(&json);
    json_object_end(&json);
    web_json_close(request, &json);
}

void api_alertmanagers(struct web_request *request) {
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json); /* alerts go to the built-in notifier */
    json_key(&json, "activeAlertmanagers");
    json_array(&json);
    json_array_end(&json);
    json_key(&json, "droppedAlertmanagers");
    json_array(&json);
    json_array_end(&json);
    json_object_end(&json);
    web_json_close(request, &json);
}
