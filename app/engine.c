/*
 * Wiring. Order of creation: metrics, store, notifier, rules, ingest, web; of stopping: web first
 * (nothing new comes in), then ingest, rules, notifier, and the store last.
 */
#include "app/engine.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "app/backup_job.h"
#include "app/storage.h"
#include "base/mem.h"
#include "rules/rules.h"
#include "tsdb/tsdb.h"
#include "web/web.h"

enum {
    STOP_GRACE_MS = 5000,
    NOTIFY_GRACE_MS = 2000,
};

struct engine {
    struct engine_options opts; /* immutable after create */
    struct promql_features features;
    char *external_url; /* immutable after create */
    char hello[256];
    struct web_flag *flags;
    struct buf flag_text; /* holds the values of flags */

    struct metric_registry *metrics;
    struct tsdb *db;
    struct storage_classes retention_classes;
    struct notify *notify;
    struct rules *rules;
    struct ingest *ingest;
    struct web *web;
    struct backup_job *backup_job; /* NULL = none */
    struct metric *reload_ok;
    struct metric *reload_time;
    bool is_started;
    bool is_store_ok; /* main thread: as last reported */
    bool is_ship_ok;  /* … too */

    pthread_mutex_t reload_mu;
    char *config_text; /* guarded by reload_mu */
    bool is_reload_ok; /* guarded by reload_mu */
    int64_t reload_ms; /* guarded by reload_mu */
};

/* What one reading of all files gives. */
struct loaded {
    struct config config;
    struct rule_set *rules;
};

static void loaded_finish(struct loaded *loaded) {
    config_finish(&loaded->config);
    rule_set_destroy(loaded->rules);
    loaded->rules = NULL;
}

bool features_parse(const struct string_list *names, struct promql_features *ret, struct err *err) {
    static const struct {
        const char *name;
        size_t offset;
    } known[] = {
        { "promql-experimental-functions",
          offsetof(struct promql_features, experimental_functions) },
        { "promql-duration-expr", offsetof(struct promql_features, duration_expressions) },
        { "promql-extended-range-selectors",
          offsetof(struct promql_features, extended_range_selectors) },
        { "promql-binop-fill-modifiers", offsetof(struct promql_features, binop_fill_modifiers) },
    };

    *ret = (struct promql_features){ 0 };
    for (size_t i = 0; i < names->count; i++) {
        struct str rest = str_from(names->items[i]);
        struct str name;
        bool has_more = true;
        while (has_more) {
            has_more = str_cut(rest, ',', &name, &rest);
            size_t k = 0;
            while (k < ARRAY_LEN(known) && !str_eq_c(name, known[k].name)) {
                k++;
            }
            if (k == ARRAY_LEN(known)) {
                return err_set(err, ERR_INVALID, "--enable-feature: unknown feature \"%.*s\"",
                               STR_FMT(name));
            }
            *(bool *)((char *)ret + known[k].offset) = true;
        }
    }
    return true;
}

/* ---- files ---- */

/* Where alerts go when no file says so: the inbox, and what the environment names. */
static bool notify_from_env(struct engine *engine, struct config *config, struct err *err) {
    env_fn env = engine->opts.env;
    void *ctx = engine->opts.env_ctx;
    const char *user = env(ctx, "SMTP_USER");
    const char *tls = env(ctx, "SMTP_TLS");
    struct notify_env_config variables = {
        .slack_webhook_url = env(ctx, "ALERT_WEBHOOK_URL"),
        .email_to = env(ctx, "ALERT_EMAIL"),
        .smtp_host = env(ctx, "SMTP_HOST"),
        .smtp_port = env(ctx, "SMTP_PORT"),
        .smtp_username = user != NULL ? user : env(ctx, "SMTP_USERNAME"),
        .smtp_password = env(ctx, "SMTP_PASSWORD"),
        .smtp_from = env(ctx, "SMTP_FROM"),
        .smtp_tls = tls != NULL ? tls : env(ctx, "SMTP_STARTTLS"),
    };
    struct notify_config_params params = { .external_url = engine->external_url,
                                           .hello = engine->hello };
    return notify_config_from_env(&variables, &params, &config->notify, err);
}

