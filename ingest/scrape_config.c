/*
 * Decoding of `scrape_configs`. Keys are upstream's; discoveries other than static and files are
 * known and reported as not supported.
 * Source: Prometheus docs/configuration/configuration.md, config/config.go.
 */
#include "ingest/scrape_config.h"

#include <assert.h>
#include <stddef.h>

#include "base/hash.h"
#include "base/mem.h"

#define INTERVAL_MS_DEFAULT 60000
#define TIMEOUT_MS_DEFAULT  10000
#define REFRESH_MS_DEFAULT  (5 * 60 * 1000)
#define BODY_BYTES_MAX      (256u << 20) /* when body_size_limit says no limit */
#define AT(member)          offsetof(struct scrape_config, member)

/* ---- lists ---- */

void named_strings_finish(struct named_strings *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        mem_free(items[i].name);
        string_list_finish(&items[i].values);
    }
    mem_free(items);
}

void target_group_finish(struct target_group *group) {
    string_list_finish(&group->targets);
    for (size_t i = 0; i < group->label_count; i++) {
        mem_free((char *)(uintptr_t)group->labels[i].name.ptr);
        mem_free((char *)(uintptr_t)group->labels[i].value.ptr);
    }
    mem_free(group->labels);
    mem_free(group->source);
}

static char *scalar_dup(const struct yaml_node *node) {
    return mem_strndup(node->scalar.ptr, node->scalar.len);
}

void string_list_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct string_list *list = dest;
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "must be a list of strings");
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        if (node->items[i]->kind != YAML_SCALAR) {
            yaml_error(ctx, node->items[i], DIAG_ERROR, "must be a string");
        } else {
            string_list_take(list, scalar_dup(node->items[i]));
        }
    }
}

char *path_resolve(struct yaml_decode *ctx, const struct yaml_node *node) {
    const char *file = yaml_at(ctx->doc, node).file;
    const char *slash = file == NULL ? NULL : strrchr(file, '/');
    if (slash == NULL || node->scalar.len == 0 || node->scalar.ptr[0] == '/') {
        return scalar_dup(node);
    }
    size_t dir_len = (size_t)(slash - file) + 1;
    char *path = mem_alloc(dir_len + node->scalar.len + 1);
    memcpy(path, file, dir_len);
    memcpy(path + dir_len, node->scalar.ptr, node->scalar.len);
    path[dir_len + node->scalar.len] = '\0';
    return path;
}

void path_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    char **ret = dest;
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SCALAR) {
        yaml_error(ctx, node, DIAG_ERROR, "must be a path");
        return;
    }
    mem_free(*ret);
    *ret = path_resolve(ctx, node);
}

/* ---- target groups ---- */

static void group_labels_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct target_group *group =
        (struct target_group *)(void *)((char *)dest - offsetof(struct target_group, labels));
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_MAPPING) {
        yaml_error(ctx, node, DIAG_ERROR, "labels must be a mapping of names to values");
        return;
    }
    group->labels = mem_calloc(node->count + 1, sizeof(group->labels[0]));
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *key = node->pairs[i].key;
        const struct yaml_node *value = node->pairs[i].value;
        if (key->scalar.len == 0 || !str_is_utf8(key->scalar)) {
            yaml_error(ctx, key, DIAG_ERROR, "not a valid label name");
        } else if (value->kind != YAML_SCALAR || !str_is_utf8(value->scalar)) {
            yaml_error(ctx, value, DIAG_ERROR, "not a valid label value");
        } else {
            group->labels[group->label_count++] = (struct label){
                .name = str_n(scalar_dup(key), key->scalar.len),
                .value = str_n(scalar_dup(value), value->scalar.len),
            };
        }
    }
}

static void targets_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct string_list *targets = dest;
    string_list_decode(ctx, node, targets);
    for (size_t i = 0; i < targets->count; i++) {
        if (strchr(targets->items[i], '/') != NULL || targets->items[i][0] == '\0') {
            yaml_error(ctx, node->items[i], DIAG_ERROR,
                       "\"%s\" is not a target: HOST:PORT without scheme and path",
                       targets->items[i]);
        }
    }
}

