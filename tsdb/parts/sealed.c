/* Look-ups of sealed samples: see sealed.h. */
#include "tsdb/parts/sealed.h"

#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"

#define STRETCH_COUNT   16384 /* a power of two */
#define BYTES_MAX       ((size_t)16 << 20)
#define VERIFIED_MAX    65536
#define COLUMN_CELL     (sizeof(int64_t) + sizeof(double))
#define STRETCH_MIX     UINT64_C(0x9e3779b97f4a7c15)
#define STRETCH_MIX_TWO UINT64_C(0xbf58476d1ce4e5b9)

void sealed_init(struct sealed *sealed, struct tsdb *db) {
    *sealed = (struct sealed){ .db = db, .parts_txn_id = SIZE_MAX };
    run_cache_init(&sealed->cache);
}

static struct sealed_stretch *stretch_of(struct sealed *sealed, uint64_t id, int64_t window) {
    if (sealed->stretches == NULL) {
        sealed->stretches = mem_calloc(STRETCH_COUNT, sizeof(sealed->stretches[0]));
    }
    uint64_t mixed = (id * STRETCH_MIX) ^ ((uint64_t)window * STRETCH_MIX_TWO);
    mixed ^= mixed >> 29;
    mixed *= STRETCH_MIX;
    return &sealed->stretches[mixed >> 50];
}

static void give_back(struct sealed *sealed, struct sealed_stretch *stretch) {
    sealed->bytes -= stretch->column.cap * COLUMN_CELL;
    tsdb_column_finish(&stretch->column);
    stretch->id = 0;
}

void sealed_finish(struct sealed *sealed) {
    for (size_t i = 0; sealed->bytes > 0; i++) { /* most slots were never touched */
        give_back(sealed, &sealed->stretches[i]);
    }
    mem_free(sealed->stretches);
    store_row_finish(&sealed->row);
    run_cache_finish(&sealed->cache);
    mem_free(sealed->parts);
}

/* Stay within BYTES_MAX, at the cost of whose turn it is. */
static void make_room(struct sealed *sealed, const struct sealed_stretch *kept) {
    while (sealed->bytes > BYTES_MAX) {
        struct sealed_stretch *stretch = &sealed->stretches[sealed->hand];
        sealed->hand = (sealed->hand + 1) % STRETCH_COUNT;
        if (stretch != kept) {
            give_back(sealed, stretch);
        } else if (sealed->bytes == stretch->column.cap * COLUMN_CELL) {
            break;
        }
    }
}

/* The widest stretch around t_ms: a gap between chunks, or the chunks over it and those they
 * overlap with. False: t_ms lies in a gap. */
static bool find_bounds(const struct store_row *row,
                        int64_t t_ms,
                        int64_t *first_ms,
                        int64_t *last_ms) {
    bool is_covered = false;
    for (size_t i = 0; i < row->count; i++) {
        const struct chunk_ref *ref = &row->refs[i];
        if (ref->t_min_ms > t_ms) {
            if (!is_covered && ref->t_min_ms <= *last_ms) {
                *last_ms = ref->t_min_ms - 1;
            }
        } else if (ref->t_max_ms < t_ms) {
            if (!is_covered && ref->t_max_ms >= *first_ms) {
                *first_ms = ref->t_max_ms + 1;
            }
        } else if (!is_covered) {
            is_covered = true;
            *first_ms = ref->t_min_ms;
            *last_ms = ref->t_max_ms;
        } else {
            *first_ms = ref->t_min_ms < *first_ms ? ref->t_min_ms : *first_ms;
            *last_ms = ref->t_max_ms > *last_ms ? ref->t_max_ms : *last_ms;
        }
    }
    return is_covered;
}

struct load {
    const struct sealed *sealed;
    const struct sealed_stretch *stretch;
};

/* Damage is noted; what it hides is not found. */
static bool tolerate(void *ctx,
                     enum damage_kind kind,
                     int64_t t_ms,
                     struct err *what,
                     struct err *err) {
    const struct load *load = ctx;
    err_wrap(what, "series %" PRIu64 " in window %" PRId64, load->stretch->id,
             load->stretch->window);
    damage_note(load->sealed->db, kind, what);
    return true;
}

static bool is_over(const struct part *part, int64_t window) {
    return part->window_first <= window && part->window_end > window;
}

