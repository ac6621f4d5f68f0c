/*
 * Integers as bytes, for everything tsdb/ puts on disk (FORMAT.md): LEB128 varints, zigzag, fixed
 * little-endian in values, fixed big-endian in keys. Reading is bounds-checked with a sticky flag.
 */
#pragma once

#include "base/buf.h"

#define UVARINT_BYTES_MAX 10

static inline uint64_t zigzag(int64_t value) {
    return ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
}

static inline int64_t unzigzag(uint64_t value) {
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* Wrapping difference and sum: time may be anything an int64 holds. */
static inline int64_t i64_sub(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a - (uint64_t)b);
}

static inline int64_t i64_add(int64_t a, int64_t b) {
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

/* Saturating forms, for bounds. */
static inline int64_t i64_sub_sat(int64_t a, int64_t b) {
    int64_t result;
    if (__builtin_sub_overflow(a, b, &result)) {
        return b > 0 ? INT64_MIN : INT64_MAX;
    }
    return result;
}

static inline int64_t i64_add_sat(int64_t a, int64_t b) {
    int64_t result;
    if (__builtin_add_overflow(a, b, &result)) {
        return b > 0 ? INT64_MAX : INT64_MIN;
    }
    return result;
}

static inline int64_t i64_floor_div(int64_t a, int64_t positive) {
    int64_t quotient = a / positive;
    return a % positive < 0 ? quotient - 1 : quotient;
}

/* ---- writing ---- */

static inline uint8_t *bytes_put_uvarint(uint8_t *out, uint64_t value) {
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

static inline void bytes_put_le32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline void bytes_put_le64(uint8_t *out, uint64_t value) {
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

static inline void bytes_put_be16(uint8_t *out, uint16_t value) {
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static inline void bytes_put_be32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static inline void bytes_put_be64(uint8_t *out, uint64_t value) {
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(value >> (56 - 8 * i));
    }
}

/* Signed numbers in keys: biased, so that byte order is number order. */
static inline void bytes_put_be64_signed(uint8_t *out, int64_t value) {
    bytes_put_be64(out, (uint64_t)value ^ (UINT64_C(1) << 63));
}

static inline void buf_uvarint(struct buf *buf, uint64_t value) {
    uint8_t bytes[UVARINT_BYTES_MAX];
    buf_append(buf, bytes, (size_t)(bytes_put_uvarint(bytes, value) - bytes));
}

static inline void buf_svarint(struct buf *buf, int64_t value) {
    buf_uvarint(buf, zigzag(value));
}

static inline void buf_le32(struct buf *buf, uint32_t value) {
    uint8_t bytes[4];
    bytes_put_le32(bytes, value);
    buf_append(buf, bytes, sizeof(bytes));
}

static inline void buf_le64(struct buf *buf, uint64_t value) {
    uint8_t bytes[8];
    bytes_put_le64(bytes, value);
    buf_append(buf, bytes, sizeof(bytes));
}

/* ---- reading ---- */

static inline uint32_t bytes_le32(const uint8_t *in) {
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static inline uint64_t bytes_le64(const uint8_t *in) {
    return (uint64_t)bytes_le32(in) | (uint64_t)bytes_le32(in + 4) << 32;
}

static inline uint32_t bytes_be32(const uint8_t *in) {
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | (uint32_t)in[3];
}

static inline uint64_t bytes_be64(const uint8_t *in) {
    return (uint64_t)bytes_be32(in) << 32 | bytes_be32(in + 4);
}

static inline int64_t bytes_be64_signed(const uint8_t *in) {
    return (int64_t)(bytes_be64(in) ^ (UINT64_C(1) << 63));
}

/* A cursor over untrusted bytes. Once is_bad is set every read gives 0. */
struct reader {
    const uint8_t *next;
    const uint8_t *end;
    bool is_bad;
};

static inline struct reader reader_init(const void *bytes, size_t len) {
    const uint8_t *start = bytes;
    return (struct reader){ .next = start, .end = len == 0 ? start : start + len };
}

static inline size_t reader_left(const struct reader *reader) {
    return (size_t)(reader->end - reader->next);
}

static inline const uint8_t *reader_bytes(struct reader *reader, uint64_t len) {
    if (reader->is_bad || len > reader_left(reader)) {
        reader->is_bad = true;
        return NULL;
    }
    const uint8_t *bytes = reader->next;
    reader->next += len;
    return bytes;
}

static inline uint8_t reader_u8(struct reader *reader) {
    const uint8_t *bytes = reader_bytes(reader, 1);
    return bytes == NULL ? 0 : bytes[0];
}

static inline uint64_t reader_le64(struct reader *reader) {
    const uint8_t *bytes = reader_bytes(reader, 8);
    return bytes == NULL ? 0 : bytes_le64(bytes);
}

static inline uint32_t reader_le32(struct reader *reader) {
    const uint8_t *bytes = reader_bytes(reader, 4);
    return bytes == NULL ? 0 : bytes_le32(bytes);
}

static inline uint64_t reader_uvarint(struct reader *reader) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !reader->is_bad && reader->next < reader->end;
         shift += 7) {
        uint8_t byte = *reader->next++;
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    reader->is_bad = true;
    return 0;
}

static inline int64_t reader_svarint(struct reader *reader) {
    return unzigzag(reader_uvarint(reader));
}

static inline struct str reader_str(struct reader *reader) {
    uint64_t len = reader_uvarint(reader);
    const uint8_t *bytes = reader_bytes(reader, len);
    return bytes == NULL ? STR("") : str_n((const char *)bytes, (size_t)len);
}
