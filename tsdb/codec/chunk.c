/*
 * Gorilla XOR codec. Differences wrap modulo 2^64, so the extremes of int64 round-trip too.
 * Bits fill bytes from the most significant end.
 */
#include "tsdb/codec/chunk.h"

#include <assert.h>

#include "model/model.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/codec/p3_columns.h"
#include "tsdb/codec/token.h"

static_assert(CHUNK_SEALED_SAMPLES_MAX == P3_SAMPLES_MAX, "what is sealed is P3");

/* Widths of the delta-of-delta classes, by the ones of their prefixes. */
static const uint8_t dod_bits[] = { 14, 17, 20, 64 };

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
    uint32_t bits = dod_bits[ones - 1];
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

static bool decode_stream(const struct chunk_view *chunk, int64_t *ret_t_ms, double *ret_values) {
    struct reader reader = reader_init(chunk->bytes, chunk->len);
    return token_stream_decode(&reader, chunk->count, chunk->t_min_ms, ret_t_ms, ret_values);
}

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
    case CHUNK_STREAM: return decode_stream(chunk, ret_t_ms, ret_values);
    case CHUNK_P3: return p3_decode(chunk->bytes, chunk->len, &bounds, ret_t_ms, ret_values);
    case CHUNK_P3_GROUP: return decode_group(chunk, &bounds, ret_t_ms, ret_values);
    case CHUNK_P3_COLUMNS: return decode_columns(chunk, &bounds, ret_t_ms, ret_values);
    default: return false;
    }
}
