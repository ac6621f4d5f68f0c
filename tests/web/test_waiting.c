/*
 * Goal: requests wait their turn, end when their client leaves, and a stopping server leaves
 * nothing behind: what was under way is answered, the rest is cut.
 * Method: a server over real modules; a reload that waits for the test stands for slow work.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/socket.h>

#include "tests/web/site.h"

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

/* ---- waiting ---- */

struct gate {
    sem_t entered;
    sem_t leave;
};

/* Occupies a worker until the test lets it go. */
static bool wait_at_gate(void *ctx, struct err *err) {
    (void)err;
    struct gate *gate = ctx;
    sem_post(&gate->entered);
    sem_wait(&gate->leave);
    return true;
}

static const char reload[] = "POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";

static void test_queue_limit(void **state) {
    (void)state;
    struct site site;
    struct gate gate;
    sem_init(&gate.entered, 0, 0);
    sem_init(&gate.leave, 0, 0);
    site_init(&site);
    site.options.queue_max = 2;
    site.options.hooks = (struct web_hooks){ .reload = wait_at_gate, .ctx = &gate };
    site_open(&site);
    int clients[4]; /* two hold both service workers, two wait for one */
    for (int i = 0; i < 4; i++) {
        clients[i] = client_open(&site);
        assert_true(client_send_text(clients[i], i < 2 ? reload : GET("/api/v1/alerts")));
        if (i < 2) {
            sem_wait(&gate.entered);
        } else {
            site_wait_active(&site, i + 2);
        }
    }
    struct reply reply;
    ask(&site, "GET", "/api/v1/alerts", "", STR(""), &reply);
    assert_int_equal(reply.status, 503);
    assert_true(str_eq_c(reply_header(&reply, "Retry-After"), "1"));
    assert_true(str_find(buf_as_str(&reply.body), STR("\"errorType\":\"unavailable\"")) !=
                SIZE_MAX);
    reply_finish(&reply);
    /* What runs inline, and queries, which have workers of their own, go on. */
    assert_get(&site, "/health", 200, "…\"status\":\"healthy\"");
    assert_get(&site, "/api/v1/query?query=1", 200, "…\"status\":\"success\"");
    sem_post(&gate.leave);
    sem_post(&gate.leave);
    for (int i = 0; i < 4; i++) {
        client_read(clients[i], false, &reply);
        assert_int_equal(reply.status, 200);
        reply_finish(&reply);
        client_close(clients[i]);
    }
    site_finish(&site);
    sem_destroy(&gate.entered);
    sem_destroy(&gate.leave);
}

