/*
 * Encoding native histograms. Samples are cut into sections and layouts first; then every bucket
 * index of a section becomes a column. Where a sample has no such bucket, or is stale, the column
 * repeats what it was: what stands there is not read.
 *
 * The count is what the buckets say, except for observations of NaN: what is stored is the
 * difference, in float histograms as a column beside the sum of the buckets.
 */
#include "tsdb/codec/p3_histogram.h"

#include <assert.h>

#include "base/mem.h"
#include "tsdb/codec/p3_columns.h"
#include "tsdb/codec/p3_format.h"
#include "tsdb/codec/p3_layout.h"

/* A layout with this many more buckets than the section's smallest, or twice as many, starts a new
 * section: most columns would hold nothing for most samples. */
#define SPARSE_BUCKETS 32

/* Of a chunk of one sample. */
enum {
    FIXED_BYTES_MAX = 256,
    COLUMN_BYTES_MAX = 1 + UVARINT_BYTES_MAX,
    SPAN_BYTES_MAX = 5 + 3,
};

struct plan {
    const struct p3_histograms *in;
    struct p3_encoder *encoder;
    struct arena *arena;
    size_t count; /* samples of the chunk */
    struct section *sections;
    size_t section_count;
    union histogram_count *column; /* being gathered */
    double *reals;
    double *sums;
    struct buf *out;
};

/* ---- sections and layouts ---- */

static const struct histogram_side *side_of(const struct histogram *histogram,
                                            enum layout_side side) {
    return side == LAYOUT_NEGATIVE ? &histogram->negative : &histogram->positive;
}

static bool is_of_section(const struct section *section, const struct histogram *histogram) {
    if (section->schema != histogram->schema ||
        double_bits(section->zero_threshold) != double_bits(histogram->zero_threshold) ||
        section->bound_count != histogram->bound_count) {
        return false;
    }
    for (size_t i = 0; i < section->bound_count; i++) {
        if (double_bits(section->bounds[i]) != double_bits(histogram->bounds[i])) {
            return false;
        }
    }
    return true;
}

static bool is_of_layout(const struct layout *layout, const struct histogram *histogram) {
    for (int s = 0; s < LAYOUT_SIDE_COUNT; s++) {
        const struct histogram_side *a = &layout->sides[s];
        const struct histogram_side *b = side_of(histogram, (enum layout_side)s);
        if (a->span_count != b->span_count) {
            return false;
        }
        for (size_t i = 0; i < a->span_count; i++) {
            if (a->spans[i].offset != b->spans[i].offset ||
                a->spans[i].length != b->spans[i].length) {
                return false;
            }
        }
    }
    return true;
}

static size_t layout_buckets(const struct layout *layout) {
    return layout->sides[LAYOUT_NEGATIVE].bucket_count +
           layout->sides[LAYOUT_POSITIVE].bucket_count;
}

static bool is_sparse_in(const struct section *section, size_t buckets) {
    size_t first = layout_buckets(&section->layouts[0]);
    size_t low = buckets < first ? buckets : first;
    size_t high = buckets < first ? first : buckets;
    return high > 2 * low + SPARSE_BUCKETS;
}

static struct layout layout_of(const struct histogram *histogram) {
    struct layout layout = { .sample_count = 0 };
    for (int s = 0; s < LAYOUT_SIDE_COUNT; s++) {
        layout.sides[s] = *side_of(histogram, (enum layout_side)s);
        layout.sides[s].buckets = NULL;
    }
    return layout;
}

/* Room for one section and one layout per sample; sections share the array of layouts. */
static void plan_sections(struct plan *plan) {
    static const struct histogram none = { 0 };
    const struct histogram *histograms = plan->in->histograms;
    struct layout *layouts = arena_calloc(plan->arena, plan->count, sizeof(layouts[0]));
    struct section *section = NULL;
    struct layout *layout = NULL;
    plan->sections = arena_calloc(plan->arena, plan->count, sizeof(plan->sections[0]));
    plan->section_count = 0;
    size_t first = 0; /* stale samples at the start belong to what follows */
    while (first + 1 < plan->count && histogram_is_stale(&histograms[first])) {
        first++;
    }
    for (size_t i = 0; i < plan->count; i++) {
        const struct histogram *histogram = &histograms[i < first ? first : i];
        if (histogram_is_stale(histogram)) {
            histogram = &none;
        }
        bool is_any = section != NULL && histogram == &none;
        if (!is_any && (section == NULL || !is_of_section(section, histogram) ||
                        is_sparse_in(section, histogram->negative.bucket_count +
                                                  histogram->positive.bucket_count))) {
            section = &plan->sections[plan->section_count++];
            *section = (struct section){
                .schema = histogram->schema,
                .zero_threshold = histogram->zero_threshold,
                .bounds = histogram->bounds,
                .bound_count = histogram->bound_count,
                .first = i,
                .layouts = layout == NULL ? layouts : layout + 1,
            };
            layout = NULL;
        }
        if (!is_any && (layout == NULL || !is_of_layout(layout, histogram))) {
            layout = &section->layouts[section->layout_count++];
            *layout = layout_of(histogram);
        }
        layout->sample_count++;
        section->sample_count++;
    }
}

