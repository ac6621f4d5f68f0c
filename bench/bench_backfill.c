/*
 * Filling in old samples: bench_backfill [SERIES [DAYS [STEP_S [DIRECTORY]]]]
 *
 * Every series has a sample of now already, so that all that follows are out of order. Writes DAYS
 * of samples per series in three orders, each into a fresh directory: series by series, step by
 * step, and shuffled over all of both. Then sends all of it again (duplicates), seals, and reads
 * it back. One line per order.
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tsdb/tsdb.h"

enum {
    BATCH_SAMPLES = 2000,
    BATCHES_AHEAD = 64, /* begun before the oldest is waited for */
};

enum order {
    BY_SERIES,
    BY_STEP,
    SHUFFLED,
    ORDER_COUNT,
};

static const char *const order_names[ORDER_COUNT] = { "by series", "by step", "shuffled" };

struct bench {
    char path[256];
    struct tsdb_options options;
    struct tsdb *db;
    size_t series_count;
    size_t steps;
    int64_t step_ms;
    int64_t start_ms;
    series_ref_t *refs;
    _Atomic size_t counts[TSDB_OUTCOME_COUNT];
    _Atomic size_t lost;
};

static double wall_s(void) {
    return (double)clock_mono_ns(clock_system()) / 1e9;
}

static double cpu_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double rss_anon_mb(void) {
    char line[256];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            struct str number;
            struct str unit;
            uint64_t value;
            (void)str_cut(str_trim(str_from(line + 8)), ' ', &number, &unit);
            kib = str_parse_u64(number, &value) ? value : 0;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return (double)kib / 1024;
}

static void die(const char *what, const struct err *err) {
    fprintf(stderr, "bench_backfill: %s: %s\n", what, err->msg);
    exit(1);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void count_outcomes(void *ctx, const struct tsdb_commit_result *result) {
    struct bench *bench = ctx;
    for (size_t i = 0; i < TSDB_OUTCOME_COUNT; i++) {
        bench->counts[i] += result->counts[i];
    }
    bench->lost += result->is_durable ? 0 : 1;
}

/* An empty commit behind everything handed over. */
static void wait_for_all(struct bench *bench) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(bench->db, TSDB_STATE, &batch, &err) ||
        !tsdb_commit_blocking(batch, NULL, &err)) {
        die("commit", &err);
    }
}

static struct tsdb_batch *begin(struct bench *bench) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    while (!tsdb_batch_begin(bench->db, TSDB_INGEST, &batch, &err)) {
        if (err.code != ERR_THROTTLED) {
            die("batch", &err);
        }
        wait_for_all(bench);
    }
    return batch;
}

/* A permutation of 0..2^bits-1, by a few rounds of mixing; numbers from `count` on are skipped. */
static size_t shuffle(size_t number, size_t count, unsigned bits) {
    size_t mask = ((size_t)1 << bits) - 1;
    do {
        for (int round = 0; round < 3; round++) {
            number = (number * 0x9e3779b97f4a7c15 + 0x1234567) & mask;
            number ^= number >> (bits / 2);
        }
    } while (number >= count);
    return number;
}

static void send_all(struct bench *bench, enum order order, double *ret_rss_mb) {
    size_t total = bench->series_count * bench->steps;
    unsigned bits = 1;
    while (((size_t)1 << bits) < total) {
        bits++;
    }
    struct tsdb_batch *batch = begin(bench);
    for (size_t i = 0; i < total; i++) {
        size_t at = order == SHUFFLED ? shuffle(i, total, bits) : i;
        bool is_by_step = order == BY_STEP;
        size_t series = is_by_step ? at % bench->series_count : at / bench->steps;
        size_t step = is_by_step ? at / bench->series_count : at % bench->steps;
        tsdb_batch_append(batch, bench->refs[series],
                          bench->start_ms + (int64_t)step * bench->step_ms,
                          (double)(step * 7 + series));
        if (tsdb_batch_sample_count(batch) == BATCH_SAMPLES) {
            tsdb_commit(batch, count_outcomes, bench);
            batch = begin(bench);
            if (i / BATCH_SAMPLES % BATCHES_AHEAD == 0) {
                double rss_mb = rss_anon_mb();
                *ret_rss_mb = rss_mb > *ret_rss_mb ? rss_mb : *ret_rss_mb;
            }
        }
    }
    tsdb_commit(batch, count_outcomes, bench);
    wait_for_all(bench);
}

