/* The plain native histograms of p3_naive_columns.h. */
#include <stdlib.h>

#include "tests/tsdb/p3_naive_columns.h"

#define CELLS_MAX (1 << 20)

/* A bucket of a section: its side and index in one number that sorts as the columns do. */
static int64_t key_of(int side, int64_t index) {
    return index + (side == 0 ? -(INT64_C(1) << 60) : INT64_C(1) << 60);
}

static int compare_keys(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The keys of a histogram's buckets, the negative side's first; returns how many. */
static size_t keys_of(const struct histogram *histogram, int64_t *ret) {
    const struct histogram_side *sides[] = { &histogram->negative, &histogram->positive };
    size_t count = 0;
    for (int s = 0; s < 2; s++) {
        int64_t index = 0;
        for (size_t i = 0; i < sides[s]->span_count; i++) {
            index += sides[s]->spans[i].offset;
            for (uint32_t n = 0; n < sides[s]->spans[i].length; n++) {
                ret[count++] = key_of(s, index++);
            }
        }
    }
    return count;
}

static union histogram_count bucket_of(const struct histogram *histogram, size_t position) {
    size_t negatives = histogram->negative.bucket_count;
    return position < negatives ? histogram->negative.buckets[position]
                                : histogram->positive.buckets[position - negatives];
}

static size_t bucket_count(const struct histogram *histogram) {
    return histogram->negative.bucket_count + histogram->positive.bucket_count;
}

static size_t sort_unique(int64_t *keys, size_t count) {
    size_t unique = 0;
    qsort(keys, count, sizeof(keys[0]), compare_keys);
    for (size_t i = 0; i < count; i++) {
        if (unique == 0 || keys[unique - 1] != keys[i]) {
            keys[unique++] = keys[i];
        }
    }
    return unique;
}

/* ---- decoding ---- */

struct twin {
    struct reader reader;
    struct arena *arena;
    bool is_float;
    size_t count;
    struct histogram *histograms;
    size_t cells;
};

static void read_column(struct twin *twin,
                        size_t count,
                        const double *neighbour,
                        union histogram_count *ret) {
    int64_t *ints = arena_calloc(twin->arena, count, sizeof(ints[0]));
    double *reals = arena_calloc(twin->arena, count, sizeof(reals[0]));
    if (twin->reader.is_bad) {
        return;
    }
    if (twin->is_float) {
        naive_read_values(&twin->reader, count, neighbour, reals);
    } else {
        naive_read_ints(&twin->reader, count, ints);
    }
    for (size_t i = 0; i < count; i++) {
        if (twin->is_float) {
            ret[i].real = reals[i];
        } else {
            ret[i].whole = (uint64_t)ints[i];
        }
    }
}

static void read_hints(struct twin *twin) {
    uint64_t left = 0;
    uint64_t token = 0;
    for (size_t i = 0; !twin->reader.is_bad && i < twin->count; i++) {
        if (left == 0) {
            token = reader_uvarint(&twin->reader);
            left = token / 4 + 1;
            twin->reader.is_bad |= left > twin->count - i;
        }
        left--;
        twin->histograms[i].reset = (enum histogram_reset)(token % 4);
        twin->histograms[i].is_float = twin->is_float;
    }
}

static void read_side(struct twin *twin, struct histogram_side *side) {
    uint64_t count = reader_uvarint(&twin->reader);
    if (twin->reader.is_bad || count > HISTOGRAM_SPANS_MAX || count > reader_left(&twin->reader)) {
        twin->reader.is_bad = true;
        return;
    }
    struct histogram_span *spans = arena_calloc(twin->arena, count, sizeof(spans[0]));
    uint64_t buckets = 0;
    for (uint64_t i = 0; i < count; i++) {
        int64_t offset = reader_svarint(&twin->reader);
        uint64_t length = reader_uvarint(&twin->reader);
        if (offset > INT32_MAX || offset < INT32_MIN || (i > 0 && offset < 0) ||
            length > HISTOGRAM_BUCKETS_MAX) {
            twin->reader.is_bad = true;
            return;
        }
        spans[i] = (struct histogram_span){ (int32_t)offset, (uint32_t)length };
        buckets += length;
    }
    if (buckets > HISTOGRAM_BUCKETS_MAX) {
        twin->reader.is_bad = true;
        return;
    }
    side->spans = count == 0 ? NULL : spans;
    side->span_count = count;
    side->bucket_count = buckets;
}

static void read_bounds(struct twin *twin, struct histogram *shape) {
    uint64_t count = reader_uvarint(&twin->reader);
    twin->reader.is_bad |= count > HISTOGRAM_BOUNDS_MAX;
    if (twin->reader.is_bad || count == 0) {
        return;
    }
    double *bounds = arena_calloc(twin->arena, count, sizeof(bounds[0]));
    naive_read_values(&twin->reader, count, NULL, bounds);
    shape->bounds = bounds;
    shape->bound_count = count;
}

/* Layouts go to `shapes`, one per sample. Returns the number of samples. */
static size_t read_shapes(struct twin *twin, size_t first, struct histogram *shapes) {
    int64_t schema = reader_svarint(&twin->reader);
    struct histogram shape = {
        .schema = (int32_t)schema,
        .zero_threshold = double_from_bits(reader_le64(&twin->reader)),
    };
    twin->reader.is_bad |= schema > INT32_MAX || schema < INT32_MIN;
    if (!twin->reader.is_bad) {
        read_bounds(twin, &shape);
    }
    uint64_t layouts = reader_uvarint(&twin->reader) + 1;
    size_t count = 0;
    twin->reader.is_bad |= layouts == 0;
    for (uint64_t i = 0; !twin->reader.is_bad && i < layouts; i++) {
        uint64_t samples = reader_uvarint(&twin->reader) + 1;
        if (twin->reader.is_bad || samples == 0 || samples > twin->count - first - count) {
            twin->reader.is_bad = true;
            break;
        }
        read_side(twin, &shape.negative);
        read_side(twin, &shape.positive);
        twin->reader.is_bad |=
            shape.negative.span_count + shape.positive.span_count > HISTOGRAM_SPANS_MAX ||
            bucket_count(&shape) > HISTOGRAM_BUCKETS_MAX;
        for (uint64_t s = 0; s < samples; s++) {
            shapes[count++] = shape;
        }
    }
    return count;
}

static double sum_of(const struct histogram *histogram, double *ret_real, uint64_t *ret_whole) {
    *ret_real = histogram->zero_count.real;
    *ret_whole = histogram->zero_count.whole;
    for (size_t i = 0; i < bucket_count(histogram); i++) {
        *ret_real += bucket_of(histogram, i).real;
        *ret_whole += bucket_of(histogram, i).whole;
    }
    return *ret_real;
}

/* One column of buckets to the samples that have it. */
static void take_bucket(struct twin *twin,
                        const struct histogram *shapes,
                        size_t count,
                        int64_t key,
                        const union histogram_count *column,
                        union histogram_count **buckets) {
    int64_t *keys = calloc(HISTOGRAM_BUCKETS_MAX, sizeof(keys[0]));
    size_t key_count = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_same = i > 0 && shapes[i].negative.spans == shapes[i - 1].negative.spans &&
                       shapes[i].positive.spans == shapes[i - 1].positive.spans;
        key_count = is_same ? key_count : keys_of(&shapes[i], keys);
        for (size_t k = 0; k < key_count; k++) {
            if (keys[k] == key) {
                buckets[i][k] = column[i];
            }
        }
    }
    free(keys);
}

