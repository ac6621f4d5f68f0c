/*
 * From libyaml's events to our node tree.
 *
 * Terms       event: what libyaml reports (scalar, start, end, alias).
 * Invariants  1. A container deeper than YAML_DEPTH_MAX stops the parser at once: libyaml 0.2.5 is
 *                quadratic in nesting, so its next event may never be asked for.
 *             2. An alias is replaced by a copy of its anchor's finished subtree, so no node is
 *                shared and the node limit bounds memory and every later walk.
 *             3. Faults of meaning (duplicate key, bad merge, unknown anchor) are collected and
 *                reading goes on; faults of form and exceeded limits end it.
 */
#include <assert.h>
#include <yaml.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/yaml_builder.h"
#include "base/yaml_hint.h"

enum {
    YAML_DEPTH_MAX = 64,
    YAML_NODES_MAX = 100000,
    YAML_DIRECTIVES_MAX = 16,
};

struct diag_at yaml_builder_at(const struct yaml_builder *b, yaml_mark_t mark) {
    return (struct diag_at){
        .file = b->doc->file,
        .line = (uint32_t)mark.line + 1,
        .column = (uint32_t)mark.column + 1,
        .text = b->doc->text,
    };
}

/* The next event, or a finding about the text that is not YAML. */
static bool next_event(struct yaml_builder *b, yaml_event_t *event) {
    if (yaml_parser_parse(&b->parser, event) == 0) {
        yaml_report_syntax(b->doc, &b->parser, b->last_event_line, b->diags);
        return false;
    }
    b->last_event_line = (uint32_t)event->end_mark.line + 1;
    return true;
}

bool yaml_builder_count(struct yaml_builder *b, size_t count, yaml_mark_t mark) {
    b->node_count += count;
    if (b->node_count > YAML_NODES_MAX) {
        diag_add(b->diags, DIAG_ERROR, yaml_builder_at(b, mark),
                 "more than %d values, aliases counted each time they are used", YAML_NODES_MAX);
        return false;
    }
    return true;
}

struct yaml_node *yaml_builder_node(struct yaml_builder *b, enum yaml_kind kind, yaml_mark_t mark) {
    struct yaml_node_full *full = arena_calloc(&b->doc->arena, 1, sizeof(*full));
    full->node.kind = kind;
    full->doc = b->doc;
    full->node.line = (uint32_t)mark.line + 1;
    full->node.column = (uint32_t)mark.column + 1;
    full->subtree_size = 1;
    return &full->node;
}

/* ---- scalars and tags ---- */

#define TAG_PREFIX "tag:yaml.org,2002:"

/* True for tags that change nothing or make a string; others are findings. */
static void check_tag(struct yaml_builder *b, const yaml_char_t *tag, yaml_mark_t mark) {
    static const char *const known[] = {
        "!",
        TAG_PREFIX "str",
        TAG_PREFIX "int",
        TAG_PREFIX "float",
        TAG_PREFIX "bool",
        TAG_PREFIX "null",
        TAG_PREFIX "map",
        TAG_PREFIX "seq",
        TAG_PREFIX "merge",
        TAG_PREFIX "timestamp",
    };
    if (tag == NULL) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (strcmp((const char *)tag, known[i]) == 0) {
            return;
        }
    }
    diag_add(b->diags, DIAG_ERROR, yaml_builder_at(b, mark), "unsupported tag \"%s\"",
             (const char *)tag);
}

static enum yaml_style style_of(yaml_scalar_style_t style) {
    switch (style) {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE: return YAML_STYLE_SINGLE;
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE: return YAML_STYLE_DOUBLE;
    case YAML_LITERAL_SCALAR_STYLE:
    case YAML_FOLDED_SCALAR_STYLE: return YAML_STYLE_BLOCK;
    case YAML_ANY_SCALAR_STYLE:
    case YAML_PLAIN_SCALAR_STYLE: break;
    }
    return YAML_STYLE_PLAIN;
}

static struct yaml_node *build_scalar(struct yaml_builder *b, const yaml_event_t *event) {
    struct yaml_node *node = yaml_builder_node(b, YAML_SCALAR, event->start_mark);
    const char *tag = (const char *)event->data.scalar.tag;
    enum yaml_style style = style_of(event->data.scalar.style);
    yaml_full(node)->style = style;
    node->is_block = style == YAML_STYLE_BLOCK;
    node->is_quoted =
        style != YAML_STYLE_PLAIN ||
        (tag != NULL && (strcmp(tag, "!") == 0 || strcmp(tag, TAG_PREFIX "str") == 0));
    node->scalar = arena_str(
        &b->doc->arena, str_n((const char *)event->data.scalar.value, event->data.scalar.length));
    check_tag(b, event->data.scalar.tag, event->start_mark);
    yaml_anchor_close(b, yaml_anchor_open(b, event->data.scalar.anchor, node), node);
    return node;
}

