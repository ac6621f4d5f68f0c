/*
 * Goal: events become exactly the series they should, once each, over restarts of workers and of
 * the server. Method: a store in a temporary directory, a clock the test moves, bodies posted
 * directly, the store read back.
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

#define REQUEST(id, status)                                                          \
    "{\"id\":\"" id                                                                  \
    "\",\"kind\":\"request\",\"app\":\"hedge_fund\",\"job\":\"hedge-fund-backend\"," \
    "\"method\":\"GET\",\"route\":\"/ping\",\"status\":" status ",\"duration_ms\":300}\n"

/* ---- the seed's series ---- */

static void test_request_becomes_the_seeds_series(void **state) {
    struct door_fixture *f = *state;
    post_events(f, REQUEST("a", "200"));
    assert_int_equal(f->err.code, ERR_NONE);
    assert_string_equal(f->json, "{\"accepted\":1,\"duplicate\":0,\"rejected\":[]}");
    door_run(f, 10000);
    assert_string_equal(samples_of(f, "hedge_fund_requests_total"),
                        "hedge_fund_requests_total{endpoint=\"/ping\",job=\"hedge-fund-backend\","
                        "method=\"GET\",status=\"200\"} 0:0 5:1 10:1\n");
#define BUCKET(le, value)                                            \
    "hedge_fund_request_duration_seconds_bucket{endpoint=\"/ping\"," \
    "job=\"hedge-fund-backend\",le=\"" le "\"} " value "\n"
    assert_string_equal(newest_of(f, "hedge_fund_request_duration_seconds_bucket"),
                        BUCKET("+Inf", "1") BUCKET("0.1", "0") BUCKET("0.25", "0")
                            BUCKET("0.5", "1") BUCKET("1.0", "1") BUCKET("10.0", "1")
                                BUCKET("2.5", "1") BUCKET("5.0", "1"));
    assert_string_equal(samples_of(f, "hedge_fund_request_duration_seconds_sum"),
                        "hedge_fund_request_duration_seconds_sum{endpoint=\"/ping\","
                        "job=\"hedge-fund-backend\"} 0:0 5:0.3 10:0.3\n");
    assert_string_equal(newest_of(f, "hedge_fund_request_duration_seconds_count"),
                        "hedge_fund_request_duration_seconds_count{endpoint=\"/ping\","
                        "job=\"hedge-fund-backend\"} 1\n");
}

static void test_a_later_label_value_is_born_at_zero_too(void **state) {
    struct door_fixture *f = *state;
    post_events(f, REQUEST("a", "200"));
    door_run(f, 10000);
    post_events(f, REQUEST("b", "500"));
    door_run(f, 5000);
    assert_string_equal(samples_of(f, "hedge_fund_requests_total"),
                        "hedge_fund_requests_total{endpoint=\"/ping\",job=\"hedge-fund-backend\","
                        "method=\"GET\",status=\"200\"} 0:0 5:1 10:1 15:1\n"
                        "hedge_fund_requests_total{endpoint=\"/ping\",job=\"hedge-fund-backend\","
                        "method=\"GET\",status=\"500\"} 10:0 15:1\n");
}

