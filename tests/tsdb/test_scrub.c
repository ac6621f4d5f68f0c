/*
 * Goal: scrubbing finds damage in sealed data that no query meets, and none in a whole store.
 * Method: a directory with sealed or merged windows; rows changed through LMDB behind the store's
 * back; a pass; what was told. Nobody reads.
 */
#include <stdio.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/db.h"
#include "tsdb/upkeep/scrub.h"

struct told {
    size_t count;
    char text[4096];
};

static void remember(void *ctx, const char *what) {
    struct told *told = ctx;
    size_t len = strlen(told->text);
    told->count++;
    snprintf(told->text + len, sizeof(told->text) - len, "%s\n", what);
}

/* Three series over five hours, sealed, merged or not. */
static void fill(struct fixture *f, bool is_merged) {
    struct err err = ERR_INIT;
    fixture_open(f);
    fixture_hold_merges(f, !is_merged);
    for (int s = 0; s < 3; s++) {
        char number[8];
        snprintf(number, sizeof(number), "%d", s);
        series_ref_t ref = make_series(f, "v", PAIRS("s", number));
        struct tsdb_batch *batch;
        assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
        for (int i = 0; i < 300; i++) {
            tsdb_batch_append(batch, ref, i * MINUTE_MS, i * 0.5);
        }
        assert_true(tsdb_commit_blocking(batch, NULL, &err));
    }
    assert_true(tsdb_maintain_blocking(f->db, &err));
    struct kv_store *kv = tsdb_kv(f->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("key"), STR("value"));
    assert_true(kv->commit_blocking(kv, batch, &err));
}

/* ---- changes behind the store's back ---- */

typedef void (*change_fn)(struct store *store, MDB_txn *txn);

static void first_row(struct store *store,
                      MDB_txn *txn,
                      enum store_table table,
                      uint8_t key_bytes[512],
                      uint8_t row_bytes[40000],
                      MDB_val *ret_key,
                      MDB_val *ret_row) {
    MDB_cursor *cursor;
    assert_int_equal(mdb_cursor_open(txn, store->dbis[table], &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, ret_key, ret_row, MDB_FIRST), 0);
    memcpy(key_bytes, ret_key->mv_data, ret_key->mv_size);
    memcpy(row_bytes, ret_row->mv_data, ret_row->mv_size);
    ret_key->mv_data = key_bytes;
    ret_row->mv_data = row_bytes;
    mdb_cursor_close(cursor);
}

static void change_first(struct store *store, MDB_txn *txn, enum store_table table, bool is_key) {
    static uint8_t key_bytes[512];
    static uint8_t row_bytes[40000];
    MDB_val key;
    MDB_val row;
    first_row(store, txn, table, key_bytes, row_bytes, &key, &row);
    assert_int_equal(mdb_del(txn, store->dbis[table], &key, NULL), 0);
    if (is_key) {
        key_bytes[key.mv_size - 1] ^= 0x40;
    } else {
        row_bytes[row.mv_size / 2] ^= 1;
    }
    assert_int_equal(mdb_put(txn, store->dbis[table], &key, &row, 0), 0);
}

static void lose_first(struct store *store, MDB_txn *txn, enum store_table table) {
    static uint8_t key_bytes[512];
    static uint8_t row_bytes[40000];
    MDB_val key;
    MDB_val row;
    first_row(store, txn, table, key_bytes, row_bytes, &key, &row);
    assert_int_equal(mdb_del(txn, store->dbis[table], &key, NULL), 0);
}

static void flip_segment(struct store *store, MDB_txn *txn) {
    change_first(store, txn, STORE_SEGMENTS, false);
}

static void flip_row_key(struct store *store, MDB_txn *txn) {
    change_first(store, txn, STORE_ROWS, true);
}

static void flip_labels_key(struct store *store, MDB_txn *txn) {
    change_first(store, txn, STORE_LABELS, true);
}

static void flip_ids(struct store *store, MDB_txn *txn) {
    change_first(store, txn, STORE_IDS, false);
}

static void lose_ids(struct store *store, MDB_txn *txn) {
    lose_first(store, txn, STORE_IDS);
}

static void lose_lasts(struct store *store, MDB_txn *txn) {
    lose_first(store, txn, STORE_LASTS);
}

static void flip_posting(struct store *store, MDB_txn *txn) {
    change_first(store, txn, STORE_POSTINGS, false);
}

static void flip_directory(struct store *store, MDB_txn *txn) {
    change_first(store, txn, STORE_DIRECTORY, false);
}

static void lose_row(struct store *store, MDB_txn *txn) {
    lose_first(store, txn, STORE_ROWS);
}

static void lose_segment(struct store *store, MDB_txn *txn) {
    lose_first(store, txn, STORE_SEGMENTS);
}

