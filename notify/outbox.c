/* Rows, channels and who goes next: see outbox.h. */
#include "notify/outbox.h"

#include <assert.h>

#include "base/mem.h"
#include "notify/row.h"

enum {
    HEADER_VERSION = 1,
    PAYLOAD_VERSION = 1,
    FLAG_DIGEST = 1, /* stored */
    FLAG_HELD = 2,
    PICK_ROWS_MAX = 256, /* looked at per pick: bounds the work when many lanes wait */
};

/* ---- stored form ---- */

void outbox_header_encode(const struct row_header *header, struct str key, struct buf *out) {
    row_begin(out, HEADER_VERSION);
    row_u64(out, header->id);
    row_str(out, header->integration);
    row_str(out, header->recipient);
    row_u64(out, header->lane);
    row_u8(out, (uint8_t)header->state);
    row_u32(out, header->attempts);
    row_i64(out, header->created_ms);
    row_i64(out, header->due_ms);
    row_u8(out,
           (uint8_t)((header->is_digest ? FLAG_DIGEST : 0) | (header->is_held ? FLAG_HELD : 0)));
    row_str(out, header->key);
    row_str(out, header->group_key);
    row_str(out, header->title);
    row_str(out, header->reason);
    row_i64(out, header->died_ms);
    row_end(out, key);
}

bool outbox_header_decode(struct str key,
                          struct str value,
                          struct row_header *ret,
                          struct err *err) {
    struct row_reader row;
    if (!row_open(&row, key, value, HEADER_VERSION, "outbox", err)) {
        return false;
    }
    struct row_header header = { .id = row_get_u64(&row) };
    header.integration = row_get_str(&row);
    header.recipient = row_get_str(&row);
    header.lane = row_get_u64(&row);
    uint8_t state = row_get_u8(&row);
    header.attempts = row_get_u32(&row);
    header.created_ms = row_get_i64(&row);
    header.due_ms = row_get_i64(&row);
    uint8_t flags = row_get_u8(&row);
    header.is_digest = (flags & FLAG_DIGEST) != 0;
    header.is_held = (flags & FLAG_HELD) != 0;
    header.key = row_get_str(&row);
    header.group_key = row_get_str(&row);
    header.title = row_get_str(&row);
    header.reason = row_get_str(&row);
    header.died_ms = row_get_i64(&row);
    row.is_bad |= state < ROW_QUEUED || state > ROW_DEAD || header.key.len >= MESSAGE_KEY_BYTES;
    if (!row_close(&row, "outbox", err)) {
        return false;
    }
    header.state = (enum row_state)state;
    *ret = header;
    return true;
}

void outbox_payload_encode(const struct row_payload *payload, struct str key, struct buf *out) {
    row_begin(out, PAYLOAD_VERSION);
    row_str(out, payload->body);
    row_str(out, payload->mail_from);
    row_str(out, payload->digest);
    row_end(out, key);
}

bool outbox_payload_decode(struct str key,
                           struct str value,
                           struct row_payload *ret,
                           struct err *err) {
    struct row_reader row;
    if (!row_open(&row, key, value, PAYLOAD_VERSION, "outbox", err)) {
        return false;
    }
    struct row_payload payload = { .body = row_get_str(&row) };
    payload.mail_from = row_get_str(&row);
    payload.digest = row_get_str(&row);
    if (!row_close(&row, "outbox", err)) {
        return false;
    }
    *ret = payload;
    return true;
}

/* ---- queues ---- */

void channel_append(struct channel *channel, struct outbox_row *row) {
    assert(row->next == NULL && row->prev == NULL);
    assert(channel->tail == NULL || channel->tail->id < row->id);
    row->channel = channel;
    row->prev = channel->tail;
    if (channel->tail != NULL) {
        channel->tail->next = row;
    } else {
        channel->head = row;
    }
    channel->tail = row;
    channel->row_count++;
}

void channel_remove(struct outbox_row *row) {
    struct channel *channel = row->channel;
    assert(channel->row_count > 0);
    if (row->prev != NULL) {
        row->prev->next = row->next;
    } else {
        channel->head = row->next;
    }
    if (row->next != NULL) {
        row->next->prev = row->prev;
    } else {
        channel->tail = row->prev;
    }
    row->prev = NULL;
    row->next = NULL;
    channel->row_count--;
}

void outbox_row_destroy(struct outbox_row *row) {
    assert(row->prev == NULL && row->next == NULL);
    mem_free(row->group_key);
    mem_free(row->title);
    digest_destroy(row->digest);
    mem_free(row);
}

/* ---- choosing ---- */

static bool has_lane(const uint64_t *lanes, size_t count, uint64_t lane) {
    for (size_t i = 0; i < count; i++) {
        if (lanes[i] == lane) {
            return true;
        }
    }
    return false;
}

struct outbox_row *channel_pick(const struct channel *channel,
                                int64_t now_ms,
                                int64_t *ret_next_ms) {
    uint64_t blocked[PICK_ROWS_MAX];
    size_t blocked_count = 0;
    int64_t next_ms = INT64_MAX;
    struct outbox_row *found = NULL;
    struct outbox_row *row = channel->head;
    for (size_t i = 0; row != NULL && i < PICK_ROWS_MAX && found == NULL; i++) {
        bool is_free = !has_lane(blocked, blocked_count, row->lane) && row->state == ROW_QUEUED &&
                       (!row->is_digest || row == channel->head);
        if (is_free && row->due_ms <= now_ms) {
            found = row;
        } else {
            if (is_free) {
                next_ms = row->due_ms < next_ms ? row->due_ms : next_ms;
            }
            blocked[blocked_count++] = row->lane;
            row = row->is_digest ? NULL : row->next; /* rule 2 */
        }
    }
    *ret_next_ms = next_ms;
    return found;
}
