/*
 * The overview at "/": what fires, what was told, what comes in, where to point clients. Rendered
 * on the server, without scripts; every text that came from outside is escaped.
 */

#include "base/float.h"
#include "web/api.h"

enum {
    MESSAGES_SHOWN = 20,
};

static const char style[] =
    ":root{color-scheme:light dark;--line:#8884;--dim:#777;--crit:#c62828;--warn:#b26a00;"
    "--ok:#2e7d32}\n"
    "body{font:14px/1.45 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem}\n"
    "h1{font-size:1.3rem;margin:.2rem 0}h2{font-size:1.05rem;margin:1.6rem 0 .4rem}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;"
    "border-top:1px solid var(--line)}\n"
    "th{color:var(--dim);font-weight:500;border-top:0}\n"
    "code,pre{font:13px ui-monospace,monospace}pre{overflow:auto;padding:.6rem;"
    "border:1px solid var(--line);border-radius:4px;margin:.4rem 0}\n"
    ".dim{color:var(--dim)}.firing{color:var(--crit);font-weight:600}"
    ".pending{color:var(--warn);font-weight:600}.resolved,.good{color:var(--ok);font-weight:600}\n"
    ".facts{display:flex;flex-wrap:wrap;gap:.3rem 2rem;margin:.6rem 0}\n"
    ".facts b{font-variant-numeric:tabular-nums}details summary{cursor:pointer}\n";

void page_style(struct web_request *request) {
    web_reply_text(request, 200, "%s", "");
    buf_cstr(&request->reply.body, style);
    request->reply.content_type = "text/css; charset=utf-8";
}

/* ---- pieces ---- */

static void put_escaped(struct buf *out, struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        switch (text.ptr[i]) {
        case '&': buf_cstr(out, "&amp;"); break;
        case '<': buf_cstr(out, "&lt;"); break;
        case '>': buf_cstr(out, "&gt;"); break;
        case '"': buf_cstr(out, "&quot;"); break;
        case '\'': buf_cstr(out, "&#39;"); break;
        default: buf_putc(out, text.ptr[i]);
        }
    }
}

static void put_time(struct buf *out, int64_t t_ms) {
    char text[RFC3339_TEXT_MAX];
    if (t_ms == 0) {
        buf_cstr(out, "never");
        return;
    }
    rfc3339_from_ms(t_ms - t_ms % 1000, text);
    buf_printf(out, "%.10s %.8s UTC", text, text + 11);
}

static void put_fact(struct buf *out, const char *name, uint64_t value) {
    buf_printf(out, "<span>%s <b>%llu</b></span>\n", name, (unsigned long long)value);
}

/* All labels but the name, as {a="b"}. */
static void put_labels(struct buf *out, struct labels labels) {
    struct buf text;
    buf_init(&text, 1u << 16);
    labels_print(labels, &text);
    buf_cstr(out, "<code>");
    put_escaped(out, buf_as_str(&text));
    buf_cstr(out, "</code>");
    buf_finish(&text);
}

/* ---- sections ---- */

static void put_facts(struct web_request *request, struct buf *out) {
    const struct web_options *opts = &request->web->opts;
    struct tsdb_stats stats;
    struct notify_status status;
    struct err err = ERR_INIT;
    tsdb_stats(opts->db, &stats);
    notify_status_get(opts->notify, &request->arena, &status);
    bool is_store_ok = tsdb_health(opts->db, &err);
    buf_cstr(out, "<div class=facts>\n");
    put_fact(out, "active series", stats.series_count);
    put_fact(out, "samples stored since start", stats.samples_total);
    put_fact(out, "messages waiting", status.queued_count);
    put_fact(out, "dead letters", status.dead_count);
    buf_printf(out, "<span>store <b class=%s>%s</b></span>\n", is_store_ok ? "good" : "firing",
               is_store_ok ? "takes writes" : "refuses writes");
    buf_cstr(out, "</div>\n");
    if (!is_store_ok) {
        buf_cstr(out, "<p class=firing>");
        put_escaped(out, str_from(err.msg));
        buf_cstr(out, "</p>\n");
    }
}

static void put_alert(struct buf *out, const struct alert_view *alert) {
    char value[FLOAT_TEXT_MAX];
    struct str summary = labels_get(alert->annotations, STR("summary"));
    const char *state = alert_state_to_string(alert->state);
    buf_printf(out, "<tr><td class=%s>%s<td>", state, state);
    put_labels(out, alert->labels);
    buf_cstr(out, "<br>");
    put_escaped(out, summary);
    buf_cstr(out, "<td>");
    buf_str(out, str_n(value, float_to_general(alert->value, value)));
    buf_cstr(out, "<td>");
    put_time(out, alert->active_ms);
    buf_cstr(out, "\n");
}

static void put_alerts(struct web_request *request, struct buf *out) {
    struct rules_snapshot *snapshot = rules_snapshot(request->web->opts.rules);
    size_t rule_count = 0;
    size_t alert_count = 0;
    buf_cstr(out, "<h2>Alerts</h2>\n<table><tr><th>State<th>Alert<th>Value<th>Since\n");
    for (size_t i = 0; i < snapshot->group_count; i++) {
        const struct rule_group_view *group = snapshot->groups[i];
        rule_count += group->rule_count;
        for (size_t j = 0; j < group->rule_count; j++) {
            alert_count += group->rules[j].alert_count;
            for (size_t k = 0; k < group->rules[j].alert_count; k++) {
                put_alert(out, &group->rules[j].alerts[k]);
            }
        }
    }
    buf_cstr(out, "</table>\n");
    if (alert_count == 0) {
        buf_printf(out, "<p class=dim>None of %zu rules is pending or firing.</p>\n", rule_count);
    }
    if (snapshot->reload_ms != 0 && !snapshot->is_reload_ok) {
        buf_cstr(out, "<p class=firing>The last reload was refused:</p><pre>");
        put_escaped(out, snapshot->reload_error);
        buf_cstr(out, "</pre>\n");
    }
    rules_snapshot_unref(snapshot);
}

