/*
 * Goal: the store in memory keeps the kv contract: order, prefixes, all-or-nothing batches. Method:
 * batches applied, abandoned and refused; scans from every bound; readers beside a writer.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "tests/base/kv_memory.h"
#include "tests/unit.h"

static void put(struct kv_store *store, enum kv_table table, const char *key, const char *value) {
    struct err err = ERR_INIT;
    struct kv_batch *batch = store->begin(store);
    batch->put(batch, table, str_from(key), str_from(value));
    assert_true(store->commit_blocking(store, batch, &err));
}

static void check_value(struct kv_store *store, const char *key, const char *value) {
    struct buf out;
    struct err err = ERR_INIT;
    buf_init(&out, 100);
    buf_cstr(&out, "old");
    bool found = store->get(store, KV_SILENCE, str_from(key), &out, &err);
    assert_int_equal(found, value != NULL);
    assert_int_equal(err.code, ERR_NONE);
    assert_string_equal(buf_as_str(&out).ptr, value == NULL ? "" : value);
    buf_finish(&out);
}

static bool append_visited(void *ctx, struct str key, struct str value) {
    buf_printf(ctx, "%.*s=%.*s ", STR_FMT(key), STR_FMT(value));
    return ((struct buf *)ctx)->len < 40;
}

static void expect_scan(struct kv_store *store,
                        struct str from,
                        struct str prefix,
                        const char *expected) {
    struct buf out;
    struct err err = ERR_INIT;
    buf_init(&out, 1000);
    assert_true(store->scan(store, KV_SILENCE, from, prefix, append_visited, &out, &err));
    assert_string_equal(buf_as_str(&out).ptr, expected);
    buf_finish(&out);
}

static void values_are_put_replaced_and_deleted(void **state) {
    struct kv_memory *memory = kv_memory_create();
    struct kv_store *store = kv_memory_store(memory);
    struct err err = ERR_INIT;
    check_value(store, "a", NULL);
    put(store, KV_SILENCE, "a", "1");
    put(store, KV_SILENCE, "a", "two");
    put(store, KV_INBOX, "a", "other table");
    put(store, KV_SILENCE, "empty", "");
    check_value(store, "a", "two");
    check_value(store, "empty", "");
    assert_int_equal(kv_memory_count(memory, KV_SILENCE), 2);
    struct kv_batch *batch = store->begin(store);
    batch->del(batch, KV_SILENCE, STR("a"));
    batch->del(batch, KV_SILENCE, STR("absent"));
    assert_true(store->commit_blocking(store, batch, &err));
    check_value(store, "a", NULL);
    assert_int_equal(kv_memory_count(memory, KV_SILENCE), 1);
    assert_int_equal(kv_memory_count(memory, KV_INBOX), 1);
    kv_memory_destroy(memory);
    kv_memory_destroy(NULL);
}

static void batches_apply_in_order_or_not_at_all(void **state) {
    struct kv_memory *memory = kv_memory_create();
    struct kv_store *store = kv_memory_store(memory);
    struct err err = ERR_INIT;
    struct kv_batch *batch = store->begin(store);
    batch->put(batch, KV_SILENCE, STR("k"), STR("1"));
    batch->del(batch, KV_SILENCE, STR("k"));
    batch->put(batch, KV_SILENCE, STR("k"), STR("2"));
    check_value(store, "k", NULL); /* not committed yet */
    assert_true(store->commit_blocking(store, batch, &err));
    check_value(store, "k", "2");

    batch = store->begin(store);
    batch->put(batch, KV_SILENCE, STR("k"), STR("3"));
    store->abandon(store, batch);
    check_value(store, "k", "2");

    kv_memory_fail_commits(memory, ERR_NO_SPACE);
    batch = store->begin(store);
    batch->put(batch, KV_SILENCE, STR("k"), STR("3"));
    batch->put(batch, KV_SILENCE, STR("l"), STR("3"));
    assert_false(store->commit_blocking(store, batch, &err));
    assert_int_equal(err.code, ERR_NO_SPACE);
    check_value(store, "k", "2");
    check_value(store, "l", NULL);
    kv_memory_fail_commits(memory, ERR_NONE);
    put(store, KV_SILENCE, "l", "4");
    check_value(store, "l", "4");
    kv_memory_destroy(memory);
}