static void test_llm_call_becomes_the_seeds_series_and_more(void **state) {
    struct door_fixture *f = *state;
    post_events(
        f, "{\"kind\":\"llm\",\"app\":\"hedge_fund\",\"provider\":\"OpenAI\",\"model\":\"gpt\","
           "\"duration_ms\":1500,\"ttft_ms\":400,\"attempts\":2,\"tokens_in\":10,"
           "\"tokens_out\":7,\"cost_usd\":0.25,\"ts\":1700000000000}\n");
    assert_int_equal(f->accepted, 1);
    door_run(f, 5000);

    static const struct {
        const char *name;
        const char *line;
    } cases[] = {
        { "hedge_fund_llm_calls_total",
          "{job=\"hedge_fund\",model=\"gpt\",provider=\"OpenAI\"} 1\n" },
        { "hedge_fund_llm_response_duration_seconds_sum",
          "{job=\"hedge_fund\",model=\"gpt\",provider=\"OpenAI\"} 1.5\n" },
        { "hedge_fund_llm_ttft_seconds_sum",
          "{job=\"hedge_fund\",model=\"gpt\",provider=\"OpenAI\"} 0.4\n" },
        { "hedge_fund_llm_call_outcomes_total",
          "{job=\"hedge_fund\",model=\"gpt\",outcome=\"ok\",provider=\"OpenAI\"} 1\n" },
        { "hedge_fund_llm_attempts_total",
          "{job=\"hedge_fund\",model=\"gpt\",provider=\"OpenAI\"} 2\n" },
        { "hedge_fund_llm_cost_usd_total",
          "{job=\"hedge_fund\",model=\"gpt\",provider=\"OpenAI\"} 0.25\n" },
        { "hedge_fund_llm_provider_available", "{job=\"hedge_fund\",provider=\"OpenAI\"} 1\n" },
        { "hedge_fund_last_event_timestamp_seconds", "{job=\"hedge_fund\"} 1700000000\n" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char expected[512];
        snprintf(expected, sizeof(expected), "%s%s", cases[i].name, cases[i].line);
        assert_string_equal(newest_of(f, cases[i].name), expected);
    }
    assert_string_equal(newest_of(f, "hedge_fund_llm_tokens_total"),
                        "hedge_fund_llm_tokens_total{job=\"hedge_fund\",model=\"gpt\","
                        "provider=\"OpenAI\",type=\"input\"} 10\n"
                        "hedge_fund_llm_tokens_total{job=\"hedge_fund\",model=\"gpt\","
                        "provider=\"OpenAI\",type=\"output\"} 7\n");
    assert_string_equal(newest_of(f, "hedge_fund_llm_errors_total"), "");
}

static void test_other_kinds_have_series(void **state) {
    struct door_fixture *f = *state;
    post_events(
        f,
        "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"db\",\"duration_ms\":20,\"id\":\"1\"}\n"
        "{\"kind\":\"begin\",\"app\":\"a\",\"of\":\"llm\",\"provider\":\"P\",\"model\":\"M\","
        "\"id\":\"2\"}\n"
        "{\"kind\":\"begin\",\"app\":\"a\",\"of\":\"request\",\"method\":\"get\",\"route\":\"/\","
        "\"id\":\"3\"}\n"
        "{\"kind\":\"begin\",\"app\":\"a\",\"of\":\"dependency\",\"name\":\"db\",\"id\":\"4\"}\n");
    assert_int_equal(f->accepted, 4);
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "a_dependency_calls_total"),
                        "a_dependency_calls_total{dependency=\"db\",job=\"a\",outcome=\"ok\"} 1\n");
    assert_string_equal(newest_of(f, "a_dependency_duration_seconds_count"),
                        "a_dependency_duration_seconds_count{dependency=\"db\",job=\"a\"} 1\n");
    assert_string_equal(newest_of(f, "a_llm_started_total"),
                        "a_llm_started_total{job=\"a\",model=\"M\",provider=\"P\"} 1\n");
    assert_string_equal(newest_of(f, "a_requests_started_total"),
                        "a_requests_started_total{endpoint=\"/\",job=\"a\",method=\"GET\"} 1\n");
    assert_string_equal(newest_of(f, "a_dependency_started_total"),
                        "a_dependency_started_total{dependency=\"db\",job=\"a\"} 1\n");
}

static void test_weight_counts_for_many(void **state) {
    struct door_fixture *f = *state;
    post_events(
        f, "{\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\",\"route\":\"/\",\"status\":200,"
           "\"duration_ms\":200,\"n\":5,\"sample\":2,\"ts\":1700000000000}\n");
    door_run(f, 5000);
    assert_string_equal(
        newest_of(f, "a_requests_total"),
        "a_requests_total{endpoint=\"/\",job=\"a\",method=\"GET\",status=\"200\"} 10\n");
    assert_string_equal(newest_of(f, "a_request_duration_seconds_sum"),
                        "a_request_duration_seconds_sum{endpoint=\"/\",job=\"a\"} 2\n");
    assert_string_equal(newest_of(f, "a_request_duration_seconds_count"),
                        "a_request_duration_seconds_count{endpoint=\"/\",job=\"a\"} 10\n");
}

