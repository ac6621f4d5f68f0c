/* The plain P3 of p3_naive.h. */
#include "tests/tsdb/p3_naive.h"

#include <math.h>
#include <stdlib.h>

#include "model/model.h"

uint64_t naive_random(struct naive_random *random) {
    random->state ^= random->state << 13;
    random->state ^= random->state >> 7;
    random->state ^= random->state << 17;
    return random->state;
}

static uint64_t below(struct naive_random *random, uint64_t limit) {
    return naive_random(random) % limit;
}

static double power_of_ten(unsigned exponent) {
    double power = 1;
    for (unsigned i = 0; i < exponent; i++) {
        power *= 10;
    }
    return power;
}

/* ---- decoding ---- */

static void read_fields(struct reader *reader, size_t count, unsigned width, uint64_t *ret) {
    const uint8_t *bytes = reader_bytes(reader, (count * width + 7) / 8);
    for (size_t i = 0; bytes != NULL && i < count; i++) {
        ret[i] = 0;
        for (unsigned b = 0; b < width; b++) {
            size_t bit = i * width + b;
            ret[i] |= (uint64_t)(bytes[bit / 8] >> bit % 8 & 1) << b;
        }
    }
}

static void read_patched(struct reader *reader, size_t count, unsigned low, uint64_t *ret) {
    uint64_t patches[64];
    size_t patch_count = reader_u8(reader);
    unsigned high = reader_u8(reader);
    if (patch_count < 1 || patch_count > count || high < 1 || high > 50 || low + high > 64) {
        reader->is_bad = true;
        return;
    }
    read_fields(reader, count, low, ret);
    read_fields(reader, patch_count, 6 + high, patches);
    for (size_t i = 0; !reader->is_bad && i < patch_count; i++) {
        if (patches[i] % 64 >= count) {
            reader->is_bad = true;
        } else {
            ret[patches[i] % 64] |= patches[i] / 64 << low;
        }
    }
}

static void read_block(struct reader *reader, size_t count, uint64_t *ret) {
    unsigned head = reader_u8(reader);
    for (size_t i = 0; i < count; i++) {
        ret[i] = 0;
    }
    if (head >= 1 && head <= 64) {
        read_fields(reader, count, head, ret);
    } else if (head >= 65 && head <= 127) {
        read_patched(reader, count, head - 65, ret);
    } else if (head >= 129 && head <= 192) {
        uint64_t is_nonzero[64];
        uint64_t nonzero[64];
        size_t nonzero_count = 0;
        size_t padded = (count + 7) / 8 * 8;
        read_fields(reader, padded, 1, is_nonzero);
        for (size_t i = 0; !reader->is_bad && i < padded; i++) {
            nonzero_count += is_nonzero[i];
            reader->is_bad |= i >= count && is_nonzero[i] != 0;
        }
        read_fields(reader, nonzero_count, head - 128, nonzero);
        for (size_t i = 0, from = 0; !reader->is_bad && i < count; i++) {
            ret[i] = is_nonzero[i] != 0 ? nonzero[from++] : 0;
        }
    } else if (head != 0) {
        reader->is_bad = true;
    }
}

static void read_residuals(struct reader *reader, size_t count, uint64_t *ret) {
    unsigned entries = reader_u8(reader);
    for (size_t i = 0; i < count; i++) {
        ret[i] = 0;
    }
    if (entries == 255) {
        for (size_t i = 0; !reader->is_bad && i < count; i += 64) {
            read_block(reader, count - i < 64 ? count - i : 64, ret + i);
        }
        return;
    }
    size_t at = 0;
    for (unsigned i = 0; !reader->is_bad && i < entries; i++) {
        uint64_t gap = reader_uvarint(reader);
        uint64_t residual = reader_uvarint(reader);
        if (reader->is_bad || gap >= count - at) {
            reader->is_bad = true;
            return;
        }
        at += gap;
        ret[at++] = residual;
    }
}