/* ---- containers ---- */

static struct yaml_node *build_node(struct yaml_builder *b, yaml_event_t *event);

static bool enter(struct yaml_builder *b, const yaml_event_t *event) {
    if (++b->depth > YAML_DEPTH_MAX) {
        diag_add(b->diags, DIAG_ERROR, yaml_builder_at(b, event->start_mark),
                 "nested more than %d levels deep", YAML_DEPTH_MAX);
        return false;
    }
    return true;
}

/* The next child of an open container: its node, or NULL at the end or on a fault (*ret_ok). */
static struct yaml_node *build_child(struct yaml_builder *b, yaml_event_type_t end, bool *ret_ok) {
    yaml_event_t event;
    *ret_ok = false;
    if (!next_event(b, &event)) {
        return NULL;
    }
    struct yaml_node *child = NULL;
    if (event.type == end) {
        *ret_ok = true;
    } else {
        child = build_node(b, &event);
        *ret_ok = child != NULL;
    }
    yaml_event_delete(&event);
    return child;
}

static struct yaml_node *build_sequence(struct yaml_builder *b, const yaml_event_t *event) {
    if (!enter(b, event)) {
        return NULL;
    }
    struct yaml_node *node = yaml_builder_node(b, YAML_SEQUENCE, event->start_mark);
    check_tag(b, event->data.sequence_start.tag, event->start_mark);
    size_t anchor = yaml_anchor_open(b, event->data.sequence_start.anchor, node);
    size_t cap = 0;
    for (;;) {
        bool ok = false;
        struct yaml_node *item = build_child(b, YAML_SEQUENCE_END_EVENT, &ok);
        if (!ok) {
            return NULL;
        }
        if (item == NULL) {
            break;
        }
        node->items = arena_vec_grow(&b->doc->arena, node->items, &cap, node->count + 1,
                                     sizeof(node->items[0]));
        node->items[node->count++] = item;
        yaml_full(node)->subtree_size += yaml_full(item)->subtree_size;
    }
    yaml_anchor_close(b, anchor, node);
    b->depth--;
    return node;
}

static bool is_merge_key(const struct yaml_node *key) {
    return !key->is_quoted && str_eq_c(key->scalar, "<<");
}

static struct diag_at at_node(const struct yaml_builder *b, const struct yaml_node *node) {
    return yaml_at(b->doc, node);
}

/* Take over the pairs of `source` whose keys the mapping does not have yet. */
static void merge_mapping(struct yaml_builder *b,
                          struct yaml_node *node,
                          size_t *cap,
                          struct map *keys,
                          const struct yaml_node *source) {
    if (source->kind != YAML_MAPPING) {
        diag_add(b->diags, DIAG_ERROR, at_node(b, source),
                 "\"<<\" merges a mapping or a list of mappings");
        return;
    }
    for (size_t i = 0; i < source->count; i++) {
        if (map_get(keys, source->pairs[i].key->scalar) != NULL) {
            continue;
        }
        node->pairs = arena_vec_grow(&b->doc->arena, node->pairs, cap, node->count + 1,
                                     sizeof(node->pairs[0]));
        node->pairs[node->count++] = source->pairs[i];
        (void)map_put(keys, source->pairs[i].key->scalar, source->pairs[i].key);
    }
}

/* Refuse duplicate keys and resolve "<<"; both need the complete mapping. */
static void finish_mapping(struct yaml_builder *b, struct yaml_node *node, size_t cap) {
    struct map keys;
    map_init(&keys);
    const struct yaml_node *merge = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < node->count; i++) {
        struct yaml_pair pair = node->pairs[i];
        const struct yaml_node *first = map_get(&keys, pair.key->scalar);
        if (first == NULL) {
            (void)map_put(&keys, pair.key->scalar, pair.key);
        } else {
            diag_add(b->diags, DIAG_ERROR, at_node(b, pair.key),
                     "duplicate key \"%.*s\", first given at line %u, column %u",
                     STR_FMT(pair.key->scalar), first->line, first->column);
        }
        if (is_merge_key(pair.key)) {
            merge = first == NULL ? pair.value : merge;
        } else {
            node->pairs[kept++] = pair;
        }
    }
    node->count = kept;
    if (merge != NULL && merge->kind == YAML_SEQUENCE) {
        for (size_t i = 0; i < merge->count; i++) {
            merge_mapping(b, node, &cap, &keys, merge->items[i]);
        }
    } else if (merge != NULL) {
        merge_mapping(b, node, &cap, &keys, merge);
    }
    map_finish(&keys, NULL);
}

