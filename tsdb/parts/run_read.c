/* Reading runs, and the memory of readers. */
#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/head/head.h"
#include "tsdb/parts/part.h"
#include "tsdb/parts/run.h"
#include "tsdb/parts/run_format.h"

#define SEGMENTS_PER_PART_SHIFT 24 /* 16M segments of 32 KiB */
#define SEGMENTS_AHEAD          2

/* ---- the cache ---- */

void run_cache_init(struct run_cache *cache) {
    *cache = (struct run_cache){ 0 };
    u64map_init(&cache->verified);
}

static void free_decoded(struct run_decoded *slots) {
    for (size_t i = 0; slots != NULL && i < RUN_CACHE_SLOTS; i++) {
        mem_free(slots[i].cells);
    }
    mem_free(slots);
}

void run_cache_finish(struct run_cache *cache) {
    u64map_finish(&cache->verified);
    free_decoded(cache->times);
    free_decoded(cache->values);
    mem_free(cache->scratch);
    *cache = (struct run_cache){ 0 };
}

/* Numbers of window parts' segments and of merged parts come from one counter. */
static uint64_t segment_identity(int64_t place, uint64_t segment) {
    if (!part_is_merged(place)) {
        return segment << SEGMENTS_PER_PART_SHIFT;
    }
    return (uint64_t)i64_sub(place, INT64_MIN) << SEGMENTS_PER_PART_SHIFT | segment;
}

bool run_cache_is_verified(const struct run_cache *cache, int64_t place, uint64_t segment) {
    uint64_t ignored;
    return u64map_get(&cache->verified, segment_identity(place, segment), &ignored);
}

void run_cache_set_verified(struct run_cache *cache, int64_t place, uint64_t segment) {
    u64map_put(&cache->verified, segment_identity(place, segment), 1);
}

static void cache_prepare(struct run_cache *cache) {
    if (cache->times == NULL) {
        cache->times = mem_calloc(RUN_CACHE_SLOTS, sizeof(cache->times[0]));
        cache->values = mem_calloc(RUN_CACHE_SLOTS, sizeof(cache->values[0]));
        cache->scratch = mem_alloc(RUN_CHUNK_SAMPLES_MAX * sizeof(cache->scratch[0]));
    }
}

static struct run_decoded *slot_of(struct run_decoded *slots,
                                   int64_t place,
                                   uint32_t segment,
                                   uint32_t offset) {
    uint64_t mixed = (segment_identity(place, segment) << 16 | offset) ^ (uint64_t)place << 32;
    mixed *= UINT64_C(0x9e3779b97f4a7c15);
    return &slots[mixed >> 32 & (RUN_CACHE_SLOTS - 1)];
}

static bool slot_has(const struct run_decoded *slot,
                     int64_t place,
                     uint32_t segment,
                     uint32_t offset,
                     size_t count) {
    return slot->count == count && slot->place == place && slot->segment == segment &&
           slot->offset == offset;
}

/* Empty the slot for so many cells; slot_fill() when they are there. */
static void slot_clear(struct run_decoded *slot, size_t count) {
    static_assert(sizeof(slot->t_ms[0]) == sizeof(slot->values[0]), "cells of one size");
    if (slot->cap < count) {
        slot->cells = mem_realloc(slot->cells, count * sizeof(slot->t_ms[0]));
        slot->cap = count;
    }
    slot->count = 0;
}

static void slot_fill(struct run_decoded *slot,
                      int64_t place,
                      uint32_t segment,
                      uint32_t offset,
                      size_t count) {
    slot->place = place;
    slot->segment = segment;
    slot->offset = (uint16_t)offset;
    slot->count = (uint32_t)count;
}

/* ---- parsing ---- */

static bool corrupt(const struct run_read *read, uint64_t segment, struct err *err) {
    return err_set(err, ERR_CORRUPT,
                   "store: segment %" PRIu64 " of part %" PRIu64 ": a run of series %" PRIu64
                   " is malformed",
                   segment, (uint64_t)i64_sub(read->place, INT64_MIN), read->id);
}

static bool get_segment(const struct run_read *read,
                        uint32_t number,
                        enum segment_level level,
                        struct segment_view *ret,
                        struct err *err) {
    bool is_verified = run_cache_is_verified(read->cache, read->place, number);
    for (uint32_t ahead = 1; !is_verified && ahead <= SEGMENTS_AHEAD; ahead++) {
        /* Series of a panel lie side by side: the next ones will be asked for, too. */
        segment_prefetch(read->store, read->txn, read->place, (uint64_t)number + ahead);
    }
    if (!segment_get(read->store, read->txn, read->place, number, is_verified, ret, err)) {
        return false;
    }
    if (!is_verified) {
        run_cache_set_verified(read->cache, read->place, number);
    }
    return ret->level == level || corrupt(read, number, err);
}

