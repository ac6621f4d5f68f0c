/*
 * Fields of P3's mini-blocks: `width` bits each, from the least significant end. Unpacking is most
 * of what decoding does. With the width a constant, positions and masks are, too, and eight fields
 * begin at a byte: the widths that occur get code of their own.
 */
#include <assert.h>
#include <endian.h>

#include "tsdb/codec/p3_format.h"

/* How far behind the last field a read of eight bytes may go, and a ninth. */
#define UNPACK_OVERREAD 9

static uint64_t load_le64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return le64toh(value);
}

static void store_le64(uint8_t *bytes, uint64_t value) {
    value = htole64(value);
    memcpy(bytes, &value, sizeof(value));
}

uint8_t *p3_pack(const uint64_t *fields, size_t count, unsigned width, uint8_t *out) {
    uint64_t mask = width == 0 ? 0 : UINT64_MAX >> (64 - width);
    uint64_t pending = 0;
    unsigned pending_bits = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t field = fields[i] & mask;
        pending |= field << pending_bits;
        pending_bits += width;
        if (pending_bits >= 64) {
            store_le64(out, pending);
            out += 8;
            pending_bits -= 64;
            pending = pending_bits == 0 ? 0 : field >> (width - pending_bits);
        }
    }
    for (unsigned done = 0; done < pending_bits; done += 8) {
        *out++ = (uint8_t)(pending >> done);
    }
    return out;
}

/* width <= 57: the field is within eight bytes. */
static ALWAYS_INLINE uint64_t field_at(const uint8_t *bytes, size_t index, unsigned width) {
    size_t bit = index * width;
    return load_le64(bytes + bit / 8) >> bit % 8 & UINT64_MAX >> (64 - width);
}

static ALWAYS_INLINE void unpack_narrow(const uint8_t *bytes,
                                        size_t count,
                                        unsigned width,
                                        uint64_t *ret) {
    for (; count >= 8; count -= 8) {
        ret[0] = field_at(bytes, 0, width);
        ret[1] = field_at(bytes, 1, width);
        ret[2] = field_at(bytes, 2, width);
        ret[3] = field_at(bytes, 3, width);
        ret[4] = field_at(bytes, 4, width);
        ret[5] = field_at(bytes, 5, width);
        ret[6] = field_at(bytes, 6, width);
        ret[7] = field_at(bytes, 7, width);
        bytes += width;
        ret += 8;
    }
    for (size_t i = 0; i < count; i++) {
        ret[i] = field_at(bytes, i, width);
    }
}

static void unpack_wide(const uint8_t *bytes, size_t count, unsigned width, uint64_t *ret) {
    uint64_t mask = UINT64_MAX >> (64 - width);
    for (size_t i = 0; i < count; i++) {
        size_t bit = i * width;
        unsigned shift = bit % 8;
        uint64_t field = load_le64(bytes + bit / 8) >> shift;
        if (shift != 0) {
            field |= (uint64_t)bytes[bit / 8 + 8] << (64 - shift);
        }
        ret[i] = field & mask;
    }
}

/* Reads up to UNPACK_OVERREAD bytes behind the last field. */
static void unpack(const uint8_t *bytes, size_t count, unsigned width, uint64_t *ret) {
    switch (width) {
    case 1: unpack_narrow(bytes, count, 1, ret); break;
    case 2: unpack_narrow(bytes, count, 2, ret); break;
    case 3: unpack_narrow(bytes, count, 3, ret); break;
    case 4: unpack_narrow(bytes, count, 4, ret); break;
    case 5: unpack_narrow(bytes, count, 5, ret); break;
    case 6: unpack_narrow(bytes, count, 6, ret); break;
    case 7: unpack_narrow(bytes, count, 7, ret); break;
    case 8: unpack_narrow(bytes, count, 8, ret); break;
    case 9: unpack_narrow(bytes, count, 9, ret); break;
    case 10: unpack_narrow(bytes, count, 10, ret); break;
    case 11: unpack_narrow(bytes, count, 11, ret); break;
    case 12: unpack_narrow(bytes, count, 12, ret); break;
    case 13: unpack_narrow(bytes, count, 13, ret); break;
    case 14: unpack_narrow(bytes, count, 14, ret); break;
    case 15: unpack_narrow(bytes, count, 15, ret); break;
    case 16: unpack_narrow(bytes, count, 16, ret); break;
    case 17: unpack_narrow(bytes, count, 17, ret); break;
    case 18: unpack_narrow(bytes, count, 18, ret); break;
    case 19: unpack_narrow(bytes, count, 19, ret); break;
    case 20: unpack_narrow(bytes, count, 20, ret); break;
    case 21: unpack_narrow(bytes, count, 21, ret); break;
    case 22: unpack_narrow(bytes, count, 22, ret); break;
    case 23: unpack_narrow(bytes, count, 23, ret); break;
    case 24: unpack_narrow(bytes, count, 24, ret); break;
    default:
        if (width <= 57) {
            unpack_narrow(bytes, count, width, ret);
        } else {
            unpack_wide(bytes, count, width, ret);
        }
    }
}

/* At the end of the payload: nothing may be read behind it. */
static __attribute__((noinline)) void unpack_last(const uint8_t *bytes,
                                                  size_t len,
                                                  size_t count,
                                                  unsigned width,
                                                  uint64_t *ret) {
    uint8_t padded[P3_BLOCK_RESIDUALS * 8 + UNPACK_OVERREAD];
    memcpy(padded, bytes, len);
    memset(padded + len, 0, UNPACK_OVERREAD);
    unpack(padded, count, width, ret);
}

bool p3_unpack(struct reader *reader, size_t count, unsigned width, uint64_t *ret) {
    assert(width >= 1 && width <= 64 && count <= P3_BLOCK_RESIDUALS);
    size_t len = p3_packed_bytes(count, width);
    bool has_slack = reader_left(reader) >= len + UNPACK_OVERREAD;
    const uint8_t *bytes = reader_bytes(reader, len);
    if (bytes == NULL) {
        return false;
    }
    if (has_slack) {
        unpack(bytes, count, width, ret);
    } else {
        unpack_last(bytes, len, count, width, ret);
    }
    return true;
}
