/*
 * Goal: the checks at the doors are upstream's, limits hold exactly, copies and comparison see
 * every bit. Method: one good histogram of each kind, and one change at a time.
 */
#include <math.h>
#include <stdlib.h>

#include "model/histogram.h"
#include "tests/unit.h"

static const struct histogram_span spans[] = { { .offset = -2, .length = 2 },
                                               { .offset = 1, .length = 1 } };
static const struct histogram_span first_spans[] = { { .offset = 0, .length = 3 } };
static const union histogram_count wholes[] = { { .whole = 1 }, { .whole = 2 }, { .whole = 3 } };
static const union histogram_count reals[] = { { .real = 1 }, { .real = 2 }, { .real = 0.5 } };
static const double bounds[] = { 0.1, 0.5 };

static struct histogram whole(void) {
    return (struct histogram){
        .schema = 3,
        .zero_threshold = 0.001,
        .count = { .whole = 16 },
        .zero_count = { .whole = 4 },
        .sum = 12.5,
        .negative = { spans, ARRAY_LEN(spans), wholes, ARRAY_LEN(wholes) },
        .positive = { first_spans, ARRAY_LEN(first_spans), wholes, ARRAY_LEN(wholes) },
    };
}

static struct histogram real(void) {
    struct histogram histogram = whole();
    histogram.is_float = true;
    histogram.count.real = 7.25;
    histogram.zero_count.real = 0.25;
    histogram.negative.buckets = reals;
    histogram.positive.buckets = reals;
    return histogram;
}

static struct histogram custom(void) {
    return (struct histogram){
        .schema = HISTOGRAM_SCHEMA_CUSTOM,
        .count = { .whole = 6 },
        .positive = { first_spans, ARRAY_LEN(first_spans), wholes, ARRAY_LEN(wholes) },
        .bounds = bounds,
        .bound_count = ARRAY_LEN(bounds),
    };
}

static void refused(struct histogram histogram, enum err_code code, const char *what) {
    struct err err = ERR_INIT;
    if (histogram_validate(&histogram, &err)) {
        fail_msg("taken: %s", what);
    }
    assert_int_equal(err.code, code);
    assert_non_null(strstr(err.msg, what));
}

static void taken(struct histogram histogram) {
    struct err err = ERR_INIT;
    if (!histogram_validate(&histogram, &err)) {
        fail_msg("%s", err.msg);
    }
}

static void good_ones(void **state) {
    taken(whole());
    taken(real());
    taken(custom());
    taken((struct histogram){ .sum = double_from_bits(STALE_NAN_BITS) });
    struct histogram histogram = whole();
    histogram.sum = (double)NAN; /* observations of NaN are in no bucket */
    histogram.count.whole = 17;
    taken(histogram);
    histogram = whole();
    histogram.schema = HISTOGRAM_SCHEMA_MIN;
    taken(histogram);
    histogram.schema = HISTOGRAM_SCHEMA_MAX;
    taken(histogram);
    histogram = real();
    histogram.count.real = 1; /* of floats only the signs are checked */
    taken(histogram);
}

static void schemas(void **state) {
    struct histogram histogram = whole();
    histogram.schema = HISTOGRAM_SCHEMA_MIN - 1;
    refused(histogram, ERR_INVALID, "schema -5");
    histogram.schema = HISTOGRAM_SCHEMA_MAX + 1;
    refused(histogram, ERR_INVALID, "schema 9");
    histogram = whole();
    histogram.bounds = bounds;
    histogram.bound_count = 1;
    refused(histogram, ERR_INVALID, "no custom bounds");
    histogram = custom();
    histogram.zero_threshold = 0.1;
    refused(histogram, ERR_INVALID, "no zero bucket");
    histogram = custom();
    histogram.zero_count.whole = 1;
    refused(histogram, ERR_INVALID, "no zero bucket");
    histogram = custom();
    histogram.negative = whole().negative;
    refused(histogram, ERR_INVALID, "no negative side");
}

static void custom_bounds(void **state) {
    static const double equal[] = { 0.1, 0.1 };
    static const double nan_bound[] = { 0.1, (double)NAN };
    static const double infinite[] = { 0.1, (double)INFINITY };
    struct histogram histogram = custom();
    histogram.bounds = equal;
    refused(histogram, ERR_INVALID, "must ascend");
    histogram.bounds = nan_bound;
    refused(histogram, ERR_INVALID, "must ascend");
    histogram.bounds = infinite;
    refused(histogram, ERR_INVALID, "+Inf is implied");
    histogram = custom();
    histogram.bound_count = 1;
    refused(histogram, ERR_INVALID, "too few");
    histogram = custom();
    histogram.positive.spans = spans;
    histogram.positive.span_count = ARRAY_LEN(spans);
    refused(histogram, ERR_INVALID, "before the first bound");
}

