/* What a notification says, before any channel's way of saying it. */
#include "notify/message.h"

#include <stdlib.h>

enum {
    TITLE_CHARS_MAX = 150,
    HEADLINE_CHARS_MAX = 300,
    TITLE_LABELS_MAX = 4,
    TEXT_BYTES_MAX = 64 * 1024,
    URL_BYTES_MAX = 2000,
};

/* ---- summary ---- */

static struct labels intersect(struct labels a, struct labels b, struct arena *arena) {
    struct labels both = { .items = arena_calloc(arena, a.count, sizeof(both.items[0])) };
    for (size_t i = 0; i < a.count; i++) {
        for (size_t k = 0; k < b.count; k++) {
            if (str_eq(a.items[i].name, b.items[k].name) &&
                str_eq(a.items[i].value, b.items[k].value)) {
                both.items[both.count++] = a.items[i];
                break;
            }
        }
    }
    return both;
}

void notification_summarize(struct notification *n, struct arena *arena) {
    for (size_t i = 0; i < CHANGE_COUNT; i++) {
        n->counts[i] = 0;
    }
    for (size_t i = 0; i < n->alert_count; i++) {
        const struct message_alert *alert = &n->alerts[i];
        n->counts[alert->change]++;
        bool is_narrowing = i == 0 || n->common_labels.count + n->common_annotations.count > 0;
        if (i == 0) {
            n->common_labels = alert->labels;
            n->common_annotations = alert->annotations;
        } else if (is_narrowing) {
            n->common_labels = intersect(n->common_labels, alert->labels, arena);
            n->common_annotations = intersect(n->common_annotations, alert->annotations, arena);
        }
    }
}

enum severity severity_of(struct labels labels) {
    static const struct {
        const char *word;
        enum severity severity;
    } words[] = {
        { "critical", SEVERITY_CRITICAL }, { "page", SEVERITY_CRITICAL },
        { "fatal", SEVERITY_CRITICAL },    { "emergency", SEVERITY_CRITICAL },
        { "error", SEVERITY_CRITICAL },    { "high", SEVERITY_CRITICAL },
        { "warning", SEVERITY_WARNING },   { "warn", SEVERITY_WARNING },
        { "ticket", SEVERITY_WARNING },    { "medium", SEVERITY_WARNING },
        { "info", SEVERITY_INFO },         { "informational", SEVERITY_INFO },
        { "low", SEVERITY_INFO },          { "none", SEVERITY_INFO },
    };
    struct str value = labels_get(labels, STR("severity"));
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_eq_nocase(value, str_from(words[i].word))) {
            return words[i].severity;
        }
    }
    return SEVERITY_NONE;
}

enum severity notification_severity(const struct notification *n) {
    if (notification_firing_count(n) == 0) {
        return SEVERITY_COUNT;
    }
    enum severity worst = SEVERITY_NONE;
    for (size_t i = 0; i < n->alert_count; i++) {
        enum severity severity = severity_of(n->alerts[i].labels);
        if (n->alerts[i].change != CHANGE_RESOLVED && severity > worst) {
            worst = severity;
        }
    }
    return worst;
}

const char *notification_color(const struct notification *n) {
    switch (notification_severity(n)) {
    case SEVERITY_CRITICAL: return "#d32f2f";
    case SEVERITY_WARNING: return "#ffa000";
    case SEVERITY_INFO: return "#1976d2";
    case SEVERITY_NONE: return "#ef6c00"; /* firing, of unstated weight */
    case SEVERITY_COUNT: break;
    }
    return "#2e7d32";
}

/* ---- sections ---- */

static int cmp_view(const void *a, const void *b) {
    const struct message_alert *x = *(const struct message_alert *const *)a;
    const struct message_alert *y = *(const struct message_alert *const *)b;
    int order = (int)severity_of(y->labels) - (int)severity_of(x->labels);
    if (order == 0 && x->starts_ms != y->starts_ms) {
        order = x->starts_ms < y->starts_ms ? -1 : 1;
    }
    return order != 0 ? order : labels_cmp(x->labels, y->labels);
}

struct alert_view notification_section(const struct notification *n,
                                       enum alert_change change,
                                       size_t max,
                                       struct arena *arena) {
    struct alert_view view = { .items =
                                   arena_calloc(arena, n->alert_count, sizeof(view.items[0])) };
    for (size_t i = 0; i < n->alert_count; i++) {
        if (n->alerts[i].change == change) {
            view.items[view.count++] = &n->alerts[i];
        }
    }
    qsort(view.items, view.count, sizeof(view.items[0]), cmp_view);
    view.count = view.count > max ? max : view.count;
    view.omitted = n->counts[change] - view.count;
    return view;
}

/* ---- words about one alert ---- */

struct str annotation_or(const struct message_alert *alert, const char *name, struct str fallback) {
    struct str value = str_trim(labels_get(alert->annotations, str_from(name)));
    return value.len > 0 ? value : fallback;
}

