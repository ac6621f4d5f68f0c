/*
 * Goal: buckets are what the samples say, whether they come from samples or from rollups, across
 * building, late sealing, restarts and the loss of samples. Method: random series (counters with
 * resets, gauges, NaN, stale markers, gaps) against buckets computed sample by sample here; the
 * seed is printed.
 */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "tests/tsdb/fixture.h"
#include "tsdb/codec/p3.h"
#include "tsdb/rollup/rollup.h"

#define DAY_MS     (24 * HOUR_MS)
#define STEP_MS    (20 * 1000)
#define SERIES_MAX 6

struct model {
    struct sample *samples;
    size_t count;
    size_t cap;
};

struct rig {
    struct fixture f;
    struct model models[SERIES_MAX];
    uint64_t seed;
};

static uint64_t next_random(struct rig *rig) {
    rig->seed = rig->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return rig->seed >> 33;
}

static int setup(void **state) {
    struct rig *rig = test_calloc(1, sizeof(*rig));
    fixture_init(&rig->f);
    random_bytes(&rig->seed, sizeof(rig->seed));
    print_message("# seed %llu\n", (unsigned long long)rig->seed);
    rig->f.options.rollups[0] = (struct tsdb_rollup){ .resolution_ms = 5 * MINUTE_MS };
    rig->f.options.rollups[1] = (struct tsdb_rollup){
        .resolution_ms = HOUR_MS,
        .retention_ms = 20 * DAY_MS,
    };
    rig->f.options.rollup_count = 2;
    *state = rig;
    return 0;
}

static int teardown(void **state) {
    struct rig *rig = *state;
    fixture_finish(&rig->f);
    for (size_t i = 0; i < SERIES_MAX; i++) {
        free(rig->models[i].samples);
    }
    test_free(rig);
    return 0;
}

static void add_sample(struct model *model, int64_t t_ms, double value) {
    if (model->count == model->cap) {
        model->cap = model->cap * 2 + 1024;
        model->samples = realloc(model->samples, model->cap * sizeof(model->samples[0]));
        assert_non_null(model->samples);
    }
    model->samples[model->count++] = (struct sample){ .t_ms = t_ms, .value = value };
}

static double make_value(struct rig *rig, size_t series, double before) {
    uint64_t dice = next_random(rig) % 1000;
    if (dice < 3) {
        return double_from_bits(STALE_NAN_BITS);
    }
    if (series == 0) {
        return 42;
    }
    if (series <= 2) { /* a counter; the second restarts often */
        double last = is_stale(before) || isnan(before) ? 0 : before;
        return dice < (series == 2 ? 100 : 5) ? (double)(dice % 7) : last + (double)(dice % 50);
    }
    if (series == 3 && dice < 100) {
        return double_from_bits(NORMAL_NAN_BITS);
    }
    return (double)((int64_t)dice - 500) * (series == 4 ? 1 : 4096);
}

static void write_span(struct rig *rig, int64_t from_ms, int64_t to_ms) {
    struct err err = ERR_INIT;
    for (size_t s = 0; s < SERIES_MAX; s++) {
        char name[8];
        snprintf(name, sizeof(name), "m%zu", s);
        series_ref_t ref = make_series(&rig->f, name, NULL);
        struct model *model = &rig->models[s];
        struct tsdb_batch *batch;
        assert_true(tsdb_batch_begin(rig->f.db, TSDB_INGEST, &batch, &err));
        int64_t gap_ms = s == 5 ? 37 * MINUTE_MS : STEP_MS;
        for (int64_t t = from_ms; t < to_ms; t += gap_ms) {
            double before = model->count == 0 ? 0 : model->samples[model->count - 1].value;
            double value = make_value(rig, s, before);
            tsdb_batch_append(batch, ref, t, value);
            add_sample(model, t, value);
        }
        if (!tsdb_commit_blocking(batch, NULL, &err)) {
            fail_msg("%s", err.msg);
        }
    }
}

static void maintain(struct rig *rig) {
    struct err err = ERR_INIT;
    for (int i = 0; i < 200; i++) {
        if (!tsdb_maintain_blocking(rig->f.db, &err)) {
            fail_msg("tsdb_maintain_blocking: %s", err.msg);
        }
        if (!rig->f.db->has_rollups_due) {
            return;
        }
    }
    fail_msg("rollups are never done");
}

