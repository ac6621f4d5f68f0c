/*
 * Goal: sealing, the journal's trimming, retention and eviction change where data is, never what is
 * read. Method: a fake clock driven over days, the same questions before and after each step, and
 * after reopening in between.
 */
#include <stdio.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/db.h"

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    fixture_init(f);
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
    if (!tsdb_maintain_blocking(f->db, &err)) {
        fail_msg("tsdb_maintain_blocking: %s", err.msg);
    }
}

static void write_hours(struct fixture *f, const char *name, int64_t start_ms, int hours) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    series_ref_t ref = make_series(f, name, NULL);
    for (int h = 0; h < hours; h++) {
        assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
        for (int i = 0; i < 240; i++) {
            int64_t t_ms = start_ms + h * HOUR_MS + i * 15000;
            tsdb_batch_append(batch, ref, t_ms, (double)(h * 1000 + i));
        }
        assert_true(tsdb_commit_blocking(batch, NULL, &err));
    }
}

static uint64_t journal_first(struct fixture *f, uint64_t *last) {
    struct err err = ERR_INIT;
    MDB_txn *txn;
    uint64_t first;
    assert_true(env_read_begin(&f->db->journal, &txn, &err));
    assert_true(journal_bounds(&f->db->journal, txn, f->db->log, &first, last, &err));
    env_read_end(&f->db->journal, txn);
    return first;
}

/* The same series read from head, from head and store, from the store alone, and after restarts. */
static void read_across(void **state) {
    struct fixture *f = *state;
    write_hours(f, "m", FIXTURE_NOW_MS - 6 * HOUR_MS, 6);
    const char *want = read_name(f, "m");
    assert_int_equal(strlen(want) > 1440 * 10, 1);
    maintain(f);
    assert_string_equal(read_name(f, "m"), want);
    assert_true(f->db->head.closed_count == 0 && f->db->head.open_count == 1);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "m"), want);
    fake_clock_advance(&f->clock, 5 * HOUR_MS);
    maintain(f);
    assert_int_equal(f->db->head.open_count, 0);
    assert_string_equal(read_name(f, "m"), want);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "m"), want);
    for (int i = 0; i < 3; i++) {
        fake_clock_advance(&f->clock, 3 * HOUR_MS);
        maintain(f);
    }
    assert_int_equal(f->db->head.series_count, 0);
    assert_string_equal(read_name(f, "m"), want);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "m"), want);
}

/* When everything is sealed the journal is empty, and the numbers go on after a restart. */
static void journal_is_trimmed(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    uint64_t last = 0;
    write_hours(f, "m", FIXTURE_NOW_MS - 6 * HOUR_MS, 6);
    assert_int_equal(journal_first(f, &last), 1);
    assert_int_equal(last, 6);
    maintain(f);
    /* The last chunk of the current window keeps the epoch of its records … */
    struct kv_store *kv = tsdb_kv(f->db);
    assert_true(kv->commit_blocking(kv, kv->begin(kv), &err));
    assert_true(kv->commit_blocking(kv, kv->begin(kv), &err));
    assert_int_equal(journal_first(f, &last), 1);
    assert_int_equal(last, 6);
    /* … until a new one has started and it is sealed, although a newer sample is not. */
    fake_clock_advance(&f->clock, 20 * MINUTE_MS);
    maintain(f);
    fake_clock_advance(&f->clock, 5 * HOUR_MS);
    write_hours(f, "m", FIXTURE_NOW_MS + 4 * HOUR_MS, 1);
    maintain(f);
    assert_true(kv->commit_blocking(kv, kv->begin(kv), &err));
    assert_true(kv->commit_blocking(kv, kv->begin(kv), &err));
    assert_int_equal(journal_first(f, &last), 7);
    assert_int_equal(last, 7);
    const char *want = read_name(f, "m");
    fixture_reopen(f);
    assert_string_equal(read_name(f, "m"), want);
    fake_clock_advance(&f->clock, 5 * HOUR_MS);
    maintain(f);
    kv = tsdb_kv(f->db);
    assert_true(kv->commit_blocking(kv, kv->begin(kv), &err));
    assert_true(kv->commit_blocking(kv, kv->begin(kv), &err));
    assert_int_equal(journal_first(f, &last), 0);
    fixture_reopen(f);
    write_hours(f, "m", FIXTURE_NOW_MS + 5 * HOUR_MS, 1);
    assert_int_equal(journal_first(f, &last), 8);
    want = read_name(f, "m");
    fixture_reopen(f);
    assert_string_equal(read_name(f, "m"), want);
}

