/*
 * Goal: chunks of streamed remote read decode to the same bits. Method: an independent decoder
 * written from Prometheus' chunk format, over edge values, jitter and random bit patterns.
 */
#include <stdlib.h>

#include "model/model.h"
#include "tests/unit.h"
#include "web/xor_chunk.h"

struct reader {
    const uint8_t *bytes;
    size_t pos; /* in bits */
};

static uint64_t take(struct reader *r, unsigned count) {
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++, r->pos++) {
        value = value << 1 | ((unsigned)r->bytes[r->pos / 8] >> (7 - r->pos % 8) & 1U);
    }
    return value;
}

static uint64_t take_uvarint(struct reader *r) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint64_t byte = take(r, 8);
        value |= (byte & 127) << shift;
        if (byte < 128) {
            return value;
        }
    }
}

static uint64_t take_delta_of_delta(struct reader *r) {
    static const unsigned widths[] = { 0, 14, 17, 20, 64 };
    unsigned prefix = 0;
    while (prefix < 4 && take(r, 1) == 1) {
        prefix++;
    }
    unsigned width = widths[prefix];
    uint64_t value = take(r, width);
    if (width > 0 && width < 64 && value > UINT64_C(1) << (width - 1)) {
        value -= UINT64_C(1) << width;
    }
    return value;
}

static uint64_t take_value(struct reader *r,
                           uint64_t before,
                           unsigned *leading,
                           unsigned *trailing) {
    if (take(r, 1) == 0) {
        return before;
    }
    if (take(r, 1) == 1) {
        *leading = (unsigned)take(r, 5);
        unsigned significant = (unsigned)take(r, 6);
        *trailing = 64 - *leading - (significant == 0 ? 64 : significant);
    }
    return before ^ take(r, 64 - *leading - *trailing) << *trailing;
}

static void check(const int64_t *t_ms, const double *values, size_t count) {
    struct buf out;
    buf_init(&out, 1 << 20);
    xor_chunk_encode(t_ms, values, count, &out);
    struct reader r = { .bytes = (const uint8_t *)out.ptr };
    assert_int_equal(take(&r, 16), count);
    uint64_t zigzag = take_uvarint(&r);
    uint64_t t = zigzag >> 1 ^ (0 - (zigzag & 1));
    uint64_t value = take(&r, 64);
    uint64_t delta = 0;
    unsigned leading = 0;
    unsigned trailing = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == 1) {
            delta = take_uvarint(&r);
        } else if (i > 1) {
            delta += take_delta_of_delta(&r);
        }
        t += delta;
        if (i > 0) {
            value = take_value(&r, value, &leading, &trailing);
        }
        assert_true((int64_t)t == t_ms[i]);
        assert_true(value == double_bits(values[i]));
    }
    assert_int_equal((r.pos + 7) / 8, out.len);
    buf_finish(&out);
}

static void test_edges(void **state) {
    (void)state;
    static const int64_t one_t[] = { -5 };
    static const double one_v[] = { 0.1 };
    check(one_t, one_v, 1);
    /* Deltas of deltas at both ends of every width. */
    static const int64_t dods[] = { 0,       8192,  -8191,  8193,       -8192,     65536,
                                    -65535,  65537, -65536, 524288,     -524287,   524289,
                                    -524288, 1,     -1,     1000000000, -900000000 };
    int64_t t_ms[ARRAY_LEN(dods) + 2];
    double values[ARRAY_LEN(dods) + 2];
    int64_t delta = 2000000000;
    t_ms[0] = 1700000000000;
    t_ms[1] = t_ms[0] + delta;
    for (size_t i = 0; i < ARRAY_LEN(dods); i++) {
        delta += dods[i];
        t_ms[i + 2] = t_ms[i + 1] + delta;
    }
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        values[i] = (double)i * 1.5;
    }
    check(t_ms, values, ARRAY_LEN(values));
}

static void test_values(void **state) {
    (void)state;
    static const uint64_t bits[] = {
        0,
        UINT64_C(0x8000000000000000),
        STALE_NAN_BITS,
        NORMAL_NAN_BITS,
        1,
        UINT64_C(0x7ff0000000000000),
        UINT64_MAX,
        UINT64_C(0x3ff0000000000000),
        1,
        UINT64_C(0x8000000000000001),
        0,
    };
    int64_t t_ms[ARRAY_LEN(bits)];
    double values[ARRAY_LEN(bits)];
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        t_ms[i] = (int64_t)i * 15000;
        values[i] = double_from_bits(bits[i]);
    }
    check(t_ms, values, ARRAY_LEN(bits));
}

static void test_random(void **state) {
    (void)state;
    int64_t t_ms[XOR_CHUNK_SAMPLES];
    double values[XOR_CHUNK_SAMPLES];
    for (unsigned seed = 1; seed <= 500; seed++) {
        srandom(seed);
        t_ms[0] = random();
        for (size_t i = 0; i < XOR_CHUNK_SAMPLES; i++) {
            t_ms[i] = i == 0 ? t_ms[0] : t_ms[i - 1] + 1 + random() % (seed * 1000);
            uint64_t noise = (uint64_t)random() << 33 ^ (uint64_t)random();
            values[i] = seed % 2 == 0 ? (double)(random() % 1000) / 8 : double_from_bits(noise);
        }
        check(t_ms, values, XOR_CHUNK_SAMPLES);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
