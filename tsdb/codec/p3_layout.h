/*
 * The inside of chunks of native histograms (p3_histogram.h): what encoder and decoder agree
 * on, and which buckets a chunk has. A *section* is a run of
 * samples whose bucket indexes mean the same: one schema, zero threshold, bounds. Within it a
 * *layout* is a run of samples with the same spans. A section's columns are the indexes of all its
 * layouts, ascending, first the negative side's.
 */
#pragma once

#include "tsdb/codec/p3_histogram.h"

/* First byte of a payload. */
enum {
    P3_HISTOGRAM_FLOAT = 1,
    P3_HISTOGRAM_GROUP = 2, /* no time column */
    P3_HISTOGRAM_STARTS = 4,
    P3_HISTOGRAM_EXEMPLARS = 8,
    P3_HISTOGRAM_FLAGS_ALL = 15,
};

#define P3_HINT_BITS 2

/* What the count is stored beside: zero bucket and buckets, the negative side first, ascending. */
uint64_t p3_histogram_sum_wholes(const struct histogram *histogram);
double p3_histogram_sum_reals(const struct histogram *histogram);

enum layout_side {
    LAYOUT_NEGATIVE,
    LAYOUT_POSITIVE,
    LAYOUT_SIDE_COUNT,
};

struct layout {
    size_t sample_count;
    struct histogram_side sides[LAYOUT_SIDE_COUNT]; /* without buckets */
};

struct section {
    int32_t schema;
    double zero_threshold;
    const double *bounds;
    size_t bound_count;
    size_t first; /* sample */
    size_t sample_count;
    struct layout *layouts;
    size_t layout_count;
    int64_t *columns[LAYOUT_SIDE_COUNT]; /* bucket indexes */
    size_t column_count[LAYOUT_SIDE_COUNT];
};

/* What counts against P3_HISTOGRAM_CELLS_MAX of a chunk. */
static inline size_t section_cells(const struct section *section) {
    return section->bound_count + section->sample_count * (section->column_count[LAYOUT_NEGATIVE] +
                                                           section->column_count[LAYOUT_POSITIVE]);
}

/* The union of the layouts' indexes, in the arena; false when it is more than `cells_max`. */
WARN_UNUSED bool section_find_columns(struct section *section,
                                      size_t cells_max,
                                      struct arena *arena);

/* Walks the buckets of one side of a layout. */
struct layout_cursor {
    const struct histogram_side *side;
    size_t span;
    uint32_t in_span;
    size_t position; /* of the bucket */
    int64_t index;
};

struct layout_cursor layout_cursor_init(const struct histogram_side *side);

static inline bool layout_cursor_at_end(const struct layout_cursor *cursor) {
    return cursor->position == cursor->side->bucket_count;
}

void layout_cursor_next(struct layout_cursor *cursor);

void section_encode(const struct section *section, struct p3_encoder *encoder, struct buf *out);
/* Reads up to the columns; at most `count_max` >= 1 samples. */
WARN_UNUSED bool section_decode(struct reader *reader,
                                size_t count_max,
                                size_t cells_max,
                                struct arena *arena,
                                struct section *ret);
