/*
 * Bytes on disk: bench_disk [SERIES [exact|late|spread [DIRECTORY]]]
 *
 * Writes a day of the mixed corpus (about SERIES series with the weights given, 11 labels, targets
 * of 100 whose series share their times) through a virtual clock, an hour per commit, with
 * maintenance every half hour of it; lets everything settle and says what the directory takes, all
 * files included, and what was written to get there; reads a panel over the day from a cold disk.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bench/corpus.h"
#include "tsdb/tsdb.h"

enum {
    TARGET_SERIES = 100,
    SAMPLES = 24 * 3600 / 15,
    HOUR_SAMPLES = 3600 / 15,
    HOUR_MS = 3600 * 1000,
};

struct bench {
    struct fake_clock clock;
    struct tsdb_options options;
    struct tsdb *db;
    enum corpus_jitter jitter;
    size_t series_count;
    double *values; /* [series][SAMPLES] */
    int64_t *t_ms;  /* [targets][SAMPLES] */
    series_ref_t *refs;
    struct corpus corpus;
};

static void die(const char *what, const struct err *err) {
    fprintf(stderr, "bench_disk: %s: %s\n", what, err->msg);
    exit(1);
}

/* ---- the series ---- */

static size_t count_of(const struct bench *bench, size_t series, enum corpus_class class) {
    size_t count = (size_t)(corpus_class_weight(class) / 100 * (double)series + 0.5);
    (void)bench;
    if (class == CORPUS_SLOW_BUCKET || class == CORPUS_FAST_BUCKET) {
        return (count + CORPUS_BUCKETS - 1) / CORPUS_BUCKETS * CORPUS_BUCKETS;
    }
    return count;
}

static void set_label(struct labels_builder *builder, const char *name, struct str value) {
    labels_builder_set(builder, str_from(name), value);
}

/* Number `local` of a class; every target has TARGET_SERIES of the whole. */
static struct labels labels_of(size_t target,
                               enum corpus_class class,
                               size_t local,
                               struct arena *arena) {
    static const char *const bounds[CORPUS_BUCKETS] = {
        "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "0.75", "1",
        "1.5",  "2.5",   "5",    "7.5", "10",   "30",  "60",   "+Inf",
    };
    bool is_bucket = class == CORPUS_SLOW_BUCKET || class == CORPUS_FAST_BUCKET;
    size_t variant = is_bucket ? local / CORPUS_BUCKETS : local;
    struct labels_builder builder;
    labels_builder_init(&builder, arena, (struct labels){ 0 });
    labels_builder_set(&builder, METRIC_NAME,
                       arena_printf(arena, "app_class%d_metric%zu_total", (int)class, variant % 7));
    set_label(&builder, "instance",
              arena_printf(arena, "10.0.%zu.%zu:9100", target / 250, target % 250));
    set_label(&builder, "job", arena_printf(arena, "job-%zu", target % 7));
    set_label(&builder, "pod", arena_printf(arena, "api-7d9f6c5b4-%05zu", target));
    set_label(&builder, "namespace", arena_printf(arena, "team-%zu", target % 11));
    set_label(&builder, "handler", arena_printf(arena, "/api/v1/resource/%zu", variant));
    set_label(&builder, "method", variant % 2 == 0 ? STR("GET") : STR("POST"));
    set_label(&builder, "region", STR("eu-central-1"));
    set_label(&builder, "cluster", STR("production"));
    set_label(&builder, "version", STR("v1.42.0"));
    if (is_bucket) {
        set_label(&builder, "le", str_from(bounds[local % CORPUS_BUCKETS]));
    } else {
        set_label(&builder, "status", STR("200"));
    }
    return labels_builder_build(&builder);
}

