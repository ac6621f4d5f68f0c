/*
 * libmicrohttpd glue: connections in, requests through their phases, replies out.
 *
 * Terms       inline, worker, async: where a route's handler runs (enum web_place).
 * Invariants  1. A connection is suspended exactly while phase is QUEUED or STREAM.
 *             2. resume is called once per suspend: by web_request_finish(), after the request was
 *                taken out of the running list.
 *             3. Nothing that can block runs on libmicrohttpd's threads.
 */
#include "web/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    HTTP_THREADS = 2,
    CONNECTION_MEMORY_BYTES = 256 << 10,
    IDLE_TIMEOUT_S = 120,
    CONNECTIONS_PER_IP_MAX = 256,
    REQUEST_ARENA_BYTES = 1 << 30,
};

/* ---- running requests ---- */

static void running_add(struct web_request *request) {
    struct web *web = request->web;
    pthread_mutex_lock(&web->running_mu);
    request->next_running = web->running;
    request->is_running = true;
    web->running = request;
    web->running_count++;
    pthread_cond_broadcast(&web->running_cond);
    pthread_mutex_unlock(&web->running_mu);
}

static void running_remove(struct web_request *request) {
    struct web *web = request->web;
    pthread_mutex_lock(&web->running_mu);
    struct web_request **link = &web->running;
    while (*link != request) {
        link = &(*link)->next_running;
    }
    *link = request->next_running;
    request->is_running = false;
    web->running_count--;
    pthread_cond_broadcast(&web->running_cond);
    pthread_mutex_unlock(&web->running_mu);
}

bool web_request_enqueue(struct web_request *request, enum web_phase phase) {
    if (request->web->is_stopping) {
        return false;
    }
    request->phase = phase;
    MHD_suspend_connection(request->connection);
    running_add(request);
    if (queue_try_push(request->web->queue, request)) {
        return true;
    }
    if (phase == WEB_PHASE_STREAM) {
        web_stream_break(request);
    } else {
        struct err err = ERR_INIT;
        err_set(&err, ERR_UNAVAILABLE, "too many requests are waiting, try again");
        web_reply_error(request, &err);
    }
    web_request_finish(request);
    return true;
}

void web_request_finish(struct web_request *request) {
    struct MHD_Connection *connection = request->connection;
    if (request->phase == WEB_PHASE_QUEUED) {
        request->phase = WEB_PHASE_DONE;
    }
    running_remove(request);
    MHD_resume_connection(connection);
}

static void *worker_thread(void *ctx) {
    struct web *web = ctx;
    struct web_request *request;
    while ((request = queue_pop_blocking(web->queue, -1)) != NULL) {
        if (request->phase == WEB_PHASE_STREAM) {
            web_stream_refill(request);
            web_request_finish(request);
            continue;
        }
        enum web_place place = request->route->place;
        request->route->handle(request);
        if (place == WEB_WORKER) {
            web_request_finish(request);
        }
    }
    return NULL;
}

/* ---- one request ---- */

/* True when the reply is there at once; otherwise the connection is suspended by now. */
static bool dispatch(struct web_request *request) {
    struct err err = ERR_INIT;
    if (request->route->is_form && request->body.len > 0 &&
        !web_params_add(request, buf_as_str(&request->body), &err)) {
        web_reply_error(request, &err);
        return true;
    }
    if (request->route->place == WEB_INLINE) {
        request->route->handle(request);
        return true;
    }
    web_connection_state(request, WEB_CONNECTION_BUSY);
    if (!web_request_enqueue(request, WEB_PHASE_QUEUED)) {
        web_reply_text(request, 503, "the server is shutting down\n");
        return true;
    }
    return false;
}

/* Headers are complete: guards, route, size. Leaves a reply when the request is refused. */
static void begin_request(struct web_request *request, const char *method) {
    union MHD_ConnectionInfo const *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    request->fd = info == NULL ? -1 : info->connect_fd;
    request->start_mono_ns = clock_mono_ns(request->web->clock);
    request->phase = WEB_PHASE_DONE;
    if (!web_guard_headers(request) || !web_route_find(request, method)) {
        return;
    }
    if (request->web->is_stopping) {
        web_reply_text(request, 503, "the server is shutting down\n");
        return;
    }
    uint64_t length;
    struct str declared = web_header(request, "Content-Length");
    size_t max = request->route == NULL ? 0 : request->route->body_bytes_max;
    if (str_parse_u64(declared, &length) && length > max) {
        web_reply_text(request, 413, "the body has %llu bytes, at most %zu are taken\n",
                       (unsigned long long)length, max);
        web_reply_header(request, "Connection", "close");
        return;
    }
    buf_init(&request->body, max);
    if (request->reply.status == 0) {
        request->phase = WEB_PHASE_BODY;
        web_connection_state(request, WEB_CONNECTION_BODY);
    }
}

