/*
 * Encoding the value column of P3.
 *
 * Most doubles people store were decimals once: 0.25, 1731234567.123. Such a value is m / 10^e with
 * a small integer m, and dividing gives back exactly its bits; multiplying by 10^-e would not. Sums
 * of decimals miss the decimal by a few units in the last place (ULP): these keep the nearest m and
 * the distance in bit patterns. What fits neither is coded as bit patterns. NaN, infinities and -0,
 * and single values that would spoil the column, are taken out as exceptions; the integer before
 * them stands in their place.
 */
#include <assert.h>
#include <math.h>

#include "model/model.h"
#include "tsdb/codec/p3.h"
#include "tsdb/codec/p3_format.h"

enum {
    ULPS_MAX = 100000,
    EXPONENT_SAMPLES = 16,
    ULPS_SAMPLES = 64,      /* looked at to choose an exponent */
    DECIMAL_GOOD_BYTES = 5, /* per sample: above it, the other kinds are tried */
};

const double p3_powers[P3_EXPONENT_MAX + 1] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
};

const uint64_t p3_run_codes[P3_RUN_CODE_COUNT] = {
    [1] = STALE_NAN_BITS,
    [2] = NORMAL_NAN_BITS,
    [3] = UINT64_C(0x7ff0000000000000),
    [4] = UINT64_C(0xfff0000000000000),
    [5] = UINT64_C(0x8000000000000000),
};

struct front {
    unsigned exponent;
    size_t odd_count; /* exceptions that are numbers */
    size_t run_count;
    size_t good_first; /* the first value that is no exception */
};

/* ---- decimals ---- */

static bool is_special(double value) {
    return !isfinite(value) || double_bits(value) == p3_run_codes[P3_RUN_CODE_COUNT - 1];
}

static bool as_decimal(double value, unsigned exponent, int64_t *ret) {
    if (exponent == 0) {
        return p3_is_whole(value, ret);
    }
    double scaled = value * p3_powers[exponent];
    if (!(fabs(scaled) < P3_DECIMAL_LIMIT)) {
        return false;
    }
    int64_t m = (int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5));
    if (double_bits((double)m / p3_powers[exponent]) != double_bits(value)) {
        return false;
    }
    *ret = m;
    return true;
}

/* The smallest exponent in first..max; above max when there is none. */
static unsigned find_exponent(double value, unsigned first, unsigned max, int64_t *ret) {
    unsigned exponent = first;
    while (exponent <= max && !as_decimal(value, exponent, ret)) {
        exponent++;
    }
    return exponent;
}