/* The bucket that ends at end_ms, sample by sample; false when it is empty. */
static bool naive_bucket(const struct model *model,
                         int64_t resolution_ms,
                         int64_t end_ms,
                         struct tsdb_bucket *ret) {
    *ret = (struct tsdb_bucket){ .t_ms = end_ms };
    bool is_any = false;
    for (size_t i = 0; i < model->count; i++) {
        struct sample sample = model->samples[i];
        if (sample.t_ms <= end_ms - resolution_ms || sample.t_ms > end_ms) {
            continue;
        }
        is_any = true;
        ret->ends_stale = is_stale(sample.value);
        if (ret->ends_stale) {
            continue;
        }
        bool is_first = ret->count == 0;
        ret->lost += !is_first && sample.value < ret->last ? ret->last : 0;
        ret->t_first_ms = is_first ? sample.t_ms : ret->t_first_ms;
        ret->first = is_first ? sample.value : ret->first;
        ret->t_last_ms = sample.t_ms;
        ret->last = sample.value;
        ret->sum += sample.value; /* integers: exact in any order */
        ret->min = is_first ? sample.value : fmin(ret->min, sample.value);
        ret->max = is_first ? sample.value : fmax(ret->max, sample.value);
        ret->count++;
    }
    return is_any;
}

static bool same(double a, double b) {
    return a == b || (isnan(a) && isnan(b));
}

static bool buckets_equal(const struct tsdb_bucket *a, const struct tsdb_bucket *b) {
    bool is_equal = a->t_ms == b->t_ms && a->count == b->count && a->ends_stale == b->ends_stale;
    return is_equal &&
           (a->count == 0 ||
            (a->t_first_ms == b->t_first_ms && a->t_last_ms == b->t_last_ms &&
             same(a->first, b->first) && same(a->last, b->last) && same(a->sum, b->sum) &&
             same(a->min, b->min) && same(a->max, b->max) && same(a->lost, b->lost)));
}

static void check_series(struct rig *rig,
                         size_t s,
                         int64_t resolution_ms,
                         int64_t from_ms,
                         int64_t to_ms) {
    struct err err = ERR_INIT;
    char name[8];
    snprintf(name, sizeof(name), "m%zu", s);
    struct tsdb_querier *querier = open_querier(&rig->f, from_ms - resolution_ms + 1, to_ms);
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", name);
    struct tsdb_series_view *views;
    size_t count;
    assert_true(tsdb_select(querier, &matcher, 1, &rig->f.arena, &views, &count, &err));
    assert_int_equal(count, 1);
    struct tsdb_buckets buckets = { 0 };
    if (!tsdb_read_buckets(querier, views[0].id, resolution_ms, from_ms, to_ms, &buckets, &err)) {
        fail_msg("tsdb_read_buckets: %s", err.msg);
    }
    size_t at = 0;
    for (int64_t end_ms = from_ms; end_ms <= to_ms; end_ms += resolution_ms) {
        struct tsdb_bucket want;
        if (naive_bucket(&rig->models[s], resolution_ms, end_ms, &want)) {
            if (at == buckets.count || !buckets_equal(&buckets.items[at], &want)) {
                fail_msg("series %zu: bucket at %lld of %lld ms differs: %zu of %zu found, %llu "
                         "samples, not %llu",
                         s, (long long)end_ms, (long long)resolution_ms, at, buckets.count,
                         (unsigned long long)(at < buckets.count ? buckets.items[at].count : 0),
                         (unsigned long long)want.count);
            }
            at++;
        }
    }
    assert_int_equal(at, buckets.count);
    tsdb_buckets_finish(&buckets);
    matcher_finish(&matcher);
    tsdb_querier_close(querier);
}

static void check(struct rig *rig, int64_t from_ms, int64_t to_ms) {
    int64_t from = i64_floor_div(from_ms, HOUR_MS) * HOUR_MS;
    int64_t to = i64_floor_div(to_ms, HOUR_MS) * HOUR_MS;
    for (size_t s = 0; s < SERIES_MAX; s++) {
        check_series(rig, s, HOUR_MS, from, to);
        check_series(rig, s, 5 * MINUTE_MS, from,
                     to < from + 9 * HOUR_MS ? to : from + 9 * HOUR_MS);
        check_series(rig, s, 5 * MINUTE_MS, to - 9 * HOUR_MS > from ? to - 9 * HOUR_MS : from, to);
    }
}

static size_t count_rows(struct rig *rig, enum store_table table) {
    struct err err = ERR_INIT;
    MDB_txn *txn;
    MDB_stat stat;
    assert_true(env_read_begin(&rig->f.db->store.env, &txn, &err));
    assert_int_equal(mdb_stat(txn, rig->f.db->store.dbis[table], &stat), 0);
    env_read_end(&rig->f.db->store.env, txn);
    return stat.ms_entries;
}

