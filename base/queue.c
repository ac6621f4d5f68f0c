/* Bounded queue of pointers: a ring under one mutex. */
#include "base/queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "base/clock.h"
#include "base/mem.h"

struct queue {
    /* immutable after create */
    size_t count_max;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* an item came, or the queue was closed */

    /* guarded by mutex */
    void **items;
    size_t first;
    size_t count;
    uint64_t refused;
    bool is_closed;
};

static void check(int rc, const char *what) {
    if (rc != 0) {
        BUG("%s failed: errno %d", what, rc);
    }
}

struct queue *queue_create(size_t count_max) {
    assert(count_max > 0);
    struct queue *queue = mem_calloc(1, sizeof(*queue));
    queue->count_max = count_max;
    queue->items = mem_calloc(count_max, sizeof(queue->items[0]));
    pthread_condattr_t attr;
    check(pthread_condattr_init(&attr), "pthread_condattr_init");
    check(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC), "pthread_condattr_setclock");
    check(pthread_cond_init(&queue->changed, &attr), "pthread_cond_init");
    check(pthread_condattr_destroy(&attr), "pthread_condattr_destroy");
    check(pthread_mutex_init(&queue->mutex, NULL), "pthread_mutex_init");
    return queue;
}

void queue_destroy(struct queue *queue) {
    if (queue == NULL) {
        return;
    }
    check(pthread_mutex_destroy(&queue->mutex), "pthread_mutex_destroy");
    check(pthread_cond_destroy(&queue->changed), "pthread_cond_destroy");
    mem_free(queue->items);
    mem_free(queue);
}

static void lock(struct queue *queue) {
    check(pthread_mutex_lock(&queue->mutex), "pthread_mutex_lock");
}

static void unlock(struct queue *queue) {
    check(pthread_mutex_unlock(&queue->mutex), "pthread_mutex_unlock");
}

bool queue_try_push(struct queue *queue, void *item) {
    assert(item != NULL);
    lock(queue);
    bool has_room = !queue->is_closed && queue->count < queue->count_max;
    if (has_room) {
        queue->items[(queue->first + queue->count) % queue->count_max] = item;
        queue->count++;
        check(pthread_cond_signal(&queue->changed), "pthread_cond_signal");
    } else {
        queue->refused++;
    }
    unlock(queue);
    return has_room;
}

static struct timespec deadline_after(int timeout_ms) {
    int64_t at_ns = clock_mono_ns(clock_system()) + timeout_ms * INT64_C(1000000);
    return (struct timespec){ .tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000 };
}

/* False when the deadline passed. */
static bool wait_locked(struct queue *queue, const struct timespec *deadline) {
    if (deadline == NULL) {
        check(pthread_cond_wait(&queue->changed, &queue->mutex), "pthread_cond_wait");
        return true;
    }
    int rc = pthread_cond_timedwait(&queue->changed, &queue->mutex, deadline);
    if (rc == ETIMEDOUT) {
        return false;
    }
    check(rc, "pthread_cond_timedwait");
    return true;
}

void *queue_pop_blocking(struct queue *queue, int timeout_ms) {
    struct timespec deadline = deadline_after(timeout_ms < 0 ? 0 : timeout_ms);
    void *item = NULL;
    lock(queue);
    while (queue->count == 0 && !queue->is_closed &&
           wait_locked(queue, timeout_ms < 0 ? NULL : &deadline)) {
        /* Woken, perhaps for nothing: look again. */
    }
    if (queue->count > 0) {
        item = queue->items[queue->first];
        queue->first = (queue->first + 1) % queue->count_max;
        queue->count--;
    }
    unlock(queue);
    return item;
}

void queue_close(struct queue *queue) {
    lock(queue);
    queue->is_closed = true;
    check(pthread_cond_broadcast(&queue->changed), "pthread_cond_broadcast");
    unlock(queue);
}

size_t queue_count(struct queue *queue) {
    lock(queue);
    size_t count = queue->count;
    unlock(queue);
    return count;
}

uint64_t queue_refused_total(struct queue *queue) {
    lock(queue);
    uint64_t refused = queue->refused;
    unlock(queue);
    return refused;
}
