/*
 * Alertmanager's template language for users' texts: its data (.Status, .Alerts.Firing,
 * .CommonLabels.SortedPairs …), its functions and its default templates. One addition: .Value of an
 * alert.
 */
#include <assert.h>
#include <stdio.h>

#include "base/mem.h"
#include "notify/message.h"
#include "notify/zone.h"

enum {
    OUTPUT_BYTES_MAX = 1024 * 1024,
};

/* ---- default templates, after alertmanager template/default.tmpl (Apache-2.0) ---- */

static const char default_templates[] =
    "{{ define \"__alertmanager\" }}tocsin{{ end }}"
    "{{ define \"__alertmanagerURL\" }}{{ .ExternalURL }}/#/alerts?receiver="
    "{{ .Receiver | urlquery }}{{ end }}"
    "{{ define \"__subject\" }}[{{ .Status | toUpper }}{{ if eq .Status \"firing\" }}:"
    "{{ .Alerts.Firing | len }}{{ end }}] {{ .GroupLabels.SortedPairs.Values | join \" \" }} "
    "{{ if gt (len .CommonLabels) (len .GroupLabels) }}("
    "{{ with .CommonLabels.Remove .GroupLabels.Names }}{{ .Values | join \" \" }}{{ end }})"
    "{{ end }}{{ end }}"
    "{{ define \"__description\" }}{{ end }}"
    "{{ define \"__text_alert_list\" }}{{ range . }}Labels:\n"
    "{{ range .Labels.SortedPairs }} - {{ .Name }} = {{ .Value }}\n{{ end }}Annotations:\n"
    "{{ range .Annotations.SortedPairs }} - {{ .Name }} = {{ .Value }}\n{{ end }}"
    "Source: {{ .GeneratorURL }}\n{{ end }}{{ end }}"
    "{{ define \"__text_alert_list_markdown\" }}{{ range . }}\nLabels:\n"
    "{{ range .Labels.SortedPairs }}  - {{ .Name }} = {{ .Value }}\n{{ end }}\nAnnotations:\n"
    "{{ range .Annotations.SortedPairs }}  - {{ .Name }} = {{ .Value }}\n{{ end }}\n"
    "Source: {{ .GeneratorURL }}\n{{ end }}\n{{ end }}"
    "{{ define \"slack.default.title\" }}{{ template \"__subject\" . }}{{ end }}"
    "{{ define \"slack.default.username\" }}{{ template \"__alertmanager\" . }}{{ end }}"
    "{{ define \"slack.default.fallback\" }}{{ template \"slack.default.title\" . }} | "
    "{{ template \"slack.default.titlelink\" . }}{{ end }}"
    "{{ define \"slack.default.callbackid\" }}{{ end }}"
    "{{ define \"slack.default.pretext\" }}{{ end }}"
    "{{ define \"slack.default.titlelink\" }}{{ template \"__alertmanagerURL\" . }}{{ end }}"
    "{{ define \"slack.default.iconemoji\" }}{{ end }}"
    "{{ define \"slack.default.iconurl\" }}{{ end }}"
    "{{ define \"slack.default.text\" }}{{ end }}"
    "{{ define \"slack.default.footer\" }}{{ end }}"
    "{{ define \"slack.default.color\" }}"
    "{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}{{ end }}"
    "{{ define \"email.default.subject\" }}{{ template \"__subject\" . }}{{ end }}"
    "{{ define \"email.default.html\" }}{{ defaultHtml }}{{ end }}";

/* ---- functions that need the notification; ctx is the struct render ---- */

static bool call_now(void *ctx,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    (void)args;
    (void)arg_count;
    (void)err;
    const struct render *render = ctx;
    *ret = tmpl_time(arena, (struct tmpl_time){ .t_ms = render->n->now_ms });
    return true;
}

static bool call_since(void *ctx,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    (void)arg_count;
    const struct render *render = ctx;
    struct tmpl_time time;
    if (!tmpl_get_time(&args[0], &time)) {
        return tmpl_wrong_type(&args[0], "time.Time", err);
    }
    *ret = tmpl_duration(arena, (render->n->now_ms - time.t_ms) * 1000000);
    return true;
}

