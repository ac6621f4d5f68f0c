/*
 * Goal: what readers promise writers, and the other way round. A reader that is stopped at any
 * instruction of a query holds up neither commits nor new series nor sealing nor trimming; a
 * querier held open sees exactly its snapshot until it is ended, and keeps neither the journal nor
 * the store growing.
 * Method for the first: a signal stops the reader's thread wherever it is; while it stands still,
 * another thread must get a round of every kind of write done before a deadline.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/tsdb/fixture.h"

/* The allocator of the address sanitizer has locks that all threads share: a reader stopped in it
 * stops everybody, which says nothing about the store. */
#if defined(__SANITIZE_ADDRESS__)
#    define HAS_SHARED_ALLOCATOR 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define HAS_SHARED_ALLOCATOR 1
#    endif
#endif
#ifndef HAS_SHARED_ALLOCATOR
#    define HAS_SHARED_ALLOCATOR 0
#endif

#define STOPS      150
#define DEADLINE_S 30

/* ---- the stopped reader ---- */

/* A signal handler has no argument. */
static struct {
    _Atomic int is_stopped;
    _Atomic int goes_on;
} stop;

static void stand_still(int number) {
    stop.is_stopped = 1;
    while (!stop.goes_on) {
        sched_yield();
    }
    stop.is_stopped = 0;
}

struct scene {
    struct fixture f;
    _Atomic bool is_over;
    _Atomic size_t reads;
    _Atomic size_t failures;
    sem_t begin; /* a round of writes */
    sem_t end;
    int round;
};

static bool read_everything(struct scene *scene, struct arena *arena) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier;
    if (!tsdb_querier_open(scene->f.db, INT64_MIN, INT64_MAX, NULL, &querier, &err)) {
        return false;
    }
    struct matcher matcher = make_matcher(MATCH_RE, "instance", "[a-m].*");
    struct tsdb_series_view *views;
    size_t count;
    struct str *names;
    size_t name_count;
    struct tsdb_column column = { 0 };
    bool ok = tsdb_select(querier, &matcher, 1, arena, &views, &count, &err) &&
              tsdb_label_names(querier, NULL, 0, arena, &names, &name_count, &err);
    for (size_t i = 0; ok && i < count; i++) {
        ok = tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err);
        bool is_late = str_eq_c(labels_get(views[i].labels, METRIC_NAME), "late");
        for (size_t s = 1; ok && s < column.count; s++) {
            ok = is_late ? column.t_ms[s] > column.t_ms[s - 1]
                         : column.values[s] == column.values[s - 1] + 1;
        }
    }
    tsdb_column_finish(&column);
    matcher_finish(&matcher);
    tsdb_querier_close(querier);
    if (!ok) {
        fprintf(stderr, "# reading: %s\n", err.msg);
    }
    return ok;
}

static void *reader_main(void *arg) {
    struct scene *scene = arg;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    while (!scene->is_over) {
        scene->failures += !read_everything(scene, &arena);
        scene->reads++;
        arena_reset(&arena);
    }
    arena_finish(&arena);
    return NULL;
}

/* Samples of old series, a new series, then sealing, indexing, merging, trimming, leaving. */
static bool write_round(struct scene *scene, struct arena *arena) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(scene->f.db, TSDB_INGEST, &batch, &err)) {
        return false;
    }
    for (int i = 0; i < 40; i++) {
        char instance[32];
        series_ref_t ref;
        bool is_new = i >= 30;
        bool is_late = i < 10; /* every other sample comes behind the next one */
        int64_t t_ms = FIXTURE_NOW_MS + scene->round * 5 * MINUTE_MS;
        snprintf(instance, sizeof(instance), "%c%d", 'a' + i % 26, is_new ? scene->round + i : i);
        struct labels labels = make_labels(arena,
                                           is_new    ? "fresh"
                                           : is_late ? "late"
                                                     : "up",
                                           PAIRS("instance", instance, "job", "test"));
        if (!tsdb_series(scene->f.db, labels, &ref, &err)) {
            return false;
        }
        tsdb_batch_append(batch, ref, t_ms, scene->round);
        if (is_late) {
            tsdb_batch_append(batch, ref, t_ms - 7 * MINUTE_MS, scene->round);
        }
    }
    bool ok = tsdb_commit_blocking(batch, NULL, &err);
    fake_clock_advance(&scene->f.clock, 5 * MINUTE_MS);
    ok = ok && (scene->round % 4 != 0 || tsdb_maintain_blocking(scene->f.db, &err));
    if (!ok) {
        fprintf(stderr, "# writing: %s\n", err.msg);
    }
    return ok;
}

