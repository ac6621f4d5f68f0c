/*
 * Checking one window in one transaction: rows and the chunks they refer to, segments, the index.
 *
 * The index must list exactly the pairs of the series with rows that are not pending. Comparing two
 * sets of that size is done by count and by sum of hashes, so that memory does not grow with them.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/head/u64map.h"
#include "tsdb/parts/part.h"
#include "tsdb/parts/window.h"
#include "tsdb/verify/verify.h"

struct window_check {
    int64_t window; /* or place of a merged part */
    uint64_t segment_floor;
    struct store_window found; /* what the rows add up to */
    uint64_t pair_count;       /* label pairs of the rows the index covers */
    uint64_t pair_sum;
    uint64_t posting_count; /* what the index has */
    uint64_t posting_sum;
    struct u64map verified; /* segments whose checksum is right */
    struct store_row row;
    struct tsdb_column column;
};

static uint64_t entry_hash(uint64_t pair, uint64_t id) {
    uint64_t hash = (pair ^ id) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
    hash *= UINT64_C(0xbf58476d1ce4e5b9);
    return hash ^ hash >> 32;
}

static uint64_t pair_hash(struct str name, struct str value) {
    return hash_bytes_seeded(value, hash_bytes(name));
}

/* ---- rows ---- */

static void check_chunk(struct verify *verify,
                        struct window_check *check,
                        const char *where,
                        uint64_t id,
                        const struct chunk_ref *ref) {
    struct err what = ERR_INIT;
    struct chunk_view chunk;
    uint64_t ignored;
    bool is_verified = u64map_get(&check->verified, ref->segment, &ignored);
    if (!segment_get_chunk(&verify->store, verify->txn, check->window, id, ref, is_verified, &chunk,
                           &what)) {
        verify_problem(verify, where, "%s", what.msg);
        return;
    }
    u64map_put(&check->verified, ref->segment, 1);
    struct tsdb_column *column = &check->column;
    column->count = 0;
    bool ok = chunk.count > 0 && chunk.count <= CHUNK_SEALED_SAMPLES_MAX &&
              column_decode(column, &chunk, INT64_MIN, INT64_MAX) && column->count == ref->count;
    if (!ok) {
        verify_problem(verify, where, "segment %" PRIu64 ": a chunk does not decode", ref->segment);
        return;
    }
    ok = column->t_ms[0] == ref->t_min_ms && column->t_ms[column->count - 1] == ref->t_max_ms;
    for (size_t i = 1; ok && i < column->count; i++) {
        ok = column->t_ms[i - 1] < column->t_ms[i];
    }
    if (!ok) {
        verify_problem(verify, where, "segment %" PRIu64 ": the times of a chunk are wrong",
                       ref->segment);
    }
}

static void add_ref(struct window_check *check, const struct chunk_ref *ref) {
    struct store_window *found = &check->found;
    found->chunk_count++;
    found->sample_count += ref->count;
    found->t_min_ms = ref->t_min_ms < found->t_min_ms ? ref->t_min_ms : found->t_min_ms;
    found->t_max_ms = ref->t_max_ms > found->t_max_ms ? ref->t_max_ms : found->t_max_ms;
}

static void check_labels(struct verify *verify,
                         struct window_check *check,
                         const char *where,
                         struct str key,
                         uint64_t id) {
    struct labels labels;
    if (!verify_labels(verify, id, &labels)) {
        verify_problem(verify, where, "table series does not have it");
        return;
    }
    MDB_val pending = { .mv_size = key.len, .mv_data = (void *)(uintptr_t)key.ptr };
    MDB_val ignored;
    if (mdb_get(verify->txn, verify->store.dbis[STORE_PENDING], &pending, &ignored) == 0) {
        return;
    }
    for (size_t i = 0; i < labels.count; i++) {
        check->pair_count++;
        check->pair_sum += entry_hash(pair_hash(labels.items[i].name, labels.items[i].value), id);
    }
}

static void check_row(struct verify *verify, void *ctx, struct str key, struct str body) {
    struct window_check *check = ctx;
    char where[96];
    struct err what = ERR_INIT;
    bool found;
    (void)body;
    if (key.len != STORE_KEY_ROW_BYTES) {
        verify_problem(verify, "key", "a key has the wrong size");
        return;
    }
    uint64_t id = bytes_be64((const uint8_t *)key.ptr + 8);
    snprintf(where, sizeof(where), "window %" PRId64 ", series %" PRIu64, check->window, id);
    if (!store_get_row(&verify->store, verify->txn, check->window, id, &check->row, &found,
                       &what)) {
        verify_problem(verify, where, "%s", what.msg);
        return;
    }
    store_row_drop_below(&check->row, check->segment_floor);
    if (check->row.count == 0 && check->segment_floor > 0) {
        return; /* merged, to be swept */
    }
    check->found.series_count++;
    for (size_t i = 0; i < check->row.count; i++) {
        const struct chunk_ref *ref = &check->row.refs[i];
        if (i > 0 && ref->t_min_ms < check->row.refs[i - 1].t_min_ms) {
            verify_problem(verify, where, "its chunks are out of order");
        }
        add_ref(check, ref);
        check_chunk(verify, check, where, id, ref);
    }
    check_labels(verify, check, where, key, id);
}

