/*
 * The overview at "/": what fires, what was told, what comes in, where to point clients. Rendered
 * on the server, without scripts; every text that came from outside is escaped.
 */

#include "base/float.h"
#include "web/api.h"

enum {
    REFRESH_S = 15,
    ALERTS_SHOWN = 200,
    RULES_SHOWN = 20,
    MESSAGES_SHOWN = 20,
    SOURCES_SHOWN = 100,
};

static const char style[] =
    ":root{color-scheme:light dark;--line:#8883;--dim:#666;--crit:#b3261e;--warn:#8a5300;"
    "--ok:#256b2a;--chip:#8882}\n"
    "@media(prefers-color-scheme:dark){:root{--dim:#9a9a9a;--crit:#ff8a80;--warn:#ffb74d;"
    "--ok:#81c784}}\n"
    "body{font:13px/1.45 system-ui,sans-serif;margin:0 auto;max-width:76rem;padding:.8rem 1rem}\n"
    "h1{font-size:1.25rem;margin:0}h2{font-size:1rem;margin:1.4rem 0 .3rem}\n"
    "h2 small{font-weight:400;color:var(--dim);margin-left:.4rem}\n"
    "table{border-collapse:collapse;width:100%}\n"
    "th,td{text-align:left;vertical-align:top;padding:.22rem .9rem .22rem 0;"
    "border-top:1px solid var(--line);overflow-wrap:anywhere}\n"
    "th{color:var(--dim);font-weight:500;border-top:0;white-space:nowrap}\n"
    "th:last-child,td:last-child{padding-right:0}\n"
    ".fit{width:1%;white-space:nowrap;overflow-wrap:normal}.num{text-align:right;"
    "font-variant-numeric:tabular-nums}\n"
    "code,pre{font:12px/1.45 ui-monospace,monospace}code{background:var(--chip);"
    "border-radius:3px;padding:0 .3em;margin-right:.15rem}\n"
    "pre{overflow:auto;padding:.5rem .6rem;border:1px solid var(--line);border-radius:4px;"
    "margin:.3rem 0;white-space:pre-wrap;overflow-wrap:anywhere}\n"
    "p{margin:.3rem 0}.dim{color:var(--dim);font-weight:400}.bad{color:var(--crit);font-weight:600}"
    ".warn{color:var(--warn);font-weight:600}.good{color:var(--ok);font-weight:600}\n"
    ".facts{display:flex;flex-wrap:wrap;gap:.2rem 1.6rem;margin:.4rem 0;color:var(--dim)}\n"
    ".facts b{font-variant-numeric:tabular-nums;color:CanvasText}.facts b.bad{color:var(--crit)}"
    ".facts b.good{color:var(--ok)}summary{cursor:pointer}\n"
    "@media(max-width:40rem){.wide{display:none}}\n";

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

/* "3 m ago", with the full time behind it. */
static void put_age(struct buf *out, int64_t now_ms, int64_t t_ms) {
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = { { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 } };

    char text[RFC3339_TEXT_MAX];
    if (t_ms == 0) {
        buf_cstr(out, "never");
        return;
    }
    rfc3339_from_ms(t_ms, text);
    int64_t age_s = t_ms > now_ms ? 0 : (now_ms - t_ms) / 1000;
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(units) && age_s < 2 * units[i].seconds) {
        i++;
    }
    buf_printf(out, "<time datetime=\"%s\" title=\"%s\">%lld %s ago</time>", text, text,
               (long long)(age_s / units[i].seconds), units[i].unit);
}

static void put_fact(struct buf *out, const char *name, uint64_t value) {
    buf_printf(out, "<span>%s <b>%llu</b></span>\n", name, (unsigned long long)value);
}

static void put_more(struct buf *out, size_t total, size_t shown) {
    if (total > shown) {
        buf_printf(out, "<p class=dim>%zu more are not shown.</p>\n", total - shown);
    }
}

/* All labels but `without`, one chip each. */
static void put_labels(struct buf *out, struct labels labels, struct str without) {
    for (size_t i = 0; i < labels.count; i++) {
        if (str_eq(labels.items[i].name, without)) {
            continue;
        }
        buf_cstr(out, "<code>");
        put_escaped(out, labels.items[i].name);
        buf_cstr(out, "=&quot;");
        put_escaped(out, labels.items[i].value);
        buf_cstr(out, "&quot;</code> ");
    }
}

