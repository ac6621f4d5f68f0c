/*
 * Goal: the client sends what was asked, reads any reply within its caps, and tells truthfully what
 * failed and whether the peer may have seen the request. Method: scripted servers on loopback, one
 * per case; time-outs are provoked by servers that wait for the client to give up.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/http.h"
#include "tests/base/stub_server.h"
#include "tests/unit.h"

struct fixture {
    struct http_client *client;
    struct stub *stub;
    struct http_response response;
    struct buf body;
    struct err err;
    char url[256];
};

/* What a scripted server does with every connection. */
struct script {
    const char *reply; /* after each request; NULL = none */
    bool wait_closed;  /* then wait for the client to close */
    int requests_per_connection;
    char request[8192]; /* the last one */
    int request_count;  /* read after stub_stop() */
};

static void serve_script(void *ctx, int fd, int connection) {
    struct script *script = ctx;
    (void)connection;
    int count = script->requests_per_connection == 0 ? 1 : script->requests_per_connection;
    for (int i = 0; i < count; i++) {
        if (stub_read_request(fd, script->request, sizeof(script->request)) == 0) {
            return;
        }
        script->request_count++;
        if (script->reply != NULL) {
            stub_write(fd, script->reply);
        }
    }
    if (script->wait_closed) {
        stub_wait_closed(fd);
    }
}

static void setup(struct fixture *f, stub_serve_fn serve, void *ctx) {
    *f = (struct fixture){ .err = ERR_INIT };
    buf_init(&f->body, 1 << 20);
    assert_true(http_client_create("tocsin/test", &f->client, &f->err));
    f->stub = stub_start(serve, ctx);
    snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%d/x?a=b", stub_port(f->stub));
}

static void teardown(struct fixture *f) {
    http_client_destroy(f->client);
    stub_stop(f->stub);
    buf_finish(&f->body);
}

static struct http_request get(const struct fixture *f) {
    return (struct http_request){
        .url = f->url,
        .timeout_ms = 5000,
        .response_bytes_max = 1000,
    };
}

static void perform(struct fixture *f, const struct http_request *request) {
    buf_reset(&f->body);
    assert_true(http_perform_blocking(f->client, request, &f->response, &f->body, &f->err));
}

static void assert_contains(const char *text, const char *part) {
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" is not in:\n%s", part, text);
    }
}

static void assert_lacks(const char *text, const char *part) {
    if (strstr(text, part) != NULL) {
        fail_msg("\"%s\" is in:\n%s", part, text);
    }
}

/* ---- requests and replies ---- */

static void get_reads_the_reply(void **state) {
    struct script script = {
        .reply = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
                 "Content-Length: 5\r\n\r\nhello",
    };
    struct fixture f;
    setup(&f, serve_script, &script);
    static const char *const headers[] = { "X-One: 1", "X-Empty:", "Accept: text/plain", NULL };
    struct http_request request = get(&f);
    request.headers = headers;
    perform(&f, &request);
    assert_true(f.response.is_ok);
    assert_true(f.response.was_sent);
    assert_int_equal(f.response.status, 200);
    assert_int_equal(f.response.retry_after_ms, -1);
    assert_string_equal(f.response.effective_ip, "127.0.0.1");
    assert_true(f.response.duration_s > 0 && f.response.duration_s < 5);
    assert_string_equal(buf_as_str(&f.body).ptr, "hello");
    teardown(&f);
    assert_contains(script.request, "GET /x?a=b HTTP/1.1\r\n");
    assert_contains(script.request, "User-Agent: tocsin/test\r\n");
    assert_contains(script.request, "X-One: 1\r\n");
    assert_contains(script.request, "X-Empty:\r\n");
    assert_contains(script.request, "Accept: text/plain\r\n");
    assert_lacks(script.request, "Expect");
    assert_lacks(script.request, "Accept-Encoding");
}

