/*
 * Goal: the store's contract from outside: verdicts, durability over close and open, overlay,
 * tables, metadata, limits, refusals. Method: small stores in directories of their own, a fake
 * clock.
 */
#include <assert.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"

#define T0 FIXTURE_NOW_MS

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

static struct tsdb_batch *begin(struct fixture *f, enum tsdb_class cls) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch = NULL;
    if (!tsdb_batch_begin(f->db, cls, &batch, &err)) {
        fail_msg("tsdb_batch_begin: %s", err.msg);
    }
    return batch;
}

static struct tsdb_commit_result commit(struct tsdb_batch *batch) {
    struct err err = ERR_INIT;
    struct tsdb_commit_result result;
    if (!tsdb_commit_blocking(batch, &result, &err)) {
        fail_msg("tsdb_commit_blocking: %s", err.msg);
    }
    return result;
}

static void write_and_read(void **state) {
    struct fixture *f = *state;
    series_ref_t a = make_series(f, "up", PAIRS("job", "a"));
    series_ref_t b = make_series(f, "up", PAIRS("job", "b"));
    assert_int_not_equal(a, b);
    assert_int_equal(a, make_series(f, "up", PAIRS("job", "a")));
    assert_int_equal(put_sample(f, a, 1000, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, b, 1000, 2), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, a, 2000, 3), TSDB_ACCEPTED);
    assert_string_equal(read_name(f, "up"), "up{job=\"a\"} 1000:1 2000:3\nup{job=\"b\"} 1000:2\n");
    fixture_reopen(f);
    assert_string_equal(read_name(f, "up"), "up{job=\"a\"} 1000:1 2000:3\nup{job=\"b\"} 1000:2\n");
    a = make_series(f, "up", PAIRS("job", "a"));
    assert_int_equal(put_sample(f, a, 2000, 3), TSDB_DUPLICATE);
    assert_int_equal(put_sample(f, a, 2500, 4), TSDB_ACCEPTED);
    assert_string_equal(read_name(f, "up"),
                        "up{job=\"a\"} 1000:1 2000:3 2500:4\nup{job=\"b\"} 1000:2\n");
}

static void verdicts(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    f->options.retention_ms = 10 * HOUR_MS;
    f->options.future_ms_max = 10 * MINUTE_MS;
    fixture_open(f);
    series_ref_t a = make_series(f, "a", NULL);

    const struct {
        int64_t t_ms;
        double value;
        enum tsdb_outcome want;
    } cases[] = {
        { T0 - 10 * HOUR_MS - 1, 1, TSDB_TOO_OLD },
        { T0 - 10 * HOUR_MS, 1, TSDB_ACCEPTED },
        { T0, 1, TSDB_ACCEPTED },
        { T0, 1, TSDB_DUPLICATE },
        { T0, 2, TSDB_CONFLICT },
        { T0 - 10 * HOUR_MS, 1, TSDB_DUPLICATE },
        { T0 - 10 * HOUR_MS, 3, TSDB_CONFLICT },
        { T0 - 1, 1, TSDB_ACCEPTED },
        { T0 - 1, 1, TSDB_DUPLICATE },
        { T0 - 1, 2, TSDB_CONFLICT },
        { T0 - HOUR_MS, 1, TSDB_ACCEPTED },
        { T0 - HOUR_MS - 1, 1, TSDB_OUT_OF_ORDER },
        { T0 + 10 * MINUTE_MS, 1, TSDB_ACCEPTED },
        { T0 + 10 * MINUTE_MS + 1, 1, TSDB_TOO_NEW },
        { INT64_MAX, 1, TSDB_TOO_NEW },
        { INT64_MIN, 1, TSDB_TOO_OLD },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(put_sample(f, a, cases[i].t_ms, cases[i].value), cases[i].want);
    }
    for (size_t i = 0; i < TSDB_OUTCOME_COUNT; i++) {
        assert_non_null(tsdb_outcome_to_string((enum tsdb_outcome)i));
    }
}

struct seen {
    uint8_t outcomes[16];
    size_t count;
    bool is_durable;
};

static void note_outcomes(void *ctx, const struct tsdb_commit_result *result) {
    struct seen *seen = ctx;
    seen->is_durable = result->is_durable;
    seen->count = result->sample_count;
    memcpy(seen->outcomes, result->outcomes, result->sample_count);
}

