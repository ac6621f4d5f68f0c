/* Rows of the store environment: keys, checksums, encodings. Segments are in segment.c. */
#include "tsdb/parts/store.h"

#include <assert.h>
#include <inttypes.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"

#define CRC_BYTES      4
#define ROW_VERSION    1
#define REFS_VERSION   2 /* of table rows */
#define WINDOW_VERSION 2 /* of table windows */
#define MAP_BYTES      ((size_t)1 << 40)
#define STATE_KEY      STR("state")
#define FLOOR_KEY      STR("floor")
#define ROW_BYTES_MAX  ((size_t)1 << 30)

const char *const store_table_names[] = {
    [STORE_META] = "meta",
    [STORE_OLD_SERIES] = "series",
    [STORE_OLD_HASH] = "hash",
    [STORE_OLD_LAST] = "last",
    [STORE_WINDOWS] = "windows",
    [STORE_ROWS] = "rows",
    [STORE_PENDING] = "pending",
    [STORE_SEGMENTS] = "segments",
    [STORE_POSTINGS] = "postings",
    [STORE_ROLLUPS] = "rollups",
    [STORE_ROLLUP_MARKS] = "rollup_marks",
    [STORE_PARTS] = "parts",
    [STORE_DIRECTORY] = "directory",
    [STORE_LABELS] = "labels",
    [STORE_IDS] = "ids",
    [STORE_LASTS] = "lasts",
};
static_assert(ARRAY_LEN(store_table_names) == STORE_TABLE_COUNT, "one database per table");

/* ---- life ---- */

bool store_open(struct store *store, const char *path, bool is_read_only, struct err *err) {
    *store = (struct store){ 0 };
    struct env_params params = {
        .name = "store",
        .path = path,
        .map_bytes = MAP_BYTES,
        .db_count = STORE_TABLE_COUNT,
        .flags = MDB_NORDAHEAD,
        .is_read_only = is_read_only,
    };
    if (!env_open(&store->env, &params, err)) {
        return false;
    }
    bool ok = env_open_dbs(&store->env, store_table_names, STORE_ROLLUPS, store->dbis, err);
    store->has_all =
        ok && env_open_dbs(&store->env, store_table_names + STORE_ROLLUPS,
                           STORE_TABLE_COUNT - STORE_ROLLUPS, store->dbis + STORE_ROLLUPS, err);
    if (ok && !store->has_all && err->code == ERR_NOT_FOUND) {
        *err = (struct err)ERR_INIT; /* data of a format before 3, opened for reading */
    } else if (!store->has_all) {
        env_close(&store->env);
        return false;
    }
    return true;
}

void store_close(struct store *store) {
    env_close(&store->env);
}

uint64_t store_bytes(struct store *store) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < STORE_TABLE_COUNT; i++) {
        bytes += env_db_bytes(&store->env, store->dbis[i]);
    }
    return bytes;
}

/* ---- keys ---- */

void store_key_id(uint8_t key[STORE_KEY_ID_BYTES], uint64_t id) {
    bytes_put_be64(key, id);
}

void store_key_window(uint8_t key[8], int64_t window) {
    bytes_put_be64_signed(key, window);
}

void store_key_row(uint8_t key[STORE_KEY_ROW_BYTES], int64_t window, uint64_t id) {
    bytes_put_be64_signed(key, window);
    bytes_put_be64(key + 8, id);
}

static struct str key_str(const uint8_t *key, size_t len) {
    return str_n((const char *)key, len);
}

static MDB_val val_of(struct str text) {
    return (MDB_val){ .mv_size = text.len, .mv_data = (void *)(uintptr_t)text.ptr };
}

/* ---- rows in general ---- */

static uint32_t row_crc(enum store_table table, struct str key, const void *body, size_t len) {
    uint8_t number = (uint8_t)table;
    uint32_t crc = hash_crc32c(0, &number, 1);
    crc = hash_crc32c(crc, key.ptr, key.len);
    return hash_crc32c(crc, body, len);
}

