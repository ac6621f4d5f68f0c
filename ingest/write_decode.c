/*
 * The decoder of the hot door. Its own varints, inline, because a scrape's worth of samples is
 * mostly tags and lengths; everything rare goes through base/pb.h.
 */
#include "ingest/write_decode.h"

#include <assert.h>

#include "base/mem.h"
#include "base/pb.h"

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

#define LABELS_USUAL 16 /* of a series: room for more is made when needed */

#define TAG(number, wire) ((uint64_t)(number) << 3 | (uint64_t)(wire))

void write_request_finish(struct write_request *request) {
    mem_free(request->series);
    mem_free(request->aliases);
    mem_free(request->refs);
    mem_free(request->samples);
    mem_free(request->metadata);
    *request = (struct write_request){ 0 };
}

/* ---- bytes ---- */

struct decoder {
    const uint8_t *base;
    const uint8_t *pos;
    const uint8_t *end; /* of the message being read */
    struct tsdb *db;
    struct write_request *out;
    const char *bad_what; /* set once something is malformed, at bad_pos */
    const uint8_t *bad_pos;
};

static bool bad(struct decoder *decoder, const uint8_t *at, const char *message) {
    decoder->bad_pos = at;
    decoder->bad_what = message;
    return false;
}

static bool varint_slow(struct decoder *decoder, uint64_t *ret, const char *message) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (decoder->pos == decoder->end) {
            return bad(decoder, decoder->pos, message);
        }
        uint8_t byte = *decoder->pos++;
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = value;
            return true;
        }
    }
    return bad(decoder, decoder->pos, message);
}

static inline bool varint(struct decoder *decoder, uint64_t *ret, const char *message) {
    if (decoder->pos < decoder->end && *decoder->pos < 0x80) {
        *ret = *decoder->pos++;
        return true;
    }
    return varint_slow(decoder, ret, message);
}

/* A length and room for so many bytes; pos stands behind it, before the bytes. */
static inline bool length(struct decoder *decoder, size_t *ret, const char *message) {
    uint64_t len;
    const uint8_t *at = decoder->pos;
    if (!varint(decoder, &len, message)) {
        return false;
    }
    if (len > (size_t)(decoder->end - decoder->pos)) {
        return bad(decoder, at, message);
    }
    *ret = (size_t)len;
    return true;
}

/* A field that is not of the expected shape: an unknown number is skipped, a known one with another
 * wire type (bit n of known_mask = field n) is malformed. */
static bool other_field(struct decoder *decoder,
                        const uint8_t *start,
                        uint64_t tag,
                        uint32_t known_mask,
                        const char *message) {
    uint64_t number = tag >> 3;
    uint64_t unused;
    size_t len;
    if (number == 0 || number > UINT32_MAX >> 3 ||
        (number < 32 && (known_mask >> number & 1) != 0)) {
        return bad(decoder, start, message);
    }
    switch (tag & 7) {
    case PB_VARINT: return varint(decoder, &unused, message);
    case PB_FIXED64: len = 8; break;
    case PB_FIXED32: len = 4; break;
    case PB_BYTES:
        if (!length(decoder, &len, message)) {
            return false;
        }
        break;
    default: return bad(decoder, start, message);
    }
    if (len > (size_t)(decoder->end - decoder->pos)) {
        return bad(decoder, decoder->pos, message);
    }
    decoder->pos += len;
    return true;
}

/* ---- messages without columns: only their shape is checked ---- */

static bool label_check(struct decoder *decoder) {
    static const char name[] = "Label";
    while (decoder->pos < decoder->end) {
        const uint8_t *start = decoder->pos;
        uint64_t tag;
        size_t len;
        if (!varint(decoder, &tag, name)) {
            return false;
        }
        if (tag == TAG(LABEL_NAME, PB_BYTES) || tag == TAG(LABEL_VALUE, PB_BYTES)) {
            if (!length(decoder, &len, name)) {
                return false;
            }
            decoder->pos += len;
        } else if (!other_field(decoder, start, tag, 1u << LABEL_NAME | 1u << LABEL_VALUE, name)) {
            return false;
        }
    }
    return true;
}