/* A row with a right checksum that has fewer chunks than it once got: an old page. */
static void age_row(struct store *store, MDB_txn *txn) {
    static uint8_t key_bytes[512];
    static uint8_t row_bytes[40000];
    struct err err = ERR_INIT;
    struct store_row row = { 0 };
    MDB_val key;
    MDB_val value;
    bool found;
    first_row(store, txn, STORE_ROWS, key_bytes, row_bytes, &key, &value);
    int64_t window = bytes_be64_signed(key_bytes);
    uint64_t id = bytes_be64(key_bytes + 8);
    assert_true(store_get_row(store, txn, window, id, &row, &found, &err));
    assert_true(found && row.count >= 1);
    row.refs[0].count--;
    assert_int_equal(store_put_row(store, txn, window, id, &row), 0);
    store_row_finish(&row);
}

static void change(struct fixture *f, change_fn fn) {
    struct err err = ERR_INIT;
    MDB_txn *txn;
    pthread_mutex_lock(&f->db->maintain_lock);
    assert_true(env_write_begin(&f->db->store.env, &txn, &err));
    fn(&f->db->store, txn);
    assert_int_equal(mdb_txn_commit(txn), 0);
    pthread_mutex_unlock(&f->db->maintain_lock);
}

/* ---- */

static void told_after(bool is_merged, change_fn fn, struct told *ret) {
    struct fixture f;
    *ret = (struct told){ 0 };
    fixture_init(&f);
    f.options.on_damage = remember;
    f.options.on_damage_ctx = ret;
    fill(&f, is_merged);
    if (fn != NULL) {
        change(&f, fn);
    }
    tsdb_scrub_blocking(f.db);
    struct tsdb_stats stats;
    tsdb_stats(f.db, &stats);
    assert_true((stats.damage_count > 0) == (ret->count > 0));
    fixture_finish(&f);
}

static void whole(void **state) {
    (void)state;
    struct told told;
    for (int is_merged = 0; is_merged < 2; is_merged++) {
        told_after(is_merged, NULL, &told);
        assert_string_equal(told.text, "");
    }
}

static void damage_is_told(void **state) {
    (void)state;

    static const struct {
        bool is_merged;
        change_fn change;
        const char *want;
    } cases[] = {
        { false, flip_segment, "segment 1: the checksum is wrong" },
        { true, flip_segment, "segment 1: the checksum is wrong" },
        { false, flip_row_key, "table rows" },
        { false, flip_labels_key, "table labels" },
        { false, flip_ids, "table ids" },
        { false, lose_ids, "is not found by its labels" },
        { false, lose_lasts, "table lasts does not have series" },
        { false, flip_posting, "table postings" },
        { true, flip_posting, "table postings" },
        { true, flip_directory, "table directory" },
        { false, lose_row, "does not add up" },
        { false, age_row, "does not add up" },
        { true, lose_segment, "does not add up" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct told told;
        told_after(cases[i].is_merged, cases[i].change, &told);
        if (strstr(told.text, cases[i].want) == NULL) {
            fail_msg("case %zu: \"%s\" not in: %s", i, cases[i].want, told.text);
        }
    }
}

/* The table of a state may rot in the journal's environment, too. */
static void damaged_table(void **state) {
    (void)state;
    struct fixture f;
    struct told told = { 0 };
    struct err err = ERR_INIT;
    fixture_init(&f);
    f.options.on_damage = remember;
    f.options.on_damage_ctx = &told;
    fill(&f, false);
    MDB_txn *txn;
    char key_bytes[] = "key";
    char row_bytes[] = "1234other";
    MDB_val key = { .mv_size = 3, .mv_data = key_bytes };
    MDB_val row = { .mv_size = 9, .mv_data = row_bytes };
    assert_true(env_write_begin(&f.db->journal, &txn, &err));
    assert_int_equal(mdb_put(txn, f.db->kv_dbis[KV_SILENCE], &key, &row, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    tsdb_scrub_blocking(f.db);
    assert_int_equal(told.count, 1);
    fixture_finish(&f);
}

/* Tick by tick it comes to the same, and goes on where it stood after a restart. */
static void by_ticks(void **state) {
    (void)state;
    struct fixture f;
    struct told told = { 0 };
    fixture_init(&f);
    f.options.on_damage = remember;
    f.options.on_damage_ctx = &told;
    fill(&f, true);
    change(&f, flip_segment);
    for (int i = 0; i < 10; i++) {
        pthread_mutex_lock(&f.db->maintain_lock);
        scrub_tick(f.db);
        pthread_mutex_unlock(&f.db->maintain_lock);
    }
    assert_int_equal(told.count, 1);
    fixture_reopen(&f);
    tsdb_scrub_blocking(f.db);
    assert_int_equal(told.count, 2);
    fixture_finish(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(damaged_table),
        cmocka_unit_test(by_ticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
