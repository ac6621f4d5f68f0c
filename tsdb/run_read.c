/* Reading runs, and the memory of readers. */
#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"
#include "tsdb/bytes.h"
#include "tsdb/head.h"
#include "tsdb/part.h"
#include "tsdb/run.h"
#include "tsdb/run_format.h"

#define SEGMENTS_PER_PART_SHIFT 24 /* 16M segments of 32 KiB */

/* ---- the cache ---- */

void run_cache_init(struct run_cache *cache) {
    *cache = (struct run_cache){ 0 };
    u64map_init(&cache->verified);
}

void run_cache_finish(struct run_cache *cache) {
    u64map_finish(&cache->verified);
    for (size_t i = 0; cache->times != NULL && i < RUN_CACHE_SLOTS; i++) {
        mem_free(cache->times[i].t_ms);
    }
    mem_free(cache->times);
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

static struct run_times *times_slot(struct run_cache *cache,
                                    int64_t place,
                                    uint32_t segment,
                                    uint16_t offset) {
    if (cache->times == NULL) {
        cache->times = mem_calloc(RUN_CACHE_SLOTS, sizeof(cache->times[0]));
        cache->scratch = mem_alloc(RUN_CHUNK_SAMPLES_MAX * sizeof(cache->scratch[0]));
    }
    uint64_t mixed = (segment_identity(place, segment) << 16 | offset) ^ (uint64_t)place << 32;
    mixed *= UINT64_C(0x9e3779b97f4a7c15);
    return &cache->times[mixed >> 32 & (RUN_CACHE_SLOTS - 1)];
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
    struct run_times *slot =
        times_slot(read->cache, read->place, times->segment, (uint16_t)times->offset);
    if (slot->count == times->bounds.count && slot->place == read->place &&
        slot->segment == times->segment && slot->offset == times->offset) {
        return slot->t_ms;
    }
    if (slot->cap < times->bounds.count) {
        slot->t_ms = mem_realloc(slot->t_ms, times->bounds.count * sizeof(slot->t_ms[0]));
        slot->cap = times->bounds.count;
    }
    slot->count = 0;
    if (!p3_times_decode(&times->payload, &times->bounds, slot->t_ms) ||
        reader_left(&times->payload) > 0) {
        return NULL;
    }
    slot->place = read->place;
    slot->segment = times->segment;
    slot->offset = (uint16_t)times->offset;
    slot->count = (uint32_t)times->bounds.count;
    return slot->t_ms;
}

/* ---- reading ---- */

/* Decode the values straight into the column, then keep those in range. */
static bool add_chunk(const struct run_read *read,
                      struct times_view *times,
                      struct str values,
                      struct tsdb_column *column) {
    size_t count = times->bounds.count;
    const int64_t *t_ms = decode_times(read, times);
    if (t_ms == NULL) {
        return false;
    }
    tsdb_column_reserve(column, count);
    double *out = column->values + column->count;
    if (!p3_group_decode((const uint8_t *)values.ptr, values.len, count, NULL, read->cache->scratch,
                         out)) {
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

struct walk {
    const struct run_read *read;
    struct tsdb_column *column;
    struct times_view times; /* of the chunk at hand */
    struct segment_view times_segment;
    uint32_t number; /* of the segment with the run */
    bool is_over;    /* past the range */
};

static bool walk_chunk(struct walk *walk, struct reader *reader, struct err *err) {
    const struct run_read *read = walk->read;
    uint8_t flags = reader_u8(reader);
    if ((flags & ~RUN_FLAGS_MASK) != 0 || (flags & RUN_CODEC_MASK) != CHUNK_P3_GROUP) {
        return corrupt(read, walk->number, err);
    }
    walk->times.offset = walk->times.end;
    if ((flags & RUN_TIMES_NAMED) != 0) {
        uint64_t segment = reader_uvarint(reader);
        uint64_t offset = reader_uvarint(reader);
        if (reader->is_bad || segment > UINT32_MAX || offset > SEGMENT_BYTES_MAX) {
            return corrupt(read, walk->number, err);
        }
        walk->times.offset = (uint32_t)offset;
        if (walk->times.segment != segment) {
            walk->times.segment = (uint32_t)segment;
            if (!get_segment(read, walk->times.segment, SEGMENT_TIMES, &walk->times_segment, err)) {
                return false;
            }
        }
    }
    uint64_t len = reader_uvarint(reader);
    const uint8_t *payload = reader_bytes(reader, len);
    if (payload == NULL || walk->times.segment == 0) {
        return corrupt(read, walk->number, err);
    }
    if (!parse_times(read, &walk->times_segment, &walk->times, err)) {
        return false;
    }
    if (walk->times.bounds.t_max_ms < read->t_min_ms) {
        return true;
    }
    walk->is_over = walk->times.bounds.t_min_ms > read->t_max_ms;
    return walk->is_over ||
           add_chunk(read, &walk->times, str_n((const char *)payload, len), walk->column) ||
           corrupt(read, walk->number, err);
}

bool run_read(const struct run_read *read, struct tsdb_column *column, struct err *err) {
    struct walk walk = { .read = read, .column = column, .number = read->segment };
    uint32_t offset = read->offset;
    for (;;) {
        struct segment_view segment;
        if (!get_segment(read, walk.number, SEGMENT_RUNS, &segment, err)) {
            return false;
        }
        if (offset < SEGMENT_HEADER_BYTES || offset >= segment.used) {
            return corrupt(read, walk.number, err);
        }
        struct reader reader = reader_init(segment.bytes + offset, segment.used - offset);
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
        if (segment.next == 0 || segment.next > UINT32_MAX - walk.number) {
            return corrupt(read, walk.number, err);
        }
        walk.number += segment.next;
        walk.times.segment = 0;
        offset = SEGMENT_HEADER_BYTES;
    }
}
