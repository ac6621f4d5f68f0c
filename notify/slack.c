/*
 * Slack messages: a line of text (what a phone shows) and one attachment with the details, coloured
 * by severity.
 *
 * Slack knows three control characters, & < >, which become entities; that also defuses <!channel>
 * and links. Its text formatting has no escapes: a * _ ~ ` that could start formatting is replaced
 * by a look-alike. All cutting happens before escaping, so that no entity is cut.
 *
 * Text a user's template writes is the user's: only what comes in from labels is escaped there, and
 * mentions in annotations (templates.c).
 */
#include <assert.h>

#include "base/json.h"
#include "base/utf8.h"
#include "notify/message.h"

enum {
    TITLE_CHARS_MAX = 300,
    TEXT_BYTES_SOFT_MAX = 7000, /* no further alert is started beyond it: Slack folds and cuts */
    TEXT_BYTES_MAX = 256 * 1024,
    DESCRIPTION_CHARS_MAX = 600,
    DESCRIPTION_LINES_MAX = 8,
    LABEL_CHARS_MAX = 120,
};

/* ---- text ---- */

static void put_entity(struct buf *out, char c) {
    switch (c) {
    case '&': buf_cstr(out, "&amp;"); break;
    case '<': buf_cstr(out, "&lt;"); break;
    case '>': buf_cstr(out, "&gt;"); break;
    default: buf_putc(out, c); break;
    }
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (unsigned char)c >= 0x80;
}

static const char *look_alike(char c) {
    switch (c) {
    case '*': return "∗";
    case '_': return "ˍ";
    case '~': return "∼";
    case '`': return "ˋ";
    default: return NULL;
    }
}

/* Running text: a mark at the edge of a word could start or end formatting. */
static void put_text(struct buf *out, struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        const char *other = look_alike(text.ptr[i]);
        bool is_inside = i > 0 && i + 1 < text.len && is_word(text.ptr[i - 1]) &&
                         is_word(text.ptr[i + 1]) && text.ptr[i] != '`';
        bool is_alone =
            (i == 0 || text.ptr[i - 1] == ' ') && (i + 1 == text.len || text.ptr[i + 1] == ' ');
        if (other != NULL && !is_inside && !is_alone) {
            buf_cstr(out, other);
        } else {
            put_entity(out, text.ptr[i]);
        }
    }
}

/* Between backticks only the backtick has a meaning. */
static void put_code(struct buf *out, struct str text) {
    buf_putc(out, '`');
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '`') {
            buf_cstr(out, "ˋ");
        } else {
            put_entity(out, text.ptr[i]);
        }
    }
    buf_putc(out, '`');
}

/* A date token: every reader sees local time, other clients UTC. */
static void put_date(struct buf *out, int64_t t_ms) {
    buf_printf(out, "<!date^%lld^{date_short_pretty} {time_secs}|", (long long)(t_ms / 1000));
    put_time(out, t_ms);
    buf_putc(out, '>');
}

static void put_link(struct buf *out, struct str url, const char *name, bool *is_first) {
    struct str safe = safe_url(url);
    if (safe.len == 0) {
        return;
    }
    buf_cstr(out, *is_first ? "" : " · ");
    buf_putc(out, '<');
    for (size_t i = 0; i < safe.len; i++) {
        put_entity(out, safe.ptr[i]);
    }
    buf_printf(out, "|%s>", name);
    *is_first = false;
}

/* ---- one alert ---- */

static void put_state(const struct notification *n,
                      const struct message_alert *alert,
                      struct buf *out) {
    if (alert->change == CHANGE_RESOLVED) {
        buf_cstr(out, "resolved after ");
        put_duration(out, alert->ends_ms - alert->starts_ms);
        buf_cstr(out, ", ");
        put_date(out, alert->ends_ms);
        buf_cstr(out, " · last value ");
    } else {
        buf_cstr(out, "firing for ");
        put_duration(out, n->now_ms - alert->starts_ms);
        buf_cstr(out, " since ");
        put_date(out, alert->starts_ms);
        buf_cstr(out, " · value at last evaluation ");
    }
    buf_putc(out, '`');
    put_value(out, alert->value);
    buf_cstr(out, "`\n");
}

