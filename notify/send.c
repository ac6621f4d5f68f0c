/*
 * Attempts: picking rows, building the transfer from the row's payload and the configuration's
 * secrets, and what becomes of the row afterwards.
 */
#include <assert.h>
#include <stdio.h>

#include "base/mem.h"
#include "notify/engine.h"
#include "notify/row.h"

enum {
    HTTP_TIMEOUT_MS = 15 * 1000,
    MAIL_TIMEOUT_MS = 60 * 1000,
    RESPONSE_BYTES_MAX = 64 * 1024,
    WEBHOOK_INFLIGHT_MAX = 4,
    INTEGRATION_INFLIGHT_MAX = 4, /* mails to many recipients share one server */
    PAYLOAD_BYTES_MAX = 2 * MESSAGE_BODY_BYTES_MAX,
};

/* ---- picking ---- */

static uint32_t inflight_max(const struct channel *channel) {
    bool is_webhook = channel->integration->config->kind == NOTIFY_WEBHOOK;
    /* one probe at a time while the peer is failing */
    return is_webhook && channel->failures_in_a_row == 0 ? WEBHOOK_INFLIGHT_MAX : 1;
}

static void start_row(struct notify *notify, struct outbox_row *row, int64_t now_ms) {
    struct channel *channel = row->channel;
    struct pacer *pacer = channel->integration->pacer;
    row->state = ROW_INFLIGHT;
    row->attempts++;
    digest_destroy(row->digest); /* its bytes are fixed from now on */
    row->digest = NULL;
    if (row->attempts > 1) {
        metric_inc(channel->integration->metrics.retried);
    }
    channel->inflight_count++;
    channel->integration->inflight_count++;
    notify->inflight_count++;
    if (pacer != NULL) {
        pacer->next_ms = now_ms + SLACK_PACE_MS;
    }
    queue_put_header(notify, row);
    notify->starting = vec_grow(notify->starting, &notify->starting_cap, notify->starting_count + 1,
                                sizeof(notify->starting[0]));
    notify->starting[notify->starting_count++] = row;
}

static void bury_all(struct notify *notify, struct channel *channel, int64_t now_ms) {
    struct outbox_row *row = channel->head;
    while (row != NULL) {
        struct outbox_row *next = row->next;
        if (row->state == ROW_QUEUED) {
            queue_bury(notify, row, "the receiver is no longer configured", now_ms);
        }
        row = next;
    }
}

/* When the channel may start its next row. */
static int64_t start_channel(struct notify *notify, struct channel *channel, int64_t now_ms) {
    if (channel->integration == NULL) {
        bury_all(notify, channel, now_ms);
        return INT64_MAX;
    }
    const struct pacer *pacer = channel->integration->pacer;
    for (;;) {
        if (channel->head == NULL || channel->inflight_count >= inflight_max(channel) ||
            channel->integration->inflight_count >= INTEGRATION_INFLIGHT_MAX) {
            return INT64_MAX; /* a new row or a completion wakes us */
        }
        if (channel->not_before_ms > now_ms) {
            return channel->not_before_ms;
        }
        int64_t next_ms = INT64_MAX;
        struct outbox_row *row = channel_pick(channel, now_ms, &next_ms);
        if (row == NULL) {
            return next_ms;
        }
        if (pacer != NULL && pacer->next_ms > now_ms) {
            return pacer->next_ms;
        }
        start_row(notify, row, now_ms);
    }
}

int64_t send_start(struct notify *notify, int64_t now_ms) {
    int64_t next_ms = INT64_MAX;
    for (size_t i = 0; i < notify->channel_count; i++) {
        int64_t channel_ms = start_channel(notify, notify->channels[i], now_ms);
        next_ms = channel_ms < next_ms ? channel_ms : next_ms;
    }
    return next_ms;
}

/* ---- completions ---- */

/* Any thread: the transport's. */
static void push_done(struct transfer *transfer) {
    struct notify *notify = transfer->notify;
    transfer->next = NULL;
    (void)pthread_mutex_lock(&notify->done_mu);
    if (notify->done_tail != NULL) {
        notify->done_tail->next = transfer;
    } else {
        notify->done_head = transfer;
    }
    notify->done_tail = transfer;
    (void)pthread_mutex_unlock(&notify->done_mu);
    engine_wake(notify);
}

static void on_done(void *ctx, const struct http_response *response) {
    struct transfer *transfer = ctx;
    judge_response(transfer->kind, response, &transfer->verdict);
    transfer->duration_s = response->duration_s;
    push_done(transfer);
}

