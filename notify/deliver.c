/* From a notification to messages in the outbox, or in the inbox. */
#include "base/mem.h"
#include "notify/engine.h"

/* ---- rendering ---- */

static void note_failure(struct notify *notify,
                         struct render *render,
                         struct notification *n,
                         const struct err *err) {
    n->note = arena_printf(render->arena, "The configured template failed: %s", err->msg);
    render->is_default = true;
    log_error(notify->log, NOTIFY_SOURCE, "Template failed, using the default text",
              LOG_CSTR("integration", render->integration->id), LOG_CSTR("err", err->msg));
}

static bool render_body(const struct render *render,
                        const struct mail_envelope *envelope,
                        struct buf *out,
                        struct err *err) {
    bool is_ok = false;
    switch (render->integration->kind) {
    case NOTIFY_SLACK: is_ok = render_slack(render, out, err); break;
    case NOTIFY_WEBHOOK: is_ok = render_webhook(render, out, err); break;
    case NOTIFY_EMAIL: is_ok = render_email(render, envelope, out, err); break;
    case NOTIFY_INBOX:
    case NOTIFY_KIND_COUNT: BUG("no outgoing message for kind %d", (int)render->integration->kind);
    }
    if (is_ok && out->is_over) {
        return err_set(err, ERR_LIMIT, "message larger than %d bytes", MESSAGE_BODY_BYTES_MAX);
    }
    return is_ok;
}

/* With the user's templates, else without. False only when even the default is too large. */
static bool render_either(struct notify *notify,
                          struct render *render,
                          struct notification *n,
                          const struct mail_envelope *envelope,
                          struct buf *out,
                          struct err *err) {
    if (render_body(render, envelope, out, err)) {
        return true;
    }
    note_failure(notify, render, n, err);
    buf_reset(out);
    *err = (struct err)ERR_INIT;
    return render_body(render, envelope, out, err);
}

/* ---- inbox ---- */

static void deliver_inbox(struct notify *notify,
                          struct integration *integration,
                          struct render *render,
                          struct notification *n) {
    struct inbox_text text;
    struct err err = ERR_INIT;
    if (!render_inbox(render, &text, &err)) {
        note_failure(notify, render, n, &err);
        if (!render_inbox(render, &text, &err)) {
            BUG("default inbox rendering failed: %s", err.msg);
        }
    }
    inbox_put(notify, n, &text);
    integration->last_success_ms = n->now_ms;
    metric_inc(integration->metrics.accepted);
}

/* ---- outbox ---- */

static struct outbox_row *enqueue(struct notify *notify,
                                  struct channel *channel,
                                  const struct notification *n,
                                  uint64_t lane,
                                  const struct row_payload *payload,
                                  struct arena *arena) {
    struct new_row spec = {
        .channel = channel,
        .lane = lane,
        .key = n->key,
        .group_key = n->group_key,
        .title = notification_title(n, arena),
        .payload = *payload,
        .now_ms = n->now_ms,
    };
    return queue_add(notify, &spec);
}

/* It cannot be sent at all: keep it where dead letters are seen. */
static void dead_on_arrival(struct notify *notify,
                            struct channel *channel,
                            const struct notification *n,
                            const char *reason,
                            struct arena *arena) {
    struct buf text;
    buf_init(&text, MESSAGE_BODY_BYTES_MAX);
    render_text(n, arena, &text);
    struct row_payload payload = { .body = buf_as_str(&text) };
    queue_bury(notify, enqueue(notify, channel, n, 0, &payload, arena), reason, n->now_ms);
    buf_finish(&text);
}

/* One message for all recipients' channels; rendered when the first of them needs it. */
struct delivery {
    struct notify *notify;
    struct integration *integration;
    struct render *render;
    struct notification *n;
    struct mail_envelope envelope;
    uint64_t lane;
    struct buf body;
    bool is_rendered;
};