static bool load_rules(struct engine *engine, struct loaded *loaded, struct diag_list *diags) {
    const struct options *options = engine->opts.options;
    const struct config *config = &loaded->config;
    struct string_list globs = { 0 };
    for (size_t i = 0; i < options->rule_globs.count; i++) {
        string_list_add(&globs, str_from(options->rule_globs.items[i]));
    }
    for (size_t i = 0; i < config->rule_files.count; i++) {
        string_list_add(&globs, str_from(config->rule_files.items[i]));
    }
    struct rules_load_options load = {
        .interval_ms = config->evaluation_interval_ms,
        .query_offset_ms = config->rule_query_offset_ms,
        .features = engine->features,
        .external_url = engine->external_url,
        .external_labels = config->external_labels,
        .is_reload = engine->is_started,
    };
    bool is_ok =
        rules_load((const char *const *)globs.items, globs.count, &load, &loaded->rules, diags);
    string_list_finish(&globs);
    return is_ok;
}

/* Read everything; false with findings, or with err for what is not about a file. */
static bool load_all(struct engine *engine,
                     struct loaded *ret,
                     struct diag_list *diags,
                     struct err *err) {
    *ret = (struct loaded){ 0 };
    struct config_params params = { .external_url = engine->external_url,
                                    .hello = engine->hello,
                                    .env = engine->opts.env,
                                    .env_ctx = engine->opts.env_ctx };
    bool is_config_ok = config_load(engine->opts.options, &params, &ret->config, diags);
    bool is_rules_ok = load_rules(engine, ret, diags); /* both, to show all findings at once */
    if (!is_config_ok || !is_rules_ok) {
        loaded_finish(ret);
        return diag_to_err(diags, err);
    }
    if (ret->config.notify == NULL && !notify_from_env(engine, &ret->config, err)) {
        loaded_finish(ret);
        return false;
    }
    return true;
}

/* 0 of the configuration means "off"; 0 of the store means "default". */
static int64_t out_of_order_of(const struct config *config) {
    return config->out_of_order_ms == 0 ? TSDB_OUT_OF_ORDER_NONE : config->out_of_order_ms;
}

/* Switch the running modules over; takes what it needs out of `loaded`. */
static void apply(struct engine *engine, struct loaded *loaded) {
    struct config *config = &loaded->config;
    notify_reload(engine->notify, config->notify);
    struct ingest_scrape_configs *scrapes = config->scrape_configs;
    config->scrape_configs = NULL;
    ingest_scrape_apply(engine->ingest, scrapes != NULL ? scrapes : ingest_scrape_configs_create());
    web_set_external_labels(engine->web, config->external_labels);
    tsdb_set_out_of_order(engine->db, out_of_order_of(config));
    rules_apply(engine->rules, loaded->rules, clock_wall_ms(engine->opts.clock));
    loaded->rules = NULL;

    pthread_mutex_lock(&engine->reload_mu);
    mem_free(engine->config_text);
    engine->config_text = config->text;
    config->text = NULL;
    pthread_mutex_unlock(&engine->reload_mu);
}

static void note_reload(struct engine *engine, bool is_ok) {
    int64_t now_ms = clock_wall_ms(engine->opts.clock);
    pthread_mutex_lock(&engine->reload_mu);
    engine->is_reload_ok = is_ok;
    engine->reload_ms = now_ms;
    pthread_mutex_unlock(&engine->reload_mu);
    metric_set(engine->reload_ok, is_ok ? 1 : 0);
    if (is_ok) {
        metric_set(engine->reload_time, (double)now_ms / 1000);
    }
}