static void make_series(struct bench *bench, size_t wanted) {
    struct err err = ERR_INIT;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (int class = 0; class < CORPUS_CLASS_COUNT; class ++) {
        bench->series_count += count_of(bench, wanted, (enum corpus_class) class);
    }
    bench->values = mem_alloc(bench->series_count * SAMPLES * sizeof(bench->values[0]));
    bench->refs = mem_alloc(bench->series_count * sizeof(bench->refs[0]));
    size_t at = 0;
    for (int c = 0; c < CORPUS_CLASS_COUNT; c++) {
        enum corpus_class class = (enum corpus_class)c;
        size_t count = count_of(bench, wanted, class);
        corpus_fill(&bench->corpus, class, count, SAMPLES, bench->values + at * SAMPLES);
        for (size_t i = 0; i < count; i++) {
            struct labels labels = labels_of((at + i) / TARGET_SERIES, class, i, &arena);
            if (!tsdb_series(bench->db, labels, &bench->refs[at + i], &err)) {
                die("series", &err);
            }
            arena_reset(&arena);
        }
        at += count;
    }
    arena_finish(&arena);
    size_t targets = (bench->series_count + TARGET_SERIES - 1) / TARGET_SERIES;
    bench->t_ms = mem_alloc(targets * SAMPLES * sizeof(bench->t_ms[0]));
    for (size_t i = 0; i < targets; i++) {
        corpus_fill_times(&bench->corpus, bench->jitter, SAMPLES, bench->t_ms + i * SAMPLES);
    }
}

/* ---- writing ---- */

static void maintain(struct bench *bench) {
    struct err err = ERR_INIT;
    if (!tsdb_maintain_blocking(bench->db, &err)) {
        die("maintain", &err);
    }
}

/* A living process commits something all the time, which lets LMDB reuse pages. */
static void tick(struct bench *bench) {
    struct err err = ERR_INIT;
    struct kv_store *kv = tsdb_kv(bench->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("bench"), STR("tick"));
    if (!kv->commit_blocking(kv, batch, &err)) {
        die("tick", &err);
    }
}

static void write_hour(struct bench *bench, size_t hour) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(bench->db, TSDB_INGEST, &batch, &err)) {
        die("batch", &err);
    }
    for (size_t i = 0; i < bench->series_count; i++) {
        const int64_t *t_ms = bench->t_ms + i / TARGET_SERIES * SAMPLES;
        const double *values = bench->values + i * SAMPLES;
        for (size_t s = hour * HOUR_SAMPLES; s < (hour + 1) * HOUR_SAMPLES; s++) {
            tsdb_batch_append(batch, bench->refs[i], t_ms[s], values[s]);
        }
    }
    struct tsdb_commit_result result;
    if (!tsdb_commit_blocking(batch, &result, &err)) {
        die("commit", &err);
    }
    if (result.counts[TSDB_ACCEPTED] != result.sample_count) {
        fprintf(stderr, "bench_disk: %zu of %zu samples taken\n", result.counts[TSDB_ACCEPTED],
                result.sample_count);
        exit(1);
    }
    for (int i = 0; i < 2; i++) {
        fake_clock_advance(&bench->clock, HOUR_MS / 2);
        maintain(bench);
    }
}

/* ---- measuring ---- */

