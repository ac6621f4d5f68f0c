/* Layers of configuration: one YAML tree laid over another. */
#include "base/mem.h"
#include "base/yaml_doc.h"

struct merge {
    struct arena *arena; /* of the document merged into */
    const struct yaml_keyed_list *keyed;
    size_t keyed_count;
};

/* The key that identifies the items of the list called `name`, NULL if it is an ordinary list. */
static const char *list_key(const struct merge *m, struct str name) {
    for (size_t i = 0; i < m->keyed_count; i++) {
        if (str_eq_c(name, m->keyed[i].list)) {
            return m->keyed[i].key;
        }
    }
    return NULL;
}

static struct str item_identity(const struct yaml_node *item, const char *key) {
    const struct yaml_node *value = item->kind == YAML_MAPPING ? yaml_get(item, key) : NULL;
    return value != NULL && value->kind == YAML_SCALAR ? value->scalar : (struct str){ 0 };
}

static struct yaml_node *merge_keyed_list(struct merge *m,
                                          struct yaml_node *base,
                                          struct yaml_node *over,
                                          const char *key) {
    size_t cap = 0;
    struct yaml_node **items = NULL;
    size_t count = 0;
    for (size_t i = 0; i < base->count + over->count; i++) {
        struct yaml_node *item = i < base->count ? base->items[i] : over->items[i - base->count];
        struct str identity = item_identity(item, key);
        size_t at = count;
        /* An item of the layer takes the place of the one it is named after. */
        for (size_t j = 0; i >= base->count && identity.len > 0 && j < base->count; j++) {
            if (str_eq(item_identity(items[j], key), identity)) {
                at = j;
                break;
            }
        }
        items = arena_vec_grow(m->arena, items, &cap, count + 1, sizeof(*items));
        items[at] = item;
        count += at == count;
    }
    base->items = items;
    base->count = count;
    return base;
}

static void remove_pair(struct yaml_node *mapping, size_t index) {
    memmove(&mapping->pairs[index], &mapping->pairs[index + 1],
            (mapping->count - index - 1) * sizeof(mapping->pairs[0]));
    mapping->count--;
}

static struct yaml_node *merge_node(struct merge *m,
                                    struct yaml_node *base,
                                    struct yaml_node *over,
                                    struct str name);

/* Depth is bounded by the parser's limit on nesting. */
static struct yaml_node *merge_mapping(struct merge *m,
                                       struct yaml_node *base,
                                       struct yaml_node *over) {
    size_t cap = 0;
    struct yaml_pair *pairs =
        arena_vec_grow(m->arena, NULL, &cap, base->count + over->count, sizeof(*pairs));
    memcpy(pairs, base->pairs, base->count * sizeof(*pairs));
    base->pairs = pairs;
    for (size_t i = 0; i < over->count; i++) {
        struct yaml_pair *pair = &over->pairs[i];
        size_t at = 0;
        while (at < base->count && !str_eq(base->pairs[at].key->scalar, pair->key->scalar)) {
            at++;
        }
        if (at == base->count) {
            base->pairs[base->count++] = *pair;
        } else if (yaml_is_null(pair->value)) {
            remove_pair(base, at);
        } else {
            struct yaml_node *merged =
                merge_node(m, base->pairs[at].value, pair->value, pair->key->scalar);
            base->pairs[at] = (struct yaml_pair){ .key = pair->key, .value = merged };
        }
    }
    return base;
}

static struct yaml_node *merge_node(struct merge *m,
                                    struct yaml_node *base,
                                    struct yaml_node *over,
                                    struct str name) {
    if (base->kind == YAML_MAPPING && over->kind == YAML_MAPPING) {
        return merge_mapping(m, base, over);
    }
    const char *key = list_key(m, name);
    if (base->kind == YAML_SEQUENCE && over->kind == YAML_SEQUENCE && key != NULL) {
        return merge_keyed_list(m, base, over, key);
    }
    return over;
}

void yaml_merge(struct yaml_doc *doc,
                struct yaml_doc *layer,
                const struct yaml_keyed_list *keyed,
                size_t keyed_count) {
    struct yaml_doc **last = &doc->merged;
    while (*last != NULL) {
        last = &(*last)->merged;
    }
    *last = layer;
    if (layer->root == NULL) {
        return;
    }
    struct merge m = { .arena = &doc->arena, .keyed = keyed, .keyed_count = keyed_count };
    doc->root =
        doc->root == NULL ? layer->root : merge_node(&m, doc->root, layer->root, (struct str){ 0 });
}
