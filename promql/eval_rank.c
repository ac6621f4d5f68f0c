/* Order by value. */
#include "promql/eval_rank.h"

#include <math.h>
#include <stdlib.h>

static bool is_less(double a, double b, bool is_reverse) {
    return isnan(a) || (is_reverse ? a > b : a < b);
}

static void swap(struct ranked *a, struct ranked *b) {
    struct ranked kept = *a;
    *a = *b;
    *b = kept;
}

/* ---- heap ---- */

void rank_heap_push(struct rank_heap *heap, struct ranked item) {
    size_t at = heap->count++;
    heap->items[at] = item;
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!is_less(heap->items[at].value, heap->items[parent].value, heap->is_reverse)) {
            break;
        }
        swap(&heap->items[at], &heap->items[parent]);
        at = parent;
    }
}

static void sift_down(struct rank_heap *heap) {
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count &&
            is_less(heap->items[child + 1].value, heap->items[child].value, heap->is_reverse)) {
            child++;
        }
        if (!is_less(heap->items[child].value, heap->items[at].value, heap->is_reverse)) {
            break;
        }
        swap(&heap->items[at], &heap->items[child]);
        at = child;
    }
}

void rank_heap_offer(struct rank_heap *heap, struct ranked item) {
    double top = heap->items[0].value;
    bool is_better = heap->is_reverse ? top > item.value : top < item.value;
    if (is_better || (isnan(top) && !isnan(item.value))) {
        heap->items[0] = item;
        sift_down(heap);
    }
}

/* ---- sort ---- */

enum {
    INSERTION_SORT_MAX = 12, /* up to here Go's sort is an insertion sort, hence stable */
};

struct order {
    bool is_ascending;
};

static int compare(const void *a, const void *b, void *ctx) {
    const struct ranked *x = a;
    const struct ranked *y = b;
    const struct order *order = ctx;
    bool x_is_nan = isnan(x->value);
    bool y_is_nan = isnan(y->value);
    if (x_is_nan || y_is_nan) {
        if (x_is_nan != y_is_nan) {
            return x_is_nan ? 1 : -1;
        }
    } else if (x->value != y->value) {
        return (x->value < y->value) == order->is_ascending ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

void rank_sort(struct ranked *items, size_t count, bool is_ascending) {
    if (count > INSERTION_SORT_MAX) {
        struct order order = { .is_ascending = is_ascending };
        qsort_r(items, count, sizeof(items[0]), compare, &order);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        for (size_t k = i; k > 0 && is_less(items[k - 1].value, items[k].value, is_ascending);
             k--) {
            swap(&items[k], &items[k - 1]);
        }
    }
}
