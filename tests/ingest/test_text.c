/*
 * Goal: pages of metrics are read as Prometheus reads them, mistakes are named by line and column.
 * Method: tables of pages and of what they say, printed entry by entry; upstream's own pages where
 * they are at hand; every page cut at every byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ingest/text.h"
#include "tests/ingest/fixture.h"

/* Everything a page says, one line per entry; the error as the last line. */
static const char *parse(struct arena *arena, enum text_format format, struct str page) {
    struct buf out;
    buf_init(&out, SIZE_MAX);
    struct text_parser parser;
    struct text_entry entry;
    struct err err = ERR_INIT;
    text_init(&parser, format, page);
    enum text_kind kind;
    while ((kind = text_next(&parser, &entry, &err)) != TEXT_END && kind != TEXT_BAD) {
        struct str family = text_unescape(entry.family, arena);
        struct labels labels;
        switch (kind) {
        case TEXT_TYPE:
            buf_printf(&out, "T %.*s %s\n", STR_FMT(family), family_type_to_string(entry.type));
            break;
        case TEXT_HELP:
            buf_printf(&out, "H %.*s [", STR_FMT(family));
            buf_str(&out, text_unescape(entry.text, arena));
            buf_cstr(&out, "]\n");
            break;
        case TEXT_UNIT:
            buf_printf(&out, "U %.*s %.*s\n", STR_FMT(family), STR_FMT(entry.text));
            break;
        default:
            labels = text_labels(&entry, arena);
            if (!labels_normalize(&labels, &err)) {
                buf_printf(&out, "bad labels: %s", err.msg);
            } else {
                labels_print(labels, &out);
            }
            buf_printf(&out, " %.12g", entry.value);
            if (entry.has_t) {
                buf_printf(&out, " @%lld", (long long)entry.t_ms);
            }
            buf_cstr(&out, entry.has_exemplar ? " #\n" : "\n");
            break;
        }
    }
    if (kind == TEXT_BAD) {
        assert_int_equal(err.code, ERR_INVALID);
        buf_cstr(&out, err.msg);
    }
    struct str text = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return text.ptr;
}

struct page_case {
    const char *page;
    const char *expected;
};

static void check(enum text_format format, const struct page_case *cases, size_t count) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (size_t i = 0; i < count; i++) {
        const char *got = parse(&arena, format, str_from(cases[i].page));
        if (strcmp(got, cases[i].expected) != 0) {
            fail_msg("page:\n%s\nexpected:\n%s\ngot:\n%s", cases[i].page, cases[i].expected, got);
        }
    }
    arena_finish(&arena);
}

static void test_plain_pages(void **state) {
    (void)state;
    static const struct page_case cases[] = {
        { "", "" },
        { "\n\n  \n", "" },
        { "a 1\n", "a 1\n" },
        { "a 1", "a 1\n" },
        { "a\t1\r\n", "a 1\n" },
        { "  a 1  \n", "a 1\n" },
        { "a:b_c9 1 1700000000123\n", "a:b_c9 1 @1700000000123\n" },
        { "a 1 -5\n", "a 1 @-5\n" },
        { "a{} 1\n", "a 1\n" },
        { "a { } 1\n", "a 1\n" },
        { "a{b=\"c\"} 1\n", "a{b=\"c\"} 1\n" },
        { "a{b=\"c\"}1\n", "a{b=\"c\"} 1\n" },
        { "a{ b = \"c\" , d = \"e\" , } 1\n", "a{b=\"c\",d=\"e\"} 1\n" },
        { "a{d=\"e\",b=\"c\"} 1\n", "a{b=\"c\",d=\"e\"} 1\n" },
        { "a{b=\"\"} 1\n", "a 1\n" },
        { "a{b=\"x\\\\y\\\"z\\nw\\t\"} 1\n", "a{b=\"x\\\\y\\\"z\\nw\\\\t\"} 1\n" },
        { "a{b=\"}, #\"} 1\n", "a{b=\"}, #\"} 1\n" },
        { "{\"a.b\"} 1\n", "{\"a.b\"} 1\n" },
        { "{\"a.b\",c=\"d\"} 1\n", "{\"a.b\",c=\"d\"} 1\n" },
        { "{c=\"d\",\"a.b\",\"e f\"=\"g\"} 1\n", "{\"a.b\",c=\"d\",\"e f\"=\"g\"} 1\n" },
        { "a{\"b.c\"=\"d\"} 1\n", "a{\"b.c\"=\"d\"} 1\n" },
        { "a NaN\nb +Inf\nc -Inf\nd 1e-3\ne .5\nf +1\n",
          "a nan\nb inf\nc -inf\nd 0.001\ne 0.5\nf 1\n" },
        { "# a comment\n#\n#x\n# HELPx y\na 1\n", "a 1\n" },
        { "# HELP a\n# HELP b two  words \\\\ \\n \\\" \n",
          "H a []\nH b [two  words \\ \n \" ]\n" },
        { "#HELP a x\n# TYPE a counter\n#\tTYPE  b   gauge \n",
          "H a [x]\nT a counter\nT b gauge\n" },
        { "# TYPE a untyped\n# TYPE b summary\n# TYPE c histogram\n# TYPE \"d.e\" unknown\n",
          "T a unknown\nT b summary\nT c histogram\nT d.e unknown\n" },
        /* Numbers in labels have one spelling where they are numbers. */
        { "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum{le=\"1\"} 1\n",
          "T h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum{le=\"1\"} 1\n" },
        { "# TYPE s summary\ns{quantile=\"0.50\"} 1\ns{quantile=\"1\"} 1\ng{quantile=\"1\"} 1\n",
          "T s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"1.0\"} 1\ng{quantile=\"1\"} 1\n" },
        { "h_bucket{le=\"1\"} 1\n", "h_bucket{le=\"1\"} 1\n" },
    };
    check(TEXT_PLAIN, cases, ARRAY_LEN(cases));
}

