/*
 * Goal: start timestamps and exemplar references come back as they were, cost next to nothing when
 * they rarely change, and survive any bytes. Method: as for P3 itself: typical and extreme columns,
 * a second plain implementation, mutations.
 */
#include <stdlib.h>

#include "model/model.h"
#include "tests/tsdb/p3_naive_columns.h"
#include "tests/unit.h"

#define COUNT_MAX 500

struct samples {
    int64_t t_ms[COUNT_MAX];
    double values[COUNT_MAX];
    int64_t start_ms[COUNT_MAX];
    uint64_t exemplar_refs[COUNT_MAX];
};

struct fixture {
    struct p3_encoder encoder;
    struct naive_random random;
    struct buf bytes;
    double neighbour[COUNT_MAX];
    struct samples in;
    struct samples out;
    struct samples twin;
};

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    p3_encoder_init(&f->encoder);
    buf_init(&f->bytes, SIZE_MAX);
    f->random.state = 0xa0761d6478bd642f;
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

static struct p3_columns_ret ret_of(struct samples *samples) {
    return (struct p3_columns_ret){
        .t_ms = samples->t_ms,
        .values = samples->values,
        .start_ms = samples->start_ms,
        .exemplar_refs = samples->exemplar_refs,
    };
}

static bool decode_exactly(struct fixture *f,
                           const void *bytes,
                           size_t len,
                           size_t count,
                           const struct p3_group *group) {
    struct p3_bounds bounds = { count, f->in.t_ms[0], f->in.t_ms[count - 1] };
    struct p3_columns_ret ret = ret_of(&f->out);
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    memcpy(exact, bytes, len);
    bool ok = p3_columns_decode(exact, len, &bounds, group, &ret);
    free(exact);
    return ok;
}

static void check_equal(const struct samples *a, const struct samples *b, size_t count) {
    assert_memory_equal(a->t_ms, b->t_ms, count * sizeof(int64_t));
    assert_memory_equal(a->values, b->values, count * sizeof(double));
    assert_memory_equal(a->start_ms, b->start_ms, count * sizeof(int64_t));
    assert_memory_equal(a->exemplar_refs, b->exemplar_refs, count * sizeof(uint64_t));
}

static void check_agreement(struct fixture *f,
                            const void *bytes,
                            size_t len,
                            size_t count,
                            const struct p3_group *group) {
    struct p3_bounds bounds = { count, f->in.t_ms[0], f->in.t_ms[count - 1] };
    struct p3_columns_ret ret = ret_of(&f->twin);
    bool want = naive_columns_decode(bytes, len, &bounds, group, &ret);
    assert_int_equal(decode_exactly(f, bytes, len, count, group), want);
    if (want) {
        check_equal(&f->twin, &f->out, count);
    }
}

static size_t check(struct fixture *f, size_t count, const struct p3_group *group) {
    struct p3_columns columns = {
        count, f->in.t_ms, f->in.values, f->in.start_ms, f->in.exemplar_refs,
    };
    buf_reset(&f->bytes);
    p3_columns_encode(&f->encoder, &columns, group, &f->bytes);
    size_t len = f->bytes.len;
    assert_true(len <= 1 + 4 * P3_COLUMN_BYTES_MAX(count));
    assert_true(decode_exactly(f, f->bytes.ptr, len, count, group));
    check_equal(&f->in, &f->out, count);
    check_agreement(f, f->bytes.ptr, len, count, group);
    /* A reader that wants no more than samples. */
    struct p3_bounds bounds = { count, f->in.t_ms[0], f->in.t_ms[count - 1] };
    struct p3_columns_ret ret = { .t_ms = f->out.t_ms, .values = f->out.values };
    assert_true(p3_columns_decode((const uint8_t *)f->bytes.ptr, len, &bounds, group, &ret));
    check_equal(&f->in, &f->out, count);
    return len;
}

static const struct p3_group alone = { 0 };

