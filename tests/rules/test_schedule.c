/*
 * Goal: groups are evaluated at their slots and only there, late or not, whatever the clocks do.
 * Method: a virtual clock for the schedule, a clock of our own whose wall time jumps, and real
 * threads once, with reloads and snapshots running against them.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "tests/rules/sim.h"

static const struct rule_group_view *group_view(struct sim *sim, struct rules_snapshot **ret) {
    *ret = rules_snapshot(sim->rules);
    return (*ret)->groups[0];
}

static void test_slots_are_aligned(void **state) {
    static const char *const intervals[] = { "1s", "15s", "60s", "7m" };
    static const int64_t ms[] = { 1000, 15000, 60000, 420000 };
    for (size_t i = 0; i < ARRAY_LEN(intervals); i++) {
        struct sim sim;
        char yaml[256];
        (void)snprintf(yaml, sizeof(yaml),
                       "groups:\n- {name: g, interval: %s, rules: [{record: r, expr: '1'}]}\n",
                       intervals[i]);
        sim_init(&sim);
        sim_rules(&sim, yaml);
        int64_t first_ms = sim.due_ms;
        assert_true(first_ms > SIM_T0 && first_ms <= SIM_T0 + ms[i]);
        for (int step = 0; step < 5; step++) {
            assert_int_equal(sim_step(&sim), first_ms + step * ms[i]);
        }
        sim_restart(&sim); /* the same slots in another life */
        sim_rules(&sim, yaml);
        assert_int_equal(sim.due_ms, first_ms + 5 * ms[i]);
        sim_finish(&sim);
    }
}

static void test_groups_are_spread(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, "groups:\n"
                    "- {name: a, rules: [{record: r, expr: '1'}]}\n"
                    "- {name: b, rules: [{record: r2, expr: '1'}]}\n"
                    "- {name: c, rules: [{record: r3, expr: '1'}]}\n");
    int64_t first_ms = sim_step(&sim);
    int64_t second_ms = sim_step(&sim);
    int64_t third_ms = sim_step(&sim);
    assert_true(first_ms < second_ms && second_ms < third_ms);
    assert_true(third_ms < first_ms + 60000);
    assert_int_equal(sim_step(&sim), first_ms + 60000);
    sim_finish(&sim);
}

static void test_late_evaluations_skip_slots(void **state) {
    struct sim sim;
    struct rules_snapshot *snapshot;
    sim_init(&sim);
    sim_rules(&sim, "groups:\n- {name: g, interval: 10s, rules: [{record: r, expr: time()}]}\n");
    int64_t first_ms = sim_step(&sim);
    sim_pass(&sim, 44000); /* slots 10, 20, 30 are gone, 40 is the newest */
    sim.due_ms = rules_tick(sim.rules, clock_wall_ms(&sim.clock.clock));
    const struct rule_group_view *group = group_view(&sim, &snapshot);
    assert_int_equal(group->slots_missed, 3);
    assert_int_equal(group->last_slot_ms, first_ms + 40000);
    rules_snapshot_unref(snapshot);
    assert_int_equal(sim.due_ms, first_ms + 50000);
    assert_int_equal(sim_event_count(&sim, RULES_SLOTS_MISSED), 1);
    char expected[64];
    (void)snprintf(expected, sizeof(expected), "r %.13g", (double)(first_ms + 40000) / 1000);
    assert_string_equal(sim_query(&sim, "r"), expected);
    assert_string_equal(sim_query_at(&sim, "count_over_time(r[60s])", first_ms + 44000), "{} 2");
    sim.due_ms = rules_tick(sim.rules, clock_wall_ms(&sim.clock.clock)); /* nothing is due */
    assert_int_equal(sim.due_ms, first_ms + 50000);
    sim_finish(&sim);
}

static void test_interval_change_reschedules(void **state) {
    struct sim sim;
    sim_init(&sim);
    sim_rules(&sim, "groups:\n- {name: g, interval: 1h, rules: [{record: r, expr: '1'}]}\n");
    sim_rules(&sim, "groups:\n- {name: g, interval: 1s, rules: [{record: r, expr: '1'}]}\n");
    assert_true(sim.due_ms <= SIM_T0 + 1000);
    sim_finish(&sim);
}

/* ---- a wall clock that jumps ---- */

struct jumpy {
    struct clock clock;
    int64_t wall_ms;
    int64_t mono_ms;
};

static int64_t jumpy_wall(void *ctx) {
    return ((struct jumpy *)ctx)->wall_ms;
}

static int64_t jumpy_mono(void *ctx) {
    return ((struct jumpy *)ctx)->mono_ms * 1000000;
}

