/*
 * The store alone: bench_tsdb [SERIES [ROUNDS [DIRECTORY]]]
 *                  bench_tsdb memory [SERIES [ROUNDS]]
 *
 * memory: a process each for an eighth, a quarter, half and all of SERIES (default 1,000,000) with
 * ROUNDS (480: two hours) of samples 15 s apart, maintenance keeping up with the virtual clock;
 * anonymous bytes per series at the end, and what they are for.
 *
 * Creates SERIES series (11 labels, targets of 500), appends ROUNDS samples to each in batches of
 * 2,000 with every commit fsynced, reads back, seals, opens again. One line per figure.
 *
 * bench_tsdb crash SERIES ROUNDS DIRECTORY   the same up to the appending, then ends as by kill -9
 * bench_tsdb reopen DIRECTORY                opens what it left: first ack, first query, memory
 * bench_tsdb restart [SERIES [ROUNDS]]       both, with an eighth, a quarter, a half and all series
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tsdb/tsdb.h"

enum {
    TARGET_SERIES = 500,
    BATCH_SAMPLES = 2000,
    STEP_MS = 15000,
};

struct bench {
    struct tsdb_options options;
    struct fake_clock clock;
    struct tsdb *db;
    size_t series_count;
    int rounds;
    int64_t start_ms;
    series_ref_t *refs;
    double *values;
    uint64_t state;
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

static double rss_anon_bytes(void) {
    char line[256];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            struct str text = str_trim(str_from(line + 8));
            struct str number;
            struct str unit;
            (void)str_cut(text, ' ', &number, &unit);
            if (!str_parse_u64(number, &kib)) {
                kib = 0;
            }
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return (double)kib * 1024;
}

static void die(const char *what, const struct err *err) {
    fprintf(stderr, "bench_tsdb: %s: %s\n", what, err->msg);
    exit(1);
}

static uint64_t next_random(struct bench *bench) {
    bench->state ^= bench->state << 13;
    bench->state ^= bench->state >> 7;
    bench->state ^= bench->state << 17;
    return bench->state;
}

static void set_label(struct labels_builder *builder, const char *name, struct str value) {
    labels_builder_set(builder, str_from(name), value);
}

static struct labels labels_of(size_t number, struct arena *arena) {
    size_t target = number / TARGET_SERIES;
    size_t local = number % TARGET_SERIES;
    struct labels_builder builder;
    labels_builder_init(&builder, arena, (struct labels){ 0 });
    labels_builder_set(&builder, METRIC_NAME, arena_printf(arena, "metric_%zu_total", local / 10));
    set_label(&builder, "instance",
              arena_printf(arena, "10.0.%zu.%zu:9100", target / 250, target % 250));
    set_label(&builder, "job", arena_printf(arena, "job-%zu", target % 7));
    set_label(&builder, "pod", arena_printf(arena, "api-7d9f6c5b4-%05zu", target));
    set_label(&builder, "namespace", arena_printf(arena, "team-%zu", target % 11));
    set_label(&builder, "method", arena_printf(arena, "m%zu", local % 10 / 2));
    set_label(&builder, "status", arena_printf(arena, "%zu", 200 + local % 2 * 300));
    set_label(&builder, "endpoint", arena_printf(arena, "/api/v1/resource/%zu", local % 5));
    set_label(&builder, "region", STR("eu-central-1"));
    set_label(&builder, "cluster", STR("production"));
    set_label(&builder, "version", STR("v1.42.0"));
    return labels_builder_build(&builder);
}

static void open_db(struct bench *bench) {
    struct err err = ERR_INIT;
    if (!tsdb_open(&bench->options, &bench->db, &err)) {
        die("open", &err);
    }
}

static void create_series(struct bench *bench) {
    struct err err = ERR_INIT;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (size_t i = 0; i < bench->series_count; i++) {
        if (!tsdb_series(bench->db, labels_of(i, &arena), &bench->refs[i], &err)) {
            die("series", &err);
        }
        arena_reset(&arena);
    }
    arena_finish(&arena);
}

static void count_failure(void *ctx, const struct tsdb_commit_result *result) {
    _Atomic size_t *failures = ctx;
    if (!result->is_durable || result->counts[TSDB_ACCEPTED] != result->sample_count) {
        (*failures)++;
    }
}

/* One round: a sample for every series; commits overlap with filling the next batch. */
static void append_round(struct bench *bench, int round, _Atomic size_t *failures) {
    struct err err = ERR_INIT;
    for (size_t at = 0; at < bench->series_count; at += BATCH_SAMPLES) {
        struct tsdb_batch *batch;
        while (!tsdb_batch_begin(bench->db, TSDB_INGEST, &batch, &err)) {
            struct tsdb_batch *barrier;
            if (err.code != ERR_THROTTLED ||
                !tsdb_batch_begin(bench->db, TSDB_STATE, &barrier, &err) ||
                !tsdb_commit_blocking(barrier, NULL, &err)) {
                die("batch", &err);
            }
        }
        for (size_t i = at; i < at + BATCH_SAMPLES && i < bench->series_count; i++) {
            uint64_t random = next_random(bench);
            switch (i % 10) {
            case 0:
            case 1:
            case 2: break; /* constant */
            case 3: bench->values[i] = (double)(random % 100000) / 100; break;
            case 4: bench->values[i] += (double)(random % 1000) / 1000; break;
            default: bench->values[i] += (double)(random % 50); break;
            }
            int64_t t_ms = bench->start_ms + (int64_t)round * STEP_MS;
            tsdb_batch_append(batch, bench->refs[i], t_ms, bench->values[i]);
        }
        tsdb_commit(batch, count_failure, failures);
    }
}

