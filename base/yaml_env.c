/* ${VAR} in configuration values, expanded after parsing: a value can never add structure. */
#include "base/mem.h"
#include "base/yaml_doc.h"

enum {
    ENV_NAME_BYTES_MAX = 256,
};

#define ENV_VALUE_BYTES_MAX ((size_t)1 << 20) /* one scalar after expansion */

struct expansion {
    struct yaml_doc *doc;
    const char *(*lookup)(void *ctx, const char *name);
    void *ctx;
    const char *const *skip_keys;
    struct diag_list *diags;
};

static bool is_name(struct str text) {
    if (text.len == 0 || text.len >= ENV_NAME_BYTES_MAX ||
        (text.ptr[0] >= '0' && text.ptr[0] <= '9')) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_letter && (c < '0' || c > '9')) {
            return false;
        }
    }
    return true;
}

/* Expand the inside of one ${...}; false with a message in err. */
static bool expand_one(struct expansion *e, struct str inside, struct buf *out, struct err *err) {
    size_t colon = str_find(inside, STR(":"));
    struct str name = colon == SIZE_MAX ? inside : str_n(inside.ptr, colon);
    struct str rest = colon == SIZE_MAX ? STR("") : str_n(inside.ptr + colon, inside.len - colon);
    bool has_default = str_starts_with(rest, STR(":-"));
    bool has_message = str_starts_with(rest, STR(":?"));
    if (!is_name(name) || (rest.len > 0 && !has_default && !has_message)) {
        return err_set(err, ERR_INVALID,
                       "\"${%.*s}\" is not ${VAR}, ${VAR:-default} or ${VAR:?message}; "
                       "write $$ for a dollar sign",
                       STR_FMT(inside));
    }
    char text[ENV_NAME_BYTES_MAX];
    memcpy(text, name.ptr, name.len);
    text[name.len] = '\0';
    const char *value = e->lookup(e->ctx, text);
    struct str tail = rest.len >= 2 ? str_n(rest.ptr + 2, rest.len - 2) : STR("");
    bool is_missing = value == NULL || ((has_default || has_message) && value[0] == '\0');
    if (!is_missing) {
        buf_cstr(out, value);
        return true;
    }
    if (has_default) {
        buf_str(out, tail);
        return true;
    }
    if (has_message && tail.len > 0) {
        return err_set(err, ERR_INVALID, "environment variable %s: %.*s", text, STR_FMT(tail));
    }
    return err_set(err, ERR_INVALID, "environment variable %s is not set%s", text,
                   has_message ? "" : "; give a default with ${VAR:-default}");
}

static void expand_scalar(struct expansion *e, struct yaml_node *node) {
    struct str text = node->scalar;
    struct buf out;
    buf_init(&out, ENV_VALUE_BYTES_MAX);
    bool ok = true;
    for (size_t i = 0; i < text.len; i++) {
        char next = i + 1 < text.len ? text.ptr[i + 1] : '\0';
        if (text.ptr[i] != '$' || (next != '$' && next != '{')) {
            buf_putc(&out, text.ptr[i]);
            continue;
        }
        if (next == '$') {
            buf_putc(&out, '$');
            i++;
            continue;
        }
        struct str rest = str_n(text.ptr + i + 2, text.len - i - 2);
        size_t end = str_find(rest, STR("}"));
        struct err err = ERR_INIT;
        if (end == SIZE_MAX) {
            err_set(&err, ERR_INVALID, "\"${\" without its \"}\"; write $$ for a dollar sign");
            end = rest.len == 0 ? 0 : rest.len - 1;
        } else {
            (void)expand_one(e, str_n(rest.ptr, end), &out, &err);
        }
        if (err.code != ERR_NONE) {
            ok = false;
            struct diag_at at = yaml_at_offset(e->doc, node, i);
            diag_add(e->diags, DIAG_ERROR, at, "%s", err.msg);
        }
        i += 2 + end;
    }
    if (out.is_over) {
        diag_add(e->diags, DIAG_ERROR, yaml_at(e->doc, node),
                 "longer than %zu bytes after replacing variables", ENV_VALUE_BYTES_MAX);
    } else if (ok) {
        node->scalar = arena_str(&e->doc->arena, buf_as_str(&out));
        yaml_full(node)->is_expanded = true;
    }
    buf_finish(&out);
}

static bool is_skipped(const struct expansion *e, struct str key) {
    for (const char *const *skip = e->skip_keys; skip != NULL && *skip != NULL; skip++) {
        if (str_eq_c(key, *skip)) {
            return true;
        }
    }
    return false;
}

static void expand_node(struct expansion *e, struct yaml_node *node) {
    switch (node->kind) {
    case YAML_SCALAR:
        if (!node->is_block && memchr(node->scalar.ptr, '$', node->scalar.len) != NULL) {
            expand_scalar(e, node);
        }
        break;
    case YAML_SEQUENCE:
        for (size_t i = 0; i < node->count; i++) {
            expand_node(e, node->items[i]);
        }
        break;
    case YAML_MAPPING:
        for (size_t i = 0; i < node->count; i++) {
            if (!is_skipped(e, node->pairs[i].key->scalar)) {
                expand_node(e, node->pairs[i].value);
            }
        }
        break;
    }
}

void yaml_expand_env(struct yaml_doc *doc,
                     const char *(*lookup)(void *ctx, const char *name),
                     void *ctx,
                     const char *const *skip_keys,
                     struct diag_list *diags) {
    struct expansion e = {
        .doc = doc,
        .lookup = lookup,
        .ctx = ctx,
        .skip_keys = skip_keys,
        .diags = diags,
    };
    if (doc->root != NULL) {
        expand_node(&e, doc->root);
    }
}