/* All keys of all samples; the caller frees. */
static int64_t *find_keys(struct twin *twin,
                          const struct histogram *shapes,
                          size_t count,
                          size_t *ret_count) {
    int64_t *keys = NULL;
    size_t key_count = 0;
    for (size_t i = 0; i < count; i++) {
        keys = realloc(keys, (key_count + bucket_count(&shapes[i]) + 1) * sizeof(keys[0]));
        key_count = sort_unique(keys, key_count + keys_of(&shapes[i], keys + key_count));
        if (key_count * count > CELLS_MAX) {
            twin->reader.is_bad = true;
            break;
        }
    }
    twin->cells += key_count * count + (count == 0 ? 0 : shapes[0].bound_count);
    twin->reader.is_bad |= twin->cells > CELLS_MAX;
    *ret_count = key_count;
    return keys;
}

static void fill_sample(struct twin *twin,
                        struct histogram *histogram,
                        const struct histogram *shape,
                        const union histogram_count *buckets) {
    struct histogram sample = *shape;
    sample.reset = histogram->reset;
    sample.is_float = histogram->is_float;
    sample.sum = histogram->sum;
    sample.negative.buckets = buckets;
    sample.positive.buckets = buckets + sample.negative.bucket_count;
    *histogram = sample;
}

static size_t read_section(struct twin *twin, size_t first) {
    struct histogram *shapes = arena_calloc(twin->arena, twin->count, sizeof(shapes[0]));
    size_t count = read_shapes(twin, first, shapes);
    size_t key_count = 0;
    int64_t *keys = twin->reader.is_bad ? NULL : find_keys(twin, shapes, count, &key_count);
    if (twin->reader.is_bad) {
        free(keys);
        return 0;
    }
    union histogram_count *column = arena_calloc(twin->arena, count, sizeof(column[0]));
    union histogram_count **buckets = arena_calloc(twin->arena, count, sizeof(buckets[0]));
    double *sums = arena_calloc(twin->arena, count, sizeof(sums[0]));
    uint64_t *wholes = arena_calloc(twin->arena, count, sizeof(wholes[0]));
    for (size_t i = 0; i < count; i++) {
        buckets[i] = arena_calloc(twin->arena, bucket_count(&shapes[i]) + 1, sizeof(buckets[0][0]));
    }
    read_column(twin, count, NULL, column);
    for (size_t i = 0; i < count; i++) {
        shapes[i].zero_count = column[i];
    }
    for (size_t k = 0; !twin->reader.is_bad && k < key_count; k++) {
        read_column(twin, count, NULL, column);
        take_bucket(twin, shapes, count, keys[k], column, buckets);
    }
    free(keys);
    for (size_t i = 0; i < count; i++) {
        struct histogram *histogram = &twin->histograms[first + i];
        bool is_absent = histogram_is_stale(histogram);
        if (!is_absent) {
            fill_sample(twin, histogram, &shapes[i], buckets[i]);
        }
        sums[i] = is_absent ? histogram->sum : sum_of(histogram, &sums[i], &wholes[i]);
    }
    read_column(twin, count, sums, column);
    for (size_t i = 0; i < count; i++) {
        struct histogram *histogram = &twin->histograms[first + i];
        if (!histogram_is_stale(histogram)) {
            histogram->count = column[i];
            histogram->count.whole += twin->is_float ? 0 : wholes[i];
        }
    }
    return count;
}

