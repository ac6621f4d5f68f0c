/*
 * Bytes on disk: bench_disk [SERIES [exact|late|spread [DIRECTORY]]]
 *                bench_disk recorded [ROUNDS [FILE.jsonl.gz]]
 *
 * First form: writes a day of the mixed corpus (about SERIES series with the weights given, 11
 * labels, targets of 100 whose series share their times) through a virtual clock, an hour per
 * commit, with maintenance every half hour of it; lets everything settle and says what the
 * directory takes, all files included, table by table, and what was written to get there; reads a
 * panel over the day from a cold disk.
 * Second form: the recorded corpus, played that often in a row (disk_recorded.c).
 * Without arguments: 4,000 series, then the recording played 1, 4, 12 and 36 times (a day).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "bench/corpus.h"
#include "bench/disk_recorded.h"
#include "bench/disk_store.h"

enum {
    TARGET_SERIES = 100,
    SAMPLES = 24 * 3600 / 15,
    HOUR_SAMPLES = 3600 / 15,
    HOUR_MS = 3600 * 1000,
};

#define RECORDED_FILE "bench/corpus/self.jsonl.gz"

struct bench {
    struct disk_store store;
    enum corpus_jitter jitter;
    size_t series_count;
    double *values; /* [series][SAMPLES] */
    int64_t *t_ms;  /* [targets][SAMPLES] */
    series_ref_t *refs;
    struct corpus corpus;
};

/* ---- the series ---- */

static size_t count_of(size_t series, enum corpus_class class) {
    size_t count = (size_t)(corpus_class_weight(class) / 100 * (double)series + 0.5);
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
        bench->series_count += count_of(wanted, (enum corpus_class) class);
    }
    bench->values = mem_alloc(bench->series_count * SAMPLES * sizeof(bench->values[0]));
    bench->refs = mem_alloc(bench->series_count * sizeof(bench->refs[0]));
    size_t at = 0;
    for (int c = 0; c < CORPUS_CLASS_COUNT; c++) {
        enum corpus_class class = (enum corpus_class)c;
        size_t count = count_of(wanted, class);
        corpus_fill(&bench->corpus, class, count, SAMPLES, bench->values + at * SAMPLES);
        for (size_t i = 0; i < count; i++) {
            struct labels labels = labels_of((at + i) / TARGET_SERIES, class, i, &arena);
            if (!tsdb_series(bench->store.db, labels, &bench->refs[at + i], &err)) {
                disk_die("series", &err);
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

static void write_hour(struct bench *bench, size_t hour) {
    struct tsdb_batch *batch = disk_begin(&bench->store);
    for (size_t i = 0; i < bench->series_count; i++) {
        const int64_t *t_ms = bench->t_ms + i / TARGET_SERIES * SAMPLES;
        const double *values = bench->values + i * SAMPLES;
        for (size_t s = hour * HOUR_SAMPLES; s < (hour + 1) * HOUR_SAMPLES; s++) {
            tsdb_batch_append(batch, bench->refs[i], t_ms[s], values[s]);
        }
    }
    disk_commit(&bench->store, batch);
    disk_pass(&bench->store, HOUR_MS);
}

/* ---- reading from a cold disk ---- */

/* Drop the store's pages, nearly none of them mapped, from the system's cache. */
static void forget_pages(const struct bench *bench) {
    char path[4200];
    snprintf(path, sizeof(path), "%s/store/data.mdb", bench->store.path);
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
        !tsdb_querier_open(bench->store.db, INT64_MIN, INT64_MAX, NULL, &querier, &err) ||
        !tsdb_select(querier, &matcher, 1, &arena, &views, &count, &err)) {
        disk_die("select", &err);
    }
    int64_t selected_ns = clock_mono_ns(clock_system());
    for (size_t i = 0; i < count; i++) {
        if (!tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err)) {
            disk_die("read", &err);
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
    tsdb_close(bench->store.db);
    if (!tsdb_open(&bench->store.options, &bench->store.db, &err) ||
        !tsdb_wait_ready(bench->store.db, &err)) {
        disk_die("open", &err);
    }
    forget_pages(bench); /* opening looks through the file */
    read_panel(bench, "cold");
    read_panel(bench, "warm");
}

static void run_mixed(size_t series, enum corpus_jitter jitter, const char *directory) {
    struct bench bench = { .jitter = jitter };
    corpus_init(&bench.corpus, 1);
    int64_t first_ms;
    struct corpus probe = bench.corpus;
    corpus_fill_times(&probe, CORPUS_TIMES_EXACT, 1, &first_ms);
    disk_open(&bench.store, directory, first_ms);
    make_series(&bench, series);
    printf("== mixed corpus, %zu series over 24 h, times %s\n", bench.series_count,
           corpus_jitter_to_string(jitter));
    for (size_t hour = 0; hour < 24; hour++) {
        write_hour(&bench, hour);
    }
    disk_report(&bench.store, "24 h");
    read_cold(&bench);
    disk_settle(&bench.store);
    double samples = disk_report(&bench.store, "settled");
    read_cold(&bench);
    disk_close(&bench.store);
    disk_report_tables(&bench.store, samples);
    mem_free(bench.values);
    mem_free(bench.t_ms);
    mem_free(bench.refs);
    printf("data in  %s\n", bench.store.path);
}

static void run_recorded(const size_t *rounds, size_t count, const char *file) {
    struct err err = ERR_INIT;
    struct recorded recorded;
    if (!recorded_load(&recorded, file, &err)) {
        disk_die("the recorded corpus", &err);
    }
    printf("== recorded corpus, %zu series, %zu samples\n", recorded.count, recorded.sample_count);
    for (size_t i = 0; i < count; i++) {
        disk_recorded(&recorded, rounds[i], i + 1 == count);
    }
    recorded_finish(&recorded);
}

static enum corpus_jitter jitter_of(const char *name) {
    return strcmp(name, "late") == 0     ? CORPUS_TIMES_LATE
           : strcmp(name, "spread") == 0 ? CORPUS_TIMES_SPREAD
                                         : CORPUS_TIMES_EXACT;
}

int main(int argc, char **argv) {
    static const size_t curve[] = { 1, 4, 12, 36 };
    bool is_recorded = argc > 1 && strcmp(argv[1], "recorded") == 0;
    int at = is_recorded ? 2 : 1;
    uint64_t number = is_recorded ? 1 : 4000;
    if (argc > at && (!str_parse_u64(str_from(argv[at]), &number) || number == 0)) {
        fprintf(stderr, "usage: bench_disk [SERIES [exact|late|spread [DIRECTORY]]]\n"
                        "       bench_disk recorded [ROUNDS [FILE.jsonl.gz]]\n");
        return 2;
    }
    if (is_recorded) {
        size_t rounds = (size_t)number;
        run_recorded(&rounds, 1, argc > 3 ? argv[3] : RECORDED_FILE);
        return 0;
    }
    run_mixed((size_t)number, jitter_of(argc > 2 ? argv[2] : "exact"), argc > 3 ? argv[3] : NULL);
    if (argc == 1) {
        run_recorded(curve, ARRAY_LEN(curve), RECORDED_FILE);
    }
    return 0;
}