static struct str labels_text(struct labels labels, size_t max, struct arena *arena) {
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    for (size_t i = 0; i < labels.count && i < max; i++) {
        buf_printf(&out, "%s%.*s=%.*s", i == 0 ? "" : ", ", STR_FMT(labels.items[i].name),
                   STR_FMT(labels.items[i].value));
    }
    if (labels.count > max) {
        buf_cstr(&out, ", …");
    }
    struct str copy = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return copy;
}

struct str alert_headline(const struct message_alert *alert, struct arena *arena) {
    struct str name = labels_get(alert->labels, STR("alertname"));
    struct str text = annotation_or(alert, "summary", annotation_or(alert, "message", name));
    if (text.len == 0) {
        text = labels_text(alert->labels, TITLE_LABELS_MAX, arena);
    }
    return one_line(text, HEADLINE_CHARS_MAX, arena);
}

static bool has_label(struct labels labels, struct label label) {
    return str_eq(labels_get(labels, label.name), label.value);
}

struct labels alert_own_labels(const struct notification *n,
                               const struct message_alert *alert,
                               struct arena *arena) {
    struct labels own = { .items = arena_calloc(arena, alert->labels.count, sizeof(own.items[0])) };
    for (size_t i = 0; i < alert->labels.count; i++) {
        struct label label = alert->labels.items[i];
        if (n->alert_count == 1 ? !str_eq(label.name, STR("alertname"))
                                : !has_label(n->common_labels, label)) {
            own.items[own.count++] = label;
        }
    }
    return own;
}

struct str safe_url(struct str url) {
    bool is_ok = url.len <= URL_BYTES_MAX &&
                 (str_starts_with(url, STR("http://")) || str_starts_with(url, STR("https://")));
    for (size_t i = 0; is_ok && i < url.len; i++) {
        unsigned char c = (unsigned char)url.ptr[i];
        is_ok = c > ' ' && c < 0x7f && strchr("<>\"`\\^{|}", c) == NULL;
    }
    return is_ok ? url : STR("");
}

/* ---- title ---- */

static void put_status(const struct notification *n, struct buf *out) {
    size_t firing = notification_firing_count(n);
    size_t resolved = n->counts[CHANGE_RESOLVED];
    if (n->reason == REASON_TEST) {
        buf_cstr(out, "[TEST] ");
    }
    if (firing > 0 && resolved > 0) {
        buf_printf(out, "[FIRING:%zu, RESOLVED:%zu] ", firing, resolved);
    } else if (firing > 0) {
        buf_printf(out, "[FIRING:%zu] ", firing);
    } else if (resolved > 1) {
        buf_printf(out, "[RESOLVED:%zu] ", resolved);
    } else {
        buf_cstr(out, "[RESOLVED] ");
    }
}

static struct str common_or_group(const struct notification *n, struct str name) {
    struct str value = labels_get(n->group_labels, name);
    return value.len > 0 ? value : labels_get(n->common_labels, name);
}

/* The group's labels but its alertname, and what else is common and says where. */
static struct labels title_labels(const struct notification *n, struct arena *arena) {
    static const char *const telling[] = { "severity", "job", "instance" };
    size_t max = n->group_labels.count + ARRAY_LEN(telling);
    struct labels shown = { .items = arena_calloc(arena, max, sizeof(shown.items[0])) };
    for (size_t i = 0; i < n->group_labels.count; i++) {
        if (!str_eq(n->group_labels.items[i].name, STR("alertname"))) {
            shown.items[shown.count++] = n->group_labels.items[i];
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(telling); i++) {
        struct label label = { .name = str_from(telling[i]) };
        label.value = labels_get(n->common_labels, label.name);
        if (label.value.len > 0 && labels_get(n->group_labels, label.name).len == 0) {
            shown.items[shown.count++] = label;
        }
    }
    return shown;
}

struct str notification_title(const struct notification *n, struct arena *arena) {
    struct buf out;
    buf_init(&out, TEXT_BYTES_MAX);
    if (n->digest_update_count > 0) {
        buf_printf(&out, "[DIGEST] %zu updates of %zu %s: %zu firing, %zu resolved",
                   n->digest_update_count, n->digest_group_count,
                   n->digest_group_count == 1 ? "group" : "groups", notification_firing_count(n),
                   n->counts[CHANGE_RESOLVED]);
    } else {
        put_status(n, &out);
        struct str name = common_or_group(n, STR("alertname"));
        struct labels shown = title_labels(n, arena);
        if (name.len > 0) {
            buf_str(&out, name);
        } else {
            buf_printf(&out, "%zu %s", n->alert_count, n->alert_count == 1 ? "alert" : "alerts");
        }
        if (shown.count > 0) {
            struct str text = labels_text(shown, TITLE_LABELS_MAX, arena);
            buf_printf(&out, " (%.*s)", STR_FMT(text));
        }
    }
    struct str title = one_line(buf_as_str(&out), TITLE_CHARS_MAX, arena);
    buf_finish(&out);
    return title;
}
