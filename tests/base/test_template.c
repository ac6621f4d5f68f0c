/*
 * Goal: what template_cases.jsonl cannot show: sets of templates, declared variables, methods and
 * print functions of callers' values, HTML escaping, positions, limits under hostile texts, runs in
 * parallel. Method: tables and small texts; time is measured only where a limit must bound it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/template.h"
#include "tests/unit.h"

static struct tmpl *new_set(void) {
    return tmpl_create(tmpl_common_funcs, tmpl_common_func_count);
}

static struct tmpl_value text(const char *value) {
    return tmpl_string(str_from(value));
}

/* Output or "code: message". */
static void expect_run(const struct tmpl *tmpl, const struct tmpl_run *run, const char *expected) {
    struct arena arena;
    struct buf out;
    struct err err = ERR_INIT;
    arena_init(&arena, SIZE_MAX);
    buf_init(&out, 4 << 20);
    if (!tmpl_execute(tmpl, run, &arena, &out, &err)) {
        buf_reset(&out);
        buf_printf(&out, "%s: %s", err_code_to_string(err.code), err.msg);
    }
    assert_string_equal(buf_as_str(&out).ptr, expected);
    buf_finish(&out);
    arena_finish(&arena);
}

static void add(struct tmpl *tmpl, const char *name, const char *source) {
    struct err err = ERR_INIT;
    if (!tmpl_add(tmpl, name, str_from(source), &err)) {
        fail_msg("%s", err.msg);
    }
}

static void expect_output(const char *source, struct tmpl_value dot, const char *expected) {
    struct tmpl *tmpl = new_set();
    add(tmpl, "t", source);
    expect_run(tmpl, &(struct tmpl_run){ .name = "t", .dot = dot }, expected);
    tmpl_destroy(tmpl);
}

/* ---- sets ---- */

static void later_texts_replace_earlier_ones(void **state) {
    struct tmpl *tmpl = new_set();
    struct err err = ERR_INIT;
    add(tmpl, "default",
        "{{ define \"title\" }}default {{ . }}{{ end }}{{ define \"x\" }}1{{ end }}");
    add(tmpl, "main", "{{ template \"title\" .}}!");
    assert_true(tmpl_has(tmpl, "title"));
    assert_true(tmpl_has(tmpl, "default"));
    assert_false(tmpl_has(tmpl, "none"));
    struct tmpl_run run = { .name = "main", .dot = text("a") };
    expect_run(tmpl, &run, "default a!");
    add(tmpl, "user", "{{ define \"title\" }}mine {{ . }}{{ end }}");
    expect_run(tmpl, &run, "mine a!");
    add(tmpl, "user", "{{ define \"title\" }} {{/* empty gives way */}} {{ end }}");
    expect_run(tmpl, &run, "mine a!");
    /* a text that does not parse changes nothing, not even by its good definitions */
    assert_false(tmpl_add(tmpl, "bad", STR("{{ define \"title\" }}bad{{ end }}{{ if }}"), &err));
    assert_false(tmpl_has(tmpl, "bad"));
    expect_run(tmpl, &run, "mine a!");
    expect_run(tmpl, &(struct tmpl_run){ .name = "nope" },
               "execution: template: no template \"nope\"");
    tmpl_destroy(tmpl);
    tmpl_destroy(NULL);
}

static void declared_variables(void **state) {
    static const char *const names[] = { "$labels", "$value" };
    struct tmpl *tmpl = new_set();
    struct err err = ERR_INIT;
    assert_false(tmpl_add(tmpl, "t", STR("{{ $value }}"), &err));
    assert_string_equal(err.msg, "template: t:1:4: undefined variable \"$value\"");
    tmpl_declare_vars(tmpl, names, 2);
    add(tmpl, "t",
        "{{ $labels }} {{ $value | humanize }} {{ if true }}{{ $value = 5 }}{{ end }}{{ $value "
        "}} {{ $ }}");
    const struct tmpl_value values[] = { text("L"), tmpl_float(1234) };
    struct tmpl_run run = {
        .name = "t",
        .dot = text("dot"),
        .var_names = names,
        .var_values = values,
        .var_count = 2,
    };
    expect_run(tmpl, &run, "L 1.234k 5 dot");
    /* definitions are templates of their own */
    assert_false(tmpl_add(tmpl, "u", STR("{{ define \"d\" }}{{ $value }}{{ end }}"), &err));
    tmpl_destroy(tmpl);
}

