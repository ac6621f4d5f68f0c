/*
 * Goal: every kind of bad line is refused with its place and a reason in the sender's terms, the
 * good lines around it are kept, and caps hold at the limit and one past it. Method: tables of
 * lines and bodies.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/compress.h"
#include "tests/ingest/fixture.h"

static int setup(void **state) {
    static struct door_fixture fixture;
    door_init(&fixture);
    door_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    door_finish(*state);
    return 0;
}

#define GOOD_WITH(more) "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"d\"," more "}"
#define GOOD            GOOD_WITH("\"ts\":1700000000000")

static const struct {
    const char *line;
    const char *reason; /* part of it */
    const char *metric; /* reason label */
} bad_lines[] = {
    { "{", "JSON", "malformed" },
    { "[1]", "one JSON object, not a list", "malformed" },
    { "7", "one JSON object, not a number", "malformed" },
    { "{} {}", "", "malformed" },
    { "{\"kind\":\"request\"", "", "malformed" },
    { "{}", "needs kind", "unknown_kind" },
    { "{\"kind\":7}", "needs kind", "unknown_kind" },
    { "{\"kind\":\"requets\"}", "did you mean \"request\"", "unknown_kind" },
    { "{\"kind\":\"beat\"}", "needs app", "bad_field" },
    { "{\"kind\":\"beat\",\"app\":\"\"}", "app must be letters", "bad_field" },
    { "{\"kind\":\"beat\",\"app\":\"a-b\"}", "app must be letters", "bad_field" },
    { "{\"kind\":\"beat\",\"app\":\"9a\"}", "app must be letters", "bad_field" },
    { "{\"kind\":\"beat\",\"app\":[]}", "app must be a string, not a list", "bad_field" },
    { "{\"kind\":\"beat\",\"app\":\"a\",\"worker\":{}}", "worker must be a string", "bad_field" },
    { "{\"kind\":\"beat\",\"app\":\"a\",\"job\":\"x\\u0000\"}", "job contains a NUL", "bad_field" },
    { "{\"kind\":\"beat\",\"app\":\"a\",\"interval_s\":0}", "interval_s", "bad_field" },
    { "{\"kind\":\"beat\",\"app\":\"a\",\"interval_s\":604801}", "interval_s", "bad_field" },
    { "{\"kind\":\"beat\",\"app\":\"a\",\"goodbye\":1}", "goodbye must be true or false",
      "bad_field" },
    { "{\"kind\":\"request\",\"app\":\"a\"}", "needs method", "bad_field" },
    { "{\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\"}", "needs route", "bad_field" },
    { "{\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\",\"route\":\"/\"}", "needs status",
      "bad_field" },
    { "{\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\",\"route\":\"/\",\"status\":600}",
      "status must be an HTTP status", "bad_field" },
    { "{\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\",\"route\":\"/\",\"status\":\"OK\"}",
      "status must be an HTTP status", "bad_field" },
    { "{\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\",\"route\":\"/\",\"status\":200,"
      "\"duration_ms\":-1}",
      "duration_ms must be between", "bad_field" },
    { "{\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\",\"route\":\"/\",\"status\":200,"
      "\"duration_ms\":\"7\"}",
      "duration_ms must be a number, not a string", "bad_field" },
    { "{\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\",\"route\":\"/\",\"status\":200,"
      "\"duration_ms\":NaN}",
      "", "malformed" },
    { "{\"kind\":\"llm\",\"app\":\"a\",\"model\":\"m\"}", "needs provider", "bad_field" },
    { "{\"kind\":\"llm\",\"app\":\"a\",\"provider\":\"p\",\"model\":null}", "needs model",
      "bad_field" },
    { "{\"kind\":\"llm\",\"app\":\"a\",\"provider\":\"p\",\"model\":\"m\",\"cost_usd\":1e16}",
      "cost_usd must be between", "bad_field" },
    { "{\"kind\":\"begin\",\"app\":\"a\",\"of\":\"day\"}", "of must be request, llm", "bad_field" },
    { "{\"kind\":\"begin\",\"app\":\"a\",\"of\":\"llm\"}", "needs provider and model",
      "bad_field" },
    { GOOD_WITH("\"n\":0"), "n must be a whole number", "bad_field" },
    { GOOD_WITH("\"n\":1.5"), "n must be a whole number", "bad_field" },
    { GOOD_WITH("\"n\":1000001"), "n must be a whole number", "bad_field" },
    { GOOD_WITH("\"labels\":[]"), "labels must be an object", "bad_field" },
    { GOOD_WITH("\"ts\":\"now\""), "ts must be Unix time in milliseconds", "bad_field" },
    { GOOD_WITH("\"ts\":1700000000"), "ts is in milliseconds", "too_old" },
    { GOOD_WITH("\"ts\":1699996399000"), "3601 s in the past, at most 3600 s", "too_old" },
    { GOOD_WITH("\"ts\":1700000600001"), "ahead of the server's clock", "too_new" },
};

