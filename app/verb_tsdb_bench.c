/*
 * tocsin tsdb bench: what the store does on this disk, in plain numbers. A store of its own is made
 * in a directory below DIR and removed at the end; the data is made up: counters and gauges of
 * series scraped every 15 s.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/tool.h"
#include "base/json.h"
#include "base/mem.h"

#define SYNCS       200
#define SYNC_BYTES  4096
#define COMMITS     200
#define COMMIT_TINY 100 /* samples */
#define STEP_MS     15000
#define PANELS      20

struct bench_args {
    uint64_t series;
    uint64_t samples; /* per series */
    bool is_json;
};

struct spread {
    double p50;
    double p99;
    double most;
};

struct bench {
    char *path;
    struct tsdb *db;
    series_ref_t *refs;
    uint64_t series;
    uint64_t samples;
    int64_t start_ms; /* time of the first sample */
    struct spread sync_ms;
    struct spread commit_ms;
    struct spread query_ms;
    double create_per_s;
    double ingest_per_s;
    double seal_s;
    double scan_per_s;
    double bytes_per_sample; /* of the sealed windows */
};

static double now_s(void) {
    return (double)clock_mono_ns(clock_system()) / 1e9;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct spread spread_of(double *values, size_t count) {
    qsort(values, count, sizeof(values[0]), compare_doubles);
    return (struct spread){
        .p50 = values[count / 2],
        .p99 = values[count * 99 / 100],
        .most = values[count - 1],
    };
}

/* ---- the disk ---- */

static bool bench_syncs(struct bench *bench, struct err *err) {
    CLEANUP(buf_finish) struct buf file;
    buf_init(&file, 4096);
    buf_printf(&file, "%s/syncs", bench->path);
    int fd = open(file.ptr, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "creating %s", file.ptr);
    }
    double took[SYNCS];
    char block[SYNC_BYTES] = { 1 };
    bool is_ok = true;
    for (size_t i = 0; is_ok && i < SYNCS; i++) {
        double start = now_s();
        is_ok = pwrite(fd, block, sizeof(block), (off_t)(i * sizeof(block))) == SYNC_BYTES &&
                fdatasync(fd) == 0;
        took[i] = (now_s() - start) * 1e3;
    }
    if (!is_ok) {
        err_set_errno(err, ERR_IO, errno, "writing %s", file.ptr);
    }
    close(fd);
    (void)unlink(file.ptr);
    bench->sync_ms = spread_of(took, SYNCS);
    return is_ok;
}

/* ---- the store ---- */

static bool make_series(struct bench *bench, struct err *err) {
    bench->refs = mem_calloc(bench->series, sizeof(bench->refs[0]));
    double start = now_s();
    for (uint64_t i = 0; i < bench->series; i++) {
        char metric[32];
        char instance[32];
        char path[32];
        snprintf(metric, sizeof(metric), "bench_%u_total", (unsigned)(i % 50));
        snprintf(instance, sizeof(instance), "host-%llu:9100", (unsigned long long)(i / 500));
        snprintf(path, sizeof(path), "/path/%u", (unsigned)(i / 50 % 10));
        struct label items[] = {
            { METRIC_NAME, str_from(metric) },
            { STR("instance"), str_from(instance) },
            { STR("job"), STR("bench") },
            { STR("path"), str_from(path) },
        };
        struct labels labels = { items, ARRAY_LEN(items) };
        if (!tsdb_series(bench->db, labels, &bench->refs[i], err)) {
            return false;
        }
    }
    bench->create_per_s = (double)bench->series / (now_s() - start);
    return true;
}

/* Half are counters, half gauges that stand still now and then. */
static double value_at(uint64_t series, uint64_t step) {
    uint64_t noise = (series * 2654435761U + step * 40503U) % 97;
    return series % 2 == 0 ? (double)(step * (series % 13 + 1) + noise) : (double)(noise / 3) / 4;
}

/* One scrape of series first..last as one commit. */
static bool put(struct bench *bench,
                uint64_t first,
                uint64_t last,
                uint64_t step,
                struct err *err) {
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(bench->db, TSDB_INGEST, &batch, err)) {
        return false;
    }
    int64_t t_ms = bench->start_ms + (int64_t)step * STEP_MS;
    for (uint64_t i = first; i < last; i++) {
        tsdb_batch_append(batch, bench->refs[i], t_ms, value_at(i, step));
    }
    return tsdb_commit_blocking(batch, NULL, err);
}