static void fail_at_once(struct transfer *transfer, enum outcome outcome, const char *why) {
    transfer->verdict = (struct verdict){ .outcome = outcome, .reason = FAILURE_OTHER };
    (void)snprintf(transfer->verdict.text, sizeof(transfer->verdict.text), "%s", why);
    push_done(transfer);
}

/* ---- transfers ---- */

/* What a transfer borrows while it is handed over. */
struct attempt {
    struct notify *notify;
    struct transfer *transfer;
    const struct integration_config *integration;
    const struct notify_config *config;
    const char *recipient;
    const char *key;
    uint32_t attempts;
    struct arena arena;
    struct buf stored;
    struct row_payload payload;
    struct http_request request;
    const char *headers[8];
};

static bool read_text(struct attempt *attempt,
                      const struct secret *secret,
                      const char **ret,
                      struct err *err) {
    struct buf text;
    buf_init(&text, 64 * 1024);
    bool is_ok = secret_read(secret, &text, err);
    if (is_ok) {
        *ret = arena_str(&attempt->arena, buf_as_str(&text)).ptr;
    }
    buf_finish(&text);
    return is_ok;
}

static struct http_tls tls_of(const struct tls_settings *tls) {
    return (struct http_tls){
        .ca_file = tls->ca_file,
        .cert_file = tls->cert_file,
        .key_file = tls->key_file,
        .server_name = tls->server_name,
        .insecure_skip_verify = tls->insecure_skip_verify,
    };
}

static bool set_credentials(struct attempt *attempt, struct err *err) {
    const struct http_settings *http = config_http(attempt->config, attempt->integration);
    struct http_request *request = &attempt->request;
    request->tls = tls_of(&http->tls);
    request->follow_redirects = false; /* an alert is not sent where a reply says */
    request->username = http->username;
    return (http->username == NULL ||
            read_text(attempt, &http->password, &request->password, err)) &&
           (!secret_is_set(&http->bearer_token) ||
            read_text(attempt, &http->bearer_token, &request->bearer_token, err));
}

static bool fill_http(struct attempt *attempt, struct err *err) {
    struct http_request *request = &attempt->request;
    size_t n = 0;
    request->method = "POST";
    request->body = attempt->payload.body;
    request->timeout_ms = HTTP_TIMEOUT_MS;
    attempt->headers[n++] = "Content-Type: application/json; charset=utf-8";
    attempt->headers[n++] = arena_printf(&attempt->arena, "Idempotency-Key: %s", attempt->key).ptr;
    attempt->headers[n++] = arena_printf(&attempt->arena, "X-Attempt: %u", attempt->attempts).ptr;
    attempt->headers[n] = NULL;
    request->headers = attempt->headers;
    if (!set_credentials(attempt, err)) {
        return false;
    }
    if (attempt->integration->kind == NOTIFY_WEBHOOK) {
        return read_text(attempt, &attempt->integration->webhook.url, &request->url, err);
    }
    const struct slack_config *slack = &attempt->integration->slack;
    if (secret_is_set(&slack->app_token)) {
        request->url = slack->app_url;
        return read_text(attempt, &slack->app_token, &request->bearer_token, err);
    }
    return read_text(attempt, &slack->api_url, &request->url, err);
}

static bool fill_mail(struct attempt *attempt, struct err *err) {
    const struct email_config *email = &attempt->integration->email;
    struct http_request *request = &attempt->request;
    bool is_465 = str_ends_with(str_from(email->smarthost), STR(":465"));
    bool is_implicit = email->force_implicit_tls >= 0 ? email->force_implicit_tls != 0 : is_465;
    request->url =
        arena_printf(&attempt->arena, "%s://%s", is_implicit ? "smtps" : "smtp", email->smarthost)
            .ptr;
    request->body = attempt->payload.body;
    request->timeout_ms = MAIL_TIMEOUT_MS;
    request->tls = tls_of(&email->tls);
    request->mail_require_tls = email->require_tls != 0 && !is_implicit;
    request->mail_hello =
        email->hello != NULL && email->hello[0] != '\0' ? email->hello : attempt->config->hello;
    request->mail_from = arena_str(&attempt->arena, attempt->payload.mail_from).ptr;
    const char **recipients = arena_calloc(&attempt->arena, 2, sizeof(recipients[0]));
    recipients[0] = attempt->recipient;
    request->mail_recipients = recipients;
    if (email->auth_username == NULL || email->auth_username[0] == '\0') {
        return true;
    }
    request->username = email->auth_username;
    bool has_password = secret_is_set(&email->auth_password);
    return read_text(attempt, has_password ? &email->auth_password : &email->auth_secret,
                     &request->password, err);
}

