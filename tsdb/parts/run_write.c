/*
 * Writing runs. A column of times is written once, when the first series with it comes, and found
 * again by a 128-bit hash with secret seeds; columns that follow one another in a series lie one
 * behind the other, so that a chunk usually says of its times no more than "the next ones".
 */
#include <assert.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/parts/run.h"
#include "tsdb/parts/run_format.h"

#define COLUMNS_KNOWN_MAX ((size_t)1 << 18) /* then all are forgotten: some are written again */
#define CUT_SAMPLES_MIN   720               /* fewer in a window: a chunk takes several windows */
#define CUT_WINDOWS_MAX   1024

struct run_column {
    uint64_t hash;
    uint32_t segment;
    uint16_t offset;
    uint16_t end; /* where the next one would lie */
};

/* A chunk: as it would be alone and, when there is a neighbour, leaning on that. */
struct run_piece {
    struct run_column times;
    size_t first; /* sample of the series */
    size_t alone_at;
    size_t alone_len;
    size_t leaning_at;
    size_t leaning_len; /* 0: nothing to lean on, or of no use */
    /* where it was put */
    uint32_t segment;
    uint16_t offset;
    uint8_t chain; /* chunks to decode before it */
};

void run_writer_init(struct run_writer *writer) {
    *writer = (struct run_writer){ .number_next = 1 };
    buf_init(&writer->values, SEGMENT_BYTES_MAX);
    buf_init(&writer->times, SEGMENT_BYTES_MAX);
    buf_init(&writer->bytes, SIZE_MAX);
    buf_init(&writer->payloads, SIZE_MAX);
    u64map_init(&writer->known);
    p3_encoder_init(&writer->encoder);
    random_bytes(writer->seeds, sizeof(writer->seeds));
}

void run_writer_finish(struct run_writer *writer) {
    buf_finish(&writer->values);
    buf_finish(&writer->times);
    buf_finish(&writer->bytes);
    buf_finish(&writer->payloads);
    u64map_finish(&writer->known);
    p3_encoder_finish(&writer->encoder);
    mem_free(writer->segments);
    mem_free(writer->columns);
    mem_free(writer->pieces);
    mem_free(writer->before);
    mem_free(writer->before_values);
}

/* ---- cutting ---- */

static void add_cut(struct run_cut **cuts, size_t *cap, size_t *count, size_t first, size_t end) {
    *cuts = vec_grow(*cuts, cap, *count + 1, sizeof((*cuts)[0]));
    (*cuts)[(*count)++] = (struct run_cut){ .first = first, .end = end };
}

/* How many windows a chunk shall take together: a power of two, so that borders meet. */
static int64_t windows_per_chunk(const int64_t *t_ms, size_t count, int64_t block_ms) {
    size_t windows = 1;
    for (size_t i = 1; i < count; i++) {
        windows += i64_floor_div(t_ms[i], block_ms) != i64_floor_div(t_ms[i - 1], block_ms);
    }
    int64_t width = 1;
    while (width < CUT_WINDOWS_MAX && count * (size_t)width / windows < CUT_SAMPLES_MIN) {
        width *= 2;
    }
    return width;
}

void run_cut_times(const int64_t *t_ms,
                   size_t count,
                   int64_t block_ms,
                   struct run_cut **cuts,
                   size_t *cap,
                   size_t *ret_count) {
    *ret_count = 0;
    int64_t width = windows_per_chunk(t_ms, count, block_ms);
    for (size_t first = 0; first < count;) {
        int64_t border = i64_floor_div(i64_floor_div(t_ms[first], block_ms), width);
        size_t end = first + 1;
        while (end < count && i64_floor_div(i64_floor_div(t_ms[end], block_ms), width) == border) {
            end++;
        }
        size_t samples = end - first;
        size_t pieces = samples <= RUN_CHUNK_SAMPLES_MAX
                            ? 1
                            : (samples + RUN_CHUNK_SAMPLES_AIM / 2) / RUN_CHUNK_SAMPLES_AIM;
        for (size_t i = 0; i < pieces; i++) {
            add_cut(cuts, cap, ret_count, first + samples * i / pieces,
                    first + samples * (i + 1) / pieces);
        }
        first = end;
    }
}

/* ---- segments ---- */

static void finish_segment(struct run_writer *writer, struct buf *segment, uint32_t number) {
    writer->segments = vec_grow(writer->segments, &writer->segment_cap, writer->segment_count + 1,
                                sizeof(writer->segments[0]));
    writer->segments[writer->segment_count++] = (struct run_segment){
        .number = number,
        .at = writer->bytes.len,
        .len = segment->len,
    };
    buf_str(&writer->bytes, buf_as_str(segment));
    buf_reset(segment);
}

