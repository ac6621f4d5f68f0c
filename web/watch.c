/*
 * What libmicrohttpd does not watch: absolute deadlines for a header and a body (its own timeout
 * starts again with every byte), peers that take or give next to nothing, and clients that go away
 * while their request is suspended.
 *
 * Descriptors  A connection's is open until web_on_connection() says CLOSED, which takes
 *              connections_mu; that of a suspended request until it left the running list.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "base/mem.h"
#include "web/server.h"

enum {
    HEADER_DEADLINE_S = 10,
    BODY_DEADLINE_S = 60,
    IDLE_DEADLINE_S = 120,
    PACE_WINDOW_S = 25, /* a body or a reply moves at least PACE_BYTES_MIN in every such window */
    PACE_BYTES_MIN = PACE_WINDOW_S << 10,
    LOOK_EVERY_MS = 50, /* at suspended requests */
    POLL_BATCH = 64,
};

void web_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mu, int64_t in_ms) {
    int64_t until_ns = clock_mono_ns(clock_system()) + in_ms * 1000000;
    struct timespec until = { .tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000 };
    (void)pthread_cond_timedwait(cond, mu, &until);
}

/* ---- connections ---- */

void web_on_connection(void *ctx,
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

static void enter(struct web_connection *entry, enum web_connection_state state, int64_t now_ns) {
    entry->state = state;
    entry->since_mono_ns = now_ns;
    entry->has_mark = false;
    entry->has_ended = false;
}

void web_connection_enter(struct web_request *request, enum web_connection_state state) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (info == NULL || info->socket_context == NULL) {
        return;
    }
    struct web *web = request->web;
    struct web_connection *entry = info->socket_context;
    int64_t now_ns = clock_mono_ns(web->clock);
    pthread_mutex_lock(&web->connections_mu);
    /* A header's time began with the connection, or with its first byte after a pause. */
    if (entry->state != state) {
        enter(entry, state, now_ns);
    }
    pthread_mutex_unlock(&web->connections_mu);
}

/* ---- deadlines ---- */

