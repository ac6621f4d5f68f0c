/* The configuration as a whole: life, lookups, secrets, the top of the file. */
#include "notify/config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    SECRET_BYTES_MAX = 64 * 1024,
    TEMPLATE_FILE_BYTES_MAX = 1024 * 1024,
};

const char *const notify_config_root_keys[] = {
    "route",     "receivers", "inhibit_rules", "time_intervals", "mute_time_intervals",
    "templates", NULL,
};

const char *const notify_config_secret_keys[] = {
    "api_url",          "app_token",       "auth_password",
    "auth_secret",      "bearer_token",    "bot_token",
    "client_secret",    "credentials",     "opsgenie_api_key",
    "password",         "routing_key",     "service_key",
    "slack_api_url",    "slack_app_token", "smtp_auth_password",
    "smtp_auth_secret", "token",           "url",
    "user_key",         "webhook_url",     NULL,
};

const char *notify_kind_to_string(enum notify_kind kind) {
    static const char *const names[] = { "slack", "email", "webhook", "inbox" };
    static_assert(ARRAY_LEN(names) == NOTIFY_KIND_COUNT, "one name per kind");
    return names[kind];
}

/* ---- secrets ---- */

bool secret_is_set(const struct secret *secret) {
    return (secret->value != NULL && secret->value[0] != '\0') ||
           (secret->file != NULL && secret->file[0] != '\0');
}

void secret_finish(struct secret *secret) {
    mem_free(secret->value);
    mem_free(secret->file);
    *secret = (struct secret){ 0 };
}

/* The whole file appended to `out`. */
static bool read_file(const char *path, struct buf *out, struct err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_set_errno(err, ERR_IO, errno, "cannot open %s", path);
    }
    ssize_t n = 0;
    do {
        char *at = buf_reserve(out, 4096);
        if (at == NULL) {
            close(fd);
            return err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, out->bytes_max);
        }
        do {
            n = read(fd, at, 4096);
        } while (n < 0 && errno == EINTR);
        out->len += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    int errnum = errno;
    close(fd);
    return n == 0 || err_set_errno(err, ERR_IO, errnum, "cannot read %s", path);
}

bool secret_read(const struct secret *secret, struct buf *ret, struct err *err) {
    struct buf text;
    buf_init(&text, SECRET_BYTES_MAX);
    bool is_ok = true;
    if (secret->file != NULL && secret->file[0] != '\0') {
        is_ok = read_file(secret->file, &text, err);
    } else {
        buf_cstr(&text, secret->value == NULL ? "" : secret->value);
    }
    if (is_ok) {
        struct str bytes = buf_as_str(&text);
        while (bytes.len > 0 && strchr(" \t\r\n", bytes.ptr[bytes.len - 1]) != NULL) {
            bytes.len--;
        }
        buf_str(ret, bytes);
    }
    buf_finish(&text);
    return is_ok;
}

/* ---- life ---- */

struct notify_config *config_create(const struct notify_config_params *params, const char *dir) {
    struct notify_config *config = mem_calloc(1, sizeof(*config));
    atomic_init(&config->ref_count, 1);
    config->external_url = mem_strdup(params->external_url == NULL ? "" : params->external_url);
    config->hello =
        mem_strdup(params->hello == NULL || params->hello[0] == '\0' ? "localhost" : params->hello);
    config->dir = mem_strdup(dir);
    config->global.resolve_timeout_ms = 5 * 60 * 1000;
    config->global.smtp_require_tls = true;
    config->global.smtp_force_implicit_tls = -1;
    config->global.slack_app_url = mem_strdup("https://slack.com/api/chat.postMessage");
    config->tmpl = templates_create(&config->tmpl_funcs);
    return config;
}

static void global_finish(struct global_config *global) {
    http_settings_finish(&global->http);
    mem_free(global->smtp_from);
    mem_free(global->smtp_hello);
    mem_free(global->smtp_smarthost);
    mem_free(global->smtp_auth_username);
    mem_free(global->smtp_auth_identity);
    secret_finish(&global->smtp_auth_password);
    secret_finish(&global->smtp_auth_secret);
    tls_settings_finish(&global->smtp_tls);
    secret_finish(&global->slack_api_url);
    secret_finish(&global->slack_app_token);
    mem_free(global->slack_app_url);
}

