/*
 * Rows of table rollups (FORMAT.md, "Rollups"): the buckets of a series and period as P3 columns.
 * Columns that say nothing new (of a counter that only rises min is first and max is last; nothing
 * lost; no stale end) are left out, which a bit tells.
 */
#include "base/mem.h"
#include "tsdb/codec/bytes.h"
#include "tsdb/codec/p3.h"
#include "tsdb/rollup/rollup.h"

#define ROLLUP_ROW_VERSION 1
/* Buckets of a period at the finest resolution there may be. */
#define ROLLUP_BUCKETS_MAX (ROLLUP_PERIOD_MS / TSDB_ROLLUP_RESOLUTION_MS_MIN)
#define COUNT_MAX          9007199254740992.0

/* The columns in the order they are stored. */
enum field {
    FIELD_COUNT,
    FIELD_FIRST_AT, /* ms after the bucket's start */
    FIELD_LAST_AT,
    FIELD_FIRST,
    FIELD_LAST,
    FIELD_SUM,
    FIELD_MIN,
    FIELD_MAX,
    FIELD_LOST,
    FIELD_STALE,
    FIELD_END,
};

static double field_get(const struct tsdb_bucket *bucket, enum field field, int64_t resolution_ms) {
    int64_t start_ms = bucket->t_ms - resolution_ms;
    switch (field) {
    case FIELD_COUNT: return (double)bucket->count;
    case FIELD_FIRST_AT: return bucket->count == 0 ? 0 : (double)(bucket->t_first_ms - start_ms);
    case FIELD_LAST_AT: return bucket->count == 0 ? 0 : (double)(bucket->t_last_ms - start_ms);
    case FIELD_FIRST: return bucket->first;
    case FIELD_LAST: return bucket->last;
    case FIELD_SUM: return bucket->sum;
    case FIELD_MIN: return bucket->min;
    case FIELD_MAX: return bucket->max;
    case FIELD_LOST: return bucket->lost;
    case FIELD_STALE: return bucket->ends_stale;
    case FIELD_END: break;
    }
    BUG("field %d", (int)field);
}

/* False: no such value can have been written. */
static bool field_set(struct tsdb_bucket *bucket,
                      enum field field,
                      int64_t resolution_ms,
                      double value) {
    int64_t start_ms = bucket->t_ms - resolution_ms;
    switch (field) {
    case FIELD_COUNT:
        bucket->count = value >= 0 && value <= COUNT_MAX ? (uint64_t)value : 0;
        return (double)bucket->count == value;
    case FIELD_FIRST_AT:
    case FIELD_LAST_AT:
        if (!(value >= 0 && value <= (double)resolution_ms)) {
            return false;
        }
        *(field == FIELD_FIRST_AT ? &bucket->t_first_ms : &bucket->t_last_ms) =
            bucket->count == 0 ? 0 : start_ms + (int64_t)value;
        return true;
    case FIELD_FIRST: bucket->first = value; return true;
    case FIELD_LAST: bucket->last = value; return true;
    case FIELD_SUM: bucket->sum = value; return true;
    case FIELD_MIN: bucket->min = value; return true;
    case FIELD_MAX: bucket->max = value; return true;
    case FIELD_LOST: bucket->lost = value; return true;
    case FIELD_STALE: bucket->ends_stale = value != 0; return true;
    case FIELD_END: break;
    }
    BUG("field %d", (int)field);
}

/* The field's value when its column is left out. */
static double field_implied(const struct tsdb_bucket *bucket, enum field field) {
    return field == FIELD_MIN ? bucket->first : field == FIELD_MAX ? bucket->last : 0;
}

static bool is_implied(const struct tsdb_bucket *buckets, size_t count, enum field field) {
    for (size_t i = 0; i < count; i++) {
        if (double_bits(field_get(&buckets[i], field, 0)) !=
            double_bits(field_implied(&buckets[i], field))) {
            return false;
        }
    }
    return true;
}

void rollup_encode(struct p3_encoder *encoder,
                   int64_t resolution_ms,
                   const struct tsdb_bucket *buckets,
                   size_t count,
                   struct buf *out) {
    double *values = mem_alloc(count * sizeof(values[0]));
    int64_t *t_ms = mem_alloc(count * sizeof(t_ms[0]));
    for (size_t i = 0; i < count; i++) {
        t_ms[i] = buckets[i].t_ms;
    }
    buf_putc(out, ROLLUP_ROW_VERSION);
    buf_uvarint(out, count);
    buf_svarint(out, t_ms[0] / resolution_ms);
    buf_uvarint(out, (uint64_t)((t_ms[count - 1] - t_ms[0]) / resolution_ms));
    p3_times_encode(encoder, t_ms, count, out);
    uint8_t left_out = 0;
    for (enum field field = FIELD_MIN; field < FIELD_END; field++) {
        left_out |= (uint8_t)(is_implied(buckets, count, field) << (field - FIELD_MIN));
    }
    buf_putc(out, (char)left_out);
    for (enum field field = 0; field < FIELD_END; field++) {
        if (field >= FIELD_MIN && (left_out >> (field - FIELD_MIN) & 1) != 0) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            values[i] = field_get(&buckets[i], field, resolution_ms);
        }
        p3_values_encode(encoder, values, count, NULL, out);
    }
    mem_free(values);
    mem_free(t_ms);
}

