/*
 * Goal: P3 gives back every bit, never takes more than raw, and survives any bytes. Method: edge
 * values at every chunk size, random walks of every kind of series, a second plain implementation
 * that must agree on good and on damaged payloads, mutations of valid chunks.
 */
#include <math.h>
#include <stdlib.h>

#include "bench/corpus.h"
#include "model/model.h"
#include "tests/tsdb/p3_naive.h"
#include "tests/unit.h"
#include "tsdb/codec/p3_format.h"

#define COUNT_MAX 500

struct fixture {
    struct p3_encoder encoder;
    struct naive_random random;
    struct buf bytes;
    int64_t t_ms[P3_SAMPLES_MAX];
    double values[P3_SAMPLES_MAX];
    int64_t t_decoded_ms[P3_SAMPLES_MAX];
    double decoded[P3_SAMPLES_MAX];
};

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    p3_encoder_init(&f->encoder);
    buf_init(&f->bytes, SIZE_MAX);
    f->random.state = 0x9e3779b97f4a7c15;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    p3_encoder_finish(&f->encoder);
    buf_finish(&f->bytes);
    test_free(f);
    return 0;
}

static uint64_t below(struct fixture *f, uint64_t limit) {
    return naive_random(&f->random) % limit;
}

static void set_times(struct fixture *f, size_t count, uint64_t jitter_ms) {
    int64_t start_ms = 1700000000000 + (int64_t)below(f, 15000);
    for (size_t i = 0; i < count; i++) {
        int64_t off_ms = jitter_ms == 0 ? 0 : (int64_t)below(f, jitter_ms);
        f->t_ms[i] = start_ms + (int64_t)i * 15000 + off_ms;
    }
}

static struct p3_bounds bounds_of(const struct fixture *f, size_t count) {
    return (struct p3_bounds){
        .count = count,
        .t_min_ms = f->t_ms[0],
        .t_max_ms = f->t_ms[count - 1],
    };
}

static void check_equal(const struct fixture *f, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert_true(f->t_decoded_ms[i] == f->t_ms[i]);
        assert_true(double_bits(f->decoded[i]) == double_bits(f->values[i]));
    }
}

/* From a block of exactly `len` bytes, so that the sanitizer sees any overrun. */
static bool decode_exactly(struct fixture *f, const void *bytes, size_t len, size_t count) {
    struct p3_bounds bounds = bounds_of(f, count);
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    int64_t *t_ms = malloc(count * sizeof(t_ms[0]));
    double *values = malloc(count * sizeof(values[0]));
    memcpy(exact, bytes, len);
    bool ok = p3_decode(exact, len, &bounds, t_ms, values);
    if (ok) {
        memcpy(f->t_decoded_ms, t_ms, count * sizeof(t_ms[0]));
        memcpy(f->decoded, values, count * sizeof(values[0]));
    }
    free(exact);
    free(t_ms);
    free(values);
    return ok;
}

/* Encode values and times, decode with both implementations. Returns the payload's size. */
static size_t check(struct fixture *f, size_t count) {
    buf_reset(&f->bytes);
    p3_encode(&f->encoder, f->t_ms, f->values, count, &f->bytes);
    assert_true(f->bytes.len <= P3_BYTES_MAX(count));
    assert_true(decode_exactly(f, f->bytes.ptr, f->bytes.len, count));
    check_equal(f, count);
    struct p3_bounds bounds = bounds_of(f, count);
    memset(f->decoded, 0, count * sizeof(f->decoded[0]));
    assert_true(naive_decode((const uint8_t *)f->bytes.ptr, f->bytes.len, &bounds, f->t_decoded_ms,
                             f->decoded));
    check_equal(f, count);
    return f->bytes.len;
}

static const uint64_t edges[] = {
    0,
    0x8000000000000000, /* -0 */
    STALE_NAN_BITS,
    NORMAL_NAN_BITS,
    0x7ff8000000000000,
    0xfff8000000000001,
    0x7ff0000000000001, /* signalling */
    0x7ff0000000000000,
    0xfff0000000000000,
    1, /* the smallest subnormal */
    0x000fffffffffffff,
    0x0010000000000000,
    0x7fefffffffffffff,
    0xffefffffffffffff,
    0x3ff0000000000000,
    0xbff0000000000000,
    0x3fb999999999999a, /* 0.1 */
    0x433fffffffffffff, /* 2^53 - 1 */
    0x4340000000000000,
    0x43e0000000000000, /* 2^63 */
    0xc3e0000000000000,
    0xffffffffffffffff,
};