/* Times of a chunk: header, and bytes behind it. */
struct times_view {
    uint32_t segment;
    uint32_t offset;
    uint32_t end;
    struct p3_bounds bounds;
    struct reader payload;
};

static bool parse_times(const struct run_read *read,
                        const struct segment_view *segment,
                        struct times_view *times,
                        struct err *err) {
    if (times->offset < SEGMENT_HEADER_BYTES || times->offset >= segment->used) {
        return corrupt(read, times->segment, err);
    }
    struct reader reader =
        reader_init(segment->bytes + times->offset, segment->used - times->offset);
    times->bounds.count = (size_t)reader_uvarint(&reader);
    times->bounds.t_min_ms = reader_svarint(&reader);
    times->bounds.t_max_ms = i64_add(times->bounds.t_min_ms, (int64_t)reader_uvarint(&reader));
    uint64_t len = reader_uvarint(&reader);
    const uint8_t *payload = reader_bytes(&reader, len);
    if (reader.is_bad || times->bounds.count == 0 || times->bounds.count > RUN_CHUNK_SAMPLES_MAX) {
        return corrupt(read, times->segment, err);
    }
    times->payload = reader_init(payload, len);
    times->end = (uint32_t)(reader.next - segment->bytes);
    return true;
}

/* The times of a chunk, decoded now or before. */
static const int64_t *decode_times(const struct run_read *read, struct times_view *times) {
    size_t count = times->bounds.count;
    struct run_decoded *slot =
        slot_of(read->cache->times, read->place, times->segment, times->offset);
    if (slot_has(slot, read->place, times->segment, times->offset, count)) {
        return slot->t_ms;
    }
    slot_clear(slot, count);
    if (!p3_times_decode(&times->payload, &times->bounds, slot->t_ms) ||
        reader_left(&times->payload) > 0) {
        return NULL;
    }
    slot_fill(slot, read->place, times->segment, times->offset, count);
    return slot->t_ms;
}

/* A chunk of a run: its header, and the payload behind it. */
struct chunk_at {
    uint32_t offset; /* in the segment */
    uint8_t flags;
    uint64_t times_segment; /* with RUN_TIMES_NAMED */
    uint64_t times_offset;
    uint64_t distance; /* with RUN_NEIGHBOUR */
    struct str payload;
};

static bool parse_chunk(const struct segment_view *segment,
                        struct reader *reader,
                        struct chunk_at *ret) {
    *ret = (struct chunk_at){ .offset = (uint32_t)(reader->next - segment->bytes) };
    ret->flags = reader_u8(reader);
    if ((ret->flags & ~RUN_FLAGS_MASK) != 0 || (ret->flags & RUN_CODEC_MASK) != CHUNK_P3_GROUP) {
        return false;
    }
    if ((ret->flags & RUN_TIMES_NAMED) != 0) {
        ret->times_segment = reader_uvarint(reader);
        ret->times_offset = reader_uvarint(reader);
    }
    if ((ret->flags & RUN_NEIGHBOUR) != 0) {
        ret->distance = reader_uvarint(reader);
    }
    ret->payload = reader_str(reader);
    return !reader->is_bad && ret->times_segment <= UINT32_MAX &&
           ret->times_offset <= SEGMENT_BYTES_MAX && ret->distance <= ret->offset &&
           ret->offset - ret->distance >= SEGMENT_HEADER_BYTES;
}

/* The chunks one leans on, down to one that stands alone or is decoded already; then up again. The
 * values are left in the cache and given in *ret. */
static bool decode_chain(const struct run_read *read,
                         const struct segment_view *segment,
                         uint32_t number,
                         const struct chunk_at *chunk,
                         size_t count,
                         const double **ret) {
    struct chunk_at chain[RUN_CHAIN_MAX];
    size_t length = 0;
    const double *values = NULL;
    struct run_decoded *slots = read->cache->values;
    chain[length++] = *chunk;
    while ((chain[length - 1].flags & RUN_NEIGHBOUR) != 0) {
        uint32_t offset = chain[length - 1].offset - (uint32_t)chain[length - 1].distance;
        struct run_decoded *slot = slot_of(slots, read->place, number, offset);
        if (slot_has(slot, read->place, number, offset, count)) {
            values = slot->values;
            break;
        }
        struct reader reader = reader_init(segment->bytes + offset, segment->used - offset);
        if (chain[length - 1].distance == 0 || length == RUN_CHAIN_MAX ||
            !parse_chunk(segment, &reader, &chain[length])) {
            return false;
        }
        length++;
    }
    double copy[RUN_CHUNK_SAMPLES_MAX];
    while (length > 0) {
        const struct chunk_at *at = &chain[--length];
        struct run_decoded *slot = slot_of(slots, read->place, number, at->offset);
        if (values == slot->values && values != NULL) {
            memcpy(copy, values, count * sizeof(copy[0])); /* two chunks, one slot */
            values = copy;
        }
        slot_clear(slot, count);
        if (!p3_group_decode((const uint8_t *)at->payload.ptr, at->payload.len, count, values,
                             read->cache->scratch, slot->values)) {
            return false;
        }
        slot_fill(slot, read->place, number, at->offset, count);
        values = slot->values;
    }
    *ret = values;
    return true;
}

