/* What stands under /api/v1/status: build, configuration, flags, runtime, store. */

#include "base/duration.h"
#include "web/api.h"

static void put(struct json_writer *json, const char *key, const char *value) {
    json_key(json, key);
    json_cstr(json, value);
}

void api_buildinfo(struct web_request *request) {
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    /* Clients compare this with Prometheus' versions to know what the API offers. */
    put(&json, "version", "3.14.0");
    put(&json, "revision", "tocsin " TOCSIN_VERSION);
    put(&json, "branch", "");
    put(&json, "buildUser", "");
    put(&json, "buildDate", "");
    put(&json, "goVersion", "");
    put(&json, "application", "tocsin");
    put(&json, "applicationVersion", TOCSIN_VERSION);
    json_object_end(&json);
    web_json_close(request, &json);
}

void api_config(struct web_request *request) {
    struct buf text;
    buf_init(&text, 16u << 20);
    const struct web_hooks *hooks = &request->web->opts.hooks;
    if (hooks->config_text != NULL) {
        hooks->config_text(hooks->ctx, &text);
    }
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "yaml");
    json_str(&json, buf_as_str(&text));
    json_object_end(&json);
    web_json_close(request, &json);
    buf_finish(&text);
}

void api_flags(struct web_request *request) {
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    for (size_t i = 0; i < request->web->opts.flag_count; i++) {
        put(&json, request->web->opts.flags[i].name, request->web->opts.flags[i].value);
    }
    json_object_end(&json);
    web_json_close(request, &json);
}

/* As Prometheus has it, with journal records for its segments. */
void api_walreplay(struct web_request *request) {
    struct tsdb_replay replay;
    bool is_replaying = tsdb_is_replaying(request->web->opts.db, &replay);
    bool is_waiting = replay.lsn_now < replay.lsn_first;
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "min");
    json_i64(&json, (int64_t)replay.lsn_first);
    json_key(&json, "max");
    json_i64(&json, (int64_t)replay.lsn_last);
    json_key(&json, "current");
    json_i64(&json, (int64_t)replay.lsn_now);
    put(&json, "state", !is_replaying ? "done" : is_waiting ? "waiting" : "in progress");
    json_object_end(&json);
    web_json_close(request, &json);
}

void api_runtimeinfo(struct web_request *request) {
    const struct web_options *opts = &request->web->opts;
    bool is_ok = true;
    int64_t reload_ms = opts->start_ms;
    if (opts->hooks.reload_status != NULL) {
        opts->hooks.reload_status(opts->hooks.ctx, &is_ok, &reload_ms);
    }
    struct buf retention;
    buf_init(&retention, 64);
    duration_print(&retention, opts->retention_ms);
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    json_key(&json, "startTime");
    api_json_time(&json, opts->start_ms);
    put(&json, "storagePath", opts->storage_path);
    json_key(&json, "reloadConfigSuccess");
    json_bool(&json, is_ok);
    json_key(&json, "lastConfigTime");
    api_json_time(&json, reload_ms);
    json_key(&json, "serverTime");
    api_json_time(&json, clock_wall_ms(request->web->clock));
    put(&json, "storageRetention", opts->retention_ms == 0 ? "for ever" : retention.ptr);
    json_object_end(&json);
    web_json_close(request, &json);
    buf_finish(&retention);
}
