/*
 * Chunks: runs of (time, value) as bytes (FORMAT.md, "Chunk payloads"). While samples come in, a
 * chunk is a stream of tokens (token.h), which appends; sealed ones are P3 (p3.h), those of
 * format 1 Gorilla XOR with the bit layout of Prometheus' XOR chunks. Every stored chunk names its
 * codec. Exact for every int64 time and every
 * double bit pattern. Decoding accepts any bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum chunk_codec {
    CHUNK_XOR = 1, /* read only */
    CHUNK_P3 = 2,
    CHUNK_P3_GROUP = 3,     /* leans on columns of other chunks */
    CHUNK_P3_HISTOGRAM = 4, /* p3_histogram.h; not for chunk_decode() */
    CHUNK_P3_COLUMNS = 5,   /* p3_columns.h; chunk_decode() gives times and values */
    CHUNK_STREAM = 255,     /* in memory only; t_min_ms is the first sample's */
};

#define CHUNK_SAMPLES_MAX        120   /* of one under construction */
#define CHUNK_MERGED_SAMPLES_MAX 1920  /* of one that merging writes */
#define CHUNK_SEALED_SAMPLES_MAX 65535 /* of any stored one */

/* A chunk as stored, and what its header says about it. */
struct chunk_view {
    uint8_t codec;
    const uint8_t *bytes;
    size_t len;
    size_t count;
    int64_t t_min_ms; /* of the first and the last sample; XOR does not look at them */
    int64_t t_max_ms;
    /* Of chunks in a group: decoded columns of `count` elements (p3.h). */
    const int64_t *group_t_ms;
    const double *group_neighbour; /* NULL = none */
};

/*
 * All `count` samples, or the first `count` of an XOR chunk or stream that has more. False when the
 * codec is unknown or the bytes are malformed; ret_* may be written to, within count, either way.
 */
WARN_UNUSED bool chunk_decode(const struct chunk_view *chunk,
                              int64_t *ret_t_ms,
                              double *ret_values);
