/* The built-in receiver and what became of every message. */
#include "web/api.h"

enum {
    INBOX_LIMIT_DEFAULT = 100,
    INBOX_LIMIT_MAX = 1000,
};

static void put_str(struct json_writer *json, const char *key, struct str value) {
    json_key(json, key);
    json_str(json, value);
}

static void put_u64(struct json_writer *json, const char *key, uint64_t value) {
    json_key(json, key);
    json_u64(json, value);
}

static void put_time(struct json_writer *json, const char *key, int64_t t_ms) {
    json_key(json, key);
    if (t_ms == 0) {
        json_null(json);
    } else {
        api_json_time(json, t_ms);
    }
}

static void write_message(struct json_writer *json, const struct notify_inbox_message *message) {
    json_object(json);
    put_u64(json, "id", message->id);
    put_time(json, "at", message->at_ms);
    put_str(json, "receiver", message->receiver);
    put_str(json, "status", message->status);
    put_str(json, "title", message->title);
    put_str(json, "text", message->text);
    put_str(json, "groupKey", message->group_key);
    put_str(json, "key", message->key);
    put_u64(json, "firing", message->firing_count);
    put_u64(json, "resolved", message->resolved_count);
    json_key(json, "alerts");
    json_raw(json, message->alerts_json);
    json_object_end(json);
}

void api_inbox(struct web_request *request) {
    uint64_t limit;
    uint64_t offset = 0;
    struct str offset_text = web_param(request, "offset");
    if (!api_param_limit(request, &limit)) {
        return;
    }
    if (offset_text.len > 0 && !str_parse_u64(offset_text, &offset)) {
        api_bad_param(request, "offset", "expected a whole number >= 0");
        return;
    }
    limit = limit == 0 ? INBOX_LIMIT_DEFAULT : limit > INBOX_LIMIT_MAX ? INBOX_LIMIT_MAX : limit;
    struct err err = ERR_INIT;
    struct notify_inbox_page page;
    if (!notify_inbox_list(request->web->opts.notify, offset, limit, &request->arena, &page,
                           &err)) {
        web_reply_error(request, &err);
        return;
    }
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    put_u64(&json, "total", page.total);
    json_key(&json, "messages");
    json_array(&json);
    for (size_t i = 0; i < page.count; i++) {
        write_message(&json, &page.messages[i]);
    }
    json_array_end(&json);
    json_object_end(&json);
    web_json_close(request, &json);
}

void api_dead_letters(struct web_request *request) {
    struct err err = ERR_INIT;
    struct notify_dead_letter *letters = NULL;
    size_t count = 0;
    if (!notify_dead_letters_list(request->web->opts.notify, &request->arena, &letters, &count,
                                  &err)) {
        web_reply_error(request, &err);
        return;
    }
    struct json_writer json;
    web_json_open(request, &json);
    json_array(&json);
    for (size_t i = 0; i < count; i++) {
        const struct notify_dead_letter *letter = &letters[i];
        json_object(&json);
        put_u64(&json, "id", letter->id);
        put_str(&json, "receiver", letter->receiver);
        put_str(&json, "integration", letter->integration);
        put_str(&json, "recipient", letter->recipient);
        put_str(&json, "key", letter->key);
        put_str(&json, "groupKey", letter->group_key);
        put_str(&json, "title", letter->title);
        put_str(&json, "reason", letter->reason);
        put_time(&json, "createdAt", letter->created_ms);
        put_time(&json, "diedAt", letter->died_ms);
        put_u64(&json, "attempts", letter->attempts);
        json_object_end(&json);
    }
    json_array_end(&json);
    web_json_close(request, &json);
}

static void write_receivers(struct json_writer *json, const struct notify_status *status) {
    json_key(json, "receivers");
    json_array(json);
    for (size_t i = 0; i < status->receiver_count; i++) {
        const struct notify_receiver_view *view = &status->receivers[i];
        json_object(json);
        put_str(json, "receiver", view->receiver);
        put_str(json, "integration", view->integration);
        put_u64(json, "index", view->index);
        put_time(json, "lastSuccess", view->last_success_ms);
        put_time(json, "lastFailure", view->last_failure_ms);
        put_str(json, "lastError", view->last_error);
        put_u64(json, "queued", view->queued_count);
        put_u64(json, "deadLetters", view->dead_count);
        put_time(json, "oldestQueued", view->oldest_queued_ms);
        put_u64(json, "failuresInARow", view->failures_in_a_row);
        json_object_end(json);
    }
    json_array_end(json);
}

static void write_groups(struct json_writer *json, const struct notify_status *status) {
    json_key(json, "groups");
    json_array(json);
    for (size_t i = 0; i < status->group_count; i++) {
        const struct notify_group_view *view = &status->groups[i];
        json_object(json);
        put_str(json, "key", view->key);
        put_str(json, "receiver", view->receiver);
        json_key(json, "labels");
        api_json_labels(json, view->labels);
        put_u64(json, "firing", view->firing_count);
        put_u64(json, "resolved", view->resolved_count);
        put_u64(json, "muted", view->muted_count);
        put_time(json, "nextFlush", view->next_flush_ms);
        put_time(json, "lastFlush", view->last_flush_ms);
        json_object_end(json);
    }
    json_array_end(json);
}

void api_notify_status(struct web_request *request) {
    struct notify_status status;
    notify_status_get(request->web->opts.notify, &request->arena, &status);
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    put_u64(&json, "alerts", status.alert_count);
    put_u64(&json, "queued", status.queued_count);
    put_u64(&json, "deadLetters", status.dead_count);
    write_receivers(&json, &status);
    write_groups(&json, &status);
    json_object_end(&json);
    web_json_close(request, &json);
}

void api_notify_test(struct web_request *request) {
    struct str receiver = web_param(request, "receiver");
    if (receiver.len == 0) {
        api_bad_param(request, "receiver", "it is required");
        return;
    }
    struct err err = ERR_INIT;
    if (!notify_check_receiver(request->web->opts.notify, arena_str(&request->arena, receiver).ptr,
                               clock_wall_ms(request->web->clock), &err)) {
        web_reply_error(request, &err);
        return;
    }
    struct json_writer json;
    web_json_open(request, &json);
    json_cstr(&json, "queued");
    web_json_close(request, &json);
}
