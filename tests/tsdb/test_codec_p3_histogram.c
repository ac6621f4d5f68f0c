/*
 * Goal: native histograms of every kind come back to the last bit, buckets that come and go cost
 * little, limits hold, and any bytes are survived. Method: histograms as instrumented programs make
 * them and random ones of every shape; a second plain implementation that must agree on good and on
 * damaged payloads.
 */
#include <math.h>
#include <stdlib.h>

#include "tests/tsdb/p3_naive_columns.h"
#include "tests/unit.h"

#define COUNT_MAX   240
#define BUCKETS_MAX 40
#define SPANS_MAX   20
#define BYTES_MAX   32000

struct fixture {
    struct p3_encoder encoder;
    struct naive_random random;
    struct buf bytes;
    struct arena arena; /* of the samples */
    struct arena decoded;
    struct arena twin;
    int64_t t_ms[COUNT_MAX];
    int64_t start_ms[COUNT_MAX];
    uint64_t exemplar_refs[COUNT_MAX];
    struct histogram histograms[COUNT_MAX];
    struct p3_histograms in;
};

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    p3_encoder_init(&f->encoder);
    buf_init(&f->bytes, SIZE_MAX);
    arena_init(&f->arena, SIZE_MAX);
    arena_init(&f->decoded, SIZE_MAX);
    arena_init(&f->twin, SIZE_MAX);
    f->random.state = 0xe7037ed1a0b428db;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    p3_encoder_finish(&f->encoder);
    buf_finish(&f->bytes);
    arena_finish(&f->arena);
    arena_finish(&f->decoded);
    arena_finish(&f->twin);
    test_free(f);
    return 0;
}

static uint64_t below(struct fixture *f, uint64_t limit) {
    return naive_random(&f->random) % limit;
}

/* ---- comparing ---- */

/* What is kept of a stale sample. */
static struct histogram kept(const struct histogram *histogram) {
    return histogram_is_stale(histogram) ? (struct histogram){ .reset = histogram->reset,
                                                               .is_float = histogram->is_float,
                                                               .sum = histogram->sum }
                                         : *histogram;
}

static void check_equal(const struct p3_histograms *a,
                        const struct p3_histograms *b,
                        size_t count) {
    assert_memory_equal(a->t_ms, b->t_ms, count * sizeof(a->t_ms[0]));
    assert_int_equal(a->start_ms == NULL, b->start_ms == NULL);
    assert_int_equal(a->exemplar_refs == NULL, b->exemplar_refs == NULL);
    if (a->start_ms != NULL) {
        assert_memory_equal(a->start_ms, b->start_ms, count * sizeof(a->start_ms[0]));
    }
    if (a->exemplar_refs != NULL) {
        assert_memory_equal(a->exemplar_refs, b->exemplar_refs,
                            count * sizeof(a->exemplar_refs[0]));
    }
    for (size_t i = 0; i < count; i++) {
        struct histogram x = kept(&a->histograms[i]);
        struct histogram y = kept(&b->histograms[i]);
        assert_true(histogram_equal(&x, &y));
    }
}

static bool decode_exactly(struct fixture *f,
                           const void *bytes,
                           size_t len,
                           size_t count,
                           bool is_group,
                           struct p3_histograms *ret) {
    struct p3_bounds bounds = { count, f->t_ms[0], f->t_ms[count - 1] };
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    memcpy(exact, bytes, len);
    arena_reset(&f->decoded);
    bool ok =
        p3_histograms_decode(exact, len, &bounds, is_group ? f->t_ms : NULL, &f->decoded, ret);
    free(exact);
    return ok;
}

static void check_agreement(struct fixture *f,
                            const void *bytes,
                            size_t len,
                            size_t count,
                            bool is_group) {
    struct p3_bounds bounds = { count, f->t_ms[0], f->t_ms[count - 1] };
    struct p3_histograms got;
    struct p3_histograms want;
    arena_reset(&f->twin);
    bool is_good =
        naive_histograms_decode(bytes, len, &bounds, is_group ? f->t_ms : NULL, &f->twin, &want);
    assert_int_equal(decode_exactly(f, bytes, len, count, is_group, &got), is_good);
    if (is_good) {
        assert_int_equal(got.count, count);
        check_equal(&want, &got, count);
    }
}

