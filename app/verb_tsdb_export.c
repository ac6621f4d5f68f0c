/* tocsin tsdb export: samples of a directory as OpenMetrics text or lines of JSON. */
#include <math.h>
#include <stdio.h>

#include "app/tool.h"
#include "base/float.h"
#include "ingest/ingest.h"

#define JSONL_SAMPLES_MAX 10000 /* per line: readers have caps on lines */

struct export_args {
    struct tool_range range;
    struct str format;
    struct str output;
    struct str url; /* empty: from a directory */
};

struct export {
    struct tool_out out;
    struct tsdb *db;
    struct buf series; /* name and labels of the current one, as OpenMetrics writes them */
    struct buf name;   /* the metric TYPE was written for */
    uint64_t series_count;
    uint64_t sample_count;
    uint64_t stale_count; /* left out */
    uint64_t nan_count;   /* written as the ordinary NaN */
};

/* ---- OpenMetrics ---- */

static void put_label_value(struct str value, struct buf *out) {
    buf_putc(out, '"');
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\n') {
            buf_cstr(out, "\\n");
        } else if (c == '"' || c == '\\') {
            buf_putc(out, '\\');
            buf_putc(out, c);
        } else {
            buf_putc(out, c);
        }
    }
    buf_putc(out, '"');
}

static void put_series(struct labels labels, struct buf *out) {
    struct str name = labels_get(labels, METRIC_NAME);
    bool is_plain = metric_name_is_valid_legacy(name);
    buf_reset(out);
    if (is_plain) {
        buf_str(out, name);
    }
    buf_putc(out, '{');
    if (!is_plain && name.len > 0) {
        put_label_value(name, out);
    }
    bool is_first = is_plain || name.len == 0;
    for (size_t i = 0; i < labels.count; i++) {
        const struct label *label = &labels.items[i];
        if (str_eq(label->name, METRIC_NAME)) {
            continue;
        }
        buf_cstr(out, is_first ? "" : ",");
        is_first = false;
        if (label_name_is_valid_legacy(label->name)) {
            buf_str(out, label->name);
        } else {
            put_label_value(label->name, out);
        }
        buf_putc(out, '=');
        put_label_value(label->value, out);
    }
    buf_cstr(out, "} ");
}

static void put_type(void *ctx, struct str family, const struct family_metadata *metadata) {
    struct export *export = ctx;
    if (metadata->type == FAMILY_GAUGE && metric_name_is_valid_legacy(family)) {
        buf_printf(&export->out.text, "# TYPE %.*s gauge\n", STR_FMT(family));
    }
}

/* Types are told where they do not bind several metrics together: those of one family would have
 * to stand side by side, and `le` would be rewritten on the way in. */
static void begin_metric(struct export *export, struct str name) {
    if (!str_eq(name, buf_as_str(&export->name))) {
        buf_reset(&export->name);
        buf_str(&export->name, name);
        if (name.len > 0) {
            tsdb_metadata(export->db, name, put_type, export);
        }
    }
}

static void put_time(int64_t t_ms, struct buf *out) {
    uint64_t size = t_ms < 0 ? -(uint64_t)t_ms : (uint64_t)t_ms;
    buf_printf(out, "%s%llu.%03u\n", t_ms < 0 ? "-" : "", (unsigned long long)(size / 1000),
               (unsigned)(size % 1000));
}

static bool export_openmetrics(void *ctx,
                               struct labels labels,
                               bool is_first,
                               const struct tsdb_column *samples,
                               struct err *err) {
    struct export *export = ctx;
    struct buf *out = &export->out.text;
    if (is_first) {
        begin_metric(export, labels_get(labels, METRIC_NAME));
        put_series(labels, &export->series);
        export->series_count++;
    }
    for (size_t i = 0; i < samples->count; i++) {
        double value = samples->values[i];
        if (is_stale(value)) {
            export->stale_count++;
            continue;
        }
        export->nan_count += isnan(value) && double_bits(value) != NORMAL_NAN_BITS;
        buf_str(out, buf_as_str(&export->series));
        buf_float_general(out, value);
        buf_putc(out, ' ');
        put_time(samples->t_ms[i], out);
        export->sample_count++;
        if (!tool_out_flush(&export->out, err)) {
            return false;
        }
    }
    return true;
}

/* ---- lines of JSON ---- */

static bool export_rows(void *ctx, const struct ingest_rows *rows, struct err *err) {
    struct export *export = ctx;
    export->sample_count += rows->count;
    for (size_t done = 0; done < rows->count;) {
        size_t left = rows->count - done;
        struct ingest_rows piece = {
            .labels = rows->labels,
            .t_ms = rows->t_ms + done,
            .values = rows->values + done,
            .count = left < JSONL_SAMPLES_MAX ? left : JSONL_SAMPLES_MAX,
        };
        ingest_put_jsonl(&piece, &export->out.text);
        done += piece.count;
        if (!tool_out_flush(&export->out, err)) {
            return false;
        }
    }
    return true;
}