static void begin_values(struct run_writer *writer) {
    writer->values_number = writer->number_next++;
    segment_begin(&writer->values, SEGMENT_RUNS);
}

void run_writer_end(struct run_writer *writer) {
    if (writer->values.len > 0) {
        finish_segment(writer, &writer->values, writer->values_number);
    }
    if (writer->times.len > 0) {
        finish_segment(writer, &writer->times, writer->times_number);
    }
}

void run_writer_taken(struct run_writer *writer) {
    writer->segment_count = 0;
    buf_reset(&writer->bytes);
}

/* ---- times ---- */

static struct run_column write_times(struct run_writer *writer, const int64_t *t_ms, size_t count) {
    struct buf payload;
    buf_init(&payload, SIZE_MAX);
    p3_times_encode(&writer->encoder, t_ms, count, &payload);
    if (writer->times.len > 0 &&
        writer->times.len + RUN_TIMES_HEADER_MAX + payload.len > SEGMENT_BYTES_MAX) {
        finish_segment(writer, &writer->times, writer->times_number);
    }
    if (writer->times.len == 0) {
        writer->times_number = writer->number_next++;
        segment_begin(&writer->times, SEGMENT_TIMES);
    }
    struct run_column column = {
        .segment = writer->times_number,
        .offset = (uint16_t)writer->times.len,
    };
    buf_uvarint(&writer->times, count);
    buf_svarint(&writer->times, t_ms[0]);
    buf_uvarint(&writer->times, (uint64_t)i64_sub(t_ms[count - 1], t_ms[0]));
    buf_uvarint(&writer->times, payload.len);
    buf_str(&writer->times, buf_as_str(&payload));
    segment_count(&writer->times);
    assert(!writer->times.is_over);
    column.end = (uint16_t)writer->times.len;
    buf_finish(&payload);
    return column;
}

static struct run_column place_times(struct run_writer *writer, const int64_t *t_ms, size_t count) {
    struct str bytes = str_n((const char *)t_ms, count * sizeof(t_ms[0]));
    uint64_t key = hash_bytes_seeded(bytes, writer->seeds[0]) | 1;
    uint64_t hash = hash_bytes_seeded(bytes, writer->seeds[1]);
    uint64_t number;
    if (u64map_get(&writer->known, key, &number) && writer->columns[number - 1].hash == hash) {
        return writer->columns[number - 1];
    }
    if (writer->column_count == COLUMNS_KNOWN_MAX) {
        u64map_reset(&writer->known);
        writer->column_count = 0;
    }
    struct run_column column = write_times(writer, t_ms, count);
    column.hash = hash;
    writer->columns = vec_grow(writer->columns, &writer->column_cap, writer->column_count + 1,
                               sizeof(writer->columns[0]));
    writer->columns[writer->column_count++] = column;
    u64map_put(&writer->known, key, writer->column_count);
    return column;
}

/* ---- series ---- */

/* The chunk of the series before with the same times. */
static const struct run_piece *neighbour_of(const struct run_writer *writer, size_t number) {
    if (number >= writer->before_count) {
        return NULL;
    }
    const struct run_piece *before = &writer->before[number];
    const struct run_column *times = &writer->pieces[number].times;
    bool is_same = before->times.segment == times->segment && before->times.offset == times->offset;
    return is_same && before->chain + 1 < RUN_CHAIN_MAX ? before : NULL;
}

static void encode_piece(struct run_writer *writer,
                         const struct run_series *series,
                         size_t number) {
    size_t first = series->cuts[number].first;
    size_t count = series->cuts[number].end - first;
    const double *values = series->column->values + first;
    assert(count >= 1 && count <= RUN_CHUNK_SAMPLES_MAX);
    writer->pieces = vec_grow(writer->pieces, &writer->piece_cap, writer->piece_count + 1,
                              sizeof(writer->pieces[0]));
    struct run_piece *piece = &writer->pieces[writer->piece_count++];
    *piece = (struct run_piece){
        .times = place_times(writer, series->column->t_ms + first, count),
        .first = first,
        .alone_at = writer->payloads.len,
    };
    p3_group_encode(&writer->encoder, values, count, NULL, &writer->payloads);
    piece->alone_len = writer->payloads.len - piece->alone_at;
    const struct run_piece *neighbour = neighbour_of(writer, number);
    if (neighbour == NULL) {
        return;
    }
    piece->leaning_at = writer->payloads.len;
    p3_group_encode(&writer->encoder, values, count, writer->before_values + neighbour->first,
                    &writer->payloads);
    size_t len = writer->payloads.len - piece->leaning_at;
    const uint8_t *bytes = (const uint8_t *)writer->payloads.ptr + piece->leaning_at;
    piece->leaning_len = p3_group_has_neighbour(bytes, len) ? len : 0;
}

