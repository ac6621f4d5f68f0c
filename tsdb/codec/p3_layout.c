/* P3, native histograms: sections, layouts, and their bytes. */
#include "tsdb/codec/p3_layout.h"

#include <assert.h>
#include <stdlib.h>

#include "tsdb/codec/p3_format.h"

#define LAYOUT_BYTES_MIN 3

uint64_t p3_histogram_sum_wholes(const struct histogram *histogram) {
    uint64_t sum = histogram->zero_count.whole;
    for (size_t i = 0; i < histogram->negative.bucket_count; i++) {
        sum += histogram->negative.buckets[i].whole;
    }
    for (size_t i = 0; i < histogram->positive.bucket_count; i++) {
        sum += histogram->positive.buckets[i].whole;
    }
    return sum;
}

double p3_histogram_sum_reals(const struct histogram *histogram) {
    double sum = histogram->zero_count.real;
    for (size_t i = 0; i < histogram->negative.bucket_count; i++) {
        sum += histogram->negative.buckets[i].real;
    }
    for (size_t i = 0; i < histogram->positive.bucket_count; i++) {
        sum += histogram->positive.buckets[i].real;
    }
    return sum;
}

/* ---- walking buckets ---- */

/* To the next span that has buckets. */
static void skip_empty_spans(struct layout_cursor *cursor) {
    const struct histogram_side *side = cursor->side;
    while (cursor->span < side->span_count && cursor->in_span == side->spans[cursor->span].length) {
        cursor->span++;
        cursor->in_span = 0;
        if (cursor->span < side->span_count) {
            cursor->index += side->spans[cursor->span].offset;
        }
    }
}

struct layout_cursor layout_cursor_init(const struct histogram_side *side) {
    struct layout_cursor cursor = { .side = side };
    if (side->span_count > 0) {
        cursor.index = side->spans[0].offset;
        skip_empty_spans(&cursor);
    }
    return cursor;
}

void layout_cursor_next(struct layout_cursor *cursor) {
    assert(!layout_cursor_at_end(cursor));
    cursor->position++;
    cursor->in_span++;
    cursor->index++;
    skip_empty_spans(cursor);
}

/* Both ascend; returns the end of what was written, each index once. */
static size_t merge_indexes(const int64_t *columns,
                            size_t count,
                            const struct histogram_side *side,
                            int64_t *ret) {
    struct layout_cursor cursor = layout_cursor_init(side);
    size_t i = 0;
    size_t end = 0;
    while (i < count || !layout_cursor_at_end(&cursor)) {
        bool is_column = layout_cursor_at_end(&cursor) || (i < count && columns[i] <= cursor.index);
        int64_t index = is_column ? columns[i] : cursor.index;
        i += is_column;
        if (!layout_cursor_at_end(&cursor) && cursor.index == index) {
            layout_cursor_next(&cursor);
        }
        ret[end++] = index;
    }
    return end;
}

/* The limit is looked at as columns come together: hostile layouts must not take a second. */
static bool find_side_columns(struct section *section,
                              enum layout_side side,
                              size_t cells_max,
                              struct arena *arena) {
    int64_t *columns = NULL;
    int64_t *merged = NULL;
    size_t count = 0;
    size_t cap = 0;
    for (size_t i = 0; i < section->layout_count; i++) {
        const struct histogram_side *spans = &section->layouts[i].sides[side];
        if (count + spans->bucket_count > cap) {
            cap = 2 * (count + spans->bucket_count);
            int64_t *grown = arena_alloc(arena, cap * sizeof(grown[0]));
            if (count > 0) {
                memcpy(grown, columns, count * sizeof(grown[0]));
            }
            columns = grown;
            merged = arena_alloc(arena, cap * sizeof(merged[0]));
        }
        count = merge_indexes(columns, count, spans, merged);
        int64_t *spare = columns;
        columns = merged;
        merged = spare;
        if (count * section->sample_count > cells_max) {
            return false;
        }
    }
    section->columns[side] = columns;
    section->column_count[side] = count;
    return true;
}

bool section_find_columns(struct section *section, size_t cells_max, struct arena *arena) {
    return section->bound_count <= cells_max &&
           find_side_columns(section, LAYOUT_NEGATIVE, cells_max, arena) &&
           find_side_columns(section, LAYOUT_POSITIVE, cells_max, arena) &&
           section_cells(section) <= cells_max;
}

/* ---- bytes ---- */

