/*
 * Goal: requests are read, refused and answered as HTTP has it, at every limit and one past it.
 * Method: a server over real modules, raw bytes over loopback.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/compress.h"
#include "tests/web/site.h"
#include "web/request.h"

static int setup(void **state) {
    static struct site site;
    site_init(&site);
    site_open(&site);
    *state = &site;
    return 0;
}

static int teardown(void **state) {
    site_finish(*state);
    return 0;
}

#define GET(target) "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"

/* ---- what is refused ---- */

static const struct {
    const char *what;
    struct str bytes;
    int status;
    bool must_close;
} framing_cases[] = {
    { "plain", BYTES(GET("/health")), 200, false },
    { "HTTP/1.0", BYTES("GET /health HTTP/1.0\r\n\r\n"), 200, true },
    { "empty lines before", BYTES("\r\n\r\n" GET("/health")), 200, false },
    { "tabs around a value", BYTES("GET /health HTTP/1.1\r\nHost:\t a\r\nX: \t\r\n\r\n"), 200,
      false },
    { "two hosts", BYTES("GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400, true },
    { "no host", BYTES("GET /health HTTP/1.1\r\nA: b\r\n\r\n"), 400, true },
    { "two lengths",
      BYTES("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: "
            "1\r\n\r\nx"),
      400, true },
    { "length and coding",
      BYTES("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: "
            "chunked\r\n\r\n0\r\n\r\n"),
      400, true },
    { "odd coding",
      BYTES("POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"), 400,
      true },
    { "two codings",
      BYTES("POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
            "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
      400, true },
    { "coding in HTTP/1.0",
      BYTES("POST /v1/events HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400, true },
    { "length +1", BYTES("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx"), 400,
      true },
    { "length -1", BYTES("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx"), 400,
      true },
    { "length 1, 1", BYTES("POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx"),
      400, true },
    { "space before the colon",
      BYTES("POST /v1/events HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n"), 400,
      true },
    { "bare LF after the request line", BYTES("GET /health HTTP/1.1\nHost: a\r\n\r\n"), 400, true },
    { "bare LF after a header", BYTES("GET /health HTTP/1.1\r\nHost: a\nB: c\r\n\r\n"), 400, true },
    { "bare LF at the end", BYTES("GET /health HTTP/1.1\r\nHost: a\r\n\n"), 400, true },
    { "bare LF everywhere", BYTES("GET /health HTTP/1.1\nHost: a\n\n"), 400, true },
    { "bare CR in a value", BYTES("GET /health HTTP/1.1\r\nHost: a\r\nB: c\rd\r\n\r\n"), 400,
      true },
    { "NUL in a value", BYTES("GET /health HTTP/1.1\r\nHost: a\r\nB: c\0d\r\n\r\n"), 400, true },
    { "NUL in a name", BYTES("GET /health HTTP/1.1\r\nHost: a\r\nB\0c: d\r\n\r\n"), 400, true },
    { "NUL in the target", BYTES("GET /health\0x HTTP/1.1\r\nHost: a\r\n\r\n"), 400, true },
    { "a folded value", BYTES("GET /health HTTP/1.1\r\nHost: a\r\nB: c\r\n d\r\n\r\n"), 400, true },
    { "a folded last value", BYTES("GET /health HTTP/1.1\r\nB: c\r\nHost: a\r\n\tb\r\n\r\n"), 400,
      true },
    { "a folded first line", BYTES("GET /health HTTP/1.1\r\n Host: a\r\n\r\n"), 400, true },
    { "control character", BYTES("GET /health HTTP/1.1\r\nHost: a\r\nB: \x01\r\n\r\n"), 400, true },
    { "two spaces", BYTES("GET  /health HTTP/1.1\r\nHost: a\r\n\r\n"), 400, true },
    { "no path", BYTES("GET http://x/health HTTP/1.1\r\nHost: a\r\n\r\n"), 400, false },
    { "unknown method", BYTES("BREW /health HTTP/1.1\r\nHost: a\r\n\r\n"), 405, true },
    { "wrong method", BYTES("DELETE /health HTTP/1.1\r\nHost: a\r\n\r\n"), 405, false },
    { "unknown path", BYTES(GET("/nowhere")), 404, false },
    { "NUL in the path", BYTES(GET("/health%00")), 404, false },
    { "dots", BYTES(GET("/../../etc/passwd")), 404, false },
    { "encoded dots", BYTES(GET("/%2e%2e/%2e%2e/etc/passwd")), 404, false },
    { "encoded twice", BYTES(GET("/%252e%252e/health")), 404, false },
    { "backslash", BYTES(GET("/..\\health")), 404, false },
    { "NUL in a label", BYTES(GET("/api/v1/label/a%00b/values")), 400, false },
    { "half an escape", BYTES(GET("/api/v1/query?query=%4")), 400, false },
    { "a body where none belongs",
      BYTES("GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"), 413, false },
};

static void test_framing(void **state) {
    struct site *site = *state;

    for (size_t i = 0; i < ARRAY_LEN(framing_cases); i++) {
        struct reply reply;
        int fd = client_open(site);
        assert_true(client_send(fd, framing_cases[i].bytes.ptr, framing_cases[i].bytes.len));
        client_read(fd, false, &reply);
        if (reply.status != framing_cases[i].status) {
            fail_msg("%s: %d %s", framing_cases[i].what, reply.status, reply.body.ptr);
        }
        if (framing_cases[i].must_close) {
            if (!client_is_closed(fd, 10000)) {
                fail_msg("%s: stays open", framing_cases[i].what);
            }
        } else { /* goes on */
            struct reply next;
            assert_true(client_send_text(fd, GET("/-/healthy")));
            client_read(fd, false, &next);
            if (next.status != 200) {
                fail_msg("%s: %s: then %d", framing_cases[i].what, reply.body.ptr, next.status);
            }
            reply_finish(&next);
        }
        reply_finish(&reply);
        client_close(fd);
    }
}

/* Garbage may be answered or cut; the server lives. */
static void test_garbage(void **state) {
    struct site *site = *state;
    static const struct str garbage[] = { BYTES("\x16\x03\x01\x02\x00\x01"), BYTES("GET\r\n\r\n"),
                                          BYTES("GET \r\n\r\n"), BYTES("\0\0\0\0\r\n\r\n"),
                                          BYTES("GET / HTTP/9.9\r\n\r\n") };
    for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
        int fd = client_open(site);
        (void)client_send(fd, garbage[i].ptr, garbage[i].len);
        shutdown(fd, SHUT_WR);
        struct reply reply;
        client_read(fd, false, &reply);
        assert_true(reply.status == 0 || reply.status >= 400);
        reply_finish(&reply);
        client_close(fd);
    }
    assert_get(site, "/-/healthy", 200, "tocsin is Healthy.\n");
}

static void test_header_limits(void **state) {
    struct site *site = *state;

    static const struct {
        const char *what;
        size_t target_bytes;
        size_t header_bytes; /* of all lines from the request line's end on */
        int status;
    } cases[] = {
        { "longest URL", WEB_URL_BYTES_MAX, 0, 200 },
        { "URL one too long", WEB_URL_BYTES_MAX + 1, 0, 414 },
        { "URL ten times too long", WEB_URL_BYTES_MAX * 10, 0, 414 },
        { "long header", 12, WEB_HEADER_BYTES_MAX - 4096, 200 },
        { "header too long", 12, WEB_HEADER_BYTES_MAX + 1, 431 },
        { "header ten times too long", 12, WEB_HEADER_BYTES_MAX * 10, 431 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf request;
        struct reply reply;
        buf_init(&request, 8u << 20);
        buf_cstr(&request, "GET ");
        size_t start = request.len;
        buf_cstr(&request, "/-/healthy?a");
        while (request.len - start < cases[i].target_bytes) {
            buf_putc(&request, 'a');
        }
        buf_cstr(&request, " HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ");
        for (size_t j = 0; j < cases[i].header_bytes; j++) {
            buf_putc(&request, 'x');
        }
        buf_cstr(&request, "\r\n\r\n");
        int fd = client_open(site);
        (void)client_send(fd, request.ptr, request.len);
        client_read(fd, false, &reply);
        /* Far over the limit libmicrohttpd cuts the sender off, and the reply may go with it. */
        bool is_far = cases[i].target_bytes > 2 * WEB_URL_BYTES_MAX ||
                      cases[i].header_bytes > 2 * WEB_HEADER_BYTES_MAX;
        if (reply.status != cases[i].status && !(is_far && reply.status == 0)) {
            fail_msg("%s: %d", cases[i].what, reply.status);
        }
        reply_finish(&reply);
        client_close(fd);
        buf_finish(&request);
    }
}

/* ---- bodies ---- */

enum framing {
    BY_LENGTH,
    BY_CHUNKS,
};

/* A form of `len` bytes, "query=1&pad=aaa…"; the reply to it and, on the same connection, one to a
 * second request (status 0 when the connection closed). */
static void post_form(struct site *site,
                      const char *target,
                      size_t len,
                      enum framing framing,
                      struct reply *ret,
                      int *ret_next_status) {
    struct buf body;
    buf_init(&body, len + 64);
    buf_cstr(&body, "query=1%2B1&time=4&pad=");
    while (body.len < len) {
        buf_putc(&body, 'a');
    }
    int fd = client_open(site);
    char head[512];
    snprintf(head, sizeof(head), "POST %s HTTP/1.1\r\nHost: a\r\n", target);
    (void)client_send_text(fd, head);
    if (framing == BY_LENGTH) {
        snprintf(head, sizeof(head), "Content-Length: %zu\r\n\r\n", len);
        (void)client_send_text(fd, head);
        (void)client_send(fd, body.ptr, len);
    } else {
        (void)client_send_text(fd, "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t at = 0; at < len;) {
            size_t piece = len - at < 50000 ? len - at : 50000;
            snprintf(head, sizeof(head), "%zx;ext=1\r\n", piece);
            (void)client_send_text(fd, head);
            (void)client_send(fd, body.ptr + at, piece);
            (void)client_send_text(fd, "\r\n");
            at += piece;
        }
        (void)client_send_text(fd, "0\r\nTrailer: x\r\n\r\n");
    }
    client_read(fd, false, ret);
    struct reply next;
    *ret_next_status = 0;
    if (client_send_text(fd, GET("/-/healthy"))) {
        client_read(fd, false, &next);
        *ret_next_status = next.status;
        reply_finish(&next);
    }
    client_close(fd);
    buf_finish(&body);
}

static void test_body_limits(void **state) {
    struct site *site = *state;

    static const struct {
        const char *target;
        size_t len;
        int status;
        const char *body; /* part of it */
    } cases[] = {
        { "/api/v1/query", 100, 200, "\"result\":[4,\"2\"]" },
        { "/api/v1/query", 1 << 20, 200, "\"result\":[4,\"2\"]" },
        { "/api/v1/query", (1 << 20) + 1, 413, "1048576" },
        { "/api/v1/query", 10 << 20, 413, "1048576" },
        { "/nowhere", 5 << 20, 404, "not found" },
        { "/health", 2 << 20, 405, "method not allowed" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int framing = BY_LENGTH; framing <= BY_CHUNKS; framing++) {
            struct reply reply;
            int next_status;
            post_form(site, cases[i].target, cases[i].len, (enum framing)framing, &reply,
                      &next_status);
            if (reply.status != cases[i].status ||
                str_find(buf_as_str(&reply.body), str_from(cases[i].body)) == SIZE_MAX) {
                fail_msg("%s %zu framing %d: %d %s", cases[i].target, cases[i].len, framing,
                         reply.status, reply.body.ptr);
            }
            assert_int_equal(next_status, 200); /* the refused body was read to its end */
            reply_finish(&reply);
        }
    }
}

/* A refused body that does not end is cut. */
static void test_endless_body(void **state) {
    struct site *site = *state;
    static char piece[1 << 20];
    memset(piece, 'a', sizeof(piece));
    int fd = client_open(site);
    assert_true(client_send_text(
        fd, "POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
    size_t sent = 0;
    while (client_send_text(fd, "100000\r\n") && client_send(fd, piece, sizeof(piece)) &&
           client_send_text(fd, "\r\n")) {
        sent += sizeof(piece);
        assert_true(sent < 4 * (size_t)WEB_DRAIN_BYTES_MAX);
    }
    assert_true(sent >= WEB_DRAIN_BYTES_MAX);
    client_close(fd);
    site_wait_active(site, 1);
}

static void test_expect_continue(void **state) {
    struct site *site = *state;
    struct reply reply;
    int fd = client_open(site);
    assert_true(client_send_text(fd, "POST /api/v1/query HTTP/1.1\r\nHost: a\r\nExpect: "
                                     "100-continue\r\nContent-Length: 16\r\n\r\n"));
    char interim[25];
    assert_int_equal(recv(fd, interim, sizeof(interim), MSG_WAITALL), sizeof(interim));
    assert_memory_equal(interim, "HTTP/1.1 100 Continue\r\n\r\n", sizeof(interim));
    assert_true(client_send_text(fd, "query=2&time=400"));
    client_read(fd, false, &reply);
    assert_int_equal(reply.status, 200);
    reply_finish(&reply);
    client_close(fd);
    /* Refused before it is sent: the answer comes at once, without the interim one. */
    ask_raw(site,
            STR("POST /api/v1/query HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                "Content-Length: 99999999\r\n\r\n"),
            &reply);
    assert_int_equal(reply.status, 413);
    assert_int_equal(reply.interim_100, 0);
    reply_finish(&reply);
}

/* ---- one connection, many requests ---- */

static void test_pipelining(void **state) {
    struct site *site = *state;
    /* Inline and worker routes in turn; every reply must come, and in order. */
    struct buf requests;
    buf_init(&requests, 1 << 20);

    enum {
        ROUNDS = 50
    };

    for (int i = 0; i < ROUNDS; i++) {
        buf_printf(
            &requests,
            "GET /api/v1/query?query=%d&time=4 HTTP/1.1\r\nHost: a\r\n\r\n" GET(
                "/-/healthy") "POST /api/v1/query HTTP/1.1\r\nHost: a\r\nContent-Length: 19\r\n\r\n"
                              "query=%6d&time=5",
            i, i + 100000);
    }
    int fd = client_open(site);
    assert_true(client_send(fd, requests.ptr, requests.len));
    for (int i = 0; i < ROUNDS; i++) {
        struct reply replies[3];
        char expected[2][64];
        for (size_t j = 0; j < 3; j++) {
            client_read(fd, false, &replies[j]);
            assert_int_equal(replies[j].status, 200);
        }
        snprintf(expected[0], 64, "\"result\":[4,\"%d\"]", i);
        snprintf(expected[1], 64, "\"result\":[5,\"%d\"]", i + 100000);
        assert_true(str_find(buf_as_str(&replies[0].body), str_from(expected[0])) != SIZE_MAX);
        assert_true(str_eq_c(buf_as_str(&replies[1].body), "tocsin is Healthy.\n"));
        assert_true(str_find(buf_as_str(&replies[2].body), str_from(expected[1])) != SIZE_MAX);
        for (size_t j = 0; j < 3; j++) {
            reply_finish(&replies[j]);
        }
    }
    client_close(fd);
    buf_finish(&requests);
}

/* Byte by byte is as good as at once. */
static void test_trickle(void **state) {
    struct site *site = *state;
    static const char text[] = "POST /api/v1/query HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                               "chunked\r\n\r\n3\r\nque\r\n5\r\nry=7&\r\n6\r\ntime=4\r\n0\r\n\r\n";
    int fd = client_open(site);
    struct reply reply;
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        assert_true(client_send(fd, text + i, 1));
    }
    client_read(fd, false, &reply);
    assert_string_equal(reply.body.ptr,
                        "{\"status\":\"success\",\"data\":{\"resultType\":\"scalar\",\"result\":[4,"
                        "\"7\"]}}");
    reply_finish(&reply);
    client_close(fd);
}

static void test_head_and_options(void **state) {
    struct site *site = *state;
    struct reply head;
    struct reply get;
    ask(site, "HEAD", "/-/healthy", "", STR(""), &head);
    ask(site, "GET", "/-/healthy", "", STR(""), &get);
    assert_int_equal(head.status, 200);
    assert_true(
        str_eq(reply_header(&head, "Content-Length"), reply_header(&get, "Content-Length")));
    reply_finish(&head);
    reply_finish(&get);
    ask(site, "HEAD", "/", "", STR(""), &head);
    assert_int_equal(head.status, 200);
    reply_finish(&head);
    ask(site, "OPTIONS", "/api/v1/query", "Origin: http://evil\r\n", STR(""), &head);
    assert_int_equal(head.status, 204);
    assert_int_equal(reply_header(&head, "Access-Control-Allow-Origin").len, 0);
    assert_int_equal(reply_header(&head, "Content-Type").len, 0);
    reply_finish(&head);
    ask(site, "DELETE", "/api/v1/query", "", STR(""), &head);
    assert_int_equal(head.status, 405);
    assert_true(str_eq_c(reply_header(&head, "Allow"), "GET, HEAD, POST, OPTIONS"));
    reply_finish(&head);
}

static void test_reply_headers(void **state) {
    struct site *site = *state;
    static const char *const targets[] = { "/",        "/health",       "/nowhere",
                                           "/metrics", "/api/v1/query", "/federate?match[]=%7B" };
    static const char *const wanted[] = { "X-Frame-Options",         "X-Content-Type-Options",
                                          "Content-Security-Policy", "Referrer-Policy",
                                          "Cache-Control",           "Content-Type" };
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct reply reply;
        ask(site, "GET", targets[i], "", STR(""), &reply);
        for (size_t j = 0; j < ARRAY_LEN(wanted); j++) {
            if (reply_header(&reply, wanted[j]).len == 0) {
                fail_msg("%s has no %s", targets[i], wanted[j]);
            }
        }
        reply_finish(&reply);
    }
}

static void test_compression(void **state) {
    struct site *site = *state;

    static const struct {
        const char *header;
        bool is_packed;
    } cases[] = {
        { "", false },
        { "Accept-Encoding: gzip\r\n", true },
        { "Accept-Encoding: deflate, GZIP;q=0.5\r\n", true },
        { "Accept-Encoding: *\r\n", true },
        { "Accept-Encoding: gzip;q=0, *\r\n", false },
        { "Accept-Encoding: xgzip\r\n", false },
        { "Accept-Encoding: br\r\n", false },
    };

    struct reply plain;
    ask(site, "GET", "/style.css", "", STR(""), &plain);
    reply_finish(&plain);
    ask(site, "GET", "/", "", STR(""), &plain);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reply reply;
        ask(site, "GET", "/", cases[i].header, STR(""), &reply);
        assert_int_equal(reply.status, 200);
        assert_int_equal(str_eq_c(reply_header(&reply, "Content-Encoding"), "gzip"),
                         cases[i].is_packed);
        if (cases[i].is_packed) {
            struct buf text;
            struct err err = ERR_INIT;
            buf_init(&text, 1 << 20);
            assert_true(gzip_decode(buf_as_str(&reply.body), &text, &err));
            assert_true(str_eq(buf_as_str(&text), buf_as_str(&plain.body)));
            buf_finish(&text);
        }
        reply_finish(&reply);
    }
    reply_finish(&plain);
}

/* ---- options ---- */

static void test_bad_options(void **state) {
    (void)state;

    static const struct {
        const char *address;
        const char *cors;
        enum err_code code;
    } cases[] = {
        { "127.0.0.1", NULL, ERR_INVALID },       { "127.0.0.1:", NULL, ERR_INVALID },
        { "127.0.0.1:65536", NULL, ERR_INVALID }, { "127.0.0.1:x", NULL, ERR_INVALID },
        { "192.0.2.1:0", NULL, ERR_IO },          { "127.0.0.1:0", "(", ERR_INVALID },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = ERR_INIT;
        struct web *web = NULL;
        struct web_options options = { .listen_address = cases[i].address,
                                       .cors_origin = cases[i].cors };
        assert_false(web_create(&options, &web, &err));
        assert_int_equal(err.code, cases[i].code);
    }
}

static void test_prefix_and_cors(void **state) {
    (void)state;
    struct site site;
    struct reply reply;
    site_init(&site);
    site.options.external_url = "https://example.org/metrics/";
    site.options.cors_origin = "https://(a|b)\\.example\\.org";
    site_open(&site);
    assert_get(&site, "/metrics/-/healthy", 200, "tocsin is Healthy.\n");
    assert_get(&site, "/-/healthy", 404, "404 page not found\n");
    assert_get(&site, "/metricsx/-/healthy", 404, "404 page not found\n");
    assert_get(&site, "/metrics", 200, "…<title>");
    ask(&site, "GET", "/metrics/-/healthy", "Origin: https://b.example.org\r\n", STR(""), &reply);
    assert_true(
        str_eq_c(reply_header(&reply, "Access-Control-Allow-Origin"), "https://b.example.org"));
    assert_true(str_find(reply_header(&reply, "Vary"), STR("Origin")) != SIZE_MAX);
    reply_finish(&reply);
    ask(&site, "GET", "/metrics/-/healthy", "Origin: https://b.example.org.evil\r\n", STR(""),
        &reply);
    assert_int_equal(reply_header(&reply, "Access-Control-Allow-Origin").len, 0);
    reply_finish(&reply);
    site_finish(&site);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),          cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_header_limits),    cmocka_unit_test(test_body_limits),
        cmocka_unit_test(test_endless_body),     cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_pipelining),       cmocka_unit_test(test_trickle),
        cmocka_unit_test(test_head_and_options), cmocka_unit_test(test_reply_headers),
        cmocka_unit_test(test_compression),      cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_prefix_and_cors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
