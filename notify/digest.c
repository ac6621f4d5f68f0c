/*
 * Digests: when messages pile up in front of a receiver that is down, slow or rate-limited, further
 * updates of all groups are summed up in one message at the end of the queue instead of one each.
 * Nothing is dropped; what is told is told in fewer words.
 *
 * A digest grows until its first attempt. From then on its bytes are fixed, as any message's, and
 * the next update opens another. It is a barrier in its queue (outbox.h, order 2): updates of one
 * group keep their order although the digest belongs to no group.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "notify/engine.h"
#include "notify/row.h"

enum {
    DIGEST_VERSION = 1,
    DIGEST_ALERTS_MAX = 100,
    DIGEST_GROUPS_MAX = 2000, /* more are counted, not told apart */
    /* Queue lengths from which on updates are summed up. */
    SLACK_ROWS_MAX = 50, /* a minute's worth at one message a second */
    EMAIL_ROWS_MAX = 200,
    WEBHOOK_ROWS_MAX = 10000, /* programs want every group */
    DIGEST_BYTES_MAX = 8 * 1024 * 1024,
};

struct digest_group {
    uint64_t lane;
    uint32_t firing_count;   /* at its last update */
    uint32_t resolved_count; /* of all its updates */
};

struct digest_alert {
    struct labels labels;
    struct alert_body *body;
    uint64_t hash;
    enum alert_change change;
};

struct digest {
    size_t update_count;
    struct digest_group *groups;
    size_t group_count;
    size_t group_cap;
    size_t more_group_count;
    struct digest_alert *alerts;
    size_t alert_count;
    size_t alert_cap;
    size_t more_counts[CHANGE_COUNT]; /* alerts not kept */
    bool is_dirty;
};

void digest_destroy(struct digest *digest) {
    if (digest == NULL) {
        return;
    }
    for (size_t i = 0; i < digest->alert_count; i++) {
        mem_free(digest->alerts[i].labels.items);
        alert_body_destroy(digest->alerts[i].body);
    }
    mem_free(digest->alerts);
    mem_free(digest->groups);
    mem_free(digest);
}

/* ---- growing ---- */

static struct alert as_alert(const struct message_alert *alert) {
    return (struct alert){
        .labels = alert->labels,
        .annotations = alert->annotations,
        .generator_url = alert->generator_url,
        .active_ms = alert->active_ms,
        .starts_ms = alert->starts_ms,
        .ends_ms = alert->ends_ms,
        .value = alert->value,
    };
}

static void add_alert(struct digest *digest, const struct message_alert *alert) {
    uint64_t hash = labels_hash(alert->labels);
    struct alert plain = as_alert(alert);
    for (size_t i = 0; i < digest->alert_count; i++) {
        struct digest_alert *known = &digest->alerts[i];
        if (known->hash == hash && labels_equal(known->labels, alert->labels)) {
            bool stays_new = known->change == CHANGE_NEW && alert->change == CHANGE_STILL;
            alert_body_destroy(known->body);
            known->body = alert_body_create(&plain);
            known->change = stays_new ? CHANGE_NEW : alert->change;
            return;
        }
    }
    if (digest->alert_count == DIGEST_ALERTS_MAX) {
        digest->more_counts[alert->change]++;
        return;
    }
    digest->alerts = vec_grow(digest->alerts, &digest->alert_cap, digest->alert_count + 1,
                              sizeof(digest->alerts[0]));
    digest->alerts[digest->alert_count++] = (struct digest_alert){
        .labels = labels_dup_heap(alert->labels),
        .body = alert_body_create(&plain),
        .hash = hash,
        .change = alert->change,
    };
}

static void add_group(struct digest *digest, const struct notification *n, uint64_t lane) {
    uint32_t firing_count = (uint32_t)notification_firing_count(n);
    uint32_t resolved_count = (uint32_t)n->counts[CHANGE_RESOLVED];
    for (size_t i = 0; i < digest->group_count; i++) {
        if (digest->groups[i].lane == lane) {
            digest->groups[i].firing_count = firing_count;
            digest->groups[i].resolved_count += resolved_count;
            return;
        }
    }
    if (digest->group_count == DIGEST_GROUPS_MAX) {
        digest->more_group_count++;
        return;
    }
    digest->groups = vec_grow(digest->groups, &digest->group_cap, digest->group_count + 1,
                              sizeof(digest->groups[0]));
    digest->groups[digest->group_count++] = (struct digest_group){
        .lane = lane,
        .firing_count = firing_count,
        .resolved_count = resolved_count,
    };
}

