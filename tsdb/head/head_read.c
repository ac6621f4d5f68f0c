/*
 * Reading the samples of the head without a lock. A look copies what it needs and then asks whether
 * the series' version is still the one it began with; if not, it begins again. Before a handle is
 * followed the version is asked, too, so that it was good when it was read; memory of the slab
 * never goes away, so following it later finds some bytes, which are thrown away. A reader waits
 * for nobody but for a writer in the middle of one change.
 */
#include <sched.h>

#include "tsdb/head/chunks.h"

#define SPINS_MAX 64 /* then let the writer run */

struct look {
    struct head *head;
    uint32_t handle;
    const struct series *series;
    const struct slab *slab;
    uint32_t version;
};

static struct look look_at(struct head *head, uint32_t handle, const struct series *series) {
    struct look look = {
        .head = head,
        .handle = handle,
        .series = series,
        .slab = &head_stripe(head, handle)->chunks,
        .version = RACE_LOAD(head_version(head, handle)),
    };
    for (unsigned spins = 1; (look.version & 1) != 0; spins++) {
        if (spins % SPINS_MAX == 0) {
            sched_yield();
        }
        look.version = RACE_LOAD(head_version(head, handle));
    }
    return look;
}

static bool is_good(const struct look *look) {
    return RACE_LOAD(head_version(look->head, look->handle)) == look->version;
}

/* ---- chunks ---- */

/* The oldest chunk, NULL when there is none. False: look again. */
static bool oldest_chunk(const struct look *look, const struct chunk **ret) {
    uint32_t newest = RACE_LOAD(&look->series->chunks);
    *ret = NULL;
    if (!is_good(look)) {
        return false;
    }
    if (newest == 0) {
        return true;
    }
    const struct chunk *chunk = slab_at(look->slab, newest);
    uint32_t oldest = RACE_LOAD(&chunk->next);
    if (!is_good(look)) {
        return false;
    }
    *ret = slab_at(look->slab, oldest);
    return true;
}

/* The one after it, NULL when there is none. */
static bool next_chunk(const struct look *look, const struct chunk **chunk) {
    uint32_t newest = RACE_LOAD(&look->series->chunks);
    uint32_t next = RACE_LOAD(&(*chunk)->next);
    if (!is_good(look)) {
        return false;
    }
    *chunk = *chunk == slab_at(look->slab, newest) ? NULL : slab_at(look->slab, next);
    return true;
}

/* Samples of commits after `lsn`. */
static bool hidden_count(const struct look *look, uint64_t lsn, uint64_t *ret) {
    *ret = 0;
    if (RACE_LOAD(&look->series->lsn_last) <= lsn) {
        return is_good(look);
    }
    *ret = RACE_LOAD(&look->series->fresh);
    uint32_t handle = RACE_LOAD(&look->series->history);
    if (!is_good(look) || handle == 0) {
        return is_good(look);
    }
    const struct history *history = slab_at(look->slab, handle);
    uint32_t count = RACE_LOAD(&history->count);
    if (!is_good(look)) {
        return false;
    }
    for (uint32_t i = count; i > 0 && RACE_LOAD(&history->entries[i - 1].lsn) > lsn; i--) {
        *ret += RACE_LOAD(&history->entries[i - 1].count);
    }
    return is_good(look);
}

static bool visible_count(const struct look *look, uint64_t lsn, uint64_t *ret) {
    const struct chunk *chunk;
    uint64_t hidden;
    uint64_t count = 0;
    if (!oldest_chunk(look, &chunk)) {
        return false;
    }
    while (chunk != NULL) {
        count += RACE_LOAD(&chunk->count);
        if (!next_chunk(look, &chunk)) {
            return false;
        }
    }
    if (!hidden_count(look, lsn, &hidden)) {
        return false;
    }
    *ret = hidden < count ? count - hidden : 0;
    return true;
}

uint64_t head_visible(struct head *head,
                      uint32_t handle,
                      const struct series *series,
                      uint64_t lsn) {
    uint64_t count;
    for (struct look look = look_at(head, handle, series); !visible_count(&look, lsn, &count);) {
        look = look_at(head, handle, series);
    }
    return count;
}

/* ---- streams ---- */

static void copy_bytes(uint8_t *to, const uint8_t *from, size_t count) {
    for (size_t i = 0; i < count; i++) {
        to[i] = RACE_LOAD(&from[i]);
    }
}

