/*
 * Goal: merging changes where samples are, never what is read: bit by bit, over any range, at any
 * moment of a merge and after reopening in the middle of one. Method: a model in memory beside a
 * store that is written to, merged some steps at a time and reopened in random order; the seed is
 * printed and TOCSIN_TEST_SEED repeats it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tests/tsdb/fixture.h"
#include "tsdb/merge/merge_steps.h"
#include "tsdb/parts/window.h"

#define SERIES_MAX 40
#define STEPS      70

struct model_series {
    char name[32];
    char number[16];
    int64_t *t_ms;
    double *values;
    size_t count;
    size_t cap;
    int64_t offset_ms; /* of its target's scrapes */
    int kind;
};

struct world {
    struct fixture f;
    struct model_series series[SERIES_MAX];
    size_t series_count;
    int64_t now_ms;
    uint64_t random;
};

static uint64_t next_random(struct world *w) {
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static uint64_t below(struct world *w, uint64_t end) {
    return next_random(w) % end;
}

static int setup(void **state) {
    struct world *w = test_calloc(1, sizeof(*w));
    const char *seed = getenv("TOCSIN_TEST_SEED");
    if (seed == NULL || !str_parse_u64(str_from(seed), &w->random)) {
        random_bytes(&w->random, sizeof(w->random));
    }
    w->random |= 1;
    fprintf(stderr, "# seed %llu\n", (unsigned long long)w->random);
    fixture_init(&w->f);
    fixture_open(&w->f);
    w->now_ms = FIXTURE_NOW_MS;
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    fixture_finish(&w->f);
    for (size_t i = 0; i < w->series_count; i++) {
        mem_free(w->series[i].t_ms);
        mem_free(w->series[i].values);
    }
    test_free(w);
    return 0;
}

/* ---- writing ---- */

static double next_value(struct world *w, const struct model_series *series) {
    double before = series->count == 0 ? 0 : series->values[series->count - 1];
    switch (series->kind) {
    case 0: return 7;
    case 1: return before + (double)below(w, 5);
    case 2: return (double)below(w, 100000) / 100;
    case 3: return double_from_bits(next_random(w));
    default: return below(w, 20) == 0 ? double_from_bits(STALE_NAN_BITS) : before + 0.25;
    }
}

static void model_add(struct model_series *series, int64_t t_ms, double value) {
    if (series->count == series->cap) {
        series->cap = series->cap == 0 ? 64 : series->cap * 2;
        series->t_ms = mem_realloc(series->t_ms, series->cap * sizeof(int64_t));
        series->values = mem_realloc(series->values, series->cap * sizeof(double));
    }
    series->t_ms[series->count] = t_ms;
    series->values[series->count++] = value;
}

static void write_series(struct world *w,
                         struct model_series *series,
                         int64_t start_ms,
                         int64_t end_ms,
                         int64_t step_ms) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    struct tsdb_commit_result result;
    series_ref_t ref = make_series(&w->f, series->name, PAIRS("le", series->number));
    bool is_jittered = series->kind == 2;
    assert_true(tsdb_batch_begin(w->f.db, TSDB_INGEST, &batch, &err));
    size_t count = 0;
    for (int64_t t_ms = start_ms + series->offset_ms; t_ms < end_ms; t_ms += step_ms) {
        int64_t at_ms = t_ms + (is_jittered ? (int64_t)below(w, 50) : 0);
        if (below(w, 200) == 0 || (series->count > 0 && at_ms <= series->t_ms[series->count - 1])) {
            continue;
        }
        double value = next_value(w, series);
        model_add(series, at_ms, value);
        tsdb_batch_append(batch, ref, at_ms, value);
        count++;
    }
    assert_true(tsdb_commit_blocking(batch, &result, &err));
    assert_int_equal(result.counts[TSDB_ACCEPTED], count);
}

static void add_series(struct world *w) {
    struct model_series *series = &w->series[w->series_count++];
    *series = (struct model_series){
        .offset_ms = (int64_t)below(w, 3) * 1000,
        .kind = (int)below(w, 5),
    };
    snprintf(series->name, sizeof(series->name), "m%d", (int)below(w, 4));
    snprintf(series->number, sizeof(series->number), "%zu", w->series_count);
    if (below(w, 3) == 0) {
        /* Backfill: hours or days before now. */
        int64_t hours = 1 + (int64_t)below(w, 60);
        write_series(w, series, w->now_ms - hours * HOUR_MS, w->now_ms, 60000);
    }
}

