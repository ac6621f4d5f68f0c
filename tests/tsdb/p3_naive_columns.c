/* The plain further columns of p3_naive_columns.h. */
#include "tests/tsdb/p3_naive_columns.h"

#include <stdlib.h>

/* ---- starts ---- */

void naive_put_starts(struct naive_random *random,
                      const int64_t *start_ms,
                      const int64_t *t_ms,
                      size_t count,
                      struct buf *out) {
    uint64_t kind = naive_random(random) % 3;
    buf_putc(out, (char)kind);
    if (kind == 0) {
        for (size_t i = 0; i < count; i++) {
            size_t length = 1;
            while (i + length < count && start_ms[i + length] == start_ms[i] &&
                   naive_random(random) % 4 != 0) {
                length++;
            }
            buf_uvarint(out, length - 1);
            buf_svarint(out, i64_sub(start_ms[i], i == 0 ? 0 : start_ms[i - 1]));
            i += length - 1;
        }
    } else if (kind == 1) {
        int64_t *ints = calloc(count, sizeof(ints[0]));
        for (size_t i = 0; i < count; i++) {
            ints[i] = i64_sub(t_ms[i], start_ms[i]);
        }
        naive_put_ints(random, ints, count, out);
        free(ints);
    } else {
        for (size_t i = 0; i < count; i++) {
            buf_le64(out, (uint64_t)start_ms[i]);
        }
    }
}

void naive_read_starts(struct reader *reader, const int64_t *t_ms, size_t count, int64_t *ret) {
    unsigned kind = reader_u8(reader);
    reader->is_bad |= kind > 2;
    if (kind == 1 && !reader->is_bad) {
        naive_read_ints(reader, count, ret);
    }
    uint64_t left = 0;
    int64_t run_ms = 0;
    for (size_t i = 0; !reader->is_bad && i < count; i++) {
        if (kind == 0 && left == 0) {
            left = reader_uvarint(reader) + 1;
            run_ms = i64_add(run_ms, reader_svarint(reader));
            reader->is_bad |= left == 0 || left > count - i;
        }
        left--;
        ret[i] = kind == 0   ? run_ms
                 : kind == 1 ? i64_sub(t_ms[i], ret[i])
                             : (int64_t)reader_le64(reader);
    }
}

/* ---- exemplar references ---- */

void naive_put_exemplars(struct naive_random *random,
                         const uint64_t *refs,
                         size_t count,
                         struct buf *out) {
    uint64_t kind = naive_random(random) % 2;
    buf_putc(out, (char)kind);
    if (kind == 0) {
        naive_put_ints(random, (const int64_t *)refs, count, out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        buf_le64(out, refs[i]);
    }
}

void naive_read_exemplars(struct reader *reader, size_t count, uint64_t *ret) {
    unsigned kind = reader_u8(reader);
    reader->is_bad |= kind > 1;
    if (kind == 0 && !reader->is_bad) {
        naive_read_ints(reader, count, (int64_t *)ret);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        ret[i] = reader_le64(reader);
    }
}

/* ---- chunks with further columns ---- */

void naive_columns_encode(struct naive_random *random,
                          const struct p3_columns *columns,
                          const struct p3_group *group,
                          struct buf *out) {
    bool is_group = group->t_ms != NULL;
    bool has_starts = columns->start_ms != NULL;
    bool has_exemplars = columns->exemplar_refs != NULL;
    buf_putc(out, (char)(is_group + 2 * has_starts + 4 * has_exemplars));
    naive_put_values(random, columns->values, columns->count, group->neighbour, out);
    if (!is_group) {
        naive_put_times(random, columns->t_ms, columns->count, out);
    }
    if (has_starts) {
        naive_put_starts(random, columns->start_ms, columns->t_ms, columns->count, out);
    }
    if (has_exemplars) {
        naive_put_exemplars(random, columns->exemplar_refs, columns->count, out);
    }
}

bool naive_columns_decode(const uint8_t *bytes,
                          size_t len,
                          const struct p3_bounds *bounds,
                          const struct p3_group *group,
                          const struct p3_columns_ret *ret) {
    struct reader reader = reader_init(bytes, len);
    unsigned flags = reader_u8(&reader);
    bool is_group = (flags & 1) != 0;
    if (reader.is_bad || flags > 7 || (is_group && group->t_ms == NULL)) {
        return false;
    }
    naive_read_values(&reader, bounds->count, is_group ? group->neighbour : NULL, ret->values);
    for (size_t i = 0; is_group && i < bounds->count; i++) {
        ret->t_ms[i] = group->t_ms[i];
    }
    if (!is_group && !reader.is_bad) {
        naive_read_times(&reader, bounds, ret->t_ms);
    }
    if (reader.is_bad || ret->t_ms[0] != bounds->t_min_ms ||
        ret->t_ms[bounds->count - 1] != bounds->t_max_ms) {
        return false;
    }
    for (size_t i = 0; i < bounds->count; i++) {
        ret->start_ms[i] = 0;
        ret->exemplar_refs[i] = 0;
    }
    if ((flags & 2) != 0) {
        naive_read_starts(&reader, ret->t_ms, bounds->count, ret->start_ms);
    }
    if ((flags & 4) != 0 && !reader.is_bad) {
        naive_read_exemplars(&reader, bounds->count, ret->exemplar_refs);
    }
    return !reader.is_bad && reader_left(&reader) == 0;
}