static void deliver_to(struct delivery *delivery, const char *recipient) {
    struct notify *notify = delivery->notify;
    struct arena *arena = delivery->render->arena;
    struct channel *channel =
        queue_channel(notify, str_from(delivery->integration->id), str_from(recipient));
    if (delivery->n->reason != REASON_TEST &&
        digest_take(notify, channel, delivery->n, delivery->lane)) {
        metric_inc(delivery->integration->metrics.coalesced);
        return;
    }
    struct err err = ERR_INIT;
    if (!delivery->is_rendered && !render_either(notify, delivery->render, delivery->n,
                                                 &delivery->envelope, &delivery->body, &err)) {
        dead_on_arrival(notify, channel, delivery->n, err.msg, arena);
        buf_reset(&delivery->body);
        return;
    }
    delivery->is_rendered = true;
    struct row_payload payload = { .body = buf_as_str(&delivery->body) };
    if (delivery->envelope.from.count > 0) {
        payload.mail_from = str_from(delivery->envelope.from.items[0].mailbox);
    }
    (void)enqueue(notify, channel, delivery->n, delivery->lane, &payload, arena);
}

static void deliver_outside(struct delivery *delivery) {
    struct err err = ERR_INIT;
    buf_init(&delivery->body, MESSAGE_BODY_BYTES_MAX);
    if (delivery->integration->config->kind != NOTIFY_EMAIL) {
        deliver_to(delivery, "");
    } else if (!render_envelope(delivery->render, &delivery->envelope, &err)) {
        struct channel *channel =
            queue_channel(delivery->notify, str_from(delivery->integration->id), STR(""));
        dead_on_arrival(delivery->notify, channel, delivery->n, err.msg, delivery->render->arena);
    } else {
        for (size_t i = 0; i < delivery->envelope.to.count; i++) {
            deliver_to(delivery, delivery->envelope.to.items[i].mailbox);
        }
    }
    buf_finish(&delivery->body);
}

void deliver(struct notify *notify,
             struct integration *integration,
             const struct notification *n,
             uint64_t lane,
             struct arena *arena) {
    struct notification copy = *n;
    struct template_data data = { 0 };
    struct render render = {
        .config = notify->config,
        .integration = integration->config,
        .n = &copy,
        .arena = arena,
        .data = &data,
    };
    if (integration->config->kind == NOTIFY_INBOX) {
        deliver_inbox(notify, integration, &render, &copy);
        return;
    }
    struct delivery delivery = {
        .notify = notify,
        .integration = integration,
        .render = &render,
        .n = &copy,
        .lane = lane,
    };
    deliver_outside(&delivery);
}

void deliver_digest(struct notify *notify,
                    struct outbox_row *row,
                    const struct notification *n,
                    struct str stored,
                    struct arena *arena) {
    struct notification copy = *n;
    struct template_data data = { 0 };
    struct render render = {
        .config = notify->config,
        .integration = row->channel->integration->config,
        .n = &copy,
        .arena = arena,
        .data = &data,
        .is_default = true, /* users' templates know groups, not digests */
    };
    struct err err = ERR_INIT;
    struct mail_envelope envelope = { 0 };
    struct buf body;
    buf_init(&body, MESSAGE_BODY_BYTES_MAX);
    bool is_mail = render.integration->kind == NOTIFY_EMAIL;
    bool is_ok = (!is_mail || render_envelope(&render, &envelope, &err)) &&
                 render_body(&render, &envelope, &body, &err);
    struct row_payload payload = { .body = buf_as_str(&body), .digest = stored };
    if (envelope.from.count > 0) {
        payload.mail_from = str_from(envelope.from.items[0].mailbox);
    }
    queue_rewrite(notify, row, notification_title(n, arena), &payload);
    if (!is_ok) {
        queue_bury(notify, row, err.msg, n->now_ms);
    }
    buf_finish(&body);
}

bool deliver_is_pending(const struct notify *notify,
                        const struct integration *integration,
                        uint64_t lane) {
    for (size_t i = 0; i < notify->channel_count; i++) {
        const struct channel *channel = notify->channels[i];
        if (channel->integration != integration) {
            continue;
        }
        for (const struct outbox_row *row = channel->head; row != NULL; row = row->next) {
            if (row->lane == lane || row->is_digest) {
                return true;
            }
        }
    }
    return false;
}
