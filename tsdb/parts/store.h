/*
 * The store environment: sealed chunks in segments, one row per series and window, the catalog of
 * series (catalog.h), the index of finished windows. Bytes are drawn in FORMAT.md.
 *
 * Every row but the empty ones carries CRC-32C over table, key and value. Functions taking `txn`
 * run inside the caller's transaction; those returning int return LMDB codes.
 * Threads: as env.h; writes come from the store thread (under the maintain lock).
 */
#pragma once

#include "model/model.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/codec/chunk.h"
#include "tsdb/env/env.h"
#include "tsdb/head/idset.h"

enum store_table {
    STORE_META,         /* "state" → struct store_state, "floor" */
    STORE_OLD_SERIES,   /* formats 1 and 2: id → labels */
    STORE_OLD_HASH,     /* formats 1 and 2: labels_hash, id → nothing */
    STORE_OLD_LAST,     /* formats 1 and 2: id → newest window with samples */
    STORE_WINDOWS,      /* window → struct store_window */
    STORE_ROWS,         /* window, id → chunk references */
    STORE_PENDING,      /* window, id → nothing: rows no window index covers */
    STORE_SEGMENTS,     /* window, number → segment */
    STORE_POSTINGS,     /* window, name, value, part → ids */
    STORE_ROLLUPS,      /* resolution, period, id → buckets (rollup.h) */
    STORE_ROLLUP_MARKS, /* resolution, period → how far it is built */
    STORE_PARTS,        /* place → struct part (part.h) */
    STORE_DIRECTORY,    /* place, first id → block of struct directory_entry */
    STORE_LABELS,       /* id → labels of series (catalog.h) */
    STORE_IDS,          /* hash of labels → ids */
    STORE_LASTS,        /* id → newest windows with samples in order */
    STORE_TABLE_COUNT,
};

extern const char *const store_table_names[STORE_TABLE_COUNT];

#define SEGMENT_BYTES_MAX    (8 * 4096 - 16)
#define SEGMENT_HEADER_BYTES 16
#define CHUNK_HEADER_MAX     64

struct store {
    struct env env;
    MDB_dbi dbis[STORE_TABLE_COUNT];
    bool has_all; /* false: no tables from STORE_ROLLUPS on, only when reading older formats */
};

struct store_state {
    int64_t block_ms;
    uint64_t id_next;
    uint64_t applied_lsn; /* every sample of records up to here is sealed, dropped or covered */
    uint64_t segment_next;
};

struct store_window {
    int64_t t_min_ms;
    int64_t t_max_ms;
    uint64_t series_count;
    uint64_t sample_count;
    uint64_t chunk_count;
    uint64_t segment_bytes;
    /* window parts (part.h) only */
    uint64_t segment_floor; /* what lies in segments with lower numbers was merged away */
    int64_t changed_ms;     /* wall clock of the last sealing; 0 = before format 3 */
    bool is_swept;          /* nothing is left below the floor but ids in the index */
};

#define STORE_WINDOW_STATS_BYTES 48 /* encoded, without what only window parts have */

struct chunk_ref {
    uint64_t segment;
    uint32_t offset;
    uint32_t count;
    int64_t t_min_ms;
    int64_t t_max_ms;
};

/* Chunks of out-of-order samples may overlap others. The newest sample that came in order tells
 * replay what it need not append again; times of chunks cannot. */
struct store_row {
    bool has_last; /* some sample of the row came in order: the newest of those */
    int64_t t_last_ms;
    uint64_t value_last_bits;
    struct chunk_ref *refs; /* by t_min_ms, then segment, then offset */
    size_t count;
    size_t cap; /* private */
};

void store_row_finish(struct store_row *row); /* fine on a zeroed one */

/* ---- life ---- */

WARN_UNUSED bool store_open(struct store *store,
                            const char *path,
                            bool is_read_only,
                            struct err *err);
void store_close(struct store *store);

