/*
 * Goal: targets are scraped on schedule, their pages become series with the right labels, what
 * vanishes goes stale, a failed scrape says why. Method: a server on loopback whose page the test
 * changes between ticks of a clock it moves.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/base/stub_server.h"
#include "tests/ingest/fixture.h"

struct exporter {
    struct stub *stub;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    const char *page; /* guarded by mu, as the rest */
    const char *status;
    const char *type;
    char request[8192];
    size_t served;
};

struct scrape_fixture {
    struct door_fixture door;
    struct exporter exporter;
};

static void serve(void *ctx, int fd, int connection) {
    (void)connection;
    struct exporter *exporter = ctx;
    char request[sizeof(exporter->request)];
    if (stub_read_request(fd, request, sizeof(request)) == 0) {
        return;
    }
    pthread_mutex_lock(&exporter->mu);
    memcpy(exporter->request, request, sizeof(request));
    static char reply[1 << 20];
    snprintf(
        reply, sizeof(reply),
        "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
        exporter->status, exporter->type, strlen(exporter->page), exporter->page);
    exporter->served++;
    pthread_cond_broadcast(&exporter->cond);
    pthread_mutex_unlock(&exporter->mu);
    (void)stub_write(fd, reply);
}

static void show(struct scrape_fixture *f, const char *page) {
    pthread_mutex_lock(&f->exporter.mu);
    f->exporter.page = page;
    pthread_mutex_unlock(&f->exporter.mu);
}

static int setup(void **state) {
    static struct scrape_fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    door_init(&fixture.door);
    door_open(&fixture.door);
    struct exporter *exporter = &fixture.exporter;
    pthread_mutex_init(&exporter->mu, NULL);
    pthread_cond_init(&exporter->cond, NULL);
    exporter->page = "";
    exporter->status = "200 OK";
    exporter->type = "text/plain; version=0.0.4";
    exporter->stub = stub_start(serve, exporter);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    struct scrape_fixture *f = *state;
    door_finish(&f->door);
    stub_stop(f->exporter.stub);
    return 0;
}

/* Apply scrape_configs given as YAML; PORT stands for the exporter's port. */
static void configure(struct scrape_fixture *f, const char *text) {
    struct buf yaml;
    buf_init(&yaml, 1 << 20);
    for (const char *c = text; *c != '\0'; c++) {
        if (strncmp(c, "PORT", 4) == 0) {
            buf_printf(&yaml, "%d", stub_port(f->exporter.stub));
            c += 3;
        } else {
            buf_putc(&yaml, *c);
        }
    }
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    struct ingest_scrape_configs *configs = ingest_scrape_configs_create();
    static const struct ingest_scrape_global global = { .scrape_interval_ms = 1000 };
    bool is_ok = yaml_parse("t.yml", buf_as_str(&yaml), &doc, &diags);
    if (is_ok) {
        struct yaml_decode ctx = { .doc = doc, .diags = &diags };
        is_ok = ingest_scrape_decode(&ctx, yaml_root(doc), &global, configs);
    }
    if (!is_ok) {
        struct err err = ERR_INIT;
        diag_to_err(&diags, &err);
        fail_msg("%s", err.msg);
    }
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
    buf_finish(&yaml);
    ingest_scrape_apply(f->door.ingest, configs);
}

#define TARGET "static_configs: [{targets: ['127.0.0.1:PORT'], labels: {instance: i}}]"
#define SIMPLE "[{job_name: j, " TARGET "}]"

/* One round of scrapes. */
static void round_trip(struct scrape_fixture *f) {
    door_run(&f->door, 1000);
}

static struct ingest_target *targets(struct scrape_fixture *f, size_t count) {
    struct ingest_target *ret;
    size_t ret_count;
    ingest_targets(f->door.ingest, &f->door.store.arena, &ret, &ret_count);
    assert_int_equal(ret_count, count);
    return ret;
}

