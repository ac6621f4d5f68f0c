/*
 * Goal: tsdb_verify finds nothing in a whole directory and every kind of damage by name (beside a
 * live process: tests/e2e/test_verify.py). Method: a directory with sealed, indexed, pending and
 * journaled samples; rows changed through LMDB behind the store's back, with right checksums where
 * the damage is in the references.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/db.h"
#include "tsdb/merge/merge.h"

struct findings {
    size_t count;
    char text[4096]; /* of all, one line each */
};

static void add_problem(void *ctx, const char *place, const char *what) {
    struct findings *findings = ctx;
    size_t len = strlen(findings->text);
    findings->count++;
    snprintf(findings->text + len, sizeof(findings->text) - len, "%s: %s\n", place, what);
}

static struct tsdb_verify_totals verify(struct fixture *f, struct findings *findings) {
    struct err err = ERR_INIT;
    struct tsdb_verify_totals totals;
    *findings = (struct findings){ 0 };
    struct tsdb_verify_visitor visitor = { .problem = add_problem, .ctx = findings };
    if (!tsdb_verify(f->dir, &visitor, &totals, &err)) {
        fail_msg("tsdb_verify: %s", err.msg);
    }
    assert_int_equal(totals.problems, findings->count);
    return totals;
}

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    fixture_init(f);
    fixture_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    fixture_finish(f);
    test_free(f);
    return 0;
}

static void put_run(struct fixture *f, series_ref_t ref, int64_t t_ms, int64_t step_ms, int count) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
    for (int i = 0; i < count; i++) {
        tsdb_batch_append(batch, ref, t_ms + i * step_ms, i * 0.5);
    }
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
}

/* Three series over three windows, merged or not, the last samples in the journal only; a table
 * row. */
static void fill(struct fixture *f, bool is_merged) {
    struct err err = ERR_INIT;
    fixture_hold_merges(f, !is_merged);
    for (int s = 0; s < 3; s++) {
        char number[8];
        snprintf(number, sizeof(number), "%d", s);
        series_ref_t ref = make_series(f, "v", PAIRS("s", number));
        put_run(f, ref, 0, MINUTE_MS, 300);
    }
    assert_true(tsdb_maintain_blocking(f->db, &err));
    series_ref_t ref = make_series(f, "v", PAIRS("s", "0"));
    put_run(f, ref, FIXTURE_NOW_MS, 1, 10);
    struct kv_store *kv = tsdb_kv(f->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("key"), STR("value"));
    assert_true(kv->commit_blocking(kv, batch, &err));
}

static void whole(void **state) {
    struct fixture *f = *state;
    struct findings findings;
    fixture_close(f);
    struct tsdb_verify_totals totals = verify(f, &findings);
    assert_string_equal(findings.text, "");
    assert_int_equal(totals.samples, 0);
    fixture_open(f);
    fill(f, false);
    fixture_close(f);
    totals = verify(f, &findings);
    assert_string_equal(findings.text, "");
    assert_int_equal(totals.series, 3);
    assert_int_equal(totals.samples, 900);
    assert_int_equal(totals.journal_samples, 10);
    assert_true(totals.chunks >= 9 && totals.segments >= 1 && totals.table_rows >= 2);
    fixture_open(f);
}

static void whole_and_merged(void **state) {
    struct fixture *f = *state;
    struct findings findings;
    fill(f, true);
    fixture_close(f);
    struct tsdb_verify_totals totals = verify(f, &findings);
    assert_string_equal(findings.text, "");
    assert_int_equal(totals.series, 3);
    assert_int_equal(totals.samples, 900);
    assert_int_equal(totals.windows, 1);
    fixture_open(f);
}

static void nothing_there(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct tsdb_verify_totals totals;
    struct tsdb_verify_visitor visitor = { 0 };
    char path[100];
    snprintf(path, sizeof(path), "%s/none", f->dir);
    assert_false(tsdb_verify(path, &visitor, &totals, &err));
    assert_non_null(strstr(err.msg, "none"));
}

/* ---- damage ---- */

typedef void (*change_fn)(struct store *store, MDB_txn *txn);

static void first_row(struct store *store,
                      MDB_txn *txn,
                      enum store_table table,
                      MDB_val *ret_key,
                      MDB_val *ret_row) {
    MDB_cursor *cursor;
    assert_int_equal(mdb_cursor_open(txn, store->dbis[table], &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, ret_key, ret_row, MDB_FIRST), 0);
    mdb_cursor_close(cursor);
}

