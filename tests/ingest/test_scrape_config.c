/*
 * Goal: upstream's scrape configurations are read as they are, mistakes are named with their place,
 * known but unsupported keys give one warning. Method: tables of YAML; upstream's own files where
 * they are at hand.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "ingest/ingest.h"
#include "tests/unit.h"

struct decoded {
    struct ingest_scrape_configs *configs;
    struct buf findings;
    size_t errors;
};

static void decode_doc(struct yaml_doc *doc, struct diag_list *diags, struct decoded *ret) {
    static const struct ingest_scrape_global global = { .scrape_interval_ms = 15000 };
    struct yaml_decode ctx = { .doc = doc, .diags = diags };
    const struct yaml_node *root = yaml_root(doc);
    const struct yaml_node *node =
        root != NULL && root->kind == YAML_MAPPING ? yaml_get(root, "scrape_configs") : root;
    if (node != NULL) {
        bool is_ok = ingest_scrape_decode(&ctx, node, &global, ret->configs);
        assert_int_equal(is_ok, diags->error_count == 0);
    }
}

static void decode(const char *text, struct decoded *ret) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    ret->configs = ingest_scrape_configs_create();
    buf_init(&ret->findings, 1 << 20);
    if (yaml_parse("t.yml", str_from(text), &doc, &diags)) {
        decode_doc(doc, &diags, ret);
    }
    diag_print(&diags, &ret->findings);
    ret->errors = diags.error_count;
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
}

static void decoded_finish(struct decoded *decoded) {
    ingest_scrape_configs_destroy(decoded->configs);
    buf_finish(&decoded->findings);
}

static void test_accepted(void **state) {
    (void)state;
    static const char *const cases[] = {
        "",
        "[]",
        "- job_name: a",
        "- {job_name: a, scrape_interval: 1m, scrape_timeout: 30s}",
        "- {job_name: a, scrape_interval: 5s}", /* the default timeout shrinks with it */
        "- {job_name: a, static_configs: [{targets: ['h:1', 'h:2'], labels: {x: y}}]}",
        "- {job_name: a, basic_auth: {username: u, password: p}}",
        "- {job_name: a, basic_auth: {username_file: u, password_file: p}}",
        "- {job_name: a, authorization: {type: Token, credentials: c}}",
        "- {job_name: a, bearer_token: x}",
        "- {job_name: a, tls_config: {ca_file: c, insecure_skip_verify: true, server_name: n}}",
        "- {job_name: a, params: {module: [x], 'match[]': ['{a=\"b\"}', c]}}",
        "- {job_name: a, honor_labels: true, honor_timestamps: false, scheme: https}",
        "- {job_name: a, scrape_protocols: [OpenMetricsText1.0.0, PrometheusText0.0.4]}",
        "- {job_name: a, fallback_scrape_protocol: PrometheusText0.0.4}",
        "- {job_name: a, sample_limit: 1, target_limit: 2, label_limit: 3, body_size_limit: 1MB,"
        " label_name_length_limit: 4, label_value_length_limit: 5, keep_dropped_targets: 6}",
        "- {job_name: a, http_headers: {X-A: {values: [b]}}, enable_http2: true}",
        "- {job_name: a, file_sd_configs: [{files: ['x/*.yml', y.json], refresh_interval: 1m}]}",
        "- {job_name: a, metric_name_validation_scheme: legacy}",
        "- {job_name: a, relabel_configs: [{target_label: x}],"
        " metric_relabel_configs: [{action: labeldrop, regex: y}]}",
        "- job_name: 'a b'\n- job_name: \xe6\xb8\xac",
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct decoded decoded;
        decode(cases[i], &decoded);
        if (decoded.findings.len > 0) {
            fail_msg("%s\n%s", cases[i], decoded.findings.ptr);
        }
        decoded_finish(&decoded);
    }
}