bool engine_reload(struct engine *engine, struct err *err) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct loaded loaded;
    bool is_ok = load_all(engine, &loaded, &diags, err);
    if (is_ok) {
        apply(engine, &loaded);
        loaded_finish(&loaded);
        log_write(engine->opts.log, LOG_LEVEL_INFO, "app", "Reloaded configuration and rules",
                  NULL);
    } else {
        if (diags.error_count == 0) {
            diag_add(&diags, DIAG_ERROR, (struct diag_at){ .file = "environment" }, "%s", err->msg);
        }
        rules_reload_failed(engine->rules, &diags, clock_wall_ms(engine->opts.clock));
        log_error(engine->opts.log, "app", "Reload refused, the running set goes on",
                  LOG_CSTR("error", err->msg));
    }
    note_reload(engine, is_ok);
    diag_list_finish(&diags);
    return is_ok;
}

/* ---- hooks of web ---- */

static bool hook_reload(void *ctx, struct err *err) {
    return engine_reload(ctx, err);
}

static void hook_config_text(void *ctx, struct buf *out) {
    struct engine *engine = ctx;
    pthread_mutex_lock(&engine->reload_mu);
    buf_cstr(out, engine->config_text == NULL ? "" : engine->config_text);
    pthread_mutex_unlock(&engine->reload_mu);
}

static void hook_reload_status(void *ctx, bool *ret_is_ok, int64_t *ret_at_ms) {
    struct engine *engine = ctx;
    pthread_mutex_lock(&engine->reload_mu);
    *ret_is_ok = engine->is_reload_ok;
    *ret_at_ms = engine->reload_ms;
    pthread_mutex_unlock(&engine->reload_mu);
}

static bool hook_snapshot(void *ctx, bool skip_head, struct buf *ret_name, struct err *err) {
    struct engine *engine = ctx;
    return backup_snapshot(engine->opts.options->storage_path, skip_head,
                           clock_wall_ms(engine->opts.clock), ret_name, err);
}

/* ---- what rules report ---- */

static enum log_level event_level(enum rules_event_kind kind) {
    switch (kind) {
    case RULES_COMMIT_FAILED: return LOG_LEVEL_ERROR;
    case RULES_RULE_RECOVERED:
    case RULES_ALERT_FIRING:
    case RULES_ALERT_RESOLVED: return LOG_LEVEL_INFO;
    default: return LOG_LEVEL_WARNING;
    }
}

static void report_rules_event(void *ctx, const struct rules_event *event) {
    struct engine *engine = ctx;
    log_write(engine->opts.log, event_level(event->kind), "rules",
              rules_event_to_string(event->kind),
              LOG_FIELDS(LOG_CSTR("file", event->file), LOG_CSTR("group", event->group),
                         LOG_CSTR("rule", event->rule), LOG_CSTR("detail", event->message),
                         LOG_I64("count", event->count)));
}

/* ---- creation ---- */

static void make_flags(struct engine *engine) {
    buf_init(&engine->flag_text, 1u << 20);
    engine->flags = mem_calloc(option_spec_count, sizeof(*engine->flags));
    size_t *starts = mem_calloc(option_spec_count, sizeof(*starts));
    for (size_t i = 0; i < option_spec_count; i++) {
        starts[i] = engine->flag_text.len;
        option_print_value(engine->opts.options, &option_specs[i], &engine->flag_text);
        buf_putc(&engine->flag_text, '\0');
    }
    for (size_t i = 0; i < option_spec_count; i++) {
        engine->flags[i] = (struct web_flag){ .name = option_specs[i].name,
                                              .value = engine->flag_text.ptr + starts[i] };
    }
    mem_free(starts);
}