static void methods_and_bodies(void **state) {
    static const struct {
        const char *method;
        struct str body;
        const char *line;
        const char *length;
    } cases[] = {
        { "POST", { "payload", 7 }, "POST /x", "Content-Length: 7\r\n" },
        { "POST", { "", 0 }, "POST /x", "Content-Length: 0\r\n" },
        { "PUT", { "a\0b", 3 }, "PUT /x", "Content-Length: 3\r\n" },
        { "DELETE", { "", 0 }, "DELETE /x", "\r\n" },
        { "GET", { "q", 1 }, "GET /x", "Content-Length: 1\r\n" },
        { "HEAD", { "", 0 }, "HEAD /x", "\r\n" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct script script = { .reply = "HTTP/1.1 204 No Content\r\n\r\n" };
        struct fixture f;
        setup(&f, serve_script, &script);
        struct http_request request = get(&f);
        request.method = cases[i].method;
        request.body = cases[i].body;
        perform(&f, &request);
        assert_true(f.response.is_ok);
        assert_int_equal(f.response.status, 204);
        teardown(&f);
        assert_contains(script.request, cases[i].line);
        assert_contains(script.request, cases[i].length);
        assert_lacks(script.request, "Content-Type");
        assert_lacks(script.request, "Expect");
    }
}

static void credentials(void **state) {
    struct script script = { .reply = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno" };
    struct fixture f;
    setup(&f, serve_script, &script);
    struct http_request request = get(&f);
    request.username = "user";
    request.password = "pa:ss";
    perform(&f, &request);
    assert_true(f.response.is_ok);
    assert_int_equal(f.response.status, 401);
    assert_string_equal(buf_as_str(&f.body).ptr, "no");
    teardown(&f);
    assert_contains(script.request, "Authorization: Basic dXNlcjpwYTpzcw==\r\n");

    setup(&f, serve_script, &script);
    request = get(&f);
    request.bearer_token = "token-1";
    perform(&f, &request);
    teardown(&f);
    assert_contains(script.request, "Authorization: Bearer token-1\r\n");
}

static void retry_after_forms(void **state) {
    char past[200];
    char future[200];
    time_t soon = time(NULL) + 100;
    struct tm tm;
    gmtime_r(&soon, &tm);
    strftime(future, sizeof(future), "Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
    snprintf(past, sizeof(past), "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n");

    const struct {
        const char *header;
        int64_t min_ms;
        int64_t max_ms;
    } cases[] = {
        { "", -1, -1 },
        { "Retry-After: 30\r\n", 30000, 30000 },
        { "retry-after:0\r\n", 0, 0 },
        { past, 0, 0 },
        { future, 90000, 100000 },
        { "Retry-After: soon\r\n", -1, -1 },
        { "Retry-After: -5\r\n", -1, -1 },
        { "Retry-After: 99999999999999999\r\n", INT64_C(31622400000), INT64_C(31622400000) },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char reply[512];
        snprintf(reply, sizeof(reply), "HTTP/1.1 429 Slow down\r\n%sContent-Length: 0\r\n\r\n",
                 cases[i].header);
        struct script script = { .reply = reply };
        struct fixture f;
        setup(&f, serve_script, &script);
        struct http_request request = get(&f);
        perform(&f, &request);
        assert_true(f.response.is_ok);
        assert_int_equal(f.response.status, 429);
        assert_in_range((uint64_t)(f.response.retry_after_ms + 1), (uint64_t)(cases[i].min_ms + 1),
                        (uint64_t)(cases[i].max_ms + 1));
        teardown(&f);
    }
}

/* ---- limits ---- */

static void serve_bytes(void *ctx, int fd, int connection) {
    size_t bytes = *(size_t *)ctx;
    (void)connection;
    char text[8192];
    stub_read_request(fd, text, sizeof(text));
    stub_write(fd, "HTTP/1.1 200 OK\r\n\r\n");
    memset(text, 'x', sizeof(text));
    while (bytes > 0) {
        size_t now = bytes < 4096 ? bytes : 4096;
        text[now] = '\0';
        if (!stub_write(fd, text)) {
            return;
        }
        text[now] = 'x';
        bytes -= now;
    }
}

static void reply_size_is_capped(void **state) {
    static const size_t sizes[] = { 1000, 1001, 100 << 20 };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t bytes = sizes[i];
        struct fixture f;
        setup(&f, serve_bytes, &bytes);
        struct http_request request = get(&f);
        perform(&f, &request);
        assert_int_equal(f.response.is_ok, i == 0);
        assert_int_equal(f.response.err.code, i == 0 ? ERR_NONE : ERR_LIMIT);
        assert_int_equal(f.body.len, i == 0 ? 1000 : 0);
        if (i > 0) {
            assert_string_equal(f.response.err.msg, "the reply is larger than 1000 bytes");
            assert_true(f.response.was_sent);
        }
        teardown(&f);
    }
}

static void serve_gzip(void *ctx, int fd, int connection) {
    size_t bytes = *(size_t *)ctx;
    (void)connection;
    static char plain[1 << 20];
    static unsigned char packed[1 << 20];
    char head[8192];
    stub_read_request(fd, head, sizeof(head));
    memset(plain, 'y', sizeof(plain));
    z_stream z = { 0 };
    deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    z.next_in = (unsigned char *)plain;
    z.avail_in = (unsigned)bytes;
    z.next_out = packed;
    z.avail_out = sizeof(packed);
    deflate(&z, Z_FINISH);
    snprintf(head, sizeof(head),
             "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %lu\r\n\r\n",
             z.total_out);
    stub_write(fd, head);
    ssize_t put = write(fd, packed, z.total_out);
    (void)put;
    deflateEnd(&z);
}

static void gzip_counts_decoded_bytes(void **state) {
    static const size_t sizes[] = { 1000, 1 << 20 };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t bytes = sizes[i];
        struct fixture f;
        setup(&f, serve_gzip, &bytes);
        struct http_request request = get(&f);
        request.accept_gzip = true;
        perform(&f, &request);
        assert_int_equal(f.response.is_ok, i == 0);
        assert_int_equal(f.response.err.code, i == 0 ? ERR_NONE : ERR_LIMIT);
        assert_int_equal(f.body.len, i == 0 ? 1000 : 0);
        teardown(&f);
    }
}

static void serve_endless_header(void *ctx, int fd, int connection) {
    (void)ctx;
    (void)connection;
    char text[8192];
    stub_read_request(fd, text, sizeof(text));
    stub_write(fd, "HTTP/1.1 200 OK\r\n");
    while (stub_write(fd, "X-Filler: 0123456789012345678901234567890123456789\r\n")) {
    }
}

static void header_size_is_capped(void **state) {
    struct fixture f;
    setup(&f, serve_endless_header, NULL);
    struct http_request request = get(&f);
    perform(&f, &request);
    assert_false(f.response.is_ok);
    assert_int_equal(f.response.err.code, ERR_LIMIT);
    teardown(&f);
}

/* ---- failures ---- */

static void slow_replies_time_out(void **state) {
    static const char *const replies[] = { NULL,
                                           "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc" };
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        struct script script = { .reply = replies[i], .wait_closed = true };
        struct fixture f;
        setup(&f, serve_script, &script);
        struct http_request request = get(&f);
        request.timeout_ms = 100;
        perform(&f, &request);
        assert_false(f.response.is_ok);
        assert_int_equal(f.response.err.code, ERR_TIMEOUT);
        assert_true(f.response.was_sent);
        assert_int_equal(f.body.len, 0);
        teardown(&f);
    }
}