static void flip_first(struct store *store, MDB_txn *txn, enum store_table table) {
    MDB_val key;
    MDB_val row;
    first_row(store, txn, table, &key, &row);
    uint8_t *copy = malloc(row.mv_size);
    memcpy(copy, row.mv_data, row.mv_size);
    copy[row.mv_size / 2] ^= 1;
    row.mv_data = copy;
    assert_int_equal(mdb_put(txn, store->dbis[table], &key, &row, 0), 0);
    free(copy);
}

static void delete_first(struct store *store, MDB_txn *txn, enum store_table table) {
    MDB_val key;
    MDB_val row;
    first_row(store, txn, table, &key, &row);
    assert_int_equal(mdb_del(txn, store->dbis[table], &key, NULL), 0);
}

static void flip_series(struct store *store, MDB_txn *txn) {
    flip_first(store, txn, STORE_LABELS);
}

static void flip_last(struct store *store, MDB_txn *txn) {
    flip_first(store, txn, STORE_LASTS);
}

static void flip_window(struct store *store, MDB_txn *txn) {
    flip_first(store, txn, STORE_WINDOWS);
}

static void flip_row(struct store *store, MDB_txn *txn) {
    flip_first(store, txn, STORE_ROWS);
}

static void flip_segment(struct store *store, MDB_txn *txn) {
    flip_first(store, txn, STORE_SEGMENTS);
}

static void flip_posting(struct store *store, MDB_txn *txn) {
    flip_first(store, txn, STORE_POSTINGS);
}

static void lose_hash(struct store *store, MDB_txn *txn) {
    delete_first(store, txn, STORE_IDS);
}

static void lose_segment(struct store *store, MDB_txn *txn) {
    delete_first(store, txn, STORE_SEGMENTS);
}

static void lose_row(struct store *store, MDB_txn *txn) {
    delete_first(store, txn, STORE_ROWS);
}

static void lose_posting(struct store *store, MDB_txn *txn) {
    delete_first(store, txn, STORE_POSTINGS);
}

static void lose_window(struct store *store, MDB_txn *txn) {
    delete_first(store, txn, STORE_WINDOWS);
}

static void flip_part(struct store *store, MDB_txn *txn) {
    flip_first(store, txn, STORE_PARTS);
}

static void flip_directory(struct store *store, MDB_txn *txn) {
    flip_first(store, txn, STORE_DIRECTORY);
}

static void lose_directory(struct store *store, MDB_txn *txn) {
    delete_first(store, txn, STORE_DIRECTORY);
}

static void change_store(struct fixture *f, change_fn change) {
    struct err err = ERR_INIT;
    char path[100];
    struct store store;
    MDB_txn *txn;
    snprintf(path, sizeof(path), "%s/store", f->dir);
    assert_true(store_open(&store, path, false, &err));
    assert_true(env_write_begin(&store.env, &txn, &err));
    change(&store, txn);
    assert_int_equal(mdb_txn_commit(txn), 0);
    store_close(&store);
}

static void damage_is_named(void **state) {
    static const struct {
        change_fn change;
        const char *want;
        bool is_merged;
    } cases[] = {
        { flip_series, "store: table labels: key", false },
        { flip_last, "store: table lasts: key", false },
        { flip_window, "store: table windows: ", false },
        { flip_row, "store: table rows: key", false },
        { flip_segment, "segment 1: the checksum is wrong", false },
        { flip_posting, "store: table postings: key", false },
        { lose_hash, "table ids does not have it", false },
        { lose_segment, "segment 1: it is missing", false },
        { lose_row, "its rows have", false },
        { lose_posting, "the index does not list the series that are there", false },
        { lose_window, "table windows does not have it", false },
        { flip_part, "store: table parts: key", true },
        { flip_directory, "store: table directory: key", true },
        { flip_segment, "segment 1: the checksum is wrong", true },
        { lose_segment, "segment 1: it is missing", true },
        { lose_directory, "instead of 3", true },
        { lose_posting, "the index does not list the series that are there", true },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        struct findings findings;
        fixture_init(&f);
        fixture_open(&f);
        fill(&f, cases[i].is_merged);
        fixture_close(&f);
        change_store(&f, cases[i].change);
        (void)verify(&f, &findings);
        if (strstr(findings.text, cases[i].want) == NULL) {
            fail_msg("case %zu: no \"%s\" in \"%s\"", i, cases[i].want, findings.text);
        }
        /* What is damaged keeps nobody from opening. */
        fixture_open(&f);
        fixture_finish(&f);
    }
    (void)state;
}