/* All samples in one chunk. Returns its size. */
static size_t check(struct fixture *f, size_t count, bool is_group) {
    struct p3_histograms got;
    f->in.count = count;
    buf_reset(&f->bytes);
    assert_int_equal(p3_histograms_encode(&f->encoder, &f->in, is_group, SIZE_MAX, &f->bytes),
                     count);
    assert_true(decode_exactly(f, f->bytes.ptr, f->bytes.len, count, is_group, &got));
    check_equal(&f->in, &got, count);
    check_agreement(f, f->bytes.ptr, f->bytes.len, count, is_group);
    return f->bytes.len;
}

/* ---- samples ---- */

static void reset_samples(struct fixture *f) {
    arena_reset(&f->arena);
    f->in = (struct p3_histograms){ .t_ms = f->t_ms, .histograms = f->histograms };
    for (size_t i = 0; i < COUNT_MAX; i++) {
        f->t_ms[i] = 1700000000000 + (int64_t)i * 15000;
    }
}

static struct histogram_side any_side(struct fixture *f, bool is_float) {
    struct histogram_side side = { .span_count = below(f, SPANS_MAX / 2) };
    struct histogram_span *spans = arena_calloc(&f->arena, SPANS_MAX, sizeof(spans[0]));
    union histogram_count *buckets = arena_calloc(&f->arena, BUCKETS_MAX, sizeof(buckets[0]));
    for (size_t i = 0; i < side.span_count; i++) {
        spans[i].offset = i == 0 ? (int32_t)below(f, 20) - 10 : (int32_t)below(f, 4);
        spans[i].length = (uint32_t)below(f, BUCKETS_MAX / SPANS_MAX * 2);
        if (below(f, 50) == 0) {
            spans[i].offset = i == 0 && below(f, 2) == 0 ? INT32_MIN : INT32_MAX;
        }
        side.bucket_count += spans[i].length;
    }
    for (size_t i = 0; i < side.bucket_count; i++) {
        buckets[i].whole = below(f, 5) == 0 ? naive_random(&f->random) : below(f, 1000);
        if (is_float && below(f, 5) != 0) {
            buckets[i].real = (double)below(f, 1000) / 8;
        }
    }
    side.spans = spans;
    side.buckets = buckets;
    return side;
}

static struct histogram any_histogram(struct fixture *f, bool is_float) {
    static const double thresholds[] = { 0, 2.938735877055719e-39, 0.001, (double)INFINITY };
    struct histogram histogram = {
        .reset = (enum histogram_reset)below(f, HISTOGRAM_RESET_COUNT),
        .is_float = is_float,
        .schema = (int32_t)below(f, 13) - 4,
        .zero_threshold = thresholds[below(f, ARRAY_LEN(thresholds))],
        .count = { .whole = naive_random(&f->random) >> below(f, 64) },
        .zero_count = { .whole = naive_random(&f->random) >> below(f, 64) },
        .sum = double_from_bits(naive_random(&f->random)),
        .negative = any_side(f, is_float),
        .positive = any_side(f, is_float),
    };
    if (below(f, 4) == 0) {
        double *bounds = arena_calloc(&f->arena, 8, sizeof(bounds[0]));
        histogram.schema = HISTOGRAM_SCHEMA_CUSTOM;
        histogram.bounds = bounds;
        histogram.bound_count = below(f, 9);
        for (size_t i = 0; i < histogram.bound_count; i++) {
            bounds[i] = (double)i / 10;
        }
    }
    return histogram;
}

/* The sample before with other numbers in it, or anything, or stale. */
static void fill_any(struct fixture *f, size_t count) {
    bool is_float = below(f, 2) == 0;
    uint64_t change = 1 + below(f, 30);
    for (size_t i = 0; i < count; i++) {
        struct histogram *histogram = &f->histograms[i];
        if (i == 0 || below(f, change) == 0) {
            *histogram = any_histogram(f, is_float);
        } else {
            *histogram = histogram_dup(&histogram[-1], &f->arena);
            histogram->count.whole += below(f, 5);
            histogram->sum = (double)i / 4;
            histogram->reset = below(f, 9) == 0 ? HISTOGRAM_RESET : HISTOGRAM_NO_RESET;
        }
        if (below(f, 20) == 0) {
            *histogram =
                (struct histogram){ .is_float = is_float, .sum = double_from_bits(STALE_NAN_BITS) };
        }
        f->start_ms[i] = f->t_ms[0] - (int64_t)below(f, 2);
        f->exemplar_refs[i] = below(f, 3) * i;
    }
    f->in.start_ms = below(f, 2) == 0 ? f->start_ms : NULL;
    f->in.exemplar_refs = below(f, 2) == 0 ? f->exemplar_refs : NULL;
}