static void samples_and_rows_agree(void **state) {
    struct rig *rig = *state;
    fixture_open(&rig->f);
    int64_t start_ms = FIXTURE_NOW_MS - 3 * DAY_MS - 5 * HOUR_MS;
    write_span(rig, start_ms, FIXTURE_NOW_MS);
    check(rig, start_ms, FIXTURE_NOW_MS);
    maintain(rig);
    assert_true(count_rows(rig, STORE_ROLLUPS) >= 2 * 3 * SERIES_MAX);
    check(rig, start_ms, FIXTURE_NOW_MS);
    fixture_reopen(&rig->f);
    check(rig, start_ms, FIXTURE_NOW_MS);
    write_span(rig, FIXTURE_NOW_MS, FIXTURE_NOW_MS + DAY_MS);
    fake_clock_advance(&rig->f.clock, DAY_MS + 3 * HOUR_MS);
    check(rig, start_ms, FIXTURE_NOW_MS + DAY_MS);
    maintain(rig);
    check(rig, start_ms, FIXTURE_NOW_MS + DAY_MS);
}

/* Rows, not samples, are what is read of a built period. */
static void rows_are_read(void **state) {
    struct rig *rig = *state;
    fixture_open(&rig->f);
    int64_t start_ms = FIXTURE_NOW_MS - 3 * DAY_MS;
    write_span(rig, start_ms, FIXTURE_NOW_MS);
    maintain(rig);
    struct err err = ERR_INIT;
    MDB_txn *txn;
    assert_true(env_write_begin(&rig->f.db->store.env, &txn, &err));
    assert_int_equal(mdb_drop(txn, rig->f.db->store.dbis[STORE_SEGMENTS], 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    int64_t day_ms = (rollup_period(start_ms) + 1) * ROLLUP_PERIOD_MS;
    check(rig, day_ms + HOUR_MS, day_ms + DAY_MS);
}

/* The samples are gone, the buckets are what they were, and series are found by them. */
static void rows_outlive_samples(void **state) {
    struct rig *rig = *state;
    rig->f.options.retention_ms = 2 * DAY_MS;
    fixture_open(&rig->f);
    int64_t start_ms = FIXTURE_NOW_MS - DAY_MS - 7 * HOUR_MS;
    write_span(rig, start_ms, FIXTURE_NOW_MS);
    maintain(rig);
    for (int day = 0; day < 5; day++) {
        fake_clock_advance(&rig->f.clock, DAY_MS);
        maintain(rig);
    }
    assert_string_equal(read_name(&rig->f, "m1"), "m1\n"); /* known, without samples */
    assert_int_equal(rig->f.db->head.series_count, 0);
    check(rig, start_ms, FIXTURE_NOW_MS);
    fixture_reopen(&rig->f);
    check(rig, start_ms, FIXTURE_NOW_MS);
    /* The hourly ones are dropped after 20 days, the others never. */
    fake_clock_advance(&rig->f.clock, 17 * DAY_MS);
    write_span(rig, FIXTURE_NOW_MS + 22 * DAY_MS, FIXTURE_NOW_MS + 22 * DAY_MS + HOUR_MS);
    size_t before = count_rows(rig, STORE_ROLLUPS);
    maintain(rig);
    assert_true(count_rows(rig, STORE_ROLLUPS) < before);
    int64_t end_ms = i64_floor_div(FIXTURE_NOW_MS, HOUR_MS) * HOUR_MS;
    check_series(rig, 1, 5 * MINUTE_MS, end_ms - 5 * HOUR_MS, end_ms);
}

/* Late samples into a day that was folded fold it again. */
static void late_samples_count(void **state) {
    struct rig *rig = *state;
    rig->f.options.out_of_order_ms = INT64_MAX;
    fixture_open(&rig->f);
    int64_t start_ms = FIXTURE_NOW_MS - 2 * DAY_MS - 5 * HOUR_MS;
    write_span(rig, start_ms, FIXTURE_NOW_MS);
    maintain(rig);
    struct model *model = &rig->models[4];
    series_ref_t ref = make_series(&rig->f, "m4", NULL);
    for (size_t i = 0; i < 300; i++) {
        size_t at = next_random(rig) % (model->count - 1);
        struct sample late = { .t_ms = model->samples[at].t_ms + 1, .value = (double)i };
        if (model->samples[at + 1].t_ms <= late.t_ms) {
            continue;
        }
        assert_int_equal(put_sample(&rig->f, ref, late.t_ms, late.value), TSDB_ACCEPTED);
        add_sample(model, 0, 0);
        memmove(model->samples + at + 2, model->samples + at + 1,
                (model->count - at - 2) * sizeof(model->samples[0]));
        model->samples[at + 1] = late;
    }
    check(rig, start_ms, FIXTURE_NOW_MS);
    maintain(rig);
    check(rig, start_ms, FIXTURE_NOW_MS);
    fixture_reopen(&rig->f);
    maintain(rig);
    check(rig, start_ms, FIXTURE_NOW_MS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(samples_and_rows_agree, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_outlive_samples, setup, teardown),
        cmocka_unit_test_setup_teardown(late_samples_count, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
