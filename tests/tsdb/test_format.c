/*
 * Goal: data of an older format goes on being read, and is marked as of this format before anything
 * new is added. Method: a store turned back by hand into what format 1 had - XOR chunks in its
 * segments - then opened, read, written to and sealed.
 */
#include <stdio.h>

#include "base/mem.h"
#include "tests/tsdb/fixture.h"
#include "tests/tsdb/xor_encode.h"
#include "tsdb/db.h"
#include "tsdb/parts/window.h"

#define SERIES_ID 1

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

static void write_samples(struct fixture *f, int64_t start_ms, int count) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    series_ref_t ref = make_series(f, "m", NULL);
    assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
    for (int i = 0; i < count; i++) {
        tsdb_batch_append(batch, ref, start_ms + i * 15000, (double)i / 4);
    }
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
}

static void seal_all(struct fixture *f) {
    struct err err = ERR_INIT;
    fake_clock_advance(&f->clock, 5 * HOUR_MS);
    fixture_hold_merges(f, true); /* chunks stay as sealing made them */
    assert_true(tsdb_maintain_blocking(f->db, &err));
    assert_int_equal(f->db->head.open_count, 0);
}

struct codecs {
    size_t xor_count;
    size_t p3_count;
};

/* Visit every stored chunk of the series; `recode`: write it again as XOR. */
static int visit_window(struct store *store,
                        MDB_txn *txn,
                        int64_t window,
                        bool recode,
                        struct codecs *codecs) {
    struct err err = ERR_INIT;
    struct store_row row = { 0 };
    bool found;
    int rc = 0;
    assert_true(store_get_row(store, txn, window, SERIES_ID, &row, &found, &err));
    for (size_t i = 0; rc == 0 && found && i < row.count; i++) {
        struct chunk_view view;
        int64_t t_ms[CHUNK_SAMPLES_MAX];
        double values[CHUNK_SAMPLES_MAX];
        uint8_t bytes[CHUNK_SAMPLES_MAX * XOR_SAMPLE_BYTES_MAX];
        assert_true(
            segment_get_chunk(store, txn, window, SERIES_ID, &row.refs[i], false, &view, &err));
        codecs->xor_count += view.codec == CHUNK_XOR;
        codecs->p3_count += view.codec == CHUNK_P3;
        if (!recode) {
            continue;
        }
        assert_true(chunk_decode(&view, t_ms, values));
        struct xor_appender appender;
        xor_appender_init(&appender);
        for (size_t s = 0; s < view.count; s++) {
            xor_append(&appender, bytes, t_ms[s], values[s]);
        }
        struct segment_chunk chunk = {
            .id = SERIES_ID,
            .codec = CHUNK_XOR,
            .count = (uint32_t)view.count,
            .t_min_ms = view.t_min_ms,
            .t_max_ms = view.t_max_ms,
            .bytes = str_n((const char *)bytes, xor_byte_count(&appender)),
        };
        struct buf segment;
        uint64_t segment_bytes;
        buf_init(&segment, SEGMENT_BYTES_MAX);
        assert_true(segment_add(&segment, &chunk, &row.refs[i].offset));
        row.refs[i].segment = 1000 + codecs->p3_count; /* one of its own */
        rc = segment_put(store, txn, window, row.refs[i].segment, buf_as_str(&segment),
                         &segment_bytes);
        buf_finish(&segment);
    }
    if (rc == 0 && found && recode) {
        rc = store_put_row(store, txn, window, SERIES_ID, &row);
    }
    store_row_finish(&row);
    return rc;
}

struct visit {
    bool recode;
    struct codecs codecs;
};

static int visit_windows(void *ctx, struct store *store, MDB_txn *txn) {
    struct visit *visit = ctx;
    struct err err = ERR_INIT;
    int64_t *windows = NULL;
    size_t count;
    int rc = 0;
    assert_true(store_list_windows(store, txn, INT64_MIN, INT64_MAX, &windows, &count, &err));
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = visit_window(store, txn, windows[i], visit->recode, &visit->codecs);
    }
    mem_free(windows);
    return rc;
}

static struct codecs visit_chunks(struct fixture *f, bool recode) {
    struct err err = ERR_INIT;
    struct visit visit = { .recode = recode };
    assert_true(store_write(f->db, visit_windows, &visit, "visiting chunks", &err));
    return visit.codecs;
}

static void put_format(struct fixture *f, uint32_t version) {
    struct err err = ERR_INIT;
    struct kv_store *kv = tsdb_kv(f->db);
    struct kv_batch *batch = kv->begin(kv);
    char row[21] = "....directory's id 1";
    bytes_put_le32((uint8_t *)row, version);
    batch->put(batch, KV_META, STR("format"), str_n(row, 20));
    assert_true(kv->commit_blocking(kv, batch, &err));
}

static uint32_t get_format(struct fixture *f) {
    struct err err = ERR_INIT;
    struct kv_store *kv = tsdb_kv(f->db);
    struct buf row;
    buf_init(&row, 100);
    assert_true(kv->get(kv, KV_META, STR("format"), &row, &err));
    assert_int_equal(row.len, 20);
    uint32_t version = bytes_le32((const uint8_t *)row.ptr);
    assert_memory_equal(row.ptr + 4, "directory's id 1", 16);
    buf_finish(&row);
    return version;
}

static void old_chunks_are_read(void **state) {
    struct fixture *f = *state;
    write_samples(f, FIXTURE_NOW_MS - 2 * HOUR_MS, 480);
    seal_all(f);
    char *want = test_malloc(100000);
    snprintf(want, 100000, "%s", read_name(f, "m"));
    struct codecs codecs = visit_chunks(f, true);
    assert_true(codecs.xor_count == 0 && codecs.p3_count >= 4);
    size_t chunk_count = codecs.p3_count;
    put_format(f, 1);
    assert_string_equal(read_name(f, "m"), want);
    fixture_reopen(f);
    assert_int_equal(get_format(f), FORMAT_VERSION);
    assert_string_equal(read_name(f, "m"), want);

    write_samples(f, FIXTURE_NOW_MS + 4 * HOUR_MS, 100);
    seal_all(f);
    codecs = visit_chunks(f, false);
    assert_true(codecs.xor_count == chunk_count && codecs.p3_count >= 1);
    assert_int_equal(strncmp(read_name(f, "m"), want, strlen(want) - 1), 0);
    char *both = test_malloc(100000);
    snprintf(both, 100000, "%s", read_name(f, "m"));
    fixture_reopen(f);
    assert_string_equal(read_name(f, "m"), both);
    assert_int_equal(get_format(f), FORMAT_VERSION);
    test_free(both);
    test_free(want);
}

/* Reading alone changes nothing. */
static void read_only_leaves_the_format(void **state) {
    struct fixture *f = *state;
    write_samples(f, FIXTURE_NOW_MS, 10);
    put_format(f, 1);
    fixture_close(f);
    f->options.is_read_only = true;
    fixture_open(f);
    assert_int_equal(get_format(f), 1);
    fixture_close(f);
    f->options.is_read_only = false;
    fixture_open(f);
    assert_int_equal(get_format(f), FORMAT_VERSION);
}

static void damaged_format_is_refused(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    put_format(f, 0);
    fixture_close(f);
    assert_false(tsdb_open(&f->options, &f->db, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.msg, "format 0"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(old_chunks_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(read_only_leaves_the_format, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_format_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