static void any_shape(void **state) {
    struct fixture *f = *state;
    for (int round = 0; round < 600; round++) {
        size_t count = 1 + below(f, round % 10 == 0 ? COUNT_MAX : 30);
        reset_samples(f);
        fill_any(f, count);
        (void)check(f, count, below(f, 2) == 0);
    }
}

static void any_choice(void **state) {
    struct fixture *f = *state;
    struct p3_histograms got;
    for (int round = 0; round < 600; round++) {
        size_t count = 1 + below(f, 30);
        reset_samples(f);
        fill_any(f, count);
        f->in.count = count;
        bool is_group = below(f, 2) == 0;
        buf_reset(&f->bytes);
        naive_histograms_encode(&f->random, &f->in, is_group, &f->bytes);
        assert_true(decode_exactly(f, f->bytes.ptr, f->bytes.len, count, is_group, &got));
        check_equal(&f->in, &got, count);
        check_agreement(f, f->bytes.ptr, f->bytes.len, count, is_group);
    }
}

/* ---- typical histograms ---- */

/* Latencies in `width` neighbouring buckets from index `first` on, observed `rate` at a time; a
 * bucket exists once it was hit. */
static void fill_latencies(struct fixture *f, size_t count, bool is_float, size_t width) {
    uint64_t totals[BUCKETS_MAX] = { 0 };
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t all = 0;
        for (uint64_t n = 0; n < 20; n++) {
            uint64_t bucket = (below(f, width) + below(f, width)) / 2;
            totals[bucket]++;
            sum += (double)(bucket * 1000 + below(f, 1000)) / 1e6;
        }
        struct histogram_span *spans = arena_calloc(&f->arena, width, sizeof(spans[0]));
        union histogram_count *buckets = arena_calloc(&f->arena, width, sizeof(buckets[0]));
        struct histogram_side side = { .spans = spans, .buckets = buckets };
        int32_t gap = 0;
        for (size_t b = 0; b < width; b++) {
            all += totals[b];
            if (totals[b] == 0) {
                gap++;
                continue;
            }
            if (gap > 0 || side.span_count == 0) {
                spans[side.span_count++] = (struct histogram_span){ .offset = gap };
                gap = 0;
            }
            spans[side.span_count - 1].length++;
            buckets[side.bucket_count].whole = totals[b];
            if (is_float) {
                buckets[side.bucket_count].real = (double)totals[b];
            }
            side.bucket_count++;
        }
        f->histograms[i] = (struct histogram){
            .reset = i == 0 ? HISTOGRAM_RESET_UNKNOWN : HISTOGRAM_NO_RESET,
            .is_float = is_float,
            .schema = 3,
            .zero_threshold = 2.938735877055719e-39,
            .sum = sum,
            .positive = side,
        };
        f->histograms[i].count.whole = all;
        if (is_float) {
            f->histograms[i].count.real = (double)all;
        }
    }
}

static void latencies(void **state) {
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    for (int is_float = 0; is_float < 2; is_float++) {
        reset_samples(f);
        fill_latencies(f, COUNT_MAX, is_float != 0, 30);
        assert_true(f->histograms[0].positive.bucket_count < 25);
        for (size_t i = 0; i < COUNT_MAX; i++) {
            assert_true(histogram_validate(&f->histograms[i], &err));
        }
        size_t len = check(f, COUNT_MAX, true);
        /* 30 buckets, a sum, a count, and new buckets on the way. */
        assert_true(len < COUNT_MAX * 30 * 4 / 10 + COUNT_MAX * 6);
        for (size_t i = 40; i < COUNT_MAX; i += 40) {
            f->histograms[i] = (struct histogram){ .is_float = is_float != 0,
                                                   .reset = HISTOGRAM_NO_RESET,
                                                   .sum = double_from_bits(STALE_NAN_BITS) };
        }
        /* One delta of two steps behind each marker. */
        assert_true(check(f, COUNT_MAX, true) < len + COUNT_MAX / 40 * 30 * 3);
    }
}

/* Nothing happens: a few bytes per bucket, whatever the number of samples. */
static void idle(void **state) {
    struct fixture *f = *state;
    reset_samples(f);
    fill_latencies(f, 1, false, 30);
    for (size_t i = 1; i < COUNT_MAX; i++) {
        f->histograms[i] = f->histograms[0];
    }
    assert_true(check(f, COUNT_MAX, false) < 30 * 4 + 60);
}

