/*
 * Goal: the real thread, the real HTTP client and concurrent users of the notifier work together
 * without a race. Method: rule threads, readers and reloads at once against a server on loopback
 * that counts what arrives; run it under ThreadSanitizer.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "tests/base/stub_server.h"
#include "tests/notify/sim.h"
#include "tests/unit.h"

enum {
    RULE_THREADS = 3,
    ALERTS_PER_THREAD = 20,
    ALERTS = RULE_THREADS * ALERTS_PER_THREAD,
    DEADLINE_S = 60, /* of a hanging test, not of a working one */
};

struct receiver {
    pthread_mutex_t mu;
    pthread_cond_t cond;
    int counts[ALERTS]; /* messages that hold the alert firing */
    int resolved[ALERTS];
    int requests;
};

static void count(struct receiver *receiver, const char *body) {
    (void)pthread_mutex_lock(&receiver->mu);
    receiver->requests++;
    bool is_resolved = strstr(body, "\"status\":\"firing\"") == NULL;
    const char *at = body;
    while ((at = strstr(at, "\"labels\":{")) != NULL) {
        const char *id = strstr(at, "\"id\":\"");
        assert_non_null(id);
        int n = (int)strtol(id + 6, NULL, 10);
        assert_true(n >= 0 && n < ALERTS);
        if (is_resolved) {
            receiver->resolved[n]++;
        } else {
            receiver->counts[n]++;
        }
        at = id;
    }
    (void)pthread_cond_broadcast(&receiver->cond);
    (void)pthread_mutex_unlock(&receiver->mu);
}

