/*
 * Goal: a store that takes samples out of order gives every one of them the right verdict and shows
 * each reader exactly what was stored when it began, through sealing, indexing, restarts and
 * crashes; nothing is lost and nothing counted twice. Method: random histories over some series
 * against a naive model (seeds printed), half of them with sealing going on beside all of it, and
 * the named cases one by one.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/tsdb/fixture.h"
#include "tsdb/db.h"
#include "tsdb/parts/part.h"
#include "tsdb/parts/window.h"

#define BLOCK_MS     (10 * MINUTE_MS)
#define SERIES_COUNT 12
#define TICK_MS      5000
#define TICKS        1500 /* about two hours: a dozen windows */
#define QUERIERS     3

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- the model: per series and tick a value or nothing ---- */

struct model {
    bool has[SERIES_COUNT][TICKS];
    double values[SERIES_COUNT][TICKS];
    int newest[SERIES_COUNT]; /* tick; -1 = none */
    size_t count;
};

struct open_querier {
    struct tsdb_querier *querier; /* NULL = none */
    struct model *seen;
};

struct world {
    struct fixture f;
    uint64_t seed;
    int64_t window_ms; /* as the store has it; INT64_MAX = any, 0 = none */
    struct model model;
    series_ref_t refs[SERIES_COUNT];
    struct open_querier queriers[QUERIERS];
    size_t late_count;
    bool is_busy; /* a thread seals all the time */
    pthread_t sealer;
    _Atomic bool is_stopping;
};

static int64_t time_of(int tick) {
    return FIXTURE_NOW_MS + (int64_t)tick * TICK_MS;
}

static enum tsdb_outcome model_put(struct world *w, int series, int tick, double value) {
    struct model *model = &w->model;
    int newest = model->newest[series];
    if (model->has[series][tick]) {
        return double_bits(model->values[series][tick]) == double_bits(value) ? TSDB_DUPLICATE
                                                                              : TSDB_CONFLICT;
    }
    if (tick < newest && (w->window_ms == 0 || (int64_t)(newest - tick) * TICK_MS > w->window_ms)) {
        return TSDB_OUT_OF_ORDER;
    }
    w->late_count += tick < newest;
    model->has[series][tick] = true;
    model->values[series][tick] = value;
    model->newest[series] = tick > newest ? tick : newest;
    model->count++;
    return TSDB_ACCEPTED;
}

/* ---- writing ---- */

static void get_refs(struct world *w) {
    for (int s = 0; s < SERIES_COUNT; s++) {
        char number[16];
        snprintf(number, sizeof(number), "%02d", s);
        w->refs[s] = make_series(&w->f, "m", PAIRS("s", number));
    }
}

static int pick_tick(struct world *w, int series) {
    int newest = w->model.newest[series];
    switch (next_random(&w->seed) % 6) {
    case 0: return (int)(next_random(&w->seed) % TICKS);
    case 1:
    case 2: {
        int back = (int)(next_random(&w->seed) % 150);
        return newest > back ? newest - back : 0;
    }
    default: {
        int next = newest + 1 + (int)(next_random(&w->seed) % 3);
        return next < TICKS ? next : newest;
    }
    }
}

static double pick_value(struct world *w, int series, int tick) {
    bool is_repeat = next_random(&w->seed) % 8 != 0 && w->model.has[series][tick];
    if (is_repeat) {
        return w->model.values[series][tick];
    }
    return (double)(next_random(&w->seed) % 1000) / 8;
}

struct expected {
    uint8_t outcomes[300];
    size_t count;
    bool is_right;
};

static void compare_outcomes(void *ctx, const struct tsdb_commit_result *result) {
    struct expected *expected = ctx;
    expected->is_right = result->is_durable && result->sample_count == expected->count &&
                         memcmp(result->outcomes, expected->outcomes, expected->count) == 0;
}