static void only_stale(void **state) {
    struct fixture *f = *state;
    reset_samples(f);
    for (size_t i = 0; i < 10; i++) {
        f->histograms[i] = (struct histogram){ .sum = double_from_bits(STALE_NAN_BITS) };
    }
    (void)check(f, 1, false);
    (void)check(f, 10, false);
    /* The first real one comes late, or is followed by another kind of schema. */
    f->histograms[7] = any_histogram(f, false);
    (void)check(f, 10, false);
    f->histograms[9] = any_histogram(f, false);
    (void)check(f, 10, false);
}

/* ---- limits ---- */

static struct histogram wide(struct fixture *f, size_t bucket_count, uint64_t bucket) {
    struct histogram_span *span = arena_calloc(&f->arena, 1, sizeof(*span));
    union histogram_count *buckets = arena_calloc(&f->arena, bucket_count, sizeof(buckets[0]));
    span->length = (uint32_t)bucket_count;
    for (size_t i = 0; i < bucket_count; i++) {
        buckets[i].whole = bucket;
    }
    return (struct histogram){
        .positive = { .spans = span,
                      .span_count = 1,
                      .buckets = buckets,
                      .bucket_count = bucket_count },
    };
}

static void chunks_are_cut(void **state) {
    struct fixture *f = *state;
    struct p3_histograms got;
    reset_samples(f);
    /* The kind changes. */
    fill_latencies(f, 20, false, 30);
    f->histograms[7].is_float = true;
    f->in.count = 20;
    buf_reset(&f->bytes);
    assert_int_equal(p3_histograms_encode(&f->encoder, &f->in, false, SIZE_MAX, &f->bytes), 7);
    /* Too many bytes: fewer samples, nothing left behind, and what was there stays. */
    reset_samples(f);
    for (size_t i = 0; i < COUNT_MAX; i++) {
        f->histograms[i] = any_histogram(f, false);
    }
    f->in.count = COUNT_MAX;
    buf_reset(&f->bytes);
    buf_putc(&f->bytes, 'x');
    size_t count = p3_histograms_encode(&f->encoder, &f->in, false, 4000, &f->bytes);
    assert_true(count > 0 && count < COUNT_MAX && f->bytes.len <= 4001);
    assert_true(decode_exactly(f, f->bytes.ptr + 1, f->bytes.len - 1, count, false, &got));
    check_equal(&f->in, &got, count);
    /* Too many cells: 200 samples of 10,000 buckets. */
    reset_samples(f);
    for (size_t i = 0; i < 200; i++) {
        f->histograms[i] = wide(f, HISTOGRAM_BUCKETS_MAX, i);
    }
    f->in.count = 200;
    buf_reset(&f->bytes);
    count = p3_histograms_encode(&f->encoder, &f->in, false, SIZE_MAX, &f->bytes);
    assert_int_equal(count, 100);
    assert_true(decode_exactly(f, f->bytes.ptr, f->bytes.len, count, false, &got));
    check_equal(&f->in, &got, count);
}

static void doors_can_ask(void **state) {
    struct fixture *f = *state;
    reset_samples(f);
    f->histograms[0] = wide(f, HISTOGRAM_BUCKETS_MAX, 10000);
    f->in.count = 1;
    buf_reset(&f->bytes);
    assert_int_equal(p3_histograms_encode(&f->encoder, &f->in, false, BYTES_MAX, &f->bytes), 0);
    assert_int_equal(f->bytes.len, 0);
    assert_false(p3_histogram_fits(&f->histograms[0], BYTES_MAX));
    f->histograms[0] = wide(f, 9000, 60);
    assert_true(p3_histogram_fits(&f->histograms[0], BYTES_MAX));
    f->histograms[0] = wide(f, 2800, UINT64_MAX / 3);
    assert_true(p3_histogram_fits(&f->histograms[0], BYTES_MAX));
    assert_int_equal(p3_histograms_encode(&f->encoder, &f->in, false, BYTES_MAX, &f->bytes), 1);
    for (int round = 0; round < 300; round++) {
        f->histograms[0] = any_histogram(f, round % 2 == 0);
        size_t bytes_max = below(f, 700);
        if (p3_histogram_fits(&f->histograms[0], bytes_max)) {
            buf_reset(&f->bytes);
            assert_int_equal(p3_histograms_encode(&f->encoder, &f->in, false, bytes_max, &f->bytes),
                             1);
        }
    }
}