/* ---- round trips ---- */

static void edge_values(void **state) {
    struct fixture *f = *state;
    for (size_t count = 1; count <= COUNT_MAX; count++) {
        set_times(f, count, count % 3 * 40);
        uint64_t share = 1 + below(f, 40);
        uint64_t base = edges[below(f, ARRAY_LEN(edges))];
        for (size_t i = 0; i < count; i++) {
            bool is_edge = below(f, share) == 0;
            f->values[i] = is_edge          ? double_from_bits(edges[below(f, ARRAY_LEN(edges))])
                           : count % 2 == 0 ? (double)(100 + i * 3) / 8
                                            : double_from_bits(base);
        }
        (void)check(f, count);
    }
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        for (size_t j = 0; j < ARRAY_LEN(edges); j++) {
            f->values[0] = double_from_bits(edges[i]);
            f->values[1] = double_from_bits(edges[j]);
            (void)check(f, 1);
            (void)check(f, 2);
        }
    }
}

/* Every exponent, and one that grows within the chunk. */
static void decimals(void **state) {
    struct fixture *f = *state;
    for (unsigned exponent = 0; exponent <= 15; exponent++) {
        double power = pow(10, exponent);
        for (size_t count = 1; count <= COUNT_MAX; count += 1 + count / 4) {
            set_times(f, count, 0);
            int64_t m = (int64_t)below(f, 1000000) - 500000;
            for (size_t i = 0; i < count; i++) {
                m += (int64_t)below(f, 200) - 50;
                f->values[i] = (double)m / power;
            }
            size_t len = check(f, count);
            assert_true(count < 100 || len < 2 * count);
            for (size_t i = 0; i < count / 2; i++) {
                f->values[i] = rint(f->values[i]);
            }
            (void)check(f, count);
            f->values[count - 1] = double_from_bits(STALE_NAN_BITS);
            f->values[0] = double_from_bits(STALE_NAN_BITS);
            (void)check(f, count);
        }
    }
}

/* One value of many digits does not make the others large. */
static void outliers(void **state) {
    struct fixture *f = *state;
    static const double odd[] = { 0.001, 12345.678901, 1e-9, 0.1234567890123, 1e15 + 0.5, 1e300 };
    size_t count = 480;
    set_times(f, count, 0);
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        for (int digits = 0; digits <= 2; digits++) {
            double value = 1000;
            for (size_t k = 0; k < count; k++) {
                value += (double)below(f, 300);
                f->values[k] = value / pow(10, digits);
            }
            size_t len = check(f, count);
            static const size_t places[] = { 0, 1, 100, 478, 479 };
            for (size_t p = 0; p < ARRAY_LEN(places); p++) {
                double kept = f->values[places[p]];
                f->values[places[p]] = odd[i];
                assert_true(check(f, count) <= len + 24);
                f->values[places[p]] = kept;
            }
            f->values[7] = odd[i];
            f->values[200] = odd[i] * 3;
            f->values[201] = odd[i] * 7;
            assert_true(check(f, count) <= len + 48);
        }
    }
}

/* Every width, at every place before the end of the payload. */
static void widths(void **state) {
    struct fixture *f = *state;
    uint64_t fields[P3_BLOCK_RESIDUALS];
    uint64_t got[P3_BLOCK_RESIDUALS];
    uint8_t packed[P3_BLOCK_RESIDUALS * 8 + 16];
    for (unsigned width = 1; width <= 64; width++) {
        for (size_t count = 1; count <= P3_BLOCK_RESIDUALS; count++) {
            for (size_t i = 0; i < count; i++) {
                fields[i] = naive_random(&f->random) >> (64 - width);
            }
            size_t len = (size_t)(p3_pack(fields, count, width, packed) - packed);
            assert_int_equal(len, (count * width + 7) / 8);
            for (size_t slack = 0; slack <= 10; slack += 1 + below(f, 5)) {
                uint8_t *exact = malloc(len + slack);
                memset(exact, 0xff, len + slack);
                memcpy(exact, packed, len);
                struct reader reader = reader_init(exact, len + slack);
                assert_true(p3_unpack(&reader, count, width, got));
                assert_int_equal(reader_left(&reader), slack);
                assert_memory_equal(got, fields, count * sizeof(fields[0]));
                reader = reader_init(exact, len - 1);
                assert_false(p3_unpack(&reader, count, width, got));
                free(exact);
            }
        }
    }
}