static bool bench_commits(struct bench *bench, struct err *err) {
    double took[COMMITS];
    uint64_t count = bench->series < COMMIT_TINY ? bench->series : COMMIT_TINY;
    for (size_t i = 0; i < COMMITS; i++) {
        double start = now_s();
        /* Before the bulk of the data, a second apart. */
        bench->start_ms += 1000;
        if (!put(bench, 0, count, 0, err)) {
            return false;
        }
        took[i] = (now_s() - start) * 1e3;
    }
    bench->start_ms += STEP_MS;
    bench->commit_ms = spread_of(took, COMMITS);
    return true;
}

static bool bench_ingest(struct bench *bench, struct err *err) {
    double start = now_s();
    for (uint64_t step = 0; step < bench->samples; step++) {
        if (!put(bench, 0, bench->series, step, err)) {
            return false;
        }
    }
    bench->ingest_per_s = (double)(bench->series * bench->samples) / (now_s() - start);
    start = now_s();
    bool is_ok = tsdb_maintain_blocking(bench->db, err);
    bench->seal_s = now_s() - start;
    return is_ok;
}

static bool query(struct bench *bench,
                  const struct matcher *matchers,
                  size_t count,
                  uint64_t *ret_samples,
                  struct err *err) {
    CLEANUP(arena_finish) struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct tsdb_querier *querier = NULL;
    struct tsdb_series_view *views;
    size_t view_count = 0;
    struct tsdb_column column = { 0 };
    *ret_samples = 0;
    bool is_ok = tsdb_querier_open(bench->db, INT64_MIN, INT64_MAX, NULL, &querier, err) &&
                 tsdb_select(querier, matchers, count, &arena, &views, &view_count, err);
    for (size_t i = 0; is_ok && i < view_count; i++) {
        is_ok = tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, err);
        *ret_samples += column.count;
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    return is_ok;
}

static bool bench_queries(struct bench *bench, struct err *err) {
    double took[PANELS];
    uint64_t samples;
    for (uint64_t i = 0; i < PANELS; i++) {
        char instance[32];
        uint64_t hosts = bench->series / 500 + 1;
        snprintf(instance, sizeof(instance), "host-%llu:9100",
                 (unsigned long long)(i * 7919 % hosts));
        struct matcher matchers[2];
        if (!matcher_init(&matchers[0], MATCH_EQ, STR("instance"), str_from(instance), err)) {
            return false;
        }
        if (!matcher_init(&matchers[1], MATCH_EQ, STR("path"), STR("/path/1"), err)) {
            matcher_finish(&matchers[0]);
            return false;
        }
        double start = now_s();
        bool is_ok = query(bench, matchers, ARRAY_LEN(matchers), &samples, err);
        took[i] = (now_s() - start) * 1e3;
        matcher_finish(&matchers[0]);
        matcher_finish(&matchers[1]);
        if (!is_ok) {
            return false;
        }
    }
    bench->query_ms = spread_of(took, PANELS);
    double start = now_s();
    bool is_ok = query(bench, NULL, 0, &samples, err);
    bench->scan_per_s = (double)samples / (now_s() - start);
    return is_ok;
}

static bool measure_bytes(struct bench *bench, struct err *err) {
    CLEANUP(arena_finish) struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct tsdb_window *windows;
    size_t count;
    if (!tsdb_windows(bench->db, true, &arena, &windows, &count, err)) {
        return false;
    }
    uint64_t bytes = 0;
    uint64_t samples = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += windows[i].segment_bytes + windows[i].row_bytes + windows[i].index_bytes;
        samples += windows[i].sample_count;
    }
    bench->bytes_per_sample = samples == 0 ? 0 : (double)bytes / (double)samples;
    return true;
}

static bool run(struct bench *bench, struct err *err) {
    struct tsdb_options options = { .path = bench->path };
    return bench_syncs(bench, err) && tsdb_open(&options, &bench->db, err) &&
           make_series(bench, err) && bench_commits(bench, err) && bench_ingest(bench, err) &&
           bench_queries(bench, err) && measure_bytes(bench, err);
}

/* ---- directory ---- */

/* What a store is made of: files, and directories of files. */
static void remove_store(const char *path, int depth) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        CLEANUP(buf_finish) struct buf child;
        buf_init(&child, SIZE_MAX);
        buf_printf(&child, "%s/%s", path, entry->d_name);
        if (unlink(child.ptr) != 0 && depth > 0) {
            remove_store(child.ptr, depth - 1);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    (void)rmdir(path);
}

/* ---- output ---- */

static void put_spread(struct json_writer *json, const char *key, const struct spread *spread) {
    json_key(json, key);
    json_object(json);
    json_key(json, "p50");
    json_f64(json, spread->p50);
    json_key(json, "p99");
    json_f64(json, spread->p99);
    json_key(json, "max");
    json_f64(json, spread->most);
    json_object_end(json);
}