/* ---- reading ---- */

struct walk {
    const struct run_read *read;
    struct tsdb_column *column;
    struct times_view times; /* of the chunk at hand */
    struct segment_view times_segment;
    struct segment_view segment; /* with the run */
    uint32_t number;             /* its number */
    bool is_over;                /* past the range */
};

static bool decode_values(const struct walk *walk, const struct chunk_at *chunk, double *out) {
    const struct run_read *read = walk->read;
    size_t count = walk->times.bounds.count;
    if ((chunk->flags & RUN_NEIGHBOUR) == 0) {
        return p3_group_decode((const uint8_t *)chunk->payload.ptr, chunk->payload.len, count, NULL,
                               read->cache->scratch, out);
    }
    const double *values;
    if (!decode_chain(read, &walk->segment, walk->number, chunk, count, &values)) {
        return false;
    }
    memcpy(out, values, count * sizeof(out[0]));
    return true;
}

/* Decode the values straight into the column, then keep those in range. */
static bool add_chunk(struct walk *walk, const struct chunk_at *chunk) {
    const struct run_read *read = walk->read;
    struct tsdb_column *column = walk->column;
    size_t count = walk->times.bounds.count;
    cache_prepare(read->cache);
    const int64_t *t_ms = decode_times(read, &walk->times);
    tsdb_column_reserve(column, count);
    double *out = column->values + column->count;
    if (t_ms == NULL || !decode_values(walk, chunk, out)) {
        return false;
    }
    size_t first = 0;
    while (first < count && t_ms[first] < read->t_min_ms) {
        first++;
    }
    size_t end = count;
    while (end > first && t_ms[end - 1] > read->t_max_ms) {
        end--;
    }
    if (first > 0 && end > first) {
        memmove(out, out + first, (end - first) * sizeof(out[0]));
    }
    memcpy(column->t_ms + column->count, t_ms + first, (end - first) * sizeof(t_ms[0]));
    column->count += end - first;
    return true;
}

static bool walk_chunk(struct walk *walk, struct reader *reader, struct err *err) {
    const struct run_read *read = walk->read;
    struct chunk_at chunk;
    if (!parse_chunk(&walk->segment, reader, &chunk)) {
        return corrupt(read, walk->number, err);
    }
    walk->times.offset = walk->times.end;
    if ((chunk.flags & RUN_TIMES_NAMED) != 0) {
        walk->times.offset = (uint32_t)chunk.times_offset;
        if (walk->times.segment != chunk.times_segment) {
            walk->times.segment = (uint32_t)chunk.times_segment;
            if (!get_segment(read, walk->times.segment, SEGMENT_TIMES, &walk->times_segment, err)) {
                return false;
            }
        }
    }
    if (walk->times.segment == 0) {
        return corrupt(read, walk->number, err);
    }
    if (!parse_times(read, &walk->times_segment, &walk->times, err)) {
        return false;
    }
    if (walk->times.bounds.t_max_ms < read->t_min_ms) {
        return true;
    }
    walk->is_over = walk->times.bounds.t_min_ms > read->t_max_ms;
    return walk->is_over || add_chunk(walk, &chunk) || corrupt(read, walk->number, err);
}

bool run_read(const struct run_read *read, struct tsdb_column *column, struct err *err) {
    struct walk walk = { .read = read, .column = column, .number = read->segment };
    uint32_t offset = read->offset;
    for (;;) {
        if (!get_segment(read, walk.number, SEGMENT_RUNS, &walk.segment, err)) {
            return false;
        }
        const struct segment_view *segment = &walk.segment;
        if (offset < SEGMENT_HEADER_BYTES || offset >= segment->used) {
            return corrupt(read, walk.number, err);
        }
        struct reader reader = reader_init(segment->bytes + offset, segment->used - offset);
        uint64_t id = reader_uvarint(&reader);
        uint64_t count = reader_uvarint(&reader);
        if (reader.is_bad || id != read->id) {
            return corrupt(read, walk.number, err);
        }
        for (uint64_t i = 0; i < count >> 1 && !walk.is_over; i++) {
            if (!walk_chunk(&walk, &reader, err)) {
                return false;
            }
        }
        if ((count & 1) == 0 || walk.is_over) {
            return true;
        }
        if (segment->next == 0 || segment->next > UINT32_MAX - walk.number) {
            return corrupt(read, walk.number, err);
        }
        walk.number += segment->next;
        walk.times.segment = 0;
        offset = SEGMENT_HEADER_BYTES;
    }
}