static void test_plain_mistakes(void **state) {
    (void)state;
    static const struct page_case cases[] = {
        { "a\n", "1:2: expected a value or labels, found the end of the line" },
        { "a \n", "1:3: expected a value, found the end of the line" },
        { "a x\n", "1:3: expected a value, found \"x\"" },
        { "a 0x1p-2\n", "1:3: expected a value, found \"0x1p-2\"" },
        { "a 1_000\n", "1:3: expected a value, found \"1_000\"" },
        { "ok 1\n\na 1 1.5\n", "ok 1\n3:5: expected a timestamp in milliseconds, found \"1.5\"" },
        { "a 1 2 3\n", "1:7: expected the end of the line, found \"3\"" },
        { "9a 1\n", "1:1: expected a metric name, found \"9a 1\"" },
        { "a{ 1\n", "1:4: expected a label name or '}', found \"1\"" },
        { "a{b} 1\n", "1:4: expected '=', found \"} 1\"" },
        { "a{b=c} 1\n", "1:5: expected a quoted label value, found \"c} 1\"" },
        { "a{b=\"c} 1\nd 1\n", "1:10: expected a closing quote, found the end of the line" },
        { "a{b=\"c\" d=\"e\"} 1\n", "1:9: expected ',' or '}', found \"d=\"e\"} 1\"" },
        { "a{b=\"c\",,} 1\n", "1:9: expected a label name or '}', found \",} 1\"" },
        { "a{,} 1\n", "1:3: expected a label name or '}', found \",} 1\"" },
        { "a{b=\"c\"\n", "1:8: expected ',' or '}', found the end of the line" },
        { "a{\"b\"} 1\n", "1:6: expected '=' (the metric has a name already), found \"} 1\"" },
        { "{b=\"c\"} 1\n", "1:7: expected a metric name, found \"} 1\"" },
        { "{} 1\n", "1:2: expected a metric name, found \"} 1\"" },
        { "\"a\" 1\n", "1:1: expected a metric name, found \"\"a\" 1\"" },
        { "\xc3\xa4\xc3\xa4 1\n", "1:1: expected a metric name, found \"\xc3\xa4\xc3\xa4 1\"" },
        { "a{b=\"\xc3\xa4\xc3\xa4\"} x\n", "1:11: expected a value, found \"x\"" },
        { "# TYPE a countr\n", "1:10: expected a metric type, found \"countr\"" },
        { "# TYPE a\n", "1:9: expected a metric type, found the end of the line" },
        { "# TYPE\n", "1:7: expected a metric name, found the end of the line" },
        { "# HELP 9 x\n", "1:8: expected a metric name, found \"9 x\"" },
        { "# TYPE \"a counter\n", "1:18: expected a closing quote, found the end of the line" },
    };
    check(TEXT_PLAIN, cases, ARRAY_LEN(cases));
}

