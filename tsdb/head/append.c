/*
 * Samples in the head: appending to open chunks, snapshots of them, and the list of closed ones.
 *
 * Chunks. A chunk is a header and a ring of equal blocks: growing never copies, blocks that become
 * free fit every other chunk, and what a series wastes is half a block. The first chunk of a series
 * in a window is cut at a length of its own, so that not all series fill and seal at once.
 *
 * Snapshots. A series remembers how many samples the newest commit that touched it brought (fresh,
 * lsn_last). That serves every reader but those that have been open for longer than one commit;
 * while such readers exist, older (lsn, count) pairs are kept in `history`, a small slab block of
 * its own: one per snapshot that is open, since commits between which none ends count together.
 */
#include <assert.h>

#include "tsdb/head/head.h"

#define BLOCK_BYTES     28
#define SHORT_COUNT_MIN 32 /* of a chunk that is cut early */

struct block {
    uint32_t next;
    uint8_t bytes[BLOCK_BYTES];
};

static_assert(sizeof(struct chunk) == sizeof(struct block), "one size of slab block for both");

struct history_entry {
    uint64_t lsn;
    uint32_t count;
};

struct history {
    uint32_t count;
    uint32_t cap;
    struct history_entry entries[]; /* oldest first */
};

#define HISTORY_ENTRIES_MAX \
    ((SLAB_BYTES_MAX - sizeof(struct history)) / sizeof(struct history_entry))

/* One before, between and behind each. */
static_assert(HISTORY_ENTRIES_MAX > READER_SLOTS_MAX + 1, "a history has room for every snapshot");

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
    assert(old == NULL || cap > old->cap);
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

/* Join the entries between which no snapshot ends. */
static void compact_history(struct history *history, const struct snapshots *snapshots) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < history->count; i++) {
        struct history_entry entry = history->entries[i];
        if (entry.lsn <= snapshots->lsns[0]) {
            continue; /* everybody sees it */
        }
        if (kept > 0 && !snapshots_between(snapshots, history->entries[kept - 1].lsn, entry.lsn)) {
            history->entries[kept - 1].lsn = entry.lsn;
            history->entries[kept - 1].count += entry.count;
        } else {
            history->entries[kept++] = entry;
        }
    }
    history->count = kept;
}

/* Before the first append of another commit: keep what the snapshots open now need. */
static void push_history(struct slab *slab,
                         struct series *series,
                         const struct snapshots *snapshots) {
    if (snapshots == NULL || snapshots->count == 0 || series->lsn_last <= snapshots->lsns[0]) {
        forget_history(slab, series);
        return;
    }
    struct history *history = series->history == 0 ? NULL : slab_at(slab, series->history);
    if (history != NULL) {
        compact_history(history, snapshots);
    }
    if (history == NULL || history->count == history->cap) {
        grow_history(slab, series);
        history = slab_at(slab, series->history);
    }
    history->entries[history->count++] = (struct history_entry){
        .lsn = series->lsn_last,
        .count = series->fresh,
    };
}

/* Samples of commits after `lsn`. */
static uint64_t hidden_count(const struct slab *slab, const struct series *series, uint64_t lsn) {
    if (series->lsn_last <= lsn) {
        return 0;
    }
    uint64_t count = series->fresh;
    if (series->history != 0) {
        const struct history *history = slab_at(slab, series->history);
        for (uint32_t i = history->count; i > 0 && history->entries[i - 1].lsn > lsn; i--) {
            count += history->entries[i - 1].count;
        }
    }
    return count;
}

/* ---- the ring of chunks ---- */

static const struct chunk *oldest_chunk(const struct slab *slab, const struct series *series) {
    if (series->chunks == 0) {
        return NULL;
    }
    const struct chunk *newest = slab_at(slab, series->chunks);
    return slab_at(slab, newest->next);
}

static const struct chunk *next_chunk(const struct slab *slab,
                                      const struct series *series,
                                      const struct chunk *chunk) {
    return chunk == slab_at(slab, series->chunks) ? NULL : slab_at(slab, chunk->next);
}

