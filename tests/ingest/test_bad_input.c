/*
 * Goal: what no door takes is refused alike at every door: times out of range, labels over a limit
 * or malformed; the reason names label and limit, the rest of the body is stored, and every refusal
 * is counted under its reason. Method: one bad sample beside a good one, through remote write and
 * text import, one row per fault; scraped pages are in test_scrape.c, events in test_event_lines.c.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/compress.h"
#include "base/pb.h"
#include "tests/ingest/fixture.h"

#define T0        FIXTURE_NOW_MS
#define RETENTION (30 * 24 * HOUR_MS)
#define FUTURE    (10 * MINUTE_MS)

static int setup(void **state) {
    static struct door_fixture fixture;
    door_init(&fixture);
    fixture.store.options.future_ms_max = FUTURE;
    fixture.store.options.retention_ms = RETENTION;
    door_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    door_finish(*state);
    return 0;
}

/* ---- bodies ---- */

struct pair {
    struct str name;
    struct str value;
};

static void put_series(struct buf *request, const struct pair *pairs, size_t count, int64_t t_ms) {
    struct buf series;
    struct buf part;
    buf_init(&series, SIZE_MAX);
    buf_init(&part, SIZE_MAX);
    for (size_t i = 0; i < count; i++) {
        buf_reset(&part);
        pb_put_bytes(&part, 1, pairs[i].name);
        pb_put_bytes(&part, 2, pairs[i].value);
        pb_put_bytes(&series, 1, buf_as_str(&part));
    }
    buf_reset(&part);
    pb_put_double(&part, 1, 1);
    pb_put_uint(&part, 2, (uint64_t)t_ms);
    pb_put_bytes(&series, 2, buf_as_str(&part));
    pb_put_bytes(request, 1, buf_as_str(&series));
    buf_finish(&series);
    buf_finish(&part);
}

static void put_line(struct buf *page, const struct pair *pairs, size_t count, int64_t t_ms) {
    buf_str(page, pairs[0].value);
    for (size_t i = 1; i < count; i++) {
        bool is_plain = label_name_is_valid_legacy(pairs[i].name);
        buf_printf(page, "%s%s%.*s%s=\"%.*s\"", i == 1 ? "{" : ",", is_plain ? "" : "\"",
                   STR_FMT(pairs[i].name), is_plain ? "" : "\"", STR_FMT(pairs[i].value));
    }
    buf_printf(page, "%s 1 %" PRId64 "\n", count > 1 ? "}" : "", t_ms);
}

/* One good sample and the given one, in one body. */
static void post(struct door_fixture *f,
                 bool is_write,
                 const struct pair *pairs,
                 size_t count,
                 int64_t t_ms) {
    const struct pair good[] = { { STR("__name__"), STR("good") } };
    door_advance(f, 1000);
    struct buf body;
    struct buf packed;
    buf_init(&body, SIZE_MAX);
    buf_init(&packed, SIZE_MAX);
    (is_write ? put_series : put_line)(&body, good, 1, door_now_ms(f));
    (is_write ? put_series : put_line)(&body, pairs, count, t_ms);
    if (is_write) {
        snappy_block_encode(buf_as_str(&body), &packed);
        struct ingest_body write = { .bytes = buf_as_str(&packed), .encoding = STR("snappy") };
        ingest_write(f->ingest, &write, door_done, f);
    } else {
        struct ingest_body import = { .bytes = buf_as_str(&body) };
        ingest_import(f->ingest, &import, door_done, f);
    }
    door_wait(f);
    buf_finish(&body);
    buf_finish(&packed);
}

static void assert_refused(struct door_fixture *f,
                           bool is_write,
                           double before,
                           const char *counter,
                           const char *reason) {
    double now = own_metric(f, "tocsin_ingest_refused_total", counter);
    if (f->err.code != ERR_INVALID || f->accepted != 1 || f->rejected != 1 || now != before + 1 ||
        strstr(f->json, reason) == NULL) {
        fail_msg("%s, %s: %g then %g: %s %s", is_write ? "write" : "import", reason, before, now,
                 f->err.msg, f->json);
    }
}

/* ---- times ---- */