static size_t rows_max(const struct channel *channel) {
    switch (channel->integration->config->kind) {
    case NOTIFY_SLACK: return SLACK_ROWS_MAX;
    case NOTIFY_EMAIL: return EMAIL_ROWS_MAX;
    case NOTIFY_WEBHOOK: return WEBHOOK_ROWS_MAX;
    case NOTIFY_INBOX:
    case NOTIFY_KIND_COUNT: break;
    }
    BUG("no queue for kind %d", (int)channel->integration->config->kind);
}

static bool may_grow(const struct outbox_row *row) {
    return row != NULL && row->digest != NULL && row->state == ROW_QUEUED && row->attempts == 0;
}

static struct outbox_row *open_digest(struct notify *notify,
                                      struct channel *channel,
                                      const struct notification *n) {
    struct buf text;
    buf_init(&text, 1024 * 1024);
    buf_printf(&text, "digest %s %s %s", channel->integration_id, channel->recipient, n->key);
    char hex[65];
    hash_sha256_hex(buf_as_str(&text), hex);
    buf_finish(&text);
    hex[MESSAGE_KEY_BYTES - 1] = '\0';
    struct new_row spec = {
        .channel = channel,
        .is_digest = true,
        .key = hex,
        .group_key = STR(""),
        .title = STR("digest"),
        .now_ms = n->now_ms,
    };
    struct outbox_row *row = queue_add(notify, &spec);
    row->digest = mem_calloc(1, sizeof(*row->digest));
    return row;
}

bool digest_take(struct notify *notify,
                 struct channel *channel,
                 const struct notification *n,
                 uint64_t lane) {
    struct outbox_row *row = channel->tail;
    if (!may_grow(row)) {
        if (channel->row_count < rows_max(channel)) {
            return false;
        }
        row = open_digest(notify, channel, n);
    }
    row->digest->update_count++;
    row->digest->is_dirty = true;
    add_group(row->digest, n, lane);
    for (size_t i = 0; i < n->alert_count; i++) {
        add_alert(row->digest, &n->alerts[i]);
    }
    return true;
}

/* ---- as a notification ---- */

static void to_notification(const struct notify *notify,
                            const struct outbox_row *row,
                            int64_t now_ms,
                            struct arena *arena,
                            struct notification *n) {
    const struct digest *digest = row->digest;
    const struct integration_config *integration = row->channel->integration->config;
    *n = (struct notification){
        .receiver = str_from(integration->receiver->name),
        .external_url = str_from(notify->config->external_url),
        .hello = str_from(notify->config->hello),
        .group_key = STR(""),
        .reason = REASON_DIGEST,
        .now_ms = now_ms,
        .digest_update_count = digest->update_count,
        .digest_group_count = digest->group_count + digest->more_group_count,
        .alert_count = digest->alert_count,
    };
    (void)snprintf(n->key, sizeof(n->key), "%s", row->key);
    (void)snprintf(n->thread_key, sizeof(n->thread_key), "%s", row->key);
    (void)snprintf(n->group_thread_key, sizeof(n->group_thread_key), "%s", row->key);
    n->alerts = arena_calloc(arena, digest->alert_count, sizeof(n->alerts[0]));
    for (size_t i = 0; i < digest->alert_count; i++) {
        const struct alert_body *body = digest->alerts[i].body;
        n->alerts[i] = (struct message_alert){
            .labels = digest->alerts[i].labels,
            .annotations = body->annotations,
            .generator_url = str_from(body->generator_url),
            .active_ms = body->active_ms,
            .starts_ms = body->starts_ms,
            .ends_ms = body->ends_ms,
            .value = body->value,
            .change = digest->alerts[i].change,
        };
    }
    notification_summarize(n, arena);
    n->common_labels = (struct labels){ 0 }; /* of those kept: says nothing about the rest */
    n->common_annotations = (struct labels){ 0 };
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        n->counts[i] += digest->more_counts[i];
    }
}