static void check_pending(struct verify *verify, void *ctx, struct str key, struct str body) {
    const struct window_check *check = ctx;
    (void)body;
    MDB_val row_key = { .mv_size = key.len, .mv_data = (void *)(uintptr_t)key.ptr };
    MDB_val row;
    if (key.len != STORE_KEY_ROW_BYTES ||
        mdb_get(verify->txn, verify->store.dbis[STORE_ROWS], &row_key, &row) != 0) {
        char where[64];
        snprintf(where, sizeof(where), "window %" PRId64, check->window);
        verify_problem(verify, where, "a pending row is not in table rows");
    }
}

/* ---- segments ---- */

static void check_segment(struct verify *verify, void *ctx, struct str key, struct str body) {
    (void)ctx;
    struct segment_walk walk;
    struct segment_chunk chunk;
    uint32_t offset;
    struct err what = ERR_INIT;
    MDB_val mdb_key = { .mv_size = key.len, .mv_data = (void *)(uintptr_t)key.ptr };
    MDB_val value = { .mv_size = body.len, .mv_data = (void *)(uintptr_t)body.ptr };
    verify->totals.segments++;
    bool ok = segment_walk_begin(mdb_key, value, &walk, &what);
    while (ok && segment_walk_next(&walk, &chunk, &offset, &what)) {
    }
    if (what.code != ERR_NONE) {
        char where[64];
        const struct window_check *check = ctx;
        snprintf(where, sizeof(where), "window %" PRId64, check->window);
        verify_problem(verify, where, "%s", what.msg);
    }
}

/* ---- the index ---- */

static void check_posting(struct verify *verify, void *ctx, struct str key, struct str body) {
    struct window_check *check = ctx;
    struct posting_row row;
    struct err what = ERR_INIT;
    char where[64];
    snprintf(where, sizeof(where), "window %" PRId64, check->window);
    if (!posting_parse(key, body, &row, &what)) {
        verify_problem(verify, where, "%s", what.msg);
        return;
    }
    uint64_t pair = pair_hash(row.name, row.value);
    uint64_t id;
    while (posting_next(&row, &id)) {
        check->posting_count++;
        check->posting_sum += entry_hash(pair, id);
    }
    if (row.ids.is_bad) {
        verify_problem(verify, where, "the ids of %.*s=\"%.*s\" cannot be read", STR_FMT(row.name),
                       STR_FMT(row.value));
    }
}

/* ---- the window ---- */

static void compare_stats(struct verify *verify,
                          const struct window_check *check,
                          const struct store_window *stats) {
    char where[64];
    snprintf(where, sizeof(where), "window %" PRId64, check->window);
    const struct store_window *sum = &check->found;
    if (stats == NULL) {
        if (sum->series_count > 0) {
            verify_problem(verify, where, "table windows does not have it");
        }
    } else if (sum->series_count != stats->series_count || sum->chunk_count != stats->chunk_count ||
               sum->sample_count != stats->sample_count) {
        verify_problem(verify, where,
                       "its rows have %" PRIu64 " series, %" PRIu64 " chunks, %" PRIu64
                       " samples instead of %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                       sum->series_count, sum->chunk_count, sum->sample_count, stats->series_count,
                       stats->chunk_count, stats->sample_count);
    }
    bool has_merged_ids = check->segment_floor > 0 && check->posting_count >= check->pair_count;
    if (!has_merged_ids &&
        (check->posting_count != check->pair_count || check->posting_sum != check->pair_sum)) {
        verify_problem(verify, where,
                       "the index does not list the series that are there (%" PRIu64
                       " entries, the labels of the rows are %" PRIu64 ")",
                       check->posting_count, check->pair_count);
    }
}

/* A merged part: every run of the directory, read in full. */
static void check_runs(struct verify *verify, struct window_check *check, const struct part *part) {
    struct err what = ERR_INIT;
    struct idset ids = { 0 };
    struct run_cache cache;
    run_cache_init(&cache);
    if (!part_ids(&verify->store, verify->txn, part->place, &ids, &what)) {
        verify_problem(verify, "directory", "%s", what.msg);
    }
    for (size_t i = 0; i < ids.count; i++) {
        struct part_read read = {
            .store = &verify->store,
            .txn = verify->txn,
            .part = part,
            .id = ids.ids[i],
            .t_min_ms = INT64_MIN,
            .t_max_ms = INT64_MAX,
            .cache = &cache,
        };
        char where[96];
        snprintf(where, sizeof(where), "window %" PRId64 ", series %" PRIu64, check->window,
                 read.id);
        what = (struct err)ERR_INIT;
        check->column.count = 0;
        if (!part_read(&read, &check->column, &what)) {
            verify_problem(verify, where, "%s", what.msg);
        }
        for (size_t s = 1; s < check->column.count; s++) {
            if (check->column.t_ms[s - 1] >= check->column.t_ms[s]) {
                verify_problem(verify, where, "its times do not ascend");
                break;
            }
        }
        uint8_t key[STORE_KEY_ROW_BYTES];
        store_key_row(key, part->place, read.id);
        check_labels(verify, check, where, str_n((const char *)key, sizeof(key)), read.id);
        check->found.series_count++;
        check->found.sample_count += check->column.count;
    }
    check->found.chunk_count = part->stats.chunk_count; /* not counted: they are read by run */
    run_cache_finish(&cache);
    idset_finish(&ids);
}