/* Verdicts come per sample in append order, and what is valid is stored beside what is not. */
static void mixed_batch(void **state) {
    struct fixture *f = *state;
    series_ref_t a = make_series(f, "a", NULL);
    series_ref_t b = make_series(f, "b", NULL);
    struct tsdb_batch *batch = begin(f, TSDB_INGEST);
    tsdb_batch_append(batch, a, 10, 1);
    tsdb_batch_append(batch, b, 10, 1);
    tsdb_batch_append(batch, a, 10, 1);
    tsdb_batch_append(batch, a, 10, 2);
    tsdb_batch_append(batch, a, -2 * HOUR_MS, 2);
    tsdb_batch_append(batch, a, 20, 2);
    assert_int_equal(tsdb_batch_sample_count(batch), 6);
    struct seen seen = { 0 };
    tsdb_commit(batch, note_outcomes, &seen);
    (void)commit(begin(f, TSDB_INGEST)); /* an empty batch behind it: the first is through */
    static const uint8_t want[] = { TSDB_ACCEPTED, TSDB_ACCEPTED,     TSDB_DUPLICATE,
                                    TSDB_CONFLICT, TSDB_OUT_OF_ORDER, TSDB_ACCEPTED };
    assert_true(seen.is_durable);
    assert_int_equal(seen.count, 6);
    assert_memory_equal(seen.outcomes, want, sizeof(want));
    assert_string_equal(read_name(f, "a"), "a 10:1 20:2\n");
    assert_string_equal(read_name(f, "b"), "b 10:1\n");
}

/* Every bit of a value and every time survives the journal, the head and the store. */
static void every_bit(void **state) {
    struct fixture *f = *state;
    static const uint64_t bits[] = {
        STALE_NAN_BITS,
        NORMAL_NAN_BITS,
        0x7ff8dead0000beef,
        0x8000000000000000,
        0,
        1,
        0x7ff0000000000000,
        0xfff0000000000000,
        0x4340000000000000,
        0x4340000000000001,
        0xc340000000000000,
        0x3fb999999999999a,
        0x43e0000000000000,
    };
    static const int64_t t_ms[] = {
        INT64_MIN, INT64_MIN + 1,       -7200001,      -7200000,  -1, 0, 1, 7199999, 7200000,
        T0,        INT64_MAX - 7200000, INT64_MAX - 1, INT64_MAX,
    };
    static_assert(ARRAY_LEN(bits) == ARRAY_LEN(t_ms), "one time per value");
    series_ref_t ref = make_series(f, "bits", NULL);
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        assert_int_equal(put_sample(f, ref, t_ms[i], double_from_bits(bits[i])), TSDB_ACCEPTED);
    }
    for (int turn = 0; turn < 4; turn++) {
        struct err err = ERR_INIT;
        struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "bits");
        struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
        struct tsdb_series_view *views;
        size_t count;
        assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
        assert_int_equal(count, 1);
        struct tsdb_column column = { 0 };
        assert_true(tsdb_read(querier, views[0].id, INT64_MIN, INT64_MAX, &column, &err));
        assert_int_equal(column.count, ARRAY_LEN(bits));
        for (size_t i = 0; i < column.count; i++) {
            assert_true(column.t_ms[i] == t_ms[i]);
            assert_true(double_bits(column.values[i]) == bits[i]);
        }
        tsdb_column_finish(&column);
        tsdb_querier_close(querier);
        matcher_finish(&matcher);
        if (turn % 2 == 0) {
            fixture_reopen(f);
        } else {
            assert_true(tsdb_maintain_blocking(f->db, &err));
        }
    }
}

