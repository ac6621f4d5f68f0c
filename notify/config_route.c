/* `route:` and `inhibit_rules:`. */
#include <stdlib.h>

#include "base/mem.h"
#include "notify/config.h"

enum {
    ROUTES_MAX = 5000, /* numbering them is quadratic */
    UNSET_MS = -1,
    GROUP_WAIT_MS = 30 * 1000,
    GROUP_INTERVAL_MS = 5 * 60 * 1000,
    REPEAT_INTERVAL_MS = 4 * 3600 * 1000,
};

/* ---- matchers ---- */

static void decode_matchers(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct matcher_list *list = dest;
    if (yaml_is_null(node)) {
        return;
    }
    bool is_list = node->kind == YAML_SEQUENCE;
    for (size_t i = 0; i < (is_list ? node->count : 1); i++) {
        const struct yaml_node *item = is_list ? node->items[i] : node;
        struct err err = ERR_INIT;
        if (item->kind != YAML_SCALAR) {
            yaml_error(ctx, item, DIAG_ERROR, "expected a matcher such as severity=\"critical\"");
        } else if (!matcher_list_parse(list, item->scalar, &err)) {
            yaml_error(ctx, item, DIAG_ERROR, "%s", err.msg);
        }
    }
}

/* The older `match:` and `match_re:` maps. */
static void decode_match_map(struct yaml_decode *ctx,
                             const struct yaml_node *node,
                             struct matcher_list *list,
                             enum match_type type) {
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_MAPPING) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a mapping of label names to values");
        return;
    }
    for (size_t i = 0; i < node->count; i++) {
        struct str name = node->pairs[i].key->scalar;
        const struct yaml_node *value = node->pairs[i].value;
        struct err err = ERR_INIT;
        if (!label_name_is_valid_legacy(name)) {
            yaml_error(ctx, node->pairs[i].key, DIAG_ERROR, "invalid label name \"%.*s\"",
                       STR_FMT(name));
        } else if (value->kind != YAML_SCALAR || (type == MATCH_RE && yaml_is_null(value))) {
            yaml_error(ctx, value, DIAG_ERROR, "expected a %s for \"%.*s\"",
                       type == MATCH_RE ? "regular expression" : "label value", STR_FMT(name));
        } else if (!matcher_list_add(list, type, name,
                                     yaml_is_null(value) ? STR("") : value->scalar, &err)) {
            yaml_error(ctx, value, DIAG_ERROR, "%s", err.msg);
        }
    }
}

static void decode_match(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    decode_match_map(ctx, node, dest, MATCH_EQ);
}

static void decode_match_re(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    decode_match_map(ctx, node, dest, MATCH_RE);
}

/* ---- label name lists ---- */

static int cmp_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_texts(char **items, size_t count) {
    if (count > 1) {
        qsort(items, count, sizeof(items[0]), cmp_text);
    }
}

static void check_label_names(struct yaml_decode *ctx,
                              const struct yaml_node *node,
                              char **names,
                              size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (names[i][0] == '\0' || !str_is_utf8(str_from(names[i]))) {
            yaml_error(ctx, node, DIAG_ERROR, "invalid label name \"%s\"", names[i]);
        }
    }
}

/* ---- routes ---- */

/* A route as written; what is not given is inherited when it is built. */
struct raw_route {
    char *receiver;
    const struct yaml_node *receiver_node;
    const struct yaml_node *group_by;
    struct matcher_list matchers;
    int64_t group_wait_ms;
    int64_t group_interval_ms;
    int64_t repeat_interval_ms;
    bool is_continue;
    const struct yaml_node *mute;
    const struct yaml_node *active;
    const struct yaml_node *routes;
};

static void keep_node(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    (void)ctx;
    *(const struct yaml_node **)dest = node;
}

static void decode_receiver_name(struct yaml_decode *ctx,
                                 const struct yaml_node *node,
                                 void *dest) {
    struct raw_route *raw = dest;
    raw->receiver_node = node;
    if (!yaml_is_null(node)) {
        (void)yaml_decode_scalar(ctx, node, YAML_STRING, &raw->receiver);
    }
}

#define ROUTE(key_, type_, member_) \
    { .key = (key_), .type = (type_), .offset = offsetof(struct raw_route, member_) }
