/*
 * What the command line and the environment say. Every flag is also an environment variable:
 * --web.listen-address is TOCSIN_WEB_LISTEN_ADDRESS. Precedence: flag, environment, default.
 * Names are Prometheus' and Alertmanager's where these have one.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/string_list.h"

struct options {
    struct string_list config_files;
    char *alertmanager_config_file;
    struct string_list rule_globs;

    char *storage_path;
    int64_t retention_ms;    /* 0 = for ever */
    int64_t out_of_order_ms; /* 0 = off */
    uint64_t retention_bytes;
    struct string_list retention_classes;
    struct string_list rollups;
    uint64_t storage_reserve_bytes;
    char *ship_dir;

    char *backup_dir; /* NULL = no scheduled backups */
    int64_t backup_interval_ms;
    int64_t backup_keep_ms;
    int64_t series_max;
    int64_t series_per_metric_max; /* 0 = none */

    char *listen_address;
    char *external_url;
    char *route_prefix;
    char *cors_origin;
    bool enable_lifecycle;
    bool enable_admin_api;
    bool enable_remote_write;
    int64_t web_connections_max;

    int64_t query_timeout_ms;
    int64_t query_lookback_ms;
    int64_t query_samples_max;
    int64_t query_concurrency_max;

    int64_t resend_delay_ms;
    int64_t event_sample_interval_ms;
    int64_t self_scrape_interval_ms; /* 0 = off */
    bool host_metrics;

    struct string_list features;
    char *log_level;
    char *log_format;
};

/* A flag of the table; public so that help and documentation come from it. */
enum option_type {
    OPTION_STRING,
    OPTION_LIST,
    OPTION_BOOL,
    OPTION_I64,
    OPTION_DURATION,
    OPTION_BYTES,
};

struct option_spec {
    const char *name; /* without dashes */
    enum option_type type;
    size_t offset;
    const char *value_name; /* for help: "PATH" */
    const char *default_text;
    const char *extra_env; /* a second environment variable, or NULL */
    const char *help;
};

extern const struct option_spec option_specs[];
extern const size_t option_spec_count;

typedef const char *(*env_fn)(void *ctx, const char *name);

/* Defaults, then the environment, then argv[0..argc). ERR_INVALID names flag or variable, with the
 * nearest flag as suggestion. ret is finished by the caller also after a failure. */
WARN_UNUSED bool options_parse(struct options *ret,
                               int argc,
                               char *const *argv,
                               env_fn env,
                               void *env_ctx,
                               struct err *err);
void options_finish(struct options *options);

/* Name of the environment variable of a flag. */
void option_env_name(const char *flag, struct buf *out);

/* The value of a flag as text; lists joined by commas. */
void option_print_value(const struct options *options,
                        const struct option_spec *spec,
                        struct buf *out);

/* The flags as the help text. */
void options_help(struct buf *out);
