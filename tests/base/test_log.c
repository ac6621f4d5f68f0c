/*
 * Goal: a log line is one valid line whatever is in the values. Method: write to a pipe or file,
 * blank out the time, compare whole lines in both formats.
 */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "tests/unit.h"

struct capture {
    int fds[2];
    struct log *log;
    char text[70000];
};

static struct capture *capture_create(enum log_format format, enum log_level level) {
    static struct capture capture;
    assert_int_equal(pipe(capture.fds), 0);
    capture.log = log_create(capture.fds[1], format, level);
    return &capture;
}

/* What was logged; every digit of the time becomes 0. */
static const char *capture_end(struct capture *capture) {
    log_destroy(capture->log);
    close(capture->fds[1]);
    size_t len = 0;
    for (;;) {
        ssize_t got = read(capture->fds[0], capture->text + len, sizeof(capture->text) - 1 - len);
        assert_true(got >= 0);
        if (got == 0) {
            break;
        }
        len += (size_t)got;
    }
    capture->text[len] = '\0';
    close(capture->fds[0]);
    for (char *c = capture->text; *c != '\0' && *c != 'Z'; c++) {
        if (*c >= '0' && *c <= '9') {
            *c = '0';
        }
    }
    return capture->text;
}

static void json_lines(void **state) {
    struct capture *capture = capture_create(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
    log_info(capture->log, "web", "Listening on", LOG_CSTR("address", "127.0.0.1:9090"),
             LOG_I64("count", -3), LOG_F64("ratio", 0.5), LOG_F64("nan", (double)NAN),
             LOG_BOOL("tls", false));
    assert_string_equal(
        capture_end(capture),
        "{\"asctime\":\"0000-00-00T00:00:00.000Z\",\"name\":\"tocsin.web\",\"levelname\":\"INFO\","
        "\"message\":\"Listening on\",\"address\":\"127.0.0.1:9090\",\"count\":-3,\"ratio\":0.5,"
        "\"nan\":\"NaN\",\"tls\":false}\n");
}

static void logfmt_lines(void **state) {
    struct capture *capture = capture_create(LOG_FORMAT_LOGFMT, LOG_LEVEL_DEBUG);
    log_warning(capture->log, "notify", "Delivery failed", LOG_CSTR("receiver", "team-x"),
                LOG_CSTR("error", "status 500: \"no\"\n\tnext\x01"), LOG_CSTR("empty", ""),
                LOG_CSTR("pair", "a=b"), LOG_F64("inf", (double)INFINITY), LOG_BOOL("retry", true));
    assert_string_equal(
        capture_end(capture),
        "time=0000-00-00T00:00:00.000Z level=warn source=notify msg=\"Delivery failed\" "
        "receiver=team-x error=\"status 500: \\\"no\\\"\\n\\tnext\\u0001\" empty=\"\" "
        "pair=\"a=b\" inf=+Inf retry=true\n");
}

static void lines_without_fields(void **state) {
    struct capture *capture = capture_create(LOG_FORMAT_LOGFMT, LOG_LEVEL_DEBUG);
    log_write(capture->log, LOG_LEVEL_CRITICAL, "app", "bye", NULL);
    assert_string_equal(capture_end(capture),
                        "time=0000-00-00T00:00:00.000Z level=critical source=app msg=\"bye\"\n");
}

static void levels_filter(void **state) {
    struct capture *capture = capture_create(LOG_FORMAT_LOGFMT, LOG_LEVEL_ERROR);
    log_debug(capture->log, "app", "no", LOG_I64("n", 1));
    log_warning(capture->log, "app", "no", LOG_I64("n", 2));
    log_error(capture->log, "app", "yes", LOG_I64("n", 3));
    log_error(NULL, "app", "nowhere", LOG_I64("n", 4));
    assert_string_equal(capture_end(capture),
                        "time=0000-00-00T00:00:00.000Z level=error source=app msg=\"yes\" n=3\n");
}

static void expect_valid_json(const char *line) {
    struct json_parser *parser = json_parser_create(1 << 20);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct json_value *value;
    struct err err = ERR_INIT;
    if (!json_parse(parser, str_from(line), &arena, &value, &err)) {
        fail_msg("%s: %.200s", err.msg, line);
    }
    arena_finish(&arena);
    json_parser_destroy(parser);
}

static void any_bytes_make_valid_json(void **state) {
    char bytes[257];
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)(unsigned char)i;
    }
    struct capture *capture = capture_create(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
    log_info(capture->log, "web", "bytes", LOG_STR("all", str_n(bytes, 256)),
             LOG_CSTR("cut", "\xe2\x82"), LOG_CSTR("csi", "\xc2\x9b\x7f"),
             LOG_CSTR("euro", "\xe2\x82\xac"));
    const char *line = capture_end(capture);
    expect_valid_json(line);
    assert_non_null(strstr(line, "\"csi\":\"\\u009b\\u007f\""));
    assert_non_null(strstr(line, "\"euro\":\"\xe2\x82\xac\""));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void long_lines_are_cut_between_fields(void **state) {
    static char text[65000];
    memset(text, 'x', sizeof(text));
    struct capture *capture = capture_create(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
    log_info(capture->log, "web", "long", LOG_STR("first", str_n(text, 30000)),
             LOG_STR("second", str_n(text, 60000)), LOG_I64("third", 3));
    const char *line = capture_end(capture);
    assert_true(strlen(line) < 65536);
    expect_valid_json(line);
    assert_non_null(strstr(line, "\"first\""));
    assert_null(strstr(line, "\"second\""));
    assert_non_null(strstr(line, "\"third\":3,\"truncated\":true}\n"));
}

static void long_messages_are_cut(void **state) {
    static char text[200001];
    memset(text, '\x01', sizeof(text) - 1);
    struct capture *capture = capture_create(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
    log_write(capture->log, LOG_LEVEL_INFO, "web", text, NULL);
    const char *line = capture_end(capture);
    assert_true(strlen(line) < 65536);
    expect_valid_json(line);
    assert_non_null(strstr(line, "\"truncated\":true}\n"));
}

static void level_names(void **state) {
    static const struct {
        const char *text;
        enum log_level level;
    } cases[] = {
        { "debug", LOG_LEVEL_DEBUG },    { "INFO", LOG_LEVEL_INFO },
        { "warn", LOG_LEVEL_WARNING },   { "WARNING", LOG_LEVEL_WARNING },
        { "Error", LOG_LEVEL_ERROR },    { "CRITICAL", LOG_LEVEL_CRITICAL },
        { "fatal", LOG_LEVEL_CRITICAL },
    };
    enum log_level level;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(log_level_parse(str_from(cases[i].text), &level));
        assert_int_equal(level, cases[i].level);
        assert_true(log_level_parse(str_from(log_level_to_string(level)), &level));
        assert_int_equal(level, cases[i].level);
    }
    assert_false(log_level_parse(STR(""), &level));
    assert_false(log_level_parse(STR("verbose"), &level));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines),
        cmocka_unit_test(logfmt_lines),
        cmocka_unit_test(lines_without_fields),
        cmocka_unit_test(levels_filter),
        cmocka_unit_test(any_bytes_make_valid_json),
        cmocka_unit_test(long_lines_are_cut_between_fields),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(level_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
