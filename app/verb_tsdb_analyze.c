/*
 * tocsin tsdb analyze: which labels and metrics the data is made of, which churn, how it grows. The
 * lists bear promtool's titles and count what promtool counts, over the samples in range.
 */
#include <stdlib.h>

#include "app/tool.h"
#include "base/duration.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"

#define LIMIT_DEFAULT  20
#define SIZE_CLASSES   64 /* powers of two */
#define SPARK_WIDTH    40
#define PAIR_BYTES_MAX (LABEL_NAME_BYTES_MAX + LABEL_VALUE_BYTES_MAX + 2)

struct analyze_args {
    struct tool_range range;
    uint64_t limit;
    bool is_json;
};

/* ---- tallies ---- */

struct tally {
    struct str name;
    uint64_t series;
    uint64_t samples;
    uint64_t values;      /* of a label name */
    uint64_t value_bytes; /* of them */
    double uncovered_ms;  /* of the time, summed over its series */
};

struct tally_set {
    struct map by_name;  /* of index + 1, as pointers */
    struct tally *items; /* vec_grow */
    size_t count;
    size_t cap;
};

static struct tally *tally_of(struct tally_set *set, struct str name, struct arena *arena) {
    uintptr_t index = (uintptr_t)map_get(&set->by_name, name);
    if (index == 0) {
        set->items = vec_grow(set->items, &set->cap, set->count + 1, sizeof(set->items[0]));
        set->items[set->count] = (struct tally){ .name = arena_str(arena, name) };
        index = ++set->count;
        (void)map_put(&set->by_name, name, (void *)index);
    }
    return &set->items[index - 1];
}

static void set_finish(struct tally_set *set) {
    map_finish(&set->by_name, NULL);
    mem_free(set->items);
}

/* ---- collecting ---- */

struct analysis {
    struct arena arena;
    int64_t t_min_ms; /* of the samples in range */
    int64_t t_max_ms;
    uint64_t series_count;
    uint64_t sample_count;
    uint64_t entry_count;         /* label pairs of all series */
    uint64_t sizes[SIZE_CLASSES]; /* series by samples: 2^i to 2^(i+1) - 1 */
    struct tally_set pairs;
    struct tally_set names;
    struct tally_set metrics;
    struct buf pair;

    /* the series in hand */
    struct arena series_arena;
    struct labels labels;
    uint64_t samples;
    int64_t t_first_ms;
    int64_t t_last_ms;
};

/* What is covered is subtracted; the span is only known at the end. */
static void end_series(struct analysis *analysis) {
    if (analysis->samples == 0) {
        return;
    }
    double covered_ms = (double)analysis->t_last_ms - (double)analysis->t_first_ms;
    analysis->series_count++;
    analysis->sample_count += analysis->samples;
    analysis->entry_count += analysis->labels.count;
    int size = 63 - __builtin_clzll(analysis->samples);
    analysis->sizes[size]++;
    for (size_t i = 0; i < analysis->labels.count; i++) {
        const struct label *label = &analysis->labels.items[i];
        buf_reset(&analysis->pair);
        buf_printf(&analysis->pair, "%.*s=", STR_FMT(label->name));
        buf_str(&analysis->pair, label->value);
        struct tally *pair =
            tally_of(&analysis->pairs, buf_as_str(&analysis->pair), &analysis->arena);
        struct tally *name = tally_of(&analysis->names, label->name, &analysis->arena);
        if (pair->series++ == 0) {
            name->values++;
            name->value_bytes += label->value.len;
        }
        name->series++;
        pair->uncovered_ms -= covered_ms;
        name->uncovered_ms -= covered_ms;
        if (str_eq(label->name, METRIC_NAME)) {
            struct tally *metric = tally_of(&analysis->metrics, label->value, &analysis->arena);
            metric->series++;
            metric->samples += analysis->samples;
        }
    }
    analysis->samples = 0;
}