static bool list_parts(struct sealed *sealed, MDB_txn *txn, struct err *err) {
    size_t txn_id = mdb_txn_id(txn);
    if (sealed->parts_txn_id == txn_id) {
        return true;
    }
    mem_free(sealed->parts);
    sealed->parts = NULL;
    sealed->parts_txn_id = SIZE_MAX;
    if (!part_list(&sealed->db->store, txn, INT64_MIN, INT64_MAX, &sealed->parts,
                   &sealed->part_count, err)) {
        return false;
    }
    sealed->parts_txn_id = txn_id;
    if (sealed->cache.verified.count >= VERIFIED_MAX) {
        u64map_reset(&sealed->cache.verified);
    }
    return true;
}

/* How far around t_ms everything shall be known. False: nothing is sealed there. */
static bool choose_stretch(struct sealed *sealed,
                           MDB_txn *txn,
                           struct sealed_stretch *stretch,
                           int64_t t_ms,
                           struct err *err) {
    const struct part *only = NULL;
    size_t count = 0;
    for (size_t i = 0; i < sealed->part_count; i++) {
        if (is_over(&sealed->parts[i], stretch->window)) {
            only = &sealed->parts[i];
            count++;
        }
    }
    if (count == 0) {
        return false;
    }
    if (count > 1 || only->is_merged) {
        int64_t block_ms = sealed->db->head.block_ms;
        if (__builtin_mul_overflow(stretch->window, block_ms, &stretch->first_ms)) {
            stretch->first_ms = INT64_MIN; /* the first window of all begins before that */
        }
        if (__builtin_mul_overflow(stretch->window + 1, block_ms, &stretch->last_ms)) {
            stretch->last_ms = INT64_MAX;
        } else {
            stretch->last_ms--;
        }
        return true;
    }
    bool found;
    if (!store_get_row(&sealed->db->store, txn, stretch->window, stretch->id, &sealed->row, &found,
                       err)) {
        return err->code == ERR_CORRUPT; /* reading meets it again, and tells */
    }
    store_row_drop_below(&sealed->row, only->stats.segment_floor);
    return found && find_bounds(&sealed->row, t_ms, &stretch->first_ms, &stretch->last_ms);
}

/* Fill the stretch with what is sealed around t_ms. */
static void load(struct sealed *sealed,
                 MDB_txn *txn,
                 struct sealed_stretch *stretch,
                 int64_t t_ms) {
    struct err err = ERR_INIT;
    struct tsdb_column *column = &stretch->column;
    column->count = 0;
    stretch->first_ms = INT64_MIN;
    stretch->last_ms = INT64_MAX;
    if (!list_parts(sealed, txn, &err) || !choose_stretch(sealed, txn, stretch, t_ms, &err)) {
        return;
    }
    struct load context = { .sealed = sealed, .stretch = stretch };
    size_t cap_before = column->cap;
    for (size_t i = 0; i < sealed->part_count; i++) {
        struct part_read read = {
            .store = &sealed->db->store,
            .txn = txn,
            .part = &sealed->parts[i],
            .id = stretch->id,
            .t_min_ms = stretch->first_ms,
            .t_max_ms = stretch->last_ms,
            .cache = &sealed->cache,
            .damaged = tolerate,
            .ctx = &context,
        };
        if (is_over(read.part, stretch->window) && !part_read(&read, column, &err)) {
            break; /* never: see tolerate() */
        }
    }
    column_sort(column, 0);
    sealed->bytes += (column->cap - cap_before) * COLUMN_CELL;
    make_room(sealed, stretch);
}

bool sealed_find(struct sealed *sealed,
                 MDB_txn *txn,
                 uint64_t id,
                 int64_t t_ms,
                 uint64_t *ret_value_bits) {
    assert(id != 0);
    int64_t window = i64_floor_div(t_ms, sealed->db->head.block_ms);
    struct sealed_stretch *stretch = stretch_of(sealed, id, window);
    size_t txn_id = mdb_txn_id(txn);
    bool is_known = stretch->id == id && stretch->window == window && stretch->txn_id == txn_id &&
                    t_ms >= stretch->first_ms && t_ms <= stretch->last_ms;
    if (!is_known) {
        stretch->id = id;
        stretch->window = window;
        stretch->txn_id = txn_id;
        load(sealed, txn, stretch, t_ms);
    }
    const struct tsdb_column *column = &stretch->column;
    size_t low = 0;
    size_t high = column->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (column->t_ms[middle] < t_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == column->count || column->t_ms[low] != t_ms) {
        return false;
    }
    *ret_value_bits = double_bits(column->values[low]);
    return true;
}
