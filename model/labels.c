/* Label sets: look-up, order, identity, copies, editing. */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "model/model.h"

struct str labels_get(struct labels labels, struct str name) {
    for (size_t i = 0; i < labels.count; i++) {
        if (str_eq(labels.items[i].name, name)) {
            return labels.items[i].value;
        }
    }
    return STR("");
}

bool labels_equal(struct labels a, struct labels b) {
    if (a.count != b.count) {
        return false;
    }
    for (size_t i = 0; i < a.count; i++) {
        if (!str_eq(a.items[i].name, b.items[i].name) ||
            !str_eq(a.items[i].value, b.items[i].value)) {
            return false;
        }
    }
    return true;
}

int labels_cmp(struct labels a, struct labels b) {
    size_t common = a.count < b.count ? a.count : b.count;
    for (size_t i = 0; i < common; i++) {
        int order = str_cmp(a.items[i].name, b.items[i].name);
        if (order == 0) {
            order = str_cmp(a.items[i].value, b.items[i].value);
        }
        if (order != 0) {
            return order;
        }
    }
    return (a.count > b.count) - (a.count < b.count);
}

/* Four length bytes, little-endian, then the text. */
static char *put_prefixed(char *at, struct str text) {
    assert(text.len <= UINT32_MAX);
    for (unsigned i = 0; i < 4; i++) {
        *at++ = (char)(unsigned char)(text.len >> (8 * i));
    }
    if (text.len > 0) {
        memcpy(at, text.ptr, text.len);
    }
    return at + text.len;
}

uint64_t labels_hash(struct labels labels) {
    size_t bytes = 0;
    for (size_t i = 0; i < labels.count; i++) {
        bytes += 8 + labels.items[i].name.len + labels.items[i].value.len;
    }
    char small[1024];
    CLEANUP(mem_freep) char *large = bytes <= sizeof(small) ? NULL : mem_alloc(bytes);
    char *start = large == NULL ? small : large;
    char *at = start;
    for (size_t i = 0; i < labels.count; i++) {
        at = put_prefixed(at, labels.items[i].name);
        at = put_prefixed(at, labels.items[i].value);
    }
    assert((size_t)(at - start) == bytes);
    return hash_bytes(str_n(start, bytes));
}

uint64_t labels_fingerprint(struct labels labels) {
    static const unsigned char separator = 0xff;
    uint64_t hash = HASH_FNV1A_INIT;
    for (size_t i = 0; i < labels.count; i++) {
        hash = hash_fnv1a(hash, labels.items[i].name.ptr, labels.items[i].name.len);
        hash = hash_fnv1a(hash, &separator, 1);
        hash = hash_fnv1a(hash, labels.items[i].value.ptr, labels.items[i].value.len);
        hash = hash_fnv1a(hash, &separator, 1);
    }
    return hash;
}

struct labels labels_dup(struct labels labels, struct arena *arena) {
    struct labels copy = { .count = labels.count };
    copy.items = arena_alloc(arena, labels.count * sizeof(copy.items[0]));
    for (size_t i = 0; i < labels.count; i++) {
        copy.items[i].name = arena_str(arena, labels.items[i].name);
        copy.items[i].value = arena_str(arena, labels.items[i].value);
    }
    return copy;
}

/* Copies `text` to *at, NUL-terminated, and moves *at behind it. */
static struct str place(char **at, struct str text) {
    char *start = *at;
    if (text.len > 0) {
        memcpy(start, text.ptr, text.len);
    }
    start[text.len] = '\0';
    *at = start + text.len + 1;
    return str_n(start, text.len);
}

struct labels labels_dup_heap(struct labels labels) {
    size_t bytes = labels.count * sizeof(labels.items[0]);
    for (size_t i = 0; i < labels.count; i++) {
        bytes += labels.items[i].name.len + labels.items[i].value.len + 2;
    }
    struct labels copy = { .items = mem_alloc(bytes), .count = labels.count };
    char *at = (char *)(copy.items + labels.count);
    for (size_t i = 0; i < labels.count; i++) {
        copy.items[i].name = place(&at, labels.items[i].name);
        copy.items[i].value = place(&at, labels.items[i].value);
    }
    return copy;
}

static int compare_names(const void *a, const void *b) {
    const struct label *left = a;
    const struct label *right = b;
    return str_cmp(left->name, right->name);
}

static bool are_sorted(const struct label *items, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (str_cmp(items[i - 1].name, items[i].name) > 0) {
            return false;
        }
    }
    return true;
}

