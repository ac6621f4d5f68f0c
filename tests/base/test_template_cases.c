/*
 * Goal: templates do what Go's do, down to the error messages. Method: template_cases.jsonl holds
 * templates and what Go 1.26's text/template (html/template for those marked html) made of them
 * with the functions of Prometheus and Alertmanager and the data built below; every one must come
 * out the same here. Go gives no columns for syntax errors, so ours are cut before comparing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/template.h"
#include "tests/unit.h"

enum {
    LINE_BYTES_MAX = 1 << 16,
};

/* ---- data ---- */

static struct tmpl_value make_list(struct arena *arena,
                                   const struct tmpl_value *items,
                                   size_t count,
                                   const char *type_name) {
    struct tmpl_list *list = arena_calloc(arena, 1, sizeof(*list));
    list->items = arena_calloc(arena, count, sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        list->items[i] = items[i];
    }
    list->count = count;
    list->type_name = type_name;
    return (struct tmpl_value){ .type = TMPL_LIST, .list = list };
}

struct field {
    const char *name;
    struct tmpl_value value;
};

static struct tmpl_value make_map(struct arena *arena,
                                  enum tmpl_type type,
                                  const struct field *fields,
                                  size_t count,
                                  const char *type_name) {
    struct tmpl_map *map = arena_calloc(arena, 1, sizeof(*map));
    map->keys = arena_calloc(arena, count, sizeof(struct str));
    map->values = arena_calloc(arena, count, sizeof(struct tmpl_value));
    for (size_t i = 0; i < count; i++) {
        map->keys[i] = str_from(fields[i].name);
        map->values[i] = fields[i].value;
    }
    map->count = count;
    map->type_name = type_name;
    return (struct tmpl_value){ .type = type, .map = map };
}

static struct tmpl_value text(const char *value) {
    return tmpl_string(str_from(value));
}

static struct tmpl_value make_sample(struct arena *arena,
                                     const struct field *labels,
                                     size_t count,
                                     double value) {
    const struct field fields[] = {
        { "Labels", make_map(arena, TMPL_MAP, labels, count, "map[string]string") },
        { "Value", tmpl_float(value) },
    };
    return make_map(arena, TMPL_OBJECT, fields, 2, "*main.sample");
}

static struct tmpl_value make_dot(struct arena *arena) {
    const struct tmpl_value nil = { .type = TMPL_NIL };
    const struct tmpl_value list[] = {
        tmpl_int(1), text("two"), tmpl_float(3.5), nil, tmpl_bool(true),
    };
    const struct tmpl_value strings[] = { text("a"), text("b"), text("c") };
    const struct field map[] = { { "a", text("1") },
                                 { "b", text("2") },
                                 { "instance", text("host:80") } };
    const struct field any[] = { { "k", text("v") }, { "n", tmpl_int(7) }, { "nil", nil } };
    const struct field object[] = { { "A", tmpl_int(7) }, { "B", text("bee") } };
    const struct field labels_1[] = { { "instance", text("b") }, { "x", text("1") } };
    const struct field labels_2[] = { { "__value__", text("21") },
                                      { "instance", text("a") },
                                      { "x", text("2") } };
    const struct tmpl_value samples[] = {
        make_sample(arena, labels_1, 2, 11),
        make_sample(arena, labels_2, 3, 21),
    };
    const struct field dot[] = {
        { "Str", text("hi") },
        { "Int", tmpl_int(42) },
        { "F", tmpl_float(3.5) },
        { "T", tmpl_bool(true) },
        { "Fa", tmpl_bool(false) },
        { "Nil", nil },
        { "List", make_list(arena, list, 5, NULL) },
        { "Strs", make_list(arena, strings, 3, "[]string") },
        { "Map", make_map(arena, TMPL_MAP, map, 3, NULL) },
        { "Any", make_map(arena, TMPL_MAP, any, 3, TMPL_ANY_MAP) },
        { "Obj", make_map(arena, TMPL_OBJECT, object, 2, "main.O") },
        { "Empty", make_list(arena, NULL, 0, NULL) },
        { "EmptyMap", make_map(arena, TMPL_MAP, NULL, 0, NULL) },
        { "Q", make_list(arena, samples, 2, "main.queryResult") },
        { "Time", tmpl_time(arena, (struct tmpl_time){ .t_ms = INT64_C(1435065584128) }) },
        { "Dur", tmpl_duration(arena, INT64_C(5401500000000)) },
        { "Evil", tmpl_string(STR("<a href=\"x\">'&+\0")) },
        { "Url", text("https://x.example/a?b=c&d=e f") },
        { "Js", text("javascript:alert(1)") },
    };
    return make_map(arena, TMPL_OBJECT, dot, ARRAY_LEN(dot), "main.D");
}

