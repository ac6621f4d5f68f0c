/*
 * How long acknowledgements take while other work goes on:
 *   bench_latency [SERIES [SECONDS [TURNS [DIRECTORY]]]]   (20000, 5, 3, a directory in /tmp)
 *
 * First the most the store takes, with two batches of 2,000 samples always waiting. Then half of
 * that by the clock, batch by batch, whatever the store does: each batch's time runs from when it
 * was due. TURNS times, SECONDS each: alone, beside merges (finished windows were held back for
 * them), alone, beside a backup by a process of its own, alone, beside two threads that select and
 * read everything. One line per kind of work: p50 and p99 of all its turns in ms, and how many
 * times those of the turns alone.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tsdb/db.h"

enum {
    BATCH_SAMPLES = 2000,
    STEP_MS = 15000,
    WINDOW_MS = 1800000,
    QUERY_THREADS = 2,
    WAITING_MAX = 2,
};

enum work {
    ALONE,
    MERGES,
    BACKUP,
    QUERIES,
    WORK_COUNT
};

static const char *const work_names[] = { "alone", "merges", "backup", "queries" };

struct times {
    double *ms;
    size_t count;
    size_t cap;
};

struct bench {
    struct tsdb_options options;
    struct fake_clock clock;
    struct tsdb *db;
    char dir[200];
    size_t series_count;
    series_ref_t *refs;
    size_t next; /* series of the next sample */
    int64_t t_ms;
    uint64_t state;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    size_t waiting;      /* batches; guarded by lock */
    struct times *times; /* guarded by lock */
    _Atomic bool is_over;
    _Atomic size_t done; /* merges, backups or queries */
};

static void die(const char *what, const struct err *err) {
    fprintf(stderr, "bench_latency: %s: %s\n", what, err->msg);
    exit(1);
}

static int64_t now_ns(void) {
    return clock_mono_ns(clock_system());
}

/* ---- writing ---- */

struct batch_time {
    struct bench *bench;
    int64_t due_ns;
};

static void note_done(void *ctx, const struct tsdb_commit_result *result) {
    struct batch_time *time = ctx;
    struct bench *bench = time->bench;
    if (!result->is_durable) {
        die("commit", &result->err);
    }
    double ms = (double)(now_ns() - time->due_ns) / 1e6;
    pthread_mutex_lock(&bench->lock);
    struct times *times = bench->times;
    times->ms = vec_grow(times->ms, &times->cap, times->count + 1, sizeof(times->ms[0]));
    times->ms[times->count++] = ms;
    bench->waiting--;
    pthread_cond_signal(&bench->cond);
    pthread_mutex_unlock(&bench->lock);
    mem_free(time);
}

static void write_batch(struct bench *bench, int64_t due_ns) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(bench->db, TSDB_INGEST, &batch, &err)) {
        die("batch", &err);
    }
    for (size_t i = 0; i < BATCH_SAMPLES; i++) {
        if (bench->next == bench->series_count) {
            bench->next = 0;
            bench->t_ms += STEP_MS;
            fake_clock_advance(&bench->clock, STEP_MS);
        }
        bench->state = bench->state * UINT64_C(6364136223846793005) + 1442695040888963407U;
        double value = (double)(bench->t_ms / STEP_MS % 100000) + (double)(bench->state >> 60);
        tsdb_batch_append(batch, bench->refs[bench->next++], bench->t_ms, value);
    }
    struct batch_time *time = mem_alloc(sizeof(*time));
    *time = (struct batch_time){ .bench = bench, .due_ns = due_ns };
    pthread_mutex_lock(&bench->lock);
    bench->waiting++;
    pthread_mutex_unlock(&bench->lock);
    tsdb_commit(batch, note_done, time);
}

static void wait_until_waiting(struct bench *bench, size_t most) {
    pthread_mutex_lock(&bench->lock);
    while (bench->waiting > most) {
        pthread_cond_wait(&bench->cond, &bench->lock);
    }
    pthread_mutex_unlock(&bench->lock);
}

