/* Segments: chunks packed into values of k × 4096 - 16 bytes, so that LMDB wastes no page. */
#include <assert.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "base/hash.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/codec/p3.h"
#include "tsdb/parts/store.h"

#define SEGMENT_VERSION 1
#define PAGE_BYTES      4096
#define PAGE_HEADER     16 /* of LMDB's overflow run */

/* Header: CRC, version, level, chunk or run count, used bytes, distance to where a run goes on. */
enum {
    AT_CRC = 0,
    AT_VERSION = 4,
    AT_LEVEL = 5,
    AT_CHUNKS = 6,
    AT_USED = 8,
    AT_NEXT = 12,
};

static_assert(SEGMENT_HEADER_BYTES + CHUNK_HEADER_MAX + P3_BYTES_MAX(CHUNK_MERGED_SAMPLES_MAX) <=
                  SEGMENT_BYTES_MAX,
              "any chunk fits an empty segment");

static void segment_key(uint8_t key[16], int64_t window, uint64_t number) {
    store_key_row(key, window, number);
}

void segment_begin(struct buf *segment, uint8_t level) {
    uint8_t header[SEGMENT_HEADER_BYTES] = { [AT_VERSION] = SEGMENT_VERSION, [AT_LEVEL] = level };
    buf_reset(segment);
    buf_append(segment, header, sizeof(header));
}

void segment_count(struct buf *segment) {
    uint8_t *bytes = (uint8_t *)segment->ptr;
    uint16_t count = (uint16_t)((bytes[AT_CHUNKS] | bytes[AT_CHUNKS + 1] << 8) + 1);
    bytes[AT_CHUNKS] = (uint8_t)count;
    bytes[AT_CHUNKS + 1] = (uint8_t)(count >> 8);
}

void segment_set_next(struct buf *segment, uint32_t distance) {
    bytes_put_le32((uint8_t *)segment->ptr + AT_NEXT, distance);
}

bool segment_add(struct buf *segment, const struct segment_chunk *chunk, uint32_t *ret_offset) {
    if (segment->len == 0) {
        segment_begin(segment, SEGMENT_SEALED);
    }
    uint8_t header[CHUNK_HEADER_MAX];
    uint8_t *out = bytes_put_uvarint(header, chunk->id);
    *out++ = chunk->codec;
    out = bytes_put_uvarint(out, chunk->count);
    out = bytes_put_uvarint(out, zigzag(chunk->t_min_ms));
    out = bytes_put_uvarint(out, (uint64_t)i64_sub(chunk->t_max_ms, chunk->t_min_ms));
    out = bytes_put_uvarint(out, chunk->bytes.len);
    size_t header_len = (size_t)(out - header);
    assert(SEGMENT_HEADER_BYTES + header_len + chunk->bytes.len <= SEGMENT_BYTES_MAX);
    if (segment->len + header_len + chunk->bytes.len > SEGMENT_BYTES_MAX) {
        return false;
    }
    *ret_offset = (uint32_t)segment->len;
    buf_append(segment, header, header_len);
    buf_str(segment, chunk->bytes);
    segment_count(segment);
    return true;
}

static uint32_t segment_crc(const uint8_t *key, const uint8_t *bytes, size_t len) {
    uint32_t crc = hash_crc32c(0, key, 16);
    return hash_crc32c(crc, bytes + AT_VERSION, len - AT_VERSION);
}

static size_t page_count(size_t used) {
    return (used + PAGE_HEADER + PAGE_BYTES - 1) / PAGE_BYTES;
}

uint64_t segment_disk_bytes(size_t used) {
    return (uint64_t)page_count(used) * PAGE_BYTES;
}

int segment_put(struct store *store,
                MDB_txn *txn,
                int64_t window,
                uint64_t number,
                struct str segment,
                uint64_t *ret_bytes) {
    size_t pages = page_count(segment.len);
    size_t len = pages * PAGE_BYTES - PAGE_HEADER;
    uint8_t key[16];
    segment_key(key, window, number);
    MDB_val mdb_key = { .mv_size = sizeof(key), .mv_data = key };
    MDB_val value = { .mv_size = len };
    int rc = mdb_put(txn, store->dbis[STORE_SEGMENTS], &mdb_key, &value, MDB_RESERVE);
    if (rc != 0) {
        return rc;
    }
    uint8_t *bytes = value.mv_data;
    memcpy(bytes, segment.ptr, segment.len);
    bytes_put_le32(bytes + AT_USED, (uint32_t)segment.len);
    memset(bytes + segment.len, 0, len - segment.len);
    bytes_put_le32(bytes + AT_CRC, segment_crc(key, bytes, len));
    *ret_bytes = pages * PAGE_BYTES;
    return 0;
}

static bool corrupt(struct err *err, uint64_t segment, const char *what) {
    return err_set(err, ERR_CORRUPT, "store: segment %" PRIu64 ": %s", segment, what);
}

static bool parse_chunk(const uint8_t *bytes,
                        size_t used,
                        uint64_t id,
                        const struct chunk_ref *ref,
                        struct chunk_view *ret) {
    if (ref->offset < SEGMENT_HEADER_BYTES || ref->offset > used) {
        return false;
    }
    struct reader reader = reader_init(bytes + ref->offset, used - ref->offset);
    uint64_t stored_id = reader_uvarint(&reader);
    ret->codec = reader_u8(&reader);
    uint64_t count = reader_uvarint(&reader);
    int64_t t_min_ms = reader_svarint(&reader);
    int64_t t_max_ms = i64_add(t_min_ms, (int64_t)reader_uvarint(&reader));
    uint64_t len = reader_uvarint(&reader);
    ret->bytes = reader_bytes(&reader, len);
    ret->len = (size_t)len;
    ret->count = ref->count;
    ret->t_min_ms = t_min_ms;
    ret->t_max_ms = t_max_ms;
    return ret->bytes != NULL && stored_id == id && count == ref->count &&
           t_min_ms == ref->t_min_ms && t_max_ms == ref->t_max_ms;
}

