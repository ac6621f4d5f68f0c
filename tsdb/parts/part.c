/* Parts: their rows, listing them, reading a series of one. The directory is in directory.c. */
#include "tsdb/parts/part.h"

#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/head/head.h"
#include "tsdb/rollup/rollup.h"

#define PART_VERSION 1
#define PART_BYTES   (2 + 2 * 8 + STORE_WINDOW_STATS_BYTES)

static bool decode_part(int64_t place, struct str body, struct part *ret, struct err *err) {
    struct reader reader = reader_init(body.ptr, body.len);
    uint8_t version = reader_u8(&reader);
    *ret = (struct part){ .place = place, .is_merged = true };
    ret->state = reader_u8(&reader);
    ret->window_first = (int64_t)reader_le64(&reader);
    ret->window_end = (int64_t)reader_le64(&reader);
    store_read_window_stats(&reader, &ret->stats);
    return (!reader.is_bad && version == PART_VERSION && ret->state <= PART_DEAD) ||
           err_set(err, ERR_CORRUPT,
                   "store: a row of table parts is malformed or of a newer version");
}

static struct part damaged_part(int64_t place) {
    bool is_merged = part_is_merged(place);
    return (struct part){
        .place = place,
        .window_first = is_merged ? INT64_MIN : place,
        .window_end = is_merged ? INT64_MAX : place + 1,
        .is_merged = is_merged,
        .is_damaged = true,
        .state = PART_LIVE,
        .stats = { .t_min_ms = INT64_MAX, .t_max_ms = INT64_MIN },
    };
}

static struct part window_part(int64_t window, const struct store_window *stats) {
    return (struct part){
        .place = window,
        .window_first = window,
        .window_end = window + 1,
        .state = PART_LIVE,
        .stats = *stats,
    };
}

bool part_list_merged(struct store *store,
                      MDB_txn *txn,
                      struct part **ret,
                      size_t *ret_count,
                      struct err *err) {
    *ret = NULL;
    *ret_count = 0;
    size_t cap = 0;
    if (!store->has_all) {
        return true;
    }
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_PARTS], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table parts");
    }
    MDB_val key;
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT)) {
        struct str body;
        struct err what = ERR_INIT;
        if (key.mv_size != 8 || !part_is_merged(bytes_be64_signed(key.mv_data))) {
            continue;
        }
        int64_t place = bytes_be64_signed(key.mv_data);
        *ret = vec_grow(*ret, &cap, *ret_count + 1, sizeof((*ret)[0]));
        struct part *part = &(*ret)[(*ret_count)++];
        if (!store_check(STORE_PARTS, key, row, &body, &what) ||
            !decode_part(place, body, part, &what)) {
            *part = damaged_part(place);
        }
    }
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND) {
        return true;
    }
    mem_free(*ret);
    *ret = NULL;
    *ret_count = 0;
    return env_fail(&store->env, err, rc, "reading table parts");
}

static bool add_windows(struct store *store,
                        MDB_txn *txn,
                        const int64_t *windows,
                        size_t count,
                        struct part **parts,
                        size_t *part_count,
                        struct err *err) {
    size_t cap = *part_count;
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        bool found;
        struct part part;
        struct err what = ERR_INIT;
        if (!part_get(store, txn, windows[i], &part, &found, &what)) {
            ok = what.code == ERR_CORRUPT;
            part = damaged_part(windows[i]);
            *err = ok ? *err : what;
        }
        *parts = vec_grow(*parts, &cap, *part_count + 1, sizeof((*parts)[0]));
        (*parts)[(*part_count)++] = part;
    }
    return ok;
}

bool part_list(struct store *store,
               MDB_txn *txn,
               int64_t first,
               int64_t last,
               struct part **ret,
               size_t *ret_count,
               struct err *err) {
    int64_t *windows;
    size_t window_count;
    if (!store_list_windows(store, txn, first, last, &windows, &window_count, err)) {
        return false;
    }
    size_t count;
    bool ok = part_list_merged(store, txn, ret, &count, err);
    *ret_count = 0;
    for (size_t i = 0; ok && i < count; i++) {
        const struct part *part = &(*ret)[i];
        if (part->state == PART_LIVE && part->window_first <= last && part->window_end > first) {
            (*ret)[(*ret_count)++] = *part;
        }
    }
    ok = ok && add_windows(store, txn, windows, window_count, ret, ret_count, err);
    mem_free(windows);
    if (!ok) {
        mem_free(*ret);
        *ret = NULL;
        *ret_count = 0;
    }
    return ok;
}

