/*
 * Goal: writes are acknowledged while the journal is replayed, and what was acknowledged is there
 * afterwards, once, in order with what came before and after, whatever crashes in between. Method:
 * a held replay (gate.h); a crash is a child that kills itself; then random histories
 * against a model: of the values written for a time, the first one stays.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tsdb/gate.h"
#include "tsdb/db.h"

static int setup(void **state) {
    struct gate *gate = test_calloc(1, sizeof(*gate));
    gate_init(gate);
    *state = gate;
    return 0;
}

static int teardown(void **state) {
    struct gate *gate = *state;
    gate_finish(gate);
    test_free(gate);
    return 0;
}

/* Run it in a process that then dies without closing. The gate is closed before and after. */
static void run_and_crash(struct gate *gate, void (*run)(struct gate *gate)) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        run(gate);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void put_state(struct fixture *f, struct str key, struct str value) {
    struct err err = ERR_INIT;
    struct kv_store *kv = tsdb_kv(f->db);
    struct kv_batch *batch = kv->begin(kv);
    batch->put(batch, KV_RULE_STATE, key, value);
    assert_true(kv->commit_blocking(kv, batch, &err));
}

static bool has_state(struct fixture *f, struct str key) {
    struct err err = ERR_INIT;
    struct buf value;
    buf_init(&value, 100);
    bool has = tsdb_kv(f->db)->get(tsdb_kv(f->db), KV_RULE_STATE, key, &value, &err);
    buf_finish(&value);
    return has;
}

/* ---- one process ---- */

static void keep_text(void *ctx, const char *what) {
    snprintf(ctx, 512, "%s", what);
}

static void accepts_at_once(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    char told[512] = "";
    f->options.on_conflict = keep_text;
    f->options.on_conflict_ctx = told;
    f->options.out_of_order_ms = TSDB_OUT_OF_ORDER_NONE;
    gate_open_held(gate);
    series_ref_t a = make_series(f, "a", NULL);
    series_ref_t b = make_series(f, "b", NULL);
    assert_true(a != b);
    assert_int_equal(make_series(f, "a", NULL), a);
    assert_int_equal(put_sample(f, a, 2, 2), TSDB_ACCEPTED);  /* repeated */
    assert_int_equal(put_sample(f, a, 1, 9), TSDB_ACCEPTED);  /* in conflict */
    assert_int_equal(put_sample(f, a, -5, 5), TSDB_ACCEPTED); /* late */
    assert_int_equal(put_sample(f, a, -5, 6), TSDB_ACCEPTED); /* … in conflict */
    assert_int_equal(put_sample(f, a, 3, 3), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, b, 4, 4), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, b, 3, 4), TSDB_ACCEPTED); /* late in its own record */
    gate_pass(gate);
    assert_string_equal(read_name(f, "a"), "a -5:5 1:1 2:2 3:3\n");
    assert_string_equal(read_name(f, "b"), "b 3:4 4:4\n");
    assert_non_null(strstr(told, "a sample of a at -5 ms"));
    /* The refs go on; verdicts are whole again. */
    assert_int_equal(put_sample(f, a, 3, 3), TSDB_DUPLICATE);
    assert_int_equal(put_sample(f, a, 3, 4), TSDB_CONFLICT);
    assert_int_equal(put_sample(f, a, 0, 0), TSDB_OUT_OF_ORDER);
    assert_int_equal(put_sample(f, a, 5, 5), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, make_series(f, "a", NULL), 6, 6), TSDB_ACCEPTED);
    fixture_reopen(f);
    assert_string_equal(read_name(f, "a"), "a -5:5 1:1 2:2 3:3 5:5 6:6\n");
    assert_string_equal(read_name(f, "b"), "b 3:4 4:4\n");
}

