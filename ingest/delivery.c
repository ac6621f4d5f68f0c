/* Bodies of samples: one batch each, one verdict per sample, one result per body. */
#include "ingest/delivery.h"

#include <assert.h>

#include "base/compress.h"
#include "base/mem.h"

#define SERIES_TEXT_MAX 256 /* of a series named in a message */

/* ---- memory of bodies ---- */

struct buf ingest_body_take(struct ingest *ingest) {
    struct buf body;
    buf_init(&body, INGEST_BODY_BYTES_MAX);
    pthread_mutex_lock(&ingest->bodies_mu);
    if (ingest->body_count > 0) {
        body = ingest->bodies[--ingest->body_count];
    }
    pthread_mutex_unlock(&ingest->bodies_mu);
    return body;
}

void ingest_body_give(struct ingest *ingest, struct buf *body) {
    buf_reset(body);
    pthread_mutex_lock(&ingest->bodies_mu);
    if (ingest->body_count < INGEST_BODIES_KEPT && body->cap > 0 &&
        body->cap <= INGEST_BODY_KEPT_BYTES) {
        ingest->bodies[ingest->body_count++] = *body;
        *body = (struct buf){ .bytes_max = body->bytes_max };
    }
    pthread_mutex_unlock(&ingest->bodies_mu);
    buf_finish(body);
}

void ingest_bodies_finish(struct ingest *ingest) {
    while (ingest->body_count > 0) {
        buf_finish(&ingest->bodies[--ingest->body_count]);
    }
    pthread_mutex_destroy(&ingest->bodies_mu);
}

/* ---- life ---- */

static void delivery_destroy(struct delivery *delivery) {
    ingest_body_give(delivery->ingest, &delivery->bytes);
    arena_finish(&delivery->arena);
    mem_free(delivery->runs);
    rejections_finish(&delivery->rejections);
    mem_free(delivery);
}

void delivery_fail(struct delivery *delivery, enum refusal why, const struct err *err) {
    assert(err->code != ERR_NONE);
    tsdb_batch_abandon(delivery->batch);
    counters_refuse(&delivery->ingest->counters, delivery->door, why, 1);
    struct ingest_result result = { .err = *err };
    delivery->done(delivery->ctx, &result);
    delivery_destroy(delivery);
}

static enum refusal refusal_of_code(enum err_code code) {
    switch (code) {
    case ERR_LIMIT: return REFUSAL_LIMIT;
    case ERR_INVALID: return REFUSAL_MALFORMED;
    case ERR_THROTTLED:
    case ERR_UNAVAILABLE: return REFUSAL_OVERLOAD;
    default: return REFUSAL_STORE;
    }
}

struct delivery *delivery_create(struct ingest *ingest,
                                 enum door door,
                                 const struct ingest_body *body,
                                 struct str encoding,
                                 ingest_done_fn done,
                                 void *ctx) {
    struct delivery *delivery = mem_calloc(1, sizeof(*delivery));
    delivery->ingest = ingest;
    delivery->door = door;
    delivery->done = done;
    delivery->ctx = ctx;
    delivery->bytes = ingest_body_take(ingest);
    arena_init(&delivery->arena, SIZE_MAX);
    rejections_init(&delivery->rejections);
    metric_inc(ingest->counters.requests[door]);
    struct err err = ERR_INIT;
    if (atomic_load(&ingest->is_stopping)) {
        err_set(&err, ERR_UNAVAILABLE, "shutting down");
    } else if (content_decode(encoding, body->bytes, &delivery->bytes, &err)) {
        return delivery;
    }
    delivery_fail(delivery, refusal_of_code(err.code), &err);
    return NULL;
}

bool delivery_begin(struct delivery *delivery) {
    struct err err = ERR_INIT;
    if (!tsdb_batch_begin(delivery->ingest->db, TSDB_INGEST, &delivery->batch, &err)) {
        delivery_fail(delivery, refusal_of_code(err.code), &err);
        return false;
    }
    return true;
}

void delivery_run(struct delivery *delivery, uint32_t line, uint32_t offset, uint32_t len) {
    delivery->runs = vec_grow(delivery->runs, &delivery->run_cap, delivery->run_count + 1,
                              sizeof(delivery->runs[0]));
    delivery->runs[delivery->run_count++] = (struct delivery_run){
        .sample_first = (uint32_t)tsdb_batch_sample_count(delivery->batch),
        .line = line,
        .offset = offset,
        .len = len,
    };
}

void delivery_refuse_series(struct delivery *delivery,
                            uint32_t line,
                            uint32_t offset,
                            uint64_t count,
                            const struct err *err) {
    enum refusal why =
        err->code == ERR_THROTTLED ? REFUSAL_SERIES_LIMIT : refusal_of_code(err->code);
    counters_refuse(&delivery->ingest->counters, delivery->door, why, count);
    rejections_add(&delivery->rejections, line, offset, count, "%s", err->msg);
    if (delivery->throttled.code == ERR_NONE) {
        delivery->throttled = *err;
    }
}

