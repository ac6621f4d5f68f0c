/* Queriers: snapshots, reading columns from head, store and overlay. Selecting is in select.c. */
#include "tsdb/query/querier.h"

#include <assert.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "tsdb/rollup/rollup.h"

#define NEAR_SHIFT 18 /* 256 KiB */

/* ---- the open queriers ---- */

uint64_t db_lsn_safe(struct tsdb *db) {
    uint64_t visible_lsn = db->visible_lsn;
    int64_t before_ns = i64_sub_sat(clock_mono_ns(db->clock), db->querier_ns_max);
    (void)readers_end(&db->head.readers, visible_lsn, before_ns);
    return readers_floor(&db->head.readers, visible_lsn);
}

bool querier_holds(const struct tsdb_querier *querier, struct err *err) {
    return !reader_is_ended(querier->reader) ||
           err_set(
               err, ERR_TIMEOUT,
               "the query has been open for more than %lld s and was ended, so that the journal "
               "does not grow for it",
               (long long)(querier->db->querier_ns_max / 1000000000));
}

bool tsdb_querier_open(struct tsdb *db,
                       int64_t t_min_ms,
                       int64_t t_max_ms,
                       const struct tsdb_batch *overlay,
                       struct tsdb_querier **ret,
                       struct err *err) {
    if (!ready_wait(&db->ready, READY_WAIT_MS_MAX, err)) {
        return false;
    }
    uint64_t lsn;
    struct reader_slot *reader =
        readers_enter(&db->head.readers, &db->visible_lsn, clock_mono_ns(db->clock), &lsn);
    if (reader == NULL) {
        return err_set(err, ERR_THROTTLED, "%d queries are open: no more at once",
                       READER_SLOTS_MAX);
    }
    struct tsdb_querier *querier = mem_calloc(1, sizeof(*querier));
    querier->db = db;
    querier->reader = reader;
    querier->lsn = lsn;
    querier->t_min_ms = t_min_ms;
    querier->t_max_ms = t_max_ms;
    querier->overlay.batch = overlay;
    u64map_init(&querier->overlay.last);
    run_cache_init(&querier->cache);
    u64map_init(&querier->near);
    querier->parts_txn_id = UINT64_MAX;
    querier->rolled_txn_id = UINT64_MAX;
    *ret = querier;
    return true;
}

void tsdb_querier_close(struct tsdb_querier *querier) {
    if (querier == NULL) {
        return;
    }
    readers_leave(querier->reader);
    u64map_finish(&querier->overlay.last);
    mem_free(querier->overlay.previous);
    run_cache_finish(&querier->cache);
    u64map_finish(&querier->near);
    tsdb_column_finish(&querier->scratch);
    mem_free(querier->parts);
    mem_free(querier->rolled);
    mem_free(querier->entries);
    for (size_t i = 0; i < querier->warning_count; i++) {
        mem_free(querier->warnings[i]);
    }
    mem_free(querier);
}

void querier_near(struct tsdb_querier *querier, const void *bytes) {
    uintptr_t number = (uintptr_t)bytes >> NEAR_SHIFT;
    uint64_t ignored;
    if (!u64map_get(&querier->near, number, &ignored)) {
        u64map_put(&querier->near, number, 1);
        /* A hint: whether it was taken does not matter. */
        (void)madvise((void *)(number << NEAR_SHIFT), (size_t)1 << NEAR_SHIFT, MADV_WILLNEED);
    }
}

uint64_t querier_add_stored(struct tsdb_querier *querier, uint64_t id) {
    querier->entries = vec_grow(querier->entries, &querier->entry_cap, querier->entry_count + 1,
                                sizeof(querier->entries[0]));
    querier->entries[querier->entry_count++] = (struct querier_entry){ .id = id };
    return querier->entry_count;
}

/* ---- damage ---- */