static bool take_samples(void *ctx,
                         struct labels labels,
                         bool is_first,
                         const struct tsdb_column *samples,
                         struct err *err) {
    struct analysis *analysis = ctx;
    int64_t first_ms = samples->t_ms[0];
    int64_t last_ms = samples->t_ms[samples->count - 1];
    if (is_first) {
        end_series(analysis);
        arena_reset(&analysis->series_arena);
        analysis->labels = labels_dup(labels, &analysis->series_arena);
        analysis->t_first_ms = first_ms;
    }
    analysis->samples += samples->count;
    analysis->t_last_ms = last_ms;
    analysis->t_min_ms = first_ms < analysis->t_min_ms ? first_ms : analysis->t_min_ms;
    analysis->t_max_ms = last_ms > analysis->t_max_ms ? last_ms : analysis->t_max_ms;
    return true;
}

/* From "minus what is covered" to how many series' worth of the span is not. */
static void finish_churn(struct analysis *analysis, struct tally_set *set) {
    double span_ms = (double)analysis->t_max_ms - (double)analysis->t_min_ms;
    for (size_t i = 0; i < set->count; i++) {
        struct tally *tally = &set->items[i];
        double uncovered_ms = tally->uncovered_ms + (double)tally->series * span_ms;
        tally->uncovered_ms = span_ms > 0 && uncovered_ms > 0 ? uncovered_ms / span_ms : 0;
    }
}

static bool collect(struct analysis *analysis,
                    struct tsdb *db,
                    const struct tool_range *range,
                    struct err *err) {
    arena_init(&analysis->arena, SIZE_MAX);
    arena_init(&analysis->series_arena, SIZE_MAX);
    buf_init(&analysis->pair, PAIR_BYTES_MAX);
    map_init(&analysis->pairs.by_name);
    map_init(&analysis->names.by_name);
    map_init(&analysis->metrics.by_name);
    analysis->t_min_ms = INT64_MAX;
    analysis->t_max_ms = INT64_MIN;
    if (!tool_visit(db, range, take_samples, analysis, err)) {
        return false;
    }
    end_series(analysis);
    finish_churn(analysis, &analysis->pairs);
    finish_churn(analysis, &analysis->names);
    return true;
}

static void analysis_finish(struct analysis *analysis) {
    set_finish(&analysis->pairs);
    set_finish(&analysis->names);
    set_finish(&analysis->metrics);
    buf_finish(&analysis->pair);
    arena_finish(&analysis->series_arena);
    arena_finish(&analysis->arena);
}

/* ---- the lists ---- */

static uint64_t by_churn(const struct tally *tally) {
    return (uint64_t)tally->uncovered_ms;
}

static uint64_t by_series(const struct tally *tally) {
    return tally->series;
}

static uint64_t by_samples(const struct tally *tally) {
    return tally->samples;
}

static uint64_t by_values(const struct tally *tally) {
    return tally->values;
}

static uint64_t by_value_bytes(const struct tally *tally) {
    return tally->value_bytes;
}

struct list {
    const char *title;
    const char *key; /* in JSON */
    size_t set;      /* offset in struct analysis */
    uint64_t (*measure)(const struct tally *tally);
};

static const struct list lists[] = {
    { "Label pairs most involved in churning", "labelPairsChurning",
      offsetof(struct analysis, pairs), by_churn },
    { "Label names most involved in churning", "labelNamesChurning",
      offsetof(struct analysis, names), by_churn },
    { "Most common label pairs", "labelPairsCommon", offsetof(struct analysis, pairs), by_series },
    { "Label names with highest cumulative label value length", "labelNamesValueBytes",
      offsetof(struct analysis, names), by_value_bytes },
    { "Highest cardinality labels", "labelNamesValues", offsetof(struct analysis, names),
      by_values },
    { "Highest cardinality metric names", "metricsSeries", offsetof(struct analysis, metrics),
      by_series },
    { "Metric names with most samples", "metricsSamples", offsetof(struct analysis, metrics),
      by_samples },
};

struct ranked {
    uint64_t count;
    struct str name;
};

static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a;
    const struct ranked *y = b;
    if (x->count != y->count) {
        return x->count > y->count ? -1 : 1;
    }
    return str_cmp(x->name, y->name);
}

/* Largest first; *ret_count after the limit. mem_free. */
static struct ranked *rank(const struct analysis *analysis,
                           const struct list *list,
                           size_t limit,
                           size_t *ret_count) {
    const struct tally_set *set = (const void *)((const char *)analysis + list->set);
    struct ranked *items = mem_alloc((set->count + 1) * sizeof(items[0]));
    for (size_t i = 0; i < set->count; i++) {
        items[i] = (struct ranked){ list->measure(&set->items[i]), set->items[i].name };
    }
    if (set->count > 1) {
        qsort(items, set->count, sizeof(items[0]), compare_ranked);
    }
    *ret_count = set->count < limit ? set->count : limit;
    return items;
}

