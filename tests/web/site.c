/* The site and the client of the server's tests. */
/* A server over real modules in a temporary directory, and clients on raw sockets. */
#include "tests/web/site.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/mem.h"
#include "web/server.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
const int64_t patience = 20;
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
const int64_t patience = 20;
#    else
const int64_t patience = 1;
#    endif
#else
const int64_t patience = 1;
#endif

enum {
    TIMEOUT_S = 20,
};

/* ---- the server ---- */

void site_init(struct site *site) {
    *site = (struct site){ 0 };
    fixture_init(&site->store);
    site->options = (struct web_options){
        .listen_address = "127.0.0.1:0",
        .enable_lifecycle = true,
        .enable_remote_write = true,
        .storage_path = site->store.dir,
    };
}

static void open_modules(struct site *site) {
    struct err err = ERR_INIT;
    const struct clock *clock = &site->store.clock.clock;
    struct notify_config *config = NULL;
    bool is_ok = notify_config_from_env(&(struct notify_env_config){ 0 },
                                        &(struct notify_config_params){ 0 }, &config, &err);
    struct notify_options notify = { .kv = tsdb_kv(site->store.db),
                                     .config = config,
                                     .clock = clock,
                                     .metrics = site->metrics,
                                     .jitter_seed = 1 };
    is_ok = is_ok && notify_create(&notify, &site->notify, &err);
    notify_config_unref(config);
    struct rules_options rules = { .db = site->store.db, .clock = clock, .metrics = site->metrics };
    if (is_ok) {
        rules.sink = notify_alert_sink(site->notify);
    }
    struct ingest_options ingest = { .db = site->store.db,
                                     .clock = clock,
                                     .metrics = site->metrics,
                                     .self_interval_ms = -1,
                                     .host_interval_ms = -1 };
    if (!is_ok || !rules_create(&rules, &site->rules, &err) ||
        !ingest_create(&ingest, &site->ingest, &err)) {
        fail_msg("%s", err.msg);
    }
}

void site_open(struct site *site) {
    struct err err = ERR_INIT;
    site->metrics = metric_registry_create();
    site->store.options.metrics = site->metrics;
    fixture_open(&site->store);
    open_modules(site);
    struct web_options *options = &site->options;
    options->db = site->store.db;
    options->ingest = site->ingest;
    options->rules = site->rules;
    options->notify = site->notify;
    options->metrics = site->metrics;
    options->clock = &site->store.clock.clock;
    options->start_ms = FIXTURE_NOW_MS;
    if (!web_create(options, &site->web, &err)) {
        fail_msg("%s", err.msg);
    }
    site->web->look_every_ms = SITE_LOOK_EVERY_MS;
    if (site->send_buffer_bytes > 0) { /* accepted sockets inherit it */
        setsockopt(site->web->listen_fd, SOL_SOCKET, SO_SNDBUF, &site->send_buffer_bytes,
                   sizeof(int));
    }
    if (!web_start(site->web, &err)) {
        fail_msg("%s", err.msg);
    }
}

void site_close(struct site *site) {
    web_destroy(site->web);
    ingest_destroy(site->ingest);
    rules_destroy(site->rules);
    notify_destroy(site->notify);
    fixture_close(&site->store);
    metric_registry_destroy(site->metrics);
    site->web = NULL;
    site->ingest = NULL;
    site->rules = NULL;
    site->notify = NULL;
    site->metrics = NULL;
    site->store.options.metrics = NULL;
}

void site_finish(struct site *site) {
    if (site->web != NULL) {
        site_close(site);
    }
    fixture_finish(&site->store);
}

void site_load(struct site *site, const char *text) {
    struct reply reply;
    ask(site, "POST", "/api/v1/import/prometheus", "", str_from(text), &reply);
    if (reply.status != 204) {
        fail_msg("import: %d %s", reply.status, reply.body.ptr);
    }
    reply_finish(&reply);
}

struct metric_sum {
    const char *name;
    double sum;
};