static bool find_columns(struct plan *plan) {
    size_t left = P3_HISTOGRAM_CELLS_MAX;
    for (size_t i = 0; i < plan->section_count; i++) {
        if (!section_find_columns(&plan->sections[i], left, plan->arena)) {
            return false;
        }
        left -= section_cells(&plan->sections[i]);
    }
    return true;
}

/* ---- columns ---- */

static void put_ints(struct plan *plan, const int64_t *ints, size_t count) {
    p3_encoder_reserve(plan->encoder, count);
    uint8_t *end = p3_ints_encode(ints, count, plan->encoder->residuals, plan->encoder->trial);
    buf_append(plan->out, plan->encoder->trial, (size_t)(end - plan->encoder->trial));
}

/* The gathered column; `neighbour` is for doubles. */
static void put_column(struct plan *plan, size_t count, const double *neighbour) {
    if (!plan->in->histograms[0].is_float) {
        put_ints(plan, (const int64_t *)&plan->column[0].whole, count);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        plan->reals[i] = plan->column[i].real;
    }
    p3_values_encode(plan->encoder, plan->reals, count, neighbour, plan->out);
}

/* Gathers from the sample `at` of the section on; until a first value comes, places wait for it. */
struct gather {
    union histogram_count *column;
    size_t at;
    bool has_value;
};

static void gather_value(struct gather *gather, union histogram_count value) {
    for (size_t i = 0; !gather->has_value && i < gather->at; i++) {
        gather->column[i] = value;
    }
    gather->has_value = true;
    gather->column[gather->at++] = value;
}

static void gather_nothing(struct gather *gather) {
    static const union histogram_count zero = { .whole = 0 };
    gather->column[gather->at] = gather->has_value ? gather->column[gather->at - 1] : zero;
    gather->at++;
}

static void put_bucket(struct plan *plan,
                       const struct section *section,
                       enum layout_side side,
                       int64_t index,
                       struct layout_cursor *cursors) {
    struct gather gather = { .column = plan->column };
    for (size_t i = 0; i < section->layout_count; i++) {
        struct layout_cursor *cursor = &cursors[i];
        bool has_bucket = !layout_cursor_at_end(cursor) && cursor->index == index;
        for (size_t s = 0; s < section->layouts[i].sample_count; s++) {
            const struct histogram *histogram = &plan->in->histograms[section->first + gather.at];
            if (has_bucket && !histogram_is_stale(histogram)) {
                gather_value(&gather, side_of(histogram, side)->buckets[cursor->position]);
            } else {
                gather_nothing(&gather);
            }
        }
        if (has_bucket) {
            layout_cursor_next(cursor);
        }
    }
    put_column(plan, section->sample_count, NULL);
}

static void put_side(struct plan *plan, const struct section *section, enum layout_side side) {
    struct layout_cursor *cursors =
        arena_alloc(plan->arena, section->layout_count * sizeof(cursors[0]));
    for (size_t i = 0; i < section->layout_count; i++) {
        cursors[i] = layout_cursor_init(&section->layouts[i].sides[side]);
    }
    for (size_t i = 0; i < section->column_count[side]; i++) {
        put_bucket(plan, section, side, section->columns[side][i], cursors);
    }
}

static void put_zero_count(struct plan *plan, const struct section *section) {
    struct gather gather = { .column = plan->column };
    while (gather.at < section->sample_count) {
        const struct histogram *histogram = &plan->in->histograms[section->first + gather.at];
        if (histogram_is_stale(histogram)) {
            gather_nothing(&gather);
        } else {
            gather_value(&gather, histogram->zero_count);
        }
    }
    put_column(plan, section->sample_count, NULL);
}

static void put_count(struct plan *plan, const struct section *section) {
    struct gather gather = { .column = plan->column };
    while (gather.at < section->sample_count) {
        size_t at = gather.at;
        const struct histogram *histogram = &plan->in->histograms[section->first + at];
        if (histogram->is_float) {
            bool is_absent = histogram_is_stale(histogram); /* then the same in both: a copy */
            plan->sums[at] = is_absent ? histogram->sum : p3_histogram_sum_reals(histogram);
            plan->column[gather.at++].real = is_absent ? histogram->sum : histogram->count.real;
        } else if (histogram_is_stale(histogram)) {
            gather_nothing(&gather);
        } else {
            uint64_t rest = histogram->count.whole - p3_histogram_sum_wholes(histogram);
            gather_value(&gather, (union histogram_count){ .whole = rest });
        }
    }
    put_column(plan, section->sample_count, plan->sums);
}

