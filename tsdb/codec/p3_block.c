/*
 * Mini-blocks of P3: up to 64 residuals in the smallest of four forms. Most residuals are small and
 * alike; a few outliers are patched onto a narrower packing instead of widening all of it.
 */
#include <assert.h>

#include "tsdb/codec/p3_format.h"

/* First byte of a block. A plain block's is its width. */
enum {
    HEAD_ZERO = 0,
    HEAD_PLAIN_MAX = 64,
    HEAD_PATCHED = 0x41, /* + width of the low parts, 0..62 */
    HEAD_PATCHED_MAX = 0x7f,
    HEAD_BITMAP = 0x80, /* + width of the nonzero residuals, 1..64 */
    HEAD_BITMAP_MAX = 0x80 + 64,
};

enum {
    POSITION_BITS = 6,
    HIGH_BITS_MAX = 50, /* of a patch, so that position and high part fill one field */
    PATCH_OVERHEAD = 2, /* bytes: count, width of the high parts */
};

/* ---- encoding ---- */

struct block_shape {
    uint8_t by_width[65]; /* how many residuals have this many bits; up to width_max */
    unsigned width_max;
    size_t nonzero_count;
};

/* Counting in turns: the same counter would wait for itself, widths are much alike. */
static void measure(const uint64_t *residuals, size_t count, struct block_shape *shape) {
    uint8_t turns[4][65] = { 0 };
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all |= residuals[i];
        turns[i % 4][p3_bit_len(residuals[i])]++;
    }
    shape->width_max = p3_bit_len(all);
    for (unsigned width = 0; width <= shape->width_max; width++) {
        shape->by_width[width] =
            (uint8_t)(turns[0][width] + turns[1][width] + turns[2][width] + turns[3][width]);
    }
    shape->nonzero_count = count - shape->by_width[0];
}

/* The width of low parts that makes a patched block smallest; width_max when none beats *bytes. */
static unsigned best_patch(const struct block_shape *shape, size_t count, size_t *bytes) {
    unsigned best = shape->width_max;
    size_t patch_count = 0;
    for (unsigned width = shape->width_max; width-- > 0;) {
        unsigned high_bits = shape->width_max - width;
        patch_count += shape->by_width[width + 1];
        if (patch_count > count / 4 || high_bits > HIGH_BITS_MAX) {
            break;
        }
        size_t cost = PATCH_OVERHEAD + p3_packed_bytes(count, width) +
                      p3_packed_bytes(patch_count, POSITION_BITS + high_bits);
        if (cost < *bytes && HEAD_PATCHED + width <= HEAD_PATCHED_MAX) {
            *bytes = cost;
            best = width;
        }
    }
    return best;
}

static uint8_t *encode_bitmap(const uint64_t *residuals,
                              size_t count,
                              unsigned width,
                              uint8_t *out) {
    UNINITIALIZED uint64_t nonzero[P3_BLOCK_RESIDUALS];
    uint64_t bitmap = 0;
    size_t nonzero_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (residuals[i] != 0) {
            bitmap |= UINT64_C(1) << i;
            nonzero[nonzero_count++] = residuals[i];
        }
    }
    *out++ = (uint8_t)(HEAD_BITMAP + width);
    for (size_t i = 0; i < (count + 7) / 8; i++) {
        *out++ = (uint8_t)(bitmap >> (8 * i));
    }
    return p3_pack(nonzero, nonzero_count, width, out);
}

static uint8_t *encode_patched(const uint64_t *residuals,
                               size_t count,
                               unsigned width,
                               unsigned width_max,
                               uint8_t *out) {
    UNINITIALIZED uint64_t patches[P3_BLOCK_RESIDUALS];
    size_t patch_count = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t high = residuals[i] >> width;
        if (high != 0) {
            patches[patch_count++] = i | high << POSITION_BITS;
        }
    }
    unsigned high_bits = width_max - width;
    *out++ = (uint8_t)(HEAD_PATCHED + width);
    *out++ = (uint8_t)patch_count;
    *out++ = (uint8_t)high_bits;
    out = p3_pack(residuals, count, width, out);
    return p3_pack(patches, patch_count, POSITION_BITS + high_bits, out);
}

