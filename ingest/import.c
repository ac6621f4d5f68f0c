/*
 * POST /api/v1/import/prometheus: a page of metrics as a body. Parsed to its end before the first
 * sample is appended.
 */
#include <assert.h>

#include "ingest/delivery.h"
#include "ingest/text.h"

static enum text_format format_of(struct str content_type) {
    struct str media;
    struct str params;
    str_cut(content_type, ';', &media, &params);
    bool is_openmetrics = str_eq_nocase(str_trim(media), STR("application/openmetrics-text"));
    return is_openmetrics ? TEXT_OPENMETRICS : TEXT_PLAIN;
}

static bool page_check(struct delivery *delivery, enum text_format format, struct err *err) {
    struct text_parser parser;
    struct text_entry entry;
    text_init(&parser, format, buf_as_str(&delivery->bytes));
    for (;;) {
        enum text_kind kind = text_next(&parser, &entry, err);
        if (kind == TEXT_BAD) {
            return false;
        }
        if (kind == TEXT_END) {
            break;
        }
        delivery->sample_count += kind == TEXT_SERIES;
    }
    if (delivery->sample_count > INGEST_SAMPLES_PER_BODY_MAX) {
        return err_set(err, ERR_LIMIT, "the body has %llu samples, at most %u are taken",
                       (unsigned long long)delivery->sample_count, INGEST_SAMPLES_PER_BODY_MAX);
    }
    return true;
}

static void describe(struct delivery *delivery, const struct delivery_run *run, struct buf *out) {
    buf_str(out, str_n(delivery->bytes.ptr + run->offset, run->len));
}

static bool series_resolve(struct delivery *delivery,
                           const struct text_entry *entry,
                           struct arena *scratch,
                           series_ref_t *ret) {
    struct tsdb *db = delivery->ingest->db;
    arena_reset(scratch);
    struct labels labels = text_labels(entry, scratch);
    struct err err = ERR_INIT;
    uint32_t offset = (uint32_t)entry->offset;
    if (!labels_normalize(&labels, &err) ||
        (labels_get(labels, METRIC_NAME).len == 0 &&
         !err_set(&err, ERR_INVALID, "the metric's name is empty"))) {
        rejections_add(&delivery->rejections, entry->line, offset, 1, "%s", err.msg);
        counters_refuse(&delivery->ingest->counters, delivery->door, REFUSAL_BAD_LABELS, 1);
        return false;
    }
    if (!tsdb_series(db, labels, ret, &err)) {
        delivery_refuse_series(delivery, entry->line, offset, 1, &err);
        return false;
    }
    return true;
}

static void family_put(struct delivery *delivery, const struct text_family *family) {
    if (metadata_is_storable(family->name, &family->metadata)) {
        tsdb_batch_metadata(delivery->batch, family->name, &family->metadata);
    }
}

static void page_append(struct delivery *delivery, enum text_format format, int64_t now_ms) {
    struct arena scratch CLEANUP(arena_finish);
    arena_init(&scratch, SIZE_MAX);
    struct text_family family = { .name = STR("") };
    struct text_family done;
    struct text_parser parser;
    struct text_entry entry;
    struct err err = ERR_INIT;
    text_init(&parser, format, buf_as_str(&delivery->bytes));
    enum text_kind kind;
    while ((kind = text_next(&parser, &entry, &err)) != TEXT_END) {
        assert(kind != TEXT_BAD);
        if (kind != TEXT_SERIES) {
            if (text_family_add(&family, kind, &entry, &delivery->arena, &done)) {
                family_put(delivery, &done);
            }
            continue;
        }
        counters_refuse(&delivery->ingest->counters, delivery->door, REFUSAL_EXEMPLAR,
                        entry.has_exemplar);
        series_ref_t ref;
        if (series_resolve(delivery, &entry, &scratch, &ref)) {
            delivery_run(delivery, entry.line, (uint32_t)entry.offset, (uint32_t)entry.series.len);
            tsdb_batch_append(delivery->batch, ref, entry.has_t ? entry.t_ms : now_ms, entry.value);
        }
    }
    family_put(delivery, &family);
}

void ingest_import(struct ingest *ingest,
                   const struct ingest_body *body,
                   ingest_done_fn done,
                   void *ctx) {
    struct delivery *delivery =
        delivery_create(ingest, DOOR_IMPORT, body, body->encoding, done, ctx);
    if (delivery == NULL) {
        return;
    }
    delivery->describe = describe;
    enum text_format format = format_of(body->content_type);
    struct err err = ERR_INIT;
    if (!page_check(delivery, format, &err)) {
        delivery_fail(delivery, err.code == ERR_LIMIT ? REFUSAL_LIMIT : REFUSAL_MALFORMED, &err);
        return;
    }
    if (!delivery_begin(delivery)) {
        return;
    }
    page_append(delivery, format, clock_wall_ms(ingest->clock));
    delivery_commit(delivery);
}