static void *writer_main(void *arg) {
    struct scene *scene = arg;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (;;) {
        while (sem_wait(&scene->begin) != 0) {
        }
        if (scene->is_over) {
            break;
        }
        scene->failures += !write_round(scene, &arena);
        scene->round++;
        arena_reset(&arena);
        sem_post(&scene->end);
    }
    arena_finish(&arena);
    return NULL;
}

static bool wait_for_end(struct scene *scene) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    return sem_timedwait(&scene->end, &until) == 0;
}

static unsigned seed_of(void) {
    const char *given = getenv("SEED");
    unsigned seed = given != NULL ? (unsigned)atoi(given) : (unsigned)time(NULL);
    fprintf(stderr, "# SEED=%u\n", seed);
    return seed;
}

static void begin_scene(struct scene *scene) {
    fixture_init(&scene->f);
    fixture_open(&scene->f);
    sem_init(&scene->begin, 0, 0);
    sem_init(&scene->end, 0, 0);
    struct sigaction action = { .sa_handler = stand_still };
    sigaction(SIGUSR1, &action, NULL);
}

static void stopped_reader(void **state) {
    if (HAS_SHARED_ALLOCATOR) {
        unit_skip("a thread stopped inside the address sanitizer's allocator stops all others");
        return;
    }
    struct scene scene = { 0 };
    unsigned seed = seed_of();
    begin_scene(&scene);
    pthread_t reader;
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, writer_main, &scene), 0);
    for (int i = 0; i < 20; i++) {
        sem_post(&scene.begin);
        assert_true(wait_for_end(&scene));
    }
    assert_int_equal(pthread_create(&reader, NULL, reader_main, &scene), 0);
    for (int i = 0; i < STOPS; i++) {
        for (unsigned spin = (unsigned)rand_r(&seed) % 20000; spin > 0; spin--) {
            __asm__ volatile("" ::: "memory");
        }
        stop.goes_on = 0;
        assert_int_equal(pthread_kill(reader, SIGUSR1), 0);
        while (!stop.is_stopped) {
            sched_yield();
        }
        sem_post(&scene.begin);
        bool is_done = wait_for_end(&scene);
        stop.goes_on = 1;
        assert_true(is_done);
        while (stop.is_stopped) {
            sched_yield();
        }
    }
    scene.is_over = true;
    sem_post(&scene.begin);
    pthread_join(reader, NULL);
    pthread_join(writer, NULL);
    assert_int_equal(scene.failures, 0);
    assert_true(scene.reads > 0);
    sem_destroy(&scene.begin);
    sem_destroy(&scene.end);
    fixture_finish(&scene.f);
}

/* ---- snapshots ---- */

static size_t count_of(struct fixture *f, struct tsdb_querier *querier, const char *name) {
    struct err err = ERR_INIT;
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", name);
    struct tsdb_series_view *views;
    size_t count;
    struct tsdb_column column = { 0 };
    size_t samples = 0;
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    for (size_t i = 0; i < count; i++) {
        assert_true(tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err));
        samples += column.count;
    }
    tsdb_column_finish(&column);
    matcher_finish(&matcher);
    return samples;
}