static void write_all(struct world *w) {
    int64_t end_ms = w->now_ms + (int64_t)(1 + below(w, 200)) * MINUTE_MS;
    int64_t step_ms = below(w, 4) == 0 ? 60000 : 15000;
    for (size_t i = 0; i < w->series_count; i++) {
        if (below(w, 6) != 0) {
            write_series(w, &w->series[i], w->now_ms, end_ms, step_ms);
        }
    }
    fake_clock_advance(&w->f.clock, end_ms - w->now_ms);
    w->now_ms = end_ms;
}

/* ---- reading ---- */

static size_t check_one(struct world *w,
                        struct tsdb_querier *querier,
                        const struct tsdb_series_view *view,
                        int64_t t_min_ms,
                        int64_t t_max_ms) {
    struct err err = ERR_INIT;
    struct tsdb_column column = { 0 };
    uint64_t number;
    assert_true(str_parse_u64(labels_get(view->labels, STR("le")), &number));
    const struct model_series *series = &w->series[number - 1];
    if (!tsdb_read(querier, view->id, t_min_ms, t_max_ms, &column, &err)) {
        fail_msg("tsdb_read: %s", err.msg);
    }
    size_t at = 0;
    for (size_t i = 0; i < series->count; i++) {
        if (series->t_ms[i] < t_min_ms || series->t_ms[i] > t_max_ms) {
            continue;
        }
        assert_true(at < column.count);
        assert_int_equal(column.t_ms[at], series->t_ms[i]);
        assert_int_equal(double_bits(column.values[at]), double_bits(series->values[i]));
        at++;
    }
    assert_int_equal(at, column.count);
    tsdb_column_finish(&column);
    return at;
}

static void check(struct world *w, int64_t t_min_ms, int64_t t_max_ms) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier = open_querier(&w->f, t_min_ms, t_max_ms);
    struct tsdb_series_view *views;
    size_t count;
    size_t samples = 0;
    size_t want = 0;
    assert_true(tsdb_select(querier, NULL, 0, &w->f.arena, &views, &count, &err));
    for (size_t i = 0; i < count; i++) {
        samples += check_one(w, querier, &views[i], t_min_ms, t_max_ms);
    }
    for (size_t s = 0; s < w->series_count; s++) {
        for (size_t i = 0; i < w->series[s].count; i++) {
            want += w->series[s].t_ms[i] >= t_min_ms && w->series[s].t_ms[i] <= t_max_ms;
        }
    }
    assert_int_equal(samples, want);
    tsdb_querier_close(querier);
    arena_reset(&w->f.arena);
}

static void check_all(struct world *w) {
    check(w, INT64_MIN, INT64_MAX);
    int64_t t_min_ms = w->now_ms - (int64_t)below(w, 100) * HOUR_MS;
    check(w, t_min_ms, t_min_ms + (int64_t)below(w, 10 * 3600000));
}

/* ---- merging ---- */

/* Some steps; true when there is nothing more to do. */
static bool merge_some(struct world *w, size_t steps) {
    struct tsdb *db = w->f.db;
    struct err err = ERR_INIT;
    struct merge_limits limits = {
        .end_window = head_window(&db->head, w->now_ms - HOUR_MS),
        .now_ms = w->now_ms,
        .is_forced = true,
    };
    bool is_idle = false;
    pthread_mutex_lock(&db->maintain_lock);
    for (size_t i = 0; i < steps && !is_idle; i++) {
        if (!merge_work(db, &limits, &is_idle, &err)) {
            fail_msg("merge_work: %s", err.msg);
        }
    }
    pthread_mutex_unlock(&db->maintain_lock);
    return is_idle;
}

static void maintain(struct world *w) {
    struct err err = ERR_INIT;
    if (!tsdb_maintain_blocking(w->f.db, &err)) {
        fail_msg("tsdb_maintain_blocking: %s", err.msg);
    }
}

