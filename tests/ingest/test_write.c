/*
 * Goal: remote write bodies become samples, bad parts are named and the rest is kept, malformed
 * bodies change nothing. Method: bodies written field by field, broken at every byte, read back
 * from the store.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/compress.h"
#include "base/pb.h"
#include "tests/ingest/fixture.h"

static int setup(void **state) {
    static struct door_fixture fixture;
    door_init(&fixture);
    fixture.store.options.future_ms_max = 600000;
    door_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    door_finish(*state);
    return 0;
}

/* ---- writing bodies ---- */

struct body {
    struct buf request;
    struct buf series;
    struct buf part;
};

static void body_init(struct body *body) {
    buf_init(&body->request, SIZE_MAX);
    buf_init(&body->series, SIZE_MAX);
    buf_init(&body->part, SIZE_MAX);
}

static void body_finish(struct body *body) {
    buf_finish(&body->request);
    buf_finish(&body->series);
    buf_finish(&body->part);
}

static void put_part(struct body *body, struct buf *to, uint32_t number) {
    pb_put_bytes(to, number, buf_as_str(&body->part));
    buf_reset(&body->part);
}

static void put_label(struct body *body, struct str name, struct str value) {
    pb_put_bytes(&body->part, 1, name);
    pb_put_bytes(&body->part, 2, value);
    put_part(body, &body->series, 1);
}

static void add_sample(struct body *body, int64_t t_ms, double value) {
    pb_put_double(&body->part, 1, value);
    pb_put_uint(&body->part, 2, (uint64_t)t_ms);
    put_part(body, &body->series, 2);
}

static void end_series(struct body *body) {
    pb_put_bytes(&body->request, 1, buf_as_str(&body->series));
    buf_reset(&body->series);
}

static void put_metadata(struct body *body, uint64_t type, const char *family, const char *help) {
    pb_put_uint(&body->part, 1, type);
    pb_put_bytes(&body->part, 2, str_from(family));
    pb_put_bytes(&body->part, 4, str_from(help));
    pb_put_bytes(&body->part, 5, STR("seconds"));
    put_part(body, &body->request, 3);
}

/* name{job="j"} with one sample. */
static void put_simple(struct body *body, const char *name, int64_t t_ms, double value) {
    put_label(body, STR("__name__"), str_from(name));
    put_label(body, STR("job"), STR("j"));
    add_sample(body, t_ms, value);
    end_series(body);
}

static void post_bytes(struct door_fixture *f, struct str bytes) {
    struct buf packed;
    buf_init(&packed, SIZE_MAX);
    snappy_block_encode(bytes, &packed);
    struct ingest_body body = { .bytes = buf_as_str(&packed), .encoding = STR("snappy") };
    ingest_write(f->ingest, &body, door_done, f);
    door_wait(f);
    buf_finish(&packed);
}

static void post(struct door_fixture *f, struct body *body) {
    post_bytes(f, buf_as_str(&body->request));
    buf_reset(&body->request);
}

#define T0 FIXTURE_NOW_MS

/* ---- samples ---- */

static void test_samples_are_stored(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    put_simple(&body, "a", T0 - 2000, 1);
    put_label(&body, STR("__name__"), STR("b"));
    add_sample(&body, T0 - 3000, 1.5);
    add_sample(&body, T0 - 2000, double_from_bits(STALE_NAN_BITS));
    add_sample(&body, T0 - 1000, -0.0);
    end_series(&body);
    post(f, &body);
    assert_int_equal(f->err.code, ERR_NONE);
    assert_int_equal(f->accepted, 4);
    assert_string_equal(samples_of(f, "a"), "a{job=\"j\"} -2:1\n");
    assert_string_equal(samples_of(f, "b"), "b -3:1.5 -2:stale -1:-0\n");
    /* Again, as after a lost reply; then on. */
    put_simple(&body, "a", T0 - 2000, 1);
    put_simple(&body, "a", T0 - 1000, 2);
    post(f, &body);
    assert_int_equal(f->err.code, ERR_NONE);
    assert_int_equal(f->accepted, 1);
    assert_int_equal(f->duplicates, 1);
    body_finish(&body);
}