bool store_check(enum store_table table,
                 MDB_val key,
                 MDB_val row,
                 struct str *ret_body,
                 struct err *err) {
    const uint8_t *bytes = row.mv_data;
    struct str key_bytes = str_n(key.mv_data, key.mv_size);
    if (row.mv_size < CRC_BYTES || bytes_le32(bytes) != row_crc(table, key_bytes, bytes + CRC_BYTES,
                                                                row.mv_size - CRC_BYTES)) {
        return err_set(err, ERR_CORRUPT, "store: a row of table %s has a wrong checksum",
                       store_table_names[table]);
    }
    *ret_body = str_n((const char *)bytes + CRC_BYTES, row.mv_size - CRC_BYTES);
    return true;
}

bool store_get(struct store *store,
               MDB_txn *txn,
               enum store_table table,
               struct str key,
               struct str *ret_body,
               bool *ret_found,
               struct err *err) {
    MDB_val mdb_key = val_of(key);
    MDB_val row;
    int rc = mdb_get(txn, store->dbis[table], &mdb_key, &row);
    *ret_found = rc == 0;
    if (rc == MDB_NOTFOUND) {
        return true;
    }
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table %s", store_table_names[table]);
    }
    return store_check(table, mdb_key, row, ret_body, err);
}

int store_put_flags(struct store *store,
                    MDB_txn *txn,
                    enum store_table table,
                    struct str key,
                    struct str body,
                    unsigned flags) {
    MDB_val mdb_key = val_of(key);
    MDB_val row = { .mv_size = CRC_BYTES + body.len };
    int rc = mdb_put(txn, store->dbis[table], &mdb_key, &row, MDB_RESERVE | flags);
    if (rc == 0) {
        uint8_t *bytes = row.mv_data;
        bytes_put_le32(bytes, row_crc(table, key, body.ptr, body.len));
        memcpy(bytes + CRC_BYTES, body.ptr, body.len);
    }
    return rc;
}

int store_put(struct store *store,
              MDB_txn *txn,
              enum store_table table,
              struct str key,
              struct str body) {
    return store_put_flags(store, txn, table, key, body, 0);
}

int store_put_empty(struct store *store, MDB_txn *txn, enum store_table table, struct str key) {
    MDB_val mdb_key = val_of(key);
    MDB_val row = { .mv_size = 0 };
    return mdb_put(txn, store->dbis[table], &mdb_key, &row, 0);
}

