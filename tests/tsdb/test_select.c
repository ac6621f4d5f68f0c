/*
 * Goal: selection finds exactly the series whose labels match, in label order, wherever they live.
 * Method: series with pseudo-random labels; every matcher kind alone and combined against a naive
 * filter over all label sets; the same questions to the head, to the window indexes, and to both.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/tsdb/fixture.h"

#define SERIES_COUNT 400

struct world {
    struct fixture f;
    struct labels labels[SERIES_COUNT];
    uint64_t seed;
};

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static int compare_labels(const void *a, const void *b) {
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

static struct labels random_labels(struct world *w, size_t number) {
    static const char *const names[] = { "http_requests_total", "http_errors", "up", "go_info" };
    static const char *const jobs[] = { "api", "api-gw", "db", "x.y", "" };
    struct labels_builder builder;
    labels_builder_init(&builder, &w->f.arena, (struct labels){ 0 });
    labels_builder_set(&builder, METRIC_NAME,
                       str_from(names[next_random(&w->seed) % ARRAY_LEN(names)]));
    labels_builder_set(&builder, STR("job"),
                       str_from(jobs[next_random(&w->seed) % ARRAY_LEN(jobs)]));
    if (next_random(&w->seed) % 3 > 0) {
        struct str code =
            arena_printf(&w->f.arena, "%d", (int)(next_random(&w->seed) % 5) * 100 + 100);
        labels_builder_set(&builder, STR("code"), code);
    }
    labels_builder_set(&builder, STR("number"), arena_printf(&w->f.arena, "%zu", number));
    if (number % 50 == 0) {
        /* Longer than an index key holds, different only at the end. */
        char *text = arena_alloc(&w->f.arena, 3000);
        memset(text, 'v', 3000);
        text[2999] = (char)('a' + number / 50);
        labels_builder_set(&builder, STR("long"), str_n(text, 3000));
    }
    return labels_builder_build(&builder);
}

/* Series i has one sample at `t_ms` for i in first..end-1. */
static void write_series(struct world *w, size_t first, size_t end, int64_t t_ms) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    assert_true(tsdb_batch_begin(w->f.db, TSDB_INGEST, &batch, &err));
    for (size_t i = first; i < end; i++) {
        series_ref_t ref;
        assert_true(tsdb_series(w->f.db, w->labels[i], &ref, &err));
        tsdb_batch_append(batch, ref, t_ms, (double)i);
    }
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
}

static int setup(void **state) {
    struct world *w = test_calloc(1, sizeof(*w));
    fixture_init(&w->f);
    fixture_open(&w->f);
    w->seed = 42;
    for (size_t i = 0; i < SERIES_COUNT; i++) {
        w->labels[i] = random_labels(w, i);
    }
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    fixture_finish(&w->f);
    test_free(w);
    return 0;
}

/* What the store selects must be what a filter over all label sets selects. */
static void check(struct world *w, const struct matcher *matchers, size_t count) {
    struct err err = ERR_INIT;
    struct labels want[SERIES_COUNT];
    size_t want_count = 0;
    for (size_t i = 0; i < SERIES_COUNT; i++) {
        if (matchers_match_labels(matchers, count, w->labels[i])) {
            want[want_count++] = w->labels[i];
        }
    }
    qsort(want, want_count, sizeof(want[0]), compare_labels);
    struct tsdb_querier *querier = open_querier(&w->f, INT64_MIN, INT64_MAX);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct tsdb_series_view *views;
    size_t view_count;
    assert_true(tsdb_select(querier, matchers, count, &arena, &views, &view_count, &err));
    assert_int_equal(view_count, want_count);
    struct tsdb_column column = { 0 };
    for (size_t i = 0; i < want_count; i++) {
        assert_true(labels_equal(views[i].labels, want[i]));
        assert_true(tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err));
        assert_true(column.count > 0);
    }
    tsdb_column_finish(&column);
    arena_finish(&arena);
    tsdb_querier_close(querier);
}