static bool call_tz(void *ctx,
                    const struct tmpl_value *args,
                    size_t arg_count,
                    struct arena *arena,
                    struct tmpl_value *ret,
                    struct err *err) {
    (void)ctx;
    (void)arg_count;
    struct tmpl_time time;
    struct zone *zone = NULL;
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    if (!tmpl_get_time(&args[1], &time)) {
        return tmpl_wrong_type(&args[1], "time.Time", err);
    }
    if (!zone_load(args[0].string, &zone, err)) {
        return false;
    }
    struct zone_offset offset = zone_at(zone, time.t_ms);
    time.offset_s = offset.offset_s;
    time.zone = arena_str(arena, str_from(offset.name));
    zone_destroy(zone);
    *ret = tmpl_time(arena, time);
    return true;
}

/* Routes have no labels of their own here. */
static bool call_route_labels(void *ctx,
                              const struct tmpl_value *args,
                              size_t arg_count,
                              struct arena *arena,
                              struct tmpl_value *ret,
                              struct err *err) {
    (void)ctx;
    (void)arg_count;
    (void)arena;
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    *ret = tmpl_string(STR(""));
    return true;
}

static bool call_default_html(void *ctx,
                              const struct tmpl_value *args,
                              size_t arg_count,
                              struct arena *arena,
                              struct tmpl_value *ret,
                              struct err *err) {
    (void)args;
    (void)arg_count;
    (void)err;
    const struct render *render = ctx;
    struct buf html;
    buf_init(&html, OUTPUT_BYTES_MAX);
    render_html(render->n, arena, &html);
    *ret = tmpl_string(arena_str(arena, buf_as_str(&html)));
    ret->is_html = true;
    buf_finish(&html);
    return true;
}

static const struct tmpl_func own_funcs[] = {
    { "now", call_now, 0, 0 },
    { "since", call_since, 1, 1 },
    { "tz", call_tz, 2, 2 },
    { "title", tmpl_call_title_lower, 1, 1 },
    { "routeLabels", call_route_labels, 1, 1 },
    { "defaultHtml", call_default_html, 0, 0 },
};