/* May the piece lean on its neighbour where it is going to be put? */
static bool leans(const struct run_writer *writer, size_t number) {
    return writer->pieces[number].leaning_len > 0 &&
           writer->before[number].segment == writer->values_number;
}

/* How many pieces from `first` on fit behind what is in the segment. */
static size_t count_fitting(const struct run_writer *writer, size_t first) {
    size_t len = writer->values.len + RUN_HEADER_MAX;
    size_t count = 0;
    while (first + count < writer->piece_count) {
        const struct run_piece *piece = &writer->pieces[first + count];
        len += RUN_CHUNK_HEADER_MAX;
        len += leans(writer, first + count) ? piece->leaning_len : piece->alone_len;
        if (len > SEGMENT_BYTES_MAX) {
            break;
        }
        count++;
    }
    return count;
}

static void put_piece(struct run_writer *writer, size_t number, bool is_first) {
    struct buf *values = &writer->values;
    struct run_piece *piece = &writer->pieces[number];
    const struct run_column *times = &piece->times;
    const struct run_column *before = is_first ? NULL : &writer->pieces[number - 1].times;
    bool is_next =
        before != NULL && before->segment == times->segment && before->end == times->offset;
    bool is_leaning = leans(writer, number);
    piece->segment = writer->values_number;
    piece->offset = (uint16_t)values->len;
    piece->chain = is_leaning ? (uint8_t)(writer->before[number].chain + 1) : 0;
    buf_putc(values, (char)(CHUNK_P3_GROUP | (is_next ? 0 : RUN_TIMES_NAMED) |
                            (is_leaning ? RUN_NEIGHBOUR : 0)));
    if (!is_next) {
        buf_uvarint(values, times->segment);
        buf_uvarint(values, times->offset);
    }
    if (is_leaning) {
        buf_uvarint(values, (uint64_t)(piece->offset - writer->before[number].offset));
    }
    size_t at = is_leaning ? piece->leaning_at : piece->alone_at;
    size_t len = is_leaning ? piece->leaning_len : piece->alone_len;
    buf_uvarint(values, len);
    buf_str(values, str_n(writer->payloads.ptr + at, len));
}

static void put_pieces(struct run_writer *writer, uint64_t id, size_t first, size_t count) {
    struct buf *values = &writer->values;
    bool goes_on = first + count < writer->piece_count;
    buf_uvarint(values, id);
    buf_uvarint(values, count << 1 | (goes_on ? 1 : 0));
    for (size_t i = first; i < first + count; i++) {
        put_piece(writer, i, i == first);
    }
    segment_count(values);
    assert(!values->is_over);
}

/* The next series may lean on this one. */
static void keep_series(struct run_writer *writer, const struct tsdb_column *column) {
    struct run_piece *pieces = writer->before;
    size_t cap = writer->before_cap;
    writer->before = writer->pieces;
    writer->before_cap = writer->piece_cap;
    writer->before_count = writer->piece_count;
    writer->pieces = pieces;
    writer->piece_cap = cap;
    writer->piece_count = 0;
    writer->before_values = vec_grow(writer->before_values, &writer->before_value_cap,
                                     column->count, sizeof(writer->before_values[0]));
    memcpy(writer->before_values, column->values, column->count * sizeof(column->values[0]));
}

void run_writer_add(struct run_writer *writer,
                    const struct run_series *series,
                    uint32_t *ret_segment,
                    uint16_t *ret_offset) {
    buf_reset(&writer->payloads);
    writer->piece_count = 0;
    writer->before_count = series->is_next_bucket ? writer->before_count : 0;
    for (size_t i = 0; i < series->cut_count; i++) {
        encode_piece(writer, series, i);
    }
    for (size_t first = 0; first < writer->piece_count;) {
        if (writer->values.len == 0) {
            begin_values(writer);
        }
        size_t count = count_fitting(writer, first);
        if (count == 0) {
            finish_segment(writer, &writer->values, writer->values_number);
            continue;
        }
        if (first == 0) {
            *ret_segment = writer->values_number;
            *ret_offset = (uint16_t)writer->values.len;
        }
        put_pieces(writer, series->id, first, count);
        first += count;
        if (first < writer->piece_count) {
            segment_set_next(&writer->values, writer->number_next - writer->values_number);
            finish_segment(writer, &writer->values, writer->values_number);
        }
    }
    keep_series(writer, series->column);
}