void naive_read_ints(struct reader *reader, size_t count, int64_t *ret) {
    unsigned head = reader_u8(reader);
    unsigned kind = head % 8;
    unsigned shift = head / 8;
    uint64_t value = (uint64_t)reader_svarint(reader);
    uint64_t base = kind == 2 || kind == 4 ? (uint64_t)reader_svarint(reader) : 0;
    uint64_t delta = 0;
    if (kind > 4 || (kind > 0 && count == 1)) {
        reader->is_bad = true;
        return;
    }
    uint64_t *residuals = calloc(count, sizeof(residuals[0]));
    if (kind > 0) {
        read_residuals(reader, count - 1, residuals + 1);
    }
    ret[0] = (int64_t)value;
    for (size_t i = 1; i < count; i++) {
        uint64_t residual = residuals[i];
        uint64_t unzigzagged = (uint64_t)unzigzag(residual);
        if (kind == 1) {
            value += residual << shift;
        } else if (kind == 2) {
            value += (base + unzigzagged) << shift;
        } else if (kind == 3) {
            delta += unzigzagged;
            value += delta << shift;
        } else if (kind == 4) {
            value = base + (residual << shift);
        }
        ret[i] = (int64_t)value;
    }
    free(residuals);
}

static void read_exceptions(struct reader *reader, size_t count, double *ret) {
    static const uint64_t codes[] = {
        0,
        UINT64_C(0x7ff0000000000002),
        UINT64_C(0x7ff8000000000001),
        UINT64_C(0x7ff0000000000000),
        UINT64_C(0xfff0000000000000),
        UINT64_C(0x8000000000000000),
    };
    uint64_t run_count = reader_uvarint(reader);
    size_t at = 0;
    for (uint64_t i = 0; !reader->is_bad && i < run_count; i++) {
        uint64_t gap = reader_uvarint(reader);
        uint64_t token = reader_uvarint(reader);
        if (token % 8 > 5 || gap >= count - at || token / 8 >= count - at - gap) {
            reader->is_bad = true;
            return;
        }
        uint64_t bits = token % 8 == 0 ? reader_le64(reader) : codes[token % 8];
        at += gap;
        for (uint64_t left = token / 8 + 1; left > 0; left--) {
            ret[at++] = double_from_bits(bits);
        }
    }
    reader->is_bad |= run_count > count;
}

/* A whole number small enough to be exact, and not -0. */
static bool is_whole(double value) {
    return fabs(value) < 9e15 && trunc(value) == value && !(value == 0 && signbit(value));
}

void naive_read_values(struct reader *reader, size_t count, const double *neighbour, double *ret) {
    unsigned head = reader_u8(reader);
    unsigned kind = head / 16 % 8;
    double power = power_of_ten(head % 16);
    bool has_exceptions = head >= 128;
    int64_t *ints = calloc(count, sizeof(ints[0]));
    int64_t *ulps = calloc(count, sizeof(ulps[0]));
    uint64_t same = 0;
    reader->is_bad |= kind > 6 || ((kind == 2 || kind >= 4) && head % 16 != 0) ||
                      (has_exceptions && (kind == 1 || kind == 2 || kind == 5)) ||
                      (kind == 6 && neighbour == NULL);
    if (reader->is_bad) {
        free(ints);
        free(ulps);
        return;
    }
    if (kind == 0 || kind == 3 || kind == 4 || kind == 6) {
        naive_read_ints(reader, count, ints);
    }
    if (kind == 3) {
        naive_read_ints(reader, count, ulps);
    }
    if (kind == 1) {
        same = double_bits((double)reader_svarint(reader) / power);
    } else if (kind == 2) {
        same = reader_le64(reader);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = same;
        if (kind == 0 || kind == 3) {
            bits = double_bits((double)ints[i] / power) + (uint64_t)ulps[i];
        } else if (kind == 4) {
            bits = (uint64_t)ints[i];
        } else if (kind == 5) {
            bits = reader_le64(reader);
        } else if (kind == 6 && is_whole(neighbour[i])) {
            bits = double_bits((double)i64_add((int64_t)neighbour[i], ints[i]));
        } else if (kind == 6) {
            bits = double_bits(neighbour[i]);
        }
        ret[i] = double_from_bits(bits);
    }
    if (has_exceptions) {
        read_exceptions(reader, count, ret);
    }
    free(ints);
    free(ulps);
}

