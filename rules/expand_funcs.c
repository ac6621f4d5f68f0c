/*
 * The template functions that need more than their arguments: the store (query), the server's
 * address, the evaluation's time, other templates. The rest is tmpl_common_funcs.
 */
#include "rules/expand_funcs.h"

#include <stdlib.h>

enum {
    TMPL_DEPTH_MAX = 16,
    TMPL_BYTES_MAX = 1 << 16,
};

/* ---- links ---- */

/* Go's url.QueryEscape. */
static void escape_query(struct str text, struct buf *out) {
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
        if (is_plain) {
            buf_putc(out, (char)c);
        } else if (c == ' ') {
            buf_putc(out, '+');
        } else {
            buf_putc(out, '%');
            buf_putc(out, hex[c >> 4]);
            buf_putc(out, hex[c & 15]);
        }
    }
}

static struct str link_for(struct str query, int tab, struct arena *arena) {
    struct buf out;
    buf_init(&out, query.len * 3 + 64);
    buf_cstr(&out, "/graph?g0.expr=");
    escape_query(query, &out);
    buf_printf(&out, "&g0.tab=%d", tab);
    struct str link = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return link;
}

struct str rules_expand_table_link(struct str query, struct arena *arena) {
    return link_for(query, 1, arena);
}

/* ---- arguments ---- */

static bool want_string(const struct tmpl_value *arg, const char *func, struct err *err) {
    if (arg->type == TMPL_STRING) {
        return true;
    }
    return err_set(err, ERR_EXEC, "%s: expected string", func);
}

static bool want_vector(const struct tmpl_value *arg, const char *func, struct err *err) {
    if (arg->type == TMPL_LIST) {
        return true;
    }
    return err_set(err, ERR_EXEC, "%s: expected the result of a query", func);
}

static const struct tmpl_value *map_find(const struct tmpl_map *map, struct str key) {
    for (size_t i = 0; i < map->count; i++) {
        if (str_eq(map->keys[i], key)) {
            return &map->values[i];
        }
    }
    return NULL;
}

/* A member of one query result; NULL with the error when `arg` is none. */
static const struct tmpl_value *sample_field(const struct tmpl_value *arg,
                                             const char *field,
                                             const char *func,
                                             struct err *err) {
    const struct tmpl_value *value =
        arg->type == TMPL_OBJECT ? map_find(arg->map, str_from(field)) : NULL;
    if (value == NULL) {
        (void)err_set(err, ERR_EXEC, "%s: expected one element of a query's result", func);
    }
    return value;
}

static struct str sample_label(const struct tmpl_value *labels, struct str name) {
    const struct tmpl_value *value = labels->type == TMPL_MAP ? map_find(labels->map, name) : NULL;
    return value != NULL && value->type == TMPL_STRING ? value->string : STR("");
}

/* ---- query results ---- */

static struct tmpl_value make_sample(const struct promql_series *series, struct arena *arena) {
    struct tmpl_map *labels = arena_calloc(arena, 1, sizeof(*labels));
    *labels = rules_expand_labels_map(series->labels, arena);
    struct tmpl_map *sample = arena_calloc(arena, 1, sizeof(*sample));
    sample->count = 2;
    sample->type_name = "*template.sample";
    sample->keys = arena_calloc(arena, 2, sizeof(struct str));
    sample->values = arena_calloc(arena, 2, sizeof(struct tmpl_value));
    sample->keys[0] = STR("Labels");
    sample->values[0] = (struct tmpl_value){ .type = TMPL_MAP, .map = labels };
    sample->keys[1] = STR("Value");
    sample->values[1] = tmpl_float(series->point_count > 0 ? series->points[0].value : 0);
    return (struct tmpl_value){ .type = TMPL_OBJECT, .map = sample };
}

