/* The table of routes, and how a target finds its row. */
#include "web/handlers.h"
#include "web/server.h"

#define FORM_BYTES  (1u << 20)
#define BODY_BYTES  (32u << 20)
#define READ_BYTES  (1u << 20)
#define QUERY_VERBS (WEB_GET | WEB_POST)

const struct web_route web_routes[] = {
    { "/", WEB_GET, WEB_SERVICE, page_overview, 0, false },
    { "/style.css", WEB_GET, WEB_INLINE, page_style, 0, false },
    { "/metrics", WEB_GET, WEB_SERVICE, page_metrics, 0, false },
    { "/health", WEB_GET, WEB_INLINE, page_health, 0, false },
    { "/ready", WEB_GET, WEB_SERVICE, page_ready, 0, false },
    { "/-/healthy", WEB_GET, WEB_INLINE, page_healthy, 0, false },
    { "/-/ready", WEB_GET, WEB_INLINE, page_is_ready, 0, false },
    { "/-/reload", WEB_POST | WEB_PUT, WEB_SERVICE, page_reload, FORM_BYTES, false },
    { "/federate", WEB_GET, WEB_QUERY, door_federate, 0, false },

    { "/v1/events", WEB_POST, WEB_ASYNC, door_events, BODY_BYTES, false },
    { "/api/v1/write", WEB_POST, WEB_ASYNC, door_write, BODY_BYTES, false },
    { "/api/v1/import/prometheus", WEB_POST | WEB_PUT, WEB_ASYNC, door_import, BODY_BYTES, false },
    { "/api/v1/read", WEB_POST, WEB_QUERY, door_read, READ_BYTES, false },

    { "/api/v1/query", QUERY_VERBS, WEB_QUERY, api_query, FORM_BYTES, true },
    { "/api/v1/query_range", QUERY_VERBS, WEB_QUERY, api_query_range, FORM_BYTES, true },
    { "/api/v1/query_exemplars", QUERY_VERBS, WEB_SERVICE, api_query_exemplars, FORM_BYTES, true },
    { "/api/v1/format_query", QUERY_VERBS, WEB_SERVICE, api_format_query, FORM_BYTES, true },
    { "/api/v1/parse_query", QUERY_VERBS, WEB_SERVICE, api_parse_query, FORM_BYTES, true },
    { "/api/v1/series", QUERY_VERBS, WEB_QUERY, api_series, FORM_BYTES, true },
    { "/api/v1/labels", QUERY_VERBS, WEB_QUERY, api_labels, FORM_BYTES, true },
    { "/api/v1/label/{name}/values", WEB_GET, WEB_QUERY, api_label_values, 0, false },
    { "/api/v1/metadata", WEB_GET, WEB_SERVICE, api_metadata, 0, false },
    { "/api/v1/rules", WEB_GET, WEB_SERVICE, api_rules, 0, false },
    { "/api/v1/alerts", WEB_GET, WEB_SERVICE, api_alerts, 0, false },
    { "/api/v1/targets", WEB_GET, WEB_SERVICE, api_targets, 0, false },
    { "/api/v1/targets/metadata", WEB_GET, WEB_SERVICE, api_targets_metadata, 0, false },
    { "/api/v1/scrape_pools", WEB_GET, WEB_SERVICE, api_scrape_pools, 0, false },
    { "/api/v1/alertmanagers", WEB_GET, WEB_INLINE, api_alertmanagers, 0, false },
    { "/api/v1/status/buildinfo", WEB_GET, WEB_INLINE, api_buildinfo, 0, false },
    { "/api/v1/status/config", WEB_GET, WEB_SERVICE, api_config, 0, false },
    { "/api/v1/status/flags", WEB_GET, WEB_INLINE, api_flags, 0, false },
    { "/api/v1/status/runtimeinfo", WEB_GET, WEB_SERVICE, api_runtimeinfo, 0, false },
    { "/api/v1/status/walreplay", WEB_GET, WEB_INLINE, api_walreplay, 0, false },
    { "/api/v1/status/tsdb", WEB_GET, WEB_QUERY, api_tsdb_status, 0, false },
    { "/api/v1/admin/tsdb/snapshot", WEB_POST | WEB_PUT, WEB_SERVICE, api_admin_snapshot,
      FORM_BYTES, true },
    { "/api/v1/admin/tsdb/delete_series", WEB_POST | WEB_PUT, WEB_QUERY, api_admin_delete_series,
      FORM_BYTES, true },
    { "/api/v1/admin/tsdb/clean_tombstones", WEB_POST | WEB_PUT, WEB_SERVICE,
      api_admin_clean_tombstones, FORM_BYTES, true },
    { "/api/v1/inbox", WEB_GET, WEB_SERVICE, api_inbox, 0, false },
    { "/api/v1/notify/status", WEB_GET, WEB_SERVICE, api_notify_status, 0, false },
    { "/api/v1/notify/dead_letters", WEB_GET, WEB_SERVICE, api_dead_letters, 0, false },
    { "/api/v1/notify/test", WEB_POST, WEB_SERVICE, api_notify_test, FORM_BYTES, true },
};
const size_t web_route_count = ARRAY_LEN(web_routes);