/* Sealed samples still in the journal are not appended again. */
static void replay_is_idempotent(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t slow = make_series(f, "slow", NULL);
    assert_int_equal(put_sample(f, slow, FIXTURE_NOW_MS, 1), TSDB_ACCEPTED);
    write_hours(f, "fast", FIXTURE_NOW_MS, 1);
    maintain(f); /* seals one chunk of fast; slow's open chunk keeps every record */
    uint64_t last;
    assert_int_equal(journal_first(f, &last), 1);
    const char *want = read_name(f, "fast");
    for (int i = 0; i < 3; i++) {
        fixture_reopen(f);
        assert_int_equal(f->db->head.open_count, 2);
        assert_int_equal(f->db->head.closed_count, 0);
        assert_string_equal(read_name(f, "fast"), want);
        assert_string_equal(read_name(f, "slow"), "slow 1700000000000:1\n");
        assert_true(tsdb_maintain_blocking(f->db, &err));
    }
}

/* A record of a series that retention deleted, kept by newer records, does not hinder opening. */
static void deleted_series_in_journal(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t ref = make_series(f, "stays", NULL);
    assert_int_equal(put_sample(f, ref, 1000, 1), TSDB_ACCEPTED);
    uint64_t lsn = f->db->visible_lsn + 1;
    struct journal_record record;
    journal_record_init(&record);
    journal_add_late(&record, 9999, (struct sample){ .t_ms = 1, .value = 2 });
    MDB_txn *txn;
    assert_true(env_write_begin(&f->db->journal, &txn, &err));
    assert_int_equal(journal_put(txn, f->db->log, lsn,
                                 journal_seal_record(&record, &(struct journal_facts){ 0 })),
                     0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    journal_record_finish(&record);
    fixture_reopen(f);
    assert_int_equal(f->db->visible_lsn, lsn);
    assert_int_equal(f->db->head.series_count, 1);
    ref = make_series(f, "stays", NULL);
    assert_int_equal(put_sample(f, ref, 2000, 1), TSDB_ACCEPTED);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "stays"), "stays 1000:1 2000:1\n");
}

static void retention(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    f->options.retention_ms = 24 * HOUR_MS;
    fixture_open(f);
    write_hours(f, "old", FIXTURE_NOW_MS - 20 * HOUR_MS, 2);
    write_hours(f, "both", FIXTURE_NOW_MS - 20 * HOUR_MS, 20);
    maintain(f);
    assert_true(strlen(read_name(f, "old")) > 0);
    fake_clock_advance(&f->clock, 12 * HOUR_MS);
    maintain(f);
    assert_string_equal(read_name(f, "old"), "");
    assert_true(strlen(read_name(f, "both")) > 0);
    struct tsdb_stats stats;
    tsdb_stats(f->db, &stats);
    assert_true(stats.t_min_ms >= FIXTURE_NOW_MS - 14 * HOUR_MS);
    /* What is left begins at most one window before the cut. */
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, FIXTURE_NOW_MS - 14 * HOUR_MS);
    struct err err = ERR_INIT;
    struct tsdb_series_view *views;
    size_t count;
    assert_true(tsdb_select(querier, NULL, 0, &f->arena, &views, &count, &err));
    assert_int_equal(count, 0);
    tsdb_querier_close(querier);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "old"), "");
    fake_clock_advance(&f->clock, 100 * HOUR_MS);
    maintain(f);
    assert_string_equal(read_name(f, "both"), "");
    /* Nothing is left of series nobody can ask for: rows of the table go with the next opening. */
    fixture_reopen(f);
    maintain(f);
    MDB_txn *txn;
    MDB_stat stat;
    assert_true(env_read_begin(&f->db->store.env, &txn, &err));
    for (int table = STORE_OLD_SERIES; table < STORE_TABLE_COUNT; table++) {
        assert_int_equal(mdb_stat(txn, f->db->store.dbis[table], &stat), 0);
        assert_int_equal(stat.ms_entries, 0);
    }
    env_read_end(&f->db->store.env, txn);
}

