/*
 * Samples in the head: appending to open chunks, snapshots of them, and the list of closed ones.
 *
 * Snapshots. A series remembers how many samples it had before the newest commit that touched it
 * (seq_before, lsn_last). That serves every reader but those that have been open for longer than
 * one commit; while such readers exist, older (lsn, seq before) pairs are kept in `history`, a
 * small slab block of its own, and forgotten at the first append after they closed. Counters wrap;
 * only differences within the unsealed chunks matter.
 */
#include <assert.h>

#include "tsdb/head.h"

#define PAYLOAD_BYTES_MIN 32

/* Worst case 120 × 20 bytes; a chunk is closed early when another sample might not fit a slab
 * block. */
#define PAYLOAD_BYTES_MAX (SLAB_BYTES_MAX - sizeof(struct chunk))

struct history_entry {
    uint64_t lsn;
    uint32_t seq_before;
};

struct history {
    uint32_t count;
    uint32_t cap;
    struct history_entry entries[]; /* oldest first */
};

#define HISTORY_ENTRIES_MAX \
    ((SLAB_BYTES_MAX - sizeof(struct history)) / sizeof(struct history_entry))

static size_t chunk_bytes(const struct chunk *chunk) {
    return sizeof(struct chunk) + chunk->payload_cap;
}

static size_t history_bytes(uint32_t cap) {
    return sizeof(struct history) + cap * sizeof(struct history_entry);
}

/* ---- history ---- */

static void forget_history(struct slab *slab, struct series *series) {
    if (series->history != 0) {
        const struct history *history = slab_at(slab, series->history);
        slab_free(slab, series->history, history_bytes(history->cap));
        series->history = 0;
    }
}

static void grow_history(struct slab *slab, struct series *series) {
    struct history *old = series->history == 0 ? NULL : slab_at(slab, series->history);
    uint32_t cap = old == NULL ? 2 : old->cap * 2;
    if (cap > HISTORY_ENTRIES_MAX) {
        cap = HISTORY_ENTRIES_MAX;
    }
    uint32_t handle = slab_alloc(slab, history_bytes(cap));
    struct history *bigger = slab_at(slab, handle);
    bigger->count = 0;
    bigger->cap = cap;
    if (old != NULL) {
        memcpy(bigger->entries, old->entries, old->count * sizeof(old->entries[0]));
        bigger->count = old->count;
        forget_history(slab, series);
    }
    series->history = handle;
}

/* Before the first append of commit `lsn`: keep what readers at or above lsn_floor still need. */
static void push_history(struct slab *slab, struct series *series, uint64_t lsn_floor) {
    if (series->lsn_last <= lsn_floor) {
        forget_history(slab, series);
        return;
    }
    struct history *history = series->history == 0 ? NULL : slab_at(slab, series->history);
    if (history != NULL) {
        uint32_t stale = 0;
        while (stale < history->count && history->entries[stale].lsn <= lsn_floor) {
            stale++;
        }
        history->count -= stale;
        memmove(history->entries, history->entries + stale,
                history->count * sizeof(history->entries[0]));
    }
    if (history == NULL || history->count == history->cap) {
        if (history != NULL && history->cap == HISTORY_ENTRIES_MAX) {
            /* A reader open for hundreds of commits: from here on it sees this series later. */
            history->count--;
            memmove(history->entries, history->entries + 1,
                    history->count * sizeof(history->entries[0]));
        } else {
            grow_history(slab, series);
            history = slab_at(slab, series->history);
        }
    }
    history->entries[history->count++] = (struct history_entry){
        .lsn = series->lsn_last,
        .seq_before = series->seq_before,
    };
}

/* How many samples (as a seq) a reader at `lsn` sees. */
static uint32_t visible_end(const struct slab *slab, const struct series *series, uint64_t lsn) {
    if (series->lsn_last <= lsn) {
        return series->seq_end;
    }
    uint32_t end = series->seq_before;
    if (series->history != 0) {
        const struct history *history = slab_at(slab, series->history);
        for (uint32_t i = history->count; i > 0 && history->entries[i - 1].lsn > lsn; i--) {
            end = history->entries[i - 1].seq_before;
        }
    }
    return end;
}

/* ---- chunks ---- */

