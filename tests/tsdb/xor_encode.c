/* Writing codec 1, as format version 1 did: the store only reads it. */
#include "tests/tsdb/xor_encode.h"

#include <assert.h>

#include "model/model.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/codec/chunk.h"

#define LEADING_NONE 0xff

/* Prefixes and widths of the delta-of-delta classes, and what they reach. */
struct dod_class {
    uint8_t prefix;
    uint8_t prefix_bits;
    uint8_t value_bits;
};

static const struct dod_class dod_classes[] = {
    { .prefix = 0x2, .prefix_bits = 2, .value_bits = 14 },
    { .prefix = 0x6, .prefix_bits = 3, .value_bits = 17 },
    { .prefix = 0xe, .prefix_bits = 4, .value_bits = 20 },
    { .prefix = 0xf, .prefix_bits = 4, .value_bits = 64 },
};

/* ---- bits out ---- */

static void put_bits(uint8_t *bytes, uint32_t *bit_count, uint64_t value, uint32_t n) {
    assert(n <= 64);
    while (n > 0) {
        uint32_t at = *bit_count & 7;
        uint8_t *byte = &bytes[*bit_count >> 3];
        if (at == 0) {
            *byte = 0;
        }
        uint32_t take = 8 - at < n ? 8 - at : n;
        uint64_t piece = (value >> (n - take)) & ((1U << take) - 1);
        *byte = (uint8_t)(*byte | (uint8_t)(piece << (8 - at - take)));
        *bit_count += take;
        n -= take;
    }
}

static void put_uvarint(uint8_t *bytes, uint32_t *bit_count, uint64_t value) {
    uint8_t encoded[UVARINT_BYTES_MAX];
    uint8_t *end = bytes_put_uvarint(encoded, value);
    for (uint8_t *p = encoded; p < end; p++) {
        put_bits(bytes, bit_count, *p, 8);
    }
}

static bool dod_fits(int64_t dod, uint32_t bits) {
    if (bits == 64) {
        return true;
    }
    /* As upstream: -(2^(bits-1) - 1) .. 2^(bits-1). */
    int64_t half = INT64_C(1) << (bits - 1);
    return dod >= -half + 1 && dod <= half;
}

static void put_dod(uint8_t *bytes, uint32_t *bit_count, int64_t dod) {
    if (dod == 0) {
        put_bits(bytes, bit_count, 0, 1);
        return;
    }
    size_t i = 0;
    while (!dod_fits(dod, dod_classes[i].value_bits)) {
        i++;
    }
    put_bits(bytes, bit_count, dod_classes[i].prefix, dod_classes[i].prefix_bits);
    put_bits(bytes, bit_count, (uint64_t)dod, dod_classes[i].value_bits);
}

static void put_value(struct xor_appender *appender, uint8_t *bytes, uint64_t value_bits) {
    uint64_t xored = value_bits ^ appender->value_last_bits;
    if (xored == 0) {
        put_bits(bytes, &appender->bit_count, 0, 1);
        return;
    }
    put_bits(bytes, &appender->bit_count, 1, 1);
    uint32_t leading = (uint32_t)__builtin_clzll(xored);
    uint32_t trailing = (uint32_t)__builtin_ctzll(xored);
    if (leading > 31) {
        leading = 31;
    }
    if (appender->leading != LEADING_NONE && leading >= appender->leading &&
        trailing >= appender->trailing) {
        uint32_t significant = 64U - appender->leading - appender->trailing;
        put_bits(bytes, &appender->bit_count, 0, 1);
        put_bits(bytes, &appender->bit_count, xored >> appender->trailing, significant);
        return;
    }
    appender->leading = (uint8_t)leading;
    appender->trailing = (uint8_t)trailing;
    uint32_t significant = 64 - leading - trailing;
    put_bits(bytes, &appender->bit_count, 1, 1);
    put_bits(bytes, &appender->bit_count, leading, 5);
    put_bits(bytes, &appender->bit_count, significant & 63, 6); /* 64 is written as 0 */
    put_bits(bytes, &appender->bit_count, xored >> trailing, significant);
}

void xor_appender_init(struct xor_appender *appender) {
    *appender = (struct xor_appender){ .leading = LEADING_NONE };
}

void xor_append(struct xor_appender *appender, uint8_t *bytes, int64_t t_ms, double value) {
    assert(appender->count < CHUNK_SAMPLES_MAX);
    uint64_t value_bits = double_bits(value);
    uint64_t delta = (uint64_t)t_ms - (uint64_t)appender->t_last_ms;
    if (appender->count == 0) {
        put_uvarint(bytes, &appender->bit_count, zigzag(t_ms));
        put_bits(bytes, &appender->bit_count, value_bits, 64);
    } else {
        if (appender->count == 1) {
            put_uvarint(bytes, &appender->bit_count, delta);
        } else {
            put_dod(bytes, &appender->bit_count, (int64_t)(delta - appender->t_delta));
        }
        appender->t_delta = delta;
        put_value(appender, bytes, value_bits);
    }
    appender->t_last_ms = t_ms;
    appender->value_last_bits = value_bits;
    appender->count++;
}