/* ---- cases ---- */

/* "template: t:3:14: message" without the column, unless it comes from running. */
static void cut_column(char *message) {
    if (strstr(message, ": executing ") != NULL) {
        return;
    }
    char *line = strchr(message, ':');
    line = line == NULL ? NULL : strchr(line + 1, ':');
    char *column = line == NULL ? NULL : strchr(line + 1, ':');
    size_t digits = column == NULL ? 0 : strspn(column + 1, "0123456789");
    if (digits > 0 && column[1 + digits] == ':') {
        memmove(column, column + 1 + digits, strlen(column + 1 + digits) + 1);
    }
}

static struct str string_member(const struct json_value *object, const char *key) {
    const struct json_value *value = json_get(object, key);
    return value == NULL ? STR("") : value->string;
}

static void check_case(const struct json_value *test, struct arena *arena, size_t line) {
    struct tmpl_func funcs[64];
    assert_true(tmpl_common_func_count < ARRAY_LEN(funcs));
    memcpy(funcs, tmpl_common_funcs, tmpl_common_func_count * sizeof(funcs[0]));
    funcs[tmpl_common_func_count] = (struct tmpl_func){ "titleLower", tmpl_call_title_lower, 1, 1 };
    struct tmpl *tmpl = tmpl_create(funcs, tmpl_common_func_count + 1);
    struct tmpl_run run = {
        .name = "t",
        .dot = make_dot(arena),
        .is_html = json_get(test, "html") != NULL,
    };
    struct buf out;
    buf_init(&out, 2 << 20);
    struct err err = ERR_INIT;
    bool ok = tmpl_add(tmpl, "t", string_member(test, "template"), &err) &&
              tmpl_execute(tmpl, &run, arena, &out, &err);
    cut_column(err.msg);
    bool is_same =
        ok ? json_get(test, "out") != NULL && str_eq(string_member(test, "out"), buf_as_str(&out))
           : str_eq(string_member(test, "error"), str_from(err.msg));
    if (!is_same) {
        fail_msg("line %zu: %.*s\nfound:    %s\nexpected: %.*s%.*s", line,
                 STR_FMT(string_member(test, "template")), ok ? buf_as_str(&out).ptr : err.msg,
                 STR_FMT(string_member(test, "out")), STR_FMT(string_member(test, "error")));
    }
    buf_finish(&out);
    tmpl_destroy(tmpl);
}

static void as_in_go(void **state) {
    FILE *file = fopen(getenv("TEMPLATE_CASES"), "r");
    assert_non_null(file);
    struct json_parser *parser = json_parser_create(LINE_BYTES_MAX);
    static char line[LINE_BYTES_MAX];
    size_t count = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        struct arena arena;
        struct json_value *test = NULL;
        struct err err = ERR_INIT;
        arena_init(&arena, SIZE_MAX);
        assert_true(json_parse(parser, str_trim(str_from(line)), &arena, &test, &err));
        check_case(test, &arena, ++count);
        arena_finish(&arena);
    }
    assert_true(count > 1000);
    json_parser_destroy(parser);
    (void)fclose(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_in_go),
    };
    return cmocka_run_group_tests_name("base/template_cases", tests, NULL, NULL);
}
