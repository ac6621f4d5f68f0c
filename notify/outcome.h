/*
 * What came of a transfer, decided from the reply alone: accepted, try again, never. Pure
 * functions, tested by table.
 */
#pragma once

#include "base/http.h"
#include "notify/config.h"

enum outcome {
    OUTCOME_ACCEPTED,
    OUTCOME_RETRY_CHANNEL, /* the peer is in trouble or wants a pause: hold the whole channel */
    OUTCOME_RETRY_MESSAGE, /* this message failed; others may pass */
    OUTCOME_PERMANENT,
    OUTCOME_CANCELED, /* we are shutting down: nothing is known */
};

enum failure_reason {
    FAILURE_NETWORK,
    FAILURE_TIMEOUT,
    FAILURE_RATE_LIMITED,
    FAILURE_AUTH,
    FAILURE_CLIENT, /* other 4xx, SMTP 5xx: the request is refused */
    FAILURE_SERVER, /* 5xx, SMTP 4xx */
    FAILURE_OTHER,
    FAILURE_COUNT,
};

const char *failure_reason_to_string(enum failure_reason reason);

struct verdict {
    enum outcome outcome;
    enum failure_reason reason;
    int64_t delay_ms_min; /* do not try again before; 0 = by backoff alone */
    bool is_ambiguous;    /* the peer may have taken it */
    char text[512];       /* for people; empty when accepted */
};

void judge_response(enum notify_kind kind,
                    const struct http_response *response,
                    struct verdict *ret);

/* Exponential from 1 s to 5 min with up to 25 % taken off at random (`jitter` any 64 bits).
 * attempts >= 1: those made so far. */
int64_t retry_delay_ms(uint32_t attempts, uint64_t jitter);