#define ROUTE_CUSTOM(key_, member_, decode_)                                               \
    {                                                                                      \
        .key = (key_), .type = YAML_CUSTOM, .offset = offsetof(struct raw_route, member_), \
        .decode = (decode_)                                                                \
    }

static const struct yaml_field route_fields[] = {
    { .key = "receiver", .type = YAML_CUSTOM, .offset = 0, .decode = decode_receiver_name },
    ROUTE_CUSTOM("group_by", group_by, keep_node),
    ROUTE_CUSTOM("match", matchers, decode_match),
    ROUTE_CUSTOM("match_re", matchers, decode_match_re),
    ROUTE_CUSTOM("matchers", matchers, decode_matchers),
    ROUTE("group_wait", YAML_DURATION, group_wait_ms),
    ROUTE("group_interval", YAML_DURATION, group_interval_ms),
    ROUTE("repeat_interval", YAML_DURATION, repeat_interval_ms),
    ROUTE("continue", YAML_BOOL, is_continue),
    ROUTE_CUSTOM("mute_time_intervals", mute, keep_node),
    ROUTE_CUSTOM("active_time_intervals", active, keep_node),
    ROUTE_CUSTOM("routes", routes, keep_node),
    { .key = "labels", .type = YAML_IGNORED },
};

struct route_build {
    struct yaml_decode *ctx;
    struct notify_config *config;
    size_t route_count;
};

static void set_group_by(struct yaml_decode *ctx,
                         const struct yaml_node *node,
                         struct route_config *route) {
    char **names = NULL;
    size_t count = 0;
    if (!config_decode_strings(ctx, node, &names, &count)) {
        return;
    }
    size_t kept = 0;
    bool is_all = false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], "...") == 0) {
            is_all = true;
            mem_free(names[i]);
        } else {
            names[kept++] = names[i];
        }
    }
    check_label_names(ctx, node, names, kept);
    sort_texts(names, kept);
    for (size_t i = 1; i < kept; i++) {
        if (strcmp(names[i], names[i - 1]) == 0) {
            yaml_error(ctx, node, DIAG_ERROR, "duplicated label \"%s\" in group_by", names[i]);
        }
    }
    if (is_all && kept > 0) {
        yaml_error(ctx, node, DIAG_ERROR,
                   "cannot have wildcard group_by (\"...\") and other labels at the same time");
    }
    string_list_free(route->group_by, route->group_by_count);
    route->group_by = names;
    route->group_by_count = kept;
    route->group_by_all = is_all;
}

static void inherit_group_by(struct route_config *route) {
    const struct route_config *parent = route->parent;
    if (parent == NULL) {
        return;
    }
    route->group_by_all = parent->group_by_all;
    route->group_by_count = parent->group_by_count;
    route->group_by = mem_calloc(parent->group_by_count + 1, sizeof(route->group_by[0]));
    for (size_t i = 0; i < parent->group_by_count; i++) {
        route->group_by[i] = mem_strdup(parent->group_by[i]);
    }
}

static void set_intervals(struct route_build *build,
                          const struct yaml_node *node,
                          const struct time_interval ***ret,
                          size_t *ret_count) {
    char **names = NULL;
    size_t count = 0;
    if (!config_decode_strings(build->ctx, node, &names, &count)) {
        return;
    }
    *ret = mem_calloc(count + 1, sizeof((*ret)[0]));
    for (size_t i = 0; i < count; i++) {
        const struct time_interval *found = NULL;
        for (size_t k = 0; k < build->config->time_interval_count; k++) {
            const struct time_interval *interval = &build->config->time_intervals[k];
            if (interval->name != NULL && strcmp(interval->name, names[i]) == 0) {
                found = interval;
            }
        }
        if (found == NULL) {
            yaml_error(build->ctx, node, DIAG_ERROR, "undefined time interval \"%s\" used in route",
                       names[i]);
        } else {
            (*ret)[(*ret_count)++] = found;
        }
    }
    string_list_free(names, count);
}