bool naive_histograms_decode(const uint8_t *bytes,
                             size_t len,
                             const struct p3_bounds *bounds,
                             const int64_t *group_t_ms,
                             struct arena *arena,
                             struct p3_histograms *ret) {
    size_t count = bounds->count;
    struct twin twin = { .reader = reader_init(bytes, len), .arena = arena, .count = count };
    unsigned flags = reader_u8(&twin.reader);
    if (twin.reader.is_bad || flags > 15) {
        return false;
    }
    twin.is_float = flags % 2 == 1;
    twin.histograms = arena_calloc(arena, count, sizeof(twin.histograms[0]));
    read_hints(&twin);
    double *sums = arena_calloc(arena, count, sizeof(sums[0]));
    if (!twin.reader.is_bad) {
        naive_read_values(&twin.reader, count, NULL, sums);
    }
    for (size_t i = 0; i < count; i++) {
        twin.histograms[i].sum = sums[i];
    }
    for (size_t done = 0; !twin.reader.is_bad && done < count;) {
        done += read_section(&twin, done);
    }
    int64_t *t_ms = arena_calloc(arena, count, sizeof(t_ms[0]));
    int64_t *start_ms = arena_calloc(arena, count, sizeof(start_ms[0]));
    uint64_t *refs = arena_calloc(arena, count, sizeof(refs[0]));
    if (twin.reader.is_bad || ((flags & 2) != 0 && group_t_ms == NULL)) {
        return false;
    }
    if ((flags & 2) == 0) {
        naive_read_times(&twin.reader, bounds, t_ms);
    }
    for (size_t i = 0; (flags & 2) != 0 && i < count; i++) {
        t_ms[i] = group_t_ms[i];
    }
    if ((flags & 4) != 0 && !twin.reader.is_bad) {
        naive_read_starts(&twin.reader, t_ms, count, start_ms);
    }
    if ((flags & 8) != 0 && !twin.reader.is_bad) {
        naive_read_exemplars(&twin.reader, count, refs);
    }
    *ret = (struct p3_histograms){ count, t_ms, twin.histograms, (flags & 4) != 0 ? start_ms : NULL,
                                   (flags & 8) != 0 ? refs : NULL };
    return !twin.reader.is_bad && reader_left(&twin.reader) == 0 && t_ms[0] == bounds->t_min_ms &&
           t_ms[count - 1] == bounds->t_max_ms;
}

