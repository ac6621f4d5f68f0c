/*
 * Start-up: memory from the store alone. Groups come first with their timers and logs, then the
 * alerts are routed into them as if they had just arrived, at the time they first did; then the
 * outbox. A row that fails its checksum is left where it is, logged and counted: one bad page must
 * not silence the rest. A row of a newer version stops the start.
 */
#include "base/mem.h"
#include "notify/engine.h"
#include "notify/row.h"

/* What scans hand on; visits must not call back into the store. */
struct loader {
    struct notify *notify;
    struct arena arena;
    struct err fatal; /* stops the start */

    struct loaded_group {
        char id[GROUP_ID_BYTES];
        struct done_ref *done;
        size_t done_count;
    } * groups; /* with members that are done */

    size_t group_count;
    size_t group_cap;
    uint64_t *digests; /* rows whose payload must be read */
    size_t digest_count;
    size_t digest_cap;
};

/* False stops the scan. */
static bool skip_bad(struct loader *loader, const struct err *err) {
    if (err->code != ERR_CORRUPT) {
        loader->fatal = *err;
        return false;
    }
    metric_inc(loader->notify->metrics.corrupt_rows);
    log_error(loader->notify->log, NOTIFY_SOURCE, "Row of the notifier's state is damaged, ignored",
              LOG_CSTR("err", err->msg));
    return true;
}

/* ---- groups ---- */

static void keep_done(struct loader *loader, const struct group_row *row, const char *id) {
    loader->groups = vec_grow(loader->groups, &loader->group_cap, loader->group_count + 1,
                              sizeof(loader->groups[0]));
    struct loaded_group *loaded = &loader->groups[loader->group_count++];
    memcpy(loaded->id, id, GROUP_ID_BYTES);
    loaded->done = row->done;
    loaded->done_count = row->done_count;
}

static bool load_group(void *ctx, struct str key, struct str value) {
    struct loader *loader = ctx;
    struct group_row row;
    struct err err = ERR_INIT;
    if (!group_row_decode(key, value, &loader->arena, &row, &err)) {
        return skip_bad(loader, &err);
    }
    struct group *group =
        live_set_add_group(&loader->notify->live, key.ptr, row.key, row.receiver, row.labels);
    int64_t next_flush_ms = row.state.next_flush_ms;
    group->state = row.state;
    group->state.next_flush_ms = INT64_MAX;
    group->is_saved = true;
    live_set_schedule(&loader->notify->live, group, next_flush_ms);
    if (row.done_count > 0) {
        keep_done(loader, &row, key.ptr);
    }
    return true;
}

/* ---- alerts ---- */

static bool load_alert(void *ctx, struct str key, struct str value) {
    struct loader *loader = ctx;
    struct notify *notify = loader->notify;
    struct alert alert;
    struct err err = ERR_INIT;
    int64_t received_ms = 0;
    if (!alert_row_decode(key, value, &loader->arena, &alert, &received_ms, &err)) {
        return skip_bad(loader, &err);
    }
    struct live_alert *known = live_set_find(&notify->live, alert.labels);
    if (known == NULL) {
        known = live_set_add_alert(&notify->live, alert.labels, alert_body_create(&alert));
        known->received_ms = received_ms;
    } else if (known->body->starts_ms < alert.starts_ms) { /* a later episode: it counts */
        op_del_alert(&notify->ops, alert.labels, known->body->starts_ms);
        alert_body_destroy(known->body);
        known->body = alert_body_create(&alert);
        known->received_ms = received_ms;
    } else {
        op_del_alert(&notify->ops, alert.labels, alert.starts_ms);
    }
    return true;
}

static bool was_done(const struct loader *loader, const struct membership *member) {
    for (size_t i = 0; i < loader->group_count; i++) {
        const struct loaded_group *loaded = &loader->groups[i];
        if (memcmp(loaded->id, member->group->id, GROUP_ID_BYTES) != 0) {
            continue;
        }
        for (size_t k = 0; k < loaded->done_count; k++) {
            if (loaded->done[k].hash == member->alert->hash &&
                loaded->done[k].starts_ms == member->alert->body->starts_ms) {
                return true;
            }
        }
    }
    return false;
}

/* In the order of arrival: a group's timer is that of its first alert. */
static void route_all(struct loader *loader) {
    struct live_set *live = &loader->notify->live;
    struct live_alert **alerts = live_set_in_order(live);
    for (size_t i = 0; i < live->alerts.count; i++) {
        struct live_alert *alert = alerts[i];
        intake_route(loader->notify, alert, alert->received_ms);
        for (size_t k = 0; k < alert->membership_count; k++) {
            alert->memberships[k]->is_done =
                !live_alert_is_firing(alert) && was_done(loader, alert->memberships[k]);
        }
    }
    mem_free(alerts);
}

/* ---- outbox ---- */

