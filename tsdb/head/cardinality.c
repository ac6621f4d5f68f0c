/*
 * Which labels the series are made of, and which metrics keep making new ones.
 *
 * The head's index is walked in slices of label pairs; index_lock is shared and given back between
 * them, so creating series waits for one slice at most. What changes meanwhile makes a count a
 * little old, never wrong by more than that.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/db.h"
#include "tsdb/parts/window.h"
#include "tsdb/query/querier.h"

#define PAIRS_PER_SLICE 16384

/* ---- the largest of many ---- */

struct entry {
    uint64_t count;
    uint32_t number; /* of a pair or of a name */
};

/* The `limit` largest entries seen; a heap with the smallest on top. */
struct top {
    const struct index *index;
    bool of_names; /* numbers are those of names, not of pairs */
    struct entry *items;
    size_t count;
    size_t limit;
};

/* The texts of a number; empty when it was freed since. The index is locked. */
static void entry_text(const struct top *top,
                       uint32_t number,
                       struct str *ret_name,
                       struct str *ret_value) {
    const struct index *index = top->index;
    *ret_name = STR("");
    *ret_value = STR("");
    if (top->of_names) {
        uint32_t symbol = number < index->name_count ? index->names[number].symbol : 0;
        *ret_name = symbol == 0 ? *ret_name : index_string(index, symbol);
    } else if (number < index->pair_count && index->pairs[number].name != 0) {
        *ret_name = index_string(index, index->pairs[number].name);
        *ret_value = index_string(index, index->pairs[number].value);
    }
}

/* Larger counts first, then by text. */
static int compare_entries(const struct top *top, const struct entry *a, const struct entry *b) {
    if (a->count != b->count) {
        return a->count > b->count ? -1 : 1;
    }
    struct str name_a;
    struct str name_b;
    struct str value_a;
    struct str value_b;
    entry_text(top, a->number, &name_a, &value_a);
    entry_text(top, b->number, &name_b, &value_b);
    int order = str_cmp(name_a, name_b);
    return order != 0 ? order : str_cmp(value_a, value_b);
}

static void sink(struct top *top, size_t at, size_t count) {
    struct entry *items = top->items;
    for (;;) {
        size_t last = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++) {
            last = compare_entries(top, &items[child], &items[last]) > 0 ? child : last;
        }
        if (last == at) {
            return;
        }
        struct entry swap = items[at];
        items[at] = items[last];
        items[last] = swap;
        at = last;
    }
}

static void top_add(struct top *top, uint64_t count, uint32_t number) {
    struct entry entry = { .count = count, .number = number };
    if (top->count < top->limit) {
        top->items[top->count++] = entry;
        if (top->count == top->limit) {
            for (size_t i = top->count; i-- > 0;) {
                sink(top, i, top->count);
            }
        }
    } else if (top->limit > 0 && compare_entries(top, &entry, &top->items[0]) < 0) {
        top->items[0] = entry;
        sink(top, 0, top->count);
    }
}

/* Sorted, as texts; what was freed meanwhile is left out. The index is locked. */
static void top_take(struct top *top,
                     struct arena *arena,
                     bool value_only,
                     struct tsdb_count_list *ret) {
    if (top->count < top->limit) {
        for (size_t i = top->count; i-- > 0;) {
            sink(top, i, top->count);
        }
    }
    for (size_t end = top->count; end > 1; end--) {
        struct entry last = top->items[0];
        top->items[0] = top->items[end - 1];
        top->items[end - 1] = last;
        sink(top, 0, end - 1);
    }
    ret->items = arena_alloc(arena, (top->count + 1) * sizeof(ret->items[0]));
    ret->count = 0;
    for (size_t i = 0; i < top->count; i++) {
        struct str name;
        struct str value;
        entry_text(top, top->items[i].number, &name, &value);
        if (name.len > 0) {
            ret->items[ret->count++] = (struct tsdb_count){
                .name = top->of_names ? arena_str(arena, name)
                        : value_only
                            ? arena_str(arena, value)
                            : arena_printf(arena, "%.*s=%.*s", STR_FMT(name), STR_FMT(value)),
                .count = top->items[i].count,
            };
        }
    }
    mem_free(top->items);
}

static struct top top_init(const struct index *index, size_t limit, bool of_names) {
    return (struct top){
        .index = index,
        .of_names = of_names,
        .items = mem_alloc((limit + 1) * sizeof(struct entry)),
        .limit = limit,
    };
}

/* ---- the head ---- */

struct walk {
    struct top by_metric;
    struct top by_pair;
    uint64_t *name_bytes; /* by number of the name */
    size_t name_cap;
    uint64_t pair_count;
};

