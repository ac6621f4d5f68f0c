/*
 * Tokens: a series' samples as small steps, 1 to 3 bytes each for most metrics (FORMAT.md, "Value
 * tokens"). The same bytes go into the journal and into the open chunk in memory.
 *
 * State  what a token is a step from: the value before, as an integer m with value = m / 10^e, or
 *        as its 64 bits. Writer and reader move their states alike; an absolute token needs none.
 * Exact for every double bit pattern and every int64 time. Reading accepts any bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tsdb/codec/bytes.h"

#define TOKEN_EXPONENT_MAX 15
#define TOKEN_BITS         16 /* exponent of a state that holds the bits of a double */
#define TOKEN_NONE         17 /* nothing known yet: the next token is absolute */

#define TOKEN_BYTES_MAX      10 /* of one value token */
#define TOKEN_TIME_BYTES_MAX 11 /* of the time token before it */

#define TOKEN_RUN_FIRST 0x00 /* one sample with the value before … */
#define TOKEN_RUN_LAST  0x3f /* … to 64 of them; the journal has runs of one only */

#define TOKEN_ABSOLUTE_FIRST 0xf0

struct token_state {
    uint64_t last;
    uint8_t exponent;
};

/* Bits of the value a state stands at; the exponent is not TOKEN_NONE. */
uint64_t token_value_bits(struct token_state state);

/* The state of a value of which only the bits are known. */
static inline struct token_state token_state_of_bits(uint64_t bits) {
    return (struct token_state){ .last = bits, .exponent = TOKEN_BITS };
}

/* Write the step to `value` (at most TOKEN_BYTES_MAX bytes) and move the state. Returns the end. */
uint8_t *token_put(struct token_state *state, double value, uint8_t *out);
/* The same without looking at the state before. */
uint8_t *token_put_absolute(struct token_state *state, double value, uint8_t *out);
/* The absolute token of a state, which may be any but TOKEN_NONE. */
uint8_t *token_put_state(struct token_state state, uint8_t *out);
/* The time token: how far the step between two samples is from the one before. Not for 0. */
uint8_t *token_put_time(int64_t step_change_ms, uint8_t *out);

/* Does a token that begins with this byte need no state? */
static inline bool token_is_absolute(uint8_t first) {
    return first >= TOKEN_ABSOLUTE_FIRST;
}

/* Read a value token and move the state. Returns how many samples have the value then (more than
 * one: a run); 0 when the bytes are malformed or a step has nothing to start from. */
uint32_t token_get(struct reader *reader, struct token_state *state);

/*
 * A stream: the first sample's absolute token, then per sample or run a time token, when the step
 * differs from the step before (0 at the start), and a value token. Decodes the first `count`
 * samples, of which the first is at t_first_ms. False when the bytes are malformed or too few.
 */
WARN_UNUSED bool token_stream_decode(struct reader *reader,
                                     size_t count,
                                     int64_t t_first_ms,
                                     int64_t *ret_t_ms,
                                     double *ret_values);