static enum MHD_Result on_access(void *ctx,
                                 struct MHD_Connection *connection,
                                 const char *url,
                                 const char *method,
                                 const char *version,
                                 const char *upload_data,
                                 size_t *upload_len,
                                 void **con_cls) {
    (void)ctx;
    (void)url;
    (void)version;
    struct web_request *request = *con_cls;
    if (request->phase == WEB_PHASE_NEW) {
        request->connection = connection;
        begin_request(request, method);
        if (request->phase == WEB_PHASE_DONE) {
            return web_reply_queue(request);
        }
        return MHD_YES;
    }
    if (*upload_len > 0) {
        if (request->phase == WEB_PHASE_BODY) {
            buf_append(&request->body, upload_data, *upload_len);
        }
        *upload_len = 0;
        return MHD_YES;
    }
    if (request->phase == WEB_PHASE_BODY) {
        if (request->body.is_over) {
            web_reply_text(request, 413, "the body has more than %zu bytes\n",
                           request->body.bytes_max);
        } else if (!dispatch(request)) {
            return MHD_YES; /* called again once it is resumed; request is not ours until then */
        }
        request->phase = WEB_PHASE_DONE;
    }
    return web_reply_queue(request);
}

/* First sight of a request: the raw target, before libmicrohttpd decodes anything. */
static void *on_uri(void *ctx, const char *uri, struct MHD_Connection *connection) {
    struct web *web = ctx;
    struct web_request *request = mem_calloc(1, sizeof(*request));
    request->web = web;
    request->connection = connection;
    request->fd = -1;
    arena_init(&request->arena, REQUEST_ARENA_BYTES);
    buf_init(&request->reply.body, WEB_REPLY_BYTES_MAX);
    request->raw_url = mem_strdup(uri);
    web->active_count++;
    return request;
}

static void on_completed(void *ctx,
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
    web->active_count--;
    int status = request->reply.status;
    metric_inc(web->requests_total[status / 100 >= 1 && status / 100 <= 5 ? status / 100 : 0]);
    if (request->start_mono_ns != 0) {
        int64_t took_ns = clock_mono_ns(web->clock) - request->start_mono_ns;
        metric_observe(web->duration, (double)took_ns / 1e9);
    }
    web_connection_state(request, WEB_CONNECTION_HEADER);
    buf_finish(&request->body);
    buf_finish(&request->reply.body);
    arena_finish(&request->arena);
    mem_free(request->raw_url);
    mem_free(request);
    *con_cls = NULL;
}

/* Escapes stay as they are: paths and parameters are decoded by params.c. */
static size_t keep_escapes(void *ctx, struct MHD_Connection *connection, char *text) {
    (void)ctx;
    (void)connection;
    return strlen(text);
}

static void on_mhd_log(void *ctx, const char *fmt, va_list args) {
    struct web *web = ctx;
    char text[512];
    int len = vsnprintf(text, sizeof(text), fmt, args);
    size_t kept = len < 0 ? 0 : (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
    log_debug(web->opts.log, "web", "libmicrohttpd",
              LOG_STR("detail", str_trim(str_n(text, kept))));
}

/* ---- listening ---- */

static bool split_address(const char *address, char host[256], char port[16], struct err *err) {
    struct str text = str_from(address);
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':') {
        colon--;
    }
    struct str name = str_n(text.ptr, colon == 0 ? 0 : colon - 1);
    struct str service = str_n(text.ptr + colon, text.len - colon);
    if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
        name = str_n(name.ptr + 1, name.len - 2);
    }
    uint64_t number;
    if (colon == 0 || name.len >= 256 || !str_parse_u64(service, &number) || number > 65535) {
        return err_set(err, ERR_INVALID, "not an address to listen on (HOST:PORT): \"%s\"",
                       address);
    }
    snprintf(host, 256, "%.*s", STR_FMT(name));
    snprintf(port, 16, "%.*s", STR_FMT(service));
    return true;
}

static int bind_first(const struct addrinfo *found, int *ret_errno) {
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) {
            *ret_errno = errno;
            continue;
        }
        int one = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) {
            return fd;
        }
        *ret_errno = errno;
        close(fd);
    }
    return -1;
}

