/*
 * Goal: every reply a receiver can give is judged right: accepted, again later (this message or all
 * of them), never. Method: a table of replies, and bounds on the retry delays.
 */
#include "notify/outcome.h"
#include "tests/unit.h"

#define ACCEPTED OUTCOME_ACCEPTED
#define CHANNEL  OUTCOME_RETRY_CHANNEL
#define MESSAGE  OUTCOME_RETRY_MESSAGE
#define NEVER    OUTCOME_PERMANENT

static const struct {
    enum notify_kind kind;
    int status; /* 0 = no reply */
    const char *body;
    enum err_code code;
    int64_t retry_after_ms;
    enum outcome outcome;
    enum failure_reason reason;
    int64_t delay_ms;
} cases[] = {
    { NOTIFY_WEBHOOK, 200, "anything", 0, -1, ACCEPTED, 0, 0 },
    { NOTIFY_WEBHOOK, 204, "", 0, -1, ACCEPTED, 0, 0 },
    { NOTIFY_WEBHOOK, 301, "", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_WEBHOOK, 400, "", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_WEBHOOK, 401, "", 0, -1, NEVER, FAILURE_AUTH, 0 },
    { NOTIFY_WEBHOOK, 403, "", 0, -1, NEVER, FAILURE_AUTH, 0 },
    { NOTIFY_WEBHOOK, 404, "", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_WEBHOOK, 410, "", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_WEBHOOK, 413, "", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_WEBHOOK, 408, "", 0, -1, CHANNEL, FAILURE_TIMEOUT, 0 },
    { NOTIFY_WEBHOOK, 425, "", 0, -1, CHANNEL, FAILURE_TIMEOUT, 0 },
    { NOTIFY_WEBHOOK, 429, "", 0, -1, CHANNEL, FAILURE_RATE_LIMITED, 0 },
    { NOTIFY_WEBHOOK, 429, "", 0, 7000, CHANNEL, FAILURE_RATE_LIMITED, 7000 },
    { NOTIFY_WEBHOOK, 429, "", 0, 86400000, CHANNEL, FAILURE_RATE_LIMITED, 3600000 },
    { NOTIFY_WEBHOOK, 500, "", 0, -1, MESSAGE, FAILURE_SERVER, 0 },
    { NOTIFY_WEBHOOK, 501, "", 0, -1, MESSAGE, FAILURE_SERVER, 0 },
    { NOTIFY_WEBHOOK, 500, "", 0, 5000, CHANNEL, FAILURE_SERVER, 5000 },
    { NOTIFY_WEBHOOK, 502, "", 0, -1, CHANNEL, FAILURE_SERVER, 0 },
    { NOTIFY_WEBHOOK, 503, "", 0, 9000, CHANNEL, FAILURE_SERVER, 9000 },
    { NOTIFY_WEBHOOK, 504, "", 0, -1, CHANNEL, FAILURE_SERVER, 0 },
    { NOTIFY_WEBHOOK, 0, "", ERR_IO, -1, CHANNEL, FAILURE_NETWORK, 0 },
    { NOTIFY_WEBHOOK, 0, "", ERR_TIMEOUT, -1, CHANNEL, FAILURE_TIMEOUT, 0 },
    { NOTIFY_WEBHOOK, 0, "", ERR_INVALID, -1, CHANNEL, FAILURE_OTHER, 0 },
    { NOTIFY_WEBHOOK, 0, "", ERR_CANCELED, -1, OUTCOME_CANCELED, 0, 0 },
    { NOTIFY_SLACK, 200, "ok", 0, -1, ACCEPTED, 0, 0 },
    { NOTIFY_SLACK, 200, " ok\r\n", 0, -1, ACCEPTED, 0, 0 },
    { NOTIFY_SLACK, 200, "", 0, -1, ACCEPTED, 0, 0 },
    { NOTIFY_SLACK, 200, "{\"ok\" : true}", 0, -1, ACCEPTED, 0, 0 },
    { NOTIFY_SLACK, 200, "{\"ok\" : false, \"error\":\"channel_not_found\"}", 0, -1, NEVER,
      FAILURE_CLIENT, 0 },
    { NOTIFY_SLACK, 200, "{\"ok\":false,\"error\":\"ratelimited\"}", 0, 3000, CHANNEL,
      FAILURE_RATE_LIMITED, 3000 },
    { NOTIFY_SLACK, 200, "{\"ok\":false,\"error\":\"internal_error\"}", 0, -1, CHANNEL,
      FAILURE_SERVER, 0 },
    { NOTIFY_SLACK, 200, "<html>proxy login</html>", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_SLACK, 403, "invalid_token", 0, -1, NEVER, FAILURE_AUTH, 0 },
    { NOTIFY_SLACK, 403, "action_prohibited", 0, -1, NEVER, FAILURE_AUTH, 0 },
    { NOTIFY_SLACK, 404, "channel_not_found", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_SLACK, 410, "channel_is_archived", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_SLACK, 500, "rollup_error", 0, -1, MESSAGE, FAILURE_SERVER, 0 },
    { NOTIFY_EMAIL, 250, "250 queued", 0, -1, ACCEPTED, 0, 0 },
    { NOTIFY_EMAIL, 421, "421 busy", 0, -1, CHANNEL, FAILURE_SERVER, 0 },
    { NOTIFY_EMAIL, 450, "450 later", 0, -1, CHANNEL, FAILURE_SERVER, 300000 },
    { NOTIFY_EMAIL, 451, "451 greylisted", 0, -1, CHANNEL, FAILURE_SERVER, 300000 },
    { NOTIFY_EMAIL, 454, "454 TLS not available", 0, -1, CHANNEL, FAILURE_SERVER, 0 },
    { NOTIFY_EMAIL, 535, "535 bad credentials", 0, -1, NEVER, FAILURE_AUTH, 0 },
    { NOTIFY_EMAIL, 550, "550 no such user", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_EMAIL, 552, "552 too big", 0, -1, NEVER, FAILURE_CLIENT, 0 },
    { NOTIFY_EMAIL, 0, "", ERR_IO, -1, CHANNEL, FAILURE_NETWORK, 0 },
};

