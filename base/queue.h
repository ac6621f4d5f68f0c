/*
 * Bounded multi-producer, multi-consumer queue of pointers; the receiver owns what it pops.
 * A full queue refuses (and counts): degrade visibly, never drop silently.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

struct queue;

struct queue *queue_create(size_t count_max);
void queue_destroy(struct queue *queue); /* must be empty or its items owned elsewhere; NULL ok */

WARN_UNUSED bool queue_try_push(struct queue *queue, void *item); /* false: full or closed */

/* Blocks until an item, the queue is closed and drained (NULL), or timeout_ms passed (NULL;
 * -1 = no limit). */
void *queue_pop_blocking(struct queue *queue, int timeout_ms);

void queue_close(struct queue *queue); /* pops drain what is left, pushes fail */
size_t queue_count(struct queue *queue);
uint64_t queue_refused_total(struct queue *queue);
