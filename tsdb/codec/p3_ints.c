/*
 * Columns of integers in P3: a transform that makes neighbours small, then its residuals as a
 * sparse list or as mini-blocks. All arithmetic wraps modulo 2^64, so any int64 round-trips.
 */
#include <assert.h>

#include "tsdb/codec/p3_format.h"

/* Low three bits of a column's first byte; above them the shift. */
enum ints_kind {
    INTS_CONSTANT = 0,
    INTS_DELTA = 1,       /* no delta is negative */
    INTS_DELTA_BASE = 2,  /* delta - base, zigzag */
    INTS_DELTA_DELTA = 3, /* zigzag */
    INTS_FRAME = 4,       /* value - base */
    INTS_KIND_COUNT,
};

enum {
    KIND_BITS = 3,
    SHIFT_MAX = 31,
    SPARSE_MAX = 254, /* entries of a sparse list */
    STREAM_BLOCKS = 255,
    SPARSE_SHARE = 16, /* sparse when fewer than one in so many is nonzero */
    MEDIAN_SAMPLES = 32,
};

struct ints_plan {
    enum ints_kind kind;
    unsigned shift;
    int64_t first;
    int64_t base;
};

/* ---- residuals ---- */

static uint8_t *encode_stream(const uint64_t *residuals,
                              size_t count,
                              size_t nonzero_count,
                              uint8_t *out) {
    if (nonzero_count <= SPARSE_MAX && nonzero_count * SPARSE_SHARE < count) {
        *out++ = (uint8_t)nonzero_count;
        size_t next = 0;
        for (size_t i = 0; i < count; i++) {
            if (residuals[i] != 0) {
                out = bytes_put_uvarint(out, i - next);
                out = bytes_put_uvarint(out, residuals[i]);
                next = i + 1;
            }
        }
        return out;
    }
    *out++ = STREAM_BLOCKS;
    for (size_t i = 0; i < count; i += P3_BLOCK_RESIDUALS) {
        size_t left = count - i;
        size_t block = left < P3_BLOCK_RESIDUALS ? left : P3_BLOCK_RESIDUALS;
        out = p3_block_encode(residuals + i, block, out);
    }
    return out;
}

/* The next entry of a sparse list: its place among `count` residuals from *next on. */
static bool read_entry(struct reader *reader, size_t count, size_t *next, uint64_t *ret) {
    uint64_t gap = reader_uvarint(reader);
    *ret = reader_uvarint(reader);
    if (reader->is_bad || gap >= count - *next) {
        return false;
    }
    *next += gap;
    return true;
}

static bool decode_sparse(struct reader *reader, unsigned entries, size_t count, uint64_t *ret) {
    memset(ret, 0, count * sizeof(ret[0]));
    size_t next = 0;
    for (unsigned i = 0; i < entries; i++) {
        uint64_t residual;
        if (!read_entry(reader, count, &next, &residual)) {
            return false;
        }
        ret[next++] = residual;
    }
    return true;
}

static bool decode_blocks(struct reader *reader, size_t count, uint64_t *ret) {
    for (size_t i = 0; i < count; i += P3_BLOCK_RESIDUALS) {
        size_t left = count - i;
        size_t block = left < P3_BLOCK_RESIDUALS ? left : P3_BLOCK_RESIDUALS;
        if (!p3_block_decode(reader, block, ret + i)) {
            return false;
        }
    }
    return true;
}

/* ---- choosing a transform ---- */

/* The delta before element i, i >= 1, without the common trailing zeros. */
static int64_t delta_at(const int64_t *ints, size_t i, unsigned shift) {
    return i64_sub(ints[i], ints[i - 1]) >> shift;
}

