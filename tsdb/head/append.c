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
#include "tsdb/head/chunks.h"

#define SHORT_COUNT_MIN 32 /* of a chunk that is cut early */

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
        uint32_t handle = series->history;
        RACE_STORE(&series->history, 0);
        slab_free(slab, handle, history_bytes(history->cap));
    }
}

static void put_entry(struct history *history, uint32_t at, struct history_entry entry) {
    RACE_STORE(&history->entries[at].lsn, entry.lsn);
    RACE_STORE(&history->entries[at].count, entry.count);
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
    uint32_t count = old == NULL ? 0 : old->count;
    for (uint32_t i = 0; i < count; i++) {
        put_entry(bigger, i, old->entries[i]);
    }
    RACE_STORE(&bigger->cap, cap);
    RACE_STORE(&bigger->count, count);
    forget_history(slab, series);
    RACE_STORE(&series->history, handle);
}

/* Join the entries between which no snapshot ends. */
static void compact_history(struct history *history, const struct snapshots *snapshots) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < history->count; i++) {
        struct history_entry entry = history->entries[i];
        if (entry.lsn <= snapshots->lsns[0]) {
            continue; /* everybody sees it */
        }
        const struct history_entry *before = kept == 0 ? NULL : &history->entries[kept - 1];
        if (before != NULL && !snapshots_between(snapshots, before->lsn, entry.lsn)) {
            entry.count += before->count;
            kept--;
        }
        put_entry(history, kept++, entry);
    }
    RACE_STORE(&history->count, kept);
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
    put_entry(history, history->count,
              (struct history_entry){ .lsn = series->lsn_last, .count = series->fresh });
    RACE_STORE(&history->count, history->count + 1);
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

/* ---- streams ---- */

/* Room left behind the stream without another block. */
static size_t room(const struct chunk *chunk) {
    size_t len = chunk->len;
    if (len <= CHUNK_INLINE_BYTES) {
        return CHUNK_INLINE_BYTES - len;
    }
    size_t used = (len - CHUNK_INLINE_BYTES) % CHUNK_BLOCK_BYTES;
    return used == 0 ? 0 : CHUNK_BLOCK_BYTES - used;
}

static void add_block(struct slab *slab, struct chunk *chunk) {
    uint32_t handle = slab_alloc(slab, sizeof(struct chunk_block));
    struct chunk_block *block = slab_at(slab, handle);
    if (chunk->tail == 0) {
        RACE_STORE(&block->next, handle);
    } else {
        struct chunk_block *tail = slab_at(slab, chunk->tail);
        RACE_STORE(&block->next, tail->next);
        RACE_STORE(&tail->next, handle);
    }
    RACE_STORE(&chunk->tail, handle);
}

/* The byte `at` of the newest block, or of the header while that is all there is. */
static uint8_t *stream_at(struct slab *slab, struct chunk *chunk, size_t at) {
    if (at < CHUNK_INLINE_BYTES) {
        return &chunk->bytes[at];
    }
    struct chunk_block *tail = slab_at(slab, chunk->tail);
    return &tail->bytes[(at - CHUNK_INLINE_BYTES) % CHUNK_BLOCK_BYTES];
}

static void put_bytes(struct slab *slab, struct chunk *chunk, const uint8_t *bytes, size_t len) {
    while (len > 0) {
        size_t part = room(chunk);
        if (part == 0) {
            add_block(slab, chunk);
            part = CHUNK_BLOCK_BYTES;
        }
        part = part < len ? part : len;
        uint8_t *place = stream_at(slab, chunk, chunk->len);
        for (size_t i = 0; i < part; i++) {
            RACE_STORE(&place[i], bytes[i]);
        }
        RACE_STORE(&chunk->len, (uint16_t)(chunk->len + part));
        bytes += part;
        len -= part;
    }
}

static void copy_stream(const struct slab *slab, const struct chunk *chunk, uint8_t *out) {
    size_t part = chunk->len < CHUNK_INLINE_BYTES ? chunk->len : CHUNK_INLINE_BYTES;
    memcpy(out, chunk->bytes, part);
    const struct chunk_block *block = chunk->tail == 0 ? NULL : slab_at(slab, chunk->tail);
    for (size_t at = part; at < chunk->len; at += part) {
        block = slab_at(slab, block->next);
        part = chunk->len - at < CHUNK_BLOCK_BYTES ? chunk->len - at : CHUNK_BLOCK_BYTES;
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
            uint32_t next = ((const struct chunk_block *)slab_at(slab, block))->next;
            slab_free(slab, block, sizeof(struct chunk_block));
            block = next;
        } while (block != chunk->tail);
    }
    slab_free(slab, handle, sizeof(struct chunk));
}

/* ---- appending ---- */

static void set_flags(struct chunk *chunk, uint8_t flags) {
    RACE_STORE(&chunk->flags, flags);
}