static void set_samples(struct fixture *f, size_t count, uint64_t jitter_ms) {
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t off_ms = jitter_ms == 0 ? 0 : (int64_t)below(f, jitter_ms);
        f->in.t_ms[i] = 1700000000000 + (int64_t)i * 15000 + off_ms;
        total += (double)below(f, 3);
        f->in.values[i] = total;
        f->in.start_ms[i] = 0;
        f->in.exemplar_refs[i] = 0;
    }
}

static size_t starts_bytes(struct fixture *f, size_t count) {
    size_t with = check(f, count, &alone);
    struct p3_columns columns = { count, f->in.t_ms, f->in.values, NULL, f->in.exemplar_refs };
    buf_reset(&f->bytes);
    p3_columns_encode(&f->encoder, &columns, &alone, &f->bytes);
    return with - f->bytes.len;
}

static void typical_starts(void **state) {
    struct fixture *f = *state;
    set_samples(f, 480, 50);
    assert_true(starts_bytes(f, 480) <= 4); /* unknown */
    for (size_t i = 0; i < 480; i++) {
        f->in.start_ms[i] = 1699990000123;
    }
    assert_true(starts_bytes(f, 480) <= 9); /* one process */
    for (size_t i = 200; i < 480; i++) {
        f->in.start_ms[i] = f->in.t_ms[199] + 1234;
    }
    assert_true(starts_bytes(f, 480) <= 16); /* a restart */
    for (size_t i = 1; i < 480; i++) {
        f->in.start_ms[i] = f->in.t_ms[i - 1];
    }
    f->in.start_ms[0] = f->in.t_ms[0] - 15000;
    assert_true(starts_bytes(f, 480) < 480 * 8 / 8 + 40); /* delta temporality, jittered */
    set_samples(f, 480, 0);
    for (size_t i = 0; i < 480; i++) {
        f->in.start_ms[i] = f->in.t_ms[i] - 15000;
    }
    assert_true(starts_bytes(f, 480) <= 6); /* and exact */
}

static void fill_any(struct fixture *f, size_t count) {
    set_samples(f, count, below(f, 2) * 100);
    uint64_t kind = below(f, 4);
    int64_t start_ms = (int64_t)naive_random(&f->random);
    uint64_t ref = naive_random(&f->random) >> below(f, 64);
    for (size_t i = 0; i < count; i++) {
        if (below(f, 20) == 0) {
            start_ms = (int64_t)(naive_random(&f->random) >> below(f, 64));
        }
        f->in.start_ms[i] = kind == 0   ? start_ms
                            : kind == 1 ? f->in.t_ms[i] - (int64_t)below(f, 5000)
                                        : (int64_t)naive_random(&f->random) * (int64_t)below(f, 2);
        f->in.exemplar_refs[i] = below(f, 3) == 0 ? ref += below(f, 9) : 0;
        if (kind == 3) {
            f->in.exemplar_refs[i] = naive_random(&f->random);
        }
        f->neighbour[i] = f->in.values[i] + (double)(i / 10);
    }
}

static void any_columns(void **state) {
    struct fixture *f = *state;
    for (int round = 0; round < 1500; round++) {
        size_t count = 1 + below(f, round % 10 == 0 ? COUNT_MAX : 140);
        fill_any(f, count);
        (void)check(f, count, &alone);
        struct p3_group group = { f->in.t_ms, below(f, 2) == 0 ? NULL : f->neighbour };
        (void)check(f, count, &group);
        struct p3_columns columns = {
            count, f->in.t_ms, f->in.values, f->in.start_ms, f->in.exemplar_refs,
        };
        buf_reset(&f->bytes);
        naive_columns_encode(&f->random, &columns, &group, &f->bytes);
        assert_true(decode_exactly(f, f->bytes.ptr, f->bytes.len, count, &group));
        check_equal(&f->in, &f->out, count);
        assert_false(decode_exactly(f, f->bytes.ptr, f->bytes.len, count, &alone));
    }
}

