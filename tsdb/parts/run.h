/*
 * Runs: how a merged part holds its samples (FORMAT.md, 2.4). All chunks of a series follow one
 * another in metric order of the series; times stand in segments of their own, once for all series
 * that were sampled together.
 *
 * Threads: one owner at a time.
 */
#pragma once

#include "tsdb/codec/p3.h"
#include "tsdb/head/u64map.h"
#include "tsdb/parts/store.h"
#include "tsdb/tsdb.h"

#define RUN_CHUNK_SAMPLES_AIM 960
#define RUN_CHUNK_SAMPLES_MAX CHUNK_MERGED_SAMPLES_MAX

/* ---- reading ---- */

#define RUN_CACHE_SLOTS 512

/* A decoded column, times or values. */
struct run_decoded {
    int64_t place; /* with segment and offset: whose these are */
    uint32_t segment;
    uint16_t offset;
    uint32_t count;
    size_t cap;

    union {
        int64_t *t_ms;
        double *values;
        void *cells;
    };
};

/* What a reader remembers: segments whose checksum was right, columns of times, values that others
 * lean on. Columns are kept by hash, the last one wins. */
struct run_cache {
    struct u64map verified;
    struct run_decoded *times;  /* [RUN_CACHE_SLOTS]; NULL until needed */
    struct run_decoded *values; /* the same */
    int64_t *scratch;           /* [RUN_CHUNK_SAMPLES_MAX]; the same */
};

void run_cache_init(struct run_cache *cache);
void run_cache_finish(struct run_cache *cache);

/* Was the segment's checksum seen to be right? Window parts have place-free segment numbers. */
bool run_cache_is_verified(const struct run_cache *cache, int64_t place, uint64_t segment);
void run_cache_set_verified(struct run_cache *cache, int64_t place, uint64_t segment);

struct run_read {
    struct store *store;
    MDB_txn *txn;
    int64_t place;
    uint64_t id;
    uint32_t segment; /* where the directory says the run starts */
    uint16_t offset;
    int64_t t_min_ms;
    int64_t t_max_ms;
    struct run_cache *cache;
};

/* Add the samples in range to the column. */
WARN_UNUSED bool run_read(const struct run_read *read, struct tsdb_column *column, struct err *err);

/* ---- writing ---- */

struct run_segment { /* finished, in memory */
    uint32_t number;
    size_t at; /* in run_writer.bytes */
    size_t len;
};

struct run_writer {
    struct buf values; /* segments under construction */
    struct buf times;
    uint32_t values_number;
    uint32_t times_number;
    uint32_t number_next;
    struct buf bytes; /* of finished segments */
    struct run_segment *segments;
    size_t segment_count;
    size_t segment_cap;
    struct u64map known; /* hash of times → number of a run_column, from 1 */
    struct run_column *columns;
    size_t column_count;
    size_t column_cap;
    uint64_t seeds[2];
    struct p3_encoder encoder;
    struct buf payloads; /* of the series at hand */
    struct run_piece *pieces;
    size_t piece_count;
    size_t piece_cap;
    struct run_piece *before; /* of the series before */
    size_t before_count;
    size_t before_cap;
    double *before_values;
    size_t before_value_cap;
};

void run_writer_init(struct run_writer *writer);
void run_writer_finish(struct run_writer *writer);

struct run_cut {
    size_t first;
    size_t end;
};

/* Where chunks of a series with these times begin and end: at borders of windows, so that series
 * sampled together are cut at the same times. *cuts is grown (mem_free). */
void run_cut_times(const int64_t *t_ms,
                   size_t count,
                   int64_t block_ms,
                   struct run_cut **cuts,
                   size_t *cap,
                   size_t *ret_count);

struct run_series {
    uint64_t id;
    const struct tsdb_column *column; /* ascending in time */
    const struct run_cut *cuts;
    size_t cut_count;
    bool is_next_bucket; /* of the histogram the series before belongs to */
};

/* Append a series. Says where its run begins. */
void run_writer_add(struct run_writer *writer,
                    const struct run_series *series,
                    uint32_t *ret_segment,
                    uint16_t *ret_offset);

/* Bytes that wait to be written. */
static inline size_t run_writer_bytes(const struct run_writer *writer) {
    return writer->bytes.len;
}

/* No more series follow: finish the segments under construction. */
void run_writer_end(struct run_writer *writer);
/* The finished segments were written. */
void run_writer_taken(struct run_writer *writer);
