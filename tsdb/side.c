/* Runs of out-of-order samples: see side.h. */
#include "tsdb/side.h"

#include <assert.h>

#include "base/mem.h"

#define RUN_CAP_FIRST 4

void side_init(struct side *side, int64_t block_ms) {
    *side = (struct side){ .block_ms = block_ms };
    for (size_t i = 0; i < SIDE_STRIPE_COUNT; i++) {
        pthread_mutex_init(&side->stripes[i].lock, NULL);
        u64map_init(&side->stripes[i].numbers);
    }
}

/* ---- memory ---- */

static size_t run_bytes(const struct side_run *run) {
    return sizeof(*run) + run->cap * sizeof(run->samples[0]);
}

static void free_run(struct side *side, struct side_run *run) {
    side->bytes -= run_bytes(run);
    side->sample_count -= run->count;
    mem_free(run->samples);
    mem_free(run);
}

static void free_series(struct side *side, struct side_series *series) {
    for (uint32_t i = 0; i < series->run_count; i++) {
        free_run(side, series->runs[i]);
    }
    side->bytes -= sizeof(*series);
    side->series_count--;
    mem_free(series->runs);
    mem_free(series);
}

void side_finish(struct side *side) {
    for (size_t i = 0; i < SIDE_STRIPE_COUNT; i++) {
        struct side_stripe *stripe = &side->stripes[i];
        for (size_t s = 0; s < stripe->count; s++) {
            free_series(side, stripe->series[s]);
        }
        mem_free(stripe->series);
        u64map_finish(&stripe->numbers);
        pthread_mutex_destroy(&stripe->lock);
    }
}

/* ---- finding ---- */

static struct side_stripe *lock_stripe(struct side *side, uint32_t handle) {
    struct side_stripe *stripe = &side->stripes[handle % SIDE_STRIPE_COUNT];
    pthread_mutex_lock(&stripe->lock);
    return stripe;
}

static struct side_series *find_series(const struct side_stripe *stripe, uint32_t handle) {
    uint64_t number;
    bool is_here = u64map_get(&stripe->numbers, handle, &number) && number != 0;
    return is_here ? stripe->series[number - 1] : NULL;
}