static void syntax_errors_have_columns(void **state) {
    static const char *const cases[][2] = {
        { "{{ foo }}", "template: t:1:4: function \"foo\" not defined" },
        { "a\n  {{ .A | foo }}", "template: t:2:11: function \"foo\" not defined" },
        { "{{ if .A }}\n{{ .B }}", "template: t:2:9: unexpected EOF" },
        { "x {{ .A", "template: t:1:8: unclosed action" },
        { "é {{ \"a }}", "template: t:1:7: unterminated quoted string" },
        { "{{ .A }}{{ end }}", "template: t:1:16: unexpected {{end}}" },
        { "{{\n.A\n@@ }}", "template: t:3:1: unexpected \"@\" in operand" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tmpl *tmpl = new_set();
        struct err err = ERR_INIT;
        assert_false(tmpl_add(tmpl, "t", str_from(cases[i][0]), &err));
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.msg, cases[i][1]);
        tmpl_destroy(tmpl);
    }
}

/* ---- values of callers ---- */

static bool list_count(const struct tmpl_value *self,
                       const struct tmpl_value *args,
                       size_t arg_count,
                       struct arena *arena,
                       struct tmpl_value *ret,
                       struct err *err) {
    *ret = tmpl_int((int64_t)self->list->count);
    return true;
}

static bool map_without(const struct tmpl_value *self,
                        const struct tmpl_value *args,
                        size_t arg_count,
                        struct arena *arena,
                        struct tmpl_value *ret,
                        struct err *err) {
    if (args[0].type != TMPL_STRING) {
        return tmpl_wrong_type(&args[0], "string", err);
    }
    *ret = tmpl_string(arena_printf(arena, "without %.*s", STR_FMT(args[0].string)));
    return true;
}

static void print_pairs(const struct tmpl_map *map, struct buf *out) {
    for (size_t i = 0; i < map->count; i++) {
        buf_printf(out, "<%.*s>", STR_FMT(map->keys[i]));
    }
}

static void methods_and_print_functions(void **state) {
    static const struct tmpl_method list_methods[] = { { "Count", list_count, 0, 0 } };
    static const struct tmpl_method map_methods[] = { { "Remove", map_without, 1, 1 } };
    struct tmpl_value items[] = { tmpl_int(1), tmpl_int(2) };
    struct tmpl_list list = {
        .items = items, .count = 2, .methods = list_methods, .method_count = 1
    };
    struct str keys[] = { STR("a"), STR("b") };
    struct tmpl_value values[] = { text("1"), { .type = TMPL_LIST, .list = &list } };
    struct tmpl_map map = {
        .keys = keys,
        .values = values,
        .count = 2,
        .type_name = "template.KV",
        .methods = map_methods,
        .method_count = 1,
        .print = print_pairs,
    };
    struct tmpl_value dot = { .type = TMPL_MAP, .map = &map };
    expect_output("{{ .b.Count }} {{ (.b).Count }} {{ .b | len }}", dot, "2 2 2");
    expect_output("{{ .Remove \"x\" }} {{ \"y\" | .Remove }} {{ .Remove (print \"z\") }}", dot,
                  "without x without y without z");
    expect_output("{{ . }} {{ printf \"%s|%6v|%q\" . . . }}", dot,
                  "<a><b> <a><b>|<a><b>|\"<a><b>\"");
    expect_output(
        "{{ .Remove }}", dot,
        "execution: template: t:1:3: executing \"t\" at <.Remove>: wrong number of args for "
        "Remove: want 1 got 0");
    expect_output(
        "{{ .Remove 5 }}", dot,
        "execution: template: t:1:3: executing \"t\" at <.Remove>: error calling Remove: wrong "
        "type for value; expected string; got int");
    expect_output(
        "{{ .b.Nope }}", dot,
        "execution: template: t:1:5: executing \"t\" at <.b.Nope>: can't evaluate field Nope in "
        "type []interface {}");
}