/* Pairs from..to. The index is locked. */
static void walk_pairs(const struct index *index, uint32_t from, uint32_t to, struct walk *walk) {
    uint32_t metric_name = 0;
    const struct index_name *metrics = index_find_name(index, METRIC_NAME);
    if (metrics != NULL) {
        metric_name = metrics->symbol;
    }
    size_t had = walk->name_cap;
    if (index->name_count > had) {
        walk->name_bytes = vec_grow(walk->name_bytes, &walk->name_cap, index->name_count,
                                    sizeof(walk->name_bytes[0]));
        memset(walk->name_bytes + had, 0, (walk->name_cap - had) * sizeof(walk->name_bytes[0]));
    }
    for (uint32_t i = from; i < to; i++) {
        const struct index_pair *pair = &index->pairs[i];
        if (pair->name == 0) {
            continue;
        }
        walk->pair_count++;
        top_add(&walk->by_pair, handles_count(&pair->handles), i);
        if (pair->name == metric_name) {
            top_add(&walk->by_metric, handles_count(&pair->handles), i);
        }
        walk->name_bytes[index->symbols[pair->name].name] +=
            (uint64_t)handles_count(&pair->handles) * index_string(index, pair->value).len;
    }
}

static void take_names(const struct index *index,
                       const struct walk *walk,
                       size_t limit,
                       struct arena *arena,
                       struct tsdb_cardinality *ret) {
    struct top by_values = top_init(index, limit, true);
    struct top by_bytes = top_init(index, limit, true);
    for (uint32_t i = 1; i < index->name_count; i++) {
        if (index->names[i].symbol != 0) {
            const uint32_t *pairs;
            ret->name_count++;
            top_add(&by_values, index_name_pairs(&index->names[i], &pairs), i);
            top_add(&by_bytes, i < walk->name_cap ? walk->name_bytes[i] : 0, i);
        }
    }
    top_take(&by_values, arena, false, &ret->values_by_label);
    top_take(&by_bytes, arena, false, &ret->bytes_by_label);
}

/* ---- creations ---- */

void creations_init(struct creations *creations) {
    pthread_mutex_init(&creations->lock, NULL);
    map_init(&creations->counts);
}

void creations_finish(struct creations *creations) {
    map_finish(&creations->counts, NULL);
    pthread_mutex_destroy(&creations->lock);
}

void creations_note(struct creations *creations, struct str metric, size_t count) {
    pthread_mutex_lock(&creations->lock);
    uintptr_t before = (uintptr_t)map_get(&creations->counts, metric);
    if (before > 0 || creations->counts.count < CREATIONS_METRICS_MAX) {
        (void)map_put(&creations->counts, metric, (void *)(before + count));
    }
    pthread_mutex_unlock(&creations->lock);
}

static int compare_counts(const void *a, const void *b) {
    const struct tsdb_count *x = a;
    const struct tsdb_count *y = b;
    if (x->count != y->count) {
        return x->count > y->count ? -1 : 1;
    }
    return str_cmp(x->name, y->name);
}

static void take_creations(struct creations *creations,
                           size_t limit,
                           struct arena *arena,
                           struct tsdb_count_list *ret) {
    pthread_mutex_lock(&creations->lock);
    size_t cap = creations->counts.count;
    ret->items = arena_alloc(arena, (cap + 1) * sizeof(ret->items[0]));
    ret->count = 0;
    struct str name;
    void *value;
    for (size_t i = 0; map_next(&creations->counts, &i, &name, &value);) {
        ret->items[ret->count++] = (struct tsdb_count){
            .name = arena_str(arena, name),
            .count = (uintptr_t)value,
        };
    }
    pthread_mutex_unlock(&creations->lock);
    if (ret->count > 1) {
        qsort(ret->items, ret->count, sizeof(ret->items[0]), compare_counts);
    }
    ret->count = ret->count < limit ? ret->count : limit;
}

/* ---- the whole ---- */

void tsdb_cardinality(struct tsdb *db,
                      size_t limit,
                      struct arena *arena,
                      struct tsdb_cardinality *ret) {
    struct head *head = &db->head;
    const struct index *index = &head->index;
    struct walk walk = {
        .by_metric = top_init(index, limit, false),
        .by_pair = top_init(index, limit, false),
    };
    *ret = (struct tsdb_cardinality){ .series_count = head->series_count };
    bool is_last = false;
    for (uint32_t from = 1; !is_last;) {
        pthread_rwlock_rdlock(&head->index_lock);
        is_last = index->pair_count <= from || index->pair_count - from <= PAIRS_PER_SLICE;
        uint32_t to = is_last ? index->pair_count : from + PAIRS_PER_SLICE;
        walk_pairs(index, from, to, &walk);
        if (is_last) {
            top_take(&walk.by_metric, arena, true, &ret->series_by_metric);
            top_take(&walk.by_pair, arena, false, &ret->series_by_pair);
            take_names(index, &walk, limit, arena, ret);
        }
        pthread_rwlock_unlock(&head->index_lock);
        from = to;
    }
    ret->pair_count = walk.pair_count;
    mem_free(walk.name_bytes);
    take_creations(&db->creations, limit, arena, &ret->created_by_metric);
    ret->created_total = (uint64_t)metric_get(db->metrics.series_created);
    ret->left_total = (uint64_t)metric_get(db->metrics.series_evicted);
}
