/*
 * Load generator: remote write 1.0 over one keep-alive connection.
 *
 *   rw_load HOST:PORT PATH SERIES ROUNDS START_MS STEP_MS [SEED]
 *
 * SERIES series with 11 labels each in targets of 500; every round writes one sample per series in
 * requests of 2,000 samples, in target order. Prints one line of JSON: samples, seconds, requests,
 * ack_p50_ms, ack_p99_ms. Exits 1 on the first reply that is not 2xx.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compress.h"
#include "base/mem.h"
#include "base/pb.h"

enum {
    TARGET_SERIES = 500,
    REQUEST_SAMPLES = 2000,
    REPLY_BYTES_MAX = 65536,
};

struct series {
    size_t offset; /* of its encoded labels */
    uint32_t len;
    uint32_t kind;
    double value;
};

struct load {
    int fd;
    const char *host;
    const char *path;
    struct series *series;
    size_t series_count;
    struct buf labels; /* encoded Label messages of all series */
    struct buf body;
    struct buf packed;
    struct buf request;
    double *ack_ms;
    size_t ack_count;
    size_t ack_cap;
    uint64_t state; /* random */
};

static uint64_t next_random(struct load *load) {
    load->state ^= load->state << 13;
    load->state ^= load->state >> 7;
    load->state ^= load->state << 17;
    return load->state;
}

static void die(const char *what) {
    fprintf(stderr, "rw_load: %s\n", what);
    exit(1);
}

/* ---- series ---- */

static void add_label(struct load *load, const char *name, const char *value) {
    struct buf label;
    buf_init(&label, 1024);
    pb_put_bytes(&label, 1, str_from(name));
    pb_put_bytes(&label, 2, str_from(value));
    pb_put_bytes(&load->labels, 1, buf_as_str(&label));
    buf_finish(&label);
}

PRINTF_LIKE(3, 4)

static void add_labelf(struct load *load, const char *name, const char *fmt, ...) {
    char text[128];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    add_label(load, name, text);
}

/* Eleven labels, sorted by name. Every twelfth kind of metric is a histogram's bucket. */
static void make_series(struct load *load, size_t index) {
    static const char *const metrics[] = {
        "http_requests_total",       "http_request_duration_seconds_bucket",
        "llm_tokens_total",          "llm_request_latency_seconds_bucket",
        "process_cpu_seconds_total", "container_memory_working_set_bytes",
        "grpc_server_handled_total", "queue_depth",
        "gpu_utilization_ratio",     "kv_cache_usage_ratio",
        "db_connections_open",       "rpc_duration_seconds_sum",
    };
    static const char *const bounds[] = { "0.005", "0.01", "0.025", "0.05", "0.1", "0.25",
                                          "0.5",   "1",    "2.5",   "5",    "10",  "+Inf" };
    unsigned target = (unsigned)(index / TARGET_SERIES);
    unsigned within = (unsigned)(index % TARGET_SERIES);
    struct series *series = &load->series[index];
    series->offset = load->labels.len;
    series->kind = within / 12 % 12;
    add_label(load, "__name__", metrics[series->kind]);
    add_labelf(load, "cluster", "prod-eu-west-%u", target % 3);
    add_labelf(load, "container", "app-%u", target % 5);
    add_labelf(load, "handler", "/v1/resource/%u", within / 144);
    add_labelf(load, "instance", "10.%u.%u.%u:9090", target >> 16 & 255, target >> 8 & 255,
               target & 255);
    add_labelf(load, "job", "kubernetes-pods-%u", target % 20);
    add_label(load, "le", bounds[within % 12]);
    add_labelf(load, "namespace", "team-%u", target % 30);
    add_labelf(load, "node", "ip-10-%u-%u.eu-west-1.compute.internal", target / 20 >> 6,
               target / 20 & 63);
    add_labelf(load, "pod", "app-%08x-%05x", target * 2654435761U, target * 40503U & 0xfffffU);
    add_labelf(load, "tenant", "t%u", within / 7 % 50);
    series->len = (uint32_t)(load->labels.len - series->offset);
    series->value = (double)(next_random(load) % 100000);
}