static void random_steps(void **state) {
    struct world *w = *state;
    for (int step = 0; step < STEPS; step++) {
        switch (below(w, 8)) {
        case 0:
            if (w->series_count < SERIES_MAX) {
                add_series(w);
            }
            break;
        case 1: maintain(w); break;
        case 2:
        case 3: (void)merge_some(w, 1 + below(w, 12)); break;
        case 4: fixture_reopen(&w->f); break;
        case 5:
            fake_clock_advance(&w->f.clock, 5 * HOUR_MS);
            w->now_ms += 5 * HOUR_MS;
            break;
        default: write_all(w); break;
        }
        check_all(w);
    }
    fake_clock_advance(&w->f.clock, 48 * HOUR_MS);
    w->now_ms += 48 * HOUR_MS;
    maintain(w);
    check_all(w);
    fixture_reopen(&w->f);
    check_all(w);
}

/* ---- what a merge leaves ---- */

static size_t count_rows(struct world *w, enum store_table table) {
    struct err err = ERR_INIT;
    struct store *store = &w->f.db->store;
    MDB_txn *txn;
    MDB_stat stat;
    assert_true(env_read_begin(&store->env, &txn, &err));
    assert_int_equal(mdb_stat(txn, store->dbis[table], &stat), 0);
    env_read_end(&store->env, txn);
    return stat.ms_entries;
}

static void write_day(struct world *w, size_t series_count) {
    while (w->series_count < series_count) {
        struct model_series *series = &w->series[w->series_count++];
        *series = (struct model_series){ .kind = 1 };
        snprintf(series->name, sizeof(series->name), "m");
        snprintf(series->number, sizeof(series->number), "%zu", w->series_count);
    }
    int64_t start_ms = w->now_ms;
    for (int hours = 0; hours < 24; hours += 4) {
        for (size_t i = 0; i < series_count; i++) {
            write_series(w, &w->series[i], start_ms + hours * HOUR_MS,
                         start_ms + (hours + 4) * HOUR_MS, 15000);
        }
    }
    w->now_ms += 24 * HOUR_MS;
    fake_clock_advance(&w->f.clock, 24 * HOUR_MS);
}

/* A finished day is one part, and nothing of its windows is left. */
static void days_become_one_part(void **state) {
    struct world *w = *state;
    int64_t day_ms = 24 * HOUR_MS;
    fake_clock_advance(&w->f.clock, day_ms - w->now_ms % day_ms);
    w->now_ms += day_ms - w->now_ms % day_ms;
    write_day(w, 10);
    fake_clock_advance(&w->f.clock, 4 * HOUR_MS);
    w->now_ms += 4 * HOUR_MS;
    maintain(w);
    check_all(w);
    assert_int_equal(count_rows(w, STORE_PARTS), 1);
    assert_int_equal(count_rows(w, STORE_DIRECTORY), 1);
    assert_int_equal(count_rows(w, STORE_WINDOWS), 0);
    assert_int_equal(count_rows(w, STORE_ROWS), 0);
    assert_int_equal(count_rows(w, STORE_PENDING), 0);
    /* Ten `le`, one name; times of their own once for all (exact steps, few samples missing). */
    assert_int_equal(count_rows(w, STORE_POSTINGS), 11);
    fixture_reopen(&w->f);
    check_all(w);
}

/* What an interrupted merge wrote is swept, and the merge done again. */
static void litter_is_swept(void **state) {
    struct world *w = *state;
    write_day(w, 5);
    fake_clock_advance(&w->f.clock, 4 * HOUR_MS);
    w->now_ms += 4 * HOUR_MS;
    fixture_hold_merges(&w->f, true);
    maintain(w);
    size_t segments = count_rows(w, STORE_SEGMENTS);
    assert_false(merge_some(w, 2)); /* begun, chunks written */
    assert_int_equal(count_rows(w, STORE_PARTS), 1);
    assert_true(count_rows(w, STORE_SEGMENTS) > segments);
    check_all(w);
    fixture_reopen(&w->f);
    check_all(w);
    fixture_hold_merges(&w->f, true);
    struct err err = ERR_INIT;
    pthread_mutex_lock(&w->f.db->maintain_lock);
    assert_true(merge_sweep(w->f.db, &err));
    pthread_mutex_unlock(&w->f.db->maintain_lock);
    if (w->f.db->merge == NULL) {
        assert_int_equal(count_rows(w, STORE_PARTS), 0);
        assert_int_equal(count_rows(w, STORE_SEGMENTS), segments);
    }
    fixture_hold_merges(&w->f, false);
    maintain(w);
    check_all(w);
}