/* ---- what fires ---- */

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
    put_fact(out, "samples since start", stats.samples_total);
    put_fact(out, "messages waiting", status.queued_count);
    put_fact(out, "dead letters", status.dead_count);
    buf_printf(out, "<span>store <b class=%s>%s</b></span>\n", is_store_ok ? "good" : "bad",
               is_store_ok ? "takes writes" : "refuses writes");
    buf_cstr(out, "</div>\n");
    if (!is_store_ok) {
        buf_cstr(out, "<p class=bad>");
        put_escaped(out, str_from(err.msg));
        buf_cstr(out, "</p>\n");
    }
}

static void put_alert(struct buf *out, const struct alert_view *alert, int64_t now_ms) {
    char value[FLOAT_TEXT_MAX];
    bool is_firing = alert->state == ALERT_FIRING;
    buf_printf(out, "<tr><td class=\"fit %s\">%s<td><b>", is_firing ? "bad" : "warn",
               alert_state_to_string(alert->state));
    put_escaped(out, labels_get(alert->labels, STR("alertname")));
    buf_cstr(out, "</b> ");
    put_labels(out, alert->labels, STR("alertname"));
    struct str summary = labels_get(alert->annotations, STR("summary"));
    if (summary.len > 0) {
        buf_cstr(out, "<br>");
        put_escaped(out, summary);
    }
    buf_cstr(out, "<td class=\"fit num wide\">");
    buf_str(out, str_n(value, float_to_general(alert->value, value)));
    buf_cstr(out, "<td class=\"fit dim\">");
    put_age(out, now_ms, alert->active_ms);
    buf_putc(out, '\n');
}

/* Alerts in one state, as long as there is room; returns how many there are. */
static size_t put_alerts_in(struct buf *out,
                            const struct rules_snapshot *snapshot,
                            enum alert_state state,
                            int64_t now_ms,
                            size_t room) {
    size_t count = 0;
    for (size_t i = 0; i < snapshot->group_count; i++) {
        for (size_t j = 0; j < snapshot->groups[i]->rule_count; j++) {
            const struct rule_view *rule = &snapshot->groups[i]->rules[j];
            for (size_t k = 0; k < rule->alert_count; k++) {
                if (rule->alerts[k].state == state && count++ < room) {
                    put_alert(out, &rule->alerts[k], now_ms);
                }
            }
        }
    }
    return count;
}

/* What keeps rules from working: a refused reload, failing expressions. */
static void put_rule_faults(struct buf *out, const struct rules_snapshot *snapshot) {
    if (snapshot->reload_ms != 0 && !snapshot->is_reload_ok) {
        buf_cstr(out, "<p class=bad>The last reload was refused; the set before it is "
                      "running.</p><pre>");
        put_escaped(out, snapshot->reload_error);
        buf_cstr(out, "</pre>\n");
    }
    size_t count = 0;
    for (size_t i = 0; i < snapshot->group_count; i++) {
        for (size_t j = 0; j < snapshot->groups[i]->rule_count; j++) {
            const struct rule_view *rule = &snapshot->groups[i]->rules[j];
            if (rule->health == RULE_HEALTH_ERR && count++ < RULES_SHOWN) {
                buf_cstr(out, "<p><span class=bad>rule ");
                put_escaped(out, rule->name);
                buf_cstr(out, " fails:</span> ");
                put_escaped(out, rule->last_error);
                buf_cstr(out, "</p>\n");
            }
        }
    }
    put_more(out, count, RULES_SHOWN);
}