static void ranges(void **state) {
    struct fixture *f = *state;
    series_ref_t ref = make_series(f, "r", NULL);
    struct tsdb_batch *batch = begin(f, TSDB_INGEST);
    for (int i = 0; i < 1000; i++) {
        tsdb_batch_append(batch, ref, i * 1000, i);
    }
    (void)commit(batch);
    struct err err = ERR_INIT;
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "r");
    struct tsdb_querier *querier = open_querier(f, 100000, 499999);
    struct tsdb_series_view *views;
    size_t count;
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    assert_int_equal(count, 1);

    const struct {
        int64_t t_min_ms;
        int64_t t_max_ms;
        size_t want;
        int64_t first_ms;
    } cases[] = {
        { INT64_MIN, INT64_MAX, 400, 100000 },
        { 200000, 200000, 1, 200000 },
        { 200001, 200999, 0, 0 },
        { 119000, 121000, 3, 119000 },
        { 0, 99999, 0, 0 },
        { 500000, 600000, 0, 0 },
        { 300, 200, 0, 0 },
    };
    struct tsdb_column column = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(
            tsdb_read(querier, views[0].id, cases[i].t_min_ms, cases[i].t_max_ms, &column, &err));
        assert_int_equal(column.count, cases[i].want);
        if (column.count > 0) {
            assert_int_equal(column.t_ms[0], cases[i].first_ms);
        }
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    querier = open_querier(f, 2000000, 3000000);
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    assert_int_equal(count, 0);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
}

/* A querier sees what was durable when it opened, whatever is committed meanwhile. */
static void snapshots(void **state) {
    struct fixture *f = *state;
    series_ref_t a = make_series(f, "s", PAIRS("x", "a"));
    series_ref_t b = make_series(f, "s", PAIRS("x", "b"));
    struct tsdb_querier *queriers[300];
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "s");
    struct err err = ERR_INIT;
    for (int i = 0; i < 300; i++) {
        queriers[i] = open_querier(f, INT64_MIN, INT64_MAX);
        assert_int_equal(put_sample(f, a, i, i), TSDB_ACCEPTED);
        if (i % 3 == 0) {
            assert_int_equal(put_sample(f, b, i, i), TSDB_ACCEPTED);
        }
        if (i == 150) {
            assert_true(tsdb_maintain_blocking(f->db, &err));
        }
    }
    struct tsdb_column column = { 0 };
    for (int i = 0; i < 300; i++) {
        struct tsdb_series_view *views;
        size_t count;
        assert_true(tsdb_select(queriers[i], &matcher, 1, &f->arena, &views, &count, &err));
        assert_int_equal(count, i == 0 ? 0 : 2);
        if (count == 0) {
            continue;
        }
        assert_true(tsdb_read(queriers[i], views[0].id, INT64_MIN, INT64_MAX, &column, &err));
        assert_int_equal(column.count, i);
        assert_true(tsdb_read(queriers[i], views[1].id, INT64_MIN, INT64_MAX, &column, &err));
        assert_int_equal(column.count, (i + 2) / 3);
    }
    for (int i = 0; i < 300; i++) {
        tsdb_querier_close(queriers[i]);
    }
    tsdb_column_finish(&column);
    matcher_finish(&matcher);
}

static void overlay(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "o", PAIRS("x", "a"));
    assert_int_equal(put_sample(f, a, 1000, 1), TSDB_ACCEPTED);
    struct tsdb_batch *batch = begin(f, TSDB_STATE);
    struct tsdb_querier *querier;
    assert_true(tsdb_querier_open(f->db, 0, 5000, batch, &querier, &err));
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "o");
    assert_string_equal(read_all(f, querier, &matcher, 1), "o{x=\"a\"} 1000:1\n");
    tsdb_batch_append(batch, a, 2000, 2);
    tsdb_batch_append(batch, a, 1000, 9); /* what is stored wins */
    tsdb_batch_append(batch, make_series(f, "o", PAIRS("x", "b")), 3000, 3);
    tsdb_batch_append(batch, make_series(f, "o", PAIRS("x", "c")), 6000, 3); /* out of range */
    assert_string_equal(read_all(f, querier, &matcher, 1),
                        "o{x=\"a\"} 1000:1 2000:2\no{x=\"b\"} 3000:3\no{x=\"c\"}\n");
    tsdb_batch_append(batch, a, 2500, 2.5);
    assert_string_equal(read_all(f, querier, &matcher, 1),
                        "o{x=\"a\"} 1000:1 2000:2 2500:2.5\no{x=\"b\"} 3000:3\no{x=\"c\"}\n");
    tsdb_querier_close(querier);
    /* Nobody else sees it, and nothing stays when it is abandoned. */
    assert_string_equal(read_name(f, "o"), "o{x=\"a\"} 1000:1\n");
    tsdb_batch_abandon(batch);
    assert_string_equal(read_name(f, "o"), "o{x=\"a\"} 1000:1\n");
    matcher_finish(&matcher);
}

