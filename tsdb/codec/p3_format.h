/*
 * The inside of codec P3 (p3.h): what encoders and decoders agree on, mini-blocks of up to 64
 * residuals, and columns of integers made of them. FORMAT.md draws the bytes. Encoders write to
 * memory the caller sized; decoders take any bytes, write exactly `count` elements when they return
 * true and at most that many when not.
 */
#pragma once

#include "model/model.h"
#include "tsdb/codec/p3.h"

#define P3_BLOCK_RESIDUALS 64
#define P3_BLOCK_BYTES_MAX (1 + 8 * P3_BLOCK_RESIDUALS)

/* What an integer column of `count` elements takes at most. */
#define P3_INTS_BYTES_MAX(count) (8 * (count) + (count) / P3_BLOCK_RESIDUALS + 32)

/* The first byte of a value column: exponent, kind << 4, P3_EXCEPTIONS. */
enum p3_values_kind {
    P3_DECIMAL = 0,
    P3_CONSTANT = 1, /* one decimal */
    P3_REPEATED = 2, /* one bit pattern */
    P3_ULP = 3,
    P3_BITS = 4,
    P3_RAW = 5,
    P3_NEIGHBOUR = 6, /* differences to another column */
};

enum {
    P3_EXPONENT_MASK = 15,
    P3_EXPONENT_MAX = 15,
    P3_KIND_SHIFT = 4,
    P3_KIND_MASK = 7,
    P3_EXCEPTIONS = 0x80,
    P3_RUN_CODE_BITS = 3,
    P3_RUN_CODE_COUNT = 6,
};

/* |m| stays below it, so that m is exact as a double. */
#define P3_DECIMAL_LIMIT 9e15

/* 10^e; dividing by it is exact to the bit, multiplying by its inverse is not. */
extern const double p3_powers[P3_EXPONENT_MAX + 1];
/* Exceptions with a code of their own; code 0 is followed by the bits. */
extern const uint64_t p3_run_codes[P3_RUN_CODE_COUNT];

/* The first byte of a time column. */
enum p3_times_kind {
    P3_TIMES_EXACT = 0,
    P3_TIMES_GRID = 1,
    P3_TIMES_RAW = 2,
};

/* Neighbouring exceptions of one value. */
struct p3_run {
    uint32_t start;
    uint32_t count;
    uint64_t bits;
};

/* A whole number an int64 and a double both hold; not -0. Others are never differences. */
static inline bool p3_is_whole(double value, int64_t *ret) {
    if (!(value < P3_DECIMAL_LIMIT && value > -P3_DECIMAL_LIMIT)) {
        return false;
    }
    *ret = (int64_t)value;
    return double_bits((double)*ret) == double_bits(value);
}

static inline unsigned p3_bit_len(uint64_t value) {
    return value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
}

/* Two at a time, in vector registers every machine has. */
#define P3_LANES 2
typedef uint64_t p3_u64_lanes __attribute__((vector_size(P3_LANES * sizeof(uint64_t))));
typedef double p3_double_lanes __attribute__((vector_size(P3_LANES * sizeof(double))));

/* 8 bytes each: the value `bits`, then ever `step` more. */
static inline void p3_fill(void *ret, size_t count, uint64_t bits, uint64_t step) {
    p3_u64_lanes lanes = { bits, bits + step };
    p3_u64_lanes steps = { P3_LANES * step, P3_LANES * step };
    uint8_t *out = ret;
    for (; count >= P3_LANES; count -= P3_LANES) {
        memcpy(out, &lanes, sizeof(lanes));
        lanes += steps;
        out += sizeof(lanes);
    }
    if (count > 0) {
        memcpy(out, &lanes, sizeof(bits));
    }
}

static inline size_t p3_packed_bytes(size_t count, unsigned width) {
    return (count * width + 7) / 8;
}

/* Fields of `width` bits, at most 64, side by side; reading: of 1 to 64. */
uint8_t *p3_pack(const uint64_t *fields, size_t count, unsigned width, uint8_t *out);
WARN_UNUSED bool p3_unpack(struct reader *reader, size_t count, unsigned width, uint64_t *ret);

/* 1 <= count <= P3_BLOCK_RESIDUALS; returns the end of what was written. */
uint8_t *p3_block_encode(const uint64_t *residuals, size_t count, uint8_t *out);
WARN_UNUSED bool p3_block_decode(struct reader *reader, size_t count, uint64_t *ret);

/* count >= 1; `scratch` has room for `count` elements. */
uint8_t *p3_ints_encode(const int64_t *ints, size_t count, uint64_t *scratch, uint8_t *out);
WARN_UNUSED bool p3_ints_decode(struct reader *reader, size_t count, int64_t *ret);