/* The integers so far are at exponent `from`: move them to `to`, unless one gets too large. */
static bool rescale(int64_t *ints, size_t count, unsigned from, unsigned to) {
    int64_t factor = (int64_t)p3_powers[to - from];
    int64_t limit = (int64_t)P3_DECIMAL_LIMIT / factor;
    for (size_t i = 0; i < count; i++) {
        if (ints[i] >= limit || ints[i] <= -limit) {
            return false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        ints[i] *= factor;
    }
    return true;
}

static void add_exception(struct p3_run *runs, struct front *front, size_t at, double value) {
    uint64_t bits = double_bits(value);
    struct p3_run *last = front->run_count == 0 ? NULL : &runs[front->run_count - 1];
    if (last != NULL && last->start + last->count == at && last->bits == bits) {
        last->count++;
        return;
    }
    runs[front->run_count++] = (struct p3_run){ .start = (uint32_t)at, .count = 1, .bits = bits };
}

/* Exceptions before the first good value take its place holder from there. */
static void fill_start(const struct front *front, int64_t *ints, size_t count) {
    int64_t fill = front->good_first < count ? ints[front->good_first] : 0;
    for (size_t i = 0; i < front->good_first; i++) {
        ints[i] = fill;
    }
}

/* Integers and exceptions; false when more than odd_max values are no decimals of up to
 * exponent_max. */
static bool find_decimals(struct p3_encoder *encoder,
                          const double *values,
                          size_t count,
                          unsigned exponent_max,
                          size_t odd_max,
                          struct front *front) {
    *front = (struct front){ .good_first = count };
    int64_t *ints = encoder->ints;
    for (size_t i = 0; i < count; i++) {
        bool is_good = as_decimal(values[i], front->exponent, &ints[i]);
        if (!is_good && !is_special(values[i])) {
            int64_t m;
            unsigned exponent = find_exponent(values[i], front->exponent + 1, exponent_max, &m);
            is_good = exponent <= exponent_max && rescale(ints, i, front->exponent, exponent);
            if (is_good) {
                ints[i] = m;
                front->exponent = exponent;
            } else if (++front->odd_count > odd_max) {
                return false;
            }
        }
        if (is_good) {
            front->good_first = front->good_first < i ? front->good_first : i;
        } else {
            add_exception(encoder->runs, front, i, values[i]);
            ints[i] = i == 0 ? 0 : ints[i - 1];
        }
    }
    fill_start(front, ints, count);
    return true;
}

/* ---- encoding ---- */

static uint8_t *put_head(uint8_t *out, enum p3_values_kind kind, const struct front *front) {
    unsigned exceptions = front->run_count == 0 ? 0 : P3_EXCEPTIONS;
    *out++ = (uint8_t)(front->exponent | (unsigned)kind << P3_KIND_SHIFT | exceptions);
    return out;
}

static uint8_t *put_runs(uint8_t *out, const struct p3_run *runs, size_t count) {
    if (count == 0) {
        return out;
    }
    out = bytes_put_uvarint(out, count);
    size_t next = 0;
    for (size_t i = 0; i < count; i++) {
        const struct p3_run *run = &runs[i];
        unsigned code = P3_RUN_CODE_COUNT - 1;
        while (code > 0 && p3_run_codes[code] != run->bits) {
            code--;
        }
        out = bytes_put_uvarint(out, run->start - next);
        out = bytes_put_uvarint(out, (uint64_t)(run->count - 1) << P3_RUN_CODE_BITS | code);
        if (code == 0) {
            bytes_put_le64(out, run->bits);
            out += 8;
        }
        next = run->start + run->count;
    }
    return out;
}

/* Take trial's bytes up to `end` when they are fewer than the best so far. */
static void offer(struct p3_encoder *encoder, const uint8_t *end, size_t *best_len) {
    size_t len = (size_t)(end - encoder->trial);
    if (len < *best_len) {
        uint8_t *spare = encoder->best;
        encoder->best = encoder->trial;
        encoder->trial = spare;
        *best_len = len;
    }
}

/* What all but a few values need, judged by some of them. */
static unsigned usual_exponent(const double *values, size_t count) {
    size_t by_exponent[P3_EXPONENT_MAX + 2] = { 0 };
    size_t stride = (count - 1) / EXPONENT_SAMPLES + 1;
    size_t left = count / stride / 8; /* that may need more */
    for (size_t i = stride / 2; i < count && by_exponent[P3_EXPONENT_MAX + 1] <= left;
         i += stride) {
        int64_t m;
        if (!is_special(values[i])) {
            by_exponent[find_exponent(values[i], 0, P3_EXPONENT_MAX, &m)]++;
        }
    }
    unsigned exponent = P3_EXPONENT_MAX + 1;
    while (exponent > 0 && by_exponent[exponent] <= left) {
        left -= by_exponent[exponent--];
    }
    return exponent < P3_EXPONENT_MAX ? exponent : P3_EXPONENT_MAX;
}

/* A single value of many digits must not make all integers large: the usual exponent is tried
 * first, with what needs more as exceptions; when there are any, also the one that fits all. */
static void try_decimal(struct p3_encoder *encoder,
                        const double *values,
                        size_t count,
                        size_t *best_len) {
    unsigned exponents[] = { usual_exponent(values, count), P3_EXPONENT_MAX };
    size_t odd_max[] = { 1 + count / 128, 4 + count / 32 }; /* each costs a dozen bytes */
    struct front front = { .odd_count = 1 };
    for (size_t i = 0; i < ARRAY_LEN(exponents) && front.odd_count > 0; i++) {
        if (find_decimals(encoder, values, count, exponents[i], odd_max[i], &front)) {
            uint8_t *out = put_head(encoder->trial, P3_DECIMAL, &front);
            out = p3_ints_encode(encoder->ints, count, encoder->residuals, out);
            offer(encoder, put_runs(out, encoder->runs, front.run_count), best_len);
        }
    }
}

static void try_bits(struct p3_encoder *encoder,
                     const double *values,
                     size_t count,
                     size_t *best_len) {
    struct front front = { .good_first = count };
    int64_t *ints = encoder->ints;
    for (size_t i = 0; i < count; i++) {
        if (is_special(values[i])) {
            add_exception(encoder->runs, &front, i, values[i]);
            ints[i] = i == 0 ? 0 : ints[i - 1];
        } else {
            front.good_first = front.good_first < i ? front.good_first : i;
            ints[i] = (int64_t)double_bits(values[i]);
        }
    }
    fill_start(&front, ints, count);
    uint8_t *out = put_head(encoder->trial, P3_BITS, &front);
    out = p3_ints_encode(ints, count, encoder->residuals, out);
    offer(encoder, put_runs(out, encoder->runs, front.run_count), best_len);
}

/* The nearest decimal and how far its bits are off. */
static bool split_ulps(double value, unsigned exponent, int64_t *ret_m, int64_t *ret_ulps) {
    double scaled = value * p3_powers[exponent];
    if (!(fabs(scaled) < P3_DECIMAL_LIMIT)) {
        return false;
    }
    *ret_m = (int64_t)(scaled + (scaled < 0 ? -0.5 : 0.5));
    double nearest = (double)*ret_m / p3_powers[exponent];
    *ret_ulps = (int64_t)(double_bits(value) - double_bits(nearest));
    return *ret_ulps <= ULPS_MAX && *ret_ulps >= -ULPS_MAX;
}

/* Integers, distances and exceptions at one exponent. *ret_bits: how small the deltas are. */
static bool find_ulps(struct p3_encoder *encoder,
                      const double *values,
                      size_t count,
                      struct front *front,
                      uint64_t *ret_bits) {
    int64_t *ints = encoder->ints;
    int64_t *ulps = encoder->ulps;
    front->good_first = count;
    front->run_count = 0;
    uint64_t bits = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_special(values[i])) {
            add_exception(encoder->runs, front, i, values[i]);
            ints[i] = i == 0 ? 0 : ints[i - 1];
            ulps[i] = i == 0 ? 0 : ulps[i - 1];
            continue;
        }
        front->good_first = front->good_first < i ? front->good_first : i;
        if (!split_ulps(values[i], front->exponent, &ints[i], &ulps[i])) {
            return false;
        }
        if (i > 0) {
            bits += p3_bit_len(zigzag(ints[i] - ints[i - 1]));
            bits += p3_bit_len(zigzag(ulps[i] - ulps[i - 1]));
        }
    }
    fill_start(front, ints, count);
    fill_start(front, ulps, count);
    *ret_bits = bits;
    return true;
}

