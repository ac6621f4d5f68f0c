/* Label sets in evaluation. */
#include "promql/eval_labels.h"

#include <assert.h>
#include <stdlib.h>

#include "promql/quote.h"

bool lset_is_metadata(struct str name) {
    enum {
        METADATA_NAME_LEN = 8
    }; /* of all three */

    return name.len == METADATA_NAME_LEN && name.ptr[0] == '_' &&
           (str_eq(name, METRIC_NAME) || str_eq(name, STR("__type__")) ||
            str_eq(name, STR("__unit__")));
}

size_t lset_metadata_count(struct labels labels) {
    size_t count = 0;
    for (size_t i = 0; i < labels.count; i++) {
        count += lset_is_metadata(labels.items[i].name);
    }
    return count;
}

struct labels lset_drop_metadata(struct labels labels, struct arena *arena) {
    size_t dropped = 0;
    size_t leading = 0;
    for (size_t i = 0; i < labels.count; i++) {
        if (lset_is_metadata(labels.items[i].name)) {
            leading += leading == i;
            dropped++;
        }
    }
    if (dropped == 0) {
        return labels;
    }
    if (dropped == leading) {
        return (struct labels){ .items = labels.items + leading, .count = labels.count - leading };
    }
    struct labels kept = { .items = arena_alloc(arena, labels.count * sizeof(struct label)) };
    for (size_t i = 0; i < labels.count; i++) {
        if (!lset_is_metadata(labels.items[i].name)) {
            kept.items[kept.count++] = labels.items[i];
        }
    }
    return kept;
}

/* ---- names ---- */

static int compare_names(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

struct lset_names lset_names_sort(const struct str *names, size_t count, struct arena *arena) {
    struct str *sorted = arena_alloc(arena, count * sizeof(sorted[0]));
    if (count > 0) {
        memcpy(sorted, names, count * sizeof(sorted[0]));
        qsort(sorted, count, sizeof(sorted[0]), compare_names);
    }
    return (struct lset_names){ .names = sorted, .count = count };
}

bool lset_names_has(const struct lset_names *names, struct str name) {
    for (size_t i = 0; i < names->count; i++) {
        if (str_eq(names->names[i], name)) {
            return true;
        }
    }
    return false;
}

/* ---- projections ---- */

struct labels lset_project(struct lset_scratch *scratch,
                           struct labels labels,
                           const struct lset_names *names,
                           bool is_without) {
    scratch->items = arena_vec_grow(scratch->arena, scratch->items, &scratch->cap, labels.count + 1,
                                    sizeof(scratch->items[0]));
    struct labels result = { .items = scratch->items };
    size_t next = 0;
    for (size_t i = 0; i < labels.count; i++) {
        int order = -1;
        while (next < names->count &&
               (order = str_cmp(names->names[next], labels.items[i].name)) < 0) {
            next++;
        }
        bool is_named = next < names->count && order == 0;
        if (is_named != is_without) {
            result.items[result.count++] = labels.items[i];
        }
    }
    return result;
}

struct labels lset_keep(struct labels labels, struct arena *arena) {
    struct labels copy = { .count = labels.count };
    copy.items = arena_alloc(arena, labels.count * sizeof(copy.items[0]));
    if (labels.count > 0) {
        memcpy(copy.items, labels.items, labels.count * sizeof(copy.items[0]));
    }
    return copy;
}

struct labels lset_with(struct labels labels,
                        struct str name,
                        struct str value,
                        struct arena *arena) {
    struct labels result = { .items =
                                 arena_alloc(arena, (labels.count + 1) * sizeof(struct label)) };
    bool is_placed = value.len == 0;
    for (size_t i = 0; i < labels.count; i++) {
        int order = str_cmp(labels.items[i].name, name);
        if (order >= 0 && !is_placed) {
            result.items[result.count++] = (struct label){ .name = name, .value = value };
            is_placed = true;
        }
        if (order != 0) {
            result.items[result.count++] = labels.items[i];
        }
    }
    if (!is_placed) {
        result.items[result.count++] = (struct label){ .name = name, .value = value };
    }
    return result;
}

/* ---- text ---- */

void lset_print_go(struct labels labels, struct buf *out) {
    buf_putc(out, '{');
    for (size_t i = 0; i < labels.count; i++) {
        const struct label *label = &labels.items[i];
        if (i > 0) {
            buf_cstr(out, ", ");
        }
        if (label_name_is_valid_legacy(label->name)) {
            buf_str(out, label->name);
        } else {
            promql_quote(out, label->name);
        }
        buf_putc(out, '=');
        promql_quote(out, label->value);
    }
    buf_putc(out, '}');
}

/* ---- index ---- */

void lset_index_init(struct lset_index *index, struct arena *arena) {
    *index = (struct lset_index){ .arena = arena };
}

static size_t index_probe(const struct lset_index *index, uint64_t hash, struct labels labels) {
    size_t at = (size_t)hash & (index->slot_count - 1);
    while (index->slots[at].number != 0) {
        if (index->slots[at].hash == hash &&
            labels_equal(index->keys[index->slots[at].number - 1], labels)) {
            break;
        }
        at = (at + 1) & (index->slot_count - 1);
    }
    return at;
}

static void index_grow(struct lset_index *index) {
    size_t old_count = index->slot_count;
    struct lset_slot *old = index->slots;
    index->slot_count = old_count == 0 ? 16 : old_count * 2;
    index->slots = arena_calloc(index->arena, index->slot_count, sizeof(index->slots[0]));
    for (size_t i = 0; i < old_count; i++) {
        if (old[i].number == 0) {
            continue;
        }
        size_t at = (size_t)old[i].hash & (index->slot_count - 1);
        while (index->slots[at].number != 0) {
            at = (at + 1) & (index->slot_count - 1);
        }
        index->slots[at] = old[i];
    }
}

size_t lset_index_find(const struct lset_index *index, struct labels labels) {
    if (index->slot_count == 0) {
        return SIZE_MAX;
    }
    size_t at = index_probe(index, labels_hash(labels), labels);
    return index->slots[at].number == 0 ? SIZE_MAX : index->slots[at].number - 1;
}

size_t lset_index_add(struct lset_index *index,
                      struct labels labels,
                      bool is_borrowed,
                      bool *ret_is_new) {
    if (2 * (index->count + 1) > index->slot_count) {
        index_grow(index);
    }
    uint64_t hash = labels_hash(labels);
    size_t at = index_probe(index, hash, labels);
    *ret_is_new = index->slots[at].number == 0;
    if (*ret_is_new) {
        index->keys = arena_vec_grow(index->arena, index->keys, &index->cap, index->count + 1,
                                     sizeof(index->keys[0]));
        index->keys[index->count] = is_borrowed ? labels : lset_keep(labels, index->arena);
        index->count++;
        index->slots[at] = (struct lset_slot){ .hash = hash, .number = index->count };
    }
    return index->slots[at].number - 1;
}