void target_group_decode(struct yaml_decode *ctx,
                         const struct yaml_node *node,
                         struct target_group *ret) {
    static const struct yaml_field fields[] = {
        { "targets", YAML_CUSTOM, offsetof(struct target_group, targets), false, targets_decode },
        { "labels", YAML_CUSTOM, offsetof(struct target_group, labels), false,
          group_labels_decode },
    };
    if (yaml_is_null(node)) {
        yaml_error(ctx, node, DIAG_ERROR, "empty target group");
        return;
    }
    yaml_decode_mapping(ctx, node, fields, ARRAY_LEN(fields), ret);
}

static void static_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct scrape_config *config = (struct scrape_config *)(void *)((char *)dest - AT(groups));
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "static_configs must be a list");
        return;
    }
    config->groups = mem_calloc(node->count + 1, sizeof(config->groups[0]));
    for (size_t i = 0; i < node->count; i++) {
        target_group_decode(ctx, node->items[i], &config->groups[config->group_count++]);
    }
}

static bool is_discovery_file(const char *path) {
    static const char *const suffixes[] = { ".json", ".yml", ".yaml" };
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        if (str_ends_with(str_from(path), str_from(suffixes[i]))) {
            return true;
        }
    }
    return false;
}

static void patterns_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct string_list *patterns = dest;
    if (yaml_is_null(node) || node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "files must be a list of paths");
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *item = node->items[i];
        if (item->kind != YAML_SCALAR || !is_discovery_file(item->scalar.ptr)) {
            yaml_error(ctx, item, DIAG_ERROR, "must be a path that ends in .json, .yml or .yaml");
        } else {
            string_list_take(patterns, path_resolve(ctx, item));
        }
    }
}

static void file_sd_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    static const struct yaml_field fields[] = {
        { "files", YAML_CUSTOM, offsetof(struct file_discovery, patterns), true, patterns_decode },
        { "refresh_interval", YAML_DURATION, offsetof(struct file_discovery, refresh_ms), false,
          NULL },
    };
    struct scrape_config *config = (struct scrape_config *)(void *)((char *)dest - AT(files));
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "file_sd_configs must be a list");
        return;
    }
    config->files = mem_calloc(node->count + 1, sizeof(config->files[0]));
    for (size_t i = 0; i < node->count; i++) {
        struct file_discovery *files = &config->files[config->file_count++];
        files->refresh_ms = REFRESH_MS_DEFAULT;
        yaml_decode_mapping(ctx, node->items[i], fields, ARRAY_LEN(fields), files);
    }
}

/* ---- protocols and schemes ---- */

static const char *const protocol_names[] = {
    [INGEST_PROTOCOL_PROMETHEUS_PROTO] = "PrometheusProto",
    [INGEST_PROTOCOL_OPENMETRICS_0_0_1] = "OpenMetricsText0.0.1",
    [INGEST_PROTOCOL_OPENMETRICS_1_0_0] = "OpenMetricsText1.0.0",
    [INGEST_PROTOCOL_PROMETHEUS_TEXT_0_0_4] = "PrometheusText0.0.4",
    [INGEST_PROTOCOL_PROMETHEUS_TEXT_1_0_0] = "PrometheusText1.0.0",
};
static_assert(ARRAY_LEN(protocol_names) == INGEST_PROTOCOL_COUNT, "every protocol has a name");

static void protocol_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    enum ingest_scrape_protocol *ret = dest;
    for (size_t i = 0; node->kind == YAML_SCALAR && i < INGEST_PROTOCOL_COUNT; i++) {
        if (str_eq_c(node->scalar, protocol_names[i])) {
            *ret = (enum ingest_scrape_protocol)i;
            return;
        }
    }
    const char *nearest = node->kind == YAML_SCALAR
                              ? str_nearest(node->scalar, protocol_names, INGEST_PROTOCOL_COUNT)
                              : NULL;
    yaml_error(ctx, node, DIAG_ERROR, "unknown scrape protocol%s%s%s",
               nearest == NULL ? "" : ", did you mean \"", nearest == NULL ? "" : nearest,
               nearest == NULL ? "" : "\"?");
}

