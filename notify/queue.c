/* Integrations, channels and rows: their memory and their rows in the store. */
#include <assert.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "notify/engine.h"
#include "notify/row.h"

enum {
    TITLE_BYTES_MAX = 200,
    REASON_BYTES_MAX = 500,
    HEADER_BYTES_MAX = 4 * 1024 * 1024,
    PAYLOAD_BYTES_MAX = 2 * MESSAGE_BODY_BYTES_MAX,
};

/* ---- integrations ---- */

struct integration *queue_integration(const struct notify *notify, struct str id) {
    for (size_t i = 0; i < notify->integration_count; i++) {
        if (str_eq_c(id, notify->integrations[i]->id)) {
            return notify->integrations[i];
        }
    }
    return NULL;
}

static void create_metrics(struct notify *notify,
                           const struct integration_config *config,
                           struct integration_metrics *ret) {
    static const double latency_bounds_s[] = { 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200, 43200 };
    struct metric_registry *registry = notify->metrics_registry;
    const char *labels[] = { "integration", notify_kind_to_string(config->kind), "receiver",
                             config->receiver->name, NULL };
    ret->accepted = metric_counter(registry, "tocsin_notify_delivered_total",
                                   "Messages the receiver accepted.", labels);
    ret->retried = metric_counter(registry, "tocsin_notify_retries_total",
                                  "Attempts after the first one of a message.", labels);
    ret->dead = metric_counter(registry, "tocsin_notify_dead_letters_total",
                               "Messages given up for good.", labels);
    ret->coalesced =
        metric_counter(registry, "tocsin_notify_coalesced_total",
                       "Updates told by a waiting message or merged into a digest.", labels);
    ret->ambiguous =
        metric_counter(registry, "tocsin_notify_duplicates_possible_total",
                       "Attempts repeated although the receiver may have accepted.", labels);
    ret->latency = metric_histogram(registry, "tocsin_notify_delivery_latency_seconds",
                                    "Time from the decision to notify to the receiver's receipt.",
                                    labels, latency_bounds_s, ARRAY_LEN(latency_bounds_s));
    for (size_t i = 0; i < FAILURE_COUNT; i++) {
        const char *failed[] = { "integration", labels[1],
                                 "reason",      failure_reason_to_string((enum failure_reason)i),
                                 "receiver",    labels[3],
                                 NULL };
        ret->failed[i] = metric_counter(registry, "tocsin_notify_failed_attempts_total",
                                        "Attempts that failed.", failed);
    }
}

static const struct secret *paced_secret(const struct integration_config *config) {
    if (config->kind != NOTIFY_SLACK) {
        return NULL;
    }
    return secret_is_set(&config->slack.app_token) ? &config->slack.app_token
                                                   : &config->slack.api_url;
}

/* Integrations that post to the same hook share its rate limit. */
static struct pacer *find_pacer(struct notify *notify, const struct integration_config *config) {
    const struct secret *secret = paced_secret(config);
    if (secret == NULL) {
        return NULL;
    }
    const char *id = secret->file != NULL && secret->file[0] != '\0' ? secret->file : secret->value;
    for (size_t i = 0; i < notify->pacer_count; i++) {
        if (strcmp(notify->pacers[i]->url_id, id) == 0) {
            return notify->pacers[i];
        }
    }
    struct pacer *pacer = mem_calloc(1, sizeof(*pacer));
    pacer->url_id = mem_strdup(id);
    notify->pacers =
        mem_realloc(notify->pacers, (notify->pacer_count + 1) * sizeof(notify->pacers[0]));
    notify->pacers[notify->pacer_count++] = pacer;
    return pacer;
}

static struct integration *keep_or_create(struct notify *notify,
                                          const struct integration_config *config,
                                          struct integration **old,
                                          size_t old_count) {
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] != NULL && strcmp(old[i]->id, config->id) == 0) {
            struct integration *kept = old[i];
            old[i] = NULL;
            kept->config = config;
            kept->pacer = find_pacer(notify, config);
            return kept;
        }
    }
    struct integration *integration = mem_calloc(1, sizeof(*integration));
    integration->config = config;
    integration->id = mem_strdup(config->id);
    integration->pacer = find_pacer(notify, config);
    create_metrics(notify, config, &integration->metrics);
    return integration;
}

