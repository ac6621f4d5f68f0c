/* Where the head's memory is. */
#include "tsdb/db.h"

static uint64_t slab_area_bytes(const struct slab *slab) {
    return (uint64_t)slab->area_count << (SLAB_AREA_SHIFT + 3);
}

static uint64_t posting_bytes(const struct index *index) {
    uint64_t bytes = 0;
    for (uint32_t i = 1; i < index->pair_count; i++) {
        bytes += index->pairs[i].name == 0 ? 0 : handles_bytes(&index->pairs[i].handles);
    }
    return bytes;
}

static void measure_index(struct head *head, struct tsdb_memory *ret) {
    pthread_rwlock_rdlock(&head->index_lock);
    const struct index *index = &head->index;
    for (size_t i = 0; i < HEAD_SHARD_COUNT; i++) {
        ret->table_bytes += head->shards[i].slot_count * sizeof(uint64_t);
    }
    for (uint32_t i = 0; i <= (head->handle_end - 1) >> HEAD_PAGE_SHIFT; i++) {
        ret->series_bytes += head->pages[i] == NULL ? 0 : HEAD_PAGE_SERIES * sizeof(struct series);
    }
    ret->label_bytes = slab_area_bytes(&index->labels);
    ret->posting_bytes = posting_bytes(index);
    ret->symbol_bytes = slab_area_bytes(&index->strings) +
                        index->symbol_cap * sizeof(index->symbols[0]) +
                        index->pair_cap * sizeof(index->pairs[0]) +
                        4 * ((uint64_t)index->symbol_table.slots->mask +
                             index->pair_table.slots->mask + index->pair_count);
    pthread_rwlock_unlock(&head->index_lock);
}

void tsdb_memory(struct tsdb *db, struct tsdb_memory *ret) {
    struct head *head = &db->head;
    *ret = (struct tsdb_memory){ 0 };
    measure_index(head, ret);
    for (size_t i = 0; i < HEAD_STRIPE_COUNT; i++) {
        struct head_stripe *stripe = &head->stripes[i];
        pthread_mutex_lock(&stripe->lock);
        ret->chunk_bytes += stripe->chunks.bytes_live;
        ret->chunk_free_bytes += slab_area_bytes(&stripe->chunks) - stripe->chunks.bytes_live;
        pthread_mutex_unlock(&stripe->lock);
    }
    for (size_t i = 0; i < ALIAS_SHARD_COUNT; i++) {
        struct alias_shard *shard = &db->aliases[i];
        pthread_rwlock_rdlock(&shard->lock);
        ret->alias_bytes += shard->slot_count * sizeof(shard->entries[0]);
        pthread_rwlock_unlock(&shard->lock);
    }
}