/* Of all tables, free pages left out. */
uint64_t store_bytes(struct store *store);

/* ---- rows in general ---- */

/* `body` follows the checksum. *ret_found false: no such row. */
WARN_UNUSED bool store_get(struct store *store,
                           MDB_txn *txn,
                           enum store_table table,
                           struct str key,
                           struct str *ret_body,
                           bool *ret_found,
                           struct err *err);
/* Check a row met with a cursor. */
WARN_UNUSED bool store_check(enum store_table table,
                             MDB_val key,
                             MDB_val row,
                             struct str *ret_body,
                             struct err *err);
int store_put(struct store *store,
              MDB_txn *txn,
              enum store_table table,
              struct str key,
              struct str body);
/* `flags`: of mdb_put. */
int store_put_flags(struct store *store,
                    MDB_txn *txn,
                    enum store_table table,
                    struct str key,
                    struct str body,
                    unsigned flags);
int store_put_empty(struct store *store, MDB_txn *txn, enum store_table table, struct str key);
int store_del(struct store *store, MDB_txn *txn, enum store_table table, struct str key);

#define STORE_KEY_ID_BYTES  8
#define STORE_KEY_ROW_BYTES 16

void store_key_id(uint8_t key[STORE_KEY_ID_BYTES], uint64_t id);
void store_key_window(uint8_t key[8], int64_t window);
void store_key_row(uint8_t key[STORE_KEY_ROW_BYTES], int64_t window, uint64_t id);

/* LMDB code for an error found while reading inside a write. */
static inline int store_rc_of(const struct err *err) {
    return err->code == ERR_CORRUPT ? MDB_CORRUPTED : MDB_PANIC;
}

/* ---- particular rows ---- */

WARN_UNUSED bool store_get_state(struct store *store,
                                 MDB_txn *txn,
                                 struct store_state *ret,
                                 bool *ret_found,
                                 struct err *err);
int store_put_state(struct store *store, MDB_txn *txn, const struct store_state *state);

/* Retention took samples before this time; INT64_MIN = none. */
WARN_UNUSED bool store_get_floor(struct store *store, MDB_txn *txn, int64_t *ret, struct err *err);
int store_put_floor(struct store *store, MDB_txn *txn, int64_t floor_ms);

WARN_UNUSED bool store_get_window(struct store *store,
                                  MDB_txn *txn,
                                  int64_t window,
                                  struct store_window *ret,
                                  bool *ret_found,
                                  struct err *err);
int store_put_window(struct store *store,
                     MDB_txn *txn,
                     int64_t window,
                     const struct store_window *stats);
void store_read_window_stats(struct reader *reader, struct store_window *ret);
void store_write_window_stats(uint8_t *out, const struct store_window *stats);

/* Windows first..last that exist, ascending, appended to *ret (mem_free). */
WARN_UNUSED bool store_list_windows(struct store *store,
                                    MDB_txn *txn,
                                    int64_t first,
                                    int64_t last,
                                    int64_t **ret,
                                    size_t *ret_count,
                                    struct err *err);

/* `row` is reused: reset, then filled. */
WARN_UNUSED bool store_get_row(struct store *store,
                               MDB_txn *txn,
                               int64_t window,
                               uint64_t id,
                               struct store_row *row,
                               bool *ret_found,
                               struct err *err);
int store_put_row(struct store *store,
                  MDB_txn *txn,
                  int64_t window,
                  uint64_t id,
                  const struct store_row *row);
/* Into its place in the order. */
void store_row_add(struct store_row *row, struct chunk_ref ref);
/* Forget chunks in segments with numbers below `segment_floor`. */
void store_row_drop_below(struct store_row *row, uint64_t segment_floor);
/* Oldest and newest time of a row with chunks. */
void store_row_bounds(const struct store_row *row, int64_t *ret_t_min_ms, int64_t *ret_t_max_ms);

/* ---- segments ---- */

