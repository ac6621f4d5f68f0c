/*
 * The configuration file: prometheus.yml's shape with alertmanager.yml's keys beside it. Several
 * files are layers: mappings merge by key, scrape_configs by job_name, receivers, time_intervals
 * and templates' lists by name, other lists replace. ${VAR} is expanded after parsing.
 */
#pragma once

#include "app/options.h"
#include "ingest/ingest.h"
#include "notify/notify.h"

struct config {
    int64_t evaluation_interval_ms;
    int64_t rule_query_offset_ms;
    int64_t out_of_order_ms; /* storage.tsdb.out_of_order_time_window; the flag's when absent */
    struct labels external_labels;   /* heap: mem_free(items) */
    struct string_list rule_files;   /* globs, relative ones resolved against their file */
    struct string_list event_labels; /* events.labels: taken from an event's "labels" object */
    struct ingest_scrape_global scrape;
    struct ingest_scrape_configs *scrape_configs; /* NULL = none */
    struct notify_config *notify;                 /* NULL = no route and no receivers in any file */
    char *text;                                   /* the files as read, secrets as <secret> */
};

struct config_params {
    const char *external_url;
    const char *hello; /* host name */
    env_fn env;
    void *env_ctx;
};

/*
 * Load and check everything that the options name. All findings, warnings too, go to `diags`; false
 * when there was an error (ret is to be finished all the same). Without files: the defaults.
 */
WARN_UNUSED bool config_load(const struct options *options,
                             const struct config_params *params,
                             struct config *ret,
                             struct diag_list *diags);
void config_finish(struct config *config);