/* ---- providers ---- */

static void post_call(struct door_fixture *f, const char *id, const char *more) {
    char line[512];
    snprintf(
        line, sizeof(line),
        "{\"id\":\"%s\",\"kind\":\"llm\",\"app\":\"a\",\"provider\":\"P\",\"model\":\"m\"%s}\n", id,
        more);
    post_events(f, line);
    assert_int_equal(f->accepted, 1);
}

static void assert_available(struct door_fixture *f, int value) {
    char expected[128];
    snprintf(expected, sizeof(expected), "a_llm_provider_available{job=\"a\",provider=\"P\"} %d\n",
             value);
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "a_llm_provider_available"), expected);
}

static void test_provider_goes_after_three_failures_and_comes_back(void **state) {
    struct door_fixture *f = *state;
#define FAILED ",\"outcome\":\"error\",\"error_type\":\"server\""
    post_call(f, "1", FAILED);
    post_call(f, "2", FAILED);
    assert_available(f, 1);
    post_call(f, "3", ",\"outcome\":\"ok\"");
    post_call(f, "4", FAILED);
    post_call(f, "5", ",\"outcome\":\"defaulted\",\"error_type\":\"timeout\"");
    assert_available(f, 1);
    post_call(f, "6", ",\"outcome\":\"timeout\"");
    assert_available(f, 0);
    /* Says nothing about the provider. */
    post_call(f, "7", ",\"outcome\":\"ok\",\"cache_hit\":true");
    post_call(f, "8", ",\"outcome\":\"aborted\"");
    assert_available(f, 0);
    door_reopen(f);
    assert_available(f, 0);
    /* An unusable answer is an answer. */
    post_call(f, "9", ",\"outcome\":\"error\",\"error_type\":\"parse\"");
    assert_available(f, 1);
}

static void test_weight_of_failures(void **state) {
    struct door_fixture *f = *state;
    post_call(f, "1", FAILED ",\"n\":3");
    assert_available(f, 0);
}

/* ---- once each ---- */

static void test_ids_count_once(void **state) {
    struct door_fixture *f = *state;
    post_events(f, REQUEST("a", "200") REQUEST("a", "200") REQUEST("b", "200"));
    assert_int_equal(f->accepted, 2);
    assert_int_equal(f->duplicates, 1);
    post_events(f, REQUEST("b", "200") REQUEST("c", "200"));
    assert_int_equal(f->accepted, 1);
    assert_int_equal(f->duplicates, 1);
    door_reopen(f);
    post_events(f, REQUEST("a", "200") REQUEST("b", "200") REQUEST("c", "200"));
    assert_int_equal(f->accepted, 0);
    assert_int_equal(f->duplicates, 3);
    assert_int_equal(f->err.code, ERR_NONE);
    door_run(f, 5000);
    assert_non_null(strstr(newest_of(f, "hedge_fund_requests_total"), "} 3\n"));
}

static void test_ids_belong_to_their_app(void **state) {
    struct door_fixture *f = *state;
#define DEPENDENCY(app) \
    "{\"id\":\"x\",\"kind\":\"dependency\",\"app\":\"" app "\",\"name\":\"db\"}\n"
    post_events(f, DEPENDENCY("a") DEPENDENCY("b"));
    assert_int_equal(f->accepted, 2);
}