void querier_note_damage(struct tsdb_querier *querier,
                         enum damage_kind kind,
                         const struct err *what) {
    damage_note(querier->db, kind, what);
    size_t count = querier->warning_count;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(querier->warnings[i], what->msg) == 0) {
            return;
        }
    }
    if (count < TSDB_WARNINGS_MAX) {
        bool is_last = count + 1 == TSDB_WARNINGS_MAX;
        querier->warnings[count] = mem_strdup(is_last ? "more of the data is damaged" : what->msg);
        querier->warning_count++;
    }
}

size_t tsdb_querier_warning_count(const struct tsdb_querier *querier) {
    return querier->warning_count;
}

const char *tsdb_querier_warning(const struct tsdb_querier *querier, size_t number) {
    assert(number < querier->warning_count);
    return querier->warnings[number];
}

bool querier_parts(struct tsdb_querier *querier, MDB_txn *txn, struct err *err) {
    uint64_t txn_id = mdb_txn_id(txn);
    if (querier->parts_txn_id == txn_id) {
        return true;
    }
    struct tsdb *db = querier->db;
    mem_free(querier->parts);
    querier->parts = NULL;
    if (!part_list(&db->store, txn, head_window(&db->head, querier->t_min_ms),
                   head_window(&db->head, querier->t_max_ms), &querier->parts, &querier->part_count,
                   err) ||
        !rollup_add_places(querier, txn, err)) {
        querier->parts_txn_id = UINT64_MAX;
        return false;
    }
    querier->parts_txn_id = txn_id;
    for (size_t i = 0; i < querier->part_count; i++) {
        struct err what;
        if (querier->parts[i].is_damaged) {
            err_set(&what, ERR_CORRUPT,
                    "store: the row of part %lld is damaged: its samples are "
                    "served, but may be incomplete",
                    (long long)querier->parts[i].place);
            querier_note_damage(querier, DAMAGE_WINDOW, &what);
        }
    }
    return true;
}

/* ---- the overlay ---- */

static void index_overlay(struct overlay *overlay) {
    const struct tsdb_batch *batch = overlay->batch;
    if (overlay->seen == batch->sample_count) {
        return;
    }
    overlay->previous = vec_grow(overlay->previous, &overlay->previous_cap, batch->sample_count + 1,
                                 sizeof(overlay->previous[0]));
    for (; overlay->seen < batch->sample_count; overlay->seen++) {
        uint64_t number = overlay->seen + 1;
        uint64_t before = 0;
        series_ref_t ref = batch->samples[overlay->seen].ref;
        if (defer_is_ref(ref) && defer_ref(batch->db, ref) != 0) {
            ref = defer_ref(batch->db, ref);
        }
        (void)u64map_get(&overlay->last, ref, &before);
        overlay->previous[number] = (uint32_t)before;
        u64map_put(&overlay->last, ref, number);
    }
}

static bool overlay_has(struct overlay *overlay, series_ref_t ref) {
    if (overlay->batch == NULL) {
        return false;
    }
    index_overlay(overlay);
    uint64_t number;
    return u64map_get(&overlay->last, ref, &number);
}

bool querier_has_in_range(struct tsdb_querier *querier,
                          const struct series *series,
                          uint32_t handle) {
    struct head_read read = {
        .lsn = querier->lsn,
        .t_min_ms = querier->t_min_ms,
        .t_max_ms = querier->t_max_ms,
    };
    read.handle = handle;
    return head_has_in_range(&querier->db->head, handle, series, &read) ||
           side_has_in_range(&querier->db->side, handle, &read) ||
           overlay_has(&querier->overlay, ref_make(series->id, handle));
}

