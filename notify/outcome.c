/* Classification of replies: see outcome.h. */
#include "notify/outcome.h"

#include <assert.h>
#include <stdio.h>

#include "base/utf8.h"

enum {
    RETRY_MS_MIN = 1000,
    RETRY_MS_MAX = 5 * 60 * 1000,
    RETRY_AFTER_MS_MAX = 3600 * 1000,
    GREYLIST_MS_MIN = 5 * 60 * 1000,
    REPLY_CHARS_SHOWN = 200,
};

const char *failure_reason_to_string(enum failure_reason reason) {
    static const char *const names[] = {
        "network", "timeout", "rate_limited", "auth", "client_error", "server_error", "other",
    };
    static_assert(ARRAY_LEN(names) == FAILURE_COUNT, "one name per reason");
    return names[reason];
}

int64_t retry_delay_ms(uint32_t attempts, uint64_t jitter) {
    assert(attempts >= 1);
    int64_t delay_ms = RETRY_MS_MAX;
    if (attempts <= 9) {
        delay_ms = (int64_t)RETRY_MS_MIN << (attempts - 1);
    }
    delay_ms = delay_ms > RETRY_MS_MAX ? RETRY_MS_MAX : delay_ms;
    return delay_ms - (int64_t)(jitter % (uint64_t)(delay_ms / 4 + 1));
}

/* The reply's body as one printable line. */
static struct str shown_body(struct str body, char out[REPLY_CHARS_SHOWN + 1]) {
    size_t len = utf8_floor(body, body.len < REPLY_CHARS_SHOWN ? body.len : REPLY_CHARS_SHOWN);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)body.ptr[i];
        out[i] = c < ' ' || c == 0x7f ? ' ' : body.ptr[i];
    }
    out[len] = '\0';
    return str_trim(str_n(out, len));
}

static void describe(struct verdict *verdict, const char *what, int status, struct str body) {
    char text[REPLY_CHARS_SHOWN + 1];
    struct str shown = shown_body(body, text);
    (void)snprintf(verdict->text, sizeof(verdict->text), "%s %d%s%.*s", what, status,
                   shown.len > 0 ? ": " : "", STR_FMT(shown));
}

static int64_t wanted_pause_ms(const struct http_response *response) {
    int64_t pause_ms = response->retry_after_ms;
    return pause_ms < 0 ? 0 : pause_ms > RETRY_AFTER_MS_MAX ? RETRY_AFTER_MS_MAX : pause_ms;
}

static void judge_failure(const struct http_response *response, struct verdict *ret) {
    ret->is_ambiguous = response->was_sent;
    (void)snprintf(ret->text, sizeof(ret->text), "%s", response->err.msg);
    switch (response->err.code) {
    case ERR_CANCELED: ret->outcome = OUTCOME_CANCELED; break;
    case ERR_INVALID: /* the configuration's fault: it can be mended while the message waits */
        ret->outcome = OUTCOME_RETRY_CHANNEL;
        ret->reason = FAILURE_OTHER;
        ret->is_ambiguous = false;
        break;
    case ERR_TIMEOUT:
        ret->outcome = OUTCOME_RETRY_CHANNEL;
        ret->reason = FAILURE_TIMEOUT;
        break;
    default:
        ret->outcome = OUTCOME_RETRY_CHANNEL;
        ret->reason = FAILURE_NETWORK;
        break;
    }
}

/* ---- HTTP ---- */

static void judge_http_status(const struct http_response *response, struct verdict *ret) {
    int status = response->status;
    describe(ret, "HTTP status", status, response->body);
    ret->delay_ms_min = wanted_pause_ms(response);
    if (status == 429) {
        ret->outcome = OUTCOME_RETRY_CHANNEL;
        ret->reason = FAILURE_RATE_LIMITED;
    } else if (status == 408 || status == 425) {
        ret->outcome = OUTCOME_RETRY_CHANNEL;
        ret->reason = FAILURE_TIMEOUT;
    } else if (status / 100 == 5) {
        /* 502, 503, 504: the service is away. 500 and the rest may be about this message. */
        bool is_away = status >= 502 && status <= 504;
        ret->outcome =
            is_away || ret->delay_ms_min > 0 ? OUTCOME_RETRY_CHANNEL : OUTCOME_RETRY_MESSAGE;
        ret->reason = FAILURE_SERVER;
    } else {
        ret->outcome = OUTCOME_PERMANENT;
        ret->reason = status == 401 || status == 403 ? FAILURE_AUTH : FAILURE_CLIENT;
    }
}

/* Slack answers 200 to what it refuses, too: the body is the verdict. */
struct slack_word {
    const char *word;
    enum outcome outcome;
    enum failure_reason reason;
};

