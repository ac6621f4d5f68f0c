/*
 * Requests through their phases: what libmicrohttpd calls, and the threads that run handlers.
 *
 * Terms       inline, worker, async: where a route's handler runs (enum web_place).
 * Invariants  1. A connection is suspended exactly while its request is in the running list.
 *             2. A request leaves the list and is resumed in one step under running_mu, so that
 *                web_stop() never stops libmicrohttpd between the two.
 *             3. Nothing that can block runs on libmicrohttpd's threads.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "web/server.h"

#define QUERY_NICE 10 /* of threads that answer queries: acknowledgements before panels */

enum {
    REQUEST_ARENA_BYTES = 1 << 30,
};

/* ---- running requests ---- */

static struct web_pool *pool_of(struct web_request *request) {
    bool is_query = request->route->place == WEB_QUERY;
    return &request->web->pools[is_query ? WEB_POOL_QUERY : WEB_POOL_SERVICE];
}

static enum web_enqueued running_add(struct web_request *request, enum web_phase phase) {
    struct web *web = request->web;
    struct web_pool *pool = pool_of(request);
    enum web_enqueued outcome = WEB_ENQUEUED;
    pthread_mutex_lock(&web->running_mu);
    if (web->is_closing || (phase == WEB_PHASE_QUEUED && web->is_stopping)) {
        outcome = WEB_STOPPING;
    } else if (phase == WEB_PHASE_QUEUED && pool->waiting_count == pool->waiting_max) {
        outcome = WEB_QUEUE_FULL;
    } else {
        request->phase = phase;
        request->next_running = web->running;
        web->running = request;
        web->running_count++;
        pool->waiting_count += phase == WEB_PHASE_QUEUED;
        if (web->running_count == 1) {
            pthread_cond_signal(&web->watch_cond);
        }
    }
    pthread_mutex_unlock(&web->running_mu);
    return outcome;
}

enum web_enqueued web_request_enqueue(struct web_request *request, enum web_phase phase) {
    struct web_pool *pool = pool_of(request);
    enum web_enqueued outcome = running_add(request, phase);
    if (outcome != WEB_ENQUEUED) {
        return outcome;
    }
    web_connection_enter(request, WEB_CONNECTION_BUSY);
    MHD_suspend_connection(request->connection);
    /* Room for every connection beside the waiting ones: a stream that began is never refused. */
    if (!queue_try_push(pool->queue, request)) {
        BUG("the queue of %u + %u requests is full", pool->waiting_max,
            pool->web->opts.connections_max);
    }
    return WEB_ENQUEUED;
}

void web_request_finish(struct web_request *request) {
    struct web *web = request->web;
    pthread_mutex_lock(&web->running_mu);
    struct web_request **link = &web->running;
    while (*link != request) {
        link = &(*link)->next_running;
    }
    *link = request->next_running;
    web->running_count--;
    if (request->phase == WEB_PHASE_QUEUED) {
        request->phase = WEB_PHASE_DONE;
    }
    MHD_resume_connection(request->connection);
    pthread_cond_broadcast(&web->drained_cond);
    pthread_mutex_unlock(&web->running_mu);
}

/* ---- workers ---- */

static void serve(struct web_pool *pool, struct web_request *request) {
    pthread_mutex_lock(&pool->web->running_mu);
    pool->waiting_count--;
    pthread_mutex_unlock(&pool->web->running_mu);
    enum web_place place = request->route->place;
    request->route->handle(request);
    if (place != WEB_ASYNC) { /* an async request may be gone by now */
        web_reply_pack(request);
        web_request_finish(request);
    }
}

void *web_worker_thread(void *ctx) {
    struct web_pool *pool = ctx;
    struct web_request *request;
    if (pool == &pool->web->pools[WEB_POOL_QUERY]) {
        (void)setpriority(PRIO_PROCESS, 0, QUERY_NICE); /* on Linux: of this thread */
    }
    while ((request = queue_pop_blocking(pool->queue, -1)) != NULL) {
        if (request->phase == WEB_PHASE_STREAM) {
            web_stream_refill(request);
            web_request_finish(request);
        } else {
            serve(pool, request);
        }
    }
    return NULL;
}

/* ---- bodies ---- */

/* Give the body's memory back; what comes after it is dropped. */
static void drop_body(struct web_request *request) {
    request->web->body_bytes -= (int64_t)request->body_bytes;
    request->body_bytes = 0;
    buf_finish(&request->body);
    request->phase = WEB_PHASE_DRAIN;
}

/* False when a refused body does not end. */
static bool take_body(struct web_request *request, struct str piece) {
    if (request->phase != WEB_PHASE_BODY) {
        request->drained_bytes += piece.len;
        return request->drained_bytes <= WEB_DRAIN_BYTES_MAX;
    }
    struct web *web = request->web;
    int64_t piece_bytes = (int64_t)piece.len;
    int64_t held_bytes = atomic_fetch_add(&web->body_bytes, piece_bytes) + piece_bytes;
    request->body_bytes += piece.len;
    buf_str(&request->body, piece);
    if (request->body.is_over) {
        web_reply_text(request, 413, "the body has more than %zu bytes\n", request->body.bytes_max);
        drop_body(request);
    } else if (held_bytes > WEB_BODIES_BYTES_MAX) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_UNAVAILABLE, "all bodies together have more than %d bytes, try again",
                WEB_BODIES_BYTES_MAX);
        web_reply_error_text(request, &err);
        drop_body(request);
    }
    return true;
}

/* ---- one request ---- */