static void wait_for_commits(struct bench *bench) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(bench->db, TSDB_STATE, &batch, &err) ||
        !tsdb_commit_blocking(batch, NULL, &err)) {
        die("commit", &err);
    }
}

static void append_all(struct bench *bench) {
    _Atomic size_t failures = 0;
    double wall = wall_s();
    double cpu = cpu_s();
    for (int round = 0; round < bench->rounds; round++) {
        append_round(bench, round, &failures);
    }
    wait_for_commits(bench);
    wall = wall_s() - wall;
    cpu = cpu_s() - cpu;
    double samples = (double)bench->series_count * bench->rounds;
    printf("append+commit  %.2fM samples/s wall, %.2fM samples/s per core (%zu failures)\n",
           samples / wall / 1e6, samples / cpu / 1e6, failures);
}

static void read_back(struct bench *bench, const char *what) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier = NULL;
    struct arena arena;
    struct tsdb_series_view *views;
    size_t count;
    struct matcher matchers[2];
    arena_init(&arena, SIZE_MAX);
    if (!matcher_init(&matchers[0], MATCH_RE, METRIC_NAME, STR("metric_1._total"), &err) ||
        !matcher_init(&matchers[1], MATCH_EQ, STR("status"), STR("200"), &err) ||
        !tsdb_querier_open(bench->db, INT64_MIN, INT64_MAX, NULL, &querier, &err)) {
        die("querier", &err);
    }
    double start = wall_s();
    if (!tsdb_select(querier, matchers, 2, &arena, &views, &count, &err)) {
        die("select", &err);
    }
    double selected = wall_s();
    struct tsdb_column column = { 0 };
    size_t samples = 0;
    for (size_t i = 0; i < count; i++) {
        if (!tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err)) {
            die("read", &err);
        }
        samples += column.count;
    }
    double end = wall_s();
    printf("%-14s select %zu series %.2f ms, read %zu samples %.1f ns each\n", what, count,
           (selected - start) * 1e3, samples,
           (end - selected) * 1e9 / (double)(samples > 0 ? samples : 1));
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    matcher_finish(&matchers[0]);
    matcher_finish(&matchers[1]);
    arena_finish(&arena);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Three matchers that each take in a large share of all series, and few together. */
static void select_three(struct bench *bench) {
    struct err err = ERR_INIT;
    struct matcher matchers[3];
    static const char *const wanted[][2] = {
        { "instance", "10.0.0.3:9100" },
        { "endpoint", "/api/v1/resource/3" },
        { "status", "500" },
    };
    for (size_t i = 0; i < ARRAY_LEN(matchers); i++) {
        if (!matcher_init(&matchers[i], MATCH_EQ, str_from(wanted[i][0]), str_from(wanted[i][1]),
                          &err)) {
            die("matcher", &err);
        }
    }
    double times[201];
    size_t count = 0;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct tsdb_querier *querier;
        struct tsdb_series_view *views;
        double start = wall_s();
        if (!tsdb_querier_open(bench->db, INT64_MIN, INT64_MAX, NULL, &querier, &err) ||
            !tsdb_select(querier, matchers, ARRAY_LEN(matchers), &arena, &views, &count, &err)) {
            die("select", &err);
        }
        times[i] = wall_s() - start;
        tsdb_querier_close(querier);
        arena_reset(&arena);
    }
    qsort(times, ARRAY_LEN(times), sizeof(times[0]), compare_doubles);
    printf("select         %.0f us, three matchers, %zu of %zu series (median)\n",
           times[ARRAY_LEN(times) / 2] * 1e6, count, bench->series_count);
    for (size_t i = 0; i < ARRAY_LEN(matchers); i++) {
        matcher_finish(&matchers[i]);
    }
    arena_finish(&arena);
}

