/* The flag table and its reader: defaults, environment, command line. */
#include "app/options.h"

#include <assert.h>

#include "base/duration.h"
#include "base/mem.h"

#define AT(field) offsetof(struct options, field)

const struct option_spec option_specs[] = {
    { "config.file", OPTION_LIST, AT(config_files), "PATH", NULL, NULL,
      "Configuration file, prometheus.yml with an alertmanager.yml part; repeatable, later ones "
      "override." },
    { "alertmanager.config.file", OPTION_STRING, AT(alertmanager_config_file), "PATH", NULL, NULL,
      "Routes and receivers as an alertmanager.yml of their own." },
    { "rules.path", OPTION_LIST, AT(rule_globs), "GLOB", "rules.d/*.yml", NULL,
      "Rule files to load beside the rule_files of the configuration; repeatable." },
    { "storage.path", OPTION_STRING, AT(storage_path), "DIR", "data", NULL, "Data directory." },
    { "storage.tsdb.path", OPTION_STRING, AT(storage_path), "DIR", NULL, NULL,
      "The same, under Prometheus' name." },
    { "storage.tsdb.retention.time", OPTION_DURATION, AT(retention_ms), "DURATION", "90d", NULL,
      "How long samples are kept; 0 is for ever." },
    { "storage.tsdb.retention.size", OPTION_BYTES, AT(retention_bytes), "SIZE", "0", NULL,
      "How large the store may grow before the oldest samples go; 0 is no limit." },
    { "storage.retention-class", OPTION_LIST, AT(retention_classes), "SELECTOR=DURATION", NULL,
      NULL,
      "Keep the series of a selector for a time of their own, as in {__name__=~\"llm_.*\"}=1y; "
      "repeatable, the first that matches counts." },
    { "storage.rollups", OPTION_LIST, AT(rollups), "RESOLUTION:RETENTION", NULL, NULL,
      "Keep rollups beside or beyond samples, as in 5m:90d,1h:2y (0 is for ever); long ranges read "
      "them." },
    { "storage.out-of-order-window", OPTION_DURATION, AT(out_of_order_ms), "DURATION", "1h", NULL,
      "How much older than the newest of its series a sample may be; 0 is not at all." },
    { "storage.reserve", OPTION_BYTES, AT(storage_reserve_bytes), "SIZE", "64MiB", NULL,
      "Free disk space kept for rules and notifications; below it pushes get 507." },
    { "storage.journal-ship-dir", OPTION_STRING, AT(ship_dir), "DIR", NULL, NULL,
      "Directory, best on another disk, to which the journal is shipped for restoring to any "
      "moment." },
    { "storage.series-max", OPTION_I64, AT(series_max), "N", "10000000", NULL,
      "Active series beyond which new ones are refused with 429." },
    { "storage.series-per-metric-max", OPTION_I64, AT(series_per_metric_max), "N", "0", NULL,
      "The same for the series of one metric name; 0 is no limit." },
    { "backup.dir", OPTION_STRING, AT(backup_dir), "DIR", NULL, NULL,
      "Directory for scheduled backups, each verified; default none are made." },
    { "backup.interval", OPTION_DURATION, AT(backup_interval_ms), "DURATION", "1d", NULL,
      "Time between two backups." },
    { "backup.keep", OPTION_DURATION, AT(backup_keep_ms), "DURATION", "7d", NULL,
      "How long backups and the shipped journal behind them are kept; the newest verified one "
      "stays." },
    { "web.listen-address", OPTION_STRING, AT(listen_address), "HOST:PORT", NULL, NULL,
      "Address to serve on; port 0 picks a free one. Default 127.0.0.1:9090, or METRICS_PORT." },
    { "web.external-url", OPTION_STRING, AT(external_url), "URL", NULL, NULL,
      "How people reach this server; used for links in notifications." },
    { "web.route-prefix", OPTION_STRING, AT(route_prefix), "PATH", NULL, NULL,
      "Prefix of every route; default the path of --web.external-url." },
    { "web.cors.origin", OPTION_STRING, AT(cors_origin), "REGEX", NULL, NULL,
      "Origins allowed to read the API from a browser (anchored); default none." },
    { "web.enable-lifecycle", OPTION_BOOL, AT(enable_lifecycle), NULL, "true", NULL,
      "Serve POST /-/reload." },
    { "web.enable-admin-api", OPTION_BOOL, AT(enable_admin_api), NULL, "false", NULL,
      "Serve /api/v1/admin/tsdb." },
    { "web.enable-remote-write-receiver", OPTION_BOOL, AT(enable_remote_write), NULL, "true", NULL,
      "Serve POST /api/v1/write." },
    { "web.max-connections", OPTION_I64, AT(web_connections_max), "N", "512", NULL,
      "Open connections beyond which new ones are refused." },
    { "query.timeout", OPTION_DURATION, AT(query_timeout_ms), "DURATION", "2m", NULL,
      "Longest evaluation of one query." },
    { "query.lookback-delta", OPTION_DURATION, AT(query_lookback_ms), "DURATION", "5m", NULL,
      "How far an instant selector looks back." },
    { "query.max-samples", OPTION_I64, AT(query_samples_max), "N", "50000000", NULL,
      "Samples one query may hold in memory." },
    { "query.max-concurrency", OPTION_I64, AT(query_concurrency_max), "N", "4", NULL,
      "Queries evaluated at the same time; more wait their turn." },
    { "rules.alert.resend-delay", OPTION_DURATION, AT(resend_delay_ms), "DURATION", "1m", NULL,
      "How often a firing alert is handed to the notifier again." },
    { "events.sample-interval", OPTION_DURATION, AT(event_sample_interval_ms), "DURATION", "5s",
      NULL, "How often the counters built from events are sampled." },
    { "self.scrape-interval", OPTION_DURATION, AT(self_scrape_interval_ms), "DURATION", "15s", NULL,
      "How often the engine stores its own metrics; 0 is never." },
    { "self.host-metrics", OPTION_BOOL, AT(host_metrics), NULL, "true", NULL,
      "Sample CPU, memory, disk and load of this machine under node_exporter's names." },
    { "enable-feature", OPTION_LIST, AT(features), "NAME", NULL, NULL,
      "promql-experimental-functions, promql-duration-expr, promql-extended-range-selectors, "
      "promql-binop-fill-modifiers; comma-separated, repeatable." },
    { "log.level", OPTION_STRING, AT(log_level), "LEVEL", "info", "LOG_LEVEL",
      "debug, info, warning, error or critical." },
    { "log.format", OPTION_STRING, AT(log_format), "FORMAT", "logfmt", "LOG_FORMAT",
      "logfmt or json." },
};
const size_t option_spec_count = ARRAY_LEN(option_specs);