void ingest_scrape_protocols_decode(struct yaml_decode *ctx,
                                    const struct yaml_node *node,
                                    void *dest) {
    struct ingest_scrape_protocols *protocols = dest;
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE || node->count == 0) {
        yaml_error(ctx, node, DIAG_ERROR, "scrape_protocols must be a list of protocols");
        return;
    }
    protocols->count = 0;
    for (size_t i = 0; i < node->count; i++) {
        enum ingest_scrape_protocol protocol = INGEST_PROTOCOL_COUNT;
        protocol_decode(ctx, node->items[i], &protocol);
        bool is_new = protocol != INGEST_PROTOCOL_COUNT;
        for (size_t k = 0; k < protocols->count; k++) {
            if (protocols->items[k] == protocol) {
                yaml_error(ctx, node->items[i], DIAG_ERROR, "this protocol is in the list already");
                is_new = false;
            }
        }
        if (is_new) {
            protocols->items[protocols->count++] = protocol;
        }
    }
}

static void scheme_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    char **ret = dest;
    if (yaml_is_null(node)) {
        return;
    }
    bool is_known = node->kind == YAML_SCALAR &&
                    (str_eq_c(node->scalar, "http") || str_eq_c(node->scalar, "https"));
    if (!is_known) {
        yaml_error(ctx, node, DIAG_ERROR, "scheme must be http or https");
        return;
    }
    mem_free(*ret);
    *ret = scalar_dup(node);
}

static void validation_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    bool *is_legacy = dest;
    if (yaml_is_null(node)) {
        return;
    }
    *is_legacy = node->kind == YAML_SCALAR && str_eq_c(node->scalar, "legacy");
    if (!*is_legacy && !(node->kind == YAML_SCALAR && str_eq_c(node->scalar, "utf8"))) {
        yaml_error(ctx, node, DIAG_ERROR, "must be legacy or utf8");
    }
}

static void params_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct scrape_config *config = (struct scrape_config *)(void *)((char *)dest - AT(params));
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_MAPPING) {
        yaml_error(ctx, node, DIAG_ERROR, "params must be a mapping of names to lists");
        return;
    }
    config->params = mem_calloc(node->count + 1, sizeof(config->params[0]));
    for (size_t i = 0; i < node->count; i++) {
        struct named_strings *param = &config->params[config->param_count++];
        param->name = scalar_dup(node->pairs[i].key);
        string_list_decode(ctx, node->pairs[i].value, &param->values);
    }
}

/* ---- one configuration ---- */

static const struct yaml_field config_fields[] = {
    { "job_name", YAML_STRING, AT(job_name), true, NULL },
    { "scrape_interval", YAML_DURATION, AT(interval_ms), false, NULL },
    { "scrape_timeout", YAML_DURATION, AT(timeout_ms), false, NULL },
    { "scrape_protocols", YAML_CUSTOM, AT(protocols), false, ingest_scrape_protocols_decode },
    { "fallback_scrape_protocol", YAML_CUSTOM, AT(fallback), false, protocol_decode },
    { "metrics_path", YAML_STRING, AT(metrics_path), false, NULL },
    { "scheme", YAML_CUSTOM, AT(scheme), false, scheme_decode },
    { "params", YAML_CUSTOM, AT(params), false, params_decode },
    { "honor_labels", YAML_BOOL, AT(honor_labels), false, NULL },
    { "honor_timestamps", YAML_BOOL, AT(honor_timestamps), false, NULL },
    { "track_timestamps_staleness", YAML_BOOL, AT(track_timestamps_staleness), false, NULL },
    { "enable_compression", YAML_BOOL, AT(enable_compression), false, NULL },
    { "extra_scrape_metrics", YAML_BOOL, AT(has_extra_metrics), false, NULL },
    { "metric_name_validation_scheme", YAML_CUSTOM, AT(is_legacy_names), false, validation_decode },
    { "body_size_limit", YAML_BYTES, AT(body_size_limit), false, NULL },
    { "sample_limit", YAML_U64, AT(sample_limit), false, NULL },
    { "target_limit", YAML_U64, AT(target_limit), false, NULL },
    { "label_limit", YAML_U64, AT(label_limit), false, NULL },
    { "label_name_length_limit", YAML_U64, AT(label_name_length_limit), false, NULL },
    { "label_value_length_limit", YAML_U64, AT(label_value_length_limit), false, NULL },
    { "keep_dropped_targets", YAML_U64, AT(keep_dropped_targets), false, NULL },
    { "static_configs", YAML_CUSTOM, AT(groups), false, static_decode },
    { "file_sd_configs", YAML_CUSTOM, AT(files), false, file_sd_decode },
    { "relabel_configs", YAML_CUSTOM, AT(relabel), false, ingest_relabel_decode },
    { "metric_relabel_configs", YAML_CUSTOM, AT(metric_relabel), false, ingest_relabel_decode },
};

