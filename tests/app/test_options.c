/* Goal: flags, environment and defaults in their order. Method: a table of command lines. */
#include "app/options.h"
#include "base/mem.h"
#include "tests/unit.h"

struct variable {
    const char *name;
    const char *value;
};

static const char *lookup(void *ctx, const char *name) {
    for (const struct variable *v = ctx; v != NULL && v->name != NULL; v++) {
        if (strcmp(v->name, name) == 0) {
            return v->value;
        }
    }
    return NULL;
}

/* The value of one flag after parsing, or the error. */
static const struct {
    const char *argument[4];
    struct variable env[3];
    const char *flag;
    const char *expected;
    const char *error; /* NULL = fine */
} cases[] = {
    { { NULL }, { { 0 } }, "web.listen-address", "127.0.0.1:9090", NULL },
    { { NULL }, { { "METRICS_PORT", "9191" } }, "web.listen-address", "127.0.0.1:9191", NULL },
    { { "--web.listen-address=:1" },
      { { "METRICS_PORT", "9191" } },
      "web.listen-address",
      ":1",
      NULL },
    { { NULL },
      { { "TOCSIN_WEB_LISTEN_ADDRESS", "h:2" }, { "METRICS_PORT", "9191" } },
      "web.listen-address",
      "h:2",
      NULL },
    { { "--storage.path", "x" }, { { 0 } }, "storage.path", "x", NULL },
    { { "--storage.tsdb.path=y" }, { { 0 } }, "storage.path", "y", NULL },
    { { "--storage.tsdb.retention.time=0" }, { { 0 } }, "storage.tsdb.retention.time", "0s", NULL },
    { { "--storage.tsdb.retention.time=15d" },
      { { 0 } },
      "storage.tsdb.retention.time",
      "15d",
      NULL },
    { { NULL },
      { { "TOCSIN_STORAGE_TSDB_RETENTION_TIME", "1w" } },
      "storage.tsdb.retention.time",
      "1w",
      NULL },
    { { NULL }, { { "LOG_LEVEL", "WARNING" } }, "log.level", "WARNING", NULL },
    { { "--log.level=debug" }, { { "LOG_LEVEL", "WARNING" } }, "log.level", "debug", NULL },
    { { NULL }, { { 0 } }, "rules.path", "rules.d/*.yml", NULL },
    { { "--rules.path=a", "--rules.path=b" }, { { 0 } }, "rules.path", "a,b", NULL },
    { { NULL }, { { "TOCSIN_RULES_PATH", "a,b" } }, "rules.path", "a,b", NULL },
    { { "--rules.path=c" }, { { "TOCSIN_RULES_PATH", "a,b" } }, "rules.path", "c", NULL },
    { { "--config.file=a.yml", "--config.file", "b.yml" },
      { { 0 } },
      "config.file",
      "a.yml,b.yml",
      NULL },
    { { "--no-web.enable-lifecycle" }, { { 0 } }, "web.enable-lifecycle", "false", NULL },
    { { "--web.enable-lifecycle" }, { { 0 } }, "web.enable-lifecycle", "true", NULL },
    { { "--web.enable-lifecycle=false" }, { { 0 } }, "web.enable-lifecycle", "false", NULL },
    { { "--storage.reserve=1GiB" }, { { 0 } }, "storage.reserve", "1073741824", NULL },
    { { "--web.listen-adress=x" }, { { 0 } }, NULL, NULL, "did you mean --web.listen-address?" },
    { { "--storage.path" }, { { 0 } }, NULL, NULL, "--storage.path needs a value" },
    { { "--query.timeout=5" }, { { 0 } }, NULL, NULL, "--query.timeout" },
    { { "--query.max-samples=-1" }, { { 0 } }, NULL, NULL, "--query.max-samples" },
    { { "--self.host-metrics=maybe" }, { { 0 } }, NULL, NULL, "expected true or false" },
    { { "word" }, { { 0 } }, NULL, NULL, "unexpected argument \"word\"" },
    { { NULL }, { { "METRICS_PORT", "http" } }, NULL, NULL, "METRICS_PORT" },
    { { NULL }, { { "TOCSIN_QUERY_TIMEOUT", "soon" } }, NULL, NULL, "TOCSIN_QUERY_TIMEOUT" },
};

static const struct option_spec *spec_of(const char *flag) {
    for (size_t i = 0; i < option_spec_count; i++) {
        if (strcmp(option_specs[i].name, flag) == 0) {
            return &option_specs[i];
        }
    }
    return NULL;
}

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int argc = 0;
        char *argv[4];
        while (argc < 4 && cases[i].argument[argc] != NULL) {
            argv[argc] = mem_strdup(cases[i].argument[argc]);
            argc++;
        }
        struct variable env[4] = { { 0 } };
        memcpy(env, cases[i].env, sizeof(cases[i].env));
        struct options options;
        struct err err = ERR_INIT;
        bool is_ok = options_parse(&options, argc, argv, lookup, env, &err);
        assert_int_equal(is_ok, cases[i].error == NULL);
        if (is_ok) {
            struct buf value;
            buf_init(&value, 4096);
            option_print_value(&options, spec_of(cases[i].flag), &value);
            assert_string_equal(value.ptr, cases[i].expected);
            buf_finish(&value);
        } else {
            assert_non_null(strstr(err.msg, cases[i].error));
        }
        options_finish(&options);
        for (int j = 0; j < argc; j++) {
            mem_free(argv[j]);
        }
    }
}

static void test_every_default_parses(void **state) {
    (void)state;
    struct options options;
    struct err err = ERR_INIT;
    assert_true(options_parse(&options, 0, NULL, lookup, NULL, &err));
    for (size_t i = 0; i < option_spec_count; i++) {
        size_t len = strlen(option_specs[i].help);
        assert_true(len > 0 && option_specs[i].help[len - 1] == '.');
    }
    options_finish(&options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_every_default_parses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
