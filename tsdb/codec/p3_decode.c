/*
 * Decoding P3. Integers are decoded where the times will be, become values, and make room for the
 * next column: no memory of its own. Whatever the bytes, nothing is written past `count`.
 */
#include <assert.h>

#include "model/model.h"
#include "tsdb/codec/p3_format.h"

/* ---- values ---- */

/* Rounded as by a cast. Each half becomes a double by standing in another one's mantissa: the upper
 * as 2^84 + upper * 2^32 with the sign bit flipped, the lower as 2^52 + lower. Taking 2^84, 2^63
 * and 2^52 off is exact; only the last sum rounds. */
static ALWAYS_INLINE p3_double_lanes lanes_to_doubles(p3_u64_lanes ints) {
    const double offset = 0x1p84 + 0x1p63 + 0x1p52;
    p3_u64_lanes upper = (ints >> 32 ^ UINT64_C(0x80000000)) | UINT64_C(0x4530000000000000);
    p3_u64_lanes lower = (ints & UINT64_C(0xffffffff)) | UINT64_C(0x4330000000000000);
    return ((p3_double_lanes)upper - offset) + (p3_double_lanes)lower;
}

static void to_doubles(const int64_t *ints, size_t count, unsigned exponent, double *ret) {
    double power = p3_powers[exponent];
    size_t i = 0;
    for (; i + P3_LANES <= count; i += P3_LANES) {
        p3_u64_lanes lanes;
        memcpy(&lanes, ints + i, sizeof(lanes));
        p3_double_lanes values = lanes_to_doubles(lanes);
        values = exponent == 0 ? values : values / power;
        memcpy(ret + i, &values, sizeof(values));
    }
    for (; i < count; i++) {
        ret[i] = (double)ints[i] / power;
    }
}

static void fill(double *ret, size_t count, double value) {
    p3_fill(ret, count, double_bits(value), 0);
}

static bool decode_raw(struct reader *reader, size_t count, double *ret) {
    const uint8_t *bytes = reader_bytes(reader, 8 * count);
    for (size_t i = 0; bytes != NULL && i < count; i++) {
        ret[i] = double_from_bits(bytes_le64(bytes + 8 * i));
    }
    return bytes != NULL;
}

static bool decode_bits(struct reader *reader, size_t count, int64_t *scratch, double *ret) {
    if (!p3_ints_decode(reader, count, scratch)) {
        return false;
    }
    memcpy(ret, scratch, count * sizeof(ret[0]));
    return true;
}

static bool decode_ulps(struct reader *reader,
                        size_t count,
                        unsigned exponent,
                        int64_t *scratch,
                        double *ret) {
    if (!p3_ints_decode(reader, count, scratch)) {
        return false;
    }
    to_doubles(scratch, count, exponent, ret);
    if (!p3_ints_decode(reader, count, scratch)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        ret[i] = double_from_bits(double_bits(ret[i]) + (uint64_t)scratch[i]);
    }
    return true;
}

static bool decode_neighbour(struct reader *reader,
                             size_t count,
                             const double *neighbour,
                             int64_t *scratch,
                             double *ret) {
    if (neighbour == NULL || !p3_ints_decode(reader, count, scratch)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        int64_t beside;
        bool is_whole = p3_is_whole(neighbour[i], &beside);
        ret[i] = is_whole ? (double)i64_add(beside, scratch[i]) : neighbour[i];
    }
    return true;
}

static bool decode_exceptions(struct reader *reader, size_t count, double *ret) {
    uint64_t run_count = reader_uvarint(reader);
    size_t next = 0;
    if (run_count > count) {
        return false;
    }
    for (uint64_t i = 0; i < run_count; i++) {
        uint64_t gap = reader_uvarint(reader);
        uint64_t token = reader_uvarint(reader);
        uint64_t code = token & ((1U << P3_RUN_CODE_BITS) - 1);
        uint64_t more = token >> P3_RUN_CODE_BITS;
        if (code >= P3_RUN_CODE_COUNT || gap >= count - next || more >= count - next - gap) {
            return false;
        }
        uint64_t bits = code == 0 ? reader_le64(reader) : p3_run_codes[code];
        next += gap;
        fill(ret + next, more + 1, double_from_bits(bits));
        next += more + 1;
    }
    return !reader->is_bad;
}