static void print_sizes(struct bench *bench) {
    struct tsdb_stats stats;
    tsdb_stats(bench->db, &stats);
    double samples = (double)bench->series_count * bench->rounds;
    printf("sizes          journal %.2f, store %.2f bytes/sample\n",
           (double)stats.journal_bytes / samples, (double)stats.store_bytes / samples);
}

static void seal(struct bench *bench) {
    struct err err = ERR_INIT;
    fake_clock_advance(&bench->clock, 24 * 3600 * 1000);
    double wall = wall_s();
    if (!tsdb_maintain_blocking(bench->db, &err)) {
        die("maintain", &err);
    }
    printf("seal+index     %.2f s\n", wall_s() - wall);
}

/* A sample each of the first thousand series that the crashed process had. */
static void write_first(struct bench *bench, struct arena *arena) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch = NULL;
    if (!tsdb_batch_begin(bench->db, TSDB_INGEST, &batch, &err)) {
        die("write", &err);
    }
    for (size_t i = 0; i < 1000; i++) {
        series_ref_t ref;
        if (!tsdb_series(bench->db, labels_of(i, arena), &ref, &err)) {
            die("series", &err);
        }
        tsdb_batch_append(batch, ref, bench->start_ms + 24 * 3600 * 1000, 1);
    }
    if (!tsdb_commit_blocking(batch, NULL, &err)) {
        die("commit", &err);
    }
}

static void reopen(struct bench *bench) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    double wall = wall_s();
    open_db(bench);
    printf("open           %.3f s\n", wall_s() - wall);
    struct tsdb_stats stats;
    tsdb_stats(bench->db, &stats);
    write_first(bench, &arena);
    printf("first ack      %.3f s\n", wall_s() - wall);
    read_back(bench, "tail");
    printf("first query    %.3f s\n", wall_s() - wall);
    tsdb_stats(bench->db, &stats);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("series %llu, journal %.0f MB, anonymous %.0f MB, peak resident %.0f MB, cpu %.2f s\n",
           (unsigned long long)stats.series_count, (double)stats.journal_bytes / 1e6,
           rss_anon_bytes() / 1e6, (double)usage.ru_maxrss * 1024 / 1e6, cpu_s());
    tsdb_close(bench->db);
    arena_finish(&arena);
}

/* ---- restarts ---- */

static void crash(struct bench *bench) {
    open_db(bench);
    create_series(bench);
    append_all(bench);
}

/* In a process of its own that ends without closing. */
static bool run_apart(struct bench *bench, void (*run)(struct bench *bench)) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        bench->refs = mem_calloc(bench->series_count, sizeof(bench->refs[0]));
        bench->values = mem_calloc(bench->series_count, sizeof(bench->values[0]));
        fake_clock_init(&bench->clock, bench->start_ms);
        bench->options.clock = &bench->clock.clock;
        run(bench);
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static int restart_curve(size_t series, int rounds) {
    for (size_t part = 8; part > 0; part /= 2) {
        char dir[] = "/tmp/bench-tsdb-XXXXXX";
        struct bench bench = {
            .series_count = series / part,
            .rounds = rounds,
            .start_ms = INT64_C(1700000000000) / 7200000 * 7200000,
            .state = 1,
        };
        bench.options.path = mkdtemp(dir);
        if (!run_apart(&bench, crash) || !run_apart(&bench, reopen)) {
            return 1;
        }
    }
    return 0;
}

/* ---- memory ---- */

/* What doors remember: every series under the hash of its bytes on the wire. */
static void put_aliases(struct bench *bench) {
    for (size_t i = 0; i < bench->series_count; i++) {
        struct str wire = str_n((const char *)&i, sizeof(i));
        tsdb_alias_put(bench->db, tsdb_alias_hash(bench->db, wire), bench->refs[i]);
    }
}

static void print_memory(struct bench *bench, double rss_bytes) {
    struct tsdb_memory memory;
    tsdb_memory(bench->db, &memory);
    double count = (double)bench->series_count;
    printf("%9zu series %6.0f B each: series %.0f, table %.1f, labels %.1f, postings %.1f, "
           "symbols %.1f, aliases %.1f, chunks %.0f + %.0f free\n",
           bench->series_count, rss_bytes / count, (double)memory.series_bytes / count,
           (double)memory.table_bytes / count, (double)memory.label_bytes / count,
           (double)memory.posting_bytes / count, (double)memory.symbol_bytes / count,
           (double)memory.alias_bytes / count, (double)memory.chunk_bytes / count,
           (double)memory.chunk_free_bytes / count);
}

