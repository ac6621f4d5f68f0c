/* The series table of the head: find, insert, leave. Samples are in append.c. */
#include "tsdb/head/head.h"

#include <assert.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/sync.h"

#define SHARD_SLOTS_MIN 64

/* Slots in use at most, and how the table grows, so that it is about three quarters full. */
#define SHARD_IS_FULL(count, slot_count) (8 * (uint64_t)(count) >= 7 * (uint64_t)(slot_count))
#define SHARD_GROWN(slot_count)          ((slot_count) + (slot_count) / 4)
#define SHARD_IS_SPARSE(count, slot_count) \
    ((slot_count) > 2 * SHARD_SLOTS_MIN && 3 * (uint64_t)(count) < (uint64_t)(slot_count))

void head_init(struct head *head, int64_t block_ms, uint64_t series_max) {
    memset(head, 0, sizeof(*head));
    readers_init(&head->readers);
    random_bytes(&head->seed, sizeof(head->seed));
    head->block_ms = block_ms;
    head->series_max = series_max;
    head->pages = mem_calloc(HEAD_PAGE_COUNT_MAX, sizeof(head->pages[0]));
    head->handle_end = 1;
    head->id_next = 1;
    for (size_t i = 0; i < HEAD_SHARD_COUNT; i++) {
        head->shards[i].slot_count = SHARD_SLOTS_MIN;
        head->shards[i].slots = mem_calloc(SHARD_SLOTS_MIN, sizeof(uint64_t));
    }
    epochs_init(&head->epochs);
    head_begin_epoch(head, 1);
    rwlock_init(&head->index_lock);
    index_init(&head->index, head->seed, &head->readers);
    for (size_t i = 0; i < HEAD_STRIPE_COUNT; i++) {
        pthread_mutex_init(&head->stripes[i].lock, NULL);
        slab_init(&head->stripes[i].chunks);
    }
}

void head_finish(struct head *head) {
    if (head->pages == NULL) {
        return;
    }
    for (uint32_t i = 0; i <= (head->handle_end - 1) >> HEAD_PAGE_SHIFT; i++) {
        mem_free(head->pages[i]);
    }
    mem_free(head->pages);
    for (size_t i = 0; i < HEAD_SHARD_COUNT; i++) {
        mem_free(head->shards[i].slots);
    }
    epochs_finish(&head->epochs);
    index_finish(&head->index);
    pthread_rwlock_destroy(&head->index_lock);
    for (size_t i = 0; i < HEAD_STRIPE_COUNT; i++) {
        slab_finish(&head->stripes[i].chunks);
        pthread_mutex_destroy(&head->stripes[i].lock);
    }
    head->pages = NULL;
}

/* ---- look-up ---- */

uint64_t head_hash(const struct head *head, struct labels labels) {
    uint64_t hash = head->seed;
    for (size_t i = 0; i < labels.count; i++) {
        hash = hash_bytes_seeded(labels.items[i].name, hash);
        hash = hash_bytes_seeded(labels.items[i].value, hash);
    }
    return hash;
}

struct series *head_at(struct head *head, uint32_t handle) {
    struct series *page =
        atomic_load_explicit(&head->pages[handle >> HEAD_PAGE_SHIFT], memory_order_acquire);
    if (page == NULL) {
        return NULL;
    }
    struct series *series = &page[handle & (HEAD_PAGE_SERIES - 1)];
    return RACE_LOAD(&series->id) == 0 ? NULL : series;
}

struct series *head_series(struct head *head, series_ref_t ref) {
    struct series *series = head_at(head, ref_handle(ref));
    return series != NULL && (uint32_t)RACE_LOAD(&series->id) == (uint32_t)(ref >> 32) ? series
                                                                                       : NULL;
}

uint64_t head_ref_id(struct head *head, series_ref_t ref) {
    uint64_t next = head->id_next;
    uint64_t id = (next & ~UINT64_C(0xffffffff)) | ref >> 32;
    return id >= next ? id - (UINT64_C(1) << 32) : id;
}

static struct head_shard *shard_of(struct head *head, uint64_t hash) {
    return &head->shards[hash % HEAD_SHARD_COUNT];
}

/* Slots ascend with the tag, so that a rebuilt table is filled from front to back. */
static uint32_t first_slot(const struct head_shard *shard, uint32_t tag) {
    return (uint32_t)((uint64_t)tag * shard->slot_count >> 32);
}

static uint32_t next_slot(const struct head_shard *shard, uint32_t slot) {
    return slot + 1 == shard->slot_count ? 0 : slot + 1;
}

