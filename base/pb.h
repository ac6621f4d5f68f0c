/*
 * Protocol buffer wire format: a bounded pull reader and an appending writer. No schema, no
 * allocation; used where generated code costs too much or where three fields are all there is.
 */
#pragma once

#include "base/buf.h"

enum pb_wire {
    PB_VARINT = 0,
    PB_FIXED64 = 1,
    PB_BYTES = 2,
    PB_FIXED32 = 5,
};

/* Reader over one message. After a failure is_bad is set, pos tells where (offset in `base`). */
struct pb_reader {
    const uint8_t *base; /* start of the whole body, for offsets in messages */
    const uint8_t *pos;
    const uint8_t *end;
    bool is_bad;
};

struct pb_field {
    uint32_t number;
    enum pb_wire wire;
    uint64_t value;   /* VARINT, FIXED64, FIXED32 */
    struct str bytes; /* BYTES */
};

static inline struct pb_reader pb_reader_init(struct str body) {
    const uint8_t *base = (const uint8_t *)body.ptr;
    return (struct pb_reader){ .base = base, .pos = base, .end = base + body.len };
}

/* A reader over an embedded message that keeps the outer base. */
static inline struct pb_reader pb_reader_sub(const struct pb_reader *outer, struct str bytes) {
    const uint8_t *pos = (const uint8_t *)bytes.ptr;
    return (struct pb_reader){ .base = outer->base, .pos = pos, .end = pos + bytes.len };
}

/* Next field; false at the end or when the bytes are malformed (is_bad: truncated, field number 0,
 * groups, varint over 64 bits). */
bool pb_next(struct pb_reader *reader, struct pb_field *ret);

static inline size_t pb_offset(const struct pb_reader *reader) {
    return (size_t)(reader->pos - reader->base);
}

static inline int64_t pb_zigzag_decode(uint64_t value) {
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

double pb_double(uint64_t fixed64);

void pb_put_varint(struct buf *out, uint64_t value);
void pb_put_uint(struct buf *out, uint32_t number, uint64_t value);
void pb_put_double(struct buf *out, uint32_t number, double value);
void pb_put_bytes(struct buf *out, uint32_t number, struct str value);
