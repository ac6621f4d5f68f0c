/*
 * Goal: a chunk in a group gives back every bit from its neighbour's, is never larger than alone,
 * costs next to nothing where both say the same, and survives any bytes. Method: as for P3 itself,
 * with pairs of columns: edge values, histograms that go stale, a second plain implementation.
 */
#include <math.h>
#include <stdlib.h>

#include "bench/corpus.h"
#include "model/model.h"
#include "tests/tsdb/p3_naive.h"
#include "tests/unit.h"
#include "tsdb/codec/chunk.h"

#define COUNT_MAX 500

struct fixture {
    struct p3_encoder encoder;
    struct naive_random random;
    struct buf bytes;
    double neighbour[P3_SAMPLES_MAX];
    double values[P3_SAMPLES_MAX];
    double decoded[P3_SAMPLES_MAX];
};

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    p3_encoder_init(&f->encoder);
    buf_init(&f->bytes, SIZE_MAX);
    f->random.state = 0xd1342543de82ef95;
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

/* From blocks of exactly the sizes, so that the sanitizer sees any overrun. */
static bool decode_exactly(struct fixture *f,
                           const void *bytes,
                           size_t len,
                           size_t count,
                           const double *neighbour) {
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    double *beside = malloc(count * sizeof(beside[0]));
    int64_t *scratch = malloc(count * sizeof(scratch[0]));
    double *values = malloc(count * sizeof(values[0]));
    memcpy(exact, bytes, len);
    if (neighbour != NULL) {
        memcpy(beside, neighbour, count * sizeof(beside[0]));
    }
    bool ok =
        p3_group_decode(exact, len, count, neighbour == NULL ? NULL : beside, scratch, values);
    if (ok) {
        memcpy(f->decoded, values, count * sizeof(values[0]));
    }
    free(exact);
    free(beside);
    free(scratch);
    free(values);
    return ok;
}

static void check_equal(const struct fixture *f, size_t count) {
    for (size_t i = 0; i < count; i++) {
        assert_true(double_bits(f->decoded[i]) == double_bits(f->values[i]));
    }
}

/* With and without the neighbour, decoded by both implementations. Returns the payload's size. */
static size_t check(struct fixture *f, size_t count) {
    buf_reset(&f->bytes);
    p3_group_encode(&f->encoder, f->values, count, NULL, &f->bytes);
    size_t alone = f->bytes.len;
    assert_true(alone <= 1 + 8 * count);
    assert_false(p3_group_has_neighbour((const uint8_t *)f->bytes.ptr, alone));
    assert_true(decode_exactly(f, f->bytes.ptr, alone, count, NULL));
    check_equal(f, count);
    buf_reset(&f->bytes);
    p3_group_encode(&f->encoder, f->values, count, f->neighbour, &f->bytes);
    size_t len = f->bytes.len;
    const uint8_t *bytes = (const uint8_t *)f->bytes.ptr;
    assert_true(len <= alone);
    assert_true(decode_exactly(f, bytes, len, count, f->neighbour));
    check_equal(f, count);
    memset(f->decoded, 0, count * sizeof(f->decoded[0]));
    assert_true(naive_group_decode(bytes, len, count, f->neighbour, f->decoded));
    check_equal(f, count);
    assert_int_equal(decode_exactly(f, bytes, len, count, NULL),
                     !p3_group_has_neighbour(bytes, len));
    return len;
}

static const uint64_t edges[] = {
    0,
    0x8000000000000000, /* -0 */
    STALE_NAN_BITS,
    NORMAL_NAN_BITS,
    0x7ff0000000000000,
    0xfff0000000000000,
    1,                  /* the smallest subnormal */
    0x7fefffffffffffff, /* the largest finite */
    0x3ff0000000000000, /* 1 */
    0xbff0000000000000,
    0x3fb999999999999a, /* 0.1 */
    0x433ff973cafa7fff, /* 9e15 - 1 */
    0x433ff973cafa8000, /* 9e15 */
    0xc33ff973cafa8000,
    0x4340000000000000, /* 2^53 */
    0x43e0000000000000, /* 2^63 */
    0xffffffffffffffff,
};

/* ---- round trips ---- */

