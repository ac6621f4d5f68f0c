/*
 * Value tokens; FORMAT.md draws the bytes. A series keeps the exponent it has found until a value
 * does not fit it, so that a step costs one multiplication and one division; values of no exponent
 * are steps between bit patterns until a large step makes another look worth it.
 */
#include "tsdb/codec/token.h"

#include <math.h>

#include "model/model.h"

#define ONE_FIRST   0x40 /* zigzag 1 to 128 */
#define ONE_LAST    0xbf
#define TWO_FIRST   0xc0                 /* 13 bits, big-endian */
#define THREE_FIRST 0xe0                 /* 19 bits, big-endian */
#define LONG_FIRST  0xe8                 /* 1 to 8 bytes follow, little-endian */
#define DECIMAL     TOKEN_ABSOLUTE_FIRST /* 0xf0 + e, e <= 9; svarint m */
#define DECIMAL_U8  0xfa                 /* u8 e; svarint m */
#define RAW         0xfb                 /* 8 bytes */
#define STALE       0xfc
#define NOT_NUMBER  0xfd
#define TIME        0xfe /* svarint; not a value */

#define ONE_BASE   1
#define TWO_BASE   (ONE_BASE + (ONE_LAST - ONE_FIRST + 1))
#define THREE_BASE (TWO_BASE + (1 << 13))
#define LONG_BASE  (THREE_BASE + (1 << 19))

#define SHORT_EXPONENT_MAX 9

/* Steps between bits from here on cost as much as an integer would: look for one again. */
#define BITS_STEP_LARGE      (UINT64_C(1) << 32)
#define RETRY_EXPONENT_COUNT 7

static const double powers[TOKEN_EXPONENT_MAX + 1] = {
    1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
};

/* ---- numbers ---- */

/* Both m as a double and 10^e are exact, and the division is the nearest double: what reading
 * computes is what was compared here. */
