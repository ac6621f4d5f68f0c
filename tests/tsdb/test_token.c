/*
 * Goal: tokens give back every bit, alone, in streams and through the journal, whatever was refused
 * or failed in between; hostile bytes are refused. Method: seeded walks that change their kind of
 * value; a store whose commits fail at random, read from memory, after replay and after sealing.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/codec/token.h"
#include "tsdb/db.h"

#define WALK_SAMPLES 4000

static _Atomic int write_errno;

/* The shims LMDB's calls find first. */

/* Under the name LMDB knows: here, with 64-bit offsets, pwrite() is another symbol. */
ssize_t shim_pwrite(int fd, const void *bytes, size_t len, off_t offset) __asm__("pwrite");

ssize_t shim_pwrite(int fd, const void *bytes, size_t len, off_t offset) {
    bool is_meta = len < 4096; /* of a trimming commit that is under way: that would be latched */
    if (write_errno != 0 && !is_meta) {
        errno = write_errno;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (write_errno != 0) {
        errno = write_errno;
        return -1;
    }
    return syscall(SYS_writev, fd, parts, count);
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The next value of a walk; `kind` changes now and then. */
static double next_value(uint64_t *seed, unsigned *kind, double value) {
    uint64_t random = next_random(seed);
    if (random % 40 == 0) {
        *kind = random >> 8 & 0xff;
    }
    random = next_random(seed);
    switch (*kind % 12) {
    case 0: return value;
    case 1: return value + (double)(random % 3);
    case 2: return value + (double)(random % 100000);
    case 3: return (double)(int64_t)(random % 20001 - 10000) / 100;
    case 4: return value + (double)(random % 1000) / 1000;
    case 5: return double_from_bits(random);
    case 6: return (double)(int64_t)random;
    case 7: return double_from_bits(random % 2 == 0 ? STALE_NAN_BITS : NORMAL_NAN_BITS);
    case 8: return random % 2 == 0 ? -0.0 : 0.0;
    case 9: return random % 3 == 0 ? HUGE_VAL : random % 3 == 1 ? -HUGE_VAL : 1;
    case 10: return double_from_bits(random % 5); /* subnormals */
    default: return (double)(random % 1000000) * 1e-15;
    }
}

static void walk(uint64_t seed, double *values, size_t count) {
    unsigned kind = (unsigned)seed;
    double value = 0;
    for (size_t i = 0; i < count; i++) {
        value = next_value(&seed, &kind, value);
        values[i] = value;
    }
}

/* Every step alone, and the state either side keeps. */
static void steps(void **state) {
    static double values[WALK_SAMPLES];
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        walk(seed * 7919, values, WALK_SAMPLES);
        struct token_state writer = { .exponent = TOKEN_NONE };
        struct token_state reader = writer;
        for (size_t i = 0; i < WALK_SAMPLES; i++) {
            uint8_t bytes[TOKEN_BYTES_MAX];
            uint8_t *end = i % 100 == 99 ? token_put_absolute(&writer, values[i], bytes)
                                         : token_put(&writer, values[i], bytes);
            assert_true(end > bytes && end <= bytes + TOKEN_BYTES_MAX);
            struct reader in = reader_init(bytes, (size_t)(end - bytes));
            assert_int_equal(token_get(&in, &reader), 1);
            assert_int_equal(reader_left(&in), 0);
            assert_true(token_value_bits(reader) == double_bits(values[i]));
            assert_true(token_value_bits(writer) == double_bits(values[i]));
            assert_true(reader.last == writer.last && reader.exponent == writer.exponent);
            uint8_t *absolute_end = token_put_state(writer, bytes);
            struct token_state alone = { .exponent = TOKEN_NONE };
            in = reader_init(bytes, (size_t)(absolute_end - bytes));
            assert_int_equal(token_get(&in, &alone), 1);
            assert_true(alone.last == writer.last && alone.exponent == writer.exponent);
        }
    }
}

static void sizes(void **state) {
    (void)state;

    static const struct {
        double before;
        double value;
        size_t bytes;
    } cases[] = {
        { 5, 5, 1 },    { 5, 69, 1 },      { 5, -59, 1 },         { 5, 70, 2 },
        { 0, 4000, 2 }, { 0, 5000, 3 },    { 0, 266000, 3 },      { 1.25, 1.5, 1 },
        { 0, 1e9, 5 },  { 10.1, 42.5, 2 }, { 3, (double)NAN, 9 }, { 3, 3.5, 2 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t bytes[TOKEN_BYTES_MAX];
        struct token_state token = { .exponent = TOKEN_NONE };
        (void)token_put_absolute(&token, cases[i].before, bytes);
        size_t len = (size_t)(token_put(&token, cases[i].value, bytes) - bytes);
        if (len != cases[i].bytes) {
            fail_msg("%g after %g: %zu bytes", cases[i].value, cases[i].before, len);
        }
    }
}

static void hostile(void **state) {
    (void)state;
    uint64_t seed = 5;
    for (int round = 0; round < 20000; round++) {
        size_t len = next_random(&seed) % 40;
        uint8_t *bytes = malloc(len + 1); /* exact, for the sanitizer */
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)(next_random(&seed) % 4 == 0 ? 0xf0 + next_random(&seed) % 16
                                                             : next_random(&seed));
        }
        int64_t t_ms[120];
        double values[120];
        struct reader in = reader_init(bytes, len);
        (void)!token_stream_decode(&in, 120, (int64_t)next_random(&seed), t_ms, values);
        free(bytes);
    }
    static const uint8_t no_start[] = { 0x41 };
    static const uint8_t bad_exponent[] = { 0xfa, 16, 0 };
    static const uint8_t unknown[] = { 0xff };
    struct token_state none = { .exponent = TOKEN_NONE };
    struct reader in = reader_init(no_start, sizeof(no_start));
    assert_int_equal(token_get(&in, &none), 0);
    in = reader_init(bad_exponent, sizeof(bad_exponent));
    assert_int_equal(token_get(&in, &none), 0);
    in = reader_init(unknown, sizeof(unknown));
    assert_int_equal(token_get(&in, &none), 0);
}

