/* The common functions on lists, maps and query results, and the table of all common functions. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/template_func.h"

enum {
    ARGS_ANY = 255,
    JSON_BYTES_MAX = 1 << 20,
    PAIRS_MAX = 1000, /* of a map built by a template */
};

bool tmpl_wrong_type(const struct tmpl_value *value, const char *expected, struct err *err) {
    if (value->type == TMPL_NIL) {
        return err_set(err, ERR_EXEC, "invalid value; expected %s", expected);
    }
    return err_set(err, ERR_EXEC, "wrong type for value; expected %s; got %s", expected,
                   tmpl_type_name(value));
}

bool tmpl_want_strings(const struct tmpl_value *args, size_t first, size_t count, struct err *err) {
    for (size_t i = first; i < count; i++) {
        if (args[i].type != TMPL_STRING) {
            return tmpl_wrong_type(&args[i], "string", err);
        }
    }
    return true;
}

static struct tmpl_value make_list(const struct tmpl_value *items,
                                   size_t count,
                                   const char *type_name,
                                   struct arena *arena) {
    struct tmpl_list *list = arena_calloc(arena, 1, sizeof(*list));
    list->items = arena_calloc(arena, count, sizeof(list->items[0]));
    if (count > 0) {
        memcpy(list->items, items, count * sizeof(list->items[0]));
    }
    list->count = count;
    list->type_name = type_name;
    return (struct tmpl_value){ .type = TMPL_LIST, .list = list };
}

bool tmpl_call_string_slice(void *ctx,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    if (!tmpl_want_strings(args, 0, arg_count, err)) {
        return false;
    }
    *ret = make_list(args, arg_count, "[]string", arena);
    return true;
}

bool tmpl_call_list(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err) {
    *ret = make_list(args, arg_count, NULL, arena);
    return true;
}

bool tmpl_call_append(void *ctx,
                      const struct tmpl_value *args,
                      size_t arg_count,
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err) {
    if (args[0].type != TMPL_LIST) {
        return tmpl_wrong_type(&args[0], "[]interface {}", err);
    }
    const struct tmpl_list *list = args[0].list;
    size_t count = list->count + arg_count - 1;
    struct tmpl_value *items = arena_calloc(arena, count, sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        items[i] = i < list->count ? list->items[i] : args[1 + i - list->count];
    }
    *ret = make_list(items, count, NULL, arena);
    return true;
}

/* ---- maps ---- */

/* Put a pair into a map kept in the order of its keys; a later value replaces an earlier one. */
static void put_sorted(struct tmpl_map *map, struct str key, struct tmpl_value value) {
    size_t at = 0;
    while (at < map->count && str_cmp(map->keys[at], key) < 0) {
        at++;
    }
    if (at == map->count || !str_eq(map->keys[at], key)) {
        for (size_t i = map->count; i > at; i--) {
            map->keys[i] = map->keys[i - 1];
            map->values[i] = map->values[i - 1];
        }
        map->count++;
    }
    map->keys[at] = key;
    map->values[at] = value;
}

static struct tmpl_map *new_any_map(struct arena *arena, size_t count_max) {
    struct tmpl_map *map = arena_calloc(arena, 1, sizeof(*map));
    map->keys = arena_calloc(arena, count_max, sizeof(map->keys[0]));
    map->values = arena_calloc(arena, count_max, sizeof(map->values[0]));
    map->type_name = TMPL_ANY_MAP;
    return map;
}

bool tmpl_call_args(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err) {
    if (arg_count > PAIRS_MAX) {
        return err_set(err, ERR_LIMIT, "more than %d arguments", PAIRS_MAX);
    }
    struct tmpl_map *map = new_any_map(arena, arg_count);
    for (size_t i = 0; i < arg_count; i++) {
        put_sorted(map, arena_printf(arena, "arg%zu", i), args[i]);
    }
    *ret = (struct tmpl_value){ .type = TMPL_MAP, .map = map };
    return true;
}

bool tmpl_call_dict(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err) {
    if (arg_count % 2 != 0) {
        return err_set(err, ERR_EXEC, "dict requires an even number of arguments");
    }
    if (arg_count / 2 > PAIRS_MAX) {
        return err_set(err, ERR_LIMIT, "more than %d pairs", PAIRS_MAX);
    }
    struct tmpl_map *map = new_any_map(arena, arg_count / 2);
    for (size_t i = 0; i < arg_count; i += 2) {
        if (args[i].type != TMPL_STRING) {
            return err_set(err, ERR_EXEC, "dict keys must be strings");
        }
        put_sorted(map, args[i].string, args[i + 1]);
    }
    *ret = (struct tmpl_value){ .type = TMPL_MAP, .map = map };
    return true;
}

/* ---- JSON ---- */