static void print_json(const struct bench *bench, struct buf *out) {
    const struct {
        const char *key;
        double value;
    } numbers[] = {
        { "seriesCreatedPerSecond", bench->create_per_s },
        { "samplesIngestedPerSecond", bench->ingest_per_s },
        { "sealSeconds", bench->seal_s },
        { "samplesScannedPerSecond", bench->scan_per_s },
        { "bytesPerSample", bench->bytes_per_sample },
    };
    struct json_writer json;
    json_init(&json, out);
    json_object(&json);
    json_key(&json, "series");
    json_u64(&json, bench->series);
    json_key(&json, "samplesPerSeries");
    json_u64(&json, bench->samples);
    put_spread(&json, "syncMs", &bench->sync_ms);
    put_spread(&json, "commitMs", &bench->commit_ms);
    put_spread(&json, "queryMs", &bench->query_ms);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        json_key(&json, numbers[i].key);
        json_f64(&json, numbers[i].value);
    }
    json_object_end(&json);
    buf_putc(out, '\n');
}

static void print_spread(const char *what, const struct spread *spread, struct buf *out) {
    buf_printf(out, "%-44s %9.3f ms  (p99 %.3f, worst %.3f)\n", what, spread->p50, spread->p99,
               spread->most);
}

static void print_text(const struct bench *bench, struct buf *out) {
    buf_printf(out, "%llu series of %llu samples, 15 s apart\n", (unsigned long long)bench->series,
               (unsigned long long)bench->samples);
    print_spread("disk: write 4 KiB and sync", &bench->sync_ms, out);
    print_spread("commit of 100 samples, acknowledged", &bench->commit_ms, out);
    buf_printf(out, "%-44s %9.0f /s\n", "one after the other", 1e3 / bench->commit_ms.p50);
    buf_printf(out, "%-44s %9.0f /s\n", "series created", bench->create_per_s);
    buf_printf(out, "%-44s %9.0f /s\n", "samples ingested, one scrape a commit",
               bench->ingest_per_s);
    buf_printf(out, "%-44s %9.2f s\n", "sealing what was ingested", bench->seal_s);
    print_spread("select and read one path of a host", &bench->query_ms, out);
    buf_printf(out, "%-44s %9.0f /s\n", "samples read, everything", bench->scan_per_s);
    buf_printf(out, "%-44s %9.3f\n", "bytes per sealed sample", bench->bytes_per_sample);
}

static bool measure(struct bench *bench, struct str dir, struct err *err) {
    struct buf path;
    buf_init(&path, SIZE_MAX);
    buf_printf(&path, "%.*s/tocsin-bench-XXXXXX", STR_FMT(dir));
    bench->path = buf_take(&path, NULL);
    if (mkdtemp(bench->path) == NULL) {
        return err_set_errno(err, ERR_IO, errno, "creating a directory in %.*s", STR_FMT(dir));
    }
    bench->start_ms =
        clock_wall_ms(clock_system()) - (int64_t)(bench->samples + 2) * STEP_MS - COMMITS * 1000;
    bool is_ok = run(bench, err);
    tsdb_close(bench->db);
    remove_store(bench->path, 1);
    return is_ok;
}

int verb_tsdb_bench(int argc, char *const *argv) {
    static const struct tool_flag flags[] = {
        { "--series", TOOL_COUNT, offsetof(struct bench_args, series) },
        { "--samples", TOOL_COUNT, offsetof(struct bench_args, samples) },
        { "--json", TOOL_BOOL, offsetof(struct bench_args, is_json) },
    };
    static const struct tool_usage usage = { "tsdb bench", flags, ARRAY_LEN(flags), 1 };

    struct bench_args args = { .series = 20000, .samples = 480 };
    struct str dir = STR(".");
    if (!tool_parse(&usage, argc, argv, &args, &dir, NULL)) {
        return EXIT_USAGE;
    }
    if (args.series < 1 || args.series > 10000000 || args.samples < 1 || args.samples > 1000000) {
        fprintf(stderr, "tocsin tsdb bench: 1 to 10000000 series, 1 to 1000000 samples each\n");
        return EXIT_USAGE;
    }
    struct bench bench = { .series = args.series, .samples = args.samples };
    struct tool_out out;
    struct err err = ERR_INIT;
    bool is_ok = tool_out_open(&out, STR(""), &err) && measure(&bench, dir, &err);
    if (is_ok) {
        (args.is_json ? print_json : print_text)(&bench, &out.text);
        is_ok = tool_out_commit(&out, &err);
    }
    tool_out_finish(&out);
    mem_free(bench.refs);
    mem_free(bench.path);
    return is_ok ? EXIT_FINE : tool_fail(&err);
}
