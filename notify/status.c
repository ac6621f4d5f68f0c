/* Copies of the notifier's state for the API, and its health. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "notify/engine.h"
#include "notify/row.h"

/* ---- receivers ---- */

static void add_channels(const struct notify *notify,
                         const struct integration *integration,
                         struct notify_receiver_view *view) {
    for (size_t i = 0; i < notify->channel_count; i++) {
        const struct channel *channel = notify->channels[i];
        if (channel->integration != integration) {
            continue;
        }
        view->queued_count += channel->row_count;
        if (channel->head != NULL &&
            (view->oldest_queued_ms == 0 || channel->head->created_ms < view->oldest_queued_ms)) {
            view->oldest_queued_ms = channel->head->created_ms;
        }
        if (channel->failures_in_a_row > view->failures_in_a_row) {
            view->failures_in_a_row = channel->failures_in_a_row;
        }
    }
}

static struct notify_receiver_view view_receiver(const struct notify *notify,
                                                 const struct integration *integration,
                                                 struct arena *arena) {
    const struct integration_config *config = integration->config;
    struct notify_receiver_view view = {
        .receiver = arena_str(arena, str_from(config->receiver->name)),
        .integration = str_from(notify_kind_to_string(config->kind)),
        .index = config->index,
        .last_success_ms = integration->last_success_ms,
        .last_failure_ms = integration->last_failure_ms,
        .last_error = arena_str(arena, str_from(integration->last_error)),
    };
    add_channels(notify, integration, &view);
    for (size_t i = 0; i < notify->dead_count; i++) {
        view.dead_count += strcmp(notify->dead[i].integration_id, integration->id) == 0 ? 1 : 0;
    }
    return view;
}

/* ---- groups ---- */

static struct notify_group_view view_group(const struct group *group, struct arena *arena) {
    struct notify_group_view view = {
        .key = arena_str(arena, str_from(group->key)),
        .receiver = arena_str(arena, str_from(group->receiver)),
        .labels = labels_dup(group->labels, arena),
        .muted_count = group->muted_count,
        .next_flush_ms = group->state.next_flush_ms,
        .last_flush_ms = group->state.last_flush_ms,
    };
    for (size_t i = 0; i < group->member_count; i++) {
        const struct membership *member = group->members[i];
        if (live_alert_is_firing(member->alert)) {
            view.firing_count++;
        } else if (!member->is_done) {
            view.resolved_count++;
        }
    }
    return view;
}

static int cmp_group_view(const void *a, const void *b) {
    const struct notify_group_view *x = a;
    const struct notify_group_view *y = b;
    int order = str_cmp(x->key, y->key);
    return order != 0 ? order : str_cmp(x->receiver, y->receiver);
}

static void view_groups(const struct notify *notify,
                        struct arena *arena,
                        struct notify_status *ret) {
    size_t cursor = 0;
    struct str key;
    void *value;
    ret->groups = arena_calloc(arena, notify->live.groups.count, sizeof(ret->groups[0]));
    while (map_next(&notify->live.groups, &cursor, &key, &value)) {
        const struct group *group = value;
        if (group_active_count(group) > 0) {
            ret->groups[ret->group_count++] = view_group(group, arena);
        }
    }
    qsort(ret->groups, ret->group_count, sizeof(ret->groups[0]), cmp_group_view);
}

void notify_status_get(struct notify *notify, struct arena *arena, struct notify_status *ret) {
    (void)pthread_mutex_lock(&notify->mu);
    struct notify_status status = {
        .receivers = arena_calloc(arena, notify->integration_count, sizeof(status.receivers[0])),
        .receiver_count = notify->integration_count,
        .alert_count = notify->live.alerts.count,
        .queued_count = queue_row_count(notify),
        .dead_count = notify->dead_count,
        .last_tick_ms = notify->last_tick_ms,
        .last_commit_error_ms = notify->last_commit_error_ms,
        .last_commit_error = notify->last_commit_error_ms == 0
                                 ? STR("")
                                 : arena_str(arena, str_from(notify->last_commit_error)),
    };
    for (size_t i = 0; i < notify->integration_count; i++) {
        status.receivers[i] = view_receiver(notify, notify->integrations[i], arena);
    }
    view_groups(notify, arena, &status);
    (void)pthread_mutex_unlock(&notify->mu);
    *ret = status;
}