void option_env_name(const char *flag, struct buf *out) {
    buf_cstr(out, "TOCSIN_");
    for (const char *c = flag; *c != '\0'; c++) {
        bool is_lower = *c >= 'a' && *c <= 'z';
        bool is_separator = *c == '.' || *c == '-';
        buf_putc(out, is_lower ? (char)(*c - 'a' + 'A') : is_separator ? '_' : *c);
    }
}

static bool parse_bool(struct str text, bool *ret) {
    if (str_eq_nocase(text, STR("true")) || str_eq(text, STR("1"))) {
        *ret = true;
        return true;
    }
    if (str_eq_nocase(text, STR("false")) || str_eq(text, STR("0"))) {
        *ret = false;
        return true;
    }
    return false;
}

static bool set_value(struct options *options,
                      const struct option_spec *spec,
                      struct str text,
                      struct err *err) {
    char *at = (char *)options + spec->offset;
    switch (spec->type) {
    case OPTION_STRING: {
        char **dest = (char **)(void *)at;
        mem_free(*dest);
        *dest = mem_strndup(text.ptr, text.len);
        return true;
    }
    case OPTION_LIST: string_list_add((struct string_list *)(void *)at, text); return true;
    case OPTION_BOOL:
        return parse_bool(text, (bool *)(void *)at) ||
               err_set(err, ERR_INVALID, "expected true or false, got \"%.*s\"", STR_FMT(text));
    case OPTION_I64:
        return (str_parse_i64(text, (int64_t *)(void *)at) && *(int64_t *)(void *)at >= 0) ||
               err_set(err, ERR_INVALID, "not a whole number >= 0: \"%.*s\"", STR_FMT(text));
    case OPTION_DURATION: return duration_parse(text, (int64_t *)(void *)at, err);
    case OPTION_BYTES: return bytes_parse(text, (uint64_t *)(void *)at, err);
    }
    BUG("option type %d", (int)spec->type);
}