static bool metadata_check(struct decoder *decoder) {
    static const char name[] = "MetricMetadata";
    const uint32_t texts = 1u << METADATA_FAMILY | 1u << METADATA_HELP | 1u << METADATA_UNIT;
    while (decoder->pos < decoder->end) {
        const uint8_t *start = decoder->pos;
        uint64_t tag;
        if (!varint(decoder, &tag, name)) {
            return false;
        }
        bool is_text = (tag & 7) == PB_BYTES && tag >> 3 < 32 && (texts >> (tag >> 3) & 1) != 0;
        bool is_type = tag == TAG(METADATA_TYPE, PB_VARINT);
        uint32_t known = is_text || is_type ? 0 : texts | 1u << METADATA_TYPE;
        if (!other_field(decoder, start, tag, known, name)) {
            return false;
        }
    }
    return true;
}

/* Run `check` over the next `len` bytes as a message of its own. */
static bool nested(struct decoder *decoder, size_t len, bool (*check)(struct decoder *decoder)) {
    const uint8_t *outer_end = decoder->end;
    decoder->end = decoder->pos + len;
    bool is_ok = check(decoder);
    decoder->end = outer_end;
    return is_ok;
}

/* ---- samples ---- */

static double load_double(const uint8_t *at) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < 8; i++) {
        bits |= (uint64_t)at[i] << (8 * i);
    }
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static bool sample_read(struct decoder *decoder) {
    static const char name[] = "Sample";
    struct sample sample = { .t_ms = 0, .value = 0 };
    while (decoder->pos < decoder->end) {
        const uint8_t *start = decoder->pos;
        uint64_t tag;
        uint64_t t_ms;
        if (!varint(decoder, &tag, name)) {
            return false;
        }
        if (tag == TAG(SAMPLE_VALUE, PB_FIXED64)) {
            if (decoder->end - decoder->pos < 8) {
                return bad(decoder, decoder->pos, name);
            }
            sample.value = load_double(decoder->pos);
            decoder->pos += 8;
        } else if (tag == TAG(SAMPLE_T_MS, PB_VARINT)) {
            if (!varint(decoder, &t_ms, name)) {
                return false;
            }
            sample.t_ms = (int64_t)t_ms;
        } else if (!other_field(decoder, start, tag, 1u << SAMPLE_VALUE | 1u << SAMPLE_T_MS,
                                name)) {
            return false;
        }
    }
    struct write_request *out = decoder->out;
    if (out->sample_count == out->sample_cap) {
        out->samples = vec_grow(out->samples, &out->sample_cap, out->sample_count + 1,
                                sizeof(out->samples[0]));
    }
    out->samples[out->sample_count++] = sample;
    out->element_count++;
    return true;
}

/* ---- series ---- */

/* Where the labels of the series being read stand. */
struct label_span {
    const uint8_t *start; /* first tag; NULL = no label yet */
    const uint8_t *end;
    bool is_broken; /* something stands between them */
};

static bool series_fields(struct decoder *decoder,
                          struct write_series *series,
                          struct label_span *span) {
    static const char name[] = "TimeSeries";
    const uint32_t known =
        1u << SERIES_LABEL | 1u << SERIES_SAMPLE | 1u << SERIES_EXEMPLAR | 1u << SERIES_HISTOGRAM;
    while (decoder->pos < decoder->end) {
        const uint8_t *start = decoder->pos;
        uint64_t tag;
        size_t len;
        if (!varint(decoder, &tag, name)) {
            return false;
        }
        if ((tag & 7) != PB_BYTES || tag >> 3 > SERIES_HISTOGRAM || tag >> 3 == 0) {
            if (!other_field(decoder, start, tag, known, name)) {
                return false;
            }
            continue;
        }
        if (!length(decoder, &len, name)) {
            return false;
        }
        switch (tag >> 3) {
        case SERIES_LABEL:
            span->is_broken |= span->start != NULL && span->end != start;
            span->start = span->start == NULL ? start : span->start;
            decoder->pos += len;
            span->end = decoder->pos;
            break;
        case SERIES_SAMPLE:
            if (!nested(decoder, len, sample_read)) {
                return false;
            }
            break;
        case SERIES_EXEMPLAR:
            series->exemplar_count++;
            decoder->pos += len;
            break;
        default:
            series->histogram_count++;
            decoder->out->element_count++;
            decoder->pos += len;
            break;
        }
    }
    return true;
}