static void write_batch(struct world *w) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    struct expected expected = { .count =
                                     1 + next_random(&w->seed) % ARRAY_LEN(expected.outcomes) };
    assert_true(tsdb_batch_begin(w->f.db, TSDB_INGEST, &batch, &err));
    int focus = (int)(next_random(&w->seed) % SERIES_COUNT);
    for (size_t i = 0; i < expected.count; i++) {
        int series =
            next_random(&w->seed) % 2 == 0 ? focus : (int)(next_random(&w->seed) % SERIES_COUNT);
        int tick = pick_tick(w, series);
        double value = pick_value(w, series, tick < 0 ? 0 : tick);
        tick = tick < 0 ? 0 : tick;
        tsdb_batch_append(batch, w->refs[series], time_of(tick), value);
        expected.outcomes[i] = (uint8_t)model_put(w, series, tick, value);
    }
    tsdb_commit(batch, compare_outcomes, &expected);
    assert_true(tsdb_batch_begin(w->f.db, TSDB_INGEST, &batch, &err));
    assert_true(tsdb_commit_blocking(batch, NULL, &err)); /* the one before is through */
    assert_true(expected.is_right);
}

/* ---- reading ---- */

static void check_series(const struct model *model,
                         int series,
                         int first,
                         int last,
                         const struct tsdb_column *column) {
    size_t at = 0;
    for (int tick = first; tick <= last; tick++) {
        if (!model->has[series][tick]) {
            continue;
        }
        assert_true(at < column->count);
        assert_int_equal(column->t_ms[at], time_of(tick));
        assert_int_equal(double_bits(column->values[at]), double_bits(model->values[series][tick]));
        at++;
    }
    assert_int_equal(at, column->count);
}

static bool has_in_range(const struct model *model, int series, int first, int last) {
    for (int tick = first; tick <= last; tick++) {
        if (model->has[series][tick]) {
            return true;
        }
    }
    return false;
}

static void check_querier(struct world *w,
                          struct tsdb_querier *querier,
                          const struct model *model,
                          int first,
                          int last) {
    struct err err = ERR_INIT;
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "m");
    struct tsdb_series_view *views;
    size_t count;
    bool is_listed[SERIES_COUNT] = { false };
    assert_true(tsdb_select(querier, &matcher, 1, &w->f.arena, &views, &count, &err));
    struct tsdb_column column = { 0 };
    for (size_t i = 0; i < count; i++) {
        uint64_t series = 0;
        assert_true(str_parse_u64(labels_get(views[i].labels, STR("s")), &series));
        is_listed[series] = true;
        if (!tsdb_read(querier, views[i].id, time_of(first), time_of(last), &column, &err)) {
            fail_msg("tsdb_read: %s", err.msg);
        }
        check_series(model, (int)series, first, last, &column);
    }
    for (int s = 0; s < SERIES_COUNT; s++) {
        assert_true(is_listed[s] || !has_in_range(model, s, first, last));
    }
    tsdb_column_finish(&column);
    matcher_finish(&matcher);
}

static void check_all(struct world *w) {
    struct tsdb_querier *querier = open_querier(&w->f, INT64_MIN, INT64_MAX);
    check_querier(w, querier, &w->model, 0, TICKS - 1);
    tsdb_querier_close(querier);
}

static void check_range(struct world *w) {
    int first = (int)(next_random(&w->seed) % TICKS);
    int last = first + (int)(next_random(&w->seed) % 300);
    last = last < TICKS ? last : TICKS - 1;
    struct tsdb_querier *querier = open_querier(&w->f, time_of(first), time_of(last));
    check_querier(w, querier, &w->model, first, last);
    tsdb_querier_close(querier);
}

/* An open querier goes on seeing what it saw at first. */
static void turn_querier(struct world *w) {
    struct open_querier *slot = &w->queriers[next_random(&w->seed) % QUERIERS];
    if (slot->querier == NULL) {
        slot->querier = open_querier(&w->f, INT64_MIN, INT64_MAX);
        slot->seen = test_malloc(sizeof(*slot->seen));
        memcpy(slot->seen, &w->model, sizeof(*slot->seen));
        return;
    }
    check_querier(w, slot->querier, slot->seen, 0, TICKS - 1);
    tsdb_querier_close(slot->querier);
    test_free(slot->seen);
    *slot = (struct open_querier){ 0 };
}

static void close_queriers(struct world *w) {
    for (size_t i = 0; i < QUERIERS; i++) {
        if (w->queriers[i].querier != NULL) {
            check_querier(w, w->queriers[i].querier, w->queriers[i].seen, 0, TICKS - 1);
            tsdb_querier_close(w->queriers[i].querier);
            test_free(w->queriers[i].seen);
            w->queriers[i] = (struct open_querier){ 0 };
        }
    }
}