static void aliases(void **state) {
    struct fixture *f = *state;
    series_ref_t a = make_series(f, "w", NULL);
    series_ref_t b = make_series(f, "x", NULL);
    series_ref_t got = 0;
    struct tsdb_alias all[5000];
    series_ref_t refs[ARRAY_LEN(all)];
    for (int i = 0; i < 5000; i++) {
        char wire[32];
        int len = snprintf(wire, sizeof(wire), "wire %d", i);
        struct tsdb_alias alias = tsdb_alias_hash(f->db, str_n(wire, (size_t)len));
        assert_false(tsdb_alias_get(f->db, alias, &got));
        all[i] = alias;
        tsdb_alias_put(f->db, alias, i % 3 == 0 ? a : b);
        assert_true(tsdb_alias_get(f->db, alias, &got));
        assert_int_equal(got, i % 3 == 0 ? a : b);
    }
    struct tsdb_alias other = tsdb_alias_hash(f->db, STR("other"));
    tsdb_alias_put(f->db, other, b + 1); /* nobody */
    assert_false(tsdb_alias_get(f->db, other, &got));
    all[7] = other;
    tsdb_alias_get_all(f->db, all, ARRAY_LEN(all), refs);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_int_equal(refs[i], i == 7 ? 0 : i % 3 == 0 ? a : b);
    }
    struct tsdb_alias first = tsdb_alias_hash(f->db, STR("wire 0"));
    assert_true(tsdb_alias_get(f->db, first, &got));
    assert_int_equal(got, a);
}

/* ---- tables and metadata ---- */

static bool print_row(void *ctx, struct str key, struct str value) {
    buf_printf(ctx, "%.*s=%.*s ", STR_FMT(key), STR_FMT(value));
    return true;
}

