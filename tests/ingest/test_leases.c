/*
 * Goal: `up` follows the leases of pushing workers, sums over workers follow the living, and CPU
 * time only grows. Method: beats and resources posted while the test moves the clock.
 */
#include <stdio.h>

#include "tests/ingest/fixture.h"

static int setup(void **state) {
    static struct door_fixture fixture;
    door_init(&fixture);
    door_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state) {
    door_finish(*state);
    return 0;
}

static void beat(struct door_fixture *f, const char *worker, const char *more) {
    char line[512];
    snprintf(line, sizeof(line),
             "{\"kind\":\"beat\",\"app\":\"a\",\"job\":\"j\",\"worker\":\"%s\"%s}\n", worker, more);
    post_events(f, line);
    assert_int_equal(f->accepted, 1);
}

static void resource(struct door_fixture *f, const char *worker, const char *more) {
    char line[512];
    snprintf(line, sizeof(line),
             "{\"kind\":\"resource\",\"app\":\"a\",\"job\":\"j\",\"worker\":\"%s\"%s}\n", worker,
             more);
    post_events(f, line);
    assert_int_equal(f->accepted, 1);
}

static enum ingest_job_state state_of(struct door_fixture *f, uint64_t *ret_workers) {
    struct ingest_job *jobs;
    size_t count;
    ingest_jobs(f->ingest, &f->store.arena, &jobs, &count);
    assert_int_equal(count, 1);
    assert_true(str_eq_c(jobs[0].job, "j"));
    *ret_workers = jobs[0].worker_count;
    return jobs[0].state;
}

static void assert_job(struct door_fixture *f, enum ingest_job_state expected, uint64_t workers) {
    uint64_t count;
    assert_string_equal(ingest_job_state_to_string(state_of(f, &count)),
                        ingest_job_state_to_string(expected));
    assert_int_equal(count, workers);
}

/* ---- up ---- */

static void test_up_while_heard_down_after_three_intervals(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w", ""); /* 15 s intervals */
    assert_job(f, INGEST_JOB_UP, 1);
    door_run(f, 44000);
    assert_job(f, INGEST_JOB_UP, 1);
    door_run(f, 6000);
    assert_job(f, INGEST_JOB_DOWN, 0);
    assert_string_equal(samples_of(f, "up"),
                        "up{job=\"j\"} 5:1 10:1 15:1 20:1 25:1 30:1 35:1 40:1 45:0 50:0\n");
    beat(f, "w", "");
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "up"), "up{job=\"j\"} 1\n");
}

static void test_interval_is_the_workers(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w", ",\"interval_s\":60");
    door_run(f, 170000);
    assert_string_equal(newest_of(f, "up"), "up{job=\"j\"} 1\n");
    door_run(f, 10000);
    assert_string_equal(newest_of(f, "up"), "up{job=\"j\"} 0\n");
}

static void test_one_of_four_workers_restarts(void **state) {
    struct door_fixture *f = *state;
    for (int i = 0; i < 10; i++) {
        beat(f, "w1", "");
        beat(f, "w2", "");
        beat(f, "w3", "");
        if (i < 3) {
            beat(f, "w4", ""); /* killed without a goodbye */
        }
        if (i > 4) {
            beat(f, "w5", "");
        }
        door_run(f, 10000);
    }
    assert_null(strstr(samples_of(f, "up"), ":0"));
    assert_job(f, INGEST_JOB_UP, 4);
}

static void test_last_goodbye_makes_up_stale(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w1", "");
    beat(f, "w2", "");
    door_run(f, 5000);
    beat(f, "w1", ",\"goodbye\":true");
    assert_job(f, INGEST_JOB_UP, 1);
    door_run(f, 5000);
    beat(f, "w2", ",\"goodbye\":true");
    assert_job(f, INGEST_JOB_GONE, 0);
    door_run(f, 15000);
    assert_string_equal(samples_of(f, "up"), "up{job=\"j\"} 5:1 10:1 15:stale\n");
    assert_job(f, INGEST_JOB_EVENTS, 0);
    beat(f, "w3", "");
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "up"), "up{job=\"j\"} 1\n");
}

static void test_goodbye_survives_a_restart_before_it_was_sampled(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w", "");
    door_run(f, 5000);
    beat(f, "w", ",\"goodbye\":true");
    door_reopen(f);
    door_run(f, 10000);
    assert_string_equal(samples_of(f, "up"), "up{job=\"j\"} 5:1 10:stale\n");
}

static void test_goodbye_of_a_job_that_is_down(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w", "");
    door_run(f, 60000);
    assert_job(f, INGEST_JOB_DOWN, 0);
    beat(f, "w", ",\"goodbye\":true");
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "up"), "up{job=\"j\"} stale\n");
}