/* Number of the first run whose window is not before `window`. */
static uint32_t run_place(const struct side_series *series, int64_t window) {
    uint32_t low = 0;
    uint32_t high = series->run_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (series->runs[middle]->window < window) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct side_run *find_run(const struct side_series *series, int64_t window) {
    uint32_t at = series == NULL ? 0 : run_place(series, window);
    bool is_here = series != NULL && at < series->run_count && series->runs[at]->window == window;
    return is_here ? series->runs[at] : NULL;
}

/* Number of the first sample at or after t_ms. */
static uint32_t sample_place(const struct side_run *run, int64_t t_ms) {
    uint32_t low = 0;
    uint32_t high = run->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (run->samples[middle].t_ms < t_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool side_find(struct side *side, uint32_t handle, int64_t t_ms, uint64_t *ret_value_bits) {
    if (side_is_empty(side)) {
        return false;
    }
    struct side_stripe *stripe = lock_stripe(side, handle);
    const struct side_run *run =
        find_run(find_series(stripe, handle), i64_floor_div(t_ms, side->block_ms));
    uint32_t at = run == NULL ? 0 : sample_place(run, t_ms);
    bool is_here = run != NULL && at < run->count && run->samples[at].t_ms == t_ms;
    if (is_here) {
        *ret_value_bits = run->samples[at].value_bits;
    }
    pthread_mutex_unlock(&stripe->lock);
    return is_here;
}

/* ---- adding ---- */

static struct side_series *make_series(struct side *side,
                                       struct side_stripe *stripe,
                                       uint32_t handle) {
    struct side_series *series = mem_calloc(1, sizeof(*series));
    series->handle = handle;
    series->t_sealed_ms = SIDE_T_SEALED_NONE;
    stripe->series =
        vec_grow(stripe->series, &stripe->cap, stripe->count + 1, sizeof(stripe->series[0]));
    stripe->series[stripe->count++] = series;
    u64map_put(&stripe->numbers, handle, stripe->count);
    side->bytes += sizeof(*series);
    side->series_count++;
    return series;
}

static struct side_run *make_run(struct side *side, struct side_series *series, int64_t window) {
    uint32_t at = run_place(series, window);
    if (at < series->run_count && series->runs[at]->window == window) {
        return series->runs[at];
    }
    struct side_run *run = mem_calloc(1, sizeof(*run));
    run->window = window;
    side->bytes += run_bytes(run);
    series->runs = vec_grow(series->runs, &series->run_cap, (size_t)series->run_count + 1,
                            sizeof(series->runs[0]));
    memmove(&series->runs[at + 1], &series->runs[at],
            (series->run_count - at) * sizeof(series->runs[0]));
    series->runs[at] = run;
    series->run_count++;
    return run;
}

static void insert_sample(struct side *side, struct side_run *run, struct side_sample sample) {
    uint32_t at = run->count;
    if (at > 0 && run->samples[at - 1].t_ms >= sample.t_ms) {
        at = sample_place(run, sample.t_ms);
        if (run->samples[at].t_ms == sample.t_ms) {
            return;
        }
    }
    if (run->count == run->cap) {
        uint32_t cap = run->cap == 0 ? RUN_CAP_FIRST : run->cap * 2;
        side->bytes += (uint64_t)(cap - run->cap) * sizeof(run->samples[0]);
        run->samples = mem_realloc(run->samples, cap * sizeof(run->samples[0]));
        run->cap = cap;
    }
    memmove(&run->samples[at + 1], &run->samples[at], (run->count - at) * sizeof(run->samples[0]));
    run->samples[at] = sample;
    if (run->count == 0) {
        run->lsn_first = sample.lsn;
    }
    run->lsn_last = sample.lsn;
    run->count++;
    side->sample_count++;
}

void side_add(struct side *side, uint32_t handle, struct sample sample, uint64_t lsn) {
    struct side_stripe *stripe = lock_stripe(side, handle);
    struct side_series *series = find_series(stripe, handle);
    if (series == NULL) {
        series = make_series(side, stripe, handle);
    }
    struct side_run *run = make_run(side, series, i64_floor_div(sample.t_ms, side->block_ms));
    insert_sample(side, run,
                  (struct side_sample){
                      .t_ms = sample.t_ms,
                      .value_bits = double_bits(sample.value),
                      .lsn = lsn,
                  });
    pthread_mutex_unlock(&stripe->lock);
}

/* ---- reading ---- */

static void read_run(const struct side_run *run,
                     const struct head_read *read,
                     struct tsdb_column *column) {
    for (uint32_t i = sample_place(run, read->t_min_ms);
         i < run->count && run->samples[i].t_ms <= read->t_max_ms; i++) {
        if (run->samples[i].lsn <= read->lsn) {
            column_append(column, run->samples[i].t_ms,
                          double_from_bits(run->samples[i].value_bits));
        }
    }
}

void side_read(struct side *side,
               const struct head_read *read,
               struct tsdb_column *column,
               int64_t *ret_t_sealed_ms) {
    *ret_t_sealed_ms = SIDE_T_SEALED_NONE;
    if (side_is_empty(side)) {
        return;
    }
    struct side_stripe *stripe = lock_stripe(side, read->handle);
    const struct side_series *series = find_series(stripe, read->handle);
    if (series != NULL) {
        int64_t last = i64_floor_div(read->t_max_ms, side->block_ms);
        uint32_t at = run_place(series, i64_floor_div(read->t_min_ms, side->block_ms));
        for (; at < series->run_count && series->runs[at]->window <= last; at++) {
            read_run(series->runs[at], read, column);
        }
        *ret_t_sealed_ms = series->t_sealed_ms;
    }
    pthread_mutex_unlock(&stripe->lock);
}

static bool run_has_in_range(const struct side_run *run, const struct head_read *read) {
    if (run->lsn_first > read->lsn) {
        return false;
    }
    for (uint32_t i = sample_place(run, read->t_min_ms);
         i < run->count && run->samples[i].t_ms <= read->t_max_ms; i++) {
        if (run->samples[i].lsn <= read->lsn) {
            return true;
        }
    }
    return false;
}

bool side_has_in_range(struct side *side, uint32_t handle, const struct head_read *read) {
    if (side_is_empty(side)) {
        return false;
    }
    bool has = false;
    struct side_stripe *stripe = lock_stripe(side, handle);
    const struct side_series *series = find_series(stripe, handle);
    if (series != NULL) {
        int64_t last = i64_floor_div(read->t_max_ms, side->block_ms);
        uint32_t at = run_place(series, i64_floor_div(read->t_min_ms, side->block_ms));
        for (; !has && at < series->run_count && series->runs[at]->window <= last; at++) {
            has = run_has_in_range(series->runs[at], read);
        }
    }
    pthread_mutex_unlock(&stripe->lock);
    return has;
}

int64_t side_first_ms(struct side *side, uint32_t handle) {
    int64_t t_ms = INT64_MAX;
    if (side_is_empty(side)) {
        return t_ms;
    }
    struct side_stripe *stripe = lock_stripe(side, handle);
    const struct side_series *series = find_series(stripe, handle);
    if (series != NULL && series->run_count > 0) {
        t_ms = series->runs[0]->samples[0].t_ms;
    }
    pthread_mutex_unlock(&stripe->lock);
    return t_ms;
}

bool side_has(struct side *side, uint32_t handle) {
    if (side_is_empty(side)) {
        return false;
    }
    struct side_stripe *stripe = lock_stripe(side, handle);
    const struct side_series *series = find_series(stripe, handle);
    bool has = series != NULL && series->run_count > 0;
    pthread_mutex_unlock(&stripe->lock);
    return has;
}

uint64_t side_lsn_oldest(struct side *side) {
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < SIDE_STRIPE_COUNT && !side_is_empty(side); i++) {
        struct side_stripe *stripe = &side->stripes[i];
        pthread_mutex_lock(&stripe->lock);
        for (size_t s = 0; s < stripe->count; s++) {
            const struct side_series *series = stripe->series[s];
            for (uint32_t r = 0; r < series->run_count; r++) {
                uint64_t lsn = series->runs[r]->lsn_first;
                oldest = lsn < oldest ? lsn : oldest;
            }
        }
        pthread_mutex_unlock(&stripe->lock);
    }
    return oldest;
}

/* ---- sealing ---- */

static bool is_due(const struct side_run *run, const struct side_limits *limits) {
    if (run->lsn_first > limits->lsn_safe) {
        return false;
    }
    bool is_idle = run->window < limits->end_window && run->lsn_last <= limits->lsn_idle;
    return limits->is_all || is_idle || run->lsn_first <= limits->lsn_cut ||
           run->count >= SIDE_RUN_ENOUGH;
}

void side_list(struct side *side,
               const struct side_limits *limits,
               struct side_entry **ret,
               size_t *ret_count) {
    size_t cap = 0;
    *ret = NULL;
    *ret_count = 0;
    for (size_t i = 0; i < SIDE_STRIPE_COUNT && !side_is_empty(side); i++) {
        struct side_stripe *stripe = &side->stripes[i];
        pthread_mutex_lock(&stripe->lock);
        for (size_t s = 0; s < stripe->count; s++) {
            const struct side_series *series = stripe->series[s];
            for (uint32_t r = 0; r < series->run_count; r++) {
                if (is_due(series->runs[r], limits)) {
                    *ret = vec_grow(*ret, &cap, *ret_count + 1, sizeof((*ret)[0]));
                    (*ret)[(*ret_count)++] = (struct side_entry){
                        .window = series->runs[r]->window,
                        .handle = series->handle,
                    };
                }
            }
        }
        pthread_mutex_unlock(&stripe->lock);
    }
}

void side_copy(struct side *side,
               uint32_t handle,
               int64_t window,
               uint64_t lsn_max,
               struct tsdb_column *column) {
    struct side_stripe *stripe = lock_stripe(side, handle);
    const struct side_run *run = find_run(find_series(stripe, handle), window);
    for (uint32_t i = 0; run != NULL && i < run->count; i++) {
        const struct side_sample *sample = &run->samples[i];
        if (sample->lsn <= lsn_max) {
            column_append(column, sample->t_ms, double_from_bits(sample->value_bits));
        }
    }
    pthread_mutex_unlock(&stripe->lock);
}

struct gone {
    bool (*is_gone)(void *ctx, uint32_t handle, struct side_sample sample);
    void *ctx;
};

/* Take out the samples that are gone; false when none is left. */
static bool thin_run(struct side *side,
                     struct side_series *series,
                     struct side_run *run,
                     const struct gone *gone) {
    uint32_t kept = 0;
    run->lsn_first = UINT64_MAX;
    run->lsn_last = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        struct side_sample sample = run->samples[i];
        if (gone->is_gone(gone->ctx, series->handle, sample)) {
            series->t_sealed_ms =
                sample.t_ms > series->t_sealed_ms ? sample.t_ms : series->t_sealed_ms;
        } else {
            run->lsn_first = sample.lsn < run->lsn_first ? sample.lsn : run->lsn_first;
            run->lsn_last = sample.lsn > run->lsn_last ? sample.lsn : run->lsn_last;
            run->samples[kept++] = sample;
        }
    }
    side->sample_count -= run->count - kept;
    run->count = kept;
    return kept > 0;
}

static void remove_run(struct side *side, struct side_series *series, uint32_t at) {
    free_run(side, series->runs[at]);
    series->run_count--;
    memmove(&series->runs[at], &series->runs[at + 1],
            (series->run_count - at) * sizeof(series->runs[0]));
}

static bool is_up_to(void *ctx, uint32_t handle, struct side_sample sample) {
    const uint64_t *lsn_max = ctx;
    return sample.lsn <= *lsn_max;
}

void side_drop(struct side *side, uint32_t handle, int64_t window, uint64_t lsn_max) {
    struct gone gone = { .is_gone = is_up_to, .ctx = &lsn_max };
    struct side_stripe *stripe = lock_stripe(side, handle);
    struct side_series *series = find_series(stripe, handle);
    struct side_run *run = find_run(series, window);
    if (run != NULL && !thin_run(side, series, run, &gone)) {
        remove_run(side, series, run_place(series, window));
    }
    pthread_mutex_unlock(&stripe->lock);
}

void side_filter(struct side *side,
                 bool (*is_gone)(void *ctx, uint32_t handle, struct side_sample sample),
                 void *ctx) {
    struct gone gone = { .is_gone = is_gone, .ctx = ctx };
    for (size_t i = 0; i < SIDE_STRIPE_COUNT && !side_is_empty(side); i++) {
        struct side_stripe *stripe = &side->stripes[i];
        pthread_mutex_lock(&stripe->lock);
        for (size_t s = 0; s < stripe->count; s++) {
            struct side_series *series = stripe->series[s];
            for (uint32_t r = series->run_count; r > 0; r--) {
                if (!thin_run(side, series, series->runs[r - 1], &gone)) {
                    remove_run(side, series, r - 1);
                }
            }
        }
        pthread_mutex_unlock(&stripe->lock);
    }
}

/* ---- forgetting ---- */

static int64_t head_first_ms(struct head *head, uint32_t handle) {
    struct tsdb_column none = { 0 };
    struct head_read read = {
        .handle = handle,
        .lsn = UINT64_MAX,
        .t_min_ms = INT64_MAX,
        .t_max_ms = INT64_MIN,
    };
    pthread_rwlock_rdlock(&head->index_lock);
    const struct series *series = head_at(head, handle);
    read.id = series == NULL ? 0 : series->id;
    pthread_rwlock_unlock(&head->index_lock);
    int64_t t_first_ms;
    head_read(head, &read, &none, &t_first_ms);
    assert(none.count == 0);
    return t_first_ms;
}

static void forget(struct side *side, struct side_stripe *stripe, size_t at) {
    struct side_series *series = stripe->series[at];
    u64map_put(&stripe->numbers, series->handle, 0);
    stripe->count--;
    if (at < stripe->count) {
        stripe->series[at] = stripe->series[stripe->count];
        u64map_put(&stripe->numbers, stripe->series[at]->handle, at + 1);
    }
    free_series(side, series);
}

/* Give back what the handles that left take in the map. */
static void rebuild_numbers(struct side_stripe *stripe) {
    if (stripe->numbers.count > 2 * stripe->count + 64) {
        u64map_reset(&stripe->numbers);
        for (size_t i = 0; i < stripe->count; i++) {
            u64map_put(&stripe->numbers, stripe->series[i]->handle, i + 1);
        }
    }
}

void side_forget_sealed(struct side *side, struct head *head) {
    for (size_t i = 0; i < SIDE_STRIPE_COUNT && !side_is_empty(side); i++) {
        struct side_stripe *stripe = &side->stripes[i];
        for (size_t s = 0;; s++) {
            /* The head's locks come before the stripe's: look at the head without it. */
            pthread_mutex_lock(&stripe->lock);
            const struct side_series *series = s < stripe->count ? stripe->series[s] : NULL;
            bool is_done = series != NULL && series->run_count == 0;
            uint32_t handle = series == NULL ? 0 : series->handle;
            int64_t t_sealed_ms = series == NULL ? 0 : series->t_sealed_ms;
            pthread_mutex_unlock(&stripe->lock);
            if (series == NULL) {
                break;
            }
            if (!is_done || head_first_ms(head, handle) <= t_sealed_ms) {
                continue;
            }
            pthread_mutex_lock(&stripe->lock);
            /* This thread alone takes series out; others only add, at the end. */
            if (stripe->series[s]->run_count == 0) {
                forget(side, stripe, s);
                s--;
            }
            pthread_mutex_unlock(&stripe->lock);
        }
        pthread_mutex_lock(&stripe->lock);
        rebuild_numbers(stripe);
        pthread_mutex_unlock(&stripe->lock);
    }
}