/* ---- stored form ---- */

static void encode(const struct digest *digest, struct buf *out) {
    row_begin(out, DIGEST_VERSION);
    row_u64(out, digest->update_count);
    row_u64(out, digest->more_group_count);
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        row_u64(out, digest->more_counts[i]);
    }
    row_u32(out, (uint32_t)digest->group_count);
    for (size_t i = 0; i < digest->group_count; i++) {
        row_u64(out, digest->groups[i].lane);
        row_u32(out, digest->groups[i].firing_count);
        row_u32(out, digest->groups[i].resolved_count);
    }
    row_u32(out, (uint32_t)digest->alert_count);
    for (size_t i = 0; i < digest->alert_count; i++) {
        const struct digest_alert *alert = &digest->alerts[i];
        row_u8(out, (uint8_t)alert->change);
        row_labels(out, alert->labels);
        row_labels(out, alert->body->annotations);
        row_str(out, str_from(alert->body->generator_url));
        row_i64(out, alert->body->active_ms);
        row_i64(out, alert->body->starts_ms);
        row_i64(out, alert->body->ends_ms);
        row_f64(out, alert->body->value);
    }
    row_end(out, STR("digest"));
}

static void get_groups(struct row_reader *row, struct digest *digest) {
    uint32_t count = row_get_count(row, 16);
    digest->groups = vec_grow(digest->groups, &digest->group_cap, count, sizeof(digest->groups[0]));
    for (uint32_t i = 0; i < count; i++) {
        struct digest_group *group = &digest->groups[digest->group_count++];
        group->lane = row_get_u64(row);
        group->firing_count = row_get_u32(row);
        group->resolved_count = row_get_u32(row);
    }
}

static void get_alerts(struct row_reader *row, struct digest *digest) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    uint32_t count = row_get_count(row, 40);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t change = row_get_u8(row);
        struct message_alert alert = { .labels = row_get_labels(row, &arena) };
        alert.annotations = row_get_labels(row, &arena);
        alert.generator_url = row_get_str(row);
        alert.active_ms = row_get_i64(row);
        alert.starts_ms = row_get_i64(row);
        alert.ends_ms = row_get_i64(row);
        alert.value = row_get_f64(row);
        row->is_bad |= change >= CHANGE_COUNT;
        if (!row->is_bad) {
            alert.change = (enum alert_change)change;
            add_alert(digest, &alert);
        }
    }
    arena_finish(&arena);
}

bool digest_restore(struct outbox_row *row, struct str stored, struct err *err) {
    struct row_reader reader;
    if (!row_open(&reader, STR("digest"), stored, DIGEST_VERSION, "outbox", err)) {
        return false;
    }
    struct digest *digest = mem_calloc(1, sizeof(*digest));
    digest->update_count = row_get_u64(&reader);
    digest->more_group_count = row_get_u64(&reader);
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        digest->more_counts[i] = row_get_u64(&reader);
    }
    get_groups(&reader, digest);
    get_alerts(&reader, digest);
    if (!row_close(&reader, "outbox", err)) {
        digest_destroy(digest);
        return false;
    }
    row->digest = digest;
    return true;
}

/* ---- writing ---- */

static void write_one(struct notify *notify, struct outbox_row *row, int64_t now_ms) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct notification n;
    to_notification(notify, row, now_ms, &arena, &n);
    struct buf stored;
    buf_init(&stored, DIGEST_BYTES_MAX);
    encode(row->digest, &stored);
    row->digest->is_dirty = false;
    deliver_digest(notify, row, &n, buf_as_str(&stored), &arena);
    buf_finish(&stored);
    arena_finish(&arena);
}

void digest_write_all(struct notify *notify, int64_t now_ms) {
    for (size_t i = 0; i < notify->channel_count; i++) {
        struct outbox_row *row = notify->channels[i]->tail;
        if (row != NULL && row->digest != NULL && row->digest->is_dirty) {
            write_one(notify, row, now_ms);
        }
    }
}
