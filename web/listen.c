/* The listening socket: HOST:PORT or [V6]:PORT to a bound descriptor and the address it got. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "web/server.h"

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

bool web_listen(struct web *web, struct err *err) {
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