void naive_read_times(struct reader *reader, const struct p3_bounds *bounds, int64_t *ret) {
    unsigned kind = reader_u8(reader);
    uint64_t first = (uint64_t)bounds->t_min_ms;
    uint64_t span = (uint64_t)bounds->t_max_ms - first;
    size_t gaps = bounds->count - 1;
    reader->is_bad |= kind > 2;
    if (kind == 0 && gaps > 0) {
        reader->is_bad |= span % gaps != 0;
    }
    uint64_t step = kind == 1 ? reader_uvarint(reader) : 0;
    if (kind == 1) {
        naive_read_ints(reader, bounds->count, ret);
    }
    for (size_t i = 0; i < bounds->count; i++) {
        if (kind == 0) {
            ret[i] = (int64_t)(first + (gaps == 0 ? 0 : i * (span / gaps)));
        } else if (kind == 1) {
            ret[i] = (int64_t)(first + i * step + (uint64_t)ret[i]);
        } else {
            ret[i] = (int64_t)reader_le64(reader);
        }
    }
    reader->is_bad |= ret[0] != bounds->t_min_ms || ret[gaps] != bounds->t_max_ms;
}

bool naive_decode(const uint8_t *bytes,
                  size_t len,
                  const struct p3_bounds *bounds,
                  int64_t *ret_t_ms,
                  double *ret_values) {
    struct reader reader = reader_init(bytes, len);
    naive_read_values(&reader, bounds->count, NULL, ret_values);
    if (!reader.is_bad) {
        naive_read_times(&reader, bounds, ret_t_ms);
    }
    return !reader.is_bad && reader_left(&reader) == 0;
}

bool naive_group_decode(const uint8_t *bytes,
                        size_t len,
                        size_t count,
                        const double *neighbour,
                        double *ret_values) {
    struct reader reader = reader_init(bytes, len);
    naive_read_values(&reader, count, neighbour, ret_values);
    return !reader.is_bad && reader_left(&reader) == 0;
}

/* ---- encoding ---- */

static void put_fields(struct buf *out, const uint64_t *fields, size_t count, unsigned width) {
    uint8_t *bytes = calloc((count * width + 7) / 8 + 1, 1);
    for (size_t bit = 0; bit < count * width; bit++) {
        unsigned value = fields[bit / width] >> bit % width & 1;
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] | value << bit % 8);
    }
    buf_append(out, bytes, (count * width + 7) / 8);
    free(bytes);
}

static unsigned width_of(const uint64_t *residuals, size_t count) {
    unsigned width = 0;
    for (size_t i = 0; i < count; i++) {
        while (width < 64 && residuals[i] >> width != 0) {
            width++;
        }
    }
    return width;
}

static void put_patched(struct naive_random *random,
                        const uint64_t *residuals,
                        size_t count,
                        unsigned need,
                        struct buf *out) {
    unsigned low_min = need > 50 ? need - 50 : 0;
    unsigned low_max = need == 0 ? 0 : need - 1;
    low_max = low_max > 62 ? 62 : low_max;
    unsigned low = low_min + (unsigned)below(random, low_max - low_min + 1);
    unsigned high = need == 0 ? 1 : need - low;
    uint64_t patches[64];
    size_t patch_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (residuals[i] >> low != 0 || i == 0) { /* one without need, too */
            patches[patch_count++] = i | residuals[i] >> low << 6;
        }
    }
    buf_putc(out, (char)(65 + low));
    buf_putc(out, (char)patch_count);
    buf_putc(out, (char)high);
    put_fields(out, residuals, count, low);
    put_fields(out, patches, patch_count, 6 + high);
}