static uint64_t visible_count(const struct slab *slab, const struct series *series, uint64_t lsn) {
    uint64_t count = 0;
    for (const struct chunk *chunk = oldest_chunk(slab, series); chunk != NULL;
         chunk = next_chunk(slab, series, chunk)) {
        count += chunk->count;
    }
    uint64_t hidden = hidden_count(slab, series, lsn);
    return hidden < count ? count - hidden : 0;
}

const struct chunk *head_oldest_locked(struct head *head,
                                       uint32_t handle,
                                       const struct series *series) {
    return oldest_chunk(&head_stripe(head, handle)->chunks, series);
}

const struct chunk *head_next_locked(struct head *head,
                                     uint32_t handle,
                                     const struct series *series,
                                     const struct chunk *chunk) {
    return next_chunk(&head_stripe(head, handle)->chunks, series, chunk);
}

uint64_t head_visible_locked(struct head *head,
                             uint32_t handle,
                             const struct series *series,
                             uint64_t lsn) {
    return visible_count(&head_stripe(head, handle)->chunks, series, lsn);
}

/* ---- streams ---- */

/* Room left behind the stream without another block. */
static size_t room(const struct chunk *chunk) {
    size_t len = chunk->len;
    if (len <= CHUNK_INLINE_BYTES) {
        return CHUNK_INLINE_BYTES - len;
    }
    size_t used = (len - CHUNK_INLINE_BYTES) % BLOCK_BYTES;
    return used == 0 ? 0 : BLOCK_BYTES - used;
}

static void add_block(struct slab *slab, struct chunk *chunk) {
    uint32_t handle = slab_alloc(slab, sizeof(struct block));
    struct block *block = slab_at(slab, handle);
    block->next = handle;
    if (chunk->tail != 0) {
        struct block *tail = slab_at(slab, chunk->tail);
        block->next = tail->next;
        tail->next = handle;
    }
    chunk->tail = handle;
}

/* The byte `at` of the newest block, or of the header while that is all there is. */
static uint8_t *stream_at(struct slab *slab, struct chunk *chunk, size_t at) {
    if (at < CHUNK_INLINE_BYTES) {
        return &chunk->bytes[at];
    }
    struct block *tail = slab_at(slab, chunk->tail);
    return &tail->bytes[(at - CHUNK_INLINE_BYTES) % BLOCK_BYTES];
}

static void put_bytes(struct slab *slab, struct chunk *chunk, const uint8_t *bytes, size_t len) {
    while (len > 0) {
        size_t part = room(chunk);
        if (part == 0) {
            add_block(slab, chunk);
            part = BLOCK_BYTES;
        }
        part = part < len ? part : len;
        memcpy(stream_at(slab, chunk, chunk->len), bytes, part);
        chunk->len = (uint16_t)(chunk->len + part);
        bytes += part;
        len -= part;
    }
}

static void copy_stream(const struct slab *slab, const struct chunk *chunk, uint8_t *out) {
    size_t part = chunk->len < CHUNK_INLINE_BYTES ? chunk->len : CHUNK_INLINE_BYTES;
    memcpy(out, chunk->bytes, part);
    const struct block *block = chunk->tail == 0 ? NULL : slab_at(slab, chunk->tail);
    for (size_t at = part; at < chunk->len; at += part) {
        block = slab_at(slab, block->next);
        part = chunk->len - at < BLOCK_BYTES ? chunk->len - at : BLOCK_BYTES;
        memcpy(out + at, block->bytes, part);
    }
}

void head_copy_stream_locked(struct head *head,
                             uint32_t handle,
                             const struct chunk *chunk,
                             uint8_t *out) {
    copy_stream(&head_stripe(head, handle)->chunks, chunk, out);
}

static void free_chunk(struct slab *slab, uint32_t handle) {
    const struct chunk *chunk = slab_at(slab, handle);
    uint32_t block = chunk->tail;
    if (block != 0) {
        do {
            uint32_t next = ((const struct block *)slab_at(slab, block))->next;
            slab_free(slab, block, sizeof(struct block));
            block = next;
        } while (block != chunk->tail);
    }
    slab_free(slab, handle, sizeof(struct chunk));
}

/* ---- appending ---- */

