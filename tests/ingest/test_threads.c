/*
 * Goal: many threads posting the same events, samples and pages at once, while time runs on its own
 * thread, count each thing once. Method: real threads and the real clock; run under
 * ThreadSanitizer.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "tests/ingest/fixture.h"

#define THREADS   4
#define BODIES    40
#define PER_BODY  5
#define EVENT_IDS (BODIES * PER_BODY)

struct shared {
    struct ingest *ingest;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    size_t settled; /* guarded by mu, as the sums */
    uint64_t accepted;
    uint64_t duplicates;
    uint64_t errors;
};

static void on_done(void *ctx, const struct ingest_result *result) {
    struct shared *shared = ctx;
    pthread_mutex_lock(&shared->mu);
    shared->settled++;
    shared->accepted += result->accepted;
    shared->duplicates += result->duplicates;
    shared->errors += result->err.code != ERR_NONE;
    pthread_cond_broadcast(&shared->cond);
    pthread_mutex_unlock(&shared->mu);
}

static void wait_settled(struct shared *shared, size_t count) {
    pthread_mutex_lock(&shared->mu);
    while (shared->settled < count) {
        pthread_cond_wait(&shared->cond, &shared->mu);
    }
    pthread_mutex_unlock(&shared->mu);
}

/* Every thread sends every id. */
static void *post_ids(void *ctx) {
    struct shared *shared = ctx;
    for (int body = 0; body < BODIES; body++) {
        char text[PER_BODY * 160];
        size_t len = 0;
        for (int i = 0; i < PER_BODY; i++) {
            len += (size_t)snprintf(text + len, sizeof(text) - len,
                                    "{\"id\":\"%d\",\"kind\":\"dependency\",\"app\":\"a\","
                                    "\"worker\":\"w\",\"name\":\"d%d\"}\n",
                                    body * PER_BODY + i, i);
        }
        struct ingest_body posted = { .bytes = str_n(text, len) };
        ingest_events(shared->ingest, &posted, on_done, shared);
        struct arena arena;
        arena_init(&arena, SIZE_MAX);
        struct ingest_job *jobs;
        struct ingest_target *targets;
        size_t count;
        ingest_jobs(shared->ingest, &arena, &jobs, &count);
        ingest_targets(shared->ingest, &arena, &targets, &count);
        arena_finish(&arena);
    }
    return NULL;
}

static struct door_fixture *started(void **state) {
    static struct door_fixture fixture;
    struct err err = ERR_INIT;
    door_init(&fixture);
    fixture.store.options.clock = NULL;
    door_open(&fixture);
    ingest_destroy(fixture.ingest);
    fixture.options.clock = NULL;
    fixture.options.events.step_ms = 10;
    fixture.options.self_interval_ms = 10;
    fixture.options.host_interval_ms = 50;
    assert_true(ingest_create(&fixture.options, &fixture.ingest, &err));
    if (!ingest_start(fixture.ingest, &err)) {
        fail_msg("ingest_start: %s", err.msg);
    }
    *state = &fixture;
    return &fixture;
}

static void shared_init(struct shared *shared, struct ingest *ingest) {
    *shared = (struct shared){ .ingest = ingest };
    pthread_mutex_init(&shared->mu, NULL);
    pthread_cond_init(&shared->cond, NULL);
}

static void run_threads(void *(*run)(void *), struct shared *shared) {
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run, shared), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void test_every_id_counts_once(void **state) {
    struct door_fixture *f = started(state);
    struct shared shared;
    shared_init(&shared, f->ingest);
    run_threads(post_ids, &shared);
    wait_settled(&shared, (size_t)THREADS * BODIES);
    assert_int_equal(shared.errors, 0);
    assert_int_equal(shared.accepted, EVENT_IDS);
    assert_int_equal(shared.duplicates, (THREADS - 1) * EVENT_IDS);
    ingest_destroy(f->ingest);
    /* Whatever was sampled on the way: the state is exact. */
    f->store.options.clock = &f->store.clock.clock;
    f->options.clock = &f->store.clock.clock;
    f->options.events.step_ms = 1000;
    f->options.self_interval_ms = -1;
    f->options.host_interval_ms = -1;
    struct err err = ERR_INIT;
    assert_true(ingest_create(&f->options, &f->ingest, &err));
    int64_t later_ms = clock_wall_ms(clock_system()) + 3000;
    (void)ingest_tick_blocking(f->ingest, later_ms);
    for (int i = 0; i < PER_BODY; i++) {
        char expected[128];
        snprintf(expected, sizeof(expected),
                 "a_dependency_calls_total{dependency=\"d%d\",job=\"a\",outcome=\"ok\"} %d\n", i,
                 BODIES);
        assert_non_null(strstr(newest_of(f, "a_dependency_calls_total"), expected));
    }
    door_finish(f);
}

/* Thread-private series, one body per point in time, and pages of text. */
static void *post_samples(void *ctx) {
    struct shared *shared = ctx;
    static _Atomic int next_thread;
    int thread = atomic_fetch_add(&next_thread, 1);
    for (int i = 0; i < BODIES; i++) {
        char page[256];
        long long t_ms = (long long)clock_wall_ms(clock_system()) - 60000 + i;
        int len =
            snprintf(page, sizeof(page), "a{thread=\"%d\"} %d %lld\nb{thread=\"%d\"} %d %lld\n",
                     thread, i, t_ms + i, thread, i, t_ms + i);
        struct ingest_body body = { .bytes = str_n(page, (size_t)len) };
        ingest_import(shared->ingest, &body, on_done, shared);
        struct buf out;
        buf_init(&out, 1 << 20);
        ingest_expose(shared->ingest, INGEST_EXPOSITION_OPENMETRICS_1_0_0, &out);
        assert_false(out.is_over);
        buf_finish(&out);
    }
    return NULL;
}

static void test_samples_from_many_threads(void **state) {
    struct door_fixture *f = started(state);
    struct shared shared;
    shared_init(&shared, f->ingest);
    run_threads(post_samples, &shared);
    wait_settled(&shared, (size_t)THREADS * BODIES);
    assert_int_equal(shared.errors, 0);
    assert_int_equal(shared.accepted + shared.duplicates, THREADS * BODIES * 2);
    door_finish(f);
}

static void test_stop_settles_what_was_accepted(void **state) {
    struct door_fixture *f = started(state);
    struct shared shared;
    shared_init(&shared, f->ingest);
    (void)post_ids(&shared);
    ingest_stop(f->ingest);
    assert_int_equal(shared.settled, BODIES);
    assert_int_equal(shared.accepted, EVENT_IDS);
    struct ingest_body body = { .bytes = STR("{\"kind\":\"beat\",\"app\":\"a\"}") };
    ingest_events(f->ingest, &body, door_done, f);
    door_wait(f);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    ingest_import(f->ingest, &body, door_done, f);
    door_wait(f);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    ingest_write(f->ingest, &body, door_done, f);
    door_wait(f);
    assert_int_equal(f->err.code, ERR_UNAVAILABLE);
    door_finish(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_id_counts_once),
        cmocka_unit_test(test_samples_from_many_threads),
        cmocka_unit_test(test_stop_settles_what_was_accepted),
    };
    return cmocka_run_group_tests_name("ingest/threads", tests, NULL, NULL);
}