/* A batch begun meanwhile and committed afterwards, of series nobody committed before. */
static void refs_outlive_the_replay(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    f->options.series_max = 1;
    gate_open_held(gate);
    series_ref_t a = make_series(f, "a", NULL);
    series_ref_t fresh = make_series(f, "fresh", NULL);
    struct tsdb_alias alias = tsdb_alias_hash(f->db, STR("a"));
    tsdb_alias_put(f->db, alias, a);
    series_ref_t got;
    assert_false(tsdb_alias_get(f->db, alias, &got));
    assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
    tsdb_batch_append(batch, a, 3, 3);
    tsdb_batch_append(batch, fresh, 3, 3);
    gate_pass(gate);
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
    assert_string_equal(read_name(f, "a"), "a 1:1 2:2 3:3\n");
    assert_string_equal(read_name(f, "fresh"), "fresh 3:3\n"); /* limits did not apply */
    assert_int_equal(put_sample(f, fresh, 4, 4), TSDB_ACCEPTED);
    assert_false(tsdb_series(f->db, make_labels(&f->arena, "more", NULL), &got, &err));
    assert_int_equal(err.code, ERR_THROTTLED);
    series_ref_t real = make_series(f, "a", NULL);
    tsdb_alias_put(f->db, alias, real);
    assert_true(tsdb_alias_get(f->db, alias, &got) && got == real);
}

static void overlay_sees_them(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    struct tsdb_querier *querier;
    gate_open_held(gate);
    series_ref_t a = make_series(f, "a", NULL);
    assert_int_equal(put_sample(f, a, 3, 3), TSDB_ACCEPTED);
    assert_true(tsdb_batch_begin(f->db, TSDB_STATE, &batch, &err));
    tsdb_batch_append(batch, a, 4, 4);
    gate_pass(gate);
    assert_true(tsdb_querier_open(f->db, INT64_MIN, INT64_MAX, batch, &querier, &err));
    struct matcher matcher = make_matcher(MATCH_EQ, "__name__", "a");
    assert_string_equal(read_all(f, querier, &matcher, 1), "a 1:1 2:2 3:3 4:4\n");
    matcher_finish(&matcher);
    tsdb_querier_close(querier);
    tsdb_batch_abandon(batch);
}

static void judges_by_time(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    f->options.retention_ms = 24 * HOUR_MS;
    f->options.future_ms_max = MINUTE_MS;
    gate_open_held(gate);
    series_ref_t b = make_series(f, "b", NULL);
    assert_int_equal(put_sample(f, b, FIXTURE_NOW_MS - 25 * HOUR_MS, 1), TSDB_TOO_OLD);
    assert_int_equal(put_sample(f, b, FIXTURE_NOW_MS + HOUR_MS, 1), TSDB_TOO_NEW);
    gate_pass(gate);
    assert_string_equal(read_name(f, "b"), "");
}

/* Above the limit writers are told to come back; the state goes on, and so does everything once
 * the replay is through. */