static bool export_jsonl(void *ctx,
                         struct labels labels,
                         bool is_first,
                         const struct tsdb_column *samples,
                         struct err *err) {
    struct export *export = ctx;
    export->series_count += is_first;
    struct ingest_rows rows = {
        .labels = labels,
        .t_ms = samples->t_ms,
        .values = samples->values,
        .count = samples->count,
    };
    return export_rows(export, &rows, err);
}

/* ---- the verb ---- */

static void report(const struct export *export) {
    if (export->db != NULL) {
        fprintf(stderr, "%llu series, ", (unsigned long long)export->series_count);
    }
    fprintf(stderr, "%llu samples\n", (unsigned long long)export->sample_count);
    if (export->stale_count > 0) {
        fprintf(stderr, "%llu stale markers left out: OpenMetrics cannot say them (jsonl can)\n",
                (unsigned long long)export->stale_count);
    }
    if (export->nan_count > 0) {
        fprintf(stderr, "%llu NaNs lost their payload: OpenMetrics knows one NaN (jsonl all)\n",
                (unsigned long long)export->nan_count);
    }
}

static bool export_url(struct export *export, const struct export_args *args, struct err *err) {
    CLEANUP(buf_finish) struct buf url;
    buf_init(&url, 8192);
    buf_str(&url, args->url);
    while (url.len > 0 && url.ptr[url.len - 1] == '/') {
        url.ptr[--url.len] = '\0';
    }
    buf_cstr(&url, "/api/v1/read");
    return tool_read_remote(url.ptr, &args->range, export_rows, export, err);
}

static bool export_dir(struct export *export,
                       const struct export_args *args,
                       struct str dir,
                       struct err *err) {
    bool is_jsonl = str_eq_c(args->format, "jsonl");
    if (!tool_open(dir, &export->db, err) ||
        !tool_visit(export->db, &args->range, is_jsonl ? export_jsonl : export_openmetrics, export,
                    err)) {
        return false;
    }
    buf_cstr(&export->out.text, is_jsonl ? "" : "# EOF\n");
    return true;
}

static bool run(struct export *export,
                const struct export_args *args,
                struct str dir,
                struct err *err) {
    return tool_out_open(&export->out, args->output, err) &&
           (args->url.len > 0 ? export_url(export, args, err)
                              : export_dir(export, args, dir, err)) &&
           tool_out_commit(&export->out, err);
}

/* What the flags say together; a message otherwise. */
static const char *contradiction(const struct export_args *args, size_t operand_count) {
    bool is_jsonl = str_eq_c(args->format, "jsonl");
    if (!is_jsonl && !str_eq_c(args->format, "openmetrics")) {
        return "--format is openmetrics or jsonl";
    }
    if (args->url.len > 0 && operand_count > 0) {
        return "either --url or a DIR";
    }
    if (args->url.len > 0 && !is_jsonl) {
        return "a server hands out its samples by time: --url needs --format=jsonl";
    }
    return NULL;
}

static int export(const struct export_args *args, struct str dir) {
    struct export export = { 0 };
    struct err err = ERR_INIT;
    buf_init(&export.series, SIZE_MAX);
    buf_init(&export.name, SIZE_MAX);
    bool is_ok = run(&export, args, dir, &err);
    if (is_ok) {
        report(&export);
    }
    tsdb_close(export.db);
    tool_out_finish(&export.out);
    buf_finish(&export.series);
    buf_finish(&export.name);
    return is_ok ? EXIT_FINE : tool_fail(&err);
}

int verb_tsdb_export(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--format", TOOL_TEXT, offsetof(struct export_args, format) },
        { "--output", TOOL_TEXT, offsetof(struct export_args, output) },
        { "-o", TOOL_TEXT, offsetof(struct export_args, output) },
        { "--url", TOOL_TEXT, offsetof(struct export_args, url) },
        { "--match", TOOL_LIST, offsetof(struct export_args, range.match) },
        { "--min-time", TOOL_TIME, offsetof(struct export_args, range.t_min_ms) },
        { "--max-time", TOOL_TIME, offsetof(struct export_args, range.t_max_ms) },
    };
    static const struct tool_usage usage = { "tsdb export", flags, ARRAY_LEN(flags), 1 };

    struct export_args args = { .range = TOOL_RANGE_INIT, .format = STR("openmetrics") };
    args.range.by_name = true;
    struct str dir = TOOL_DIR_DEFAULT;
    size_t operand_count = 0;
    int code = EXIT_USAGE;
    if (tool_parse(&usage, argc, argv, &args, &dir, &operand_count)) {
        const char *fault = contradiction(&args, operand_count);
        if (fault != NULL) {
            fprintf(stderr, "tocsin tsdb export: %s\n", fault);
        } else {
            code = export(&args, dir);
        }
    }
    string_list_finish(&args.range.match);
    return code;
}