static void put_alerts(struct buf *out, const struct rules_snapshot *snapshot, int64_t now_ms) {
    struct buf rows;
    buf_init(&rows, 16u << 20);
    size_t firing = put_alerts_in(&rows, snapshot, ALERT_FIRING, now_ms, ALERTS_SHOWN);
    size_t room = firing < ALERTS_SHOWN ? ALERTS_SHOWN - firing : 0;
    size_t pending = put_alerts_in(&rows, snapshot, ALERT_PENDING, now_ms, room);
    size_t rule_count = 0;
    for (size_t i = 0; i < snapshot->group_count; i++) {
        rule_count += snapshot->groups[i]->rule_count;
    }
    buf_printf(out, "<h2>Alerts<small>%zu firing, %zu pending, %zu rules</small></h2>\n", firing,
               pending, rule_count);
    put_rule_faults(out, snapshot);
    if (firing + pending > 0) {
        buf_cstr(out, "<table><tr><th>State<th>Alert<th class=\"num wide\">Value<th>Since\n");
        buf_str(out, buf_as_str(&rows));
        buf_cstr(out, "</table>\n");
        put_more(out, firing + pending, ALERTS_SHOWN);
    } else {
        buf_cstr(out, "<p class=dim>All quiet.</p>\n");
    }
    buf_finish(&rows);
}

/* ---- what was told ---- */

static void put_message(struct buf *out,
                        const struct notify_inbox_message *message,
                        int64_t now_ms) {
    bool is_firing = str_eq_c(message->status, "firing");
    buf_printf(out, "<tr><td class=\"fit %s\">%s<td><details><summary>", is_firing ? "bad" : "good",
               is_firing ? "firing" : "resolved");
    put_escaped(out, message->title);
    buf_cstr(out, "</summary><pre>");
    put_escaped(out, message->text);
    buf_cstr(out, "</pre></details><td class=\"fit wide\">");
    put_escaped(out, message->receiver);
    buf_cstr(out, "<td class=\"fit dim\">");
    put_age(out, now_ms, message->at_ms);
    buf_putc(out, '\n');
}

static void put_inbox(struct web_request *request, struct buf *out, int64_t now_ms) {
    struct err err = ERR_INIT;
    struct notify_inbox_page page = { 0 };
    bool is_ok = notify_inbox_list(request->web->opts.notify, 0, MESSAGES_SHOWN, &request->arena,
                                   &page, &err);
    buf_printf(out, "<h2>Inbox<small>%llu messages</small></h2>\n", (unsigned long long)page.total);
    if (!is_ok) {
        buf_cstr(out, "<p class=bad>");
        put_escaped(out, str_from(err.msg));
        buf_cstr(out, "</p>\n");
    } else if (page.count == 0) {
        buf_cstr(out, "<p class=dim>No message to a receiver with an inbox yet.</p>\n");
    } else {
        buf_cstr(out, "<table><tr><th>Status<th>Message<th class=wide>Receiver<th>When\n");
        for (size_t i = 0; i < page.count; i++) {
            put_message(out, &page.messages[i], now_ms);
        }
        buf_cstr(out, "</table>\n");
    }
}

static void put_receiver(struct buf *out, const struct notify_receiver_view *view, int64_t now_ms) {
    bool is_failing = view->failures_in_a_row > 0;
    buf_cstr(out, "<tr><td class=fit>");
    put_escaped(out, view->receiver);
    buf_cstr(out, "<td class=fit>");
    put_escaped(out, view->integration);
    buf_printf(out, "<td class=%s>%s <span class=dim>", is_failing ? "bad" : "good",
               is_failing ? "failing" : "ok");
    put_escaped(out, is_failing ? view->last_error : (struct str){ .ptr = "" });
    buf_printf(out,
               "</span><td class=\"fit num wide\">%llu<td class=\"fit num wide\">%llu"
               "<td class=\"fit dim\">",
               (unsigned long long)view->queued_count, (unsigned long long)view->dead_count);
    put_age(out, now_ms, view->last_success_ms);
    buf_putc(out, '\n');
}

static void put_receivers(struct web_request *request, struct buf *out, int64_t now_ms) {
    struct notify_status status;
    notify_status_get(request->web->opts.notify, &request->arena, &status);
    if (status.receiver_count == 0) {
        return;
    }
    buf_cstr(out, "<h2>Receivers</h2>\n<table><tr><th>Receiver<th>By<th>State"
                  "<th class=\"num wide\">Waiting<th class=\"num wide\">Dead<th>Delivered\n");
    for (size_t i = 0; i < status.receiver_count; i++) {
        put_receiver(out, &status.receivers[i], now_ms);
    }
    buf_cstr(out, "</table>\n");
}

