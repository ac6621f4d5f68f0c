/* YAML anchors and aliases: an alias becomes a copy of what its anchor names, within limits. */
#include "base/yaml_builder.h"

enum {
    YAML_ALIASES_MAX = 100,
};

static struct yaml_anchor *find_anchor(struct yaml_builder *b, struct str name) {
    for (size_t i = b->anchor_count; i > 0; i--) {
        if (str_eq(b->anchors[i - 1].name, name)) {
            return &b->anchors[i - 1];
        }
    }
    return NULL;
}

size_t yaml_anchor_open(struct yaml_builder *b, const yaml_char_t *name, struct yaml_node *node) {
    if (name == NULL) {
        return SIZE_MAX;
    }
    struct str text = str_from((const char *)name);
    struct yaml_anchor *known = find_anchor(b, text);
    if (known == NULL) {
        b->anchors = arena_vec_grow(&b->doc->arena, b->anchors, &b->anchor_cap, b->anchor_count + 1,
                                    sizeof(b->anchors[0]));
        known = &b->anchors[b->anchor_count++];
        known->name = arena_str(&b->doc->arena, text);
    }
    known->node = node; /* a later anchor of the same name replaces the earlier one */
    known->is_complete = false;
    return (size_t)(known - b->anchors);
}

void yaml_anchor_close(struct yaml_builder *b, size_t index, const struct yaml_node *node) {
    if (index != SIZE_MAX && b->anchors[index].node == node) {
        b->anchors[index].is_complete = true;
    }
}

static struct yaml_node *copy_tree(struct yaml_builder *b, const struct yaml_node *node) {
    struct arena *arena = &b->doc->arena;
    struct yaml_node_full *copy = arena_alloc(arena, sizeof(*copy));
    *copy = *yaml_full_const(node);
    size_t count = node->count;
    if (node->kind == YAML_SEQUENCE && count > 0) {
        copy->node.items = arena_calloc(arena, count, sizeof(struct yaml_node *));
        for (size_t i = 0; i < count; i++) {
            copy->node.items[i] = copy_tree(b, node->items[i]);
        }
    }
    if (node->kind == YAML_MAPPING && count > 0) {
        copy->node.pairs = arena_calloc(arena, count, sizeof(struct yaml_pair));
        for (size_t i = 0; i < count; i++) {
            copy->node.pairs[i].key = copy_tree(b, node->pairs[i].key);
            copy->node.pairs[i].value = copy_tree(b, node->pairs[i].value);
        }
    }
    return &copy->node;
}

struct yaml_node *yaml_build_alias(struct yaml_builder *b, const yaml_event_t *event) {
    struct str name = str_from((const char *)event->data.alias.anchor);
    if (++b->alias_count > YAML_ALIASES_MAX) {
        diag_add(b->diags, DIAG_ERROR, yaml_builder_at(b, event->start_mark),
                 "more than %d aliases", YAML_ALIASES_MAX);
        return NULL;
    }
    const struct yaml_anchor *anchor = find_anchor(b, name);
    if (anchor == NULL || !anchor->is_complete) {
        diag_add(b->diags, DIAG_ERROR, yaml_builder_at(b, event->start_mark),
                 anchor == NULL ? "unknown anchor \"%.*s\""
                                : "alias \"%.*s\" stands inside the value it refers to",
                 STR_FMT(name));
        return yaml_builder_node(b, YAML_SCALAR, event->start_mark);
    }
    if (!yaml_builder_count(b, yaml_full_const(anchor->node)->subtree_size, event->start_mark)) {
        return NULL;
    }
    return copy_tree(b, anchor->node);
}
