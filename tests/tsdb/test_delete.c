/*
 * Goal: what is deleted is gone from samples, index and rollups, everything else stays, and no
 * restart brings it back. Method: samples in head, journal, windows and merged parts; the same
 * questions before, after, after a restart and after a crash.
 */
#include <stdio.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/db.h"

#define DAY_MS (24 * HOUR_MS)

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    fixture_init(f);
    f->options.out_of_order_ms = INT64_MAX;
    f->options.rollups[0] = (struct tsdb_rollup){ .resolution_ms = 5 * MINUTE_MS };
    f->options.rollup_count = 1;
    fixture_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_finish(*state);
    test_free(*state);
    return 0;
}

static void maintain(struct fixture *f) {
    struct err err = ERR_INIT;
    for (int i = 0; i < 6; i++) {
        if (!tsdb_maintain_blocking(f->db, &err)) {
            fail_msg("tsdb_maintain_blocking: %s", err.msg);
        }
    }
}

static void write_span(struct fixture *f, const char *job, int64_t from_ms, int64_t to_ms) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    series_ref_t ref = make_series(f, "m", PAIRS("job", job));
    assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
    for (int64_t t_ms = from_ms; t_ms < to_ms; t_ms += MINUTE_MS) {
        tsdb_batch_append(batch, ref, t_ms, (double)(t_ms / MINUTE_MS * 2654435761 % 1000003));
    }
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
}

static struct tsdb_deleted delete_job(struct fixture *f,
                                      const char *job,
                                      int64_t from_ms,
                                      int64_t to_ms) {
    struct err err = ERR_INIT;
    struct tsdb_deleted deleted = { 0 };
    struct matcher matcher = make_matcher(MATCH_EQ, "job", job);
    if (!tsdb_delete_blocking(f->db, &matcher, 1, from_ms, to_ms, &deleted, &err)) {
        fail_msg("tsdb_delete_blocking: %s", err.msg);
    }
    matcher_finish(&matcher);
    return deleted;
}

/* Samples of a job in a range; -1 when the series is not found. */
static int count_samples(struct fixture *f, const char *job, int64_t from_ms, int64_t to_ms) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier = open_querier(f, from_ms, to_ms);
    struct matcher matcher = make_matcher(MATCH_EQ, "job", job);
    struct tsdb_series_view *views;
    size_t count;
    int samples = -1;
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    if (count > 0) {
        struct tsdb_column column = { 0 };
        assert_true(tsdb_read(querier, views[0].id, from_ms, to_ms, &column, &err));
        samples = (int)column.count;
        tsdb_column_finish(&column);
    }
    matcher_finish(&matcher);
    tsdb_querier_close(querier);
    return samples;
}

static int count_buckets(struct fixture *f, const char *job, int64_t from_ms, int64_t to_ms) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier = open_querier(f, from_ms, to_ms);
    struct matcher matcher = make_matcher(MATCH_EQ, "job", job);
    struct tsdb_series_view *views;
    size_t count;
    int buckets = -1;
    int64_t unit_ms = 5 * MINUTE_MS;
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    if (count > 0) {
        struct tsdb_buckets found = { 0 };
        assert_true(tsdb_read_buckets(querier, views[0].id, unit_ms, from_ms / unit_ms * unit_ms,
                                      to_ms / unit_ms * unit_ms, &found, &err));
        buckets = (int)found.count;
        tsdb_buckets_finish(&found);
    }
    matcher_finish(&matcher);
    tsdb_querier_close(querier);
    return buckets;
}

static size_t count_values(struct fixture *f) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    struct str *values;
    size_t count;
    assert_true(tsdb_label_values(querier, STR("job"), NULL, 0, &f->arena, &values, &count, &err));
    tsdb_querier_close(querier);
    return count;
}

#define START_MS (FIXTURE_NOW_MS - 3 * DAY_MS)

/* From the head, from windows, from merged parts: by how often maintenance ran before. */
static void delete_all_of_one(struct fixture *f, int rounds) {
    write_span(f, "a", START_MS, FIXTURE_NOW_MS);
    write_span(f, "b", START_MS, FIXTURE_NOW_MS);
    for (int i = 0; i < rounds; i++) {
        maintain(f);
    }
    struct tsdb_deleted deleted = delete_job(f, "a", INT64_MIN, INT64_MAX);
    assert_int_equal(deleted.series_count, 1);
    assert_int_equal(deleted.sample_count, 3 * 24 * 60);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_samples(f, "a", START_MS, FIXTURE_NOW_MS), -1);
        assert_int_equal(count_samples(f, "b", START_MS, FIXTURE_NOW_MS), 3 * 24 * 60);
        if (i == 0) {
            fixture_reopen(f);
        } else {
            maintain(f);
        }
    }
    assert_int_equal(count_values(f), 1);
    /* Once more: nothing is left. */
    deleted = delete_job(f, "a", INT64_MIN, INT64_MAX);
    assert_int_equal(deleted.sample_count, 0);
}

static void from_the_head(void **state) {
    delete_all_of_one(*state, 0);
}

static void from_parts(void **state) {
    delete_all_of_one(*state, 2);
}

