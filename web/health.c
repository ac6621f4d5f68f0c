/* /metrics, liveness, readiness and reload. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "web/api.h"

void page_metrics(struct web_request *request) {
    enum ingest_exposition format = ingest_exposition_negotiate(web_header(request, "Accept"));
    web_reply_text(request, 200, "%s", "");
    request->reply.content_type = ingest_exposition_content_type(format);
    ingest_expose(request->web->opts.ingest, format, &request->reply.body);
}

/* ---- /health: liveness, nothing here waits for a disk or a lock held over one ---- */

static double resident_mb(void) {
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t len = read(fd, text, sizeof(text));
    close(fd);
    struct str total;
    struct str rest;
    struct str resident;
    uint64_t pages = 0;
    if (len <= 0 || !str_cut(str_n(text, (size_t)len), ' ', &total, &rest) ||
        !str_cut(rest, ' ', &resident, &rest) || !str_parse_u64(resident, &pages)) {
        return 0;
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

/* CPU of this process since the last look, in percent of one core; looks within a second share a
 * measurement. */
static double cpu_percent(struct web *web) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    int64_t now_ns = clock_mono_ns(web->clock);
    pthread_mutex_lock(&web->labels_mu);
    double elapsed_s = (double)(now_ns - web->cpu_mono_ns) / 1e9;
    if (elapsed_s >= 1) {
        bool is_first = web->cpu_mono_ns == 0;
        web->cpu_percent = is_first ? 0 : (cpu_s - web->cpu_s) / elapsed_s * 100;
        web->cpu_s = cpu_s;
        web->cpu_mono_ns = now_ns;
    }
    double percent = web->cpu_percent;
    pthread_mutex_unlock(&web->labels_mu);
    return percent;
}

void page_health(struct web_request *request) {
    struct web *web = request->web;
    int64_t now_ms = clock_wall_ms(web->clock);
    struct json_writer json;
    web_reply_text(request, 200, "%s", "");
    request->reply.content_type = "application/json";
    json_init(&json, &request->reply.body);
    json_object(&json);
    json_key(&json, "status");
    json_cstr(&json, "healthy");
    json_key(&json, "uptime_seconds");
    json_f64(&json, (double)(now_ms - web->opts.start_ms) / 1000);
    json_key(&json, "memory_usage_mb");
    json_f64(&json, resident_mb());
    json_key(&json, "cpu_percent");
    json_f64(&json, cpu_percent(web));
    json_key(&json, "active_requests");
    json_i64(&json, web->active_count);
    json_key(&json, "version");
    json_cstr(&json, TOCSIN_VERSION);
    json_object_end(&json);
}

/* ---- /ready: every dependency of the main job ---- */

static void write_check(struct json_writer *json, const char *name, bool is_ok, const char *text) {
    json_key(json, name);
    json_object(json);
    json_key(json, "healthy");
    json_bool(json, is_ok);
    json_key(json, "message");
    json_cstr(json, text);
    json_object_end(json);
}

static bool check_store(struct web_request *request, struct json_writer *json) {
    struct err err = ERR_INIT;
    bool is_ok = tsdb_health(request->web->opts.db, &err);
    struct tsdb_replay ignored;
    bool is_replaying = tsdb_is_replaying(request->web->opts.db, &ignored);
    const char *text =
        is_replaying ? "takes writes; queries wait until the journal is replayed" : "takes writes";
    write_check(json, "store", is_ok, is_ok ? text : err.msg);
    return is_ok;
}

/* Rules work when the last load did and no rule fails. */
static bool check_rules(struct web_request *request, struct json_writer *json) {
    struct rules_snapshot *snapshot = rules_snapshot(request->web->opts.rules);
    char text[512];
    size_t rule_count = 0;
    const struct rule_view *failing = NULL;
    for (size_t i = 0; i < snapshot->group_count; i++) {
        const struct rule_group_view *group = snapshot->groups[i];
        rule_count += group->rule_count;
        for (size_t j = 0; j < group->rule_count && failing == NULL; j++) {
            failing = group->rules[j].health == RULE_HEALTH_ERR ? &group->rules[j] : NULL;
        }
    }
    bool is_load_ok = snapshot->reload_ms == 0 || snapshot->is_reload_ok;
    if (!is_load_ok) {
        snprintf(text, sizeof(text), "the last reload was refused, the set before it is running");
    } else if (failing != NULL) {
        snprintf(text, sizeof(text), "rule %.*s fails: %.*s", STR_FMT(failing->name),
                 STR_FMT(failing->last_error));
    } else {
        snprintf(text, sizeof(text), "%zu rules in %zu groups", rule_count, snapshot->group_count);
    }
    rules_snapshot_unref(snapshot);
    bool is_ok = is_load_ok && failing == NULL;
    write_check(json, "rules", is_ok, text);
    return is_ok;
}

static bool check_notifier(struct web_request *request, struct json_writer *json) {
    struct buf reason;
    buf_init(&reason, 1024);
    bool is_ok =
        notify_is_healthy(request->web->opts.notify, clock_wall_ms(request->web->clock), &reason);
    write_check(json, "notifier", is_ok, is_ok ? "delivers" : reason.ptr);
    buf_finish(&reason);
    return is_ok;
}

void page_ready(struct web_request *request) {
    struct buf checks;
    buf_init(&checks, 16384);
    struct json_writer inner;
    json_init(&inner, &checks);
    json_object(&inner);
    bool is_store_ok = check_store(request, &inner);
    bool is_rules_ok = check_rules(request, &inner);
    bool is_notifier_ok = check_notifier(request, &inner);
    json_object_end(&inner);
    bool is_ready = is_store_ok && is_rules_ok && is_notifier_ok;
    web_reply_text(request, is_ready ? 200 : 503, "%s", "");
    request->reply.content_type = "application/json";
    struct json_writer json;
    json_init(&json, &request->reply.body);
    json_object(&json);
    json_key(&json, "ready");
    json_bool(&json, is_ready);
    json_key(&json, "checks");
    json_raw(&json, buf_as_str(&checks));
    json_object_end(&json);
    buf_finish(&checks);
}

void page_healthy(struct web_request *request) {
    web_reply_text(request, 200, "tocsin is Healthy.\n");
}

void page_is_ready(struct web_request *request) {
    web_reply_text(request, 200, "tocsin is Ready.\n");
}

/* ---- reload ---- */

void page_reload(struct web_request *request) {
    const struct web_options *opts = &request->web->opts;
    struct err err = ERR_INIT;
    if (!opts->enable_lifecycle || opts->hooks.reload == NULL) {
        web_reply_text(request, 403, "Lifecycle API is not enabled.\n");
    } else if (opts->hooks.reload(opts->hooks.ctx, &err)) {
        web_reply_text(request, 200, "%s", "");
    } else {
        web_reply_text(request, 500, "failed to reload config: %s\n", err.msg);
    }
}