static void try_ulps(struct p3_encoder *encoder,
                     const double *values,
                     size_t count,
                     size_t *best_len) {
    static const uint8_t exponents[] = { 9, 6, 12 };
    struct front front = { 0 };
    uint64_t best_bits = UINT64_MAX;
    unsigned best_exponent = 0;
    size_t some = count < ULPS_SAMPLES ? count : ULPS_SAMPLES;
    const double *middle = values + (count - some) / 2;
    for (size_t i = 0; i < ARRAY_LEN(exponents); i++) {
        uint64_t bits;
        front.exponent = exponents[i];
        if (find_ulps(encoder, middle, some, &front, &bits) && bits < best_bits) {
            best_bits = bits;
            best_exponent = front.exponent;
        }
    }
    front.exponent = best_exponent;
    if (best_bits == UINT64_MAX || !find_ulps(encoder, values, count, &front, &best_bits) ||
        best_bits / 8 >= *best_len) {
        return;
    }
    uint8_t *out = put_head(encoder->trial, P3_ULP, &front);
    out = p3_ints_encode(encoder->ints, count, encoder->residuals, out);
    out = p3_ints_encode(encoder->ulps, count, encoder->residuals, out);
    offer(encoder, put_runs(out, encoder->runs, front.run_count), best_len);
}