static void test_stragglers_do_not_undo_a_goodbye(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w", "");
    resource(f, "w", ",\"active_agents\":2");
    door_run(f, 5000);
    beat(f, "w", ",\"goodbye\":true");
    resource(f, "w", ",\"active_agents\":1");
    post_events(
        f, "{\"kind\":\"dependency\",\"app\":\"a\",\"job\":\"j\",\"worker\":\"w\",\"name\":\"d\","
           "\"id\":\"1\"}\n");
    door_run(f, 60000);
    assert_string_equal(newest_of(f, "up"), "up{job=\"j\"} stale\n");
    assert_string_equal(newest_of(f, "a_active_agents"), "a_active_agents{job=\"j\"} stale\n");
}

static void test_any_event_of_a_worker_renews_its_lease(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w", "");
    for (int i = 0; i < 10; i++) {
        char line[256];
        snprintf(
            line, sizeof(line),
            "{\"kind\":\"dependency\",\"app\":\"a\",\"job\":\"j\",\"worker\":\"w\",\"name\":\"d\","
            "\"id\":\"%d\"}\n",
            i);
        post_events(f, line);
        door_run(f, 30000);
    }
    assert_job(f, INGEST_JOB_UP, 1);
}

static void test_events_alone_make_no_up(void **state) {
    struct door_fixture *f = *state;
    post_events(
        f, "{\"kind\":\"dependency\",\"app\":\"a\",\"job\":\"j\",\"worker\":\"w\",\"name\":\"d\","
           "\"id\":\"1\"}\n");
    door_run(f, 60000);
    assert_job(f, INGEST_JOB_EVENTS, 0);
    assert_string_equal(samples_of(f, "up"), "");
}

static void test_restart_grants_a_whole_lease(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w", "");
    door_run(f, 40000);
    door_close(f);
    door_advance(f, 3600000);
    door_open(f);
    door_run(f, 40000);
    assert_null(strstr(samples_of(f, "up"), ":0"));
    assert_job(f, INGEST_JOB_UP, 1);
    door_run(f, 10000);
    assert_job(f, INGEST_JOB_DOWN, 0);
    door_reopen(f); /* down stays down */
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "up"), "up{job=\"j\"} 0\n");
}

static void test_time_we_did_not_listen_is_forgiven(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w", "");
    door_run(f, 10000);
    door_advance(f, 300000); /* stopped, suspended, or the clock jumped */
    door_run(f, 30000);
    assert_job(f, INGEST_JOB_UP, 1);
    door_run(f, 20000);
    assert_job(f, INGEST_JOB_DOWN, 0);
}

static void test_clock_that_goes_back(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w", "");
    door_run(f, 10000);
    door_advance(f, -3600000);
    (void)ingest_tick_blocking(f->ingest, door_now_ms(f));
    assert_job(f, INGEST_JOB_UP, 1);
    door_run(f, 60000);
    assert_job(f, INGEST_JOB_DOWN, 0);
}

static void test_silent_job_is_forgotten(void **state) {
    struct door_fixture *f = *state;
    door_close(f);
    f->options.events.forget_ms = 120000;
    door_open(f);
    beat(f, "w", "");
    post_events(
        f, "{\"kind\":\"dependency\",\"app\":\"a\",\"job\":\"j\",\"name\":\"d\",\"id\":\"1\"}\n");
    door_run(f, 125000);
    struct ingest_job *jobs;
    size_t count;
    ingest_jobs(f->ingest, &f->store.arena, &jobs, &count);
    assert_int_equal(count, 0);
    assert_string_equal(newest_of(f, "up"), "up{job=\"j\"} stale\n");
    assert_string_equal(
        newest_of(f, "a_dependency_calls_total"),
        "a_dependency_calls_total{dependency=\"d\",job=\"j\",outcome=\"ok\"} stale\n");
    door_reopen(f);
    ingest_jobs(f->ingest, &f->store.arena, &jobs, &count);
    assert_int_equal(count, 0);
}

/* ---- sums over workers ---- */

static void test_gauges_sum_over_the_living(void **state) {
    struct door_fixture *f = *state;
    resource(f, "w1",
             ",\"active_agents\":2,\"rss_bytes\":104857600,\"open_fds\":10,\"loop_lag_ms\":5");
    resource(f, "w2", ",\"active_agents\":3,\"rss_bytes\":52428800,\"loop_lag_ms\":50");
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "a_active_agents"), "a_active_agents{job=\"j\"} 5\n");
    assert_string_equal(newest_of(f, "a_memory_usage_mb"), "a_memory_usage_mb{job=\"j\"} 150\n");
    assert_string_equal(newest_of(f, "a_open_fds"), "a_open_fds{job=\"j\"} 10\n");
    assert_string_equal(newest_of(f, "a_event_loop_lag_seconds"),
                        "a_event_loop_lag_seconds{job=\"j\"} 0.05\n");
    assert_string_equal(newest_of(f, "a_workers"), "a_workers{job=\"j\"} 2\n");
    /* A resource event changes what it carries. */
    resource(f, "w1", ",\"active_agents\":0");
    door_reopen(f);
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "a_active_agents"), "a_active_agents{job=\"j\"} 3\n");
    assert_string_equal(newest_of(f, "a_memory_usage_mb"), "a_memory_usage_mb{job=\"j\"} 150\n");
    /* w2 dies */
    for (int i = 0; i < 6; i++) {
        beat(f, "w1", "");
        door_run(f, 10000);
    }
    assert_string_equal(newest_of(f, "a_memory_usage_mb"), "a_memory_usage_mb{job=\"j\"} 100\n");
    door_run(f, 60000);
    assert_string_equal(newest_of(f, "a_memory_usage_mb"), "a_memory_usage_mb{job=\"j\"} stale\n");
    assert_string_equal(newest_of(f, "a_workers"), "a_workers{job=\"j\"} stale\n");
}

