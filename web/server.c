/* The server's life: options, metrics, libmicrohttpd's daemon and our threads, start and stop. */
#include "web/server.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    HTTP_THREADS = 2,
    SERVICE_THREADS = 2,
    CONNECTION_MEMORY_BYTES = 256 << 10,
    INACTIVITY_TIMEOUT_S = 130, /* a net below the deadlines of watch.c */
    CONNECTIONS_PER_IP_MAX = 256,
};

/* ---- the daemon ---- */

/* Escapes stay as they are: paths and parameters are decoded by params.c. */
static size_t keep_escapes(void *ctx, struct MHD_Connection *connection, char *text) {
    (void)ctx;
    (void)connection;
    return strlen(text);
}

PRINTF_LIKE(2, 0)

static void on_mhd_log(void *ctx, const char *fmt, va_list args) {
    struct web *web = ctx;
    char text[512];
    int len = vsnprintf(text, sizeof(text), fmt, args);
    size_t kept = len < 0 ? 0 : (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
    log_debug(web->opts.log, "web", "libmicrohttpd",
              LOG_STR("detail", str_trim(str_n(text, kept))));
}

static bool start_daemon(struct web *web, struct err *err) {
    unsigned max = web->opts.connections_max;
    web->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        web_on_access, web, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, web, MHD_OPTION_LISTEN_SOCKET,
        web->listen_fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)HTTP_THREADS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)INACTIVITY_TIMEOUT_S, MHD_OPTION_CONNECTION_LIMIT,
        max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        max < CONNECTIONS_PER_IP_MAX ? max : (unsigned)CONNECTIONS_PER_IP_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, web_guard_is_ours() ? 0 : 1, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_escapes, NULL, MHD_OPTION_URI_LOG_CALLBACK, web_on_uri, web,
        MHD_OPTION_NOTIFY_COMPLETED, web_on_completed, web, MHD_OPTION_NOTIFY_CONNECTION,
        web_on_connection, web, MHD_OPTION_END);
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
    web->expired_total =
        metric_counter(registry, "tocsin_http_connections_expired_total",
                       "Connections shut because a header or body took too long.", NULL);
}

/* The prefix of all routes: the flag's, else the external URL's path; no slash at its end. */
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
    web->look_every_ms = WEB_LOOK_EVERY_MS;
    web->opts.connections_max = options->connections_max == 0 ? 512 : options->connections_max;
    uint32_t workers = options->worker_count == 0 ? 4 : options->worker_count;
    uint32_t waiting_max = options->queue_max == 0 ? 32 * workers : options->queue_max;
    web->pools[WEB_POOL_QUERY] = (struct web_pool){ .thread_max = workers };
    web->pools[WEB_POOL_SERVICE] = (struct web_pool){ .thread_max = SERVICE_THREADS };
    for (size_t i = 0; i < WEB_POOL_COUNT; i++) {
        web->pools[i].web = web;
        web->pools[i].waiting_max = waiting_max;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&web->running_mu, NULL);
    pthread_cond_init(&web->drained_cond, &monotonic);
    pthread_cond_init(&web->watch_cond, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&web->connections_mu, NULL);
    pthread_mutex_init(&web->labels_mu, NULL);
    web->prefix = make_prefix(options);
    create_metrics(web);
    struct str cors = str_from(options->cors_origin);
    if ((cors.len > 0 && !regex_create(cors, &web->cors, err)) || !web_listen(web, err)) {
        web_destroy(web);
        return false;
    }
    *ret = web;
    return true;
}

static bool start_pool(struct web_pool *pool, struct err *err) {
    pool->queue = queue_create((size_t)pool->waiting_max + pool->web->opts.connections_max);
    pool->threads = mem_calloc(pool->thread_max, sizeof(pool->threads[0]));
    for (uint32_t i = 0; i < pool->thread_max; i++) {
        int code = pthread_create(&pool->threads[i], NULL, web_worker_thread, pool);
        if (code != 0) {
            return err_set_errno(err, ERR_IO, code, "cannot start a worker thread");
        }
        pool->thread_count++;
    }
    return true;
}

static void stop_pool(struct web_pool *pool) {
    if (pool->queue != NULL) {
        queue_close(pool->queue);
    }
    for (uint32_t i = 0; i < pool->thread_count; i++) {
        pthread_join(pool->threads[i], NULL);
    }
    pool->thread_count = 0;
}

bool web_start(struct web *web, struct err *err) {
    web->is_started = true;
    for (size_t i = 0; i < WEB_POOL_COUNT; i++) {
        if (!start_pool(&web->pools[i], err)) {
            return false;
        }
    }
    int code = pthread_create(&web->watcher, NULL, web_watch_thread, web);
    if (code != 0) {
        return err_set_errno(err, ERR_IO, code, "cannot start the watcher thread");
    }
    web->is_watcher_started = true;
    return start_daemon(web, err);
}

/*
 * Let every request come to its end, the last byte of its reply included. What still runs after
 * grace_ms is canceled and waited for; what is still being received or sent is cut by the caller.
 */
static void drain(struct web *web, int64_t grace_ms) {
    const struct clock *clock = clock_system(); /* threads end in real time */
    int64_t deadline_ns = clock_mono_ns(clock) + grace_ms * 1000000;
    pthread_mutex_lock(&web->running_mu);
    while (web->running_count > 0 || web->active_count > 0) {
        int64_t left_ns = deadline_ns - clock_mono_ns(clock);
        if (left_ns <= 0) {
            web->is_closing = true;
            for (struct web_request *r = web->running; r != NULL; r = r->next_running) {
                r->is_canceled = true;
            }
            if (web->running_count == 0) {
                break;
            }
        }
        web_cond_wait(&web->drained_cond, &web->running_mu,
                      left_ns <= 0 ? 1000 : left_ns / 1000000 + 1);
    }
    web->is_closing = true;
    pthread_cond_signal(&web->watch_cond);
    pthread_mutex_unlock(&web->running_mu);
}

void web_stop(struct web *web, int64_t grace_ms) {
    if (!web->is_started) {
        return;
    }
    web->is_started = false;
    if (web->daemon != NULL) {
        /* Ours again, but closed only when libmicrohttpd's threads, which may still take it out of
         * their epoll sets, are gone. */
        web->listen_fd = MHD_quiesce_daemon(web->daemon);
        if (web->listen_fd >= 0) {
            shutdown(web->listen_fd, SHUT_RDWR); /* later clients are refused at once */
        }
    }
    pthread_mutex_lock(&web->running_mu);
    web->is_stopping = true;
    pthread_mutex_unlock(&web->running_mu);
    drain(web, grace_ms);
    for (size_t i = 0; i < WEB_POOL_COUNT; i++) {
        stop_pool(&web->pools[i]);
    }
    if (web->is_watcher_started) {
        pthread_join(web->watcher, NULL);
    }
    if (web->daemon != NULL) {
        MHD_stop_daemon(web->daemon);
        web->daemon = NULL;
    }
    if (web->listen_fd >= 0) {
        close(web->listen_fd);
        web->listen_fd = -1;
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
    for (size_t i = 0; i < WEB_POOL_COUNT; i++) {
        queue_destroy(web->pools[i].queue);
        mem_free(web->pools[i].threads);
    }
    regex_destroy(web->cors);
    mem_free(web->prefix);
    mem_free(web->external_labels.items);
    pthread_mutex_destroy(&web->running_mu);
    pthread_cond_destroy(&web->drained_cond);
    pthread_cond_destroy(&web->watch_cond);
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