static bool is_own(const char *name) {
    for (size_t i = 0; i < ARRAY_LEN(own_funcs); i++) {
        if (strcmp(own_funcs[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

struct tmpl *templates_create(struct tmpl_func **ret_funcs) {
    struct tmpl_func *funcs =
        mem_calloc(ARRAY_LEN(own_funcs) + tmpl_common_func_count, sizeof(funcs[0]));
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(own_funcs); i++) {
        funcs[count++] = own_funcs[i];
    }
    for (size_t i = 0; i < tmpl_common_func_count; i++) {
        if (!is_own(tmpl_common_funcs[i].name)) {
            funcs[count++] = tmpl_common_funcs[i];
        }
    }
    struct tmpl *tmpl = tmpl_create(funcs, count);
    struct err err = ERR_INIT;
    if (!tmpl_add(tmpl, "default.tmpl", STR(default_templates), &err)) {
        BUG("default templates: %s", err.msg);
    }
    *ret_funcs = funcs;
    return tmpl;
}

/* ---- data: lists of pairs and strings ---- */

static bool strings_join(const struct tmpl_value *self,
                         const struct tmpl_value *args,
                         size_t arg_count,
                         struct arena *arena,
                         struct tmpl_value *ret,
                         struct err *err) {
    (void)arg_count;
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    struct buf out;
    buf_init(&out, OUTPUT_BYTES_MAX);
    for (size_t i = 0; i < self->list->count; i++) {
        buf_str(&out, i == 0 ? STR("") : args[0].string);
        buf_str(&out, self->list->items[i].string);
    }
    *ret = tmpl_string(arena_str(arena, buf_as_str(&out)));
    buf_finish(&out);
    return true;
}

static const struct tmpl_method strings_methods[] = {
    { "Join", strings_join, 1, 1 },
};

static struct tmpl_value make_list(struct arena *arena,
                                   size_t count,
                                   const struct tmpl_method *methods,
                                   size_t method_count,
                                   const char *type_name) {
    struct tmpl_list *list = arena_calloc(arena, 1, sizeof(*list));
    list->items = arena_calloc(arena, count, sizeof(list->items[0]));
    list->count = count;
    list->methods = methods;
    list->method_count = method_count;
    list->type_name = type_name;
    return (struct tmpl_value){ .type = TMPL_LIST, .list = list };
}

static struct tmpl_value make_object(struct arena *arena, size_t count, const char *type_name) {
    struct tmpl_map *map = arena_calloc(arena, 1, sizeof(*map));
    map->keys = arena_calloc(arena, count, sizeof(map->keys[0]));
    map->values = arena_calloc(arena, count, sizeof(map->values[0]));
    map->type_name = type_name;
    return (struct tmpl_value){ .type = TMPL_OBJECT, .map = map };
}

static void set_field(struct tmpl_value *object, const char *name, struct tmpl_value value) {
    object->map->keys[object->map->count] = str_from(name);
    object->map->values[object->map->count++] = value;
}

enum {
    PAIR_NAME,
    PAIR_VALUE,
    PAIR_FIELD_COUNT,
};

static struct tmpl_value pairs_column(const struct tmpl_value *pairs,
                                      size_t column,
                                      struct arena *arena) {
    size_t count = pairs->list->count;
    struct tmpl_value strings =
        make_list(arena, count, strings_methods, ARRAY_LEN(strings_methods), "template.Strings");
    for (size_t i = 0; i < count; i++) {
        strings.list->items[i] = pairs->list->items[i].map->values[column];
    }
    return strings;
}

static bool pairs_names(const struct tmpl_value *self,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    (void)args;
    (void)arg_count;
    (void)err;
    *ret = pairs_column(self, PAIR_NAME, arena);
    return true;
}

static bool pairs_values(const struct tmpl_value *self,
                         const struct tmpl_value *args,
                         size_t arg_count,
                         struct arena *arena,
                         struct tmpl_value *ret,
                         struct err *err) {
    (void)args;
    (void)arg_count;
    (void)err;
    *ret = pairs_column(self, PAIR_VALUE, arena);
    return true;
}

static const struct tmpl_method pairs_methods[] = {
    { "Names", pairs_names, 0, 0 },
    { "Values", pairs_values, 0, 0 },
};

/* ---- data: label sets ---- */

/* Alertname first, then by name. */
static struct tmpl_value sorted_pairs(const struct tmpl_map *map, struct arena *arena) {
    struct tmpl_value pairs =
        make_list(arena, map->count, pairs_methods, ARRAY_LEN(pairs_methods), "template.Pairs");
    size_t n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < map->count; i++) {
            if (str_eq(map->keys[i], STR("alertname")) == (pass == 0)) {
                struct tmpl_value pair = make_object(arena, PAIR_FIELD_COUNT, "template.Pair");
                set_field(&pair, "Name", tmpl_string(map->keys[i]));
                set_field(&pair, "Value", map->values[i]);
                pairs.list->items[n++] = pair;
            }
        }
    }
    assert(n == map->count);
    return pairs;
}

static bool kv_sorted_pairs(const struct tmpl_value *self,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    (void)args;
    (void)arg_count;
    (void)err;
    *ret = sorted_pairs(self->map, arena);
    return true;
}

static bool kv_names(const struct tmpl_value *self,
                     const struct tmpl_value *args,
                     size_t arg_count,
                     struct arena *arena,
                     struct tmpl_value *ret,
                     struct err *err) {
    struct tmpl_value pairs = sorted_pairs(self->map, arena);
    return pairs_names(&pairs, args, arg_count, arena, ret, err);
}

static bool kv_values(const struct tmpl_value *self,
                      const struct tmpl_value *args,
                      size_t arg_count,
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err) {
    struct tmpl_value pairs = sorted_pairs(self->map, arena);
    return pairs_values(&pairs, args, arg_count, arena, ret, err);
}

static void kv_print(const struct tmpl_map *map, struct buf *out);

static bool kv_remove(const struct tmpl_value *self,
                      const struct tmpl_value *args,
                      size_t arg_count,
                      struct arena *arena,
                      struct tmpl_value *ret,
                      struct err *err) {
    (void)arg_count;
    if (args[0].type != TMPL_LIST) {
        return tmpl_wrong_type(&args[0], "[]string", err);
    }
    struct tmpl_map *rest = arena_calloc(arena, 1, sizeof(*rest));
    *rest = *self->map;
    rest->keys = arena_calloc(arena, self->map->count, sizeof(rest->keys[0]));
    rest->values = arena_calloc(arena, self->map->count, sizeof(rest->values[0]));
    rest->count = 0;
    for (size_t i = 0; i < self->map->count; i++) {
        bool is_removed = false;
        for (size_t k = 0; k < args[0].list->count; k++) {
            const struct tmpl_value *name = &args[0].list->items[k];
            is_removed |= name->type == TMPL_STRING && str_eq(name->string, self->map->keys[i]);
        }
        if (!is_removed) {
            rest->keys[rest->count] = self->map->keys[i];
            rest->values[rest->count++] = self->map->values[i];
        }
    }
    *ret = (struct tmpl_value){ .type = TMPL_MAP, .map = rest };
    return true;
}

static const struct tmpl_method kv_methods[] = {
    { "SortedPairs", kv_sorted_pairs, 0, 0 },
    { "Names", kv_names, 0, 0 },
    { "Values", kv_values, 0, 0 },
    { "Remove", kv_remove, 1, 1 },
};

/* name=value, name=value */
static void kv_print(const struct tmpl_map *map, struct buf *out) {
    bool is_first = true;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < map->count; i++) {
            if (str_eq(map->keys[i], STR("alertname")) == (pass == 0)) {
                buf_cstr(out, is_first ? "" : ", ");
                buf_str(out, map->keys[i]);
                buf_putc(out, '=');
                buf_str(out, map->values[i].string);
                is_first = false;
            }
        }
    }
}