static series_ref_t find_locked(struct head *head,
                                const struct head_shard *shard,
                                struct labels labels,
                                uint64_t hash) {
    uint32_t tag = (uint32_t)(hash >> 32);
    for (uint32_t i = first_slot(shard, tag);; i = next_slot(shard, i)) {
        uint64_t slot = shard->slots[i];
        if (slot == 0) {
            return 0;
        }
        if ((uint32_t)(slot >> 32) != tag) {
            continue;
        }
        struct series *series = head_at(head, (uint32_t)slot);
        if (series != NULL && index_labels_equal(&head->index, series->labels, labels)) {
            return ref_make(series->id, (uint32_t)slot);
        }
    }
}

static series_ref_t use_locked(struct head *head, struct labels labels, uint64_t hash) {
    series_ref_t ref = find_locked(head, shard_of(head, hash), labels, hash);
    if (ref != 0) {
        struct series *series = head_at(head, ref_handle(ref));
        atomic_store_explicit(&series->touched, (uint16_t)head->round, memory_order_relaxed);
    }
    return ref;
}

series_ref_t head_find(struct head *head, struct labels labels, uint64_t hash) {
    pthread_rwlock_rdlock(&head->index_lock);
    series_ref_t ref = use_locked(head, labels, hash);
    pthread_rwlock_unlock(&head->index_lock);
    return ref;
}

series_ref_t head_find_quiet(struct head *head, struct labels labels, uint64_t hash) {
    pthread_rwlock_rdlock(&head->index_lock);
    series_ref_t ref = find_locked(head, shard_of(head, hash), labels, hash);
    pthread_rwlock_unlock(&head->index_lock);
    return ref;
}

static void prefetch_slot(struct head *head, uint64_t hash) {
    const struct head_shard *shard = shard_of(head, hash);
    __builtin_prefetch(&shard->slots[first_slot(shard, (uint32_t)(hash >> 32))]);
}

void head_find_all(struct head *head, struct head_newcomer *newcomers, size_t count) {
    pthread_rwlock_rdlock(&head->index_lock);
    for (size_t i = 0; i < count; i++) {
        newcomers[i].hash = head_hash(head, newcomers[i].labels);
        prefetch_slot(head, newcomers[i].hash);
    }
    for (size_t i = 0; i < count; i++) {
        newcomers[i].ref = use_locked(head, newcomers[i].labels, newcomers[i].hash);
    }
    pthread_rwlock_unlock(&head->index_lock);
}

/* ---- insert ---- */

static void put_slot(struct head_shard *shard, uint64_t slot) {
    uint32_t i = first_slot(shard, (uint32_t)(slot >> 32));
    while (shard->slots[i] != 0) {
        i = next_slot(shard, i);
    }
    shard->slots[i] = slot;
    shard->count++;
}

/* Move the entries into a table of `slot_count` slots; series that left took theirs along. */
static void rebuild_shard(struct head_shard *shard, uint32_t slot_count) {
    uint64_t *old = shard->slots;
    uint32_t old_count = shard->slot_count;
    shard->slots = mem_calloc(slot_count, sizeof(uint64_t));
    shard->slot_count = slot_count;
    shard->count = 0;
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i] != 0) {
            put_slot(shard, old[i]);
        }
    }
    mem_free(old);
}

static struct series *new_series(struct head *head, uint32_t handle) {
    uint32_t number = handle >> HEAD_PAGE_SHIFT;
    struct series *page = atomic_load_explicit(&head->pages[number], memory_order_relaxed);
    if (page == NULL) {
        page = mem_calloc_aligned(sizeof(*page), HEAD_PAGE_SERIES * sizeof(*page));
        atomic_store_explicit(&head->pages[number], page, memory_order_release);
    }
    return &page[handle & (HEAD_PAGE_SERIES - 1)];
}

static void raise_id_next(struct head *head, uint64_t id) {
    uint64_t next = head->id_next;
    while (next <= id && !atomic_compare_exchange_weak(&head->id_next, &next, id + 1)) {
    }
}

/* The index is locked for writing. */
static series_ref_t insert_locked(struct head *head, const struct head_newcomer *newcomer) {
    struct head_shard *shard = shard_of(head, newcomer->hash);
    series_ref_t found = find_locked(head, shard, newcomer->labels, newcomer->hash);
    if (found != 0) {
        return found;
    }
    uint32_t handle = head->handle_end;
    if (handle == UINT32_MAX) {
        BUG("more than 2^32 series since the start");
    }
    uint64_t id = newcomer->id;
    if (id == 0) {
        id = head->id_next++;
    } else {
        raise_id_next(head, id);
    }
    struct series *series = new_series(head, handle);
    series->labels = index_add(&head->index, handle, newcomer->labels);
    series->is_defined = newcomer->is_defined;
    series->is_stored = newcomer->is_stored;
    series->exponent = TOKEN_NONE;
    series->t_last_ms = INT64_MIN;
    if (newcomer->has_last) {
        series_set_last(series, newcomer->t_last_ms, newcomer->value_last_bits);
    }
    RACE_STORE(&series->t_first_ms, newcomer->t_first_ms);
    atomic_store_explicit(&series->touched, (uint16_t)head->round, memory_order_relaxed);
    RACE_STORE(&series->id, id);
    head->handle_end = handle + 1;
    if (SHARD_IS_FULL(shard->count + 1, shard->slot_count)) {
        rebuild_shard(shard, SHARD_GROWN(shard->slot_count));
    }
    put_slot(shard, (newcomer->hash & ~UINT64_C(0xffffffff)) | handle);
    head->series_count++;
    return ref_make(id, handle);
}