static bool call_query(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    const struct expand_run *run = ctx;
    if (!want_string(&args[0], "query", err)) {
        return false;
    }
    if (run->input->query == NULL) {
        return err_set(err, ERR_EXEC, "query: no store to ask here");
    }
    struct promql_result result;
    if (!run->input->query(run->input->query_ctx, args[0].string, arena, &result, err)) {
        return false;
    }
    if (result.type != PROMQL_VECTOR && result.type != PROMQL_SCALAR) {
        return err_set(err, ERR_EXEC, "rule result is not a vector or scalar");
    }
    struct tmpl_list *list = arena_calloc(arena, 1, sizeof(*list));
    list->items = arena_calloc(arena, result.series_count, sizeof(struct tmpl_value));
    list->count = result.series_count;
    list->type_name = "template.queryResult";
    for (size_t i = 0; i < result.series_count; i++) {
        list->items[i] = make_sample(&result.series[i], arena);
    }
    *ret = (struct tmpl_value){ .type = TMPL_LIST, .list = list };
    return true;
}

static bool call_first(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    if (!want_vector(&args[0], "first", err)) {
        return false;
    }
    if (args[0].list->count == 0) {
        return err_set(err, ERR_EXEC, "first() called on vector with no elements");
    }
    *ret = args[0].list->items[0];
    return true;
}

static bool call_label(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    if (!want_string(&args[0], "label", err)) {
        return false;
    }
    const struct tmpl_value *labels = sample_field(&args[1], "Labels", "label", err);
    if (labels == NULL) {
        return false;
    }
    *ret = tmpl_string(sample_label(labels, args[0].string));
    return true;
}

static bool call_value(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    const struct tmpl_value *value = sample_field(&args[0], "Value", "value", err);
    if (value == NULL) {
        return false;
    }
    *ret = *value;
    return true;
}

static bool call_strvalue(void *ctx,
                          const struct tmpl_value *args,
                          size_t arg_count,
                          struct arena *arena,
                          struct tmpl_value *ret,
                          struct err *err) {
    const struct tmpl_value *labels = sample_field(&args[0], "Labels", "strvalue", err);
    if (labels == NULL) {
        return false;
    }
    *ret = tmpl_string(sample_label(labels, STR("__value__")));
    return true;
}

struct sort_item {
    struct tmpl_value value;
    struct str key;
    size_t place; /* keeps the sort stable */
};

static int compare_items(const void *a, const void *b) {
    const struct sort_item *left = a;
    const struct sort_item *right = b;
    int order = str_cmp(left->key, right->key);
    return order != 0 ? order : (left->place > right->place) - (left->place < right->place);
}

static bool call_sort_by_label(void *ctx,
                               const struct tmpl_value *args,
                               size_t arg_count,
                               struct arena *arena,
                               struct tmpl_value *ret,
                               struct err *err) {
    if (!want_string(&args[0], "sortByLabel", err) || !want_vector(&args[1], "sortByLabel", err)) {
        return false;
    }
    const struct tmpl_list *from = args[1].list;
    struct sort_item *items = arena_calloc(arena, from->count, sizeof(*items));
    for (size_t i = 0; i < from->count; i++) {
        const struct tmpl_value *labels =
            sample_field(&from->items[i], "Labels", "sortByLabel", err);
        if (labels == NULL) {
            return false;
        }
        items[i] = (struct sort_item){
            .value = from->items[i],
            .key = sample_label(labels, args[0].string),
            .place = i,
        };
    }
    if (from->count > 0) {
        qsort(items, from->count, sizeof(*items), compare_items);
    }
    struct tmpl_list *list = arena_calloc(arena, 1, sizeof(*list));
    list->items = arena_calloc(arena, from->count, sizeof(struct tmpl_value));
    list->count = from->count;
    list->type_name = from->type_name;
    for (size_t i = 0; i < from->count; i++) {
        list->items[i] = items[i].value;
    }
    *ret = (struct tmpl_value){ .type = TMPL_LIST, .list = list };
    return true;
}

/* ---- the server ---- */

static bool call_graph_link(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    if (!want_string(&args[0], "graphLink", err)) {
        return false;
    }
    *ret = tmpl_string(link_for(args[0].string, 0, arena));
    return true;
}

static bool call_table_link(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    if (!want_string(&args[0], "tableLink", err)) {
        return false;
    }
    *ret = tmpl_string(link_for(args[0].string, 1, arena));
    return true;
}