static const struct slack_word slack_words[] = {
    { "ratelimited", OUTCOME_RETRY_CHANNEL, FAILURE_RATE_LIMITED },
    { "rate_limited", OUTCOME_RETRY_CHANNEL, FAILURE_RATE_LIMITED },
    { "message_limit_exceeded", OUTCOME_RETRY_CHANNEL, FAILURE_RATE_LIMITED },
    { "rollup_error", OUTCOME_RETRY_CHANNEL, FAILURE_SERVER },
    { "internal_error", OUTCOME_RETRY_CHANNEL, FAILURE_SERVER },
    { "fatal_error", OUTCOME_RETRY_CHANNEL, FAILURE_SERVER },
    { "service_unavailable", OUTCOME_RETRY_CHANNEL, FAILURE_SERVER },
    { "request_timeout", OUTCOME_RETRY_CHANNEL, FAILURE_TIMEOUT },
    { "invalid_token", OUTCOME_PERMANENT, FAILURE_AUTH },
    { "invalid_auth", OUTCOME_PERMANENT, FAILURE_AUTH },
    { "not_authed", OUTCOME_PERMANENT, FAILURE_AUTH },
    { "account_inactive", OUTCOME_PERMANENT, FAILURE_AUTH },
    { "token_revoked", OUTCOME_PERMANENT, FAILURE_AUTH },
    { "token_expired", OUTCOME_PERMANENT, FAILURE_AUTH },
    { "missing_scope", OUTCOME_PERMANENT, FAILURE_AUTH },
    { "action_prohibited", OUTCOME_PERMANENT, FAILURE_AUTH },
};

static bool find_word(struct str body, struct verdict *ret) {
    for (size_t i = 0; i < ARRAY_LEN(slack_words); i++) {
        if (str_find(body, str_from(slack_words[i].word)) != SIZE_MAX) {
            ret->outcome = slack_words[i].outcome;
            ret->reason = slack_words[i].reason;
            return true;
        }
    }
    return false;
}

/* True for {"ok":true…}, {"success":true…} and JSON that does not say false. */
static bool json_is_fine(struct str body) {
    char compact[1024];
    size_t n = 0;
    for (size_t i = 0; i < body.len && n < sizeof(compact); i++) {
        if (strchr(" \t\r\n", body.ptr[i]) == NULL) {
            compact[n++] = body.ptr[i];
        }
    }
    struct str text = str_n(compact, n);
    return str_find(text, STR("\"ok\":false")) == SIZE_MAX &&
           str_find(text, STR("\"success\":false")) == SIZE_MAX;
}

static void judge_slack_body(const struct http_response *response, struct verdict *ret) {
    struct str body = str_trim(response->body);
    bool is_json = body.len > 0 && body.ptr[0] == '{';
    if (body.len == 0 || str_eq(body, STR("ok")) || (is_json && json_is_fine(body))) {
        ret->outcome = OUTCOME_ACCEPTED;
        return;
    }
    describe(ret, "Slack answered", response->status, body);
    ret->delay_ms_min = wanted_pause_ms(response);
    if (!find_word(body, ret)) { /* no_service, channel_is_archived, an HTML page … */
        ret->outcome = OUTCOME_PERMANENT;
        ret->reason = FAILURE_CLIENT;
    }
}

static void judge_http(enum notify_kind kind,
                       const struct http_response *response,
                       struct verdict *ret) {
    if (response->status / 100 != 2) {
        judge_http_status(response, ret);
        if (kind == NOTIFY_SLACK && response->status / 100 == 4) {
            (void)find_word(response->body, ret);
        }
    } else if (kind == NOTIFY_SLACK) {
        judge_slack_body(response, ret);
    } else {
        ret->outcome = OUTCOME_ACCEPTED;
    }
}

/* ---- mail ---- */

static void judge_mail(const struct http_response *response, struct verdict *ret) {
    int status = response->status;
    if (status / 100 == 2) {
        ret->outcome = OUTCOME_ACCEPTED;
        return;
    }
    describe(ret, "SMTP status", status, response->body);
    if (status / 100 == 5) {
        bool is_auth = status == 530 || status == 534 || status == 535 || status == 538;
        ret->outcome = OUTCOME_PERMANENT;
        ret->reason = is_auth ? FAILURE_AUTH : FAILURE_CLIENT;
        return;
    }
    ret->outcome = OUTCOME_RETRY_CHANNEL;
    ret->reason = FAILURE_SERVER;
    if (status == 450 || status == 451) {
        ret->delay_ms_min = GREYLIST_MS_MIN; /* greylisting wants at least that */
    }
}

void judge_response(enum notify_kind kind,
                    const struct http_response *response,
                    struct verdict *ret) {
    *ret = (struct verdict){ .reason = FAILURE_OTHER };
    bool is_long_success = !response->is_ok && response->err.code == ERR_LIMIT &&
                           kind != NOTIFY_EMAIL && response->status / 100 == 2;
    if (is_long_success) {
        ret->outcome = OUTCOME_ACCEPTED; /* a chatty peer, but it did accept */
    } else if (!response->is_ok) {
        judge_failure(response, ret);
    } else if (kind == NOTIFY_EMAIL) {
        judge_mail(response, ret);
    } else {
        judge_http(kind, response, ret);
    }
    assert(ret->outcome == OUTCOME_ACCEPTED || ret->reason < FAILURE_COUNT);
}
