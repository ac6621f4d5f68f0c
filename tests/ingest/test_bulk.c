/*
 * Goal: files of samples are handed out exactly, every bit of every double survives lines of JSON,
 * and what is malformed is named by its line. Method: random bit patterns out and in again (the
 * seed is printed), hand-written files, one fault per case.
 */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "ingest/ingest.h"
#include "tests/unit.h"

#define ROWS_MAX 4096

struct taken {
    int64_t t_ms[ROWS_MAX];
    uint64_t bits[ROWS_MAX];
    uint64_t lines[ROWS_MAX];
    bool is_same[ROWS_MAX];
    size_t count;
    struct buf labels;
};

static bool take(void *ctx, const struct ingest_rows *rows, struct err *err) {
    struct taken *taken = ctx;
    for (size_t i = 0; i < rows->count; i++) {
        assert_true(taken->count < ROWS_MAX);
        taken->t_ms[taken->count] = rows->t_ms[i];
        taken->bits[taken->count] = double_bits(rows->values[i]);
        taken->lines[taken->count] = rows->line;
        taken->is_same[taken->count++] = rows->is_same_series;
    }
    buf_reset(&taken->labels);
    labels_print(rows->labels, &taken->labels);
    return true;
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void jsonl_keeps_every_bit(void **state) {
    static const uint64_t corners[] = {
        STALE_NAN_BITS,     NORMAL_NAN_BITS,    0x8000000000000000, /* -0 */
        0x0000000000000001, 0x000fffffffffffff, 0x7fefffffffffffff, 0x7ff0000000000000,
        0xfff0000000000000, 0xffffffffffffffff, 0x7ff8000000000000, 0x4340000000000000, /* 2^53 */
        0x43e0000000000000,                                                             /* 2^63 */
        0xc3e0000000000000, 0x43f0000000000000,                                         /* 2^64 */
        0x412e848000000000,                                                             /* 1e6 */
    };
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15) ^ (uint64_t)(uintptr_t)&seed;
    printf("# seed %llx\n", (unsigned long long)seed);
    struct label items[] = {
        { STR("__name__"), STR("m") },
        { STR("a"), STR("quote \" slash \\ line \n \xc3\xbc") },
    };
    double values[ROWS_MAX];
    int64_t times[ROWS_MAX];
    for (size_t i = 0; i < ROWS_MAX; i++) {
        uint64_t bits = i < ARRAY_LEN(corners) ? corners[i] : next_random(&seed);
        bool is_whole = i % 7 == 0 && i >= ARRAY_LEN(corners);
        values[i] = is_whole ? (double)(int32_t)bits : double_from_bits(bits);
        times[i] = (int64_t)(next_random(&seed) >> (i % 64));
    }
    times[0] = INT64_MIN;
    times[1] = INT64_MAX;
    struct ingest_rows rows = {
        .labels = { items, ARRAY_LEN(items) }, .t_ms = times, .values = values, .count = ROWS_MAX
    };
    struct buf text;
    buf_init(&text, SIZE_MAX);
    ingest_put_jsonl(&rows, &text);
    struct taken *taken = mem_calloc(1, sizeof(*taken));
    buf_init(&taken->labels, SIZE_MAX);
    struct err err = ERR_INIT;
    bool is_ok = ingest_read_file(INGEST_FILE_JSONL, "f", buf_as_str(&text), take, taken, &err);
    assert_string_equal(err.msg, "");
    assert_true(is_ok);
    assert_int_equal(taken->count, ROWS_MAX);
    for (size_t i = 0; i < ROWS_MAX; i++) {
        assert_true(taken->t_ms[i] == times[i]);
        assert_true(taken->bits[i] == double_bits(values[i]));
    }
    assert_string_equal(taken->labels.ptr, "m{a=\"quote \\\" slash \\\\ line \\n \xc3\xbc\"}");
    buf_finish(&taken->labels);
    buf_finish(&text);
    mem_free(taken);
}

static void pages_are_handed_out_line_by_line(void **state) {
    struct taken *taken = mem_calloc(1, sizeof(*taken));
    buf_init(&taken->labels, SIZE_MAX);
    struct err err = ERR_INIT;
    struct str page = STR("# TYPE m gauge\n"
                          "m{a=\"1\"} 1 1.5\n"
                          "m{a=\"1\"} NaN 2.001\n"
                          "m{a=\"2\"} -0 -3\n"
                          "# EOF\n");
    assert_true(ingest_read_file(INGEST_FILE_OPENMETRICS, "f", page, take, taken, &err));
    assert_int_equal(taken->count, 3);
    assert_int_equal(taken->lines[0], 2);
    assert_int_equal(taken->t_ms[1], 2001);
    assert_true(taken->bits[1] == NORMAL_NAN_BITS);
    assert_true(!taken->is_same[0] && taken->is_same[1] && !taken->is_same[2]);
    assert_int_equal(taken->t_ms[2], -3000);
    assert_true(taken->bits[2] == double_bits(-0.0));
    buf_finish(&taken->labels);
    mem_free(taken);
}

