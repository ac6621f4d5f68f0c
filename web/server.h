/* Private to web/: the server's own state. */
#pragma once

#include <time.h>

#include "base/queue.h"
#include "base/regex.h"
#include "web/request.h"

enum {
    WEB_LOOK_EVERY_MS = 500,
};

enum web_connection_state {
    WEB_CONNECTION_HEADER,  /* reading a header */
    WEB_CONNECTION_BODY,    /* reading a body */
    WEB_CONNECTION_BUSY,    /* suspended: being served */
    WEB_CONNECTION_SENDING, /* the reply is on its way */
    WEB_CONNECTION_IDLE,    /* kept alive between two requests */
};

/* An open connection, for deadlines libmicrohttpd does not know. Guarded by connections_mu. */
struct web_connection {
    int fd;
    enum web_connection_state state;
    int64_t since_mono_ns; /* when the state began */
    /* Bytes moved (BODY, IDLE: received; SENDING: acknowledged) at mark_mono_ns; the watcher's. */
    bool has_mark;
    int64_t mark_mono_ns;
    uint64_t mark_bytes;
    bool has_ended; /* seen once in this state: the peer closed and everything was read */
    struct web_connection *next;
    struct web_connection **link;
};

/* Threads with a queue of requests. Doors and views have one of their own, so that slow queries
 * never hold up a write, a health check or the overview. */
struct web_pool {
    struct web *web;
    struct queue *queue; /* of struct web_request */
    pthread_t *threads;
    uint32_t thread_max;
    uint32_t thread_count; /* started */
    uint32_t waiting_max;
    uint32_t waiting_count; /* guarded by running_mu: requests not yet with a thread */
};

enum web_pool_kind {
    WEB_POOL_QUERY,
    WEB_POOL_SERVICE,
    WEB_POOL_COUNT,
};

struct web {
    /* immutable after create */
    struct web_options opts;
    const struct clock *clock;
    char address[128];
    char *prefix; /* "" or "/x" */
    struct regex *cors;
    int listen_fd;
    int64_t look_every_ms; /* at deadlines; a test may ask for more before web_start() */
    _Atomic uint64_t look_count;

    struct MHD_Daemon *daemon;
    struct web_pool pools[WEB_POOL_COUNT];
    pthread_t watcher;
    bool is_watcher_started;
    bool is_started;
    _Atomic int64_t active_count; /* requests between their first line and the reply's end */
    _Atomic int64_t body_bytes;   /* held by all requests */
    _Atomic int64_t read_count;   /* remote reads, streams included */
    _Atomic bool is_stopping;     /* no new requests */

    pthread_mutex_t running_mu;
    pthread_cond_t drained_cond; /* something came to its end; for web_stop() */
    pthread_cond_t watch_cond;   /* the first request was suspended, or is_closing */
    struct web_request *running; /* guarded by running_mu: suspended requests */
    size_t running_count;        /* guarded by running_mu */
    bool is_closing;             /* guarded by running_mu: no block of a stream any more */

    pthread_mutex_t connections_mu;
    struct web_connection *connections; /* guarded by connections_mu */

    pthread_mutex_t labels_mu;
    struct labels external_labels; /* heap; guarded by labels_mu */

    /* CPU share between two looks, for /health; guarded by labels_mu */
    int64_t cpu_mono_ns;
    double cpu_s;
    double cpu_percent;

    struct metric *requests_total[6]; /* by status class */
    struct metric *duration;
    struct metric *canceled_total;
    struct metric *expired_total;
};

/* listen.c: bind and listen; sets listen_fd and address. */
WARN_UNUSED bool web_listen(struct web *web, struct err *err);

/* request.c: what libmicrohttpd calls, and the threads that run handlers. */
void *web_on_uri(void *web, const char *uri, struct MHD_Connection *connection);
enum MHD_Result web_on_access(void *web,
                              struct MHD_Connection *connection,
                              const char *url,
                              const char *method,
                              const char *version,
                              const char *upload_data,
                              size_t *upload_len,
                              void **request);
void web_on_completed(void *web,
                      struct MHD_Connection *connection,
                      void **request,
                      enum MHD_RequestTerminationCode code);
void *web_worker_thread(void *pool);

/* watch.c: connections past their deadline are shut, queries of vanished clients canceled. */
void *web_watch_thread(void *web);
void web_on_connection(void *web,
                       struct MHD_Connection *connection,
                       void **socket_context,
                       enum MHD_ConnectionNotificationCode code);
void web_connection_enter(struct web_request *request, enum web_connection_state state);

/* Wait on a condition of web's (they count CLOCK_MONOTONIC) for at most in_ms of real time. */
void web_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mu, int64_t in_ms);

/* A copy of the external labels in the arena. */
struct labels web_external_labels(struct web *web, struct arena *arena);