void queue_configure(struct notify *notify) {
    struct integration **old = notify->integrations;
    size_t old_count = notify->integration_count;
    size_t count = 0;
    for (size_t i = 0; i < notify->config->receiver_count; i++) {
        count += notify->config->receivers[i]->integration_count;
    }
    struct integration **integrations = mem_calloc(count + 1, sizeof(integrations[0]));
    size_t n = 0;
    for (size_t i = 0; i < notify->config->receiver_count; i++) {
        const struct receiver_config *receiver = notify->config->receivers[i];
        for (size_t k = 0; k < receiver->integration_count; k++) {
            integrations[n++] = keep_or_create(notify, receiver->integrations[k], old, old_count);
        }
    }
    notify->integrations = integrations;
    notify->integration_count = n;
    for (size_t i = 0; i < notify->channel_count; i++) {
        struct channel *channel = notify->channels[i];
        channel->integration = queue_integration(notify, str_from(channel->integration_id));
    }
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] != NULL) {
            mem_free(old[i]->id);
            mem_free(old[i]);
        }
    }
    mem_free(old);
}

/* ---- channels ---- */

struct channel *queue_channel(struct notify *notify,
                              struct str integration_id,
                              struct str recipient) {
    for (size_t i = 0; i < notify->channel_count; i++) {
        struct channel *channel = notify->channels[i];
        if (str_eq_c(integration_id, channel->integration_id) &&
            str_eq_c(recipient, channel->recipient)) {
            return channel;
        }
    }
    struct channel *channel = mem_calloc(1, sizeof(*channel));
    channel->integration_id = mem_strndup(integration_id.ptr, integration_id.len);
    channel->recipient = mem_strndup(recipient.ptr, recipient.len);
    channel->integration = queue_integration(notify, integration_id);
    notify->channels = vec_grow(notify->channels, &notify->channel_cap, notify->channel_count + 1,
                                sizeof(notify->channels[0]));
    notify->channels[notify->channel_count++] = channel;
    return channel;
}

static void channel_destroy(struct channel *channel) {
    while (channel->head != NULL) {
        struct outbox_row *row = channel->head;
        channel_remove(row);
        outbox_row_destroy(row);
    }
    mem_free(channel->integration_id);
    mem_free(channel->recipient);
    mem_free(channel);
}

void queue_sweep(struct notify *notify) {
    size_t kept = 0;
    for (size_t i = 0; i < notify->channel_count; i++) {
        struct channel *channel = notify->channels[i];
        if (channel->row_count == 0 && channel->failures_in_a_row == 0) {
            assert(channel->inflight_count == 0);
            channel_destroy(channel);
        } else {
            notify->channels[kept++] = channel;
        }
    }
    notify->channel_count = kept;
}

void queue_finish_all(struct notify *notify) {
    for (size_t i = 0; i < notify->channel_count; i++) {
        channel_destroy(notify->channels[i]);
    }
    mem_free(notify->channels);
    for (size_t i = 0; i < notify->integration_count; i++) {
        mem_free(notify->integrations[i]->id);
        mem_free(notify->integrations[i]);
    }
    mem_free(notify->integrations);
    for (size_t i = 0; i < notify->pacer_count; i++) {
        mem_free(notify->pacers[i]->url_id);
        mem_free(notify->pacers[i]);
    }
    mem_free(notify->pacers);
    for (size_t i = 0; i < notify->dead_count; i++) {
        mem_free(notify->dead[i].integration_id);
    }
    mem_free(notify->dead);
}

size_t queue_row_count(const struct notify *notify) {
    size_t count = 0;
    for (size_t i = 0; i < notify->channel_count; i++) {
        count += notify->channels[i]->row_count;
    }
    return count;
}

/* ---- rows ---- */

static struct row_header header_of(const struct outbox_row *row) {
    return (struct row_header){
        .id = row->id,
        .integration = str_from(row->channel->integration_id),
        .recipient = str_from(row->channel->recipient),
        .lane = row->lane,
        .state = row->state,
        .attempts = row->attempts,
        .created_ms = row->created_ms,
        .due_ms = row->due_ms,
        .is_digest = row->is_digest,
        .is_held = row->is_held,
        .key = str_from(row->key),
        .group_key = str_from(row->group_key),
        .title = str_from(row->title),
        .reason = STR(""),
    };
}

static void put_header(struct notify *notify, const struct row_header *header, uint8_t kind) {
    char raw[ROW_ID_KEY_BYTES];
    struct str key = row_id_key(raw, kind, header->id);
    struct buf value;
    buf_init(&value, HEADER_BYTES_MAX);
    outbox_header_encode(header, key, &value);
    op_put(&notify->ops, KV_OUTBOX, key, buf_as_str(&value));
    buf_finish(&value);
}

void queue_put_header(struct notify *notify, const struct outbox_row *row) {
    struct row_header header = header_of(row);
    put_header(notify, &header, OUTBOX_KEY_HEADER);
}

