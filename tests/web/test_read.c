/*
 * Goal: remote read gives back every sample bit by bit, in both shapes, whatever the pace of the
 * reader, and leaves nothing behind when the reader, or the server, goes away.
 * Method: requests and replies through an independent decoder of protobuf and frames; chunks are
 * decoded in test_xor_chunk.c and by upstream in tests/e2e.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/compress.h"
#include "base/hash.h"
#include "base/pb.h"
#include "tests/web/site.h"
#include "web/server.h"

enum {
    SERIES = 300, /* three blocks of a stream, far more than the sockets hold */
    SAMPLES = 1000,
    STREAMED = 1,
};

/* Random bits: nothing compresses, every block is as large as it gets. */
static double sample_value(int series, int sample) {
    uint64_t seed = (uint64_t)series << 32 | (uint64_t)sample;
    uint64_t bits = hash_bytes(str_n((const char *)&seed, sizeof(seed)));
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static int64_t sample_ms(int sample) {
    return FIXTURE_NOW_MS - (int64_t)(SAMPLES - 1 - sample) * 1000;
}

static void fill(struct site *site, int series_count) {
    struct err err = ERR_INIT;
    arena_reset(&site->store.arena);
    for (int i = 0; i < series_count; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%04d", i);
        series_ref_t ref = make_series(&site->store, "large", PAIRS("i", name));
        struct tsdb_batch *batch = NULL;
        assert_true(tsdb_batch_begin(site->store.db, TSDB_STATE, &batch, &err));
        for (int j = 0; j < SAMPLES; j++) {
            tsdb_batch_append(batch, ref, sample_ms(j), sample_value(i, j));
        }
        assert_true(tsdb_commit_blocking(batch, NULL, &err));
    }
}

static int setup(void **state) {
    static struct site site;
    site_init(&site);
    site.send_buffer_bytes = 65536;
    site_open(&site);
    fill(&site, SERIES);
    *state = &site;
    return 0;
}

static int teardown(void **state) {
    site_finish(*state);
    return 0;
}

/* ---- requests ---- */

static void put_matcher(struct buf *query, uint64_t type, const char *name, const char *value) {
    struct buf matcher;
    buf_init(&matcher, 1024);
    pb_put_uint(&matcher, 1, type);
    pb_put_bytes(&matcher, 2, str_from(name));
    pb_put_bytes(&matcher, 3, str_from(value));
    pb_put_bytes(query, 3, buf_as_str(&matcher));
    buf_finish(&matcher);
}

/* One query of `name` (or of label matchers {"a", "b", NULL}) over a range. */
static void put_query(struct buf *out, int64_t start_ms, int64_t end_ms, const char *const *pairs) {
    struct buf query;
    buf_init(&query, 4096);
    pb_put_uint(&query, 1, (uint64_t)start_ms);
    pb_put_uint(&query, 2, (uint64_t)end_ms);
    for (; pairs[0] != NULL; pairs += 2) {
        put_matcher(&query, MATCH_EQ, pairs[0], pairs[1]);
    }
    pb_put_bytes(&query, 4, STR("\x08\x01")); /* hints: step_ms = 1 */
    pb_put_bytes(out, 1, buf_as_str(&query));
    buf_finish(&query);
}

/* The HTTP request around a ReadRequest, in *ret. */
static void make_request(struct str message, const char *version, struct buf *ret) {
    struct buf body;
    buf_init(&body, 1 << 20);
    buf_init(ret, 1 << 20);
    snappy_block_encode(message, &body);
    buf_printf(ret,
               "POST /api/v1/read %s\r\nHost: a\r\nContent-Encoding: snappy\r\n"
               "Content-Type: application/x-protobuf\r\nAccept-Encoding: gzip\r\n"
               "Content-Length: %zu\r\n\r\n",
               version, body.len);
    buf_str(ret, buf_as_str(&body));
    buf_finish(&body);
}

/* All of "large", streamed. */
static void make_large(const char *version, struct buf *ret) {
    struct buf message;
    buf_init(&message, 4096);
    put_query(&message, 0, FIXTURE_NOW_MS, PAIRS("__name__", "large"));
    pb_put_bytes(&message, 2, STR("\x01\x00")); /* packed: STREAMED_XOR_CHUNKS, SAMPLES */
    make_request(buf_as_str(&message), version, ret);
    buf_finish(&message);
}

static void send_large(int fd, const char *version) {
    struct buf request;
    make_large(version, &request);
    assert_true(client_send(fd, request.ptr, request.len));
    buf_finish(&request);
}

/* ---- frames ---- */

struct totals {
    size_t frames;
    size_t series; /* runs of frames with the same labels */
    size_t samples;
    size_t largest_frame;
    int64_t last_ms;     /* of the present series */
    struct str last_key; /* its labels, as they came */
    uint64_t query_index;
};

static void count_chunk(struct str message, struct totals *totals) {
    struct pb_reader reader = pb_reader_init(message);
    struct pb_field field;
    int64_t min_ms = 0;
    int64_t max_ms = 0;
    while (pb_next(&reader, &field)) {
        if (field.number == 1) {
            min_ms = (int64_t)field.value;
        } else if (field.number == 2) {
            max_ms = (int64_t)field.value;
        } else if (field.number == 3) {
            assert_int_equal(field.value, 1);
        } else if (field.number == 4) {
            totals->samples +=
                (size_t)((uint8_t)field.bytes.ptr[0] << 8) | (size_t)(uint8_t)field.bytes.ptr[1];
        }
    }
    assert_false(reader.is_bad);
    assert_true(min_ms > totals->last_ms && max_ms >= min_ms);
    totals->last_ms = max_ms;
}

static void count_series(struct str message, struct totals *totals) {
    struct pb_reader reader = pb_reader_init(message);
    struct pb_field field;
    const char *labels_end = message.ptr;
    while (pb_next(&reader, &field) && field.number == 1) {
        labels_end = (const char *)reader.pos;
    }
    struct str key = str_n(message.ptr, (size_t)(labels_end - message.ptr));
    if (!str_eq(key, totals->last_key)) {
        assert_true(str_cmp(totals->last_key, key) < 0); /* sorted; of one length here */
        totals->series++;
        totals->last_key = key;
        totals->last_ms = INT64_MIN;
    }
    reader = pb_reader_init(message);
    while (pb_next(&reader, &field)) {
        if (field.number == 2) {
            count_chunk(field.bytes, totals);
        }
    }
    assert_false(reader.is_bad);
}

static void count_frames(struct str body, struct totals *totals) {
    *totals = (struct totals){ .last_ms = INT64_MIN };
    for (size_t at = 0; at < body.len;) {
        size_t len = 0;
        for (unsigned shift = 0;; shift += 7) {
            uint8_t byte = (uint8_t)body.ptr[at++];
            len |= (size_t)(byte & 127) << shift;
            if (byte < 128) {
                break;
            }
        }
        uint32_t crc = 0;
        for (int i = 0; i < 4; i++) {
            crc = crc << 8 | (uint8_t)body.ptr[at++];
        }
        assert_true(at + len <= body.len);
        assert_int_equal(crc, hash_crc32c(0, body.ptr + at, len));
        struct pb_reader reader = pb_reader_init(str_n(body.ptr + at, len));
        struct pb_field field;
        while (pb_next(&reader, &field)) {
            if (field.number == 1) {
                count_series(field.bytes, totals);
            } else {
                totals->query_index = field.value;
            }
        }
        assert_false(reader.is_bad);
        totals->frames++;
        totals->largest_frame = len > totals->largest_frame ? len : totals->largest_frame;
        at += len;
    }
}

static void assert_complete(const struct reply *reply) {
    struct totals totals;
    assert_int_equal(reply->status, 200);
    assert_false(reply->is_cut);
    assert_true(str_eq_c(reply_header(reply, "Content-Type"),
                         "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"));
    assert_int_equal(reply_header(reply, "Content-Encoding").len, 0);
    count_frames(buf_as_str(&reply->body), &totals);
    assert_int_equal(totals.series, SERIES);
    assert_int_equal(totals.samples, (size_t)SERIES * SAMPLES);
    assert_true(totals.largest_frame < (1 << 20) + 8192);
}

/* ---- streams ---- */

static void test_stream(void **state) {
    struct site *site = *state;
    struct reply reply;
    int fd = client_open(site);
    for (int i = 0; i < 2; i++) { /* the connection goes on */
        send_large(fd, "HTTP/1.1");
        client_read(fd, false, &reply);
        assert_complete(&reply);
        assert_false(reply.has_closed);
        reply_finish(&reply);
    }
    client_close(fd);
    fd = client_open(site);
    send_large(fd, "HTTP/1.0");
    client_read(fd, false, &reply);
    assert_true(reply.has_closed);
    assert_complete(&reply);
    reply_finish(&reply);
    client_close(fd);
}

/* A small window and many small reads: the stream is suspended between its blocks. */
static void test_slow_reader(void **state) {
    struct site *site = *state;
    struct reply reply;
    site->receive_buffer_bytes = 65536;
    int fd = client_open(site);
    site->receive_buffer_bytes = 0;
    send_large(fd, "HTTP/1.1");
    assert_get(site, "/-/healthy", 200, "tocsin is Healthy.\n");
    client_read(fd, false, &reply);
    assert_complete(&reply);
    reply_finish(&reply);
    client_close(fd);
}

/* Time passes between blocks: the snapshot is given back, and the place found again. */
static void test_old_snapshot(void **state) {
    struct site *site = *state;
    struct reply reply = { 0 };
    char bytes[32 << 10];
    struct buf raw;
    buf_init(&raw, 64u << 20);
    site->receive_buffer_bytes = 65536;
    int fd = client_open(site);
    site->receive_buffer_bytes = 0;
    send_large(fd, "HTTP/1.0");
    for (size_t reads = 0;; reads++) {
        ssize_t len = recv(fd, bytes, sizeof(bytes), 0);
        assert_true(len >= 0);
        if (len == 0) {
            break;
        }
        buf_append(&raw, bytes, (size_t)len);
        if (reads % 8 == 0) { /* less than the pace of a reader allows */
            fake_clock_advance(&site->store.clock, 31000);
        }
    }
    client_close(fd);
    size_t body = str_find(buf_as_str(&raw), STR("\r\n\r\n")) + 4;
    struct totals totals;
    count_frames(str_n(raw.ptr + body, raw.len - body), &totals);
    assert_int_equal(totals.series, SERIES);
    assert_int_equal(totals.samples, (size_t)SERIES * SAMPLES);
    buf_finish(&raw);
    reply_finish(&reply);
}

static void wait_no_reads(struct site *site) {
    for (int64_t end_ms = real_ms() + 20000; site->web->read_count > 0;) {
        assert_true(real_ms() < end_ms);
    }
}

static void test_abort(void **state) {
    struct site *site = *state;
    for (int i = 0; i < 20; i++) {
        char bytes[8192];
        site->receive_buffer_bytes = i % 2 == 0 ? 65536 : 0;
        int fd = client_open(site);
        send_large(fd, "HTTP/1.1");
        for (int j = 0; j < i * 8; j++) {
            assert_true(recv(fd, bytes, sizeof(bytes), 0) > 0);
        }
        struct linger reset = { .l_onoff = i % 3 == 0 };
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        client_close(fd);
    }
    site->receive_buffer_bytes = 0;
    wait_no_reads(site);
    site_wait_active(site, 1);
}

static void test_concurrency(void **state) {
    struct site *site = *state;
    int fds[10];
    struct reply reply;
    site->receive_buffer_bytes = 65536;
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        char byte;
        fds[i] = client_open(site);
        send_large(fds[i], "HTTP/1.1");
        assert_int_equal(recv(fds[i], &byte, 1, MSG_PEEK), 1); /* has begun */
    }
    site->receive_buffer_bytes = 0;
    struct buf request;
    make_large("HTTP/1.1", &request);
    ask_raw(site, buf_as_str(&request), &reply);
    assert_int_equal(reply.status, 503);
    assert_true(str_eq_c(reply_header(&reply, "Retry-After"), "1"));
    reply_finish(&reply);
    client_read(fds[0], false, &reply);
    assert_complete(&reply);
    reply_finish(&reply);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        client_close(fds[i]);
    }
    wait_no_reads(site);
    ask_raw(site, buf_as_str(&request), &reply);
    assert_complete(&reply);
    reply_finish(&reply);
    buf_finish(&request);
}