static void test_label_order_and_unknown_fields_do_not_matter(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    /* Sorted, unsorted, and with the sample between the labels: one series. */
    put_simple(&body, "a", T0 - 3000, 1);
    put_label(&body, STR("job"), STR("j"));
    put_label(&body, STR("empty"), STR(""));
    put_label(&body, STR("__name__"), STR("a"));
    add_sample(&body, T0 - 2000, 2);
    pb_put_uint(&body.series, 99, 7);
    end_series(&body);
    put_label(&body, STR("__name__"), STR("a"));
    add_sample(&body, T0 - 1000, 3);
    put_label(&body, STR("job"), STR("j"));
    end_series(&body);
    pb_put_bytes(&body.request, 2, STR("reserved"));
    pb_put_uint(&body.request, 77, 1);
    post(f, &body);
    assert_int_equal(f->accepted, 3);
    assert_string_equal(samples_of(f, "a"), "a{job=\"j\"} -3:1 -2:2 -1:3\n");
    body_finish(&body);
}

static void test_absent_fields_are_zero(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    put_label(&body, STR("__name__"), STR("a"));
    pb_put_uint(&body.part, 2, (uint64_t)T0);
    put_part(&body, &body.series, 2);
    end_series(&body);
    post(f, &body);
    assert_string_equal(samples_of(f, "a"), "a 0:0\n");
    body_finish(&body);
}

static void test_metadata_comes_alone(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    put_metadata(&body, 3, "a_seconds", "What it is.");
    put_metadata(&body, 99, "b_seconds", "Of a type to come.");
    put_metadata(&body, 1, "\xff", "Not text.");
    post(f, &body);
    assert_int_equal(f->err.code, ERR_NONE);
    body_finish(&body);
}

static void collect_family(void *ctx, struct str family, const struct family_metadata *metadata) {
    buf_printf(ctx, "%.*s %s \"%.*s\" %.*s\n", STR_FMT(family),
               family_type_to_string(metadata->type), STR_FMT(metadata->help),
               STR_FMT(metadata->unit));
}

static void test_metadata_is_stored(void **state) {
    struct door_fixture *f = *state;
    test_metadata_comes_alone(state);
    struct buf out;
    buf_init(&out, 4096);
    tsdb_metadata(f->store.db, STR(""), collect_family, &out);
    assert_string_equal(out.ptr, "a_seconds histogram \"What it is.\" seconds\n"
                                 "b_seconds unknown \"Of a type to come.\" seconds\n");
    buf_finish(&out);
}

/* ---- refusals ---- */

static void test_refused_samples_are_named_and_the_rest_is_kept(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    put_simple(&body, "a", T0 - 1000, 1);
    post(f, &body);
    put_simple(&body, "a", T0 - 1000, 2);   /* conflict */
    put_simple(&body, "b", T0 - 1000, 1);   /* fine */
    put_simple(&body, "c", T0 + 600001, 1); /* future */
    post(f, &body);
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_int_equal(f->accepted, 1);
    assert_int_equal(f->rejected, 2);
    assert_non_null(strstr(f->err.msg, "2 of 3 samples were refused"));
    assert_non_null(strstr(f->json, "a{job=\\\"j\\\"}"));
    assert_non_null(strstr(f->json, "c{job=\\\"j\\\"}"));
    assert_string_equal(samples_of(f, "a"), "a{job=\"j\"} -1:1\n");
    assert_string_equal(samples_of(f, "b"), "b{job=\"j\"} -1:1\n");
    assert_string_equal(samples_of(f, "c"), "");
    assert_true(own_metric(f, "tocsin_ingest_refused_total", "conflict") == 1);
    assert_true(own_metric(f, "tocsin_ingest_refused_total", "too_new") == 1);
    body_finish(&body);
}