static int64_t median_delta(const int64_t *ints, size_t count, unsigned shift) {
    int64_t sorted[MEDIAN_SAMPLES];
    size_t sorted_count = 0;
    size_t stride = (count - 2) / MEDIAN_SAMPLES + 1;
    for (size_t i = 1; i < count; i += stride) {
        int64_t delta = delta_at(ints, i, shift);
        size_t at = sorted_count++;
        for (; at > 0 && sorted[at - 1] > delta; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = delta;
    }
    return sorted[sorted_count / 2];
}

/* The kind whose residuals have the fewest bits in all: close to what the blocks will take. */
static enum ints_kind cheapest(const int64_t *ints,
                               size_t count,
                               const struct ints_plan *plan,
                               uint64_t range,
                               bool has_negative) {
    uint64_t bits[INTS_KIND_COUNT] = { 0 };
    uint64_t previous = 0;
    size_t nonzero_count = 0;
    for (size_t i = 1; i < count; i++) {
        int64_t delta = delta_at(ints, i, plan->shift);
        nonzero_count += delta != 0;
        bits[INTS_DELTA] += p3_bit_len((uint64_t)delta);
        bits[INTS_DELTA_BASE] += p3_bit_len(zigzag(i64_sub(delta, plan->base)));
        bits[INTS_DELTA_DELTA] += p3_bit_len(zigzag((int64_t)((uint64_t)delta - previous)));
        previous = (uint64_t)delta;
    }
    /* In a block every residual takes the bits of a large one, which is more than a nonzero one has
     * on average; from the lowest value it is what the range says. */
    uint64_t packed = (count - 1) * p3_bit_len(range >> plan->shift);
    uint64_t spread = nonzero_count * 5 / 4;
    bits[INTS_FRAME] = packed > spread ? packed - spread : 0;
    /* The further from plain deltas, the more it must save: differences add noise. */
    bits[INTS_DELTA_BASE] += 8;
    bits[INTS_DELTA_DELTA] += count / 8;
    bits[INTS_FRAME] += 8;
    enum ints_kind best = has_negative ? INTS_DELTA_BASE : INTS_DELTA;
    for (enum ints_kind kind = INTS_DELTA_BASE; kind < INTS_KIND_COUNT; kind++) {
        best = bits[kind] < bits[best] ? kind : best;
    }
    return best;
}

static void plan_ints(const int64_t *ints, size_t count, struct ints_plan *plan) {
    *plan = (struct ints_plan){ .kind = INTS_CONSTANT, .first = ints[0] };
    uint64_t all = 0;
    int64_t lowest = ints[0];
    int64_t highest = ints[0];
    bool has_negative = false;
    for (size_t i = 1; i < count; i++) {
        int64_t delta = i64_sub(ints[i], ints[i - 1]);
        all |= (uint64_t)delta;
        has_negative |= delta < 0;
        lowest = ints[i] < lowest ? ints[i] : lowest;
        highest = ints[i] > highest ? ints[i] : highest;
    }
    if (all == 0) {
        return;
    }
    unsigned shift = (unsigned)__builtin_ctzll(all);
    plan->shift = shift < SHIFT_MAX ? shift : SHIFT_MAX;
    plan->base = median_delta(ints, count, plan->shift);
    uint64_t range = (uint64_t)i64_sub(highest, lowest);
    plan->kind = cheapest(ints, count, plan, range, has_negative);
    if (plan->kind == INTS_FRAME) {
        plan->base = lowest;
    }
}

/* The residuals of elements 1..count-1; returns how many are not 0. */
static size_t apply_plan(const int64_t *ints,
                         size_t count,
                         const struct ints_plan *plan,
                         uint64_t *ret) {
    unsigned shift = plan->shift;
    int64_t previous = 0;
    switch (plan->kind) {
    case INTS_DELTA:
        for (size_t i = 1; i < count; i++) {
            ret[i - 1] = (uint64_t)delta_at(ints, i, shift);
        }
        break;
    case INTS_DELTA_BASE:
        for (size_t i = 1; i < count; i++) {
            ret[i - 1] = zigzag(i64_sub(delta_at(ints, i, shift), plan->base));
        }
        break;
    case INTS_DELTA_DELTA:
        for (size_t i = 1; i < count; i++) {
            int64_t delta = delta_at(ints, i, shift);
            ret[i - 1] = zigzag(i64_sub(delta, previous));
            previous = delta;
        }
        break;
    case INTS_FRAME:
        for (size_t i = 1; i < count; i++) {
            ret[i - 1] = (uint64_t)i64_sub(ints[i], plan->base) >> shift;
        }
        break;
    case INTS_CONSTANT:
    case INTS_KIND_COUNT: BUG("kind %d has no residuals", (int)plan->kind);
    }
    size_t nonzero_count = 0;
    for (size_t i = 0; i < count - 1; i++) {
        nonzero_count += ret[i] != 0;
    }
    return nonzero_count;
}

uint8_t *p3_ints_encode(const int64_t *ints, size_t count, uint64_t *scratch, uint8_t *out) {
    assert(count >= 1);
    struct ints_plan plan;
    plan_ints(ints, count, &plan);
    *out++ = (uint8_t)((unsigned)plan.kind | plan.shift << KIND_BITS);
    out = bytes_put_uvarint(out, zigzag(plan.first));
    if (plan.kind == INTS_CONSTANT) {
        return out;
    }
    if (plan.kind == INTS_DELTA_BASE || plan.kind == INTS_FRAME) {
        out = bytes_put_uvarint(out, zigzag(plan.base));
    }
    size_t nonzero_count = apply_plan(ints, count, &plan, scratch);
    return encode_stream(scratch, count - 1, nonzero_count, out);
}

/* ---- decoding ---- */

/* Elements 1.. hold residuals and become values. */
static void undo_plan(const struct ints_plan *plan, size_t count, int64_t *ints) {
    uint64_t value = (uint64_t)plan->first;
    uint64_t delta = 0;
    uint64_t base = (uint64_t)plan->base;
    unsigned shift = plan->shift;
    switch (plan->kind) {
    case INTS_DELTA:
        for (size_t i = 1; i < count; i++) {
            value += (uint64_t)ints[i] << shift;
            ints[i] = (int64_t)value;
        }
        break;
    case INTS_DELTA_BASE:
        for (size_t i = 1; i < count; i++) {
            value += ((uint64_t)unzigzag((uint64_t)ints[i]) + base) << shift;
            ints[i] = (int64_t)value;
        }
        break;
    case INTS_DELTA_DELTA:
        for (size_t i = 1; i < count; i++) {
            delta += (uint64_t)unzigzag((uint64_t)ints[i]);
            value += delta << shift;
            ints[i] = (int64_t)value;
        }
        break;
    case INTS_FRAME:
        for (size_t i = 1; i < count; i++) {
            ints[i] = (int64_t)(base + ((uint64_t)ints[i] << shift));
        }
        break;
    case INTS_CONSTANT:
    case INTS_KIND_COUNT: BUG("kind %d has no residuals", (int)plan->kind);
    }
}

/* A few steps: runs of the same value, without a look at every residual. */
static bool decode_steps(struct reader *reader,
                         unsigned entries,
                         const struct ints_plan *plan,
                         size_t count,
                         int64_t *ret) {
    uint64_t value = (uint64_t)plan->first;
    size_t from = 0;
    size_t next = 0;
    for (unsigned i = 0; i < entries; i++) {
        uint64_t residual;
        if (!read_entry(reader, count - 1, &next, &residual)) {
            return false;
        }
        next++; /* the residual before element `next` */
        p3_fill(ret + from, next - from, value, 0);
        from = next;
        value += residual << plan->shift;
    }
    p3_fill(ret + from, count - from, value, 0);
    return true;
}

bool p3_ints_decode(struct reader *reader, size_t count, int64_t *ret) {
    assert(count >= 1);
    uint8_t head = reader_u8(reader);
    struct ints_plan plan = {
        .kind = (enum ints_kind)(head & ((1U << KIND_BITS) - 1)),
        .shift = head >> KIND_BITS,
        .first = reader_svarint(reader),
    };
    if (plan.kind == INTS_DELTA_BASE || plan.kind == INTS_FRAME) {
        plan.base = reader_svarint(reader);
    }
    if (reader->is_bad || plan.kind >= INTS_KIND_COUNT) {
        return false;
    }
    ret[0] = plan.first;
    if (plan.kind == INTS_CONSTANT) {
        p3_fill(ret, count, (uint64_t)plan.first, 0);
        return true;
    }
    unsigned entries = reader_u8(reader);
    if (count == 1 || reader->is_bad) {
        return false;
    }
    if (entries != STREAM_BLOCKS && plan.kind == INTS_DELTA) {
        return decode_steps(reader, entries, &plan, count, ret);
    }
    uint64_t *residuals = (uint64_t *)ret + 1;
    if (entries == STREAM_BLOCKS ? !decode_blocks(reader, count - 1, residuals)
                                 : !decode_sparse(reader, entries, count - 1, residuals)) {
        return false;
    }
    undo_plan(&plan, count, ret);
    return true;
}
