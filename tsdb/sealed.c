/* Look-ups of sealed samples: see sealed.h. */
#include "tsdb/sealed.h"

#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"
#include "tsdb/bytes.h"

#define STRETCH_COUNT   16384 /* a power of two */
#define BYTES_MAX       ((size_t)16 << 20)
#define VERIFIED_MAX    65536
#define COLUMN_CELL     (sizeof(int64_t) + sizeof(double))
#define STRETCH_MIX     UINT64_C(0x9e3779b97f4a7c15)
#define STRETCH_MIX_TWO UINT64_C(0xbf58476d1ce4e5b9)

void sealed_init(struct sealed *sealed, struct tsdb *db) {
    *sealed = (struct sealed){ .db = db };
    u64map_init(&sealed->verified);
}

void sealed_finish(struct sealed *sealed) {
    for (size_t i = 0; sealed->stretches != NULL && i < STRETCH_COUNT; i++) {
        tsdb_column_finish(&sealed->stretches[i].column);
    }
    mem_free(sealed->stretches);
    store_row_finish(&sealed->row);
    u64map_finish(&sealed->verified);
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

static bool decode_ref(struct sealed *sealed,
                       MDB_txn *txn,
                       const struct sealed_stretch *stretch,
                       const struct chunk_ref *ref,
                       struct tsdb_column *column,
                       struct err *err) {
    struct chunk_view chunk;
    uint64_t ignored;
    bool is_verified = u64map_get(&sealed->verified, ref->segment, &ignored);
    if (!segment_get_chunk(&sealed->db->store, txn, stretch->window, stretch->id, ref, is_verified,
                           &chunk, err)) {
        return false;
    }
    if (chunk.count > CHUNK_SEALED_SAMPLES_MAX ||
        !column_decode(column, &chunk, INT64_MIN, INT64_MAX)) {
        return err_set(err, ERR_CORRUPT, "store: a chunk does not decode");
    }
    if (!is_verified) {
        if (sealed->verified.count >= VERIFIED_MAX) {
            u64map_reset(&sealed->verified);
        }
        u64map_put(&sealed->verified, ref->segment, 1);
    }
    return true;
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

static void note_damage(const struct sealed *sealed,
                        const struct sealed_stretch *stretch,
                        enum damage_kind kind,
                        struct err *err) {
    err_wrap(err, "series %" PRIu64 " in window %" PRId64, stretch->id, stretch->window);
    damage_note(sealed->db, kind, err);
    *err = (struct err)ERR_INIT;
}

/* Fill the stretch with what is sealed around t_ms. */
static void load(struct sealed *sealed,
                 MDB_txn *txn,
                 struct sealed_stretch *stretch,
                 int64_t t_ms) {
    struct err err = ERR_INIT;
    bool found;
    struct tsdb_column *column = &stretch->column;
    column->count = 0;
    stretch->first_ms = INT64_MIN;
    stretch->last_ms = INT64_MAX;
    if (!store_get_row(&sealed->db->store, txn, stretch->window, stretch->id, &sealed->row, &found,
                       &err)) {
        note_damage(sealed, stretch, DAMAGE_ROW, &err);
        return;
    }
    if (!found || !find_bounds(&sealed->row, t_ms, &stretch->first_ms, &stretch->last_ms)) {
        return;
    }
    size_t cap_before = column->cap;
    for (size_t i = 0; i < sealed->row.count; i++) {
        const struct chunk_ref *ref = &sealed->row.refs[i];
        bool is_near = ref->t_min_ms <= stretch->last_ms && ref->t_max_ms >= stretch->first_ms;
        if (is_near && !decode_ref(sealed, txn, stretch, ref, column, &err)) {
            note_damage(sealed, stretch, DAMAGE_SEGMENT, &err);
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