static void test_batch_without_ids_counts_once(void **state) {
    struct door_fixture *f = *state;
#define UNNAMED "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"db\",\"ts\":1700000000000}\n"
    /* Two equal lines are two events; the same body again is a retry. */
    post_events(f, UNNAMED UNNAMED);
    assert_int_equal(f->accepted, 2);
    post_events(f, UNNAMED UNNAMED);
    assert_int_equal(f->accepted, 0);
    assert_int_equal(f->duplicates, 2);
    post_events(f, UNNAMED UNNAMED UNNAMED);
    assert_int_equal(f->accepted, 3);
    door_run(f, 5000);
    assert_non_null(strstr(newest_of(f, "a_dependency_calls_total"), "} 5\n"));
}

static void test_body_without_ids_and_times_may_happen_again(void **state) {
    struct door_fixture *f = *state;
#define UNTIMED "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"db\"}\n"
    post_events(f, UNTIMED);
    post_events(f, UNTIMED);
    assert_int_equal(f->accepted, 1);
    assert_int_equal(f->duplicates, 0);
    post_events(f, UNNAMED UNTIMED);
    post_events(f, UNNAMED UNTIMED);
    assert_int_equal(f->accepted, 2);
    post_events_with_key(f, UNTIMED, "k");
    post_events_with_key(f, UNTIMED, "k");
    assert_int_equal(f->duplicates, 1);
}

static void test_idempotency_key_names_a_batch(void **state) {
    struct door_fixture *f = *state;
    post_events_with_key(f, UNNAMED, "k1");
    assert_int_equal(f->accepted, 1);
    post_events_with_key(f, UNNAMED, "k2");
    assert_int_equal(f->accepted, 1);
    door_reopen(f);
    post_events_with_key(f, UNNAMED UNNAMED, "k1");
    assert_int_equal(f->duplicates, 2);
    /* A line with an id of its own is judged alone. */
    post_events_with_key(f, UNNAMED DEPENDENCY("a"), "k1");
    assert_int_equal(f->duplicates, 1);
    assert_int_equal(f->accepted, 1);
    char key[INGEST_ID_BYTES_MAX + 2];
    memset(key, 'k', sizeof(key));
    key[sizeof(key) - 1] = '\0';
    post_events_with_key(f, UNNAMED, key);
    assert_int_equal(f->err.code, ERR_INVALID);
}

static void test_ids_expire_with_the_window(void **state) {
    struct door_fixture *f = *state;
    door_close(f);
    f->options.events.dedup_window_ms = 60000; /* late_ms_max follows */
    door_open(f);
    post_events(f, REQUEST("a", "200"));
    door_run(f, 59000);
    post_events(f, REQUEST("a", "200"));
    assert_int_equal(f->duplicates, 1);
    door_run(f, 1000);
    post_events(f, REQUEST("a", "200"));
    assert_int_equal(f->accepted, 1);
    door_run(f, 5000);
    post_events(f, REQUEST("a", "200"));
    assert_int_equal(f->duplicates, 1);
}

static size_t count_rows(struct door_fixture *f, enum kv_table table);

static void test_marks_are_bounded(void **state) {
    struct door_fixture *f = *state;
    door_close(f);
    f->options.events.dedup_marks_max = 10;
    door_open(f);
    for (int i = 0; i < 30; i++) {
        char line[256];
        snprintf(line, sizeof(line),
                 "{\"id\":\"%d\",\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"db\"}\n", i);
        post_events(f, line);
        door_advance(f, 1);
    }
    assert_int_equal(count_rows(f, KV_EVENT_DEDUP), 30);
    door_run(f, 5000);
    assert_int_equal(count_rows(f, KV_EVENT_DEDUP), 10);
    assert_int_equal(count_rows(f, KV_EVENT_EXPIRY), 10);
    post_events(f, "{\"id\":\"29\",\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"db\"}\n");
    assert_int_equal(f->duplicates, 1);
    assert_true(own_metric(f, "tocsin_ingest_event_ids_evicted_total", NULL) == 20);
}

static bool count_row(void *ctx, struct str key, struct str value) {
    (void)key;
    (void)value;
    ++*(size_t *)ctx;
    return true;
}

