/*
 * Goal: the parts the evaluator is built of do what their headers say. Method: tables for bitmaps,
 * label projections, compensated sums, heaps, buckets and dates; and a look at the function tables,
 * which must cover each other.
 */

#include "model/kahan.h"
#include "promql/eval_call.h"
#include "promql/eval_rank.h"
#include "promql/func_histogram.h"
#include "promql/func_quantile.h"
#include "tests/unit.h"

/* Every function the parser knows has an evaluator that fits its signature. */
static void function_tables(void **state) {
    (void)state;
    for (size_t i = 0; i < PROMQL_FN_COUNT; i++) {
        const struct function_def *def = &function_defs[i];
        int evaluators = (def->math != NULL) + (def->date != NULL) + (def->range != NULL) +
                         (def->window != NULL) + (def->other != NULL);
        assert_int_not_equal(def->kind, CALL_NONE);
        assert_int_equal(evaluators, def->kind == CALL_FOLDED ? 0 : 1);
        assert_true((def->math != NULL) == (def->kind == CALL_MATH));
        assert_true((def->date != NULL) == (def->kind == CALL_DATE));
        assert_true((def->other != NULL) == (def->kind == CALL_OTHER));
    }
    static const char *const names[] = {
        "abs", "rate", "hour", "label_join", "histogram_quantile", "info", "step", "year",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const struct promql_function *function = promql_function_find(str_from(names[i]));
        assert_non_null(function);
        bool takes_range = false;
        for (size_t k = 0; k < function->arg_count; k++) {
            takes_range = takes_range || function->args[k] == PROMQL_MATRIX;
        }
        assert_true(takes_range == (function_defs[function->id].kind == CALL_RANGE));
    }
}

static void bitmaps(void **state) {
    (void)state;
    static const size_t counts[] = { 1, 63, 64, 65, 128, 200 };
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        uint64_t bits[4];
        uint64_t other[4];
        size_t count = counts[i];
        bits_fill(bits, count);
        assert_int_equal(bits_count(bits, count), count);
        bits_zero(bits, count);
        assert_int_equal(bits_next(bits, 0, count), count);
        bit_set(bits, count - 1);
        assert_int_equal(bits_next(bits, 0, count), count - 1);
        assert_int_equal(bits_next(bits, count - 1, count), count - 1);
        assert_int_equal(bits_next(bits, count, count), count);
        bits_zero(other, count);
        assert_false(bits_overlap(bits, other, count));
        assert_int_equal(bits_first_common(bits, other, count), count);
        bits_or(other, bits, count);
        assert_int_equal(bits_first_common(bits, other, count), count - 1);
        bit_clear(bits, count - 1);
        assert_int_equal(bits_count(bits, count), 0);
    }
}

static void step_grids(void **state) {
    (void)state;
    assert_int_equal(steps_make(0, 0, 1).count, 1);
    assert_int_equal(steps_make(0, 59, 60).count, 1);
    assert_int_equal(steps_make(0, 60, 60).count, 2);
    assert_int_equal(steps_make(1, 0, 60).count, 0);
    assert_int_equal(steps_make(-60, 60, 60).count, 3);
    struct node node = { .kind = NODE_SUBQUERY, .range_ms = 100, .resolution_ms = 30 };

    static const struct {
        int64_t at_ms;
        int64_t start_ms;
        size_t count;
    } cases[] = {
        { 100, 30, 3 }, /* 0 is outside (0, 100] */
        { 99, 0, 4 },   { 10, -60, 3 }, { -5, -90, 3 }, { -10, -90, 3 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct steps steps = steps_make(cases[i].at_ms, cases[i].at_ms, 1);
        struct steps inner = subquery_steps(&node, &steps);
        assert_int_equal(inner.start_ms, cases[i].start_ms);
        assert_int_equal(inner.count, cases[i].count);
    }
}

static void label_sets(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct label items[] = {
        { STR("A"), STR("1") },
        { STR("__name__"), STR("m") },
        { STR("__type__"), STR("t") },
        { STR("job"), STR("j") },
    };
    struct labels all = { items, ARRAY_LEN(items) };
    struct labels dropped = lset_drop_metadata(all, &arena);
    assert_int_equal(dropped.count, 2);
    assert_true(str_eq(dropped.items[1].name, STR("job")));
    struct labels tail = lset_drop_metadata((struct labels){ items + 1, 3 }, &arena);
    assert_ptr_equal(tail.items, items + 3);
    const struct str names[] = { STR("job"), STR("A"), STR("zone") };
    struct lset_names sorted = lset_names_sort(names, ARRAY_LEN(names), &arena);
    struct lset_scratch scratch = { .arena = &arena };
    assert_int_equal(lset_project(&scratch, all, &sorted, false).count, 2);
    assert_int_equal(lset_project(&scratch, all, &sorted, true).count, 2);
    struct labels with = lset_with(all, STR("b"), STR("2"), &arena);
    assert_int_equal(with.count, 5);
    assert_true(str_eq(with.items[3].name, STR("b")));
    assert_true(
        str_eq(labels_get(lset_with(with, STR("b"), STR("3"), &arena), STR("b")), STR("3")));
    assert_int_equal(lset_with(with, STR("b"), STR(""), &arena).count, 4);
    struct lset_index index;
    lset_index_init(&index, &arena);
    assert_int_equal(lset_index_find(&index, all), SIZE_MAX);
    for (size_t i = 0; i < 1000; i++) {
        struct str value = arena_printf(&arena, "%zu", i % 500);
        bool is_new;
        size_t number =
            lset_index_add(&index, lset_with(all, STR("i"), value, &arena), true, &is_new);
        assert_int_equal(number, i % 500);
        assert_true(is_new == (i < 500));
    }
    arena_finish(&arena);
}

static void sums(void **state) {
    (void)state;
    struct kahan sum = { 0 };
    static const double values[] = { 1, 1e100, 1, -1e100 };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        sum = kahan_add(sum, values[i]);
    }
    assert_true(sum.sum + sum.c == 2);
    sum = kahan_add(kahan_add((struct kahan){ 0 }, HUGE_VAL), 1);
    assert_true(isinf(sum.sum) && sum.c == 0);
    /* the mean goes on where the sum would overflow */
    struct kahan_mean mean = kahan_mean_start(1.7e308);
    kahan_mean_add(&mean, 1.7e308);
    kahan_mean_add(&mean, 1.7e308);
    assert_true(mean.is_incremental);
    assert_true(fabs(kahan_mean_value(&mean) - 1.7e308) < 1e293);
}

