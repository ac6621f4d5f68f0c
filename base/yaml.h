/*
 * YAML as a tree of nodes that know where they stand. Parsing never stops at meaning: unknown
 * keys, types and values are judged by small decoders that add to a diag_list.
 *
 * Limits   4 MiB of text, depth 64, 100,000 nodes (aliases counted at every visit), 100 aliases;
 *          duplicate keys and merge keys that cannot be merged are errors. One document.
 * Ownership  everything lives in the yaml_doc; scalars are NUL-terminated copies.
 */
#pragma once

#include "base/diag.h"

enum yaml_kind {
    YAML_SCALAR,
    YAML_SEQUENCE,
    YAML_MAPPING,
};

struct yaml_node {
    enum yaml_kind kind;
    bool is_quoted; /* scalar written in quotes or as a block: never null/bool/number */
    bool is_block;  /* scalar written as | or > block */
    uint32_t line;  /* 1-based start */
    uint32_t column;
    struct str scalar;
    struct yaml_pair *pairs;  /* mapping, in file order */
    struct yaml_node **items; /* sequence */
    size_t count;             /* pairs or items */
};

struct yaml_pair {
    struct yaml_node *key; /* always a scalar */
    struct yaml_node *value;
};

struct yaml_doc;

/* Parse; false when the text is not well-formed (findings added). `file` is for messages. */
WARN_UNUSED bool yaml_parse(const char *file,
                            struct str text,
                            struct yaml_doc **ret,
                            struct diag_list *diags);
/* Read a file (cap 4 MiB) and parse it. */
WARN_UNUSED bool yaml_load(const char *path, struct yaml_doc **ret, struct diag_list *diags);
void yaml_doc_destroy(struct yaml_doc *doc); /* NULL ok */

const struct yaml_node *yaml_root(const struct yaml_doc *doc); /* NULL for an empty document */
const char *yaml_file(const struct yaml_doc *doc);
struct diag_at yaml_at(const struct yaml_doc *doc, const struct yaml_node *node);

/* Where byte `offset` of a scalar's value stands in the file (block and folded scalars included),
 * to point at the column inside an expression. */
struct diag_at yaml_at_offset(const struct yaml_doc *doc,
                              const struct yaml_node *scalar,
                              size_t offset);

/* A list whose items are mappings known by one of their keys: "receivers" by "name". */
struct yaml_keyed_list {
    const char *list;
    const char *key;
};

/*
 * Lay `layer` (taken) over `doc`: mappings merge key by key, keyed lists item by item, everything
 * else is replaced; a null value removes the key. Positions keep naming the file a value came from.
 */
void yaml_merge(struct yaml_doc *doc,
                struct yaml_doc *layer,
                const struct yaml_keyed_list *keyed,
                size_t keyed_count);

/* The tree as block YAML; values under `secret_keys` (NULL-terminated) print as <secret>. */
void yaml_print(const struct yaml_doc *doc, const char *const *secret_keys, struct buf *out);

const struct yaml_node *yaml_get(const struct yaml_node *mapping, const char *key);
bool yaml_is_null(const struct yaml_node *node); /* NULL pointer, ~, null, empty plain scalar */

/*
 * Replace ${VAR}, ${VAR:-default}, ${VAR:?message}, $$ in plain and quoted scalar values (not
 * keys) of the subtree; `skip_keys` (NULL-terminated) names mapping keys whose values own their
 * dollars (expr, regex, replacement, annotations …). Undefined variables are errors with position.
 */
void yaml_expand_env(struct yaml_doc *doc,
                     const char *(*lookup)(void *ctx, const char *name),
                     void *ctx,
                     const char *const *skip_keys,
                     struct diag_list *diags);

/*
 * Table-driven decoding of a mapping into a struct. Unknown keys are errors with the nearest
 * known key as suggestion. Fields absent from the mapping keep what the struct holds (defaults); so
 * do scalar fields whose value is null (an error when required). A null mapping is an empty one.
 * Custom decoders are called for null values too.
 */
enum yaml_type {
    YAML_STRING,   /* char *: mem_strdup, freed by the owner; old value freed on overwrite */
    YAML_BOOL,     /* bool: true/false/yes/no/on/off */
    YAML_I64,      /* int64_t */
    YAML_U64,      /* uint64_t */
    YAML_F64,      /* double */
    YAML_DURATION, /* int64_t ms */
    YAML_BYTES,    /* uint64_t */
    YAML_CUSTOM,   /* decode() */
    YAML_IGNORED,  /* valid upstream, unsupported here: one warning with position */
};

struct yaml_decode; /* context passed to custom decoders */

struct yaml_field {
    const char *key;
    enum yaml_type type;
    size_t offset; /* offsetof the destination */
    bool required;
    void (*decode)(struct yaml_decode *ctx, const struct yaml_node *node, void *dest);
};

struct yaml_decode {
    const struct yaml_doc *doc;
    struct diag_list *diags;
    void *user;
};

/* True when this mapping added no error. */
bool yaml_decode_mapping(struct yaml_decode *ctx,
                         const struct yaml_node *node,
                         const struct yaml_field *fields,
                         size_t field_count,
                         void *dest);

/* One scalar by type; false and a finding when it does not fit. */
bool yaml_decode_scalar(struct yaml_decode *ctx,
                        const struct yaml_node *node,
                        enum yaml_type type,
                        void *dest);

PRINTF_LIKE(4, 5)
void yaml_error(struct yaml_decode *ctx,
                const struct yaml_node *node,
                enum diag_severity severity,
                const char *fmt,
                ...);