static void put_labels(struct labels labels, struct arena *arena, struct buf *out) {
    for (size_t i = 0; i < labels.count; i++) {
        struct buf pair;
        buf_init(&pair, 16 * 1024);
        struct str name = one_line(labels.items[i].name, LABEL_CHARS_MAX, arena);
        struct str value = one_line(labels.items[i].value, LABEL_CHARS_MAX, arena);
        buf_printf(&pair, "%.*s=%.*s", STR_FMT(name), STR_FMT(value));
        buf_cstr(out, i == 0 ? "" : " ");
        put_code(out, buf_as_str(&pair));
        buf_finish(&pair);
    }
    buf_cstr(out, labels.count > 0 ? "\n" : "");
}

static void put_alert(const struct notification *n,
                      const struct message_alert *alert,
                      bool has_headline,
                      struct arena *arena,
                      struct buf *out) {
    if (has_headline) {
        buf_cstr(out, "• *");
        put_text(out, alert_headline(alert, arena));
        buf_cstr(out, "*\n");
    }
    put_state(n, alert, out);
    struct str description = annotation_or(alert, "description", STR(""));
    if (description.len > 0) {
        put_text(out, few_lines(description, DESCRIPTION_CHARS_MAX, DESCRIPTION_LINES_MAX, arena));
        buf_putc(out, '\n');
    }
    put_labels(alert_own_labels(n, alert, arena), arena, out);
    bool is_first = true;
    put_link(out, alert->generator_url, "Graph", &is_first);
    put_link(out, annotation_or(alert, "runbook_url", STR("")), "Runbook", &is_first);
    put_link(out, annotation_or(alert, "dashboard_url", STR("")), "Dashboard", &is_first);
    buf_cstr(out, is_first ? "" : "\n");
}

static void put_section(const struct notification *n,
                        enum alert_change change,
                        bool has_headlines,
                        struct arena *arena,
                        struct buf *out) {
    static const char *const names[] = { "NEW", "STILL FIRING", "RESOLVED" };
    static_assert(ARRAY_LEN(names) == CHANGE_COUNT, "one name per change");
    if (n->counts[change] == 0) {
        return;
    }
    struct alert_view view = notification_section(n, change, MESSAGE_ALERTS_SHOWN, arena);
    buf_printf(out, "%s*%s (%zu)*\n", out->len > 0 ? "\n" : "", names[change], n->counts[change]);
    size_t shown = 0;
    while (shown < view.count && out->len < TEXT_BYTES_SOFT_MAX) {
        put_alert(n, view.items[shown++], has_headlines, arena, out);
    }
    if (n->counts[change] > shown) {
        buf_printf(out, "… and %zu more\n", n->counts[change] - shown);
    }
}

static struct str details(const struct notification *n, bool has_headlines, struct arena *arena) {
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        put_section(n, (enum alert_change)i, has_headlines, arena, &out);
    }
    if (n->note.len > 0) {
        buf_cstr(&out, "\n");
        put_text(&out, one_line(n->note, DESCRIPTION_CHARS_MAX, arena));
    }
    struct str text = arena_str(arena, str_trim(buf_as_str(&out)));
    buf_finish(&out);
    return text;
}

static struct str escaped(struct str text, struct arena *arena) {
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    put_text(&out, text);
    struct str copy = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return copy;
}

/* ---- the message ---- */

struct slack_message {
    const struct render *render;
    const struct slack_config *config;
    struct json_writer json;
};