int store_del(struct store *store, MDB_txn *txn, enum store_table table, struct str key) {
    MDB_val mdb_key = val_of(key);
    int rc = mdb_del(txn, store->dbis[table], &mdb_key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static bool malformed(struct err *err, enum store_table table) {
    return err_set(err, ERR_CORRUPT, "store: a row of table %s is malformed or of a newer version",
                   store_table_names[table]);
}

/* ---- state ---- */

bool store_get_state(struct store *store,
                     MDB_txn *txn,
                     struct store_state *ret,
                     bool *ret_found,
                     struct err *err) {
    struct str body;
    if (!store_get(store, txn, STORE_META, STATE_KEY, &body, ret_found, err)) {
        return false;
    }
    if (!*ret_found) {
        return true;
    }
    struct reader reader = reader_init(body.ptr, body.len);
    uint8_t version = reader_u8(&reader);
    ret->block_ms = (int64_t)reader_le64(&reader);
    ret->id_next = reader_le64(&reader);
    ret->applied_lsn = reader_le64(&reader);
    ret->segment_next = reader_le64(&reader);
    if (version > ROW_VERSION) {
        return err_set(err, ERR_INVALID,
                       "store: the data was written by a newer version (format %u, this program "
                       "knows %d)",
                       version, ROW_VERSION);
    }
    return (!reader.is_bad && ret->block_ms > 0) || malformed(err, STORE_META);
}

int store_put_state(struct store *store, MDB_txn *txn, const struct store_state *state) {
    uint8_t body[1 + 4 * 8] = { ROW_VERSION };
    bytes_put_le64(body + 1, (uint64_t)state->block_ms);
    bytes_put_le64(body + 9, state->id_next);
    bytes_put_le64(body + 17, state->applied_lsn);
    bytes_put_le64(body + 25, state->segment_next);
    return store_put(store, txn, STORE_META, STATE_KEY, key_str(body, sizeof(body)));
}

bool store_get_floor(struct store *store, MDB_txn *txn, int64_t *ret, struct err *err) {
    struct str body;
    bool found;
    *ret = INT64_MIN;
    if (!store_get(store, txn, STORE_META, FLOOR_KEY, &body, &found, err) || !found) {
        return err->code == ERR_NONE;
    }
    struct reader reader = reader_init(body.ptr, body.len);
    uint8_t version = reader_u8(&reader);
    *ret = (int64_t)reader_le64(&reader);
    return (!reader.is_bad && version == ROW_VERSION) || malformed(err, STORE_META);
}

int store_put_floor(struct store *store, MDB_txn *txn, int64_t floor_ms) {
    uint8_t body[1 + 8] = { ROW_VERSION };
    bytes_put_le64(body + 1, (uint64_t)floor_ms);
    return store_put(store, txn, STORE_META, FLOOR_KEY, key_str(body, sizeof(body)));
}

/* ---- windows ---- */

void store_read_window_stats(struct reader *reader, struct store_window *ret) {
    ret->t_min_ms = (int64_t)reader_le64(reader);
    ret->t_max_ms = (int64_t)reader_le64(reader);
    ret->series_count = reader_le64(reader);
    ret->sample_count = reader_le64(reader);
    ret->chunk_count = reader_le64(reader);
    ret->segment_bytes = reader_le64(reader);
}

void store_write_window_stats(uint8_t *out, const struct store_window *stats) {
    bytes_put_le64(out, (uint64_t)stats->t_min_ms);
    bytes_put_le64(out + 8, (uint64_t)stats->t_max_ms);
    bytes_put_le64(out + 16, stats->series_count);
    bytes_put_le64(out + 24, stats->sample_count);
    bytes_put_le64(out + 32, stats->chunk_count);
    bytes_put_le64(out + 40, stats->segment_bytes);
}

/* Version 1 had no more than the first numbers. */
bool store_get_window(struct store *store,
                      MDB_txn *txn,
                      int64_t window,
                      struct store_window *ret,
                      bool *ret_found,
                      struct err *err) {
    uint8_t key[8];
    store_key_window(key, window);
    struct str body;
    if (!store_get(store, txn, STORE_WINDOWS, key_str(key, sizeof(key)), &body, ret_found, err)) {
        return false;
    }
    if (!*ret_found) {
        return true;
    }
    struct reader reader = reader_init(body.ptr, body.len);
    uint8_t version = reader_u8(&reader);
    *ret = (struct store_window){ 0 };
    store_read_window_stats(&reader, ret);
    if (version >= WINDOW_VERSION) {
        ret->segment_floor = reader_le64(&reader);
        ret->changed_ms = (int64_t)reader_le64(&reader);
        ret->is_swept = reader_u8(&reader) != 0;
    }
    return (!reader.is_bad && version >= 1 && version <= WINDOW_VERSION) ||
           malformed(err, STORE_WINDOWS);
}

int store_put_window(struct store *store,
                     MDB_txn *txn,
                     int64_t window,
                     const struct store_window *stats) {
    uint8_t key[8];
    store_key_window(key, window);
    uint8_t body[1 + STORE_WINDOW_STATS_BYTES + 17] = { WINDOW_VERSION };
    store_write_window_stats(body + 1, stats);
    bytes_put_le64(body + 1 + STORE_WINDOW_STATS_BYTES, stats->segment_floor);
    bytes_put_le64(body + 9 + STORE_WINDOW_STATS_BYTES, (uint64_t)stats->changed_ms);
    body[17 + STORE_WINDOW_STATS_BYTES] = stats->is_swept;
    return store_put(store, txn, STORE_WINDOWS, key_str(key, sizeof(key)),
                     key_str(body, sizeof(body)));
}

bool store_list_windows(struct store *store,
                        MDB_txn *txn,
                        int64_t first,
                        int64_t last,
                        int64_t **ret,
                        size_t *ret_count,
                        struct err *err) {
    *ret = NULL;
    *ret_count = 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_WINDOWS], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table windows");
    }
    uint8_t start[8];
    store_key_window(start, first);
    MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
    MDB_val row;
    size_t cap = 0;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size == sizeof(start) && bytes_be64_signed(key.mv_data) <= last) {
        *ret = vec_grow(*ret, &cap, *ret_count + 1, sizeof((*ret)[0]));
        (*ret)[(*ret_count)++] = bytes_be64_signed(key.mv_data);
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        mem_free(*ret);
        *ret = NULL;
        *ret_count = 0;
        return env_fail(&store->env, err, rc, "reading table windows");
    }
    return true;
}