static const struct {
    enum match_type type;
    const char *name;
    const char *value;
} kinds[] = {
    { MATCH_EQ, "__name__", "up" },
    { MATCH_EQ, "job", "api" },
    { MATCH_EQ, "job", "nobody" },
    { MATCH_EQ, "nolabel", "x" },
    { MATCH_EQ, "code", "" },
    { MATCH_EQ, "number", "17" },
    { MATCH_NE, "job", "api" },
    { MATCH_NE, "job", "" },
    { MATCH_NE, "code", "100" },
    { MATCH_NE, "nolabel", "" },
    { MATCH_RE, "job", "api|db" },
    { MATCH_RE, "job", "api.*" },
    { MATCH_RE, "job", "api|" },
    { MATCH_RE, "job", ".*" },
    { MATCH_RE, "job", ".+" },
    { MATCH_RE, "job", "x\\.y" },
    { MATCH_RE, "__name__", "http_.*" },
    { MATCH_RE, "code", "[12]00" },
    { MATCH_RE, "number", "1[0-9]" },
    { MATCH_RE, "long", "v+[a-c]" },
    { MATCH_RE, "nolabel", ".*" },
    { MATCH_NRE, "job", "api|db" },
    { MATCH_NRE, "job", "api.*" },
    { MATCH_NRE, "job", ".+" },
    { MATCH_NRE, "code", "" },
    { MATCH_NRE, "code", "1.." },
    { MATCH_NRE, "__name__", "up" },
};

static void ask_everything(struct world *w) {
    struct matcher matchers[ARRAY_LEN(kinds) + 1];
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        matchers[i] = make_matcher(kinds[i].type, kinds[i].name, kinds[i].value);
    }
    struct matcher name = make_matcher(MATCH_NE, "__name__", "");
    check(w, NULL, 0);
    check(w, &name, 1);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct matcher pair[3] = { name, matchers[i] };
        check(w, pair, 2);
        for (size_t j = 0; j < ARRAY_LEN(kinds); j++) {
            pair[2] = matchers[j];
            check(w, pair, 3);
        }
        if (!matcher_matches(&matchers[i], STR(""))) {
            check(w, &matchers[i], 1);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        matcher_finish(&matchers[i]);
    }
    matcher_finish(&name);
}

static void long_values(struct world *w) {
    for (size_t i = 0; i < SERIES_COUNT; i += 50) {
        struct err err = ERR_INIT;
        struct matcher matcher;
        assert_true(matcher_init(&matcher, MATCH_EQ, STR("long"),
                                 labels_get(w->labels[i], STR("long")), &err));
        check(w, &matcher, 1);
        matcher_finish(&matcher);
    }
}

static void in_head(void **state) {
    struct world *w = *state;
    write_series(w, 0, SERIES_COUNT, FIXTURE_NOW_MS);
    ask_everything(w);
    long_values(w);
}

/* Old windows: sealed, indexed, and after two more windows gone from the head. */
static void seal_and_leave(struct world *w) {
    struct err err = ERR_INIT;
    for (int round = 0; round < 4; round++) {
        fake_clock_advance(&w->f.clock, 3 * HOUR_MS);
        assert_true(tsdb_maintain_blocking(w->f.db, &err));
    }
}

static void in_store(void **state) {
    struct world *w = *state;
    write_series(w, 0, SERIES_COUNT, FIXTURE_NOW_MS);
    seal_and_leave(w);
    struct tsdb_stats stats;
    tsdb_stats(w->f.db, &stats);
    assert_int_equal(stats.series_count, 0);
    ask_everything(w);
    long_values(w);
    fixture_reopen(&w->f);
    tsdb_stats(w->f.db, &stats);
    assert_int_equal(stats.series_count, 0);
    long_values(w);
    check(w, NULL, 0);
}

/* Some series in old windows, some in the head, some in both, some in several windows. */
static void in_both(void **state) {
    struct world *w = *state;
    write_series(w, 0, 200, FIXTURE_NOW_MS - 20 * HOUR_MS);
    write_series(w, 100, 300, FIXTURE_NOW_MS - 10 * HOUR_MS);
    seal_and_leave(w);
    write_series(w, 250, SERIES_COUNT, FIXTURE_NOW_MS + 12 * HOUR_MS);
    ask_everything(w);
    fixture_reopen(&w->f);
    check(w, NULL, 0);
    long_values(w);
}

