/* Window bounds by two cursors, kept for the next series with the same timestamps. */
#include "promql/window.h"

#include <assert.h>

enum {
    FRAMES_BYTES_MAX = 8 << 20,
};

void range_call_init(struct range_call *call,
                     struct eval *eval,
                     const struct node *node,
                     const struct node *arg,
                     const struct steps *steps) {
    *call = (struct range_call){
        .eval = eval,
        .node = node,
        .arg = arg,
        .steps = steps,
        .reach = range_reach(eval, arg),
    };
    size_t frame_bytes =
        steps->count * (2 * sizeof(uint32_t) + sizeof(int64_t) + sizeof(struct rate_step));
    size_t slot_count = FRAMES_BYTES_MAX / frame_bytes;
    call->frames.slot_count = slot_count < 1                   ? 1
                              : slot_count > WINDOW_FRAMES_MAX ? WINDOW_FRAMES_MAX
                                                               : slot_count;
    arena_init(&call->frames.arena, SIZE_MAX);
    arena_init(&call->scratch, SIZE_MAX);
}

void range_call_finish(struct range_call *call) {
    arena_finish(&call->frames.arena);
    arena_finish(&call->scratch);
}

uint32_t range_call_pos(const struct range_call *call) {
    /* Upstream replaces a subquery by its result, which has no place in the text. */
    return call->arg->kind == NODE_SUBQUERY ? 0 : call->arg->expr->pos_start;
}

void range_call_account(struct range_call *call, size_t count) {
    uint64_t before = call->produced + call->frame->largest;
    call->produced += count;
    uint64_t after = call->produced + (count > 0 ? call->frame->last : 0);
    call->peak = before > call->peak ? before : call->peak;
    call->peak = after > call->peak ? after : call->peak;
}

static void frame_bounds(const struct range_call *call, struct window_frame *frame) {
    const int64_t *t_ms = frame->t_ms;
    size_t lo = 0;
    size_t hi = 0;
    frame->total = 0;
    frame->largest = 0;
    for (size_t i = 0; i < call->steps->count; i++) {
        int64_t ref_ms = window_end_ms(call, i);
        int64_t from_ms = ref_ms - call->reach.before_ms;
        int64_t to_ms = ref_ms + call->reach.after_ms;
        while (lo < frame->count && t_ms[lo] <= from_ms) {
            lo++;
        }
        hi = hi < lo ? lo : hi;
        while (hi < frame->count && t_ms[hi] <= to_ms) {
            hi++;
        }
        frame->lo[i] = (uint32_t)lo;
        frame->hi[i] = (uint32_t)hi;
        size_t size = hi - lo;
        frame->total += size;
        frame->largest = size > frame->largest ? size : frame->largest;
    }
    frame->last = hi - lo;
}

struct window_frame *window_frame_get(struct range_call *call, const struct range_series *series) {
    assert(series->count > 0 && series->count < UINT32_MAX);
    size_t count = series->count;
    uint64_t mix = (uint64_t)series->t_ms[0] * UINT64_C(0x9e3779b97f4a7c15) ^
                   (uint64_t)series->t_ms[count - 1] * UINT64_C(0xc2b2ae3d27d4eb4f) ^
                   (uint64_t)count;
    struct window_frame *frame = &call->frames.slots[(mix >> 32) % call->frames.slot_count];
    if (frame->count == count &&
        memcmp(frame->t_ms, series->t_ms, count * sizeof(frame->t_ms[0])) == 0) {
        return frame;
    }
    struct arena *arena = &call->frames.arena;
    if (frame->lo == NULL) {
        frame->lo = arena_alloc(arena, call->steps->count * sizeof(frame->lo[0]));
        frame->hi = arena_alloc(arena, call->steps->count * sizeof(frame->hi[0]));
    }
    frame->t_ms =
        arena_vec_grow(arena, frame->t_ms, &frame->capacity, count, sizeof(frame->t_ms[0]));
    memcpy(frame->t_ms, series->t_ms, count * sizeof(frame->t_ms[0]));
    frame->count = count;
    frame->has_rate_steps = false;
    frame_bounds(call, frame);
    return frame;
}

bool window_apply(struct range_call *call,
                  window_eval_fn *fn,
                  const struct range_series *series,
                  struct step_series *out,
                  struct err *err) {
    const struct window_frame *frame = call->frame;
    for (size_t i = 0; i < call->steps->count; i++) {
        uint32_t lo = frame->lo[i];
        uint32_t hi = frame->hi[i];
        if (lo == hi) {
            continue;
        }
        struct window window = {
            .t_ms = series->t_ms + lo,
            .values = series->values + lo,
            .count = hi - lo,
            .step = i,
        };
        double value;
        if (!eval_work(call->eval, window.count, err)) {
            return false;
        }
        if (fn(call, &window, &value)) {
            step_series_set(out, i, value);
        }
    }
    return true;
}
