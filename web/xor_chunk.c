/* Gorilla's encoding with Prometheus' bit widths; the other side is any remote-read client. */
#include "web/xor_chunk.h"

#include <assert.h>

#include "model/model.h"

struct bits {
    struct buf *out;
    uint8_t byte; /* being filled from the top */
    unsigned used;
};

static void put_bits(struct bits *bits, uint64_t value, unsigned count) {
    while (count > 0) {
        unsigned room = 8 - bits->used;
        unsigned take = count < room ? count : room;
        unsigned piece = (unsigned)(value >> (count - take)) & ((1U << take) - 1);
        bits->byte = (uint8_t)((unsigned)bits->byte << take | piece);
        bits->used += take;
        count -= take;
        if (bits->used == 8) {
            buf_putc(bits->out, (char)bits->byte);
            bits->byte = 0;
            bits->used = 0;
        }
    }
}

static void put_uvarint(struct bits *bits, uint64_t value) {
    for (; value > 127; value >>= 7) {
        put_bits(bits, (value & 127) | 128, 8);
    }
    put_bits(bits, value, 8);
}

/* An n-bit code holds -(2^(n-1)-1) .. 2^(n-1). */
static bool fits(int64_t value, unsigned count) {
    int64_t half = INT64_C(1) << (count - 1);
    return value >= -(half - 1) && value <= half;
}

static void put_delta_of_delta(struct bits *bits, int64_t value) {
    if (value == 0) {
        put_bits(bits, 0, 1);
    } else if (fits(value, 14)) {
        put_bits(bits, 2, 2);
        put_bits(bits, (uint64_t)value, 14);
    } else if (fits(value, 17)) {
        put_bits(bits, 6, 3);
        put_bits(bits, (uint64_t)value, 17);
    } else if (fits(value, 20)) {
        put_bits(bits, 14, 4);
        put_bits(bits, (uint64_t)value, 20);
    } else {
        put_bits(bits, 15, 4);
        put_bits(bits, (uint64_t)value, 64);
    }
}

struct window {
    unsigned leading;
    unsigned trailing;
    bool is_set;
};

static void put_value(struct bits *bits, struct window *window, uint64_t before, uint64_t now) {
    uint64_t delta = before ^ now;
    if (delta == 0) {
        put_bits(bits, 0, 1);
        return;
    }
    put_bits(bits, 1, 1);
    unsigned leading = (unsigned)__builtin_clzll(delta);
    unsigned trailing = (unsigned)__builtin_ctzll(delta);
    leading = leading > 31 ? 31 : leading; /* five bits */
    if (window->is_set && leading >= window->leading && trailing >= window->trailing) {
        put_bits(bits, 0, 1);
        put_bits(bits, delta >> window->trailing, 64 - window->leading - window->trailing);
        return;
    }
    *window = (struct window){ .leading = leading, .trailing = trailing, .is_set = true };
    unsigned significant = 64 - leading - trailing;
    put_bits(bits, 1, 1);
    put_bits(bits, leading, 5);
    put_bits(bits, significant & 63, 6); /* 64 is written as 0 */
    put_bits(bits, delta >> trailing, significant);
}

void xor_chunk_encode(const int64_t *t_ms, const double *values, size_t count, struct buf *out) {
    assert(count > 0 && count <= UINT16_MAX);
    struct bits bits = { .out = out };
    struct window window = { 0 };
    uint64_t zigzag = (uint64_t)t_ms[0] << 1 ^ (uint64_t)(t_ms[0] >> 63);
    uint64_t delta = 0;
    put_bits(&bits, count, 16);
    put_uvarint(&bits, zigzag);
    put_bits(&bits, double_bits(values[0]), 64);
    for (size_t i = 1; i < count; i++) {
        uint64_t step = (uint64_t)t_ms[i] - (uint64_t)t_ms[i - 1];
        if (i == 1) {
            put_uvarint(&bits, step);
        } else {
            put_delta_of_delta(&bits, (int64_t)(step - delta));
        }
        delta = step;
        put_value(&bits, &window, double_bits(values[i - 1]), double_bits(values[i]));
    }
    if (bits.used > 0) {
        put_bits(&bits, 0, 8 - bits.used);
    }
}
