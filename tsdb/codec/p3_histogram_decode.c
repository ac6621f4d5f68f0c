/* Decoding native histograms: sections one after another, columns scattered to the samples. */
#include <assert.h>

#include "tsdb/codec/p3_columns.h"
#include "tsdb/codec/p3_format.h"
#include "tsdb/codec/p3_histogram.h"
#include "tsdb/codec/p3_layout.h"

struct decoder {
    struct reader reader;
    struct arena *arena;
    size_t count; /* samples */
    bool is_float;
    struct histogram *histograms;
    union histogram_count **buckets[LAYOUT_SIDE_COUNT]; /* those of each sample, to be filled */
    int64_t *ints;
    double *reals;
    double *sums;
    union histogram_count *column;
    size_t cells_left; /* of P3_HISTOGRAM_CELLS_MAX */
};

static bool read_hints(struct decoder *decoder) {
    for (size_t i = 0; i < decoder->count;) {
        uint64_t token = reader_uvarint(&decoder->reader);
        uint64_t more = token >> P3_HINT_BITS;
        if (decoder->reader.is_bad || more >= decoder->count - i) {
            return false;
        }
        for (size_t end = i + more + 1; i < end; i++) {
            decoder->histograms[i] = (struct histogram){
                .reset = (enum histogram_reset)(token & ((1U << P3_HINT_BITS) - 1)),
                .is_float = decoder->is_float,
            };
        }
    }
    return true;
}

static bool read_sums(struct decoder *decoder) {
    if (!p3_values_decode(&decoder->reader, decoder->count, NULL, decoder->ints, decoder->reals)) {
        return false;
    }
    for (size_t i = 0; i < decoder->count; i++) {
        decoder->histograms[i].sum = decoder->reals[i];
    }
    return true;
}

/* The next column of a section goes to decoder->column. */
static bool read_column(struct decoder *decoder, size_t count, const double *neighbour) {
    if (!decoder->is_float) {
        if (!p3_ints_decode(&decoder->reader, count, decoder->ints)) {
            return false;
        }
        for (size_t i = 0; i < count; i++) {
            decoder->column[i].whole = (uint64_t)decoder->ints[i];
        }
        return true;
    }
    if (!p3_values_decode(&decoder->reader, count, neighbour, decoder->ints, decoder->reals)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        decoder->column[i].real = decoder->reals[i];
    }
    return true;
}

/* ---- what samples of a layout have ---- */

static void set_layout(struct decoder *decoder,
                       const struct section *section,
                       const struct layout *layout,
                       size_t first) {
    for (size_t i = first; i < first + layout->sample_count; i++) {
        struct histogram *histogram = &decoder->histograms[i];
        if (histogram_is_stale(histogram)) {
            continue;
        }
        histogram->schema = section->schema;
        histogram->zero_threshold = section->zero_threshold;
        histogram->bounds = section->bounds;
        histogram->bound_count = section->bound_count;
        struct histogram_side *sides[] = { &histogram->negative, &histogram->positive };
        for (int s = 0; s < LAYOUT_SIDE_COUNT; s++) {
            *sides[s] = layout->sides[s];
            if (sides[s]->bucket_count > 0) {
                decoder->buckets[s][i] = arena_calloc(decoder->arena, sides[s]->bucket_count,
                                                      sizeof(sides[s]->buckets[0]));
                sides[s]->buckets = decoder->buckets[s][i];
            }
        }
    }
}

static void scatter(struct decoder *decoder,
                    const struct section *section,
                    enum layout_side side,
                    int64_t index,
                    struct layout_cursor *cursors) {
    size_t at = 0;
    for (size_t i = 0; i < section->layout_count; i++) {
        size_t sample_count = section->layouts[i].sample_count;
        if (!layout_cursor_at_end(&cursors[i]) && cursors[i].index == index) {
            for (size_t s = at; s < at + sample_count; s++) {
                if (!histogram_is_stale(&decoder->histograms[section->first + s])) {
                    decoder->buckets[side][section->first + s][cursors[i].position] =
                        decoder->column[s];
                }
            }
            layout_cursor_next(&cursors[i]);
        }
        at += sample_count;
    }
}

/* ---- sections ---- */

static bool read_side(struct decoder *decoder,
                      const struct section *section,
                      enum layout_side side) {
    struct layout_cursor *cursors =
        arena_alloc(decoder->arena, section->layout_count * sizeof(cursors[0]));
    for (size_t i = 0; i < section->layout_count; i++) {
        cursors[i] = layout_cursor_init(&section->layouts[i].sides[side]);
    }
    for (size_t i = 0; i < section->column_count[side]; i++) {
        if (!read_column(decoder, section->sample_count, NULL)) {
            return false;
        }
        scatter(decoder, section, side, section->columns[side][i], cursors);
    }
    return true;
}

static bool read_zero_counts(struct decoder *decoder, const struct section *section) {
    if (!read_column(decoder, section->sample_count, NULL)) {
        return false;
    }
    for (size_t i = 0; i < section->sample_count; i++) {
        struct histogram *histogram = &decoder->histograms[section->first + i];
        if (!histogram_is_stale(histogram)) {
            histogram->zero_count = decoder->column[i];
        }
    }
    return true;
}

