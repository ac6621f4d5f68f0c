/*
 * Slots of readers, and memory kept for them; see readers.h.
 *
 * Why opening needs no lock: the reader shows its snapshot first and then looks whether it is still
 * the newest; a writer takes visible_lsn first and then looks at the slots. Whoever misses the
 * other's word is seen by it: a slot not met by a writer ends up at that writer's visible_lsn or
 * later, which needs nothing of what that writer gives up. Epochs work in the same way.
 */
#include "tsdb/head/readers.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define STATE_FREE    UINT64_C(0)
#define STATE_CLAIMED UINT64_C(1) /* being opened: no snapshot yet */
#define STATE_ENDED   UINT64_MAX
#define STATE_OF(lsn) ((lsn) + 2)

void readers_init(struct readers *readers) {
    memset(readers, 0, sizeof(*readers));
    readers->epoch = 1;
}

static struct reader_slot *claim(struct readers *readers) {
    for (uint32_t i = 0; i < READER_SLOTS_MAX; i++) {
        struct reader_slot *reader = &readers->slots[i];
        uint64_t free = STATE_FREE;
        if (atomic_load_explicit(&reader->state, memory_order_relaxed) != STATE_FREE ||
            !atomic_compare_exchange_strong(&reader->state, &free, STATE_CLAIMED)) {
            continue;
        }
        uint32_t end = readers->end;
        while (end <= i && !atomic_compare_exchange_weak(&readers->end, &end, i + 1)) {
        }
        return reader;
    }
    return NULL;
}

struct reader_slot *readers_enter(struct readers *readers,
                                  const _Atomic uint64_t *visible_lsn,
                                  int64_t now_ns,
                                  uint64_t *ret_lsn) {
    struct reader_slot *reader = claim(readers);
    if (reader == NULL) {
        return NULL;
    }
    reader->since_ns = now_ns;
    uint64_t epoch = readers->epoch;
    for (uint64_t shown = 0; shown != epoch; epoch = readers->epoch) {
        shown = epoch;
        reader->epoch = shown;
    }
    uint64_t lsn = *visible_lsn;
    for (bool is_newest = false; !is_newest;) {
        reader->state = STATE_OF(lsn);
        uint64_t newest = *visible_lsn;
        is_newest = newest == lsn;
        lsn = newest;
    }
    *ret_lsn = lsn;
    return reader;
}

void readers_leave(struct reader_slot *reader) {
    reader->epoch = 0;
    reader->state = STATE_FREE;
}

bool reader_is_ended(const struct reader_slot *reader) {
    return reader->state == STATE_ENDED;
}

uint32_t readers_count(struct readers *readers) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < readers->end; i++) {
        count += readers->slots[i].state != STATE_FREE;
    }
    return count;
}

/* ---- snapshots ---- */

static bool has_snapshot(uint64_t state) {
    return state != STATE_FREE && state != STATE_CLAIMED && state != STATE_ENDED;
}

static int compare_lsns(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void readers_snapshots(struct readers *readers, struct snapshots *ret) {
    ret->count = 0;
    for (uint32_t i = 0; i < readers->end; i++) {
        uint64_t state = readers->slots[i].state;
        if (has_snapshot(state)) {
            ret->lsns[ret->count++] = state - STATE_OF(0);
        }
    }
    if (ret->count < 2) {
        return;
    }
    qsort(ret->lsns, ret->count, sizeof(ret->lsns[0]), compare_lsns);
    size_t kept = 1;
    for (size_t i = 1; i < ret->count; i++) {
        if (ret->lsns[i] != ret->lsns[kept - 1]) {
            ret->lsns[kept++] = ret->lsns[i];
        }
    }
    ret->count = kept;
}

bool snapshots_between(const struct snapshots *snapshots, uint64_t from, uint64_t to) {
    size_t low = 0;
    size_t high = snapshots->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (snapshots->lsns[middle] < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < snapshots->count && snapshots->lsns[low] < to;
}

uint64_t readers_floor(struct readers *readers, uint64_t visible_lsn) {
    uint64_t floor = visible_lsn;
    for (uint32_t i = 0; i < readers->end; i++) {
        uint64_t state = readers->slots[i].state;
        if (has_snapshot(state) && state - STATE_OF(0) < floor) {
            floor = state - STATE_OF(0);
        }
    }
    return floor;
}

uint32_t readers_end(struct readers *readers, uint64_t visible_lsn, int64_t before_ns) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < readers->end; i++) {
        struct reader_slot *reader = &readers->slots[i];
        uint64_t state = reader->state;
        if (has_snapshot(state) && state < STATE_OF(visible_lsn) && reader->since_ns <= before_ns) {
            /* Whoever opened the slot anew since has another, later snapshot. */
            count += atomic_compare_exchange_strong(&reader->state, &state, STATE_ENDED);
        }
    }
    return count;
}

/* ---- memory ---- */

uint64_t readers_epoch(struct readers *readers) {
    return atomic_fetch_add(&readers->epoch, 1);
}

/* A slot that is being opened shows its epoch before it looks at anything. */
uint64_t readers_epoch_floor(struct readers *readers) {
    uint64_t floor = UINT64_MAX;
    for (uint32_t i = 0; i < readers->end; i++) {
        uint64_t epoch = readers->slots[i].epoch;
        floor = epoch != 0 && epoch < floor ? epoch : floor;
    }
    return floor;
}

void retired_init(struct retired *retired, struct readers *readers) {
    *retired = (struct retired){ .readers = readers };
}

void retired_finish(struct retired *retired) {
    for (size_t i = 0; i < retired->count; i++) {
        mem_free(retired->items[i].memory);
    }
    mem_free(retired->items);
    *retired = (struct retired){ 0 };
}

void retire(struct retired *retired, void *memory) {
    if (memory == NULL) {
        return;
    }
    if (retired == NULL || retired->readers == NULL) {
        mem_free(memory);
        return;
    }
    retired->items =
        vec_grow(retired->items, &retired->cap, retired->count + 1, sizeof(retired->items[0]));
    retired->items[retired->count++] = (struct retired_item){
        .memory = memory,
        .epoch = readers_epoch(retired->readers),
    };
    if (retired->count >= retired->enough) {
        retired_release(retired);
        retired->enough = 2 * retired->count; /* not again and again while a reader stays */
    }
}

void retired_release(struct retired *retired) {
    if (retired->count == 0) {
        return;
    }
    uint64_t floor = readers_epoch_floor(retired->readers);
    size_t kept = 0;
    for (size_t i = 0; i < retired->count; i++) {
        if (retired->items[i].epoch < floor) {
            mem_free(retired->items[i].memory);
        } else {
            retired->items[kept++] = retired->items[i];
        }
    }
    retired->count = kept;
}