/* Batches per second. */
static double saturate(struct bench *bench, int seconds, struct times *times) {
    int64_t start_ns = now_ns();
    size_t count = 0;
    bench->times = times;
    for (; now_ns() < start_ns + seconds * INT64_C(1000000000); count++) {
        wait_until_waiting(bench, WAITING_MAX - 1);
        write_batch(bench, now_ns());
    }
    wait_until_waiting(bench, 0);
    return (double)count / ((double)(now_ns() - start_ns) / 1e9);
}

static void pace(struct bench *bench, double per_second, int seconds, struct times *times) {
    int64_t start_ns = now_ns();
    bench->times = times;
    for (size_t i = 0; i < (size_t)(per_second * seconds); i++) {
        int64_t due_ns = start_ns + (int64_t)((double)i / per_second * 1e9);
        struct timespec until = { .tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000 };
        pthread_mutex_lock(&bench->lock);
        while (now_ns() < due_ns) {
            (void)pthread_cond_timedwait(&bench->cond, &bench->lock, &until);
        }
        pthread_mutex_unlock(&bench->lock);
        write_batch(bench, due_ns);
    }
    wait_until_waiting(bench, 0);
}

/* ---- the work beside ---- */

static void *merge_main(void *arg) {
    struct bench *bench = arg;
    struct err err = ERR_INIT;
    while (!bench->is_over) {
        if (!tsdb_maintain_blocking(bench->db, &err)) {
            die("merging", &err);
        }
        bench->done++;
    }
    return NULL;
}

static void remove_copy(const char *path) {
    char command[300];
    const char *const files[] = { "journal/data.mdb", "store/data.mdb", "journal", "store",
                                  "manifest.json" };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(command, sizeof(command), "%s/%s", path, files[i]);
        (void)remove(command);
    }
    (void)remove(path);
}

/* LMDB takes an environment once per process. */
static int backup_child(const char *path, const char *target) {
    struct tsdb_backup_options options = { .path = path, .target = target, .fd = -1 };
    struct tsdb_backup_info info;
    struct err err = ERR_INIT;
    (void)setpriority(PRIO_PROCESS, 0, 10); /* as a scheduled backup */
    if (!tsdb_backup(&options, &info, &err)) {
        fprintf(stderr, "bench_latency: backup: %s\n", err.msg);
        return 1;
    }
    return 0;
}

static void *backup_main(void *arg) {
    struct bench *bench = arg;
    char target[256];
    snprintf(target, sizeof(target), "%s.copy", bench->dir);
    while (!bench->is_over) {
        pid_t pid = fork();
        if (pid == 0) {
            execl("/proc/self/exe", "bench_latency", "backup", bench->dir, target, (char *)NULL);
            _exit(1);
        }
        int status = 0;
        (void)waitpid(pid, &status, 0);
        bench->done += status == 0;
        remove_copy(target);
    }
    return NULL;
}

static void *query_main(void *arg) {
    struct bench *bench = arg;
    (void)setpriority(PRIO_PROCESS, 0, 10); /* as the server's threads for queries */
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct tsdb_column column = { 0 };
    while (!bench->is_over) {
        struct err err = ERR_INIT;
        struct tsdb_querier *querier;
        struct tsdb_series_view *views;
        size_t count = 0;
        if (!tsdb_querier_open(bench->db, INT64_MIN, INT64_MAX, NULL, &querier, &err) ||
            !tsdb_select(querier, NULL, 0, &arena, &views, &count, &err)) {
            die("query", &err);
        }
        for (size_t i = 0; i < count && !bench->is_over; i++) {
            if (!tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err)) {
                die("read", &err);
            }
        }
        tsdb_querier_close(querier);
        arena_reset(&arena);
        bench->done++;
    }
    tsdb_column_finish(&column);
    arena_finish(&arena);
    return NULL;
}

/* ---- the whole ---- */

static void hold_merges(struct bench *bench, bool holds) {
    pthread_mutex_lock(&bench->db->maintain_lock);
    bench->db->holds_merges = holds;
    pthread_mutex_unlock(&bench->db->maintain_lock);
}