/* A batch shows its own samples to a querier over it, stored ones first. */
static void check_overlay(struct world *w) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    get_refs(w); /* some may have left the head; an overlay goes by refs */
    assert_true(tsdb_batch_begin(w->f.db, TSDB_STATE, &batch, &err));
    struct model *both = test_malloc(sizeof(*both));
    memcpy(both, &w->model, sizeof(*both));
    for (int i = 0; i < 20; i++) {
        int series = (int)(next_random(&w->seed) % SERIES_COUNT);
        int tick = (int)(next_random(&w->seed) % TICKS);
        double value = (double)i;
        tsdb_batch_append(batch, w->refs[series], time_of(tick), value);
        if (!both->has[series][tick]) {
            both->has[series][tick] = true;
            both->values[series][tick] = value;
        }
    }
    struct tsdb_querier *querier;
    assert_true(tsdb_querier_open(w->f.db, INT64_MIN, INT64_MAX, batch, &querier, &err));
    check_querier(w, querier, both, 0, TICKS - 1);
    tsdb_querier_close(querier);
    tsdb_batch_abandon(batch);
    test_free(both);
}

/* ---- sealing, restarts, crashes ---- */

static void maintain(struct world *w) {
    struct err err = ERR_INIT;
    if (!tsdb_maintain_blocking(w->f.db, &err)) {
        fail_msg("tsdb_maintain_blocking: %s", err.msg);
    }
}

static void *seal_all_the_time(void *arg) {
    struct world *w = arg;
    struct err err = ERR_INIT;
    while (!w->is_stopping && tsdb_maintain_blocking(w->f.db, &err)) {
    }
    return w->is_stopping ? NULL : arg;
}

static void start_sealer(struct world *w) {
    w->is_stopping = false;
    if (w->is_busy) {
        assert_int_equal(pthread_create(&w->sealer, NULL, seal_all_the_time, w), 0);
    }
}

static void stop_sealer(struct world *w) {
    void *failed = NULL;
    w->is_stopping = true;
    if (w->is_busy) {
        assert_int_equal(pthread_join(w->sealer, &failed), 0);
        assert_null(failed);
    }
}

/* Windows up to a random place are finished. */
static void move_clock(struct world *w) {
    int64_t to_ms = time_of((int)(next_random(&w->seed) % (TICKS + TICKS / 8)));
    int64_t now_ms = clock_wall_ms(&w->f.clock.clock);
    if (to_ms > now_ms) {
        fake_clock_advance(&w->f.clock, to_ms - now_ms);
    }
}

static int put_back_mark(void *ctx, struct store *store, MDB_txn *txn) {
    struct store_state state;
    struct err err = ERR_INIT;
    bool found;
    assert_true(store_get_state(store, txn, &state, &found, &err));
    state.applied_lsn = *(const uint64_t *)ctx;
    return store_put_state(store, txn, &state);
}

static uint64_t get_mark(struct world *w) {
    struct store *store = &w->f.db->store;
    struct store_state state;
    struct err err = ERR_INIT;
    bool found;
    MDB_txn *txn;
    assert_true(env_read_begin(&store->env, &txn, &err));
    assert_true(store_get_state(store, txn, &state, &found, &err));
    env_read_end(&store->env, txn);
    return state.applied_lsn;
}

