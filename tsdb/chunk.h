/*
 * Chunks: runs of (time, value) as bytes (FORMAT.md, "Chunk payloads"). While samples come in, a
 * chunk is Gorilla XOR with the bit layout of Prometheus' XOR chunks, which appends; sealed ones
 * are P3 (codec_p3.h). Every stored chunk names its codec. Exact for every int64 time and every
 * double bit pattern. Decoding accepts any bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

enum chunk_codec {
    CHUNK_XOR = 1, /* on disk: append only */
    CHUNK_P3 = 2,
    CHUNK_P3_GROUP = 3,     /* leans on columns of other chunks */
    CHUNK_P3_HISTOGRAM = 4, /* codec_p3_histogram.h; not for chunk_decode() */
    CHUNK_P3_COLUMNS = 5,   /* codec_p3_columns.h; chunk_decode() gives times and values */
};

#define CHUNK_SAMPLES_MAX        120   /* of one under construction */
#define CHUNK_MERGED_SAMPLES_MAX 480   /* of one that merging writes */
#define CHUNK_SEALED_SAMPLES_MAX 65535 /* of any stored one */

/* A chunk as stored, and what its header says about it. */
struct chunk_view {
    uint8_t codec;
    const uint8_t *bytes;
    size_t len;
    size_t count;
    int64_t t_min_ms; /* of the first and the last sample; XOR does not look at them */
    int64_t t_max_ms;
    /* Of chunks in a group: decoded columns of `count` elements (codec_p3.h). */
    const int64_t *group_t_ms;
    const double *group_neighbour; /* NULL = none */
};

/* No single sample adds more than this. */
#define CHUNK_SAMPLE_BYTES_MAX 24

/* What appending needs to know of a chunk under construction. */
struct chunk_appender {
    int64_t t_last_ms;
    uint64_t t_delta;
    uint64_t value_last_bits;
    uint32_t bit_count; /* length of the payload in bits */
    uint16_t count;
    uint8_t leading; /* of the previous XOR window; 0xff = none yet */
    uint8_t trailing;
};

void chunk_appender_init(struct chunk_appender *appender);

/* `bytes` is the payload with room for CHUNK_SAMPLE_BYTES_MAX more; count < CHUNK_SAMPLES_MAX. */
void chunk_append(struct chunk_appender *appender, uint8_t *bytes, int64_t t_ms, double value);

static inline uint32_t chunk_byte_count(const struct chunk_appender *appender) {
    return (appender->bit_count + 7) / 8;
}

/*
 * All `count` samples, or the first `count` of an XOR chunk that has more. False when the codec is
 * unknown or the bytes are malformed; ret_* may be written to, within count, either way.
 */
WARN_UNUSED bool chunk_decode(const struct chunk_view *chunk,
                              int64_t *ret_t_ms,
                              double *ret_values);