static void add_metric(void *ctx, const struct metric_view *view) {
    struct metric_sum *sum = ctx;
    if (strcmp(view->name, sum->name) == 0) {
        sum->sum += view->value;
    }
}

double site_metric(struct site *site, const char *name) {
    struct metric_sum sum = { .name = name };
    metric_collect(site->metrics, add_metric, &sum);
    return sum.sum;
}

void site_wait_metric(struct site *site, const char *name, double at_least) {
    for (int64_t end_ms = real_ms() + TIMEOUT_S * 1000; real_ms() < end_ms;) {
        if (site_metric(site, name) >= at_least) {
            return;
        }
        poll(NULL, 0, 5);
    }
    fail_msg("%s stays at %g", name, site_metric(site, name));
}

void site_wait_active(struct site *site, int count) {
    char needle[64];
    snprintf(needle, sizeof(needle), "\"active_requests\":%d,", count);
    for (int64_t end_ms = real_ms() + TIMEOUT_S * 1000; real_ms() < end_ms;) {
        struct reply reply;
        ask(site, "GET", "/health", "", STR(""), &reply);
        bool is_there = str_find(buf_as_str(&reply.body), str_from(needle)) != SIZE_MAX;
        reply_finish(&reply);
        if (is_there) {
            return;
        }
        poll(NULL, 0, 5);
    }
    fail_msg("never %d requests at once but %d", count, (int)site->web->active_count);
}

void site_wait_look(struct site *site) {
    uint64_t seen = site->web->look_count;
    for (int64_t end_ms = real_ms() + TIMEOUT_S * 1000; site->web->look_count < seen + 2;) {
        assert_true(real_ms() < end_ms);
        poll(NULL, 0, 1);
    }
}

/* ---- the client ---- */

int64_t real_ms(void) {
    return clock_system()->mono_ns(NULL) / 1000000;
}

int client_open(struct site *site) {
    struct str address = str_from(web_address(site->web));
    struct str host;
    struct str port;
    uint64_t number = 0;
    assert_true(str_cut(address, ':', &host, &port) && str_parse_u64(port, &number));
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)number),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (site->receive_buffer_bytes > 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &site->receive_buffer_bytes, sizeof(int));
    }
    struct timeval timeout = { .tv_sec = TIMEOUT_S };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

void client_close(int fd) {
    close(fd);
}