/* Look into the labels themselves. */
static bool labels_check(struct decoder *decoder, const uint8_t *start, const uint8_t *end) {
    const uint8_t *pos_after = decoder->pos;
    const uint8_t *end_after = decoder->end;
    decoder->pos = start;
    decoder->end = end;
    bool is_ok = true;
    while (is_ok && decoder->pos < decoder->end) {
        uint64_t tag;
        size_t len;
        const uint8_t *at = decoder->pos;
        is_ok = varint(decoder, &tag, "TimeSeries");
        if (is_ok && tag == TAG(SERIES_LABEL, PB_BYTES)) {
            is_ok = length(decoder, &len, "TimeSeries") && nested(decoder, len, label_check);
        } else if (is_ok) {
            is_ok = other_field(decoder, at, tag, 0, "TimeSeries");
        }
    }
    decoder->pos = pos_after;
    decoder->end = end_after;
    return is_ok;
}

static bool series_read(struct decoder *decoder) {
    struct write_request *out = decoder->out;
    struct write_series series = {
        .offset = (uint32_t)(decoder->pos - decoder->base),
        .len = (uint32_t)(decoder->end - decoder->pos),
        .sample_first = (uint32_t)out->sample_count,
    };
    struct label_span span = { .start = NULL };
    if (!series_fields(decoder, &series, &span)) {
        return false;
    }
    series.sample_count = (uint32_t)out->sample_count - series.sample_first;
    struct tsdb_alias alias = { 0 };
    if (span.start != NULL) {
        struct str bytes = str_n((const char *)span.start, (size_t)(span.end - span.start));
        series.labels_offset = (uint32_t)(span.start - decoder->base);
        series.labels_len = (uint32_t)bytes.len;
        series.has_alias = !span.is_broken;
        if (series.has_alias) {
            alias = tsdb_alias_hash(decoder->db, bytes);
        }
    }
    if (out->series_count == out->series_cap) {
        out->series =
            vec_grow(out->series, &out->series_cap, out->series_count + 1, sizeof(out->series[0]));
        out->aliases = mem_realloc(out->aliases, out->series_cap * sizeof(out->aliases[0]));
    }
    out->aliases[out->series_count] = alias;
    out->series[out->series_count++] = series;
    return true;
}

/* Which series are known, and a look into the labels of those that are not. */
static bool series_find(struct decoder *decoder) {
    struct write_request *out = decoder->out;
    out->refs = mem_alloc(out->series_count * sizeof(out->refs[0]));
    tsdb_alias_get_all(decoder->db, out->aliases, out->series_count, out->refs);
    for (size_t i = 0; i < out->series_count; i++) {
        const struct write_series *series = &out->series[i];
        out->refs[i] = series->has_alias ? out->refs[i] : 0;
        const uint8_t *labels = decoder->base + series->labels_offset;
        if (out->refs[i] == 0 && series->labels_len > 0 &&
            !labels_check(decoder, labels, labels + series->labels_len)) {
            return false;
        }
    }
    return true;
}

/* ---- the request ---- */

static void metadata_add(struct write_request *out, const uint8_t *bytes, size_t len) {
    out->metadata = vec_grow(out->metadata, &out->metadata_cap, out->metadata_count + 1,
                             sizeof(out->metadata[0]));
    out->metadata[out->metadata_count++] = str_n((const char *)bytes, len);
}

static bool request_read(struct decoder *decoder, uint64_t elements_max) {
    static const char name[] = "WriteRequest";
    while (decoder->pos < decoder->end && decoder->out->element_count <= elements_max) {
        const uint8_t *start = decoder->pos;
        uint64_t tag;
        size_t len;
        if (!varint(decoder, &tag, name)) {
            return false;
        }
        if (tag == TAG(REQUEST_TIMESERIES, PB_BYTES)) {
            if (!length(decoder, &len, name) || !nested(decoder, len, series_read)) {
                return false;
            }
        } else if (tag == TAG(REQUEST_METADATA, PB_BYTES)) {
            if (!length(decoder, &len, name)) {
                return false;
            }
            metadata_add(decoder->out, decoder->pos, len);
            if (!nested(decoder, len, metadata_check)) {
                return false;
            }
        } else if (!other_field(decoder, start, tag,
                                1u << REQUEST_TIMESERIES | 1u << REQUEST_METADATA, name)) {
            return false;
        }
    }
    return true;
}