void section_encode(const struct section *section, struct p3_encoder *encoder, struct buf *out) {
    buf_svarint(out, section->schema);
    buf_le64(out, double_bits(section->zero_threshold));
    buf_uvarint(out, section->bound_count);
    if (section->bound_count > 0) {
        p3_values_encode(encoder, section->bounds, section->bound_count, NULL, out);
    }
    buf_uvarint(out, section->layout_count - 1);
    for (size_t i = 0; i < section->layout_count; i++) {
        const struct layout *layout = &section->layouts[i];
        buf_uvarint(out, layout->sample_count - 1);
        for (int side = 0; side < LAYOUT_SIDE_COUNT; side++) {
            const struct histogram_side *spans = &layout->sides[side];
            buf_uvarint(out, spans->span_count);
            for (size_t s = 0; s < spans->span_count; s++) {
                buf_svarint(out, spans->spans[s].offset);
                buf_uvarint(out, spans->spans[s].length);
            }
        }
    }
}

/* Every span takes two bytes at least: what is left says how many there can be. */
static bool decode_side(struct reader *reader,
                        size_t span_max,
                        size_t bucket_max,
                        struct arena *arena,
                        struct histogram_side *ret) {
    uint64_t count = reader_uvarint(reader);
    if (reader->is_bad || count > span_max || count > reader_left(reader) / 2) {
        return false;
    }
    struct histogram_span *spans = arena_alloc(arena, count * sizeof(spans[0]));
    uint64_t bucket_count = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t offset = reader_svarint(reader);
        uint64_t length = reader_uvarint(reader);
        if (reader->is_bad || offset < (i == 0 ? INT32_MIN : 0) || offset > INT32_MAX ||
            length > bucket_max - bucket_count) {
            return false;
        }
        spans[i] = (struct histogram_span){ .offset = (int32_t)offset, .length = (uint32_t)length };
        bucket_count += length;
    }
    *ret = (struct histogram_side){
        .spans = count == 0 ? NULL : spans,
        .span_count = count,
        .bucket_count = bucket_count,
    };
    return true;
}

static bool decode_layout(struct reader *reader,
                          size_t count_max,
                          struct arena *arena,
                          struct layout *ret) {
    uint64_t more = reader_uvarint(reader);
    if (reader->is_bad || more >= count_max) {
        return false;
    }
    ret->sample_count = more + 1;
    struct histogram_side *negative = &ret->sides[LAYOUT_NEGATIVE];
    return decode_side(reader, HISTOGRAM_SPANS_MAX, HISTOGRAM_BUCKETS_MAX, arena, negative) &&
           decode_side(reader, HISTOGRAM_SPANS_MAX - negative->span_count,
                       HISTOGRAM_BUCKETS_MAX - negative->bucket_count, arena,
                       &ret->sides[LAYOUT_POSITIVE]);
}

static bool decode_bounds(struct reader *reader, struct arena *arena, struct section *section) {
    uint64_t count = reader_uvarint(reader);
    if (reader->is_bad || count > HISTOGRAM_BOUNDS_MAX) {
        return false;
    }
    section->bound_count = count;
    if (count == 0) {
        return true;
    }
    int64_t *scratch = arena_alloc(arena, count * sizeof(scratch[0]));
    double *bounds = arena_alloc(arena, count * sizeof(bounds[0]));
    section->bounds = bounds;
    return p3_values_decode(reader, count, NULL, scratch, bounds);
}

bool section_decode(struct reader *reader,
                    size_t count_max,
                    size_t cells_max,
                    struct arena *arena,
                    struct section *ret) {
    int64_t schema = reader_svarint(reader);
    *ret = (struct section){
        .schema = (int32_t)schema,
        .zero_threshold = double_from_bits(reader_le64(reader)),
    };
    if (reader->is_bad || schema < INT32_MIN || schema > INT32_MAX ||
        !decode_bounds(reader, arena, ret)) {
        return false;
    }
    uint64_t more = reader_uvarint(reader);
    if (reader->is_bad || more >= count_max || more >= reader_left(reader) / LAYOUT_BYTES_MIN) {
        return false;
    }
    ret->layout_count = more + 1;
    ret->layouts = arena_calloc(arena, ret->layout_count, sizeof(ret->layouts[0]));
    for (size_t i = 0; i < ret->layout_count; i++) {
        if (!decode_layout(reader, count_max - ret->sample_count, arena, &ret->layouts[i])) {
            return false;
        }
        ret->sample_count += ret->layouts[i].sample_count;
    }
    return section_find_columns(ret, cells_max, arena);
}