/* Members of objects are named as upstream's JSON tags do: fingerprint, startsAt, externalURL. */
static void write_field_name(struct json_writer *json, struct str name, struct arena *arena) {
    struct str lower = arena_str(arena, name);
    char *text = arena_alloc(arena, lower.len + 1);
    memcpy(text, lower.ptr, lower.len + 1);
    if (lower.len > 0 && text[0] >= 'A' && text[0] <= 'Z') {
        text[0] = (char)(text[0] + 32);
    }
    json_key_str(json, str_n(text, lower.len));
}

static bool write_json(struct json_writer *json,
                       const struct tmpl_value *value,
                       struct arena *arena,
                       struct err *err);

static bool write_map(struct json_writer *json,
                      const struct tmpl_value *value,
                      struct arena *arena,
                      struct err *err) {
    const struct tmpl_map *map = value->map;
    struct tmpl_time time;
    int64_t duration_ns = 0;
    if (tmpl_get_duration(value, &duration_ns)) {
        json_i64(json, duration_ns);
        return true;
    }
    if (tmpl_get_time(value, &time)) {
        struct buf text;
        buf_init(&text, 64);
        tmpl_time_format(&text, &time, STR("2006-01-02T15:04:05.999999999Z07:00"));
        json_str(json, buf_as_str(&text));
        buf_finish(&text);
        return true;
    }
    json_object(json);
    for (size_t i = 0; i < map->count; i++) {
        if (value->type == TMPL_MAP) {
            json_key_str(json, map->keys[i]);
        } else {
            write_field_name(json, map->keys[i], arena);
        }
        if (!write_json(json, &map->values[i], arena, err)) {
            return false;
        }
    }
    json_object_end(json);
    return true;
}

static bool write_json(struct json_writer *json,
                       const struct tmpl_value *value,
                       struct arena *arena,
                       struct err *err) {
    if (json->depth + 2 >= JSON_DEPTH_MAX) {
        return err_set(err, ERR_LIMIT, "json: nested more than %d deep", JSON_DEPTH_MAX);
    }
    switch (value->type) {
    case TMPL_NIL:
    case TMPL_TYPE_COUNT: json_null(json); break;
    case TMPL_BOOL: json_bool(json, value->boolean); break;
    case TMPL_INT: json_i64(json, value->integer); break;
    case TMPL_FLOAT:
        if (!isfinite(value->number)) {
            struct str text = tmpl_value_text(value, arena);
            return err_set(err, ERR_EXEC, "json: unsupported value: %.*s", STR_FMT(text));
        }
        json_f64(json, value->number);
        break;
    case TMPL_STRING: json_str(json, value->string); break;
    case TMPL_LIST:
        json_array(json);
        for (size_t i = 0; i < value->list->count; i++) {
            if (!write_json(json, &value->list->items[i], arena, err)) {
                return false;
            }
        }
        json_array_end(json);
        break;
    case TMPL_MAP:
    case TMPL_OBJECT: return write_map(json, value, arena, err);
    }
    return true;
}

/* json.Marshal, which keeps its output safe inside HTML. */
static void append_html_safe(struct buf *out, struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        switch (text.ptr[i]) {
        case '<': buf_cstr(out, "\\u003c"); break;
        case '>': buf_cstr(out, "\\u003e"); break;
        case '&': buf_cstr(out, "\\u0026"); break;
        default: buf_putc(out, text.ptr[i]); break;
        }
    }
}

bool tmpl_call_to_json(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    struct buf plain;
    struct buf out;
    struct json_writer json;
    buf_init(&plain, JSON_BYTES_MAX);
    buf_init(&out, JSON_BYTES_MAX);
    json_init(&json, &plain);
    bool ok = write_json(&json, &args[0], arena, err);
    append_html_safe(&out, buf_as_str(&plain));
    if (ok && (plain.is_over || out.is_over)) {
        ok = err_set(err, ERR_LIMIT, "result longer than %d bytes", JSON_BYTES_MAX);
    }
    if (ok) {
        *ret = tmpl_string(arena_str(arena, buf_as_str(&out)));
    }
    buf_finish(&plain);
    buf_finish(&out);
    return ok;
}

/* ---- query results: lists of objects with Labels and Value ---- */

static bool sample_field(const struct tmpl_value *sample,
                         const char *name,
                         struct tmpl_value *ret,
                         struct err *err) {
    const struct tmpl_value *found =
        sample->type == TMPL_OBJECT ? tmpl_map_find(sample->map, str_from(name)) : NULL;
    if (found == NULL) {
        return tmpl_wrong_type(sample, "*template.sample", err);
    }
    *ret = *found;
    return true;
}

static bool sample_label(const struct tmpl_value *sample,
                         struct str name,
                         struct str *ret,
                         struct err *err) {
    struct tmpl_value labels = { .type = TMPL_NIL };
    if (!sample_field(sample, "Labels", &labels, err)) {
        return false;
    }
    const struct tmpl_value *found =
        labels.type == TMPL_MAP ? tmpl_map_find(labels.map, name) : NULL;
    *ret = found != NULL && found->type == TMPL_STRING ? found->string : STR("");
    return true;
}