static void test_connection_limit(void **state) {
    (void)state;
    struct site site;
    site_init(&site);
    site.options.connections_max = 4;
    site_open(&site);
    int fds[4];
    struct reply reply;
    for (size_t i = 0; i < 4; i++) {
        fds[i] = client_open(&site);
        assert_true(client_send_text(fds[i], GET("/-/healthy")));
        client_read(fds[i], false, &reply);
        assert_int_equal(reply.status, 200);
        reply_finish(&reply);
    }
    /* The fifth is left in the backlog, or closed, until there is room. */
    int fifth = client_open(&site);
    (void)client_send_text(fifth, GET("/-/healthy"));
    char byte;
    struct timeval soon = { .tv_usec = 100000 };
    setsockopt(fifth, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
    assert_true(recv(fifth, &byte, 1, 0) <= 0);
    client_close(fifth);
    for (size_t i = 0; i < 4; i++) {
        client_close(fds[i]);
    }
    for (int64_t end_ms = real_ms() + 10000;;) {
        ask(&site, "GET", "/-/healthy", "", STR(""), &reply);
        int status = reply.status;
        reply_finish(&reply);
        if (status == 200) {
            break;
        }
        assert_true(real_ms() < end_ms);
    }
    site_finish(&site);
}

/* ---- clients that go away ---- */

/* Half a minute of work when nobody stops it. */
#define LONG_QUERY                                                                              \
    "/api/v1/query_range?query=quantile_over_time(0.5,vector(time())[1d:1s])&start=0&end=10000" \
    "&step=1"

static void test_client_leaves(void **state) {
    struct site *site = *state;
    int fd = client_open(site);
    assert_true(client_send_text(fd, GET(LONG_QUERY)));
    site_wait_active(site, 2);
    double before = site_metric(site, "tocsin_http_requests_canceled_total");
    int64_t left_ms = real_ms();
    client_close(fd);
    site_wait_metric(site, "tocsin_http_requests_canceled_total", before + 1);
    int64_t seen_ms = real_ms() - left_ms;
    site_wait_active(site, 1);
    int64_t gone_ms = real_ms() - left_ms;
    assert_true(seen_ms <= 100 * patience);
    assert_true(gone_ms <= 200 * patience);
    /* Input that waits behind the request does not hide the end. */
    fd = client_open(site);
    assert_true(client_send_text(fd, GET(LONG_QUERY) GET("/-/healthy") GET("/-/healthy")));
    site_wait_active(site, 2);
    client_close(fd);
    site_wait_metric(site, "tocsin_http_requests_canceled_total", before + 2);
    site_wait_active(site, 1);
}

static void test_aborts(void **state) {
    struct site *site = *state;
    static const char text[] = "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 27\r\n\r\n"
                               "{\"kind\":\"beat\",\"app\":\"left\"}";
    for (size_t cut = 0; cut < sizeof(text); cut++) {
        for (int is_reset = 0; is_reset < 2; is_reset++) {
            int fd = client_open(site);
            assert_true(client_send(fd, text, cut));
            struct linger linger = { .l_onoff = is_reset };
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
            client_close(fd);
        }
    }
    site_wait_active(site, 1);
}

/* ---- stopping ---- */

static void *stop_now(void *ctx) {
    web_stop(ctx, 0);
    return NULL;
}

static void *stop_slowly(void *ctx) {
    web_stop(ctx, 20000);
    return NULL;
}

static void test_stop_waits(void **state) {
    (void)state;
    struct site site;
    struct gate gate;
    sem_init(&gate.entered, 0, 0);
    sem_init(&gate.leave, 0, 0);
    site_init(&site);
    site.options.hooks = (struct web_hooks){ .reload = wait_at_gate, .ctx = &gate };
    site_open(&site);
    int idle = client_open(&site);
    assert_true(client_send_text(idle, GET("/-/healthy")));
    struct reply reply;
    client_read(idle, false, &reply);
    reply_finish(&reply);
    int running = client_open(&site);
    assert_true(client_send_text(running, reload));
    sem_wait(&gate.entered);
    pthread_t stopper;
    pthread_create(&stopper, NULL, stop_slowly, site.web);
    /* No new request is taken on what is still open. */
    for (int64_t end_ms = real_ms() + 10000;;) {
        assert_true(client_send_text(idle, GET("/-/healthy")));
        client_read(idle, false, &reply);
        int status = reply.status;
        bool will_close = str_eq_nocase(reply_header(&reply, "Connection"), STR("close"));
        reply_finish(&reply);
        assert_true(status == 200 || status == 503);
        if (will_close) { /* a 200 when the stop came between the request and its reply */
            break;
        }
        assert_int_equal(status, 200);
        assert_true(real_ms() < end_ms);
    }
    sem_post(&gate.leave);
    client_read(running, false, &reply);
    assert_int_equal(reply.status, 200); /* the one under way got its answer */
    reply_finish(&reply);
    pthread_join(stopper, NULL);
    client_close(idle);
    client_close(running);
    site_finish(&site);
    sem_destroy(&gate.entered);
    sem_destroy(&gate.leave);
}

static void test_stop_cancels(void **state) {
    (void)state;
    struct site site;
    site_init(&site);
    site_open(&site);
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = client_open(&site);
        assert_true(client_send_text(fds[i], GET(LONG_QUERY)));
        site_wait_active(&site, 2 + i);
    }
    int half = client_open(&site); /* a body that never ends */
    assert_true(client_send_text(half, "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: "
                                       "27\r\n\r\nx"));
    site_wait_active(&site, 5);
    int64_t start_ms = real_ms();
    pthread_t stopper;
    pthread_create(&stopper, NULL, stop_now, site.web);
    pthread_join(stopper, NULL);
    assert_true(real_ms() - start_ms < 1000 * patience);
    for (int i = 0; i < 3; i++) {
        client_close(fds[i]);
    }
    client_close(half);
    site_finish(&site);
}

/* Pushes while the server stops: each is answered or cut, and what was answered is stored. */
struct pusher {
    struct site *site;
    pthread_t thread;
    unsigned accepted;
    int last_status; /* of the first one not accepted; 0 = cut */
};

static void *push(void *ctx) {
    struct pusher *pusher = ctx;
    int fd = client_open(pusher->site);
    for (;;) {
        struct reply reply = { 0 };
        if (!client_send_text(fd,
                              "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 85\r\n\r\n"
                              "{\"kind\":\"request\",\"app\":\"p\",\"method\":\"GET\",\"route\":"
                              "\"/\",\"status\":200,\"duration_ms\":1}\n")) {
            break;
        }
        client_read(fd, false, &reply);
        int status = reply.status;
        reply_finish(&reply);
        if (status != 202) {
            pusher->last_status = status;
            break;
        }
        pusher->accepted++;
    }
    client_close(fd);
    return NULL;
}

static void test_stop_under_load(void **state) {
    (void)state;
    struct site site;
    struct pusher pushers[8];
    site_init(&site);
    site_open(&site);
    for (size_t i = 0; i < ARRAY_LEN(pushers); i++) {
        pushers[i] = (struct pusher){ .site = &site };
        pthread_create(&pushers[i].thread, NULL, push, &pushers[i]);
    }
    site_wait_metric(&site, "tocsin_http_requests_total", 100);
    web_stop(site.web, 5000);
    unsigned accepted = 0;
    for (size_t i = 0; i < ARRAY_LEN(pushers); i++) {
        pthread_join(pushers[i].thread, NULL);
        accepted += pushers[i].accepted;
        if (pushers[i].last_status != 0 && pushers[i].last_status != 503) {
            fail_msg("status %d", pushers[i].last_status);
        }
    }
    assert_true(accepted > 0);
    site_finish(&site);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_limit),     cmocka_unit_test(test_connection_limit),
        cmocka_unit_test(test_client_leaves),   cmocka_unit_test(test_aborts),
        cmocka_unit_test(test_stop_waits),      cmocka_unit_test(test_stop_cancels),
        cmocka_unit_test(test_stop_under_load),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
