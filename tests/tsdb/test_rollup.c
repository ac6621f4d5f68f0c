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

static bool has_rollups_due(struct rig *rig) {
    pthread_mutex_lock(&rig->f.db->maintain_lock);
    bool has_more = rig->f.db->has_rollups_due;
    pthread_mutex_unlock(&rig->f.db->maintain_lock);
    return has_more;
}

static void maintain(struct rig *rig) {
    struct err err = ERR_INIT;
    for (int i = 0; i < 200; i++) {
        if (!tsdb_maintain_blocking(rig->f.db, &err)) {
            fail_msg("tsdb_maintain_blocking: %s", err.msg);
        }
        if (!has_rollups_due(rig)) {
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

/* ---- buckets and samples tell the same ---- */

/* Every bucket of the series is what the samples that can be read come to. */
static void check_against_samples(struct rig *rig, size_t s, int64_t from_ms, int64_t to_ms) {
    struct err err = ERR_INIT;
    char name[8];
    snprintf(name, sizeof(name), "m%zu", s);
    struct tsdb_querier *querier = open_querier(&rig->f, from_ms + 1, to_ms);
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", name);
    struct tsdb_series_view *views;
    size_t count;
    assert_true(tsdb_select(querier, &matcher, 1, &rig->f.arena, &views, &count, &err));
    struct tsdb_buckets have = { 0 };
    struct tsdb_buckets want = { 0 };
    struct tsdb_column column = { 0 };
    for (size_t i = 0; i < count; i++) {
        want.count = 0;
        assert_true(tsdb_read_buckets(querier, views[i].id, HOUR_MS, from_ms + HOUR_MS, to_ms,
                                      &have, &err));
        assert_true(tsdb_read(querier, views[i].id, from_ms + 1, to_ms, &column, &err));
        rollup_fold(&column, HOUR_MS, &want);
        assert_int_equal(have.count, want.count);
        for (size_t k = 0; k < want.count; k++) {
            if (!buckets_equal(&have.items[k], &want.items[k])) {
                fail_msg("series %zu: the bucket at %lld has %llu samples, not %llu", s,
                         (long long)want.items[k].t_ms, (unsigned long long)have.items[k].count,
                         (unsigned long long)want.items[k].count);
            }
        }
    }
    tsdb_column_finish(&column);
    tsdb_buckets_finish(&have);
    tsdb_buckets_finish(&want);
    matcher_finish(&matcher);
    tsdb_querier_close(querier);
}

static void break_newest_segment(struct rig *rig) {
    struct store *store = &rig->f.db->store;
    struct err err = ERR_INIT;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val value;
    assert_true(env_write_begin(&store->env, &txn, &err));
    assert_int_equal(mdb_cursor_open(txn, store->dbis[STORE_SEGMENTS], &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_LAST), 0);
    char *copy = test_malloc(value.mv_size);
    memset(copy, 'x', value.mv_size);
    value.mv_data = copy;
    assert_int_equal(mdb_cursor_put(cursor, &key, &value, MDB_CURRENT), 0);
    mdb_cursor_close(cursor);
    assert_int_equal(mdb_txn_commit(txn), 0);
    test_free(copy);
}

/* A deletion that does not come to its end leaves no bucket behind that the samples contradict. */
static void deleting_half_way(void **state) {
    struct rig *rig = *state;
    fixture_open(&rig->f);
    int64_t start_ms = i64_floor_div(FIXTURE_NOW_MS, DAY_MS) * DAY_MS - 3 * DAY_MS;
    write_span(rig, start_ms + 1000, FIXTURE_NOW_MS);
    maintain(rig);
    break_newest_segment(rig);
    struct matcher matcher = make_matcher(MATCH_RE, "__name__", "m.*");
    struct tsdb_deleted deleted;
    struct err err = ERR_INIT;
    assert_false(tsdb_delete_blocking(rig->f.db, &matcher, 1, start_ms + 90 * MINUTE_MS,
                                      FIXTURE_NOW_MS, &deleted, &err));
    matcher_finish(&matcher);
    for (size_t s = 0; s < SERIES_MAX; s++) {
        check_against_samples(rig, s, start_ms, start_ms + 2 * DAY_MS);
    }
    fixture_reopen(&rig->f);
    for (size_t s = 0; s < SERIES_MAX; s++) {
        check_against_samples(rig, s, start_ms, start_ms + 2 * DAY_MS);
    }
}

/* What deleting finds nothing of stays built. */
static void deleting_nothing(void **state) {
    struct rig *rig = *state;
    fixture_open(&rig->f);
    write_span(rig, FIXTURE_NOW_MS - 3 * DAY_MS, FIXTURE_NOW_MS);
    maintain(rig);
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "nobody");
    struct tsdb_deleted deleted;
    struct err err = ERR_INIT;
    assert_true(tsdb_delete_blocking(rig->f.db, &matcher, 1, INT64_MIN, INT64_MAX, &deleted, &err));
    assert_true(tsdb_maintain_blocking(rig->f.db, &err));
    assert_false(has_rollups_due(rig));
    matcher_finish(&matcher);
}

/* A class took its samples: late ones of others fold the day again, its buckets stay. */
static void classes_keep_their_buckets(void **state) {
    struct rig *rig = *state;
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "m1");
    rig->f.options.out_of_order_ms = TSDB_OUT_OF_ORDER_ANY;
    rig->f.options.retention_classes[0] = (struct tsdb_retention_class){
        .matchers = &matcher,
        .matcher_count = 1,
        .retention_ms = 2 * DAY_MS,
    };
    rig->f.options.retention_class_count = 1;
    fixture_open(&rig->f);
    int64_t day_ms = i64_floor_div(FIXTURE_NOW_MS, DAY_MS) * DAY_MS;
    int64_t start_ms = day_ms - 2 * DAY_MS;
    write_span(rig, start_ms, FIXTURE_NOW_MS);
    maintain(rig);
    fake_clock_advance(&rig->f.clock, DAY_MS);
    maintain(rig);
    series_ref_t ref = make_series(&rig->f, "m4", NULL);
    int64_t late_ms = start_ms + HOUR_MS + 1;
    assert_int_equal(put_sample(&rig->f, ref, late_ms, 1), TSDB_ACCEPTED);
    check_series(rig, 1, HOUR_MS, start_ms + HOUR_MS, FIXTURE_NOW_MS / HOUR_MS * HOUR_MS);
    maintain(rig);
    check_series(rig, 1, HOUR_MS, start_ms + HOUR_MS, FIXTURE_NOW_MS / HOUR_MS * HOUR_MS);
    /* Nor does one have to be written to be found by them. */
    for (int day = 0; day < 4; day++) {
        fake_clock_advance(&rig->f.clock, DAY_MS);
        maintain(rig);
    }
    assert_int_equal(rig->f.db->head.series_count, 0);
    check_series(rig, 1, HOUR_MS, start_ms + HOUR_MS, FIXTURE_NOW_MS / HOUR_MS * HOUR_MS);
    fixture_close(&rig->f);
    matcher_finish(&matcher);
}

/* Old samples filled in where retention took some do not replace what is known of those. */
static void filled_in_where_retention_took(void **state) {
    struct rig *rig = *state;
    rig->f.options.retention_ms = 2 * DAY_MS;
    rig->f.options.out_of_order_ms = TSDB_OUT_OF_ORDER_ANY;
    fixture_open(&rig->f);
    int64_t start_ms = i64_floor_div(FIXTURE_NOW_MS, DAY_MS) * DAY_MS - DAY_MS;
    write_span(rig, start_ms + 1000, FIXTURE_NOW_MS);
    maintain(rig);
    for (int day = 0; day < 4; day++) {
        fake_clock_advance(&rig->f.clock, DAY_MS);
        maintain(rig);
    }
    rig->f.options.retention_ms = 0;
    fixture_reopen(&rig->f);
    series_ref_t ref = make_series(&rig->f, "m1", NULL);
    assert_int_equal(put_sample(&rig->f, ref, start_ms + HOUR_MS + 1, 1), TSDB_ACCEPTED);
    maintain(rig);
    check_series(rig, 1, HOUR_MS, start_ms + HOUR_MS, start_ms + DAY_MS);
    fixture_reopen(&rig->f);
    ref = make_series(&rig->f, "m1", NULL);
    assert_int_equal(put_sample(&rig->f, ref, start_ms + HOUR_MS + 2, 1), TSDB_ACCEPTED);
    maintain(rig);
    check_series(rig, 1, HOUR_MS, start_ms + HOUR_MS, start_ms + DAY_MS);
}

/* A day is kept until it is folded, whatever retention says. */
static void short_retention(void **state) {
    struct rig *rig = *state;
    rig->f.options.retention_ms = 6 * HOUR_MS;
    fixture_open(&rig->f);
    int64_t now_ms = FIXTURE_NOW_MS;
    for (int i = 0; i < 20; i++) {
        write_span(rig, now_ms - (i == 0 ? 5 * HOUR_MS : 3 * HOUR_MS), now_ms);
        maintain(rig);
        fake_clock_advance(&rig->f.clock, 3 * HOUR_MS);
        now_ms += 3 * HOUR_MS;
    }
    maintain(rig);
    int64_t end_ms = i64_floor_div(now_ms - 3 * HOUR_MS, DAY_MS) * DAY_MS;
    for (size_t s = 0; s < SERIES_MAX; s++) {
        check_series(rig, s, 5 * MINUTE_MS, FIXTURE_NOW_MS / HOUR_MS * HOUR_MS, end_ms);
        check_series(rig, s, HOUR_MS, FIXTURE_NOW_MS / HOUR_MS * HOUR_MS, end_ms);
    }
    assert_true(tsdb_raw_floor_ms(rig->f.db) >= end_ms);
}

/* The time from which on samples are there is never after one that is, nor lost with a restart. */
static void the_floor(void **state) {
    struct rig *rig = *state;
    rig->f.options.retention_ms = 10 * DAY_MS;
    fixture_open(&rig->f);
    int64_t day_ms = i64_floor_div(FIXTURE_NOW_MS, DAY_MS) * DAY_MS;
    write_span(rig, day_ms - 4 * DAY_MS, FIXTURE_NOW_MS);
    maintain(rig);
    assert_true(tsdb_raw_floor_ms(rig->f.db) == INT64_MIN);
    fixture_reopen(&rig->f);
    assert_true(tsdb_raw_floor_ms(rig->f.db) == INT64_MIN); /* nothing is gone */
    fake_clock_advance(&rig->f.clock,
                       day_ms - 3 * DAY_MS + 13 * HOUR_MS + 10 * DAY_MS - FIXTURE_NOW_MS);
    maintain(rig);
    assert_int_equal(tsdb_raw_floor_ms(rig->f.db), day_ms - 3 * DAY_MS);
    fixture_reopen(&rig->f);
    assert_int_equal(tsdb_raw_floor_ms(rig->f.db), day_ms - 3 * DAY_MS);
    check(rig, day_ms - 4 * DAY_MS, FIXTURE_NOW_MS);
}

/* A tool that opens the directory does not know what the server keeps. */
static void tools_drop_nothing(void **state) {
    struct rig *rig = *state;
    fixture_open(&rig->f);
    int64_t start_ms = FIXTURE_NOW_MS - 3 * DAY_MS;
    write_span(rig, start_ms, FIXTURE_NOW_MS);
    maintain(rig);
    size_t rows = count_rows(rig, STORE_ROLLUPS);
    rig->f.options.rollup_count = 0;
    rig->f.options.keeps_rollups = true;
    fixture_reopen(&rig->f);
    maintain(rig);
    assert_int_equal(count_rows(rig, STORE_ROLLUPS), rows);
    rig->f.options.keeps_rollups = false;
    fixture_reopen(&rig->f);
    maintain(rig);
    assert_int_equal(count_rows(rig, STORE_ROLLUPS), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(samples_and_rows_agree, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_outlive_samples, setup, teardown),
        cmocka_unit_test_setup_teardown(late_samples_count, setup, teardown),
        cmocka_unit_test_setup_teardown(deleting_half_way, setup, teardown),
        cmocka_unit_test_setup_teardown(deleting_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(classes_keep_their_buckets, setup, teardown),
        cmocka_unit_test_setup_teardown(filled_in_where_retention_took, setup, teardown),
        cmocka_unit_test_setup_teardown(short_retention, setup, teardown),
        cmocka_unit_test_setup_teardown(the_floor, setup, teardown),
        cmocka_unit_test_setup_teardown(tools_drop_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
