/* Compiling and running the templates of labels and annotations (upstream: template/template.go). */
#include "rules/expand.h"

#include "base/mem.h"
#include "rules/expand_funcs.h"

enum {
    EXPANSION_BYTES_MAX = 1 << 20,
};

/* What upstream puts before every text so that users need not know Go's dot. */
#define VARIABLES                            \
    "{{$labels := .Labels}}"                 \
    "{{$externalLabels := .ExternalLabels}}" \
    "{{$externalURL := .ExternalURL}}"       \
    "{{$value := .Value}}"

bool expand_is_template(struct str text) {
    return str_find(text, STR("{{")) != SIZE_MAX;
}

/* ---- compiling ---- */

static bool take_number(struct str *text, size_t *ret) {
    size_t digits = 0;
    size_t value = 0;
    while (digits < text->len && text->ptr[digits] >= '0' && text->ptr[digits] <= '9' &&
           digits < 9) {
        value = value * 10 + (size_t)(text->ptr[digits] - '0');
        digits++;
    }
    if (digits == 0 || digits == text->len || text->ptr[digits] != ':') {
        return false;
    }
    *text = str_n(text->ptr + digits + 1, text->len - digits - 1);
    *ret = value;
    return true;
}

static size_t line_start(struct str text, size_t line) {
    size_t at = 0;
    for (size_t passed = 1; passed < line && at < text.len; at++) {
        if (text.ptr[at] == '\n') {
            passed++;
        }
    }
    return at;
}

/* "template: NAME:LINE:COL: message" or without COL → offset in `text`, which stands after the
 * variables. Without a column the first action of the line is meant. */
static size_t find_offset(struct str message, const char *name, struct str text) {
    struct str prefix = STR("template: ");
    struct str rest = message;
    size_t line = 0;
    size_t column = 0;
    size_t name_at = str_find(rest, prefix);
    if (name_at == SIZE_MAX) {
        return 0;
    }
    rest = str_n(rest.ptr + name_at + prefix.len, rest.len - name_at - prefix.len);
    struct str name_text = str_from(name);
    if (!str_starts_with(rest, name_text) || rest.len <= name_text.len) {
        return 0;
    }
    rest = str_n(rest.ptr + name_text.len + 1, rest.len - name_text.len - 1);
    if (!take_number(&rest, &line)) {
        return 0;
    }
    size_t start = line_start(text, line);
    struct str tail = str_n(text.ptr + start, text.len - start);
    if (take_number(&rest, &column) && column > 0) {
        size_t shift = line <= 1 ? sizeof(VARIABLES) - 1 : 0;
        size_t at = column - 1 > shift ? column - 1 - shift : 0;
        return at < tail.len ? start + at : text.len;
    }
    size_t action = str_find(tail, STR("{{"));
    return action == SIZE_MAX ? start : start + action;
}

bool expand_compile(const struct rule_set *set,
                    const char *template_name,
                    struct str text,
                    struct tmpl **ret,
                    size_t *ret_offset,
                    struct err *err) {
    *ret_offset = 0;
    struct buf whole;
    buf_init(&whole, sizeof(VARIABLES) + text.len);
    buf_cstr(&whole, VARIABLES);
    buf_str(&whole, text);
    struct tmpl *tmpl = tmpl_create(set->funcs, set->func_count);
    bool ok = tmpl_add(tmpl, template_name, buf_as_str(&whole), err);
    buf_finish(&whole);
    if (!ok) {
        *ret_offset = find_offset(str_from(err->msg), template_name, text);
        tmpl_destroy(tmpl);
        return false;
    }
    *ret = tmpl;
    return true;
}

/* ---- running ---- */

struct tmpl_map expand_labels_map(struct labels labels, struct arena *arena) {
    struct tmpl_map map = {
        .keys = arena_calloc(arena, labels.count, sizeof(struct str)),
        .values = arena_calloc(arena, labels.count, sizeof(struct tmpl_value)),
        .count = labels.count,
        .type_name = "map[string]string",
    };
    for (size_t i = 0; i < labels.count; i++) {
        map.keys[i] = labels.items[i].name;
        map.values[i] = tmpl_string(labels.items[i].value);
    }
    return map;
}

static struct tmpl_value map_value(const struct tmpl_map *map, struct arena *arena) {
    struct tmpl_map *copy = arena_calloc(arena, 1, sizeof(*copy));
    *copy = *map;
    return (struct tmpl_value){ .type = TMPL_MAP, .map = copy };
}

static struct tmpl_value make_dot(const struct expand_input *input, struct arena *arena) {
    static const char *const names[] = { "ExternalLabels", "ExternalURL", "Labels", "Value" };
    struct tmpl_map labels = expand_labels_map(input->labels, arena);
    struct tmpl_map *dot = arena_calloc(arena, 1, sizeof(*dot));
    dot->count = ARRAY_LEN(names);
    dot->type_name = "struct { Labels map[string]string; ExternalLabels map[string]string; "
                     "ExternalURL string; Value interface {} }";
    dot->keys = arena_calloc(arena, dot->count, sizeof(struct str));
    dot->values = arena_calloc(arena, dot->count, sizeof(struct tmpl_value));
    for (size_t i = 0; i < dot->count; i++) {
        dot->keys[i] = str_from(names[i]);
    }
    dot->values[0] = map_value(&input->set->external_map, arena);
    dot->values[1] = tmpl_string(input->set->external_url);
    dot->values[2] = map_value(&labels, arena);
    dot->values[3] = tmpl_float(input->value);
    return (struct tmpl_value){ .type = TMPL_OBJECT, .map = dot };
}

bool expand_text(const struct expand_input *input,
                 const struct rule_text *text,
                 struct arena *arena,
                 struct str *ret,
                 struct err *err) {
    if (text->tmpl == NULL) {
        *ret = text->text;
        return true;
    }
    struct expand_run state = { .input = input, .tmpl = text->tmpl };
    struct tmpl_run run = {
        .name = input->template_name,
        .dot = make_dot(input, arena),
        .ctx = &state,
    };
    struct buf out;
    buf_init(&out, EXPANSION_BYTES_MAX);
    bool ok = tmpl_execute(text->tmpl, &run, arena, &out, err);
    if (ok) {
        *ret = arena_str(arena, buf_as_str(&out));
    } else {
        (void)err_wrap(err, "error executing template %s", input->template_name);
        *ret = arena_printf(arena, "<error expanding template: %s>", err->msg);
    }
    buf_finish(&out);
    return ok;
}