/* Bytes the connection received, or whose receipt the peer acknowledged, since it began. */
static bool bytes_moved(const struct web_connection *entry, uint64_t *ret) {
    struct tcp_info info = { 0 };
    socklen_t len = sizeof(info);
    if (getsockopt(entry->fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0) {
        return false; /* a deadline less; the others hold */
    }
    *ret =
        entry->state == WEB_CONNECTION_SENDING ? info.tcpi_bytes_acked : info.tcpi_bytes_received;
    return true;
}

/* True while the connection's state has neither progress to judge nor a window that ended. */
static bool mark_holds(struct web_connection *entry, int64_t now_ns, uint64_t *ret_bytes) {
    uint64_t bytes;
    if (!bytes_moved(entry, &bytes)) {
        return true;
    }
    if (!entry->has_mark) {
        entry->has_mark = true;
        entry->mark_mono_ns = now_ns;
        entry->mark_bytes = bytes;
        return true;
    }
    *ret_bytes = bytes - entry->mark_bytes;
    return false;
}

/* Too little was received or sent in the window that ends now. */
static bool is_too_slow(struct web_connection *entry, int64_t now_ns) {
    uint64_t bytes;
    if (mark_holds(entry, now_ns, &bytes) ||
        now_ns - entry->mark_mono_ns < (int64_t)PACE_WINDOW_S * 1000000000) {
        return false;
    }
    entry->mark_mono_ns = now_ns;
    entry->mark_bytes += bytes;
    return bytes < PACE_BYTES_MIN;
}

static bool is_past(const struct web_connection *entry, int64_t now_ns, int64_t deadline_s) {
    return now_ns - entry->since_mono_ns > deadline_s * 1000000000;
}

/*
 * libmicrohttpd 0.9 misses an end that arrives together with the last bytes (its epoll is
 * edge-triggered and a short read counts as "nothing left"). Seen at two looks in a row it is no
 * longer under way there.
 */
static bool has_ended(struct web_connection *entry) {
    char byte;
    bool is_end = recv(entry->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    bool was_end = entry->has_ended;
    entry->has_ended = is_end;
    return is_end && was_end;
}

static bool is_expired(struct web_connection *entry, int64_t now_ns) {
    uint64_t bytes;
    bool is_reading = entry->state != WEB_CONNECTION_BUSY && entry->state != WEB_CONNECTION_SENDING;
    if (is_reading && has_ended(entry)) {
        return true;
    }
    switch (entry->state) {
    case WEB_CONNECTION_HEADER: return is_past(entry, now_ns, HEADER_DEADLINE_S);
    case WEB_CONNECTION_BODY:
        return is_past(entry, now_ns, BODY_DEADLINE_S) || is_too_slow(entry, now_ns);
    case WEB_CONNECTION_BUSY: return false; /* handlers have deadlines of their own */
    case WEB_CONNECTION_SENDING: return is_too_slow(entry, now_ns);
    case WEB_CONNECTION_IDLE:
        if (!mark_holds(entry, now_ns, &bytes) && bytes > 0) {
            enter(entry, WEB_CONNECTION_HEADER, now_ns);
        }
        return is_past(entry, now_ns, IDLE_DEADLINE_S);
    }
    BUG("connection state %d", (int)entry->state);
}

/* shutdown, not close: the descriptor stays libmicrohttpd's, which sees the end and cleans up.
 * At most every look_every_ms, however often the watcher looks at requests. */
static void shut_expired(struct web *web, int64_t *next_look_ns) {
    int64_t real_ns = clock_mono_ns(clock_system());
    if (real_ns < *next_look_ns) {
        return;
    }
    *next_look_ns = real_ns + web->look_every_ms * 1000000;
    int64_t now_ns = clock_mono_ns(web->clock);
    pthread_mutex_lock(&web->connections_mu);
    for (struct web_connection *c = web->connections; c != NULL; c = c->next) {
        if (c->fd >= 0 && is_expired(c, now_ns)) {
            shutdown(c->fd, SHUT_RDWR);
            c->fd = -1;
            metric_add(web->expired_total, c->has_ended ? 0 : 1);
        }
    }
    pthread_mutex_unlock(&web->connections_mu);
    web->look_count++;
}

/* ---- clients that went away ---- */

static void cancel_gone(struct web *web, struct web_request *const *batch, size_t count) {
    struct pollfd fds[POLL_BATCH];
    for (size_t i = 0; i < count; i++) {
        fds[i] = (struct pollfd){ .fd = batch[i]->fd, .events = POLLRDHUP };
    }
    if (poll(fds, count, 0) <= 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if ((fds[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
            batch[i]->is_canceled = true;
            metric_inc(web->canceled_total);
        }
    }
}

/* libmicrohttpd does not look at a suspended connection. */
static void cancel_orphans_locked(struct web *web) {
    struct web_request *batch[POLL_BATCH];
    size_t count = 0;
    for (struct web_request *r = web->running; r != NULL; r = r->next_running) {
        if (r->is_canceled || r->fd < 0) {
            continue;
        }
        batch[count++] = r;
        if (count == POLL_BATCH) {
            cancel_gone(web, batch, count);
            count = 0;
        }
    }
    cancel_gone(web, batch, count);
}

void *web_watch_thread(void *ctx) {
    struct web *web = ctx;
    int64_t next_look_ns = 0;
    pthread_mutex_lock(&web->running_mu);
    while (!web->is_closing) {
        cancel_orphans_locked(web);
        pthread_mutex_unlock(&web->running_mu);
        shut_expired(web, &next_look_ns);
        pthread_mutex_lock(&web->running_mu);
        if (web->running_count == 0 && !web->is_closing) {
            web_cond_wait(&web->watch_cond, &web->running_mu, web->look_every_ms);
        }
        if (web->running_count > 0 && !web->is_closing) {
            web_cond_wait(&web->watch_cond, &web->running_mu, LOOK_EVERY_MS);
        }
    }
    pthread_mutex_unlock(&web->running_mu);
    return NULL;
}