/* True when the reply is there at once; otherwise the connection is suspended by now. */
static bool dispatch(struct web_request *request) {
    struct err err = ERR_INIT;
    if (request->route->is_form && request->body.len > 0 &&
        !web_params_add_form(request, buf_as_str(&request->body), &err)) {
        web_reply_error(request, &err);
        return true;
    }
    if (request->route->place == WEB_INLINE) {
        request->route->handle(request);
        return true;
    }
    switch (web_request_enqueue(request, WEB_PHASE_QUEUED)) {
    case WEB_ENQUEUED: return false;
    case WEB_QUEUE_FULL:
        err_set(&err, ERR_UNAVAILABLE, "too many requests are waiting, try again");
        break;
    case WEB_STOPPING: err_set(&err, ERR_UNAVAILABLE, "the server is shutting down"); break;
    }
    web_reply_error(request, &err);
    return true;
}

/* Checks that need the header only; leaves a reply when the request is refused. */
static void judge_header(struct web_request *request, const char *method, uint64_t length) {
    if (!web_route_find(request, method)) {
        return;
    }
    if (request->web->is_stopping) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_UNAVAILABLE, "the server is shutting down");
        web_reply_error(request, &err);
        return;
    }
    size_t max = request->route->body_bytes_max;
    if (length > max) {
        web_reply_text(request, 413, "the body has %llu bytes, at most %zu are taken\n",
                       (unsigned long long)length, max);
    }
    buf_init(&request->body, max);
}

/*
 * Headers are complete. A refused request is answered after its body was read: a client in the
 * middle of its upload would get a connection reset and never see why. Not so when it waits for our
 * consent (100-continue), or when where the body ends is in doubt. (libmicrohttpd closes after a
 * reply that is queued this early.)
 */
static void begin_request(struct web_request *request,
                          const char *method,
                          const char *target,
                          const char *version) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    request->fd = info == NULL ? -1 : info->connect_fd;
    request->phase = WEB_PHASE_DONE;
    if (!web_guard_headers(request, method, target, version)) {
        web_reply_header(request, "Connection", "close");
        return;
    }
    uint64_t length = 0;
    bool has_length = str_parse_u64(web_header(request, "Content-Length"), &length);
    bool has_body = (has_length && length > 0) || web_header(request, "Transfer-Encoding").len > 0;
    judge_header(request, method, length);
    web_connection_enter(request, WEB_CONNECTION_BODY);
    if (request->reply.status == 0) {
        request->phase = WEB_PHASE_BODY;
    } else if (has_body &&
               (length > WEB_DRAIN_BYTES_MAX || web_header(request, "Expect").len > 0)) {
        web_reply_header(request, "Connection", "close");
    } else {
        request->phase = WEB_PHASE_DRAIN;
    }
}

enum MHD_Result web_on_access(void *ctx,
                              struct MHD_Connection *connection,
                              const char *url,
                              const char *method,
                              const char *version,
                              const char *upload_data,
                              size_t *upload_len,
                              void **con_cls) {
    (void)ctx;
    (void)connection;
    struct web_request *request = *con_cls;
    if (request->phase == WEB_PHASE_NEW) {
        begin_request(request, method, url, version);
        return request->phase == WEB_PHASE_DONE ? web_reply_queue(request) : MHD_YES;
    }
    if (*upload_len > 0) {
        bool is_ok = take_body(request, str_n(upload_data, *upload_len));
        *upload_len = 0;
        return is_ok ? MHD_YES : MHD_NO;
    }
    if (request->phase == WEB_PHASE_BODY && !dispatch(request)) {
        return MHD_YES; /* called again once it is resumed; request is not ours until then */
    }
    request->phase = WEB_PHASE_DONE;
    return web_reply_queue(request);
}

/* First sight of a request: the raw target, before libmicrohttpd decodes anything. */
void *web_on_uri(void *ctx, const char *uri, struct MHD_Connection *connection) {
    struct web *web = ctx;
    struct web_request *request = mem_calloc(1, sizeof(*request));
    request->web = web;
    request->connection = connection;
    request->fd = -1;
    request->start_mono_ns = clock_mono_ns(web->clock);
    arena_init(&request->arena, REQUEST_ARENA_BYTES);
    buf_init(&request->reply.body, WEB_REPLY_BYTES_MAX);
    request->raw_url = mem_strdup(uri == NULL ? "" : uri);
    web->active_count++;
    web_connection_enter(request, WEB_CONNECTION_HEADER);
    return request;
}

void web_on_completed(void *ctx,
                      struct MHD_Connection *connection,
                      void **con_cls,
                      enum MHD_RequestTerminationCode code) {
    (void)connection;
    (void)code;
    struct web *web = ctx;
    struct web_request *request = *con_cls;
    if (request == NULL) {
        return;
    }
    *con_cls = NULL;
    int status = request->reply.status;
    metric_inc(web->requests_total[status / 100 >= 1 && status / 100 <= 5 ? status / 100 : 0]);
    int64_t took_ns = clock_mono_ns(web->clock) - request->start_mono_ns;
    metric_observe(web->duration, (double)took_ns / 1e9);
    web_connection_enter(request, WEB_CONNECTION_IDLE);
    drop_body(request);
    buf_finish(&request->reply.body);
    arena_finish(&request->arena);
    mem_free(request->raw_url);
    mem_free(request);
    web->active_count--;
    if (web->is_stopping) {
        pthread_mutex_lock(&web->running_mu);
        pthread_cond_broadcast(&web->drained_cond);
        pthread_mutex_unlock(&web->running_mu);
    }
}
