/* Encoder of Gorilla XOR chunks (FORMAT.md, codec 1), for tests of stores written by format 1. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* No single sample adds more than this. */
#define XOR_SAMPLE_BYTES_MAX 24

/* What appending needs to know of a chunk under construction. */
struct xor_appender {
    int64_t t_last_ms;
    uint64_t t_delta;
    uint64_t value_last_bits;
    uint32_t bit_count; /* length of the payload in bits */
    uint16_t count;
    uint8_t leading; /* of the previous XOR window; 0xff = none yet */
    uint8_t trailing;
};

void xor_appender_init(struct xor_appender *appender);

/* `bytes` is the payload with room for XOR_SAMPLE_BYTES_MAX more; count < CHUNK_SAMPLES_MAX. */
void xor_append(struct xor_appender *appender, uint8_t *bytes, int64_t t_ms, double value);

static inline uint32_t xor_byte_count(const struct xor_appender *appender) {
    return (appender->bit_count + 7) / 8;
}