/* What is known of the place; false when its rows are litter. */
static bool get_part(struct verify *verify, int64_t place, struct part *ret, bool *ret_found) {
    struct err what = ERR_INIT;
    char where[64];
    *ret = (struct part){ .place = place, .is_merged = part_is_merged(place) };
    *ret_found = false;
    if (ret->is_merged && !verify->store.has_all) {
        return false;
    }
    if (!part_get(&verify->store, verify->txn, place, ret, ret_found, &what)) {
        snprintf(where, sizeof(where), "window %" PRId64, place);
        verify_problem(verify, where, "%s", what.msg);
        *ret = (struct part){ .place = place, .is_merged = part_is_merged(place) };
    }
    return !ret->is_merged || (*ret_found && ret->state == PART_LIVE);
}

/* Litter, of a merge under way or just over, is swept and read by nobody: what it holds is counted
 * with the table. */
static void count_segment(struct verify *verify, void *ctx, struct str key, struct str body) {
    verify->totals.segments++;
}

static void check_window(struct verify *verify, int64_t window) {
    struct part part;
    bool found;
    uint8_t bytes[8];
    store_key_window(bytes, window);
    struct str prefix = str_n((const char *)bytes, sizeof(bytes));
    verify_enter(verify, "store: table windows");
    if (!get_part(verify, window, &part, &found)) {
        verify_walk(verify, STORE_SEGMENTS, prefix, count_segment, NULL);
        return;
    }
    struct window_check check = {
        .window = window,
        .segment_floor = part.stats.segment_floor,
        .found = { .t_min_ms = INT64_MAX, .t_max_ms = INT64_MIN },
    };
    u64map_init(&check.verified);
    if (part.is_merged) {
        verify_enter(verify, "store: table directory");
        check_runs(verify, &check, &part);
    } else {
        verify_enter(verify, "store: table rows");
        verify_walk(verify, STORE_ROWS, prefix, check_row, &check);
    }
    verify_enter(verify, "store: table pending");
    verify_walk(verify, STORE_PENDING, prefix, check_pending, &check);
    verify_enter(verify, "store: table segments");
    verify_walk(verify, STORE_SEGMENTS, prefix, check_segment, &check);
    verify_enter(verify, "store: table postings");
    verify_walk(verify, STORE_POSTINGS, prefix, check_posting, &check);
    verify_enter(verify, "store: table windows");
    compare_stats(verify, &check, found ? &part.stats : NULL);
    verify->totals.windows++;
    verify->totals.rows += check.found.series_count;
    verify->totals.chunks += check.found.chunk_count;
    verify->totals.samples += check.found.sample_count;
    u64map_finish(&check.verified);
    store_row_finish(&check.row);
    tsdb_column_finish(&check.column);
}

/* The first window at or behind `from` (as in keys) some table has rows of. */
static bool find_window(struct verify *verify, const uint8_t from[8], int64_t *ret) {
    static const enum store_table tables[] = {
        STORE_WINDOWS,  STORE_ROWS,  STORE_PENDING,   STORE_SEGMENTS,
        STORE_POSTINGS, STORE_PARTS, STORE_DIRECTORY,
    };

    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        MDB_cursor *cursor;
        if (!verify->has_table[tables[i]] ||
            mdb_cursor_open(verify->txn, verify->store.dbis[tables[i]], &cursor) != 0) {
            continue; /* told when the table is walked */
        }
        MDB_val key = { .mv_size = 8, .mv_data = (void *)(uintptr_t)from };
        MDB_val row;
        if (mdb_cursor_get(cursor, &key, &row, MDB_SET_RANGE) == 0 && key.mv_size >= 8) {
            int64_t window = bytes_be64_signed(key.mv_data);
            *ret = !found || window < *ret ? window : *ret;
            found = true;
        }
        mdb_cursor_close(cursor);
    }
    return found;
}

bool verify_windows(struct verify *verify, struct err *err) {
    uint8_t from[8] = { 0 };
    for (;;) {
        int64_t window = 0;
        if (!env_read_begin(&verify->store.env, &verify->txn, err)) {
            return false;
        }
        bool found = find_window(verify, from, &window);
        if (found) {
            check_window(verify, window);
        }
        env_read_end(&verify->store.env, verify->txn);
        if (!found || window == INT64_MAX) {
            return true;
        }
        bytes_put_be64_signed(from, window + 1);
    }
}