bool client_send(int fd, const void *bytes, size_t len) {
    const char *at = bytes;
    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

bool client_send_text(int fd, const char *text) {
    return client_send(fd, text, strlen(text));
}

bool client_is_closed(int fd, int timeout_ms) {
    int64_t end_ms = real_ms() + timeout_ms;
    char bytes[4096];
    for (int64_t left_ms = timeout_ms; left_ms > 0; left_ms = end_ms - real_ms()) {
        struct pollfd poller = { .fd = fd, .events = POLLIN };
        if (poll(&poller, 1, (int)left_ms) == 1 && recv(fd, bytes, sizeof(bytes), 0) <= 0) {
            return true;
        }
    }
    return false;
}

struct str reply_header(const struct reply *reply, const char *name) {
    struct str rest = str_from(reply->head);
    bool has_more = true;
    while (has_more) {
        struct str line;
        struct str key;
        struct str value;
        has_more = str_cut(rest, '\n', &line, &rest);
        if (str_cut(line, ':', &key, &value) && str_eq_nocase(key, str_from(name))) {
            return str_trim(value);
        }
    }
    return (struct str){ .ptr = "" };
}

/* One line without its CR LF, byte by byte so that nothing of the next reply is taken. */
static bool read_line(int fd, char *out, size_t bytes_max) {
    size_t len = 0;
    while (len + 1 < bytes_max && recv(fd, out + len, 1, 0) == 1) {
        if (out[len] == '\n') {
            out[len - (len > 0 && out[len - 1] == '\r')] = '\0';
            return true;
        }
        len++;
    }
    out[len] = '\0';
    return false;
}

static bool read_bytes(int fd, size_t len, struct buf *out) {
    char piece[16384];
    while (len > 0) {
        ssize_t got = recv(fd, piece, len < sizeof(piece) ? len : sizeof(piece), 0);
        if (got <= 0) {
            return false;
        }
        buf_append(out, piece, (size_t)got);
        len -= (size_t)got;
    }
    return true;
}

static bool read_chunks(int fd, struct buf *out) {
    char line[256];
    while (read_line(fd, line, sizeof(line))) {
        size_t len = strtoul(line, NULL, 16);
        if (!read_bytes(fd, len, out) || !read_line(fd, line, sizeof(line))) {
            return false;
        }
        if (len == 0) {
            return true;
        }
    }
    return false;
}

static bool read_head(int fd, struct reply *ret) {
    char line[4096];
    size_t len = 0;
    ret->head[0] = '\0';
    if (!read_line(fd, line, sizeof(line)) || strncmp(line, "HTTP/1.1 ", 9) != 0) {
        return false;
    }
    ret->status = (int)strtol(line + 9, NULL, 10);
    while (read_line(fd, line, sizeof(line))) {
        if (line[0] == '\0') {
            return true;
        }
        len += (size_t)snprintf(ret->head + len, sizeof(ret->head) - len, "%s\n", line);
        assert_true(len < sizeof(ret->head));
    }
    ret->status = 0;
    return false;
}

void client_read(int fd, bool is_head, struct reply *ret) {
    *ret = (struct reply){ 0 };
    buf_init(&ret->body, 1u << 30);
    do {
        ret->status = 0;
        if (!read_head(fd, ret)) {
            ret->is_cut = true;
            return;
        }
        ret->interim_100 += ret->status == 100;
    } while (ret->status == 100);
    uint64_t len;
    buf_cstr(&ret->body, "");
    if (is_head || ret->status == 204) {
        return;
    }
    if (str_parse_u64(reply_header(ret, "Content-Length"), &len)) {
        ret->is_cut = !read_bytes(fd, (size_t)len, &ret->body);
    } else if (str_eq_c(reply_header(ret, "Transfer-Encoding"), "chunked")) {
        ret->is_cut = !read_chunks(fd, &ret->body);
    } else {
        ret->has_closed = true;
        (void)read_bytes(fd, SIZE_MAX, &ret->body);
    }
}

void reply_finish(struct reply *reply) {
    buf_finish(&reply->body);
}

void ask_raw(struct site *site, struct str bytes, struct reply *ret) {
    int fd = client_open(site);
    (void)client_send(fd, bytes.ptr, bytes.len);
    client_read(fd, str_starts_with(bytes, STR("HEAD ")), ret);
    client_close(fd);
}

void ask(struct site *site,
         const char *method,
         const char *target,
         const char *headers,
         struct str body,
         struct reply *ret) {
    struct buf request;
    buf_init(&request, 1u << 30);
    buf_cstr(&request, method);
    buf_putc(&request, ' ');
    buf_cstr(&request, target);
    buf_cstr(&request, " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    buf_cstr(&request, headers);
    if (body.len > 0 || strcmp(method, "POST") == 0) {
        buf_printf(&request, "Content-Length: %zu\r\n", body.len);
    }
    buf_cstr(&request, "\r\n");
    buf_str(&request, body);
    ask_raw(site, buf_as_str(&request), ret);
    buf_finish(&request);
}

void assert_get(struct site *site, const char *target, int status, const char *expected) {
    struct reply reply;
    ask(site, "GET", target, "", STR(""), &reply);
    struct str body = buf_as_str(&reply.body);
    size_t mark = strlen("…");
    bool is_part = strncmp(expected, "…", mark) == 0;
    bool is_ok =
        is_part ? str_find(body, str_from(expected + mark)) != SIZE_MAX : str_eq_c(body, expected);
    if (reply.status != status || !is_ok) {
        fail_msg("GET %s: %d %s\nexpected: %d %s", target, reply.status, reply.body.ptr, status,
                 expected);
    }
    reply_finish(&reply);
}
