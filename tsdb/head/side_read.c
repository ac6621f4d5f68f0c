/*
 * Reading the side without a lock: what was read counts if the version of the stripe is still the
 * one it began with. A reader waits for nobody but for a writer in the middle of one change.
 */
#include <sched.h>

#include "tsdb/head/side.h"

struct look {
    const struct side_stripe *stripe;
    const struct side_series *series; /* NULL: not here */
    const struct side_place *places;
    uint32_t place_count;
    uint32_t version;
};

static bool is_good(const struct look *look) {
    return RACE_LOAD(&look->stripe->version) == look->version;
}

/* False: look again. */
static bool look_at(struct side *side, uint32_t handle, struct look *ret) {
    const struct side_stripe *stripe = &side->stripes[handle % SIDE_STRIPE_COUNT];
    *ret = (struct look){ .stripe = stripe, .version = RACE_LOAD(&stripe->version) };
    if ((ret->version & 1) != 0) {
        sched_yield();
        return false;
    }
    ret->series = side_series_of(stripe, handle);
    if (ret->series != NULL) {
        ret->place_count = RACE_LOAD(&ret->series->block_count);
        ret->places = RACE_LOAD(&ret->series->blocks);
    }
    return is_good(ret);
}

/* Calls visit for the samples in range that the snapshot sees, ascending, until it returns false.
 * False: what was visited means nothing. */
static bool visit_samples(const struct look *look,
                          const struct head_read *read,
                          bool (*visit)(void *ctx, int64_t t_ms, uint64_t value_bits),
                          void *ctx) {
    bool goes_on = true;
    for (uint32_t i = 0; goes_on && i < look->place_count; i++) {
        bool is_before = i + 1 < look->place_count &&
                         RACE_LOAD(&look->places[i + 1].t_first_ms) <= read->t_min_ms;
        const struct side_block *block = RACE_LOAD(&look->places[i].block);
        if (is_before || RACE_LOAD(&look->places[i].t_first_ms) > read->t_max_ms) {
            continue;
        }
        uint32_t count = RACE_LOAD(&block->count);
        for (uint32_t at = 0; goes_on && at < count; at++) {
            const struct side_sample *sample = &block->samples[at];
            int64_t t_ms = RACE_LOAD(&sample->t_ms);
            if (t_ms >= read->t_min_ms && t_ms <= read->t_max_ms &&
                RACE_LOAD(&sample->lsn) <= read->lsn) {
                goes_on = visit(ctx, t_ms, RACE_LOAD(&sample->value_bits));
            }
        }
    }
    return is_good(look);
}

static bool add_to_column(void *ctx, int64_t t_ms, uint64_t value_bits) {
    column_append(ctx, t_ms, double_from_bits(value_bits));
    return true;
}

void side_read(struct side *side,
               const struct head_read *read,
               struct tsdb_column *column,
               int64_t *ret_t_sealed_ms) {
    size_t had = column->count;
    bool is_done = side_is_empty(side);
    *ret_t_sealed_ms = SIDE_T_SEALED_NONE;
    while (!is_done) {
        struct look look;
        column->count = had;
        is_done = look_at(side, read->handle, &look);
        if (is_done && look.series != NULL) {
            *ret_t_sealed_ms = RACE_LOAD(&look.series->t_sealed_ms);
            is_done = visit_samples(&look, read, add_to_column, column);
        }
    }
}

struct first {
    bool is_found;
    int64_t t_ms;
};

static bool note_first(void *ctx, int64_t t_ms, uint64_t value_bits) {
    *(struct first *)ctx = (struct first){ .is_found = true, .t_ms = t_ms };
    return false;
}

static struct first find_first(struct side *side, const struct head_read *read) {
    struct first first = { 0 };
    bool is_done = side_is_empty(side);
    while (!is_done) {
        struct look look;
        first.is_found = false;
        is_done = look_at(side, read->handle, &look) &&
                  (look.series == NULL || visit_samples(&look, read, note_first, &first));
    }
    return first;
}

bool side_has_in_range(struct side *side, uint32_t handle, const struct head_read *read) {
    struct head_read of_handle = *read;
    of_handle.handle = handle;
    return find_first(side, &of_handle).is_found;
}

int64_t side_first_ms(struct side *side, uint32_t handle) {
    struct head_read read = {
        .handle = handle,
        .lsn = UINT64_MAX,
        .t_min_ms = INT64_MIN,
        .t_max_ms = INT64_MAX,
    };
    struct first first = find_first(side, &read);
    return first.is_found ? first.t_ms : INT64_MAX;
}
