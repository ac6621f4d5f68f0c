/* The loopback server of the network tests. */
#include "tests/base/stub_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct stub {
    stub_serve_fn serve;
    void *ctx;
    int listen_fd;
    int port;
    int stop_pipe[2];
    pthread_t thread;
    pthread_mutex_t mutex;
    int current_fd;  /* guarded by mutex */
    int connections; /* guarded by mutex */
};

static void set_current(struct stub *stub, int fd) {
    pthread_mutex_lock(&stub->mutex);
    stub->current_fd = fd;
    pthread_mutex_unlock(&stub->mutex);
}

static void *run(void *arg) {
    struct stub *stub = arg;
    for (int connection = 0;; connection++) {
        struct pollfd fds[2] = {
            { .fd = stub->listen_fd, .events = POLLIN },
            { .fd = stub->stop_pipe[0], .events = POLLIN },
        };
        if (poll(fds, 2, -1) < 0 || fds[1].revents != 0) {
            return NULL;
        }
        int fd = accept(stub->listen_fd, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        pthread_mutex_lock(&stub->mutex);
        stub->current_fd = fd;
        stub->connections++;
        pthread_mutex_unlock(&stub->mutex);
        stub->serve(stub->ctx, fd, connection);
        set_current(stub, -1);
        close(fd);
    }
}

static int listen_on_loopback(int *ret_port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof(address);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        abort();
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

struct stub *stub_start(stub_serve_fn serve, void *ctx) {
    struct stub *stub = calloc(1, sizeof(*stub));
    if (stub == NULL || pipe(stub->stop_pipe) != 0) {
        abort();
    }
    stub->serve = serve;
    stub->ctx = ctx;
    stub->current_fd = -1;
    stub->listen_fd = listen_on_loopback(&stub->port);
    pthread_mutex_init(&stub->mutex, NULL);
    if (pthread_create(&stub->thread, NULL, run, stub) != 0) {
        abort();
    }
    return stub;
}

void stub_stop(struct stub *stub) {
    if (write(stub->stop_pipe[1], "x", 1) != 1) {
        abort();
    }
    pthread_mutex_lock(&stub->mutex);
    if (stub->current_fd >= 0) {
        shutdown(stub->current_fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&stub->mutex);
    pthread_join(stub->thread, NULL);
    close(stub->listen_fd);
    close(stub->stop_pipe[0]);
    close(stub->stop_pipe[1]);
    pthread_mutex_destroy(&stub->mutex);
    free(stub);
}

int stub_port(const struct stub *stub) {
    return stub->port;
}

int stub_connections(struct stub *stub) {
    pthread_mutex_lock(&stub->mutex);
    int count = stub->connections;
    pthread_mutex_unlock(&stub->mutex);
    return count;
}

size_t stub_read_until(int fd, const char *end, char *out, size_t cap) {
    size_t len = 0;
    out[0] = '\0';
    while (len + 1 < cap && strstr(out, end) == NULL) {
        ssize_t got = recv(fd, out + len, 1, 0);
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
        out[len] = '\0';
    }
    return len;
}

size_t stub_read_request(int fd, char *out, size_t cap) {
    size_t len = stub_read_until(fd, "\r\n\r\n", out, cap);
    const char *field = strstr(out, "Content-Length: ");
    size_t body = field == NULL ? 0 : strtoul(field + strlen("Content-Length: "), NULL, 10);
    for (; body > 0 && len + 1 < cap; body--) {
        if (recv(fd, out + len, 1, 0) != 1) {
            break;
        }
        out[++len] = '\0';
    }
    return len;
}

bool stub_write(int fd, const char *text) {
    size_t left = strlen(text);
    while (left > 0) {
        ssize_t put = send(fd, text, left, MSG_NOSIGNAL);
        if (put <= 0) {
            return false;
        }
        text += put;
        left -= (size_t)put;
    }
    return true;
}

void stub_wait_closed(int fd) {
    char rest[256];
    while (recv(fd, rest, sizeof(rest), 0) > 0) {
    }
}

int stub_dead_port(void) {
    int port = 0;
    close(listen_on_loopback(&port));
    return port;
}