/* The first `len` bytes of the stream. */
static bool copy_stream(const struct look *look,
                        const struct chunk *chunk,
                        size_t len,
                        uint8_t *out) {
    size_t part = len < CHUNK_INLINE_BYTES ? len : CHUNK_INLINE_BYTES;
    copy_bytes(out, chunk->bytes, part);
    uint32_t handle = RACE_LOAD(&chunk->tail);
    for (size_t at = part; at < len; at += part) {
        if (!is_good(look)) {
            return false;
        }
        const struct chunk_block *block = slab_at(look->slab, handle);
        if (at == CHUNK_INLINE_BYTES) { /* the newest: the first follows it */
            handle = RACE_LOAD(&block->next);
            if (!is_good(look)) {
                return false;
            }
            block = slab_at(look->slab, handle);
        }
        part = len - at < CHUNK_BLOCK_BYTES ? len - at : CHUNK_BLOCK_BYTES;
        copy_bytes(out + at, block->bytes, part);
        handle = RACE_LOAD(&block->next);
    }
    return is_good(look);
}

/* Its first `count` samples. */
static bool read_chunk(const struct look *look,
                       const struct chunk *chunk,
                       size_t count,
                       const struct head_read *read,
                       struct tsdb_column *column) {
    uint8_t UNINITIALIZED bytes[CHUNK_STREAM_BYTES_MAX];
    struct chunk_view view = {
        .codec = CHUNK_STREAM,
        .bytes = bytes,
        .len = RACE_LOAD(&chunk->len),
        .count = count,
        .t_min_ms = RACE_LOAD(&chunk->t_first_ms),
    };
    if (!is_good(look) || !copy_stream(look, chunk, view.len, bytes)) {
        return false;
    }
    if (!column_decode(column, &view, read->t_min_ms, read->t_max_ms)) {
        BUG("a chunk in memory does not decode: %zu samples in %zu bytes", view.count, view.len);
    }
    return true;
}

static bool read_series(const struct look *look,
                        const struct head_read *read,
                        struct tsdb_column *column,
                        int64_t *ret_t_first_ms) {
    const struct chunk *chunk;
    uint64_t left;
    if (!visible_count(look, read->lsn, &left) || !oldest_chunk(look, &chunk)) {
        return false;
    }
    *ret_t_first_ms = chunk == NULL ? INT64_MAX : RACE_LOAD(&chunk->t_first_ms);
    while (chunk != NULL && left > 0 && RACE_LOAD(&chunk->t_first_ms) <= read->t_max_ms) {
        const struct chunk *next = chunk;
        size_t count = RACE_LOAD(&chunk->count);
        count = left < count ? (size_t)left : count;
        left -= count;
        if (!next_chunk(look, &next)) {
            return false;
        }
        /* The next one begins after this one's last sample. */
        if ((next == NULL || RACE_LOAD(&next->t_first_ms) > read->t_min_ms) &&
            !read_chunk(look, chunk, count, read, column)) {
            return false;
        }
        chunk = next;
    }
    return is_good(look);
}

void head_read(struct head *head,
               const struct head_read *read,
               struct tsdb_column *column,
               int64_t *ret_t_first_ms) {
    size_t had = column->count;
    bool is_done = false;
    *ret_t_first_ms = INT64_MAX;
    const struct series *series = head_at(head, read->handle);
    while (!is_done && series != NULL && RACE_LOAD(&series->id) == read->id) {
        struct look look = look_at(head, read->handle, series);
        column->count = had;
        *ret_t_first_ms = INT64_MAX;
        is_done = read_series(&look, read, column, ret_t_first_ms);
    }
    if (!is_done) { /* it left */
        column->count = had;
        *ret_t_first_ms = INT64_MAX;
    }
}

/* A series that came back from the store may have lost its newest sample's row. */
static int64_t t_last_or_max(const struct series *series) {
    int64_t t_last_ms = atomic_load_explicit(&series->t_last_ms, memory_order_relaxed);
    return t_last_ms == INT64_MIN ? INT64_MAX : t_last_ms;
}

static bool has_in_range(const struct look *look, const struct head_read *read, bool *ret) {
    const struct series *series = look->series;
    const struct chunk *oldest;
    int64_t t_first_ms = RACE_LOAD(&series->t_first_ms);
    *ret = t_first_ms != INT64_MAX && t_first_ms <= read->t_max_ms &&
           t_last_or_max(series) >= read->t_min_ms;
    if (!*ret) {
        return is_good(look);
    }
    if (!oldest_chunk(look, &oldest)) {
        return false;
    }
    uint64_t visible;
    if (oldest == NULL || t_first_ms < RACE_LOAD(&oldest->t_first_ms)) {
        return is_good(look); /* some are sealed */
    }
    if (!visible_count(look, read->lsn, &visible)) {
        return false;
    }
    *ret = visible > 0;
    return is_good(look);
}

bool head_has_in_range(struct head *head,
                       uint32_t handle,
                       const struct series *series,
                       const struct head_read *read) {
    bool has;
    for (struct look look = look_at(head, handle, series); !has_in_range(&look, read, &has);) {
        look = look_at(head, handle, series);
    }
    return has;
}
