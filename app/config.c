/* Decoding of the configuration files. Scrape and notifier parts are their modules' own. */
#include "app/config.h"

#include <assert.h>

#include "base/mem.h"

/* Keys whose values own their dollars. */
static const char *const no_expansion_keys[] = {
    "expr",     "regex",   "replacement", "annotations", "title",   "text", "html", "headers",
    "fallback", "pretext", "footer",      "message",     "subject", "body", NULL,
};

/* Lists that merge by a key instead of being replaced. */
static const struct yaml_keyed_list keyed_lists[] = {
    { "scrape_configs", "job_name" },
    { "receivers", "name" },
    { "time_intervals", "name" },
    { "mute_time_intervals", "name" },
};

/* ---- small decoders ---- */

static char *resolve(const char *file, struct str path) {
    const char *slash = strrchr(file, '/');
    CLEANUP(buf_finish) struct buf out;
    buf_init(&out, 8192);
    if (slash != NULL && !str_starts_with(path, STR("/"))) {
        buf_append(&out, file, (size_t)(slash - file) + 1);
    }
    buf_str(&out, path);
    size_t len;
    return buf_take(&out, &len);
}

static void decode_strings(struct yaml_decode *ctx,
                           const struct yaml_node *node,
                           struct string_list *list,
                           bool is_path) {
    string_list_finish(list);
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a list");
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_node *item = node->items[i];
        if (item->kind != YAML_SCALAR || item->scalar.len == 0) {
            yaml_error(ctx, item, DIAG_ERROR, "expected a non-empty string");
            continue;
        }
        if (is_path) {
            char *path = resolve(yaml_at(ctx->doc, item).file, item->scalar);
            string_list_add(list, str_from(path));
            mem_free(path);
        } else {
            string_list_add(list, item->scalar);
        }
    }
}

static void decode_rule_files(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    decode_strings(ctx, node, dest, true);
}

static void decode_event_labels(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    decode_strings(ctx, node, dest, false);
    const struct string_list *list = dest;
    for (size_t i = 0; i < list->count; i++) {
        if (!label_name_is_valid_legacy(str_from(list->items[i]))) {
            yaml_error(ctx, node->items[i], DIAG_ERROR, "not a label name: \"%s\"", list->items[i]);
            return;
        }
    }
}

static void decode_external_labels(struct yaml_decode *ctx,
                                   const struct yaml_node *node,
                                   void *dest) {
    struct labels *labels = dest;
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_MAPPING) {
        yaml_error(ctx, node, DIAG_ERROR, "expected label names and values");
        return;
    }
    CLEANUP(arena_finish) struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct labels_builder builder;
    labels_builder_init(&builder, &arena, (struct labels){ 0 });
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        if (!label_name_is_valid_legacy(pair->key->scalar) || pair->value->kind != YAML_SCALAR) {
            yaml_error(ctx, pair->key, DIAG_ERROR, "not a valid external label: \"%.*s\"",
                       STR_FMT(pair->key->scalar));
            return;
        }
        labels_builder_set(&builder, pair->key->scalar, pair->value->scalar);
    }
    struct labels built = labels_builder_build(&builder);
    struct err err = ERR_INIT;
    if (!labels_normalize(&built, &err)) {
        yaml_error(ctx, node, DIAG_ERROR, "external labels: %s", err.msg);
        return;
    }
    mem_free(labels->items);
    *labels = labels_dup_heap(built);
}

static void accept_elsewhere(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)ctx;
    (void)node;
    (void)dest; /* decoded by the module that owns the key */
}

/* ---- the tables ---- */

#define IN(field) offsetof(struct config, field)