static void tables(void **state) {
    struct fixture *f = *state;
    struct kv_store *kv = tsdb_kv(f->db);
    struct err err = ERR_INIT;
    struct buf got;
    buf_init(&got, 1000);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("b"), STR("2"));
    batch->put(batch, KV_SILENCE, STR("a"), STR("1"));
    batch->put(batch, KV_SILENCE, STR("ab"), STR(""));
    batch->put(batch, KV_OUTBOX, STR("a"), STR("other"));
    batch->put(batch, KV_SILENCE, STR("gone"), STR("x"));
    batch->del(batch, KV_SILENCE, STR("gone"));
    batch->del(batch, KV_SILENCE, STR("never there"));
    assert_false(kv->get(kv, KV_SILENCE, STR("a"), &got, &err)); /* not yet */
    assert_int_equal(err.code, ERR_NONE);
    assert_true(kv->commit_blocking(kv, batch, &err));
    for (int turn = 0; turn < 2; turn++) {
        kv = tsdb_kv(f->db);
        assert_true(kv->get(kv, KV_SILENCE, STR("a"), &got, &err));
        assert_true(str_eq_c(buf_as_str(&got), "1"));
        assert_true(kv->get(kv, KV_SILENCE, STR("ab"), &got, &err));
        assert_int_equal(got.len, 0);
        assert_false(kv->get(kv, KV_SILENCE, STR("gone"), &got, &err));
        assert_int_equal(err.code, ERR_NONE);
        buf_reset(&got);
        assert_true(kv->scan(kv, KV_SILENCE, STR(""), STR(""), print_row, &got, &err));
        assert_true(str_eq_c(buf_as_str(&got), "a=1 ab= b=2 "));
        buf_reset(&got);
        assert_true(kv->scan(kv, KV_SILENCE, STR("aa"), STR("a"), print_row, &got, &err));
        assert_true(str_eq_c(buf_as_str(&got), "ab= "));
        fixture_reopen(f);
    }
    kv = tsdb_kv(f->db);
    batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("dropped"), STR("x"));
    kv->abandon(kv, batch);
    assert_false(kv->get(kv, KV_SILENCE, STR("dropped"), &got, &err));
    char big[501];
    memset(big, 'k', sizeof(big));
    batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, str_n(big, 500), STR("fits"));
    assert_true(kv->commit_blocking(kv, batch, &err));
    batch = kv->begin(kv);
    batch->put(batch, KV_SILENCE, STR("with it"), STR("x"));
    batch->put(batch, KV_SILENCE, str_n(big, 501), STR("does not"));
    assert_false(kv->commit_blocking(kv, batch, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    err.code = ERR_NONE;
    assert_false(kv->get(kv, KV_SILENCE, STR("with it"), &got, &err));
    assert_int_equal(err.code, ERR_NONE);
    buf_finish(&got);
}

/* Samples and table changes of one batch arrive together. */
static void samples_with_tables(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct tsdb_batch *batch = begin(f, TSDB_STATE);
    tsdb_batch_append(batch, make_series(f, "s", NULL), 1, 1);
    struct kv_batch *kv_batch = tsdb_batch_kv(batch);
    kv_batch->put(kv_batch, KV_ALERT_STATE, STR("k"), STR("v"));
    (void)commit(batch);
    fixture_reopen(f);
    struct buf got;
    buf_init(&got, 100);
    struct kv_store *kv = tsdb_kv(f->db);
    assert_true(kv->get(kv, KV_ALERT_STATE, STR("k"), &got, &err));
    buf_finish(&got);
    assert_string_equal(read_name(f, "s"), "s 1:1\n");
}

static void print_family(void *ctx, struct str family, const struct family_metadata *metadata) {
    buf_printf(ctx, "%.*s %s '%.*s' '%.*s'\n", STR_FMT(family),
               family_type_to_string(metadata->type), STR_FMT(metadata->help),
               STR_FMT(metadata->unit));
}

static void metadata(void **state) {
    struct fixture *f = *state;
    struct tsdb_batch *batch = begin(f, TSDB_INGEST);
    struct family_metadata counter = {
        .type = FAMILY_COUNTER,
        .help = STR("Requests."),
        .unit = STR(""),
    };
    struct family_metadata gauge = {
        .type = FAMILY_GAUGE,
        .help = STR("Seconds."),
        .unit = STR("seconds"),
    };
    tsdb_batch_metadata(batch, STR("b_total"), &gauge);
    tsdb_batch_metadata(batch, STR("a_seconds"), &gauge);
    (void)commit(batch);
    batch = begin(f, TSDB_INGEST);
    tsdb_batch_metadata(batch, STR("b_total"), &counter);
    (void)commit(batch);
    for (int turn = 0; turn < 2; turn++) {
        struct buf out;
        buf_init(&out, 1000);
        tsdb_metadata(f->db, STR(""), print_family, &out);
        assert_string_equal(
            out.ptr, "a_seconds gauge 'Seconds.' 'seconds'\nb_total counter 'Requests.' ''\n");
        buf_reset(&out);
        tsdb_metadata(f->db, STR("b_total"), print_family, &out);
        tsdb_metadata(f->db, STR("nobody"), print_family, &out);
        assert_string_equal(out.ptr, "b_total counter 'Requests.' ''\n");
        buf_finish(&out);
        fixture_reopen(f);
    }
}

/* ---- limits and refusals ---- */

static void series_limit(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    f->options.series_max = 3;
    fixture_open(f);
    series_ref_t a = make_series(f, "l", PAIRS("x", "1"));
    (void)make_series(f, "l", PAIRS("x", "2"));
    (void)make_series(f, "l", PAIRS("x", "3"));
    struct err err = ERR_INIT;
    series_ref_t ref;
    struct labels labels = make_labels(&f->arena, "greedy_metric", NULL);
    assert_false(tsdb_series(f->db, labels, &ref, &err));
    assert_int_equal(err.code, ERR_THROTTLED);
    assert_non_null(strstr(err.msg, "greedy_metric"));
    assert_int_equal(a, make_series(f, "l", PAIRS("x", "1")));
    assert_int_equal(put_sample(f, a, 1, 1), TSDB_ACCEPTED);
}

/* Many at once: known ones, new ones, the same twice, more than are brought in together, and what
 * the head no longer holds. */
static void series_at_once(void **state) {
    struct fixture *f = *state;

    enum {
        MANY = 300
    };
    struct labels labels[MANY];
    series_ref_t refs[MANY];
    char text[16];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "%zu", i == 200 ? 150 : i);
        struct str value = arena_str(&f->arena, str_from(text));
        labels[i] = make_labels(&f->arena, "many", PAIRS("x", value.ptr));
    }
    series_ref_t known = make_series(f, "many", PAIRS("x", "7"));
    tsdb_series_all(f->db, labels, MANY, refs);
    assert_true(refs[7] == known && refs[200] == refs[150] && refs[150] != 0);
    for (size_t i = 0; i < MANY; i++) {
        series_ref_t ref;
        struct err err = ERR_INIT;
        assert_true(tsdb_series(f->db, labels[i], &ref, &err));
        assert_true(ref == refs[i]);
        assert_true(i == 0 || i == 200 || refs[i] != refs[i - 1]);
        assert_int_equal(put_sample(f, ref, i == 200 ? 2 : 1, (double)i), TSDB_ACCEPTED);
    }
    fixture_reopen(f);
    tsdb_series_all(f->db, labels, MANY, refs);
    assert_int_equal(put_sample(f, refs[299], 1, 299), TSDB_DUPLICATE);
    assert_int_equal(put_sample(f, refs[63], 1, 64), TSDB_CONFLICT);
}