/* Known upstream; each gives one warning. */
static const char *const ignored_keys[] = {
    "always_scrape_classic_histograms",
    "convert_classic_histograms_to_nhcb",
    "metric_name_escaping_scheme",
    "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor",
    "scrape_classic_histograms",
    "scrape_failure_log_file",
    "scrape_native_histograms",
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "http_sd_configs",
    "ionos_sd_configs",
    "kubernetes_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "rds_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
};

#define FIELDS_MAX (ARRAY_LEN(config_fields) + ARRAY_LEN(ignored_keys) + 32)

static size_t all_fields(struct yaml_field out[FIELDS_MAX]) {
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(config_fields); i++) {
        out[count++] = config_fields[i];
    }
    for (size_t i = 0; i < scrape_http_field_count; i++) {
        out[count] = scrape_http_fields[i];
        out[count++].offset += AT(http);
    }
    for (size_t i = 0; i < ARRAY_LEN(ignored_keys); i++) {
        out[count++] = (struct yaml_field){ .key = ignored_keys[i], .type = YAML_IGNORED };
    }
    assert(count <= FIELDS_MAX);
    return count;
}

static struct scrape_config *config_create(const struct ingest_scrape_global *global) {
    struct scrape_config *config = mem_calloc(1, sizeof(*config));
    config->refs = 1;
    config->protocols = global->scrape_protocols;
    config->fallback = INGEST_PROTOCOL_COUNT;
    config->metrics_path = mem_strdup("/metrics");
    config->scheme = mem_strdup("http");
    config->honor_timestamps = true;
    config->enable_compression = true;
    config->http.follow_redirects = true;
    config->body_size_limit = global->body_size_limit;
    config->sample_limit = global->sample_limit;
    config->target_limit = global->target_limit;
    config->label_limit = global->label_limit;
    config->label_name_length_limit = global->label_name_length_limit;
    config->label_value_length_limit = global->label_value_length_limit;
    config->keep_dropped_targets = global->keep_dropped_targets;
    return config;
}

void scrape_config_unref(struct scrape_config *config) {
    if (config == NULL || --config->refs > 0) {
        return;
    }
    mem_free(config->job_name);
    mem_free(config->metrics_path);
    mem_free(config->scheme);
    named_strings_finish(config->params, config->param_count);
    scrape_http_finish(&config->http);
    for (size_t i = 0; i < config->group_count; i++) {
        target_group_finish(&config->groups[i]);
    }
    mem_free(config->groups);
    for (size_t i = 0; i < config->file_count; i++) {
        string_list_finish(&config->files[i].patterns);
    }
    mem_free(config->files);
    ingest_relabel_destroy(config->relabel);
    ingest_relabel_destroy(config->metric_relabel);
    mem_free(config);
}

static void intervals_check(struct yaml_decode *ctx,
                            const struct yaml_node *node,
                            const struct ingest_scrape_global *global,
                            struct scrape_config *config) {
    int64_t global_interval_ms =
        global->scrape_interval_ms == 0 ? INTERVAL_MS_DEFAULT : global->scrape_interval_ms;
    int64_t global_timeout_ms =
        global->scrape_timeout_ms == 0 ? TIMEOUT_MS_DEFAULT : global->scrape_timeout_ms;
    if (config->interval_ms == 0) {
        config->interval_ms = global_interval_ms;
    }
    if (config->timeout_ms > config->interval_ms) {
        const struct yaml_node *at = yaml_get(node, "scrape_timeout");
        yaml_error(ctx, at, DIAG_ERROR, "scrape_timeout is longer than scrape_interval");
    }
    if (config->timeout_ms == 0) {
        config->timeout_ms =
            global_timeout_ms > config->interval_ms ? config->interval_ms : global_timeout_ms;
    }
    if (config->body_size_limit == 0) {
        config->body_size_limit = BODY_BYTES_MAX;
    }
}

/* The subtree as text, to see whether a reload changed it. */
static void node_print(const struct yaml_node *node, struct buf *out) {
    switch (node->kind) {
    case YAML_SCALAR:
        buf_printf(out, "%zu:", node->scalar.len);
        buf_str(out, node->scalar);
        break;
    case YAML_SEQUENCE:
        buf_putc(out, '[');
        for (size_t i = 0; i < node->count; i++) {
            node_print(node->items[i], out);
        }
        buf_putc(out, ']');
        break;
    case YAML_MAPPING:
        buf_putc(out, '{');
        for (size_t i = 0; i < node->count; i++) {
            node_print(node->pairs[i].key, out);
            node_print(node->pairs[i].value, out);
        }
        buf_putc(out, '}');
        break;
    }
}