static void scans_are_ordered_and_bounded(void **state) {
    struct kv_memory *memory = kv_memory_create();
    struct kv_store *store = kv_memory_store(memory);
    static const char *const keys[] = { "b/2", "a/1", "b/1", "b", "c", "b/10", "b0" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        put(store, KV_SILENCE, keys[i], "v");
    }
    expect_scan(store, STR(""), STR(""), "a/1=v b=v b/1=v b/10=v b/2=v b0=v c=v ");
    expect_scan(store, STR(""), STR("b/"), "b/1=v b/10=v b/2=v ");
    expect_scan(store, STR("b/10"), STR("b/"), "b/10=v b/2=v ");
    expect_scan(store, STR("b/11"), STR("b/"), "b/2=v ");
    expect_scan(store, STR("a"), STR("b/"), "b/1=v b/10=v b/2=v ");
    expect_scan(store, STR("c"), STR("b/"), "");
    expect_scan(store, STR("b/1"), STR(""), "b/1=v b/10=v b/2=v b0=v c=v ");
    expect_scan(store, STR(""), STR("zzz"), "");
    put(store, KV_SILENCE, "a/2", "a value long enough to stop the visitor");
    expect_scan(store, STR(""), STR(""), "a/1=v a/2=a value long enough to stop the visitor ");
    kv_memory_destroy(memory);
}

static void a_small_buffer_is_an_error(void **state) {
    struct kv_memory *memory = kv_memory_create();
    struct kv_store *store = kv_memory_store(memory);
    put(store, KV_SILENCE, "k", "12345");
    struct buf out;
    struct err err = ERR_INIT;
    buf_init(&out, 4);
    assert_false(store->get(store, KV_SILENCE, STR("k"), &out, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    buf_finish(&out);
    kv_memory_destroy(memory);
}

struct race {
    struct kv_store *store;
    _Atomic bool is_done;
};

static void *write_pairs(void *arg) {
    struct race *race = arg;
    for (int i = 0; i < 2000; i++) {
        char text[16];
        struct err err = ERR_INIT;
        snprintf(text, sizeof(text), "%d", i);
        struct kv_batch *batch = race->store->begin(race->store);
        batch->put(batch, KV_SILENCE, STR("left"), str_from(text));
        batch->put(batch, KV_SILENCE, STR("right"), str_from(text));
        if (!race->store->commit_blocking(race->store, batch, &err)) {
            return race;
        }
    }
    atomic_store(&race->is_done, true);
    return NULL;
}

static bool join_values(void *ctx, struct str key, struct str value) {
    (void)key;
    buf_printf(ctx, "%.*s,", STR_FMT(value));
    return true;
}

static void readers_never_see_half_a_batch(void **state) {
    struct kv_memory *memory = kv_memory_create();
    struct race race = { .store = kv_memory_store(memory) };
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_pairs, &race), 0);
    while (!atomic_load(&race.is_done)) {
        struct buf out;
        struct err err = ERR_INIT;
        buf_init(&out, 100);
        assert_true(
            race.store->scan(race.store, KV_SILENCE, STR(""), STR(""), join_values, &out, &err));
        struct str left;
        struct str right;
        if (str_cut(buf_as_str(&out), ',', &left, &right)) {
            assert_int_equal(right.len, left.len + 1);
            assert_memory_equal(left.ptr, right.ptr, left.len);
        }
        buf_finish(&out);
    }
    void *failure = &race;
    assert_int_equal(pthread_join(writer, &failure), 0);
    assert_null(failure);
    kv_memory_destroy(memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_put_replaced_and_deleted),
        cmocka_unit_test(batches_apply_in_order_or_not_at_all),
        cmocka_unit_test(scans_are_ordered_and_bounded),
        cmocka_unit_test(a_small_buffer_is_an_error),
        cmocka_unit_test(readers_never_see_half_a_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
