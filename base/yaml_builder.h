/* Private to base/yaml_tree.c and yaml_alias.c: the state of building one document. */
#pragma once

#include <yaml.h>

#include "base/yaml_doc.h"

struct yaml_anchor {
    struct str name;
    struct yaml_node *node;
    bool is_complete; /* its end has been read */
};

struct yaml_builder {
    struct yaml_doc *doc;
    struct diag_list *diags;
    yaml_parser_t parser;
    uint32_t last_event_line; /* 1-based line where the last good event ended */
    size_t node_count;
    size_t alias_count;
    size_t depth;
    struct yaml_anchor *anchors; /* in the document's arena */
    size_t anchor_count;
    size_t anchor_cap;
};

struct diag_at yaml_builder_at(const struct yaml_builder *b, yaml_mark_t mark);

/* Charge nodes to the limit; false with a finding when it is passed. */
WARN_UNUSED bool yaml_builder_count(struct yaml_builder *b, size_t count, yaml_mark_t mark);

struct yaml_node *yaml_builder_node(struct yaml_builder *b, enum yaml_kind kind, yaml_mark_t mark);

/* Remember an anchor; returns its index, SIZE_MAX for a node without one (`name` NULL). */
size_t yaml_anchor_open(struct yaml_builder *b, const yaml_char_t *name, struct yaml_node *node);
void yaml_anchor_close(struct yaml_builder *b, size_t index, const struct yaml_node *node);

/* The node an alias stands for; NULL when a limit ends the reading. */
struct yaml_node *yaml_build_alias(struct yaml_builder *b, const yaml_event_t *event);