/* A third constant, a third counters, the rest gauges with two decimals. */
static double next_value(struct load *load, struct series *series) {
    uint64_t random = next_random(load);
    if (series->kind % 3 == 1) {
        series->value += (double)(random % 50);
    } else if (series->kind % 3 == 2) {
        series->value += ((double)(random % 201) - 100) / 100;
    }
    return series->value;
}

/* ---- the wire ---- */

static void append_timeseries(struct load *load, struct series *series, int64_t t_ms) {
    uint8_t sample[32];
    size_t sample_len = 0;
    double value = next_value(load, series);
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
    pb_put_varint(&load->body, series->len + 2 + sample_len);
    buf_append(&load->body, load->labels.ptr + series->offset, series->len);
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

static void post(struct load *load) {
    snappy_block_encode(buf_as_str(&load->body), &load->packed);
    buf_reset(&load->request);
    buf_printf(&load->request,
               "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Encoding: snappy\r\n"
               "Content-Type: application/x-protobuf\r\n"
               "X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: %zu\r\n\r\n",
               load->path, load->host, load->packed.len);
    buf_str(&load->request, buf_as_str(&load->packed));
    int64_t start_ns = clock_mono_ns(clock_system());
    send_all(load->fd, buf_as_str(&load->request));
    read_reply(load->fd);
    double ack_ms = (double)(clock_mono_ns(clock_system()) - start_ns) / 1e6;
    load->ack_ms =
        vec_grow(load->ack_ms, &load->ack_cap, load->ack_count + 1, sizeof(load->ack_ms[0]));
    load->ack_ms[load->ack_count++] = ack_ms;
    buf_reset(&load->body);
    buf_reset(&load->packed);
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static uint64_t number(const char *text) {
    uint64_t value;
    if (!str_parse_u64(str_from(text), &value)) {
        die("expected a number");
    }
    return value;
}

int main(int argc, char **argv) {
    if (argc < 7) {
        die("usage: rw_load HOST:PORT PATH SERIES ROUNDS START_MS STEP_MS [SEED]");
    }
    struct load load = { .host = argv[1], .path = argv[2], .series_count = number(argv[3]) };
    load.state = (argc > 7 ? number(argv[7]) : 1) * 2654435761U + 88172645463325252U;
    uint64_t rounds = number(argv[4]);
    int64_t t_ms = (int64_t)number(argv[5]);
    int64_t step_ms = (int64_t)number(argv[6]);
    buf_init(&load.labels, SIZE_MAX / 2);
    buf_init(&load.body, 64u << 20);
    buf_init(&load.packed, 64u << 20);
    buf_init(&load.request, 64u << 20);
    load.series = mem_calloc(load.series_count, sizeof(load.series[0]));
    for (size_t i = 0; i < load.series_count; i++) {
        make_series(&load, i);
    }
    load.fd = connect_to(load.host);
    int64_t start_ns = clock_mono_ns(clock_system());
    for (uint64_t round = 0; round < rounds; round++, t_ms += step_ms) {
        for (size_t i = 0; i < load.series_count; i++) {
            append_timeseries(&load, &load.series[i], t_ms);
            if ((i + 1) % REQUEST_SAMPLES == 0 || i + 1 == load.series_count) {
                post(&load);
            }
        }
    }
    double seconds = (double)(clock_mono_ns(clock_system()) - start_ns) / 1e9;
    qsort(load.ack_ms, load.ack_count, sizeof(load.ack_ms[0]), compare_doubles);
    printf("{\"samples\":%llu,\"seconds\":%.3f,\"requests\":%zu,\"ack_p50_ms\":%.3f,"
           "\"ack_p99_ms\":%.3f}\n",
           (unsigned long long)(rounds * load.series_count), seconds, load.ack_count,
           load.ack_ms[load.ack_count / 2], load.ack_ms[load.ack_count * 99 / 100]);
    return 0;
}