/* ---- text ---- */

static void print_bar(uint64_t count, uint64_t most, struct buf *out) {
    size_t width = most == 0 ? 0 : (size_t)(count * SPARK_WIDTH / most);
    for (size_t i = 0; i < width; i++) {
        buf_putc(out, '#');
    }
    buf_putc(out, '\n');
}

static void print_sizes(const struct analysis *analysis, struct buf *out) {
    uint64_t most = 0;
    size_t last = 0;
    for (size_t i = 0; i < SIZE_CLASSES; i++) {
        most = analysis->sizes[i] > most ? analysis->sizes[i] : most;
        last = analysis->sizes[i] > 0 ? i : last;
    }
    buf_cstr(out, "\nSamples per series:\n");
    for (size_t i = 0; most > 0 && i <= last; i++) {
        uint64_t low = (uint64_t)1 << i;
        buf_printf(out, "%10llu to %-10llu %10llu ", (unsigned long long)low,
                   (unsigned long long)(low * 2 - 1), (unsigned long long)analysis->sizes[i]);
        print_bar(analysis->sizes[i], most, out);
    }
}

static void print_growth(const struct tsdb_window *windows, size_t count, struct buf *out) {
    uint64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        most = windows[i].series_count > most ? windows[i].series_count : most;
    }
    buf_cstr(out, "\nSeries per window (sealed; samples per chunk, bytes per sample):\n");
    for (size_t i = 0; i < count; i++) {
        const struct tsdb_window *window = &windows[i];
        char start[RFC3339_TEXT_MAX];
        rfc3339_from_ms(window->start_ms, start);
        double chunks = window->chunk_count == 0 ? 1 : (double)window->chunk_count;
        double samples = window->sample_count == 0 ? 1 : (double)window->sample_count;
        buf_printf(out, "%s %10llu %8.1f %7.3f ", start, (unsigned long long)window->series_count,
                   (double)window->sample_count / chunks, (double)window->segment_bytes / samples);
        print_bar(window->series_count, most, out);
    }
}

static void print_text(const struct analysis *analysis,
                       const struct tsdb_window *windows,
                       size_t window_count,
                       size_t limit,
                       struct buf *out) {
    if (analysis->series_count > 0) {
        char from[RFC3339_TEXT_MAX];
        char to[RFC3339_TEXT_MAX];
        rfc3339_from_ms(analysis->t_min_ms, from);
        rfc3339_from_ms(analysis->t_max_ms, to);
        buf_printf(out, "From: %s\nTo: %s\nDuration: ", from, to);
        duration_print(out, analysis->t_max_ms - analysis->t_min_ms);
        buf_putc(out, '\n');
    }
    buf_printf(out,
               "Total Series: %llu\nTotal Samples: %llu\nLabel names: %zu\n"
               "Postings (unique label pairs): %zu\n"
               "Postings entries (total label pairs): %llu\n",
               (unsigned long long)analysis->series_count,
               (unsigned long long)analysis->sample_count, analysis->names.count,
               analysis->pairs.count, (unsigned long long)analysis->entry_count);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        size_t count;
        struct ranked *items = rank(analysis, &lists[i], limit, &count);
        buf_printf(out, "\n%s:\n", lists[i].title);
        for (size_t k = 0; k < count; k++) {
            buf_u64(out, items[k].count);
            buf_putc(out, ' ');
            buf_str(out, items[k].name);
            buf_putc(out, '\n');
        }
        mem_free(items);
    }
    print_sizes(analysis, out);
    print_growth(windows, window_count, out);
}

/* ---- JSON ---- */

static void put_count(struct json_writer *json, const char *key, uint64_t count) {
    json_key(json, key);
    json_u64(json, count);
}

static void put_time(struct json_writer *json, const char *key, int64_t t_ms) {
    json_key(json, key);
    json_i64(json, t_ms);
}

