/*
 * The directory of a merged part: where the run of each series begins. Blocks of one page, keyed by
 * their first id, hold entries of fixed width, so that one search in the tree and one in the block
 * find a series without decoding.
 */
#include <assert.h>

#include "tsdb/codec/bytes.h"
#include "tsdb/parts/part.h"

#define BLOCK_VERSION      1
#define BLOCK_HEADER_BYTES 3 /* version, count */
#define ENTRY_BYTES        10
#define AT_SEGMENT         4
#define AT_OFFSET          8

/* With LMDB's header of 16 and the row's checksum of 4 a block fills a page. */
static_assert(BLOCK_HEADER_BYTES + DIRECTORY_BLOCK_ENTRIES * ENTRY_BYTES <= 4096 - 16 - 4,
              "a block fits its page");

int directory_put_block(struct store *store,
                        MDB_txn *txn,
                        int64_t place,
                        const struct directory_entry *entries,
                        size_t count,
                        size_t *ret_taken) {
    uint8_t body[BLOCK_HEADER_BYTES + DIRECTORY_BLOCK_ENTRIES * ENTRY_BYTES] = { BLOCK_VERSION };
    uint64_t first_id = entries[0].id;
    size_t taken = 0;
    uint8_t *out = body + BLOCK_HEADER_BYTES;
    while (taken < count && taken < DIRECTORY_BLOCK_ENTRIES &&
           entries[taken].id - first_id <= UINT32_MAX) {
        bytes_put_le32(out, (uint32_t)(entries[taken].id - first_id));
        bytes_put_le32(out + AT_SEGMENT, entries[taken].segment);
        out[AT_OFFSET] = (uint8_t)entries[taken].offset;
        out[AT_OFFSET + 1] = (uint8_t)(entries[taken].offset >> 8);
        out += ENTRY_BYTES;
        taken++;
    }
    body[1] = (uint8_t)taken;
    body[2] = (uint8_t)(taken >> 8);
    uint8_t key[STORE_KEY_ROW_BYTES];
    store_key_row(key, place, first_id);
    *ret_taken = taken;
    return store_put(store, txn, STORE_DIRECTORY, str_n((const char *)key, sizeof(key)),
                     str_n((const char *)body, (size_t)(out - body)));
}

struct block {
    const uint8_t *entries;
    size_t count;
    uint64_t first_id;
};

static bool parse_block(MDB_val key, MDB_val row, struct block *ret, struct err *err) {
    struct str body;
    if (!store_check(STORE_DIRECTORY, key, row, &body, err)) {
        return false;
    }
    const uint8_t *bytes = (const uint8_t *)body.ptr;
    ret->count = body.len < BLOCK_HEADER_BYTES ? 0 : (size_t)(bytes[1] | bytes[2] << 8);
    if (key.mv_size != STORE_KEY_ROW_BYTES || ret->count == 0 || bytes[0] != BLOCK_VERSION ||
        body.len != BLOCK_HEADER_BYTES + ret->count * ENTRY_BYTES) {
        return err_set(err, ERR_CORRUPT,
                       "store: a row of table directory is malformed or of a newer version");
    }
    ret->entries = bytes + BLOCK_HEADER_BYTES;
    ret->first_id = bytes_be64((const uint8_t *)key.mv_data + 8);
    return true;
}

static uint64_t entry_id(const struct block *block, size_t number) {
    return block->first_id + bytes_le32(block->entries + number * ENTRY_BYTES);
}

static bool find_in_block(const struct block *block, uint64_t id, struct directory_entry *ret) {
    size_t low = 0;
    size_t high = block->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entry_id(block, middle) < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == block->count || entry_id(block, low) != id) {
        return false;
    }
    const uint8_t *bytes = block->entries + low * ENTRY_BYTES;
    *ret = (struct directory_entry){
        .id = id,
        .segment = bytes_le32(bytes + AT_SEGMENT),
        .offset = (uint16_t)(bytes[AT_OFFSET] | bytes[AT_OFFSET + 1] << 8),
    };
    return true;
}

/* The row at the key or, when there is none, before it. */
static int seek_before(MDB_cursor *cursor, const uint8_t *wanted, MDB_val *key, MDB_val *row) {
    *key = (MDB_val){ .mv_size = STORE_KEY_ROW_BYTES, .mv_data = (void *)(uintptr_t)wanted };
    int rc = mdb_cursor_get(cursor, key, row, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND) {
        return mdb_cursor_get(cursor, key, row, MDB_LAST);
    }
    if (rc == 0 && memcmp(key->mv_data, wanted, STORE_KEY_ROW_BYTES) != 0) {
        return mdb_cursor_get(cursor, key, row, MDB_PREV);
    }
    return rc;
}

bool directory_find(struct store *store,
                    MDB_txn *txn,
                    int64_t place,
                    uint64_t id,
                    struct directory_entry *ret,
                    bool *ret_found,
                    struct err *err) {
    *ret_found = false;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_DIRECTORY], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table directory");
    }
    uint8_t wanted[STORE_KEY_ROW_BYTES];
    store_key_row(wanted, place, id);
    MDB_val key;
    MDB_val row;
    bool ok = true;
    rc = seek_before(cursor, wanted, &key, &row);
    if (rc == 0 && key.mv_size >= 8 && bytes_be64_signed(key.mv_data) == place) {
        struct block block;
        ok = parse_block(key, row, &block, err);
        *ret_found = ok && find_in_block(&block, id, ret);
    }
    mdb_cursor_close(cursor);
    return (ok && (rc == 0 || rc == MDB_NOTFOUND)) ||
           (ok && env_fail(&store->env, err, rc, "reading table directory"));
}

bool directory_ids(struct store *store,
                   MDB_txn *txn,
                   int64_t place,
                   struct idset *out,
                   struct err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_DIRECTORY], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table directory");
    }
    uint8_t start[STORE_KEY_ROW_BYTES];
    store_key_row(start, place, 0);
    MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
    MDB_val row;
    bool ok = true;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
    while (ok && rc == 0 && key.mv_size >= 8 && bytes_be64_signed(key.mv_data) == place) {
        struct block block;
        ok = parse_block(key, row, &block, err);
        for (size_t i = 0; ok && i < block.count; i++) {
            idset_add(out, entry_id(&block, i));
        }
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return (ok && (rc == 0 || rc == MDB_NOTFOUND)) ||
           (ok && env_fail(&store->env, err, rc, "reading table directory"));
}
