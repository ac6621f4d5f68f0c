/*
 * Goal: a journal record comes back as it was written, in parts of any number, and no bytes make
 * the parser read or loop out of bounds. Method: seeded records through an environment of their
 * own; truncated and mutated bodies; trimming in steps.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/journal/journal.h"

struct world {
    char dir[64];
    struct env env;
    MDB_dbi log;
};

static int setup(void **state) {
    struct world *w = test_calloc(1, sizeof(*w));
    struct err err = ERR_INIT;
    snprintf(w->dir, sizeof(w->dir), "/tmp/tocsin-journal-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    struct env_params params = {
        .name = "journal",
        .path = w->dir,
        .map_bytes = (size_t)1 << 30,
        .db_count = 1,
    };
    assert_true(env_open(&w->env, &params, &err));
    const char *name = "log";
    assert_true(env_open_dbs(&w->env, &name, 1, &w->log, &err));
    *state = w;
    return 0;
}

static int teardown(void **state) {
    struct world *w = *state;
    env_close(&w->env);
    remove_tree(w->dir);
    test_free(w);
    return 0;
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A digest of everything visited, in order. */
struct digest {
    uint64_t records;
    uint64_t definitions;
    uint64_t samples;
    uint64_t late;
    uint64_t hash;
};

static void mix(struct digest *digest, uint64_t value) {
    digest->hash = (digest->hash ^ value) * UINT64_C(0x100000001b3);
}

static bool see_record(void *ctx,
                       uint64_t lsn,
                       const struct journal_facts *facts,
                       struct err *err) {
    struct digest *digest = ctx;
    (void)err;
    digest->records++;
    mix(digest, lsn);
    mix(digest, (uint64_t)facts->now_ms);
    mix(digest, facts->id_next * 2 + facts->is_deferred);
    return true;
}

static bool see_definition(void *ctx, uint64_t id, struct str labels, struct err *err) {
    struct digest *digest = ctx;
    (void)err;
    digest->definitions++;
    mix(digest, id);
    for (size_t i = 0; i < labels.len; i++) {
        mix(digest, (unsigned char)labels.ptr[i]);
    }
    return true;
}

static bool see_sample(void *ctx, uint64_t id, struct sample sample, struct err *err) {
    struct digest *digest = ctx;
    (void)err;
    digest->samples++;
    mix(digest, id);
    mix(digest, (uint64_t)sample.t_ms);
    mix(digest, double_bits(sample.value));
    return true;
}

static bool see_late(void *ctx, uint64_t id, struct sample sample, struct err *err) {
    struct digest *digest = ctx;
    digest->late++;
    return see_sample(ctx, ~id, sample, err);
}

static struct journal_visitor visitor_of(struct digest *digest) {
    return (struct journal_visitor){
        .record = see_record,
        .definition = see_definition,
        .sample = see_sample,
        .late = see_late,
        .ctx = digest,
    };
}

static double random_value(uint64_t *seed) {
    switch (next_random(seed) % 4) {
    case 0: return (double)(int64_t)(next_random(seed) % 100000) - 50000;
    case 1: return double_from_bits(next_random(seed));
    case 2: return (double)(next_random(seed) % 1000) / 8;
    default: return double_from_bits(STALE_NAN_BITS);
    }
}

/* In order, but whole. */
static void add_sample(struct journal_record *record, uint64_t id, struct sample sample) {
    uint8_t token[TOKEN_BYTES_MAX];
    struct token_state state;
    uint8_t *end = token_put_absolute(&state, sample.value, token);
    journal_add_step(record, id, sample.t_ms, token, (size_t)(end - token));
}