static void open_with_newest(struct bench *bench, int64_t now_ms) {
    struct err err = ERR_INIT;
    if (!tsdb_open(&bench->options, &bench->db, &err)) {
        die("open", &err);
    }
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct tsdb_batch *batch = begin(bench);
    for (size_t i = 0; i < bench->series_count; i++) {
        struct labels_builder builder;
        labels_builder_init(&builder, &arena, (struct labels){ 0 });
        labels_builder_set(&builder, METRIC_NAME, STR("filled_in_total"));
        labels_builder_set(&builder, STR("n"), arena_printf(&arena, "%zu", i));
        if (!tsdb_series(bench->db, labels_builder_build(&builder), &bench->refs[i], &err)) {
            die("series", &err);
        }
        tsdb_batch_append(batch, bench->refs[i], now_ms, 0);
        arena_reset(&arena);
    }
    arena_finish(&arena);
    tsdb_commit(batch, count_outcomes, bench);
    wait_for_all(bench);
}

/* Read everything back; samples. */
static size_t read_all(struct bench *bench) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier;
    struct tsdb_series_view *views = NULL;
    struct tsdb_column column = { 0 };
    struct arena arena;
    size_t count = 0;
    size_t samples = 0;
    arena_init(&arena, SIZE_MAX);
    if (!tsdb_querier_open(bench->db, INT64_MIN, INT64_MAX, NULL, &querier, &err) ||
        !tsdb_select(querier, NULL, 0, &arena, &views, &count, &err)) {
        die("select", &err);
    }
    for (size_t i = 0; i < count; i++) {
        if (!tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err)) {
            die("read", &err);
        }
        samples += column.count;
    }
    tsdb_querier_close(querier);
    tsdb_column_finish(&column);
    arena_finish(&arena);
    return samples;
}

static void run(struct bench *bench, enum order order) {
    struct err err = ERR_INIT;
    size_t total = bench->series_count * bench->steps;
    double rss_mb = 0;
    (void)nftw(bench->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    memset(bench->counts, 0, sizeof(bench->counts));
    open_with_newest(bench, bench->start_ms + (int64_t)bench->steps * bench->step_ms);
    double wall = wall_s();
    double cpu = cpu_s();
    send_all(bench, order, &rss_mb);
    printf("%-9s  fill %.0f samples/s, %.0f per CPU second, anonymous peak %.0f MB",
           order_names[order], (double)total / (wall_s() - wall), (double)total / (cpu_s() - cpu),
           rss_mb);
    cpu = cpu_s();
    send_all(bench, order, &rss_mb);
    printf("; again %.0f per CPU second", (double)total / (cpu_s() - cpu));
    cpu = cpu_s();
    if (!tsdb_maintain_blocking(bench->db, &err)) {
        die("maintain", &err);
    }
    double seal = cpu_s() - cpu;
    cpu = cpu_s();
    size_t samples = read_all(bench);
    double read = cpu_s() - cpu;
    struct tsdb_stats stats;
    tsdb_stats(bench->db, &stats);
    printf("; last sealing %.1f s; read %.0f ns/sample; store %.2f bytes/sample\n", seal,
           read * 1e9 / (double)samples, (double)stats.store_bytes / (double)samples);
    if (bench->lost > 0 || bench->counts[TSDB_ACCEPTED] != total + bench->series_count ||
        bench->counts[TSDB_DUPLICATE] != total || samples != total + bench->series_count) {
        printf("WRONG: %zu accepted, %zu duplicates, %zu read\n", bench->counts[TSDB_ACCEPTED],
               bench->counts[TSDB_DUPLICATE], samples);
    }
    tsdb_close(bench->db);
}

static uint64_t number_argument(int argc, char **argv, int at, uint64_t otherwise) {
    uint64_t value = otherwise;
    if (argc > at && !str_parse_u64(str_from(argv[at]), &value)) {
        fprintf(stderr, "bench_backfill: not a number: %s\n", argv[at]);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv) {
    struct bench bench = { .series_count = (size_t)number_argument(argc, argv, 1, 1000) };
    uint64_t days = number_argument(argc, argv, 2, 30);
    bench.step_ms = (int64_t)number_argument(argc, argv, 3, 300) * 1000;
    bench.steps = (size_t)((int64_t)days * 86400000 / bench.step_ms);
    snprintf(bench.path, sizeof(bench.path), "%s", argc > 4 ? argv[4] : "bench-backfill.data");
    bench.options = (struct tsdb_options){
        .path = bench.path,
        .out_of_order_ms = TSDB_OUT_OF_ORDER_ANY,
        .space_reserve_bytes = 1,
    };
    bench.refs = mem_calloc(bench.series_count, sizeof(bench.refs[0]));
    bench.start_ms = clock_wall_ms(clock_system()) - (int64_t)days * 86400000;
    printf("%zu series, %llu days, every %lld s: %zu samples\n", bench.series_count,
           (unsigned long long)days, (long long)bench.step_ms / 1000,
           bench.series_count * bench.steps);
    for (enum order order = BY_SERIES; order < ORDER_COUNT; order++) {
        run(&bench, order);
        fflush(stdout);
    }
    (void)nftw(bench.path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    mem_free(bench.refs);
    return 0;
}
