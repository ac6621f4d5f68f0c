/*
 * Goal: the catalog gives back what was put, finds ids by labels, and survives damage of the rows
 * it can make again. Method: random puts and deletes beside a plain array; rows flipped bit by bit;
 * rows of older formats written by hand and converted.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "tests/tsdb/fixture.h"
#include "tsdb/parts/catalog_rows.h"

#define SERIES_MAX 3000

struct world {
    char dir[64];
    struct store store;
    MDB_txn *txn; /* every test runs inside one write transaction */
    struct arena arena;
    uint64_t random;
};

static int setup(void **state) {
    struct world *w = test_calloc(1, sizeof(*w));
    struct err err = ERR_INIT;
    snprintf(w->dir, sizeof(w->dir), "/tmp/tocsin-catalog-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    assert_true(store_open(&w->store, w->dir, false, &err));
    assert_true(env_write_begin(&w->store.env, &w->txn, &err));
    arena_init(&w->arena, SIZE_MAX);
    random_bytes(&w->random, sizeof(w->random));
    w->random |= 1;
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

static uint64_t next_random(struct world *w) {
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

/* Like a target's, mostly; some unlike anything else; all different. */
static struct labels labels_of(struct world *w, uint64_t id) {
    struct labels_builder builder;
    labels_builder_init(&builder, &w->arena, (struct labels){ 0 });
    labels_builder_set(&builder, METRIC_NAME, arena_printf(&w->arena, "metric_%d", (int)(id % 7)));
    labels_builder_set(&builder, STR("id"), arena_printf(&w->arena, "/path/%d", (int)id));
    labels_builder_set(&builder, STR("instance"),
                       arena_printf(&w->arena, "10.0.0.%d:9100", (int)(id / 50)));
    if (next_random(w) % 3 == 0) {
        labels_builder_set(&builder, STR("method"), STR("GET"));
    }
    if (next_random(w) % 40 == 0) {
        char *text = arena_alloc(&w->arena, LABEL_VALUE_BYTES_MAX);
        size_t len = 1 + next_random(w) % LABEL_VALUE_BYTES_MAX;
        memset(text, 'a' + (int)(id % 20), len);
        labels_builder_set(&builder, STR("long"), str_n(text, len));
    }
    for (int i = 0; next_random(w) % 50 == 0 && i < 50; i++) {
        labels_builder_set(&builder, arena_printf(&w->arena, "own_%d_%d", (int)id, i), STR("x"));
    }
    return labels_builder_build(&builder);
}

/* ---- against an array ---- */

struct model {
    struct labels labels[SERIES_MAX]; /* count 0: not there */
    int64_t lasts[SERIES_MAX];
};

static void put_some(struct world *w, struct model *model, uint64_t first, size_t count) {
    struct catalog_series *series = test_calloc(count, sizeof(series[0]));
    for (size_t i = 0; i < count; i++) {
        uint64_t id = (first + i * (1 + next_random(w) % 2)) % SERIES_MAX;
        if (model->labels[id].count == 0) {
            model->labels[id] = labels_of(w, id);
            model->lasts[id] = STORE_LAST_NONE;
        }
        series[i] = (struct catalog_series){ id, model->labels[id] };
    }
    assert_int_equal(catalog_put(&w->store, w->txn, series, count), 0);
    test_free(series);
}

static void put_some_lasts(struct world *w, struct model *model, int64_t window) {
    struct catalog_last *lasts = test_calloc(SERIES_MAX, sizeof(lasts[0]));
    size_t count = 0;
    for (uint64_t i = SERIES_MAX; i > 0; i--) {
        if (model->labels[i - 1].count > 0 && next_random(w) % 4 != 0) {
            model->lasts[i - 1] = window;
            lasts[count++] = (struct catalog_last){ i - 1, window };
        }
    }
    assert_int_equal(catalog_put_lasts(&w->store, w->txn, lasts, count), 0);
    test_free(lasts);
}

static void delete_some(struct world *w, struct model *model, uint64_t share) {
    uint64_t *ids = test_calloc(SERIES_MAX, sizeof(ids[0]));
    size_t count = 0;
    for (uint64_t id = 0; id < SERIES_MAX; id++) {
        if (next_random(w) % share == 0) {
            ids[count++] = id;
            model->labels[id].count = 0;
        }
    }
    assert_int_equal(catalog_del(&w->store, w->txn, ids, count), 0);
    test_free(ids);
}

struct walk {
    const struct model *model;
    uint64_t next;
    size_t count;
};

static bool visit_series(void *ctx, const struct catalog_series *series) {
    struct walk *walk = ctx;
    assert_true(series->id >= walk->next && series->id < SERIES_MAX);
    assert_true(labels_equal(series->labels, walk->model->labels[series->id]));
    walk->next = series->id + 1;
    walk->count++;
    return true;
}

static bool visit_last(void *ctx, const struct catalog_last *last) {
    struct walk *walk = ctx;
    assert_true(last->id >= walk->next && walk->model->labels[last->id].count > 0);
    assert_true(last->window == walk->model->lasts[last->id]);
    walk->next = last->id + 1;
    walk->count++;
    return true;
}

static void check_one(struct world *w, const struct model *model, uint64_t id) {
    struct err err = ERR_INIT;
    struct labels labels;
    uint64_t found_id;
    int64_t window;
    bool found;
    bool want = model->labels[id].count > 0;
    assert_true(catalog_get(&w->store, w->txn, id, &w->arena, &labels, &found, &err));
    assert_int_equal(found, want);
    assert_true(catalog_get_last(&w->store, w->txn, id, &window, &found, &err));
    assert_int_equal(found, want);
    if (want) {
        assert_true(labels_equal(labels, model->labels[id]));
        assert_true(catalog_find(&w->store, w->txn, labels, &found_id, &err));
        assert_int_equal(found_id, id);
        assert_true(window == model->lasts[id]);
    }
}

static void check_all(struct world *w, const struct model *model) {
    struct err err = ERR_INIT;
    struct catalog_reader reader;
    size_t count = 0;
    catalog_reader_init(&reader, &w->store, w->txn);
    for (uint64_t id = 0; id < SERIES_MAX; id += 1 + next_random(w) % 3) {
        struct labels labels;
        bool found;
        assert_true(catalog_read(&reader, id, &labels, &found, &err));
        assert_int_equal(found, model->labels[id].count > 0);
        assert_true(!found || labels_equal(labels, model->labels[id]));
    }
    catalog_reader_finish(&reader);
    for (uint64_t id = 0; id < SERIES_MAX; id++) {
        count += model->labels[id].count > 0;
    }
    for (int i = 0; i < 300; i++) {
        check_one(w, model, next_random(w) % SERIES_MAX);
    }
    struct walk walk = { .model = model };
    assert_true(catalog_walk(&w->store, w->txn, 0, visit_series, NULL, &walk, &err));
    assert_int_equal(walk.count, count);
    walk = (struct walk){ .model = model };
    assert_true(catalog_walk_lasts(&w->store, w->txn, 0, visit_last, &walk, &err));
    assert_int_equal(walk.count, count);
    uint64_t counted;
    assert_true(catalog_count(&w->store, w->txn, &counted, &err));
    assert_int_equal(counted, count);
}

static void is_as_the_array(void **state) {
    struct world *w = *state;
    struct model *model = test_calloc(1, sizeof(*model));
    print_message("# seed %llu\n", (unsigned long long)w->random);
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 4; i++) {
            put_some(w, model, next_random(w) % SERIES_MAX, 1 + next_random(w) % 300);
        }
        put_some_lasts(w, model, round - 5);
        check_all(w, model);
        delete_some(w, model, 2 + next_random(w) % 20);
        check_all(w, model);
    }
    delete_some(w, model, 1);
    check_all(w, model);
    for (int table = STORE_LABELS; table <= STORE_LASTS; table++) {
        MDB_stat stat;
        assert_int_equal(mdb_stat(w->txn, w->store.dbis[table], &stat), 0);
        assert_int_equal(stat.ms_entries, 0);
    }
    test_free(model);
}

/* Ids as they come in life take few bytes. */
static void is_small(void **state) {
    struct world *w = *state;
    for (uint64_t first = 0; first < SERIES_MAX; first += 100) {
        struct catalog_series series[100];
        for (uint64_t i = 0; i < 100; i++) {
            struct labels_builder builder;
            uint64_t id = first + i;
            labels_builder_init(&builder, &w->arena, (struct labels){ 0 });
            labels_builder_set(&builder, METRIC_NAME,
                               arena_printf(&w->arena, "some_metric_%d_total", (int)(id % 10)));
            labels_builder_set(&builder, STR("instance"),
                               arena_printf(&w->arena, "host-%d:9100", (int)(id / 100)));
            labels_builder_set(&builder, STR("code"),
                               arena_printf(&w->arena, "%d", 200 + (int)(id / 10 % 10)));
            labels_builder_set(&builder, STR("job"), STR("node"));
            series[i] = (struct catalog_series){ id, labels_builder_build(&builder) };
        }
        assert_int_equal(catalog_put(&w->store, w->txn, series, 100), 0);
    }
    uint64_t pages = 0;
    for (int table = STORE_LABELS; table <= STORE_LASTS; table++) {
        MDB_stat stat;
        assert_int_equal(mdb_stat(w->txn, w->store.dbis[table], &stat), 0);
        pages += stat.ms_leaf_pages + stat.ms_branch_pages + stat.ms_overflow_pages;
    }
    print_message("# %llu pages for %d series\n", (unsigned long long)pages, SERIES_MAX);
    assert_true(pages * 4096 < (uint64_t)SERIES_MAX * 30);
}

/* ---- damage ---- */

static void flip(struct world *w, enum store_table table, size_t row_index, size_t byte) {
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val row;
    assert_int_equal(mdb_cursor_open(w->txn, w->store.dbis[table], &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &key, &row, MDB_FIRST), 0);
    for (size_t i = 0; i < row_index; i++) {
        assert_int_equal(mdb_cursor_get(cursor, &key, &row, MDB_NEXT), 0);
    }
    uint8_t *copy = test_malloc(row.mv_size);
    memcpy(copy, row.mv_data, row.mv_size);
    copy[byte % row.mv_size] ^= 4;
    row.mv_data = copy;
    assert_int_equal(mdb_cursor_put(cursor, &key, &row, MDB_CURRENT), 0);
    mdb_cursor_close(cursor);
    test_free(copy);
}

static void ids_are_made_again(void **state) {
    struct world *w = *state;
    struct model *model = test_calloc(1, sizeof(*model));
    put_some(w, model, 0, 1000);
    for (size_t i = 0; i < 3; i++) {
        flip(w, STORE_IDS, i, 50 * i);
    }
    check_all(w, model);
    put_some(w, model, 1000, 500);
    check_all(w, model);
    for (uint64_t id = 0; id < SERIES_MAX; id++) {
        struct catalog_series series = { id, model->labels[id] };
        assert_true(series.labels.count == 0 || catalog_has_id(&w->store, w->txn, &series));
    }
    test_free(model);
}

/* New ones beside a damaged row of labels; those in it stay damaged, not absent. */
static void labels_stay_damaged(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    uint64_t damaged = 0;
    struct catalog_series series[40];
    for (uint64_t id = 0; id < 40; id++) {
        series[id] = (struct catalog_series){ id, labels_of(w, id) };
    }
    assert_int_equal(catalog_put(&w->store, w->txn, series, 20), 0);
    flip(w, STORE_LABELS, 0, 30);
    assert_int_equal(catalog_put(&w->store, w->txn, series + 20, 20), 0);
    for (uint64_t id = 0; id < 40; id++) {
        struct labels labels;
        bool found;
        err = (struct err)ERR_INIT;
        if (!catalog_get(&w->store, w->txn, id, &w->arena, &labels, &found, &err)) {
            assert_int_equal(err.code, ERR_CORRUPT);
            assert_true(id < 20);
            damaged++;
        } else {
            assert_true(found);
        }
    }
    assert_true(damaged > 0);
}

/* A damaged row of windows: nothing is known of them, which nobody takes for "no samples". */
static void lasts_become_unknown(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    int64_t window;
    bool found;
    struct catalog_last lasts[] = { { 1, 100 }, { 2, 100 }, { 3, 101 } };
    assert_int_equal(catalog_put_lasts(&w->store, w->txn, lasts, 3), 0);
    flip(w, STORE_LASTS, 0, 6);
    assert_false(catalog_get_last(&w->store, w->txn, 1, &window, &found, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    err = (struct err)ERR_INIT;
    struct catalog_last later = { 2, 102 };
    assert_int_equal(catalog_put_lasts(&w->store, w->txn, &later, 1), 0);
    assert_true(catalog_get_last(&w->store, w->txn, 2, &window, &found, &err));
    assert_true(found && window == 102);
    assert_true(catalog_get_last(&w->store, w->txn, 1, &window, &found, &err));
    assert_false(found);
}

/* Bytes with a right checksum that mean nothing. */
static void garbage_is_refused(void **state) {
    struct world *w = *state;
    print_message("# seed %llu\n", (unsigned long long)w->random);
    struct model *model = test_calloc(1, sizeof(*model));
    put_some(w, model, 0, 60);
    for (int round = 0; round < 3000; round++) {
        struct err err = ERR_INIT;
        struct catalog_row row;
        struct str body;
        assert_int_equal(catalog_seek(&w->store, w->txn, STORE_LABELS, 8, 30, &row), 0);
        assert_true(store_check(STORE_LABELS, row.key, row.value, &body, &err));
        char *copy = test_malloc(body.len);
        memcpy(copy, body.ptr, body.len);
        for (uint64_t i = 1 + next_random(w) % 4; i > 0; i--) {
            copy[next_random(w) % body.len] ^= (char)(1 << next_random(w) % 8);
        }
        size_t len = next_random(w) % 4 == 0 ? next_random(w) % body.len : body.len;
        struct catalog_decoder decoder;
        catalog_decoder_init(&decoder);
        catalog_decoder_begin(&decoder, row.first, str_n(copy, len));
        size_t count = 0;
        while (catalog_decoder_next(&decoder)) {
            count++;
            for (size_t i = 0; i < decoder.entry.labels.count; i++) {
                (void)str_eq(decoder.entry.labels.items[i].value, STR("x"));
            }
        }
        assert_true(count <= 10000);
        catalog_decoder_finish(&decoder);
        test_free(copy);
    }
    test_free(model);
}

/* ---- formats 1 and 2 ---- */

static void put_old(struct world *w, uint64_t id, struct labels labels, int64_t window) {
    struct buf body;
    uint8_t key[16];
    uint8_t last[8];
    buf_init(&body, SIZE_MAX);
    labels_encode(labels, &body);
    store_key_id(key, id);
    struct str key_bytes = str_n((const char *)key, 8);
    assert_int_equal(store_put(&w->store, w->txn, STORE_OLD_SERIES, key_bytes, buf_as_str(&body)),
                     0);
    bytes_put_le64(last, (uint64_t)window);
    assert_int_equal(store_put(&w->store, w->txn, STORE_OLD_LAST, key_bytes,
                               str_n((const char *)last, sizeof(last))),
                     0);
    bytes_put_be64(key, labels_hash(labels));
    bytes_put_be64(key + 8, id);
    assert_int_equal(
        store_put_empty(&w->store, w->txn, STORE_OLD_HASH, str_n((const char *)key, 16)), 0);
    buf_finish(&body);
}

static void old_rows_are_read_and_converted(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    struct model *model = test_calloc(1, sizeof(*model));
    for (uint64_t id = 1; id < SERIES_MAX; id += 2) {
        model->labels[id] = labels_of(w, id);
        model->lasts[id] = id % 5 == 0 ? STORE_LAST_NONE : (int64_t)(id / 100);
        put_old(w, id, model->labels[id], model->lasts[id]);
    }
    uint64_t count;
    assert_true(catalog_count(&w->store, w->txn, &count, &err));
    assert_int_equal(count, SERIES_MAX / 2);
    for (uint64_t id = 0; id < SERIES_MAX; id += 7) {
        struct labels labels;
        int64_t window;
        bool found;
        assert_true(catalog_get(&w->store, w->txn, id, &w->arena, &labels, &found, &err));
        assert_int_equal(found, id % 2 == 1);
        assert_true(!found || labels_equal(labels, model->labels[id]));
        assert_true(catalog_get_last(&w->store, w->txn, id, &window, &found, &err));
        assert_true(!found || window == model->lasts[id]);
    }
    flip(w, STORE_OLD_SERIES, 100, 20); /* id 201 */
    flip(w, STORE_OLD_LAST, 300, 5);    /* id 601 */
    uint64_t next = 0;
    bool has_more = true;
    while (has_more) {
        assert_int_equal(catalog_convert(&w->store, w->txn, &next, &has_more), 0);
    }
    struct labels labels;
    int64_t window;
    bool found;
    assert_false(catalog_get(&w->store, w->txn, 201, &w->arena, &labels, &found, &err));
    assert_int_equal(err.code, ERR_CORRUPT);
    err = (struct err)ERR_INIT;
    assert_true(catalog_get(&w->store, w->txn, 601, &w->arena, &labels, &found, &err));
    assert_true(found);
    assert_true(catalog_get_last(&w->store, w->txn, 601, &window, &found, &err));
    assert_false(found);
    uint64_t gone[] = { 201, 601 };
    for (size_t i = 0; i < 2; i++) {
        uint8_t key[8];
        store_key_id(key, gone[i]);
        assert_int_equal(
            store_del(&w->store, w->txn, STORE_OLD_SERIES, str_n((const char *)key, 8)), 0);
        assert_int_equal(store_del(&w->store, w->txn, STORE_OLD_LAST, str_n((const char *)key, 8)),
                         0);
        model->labels[gone[i]].count = 0;
    }
    assert_int_equal(catalog_del(&w->store, w->txn, gone, 2), 0);
    check_all(w, model);
    test_free(model);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(is_as_the_array),
        TEST(is_small),
        TEST(ids_are_made_again),
        TEST(labels_stay_damaged),
        TEST(lasts_become_unknown),
        TEST(garbage_is_refused),
        TEST(old_rows_are_read_and_converted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
