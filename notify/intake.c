/*
 * Where alerts come in. stage() runs inside the rules' transaction: it puts the rows that make the
 * alerts durable with the evaluation that changed them. settle() takes them over in memory once
 * that transaction is on disk.
 */
#include "base/mem.h"
#include "base/utf8.h"
#include "notify/engine.h"

enum {
    ALERT_ROW_BYTES_MAX = 4 * 1024 * 1024,
    ANNOTATIONS_MAX = 64,
    ANNOTATION_BYTES_MAX = 16 * 1024, /* cut beyond it: far more than any message shows */
    GROUP_KEY_BYTES_MAX = 1024 * 1024,
};

struct stage_token {
    struct arena arena;
    struct alert *alerts;
    bool *was_known; /* when staged: no row was written if nothing changed */
    size_t count;
    int64_t now_ms;
};

/* ---- routing ---- */

/* A group that had nothing to wait for gets its first alert (again). */
static void wake_group(struct notify *notify,
                       struct group *group,
                       const struct route_config *route,
                       const struct live_alert *alert,
                       int64_t received_ms) {
    /* As upstream: an alert that has been firing for long has waited enough. */
    bool is_old = alert->body->starts_ms + route->group_wait_ms < received_ms;
    group->state.created_ms = received_ms;
    live_set_schedule(&notify->live, group,
                      is_old ? received_ms : received_ms + route->group_wait_ms);
}

static struct group *route_group(struct notify *notify,
                                 const struct route_config *route,
                                 const struct live_alert *alert,
                                 struct arena *arena) {
    struct labels group_labels = route_group_labels(route, alert->labels, arena);
    struct buf key;
    buf_init(&key, GROUP_KEY_BYTES_MAX);
    group_key_print(route, group_labels, &key);
    char id[GROUP_ID_BYTES];
    group_id_make(route, buf_as_str(&key), id);
    struct group *group = live_set_find_group(&notify->live, id);
    if (group == NULL) {
        group = live_set_add_group(&notify->live, id, buf_as_str(&key),
                                   str_from(route->receiver->name), group_labels);
    }
    buf_finish(&key);
    group->route = route;
    return group;
}

void intake_route(struct notify *notify, struct live_alert *alert, int64_t received_ms) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct route_list routes = { 0 };
    route_match(notify->config->route, alert->labels, &routes);
    for (size_t i = 0; i < routes.count; i++) {
        struct group *group = route_group(notify, routes.items[i], alert, &arena);
        if (group->state.next_flush_ms == INT64_MAX) {
            wake_group(notify, group, routes.items[i], alert, received_ms);
        }
        live_set_join(alert, group);
    }
    route_list_finish(&routes);
    arena_finish(&arena);
}

/* ---- what is worth knowing ---- */

/* A resolved alert nobody here knows is news only where somebody was told that it fires. */
static bool is_wanted(struct notify *notify, const struct alert *alert) {
    if (alert->ends_ms == 0) {
        return true;
    }
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct route_list routes = { 0 };
    struct buf key;
    buf_init(&key, GROUP_KEY_BYTES_MAX);
    uint64_t hash = labels_hash(alert->labels);
    bool is_found = false;
    route_match(notify->config->route, alert->labels, &routes);
    for (size_t i = 0; i < routes.count && !is_found; i++) {
        buf_reset(&key);
        group_key_print(routes.items[i], route_group_labels(routes.items[i], alert->labels, &arena),
                        &key);
        char id[GROUP_ID_BYTES];
        group_id_make(routes.items[i], buf_as_str(&key), id);
        const struct group *group = live_set_find_group(&notify->live, id);
        is_found = group != NULL && group_state_has_told(&group->state, hash);
    }
    buf_finish(&key);
    route_list_finish(&routes);
    arena_finish(&arena);
    return is_found;
}

/* ---- taking over ---- */

static void begin_episode(struct notify *notify, struct live_alert *alert, int64_t now_ms) {
    alert->received_ms = now_ms;
    for (size_t i = 0; i < alert->membership_count; i++) {
        struct membership *member = alert->memberships[i];
        member->is_done = false;
        if (member->group->state.next_flush_ms == INT64_MAX && member->group->route != NULL) {
            wake_group(notify, member->group, member->group->route, alert, now_ms);
        }
    }
}