uint8_t *p3_block_encode(const uint64_t *residuals, size_t count, uint8_t *out) {
    assert(count >= 1 && count <= P3_BLOCK_RESIDUALS);
    UNINITIALIZED struct block_shape shape;
    measure(residuals, count, &shape);
    if (shape.nonzero_count == 0) {
        *out++ = HEAD_ZERO;
        return out;
    }
    size_t bytes = p3_packed_bytes(count, shape.width_max);
    unsigned width = best_patch(&shape, count, &bytes);
    if ((count + 7) / 8 + p3_packed_bytes(shape.nonzero_count, shape.width_max) < bytes) {
        return encode_bitmap(residuals, count, shape.width_max, out);
    }
    if (width < shape.width_max) {
        return encode_patched(residuals, count, width, shape.width_max, out);
    }
    *out++ = (uint8_t)shape.width_max;
    return p3_pack(residuals, count, shape.width_max, out);
}

/* ---- decoding ---- */

static bool decode_bitmap(struct reader *reader, size_t count, unsigned width, uint64_t *ret) {
    const uint8_t *bytes = reader_bytes(reader, (count + 7) / 8);
    uint64_t bitmap = 0;
    for (size_t i = 0; bytes != NULL && i < (count + 7) / 8; i++) {
        bitmap |= (uint64_t)bytes[i] << (8 * i);
    }
    if (bytes == NULL || (count < 64 && bitmap >> count != 0)) {
        return false;
    }
    UNINITIALIZED uint64_t nonzero[P3_BLOCK_RESIDUALS];
    if (!p3_unpack(reader, (size_t)__builtin_popcountll(bitmap), width, nonzero)) {
        return false;
    }
    memset(ret, 0, count * sizeof(ret[0]));
    for (size_t i = 0; bitmap != 0; i++, bitmap &= bitmap - 1) {
        ret[__builtin_ctzll(bitmap)] = nonzero[i];
    }
    return true;
}

static bool decode_patched(struct reader *reader, size_t count, unsigned width, uint64_t *ret) {
    size_t patch_count = reader_u8(reader);
    unsigned high_bits = reader_u8(reader);
    if (reader->is_bad || patch_count == 0 || patch_count > count || high_bits == 0 ||
        high_bits > HIGH_BITS_MAX || width + high_bits > 64) {
        return false;
    }
    if (width == 0) {
        memset(ret, 0, count * sizeof(ret[0]));
    } else if (!p3_unpack(reader, count, width, ret)) {
        return false;
    }
    UNINITIALIZED uint64_t patches[P3_BLOCK_RESIDUALS];
    if (!p3_unpack(reader, patch_count, POSITION_BITS + high_bits, patches)) {
        return false;
    }
    for (size_t i = 0; i < patch_count; i++) {
        size_t position = patches[i] & (P3_BLOCK_RESIDUALS - 1);
        if (position >= count) {
            return false;
        }
        ret[position] |= patches[i] >> POSITION_BITS << width;
    }
    return true;
}

bool p3_block_decode(struct reader *reader, size_t count, uint64_t *ret) {
    assert(count >= 1 && count <= P3_BLOCK_RESIDUALS);
    uint8_t head = reader_u8(reader);
    if (reader->is_bad) {
        return false;
    }
    if (head == HEAD_ZERO) {
        memset(ret, 0, count * sizeof(ret[0]));
        return true;
    }
    if (head <= HEAD_PLAIN_MAX) {
        return p3_unpack(reader, count, head, ret);
    }
    if (head <= HEAD_PATCHED_MAX) {
        return decode_patched(reader, count, (unsigned)(head - HEAD_PATCHED), ret);
    }
    if (head > HEAD_BITMAP && head <= HEAD_BITMAP_MAX) {
        return decode_bitmap(reader, count, (unsigned)(head - HEAD_BITMAP), ret);
    }
    return false;
}