static void test_openmetrics_pages(void **state) {
    (void)state;
    static const struct page_case cases[] = {
        { "# EOF", "" },
        { "# EOF\n", "" },
        { "a 1 1700000000.123\n# EOF\n", "a 1 @1700000000123\n" },
        { "a 1 1.7e9\n# EOF\n", "a 1 @1700000000000\n" },
        { "# TYPE a counter\n# UNIT a_seconds seconds\n# HELP a \\\"q\\\"\na_total 1\n# EOF\n",
          "T a counter\nU a_seconds seconds\nH a [\"q\"]\na_total 1\n" },
        { "# TYPE a info\n# TYPE b stateset\n# TYPE c gaugehistogram\n# EOF\n",
          "T a info\nT b stateset\nT c gaugehistogram\n" },
        { "a_total 1 # {trace_id=\"x\"} 0.5\n# EOF\n", "a_total 1 #\n" },
        { "a_total 1 1.5 # {} 0.5 1.25\n# EOF\n", "a_total 1 @1500 #\n" },
        { "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n# EOF\n",
          "T h histogram\nh_bucket{le=\"1.0\"} 1\n" },
        { "", "1:1: expected \"# EOF\" at the end of the page, found the end of the line" },
        { "a 1\n",
          "a 1\n2:1: expected \"# EOF\" at the end of the page, found the end of the line" },
        { "# EOF\na 1\n", "2:1: expected nothing after \"# EOF\", found \"a 1\"" },
        { "\n# EOF\n", "1:1: expected a metric name, found the end of the line" },
        { "# comment\n# EOF\n",
          "1:1: expected # HELP, # TYPE, # UNIT or # EOF, found \"# comment\"" },
        { "# TYPE a untyped\n# EOF\n", "1:10: expected a metric type, found \"untyped\"" },
        { "# UNIT a_seconds bytes\n# EOF\n",
          "1:18: expected a unit that ends the metric's name, found \"bytes\"" },
        { "a 1 NaN\n# EOF\n", "1:5: expected a timestamp in seconds, found \"NaN\"" },
        { "a 1 # {x=\"y\"}\n# EOF\n",
          "1:14: expected an exemplar's value, found the end of the line" },
        { "a 1 # x 1\n# EOF\n", "1:7: expected an exemplar's labels, found \"x 1\"" },
        { "a 1 # {x} 1\n# EOF\n", "1:9: expected '=', found \"} 1\"" },
    };
    check(TEXT_OPENMETRICS, cases, ARRAY_LEN(cases));
}

static void test_bad_label_sets_are_for_the_caller(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    const char *got = parse(&arena, TEXT_PLAIN, STR("a{b=\"1\",b=\"2\"} 1\n"));
    assert_non_null(strstr(got, "bad labels: "));
    got = parse(&arena, TEXT_PLAIN, STR("a{b=\"\xff\"} 1\n"));
    assert_non_null(strstr(got, "bad labels: "));
    struct buf wide;
    buf_init(&wide, SIZE_MAX);
    buf_cstr(&wide, "a{");
    for (int i = 0; i < 10000; i++) {
        buf_printf(&wide, "l%d=\"v\",", i);
    }
    buf_cstr(&wide, "} 1\n");
    got = parse(&arena, TEXT_PLAIN, buf_as_str(&wide));
    assert_non_null(strstr(got, "bad labels: "));
    buf_finish(&wide);
    arena_finish(&arena);
}

static void test_an_ordinary_nan_is_never_the_stale_marker(void **state) {
    (void)state;
    struct text_parser parser;
    struct text_entry entry;
    struct err err = ERR_INIT;
    text_init(&parser, TEXT_PLAIN, STR("a nan\n"));
    assert_int_equal(text_next(&parser, &entry, &err), TEXT_SERIES);
    assert_true(double_bits(entry.value) == NORMAL_NAN_BITS);
}

static const char whole_page[] =
    "# HELP http_requests_total The \\\"total\\\" number.\n"
    "# TYPE http_requests_total counter\n"
    "http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n"
    "{\"quoted.name\",l=\"a\\\\b\\n\"} 3.14 1395066363000\n"
    "# TYPE h histogram\n"
    "h_bucket{le=\"0.5\"} 1 # {a=\"b\"} 0.25 1.5\n"
    "# UNIT h_seconds seconds\n"
    "# EOF\n";

static void test_pages_cut_anywhere(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (size_t len = 0; len < sizeof(whole_page); len++) {
        /* A block of its own, so that a read past the end is seen. */
        char *copy = malloc(len == 0 ? 1 : len);
        assert_non_null(copy);
        memcpy(copy, whole_page, len);
        (void)parse(&arena, TEXT_PLAIN, str_n(copy, len));
        (void)parse(&arena, TEXT_OPENMETRICS, str_n(copy, len));
        free(copy);
        arena_reset(&arena);
    }
    arena_finish(&arena);
}

/* ---- the import door ---- */

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

static void import(struct door_fixture *f, const char *type, const char *page) {
    struct ingest_body body = { .bytes = str_from(page), .content_type = str_from(type) };
    ingest_import(f->ingest, &body, door_done, f);
    door_wait(f);
}

