/* P3: start timestamps, exemplar references, and chunks that carry them. */
#include "tsdb/codec/p3_columns.h"

#include <assert.h>

#include "tsdb/codec/p3_format.h"

/* First byte of a chunk: what it has beside values, and where its times are. */
enum {
    FLAG_GROUP = 1, /* no time column */
    FLAG_STARTS = 2,
    FLAG_EXEMPLARS = 4,
    FLAGS_ALL = 7,
};

/* First byte of a column of starts. */
enum starts_kind {
    STARTS_RUNS = 0,
    STARTS_DISTANCE = 1, /* an integer column: time - start */
    STARTS_RAW = 2,
};

/* First byte of a column of references. */
enum exemplars_kind {
    EXEMPLARS_INTS = 0,
    EXEMPLARS_RAW = 1,
};

static void put_raw(uint8_t kind, const uint64_t *bits, size_t count, struct buf *out) {
    buf_putc(out, (char)kind);
    for (size_t i = 0; i < count; i++) {
        buf_le64(out, bits[i]);
    }
}

static bool read_raw(struct reader *reader, size_t count, uint64_t *ret) {
    const uint8_t *bytes = reader_bytes(reader, 8 * count);
    for (size_t i = 0; bytes != NULL && i < count; i++) {
        ret[i] = bytes_le64(bytes + 8 * i);
    }
    return bytes != NULL;
}

/* ---- start timestamps ---- */

/* Appends runs up to `bytes_max`; false when they take more. */
static bool put_runs(const int64_t *start_ms, size_t count, size_t bytes_max, struct buf *out) {
    size_t end = out->len + bytes_max;
    int64_t before_ms = 0;
    buf_putc(out, STARTS_RUNS);
    for (size_t i = 0, next = 0; i < count; i = next) {
        while (next < count && start_ms[next] == start_ms[i]) {
            next++;
        }
        buf_uvarint(out, next - i - 1);
        buf_svarint(out, i64_sub(start_ms[i], before_ms));
        before_ms = start_ms[i];
        if (out->len > end) {
            return false;
        }
    }
    return true;
}

void p3_starts_encode(struct p3_encoder *encoder,
                      const int64_t *start_ms,
                      const int64_t *t_ms,
                      size_t count,
                      struct buf *out) {
    assert(count >= 1 && count <= P3_SAMPLES_MAX);
    p3_encoder_reserve(encoder, count);
    for (size_t i = 0; i < count; i++) {
        encoder->ints[i] = i64_sub(t_ms[i], start_ms[i]);
    }
    uint8_t *end = encoder->trial;
    *end++ = STARTS_DISTANCE;
    end = p3_ints_encode(encoder->ints, count, encoder->residuals, end);
    size_t len = (size_t)(end - encoder->trial);
    size_t at = out->len;
    if (len >= P3_COLUMN_BYTES_MAX(count)) {
        len = P3_COLUMN_BYTES_MAX(count);
    }
    if (put_runs(start_ms, count, len, out)) {
        return;
    }
    out->len = at;
    if (len < P3_COLUMN_BYTES_MAX(count)) {
        buf_append(out, encoder->trial, len);
        return;
    }
    put_raw(STARTS_RAW, (const uint64_t *)start_ms, count, out);
}

static bool decode_runs(struct reader *reader, size_t count, int64_t *ret) {
    int64_t start_ms = 0;
    for (size_t i = 0; i < count;) {
        uint64_t more = reader_uvarint(reader);
        start_ms = i64_add(start_ms, reader_svarint(reader));
        if (reader->is_bad || more >= count - i) {
            return false;
        }
        for (size_t end = i + more + 1; i < end; i++) {
            ret[i] = start_ms;
        }
    }
    return true;
}

bool p3_starts_decode(struct reader *reader,
                      const int64_t *t_ms,
                      size_t count,
                      int64_t *ret_start_ms) {
    assert(count >= 1 && count <= P3_SAMPLES_MAX);
    uint8_t kind = reader_u8(reader);
    if (reader->is_bad) {
        return false;
    }
    if (kind == STARTS_RUNS) {
        return decode_runs(reader, count, ret_start_ms);
    }
    if (kind == STARTS_RAW) {
        return read_raw(reader, count, (uint64_t *)ret_start_ms);
    }
    if (kind != STARTS_DISTANCE || !p3_ints_decode(reader, count, ret_start_ms)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        ret_start_ms[i] = i64_sub(t_ms[i], ret_start_ms[i]);
    }
    return true;
}

/* ---- exemplar references ---- */