static void serve(void *ctx, int fd, int connection) {
    static const char reply[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    (void)connection;
    char *request = mem_alloc(1 << 20);
    if (stub_read_request(fd, request, 1 << 20) > 0) {
        const char *body = strstr(request, "\r\n\r\n");
        assert_non_null(strstr(request, "Idempotency-Key: "));
        count(ctx, body);
        (void)stub_write(fd, reply);
    }
    mem_free(request);
}

static bool has_all(const int *counts) {
    for (size_t i = 0; i < ALERTS; i++) {
        if (counts[i] == 0) {
            return false;
        }
    }
    return true;
}

static void wait_for(struct receiver *receiver, const int *counts) {
    struct timespec deadline;
    (void)clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += DEADLINE_S;
    (void)pthread_mutex_lock(&receiver->mu);
    int result = 0;
    while (result == 0 && !has_all(counts)) {
        result = pthread_cond_timedwait(&receiver->cond, &receiver->mu, &deadline);
    }
    (void)pthread_mutex_unlock(&receiver->mu);
    assert_int_equal(result, 0);
}

struct rules {
    struct notify *notify;
    struct kv_store *kv;
    int first;
    bool is_resolving;
};

static void hand_over(const struct rules *rules, int id, int64_t now_ms) {
    struct arena arena;
    struct err err = ERR_INIT;
    char text[64];
    arena_init(&arena, SIZE_MAX);
    (void)snprintf(text, sizeof(text), "alertname=T,id=%d", id);
    struct alert alert = {
        .labels = parse_labels(text, &arena),
        .generator_url = STR(""),
        .starts_ms = 1000,
        .ends_ms = rules->is_resolving ? now_ms : 0,
        .value = 1,
    };
    struct alert_sink sink = notify_alert_sink(rules->notify);
    struct kv_batch *batch = rules->kv->begin(rules->kv);
    void *token = sink.stage(sink.ctx, &alert, 1, now_ms, batch);
    bool is_durable = rules->kv->commit_blocking(rules->kv, batch, &err);
    sink.settle(sink.ctx, token, is_durable);
    arena_finish(&arena);
}

static void *run_rules(void *ctx) {
    const struct rules *rules = ctx;
    for (int i = 0; i < ALERTS_PER_THREAD; i++) {
        hand_over(rules, rules->first + i, clock_wall_ms(clock_system()));
    }
    return NULL;
}

struct reader {
    struct notify *notify;
    struct notify_config *config;
    atomic_bool is_done;
};

static void *run_reader(void *ctx) {
    struct reader *reader = ctx;
    while (!atomic_load(&reader->is_done)) {
        struct arena arena;
        struct notify_status status;
        struct notify_inbox_page page;
        struct notify_dead_letter *letters = NULL;
        size_t letter_count = 0;
        struct err err = ERR_INIT;
        arena_init(&arena, SIZE_MAX);
        notify_status_get(reader->notify, &arena, &status);
        (void)notify_is_healthy(reader->notify, 0, NULL);
        assert_true(notify_inbox_list(reader->notify, 0, 10, &arena, &page, &err));
        assert_true(
            notify_dead_letters_list(reader->notify, &arena, &letters, &letter_count, &err));
        notify_reload(reader->notify, reader->config);
        arena_finish(&arena);
    }
    return NULL;
}

static void run_all_rules(struct notify *notify, struct kv_store *kv, bool is_resolving) {
    pthread_t threads[RULE_THREADS];
    struct rules rules[RULE_THREADS];
    for (int i = 0; i < RULE_THREADS; i++) {
        rules[i] = (struct rules){ notify, kv, i * ALERTS_PER_THREAD, is_resolving };
        assert_int_equal(pthread_create(&threads[i], NULL, run_rules, &rules[i]), 0);
    }
    for (int i = 0; i < RULE_THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

static void test_everything_at_once(void **state) {
    (void)state;
    struct receiver receiver = { .requests = 0 };
    (void)pthread_mutex_init(&receiver.mu, NULL);
    (void)pthread_cond_init(&receiver.cond, NULL);
    struct stub *stub = stub_start(serve, &receiver);
    char yaml[500];
    (void)snprintf(
        yaml, sizeof(yaml),
        "route: {receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s}\n"
        "receivers:\n"
        "  - name: hook\n"
        "    webhook_configs: [{url: 'http://127.0.0.1:%d/'}]\n"
        "    inbox_configs: [{}]\n",
        stub_port(stub));
    struct kv_memory *memory = kv_memory_create();
    struct notify_config *config = config_from_yaml(yaml);
    struct metric_registry *metrics = metric_registry_create();
    struct notify_options options = {
        .kv = kv_memory_store(memory),
        .config = config,
        .clock = clock_system(),
        .metrics = metrics,
    };
    struct notify *notify = NULL;
    struct err err = ERR_INIT;
    assert_true(notify_create(&options, &notify, &err));
    assert_true(notify_start(notify, &err));
    struct reader reader = { .notify = notify, .config = config };
    pthread_t reader_thread;
    assert_int_equal(pthread_create(&reader_thread, NULL, run_reader, &reader), 0);

    run_all_rules(notify, options.kv, false);
    wait_for(&receiver, receiver.counts);
    run_all_rules(notify, options.kv, true);
    wait_for(&receiver, receiver.resolved);

    atomic_store(&reader.is_done, true);
    (void)pthread_join(reader_thread, NULL);
    notify_stop(notify, 5000);
    for (int i = 0; i < ALERTS; i++) {
        assert_int_equal(receiver.counts[i], 1);
        assert_int_equal(receiver.resolved[i], 1);
    }
    assert_int_equal(receiver.requests, 2 * ALERTS);
    assert_int_equal(kv_memory_count(memory, KV_OUTBOX), 0);
    assert_int_equal(kv_memory_count(memory, KV_NOTIFY_ALERT), 0);
    assert_int_equal(kv_memory_count(memory, KV_INBOX), 2 * ALERTS);
    notify_destroy(notify);
    notify_config_unref(config);
    metric_registry_destroy(metrics);
    kv_memory_destroy(memory);
    stub_stop(stub);
}

/* Stopping while a receiver hangs: within the grace, and the message is sent again later. */
static void hang(void *ctx, int fd, int connection) {
    struct receiver *receiver = ctx;
    (void)connection;
    char *request = mem_alloc(1 << 20);
    size_t len = stub_read_request(fd, request, 1 << 20);
    (void)pthread_mutex_lock(&receiver->mu);
    receiver->counts[0] += len > 0 ? 1 : 0;
    (void)pthread_cond_broadcast(&receiver->cond);
    (void)pthread_mutex_unlock(&receiver->mu);
    mem_free(request);
    stub_wait_closed(fd);
}

static void test_stop_with_hanging_receiver(void **state) {
    (void)state;
    struct receiver receiver = { .requests = 0 };
    (void)pthread_mutex_init(&receiver.mu, NULL);
    (void)pthread_cond_init(&receiver.cond, NULL);
    for (int i = 1; i < ALERTS; i++) {
        receiver.counts[i] = 1;
    }
    struct stub *stub = stub_start(hang, &receiver);
    char yaml[500];
    (void)snprintf(yaml, sizeof(yaml),
                   "route: {receiver: hook, group_by: ['...'], group_wait: 0s}\n"
                   "receivers:\n"
                   "  - name: hook\n"
                   "    webhook_configs: [{url: 'http://127.0.0.1:%d/'}]\n",
                   stub_port(stub));
    struct kv_memory *memory = kv_memory_create();
    struct notify_config *config = config_from_yaml(yaml);
    struct notify_options options = {
        .kv = kv_memory_store(memory),
        .config = config,
        .clock = clock_system(),
    };
    struct notify *notify = NULL;
    struct err err = ERR_INIT;
    assert_true(notify_create(&options, &notify, &err));
    assert_true(notify_start(notify, &err));
    struct rules rules = { .notify = notify, .kv = options.kv };
    hand_over(&rules, 0, clock_wall_ms(clock_system()));
    wait_for(&receiver, receiver.counts);
    notify_stop(notify, 50);
    notify_destroy(notify);
    assert_int_equal(kv_memory_count(memory, KV_OUTBOX), 2); /* header and payload, in flight */
    notify_config_unref(config);
    kv_memory_destroy(memory);
    stub_stop(stub);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_at_once),
        cmocka_unit_test(test_stop_with_hanging_receiver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