void string_list_free(char **items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        mem_free(items[i]);
    }
    mem_free(items);
}

struct notify_config *notify_config_ref(struct notify_config *config) {
    unsigned before = atomic_fetch_add_explicit(&config->ref_count, 1, memory_order_relaxed);
    assert(before > 0);
    return config;
}

void notify_config_unref(struct notify_config *config) {
    if (config == NULL ||
        atomic_fetch_sub_explicit(&config->ref_count, 1, memory_order_acq_rel) > 1) {
        return;
    }
    for (size_t i = 0; i < config->receiver_count; i++) {
        struct receiver_config *receiver = config->receivers[i];
        for (size_t k = 0; k < receiver->integration_count; k++) {
            integration_config_destroy(receiver->integrations[k]);
        }
        mem_free(receiver->integrations);
        mem_free(receiver->name);
        mem_free(receiver);
    }
    mem_free(config->receivers);
    route_config_destroy(config->route);
    for (size_t i = 0; i < config->inhibit_rule_count; i++) {
        inhibit_rule_finish(&config->inhibit_rules[i]);
    }
    mem_free(config->inhibit_rules);
    time_intervals_free(config->time_intervals, config->time_interval_count);
    string_list_free(config->templates, config->template_count);
    global_finish(&config->global);
    tmpl_destroy(config->tmpl);
    mem_free(config->tmpl_funcs);
    mem_free(config->external_url);
    mem_free(config->hello);
    mem_free(config->dir);
    mem_free(config);
}

/* ---- lookups ---- */

struct receiver_config *config_find_receiver(const struct notify_config *config, struct str name) {
    for (size_t i = 0; i < config->receiver_count; i++) {
        if (str_eq_c(name, config->receivers[i]->name)) {
            return config->receivers[i];
        }
    }
    return NULL;
}

const struct integration_config *config_find_integration(const struct notify_config *config,
                                                         struct str id) {
    for (size_t i = 0; i < config->receiver_count; i++) {
        const struct receiver_config *receiver = config->receivers[i];
        for (size_t k = 0; k < receiver->integration_count; k++) {
            if (str_eq_c(id, receiver->integrations[k]->id)) {
                return receiver->integrations[k];
            }
        }
    }
    return NULL;
}

const struct http_settings *config_http(const struct notify_config *config,
                                        const struct integration_config *integration) {
    return integration->http != NULL ? integration->http : &config->global.http;
}

/* ---- helpers of the decoders ---- */

void config_resolve_path(const struct notify_config *config, char **path) {
    if (*path == NULL || (*path)[0] == '\0' || (*path)[0] == '/' || config->dir[0] == '\0') {
        return;
    }
    struct buf full;
    buf_init(&full, 64 * 1024);
    buf_printf(&full, "%s/%s", config->dir, *path);
    mem_free(*path);
    *path = buf_take(&full, NULL);
}

void config_check_one_of(struct yaml_decode *ctx,
                         const struct yaml_node *node,
                         bool has_a,
                         bool has_b,
                         const char *names) {
    if (has_a && has_b) {
        yaml_error(ctx, node, DIAG_ERROR, "at most one of %s must be configured", names);
    }
}

void config_check_url(struct yaml_decode *ctx, const struct yaml_node *node, const char *url) {
    struct str text = str_from(url);
    size_t scheme = str_starts_with(text, STR("https://"))  ? 8
                    : str_starts_with(text, STR("http://")) ? 7
                                                            : 0;
    bool is_ok = scheme > 0 && text.len > scheme && text.ptr[scheme] != '/';
    for (size_t i = 0; i < text.len; i++) {
        is_ok = is_ok && (unsigned char)text.ptr[i] > ' ' && text.ptr[i] != 0x7f;
    }
    if (!is_ok) {
        yaml_error(ctx, node, DIAG_ERROR, "not an http:// or https:// URL");
    }
}