static bool fail_timeout(void *ctx,
                         const struct tmpl_value *args,
                         size_t arg_count,
                         struct arena *arena,
                         struct tmpl_value *ret,
                         struct err *err) {
    *ret = tmpl_string(STR("x"));
    return err_set(err, ERR_TIMEOUT, "%s took too long", (const char *)ctx);
}

static void functions_get_the_context_and_keep_their_code(void **state) {
    static const struct tmpl_func funcs[] = { { "query", fail_timeout, 1, 1 } };
    struct tmpl *tmpl = tmpl_create(funcs, 1);
    add(tmpl, "t", "{{ query \"up\" | len }}");
    char ctx[] = "the query";
    expect_run(tmpl, &(struct tmpl_run){ .name = "t", .ctx = ctx },
               "timeout: template: t:1:3: executing \"t\" at <query \"up\">: error calling query: "
               "the query took too long");
    tmpl_destroy(tmpl);
}

static void times_show_their_zone(void **state) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct tmpl_time time = { .t_ms = INT64_C(1435065584128),
                              .offset_s = -16200,
                              .zone = STR("VET") };
    struct tmpl_value value = tmpl_time(&arena, time);
    expect_output("{{ . }}", value, "2015-06-23 08:49:44.128 -0430 VET");
    expect_output("{{ .UTC }}", value, "2015-06-23 13:19:44.128 +0000 UTC");
    expect_output("{{ date \"15:04 Z07:00 -07 MST\" . }}", value, "08:49 -04:30 -04 VET");
    time.zone = STR("");
    expect_output("{{ .Format \"MST Z0700\" }}", tmpl_time(&arena, time), "-0430 -0430");
    time = (struct tmpl_time){ .t_ms = TMPL_TIME_ZERO_MS };
    expect_output("{{ . }} {{ .IsZero }}", tmpl_time(&arena, time),
                  "0001-01-01 00:00:00 +0000 UTC true");
    int64_t ns = 0;
    assert_true(tmpl_get_duration(&(struct tmpl_value[]){ tmpl_duration(&arena, 5) }[0], &ns) &&
                ns == 5);
    assert_false(tmpl_get_time(&(struct tmpl_value[]){ tmpl_int(5) }[0], &time));
    arena_finish(&arena);
}

/* ---- HTML ---- */