/* Fill a record and note in `want` what must be seen. */
static struct str fill_record(struct journal_record *record,
                              uint64_t lsn,
                              size_t samples,
                              uint64_t *seed,
                              struct digest *want) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct buf encoded;
    buf_init(&encoded, SIZE_MAX);
    journal_record_reset(record);
    struct journal_facts facts = {
        .starts_epoch = lsn % 3 == 1,
        .is_deferred = lsn % 5 == 1,
        .now_ms = (int64_t)next_random(seed),
        .id_next = next_random(seed),
    };
    see_record(want, lsn, &facts, NULL);
    for (uint64_t i = 0; i < next_random(seed) % 5; i++) {
        struct labels labels = make_labels(&arena, "name", PAIRS("a", "b"));
        uint64_t id = 1 + (next_random(seed) >> 8);
        journal_add_definition(record, id, labels);
        buf_reset(&encoded);
        labels_encode(labels, &encoded);
        see_definition(want, id, buf_as_str(&encoded), NULL);
    }
    for (size_t i = 0; i < samples; i++) {
        uint64_t id = i % 7 == 0 ? 1 + (next_random(seed) >> 1) : 1 + i;
        struct sample sample = { .t_ms = (int64_t)next_random(seed), .value = random_value(seed) };
        add_sample(record, id, sample);
        see_sample(want, id, sample, NULL);
    }
    for (size_t i = 0; samples % 3 == 0 && i < samples / 2; i++) {
        struct sample sample = { .t_ms = (int64_t)next_random(seed), .value = random_value(seed) };
        uint64_t id = 1 + next_random(seed) % 1000;
        journal_add_late(record, id, sample);
        see_late(want, id, sample, NULL);
    }
    buf_finish(&encoded);
    arena_finish(&arena);
    return journal_seal_record(record, &facts);
}

static void put_record(struct world *w, uint64_t lsn, struct str body) {
    struct err err = ERR_INIT;
    MDB_txn *txn;
    assert_true(env_write_begin(&w->env, &txn, &err));
    assert_int_equal(journal_put(txn, w->log, lsn, body), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
}

static struct digest walk(struct world *w, uint64_t from) {
    struct err err = ERR_INIT;
    struct digest got = { 0 };
    struct journal_visitor visitor = visitor_of(&got);
    MDB_txn *txn;
    assert_true(env_read_begin(&w->env, &txn, &err));
    if (!journal_walk(&w->env, txn, w->log, from, &visitor, &err)) {
        fail_msg("journal_walk: %s", err.msg);
    }
    env_read_end(&w->env, txn);
    return got;
}

static void round_trip(void **state) {
    struct world *w = *state;
    uint64_t seed = 11;
    struct digest want = { 0 };
    struct journal_record record;
    journal_record_init(&record);
    static const size_t sizes[] = { 1, 2, 100, 0, 5000, 1, 60000, 3 };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        put_record(w, i + 1, fill_record(&record, i + 1, sizes[i], &seed, &want));
    }
    struct digest got = walk(w, 0);
    assert_memory_equal(&got, &want, sizeof(got));
    assert_int_equal(walk(w, 6).records, 3);
    assert_int_equal(walk(w, 9).records, 0);
    journal_record_finish(&record);
}

static void trimming(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    uint64_t seed = 12;
    struct digest want = { 0 };
    struct journal_record record;
    journal_record_init(&record);
    for (uint64_t lsn = 1; lsn <= 20; lsn++) {
        put_record(w, lsn, fill_record(&record, lsn, 10000, &seed, &want));
    }
    journal_record_finish(&record);
    bool more = true;
    size_t steps = 0;
    for (; more; steps++) {
        MDB_txn *txn;
        assert_true(env_write_begin(&w->env, &txn, &err));
        assert_int_equal(journal_trim(txn, w->log, 10, 7, &more), 0);
        assert_int_equal(mdb_txn_commit(txn), 0);
        assert_int_equal(walk(w, 11).records, 10);
    }
    assert_true(steps > 3);
    MDB_txn *txn;
    uint64_t first;
    uint64_t last;
    assert_true(env_read_begin(&w->env, &txn, &err));
    assert_true(journal_bounds(&w->env, txn, w->log, &first, &last, &err));
    env_read_end(&w->env, txn);
    assert_int_equal(first, 11);
    assert_int_equal(last, 20);
}

