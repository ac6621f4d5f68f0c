/* Encoding P3: working memory, the time column, whole payloads. */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tsdb/codec/p3_format.h"

/* Steps to try are multiples of these: scrapers tick in round numbers and arrive late. */
static const int64_t roundings_ms[] = { 1, 10, 100, 1000 };

void p3_encoder_init(struct p3_encoder *encoder) {
    *encoder = (struct p3_encoder){ 0 };
}

void p3_encoder_finish(struct p3_encoder *encoder) {
    mem_free(encoder->ints);
    mem_free(encoder->ulps);
    mem_free(encoder->residuals);
    mem_free(encoder->runs);
    mem_free(encoder->best);
    mem_free(encoder->trial);
    *encoder = (struct p3_encoder){ 0 };
}

void p3_encoder_reserve(struct p3_encoder *encoder, size_t count) {
    if (count <= encoder->cap) {
        return;
    }
    /* Two columns, and an exception for every sample: two uvarints and eight bytes. */
    size_t bytes = 2 * P3_INTS_BYTES_MAX(count) + 16 * count + 16;
    encoder->ints = mem_realloc(encoder->ints, count * sizeof(encoder->ints[0]));
    encoder->ulps = mem_realloc(encoder->ulps, count * sizeof(encoder->ulps[0]));
    encoder->residuals = mem_realloc(encoder->residuals, count * sizeof(encoder->residuals[0]));
    encoder->runs = mem_realloc(encoder->runs, count * sizeof(encoder->runs[0]));
    encoder->best = mem_realloc(encoder->best, bytes);
    encoder->trial = mem_realloc(encoder->trial, bytes);
    encoder->cap = count;
}

/* ---- times ---- */

static uint64_t average_step(const int64_t *t_ms, size_t count) {
    uint64_t span = (uint64_t)t_ms[count - 1] - (uint64_t)t_ms[0];
    return count == 1 ? 0 : span / (count - 1);
}

static bool is_exact(const int64_t *t_ms, size_t count, uint64_t step) {
    for (size_t i = 1; i < count; i++) {
        if ((uint64_t)t_ms[i] - (uint64_t)t_ms[i - 1] != step) {
            return false;
        }
    }
    return true;
}

/* How far times are from the grid of `step`. */
struct grid_fit {
    uint64_t range;
    size_t on_step; /* neighbours exactly one step apart */
};

static struct grid_fit fit_grid(const int64_t *t_ms, size_t count, uint64_t step) {
    struct grid_fit fit = { 0 };
    int64_t lowest = 0;
    int64_t highest = 0;
    for (size_t i = 1; i < count; i++) {
        int64_t off = (int64_t)((uint64_t)t_ms[i] - (uint64_t)t_ms[0] - i * step);
        lowest = off < lowest ? off : lowest;
        highest = off > highest ? off : highest;
        fit.on_step += (uint64_t)t_ms[i] - (uint64_t)t_ms[i - 1] == step;
    }
    fit.range = (uint64_t)i64_sub(highest, lowest);
    return fit;
}

static int compare_times(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t median_step(struct p3_encoder *encoder, const int64_t *t_ms, size_t count) {
    for (size_t i = 1; i < count; i++) {
        encoder->ints[i - 1] = i64_sub(t_ms[i], t_ms[i - 1]);
    }
    qsort(encoder->ints, count - 1, sizeof(encoder->ints[0]), compare_times);
    return (uint64_t)encoder->ints[(count - 1) / 2];
}

/* Regular ticks with a hole or two keep their step; jittered ones get the grid they lie on. */
static uint64_t choose_step(struct p3_encoder *encoder, const int64_t *t_ms, size_t count) {
    uint64_t best = median_step(encoder, t_ms, count);
    struct grid_fit best_fit = fit_grid(t_ms, count, best);
    if (best_fit.on_step * 2 > count) {
        return best;
    }
    int64_t average = (int64_t)average_step(t_ms, count);
    for (size_t i = 0; i < ARRAY_LEN(roundings_ms); i++) {
        int64_t unit = roundings_ms[i];
        int64_t step = i64_add_sat(average, unit / 2);
        step -= step % unit;
        struct grid_fit fit = fit_grid(t_ms, count, (uint64_t)step);
        if (fit.range < best_fit.range) {
            best = (uint64_t)step;
            best_fit = fit;
        }
    }
    return best;
}

void p3_times_encode(struct p3_encoder *encoder,
                     const int64_t *t_ms,
                     size_t count,
                     struct buf *out) {
    assert(count >= 1 && count <= P3_SAMPLES_MAX);
    if (is_exact(t_ms, count, average_step(t_ms, count))) {
        buf_putc(out, P3_TIMES_EXACT);
        return;
    }
    p3_encoder_reserve(encoder, count);
    uint64_t step = choose_step(encoder, t_ms, count);
    for (size_t i = 0; i < count; i++) {
        encoder->ints[i] = (int64_t)((uint64_t)t_ms[i] - (uint64_t)t_ms[0] - i * step);
    }
    uint8_t *end = encoder->trial;
    *end++ = P3_TIMES_GRID;
    end = bytes_put_uvarint(end, step);
    end = p3_ints_encode(encoder->ints, count, encoder->residuals, end);
    size_t len = (size_t)(end - encoder->trial);
    if (len < 1 + 8 * count) {
        buf_append(out, encoder->trial, len);
        return;
    }
    buf_putc(out, P3_TIMES_RAW);
    for (size_t i = 0; i < count; i++) {
        buf_le64(out, (uint64_t)t_ms[i]);
    }
}

void p3_encode(struct p3_encoder *encoder,
               const int64_t *t_ms,
               const double *values,
               size_t count,
               struct buf *out) {
    p3_values_encode(encoder, values, count, NULL, out);
    p3_times_encode(encoder, t_ms, count, out);
}

void p3_group_encode(struct p3_encoder *encoder,
                     const double *values,
                     size_t count,
                     const double *neighbour,
                     struct buf *out) {
    p3_values_encode(encoder, values, count, neighbour, out);
}