/* Quotes as they stand inside a JSON string. */
static void as_json(const char *text, char out[256]) {
    size_t len = 0;
    for (; *text != '\0' && len < 250; text++) {
        if (*text == '"') {
            out[len++] = '\\';
        }
        out[len++] = *text;
    }
    out[len] = '\0';
}

static void test_bad_lines_are_named_and_good_ones_kept(void **state) {
    struct door_fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(bad_lines); i++) {
        char body[4096];
        snprintf(body, sizeof(body),
                 "{\"id\":\"%zu\",\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"d\"}\n\n%s\r\n"
                 "{\"id\":\"x%zu\",\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"d\"}",
                 i, bad_lines[i].line, i);
        double before = own_metric(f, "tocsin_ingest_refused_total", bad_lines[i].metric);
        post_events(f, body);
        char reason[256];
        as_json(bad_lines[i].reason, reason);
        if (f->accepted != 2 || f->rejected != 1 || strstr(f->json, "{\"line\":3,") == NULL ||
            strstr(f->json, reason) == NULL) {
            fail_msg("%s: %s", bad_lines[i].line, f->json);
        }
        assert_int_equal(f->err.code, ERR_NONE);
        double after = own_metric(f, "tocsin_ingest_refused_total", bad_lines[i].metric);
        if (after != before + 1) {
            fail_msg("%s: not counted as %s", bad_lines[i].line, bad_lines[i].metric);
        }
    }
    door_run(f, 5000);
    char expected[128];
    snprintf(expected, sizeof(expected),
             "a_dependency_calls_total{dependency=\"d\",job=\"a\",outcome=\"ok\"} %zu\n",
             2 * ARRAY_LEN(bad_lines));
    assert_string_equal(newest_of(f, "a_dependency_calls_total"), expected);
}

static void test_nothing_accepted_is_an_error(void **state) {
    struct door_fixture *f = *state;
    post_events(f, "{\n7\n");
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_int_equal(f->rejected, 2);
    assert_non_null(strstr(f->err.msg, "line 1"));
    assert_non_null(strstr(f->json, "\"error\":"));
}

static void test_empty_bodies_are_fine(void **state) {
    struct door_fixture *f = *state;
    static const char *const bodies[] = { "", "\n", "\r\n\n  \n" };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        post_events(f, bodies[i]);
        assert_int_equal(f->err.code, ERR_NONE);
        assert_string_equal(f->json, "{\"accepted\":0,\"duplicate\":0,\"rejected\":[]}");
    }
}

static void test_texts_may_be_whole_numbers_and_fields_null(void **state) {
    struct door_fixture *f = *state;
    post_events(
        f, "{\"id\":12,\"kind\":\"request\",\"app\":\"a\",\"method\":\"brew\",\"endpoint\":\"/x\","
           "\"status\":\"404\",\"ttfb_ms\":null,\"unknown\":{\"deep\":[1,2]}}\n");
    assert_int_equal(f->accepted, 1);
    post_events(
        f, "{\"id\":\"12\",\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\",\"route\":\"/x\","
           "\"status\":200}\n");
    assert_int_equal(f->duplicates, 1);
    door_run(f, 5000);
    assert_string_equal(
        newest_of(f, "a_requests_total"),
        "a_requests_total{endpoint=\"/x\",job=\"a\",method=\"OTHER\",status=\"404\"} 1\n");
}

/* ---- caps ---- */

/* A line of exactly `len` bytes. */
static char *padded_line(size_t len) {
    static const char head[] =
        "{\"id\":\"p\",\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"d\",\"pad\":\"";
    char *line = malloc(len + 2);
    assert_non_null(line);
    memset(line, 'x', len);
    memcpy(line, head, sizeof(head) - 1);
    memcpy(line + len - 2, "\"}", 2);
    line[len] = '\n';
    line[len + 1] = '\0';
    return line;
}

static void test_line_cap(void **state) {
    struct door_fixture *f = *state;
    char *line = padded_line(INGEST_EVENT_LINE_BYTES_MAX);
    post_events(f, line);
    assert_int_equal(f->accepted, 1);
    free(line);
    line = padded_line(INGEST_EVENT_LINE_BYTES_MAX + 1);
    post_events(f, line);
    assert_int_equal(f->rejected, 1);
    assert_non_null(strstr(f->json, "65537 bytes long"));
    free(line);
}