static struct chunk *new_chunk(struct head *head,
                               struct slab *slab,
                               struct series *series,
                               int64_t t_ms,
                               uint64_t lsn) {
    size_t bytes = slab_block_bytes(sizeof(struct chunk) + PAYLOAD_BYTES_MIN);
    series->open = slab_alloc(slab, bytes);
    struct chunk *chunk = slab_at(slab, series->open);
    chunk->next = 0;
    chunk->seq_first = series->seq_end;
    chunk->lsn_first = lsn;
    chunk->lsn_last = lsn;
    chunk->t_first_ms = t_ms;
    chunk->payload_cap = (uint16_t)(bytes - sizeof(struct chunk));
    chunk_appender_init(&chunk->appender);
    head->open_count++;
    return chunk;
}

static struct chunk *grow_chunk(struct slab *slab, struct series *series, struct chunk *chunk) {
    size_t bytes = slab_block_bytes(chunk_bytes(chunk) + CHUNK_SAMPLE_BYTES_MAX);
    uint32_t handle = slab_alloc(slab, bytes);
    struct chunk *bigger = slab_at(slab, handle);
    memcpy(bigger, chunk, sizeof(*chunk) + chunk_byte_count(&chunk->appender));
    bigger->payload_cap = (uint16_t)(bytes - sizeof(struct chunk));
    slab_free(slab, series->open, chunk_bytes(chunk));
    series->open = handle;
    return bigger;
}

void head_close_chunk_locked(struct head *head, uint32_t handle, struct series *series) {
    assert(series->open != 0);
    struct slab *slab = &head_stripe(head, handle)->chunks;
    struct chunk *chunk = slab_at(slab, series->open);
    if (series->closed == 0) {
        chunk->next = series->open;
    } else {
        struct chunk *newest = slab_at(slab, series->closed);
        chunk->next = newest->next;
        newest->next = series->open;
    }
    series->closed = series->open;
    series->open = 0;
    head->open_count--;
    head->closed_count++;
    head->closed_bytes += chunk_byte_count(&chunk->appender);
}

static struct chunk *chunk_for(struct head *head,
                               uint32_t handle,
                               struct series *series,
                               int64_t t_ms,
                               uint64_t lsn) {
    struct slab *slab = &head_stripe(head, handle)->chunks;
    if (series->open != 0) {
        struct chunk *chunk = slab_at(slab, series->open);
        size_t need = chunk_byte_count(&chunk->appender) + CHUNK_SAMPLE_BYTES_MAX;
        bool is_full = chunk->appender.count == CHUNK_SAMPLES_MAX || need > PAYLOAD_BYTES_MAX;
        if (!is_full && head_window(head, t_ms) == head_window(head, chunk->t_first_ms)) {
            return need <= chunk->payload_cap ? chunk : grow_chunk(slab, series, chunk);
        }
        head_close_chunk_locked(head, handle, series);
    }
    return new_chunk(head, slab, series, t_ms, lsn);
}

void head_append_locked(struct head *head,
                        uint32_t handle,
                        struct series *series,
                        struct sample sample,
                        uint64_t lsn,
                        uint64_t lsn_floor) {
    assert(lsn >= series->lsn_last);
    struct slab *slab = &head_stripe(head, handle)->chunks;
    if (series->lsn_last != lsn) {
        push_history(slab, series, lsn_floor);
        series->seq_before = series->seq_end;
        series->lsn_last = lsn;
    }
    struct chunk *chunk = chunk_for(head, handle, series, sample.t_ms, lsn);
    chunk_append(&chunk->appender, chunk->payload, sample.t_ms, sample.value);
    chunk->lsn_last = lsn;
    series->seq_end++;
    series->t_newest_ms = sample.t_ms;
    if (sample.t_ms < series->t_first_ms) {
        series->t_first_ms = sample.t_ms;
    }
}

static const struct chunk *oldest_unsealed(const struct slab *slab, const struct series *series) {
    if (series->closed != 0) {
        const struct chunk *newest = slab_at(slab, series->closed);
        return slab_at(slab, newest->next);
    }
    return series->open == 0 ? NULL : slab_at(slab, series->open);
}

struct chunk *head_oldest_closed_locked(struct head *head, uint32_t handle, struct series *series) {
    if (series->closed == 0) {
        return NULL;
    }
    struct slab *slab = &head_stripe(head, handle)->chunks;
    const struct chunk *newest = slab_at(slab, series->closed);
    return slab_at(slab, newest->next);
}

void head_drop_oldest_locked(struct head *head, uint32_t handle, struct series *series) {
    struct slab *slab = &head_stripe(head, handle)->chunks;
    struct chunk *newest = slab_at(slab, series->closed);
    uint32_t oldest_handle = newest->next;
    struct chunk *oldest = slab_at(slab, oldest_handle);
    if (oldest_handle == series->closed) {
        series->closed = 0;
    } else {
        newest->next = oldest->next;
    }
    head->closed_count--;
    head->closed_bytes -= chunk_byte_count(&oldest->appender);
    slab_free(slab, oldest_handle, chunk_bytes(oldest));
    if (series->open == 0 && series->closed == 0) {
        forget_history(slab, series);
    }
}