struct segment_chunk {
    uint64_t id;
    uint8_t codec;
    uint32_t count;
    int64_t t_min_ms;
    int64_t t_max_ms;
    struct str bytes;
};

enum segment_level {
    SEGMENT_SEALED, /* chunks as sealing made them */
    SEGMENT_RUNS,   /* run.h */
    SEGMENT_TIMES,
};

/* Start one that segment_add does not: its header; each thing added is counted. `distance`: the
 * number of the segment in which the last run goes on, less its own. */
void segment_begin(struct buf *segment, uint8_t level);
void segment_count(struct buf *segment);
void segment_set_next(struct buf *segment, uint32_t distance);

/* Append a chunk to a segment under construction; false when it does not fit (the segment is
 * full). *ret_offset is where it starts. `segment` starts out empty (len 0). */
WARN_UNUSED bool segment_add(struct buf *segment,
                             const struct segment_chunk *chunk,
                             uint32_t *ret_offset);
/* Pad, checksum, write. *ret_bytes is the size on disk. */
int segment_put(struct store *store,
                MDB_txn *txn,
                int64_t window,
                uint64_t number,
                struct str segment,
                uint64_t *ret_bytes);

/* Of a segment with so many bytes in it. */
uint64_t segment_disk_bytes(size_t used);

struct segment_view {
    const uint8_t *bytes; /* in the transaction's memory */
    uint32_t used;        /* header included */
    uint8_t level;
    uint32_t next; /* see segment_set_next; 0 = none */
};

/* `is_verified`: the segment's checksum was seen to be right before. */
WARN_UNUSED bool segment_get(struct store *store,
                             MDB_txn *txn,
                             int64_t place,
                             uint64_t number,
                             bool is_verified,
                             struct segment_view *ret,
                             struct err *err);

/* Have the segment read from the disk in the background, if there is one: the map is not read ahead
 * by the system (MDB_NORDAHEAD), and faults would fetch it page by page. */
void segment_prefetch(struct store *store, MDB_txn *txn, int64_t place, uint64_t number);

/* Find a chunk; `is_verified`: the segment's checksum was seen to be right before. ret->bytes lie
 * in the transaction's memory. */
WARN_UNUSED bool segment_get_chunk(struct store *store,
                                   MDB_txn *txn,
                                   int64_t window,
                                   uint64_t id,
                                   const struct chunk_ref *ref,
                                   bool is_verified,
                                   struct chunk_view *ret,
                                   struct err *err);

/* Walk the chunks of a segment row as stored; those with runs or times have none. Damage:
 * ERR_CORRUPT, of the whole segment. */
struct segment_walk {
    uint64_t number;
    const uint8_t *bytes;
    uint32_t used;
    uint32_t at;
};

WARN_UNUSED bool segment_walk_begin(MDB_val key,
                                    MDB_val value,
                                    struct segment_walk *ret,
                                    struct err *err);
/* False at the end, or with err set when the rest is malformed. ret->bytes as in the row. */
bool segment_walk_next(struct segment_walk *walk,
                       struct segment_chunk *ret,
                       uint32_t *ret_offset,
                       struct err *err);

/* ---- deleting windows ---- */

/* Delete up to `max` rows whose key starts with `prefix` from one table. *ret_more: some are
 * left. */
int store_trim_prefix(struct store *store,
                      MDB_txn *txn,
                      enum store_table table,
                      struct str prefix,
                      size_t max,
                      bool *ret_more);
/* Delete up to `max` segments of a window with numbers below `floor`. */
int store_trim_segments(struct store *store,
                        MDB_txn *txn,
                        int64_t window,
                        uint64_t floor,
                        size_t max,
                        bool *ret_more);
/* store_trim_prefix for the rows of a window. */
int store_trim_window(struct store *store,
                      MDB_txn *txn,
                      enum store_table table,
                      int64_t window,
                      size_t max,
                      bool *ret_more);