/* http://HOST:PORT as others reach it; a wildcard address is replaced by the host's name. */
static char *url_of_address(const struct engine *engine, const char *address) {
    struct str text = str_from(address);
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':') {
        colon--;
    }
    struct str host = str_n(text.ptr, colon == 0 ? text.len : colon - 1);
    bool is_any = host.len == 0 || str_eq(host, STR("0.0.0.0")) || str_eq(host, STR("[::]"));
    CLEANUP(buf_finish) struct buf url;
    buf_init(&url, 1024);
    buf_cstr(&url, "http://");
    buf_str(&url, is_any ? str_from(engine->hello) : host);
    buf_putc(&url, ':');
    buf_str(&url, str_n(text.ptr + colon, text.len - colon));
    size_t len;
    return buf_take(&url, &len);
}

static void log_damage(void *ctx, const char *what) {
    struct engine *engine = ctx;
    log_error(engine->opts.log, "tsdb", "Data on disk is damaged and was left out",
              LOG_CSTR("damage", what));
}

static void log_conflict(void *ctx, const char *what) {
    struct engine *engine = ctx;
    log_warning(engine->opts.log, "tsdb", "A sample was not kept", LOG_CSTR("reason", what));
}

static bool create_store(struct engine *engine, const struct config *config, struct err *err) {
    const struct options *options = engine->opts.options;
    struct tsdb_options store = {
        .path = options->storage_path,
        .clock = engine->opts.clock,
        .metrics = engine->metrics,
        .retention_ms = options->retention_ms,
        .retention_bytes = options->retention_bytes,
        .future_ms_max = 10 * 60 * 1000,
        .out_of_order_ms = out_of_order_of(config),
        .querier_ms_max = options->query_timeout_ms,
        .series_max = (uint64_t)options->series_max,
        .series_per_metric_max = (uint64_t)options->series_per_metric_max,
        .space_reserve_bytes = options->storage_reserve_bytes,
        .ship_dir = options->ship_dir,
        .on_damage = log_damage,
        .on_damage_ctx = engine,
        .on_conflict = log_conflict,
        .on_conflict_ctx = engine,
    };
    return (storage_parse_rollups(&options->rollups, &store, err) &&
            storage_parse_classes(&options->retention_classes, &engine->retention_classes, &store,
                                  err) &&
            tsdb_open(&store, &engine->db, err)) ||
           err_wrap(err, "opening the store in %s", options->storage_path);
}

static bool create_alerting(struct engine *engine, const struct config *config, struct err *err) {
    const struct options *options = engine->opts.options;
    struct notify_options notify = {
        .kv = tsdb_kv(engine->db),
        .config = config->notify,
        .clock = engine->opts.clock,
        .log = engine->opts.log,
        .metrics = engine->metrics,
    };
    if (!notify_create(&notify, &engine->notify, err)) {
        return err_wrap(err, "starting the notifier");
    }
    struct rules_options rules = {
        .db = engine->db,
        .clock = engine->opts.clock,
        .metrics = engine->metrics,
        .sink = notify_alert_sink(engine->notify),
        .resend_delay_ms = options->resend_delay_ms,
        .lookback_ms = options->query_lookback_ms,
        .query_timeout_ms = options->query_timeout_ms,
        .samples_max = (uint64_t)options->query_samples_max,
        .report = report_rules_event,
        .report_ctx = engine,
    };
    return rules_create(&rules, &engine->rules, err) || err_wrap(err, "starting the rules");
}

/* 0 of the flag means "off"; 0 of the module means "default". */
static int64_t interval_or_off(int64_t interval_ms) {
    return interval_ms == 0 ? -1 : interval_ms;
}

static bool create_ingest(struct engine *engine, const struct config *config, struct err *err) {
    const struct options *options = engine->opts.options;
    int64_t self_ms = interval_or_off(options->self_scrape_interval_ms);
    struct ingest_options ingest = {
        .db = engine->db,
        .clock = engine->opts.clock,
        .metrics = engine->metrics,
        .events = { .step_ms = options->event_sample_interval_ms,
                    .extra_labels = (const char *const *)config->event_labels.items },
        .self_interval_ms = self_ms,
        .host_interval_ms = options->host_metrics ? self_ms : -1,
        .user_agent = "tocsin/" TOCSIN_VERSION,
    };
    return ingest_create(&ingest, &engine->ingest, err) || err_wrap(err, "starting ingest");
}