static void broken_connections(void **state) {
    static const char *const replies[] = { NULL, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
                                           "HTTP/1.1 20" };
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        struct script script = { .reply = replies[i] };
        struct fixture f;
        setup(&f, serve_script, &script);
        struct http_request request = get(&f);
        request.method = "POST";
        perform(&f, &request);
        assert_false(f.response.is_ok);
        assert_int_equal(f.response.err.code, ERR_IO);
        assert_true(f.response.was_sent);
        teardown(&f);
        assert_int_equal(script.request_count, 1);
    }
}

static void refused_connection_was_not_sent(void **state) {
    struct script script = { 0 };
    struct fixture f;
    setup(&f, serve_script, &script);
    snprintf(f.url, sizeof(f.url), "http://127.0.0.1:%d/", stub_dead_port());
    struct http_request request = get(&f);
    perform(&f, &request);
    assert_false(f.response.is_ok);
    assert_int_equal(f.response.err.code, ERR_IO);
    assert_false(f.response.was_sent);
    assert_contains(f.response.err.msg, "onnect");
    teardown(&f);
}

static void posts_are_never_repeated(void **state) {
    /* Each connection answers one GET and swallows whatever follows. */
    struct script script = {
        .reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        .requests_per_connection = 1,
    };
    struct fixture f;
    setup(&f, serve_script, &script);
    struct http_request request = get(&f);
    perform(&f, &request);
    assert_true(f.response.is_ok);
    request.method = "POST";
    perform(&f, &request);
    assert_true(f.response.is_ok);
    assert_int_equal(stub_connections(f.stub), 2);
    teardown(&f);
    assert_int_equal(script.request_count, 2);
}

static void gets_share_a_connection(void **state) {
    struct script script = {
        .reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        .requests_per_connection = 3,
    };
    struct fixture f;
    setup(&f, serve_script, &script);
    struct http_request request = get(&f);
    for (int i = 0; i < 3; i++) {
        perform(&f, &request);
        assert_true(f.response.is_ok);
    }
    assert_int_equal(stub_connections(f.stub), 1);
    teardown(&f);
}

/* ---- redirects ---- */

