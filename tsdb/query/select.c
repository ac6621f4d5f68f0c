/* Selecting series: head and window indexes, united by id, then by labels. */
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/query/querier.h"

#define SLICE_IDS 16384 /* looked up in one transaction */

struct select {
    struct tsdb_querier *querier;
    struct arena *arena;
    struct tsdb_series_view *views; /* in the arena */
    size_t count;
    size_t cap;
    struct head_match *matches; /* by id */
    size_t match_count;
    struct idset stored; /* ids from window indexes */
};

static bool over_budget(const struct select *select, struct err *err) {
    return err_set(err, ERR_LIMIT,
                   "the selection of %zu series needs more than the %zu bytes allowed",
                   select->count, select->arena->bytes_max);
}

static bool add_view(struct select *select,
                     uint64_t id,
                     uint32_t handle,
                     struct labels labels,
                     struct err *err) {
    struct tsdb_querier *querier = select->querier;
    querier->entries = vec_grow(querier->entries, &querier->entry_cap, querier->entry_count + 1,
                                sizeof(querier->entries[0]));
    querier->entries[querier->entry_count++] = (struct querier_entry){ .id = id, .handle = handle };
    select->views = arena_vec_grow(select->arena, select->views, &select->cap, select->count + 1,
                                   sizeof(select->views[0]));
    select->views[select->count++] = (struct tsdb_series_view){
        .labels = labels,
        .id = querier->entry_count,
    };
    return !arena_is_over(select->arena) || over_budget(select, err);
}

/* ---- the store's side ---- */

/* A part not matched yet; false when there is none. */
static bool next_part(const struct tsdb_querier *querier,
                      const struct idset *matched,
                      int64_t *ret_place) {
    for (size_t i = 0; i < querier->part_count; i++) {
        *ret_place = querier->parts[i].place;
        if (!idset_contains(matched, (uint64_t)*ret_place)) {
            return true;
        }
    }
    return false;
}

/* A fresh transaction per part, so that none stays open long. What is merged meanwhile is met again
 * in the new part. */
static bool match_parts(struct select *select,
                        const struct matcher *matchers,
                        size_t count,
                        struct err *err) {
    struct tsdb_querier *querier = select->querier;
    struct store *store = &querier->db->store;
    struct idset matched = { 0 };
    bool ok = true;
    bool is_over = false;
    while (ok && !is_over) {
        MDB_txn *txn;
        int64_t place;
        if (!env_read_begin(&store->env, &txn, err)) {
            ok = false;
            break;
        }
        ok = querier_parts(querier, txn, err);
        is_over = ok && !next_part(querier, &matched, &place);
        if (ok && !is_over) {
            ok = window_match(store, querier, txn, place, matchers, count, &select->stored, err);
            idset_add(&matched, (uint64_t)place);
            idset_normalize(&matched);
        }
        env_read_end(&store->env, txn);
    }
    idset_finish(&matched);
    idset_normalize(&select->stored);
    return ok;
}

static bool add_stored(struct select *select,
                       struct catalog_reader *catalog,
                       uint64_t id,
                       struct err *err) {
    bool found;
    struct labels labels;
    struct err damage = ERR_INIT;
    if (catalog_read(catalog, id, &labels, &found, &damage)) {
        /* Not there: retention took it meanwhile. */
        return !found || add_view(select, id, 0, labels_dup(labels, select->arena), err);
    }
    if (damage.code != ERR_CORRUPT) {
        *err = damage;
        return false;
    }
    err_set(&damage, ERR_CORRUPT, "store: the labels of series %llu are damaged",
            (unsigned long long)id);
    querier_note_damage(select->querier, DAMAGE_SERIES, &damage);
    return true;
}