static void assert_cpu(struct door_fixture *f, const char *value) {
    char expected[128];
    snprintf(expected, sizeof(expected), "a_cpu_usage_seconds{job=\"j\"} %s\n", value);
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "a_cpu_usage_seconds"), expected);
}

static void test_cpu_time_only_grows(void **state) {
    struct door_fixture *f = *state;
    resource(f, "w1", ",\"cpu_seconds\":5");
    resource(f, "w1", ",\"cpu_seconds\":9");
    resource(f, "w1", ",\"cpu_seconds\":2"); /* another process under the same name */
    resource(f, "w2", ",\"cpu_seconds\":7");
    assert_cpu(f, "18");
    resource(f, "w2", ",\"cpu_seconds\":7");
    door_reopen(f);
    resource(f, "w2", ",\"cpu_seconds\":8");
    assert_cpu(f, "19");
    /* Stopped for longer than its lease, then back: what was counted stays counted. */
    door_run(f, 120000);
    resource(f, "w2", ",\"cpu_seconds\":8.5");
    assert_cpu(f, "19.5");
    /* The series itself has never dipped. */
    assert_null(strstr(samples_of(f, "a_cpu_usage_seconds"), ":7"));
}

static void test_goodbye_ends_the_gauges_of_the_job(void **state) {
    struct door_fixture *f = *state;
    resource(f, "w", ",\"active_agents\":2,\"cpu_seconds\":3");
    post_events(f,
                "{\"kind\":\"llm\",\"app\":\"a\",\"job\":\"j\",\"provider\":\"P\",\"model\":\"m\","
                "\"id\":\"1\"}\n");
    door_run(f, 5000);
    beat(f, "w", ",\"goodbye\":true");
    door_run(f, 10000);
    /* What is summed over workers ends at once; what is known about the provider a lease later. */
    static const char *const at_once[] = { "a_active_agents", "a_workers" };
    for (size_t i = 0; i < ARRAY_LEN(at_once); i++) {
        assert_non_null(strstr(samples_of(f, at_once[i]), " 10:stale\n"));
    }
    static const char *const later[] = { "a_llm_provider_available",
                                         "a_last_event_timestamp_seconds" };
    door_reopen(f);
    door_run(f, 45000);
    for (size_t i = 0; i < ARRAY_LEN(later); i++) {
        assert_null(strstr(samples_of(f, later[i]), " 10:stale"));
        assert_non_null(strstr(samples_of(f, later[i]), ":stale\n"));
    }
    assert_non_null(strstr(newest_of(f, "a_llm_calls_total"), "} 1\n"));
    assert_non_null(strstr(newest_of(f, "a_cpu_usage_seconds"), "} 3\n"));
}

static void test_gauges_survive_workers_that_all_restart(void **state) {
    struct door_fixture *f = *state;
    beat(f, "w1", "");
    post_events(f,
                "{\"kind\":\"llm\",\"app\":\"a\",\"job\":\"j\",\"provider\":\"P\",\"model\":\"m\","
                "\"outcome\":\"error\",\"n\":3,\"id\":\"1\"}\n");
    door_run(f, 5000);
    beat(f, "w1", ",\"goodbye\":true");
    door_run(f, 10000);
    beat(f, "w2", "");
    door_run(f, 120000);
    assert_null(strstr(samples_of(f, "a_llm_provider_available"), "stale"));
    assert_non_null(strstr(newest_of(f, "a_llm_provider_available"), "} 0\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_up_while_heard_down_after_three_intervals),
        TEST(test_interval_is_the_workers),
        TEST(test_one_of_four_workers_restarts),
        TEST(test_last_goodbye_makes_up_stale),
        TEST(test_gauges_survive_workers_that_all_restart),
        TEST(test_goodbye_survives_a_restart_before_it_was_sampled),
        TEST(test_goodbye_of_a_job_that_is_down),
        TEST(test_stragglers_do_not_undo_a_goodbye),
        TEST(test_any_event_of_a_worker_renews_its_lease),
        TEST(test_events_alone_make_no_up),
        TEST(test_restart_grants_a_whole_lease),
        TEST(test_time_we_did_not_listen_is_forgiven),
        TEST(test_clock_that_goes_back),
        TEST(test_silent_job_is_forgotten),
        TEST(test_gauges_sum_over_the_living),
        TEST(test_cpu_time_only_grows),
        TEST(test_goodbye_ends_the_gauges_of_the_job),
    };
    return cmocka_run_group_tests_name("ingest/leases", tests, NULL, NULL);
}
