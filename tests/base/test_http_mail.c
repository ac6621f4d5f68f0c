/*
 * Goal: mail reaches the server exactly as given and safely enveloped, and every refusal or break
 * is told apart. Method: a scripted SMTP server on loopback records the dialogue and answers each
 * command from a table; cases replace single answers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/http.h"
#include "tests/base/stub_server.h"
#include "tests/unit.h"

/* Instead of a reply: break the connection, or say nothing until the client gives up. */
static const char cut[] = "cut";
static const char mute[] = "mute";

struct smtp {
    const char *greeting;
    const char *ehlo;
    const char *auth;
    const char *mail;
    const char *rcpt;
    const char *data;
    const char *end; /* after the message */
    const char *quit;
    char transcript[16384]; /* everything the client sent */
    size_t transcript_len;
};

static const char *pick(const char *wanted, const char *usual) {
    return wanted == NULL ? usual : wanted;
}

static bool answer(int fd, const char *reply) {
    if (reply == mute) {
        char rest[8192];
        (void)stub_read_until(fd, "QUIT\r\n", rest, sizeof(rest));
        return false;
    }
    return reply != cut && stub_write(fd, reply) && stub_write(fd, "\r\n");
}

static bool hear(struct smtp *smtp, int fd, const char *end, char *line, size_t cap) {
    size_t len = stub_read_until(fd, end, line, cap);
    if (smtp->transcript_len + len < sizeof(smtp->transcript)) {
        memcpy(smtp->transcript + smtp->transcript_len, line, len + 1);
        smtp->transcript_len += len;
    }
    return len > 0;
}

static const char *reply_to(const struct smtp *smtp, const char *line) {
    static const char ehlo[] = "250-stub\r\n250 AUTH PLAIN LOGIN";
    if (strncmp(line, "EHLO", 4) == 0) {
        return pick(smtp->ehlo, ehlo);
    }
    if (strncmp(line, "MAIL", 4) == 0) {
        return pick(smtp->mail, "250 sender ok");
    }
    if (strncmp(line, "RCPT", 4) == 0) {
        return strstr(line, "nobody@") != NULL ? "550 5.1.1 no such user"
                                               : pick(smtp->rcpt, "250 ok");
    }
    if (strncmp(line, "DATA", 4) == 0) {
        return pick(smtp->data, "354 go ahead");
    }
    return strncmp(line, "QUIT", 4) == 0 ? pick(smtp->quit, "221 bye") : "500 what?";
}

static void serve_smtp(void *ctx, int fd, int connection) {
    struct smtp *smtp = ctx;
    char line[8192];
    (void)connection;
    if (!answer(fd, pick(smtp->greeting, "220 stub ESMTP"))) {
        return;
    }
    while (hear(smtp, fd, "\r\n", line, sizeof(line))) {
        bool is_auth = strncmp(line, "AUTH", 4) == 0;
        if (is_auth && (!answer(fd, "334 ") || !hear(smtp, fd, "\r\n", line, sizeof(line)))) {
            return;
        }
        const char *reply = is_auth ? pick(smtp->auth, "235 welcome") : reply_to(smtp, line);
        if (!answer(fd, reply)) {
            return;
        }
        if (strncmp(line, "DATA", 4) == 0 && reply[0] == '3') {
            if (!hear(smtp, fd, "\r\n.\r\n", line, sizeof(line)) ||
                !answer(fd, pick(smtp->end, "250 queued as 42"))) {
                return;
            }
        }
    }
}

static const char *const one_recipient[] = { "ops@example.com", NULL };

struct outcome {
    struct http_response response;
    char reply[600];
    double took_s;
};