static void serve_redirect(void *ctx, int fd, int connection) {
    const char *location = ctx;
    char text[8192];
    stub_read_request(fd, text, sizeof(text));
    if (connection > 0 || strstr(text, "GET /final") != NULL) {
        stub_write(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfinal");
        return;
    }
    stub_write(fd, "HTTP/1.1 302 Found\r\nRetry-After: 7\r\nContent-Length: 2\r\nConnection: "
                   "close\r\nLocation: ");
    stub_write(fd, location);
    stub_write(fd, "\r\n\r\nno");
}

static void redirects(void **state) {
    static const struct {
        const char *location;
        bool follow;
        bool is_ok;
        int status;
        enum err_code code;
    } cases[] = {
        { "/final", false, true, 302, ERR_NONE },
        { "http://example.invalid/", false, true, 302, ERR_NONE },
        { "/final", true, true, 200, ERR_NONE },
        { "final", true, true, 200, ERR_NONE },
        { "http://localhost/final", true, false, 302, ERR_EXEC },
        { "//example.invalid/final", true, false, 302, ERR_EXEC },
        { "http://127.0.0.1@example.invalid/", true, false, 302, ERR_EXEC },
        { "ftp://127.0.0.1/final", true, false, 302, ERR_IO },
        { "file:///etc/passwd", true, false, 302, ERR_EXEC },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        char *location = strdup(cases[i].location);
        setup(&f, serve_redirect, location);
        struct http_request request = get(&f);
        request.follow_redirects = cases[i].follow;
        perform(&f, &request);
        assert_int_equal(f.response.is_ok, cases[i].is_ok);
        assert_int_equal(f.response.status, cases[i].status);
        assert_int_equal(f.response.err.code, cases[i].code);
        if (cases[i].status == 200) {
            assert_int_equal(f.response.retry_after_ms, -1);
            assert_string_equal(buf_as_str(&f.body).ptr, "final");
        }
        teardown(&f);
        free(location);
    }
}

static void redirect_loops_end(void **state) {
    struct script script = {
        .reply = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /x?a=b\r\n\r\n",
        .requests_per_connection = 100,
    };
    struct fixture f;
    setup(&f, serve_script, &script);
    struct http_request request = get(&f);
    request.follow_redirects = true;
    perform(&f, &request);
    assert_false(f.response.is_ok);
    assert_int_equal(f.response.err.code, ERR_LIMIT);
    teardown(&f);
    assert_int_equal(script.request_count, 6);
}

/* ---- refused requests ---- */

static void never(void *ctx, const struct http_response *response) {
    (void)ctx;
    (void)response;
    fail();
}

static void invalid_requests_are_refused(void **state) {
    static const char *const crlf[] = { "X: a\r\nEvil: 1", NULL };
    static const char *const lf[] = { "X: a\nEvil: 1", NULL };
    static const char *const no_colon[] = { "X a", NULL };
    static const char *const bad_name[] = { "X y: a", NULL };
    static const char *const no_name[] = { ": a", NULL };
    const struct http_request cases[] = {
        { .url = "http://127.0.0.1/", .headers = crlf },
        { .url = "http://127.0.0.1/", .headers = lf },
        { .url = "http://127.0.0.1/", .headers = no_colon },
        { .url = "http://127.0.0.1/", .headers = bad_name },
        { .url = "http://127.0.0.1/", .headers = no_name },
        { .url = "http://127.0.0.1/", .method = "GET /x HTTP/1.1\r\nX:" },
        { .url = "http://127.0.0.1/", .method = "" },
        { .url = "http://127.0.0.1/", .bearer_token = "a\r\nX: y" },
        { .url = "http://127.0.0.1/", .username = "a\n", .password = "b" },
        { .url = "http://127.0.0.1/\r\nX: y" },
        { .url = "http://127.0.0.1/a b" },
        { .url = NULL },
        { .url = "" },
        { .url = "127.0.0.1" },
        { .url = "file:///etc/passwd" },
        { .url = "gopher://127.0.0.1/" },
        { .url = "smtp://127.0.0.1/" },
    };
    struct http_client *client = NULL;
    struct err err = ERR_INIT;
    assert_true(http_client_create("x", &client, &err));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_request request = cases[i];
        request.timeout_ms = 1000;
        request.response_bytes_max = 1;
        err.code = ERR_NONE;
        if (http_submit(client, &request, never, NULL, &err)) {
            fail_msg("case %zu was accepted", i);
        }
        assert_int_equal(err.code, ERR_INVALID);
    }
    http_client_destroy(client);
    assert_false(http_client_create("x\r\ny", &client, &err));
}