static const struct yaml_field global_fields[] = {
    { .key = "scrape_interval", .type = YAML_DURATION, .offset = IN(scrape.scrape_interval_ms) },
    { .key = "scrape_timeout", .type = YAML_DURATION, .offset = IN(scrape.scrape_timeout_ms) },
    { .key = "scrape_protocols",
      .type = YAML_CUSTOM,
      .offset = IN(scrape.scrape_protocols),
      .decode = ingest_scrape_protocols_decode },
    { .key = "evaluation_interval", .type = YAML_DURATION, .offset = IN(evaluation_interval_ms) },
    { .key = "rule_query_offset", .type = YAML_DURATION, .offset = IN(rule_query_offset_ms) },
    { .key = "external_labels",
      .type = YAML_CUSTOM,
      .offset = IN(external_labels),
      .decode = decode_external_labels },
    { .key = "body_size_limit", .type = YAML_BYTES, .offset = IN(scrape.body_size_limit) },
    { .key = "sample_limit", .type = YAML_U64, .offset = IN(scrape.sample_limit) },
    { .key = "target_limit", .type = YAML_U64, .offset = IN(scrape.target_limit) },
    { .key = "label_limit", .type = YAML_U64, .offset = IN(scrape.label_limit) },
    { .key = "label_name_length_limit",
      .type = YAML_U64,
      .offset = IN(scrape.label_name_length_limit) },
    { .key = "label_value_length_limit",
      .type = YAML_U64,
      .offset = IN(scrape.label_value_length_limit) },
    { .key = "keep_dropped_targets", .type = YAML_U64, .offset = IN(scrape.keep_dropped_targets) },
    { .key = "query_log_file", .type = YAML_IGNORED },
    { .key = "scrape_failure_log_file", .type = YAML_IGNORED },
    { .key = "metric_name_validation_scheme", .type = YAML_IGNORED },
    { .key = "metric_name_escaping_scheme", .type = YAML_IGNORED },
    { .key = "scrape_native_histograms", .type = YAML_IGNORED },
    { .key = "convert_classic_histograms_to_nhcb", .type = YAML_IGNORED },
    { .key = "always_scrape_classic_histograms", .type = YAML_IGNORED },
    { .key = "extra_scrape_metrics", .type = YAML_IGNORED },
};

static const struct yaml_field tsdb_fields[] = {
    { .key = "out_of_order_time_window", .type = YAML_DURATION, .offset = IN(out_of_order_ms) },
    { .key = "stale_series_compaction_threshold", .type = YAML_IGNORED },
    { .key = "chunk_encoding", .type = YAML_IGNORED },
    { .key = "retention", .type = YAML_IGNORED },
};

/* Every error is in ctx->diags. */
static void decode_tsdb(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)yaml_decode_mapping(ctx, node, tsdb_fields, ARRAY_LEN(tsdb_fields), dest);
}

static const struct yaml_field storage_fields[] = {
    { .key = "tsdb", .type = YAML_CUSTOM, .decode = decode_tsdb },
    { .key = "exemplars", .type = YAML_IGNORED },
};

static void decode_storage(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)yaml_decode_mapping(ctx, node, storage_fields, ARRAY_LEN(storage_fields), dest);
}

static const struct yaml_field events_fields[] = {
    { .key = "labels",
      .type = YAML_CUSTOM,
      .offset = IN(event_labels),
      .decode = decode_event_labels },
};

static const struct yaml_field root_fields[] = {
    { .key = "global", .type = YAML_CUSTOM, .decode = accept_elsewhere },
    { .key = "events", .type = YAML_CUSTOM, .decode = accept_elsewhere },
    { .key = "scrape_configs", .type = YAML_CUSTOM, .decode = accept_elsewhere },
    { .key = "rule_files",
      .type = YAML_CUSTOM,
      .offset = IN(rule_files),
      .decode = decode_rule_files },
    { .key = "scrape_config_files", .type = YAML_IGNORED },
    { .key = "alerting", .type = YAML_IGNORED },
    { .key = "remote_write", .type = YAML_IGNORED },
    { .key = "remote_read", .type = YAML_IGNORED },
    { .key = "storage", .type = YAML_CUSTOM, .decode = decode_storage },
    { .key = "tracing", .type = YAML_IGNORED },
    { .key = "otlp", .type = YAML_IGNORED },
    { .key = "runtime", .type = YAML_IGNORED },
};

/* Decode a mapping by our own table while accepting the keys that belong to the notifier. */
static void decode_shared(struct yaml_decode *ctx,
                          const struct yaml_node *node,
                          const struct yaml_field *own,
                          size_t own_count,
                          const char *const *others,
                          struct config *config) {
    size_t count = own_count;
    while (others != NULL && others[count - own_count] != NULL) {
        count++;
    }
    struct yaml_field *fields = mem_calloc(count, sizeof(*fields));
    memcpy(fields, own, own_count * sizeof(*fields));
    for (size_t i = own_count; i < count; i++) {
        fields[i] = (struct yaml_field){ .key = others[i - own_count],
                                         .type = YAML_CUSTOM,
                                         .decode = accept_elsewhere };
    }
    bool is_ok = yaml_decode_mapping(ctx, node, fields, count, config);
    (void)is_ok; /* every error is in ctx->diags */
    mem_free(fields);
}