void labels_builder_init(struct labels_builder *builder, struct arena *arena, struct labels base) {
    *builder = (struct labels_builder){ .arena = arena, .cap = base.count + 8 };
    builder->items = arena_alloc(arena, builder->cap * sizeof(builder->items[0]));
    if (base.count > 0) {
        memcpy(builder->items, base.items, base.count * sizeof(builder->items[0]));
    }
    builder->count = base.count;
}

static size_t find_name(const struct labels_builder *builder, struct str name) {
    size_t i = 0;
    while (i < builder->count && !str_eq(builder->items[i].name, name)) {
        i++;
    }
    return i;
}

void labels_builder_set(struct labels_builder *builder, struct str name, struct str value) {
    size_t i = find_name(builder, name);
    if (i == builder->count) {
        if (value.len == 0) {
            return;
        }
        builder->items = arena_vec_grow(builder->arena, builder->items, &builder->cap,
                                        builder->count + 1, sizeof(builder->items[0]));
        builder->items[builder->count++].name = name;
    }
    builder->items[i].value = value;
}

void labels_builder_del(struct labels_builder *builder, struct str name) {
    labels_builder_set(builder, name, STR(""));
}

struct str labels_builder_get(const struct labels_builder *builder, struct str name) {
    size_t i = find_name(builder, name);
    return i == builder->count ? STR("") : builder->items[i].value;
}

struct labels labels_builder_build(struct labels_builder *builder) {
    struct labels built = { .count = 0 };
    built.items = arena_alloc(builder->arena, builder->count * sizeof(built.items[0]));
    for (size_t i = 0; i < builder->count; i++) {
        if (builder->items[i].value.len > 0) {
            built.items[built.count++] = builder->items[i];
        }
    }
    if (!are_sorted(built.items, built.count)) {
        qsort(built.items, built.count, sizeof(built.items[0]), compare_names);
    }
    return built;
}

static bool too_many(size_t count, struct err *err) {
    return err_set(err, ERR_LIMIT, "%zu labels exceed the limit of %d per series", count,
                   LABELS_COUNT_MAX);
}

/* Enough of a hostile label to recognise it. */
static struct str shortened(struct str text) {
    static const size_t shown_bytes_max = 64;
    size_t len = text.len;
    if (len > shown_bytes_max) {
        len = shown_bytes_max;
        while (len > 0 && ((unsigned char)text.ptr[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    return str_n(text.ptr, len);
}

static bool check_label(const struct label *label, struct err *err) {
    struct str shown = shortened(label->name);
    if (label->name.len == 0) {
        return err_set(err, ERR_INVALID, "a label has an empty name");
    }
    if (label->name.len > LABEL_NAME_BYTES_MAX) {
        return err_set(err, ERR_LIMIT,
                       "label name \"%.*s...\" of %zu bytes exceeds the limit of %d",
                       STR_FMT(shown), label->name.len, LABEL_NAME_BYTES_MAX);
    }
    if (!str_is_utf8(label->name)) {
        return err_set(err, ERR_INVALID, "a label name is not valid UTF-8");
    }
    if (label->value.len > LABEL_VALUE_BYTES_MAX) {
        return err_set(err, ERR_LIMIT,
                       "value of label \"%.*s\" has %zu bytes, more than the limit of %d",
                       STR_FMT(shown), label->value.len, LABEL_VALUE_BYTES_MAX);
    }
    if (!str_is_utf8(label->value)) {
        return err_set(err, ERR_INVALID, "value of label \"%.*s\" is not valid UTF-8",
                       STR_FMT(shown));
    }
    return true;
}

bool labels_normalize(struct labels *labels, struct err *err) {
    /* Before sorting: a name used twice is an error even when one of its values is empty. */
    if (!are_sorted(labels->items, labels->count)) {
        qsort(labels->items, labels->count, sizeof(labels->items[0]), compare_names);
    }
    size_t kept = 0;
    for (size_t i = 0; i < labels->count; i++) {
        const struct label *label = &labels->items[i];
        if (!check_label(label, err)) {
            return false;
        }
        if (i > 0 && str_eq(label->name, labels->items[i - 1].name)) {
            return err_set(err, ERR_INVALID, "label \"%.*s\" is given more than once",
                           STR_FMT(shortened(label->name)));
        }
        kept += label->value.len > 0 ? 1 : 0;
    }
    if (kept > LABELS_COUNT_MAX) {
        return too_many(kept, err);
    }
    size_t count = 0;
    for (size_t i = 0; i < labels->count; i++) {
        if (labels->items[i].value.len > 0) {
            labels->items[count++] = labels->items[i];
        }
    }
    assert(count == kept);
    labels->count = count;
    return true;
}