/* ---- encoding ---- */

static void put_column(struct naive_random *random,
                       bool is_float,
                       const union histogram_count *column,
                       size_t count,
                       const double *neighbour,
                       struct buf *out) {
    double *reals = calloc(count, sizeof(reals[0]));
    int64_t *ints = calloc(count, sizeof(ints[0]));
    for (size_t i = 0; i < count; i++) {
        reals[i] = is_float ? column[i].real : 0;
        ints[i] = (int64_t)column[i].whole;
    }
    if (is_float) {
        naive_put_values(random, reals, count, neighbour, out);
    } else {
        naive_put_ints(random, ints, count, out);
    }
    free(reals);
    free(ints);
}

static void put_side(const struct histogram_side *side, struct buf *out) {
    buf_uvarint(out, side->span_count);
    for (size_t i = 0; i < side->span_count; i++) {
        buf_svarint(out, side->spans[i].offset);
        buf_uvarint(out, side->spans[i].length);
    }
}

static bool same_side(const struct histogram_side *a, const struct histogram_side *b) {
    bool is_same = a->span_count == b->span_count;
    for (size_t i = 0; is_same && i < a->span_count; i++) {
        is_same =
            a->spans[i].offset == b->spans[i].offset && a->spans[i].length == b->spans[i].length;
    }
    return is_same;
}

static bool same_section(const struct histogram *a, const struct histogram *b) {
    bool is_same = a->schema == b->schema && a->bound_count == b->bound_count &&
                   double_bits(a->zero_threshold) == double_bits(b->zero_threshold);
    for (size_t i = 0; is_same && i < a->bound_count; i++) {
        is_same = double_bits(a->bounds[i]) == double_bits(b->bounds[i]);
    }
    return is_same;
}

/* Layouts of 1, 2, … samples that could be one, too. */
static void put_layouts(struct naive_random *random,
                        const struct histogram *shapes,
                        size_t count,
                        struct buf *out) {
    struct buf layouts;
    uint64_t layout_count = 0;
    buf_init(&layouts, SIZE_MAX);
    for (size_t i = 0, next = 0; i < count; i = next) {
        do {
            next++;
        } while (next < count && same_side(&shapes[i].negative, &shapes[next].negative) &&
                 same_side(&shapes[i].positive, &shapes[next].positive) &&
                 naive_random(random) % 8 != 0);
        buf_uvarint(&layouts, next - i - 1);
        put_side(&shapes[i].negative, &layouts);
        put_side(&shapes[i].positive, &layouts);
        layout_count++;
    }
    buf_uvarint(out, layout_count - 1);
    buf_str(out, buf_as_str(&layouts));
    buf_finish(&layouts);
}

