/*
 * Goal: rows and segments of the store give back what was put, and anything else in them is
 * ERR_CORRUPT. Method: rows through an environment of their own, then garbage with a right checksum
 * and right bytes with a wrong one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/parts/store.h"

struct world {
    char dir[64];
    struct store store;
    MDB_txn *txn; /* every test runs inside one write transaction */
    struct arena arena;
};

static int setup(void **state) {
    struct world *w = test_calloc(1, sizeof(*w));
    struct err err = ERR_INIT;
    snprintf(w->dir, sizeof(w->dir), "/tmp/tocsin-store-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_true(store_open(&w->store, w->dir, false, &err));
    assert_true(env_write_begin(&w->store.env, &w->txn, &err));
    arena_init(&w->arena, SIZE_MAX);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    mdb_txn_abort(w->txn);
    store_close(&w->store);
    arena_finish(&w->arena);
    remove_tree(w->dir);
    test_free(w);
    return 0;
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void state_row(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    struct store_state got;
    bool found;
    assert_true(store_get_state(&w->store, w->txn, &got, &found, &err));
    assert_false(found);
    struct store_state want = {
        .block_ms = 7200000,
        .id_next = 77,
        .applied_lsn = UINT64_MAX,
        .segment_next = 5,
    };
    assert_int_equal(store_put_state(&w->store, w->txn, &want), 0);
    assert_true(store_get_state(&w->store, w->txn, &got, &found, &err));
    assert_true(found);
    assert_memory_equal(&got, &want, sizeof(got));
    char body[33] = { 2 }; /* a version of the future */
    assert_int_equal(
        store_put(&w->store, w->txn, STORE_META, STR("state"), str_n(body, sizeof(body))), 0);
    assert_false(store_get_state(&w->store, w->txn, &got, &found, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

static void window_rows(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    static const int64_t windows[] = { INT64_MIN, -3, -1, 0, 1, 500, INT64_MAX };
    for (size_t i = ARRAY_LEN(windows); i > 0; i--) {
        struct store_window stats = { .t_min_ms = windows[i - 1], .t_max_ms = 9, .chunk_count = i };
        assert_int_equal(store_put_window(&w->store, w->txn, windows[i - 1], &stats), 0);
    }
    struct store_window got;
    bool found;
    assert_true(store_get_window(&w->store, w->txn, -3, &got, &found, &err));
    assert_true(found && got.t_min_ms == -3 && got.t_max_ms == 9 && got.chunk_count == 2);
    assert_true(store_get_window(&w->store, w->txn, 2, &got, &found, &err));
    assert_false(found);
    int64_t *list;
    size_t count;
    assert_true(store_list_windows(&w->store, w->txn, INT64_MIN, INT64_MAX, &list, &count, &err));
    assert_int_equal(count, ARRAY_LEN(windows));
    assert_memory_equal(list, windows, sizeof(windows));
    free(list);
    assert_true(store_list_windows(&w->store, w->txn, -2, 1, &list, &count, &err));
    assert_int_equal(count, 3);
    assert_memory_equal(list, windows + 2, 3 * sizeof(windows[0]));
    free(list);
}

static void chunk_rows(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    /* As they must come back: by time, then segment, then offset; they may overlap. */
    static const struct chunk_ref refs[] = {
        { .segment = 1, .offset = 16, .count = 1, .t_min_ms = INT64_MIN, .t_max_ms = INT64_MIN },
        { .segment = 9, .offset = 99, .count = 9, .t_min_ms = -5, .t_max_ms = 5000 },
        { .segment = 7, .offset = 16, .count = 2, .t_min_ms = 6, .t_max_ms = 7 },
        { .segment = 7, .offset = 32000, .count = 120, .t_min_ms = 6, .t_max_ms = INT64_MAX },
        { .segment = 8, .offset = 16, .count = 3, .t_min_ms = 6, .t_max_ms = 8 },
    };
    struct store_row row = { .has_last = true, .t_last_ms = 8, .value_last_bits = STALE_NAN_BITS };
    static const size_t added[ARRAY_LEN(refs)] = { 3, 0, 4, 2, 1 };
    for (size_t i = 0; i < ARRAY_LEN(refs); i++) {
        store_row_add(&row, refs[added[i]]);
    }
    int64_t t_min_ms;
    int64_t t_max_ms;
    store_row_bounds(&row, &t_min_ms, &t_max_ms);
    assert_true(t_min_ms == INT64_MIN && t_max_ms == INT64_MAX);
    assert_int_equal(store_put_row(&w->store, w->txn, -1, 42, &row), 0);
    struct store_row got = { 0 };
    bool found;
    assert_true(store_get_row(&w->store, w->txn, -1, 42, &got, &found, &err));
    assert_true(found && got.value_last_bits == STALE_NAN_BITS);
    assert_true(got.has_last && got.t_last_ms == 8);
    assert_int_equal(got.count, ARRAY_LEN(refs));
    assert_memory_equal(got.refs, refs, sizeof(refs));
    row.has_last = false;
    assert_int_equal(store_put_row(&w->store, w->txn, -1, 44, &row), 0);
    assert_true(store_get_row(&w->store, w->txn, -1, 44, &got, &found, &err));
    assert_true(found && !got.has_last && got.count == ARRAY_LEN(refs));
    assert_true(store_get_row(&w->store, w->txn, -1, 43, &got, &found, &err));
    assert_false(found);
    assert_int_equal(got.count, 0);
    /* Version 1: one chunk at 100..120 of segment 3. */
    static const uint8_t v1[] = { 1, 7, 0, 0, 0, 0, 0, 0, 0, 1, 3, 16, 200, 1, 20, 5 };
    uint8_t key[STORE_KEY_ROW_BYTES];
    store_key_row(key, 3, 1);
    struct str key_text = str_n((const char *)key, sizeof(key));
    assert_int_equal(
        store_put(&w->store, w->txn, STORE_ROWS, key_text, str_n((const char *)v1, sizeof(v1))), 0);
    assert_true(store_get_row(&w->store, w->txn, 3, 1, &got, &found, &err));
    assert_true(got.has_last && got.t_last_ms == 120 && got.value_last_bits == 7);
    uint64_t seed = 5;
    for (int round = 0; round < 2000; round++) {
        char body[60];
        size_t len = next_random(&seed) % sizeof(body);
        for (size_t i = 0; i < len; i++) {
            body[i] = (char)(next_random(&seed) % 16);
        }
        body[0] = (char)(1 + round % 2);
        assert_int_equal(store_put(&w->store, w->txn, STORE_ROWS, key_text, str_n(body, len)), 0);
        if (!store_get_row(&w->store, w->txn, 3, 1, &got, &found, &err)) {
            assert_int_equal(err.code, ERR_CORRUPT);
        }
    }
    store_row_finish(&got);
    store_row_finish(&row);
}

static void checksums(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    struct str body;
    bool found;
    assert_int_equal(store_put(&w->store, w->txn, STORE_DIRECTORY, STR("key"), STR("content")), 0);
    assert_true(store_get(&w->store, w->txn, STORE_DIRECTORY, STR("key"), &body, &found, &err));
    assert_true(found && str_eq_c(body, "content"));
    MDB_val key = { .mv_size = 3, .mv_data = (char[]){ 'k', 'e', 'y' } };
    MDB_val value;
    assert_int_equal(mdb_get(w->txn, w->store.dbis[STORE_DIRECTORY], &key, &value), 0);
    uint8_t copy[11];
    assert_int_equal(value.mv_size, sizeof(copy));
    for (size_t bit = 0; bit < 8 * sizeof(copy); bit++) {
        assert_int_equal(mdb_get(w->txn, w->store.dbis[STORE_DIRECTORY], &key, &value), 0);
        memcpy(copy, value.mv_data, sizeof(copy));
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        MDB_val bad = { .mv_size = sizeof(copy), .mv_data = copy };
        assert_int_equal(mdb_put(w->txn, w->store.dbis[STORE_DIRECTORY], &key, &bad, 0), 0);
        assert_false(
            store_get(&w->store, w->txn, STORE_DIRECTORY, STR("key"), &body, &found, &err));
        assert_int_equal(err.code, ERR_CORRUPT);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(mdb_put(w->txn, w->store.dbis[STORE_DIRECTORY], &key, &bad, 0), 0);
    }
    /* The row of another key or table is not this one's. */
    MDB_val other = { .mv_size = 3, .mv_data = (char[]){ 'k', 'e', 'z' } };
    MDB_val same = { .mv_size = sizeof(copy), .mv_data = copy };
    assert_int_equal(mdb_put(w->txn, w->store.dbis[STORE_DIRECTORY], &other, &same, 0), 0);
    assert_false(store_get(&w->store, w->txn, STORE_DIRECTORY, STR("kez"), &body, &found, &err));
    assert_int_equal(mdb_put(w->txn, w->store.dbis[STORE_ROWS], &key, &same, 0), 0);
    assert_false(store_get(&w->store, w->txn, STORE_ROWS, STR("key"), &body, &found, &err));
}

static void segments(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    struct buf segment;
    buf_init(&segment, SEGMENT_BYTES_MAX);
    char payload[1000];
    memset(payload, 'p', sizeof(payload));
    struct chunk_ref refs[100];
    size_t count = 0;
    for (;; count++) {
        struct segment_chunk chunk = {
            .id = 1000 + count,
            .codec = 1,
            .count = 7,
            .t_min_ms = (int64_t)count,
            .t_max_ms = INT64_MAX,
            .bytes = str_n(payload, sizeof(payload)),
        };
        if (!segment_add(&segment, &chunk, &refs[count].offset)) {
            break;
        }
        refs[count].segment = 9;
        refs[count].count = 7;
        refs[count].t_min_ms = (int64_t)count;
        refs[count].t_max_ms = INT64_MAX;
    }
    assert_int_equal(count, 32);
    uint64_t bytes;
    assert_int_equal(segment_put(&w->store, w->txn, -2, 9, buf_as_str(&segment), &bytes), 0);
    assert_int_equal(bytes, 32768);
    struct chunk_view chunk;
    for (size_t i = 0; i < count; i++) {
        assert_true(
            segment_get_chunk(&w->store, w->txn, -2, 1000 + i, &refs[i], false, &chunk, &err));
        assert_int_equal(chunk.len, sizeof(payload));
        assert_memory_equal(chunk.bytes, payload, sizeof(payload));
    }
    /* The wrong series, place, count or time, and a segment that is not there. */
    struct chunk_ref bad = refs[3];
    assert_false(segment_get_chunk(&w->store, w->txn, -2, 5, &refs[3], false, &chunk, &err));
    bad.offset++;
    assert_false(segment_get_chunk(&w->store, w->txn, -2, 1003, &bad, false, &chunk, &err));
    bad.offset = UINT32_MAX;
    assert_false(segment_get_chunk(&w->store, w->txn, -2, 1003, &bad, false, &chunk, &err));
    bad = refs[3];
    bad.count++;
    assert_false(segment_get_chunk(&w->store, w->txn, -2, 1003, &bad, false, &chunk, &err));
    bad = refs[3];
    bad.t_min_ms--;
    assert_false(segment_get_chunk(&w->store, w->txn, -2, 1003, &bad, false, &chunk, &err));
    assert_false(segment_get_chunk(&w->store, w->txn, -1, 1003, &refs[3], false, &chunk, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    buf_finish(&segment);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(state_row), TEST(window_rows), TEST(chunk_rows), TEST(checksums), TEST(segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