/* ---- health ---- */

bool notify_is_healthy(struct notify *notify, int64_t now_ms, struct buf *ret_reason) {
    char reason[800] = "";
    (void)pthread_mutex_lock(&notify->mu);
    if (now_ms - notify->last_tick_ms > HEALTHY_TICK_MS) {
        (void)snprintf(reason, sizeof(reason), "the notifier has not run for %lld s",
                       (long long)((now_ms - notify->last_tick_ms) / 1000));
    } else if (notify->last_commit_error_ms != 0) {
        (void)snprintf(reason, sizeof(reason), "the notifier cannot save its state: %s",
                       notify->last_commit_error);
    }
    for (size_t i = 0; reason[0] == '\0' && i < notify->integration_count; i++) {
        const struct integration *integration = notify->integrations[i];
        if (integration->failing_since_ms != 0 &&
            now_ms - integration->failing_since_ms > HEALTHY_FAILING_MS) {
            (void)snprintf(reason, sizeof(reason), "%s has been failing for %lld s: %s",
                           integration->id,
                           (long long)((now_ms - integration->failing_since_ms) / 1000),
                           integration->last_error);
        }
    }
    (void)pthread_mutex_unlock(&notify->mu);
    if (ret_reason != NULL) {
        buf_cstr(ret_reason, reason);
    }
    return reason[0] == '\0';
}

/* ---- dead letters ---- */

struct list_dead {
    struct arena *arena;
    struct notify_dead_letter *letters;
    size_t count;
    struct err err;
};

static struct str integration_part(struct str id, size_t from_end) {
    size_t end = id.len;
    for (size_t part = 0;; part++) {
        size_t start = end;
        while (start > 0 && id.ptr[start - 1] != '/') {
            start--;
        }
        if (part == from_end || start == 0) {
            return str_n(id.ptr + start, end - start);
        }
        end = start - 1;
    }
}

static bool list_dead(void *ctx, struct str key, struct str value) {
    struct list_dead *list = ctx;
    struct row_header header;
    uint64_t id = 0;
    if (!row_id_from_key(key, OUTBOX_KEY_DEAD, &id) || list->count == OUTBOX_DEAD_MAX) {
        return list->count < OUTBOX_DEAD_MAX;
    }
    if (!outbox_header_decode(key, value, &header, &list->err)) {
        return false;
    }
    struct str kind = integration_part(header.integration, 1);
    size_t receiver_len = (size_t)(kind.ptr - header.integration.ptr);
    list->letters[list->count++] = (struct notify_dead_letter){
        .id = header.id,
        .receiver = arena_str(
            list->arena, str_n(header.integration.ptr, receiver_len > 0 ? receiver_len - 1 : 0)),
        .integration = arena_str(list->arena, kind),
        .recipient = arena_str(list->arena, header.recipient),
        .key = arena_str(list->arena, header.key),
        .group_key = arena_str(list->arena, header.group_key),
        .title = arena_str(list->arena, header.title),
        .reason = arena_str(list->arena, header.reason),
        .created_ms = header.created_ms,
        .died_ms = header.died_ms,
        .attempts = header.attempts,
    };
    return true;
}

static int cmp_newest(const void *a, const void *b) {
    const struct notify_dead_letter *x = a;
    const struct notify_dead_letter *y = b;
    if (x->died_ms != y->died_ms) {
        return x->died_ms > y->died_ms ? -1 : 1;
    }
    return x->id > y->id ? -1 : x->id < y->id ? 1 : 0;
}