/* ---- threads ---- */

struct counter {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int ok;
    int canceled;
    int other;
};

static void count_result(void *ctx, const struct http_response *response) {
    struct counter *counter = ctx;
    pthread_mutex_lock(&counter->mutex);
    if (response->is_ok) {
        counter->ok++;
    } else if (response->err.code == ERR_CANCELED) {
        counter->canceled++;
    } else {
        counter->other++;
    }
    pthread_cond_signal(&counter->changed);
    pthread_mutex_unlock(&counter->mutex);
}

static void destroy_cancels_what_is_in_flight(void **state) {
    struct script script = { .wait_closed = true };
    struct fixture f;
    setup(&f, serve_script, &script);
    struct counter counter = { .ok = 0 };
    pthread_mutex_init(&counter.mutex, NULL);
    pthread_cond_init(&counter.changed, NULL);
    struct http_request request = get(&f);
    for (int i = 0; i < 20; i++) {
        assert_true(http_submit(f.client, &request, count_result, &counter, &f.err));
    }
    teardown(&f);
    assert_int_equal(counter.canceled, 20);
    assert_int_equal(counter.ok + counter.other, 0);
}

struct submitter {
    struct http_client *client;
    const struct http_request *request;
    struct counter *counter;
};

static void *submit_many(void *arg) {
    struct submitter *s = arg;
    struct err err = ERR_INIT;
    for (int i = 0; i < 25; i++) {
        if (!http_submit(s->client, s->request, count_result, s->counter, &err)) {
            abort();
        }
    }
    return NULL;
}

static void any_thread_may_submit(void **state) {
    struct script script = {
        .reply = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
    };
    struct fixture f;
    setup(&f, serve_script, &script);
    struct counter counter = { .ok = 0 };
    pthread_mutex_init(&counter.mutex, NULL);
    pthread_cond_init(&counter.changed, NULL);
    struct http_request request = get(&f);
    struct submitter submitter = { f.client, &request, &counter };
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &submitter), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_mutex_lock(&counter.mutex);
    while (counter.ok + counter.canceled + counter.other < 100) {
        pthread_cond_wait(&counter.changed, &counter.mutex);
    }
    pthread_mutex_unlock(&counter.mutex);
    assert_int_equal(counter.ok, 100);
    teardown(&f);
}

struct chain {
    struct http_client *client;
    const struct http_request *request;
    struct counter *counter;
    int left;
};

static void submit_next(void *ctx, const struct http_response *response) {
    struct chain *chain = ctx;
    struct err err = ERR_INIT;
    if (--chain->left > 0 &&
        !http_submit(chain->client, chain->request, submit_next, chain, &err)) {
        abort();
    }
    count_result(chain->counter, response);
}

static void callbacks_may_submit(void **state) {
    struct script script = { .reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" };
    struct fixture f;
    setup(&f, serve_script, &script);
    struct counter counter = { .ok = 0 };
    pthread_mutex_init(&counter.mutex, NULL);
    pthread_cond_init(&counter.changed, NULL);
    struct http_request request = get(&f);
    struct chain chain = { f.client, &request, &counter, 5 };
    assert_true(http_submit(f.client, &request, submit_next, &chain, &f.err));
    pthread_mutex_lock(&counter.mutex);
    while (counter.ok + counter.canceled + counter.other < 5) {
        pthread_cond_wait(&counter.changed, &counter.mutex);
    }
    pthread_mutex_unlock(&counter.mutex);
    assert_int_equal(counter.ok, 5);
    teardown(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_reads_the_reply),
        cmocka_unit_test(methods_and_bodies),
        cmocka_unit_test(credentials),
        cmocka_unit_test(retry_after_forms),
        cmocka_unit_test(reply_size_is_capped),
        cmocka_unit_test(gzip_counts_decoded_bytes),
        cmocka_unit_test(header_size_is_capped),
        cmocka_unit_test(slow_replies_time_out),
        cmocka_unit_test(broken_connections),
        cmocka_unit_test(refused_connection_was_not_sent),
        cmocka_unit_test(posts_are_never_repeated),
        cmocka_unit_test(gets_share_a_connection),
        cmocka_unit_test(redirects),
        cmocka_unit_test(redirect_loops_end),
        cmocka_unit_test(invalid_requests_are_refused),
        cmocka_unit_test(destroy_cancels_what_is_in_flight),
        cmocka_unit_test(any_thread_may_submit),
        cmocka_unit_test(callbacks_may_submit),
    };
    return cmocka_run_group_tests_name("base/http", tests, NULL, NULL);
}