struct row {
    struct reader reader;
    int64_t resolution_ms;
    size_t count;
    int64_t *ints; /* count of them: times, then scratch */
    double *values;
    struct tsdb_bucket *buckets;
};

static bool decode_times(struct row *row, int64_t first, uint64_t span) {
    const int64_t most = ROLLUP_TIME_MS_MAX / row->resolution_ms;
    if (first < -most || first > most || span > ROLLUP_BUCKETS_MAX || span + 1 < row->count) {
        return false;
    }
    struct p3_bounds bounds = {
        .count = row->count,
        .t_min_ms = first * row->resolution_ms,
        .t_max_ms = (first + (int64_t)span) * row->resolution_ms,
    };
    if (!p3_times_decode(&row->reader, &bounds, row->ints)) {
        return false;
    }
    for (size_t i = 0; i < row->count; i++) {
        row->buckets[i] = (struct tsdb_bucket){ .t_ms = row->ints[i] };
        if (row->ints[i] % row->resolution_ms != 0 || (i > 0 && row->ints[i] <= row->ints[i - 1])) {
            return false;
        }
    }
    return true;
}

static bool decode_fields(struct row *row) {
    uint8_t left_out = reader_u8(&row->reader);
    for (enum field field = 0; field < FIELD_END; field++) {
        bool is_stored = field < FIELD_MIN || (left_out >> (field - FIELD_MIN) & 1) == 0;
        if (is_stored &&
            !p3_values_decode(&row->reader, row->count, NULL, row->ints, row->values)) {
            return false;
        }
        for (size_t i = 0; i < row->count; i++) {
            double value = is_stored ? row->values[i] : field_implied(&row->buckets[i], field);
            if (!field_set(&row->buckets[i], field, row->resolution_ms, value)) {
                return false;
            }
        }
    }
    return reader_left(&row->reader) == 0 && !row->reader.is_bad;
}

bool rollup_decode(struct str body,
                   int64_t resolution_ms,
                   int64_t t_after_ms,
                   int64_t t_last_ms,
                   struct tsdb_buckets *buckets) {
    struct row row = { .reader = reader_init(body.ptr, body.len), .resolution_ms = resolution_ms };
    uint8_t version = reader_u8(&row.reader);
    uint64_t count = reader_uvarint(&row.reader);
    int64_t first = reader_svarint(&row.reader);
    uint64_t span = reader_uvarint(&row.reader);
    if (row.reader.is_bad || version != ROLLUP_ROW_VERSION || count == 0 ||
        count > ROLLUP_BUCKETS_MAX) {
        return false;
    }
    row.count = count;
    row.ints = mem_alloc(count * sizeof(row.ints[0]));
    row.values = mem_alloc(count * sizeof(row.values[0]));
    row.buckets = mem_alloc(count * sizeof(row.buckets[0]));
    bool ok = decode_times(&row, first, span) && decode_fields(&row);
    for (size_t i = 0; ok && i < count; i++) {
        if (row.buckets[i].t_ms > t_after_ms && row.buckets[i].t_ms <= t_last_ms) {
            buckets->items = vec_grow(buckets->items, &buckets->cap, buckets->count + 1,
                                      sizeof(buckets->items[0]));
            buckets->items[buckets->count++] = row.buckets[i];
        }
    }
    mem_free(row.ints);
    mem_free(row.values);
    mem_free(row.buckets);
    return ok;
}

void rollup_mark_key(uint8_t key[ROLLUP_MARK_KEY_BYTES], int64_t resolution_ms, int64_t period) {
    bytes_put_be32(key, (uint32_t)(resolution_ms / 1000));
    bytes_put_be64_signed(key + 4, period);
}

void rollup_key(uint8_t key[ROLLUP_KEY_BYTES], int64_t resolution_ms, int64_t period, uint64_t id) {
    rollup_mark_key(key, resolution_ms, period);
    bytes_put_be64(key + ROLLUP_MARK_KEY_BYTES, id);
}