static void prefetch(MDB_val value) {
    uintptr_t start = (uintptr_t)value.mv_data & ~(uintptr_t)(PAGE_BYTES - 1);
    uintptr_t end = (uintptr_t)value.mv_data + value.mv_size;
    /* A hint: whether it was taken does not matter. */
    (void)madvise((void *)start, end - start, MADV_WILLNEED);
}

void segment_prefetch(struct store *store, MDB_txn *txn, int64_t place, uint64_t number) {
    uint8_t key[16];
    segment_key(key, place, number);
    MDB_val mdb_key = { .mv_size = sizeof(key), .mv_data = key };
    MDB_val value;
    if (mdb_get(txn, store->dbis[STORE_SEGMENTS], &mdb_key, &value) == 0) {
        prefetch(value);
    }
}

bool segment_get(struct store *store,
                 MDB_txn *txn,
                 int64_t place,
                 uint64_t number,
                 bool is_verified,
                 struct segment_view *ret,
                 struct err *err) {
    uint8_t key[16];
    segment_key(key, place, number);
    MDB_val mdb_key = { .mv_size = sizeof(key), .mv_data = key };
    MDB_val value;
    int rc = mdb_get(txn, store->dbis[STORE_SEGMENTS], &mdb_key, &value);
    if (rc == MDB_NOTFOUND) {
        return corrupt(err, number, "it is missing");
    }
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading segment %" PRIu64, number);
    }
    if (!is_verified) {
        prefetch(value);
    }
    const uint8_t *bytes = value.mv_data;
    if (value.mv_size < SEGMENT_HEADER_BYTES) {
        return corrupt(err, number, "it is too short");
    }
    if (!is_verified && bytes_le32(bytes + AT_CRC) != segment_crc(key, bytes, value.mv_size)) {
        return corrupt(err, number, "the checksum is wrong");
    }
    if (bytes[AT_VERSION] != SEGMENT_VERSION) {
        return corrupt(err, number, "its version is unknown");
    }
    *ret = (struct segment_view){
        .bytes = bytes,
        .used = bytes_le32(bytes + AT_USED),
        .level = bytes[AT_LEVEL],
        .next = bytes_le32(bytes + AT_NEXT),
    };
    return (ret->used >= SEGMENT_HEADER_BYTES && ret->used <= value.mv_size) ||
           corrupt(err, number, "its length is wrong");
}

bool segment_get_chunk(struct store *store,
                       MDB_txn *txn,
                       int64_t window,
                       uint64_t id,
                       const struct chunk_ref *ref,
                       bool is_verified,
                       struct chunk_view *ret,
                       struct err *err) {
    struct segment_view segment;
    if (!segment_get(store, txn, window, ref->segment, is_verified, &segment, err)) {
        return false;
    }
    return (segment.level == SEGMENT_SEALED &&
            parse_chunk(segment.bytes, segment.used, id, ref, ret)) ||
           corrupt(err, ref->segment, "a chunk is not what the index says");
}

/* ---- walking ---- */

bool segment_walk_begin(MDB_val key, MDB_val value, struct segment_walk *ret, struct err *err) {
    const uint8_t *bytes = value.mv_data;
    if (key.mv_size != STORE_KEY_ROW_BYTES) {
        return corrupt(err, 0, "its key has the wrong size");
    }
    *ret = (struct segment_walk){
        .number = bytes_be64((const uint8_t *)key.mv_data + 8),
        .bytes = bytes,
        .at = SEGMENT_HEADER_BYTES,
    };
    if (value.mv_size < SEGMENT_HEADER_BYTES) {
        return corrupt(err, ret->number, "it is too short");
    }
    if (bytes_le32(bytes + AT_CRC) != segment_crc(key.mv_data, bytes, value.mv_size)) {
        return corrupt(err, ret->number, "the checksum is wrong");
    }
    ret->used = bytes_le32(bytes + AT_USED);
    if (bytes[AT_LEVEL] != SEGMENT_SEALED) {
        ret->at = ret->used; /* runs are read from the directory */
    }
    return (bytes[AT_VERSION] == SEGMENT_VERSION && ret->used <= value.mv_size) ||
           corrupt(err, ret->number, "its version or size is not known");
}

bool segment_walk_next(struct segment_walk *walk,
                       struct segment_chunk *ret,
                       uint32_t *ret_offset,
                       struct err *err) {
    if (walk->at >= walk->used) {
        return false;
    }
    struct reader reader = reader_init(walk->bytes + walk->at, walk->used - walk->at);
    *ret_offset = walk->at;
    ret->id = reader_uvarint(&reader);
    ret->codec = reader_u8(&reader);
    ret->count = (uint32_t)reader_uvarint(&reader);
    ret->t_min_ms = reader_svarint(&reader);
    ret->t_max_ms = i64_add(ret->t_min_ms, (int64_t)reader_uvarint(&reader));
    uint64_t len = reader_uvarint(&reader);
    const uint8_t *bytes = reader_bytes(&reader, len);
    if (bytes == NULL) {
        return corrupt(err, walk->number, "a chunk ends behind it");
    }
    ret->bytes = str_n((const char *)bytes, len);
    walk->at = (uint32_t)(reader.next - walk->bytes);
    return true;
}