static void ranking(void **state) {
    (void)state;
    struct ranked items[20];
    struct rank_heap heap = { .items = items };
    static const double values[] = { 5, (double)NAN, 3, 9, 1, 7, (double)NAN, 8 };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct ranked item = { .value = values[i], .index = i };
        if (heap.count < 3) {
            rank_heap_push(&heap, item);
        } else {
            rank_heap_offer(&heap, item);
        }
    }
    rank_sort(items, 3, false);
    assert_true(items[0].value == 9 && items[1].value == 8 && items[2].value == 7);
    for (size_t i = 0; i < 20; i++) {
        items[i] = (struct ranked){ .value = i == 4 ? (double)NAN : (double)(i % 5), .index = i };
    }
    rank_sort(items, 20, true);
    assert_true(items[0].index == 0 && items[1].index == 5 && isnan(items[19].value));
    double quantile_values[] = { 3, 1, (double)NAN, 2 };
    assert_true(quantile_of(1, quantile_values, 4) == 3);
    assert_true(isnan(quantile_of(0, quantile_values, 4)));
    assert_true(isnan(quantile_of(0.5, quantile_values, 0)));
    assert_true(quantile_of(-1, quantile_values, 4) < -1e308);
    assert_true(quantile_of(0.5, (double[]){ 4, 1, 2, 3 }, 4) == 2.5);
}

static void buckets(void **state) {
    (void)state;

    static const struct {
        double q;
        double expected;
        struct bucket buckets[4];
        size_t count;
        bool is_forced;
    } cases[] = {
        { 0.5, 1, { { 1, 5 }, { 2, 10 }, { HUGE_VAL, 10 } }, 3, false },
        { 0.75, 1.5, { { 1, 5 }, { 2, 10 }, { HUGE_VAL, 10 } }, 3, false },
        /* in +Inf: the last finite bound */
        { 0.99, 2, { { 1, 5 }, { 2, 10 }, { HUGE_VAL, 100 } }, 3, false },
        /* nothing below a bound that is not positive */
        { 0.1, -1, { { -1, 5 }, { 2, 10 }, { HUGE_VAL, 10 } }, 3, false },
        { 0.5, 0.75, { { 1, 6 }, { 2, 4 }, { HUGE_VAL, 9 } }, 3, true },
        /* same bound twice */
        { 0.5, 1, { { 1, 2 }, { 1, 3 }, { 2, 10 }, { HUGE_VAL, 10 } }, 4, false },
        /* noise of summation is no repair */
        { 0.5, 0.5, { { 1, 10 }, { 2, 10 - 1e-12 }, { HUGE_VAL, 10 } }, 3, false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bucket scratch[4];
        struct bucket_repair repair;
        memcpy(scratch, cases[i].buckets, sizeof(scratch));
        double value = bucket_quantile(cases[i].q, scratch, cases[i].count, &repair);
        assert_true(value == cases[i].expected);
        assert_true(repair.is_forced == cases[i].is_forced);
    }
    struct bucket_repair repair;
    struct bucket open[] = { { 1, 1 }, { 2, 2 } };
    assert_true(isnan(bucket_quantile(0.5, open, 2, &repair)));
    struct bucket empty[] = { { 1, 0 }, { HUGE_VAL, 0 } };
    assert_true(isnan(bucket_quantile(0.5, empty, 2, &repair)));
    assert_true(isnan(bucket_fraction(0, 1, empty, 2)));
    struct bucket full[] = { { 1, 5 }, { 2, 10 }, { HUGE_VAL, 20 } };
    assert_true(bucket_fraction(0, 1, full, 3) == 0.25);
    assert_true(bucket_fraction(0.5, 1.5, full, 3) == 0.25);
    assert_true(bucket_fraction(-HUGE_VAL, HUGE_VAL, full, 3) == 1);
    assert_true(bucket_fraction(2, 1, full, 3) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(function_tables), cmocka_unit_test(bitmaps), cmocka_unit_test(step_grids),
        cmocka_unit_test(label_sets),      cmocka_unit_test(sums),    cmocka_unit_test(ranking),
        cmocka_unit_test(buckets),
    };
    return cmocka_run_group_tests_name("promql/eval_units", tests, NULL, NULL);
}