static bool read_counts(struct decoder *decoder, const struct section *section) {
    for (size_t i = 0; decoder->is_float && i < section->sample_count; i++) {
        const struct histogram *histogram = &decoder->histograms[section->first + i];
        decoder->sums[i] =
            histogram_is_stale(histogram) ? histogram->sum : p3_histogram_sum_reals(histogram);
    }
    if (!read_column(decoder, section->sample_count, decoder->sums)) {
        return false;
    }
    for (size_t i = 0; i < section->sample_count; i++) {
        struct histogram *histogram = &decoder->histograms[section->first + i];
        if (histogram_is_stale(histogram)) {
            continue;
        }
        histogram->count = decoder->column[i];
        if (!decoder->is_float) {
            histogram->count.whole += p3_histogram_sum_wholes(histogram);
        }
    }
    return true;
}

static bool read_section(struct decoder *decoder, size_t first, size_t *ret_count) {
    struct section section;
    if (!section_decode(&decoder->reader, decoder->count - first, decoder->cells_left,
                        decoder->arena, &section)) {
        return false;
    }
    decoder->cells_left -= section_cells(&section);
    section.first = first;
    for (size_t i = 0, at = first; i < section.layout_count; i++) {
        set_layout(decoder, &section, &section.layouts[i], at);
        at += section.layouts[i].sample_count;
    }
    *ret_count = section.sample_count;
    return read_zero_counts(decoder, &section) && read_side(decoder, &section, LAYOUT_NEGATIVE) &&
           read_side(decoder, &section, LAYOUT_POSITIVE) && read_counts(decoder, &section);
}

static bool read_histograms(struct decoder *decoder) {
    if (!read_hints(decoder) || !read_sums(decoder)) {
        return false;
    }
    for (size_t first = 0, count; first < decoder->count; first += count) {
        if (!read_section(decoder, first, &count)) {
            return false;
        }
    }
    return true;
}

/* ---- chunks ---- */

static void *alloc_column(const struct decoder *decoder, size_t elem_bytes) {
    return arena_alloc(decoder->arena, decoder->count * elem_bytes);
}

static bool read_beside(struct decoder *decoder,
                        unsigned flags,
                        const struct p3_bounds *bounds,
                        const int64_t *group_t_ms,
                        struct p3_histograms *ret) {
    struct reader *reader = &decoder->reader;
    int64_t *t_ms = alloc_column(decoder, sizeof(t_ms[0]));
    int64_t *start_ms = NULL;
    uint64_t *exemplar_refs = NULL;
    if ((flags & P3_HISTOGRAM_GROUP) == 0) {
        if (!p3_times_decode(reader, bounds, t_ms)) {
            return false;
        }
    } else if (group_t_ms == NULL || !p3_group_fits(bounds, group_t_ms, decoder->count)) {
        return false;
    } else {
        memcpy(t_ms, group_t_ms, decoder->count * sizeof(t_ms[0]));
    }
    if ((flags & P3_HISTOGRAM_STARTS) != 0) {
        start_ms = alloc_column(decoder, sizeof(start_ms[0]));
        if (!p3_starts_decode(reader, t_ms, decoder->count, start_ms)) {
            return false;
        }
    }
    if ((flags & P3_HISTOGRAM_EXEMPLARS) != 0) {
        exemplar_refs = alloc_column(decoder, sizeof(exemplar_refs[0]));
        if (!p3_exemplars_decode(reader, decoder->count, exemplar_refs)) {
            return false;
        }
    }
    *ret = (struct p3_histograms){
        .count = decoder->count,
        .t_ms = t_ms,
        .histograms = decoder->histograms,
        .start_ms = start_ms,
        .exemplar_refs = exemplar_refs,
    };
    return reader_left(reader) == 0;
}

bool p3_histograms_decode(const uint8_t *bytes,
                          size_t len,
                          const struct p3_bounds *bounds,
                          const int64_t *group_t_ms,
                          struct arena *arena,
                          struct p3_histograms *ret) {
    struct decoder decoder = {
        .reader = reader_init(bytes, len),
        .arena = arena,
        .count = bounds->count,
        .cells_left = P3_HISTOGRAM_CELLS_MAX,
    };
    unsigned flags = reader_u8(&decoder.reader);
    if (decoder.reader.is_bad || flags > P3_HISTOGRAM_FLAGS_ALL || bounds->count == 0 ||
        bounds->count > P3_SAMPLES_MAX) {
        return false;
    }
    decoder.is_float = (flags & P3_HISTOGRAM_FLOAT) != 0;
    decoder.histograms = alloc_column(&decoder, sizeof(decoder.histograms[0]));
    for (int side = 0; side < LAYOUT_SIDE_COUNT; side++) {
        decoder.buckets[side] = alloc_column(&decoder, sizeof(decoder.buckets[side][0]));
    }
    decoder.ints = alloc_column(&decoder, sizeof(decoder.ints[0]));
    decoder.reals = alloc_column(&decoder, sizeof(decoder.reals[0]));
    decoder.sums = alloc_column(&decoder, sizeof(decoder.sums[0]));
    decoder.column = alloc_column(&decoder, sizeof(decoder.column[0]));
    return read_histograms(&decoder) && read_beside(&decoder, flags, bounds, group_t_ms, ret);
}