static void put_hints(const struct plan *plan) {
    const struct histogram *histograms = plan->in->histograms;
    for (size_t i = 0, next = 0; i < plan->count; i = next) {
        while (next < plan->count && histograms[next].reset == histograms[i].reset) {
            next++;
        }
        buf_uvarint(plan->out, (next - i - 1) << P3_HINT_BITS | (unsigned)histograms[i].reset);
    }
}

/* ---- chunks ---- */

static bool put_sections(struct plan *plan) {
    plan_sections(plan);
    if (!find_columns(plan)) {
        return false;
    }
    for (size_t i = 0; i < plan->section_count; i++) {
        const struct section *section = &plan->sections[i];
        section_encode(section, plan->encoder, plan->out);
        put_zero_count(plan, section);
        put_side(plan, section, LAYOUT_NEGATIVE);
        put_side(plan, section, LAYOUT_POSITIVE);
        put_count(plan, section);
    }
    return true;
}

/* Exactly `plan->count` samples; false when their cells are too many. */
static bool encode_all(struct plan *plan, bool is_group) {
    const struct p3_histograms *in = plan->in;
    size_t count = plan->count;
    unsigned flags = (in->histograms[0].is_float ? P3_HISTOGRAM_FLOAT : 0) |
                     (is_group ? P3_HISTOGRAM_GROUP : 0) |
                     (in->start_ms == NULL ? 0 : P3_HISTOGRAM_STARTS) |
                     (in->exemplar_refs == NULL ? 0 : P3_HISTOGRAM_EXEMPLARS);
    buf_putc(plan->out, (char)flags);
    put_hints(plan);
    for (size_t i = 0; i < count; i++) {
        plan->reals[i] = in->histograms[i].sum;
    }
    p3_values_encode(plan->encoder, plan->reals, count, NULL, plan->out);
    if (!put_sections(plan)) {
        return false;
    }
    if (!is_group) {
        p3_times_encode(plan->encoder, in->t_ms, count, plan->out);
    }
    if (in->start_ms != NULL) {
        p3_starts_encode(plan->encoder, in->start_ms, in->t_ms, count, plan->out);
    }
    if (in->exemplar_refs != NULL) {
        p3_exemplars_encode(plan->encoder, in->exemplar_refs, count, plan->out);
    }
    return true;
}

/* Samples of the first one's kind, before anything is measured. */
static size_t take_kind(const struct p3_histograms *in) {
    size_t count = 1;
    while (count < in->count && count < P3_SAMPLES_MAX &&
           in->histograms[count].is_float == in->histograms[0].is_float) {
        count++;
    }
    return count;
}

size_t p3_histograms_encode(struct p3_encoder *encoder,
                            const struct p3_histograms *in,
                            bool is_group,
                            size_t bytes_max,
                            struct buf *out) {
    assert(in->count >= 1);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    size_t start = out->len;
    struct plan plan = {
        .in = in,
        .encoder = encoder,
        .arena = &arena,
        .count = take_kind(in),
        .out = out,
    };
    plan.column = mem_calloc(plan.count, sizeof(plan.column[0]));
    plan.reals = mem_calloc(plan.count, sizeof(plan.reals[0]));
    plan.sums = mem_calloc(plan.count, sizeof(plan.sums[0]));
    while (plan.count > 0 && (!encode_all(&plan, is_group) || out->len - start > bytes_max)) {
        out->len = start;
        arena_reset(&arena);
        plan.count /= 2;
    }
    mem_free(plan.column);
    mem_free(plan.reals);
    mem_free(plan.sums);
    arena_finish(&arena);
    return plan.count;
}

bool p3_histogram_fits(const struct histogram *histogram, size_t bytes_max) {
    size_t buckets = histogram->negative.bucket_count + histogram->positive.bucket_count;
    size_t spans = histogram->negative.span_count + histogram->positive.span_count;
    if (FIXED_BYTES_MAX + COLUMN_BYTES_MAX * (buckets + histogram->bound_count) +
            SPAN_BYTES_MAX * spans <=
        bytes_max) {
        return true;
    }
    static const int64_t t_ms = 0;
    static const int64_t start_ms = INT64_MIN;
    static const uint64_t exemplar_ref = UINT64_MAX / 3;
    struct p3_histograms in = {
        .count = 1,
        .t_ms = &t_ms,
        .histograms = histogram,
        .start_ms = &start_ms,
        .exemplar_refs = &exemplar_ref,
    };
    struct p3_encoder encoder;
    struct buf out;
    p3_encoder_init(&encoder);
    buf_init(&out, SIZE_MAX);
    size_t count = p3_histograms_encode(&encoder, &in, false, bytes_max, &out);
    p3_encoder_finish(&encoder);
    buf_finish(&out);
    return count == 1;
}