/* What there is no room for stays unknown, and tsdb_series() says why. */
static void series_at_once_limit(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    f->options.series_max = 2;
    fixture_open(f);
    series_ref_t a = make_series(f, "l", PAIRS("x", "1"));
    struct labels labels[] = {
        make_labels(&f->arena, "l", PAIRS("x", "1")),
        make_labels(&f->arena, "l", PAIRS("x", "2")),
        make_labels(&f->arena, "l", PAIRS("x", "3")),
        { 0 },
    };
    series_ref_t refs[4];
    tsdb_series_all(f->db, labels, 4, refs);
    assert_true(refs[0] == a && refs[1] == 0 && refs[2] == 0 && refs[3] == 0);
    tsdb_series_all(f->db, labels, 2, refs);
    assert_true(refs[0] == a && refs[1] != 0);
}

static void series_per_metric_limit(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    f->options.series_per_metric_max = 2;
    fixture_open(f);
    series_ref_t a = make_series(f, "greedy", PAIRS("x", "1"));
    (void)make_series(f, "greedy", PAIRS("x", "2"));
    struct err err = ERR_INIT;
    series_ref_t ref;
    struct labels labels = make_labels(&f->arena, "greedy", PAIRS("x", "3"));
    assert_false(tsdb_series(f->db, labels, &ref, &err));
    assert_int_equal(err.code, ERR_THROTTLED);
    assert_non_null(strstr(err.msg, "2 active series of one metric is reached by greedy"));
    (void)make_series(f, "modest", PAIRS("x", "3"));
    assert_int_equal(a, make_series(f, "greedy", PAIRS("x", "1")));
    assert_int_equal(put_sample(f, a, 1, 1), TSDB_ACCEPTED);
}