/* Number of the first match with this id or a larger one. */
static size_t head_number(const struct select *select, uint64_t id) {
    size_t low = 0;
    size_t high = select->match_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (select->matches[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Stored ids [from, end): adds those the head does not have, marks those it has. */
static bool unite_slice(struct select *select, size_t from, size_t end, struct err *err) {
    struct store *store = &select->querier->db->store;
    struct catalog_reader catalog;
    MDB_txn *txn;
    if (!env_read_begin(&store->env, &txn, err)) {
        return false;
    }
    catalog_reader_init(&catalog, store, txn);
    bool ok = true;
    size_t at = head_number(select, select->stored.ids[from]);
    for (size_t i = from; ok && i < end; i++) {
        uint64_t id = select->stored.ids[i];
        while (at < select->match_count && select->matches[at].id < id) {
            at++;
        }
        if (at < select->match_count && select->matches[at].id == id) {
            select->matches[at].is_in_store = true;
        } else {
            ok = add_stored(select, &catalog, id, err);
        }
    }
    catalog_reader_finish(&catalog);
    env_read_end(&store->env, txn);
    return ok;
}

/* A fresh transaction per slice, so that none stays open long. */
static bool unite_stored(struct select *select, struct err *err) {
    size_t count = select->stored.count;
    bool ok = true;
    for (size_t from = 0; ok && from < count; from += SLICE_IDS) {
        ok = unite_slice(select, from, from + SLICE_IDS < count ? from + SLICE_IDS : count, err);
    }
    return ok;
}

/* ---- the head's side ---- */

/* A series that left the head since it matched: its labels are in the store now. */
static bool add_left(struct select *select, uint64_t id, struct err *err) {
    struct store *store = &select->querier->db->store;
    MDB_txn *txn;
    if (!env_read_begin(&store->env, &txn, err)) {
        return false;
    }
    struct catalog_reader catalog;
    catalog_reader_init(&catalog, store, txn);
    bool ok = add_stored(select, &catalog, id, err);
    catalog_reader_finish(&catalog);
    env_read_end(&store->env, txn);
    return ok;
}

static bool add_head(struct select *select, const struct head_match *match, struct err *err) {
    struct head *head = &select->querier->db->head;
    uint32_t UNINITIALIZED numbers[LABELS_COUNT_MAX];
    struct labels labels = { 0 };
    const struct series *series = head_at(head, match->handle);
    if (series != NULL) {
        labels.count = index_label_numbers(&head->index, series->labels, numbers);
    }
    if (series != NULL && RACE_LOAD(&series->id) == match->id) {
        labels.items = arena_alloc(select->arena, labels.count * sizeof(labels.items[0]));
        for (size_t i = 0; i < labels.count; i++) {
            labels.items[i] = index_label(&head->index, numbers[i]);
        }
    }
    /* If it is still there, its labels were what was read. */
    bool is_there = series != NULL && RACE_LOAD(&series->id) == match->id;
    return is_there ? add_view(select, match->id, match->handle, labels, err)
                    : add_left(select, match->id, err);
}

/* ---- order ---- */

/* labels_cmp, but interned strings are equal when they are the same bytes. */
static int compare_views(const void *a, const void *b) {
    const struct labels *x = &((const struct tsdb_series_view *)a)->labels;
    const struct labels *y = &((const struct tsdb_series_view *)b)->labels;
    size_t count = x->count < y->count ? x->count : y->count;
    for (size_t i = 0; i < count; i++) {
        const struct label *p = &x->items[i];
        const struct label *q = &y->items[i];
        int order = p->name.ptr == q->name.ptr ? 0 : str_cmp(p->name, q->name);
        if (order == 0 && p->value.ptr != q->value.ptr) {
            order = str_cmp(p->value, q->value);
        }
        if (order != 0) {
            return order;
        }
    }
    return (x->count > y->count) - (x->count < y->count);
}

/* Sort; views with equal labels become one that reads them all. */
static void unite_labels(struct select *select) {
    struct querier_entry *entries = select->querier->entries;
    if (select->count > 1) {
        qsort(select->views, select->count, sizeof(select->views[0]), compare_views);
    }
    size_t kept = 0;
    for (size_t i = 0; i < select->count; i++) {
        const struct tsdb_series_view *view = &select->views[i];
        if (kept > 0 && compare_views(&select->views[kept - 1], view) == 0) {
            uint64_t first = select->views[kept - 1].id;
            entries[view->id - 1].next = entries[first - 1].next;
            entries[first - 1].next = (uint32_t)view->id;
        } else {
            select->views[kept++] = *view;
        }
    }
    select->count = kept;
}

/* ---- the whole ---- */

static bool run(struct select *select,
                const struct matcher *matchers,
                size_t count,
                struct err *err) {
    /* Head first: what is sealed and indexed meanwhile is then met in the store as well. */
    if (!head_match(select->querier, matchers, count, &select->matches, &select->match_count,
                    err) ||
        !match_parts(select, matchers, count, err) || !unite_stored(select, err)) {
        return false;
    }
    for (size_t i = 0; i < select->match_count; i++) {
        const struct head_match *match = &select->matches[i];
        if ((match->is_in_range || match->is_in_store) && !add_head(select, match, err)) {
            return false;
        }
    }
    unite_labels(select);
    return true;
}

bool tsdb_select(struct tsdb_querier *querier,
                 const struct matcher *matchers,
                 size_t matcher_count,
                 struct arena *arena,
                 struct tsdb_series_view **ret,
                 size_t *ret_count,
                 struct err *err) {
    if (!match_is_selective(matchers, matcher_count)) {
        return err_set(err, ERR_INVALID, "match[] must contain at least one non-empty matcher");
    }
    struct select select = { .querier = querier, .arena = arena };
    bool ok = run(&select, matchers, matcher_count, err);
    mem_free(select.matches);
    idset_finish(&select.stored);
    ok = ok && querier_holds(querier, err);
    if (ok) {
        *ret = select.views;
        *ret_count = select.count;
    }
    return ok;
}