static void copy_file(const char *from, const char *to) {
    FILE *in = fopen(from, "rb");
    FILE *out = fopen(to, "wb");
    assert_true(in != NULL && out != NULL);
    char *bytes = test_malloc(1 << 20);
    size_t len;
    while ((len = fread(bytes, 1, 1 << 20, in)) > 0) {
        assert_int_equal(fwrite(bytes, 1, len, out), len);
    }
    test_free(bytes);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* As if killed after the chunks were sealed and before the journal's mark moved: all of the journal
 * is there and is replayed over what is sealed. */
static void crash_after_sealing(struct world *w) {
    char live[128];
    char kept[128];
    struct err err = ERR_INIT;
    snprintf(live, sizeof(live), "%s/journal/data.mdb", w->f.dir);
    snprintf(kept, sizeof(kept), "%s/journal.kept", w->f.dir);
    fixture_reopen(&w->f);
    uint64_t mark = get_mark(w);
    copy_file(live, kept); /* nobody writes now */
    maintain(w);
    assert_true(store_write(w->f.db, put_back_mark, &mark, "putting back the mark", &err));
    fixture_close(&w->f);
    copy_file(kept, live);
    assert_int_equal(unlink(kept), 0);
    fixture_open(&w->f);
}

static uint64_t sealed_count(struct world *w) {
    struct store *store = &w->f.db->store;
    struct err err = ERR_INIT;
    struct part *parts = NULL;
    size_t count;
    uint64_t samples = 0;
    MDB_txn *txn;
    assert_true(env_read_begin(&store->env, &txn, &err));
    assert_true(part_list(store, txn, INT64_MIN, INT64_MAX, &parts, &count, &err));
    for (size_t i = 0; i < count; i++) {
        samples += parts[i].stats.sample_count;
    }
    env_read_end(&store->env, txn);
    free(parts);
    return samples;
}

/* ---- histories ---- */

static void world_init(struct world *w, uint64_t seed, int64_t out_of_order_ms, bool is_busy) {
    memset(w, 0, sizeof(*w));
    w->seed = seed;
    w->is_busy = is_busy;
    w->window_ms = out_of_order_ms == TSDB_OUT_OF_ORDER_NONE ? 0
                   : out_of_order_ms == 0                    ? HOUR_MS
                                                             : out_of_order_ms;
    for (int s = 0; s < SERIES_COUNT; s++) {
        w->model.newest[s] = -1;
    }
    fixture_init(&w->f);
    w->f.options.block_ms = BLOCK_MS;
    w->f.options.out_of_order_ms = out_of_order_ms;
    fixture_open(&w->f);
    get_refs(w);
    start_sealer(w);
}

static void reopen(struct world *w, bool is_crash) {
    close_queriers(w);
    stop_sealer(w);
    if (is_crash) {
        crash_after_sealing(w);
    } else {
        fixture_reopen(&w->f);
    }
    arena_reset(&w->f.arena);
    get_refs(w);
    start_sealer(w);
}

static void step(struct world *w) {
    switch (next_random(&w->seed) % 24) {
    case 0: check_all(w); break;
    case 1:
    case 2: check_range(w); break;
    case 3:
    case 4:
    case 5: turn_querier(w); break;
    case 6: check_overlay(w); break;
    case 7: move_clock(w); break;
    case 8:
    case 9:
    case 10: maintain(w); break;
    case 11: reopen(w, false); break;
    case 12: reopen(w, true); break;
    default: write_batch(w); break;
    }
}

static void run_history(uint64_t seed, int64_t out_of_order_ms, bool is_busy, int steps) {
    struct world *w = test_malloc(sizeof(*w));
    world_init(w, seed, out_of_order_ms, is_busy);
    for (int i = 0; i < steps; i++) {
        step(w);
    }
    close_queriers(w);
    stop_sealer(w);
    check_all(w);
    /* Seal all there is: every sample is counted once. */
    int64_t left_ms = time_of(TICKS) + HOUR_MS - clock_wall_ms(&w->f.clock.clock);
    fake_clock_advance(&w->f.clock, left_ms > 0 ? left_ms : 0);
    maintain(w);
    assert_int_equal(w->f.db->side.sample_count, 0);
    assert_int_equal(w->f.db->side.series_count, 0);
    assert_int_equal(w->f.db->side.bytes, 0);
    assert_int_equal(sealed_count(w), w->model.count);
    check_all(w);
    assert_true(w->late_count > 0 || w->window_ms == 0);
    fixture_finish(&w->f);
    test_free(w);
}

static void random_histories(void **state) {
    static const int64_t windows_ms[] = { 0, TSDB_OUT_OF_ORDER_ANY, TSDB_OUT_OF_ORDER_NONE,
                                          5 * MINUTE_MS };
    const char *seed_text = getenv("TOCSIN_SEED");
    const char *rounds_text = getenv("TOCSIN_ROUNDS");
    uint64_t seed = 20;
    uint64_t rounds = 12;
    if (seed_text != NULL) {
        assert_true(str_parse_u64(str_from(seed_text), &seed));
        rounds = 1;
    }
    if (rounds_text != NULL) {
        assert_true(str_parse_u64(str_from(rounds_text), &rounds));
    }
    for (uint64_t i = 0; i < rounds; i++, seed++) {
        printf("# TOCSIN_SEED=%llu\n", (unsigned long long)seed);
        run_history(seed * UINT64_C(0x9e3779b97f4a7c15) | 1, windows_ms[seed % 4],
                    seed / 4 % 2 == 1, 150);
    }
}

/* ---- named cases ---- */

static int setup(void **state) {
    struct fixture *f = test_calloc(1, sizeof(*f));
    fixture_init(f);
    f->options.block_ms = BLOCK_MS;
    f->options.out_of_order_ms = TSDB_OUT_OF_ORDER_ANY;
    fixture_open(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_finish(*state);
    test_free(*state);
    return 0;
}

static void seal(struct fixture *f) {
    struct err err = ERR_INIT;
    assert_true(tsdb_maintain_blocking(f->db, &err));
}

static const char *read_range(struct fixture *f, int64_t t_min_ms, int64_t t_max_ms) {
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "m");
    struct tsdb_querier *querier = open_querier(f, t_min_ms, t_max_ms);
    const char *text = read_all(f, querier, &matcher, 1);
    tsdb_querier_close(querier);
    matcher_finish(&matcher);
    return text;
}

#define START_MS (FIXTURE_NOW_MS / BLOCK_MS * BLOCK_MS)

/* Enough late samples are sealed before their window is finished; no index lists the series there
 * yet, and its sample in order is newer. */
static void sealed_and_not_indexed(void **state) {
    struct fixture *f = *state;
    series_ref_t ref = make_series(f, "m", NULL);
    assert_int_equal(put_sample(f, ref, START_MS + 9 * MINUTE_MS, 1), TSDB_ACCEPTED);
    for (int i = 0; i < SIDE_RUN_ENOUGH; i++) {
        assert_int_equal(put_sample(f, ref, START_MS + i * 1000, i), TSDB_ACCEPTED);
    }
    for (int round = 0; round < 3; round++) {
        const char *text = read_range(f, START_MS + 1000, START_MS + 1999);
        char want[64];
        snprintf(want, sizeof(want), "m %lld:1\n", (long long)START_MS + 1000);
        assert_string_equal(text, want);
        if (round == 0) {
            seal(f);
            assert_int_equal(f->db->side.sample_count, 0);
            assert_int_equal(f->db->head.open_count, 1);
        } else {
            fixture_reopen(f);
        }
    }
}

/* A window that was indexed long ago gets a series it did not have, while the series is known by
 * newer windows alone. */
static void into_an_indexed_window(void **state) {
    struct fixture *f = *state;
    series_ref_t other = make_series(f, "other", NULL);
    series_ref_t ref = make_series(f, "m", NULL);
    assert_int_equal(put_sample(f, other, START_MS - 50 * BLOCK_MS, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, START_MS - 20 * BLOCK_MS, 1), TSDB_ACCEPTED);
    seal(f);
    assert_int_equal(f->db->head.open_count, 0);
    assert_int_equal(put_sample(f, ref, START_MS - 50 * BLOCK_MS, 2), TSDB_ACCEPTED);
    char want[64];
    snprintf(want, sizeof(want), "m %lld:2\n", (long long)(START_MS - 50 * BLOCK_MS));
    for (int round = 0; round < 4; round++) {
        assert_string_equal(read_range(f, START_MS - 50 * BLOCK_MS, START_MS - 49 * BLOCK_MS),
                            want);
        assert_string_equal(read_range(f, START_MS - 60 * BLOCK_MS, START_MS - 51 * BLOCK_MS), "");
        if (round % 2 == 0) {
            seal(f);
        } else {
            fixture_reopen(f);
        }
    }
    /* Nothing holds it in the head any more: it leaves like any idle series. */
    fake_clock_advance(&f->clock, BLOCK_MS);
    seal(f);
    fake_clock_advance(&f->clock, BLOCK_MS);
    seal(f);
    fake_clock_advance(&f->clock, BLOCK_MS);
    seal(f);
    assert_int_equal(f->db->head.series_count, 0);
    assert_string_equal(read_range(f, START_MS - 50 * BLOCK_MS, START_MS - 49 * BLOCK_MS), want);
}

/* A late sample in a window of its own and unsealed keeps its journal record and its series. */
static void unsealed_is_kept(void **state) {
    struct fixture *f = *state;
    series_ref_t ref = make_series(f, "m", NULL);
    assert_int_equal(put_sample(f, ref, START_MS + 9 * MINUTE_MS, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, START_MS + 12 * MINUTE_MS, 1), TSDB_ACCEPTED);
    struct tsdb_querier *old = open_querier(f, INT64_MIN, INT64_MAX);
    assert_int_equal(put_sample(f, ref, START_MS + 8 * MINUTE_MS, 2), TSDB_ACCEPTED);
    fake_clock_advance(&f->clock, 5 * BLOCK_MS);
    seal(f); /* the open querier does not see the late one: it cannot be sealed */
    assert_int_equal(f->db->head.open_count, 0);
    assert_int_equal(f->db->side.sample_count, 1);
    for (int i = 0; i < 4; i++) {
        fake_clock_advance(&f->clock, BLOCK_MS);
        seal(f);
    }
    assert_int_equal(f->db->head.series_count, 1);
    tsdb_querier_close(old);
    fixture_reopen(f);
    assert_int_equal(f->db->side.sample_count, 1);
    assert_int_equal(put_sample(f, make_series(f, "m", NULL), START_MS + 8 * MINUTE_MS, 2),
                     TSDB_DUPLICATE);
    seal(f);
    fixture_reopen(f);
    assert_int_equal(f->db->side.sample_count, 0);
    assert_int_equal(put_sample(f, make_series(f, "m", NULL), START_MS + 8 * MINUTE_MS, 3),
                     TSDB_CONFLICT);
}

/* What was stored before the window was narrowed stays; the new window counts at once. */
static void window_changes(void **state) {
    struct fixture *f = *state;
    series_ref_t ref = make_series(f, "m", NULL);
    assert_int_equal(put_sample(f, ref, START_MS, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, START_MS - 1000 * HOUR_MS, 1), TSDB_ACCEPTED);
    tsdb_set_out_of_order(f->db, MINUTE_MS);
    assert_int_equal(put_sample(f, ref, START_MS - MINUTE_MS, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, START_MS - MINUTE_MS - 1, 1), TSDB_OUT_OF_ORDER);
    assert_int_equal(put_sample(f, ref, START_MS - 1000 * HOUR_MS, 1), TSDB_DUPLICATE);
    tsdb_set_out_of_order(f->db, TSDB_OUT_OF_ORDER_NONE);
    assert_int_equal(put_sample(f, ref, START_MS - 1, 1), TSDB_OUT_OF_ORDER);
    tsdb_set_out_of_order(f->db, 0);
    assert_int_equal(put_sample(f, ref, START_MS - HOUR_MS, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, START_MS - HOUR_MS - 1, 1), TSDB_OUT_OF_ORDER);
    assert_int_equal(put_sample(f, ref, INT64_MIN, 1), TSDB_OUT_OF_ORDER);
    tsdb_set_out_of_order(f->db, TSDB_OUT_OF_ORDER_ANY);
    assert_int_equal(put_sample(f, ref, INT64_MIN, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, INT64_MIN, 1), TSDB_DUPLICATE);
    seal(f);
    assert_int_equal(put_sample(f, ref, INT64_MIN, 1), TSDB_DUPLICATE);
    assert_int_equal(put_sample(f, ref, INT64_MIN, 2), TSDB_CONFLICT);
    assert_int_equal(put_sample(f, ref, INT64_MAX, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, INT64_MAX - 1, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, INT64_MAX - 1, 2), TSDB_CONFLICT);
}

/* The oldest window of the retention goes; what is older than it is refused, whatever is allowed */
static void retention_wins(void **state) {
    struct fixture *f = *state;
    fixture_close(f);
    f->options.retention_ms = 10 * BLOCK_MS;
    fixture_open(f);
    series_ref_t ref = make_series(f, "m", NULL);
    assert_int_equal(put_sample(f, ref, FIXTURE_NOW_MS, 1), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, FIXTURE_NOW_MS - 10 * BLOCK_MS, 2), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, ref, FIXTURE_NOW_MS - 10 * BLOCK_MS - 1, 2), TSDB_TOO_OLD);
    seal(f);
    fake_clock_advance(&f->clock, 2 * BLOCK_MS);
    seal(f);
    char want[64];
    snprintf(want, sizeof(want), "m %lld:1\n", (long long)FIXTURE_NOW_MS);
    assert_string_equal(read_name(f, "m"), want);
    fixture_reopen(f); /* the journal still has the late one: its window is gone for good */
    assert_string_equal(read_name(f, "m"), want);
    seal(f);
    assert_string_equal(read_name(f, "m"), want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sealed_and_not_indexed, setup, teardown),
        cmocka_unit_test_setup_teardown(into_an_indexed_window, setup, teardown),
        cmocka_unit_test_setup_teardown(unsealed_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(window_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(retention_wins, setup, teardown),
        cmocka_unit_test(random_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