/* A part that is missing, exchanged or changed is an error that names the record. */
static void damaged_parts(void **state) {
    struct world *w = *state;
    struct err err = ERR_INIT;
    uint64_t seed = 13;
    struct digest digest = { 0 };
    struct journal_record record;
    journal_record_init(&record);
    put_record(w, 1, fill_record(&record, 1, 20000, &seed, &digest));
    journal_record_finish(&record);
    struct journal_visitor visitor = visitor_of(&digest);
    for (uint8_t part = 0; part < 3; part++) {
        MDB_txn *txn;
        uint8_t key_bytes[12] = { 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, part };
        MDB_val key = { .mv_size = sizeof(key_bytes), .mv_data = key_bytes };
        for (int damage = 0; damage < 2; damage++) {
            assert_true(env_write_begin(&w->env, &txn, &err));
            MDB_val value;
            assert_int_equal(mdb_get(txn, w->log, &key, &value), 0);
            uint8_t *copy = malloc(value.mv_size);
            memcpy(copy, value.mv_data, value.mv_size);
            copy[value.mv_size / 2] ^= 1;
            value.mv_data = copy;
            assert_int_equal(damage == 0 ? mdb_put(txn, w->log, &key, &value, 0)
                                         : mdb_del(txn, w->log, &key, NULL),
                             0);
            assert_false(journal_walk(&w->env, txn, w->log, 0, &visitor, &err));
            assert_int_equal(err.code, ERR_CORRUPT);
            assert_non_null(strstr(err.msg, "record 1 "));
            mdb_txn_abort(txn);
            free(copy);
        }
    }
}

static bool parse_body(struct str body, const struct journal_visitor *visitor, struct err *err) {
    struct journal_decoder decoder;
    journal_decoder_init(&decoder);
    bool ok = journal_parse(&decoder, JOURNAL_VERSION, body, 1, visitor, err);
    journal_decoder_finish(&decoder);
    return ok;
}

static void hostile_bodies(void **state) {
    uint64_t seed = 14;
    struct err err = ERR_INIT;
    struct digest digest = { 0 };
    struct journal_visitor visitor = visitor_of(&digest);
    struct journal_record record;
    journal_record_init(&record);
    struct str body = fill_record(&record, 1, 40, &seed, &digest);
    /* Exact copies, so that the sanitizer sees an overrun. */
    for (size_t cut = 0; cut < body.len; cut++) {
        char *copy = malloc(cut + 1);
        memcpy(copy, body.ptr, cut);
        assert_false(parse_body(str_n(copy, cut), &visitor, &err));
        free(copy);
    }
    for (int round = 0; round < 5000; round++) {
        char *copy = malloc(body.len);
        memcpy(copy, body.ptr, body.len);
        for (uint64_t i = 0; i <= next_random(&seed) % 4; i++) {
            copy[next_random(&seed) % body.len] = (char)next_random(&seed);
        }
        if (!parse_body(str_n(copy, body.len), &visitor, &err)) {
            assert_int_equal(err.code, ERR_CORRUPT);
        }
        free(copy);
    }
    journal_record_finish(&record);
}

/* Nothing but samples out of order, and these cut at every byte. */
static void late_samples(void **state) {
    struct err err = ERR_INIT;
    struct digest got = { 0 };
    struct digest want = { 0 };
    struct journal_visitor visitor = visitor_of(&got);
    struct journal_record record;
    journal_record_init(&record);
    assert_true(journal_record_is_empty(&record));
    see_record(&want, 1, &(struct journal_facts){ .now_ms = 77 }, NULL);
    for (uint64_t i = 0; i < 20; i++) {
        struct sample sample = { .t_ms = INT64_MAX - (int64_t)(i * i), .value = (double)i / 2 };
        journal_add_late(&record, 100 - i, sample);
        see_late(&want, 100 - i, sample, NULL);
    }
    assert_false(journal_record_is_empty(&record));
    struct str body = journal_seal_record(&record, &(struct journal_facts){ .now_ms = 77 });
    assert_true(parse_body(body, &visitor, &err));
    assert_memory_equal(&got, &want, sizeof(got));
    size_t cut_max = body.len;
    for (size_t cut = 0; cut < cut_max; cut++) {
        char *copy = malloc(cut + 1);
        memcpy(copy, body.ptr, cut);
        got = (struct digest){ 0 };
        assert_false(parse_body(str_n(copy, cut), &visitor, &err));
        free(copy);
    }
    journal_record_finish(&record);
}