/* `for` of 30 min, 5 of them passed when the wall clock jumps: 25 remain. */
static void run_jump(int64_t jump_ms) {
    struct sim sim;
    struct jumpy jumpy = { .clock = { jumpy_wall, jumpy_mono, &jumpy }, .wall_ms = SIM_T0 };
    struct diag_list diags;
    struct err err = ERR_INIT;
    struct rules *rules = NULL;
    struct rule_set *set = NULL;
    sim_init(&sim);
    struct rules_options options = { .db = sim.db, .clock = &jumpy.clock };
    assert_true(rules_create(&options, &rules, &err));
    diag_list_init(&diags);
    assert_true(rules_load_text("t.yml",
                                STR("groups:\n- {name: g, interval: 1m, rules: [{alert: A, expr: "
                                    "'1', for: 30m}]}\n"),
                                &sim.load, &set, &diags));
    diag_list_finish(&diags);
    rules_apply(rules, set, jumpy.wall_ms);
    int64_t due_ms = rules_tick(rules, jumpy.wall_ms);
    int64_t start_ms = 0;
    int64_t fired_ms = 0;
    for (int i = 0; i < 60 && fired_ms == 0; i++) {
        int64_t wait_ms = due_ms - jumpy.wall_ms;
        assert_true(wait_ms >= 0 && wait_ms <= 60000);
        jumpy.wall_ms += wait_ms;
        jumpy.mono_ms += wait_ms;
        if (i == 6) {
            jumpy.wall_ms += jump_ms;
        }
        due_ms = rules_tick(rules, jumpy.wall_ms);
        start_ms = i == 0 ? jumpy.mono_ms : start_ms;
        struct rules_snapshot *snapshot = rules_snapshot(rules);
        if (snapshot->groups[0]->rules[0].alerts[0].state == ALERT_FIRING) {
            fired_ms = jumpy.mono_ms;
        }
        rules_snapshot_unref(snapshot);
    }
    /* on the dot, but for the one slot the jump may have moved it across */
    assert_true(fired_ms - start_ms >= 29 * 60000 && fired_ms - start_ms <= 31 * 60000);
    rules_destroy(rules);
    sim_finish(&sim);
}

static void test_clock_jumps(void **state) {
    run_jump(0);
    run_jump(3600000);
    run_jump(-3600000);
    run_jump(INT64_C(365) * 86400000);
    run_jump(45000);
}

/* ---- threads ---- */

struct counter {
    _Atomic unsigned staged;
    _Atomic unsigned settled;
};

static void *count_stage(void *ctx,
                         const struct alert *alerts,
                         size_t count,
                         int64_t now_ms,
                         struct kv_batch *b) {
    atomic_fetch_add(&((struct counter *)ctx)->staged, 1);
    return NULL;
}

static void count_settle(void *ctx, void *token, bool is_durable) {
    atomic_fetch_add(&((struct counter *)ctx)->settled, 1);
}

static struct rule_set *load_threaded(int version) {
    char yaml[1024];
    struct diag_list diags;
    struct rules_load_options options = { 0 };
    struct rule_set *set = NULL;
    (void)snprintf(
        yaml, sizeof(yaml),
        "groups:\n"
        "- {name: a, interval: 10ms, rules: [{alert: A, expr: '1', labels: {v: '%d'}}]}\n"
        "- {name: b, interval: 10ms, rules: [{record: r, expr: '1'}, {record: s, expr: "
        "r}]}\n"
        "- {name: c%d, interval: 20ms, rules: [{alert: C, expr: 'count(ALERTS)'}]}\n",
        version % 2, version % 3);
    diag_list_init(&diags);
    assert_true(rules_load_text("t.yml", str_from(yaml), &options, &set, &diags));
    diag_list_finish(&diags);
    return set;
}

static bool has_evaluated(struct rules *rules) {
    struct rules_snapshot *snapshot = rules_snapshot(rules);
    bool is_done = true;
    for (size_t g = 0; g < snapshot->group_count; g++) {
        is_done = is_done && snapshot->groups[g]->last_slot_ms > 0;
        for (size_t r = 0; r < snapshot->groups[g]->rule_count; r++) {
            is_done = is_done && snapshot->groups[g]->rules[r].health != RULE_HEALTH_UNKNOWN;
        }
    }
    rules_snapshot_unref(snapshot);
    return is_done;
}

static void test_threads(void **state) {
    struct sim sim;
    struct counter counter = { 0 };
    struct rules *rules = NULL;
    struct err err = ERR_INIT;
    sim_init(&sim);
    tsdb_close(sim.db); /* this one on the machine's clock */
    struct tsdb_options store = { .path = sim.dir };
    rules_destroy(sim.rules);
    assert_true(tsdb_open(&store, &sim.db, &err));
    assert_true(tsdb_wait_ready(sim.db, &err));
    struct rules_options options = {
        .db = sim.db,
        .metrics = sim.metrics,
        .thread_count = 3,
        .sink = { .stage = count_stage, .settle = count_settle, .ctx = &counter },
    };
    assert_true(rules_create(&options, &rules, &err));
    rules_apply(rules, load_threaded(0), clock_wall_ms(clock_system()));
    assert_true(rules_start(rules, &err));
    for (int version = 1; version < 8; version++) {
        while (!has_evaluated(rules)) {
            (void)sched_yield();
        }
        rules_apply(rules, load_threaded(version), clock_wall_ms(clock_system()));
    }
    rules_stop(rules);
    assert_true(atomic_load(&counter.staged) > 0);
    assert_int_equal(atomic_load(&counter.staged), atomic_load(&counter.settled));
    assert_true(rules_start(rules, &err)); /* may be started again */
    rules_destroy(rules);
    sim_open_rules(&sim);
    sim_finish(&sim);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_are_aligned),
        cmocka_unit_test(test_groups_are_spread),
        cmocka_unit_test(test_late_evaluations_skip_slots),
        cmocka_unit_test(test_interval_change_reschedules),
        cmocka_unit_test(test_clock_jumps),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