/* Any int64 becomes the double a cast gives, divided by any power. */
static void any_integer(void **state) {
    struct fixture *f = *state;
    int64_t ints[64];
    double power = 1;
    for (unsigned exponent = 0; exponent <= 15; exponent++, power *= 10) {
        for (int round = 0; round < 200; round++) {
            size_t count = 1 + below(f, ARRAY_LEN(ints));
            for (size_t i = 0; i < count; i++) {
                ints[i] = (int64_t)(naive_random(&f->random) >> below(f, 64));
                ints[i] = below(f, 2) == 0 ? ints[i] : -ints[i] - (int64_t)below(f, 2);
                f->values[i] = (double)ints[i] / power;
            }
            set_times(f, count, 0);
            buf_reset(&f->bytes);
            buf_putc(&f->bytes, (char)exponent);
            naive_put_ints(&f->random, ints, count, &f->bytes);
            buf_putc(&f->bytes, 0);
            assert_true(decode_exactly(f, f->bytes.ptr, f->bytes.len, count));
            check_equal(f, count);
        }
    }
}

/* Sums of decimals, with and without a marker at the end. */
static void sums(void **state) {
    struct fixture *f = *state;
    for (size_t count = 1; count <= COUNT_MAX; count += 1 + count / 8) {
        set_times(f, count, 0);
        double total = (double)below(f, 10000) / 7;
        for (size_t i = 0; i < count; i++) {
            total += (double)below(f, 1000000000) / 1e9;
            f->values[i] = count % 2 == 0 ? total : -total;
        }
        size_t len = check(f, count);
        assert_true(count < 100 || len < 6 * count);
        f->values[count - 1] = double_from_bits(STALE_NAN_BITS);
        len = check(f, count);
        assert_true(count < 100 || len < 6 * count);
    }
}

static void corpus(void **state) {
    struct fixture *f = *state;
    struct corpus corpus;
    corpus_init(&corpus, 7);
    static const size_t counts[] = { 1, 2, 3, 60, 64, 65, 66, 119, 120, 129, 480, 7680 };
    for (enum corpus_class class = 0; class < CORPUS_CLASS_COUNT; class ++) {
        for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
            corpus_fill(&corpus, class, 1, counts[c], f->values);
            corpus_fill_times(&corpus, (enum corpus_jitter)(c % CORPUS_JITTER_COUNT), counts[c],
                              f->t_ms);
            (void)check(f, counts[c]);
        }
    }
}

/* Bit patterns without any sense take raw bytes and one for each column. */
static void noise(void **state) {
    struct fixture *f = *state;
    for (size_t count = 1; count <= COUNT_MAX; count += 7) {
        for (size_t i = 0; i < count; i++) {
            f->t_ms[i] = (int64_t)naive_random(&f->random);
            f->values[i] = double_from_bits(naive_random(&f->random) >> below(f, 64));
        }
        (void)check(f, count);
    }
}

static void largest(void **state) {
    struct fixture *f = *state;
    size_t count = P3_SAMPLES_MAX;
    set_times(f, count, 0);
    for (int round = 0; round < 4; round++) {
        double total = 0;
        for (size_t i = 0; i < count; i++) {
            total += round == 0 ? 1 : (double)below(f, 1000) / (round == 1 ? 1 : 3);
            f->values[i] = round == 3 && i % 2 == 0 ? double_from_bits(STALE_NAN_BITS) : total;
        }
        size_t len = check(f, count);
        assert_true(round > 0 || len < 40);
    }
}