static bool create_web(struct engine *engine, struct err *err) {
    const struct options *options = engine->opts.options;
    struct web_options web = {
        .listen_address = options->listen_address,
        .external_url = options->external_url,
        .route_prefix = options->route_prefix,
        .cors_origin = options->cors_origin,
        .enable_lifecycle = options->enable_lifecycle,
        .enable_admin_api = options->enable_admin_api,
        .enable_remote_write = options->enable_remote_write,
        .connections_max = (uint32_t)options->web_connections_max,
        .worker_count = (uint32_t)options->query_concurrency_max,
        .query_timeout_ms = options->query_timeout_ms,
        .query_lookback_ms = options->query_lookback_ms,
        .query_samples_max = (uint64_t)options->query_samples_max,
        .features = engine->features,
        .db = engine->db,
        .ingest = engine->ingest,
        .rules = engine->rules,
        .notify = engine->notify,
        .metrics = engine->metrics,
        .log = engine->opts.log,
        .clock = engine->opts.clock,
        .start_ms = clock_wall_ms(engine->opts.clock),
        .storage_path = options->storage_path,
        .retention_ms = options->retention_ms,
        .flags = engine->flags,
        .flag_count = option_spec_count,
        .hooks = { .reload = hook_reload,
                   .config_text = hook_config_text,
                   .reload_status = hook_reload_status,
                   .snapshot = hook_snapshot,
                   .ctx = engine },
    };
    return web_create(&web, &engine->web, err);
}

static bool create_modules(struct engine *engine, const struct config *config, struct err *err) {
    return create_store(engine, config, err) && create_alerting(engine, config, err) &&
           create_ingest(engine, config, err) && create_web(engine, err);
}

/* With --web.listen-address=HOST:0 the links are known only now: read the files once more. */
static bool settle_external_url(struct engine *engine, struct loaded *loaded, struct err *err) {
    if (engine->opts.options->external_url != NULL) {
        return true;
    }
    char *url = url_of_address(engine, web_address(engine->web));
    bool is_same = strcmp(url, engine->external_url) == 0;
    mem_free(engine->external_url);
    engine->external_url = url;
    if (is_same) {
        return true;
    }
    loaded_finish(loaded);
    struct diag_list diags; /* the same findings as before */
    diag_list_init(&diags);
    bool is_ok = load_all(engine, loaded, &diags, err);
    diag_list_finish(&diags);
    return is_ok;
}

static struct engine *engine_new(const struct engine_options *options) {
    struct engine *engine = mem_calloc(1, sizeof(*engine));
    engine->opts = *options;
    engine->is_store_ok = true;
    engine->is_ship_ok = true;
    pthread_mutex_init(&engine->reload_mu, NULL);
    if (gethostname(engine->hello, sizeof(engine->hello) - 1) != 0) {
        memcpy(engine->hello, "localhost", sizeof("localhost"));
    }
    const struct options *flags = options->options;
    engine->external_url = flags->external_url != NULL
                               ? mem_strdup(flags->external_url)
                               : url_of_address(engine, flags->listen_address);
    engine->metrics = metric_registry_create();
    engine->reload_ok =
        metric_gauge(engine->metrics, "tocsin_config_last_reload_successful",
                     "Whether the last reload of configuration and rules succeeded.", NULL);
    engine->reload_time =
        metric_gauge(engine->metrics, "tocsin_config_last_reload_success_timestamp_seconds",
                     "Time of the last successful reload.", NULL);
    static const char *const build_labels[] = { "version", TOCSIN_VERSION, NULL };
    metric_set(metric_gauge(engine->metrics, "tocsin_build_info",
                            "A constant 1 with the version of the running binary.", build_labels),
               1);
    make_flags(engine);
    return engine;
}