static void read_overlay(struct tsdb_querier *querier,
                         const struct querier_entry *entry,
                         int64_t t_min_ms,
                         int64_t t_max_ms,
                         struct tsdb_column *column) {
    struct overlay *overlay = &querier->overlay;
    uint64_t number = 0;
    if (overlay->batch == NULL || entry->handle == 0) {
        return;
    }
    index_overlay(overlay);
    if (!u64map_get(&overlay->last, ref_make(entry->id, entry->handle), &number)) {
        return;
    }
    size_t first = column->count;
    for (; number != 0; number = overlay->previous[number]) {
        struct sample sample = overlay->batch->samples[number - 1].sample;
        if (sample.t_ms >= t_min_ms && sample.t_ms <= t_max_ms) {
            column_append(column, sample.t_ms, sample.value);
        }
    }
    /* Newest first so far. */
    for (size_t i = first, j = column->count; j > i + 1; i++, j--) {
        struct sample swap = { .t_ms = column->t_ms[i], .value = column->values[i] };
        column->t_ms[i] = column->t_ms[j - 1];
        column->values[i] = column->values[j - 1];
        column->t_ms[j - 1] = swap.t_ms;
        column->values[j - 1] = swap.value;
    }
}

int64_t querier_unsealed_ms(struct tsdb_querier *querier, uint64_t view_id) {
    const struct querier_entry *entry = &querier->entries[view_id - 1];
    int64_t t_ms = INT64_MAX;
    if (entry->handle == 0) {
        return t_ms;
    }
    if (overlay_has(&querier->overlay, ref_make(entry->id, entry->handle))) {
        return INT64_MIN;
    }
    struct head_read read = {
        .handle = entry->handle,
        .id = entry->id,
        .lsn = querier->lsn,
        .t_min_ms = INT64_MAX,
        .t_max_ms = INT64_MIN,
    };
    querier->scratch.count = 0;
    int64_t t_side_ms = side_first_ms(&querier->db->side, entry->handle);
    head_read(&querier->db->head, &read, &querier->scratch, &t_ms);
    return t_side_ms < t_ms ? t_side_ms : t_ms;
}

/* ---- reading ---- */

struct read {
    struct tsdb_querier *querier;
    MDB_txn *txn;
    uint64_t id;
    int64_t t_min_ms;
    int64_t t_max_ms;
    struct tsdb_column *column;
};

/* Name the series in an error about its bytes. */
static void name_series(const struct read *read, int64_t t_ms, struct err *err) {
    struct store *store = &read->querier->db->store;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct buf text;
    buf_init(&text, 300);
    struct labels labels;
    bool found;
    struct err ignored = ERR_INIT;
    if (catalog_get(store, read->txn, read->id, &arena, &labels, &found, &ignored) && found) {
        labels_print(labels, &text);
    }
    if (text.len == 0) {
        buf_printf(&text, "number %llu", (unsigned long long)read->id);
    }
    char when[RFC3339_TEXT_MAX];
    rfc3339_from_ms(t_ms, when);
    err_wrap(err, "series %.*s at %s", STR_FMT(buf_as_str(&text)), when);
    buf_finish(&text);
    arena_finish(&arena);
}

/* What is damaged is left out, noted and warned of; anything else is an error. */
static bool tolerate(void *ctx,
                     enum damage_kind kind,
                     int64_t t_ms,
                     struct err *what,
                     struct err *err) {
    const struct read *read = ctx;
    name_series(read, t_ms, what);
    if (what->code != ERR_CORRUPT) {
        *err = *what;
        return false;
    }
    querier_note_damage(read->querier, kind, what);
    return true;
}

static bool read_part(struct read *read, const struct part *part, struct err *err) {
    struct tsdb_querier *querier = read->querier;
    struct part_read of_part = {
        .store = &querier->db->store,
        .txn = read->txn,
        .part = part,
        .id = read->id,
        .t_min_ms = read->t_min_ms,
        .t_max_ms = read->t_max_ms,
        .cache = &querier->cache,
        .damaged = tolerate,
        .ctx = read,
    };
    return part_read(&of_part, read->column, err);
}