static void counts(void **state) {
    static const union histogram_count negative[] = { { .real = 1 },
                                                      { .real = -1 },
                                                      { .real = 1 } };
    static const union histogram_count huge[] = { { .whole = UINT64_MAX },
                                                  { .whole = 2 },
                                                  { .whole = 3 } };
    struct histogram histogram = whole();
    histogram.count.whole = 15;
    refused(histogram, ERR_INVALID, "hold 16 observations, the count is 15");
    histogram.count.whole = 17;
    refused(histogram, ERR_INVALID, "hold 16 observations, the count is 17");
    histogram.sum = (double)NAN;
    histogram.count.whole = 15;
    refused(histogram, ERR_INVALID, "the count is 15");
    histogram = whole();
    histogram.positive.buckets = huge; /* wraps to what the count says */
    histogram.count.whole = 4 + 6 + 4;
    refused(histogram, ERR_INVALID, "observations");
    histogram = real();
    histogram.negative.buckets = negative;
    refused(histogram, ERR_INVALID, "a bucket has the negative count -1");
    histogram = real();
    histogram.zero_count.real = -0.5;
    refused(histogram, ERR_INVALID, "zero bucket");
    histogram = real();
    histogram.count.real = -2;
    refused(histogram, ERR_INVALID, "negative count -2");
}

static void shapes(void **state) {
    static const struct histogram_span backwards[] = { { .offset = 0, .length = 2 },
                                                       { .offset = -1, .length = 1 } };
    struct histogram histogram = whole();
    histogram.positive.bucket_count = 2;
    refused(histogram, ERR_INVALID, "positive spans need 3 buckets, there are 2");
    histogram = whole();
    histogram.negative.spans = backwards;
    refused(histogram, ERR_INVALID, "negative span 2 has the negative offset -1");
}

static void limits(void **state) {
    struct err err = ERR_INIT;
    size_t room = HISTOGRAM_BUCKETS_MAX + 1;
    union histogram_count *buckets = calloc(room, sizeof(buckets[0]));
    struct histogram_span *many = calloc(room, sizeof(many[0]));
    double *many_bounds = calloc(room, sizeof(many_bounds[0]));
    many[0].length = HISTOGRAM_BUCKETS_MAX - 3;
    struct histogram histogram = whole();
    histogram.positive = (struct histogram_side){ many, 1, buckets, many[0].length };
    assert_true(histogram_check_shape(&histogram, &err));
    many[0].length++;
    histogram.positive.bucket_count++;
    refused(histogram, ERR_LIMIT, "buckets");
    many[0].length = 0;
    histogram.positive = (struct histogram_side){ many, HISTOGRAM_SPANS_MAX - 2, buckets, 0 };
    assert_true(histogram_check_shape(&histogram, &err));
    histogram.positive.span_count++;
    refused(histogram, ERR_LIMIT, "spans");
    histogram = custom();
    for (size_t i = 0; i < room; i++) {
        many_bounds[i] = (double)i;
    }
    histogram.bounds = many_bounds;
    histogram.bound_count = HISTOGRAM_BOUNDS_MAX;
    taken(histogram);
    histogram.bound_count++;
    refused(histogram, ERR_LIMIT, "custom bounds");
    free(buckets);
    free(many);
    free(many_bounds);
}

static void equality(void **state) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct histogram kinds[] = { whole(), real(), custom() };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        for (size_t j = 0; j < ARRAY_LEN(kinds); j++) {
            assert_int_equal(histogram_equal(&kinds[i], &kinds[j]), i == j);
        }
        struct histogram copy = histogram_dup(&kinds[i], &arena);
        assert_true(histogram_equal(&kinds[i], &copy));
        assert_true(copy.positive.buckets != kinds[i].positive.buckets);
    }
    struct histogram a = whole();
    struct histogram b = whole();
    b.zero_threshold = -0.0;
    a.zero_threshold = 0;
    assert_false(histogram_equal(&a, &b)); /* bits, not numbers */
    b = a;
    b.reset = HISTOGRAM_GAUGE;
    assert_false(histogram_equal(&a, &b));
    b = a;
    b.negative = b.positive;
    assert_false(histogram_equal(&a, &b));
    arena_finish(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones), cmocka_unit_test(schemas), cmocka_unit_test(custom_bounds),
        cmocka_unit_test(counts),    cmocka_unit_test(shapes),  cmocka_unit_test(limits),
        cmocka_unit_test(equality),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
