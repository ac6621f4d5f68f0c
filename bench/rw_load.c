/*
 * Load generator: remote write 1.0 over keep-alive connections.
 *
 *   rw_load HOST:PORT PATH [--series=N] [--rounds=N] [--start-ms=T] [--step-ms=15000] [--seed=1]
 *           [--data=simple|mixed] [--churn=PERCENT] [--rate=SAMPLES] [--connections=1]
 *
 * Every round writes one sample per series in requests of 2,000 samples, in target order (see
 * rw_series.h). --churn replaces so many percent of the series per minute of sample time; --rate
 * bounds the samples per second (0: as fast as acknowledged); --connections share the series out.
 * Prints one line of JSON: samples, created, seconds, requests, ack_p50_ms, ack_p99_ms. Exits 1 on
 * the first reply that is not 2xx.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compress.h"
#include "base/mem.h"
#include "base/pb.h"
#include "bench/rw_series.h"

enum {
    REQUEST_SAMPLES = 2000,
    REPLY_BYTES_MAX = 65536,
    CONNECTIONS_MAX = 64,
};

struct options {
    const char *host;
    const char *path;
    uint64_t series;
    uint64_t rounds;
    uint64_t start_ms;
    uint64_t step_ms;
    uint64_t seed;
    uint64_t churn;
    uint64_t rate;
    uint64_t connections;
    enum series_data data;
};

/* One connection and its share of the series. */
struct load {
    const struct options *options;
    int fd;
    size_t first;
    size_t count;
    struct rw_series *set;
    struct buf body;
    struct buf packed;
    struct buf request;
    double *ack_ms;
    size_t ack_count;
    size_t ack_cap;
    uint64_t sent;    /* samples */
    uint64_t created; /* series */
    int64_t start_ns;
    pthread_t thread;
};

static void die(const char *what) {
    fprintf(stderr, "rw_load: %s\n", what);
    exit(1);
}

/* ---- the wire ---- */

static void append_timeseries(struct load *load, size_t index, int64_t t_ms, double value) {
    uint8_t sample[32];
    size_t sample_len = 0;
    struct str labels = rw_series_labels(load->set, index);
    sample[sample_len++] = 1 << 3 | PB_FIXED64;
    memcpy(sample + sample_len, &value, sizeof(value));
    sample_len += sizeof(value);
    sample[sample_len++] = 2 << 3 | PB_VARINT;
    for (uint64_t t = (uint64_t)t_ms;; t >>= 7) {
        if (t < 128) {
            sample[sample_len++] = (uint8_t)t;
            break;
        }
        sample[sample_len++] = (uint8_t)(t | 128);
    }
    buf_putc(&load->body, 1 << 3 | PB_BYTES);
    pb_put_varint(&load->body, labels.len + 2 + sample_len);
    buf_str(&load->body, labels);
    buf_putc(&load->body, 2 << 3 | PB_BYTES);
    buf_putc(&load->body, (char)sample_len);
    buf_append(&load->body, sample, sample_len);
}

static int connect_to(const char *host) {
    struct str name;
    struct str port;
    if (!str_cut(str_from(host), ':', &name, &port)) {
        die("expected HOST:PORT");
    }
    char node[256];
    snprintf(node, sizeof(node), "%.*s", STR_FMT(name));
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    if (getaddrinfo(node, port.ptr, &hints, &found) != 0) {
        die("cannot resolve the host");
    }
    int fd = socket(found->ai_family, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        die("cannot connect");
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    freeaddrinfo(found);
    return fd;
}

static void send_all(int fd, struct str bytes) {
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (sent <= 0) {
            die("connection lost while sending");
        }
        bytes = str_n(bytes.ptr + sent, bytes.len - (size_t)sent);
    }
}

/* Reads one reply (headers and a Content-Length body) and checks its status. */
static void read_reply(int fd) {
    char reply[REPLY_BYTES_MAX];
    size_t len = 0;
    for (;;) {
        ssize_t got = recv(fd, reply + len, sizeof(reply) - 1 - len, 0);
        if (got <= 0) {
            die("connection lost while waiting for the reply");
        }
        len += (size_t)got;
        reply[len] = '\0';
        const char *end = strstr(reply, "\r\n\r\n");
        if (end == NULL) {
            continue;
        }
        if (len < 12 || reply[9] != '2') {
            fprintf(stderr, "rw_load: %.*s\n", (int)len, reply);
            exit(1);
        }
        const char *length = strcasestr(reply, "content-length:");
        size_t body = length == NULL || length > end ? 0 : strtoul(length + 15, NULL, 10);
        if (len >= (size_t)(end + 4 - reply) + body) {
            return;
        }
    }
}

