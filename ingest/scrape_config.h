/* What one scrape configuration says, decoded. Immutable once decoded; shared by its targets. */
#pragma once

#include "base/http.h"
#include "base/string_list.h"
#include "ingest/ingest.h"

struct named_strings {
    char *name;
    struct string_list values;
};

/* Targets and the labels they share, as in static_configs and in files. */
struct target_group {
    struct string_list targets;
    struct label *labels; /* names and values owned */
    size_t label_count;
    char *source; /* file it came from; NULL = static */
};

struct file_discovery {
    struct string_list patterns; /* resolved against the configuration's directory */
    int64_t refresh_ms;
};

/* How to talk to a target. Files are read at every scrape, so that secrets can be rotated. */
struct scrape_http {
    char *username;
    char *username_file;
    char *password;
    char *password_file;
    char *auth_type; /* of `authorization`; "Bearer" unless stated */
    char *credentials;
    char *credentials_file;
    bool has_basic_auth;
    bool has_authorization;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *server_name;
    bool insecure_skip_verify;
    bool follow_redirects;
    struct named_strings *headers; /* http_headers */
    size_t header_count;
};

struct scrape_config {
    size_t refs;          /* owned by whoever holds the set, then by the scraper's thread */
    uint64_t fingerprint; /* of everything below */
    char *job_name;
    int64_t interval_ms;
    int64_t timeout_ms;
    struct ingest_scrape_protocols protocols;
    enum ingest_scrape_protocol fallback; /* INGEST_PROTOCOL_COUNT = none */
    char *metrics_path;
    char *scheme;
    struct named_strings *params;
    size_t param_count;
    bool honor_labels;
    bool honor_timestamps;
    bool track_timestamps_staleness;
    bool enable_compression;
    bool has_extra_metrics;
    bool is_legacy_names;
    uint64_t body_size_limit; /* limits: 0 = none */
    uint64_t sample_limit;
    uint64_t target_limit;
    uint64_t label_limit;
    uint64_t label_name_length_limit;
    uint64_t label_value_length_limit;
    uint64_t keep_dropped_targets;
    struct scrape_http http;
    struct target_group *groups;
    size_t group_count;
    struct file_discovery *files;
    size_t file_count;
    struct ingest_relabel *relabel;
    struct ingest_relabel *metric_relabel;
};

struct ingest_scrape_configs {
    struct scrape_config **items;
    size_t count;
    size_t cap;
};

void scrape_config_unref(struct scrape_config *config); /* NULL ok */

void named_strings_finish(struct named_strings *items, size_t count);
void target_group_finish(struct target_group *group);

/* A path of the configuration, relative to the file `node` stands in. Heap. */
char *path_resolve(struct yaml_decode *ctx, const struct yaml_node *node);
/* YAML_CUSTOM decoders. */
void path_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
void string_list_decode(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);

/* A target group: {targets: […], labels: {…}}. */
void target_group_decode(struct yaml_decode *ctx,
                         const struct yaml_node *node,
                         struct target_group *ret);

/* ---- scrape_http.c ---- */

/* The keys of an HTTP client inside a scrape configuration; offsets are into struct scrape_http. */
extern const struct yaml_field scrape_http_fields[];
extern const size_t scrape_http_field_count;
void scrape_http_check(struct yaml_decode *ctx,
                       const struct yaml_node *node,
                       struct scrape_http *http);
void scrape_http_finish(struct scrape_http *http);