/* ---- finding ---- */

static const struct {
    const char *name;
    enum web_method method;
} methods[] = {
    { "GET", WEB_GET }, { "HEAD", WEB_HEAD },     { "POST", WEB_POST },
    { "PUT", WEB_PUT }, { "DELETE", WEB_DELETE }, { "OPTIONS", WEB_OPTIONS },
};

/* Match segment by segment; "{name}" takes one non-empty segment, still encoded, into *ret. */
static bool path_matches(const char *pattern, struct str path, struct str *ret) {
    struct str rest = str_from(pattern);
    bool has_pattern = true;
    bool has_path = true;
    while (has_pattern && has_path) {
        struct str want;
        struct str have;
        has_pattern = str_cut(rest, '/', &want, &rest);
        has_path = str_cut(path, '/', &have, &path);
        if (want.len > 0 && want.ptr[0] == '{') {
            if (have.len == 0) {
                return false;
            }
            *ret = have;
        } else if (!str_eq(want, have)) {
            return false;
        }
    }
    return has_pattern == has_path;
}

static void reply_method_not_allowed(struct web_request *request, unsigned allowed) {
    struct buf list;
    buf_init(&list, 128);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if ((allowed & methods[i].method) != 0) {
            buf_printf(&list, "%s%s", list.len == 0 ? "" : ", ", methods[i].name);
        }
    }
    web_reply_text(request, 405, "method not allowed; use %s\n", list.ptr);
    web_reply_header(request, "Allow", arena_str(&request->arena, buf_as_str(&list)).ptr);
    buf_finish(&list);
}

/* A path with its route; HEAD is answered where GET is, OPTIONS everywhere. */
static bool find_row(struct web_request *request, struct str raw_path) {
    for (size_t i = 0; i < web_route_count; i++) {
        const struct web_route *route = &web_routes[i];
        struct str segment = { 0 };
        if (!path_matches(route->path, raw_path, &segment)) {
            continue;
        }
        if (segment.len > 0 &&
            !web_url_decode(&request->arena, segment, false, &request->path_value)) {
            web_reply_text(request, 400, "malformed escape in the path\n");
            return false;
        }
        if (request->method == WEB_OPTIONS) {
            web_reply_text(request, 204, "%s", "");
            request->reply.content_type = NULL;
            return false;
        }
        unsigned allowed = route->methods | ((route->methods & WEB_GET) != 0 ? WEB_HEAD : 0U);
        if ((allowed & request->method) == 0) {
            reply_method_not_allowed(request, allowed | WEB_OPTIONS);
            return false;
        }
        request->route = route;
        return true;
    }
    web_reply_text(request, 404, "404 page not found\n");
    return false;
}

static bool find_method(struct web_request *request, const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (strcmp(methods[i].name, name) == 0) {
            request->method = methods[i].method;
            return true;
        }
    }
    web_reply_text(request, 405, "unknown method\n");
    web_reply_header(request, "Connection", "close");
    return false;
}

bool web_route_find(struct web_request *request, const char *method) {
    struct str target = str_from(request->raw_url);
    if (!find_method(request, method)) {
        return false;
    }
    if (target.len > WEB_URL_BYTES_MAX) {
        web_reply_text(request, 414, "the URL has more than %d bytes\n", WEB_URL_BYTES_MAX);
        return false;
    }
    if (target.len == 0 || target.ptr[0] != '/') {
        web_reply_text(request, 400, "the request target is not a path\n");
        return false;
    }
    struct str raw_path;
    struct str query;
    str_cut(target, '?', &raw_path, &query);
    struct str prefix = str_from(request->web->prefix);
    bool is_inside = str_starts_with(raw_path, prefix) &&
                     (raw_path.len == prefix.len || raw_path.ptr[prefix.len] == '/');
    if (!is_inside) {
        web_reply_text(request, 404, "404 page not found\n");
        return false;
    }
    struct str inside = str_n(raw_path.ptr + prefix.len, raw_path.len - prefix.len);
    inside = inside.len == 0 ? STR("/") : inside;
    request->path = inside;
    struct err err = ERR_INIT;
    if (!find_row(request, inside)) {
        return false;
    }
    if (!web_params_add(request, query, &err)) {
        web_reply_error(request, &err);
        return false;
    }
    return true;
}