bool config_decode_strings(struct yaml_decode *ctx,
                           const struct yaml_node *node,
                           char ***ret,
                           size_t *ret_count) {
    *ret = NULL;
    *ret_count = 0;
    if (yaml_is_null(node)) {
        return true;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a list");
        return false;
    }
    char **items = mem_calloc(node->count + 1, sizeof(items[0]));
    size_t count = 0;
    for (size_t i = 0; i < node->count; i++) {
        if (node->items[i]->kind != YAML_SCALAR) {
            yaml_error(ctx, node->items[i], DIAG_ERROR, "expected a text");
        } else {
            items[count++] = mem_strndup(node->items[i]->scalar.ptr, node->items[i]->scalar.len);
        }
    }
    *ret = items;
    *ret_count = count;
    return true;
}

void config_decode_tristate(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    bool value = false;
    if (!yaml_is_null(node) && yaml_decode_scalar(ctx, node, YAML_BOOL, &value)) {
        *(int *)dest = value ? 1 : 0;
    }
}

/* ---- templates ---- */

void config_decode_template(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct template_text *text = dest;
    struct config_decode *decode = ctx->user;
    if (yaml_is_null(node) || !yaml_decode_scalar(ctx, node, YAML_STRING, &text->text) ||
        str_find(str_from(text->text), STR("{{")) == SIZE_MAX) {
        return;
    }
    struct buf name;
    buf_init(&name, 4096);
    buf_printf(&name, "%s@%u:%u", decode->integration->id, node->line, node->column);
    struct err err = ERR_INIT;
    mem_free(text->name);
    text->name = buf_take(&name, NULL);
    if (!tmpl_add(decode->config->tmpl, text->name, str_from(text->text), &err)) {
        yaml_error(ctx, node, DIAG_ERROR, "%s", err.msg);
    }
}

static void load_template_file(struct yaml_decode *ctx,
                               const struct yaml_node *node,
                               const char *path) {
    struct config_decode *decode = ctx->user;
    struct err err = ERR_INIT;
    struct buf text;
    buf_init(&text, TEMPLATE_FILE_BYTES_MAX);
    if (!read_file(path, &text, &err) ||
        !tmpl_add(decode->config->tmpl, path, buf_as_str(&text), &err)) {
        yaml_error(ctx, node, DIAG_ERROR, "%s", err.msg);
    }
    buf_finish(&text);
}

/* As upstream, a pattern that matches nothing is fine: the files may come later. */
static void decode_template_files(struct yaml_decode *ctx, const struct yaml_node *node) {
    struct config_decode *decode = ctx->user;
    struct notify_config *config = decode->config;
    if (!config_decode_strings(ctx, node, &config->templates, &config->template_count)) {
        return;
    }
    for (size_t i = 0; i < config->template_count; i++) {
        config_resolve_path(config, &config->templates[i]);
        glob_t found = { 0 };
        int result = glob(config->templates[i], 0, NULL, &found);
        if (result != 0 && result != GLOB_NOMATCH) {
            yaml_error(ctx, node->items[i], DIAG_ERROR, "cannot search \"%s\"",
                       config->templates[i]);
        }
        for (size_t k = 0; result == 0 && k < found.gl_pathc; k++) {
            load_template_file(ctx, node->items[i], found.gl_pathv[k]);
        }
        globfree(&found);
    }
}

/* ---- the top of the file ---- */

bool notify_config_is_present(const struct yaml_node *root) {
    return root != NULL && root->kind == YAML_MAPPING &&
           (yaml_get(root, "route") != NULL || yaml_get(root, "receivers") != NULL);
}

static void decode_time_intervals(struct yaml_decode *ctx,
                                  const struct yaml_node *node,
                                  void *dest) {
    (void)dest;
    struct config_decode *decode = ctx->user;
    time_intervals_decode(ctx, node, &decode->config->time_intervals,
                          &decode->config->time_interval_count);
}

static void skip_node(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)ctx;
    (void)node;
    (void)dest;
}