static void start_chunk(struct head *head,
                        struct slab *slab,
                        const struct head_entry *entry,
                        bool is_short) {
    struct series *series = entry->series;
    uint32_t handle = slab_alloc(slab, sizeof(struct chunk));
    struct chunk *chunk = slab_at(slab, handle);
    *chunk = (struct chunk){
        .next = handle,
        .epoch = head->epoch,
        .t_first_ms = entry->t_ms,
        .is_open = true,
        .is_short = is_short,
    };
    if (series->chunks != 0) {
        struct chunk *newest = slab_at(slab, series->chunks);
        chunk->next = newest->next;
        newest->next = handle;
    }
    series->chunks = handle;
    head->open_count++;
    uint8_t token[TOKEN_BYTES_MAX];
    struct token_state state = { .last = entry->last, .exponent = entry->exponent };
    put_bytes(slab, chunk, token, (size_t)(token_put_state(state, token) - token));
    chunk->count = 1;
}

static void close_chunk(struct head *head, struct chunk *chunk) {
    assert(chunk->is_open);
    chunk->is_open = false;
    head->open_count--;
    head->closed_count++;
    head->closed_bytes += chunk->len;
}

void head_close_chunk_locked(struct head *head, uint32_t handle, struct series *series) {
    close_chunk(head, slab_at(&head_stripe(head, handle)->chunks, series->chunks));
}

static uint32_t count_limit(const struct chunk *chunk, uint32_t handle) {
    if (!chunk->is_short) {
        return CHUNK_SAMPLES_MAX;
    }
    uint32_t mixed = handle * UINT32_C(2654435761) >> 16;
    return SHORT_COUNT_MIN + mixed % (CHUNK_SAMPLES_MAX - SHORT_COUNT_MIN);
}

static bool is_full(const struct chunk *chunk, uint32_t handle) {
    return chunk->count >= count_limit(chunk, handle) ||
           chunk->len + TOKEN_BYTES_MAX + TOKEN_TIME_BYTES_MAX > CHUNK_STREAM_BYTES_MAX;
}

static void append_step(struct slab *slab, struct chunk *chunk, const struct head_entry *entry) {
    int64_t step = i64_sub(entry->t_ms, entry->t_before_ms);
    int64_t step_before = chunk->count == 1 ? 0 : (int64_t)entry->step_before_ms;
    bool is_regular = step == step_before;
    bool is_repeat = entry->token_len == 1 && entry->token[0] == TOKEN_RUN_FIRST;
    chunk->count++;
    if (is_regular && is_repeat && chunk->is_run) {
        uint8_t *run = stream_at(slab, chunk, chunk->len - 1U);
        (*run)++;
        chunk->is_run = *run < TOKEN_RUN_LAST;
        return;
    }
    uint8_t bytes[TOKEN_TIME_BYTES_MAX + TOKEN_BYTES_MAX];
    uint8_t *end = bytes;
    if (!is_regular) {
        end = token_put_time(i64_sub(step, step_before), end);
    }
    memcpy(end, entry->token, entry->token_len);
    end += entry->token_len;
    put_bytes(slab, chunk, bytes, (size_t)(end - bytes));
    chunk->is_run = is_repeat;
}

void head_append_locked(struct head *head,
                        const struct head_entry *entry,
                        uint64_t lsn,
                        const struct snapshots *snapshots) {
    struct series *series = entry->series;
    struct slab *slab = &head_stripe(head, entry->handle)->chunks;
    assert(lsn >= series->lsn_last);
    if (series->lsn_last != lsn) {
        push_history(slab, series, snapshots);
        series->fresh = 0;
        series->lsn_last = lsn;
    }
    series->fresh++;
    series->is_pending = false;
    if (entry->t_ms < series->t_first_ms) {
        series->t_first_ms = entry->t_ms;
    }
    struct chunk *chunk = series->chunks == 0 ? NULL : slab_at(slab, series->chunks);
    bool is_new_window =
        chunk == NULL || head_window(head, entry->t_ms) != head_window(head, chunk->t_first_ms);
    bool is_far = (uint64_t)entry->t_ms - (uint64_t)entry->t_before_ms > UINT32_MAX;
    if (!is_new_window && !is_far && chunk->is_open && !is_full(chunk, entry->handle)) {
        append_step(slab, chunk, entry);
        return;
    }
    if (chunk != NULL && chunk->is_open) {
        close_chunk(head, chunk);
    }
    start_chunk(head, slab, entry, is_new_window);
}