static void drop_odd(void *ctx, uint64_t id, struct labels labels, struct tsdb_column *column) {
    uint64_t number;
    assert_true(str_parse_u64(labels_get(labels, STR("le")), &number));
    if (number % 2 == 1) {
        column->count = 0;
        (*(size_t *)ctx)++;
    }
}

/* A filter takes series out of a part, out of its index, too. */
static void filters(void **state) {
    struct world *w = *state;
    write_day(w, 6);
    fake_clock_advance(&w->f.clock, 48 * HOUR_MS);
    w->now_ms += 48 * HOUR_MS;
    maintain(w);
    struct tsdb *db = w->f.db;
    struct err err = ERR_INIT;
    struct part *parts;
    size_t count;
    size_t dropped = 0;
    MDB_txn *txn;
    pthread_mutex_lock(&db->maintain_lock);
    assert_true(env_read_begin(&db->store.env, &txn, &err));
    assert_true(part_list(&db->store, txn, INT64_MIN, INT64_MAX, &parts, &count, &err));
    env_read_end(&db->store.env, txn);
    for (size_t i = 0; i < count; i++) {
        struct merge_plan plan = {
            .sources = mem_alloc(sizeof(parts[0])),
            .source_count = 1,
            .window_first = parts[i].window_first,
            .window_end = parts[i].window_end,
            .filter = drop_odd,
            .filter_ctx = &dropped,
        };
        plan.sources[0] = parts[i];
        assert_true(merge_run(db, &plan, &err));
    }
    assert_true(merge_sweep(db, &err));
    pthread_mutex_unlock(&db->maintain_lock);
    mem_free(parts);
    assert_true(dropped >= 3);
    for (size_t i = 0; i < w->series_count; i += 2) {
        w->series[i].count = 0;
    }
    check_all(w);
    fixture_reopen(&w->f);
    check_all(w);
    struct tsdb_querier *querier = open_querier(&w->f, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    assert_true(tsdb_select(querier, NULL, 0, &w->f.arena, &views, &count, &err));
    assert_int_equal(count, 3);
    tsdb_querier_close(querier);
}

/* A metric of more series than are put in order at a time: none lost or doubled between groups. */
static void large_metrics_come_in_groups(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    size_t series_count = 2 * MERGE_GROUP_SERIES + 5;
    struct tsdb_batch *batch;
    assert_true(tsdb_batch_begin(w->f.db, TSDB_INGEST, &batch, &err));
    for (size_t i = 0; i < series_count; i++) {
        char number[16];
        snprintf(number, sizeof(number), "%zu", i);
        arena_reset(&w->f.arena);
        series_ref_t ref = make_series(&w->f, "m", PAIRS("le", number));
        tsdb_batch_append(batch, ref, w->now_ms, (double)i);
        tsdb_batch_append(batch, ref, w->now_ms + 15000, (double)i + 0.5);
    }
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
    fake_clock_advance(&w->f.clock, 48 * HOUR_MS);
    maintain(w);
    assert_int_equal(count_rows(w, STORE_PARTS), 1);
    assert_int_equal(count_rows(w, STORE_ROWS), 0);
    arena_reset(&w->f.arena);
    struct tsdb_querier *querier = open_querier(&w->f, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    struct tsdb_column column = { 0 };
    size_t count;
    assert_true(tsdb_select(querier, NULL, 0, &w->f.arena, &views, &count, &err));
    assert_int_equal(count, series_count);
    for (size_t i = 0; i < count; i++) {
        uint64_t number;
        assert_true(str_parse_u64(labels_get(views[i].labels, STR("le")), &number));
        column.count = 0;
        assert_true(tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err));
        assert_int_equal(column.count, 2);
        assert_true(column.values[0] == (double)number && column.values[1] == (double)number + 0.5);
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(random_steps), TEST(days_become_one_part),         TEST(litter_is_swept),
        TEST(filters),      TEST(large_metrics_come_in_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