static void test_out_of_order_names_the_series_and_its_offset(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    put_simple(&body, "a", T0 - 1000, 1);
    post(f, &body);
    put_label(&body, STR("__name__"), STR("a"));
    put_label(&body, STR("job"), STR("j"));
    add_sample(&body, T0 - 2 * 3600000, 1);
    add_sample(&body, T0 - 3601001, 1);
    add_sample(&body, T0, 2);
    end_series(&body);
    post(f, &body);
    assert_int_equal(f->rejected, 2);
    assert_int_equal(f->accepted, 1);
    assert_non_null(strstr(f->json, "{\"offset\":2,\"reason\":\"out of order sample: a{"));
    body_finish(&body);
}

static void test_bad_labels(void **state) {
    struct door_fixture *f = *state;

    const struct {
        struct str names[2];
        struct str values[2];
        const char *reason;
    } cases[] = {
        { { STR("a"), STR("b") }, { STR("1"), STR("2") }, "no __name__" },
        { { STR("__name__"), STR("") }, { STR("m"), STR("2") }, "empty" },
        { { STR("__name__"), STR("__name__") }, { STR("m"), STR("m") }, "__name__" },
        { { STR("__name__"), STR("x") }, { STR("m"), STR("\xff") }, "UTF-8" },
        { { STR("__name__"), STR("\xc0\x80") }, { STR("m"), STR("1") }, "UTF-8" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct body body;
        body_init(&body);
        put_simple(&body, "good", T0 + (int64_t)i, 1);
        for (size_t k = 0; k < 2; k++) {
            put_label(&body, cases[i].names[k], cases[i].values[k]);
        }
        add_sample(&body, T0, 1);
        end_series(&body);
        post(f, &body);
        if (f->accepted != 1 || f->rejected != 1 || f->err.code != ERR_INVALID ||
            strstr(f->json, cases[i].reason) == NULL) {
            fail_msg("case %zu: %s", i, f->json);
        }
        body_finish(&body);
    }
}

static void post_wide(struct door_fixture *f, size_t labels, size_t name_len, size_t value_len) {
    struct body body;
    body_init(&body);
    char *text = malloc(value_len + name_len + 1);
    assert_non_null(text);
    memset(text, 'v', value_len + name_len + 1);
    put_label(&body, STR("__name__"), STR("m"));
    for (size_t i = 1; i < labels; i++) {
        char name[32];
        int len = snprintf(name, sizeof(name), "l%03zu", i);
        bool is_first = i == 1;
        put_label(&body, is_first ? str_n(text, name_len) : str_n(name, (size_t)len),
                  str_n(text, is_first ? value_len : 1));
    }
    add_sample(&body, T0, 1);
    end_series(&body);
    post(f, &body);
    free(text);
    body_finish(&body);
}

static void test_label_caps(void **state) {
    struct door_fixture *f = *state;
    post_wide(f, LABELS_COUNT_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX);
    assert_int_equal(f->accepted, 1);
    post_wide(f, LABELS_COUNT_MAX + 1, 5, 5);
    assert_int_equal(f->rejected, 1);
    post_wide(f, 10 * LABELS_COUNT_MAX, 5, 5);
    assert_int_equal(f->rejected, 1);
    post_wide(f, 3, LABEL_NAME_BYTES_MAX + 1, 5);
    assert_int_equal(f->rejected, 1);
    post_wide(f, 3, 5, LABEL_VALUE_BYTES_MAX + 1);
    assert_int_equal(f->rejected, 1);
    post_wide(f, 3, 5, 1 << 20);
    assert_int_equal(f->rejected, 1);
}

static void test_histograms_are_refused_exemplars_left_out(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    put_label(&body, STR("__name__"), STR("h"));
    pb_put_uint(&body.part, 1, 5);
    put_part(&body, &body.series, 4);
    end_series(&body);
    put_label(&body, STR("__name__"), STR("a"));
    add_sample(&body, T0, 1);
    pb_put_double(&body.part, 2, 0.5);
    put_part(&body, &body.series, 3);
    end_series(&body);
    post(f, &body);
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_int_equal(f->accepted, 1);
    assert_int_equal(f->rejected, 1);
    assert_non_null(strstr(f->json, "native histograms are not taken"));
    assert_true(own_metric(f, "tocsin_ingest_refused_total", "histogram") == 1);
    assert_true(own_metric(f, "tocsin_ingest_refused_total", "exemplar") == 1);
    body_finish(&body);
}

static void test_series_cap_lets_known_series_pass(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    door_close(f);
    f->store.options.series_max = 2;
    door_open(f);
    put_simple(&body, "a", T0 - 1000, 1);
    put_simple(&body, "b", T0 - 1000, 1);
    post(f, &body);
    assert_int_equal(f->accepted, 2);
    put_simple(&body, "a", T0, 1);
    put_simple(&body, "c", T0, 1);
    put_simple(&body, "b", T0, 1);
    post(f, &body);
    assert_int_equal(f->err.code, ERR_THROTTLED);
    assert_int_equal(f->accepted, 2);
    assert_int_equal(f->rejected, 1);
    assert_true(own_metric(f, "tocsin_ingest_refused_total", "series_limit") == 1);
    body_finish(&body);
}

/* The offender is named; other metrics, and what it has already, go on. */
static void test_series_cap_of_a_metric(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    door_close(f);
    f->store.options.series_per_metric_max = 1;
    door_open(f);
    put_simple(&body, "greedy", T0 - 1000, 1);
    post(f, &body);
    assert_int_equal(f->accepted, 1);
    put_label(&body, STR("__name__"), STR("greedy"));
    put_label(&body, STR("job"), STR("another"));
    add_sample(&body, T0, 1);
    end_series(&body);
    put_simple(&body, "greedy", T0, 1);
    put_simple(&body, "modest", T0, 1);
    post(f, &body);
    assert_int_equal(f->err.code, ERR_THROTTLED);
    assert_non_null(strstr(f->err.msg, "1 active series of one metric is reached by greedy"));
    assert_int_equal(f->accepted, 2);
    assert_int_equal(f->rejected, 1);
    assert_true(own_metric(f, "tocsin_ingest_refused_total", "series_limit") == 1);
    body_finish(&body);
}

/* ---- malformed ---- */

static void test_a_body_cut_anywhere_changes_nothing(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    put_simple(&body, "cut", T0, 1);
    size_t whole_len = body.request.len; /* a cut here leaves a sound body */
    put_metadata(&body, 1, "cut", "help");
    size_t with_metadata_len = body.request.len;
    put_label(&body, STR("__name__"), STR("cut2"));
    add_sample(&body, T0, 2);
    end_series(&body);
    for (size_t len = 1; len < body.request.len; len++) {
        if (len == whole_len || len == with_metadata_len) {
            continue;
        }
        post_bytes(f, str_n(body.request.ptr, len));
        if (f->err.code != ERR_INVALID || strstr(f->err.msg, "at byte ") == NULL) {
            fail_msg("cut at %zu: %d %s", len, (int)f->err.code, f->err.msg);
        }
        assert_int_equal(f->accepted, 0);
    }
    assert_string_equal(samples_of(f, "cut"), "");
    post_bytes(f, str_n(body.request.ptr, body.request.len));
    assert_int_equal(f->accepted, 2);
    body_finish(&body);
}

static void test_wrong_wire_types_have_an_offset(void **state) {
    struct door_fixture *f = *state;

    const struct {
        struct str bytes;
        const char *message;
    } cases[] = {
        { STR("\x08\x01"), "malformed protobuf in WriteRequest at byte 0 of 2" },
        { STR("\x0a\x02\x08\x01"), "malformed protobuf in TimeSeries at byte 2 of 4" },
        { STR("\x0a\x04\x0a\x02\x08\x01"), "malformed protobuf in Label at byte 4 of 6" },
        { STR("\x0a\x04\x12\x02\x08\x01"), "malformed protobuf in Sample at byte 4 of 6" },
        { STR("\x1a\x02\x10\x01"), "malformed protobuf in MetricMetadata at byte 2 of 4" },
        { STR("\x0b"), "malformed protobuf in WriteRequest" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        post_bytes(f, cases[i].bytes);
        assert_int_equal(f->err.code, ERR_INVALID);
        if (strstr(f->err.msg, cases[i].message) == NULL) {
            fail_msg("case %zu: %s", i, f->err.msg);
        }
    }
}

static void test_bad_snappy_and_bombs(void **state) {
    struct door_fixture *f = *state;

    const struct {
        struct str bytes;
        enum err_code code;
    } cases[] = {
        { STR(""), ERR_INVALID },
        { STR("\xff\xff\xff\xff\x0f"), ERR_LIMIT },
        { STR("\x05\x00"), ERR_INVALID },
        { STR("plain text"), ERR_INVALID },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ingest_body body = { .bytes = cases[i].bytes };
        ingest_write(f->ingest, &body, door_done, f);
        door_wait(f);
        if (f->err.code != cases[i].code) {
            fail_msg("case %zu: %d %s", i, (int)f->err.code, f->err.msg);
        }
    }
}

static void test_samples_per_body_cap(void **state) {
    struct door_fixture *f = *state;
    struct body body;
    body_init(&body);
    put_label(&body, STR("__name__"), STR("a"));
    for (int64_t i = 0; i < INGEST_SAMPLES_PER_BODY_MAX; i++) {
        add_sample(&body, T0 - 1000000 + i, 1);
    }
    size_t len = body.series.len;
    add_sample(&body, T0, 1);
    pb_put_bytes(&body.request, 1, buf_as_str(&body.series));
    post(f, &body);
    assert_int_equal(f->err.code, ERR_LIMIT);
    assert_int_equal(f->accepted, 0);
    pb_put_bytes(&body.request, 1, str_n(body.series.ptr, len));
    post(f, &body);
    assert_int_equal(f->accepted, INGEST_SAMPLES_PER_BODY_MAX);
    body_finish(&body);
}

/* ---- media types ---- */

static void test_media_types(void **state) {
    (void)state;

    const struct {
        struct str type;
        struct str encoding;
        bool is_supported;
    } cases[] = {
        { STR(""), STR(""), true },
        { STR("application/x-protobuf"), STR("snappy"), true },
        { STR("application/x-protobuf; proto=prometheus.WriteRequest"), STR("snappy"), true },
        { STR("application/x-protobuf;proto=prometheus.WriteRequest"), STR("Snappy"), true },
        { STR("application/x-protobuf;proto=io.prometheus.write.v2.Request"), STR("snappy"),
          false },
        { STR("application/json"), STR("snappy"), false },
        { STR("application/x-protobuf"), STR("gzip"), false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        if (ingest_write_is_supported(cases[i].type, cases[i].encoding, &err) !=
            cases[i].is_supported) {
            fail_msg("case %zu", i);
        }
        assert_int_equal(err.code != ERR_NONE, !cases[i].is_supported);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_samples_are_stored),
        TEST(test_label_order_and_unknown_fields_do_not_matter),
        TEST(test_absent_fields_are_zero),
        TEST(test_metadata_is_stored),
        TEST(test_refused_samples_are_named_and_the_rest_is_kept),
        TEST(test_out_of_order_names_the_series_and_its_offset),
        TEST(test_bad_labels),
        TEST(test_label_caps),
        TEST(test_histograms_are_refused_exemplars_left_out),
        TEST(test_series_cap_lets_known_series_pass),
        TEST(test_series_cap_of_a_metric),
        TEST(test_a_body_cut_anywhere_changes_nothing),
        TEST(test_wrong_wire_types_have_an_offset),
        TEST(test_bad_snappy_and_bombs),
        TEST(test_samples_per_body_cap),
        TEST(test_media_types),
    };
    return cmocka_run_group_tests_name("ingest/write", tests, NULL, NULL);
}