bool tmpl_call_first(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    if (args[0].type != TMPL_LIST) {
        return tmpl_wrong_type(&args[0], "template.queryResult", err);
    }
    if (args[0].list->count == 0) {
        return err_set(err, ERR_EXEC, "first() called on vector with no elements");
    }
    *ret = args[0].list->items[0];
    return true;
}

bool tmpl_call_label(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    struct str label;
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    if (!sample_label(&args[1], args[0].string, &label, err)) {
        return false;
    }
    *ret = tmpl_string(label);
    return true;
}

bool tmpl_call_value(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    return sample_field(&args[0], "Value", ret, err);
}

bool tmpl_call_strvalue(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    struct str label;
    if (!sample_label(&args[0], STR("__value__"), &label, err)) {
        return false;
    }
    *ret = tmpl_string(label);
    return true;
}

struct sort_item {
    struct str label;
    size_t index;
};

static int compare_items(const void *a, const void *b) {
    const struct sort_item *left = a;
    const struct sort_item *right = b;
    int order = str_cmp(left->label, right->label);
    return order != 0 ? order : left->index < right->index ? -1 : 1;
}

bool tmpl_call_sort_by_label(void *ctx,
                             const struct tmpl_value *args,
                             size_t arg_count,
                             struct arena *arena,
                             struct tmpl_value *ret,
                             struct err *err) {
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    if (args[1].type != TMPL_LIST) {
        return tmpl_wrong_type(&args[1], "template.queryResult", err);
    }
    const struct tmpl_list *list = args[1].list;
    struct sort_item *order = arena_calloc(arena, list->count, sizeof(*order));
    for (size_t i = 0; i < list->count; i++) {
        order[i].index = i;
        if (!sample_label(&list->items[i], args[0].string, &order[i].label, err)) {
            return false;
        }
    }
    if (list->count > 0) {
        qsort(order, list->count, sizeof(*order), compare_items);
    }
    struct tmpl_value *items = arena_calloc(arena, list->count, sizeof(*items));
    for (size_t i = 0; i < list->count; i++) {
        items[i] = list->items[order[i].index];
    }
    *ret = make_list(items, list->count, list->type_name, arena);
    return true;
}

/* ---- table ---- */

const struct tmpl_func tmpl_common_funcs[] = {
    { "append", tmpl_call_append, 1, ARGS_ANY },
    { "args", tmpl_call_args, 0, ARGS_ANY },
    { "base64decode", tmpl_call_base64_decode, 1, 1 },
    { "base64encode", tmpl_call_base64_encode, 1, 1 },
    { "date", tmpl_call_date, 2, 2 },
    { "dict", tmpl_call_dict, 0, ARGS_ANY },
    { "first", tmpl_call_first, 1, 1 },
    { "humanize", tmpl_call_humanize, 1, 1 },
    { "humanize1024", tmpl_call_humanize1024, 1, 1 },
    { "humanizeDuration", tmpl_call_humanize_duration, 1, 1 },
    { "humanizePercentage", tmpl_call_humanize_percentage, 1, 1 },
    { "humanizeTimestamp", tmpl_call_humanize_timestamp, 1, 1 },
    { "join", tmpl_call_join, 2, 2 },
    { "label", tmpl_call_label, 2, 2 },
    { "list", tmpl_call_list, 0, ARGS_ANY },
    { "match", tmpl_call_match, 2, 2 },
    { "parseDuration", tmpl_call_parse_duration, 1, 1 },
    { "reReplaceAll", tmpl_call_re_replace_all, 3, 3 },
    { "safeHtml", tmpl_call_safe_html, 1, 1 },
    { "safeUrl", tmpl_call_safe_url, 1, 1 },
    { "sortByLabel", tmpl_call_sort_by_label, 2, 2 },
    { "stringSlice", tmpl_call_string_slice, 0, ARGS_ANY },
    { "stripDomain", tmpl_call_strip_domain, 1, 1 },
    { "stripPort", tmpl_call_strip_port, 1, 1 },
    { "strvalue", tmpl_call_strvalue, 1, 1 },
    { "title", tmpl_call_title, 1, 1 },
    { "toDuration", tmpl_call_to_duration, 1, 1 },
    { "toJson", tmpl_call_to_json, 1, 1 },
    { "toLower", tmpl_call_to_lower, 1, 1 },
    { "toTime", tmpl_call_to_time, 1, 1 },
    { "toUpper", tmpl_call_to_upper, 1, 1 },
    { "trimSpace", tmpl_call_trim_space, 1, 1 },
    { "urlUnescape", tmpl_call_url_unescape, 1, 1 },
    { "value", tmpl_call_value, 1, 1 },
};

const size_t tmpl_common_func_count = ARRAY_LEN(tmpl_common_funcs);