static void test_refused(void **state) {
    (void)state;

    static const struct {
        const char *text;
        const char *finding;
    } cases[] = {
        { "- ", "t.yml:1:2: error: empty scrape configuration" },
        { "scrape_configs: 1", "scrape_configs must be a list" },
        { "- {}", "\"job_name\" is missing" },
        { "- {job_name: }", "\"job_name\" must not be empty" },
        { "- {job_name: ''}", "job_name is empty" },
        { "- job_name: a\n- job_name: b\n- job_name: a",
          "t.yml:3:3: error: job_name \"a\" is used" },
        { "- {job_name: a, scrape_intervall: 1s}", "did you mean \"scrape_interval\"?" },
        { "- {job_name: a, consult_sd_configs: []}", "did you mean \"consul_sd_configs\"?" },
        { "- {job_name: a, scrape_interval: 5s, scrape_timeout: 6s}",
          "longer than scrape_interval" },
        { "- {job_name: a, scrape_interval: 5}", "duration" },
        { "- {job_name: a, scheme: ftp}", "scheme must be http or https" },
        { "- {job_name: a, static_configs: {}}", "static_configs must be a list" },
        { "- {job_name: a, static_configs: [~]}", "empty target group" },
        { "- {job_name: a, static_configs: [{targets: ['http://h:1/m']}]}",
          "\"http://h:1/m\" is not a target" },
        { "- {job_name: a, static_configs: [{target: ['h:1']}]}", "did you mean \"targets\"?" },
        { "- {job_name: a, static_configs: [{targets: [[h]]}]}", "must be a string" },
        { "- {job_name: a, static_configs: [{labels: [x]}]}", "labels must be a mapping" },
        { "- {job_name: a, basic_auth: {username: u, password: p, password_file: f}}",
          "password and password_file exclude each other" },
        { "- {job_name: a, basic_auth: {username: u}, bearer_token: t}", "at most one of" },
        { "- {job_name: a, bearer_token: t, bearer_token_file: f}", "at most one of" },
        { "- {job_name: a, bearer_token: t, authorization: {credentials: c}}", "at most one of" },
        { "- {job_name: a, authorization: {credentials: c}, bearer_token: t}", "at most one of" },
        { "- {job_name: a, authorization: {type: Basic, credentials: c}}", "use basic_auth" },
        { "- {job_name: a, authorization: {credentials: c, credentials_file: f}}", "exclude" },
        { "- {job_name: a, tls_config: {cert_file: c}}", "must be set together" },
        { "- {job_name: a, params: [x]}", "params must be a mapping" },
        { "- {job_name: a, scrape_protocols: [prometheusproto]}", "unknown scrape protocol" },
        { "- {job_name: a, scrape_protocols: []}", "must be a list of protocols" },
        { "- {job_name: a, scrape_protocols: [PrometheusProto, PrometheusProto]}", "already" },
        { "- {job_name: a, fallback_scrape_protocol: [PrometheusProto]}",
          "unknown scrape protocol" },
        { "- {job_name: a, metric_name_validation_scheme: ascii}", "must be legacy or utf8" },
        { "- {job_name: a, http_headers: {'X Y': {values: [b]}}}", "not a header name" },
        { "- {job_name: a, http_headers: {X: {values: [\"b\\r\\nc\"]}}}", "must be one line" },
        { "- {job_name: a, http_headers: {host: {values: [b]}}}", "set by the scraper" },
        { "- {job_name: a, file_sd_configs: [{}]}", "\"files\" is missing" },
        { "- {job_name: a, file_sd_configs: [{files: [x.txt]}]}", ".json, .yml or .yaml" },
        { "- {job_name: a, sample_limit: -1}", "sample_limit" },
        { "- {job_name: a, relabel_configs: [{regex: 'a('}]}", "regex: " },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct decoded decoded;
        decode(cases[i].text, &decoded);
        if (decoded.errors == 0 || strstr(decoded.findings.ptr, cases[i].finding) == NULL) {
            fail_msg("%s\n%s", cases[i].text,
                     decoded.findings.len == 0 ? "accepted" : decoded.findings.ptr);
        }
        decoded_finish(&decoded);
    }
}

static void test_unsupported_gives_one_warning(void **state) {
    (void)state;
    struct decoded decoded;
    decode("- job_name: a\n"
           "  kubernetes_sd_configs:\n"
           "    - {role: pod, anything: [x]}\n"
           "  oauth2: {client_id: x}\n",
           &decoded);
    assert_int_equal(decoded.errors, 0);
    assert_int_equal(ingest_scrape_configs_count(decoded.configs), 1);
    assert_non_null(
        strstr(decoded.findings.ptr,
               "t.yml:2:3: warning: \"kubernetes_sd_configs\" is not supported, ignored"));
    assert_non_null(strstr(decoded.findings.ptr, "\"oauth2\" is not supported"));
    decoded_finish(&decoded);
}