static int compare_windows(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

bool part_windows(struct store *store,
                  MDB_txn *txn,
                  int64_t first,
                  int64_t last,
                  int64_t **ret,
                  size_t *ret_count,
                  struct err *err) {
    struct part *parts;
    size_t count;
    *ret = NULL;
    *ret_count = 0;
    if (!part_list(store, txn, first, last, &parts, &count, err)) {
        return false;
    }
    size_t cap = 0;
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_known = !(parts[i].is_merged && parts[i].is_damaged);
        for (int64_t window = parts[i].window_first; is_known && window < parts[i].window_end;
             window++) {
            if (window >= first && window <= last) {
                *ret = vec_grow(*ret, &cap, found + 1, sizeof((*ret)[0]));
                (*ret)[found++] = window;
            }
        }
    }
    mem_free(parts);
    if (found > 1) {
        qsort(*ret, found, sizeof((*ret)[0]), compare_windows);
    }
    for (size_t i = 0; i < found; i++) {
        if (*ret_count == 0 || (*ret)[*ret_count - 1] != (*ret)[i]) {
            (*ret)[(*ret_count)++] = (*ret)[i];
        }
    }
    return true;
}

bool part_get(struct store *store,
              MDB_txn *txn,
              int64_t place,
              struct part *ret,
              bool *ret_found,
              struct err *err) {
    if (!part_is_merged(place)) {
        struct store_window stats;
        if (!store_get_window(store, txn, place, &stats, ret_found, err)) {
            return false;
        }
        if (*ret_found) {
            *ret = window_part(place, &stats);
        }
        return true;
    }
    uint8_t key[8];
    struct str body;
    store_key_window(key, place);
    struct str key_str = str_n((const char *)key, sizeof(key));
    return store_get(store, txn, STORE_PARTS, key_str, &body, ret_found, err) &&
           (!*ret_found || decode_part(place, body, ret, err));
}

int part_put(struct store *store, MDB_txn *txn, const struct part *part) {
    if (!part->is_merged) {
        return store_put_window(store, txn, part->place, &part->stats);
    }
    uint8_t key[8];
    uint8_t body[PART_BYTES] = { PART_VERSION, part->state };
    store_key_window(key, part->place);
    bytes_put_le64(body + 2, (uint64_t)part->window_first);
    bytes_put_le64(body + 10, (uint64_t)part->window_end);
    store_write_window_stats(body + 18, &part->stats);
    return store_put(store, txn, STORE_PARTS, str_n((const char *)key, sizeof(key)),
                     str_n((const char *)body, sizeof(body)));
}

/* ---- series ---- */

static bool tolerate(const struct part_read *read,
                     enum damage_kind kind,
                     int64_t t_ms,
                     struct err *what,
                     struct err *err) {
    if (read->damaged != NULL) {
        return read->damaged(read->ctx, kind, t_ms, what, err);
    }
    *err = *what;
    return false;
}

static bool read_ref(const struct part_read *read,
                     const struct chunk_ref *ref,
                     struct tsdb_column *column,
                     struct err *err) {
    struct chunk_view chunk;
    int64_t place = read->part->place;
    bool is_verified = run_cache_is_verified(read->cache, place, ref->segment);
    if (!segment_get_chunk(read->store, read->txn, place, read->id, ref, is_verified, &chunk,
                           err)) {
        return false;
    }
    if (!is_verified) {
        run_cache_set_verified(read->cache, place, ref->segment);
    }
    return (chunk.count <= CHUNK_SEALED_SAMPLES_MAX &&
            column_decode(column, &chunk, read->t_min_ms, read->t_max_ms)) ||
           err_set(err, ERR_CORRUPT, "store: a chunk does not decode");
}

static bool read_refs(const struct part_read *read,
                      const struct store_row *row,
                      struct tsdb_column *column,
                      struct err *err) {
    bool ok = true;
    for (size_t i = 0; ok && i < row->count; i++) {
        const struct chunk_ref *ref = &row->refs[i];
        struct err what = ERR_INIT;
        if (ref->segment >= read->part->stats.segment_floor && ref->t_max_ms >= read->t_min_ms &&
            ref->t_min_ms <= read->t_max_ms && !read_ref(read, ref, column, &what)) {
            ok = tolerate(read, DAMAGE_SEGMENT, ref->t_min_ms, &what, err);
        }
    }
    return ok;
}

static bool read_window(const struct part_read *read, struct tsdb_column *column, struct err *err) {
    const struct part *part = read->part;
    struct store_row row = { 0 };
    bool found;
    struct err what = ERR_INIT;
    bool ok;
    if (store_get_row(read->store, read->txn, part->place, read->id, &row, &found, &what)) {
        ok = !found || read_refs(read, &row, column, err);
    } else {
        ok = tolerate(read, DAMAGE_ROW, part->stats.t_min_ms, &what, err);
    }
    store_row_finish(&row);
    return ok;
}

