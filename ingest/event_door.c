/*
 * POST /v1/events: lines are checked on the caller's thread, then bodies queue for the one thread
 * that stages and commits them. Whatever is queued meanwhile shares the next commit.
 */
#include <stdlib.h>

#include "base/compress.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/queue.h"
#include "ingest/event_state.h"

#define PENDING_BYTES_MAX  (128u << 20)
#define GROUP_EVENTS_MAX   20000
#define GROUP_REQUESTS_MAX 1024
#define SCRATCH_BYTES_MAX  (8u << 20) /* one line's JSON tree */

/* One body, checked, on its way through the queue. */
struct request {
    struct arena arena; /* events and their texts */
    struct event *events;
    size_t count;
    size_t cap;
    struct rejections rejections;
    uint64_t accepted;
    uint64_t duplicates;
    char mark[MARK_KEY_MAX]; /* of the batch */
    size_t mark_len;         /* 0 = no line needs it */
    struct err err;
    ingest_done_fn done;
    void *ctx;
};

/* ---- results ---- */

static void request_destroy(struct request *request) {
    arena_finish(&request->arena);
    rejections_finish(&request->rejections);
    mem_free(request);
}

static int compare_rejections(const void *left, const void *right) {
    const struct ingest_rejection *a = left;
    const struct ingest_rejection *b = right;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

/* Tell the sender, count, and free. */
static void request_settle(struct events *events, struct request *request) {
    struct counters *counters = &events->ingest->counters;
    struct rejections *rejections = &request->rejections;
    qsort(rejections->items, rejections->count, sizeof(rejections->items[0]), compare_rejections);
    struct ingest_result result = {
        .err = request->err,
        .accepted = request->accepted,
        .duplicates = request->duplicates,
        .rejected = rejections->total,
        .rejections = rejections->items,
        .rejection_count = rejections->count,
    };
    if (request->err.code == ERR_NONE) {
        metric_add(counters->accepted[DOOR_EVENTS], (double)request->accepted);
        metric_add(counters->duplicates[DOOR_EVENTS], (double)request->duplicates);
        if (rejections->total > 0 && request->accepted + request->duplicates == 0) {
            const struct ingest_rejection *first = &rejections->items[0];
            err_set(&result.err, ERR_INVALID, "no line was accepted; line %llu: %.*s",
                    (unsigned long long)first->line, STR_FMT(first->reason));
        }
    } else {
        result.accepted = 0;
        result.duplicates = 0;
    }
    request->done(request->ctx, &result);
    request_destroy(request);
}

static void request_refuse(struct events *events,
                           struct request *request,
                           enum refusal why,
                           const struct err *err) {
    counters_refuse(&events->ingest->counters, DOOR_EVENTS, why, 1);
    request->err = *err;
    request_settle(events, request);
}

/* ---- checking a body ---- */

static struct event_parser *parser_take(struct events *events) {
    struct event_parser *parser = NULL;
    pthread_mutex_lock(&events->parsers_mu);
    if (events->parser_count > 0) {
        parser = events->parsers[--events->parser_count];
    }
    pthread_mutex_unlock(&events->parsers_mu);
    if (parser == NULL) {
        parser = mem_calloc(1, sizeof(*parser));
        parser->json = json_parser_create(INGEST_EVENT_LINE_BYTES_MAX);
        arena_init(&parser->scratch, SCRATCH_BYTES_MAX);
        parser->extra_labels = events->options.extra_labels;
        parser->extra_label_count = events->extra_label_count;
        parser->late_ms_max = events->options.late_ms_max;
        parser->future_ms_max = events->options.future_ms_max;
    }
    return parser;
}

static void parser_destroy(struct event_parser *parser) {
    json_parser_destroy(parser->json);
    arena_finish(&parser->scratch);
    mem_free(parser);
}

static void parser_give_back(struct events *events, struct event_parser *parser) {
    metric_add(events->dropped, (double)parser->labels_dropped);
    parser->labels_dropped = 0;
    pthread_mutex_lock(&events->parsers_mu);
    bool is_kept = events->parser_count < ARRAY_LEN(events->parsers);
    if (is_kept) {
        events->parsers[events->parser_count++] = parser;
    }
    pthread_mutex_unlock(&events->parsers_mu);
    if (!is_kept) {
        parser_destroy(parser);
    }
}

static void line_check(struct events *events,
                       struct request *request,
                       struct event_parser *parser,
                       struct str line,
                       struct event place,
                       int64_t now_ms) {
    struct event event;
    enum refusal why;
    struct err err = ERR_INIT;
    if (!event_parse(parser, line, now_ms, &request->arena, &event, &why, &err)) {
        rejections_add(&request->rejections, place.line, place.offset, 1, "%s", err.msg);
        counters_refuse(&events->ingest->counters, DOOR_EVENTS, why, 1);
        return;
    }
    event.line = place.line;
    event.offset = place.offset;
    request->events = arena_vec_grow(&request->arena, request->events, &request->cap,
                                     request->count + 1, sizeof(request->events[0]));
    request->events[request->count++] = event;
}

static bool body_check(struct events *events,
                       struct request *request,
                       struct str body,
                       struct err *err) {
    int64_t now_ms = clock_wall_ms(events->ingest->clock);
    struct event_parser *parser = parser_take(events);
    struct str rest = body;
    struct event place = { .line = 0 };
    uint64_t line_count = 0;
    bool is_ok = true;
    while (is_ok && rest.len > 0) {
        struct str line;
        place.line++;
        place.offset = (uint64_t)(rest.ptr - body.ptr);
        str_cut(rest, '\n', &line, &rest);
        line = str_trim(line);
        if (line.len == 0) {
            continue;
        }
        if (++line_count > INGEST_EVENTS_PER_BODY_MAX) {
            is_ok = err_set(err, ERR_LIMIT, "a body may have at most %u events",
                            INGEST_EVENTS_PER_BODY_MAX);
            break;
        }
        line_check(events, request, parser, line, place, now_ms);
    }
    parser_give_back(events, parser);
    return is_ok;
}

/*
 * Lines without an id are known by their batch. A digest tells a batch from another only if its
 * lines carry their time: without, the same body may as well be the same thing happening again.
 */
static bool needs_batch_mark(const struct request *request, bool has_key) {
    bool has_unnamed = false;
    bool has_untimed = false;
    for (size_t i = 0; i < request->count; i++) {
        const struct event *event = &request->events[i];
        bool is_unnamed = event_is_counting(event) && event->id.len == 0;
        has_unnamed |= is_unnamed;
        has_untimed |= is_unnamed && !event->has_time;
    }
    return has_unnamed && (has_key || !has_untimed);
}

static bool request_read(struct events *events,
                         struct request *request,
                         const struct ingest_body *body,
                         struct err *err) {
    if (body->idempotency_key.len > INGEST_ID_BYTES_MAX) {
        return err_set(err, ERR_INVALID,
                       "the Idempotency-Key is %zu bytes long, at most %u are taken",
                       body->idempotency_key.len, INGEST_ID_BYTES_MAX);
    }
    struct buf decoded CLEANUP(buf_finish);
    buf_init(&decoded, INGEST_BODY_BYTES_MAX);
    if (!content_decode(body->encoding, body->bytes, &decoded, err) ||
        !body_check(events, request, buf_as_str(&decoded), err)) {
        return false;
    }
    if (needs_batch_mark(request, body->idempotency_key.len > 0)) {
        char digest[65] = "";
        if (body->idempotency_key.len == 0) {
            hash_sha256_hex(buf_as_str(&decoded), digest);
        }
        request->mark_len = mark_key_of_batch(body->idempotency_key, digest, request->mark).len;
    }
    return true;
}

/* ---- a group ---- */

bool events_commit(struct events *events,
                   struct tsdb_batch *batch,
                   int64_t now_ms,
                   struct err *err) {
    rows_write_dirty(events, tsdb_batch_kv(batch));
    struct tsdb_commit_result result;
    if (!tsdb_commit_blocking(batch, &result, err)) {
        /* What was staged is not in the store: back to what is. */
        struct err reload = ERR_INIT;
        if (!events_load(events, now_ms, &reload)) {
            err_wrap(err, "%s", reload.msg);
        }
        return false;
    }
    struct counters *counters = &events->ingest->counters;
    counters_refuse(counters, DOOR_EVENTS, REFUSAL_OUT_OF_ORDER, result.counts[TSDB_OUT_OF_ORDER]);
    counters_refuse(counters, DOOR_EVENTS, REFUSAL_CONFLICT, result.counts[TSDB_CONFLICT]);
    counters_refuse(counters, DOOR_EVENTS, REFUSAL_TOO_OLD, result.counts[TSDB_TOO_OLD]);
    counters_refuse(counters, DOOR_EVENTS, REFUSAL_TOO_NEW, result.counts[TSDB_TOO_NEW]);
    return true;
}

/* Was this line, or the batch it came in, counted before? *ret_key is the mark of its own id. */
static bool is_duplicate(struct events *events,
                         const struct event *event,
                         bool is_batch_known,
                         struct str *ret_key,
                         int64_t now_ms,
                         struct err *err) {
    if (!event_is_counting(event) || event->id.len == 0) {
        *ret_key = STR("");
        return event_is_counting(event) && is_batch_known;
    }
    return marks_has(events, *ret_key, now_ms, err);
}

static bool request_stage(struct events *events,
                          struct request *request,
                          struct kv_batch *batch,
                          int64_t now_ms,
                          struct err *err) {
    struct str batch_mark = str_n(request->mark, request->mark_len);
    bool is_batch_known = batch_mark.len > 0 && marks_has(events, batch_mark, now_ms, err);
    bool has_unnamed = false;
    for (size_t i = 0; err->code == ERR_NONE && i < request->count; i++) {
        const struct event *event = &request->events[i];
        char key_bytes[MARK_KEY_MAX];
        struct str key = STR("");
        if (event->id.len > 0) {
            key = mark_key_of_id(event, key_bytes);
        }
        if (is_duplicate(events, event, is_batch_known, &key, now_ms, err)) {
            request->duplicates++;
            continue;
        }
        if (err->code != ERR_NONE) {
            break;
        }
        enum refusal why;
        struct err refused = ERR_INIT;
        if (!event_apply(events, event, now_ms, &why, &refused)) {
            rejections_add(&request->rejections, event->line, event->offset, 1, "%s", refused.msg);
            counters_refuse(&events->ingest->counters, DOOR_EVENTS, why, 1);
            continue;
        }
        request->accepted++;
        if (key.len > 0) {
            marks_put(events, batch, key, now_ms);
        }
        has_unnamed |= event_is_counting(event) && key.len == 0;
    }
    if (has_unnamed && batch_mark.len > 0) {
        marks_put(events, batch, batch_mark, now_ms);
    }
    return err->code == ERR_NONE;
}

static bool group_commit_locked(struct events *events,
                                struct request **requests,
                                size_t count,
                                struct err *err) {
    int64_t now_ms = clock_wall_ms(events->ingest->clock);
    if (!events->is_loaded && !events_load(events, now_ms, err)) {
        return false;
    }
    struct tsdb_batch *batch;
    if (!tsdb_batch_begin(events->ingest->db, TSDB_INGEST, &batch, err)) {
        return false;
    }
    struct kv_batch *kv = tsdb_batch_kv(batch);
    bool is_ok = true;
    for (size_t i = 0; is_ok && i < count; i++) {
        is_ok = request_stage(events, requests[i], kv, now_ms, err);
    }
    if (!is_ok) {
        tsdb_batch_abandon(batch);
        events->is_loaded = false;
    } else {
        marks_write_count(events, kv);
        is_ok = events_commit(events, batch, now_ms, err);
    }
    marks_end_group(&events->marks);
    events_publish(events);
    return is_ok;
}

static void group_run(struct events *events, struct request **requests, size_t count) {
    struct err err = ERR_INIT;
    pthread_mutex_lock(&events->mu);
    bool is_ok = group_commit_locked(events, requests, count, &err);
    pthread_mutex_unlock(&events->mu);
    for (size_t i = 0; i < count; i++) {
        if (is_ok) {
            request_settle(events, requests[i]);
        } else {
            request_refuse(events, requests[i], REFUSAL_STORE, &err);
        }
    }
}

/* ---- in and out of the queue ---- */

static size_t request_bytes(const struct request *request) {
    return request->arena.bytes_used + sizeof(*request);
}

static bool request_enqueue(struct events *events, struct request *request, struct err *err) {
    size_t bytes = request_bytes(request);
    size_t before = atomic_fetch_add(&events->pending_bytes, bytes);
    if (before > 0 && before + bytes > PENDING_BYTES_MAX) {
        atomic_fetch_sub(&events->pending_bytes, bytes);
        return err_set(err, ERR_THROTTLED, "too many events are waiting to be stored");
    }
    if (!queue_try_push(events->queue, request)) {
        atomic_fetch_sub(&events->pending_bytes, bytes);
        bool is_stopping = atomic_load(&events->ingest->is_stopping);
        return err_set(err, is_stopping ? ERR_UNAVAILABLE : ERR_THROTTLED,
                       is_stopping ? "shutting down" : "too many bodies are waiting to be stored");
    }
    return true;
}

void ingest_events(struct ingest *ingest,
                   const struct ingest_body *body,
                   ingest_done_fn done,
                   void *ctx) {
    struct events *events = ingest->events;
    struct request *request = mem_calloc(1, sizeof(*request));
    arena_init(&request->arena, SIZE_MAX);
    rejections_init(&request->rejections);
    request->done = done;
    request->ctx = ctx;
    metric_inc(ingest->counters.requests[DOOR_EVENTS]);
    struct err err = ERR_INIT;
    if (atomic_load(&ingest->is_stopping)) {
        err_set(&err, ERR_UNAVAILABLE, "shutting down");
        request_refuse(events, request, REFUSAL_OVERLOAD, &err);
        return;
    }
    if (!request_read(events, request, body, &err)) {
        enum refusal why = err.code == ERR_LIMIT ? REFUSAL_LIMIT : REFUSAL_MALFORMED;
        rejections_finish(&request->rejections);
        rejections_init(&request->rejections);
        request_refuse(events, request, why, &err);
        return;
    }
    if (request->count == 0) {
        request_settle(events, request);
        return;
    }
    if (!atomic_load(&events->has_thread)) {
        group_run(events, &request, 1);
    } else if (!request_enqueue(events, request, &err)) {
        request_refuse(events, request, REFUSAL_OVERLOAD, &err);
    }
}

void events_serve(struct events *events, int timeout_ms) {
    struct request *group[GROUP_REQUESTS_MAX];
    size_t count = 0;
    size_t event_count = 0;
    size_t bytes = 0;
    struct request *request = queue_pop_blocking(events->queue, timeout_ms);
    while (request != NULL) {
        group[count++] = request;
        event_count += request->count;
        bytes += request_bytes(request);
        bool is_full = count == GROUP_REQUESTS_MAX || event_count >= GROUP_EVENTS_MAX;
        request = is_full ? NULL : queue_pop_blocking(events->queue, 0);
    }
    if (count > 0) {
        group_run(events, group, count);
        atomic_fetch_sub(&events->pending_bytes, bytes);
    }
}

void events_close(struct events *events) {
    queue_close(events->queue);
}

bool events_is_idle(struct events *events) {
    return queue_count(events->queue) == 0;
}

int64_t events_tick(struct events *events, int64_t now_ms) {
    pthread_mutex_lock(&events->mu);
    int64_t due_ms = events_tick_locked(events, now_ms);
    pthread_mutex_unlock(&events->mu);
    return due_ms;
}
