/* Samples out of order, until they are sealed: see side.h. */
#include "tsdb/head/side.h"

#include <assert.h>

#include "base/mem.h"

#define BLOCK_CAP_FIRST 4
#define TABLE_MIN       16

static struct side_table *make_table(uint32_t slot_count) {
    struct side_table *table =
        mem_calloc(1, sizeof(*table) + (size_t)slot_count * sizeof(table->slots[0]));
    table->mask = slot_count - 1;
    return table;
}

void side_init(struct side *side, int64_t block_ms, struct readers *readers) {
    *side = (struct side){ .block_ms = block_ms, .bytes_enough = SIDE_BYTES_SOFT };
    for (size_t i = 0; i < SIDE_STRIPE_COUNT; i++) {
        pthread_mutex_init(&side->stripes[i].lock, NULL);
        side->stripes[i].table = make_table(TABLE_MIN);
        retired_init(&side->stripes[i].garbage, readers);
    }
}

/* Around a change of what readers look at. The stripe is locked. */
static void begin_change(struct side_stripe *stripe) {
    RACE_STORE(&stripe->version, stripe->version + 1);
}

static void end_change(struct side_stripe *stripe) {
    begin_change(stripe);
}

/* ---- memory ---- */

static size_t block_bytes(uint32_t cap) {
    return sizeof(struct side_block) + cap * sizeof(struct side_sample);
}

static struct side_block *make_block(struct side *side, uint32_t cap) {
    struct side_block *block = mem_alloc(block_bytes(cap));
    block->cap = cap;
    block->count = 0;
    block->lsn_first = UINT64_MAX;
    side->bytes += block_bytes(cap);
    return block;
}

static void free_block(struct side *side, struct side_stripe *stripe, struct side_block *block) {
    side->bytes -= block_bytes(block->cap);
    side->sample_count -= block->count;
    retire(&stripe->garbage, block);
}

static void free_series(struct side *side, struct side_stripe *stripe, struct side_series *series) {
    for (uint32_t i = 0; i < series->block_count; i++) {
        free_block(side, stripe, series->blocks[i].block);
    }
    side->bytes -= sizeof(*series) + series->block_cap * sizeof(series->blocks[0]);
    side->series_count--;
    retire(&stripe->garbage, series->blocks);
    retire(&stripe->garbage, series);
}

void side_finish(struct side *side) {
    for (size_t i = 0; i < SIDE_STRIPE_COUNT; i++) {
        struct side_stripe *stripe = &side->stripes[i];
        for (size_t s = 0; s < stripe->count; s++) {
            free_series(side, stripe, stripe->series[s]);
        }
        mem_free(stripe->series);
        mem_free(stripe->table);
        retired_finish(&stripe->garbage);
        pthread_mutex_destroy(&stripe->lock);
    }
}

/* ---- finding ---- */

static struct side_stripe *lock_stripe(struct side *side, uint32_t handle) {
    struct side_stripe *stripe = &side->stripes[handle % SIDE_STRIPE_COUNT];
    pthread_mutex_lock(&stripe->lock);
    return stripe;
}

static uint32_t home_of(const struct side_table *table, uint32_t handle) {
    return (handle * UINT32_C(2654435761) >> 8) & table->mask;
}

struct side_series *side_series_of(const struct side_stripe *stripe, uint32_t handle) {
    const struct side_table *table = RACE_LOAD(&stripe->table);
    for (uint32_t i = home_of(table, handle);; i = (i + 1) & table->mask) {
        struct side_series *series = RACE_LOAD(&table->slots[i]);
        if (series == NULL || series->handle == handle) {
            return series;
        }
    }
}

static void table_put(struct side_table *table, struct side_series *series) {
    uint32_t i = home_of(table, series->handle);
    while (table->slots[i] != NULL) {
        i = (i + 1) & table->mask;
    }
    RACE_STORE(&table->slots[i], series);
}

/* With the series of the list. */
static void rebuild_table(struct side_stripe *stripe, uint32_t slot_count) {
    struct side_table *old = stripe->table;
    struct side_table *table = make_table(slot_count);
    for (size_t i = 0; i < stripe->count; i++) {
        table_put(table, stripe->series[i]);
    }
    RACE_STORE(&stripe->table, table);
    retire(&stripe->garbage, old);
}

