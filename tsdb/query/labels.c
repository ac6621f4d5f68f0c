/* Label names and values: straight from the indexes, or of the series that match. */
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/query/querier.h"

struct strings {
    struct arena *arena;
    struct map seen;
    struct str *items; /* in the arena */
    size_t count;
    size_t cap;
};

static void add_string(void *ctx, struct str text) {
    struct strings *strings = ctx;
    if (map_put(&strings->seen, text, strings) != NULL) {
        return;
    }
    strings->items = arena_vec_grow(strings->arena, strings->items, &strings->cap,
                                    strings->count + 1, sizeof(strings->items[0]));
    strings->items[strings->count++] = arena_str(strings->arena, text);
}

static void reset_strings(struct strings *strings) {
    map_finish(&strings->seen, NULL);
    map_init(&strings->seen);
    strings->count = 0;
}

static int compare_strings(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* ---- from the indexes ---- */

/* Does the pair belong to a series with samples in range that no window index knows? */
static bool pair_in_range(struct tsdb_querier *querier, const struct index_pair *pair) {
    struct head *head = &querier->db->head;
    for (uint32_t handle = handles_next(&pair->handles, 0); handle != UINT32_MAX;
         handle = handles_next(&pair->handles, handle + 1)) {
        struct series *series = head_at(head, handle);
        if (series != NULL && querier_has_in_range(querier, series, handle)) {
            return true;
        }
    }
    return false;
}

static void add_head_values(struct tsdb_querier *querier,
                            const struct index_name *name,
                            struct strings *strings) {
    const struct index *index = &querier->db->head.index;
    const uint32_t *pairs;
    uint32_t count = index_name_pairs(name, &pairs);
    for (uint32_t i = 0; i < count; i++) {
        const struct index_pair *pair = index_pair(index, RACE_LOAD(&pairs[i]));
        if (pair_in_range(querier, pair)) {
            add_string(strings, index_string(index, RACE_LOAD(&pair->value)));
        }
    }
}

static void add_head_names(struct tsdb_querier *querier, struct strings *strings) {
    const struct index *index = &querier->db->head.index;
    uint32_t name_count = RACE_LOAD(&index->name_count);
    for (uint32_t n = 1; n < name_count; n++) {
        const struct index_name *name = index_name(index, n);
        uint32_t symbol = RACE_LOAD(&name->symbol);
        const uint32_t *pairs;
        uint32_t count = symbol == 0 ? 0 : index_name_pairs(name, &pairs);
        for (uint32_t i = 0; i < count; i++) {
            if (pair_in_range(querier, index_pair(index, RACE_LOAD(&pairs[i])))) {
                add_string(strings, index_string(index, symbol));
                break;
            }
        }
    }
}

/* What is found while pairs are dropped may not be so, then it is looked for again. */
static void from_head(struct tsdb_querier *querier, struct str name, struct strings *strings) {
    const struct index *index = &querier->db->head.index;
    uint32_t generation;
    do {
        generation = index_generation(index);
        reset_strings(strings);
        if (name.len == 0) {
            add_head_names(querier, strings);
        } else {
            const struct index_name *entry = index_find_name(index, name);
            if (entry != NULL) {
                add_head_values(querier, entry, strings);
            }
        }
    } while (!index_is_same(index, generation));
}

static bool from_indexes(struct tsdb_querier *querier,
                         struct str name,
                         struct strings *strings,
                         struct err *err) {
    from_head(querier, name, strings);
    struct store *store = &querier->db->store;
    MDB_txn *txn;
    if (!env_read_begin(&store->env, &txn, err)) {
        return false;
    }
    bool ok = querier_parts(querier, txn, err);
    for (size_t i = 0; ok && i < querier->part_count; i++) {
        ok = window_visit(store, querier, txn, querier->parts[i].place, name, add_string, strings,
                          err);
    }
    env_read_end(&store->env, txn);
    return ok;
}

/* ---- from the series that match ---- */

static bool from_series(struct tsdb_querier *querier,
                        struct str name,
                        const struct matcher *matchers,
                        size_t matcher_count,
                        struct strings *strings,
                        struct err *err) {
    struct arena scratch;
    arena_init(&scratch, strings->arena->bytes_max);
    struct tsdb_series_view *views;
    size_t count;
    bool ok = tsdb_select(querier, matchers, matcher_count, &scratch, &views, &count, err);
    for (size_t i = 0; ok && i < count; i++) {
        for (size_t l = 0; l < views[i].labels.count; l++) {
            const struct label *label = &views[i].labels.items[l];
            if (name.len == 0) {
                add_string(strings, label->name);
            } else if (str_eq(label->name, name)) {
                add_string(strings, label->value);
            }
        }
    }
    arena_finish(&scratch);
    return ok;
}

static bool list_strings(struct tsdb_querier *querier,
                         struct str name,
                         const struct matcher *matchers,
                         size_t matcher_count,
                         struct strings *strings,
                         struct err *err) {
    map_init(&strings->seen);
    bool ok = matcher_count == 0
                  ? from_indexes(querier, name, strings, err)
                  : from_series(querier, name, matchers, matcher_count, strings, err);
    map_finish(&strings->seen, NULL);
    if (!ok) {
        return false;
    }
    if (arena_is_over(strings->arena)) {
        return err_set(err, ERR_LIMIT,
                       "the list of %zu labels needs more than the %zu bytes allowed",
                       strings->count, strings->arena->bytes_max);
    }
    if (strings->count > 1) {
        qsort(strings->items, strings->count, sizeof(strings->items[0]), compare_strings);
    }
    return true;
}

bool tsdb_label_names(struct tsdb_querier *querier,
                      const struct matcher *matchers,
                      size_t matcher_count,
                      struct arena *arena,
                      struct str **ret,
                      size_t *ret_count,
                      struct err *err) {
    struct strings strings = { .arena = arena };
    if (!list_strings(querier, STR(""), matchers, matcher_count, &strings, err)) {
        return false;
    }
    *ret = strings.items;
    *ret_count = strings.count;
    return true;
}

bool tsdb_label_values(struct tsdb_querier *querier,
                       struct str name,
                       const struct matcher *matchers,
                       size_t matcher_count,
                       struct arena *arena,
                       struct str **ret,
                       size_t *ret_count,
                       struct err *err) {
    struct strings strings = { .arena = arena };
    if (name.len == 0) {
        *ret = NULL;
        *ret_count = 0;
        return true;
    }
    if (!list_strings(querier, name, matchers, matcher_count, &strings, err)) {
        return false;
    }
    *ret = strings.items;
    *ret_count = strings.count;
    return true;
}