/* ---- through the store ---- */

enum {
    SERIES = 8,
    PER_SERIES = 1500,
};

struct model {
    int64_t t_ms[PER_SERIES];
    double values[PER_SERIES];
    size_t count;
    unsigned kind;
};

static void check_series(struct fixture *f, const char *name, const struct model *model) {
    struct err err = ERR_INIT;
    struct tsdb_querier *querier = open_querier(f, INT64_MIN, INT64_MAX);
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", name);
    struct tsdb_series_view *views;
    size_t count;
    struct tsdb_column column = { 0 };
    assert_true(tsdb_select(querier, &matcher, 1, &f->arena, &views, &count, &err));
    assert_int_equal(count, model->count > 0);
    for (size_t i = 0; i < count; i++) {
        assert_true(tsdb_read(querier, views[i].id, INT64_MIN, INT64_MAX, &column, &err));
        assert_int_equal(column.count, model->count);
        for (size_t s = 0; s < column.count; s++) {
            assert_true(column.t_ms[s] == model->t_ms[s]);
            assert_true(double_bits(column.values[s]) == double_bits(model->values[s]));
        }
    }
    tsdb_column_finish(&column);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
}

static void check_all(struct fixture *f, const struct model *models) {
    for (unsigned s = 0; s < SERIES; s++) {
        char name[16];
        snprintf(name, sizeof(name), "m%u", s);
        check_series(f, name, &models[s]);
    }
}

/* One commit with up to three samples per series, some of which are refused; it may fail. */
static void commit_some(struct fixture *f, struct model *models, uint64_t *seed, bool fails) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    size_t added = 0;
    if (!tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err)) {
        fail_msg("tsdb_batch_begin: %s", err.msg);
    }
    for (unsigned s = 0; s < SERIES; s++) {
        struct model next = models[s];
        size_t count_before = next.count;
        char name[16];
        snprintf(name, sizeof(name), "m%u", s);
        series_ref_t ref = make_series(f, name, NULL);
        for (uint64_t i = 0; i < next_random(seed) % 4 && next.count < PER_SERIES; i++) {
            int64_t t_ms = FIXTURE_NOW_MS - 24 * HOUR_MS;
            double value = 0;
            if (next.count > 0) {
                t_ms = next.t_ms[next.count - 1];
                value = next.values[next.count - 1];
            }
            if (next.count > 0 && next_random(seed) % 8 == 0) { /* repeated, or another value */
                tsdb_batch_append(batch, ref, t_ms, next_random(seed) % 2 == 0 ? value : 12345.5);
            }
            t_ms += next_random(seed) % 5 != 0 ? 15000 : 1 + (int64_t)(next_random(seed) % 100000);
            value = next_value(seed, &next.kind, value);
            next.t_ms[next.count] = t_ms;
            next.values[next.count++] = value;
            tsdb_batch_append(batch, ref, t_ms, value);
        }
        added += next.count - count_before;
        if (!fails) {
            models[s] = next;
        }
    }
    write_errno = fails ? ENOSPC : 0;
    if (tsdb_commit_blocking(batch, NULL, &err) != (!fails || added == 0)) {
        fail_msg("a commit that %s: %s", fails ? "should fail" : "should not", err.msg);
    }
    write_errno = 0;
}

static void through_store(void **state) {
    (void)state;
    for (uint64_t start = 1; start <= 3; start++) {
        uint64_t seed = start * 104729;
        struct err err = ERR_INIT;
        struct fixture *f = test_calloc(1, sizeof(*f));
        struct model *models = test_calloc(SERIES, sizeof(models[0]));
        fixture_init(f);
        fixture_open(f);
        for (int i = 0; i < 600; i++) {
            commit_some(f, models, &seed, next_random(&seed) % 6 == 0);
            switch (next_random(&seed) % 40) {
            case 0: fixture_reopen(f); break;
            case 1: assert_true(tsdb_maintain_blocking(f->db, &err)); break;
            case 2: fake_clock_advance(&f->clock, 16 * MINUTE_MS); break;
            default: continue;
            }
            check_all(f, models);
        }
        check_all(f, models);
        fixture_reopen(f);
        check_all(f, models);
        fake_clock_advance(&f->clock, 24 * HOUR_MS);
        assert_true(tsdb_maintain_blocking(f->db, &err));
        assert_int_equal(f->db->head.open_count, 0);
        check_all(f, models);
        fixture_reopen(f);
        check_all(f, models);
        fixture_finish(f);
        test_free(models);
        test_free(f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps),
        cmocka_unit_test(sizes),
        cmocka_unit_test(hostile),
        cmocka_unit_test(through_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