struct stopping {
    struct site *site;
    int64_t grace_ms;
};

static void *stop(void *ctx) {
    const struct stopping *stopping = ctx;
    web_stop(stopping->site->web, stopping->grace_ms);
    return NULL;
}

/* Within the grace a stream comes to its end; without one it breaks, and visibly so. */
static void test_stop(void **state) {
    (void)state;
    static const int64_t graces_ms[] = { 20000, 0 };
    for (size_t i = 0; i < ARRAY_LEN(graces_ms); i++) {
        struct site site;
        struct reply reply;
        struct stopping stopping = { .site = &site, .grace_ms = graces_ms[i] };
        char byte;
        pthread_t stopper;
        site_init(&site);
        site.send_buffer_bytes = 65536;
        site_open(&site);
        fill(&site, SERIES);
        site.receive_buffer_bytes = 65536;
        int fd = client_open(&site);
        send_large(fd, "HTTP/1.1");
        assert_int_equal(recv(fd, &byte, 1, MSG_PEEK), 1);
        pthread_create(&stopper, NULL, stop, &stopping);
        if (graces_ms[i] == 0) {
            pthread_join(stopper, NULL);
        }
        client_read(fd, false, &reply);
        if (graces_ms[i] == 0) {
            assert_true(reply.is_cut);
        } else {
            pthread_join(stopper, NULL);
            assert_complete(&reply);
        }
        reply_finish(&reply);
        client_close(fd);
        site_finish(&site);
    }
}