/* ---- the verdict ---- */

static const enum refusal refusal_of_outcome[TSDB_OUTCOME_COUNT] = {
    [TSDB_ACCEPTED] = REFUSAL_COUNT,    [TSDB_DUPLICATE] = REFUSAL_COUNT,
    [TSDB_CONFLICT] = REFUSAL_CONFLICT, [TSDB_OUT_OF_ORDER] = REFUSAL_OUT_OF_ORDER,
    [TSDB_TOO_OLD] = REFUSAL_TOO_OLD,   [TSDB_TOO_NEW] = REFUSAL_TOO_NEW,
};

static void reject_run(struct delivery *delivery,
                       const struct delivery_run *run,
                       enum tsdb_outcome outcome,
                       uint64_t count) {
    struct buf text CLEANUP(buf_finish);
    buf_init(&text, 1u << 20);
    if (delivery->rejections.count < INGEST_REJECTIONS_MAX) {
        delivery->describe(delivery, run, &text);
    }
    struct str series = buf_as_str(&text);
    bool is_cut = series.len > SERIES_TEXT_MAX;
    rejections_add(&delivery->rejections, run->line, run->offset, count, "%s: %.*s%s",
                   tsdb_outcome_to_string(outcome), is_cut ? SERIES_TEXT_MAX : (int)series.len,
                   series.ptr, is_cut ? "..." : "");
    counters_refuse(&delivery->ingest->counters, delivery->door, refusal_of_outcome[outcome],
                    count);
}

static void judge_runs(struct delivery *delivery, const struct tsdb_commit_result *committed) {
    for (size_t i = 0; i < delivery->run_count; i++) {
        const struct delivery_run *run = &delivery->runs[i];
        size_t end = i + 1 < delivery->run_count ? delivery->runs[i + 1].sample_first
                                                 : committed->sample_count;
        uint64_t counts[TSDB_OUTCOME_COUNT] = { 0 };
        for (size_t k = run->sample_first; k < end; k++) {
            counts[committed->outcomes[k]]++;
        }
        for (size_t outcome = 0; outcome < TSDB_OUTCOME_COUNT; outcome++) {
            if (counts[outcome] > 0 && refusal_of_outcome[outcome] != REFUSAL_COUNT) {
                reject_run(delivery, run, (enum tsdb_outcome)outcome, counts[outcome]);
            }
        }
    }
}

static void result_err(const struct delivery *delivery, struct err *err) {
    const struct rejections *rejections = &delivery->rejections;
    if (delivery->throttled.code != ERR_NONE) {
        *err = delivery->throttled;
        return;
    }
    if (rejections->total == 0) {
        return;
    }
    const struct ingest_rejection *first = &rejections->items[0];
    err_set(err, ERR_INVALID,
            "%llu of %llu samples were refused, the others are stored; the first at %s %llu: %.*s",
            (unsigned long long)rejections->total, (unsigned long long)delivery->sample_count,
            first->line > 0 ? "line" : "byte",
            (unsigned long long)(first->line > 0 ? first->line : first->offset),
            STR_FMT(first->reason));
}

static void on_committed(void *ctx, const struct tsdb_commit_result *committed) {
    struct delivery *delivery = ctx;
    struct ingest *ingest = delivery->ingest;
    delivery->batch = NULL;
    if (!committed->is_durable) {
        struct err err = committed->err;
        delivery_fail(delivery, REFUSAL_STORE, &err);
        ingest_flight_end(ingest);
        return;
    }
    size_t refused = committed->sample_count - committed->counts[TSDB_ACCEPTED] -
                     committed->counts[TSDB_DUPLICATE];
    if (refused > 0) {
        judge_runs(delivery, committed);
    }
    struct ingest_result result = {
        .accepted = committed->counts[TSDB_ACCEPTED],
        .duplicates = committed->counts[TSDB_DUPLICATE],
        .rejected = delivery->rejections.total,
        .rejections = delivery->rejections.items,
        .rejection_count = delivery->rejections.count,
    };
    result_err(delivery, &result.err);
    metric_add(ingest->counters.accepted[delivery->door], (double)result.accepted);
    metric_add(ingest->counters.duplicates[delivery->door], (double)result.duplicates);
    delivery->done(delivery->ctx, &result);
    delivery_destroy(delivery);
    ingest_flight_end(ingest);
}

void delivery_commit(struct delivery *delivery) {
    assert(delivery->batch != NULL);
    ingest_flight_begin(delivery->ingest);
    tsdb_commit(delivery->batch, on_committed, delivery);
}