static void assert_up(struct scrape_fixture *f) {
    struct ingest_target *target = targets(f, 1);
    if (target->health != INGEST_TARGET_UP) {
        fail_msg("%.*s", STR_FMT(target->last_error));
    }
}

static void assert_down(struct scrape_fixture *f, const char *reason) {
    struct ingest_target *target = targets(f, 1);
    assert_int_equal(target->health, INGEST_TARGET_DOWN);
    if (str_find(target->last_error, str_from(reason)) == SIZE_MAX) {
        fail_msg("%.*s", STR_FMT(target->last_error));
    }
    assert_string_equal(newest_of(&f->door, "up"), "up{instance=\"i\",job=\"j\"} 0\n");
}

/* ---- pages ---- */

static void test_page_and_reports(void **state) {
    struct scrape_fixture *f = *state;
    struct door_fixture *d = &f->door;
    configure(f, SIMPLE);
    show(f, "# TYPE a counter\na{x=\"1\"} 5\na{x=\"2\"} 6\n");
    round_trip(f);
    round_trip(f);
    round_trip(f);
    assert_up(f);
    /* The first tick made the target, the later ones found it due. */
    assert_string_equal(values_of(d, "a"), "a{instance=\"i\",job=\"j\",x=\"1\"} 5 5\n"
                                           "a{instance=\"i\",job=\"j\",x=\"2\"} 6 6\n");
    assert_string_equal(values_of(d, "up"), "up{instance=\"i\",job=\"j\"} 1 1\n");
    assert_string_equal(values_of(d, "scrape_samples_scraped"),
                        "scrape_samples_scraped{instance=\"i\",job=\"j\"} 2 2\n");
    assert_string_equal(values_of(d, "scrape_samples_post_metric_relabeling"),
                        "scrape_samples_post_metric_relabeling{instance=\"i\",job=\"j\"} 2 2\n");
    assert_string_equal(values_of(d, "scrape_series_added"),
                        "scrape_series_added{instance=\"i\",job=\"j\"} 2 0\n");
    assert_non_null(
        strstr(values_of(d, "scrape_duration_seconds"), "{instance=\"i\",job=\"j\"} 0.0"));
    assert_string_equal(values_of(d, "scrape_timeout_seconds"), "");
}

static void test_extra_reports(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, "[{job_name: j, extra_scrape_metrics: true, sample_limit: 9, " TARGET "}]");
    show(f, "a 1\n");
    round_trip(f);
    round_trip(f);
    assert_string_equal(values_of(&f->door, "scrape_timeout_seconds"),
                        "scrape_timeout_seconds{instance=\"i\",job=\"j\"} 1\n");
    assert_string_equal(values_of(&f->door, "scrape_sample_limit"),
                        "scrape_sample_limit{instance=\"i\",job=\"j\"} 9\n");
    assert_string_equal(values_of(&f->door, "scrape_body_size_bytes"),
                        "scrape_body_size_bytes{instance=\"i\",job=\"j\"} 4\n");
}

static void test_label_conflicts(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, SIMPLE);
    show(f, "a{job=\"own\",exported_instance=\"x\",instance=\"y\"} 1\n");
    round_trip(f);
    round_trip(f);
    assert_string_equal(newest_of(&f->door, "a"),
                        "a{exported_exported_instance=\"y\",exported_instance=\"x\","
                        "exported_job=\"own\",instance=\"i\",job=\"j\"} 1\n");
}

static void test_honor_labels(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, "[{job_name: j, honor_labels: true, " TARGET "}]");
    show(f, "a{job=\"own\"} 1\n");
    round_trip(f);
    round_trip(f);
    assert_string_equal(newest_of(&f->door, "a"), "a{instance=\"i\",job=\"own\"} 1\n");
}