bool notify_dead_letters_list(struct notify *notify,
                              struct arena *arena,
                              struct notify_dead_letter **ret,
                              size_t *ret_count,
                              struct err *err) {
    struct list_dead list = {
        .arena = arena,
        .letters = arena_calloc(arena, OUTBOX_DEAD_MAX, sizeof(list.letters[0])),
        .err = ERR_INIT,
    };
    struct err scan_err = ERR_INIT;
    static const char prefix[] = { OUTBOX_KEY_DEAD };
    (void)notify->kv->scan(notify->kv, KV_OUTBOX, str_n(prefix, 1), str_n(prefix, 1), list_dead,
                           &list, &scan_err);
    if (scan_err.code != ERR_NONE || list.err.code != ERR_NONE) {
        *err = scan_err.code != ERR_NONE ? scan_err : list.err;
        return err_wrap(err, "reading the dead letters");
    }
    qsort(list.letters, list.count, sizeof(list.letters[0]), cmp_newest);
    *ret = list.letters;
    *ret_count = list.count;
    return true;
}

/* ---- proving a channel ---- */

static void make_test(struct notify *notify,
                      const struct receiver_config *receiver,
                      int64_t now_ms,
                      struct arena *arena,
                      struct notification *n) {
    struct label labels[] = {
        { .name = { "alertname", 9 }, .value = { "TocsinTest", 10 } },
        { .name = { "severity", 8 }, .value = { "info", 4 } },
    };
    struct label annotations[] = {
        { .name = { "description", 11 },
          .value = { "If you can read this, the receiver works. Nothing is wrong.", 59 } },
        { .name = { "summary", 7 }, .value = { "Test of this notification channel", 33 } },
    };
    *n = (struct notification){
        .receiver = arena_str(arena, str_from(receiver->name)),
        .external_url = str_from(notify->config->external_url),
        .hello = str_from(notify->config->hello),
        .group_key = STR("test"),
        .reason = REASON_TEST,
        .now_ms = now_ms,
        .alerts = arena_calloc(arena, 1, sizeof(n->alerts[0])),
        .alert_count = 1,
    };
    n->alerts[0] = (struct message_alert){
        .labels = labels_dup((struct labels){ labels, ARRAY_LEN(labels) }, arena),
        .annotations = labels_dup((struct labels){ annotations, ARRAY_LEN(annotations) }, arena),
        .active_ms = now_ms,
        .starts_ms = now_ms,
        .value = 1,
        .change = CHANGE_NEW,
    };
    notification_summarize(n, arena);
}

bool notify_check_receiver(struct notify *notify,
                           const char *receiver,
                           int64_t now_ms,
                           struct err *err) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    (void)pthread_mutex_lock(&notify->mu);
    const struct receiver_config *config = config_find_receiver(notify->config, str_from(receiver));
    if (config != NULL) {
        struct notification n;
        make_test(notify, config, now_ms, &arena, &n);
        digest_write_all(notify, now_ms); /* what grows is at a queue's end: close it there */
        for (size_t i = 0; i < config->integration_count; i++) {
            struct integration *integration =
                queue_integration(notify, str_from(config->integrations[i]->id));
            uint64_t id = engine_random(notify);
            (void)snprintf(n.key, sizeof(n.key), "test%012llx%016llx",
                           (unsigned long long)(now_ms & 0xffffffffffff), (unsigned long long)id);
            memcpy(n.thread_key, n.key, sizeof(n.key));
            memcpy(n.group_thread_key, n.key, sizeof(n.key));
            deliver(notify, integration, &n, id, &arena);
        }
    }
    (void)pthread_mutex_unlock(&notify->mu);
    arena_finish(&arena);
    if (config == NULL) {
        return err_set(err, ERR_NOT_FOUND, "no receiver is named \"%s\"", receiver);
    }
    engine_wake(notify);
    return true;
}