static void second_opening(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char pid[32];
    snprintf(pid, sizeof(pid), "process %d", (int)getpid());
    struct tsdb *second;
    assert_false(tsdb_open(&f->options, &second, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_non_null(strstr(err.msg, pid));
    struct stat st;
    assert_int_equal(stat(f->dir, &st), 0);
}

static void read_only_opening(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "ro", NULL);
    assert_int_equal(put_sample(f, a, 1000, 1), TSDB_ACCEPTED);
    fixture_close(f);
    f->options.is_read_only = true;
    fixture_open(f);
    assert_string_equal(read_name(f, "ro"), "ro 1000:1\n");
    struct tsdb_batch *batch;
    assert_false(tsdb_batch_begin(f->db, TSDB_STATE, &batch, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_false(tsdb_maintain_blocking(f->db, &err));
    struct kv_store *kv = tsdb_kv(f->db);
    assert_false(kv->commit_blocking(kv, kv->begin(kv), &err));
    fixture_close(f);
    f->options.path = "/nonexistent/tocsin";
    struct tsdb *db;
    assert_false(tsdb_open(&f->options, &db, &err));
    f->options.path = f->dir;
    f->options.is_read_only = false;
    fixture_open(f);
}

static void bad_options(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct tsdb *db;
    struct tsdb_options options = { .path = "" };
    assert_false(tsdb_open(&options, &db, &err));
    assert_int_equal(err.code, ERR_INVALID);
    options = (struct tsdb_options){ .path = "/dev/null" };
    assert_false(tsdb_open(&options, &db, &err));
    options = (struct tsdb_options){ .path = f->dir, .retention_ms = -1 };
    assert_false(tsdb_open(&options, &db, &err));
    assert_int_equal(err.code, ERR_INVALID);
}

/* The width of a window is the data's, not the caller's. */
static void block_width_is_kept(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "b", NULL);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(put_sample(f, a, i * HOUR_MS, i), TSDB_ACCEPTED);
    }
    assert_true(tsdb_maintain_blocking(f->db, &err));
    const char *before = read_name(f, "b");
    fixture_close(f);
    f->options.block_ms = 60000;
    fixture_open(f);
    assert_string_equal(read_name(f, "b"), before);
}

static void throttling(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    f->options.pending_bytes_max = 1;
    fixture_open(f);
    struct err err = ERR_INIT;
    series_ref_t a = make_series(f, "t", NULL);
    bool was_refused = false;
    for (int i = 0; i < 20000 && !was_refused; i++) {
        struct tsdb_batch *batch;
        was_refused = !tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err);
        if (!was_refused) {
            tsdb_batch_append(batch, a, i, 0);
            tsdb_commit(batch, NULL, NULL);
        }
    }
    assert_true(was_refused);
    assert_int_equal(err.code, ERR_THROTTLED);
    (void)commit(begin(f, TSDB_STATE)); /* goes on, and waits for what was before it */
    (void)commit(begin(f, TSDB_INGEST));
}

struct counter {
    _Atomic size_t durable;
    _Atomic size_t other;
};

static void count_commit(void *ctx, const struct tsdb_commit_result *result) {
    struct counter *counter = ctx;
    if (result->is_durable) {
        counter->durable++;
    } else {
        counter->other++;
    }
}

/* Closing commits what was handed over. */
static void close_with_pending(void **state) {
    struct fixture *f = *state;
    struct counter counter = { 0 };
    series_ref_t a = make_series(f, "p", NULL);
    for (int i = 0; i < 100; i++) {
        struct tsdb_batch *batch = begin(f, TSDB_INGEST);
        tsdb_batch_append(batch, a, i, i);
        tsdb_commit(batch, count_commit, &counter);
    }
    fixture_close(f);
    assert_int_equal(counter.durable, 100);
    assert_int_equal(counter.other, 0);
    fixture_open(f);
    struct tsdb_stats stats;
    tsdb_stats(f->db, &stats);
    assert_int_equal(stats.series_count, 1);
    assert_int_equal(stats.t_min_ms, 0);
    assert_int_equal(stats.t_max_ms, 99);
    assert_true(stats.journal_bytes > 0 && stats.store_bytes > 0);
    assert_int_equal(stats.pending_bytes, 0);
}

static void empty_store(void **state) {
    struct fixture *f = *state;
    struct tsdb_stats stats;
    tsdb_stats(f->db, &stats);
    assert_true(stats.t_min_ms == INT64_MAX && stats.t_max_ms == INT64_MIN);
    assert_string_equal(read_name(f, "nothing"), "");
    struct err err = ERR_INIT;
    assert_true(tsdb_health(f->db, &err));
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    assert_string_equal(read_all(f, querier, NULL, 0), "");
    tsdb_querier_close(querier);
    tsdb_querier_close(NULL);
    tsdb_batch_abandon(NULL);
    tsdb_close(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(write_and_read),
        TEST(verdicts),
        TEST(mixed_batch),
        TEST(every_bit),
        TEST(ranges),
        TEST(snapshots),
        TEST(overlay),
        TEST(aliases),
        TEST(tables),
        TEST(samples_with_tables),
        TEST(metadata),
        TEST(series_limit),
        TEST(series_at_once),
        TEST(series_at_once_limit),
        TEST(series_per_metric_limit),
        TEST(second_opening),
        TEST(read_only_opening),
        TEST(bad_options),
        TEST(block_width_is_kept),
        TEST(throttling),
        TEST(close_with_pending),
        TEST(empty_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
