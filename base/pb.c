/* Protocol buffer wire format, reading and writing. */
#include "base/pb.h"

#include <assert.h>

enum {
    VARINT_BYTES_MAX = 10
};

static bool fail(struct pb_reader *reader) {
    reader->is_bad = true;
    return false;
}

static size_t left(const struct pb_reader *reader) {
    return (size_t)(reader->end - reader->pos);
}

/* Leaves pos at the varint's start when it is malformed. */
static bool read_varint(struct pb_reader *reader, uint64_t *ret) {
    const uint8_t *at = reader->pos;
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && at < reader->end; i++) {
        uint8_t byte = *at++;
        if (i == VARINT_BYTES_MAX - 1 && byte > 1) {
            return fail(reader);
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            reader->pos = at;
            *ret = value;
            return true;
        }
    }
    return fail(reader);
}

static bool read_fixed(struct pb_reader *reader, unsigned bytes, uint64_t *ret) {
    if (left(reader) < bytes) {
        return fail(reader);
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)reader->pos[i] << (8 * i);
    }
    reader->pos += bytes;
    *ret = value;
    return true;
}

static bool read_bytes(struct pb_reader *reader, struct str *ret) {
    uint64_t len;
    if (!read_varint(reader, &len)) {
        return false;
    }
    if (len > left(reader)) {
        return fail(reader);
    }
    *ret = str_n((const char *)reader->pos, (size_t)len);
    reader->pos += len;
    return true;
}

bool pb_next(struct pb_reader *reader, struct pb_field *ret) {
    if (reader->is_bad || reader->pos == reader->end) {
        return false;
    }
    uint64_t tag;
    if (!read_varint(reader, &tag)) {
        return false;
    }
    uint64_t number = tag >> 3;
    if (number == 0 || number > (UINT32_C(1) << 29) - 1) {
        return fail(reader);
    }
    struct pb_field field = { .number = (uint32_t)number };
    bool ok = false;
    switch (tag & 7) {
    case PB_VARINT:
        field.wire = PB_VARINT;
        ok = read_varint(reader, &field.value);
        break;
    case PB_FIXED64:
        field.wire = PB_FIXED64;
        ok = read_fixed(reader, 8, &field.value);
        break;
    case PB_BYTES:
        field.wire = PB_BYTES;
        ok = read_bytes(reader, &field.bytes);
        break;
    case PB_FIXED32:
        field.wire = PB_FIXED32;
        ok = read_fixed(reader, 4, &field.value);
        break;
    default: return fail(reader);
    }
    if (ok) {
        *ret = field;
    }
    return ok;
}

double pb_double(uint64_t fixed64) {
    double value;
    memcpy(&value, &fixed64, sizeof(value));
    return value;
}

void pb_put_varint(struct buf *out, uint64_t value) {
    char bytes[VARINT_BYTES_MAX];
    size_t len = 0;
    while (value >= 0x80) {
        bytes[len++] = (char)(unsigned char)(value | 0x80);
        value >>= 7;
    }
    bytes[len++] = (char)value;
    buf_append(out, bytes, len);
}

static void put_tag(struct buf *out, uint32_t number, enum pb_wire wire) {
    assert(number > 0 && number < UINT32_C(1) << 29);
    pb_put_varint(out, (uint64_t)number << 3 | (uint64_t)wire);
}

void pb_put_uint(struct buf *out, uint32_t number, uint64_t value) {
    put_tag(out, number, PB_VARINT);
    pb_put_varint(out, value);
}

void pb_put_double(struct buf *out, uint32_t number, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    char bytes[sizeof(bits)];
    for (size_t i = 0; i < sizeof(bits); i++) {
        bytes[i] = (char)(unsigned char)(bits >> (8 * i));
    }
    put_tag(out, number, PB_FIXED64);
    buf_append(out, bytes, sizeof(bytes));
}

void pb_put_bytes(struct buf *out, uint32_t number, struct str value) {
    put_tag(out, number, PB_BYTES);
    pb_put_varint(out, value.len);
    buf_str(out, value);
}