/* ---- version 1 ---- */

static void put_whole_value(struct buf *out, double value) {
    int64_t integer = value >= -1e15 && value <= 1e15 ? (int64_t)value : 0;
    if (double_bits((double)integer) == double_bits(value)) {
        buf_uvarint(out, zigzag(integer) << 1);
    } else {
        buf_uvarint(out, 1);
        buf_le64(out, double_bits(value));
    }
}

/* Records as format versions 1 and 2 had them are read as before. */
static void version_1(void **state) {
    (void)state;
    uint64_t seed = 15;
    struct err err = ERR_INIT;
    struct digest want = { 0 };
    struct digest got = { 0 };
    struct journal_visitor visitor = visitor_of(&got);
    struct journal_decoder decoder;
    struct buf body;
    buf_init(&body, SIZE_MAX);
    see_record(&want, 7, &(struct journal_facts){ .now_ms = -5 }, NULL);
    buf_svarint(&body, -5);
    buf_uvarint(&body, 1);
    buf_uvarint(&body, 3);
    buf_le32(&body, 2);
    buf_str(&body, STR("xy"));
    see_definition(&want, 3, STR("xy"), NULL);
    buf_uvarint(&body, 300);
    int64_t id = 0;
    int64_t t_ms = 0;
    for (int64_t i = 1; i <= 300; i++) {
        struct sample sample = { .t_ms = (int64_t)next_random(&seed),
                                 .value = random_value(&seed) };
        int64_t next = 1 + (int64_t)(next_random(&seed) % 1000);
        buf_svarint(&body, next - id);
        buf_svarint(&body, i64_sub(sample.t_ms, t_ms));
        put_whole_value(&body, sample.value);
        see_sample(&want, (uint64_t)next, sample, NULL);
        id = next;
        t_ms = sample.t_ms;
    }
    journal_decoder_init(&decoder);
    assert_true(journal_parse(&decoder, 1, buf_as_str(&body), 7, &visitor, &err));
    journal_decoder_finish(&decoder);
    assert_memory_equal(&got, &want, sizeof(got));
    buf_finish(&body);
}

/* ---- steps ---- */

static bool keep_sample(void *ctx, uint64_t id, struct sample sample, struct err *err) {
    (void)id;
    (void)err;
    *(double *)ctx = sample.value;
    return true;
}

static bool ignore_record(void *ctx,
                          uint64_t lsn,
                          const struct journal_facts *facts,
                          struct err *err) {
    (void)ctx;
    (void)lsn;
    (void)facts;
    (void)err;
    return true;
}

/* A record with one step of series 1. */
static struct str step_record(struct journal_record *record,
                              struct token_state *token,
                              double value,
                              bool starts_epoch) {
    uint8_t bytes[TOKEN_BYTES_MAX];
    uint8_t *end =
        starts_epoch ? token_put_absolute(token, value, bytes) : token_put(token, value, bytes);
    journal_record_reset(record);
    journal_add_late(record, 1, (struct sample){ .t_ms = 5, .value = -7 });
    journal_add_step(record, 1, 10, bytes, (size_t)(end - bytes));
    return journal_seal_record(record, &(struct journal_facts){ .starts_epoch = starts_epoch });
}