static bool read_store(struct read *read, struct err *err) {
    struct tsdb_querier *querier = read->querier;
    struct tsdb *db = querier->db;
    if (!env_read_begin(&db->store.env, &read->txn, err)) {
        return false;
    }
    bool ok = querier_parts(querier, read->txn, err);
    int64_t first = head_window(&db->head, read->t_min_ms);
    int64_t last = head_window(&db->head, read->t_max_ms);
    for (size_t i = 0; ok && i < querier->part_count; i++) {
        const struct part *part = &querier->parts[i];
        if (part->window_end > first && part->window_first <= last) {
            ok = read_part(read, part, err);
        }
    }
    env_read_end(&db->store.env, read->txn);
    return ok;
}

/* What is not sealed, into the scratch column; returns up to where the store must be read. */
static int64_t read_unsealed(const struct read *read, const struct querier_entry *entry) {
    struct tsdb_querier *querier = read->querier;
    struct head_read head = {
        .handle = entry->handle,
        .id = entry->id,
        .lsn = querier->lsn,
        .t_min_ms = read->t_min_ms,
        .t_max_ms = read->t_max_ms,
    };
    querier->scratch.count = 0;
    if (entry->handle == 0) {
        return INT64_MAX;
    }
    int64_t t_sealed_ms;
    int64_t t_head_ms;
    side_read(&querier->db->side, &head, &querier->scratch, &t_sealed_ms);
    head_read(&querier->db->head, &head, &querier->scratch, &t_head_ms);
    int64_t t_before_ms = t_head_ms > INT64_MIN ? t_head_ms - 1 : INT64_MIN;
    return t_sealed_ms > t_before_ms || t_head_ms == INT64_MAX ? INT64_MAX : t_before_ms;
}

/* One series: the side and the head first, then the store up to where the head began. In this order
 * a chunk sealed meanwhile is seen twice at most, never missed. */
static bool read_entry(struct read *read, const struct querier_entry *entry, struct err *err) {
    struct tsdb_querier *querier = read->querier;
    int64_t t_max_ms = read->t_max_ms;
    int64_t t_store_ms = read_unsealed(read, entry);
    read->id = entry->id;
    if (read->t_min_ms <= t_store_ms) {
        read->t_max_ms = t_max_ms < t_store_ms ? t_max_ms : t_store_ms;
        bool ok = read_store(read, err);
        read->t_max_ms = t_max_ms;
        if (!ok) {
            return false;
        }
    }
    const struct tsdb_column *scratch = &querier->scratch;
    struct tsdb_column *column = read->column;
    if (scratch->count > 0) {
        tsdb_column_reserve(column, scratch->count);
        memcpy(column->t_ms + column->count, scratch->t_ms, scratch->count * sizeof(int64_t));
        memcpy(column->values + column->count, scratch->values, scratch->count * sizeof(double));
        column->count += scratch->count;
    }
    return true;
}

bool tsdb_read(struct tsdb_querier *querier,
               uint64_t id,
               int64_t t_min_ms,
               int64_t t_max_ms,
               struct tsdb_column *column,
               struct err *err) {
    assert(id > 0 && id <= querier->entry_count);
    column->count = 0;
    struct read read = {
        .querier = querier,
        .t_min_ms = t_min_ms > querier->t_min_ms ? t_min_ms : querier->t_min_ms,
        .t_max_ms = t_max_ms < querier->t_max_ms ? t_max_ms : querier->t_max_ms,
        .column = column,
    };
    if (read.t_min_ms > read.t_max_ms) {
        return true;
    }
    for (uint64_t number = id; number != 0; number = querier->entries[number - 1].next) {
        if (!read_entry(&read, &querier->entries[number - 1], err)) {
            return false;
        }
    }
    for (uint64_t number = id; number != 0; number = querier->entries[number - 1].next) {
        read_overlay(querier, &querier->entries[number - 1], read.t_min_ms, read.t_max_ms, column);
    }
    column_sort(column, 0);
    return querier_holds(querier, err);
}
