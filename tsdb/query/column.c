/* Columns of decoded samples: growth, order, and decoding chunks into them. */
#include <assert.h>

#include "base/mem.h"
#include "tsdb/head/head.h"

void tsdb_column_finish(struct tsdb_column *column) {
    mem_free(column->t_ms);
    mem_free(column->values);
    *column = (struct tsdb_column){ 0 };
}

void tsdb_column_reserve(struct tsdb_column *column, size_t more) {
    size_t need = column->count + more;
    if (need <= column->cap) {
        return;
    }
    size_t cap = column->cap == 0 ? 2 * CHUNK_SAMPLES_MAX : column->cap;
    while (cap < need) {
        cap *= 2;
    }
    column->t_ms = mem_realloc(column->t_ms, cap * sizeof(column->t_ms[0]));
    column->values = mem_realloc(column->values, cap * sizeof(column->values[0]));
    column->cap = cap;
}

void column_append(struct tsdb_column *column, int64_t t_ms, double value) {
    tsdb_column_reserve(column, 1);
    column->t_ms[column->count] = t_ms;
    column->values[column->count] = value;
    column->count++;
}

/* ---- order ---- */

struct cells {
    int64_t *t_ms;
    double *values;
};

static void copy_cells(struct cells to, size_t at, struct cells from, size_t first, size_t count) {
    memcpy(to.t_ms + at, from.t_ms + first, count * sizeof(to.t_ms[0]));
    memcpy(to.values + at, from.values + first, count * sizeof(to.values[0]));
}

/* Two neighbouring runs of `from` into the same place of `to`; of equal times the left one. */
static void merge_runs(struct cells to,
                       struct cells from,
                       size_t first,
                       size_t middle,
                       size_t end) {
    size_t left = first;
    size_t right = middle;
    size_t at = first;
    while (left < middle && right < end) {
        size_t next = from.t_ms[left] <= from.t_ms[right] ? left++ : right++;
        to.t_ms[at] = from.t_ms[next];
        to.values[at] = from.values[next];
        at++;
    }
    copy_cells(to, at, from, left, middle - left);
    copy_cells(to, at + middle - left, from, right, end - right);
}

/* Starts of the ascending runs, and the end; returns their number. */
static size_t find_runs(const struct cells *cells, size_t count, size_t **ret_starts) {
    size_t cap = 0;
    size_t runs = 0;
    size_t *starts = NULL;
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || cells->t_ms[i - 1] > cells->t_ms[i]) {
            starts = vec_grow(starts, &cap, runs + 2, sizeof(starts[0]));
            starts[runs++] = i;
        }
    }
    starts[runs] = count;
    *ret_starts = starts;
    return runs;
}

/* Merge neighbouring runs until one is left; the result stands in `cells`. */
static void sort_cells(struct cells cells, size_t count) {
    size_t *starts;
    size_t runs = find_runs(&cells, count, &starts);
    struct cells spare = {
        .t_ms = mem_alloc(count * sizeof(int64_t)),
        .values = mem_alloc(count * sizeof(double)),
    };
    struct cells from = cells;
    struct cells to = spare;
    while (runs > 1) {
        size_t kept = 0;
        for (size_t i = 0; i < runs; i += 2) {
            size_t middle = starts[i + 1];
            size_t end = i + 1 < runs ? starts[i + 2] : middle;
            merge_runs(to, from, starts[i], middle, end);
            starts[kept++] = starts[i];
        }
        starts[kept] = count;
        runs = kept;
        struct cells swap = from;
        from = to;
        to = swap;
    }
    if (from.t_ms != cells.t_ms) {
        copy_cells(cells, 0, from, 0, count);
    }
    mem_free(spare.t_ms);
    mem_free(spare.values);
    mem_free(starts);
}

void column_sort(struct tsdb_column *column, size_t from) {
    size_t sorted = from + 1;
    while (sorted < column->count && column->t_ms[sorted - 1] < column->t_ms[sorted]) {
        sorted++;
    }
    if (sorted >= column->count) {
        return;
    }
    sort_cells((struct cells){ .t_ms = column->t_ms + from, .values = column->values + from },
               column->count - from);
    size_t kept = from + 1;
    for (size_t i = kept; i < column->count; i++) {
        if (column->t_ms[i] != column->t_ms[kept - 1]) {
            column->t_ms[kept] = column->t_ms[i];
            column->values[kept] = column->values[i];
            kept++;
        }
    }
    column->count = kept;
}

/* ---- decoding ---- */

bool column_decode(struct tsdb_column *column,
                   const struct chunk_view *chunk,
                   int64_t t_min_ms,
                   int64_t t_max_ms) {
    size_t count = chunk->count;
    tsdb_column_reserve(column, count);
    int64_t *t_ms = column->t_ms + column->count;
    double *values = column->values + column->count;
    if (!chunk_decode(chunk, t_ms, values)) {
        return false;
    }
    size_t first = 0;
    while (first < count && t_ms[first] < t_min_ms) {
        first++;
    }
    size_t end = count;
    while (end > first && t_ms[end - 1] > t_max_ms) {
        end--;
    }
    if (first > 0 && end > first) {
        memmove(t_ms, t_ms + first, (end - first) * sizeof(t_ms[0]));
        memmove(values, values + first, (end - first) * sizeof(values[0]));
    }
    column->count += end - first;
    assert(column->count <= column->cap);
    return true;
}