/* ---- sampled, and what both share ---- */

/* "name{labels}" is not of interest here: `t:bits` of every sample, series in brackets. */
static void print_result(struct str result, struct buf *out) {
    struct pb_reader reader = pb_reader_init(result);
    struct pb_field field;
    while (pb_next(&reader, &field)) {
        struct pb_reader series = pb_reader_sub(&reader, field.bytes);
        struct pb_field part;
        buf_putc(out, '[');
        while (pb_next(&series, &part)) {
            struct pb_reader inner = pb_reader_sub(&series, part.bytes);
            struct pb_field first = { 0 };
            struct pb_field second = { 0 };
            (void)pb_next(&inner, &first);
            (void)pb_next(&inner, &second);
            if (part.number == 1) {
                buf_printf(out, "%.*s=%.*s ", STR_FMT(first.bytes), STR_FMT(second.bytes));
            } else {
                buf_printf(out, "%" PRId64 ":%" PRIx64 " ", (int64_t)second.value, first.value);
            }
        }
        buf_putc(out, ']');
    }
    assert_false(reader.is_bad);
}

static void assert_read(struct site *site, struct str message, const char *expected) {
    struct buf request;
    struct buf text;
    struct buf out;
    struct reply reply;
    struct err err = ERR_INIT;
    make_request(message, "HTTP/1.1", &request);
    ask_raw(site, buf_as_str(&request), &reply);
    buf_init(&text, 1 << 20);
    buf_init(&out, 1 << 20);
    buf_cstr(&out, "");
    if (reply.status == 200) {
        assert_true(str_eq_c(reply_header(&reply, "Content-Type"), "application/x-protobuf"));
        assert_true(str_eq_c(reply_header(&reply, "Content-Encoding"), "snappy"));
        assert_true(snappy_block_decode(buf_as_str(&reply.body), &text, &err));
        struct pb_reader reader = pb_reader_init(buf_as_str(&text));
        struct pb_field field;
        while (pb_next(&reader, &field)) {
            print_result(field.bytes, &out);
            buf_putc(&out, ';');
        }
        assert_false(reader.is_bad);
    } else {
        assert_true(str_starts_with(reply_header(&reply, "Content-Type"), STR("text/plain")));
        buf_printf(&out, "%d %s", reply.status, reply.body.ptr);
    }
    assert_string_equal(out.ptr, expected);
    buf_finish(&out);
    buf_finish(&text);
    buf_finish(&request);
    reply_finish(&reply);
}