/* Not before its turn at --rate. */
static void wait_for_turn(const struct load *load) {
    if (load->options->rate == 0) {
        return;
    }
    double share =
        (double)load->options->rate * (double)load->count / (double)load->options->series;
    int64_t due_ns = load->start_ns + (int64_t)((double)load->sent / share * 1e9);
    for (;;) {
        int64_t left_ms = (due_ns - clock_mono_ns(clock_system())) / 1000000;
        if (left_ms <= 0) {
            return;
        }
        (void)poll(NULL, 0, (int)left_ms);
    }
}

static void post(struct load *load, size_t samples) {
    snappy_block_encode(buf_as_str(&load->body), &load->packed);
    buf_reset(&load->request);
    buf_printf(&load->request,
               "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Encoding: snappy\r\n"
               "Content-Type: application/x-protobuf\r\n"
               "X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: %zu\r\n\r\n",
               load->options->path, load->options->host, load->packed.len);
    buf_str(&load->request, buf_as_str(&load->packed));
    wait_for_turn(load);
    int64_t start_ns = clock_mono_ns(clock_system());
    send_all(load->fd, buf_as_str(&load->request));
    read_reply(load->fd);
    double ack_ms = (double)(clock_mono_ns(clock_system()) - start_ns) / 1e6;
    load->ack_ms =
        vec_grow(load->ack_ms, &load->ack_cap, load->ack_count + 1, sizeof(load->ack_ms[0]));
    load->ack_ms[load->ack_count++] = ack_ms;
    load->sent += samples;
    buf_reset(&load->body);
    buf_reset(&load->packed);
}

/* ---- rounds ---- */

static void replace_some(struct load *load, uint64_t round) {
    const struct options *options = load->options;
    double per_round =
        (double)load->count * (double)options->churn / 100 * (double)options->step_ms / 60000;
    uint64_t begin = (uint64_t)(per_round * (double)round);
    uint64_t end = (uint64_t)(per_round * (double)(round + 1));
    for (uint64_t i = begin; i < end; i++) {
        rw_series_replace(load->set, i % load->count);
        load->created++;
    }
}

static void *run_load(void *arg) {
    struct load *load = arg;
    const struct options *options = load->options;
    load->start_ns = clock_mono_ns(clock_system());
    for (uint64_t round = 0; round < options->rounds; round++) {
        if (options->churn > 0 && round > 0) {
            replace_some(load, round);
        }
        int64_t t_ms = (int64_t)(options->start_ms + round * options->step_ms);
        size_t pending = 0;
        for (size_t i = 0; i < load->count; i++) {
            append_timeseries(load, i, t_ms, rw_series_next(load->set, i, round));
            pending++;
            if (pending == REQUEST_SAMPLES || i + 1 == load->count) {
                post(load, pending);
                pending = 0;
            }
        }
    }
    return NULL;
}

static void load_init(struct load *load, const struct options *options, size_t number) {
    size_t targets = (options->series + TARGET_SERIES - 1) / TARGET_SERIES;
    size_t first = targets * number / options->connections * TARGET_SERIES;
    size_t end = targets * (number + 1) / options->connections * TARGET_SERIES;
    end = end > options->series ? options->series : end;
    *load = (struct load){ .options = options, .first = first, .count = end - first };
    struct rw_series_params params = {
        .data = options->data,
        .first = first,
        .count = load->count,
        .rounds = options->rounds,
        .seed = options->seed,
    };
    load->set = rw_series_create(&params);
    load->created = load->count;
    buf_init(&load->body, 64u << 20);
    buf_init(&load->packed, 64u << 20);
    buf_init(&load->request, 64u << 20);
    load->fd = connect_to(options->host);
}