static void put_block(struct naive_random *random,
                      const uint64_t *residuals,
                      size_t count,
                      struct buf *out) {
    unsigned need = width_of(residuals, count);
    unsigned width = need == 0 ? 1 : need;
    width += (unsigned)below(random, 2) * (unsigned)below(random, 65 - width);
    switch (below(random, 3)) {
    case 0:
        buf_putc(out, need == 0 ? 0 : (char)width);
        if (need > 0) {
            put_fields(out, residuals, count, width);
        }
        break;
    case 1: {
        uint64_t is_kept[64] = { 0 };
        uint64_t kept[64];
        size_t kept_count = 0;
        for (size_t i = 0; i < count; i++) {
            if (residuals[i] != 0 || below(random, 8) == 0) {
                is_kept[i] = 1;
                kept[kept_count++] = residuals[i];
            }
        }
        buf_putc(out, (char)(128 + width));
        put_fields(out, is_kept, (count + 7) / 8 * 8, 1);
        put_fields(out, kept, kept_count, width);
        break;
    }
    default: put_patched(random, residuals, count, need, out);
    }
}

static void put_residuals(struct naive_random *random,
                          const uint64_t *residuals,
                          size_t count,
                          struct buf *out) {
    size_t nonzero_count = 0;
    for (size_t i = 0; i < count; i++) {
        nonzero_count += residuals[i] != 0;
    }
    if (nonzero_count < 255 && below(random, 3) == 0) {
        buf_putc(out, (char)nonzero_count);
        for (size_t i = 0, next = 0; i < count; i++) {
            if (residuals[i] != 0) {
                buf_uvarint(out, i - next);
                buf_uvarint(out, residuals[i]);
                next = i + 1;
            }
        }
        return;
    }
    buf_putc(out, (char)255);
    for (size_t i = 0; i < count; i += 64) {
        put_block(random, residuals + i, count - i < 64 ? count - i : 64, out);
    }
}

void naive_put_ints(struct naive_random *random,
                    const int64_t *ints,
                    size_t count,
                    struct buf *out) {
    uint64_t all = 0;
    for (size_t i = 1; i < count; i++) {
        all |= (uint64_t)i64_sub(ints[i], ints[i - 1]);
    }
    unsigned kind = all == 0 && below(random, 2) == 0 ? 0 : 1 + (unsigned)below(random, 4);
    kind = count == 1 ? 0 : kind;
    unsigned shift = 0;
    while (shift < 31 && (all >> shift & 1) == 0 && below(random, 4) != 0) {
        shift++;
    }
    int64_t base = kind == 4 ? ints[count / 2] : (int64_t)below(random, 1000) - 500;
    buf_putc(out, (char)(kind + shift * 8));
    buf_svarint(out, ints[0]);
    if (kind == 2 || kind == 4) {
        buf_svarint(out, base);
    }
    uint64_t *residuals = calloc(count, sizeof(residuals[0]));
    int64_t before = 0;
    for (size_t i = 1; i < count; i++) {
        int64_t delta = i64_sub(ints[i], ints[i - 1]);
        if (kind == 1) {
            residuals[i] = (uint64_t)delta >> shift;
        } else if (kind == 2) {
            residuals[i] = zigzag(i64_sub(delta >> shift, base));
        } else if (kind == 3) {
            residuals[i] = zigzag(i64_sub(delta >> shift, before));
            before = delta >> shift;
        } else {
            residuals[i] = (uint64_t)i64_sub(ints[i], base) >> shift;
        }
    }
    if (kind > 0) {
        put_residuals(random, residuals + 1, count - 1, out);
    }
    free(residuals);
}