static double from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void test_sampled(void **state) {
    (void)state;
    struct site site;
    struct err err = ERR_INIT;
    struct buf m;
    site_init(&site);
    site_open(&site);
    buf_init(&m, 1 << 20);
    struct tsdb_batch *batch = NULL;
    assert_true(tsdb_batch_begin(site.store.db, TSDB_STATE, &batch, &err));
    series_ref_t a = make_series(&site.store, "m", PAIRS("a", "1"));
    series_ref_t b = make_series(&site.store, "m", PAIRS("a", "2", "zone", "own"));
    static const uint64_t values[] = { 0x7ff8000000000001, 0x7ff0000000000002, 0x7ff00000deadbeef,
                                       0xfff0000000000000, 0x8000000000000000, 1 };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) { /* NaNs, the stale marker, -Inf, -0, tiny */
        tsdb_batch_append(batch, a, FIXTURE_NOW_MS + (int64_t)i, from_bits(values[i]));
    }
    tsdb_batch_append(batch, b, FIXTURE_NOW_MS, 1);
    assert_true(tsdb_commit_blocking(batch, NULL, &err));

    put_query(&m, INT64_MIN, INT64_MAX, PAIRS("__name__", "m", "a", "1"));
    put_query(&m, FIXTURE_NOW_MS, FIXTURE_NOW_MS, PAIRS("__name__", "m"));
    put_query(&m, 0, 1, PAIRS("__name__", "m"));
    put_query(&m, 0, FIXTURE_NOW_MS, PAIRS("__name__", "none"));
    put_query(&m, 10, 5, PAIRS("__name__", "m"));
    assert_read(&site, buf_as_str(&m),
                "[__name__=m a=1 1700000000000:7ff8000000000001 1700000000001:7ff0000000000002 "
                "1700000000002:7ff00000deadbeef 1700000000003:fff0000000000000 "
                "1700000000004:8000000000000000 1700000000005:1 ];"
                "[__name__=m a=1 1700000000000:7ff8000000000001 ][__name__=m a=2 zone=own "
                "1700000000000:3ff0000000000000 ];;;;");
    /* External labels: added where absent; asked for, they are satisfied. */
    struct label external[] = { { .name = STR("zone"), .value = STR("x") } };
    web_set_external_labels(site.web, (struct labels){ .items = external, .count = 1 });
    buf_reset(&m);
    put_query(&m, FIXTURE_NOW_MS, FIXTURE_NOW_MS, PAIRS("__name__", "m"));
    put_query(&m, FIXTURE_NOW_MS, FIXTURE_NOW_MS, PAIRS("__name__", "m", "zone", "x"));
    put_query(&m, FIXTURE_NOW_MS, FIXTURE_NOW_MS, PAIRS("__name__", "m", "zone", "own"));
    put_query(&m, FIXTURE_NOW_MS, FIXTURE_NOW_MS, PAIRS("zone", "x"));
    assert_read(&site, buf_as_str(&m),
                "[__name__=m a=1 zone=x 1700000000000:7ff8000000000001 ]"
                "[__name__=m a=2 zone=own 1700000000000:3ff0000000000000 ];"
                "[__name__=m a=1 zone=x 1700000000000:7ff8000000000001 ];"
                "[__name__=m a=2 zone=own 1700000000000:3ff0000000000000 ];"
                "[__name__=m a=1 zone=x 1700000000000:7ff8000000000001 ];");
    buf_finish(&m);
    site_finish(&site);
}