static void edge_values(void **state) {
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        for (size_t j = 0; j < ARRAY_LEN(edges); j++) {
            for (size_t k = 0; k < 100; k++) {
                f->neighbour[k] = double_from_bits(edges[k % 7 == 0 ? i : 8]);
                f->values[k] = double_from_bits(edges[k % 5 == 0 ? j : 8]) + (double)(k % 3);
            }
            (void)check(f, 1);
            (void)check(f, 2);
            (void)check(f, 100);
        }
    }
    for (size_t count = 1; count <= COUNT_MAX; count++) {
        uint64_t share = 1 + below(f, 40);
        for (size_t i = 0; i < count; i++) {
            f->neighbour[i] = (double)(i * 5);
            f->values[i] = (double)(i * 7);
            if (below(f, share) == 0) {
                f->neighbour[i] = double_from_bits(edges[below(f, ARRAY_LEN(edges))]);
            }
            if (below(f, share) == 0) {
                f->values[i] = double_from_bits(edges[below(f, ARRAY_LEN(edges))]);
            }
        }
        (void)check(f, count);
    }
}

/* Whole histograms of the corpus, every bucket on the one before. */
static size_t histogram_bytes(struct fixture *f, const double *buckets, size_t count) {
    size_t total = 0;
    for (size_t b = 1; b < CORPUS_BUCKETS; b++) {
        memcpy(f->neighbour, buckets + (b - 1) * count, count * sizeof(double));
        memcpy(f->values, buckets + b * count, count * sizeof(double));
        total += check(f, count);
    }
    return total;
}

static void histograms(void **state) {
    struct fixture *f = *state;
    struct corpus corpus;
    corpus_init(&corpus, 11);
    static const size_t counts[] = { 1, 2, 3, 64, 65, 66, 120, 480 };
    double *buckets = test_calloc(CORPUS_BUCKETS * 480, sizeof(buckets[0]));
    for (size_t c = 0; c < ARRAY_LEN(counts); c++) {
        size_t count = counts[c];
        size_t samples = (CORPUS_BUCKETS - 1) * count;
        corpus_fill(&corpus, CORPUS_FAST_BUCKET, CORPUS_BUCKETS, count, buckets);
        size_t fast = histogram_bytes(f, buckets, count);
        assert_true(count < 480 || fast < samples * 3 / 10);
        corpus_fill(&corpus, CORPUS_SLOW_BUCKET, CORPUS_BUCKETS, count, buckets);
        size_t slow = histogram_bytes(f, buckets, count);
        assert_true(count < 480 || slow < samples / 10);
        /* The target comes and goes: markers at the same places of every bucket. */
        for (size_t i = 0; i < CORPUS_BUCKETS * count; i++) {
            size_t at = i % count;
            if (at % 50 == 49) {
                buckets[i] = double_from_bits(STALE_NAN_BITS);
            }
        }
        assert_true(histogram_bytes(f, buckets, count) <= slow + (CORPUS_BUCKETS - 1) * 4);
    }
    test_free(buckets);
}

/* `_count` beside the bucket of +Inf: nothing but a head. */
static void the_same(void **state) {
    struct fixture *f = *state;
    double total = 0;
    for (size_t i = 0; i < 480; i++) {
        total += (double)below(f, 100);
        f->values[i] = i % 100 == 99 ? double_from_bits(STALE_NAN_BITS) : total;
        f->neighbour[i] = f->values[i];
    }
    assert_int_equal(check(f, 480), 3);
}

static void unrelated(void **state) {
    struct fixture *f = *state;
    for (size_t count = 1; count < COUNT_MAX; count += 1 + count / 8) {
        for (size_t i = 0; i < count; i++) {
            f->values[i] = (double)below(f, 1000) / 8;
            f->neighbour[i] = double_from_bits(naive_random(&f->random));
        }
        (void)check(f, count);
    }
    for (size_t i = 0; i < P3_SAMPLES_MAX; i++) {
        f->neighbour[i] = (double)i;
        f->values[i] = (double)(2 * i + i % 3);
    }
    (void)check(f, P3_SAMPLES_MAX);
}

/* ---- the other implementation's choices, and damage ---- */

static void fill_any(struct fixture *f, size_t count) {
    uint64_t odd = 1 + below(f, 30);
    double value = 0;
    for (size_t i = 0; i < count; i++) {
        value += (double)below(f, 50);
        f->neighbour[i] = value;
        f->values[i] = value + (double)(i / 3);
        if (below(f, odd) == 0) {
            f->neighbour[i] = double_from_bits(edges[below(f, ARRAY_LEN(edges))]);
            f->values[i] = below(f, 2) == 0 ? f->neighbour[i] : value / 4;
        }
    }
}

static void any_choice(void **state) {
    struct fixture *f = *state;
    for (int round = 0; round < 2000; round++) {
        size_t count = 1 + below(f, round % 10 == 0 ? COUNT_MAX : 140);
        fill_any(f, count);
        buf_reset(&f->bytes);
        naive_group_encode(&f->random, f->values, count, f->neighbour, &f->bytes);
        assert_true(decode_exactly(f, f->bytes.ptr, f->bytes.len, count, f->neighbour));
        check_equal(f, count);
    }
}