/* A step is only believed right behind what it builds on. */
static void gaps(void **state) {
    (void)state;
    struct err err = ERR_INIT;
    double got = 0;
    struct journal_visitor visitor = {
        .record = ignore_record,
        .sample = keep_sample,
        .late = keep_sample,
        .ctx = &got,
    };
    struct token_state token = { .exponent = TOKEN_NONE };
    struct journal_record record;
    struct journal_decoder decoder;
    journal_record_init(&record);
    journal_decoder_init(&decoder);
    uint8_t v = JOURNAL_VERSION;
    struct str body = step_record(&record, &token, 100, true);
    assert_true(journal_parse(&decoder, v, body, 1, &visitor, &err) && got == 100);
    body = step_record(&record, &token, 105, false);
    assert_true(journal_parse(&decoder, v, body, 2, &visitor, &err) && got == 105);
    (void)step_record(&record, &token, 106, false); /* lost */
    body = step_record(&record, &token, 107, false);
    assert_true(journal_parse(&decoder, v, body, 4, &visitor, &err));
    assert_int_equal(decoder.lost_count, 1);
    assert_true(got == -7); /* the sample that is whole */
    body = step_record(&record, &token, 108, true);
    assert_true(journal_parse(&decoder, v, body, 5, &visitor, &err) && got == 108);
    body = step_record(&record, &token, 107, false);
    assert_true(journal_parse(&decoder, v, body, 6, &visitor, &err) && got == 107);
    journal_decoder_finish(&decoder);
    journal_record_finish(&record);
}

static uint64_t read_id_next(struct world *w, bool *ret_is_sure) {
    struct err err = ERR_INIT;
    MDB_txn *txn;
    uint64_t id_next = 0;
    assert_true(env_read_begin(&w->env, &txn, &err));
    assert_true(journal_id_next(&w->env, txn, w->log, &id_next, ret_is_sure, &err));
    env_read_end(&w->env, txn);
    return id_next;
}

/* The newest record says which ids are free; one that cannot be read makes it unsure. */
static void id_bounds(void **state) {
    struct world *w = *state;
    struct journal_record record;
    bool is_sure;
    journal_record_init(&record);
    assert_int_equal(read_id_next(w, &is_sure), 0);
    assert_true(is_sure);
    for (uint64_t lsn = 1; lsn <= 3; lsn++) {
        struct journal_facts facts = { .id_next = 100 * lsn };
        journal_record_reset(&record);
        for (uint64_t i = 0; i < lsn * 10000; i++) { /* several parts */
            journal_add_late(&record, 1, (struct sample){ .t_ms = (int64_t)i, .value = 0.1 });
        }
        put_record(w, lsn, journal_seal_record(&record, &facts));
        assert_int_equal(read_id_next(w, &is_sure), 100 * lsn);
        assert_true(is_sure);
    }
    struct err err = ERR_INIT;
    MDB_txn *txn;
    uint8_t key[12] = { [7] = 3 };
    MDB_val mdb_key = { .mv_size = sizeof(key), .mv_data = key };
    MDB_val value = { .mv_size = 20, .mv_data = (char[20]){ 0 } };
    assert_true(env_write_begin(&w->env, &txn, &err));
    assert_int_equal(mdb_put(txn, w->log, &mdb_key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    assert_int_equal(read_id_next(w, &is_sure), 200);
    assert_false(is_sure);
    assert_true(env_write_begin(&w->env, &txn, &err));
    assert_int_equal(mdb_del(txn, w->log, &mdb_key, NULL), 0); /* its other parts stay */
    assert_int_equal(mdb_txn_commit(txn), 0);
    assert_int_equal(read_id_next(w, &is_sure), 200);
    assert_false(is_sure);
    journal_record_finish(&record);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1),
        cmocka_unit_test(gaps),
        cmocka_unit_test_setup_teardown(round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(trimming, setup, teardown),
        cmocka_unit_test_setup_teardown(id_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_parts, setup, teardown),
        cmocka_unit_test(hostile_bodies),
        cmocka_unit_test(late_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