static void test_vanished_series_go_stale(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, SIMPLE);
    show(f, "a 1\nb 1\n");
    round_trip(f);
    round_trip(f);
    show(f, "b 2\n");
    round_trip(f);
    round_trip(f);
    show(f, "a 3\nb 3\n");
    round_trip(f);
    assert_string_equal(values_of(&f->door, "a"), "a{instance=\"i\",job=\"j\"} 1 stale 3\n");
    assert_string_equal(values_of(&f->door, "b"), "b{instance=\"i\",job=\"j\"} 1 2 2 3\n");
}

static void test_failed_scrape_makes_everything_stale(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, SIMPLE);
    show(f, "a 1\n");
    round_trip(f);
    round_trip(f);
    show(f, "a 2\nb 1\nnonsense\n");
    round_trip(f);
    assert_down(f, "3:9: expected a value or labels");
    assert_string_equal(values_of(&f->door, "a"), "a{instance=\"i\",job=\"j\"} 1 stale\n");
    assert_string_equal(values_of(&f->door, "b"), "");
    f->exporter.status = "503 Busy";
    round_trip(f);
    assert_down(f, "server returned HTTP status 503");
    f->exporter.status = "200 OK";
    show(f, "a 4\n");
    round_trip(f);
    assert_up(f);
    assert_string_equal(values_of(&f->door, "a"), "a{instance=\"i\",job=\"j\"} 1 stale 4\n");
    assert_string_equal(values_of(&f->door, "up"), "up{instance=\"i\",job=\"j\"} 1 0 0 1\n");
}

static void test_nobody_listens(void **state) {
    struct scrape_fixture *f = *state;
    char text[256];
    snprintf(
        text, sizeof(text),
        "[{job_name: j, static_configs: [{targets: ['127.0.0.1:%d'], labels: {instance: i}}]}]",
        stub_dead_port());
    configure(f, text);
    round_trip(f);
    round_trip(f);
    assert_down(f, "");
    assert_true(targets(f, 1)->last_error.len > 0);
}

static void test_timestamps(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, SIMPLE);
    show(f, "a 1 1699999990000\n");
    round_trip(f);
    round_trip(f);
    show(f, "");
    round_trip(f);
    /* Honoured, and therefore never marked stale. */
    assert_string_equal(samples_of(&f->door, "a"), "a{instance=\"i\",job=\"j\"} -10:1\n");
    configure(f, "[{job_name: j, honor_timestamps: false, " TARGET "}]");
    show(f, "b 1 1699999990000\n");
    round_trip(f);
    round_trip(f);
    show(f, "");
    round_trip(f);
    assert_string_equal(values_of(&f->door, "b"), "b{instance=\"i\",job=\"j\"} 1 1 stale\n");
}

static void test_openmetrics_by_content_type(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, SIMPLE);
    f->exporter.type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    show(f, "a 1 1699999990.5\n# EOF\n");
    round_trip(f);
    round_trip(f);
    assert_up(f);
    assert_string_equal(samples_of(&f->door, "a"), "a{instance=\"i\",job=\"j\"} -9.5:1\n");
    show(f, "a 1\n");
    round_trip(f);
    assert_down(f, "# EOF");
}

/* ---- limits ---- */

