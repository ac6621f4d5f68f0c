/*
 * The plain text of a notification: the inbox, and mail's text part.
 *
 *   NEW (1)
 *     * Error rate of api above 5 %
 *       value 0.0734 at the last evaluation, firing for 2m since 2026-01-02 15:04:05 UTC
 *       More than 5 % of requests failed for 5 minutes.
 *       instance=a:8000, severity=critical
 *       Graph: https://…
 *       Runbook: https://…
 */
#include <assert.h>

#include "notify/message.h"

enum {
    DESCRIPTION_CHARS_MAX = 1000,
    DESCRIPTION_LINES_MAX = 12,
    LABEL_CHARS_MAX = 200,
};

static void put_state(const struct notification *n,
                      const struct message_alert *alert,
                      struct buf *out) {
    if (alert->change == CHANGE_RESOLVED) {
        buf_cstr(out, "    resolved after ");
        put_duration(out, alert->ends_ms - alert->starts_ms);
        buf_cstr(out, ", at ");
        put_time(out, alert->ends_ms);
        buf_cstr(out, "; last value ");
        put_value(out, alert->value);
    } else {
        buf_cstr(out, "    value ");
        put_value(out, alert->value);
        buf_cstr(out, " at the last evaluation, firing for ");
        put_duration(out, n->now_ms - alert->starts_ms);
        buf_cstr(out, " since ");
        put_time(out, alert->starts_ms);
    }
    buf_putc(out, '\n');
}

/* Continuation lines get the indentation of the first. */
static void put_indented(struct str text, struct buf *out) {
    buf_cstr(out, "    ");
    for (size_t i = 0; i < text.len; i++) {
        buf_putc(out, text.ptr[i]);
        if (text.ptr[i] == '\n') {
            buf_cstr(out, "    ");
        }
    }
    buf_putc(out, '\n');
}

static void put_link(const char *name, struct str url, struct buf *out) {
    struct str safe = safe_url(url);
    if (safe.len > 0) {
        buf_printf(out, "    %s: %.*s\n", name, STR_FMT(safe));
    }
}

static void put_labels(struct labels labels, struct arena *arena, struct buf *out) {
    if (labels.count == 0) {
        return;
    }
    buf_cstr(out, "    ");
    for (size_t i = 0; i < labels.count; i++) {
        struct str value = one_line(labels.items[i].value, LABEL_CHARS_MAX, arena);
        struct str name = one_line(labels.items[i].name, LABEL_CHARS_MAX, arena);
        buf_printf(out, "%s%.*s=%.*s", i == 0 ? "" : ", ", STR_FMT(name), STR_FMT(value));
    }
    buf_putc(out, '\n');
}

static void put_alert(const struct notification *n,
                      const struct message_alert *alert,
                      struct arena *arena,
                      struct buf *out) {
    struct str headline = alert_headline(alert, arena);
    buf_printf(out, "  * %.*s\n", STR_FMT(headline));
    put_state(n, alert, out);
    struct str description = annotation_or(alert, "description", STR(""));
    if (description.len > 0) {
        put_indented(few_lines(description, DESCRIPTION_CHARS_MAX, DESCRIPTION_LINES_MAX, arena),
                     out);
    }
    put_labels(alert_own_labels(n, alert, arena), arena, out);
    put_link("Graph", alert->generator_url, out);
    put_link("Runbook", annotation_or(alert, "runbook_url", STR("")), out);
    put_link("Dashboard", annotation_or(alert, "dashboard_url", STR("")), out);
}

static void put_section(const struct notification *n,
                        enum alert_change change,
                        struct arena *arena,
                        struct buf *out) {
    static const char *const names[] = { "NEW", "STILL FIRING", "RESOLVED" };
    static_assert(ARRAY_LEN(names) == CHANGE_COUNT, "one name per change");
    if (n->counts[change] == 0) {
        return;
    }
    struct alert_view view = notification_section(n, change, MESSAGE_ALERTS_SHOWN, arena);
    buf_printf(out, "\n%s (%zu)\n", names[change], n->counts[change]);
    for (size_t i = 0; i < view.count; i++) {
        put_alert(n, view.items[i], arena, out);
    }
    if (view.omitted > 0) {
        buf_printf(out, "  … and %zu more\n", view.omitted);
    }
}

void render_text(const struct notification *n, struct arena *arena, struct buf *out) {
    struct str title = notification_title(n, arena);
    buf_printf(out, "%.*s\n", STR_FMT(title));
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        put_section(n, (enum alert_change)i, arena, out);
    }
    if (n->alert_count > 1 && n->common_labels.count > 0) {
        buf_cstr(out, "\nCommon labels\n");
        put_labels(n->common_labels, arena, out);
    }
    if (n->note.len > 0) {
        struct str note = one_line(n->note, DESCRIPTION_CHARS_MAX, arena);
        buf_printf(out, "\nNote: %.*s\n", STR_FMT(note));
    }
    struct str url = safe_url(n->external_url);
    if (url.len > 0) {
        buf_printf(out, "\n%.*s\n", STR_FMT(url));
    }
}
