/*
 * Goal: whatever happens to a store in whatever order, reading gives what a naive model holds.
 * Method: random commits (in order, late, repeated, in conflict), deletions, maintenance, restarts,
 * backups that are restored and hours that pass, with and without retention; after every few of
 * them everything is read, as samples and as buckets, and compared. The seed is printed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "tests/tsdb/fixture.h"
#include "tsdb/rollup/rollup.h"

#define SERIES    9
#define ROUNDS    140
#define DAY_MS    (24 * HOUR_MS)
#define REACH_MS  (36 * HOUR_MS) /* late samples and deletions */
#define CLASS_MS  (2 * DAY_MS)
#define RETAIN_MS (4 * DAY_MS)

struct model {
    struct sample *samples; /* ascending */
    size_t count;
    size_t cap;
    series_ref_t ref; /* of this opening; 0: not asked for yet */
};

struct rig {
    struct fixture f;
    struct model models[SERIES];
    struct matcher cls;
    uint64_t seed;
    char root[64]; /* backups */
    int backups;
    bool has_base; /* a backup nothing was deleted since */
    bool has_retention;
};

static uint64_t dice(struct rig *rig, uint64_t sides) {
    rig->seed = rig->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (rig->seed >> 33) % sides;
}

static int64_t now_ms(struct rig *rig) {
    return clock_wall_ms(&rig->f.clock.clock);
}

static const char *at(struct rig *rig, const char *name) {
    CLEANUP(buf_finish) struct buf path;
    buf_init(&path, 256);
    buf_printf(&path, "%s/%s", rig->root, name);
    return arena_str(&rig->f.arena, buf_as_str(&path)).ptr;
}

static int setup_with(void **state, bool has_retention) {
    struct rig *rig = mem_calloc(1, sizeof(*rig));
    fixture_init(&rig->f);
    snprintf(rig->root, sizeof(rig->root), "/tmp/tocsin-model-XXXXXX");
    assert_non_null(mkdtemp(rig->root));
    random_bytes(&rig->seed, sizeof(rig->seed));
    print_message("# seed %llu\n", (unsigned long long)rig->seed);
    struct tsdb_options *options = &rig->f.options;
    options->out_of_order_ms = TSDB_OUT_OF_ORDER_ANY;
    options->rollups[0] = (struct tsdb_rollup){ .resolution_ms = 5 * MINUTE_MS };
    options->rollups[1] = (struct tsdb_rollup){ .resolution_ms = HOUR_MS };
    options->rollup_count = 2;
    options->ship_dir = at(rig, "ship");
    rig->has_retention = has_retention;
    rig->cls = make_matcher(MATCH_EQ, "job", "a");
    if (has_retention) {
        options->retention_ms = RETAIN_MS;
        options->retention_classes[0] = (struct tsdb_retention_class){
            .matchers = &rig->cls,
            .matcher_count = 1,
            .retention_ms = CLASS_MS,
        };
        options->retention_class_count = 1;
    }
    fixture_open(&rig->f);
    *state = rig;
    return 0;
}

static int setup(void **state) {
    return setup_with(state, false);
}

static int setup_retention(void **state) {
    return setup_with(state, true);
}

static int teardown(void **state) {
    struct rig *rig = *state;
    fixture_finish(&rig->f);
    remove_tree(rig->root);
    for (size_t s = 0; s < SERIES; s++) {
        mem_free(rig->models[s].samples);
    }
    matcher_finish(&rig->cls);
    mem_free(rig);
    return 0;
}

/* ---- the model ---- */

static const char *const jobs[] = { "a", "b", "c" };
static const char *const names[] = { "x_total", "y_total", "z" };