static bool open_listener(struct web *web, struct err *err) {
    char host[256];
    char port[16];
    if (!split_address(web->opts.listen_address, host, port, err)) {
        return false;
    }
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    int code = getaddrinfo(host[0] == '\0' ? NULL : host, port, &hints, &found);
    if (code != 0) {
        return err_set(err, ERR_INVALID, "cannot resolve \"%s\": %s", host, gai_strerror(code));
    }
    int bind_errno = 0;
    web->listen_fd = bind_first(found, &bind_errno);
    freeaddrinfo(found);
    if (web->listen_fd < 0) {
        return err_set_errno(err, ERR_IO, bind_errno, "cannot listen on %s",
                             web->opts.listen_address);
    }
    struct sockaddr_storage bound;
    socklen_t bound_len = sizeof(bound);
    char service[16];
    char name[INET6_ADDRSTRLEN];
    if (getsockname(web->listen_fd, (struct sockaddr *)&bound, &bound_len) != 0 ||
        getnameinfo((struct sockaddr *)&bound, bound_len, name, sizeof(name), service,
                    sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return err_set_errno(err, ERR_IO, errno, "cannot tell the address of the listener");
    }
    bool is_v6 = bound.ss_family == AF_INET6;
    snprintf(web->address, sizeof(web->address), "%s%s%s:%s", is_v6 ? "[" : "", name,
             is_v6 ? "]" : "", service);
    return true;
}

static bool start_daemon(struct web *web, struct err *err) {
    unsigned max = web->opts.connections_max;
    web->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        on_access, web, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, web, MHD_OPTION_LISTEN_SOCKET,
        web->listen_fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)HTTP_THREADS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_LIMIT, max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        max < CONNECTIONS_PER_IP_MAX ? max : (unsigned)CONNECTIONS_PER_IP_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, web, MHD_OPTION_NOTIFY_COMPLETED, on_completed, web,
        MHD_OPTION_NOTIFY_CONNECTION, web_connection_note, web, MHD_OPTION_END);
    if (web->daemon == NULL) {
        return err_set_errno(err, ERR_IO, errno, "cannot start the HTTP server on %s",
                             web->address);
    }
    web->listen_fd = -1; /* libmicrohttpd's now */
    return true;
}

/* ---- life ---- */

static void create_metrics(struct web *web) {
    static const char *const classes[][3] = {
        { "code", "none", NULL }, { "code", "1xx", NULL }, { "code", "2xx", NULL },
        { "code", "3xx", NULL },  { "code", "4xx", NULL }, { "code", "5xx", NULL },
    };
    struct metric_registry *registry = web->opts.metrics;
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        web->requests_total[i] = metric_counter(registry, "tocsin_http_requests_total",
                                                "HTTP requests by class of status.", classes[i]);
    }
    static const double bounds[] = { 0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60 };
    web->duration = metric_histogram(registry, "tocsin_http_request_duration_seconds",
                                     "Time from a request's header to the end of its reply.", NULL,
                                     bounds, ARRAY_LEN(bounds));
    web->canceled_total = metric_counter(registry, "tocsin_http_requests_canceled_total",
                                         "Requests whose client went away before the reply.", NULL);
    web->deadline_total =
        metric_counter(registry, "tocsin_http_connections_expired_total",
                       "Connections shut because a header or body took too long.", NULL);
}

/* The prefix of all routes: the flag's, else the external URL's path; without a slash at its end. */
static char *make_prefix(const struct web_options *options) {
    struct str prefix = str_from(options->route_prefix);
    if (options->route_prefix == NULL && options->external_url != NULL) {
        struct str url = str_from(options->external_url);
        size_t scheme = str_find(url, STR("://"));
        url = scheme == SIZE_MAX ? url : str_n(url.ptr + scheme + 3, url.len - scheme - 3);
        const char *slash = url.len == 0 ? NULL : memchr(url.ptr, '/', url.len);
        prefix =
            slash == NULL ? (struct str){ 0 } : str_n(slash, url.len - (size_t)(slash - url.ptr));
    }
    while (prefix.len > 0 && prefix.ptr[prefix.len - 1] == '/') {
        prefix.len--;
    }
    bool needs_slash = prefix.len > 0 && prefix.ptr[0] != '/';
    char *out = mem_alloc(prefix.len + 2);
    memcpy(out, "/", 1);
    memcpy(out + needs_slash, prefix.len == 0 ? "" : prefix.ptr, prefix.len);
    out[prefix.len + needs_slash] = '\0';
    return out;
}