static size_t count_rows(struct door_fixture *f, enum kv_table table) {
    struct err err = ERR_INIT;
    struct kv_store *kv = tsdb_kv(f->store.db);
    size_t count = 0;
    assert_true(kv->scan(kv, table, STR(""), STR(""), count_row, &count, &err));
    return count;
}

/* ---- restarts ---- */

static void test_counters_continue_over_a_restart(void **state) {
    struct door_fixture *f = *state;
    post_events(f, REQUEST("a", "200"));
    door_run(f, 5000);
    post_events(f, REQUEST("b", "200"));
    door_reopen(f); /* acknowledged, not yet sampled */
    door_run(f, 5000);
    post_events(f, REQUEST("c", "200"));
    door_run(f, 5000);
    assert_string_equal(samples_of(f, "hedge_fund_requests_total"),
                        "hedge_fund_requests_total{endpoint=\"/ping\",job=\"hedge-fund-backend\","
                        "method=\"GET\",status=\"200\"} 0:0 5:1 10:2 15:3\n");
    assert_string_equal(newest_of(f, "hedge_fund_request_duration_seconds_sum"),
                        "hedge_fund_request_duration_seconds_sum{endpoint=\"/ping\","
                        "job=\"hedge-fund-backend\"} 0.9\n");
}

static void test_first_sample_after_a_restart_is_born_once(void **state) {
    struct door_fixture *f = *state;
    post_events(f, REQUEST("a", "500"));
    door_reopen(f); /* never sampled before the end */
    door_run(f, 10000);
    assert_string_equal(samples_of(f, "hedge_fund_requests_total"),
                        "hedge_fund_requests_total{endpoint=\"/ping\",job=\"hedge-fund-backend\","
                        "method=\"GET\",status=\"500\"} 0:0 5:1 10:1\n");
}

static void test_a_gap_is_not_filled(void **state) {
    struct door_fixture *f = *state;
    post_events(f, REQUEST("a", "200"));
    door_run(f, 5000);
    door_advance(f, 600000);
    door_run(f, 5000);
    assert_non_null(strstr(samples_of(f, "hedge_fund_requests_total"), "} 0:0 5:1 605:1 610:1\n"));
}

/* ---- labels ---- */

static void test_label_values_are_capped(void **state) {
    struct door_fixture *f = *state;
    door_close(f);
    f->options.events.label_values_max = 2;
    door_open(f);
    post_events(f, "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"x\",\"id\":\"1\"}\n"
                   "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"y\",\"id\":\"2\"}\n"
                   "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"z\",\"id\":\"3\"}\n"
                   "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"w\",\"id\":\"4\"}\n");
    assert_int_equal(f->accepted, 4);
    door_reopen(f);
    post_events(f, "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"y\",\"id\":\"5\"}\n"
                   "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"v\",\"id\":\"6\"}\n"
                   "{\"kind\":\"dependency\",\"app\":\"b\",\"name\":\"v\",\"id\":\"7\"}\n");
    door_run(f, 5000);
    assert_string_equal(
        newest_of(f, "a_dependency_calls_total"),
        "a_dependency_calls_total{dependency=\"other\",job=\"a\",outcome=\"ok\"} 3\n"
        "a_dependency_calls_total{dependency=\"x\",job=\"a\",outcome=\"ok\"} 1\n"
        "a_dependency_calls_total{dependency=\"y\",job=\"a\",outcome=\"ok\"} 2\n");
    assert_string_equal(newest_of(f, "b_dependency_calls_total"),
                        "b_dependency_calls_total{dependency=\"v\",job=\"b\",outcome=\"ok\"} 1\n");
    assert_true(own_metric(f, "tocsin_ingest_event_label_values_capped_total", NULL) > 0);
}

