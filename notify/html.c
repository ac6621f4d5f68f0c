/*
 * The HTML part of a mail: tables and inline styles only, as mail clients want it; nothing is
 * loaded from anywhere. Every text from outside passes put_text().
 */
#include <assert.h>

#include "notify/message.h"

enum {
    DESCRIPTION_CHARS_MAX = 1000,
    DESCRIPTION_LINES_MAX = 12,
    LABEL_CHARS_MAX = 200,
};

static void put_text(struct buf *out, struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        switch (text.ptr[i]) {
        case '&': buf_cstr(out, "&amp;"); break;
        case '<': buf_cstr(out, "&lt;"); break;
        case '>': buf_cstr(out, "&gt;"); break;
        case '"': buf_cstr(out, "&quot;"); break;
        case '\'': buf_cstr(out, "&#39;"); break;
        case '\n': buf_cstr(out, "<br>\n"); break;
        default: buf_putc(out, text.ptr[i]); break;
        }
    }
}

static void put_link(struct buf *out, struct str url, const char *name) {
    struct str safe = safe_url(url);
    if (safe.len > 0) {
        buf_cstr(out, "<a href=\"");
        put_text(out, safe);
        buf_printf(out, "\" style=\"color:#1565c0;margin-right:12px\">%s</a>\n", name);
    }
}

static void put_labels(struct buf *out, struct labels labels, struct arena *arena) {
    if (labels.count == 0) {
        return;
    }
    buf_cstr(out, "<div style=\"margin-top:4px\">");
    for (size_t i = 0; i < labels.count; i++) {
        buf_cstr(out, "<span style=\"display:inline-block;background:#eceff1;border-radius:3px;"
                      "padding:1px 6px;margin:2px 4px 2px 0;font-family:monospace;"
                      "font-size:12px\">");
        put_text(out, one_line(labels.items[i].name, LABEL_CHARS_MAX, arena));
        buf_putc(out, '=');
        put_text(out, one_line(labels.items[i].value, LABEL_CHARS_MAX, arena));
        buf_cstr(out, "</span>\n");
    }
    buf_cstr(out, "</div>\n");
}

static void put_state(struct buf *out,
                      const struct notification *n,
                      const struct message_alert *alert) {
    buf_cstr(out, "<div style=\"color:#455a64\">");
    if (alert->change == CHANGE_RESOLVED) {
        buf_cstr(out, "resolved after <b>");
        put_duration(out, alert->ends_ms - alert->starts_ms);
        buf_cstr(out, "</b>, at ");
        put_time(out, alert->ends_ms);
        buf_cstr(out, " &middot; last value <b>");
    } else {
        buf_cstr(out, "firing for <b>");
        put_duration(out, n->now_ms - alert->starts_ms);
        buf_cstr(out, "</b> since ");
        put_time(out, alert->starts_ms);
        buf_cstr(out, " &middot; value at last evaluation <b>");
    }
    put_value(out, alert->value);
    buf_cstr(out, "</b></div>\n");
}

static void put_alert(struct buf *out,
                      const struct notification *n,
                      const struct message_alert *alert,
                      struct arena *arena) {
    buf_cstr(out, "<tr><td style=\"padding:10px 16px;border-top:1px solid #eceff1\">\n"
                  "<div style=\"font-weight:bold;font-size:15px\">");
    put_text(out, alert_headline(alert, arena));
    buf_cstr(out, "</div>\n");
    put_state(out, n, alert);
    struct str description = annotation_or(alert, "description", STR(""));
    if (description.len > 0) {
        buf_cstr(out, "<div style=\"margin-top:4px\">");
        put_text(out, few_lines(description, DESCRIPTION_CHARS_MAX, DESCRIPTION_LINES_MAX, arena));
        buf_cstr(out, "</div>\n");
    }
    put_labels(out, alert_own_labels(n, alert, arena), arena);
    buf_cstr(out, "<div style=\"margin-top:4px\">");
    put_link(out, alert->generator_url, "Graph");
    put_link(out, annotation_or(alert, "runbook_url", STR("")), "Runbook");
    put_link(out, annotation_or(alert, "dashboard_url", STR("")), "Dashboard");
    buf_cstr(out, "</div>\n</td></tr>\n");
}

static void put_section(struct buf *out,
                        const struct notification *n,
                        enum alert_change change,
                        struct arena *arena) {
    static const char *const names[] = { "New", "Still firing", "Resolved" };
    static_assert(ARRAY_LEN(names) == CHANGE_COUNT, "one name per change");
    if (n->counts[change] == 0) {
        return;
    }
    struct alert_view view = notification_section(n, change, MESSAGE_ALERTS_SHOWN, arena);
    buf_printf(out,
               "<tr><td style=\"padding:10px 16px;background:#f5f7f8;font-weight:bold\">"
               "%s (%zu)</td></tr>\n",
               names[change], n->counts[change]);
    for (size_t i = 0; i < view.count; i++) {
        put_alert(out, n, view.items[i], arena);
    }
    if (view.omitted > 0) {
        buf_printf(out, "<tr><td style=\"padding:10px 16px\">… and %zu more</td></tr>\n",
                   view.omitted);
    }
}

static void put_footer(struct buf *out, const struct notification *n, struct arena *arena) {
    buf_cstr(out, "<tr><td style=\"padding:10px 16px;border-top:1px solid #eceff1;"
                  "color:#78909c;font-size:12px\">\n");
    if (n->alert_count > 1 && n->common_labels.count > 0) {
        buf_cstr(out, "Common labels");
        put_labels(out, n->common_labels, arena);
    }
    if (n->note.len > 0) {
        buf_cstr(out, "<div style=\"color:#d32f2f\">");
        put_text(out, one_line(n->note, DESCRIPTION_CHARS_MAX, arena));
        buf_cstr(out, "</div>\n");
    }
    put_link(out, n->external_url, "Open tocsin");
    buf_printf(out, "<div>%s</div>\n</td></tr>\n", n->key);
}

void render_html(const struct notification *n, struct arena *arena, struct buf *out) {
    struct str title = notification_title(n, arena);
    buf_cstr(out, "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>");
    put_text(out, title);
    buf_cstr(out, "</title></head>\n"
                  "<body style=\"margin:0;padding:16px;background:#eceff1;color:#263238;"
                  "font-family:Helvetica,Arial,sans-serif;font-size:14px;line-height:1.4\">\n"
                  "<table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" "
                  "style=\"width:100%;max-width:680px;margin:0 auto;background:#ffffff;"
                  "border-collapse:collapse\">\n");
    buf_printf(out,
               "<tr><td style=\"padding:14px 16px;background:%s;color:#ffffff;font-size:17px;"
               "font-weight:bold\">",
               notification_color(n));
    put_text(out, title);
    buf_cstr(out, "</td></tr>\n");
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        put_section(out, n, (enum alert_change)i, arena);
    }
    put_footer(out, n, arena);
    buf_cstr(out, "</table>\n</body></html>\n");
}