static bool load_payload(struct attempt *attempt, uint64_t row_id, struct err *err) {
    struct kv_store *kv = attempt->notify->kv;
    char raw[ROW_ID_KEY_BYTES];
    struct str key = row_id_key(raw, OUTBOX_KEY_PAYLOAD, row_id);
    if (!kv->get(kv, KV_OUTBOX, key, &attempt->stored, err)) {
        return err->code != ERR_NONE ||
               err_set(err, ERR_CORRUPT, "the message's text is missing from the outbox");
    }
    return outbox_payload_decode(key, buf_as_str(&attempt->stored), &attempt->payload, err);
}

static void submit(struct attempt *attempt, uint64_t row_id) {
    struct err err = ERR_INIT;
    attempt->request.response_bytes_max = RESPONSE_BYTES_MAX;
    if (!load_payload(attempt, row_id, &err)) {
        bool is_lost = err.code == ERR_CORRUPT;
        fail_at_once(attempt->transfer, is_lost ? OUTCOME_PERMANENT : OUTCOME_RETRY_CHANNEL,
                     err.msg);
        return;
    }
    bool is_mail = attempt->integration->kind == NOTIFY_EMAIL;
    if (!(is_mail ? fill_mail(attempt, &err) : fill_http(attempt, &err))) {
        /* a secret's file cannot be read: the operator can mend that */
        fail_at_once(attempt->transfer, OUTCOME_RETRY_CHANNEL, err.msg);
        return;
    }
    if (attempt->integration->timeout_ms > 0) {
        attempt->request.timeout_ms = attempt->integration->timeout_ms;
    }
    struct notify_transport *transport = &attempt->notify->transport;
    if (!transport->submit(transport->ctx, &attempt->request, on_done, attempt->transfer, &err)) {
        /* nothing left the process; the cause is the configuration, and that can be mended */
        fail_at_once(attempt->transfer, OUTCOME_RETRY_CHANNEL, err.msg);
    }
}

void send_submit(struct notify *notify) {
    for (size_t i = 0; i < notify->starting_count; i++) {
        struct outbox_row *row = notify->starting[i];
        struct transfer *transfer = mem_calloc(1, sizeof(*transfer));
        transfer->notify = notify;
        transfer->row = row;
        transfer->kind = row->channel->integration->config->kind;
        /* The configuration changes on this thread only, in the tick: no reference needed. */
        struct attempt attempt = {
            .notify = notify,
            .transfer = transfer,
            .integration = row->channel->integration->config,
            .config = notify->config,
            .recipient = row->channel->recipient,
            .key = row->key,
            .attempts = row->attempts,
        };
        arena_init(&attempt.arena, SIZE_MAX);
        buf_init(&attempt.stored, PAYLOAD_BYTES_MAX);
        submit(&attempt, row->id);
        buf_finish(&attempt.stored);
        arena_finish(&attempt.arena);
    }
    notify->starting_count = 0;
}

/* ---- outcomes ---- */

static void note_success(struct notify *notify, struct outbox_row *row, int64_t now_ms) {
    struct channel *channel = row->channel;
    struct integration *integration = channel->integration;
    channel->failures_in_a_row = 0;
    channel->not_before_ms = 0;
    log_info(notify->log, NOTIFY_SOURCE, "Message delivered",
             LOG_CSTR("integration", channel->integration_id),
             LOG_CSTR("recipient", channel->recipient), LOG_CSTR("key", row->key),
             LOG_CSTR("title", row->title), LOG_I64("attempts", row->attempts));
    if (integration == NULL) {
        return;
    }
    integration->last_success_ms = now_ms;
    integration->failing_since_ms = 0;
    metric_inc(integration->metrics.accepted);
    metric_observe(integration->metrics.latency, (double)(now_ms - row->created_ms) / 1000.0);
}

static void note_failure(struct notify *notify,
                         const struct outbox_row *row,
                         const struct verdict *verdict,
                         int64_t now_ms) {
    struct integration *integration = row->channel->integration;
    if (integration == NULL) {
        return;
    }
    integration->last_failure_ms = now_ms;
    if (integration->failing_since_ms == 0) {
        integration->failing_since_ms = now_ms;
    }
    (void)snprintf(integration->last_error, sizeof(integration->last_error), "%s", verdict->text);
    metric_inc(integration->metrics.failed[verdict->reason]);
    if (verdict->is_ambiguous) {
        metric_inc(integration->metrics.ambiguous);
    }
    log_warning(notify->log, NOTIFY_SOURCE, "Attempt failed",
                LOG_CSTR("integration", row->channel->integration_id),
                LOG_CSTR("recipient", row->channel->recipient), LOG_CSTR("key", row->key),
                LOG_I64("attempts", row->attempts),
                LOG_CSTR("reason", failure_reason_to_string(verdict->reason)),
                LOG_CSTR("err", verdict->text));
}