static void test_text_caps(void **state) {
    struct door_fixture *f = *state;

    static const struct {
        const char *field;
        size_t max;
    } cases[] = {
        { "name", INGEST_EVENT_LABEL_BYTES_MAX },
        { "worker", INGEST_ID_BYTES_MAX },
        { "job", INGEST_ID_BYTES_MAX },
        { "id", INGEST_ID_BYTES_MAX },
        { "app", 64 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t over = 0; over < 2; over++) {
            char text[1024];
            memset(text, 'y', sizeof(text));
            text[cases[i].max + over] = '\0';
            char line[2048];
            bool is_name = strcmp(cases[i].field, "name") == 0;
            bool is_app = strcmp(cases[i].field, "app") == 0;
            snprintf(line, sizeof(line), "{\"kind\":\"dependency\",%s%s\"%s\":\"%s\",\"ts\":%zu}\n",
                     is_app ? "" : "\"app\":\"a\",", is_name ? "" : "\"name\":\"d\",",
                     cases[i].field, text, (size_t)1700000000000 + i * 2 + over);
            post_events(f, line);
            if (f->accepted != 1 - over || f->rejected != over) {
                fail_msg("%s at %zu: %s", cases[i].field, cases[i].max + over, f->json);
            }
        }
    }
}

static void test_events_per_body_cap(void **state) {
    struct door_fixture *f = *state;
    static const char line[] = "{\"kind\":\"beat\",\"app\":\"a\"}\n";
    size_t len = sizeof(line) - 1;
    char *body = malloc((INGEST_EVENTS_PER_BODY_MAX + 1) * len + 1);
    assert_non_null(body);
    for (size_t i = 0; i <= INGEST_EVENTS_PER_BODY_MAX; i++) {
        memcpy(body + i * len, line, len);
    }
    body[(INGEST_EVENTS_PER_BODY_MAX + 1) * len] = '\0';
    post_events(f, body);
    assert_int_equal(f->err.code, ERR_LIMIT);
    assert_int_equal(f->accepted, 0);
    body[INGEST_EVENTS_PER_BODY_MAX * len] = '\0';
    post_events(f, body);
    assert_int_equal(f->accepted, INGEST_EVENTS_PER_BODY_MAX);
    free(body);
}

static void test_rejections_are_listed_up_to_a_cap(void **state) {
    struct door_fixture *f = *state;
    char body[4096];
    size_t len = 0;
    for (size_t i = 0; i < INGEST_REJECTIONS_MAX + 5; i++) {
        memcpy(body + len, "7\n", 2);
        len += 2;
    }
    snprintf(body + len, sizeof(body) - len, "%s\n", GOOD);
    post_events(f, body);
    assert_int_equal(f->accepted, 1);
    assert_int_equal(f->rejected, INGEST_REJECTIONS_MAX + 5);
    assert_non_null(strstr(f->json, "\"rejected_count\":105"));
    assert_non_null(strstr(f->json, "{\"line\":100,"));
    assert_null(strstr(f->json, "{\"line\":101,"));
}

static void test_encodings(void **state) {
    struct door_fixture *f = *state;
    struct buf zipped;
    buf_init(&zipped, 1 << 20);
    gzip_encode(STR(GOOD), &zipped);
    struct ingest_body body = { .bytes = buf_as_str(&zipped), .encoding = STR("gzip") };
    ingest_events(f->ingest, &body, door_done, f);
    door_wait(f);
    assert_int_equal(f->accepted, 1);
    body.encoding = STR("br");
    ingest_events(f->ingest, &body, door_done, f);
    door_wait(f);
    assert_int_equal(f->err.code, ERR_INVALID);
    body.encoding = STR("gzip");
    body.bytes.len -= 4;
    ingest_events(f->ingest, &body, door_done, f);
    door_wait(f);
    assert_int_equal(f->err.code, ERR_INVALID);
    /* 5 bytes that claim to be 4 GiB. */
    body.encoding = STR("snappy");
    body.bytes = STR("\xff\xff\xff\xff\x0f");
    ingest_events(f->ingest, &body, door_done, f);
    door_wait(f);
    assert_int_equal(f->err.code, ERR_LIMIT);
    buf_finish(&zipped);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_bad_lines_are_named_and_good_ones_kept),
        TEST(test_nothing_accepted_is_an_error),
        TEST(test_empty_bodies_are_fine),
        TEST(test_texts_may_be_whole_numbers_and_fields_null),
        TEST(test_line_cap),
        TEST(test_text_caps),
        TEST(test_events_per_body_cap),
        TEST(test_rejections_are_listed_up_to_a_cap),
        TEST(test_encodings),
    };
    return cmocka_run_group_tests_name("ingest/event_lines", tests, NULL, NULL);
}