static void test_limits(void **state) {
    struct scrape_fixture *f = *state;

    static const struct {
        const char *key;
        const char *fits;
        const char *over;
        const char *reason;
    } cases[] = {
        { "sample_limit: 2", "a 1\nb 1\n", "a 1\nb 1\nc 1\n", "sample_limit exceeded (limit 2)" },
        { "label_limit: 4", "a{x=\"1\"} 1\n", "a{x=\"1\",y=\"2\"} 1\n", "label_limit exceeded" },
        { "label_name_length_limit: 8", "a{abcdefgh=\"1\"} 1\n", "a{abcdefghi=\"1\"} 1\n",
          "abcdefghi" },
        { "label_value_length_limit: 3", "a{x=\"123\"} 1\n", "a{x=\"1234\"} 1\n",
          "label_value_length_limit exceeded (label x)" },
        { "body_size_limit: 10B", "a 1\n# 4567", "a 1\n# 45678", "10 bytes" },
        { "metric_name_validation_scheme: legacy", "a 1\n", "{\"a.b\"} 1\n",
          "\"a.b\" is not valid" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[512];
        snprintf(text, sizeof(text), "[{job_name: j, %s, " TARGET "}]", cases[i].key);
        configure(f, text);
        show(f, cases[i].fits);
        round_trip(f);
        round_trip(f);
        assert_up(f);
        show(f, cases[i].over);
        round_trip(f);
        struct ingest_target *target = targets(f, 1);
        assert_int_equal(target->health, INGEST_TARGET_DOWN);
        if (str_find(target->last_error, str_from(cases[i].reason)) == SIZE_MAX) {
            fail_msg("%s: %.*s", cases[i].key, STR_FMT(target->last_error));
        }
    }
}

/* What makes a page fail is counted once, under its reason. */
static void test_refused_pages_are_counted(void **state) {
    struct scrape_fixture *f = *state;
    static char wide[9000];
    static char long_value[6000];
    size_t len = (size_t)snprintf(wide, sizeof(wide), "a{");
    for (int i = 0; i <= LABELS_COUNT_MAX; i++) {
        len += (size_t)snprintf(wide + len, sizeof(wide) - len, "l%d=\"1\",", i);
    }
    snprintf(wide + len, sizeof(wide) - len, "} 1\n");
    snprintf(long_value, sizeof(long_value), "a{x=\"%0*d\"} 1\n", LABEL_VALUE_BYTES_MAX + 1, 0);

    const struct {
        const char *key;
        const char *page;
        const char *counter;
        const char *reason;
    } cases[] = {
        { "sample_limit: 1", "a 1\nb 1\n", "limit", "sample_limit" },
        { "label_limit: 3", "a{x=\"1\",y=\"2\"} 1\n", "limit", "label_limit" },
        { "body_size_limit: 4B", "a 1\n# 5", "limit", "4 bytes" },
        { "sample_limit: 9", "a{x=\"1\",x=\"2\"} 1\n", "bad_labels", "\"x\" is given more" },
        { "sample_limit: 9", "a{x=\"\xff\"} 1\n", "bad_labels", "label \"x\" is not valid UTF-8" },
        { "sample_limit: 9", "{\"\"} 1\n", "bad_labels", "name" },
        { "sample_limit: 9", long_value, "bad_labels", "label \"x\" has 4097 bytes" },
        { "sample_limit: 9", wide, "bad_labels", "limit of 64" },
        { "sample_limit: 9", "a b\n", "malformed", "1:3" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[512];
        snprintf(text, sizeof(text), "[{job_name: j, %s, " TARGET "}]", cases[i].key);
        configure(f, text);
        show(f, "ok 1\n");
        round_trip(f);
        round_trip(f);
        double before = own_metric(&f->door, "tocsin_ingest_refused_total", cases[i].counter);
        double all = own_metric(&f->door, "tocsin_ingest_refused_total", NULL);
        show(f, cases[i].page);
        round_trip(f);
        const struct ingest_target *target = targets(f, 1);
        double now = own_metric(&f->door, "tocsin_ingest_refused_total", cases[i].counter);
        bool is_named = str_find(target->last_error, str_from(cases[i].reason)) != SIZE_MAX;
        if (!is_named || now != before + 1 ||
            own_metric(&f->door, "tocsin_ingest_refused_total", NULL) != all + 1) {
            fail_msg("case %zu: %g then %g: %.*s", i, before, now, STR_FMT(target->last_error));
        }
        show(f, "ok 1\n");
        round_trip(f);
    }
}

static void test_target_limit(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, "[{job_name: j, target_limit: 1, static_configs:"
                 " [{targets: ['127.0.0.1:PORT', 'localhost:PORT']}]}]");
    show(f, "a 1\n");
    round_trip(f);
    round_trip(f);
    struct ingest_target *list = targets(f, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(list[i].health, INGEST_TARGET_DOWN);
        assert_true(str_find(list[i].last_error, STR("target_limit exceeded (limit 1)")) !=
                    SIZE_MAX);
    }
    assert_int_equal(f->exporter.served, 0);
}

/* ---- relabelling and the list of targets ---- */

static void test_relabelled_targets(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, "- job_name: j\n"
                 "  metrics_path: /probe\n"
                 "  params: {module: [http, x], target: [t]}\n"
                 "  static_configs:\n"
                 "    - {targets: ['a.example:1', 'b.example:2', drop.me], labels: {zone: z}}\n"
                 "  relabel_configs:\n"
                 "    - {source_labels: [__address__], regex: 'drop.*', action: drop}\n"
                 "    - {source_labels: [__address__], target_label: __param_target}\n"
                 "    - {source_labels: [__address__], target_label: instance}\n"
                 "    - {source_labels: [__address__], regex: 'b.*', target_label: __address__,\n"
                 "       replacement: 'not/valid'}\n"
                 "    - {source_labels: [instance], regex: 'a.*', target_label: __address__,\n"
                 "       replacement: '127.0.0.1:PORT'}\n");
    show(f, "a 1\n");
    round_trip(f);
    round_trip(f);
    struct ingest_target *list = targets(f, 3);
    assert_int_equal(list[0].health, INGEST_TARGET_DOWN);
    assert_true(str_find(list[0].last_error, STR("not a valid __address__")) != SIZE_MAX);
    assert_int_equal(list[1].health, INGEST_TARGET_DROPPED);
    assert_true(str_eq_c(labels_get(list[1].discovered_labels, STR("__address__")), "drop.me"));
    assert_true(str_eq_c(list[1].scrape_pool, "j"));
    assert_int_equal(list[2].health, INGEST_TARGET_UP);
    struct buf labels;
    buf_init(&labels, 4096);
    labels_print(list[2].labels, &labels);
    assert_string_equal(labels.ptr, "{instance=\"a.example:1\",job=\"j\",zone=\"z\"}");
    buf_finish(&labels);
    char url[256];
    snprintf(url, sizeof(url),
             "http://127.0.0.1:%d/probe?module=http&module=x&target=a.example%%3A1",
             stub_port(f->exporter.stub));
    assert_true(str_eq_c(list[2].scrape_url, url));
    assert_non_null(
        strstr(f->exporter.request, "GET /probe?module=http&module=x&target=a.example%3A1 "));
    assert_string_equal(newest_of(&f->door, "a"),
                        "a{instance=\"a.example:1\",job=\"j\",zone=\"z\"} 1\n");
}