static void check_key(struct yaml_builder *b, struct yaml_node *key) {
    if (key->kind == YAML_SCALAR) {
        return;
    }
    struct diag_at at = at_node(b, key);
    if (yaml_is_template_at(b->doc, at)) {
        diag_add(b->diags, DIAG_ERROR, at, "quote a value that starts with {{");
    } else {
        diag_add(b->diags, DIAG_ERROR, at, "a mapping key must be a plain value");
    }
    key->kind = YAML_SCALAR; /* the document is refused; keep the tree's shape as promised */
    key->scalar = STR("");
    key->count = 0;
}

static struct yaml_node *build_mapping(struct yaml_builder *b, const yaml_event_t *event) {
    if (!enter(b, event)) {
        return NULL;
    }
    struct yaml_node *node = yaml_builder_node(b, YAML_MAPPING, event->start_mark);
    check_tag(b, event->data.mapping_start.tag, event->start_mark);
    size_t anchor = yaml_anchor_open(b, event->data.mapping_start.anchor, node);
    size_t cap = 0;
    for (;;) {
        bool ok = false;
        struct yaml_node *key = build_child(b, YAML_MAPPING_END_EVENT, &ok);
        if (!ok) {
            return NULL;
        }
        if (key == NULL) {
            break;
        }
        check_key(b, key);
        struct yaml_node *value = build_child(b, YAML_NO_EVENT, &ok);
        if (value == NULL) {
            return NULL;
        }
        node->pairs = arena_vec_grow(&b->doc->arena, node->pairs, &cap, node->count + 1,
                                     sizeof(node->pairs[0]));
        node->pairs[node->count++] = (struct yaml_pair){ .key = key, .value = value };
        yaml_full(node)->subtree_size +=
            yaml_full(key)->subtree_size + yaml_full(value)->subtree_size;
    }
    finish_mapping(b, node, cap);
    yaml_anchor_close(b, anchor, node);
    b->depth--;
    return node;
}

static struct yaml_node *build_node(struct yaml_builder *b, yaml_event_t *event) {
    if (event->type == YAML_ALIAS_EVENT) {
        return yaml_build_alias(b, event);
    }
    if (!yaml_builder_count(b, 1, event->start_mark)) {
        return NULL;
    }
    switch (event->type) {
    case YAML_SCALAR_EVENT: return build_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT: return build_sequence(b, event);
    case YAML_MAPPING_START_EVENT: return build_mapping(b, event);
    default: BUG("libyaml event %d where a node starts", (int)event->type);
    }
}

/* ---- document ---- */

/* libyaml compares every %TAG directive with every other: bound them before it sees them. */
static bool check_directives(struct yaml_builder *b) {
    size_t count = 0;
    for (size_t i = 0; i < b->doc->line_count; i++) {
        size_t pos = b->doc->line_offsets[i];
        if (pos < b->doc->text.len && b->doc->text.ptr[pos] == '%' &&
            ++count > YAML_DIRECTIVES_MAX) {
            diag_add(b->diags, DIAG_ERROR, yaml_at_byte(b->doc, pos),
                     "more than %d lines that start with %%", YAML_DIRECTIVES_MAX);
            return false;
        }
    }
    return true;
}

/* One event of the frame around the document; only its type matters. */
static bool next_type(struct yaml_builder *b, yaml_event_type_t *ret_type, yaml_mark_t *ret_mark) {
    yaml_event_t event;
    if (!next_event(b, &event)) {
        return false;
    }
    *ret_type = event.type;
    *ret_mark = event.start_mark;
    yaml_event_delete(&event);
    return true;
}

static bool build_document(struct yaml_builder *b) {
    yaml_event_type_t type = YAML_NO_EVENT;
    yaml_mark_t mark = { 0 };
    if (!next_type(b, &type, &mark) || !next_type(b, &type, &mark)) { /* stream start, then ? */
        return false;
    }
    if (type == YAML_STREAM_END_EVENT) {
        return true; /* nothing but comments */
    }
    bool ok = false;
    b->doc->root = build_child(b, YAML_NO_EVENT, &ok);
    if (b->doc->root == NULL || !next_type(b, &type, &mark) || !next_type(b, &type, &mark)) {
        return false;
    }
    if (type != YAML_STREAM_END_EVENT) {
        diag_add(b->diags, DIAG_ERROR, yaml_builder_at(b, mark),
                 "a second document starts here; one file holds one document");
        return false;
    }
    return true;
}

bool yaml_build_tree(struct yaml_doc *doc, struct diag_list *diags) {
    struct yaml_builder b = { .doc = doc, .diags = diags, .last_event_line = 1 };
    size_t errors_before = diags->error_count;
    if (!check_directives(&b)) {
        return false;
    }
    if (yaml_parser_initialize(&b.parser) == 0) {
        BUG("out of memory in libyaml");
    }
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)doc->text.ptr, doc->text.len);
    bool is_built = build_document(&b);
    yaml_parser_delete(&b.parser);
    return is_built && diags->error_count == errors_before;
}