/* A few bytes must not make gigabytes. */
static void bombs(void **state) {
    struct fixture *f = *state;
    struct p3_histograms got;
    struct p3_bounds bounds = { .count = P3_SAMPLES_MAX, .t_min_ms = 0, .t_max_ms = 65534 };
    reset_samples(f);
    buf_reset(&f->bytes);
    buf_putc(&f->bytes, 0);
    buf_uvarint(&f->bytes, (uint64_t)(P3_SAMPLES_MAX - 1) << 2);
    buf_append(&f->bytes, "\x10\x02", 2); /* sums */
    buf_append(&f->bytes, "\x00\0\0\0\0\0\0\0\0\x00\x00", 11);
    buf_uvarint(&f->bytes, P3_SAMPLES_MAX - 1);
    buf_append(&f->bytes, "\x00\x01\x00", 3); /* one span from 0 on */
    size_t len = f->bytes.len;
    buf_uvarint(&f->bytes, 17); /* buckets: 17 × 65,535 is above 2^20 */
    for (size_t i = 0; i < 19; i++) {
        buf_append(&f->bytes, "\x00\x02", 2);
    }
    buf_putc(&f->bytes, 0); /* times */
    assert_false(p3_histograms_decode((const uint8_t *)f->bytes.ptr, f->bytes.len, &bounds, NULL,
                                      &f->decoded, &got));
    f->bytes.len = len;
    buf_uvarint(&f->bytes, 16);
    for (size_t i = 0; i < 18; i++) {
        buf_append(&f->bytes, "\x00\x02", 2);
    }
    buf_putc(&f->bytes, 0);
    assert_true(p3_histograms_decode((const uint8_t *)f->bytes.ptr, f->bytes.len, &bounds, NULL,
                                     &f->decoded, &got));
    assert_int_equal(got.histograms[65534].positive.bucket_count, 16);
    assert_int_equal(got.histograms[65534].count.whole, 18);
}

/* ---- damage ---- */

static void damage(void **state) {
    struct fixture *f = *state;
    static uint8_t bytes[BYTES_MAX];
    for (int round = 0; round < 400; round++) {
        size_t count = 1 + below(f, 12);
        reset_samples(f);
        fill_any(f, count);
        f->in.count = count;
        buf_reset(&f->bytes);
        if (round % 2 == 0) {
            assert_int_equal(p3_histograms_encode(&f->encoder, &f->in, false, BYTES_MAX, &f->bytes),
                             count);
        } else {
            naive_histograms_encode(&f->random, &f->in, round % 4 == 1, &f->bytes);
        }
        size_t len = f->bytes.len < sizeof(bytes) ? f->bytes.len : sizeof(bytes);
        for (int i = 0; i < 20; i++) {
            memcpy(bytes, f->bytes.ptr, len);
            for (uint64_t left = 1 + below(f, 2); left > 0; left--) {
                size_t at = below(f, below(f, 2) == 0 ? len : (len < 40 ? len : 40));
                bytes[at] = (uint8_t)(below(f, 2) == 0 ? naive_random(&f->random)
                                                       : bytes[at] ^ UINT64_C(1) << below(f, 8));
            }
            check_agreement(f, bytes, len, count, true);
            check_agreement(f, bytes, below(f, len), count, false);
            check_agreement(f, bytes, len, 1 + below(f, COUNT_MAX), true);
        }
    }
}

static void truncations(void **state) {
    struct fixture *f = *state;
    struct p3_histograms got;
    for (int round = 0; round < 20; round++) {
        reset_samples(f);
        fill_any(f, 8);
        size_t len = check(f, 8, false);
        for (size_t cut = 0; cut < len; cut++) {
            assert_false(decode_exactly(f, f->bytes.ptr, cut, 8, false, &got));
        }
        buf_putc(&f->bytes, 0);
        assert_false(decode_exactly(f, f->bytes.ptr, len + 1, 8, false, &got));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(latencies, setup, teardown),
        cmocka_unit_test_setup_teardown(idle, setup, teardown),
        cmocka_unit_test_setup_teardown(only_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(any_shape, setup, teardown),
        cmocka_unit_test_setup_teardown(any_choice, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks_are_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(doors_can_ask, setup, teardown),
        cmocka_unit_test_setup_teardown(bombs, setup, teardown),
        cmocka_unit_test_setup_teardown(damage, setup, teardown),
        cmocka_unit_test_setup_teardown(truncations, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