/* A templated field, or `fallback` when it is not configured; left out when empty. */
static bool put_field(struct slack_message *message,
                      const char *key,
                      const struct template_text *text,
                      struct str fallback,
                      struct err *err) {
    struct str value = fallback;
    if (!message->render->is_default && text->text != NULL &&
        !render_template(message->render, text, false, &value, err)) {
        return err_wrap(err, "%s", key);
    }
    if (value.len > 0) {
        json_key(&message->json, key);
        json_str(&message->json, value);
    }
    return true;
}

/* Where the message comes from is configured; it holds even when templates fail. */
static bool put_address(struct slack_message *message,
                        const char *key,
                        const struct template_text *text,
                        struct err *err) {
    struct str value = STR("");
    bool is_template = text->name != NULL;
    if (message->render->is_default && is_template) {
        return true;
    }
    if (!render_template(message->render, text, false, &value, err)) {
        return err_wrap(err, "%s", key);
    }
    if (value.len > 0) {
        json_key(&message->json, key);
        json_str(&message->json, value);
    }
    return true;
}

static bool put_custom_fields(struct slack_message *message, struct err *err) {
    const struct slack_config *config = message->config;
    if (config->field_count == 0 || message->render->is_default) {
        return true;
    }
    json_key(&message->json, "fields");
    json_array(&message->json);
    for (size_t i = 0; i < config->field_count; i++) {
        const struct slack_field *field = &config->fields[i];
        json_object(&message->json);
        if (!put_field(message, "title", &field->title, STR(""), err) ||
            !put_field(message, "value", &field->value, STR(""), err)) {
            return false;
        }
        json_key(&message->json, "short");
        json_bool(&message->json,
                  field->is_short >= 0 ? field->is_short != 0 : config->short_fields);
        json_object_end(&message->json);
    }
    json_array_end(&message->json);
    return true;
}

static bool put_confirm(struct slack_message *message,
                        const struct slack_confirm *confirm,
                        struct err *err) {
    if (confirm->text.text == NULL) {
        return true;
    }
    json_key(&message->json, "confirm");
    json_object(&message->json);
    bool is_ok = put_field(message, "title", &confirm->title, STR(""), err) &&
                 put_field(message, "text", &confirm->text, STR(""), err) &&
                 put_field(message, "ok_text", &confirm->ok_text, STR(""), err) &&
                 put_field(message, "dismiss_text", &confirm->dismiss_text, STR(""), err);
    json_object_end(&message->json);
    return is_ok;
}

static bool put_actions(struct slack_message *message, struct err *err) {
    const struct slack_config *config = message->config;
    if (config->action_count == 0 || message->render->is_default) {
        return true;
    }
    json_key(&message->json, "actions");
    json_array(&message->json);
    for (size_t i = 0; i < config->action_count; i++) {
        const struct slack_action *action = &config->actions[i];
        json_object(&message->json);
        if (!put_field(message, "type", &action->type, STR(""), err) ||
            !put_field(message, "text", &action->text, STR(""), err) ||
            !put_field(message, "url", &action->url, STR(""), err) ||
            !put_field(message, "style", &action->style, STR(""), err) ||
            !put_field(message, "name", &action->name, STR(""), err) ||
            !put_field(message, "value", &action->value, STR(""), err) ||
            !put_confirm(message, &action->confirm, err)) {
            return false;
        }
        json_object_end(&message->json);
    }
    json_array_end(&message->json);
    return true;
}

static void put_mrkdwn_in(struct slack_message *message) {
    static const char *const usual[] = { "fallback", "pretext", "text" };
    const struct slack_config *config = message->config;
    json_key(&message->json, "mrkdwn_in");
    json_array(&message->json);
    for (size_t i = 0; i < config->mrkdwn_in_count; i++) {
        json_cstr(&message->json, config->mrkdwn_in[i]);
    }
    for (size_t i = 0; config->mrkdwn_in_count == 0 && i < ARRAY_LEN(usual); i++) {
        json_cstr(&message->json, usual[i]);
    }
    json_array_end(&message->json);
}