/* ---- chunk references ---- */

void store_row_finish(struct store_row *row) {
    mem_free(row->refs);
    *row = (struct store_row){ 0 };
}

static bool is_before(const struct chunk_ref *a, const struct chunk_ref *b) {
    if (a->t_min_ms != b->t_min_ms) {
        return a->t_min_ms < b->t_min_ms;
    }
    return a->segment != b->segment ? a->segment < b->segment : a->offset < b->offset;
}

void store_row_add(struct store_row *row, struct chunk_ref ref) {
    row->refs = vec_grow(row->refs, &row->cap, row->count + 1, sizeof(row->refs[0]));
    size_t at = row->count++;
    for (; at > 0 && is_before(&ref, &row->refs[at - 1]); at--) {
        row->refs[at] = row->refs[at - 1];
    }
    row->refs[at] = ref;
}

void store_row_drop_below(struct store_row *row, uint64_t segment_floor) {
    size_t kept = 0;
    for (size_t i = 0; i < row->count; i++) {
        if (row->refs[i].segment >= segment_floor) {
            row->refs[kept++] = row->refs[i];
        }
    }
    row->count = kept;
}

void store_row_bounds(const struct store_row *row, int64_t *ret_t_min_ms, int64_t *ret_t_max_ms) {
    assert(row->count > 0);
    *ret_t_min_ms = row->refs[0].t_min_ms;
    *ret_t_max_ms = row->refs[0].t_max_ms;
    for (size_t i = 1; i < row->count; i++) {
        if (row->refs[i].t_max_ms > *ret_t_max_ms) {
            *ret_t_max_ms = row->refs[i].t_max_ms;
        }
    }
}

/* Version 1 knew no chunks out of order: the last one ends with the newest sample. */
static bool decode_row(struct str body, struct store_row *row) {
    struct reader reader = reader_init(body.ptr, body.len);
    uint8_t version = reader_u8(&reader);
    bool is_v1 = version == 1;
    uint64_t count;
    if (is_v1) {
        row->value_last_bits = reader_le64(&reader);
        count = reader_uvarint(&reader);
        row->has_last = count > 0;
    } else {
        count = reader_uvarint(&reader);
        row->has_last = (count & 1) != 0;
        count >>= 1;
        row->value_last_bits = row->has_last ? reader_le64(&reader) : 0;
    }
    struct chunk_ref ref = { 0 };
    for (uint64_t i = 0; i < count && !reader.is_bad; i++) {
        ref.segment += is_v1 ? reader_uvarint(&reader) : (uint64_t)reader_svarint(&reader);
        ref.offset = (uint32_t)reader_uvarint(&reader);
        ref.t_min_ms = i64_add(ref.t_max_ms, reader_svarint(&reader));
        ref.t_max_ms = i64_add(ref.t_min_ms, (int64_t)reader_uvarint(&reader));
        ref.count = (uint32_t)reader_uvarint(&reader);
        store_row_add(row, ref);
    }
    row->t_last_ms = ref.t_max_ms;
    if (!is_v1 && row->has_last) {
        row->t_last_ms = i64_add(ref.t_max_ms, reader_svarint(&reader));
    }
    return !reader.is_bad && version >= 1 && version <= REFS_VERSION && reader_left(&reader) == 0;
}

