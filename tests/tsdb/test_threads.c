/*
 * Goal: writers, readers and maintenance at the same time: no torn batch is ever seen, nothing is
 * lost, and the thread sanitizer has nothing to say. Method: every batch writes one value to a pair
 * of series; a reader must find both columns equal. Four writers, two readers, maintenance on a
 * fast clock.
 */
#include <pthread.h>
#include <stdio.h>

#include "tests/tsdb/fixture.h"

#define WRITERS 4
#define READERS 2
#define COMMITS 120

struct shared {
    struct fixture f;
    _Atomic bool is_over;
    _Atomic size_t failures;
    _Atomic size_t reads;
};

struct writer {
    struct shared *shared;
    int number;
    pthread_t thread;
};

static bool series_of(struct shared *shared,
                      int writer,
                      const char *side,
                      struct arena *arena,
                      series_ref_t *ret) {
    char name[16];
    struct err err = ERR_INIT;
    snprintf(name, sizeof(name), "w%d", writer);
    return tsdb_series(shared->f.db, make_labels(arena, "pair", PAIRS("w", name, "side", side)),
                       ret, &err);
}

static bool write_pair(struct shared *shared,
                       const struct writer *writer,
                       int n,
                       struct arena *arena) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    series_ref_t a;
    series_ref_t b;
    series_ref_t fresh;
    char name[32];
    snprintf(name, sizeof(name), "f%d-%d", writer->number, n / 10);
    if (!series_of(shared, writer->number, "a", arena, &a) ||
        !series_of(shared, writer->number, "b", arena, &b) ||
        !series_of(shared, writer->number, name, arena, &fresh) ||
        !tsdb_batch_begin(shared->f.db, TSDB_INGEST, &batch, &err)) {
        return false;
    }
    int64_t t_ms = FIXTURE_NOW_MS + n * 10 * MINUTE_MS;
    tsdb_batch_append(batch, a, t_ms, n);
    tsdb_batch_append(batch, fresh, t_ms, n);
    tsdb_batch_append(batch, b, t_ms, n);
    return tsdb_commit_blocking(batch, NULL, &err);
}

static void *write_main(void *arg) {
    struct writer *writer = arg;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (int n = 0; n < COMMITS; n++) {
        if (!write_pair(writer->shared, writer, n, &arena)) {
            writer->shared->failures++;
        }
        arena_reset(&arena);
    }
    arena_finish(&arena);
    return NULL;
}

/* Both sides of every writer have the same samples in one snapshot. */
static bool check_pairs(struct shared *shared, struct tsdb_querier *querier, struct arena *arena) {
    struct err err = ERR_INIT;
    struct matcher matcher = make_matcher(MATCH_RE, "side", "a|b");
    struct tsdb_series_view *views;
    size_t count;
    struct tsdb_column columns[2] = { 0 };
    bool ok = tsdb_select(querier, &matcher, 1, arena, &views, &count, &err);
    /* Sorted by side, then writer: a/w0 … a/w3, b/w0 … b/w3. A writer may be between the two
     * tsdb_series calls, but without samples a series does not show. */
    ok = ok && count % 2 == 0;
    for (size_t i = 0; ok && i < count / 2; i++) {
        ok = tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &columns[0], &err) &&
             tsdb_read(querier, views[i + count / 2].id, INT64_MIN, INT64_MAX, &columns[1], &err);
        ok = ok && columns[0].count == columns[1].count;
        for (size_t s = 0; ok && s < columns[0].count; s++) {
            ok = columns[0].values[s] == (double)s && columns[1].values[s] == (double)s;
        }
    }
    tsdb_column_finish(&columns[0]);
    tsdb_column_finish(&columns[1]);
    matcher_finish(&matcher);
    shared->reads++;
    return ok;
}

static void *read_main(void *arg) {
    struct shared *shared = arg;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    while (!shared->is_over) {
        struct err err = ERR_INIT;
        struct tsdb_querier *querier;
        struct tsdb_stats stats;
        if (!tsdb_querier_open(shared->f.db, INT64_MIN, INT64_MAX, NULL, &querier, &err)) {
            shared->failures++;
            break;
        }
        /* Twice: a snapshot does not move. */
        if (!check_pairs(shared, querier, &arena) || !check_pairs(shared, querier, &arena)) {
            shared->failures++;
        }
        tsdb_querier_close(querier);
        tsdb_stats(shared->f.db, &stats);
        arena_reset(&arena);
    }
    arena_finish(&arena);
    return NULL;
}

static void *maintain_main(void *arg) {
    struct shared *shared = arg;
    while (!shared->is_over) {
        struct err err = ERR_INIT;
        fake_clock_advance(&shared->f.clock, 15 * MINUTE_MS);
        if (!tsdb_maintain_blocking(shared->f.db, &err)) {
            shared->failures++;
        }
    }
    return NULL;
}

static void all_at_once(void **state) {
    struct shared shared = { 0 };
    fixture_init(&shared.f);
    fixture_open(&shared.f);
    struct writer writers[WRITERS];
    pthread_t readers[READERS];
    pthread_t maintainer;
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ .shared = &shared, .number = i };
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_main, &writers[i]), 0);
    }
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, read_main, &shared), 0);
    }
    assert_int_equal(pthread_create(&maintainer, NULL, maintain_main, &shared), 0);
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
    }
    shared.is_over = true;
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers[i], NULL);
    }
    pthread_join(maintainer, NULL);
    assert_int_equal(shared.failures, 0);
    assert_true(shared.reads > 0);
    for (int turn = 0; turn < 2; turn++) {
        struct tsdb_querier *querier = open_querier(&shared.f, INT64_MIN, INT64_MAX);
        assert_true(check_pairs(&shared, querier, &shared.f.arena));
        tsdb_querier_close(querier);
        struct tsdb_stats stats;
        tsdb_stats(shared.f.db, &stats);
        if (turn == 0) {
            assert_int_equal(stats.samples_total, WRITERS * COMMITS * 3);
            fixture_reopen(&shared.f);
        }
    }
    fixture_finish(&shared.f);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_at_once) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