bool engine_create(const struct engine_options *options,
                   struct engine **ret,
                   struct diag_list *diags,
                   struct err *err) {
    struct engine *engine = engine_new(options);
    struct loaded loaded = { 0 };
    bool is_ok = features_parse(&options->options->features, &engine->features, err) &&
                 load_all(engine, &loaded, diags, err) &&
                 create_modules(engine, &loaded.config, err) &&
                 settle_external_url(engine, &loaded, err);
    if (is_ok) {
        ingest_set_self_instance(engine->ingest, web_address(engine->web));
        apply(engine, &loaded);
        note_reload(engine, true);
        *ret = engine;
    } else {
        engine_destroy(engine);
    }
    loaded_finish(&loaded);
    return is_ok;
}

static bool start_backups(struct engine *engine, struct err *err) {
    const struct options *options = engine->opts.options;
    if (options->backup_dir == NULL || options->backup_interval_ms == 0) {
        return true;
    }
    struct backup_job_options job = {
        .data = options->storage_path,
        .dir = options->backup_dir,
        .ship_dir = options->ship_dir,
        .interval_ms = options->backup_interval_ms,
        .keep_ms = options->backup_keep_ms,
        .clock = engine->opts.clock,
        .metrics = engine->metrics,
        .log = engine->opts.log,
    };
    return backup_job_start(&job, &engine->backup_job, err);
}

bool engine_start(struct engine *engine, struct err *err) {
    engine->is_started = true;
    return notify_start(engine->notify, err) && rules_start(engine->rules, err) &&
           ingest_start(engine->ingest, err) && web_start(engine->web, err) &&
           start_backups(engine, err);
}

void engine_stop(struct engine *engine) {
    if (!engine->is_started) {
        return;
    }
    engine->is_started = false;
    backup_job_stop(engine->backup_job);
    engine->backup_job = NULL;
    web_stop(engine->web, STOP_GRACE_MS);
    ingest_stop(engine->ingest);
    rules_stop(engine->rules);
    notify_stop(engine->notify, NOTIFY_GRACE_MS);
}

void engine_destroy(struct engine *engine) {
    if (engine == NULL) {
        return;
    }
    engine_stop(engine);
    web_destroy(engine->web);
    ingest_destroy(engine->ingest);
    rules_destroy(engine->rules);
    notify_destroy(engine->notify);
    tsdb_close(engine->db);
    storage_classes_finish(&engine->retention_classes);
    metric_registry_destroy(engine->metrics);
    pthread_mutex_destroy(&engine->reload_mu);
    mem_free(engine->config_text);
    mem_free(engine->external_url);
    mem_free(engine->flags);
    buf_finish(&engine->flag_text);
    mem_free(engine);
}

static void watch_shipping(struct engine *engine) {
    struct err err = ERR_INIT;
    bool is_ok = tsdb_ship_health(engine->db, &err);
    if (is_ok == engine->is_ship_ok) {
        return;
    }
    engine->is_ship_ok = is_ok;
    if (is_ok) {
        log_write(engine->opts.log, LOG_LEVEL_INFO, "app", "The journal is shipped again", NULL);
    } else {
        log_error(engine->opts.log, "app", "The journal cannot be shipped",
                  LOG_CSTR("error", err.msg));
    }
}

void engine_watch(struct engine *engine) {
    watch_shipping(engine);
    struct err err = ERR_INIT;
    bool is_ok = tsdb_health(engine->db, &err);
    if (is_ok == engine->is_store_ok) {
        return;
    }
    engine->is_store_ok = is_ok;
    if (is_ok) {
        log_write(engine->opts.log, LOG_LEVEL_INFO, "app", "The store takes writes again", NULL);
    } else {
        log_error(engine->opts.log, "app", "The store takes no pushed samples",
                  LOG_CSTR("error", err.msg));
    }
}

const char *engine_address(const struct engine *engine) {
    return web_address(engine->web);
}
