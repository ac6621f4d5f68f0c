/* The registry as a page of metrics: text 0.0.4 and OpenMetrics 1.0. */
#include <assert.h>
#include <math.h>

#include "base/float.h"
#include "ingest/monitor.h"

static const char *const content_types[] = {
    [INGEST_EXPOSITION_TEXT_0_0_4] = "text/plain; version=0.0.4; charset=utf-8",
    [INGEST_EXPOSITION_OPENMETRICS_1_0_0] =
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
};
static_assert(ARRAY_LEN(content_types) == INGEST_EXPOSITION_COUNT, "every format has a type");

const char *ingest_exposition_content_type(enum ingest_exposition format) {
    assert(format < INGEST_EXPOSITION_COUNT);
    return content_types[format];
}

/* ---- negotiation ---- */

struct accepted {
    struct str media;
    struct str version; /* empty when absent */
    double quality;
};

static struct accepted accepted_parse(struct str item) {
    struct accepted accepted = { .quality = 1 };
    struct str params;
    str_cut(item, ';', &accepted.media, &params);
    accepted.media = str_trim(accepted.media);
    while (params.len > 0) {
        struct str param;
        struct str name;
        struct str value;
        str_cut(params, ';', &param, &params);
        str_cut(str_trim(param), '=', &name, &value);
        if (str_eq_nocase(name, STR("q")) && !str_parse_f64(value, &accepted.quality)) {
            accepted.quality = 0;
        } else if (str_eq_nocase(name, STR("version"))) {
            accepted.version = value;
        }
    }
    return accepted;
}

enum ingest_exposition ingest_exposition_negotiate(struct str accept) {
    double quality[INGEST_EXPOSITION_COUNT] = { 0 };
    while (accept.len > 0) {
        struct str item;
        str_cut(accept, ',', &item, &accept);
        struct accepted accepted = accepted_parse(item);
        if (str_eq_nocase(accepted.media, STR("application/openmetrics-text"))) {
            bool is_known = accepted.version.len == 0 || str_eq_c(accepted.version, "1.0.0");
            double *best = &quality[INGEST_EXPOSITION_OPENMETRICS_1_0_0];
            *best = is_known ? fmax(*best, accepted.quality) : *best;
        } else if (str_eq_nocase(accepted.media, STR("text/plain")) ||
                   str_eq_nocase(accepted.media, STR("text/*")) ||
                   str_eq_nocase(accepted.media, STR("*/*"))) {
            double *best = &quality[INGEST_EXPOSITION_TEXT_0_0_4];
            *best = fmax(*best, accepted.quality);
        }
    }
    double openmetrics = quality[INGEST_EXPOSITION_OPENMETRICS_1_0_0];
    return openmetrics > 0 && openmetrics >= quality[INGEST_EXPOSITION_TEXT_0_0_4]
               ? INGEST_EXPOSITION_OPENMETRICS_1_0_0
               : INGEST_EXPOSITION_TEXT_0_0_4;
}

/* ---- writing ---- */

struct page {
    struct buf *out;
    enum ingest_exposition format;
    const char *family; /* of the lines written last */
};

static void put_escaped(struct buf *out, const char *text, bool escape_quotes) {
    for (; *text != '\0'; text++) {
        if (*text == '\\' || (*text == '"' && escape_quotes)) {
            buf_putc(out, '\\');
            buf_putc(out, *text);
        } else if (*text == '\n') {
            buf_cstr(out, "\\n");
        } else {
            buf_putc(out, *text);
        }
    }
}

static void put_family(struct page *page, const struct metric_view *view) {
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter",
        [METRIC_GAUGE] = "gauge",
        [METRIC_HISTOGRAM] = "histogram",
    };
    static_assert(ARRAY_LEN(types) == METRIC_TYPE_COUNT, "every type has a name");
    bool is_openmetrics = page->format == INGEST_EXPOSITION_OPENMETRICS_1_0_0;
    struct str name = str_from(view->name);
    if (is_openmetrics && view->type == METRIC_COUNTER && str_ends_with(name, STR("_total"))) {
        name.len -= strlen("_total");
    }
    buf_printf(page->out, "# HELP %.*s ", STR_FMT(name));
    put_escaped(page->out, view->help, is_openmetrics);
    buf_printf(page->out, "\n# TYPE %.*s %s\n", STR_FMT(name), types[view->type]);
}

static void put_line(struct page *page,
                     const struct metric_view *view,
                     const char *suffix,
                     struct str le,
                     double value) {
    struct buf *out = page->out;
    buf_cstr(out, view->name);
    buf_cstr(out, suffix);
    char separator = '{';
    for (size_t i = 0; view->label_pairs != NULL && view->label_pairs[i] != NULL; i += 2) {
        buf_putc(out, separator);
        buf_cstr(out, view->label_pairs[i]);
        buf_cstr(out, "=\"");
        put_escaped(out, view->label_pairs[i + 1], true);
        buf_putc(out, '"');
        separator = ',';
    }
    if (le.len > 0) {
        buf_printf(out, "%cle=\"%.*s\"", separator, STR_FMT(le));
        separator = ',';
    }
    buf_cstr(out, separator == '{' ? " " : "} ");
    buf_float_general(out, value);
    buf_putc(out, '\n');
}

static void put_view(void *ctx, const struct metric_view *view) {
    struct page *page = ctx;
    if (page->family == NULL || strcmp(page->family, view->name) != 0) {
        put_family(page, view);
        page->family = view->name;
    }
    if (view->type != METRIC_HISTOGRAM) {
        put_line(page, view, "", STR(""), view->value);
        return;
    }
    for (size_t i = 0; i <= view->bound_count; i++) {
        char text[BOUND_TEXT_MAX];
        double bound = i < view->bound_count ? view->bounds[i] : (double)INFINITY;
        put_line(page, view, "_bucket", bound_to_text(bound, text), (double)view->bucket_counts[i]);
    }
    put_line(page, view, "_sum", STR(""), view->sum);
    put_line(page, view, "_count", STR(""), (double)view->bucket_counts[view->bound_count]);
}

void ingest_expose(struct ingest *ingest, enum ingest_exposition format, struct buf *out) {
    monitor_refresh(ingest->monitor);
    struct page page = { .out = out, .format = format };
    if (ingest->metrics != NULL) {
        metric_collect(ingest->metrics, put_view, &page);
    }
    if (format == INGEST_EXPOSITION_OPENMETRICS_1_0_0) {
        buf_cstr(out, "# EOF\n");
    }
}
