/* The functions every template has: len, index, slice, printing and escaping. */
#include "base/template_format.h"

enum {
    TEXT_BYTES_MAX = 1 << 20, /* of one result */
    ARGS_ANY = 255,
};

static bool call_not(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    *ret = tmpl_bool(!tmpl_is_true(&args[0]));
    return true;
}

static bool call_len(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    switch (args[0].type) {
    case TMPL_STRING: *ret = tmpl_int((int64_t)args[0].string.len); return true;
    case TMPL_LIST: *ret = tmpl_int((int64_t)args[0].list->count); return true;
    case TMPL_MAP: *ret = tmpl_int((int64_t)args[0].map->count); return true;
    case TMPL_NIL: return err_set(err, ERR_EXEC, "len of nil pointer");
    default: return err_set(err, ERR_EXEC, "len of type %s", tmpl_type_name(&args[0]));
    }
}

/* ---- index and slice ---- */

static bool check_index(const struct tmpl_value *index, size_t max, size_t *ret, struct err *err) {
    if (index->type == TMPL_NIL) {
        return err_set(err, ERR_EXEC, "cannot index slice/array with nil");
    }
    if (index->type != TMPL_INT) {
        return err_set(err, ERR_EXEC, "cannot index slice/array with type %s",
                       tmpl_type_name(index));
    }
    if (index->integer < 0 || (uint64_t)index->integer > max) {
        return err_set(err, ERR_EXEC, "index out of range: %lld", (long long)index->integer);
    }
    *ret = (size_t)index->integer;
    return true;
}

static bool index_map(const struct tmpl_map *map,
                      const struct tmpl_value *key,
                      struct tmpl_value *ret,
                      struct err *err) {
    if (key->type == TMPL_NIL) {
        return err_set(err, ERR_EXEC, "value is nil; should be of type string");
    }
    if (key->type != TMPL_STRING) {
        return err_set(err, ERR_EXEC, "value has type %s; should be string", tmpl_type_name(key));
    }
    const struct tmpl_value *found = tmpl_map_find(map, key->string);
    *ret = found != NULL ? *found : tmpl_map_zero(map);
    return true;
}

static bool index_one(const struct tmpl_value *item,
                      const struct tmpl_value *index,
                      struct tmpl_value *ret,
                      struct err *err) {
    size_t at = 0;
    switch (item->type) {
    case TMPL_MAP: return index_map(item->map, index, ret, err);
    case TMPL_LIST:
        if (!check_index(index, item->list->count, &at, err)) {
            return false;
        }
        if (at == item->list->count) {
            return err_set(err, ERR_EXEC, "reflect: slice index out of range");
        }
        *ret = item->list->items[at];
        return true;
    case TMPL_STRING:
        if (!check_index(index, item->string.len, &at, err)) {
            return false;
        }
        if (at == item->string.len) {
            return err_set(err, ERR_EXEC, "reflect: string index out of range");
        }
        *ret = tmpl_int((unsigned char)item->string.ptr[at]);
        return true;
    case TMPL_NIL: return err_set(err, ERR_EXEC, "index of nil pointer");
    default: return err_set(err, ERR_EXEC, "can't index item of type %s", tmpl_type_name(item));
    }
}

static bool call_index(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    struct tmpl_value item = args[0];
    if (item.type == TMPL_NIL) {
        return err_set(err, ERR_EXEC, "index of untyped nil");
    }
    for (size_t i = 1; i < arg_count; i++) {
        struct tmpl_value next = { .type = TMPL_NIL };
        if (!index_one(&item, &args[i], &next, err)) {
            return false;
        }
        item = next;
    }
    *ret = item;
    return true;
}

static bool call_slice(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    const struct tmpl_value *item = &args[0];
    if (item->type == TMPL_NIL) {
        return err_set(err, ERR_EXEC, "slice of untyped nil");
    }
    if (arg_count > 4) {
        return err_set(err, ERR_EXEC, "too many slice indexes: %zu", arg_count - 1);
    }
    if (item->type != TMPL_STRING && item->type != TMPL_LIST) {
        return err_set(err, ERR_EXEC, "can't slice item of type %s", tmpl_type_name(item));
    }
    if (item->type == TMPL_STRING && arg_count == 4) {
        return err_set(err, ERR_EXEC, "cannot 3-index slice a string");
    }
    size_t len = item->type == TMPL_STRING ? item->string.len : item->list->count;
    size_t at[3] = { 0, len, len };
    for (size_t i = 1; i < arg_count; i++) {
        if (!check_index(&args[i], len, &at[i - 1], err)) {
            return false;
        }
    }
    for (size_t i = 0; i < 2; i++) {
        if (at[i] > at[i + 1]) {
            return err_set(err, ERR_EXEC, "invalid slice index: %zu > %zu", at[i], at[i + 1]);
        }
    }
    if (item->type == TMPL_STRING) {
        *ret = tmpl_string(str_n(item->string.ptr + at[0], at[1] - at[0]));
        return true;
    }
    struct tmpl_list *part = arena_alloc(arena, sizeof(*part));
    *part = *item->list;
    part->items = item->list->items + at[0];
    part->count = at[1] - at[0];
    *ret = (struct tmpl_value){ .type = TMPL_LIST, .list = part };
    return true;
}