static bool set_defaults(struct options *options, struct err *err) {
    for (size_t i = 0; i < option_spec_count; i++) {
        const struct option_spec *spec = &option_specs[i];
        if (spec->default_text != NULL && spec->type != OPTION_LIST &&
            !set_value(options, spec, str_from(spec->default_text), err)) {
            return err_wrap(err, "default of --%s", spec->name);
        }
    }
    return true;
}

static bool set_from_variable(struct options *options,
                              const struct option_spec *spec,
                              const char *variable,
                              env_fn env,
                              void *env_ctx,
                              struct err *err) {
    const char *value = env(env_ctx, variable);
    if (value == NULL || value[0] == '\0') {
        return true;
    }
    struct str rest = str_from(value);
    struct str item;
    bool has_more = true;
    while (spec->type == OPTION_LIST && has_more) {
        has_more = str_cut(rest, ',', &item, &rest);
        if (item.len > 0 && !set_value(options, spec, item, err)) {
            return err_wrap(err, "%s", variable);
        }
    }
    return spec->type == OPTION_LIST || set_value(options, spec, str_from(value), err) ||
           err_wrap(err, "%s", variable);
}

static bool set_from_env(struct options *options, env_fn env, void *env_ctx, struct err *err) {
    for (size_t i = 0; i < option_spec_count; i++) {
        const struct option_spec *spec = &option_specs[i];
        if (spec->extra_env != NULL &&
            !set_from_variable(options, spec, spec->extra_env, env, env_ctx, err)) {
            return false;
        }
        CLEANUP(buf_finish) struct buf name;
        buf_init(&name, 256);
        option_env_name(spec->name, &name);
        if (!set_from_variable(options, spec, name.ptr, env, env_ctx, err)) {
            return false;
        }
    }
    const char *port = env(env_ctx, "METRICS_PORT");
    if (options->listen_address == NULL && port != NULL && port[0] != '\0') {
        uint64_t number;
        if (!str_parse_u64(str_from(port), &number) || number > 65535) {
            return err_set(err, ERR_INVALID, "METRICS_PORT: not a port: \"%s\"", port);
        }
        CLEANUP(buf_finish) struct buf address;
        buf_init(&address, 64);
        buf_printf(&address, "127.0.0.1:%u", (unsigned)number);
        options->listen_address = mem_strdup(address.ptr);
    }
    return true;
}

static const struct option_spec *find_spec(struct str name) {
    for (size_t i = 0; i < option_spec_count; i++) {
        if (str_eq_c(name, option_specs[i].name)) {
            return &option_specs[i];
        }
    }
    return NULL;
}

static bool unknown_flag(struct str name, struct err *err) {
    const char *names[ARRAY_LEN(option_specs)];
    for (size_t i = 0; i < option_spec_count; i++) {
        names[i] = option_specs[i].name;
    }
    const char *near = str_nearest(name, names, option_spec_count);
    if (near != NULL) {
        return err_set(err, ERR_INVALID, "unknown flag --%.*s, did you mean --%s?", STR_FMT(name),
                       near);
    }
    return err_set(err, ERR_INVALID, "unknown flag --%.*s (see tocsin help)", STR_FMT(name));
}

