/*
 * POST /api/v1/write, remote write 1.0: a streaming decoder over the decompressed bytes.
 *
 * Two passes. The first walks the structure and counts, so that a malformed body changes nothing;
 * the second appends. The bytes of a series' labels are hashed as they came: labels are decoded
 * only for series this process has not met in that spelling.
 * Source: prompb/remote.proto and prompb/types.proto of Prometheus.
 */
#include <assert.h>

#include "base/pb.h"
#include "ingest/delivery.h"

enum {
    REQUEST_TIMESERIES = 1,
    REQUEST_METADATA = 3,
    SERIES_LABEL = 1,
    SERIES_SAMPLE = 2,
    SERIES_EXEMPLAR = 3,
    SERIES_HISTOGRAM = 4,
    LABEL_NAME = 1,
    LABEL_VALUE = 2,
    SAMPLE_VALUE = 1,
    SAMPLE_T_MS = 2,
    METADATA_TYPE = 1,
    METADATA_FAMILY = 2,
    METADATA_HELP = 4,
    METADATA_UNIT = 5,
};

/* ---- media ---- */

bool ingest_write_is_supported(struct str content_type, struct str encoding, struct err *err) {
    if (encoding.len > 0 && !str_eq_nocase(encoding, STR("snappy"))) {
        return err_set(err, ERR_INVALID, "remote write bodies are snappy blocks, not \"%.*s\"",
                       STR_FMT(encoding));
    }
    struct str media;
    struct str params;
    str_cut(content_type, ';', &media, &params);
    media = str_trim(media);
    if (media.len > 0 && !str_eq_nocase(media, STR("application/x-protobuf"))) {
        return err_set(err, ERR_INVALID,
                       "remote write bodies are application/x-protobuf, not \"%.*s\"",
                       STR_FMT(media));
    }
    while (params.len > 0) {
        struct str param;
        struct str name;
        struct str value;
        str_cut(params, ';', &param, &params);
        str_cut(str_trim(param), '=', &name, &value);
        if (str_eq_nocase(name, STR("proto")) && !str_eq(value, STR("prometheus.WriteRequest"))) {
            return err_set(err, ERR_INVALID,
                           "only prometheus.WriteRequest (remote write 1.0) is taken, not \"%.*s\"",
                           STR_FMT(value));
        }
    }
    return true;
}

/* ---- first pass: structure ---- */

struct walk {
    const uint8_t *base;
    uint64_t sample_count;
    size_t bad_offset;
    const char *bad_what;
};

static bool walk_fail(struct walk *walk, const uint8_t *at, const char *what) {
    walk->bad_offset = (size_t)(at - walk->base);
    walk->bad_what = what;
    return false;
}

/* Every field with one of the numbers in `bytes_mask` (bit n = field n) must be length-delimited,
 * in `varint_mask` a varint, in `fixed_mask` 64 bits wide. */
struct shape {
    const char *name;
    uint32_t bytes_mask;
    uint32_t varint_mask;
    uint32_t fixed_mask;
};

static const struct shape request_shape = { "WriteRequest",
                                            1u << REQUEST_TIMESERIES | 1u << REQUEST_METADATA, 0,
                                            0 };
static const struct shape series_shape = { "TimeSeries",
                                           1u << SERIES_LABEL | 1u << SERIES_SAMPLE |
                                               1u << SERIES_EXEMPLAR | 1u << SERIES_HISTOGRAM,
                                           0, 0 };
static const struct shape label_shape = { "Label", 1u << LABEL_NAME | 1u << LABEL_VALUE, 0, 0 };
static const struct shape sample_shape = { "Sample", 0, 1u << SAMPLE_T_MS, 1u << SAMPLE_VALUE };
static const struct shape metadata_shape = { "MetricMetadata",
                                             1u << METADATA_FAMILY | 1u << METADATA_HELP |
                                                 1u << METADATA_UNIT,
                                             1u << METADATA_TYPE, 0 };

static bool shape_fits(const struct shape *shape, const struct pb_field *field) {
    if (field->number >= 32) {
        return true;
    }
    uint32_t bit = 1u << field->number;
    return !((shape->bytes_mask & bit && field->wire != PB_BYTES) ||
             (shape->varint_mask & bit && field->wire != PB_VARINT) ||
             (shape->fixed_mask & bit && field->wire != PB_FIXED64));
}

/* Next field of the expected shape; false at the end, with bad_what set when malformed. */
static bool walk_next(struct walk *walk,
                      struct pb_reader *reader,
                      const struct shape *shape,
                      struct pb_field *ret) {
    const uint8_t *start = reader->pos;
    if (!pb_next(reader, ret)) {
        return reader->is_bad ? walk_fail(walk, reader->pos, shape->name) : false;
    }
    return shape_fits(shape, ret) || walk_fail(walk, start, shape->name);
}

static bool walk_flat(struct walk *walk,
                      const struct pb_reader *outer,
                      struct str bytes,
                      const struct shape *shape) {
    struct pb_reader reader = pb_reader_sub(outer, bytes);
    struct pb_field field;
    while (walk_next(walk, &reader, shape, &field)) {
    }
    return walk->bad_what == NULL;
}