/* `global`, `templates` and `route` are decoded around the table: others depend on them. */
static const struct yaml_field root_fields[] = {
    { .key = "global", .type = YAML_CUSTOM, .decode = skip_node },
    { .key = "templates", .type = YAML_CUSTOM, .decode = skip_node },
    { .key = "route", .type = YAML_CUSTOM, .decode = skip_node },
    { .key = "receivers", .type = YAML_CUSTOM, .decode = config_decode_receivers },
    { .key = "inhibit_rules", .type = YAML_CUSTOM, .decode = config_decode_inhibit_rules },
    { .key = "time_intervals", .type = YAML_CUSTOM, .decode = decode_time_intervals },
    { .key = "mute_time_intervals", .type = YAML_CUSTOM, .decode = decode_time_intervals },
    { .key = "tracing", .type = YAML_IGNORED },
    { .key = "event_recorder", .type = YAML_IGNORED },
};

static bool is_listed(struct str word, const char *const *list) {
    for (size_t i = 0; list[i] != NULL; i++) {
        if (str_eq_c(word, list[i])) {
            return true;
        }
    }
    return false;
}

/* The mapping without the pairs that are not ours. `pairs` holds the copies. */
static struct yaml_node own_part(const struct yaml_node *node,
                                 const char *const *keys,
                                 struct yaml_pair *pairs) {
    struct yaml_node part = *node;
    part.pairs = pairs;
    part.count = 0;
    for (size_t i = 0; i < node->count; i++) {
        if (is_listed(node->pairs[i].key->scalar, keys)) {
            pairs[part.count++] = node->pairs[i];
        }
    }
    return part;
}

static void decode_own(struct yaml_decode *ctx,
                       const struct yaml_node *node,
                       const char *const *keys,
                       bool is_standalone,
                       void (*decode)(struct yaml_decode *ctx, const struct yaml_node *node)) {
    if (is_standalone || yaml_is_null(node) || node->kind != YAML_MAPPING) {
        decode(ctx, node);
        return;
    }
    struct yaml_pair *pairs = mem_calloc(node->count + 1, sizeof(pairs[0]));
    struct yaml_node part = own_part(node, keys, pairs);
    decode(ctx, &part);
    mem_free(pairs);
}

static void decode_root(struct yaml_decode *ctx, const struct yaml_node *node) {
    (void)yaml_decode_mapping(ctx, node, root_fields, ARRAY_LEN(root_fields), NULL);
}

static void decode_global(struct yaml_decode *ctx, const struct yaml_node *node) {
    struct config_decode *decode = ctx->user;
    config_decode_global(ctx, node, &decode->config->global);
}

static char *directory_of(const char *file) {
    const char *slash = file == NULL ? NULL : strrchr(file, '/');
    if (slash == NULL) {
        return mem_strdup("");
    }
    return slash == file ? mem_strdup("/") : mem_strndup(file, (size_t)(slash - file));
}

bool notify_config_decode(struct yaml_decode *ctx,
                          const struct yaml_node *root,
                          const struct notify_config_params *params,
                          struct notify_config **ret) {
    size_t errors_before = ctx->diags->error_count;
    if (root == NULL || root->kind != YAML_MAPPING) {
        yaml_error(ctx, root, DIAG_ERROR, "no routes provided: the file is not a mapping");
        return false;
    }
    char *dir = directory_of(yaml_file(ctx->doc));
    struct notify_config *config = config_create(params, dir);
    mem_free(dir);
    struct config_decode decode = { .config = config };
    struct yaml_decode own = { .doc = ctx->doc, .diags = ctx->diags, .user = &decode };

    decode_template_files(&own, yaml_get(root, "templates"));
    decode_own(&own, yaml_get(root, "global"), notify_config_global_keys, params->is_standalone,
               decode_global);
    decode_own(&own, root, notify_config_root_keys, params->is_standalone, decode_root);
    config_resolve_receivers(&own);
    const struct yaml_node *route = yaml_get(root, "route");
    if (yaml_is_null(route)) {
        yaml_error(&own, root, DIAG_ERROR, "no routes provided: \"route\" is missing");
    } else {
        config_decode_route_tree(&own, route);
    }
    if (ctx->diags->error_count != errors_before) {
        notify_config_unref(config);
        return false;
    }
    *ret = config;
    return true;
}
