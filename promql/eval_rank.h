/*
 * Order by value, as topk, bottomk and sort need it: a binary heap that keeps the k best and a sort
 * that puts NaN last. Heap and small sorts go through the same moves as Go's, so that ties fall
 * out as upstream's do.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"

struct ranked {
    double value;
    size_t index; /* whose value it is */
};

struct rank_heap {
    struct ranked *items;
    size_t count;
    bool is_reverse; /* greatest on top instead of smallest */
};

void rank_heap_push(struct rank_heap *heap, struct ranked item);
/* Offer an item to a full heap: it replaces the top if it is better. */
void rank_heap_offer(struct rank_heap *heap, struct ranked item);

/* Descending (or with is_ascending ascending) by value, NaN last. */
void rank_sort(struct ranked *items, size_t count, bool is_ascending);
