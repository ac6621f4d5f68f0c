/* tocsin tsdb list: the windows of a data directory and what is not sealed yet. */
#include "app/tool.h"
#include "base/duration.h"
#include "base/json.h"

struct list_args {
    bool is_json;
};

static uint64_t window_bytes(const struct tsdb_window *window) {
    return window->segment_bytes + window->row_bytes + window->index_bytes;
}

static double per_sample(uint64_t bytes, uint64_t samples) {
    return samples == 0 ? 0 : (double)bytes / (double)samples;
}

static void print_json_time(struct json_writer *json, const char *key, int64_t t_ms) {
    json_key(json, key);
    json_i64(json, t_ms);
}

static void print_json_count(struct json_writer *json, const char *key, uint64_t count) {
    json_key(json, key);
    json_u64(json, count);
}

static void print_json(const struct tsdb_window *windows,
                       size_t count,
                       const struct tsdb_stats *stats,
                       struct buf *out) {
    struct json_writer json;
    json_init(&json, out);
    json_object(&json);
    json_key(&json, "windows");
    json_array(&json);
    for (size_t i = 0; i < count; i++) {
        const struct tsdb_window *window = &windows[i];
        json_object(&json);
        print_json_time(&json, "start", window->start_ms);
        print_json_time(&json, "end", window->end_ms);
        print_json_time(&json, "minTime", window->t_min_ms);
        print_json_time(&json, "maxTime", window->t_max_ms);
        print_json_count(&json, "series", window->series_count);
        print_json_count(&json, "samples", window->sample_count);
        print_json_count(&json, "chunks", window->chunk_count);
        print_json_count(&json, "segmentBytes", window->segment_bytes);
        print_json_count(&json, "rowBytes", window->row_bytes);
        print_json_count(&json, "indexBytes", window->index_bytes);
        json_object_end(&json);
    }
    json_array_end(&json);
    json_key(&json, "head");
    json_object(&json);
    print_json_count(&json, "series", stats->series_count);
    print_json_count(&json, "openChunks", stats->chunk_count);
    json_object_end(&json);
    print_json_count(&json, "journalBytes", stats->journal_bytes);
    print_json_count(&json, "storeBytes", stats->store_bytes);
    json_object_end(&json);
    buf_putc(out, '\n');
}

static void print_line(struct buf *out,
                       const char *from,
                       const char *to,
                       const char *span,
                       const struct tsdb_window *sum) {
    buf_printf(out, "%-24s  %-24s  %6s  %10llu  %12llu  %10llu  %13llu  %13llu  %13llu  %12.3f\n",
               from, to, span, (unsigned long long)sum->series_count,
               (unsigned long long)sum->sample_count, (unsigned long long)sum->chunk_count,
               (unsigned long long)sum->segment_bytes, (unsigned long long)sum->row_bytes,
               (unsigned long long)sum->index_bytes,
               per_sample(window_bytes(sum), sum->sample_count));
}

static void print_text(const struct tsdb_window *windows,
                       size_t count,
                       const struct tsdb_stats *stats,
                       struct buf *out) {
    buf_printf(out, "%-24s  %-24s  %6s  %10s  %12s  %10s  %13s  %13s  %13s  %12s\n", "FROM", "TO",
               "SPAN", "SERIES", "SAMPLES", "CHUNKS", "SEGMENT BYTES", "ROW BYTES", "INDEX BYTES",
               "BYTES/SAMPLE");
    struct tsdb_window total = { 0 };
    for (size_t i = 0; i < count; i++) {
        const struct tsdb_window *window = &windows[i];
        char from[RFC3339_TEXT_MAX] = "-";
        char to[RFC3339_TEXT_MAX] = "-";
        if (window->sample_count > 0) {
            rfc3339_from_ms(window->t_min_ms, from);
            rfc3339_from_ms(window->t_max_ms, to);
        }
        CLEANUP(buf_finish) struct buf span;
        buf_init(&span, 64);
        if (window->start_ms == INT64_MIN) {
            buf_putc(&span, '?'); /* its description is damaged */
        } else {
            duration_print(&span, window->end_ms - window->start_ms + 1);
        }
        print_line(out, from, to, span.ptr, window);
        total.sample_count += window->sample_count;
        total.chunk_count += window->chunk_count;
        total.segment_bytes += window->segment_bytes;
        total.row_bytes += window->row_bytes;
        total.index_bytes += window->index_bytes;
        total.series_count =
            window->series_count > total.series_count ? window->series_count : total.series_count;
    }
    if (count > 1) {
        print_line(out, "in all (series: most)", "", "", &total);
    }
    buf_printf(out,
               "\nhead     %llu series, %llu open chunks\n"
               "journal  %llu bytes\n"
               "store    %llu bytes\n",
               (unsigned long long)stats->series_count, (unsigned long long)stats->chunk_count,
               (unsigned long long)stats->journal_bytes, (unsigned long long)stats->store_bytes);
}

int verb_tsdb_list(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--json", TOOL_BOOL, offsetof(struct list_args, is_json) },
    };
    static const struct tool_usage usage = { "tsdb list", flags, ARRAY_LEN(flags), 1 };

    struct list_args args = { 0 };
    struct str dir = TOOL_DIR_DEFAULT;
    if (!tool_parse(&usage, argc, argv, &args, &dir, NULL)) {
        return EXIT_USAGE;
    }
    CLEANUP(arena_finish) struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct tool_out out;
    struct tsdb *db = NULL;
    struct tsdb_window *windows = NULL;
    size_t count = 0;
    struct err err = ERR_INIT;
    bool is_ok = tool_out_open(&out, STR(""), &err) && tool_open(dir, &db, &err) &&
                 tsdb_windows(db, true, &arena, &windows, &count, &err);
    if (is_ok) {
        struct tsdb_stats stats;
        tsdb_stats(db, &stats);
        (args.is_json ? print_json : print_text)(windows, count, &stats, &out.text);
        is_ok = tool_out_commit(&out, &err);
    }
    tsdb_close(db);
    tool_out_finish(&out);
    return is_ok ? EXIT_FINE : tool_fail(&err);
}
