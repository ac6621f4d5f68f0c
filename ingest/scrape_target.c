/*
 * From an address and its labels to a target: defaults, relabelling, URL.
 * Source: Prometheus scrape/target.go, PopulateLabels.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/duration.h"
#include "base/mem.h"
#include "ingest/scrape.h"

#define ADDRESS       STR("__address__")
#define METRICS_PATH  STR("__metrics_path__")
#define SCHEME        STR("__scheme__")
#define INTERVAL      STR("__scrape_interval__")
#define TIMEOUT       STR("__scrape_timeout__")
#define PARAM_PREFIX  STR("__param_")
#define URL_BYTES_MAX (64u << 10)

static struct str duration_text(struct arena *arena, int64_t duration_ms) {
    struct buf text CLEANUP(buf_finish);
    buf_init(&text, 64);
    duration_print(&text, duration_ms);
    return arena_str(arena, buf_as_str(&text));
}

static void set_default(struct labels_builder *builder, struct str name, struct str value) {
    if (labels_builder_get(builder, name).len == 0) {
        labels_builder_set(builder, name, value);
    }
}

static struct labels discovered_labels(const struct scrape_config *config,
                                       const struct target_group *group,
                                       const char *address,
                                       struct arena *arena) {
    struct labels_builder builder;
    labels_builder_init(&builder, arena, (struct labels){ .count = 0 });
    for (size_t i = 0; i < group->label_count; i++) {
        labels_builder_set(&builder, group->labels[i].name, group->labels[i].value);
    }
    if (group->source != NULL) {
        labels_builder_set(&builder, STR("__meta_filepath"), str_from(group->source));
    }
    labels_builder_set(&builder, ADDRESS, str_from(address));
    set_default(&builder, STR("job"), str_from(config->job_name));
    set_default(&builder, INTERVAL, duration_text(arena, config->interval_ms));
    set_default(&builder, TIMEOUT, duration_text(arena, config->timeout_ms));
    set_default(&builder, METRICS_PATH, str_from(config->metrics_path));
    set_default(&builder, SCHEME, str_from(config->scheme));
    for (size_t i = 0; i < config->param_count; i++) {
        if (config->params[i].values.count > 0) {
            struct str name = arena_printf(arena, "__param_%s", config->params[i].name);
            labels_builder_set(&builder, name, str_from(config->params[i].values.items[0]));
        }
    }
    return labels_builder_build(&builder);
}

/* ---- URL ---- */

static bool is_plain(char c, const char *also) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr(also, c) != NULL);
}

static void put_encoded(struct buf *out, struct str text, const char *also) {
    for (size_t i = 0; i < text.len; i++) {
        if (is_plain(text.ptr[i], also)) {
            buf_putc(out, text.ptr[i]);
        } else {
            buf_printf(out, "%%%02X", (unsigned)(unsigned char)text.ptr[i]);
        }
    }
}

struct param {
    struct str name;
    struct str value;
    size_t order;
};

static int compare_params(const void *left, const void *right) {
    const struct param *a = left;
    const struct param *b = right;
    int by_name = str_cmp(a->name, b->name);
    return by_name != 0 ? by_name : (a->order > b->order) - (a->order < b->order);
}

/* The configuration's parameters, the first value of each replaced by its label. */
static struct param *params_collect(const struct scrape_config *config,
                                    struct labels labels,
                                    struct arena *arena,
                                    size_t *ret_count) {
    size_t max = labels.count;
    for (size_t i = 0; i < config->param_count; i++) {
        max += config->params[i].values.count;
    }
    struct param *params = arena_calloc(arena, max + 1, sizeof(params[0]));
    size_t count = 0;
    for (size_t i = 0; i < labels.count; i++) {
        if (str_starts_with(labels.items[i].name, PARAM_PREFIX)) {
            struct str name = labels.items[i].name;
            params[count].name = str_n(name.ptr + PARAM_PREFIX.len, name.len - PARAM_PREFIX.len);
            params[count++].value = labels.items[i].value;
        }
    }
    for (size_t i = 0; i < config->param_count; i++) {
        for (size_t k = 1; k < config->params[i].values.count; k++) {
            params[count].name = str_from(config->params[i].name);
            params[count].value = str_from(config->params[i].values.items[k]);
            params[count++].order = k;
        }
    }
    qsort(params, count, sizeof(params[0]), compare_params);
    *ret_count = count;
    return params;
}

