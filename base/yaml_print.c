/* A YAML tree as text again: block style, JSON-quoted strings where plain ones could be misread. */
#include "base/json.h"
#include "base/yaml_doc.h"

struct printer {
    struct buf *out;
    const char *const *secret_keys;
};

static bool is_plain_safe(const struct yaml_node *node) {
    struct str text = node->scalar;
    if (node->is_quoted || text.len == 0) {
        return false;
    }
    static const char specials[] = "#:,[]{}&*!|>'\"%@`\n\t\\";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool is_colon_inside = c == ':' && i + 1 < text.len && text.ptr[i + 1] != ' ';
        if (c < 0x20 || (strchr(specials, c) != NULL && !is_colon_inside)) {
            return false;
        }
    }
    return text.ptr[0] != '-' && text.ptr[0] != '?' && text.ptr[0] != ' ' &&
           text.ptr[text.len - 1] != ' ';
}

static void print_scalar(struct printer *p, const struct yaml_node *node) {
    if (is_plain_safe(node) || yaml_is_null(node)) {
        buf_str(p->out, yaml_is_null(node) ? STR("null") : node->scalar);
    } else {
        buf_json_str(p->out, node->scalar);
    }
}

static bool is_secret(const struct printer *p, struct str key) {
    for (const char *const *k = p->secret_keys; k != NULL && *k != NULL; k++) {
        if (str_eq_c(key, *k)) {
            return true;
        }
    }
    return false;
}

static void indent(struct printer *p, size_t depth) {
    for (size_t i = 0; i < depth; i++) {
        buf_cstr(p->out, "  ");
    }
}

static void print_node(struct printer *p, const struct yaml_node *node, size_t depth);

/* What stands behind "key:" or "-": on the same line, or as a block below. */
static void print_value(struct printer *p, const struct yaml_node *node, size_t depth) {
    if (node->kind == YAML_SCALAR) {
        buf_putc(p->out, ' ');
        print_scalar(p, node);
        buf_putc(p->out, '\n');
    } else if (node->count == 0) {
        buf_cstr(p->out, node->kind == YAML_SEQUENCE ? " []\n" : " {}\n");
    } else {
        buf_putc(p->out, '\n');
        print_node(p, node, depth);
    }
}

/* Depth is bounded by the parser's limit on nesting. */
static void print_node(struct printer *p, const struct yaml_node *node, size_t depth) {
    for (size_t i = 0; i < node->count; i++) {
        indent(p, depth);
        if (node->kind == YAML_SEQUENCE) {
            buf_putc(p->out, '-');
            print_value(p, node->items[i], depth + 1);
            continue;
        }
        const struct yaml_pair *pair = &node->pairs[i];
        print_scalar(p, pair->key);
        buf_putc(p->out, ':');
        if (is_secret(p, pair->key->scalar) && !yaml_is_null(pair->value)) {
            buf_cstr(p->out, " <secret>\n");
        } else {
            print_value(p, pair->value, depth + 1);
        }
    }
}

void yaml_print(const struct yaml_doc *doc, const char *const *secret_keys, struct buf *out) {
    struct printer p = { .out = out, .secret_keys = secret_keys };
    if (doc->root == NULL) {
        return;
    }
    if (doc->root->kind == YAML_SCALAR) {
        print_scalar(&p, doc->root);
        buf_putc(out, '\n');
    } else {
        print_node(&p, doc->root, 0);
    }
}