static void test_metric_relabelling(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, "- job_name: j\n"
                 "  " TARGET "\n"
                 "  metric_relabel_configs:\n"
                 "    - {source_labels: [__name__], regex: 'drop_.*', action: drop}\n"
                 "    - {source_labels: [__name__], regex: 'old_(.*)', target_label: __name__,\n"
                 "       replacement: 'new_$1'}\n");
    show(f, "drop_a 1\nold_a 2\nb 3\n");
    round_trip(f);
    round_trip(f);
    round_trip(f);
    assert_string_equal(newest_of(&f->door, "drop_a"), "");
    assert_string_equal(values_of(&f->door, "new_a"), "new_a{instance=\"i\",job=\"j\"} 2 2\n");
    assert_string_equal(values_of(&f->door, "scrape_samples_scraped"),
                        "scrape_samples_scraped{instance=\"i\",job=\"j\"} 3 3\n");
    assert_string_equal(values_of(&f->door, "scrape_samples_post_metric_relabeling"),
                        "scrape_samples_post_metric_relabeling{instance=\"i\",job=\"j\"} 2 2\n");
    assert_string_equal(values_of(&f->door, "scrape_series_added"),
                        "scrape_series_added{instance=\"i\",job=\"j\"} 2 0\n");
}

/* ---- requests ---- */