static void test_later_layers_replace_by_job(void **state) {
    (void)state;
    static const char *const layers[] = { "[{job_name: a}, {job_name: b}]",
                                          "[{job_name: b, scheme: https}, {job_name: c}]" };
    struct diag_list diags;
    diag_list_init(&diags);
    struct decoded decoded = { .configs = ingest_scrape_configs_create() };
    for (size_t i = 0; i < ARRAY_LEN(layers); i++) {
        struct yaml_doc *doc;
        assert_true(yaml_parse("l.yml", str_from(layers[i]), &doc, &diags));
        decode_doc(doc, &diags, &decoded);
        yaml_doc_destroy(doc);
    }
    assert_int_equal(diags.error_count, 0);
    assert_int_equal(ingest_scrape_configs_count(decoded.configs), 3);
    ingest_scrape_configs_destroy(decoded.configs);
    diag_list_finish(&diags);
}

/* ---- upstream's files ---- */

/* Findings of upstream that are not about scrape_configs, or about what lies beyond: discoveries we
 * only know by name, binary scalars. */
static bool is_beyond(const char *name) {
    static const char *const beyond[] = {
        "_sd_",         "azure",
        "ec2",          "eureka",
        "hetzner",      "http_",
        "ionos",        "kubernetes",
        "lightsail",    "marathon",
        "oci_",         "openstack",
        "otlp",         "outscale",
        "ovhcloud",     "puppetdb",
        "remote",       "stackit",
        "uyuni",        "scaleway",
        "labelname",    "labelvalue",
        "labelmap",     "rules",
        "unknown_g",    "scrape_config_files",
        "storage",      "tracing",
        "vultr",        "agent",
        "alert",        "static_config",
        "section_key",  "tsdb",
        "empty_r",      "metric_name",
        "utf8",         "config_with",
        "slow",         "global",
        "lowercase.",   "uppercase.",
        "digitalocean", "linode",
        "xds",          "triton",
        "nomad",        "scrape_failure",
    };
    for (size_t i = 0; i < ARRAY_LEN(beyond); i++) {
        if (strstr(name, beyond[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static void test_upstreams_files(void **state) {
    (void)state;
    const char *dir = getenv("UPSTREAM_CONFIG");
    DIR *files = dir == NULL ? NULL : opendir(dir);
    if (files == NULL) {
        unit_skip("upstream's configuration files are not there");
        return;
    }
    size_t bad_count = 0;
    size_t good_count = 0;
    struct dirent *entry;
    while ((entry = readdir(files)) != NULL) {
        const char *name = entry->d_name;
        bool is_bad = strstr(name, ".bad.") != NULL;
        if (strstr(name, ".yml") == NULL || is_beyond(name)) {
            continue;
        }
        char path[1024];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        struct diag_list diags;
        diag_list_init(&diags);
        struct yaml_doc *doc = NULL;
        struct decoded decoded = { .configs = ingest_scrape_configs_create() };
        if (yaml_load(path, &doc, &diags)) {
            decode_doc(doc, &diags, &decoded);
        }
        if ((diags.error_count > 0) != is_bad) {
            struct buf findings;
            buf_init(&findings, 1 << 20);
            diag_print(&diags, &findings);
            fail_msg("%s\n%s", name, findings.len == 0 ? "accepted" : findings.ptr);
        }
        bad_count += is_bad;
        good_count += !is_bad;
        ingest_scrape_configs_destroy(decoded.configs);
        yaml_doc_destroy(doc);
        diag_list_finish(&diags);
    }
    closedir(files);
    print_message("# %zu good and %zu bad files of upstream\n", good_count, bad_count);
    assert_true(bad_count > 15 && good_count > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_unsupported_gives_one_warning),
        cmocka_unit_test(test_later_layers_replace_by_job),
        cmocka_unit_test(test_upstreams_files),
    };
    return cmocka_run_group_tests_name("ingest/scrape_config", tests, NULL, NULL);
}