bool p3_values_decode(struct reader *reader,
                      size_t count,
                      const double *neighbour,
                      int64_t *scratch,
                      double *ret_values) {
    assert(count >= 1 && count <= P3_SAMPLES_MAX);
    uint8_t head = reader_u8(reader);
    unsigned exponent = head & P3_EXPONENT_MASK;
    bool has_exceptions = (head & P3_EXCEPTIONS) != 0;
    bool ok = !reader->is_bad;
    switch (head >> P3_KIND_SHIFT & P3_KIND_MASK) {
    case P3_DECIMAL:
        ok = ok && p3_ints_decode(reader, count, scratch);
        if (ok) {
            to_doubles(scratch, count, exponent, ret_values);
        }
        break;
    case P3_CONSTANT:
        fill(ret_values, count, (double)reader_svarint(reader) / p3_powers[exponent]);
        ok = ok && !reader->is_bad && !has_exceptions;
        break;
    case P3_REPEATED:
        fill(ret_values, count, double_from_bits(reader_le64(reader)));
        ok = ok && !reader->is_bad && !has_exceptions && exponent == 0;
        break;
    case P3_ULP: ok = ok && decode_ulps(reader, count, exponent, scratch, ret_values); break;
    case P3_BITS:
        ok = ok && exponent == 0 && decode_bits(reader, count, scratch, ret_values);
        break;
    case P3_RAW:
        ok = ok && exponent == 0 && !has_exceptions && decode_raw(reader, count, ret_values);
        break;
    case P3_NEIGHBOUR:
        ok = ok && exponent == 0 && decode_neighbour(reader, count, neighbour, scratch, ret_values);
        break;
    default: ok = false;
    }
    return ok && (!has_exceptions || decode_exceptions(reader, count, ret_values));
}

/* ---- times ---- */

static bool decode_exact(const struct p3_bounds *bounds, int64_t *ret) {
    uint64_t span = (uint64_t)bounds->t_max_ms - (uint64_t)bounds->t_min_ms;
    uint64_t step = bounds->count == 1 ? 0 : span / (bounds->count - 1);
    if (step * (bounds->count - 1) != span) {
        return false;
    }
    p3_fill(ret, bounds->count, (uint64_t)bounds->t_min_ms, step);
    return true;
}

static bool decode_grid(struct reader *reader, const struct p3_bounds *bounds, int64_t *ret) {
    uint64_t step = reader_uvarint(reader);
    if (reader->is_bad || !p3_ints_decode(reader, bounds->count, ret)) {
        return false;
    }
    for (size_t i = 0; i < bounds->count; i++) {
        ret[i] = (int64_t)((uint64_t)bounds->t_min_ms + i * step + (uint64_t)ret[i]);
    }
    return true;
}

bool p3_times_decode(struct reader *reader, const struct p3_bounds *bounds, int64_t *ret_t_ms) {
    assert(bounds->count >= 1 && bounds->count <= P3_SAMPLES_MAX);
    uint8_t kind = reader_u8(reader);
    bool ok = !reader->is_bad;
    if (kind == P3_TIMES_EXACT) {
        ok = ok && decode_exact(bounds, ret_t_ms);
    } else if (kind == P3_TIMES_GRID) {
        ok = ok && decode_grid(reader, bounds, ret_t_ms);
    } else if (kind == P3_TIMES_RAW) {
        const uint8_t *bytes = reader_bytes(reader, 8 * bounds->count);
        for (size_t i = 0; bytes != NULL && i < bounds->count; i++) {
            ret_t_ms[i] = (int64_t)bytes_le64(bytes + 8 * i);
        }
        ok = bytes != NULL;
    } else {
        return false;
    }
    return ok && ret_t_ms[0] == bounds->t_min_ms && ret_t_ms[bounds->count - 1] == bounds->t_max_ms;
}

bool p3_decode(const uint8_t *bytes,
               size_t len,
               const struct p3_bounds *bounds,
               int64_t *ret_t_ms,
               double *ret_values) {
    if (bounds->count == 0 || bounds->count > P3_SAMPLES_MAX) {
        return false;
    }
    struct reader reader = reader_init(bytes, len);
    return p3_values_decode(&reader, bounds->count, NULL, ret_t_ms, ret_values) &&
           p3_times_decode(&reader, bounds, ret_t_ms) && reader_left(&reader) == 0;
}

/* ---- groups ---- */

bool p3_group_has_neighbour(const uint8_t *bytes, size_t len) {
    return len > 0 && (bytes[0] >> P3_KIND_SHIFT & P3_KIND_MASK) == P3_NEIGHBOUR;
}

bool p3_group_decode(const uint8_t *bytes,
                     size_t len,
                     size_t count,
                     const double *neighbour,
                     int64_t *scratch,
                     double *ret_values) {
    if (count == 0 || count > P3_SAMPLES_MAX) {
        return false;
    }
    struct reader reader = reader_init(bytes, len);
    return p3_values_decode(&reader, count, neighbour, scratch, ret_values) &&
           reader_left(&reader) == 0;
}