static size_t find_time(const struct model *model, int64_t t_ms) {
    size_t low = 0;
    size_t high = model->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (model->samples[middle].t_ms < t_ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static enum tsdb_outcome model_put(struct model *model, struct sample sample) {
    size_t spot = find_time(model, sample.t_ms);
    if (spot < model->count && model->samples[spot].t_ms == sample.t_ms) {
        return double_bits(model->samples[spot].value) == double_bits(sample.value) ? TSDB_DUPLICATE
                                                                                    : TSDB_CONFLICT;
    }
    model->samples =
        vec_grow(model->samples, &model->cap, model->count + 1, sizeof(model->samples[0]));
    memmove(model->samples + spot + 1, model->samples + spot,
            (model->count - spot) * sizeof(model->samples[0]));
    model->samples[spot] = sample;
    model->count++;
    return TSDB_ACCEPTED;
}

static size_t model_delete(struct model *model, int64_t from_ms, int64_t to_ms) {
    size_t first = find_time(model, from_ms);
    size_t end = to_ms == INT64_MAX ? model->count : find_time(model, to_ms + 1);
    if (end <= first) {
        return 0;
    }
    memmove(model->samples + first, model->samples + end,
            (model->count - end) * sizeof(model->samples[0]));
    model->count -= end - first;
    return end - first;
}

/* ---- what happens ---- */

static double make_value(struct rig *rig, size_t s) {
    uint64_t chance = dice(rig, 200);
    if (chance == 0) {
        return double_from_bits(STALE_NAN_BITS);
    }
    if (chance == 1) {
        return double_from_bits(NORMAL_NAN_BITS);
    }
    return s % 3 == 2 ? (double)dice(rig, 1000) - 500 : (double)dice(rig, 100000);
}

struct pick {
    size_t series;
    struct sample sample;
};

struct heard {
    const enum tsdb_outcome *expected;
    size_t count;
    size_t differing; /* the first; count when none */
    int outcome;
};

static void hear(void *ctx, const struct tsdb_commit_result *result) {
    struct heard *heard = ctx;
    heard->differing = heard->count;
    for (size_t i = heard->count; i > 0; i--) {
        if (!result->is_durable || result->outcomes[i - 1] != heard->expected[i - 1]) {
            heard->differing = i - 1;
            heard->outcome = result->is_durable ? result->outcomes[i - 1] : -1;
        }
    }
}

static void commit(struct rig *rig, const struct pick *picks, size_t count) {
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    assert_true(tsdb_batch_begin(rig->f.db, TSDB_INGEST, &batch, &err));
    enum tsdb_outcome *expected = mem_alloc((count + 1) * sizeof(expected[0]));
    for (size_t i = 0; i < count; i++) {
        struct model *model = &rig->models[picks[i].series];
        if (model->ref == 0) {
            size_t s = picks[i].series;
            model->ref = make_series(&rig->f, names[s / 3], PAIRS("job", jobs[s % 3]));
        }
        tsdb_batch_append(batch, model->ref, picks[i].sample.t_ms, picks[i].sample.value);
        expected[i] = model_put(model, picks[i].sample);
    }
    struct heard heard = { .expected = expected, .count = count };
    tsdb_commit(batch, hear, &heard);
    /* A second commit ends behind the first. */
    assert_true(tsdb_batch_begin(rig->f.db, TSDB_INGEST, &batch, &err));
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
    if (heard.differing < count) {
        fail_msg("sample %lld of series %zu: outcome %d, not %d",
                 (long long)picks[heard.differing].sample.t_ms, picks[heard.differing].series,
                 heard.outcome, (int)expected[heard.differing]);
    }
    mem_free(expected);
}

static void write_on(struct rig *rig, int64_t from_ms) {
    struct pick *picks = NULL;
    size_t count = 0;
    size_t cap = 0;
    for (size_t s = 0; s < SERIES; s++) {
        if (dice(rig, 4) == 0) {
            continue;
        }
        int64_t gap_ms = 1000 * (int64_t)(15 + dice(rig, 3) * 45);
        int64_t t = dice(rig, 2) == 0 ? from_ms / gap_ms * gap_ms + gap_ms
                                      : from_ms + 1 + (int64_t)dice(rig, 1000);
        for (; t <= now_ms(rig); t += gap_ms) {
            picks = vec_grow(picks, &cap, count + 1, sizeof(picks[0]));
            picks[count++] = (struct pick){ s, { .t_ms = t, .value = make_value(rig, s) } };
        }
    }
    if (count > 0) {
        commit(rig, picks, count);
    }
    mem_free(picks);
}

static void write_late(struct rig *rig) {
    struct pick picks[40];
    size_t count = 1 + dice(rig, ARRAY_LEN(picks));
    for (size_t i = 0; i < count; i++) {
        size_t s = dice(rig, SERIES);
        const struct model *model = &rig->models[s];
        int64_t t = now_ms(rig) - (int64_t)dice(rig, REACH_MS);
        picks[i] = (struct pick){ s, { .t_ms = t, .value = make_value(rig, s) } };
        size_t spot = find_time(model, t);
        if (dice(rig, 4) == 0 && spot < model->count) { /* again, or nearly */
            picks[i].sample = model->samples[spot];
            picks[i].sample.value = dice(rig, 2) == 0 ? 0.5 : picks[i].sample.value;
        }
        if (dice(rig, 6) == 0) { /* where buckets and days meet */
            picks[i].sample.t_ms = t / HOUR_MS * HOUR_MS;
        }
    }
    commit(rig, picks, count);
}

static void delete_some(struct rig *rig) {
    bool by_job = dice(rig, 2) == 0;
    size_t which = dice(rig, 3);
    struct matcher matcher = by_job ? make_matcher(MATCH_EQ, "job", jobs[which])
                                    : make_matcher(MATCH_RE, "__name__", names[which]);
    int64_t from_ms = now_ms(rig) - (int64_t)dice(rig, REACH_MS);
    int64_t to_ms = from_ms + (int64_t)dice(rig, 6 * HOUR_MS);
    if (dice(rig, 4) == 0) {
        to_ms = INT64_MAX;
    }
    if (dice(rig, 3) == 0) {
        from_ms = from_ms / HOUR_MS * HOUR_MS;
    }
    size_t expected = 0;
    for (size_t s = 0; s < SERIES; s++) {
        if ((by_job ? s % 3 : s / 3) == which) {
            expected += model_delete(&rig->models[s], from_ms, to_ms);
        }
    }
    struct tsdb_deleted deleted;
    struct err err = ERR_INIT;
    if (!tsdb_delete_blocking(rig->f.db, &matcher, 1, from_ms, to_ms, &deleted, &err)) {
        fail_msg("tsdb_delete_blocking: %s", err.msg);
    }
    assert_int_equal(deleted.sample_count, expected);
    matcher_finish(&matcher);
    rig->has_base = false;
}

static void reopen(struct rig *rig) {
    fixture_reopen(&rig->f);
    for (size_t s = 0; s < SERIES; s++) {
        rig->models[s].ref = 0;
    }
}

/* ---- comparing ---- */

static void compare_samples(const struct rig *rig,
                            size_t s,
                            const struct tsdb_column *column,
                            int64_t from_ms,
                            int64_t to_ms,
                            int64_t kept_ms) {
    const struct model *model = &rig->models[s];
    size_t at_column = 0;
    for (size_t i = find_time(model, from_ms); i < model->count; i++) {
        struct sample sample = model->samples[i];
        if (sample.t_ms > to_ms) {
            break;
        }
        if (at_column < column->count && column->t_ms[at_column] == sample.t_ms &&
            double_bits(column->values[at_column]) == double_bits(sample.value)) {
            at_column++;
        } else if (sample.t_ms >= kept_ms) {
            fail_msg("series %zu: no sample (%lld, %g); there: %lld, %g", s, (long long)sample.t_ms,
                     sample.value,
                     (long long)(at_column < column->count ? column->t_ms[at_column] : -1),
                     at_column < column->count ? column->values[at_column] : 0);
        }
    }
    if (at_column != column->count) {
        fail_msg("series %zu: sample (%lld, %g) was never written or is deleted", s,
                 (long long)column->t_ms[at_column], column->values[at_column]);
    }
}

static bool same(double a, double b) {
    return a == b || (a != a && b != b);
}

static bool same_bucket(const struct tsdb_bucket *a, const struct tsdb_bucket *b) {
    return a->t_ms == b->t_ms && a->count == b->count && a->ends_stale == b->ends_stale &&
           (a->count == 0 ||
            (a->t_first_ms == b->t_first_ms && a->t_last_ms == b->t_last_ms &&
             same(a->first, b->first) && same(a->last, b->last) && same(a->sum, b->sum) &&
             same(a->min, b->min) && same(a->max, b->max) && same(a->lost, b->lost)));
}

static void compare_buckets(struct rig *rig,
                            struct tsdb_querier *querier,
                            size_t s,
                            uint64_t view,
                            int64_t resolution_ms) {
    const struct model *model = &rig->models[s];
    struct tsdb_column column = { 0 };
    struct tsdb_buckets want = { 0 };
    struct tsdb_buckets have = { 0 };
    struct err err = ERR_INIT;
    int64_t last_ms = now_ms(rig) / resolution_ms * resolution_ms;
    int64_t first_ms = (last_ms - (int64_t)dice(rig, 8 * DAY_MS)) / resolution_ms * resolution_ms;
    for (size_t i = find_time(model, first_ms - resolution_ms + 1); i < model->count; i++) {
        if (model->samples[i].t_ms > last_ms) {
            break;
        }
        tsdb_column_reserve(&column, 1);
        column.t_ms[column.count] = model->samples[i].t_ms;
        column.values[column.count++] = model->samples[i].value;
    }
    rollup_fold(&column, resolution_ms, &want);
    if (!tsdb_read_buckets(querier, view, resolution_ms, first_ms, last_ms, &have, &err)) {
        fail_msg("tsdb_read_buckets: %s", err.msg);
    }
    for (size_t i = 0; i < want.count || i < have.count; i++) {
        if (i >= want.count || i >= have.count || !same_bucket(&want.items[i], &have.items[i])) {
            fail_msg("series %zu at %lld: bucket %zu of %zu at %lld has %llu samples, not that of "
                     "%zu at %lld with %llu",
                     s, (long long)resolution_ms, i, have.count,
                     (long long)(i < have.count ? have.items[i].t_ms : -1),
                     (unsigned long long)(i < have.count ? have.items[i].count : 0), want.count,
                     (long long)(i < want.count ? want.items[i].t_ms : -1),
                     (unsigned long long)(i < want.count ? want.items[i].count : 0));
        }
    }
    tsdb_column_finish(&column);
    tsdb_buckets_finish(&want);
    tsdb_buckets_finish(&have);
}

static void compare_series(struct rig *rig, struct tsdb_querier *querier, size_t s) {
    struct matcher matchers[] = {
        make_matcher(MATCH_EQ, "__name__", names[s / 3]),
        make_matcher(MATCH_EQ, "job", jobs[s % 3]),
    };
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct tsdb_series_view *views;
    size_t count;
    struct err err = ERR_INIT;
    assert_true(tsdb_select(querier, matchers, 2, &arena, &views, &count, &err));
    int64_t kept_ms = INT64_MIN;
    if (rig->has_retention) {
        kept_ms = now_ms(rig) - (s % 3 == 0 ? CLASS_MS : RETAIN_MS);
    }
    int64_t from_ms = dice(rig, 2) == 0 ? INT64_MIN : now_ms(rig) - (int64_t)dice(rig, 5 * DAY_MS);
    int64_t to_ms = dice(rig, 2) == 0 ? INT64_MAX : from_ms / 2 + now_ms(rig) / 2;
    struct tsdb_column column = { 0 };
    if (count > 0) {
        assert_int_equal(count, 1);
        assert_true(tsdb_read(querier, views[0].id, from_ms, to_ms, &column, &err));
    }
    compare_samples(rig, s, &column, from_ms, to_ms, kept_ms);
    if (count > 0) {
        compare_buckets(rig, querier, s, views[0].id, dice(rig, 2) == 0 ? HOUR_MS : 5 * MINUTE_MS);
    }
    tsdb_column_finish(&column);
    arena_finish(&arena);
    matcher_finish(&matchers[0]);
    matcher_finish(&matchers[1]);
}

static void compare(struct rig *rig) {
    struct tsdb_querier *querier = open_querier(&rig->f, INT64_MIN, INT64_MAX);
    for (size_t s = 0; s < SERIES; s++) {
        compare_series(rig, querier, s);
    }
    assert_int_equal(tsdb_querier_warning_count(querier), 0);
    tsdb_querier_close(querier);
}

/* ---- backups ---- */

static void compare_restored(struct rig *rig, const char *backup, const char *ship_dir) {
    char name[32];
    snprintf(name, sizeof(name), "restored%d", rig->backups++);
    struct tsdb_restore_options options = {
        .backup = at(rig, backup),
        .fd = -1,
        .into = at(rig, name),
        .ship_dir = ship_dir,
        .until_ms = INT64_MAX,
        .clock = &rig->f.clock.clock,
    };
    struct tsdb_restore_result result;
    struct err err = ERR_INIT;
    if (!tsdb_restore(&options, &result, &err)) {
        fail_msg("tsdb_restore: %s", err.msg);
    }
    const char *own = rig->f.options.path;
    const char *own_ship_dir = rig->f.options.ship_dir;
    rig->f.options.path = options.into;
    rig->f.options.ship_dir = NULL;
    fixture_open(&rig->f);
    compare(rig);
    fixture_close(&rig->f);
    rig->f.options.path = own;
    rig->f.options.ship_dir = own_ship_dir;
    remove_tree(options.into);
}

static void back_up(struct rig *rig) {
    fixture_close(&rig->f);
    if (rig->has_base) {
        compare_restored(rig, "base", rig->f.options.ship_dir);
    }
    remove_tree(at(rig, "base"));
    struct tsdb_backup_options options = {
        .path = rig->f.dir,
        .target = at(rig, "base"),
        .clock = &rig->f.clock.clock,
    };
    struct tsdb_backup_info info;
    struct err err = ERR_INIT;
    if (!tsdb_backup(&options, &info, &err)) {
        fail_msg("tsdb_backup: %s", err.msg);
    }
    compare_restored(rig, "base", NULL);
    rig->has_base = !rig->has_retention;
    fixture_open(&rig->f);
    for (size_t s = 0; s < SERIES; s++) {
        rig->models[s].ref = 0;
    }
}

/* ---- the whole ---- */

static void maintain(struct rig *rig) {
    struct err err = ERR_INIT;
    bool ok = dice(rig, 4) == 0 ? tsdb_compact_blocking(rig->f.db, &err)
                                : tsdb_maintain_blocking(rig->f.db, &err);
    if (!ok) {
        fail_msg("maintenance: %s", err.msg);
    }
}

static void anything(void **state) {
    struct rig *rig = *state;
    for (int round = 0; round < ROUNDS; round++) {
        int64_t from_ms = now_ms(rig);
        bool is_gap = dice(rig, 12) == 0;
        fake_clock_advance(&rig->f.clock,
                           is_gap ? (int64_t)dice(rig, 14 * HOUR_MS) : (int64_t)dice(rig, HOUR_MS));
        if (!is_gap) {
            write_on(rig, from_ms);
        }
        uint64_t what = dice(rig, 20);
        if (what < 8) {
            write_late(rig);
        } else if (what < 10) {
            delete_some(rig);
        } else if (what < 15) {
            maintain(rig);
        } else if (what == 15) {
            reopen(rig);
        } else if (what == 16) {
            back_up(rig);
        }
        if (round % 4 == 0) {
            compare(rig);
        }
    }
    compare(rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(anything, setup, teardown),
        cmocka_unit_test_setup_teardown(anything, setup_retention, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