static void del_row(struct notify *notify, uint8_t kind, uint64_t id) {
    char raw[ROW_ID_KEY_BYTES];
    op_del(&notify->ops, KV_OUTBOX, row_id_key(raw, kind, id));
}

static char *dup_title(struct str title) {
    bool is_long = title.len > TITLE_BYTES_MAX;
    return mem_strndup(title.ptr, is_long ? utf8_floor(title, TITLE_BYTES_MAX) : title.len);
}

static void put_payload(struct notify *notify, uint64_t id, const struct row_payload *payload) {
    char raw[ROW_ID_KEY_BYTES];
    struct str key = row_id_key(raw, OUTBOX_KEY_PAYLOAD, id);
    struct buf value;
    buf_init(&value, PAYLOAD_BYTES_MAX);
    outbox_payload_encode(payload, key, &value);
    op_put(&notify->ops, KV_OUTBOX, key, buf_as_str(&value));
    buf_finish(&value);
}

struct outbox_row *queue_add(struct notify *notify, const struct new_row *spec) {
    struct outbox_row *row = mem_calloc(1, sizeof(*row));
    row->id = notify->next_row_id++;
    row->lane = spec->lane;
    row->state = ROW_QUEUED;
    row->created_ms = spec->now_ms;
    row->due_ms = spec->now_ms;
    row->is_digest = spec->is_digest;
    (void)snprintf(row->key, sizeof(row->key), "%s", spec->key);
    row->group_key = mem_strndup(spec->group_key.ptr, spec->group_key.len);
    row->title = dup_title(spec->title);
    channel_append(spec->channel, row);
    queue_put_header(notify, row);
    put_payload(notify, row->id, &spec->payload);
    return row;
}

void queue_rewrite(struct notify *notify,
                   struct outbox_row *row,
                   struct str title,
                   const struct row_payload *payload) {
    assert(row->state == ROW_QUEUED && row->attempts == 0);
    mem_free(row->title);
    row->title = dup_title(title);
    queue_put_header(notify, row);
    put_payload(notify, row->id, payload);
}

void queue_finish(struct notify *notify, struct outbox_row *row) {
    del_row(notify, OUTBOX_KEY_HEADER, row->id);
    del_row(notify, OUTBOX_KEY_PAYLOAD, row->id);
    channel_remove(row);
    outbox_row_destroy(row);
}

/* ---- dead letters ---- */

static void drop_oldest_dead(struct notify *notify) {
    del_row(notify, OUTBOX_KEY_DEAD, notify->dead[0].id);
    del_row(notify, OUTBOX_KEY_PAYLOAD, notify->dead[0].id);
    mem_free(notify->dead[0].integration_id);
    notify->dead_count--;
    memmove(notify->dead, notify->dead + 1, notify->dead_count * sizeof(notify->dead[0]));
}

void queue_note_dead(struct notify *notify, uint64_t id, struct str integration_id) {
    size_t at = notify->dead_count; /* ids die out of order; the list is kept ascending */
    notify->dead = vec_grow(notify->dead, &notify->dead_cap, at + 1, sizeof(notify->dead[0]));
    while (at > 0 && notify->dead[at - 1].id > id) {
        notify->dead[at] = notify->dead[at - 1];
        at--;
    }
    notify->dead[at] = (struct dead_ref){
        .id = id,
        .integration_id = mem_strndup(integration_id.ptr, integration_id.len),
    };
    notify->dead_count++;
}

void queue_bury(struct notify *notify, struct outbox_row *row, const char *reason, int64_t now_ms) {
    struct channel *channel = row->channel;
    struct row_header header = header_of(row);
    header.state = ROW_DEAD;
    header.reason = str_from(reason);
    header.reason.len = header.reason.len > REASON_BYTES_MAX
                            ? utf8_floor(header.reason, REASON_BYTES_MAX)
                            : header.reason.len;
    header.died_ms = now_ms;
    put_header(notify, &header, OUTBOX_KEY_DEAD);
    del_row(notify, OUTBOX_KEY_HEADER, row->id);
    queue_note_dead(notify, row->id, header.integration);
    if (notify->dead_count > OUTBOX_DEAD_MAX) {
        drop_oldest_dead(notify);
    }
    if (channel->integration != NULL) {
        metric_inc(channel->integration->metrics.dead);
    }
    log_error(notify->log, NOTIFY_SOURCE, "Message given up",
              LOG_CSTR("integration", channel->integration_id),
              LOG_CSTR("recipient", channel->recipient), LOG_CSTR("key", row->key),
              LOG_CSTR("title", row->title), LOG_I64("attempts", row->attempts),
              LOG_CSTR("reason", reason));
    channel_remove(row);
    outbox_row_destroy(row);
}