bool web_create(const struct web_options *options, struct web **ret, struct err *err) {
    struct web *web = mem_calloc(1, sizeof(*web));
    web->opts = *options;
    web->clock = options->clock == NULL ? clock_system() : options->clock;
    web->listen_fd = -1;
    web->opts.connections_max = options->connections_max == 0 ? 512 : options->connections_max;
    web->opts.worker_count = options->worker_count == 0 ? 4 : options->worker_count;
    web->opts.queue_max =
        options->queue_max == 0 ? 32 * web->opts.worker_count : options->queue_max;
    pthread_mutex_init(&web->running_mu, NULL);
    pthread_cond_init(&web->running_cond, NULL);
    pthread_mutex_init(&web->connections_mu, NULL);
    pthread_mutex_init(&web->labels_mu, NULL);
    web->prefix = make_prefix(options);
    create_metrics(web);
    struct str cors = str_from(options->cors_origin);
    if ((cors.len > 0 && !regex_create(cors, &web->cors, err)) || !open_listener(web, err)) {
        web_destroy(web);
        return false;
    }
    *ret = web;
    return true;
}

bool web_start(struct web *web, struct err *err) {
    web->queue = queue_create(web->opts.queue_max);
    web->workers = mem_calloc(web->opts.worker_count, sizeof(web->workers[0]));
    web->is_started = true;
    for (size_t i = 0; i < web->opts.worker_count; i++) {
        int code = pthread_create(&web->workers[i], NULL, worker_thread, web);
        if (code != 0) {
            return err_set_errno(err, ERR_IO, code, "cannot start a worker thread");
        }
        web->worker_count++;
    }
    int code = pthread_create(&web->watcher, NULL, web_watch_thread, web);
    if (code != 0) {
        return err_set_errno(err, ERR_IO, code, "cannot start the watcher thread");
    }
    web->is_watcher_started = true;
    return start_daemon(web, err);
}

/* Wait until no request is suspended; cancel what still runs after grace_ms. */
static void drain(struct web *web, int64_t grace_ms) {
    int64_t deadline_ns = clock_mono_ns(web->clock) + grace_ms * 1000000;
    pthread_mutex_lock(&web->running_mu);
    while (web->running_count > 0) {
        if (clock_mono_ns(web->clock) >= deadline_ns) {
            for (struct web_request *r = web->running; r != NULL; r = r->next_running) {
                r->is_canceled = true;
            }
        }
        struct timespec until;
        web_realtime_in(web, 50, &until);
        pthread_cond_timedwait(&web->running_cond, &web->running_mu, &until);
    }
    pthread_mutex_unlock(&web->running_mu);
}

void web_stop(struct web *web, int64_t grace_ms) {
    if (!web->is_started) {
        return;
    }
    web->is_started = false;
    if (web->daemon != NULL) {
        int fd = MHD_quiesce_daemon(web->daemon);
        if (fd >= 0) {
            close(fd);
        }
    }
    web->is_stopping = true;
    drain(web, grace_ms);
    queue_close(web->queue);
    for (size_t i = 0; i < web->worker_count; i++) {
        pthread_join(web->workers[i], NULL);
    }
    if (web->is_watcher_started) {
        pthread_join(web->watcher, NULL);
    }
    if (web->daemon != NULL) {
        MHD_stop_daemon(web->daemon);
        web->daemon = NULL;
    }
}

void web_destroy(struct web *web) {
    if (web == NULL) {
        return;
    }
    web_stop(web, 0);
    if (web->listen_fd >= 0) {
        close(web->listen_fd);
    }
    queue_destroy(web->queue);
    mem_free(web->workers);
    regex_destroy(web->cors);
    mem_free(web->prefix);
    mem_free(web->external_labels.items);
    pthread_mutex_destroy(&web->running_mu);
    pthread_cond_destroy(&web->running_cond);
    pthread_mutex_destroy(&web->connections_mu);
    pthread_mutex_destroy(&web->labels_mu);
    mem_free(web);
}

const char *web_address(const struct web *web) {
    return web->address;
}

void web_set_external_labels(struct web *web, struct labels labels) {
    struct labels copy = labels_dup_heap(labels);
    pthread_mutex_lock(&web->labels_mu);
    mem_free(web->external_labels.items);
    web->external_labels = copy;
    pthread_mutex_unlock(&web->labels_mu);
}

struct labels web_external_labels(struct web *web, struct arena *arena) {
    pthread_mutex_lock(&web->labels_mu);
    struct labels copy = labels_dup(web->external_labels, arena);
    pthread_mutex_unlock(&web->labels_mu);
    return copy;
}