bool store_get_row(struct store *store,
                   MDB_txn *txn,
                   int64_t window,
                   uint64_t id,
                   struct store_row *row,
                   bool *ret_found,
                   struct err *err) {
    row->count = 0;
    row->has_last = false;
    uint8_t key[STORE_KEY_ROW_BYTES];
    store_key_row(key, window, id);
    struct str body;
    if (!store_get(store, txn, STORE_ROWS, key_str(key, sizeof(key)), &body, ret_found, err)) {
        return false;
    }
    return !*ret_found || decode_row(body, row) || malformed(err, STORE_ROWS);
}

int store_put_row(struct store *store,
                  MDB_txn *txn,
                  int64_t window,
                  uint64_t id,
                  const struct store_row *row) {
    struct buf body;
    buf_init(&body, ROW_BYTES_MAX);
    buf_putc(&body, REFS_VERSION);
    buf_uvarint(&body, (uint64_t)row->count << 1 | row->has_last);
    if (row->has_last) {
        buf_le64(&body, row->value_last_bits);
    }
    struct chunk_ref previous = { 0 };
    for (size_t i = 0; i < row->count; i++) {
        const struct chunk_ref *ref = &row->refs[i];
        buf_svarint(&body, (int64_t)(ref->segment - previous.segment));
        buf_uvarint(&body, ref->offset);
        buf_svarint(&body, i64_sub(ref->t_min_ms, previous.t_max_ms));
        buf_uvarint(&body, (uint64_t)i64_sub(ref->t_max_ms, ref->t_min_ms));
        buf_uvarint(&body, ref->count);
        previous = *ref;
    }
    if (row->has_last) {
        buf_svarint(&body, i64_sub(row->t_last_ms, previous.t_max_ms));
    }
    uint8_t key[STORE_KEY_ROW_BYTES];
    store_key_row(key, window, id);
    int rc = store_put(store, txn, STORE_ROWS, key_str(key, sizeof(key)), buf_as_str(&body));
    buf_finish(&body);
    return rc;
}

/* ---- deleting windows ---- */

int store_trim_prefix(struct store *store,
                      MDB_txn *txn,
                      enum store_table table,
                      struct str prefix,
                      size_t max,
                      bool *ret_more) {
    *ret_more = false;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[table], &cursor);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; rc == 0; i++) {
        MDB_val key = val_of(prefix);
        MDB_val row;
        rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
        if (rc != 0 || !str_starts_with(str_n(key.mv_data, key.mv_size), prefix)) {
            break;
        }
        if (i == max) {
            *ret_more = true;
            break;
        }
        rc = mdb_cursor_del(cursor, 0);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int store_trim_segments(struct store *store,
                        MDB_txn *txn,
                        int64_t window,
                        uint64_t floor,
                        size_t max,
                        bool *ret_more) {
    *ret_more = false;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_SEGMENTS], &cursor);
    if (rc != 0) {
        return rc;
    }
    uint8_t start[STORE_KEY_ROW_BYTES];
    store_key_row(start, window, 0);
    for (size_t i = 0; rc == 0; i++) {
        MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
        MDB_val row;
        rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
        if (rc != 0 || key.mv_size != sizeof(start) || bytes_be64_signed(key.mv_data) != window ||
            bytes_be64((const uint8_t *)key.mv_data + 8) >= floor) {
            break;
        }
        *ret_more = i == max;
        if (*ret_more) {
            break;
        }
        rc = mdb_cursor_del(cursor, 0);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int store_trim_window(struct store *store,
                      MDB_txn *txn,
                      enum store_table table,
                      int64_t window,
                      size_t max,
                      bool *ret_more) {
    uint8_t key[8];
    store_key_window(key, window);
    return store_trim_prefix(store, txn, table, key_str(key, sizeof(key)), max, ret_more);
}