static void html_is_escaped(void **state) {
    static const char *const cases[][3] = {
        { "<p>{{ . }}</p>", "<b>&\"'+", "<p>&lt;b&gt;&amp;&#34;&#39;&#43;</p>" },
        { "<p title=\"{{ . }}\">", "a\" onclick=\"x", "<p title=\"a&#34; onclick=&#34;x\">" },
        { "{{ safeHtml . }} {{ . | safeHtml | toUpper }}", "<b>", "<b> &lt;B&gt;" },
        { "{{ with $x := safeHtml . }}{{ $x }}{{ end }}", "<i>", "<i>" },
        { "<a href=\"{{ . }}\">", "https://x/?a=b&c=d e\"",
          "<a href=\"https://x/?a=b&amp;c=d%20e%22\">" },
        { "<a href=\"{{ . }}\">", "javascript:alert(1)", "<a href=\"#ZgotmplZ\">" },
        { "<a HREF='{{ . }}'>", "JavaScript:alert(1)", "<a HREF='#ZgotmplZ'>" },
        { "<img src=\"{{ . }}\">", "data:text/html,x", "<img src=\"#ZgotmplZ\">" },
        { "<a href=\"{{ safeHtml . }}\">", "javascript:1", "<a href=\"#ZgotmplZ\">" },
        { "<a href=\"{{ . }}\">", "/relative:ok", "<a href=\"/relative:ok\">" },
        { "<a href=\"{{ . }}\">", "mailto:a@b.c", "<a href=\"mailto:a@b.c\">" },
        { "<a href=\"/x?q={{ . }}\">", "javascript:1", "<a href=\"/x?q=javascript:1\">" },
        { "{{ define \"d\" }}<u>{{ . }}</u>{{ end }}{{ template \"d\" . }}", "<", "<u>&lt;</u>" },
        { "[{{ .x }}]", "", "[]" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tmpl *tmpl = new_set();
        add(tmpl, "t", cases[i][0]);
        struct tmpl_value dot = text(cases[i][1]);
        if (i + 1 == ARRAY_LEN(cases)) {
            dot = (struct tmpl_value){ .type = TMPL_NIL };
        }
        expect_run(tmpl, &(struct tmpl_run){ .name = "t", .dot = dot, .is_html = true },
                   cases[i][2]);
        tmpl_destroy(tmpl);
    }
}

/* ---- limits ---- */

static char *repeat(const char *head, const char *unit, size_t count, const char *tail) {
    struct buf out;
    buf_init(&out, 64 << 20);
    buf_cstr(&out, head);
    for (size_t i = 0; i < count; i++) {
        buf_cstr(&out, unit);
    }
    buf_cstr(&out, tail);
    return buf_take(&out, NULL);
}

static double cpu_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The text is refused, or its run stopped, with a message that ends so; soon. */
static void expect_stopped(const char *source, const char *ending) {
    struct arena arena;
    struct buf out;
    struct err err = ERR_INIT;
    double start_s = cpu_s();
    arena_init(&arena, SIZE_MAX);
    buf_init(&out, 4 << 20);
    struct tmpl *tmpl = new_set();
    bool ok = tmpl_add(tmpl, "t", str_from(source), &err) &&
              tmpl_execute(tmpl, &(struct tmpl_run){ .name = "t" }, &arena, &out, &err);
    assert_true(cpu_s() - start_s < 5); /* generous for sanitizers */
    assert_false(ok);
    if (!str_ends_with(str_from(err.msg), str_from(ending))) {
        fail_msg("%s", err.msg);
    }
    tmpl_destroy(tmpl);
    buf_finish(&out);
    arena_finish(&arena);
}

static void endless_templates_stop(void **state) {
    static const char *const cases[][2] = {
        { "{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}",
          "exceeded maximum template depth (64)" },
        { "{{ range 9000000000000000000 }}{{ end }}", "more than 1000000 steps" },
        { "{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}", "more than 1000000 steps" },
        { "{{ range 100000 }}0123456789abcdef{{ end }}", "more than 1048576 bytes of output" },
        { "{{ $x := \"0123456789abcdef\" }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}",
          "result longer than 1048576 bytes" },
        { "{{ $x := printf \"%99999s\" \"\" }}{{ range 999 }}{{ $y := print $x 1 }}{{ end }}",
          "values take more memory than allowed" },
        { "{{ printf \"%999999s%999999s\" \"a\" \"b\" }}", "result longer than 1048576 bytes" },
        { "{{ $a := list 1 }}{{ range 99 }}{{ $a = list $a $a }}{{ end }}{{ print $a }}",
          "result longer than 1048576 bytes" },
        { "{{ $a := list 1 }}{{ range 99 }}{{ $a = list $a }}{{ end }}{{ toJson $a }}",
          "nested more than 64 deep" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        expect_stopped(cases[i][0], cases[i][1]);
    }
}

static void hostile_texts_are_refused(void **state) {
    static const struct {
        const char *head;
        const char *unit;
        size_t count;
        const char *tail;
        const char *ending;
    } cases[] = {
        { "{{ ", "(", 100000, "}}", "max expression depth exceeded" },
        { "", "{{ if true }}", 100000, "", "control structures nested more than 64 deep" },
        { "", "{{ block \"a\" . }}", 100000, "", "control structures nested more than 64 deep" },
        { "{{ .A", ".A", 100000, " }}{{", "unclosed action" },
        { "", "{{/*", 100000, "", "unclosed comment" },
        { "", "x", (4 << 20) + 1, "", "template: t: larger than 4 MiB" },
        { "{{ dict ", "\"a\" 1 ", 5000, "}}", "error calling dict: more than 1000 pairs" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *source = repeat(cases[i].head, cases[i].unit, cases[i].count, cases[i].tail);
        expect_stopped(source, cases[i].ending);
        mem_free(source);
    }
}

static void long_chains_are_fine(void **state) {
    char *source = repeat("{{ if false }}", "{{ else if false }}", 20000, "{{ else }}yes{{ end }}");
    expect_output(source, (struct tmpl_value){ .type = TMPL_NIL }, "yes");
    mem_free(source);
    source = repeat("{{ \"x\"", " | print", 20000, " }}");
    expect_output(source, (struct tmpl_value){ .type = TMPL_NIL }, "x");
    mem_free(source);
}

static void arena_budgets_are_kept(void **state) {
    struct tmpl *tmpl = new_set();
    add(tmpl, "t", "{{ range 100000 }}{{ $x := print . \"0123456789abcdef\" }}{{ end }}");
    struct arena arena;
    struct buf out;
    struct err err = ERR_INIT;
    arena_init(&arena, 1 << 16);
    buf_init(&out, 100);
    assert_false(tmpl_execute(tmpl, &(struct tmpl_run){ .name = "t" }, &arena, &out, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    arena_finish(&arena);
    /* the caller's own cap on the output */
    add(tmpl, "u", "{{ range 100 }}0123456789{{ end }}");
    arena_init(&arena, SIZE_MAX);
    assert_false(tmpl_execute(tmpl, &(struct tmpl_run){ .name = "u" }, &arena, &out, &err));
    assert_int_equal(err.code, ERR_LIMIT);
    arena_finish(&arena);
    buf_finish(&out);
    tmpl_destroy(tmpl);
}

/* ---- threads ---- */

static void *run_often(void *arg) {
    for (int i = 0; i < 200; i++) {
        expect_run(arg, &(struct tmpl_run){ .name = "t", .dot = tmpl_float(1536) },
                   "1.5ki 1536 0 1 2 <1536> 0.1");
    }
    return NULL;
}

static void sets_are_shared_by_threads(void **state) {
    struct tmpl *tmpl = new_set();
    add(tmpl, "t",
        "{{ define \"d\" }}<{{ . }}>{{ end }}{{ humanize1024 . }} {{ . }}{{ range 3 }} {{ . "
        "}}{{ end }} "
        "{{ template \"d\" . }} {{ reReplaceAll \"1.*\" \"0.1\" \"1536\" }}");
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, run_often, tmpl), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    tmpl_destroy(tmpl);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_texts_replace_earlier_ones),
        cmocka_unit_test(declared_variables),
        cmocka_unit_test(syntax_errors_have_columns),
        cmocka_unit_test(methods_and_print_functions),
        cmocka_unit_test(functions_get_the_context_and_keep_their_code),
        cmocka_unit_test(times_show_their_zone),
        cmocka_unit_test(html_is_escaped),
        cmocka_unit_test(endless_templates_stop),
        cmocka_unit_test(hostile_texts_are_refused),
        cmocka_unit_test(long_chains_are_fine),
        cmocka_unit_test(arena_budgets_are_kept),
        cmocka_unit_test(sets_are_shared_by_threads),
    };
    return cmocka_run_group_tests_name("base/template", tests, NULL, NULL);
}