static void put_list(struct json_writer *json,
                     const struct analysis *analysis,
                     const struct list *list,
                     size_t limit) {
    size_t count;
    struct ranked *items = rank(analysis, list, limit, &count);
    json_key(json, list->key);
    json_array(json);
    for (size_t i = 0; i < count; i++) {
        json_object(json);
        json_key(json, "name");
        json_str(json, items[i].name);
        put_count(json, "value", items[i].count);
        json_object_end(json);
    }
    json_array_end(json);
    mem_free(items);
}

static void put_growth(struct json_writer *json, const struct tsdb_window *windows, size_t count) {
    json_key(json, "growth");
    json_array(json);
    for (size_t i = 0; i < count; i++) {
        json_object(json);
        put_time(json, "start", windows[i].start_ms);
        put_time(json, "end", windows[i].end_ms);
        put_count(json, "series", windows[i].series_count);
        put_count(json, "samples", windows[i].sample_count);
        put_count(json, "chunks", windows[i].chunk_count);
        put_count(json, "segmentBytes", windows[i].segment_bytes);
        json_object_end(json);
    }
    json_array_end(json);
}

static void print_json(const struct analysis *analysis,
                       const struct tsdb_window *windows,
                       size_t window_count,
                       size_t limit,
                       struct buf *out) {
    struct json_writer json;
    json_init(&json, out);
    json_object(&json);
    if (analysis->series_count > 0) {
        put_time(&json, "minTime", analysis->t_min_ms);
        put_time(&json, "maxTime", analysis->t_max_ms);
    }
    put_count(&json, "series", analysis->series_count);
    put_count(&json, "samples", analysis->sample_count);
    put_count(&json, "labelNames", analysis->names.count);
    put_count(&json, "labelPairs", analysis->pairs.count);
    put_count(&json, "postingsEntries", analysis->entry_count);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        put_list(&json, analysis, &lists[i], limit);
    }
    json_key(&json, "samplesPerSeries");
    json_array(&json);
    for (size_t i = 0; i < SIZE_CLASSES; i++) {
        if (analysis->sizes[i] > 0) {
            json_object(&json);
            put_count(&json, "from", (uint64_t)1 << i);
            put_count(&json, "series", analysis->sizes[i]);
            json_object_end(&json);
        }
    }
    json_array_end(&json);
    put_growth(&json, windows, window_count);
    json_object_end(&json);
    buf_putc(out, '\n');
}

/* ---- the verb ---- */

static bool run(const struct analyze_args *args, struct str dir, struct err *err) {
    struct tsdb *db = NULL;
    struct analysis analysis = { 0 };
    struct tsdb_window *windows = NULL;
    size_t count = 0;
    struct tool_out out;
    bool is_ok = tool_out_open(&out, STR(""), err) && tool_open(dir, &db, err) &&
                 collect(&analysis, db, &args->range, err) &&
                 tsdb_windows(db, false, &analysis.arena, &windows, &count, err);
    if (is_ok) {
        (args->is_json ? print_json : print_text)(&analysis, windows, count, (size_t)args->limit,
                                                  &out.text);
        is_ok = tool_out_commit(&out, err);
    }
    analysis_finish(&analysis);
    tsdb_close(db);
    tool_out_finish(&out);
    return is_ok;
}

int verb_tsdb_analyze(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--match", TOOL_LIST, offsetof(struct analyze_args, range.match) },
        { "--min-time", TOOL_TIME, offsetof(struct analyze_args, range.t_min_ms) },
        { "--max-time", TOOL_TIME, offsetof(struct analyze_args, range.t_max_ms) },
        { "--limit", TOOL_COUNT, offsetof(struct analyze_args, limit) },
        { "--json", TOOL_BOOL, offsetof(struct analyze_args, is_json) },
    };
    static const struct tool_usage usage = { "tsdb analyze", flags, ARRAY_LEN(flags), 1 };

    struct analyze_args args = { .range = TOOL_RANGE_INIT, .limit = LIMIT_DEFAULT };
    struct str dir = TOOL_DIR_DEFAULT;
    struct err err = ERR_INIT;
    int code = EXIT_USAGE;
    if (tool_parse(&usage, argc, argv, &args, &dir, NULL)) {
        code = run(&args, dir, &err) ? EXIT_FINE : tool_fail(&err);
    }
    string_list_finish(&args.range.match);
    return code;
}