/* Differences to a column sampled at the same times. What is whole in neither is a copy when it is
 * the same: stale markers go through a whole histogram. */
static void try_neighbour(struct p3_encoder *encoder,
                          const double *values,
                          size_t count,
                          const double *neighbour,
                          size_t *best_len) {
    struct front front = { .good_first = count };
    int64_t *ints = encoder->ints;
    size_t odd_max = 4 + count / 32;
    for (size_t i = 0; i < count; i++) {
        int64_t m;
        int64_t beside;
        bool is_whole = p3_is_whole(neighbour[i], &beside);
        if (is_whole && p3_is_whole(values[i], &m)) {
            front.good_first = front.good_first < i ? front.good_first : i;
            ints[i] = m - beside;
            continue;
        }
        ints[i] = i == 0 ? 0 : ints[i - 1];
        if (is_whole || double_bits(values[i]) != double_bits(neighbour[i])) {
            add_exception(encoder->runs, &front, i, values[i]);
            if (front.run_count > odd_max) {
                return;
            }
        }
    }
    fill_start(&front, ints, count);
    uint8_t *out = put_head(encoder->trial, P3_NEIGHBOUR, &front);
    out = p3_ints_encode(ints, count, encoder->residuals, out);
    offer(encoder, put_runs(out, encoder->runs, front.run_count), best_len);
}

static bool is_repeated(const double *values, size_t count) {
    return memcmp(values, values + 1, (count - 1) * sizeof(values[0])) == 0;
}

static void put_repeated(double value, struct buf *out) {
    uint8_t bytes[1 + UVARINT_BYTES_MAX];
    uint8_t *end;
    struct front front = { 0 };
    int64_t m;
    front.exponent =
        is_special(value) ? P3_EXPONENT_MAX + 1 : find_exponent(value, 0, P3_EXPONENT_MAX, &m);
    if (front.exponent <= P3_EXPONENT_MAX) {
        end = bytes_put_uvarint(put_head(bytes, P3_CONSTANT, &front), zigzag(m));
    } else {
        front.exponent = 0;
        end = put_head(bytes, P3_REPEATED, &front);
        bytes_put_le64(end, double_bits(value));
        end += 8;
    }
    buf_append(out, bytes, (size_t)(end - bytes));
}

static void put_raw(const double *values, size_t count, struct buf *out) {
    static const struct front front = { 0 };
    uint8_t bytes[8];
    buf_append(out, bytes, (size_t)(put_head(bytes, P3_RAW, &front) - bytes));
    for (size_t i = 0; i < count; i++) {
        bytes_put_le64(bytes, double_bits(values[i]));
        buf_append(out, bytes, sizeof(bytes));
    }
}

void p3_values_encode(struct p3_encoder *encoder,
                      const double *values,
                      size_t count,
                      const double *neighbour,
                      struct buf *out) {
    assert(count >= 1 && count <= P3_SAMPLES_MAX);
    if (is_repeated(values, count)) {
        put_repeated(values[0], out);
        return;
    }
    p3_encoder_reserve(encoder, count);
    size_t raw_len = 1 + 8 * count;
    size_t best_len = raw_len;
    try_decimal(encoder, values, count, &best_len);
    if (best_len > DECIMAL_GOOD_BYTES * count) {
        try_bits(encoder, values, count, &best_len);
        try_ulps(encoder, values, count, &best_len);
    }
    if (neighbour != NULL) {
        try_neighbour(encoder, values, count, neighbour, &best_len);
    }
    if (best_len < raw_len) {
        buf_append(out, encoder->best, best_len);
    } else {
        put_raw(values, count, out);
    }
}