static void add_files(const char *path, double *apparent, double *blocks) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char name[4096];
        struct stat st;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || stat(name, &st) != 0) {
            continue;
        }
        if (S_ISDIR(st.st_mode)) {
            add_files(name, apparent, blocks);
        } else {
            *apparent += (double)st.st_size;
            *blocks += (double)st.st_blocks * 512;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static double written_bytes(void) {
    char line[128];
    uint64_t bytes = 0;
    FILE *file = fopen("/proc/self/io", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "write_bytes:", 12) == 0 &&
            !str_parse_u64(str_trim(str_from(line + 12)), &bytes)) {
            bytes = 0;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return (double)bytes;
}

static void report(struct bench *bench, const char *when) {
    struct tsdb_window *windows;
    struct err err = ERR_INIT;
    struct arena arena;
    size_t count;
    double apparent = 0;
    double blocks = 0;
    double segments = 0;
    double rows = 0;
    double index = 0;
    arena_init(&arena, SIZE_MAX);
    if (!tsdb_windows(bench->db, true, &arena, &windows, &count, &err)) {
        die("windows", &err);
    }
    double samples = 0;
    for (size_t i = 0; i < count; i++) {
        samples += (double)windows[i].sample_count;
        segments += (double)windows[i].segment_bytes;
        rows += (double)windows[i].row_bytes;
        index += (double)windows[i].index_bytes;
    }
    add_files(bench->options.path, &apparent, &blocks);
    printf("%-8s %zu series, %.0f samples in %zu parts: %.3f bytes/sample on disk (%.3f apparent); "
           "segments %.3f, rows %.4f, index %.4f; written %.2f per sample\n",
           when, bench->series_count, samples, count, blocks / samples, apparent / samples,
           segments / samples, rows / samples, index / samples, written_bytes() / samples);
    arena_finish(&arena);
}

/* ---- reading from a cold disk ---- */

/* Drop the store's pages, nearly none of them mapped, from the system's cache. */
static void forget_pages(const struct bench *bench) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/store/data.mdb", bench->options.path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fdatasync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0) {
        fprintf(stderr, "bench_disk: %s stays in the cache\n", path);
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* All series of the fast counters and buckets: what a panel over a day asks for. */
static void read_panel(struct bench *bench, const char *when) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier;
    struct tsdb_series_view *views;
    struct arena arena;
    struct matcher matcher;
    struct tsdb_column column = { 0 };
    size_t count = 0;
    size_t samples = 0;
    arena_init(&arena, SIZE_MAX);
    int64_t start_ns = clock_mono_ns(clock_system());
    if (!matcher_init(&matcher, MATCH_RE, METRIC_NAME, STR("app_class(0|12)_metric[0-6]_total"),
                      &err) ||
        !tsdb_querier_open(bench->db, INT64_MIN, INT64_MAX, NULL, &querier, &err) ||
        !tsdb_select(querier, &matcher, 1, &arena, &views, &count, &err)) {
        die("select", &err);
    }
    int64_t selected_ns = clock_mono_ns(clock_system());
    for (size_t i = 0; i < count; i++) {
        if (!tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err)) {
            die("read", &err);
        }
        samples += column.count;
    }
    int64_t end_ns = clock_mono_ns(clock_system());
    printf("%-8s panel of %zu series, %zu samples: select %.1f ms, read %.1f ms\n", when, count,
           samples, (double)(selected_ns - start_ns) / 1e6, (double)(end_ns - selected_ns) / 1e6);
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
    arena_finish(&arena);
}

static void read_cold(struct bench *bench) {
    struct err err = ERR_INIT;
    tsdb_close(bench->db);
    if (!tsdb_open(&bench->options, &bench->db, &err)) {
        die("open", &err);
    }
    forget_pages(bench); /* opening looks through the file */
    read_panel(bench, "cold");
    read_panel(bench, "warm");
}

int main(int argc, char **argv) {
    uint64_t series = 1000;
    struct bench bench = { .jitter = CORPUS_TIMES_EXACT };
    if (argc > 1 && !str_parse_u64(str_from(argv[1]), &series)) {
        fprintf(stderr, "usage: bench_disk [SERIES [exact|late|spread [DIRECTORY]]]\n");
        return 2;
    }
    if (argc > 2) {
        bench.jitter = strcmp(argv[2], "late") == 0     ? CORPUS_TIMES_LATE
                       : strcmp(argv[2], "spread") == 0 ? CORPUS_TIMES_SPREAD
                                                        : CORPUS_TIMES_EXACT;
    }
    char dir[] = "/tmp/bench-disk-XXXXXX";
    bench.options.path = argc > 3 ? argv[3] : mkdtemp(dir);
    bench.options.clock = &bench.clock.clock;
    bench.options.pending_bytes_max = (uint64_t)1 << 32;
    corpus_init(&bench.corpus, 1);
    int64_t first_ms;
    struct corpus probe = bench.corpus;
    corpus_fill_times(&probe, CORPUS_TIMES_EXACT, 1, &first_ms);
    fake_clock_init(&bench.clock, first_ms);
    struct err err = ERR_INIT;
    if (!tsdb_open(&bench.options, &bench.db, &err)) {
        die("open", &err);
    }
    make_series(&bench, series);
    for (size_t hour = 0; hour < 24; hour++) {
        write_hour(&bench, hour);
    }
    report(&bench, "24 h");
    for (int i = 0; i < 60; i++) {
        fake_clock_advance(&bench.clock, HOUR_MS);
        tick(&bench);
        maintain(&bench);
    }
    report(&bench, "settled");
    read_cold(&bench);
    tsdb_close(bench.db);
    mem_free(bench.values);
    mem_free(bench.t_ms);
    mem_free(bench.refs);
    printf("data in  %s\n", bench.options.path);
    return 0;
}