static void put_inbox(struct web_request *request, struct buf *out) {
    struct err err = ERR_INIT;
    struct notify_inbox_page page = { 0 };
    buf_cstr(out, "<h2>Inbox</h2>\n");
    if (!notify_inbox_list(request->web->opts.notify, 0, MESSAGES_SHOWN, &request->arena, &page,
                           &err)) {
        buf_cstr(out, "<p class=firing>");
        put_escaped(out, str_from(err.msg));
        buf_cstr(out, "</p>\n");
        return;
    }
    if (page.count == 0) {
        buf_cstr(out, "<p class=dim>No notification yet. Every one shows up here, whatever other "
                      "receivers are configured.</p>\n");
        return;
    }
    buf_cstr(out, "<table><tr><th>When<th>Status<th>Message\n");
    for (size_t i = 0; i < page.count; i++) {
        const struct notify_inbox_message *message = &page.messages[i];
        bool is_firing = str_eq_c(message->status, "firing");
        buf_cstr(out, "<tr><td class=dim>");
        put_time(out, message->at_ms);
        buf_printf(out, "<td class=%s>%s<td><details><summary>", is_firing ? "firing" : "resolved",
                   is_firing ? "firing" : "resolved");
        put_escaped(out, message->title);
        buf_cstr(out, "</summary><pre>");
        put_escaped(out, message->text);
        buf_cstr(out, "</pre></details>\n");
    }
    buf_cstr(out, "</table>\n");
}

static void put_sources(struct web_request *request, struct buf *out) {
    struct ingest_job *jobs = NULL;
    struct ingest_target *targets = NULL;
    size_t job_count = 0;
    size_t target_count = 0;
    ingest_jobs(request->web->opts.ingest, &request->arena, &jobs, &job_count);
    ingest_targets(request->web->opts.ingest, &request->arena, &targets, &target_count);
    if (job_count + target_count == 0) {
        return;
    }
    buf_cstr(out, "<h2>Sources</h2>\n<table><tr><th>Source<th>State<th>Last heard\n");
    for (size_t i = 0; i < job_count; i++) {
        buf_cstr(out, "<tr><td>pushing job <code>");
        put_escaped(out, jobs[i].job);
        buf_printf(out, "</code><td>%s, %llu workers<td class=dim>",
                   ingest_job_state_to_string(jobs[i].state),
                   (unsigned long long)jobs[i].worker_count);
        put_time(out, jobs[i].heard_ms);
        buf_putc(out, '\n');
    }
    for (size_t i = 0; i < target_count; i++) {
        buf_cstr(out, "<tr><td>target <code>");
        put_escaped(out, targets[i].scrape_url);
        buf_printf(out, "</code><td>%s ", ingest_target_health_to_string(targets[i].health));
        put_escaped(out, targets[i].last_error);
        buf_cstr(out, "<td class=dim>");
        put_time(out, targets[i].last_scrape_ms);
        buf_putc(out, '\n');
    }
    buf_cstr(out, "</table>\n");
}

static void put_doors(struct web_request *request, struct buf *out) {
    const char *address = request->web->address;
    const char *prefix = request->web->prefix;
    buf_cstr(out, "<h2>Point your client here</h2>\n<pre>");
    buf_printf(out,
               "curl http://%s%s/v1/events -d '{\"kind\":\"request\",\"app\":\"demo\","
               "\"method\":\"GET\",\"route\":\"/\",\"status\":500,\"duration_ms\":12}'\n"
               "curl http://%s%s/api/v1/query -d query=demo_requests_total\n",
               address, prefix, address, prefix);
    buf_printf(out,
               "\nremote_write: [{url: http://%s%s/api/v1/write}]\n"
               "remote_read:  [{url: http://%s%s/api/v1/read}]\n"
               "Grafana:      a Prometheus data source with URL http://%s%s</pre>\n",
               address, prefix, address, prefix, address, prefix);
}

static void put_links(struct buf *out, const char *prefix) {
    static const char *const paths[][2] = {
        { "/api/v1/alerts", "alerts" },   { "/api/v1/rules", "rules" },
        { "/api/v1/inbox", "inbox" },     { "/api/v1/notify/status", "receivers" },
        { "/api/v1/targets", "targets" }, { "/metrics", "metrics" },
        { "/ready", "readiness" },        { "/api/v1/status/config", "configuration" },
    };
    buf_cstr(out, "<p class=dim>");
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        buf_printf(out, "%s<a href=\"%s%s\">%s</a>", i == 0 ? "" : " · ", prefix, paths[i][0],
                   paths[i][1]);
    }
    buf_cstr(out, "</p>\n");
}

void page_overview(struct web_request *request) {
    web_reply_text(request, 200, "%s", "");
    struct buf *out = &request->reply.body;
    request->reply.content_type = "text/html; charset=utf-8";
    buf_printf(out,
               "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
               "<meta name=viewport content=\"width=device-width,initial-scale=1\">"
               "<meta http-equiv=refresh content=10><title>tocsin</title>"
               "<link rel=stylesheet href=\"%s/style.css\"></head><body>\n"
               "<h1>tocsin <span class=dim>%s</span></h1>\n",
               request->web->prefix, TOCSIN_VERSION);
    put_facts(request, out);
    put_alerts(request, out);
    put_inbox(request, out);
    put_sources(request, out);
    put_doors(request, out);
    put_links(out, request->web->prefix);
    buf_cstr(out, "</body></html>\n");
}
