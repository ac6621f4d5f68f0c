/* The built-in receiver: rendering, storing, reading back. Keys sort newest first. */
#include "base/json.h"
#include "base/mem.h"
#include "notify/engine.h"
#include "notify/row.h"

enum {
    INBOX_VERSION = 1,
    INBOX_KIND = 1,
    INBOX_ALERTS_MAX = 100,
    INBOX_TEXT_BYTES_MAX = 64 * 1024,
    INBOX_ALERTS_BYTES_MAX = 4 * 1024 * 1024,
    INBOX_ROW_BYTES_MAX = 8 * 1024 * 1024,
};

/* ---- rendering ---- */

static bool own_or(const struct render *render,
                   const struct template_text *text,
                   struct str fallback,
                   struct str *ret,
                   struct err *err) {
    *ret = fallback;
    return render->is_default || text->text == NULL ||
           render_template(render, text, false, ret, err);
}

bool render_inbox(const struct render *render, struct inbox_text *ret, struct err *err) {
    const struct inbox_config *config = &render->integration->inbox;
    struct buf text;
    buf_init(&text, INBOX_TEXT_BYTES_MAX);
    render_text(render->n, render->arena, &text);
    struct str plain = arena_str(render->arena, buf_as_str(&text));
    buf_finish(&text);
    struct inbox_text result;
    if (!own_or(render, &config->title, notification_title(render->n, render->arena), &result.title,
                err) ||
        !own_or(render, &config->text, plain, &result.text, err)) {
        return false;
    }
    struct buf alerts;
    buf_init(&alerts, INBOX_ALERTS_BYTES_MAX);
    render_alerts_json(render->n, INBOX_ALERTS_MAX, &alerts);
    result.alerts_json = alerts.is_over ? STR("[]") : arena_str(render->arena, buf_as_str(&alerts));
    buf_finish(&alerts);
    *ret = result;
    return true;
}

/* ---- storing ---- */

static struct str inbox_key(char out[ROW_ID_KEY_BYTES], uint64_t id) {
    return row_id_key(out, INBOX_KIND, UINT64_MAX - id);
}

void inbox_put(struct notify *notify, const struct notification *n, const struct inbox_text *text) {
    char raw[ROW_ID_KEY_BYTES];
    uint64_t id = notify->next_inbox_id++;
    struct str key = inbox_key(raw, id);
    struct buf value;
    buf_init(&value, INBOX_ROW_BYTES_MAX);
    row_begin(&value, INBOX_VERSION);
    row_i64(&value, n->now_ms);
    row_str(&value, n->receiver);
    row_str(&value, str_from(notification_status(n)));
    row_str(&value, text->title);
    row_str(&value, text->text);
    row_str(&value, n->group_key);
    row_str(&value, str_from(n->key));
    row_u32(&value, (uint32_t)notification_firing_count(n));
    row_u32(&value, (uint32_t)n->counts[CHANGE_RESOLVED]);
    row_str(&value, text->alerts_json);
    row_end(&value, key);
    op_put(&notify->ops, KV_INBOX, key, buf_as_str(&value));
    buf_finish(&value);
    notify->inbox_count++;
    if (notify->inbox_count > NOTIFY_INBOX_COUNT_MAX) {
        op_del(&notify->ops, KV_INBOX, inbox_key(raw, id - NOTIFY_INBOX_COUNT_MAX));
        notify->inbox_count--;
    }
}

struct restore_inbox {
    struct notify *notify;
    bool has_newest;
};

static bool count_message(void *ctx, struct str key, struct str value) {
    (void)value;
    struct restore_inbox *restore = ctx;
    uint64_t inverse = 0;
    if (row_id_from_key(key, INBOX_KIND, &inverse)) {
        if (!restore->has_newest) {
            restore->notify->next_inbox_id = UINT64_MAX - inverse + 1;
            restore->has_newest = true;
        }
        restore->notify->inbox_count++;
    }
    return true;
}

bool inbox_restore(struct notify *notify, struct err *err) {
    struct restore_inbox restore = { .notify = notify };
    struct err scan_err = ERR_INIT;
    notify->next_inbox_id = 1;
    (void)notify->kv->scan(notify->kv, KV_INBOX, STR(""), STR(""), count_message, &restore,
                           &scan_err);
    if (scan_err.code != ERR_NONE) {
        *err = scan_err;
        return err_wrap(err, "reading the inbox");
    }
    return true;
}

/* ---- reading ---- */

struct list_inbox {
    struct arena *arena;
    struct notify_inbox_page page;
    uint64_t skip;
    uint64_t limit;
    struct err err;
};

static bool decode_message(struct str key,
                           struct str value,
                           struct arena *arena,
                           struct notify_inbox_message *ret,
                           struct err *err) {
    struct row_reader row;
    uint64_t inverse = 0;
    if (!row_open(&row, key, value, INBOX_VERSION, "inbox", err)) {
        return false;
    }
    row.is_bad |= !row_id_from_key(key, INBOX_KIND, &inverse);
    struct notify_inbox_message message = { .id = UINT64_MAX - inverse };
    message.at_ms = row_get_i64(&row);
    message.receiver = arena_str(arena, row_get_str(&row));
    message.status = arena_str(arena, row_get_str(&row));
    message.title = arena_str(arena, row_get_str(&row));
    message.text = arena_str(arena, row_get_str(&row));
    message.group_key = arena_str(arena, row_get_str(&row));
    message.key = arena_str(arena, row_get_str(&row));
    message.firing_count = row_get_u32(&row);
    message.resolved_count = row_get_u32(&row);
    message.alerts_json = arena_str(arena, row_get_str(&row));
    if (!row_close(&row, "inbox", err)) {
        return false;
    }
    *ret = message;
    return true;
}

static bool list_message(void *ctx, struct str key, struct str value) {
    struct list_inbox *list = ctx;
    if (list->skip > 0) {
        list->skip--;
        return true;
    }
    if (list->page.count == list->limit) {
        return false;
    }
    return decode_message(key, value, list->arena, &list->page.messages[list->page.count],
                          &list->err) &&
           ++list->page.count < list->limit;
}

bool notify_inbox_list(struct notify *notify,
                       uint64_t offset,
                       uint64_t limit,
                       struct arena *arena,
                       struct notify_inbox_page *ret,
                       struct err *err) {
    struct list_inbox list = {
        .arena = arena,
        .skip = offset,
        .limit = limit > NOTIFY_INBOX_COUNT_MAX ? NOTIFY_INBOX_COUNT_MAX : limit,
        .err = ERR_INIT,
    };
    (void)pthread_mutex_lock(&notify->mu);
    list.page.total = notify->inbox_count;
    (void)pthread_mutex_unlock(&notify->mu);
    list.page.messages = arena_calloc(arena, list.limit, sizeof(list.page.messages[0]));
    struct err scan_err = ERR_INIT;
    (void)notify->kv->scan(notify->kv, KV_INBOX, STR(""), STR(""), list_message, &list, &scan_err);
    if (scan_err.code != ERR_NONE || list.err.code != ERR_NONE) {
        *err = scan_err.code != ERR_NONE ? scan_err : list.err;
        return err_wrap(err, "reading the inbox");
    }
    *ret = list.page;
    return true;
}