/* ---- printing and escaping ---- */

/* Take what was written as the result. */
static bool finish(struct buf *out, struct arena *arena, struct tmpl_value *ret, struct err *err) {
    bool ok = !out->is_over;
    if (ok) {
        *ret = tmpl_string(arena_str(arena, buf_as_str(out)));
    }
    buf_finish(out);
    return ok ? true : err_set(err, ERR_LIMIT, "result longer than %d bytes", TEXT_BYTES_MAX);
}

static bool call_print(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    tmpl_sprint(&out, args, arg_count);
    return finish(&out, arena, ret, err);
}

static bool call_println(void *ctx,
                         const struct tmpl_value *args,
                         size_t arg_count,
                         struct arena *arena,
                         struct tmpl_value *ret,
                         struct err *err) {
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    tmpl_sprintln(&out, args, arg_count);
    return finish(&out, arena, ret, err);
}

static bool call_printf(void *ctx,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    if (args[0].type != TMPL_STRING) {
        return err_set(err, ERR_EXEC, "wrong type for value; expected string; got %s",
                       tmpl_type_name(&args[0]));
    }
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    tmpl_sprintf(&out, args[0].string, args + 1, arg_count - 1);
    return finish(&out, arena, ret, err);
}

/* The arguments as print would show them, then escaped. */
static bool escape(const struct tmpl_value *args,
                   size_t arg_count,
                   void (*append)(struct buf *out, struct str text),
                   struct arena *arena,
                   struct tmpl_value *ret,
                   struct err *err) {
    struct buf plain;
    struct buf out;
    buf_init(&plain, TEXT_BYTES_MAX);
    buf_init(&out, TEXT_BYTES_MAX);
    struct tmpl_value *shown = arena_calloc(arena, arg_count, sizeof(*shown));
    for (size_t i = 0; i < arg_count; i++) {
        shown[i] = args[i].type == TMPL_NIL ? tmpl_string(STR("<no value>")) : args[i];
    }
    tmpl_sprint(&plain, shown, arg_count);
    append(&out, buf_as_str(&plain));
    out.is_over |= plain.is_over;
    buf_finish(&plain);
    return finish(&out, arena, ret, err);
}

static bool call_html(void *ctx,
                      const struct tmpl_value *args,
                      size_t arg_count,
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err) {
    return escape(args, arg_count, tmpl_append_html, arena, ret, err);
}

static bool call_js(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err) {
    return escape(args, arg_count, tmpl_append_js, arena, ret, err);
}

static bool call_urlquery(void *ctx,
                          const struct tmpl_value *args,
                          size_t arg_count,
                          struct arena *arena,
                          struct tmpl_value *ret,
                          struct err *err) {
    return escape(args, arg_count, tmpl_append_query, arena, ret, err);
}

const struct tmpl_func tmpl_builtins[] = {
    { "and", NULL, 1, ARGS_ANY },
    { "or", NULL, 1, ARGS_ANY },
    { "not", call_not, 1, 1 },
    { "eq", tmpl_call_eq, 1, ARGS_ANY },
    { "ne", tmpl_call_ne, 2, 2 },
    { "lt", tmpl_call_lt, 2, 2 },
    { "le", tmpl_call_le, 2, 2 },
    { "gt", tmpl_call_gt, 2, 2 },
    { "ge", tmpl_call_ge, 2, 2 },
    { "len", call_len, 1, 1 },
    { "index", call_index, 1, ARGS_ANY },
    { "slice", call_slice, 1, ARGS_ANY },
    { "print", call_print, 0, ARGS_ANY },
    { "println", call_println, 0, ARGS_ANY },
    { "printf", call_printf, 1, ARGS_ANY },
    { "html", call_html, 0, ARGS_ANY },
    { "js", call_js, 0, ARGS_ANY },
    { "urlquery", call_urlquery, 0, ARGS_ANY },
};

const size_t tmpl_builtin_count = ARRAY_LEN(tmpl_builtins);