uint64_t head_lsn_unsealed_locked(struct head *head, uint32_t handle, const struct series *series) {
    const struct chunk *oldest = oldest_unsealed(&head_stripe(head, handle)->chunks, series);
    return oldest == NULL ? UINT64_MAX : oldest->lsn_first;
}

/* ---- reading ---- */

static void read_chunk(const struct chunk *chunk,
                       uint32_t seq_limit,
                       const struct head_read *read,
                       struct tsdb_column *column) {
    uint32_t visible = seq_limit - chunk->seq_first;
    if ((int32_t)visible <= 0 || chunk->t_first_ms > read->t_max_ms ||
        chunk->appender.t_last_ms < read->t_min_ms) {
        return;
    }
    struct chunk_view view = {
        .codec = CHUNK_XOR,
        .bytes = chunk->payload,
        .len = chunk_byte_count(&chunk->appender),
        .count = visible < chunk->appender.count ? visible : chunk->appender.count,
    };
    if (!column_decode(column, &view, read->t_min_ms, read->t_max_ms)) {
        BUG("a chunk in memory does not decode: %zu samples in %zu bytes", view.count, view.len);
    }
}

static void read_locked(struct head *head,
                        struct series *series,
                        const struct head_read *read,
                        struct tsdb_column *column,
                        int64_t *ret_t_first_ms) {
    const struct slab *slab = &head_stripe(head, read->handle)->chunks;
    uint32_t limit = visible_end(slab, series, read->lsn);
    if (series->closed != 0) {
        const struct chunk *newest = slab_at(slab, series->closed);
        const struct chunk *chunk = slab_at(slab, newest->next);
        *ret_t_first_ms = chunk->t_first_ms;
        for (;; chunk = slab_at(slab, chunk->next)) {
            read_chunk(chunk, limit, read, column);
            if (chunk == newest) {
                break;
            }
        }
    }
    if (series->open != 0) {
        const struct chunk *open = slab_at(slab, series->open);
        if (series->closed == 0) {
            *ret_t_first_ms = open->t_first_ms;
        }
        read_chunk(open, limit, read, column);
    }
}

void head_read(struct head *head,
               const struct head_read *read,
               struct tsdb_column *column,
               int64_t *ret_t_first_ms) {
    *ret_t_first_ms = INT64_MAX;
    struct head_stripe *stripe = head_stripe(head, read->handle);
    pthread_rwlock_rdlock(&head->index_lock);
    struct series *series = head_at(head, read->handle);
    if (series != NULL && series->id == read->id) {
        pthread_mutex_lock(&stripe->lock);
        read_locked(head, series, read, column, ret_t_first_ms);
        pthread_mutex_unlock(&stripe->lock);
    }
    pthread_rwlock_unlock(&head->index_lock);
}

/* ---- coverage ---- */

bool head_has_in_range(struct head *head,
                       uint32_t handle,
                       const struct series *series,
                       const struct head_read *read) {
    struct head_stripe *stripe = head_stripe(head, handle);
    pthread_mutex_lock(&stripe->lock);
    bool has = series->t_first_ms != INT64_MAX && series->t_first_ms <= read->t_max_ms &&
               series->t_newest_ms >= read->t_min_ms;
    if (has) {
        const struct chunk *oldest = oldest_unsealed(&stripe->chunks, series);
        bool has_sealed = oldest == NULL || series->t_first_ms < oldest->t_first_ms;
        has = has_sealed || oldest->lsn_first <= read->lsn;
    }
    pthread_mutex_unlock(&stripe->lock);
    return has;
}

void head_cover(struct head *head, uint32_t handle, struct series *series, int64_t t_after_ms) {
    struct head_stripe *stripe = head_stripe(head, handle);
    pthread_mutex_lock(&stripe->lock);
    if (series->t_first_ms >= t_after_ms) {
        pthread_mutex_unlock(&stripe->lock);
        return;
    }
    int64_t t_first_ms = series->t_newest_ms >= t_after_ms ? t_after_ms : INT64_MAX;
    const struct chunk *oldest = oldest_unsealed(&stripe->chunks, series);
    if (oldest != NULL && oldest->t_first_ms < t_first_ms) {
        t_first_ms = oldest->t_first_ms;
    }
    series->t_first_ms = t_first_ms;
    pthread_mutex_unlock(&stripe->lock);
}