static inline bool to_integer(double value, unsigned exponent, int64_t *ret) {
    double scaled = value * powers[exponent];
    if (!(fabs(scaled) < 9007199254740992.0)) {
        return false; /* NaN, too */
    }
    int64_t m = (int64_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    *ret = m;
    return double_bits((double)m / powers[exponent]) == double_bits(value);
}

static bool find_exponent(double value, unsigned count, unsigned *ret_exponent, int64_t *ret) {
    for (unsigned e = 0; e < count; e++) {
        if (to_integer(value, e, ret)) {
            *ret_exponent = e;
            return true;
        }
    }
    return false;
}

static bool is_finite_bits(uint64_t bits) {
    return (bits >> 52 & 0x7ff) != 0x7ff;
}

uint64_t token_value_bits(struct token_state state) {
    return state.exponent == TOKEN_BITS
               ? state.last
               : double_bits((double)(int64_t)state.last / powers[state.exponent]);
}

/* ---- writing ---- */

static inline uint8_t *put_step(uint8_t *out, uint64_t step) {
    if (step == 0) {
        *out++ = TOKEN_RUN_FIRST;
    } else if (step < TWO_BASE) {
        *out++ = (uint8_t)(ONE_FIRST + (step - ONE_BASE));
    } else if (step < THREE_BASE) {
        step -= TWO_BASE;
        *out++ = (uint8_t)(TWO_FIRST | step >> 8);
        *out++ = (uint8_t)step;
    } else if (step < LONG_BASE) {
        step -= THREE_BASE;
        *out++ = (uint8_t)(THREE_FIRST | step >> 16);
        *out++ = (uint8_t)(step >> 8);
        *out++ = (uint8_t)step;
    } else {
        unsigned count = (71 - (unsigned)__builtin_clzll(step)) / 8;
        *out++ = (uint8_t)(LONG_FIRST + count - 1);
        for (unsigned i = 0; i < count; i++) {
            *out++ = (uint8_t)(step >> (8 * i));
        }
    }
    return out;
}

uint8_t *token_put_state(struct token_state state, uint8_t *out) {
    if (state.exponent == TOKEN_BITS) {
        if (state.last == STALE_NAN_BITS || state.last == NORMAL_NAN_BITS) {
            *out++ = state.last == STALE_NAN_BITS ? STALE : NOT_NUMBER;
            return out;
        }
        *out++ = RAW;
        bytes_put_le64(out, state.last);
        return out + 8;
    }
    if (state.exponent <= SHORT_EXPONENT_MAX) {
        *out++ = (uint8_t)(DECIMAL + state.exponent);
    } else {
        *out++ = DECIMAL_U8;
        *out++ = state.exponent;
    }
    return bytes_put_uvarint(out, zigzag((int64_t)state.last));
}

static uint8_t *put_found(struct token_state *state, double value, unsigned count, uint8_t *out) {
    unsigned exponent;
    int64_t m;
    if (find_exponent(value, count, &exponent, &m)) {
        *state = (struct token_state){ .last = (uint64_t)m, .exponent = (uint8_t)exponent };
    } else {
        *state = token_state_of_bits(double_bits(value));
    }
    return token_put_state(*state, out);
}

uint8_t *token_put_absolute(struct token_state *state, double value, uint8_t *out) {
    return put_found(state, value, TOKEN_EXPONENT_MAX + 1, out);
}

static uint8_t *put_bits(struct token_state *state, double value, uint8_t *out) {
    uint64_t bits = double_bits(value);
    if (!is_finite_bits(bits) || !is_finite_bits(state->last)) {
        return token_put_absolute(state, value, out);
    }
    uint64_t step = zigzag((int64_t)(bits - state->last));
    unsigned exponent;
    int64_t m;
    if (step >= BITS_STEP_LARGE && find_exponent(value, RETRY_EXPONENT_COUNT, &exponent, &m)) {
        return token_put_absolute(state, value, out);
    }
    state->last = bits;
    return put_step(out, step);
}

uint8_t *token_put(struct token_state *state, double value, uint8_t *out) {
    int64_t m;
    if (state->exponent <= TOKEN_EXPONENT_MAX) {
        if (to_integer(value, state->exponent, &m)) {
            uint64_t step = zigzag((int64_t)((uint64_t)m - state->last));
            state->last = (uint64_t)m;
            return put_step(out, step);
        }
    } else if (state->exponent == TOKEN_BITS) {
        return put_bits(state, value, out);
    }
    return token_put_absolute(state, value, out);
}

uint8_t *token_put_time(int64_t step_change_ms, uint8_t *out) {
    *out++ = TIME;
    return bytes_put_uvarint(out, zigzag(step_change_ms));
}

/* ---- reading ---- */

static uint64_t get_big_endian(struct reader *reader, unsigned count) {
    const uint8_t *bytes = reader_bytes(reader, count);
    uint64_t value = 0;
    for (unsigned i = 0; bytes != NULL && i < count; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static uint64_t get_little_endian(struct reader *reader, unsigned count) {
    const uint8_t *bytes = reader_bytes(reader, count);
    uint64_t value = 0;
    for (unsigned i = 0; bytes != NULL && i < count; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static uint64_t get_step(struct reader *reader, unsigned first) {
    if (first < TWO_FIRST) {
        return first - ONE_FIRST + ONE_BASE;
    }
    if (first < THREE_FIRST) {
        return TWO_BASE + ((uint64_t)(first & 0x1f) << 8 | get_big_endian(reader, 1));
    }
    if (first < LONG_FIRST) {
        return THREE_BASE + ((uint64_t)(first & 7) << 16 | get_big_endian(reader, 2));
    }
    return get_little_endian(reader, first - LONG_FIRST + 1);
}

static bool get_absolute(struct reader *reader, unsigned first, struct token_state *state) {
    switch (first) {
    case RAW: *state = token_state_of_bits(reader_le64(reader)); return true;
    case STALE: *state = token_state_of_bits(STALE_NAN_BITS); return true;
    case NOT_NUMBER: *state = token_state_of_bits(NORMAL_NAN_BITS); return true;
    case DECIMAL_U8:
        state->exponent = reader_u8(reader);
        state->last = (uint64_t)reader_svarint(reader);
        if (state->exponent > TOKEN_EXPONENT_MAX) {
            state->exponent = TOKEN_NONE;
            return false;
        }
        return true;
    default:
        if (first > DECIMAL + SHORT_EXPONENT_MAX) {
            return false;
        }
        state->exponent = (uint8_t)(first - DECIMAL);
        state->last = (uint64_t)reader_svarint(reader);
        return true;
    }
}

uint32_t token_get(struct reader *reader, struct token_state *state) {
    unsigned first = reader_u8(reader);
    uint32_t count = 1;
    if (reader->is_bad) {
        return 0;
    }
    if (first >= DECIMAL) {
        if (!get_absolute(reader, first, state)) {
            return 0;
        }
    } else if (state->exponent == TOKEN_NONE) {
        return 0;
    } else if (first <= TOKEN_RUN_LAST) {
        count = first - TOKEN_RUN_FIRST + 1;
    } else {
        state->last += (uint64_t)unzigzag(get_step(reader, first));
    }
    return reader->is_bad ? 0 : count;
}

bool token_stream_decode(struct reader *reader,
                         size_t count,
                         int64_t t_first_ms,
                         int64_t *ret_t_ms,
                         double *ret_values) {
    struct token_state state = { .exponent = TOKEN_NONE };
    uint64_t t = (uint64_t)t_first_ms;
    uint64_t step = 0;
    for (size_t at = 0; at < count;) {
        if (reader_left(reader) > 0 && *reader->next == TIME) {
            reader->next++;
            step += (uint64_t)reader_svarint(reader);
        }
        uint32_t run = token_get(reader, &state);
        if (run == 0) {
            return false;
        }
        double value = double_from_bits(token_value_bits(state));
        for (; run > 0 && at < count; run--, at++) {
            t += at == 0 ? 0 : step;
            ret_t_ms[at] = (int64_t)t;
            ret_values[at] = value;
        }
    }
    return true;
}
