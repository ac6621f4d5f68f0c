/*
 * Goal: counts are exact under concurrency and a collector sees families whole and in order.
 * Method: collected registries printed to text and compared; four threads adding to the same
 * instances.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/metric.h"
#include "tests/unit.h"

static void print_view(void *ctx, const struct metric_view *view) {
    struct buf *out = ctx;
    buf_printf(out, "%s", view->name);
    for (size_t i = 0; view->label_pairs != NULL && view->label_pairs[i] != NULL; i += 2) {
        buf_printf(out, " %s=%s", view->label_pairs[i], view->label_pairs[i + 1]);
    }
    if (view->type == METRIC_HISTOGRAM) {
        for (size_t i = 0; i < view->bound_count; i++) {
            buf_printf(out, " <=%g:%d", view->bounds[i], (int)view->bucket_counts[i]);
        }
        buf_printf(out, " +Inf:%d", (int)view->bucket_counts[view->bound_count]);
        buf_printf(out, " sum:%g\n", view->sum);
    } else {
        buf_printf(out, " %g\n", view->value);
    }
}

static void expect_collected(struct metric_registry *registry, const char *expected) {
    struct buf out;
    buf_init(&out, 1 << 20);
    metric_collect(registry, print_view, &out);
    assert_string_equal(buf_as_str(&out).ptr, expected);
    buf_finish(&out);
}

static double read_number(void *ctx) {
    return *(double *)ctx;
}

static void families_come_in_name_order(void **state) {
    struct metric_registry *registry = metric_registry_create();
    expect_collected(registry, "");
    static const char *const get[] = { "method", "get", NULL };
    static const char *const post[] = { "method", "post", NULL };
    static const double bounds[] = { 0.1, 1 };
    double number = 7;
    struct metric *gets = metric_counter(registry, "b_total", "B.", get);
    struct metric *gauge = metric_gauge(registry, "c", "C.", NULL);
    struct metric *histogram =
        metric_histogram(registry, "a_seconds", "A.", NULL, bounds, ARRAY_LEN(bounds));
    struct metric *posts = metric_counter(registry, "b_total", "B.", post);
    metric_gauge_fn(registry, "d", "D.", NULL, read_number, &number);
    metric_inc(gets);
    metric_add(posts, 2.5);
    metric_set(gauge, 10);
    metric_add(gauge, -3);
    metric_observe(histogram, 0.1);
    metric_observe(histogram, 0.5);
    metric_observe(histogram, 5);
    expect_collected(registry, "a_seconds <=0.1:1 <=1:2 +Inf:3 sum:5.6\n"
                               "b_total method=get 1\n"
                               "b_total method=post 2.5\n"
                               "c 7\n"
                               "d 7\n");
    number = 8;
    metric_observe(histogram, (double)NAN);
    assert_true(metric_get(gets) == 1);
    assert_true(isnan(metric_get(histogram)));
    metric_registry_destroy(registry);
}

static void asking_twice_gives_the_same_instance(void **state) {
    struct metric_registry *registry = metric_registry_create();
    static const char *const ab[] = { "x", "ab", "y", "c", NULL };
    static const char *const a[] = { "x", "a", "y", "bc", NULL };
    struct metric *first = metric_counter(registry, "n_total", "N.", ab);
    assert_ptr_equal(metric_counter(registry, "n_total", "N.", ab), first);
    assert_ptr_not_equal(metric_counter(registry, "n_total", "N.", a), first);
    assert_ptr_not_equal(metric_counter(registry, "n_total", "N.", NULL), first);
    assert_ptr_not_equal(metric_counter(registry, "m_total", "M.", ab), first);
    metric_registry_destroy(registry);
}

static void a_missing_registry_is_harmless(void **state) {
    static const double bounds[] = { 1 };
    struct metric *counter = metric_counter(NULL, "n_total", "N.", NULL);
    metric_inc(counter);
    metric_add(counter, 3);
    struct metric *gauge = metric_gauge(NULL, "n", "N.", NULL);
    metric_set(gauge, 3);
    metric_observe(metric_histogram(NULL, "h", "H.", NULL, bounds, 1), 3);
    assert_true(metric_get(gauge) == 0);
    metric_collect(NULL, print_view, NULL);
    metric_registry_destroy(NULL);
}

static void count_view(void *ctx, const struct metric_view *view) {
    (void)view;
    ++*(size_t *)ctx;
}

static void instances_are_capped(void **state) {
    struct metric_registry *registry = metric_registry_create();
    struct metric *last = NULL;
    for (int i = 0; i < 10000; i++) {
        char value[16];
        snprintf(value, sizeof(value), "%d", i);
        const char *const pairs[] = { "i", value, NULL };
        struct metric *metric = metric_counter(registry, "n_total", "N.", pairs);
        assert_ptr_not_equal(metric, last);
        last = metric;
    }
    static const char *const more[] = { "i", "more", NULL };
    static const char *const evenmore[] = { "i", "even more", NULL };
    struct metric *overflow = metric_counter(registry, "n_total", "N.", more);
    assert_ptr_equal(metric_counter(registry, "n_total", "N.", evenmore), overflow);
    assert_ptr_not_equal(overflow, last);
    metric_inc(overflow);
    struct metric *other = metric_gauge(registry, "other", "O.", NULL);
    assert_ptr_not_equal(other, overflow);
    metric_set(other, 1);
    size_t count = 0;
    metric_collect(registry, count_view, &count);
    assert_int_equal(count, 10002);
    metric_registry_destroy(registry);
}

enum {
    ADDS = 50000
};

static void *add_many(void *arg) {
    struct metric_registry *registry = arg;
    static const double bounds[] = { 1, 2 };
    struct metric *counter = metric_counter(registry, "n_total", "N.", NULL);
    struct metric *histogram = metric_histogram(registry, "h", "H.", NULL, bounds, 2);
    for (int i = 0; i < ADDS; i++) {
        metric_add(counter, 0.5);
        metric_observe(histogram, i % 3);
        if (i % 10000 == 0) {
            size_t count = 0;
            metric_collect(registry, count_view, &count);
        }
    }
    return NULL;
}

static void four_threads_count_exactly(void **state) {
    struct metric_registry *registry = metric_registry_create();
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, registry), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    expect_collected(registry, "h <=1:133336 <=2:200000 +Inf:200000 sum:199996\nn_total 100000\n");
    metric_registry_destroy(registry);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_come_in_name_order),
        cmocka_unit_test(asking_twice_gives_the_same_instance),
        cmocka_unit_test(a_missing_registry_is_harmless),
        cmocka_unit_test(instances_are_capped),
        cmocka_unit_test(four_threads_count_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
