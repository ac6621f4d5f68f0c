/*
 * Gorilla XOR codec. Differences wrap modulo 2^64, so the extremes of int64 round-trip too.
 * Bits fill bytes from the most significant end.
 */
#include "tsdb/chunk.h"

#include <assert.h>

#include "model/model.h"
#include "tsdb/bytes.h"
#include "tsdb/codec_p3_columns.h"

#define LEADING_NONE 0xff

static_assert(CHUNK_SEALED_SAMPLES_MAX == P3_SAMPLES_MAX, "what is sealed is P3");

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

static void put_value(struct chunk_appender *appender, uint8_t *bytes, uint64_t value_bits) {
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

void chunk_appender_init(struct chunk_appender *appender) {
    *appender = (struct chunk_appender){ .leading = LEADING_NONE };
}

void chunk_append(struct chunk_appender *appender, uint8_t *bytes, int64_t t_ms, double value) {
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

/* ---- bits in ---- */

struct bit_reader {
    const uint8_t *bytes;
    uint64_t bit_count; /* available */
    uint64_t at;
    bool is_bad;
};

static uint64_t get_bits(struct bit_reader *reader, uint32_t n) {
    if (reader->is_bad || reader->bit_count - reader->at < n) {
        reader->is_bad = true;
        return 0;
    }
    if (n == 0) {
        return 0;
    }
    const uint8_t *p = reader->bytes + (reader->at >> 3);
    uint32_t offset = (uint32_t)reader->at & 7;
    reader->at += n;
    if ((reader->bit_count >> 3) - (uint64_t)(p - reader->bytes) >= 9) {
        uint64_t value = bytes_be64(p) << offset;
        if (offset != 0) {
            value |= (uint64_t)p[8] >> (8 - offset);
        }
        return value >> (64 - n);
    }
    uint64_t value = 0;
    for (uint32_t left = n; left > 0;) {
        uint32_t take = 8 - offset < left ? 8 - offset : left;
        uint32_t piece = ((uint32_t)*p >> (8 - offset - take)) & ((1U << take) - 1);
        value = value << take | piece;
        left -= take;
        offset = 0;
        p++;
    }
    return value;
}

static uint64_t get_uvarint(struct bit_reader *reader) {
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        uint64_t byte = get_bits(reader, 8);
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    reader->is_bad = true;
    return 0;
}

static uint64_t get_dod(struct bit_reader *reader) {
    uint32_t ones = 0;
    while (ones < 4 && get_bits(reader, 1) == 1) {
        ones++;
    }
    if (ones == 0) {
        return 0;
    }
    uint32_t bits = dod_classes[ones - 1].value_bits;
    uint64_t value = get_bits(reader, bits);
    if (bits < 64 && value > UINT64_C(1) << (bits - 1)) {
        value -= UINT64_C(1) << bits; /* negative, wrapping */
    }
    return value;
}

struct xor_window {
    uint32_t leading;
    uint32_t trailing;
};

static uint64_t get_xor(struct bit_reader *reader, struct xor_window *window) {
    if (get_bits(reader, 1) == 0) {
        return 0;
    }
    if (get_bits(reader, 1) == 1) {
        window->leading = (uint32_t)get_bits(reader, 5);
        uint32_t significant = (uint32_t)get_bits(reader, 6);
        if (significant == 0) {
            significant = 64;
        }
        if (window->leading + significant > 64) {
            reader->is_bad = true;
            return 0;
        }
        window->trailing = 64 - window->leading - significant;
    }
    return get_bits(reader, 64 - window->leading - window->trailing) << window->trailing;
}

static bool decode_xor(const uint8_t *bytes,
                       size_t len,
                       size_t count,
                       int64_t *ret_t_ms,
                       double *ret_values) {
    struct bit_reader reader = { .bytes = bytes, .bit_count = (uint64_t)len * 8 };
    struct xor_window window = { 0 };
    uint64_t t = 0;
    uint64_t delta = 0;
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        if (i == 0) {
            t = (uint64_t)unzigzag(get_uvarint(&reader));
            value = get_bits(&reader, 64);
        } else {
            delta = i == 1 ? get_uvarint(&reader) : delta + get_dod(&reader);
            t += delta;
            value ^= get_xor(&reader, &window);
        }
        if (reader.is_bad) {
            return false;
        }
        ret_t_ms[i] = (int64_t)t;
        ret_values[i] = double_from_bits(value);
    }
    return true;
}

/* ---- any codec ---- */

static bool decode_group(const struct chunk_view *chunk,
                         const struct p3_bounds *bounds,
                         int64_t *ret_t_ms,
                         double *ret_values) {
    if (chunk->group_t_ms == NULL ||
        !p3_group_decode(chunk->bytes, chunk->len, chunk->count, chunk->group_neighbour, ret_t_ms,
                         ret_values) ||
        !p3_group_fits(bounds, chunk->group_t_ms, chunk->count)) {
        return false;
    }
    memcpy(ret_t_ms, chunk->group_t_ms, chunk->count * sizeof(ret_t_ms[0]));
    return true;
}

static bool decode_columns(const struct chunk_view *chunk,
                           const struct p3_bounds *bounds,
                           int64_t *ret_t_ms,
                           double *ret_values) {
    struct p3_group group = { chunk->group_t_ms, chunk->group_neighbour };
    struct p3_columns_ret ret = { .t_ms = ret_t_ms, .values = ret_values };
    return p3_columns_decode(chunk->bytes, chunk->len, bounds, &group, &ret);
}

bool chunk_decode(const struct chunk_view *chunk, int64_t *ret_t_ms, double *ret_values) {
    struct p3_bounds bounds = {
        .count = chunk->count,
        .t_min_ms = chunk->t_min_ms,
        .t_max_ms = chunk->t_max_ms,
    };
    switch (chunk->codec) {
    case CHUNK_XOR: return decode_xor(chunk->bytes, chunk->len, chunk->count, ret_t_ms, ret_values);
    case CHUNK_P3: return p3_decode(chunk->bytes, chunk->len, &bounds, ret_t_ms, ret_values);
    case CHUNK_P3_GROUP: return decode_group(chunk, &bounds, ret_t_ms, ret_values);
    case CHUNK_P3_COLUMNS: return decode_columns(chunk, &bounds, ret_t_ms, ret_values);
    default: return false;
    }
}