/* Of a damaged run what lies before the damage was added. */
static bool read_merged(const struct part_read *read, struct tsdb_column *column, struct err *err) {
    const struct part *part = read->part;
    struct directory_entry entry;
    bool found;
    struct err what = ERR_INIT;
    if (!directory_find(read->store, read->txn, part->place, read->id, &entry, &found, &what)) {
        return tolerate(read, DAMAGE_ROW, part->stats.t_min_ms, &what, err);
    }
    struct run_read run = {
        .store = read->store,
        .txn = read->txn,
        .place = part->place,
        .id = read->id,
        .segment = entry.segment,
        .offset = entry.offset,
        .t_min_ms = read->t_min_ms,
        .t_max_ms = read->t_max_ms,
        .cache = read->cache,
    };
    size_t count = column->count;
    if (!found || run_read(&run, column, &what)) {
        return true;
    }
    int64_t t_ms = column->count > count ? column->t_ms[column->count - 1] : part->stats.t_min_ms;
    return tolerate(read, DAMAGE_SEGMENT, t_ms, &what, err);
}

bool part_read(const struct part_read *read, struct tsdb_column *column, struct err *err) {
    return read->part->is_merged ? read_merged(read, column, err) : read_window(read, column, err);
}

static bool last_of_row(const struct store_row *row, struct sample *ret) {
    if (row->has_last) {
        *ret = (struct sample){
            .t_ms = row->t_last_ms,
            .value = double_from_bits(row->value_last_bits),
        };
    }
    return row->has_last;
}

static bool last_of_run(struct store *store,
                        MDB_txn *txn,
                        const struct part *part,
                        uint64_t id,
                        struct sample *ret,
                        bool *ret_found,
                        struct err *err) {
    struct tsdb_column column = { 0 };
    struct run_cache cache;
    run_cache_init(&cache);
    struct part_read read = {
        .store = store,
        .txn = txn,
        .part = part,
        .id = id,
        .t_min_ms = INT64_MIN,
        .t_max_ms = INT64_MAX,
        .cache = &cache,
    };
    bool ok = part_read(&read, &column, err);
    *ret_found = ok && column.count > 0;
    if (*ret_found) {
        *ret = (struct sample){
            .t_ms = column.t_ms[column.count - 1],
            .value = column.values[column.count - 1],
        };
    }
    tsdb_column_finish(&column);
    run_cache_finish(&cache);
    return ok;
}

/* A merged part has rows of those series only whose newest sample came out of order. */
bool part_last(struct store *store,
               MDB_txn *txn,
               const struct part *part,
               uint64_t id,
               struct sample *ret,
               bool *ret_found,
               struct err *err) {
    struct store_row row = { 0 };
    bool has_row;
    bool ok = store_get_row(store, txn, part->place, id, &row, &has_row, err);
    *ret_found = ok && has_row && last_of_row(&row, ret);
    store_row_finish(&row);
    if (!ok || has_row || !part->is_merged) {
        return ok;
    }
    return last_of_run(store, txn, part, id, ret, ret_found, err);
}

bool part_find_last(struct store *store,
                    MDB_txn *txn,
                    int64_t window,
                    uint64_t id,
                    struct sample *ret,
                    bool *ret_found,
                    struct err *err) {
    struct part *parts;
    size_t count;
    *ret_found = false;
    if (!part_list(store, txn, window, window, &parts, &count, err)) {
        return false;
    }
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        struct sample sample;
        bool found;
        ok = part_last(store, txn, &parts[i], id, &sample, &found, err);
        if (ok && found && (!*ret_found || sample.t_ms > ret->t_ms)) {
            *ret = sample;
            *ret_found = true;
        }
    }
    mem_free(parts);
    return ok;
}

static bool row_ids(struct store *store,
                    MDB_txn *txn,
                    int64_t window,
                    struct idset *out,
                    struct err *err) {
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, store->dbis[STORE_ROWS], &cursor);
    if (rc != 0) {
        return env_fail(&store->env, err, rc, "reading table rows");
    }
    uint8_t start[STORE_KEY_ROW_BYTES];
    store_key_row(start, window, 0);
    MDB_val key = { .mv_size = sizeof(start), .mv_data = start };
    MDB_val row;
    rc = mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE);
    while (rc == 0 && key.mv_size == sizeof(start) && bytes_be64_signed(key.mv_data) == window) {
        idset_add(out, bytes_be64((const uint8_t *)key.mv_data + 8));
        rc = mdb_cursor_get(cursor, &key, &row, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == 0 || rc == MDB_NOTFOUND || env_fail(&store->env, err, rc, "reading table rows");
}

bool part_ids(struct store *store,
              MDB_txn *txn,
              int64_t place,
              struct idset *out,
              struct err *err) {
    if (rollup_is_place(place)) {
        return rollup_ids(store, txn, place, out, err);
    }
    return part_is_merged(place) ? directory_ids(store, txn, place, out, err)
                                 : row_ids(store, txn, place, out, err);
}