/* One argument "--name=value", "--name value", "--bool" or "--no-bool"; *index moves past it. */
static bool set_from_argument(struct options *options,
                              int argc,
                              char *const *argv,
                              int *index,
                              bool *is_list_set,
                              struct err *err) {
    struct str argument = str_from(argv[*index]);
    if (!str_starts_with(argument, STR("--"))) {
        return err_set(err, ERR_INVALID, "unexpected argument \"%s\"", argv[*index]);
    }
    struct str name;
    struct str value;
    bool has_value = str_cut(str_n(argument.ptr + 2, argument.len - 2), '=', &name, &value);
    const struct option_spec *spec = find_spec(name);
    bool is_negated = false;
    if (spec == NULL && str_starts_with(name, STR("no-"))) {
        spec = find_spec(str_n(name.ptr + 3, name.len - 3));
        is_negated = spec != NULL && spec->type == OPTION_BOOL && !has_value;
        spec = is_negated ? spec : NULL;
    }
    if (spec == NULL) {
        return unknown_flag(name, err);
    }
    if (!has_value && spec->type == OPTION_BOOL) {
        value = is_negated ? STR("false") : STR("true");
    } else if (!has_value) {
        if (*index + 1 >= argc) {
            return err_set(err, ERR_INVALID, "--%s needs a value", spec->name);
        }
        value = str_from(argv[++*index]);
    }
    ++*index;
    size_t which = (size_t)(spec - option_specs);
    if (spec->type == OPTION_LIST && !is_list_set[which]) {
        string_list_finish((struct string_list *)(void *)((char *)options + spec->offset));
        is_list_set[which] = true;
    }
    return set_value(options, spec, value, err) || err_wrap(err, "--%s", spec->name);
}

bool options_parse(struct options *ret,
                   int argc,
                   char *const *argv,
                   env_fn env,
                   void *env_ctx,
                   struct err *err) {
    *ret = (struct options){ 0 };
    if (!set_defaults(ret, err) || !set_from_env(ret, env, env_ctx, err)) {
        return false;
    }
    bool is_list_set[ARRAY_LEN(option_specs)] = { false };
    for (int i = 0; i < argc;) {
        if (!set_from_argument(ret, argc, argv, &i, is_list_set, err)) {
            return false;
        }
    }
    if (ret->listen_address == NULL) {
        ret->listen_address = mem_strdup("127.0.0.1:9090");
    }
    for (size_t i = 0; i < option_spec_count; i++) {
        const struct option_spec *spec = &option_specs[i];
        struct string_list *list = (struct string_list *)(void *)((char *)ret + spec->offset);
        if (spec->type == OPTION_LIST && spec->default_text != NULL && list->count == 0) {
            string_list_add(list, str_from(spec->default_text));
        }
    }
    return true;
}

void options_finish(struct options *options) {
    for (size_t i = 0; i < option_spec_count; i++) {
        const struct option_spec *spec = &option_specs[i];
        char *at = (char *)options + spec->offset;
        if (spec->type == OPTION_STRING) {
            char **text = (char **)(void *)at;
            mem_free(*text);
            *text = NULL;
        } else if (spec->type == OPTION_LIST) {
            string_list_finish((struct string_list *)(void *)at);
        }
    }
}

void option_print_value(const struct options *options,
                        const struct option_spec *spec,
                        struct buf *out) {
    const char *at = (const char *)options + spec->offset;
    switch (spec->type) {
    case OPTION_STRING: {
        const char *text = *(char *const *)(const void *)at;
        buf_cstr(out, text == NULL ? "" : text);
        return;
    }
    case OPTION_LIST: {
        const struct string_list *list = (const struct string_list *)(const void *)at;
        for (size_t i = 0; i < list->count; i++) {
            buf_printf(out, "%s%s", i == 0 ? "" : ",", list->items[i]);
        }
        return;
    }
    case OPTION_BOOL: buf_cstr(out, *(const bool *)at ? "true" : "false"); return;
    case OPTION_I64: buf_i64(out, *(const int64_t *)(const void *)at); return;
    case OPTION_DURATION: duration_print(out, *(const int64_t *)(const void *)at); return;
    case OPTION_BYTES: buf_u64(out, *(const uint64_t *)(const void *)at); return;
    }
    BUG("option type %d", (int)spec->type);
}

void options_help(struct buf *out) {
    for (size_t i = 0; i < option_spec_count; i++) {
        const struct option_spec *spec = &option_specs[i];
        buf_printf(out, "  --%s", spec->name);
        if (spec->value_name != NULL) {
            buf_printf(out, "=%s", spec->value_name);
        }
        if (spec->default_text != NULL) {
            buf_printf(out, "  (default %s)", spec->default_text);
        }
        buf_printf(out, "\n        %s\n", spec->help);
    }
}
