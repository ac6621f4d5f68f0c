/*
 * Goal: the cardinality lists are what counting every series by hand gives, at every limit, also
 * with more pairs than one slice; windows are listed with what was sealed into them. Method: random
 * label sets (seed printed), a naive count over select's answer, comparison entry by entry.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "tests/tsdb/fixture.h"

static int setup(void **state) {
    struct fixture *f = mem_calloc(1, sizeof(*f));
    fixture_init(f);
    fixture_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_finish(*state);
    mem_free(*state);
    return 0;
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- the naive count ---- */

struct naive {
    struct map by_name; /* of index + 1 */
    struct tsdb_count *items;
    size_t count;
    size_t cap;
};

static struct tsdb_count *naive_of(struct naive *set, struct str name, struct arena *arena) {
    uintptr_t index = (uintptr_t)map_get(&set->by_name, name);
    if (index == 0) {
        set->items = vec_grow(set->items, &set->cap, set->count + 1, sizeof(set->items[0]));
        set->items[set->count] = (struct tsdb_count){ .name = arena_str(arena, name) };
        index = ++set->count;
        (void)map_put(&set->by_name, name, (void *)index);
    }
    return &set->items[index - 1];
}

static int compare_counts(const void *a, const void *b) {
    const struct tsdb_count *x = a;
    const struct tsdb_count *y = b;
    if (x->count != y->count) {
        return x->count > y->count ? -1 : 1;
    }
    return str_cmp(x->name, y->name);
}

static void assert_list(struct naive *set, const struct tsdb_count_list *list, size_t limit) {
    if (set->count > 1) {
        qsort(set->items, set->count, sizeof(set->items[0]), compare_counts);
    }
    assert_int_equal(list->count, set->count < limit ? set->count : limit);
    for (size_t i = 0; i < list->count; i++) {
        assert_int_equal(list->items[i].count, set->items[i].count);
        assert_true(str_eq(list->items[i].name, set->items[i].name));
    }
    map_finish(&set->by_name, NULL);
    mem_free(set->items);
}

static void assert_cardinality(struct fixture *f, size_t limit) {
    struct naive metrics = { 0 };
    struct naive values = { 0 };
    struct naive bytes = { 0 };
    struct naive pairs = { 0 };
    map_init(&metrics.by_name);
    map_init(&values.by_name);
    map_init(&bytes.by_name);
    map_init(&pairs.by_name);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    size_t count;
    struct err err = ERR_INIT;
    assert_true(tsdb_select(querier, NULL, 0, &arena, &views, &count, &err));
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < views[i].labels.count; k++) {
            const struct label *label = &views[i].labels.items[k];
            struct str pair =
                arena_printf(&arena, "%.*s=%.*s", STR_FMT(label->name), STR_FMT(label->value));
            if (naive_of(&pairs, pair, &arena)->count++ == 0) {
                naive_of(&values, label->name, &arena)->count++;
            }
            naive_of(&bytes, label->name, &arena)->count += label->value.len;
            if (str_eq(label->name, METRIC_NAME)) {
                naive_of(&metrics, label->value, &arena)->count++;
            }
        }
    }
    struct tsdb_cardinality c;
    tsdb_cardinality(f->db, limit, &arena, &c);
    assert_int_equal(c.series_count, count);
    assert_int_equal(c.pair_count, pairs.count);
    assert_int_equal(c.name_count, values.count);
    assert_list(&metrics, &c.series_by_metric, limit);
    assert_list(&values, &c.values_by_label, limit);
    assert_list(&bytes, &c.bytes_by_label, limit);
    assert_list(&pairs, &c.series_by_pair, limit);
    tsdb_querier_close(querier);
    arena_finish(&arena);
}

static void put_random_series(struct fixture *f, size_t count, uint64_t *seed) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
    for (size_t i = 0; i < count; i++) {
        char values[3][32];
        char name[32];
        snprintf(name, sizeof(name), "m_%u", (unsigned)(next_random(seed) % 37));
        snprintf(values[0], sizeof(values[0]), "%u", (unsigned)(next_random(seed) % 11));
        snprintf(values[1], sizeof(values[1]), "%zu", i);
        snprintf(values[2], sizeof(values[2]), "v%u", (unsigned)(next_random(seed) % 3));
        bool has_third = next_random(seed) % 2 == 0;
        const char *pairs[] = { "few",     values[0], "id", values[1], has_third ? "some" : NULL,
                                values[2], NULL };
        tsdb_batch_append(batch, make_series(f, name, pairs), FIXTURE_NOW_MS, 1);
    }
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
}

static void lists_are_what_counting_gives(void **state) {
    struct fixture *f = *state;
    uint64_t seed = UINT64_C(0x2545f4914f6cdd1d) ^ (uint64_t)(uintptr_t)f;
    printf("# seed %llx\n", (unsigned long long)seed);
    assert_cardinality(f, 10); /* empty */
    put_random_series(f, 3000, &seed);
    static const size_t limits[] = { 1, 2, 3, 10, 100, 10000 };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        assert_cardinality(f, limits[i]);
    }
}

/* Churn: what one metric made of new series, whether they are active or not. */
static void creations_are_counted_by_metric(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 30; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%d", i);
        (void)make_series(f, i % 3 == 0 ? "calm" : "churner", PAIRS("id", id));
    }
    for (int i = 0; i < 5; i++) {
        (void)make_series(f, "calm", PAIRS("id", "0"));
    }
    struct tsdb_cardinality c;
    tsdb_cardinality(f->db, 10, &f->arena, &c);
    assert_int_equal(c.created_by_metric.count, 2);
    assert_true(str_eq_c(c.created_by_metric.items[0].name, "churner"));
    assert_int_equal(c.created_by_metric.items[0].count, 20);
    assert_int_equal(c.created_by_metric.items[1].count, 10);
    tsdb_cardinality(f->db, 1, &f->arena, &c);
    assert_int_equal(c.created_by_metric.count, 1);
}

static void more_pairs_than_a_slice(void **state) {
    struct fixture *f = *state;
    uint64_t seed = 7;
    put_random_series(f, 40000, &seed);
    assert_cardinality(f, 20);
}

static void windows_tell_what_was_sealed(void **state) {
    struct fixture *f = *state;
    series_ref_t ref = make_series(f, "m", PAIRS("a", "1"));
    for (int i = 0; i < 20; i++) {
        assert_int_equal(put_sample(f, ref, FIXTURE_NOW_MS - 5 * HOUR_MS + i * MINUTE_MS, i),
                         TSDB_ACCEPTED);
    }
    assert_int_equal(put_sample(f, ref, FIXTURE_NOW_MS, 1), TSDB_ACCEPTED);
    struct err err = ERR_INIT;
    assert_true(tsdb_maintain_blocking(f->db, &err));
    struct tsdb_window *windows;
    size_t count;
    assert_true(tsdb_windows(f->db, true, &f->arena, &windows, &count, &err));
    assert_true(count >= 1);
    uint64_t samples = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(windows[i].start_ms <= windows[i].t_min_ms);
        assert_true(windows[i].t_max_ms <= windows[i].end_ms);
        assert_int_equal(windows[i].series_count, 1);
        assert_true(windows[i].segment_bytes > 0);
        samples += windows[i].sample_count;
    }
    assert_true(samples >= 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(lists_are_what_counting_gives),
        TEST(creations_are_counted_by_metric),
        TEST(more_pairs_than_a_slice),
        TEST(windows_tell_what_was_sealed),
    };
    return cmocka_run_group_tests_name("tsdb/cardinality", tests, NULL, NULL);
}
