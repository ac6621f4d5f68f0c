/* Columns of decoded samples: growth, and decoding chunks into them. */
#include <assert.h>

#include "base/mem.h"
#include "tsdb/head.h"

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