static void set_receiver(struct route_build *build,
                         const struct yaml_node *node,
                         const struct raw_route *raw,
                         struct route_config *route) {
    if (raw->receiver != NULL && raw->receiver[0] != '\0') {
        route->receiver = config_find_receiver(build->config, str_from(raw->receiver));
        if (route->receiver == NULL && strcmp(raw->receiver, "inbox") == 0) {
            struct receiver_config *inbox = config_add_receiver(build->config, STR("inbox"));
            (void)config_add_integration(inbox, NOTIFY_INBOX);
            route->receiver = inbox;
        }
        if (route->receiver == NULL) {
            yaml_error(build->ctx, raw->receiver_node, DIAG_ERROR,
                       "undefined receiver \"%s\" used in route", raw->receiver);
        }
    } else if (route->parent == NULL) {
        yaml_error(build->ctx, node, DIAG_ERROR, "root route must specify a default receiver");
    } else {
        route->receiver = route->parent->receiver;
    }
}

static void set_key(struct route_config *route) {
    struct buf key;
    buf_init(&key, 1024 * 1024);
    if (route->parent != NULL) {
        buf_printf(&key, "%s/", route->parent->key);
    }
    matcher_list_print(&route->matchers, &key);
    route->key = buf_take(&key, NULL);
}

static int64_t choose_ms(int64_t own_ms, int64_t inherited_ms) {
    return own_ms == UNSET_MS ? inherited_ms : own_ms;
}

static void check_route(struct yaml_decode *ctx,
                        const struct yaml_node *node,
                        const struct raw_route *raw,
                        bool is_root) {
    if (raw->group_interval_ms == 0) {
        yaml_error(ctx, yaml_get(node, "group_interval"), DIAG_ERROR,
                   "group_interval cannot be zero");
    }
    if (raw->repeat_interval_ms == 0) {
        yaml_error(ctx, yaml_get(node, "repeat_interval"), DIAG_ERROR,
                   "repeat_interval cannot be zero");
    }
    if (!is_root) {
        return;
    }
    if (raw->matchers.count > 0) {
        yaml_error(ctx, node, DIAG_ERROR, "root route must not have any matchers");
    }
    if (!yaml_is_null(raw->mute) || !yaml_is_null(raw->active)) {
        yaml_error(ctx, node, DIAG_ERROR, "root route must not have any time intervals");
    }
}

static struct route_config *build_route(struct route_build *build,
                                        const struct yaml_node *node,
                                        const struct route_config *parent);

static void build_children(struct route_build *build,
                           const struct yaml_node *node,
                           struct route_config *route) {
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(build->ctx, node, DIAG_ERROR, "expected a list of routes");
        return;
    }
    route->routes = mem_calloc(node->count, sizeof(route->routes[0]));
    for (size_t i = 0; i < node->count && build->route_count < ROUTES_MAX; i++) {
        route->routes[route->route_count++] = build_route(build, node->items[i], route);
    }
}

/* Depth is capped by the YAML tree's. */
static struct route_config *build_route(struct route_build *build,
                                        const struct yaml_node *node,
                                        const struct route_config *parent) {
    if (++build->route_count == ROUTES_MAX) {
        yaml_error(build->ctx, node, DIAG_ERROR, "more than %d routes", ROUTES_MAX);
    }
    struct raw_route raw = {
        .group_wait_ms = UNSET_MS,
        .group_interval_ms = UNSET_MS,
        .repeat_interval_ms = UNSET_MS,
    };
    (void)yaml_decode_mapping(build->ctx, node, route_fields, ARRAY_LEN(route_fields), &raw);
    check_route(build->ctx, node, &raw, parent == NULL);

    struct route_config *route = mem_calloc(1, sizeof(*route));
    route->parent = parent;
    route->matchers = raw.matchers;
    matcher_list_sort(&route->matchers);
    route->is_continue = raw.is_continue;
    set_receiver(build, node, &raw, route);
    inherit_group_by(route);
    if (!yaml_is_null(raw.group_by)) {
        set_group_by(build->ctx, raw.group_by, route);
    }
    route->group_wait_ms =
        choose_ms(raw.group_wait_ms, parent == NULL ? GROUP_WAIT_MS : parent->group_wait_ms);
    route->group_interval_ms = choose_ms(
        raw.group_interval_ms, parent == NULL ? GROUP_INTERVAL_MS : parent->group_interval_ms);
    route->repeat_interval_ms = choose_ms(
        raw.repeat_interval_ms, parent == NULL ? REPEAT_INTERVAL_MS : parent->repeat_interval_ms);
    set_intervals(build, raw.mute, &route->mute_intervals, &route->mute_interval_count);
    set_intervals(build, raw.active, &route->active_intervals, &route->active_interval_count);
    set_key(route);
    mem_free(raw.receiver);
    build_children(build, raw.routes, route);
    return route;
}