static bool call_external_url(void *ctx,
                              const struct tmpl_value *args,
                              size_t arg_count,
                              struct arena *arena,
                              struct tmpl_value *ret,
                              struct err *err) {
    const struct expand_run *run = ctx;
    *ret = tmpl_string(run->input->set->external_url);
    return true;
}

static bool call_path_prefix(void *ctx,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err) {
    const struct expand_run *run = ctx;
    *ret = tmpl_string(run->input->set->external_path);
    return true;
}

static bool call_now(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    const struct expand_run *run = ctx;
    *ret = tmpl_float((double)run->input->now_ms / 1000);
    return true;
}

static bool call_url_query_escape(void *ctx,
                                  const struct tmpl_value *args,
                                  size_t arg_count,
                                  struct arena *arena,
                                  struct tmpl_value *ret,
                                  struct err *err) {
    if (!want_string(&args[0], "urlQueryEscape", err)) {
        return false;
    }
    struct buf out;
    buf_init(&out, args[0].string.len * 3 + 1);
    escape_query(args[0].string, &out);
    *ret = tmpl_string(arena_str(arena, buf_as_str(&out)));
    buf_finish(&out);
    return true;
}

/* ---- other templates ---- */

/* {{ tmpl "name" . }}: like the template action, but with a name that may be computed. Upstream
 * has it in consoles only; in rules it would be refused at load. */
static bool call_tmpl(void *ctx,
                      const struct tmpl_value *args,
                      size_t arg_count,
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err) {
    struct expand_run *run = ctx;
    if (!want_string(&args[0], "tmpl", err)) {
        return false;
    }
    if (run->depth >= TMPL_DEPTH_MAX) {
        return err_set(err, ERR_EXEC, "tmpl: templates nest deeper than %d", TMPL_DEPTH_MAX);
    }
    struct str name = arena_str(arena, args[0].string);
    if (!tmpl_has(run->tmpl, name.ptr)) {
        return err_set(err, ERR_EXEC, "tmpl: no template \"%.*s\"", STR_FMT(name));
    }
    struct tmpl_run inner = *run->run;
    inner.name = name.ptr;
    inner.dot = arg_count > 1 ? args[1] : (struct tmpl_value){ .type = TMPL_NIL };
    struct buf out;
    buf_init(&out, TMPL_BYTES_MAX);
    run->depth++;
    bool ok = tmpl_execute(run->tmpl, &inner, arena, &out, err);
    run->depth--;
    if (ok) {
        *ret = tmpl_string(arena_str(arena, buf_as_str(&out)));
    }
    buf_finish(&out);
    return ok;
}

/* ---- table ---- */

static const struct tmpl_func rule_funcs[] = {
    { "query", call_query, 1, 1 },
    { "first", call_first, 1, 1 },
    { "label", call_label, 2, 2 },
    { "value", call_value, 1, 1 },
    { "strvalue", call_strvalue, 1, 1 },
    { "sortByLabel", call_sort_by_label, 2, 2 },
    { "graphLink", call_graph_link, 1, 1 },
    { "tableLink", call_table_link, 1, 1 },
    { "externalURL", call_external_url, 0, 0 },
    { "pathPrefix", call_path_prefix, 0, 0 },
    { "now", call_now, 0, 0 },
    { "urlQueryEscape", call_url_query_escape, 1, 1 },
    { "tmpl", call_tmpl, 1, 2 },
};

static bool is_rule_func(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(rule_funcs); i++) {
        if (str_eq_c(str_from(name), rule_funcs[i].name)) {
            return true;
        }
    }
    return false;
}

struct tmpl_func *rules_expand_funcs(struct arena *arena, size_t *ret_count) {
    size_t room = ARRAY_LEN(rule_funcs) + tmpl_common_func_count;
    struct tmpl_func *funcs = arena_calloc(arena, room, sizeof(*funcs));
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(rule_funcs); i++) {
        funcs[count++] = rule_funcs[i];
    }
    for (size_t i = 0; i < tmpl_common_func_count; i++) {
        if (!is_rule_func(tmpl_common_funcs[i].name)) {
            funcs[count++] = tmpl_common_funcs[i];
        }
    }
    *ret_count = count;
    return funcs;
}