static char *url_build(const struct scrape_config *config,
                       struct labels labels,
                       struct arena *arena) {
    struct buf url;
    buf_init(&url, URL_BYTES_MAX);
    struct str path = labels_get(labels, METRICS_PATH);
    buf_str(&url, labels_get(labels, SCHEME));
    buf_cstr(&url, "://");
    buf_str(&url, labels_get(labels, ADDRESS));
    if (path.len == 0 || path.ptr[0] != '/') {
        buf_putc(&url, '/');
    }
    put_encoded(&url, path, "/-._~!$&'()*+,;=:@%");
    size_t count;
    const struct param *params = params_collect(config, labels, arena, &count);
    for (size_t i = 0; i < count; i++) {
        buf_putc(&url, i == 0 ? '?' : '&');
        put_encoded(&url, params[i].name, "-._~");
        buf_putc(&url, '=');
        put_encoded(&url, params[i].value, "-._~");
    }
    bool is_over = url.is_over;
    size_t len;
    char *text = buf_take(&url, &len);
    buf_finish(&url);
    if (is_over) {
        mem_free(text);
        return NULL;
    }
    return text;
}

/* ---- the target ---- */

static bool durations_read(struct labels labels,
                           int64_t *ret_interval_ms,
                           int64_t *ret_timeout_ms,
                           struct err *err) {
    if (!duration_parse(labels_get(labels, INTERVAL), ret_interval_ms, err)) {
        return err_wrap(err, "__scrape_interval__");
    }
    if (!duration_parse(labels_get(labels, TIMEOUT), ret_timeout_ms, err)) {
        return err_wrap(err, "__scrape_timeout__");
    }
    if (*ret_interval_ms <= 0 || *ret_timeout_ms <= 0) {
        return err_set(err, ERR_INVALID, "scrape interval and timeout must be more than 0");
    }
    return *ret_timeout_ms <= *ret_interval_ms ||
           err_set(err, ERR_INVALID, "scrape timeout is longer than the interval");
}

/* What series of the target carry: everything that does not start with "__", and instance. */
static struct labels visible_labels(struct labels labels, struct arena *arena) {
    struct labels_builder builder;
    labels_builder_init(&builder, arena, (struct labels){ .count = 0 });
    for (size_t i = 0; i < labels.count; i++) {
        if (!str_starts_with(labels.items[i].name, STR("__"))) {
            labels_builder_set(&builder, labels.items[i].name, labels.items[i].value);
        }
    }
    set_default(&builder, STR("instance"), labels_get(labels, ADDRESS));
    return labels_builder_build(&builder);
}

/* What makes it the same target after a reload: its pool and its labels, but not where it was
 * discovered. */
static char *key_of(const struct scrape_config *config,
                    struct labels labels,
                    struct arena *arena,
                    size_t *ret_len) {
    struct label *items = arena_calloc(arena, labels.count + 1, sizeof(items[0]));
    size_t count = 0;
    for (size_t i = 0; i < labels.count; i++) {
        if (!str_starts_with(labels.items[i].name, STR("__meta_"))) {
            items[count++] = labels.items[i];
        }
    }
    struct buf key;
    buf_init(&key, SIZE_MAX);
    buf_cstr(&key, config->job_name);
    buf_putc(&key, '\0');
    labels_encode((struct labels){ .items = items, .count = count }, &key);
    return buf_take(&key, ret_len);
}

enum target_outcome target_create(struct scrape_config *config,
                                  const struct target_group *group,
                                  const char *address,
                                  struct arena *scratch,
                                  struct labels *ret_discovered,
                                  struct target **ret,
                                  struct err *err) {
    struct labels discovered = discovered_labels(config, group, address, scratch);
    *ret_discovered = discovered;
    struct labels labels;
    if (!ingest_relabel_apply(config->relabel, discovered, scratch, &labels)) {
        return TARGET_DROPPED;
    }
    struct str host = labels_get(labels, ADDRESS);
    if (host.len == 0 || memchr(host.ptr, '/', host.len) != NULL) {
        err_set(err, ERR_INVALID, "\"%.*s\" is not a valid __address__", STR_FMT(host));
        return TARGET_INVALID;
    }
    int64_t interval_ms;
    int64_t timeout_ms;
    struct labels visible = visible_labels(labels, scratch);
    if (!durations_read(labels, &interval_ms, &timeout_ms, err) ||
        !labels_normalize(&visible, err)) {
        return TARGET_INVALID;
    }
    char *url = url_build(config, labels, scratch);
    if (url == NULL) {
        err_set(err, ERR_LIMIT, "the URL of target %s is too long", address);
        return TARGET_INVALID;
    }
    struct target *target = mem_calloc(1, sizeof(*target));
    target->url = url;
    target->key = key_of(config, labels, scratch, &target->key_len);
    arena_init(&target->arena, SIZE_MAX);
    target->discovered = labels_dup(discovered, &target->arena);
    target->labels = labels_dup(visible, &target->arena);
    target->interval_ms = interval_ms;
    target->timeout_ms = timeout_ms;
    target->config = config;
    config->refs++;
    page_cache_init(&target->cache);
    *ret = target;
    return TARGET_OK;
}

void target_destroy(struct target *target) {
    mem_free(target->key);
    mem_free(target->url);
    arena_finish(&target->arena);
    page_cache_finish(&target->cache);
    scrape_config_unref(target->config);
    mem_free(target);
}