static void test_negotiation(void **state) {
    struct site *site = *state;

    static const struct {
        const char *what;
        struct str types; /* field 2, as it comes */
        int status;
        const char *content_type; /* how it begins */
    } cases[] = {
        { "none", BYTES(""), 200, "application/x-protobuf" },
        { "samples", BYTES("\x10\x00"), 200, "application/x-protobuf" },
        { "streamed", BYTES("\x10\x01"), 200, "application/x-streamed-protobuf; proto=" },
        { "first one wins", BYTES("\x12\x02\x00\x01"), 200, "application/x-protobuf" },
        { "unknown ones are skipped", BYTES("\x12\x03\x07\x01\x00"), 200,
          "application/x-streamed-protobuf; proto=" },
        { "only unknown ones", BYTES("\x10\x07"), 400, "text/plain" },
        { "a long unknown one", BYTES("\x12\x02\x80\x01"), 400, "text/plain" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf message;
        struct buf request;
        struct reply reply;
        buf_init(&message, 4096);
        put_query(&message, 0, FIXTURE_NOW_MS, PAIRS("__name__", "absent"));
        buf_str(&message, cases[i].types);
        make_request(buf_as_str(&message), "HTTP/1.1", &request);
        ask_raw(site, buf_as_str(&request), &reply);
        if (reply.status != cases[i].status ||
            !str_starts_with(reply_header(&reply, "Content-Type"),
                             str_from(cases[i].content_type))) {
            fail_msg("%s: %d %s", cases[i].what, reply.status, reply.head);
        }
        reply_finish(&reply);
        buf_finish(&request);
        buf_finish(&message);
    }
}

static void test_bad_requests(void **state) {
    struct site *site = *state;
    struct reply reply;
    static const struct str bodies[] = {
        BYTES(""),                                 /* not even a length */
        BYTES("\xff\xff\xff\xff\x0f"),             /* claims 4 GiB */
        BYTES("\x02\x04\x0a\x05"),                 /* a query longer than the message */
        BYTES("\x03\x08\x0a\x01\x80"),             /* a varint without end */
        BYTES("\x06\x14\x0a\x04\x1a\x02\x08\x09"), /* matcher type 9 */
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        ask(site, "POST", "/api/v1/read", "", bodies[i], &reply);
        if (reply.status != 400) {
            fail_msg("%zu: %d %s", i, reply.status, reply.body.ptr);
        }
        assert_true(str_starts_with(reply_header(&reply, "Content-Type"), STR("text/plain")));
        reply_finish(&reply);
    }
    struct buf message;
    struct buf query;
    buf_init(&message, 4096);
    buf_init(&query, 4096);
    put_matcher(&query, MATCH_RE, "a", "(");
    pb_put_bytes(&message, 1, buf_as_str(&query));
    struct buf request;
    make_request(buf_as_str(&message), "HTTP/1.1", &request);
    ask_raw(site, buf_as_str(&request), &reply);
    assert_int_equal(reply.status, 400);
    reply_finish(&reply);
    buf_finish(&request);
    buf_finish(&query);
    buf_finish(&message);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),       cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_abort),        cmocka_unit_test(test_concurrency),
        cmocka_unit_test(test_old_snapshot), cmocka_unit_test(test_stop),
        cmocka_unit_test(test_sampled),      cmocka_unit_test(test_negotiation),
        cmocka_unit_test(test_bad_requests),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