static void faults_are_named_by_their_line(void **state) {
    static const struct {
        enum ingest_file_format format;
        const char *text;
        const char *message; /* how it begins */
        size_t count;        /* samples before it */
    } cases[] = {
        { INGEST_FILE_OPENMETRICS, "m 1 1\nm 1\n# EOF\n", "f:2: the sample has no timestamp", 1 },
        { INGEST_FILE_OPENMETRICS, "m 1 1\n", "f:2:1: expected \"# EOF\"", 1 },
        { INGEST_FILE_OPENMETRICS, "m 1 1\nm{a=1} 2 2\n", "f:2:5: expected ", 1 },
        { INGEST_FILE_TEXT, "m 1 1\n\nm x 2\n", "f:3:3: expected a value", 1 },
        { INGEST_FILE_JSONL, "{}\n", "f:1: expected \"metric\"", 0 },
        { INGEST_FILE_JSONL, "\n[]\n", "f:2: expected an object", 0 },
        { INGEST_FILE_JSONL, "{\"metric\":{\"a\":1},\"values\":[1],\"timestamps\":[1]}",
          "f:1: the value of label \"a\"", 0 },
        { INGEST_FILE_JSONL, "{\"metric\":{\"a\":\"b\"},\"values\":[1,2],\"timestamps\":[1]}",
          "f:1: expected \"values\" and \"timestamps\"", 0 },
        { INGEST_FILE_JSONL, "{\"metric\":{\"a\":\"b\"},\"values\":[true],\"timestamps\":[1]}",
          "f:1: value 0 is not", 0 },
        { INGEST_FILE_JSONL, "{\"metric\":{\"a\":\"b\"},\"values\":[1],\"timestamps\":[1.5]}",
          "f:1: timestamp 0 is not", 0 },
        { INGEST_FILE_JSONL,
          "{\"metric\":{\"a\":\"b\"},\"values\":[1],\"timestamps\":[1],"
          "\"nans\":[[1,\"7ff0000000000002\"]]}",
          "f:1: entry 0 of \"nans\"", 0 },
        { INGEST_FILE_JSONL,
          "{\"metric\":{\"a\":\"b\"},\"values\":[1],\"timestamps\":[1],"
          "\"nans\":[[0,\"3ff0000000000000\"]]}",
          "f:1: entry 0 of \"nans\"", 0 },
        { INGEST_FILE_JSONL,
          "{\"metric\":{\"a\":\"b\"},\"values\":[1],\"timestamps\":[1]}\n{\"metric\"\n",
          "f:2: ", 1 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct taken *taken = mem_calloc(1, sizeof(*taken));
        buf_init(&taken->labels, SIZE_MAX);
        struct err err = ERR_INIT;
        assert_false(
            ingest_read_file(cases[i].format, "f", str_from(cases[i].text), take, taken, &err));
        if (!str_starts_with(str_from(err.msg), str_from(cases[i].message))) {
            print_message("case %zu: %s\n", i, err.msg);
            fail();
        }
        assert_int_equal(taken->count, cases[i].count);
        buf_finish(&taken->labels);
        mem_free(taken);
    }
}

static void spellings_of_others_are_read(void **state) {
    struct taken *taken = mem_calloc(1, sizeof(*taken));
    buf_init(&taken->labels, SIZE_MAX);
    struct err err = ERR_INIT;
    struct str line = STR("{\"metric\":{\"__name__\":\"m\"},\"values\":[\"inf\",\"-Inf\",\"nan\","
                          "\"null\",null,5],\"timestamps\":[1,2,3,4,5,6]}\r\n");
    assert_true(ingest_read_file(INGEST_FILE_JSONL, "f", line, take, taken, &err));
    assert_int_equal(taken->count, 6);
    assert_true(taken->bits[0] == double_bits((double)INFINITY));
    assert_true(taken->bits[1] == double_bits(-(double)INFINITY));
    assert_true(taken->bits[2] == NORMAL_NAN_BITS && taken->bits[3] == NORMAL_NAN_BITS);
    assert_true(taken->bits[4] == NORMAL_NAN_BITS);
    buf_finish(&taken->labels);
    mem_free(taken);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jsonl_keeps_every_bit),
        cmocka_unit_test(pages_are_handed_out_line_by_line),
        cmocka_unit_test(faults_are_named_by_their_line),
        cmocka_unit_test(spellings_of_others_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
