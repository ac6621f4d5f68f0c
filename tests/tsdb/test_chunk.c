/*
 * Goal: a chunk gives back every bit it was given, and decoding survives any bytes. Method: value
 * and time patterns with known trouble, seeded random walks, truncations and bit flips of valid
 * chunks.
 */
#include <stdlib.h>

#include "model/model.h"
#include "tests/tsdb/xor_encode.h"
#include "tests/unit.h"
#include "tsdb/codec/chunk.h"

#define BYTES_MAX (CHUNK_SAMPLES_MAX * XOR_SAMPLE_BYTES_MAX)

struct sample_set {
    int64_t t_ms[CHUNK_SAMPLES_MAX];
    uint64_t bits[CHUNK_SAMPLES_MAX];
    size_t count;
};

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t encode(const struct sample_set *set, uint8_t *bytes) {
    struct xor_appender appender;
    xor_appender_init(&appender);
    for (size_t i = 0; i < set->count; i++) {
        uint32_t before = xor_byte_count(&appender);
        xor_append(&appender, bytes, set->t_ms[i], double_from_bits(set->bits[i]));
        assert_true(xor_byte_count(&appender) - before <= XOR_SAMPLE_BYTES_MAX);
    }
    assert_int_equal(appender.count, set->count);
    return xor_byte_count(&appender);
}

/* Decoding from a block of exactly `len` bytes lets the sanitizer see any overrun. */
static bool decode(const uint8_t *bytes, size_t len, size_t count, int64_t *t_ms, double *values) {
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    memcpy(exact, bytes, len);
    struct chunk_view view = { .codec = CHUNK_XOR, .bytes = exact, .len = len, .count = count };
    bool ok = chunk_decode(&view, t_ms, values);
    free(exact);
    return ok;
}

static void check_set(const struct sample_set *set) {
    uint8_t bytes[BYTES_MAX];
    int64_t t_ms[CHUNK_SAMPLES_MAX];
    double values[CHUNK_SAMPLES_MAX];
    size_t len = encode(set, bytes);
    for (size_t count = 0; count <= set->count; count += count < 3 ? 1 : 13) {
        assert_true(decode(bytes, len, count, t_ms, values));
        for (size_t i = 0; i < count; i++) {
            assert_true(t_ms[i] == set->t_ms[i]);
            assert_true(double_bits(values[i]) == set->bits[i]);
        }
    }
}

static void patterns(void **state) {
    static const uint64_t bits[] = {
        0,
        0x8000000000000000,
        STALE_NAN_BITS,
        NORMAL_NAN_BITS,
        0x7ff8000000000000,
        0xfff8000000000001,
        0x7ff0000000000000,
        0xfff0000000000000,
        1,
        0x000fffffffffffff,
        0x7fefffffffffffff,
        0x3ff0000000000000,
        0x4059000000000000,
        0xffffffffffffffff,
    };
    static const int64_t steps[] = {
        0, 1, 15000, 15001, 8192, 8193, 65536, 65537, 524288, 524289, 86400000, INT64_MAX / 200,
    };
    for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
        struct sample_set set = { .count = CHUNK_SAMPLES_MAX };
        for (size_t i = 0; i < set.count; i++) {
            set.t_ms[i] = (int64_t)i * steps[s] + (int64_t)(i % 3);
            set.bits[i] = bits[(i * 7 + s) % ARRAY_LEN(bits)];
        }
        check_set(&set);
    }
}

static void extreme_times(void **state) {
    struct sample_set set = { .t_ms = { INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX },
                              .bits = { 1, 2, 3, 4, 5, 6 },
                              .count = 6 };
    check_set(&set);
    struct sample_set back = { .t_ms = { INT64_MAX, INT64_MIN, 7, -7 }, .count = 4 };
    check_set(&back);
    struct sample_set one = { .t_ms = { INT64_MIN }, .bits = { STALE_NAN_BITS }, .count = 1 };
    check_set(&one);
}

/* The bounds of upstream's delta-of-delta classes. */
static void class_bounds(void **state) {
    for (int bits = 14; bits <= 20; bits += 3) {
        for (int64_t off = -2; off <= 2; off++) {
            int64_t half = (int64_t)1 << (bits - 1);
            struct sample_set set = {
                .t_ms = { 0, 1000000, 2000000 + half + off, 3000000 + 2 * (half + off) - half },
                .count = 4,
            };
            check_set(&set);
            set.t_ms[2] = 2000000 - half + off;
            check_set(&set);
        }
    }
}

static void random_walks(void **state) {
    uint64_t seed = 0x9e3779b97f4a7c15;
    for (int round = 0; round < 400; round++) {
        struct sample_set set = { .count = 1 + next_random(&seed) % CHUNK_SAMPLES_MAX };
        int64_t t_ms = (int64_t)(next_random(&seed) >> (next_random(&seed) % 64));
        double value = 0;
        for (size_t i = 0; i < set.count; i++) {
            t_ms += (int64_t)(next_random(&seed) % 30000);
            value += (double)(next_random(&seed) % 1000) * (round % 2 == 0 ? 1 : 0.01);
            set.t_ms[i] = t_ms;
            set.bits[i] = round % 5 == 4 ? next_random(&seed) : double_bits(value);
        }
        check_set(&set);
    }
}

/* Whatever the bytes: true or false, nothing outside the buffers. */
static void hostile_bytes(void **state) {
    uint64_t seed = 12345;
    int64_t t_ms[CHUNK_SAMPLES_MAX];
    double values[CHUNK_SAMPLES_MAX];
    uint8_t bytes[BYTES_MAX];
    for (int round = 0; round < 3000; round++) {
        size_t len = next_random(&seed) % 300;
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)next_random(&seed);
        }
        (void)decode(bytes, len, 1 + next_random(&seed) % CHUNK_SAMPLES_MAX, t_ms, values);
    }
    struct sample_set set = { .count = CHUNK_SAMPLES_MAX };
    for (size_t i = 0; i < set.count; i++) {
        set.t_ms[i] = (int64_t)i * 15000;
        set.bits[i] = next_random(&seed);
    }
    size_t len = encode(&set, bytes);
    for (size_t cut = 0; cut < len; cut++) {
        assert_false(decode(bytes, cut, set.count, t_ms, values));
    }
    for (size_t flip = 0; flip < len * 8; flip += 3) {
        bytes[flip / 8] ^= (uint8_t)(1 << flip % 8);
        (void)decode(bytes, len, set.count, t_ms, values);
        bytes[flip / 8] ^= (uint8_t)(1 << flip % 8);
    }
    static const uint8_t codecs[] = { 0, 3, 77, 255 };
    for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
        struct chunk_view view = { .codec = codecs[i], .bytes = bytes, .len = len, .count = 1 };
        assert_false(chunk_decode(&view, t_ms, values));
    }
    struct chunk_view empty = { .codec = CHUNK_P3, .bytes = bytes, .len = len, .count = 0 };
    assert_false(chunk_decode(&empty, t_ms, values));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns),      cmocka_unit_test(extreme_times),
        cmocka_unit_test(class_bounds),  cmocka_unit_test(random_walks),
        cmocka_unit_test(hostile_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