/* Routes may share key and receiver; the ordinal tells their groups apart. Counts the routes
 * before `route` in depth-first order; true when `route` was reached. */
static bool count_twins(const struct route_config *at, struct route_config *route) {
    if (at == route) {
        return true;
    }
    if (at->receiver == route->receiver && strcmp(at->key, route->key) == 0) {
        route->ordinal++;
    }
    for (size_t i = 0; i < at->route_count; i++) {
        if (count_twins(at->routes[i], route)) {
            return true;
        }
    }
    return false;
}

static void number_routes(const struct route_config *root, struct route_config *route) {
    (void)count_twins(root, route);
    for (size_t i = 0; i < route->route_count; i++) {
        number_routes(root, route->routes[i]);
    }
}

void config_decode_route_tree(struct yaml_decode *ctx, const struct yaml_node *node) {
    struct config_decode *decode = ctx->user;
    struct route_build build = { .ctx = ctx, .config = decode->config };
    decode->config->route = build_route(&build, node, NULL);
    number_routes(decode->config->route, decode->config->route);
}

void route_config_destroy(struct route_config *route) {
    if (route == NULL) {
        return;
    }
    for (size_t i = 0; i < route->route_count; i++) {
        route_config_destroy(route->routes[i]);
    }
    mem_free(route->routes);
    matcher_list_finish(&route->matchers);
    string_list_free(route->group_by, route->group_by_count);
    mem_free(route->mute_intervals);
    mem_free(route->active_intervals);
    mem_free(route->key);
    mem_free(route);
}

/* ---- inhibition ---- */

static void decode_equal(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    struct inhibit_rule *rule = dest;
    if (config_decode_strings(ctx, node, &rule->equal, &rule->equal_count)) {
        check_label_names(ctx, node, rule->equal, rule->equal_count);
        sort_texts(rule->equal, rule->equal_count);
    }
}

#define INHIBIT(key_, member_, decode_)                                                       \
    {                                                                                         \
        .key = (key_), .type = YAML_CUSTOM, .offset = offsetof(struct inhibit_rule, member_), \
        .decode = (decode_)                                                                   \
    }

static const struct yaml_field inhibit_fields[] = {
    { .key = "name", .type = YAML_STRING, .offset = offsetof(struct inhibit_rule, name) },
    INHIBIT("source_match", source, decode_match),
    INHIBIT("source_match_re", source, decode_match_re),
    INHIBIT("source_matchers", source, decode_matchers),
    INHIBIT("target_match", target, decode_match),
    INHIBIT("target_match_re", target, decode_match_re),
    INHIBIT("target_matchers", target, decode_matchers),
    { .key = "equal", .type = YAML_CUSTOM, .offset = 0, .decode = decode_equal },
};

void config_decode_inhibit_rules(struct yaml_decode *ctx,
                                 const struct yaml_node *node,
                                 void *dest) {
    (void)dest;
    struct config_decode *decode = ctx->user;
    struct notify_config *config = decode->config;
    if (yaml_is_null(node)) {
        return;
    }
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a list of inhibition rules");
        return;
    }
    config->inhibit_rules = mem_calloc(node->count, sizeof(config->inhibit_rules[0]));
    config->inhibit_rule_count = node->count;
    for (size_t i = 0; i < node->count; i++) {
        (void)yaml_decode_mapping(ctx, node->items[i], inhibit_fields, ARRAY_LEN(inhibit_fields),
                                  &config->inhibit_rules[i]);
    }
}

void inhibit_rule_finish(struct inhibit_rule *rule) {
    mem_free(rule->name);
    matcher_list_finish(&rule->source);
    matcher_list_finish(&rule->target);
    string_list_free(rule->equal, rule->equal_count);
}
