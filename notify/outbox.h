/*
 * Messages on their way. A channel is one integration and, for mail, one recipient: a queue in
 * order of ids. A row's header (state, attempts) and payload (immutable bytes) are separate rows
 * of KV_OUTBOX, so that an attempt rewrites few bytes.
 *
 * States
 *   queued   ──start──▶ in flight ──accepted──▶ (both rows deleted)
 *                           │──may succeed later──▶ queued, due later
 *                           └──never will, or too old──▶ dead
 *   A row found in flight at start-up is queued again: whether the peer took it is unknown.
 *
 * Order  1. Rows of one lane (group) go out one after the other, by id.
 *        2. A digest goes out when everything before it is gone, and everything after it waits.
 *        3. Lanes do not wait for each other: a message the peer keeps failing on blocks its group
 *           only.
 */
#pragma once

#include "notify/message.h"

enum row_state {
    ROW_QUEUED = 1, /* stored: append only */
    ROW_INFLIGHT = 2,
    ROW_DEAD = 3,
};

enum {
    OUTBOX_KEY_HEADER = 1,
    OUTBOX_KEY_PAYLOAD = 2,
    OUTBOX_KEY_DEAD = 3,
    OUTBOX_DEAD_MAX = 1000,
};

struct outbox_row {
    uint64_t id;
    struct channel *channel;
    struct outbox_row *prev;
    struct outbox_row *next;
    uint64_t lane;
    enum row_state state;
    uint32_t attempts;
    int64_t created_ms;
    int64_t due_ms;
    bool is_digest;
    bool is_held; /* due_ms is when the whole channel may go on */
    char key[MESSAGE_KEY_BYTES];
    char *group_key;
    char *title;
    struct digest *digest; /* what a digest sums up, while it may still grow; else NULL */
};

struct digest;
void digest_destroy(struct digest *digest); /* NULL ok */

/* What a row's header holds besides the row; also a dead letter. */
struct row_header {
    uint64_t id;
    struct str integration;
    struct str recipient;
    uint64_t lane;
    enum row_state state;
    uint32_t attempts;
    int64_t created_ms;
    int64_t due_ms;
    bool is_digest;
    bool is_held;
    struct str key;
    struct str group_key;
    struct str title;
    struct str reason; /* of death */
    int64_t died_ms;
};

/* Tells how fast one URL may be posted to; shared by the integrations that use it. */
struct pacer {
    char *url_id; /* the secret's value or file */
    int64_t next_ms;
};

struct channel {
    char *integration_id;
    char *recipient;                 /* "" but for mail */
    struct integration *integration; /* NULL = no longer configured */
    struct outbox_row *head;
    struct outbox_row *tail;
    size_t row_count;
    uint32_t inflight_count;
    uint32_t failures_in_a_row;
    int64_t not_before_ms;
};

void outbox_header_encode(const struct row_header *header, struct str key, struct buf *out);
/* Strings point into `value`. */
WARN_UNUSED bool outbox_header_decode(struct str key,
                                      struct str value,
                                      struct row_header *ret,
                                      struct err *err);

struct row_payload {
    struct str body;
    struct str mail_from; /* mail only */
    struct str digest;    /* digests only: what they sum up */
};

void outbox_payload_encode(const struct row_payload *payload, struct str key, struct buf *out);
WARN_UNUSED bool outbox_payload_decode(struct str key,
                                       struct str value,
                                       struct row_payload *ret,
                                       struct err *err);

void channel_append(struct channel *channel, struct outbox_row *row);
void channel_remove(struct outbox_row *row);
void outbox_row_destroy(struct outbox_row *row); /* must be out of its channel */

/* The first row that may start now by the rules above and its own due time; NULL when none.
 * *ret_next_ms: when a waiting row becomes due (INT64_MAX: nothing waits for time alone). */
struct outbox_row *channel_pick(const struct channel *channel,
                                int64_t now_ms,
                                int64_t *ret_next_ms);
