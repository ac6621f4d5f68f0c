/* Private to the base/yaml*.c files: the document and what a node remembers beyond yaml_node. */
#pragma once

#include "base/arena.h"
#include "base/yaml.h"

enum yaml_style {
    YAML_STYLE_PLAIN,
    YAML_STYLE_SINGLE,
    YAML_STYLE_DOUBLE,
    YAML_STYLE_BLOCK, /* | and > alike */
};

/* Every node of a document is the first member of one of these. */
struct yaml_node_full {
    struct yaml_node node;
    const struct yaml_doc *doc; /* the document it was read from, also after a merge */
    enum yaml_style style;
    bool is_expanded;      /* the value no longer is what the file says: offsets mean nothing */
    uint32_t subtree_size; /* nodes in it, itself included */
};

struct yaml_doc {
    struct arena arena;
    char *file;
    char *source;         /* the whole file without a byte order mark; owned */
    struct str text;      /* the same as a slice */
    size_t *line_offsets; /* byte where each line starts, by libyaml's idea of lines; owned */
    size_t line_count;
    struct yaml_node *root;
    struct yaml_doc *merged; /* documents merged into this one; owned, linked by this field */
};

static inline struct yaml_node_full *yaml_full(struct yaml_node *node) {
    return (struct yaml_node_full *)(void *)node;
}

static inline const struct yaml_node_full *yaml_full_const(const struct yaml_node *node) {
    return (const struct yaml_node_full *)(const void *)node;
}

/* Where byte `pos` of the source stands. */
struct diag_at yaml_at_byte(const struct yaml_doc *doc, size_t pos);

/* The tree of the text in doc->text; false with findings when there is none (or only a faulty
 * one). yaml_tree.c. */
WARN_UNUSED bool yaml_build_tree(struct yaml_doc *doc, struct diag_list *diags);

enum {
    YAML_QUOTE_BYTES_MAX = 80, /* of an operator's value in a message */
};

/* Add "expected ..., found ..."; returns false. */
bool yaml_refuse(struct yaml_decode *ctx, const struct yaml_node *node, const char *expected);
