/* Private to web/: the server's own state. */
#pragma once

#include <time.h>

#include "base/queue.h"
#include "base/regex.h"
#include "web/request.h"

/* An open connection, for deadlines libmicrohttpd does not know. */
struct web_connection {
    int fd;
    int64_t since_mono_ns; /* when the present wait began */

    enum {
        WEB_CONNECTION_HEADER, /* waiting for, or reading, a header */
        WEB_CONNECTION_BODY,
        WEB_CONNECTION_BUSY, /* being served */
    } state;

    bool has_served; /* a reply went out: a keep-alive pause follows */
    struct web_connection *next;
    struct web_connection **link;
};

struct web {
    /* immutable after create */
    struct web_options opts;
    const struct clock *clock;
    char address[128];
    char *external_url;
    char *prefix; /* "" or "/x" */
    struct regex *cors;
    int listen_fd;

    struct MHD_Daemon *daemon;
    struct queue *queue; /* of struct web_request, to the workers */
    pthread_t *workers;
    size_t worker_count; /* started */
    pthread_t watcher;
    bool is_watcher_started;
    bool is_started;
    _Atomic bool is_stopping;
    _Atomic int64_t active_count; /* requests between header and reply */

    pthread_mutex_t running_mu;
    pthread_cond_t running_cond; /* a request finished, or is_stopping */
    struct web_request *running; /* guarded by running_mu: suspended requests */
    size_t running_count;        /* guarded by running_mu */

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
    struct metric *deadline_total;
};

/* watch.c: connections past their deadline are shut, queries of vanished clients canceled. */
void *web_watch_thread(void *web);
void web_connection_note(void *ctx,
                         struct MHD_Connection *connection,
                         void **socket_context,
                         enum MHD_ConnectionNotificationCode code);
void web_connection_state(struct web_request *request, int state);

/* CLOCK_REALTIME `in_ms` from now, for condition variables. */
void web_realtime_in(struct web *web, int64_t in_ms, struct timespec *ret);

/* A copy of the external labels in the arena. */
struct labels web_external_labels(struct web *web, struct arena *arena);