static void times(void **state) {
    struct fixture *f = *state;
    static const int64_t extremes[][4] = {
        { INT64_MIN, -1, 0, INT64_MAX },
        { INT64_MAX, INT64_MIN, 7, -7 },
        { 0, 0, 0, 0 },
        { 5, 4, 3, 2 },
        { INT64_MIN, INT64_MIN + 1, INT64_MIN + 2, INT64_MIN + 3 },
        { 0, INT64_MAX, -2, INT64_MAX - 2 },
    };
    memset(f->values, 0, sizeof(f->values));
    for (size_t i = 0; i < ARRAY_LEN(extremes); i++) {
        memcpy(f->t_ms, extremes[i], sizeof(extremes[i]));
        for (size_t count = 1; count <= 4; count++) {
            (void)check(f, count);
        }
    }
    set_times(f, 120, 0);
    assert_int_equal(check(f, 120), 3); /* a constant, an exact interval */
    for (size_t i = 70; i < 120; i++) {
        f->t_ms[i] += 45000; /* three scrapes missed */
    }
    assert_true(check(f, 120) <= 20);
    for (uint64_t jitter_ms = 1; jitter_ms < 20000; jitter_ms = jitter_ms * 3 / 2 + 1) {
        set_times(f, 480, jitter_ms);
        (void)check(f, 480);
    }
    set_times(f, 480, 64);
    assert_true(check(f, 480) < 480 * 6 / 8 + 30);
}

/* Around the largest number of entries a sparse list takes. */
static void sparse_lists(void **state) {
    struct fixture *f = *state;
    size_t count = 5000;
    set_times(f, count, 0);
    for (size_t steps = 250; steps <= 260; steps++) {
        double value = 0;
        for (size_t i = 0; i < count; i++) {
            value += i > 0 && i % 19 == 0 && i / 19 <= steps ? (double)i : 0;
            f->values[i] = value;
        }
        (void)check(f, count);
    }
}

/* ---- the other implementation's choices ---- */

static void fill_any(struct fixture *f, size_t count) {
    uint64_t kind = below(f, 5);
    double value = 0;
    for (size_t i = 0; i < count; i++) {
        value += kind == 0 ? 0 : (double)below(f, 1000) / (kind == 1 ? 1 : 100);
        f->values[i] = kind == 3 ? double_from_bits(naive_random(&f->random)) : value;
        if (kind == 4 && below(f, 10) == 0) {
            f->values[i] = double_from_bits(edges[below(f, ARRAY_LEN(edges))]);
        }
    }
}

static void any_choice(void **state) {
    struct fixture *f = *state;
    for (int round = 0; round < 3000; round++) {
        size_t count = 1 + below(f, round % 10 == 0 ? COUNT_MAX : 140);
        set_times(f, count, below(f, 2) * 100);
        fill_any(f, count);
        buf_reset(&f->bytes);
        naive_encode(&f->random, f->t_ms, f->values, count, &f->bytes);
        assert_true(decode_exactly(f, f->bytes.ptr, f->bytes.len, count));
        check_equal(f, count);
    }
}

/* ---- damage ---- */

/* Both implementations accept or refuse, and accept as the same. */
static void check_agreement(struct fixture *f, const uint8_t *bytes, size_t len, size_t count) {
    struct p3_bounds bounds = bounds_of(f, count);
    static int64_t t_ms[COUNT_MAX];
    static double values[COUNT_MAX];
    bool want = naive_decode(bytes, len, &bounds, t_ms, values);
    assert_int_equal(decode_exactly(f, bytes, len, count), want);
    if (want) {
        assert_memory_equal(t_ms, f->t_decoded_ms, count * sizeof(t_ms[0]));
        assert_memory_equal(values, f->decoded, count * sizeof(values[0]));
    }
}

static void mutate(struct fixture *f, uint8_t *bytes, size_t len) {
    for (uint64_t left = 1 + below(f, 3); left > 0; left--) {
        size_t at = below(f, below(f, 2) == 0 ? len : (len < 16 ? len : 16));
        uint64_t mutated =
            below(f, 2) == 0 ? naive_random(&f->random) : bytes[at] ^ UINT64_C(1) << below(f, 8);
        bytes[at] = (uint8_t)mutated;
    }
}

