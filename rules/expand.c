/* Compiling and running the templates of labels and annotations. */
#include "rules/expand.h"

#include <assert.h>

#include "base/mem.h"
#include "rules/expand_funcs.h"

enum {
    EXPANSION_BYTES_MAX = 1 << 16,
};

/* What upstream defines before every text so that users need not know Go's dot. */
static const char *const variable_names[] = { "$externalLabels", "$externalURL", "$labels",
                                              "$value" };

bool rules_expand_is_template(struct str text) {
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

/* "template: NAME:LINE:COL: message", LINE and COL from 1 and in bytes → offset in `text`. */
static size_t find_offset(struct str message, const char *name, struct str text) {
    struct str prefix = STR("template: ");
    struct str name_text = str_from(name);
    size_t line = 0;
    size_t column = 0;
    if (!str_starts_with(message, prefix)) {
        return 0;
    }
    struct str rest = str_n(message.ptr + prefix.len, message.len - prefix.len);
    if (!str_starts_with(rest, name_text) || rest.len <= name_text.len) {
        return 0;
    }
    rest = str_n(rest.ptr + name_text.len + 1, rest.len - name_text.len - 1);
    if (!take_number(&rest, &line) || !take_number(&rest, &column) || column == 0) {
        return 0;
    }
    size_t at = line_start(text, line) + column - 1;
    return at < text.len ? at : text.len;
}

bool rules_expand_compile(const struct rule_set *set,
                          const char *template_name,
                          struct str text,
                          struct tmpl **ret,
                          size_t *ret_offset,
                          struct err *err) {
    *ret_offset = 0;
    struct tmpl *tmpl = tmpl_create(set->funcs, set->func_count);
    tmpl_declare_vars(tmpl, variable_names, ARRAY_LEN(variable_names));
    if (!tmpl_add(tmpl, template_name, text, err)) {
        *ret_offset = find_offset(str_from(err->msg), template_name, text);
        tmpl_destroy(tmpl);
        return false;
    }
    *ret = tmpl;
    return true;
}

/* ---- running ---- */

struct tmpl_map rules_expand_labels_map(struct labels labels, struct arena *arena) {
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

/* The fields of the dot, in the order of their names, which is that of the variables. */
static void make_values(const struct expand_input *input,
                        struct arena *arena,
                        struct tmpl_value *values) {
    struct tmpl_map labels = rules_expand_labels_map(input->labels, arena);
    values[0] = map_value(&input->set->external_map, arena);
    values[1] = tmpl_string(input->set->external_url);
    values[2] = map_value(&labels, arena);
    values[3] = tmpl_float(input->value);
}

static struct tmpl_value make_dot(struct tmpl_value *values, struct arena *arena) {
    static const char *const names[] = { "ExternalLabels", "ExternalURL", "Labels", "Value" };
    static_assert(ARRAY_LEN(names) == ARRAY_LEN(variable_names), "a variable for every field");
    struct tmpl_map *dot = arena_calloc(arena, 1, sizeof(*dot));
    dot->count = ARRAY_LEN(names);
    dot->type_name = "struct { Labels map[string]string; ExternalLabels map[string]string; "
                     "ExternalURL string; Value interface {} }";
    dot->keys = arena_calloc(arena, dot->count, sizeof(struct str));
    dot->values = values;
    for (size_t i = 0; i < dot->count; i++) {
        dot->keys[i] = str_from(names[i]);
    }
    return (struct tmpl_value){ .type = TMPL_OBJECT, .map = dot };
}

bool rules_expand_text(const struct expand_input *input,
                       const struct rule_text *text,
                       struct arena *arena,
                       struct str *ret,
                       struct err *err) {
    if (text->tmpl == NULL) {
        *ret = text->text;
        return true;
    }
    struct expand_run state = { .input = input, .tmpl = text->tmpl };
    struct tmpl_value *values = arena_calloc(arena, ARRAY_LEN(variable_names), sizeof(*values));
    make_values(input, arena, values);
    struct tmpl_run run = {
        .name = input->template_name,
        .dot = make_dot(values, arena),
        .ctx = &state,
        .var_names = variable_names,
        .var_values = values,
        .var_count = ARRAY_LEN(variable_names),
    };
    state.run = &run;
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