static bool walk_series(struct walk *walk, const struct pb_reader *outer, struct str bytes) {
    struct pb_reader reader = pb_reader_sub(outer, bytes);
    struct pb_field field;
    while (walk_next(walk, &reader, &series_shape, &field)) {
        if (field.number == SERIES_LABEL) {
            if (!walk_flat(walk, &reader, field.bytes, &label_shape)) {
                return false;
            }
        } else if (field.number == SERIES_SAMPLE) {
            walk->sample_count++;
            if (!walk_flat(walk, &reader, field.bytes, &sample_shape)) {
                return false;
            }
        } else if (field.number == SERIES_HISTOGRAM) {
            walk->sample_count++;
        }
    }
    return walk->bad_what == NULL;
}

static bool walk_request(struct walk *walk, struct str body) {
    struct pb_reader reader = pb_reader_init(body);
    struct pb_field field;
    while (walk_next(walk, &reader, &request_shape, &field)) {
        bool is_ok = true;
        if (field.number == REQUEST_TIMESERIES) {
            is_ok = walk_series(walk, &reader, field.bytes);
        } else if (field.number == REQUEST_METADATA) {
            is_ok = walk_flat(walk, &reader, field.bytes, &metadata_shape);
        }
        if (!is_ok) {
            return false;
        }
    }
    return walk->bad_what == NULL;
}

/* ---- second pass: labels ---- */

/* A TimeSeries whose structure is known to be sound. */
struct series {
    struct str bytes;
    struct str label_bytes; /* from the first label field to the end of the last */
    bool is_contiguous;     /* nothing but labels in label_bytes */
    uint64_t sample_count;
    uint64_t histogram_count;
    uint64_t exemplar_count;
};

static struct series series_scan(struct str bytes) {
    struct series series = { .bytes = bytes, .is_contiguous = true };
    struct pb_reader reader = pb_reader_init(bytes);
    const uint8_t *start = reader.pos;
    const uint8_t *labels_start = NULL;
    const uint8_t *labels_end = NULL;
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        if (field.number == SERIES_LABEL) {
            if (labels_start == NULL) {
                labels_start = start;
            } else if (labels_end != start) {
                series.is_contiguous = false;
            }
            labels_end = reader.pos;
        }
        series.sample_count += field.number == SERIES_SAMPLE;
        series.histogram_count += field.number == SERIES_HISTOGRAM;
        series.exemplar_count += field.number == SERIES_EXEMPLAR;
        start = reader.pos;
    }
    if (labels_start != NULL) {
        series.label_bytes = str_n((const char *)labels_start, (size_t)(labels_end - labels_start));
    }
    return series;
}

static bool labels_read(const struct series *series,
                        struct arena *arena,
                        struct labels *ret,
                        struct err *err) {
    struct labels labels = { 0 };
    size_t cap = 0;
    struct pb_reader reader = pb_reader_init(series->bytes);
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        if (field.number != SERIES_LABEL) {
            continue;
        }
        struct label label = { .name = STR(""), .value = STR("") };
        struct pb_reader inner = pb_reader_sub(&reader, field.bytes);
        struct pb_field part;
        while (pb_next(&inner, &part)) {
            if (part.number == LABEL_NAME) {
                label.name = part.bytes;
            } else if (part.number == LABEL_VALUE) {
                label.value = part.bytes;
            }
        }
        if (labels.count > 2 * LABELS_COUNT_MAX) {
            break; /* over the cap whatever follows */
        }
        labels.items =
            arena_vec_grow(arena, labels.items, &cap, labels.count + 1, sizeof(labels.items[0]));
        labels.items[labels.count++] = label;
    }
    if (!labels_normalize(&labels, err)) {
        return false;
    }
    if (labels_get(labels, METRIC_NAME).len == 0) {
        return err_set(err, ERR_INVALID, "a series has no __name__");
    }
    *ret = labels;
    return true;
}

static void describe(struct delivery *delivery, const struct delivery_run *run, struct buf *out) {
    struct series series = series_scan(str_n(delivery->bytes.ptr + run->offset, run->len));
    arena_reset(&delivery->arena);
    struct labels labels;
    struct err err = ERR_INIT;
    if (labels_read(&series, &delivery->arena, &labels, &err)) {
        labels_print(labels, out);
    }
}

/* ---- second pass: samples ---- */

static void append_samples(struct delivery *delivery,
                           const struct series *series,
                           series_ref_t ref) {
    struct pb_reader reader = pb_reader_init(series->bytes);
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        if (field.number != SERIES_SAMPLE) {
            continue;
        }
        double value = 0;
        int64_t t_ms = 0;
        struct pb_reader inner = pb_reader_sub(&reader, field.bytes);
        struct pb_field part;
        while (pb_next(&inner, &part)) {
            if (part.number == SAMPLE_VALUE) {
                value = pb_double(part.value);
            } else if (part.number == SAMPLE_T_MS) {
                t_ms = (int64_t)part.value;
            }
        }
        tsdb_batch_append(delivery->batch, ref, t_ms, value);
    }
}