static void a_range(void **state) {
    struct fixture *f = *state;
    write_span(f, "a", START_MS, FIXTURE_NOW_MS);
    maintain(f);
    int64_t from_ms = START_MS + DAY_MS + 90 * MINUTE_MS;
    int64_t to_ms = from_ms + 10 * HOUR_MS;
    int before = count_buckets(f, "a", START_MS, FIXTURE_NOW_MS);
    struct tsdb_deleted deleted = delete_job(f, "a", from_ms, to_ms);
    assert_int_equal(deleted.sample_count, 601);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_samples(f, "a", from_ms, to_ms), 0);
        assert_int_equal(count_samples(f, "a", START_MS, FIXTURE_NOW_MS), 3 * 24 * 60 - 601);
        int after = count_buckets(f, "a", START_MS, FIXTURE_NOW_MS);
        assert_true(after <= before - 119 && after >= before - 120);
        if (i == 0) {
            maintain(f);
        } else {
            fixture_reopen(f);
        }
    }
}

/* Late samples stand in the journal by themselves: their replay must not bring them back. */
static void late_samples_stay_gone(void **state) {
    struct fixture *f = *state;
    write_span(f, "a", START_MS, FIXTURE_NOW_MS);
    series_ref_t ref = make_series(f, "m", PAIRS("job", "a"));
    for (int i = 0; i < 50; i++) {
        assert_int_equal(put_sample(f, ref, START_MS + i * HOUR_MS + 1, 7), TSDB_ACCEPTED);
    }
    delete_job(f, "a", INT64_MIN, INT64_MAX);
    assert_int_equal(count_samples(f, "a", START_MS, FIXTURE_NOW_MS), -1);
    /* New ones are welcome, where the old ones were. */
    assert_int_equal(put_sample(f, ref, START_MS + HOUR_MS + 1, 8), TSDB_ACCEPTED);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(count_samples(f, "a", START_MS, FIXTURE_NOW_MS), 1);
        fixture_reopen(f);
    }
}

static void what_is_refused(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct tsdb_deleted deleted;
    struct matcher matcher = make_matcher(MATCH_NE, "job", "a");
    assert_false(tsdb_delete_blocking(f->db, &matcher, 1, 0, 1, &deleted, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_false(tsdb_delete_blocking(f->db, NULL, 0, 0, 1, &deleted, &err));
    assert_int_equal(err.code, ERR_INVALID);
    matcher_finish(&matcher);
}

/* Classes: "a" a day, "b" for ever, the others two days. */
static void classes(void **state) {
    struct fixture *f = *state;
    struct matcher short_lived = make_matcher(MATCH_EQ, "job", "a");
    struct matcher kept = make_matcher(MATCH_RE, "job", "a|b");
    fixture_close(f);
    f->options.rollup_count = 0;
    f->options.retention_ms = 2 * DAY_MS;
    f->options.retention_classes[0] = (struct tsdb_retention_class){ &short_lived, 1, DAY_MS };
    f->options.retention_classes[1] = (struct tsdb_retention_class){ &kept, 1, 0 };
    f->options.retention_class_count = 2;
    fixture_open(f);
    static const char *const jobs[] = { "a", "b", "c" };
    for (int i = 0; i < 3; i++) {
        write_span(f, jobs[i], FIXTURE_NOW_MS - 5 * HOUR_MS, FIXTURE_NOW_MS);
    }
    static const int expected[][3] = {
        { 300, 300, 300 }, { 300, 300, 300 }, { -1, 300, 300 }, { -1, 300, -1 }, { -1, 300, -1 },
    };
    for (size_t day = 0; day < ARRAY_LEN(expected); day++) {
        maintain(f);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(count_samples(f, jobs[i], FIXTURE_NOW_MS - DAY_MS, FIXTURE_NOW_MS),
                             expected[day][i]);
        }
        fake_clock_advance(&f->clock, 18 * HOUR_MS);
        if (day == 2) {
            fixture_reopen(f);
        }
    }
    fixture_close(f);
    matcher_finish(&short_lived);
    matcher_finish(&kept);
}

/* Above the limit the oldest parts go, and no more of them than needed. */
static void size(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    f->options.rollup_count = 0;
    fixture_open(f);
    for (int s = 0; s < 40; s++) {
        char job[8];
        snprintf(job, sizeof(job), "s%d", s);
        write_span(f, job, FIXTURE_NOW_MS - 6 * DAY_MS, FIXTURE_NOW_MS);
    }
    maintain(f);
    uint64_t all = store_bytes(&f->db->store);
    f->options.retention_bytes = all / 2;
    fixture_reopen(f);
    maintain(f);
    uint64_t left = store_bytes(&f->db->store);
    assert_true(left <= all / 2 && left > all / 5);
    assert_int_equal(
        count_samples(f, "s3", FIXTURE_NOW_MS - 6 * DAY_MS, FIXTURE_NOW_MS - 5 * DAY_MS), -1);
    assert_true(count_samples(f, "s3", FIXTURE_NOW_MS - DAY_MS, FIXTURE_NOW_MS) > 1400);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(classes, setup, teardown),
        cmocka_unit_test_setup_teardown(size, setup, teardown),
        cmocka_unit_test_setup_teardown(from_the_head, setup, teardown),
        cmocka_unit_test_setup_teardown(from_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_range, setup, teardown),
        cmocka_unit_test_setup_teardown(late_samples_stay_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
