/*
 * What libmicrohttpd does not watch: absolute deadlines for a header and a body (its own timeout
 * starts again with every byte), and clients that go away while their request is suspended.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "web/server.h"

enum {
    HEADER_DEADLINE_S = 10,
    KEEP_ALIVE_DEADLINE_S = 120,
    BODY_DEADLINE_S = 60,
    LOOK_EVERY_MS = 50,
};

void web_realtime_in(struct web *web, int64_t in_ms, struct timespec *ret) {
    int64_t at_ms = clock_wall_ms(web->clock) + in_ms;
    ret->tv_sec = at_ms / 1000;
    ret->tv_nsec = at_ms % 1000 * 1000000;
}

void web_connection_note(void *ctx,
                         struct MHD_Connection *connection,
                         void **socket_context,
                         enum MHD_ConnectionNotificationCode code) {
    struct web *web = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct web_connection *entry = mem_calloc(1, sizeof(*entry));
        entry->fd = info == NULL ? -1 : info->connect_fd;
        entry->since_mono_ns = clock_mono_ns(web->clock);
        pthread_mutex_lock(&web->connections_mu);
        entry->next = web->connections;
        entry->link = &web->connections;
        if (entry->next != NULL) {
            entry->next->link = &entry->next;
        }
        web->connections = entry;
        pthread_mutex_unlock(&web->connections_mu);
        *socket_context = entry;
        return;
    }
    struct web_connection *entry = *socket_context;
    pthread_mutex_lock(&web->connections_mu);
    *entry->link = entry->next;
    if (entry->next != NULL) {
        entry->next->link = entry->link;
    }
    pthread_mutex_unlock(&web->connections_mu);
    mem_free(entry);
    *socket_context = NULL;
}

void web_connection_state(struct web_request *request, int state) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (info == NULL || info->socket_context == NULL) {
        return;
    }
    struct web *web = request->web;
    struct web_connection *entry = info->socket_context;
    int64_t now_ns = clock_mono_ns(web->clock);
    pthread_mutex_lock(&web->connections_mu);
    entry->has_served = entry->has_served || state == WEB_CONNECTION_HEADER;
    entry->state = (unsigned)state;
    entry->since_mono_ns = now_ns;
    pthread_mutex_unlock(&web->connections_mu);
}

static int64_t deadline_s(const struct web_connection *entry) {
    switch (entry->state) {
    case WEB_CONNECTION_HEADER:
        return entry->has_served ? KEEP_ALIVE_DEADLINE_S : HEADER_DEADLINE_S;
    case WEB_CONNECTION_BODY: return BODY_DEADLINE_S;
    case WEB_CONNECTION_BUSY: return INT64_MAX / 2000000000;
    }
    BUG("connection state %d", (int)entry->state);
}

/* shutdown, not close: the descriptor stays libmicrohttpd's, which sees the end and cleans up. */
static void shut_expired(struct web *web) {
    int64_t now_ns = clock_mono_ns(web->clock);
    pthread_mutex_lock(&web->connections_mu);
    for (struct web_connection *c = web->connections; c != NULL; c = c->next) {
        if (c->fd >= 0 && now_ns - c->since_mono_ns > deadline_s(c) * 1000000000) {
            shutdown(c->fd, SHUT_RDWR);
            c->fd = -1;
            metric_inc(web->deadline_total);
        }
    }
    pthread_mutex_unlock(&web->connections_mu);
}

/* A suspended connection is not read by libmicrohttpd: a peek shows whether the peer closed it. */
static bool is_client_gone(int fd) {
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static void cancel_orphans_locked(struct web *web) {
    for (struct web_request *r = web->running; r != NULL; r = r->next_running) {
        if (!r->is_canceled && r->fd >= 0 && is_client_gone(r->fd)) {
            r->is_canceled = true;
            metric_inc(web->canceled_total);
        }
    }
}

void *web_watch_thread(void *ctx) {
    struct web *web = ctx;
    while (!web->is_stopping) {
        shut_expired(web);
        pthread_mutex_lock(&web->running_mu);
        cancel_orphans_locked(web);
        struct timespec until;
        web_realtime_in(web, web->running_count > 0 ? LOOK_EVERY_MS : 10 * LOOK_EVERY_MS, &until);
        pthread_cond_timedwait(&web->running_cond, &web->running_mu, &until);
        pthread_mutex_unlock(&web->running_mu);
    }
    return NULL;
}
