/*
 * The store's contract from outside: open, write, verdicts, read back, overlay, tables, metadata,
 * close and open again. Method: small stores in directories of their own, a fake clock.
 */
#include "tests/tsdb/fixture.h"

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    fixture_init(f);
    fixture_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_finish(*state);
    test_free(*state);
    return 0;
}

#define T0 FIXTURE_NOW_MS

static void test_write_and_read(void **state) {
    struct fixture *f = *state;
    series_ref_t a = make_series(f, "up", PAIRS("job", "a"));
    series_ref_t b = make_series(f, "up", PAIRS("job", "b"));
    assert_int_not_equal(a, b);
    assert_int_equal(a, make_series(f, "up", PAIRS("job", "a")));
    assert_int_equal(put_sample(f, a, 1000, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, b, 1000, 2), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, a, 2000, 3), TSDB_ACCEPTED);
    assert_string_equal(read_name(f, "up"), "up{job=\"a\"} 1000:1 2000:3\nup{job=\"b\"} 1000:2\n");
    fixture_reopen(f);
    assert_string_equal(read_name(f, "up"), "up{job=\"a\"} 1000:1 2000:3\nup{job=\"b\"} 1000:2\n");
    a = make_series(f, "up", PAIRS("job", "a"));
    assert_int_equal(put_sample(f, a, 2000, 3), TSDB_DUPLICATE);
    assert_int_equal(put_sample(f, a, 2500, 4), TSDB_ACCEPTED);
    assert_string_equal(read_name(f, "up"),
                        "up{job=\"a\"} 1000:1 2000:3 2500:4\nup{job=\"b\"} 1000:2\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_and_read, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