static void stays_within_bounds(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    struct err err = ERR_INIT;
    series_ref_t ignored;
    struct tsdb_batch *batch;
    gate_open_held(gate);
    f->db->defer.bytes_max = 1;
    series_ref_t b = make_series(f, "b", NULL);
    assert_int_equal(make_series(f, "b", NULL), b);
    assert_false(tsdb_series(f->db, make_labels(&f->arena, "c", NULL), &ignored, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
    tsdb_batch_append(batch, b, 1, 1);
    assert_false(tsdb_commit_blocking(batch, NULL, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_true(tsdb_batch_begin(f->db, TSDB_STATE, &batch, &err));
    tsdb_batch_append(batch, b, 2, 2);
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
    put_state(f, STR("key"), STR("value"));
    gate_pass(gate);
    assert_int_equal(put_sample(f, b, 3, 3), TSDB_ACCEPTED);
    assert_string_equal(read_name(f, "b"), "b 2:2 3:3\n");
}

/* Commits that wait when the store is closed are done, and nothing of them is lost. */
static void closes_meanwhile(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    gate_open_held(gate);
    assert_int_equal(put_sample(f, make_series(f, "a", NULL), 3, 3), TSDB_ACCEPTED);
    sem_post(&gate->passed);
    fixture_close(f);
    fixture_open(f);
    assert_string_equal(read_name(f, "a"), "a 1:1 2:2 3:3\n");
}

/* ---- crashes ---- */

static void commit_held(struct gate *gate) {
    struct fixture *f = &gate->f;
    struct err err = ERR_INIT;
    struct tsdb_batch *batch;
    gate_open_held(gate);
    assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
    tsdb_batch_append(batch, make_series(f, "a", NULL), 3, 3);
    tsdb_batch_append(batch, make_series(f, "b", NULL), 3, 3);
    struct kv_batch *kv = tsdb_batch_kv(batch);
    kv->put(kv, KV_RULE_STATE, STR("with samples"), STR("x"));
    assert_true(tsdb_commit_blocking(batch, NULL, &err));
    put_state(f, STR("behind"), STR("x"));
    assert_true(has_state(f, STR("with samples")) && has_state(f, STR("behind")));
}

static void commit_held_again(struct gate *gate) {
    struct fixture *f = &gate->f;
    gate_open_held(gate);
    assert_int_equal(put_sample(f, make_series(f, "b", NULL), 3, 4), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, make_series(f, "b", NULL), 4, 4), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, make_series(f, "c", NULL), 4, 4), TSDB_ACCEPTED);
}

static void commit_held_and_after(struct gate *gate) {
    struct fixture *f = &gate->f;
    gate_open_held(gate);
    series_ref_t b = make_series(f, "b", NULL);
    assert_int_equal(put_sample(f, b, 5, 5), TSDB_ACCEPTED);
    gate_pass(gate);
    assert_int_equal(put_sample(f, b, 6, 6), TSDB_ACCEPTED);
    assert_int_equal(put_sample(f, b, 3, 9), TSDB_CONFLICT);
    assert_int_equal(put_sample(f, make_series(f, "c", NULL), 6, 6), TSDB_ACCEPTED);
}

static void check_all(struct fixture *f) {
    assert_string_equal(read_name(f, "a"), "a 1:1 2:2 3:3\n");
    assert_string_equal(read_name(f, "b"), "b 3:3 4:4 5:5 6:6\n");
    assert_string_equal(read_name(f, "c"), "c 4:4 6:6\n");
    assert_true(has_state(f, STR("with samples")) && has_state(f, STR("behind")));
}

static void survives_crashes(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    struct err err = ERR_INIT;
    run_and_crash(gate, commit_held);
    run_and_crash(gate, commit_held_again);
    run_and_crash(gate, commit_held_and_after);
    f->options.is_read_only = true;
    fixture_open(f);
    check_all(f);
    fixture_close(f);
    f->options.is_read_only = false;
    fixture_open(f);
    check_all(f);
    assert_true(tsdb_maintain_blocking(f->db, &err));
    check_all(f);
    fixture_reopen(f);
    check_all(f);
    struct tsdb_stats stats;
    tsdb_stats(f->db, &stats);
    assert_int_equal(stats.damage_count, 0);
}

/* ---- backups ---- */

static void back_up(struct fixture *f, const char *target) {
    struct err err = ERR_INIT;
    struct tsdb_backup_info info;
    struct tsdb_backup_options options = { .path = f->dir, .target = target };
    if (!tsdb_backup(&options, &info, &err)) {
        fail_msg("tsdb_backup: %s", err.msg);
    }
}

/* Restore in place of the directory and open it. */
static void restore(struct fixture *f, const char *backup, const char *ship_dir) {
    struct err err = ERR_INIT;
    struct tsdb_restore_result result;
    struct tsdb_restore_options options = {
        .backup = backup,
        .into = f->dir,
        .ship_dir = ship_dir,
        .until_ms = INT64_MAX,
    };
    remove_tree(f->dir);
    if (!tsdb_restore(&options, &result, &err)) {
        fail_msg("tsdb_restore: %s", err.msg);
    }
    f->options.ship_dir = NULL;
    fixture_open(f);
}

/* A backup of a directory whose deferred records were never replayed. */
static void backups_hold_them(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    char backup[100];
    snprintf(backup, sizeof(backup), "%s.backup", f->dir);
    run_and_crash(gate, commit_held);
    back_up(f, backup);
    restore(f, backup, NULL);
    assert_string_equal(read_name(f, "a"), "a 1:1 2:2 3:3\n");
    assert_string_equal(read_name(f, "b"), "b 3:3\n");
    assert_true(has_state(f, STR("with samples")) && has_state(f, STR("behind")));
    remove_tree(backup);
}

/* They are shipped as any record, and can be added to a backup of before. */
static void ships_them(void **state) {
    struct gate *gate = *state;
    struct fixture *f = &gate->f;
    char backup[100];
    char ship[100];
    snprintf(backup, sizeof(backup), "%s.backup", f->dir);
    snprintf(ship, sizeof(ship), "%s.ship", f->dir);
    f->options.ship_dir = ship;
    fixture_open(f);
    put_state(f, STR("before"), STR("x"));
    fixture_close(f);
    back_up(f, backup);
    commit_held(gate);
    gate_pass(gate);
    assert_int_equal(put_sample(f, make_series(f, "b", NULL), 4, 4), TSDB_ACCEPTED);
    fixture_close(f);
    restore(f, backup, ship);
    assert_string_equal(read_name(f, "a"), "a 1:1 2:2 3:3\n");
    assert_string_equal(read_name(f, "b"), "b 3:3 4:4\n");
    assert_true(has_state(f, STR("with samples")) && has_state(f, STR("behind")));
    remove_tree(backup);
    remove_tree(ship);
}

/* ---- random histories ---- */

#define SERIES_COUNT 6
#define TICKS        80
#define TICK_MS      (5 * MINUTE_MS)
#define OPS_MAX      40
#define ROUNDS       12

struct op {
    int series;
    int tick;
    double value;
};

enum ending {
    CRASH_HELD,
    CRASH_AFTER,
    CRASH_SEALED,
    CLOSE_HELD,
    ENDING_COUNT
};

struct plan {
    struct op before[OPS_MAX]; /* ordinary */
    struct op held[OPS_MAX];
    struct op after[OPS_MAX];
    size_t held_count;
    enum ending ending;
    bool keeps_refs; /* of the replay for what comes after it */
    bool is_damaged; /* the newest record of before the replay */
};

struct model {
    bool has[SERIES_COUNT][TICKS];
    double value[SERIES_COUNT][TICKS];
};

static struct plan plan_now; /* of the round, for the child */

static uint64_t next_random(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static struct op random_op(uint64_t *seed, int round) {
    int tick = next_random(seed) % 3 == 0
                   ? (int)(next_random(seed) % TICKS)
                   : (int)(((uint64_t)round * 5 + next_random(seed) % 8) % TICKS);
    return (struct op){
        .series = (int)(next_random(seed) % SERIES_COUNT),
        .tick = tick,
        .value = (double)(next_random(seed) % 5),
    };
}

static void make_plan(struct plan *plan, uint64_t *seed, int round) {
    for (size_t i = 0; i < OPS_MAX; i++) {
        plan->before[i] = random_op(seed, round);
        plan->held[i] = random_op(seed, round);
        plan->after[i] = random_op(seed, round);
    }
    plan->held_count = next_random(seed) % OPS_MAX;
    plan->ending = (enum ending)(next_random(seed) % ENDING_COUNT);
    plan->keeps_refs = next_random(seed) % 2 == 0;
    plan->is_damaged = next_random(seed) % 3 == 0;
}

static void apply_to_model(struct model *model, const struct op *ops, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct op *op = &ops[i];
        if (!model->has[op->series][op->tick]) {
            model->has[op->series][op->tick] = true;
            model->value[op->series][op->tick] = op->value;
        }
    }
}

static void apply_plan_to_model(struct model *model, const struct plan *plan) {
    apply_to_model(model, plan->before, OPS_MAX);
    apply_to_model(model, plan->held, plan->held_count);
    if (plan->ending == CRASH_AFTER || plan->ending == CRASH_SEALED) {
        apply_to_model(model, plan->after, OPS_MAX);
    }
}

static void name_of(int series, char name[16]) {
    snprintf(name, 16, "s%d", series);
}

static void get_refs(struct fixture *f, series_ref_t refs[SERIES_COUNT]) {
    for (int i = 0; i < SERIES_COUNT; i++) {
        char name[16];
        name_of(i, name);
        refs[i] = make_series(f, name, NULL);
    }
}

/* In batches of a few. */
static void commit_ops(struct fixture *f,
                       const series_ref_t refs[SERIES_COUNT],
                       const struct op *ops,
                       size_t count) {
    struct err err = ERR_INIT;
    for (size_t i = 0; i < count;) {
        struct tsdb_batch *batch;
        assert_true(tsdb_batch_begin(f->db, TSDB_INGEST, &batch, &err));
        for (size_t n = 0; n < 7 && i < count; n++, i++) {
            tsdb_batch_append(batch, refs[ops[i].series], ops[i].tick * TICK_MS, ops[i].value);
        }
        assert_true(tsdb_commit_blocking(batch, NULL, &err));
    }
}

static void run_plan(struct gate *gate) {
    struct fixture *f = &gate->f;
    const struct plan *plan = &plan_now;
    struct err err = ERR_INIT;
    series_ref_t refs[SERIES_COUNT];
    fixture_open(f);
    get_refs(f, refs);
    commit_ops(f, refs, plan->before, OPS_MAX);
    if (plan->is_damaged) {
        gate_damage(gate);
    } else {
        fixture_close(f);
    }
    gate_open_held(gate);
    get_refs(f, refs);
    commit_ops(f, refs, plan->held, plan->held_count);
    if (plan->ending == CRASH_HELD) {
        return;
    }
    if (plan->ending == CLOSE_HELD) {
        sem_post(&gate->passed);
        fixture_close(f);
        return;
    }
    gate_pass(gate);
    if (!plan->keeps_refs) {
        get_refs(f, refs);
    }
    commit_ops(f, refs, plan->after, OPS_MAX);
    if (plan->ending == CRASH_SEALED) {
        assert_true(tsdb_maintain_blocking(f->db, &err));
    }
}

static void check_model(struct fixture *f, const struct model *model) {
    for (int s = 0; s < SERIES_COUNT; s++) {
        char name[16];
        struct buf want;
        buf_init(&want, SIZE_MAX);
        name_of(s, name);
        for (int t = 0; t < TICKS; t++) {
            if (model->has[s][t]) {
                buf_printf(&want, "%s %lld:%g", want.len == 0 ? name : "", (long long)(t * TICK_MS),
                           model->value[s][t]);
            }
        }
        buf_cstr(&want, want.len > 0 ? "\n" : "");
        assert_string_equal(read_name(f, name), want.len > 0 ? want.ptr : "");
        buf_finish(&want);
    }
}

static void run_history(uint64_t seed) {
    struct gate *gate = test_calloc(1, sizeof(*gate));
    struct fixture *f = &gate->f;
    struct model *model = test_calloc(1, sizeof(*model));
    uint64_t random = seed;
    gate_init(gate);
    f->options.out_of_order_ms = TSDB_OUT_OF_ORDER_ANY;
    for (int round = 0; round < ROUNDS; round++) {
        make_plan(&plan_now, &random, round);
        print_message("# seed %llu round %d: %zu held, ending %d\n", (unsigned long long)seed,
                      round, plan_now.held_count, (int)plan_now.ending);
        run_and_crash(gate, run_plan);
        apply_plan_to_model(model, &plan_now);
        if (next_random(&random) % 2 == 0) {
            f->options.is_read_only = next_random(&random) % 2 == 0;
            fixture_open(f);
            check_model(f, model);
            fixture_close(f);
            f->options.is_read_only = false;
            arena_reset(&f->arena);
        }
    }
    fixture_open(f);
    check_model(f, model);
    gate_finish(gate);
    test_free(model);
    test_free(gate);
}

static void random_histories(void **state) {
    const char *seed_text = getenv("DEFER_SEED");
    const char *count_text = getenv("DEFER_HISTORIES");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 10) : 1;
    uint64_t count = count_text != NULL ? strtoull(count_text, NULL, 10) : 4;
    for (uint64_t i = 0; i < count; i++) {
        run_history(seed + i);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(accepts_at_once),     TEST(refs_outlive_the_replay),
        TEST(overlay_sees_them),   TEST(judges_by_time),
        TEST(stays_within_bounds), TEST(closes_meanwhile),
        TEST(survives_crashes),    TEST(backups_hold_them),
        TEST(ships_them),          cmocka_unit_test(random_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