static void turn(struct bench *bench,
                 enum work work,
                 double per_second,
                 int seconds,
                 struct times *times) {
    pthread_t threads[QUERY_THREADS];
    size_t count = work == ALONE ? 0 : work == QUERIES ? QUERY_THREADS : 1;
    void *(*const mains[])(void *) = { NULL, merge_main, backup_main, query_main };
    hold_merges(bench, work != MERGES);
    bench->is_over = false;
    for (size_t i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, mains[work], bench) != 0) {
            abort();
        }
    }
    pace(bench, per_second, seconds, times);
    bench->is_over = true;
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double part(const struct times *times, double share) {
    return times->ms[(size_t)((double)(times->count - 1) * share)];
}

static void print_times(struct times times[WORK_COUNT], const size_t done[WORK_COUNT]) {
    for (int work = 0; work < WORK_COUNT; work++) {
        qsort(times[work].ms, times[work].count, sizeof(double), compare_doubles);
        double p50 = part(&times[work], 0.50);
        double p99 = part(&times[work], 0.99);
        printf("%-10s ack p50 %.2f ms, p99 %.2f ms, max %.1f ms; alone x %.2f, x %.2f (%zu done)\n",
               work_names[work], p50, p99, part(&times[work], 1), p50 / part(&times[ALONE], 0.50),
               p99 / part(&times[ALONE], 0.99), done[work]);
    }
}

static void open_bench(struct bench *bench) {
    struct err err = ERR_INIT;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    fake_clock_init(&bench->clock, bench->t_ms);
    bench->options = (struct tsdb_options){
        .path = bench->dir,
        .clock = &bench->clock.clock,
        .block_ms = WINDOW_MS,
        .querier_ms_max = INT64_C(1000000000000),
    };
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&bench->lock, NULL);
    pthread_cond_init(&bench->cond, &attr);
    if (!tsdb_open(&bench->options, &bench->db, &err)) {
        die("open", &err);
    }
    bench->refs = mem_calloc(bench->series_count, sizeof(bench->refs[0]));
    for (size_t i = 0; i < bench->series_count; i++) {
        struct label items[] = {
            { .name = METRIC_NAME, .value = arena_printf(&arena, "metric_%zu_total", i % 50) },
            { .name = STR("instance"), .value = arena_printf(&arena, "10.0.0.%zu", i / 50) },
        };
        if (!tsdb_series(bench->db, (struct labels){ items, 2 }, &bench->refs[i], &err)) {
            die("series", &err);
        }
        arena_reset(&arena);
    }
    arena_finish(&arena);
}

static size_t number_of(int argc, char **argv, int at, size_t otherwise) {
    return argc > at ? strtoull(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "backup") == 0) {
        return backup_child(argv[2], argv[3]);
    }

    static const enum work order[] = { ALONE, MERGES, ALONE, BACKUP, ALONE, QUERIES };
    struct bench bench = { .t_ms = INT64_C(1700000000000), .state = 1 };
    struct times times[WORK_COUNT] = { 0 };
    struct times ignored = { 0 };
    size_t done[WORK_COUNT] = { 0 };
    bench.series_count = number_of(argc, argv, 1, 20000);
    int seconds = (int)number_of(argc, argv, 2, 5);
    size_t turns = number_of(argc, argv, 3, 3);
    snprintf(bench.dir, sizeof(bench.dir), "%s", argc > 4 ? argv[4] : "/tmp/bench_latency.data");
    open_bench(&bench);
    hold_merges(&bench, true);
    double most = saturate(&bench, seconds, &ignored);
    printf("%-10s %.2fM samples/s at most; half of it: %.0f batches/s of %d\n", "load",
           most * BATCH_SAMPLES / 1e6, most / 2, BATCH_SAMPLES);
    for (size_t i = 0; i < turns * ARRAY_LEN(order); i++) {
        enum work work = order[i % ARRAY_LEN(order)];
        bench.done = 0;
        turn(&bench, work, most / 2, seconds, &times[work]);
        done[work] += bench.done;
    }
    print_times(times, done);
    printf("%-10s %s\n", "data in", bench.dir);
    tsdb_close(bench.db);
    return 0;
}