/* Both implementations accept or refuse, and accept as the same. */
static void check_agreement(struct fixture *f, const uint8_t *bytes, size_t len, size_t count) {
    static double values[COUNT_MAX];
    bool want = naive_group_decode(bytes, len, count, f->neighbour, values);
    assert_int_equal(decode_exactly(f, bytes, len, count, f->neighbour), want);
    if (want) {
        assert_memory_equal(values, f->decoded, count * sizeof(values[0]));
    }
}

static void damage(void **state) {
    struct fixture *f = *state;
    uint8_t bytes[P3_BYTES_MAX(COUNT_MAX) * 2];
    for (int round = 0; round < 400; round++) {
        size_t count = 1 + below(f, 200);
        fill_any(f, COUNT_MAX);
        buf_reset(&f->bytes);
        if (round % 2 == 0) {
            p3_group_encode(&f->encoder, f->values, count, f->neighbour, &f->bytes);
        } else {
            naive_group_encode(&f->random, f->values, count, f->neighbour, &f->bytes);
        }
        size_t len = f->bytes.len < sizeof(bytes) ? f->bytes.len : sizeof(bytes);
        for (int i = 0; i < 20; i++) {
            memcpy(bytes, f->bytes.ptr, len);
            bytes[below(f, len)] = (uint8_t)naive_random(&f->random);
            bytes[below(f, len < 8 ? len : 8)] ^= (uint8_t)(1 << below(f, 8));
            check_agreement(f, bytes, len, count);
            check_agreement(f, bytes, below(f, len), count);
            check_agreement(f, bytes, len, 1 + below(f, COUNT_MAX));
        }
    }
}

static void rules_of_the_format(void **state) {
    struct fixture *f = *state;
    f->neighbour[0] = 1;
    f->neighbour[1] = double_from_bits(STALE_NAN_BITS);
    f->neighbour[2] = -3;
    /* Always 1 more. */
    assert_true(decode_exactly(f, "\x60\x00\x02", 3, 3, f->neighbour));
    assert_true(f->decoded[0] == 2 && f->decoded[2] == -2);
    assert_true(double_bits(f->decoded[1]) == STALE_NAN_BITS);
    assert_false(decode_exactly(f, "\x60\x00\x02", 3, 3, NULL));
    assert_false(decode_exactly(f, "\x61\x00\x02", 3, 3, f->neighbour));     /* an exponent */
    assert_false(decode_exactly(f, "\x60\x00\x02\x00", 4, 3, f->neighbour)); /* times */
    assert_false(decode_exactly(f, "", 0, 3, f->neighbour));
    assert_false(p3_group_has_neighbour((const uint8_t *)"", 0));
    /* The marker is overwritten by 8 bytes. */
    assert_true(decode_exactly(f, "\xe0\x00\x02\x01\x01\x00\0\0\0\0\0\0\0\0", 14, 3, f->neighbour));
    assert_true(double_bits(f->decoded[1]) == 0);
    assert_false(p3_group_decode((const uint8_t *)"\x10\x02", 2, 0, NULL, NULL, f->decoded));
    assert_false(p3_group_decode((const uint8_t *)"\x10\x02", 2, P3_SAMPLES_MAX + 1, NULL, NULL,
                                 f->decoded));
}

/* Times come from another chunk, whose ends must be the header's. */
static void borrowed_times(void **state) {
    struct fixture *f = *state;
    const int64_t t_ms[] = { 10, 25, 47 };
    int64_t t_decoded_ms[3] = { 0 };
    struct chunk_view view = {
        .codec = CHUNK_P3_GROUP,
        .bytes = (const uint8_t *)"\x10\x02",
        .len = 2,
        .count = 3,
        .t_min_ms = 10,
        .t_max_ms = 47,
    };
    assert_false(chunk_decode(&view, t_decoded_ms, f->decoded));
    view.group_t_ms = t_ms;
    assert_true(chunk_decode(&view, t_decoded_ms, f->decoded));
    assert_memory_equal(t_decoded_ms, t_ms, sizeof(t_ms));
    view.t_min_ms--;
    assert_false(chunk_decode(&view, t_decoded_ms, f->decoded));
    view.t_min_ms++;
    view.t_max_ms++;
    assert_false(chunk_decode(&view, t_decoded_ms, f->decoded));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(edge_values, setup, teardown),
        cmocka_unit_test_setup_teardown(histograms, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(unrelated, setup, teardown),
        cmocka_unit_test_setup_teardown(any_choice, setup, teardown),
        cmocka_unit_test_setup_teardown(damage, setup, teardown),
        cmocka_unit_test_setup_teardown(rules_of_the_format, setup, teardown),
        cmocka_unit_test_setup_teardown(borrowed_times, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