/* How values from outside are defused where they are not rendered by us. */
enum escaping {
    ESCAPE_NONE,
    ESCAPE_SLACK,          /* labels: & < > */
    ESCAPE_SLACK_MENTIONS, /* annotations: only <!channel> and the like; links are the author's */
};

static struct str escape(struct str text, enum escaping escaping, struct arena *arena) {
    bool is_harmless = escaping == ESCAPE_NONE;
    if (!is_harmless && str_find(text, STR("<")) == SIZE_MAX &&
        (escaping == ESCAPE_SLACK_MENTIONS ||
         (str_find(text, STR("&")) == SIZE_MAX && str_find(text, STR(">")) == SIZE_MAX))) {
        is_harmless = true;
    }
    if (is_harmless) {
        return text;
    }
    struct buf out;
    buf_init(&out, OUTPUT_BYTES_MAX);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        char next = i + 1 < text.len ? text.ptr[i + 1] : '\0';
        bool is_all = escaping == ESCAPE_SLACK;
        if (c == '<' && (is_all || next == '!' || next == '@' || next == '#')) {
            buf_cstr(&out, "&lt;");
        } else if (c == '&' && is_all) {
            buf_cstr(&out, "&amp;");
        } else if (c == '>' && is_all) {
            buf_cstr(&out, "&gt;");
        } else {
            buf_putc(&out, c);
        }
    }
    struct str copy = arena_str(arena, buf_as_str(&out));
    buf_finish(&out);
    return copy;
}

static struct tmpl_value make_kv(struct arena *arena,
                                 struct labels labels,
                                 enum escaping escaping) {
    struct tmpl_map *map = arena_calloc(arena, 1, sizeof(*map));
    map->keys = arena_calloc(arena, labels.count, sizeof(map->keys[0]));
    map->values = arena_calloc(arena, labels.count, sizeof(map->values[0]));
    map->count = labels.count;
    map->type_name = "template.KV";
    map->methods = kv_methods;
    map->method_count = ARRAY_LEN(kv_methods);
    map->print = kv_print;
    for (size_t i = 0; i < labels.count; i++) {
        map->keys[i] = labels.items[i].name;
        map->values[i] = tmpl_string(escape(labels.items[i].value, escaping, arena));
    }
    return (struct tmpl_value){ .type = TMPL_MAP, .map = map };
}

/* ---- data: alerts ---- */

enum {
    ALERT_STATUS, /* its place among the fields */
    ALERT_FIELD_COUNT = 8,
    DATA_FIELD_COUNT = 9,
};

static struct tmpl_value time_or_zero(struct arena *arena, int64_t t_ms) {
    return tmpl_time(arena, (struct tmpl_time){ .t_ms = t_ms == 0 ? TMPL_TIME_ZERO_MS : t_ms });
}

static struct tmpl_value make_alert(struct arena *arena,
                                    const struct message_alert *alert,
                                    bool is_slack) {
    struct tmpl_value object = make_object(arena, ALERT_FIELD_COUNT, "template.Alert");
    char fingerprint[17];
    (void)snprintf(fingerprint, sizeof(fingerprint), "%016llx",
                   (unsigned long long)labels_fingerprint(alert->labels));
    set_field(&object, "Status",
              tmpl_string(alert->change == CHANGE_RESOLVED ? STR("resolved") : STR("firing")));
    set_field(&object, "Labels",
              make_kv(arena, alert->labels, is_slack ? ESCAPE_SLACK : ESCAPE_NONE));
    set_field(&object, "Annotations",
              make_kv(arena, alert->annotations, is_slack ? ESCAPE_SLACK_MENTIONS : ESCAPE_NONE));
    set_field(&object, "StartsAt", time_or_zero(arena, alert->starts_ms));
    set_field(&object, "EndsAt", time_or_zero(arena, alert->ends_ms));
    set_field(&object, "GeneratorURL", tmpl_string(alert->generator_url));
    set_field(&object, "Fingerprint", tmpl_string(arena_str(arena, str_from(fingerprint))));
    set_field(&object, "Value", tmpl_float(alert->value));
    return object;
}