static bool series_resolve(struct delivery *delivery,
                           const struct series *series,
                           uint32_t offset,
                           series_ref_t *ret) {
    struct tsdb *db = delivery->ingest->db;
    struct tsdb_alias alias = tsdb_alias_hash(db, series->label_bytes);
    if (series->is_contiguous && tsdb_alias_get(db, alias, ret)) {
        return true;
    }
    arena_reset(&delivery->arena);
    struct labels labels;
    struct err err = ERR_INIT;
    if (!labels_read(series, &delivery->arena, &labels, &err)) {
        uint64_t count = series->sample_count + series->histogram_count;
        rejections_add(&delivery->rejections, 0, offset, count > 0 ? count : 1, "%s", err.msg);
        counters_refuse(&delivery->ingest->counters, delivery->door, REFUSAL_BAD_LABELS, count);
        return false;
    }
    if (!tsdb_series(db, labels, ret, &err)) {
        delivery_refuse_series(delivery, 0, offset, series->sample_count, &err);
        return false;
    }
    if (series->is_contiguous) {
        tsdb_alias_put(db, alias, *ret);
    }
    return true;
}

static void series_append(struct delivery *delivery, struct str bytes, uint32_t offset) {
    struct series series = series_scan(bytes);
    struct counters *counters = &delivery->ingest->counters;
    counters_refuse(counters, delivery->door, REFUSAL_EXEMPLAR, series.exemplar_count);
    if (series.histogram_count > 0) {
        counters_refuse(counters, delivery->door, REFUSAL_HISTOGRAM, series.histogram_count);
        rejections_add(&delivery->rejections, 0, offset, series.histogram_count,
                       "native histograms are not taken");
    }
    series_ref_t ref;
    if (series.sample_count > 0 && series_resolve(delivery, &series, offset, &ref)) {
        delivery_run(delivery, 0, offset, (uint32_t)bytes.len);
        append_samples(delivery, &series, ref);
    }
}

/* ---- metadata ---- */

static enum family_type family_type_of(uint64_t type) {
    static const enum family_type types[] = {
        FAMILY_UNKNOWN,         FAMILY_COUNTER, FAMILY_GAUGE, FAMILY_HISTOGRAM,
        FAMILY_GAUGE_HISTOGRAM, FAMILY_SUMMARY, FAMILY_INFO,  FAMILY_STATESET,
    };

    return type < ARRAY_LEN(types) ? types[type] : FAMILY_UNKNOWN;
}

static void metadata_append(struct delivery *delivery, struct str bytes) {
    struct family_metadata metadata = { .type = FAMILY_UNKNOWN, .help = STR(""), .unit = STR("") };
    struct str family = STR("");
    struct pb_reader reader = pb_reader_init(bytes);
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        switch (field.number) {
        case METADATA_TYPE: metadata.type = family_type_of(field.value); break;
        case METADATA_FAMILY: family = field.bytes; break;
        case METADATA_HELP: metadata.help = field.bytes; break;
        case METADATA_UNIT: metadata.unit = field.bytes; break;
        default: break;
        }
    }
    if (metadata_is_storable(family, &metadata)) {
        tsdb_batch_metadata(delivery->batch, family, &metadata);
    }
}

/* ---- the door ---- */

static bool body_walk(struct delivery *delivery, struct err *err) {
    struct str body = buf_as_str(&delivery->bytes);
    struct walk walk = { .base = (const uint8_t *)body.ptr };
    if (!walk_request(&walk, body)) {
        return err_set(err, ERR_INVALID, "malformed protobuf in %s at byte %zu of %zu",
                       walk.bad_what, walk.bad_offset, body.len);
    }
    if (walk.sample_count > INGEST_SAMPLES_PER_BODY_MAX) {
        return err_set(err, ERR_LIMIT, "the body has %llu samples, at most %u are taken",
                       (unsigned long long)walk.sample_count, INGEST_SAMPLES_PER_BODY_MAX);
    }
    delivery->sample_count = walk.sample_count;
    return true;
}

void ingest_write(struct ingest *ingest,
                  const struct ingest_body *body,
                  ingest_done_fn done,
                  void *ctx) {
    struct delivery *delivery = delivery_create(ingest, DOOR_WRITE, body, STR("snappy"), done, ctx);
    if (delivery == NULL) {
        return;
    }
    delivery->describe = describe;
    struct err err = ERR_INIT;
    if (!body_walk(delivery, &err)) {
        delivery_fail(delivery, err.code == ERR_LIMIT ? REFUSAL_LIMIT : REFUSAL_MALFORMED, &err);
        return;
    }
    if (!delivery_begin(delivery)) {
        return;
    }
    struct pb_reader reader = pb_reader_init(buf_as_str(&delivery->bytes));
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        if (field.number == REQUEST_TIMESERIES) {
            series_append(delivery, field.bytes, (uint32_t)(field.bytes.ptr - delivery->bytes.ptr));
        } else if (field.number == REQUEST_METADATA) {
            metadata_append(delivery, field.bytes);
        }
    }
    delivery_commit(delivery);
}
