/* Importing into a data directory: batches of the store, sealed as they come. */
#include <pthread.h>
#include <stdio.h>

#include "app/import.h"
#include "base/mem.h"

#define BATCH_SAMPLES 50000
#define SEAL_SAMPLES  5000000 /* between two sealings: bounds the head */
#define FUTURE_MS     600000

bool importer_open_dir(struct importer *importer,
                       const char *source,
                       struct str dir,
                       struct err *err) {
    *importer = (struct importer){ .source = source };
    char *path = mem_strndup(dir.ptr, dir.len);
    struct tsdb_options options = {
        .path = path,
        .future_ms_max = FUTURE_MS,
        .out_of_order_ms = TSDB_OUT_OF_ORDER_ANY,
        .keeps_rollups = true,
    };
    bool is_ok = tsdb_open(&options, &importer->db, err) && tsdb_wait_ready(importer->db, err);
    mem_free(path);
    return is_ok;
}

/* ---- verdicts ---- */

struct verdict {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    bool is_done; /* guarded by mu; the rest is set before it */
    struct importer *importer;
    bool is_durable;
    struct err err;
};

static void refuse_sample(struct importer *importer,
                          const struct import_place *place,
                          const char *series,
                          enum tsdb_outcome outcome) {
    importer_refuse(importer, tsdb_outcome_to_string(outcome), 1, place->line, series);
}

static void on_committed(void *ctx, const struct tsdb_commit_result *result) {
    struct verdict *verdict = ctx;
    struct importer *importer = verdict->importer;
    pthread_mutex_lock(&verdict->mu);
    verdict->is_durable = result->is_durable;
    verdict->err = result->err;
    if (result->is_durable) {
        importer->accepted += result->counts[TSDB_ACCEPTED];
        importer->duplicates += result->counts[TSDB_DUPLICATE];
        size_t good = result->counts[TSDB_ACCEPTED] + result->counts[TSDB_DUPLICATE];
        const char *series = "";
        for (size_t i = 0; good < result->sample_count && i < importer->place_count; i++) {
            const struct import_place *place = &importer->places[i];
            series = place->series != NULL ? place->series : series;
            size_t end = i + 1 < importer->place_count ? importer->places[i + 1].sample_first
                                                       : result->sample_count;
            for (size_t k = place->sample_first; k < end; k++) {
                enum tsdb_outcome outcome = (enum tsdb_outcome)result->outcomes[k];
                if (outcome != TSDB_ACCEPTED && outcome != TSDB_DUPLICATE) {
                    refuse_sample(importer, place, series, outcome);
                }
            }
        }
    }
    verdict->is_done = true;
    pthread_cond_signal(&verdict->cond);
    pthread_mutex_unlock(&verdict->mu);
}

static bool commit(struct importer *importer, struct err *err) {
    struct verdict verdict = { .importer = importer };
    pthread_mutex_init(&verdict.mu, NULL);
    pthread_cond_init(&verdict.cond, NULL);
    struct tsdb_batch *batch = importer->batch;
    importer->since_seal += tsdb_batch_sample_count(batch);
    importer->batch = NULL;
    tsdb_commit(batch, on_committed, &verdict);
    pthread_mutex_lock(&verdict.mu);
    while (!verdict.is_done) {
        pthread_cond_wait(&verdict.cond, &verdict.mu);
    }
    pthread_mutex_unlock(&verdict.mu);
    pthread_mutex_destroy(&verdict.mu);
    pthread_cond_destroy(&verdict.cond);
    for (size_t i = 0; i < importer->place_count; i++) {
        mem_free(importer->places[i].series);
    }
    importer->place_count = 0;
    if (!verdict.is_durable) {
        *err = verdict.err;
        return err_wrap(err, "%s:%llu: writing", importer->source,
                        (unsigned long long)importer->line);
    }
    return true;
}

bool importer_dir_flush(struct importer *importer, struct err *err) {
    if (importer->batch != NULL && !commit(importer, err)) {
        return false;
    }
    importer->since_seal = 0;
    return tsdb_maintain_blocking(importer->db, err);
}

/* ---- rows ---- */

/* The series cannot be one: its samples are counted as they come. */
static bool refuse_series(struct importer *importer,
                          const struct ingest_rows *rows,
                          const char *what,
                          const char *detail) {
    importer->is_refused = true;
    importer->refused_reason = importer_refuse(importer, what, 0, rows->line, detail);
    return true;
}

static bool find_series(struct importer *importer,
                        const struct ingest_rows *rows,
                        struct err *err) {
    struct label items[LABELS_COUNT_MAX + 1];
    /* One too many is enough to be told so. */
    size_t count = rows->labels.count < ARRAY_LEN(items) ? rows->labels.count : ARRAY_LEN(items);
    struct labels labels = { .items = items, .count = count };
    memcpy(items, rows->labels.items, count * sizeof(items[0]));
    importer->is_refused = false;
    struct err why = ERR_INIT;
    if (!labels_normalize(&labels, &why)) {
        return refuse_series(importer, rows, "with labels that are not allowed", why.msg);
    }
    if (labels_get(labels, METRIC_NAME).len == 0) {
        return refuse_series(importer, rows, "without a metric name", "it is missing or empty");
    }
    if (tsdb_series(importer->db, labels, &importer->ref, &why)) {
        return true;
    }
    if (why.code == ERR_THROTTLED) {
        return refuse_series(importer, rows, "for want of room for new series", why.msg);
    }
    *err = why;
    return false;
}

static void note_place(struct importer *importer, const struct ingest_rows *rows, bool is_new) {
    importer->places = vec_grow(importer->places, &importer->place_cap, importer->place_count + 1,
                                sizeof(importer->places[0]));
    struct import_place place = {
        .sample_first = tsdb_batch_sample_count(importer->batch),
        .line = rows->line,
    };
    if (is_new) {
        struct buf text;
        buf_init(&text, 1u << 20);
        labels_print(rows->labels, &text);
        place.series = buf_take(&text, NULL);
    }
    importer->places[importer->place_count++] = place;
}

bool importer_dir_take(struct importer *importer, const struct ingest_rows *rows, struct err *err) {
    if (!rows->is_same_series && !find_series(importer, rows, err)) {
        return false;
    }
    if (importer->is_refused) {
        importer->refused += rows->count;
        importer->reasons[importer->refused_reason].count += rows->count;
        return true;
    }
    for (size_t i = 0; i < rows->count; i++) {
        if (importer->batch == NULL) {
            if (!tsdb_batch_begin(importer->db, TSDB_INGEST, &importer->batch, err)) {
                return false;
            }
            note_place(importer, rows, true);
        } else if (i == 0) {
            note_place(importer, rows, !rows->is_same_series);
        }
        tsdb_batch_append(importer->batch, importer->ref, rows->t_ms[i], rows->values[i]);
        if (tsdb_batch_sample_count(importer->batch) >= BATCH_SAMPLES && !commit(importer, err)) {
            return false;
        }
    }
    return importer->since_seal < SEAL_SAMPLES || importer_dir_flush(importer, err);
}