static uint64_t fingerprint_of(const struct yaml_node *node,
                               const struct ingest_scrape_global *global) {
    struct buf text CLEANUP(buf_finish);
    buf_init(&text, 16u << 20);
    node_print(node, &text);
    const uint64_t numbers[] = {
        (uint64_t)global->scrape_interval_ms,
        (uint64_t)global->scrape_timeout_ms,
        global->body_size_limit,
        global->sample_limit,
        global->target_limit,
        global->label_limit,
        global->label_name_length_limit,
        global->label_value_length_limit,
        global->keep_dropped_targets,
        global->scrape_protocols.count,
    };
    buf_append(&text, numbers, sizeof(numbers));
    for (size_t i = 0; i < global->scrape_protocols.count; i++) {
        buf_putc(&text, (char)global->scrape_protocols.items[i]);
    }
    return hash_bytes(buf_as_str(&text));
}

static struct scrape_config *config_decode(struct yaml_decode *ctx,
                                           const struct yaml_node *node,
                                           const struct ingest_scrape_global *global) {
    struct yaml_field fields[FIELDS_MAX];
    size_t field_count = all_fields(fields);
    struct scrape_config *config = config_create(global);
    if (yaml_is_null(node)) {
        yaml_error(ctx, node, DIAG_ERROR, "empty scrape configuration");
        return config;
    }
    bool is_ok = yaml_decode_mapping(ctx, node, fields, field_count, config);
    if (is_ok && config->job_name[0] == '\0') {
        yaml_error(ctx, node, DIAG_ERROR, "job_name is empty");
    }
    if (is_ok) {
        intervals_check(ctx, node, global, config);
        scrape_http_check(ctx, node, &config->http);
        config->fingerprint = fingerprint_of(node, global);
    }
    return config;
}

/* ---- sets ---- */

struct ingest_scrape_configs *ingest_scrape_configs_create(void) {
    return mem_calloc(1, sizeof(struct ingest_scrape_configs));
}

void ingest_scrape_configs_destroy(struct ingest_scrape_configs *configs) {
    if (configs == NULL) {
        return;
    }
    for (size_t i = 0; i < configs->count; i++) {
        scrape_config_unref(configs->items[i]);
    }
    mem_free(configs->items);
    mem_free(configs);
}

size_t ingest_scrape_configs_count(const struct ingest_scrape_configs *configs) {
    return configs->count;
}

/* True when the set has the job already; replaced when it came from an earlier call. */
static bool set_put(struct ingest_scrape_configs *configs,
                    size_t earlier_count,
                    struct scrape_config *config) {
    for (size_t i = 0; i < configs->count; i++) {
        if (strcmp(configs->items[i]->job_name, config->job_name) == 0) {
            if (i >= earlier_count) {
                return false;
            }
            scrape_config_unref(configs->items[i]);
            configs->items[i] = config;
            return true;
        }
    }
    configs->items =
        vec_grow(configs->items, &configs->cap, configs->count + 1, sizeof(configs->items[0]));
    configs->items[configs->count++] = config;
    return true;
}

bool ingest_scrape_decode(struct yaml_decode *ctx,
                          const struct yaml_node *node,
                          const struct ingest_scrape_global *global,
                          struct ingest_scrape_configs *configs) {
    size_t errors_before = ctx->diags->error_count;
    size_t earlier_count = configs->count;
    if (yaml_is_null(node)) {
        return true;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "scrape_configs must be a list");
        return false;
    }
    for (size_t i = 0; i < node->count; i++) {
        size_t errors = ctx->diags->error_count;
        struct scrape_config *config = config_decode(ctx, node->items[i], global);
        if (ctx->diags->error_count != errors) {
            scrape_config_unref(config);
        } else if (!set_put(configs, earlier_count, config)) {
            yaml_error(ctx, node->items[i], DIAG_ERROR, "job_name \"%s\" is used twice",
                       config->job_name);
            scrape_config_unref(config);
        }
    }
    return ctx->diags->error_count == errors_before;
}