static void start_chunk(struct head *head,
                        struct slab *slab,
                        const struct head_entry *entry,
                        bool is_short) {
    struct series *series = entry->series;
    uint32_t handle = slab_alloc(slab, sizeof(struct chunk));
    struct chunk *chunk = slab_at(slab, handle);
    uint32_t oldest = handle;
    struct chunk *newest = series->chunks == 0 ? NULL : slab_at(slab, series->chunks);
    if (newest != NULL) {
        oldest = newest->next;
        RACE_STORE(&newest->next, handle);
    }
    RACE_STORE(&chunk->next, oldest);
    RACE_STORE(&chunk->tail, 0);
    RACE_STORE(&chunk->epoch, head->epoch);
    RACE_STORE(&chunk->count, 0);
    RACE_STORE(&chunk->len, 0);
    RACE_STORE(&chunk->t_first_ms, entry->t_ms);
    set_flags(chunk, is_short ? CHUNK_OPEN | CHUNK_SHORT : CHUNK_OPEN);
    RACE_STORE(&series->chunks, handle);
    head->open_count++;
    uint8_t token[TOKEN_BYTES_MAX];
    struct token_state state = { .last = entry->last, .exponent = entry->exponent };
    put_bytes(slab, chunk, token, (size_t)(token_put_state(state, token) - token));
    RACE_STORE(&chunk->count, 1);
}

static void close_chunk(struct head *head, struct chunk *chunk) {
    assert(chunk_is_open(chunk));
    set_flags(chunk, (uint8_t)(chunk->flags & ~CHUNK_OPEN));
    head->open_count--;
    head->closed_count++;
    head->closed_bytes += chunk->len;
}

void head_close_chunk_locked(struct head *head, uint32_t handle, struct series *series) {
    close_chunk(head, slab_at(&head_stripe(head, handle)->chunks, series->chunks));
}

static uint32_t count_limit(const struct chunk *chunk, uint32_t handle) {
    if ((chunk->flags & CHUNK_SHORT) == 0) {
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
    uint8_t flags = (uint8_t)(chunk->flags & ~CHUNK_RUN);
    RACE_STORE(&chunk->count, (uint16_t)(chunk->count + 1));
    if (is_regular && is_repeat && (chunk->flags & CHUNK_RUN) != 0) {
        uint8_t *run = stream_at(slab, chunk, chunk->len - 1U);
        RACE_STORE(run, (uint8_t)(*run + 1));
        set_flags(chunk, *run < TOKEN_RUN_LAST ? (uint8_t)(flags | CHUNK_RUN) : flags);
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
    set_flags(chunk, is_repeat ? (uint8_t)(flags | CHUNK_RUN) : flags);
}

static void append(struct head *head, const struct head_entry *entry) {
    struct series *series = entry->series;
    struct slab *slab = &head_stripe(head, entry->handle)->chunks;
    struct chunk *chunk = series->chunks == 0 ? NULL : slab_at(slab, series->chunks);
    bool is_new_window =
        chunk == NULL || head_window(head, entry->t_ms) != head_window(head, chunk->t_first_ms);
    bool is_far = (uint64_t)entry->t_ms - (uint64_t)entry->t_before_ms > UINT32_MAX;
    if (!is_new_window && !is_far && chunk_is_open(chunk) && !is_full(chunk, entry->handle)) {
        append_step(slab, chunk, entry);
        return;
    }
    if (chunk != NULL && chunk_is_open(chunk)) {
        close_chunk(head, chunk);
    }
    start_chunk(head, slab, entry, is_new_window);
}

void head_append_locked(struct head *head,
                        const struct head_entry *entry,
                        uint64_t lsn,
                        const struct snapshots *snapshots) {
    struct series *series = entry->series;
    assert(lsn >= series->lsn_last);
    head_begin_change(head, entry->handle);
    if (series->lsn_last != lsn) {
        push_history(&head_stripe(head, entry->handle)->chunks, series, snapshots);
        RACE_STORE(&series->fresh, 0);
        RACE_STORE(&series->lsn_last, lsn);
    }
    RACE_STORE(&series->fresh, series->fresh + 1);
    series->is_pending = false;
    if (entry->t_ms < series->t_first_ms) {
        RACE_STORE(&series->t_first_ms, entry->t_ms);
    }
    append(head, entry);
    head_end_change(head, entry->handle);
}

void head_drop_oldest_locked(struct head *head, uint32_t handle, struct series *series) {
    struct slab *slab = &head_stripe(head, handle)->chunks;
    struct chunk *newest = slab_at(slab, series->chunks);
    uint32_t oldest_handle = newest->next;
    const struct chunk *oldest = slab_at(slab, oldest_handle);
    assert(!chunk_is_open(oldest));
    head->closed_count--;
    head->closed_bytes -= oldest->len;
    head_begin_change(head, handle);
    if (oldest_handle == series->chunks) {
        RACE_STORE(&series->chunks, 0);
        forget_history(slab, series);
    } else {
        RACE_STORE(&newest->next, oldest->next);
    }
    free_chunk(slab, oldest_handle);
    head_end_change(head, handle);
}

/* ---- coverage ---- */

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
    head_begin_change(head, handle);
    RACE_STORE(&series->t_first_ms, t_first_ms);
    head_end_change(head, handle);
    pthread_mutex_unlock(&stripe->lock);
}
