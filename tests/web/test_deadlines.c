/*
 * Goal: no peer keeps a connection by being slow or silent. Method: the server's clock is the
 * test's, so that a minute is a call; what moves bytes is real.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>

#include "tests/web/site.h"

#define GET(target) "GET " target " HTTP/1.1\r\nHost: a\r\n\r\n"

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

static void pass(struct site *site, int64_t seconds) {
    fake_clock_advance(&site->store.clock, seconds * 1000);
}

static void get_one(int fd) {
    struct reply reply;
    assert_true(client_send_text(fd, GET("/-/healthy")));
    client_read(fd, false, &reply);
    assert_int_equal(reply.status, 200);
    reply_finish(&reply);
}

static void test_header(void **state) {
    struct site *site = *state;
    int silent = client_open(site);
    int slow = client_open(site);
    int good = client_open(site);
    get_one(good);
    assert_true(client_send_text(slow, "GET /-/healthy HTTP/1.1\r\nHost: a\r\n"));
    site_wait_look(site);
    for (int i = 0; i < 3; i++) { /* progress does not help */
        pass(site, 3);
        assert_true(client_send_text(slow, "X: y\r\n"));
        assert_false(client_is_closed(slow, 50));
    }
    pass(site, 2);
    assert_true(client_is_closed(slow, 10000));
    assert_true(client_is_closed(silent, 10000));
    get_one(good);
    client_close(silent);
    client_close(slow);
    client_close(good);
}

static void test_keep_alive(void **state) {
    struct site *site = *state;
    int idle = client_open(site);
    int slow = client_open(site);
    get_one(idle);
    get_one(slow);
    site_wait_look(site);
    pass(site, 60);
    get_one(idle);
    get_one(slow);
    site_wait_look(site);
    assert_true(client_send_text(slow, "GET /-/hea")); /* not yet a request line */
    site_wait_look(site);
    pass(site, 11);
    assert_true(client_is_closed(slow, 10000));
    get_one(idle);
    site_wait_look(site);
    pass(site, 119);
    assert_false(client_is_closed(idle, 150));
    pass(site, 2);
    assert_true(client_is_closed(idle, 10000));
    client_close(idle);
    client_close(slow);
}

static const char upload[] =
    "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n";

/* A body that comes, but takes more than its time. */
static void test_body_deadline(void **state) {
    struct site *site = *state;
    static char piece[200000];
    int fd = client_open(site);
    assert_true(client_send_text(fd, upload));
    for (int i = 0; i < 6; i++) {
        assert_true(client_send(fd, piece, sizeof(piece)));
        assert_false(client_is_closed(fd, 150));
        pass(site, 10);
    }
    pass(site, 1);
    assert_true(client_is_closed(fd, 10000));
    client_close(fd);
    site_wait_active(site, 1);
}

/* A body that next to does not come. */
static void test_body_pace(void **state) {
    struct site *site = *state;
    int fd = client_open(site);
    assert_true(client_send_text(fd, upload));
    site_wait_look(site);
    pass(site, 13);
    assert_true(client_send_text(fd, "a few bytes"));
    assert_false(client_is_closed(fd, 150));
    pass(site, 13);
    assert_true(client_is_closed(fd, 10000));
    client_close(fd);
    site_wait_active(site, 1);
}

/* A large store, and readers of it who stop reading. */
static void test_stalled_reader(void **state) {
    struct site *site = *state;
    arena_reset(&site->store.arena);
    struct err err = ERR_INIT;
    struct tsdb_batch *batch = NULL;
    assert_true(tsdb_batch_begin(site->store.db, TSDB_STATE, &batch, &err));
    for (int i = 0; i < 40000; i++) {
        char value[256];
        memset(value, 'v', sizeof(value) - 16);
        (void)snprintf(value + sizeof(value) - 16, 16, "%d", i);
        tsdb_batch_append(batch, make_series(&site->store, "large", PAIRS("long", value)),
                          FIXTURE_NOW_MS, 1);
    }
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
    site->receive_buffer_bytes = 4096;
    char target[256];
    (void)snprintf(target, sizeof(target),
                   "GET /api/v1/query?query=large&time=%" PRId64 " HTTP/1.1\r\nHost: a\r\n\r\n",
                   FIXTURE_NOW_MS / 1000);
    int stalled = client_open(site);
    int slow = client_open(site);
    site->receive_buffer_bytes = 0;
    assert_true(client_send_text(stalled, target));
    assert_true(client_send_text(slow, target));
    char bytes[64 << 10];
    assert_true(recv(stalled, bytes, 1000, 0) > 0);
    assert_true(recv(slow, bytes, 1000, 0) > 0); /* both replies are on their way when it looks */
    site_wait_look(site);
    for (int i = 0; i < 4; i++) { /* twice the least pace, for as long as it likes */
        for (size_t got = 0; got < sizeof(bytes);) {
            ssize_t len = recv(slow, bytes, sizeof(bytes) - got, 0);
            assert_true(len > 0);
            got += (size_t)len;
        }
        site_wait_look(site);
        pass(site, 26);
        site_wait_look(site);
    }
    site_wait_active(site, 2); /* the stalled one is gone, the slow one goes on */
    client_close(stalled);
    client_close(slow);
    site_wait_active(site, 1);
}

/* An end that comes with the last bytes is seen without any deadline. */
static void test_half_request(void **state) {
    struct site *site = *state;
    int fd = client_open(site);
    assert_true(client_send_text(fd, "GET /-/healthy HTTP/1.1\r\nHos"));
    client_close(fd);
    site_wait_active(site, 1);
    fd = client_open(site);
    assert_true(client_send_text(fd, "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: "
                                     "9\r\n\r\nhalf"));
    client_close(fd);
    site_wait_active(site, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),         cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_body_deadline),  cmocka_unit_test(test_body_pace),
        cmocka_unit_test(test_stalled_reader), cmocka_unit_test(test_half_request),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