/* Many more commits than a history has room for. */
static void long_snapshot(void **state) {
    struct fixture f;
    fixture_init(&f);
    fixture_open(&f);
    struct err err = ERR_INIT;
    series_ref_t ref = make_series(&f, "s", PAIRS("x", "a"));
    struct tsdb_querier *queriers[3];
    for (int i = 0; i < 900; i++) {
        if (i % 300 == 100) {
            queriers[i / 300] = open_querier(&f, INT64_MIN, INT64_MAX);
        }
        assert_int_equal(put_sample(&f, ref, FIXTURE_NOW_MS + i, i), TSDB_ACCEPTED);
        if (i % 250 == 0) {
            assert_true(tsdb_maintain_blocking(f.db, &err));
        }
    }
    for (int i = 2; i >= 0; i--) {
        assert_int_equal(count_of(&f, queriers[i], "s"), i * 300 + 100);
    }
    /* Those that are left keep theirs when another one closes. */
    tsdb_querier_close(queriers[1]);
    assert_int_equal(put_sample(&f, ref, FIXTURE_NOW_MS + 1000, 1000), TSDB_ACCEPTED);
    assert_int_equal(count_of(&f, queriers[0], "s"), 100);
    assert_int_equal(count_of(&f, queriers[2], "s"), 700);
    tsdb_querier_close(queriers[0]);
    tsdb_querier_close(queriers[2]);
    fixture_finish(&f);
}

static void put_round(struct fixture *f, series_ref_t *refs, size_t count, int64_t t_ms) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
    for (size_t i = 0; i < count; i++) {
        tsdb_batch_append(batch, refs[i], t_ms, (double)(t_ms % 9973) * 0.37 + (double)i);
    }
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
}

#define HELD_SERIES 200

/* Held beyond its time: right answers, then the named error, never a wrong one. */
static void held_querier(void **state) {
    struct fixture f;
    fixture_init(&f);
    f.options.querier_ms_max = 30000;
    fixture_open(&f);
    struct err err = ERR_INIT;
    series_ref_t refs[HELD_SERIES];
    for (int i = 0; i < HELD_SERIES; i++) {
        char number[16];
        snprintf(number, sizeof(number), "%d", i);
        refs[i] = make_series(&f, "held", PAIRS("n", number));
    }
    put_round(&f, refs, HELD_SERIES, FIXTURE_NOW_MS);
    struct tsdb_querier *querier = open_querier(&f, INT64_MIN, INT64_MAX);
    put_round(&f, refs, HELD_SERIES, FIXTURE_NOW_MS + 1000);
    fake_clock_advance(&f.clock, 29000);
    assert_true(tsdb_maintain_blocking(f.db, &err));
    assert_int_equal(count_of(&f, querier, "held"), HELD_SERIES);
    uint64_t bounds[2] = { 0 };
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 10; i++) {
            put_round(&f, refs, HELD_SERIES, clock_wall_ms(f.options.clock) + 60000 + i * 15000);
        }
        fake_clock_advance(&f.clock, 150000);
        assert_true(tsdb_maintain_blocking(f.db, &err));
        struct tsdb_stats stats;
        tsdb_stats(f.db, &stats);
        bounds[round >= 20] = stats.journal_bytes;
    }
    /* As much was written again: no more pages for it. */
    assert_true(bounds[1] <= bounds[0] + bounds[0] / 4);
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "held");
    struct tsdb_series_view *views;
    size_t count;
    assert_false(tsdb_select(querier, &matcher, 1, &f.arena, &views, &count, &err));
    assert_int_equal(err.code, ERR_TIMEOUT);
    assert_non_null(strstr(err.msg, "30 s"));
    tsdb_querier_close(querier);
    querier = open_querier(&f, INT64_MIN, INT64_MAX);
    assert_int_equal(count_of(&f, querier, "held"), 402 * HELD_SERIES);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
    fixture_finish(&f);
}

/* More than there is room for: refused, and room again when one closes. */
static void too_many(void **state) {
    struct fixture f;
    fixture_init(&f);
    fixture_open(&f);
    struct err err = ERR_INIT;
    struct tsdb_querier *queriers[2000];
    size_t count = 0;
    while (count < 2000 &&
           tsdb_querier_open(f.db, INT64_MIN, INT64_MAX, NULL, &queriers[count], &err)) {
        count++;
    }
    assert_true(count >= 256 && count < 2000);
    assert_int_equal(err.code, ERR_THROTTLED);
    tsdb_querier_close(queriers[--count]);
    queriers[count++] = open_querier(&f, INT64_MIN, INT64_MAX);
    while (count > 0) {
        tsdb_querier_close(queriers[--count]);
    }
    fixture_finish(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_snapshot),
        cmocka_unit_test(held_querier),
        cmocka_unit_test(too_many),
        cmocka_unit_test(stopped_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