static void decode_root(struct yaml_decode *ctx,
                        const struct yaml_node *root,
                        const struct config_params *params,
                        struct config *config) {
    decode_shared(ctx, root, root_fields, ARRAY_LEN(root_fields), notify_config_root_keys, config);
    if (root->kind != YAML_MAPPING) {
        return;
    }
    const struct yaml_node *global = yaml_get(root, "global");
    if (global != NULL && !yaml_is_null(global)) {
        decode_shared(ctx, global, global_fields, ARRAY_LEN(global_fields),
                      notify_config_global_keys, config);
    }
    const struct yaml_node *events = yaml_get(root, "events");
    if (events != NULL && !yaml_is_null(events)) {
        decode_shared(ctx, events, events_fields, ARRAY_LEN(events_fields), NULL, config);
    }
    const struct yaml_node *scrapes = yaml_get(root, "scrape_configs");
    if (scrapes != NULL && !yaml_is_null(scrapes)) {
        config->scrape_configs = ingest_scrape_configs_create();
        bool is_ok = ingest_scrape_decode(ctx, scrapes, &config->scrape, config->scrape_configs);
        (void)is_ok; /* every error is in ctx->diags */
    }
    struct notify_config_params notify_params = { .external_url = params->external_url,
                                                  .hello = params->hello };
    if (notify_config_is_present(root) &&
        !notify_config_decode(ctx, root, &notify_params, &config->notify)) {
        assert(ctx->diags->error_count > 0);
    }
}

/* ---- files ---- */

static bool load_layers(const struct options *options,
                        const struct config_params *params,
                        struct yaml_doc **ret,
                        struct diag_list *diags) {
    struct yaml_doc *merged = NULL;
    bool is_ok = true;
    for (size_t i = 0; i < options->config_files.count; i++) {
        struct yaml_doc *layer = NULL;
        if (!yaml_load(options->config_files.items[i], &layer, diags)) {
            is_ok = false;
            continue;
        }
        yaml_expand_env(layer, params->env, params->env_ctx, no_expansion_keys, diags);
        if (merged == NULL) {
            merged = layer;
        } else {
            yaml_merge(merged, layer, keyed_lists, ARRAY_LEN(keyed_lists));
        }
    }
    *ret = merged;
    return is_ok;
}

static void load_alertmanager(const struct options *options,
                              const struct config_params *params,
                              struct config *config,
                              struct diag_list *diags) {
    struct yaml_doc *doc = NULL;
    if (!yaml_load(options->alertmanager_config_file, &doc, diags)) {
        return;
    }
    yaml_expand_env(doc, params->env, params->env_ctx, no_expansion_keys, diags);
    struct yaml_decode ctx = { .doc = doc, .diags = diags };
    struct notify_config_params notify_params = { .external_url = params->external_url,
                                                  .hello = params->hello,
                                                  .is_standalone = true };
    struct notify_config *notify = NULL;
    if (yaml_root(doc) == NULL) {
        diag_add(diags, DIAG_ERROR, (struct diag_at){ .file = yaml_file(doc) }, "is empty");
    } else if (notify_config_decode(&ctx, yaml_root(doc), &notify_params, &notify)) {
        notify_config_unref(config->notify);
        config->notify = notify;
    }
    yaml_doc_destroy(doc);
}

bool config_load(const struct options *options,
                 const struct config_params *params,
                 struct config *ret,
                 struct diag_list *diags) {
    *ret = (struct config){
        .evaluation_interval_ms = 60000,
        .out_of_order_ms = options->out_of_order_ms,
    };
    struct yaml_doc *doc = NULL;
    bool is_ok = load_layers(options, params, &doc, diags);
    if (doc != NULL && yaml_root(doc) != NULL) {
        struct yaml_decode ctx = { .doc = doc, .diags = diags };
        decode_root(&ctx, yaml_root(doc), params, ret);
        CLEANUP(buf_finish) struct buf text;
        buf_init(&text, 16u << 20);
        yaml_print(doc, notify_config_secret_keys, &text);
        size_t len;
        ret->text = buf_take(&text, &len);
    }
    yaml_doc_destroy(doc);
    if (options->alertmanager_config_file != NULL) {
        load_alertmanager(options, params, ret, diags);
    }
    return is_ok && diags->error_count == 0;
}

void config_finish(struct config *config) {
    mem_free(config->external_labels.items);
    string_list_finish(&config->rule_files);
    string_list_finish(&config->event_labels);
    ingest_scrape_configs_destroy(config->scrape_configs);
    notify_config_unref(config->notify);
    mem_free(config->text);
    *config = (struct config){ 0 };
}