static void damage(void **state) {
    struct fixture *f = *state;
    uint8_t bytes[P3_BYTES_MAX(COUNT_MAX) * 2];
    for (int round = 0; round < 400; round++) {
        size_t count = 1 + below(f, 200);
        set_times(f, count, below(f, 2) * 100);
        fill_any(f, count);
        buf_reset(&f->bytes);
        if (round % 2 == 0) {
            p3_encode(&f->encoder, f->t_ms, f->values, count, &f->bytes);
        } else {
            naive_encode(&f->random, f->t_ms, f->values, count, &f->bytes);
        }
        size_t len = f->bytes.len < sizeof(bytes) ? f->bytes.len : sizeof(bytes);
        for (int i = 0; i < 20; i++) {
            memcpy(bytes, f->bytes.ptr, len);
            mutate(f, bytes, len);
            check_agreement(f, bytes, len, count);
            check_agreement(f, bytes, below(f, len), count);
            check_agreement(f, bytes, len, 1 + below(f, COUNT_MAX));
        }
    }
}

static void random_bytes(void **state) {
    struct fixture *f = *state;
    uint8_t bytes[600];
    set_times(f, COUNT_MAX, 0);
    for (int round = 0; round < 20000; round++) {
        size_t len = below(f, round % 8 == 0 ? sizeof(bytes) : 40);
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)naive_random(&f->random);
        }
        if (len > 0) {
            bytes[0] &= 0xbf; /* a kind that exists, more often */
        }
        check_agreement(f, bytes, len, 1 + below(f, COUNT_MAX));
    }
}

struct payload {
    const char *bytes;
    size_t len;
    bool is_good;
};

#define PAYLOAD(text, good) \
    { .bytes = (text), .len = sizeof(text) - 1, .is_good = (good) }

/* By hand, for three samples at an exact interval: each rule of the format, kept and just broken.
 * Values: head, integer column (kind and shift, first, base, residuals). */
static const struct payload payloads[] = {
    PAYLOAD("\x10\x02\x00", true),  /* constant */
    PAYLOAD("\x90\x02\x00", false), /* with exceptions */
    PAYLOAD("\x20"
            "12345678\x00",
            true), /* repeated */
    PAYLOAD("\x21"
            "12345678\x00",
            false),                                 /* with an exponent */
    PAYLOAD("\x60\x00\x02\x00", false),             /* nothing to lean on */
    PAYLOAD("\x70\x00\x02\x00", false),             /* no such kind */
    PAYLOAD("\x41\x00\x02\x00", false),             /* bits with an exponent */
    PAYLOAD("\x10\x02\x03", false),                 /* no such kind of times */
    PAYLOAD("\x00\x00\x02\x00", true),              /* integers: constant */
    PAYLOAD("\x00\x05\x02\x00\x00", false),         /* no such kind */
    PAYLOAD("\x00\x01\x02\x00\x00", true),          /* no entries */
    PAYLOAD("\x00\x01\x02\x01\x01\x05\x00", true),  /* the last one */
    PAYLOAD("\x00\x01\x02\x01\x02\x05\x00", false), /* one behind it */
    PAYLOAD("\x00\x01\x02\xff\x00\x00", true),      /* blocks: zero */
    PAYLOAD("\x00\x01\x02\xff\x01\x03\x00", true),  /* one bit each */
    PAYLOAD("\x00\x01\x02\xff\x80\x00", false),     /* heads that do not exist */
    PAYLOAD("\x00\x01\x02\xff\xc1\x03\x00", false),
    PAYLOAD("\x00\x01\x02\xff\x81\x03\x03\x00", true),              /* bitmap */
    PAYLOAD("\x00\x01\x02\xff\x81\x04\x01\x00", false),             /* a third of two residuals */
    PAYLOAD("\x00\x01\x02\xff\x41\x01\x01\x41\x00", true),          /* patched: position 1 */
    PAYLOAD("\x00\x01\x02\xff\x41\x01\x01\x42\x00", false),         /* position 2 of two */
    PAYLOAD("\x00\x01\x02\xff\x41\x00\x01\x00", false),             /* no patches */
    PAYLOAD("\x00\x01\x02\xff\x41\x03\x01\x41\x41\x41\x00", false), /* three for two */
    PAYLOAD("\x00\x01\x02\xff\x41\x01\x00\x01\x00", false),         /* no high part */
    PAYLOAD("\x00\x01\x02\xff\x41\x01\x32\x01\0\0\0\0\0\0\x00", true), /* of 50 bits */
    PAYLOAD("\x00\x01\x02\xff\x41\x01\x33\x01\0\0\0\0\0\0\0\x00", false),
    /* 62 bits below: a high part of two fits, one of three does not */
    PAYLOAD("\x00\x01\x02\xff\x7f\x01\x02"
            "0123456789abcdef"
            "\x41\x00",
            true),
    PAYLOAD("\x00\x01\x02\xff\x7f\x01\x03"
            "0123456789abcdef"
            "\x41\x01\x00",
            false),
    PAYLOAD("\x80\x00\x02\x00\x00", true),          /* exceptions: none */
    PAYLOAD("\x80\x00\x02\x01\x02\x01\x00", true),  /* the last value is stale */
    PAYLOAD("\x80\x00\x02\x01\x00\x11\x00", true),  /* all three */
    PAYLOAD("\x80\x00\x02\x01\x00\x19\x00", false), /* four */
    PAYLOAD("\x80\x00\x02\x01\x02\x09\x00", false), /* the last and one more */
    PAYLOAD("\x80\x00\x02\x01\x03\x01\x00", false), /* behind the last */
    PAYLOAD("\x80\x00\x02\x01\x00\x05\x00", true),  /* codes end at 5 */
    PAYLOAD("\x80\x00\x02\x01\x00\x06\x00", false),
    PAYLOAD("\x80\x00\x02\x04\x00\x01\x00\x01\x00\x01\x00\x01\x00", false), /* four runs */
};

