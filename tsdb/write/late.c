/*
 * Judging late samples: see late.h. A sample may be known in four places, asked in this order: the
 * group that is being judged, the head's chunks, the side, the store. What is sealed meanwhile
 * leaves the head or the side only after the store has it, so the store is asked last, in a
 * transaction that is renewed when the store changed.
 */
#include "tsdb/write/late.h"

#include <assert.h>

#include "base/mem.h"
#include "tsdb/parts/sealed.h"

#define SEEN_SLOTS_FIRST 1024
#define SEEN_SLOTS_KEPT  65536 /* of an idle table */

/* A sample of the group; handle 0: free. */
struct seen_slot {
    int64_t t_ms;
    uint64_t value_bits;
    uint32_t handle;
};

struct seen {
    struct seen_slot *slots;
    size_t slot_count; /* a power of two */
    size_t count;
};

struct late {
    struct tsdb *db;
    struct seen seen;
    struct sealed sealed;
    struct tsdb_column scratch;
    MDB_txn *txn; /* of the store; NULL: none */
};

struct late *late_create(struct tsdb *db) {
    struct late *late = mem_calloc(1, sizeof(*late));
    late->db = db;
    sealed_init(&late->sealed, db);
    return late;
}

void late_destroy(struct late *late) {
    assert(late->txn == NULL);
    mem_free(late->seen.slots);
    sealed_finish(&late->sealed);
    tsdb_column_finish(&late->scratch);
    mem_free(late);
}

/* ---- what the group accepted ---- */

static struct seen_slot *seen_slot(const struct seen *seen, uint32_t handle, int64_t t_ms) {
    uint64_t mixed = ((uint64_t)t_ms ^ ((uint64_t)handle << 32)) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ (mixed >> 32)) * UINT64_C(0xbf58476d1ce4e5b9);
    for (size_t at = (size_t)(mixed >> 20);; at++) {
        struct seen_slot *slot = &seen->slots[at & (seen->slot_count - 1)];
        if (slot->handle == 0 || (slot->handle == handle && slot->t_ms == t_ms)) {
            return slot;
        }
    }
}

static void seen_grow(struct seen *seen) {
    struct seen old = *seen;
    seen->slot_count = old.slot_count == 0 ? SEEN_SLOTS_FIRST : old.slot_count * 2;
    seen->slots = mem_calloc(seen->slot_count, sizeof(seen->slots[0]));
    for (size_t i = 0; i < old.slot_count; i++) {
        if (old.slots[i].handle != 0) {
            *seen_slot(seen, old.slots[i].handle, old.slots[i].t_ms) = old.slots[i];
        }
    }
    mem_free(old.slots);
}

void late_note(struct late *late, uint32_t handle, struct sample sample) {
    struct seen *seen = &late->seen;
    if (2 * (seen->count + 1) > seen->slot_count) {
        seen_grow(seen);
    }
    *seen_slot(seen, handle, sample.t_ms) = (struct seen_slot){
        .handle = handle,
        .t_ms = sample.t_ms,
        .value_bits = double_bits(sample.value),
    };
    seen->count++;
}

static bool find_in_group(const struct late *late,
                          uint32_t handle,
                          int64_t t_ms,
                          uint64_t *ret_value_bits) {
    if (late->seen.count == 0) {
        return false;
    }
    const struct seen_slot *slot = seen_slot(&late->seen, handle, t_ms);
    *ret_value_bits = slot->value_bits;
    return slot->handle != 0;
}

void late_end_group(struct late *late) {
    struct seen *seen = &late->seen;
    if (seen->slot_count > SEEN_SLOTS_KEPT) {
        mem_free(seen->slots);
        *seen = (struct seen){ 0 };
    } else if (seen->count > 0) {
        memset(seen->slots, 0, seen->slot_count * sizeof(seen->slots[0]));
        seen->count = 0;
    }
    if (late->txn != NULL) {
        env_read_end(&late->db->store.env, late->txn);
        late->txn = NULL;
    }
}

/* ---- the head, the side, the store ---- */

static bool find_in_head(struct late *late,
                         const struct series *series,
                         uint32_t handle,
                         int64_t t_ms,
                         uint64_t *ret_value_bits) {
    struct head_read read = {
        .handle = handle,
        .id = series->id,
        .lsn = UINT64_MAX,
        .t_min_ms = t_ms,
        .t_max_ms = t_ms,
    };
    int64_t t_first_ms;
    late->scratch.count = 0;
    head_read(&late->db->head, &read, &late->scratch, &t_first_ms);
    if (late->scratch.count > 0) {
        *ret_value_bits = double_bits(late->scratch.values[0]);
    }
    return late->scratch.count > 0;
}

/* A transaction that sees everything committed up to now; false when there is none to be had. */
static bool renew_txn(struct late *late) {
    struct env *env = &late->db->store.env;
    struct err err = ERR_INIT;
    if (late->txn != NULL) {
        MDB_envinfo info;
        if (mdb_env_info(env->mdb, &info) == 0 && info.me_last_txnid == mdb_txn_id(late->txn)) {
            return true;
        }
        env_read_end(env, late->txn);
        late->txn = NULL;
    }
    return env_read_begin(env, &late->txn, &err);
}

static bool find_in_store(struct late *late, uint64_t id, int64_t t_ms, uint64_t *ret_value_bits) {
    if (!renew_txn(late)) {
        late->txn = NULL;
        return false;
    }
    return sealed_find(&late->sealed, late->txn, id, t_ms, ret_value_bits);
}

enum tsdb_outcome late_judge(struct late *late,
                             const struct series *series,
                             uint32_t handle,
                             struct sample sample) {
    struct tsdb *db = late->db;
    uint64_t bits;
    if (find_in_group(late, handle, sample.t_ms, &bits) ||
        find_in_head(late, series, handle, sample.t_ms, &bits) ||
        side_find(&db->side, handle, sample.t_ms, &bits) ||
        find_in_store(late, series->id, sample.t_ms, &bits)) {
        return bits == double_bits(sample.value) ? TSDB_DUPLICATE : TSDB_CONFLICT;
    }
    int64_t window_ms = db->out_of_order_ms;
    bool is_allowed = window_ms == TSDB_OUT_OF_ORDER_ANY ||
                      (window_ms > 0 && sample.t_ms >= i64_sub_sat(series->t_last_ms, window_ms));
    return is_allowed ? TSDB_ACCEPTED : TSDB_OUT_OF_ORDER;
}

/* ---- after a restart ---- */

struct sealed_check {
    struct sealed sealed;
    struct head *head;
    MDB_txn *txn;
};

static bool is_sealed(void *ctx, uint32_t handle, struct side_sample sample) {
    struct sealed_check *check = ctx;
    uint64_t bits;
    const struct series *series = head_at(check->head, handle);
    return series != NULL &&
           sealed_find(&check->sealed, check->txn, series->id, sample.t_ms, &bits);
}

void late_drop_sealed(struct tsdb *db, MDB_txn *store_txn) {
    struct sealed_check check = { .head = &db->head, .txn = store_txn };
    sealed_init(&check.sealed, db);
    side_filter(&db->side, is_sealed, &check);
    sealed_finish(&check.sealed);
}
