/* The generic webhook: Alertmanager's JSON, version 4, with the value and our key added. */
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "notify/message.h"

static void put_pairs(struct json_writer *json, const char *key, struct labels labels) {
    json_key(json, key);
    json_object(json);
    for (size_t i = 0; i < labels.count; i++) {
        json_key_str(json, labels.items[i].name);
        json_str(json, labels.items[i].value);
    }
    json_object_end(json);
}

static void put_time_or_zero(struct json_writer *json, const char *key, int64_t t_ms) {
    char text[RFC3339_TEXT_MAX];
    json_key(json, key);
    if (t_ms == 0) {
        json_cstr(json, "0001-01-01T00:00:00Z"); /* Go's zero time, as upstream sends it */
        return;
    }
    rfc3339_from_ms(t_ms, text);
    json_cstr(json, text);
}

static void put_alert(struct json_writer *json, const struct message_alert *alert) {
    char fingerprint[17];
    (void)snprintf(fingerprint, sizeof(fingerprint), "%016llx",
                   (unsigned long long)labels_fingerprint(alert->labels));
    json_object(json);
    json_key(json, "status");
    json_cstr(json, alert->change == CHANGE_RESOLVED ? "resolved" : "firing");
    put_pairs(json, "labels", alert->labels);
    put_pairs(json, "annotations", alert->annotations);
    put_time_or_zero(json, "startsAt", alert->starts_ms);
    put_time_or_zero(json, "endsAt", alert->ends_ms);
    json_key(json, "value");
    json_f64(json, alert->value);
    json_key(json, "generatorURL");
    json_str(json, alert->generator_url);
    json_key(json, "fingerprint");
    json_cstr(json, fingerprint);
    json_object_end(json);
}

static size_t put_alerts(struct json_writer *json, const struct notification *n, size_t max) {
    size_t count = n->alert_count > max ? max : n->alert_count;
    json_array(json);
    for (size_t i = 0; i < count; i++) {
        put_alert(json, &n->alerts[i]);
    }
    json_array_end(json);
    return count;
}

void render_alerts_json(const struct notification *n, size_t max, struct buf *out) {
    struct json_writer json;
    json_init(&json, out);
    (void)put_alerts(&json, n, max);
}

static void put_message(const struct notification *n, size_t max, struct buf *out) {
    struct json_writer json;
    json_init(&json, out);
    json_object(&json);
    json_key(&json, "version");
    json_cstr(&json, "4");
    json_key(&json, "groupKey");
    json_str(&json, n->group_key);
    json_key(&json, "receiver");
    json_str(&json, n->receiver);
    json_key(&json, "status");
    json_cstr(&json, notification_status(n));
    json_key(&json, "alerts");
    size_t sent = put_alerts(&json, n, max);
    json_key(&json, "truncatedAlerts");
    size_t total = notification_firing_count(n) + n->counts[CHANGE_RESOLVED];
    json_u64(&json, total - sent);
    put_pairs(&json, "groupLabels", n->group_labels);
    put_pairs(&json, "commonLabels", n->common_labels);
    put_pairs(&json, "commonAnnotations", n->common_annotations);
    put_pairs(&json, "routeLabels", (struct labels){ 0 });
    json_key(&json, "externalURL");
    json_str(&json, n->external_url);
    json_key(&json, "notification_reason");
    json_cstr(&json, notify_reason_to_string(n->reason));
    json_key(&json, "key");
    json_cstr(&json, n->key);
    json_object_end(&json);
}

bool render_webhook(const struct render *render, struct buf *out, struct err *err) {
    (void)err;
    const struct notification *n = render->n;
    uint64_t configured = render->integration->webhook.max_alerts;
    size_t max = configured == 0 ? SIZE_MAX : (size_t)configured;
    put_message(n, max, out);
    max = max > n->alert_count ? n->alert_count : max;
    while (out->is_over && max > 0) { /* a group of tens of thousands: tell as many as fit */
        max /= 2;
        buf_reset(out);
        put_message(n, max, out);
    }
    return true;
}