static struct tmpl_value alerts_with(const struct tmpl_value *alerts,
                                     struct str status,
                                     struct arena *arena) {
    struct tmpl_value list = make_list(arena, alerts->list->count, NULL, 0, "[]template.Alert");
    list.list->count = 0;
    for (size_t i = 0; i < alerts->list->count; i++) {
        const struct tmpl_value *alert = &alerts->list->items[i];
        if (str_eq(alert->map->values[ALERT_STATUS].string, status)) {
            list.list->items[list.list->count++] = *alert;
        }
    }
    return list;
}

static bool alerts_firing(const struct tmpl_value *self,
                          const struct tmpl_value *args,
                          size_t arg_count,
                          struct arena *arena,
                          struct tmpl_value *ret,
                          struct err *err) {
    (void)args;
    (void)arg_count;
    (void)err;
    *ret = alerts_with(self, STR("firing"), arena);
    return true;
}

static bool alerts_resolved(const struct tmpl_value *self,
                            const struct tmpl_value *args,
                            size_t arg_count,
                            struct arena *arena,
                            struct tmpl_value *ret,
                            struct err *err) {
    (void)args;
    (void)arg_count;
    (void)err;
    *ret = alerts_with(self, STR("resolved"), arena);
    return true;
}

static const struct tmpl_method alerts_methods[] = {
    { "Firing", alerts_firing, 0, 0 },
    { "Resolved", alerts_resolved, 0, 0 },
};

static struct tmpl_value make_data(const struct render *render) {
    const struct notification *n = render->n;
    struct arena *arena = render->arena;
    bool is_slack = render->integration->kind == NOTIFY_SLACK;
    enum escaping of_labels = is_slack ? ESCAPE_SLACK : ESCAPE_NONE;
    enum escaping of_annotations = is_slack ? ESCAPE_SLACK_MENTIONS : ESCAPE_NONE;
    struct tmpl_value alerts = make_list(arena, n->alert_count, alerts_methods,
                                         ARRAY_LEN(alerts_methods), "template.Alerts");
    for (size_t i = 0; i < n->alert_count; i++) {
        alerts.list->items[i] = make_alert(arena, &n->alerts[i], is_slack);
    }
    struct tmpl_value data = make_object(arena, DATA_FIELD_COUNT, "*template.Data");
    set_field(&data, "Receiver", tmpl_string(n->receiver));
    set_field(&data, "Status", tmpl_string(str_from(notification_status(n))));
    set_field(&data, "Alerts", alerts);
    set_field(&data, "NotificationReason",
              tmpl_string(str_from(notify_reason_to_string(n->reason))));
    set_field(&data, "GroupLabels", make_kv(arena, n->group_labels, of_labels));
    set_field(&data, "CommonLabels", make_kv(arena, n->common_labels, of_labels));
    set_field(&data, "CommonAnnotations", make_kv(arena, n->common_annotations, of_annotations));
    set_field(&data, "RouteLabels", make_kv(arena, (struct labels){ 0 }, of_labels));
    set_field(&data, "ExternalURL", tmpl_string(n->external_url));
    assert(data.map->count == DATA_FIELD_COUNT);
    return data;
}

/* ---- executing ---- */

bool render_template(const struct render *render,
                     const struct template_text *text,
                     bool is_html,
                     struct str *ret,
                     struct err *err) {
    if (text->name == NULL) {
        *ret = str_from(text->text == NULL ? "" : text->text);
        return true;
    }
    if (!render->data->is_built) {
        render->data->value = make_data(render);
        render->data->is_built = true;
    }

    union {
        const struct render *in;
        void *out;
    } ctx = { .in = render }; /* the functions only read it */
    struct tmpl_run run = {
        .name = text->name,
        .dot = render->data->value,
        .ctx = ctx.out,
        .is_html = is_html,
    };
    struct buf out;
    buf_init(&out, OUTPUT_BYTES_MAX);
    bool is_ok = tmpl_execute(render->config->tmpl, &run, render->arena, &out, err);
    if (is_ok) {
        *ret = arena_str(render->arena, buf_as_str(&out));
    }
    buf_finish(&out);
    return is_ok;
}
