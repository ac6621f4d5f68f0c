/* /federate: the newest sample of every selected series, as text 0.0.4 with timestamps. */
#include "base/float.h"
#include "web/api.h"

static bool newest_sample(struct tsdb_querier *querier,
                          const struct tsdb_series_view *view,
                          int64_t start_ms,
                          int64_t now_ms,
                          struct tsdb_column *column,
                          struct sample *ret,
                          struct err *err) {
    if (!tsdb_read(querier, view->id, start_ms, now_ms, column, err)) {
        return false;
    }
    *ret = (struct sample){ .t_ms = INT64_MIN };
    if (column->count > 0 && !is_stale(column->values[column->count - 1])) {
        *ret = (struct sample){ .t_ms = column->t_ms[column->count - 1],
                                .value = column->values[column->count - 1] };
    }
    return true;
}

static void put_escaped(struct buf *out, struct str value) {
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\n') {
            buf_cstr(out, "\\n");
        } else {
            if (c == '"' || c == '\\') {
                buf_putc(out, '\\');
            }
            buf_putc(out, c);
        }
    }
}

static void put_line(struct buf *out, struct labels labels, const struct sample *sample) {
    struct str name = labels_get(labels, METRIC_NAME);
    bool is_legacy = metric_name_is_valid_legacy(name);
    bool is_first = true;
    if (is_legacy) {
        buf_str(out, name);
        buf_putc(out, '{');
    } else {
        buf_cstr(out, "{\"");
        put_escaped(out, name);
        buf_putc(out, '"');
        is_first = false;
    }
    for (size_t i = 0; i < labels.count; i++) {
        const struct label *label = &labels.items[i];
        if (str_eq(label->name, METRIC_NAME)) {
            continue;
        }
        bool is_plain = label_name_is_valid_legacy(label->name);
        buf_cstr(out, is_first ? "" : ",");
        buf_cstr(out, is_plain ? "" : "\"");
        put_escaped(out, label->name);
        buf_cstr(out, is_plain ? "=\"" : "\"=\"");
        put_escaped(out, label->value);
        buf_putc(out, '"');
        is_first = false;
    }
    buf_cstr(out, "} ");
    buf_float_general(out, sample->value);
    buf_putc(out, ' ');
    buf_i64(out, sample->t_ms);
    buf_putc(out, '\n');
}

/* External labels where absent, and instance="" where there is none, so that a federating server
 * does not put its own there. */
static struct labels federated_labels(struct labels labels,
                                      struct labels external,
                                      struct arena *arena) {
    struct labels_builder builder;
    labels_builder_init(&builder, arena, labels);
    for (size_t i = 0; i < external.count; i++) {
        if (labels_get(labels, external.items[i].name).len == 0) {
            labels_builder_set(&builder, external.items[i].name, external.items[i].value);
        }
    }
    return labels_builder_build(&builder);
}

static void put_line_with_instance(struct buf *out,
                                   struct labels labels,
                                   const struct sample *sample,
                                   struct arena *arena) {
    if (labels_get(labels, STR("instance")).len > 0) {
        put_line(out, labels, sample);
        return;
    }
    /* Not through the builder: an empty value is "absent" to it. */
    struct label *items = arena_calloc(arena, labels.count + 1, sizeof(*items));
    size_t at = 0;
    while (at < labels.count && str_cmp(labels.items[at].name, STR("instance")) < 0) {
        at++;
    }
    memcpy(items, labels.items, at * sizeof(*items));
    items[at] = (struct label){ .name = STR("instance"), .value = STR("") };
    memcpy(items + at + 1, labels.items + at, (labels.count - at) * sizeof(*items));
    put_line(out, (struct labels){ .items = items, .count = labels.count + 1 }, sample);
}

static bool federate(struct web_request *request,
                     const struct api_selectors *selectors,
                     struct buf *out,
                     struct err *err) {
    struct web *web = request->web;
    int64_t now_ms = clock_wall_ms(web->clock);
    int64_t lookback_ms = web->opts.query_lookback_ms == 0 ? 300000 : web->opts.query_lookback_ms;
    int64_t start_ms = now_ms - lookback_ms;
    struct labels external = web_external_labels(web, &request->arena);
    struct tsdb_querier *querier = NULL;
    struct tsdb_series_view *views = NULL;
    size_t count = 0;
    if (!tsdb_querier_open(web->opts.db, start_ms, now_ms, NULL, &querier, err)) {
        return false;
    }
    struct tsdb_column column = { 0 };
    struct str family = { 0 };
    bool is_ok = api_select(querier, selectors, &request->arena, &views, &count, err);
    for (size_t i = 0; is_ok && i < count; i++) {
        struct sample sample;
        struct str name = labels_get(views[i].labels, METRIC_NAME);
        if (name.len == 0) {
            continue; /* the format has no place for it */
        }
        if (request->is_canceled) {
            is_ok = err_set(err, ERR_CANCELED, "the client went away");
            continue;
        }
        is_ok = newest_sample(querier, &views[i], start_ms, now_ms, &column, &sample, err);
        if (!is_ok || sample.t_ms == INT64_MIN) {
            continue;
        }
        if (!str_eq(name, family) && metric_name_is_valid_legacy(name)) {
            buf_printf(out, "# TYPE %.*s untyped\n", STR_FMT(name));
        }
        family = name;
        put_line_with_instance(out, federated_labels(views[i].labels, external, &request->arena),
                               &sample, &request->arena);
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    if (is_ok && out->is_over) {
        is_ok = err_set(err, ERR_LIMIT, "the reply is larger than %d bytes", WEB_REPLY_BYTES_MAX);
    }
    return is_ok;
}

void door_federate(struct web_request *request) {
    struct api_selectors selectors;
    if (!api_selectors_parse(request, API_MATCH_FEDERATE, &selectors)) {
        return;
    }
    struct err err = ERR_INIT;
    web_reply_text(request, 200, "%s", "");
    request->reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
    if (selectors.count > 0 && !federate(request, &selectors, &request->reply.body, &err)) {
        web_reply_error_text(request, &err);
    }
    api_selectors_finish(&selectors);
}