/* m of value at the exponent; false when dividing does not give the value back within ULPs. */
static bool split(double value, double power, bool has_ulps, int64_t *ret_m, int64_t *ret_ulps) {
    double scaled = value * power;
    if (!(fabs(scaled) < 9e15)) {
        return false;
    }
    *ret_m = (int64_t)llround(scaled);
    *ret_ulps = i64_sub((int64_t)double_bits(value), (int64_t)double_bits((double)*ret_m / power));
    return has_ulps || *ret_ulps == 0;
}

/* The difference to the neighbour; false when the value must be an exception. */
static bool lean(double value, double neighbour, int64_t *ret) {
    if (!is_whole(neighbour)) {
        return double_bits(value) == double_bits(neighbour);
    }
    if (!is_whole(value)) {
        return false;
    }
    *ret = i64_sub((int64_t)value, (int64_t)neighbour);
    return true;
}

void naive_put_values(struct naive_random *random,
                      const double *values,
                      size_t count,
                      const double *neighbour,
                      struct buf *out) {
    static const unsigned kinds[] = { 0, 3, 4, 5, 6, 6, 6, 6 };
    unsigned kind = kinds[below(random, neighbour == NULL ? 4 : 8)];
    unsigned exponent = kind < 4 ? (unsigned)below(random, 16) : 0;
    int64_t *ints = calloc(count, sizeof(ints[0]));
    int64_t *ulps = calloc(count, sizeof(ulps[0]));
    struct buf runs;
    buf_init(&runs, SIZE_MAX);
    uint64_t run_count = 0;
    size_t next = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_out = below(random, 20) == 0;
        if (kind == 4) {
            ints[i] = (int64_t)double_bits(values[i]);
        } else if (kind == 6) {
            is_out |= !lean(values[i], neighbour[i], &ints[i]);
        } else if (kind != 5) {
            is_out |= !split(values[i], power_of_ten(exponent), kind == 3, &ints[i], &ulps[i]);
        }
        if (is_out && kind != 5) {
            buf_uvarint(&runs, i - next);
            buf_uvarint(&runs, 0);
            buf_le64(&runs, double_bits(values[i]));
            ints[i] = (int64_t)below(random, 100);
            run_count++;
            next = i + 1;
        }
    }
    buf_putc(out, (char)(exponent + kind * 16 + (run_count > 0 ? 128 : 0)));
    if (kind == 5) {
        for (size_t i = 0; i < count; i++) {
            buf_le64(out, double_bits(values[i]));
        }
    } else {
        naive_put_ints(random, ints, count, out);
    }
    if (kind == 3) {
        naive_put_ints(random, ulps, count, out);
    }
    if (run_count > 0) {
        buf_uvarint(out, run_count);
        buf_str(out, buf_as_str(&runs));
    }
    buf_finish(&runs);
    free(ints);
    free(ulps);
}

void naive_put_times(struct naive_random *random,
                     const int64_t *t_ms,
                     size_t count,
                     struct buf *out) {
    if (below(random, 3) == 0) {
        buf_putc(out, 2);
        for (size_t i = 0; i < count; i++) {
            buf_le64(out, (uint64_t)t_ms[i]);
        }
        return;
    }
    uint64_t step = below(random, 30000);
    int64_t *ints = calloc(count, sizeof(ints[0]));
    for (size_t i = 0; i < count; i++) {
        ints[i] = (int64_t)((uint64_t)t_ms[i] - (uint64_t)t_ms[0] - i * step);
    }
    buf_putc(out, 1);
    buf_uvarint(out, step);
    naive_put_ints(random, ints, count, out);
    free(ints);
}

void naive_encode(struct naive_random *random,
                  const int64_t *t_ms,
                  const double *values,
                  size_t count,
                  struct buf *out) {
    naive_put_values(random, values, count, NULL, out);
    naive_put_times(random, t_ms, count, out);
}

void naive_group_encode(struct naive_random *random,
                        const double *values,
                        size_t count,
                        const double *neighbour,
                        struct buf *out) {
    naive_put_values(random, values, count, neighbour, out);
}
