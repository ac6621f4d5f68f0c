/*
 * POST /api/v1/write, remote write 1.0: the body is decoded and checked whole, then appended.
 * Labels are looked at only for series this process has not met in that spelling.
 */
#include <assert.h>

#include "ingest/delivery.h"
#include "ingest/write_decode.h"

#define SERIES_AT_ONCE 64 /* new ones, brought in together */

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

/* ---- series ---- */

static struct str series_bytes(const struct delivery *delivery, uint32_t offset, uint32_t len) {
    assert((size_t)offset + len <= delivery->bytes.len);
    return str_n(delivery->bytes.ptr + offset, len);
}

static void describe(struct delivery *delivery, const struct delivery_run *run, struct buf *out) {
    arena_reset(&delivery->arena);
    struct labels labels;
    struct err err = ERR_INIT;
    struct str bytes = series_bytes(delivery, run->offset, run->len);
    if (write_labels(bytes, &delivery->arena, &labels, &err)) {
        labels_print(labels, out);
    }
}

/* Series met for the first time, some at once. Where anything is wrong with one, it stays unknown
 * and series_resolve() says so. */
static void resolve_some(struct delivery *delivery,
                         const struct write_request *request,
                         const size_t *numbers,
                         size_t count) {
    struct labels labels[SERIES_AT_ONCE];
    struct tsdb_alias aliases[SERIES_AT_ONCE];
    series_ref_t refs[SERIES_AT_ONCE];
    size_t kept[SERIES_AT_ONCE];
    size_t kept_count = 0;
    arena_reset(&delivery->arena);
    for (size_t i = 0; i < count; i++) {
        const struct write_series *series = &request->series[numbers[i]];
        struct err err = ERR_INIT;
        struct str bytes = series_bytes(delivery, series->offset, series->len);
        if (write_labels(bytes, &delivery->arena, &labels[kept_count], &err)) {
            aliases[kept_count] = request->aliases[numbers[i]];
            kept[kept_count++] = numbers[i];
        }
    }
    tsdb_series_all(delivery->ingest->db, labels, kept_count, refs);
    tsdb_alias_put_all(delivery->ingest->db, aliases, refs, kept_count);
    for (size_t i = 0; i < kept_count; i++) {
        request->refs[kept[i]] = refs[i];
    }
}

static void resolve_new(struct delivery *delivery, const struct write_request *request) {
    size_t numbers[SERIES_AT_ONCE];
    size_t count = 0;
    for (size_t i = 0; i < request->series_count; i++) {
        const struct write_series *series = &request->series[i];
        if (request->refs[i] == 0 && series->has_alias && series->sample_count > 0) {
            numbers[count++] = i;
        }
        if (count == SERIES_AT_ONCE || (count > 0 && i + 1 == request->series_count)) {
            resolve_some(delivery, request, numbers, count);
            count = 0;
        }
    }
}

static bool series_resolve(struct delivery *delivery,
                           const struct write_request *request,
                           size_t number,
                           series_ref_t *ret) {
    const struct write_series *series = &request->series[number];
    *ret = request->refs[number];
    if (*ret != 0) {
        return true;
    }
    struct tsdb *db = delivery->ingest->db;
    /* The same series may stand in the body twice. */
    if (series->has_alias && tsdb_alias_get(db, request->aliases[number], ret)) {
        return true;
    }
    arena_reset(&delivery->arena);
    struct labels labels;
    struct err err = ERR_INIT;
    struct str bytes = series_bytes(delivery, series->offset, series->len);
    if (!write_labels(bytes, &delivery->arena, &labels, &err)) {
        rejections_add(&delivery->rejections, 0, series->offset, series->sample_count, "%s",
                       err.msg);
        counters_refuse(&delivery->ingest->counters, delivery->door, REFUSAL_BAD_LABELS,
                        series->sample_count);
        return false;
    }
    if (!tsdb_series(db, labels, ret, &err)) {
        delivery_refuse_series(delivery, 0, series->offset, series->sample_count, &err);
        return false;
    }
    if (series->has_alias) {
        tsdb_alias_put(db, request->aliases[number], *ret);
    }
    return true;
}

static void series_append(struct delivery *delivery,
                          const struct write_request *request,
                          size_t number) {
    const struct write_series *series = &request->series[number];
    struct counters *counters = &delivery->ingest->counters;
    counters_refuse(counters, delivery->door, REFUSAL_EXEMPLAR, series->exemplar_count);
    if (series->histogram_count > 0) {
        counters_refuse(counters, delivery->door, REFUSAL_HISTOGRAM, series->histogram_count);
        rejections_add(&delivery->rejections, 0, series->offset, series->histogram_count,
                       "native histograms are not taken");
    }
    series_ref_t ref;
    if (series->sample_count == 0 || !series_resolve(delivery, request, number, &ref)) {
        return;
    }
    delivery_run(delivery, 0, series->offset, series->len);
    const struct sample *samples = &request->samples[series->sample_first];
    for (uint32_t i = 0; i < series->sample_count; i++) {
        tsdb_batch_append(delivery->batch, ref, samples[i].t_ms, samples[i].value);
    }
}

/* ---- the door ---- */

static void request_append(struct delivery *delivery, const struct write_request *request) {
    resolve_new(delivery, request);
    for (size_t i = 0; i < request->series_count; i++) {
        series_append(delivery, request, i);
    }
    for (size_t i = 0; i < request->metadata_count; i++) {
        struct str family;
        struct family_metadata metadata;
        write_metadata(request->metadata[i], &family, &metadata);
        if (metadata_is_storable(family, &metadata)) {
            tsdb_batch_metadata(delivery->batch, family, &metadata);
        }
    }
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
    struct write_request request CLEANUP(write_request_finish) = { .series_count = 0 };
    struct err err = ERR_INIT;
    struct str bytes = buf_as_str(&delivery->bytes);
    if (!write_decode(bytes, ingest->db, INGEST_SAMPLES_PER_BODY_MAX, &request, &err)) {
        delivery_fail(delivery, err.code == ERR_LIMIT ? REFUSAL_LIMIT : REFUSAL_MALFORMED, &err);
        return;
    }
    delivery->sample_count = request.element_count;
    if (delivery_begin(delivery)) {
        request_append(delivery, &request);
        delivery_commit(delivery);
    }
}