/* A ref outlives its series' stay in the head, also when the series never had a sample. */
static void refs_stay_good(void **state) {
    struct fixture *f = *state;
    series_ref_t used = make_series(f, "used", PAIRS("a", "1"));
    series_ref_t orphan = make_series(f, "orphan", PAIRS("a", "2"));
    struct tsdb_alias alias = tsdb_alias_hash(f->db, STR("used on the wire"));
    tsdb_alias_put(f->db, alias, used);
    assert_int_equal(put_sample(f, used, FIXTURE_NOW_MS, 1), TSDB_ACCEPTED);
    for (int i = 0; i < 5; i++) {
        fake_clock_advance(&f->clock, 3 * HOUR_MS);
        maintain(f);
    }
    assert_int_equal(f->db->head.series_count, 0);
    series_ref_t got;
    assert_false(tsdb_alias_get(f->db, alias, &got));
    /* The newest sample is still known: the verdicts hold over the absence. */
    assert_int_equal(put_sample(f, used, FIXTURE_NOW_MS, 1), TSDB_DUPLICATE);
    assert_int_equal(put_sample(f, used, FIXTURE_NOW_MS, 2), TSDB_CONFLICT);
    assert_int_equal(put_sample(f, used, FIXTURE_NOW_MS + 1, 2), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, orphan, FIXTURE_NOW_MS, 5), TSDB_ACCEPTED);
    assert_string_equal(read_name(f, "used"), "used{a=\"1\"} 1700000000000:1 1700000000001:2\n");
    assert_string_equal(read_name(f, "orphan"), "orphan{a=\"2\"} 1700000000000:5\n");
    fixture_reopen(f);
    assert_string_equal(read_name(f, "used"), "used{a=\"1\"} 1700000000000:1 1700000000001:2\n");
    assert_string_equal(read_name(f, "orphan"), "orphan{a=\"2\"} 1700000000000:5\n");
}

/* Churn: the head forgets, memory of labels included; the store remembers. */
static void churn(void **state) {
    struct fixture *f = *state;
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 50; i++) {
            char pod[32];
            snprintf(pod, sizeof(pod), "pod-%d-%d", round, i);
            series_ref_t ref = make_series(f, "churn", PAIRS("pod", pod));
            assert_int_equal(put_sample(f, ref, f->clock.now_ms, i), TSDB_ACCEPTED);
        }
        fake_clock_advance(&f->clock, 3 * HOUR_MS);
        maintain(f);
    }
    assert_true(f->db->head.series_count <= 150);
    assert_true(f->db->head.index.symbol_count < 250);
    struct matcher matcher = make_matcher(MATCH_RE, "pod", "pod-.*");
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    size_t count;
    struct err err = ERR_INIT;
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    assert_int_equal(count, 400);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
}