series_ref_t head_insert(struct head *head, const struct head_newcomer *newcomer) {
    pthread_rwlock_wrlock(&head->index_lock);
    series_ref_t ref = insert_locked(head, newcomer);
    pthread_rwlock_unlock(&head->index_lock);
    return ref;
}

void head_insert_all(struct head *head, struct head_newcomer *newcomers, size_t count) {
    pthread_rwlock_wrlock(&head->index_lock);
    for (size_t i = 0; i < count; i++) {
        if (newcomers[i].ref == 0) {
            newcomers[i].ref = insert_locked(head, &newcomers[i]);
        }
    }
    pthread_rwlock_unlock(&head->index_lock);
}

/* ---- leave ---- */

static void remove_slot(struct head_shard *shard, uint32_t tag, uint32_t handle) {
    uint64_t slot = (uint64_t)tag << 32 | handle;
    uint32_t hole = first_slot(shard, tag);
    while (shard->slots[hole] != slot) {
        hole = next_slot(shard, hole);
    }
    /* Those that were pushed behind it move up. */
    uint32_t count = shard->slot_count;
    for (uint32_t i = next_slot(shard, hole); shard->slots[i] != 0; i = next_slot(shard, i)) {
        uint32_t home = first_slot(shard, (uint32_t)(shard->slots[i] >> 32));
        uint32_t from_home = i >= home ? i - home : i + count - home;
        uint32_t from_hole = i >= hole ? i - hole : i + count - hole;
        if (from_home >= from_hole) {
            shard->slots[hole] = shard->slots[i];
            hole = i;
        }
    }
    shard->slots[hole] = 0;
    shard->count--;
}

/* The labels stay as they are: the caller holds apply, under which alone series leave. */
static uint64_t hash_of(struct head *head, const struct series *series) {
    struct label items[LABELS_COUNT_MAX];
    struct labels labels = { .items = items };
    pthread_rwlock_rdlock(&head->index_lock);
    labels.count = index_labels(&head->index, series->labels, items);
    uint64_t hash = head_hash(head, labels);
    pthread_rwlock_unlock(&head->index_lock);
    return hash;
}

bool head_evict(struct head *head,
                uint32_t handle,
                bool (*may_leave)(void *ctx, struct series *series, uint32_t handle),
                void *ctx) {
    struct series *series = head_at(head, handle);
    if (series == NULL) {
        return false;
    }
    uint64_t hash = hash_of(head, series);
    struct head_shard *shard = shard_of(head, hash);
    struct head_stripe *stripe = head_stripe(head, handle);
    pthread_rwlock_wrlock(&head->index_lock);
    pthread_mutex_lock(&stripe->lock);
    bool leaves = may_leave(ctx, series, handle);
    if (leaves) {
        assert(series->chunks == 0 && series->history == 0);
        remove_slot(shard, (uint32_t)(hash >> 32), handle);
        if (SHARD_IS_SPARSE(shard->count, shard->slot_count)) {
            rebuild_shard(shard, shard->slot_count / 2);
        }
        /* No handle comes twice: the rest of the struct means nothing from now on. The id goes
         * first, by it readers know that the labels do not hold any more. */
        RACE_STORE(&series->id, 0);
        index_remove(&head->index, handle, series->labels);
        head->series_count--;
    }
    pthread_mutex_unlock(&stripe->lock);
    pthread_rwlock_unlock(&head->index_lock);
    return leaves;
}

void head_free_page(struct head *head, uint32_t number) {
    if (number >= head->handle_end >> HEAD_PAGE_SHIFT || head->pages[number] == NULL) {
        return; /* it can get more, or is gone */
    }
    pthread_rwlock_wrlock(&head->index_lock);
    struct series *page = head->pages[number];
    bool is_empty = page != NULL;
    for (size_t i = 0; is_empty && i < HEAD_PAGE_SERIES; i++) {
        is_empty = page[i].id == 0;
    }
    if (is_empty) {
        head->pages[number] = NULL;
        retire(&head->index.garbage, page);
    }
    pthread_rwlock_unlock(&head->index_lock);
}
