/*
 * Goal: a directory opens at once; tables work while the journal is replayed, everything that needs
 * the head waits and then sees all of it; closing does not wait. Method: a damaged record makes the
 * replay call on_damage, which holds it for as long as the test likes.
 */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"

struct gate {
    struct fixture f;
    sem_t reached;
    sem_t passed;
};

static void hold_replay(void *ctx, const char *what) {
    struct gate *gate = ctx;
    if (strstr(what, "is damaged") != NULL) {
        sem_post(&gate->reached);
        sem_wait(&gate->passed);
    }
}

/* Change `text` in the journal behind the store's back. */
static void damage_journal(struct fixture *f, const char *text) {
    char path[100];
    snprintf(path, sizeof(path), "%s/journal/data.mdb", f->dir);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t len = (size_t)ftell(file);
    char *bytes = malloc(len);
    rewind(file);
    assert_int_equal(fread(bytes, 1, len, file), len);
    size_t found = 0;
    for (char *at = bytes; (at = memmem(at, len - (size_t)(at - bytes), text, strlen(text)));
         at++) {
        assert_int_equal(fseek(file, at - bytes, SEEK_SET), 0);
        assert_int_equal(fputc('#', file), '#');
        found++;
    }
    assert_true(found > 0);
    fclose(file);
    free(bytes);
}

/* Opened, and the replay held at its damaged record. */
static void open_held(struct gate *gate) {
    struct err err = ERR_INIT;
    assert_true(tsdb_open(&gate->f.options, &gate->f.db, &err));
    sem_wait(&gate->reached);
}

static int setup(void **state) {
    struct gate *gate = test_calloc(1, sizeof(*gate));
    struct fixture *f = &gate->f;
    sem_init(&gate->reached, 0, 0);
    sem_init(&gate->passed, 0, 0);
    fixture_init(f);
    fixture_open(f);
    series_ref_t a = make_series(f, "a", NULL);
    assert_int_equal(put_sample(f, a, 1, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, make_series(f, "to_be_damaged", NULL), 1, 1), TSDB_ACCEPTED);
    fixture_reopen(f); /* a new epoch: its records can be read without those before */
    assert_int_equal(put_sample(f, make_series(f, "a", NULL), 2, 2), TSDB_ACCEPTED);
    fixture_close(f);
    damage_journal(f, "to_be_damaged");
    f->options.on_damage = hold_replay;
    f->options.on_damage_ctx = gate;
    open_held(gate);
    *state = gate;
    return 0;
}

static int teardown(void **state) {
    struct gate *gate = *state;
    fixture_finish(&gate->f);
    sem_destroy(&gate->reached);
    sem_destroy(&gate->passed);
    test_free(gate);
    return 0;
}

static void *write_meanwhile(void *arg) {
    struct fixture *f = arg;
    struct err err = ERR_INIT;
    struct arena arena;
    struct tsdb_batch *batch;
    series_ref_t ref;
    arena_init(&arena, SIZE_MAX);
    bool ok = tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err) &&
              tsdb_series(f->db, make_labels(&arena, "a", NULL), &ref, &err);
    if (ok) {
        tsdb_batch_append(batch, ref, 2, 2); /* repeated: judged with the journal in view */
        tsdb_batch_append(batch, ref, 3, 3);
        struct tsdb_commit_result result;
        ok = tsdb_commit_blocking(batch, &result, &err) && result.counts[TSDB_DUPLICATE] == 1 &&
             result.counts[TSDB_ACCEPTED] == 1;
    }
    arena_finish(&arena);
    return ok ? f : NULL;
}

static void *query_meanwhile(void *arg) {
    struct fixture *f = arg;
    struct err err = ERR_INIT;
    struct tsdb_querier *querier;
    struct arena arena;
    struct tsdb_series_view *views;
    size_t count = 0;
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "a");
    arena_init(&arena, SIZE_MAX);
    bool ok = tsdb_querier_open(f->db, INT64_MIN, INT64_MAX, NULL, &querier, &err);
    if (ok) {
        ok = tsdb_select(querier, &matcher, 1, &arena, &views, &count, &err) && count == 1;
        struct tsdb_column column = { 0 };
        ok = ok && tsdb_read(querier, views[0].id, INT64_MIN, INT64_MAX, &column, &err) &&
             column.count >= 2;
        tsdb_column_finish(&column);
        tsdb_querier_close(querier);
    }
    arena_finish(&arena);
    matcher_finish(&matcher);
    return ok ? f : NULL;
}

static void waits_for_replay(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    struct err err = ERR_INIT;
    assert_false(tsdb_health(f->db, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "replayed"));
    /* The state of rules and notifications goes on. */
    struct kv_store *kv = tsdb_kv(f->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("key"), STR("value"));
    assert_true(kv->commit_blocking(kv, batch, &err));
    pthread_t writer;
    pthread_t reader;
    assert_int_equal(pthread_create(&writer, NULL, write_meanwhile, f), 0);
    assert_int_equal(pthread_create(&reader, NULL, query_meanwhile, f), 0);
    sem_post(&gate->passed);
    void *wrote;
    void *read;
    pthread_join(writer, &wrote);
    pthread_join(reader, &read);
    assert_non_null(wrote);
    assert_non_null(read);
    assert_true(tsdb_health(f->db, &err));
    assert_string_equal(read_name(f, "a"), "a 1:1 2:2 3:3\n");
}

static void *close_store(void *arg) {
    fixture_close(arg);
    return arg;
}

/* Closing gives the replay up; nothing is lost by that. */
static void closes_meanwhile(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    pthread_t closer;
    assert_int_equal(pthread_create(&closer, NULL, close_store, f), 0);
    sem_post(&gate->passed);
    pthread_join(closer, NULL);
    open_held(gate);
    sem_post(&gate->passed);
    assert_string_equal(read_name(f, "a"), "a 1:1 2:2\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(waits_for_replay),
        TEST(closes_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