static void put_buckets(struct naive_random *random,
                        const struct histogram *shapes,
                        const struct histogram *histograms,
                        size_t count,
                        struct buf *out) {
    struct twin twin = { .cells = 0 };
    size_t key_count;
    int64_t *keys = find_keys(&twin, shapes, count, &key_count);
    int64_t *own = calloc(HISTOGRAM_BUCKETS_MAX, sizeof(own[0]));
    union histogram_count *column = calloc(count, sizeof(column[0]));
    for (size_t k = 0; k < key_count; k++) {
        for (size_t i = 0; i < count; i++) {
            size_t own_count = keys_of(&shapes[i], own);
            column[i].whole = naive_random(random) % 100; /* is not read */
            for (size_t n = 0; n < own_count && !histogram_is_stale(&histograms[i]); n++) {
                if (own[n] == keys[k]) {
                    column[i] = bucket_of(&histograms[i], n);
                }
            }
        }
        put_column(random, histograms[0].is_float, column, count, NULL, out);
    }
    free(keys);
    free(own);
    free(column);
}

/* Samples of one section; shapes are theirs, for stale ones any. */
static void put_section(struct naive_random *random,
                        const struct histogram *shapes,
                        const struct histogram *histograms,
                        size_t count,
                        struct buf *out) {
    bool is_float = histograms[0].is_float;
    buf_svarint(out, shapes[0].schema);
    buf_le64(out, double_bits(shapes[0].zero_threshold));
    buf_uvarint(out, shapes[0].bound_count);
    if (shapes[0].bound_count > 0) {
        naive_put_values(random, shapes[0].bounds, shapes[0].bound_count, NULL, out);
    }
    put_layouts(random, shapes, count, out);
    union histogram_count *column = calloc(count, sizeof(column[0]));
    double *sums = calloc(count, sizeof(sums[0]));
    for (size_t i = 0; i < count; i++) {
        column[i] = histograms[i].zero_count;
    }
    put_column(random, is_float, column, count, NULL, out);
    put_buckets(random, shapes, histograms, count, out);
    for (size_t i = 0; i < count; i++) {
        uint64_t whole;
        column[i] = histograms[i].count;
        sums[i] = histograms[i].sum;
        if (!histogram_is_stale(&histograms[i])) {
            sum_of(&histograms[i], &sums[i], &whole);
            column[i].whole -= is_float ? 0 : whole;
        }
    }
    put_column(random, is_float, column, count, sums, out);
    free(column);
    free(sums);
}

static void put_hints(struct naive_random *random,
                      const struct histogram *histograms,
                      size_t count,
                      struct buf *out) {
    for (size_t i = 0, next = 0; i < count; i = next) {
        do {
            next++;
        } while (next < count && histograms[next].reset == histograms[i].reset &&
                 naive_random(random) % 8 != 0);
        buf_uvarint(out, (next - i - 1) * 4 + histograms[i].reset);
    }
}

void naive_histograms_encode(struct naive_random *random,
                             const struct p3_histograms *in,
                             bool is_group,
                             struct buf *out) {
    size_t count = in->count;
    struct histogram *shapes = calloc(count, sizeof(shapes[0]));
    double *sums = calloc(count, sizeof(sums[0]));
    bool has_starts = in->start_ms != NULL;
    bool has_exemplars = in->exemplar_refs != NULL;
    buf_putc(out, (char)(in->histograms[0].is_float + 2 * is_group + 4 * has_starts +
                         8 * has_exemplars));
    put_hints(random, in->histograms, count, out);
    for (size_t i = 0; i < count; i++) {
        sums[i] = in->histograms[i].sum;
        bool is_absent = histogram_is_stale(&in->histograms[i]);
        if (!is_absent || i > 0) {
            shapes[i] = is_absent ? shapes[i - 1] : in->histograms[i];
        }
    }
    naive_put_values(random, sums, count, NULL, out);
    for (size_t i = 0, next = 0; i < count; i = next) {
        do {
            next++;
        } while (next < count && same_section(&shapes[i], &shapes[next]) &&
                 naive_random(random) % 16 != 0);
        put_section(random, shapes + i, in->histograms + i, next - i, out);
    }
    if (!is_group) {
        naive_put_times(random, in->t_ms, count, out);
    }
    if (has_starts) {
        naive_put_starts(random, in->start_ms, in->t_ms, count, out);
    }
    if (has_exemplars) {
        naive_put_exemplars(random, in->exemplar_refs, count, out);
    }
    free(shapes);
    free(sums);
}