static void test_judgements(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_response response = {
            .is_ok = cases[i].status != 0,
            .err = { .code = cases[i].code, .msg = "why" },
            .status = cases[i].status,
            .body = str_from(cases[i].body),
            .retry_after_ms = cases[i].retry_after_ms,
            .was_sent = true,
        };
        struct verdict verdict;
        judge_response(cases[i].kind, &response, &verdict);
        bool is_failure =
            verdict.outcome != OUTCOME_ACCEPTED && verdict.outcome != OUTCOME_CANCELED;
        if (verdict.outcome != cases[i].outcome ||
            (is_failure && verdict.reason != cases[i].reason) ||
            verdict.delay_ms_min != cases[i].delay_ms) {
            fail_msg("case %zu: status %d %s: outcome %d, %s, %lld ms", i, cases[i].status,
                     cases[i].body, (int)verdict.outcome, failure_reason_to_string(verdict.reason),
                     (long long)verdict.delay_ms_min);
        }
        assert_int_equal(is_failure,
                         verdict.outcome != OUTCOME_CANCELED && verdict.text[0] != '\0');
        assert_int_equal(verdict.is_ambiguous,
                         cases[i].status == 0 && cases[i].code != ERR_INVALID);
    }
}

/* A reply longer than we read is still an acceptance by its status. */
static void test_long_reply(void **state) {
    (void)state;
    struct http_response response = { .err = { .code = ERR_LIMIT, .msg = "too long" },
                                      .status = 200,
                                      .was_sent = true };
    struct verdict verdict;
    judge_response(NOTIFY_WEBHOOK, &response, &verdict);
    assert_int_equal(verdict.outcome, OUTCOME_ACCEPTED);
    response.status = 500;
    judge_response(NOTIFY_WEBHOOK, &response, &verdict);
    assert_int_equal(verdict.outcome, OUTCOME_RETRY_CHANNEL);
}

static void test_reply_is_one_printable_line(void **state) {
    (void)state;
    char body[1000];
    memset(body, 'x', sizeof(body));
    memcpy(body, "a\r\n\x1b[31mb\xc3\xa4", 12);
    struct http_response response = {
        .is_ok = true, .status = 400, .body = str_n(body, sizeof(body)), .retry_after_ms = -1
    };
    struct verdict verdict;
    judge_response(NOTIFY_WEBHOOK, &response, &verdict);
    assert_non_null(strstr(verdict.text, "a   [31mb\xc3\xa4"));
    assert_true(strlen(verdict.text) < 240);
    for (const char *c = verdict.text; *c != '\0'; c++) {
        assert_true((unsigned char)*c >= ' ');
    }
}

static void test_delays(void **state) {
    (void)state;
    int64_t ideal_ms = 1000;
    for (uint32_t attempts = 1; attempts < 40; attempts++) {
        for (uint64_t jitter = 0; jitter < 2000; jitter += 37) {
            int64_t delay_ms = retry_delay_ms(attempts, jitter * UINT64_C(0x9e3779b97f4a7c15));
            assert_true(delay_ms <= ideal_ms && delay_ms >= ideal_ms * 3 / 4);
        }
        ideal_ms = ideal_ms * 2 > 300000 ? 300000 : ideal_ms * 2;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judgements),
        cmocka_unit_test(test_long_reply),
        cmocka_unit_test(test_reply_is_one_printable_line),
        cmocka_unit_test(test_delays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