static void load_row(struct loader *loader, const struct row_header *header) {
    struct notify *notify = loader->notify;
    struct outbox_row *row = mem_calloc(1, sizeof(*row));
    row->id = header->id;
    row->lane = header->lane;
    row->state = ROW_QUEUED; /* in flight: nobody knows; it is sent again with the same key */
    row->attempts = header->attempts;
    row->created_ms = header->created_ms;
    row->due_ms = header->due_ms;
    row->is_digest = header->is_digest;
    row->is_held = header->is_held;
    memcpy(row->key, header->key.ptr, header->key.len);
    row->group_key = mem_strndup(header->group_key.ptr, header->group_key.len);
    row->title = mem_strndup(header->title.ptr, header->title.len);
    struct channel *channel = queue_channel(notify, header->integration, header->recipient);
    channel_append(channel, row);
    if (row->is_held && row->due_ms > channel->not_before_ms) {
        channel->not_before_ms = row->due_ms; /* a Retry-After outlives the process */
    }
    if (header->state == ROW_INFLIGHT && channel->integration != NULL) {
        metric_inc(channel->integration->metrics.ambiguous);
    }
    if (header->is_digest && header->attempts == 0) {
        loader->digests = vec_grow(loader->digests, &loader->digest_cap, loader->digest_count + 1,
                                   sizeof(loader->digests[0]));
        loader->digests[loader->digest_count++] = row->id;
    }
}

static bool load_outbox(void *ctx, struct str key, struct str value) {
    struct loader *loader = ctx;
    struct row_header header;
    struct err err = ERR_INIT;
    uint64_t id = 0;
    bool is_header = row_id_from_key(key, OUTBOX_KEY_HEADER, &id);
    bool is_dead = row_id_from_key(key, OUTBOX_KEY_DEAD, &id);
    bool is_payload = row_id_from_key(key, OUTBOX_KEY_PAYLOAD, &id);
    if ((is_header || is_dead || is_payload) && id >= loader->notify->next_row_id) {
        loader->notify->next_row_id = id + 1;
    }
    if (!is_header && !is_dead) {
        return true;
    }
    if (!outbox_header_decode(key, value, &header, &err)) {
        return skip_bad(loader, &err);
    }
    if (is_dead) {
        queue_note_dead(loader->notify, header.id, header.integration);
    } else {
        load_row(loader, &header);
    }
    return true;
}

static struct outbox_row *find_row(const struct notify *notify, uint64_t id) {
    for (size_t i = 0; i < notify->channel_count; i++) {
        for (struct outbox_row *row = notify->channels[i]->head; row != NULL; row = row->next) {
            if (row->id == id) {
                return row;
            }
        }
    }
    return NULL;
}

static bool load_digests(struct loader *loader, struct err *err) {
    struct notify *notify = loader->notify;
    for (size_t i = 0; i < loader->digest_count; i++) {
        char raw[ROW_ID_KEY_BYTES];
        struct str key = row_id_key(raw, OUTBOX_KEY_PAYLOAD, loader->digests[i]);
        struct outbox_row *row = find_row(notify, loader->digests[i]);
        struct row_payload payload;
        struct buf value;
        buf_init(&value, 4 * MESSAGE_BODY_BYTES_MAX);
        struct err row_err = ERR_INIT;
        bool is_ok = row != NULL && notify->kv->get(notify->kv, KV_OUTBOX, key, &value, &row_err) &&
                     outbox_payload_decode(key, buf_as_str(&value), &payload, &row_err) &&
                     digest_restore(row, payload.digest, &row_err);
        buf_finish(&value);
        if (!is_ok && row_err.code != ERR_NONE && !skip_bad(loader, &row_err)) {
            *err = loader->fatal;
            return false;
        }
    }
    return true;
}

/* ---- all ---- */

static bool scan(struct loader *loader,
                 enum kv_table table,
                 bool (*visit)(void *ctx, struct str key, struct str value),
                 const char *what,
                 struct err *err) {
    struct kv_store *kv = loader->notify->kv;
    struct err scan_err = ERR_INIT;
    (void)kv->scan(kv, table, STR(""), STR(""), visit, loader, &scan_err);
    if (loader->fatal.code != ERR_NONE || scan_err.code != ERR_NONE) {
        *err = loader->fatal.code != ERR_NONE ? loader->fatal : scan_err;
        return err_wrap(err, "restoring the notifier's %s", what);
    }
    return true;
}

bool restore(struct notify *notify, struct err *err) {
    struct loader loader = { .notify = notify, .fatal = ERR_INIT };
    arena_init(&loader.arena, SIZE_MAX);
    notify->next_row_id = 1;
    bool is_ok = scan(&loader, KV_NOTIFY_GROUP, load_group, "groups", err) &&
                 scan(&loader, KV_NOTIFY_ALERT, load_alert, "alerts", err) &&
                 scan(&loader, KV_OUTBOX, load_outbox, "outbox", err) &&
                 load_digests(&loader, err) && inbox_restore(notify, err);
    if (is_ok) {
        route_all(&loader);
        reload_tidy(notify);
    }
    mem_free(loader.groups);
    mem_free(loader.digests);
    arena_finish(&loader.arena);
    return is_ok;
}