/* "Error rate of api above 5 %" when all alerts share it, else the number of alerts. */
static struct str attachment_title(const struct notification *n, struct arena *arena) {
    struct str summary = str_trim(labels_get(n->common_annotations, STR("summary")));
    if (n->alert_count == 1) {
        summary = alert_headline(&n->alerts[0], arena);
    }
    if (summary.len == 0 || n->digest_update_count > 0) {
        size_t count = notification_firing_count(n) + n->counts[CHANGE_RESOLVED];
        return arena_printf(arena, "%zu %s", count, count == 1 ? "alert" : "alerts");
    }
    return escaped(one_line(summary, TITLE_CHARS_MAX, arena), arena);
}

static struct str title_link(const struct notification *n) {
    struct str url = n->alert_count == 1 ? safe_url(n->alerts[0].generator_url) : STR("");
    return url.len > 0 ? url : safe_url(n->external_url);
}

static bool put_attachment(struct slack_message *message, struct str title, struct err *err) {
    const struct notification *n = message->render->n;
    const struct slack_config *config = message->config;
    struct arena *arena = message->render->arena;
    struct str footer = arena_printf(arena, "tocsin %s", n->key);
    /* the headline of a single alert is the attachment's title, unless that is the user's */
    bool has_headlines =
        n->alert_count > 1 || (config->title.text != NULL && !message->render->is_default);
    json_object(&message->json);
    bool is_ok =
        put_field(message, "color", &config->color, str_from(notification_color(n)), err) &&
        put_field(message, "fallback", &config->fallback, escaped(title, arena), err) &&
        put_field(message, "pretext", &config->pretext, STR(""), err) &&
        put_field(message, "title", &config->title, attachment_title(n, arena), err) &&
        put_field(message, "title_link", &config->title_link, title_link(n), err) &&
        put_field(message, "text", &config->text, details(n, has_headlines, arena), err) &&
        put_field(message, "callback_id", &config->callback_id, STR(""), err) &&
        put_field(message, "image_url", &config->image_url, STR(""), err) &&
        put_field(message, "thumb_url", &config->thumb_url, STR(""), err) &&
        put_field(message, "footer", &config->footer, footer, err) &&
        put_custom_fields(message, err) && put_actions(message, err);
    put_mrkdwn_in(message);
    json_key(&message->json, "ts");
    json_i64(&message->json, n->now_ms / 1000);
    json_object_end(&message->json);
    return is_ok;
}

/* With a title, text or pretext of the user's own the attachment speaks for itself. */
static struct str default_line(const struct slack_message *message, struct str title) {
    const struct slack_config *config = message->config;
    bool is_custom = config->title.text != NULL || config->text.text != NULL ||
                     config->pretext.text != NULL || config->field_count > 0;
    if (is_custom && !message->render->is_default) {
        return STR("");
    }
    struct str text = escaped(title, message->render->arena);
    return arena_printf(message->render->arena, "*%.*s*", STR_FMT(text));
}

bool render_slack(const struct render *render, struct buf *out, struct err *err) {
    struct slack_message message = {
        .render = render,
        .config = &render->integration->slack,
    };
    const struct slack_config *config = message.config;
    struct str title = notification_title(render->n, render->arena);
    json_init(&message.json, out);
    json_object(&message.json);
    bool is_ok =
        put_address(&message, "channel", &config->channel, err) &&
        put_address(&message, "username", &config->username, err) &&
        put_address(&message, "icon_emoji", &config->icon_emoji, err) &&
        put_address(&message, "icon_url", &config->icon_url, err) &&
        put_field(&message, "text", &config->message_text, default_line(&message, title), err);
    if (config->link_names) {
        json_key(&message.json, "link_names");
        json_bool(&message.json, true);
    }
    json_key(&message.json, "attachments");
    json_array(&message.json);
    is_ok = is_ok && put_attachment(&message, title, err);
    json_array_end(&message.json);
    json_object_end(&message.json);
    return is_ok;
}