static void run_memory(struct bench *bench) {
    char dir[] = "/tmp/bench-tsdb-XXXXXX";
    struct err err = ERR_INIT;
    _Atomic size_t failures = 0;
    bench->options.path = mkdtemp(dir);
    bench->refs = mem_alloc(bench->series_count * sizeof(bench->refs[0]));
    bench->values = mem_alloc(bench->series_count * sizeof(bench->values[0]));
    memset(bench->refs, 0, bench->series_count * sizeof(bench->refs[0]));
    memset(bench->values, 0, bench->series_count * sizeof(bench->values[0]));
    open_db(bench);
    double base = rss_anon_bytes();
    create_series(bench);
    put_aliases(bench);
    for (int round = 0; round < bench->rounds; round++) {
        append_round(bench, round, &failures);
        fake_clock_advance(&bench->clock, STEP_MS);
        if (round % 4 == 3) {
            wait_for_commits(bench);
            if (!tsdb_maintain_blocking(bench->db, &err)) {
                die("maintain", &err);
            }
        }
    }
    wait_for_commits(bench);
    print_memory(bench, rss_anon_bytes() - base);
    tsdb_close(bench->db);
}

/* Each size in a process of its own: memory given back stays with the allocator. */
static int memory_curve(size_t series, int rounds) {
    for (size_t part = 8; part > 0; part /= 2) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            struct bench bench = {
                .series_count = series / part,
                .rounds = rounds,
                .start_ms = INT64_C(1700000000000) / 7200000 * 7200000,
                .state = 1,
            };
            fake_clock_init(&bench.clock, bench.start_ms);
            bench.options.clock = &bench.clock.clock;
            bench.options.pending_bytes_max = 128 << 10; /* as when clients keep their pace */
            run_memory(&bench);
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            return 1;
        }
    }
    return 0;
}

/* "memory" and "restart": their sizes. */
static int run_curve(int argc, char **argv) {
    bool is_memory = strcmp(argv[1], "memory") == 0;
    uint64_t series = 1000000;
    uint64_t rounds = is_memory ? 480 : 10;
    if ((argc > 2 && !str_parse_u64(str_from(argv[2]), &series)) ||
        (argc > 3 && !str_parse_u64(str_from(argv[3]), &rounds))) {
        fprintf(stderr, "usage: bench_tsdb memory|restart [SERIES [ROUNDS]]\n");
        return 2;
    }
    return is_memory ? memory_curve(series, (int)rounds) : restart_curve(series, (int)rounds);
}

int main(int argc, char **argv) {
    mem_configure();
    if (argc > 1 && (strcmp(argv[1], "memory") == 0 || strcmp(argv[1], "restart") == 0)) {
        return run_curve(argc, argv);
    }
    bool is_crash = argc == 5 && strcmp(argv[1], "crash") == 0;
    bool is_reopen = argc == 3 && strcmp(argv[1], "reopen") == 0;
    if (is_crash || is_reopen) {
        argv++;
        argc--;
    }
    uint64_t series = 100000;
    uint64_t rounds = 40;
    if (!is_reopen && ((argc > 1 && !str_parse_u64(str_from(argv[1]), &series)) ||
                       (argc > 2 && !str_parse_u64(str_from(argv[2]), &rounds)))) {
        fprintf(stderr, "usage: bench_tsdb [SERIES [ROUNDS [DIRECTORY]]]\n");
        return 2;
    }
    char dir[] = "/tmp/bench-tsdb-XXXXXX";
    struct bench bench = {
        .series_count = series,
        .rounds = (int)rounds,
        .start_ms = INT64_C(1700000000000) / 7200000 * 7200000,
        .state = 1,
        .refs = mem_calloc(series, sizeof(bench.refs[0])),
        .values = mem_calloc(series, sizeof(bench.values[0])),
    };
    fake_clock_init(&bench.clock, bench.start_ms);
    bench.options.clock = &bench.clock.clock;
    if (is_reopen) {
        bench.options.path = argv[1];
        reopen(&bench);
        mem_free(bench.refs);
        mem_free(bench.values);
        return 0;
    }
    bench.options.path = argc > 3 ? argv[3] : mkdtemp(dir);
    open_db(&bench);
    double base = rss_anon_bytes();
    double wall = wall_s();
    create_series(&bench);
    printf("create         %.2f us per series\n", (wall_s() - wall) * 1e6 / (double)series);
    append_all(&bench);
    if (is_crash) {
        _Exit(0);
    }
    printf("memory         %.0f anonymous bytes per series\n",
           (rss_anon_bytes() - base) / (double)series);
    select_three(&bench);
    read_back(&bench, "from head");
    print_sizes(&bench);
    tsdb_close(bench.db);
    wall = wall_s();
    open_db(&bench);
    printf("open again     %.2f s\n", wall_s() - wall);
    seal(&bench);
    read_back(&bench, "from store");
    print_sizes(&bench);
    tsdb_close(bench.db);
    mem_free(bench.refs);
    mem_free(bench.values);
    printf("data in        %s\n", bench.options.path);
    return 0;
}
