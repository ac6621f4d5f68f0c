/* eq ne lt le gt ge, with Go's rules: only like is compared with like, nothing is coerced. */
#include "base/template_format.h"

enum kind {
    KIND_OTHER,
    KIND_BOOL,
    KIND_INT,
    KIND_FLOAT,
    KIND_STRING,
};

static enum kind kind_of(const struct tmpl_value *value) {
    switch (value->type) {
    case TMPL_BOOL: return KIND_BOOL;
    case TMPL_INT: return KIND_INT;
    case TMPL_FLOAT: return KIND_FLOAT;
    case TMPL_STRING: return KIND_STRING;
    default: return KIND_OTHER;
    }
}

static bool fail_incompatible(const struct tmpl_value *a,
                              const struct tmpl_value *b,
                              struct err *err) {
    return err_set(err, ERR_EXEC, "incompatible types for comparison: %s and %s", tmpl_type_name(a),
                   tmpl_type_name(b));
}

static bool basic_equal(const struct tmpl_value *a, const struct tmpl_value *b, enum kind kind) {
    switch (kind) {
    case KIND_BOOL: return a->boolean == b->boolean;
    case KIND_INT: return a->integer == b->integer;
    case KIND_FLOAT: return a->number == b->number;
    case KIND_STRING: return str_eq(a->string, b->string);
    case KIND_OTHER: break;
    }
    BUG("kind %d is not basic", (int)kind);
}

static bool values_equal(const struct tmpl_value *a,
                         const struct tmpl_value *b,
                         struct arena *arena,
                         bool *ret,
                         struct err *err);

/* Structs are equal when all their fields are. */
static bool objects_equal(const struct tmpl_map *a,
                          const struct tmpl_map *b,
                          struct arena *arena,
                          bool *ret,
                          struct err *err) {
    *ret = a->count == b->count;
    for (size_t i = 0; i < a->count && *ret; i++) {
        *ret = str_eq(a->keys[i], b->keys[i]);
        if (*ret && !values_equal(&a->values[i], &b->values[i], arena, ret, err)) {
            return false;
        }
    }
    return true;
}

static bool others_equal(const struct tmpl_value *a,
                         const struct tmpl_value *b,
                         struct arena *arena,
                         bool *ret,
                         struct err *err) {
    bool has_nil = a->type == TMPL_NIL || b->type == TMPL_NIL;
    *ret = a->type == b->type;
    if (has_nil) {
        return true;
    }
    if (a->type != b->type) {
        return err_set(err, ERR_EXEC, "non-comparable types %.*s: %s, %s: %.*s",
                       STR_FMT(tmpl_value_text(a, arena)), tmpl_type_name(a), tmpl_type_name(b),
                       STR_FMT(tmpl_value_text(b, arena)));
    }
    if (b->type != TMPL_OBJECT) {
        return err_set(err, ERR_EXEC, "non-comparable type %.*s: %s",
                       STR_FMT(tmpl_value_text(b, arena)), tmpl_type_name(b));
    }
    return objects_equal(a->map, b->map, arena, ret, err);
}

static bool values_equal(const struct tmpl_value *a,
                         const struct tmpl_value *b,
                         struct arena *arena,
                         bool *ret,
                         struct err *err) {
    enum kind kind = kind_of(a);
    *ret = false;
    if (kind != kind_of(b)) {
        bool has_nil = a->type == TMPL_NIL || b->type == TMPL_NIL;
        return has_nil ? true : fail_incompatible(a, b, err);
    }
    if (kind == KIND_OTHER) {
        return others_equal(a, b, arena, ret, err);
    }
    *ret = basic_equal(a, b, kind);
    return true;
}

/* a < b */
static bool values_less(const struct tmpl_value *a,
                        const struct tmpl_value *b,
                        bool *ret,
                        struct err *err) {
    enum kind kind = kind_of(a);
    if (kind == KIND_OTHER || kind_of(b) == KIND_OTHER) {
        return err_set(err, ERR_EXEC, "invalid type for comparison");
    }
    if (kind != kind_of(b)) {
        return fail_incompatible(a, b, err);
    }
    switch (kind) {
    case KIND_INT: *ret = a->integer < b->integer; return true;
    case KIND_FLOAT: *ret = a->number < b->number; return true;
    case KIND_STRING: *ret = str_cmp(a->string, b->string) < 0; return true;
    case KIND_BOOL:
    case KIND_OTHER: break;
    }
    return err_set(err, ERR_EXEC, "invalid type for comparison");
}

/* a <= b; not the opposite of b < a when a NaN is involved. */
static bool values_less_or_equal(const struct tmpl_value *a,
                                 const struct tmpl_value *b,
                                 struct arena *arena,
                                 bool *ret,
                                 struct err *err) {
    return values_less(a, b, ret, err) && (*ret || values_equal(a, b, arena, ret, err));
}

bool tmpl_call_eq(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err) {
    if (arg_count < 2) {
        return err_set(err, ERR_EXEC, "missing argument for comparison");
    }
    bool is_equal = false;
    for (size_t i = 1; i < arg_count && !is_equal; i++) {
        if (!values_equal(&args[0], &args[i], arena, &is_equal, err)) {
            return false;
        }
    }
    *ret = tmpl_bool(is_equal);
    return true;
}

bool tmpl_call_ne(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err) {
    bool is_equal = false;
    if (!values_equal(&args[0], &args[1], arena, &is_equal, err)) {
        return false;
    }
    *ret = tmpl_bool(!is_equal);
    return true;
}

bool tmpl_call_lt(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err) {
    bool is_less = false;
    bool ok = values_less(&args[0], &args[1], &is_less, err);
    *ret = tmpl_bool(is_less);
    return ok;
}

bool tmpl_call_le(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err) {
    bool is_less = false;
    bool ok = values_less_or_equal(&args[0], &args[1], arena, &is_less, err);
    *ret = tmpl_bool(is_less);
    return ok;
}

bool tmpl_call_gt(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err) {
    bool is_less = false;
    bool ok = values_less_or_equal(&args[0], &args[1], arena, &is_less, err);
    *ret = tmpl_bool(!is_less);
    return ok;
}

bool tmpl_call_ge(void *ctx,
                  const struct tmpl_value *args,
                  size_t arg_count,
                  struct arena *arena,
                  struct tmpl_value *ret,
                  struct err *err) {
    bool is_less = false;
    bool ok = values_less(&args[0], &args[1], &is_less, err);
    *ret = tmpl_bool(!is_less);
    return ok;
}