/* ---- what comes in ---- */

static void put_job(struct buf *out, const struct ingest_job *job, int64_t now_ms) {
    buf_cstr(out, "<tr><td class=fit>push<td>");
    put_escaped(out, job->job);
    buf_printf(out, "<td class=%s>%s <span class=dim>%llu worker%s</span><td class=\"fit dim\">",
               job->state == INGEST_JOB_DOWN ? "bad" : "good",
               ingest_job_state_to_string(job->state), (unsigned long long)job->worker_count,
               job->worker_count == 1 ? "" : "s");
    put_age(out, now_ms, job->heard_ms);
    buf_putc(out, '\n');
}

static void put_target(struct buf *out, const struct ingest_target *target, int64_t now_ms) {
    buf_cstr(out, "<tr><td class=fit>scrape<td>");
    put_escaped(out, target->scrape_pool);
    buf_cstr(out, " <span class=dim>");
    put_escaped(out, target->scrape_url);
    buf_printf(out, "</span><td class=%s>%s <span class=dim>",
               target->health == INGEST_TARGET_DOWN ? "bad" : "good",
               ingest_target_health_to_string(target->health));
    put_escaped(out, target->last_error);
    buf_cstr(out, "</span><td class=\"fit dim\">");
    put_age(out, now_ms, target->last_scrape_ms);
    buf_putc(out, '\n');
}

static void put_sources(struct web_request *request, struct buf *out, int64_t now_ms) {
    struct ingest_job *jobs = NULL;
    struct ingest_target *targets = NULL;
    size_t job_count = 0;
    size_t target_count = 0;
    ingest_jobs(request->web->opts.ingest, &request->arena, &jobs, &job_count);
    ingest_targets(request->web->opts.ingest, &request->arena, &targets, &target_count);
    if (job_count + target_count == 0) {
        return;
    }
    buf_cstr(out, "<h2>Sources</h2>\n<table><tr><th>By<th>Source<th>State<th>Heard\n");
    for (size_t i = 0; i < job_count && i < SOURCES_SHOWN; i++) {
        put_job(out, &jobs[i], now_ms);
    }
    size_t active_count = 0;
    for (size_t i = 0; i < target_count; i++) {
        if (targets[i].health != INGEST_TARGET_DROPPED && active_count++ < SOURCES_SHOWN) {
            put_target(out, &targets[i], now_ms);
        }
    }
    buf_cstr(out, "</table>\n");
    put_more(out, job_count, SOURCES_SHOWN);
    put_more(out, active_count, SOURCES_SHOWN);
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

static size_t firing_count(const struct rules_snapshot *snapshot) {
    struct buf nowhere;
    buf_init(&nowhere, 0);
    size_t count = put_alerts_in(&nowhere, snapshot, ALERT_FIRING, 0, 0);
    buf_finish(&nowhere);
    return count;
}

void page_overview(struct web_request *request) {
    web_reply_text(request, 200, "%s", "");
    struct buf *out = &request->reply.body;
    int64_t now_ms = clock_wall_ms(request->web->clock);
    struct rules_snapshot *snapshot = rules_snapshot(request->web->opts.rules);
    size_t firing = firing_count(snapshot);
    request->reply.content_type = "text/html; charset=utf-8";
    buf_printf(out,
               "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
               "<meta name=viewport content=\"width=device-width,initial-scale=1\">"
               "<meta http-equiv=refresh content=%d><title>",
               REFRESH_S);
    if (firing > 0) {
        buf_printf(out, "(%zu) ", firing);
    }
    buf_printf(out,
               "tocsin</title><link rel=stylesheet href=\"%s/style.css\"></head><body>\n"
               "<h1>tocsin <small class=dim>%s</small></h1>\n",
               request->web->prefix, TOCSIN_VERSION);
    put_facts(request, out);
    put_alerts(out, snapshot, now_ms);
    put_inbox(request, out, now_ms);
    put_receivers(request, out, now_ms);
    put_sources(request, out, now_ms);
    put_doors(request, out);
    put_links(out, request->web->prefix);
    buf_cstr(out, "</body></html>\n");
    rules_snapshot_unref(snapshot);
}
