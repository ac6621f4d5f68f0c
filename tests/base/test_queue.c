/*
 * Goal: nothing is lost, doubled or reordered per producer, whatever the timing. Method: order and
 * limits on one thread; two producers and two consumers moving 40,000 numbered items through a
 * queue of eight.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/queue.h"
#include "tests/unit.h"

static void first_in_first_out(void **state) {
    int items[5];
    struct queue *queue = queue_create(3);
    assert_null(queue_pop_blocking(queue, 0));
    for (int round = 0; round < 4; round++) {
        assert_true(queue_try_push(queue, &items[0]));
        assert_true(queue_try_push(queue, &items[1]));
        assert_ptr_equal(queue_pop_blocking(queue, -1), &items[0]);
        assert_ptr_equal(queue_pop_blocking(queue, 1000), &items[1]);
    }
    queue_destroy(queue);
    queue_destroy(NULL);
}

static void a_full_queue_refuses_and_counts(void **state) {
    int items[5];
    struct queue *queue = queue_create(3);
    for (int i = 0; i < 3; i++) {
        assert_true(queue_try_push(queue, &items[i]));
    }
    assert_false(queue_try_push(queue, &items[3]));
    assert_false(queue_try_push(queue, &items[4]));
    assert_int_equal(queue_refused_total(queue), 2);
    assert_int_equal(queue_count(queue), 3);
    assert_ptr_equal(queue_pop_blocking(queue, 0), &items[0]);
    assert_true(queue_try_push(queue, &items[3]));
    assert_int_equal(queue_count(queue), 3);
    queue_destroy(queue);
}

static void a_closed_queue_drains(void **state) {
    int items[2];
    struct queue *queue = queue_create(2);
    assert_true(queue_try_push(queue, &items[0]));
    queue_close(queue);
    queue_close(queue);
    assert_false(queue_try_push(queue, &items[1]));
    assert_int_equal(queue_refused_total(queue), 1);
    assert_ptr_equal(queue_pop_blocking(queue, -1), &items[0]);
    assert_null(queue_pop_blocking(queue, -1));
    queue_destroy(queue);
}

static void *pop_one(void *arg) {
    return queue_pop_blocking(arg, -1);
}

static void close_wakes_a_waiter(void **state) {
    struct queue *queue = queue_create(1);
    pthread_t waiter;
    assert_int_equal(pthread_create(&waiter, NULL, pop_one, queue), 0);
    queue_close(queue);
    void *item = queue;
    assert_int_equal(pthread_join(waiter, &item), 0);
    assert_null(item);
    queue_destroy(queue);
}

static void an_empty_pop_times_out(void **state) {
    struct queue *queue = queue_create(1);
    assert_null(queue_pop_blocking(queue, 20));
    queue_destroy(queue);
}

enum {
    PRODUCERS = 2,
    CONSUMERS = 2,
    ITEMS_EACH = 20000,
};

struct item {
    int producer;
    int number;
    _Atomic int popped;
};

struct load {
    struct queue *queue;
    struct item *items; /* of this producer */
};

static void *produce(void *arg) {
    const struct load *load = arg;
    for (int i = 0; i < ITEMS_EACH; i++) {
        while (!queue_try_push(load->queue, &load->items[i])) {
            sched_yield();
        }
    }
    return NULL;
}

static void *consume(void *arg) {
    struct queue *queue = arg;
    int last[PRODUCERS] = { -1, -1 };
    uintptr_t is_ordered = 1;
    for (;;) {
        struct item *item = queue_pop_blocking(queue, -1);
        if (item == NULL) {
            return (void *)is_ordered;
        }
        if (item->number <= last[item->producer]) {
            is_ordered = 0;
        }
        last[item->producer] = item->number;
        atomic_fetch_add(&item->popped, 1);
    }
}

static void four_threads_lose_nothing(void **state) {
    static struct item items[PRODUCERS][ITEMS_EACH];
    struct queue *queue = queue_create(8);
    struct load loads[PRODUCERS];
    pthread_t producers[PRODUCERS];
    pthread_t consumers[CONSUMERS];
    for (int c = 0; c < CONSUMERS; c++) {
        assert_int_equal(pthread_create(&consumers[c], NULL, consume, queue), 0);
    }
    for (int p = 0; p < PRODUCERS; p++) {
        for (int i = 0; i < ITEMS_EACH; i++) {
            items[p][i].producer = p;
            items[p][i].number = i;
        }
        loads[p] = (struct load){ .queue = queue, .items = items[p] };
        assert_int_equal(pthread_create(&producers[p], NULL, produce, &loads[p]), 0);
    }
    for (int p = 0; p < PRODUCERS; p++) {
        assert_int_equal(pthread_join(producers[p], NULL), 0);
    }
    queue_close(queue);
    for (int c = 0; c < CONSUMERS; c++) {
        void *is_ordered = NULL;
        assert_int_equal(pthread_join(consumers[c], &is_ordered), 0);
        assert_non_null(is_ordered);
    }
    for (int p = 0; p < PRODUCERS; p++) {
        for (int i = 0; i < ITEMS_EACH; i++) {
            assert_int_equal(atomic_load(&items[p][i].popped), 1);
        }
    }
    assert_int_equal(queue_count(queue), 0);
    queue_destroy(queue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out),     cmocka_unit_test(a_full_queue_refuses_and_counts),
        cmocka_unit_test(a_closed_queue_drains),  cmocka_unit_test(close_wakes_a_waiter),
        cmocka_unit_test(an_empty_pop_times_out), cmocka_unit_test(four_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