bool write_decode(struct str body,
                  struct tsdb *db,
                  uint64_t elements_max,
                  struct write_request *ret,
                  struct err *err) {
    assert(body.len <= UINT32_MAX);
    const uint8_t *base = (const uint8_t *)body.ptr;
    struct decoder decoder = {
        .base = base,
        .pos = base,
        .end = base + body.len,
        .db = db,
        .out = ret,
    };
    if (!request_read(&decoder, elements_max) || !series_find(&decoder)) {
        return err_set(err, ERR_INVALID, "malformed protobuf in %s at byte %zu of %zu",
                       decoder.bad_what, (size_t)(decoder.bad_pos - base), body.len);
    }
    if (ret->element_count > elements_max) {
        return err_set(err, ERR_LIMIT, "the body has more than %llu samples",
                       (unsigned long long)elements_max);
    }
    return true;
}

/* ---- what is looked at once per series and family ---- */

/* The message was checked: what is not known is passed over. */
static void label_read(struct decoder *decoder, struct label *ret) {
    static const char name[] = "Label";
    *ret = (struct label){ .name = STR(""), .value = STR("") };
    while (decoder->pos < decoder->end) {
        const uint8_t *start = decoder->pos;
        uint64_t tag;
        size_t len;
        if (!varint(decoder, &tag, name)) {
            return;
        }
        if (tag == TAG(LABEL_NAME, PB_BYTES) || tag == TAG(LABEL_VALUE, PB_BYTES)) {
            if (!length(decoder, &len, name)) {
                return;
            }
            struct str text = str_n((const char *)decoder->pos, len);
            *(tag == TAG(LABEL_NAME, PB_BYTES) ? &ret->name : &ret->value) = text;
            decoder->pos += len;
        } else if (!other_field(decoder, start, tag, 0, name)) {
            return;
        }
    }
}

static struct labels labels_read(struct str series_bytes, struct arena *arena) {
    static const char name[] = "TimeSeries";
    struct decoder decoder = { .pos = (const uint8_t *)series_bytes.ptr };
    decoder.end = decoder.pos + series_bytes.len;
    const uint8_t *end = decoder.end;
    size_t cap = 0;
    struct labels labels = { .items = NULL };
    while (decoder.pos < decoder.end && labels.count <= 2 * LABELS_COUNT_MAX) { /* then: too many */
        const uint8_t *start = decoder.pos;
        uint64_t tag;
        size_t len;
        if (!varint(&decoder, &tag, name)) {
            break;
        }
        if (tag != TAG(SERIES_LABEL, PB_BYTES)) {
            if (!other_field(&decoder, start, tag, 0, name)) {
                break;
            }
            continue;
        }
        if (!length(&decoder, &len, name)) {
            break;
        }
        if (labels.count == cap) {
            labels.items =
                arena_vec_grow(arena, labels.items, &cap, cap == 0 ? LABELS_USUAL : cap + 1,
                               sizeof(labels.items[0]));
        }
        decoder.end = decoder.pos + len;
        label_read(&decoder, &labels.items[labels.count++]);
        decoder.end = end;
    }
    return labels;
}

bool write_labels(struct str series_bytes,
                  struct arena *arena,
                  struct labels *ret,
                  struct err *err) {
    struct labels labels = labels_read(series_bytes, arena);
    if (!labels_normalize(&labels, err)) {
        return false;
    }
    if (labels_get(labels, METRIC_NAME).len == 0) {
        return err_set(err, ERR_INVALID, "a series has no __name__");
    }
    *ret = labels;
    return true;
}

static enum family_type family_type_of(uint64_t type) {
    static const enum family_type types[] = {
        FAMILY_UNKNOWN,         FAMILY_COUNTER, FAMILY_GAUGE, FAMILY_HISTOGRAM,
        FAMILY_GAUGE_HISTOGRAM, FAMILY_SUMMARY, FAMILY_INFO,  FAMILY_STATESET,
    };

    return type < ARRAY_LEN(types) ? types[type] : FAMILY_UNKNOWN;
}

void write_metadata(struct str bytes, struct str *ret_family, struct family_metadata *ret) {
    *ret = (struct family_metadata){ .type = FAMILY_UNKNOWN, .help = STR(""), .unit = STR("") };
    *ret_family = STR("");
    struct pb_reader reader = pb_reader_init(bytes);
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        switch (field.number) {
        case METADATA_TYPE: ret->type = family_type_of(field.value); break;
        case METADATA_FAMILY: *ret_family = field.bytes; break;
        case METADATA_HELP: ret->help = field.bytes; break;
        case METADATA_UNIT: ret->unit = field.bytes; break;
        default: break;
        }
    }
}