static struct outcome send_mail(struct smtp *smtp, struct http_request request) {
    struct http_client *client = NULL;
    struct err err = ERR_INIT;
    assert_true(http_client_create("x", &client, &err));
    struct stub *stub = stub_start(serve_smtp, smtp);
    char url[100];
    snprintf(url, sizeof(url), "smtp://127.0.0.1:%d", stub_port(stub));
    request.url = url;
    request.timeout_ms = request.timeout_ms == 0 ? 5000 : request.timeout_ms;
    request.mail_from = request.mail_from == NULL ? "tocsin@example.com" : request.mail_from;
    request.mail_recipients =
        request.mail_recipients == NULL ? one_recipient : request.mail_recipients;
    request.body = request.body.ptr == NULL ? STR("Subject: x\r\n\r\nhello\r\n") : request.body;
    struct timespec start;
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    struct outcome outcome = { .reply = "" };
    struct buf reply;
    buf_init(&reply, 500);
    if (!http_perform_blocking(client, &request, &outcome.response, &reply, &err)) {
        fail_msg("%s", err.msg);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    outcome.took_s =
        (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    snprintf(outcome.reply, sizeof(outcome.reply), "%s", buf_as_str(&reply).ptr);
    buf_finish(&reply);
    http_client_destroy(client);
    stub_stop(stub);
    return outcome;
}

static void delivers_as_given(void **state) {
    static const char *const to[] = { "a@example.com", "b@example.com", NULL };
    struct smtp smtp = { 0 };
    struct http_request request = {
        .mail_recipients = to,
        .mail_hello = "tocsin.example.com",
        .username = "user",
        .password = "secret",
        .body = STR("Subject: x\r\n\r\n.dot\r\n..two\nbare\rmac\r\n.\nsmuggled\r\n"),
    };
    struct outcome outcome = send_mail(&smtp, request);
    assert_true(outcome.response.is_ok);
    assert_true(outcome.response.was_sent);
    assert_int_equal(outcome.response.status, 250);
    assert_string_equal(outcome.response.effective_ip, "127.0.0.1");
    assert_string_equal(outcome.reply, "250 queued as 42");
    assert_string_equal(smtp.transcript,
                        "EHLO tocsin.example.com\r\n"
                        "AUTH PLAIN\r\n"
                        "AHVzZXIAc2VjcmV0\r\n"
                        "MAIL FROM:<tocsin@example.com>\r\n"
                        "RCPT TO:<a@example.com>\r\n"
                        "RCPT TO:<b@example.com>\r\n"
                        "DATA\r\n"
                        "Subject: x\r\n\r\n..dot\r\n...two\r\nbare\r\nmac\r\n..\r\n"
                        "smuggled\r\n"
                        ".\r\n"
                        "QUIT\r\n");
}

static void refusals_are_replies(void **state) {
    static const char *const nobody[] = { "a@example.com", "nobody@example.com", NULL };

    static const struct {
        struct smtp smtp;
        const char *const *to;
        const char *username;
        int status;
        bool was_sent;
        const char *reply;
    } cases[] = {
        { { .greeting = "554 go away" }, NULL, NULL, 554, false, "554 go away" },
        { { .auth = "535 wrong password" }, NULL, "user", 535, false, "535 wrong password" },
        { { .mail = "451 try later" }, NULL, NULL, 451, false, "451 try later" },
        { { .rcpt = "452 mailbox full" }, NULL, NULL, 452, false, "452 mailbox full" },
        { { 0 }, nobody, NULL, 550, false, "550 5.1.1 no such user" },
        { { .data = "554 no" }, NULL, NULL, 554, false, "554 no" },
        { { .end = "554-long\r\n554 spam" }, NULL, NULL, 554, true, "554 spam" },
        { { .end = "421 closing" }, NULL, NULL, 421, true, "421 closing" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct smtp smtp = cases[i].smtp;
        struct http_request request = {
            .mail_recipients = cases[i].to,
            .username = cases[i].username,
            .password = cases[i].username == NULL ? NULL : "x",
        };
        struct outcome outcome = send_mail(&smtp, request);
        if (!outcome.response.is_ok || outcome.response.status != cases[i].status ||
            outcome.response.was_sent != cases[i].was_sent ||
            strcmp(outcome.reply, cases[i].reply) != 0) {
            fail_msg("case %zu: ok %d, status %d, sent %d, reply \"%s\", %s", i,
                     outcome.response.is_ok, outcome.response.status, outcome.response.was_sent,
                     outcome.reply, outcome.response.err.msg);
        }
    }
}

static void breaks_tell_whether_it_was_sent(void **state) {
    static const struct {
        struct smtp smtp;
        bool was_sent;
    } cases[] = {
        { { .greeting = cut }, false }, { { .ehlo = cut }, false }, { { .mail = cut }, false },
        { { .rcpt = cut }, false },     { { .data = cut }, false }, { { .end = cut }, true },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct smtp smtp = cases[i].smtp;
        struct outcome outcome = send_mail(&smtp, (struct http_request){ 0 });
        if (outcome.response.is_ok || outcome.response.was_sent != cases[i].was_sent ||
            outcome.response.err.code != ERR_IO) {
            fail_msg("case %zu: ok %d, sent %d, status %d, %s", i, outcome.response.is_ok,
                     outcome.response.was_sent, outcome.response.status, outcome.response.err.msg);
        }
    }
}

static void silence_times_out(void **state) {
    static const struct {
        struct smtp smtp;
        bool was_sent;
    } cases[] = { { { .greeting = mute }, false },
                  { { .mail = mute }, false },
                  { { .end = mute }, true } };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct smtp smtp = cases[i].smtp;
        struct outcome outcome = send_mail(&smtp, (struct http_request){ .timeout_ms = 150 });
        assert_false(outcome.response.is_ok);
        assert_int_equal(outcome.response.err.code, ERR_TIMEOUT);
        assert_int_equal(outcome.response.was_sent, cases[i].was_sent);
    }
}

static void an_unanswered_quit_costs_little(void **state) {
    struct smtp smtp = { .quit = mute };
    struct outcome outcome = send_mail(&smtp, (struct http_request){ .timeout_ms = 60000 });
    assert_true(outcome.response.is_ok);
    assert_true(outcome.took_s < 3);
}

static void starttls_is_never_given_up(void **state) {
    static const char *const offers[] = { "250 stub", "250-stub\r\n250 STARTTLS" };
    for (size_t i = 0; i < ARRAY_LEN(offers); i++) {
        struct smtp smtp = { .ehlo = offers[i] };
        struct http_request request = {
            .mail_require_tls = true,
            .username = "user",
            .password = "secret",
        };
        struct outcome outcome = send_mail(&smtp, request);
        assert_false(outcome.response.is_ok);
        assert_false(outcome.response.was_sent);
        assert_int_equal(outcome.response.err.code, ERR_IO);
        assert_null(strstr(smtp.transcript, "AUTH"));
        assert_null(strstr(smtp.transcript, "MAIL"));
        if (i == 0) {
            assert_string_equal(outcome.response.err.msg,
                                "the mail server does not offer STARTTLS, which is required");
        }
    }
}

static void never(void *ctx, const struct http_response *response) {
    (void)ctx;
    (void)response;
    fail();
}

static void unsafe_envelopes_are_refused(void **state) {
    static const char *const injected[] = { "a@b.c>\r\nRCPT TO:<evil@x.y", NULL };
    static const char *const lf[] = { "a@b.c\nx", NULL };
    static const char *const angle[] = { "<a@b.c>", NULL };
    static const char *const space[] = { "a@b.c SIZE=1", NULL };
    static const char *const second[] = { "a@b.c", "", NULL };
    static const char *const none[] = { NULL };
    const struct http_request cases[] = {
        { .mail_from = "x@y.z", .mail_recipients = injected },
        { .mail_from = "x@y.z", .mail_recipients = lf },
        { .mail_from = "x@y.z", .mail_recipients = angle },
        { .mail_from = "x@y.z", .mail_recipients = space },
        { .mail_from = "x@y.z", .mail_recipients = second },
        { .mail_from = "x@y.z", .mail_recipients = none },
        { .mail_from = "x@y.z" },
        { .mail_from = "x@y.z>\r\nRCPT TO:<evil@x.y", .mail_recipients = one_recipient },
        { .mail_from = "", .mail_recipients = one_recipient },
        { .mail_from = "x@y.z", .mail_recipients = one_recipient, .mail_hello = "a b" },
        { .mail_from = "x@y.z", .mail_recipients = one_recipient, .mail_hello = "a%0d%0aMAIL" },
        { .mail_from = "x@y.z", .mail_recipients = one_recipient, .mail_hello = "" },
        { .mail_from = "x@y.z", .mail_recipients = one_recipient, .url = "http://127.0.0.1/" },
    };
    struct http_client *client = NULL;
    struct err err = ERR_INIT;
    assert_true(http_client_create("x", &client, &err));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_request request = cases[i];
        request.url = request.url == NULL ? "smtp://127.0.0.1:1" : request.url;
        request.timeout_ms = 1000;
        if (http_submit(client, &request, never, NULL, &err)) {
            fail_msg("case %zu was accepted", i);
        }
        assert_int_equal(err.code, ERR_INVALID);
    }
    http_client_destroy(client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delivers_as_given),
        cmocka_unit_test(refusals_are_replies),
        cmocka_unit_test(breaks_tell_whether_it_was_sent),
        cmocka_unit_test(silence_times_out),
        cmocka_unit_test(an_unanswered_quit_costs_little),
        cmocka_unit_test(starttls_is_never_given_up),
        cmocka_unit_test(unsafe_envelopes_are_refused),
    };
    return cmocka_run_group_tests_name("base/http_mail", tests, NULL, NULL);
}