static void test_extra_labels_come_from_the_list(void **state) {
    struct door_fixture *f = *state;
    static const char *const names[] = { "agent", "Team", NULL };
    door_close(f);
    f->options.events.extra_labels = names;
    door_open(f);
    post_events(f, "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"x\",\"id\":\"1\","
                   "\"labels\":{\"agent\":\"warren\",\"user\":\"u1\",\"Team\":7}}\n");
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "a_dependency_calls_total"),
                        "a_dependency_calls_total{Team=\"7\",agent=\"warren\",dependency=\"x\","
                        "job=\"a\",outcome=\"ok\"} 1\n");
    assert_true(own_metric(f, "tocsin_ingest_event_labels_dropped_total", NULL) == 1);
}

static void test_options_are_checked(void **state) {
    struct door_fixture *f = *state;
    static const char *const reserved[] = { "endpoint", NULL };
    static const char *const invalid[] = { "a-b", NULL };
    static const struct ingest_event_options cases[] = {
        { .extra_labels = reserved },
        { .extra_labels = invalid },
        { .step_ms = -1 },
        { .late_ms_max = 2 * 24 * HOUR_MS },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ingest_options options = f->options;
        options.events = cases[i];
        struct ingest *ingest = NULL;
        struct err err = ERR_INIT;
        assert_false(ingest_create(&options, &ingest, &err));
        assert_int_equal(err.code, ERR_INVALID);
    }
}

static void test_aggregates_are_capped(void **state) {
    struct door_fixture *f = *state;
    door_close(f);
    f->options.events.aggregates_max = 4;
    door_open(f);
    /* calls, last event; a duration would be one too many together with another name */
    post_events(
        f, "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"x\",\"id\":\"1\"}\n"
           "{\"kind\":\"request\",\"app\":\"a\",\"method\":\"GET\",\"route\":\"/\",\"status\":200,"
           "\"duration_ms\":1,\"ttfb_ms\":1,\"bytes\":1,\"id\":\"2\"}\n"
           "{\"kind\":\"dependency\",\"app\":\"a\",\"name\":\"x\",\"id\":\"3\"}\n");
    assert_int_equal(f->accepted, 2);
    assert_int_equal(f->rejected, 1);
    assert_non_null(strstr(f->json, "\"line\":2"));
    assert_non_null(strstr(f->json, "aggregates_max"));
    door_run(f, 5000);
    assert_string_equal(newest_of(f, "a_requests_total"), "");
    assert_non_null(strstr(newest_of(f, "a_dependency_calls_total"), "} 2\n"));
}

static void test_apps_are_capped(void **state) {
    struct door_fixture *f = *state;
    door_close(f);
    f->options.events.apps_max = 2;
    door_open(f);
    post_events(f, DEPENDENCY("a") DEPENDENCY("b") DEPENDENCY("c"));
    assert_int_equal(f->accepted, 2);
    assert_non_null(strstr(f->json, "apps_max"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_request_becomes_the_seeds_series),
        TEST(test_a_later_label_value_is_born_at_zero_too),
        TEST(test_llm_call_becomes_the_seeds_series_and_more),
        TEST(test_other_kinds_have_series),
        TEST(test_weight_counts_for_many),
        TEST(test_provider_goes_after_three_failures_and_comes_back),
        TEST(test_weight_of_failures),
        TEST(test_ids_count_once),
        TEST(test_ids_belong_to_their_app),
        TEST(test_batch_without_ids_counts_once),
        TEST(test_body_without_ids_and_times_may_happen_again),
        TEST(test_idempotency_key_names_a_batch),
        TEST(test_ids_expire_with_the_window),
        TEST(test_marks_are_bounded),
        TEST(test_counters_continue_over_a_restart),
        TEST(test_first_sample_after_a_restart_is_born_once),
        TEST(test_a_gap_is_not_filled),
        TEST(test_label_values_are_capped),
        TEST(test_extra_labels_come_from_the_list),
        TEST(test_options_are_checked),
        TEST(test_aggregates_are_capped),
        TEST(test_apps_are_capped),
    };
    return cmocka_run_group_tests_name("ingest/events", tests, NULL, NULL);
}