void p3_exemplars_encode(struct p3_encoder *encoder,
                         const uint64_t *refs,
                         size_t count,
                         struct buf *out) {
    assert(count >= 1 && count <= P3_SAMPLES_MAX);
    p3_encoder_reserve(encoder, count);
    uint8_t *end = encoder->trial;
    *end++ = EXEMPLARS_INTS;
    end = p3_ints_encode((const int64_t *)refs, count, encoder->residuals, end);
    size_t len = (size_t)(end - encoder->trial);
    if (len < P3_COLUMN_BYTES_MAX(count)) {
        buf_append(out, encoder->trial, len);
    } else {
        put_raw(EXEMPLARS_RAW, refs, count, out);
    }
}

bool p3_exemplars_decode(struct reader *reader, size_t count, uint64_t *ret_refs) {
    assert(count >= 1 && count <= P3_SAMPLES_MAX);
    uint8_t kind = reader_u8(reader);
    if (reader->is_bad || kind > EXEMPLARS_RAW) {
        return false;
    }
    return kind == EXEMPLARS_RAW ? read_raw(reader, count, ret_refs)
                                 : p3_ints_decode(reader, count, (int64_t *)ret_refs);
}

/* ---- chunks ---- */

void p3_columns_encode(struct p3_encoder *encoder,
                       const struct p3_columns *columns,
                       const struct p3_group *group,
                       struct buf *out) {
    assert(group->t_ms != NULL || group->neighbour == NULL);
    size_t count = columns->count;
    unsigned flags = (group->t_ms == NULL ? 0 : FLAG_GROUP) |
                     (columns->start_ms == NULL ? 0 : FLAG_STARTS) |
                     (columns->exemplar_refs == NULL ? 0 : FLAG_EXEMPLARS);
    buf_putc(out, (char)flags);
    p3_values_encode(encoder, columns->values, count, group->neighbour, out);
    if (group->t_ms == NULL) {
        p3_times_encode(encoder, columns->t_ms, count, out);
    }
    if (columns->start_ms != NULL) {
        p3_starts_encode(encoder, columns->start_ms, columns->t_ms, count, out);
    }
    if (columns->exemplar_refs != NULL) {
        p3_exemplars_encode(encoder, columns->exemplar_refs, count, out);
    }
}

static bool decode_times(struct reader *reader,
                         const struct p3_bounds *bounds,
                         const int64_t *group_t_ms,
                         int64_t *ret_t_ms) {
    if (group_t_ms == NULL) {
        return p3_times_decode(reader, bounds, ret_t_ms);
    }
    memcpy(ret_t_ms, group_t_ms, bounds->count * sizeof(ret_t_ms[0]));
    return p3_group_fits(bounds, group_t_ms, bounds->count);
}

/* Columns the chunk does not have are zeros. */
static bool decode_further(struct reader *reader,
                           size_t count,
                           unsigned flags,
                           const struct p3_columns_ret *ret) {
    memset(ret->start_ms, 0, count * sizeof(ret->start_ms[0]));
    memset(ret->exemplar_refs, 0, count * sizeof(ret->exemplar_refs[0]));
    if ((flags & FLAG_STARTS) != 0 && !p3_starts_decode(reader, ret->t_ms, count, ret->start_ms)) {
        return false;
    }
    if ((flags & FLAG_EXEMPLARS) != 0 && !p3_exemplars_decode(reader, count, ret->exemplar_refs)) {
        return false;
    }
    return reader_left(reader) == 0;
}

bool p3_columns_decode(const uint8_t *bytes,
                       size_t len,
                       const struct p3_bounds *bounds,
                       const struct p3_group *group,
                       const struct p3_columns_ret *ret) {
    assert((ret->start_ms == NULL) == (ret->exemplar_refs == NULL));
    struct reader reader = reader_init(bytes, len);
    unsigned flags = reader_u8(&reader);
    bool is_group = (flags & FLAG_GROUP) != 0;
    if (reader.is_bad || (flags & ~(unsigned)FLAGS_ALL) != 0 || bounds->count == 0 ||
        bounds->count > P3_SAMPLES_MAX || (is_group && group->t_ms == NULL)) {
        return false;
    }
    const double *neighbour = is_group ? group->neighbour : NULL;
    if (!p3_values_decode(&reader, bounds->count, neighbour, ret->t_ms, ret->values) ||
        !decode_times(&reader, bounds, is_group ? group->t_ms : NULL, ret->t_ms)) {
        return false;
    }
    return ret->start_ms == NULL || decode_further(&reader, bounds->count, flags, ret);
}
