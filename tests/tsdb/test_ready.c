/*
 * Goal: a directory opens at once; tables work while the journal is replayed, readers wait and then
 * see all of it; closing does not wait. Method: gate.h. Writing meanwhile: test_defer.c.
 */
#include <pthread.h>

#include "tests/tsdb/gate.h"

static int setup(void **state) {
    struct gate *gate = test_calloc(1, sizeof(*gate));
    gate_init(gate);
    gate_open_held(gate);
    *state = gate;
    return 0;
}

static int teardown(void **state) {
    struct gate *gate = *state;
    gate_finish(gate);
    test_free(gate);
    return 0;
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
    struct tsdb_replay replay;
    assert_true(tsdb_is_replaying(f->db, &replay));
    assert_int_equal(replay.lsn_first, 1);
    assert_int_equal(replay.lsn_last, 2);
    assert_int_equal(replay.lsn_now, 0);
    assert_true(tsdb_health(f->db, &err));
    /* The state of rules and notifications goes on. */
    struct kv_store *kv = tsdb_kv(f->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("key"), STR("value"));
    assert_true(kv->commit_blocking(kv, batch, &err));
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, query_meanwhile, f), 0);
    gate_pass(gate);
    void *read;
    pthread_join(reader, &read);
    assert_non_null(read);
    assert_false(tsdb_is_replaying(f->db, &replay));
    assert_int_equal(replay.lsn_now, 2);
    assert_string_equal(read_name(f, "a"), "a 1:1 2:2\n");
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
    gate_open_held(gate);
    gate_pass(gate);
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