/* Only series with samples in the querier's range. */
static void by_range(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    /* Merged parts are as wide as a day. */
    write_series(w, 0, 100, FIXTURE_NOW_MS - 70 * HOUR_MS);
    write_series(w, 100, 250, FIXTURE_NOW_MS - 10 * HOUR_MS);
    seal_and_leave(w);
    write_series(w, 250, 300, FIXTURE_NOW_MS + 12 * HOUR_MS);

    const struct {
        int64_t t_min_ms;
        int64_t t_max_ms;
        size_t want;
    } cases[] = {
        { FIXTURE_NOW_MS - 71 * HOUR_MS, FIXTURE_NOW_MS - 65 * HOUR_MS, 100 },
        { FIXTURE_NOW_MS - 15 * HOUR_MS, FIXTURE_NOW_MS, 150 },
        { FIXTURE_NOW_MS + 11 * HOUR_MS, INT64_MAX, 50 },
        { INT64_MIN, INT64_MAX, 300 },
        { FIXTURE_NOW_MS + 15 * HOUR_MS, INT64_MAX, 0 },
        { INT64_MIN, FIXTURE_NOW_MS - 100 * HOUR_MS, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tsdb_querier *querier = open_querier(&w->f, cases[i].t_min_ms, cases[i].t_max_ms);
        struct tsdb_series_view *views;
        size_t count;
        assert_true(tsdb_select(querier, NULL, 0, &w->f.arena, &views, &count, &err));
        assert_int_equal(count, cases[i].want);
        tsdb_querier_close(querier);
    }
}

static void refusals(void **state) {
    struct world *w = *state;
    write_series(w, 0, SERIES_COUNT, FIXTURE_NOW_MS);
    struct err err = ERR_INIT;
    struct tsdb_querier *querier = open_querier(&w->f, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    size_t count;
    struct matcher empty = make_matcher(MATCH_RE, "job", ".*");
    assert_false(tsdb_select(querier, &empty, 1, &w->f.arena, &views, &count, &err));
    assert_int_equal(err.code, ERR_INVALID);
    struct arena small;
    arena_init(&small, 2000);
    assert_false(tsdb_select(querier, NULL, 0, &small, &views, &count, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    arena_finish(&small);
    matcher_finish(&empty);
    tsdb_querier_close(querier);
}

/* ---- names and values ---- */

static const char *join(struct arena *arena, const struct str *items, size_t count) {
    struct buf out;
    buf_init(&out, SIZE_MAX);
    buf_cstr(&out, "");
    for (size_t i = 0; i < count; i++) {
        buf_printf(&out, "%s%.*s", i == 0 ? "" : ",", STR_FMT(items[i]));
    }
    struct str text = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return text.ptr;
}

static void check_names(struct world *w) {
    struct err err = ERR_INIT;
    struct arena *arena = &w->f.arena;
    struct tsdb_querier *querier = open_querier(&w->f, INT64_MIN, INT64_MAX);
    struct str *items;
    size_t count;
    assert_true(tsdb_label_names(querier, NULL, 0, arena, &items, &count, &err));
    assert_string_equal(join(arena, items, count), "__name__,code,job,long,number");
    assert_true(tsdb_label_values(querier, STR("job"), NULL, 0, arena, &items, &count, &err));
    assert_string_equal(join(arena, items, count), "api,api-gw,db,x.y");
    assert_true(tsdb_label_values(querier, STR("code"), NULL, 0, arena, &items, &count, &err));
    assert_string_equal(join(arena, items, count), "100,200,300,400,500");
    assert_true(tsdb_label_values(querier, STR("no"), NULL, 0, arena, &items, &count, &err));
    assert_int_equal(count, 0);
    assert_true(tsdb_label_values(querier, STR(""), NULL, 0, arena, &items, &count, &err));
    assert_int_equal(count, 0);
    struct matcher matcher = make_matcher(MATCH_RE, "job", "api.*");
    assert_true(tsdb_label_values(querier, STR("job"), &matcher, 1, arena, &items, &count, &err));
    assert_string_equal(join(arena, items, count), "api,api-gw");
    assert_true(tsdb_label_values(querier, STR("long"), NULL, 0, arena, &items, &count, &err));
    assert_int_equal(count, 8);
    matcher_finish(&matcher);
    matcher = make_matcher(MATCH_EQ, "number", "1");
    assert_true(tsdb_label_names(querier, &matcher, 1, arena, &items, &count, &err));
    assert_int_equal(count, w->labels[1].count);
    matcher_finish(&matcher);
    tsdb_querier_close(querier);
}

static void names_and_values(void **state) {
    struct world *w = *state;
    write_series(w, 0, SERIES_COUNT, FIXTURE_NOW_MS);
    check_names(w);
    seal_and_leave(w);
    check_names(w);
    write_series(w, 200, SERIES_COUNT, FIXTURE_NOW_MS + 12 * HOUR_MS);
    check_names(w);
    /* Nothing of series without samples. */
    (void)make_series(&w->f, "phantom", PAIRS("ghost", "boo"));
    check_names(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(in_head),  TEST(in_store), TEST(in_both),
        TEST(by_range), TEST(refusals), TEST(names_and_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