/* The peer is in trouble, or wants us to wait: hold the channel, and the hook others share. */
static void pause_channel(struct notify *notify,
                          struct channel *channel,
                          const struct verdict *verdict,
                          int64_t now_ms) {
    int64_t pause_ms = retry_delay_ms(channel->failures_in_a_row, engine_random(notify));
    pause_ms = pause_ms > verdict->delay_ms_min ? pause_ms : verdict->delay_ms_min;
    channel->not_before_ms = now_ms + pause_ms;
    struct pacer *pacer = channel->integration == NULL ? NULL : channel->integration->pacer;
    if (pacer != NULL && verdict->reason == FAILURE_RATE_LIMITED) {
        pacer->next_ms = now_ms + verdict->delay_ms_min > pacer->next_ms
                             ? now_ms + verdict->delay_ms_min
                             : pacer->next_ms;
    }
}

static void retry(struct notify *notify,
                  struct outbox_row *row,
                  const struct verdict *verdict,
                  int64_t now_ms) {
    struct channel *channel = row->channel;
    channel->failures_in_a_row++;
    bool is_held = verdict->outcome == OUTCOME_RETRY_CHANNEL;
    if (is_held) {
        pause_channel(notify, channel, verdict, now_ms);
    }
    if (now_ms - row->created_ms >= MESSAGE_AGE_MS_MAX) {
        char why[600];
        (void)snprintf(why, sizeof(why), "not delivered within 24 h; last: %s", verdict->text);
        queue_bury(notify, row, why, now_ms);
        return;
    }
    int64_t delay_ms = retry_delay_ms(row->attempts, engine_random(notify));
    delay_ms = delay_ms > verdict->delay_ms_min ? delay_ms : verdict->delay_ms_min;
    row->state = ROW_QUEUED;
    row->is_held = is_held;
    /* under a held channel the same row stays the probe: it is due when the channel is */
    row->due_ms = is_held ? channel->not_before_ms : now_ms + delay_ms;
    queue_put_header(notify, row);
}

static void absorb(struct notify *notify, const struct transfer *transfer, int64_t now_ms) {
    struct outbox_row *row = transfer->row;
    const struct verdict *verdict = &transfer->verdict;
    assert(row->channel->inflight_count > 0 && notify->inflight_count > 0);
    row->channel->inflight_count--;
    struct integration *integration = row->channel->integration;
    if (integration != NULL && integration->inflight_count > 0) { /* 0: made anew by a reload */
        integration->inflight_count--;
    }
    notify->inflight_count--;
    switch (verdict->outcome) {
    case OUTCOME_ACCEPTED:
        note_success(notify, row, now_ms);
        queue_finish(notify, row);
        break;
    case OUTCOME_RETRY_CHANNEL:
    case OUTCOME_RETRY_MESSAGE:
        note_failure(notify, row, verdict, now_ms);
        retry(notify, row, verdict, now_ms);
        break;
    case OUTCOME_PERMANENT:
        note_failure(notify, row, verdict, now_ms);
        row->channel->failures_in_a_row = 0; /* the peer is there and answers */
        row->channel->not_before_ms = 0;
        queue_bury(notify, row, verdict->text, now_ms);
        break;
    case OUTCOME_CANCELED:
        row->state = ROW_QUEUED; /* in the store it stays in flight: the next start repeats it */
        row->attempts--;
        row->due_ms = now_ms + COMMIT_RETRY_MS;
        break;
    }
}

void send_absorb(struct notify *notify, int64_t now_ms) {
    (void)pthread_mutex_lock(&notify->done_mu);
    struct transfer *transfer = notify->done_head;
    notify->done_head = NULL;
    notify->done_tail = NULL;
    (void)pthread_mutex_unlock(&notify->done_mu);
    while (transfer != NULL) {
        struct transfer *next = transfer->next;
        absorb(notify, transfer, now_ms);
        mem_free(transfer);
        transfer = next;
    }
}

void send_drop_done(struct notify *notify) {
    struct transfer *transfer = notify->done_head;
    while (transfer != NULL) {
        struct transfer *next = transfer->next;
        mem_free(transfer);
        transfer = next;
    }
    notify->done_head = NULL;
    notify->done_tail = NULL;
}
