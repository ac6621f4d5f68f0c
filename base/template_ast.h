/* Private to base/template*: the parsed form of templates. Everything lives in the set's arena. */
#pragma once

#include "base/map.h"
#include "base/template.h"

#define TMPL_STEPS_MAX        1000000
#define TMPL_OUTPUT_BYTES_MAX ((size_t)1 << 20)
#define TMPL_DEPTH_MAX        64 /* templates in templates; also control structures, parentheses */

enum tmpl_node_kind {
    /* what a list holds */
    NODE_TEXT,
    NODE_ACTION,
    NODE_IF,
    NODE_WITH,
    NODE_RANGE,
    NODE_BREAK,
    NODE_CONTINUE,
    NODE_TEMPLATE,
    /* what ends a list while parsing */
    NODE_END,
    NODE_ELSE,
    /* what a pipeline is made of */
    NODE_PIPE,
    NODE_COMMAND,
    NODE_IDENTIFIER,
    NODE_VARIABLE,
    NODE_FIELD,
    NODE_CHAIN,
    NODE_DOT,
    NODE_NIL,
    NODE_BOOL,
    NODE_NUMBER,
    NODE_STRING,
};

struct tmpl_nodes {
    struct tmpl_node **items;
    size_t count;
    size_t cap;
};

struct tmpl_node {
    enum tmpl_node_kind kind;
    uint32_t pos; /* byte offset into the tree's text */

    union {
        struct str text; /* TEXT */

        struct { /* ACTION (pipe only), IF, WITH, RANGE */
            struct tmpl_node *pipe;
            struct tmpl_nodes list;
            struct tmpl_nodes else_list;
        } branch;

        struct { /* TEMPLATE */
            struct str name;
            struct tmpl_node *pipe; /* may be NULL */
        } call;

        struct { /* PIPE */
            struct tmpl_nodes variables;
            struct tmpl_nodes commands;
            bool is_assign; /* = instead of := */
        } pipe;

        struct tmpl_nodes args; /* COMMAND: the first is what is run */

        struct { /* IDENTIFIER */
            struct str name;
            const struct tmpl_func *func;
            bool is_builtin;
        } identifier;

        struct {                    /* VARIABLE ($x first), FIELD, CHAIN */
            struct tmpl_node *base; /* CHAIN: what the fields are taken from */
            struct str *names;
            size_t count;
            size_t cap;
        } path;

        bool boolean; /* BOOL */

        struct { /* NUMBER */
            struct str text;
            bool is_int;
            bool is_float; /* written as one */
            int64_t integer;
            double number;
        } number;

        struct { /* STRING */
            struct str quoted;
            struct str value;
        } string;
    };
};

/* One named template. */
struct tmpl_tree {
    struct str name;
    struct str parse_name; /* of the text it was defined in */
    struct str text;
    struct tmpl_nodes root;
};

struct tmpl {
    struct arena arena;
    const struct tmpl_func *funcs;
    size_t func_count;
    struct map trees; /* name -> struct tmpl_tree * */
    const char *const *var_names;
    size_t var_count;
};

/* Parse `text` into trees, which are put into `trees` by name. template_parse.c. */
WARN_UNUSED bool tmpl_parse(struct tmpl *tmpl,
                            struct str name,
                            struct str text,
                            struct map *trees,
                            struct err *err);

/* True for a tree of nothing but white space. */
bool tmpl_tree_is_empty(const struct tmpl_tree *tree);

/* How a node reads in the source, for messages. template_node.c. */
void tmpl_node_print(const struct tmpl_node *node, struct buf *out);