static void load_finish(struct load *load) {
    rw_series_destroy(load->set);
    buf_finish(&load->body);
    buf_finish(&load->packed);
    buf_finish(&load->request);
    mem_free(load->ack_ms);
    close(load->fd);
}

/* ---- the whole ---- */

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static void read_option(struct options *options, const char *text) {
    static const struct {
        const char *name;
        size_t offset;
    } numbers[] = {
        { "--series", offsetof(struct options, series) },
        { "--rounds", offsetof(struct options, rounds) },
        { "--start-ms", offsetof(struct options, start_ms) },
        { "--step-ms", offsetof(struct options, step_ms) },
        { "--seed", offsetof(struct options, seed) },
        { "--churn", offsetof(struct options, churn) },
        { "--rate", offsetof(struct options, rate) },
        { "--connections", offsetof(struct options, connections) },
    };
    struct str name;
    struct str value;
    (void)str_cut(str_from(text), '=', &name, &value);
    if (str_eq_c(name, "--data") && str_eq_c(value, "mixed")) {
        options->data = DATA_MIXED;
        return;
    }
    if (str_eq_c(name, "--data") && str_eq_c(value, "simple")) {
        options->data = DATA_SIMPLE;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (str_eq_c(name, numbers[i].name) &&
            str_parse_u64(value, (uint64_t *)(void *)((char *)options + numbers[i].offset))) {
            return;
        }
    }
    fprintf(stderr, "rw_load: cannot read %s\n", text);
    exit(1);
}

static void print_result(struct load *loads, size_t count, double seconds) {
    uint64_t samples = 0;
    uint64_t created = 0;
    double *ack_ms = NULL;
    size_t ack_count = 0;
    size_t cap = 0;
    for (size_t i = 0; i < count; i++) {
        samples += loads[i].sent;
        created += loads[i].created;
        ack_ms = vec_grow(ack_ms, &cap, ack_count + loads[i].ack_count, sizeof(ack_ms[0]));
        memcpy(ack_ms + ack_count, loads[i].ack_ms, loads[i].ack_count * sizeof(ack_ms[0]));
        ack_count += loads[i].ack_count;
    }
    if (ack_count == 0) {
        die("nothing was sent");
    }
    qsort(ack_ms, ack_count, sizeof(ack_ms[0]), compare_doubles);
    printf("{\"samples\":%llu,\"created\":%llu,\"seconds\":%.3f,\"requests\":%zu,"
           "\"ack_p50_ms\":%.3f,\"ack_p99_ms\":%.3f}\n",
           (unsigned long long)samples, (unsigned long long)created, seconds, ack_count,
           ack_ms[ack_count / 2], ack_ms[ack_count * 99 / 100]);
    mem_free(ack_ms);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        die("usage: rw_load HOST:PORT PATH [--series=N] [--rounds=N] [--start-ms=T] …");
    }
    struct options options = {
        .host = argv[1],
        .path = argv[2],
        .series = 1000,
        .rounds = 1,
        .start_ms = 1700000000000,
        .step_ms = 15000,
        .seed = 1,
        .connections = 1,
    };
    for (int i = 3; i < argc; i++) {
        read_option(&options, argv[i]);
    }
    if (options.connections < 1 || options.connections > CONNECTIONS_MAX ||
        options.series < options.connections * TARGET_SERIES) {
        die("a connection has at least 500 series, and there are 1 to 64 of them");
    }
    if (options.data == DATA_MIXED && options.series % TARGET_SERIES != 0) {
        die("the mixed corpus comes in whole targets of 500 series");
    }
    struct load loads[CONNECTIONS_MAX];
    for (size_t i = 0; i < options.connections; i++) {
        load_init(&loads[i], &options, i);
    }
    int64_t start_ns = clock_mono_ns(clock_system());
    for (size_t i = 0; i < options.connections; i++) {
        if (pthread_create(&loads[i].thread, NULL, run_load, &loads[i]) != 0) {
            die("cannot start a thread");
        }
    }
    for (size_t i = 0; i < options.connections; i++) {
        pthread_join(loads[i].thread, NULL);
    }
    double seconds = (double)(clock_mono_ns(clock_system()) - start_ns) / 1e9;
    print_result(loads, options.connections, seconds);
    for (size_t i = 0; i < options.connections; i++) {
        load_finish(&loads[i]);
    }
    return 0;
}