static void rules_of_the_format(void **state) {
    struct fixture *f = *state;
    set_times(f, 3, 0);
    for (size_t i = 0; i < ARRAY_LEN(payloads); i++) {
        const struct payload *payload = &payloads[i];
        if (decode_exactly(f, payload->bytes, payload->len, 3) != payload->is_good) {
            fail_msg("payload %zu", i);
        }
        check_agreement(f, (const uint8_t *)payload->bytes, payload->len, 3);
    }
    /* One value has no residuals. */
    check_agreement(f, (const uint8_t *)"\x00\x01\x02\x00\x00", 5, 1);
    assert_false(decode_exactly(f, "\x00\x01\x02\x00\x00", 5, 1));
    /* The ends of an exact interval, and of any other times, are the header's. */
    f->t_ms[2]++;
    assert_false(decode_exactly(f, "\x10\x02\x00", 3, 3));
    assert_false(decode_exactly(f, "\x10\x02\x01\x00\x00\x00", 6, 3));
}

static void truncations(void **state) {
    struct fixture *f = *state;
    struct p3_bounds none = { .count = 0 };
    struct p3_bounds too_many = { .count = P3_SAMPLES_MAX + 1 };
    assert_false(p3_decode((const uint8_t *)"\x10", 2, &none, f->t_decoded_ms, f->decoded));
    assert_false(p3_decode((const uint8_t *)"\x10", 2, &too_many, f->t_decoded_ms, f->decoded));
    for (int round = 0; round < 40; round++) {
        size_t count = 1 + below(f, 200);
        set_times(f, count, below(f, 2) * 100);
        fill_any(f, count);
        size_t len = check(f, count);
        buf_putc(&f->bytes, 0);
        assert_false(decode_exactly(f, f->bytes.ptr, len + 1, count));
        for (size_t cut = 0; cut < len; cut++) {
            assert_false(decode_exactly(f, f->bytes.ptr, cut, count));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(edge_values, setup, teardown),
        cmocka_unit_test_setup_teardown(decimals, setup, teardown),
        cmocka_unit_test_setup_teardown(outliers, setup, teardown),
        cmocka_unit_test_setup_teardown(widths, setup, teardown),
        cmocka_unit_test_setup_teardown(any_integer, setup, teardown),
        cmocka_unit_test_setup_teardown(sums, setup, teardown),
        cmocka_unit_test_setup_teardown(corpus, setup, teardown),
        cmocka_unit_test_setup_teardown(noise, setup, teardown),
        cmocka_unit_test_setup_teardown(largest, setup, teardown),
        cmocka_unit_test_setup_teardown(times, setup, teardown),
        cmocka_unit_test_setup_teardown(sparse_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(rules_of_the_format, setup, teardown),
        cmocka_unit_test_setup_teardown(any_choice, setup, teardown),
        cmocka_unit_test_setup_teardown(damage, setup, teardown),
        cmocka_unit_test_setup_teardown(random_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(truncations, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