static void test_request_headers(void **state) {
    struct scrape_fixture *f = *state;
    char path[256];
    snprintf(path, sizeof(path), "%s/secret", f->door.store.dir);
    FILE *secret = fopen(path, "w");
    assert_non_null(secret);
    fputs("  s3cret\n", secret);
    fclose(secret);
    char text[1024];
    snprintf(text, sizeof(text),
             "[{job_name: j, authorization: {type: Token, credentials_file: '%s'}, scrape_timeout:"
             " 500ms, scrape_protocols: [OpenMetricsText1.0.0, PrometheusText0.0.4],"
             " http_headers: {X-One: {values: [a, b]}}, " TARGET "}]",
             path);
    configure(f, text);
    round_trip(f);
    round_trip(f);
    static const char *const expected[] = {
        "GET /metrics HTTP/1.1\r\n",
        ("\r\nAccept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
         "text/plain;version=0.0.4;q=0.5,*/*;q=0.4\r\n"),
        "\r\nAuthorization: Token s3cret\r\n",
        "\r\nX-Prometheus-Scrape-Timeout-Seconds: 0.5\r\n",
        "\r\nX-One: a\r\n",
        "\r\nX-One: b\r\n",
        "\r\nAccept-Encoding: gzip",
        "\r\nUser-Agent: tocsin/",
    };
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        if (strstr(f->exporter.request, expected[i]) == NULL) {
            fail_msg("no %s in %s", expected[i], f->exporter.request);
        }
    }
    assert_int_equal(unlink(path), 0);
    round_trip(f);
    assert_down(f, "reading ");
}

static void test_basic_auth(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, "[{job_name: j, basic_auth: {username: u, password: p}, enable_compression: false,"
                 " " TARGET "}]");
    round_trip(f);
    round_trip(f);
    assert_non_null(strstr(f->exporter.request, "\r\nAuthorization: Basic dTpw\r\n"));
    assert_null(strstr(f->exporter.request, "Accept-Encoding: gzip"));
}

/* ---- reload ---- */

static void test_removed_target_goes_stale(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, SIMPLE);
    show(f, "a 1\n");
    round_trip(f);
    round_trip(f);
    configure(f, "[]");
    round_trip(f);
    round_trip(f);
    (void)targets(f, 0);
    assert_string_equal(values_of(&f->door, "a"), "a{instance=\"i\",job=\"j\"} 1 stale\n");
    assert_string_equal(values_of(&f->door, "up"), "up{instance=\"i\",job=\"j\"} 1 stale\n");
    assert_string_equal(values_of(&f->door, "scrape_series_added"),
                        "scrape_series_added{instance=\"i\",job=\"j\"} 1 stale\n");
}

static void test_reload_without_change_keeps_series_and_schedule(void **state) {
    struct scrape_fixture *f = *state;
    show(f, "a 1\n");
    for (int i = 0; i < 4; i++) {
        configure(f, SIMPLE);
        round_trip(f);
    }
    assert_string_equal(values_of(&f->door, "a"), "a{instance=\"i\",job=\"j\"} 1 1 1\n");
    assert_string_equal(values_of(&f->door, "scrape_series_added"),
                        "scrape_series_added{instance=\"i\",job=\"j\"} 1 0 0\n");
}

static void test_reload_with_other_rules_ends_the_old_series(void **state) {
    struct scrape_fixture *f = *state;
    configure(f, SIMPLE);
    show(f, "a 1\nb 1\n");
    round_trip(f);
    round_trip(f);
    configure(f, "[{job_name: j, metric_relabel_configs: [{source_labels: [__name__], regex: a,"
                 " target_label: x, replacement: y}], " TARGET "}]");
    round_trip(f);
    assert_string_equal(values_of(&f->door, "a"), "a{instance=\"i\",job=\"j\"} 1 stale\n"
                                                  "a{instance=\"i\",job=\"j\",x=\"y\"} 1\n");
    assert_string_equal(values_of(&f->door, "b"), "b{instance=\"i\",job=\"j\"} 1 1\n");
}