/* A damaged row or window does not stop sealing into it, and nothing that was there is lost. */
static void sealing_makes_again(void **state) {
    static const change_fn changes[] = { flip_row, flip_window };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct fixture f;
        struct findings findings;
        struct err err = ERR_INIT;
        fixture_init(&f);
        fake_clock_init(&f.clock, HOUR_MS);
        fixture_open(&f);
        put_run(&f, make_series(&f, "v", NULL), 0, 15000, 130); /* one chunk is full */
        assert_true(tsdb_maintain_blocking(f.db, &err));
        fixture_close(&f);
        change_store(&f, changes[i]);
        fixture_open(&f);
        put_run(&f, make_series(&f, "v", NULL), 130 * 15000, 15000, 130);
        assert_true(tsdb_maintain_blocking(f.db, &err));
        struct tsdb_stats stats;
        tsdb_stats(f.db, &stats);
        assert_true(stats.damage_count > 0);
        fixture_close(&f);
        struct tsdb_verify_totals totals = verify(&f, &findings);
        assert_string_equal(findings.text, "");
        assert_true(totals.samples + totals.journal_samples >= 260);
        fixture_open(&f);
        const char *text = read_name(&f, "v");
        size_t samples = 0;
        for (; (text = strchr(text, ':')) != NULL; text++) {
            samples++;
        }
        assert_int_equal(samples, 260);
        fixture_finish(&f);
    }
    (void)state;
}

/* What a merge under way has written is no damage, and is counted: the manifest of a backup of that
 * moment counts it, too. */
static void merging(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct merge_limits limits = {
        .end_window = INT64_MAX,
        .now_ms = FIXTURE_NOW_MS,
        .is_forced = true,
    };
    bool is_idle = false;
    MDB_txn *txn;
    MDB_stat before;
    MDB_stat stat;
    fill(f, false);
    struct store *store = &f->db->store;
    pthread_mutex_lock(&f->db->maintain_lock);
    assert_true(env_read_begin(&store->env, &txn, &err));
    assert_int_equal(mdb_stat(txn, store->dbis[STORE_SEGMENTS], &before), 0);
    env_read_end(&store->env, txn);
    for (int i = 0; i < 2; i++) { /* it begins, it writes chunks */
        assert_true(merge_work(f->db, &limits, &is_idle, &err));
        assert_false(is_idle);
    }
    assert_true(env_read_begin(&store->env, &txn, &err));
    assert_int_equal(mdb_stat(txn, store->dbis[STORE_SEGMENTS], &stat), 0);
    env_read_end(&store->env, txn);
    pthread_mutex_unlock(&f->db->maintain_lock);
    assert_true(stat.ms_entries > before.ms_entries);
    fixture_close(f);
    struct findings findings;
    struct tsdb_verify_totals totals = verify(f, &findings);
    assert_string_equal(findings.text, "");
    assert_int_equal(totals.segments, stat.ms_entries);
    fixture_open(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* A window that is being deleted goes at once for readers, however many transactions it takes; what
 * is left of it is no damage. */
static void deleting_a_window(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    fixture_hold_merges(f, true);
    series_ref_t ref = make_series(f, "up", PAIRS("job", "a"));
    put_run(f, ref, FIXTURE_NOW_MS - 8 * HOUR_MS, MINUTE_MS, 8 * 60);
    fake_clock_advance(&f->clock, 8 * HOUR_MS);
    assert_true(tsdb_maintain_blocking(f->db, &err));
    f->db->retention_ms = 10 * HOUR_MS;
    MDB_dbi segments = f->db->store.dbis[STORE_SEGMENTS];
    f->db->store.dbis[STORE_SEGMENTS] = 1000; /* ends the deletion half-way */
    assert_false(tsdb_maintain_blocking(f->db, &err));
    f->db->store.dbis[STORE_SEGMENTS] = segments;
    fixture_close(f);
    struct findings findings;
    (void)verify(f, &findings);
    assert_string_equal(findings.text, "");
    fixture_open(f);
    err = (struct err)ERR_INIT;
    if (!tsdb_maintain_blocking(f->db, &err)) {
        fail_msg("%s", err.msg);
    }
    fixture_close(f);
    (void)verify(f, &findings);
    assert_string_equal(findings.text, "");
    fixture_open(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(whole),
        TEST(whole_and_merged),
        TEST(nothing_there),
        TEST(deleting_a_window),
        TEST(merging),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(sealing_makes_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