void intake_apply(struct notify *notify,
                  const struct alert *alert,
                  bool was_saved,
                  int64_t now_ms) {
    notify->alerts_generation++;
    struct live_alert *known = live_set_find(&notify->live, alert->labels);
    if (known == NULL) {
        if (!is_wanted(notify, alert)) {
            return;
        }
        known = live_set_add_alert(&notify->live, alert->labels, alert_body_create(alert));
        known->received_ms = now_ms;
        known->is_unsaved = !was_saved;
        notify->has_unsaved |= !was_saved;
        intake_route(notify, known, now_ms);
        return;
    }
    bool is_new_episode = known->body->starts_ms != alert->starts_ms ||
                          (known->body->ends_ms != 0 && alert->ends_ms == 0);
    alert_body_destroy(known->body);
    known->body = alert_body_create(alert);
    known->generation++;
    if (is_new_episode) {
        begin_episode(notify, known, now_ms);
    }
}

/* ---- the sink ---- */

/* Puts the alert's row unless a reader would find the same in the one that is there. */
static void stage_row(const struct alert *alert,
                      const struct live_alert *known,
                      int64_t now_ms,
                      struct kv_batch *batch) {
    char raw[ALERT_KEY_BYTES];
    bool is_same_episode = known != NULL && known->body->starts_ms == alert->starts_ms;
    if (known != NULL && !known->is_unsaved && alert_body_is_same(known->body, alert)) {
        return;
    }
    if (known != NULL && !is_same_episode) {
        batch->del(batch, KV_NOTIFY_ALERT,
                   alert_row_key(raw, alert->labels, known->body->starts_ms));
    }
    struct buf value;
    buf_init(&value, ALERT_ROW_BYTES_MAX);
    struct str key = alert_row_key(raw, alert->labels, alert->starts_ms);
    alert_row_encode(alert, is_same_episode ? known->received_ms : now_ms, key, &value);
    batch->put(batch, KV_NOTIFY_ALERT, key, buf_as_str(&value));
    buf_finish(&value);
}

static struct labels copy_annotations(struct labels annotations, struct arena *arena) {
    struct labels cut = annotations;
    cut.count = cut.count > ANNOTATIONS_MAX ? ANNOTATIONS_MAX : cut.count;
    struct labels copy = labels_dup(cut, arena);
    for (size_t i = 0; i < copy.count; i++) {
        struct str *value = &copy.items[i].value;
        if (value->len > ANNOTATION_BYTES_MAX) {
            value->len = utf8_floor(*value, ANNOTATION_BYTES_MAX);
        }
    }
    return copy;
}

static const struct alert *copy_alert(struct stage_token *token,
                                      const struct alert *alert,
                                      bool was_known) {
    struct alert *copy = &token->alerts[token->count];
    *copy = *alert;
    copy->labels = labels_dup(alert->labels, &token->arena);
    copy->annotations = copy_annotations(alert->annotations, &token->arena);
    copy->generator_url = arena_str(&token->arena, alert->generator_url);
    token->was_known[token->count++] = was_known;
    return copy;
}

static void *stage(void *ctx,
                   const struct alert *alerts,
                   size_t count,
                   int64_t now_ms,
                   struct kv_batch *batch) {
    struct notify *notify = ctx;
    struct stage_token *token = mem_calloc(1, sizeof(*token));
    arena_init(&token->arena, SIZE_MAX);
    token->alerts = arena_calloc(&token->arena, count, sizeof(token->alerts[0]));
    token->was_known = arena_calloc(&token->arena, count, sizeof(token->was_known[0]));
    token->now_ms = now_ms;
    (void)pthread_mutex_lock(&notify->mu);
    for (size_t i = 0; i < count; i++) {
        const struct live_alert *known = live_set_find(&notify->live, alerts[i].labels);
        if (known != NULL || is_wanted(notify, &alerts[i])) {
            stage_row(copy_alert(token, &alerts[i], known != NULL), known, now_ms, batch);
        }
    }
    (void)pthread_mutex_unlock(&notify->mu);
    return token;
}

static void settle(void *ctx, void *opaque, bool is_durable) {
    struct notify *notify = ctx;
    struct stage_token *token = opaque;
    if (token == NULL) {
        return;
    }
    if (is_durable && token->count > 0) {
        (void)pthread_mutex_lock(&notify->mu);
        for (size_t i = 0; i < token->count; i++) {
            /* Known when staged and gone by now: its row may have been left out, or deleted by the
             * flush that forgot it. Then it is written again. */
            intake_apply(notify, &token->alerts[i], !token->was_known[i], token->now_ms);
        }
        (void)pthread_mutex_unlock(&notify->mu);
        metric_add(notify->metrics.alerts_received, (double)token->count);
        engine_wake(notify);
    }
    arena_finish(&token->arena);
    mem_free(token);
}

struct alert_sink intake_sink(struct notify *notify) {
    return (struct alert_sink){ .stage = stage, .settle = settle, .ctx = notify };
}