static void test_import_stores_samples(void **state) {
    struct door_fixture *f = *state;
    import(f, "", "# TYPE a counter\n# HELP a Help.\na{x=\"1\"} 1 1699999999000\nb 2\n");
    assert_int_equal(f->err.code, ERR_NONE);
    assert_int_equal(f->accepted, 2);
    assert_string_equal(samples_of(f, "a"), "a{x=\"1\"} -1:1\n");
    assert_string_equal(samples_of(f, "b"), "b 0:2\n");
    import(f, "application/openmetrics-text; version=1.0.0", "c 3 1699999999.5 # {} 1\n# EOF\n");
    assert_int_equal(f->accepted, 1);
    assert_string_equal(samples_of(f, "c"), "c -0.5:3\n");
    assert_true(own_metric(f, "tocsin_ingest_refused_total", "exemplar") == 1);
}

static void test_import_of_a_broken_page_stores_nothing(void **state) {
    struct door_fixture *f = *state;
    import(f, "text/plain", "a 1\nb 2\nc{ 3\n");
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_non_null(strstr(f->err.msg, "3:4: expected"));
    assert_int_equal(f->accepted, 0);
    assert_string_equal(samples_of(f, "a"), "");
    import(f, "application/openmetrics-text", "a 1\n");
    assert_int_equal(f->err.code, ERR_INVALID);
}

static void test_import_names_refused_lines(void **state) {
    struct door_fixture *f = *state;
    import(f, "", "a 1 1699999999000\n");
    import(f, "", "a 1 1699990000000\n\nb{x=\"1\",x=\"2\"} 1\nc 1\n");
    assert_int_equal(f->err.code, ERR_INVALID);
    assert_int_equal(f->accepted, 1);
    assert_int_equal(f->rejected, 2);
    assert_non_null(strstr(f->json, "\"line\":1,\"reason\":\"out of order sample: a\""));
    assert_non_null(strstr(f->json, "\"line\":3,"));
    assert_string_equal(samples_of(f, "c"), "c 0:1\n");
}

/* ---- upstream's pages ---- */

/* Number of series lines of one of upstream's pages, 0 when it is not at hand. */
static size_t count_upstream(const char *name, enum text_format format) {
    const char *dir = getenv("UPSTREAM_TEXTPARSE");
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir == NULL ? "/nonexistent" : dir, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return 0;
    }
    static char page[4 << 20];
    size_t len = fread(page, 1, sizeof(page), file);
    fclose(file);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct text_parser parser;
    struct text_entry entry;
    struct err err = ERR_INIT;
    size_t count = 0;
    text_init(&parser, format, str_n(page, len));
    for (;;) {
        enum text_kind kind = text_next(&parser, &entry, &err);
        if (kind == TEXT_BAD) {
            fail_msg("%s: %s", name, err.msg);
        }
        if (kind == TEXT_END) {
            break;
        }
        if (kind == TEXT_SERIES) {
            struct labels labels = text_labels(&entry, &arena);
            assert_true(labels_normalize(&labels, &err));
            count++;
        }
    }
    arena_finish(&arena);
    return count;
}

static void test_upstreams_pages(void **state) {
    (void)state;
    const char *dir = getenv("UPSTREAM_TEXTPARSE");
    if (dir == NULL || access(dir, R_OK) != 0) {
        unit_skip("upstream's pages are not there");
        return;
    }
    assert_int_equal(count_upstream("1histogram.om.txt", TEXT_OPENMETRICS), 42);
    assert_true(count_upstream("alltypes.237mfs.prom.txt", TEXT_PLAIN) > 1000);
    assert_int_equal(count_upstream("alltypes.237mfs.prom.txt", TEXT_PLAIN),
                     count_upstream("alltypes.237mfs.nometa.prom.txt", TEXT_PLAIN));
    assert_true(count_upstream("alltypes.5mfs.om.txt", TEXT_OPENMETRICS) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        cmocka_unit_test(test_plain_pages),
        cmocka_unit_test(test_plain_mistakes),
        cmocka_unit_test(test_openmetrics_pages),
        cmocka_unit_test(test_bad_label_sets_are_for_the_caller),
        cmocka_unit_test(test_an_ordinary_nan_is_never_the_stale_marker),
        cmocka_unit_test(test_pages_cut_anywhere),
        TEST(test_import_stores_samples),
        TEST(test_import_of_a_broken_page_stores_nothing),
        TEST(test_import_names_refused_lines),
        cmocka_unit_test(test_upstreams_pages),
    };
    return cmocka_run_group_tests_name("ingest/text", tests, NULL, NULL);
}