static void damage(void **state) {
    struct fixture *f = *state;
    static uint8_t bytes[1 + 4 * P3_COLUMN_BYTES_MAX(COUNT_MAX) * 2];
    for (int round = 0; round < 400; round++) {
        size_t count = 1 + below(f, 200);
        fill_any(f, COUNT_MAX);
        struct p3_group group = { f->in.t_ms, f->neighbour };
        struct p3_columns columns = {
            count, f->in.t_ms, f->in.values, f->in.start_ms, f->in.exemplar_refs,
        };
        buf_reset(&f->bytes);
        if (round % 2 == 0) {
            p3_columns_encode(&f->encoder, &columns, round % 4 == 0 ? &alone : &group, &f->bytes);
        } else {
            naive_columns_encode(&f->random, &columns, round % 4 == 1 ? &alone : &group, &f->bytes);
        }
        size_t len = f->bytes.len < sizeof(bytes) ? f->bytes.len : sizeof(bytes);
        for (int i = 0; i < 20; i++) {
            memcpy(bytes, f->bytes.ptr, len);
            for (uint64_t left = 1 + below(f, 3); left > 0; left--) {
                /* Often near the end: that is where the further columns are. */
                size_t at = below(f, 2) == 0 ? below(f, len) : len - 1 - below(f, len / 4 + 1);
                bytes[at] ^= (uint8_t)(1 << below(f, 8));
            }
            check_agreement(f, bytes, len, count, &group);
            check_agreement(f, bytes, len, count, &alone);
            check_agreement(f, bytes, below(f, len), count, &group);
            check_agreement(f, bytes, len, 1 + below(f, COUNT_MAX), &group);
        }
    }
}

#define PAYLOAD(text) (text), sizeof(text) - 1

/* Three samples of the value 1 at an exact interval, then columns made by hand. */
static void rules_of_the_format(void **state) {
    struct fixture *f = *state;
    set_samples(f, 3, 0);
    assert_true(decode_exactly(f, PAYLOAD("\x00\x10\x02\x00"), 3, &alone));
    assert_false(decode_exactly(f, PAYLOAD("\x08\x10\x02\x00"), 3, &alone)); /* no such flag */
    assert_true(decode_exactly(f, PAYLOAD("\x02\x10\x02\x00\x00\x02\x02"), 3, &alone));
    assert_true(f->out.start_ms[2] == 1 && f->out.exemplar_refs[2] == 0);
    /* Runs: too long, too short, a kind that does not exist. */
    assert_false(decode_exactly(f, PAYLOAD("\x02\x10\x02\x00\x00\x03\x02"), 3, &alone));
    assert_false(decode_exactly(f, PAYLOAD("\x02\x10\x02\x00\x00\x01\x02"), 3, &alone));
    assert_false(decode_exactly(f, PAYLOAD("\x02\x10\x02\x00\x03\x02\x02"), 3, &alone));
    /* Distance: always 1 ms before. */
    assert_true(decode_exactly(f, PAYLOAD("\x02\x10\x02\x00\x01\x00\x02"), 3, &alone));
    assert_true(f->out.start_ms[1] == f->in.t_ms[1] - 1);
    assert_true(decode_exactly(f, PAYLOAD("\x04\x10\x02\x00\x00\x00\x02"), 3, &alone));
    assert_true(f->out.exemplar_refs[2] == 1);
    assert_false(decode_exactly(f, PAYLOAD("\x04\x10\x02\x00\x02\x00\x02"), 3, &alone));
    assert_false(decode_exactly(f, PAYLOAD("\x00\x10\x02\x00\x00"), 3, &alone)); /* left over */
    /* In a group: the times must be this chunk's. */
    int64_t t_ms[3] = { f->in.t_ms[0], 5, f->in.t_ms[2] };
    struct p3_group group = { .t_ms = t_ms };
    assert_true(decode_exactly(f, PAYLOAD("\x01\x10\x02"), 3, &group));
    assert_true(f->out.t_ms[1] == 5);
    assert_false(decode_exactly(f, PAYLOAD("\x01\x10\x02"), 3, &alone));
    t_ms[2]++;
    assert_false(decode_exactly(f, PAYLOAD("\x01\x10\x02"), 3, &group));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(typical_starts, setup, teardown),
        cmocka_unit_test_setup_teardown(any_columns, setup, teardown),
        cmocka_unit_test_setup_teardown(damage, setup, teardown),
        cmocka_unit_test_setup_teardown(rules_of_the_format, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
