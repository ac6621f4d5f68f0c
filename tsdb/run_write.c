/*
 * Writing runs. A column of times is written once, when the first series with it comes, and found
 * again by a 128-bit hash with secret seeds; columns that follow one another in a series lie one
 * behind the other, so that a chunk usually says of its times no more than "the next ones".
 */
#include <assert.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tsdb/bytes.h"
#include "tsdb/run.h"
#include "tsdb/run_format.h"

#define COLUMNS_KNOWN_MAX ((size_t)1 << 18) /* then all are forgotten: some are written again */
#define CUT_SAMPLES_MIN   360               /* fewer in a window: a chunk takes several windows */
#define CUT_WINDOWS_MAX   1024

struct run_column {
    uint64_t hash;
    uint32_t segment;
    uint16_t offset;
    uint16_t end; /* where the next one would lie */
};

struct run_piece {
    struct run_column times;
    size_t at; /* in payloads */
    size_t len;
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

static void encode_pieces(struct run_writer *writer,
                          const struct tsdb_column *column,
                          const struct run_cut *cuts,
                          size_t cut_count) {
    buf_reset(&writer->payloads);
    writer->piece_count = 0;
    for (size_t i = 0; i < cut_count; i++) {
        size_t first = cuts[i].first;
        size_t count = cuts[i].end - first;
        assert(count >= 1 && count <= RUN_CHUNK_SAMPLES_MAX);
        struct run_piece piece = {
            .times = place_times(writer, column->t_ms + first, count),
            .at = writer->payloads.len,
        };
        p3_group_encode(&writer->encoder, column->values + first, count, NULL, &writer->payloads);
        piece.len = writer->payloads.len - piece.at;
        writer->pieces = vec_grow(writer->pieces, &writer->piece_cap, writer->piece_count + 1,
                                  sizeof(writer->pieces[0]));
        writer->pieces[writer->piece_count++] = piece;
    }
}

/* How many pieces from `first` on fit behind what is in the segment. */
static size_t count_fitting(const struct run_writer *writer, size_t first) {
    size_t len = writer->values.len + RUN_HEADER_MAX;
    size_t count = 0;
    while (first + count < writer->piece_count) {
        len += RUN_CHUNK_HEADER_MAX + writer->pieces[first + count].len;
        if (len > SEGMENT_BYTES_MAX) {
            break;
        }
        count++;
    }
    return count;
}

static void put_pieces(struct run_writer *writer, uint64_t id, size_t first, size_t count) {
    struct buf *values = &writer->values;
    bool goes_on = first + count < writer->piece_count;
    buf_uvarint(values, id);
    buf_uvarint(values, count << 1 | (goes_on ? 1 : 0));
    for (size_t i = first; i < first + count; i++) {
        const struct run_piece *piece = &writer->pieces[i];
        const struct run_column *times = &piece->times;
        const struct run_column *before = i > first ? &writer->pieces[i - 1].times : NULL;
        bool is_next =
            before != NULL && before->segment == times->segment && before->end == times->offset;
        buf_putc(values, (char)(CHUNK_P3_GROUP | (is_next ? 0 : RUN_TIMES_NAMED)));
        if (!is_next) {
            buf_uvarint(values, times->segment);
            buf_uvarint(values, times->offset);
        }
        buf_uvarint(values, piece->len);
        buf_str(values, str_n(writer->payloads.ptr + piece->at, piece->len));
    }
    segment_count(values);
    assert(!values->is_over);
}

void run_writer_add(struct run_writer *writer,
                    uint64_t id,
                    const struct tsdb_column *column,
                    const struct run_cut *cuts,
                    size_t cut_count,
                    uint32_t *ret_segment,
                    uint16_t *ret_offset) {
    encode_pieces(writer, column, cuts, cut_count);
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
        put_pieces(writer, id, first, count);
        first += count;
        if (first < writer->piece_count) {
            segment_set_next(&writer->values, writer->number_next - writer->values_number);
            finish_segment(writer, &writer->values, writer->values_number);
        }
    }
}