/* Those that were pushed behind it move up. */
static void table_remove(struct side_table *table, const struct side_series *series) {
    uint32_t mask = table->mask;
    uint32_t hole = home_of(table, series->handle);
    while (table->slots[hole] != series) {
        hole = (hole + 1) & mask;
    }
    for (uint32_t i = (hole + 1) & mask; table->slots[i] != NULL; i = (i + 1) & mask) {
        uint32_t distance = (i - home_of(table, table->slots[i]->handle)) & mask;
        if (distance >= ((i - hole) & mask)) {
            RACE_STORE(&table->slots[hole], table->slots[i]);
            hole = i;
        }
    }
    RACE_STORE(&table->slots[hole], NULL);
}

/* Number of the last block that starts at or before t_ms; 0 when all start later. */
static uint32_t block_place(const struct side_series *series, int64_t t_ms) {
    uint32_t low = 0;
    uint32_t high = series->block_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (series->blocks[middle].t_first_ms <= t_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : low - 1;
}

/* Number of the first sample at or after t_ms. */
static uint32_t sample_place(const struct side_block *block, int64_t t_ms) {
    uint32_t low = 0;
    uint32_t high = block->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (block->samples[middle].t_ms < t_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* A place in the order of a series' samples; one behind the last at the end. */
struct cursor {
    const struct side_series *series; /* NULL: nothing */
    uint32_t block;
    uint32_t at;
};

/* The first sample at or after t_ms. */
static struct cursor seek(const struct side_series *series, int64_t t_ms) {
    struct cursor cursor = { .series = series };
    if (series != NULL && series->block_count > 0) {
        cursor.block = block_place(series, t_ms);
        cursor.at = sample_place(series->blocks[cursor.block].block, t_ms);
    }
    return cursor;
}

/* The sample there, moving on; NULL at the end or after t_max_ms. */
static const struct side_sample *next(struct cursor *cursor, int64_t t_max_ms) {
    const struct side_series *series = cursor->series;
    if (series == NULL) {
        return NULL;
    }
    if (cursor->block < series->block_count &&
        cursor->at == series->blocks[cursor->block].block->count) {
        cursor->block++;
        cursor->at = 0;
    }
    if (cursor->block == series->block_count) {
        return NULL;
    }
    const struct side_sample *sample = &series->blocks[cursor->block].block->samples[cursor->at];
    if (sample->t_ms > t_max_ms) {
        return NULL;
    }
    cursor->at++;
    return sample;
}

bool side_find(struct side *side, uint32_t handle, int64_t t_ms, uint64_t *ret_value_bits) {
    if (side_is_empty(side)) {
        return false;
    }
    struct side_stripe *stripe = lock_stripe(side, handle);
    struct cursor cursor = seek(side_series_of(stripe, handle), t_ms);
    const struct side_sample *sample = next(&cursor, t_ms);
    if (sample != NULL) {
        *ret_value_bits = sample->value_bits;
    }
    pthread_mutex_unlock(&stripe->lock);
    return sample != NULL;
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
    if (4 * stripe->count > 3 * ((size_t)stripe->table->mask + 1)) {
        rebuild_table(stripe, 2 * (stripe->table->mask + 1));
    } else {
        table_put(stripe->table, series);
    }
    side->bytes += sizeof(*series);
    side->series_count++;
    return series;
}

static void put_place(struct side_series *series, uint32_t at, struct side_place place) {
    RACE_STORE(&series->blocks[at].t_first_ms, place.t_first_ms);
    RACE_STORE(&series->blocks[at].block, place.block);
}

static void grow_places(struct side *side, struct side_stripe *stripe, struct side_series *series) {
    size_t cap = series->block_cap == 0 ? 4 : 2 * series->block_cap;
    struct side_place *old = series->blocks;
    struct side_place *places = mem_alloc(cap * sizeof(places[0]));
    if (old != NULL) {
        memcpy(places, old, series->block_count * sizeof(places[0]));
    }
    RACE_STORE(&series->blocks, places);
    side->bytes += (cap - series->block_cap) * sizeof(places[0]);
    series->block_cap = cap;
    retire(&stripe->garbage, old);
}

static void insert_block(struct side *side,
                         struct side_stripe *stripe,
                         struct side_series *series,
                         uint32_t at,
                         struct side_place place) {
    if (series->block_count == series->block_cap) {
        grow_places(side, stripe, series);
    }
    for (uint32_t i = series->block_count; i > at; i--) {
        put_place(series, i, series->blocks[i - 1]);
    }
    put_place(series, at, place);
    RACE_STORE(&series->block_count, series->block_count + 1);
}

static void put_sample(struct side_block *block, uint32_t at, struct side_sample sample) {
    RACE_STORE(&block->samples[at].t_ms, sample.t_ms);
    RACE_STORE(&block->samples[at].value_bits, sample.value_bits);
    RACE_STORE(&block->samples[at].lsn, sample.lsn);
}

static void note_lsns(struct side_block *block) {
    block->lsn_first = UINT64_MAX;
    for (uint32_t i = 0; i < block->count; i++) {
        uint64_t lsn = block->samples[i].lsn;
        block->lsn_first = lsn < block->lsn_first ? lsn : block->lsn_first;
    }
}

/* The newer half of a full block becomes the block after it. */
static void split_block(struct side *side,
                        struct side_stripe *stripe,
                        struct side_series *series,
                        uint32_t number) {
    struct side_block *block = series->blocks[number].block;
    struct side_block *newer = make_block(side, SIDE_BLOCK_MAX);
    uint32_t kept = block->count / 2;
    newer->count = block->count - kept;
    memcpy(newer->samples, block->samples + kept, newer->count * sizeof(newer->samples[0]));
    RACE_STORE(&block->count, kept);
    note_lsns(block);
    note_lsns(newer);
    insert_block(side, stripe, series, number + 1,
                 (struct side_place){ .t_first_ms = newer->samples[0].t_ms, .block = newer });
}

static void double_block(struct side *side, struct side_stripe *stripe, struct side_place *place) {
    struct side_block *old = place->block;
    struct side_block *block = make_block(side, old->cap * 2);
    memcpy(block->samples, old->samples, old->count * sizeof(old->samples[0]));
    block->count = old->count;
    block->lsn_first = old->lsn_first;
    RACE_STORE(&place->block, block);
    side->bytes -= block_bytes(old->cap);
    retire(&stripe->garbage, old);
}

static uint32_t insert_empty(struct side *side,
                             struct side_stripe *stripe,
                             struct side_series *series,
                             uint32_t at,
                             uint32_t cap,
                             int64_t t_ms) {
    struct side_place place = { .t_first_ms = t_ms, .block = make_block(side, cap) };
    insert_block(side, stripe, series, at, place);
    return at;
}

/* The number of the block for a sample of this time, with room for it. */
static uint32_t room_for(struct side *side,
                         struct side_stripe *stripe,
                         struct side_series *series,
                         int64_t t_ms) {
    if (series->block_count == 0) {
        return insert_empty(side, stripe, series, 0, BLOCK_CAP_FIRST, t_ms);
    }
    uint32_t number = block_place(series, t_ms);
    struct side_block *block = series->blocks[number].block;
    if (block->count < block->cap) {
        return number;
    }
    if (block->cap < SIDE_BLOCK_MAX) {
        double_block(side, stripe, &series->blocks[number]);
        return number;
    }
    bool is_newest =
        number + 1 == series->block_count && t_ms > block->samples[block->count - 1].t_ms;
    if (is_newest) {
        return insert_empty(side, stripe, series, number + 1, SIDE_BLOCK_MAX, t_ms);
    }
    split_block(side, stripe, series, number);
    return block_place(series, t_ms);
}

static void add(struct side *side,
                struct side_stripe *stripe,
                uint32_t handle,
                struct side_sample sample) {
    struct side_series *series = side_series_of(stripe, handle);
    if (series == NULL) {
        series = make_series(side, stripe, handle);
    }
    uint32_t number = room_for(side, stripe, series, sample.t_ms); /* moves the blocks */
    struct side_place *place = &series->blocks[number];
    struct side_block *block = place->block;
    uint32_t at = sample_place(block, sample.t_ms);
    if (at < block->count && block->samples[at].t_ms == sample.t_ms) {
        return;
    }
    for (uint32_t i = block->count; i > at; i--) {
        put_sample(block, i, block->samples[i - 1]);
    }
    put_sample(block, at, sample);
    RACE_STORE(&block->count, block->count + 1);
    block->lsn_first = sample.lsn < block->lsn_first ? sample.lsn : block->lsn_first;
    RACE_STORE(&place->t_first_ms, block->samples[0].t_ms);
    side->sample_count++;
}

void side_add(struct side *side, uint32_t handle, struct sample sample, uint64_t lsn) {
    struct side_stripe *stripe = lock_stripe(side, handle);
    begin_change(stripe);
    add(side, stripe, handle,
        (struct side_sample){
            .t_ms = sample.t_ms,
            .value_bits = double_bits(sample.value),
            .lsn = lsn,
        });
    end_change(stripe);
    pthread_mutex_unlock(&stripe->lock);
}

/* ---- looking ---- */

bool side_has(struct side *side, uint32_t handle) {
    if (side_is_empty(side)) {
        return false;
    }
    struct side_stripe *stripe = lock_stripe(side, handle);
    const struct side_series *series = side_series_of(stripe, handle);
    bool has = series != NULL && series->block_count > 0;
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
            for (uint32_t b = 0; b < series->block_count; b++) {
                uint64_t lsn = series->blocks[b].block->lsn_first;
                oldest = lsn < oldest ? lsn : oldest;
            }
        }
        pthread_mutex_unlock(&stripe->lock);
    }
    return oldest;
}

/* ---- sealing ---- */

struct run {
    int64_t window;
    uint64_t lsn_first;
    uint64_t lsn_last;
    size_t count;
};

static bool is_due(const struct run *run, const struct side_limits *limits) {
    if (run->lsn_first > limits->lsn_safe) {
        return false;
    }
    bool is_idle = run->window < limits->end_window && run->lsn_last <= limits->lsn_idle;
    return limits->is_all || is_idle || run->lsn_first <= limits->lsn_cut ||
           run->count >= SIDE_RUN_ENOUGH;
}

static int64_t window_last_ms(const struct side *side, int64_t window) {
    int64_t last = i64_floor_div(INT64_MAX, side->block_ms);
    return window >= last ? INT64_MAX : (window + 1) * side->block_ms - 1;
}

static int64_t window_first_ms(const struct side *side, int64_t window) {
    int64_t first = i64_floor_div(INT64_MIN, side->block_ms);
    return window <= first ? INT64_MIN : window * side->block_ms;
}

/* The run the cursor stands at the start of; false at the end. */
static bool next_run(const struct side *side, struct cursor *cursor, struct run *ret) {
    const struct side_sample *sample = next(cursor, INT64_MAX);
    if (sample == NULL) {
        return false;
    }
    *ret = (struct run){
        .window = i64_floor_div(sample->t_ms, side->block_ms),
        .lsn_first = UINT64_MAX,
    };
    int64_t t_max_ms = window_last_ms(side, ret->window);
    for (; sample != NULL; sample = next(cursor, t_max_ms)) {
        ret->lsn_first = sample->lsn < ret->lsn_first ? sample->lsn : ret->lsn_first;
        ret->lsn_last = sample->lsn > ret->lsn_last ? sample->lsn : ret->lsn_last;
        ret->count++;
    }
    return true;
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
            struct cursor cursor = { .series = stripe->series[s] };
            struct run run;
            while (next_run(side, &cursor, &run)) {
                if (is_due(&run, limits)) {
                    *ret = vec_grow(*ret, &cap, *ret_count + 1, sizeof((*ret)[0]));
                    (*ret)[(*ret_count)++] = (struct side_entry){
                        .window = run.window,
                        .handle = stripe->series[s]->handle,
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
    struct cursor cursor = seek(side_series_of(stripe, handle), window_first_ms(side, window));
    int64_t t_max_ms = window_last_ms(side, window);
    const struct side_sample *sample;
    while ((sample = next(&cursor, t_max_ms)) != NULL) {
        if (sample->lsn <= lsn_max) {
            column_append(column, sample->t_ms, double_from_bits(sample->value_bits));
        }
    }
    pthread_mutex_unlock(&stripe->lock);
}

/* What shall leave: samples in the range for which is_gone() says so. */
struct gone {
    int64_t t_min_ms;
    int64_t t_max_ms;
    bool (*is_gone)(void *ctx, uint32_t handle, struct side_sample sample);
    void *ctx;
};

static void thin_block(struct side *side,
                       struct side_series *series,
                       struct side_block *block,
                       const struct gone *gone) {
    uint32_t first = sample_place(block, gone->t_min_ms);
    uint32_t kept = first;
    for (uint32_t i = first; i < block->count; i++) {
        struct side_sample sample = block->samples[i];
        if (sample.t_ms <= gone->t_max_ms && gone->is_gone(gone->ctx, series->handle, sample)) {
            if (sample.t_ms > series->t_sealed_ms) {
                RACE_STORE(&series->t_sealed_ms, sample.t_ms);
            }
        } else {
            put_sample(block, kept++, sample);
        }
    }
    side->sample_count -= block->count - kept;
    RACE_STORE(&block->count, kept);
    note_lsns(block);
}

static void thin_series(struct side *side,
                        struct side_stripe *stripe,
                        struct side_series *series,
                        const struct gone *gone) {
    if (series->block_count == 0) {
        return;
    }
    begin_change(stripe);
    uint32_t at = block_place(series, gone->t_min_ms);
    uint32_t kept = at;
    for (; at < series->block_count; at++) {
        struct side_block *block = series->blocks[at].block;
        if (series->blocks[at].t_first_ms <= gone->t_max_ms) {
            thin_block(side, series, block, gone);
        }
        if (block->count > 0) {
            put_place(series, kept++,
                      (struct side_place){ .t_first_ms = block->samples[0].t_ms, .block = block });
        } else {
            free_block(side, stripe, block);
        }
    }
    RACE_STORE(&series->block_count, kept);
    end_change(stripe);
}

static bool is_up_to(void *ctx, uint32_t handle, struct side_sample sample) {
    const uint64_t *lsn_max = ctx;
    return sample.lsn <= *lsn_max;
}

void side_drop(struct side *side, uint32_t handle, int64_t window, uint64_t lsn_max) {
    struct gone gone = {
        .t_min_ms = window_first_ms(side, window),
        .t_max_ms = window_last_ms(side, window),
        .is_gone = is_up_to,
        .ctx = &lsn_max,
    };
    struct side_stripe *stripe = lock_stripe(side, handle);
    struct side_series *series = side_series_of(stripe, handle);
    if (series != NULL) {
        thin_series(side, stripe, series, &gone);
    }
    pthread_mutex_unlock(&stripe->lock);
}

void side_filter(struct side *side,
                 bool (*is_gone)(void *ctx, uint32_t handle, struct side_sample sample),
                 void *ctx) {
    struct gone gone = {
        .t_min_ms = INT64_MIN,
        .t_max_ms = INT64_MAX,
        .is_gone = is_gone,
        .ctx = ctx,
    };
    for (size_t i = 0; i < SIDE_STRIPE_COUNT && !side_is_empty(side); i++) {
        struct side_stripe *stripe = &side->stripes[i];
        pthread_mutex_lock(&stripe->lock);
        for (size_t s = 0; s < stripe->count; s++) {
            thin_series(side, stripe, stripe->series[s], &gone);
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
    begin_change(stripe);
    table_remove(stripe->table, series);
    stripe->count--;
    if (at < stripe->count) {
        stripe->series[at] = stripe->series[stripe->count];
    }
    free_series(side, stripe, series);
    end_change(stripe);
}

/* Give back what the handles that left take in the table. */
static void shrink_table(struct side_stripe *stripe) {
    uint32_t slot_count = TABLE_MIN;
    while (slot_count < 2 * stripe->count) {
        slot_count *= 2;
    }
    if (stripe->table->mask >= 4 * slot_count) {
        begin_change(stripe);
        rebuild_table(stripe, slot_count);
        end_change(stripe);
    }
}

void side_forget_sealed(struct side *side, struct head *head) {
    for (size_t i = 0; i < SIDE_STRIPE_COUNT && !side_is_empty(side); i++) {
        struct side_stripe *stripe = &side->stripes[i];
        for (size_t s = 0;; s++) {
            /* The head's locks come before the stripe's: look at the head without it. */
            pthread_mutex_lock(&stripe->lock);
            const struct side_series *series = s < stripe->count ? stripe->series[s] : NULL;
            bool is_done = series != NULL && series->block_count == 0;
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
            if (stripe->series[s]->block_count == 0) {
                forget(side, stripe, s);
                s--;
            }
            pthread_mutex_unlock(&stripe->lock);
        }
        pthread_mutex_lock(&stripe->lock);
        shrink_table(stripe);
        pthread_mutex_unlock(&stripe->lock);
    }
}