void head_drop_oldest_locked(struct head *head, uint32_t handle, struct series *series) {
    struct slab *slab = &head_stripe(head, handle)->chunks;
    struct chunk *newest = slab_at(slab, series->chunks);
    uint32_t oldest_handle = newest->next;
    const struct chunk *oldest = slab_at(slab, oldest_handle);
    assert(!oldest->is_open);
    head->closed_count--;
    head->closed_bytes -= oldest->len;
    if (oldest_handle == series->chunks) {
        series->chunks = 0;
        forget_history(slab, series);
    } else {
        newest->next = oldest->next;
    }
    free_chunk(slab, oldest_handle);
}

/* ---- reading ---- */

static void read_chunk(const struct slab *slab,
                       const struct chunk *chunk,
                       size_t count,
                       const struct head_read *read,
                       struct tsdb_column *column) {
    uint8_t bytes[CHUNK_STREAM_BYTES_MAX];
    copy_stream(slab, chunk, bytes);
    struct chunk_view view = {
        .codec = CHUNK_STREAM,
        .bytes = bytes,
        .len = chunk->len,
        .count = count,
        .t_min_ms = chunk->t_first_ms,
    };
    if (!column_decode(column, &view, read->t_min_ms, read->t_max_ms)) {
        BUG("a chunk in memory does not decode: %zu samples in %zu bytes", view.count, view.len);
    }
}

static void read_locked(struct head *head,
                        const struct series *series,
                        const struct head_read *read,
                        struct tsdb_column *column,
                        int64_t *ret_t_first_ms) {
    const struct slab *slab = &head_stripe(head, read->handle)->chunks;
    const struct chunk *chunk = oldest_chunk(slab, series);
    if (chunk == NULL) {
        return;
    }
    *ret_t_first_ms = chunk->t_first_ms;
    uint64_t left = visible_count(slab, series, read->lsn);
    while (chunk != NULL && left > 0 && chunk->t_first_ms <= read->t_max_ms) {
        const struct chunk *next = next_chunk(slab, series, chunk);
        size_t count = left < chunk->count ? (size_t)left : chunk->count;
        left -= count;
        /* The next one begins after this one's last sample. */
        if (next == NULL || next->t_first_ms > read->t_min_ms) {
            read_chunk(slab, chunk, count, read, column);
        }
        chunk = next;
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

/* A series that came back from the store may have lost its newest sample's row. */
static int64_t t_last_or_max(const struct series *series) {
    int64_t t_last_ms = atomic_load_explicit(&series->t_last_ms, memory_order_relaxed);
    return t_last_ms == INT64_MIN ? INT64_MAX : t_last_ms;
}

bool head_has_in_range(struct head *head,
                       uint32_t handle,
                       const struct series *series,
                       const struct head_read *read) {
    struct head_stripe *stripe = head_stripe(head, handle);
    pthread_mutex_lock(&stripe->lock);
    bool has = series->t_first_ms != INT64_MAX && series->t_first_ms <= read->t_max_ms &&
               t_last_or_max(series) >= read->t_min_ms;
    if (has) {
        const struct chunk *oldest = oldest_chunk(&stripe->chunks, series);
        bool has_sealed = oldest == NULL || series->t_first_ms < oldest->t_first_ms;
        has = has_sealed || visible_count(&stripe->chunks, series, read->lsn) > 0;
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
    /* The newest may be one that is being committed: then this is looked at again. */
    int64_t t_last_ms = atomic_load_explicit(&series->t_last_ms, memory_order_relaxed);
    int64_t t_first_ms = t_last_ms >= t_after_ms ? t_after_ms : INT64_MAX;
    const struct chunk *oldest = oldest_chunk(&stripe->chunks, series);
    if (oldest != NULL && oldest->t_first_ms < t_first_ms) {
        t_first_ms = oldest->t_first_ms;
    }
    series->t_first_ms = t_first_ms;
    pthread_mutex_unlock(&stripe->lock);
}