/* ---- files ---- */

static void write_file(const char *path, const char *text) {
    char temporary[512];
    snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    FILE *file = fopen(temporary, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(rename(temporary, path), 0);
}

static void test_targets_from_files(void **state) {
    struct scrape_fixture *f = *state;
    char path[256];
    char text[512];
    snprintf(path, sizeof(path), "%s/targets.json", f->door.store.dir);
    snprintf(text, sizeof(text),
             "[{job_name: j, file_sd_configs: [{files: ['%s/*.json']}], relabel_configs:"
             " [{source_labels: [__meta_filepath], regex: '.*/(.*)', target_label: file}]}]",
             f->door.store.dir);
    configure(f, text);
    round_trip(f);
    (void)targets(f, 0);
    snprintf(text, sizeof(text),
             "[{\"targets\": [\"127.0.0.1:%d\"],\n\t\"labels\": {\"instance\": \"i\"}}]",
             stub_port(f->exporter.stub));
    write_file(path, text);
    show(f, "a 1\n");
    door_run(&f->door, 7000);
    assert_up(f);
    assert_string_equal(newest_of(&f->door, "a"),
                        "a{file=\"targets.json\",instance=\"i\",job=\"j\"} 1\n");
    write_file(path, "[{\"targets\": broken");
    door_run(&f->door, 6000);
    assert_up(f); /* keeps what it said */
    assert_true(own_metric(&f->door, "tocsin_ingest_discovery_errors_total", NULL) == 1);
    assert_int_equal(unlink(path), 0);
    door_run(&f->door, 6000);
    (void)targets(f, 0);
    assert_non_null(strstr(newest_of(&f->door, "a"), "} stale\n"));
}

/* ---- threads ---- */

static void test_runs_by_itself(void **state) {
    struct scrape_fixture *f = *state;
    struct err err = ERR_INIT;
    ingest_destroy(f->door.ingest);
    f->door.options.clock = NULL;
    assert_true(ingest_create(&f->door.options, &f->door.ingest, &err));
    show(f, "a 1\n");
    configure(f, "[{job_name: j, scrape_interval: 20ms, " TARGET "}]");
    assert_true(ingest_start(f->door.ingest, &err));
    pthread_mutex_lock(&f->exporter.mu);
    while (f->exporter.served < 5) {
        pthread_cond_wait(&f->exporter.cond, &f->exporter.mu);
    }
    pthread_mutex_unlock(&f->exporter.mu);
    configure(f, "[{job_name: k, scrape_interval: 20ms, " TARGET "}]");
    pthread_mutex_lock(&f->exporter.mu);
    size_t before = f->exporter.served;
    while (f->exporter.served < before + 3) {
        pthread_cond_wait(&f->exporter.cond, &f->exporter.mu);
    }
    pthread_mutex_unlock(&f->exporter.mu);
    (void)targets(f, 1);
    ingest_stop(f->door.ingest);
    f->door.options.clock = &f->door.store.clock.clock;
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_page_and_reports),
        TEST(test_extra_reports),
        TEST(test_label_conflicts),
        TEST(test_honor_labels),
        TEST(test_vanished_series_go_stale),
        TEST(test_failed_scrape_makes_everything_stale),
        TEST(test_nobody_listens),
        TEST(test_timestamps),
        TEST(test_openmetrics_by_content_type),
        TEST(test_limits),
        TEST(test_refused_pages_are_counted),
        TEST(test_target_limit),
        TEST(test_relabelled_targets),
        TEST(test_metric_relabelling),
        TEST(test_request_headers),
        TEST(test_basic_auth),
        TEST(test_removed_target_goes_stale),
        TEST(test_reload_without_change_keeps_series_and_schedule),
        TEST(test_reload_with_other_rules_ends_the_old_series),
        TEST(test_targets_from_files),
        TEST(test_runs_by_itself),
    };
    return cmocka_run_group_tests_name("ingest/scrape", tests, NULL, NULL);
}