static void times_out_of_range(void **state) {
    struct door_fixture *f = *state;

    static const struct {
        int64_t t_ms; /* from now on when is_relative */
        bool is_relative;
        const char *counter; /* NULL: it is taken */
    } cases[] = {
        { FUTURE + 2000, true, "too_new" },
        { 366 * 24 * HOUR_MS, true, "too_new" },
        { INT64_MAX, false, "too_new" },
        { INT64_MAX - 1, false, "too_new" },
        { -RETENTION - MINUTE_MS, true, "too_old" },
        { 1, false, "too_old" },
        { 0, false, "too_old" },
        { -1, false, "too_old" },
        { -1700000000000, false, "too_old" },
        { INT64_MIN, false, "too_old" },
        { INT64_MIN + 1, false, "too_old" },
        { FUTURE - MINUTE_MS, true, NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int is_write = 0; is_write < 2; is_write++) {
            char name[32];
            snprintf(name, sizeof(name), "t%zu_%d", i, is_write);
            struct pair pairs[] = { { STR("__name__"), str_from(name) }, { STR("job"), STR("j") } };
            const char *counter = cases[i].counter;
            double before = own_metric(f, "tocsin_ingest_refused_total", counter);
            int64_t t_ms = cases[i].t_ms + (cases[i].is_relative ? door_now_ms(f) : 0);
            post(f, is_write, pairs, ARRAY_LEN(pairs), t_ms);
            if (counter == NULL) {
                assert_int_equal(f->accepted, 2);
                continue;
            }
            assert_refused(f, is_write, before, counter, name);
            assert_string_equal(samples_of(f, name), "");
        }
    }
}

/* ---- labels ---- */

static void labels_that_are_not_allowed(void **state) {
    struct door_fixture *f = *state;
    static char long_value[LABEL_VALUE_BYTES_MAX + 1];
    static char long_name[LABEL_NAME_BYTES_MAX + 1];
    memset(long_value, 'v', sizeof(long_value));
    memset(long_name, 'n', sizeof(long_name));
    const struct str over_value = str_n(long_value, sizeof(long_value));
    const struct str over_name = str_n(long_name, sizeof(long_name));

    const struct {
        struct pair label;
        struct pair other;
        const char *reason;
    } cases[] = {
        { { STR("x"), STR("1") },
          { STR("x"), STR("2") },
          "label \\\"x\\\" is given more than once" },
        { { STR("x"), STR("1") },
          { STR("x"), STR("1") },
          "label \\\"x\\\" is given more than once" },
        { { STR(""), STR("1") }, { STR("x"), STR("2") }, "a label has an empty name" },
        { { STR("x"), STR("\xff\xfe") },
          { STR("y"), STR("2") },
          "value of label \\\"x\\\" is not valid UTF-8" },
        { { STR("x"), STR("\xed\xa0\x80") },
          { STR("y"), STR("2") },
          "value of label \\\"x\\\" is not valid UTF-8" },
        { { STR("\xc0\x80"), STR("1") }, { STR("y"), STR("2") }, "label name is not valid UTF-8" },
        { { STR("x"), over_value },
          { STR("y"), STR("2") },
          "value of label \\\"x\\\" has 4097 bytes, more than the limit of 4096" },
        { { over_name, STR("1") },
          { STR("y"), STR("2") },
          "of 257 bytes exceeds the limit of 256" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int is_write = 0; is_write < 2; is_write++) {
            const struct pair pairs[] = { { STR("__name__"), STR("bad") },
                                          cases[i].label,
                                          cases[i].other };
            double before = own_metric(f, "tocsin_ingest_refused_total", "bad_labels");
            post(f, is_write, pairs, ARRAY_LEN(pairs), door_now_ms(f));
            assert_refused(f, is_write, before, "bad_labels", cases[i].reason);
        }
    }
    assert_string_equal(samples_of(f, "bad"), "");
}

static void too_many_labels(void **state) {
    struct door_fixture *f = *state;
    struct pair pairs[LABELS_COUNT_MAX + 1];
    char names[LABELS_COUNT_MAX + 1][8];
    pairs[0] = (struct pair){ STR("__name__"), STR("wide") };
    for (size_t i = 1; i < ARRAY_LEN(pairs); i++) {
        snprintf(names[i], sizeof(names[i]), "l%02zu", i);
        pairs[i] = (struct pair){ str_from(names[i]), STR("1") };
    }
    for (int is_write = 0; is_write < 2; is_write++) {
        double before = own_metric(f, "tocsin_ingest_refused_total", "bad_labels");
        post(f, is_write, pairs, ARRAY_LEN(pairs), door_now_ms(f));
        assert_refused(f, is_write, before, "bad_labels",
                       "65 labels exceed the limit of 64 per series");
        post(f, is_write, pairs, ARRAY_LEN(pairs) - 1, door_now_ms(f));
        assert_int_equal(f->accepted, 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(times_out_of_range),
        TEST(labels_that_are_not_allowed),
        TEST(too_many_labels),
    };
    return cmocka_run_group_tests_name("ingest/bad_input", tests, NULL, NULL);
}