/* Labels of an open querier outlive the eviction of their series. */
static void labels_outlive_eviction(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t ref = make_series(f, "leaving", PAIRS("pod", "short-lived-value"));
    assert_int_equal(put_sample(f, ref, FIXTURE_NOW_MS, 1), TSDB_ACCEPTED);
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "leaving");
    fake_clock_advance(&f->clock, 3 * HOUR_MS);
    maintain(f);
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    size_t count;
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    assert_int_equal(count, 1);
    for (int i = 0; i < 4; i++) {
        fake_clock_advance(&f->clock, 3 * HOUR_MS);
        maintain(f);
        series_ref_t other = make_series(
            f, "other", PAIRS("pod", i % 2 == 0 ? "zzzzzzzzzzzzzzzzz" : "yyyyyyyyyyyyyyyyy"));
        assert_int_equal(put_sample(f, other, f->clock.now_ms, 1), TSDB_ACCEPTED);
    }
    assert_int_equal(f->db->head.series_count, 2);
    assert_true(str_eq_c(labels_get(views[0].labels, STR("pod")), "short-lived-value"));
    struct tsdb_column column = { 0 };
    assert_true(tsdb_read(querier, views[0].id, INT64_MIN, INT64_MAX, &column, &err));
    assert_int_equal(column.count, 1);
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
}

/* Late samples for a window that was indexed long ago are found like all others. */
static void backfill(void **state) {
    struct fixture *f = *state;
    write_hours(f, "first", FIXTURE_NOW_MS - 50 * HOUR_MS, 1);
    for (int i = 0; i < 4; i++) {
        fake_clock_advance(&f->clock, 3 * HOUR_MS);
        maintain(f);
    }
    write_hours(f, "late", FIXTURE_NOW_MS - 50 * HOUR_MS, 1);
    const char *want = read_name(f, "late");
    for (int i = 0; i < 4; i++) {
        fake_clock_advance(&f->clock, 3 * HOUR_MS);
        maintain(f);
        assert_string_equal(read_name(f, "late"), want);
        fixture_reopen(f);
        assert_string_equal(read_name(f, "late"), want);
    }
    assert_int_equal(f->db->head.series_count, 0);
    assert_true(strlen(read_name(f, "first")) > 0);
}

/* Many windows, slices and segments at once. */
static void many_series(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;

    enum {
        SERIES = 3000,
        SAMPLES = 30
    };
    struct tsdb_batch *batch;
    series_ref_t *refs = test_malloc(SERIES * sizeof(refs[0]));
    for (int s = 0; s < SERIES; s++) {
        char number[16];
        snprintf(number, sizeof(number), "%d", s);
        refs[s] = make_series(f, "wide", PAIRS("n", number, "job", s % 2 == 0 ? "a" : "b"));
    }
    for (int i = 0; i < SAMPLES; i++) {
        assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
        for (int s = 0; s < SERIES; s++) {
            int64_t t_ms = FIXTURE_NOW_MS - (SAMPLES - i) * HOUR_MS;
            tsdb_batch_append(batch, refs[s], t_ms, s * 1e-3 * i);
        }
        assert_true(tsdb_commit_blocking(batch, NULL, &err));
    }
    test_free(refs);
    maintain(f);
    fixture_reopen(f);
    struct matcher matcher = make_matcher(MATCH_EQ, "job", "b");
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    struct tsdb_series_view *views;
    size_t count;
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    assert_int_equal(count, SERIES / 2);
    struct tsdb_column column = { 0 };
    for (size_t i = 0; i < count; i++) {
        uint64_t number;
        assert_true(str_parse_u64(labels_get(views[i].labels, STR("n")), &number));
        assert_true(tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err));
        assert_int_equal(column.count, SAMPLES);
        for (int s = 0; s < SAMPLES; s++) {
            assert_true(column.values[s] == (double)number * 1e-3 * s);
        }
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(read_across),
        TEST(journal_is_trimmed),
        TEST(replay_is_idempotent),
        TEST(deleted_series_in_journal),
        TEST(retention),
        TEST(refs_stay_good),
        TEST(churn),
        TEST(labels_outlive_eviction),
        TEST(backfill),
        TEST(many_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
