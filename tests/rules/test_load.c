/*
 * Goal: rule files are accepted and refused as Prometheus does, and every finding names its line,
 * column and cause. Method: tables of texts with the findings expected; upstream's own test files
 * read in place where they are at hand; the alert block of the seed document, verbatim.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "rules/rules.h"
#include "tests/unit.h"

/* "line:col message|…", warnings marked. */
static void print_findings(const struct diag_list *diags, struct buf *out) {
    for (size_t i = 0; i < diags->count; i++) {
        const struct diag *diag = &diags->items[i];
        buf_printf(out, "%s%u:%u %s%s", i > 0 ? "|" : "", diag->line, diag->column,
                   diag->severity == DIAG_WARNING ? "warning: " : "", diag->message);
    }
}

static bool load(const char *yaml, struct buf *findings, size_t *ret_rules) {
    struct diag_list diags;
    struct rules_load_options options = { 0 };
    struct rule_set *set = NULL;
    diag_list_init(&diags);
    buf_reset(findings);
    bool ok = rules_load_text("a.yml", str_from(yaml), &options, &set, &diags);
    assert_int_equal(ok, diags.error_count == 0);
    assert_int_equal(ok, set != NULL);
    *ret_rules = ok ? rule_set_rule_count(set) : 0;
    print_findings(&diags, findings);
    rule_set_destroy(set);
    diag_list_finish(&diags);
    return ok;
}

struct load_case {
    const char *yaml;
    const char *findings; /* NULL: accepted without any */
};

static void run_cases(const struct load_case *cases, size_t count) {
    struct buf findings;
    buf_init(&findings, 1 << 16);
    for (size_t i = 0; i < count; i++) {
        size_t rules = 0;
        (void)load(cases[i].yaml, &findings, &rules);
        const char *expected = cases[i].findings == NULL ? "" : cases[i].findings;
        if (!str_eq_c(buf_as_str(&findings), expected)) {
            fail_msg("case %zu:\n%s\nexpected: %s\nfound:    %s", i, cases[i].yaml, expected,
                     buf_as_str(&findings).ptr);
        }
    }
    buf_finish(&findings);
}

static void test_accepted(void **state) {
    static const struct load_case cases[] = {
        { "", NULL },
        { "# nothing\n", NULL },
        { "groups:\n", NULL },
        { "groups: []\n", NULL },
        { "groups: [{name: a}]\n", NULL },
        { "groups: [{name: a, rules: }]\n", NULL },
        { "groups: [{name: a, rules: [{record: b, expr: 1}]}]\n", NULL },
        { "groups: [{name: a, interval: 0s, limit: 0, query_offset: 1m, labels: {x: y},\n"
          "  rules: [{alert: b, expr: up, for: 0s, keep_firing_for: 1d}]}]\n",
          NULL },
        { "groups: [{name: 1, rules: [{alert: 2, expr: 3, labels: {a: 4, b: true, c: }}]}]\n",
          NULL },
        { "groups: [{name: a, rules: [{record: 'été', expr: up, labels: {'ins-tance': x}}]}]\n",
          NULL },
        { "groups: [{name: a, rules: [{alert: b, expr: up, annotations: {a: '{{ $value }}'}}]}]\n",
          NULL },
        { "{\"groups\":[{\"name\":\"a\",\"rules\":[{\"alert\":\"b\",\"expr\":\"up\"}]}]}", NULL },
        { "groups: [{name: a, rules: [{alert: b, expr: up, annotations: {x: '{{ tmpl \"t\" . "
          "}}{{ graphLink \"up\" }}{{ tableLink \"up\" }}{{ pathPrefix }}{{ safeHtml \"\" }}{{ "
          "query \"up\" | first | strvalue }}{{ $externalLabels.a }}{{ $externalURL }}'}}]}]\n",
          NULL },
    };
    run_cases(cases, ARRAY_LEN(cases));
}

static void test_structure(void **state) {
    static const struct load_case cases[] = {
        { "- a\n", "1:1 expected a mapping (key: value), found a list" },
        { "groups: {}\n", "1:9 'groups' must be a list" },
        { "group: []\n", "1:1 unknown key \"group\", did you mean \"groups\"?" },
        { "groups:\n- rules: []\n", "2:3 Groupname must not be empty" },
        { "groups:\n- name: ''\n", "2:9 Groupname must not be empty" },
        { "groups: [{name: a}, {name: a}]\n",
          "1:28 groupname: \"a\" is repeated in the same file" },
        { "groups: [{name: a, intervall: 1m}]\n",
          "1:20 unknown key \"intervall\", did you mean \"interval\"?" },
        { "groups: [{name: a, rules: {}}]\n", "1:27 'rules' must be a list" },
        { "groups: [{name: a, labels: [x]}]\n", "1:28 labels must be a mapping (name: text)" },
        { "groups: [{name: a, labels: {__name__: x}}]\n", "1:29 invalid label name: __name__" },
        { "groups:\n- name: a\n  rules:\n  - record: b\n    expr: 1\n    labels:\n"
          "      __name__: c\n",
          "7:7 invalid label name: __name__" },
        { "groups: [{name: a, rules: [{alert: b, expr: 1, labels: {x: {y: z}}}]}]\n",
          "1:60 label must be a single value" },
        { "groups: [{name: a, rules: [{alert: b, expr: 1, annotations: {'': z}}]}]\n",
          "1:62 invalid annotation name: " },
        { "groups:\n- name: a\n  interval: abc\n", "3:13 not a valid duration string: \"abc\"" },
    };
    run_cases(cases, ARRAY_LEN(cases));
}

static void test_rules(void **state) {
    static const struct load_case cases[] = {
        { "groups: [{name: a, rules: [{expr: 1}]}]\n",
          "1:28 one of 'record' or 'alert' must be set" },
        { "groups: [{name: a, rules: [{record: r, alert: b, expr: 1}]}]\n",
          "1:37 only one of 'record' and 'alert' must be set" },
        { "groups: [{name: a, rules: [{record: r}]}]\n",
          "1:28 rule \"r\": field 'expr' must be set in rule" },
        { "groups: [{name: a, rules: [{record: r, expr: ''}]}]\n",
          "1:46 rule \"r\": field 'expr' must be set in rule" },
        { "groups: [{name: a, rules: [{record: r, expr: 1, for: 1m}]}]\n",
          "1:54 invalid field 'for' in recording rule" },
        { "groups: [{name: a, rules: [{record: r, expr: 1, keep_firing_for: 1m}]}]\n",
          "1:66 invalid field 'keep_firing_for' in recording rule" },
        { "groups: [{name: a, rules: [{record: r, expr: 1, annotations: {b: c}}]}]\n",
          "1:62 invalid field 'annotations' in recording rule" },
        { "groups: [{name: a, rules: [{record: 'r{a=\"b\"}', expr: 1}]}]\n",
          "1:37 braces present in the recording rule name; should it be in expr?: r{a=\"b\"}" },
        { "groups: [{name: a, rules: [{alert: b, expr: 'up[5m]'}]}]\n",
          "1:45 warning: rule \"b\": the expression gives a range vector, every evaluation will "
          "fail: a rule needs an instant vector or scalar" },
        { "groups: [{name: a, rules: [{alert: b, expr: 1}, {alert: b, expr: 2}]}]\n",
          "1:49 warning: rule \"b\" repeats name and labels of the rule in line 1: they may write "
          "the same series" },
        /* all at once */
        { "groups:\n"
          "- name: a\n"
          "  rules:\n"
          "  - record: r\n"
          "    expr: rate(hi)\n"
          "  - alert: b\n"
          "    expr: up ==\n"
          "    fro: 5m\n"
          "    for: soon\n",
          "5:16 rule \"r\": could not parse expression: parse error: expected type range vector in "
          "call to function \"rate\", got instant vector|"
          "8:5 unknown key \"fro\", did you mean \"for\"?|"
          "9:10 not a valid duration string: \"soon\"|"
          "7:16 rule \"b\": could not parse expression: parse error: unexpected end of input" },
    };
    run_cases(cases, ARRAY_LEN(cases));
}

/* The column is that of the character in the file, whatever the scalar's style. */
static void test_expression_positions(void **state) {
    static const struct load_case cases[] = {
        { "groups: [{name: a, rules: [{alert: b, expr: 'up{x=\"y'}]}]\n",
          "1:51 rule \"b\": could not parse expression: parse error: unterminated quoted string" },
        { "groups:\n- name: a\n  rules:\n  - alert: b\n    expr: |\n      sum(up)\n"
          "        / nope(up)\n",
          "7:11 rule \"b\": could not parse expression: parse error: unknown function with name "
          "\"nope\"" },
        { "groups:\n- name: a\n  rules:\n  - alert: b\n    expr: >-\n      sum(up)\n"
          "      / nope(up)\n",
          "7:9 rule \"b\": could not parse expression: parse error: unknown function with name "
          "\"nope\"" },
        { "groups:\n- name: a\n  rules:\n  - alert: b\n    expr: sum(up)\n      / nope(up)\n",
          "6:9 rule \"b\": could not parse expression: parse error: unknown function with name "
          "\"nope\"" },
        { "groups:\n- name: a\n  rules:\n  - alert: b\n    expr: \"{\\\"é\\\"} * nope(up)\"\n",
          "5:22 rule \"b\": could not parse expression: parse error: unknown function with name "
          "\"nope\"" },
    };
    run_cases(cases, ARRAY_LEN(cases));
}

static void test_templates(void **state) {
    static const char head[] = "groups:\n- name: a\n  rules:\n  - alert: b\n    expr: up\n";

    static const struct {
        const char *fields;
        unsigned line;
        unsigned column;
        const char *message; /* a part of it */
    } cases[] = {
        { "    annotations: {s: 'a {{ $label.x }}'}\n", 6, 23, "undefined variable \"$label\"" },
        { "    labels: {s: '{{ nope 1 }}'}\n", 6, 18, "function \"nope\" not defined" },
        { "    annotations:\n      s: |\n        one\n        {{ if }}\n", 9, 9, "missing value" },
        { "    annotations: {s: '{{ range . }}'}\n", 6, 23, "unexpected EOF" },
        { "    annotations: {s: '{{ \"a }}'}\n", 6, 23, "unterminated quoted string" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct diag_list diags;
        struct rules_load_options options = { 0 };
        struct rule_set *set = NULL;
        char yaml[1024];
        (void)snprintf(yaml, sizeof(yaml), "%s%s", head, cases[i].fields);
        diag_list_init(&diags);
        assert_false(rules_load_text("a.yml", str_from(yaml), &options, &set, &diags));
        assert_int_equal(diags.count, 1);
        if (strstr(diags.items[0].message, cases[i].message) == NULL ||
            diags.items[0].line != cases[i].line) {
            fail_msg("case %zu: %u:%u %s", i, diags.items[0].line, diags.items[0].column,
                     diags.items[0].message);
        }
        assert_true(diags.items[0].column >= cases[i].column);
        assert_non_null(strstr(diags.items[0].message, "rule \"b\""));
        diag_list_finish(&diags);
    }
}

/* ---- files ---- */

static void write_file(const char *dir, const char *name, const char *text) {
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_globs(void **state) {
    char dir[] = "/tmp/tocsin-load-XXXXXX";
    assert_non_null(mkdtemp(dir));
    write_file(dir, "b.yml", "groups: [{name: g, rules: [{alert: B, expr: 1}]}]\n");
    write_file(dir, "a.yml", "groups: [{name: g, rules: [{alert: A, expr: 1}]}, {name: h}]\n");
    write_file(dir, "c.txt", "no rules: [\n");
    char all[128];
    char one[128];
    char none[128];
    (void)snprintf(all, sizeof(all), "%s/*.yml", dir);
    (void)snprintf(one, sizeof(one), "%s/a.yml", dir);
    (void)snprintf(none, sizeof(none), "%s/none.yml", dir);
    const char *patterns[] = { all, one, none };
    struct diag_list diags;
    struct rules_load_options options = { 0 };
    struct rule_set *set = NULL;
    diag_list_init(&diags);
    assert_true(rules_load(patterns, ARRAY_LEN(patterns), &options, &set, &diags));
    assert_int_equal(rule_set_file_count(set), 2);
    assert_non_null(strstr(rule_set_file(set, 0).path, "/a.yml"));
    assert_int_equal(rule_set_file(set, 0).group_count, 2);
    assert_int_equal(rule_set_file(set, 1).rule_count, 1);
    assert_int_equal(rule_set_rule_count(set), 2);
    assert_int_equal(diags.count, 1); /* none.yml: nothing matches */
    assert_int_equal(diags.items[0].severity, DIAG_WARNING);
    rule_set_destroy(set);
    diag_list_finish(&diags);

    diag_list_init(&diags); /* one broken file refuses the set, all files are looked at */
    write_file(dir, "a.yml", "groups: [\n");
    write_file(dir, "b.yml", "groups: [{name: ''}]\n");
    assert_false(rules_load(patterns, 1, &options, &set, &diags));
    assert_null(set);
    assert_int_equal(diags.error_count, 2);
    assert_non_null(strstr(diags.items[0].file, "/a.yml"));
    assert_non_null(strstr(diags.items[1].file, "/b.yml"));
    diag_list_finish(&diags);

    for (const char *const *name = (const char *const[]){ "a.yml", "b.yml", "c.txt", NULL };
         *name != NULL; name++) {
        char path[256];
        (void)snprintf(path, sizeof(path), "%s/%s", dir, *name);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

/* What has gone refuses a reload, and is worth a word at the first start. */
static void test_gone(void **state) {
    static const struct {
        const char *pattern;
        bool is_gone;
    } cases[] = {
        { "/tmp/tocsin-no-such-dir/*.yml", true }, { "/tmp/tocsin-no-such-dir/a/*.yml", true },
        { "/tmp/tocsin-no-such-file.yml", true },  { "tocsin-no-such-dir/*.yml", true },
        { "/tmp/tocsin-no-such-*.yml", false },    { "tocsin-no-such-*.yml", false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int is_reload = 0; is_reload < 2; is_reload++) {
            struct diag_list diags;
            struct rules_load_options options = { .is_reload = is_reload == 1 };
            struct rule_set *set = NULL;
            diag_list_init(&diags);
            bool is_ok = rules_load(&cases[i].pattern, 1, &options, &set, &diags);
            assert_int_equal(is_ok, !(options.is_reload && cases[i].is_gone));
            assert_int_equal(diags.count, 1);
            assert_string_equal(diags.items[0].file, cases[i].pattern);
            rule_set_destroy(set);
            diag_list_finish(&diags);
        }
    }
}

/* ---- upstream's files ---- */

static bool load_file(const char *path, struct buf *findings) {
    struct diag_list diags;
    struct rules_load_options options = { 0 };
    struct rule_set *set = NULL;
    diag_list_init(&diags);
    bool ok = rules_load(&path, 1, &options, &set, &diags);
    buf_reset(findings);
    print_findings(&diags, findings);
    rule_set_destroy(set);
    diag_list_finish(&diags);
    return ok;
}

/* Files that are none of Prometheus' rule files (unit tests, configurations, targets). */
static bool is_rule_file(const char *name) {
    static const char *const names[] = {
        "at-modifier.yml",
        "bad-rules-error.yml",
        "bad-rules-syntax.yml",
        "negative-offset.yml",
        "prometheus-config.good.yml",
        "prometheus-rules.lint.yml",
        "rules-bad.yml",
        "rules.yml",
        "rules_duplicates.yml",
        "rules_extrafields.yml",
        "rules_large.yml",
        "prometheus-config.rules.good.yml",
        "features.yml",
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_c(str_from(name), names[i])) {
            return true;
        }
    }
    return false;
}

static bool is_refused_upstream(const char *dir, const char *name) {
    static const char *const refused[] = { "bad-rules-syntax.yml", "rules-bad.yml",
                                           "rules_extrafields.yml", "features.yml" };
    if (str_ends_with(str_from(dir), STR("rulefmt"))) {
        /* refused under the legacy name scheme only */
        return strstr(name, ".bad.") != NULL && strstr(name, "legacy_validation") == NULL;
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        if (str_eq_c(str_from(name), refused[i])) {
            return true;
        }
    }
    return !is_rule_file(name);
}

static size_t check_dir(const char *dir) {
    DIR *handle = opendir(dir);
    if (handle == NULL) {
        return 0;
    }
    struct buf findings;
    buf_init(&findings, 1 << 20);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(handle)) != NULL;) {
        struct str name = str_from(entry->d_name);
        if (!str_ends_with(name, STR(".yml")) && !str_ends_with(name, STR(".yaml"))) {
            continue;
        }
        char path[512];
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (load_file(path, &findings) == is_refused_upstream(dir, entry->d_name)) {
            fail_msg("%s: upstream %s it, findings: %s", path,
                     is_refused_upstream(dir, entry->d_name) ? "refuses" : "accepts",
                     buf_as_str(&findings).ptr);
        }
        count++;
    }
    (void)closedir(handle);
    buf_finish(&findings);
    return count;
}

static void test_upstream_files(void **state) {
    const char *root = getenv("UPSTREAM_DIR");
    char rulefmt[512];
    char promtool[512];
    (void)snprintf(rulefmt, sizeof(rulefmt), "%s/rulefmt", root == NULL ? "" : root);
    (void)snprintf(promtool, sizeof(promtool), "%s/promtool", root == NULL ? "" : root);
    if (root == NULL || check_dir(rulefmt) + check_dir(promtool) == 0) {
        unit_skip("upstream's rule files are not there");
        return;
    }
}

/* ---- the seed's block ---- */

static const char seed_block[] =
    "# prometheus/alerts.yml\n"
    "\"\"\"\n"
    "\xe5\x91\x8a\xe8\xad\xa6\xe8\xa7\x84\xe5\x88\x99\xe9\x85\x8d\xe7\xbd\xae\n"
    "\n"
    "\xe8\xae\xbe\xe8\xae\xa1\xe5\x8e\x9f\xe5\x88\x99\xef\xbc\x9a\n"
    "1. SLA\n"
    "\"\"\"\n"
    "\n"
    "groups:\n"
    "  - name: hedge_fund_alerts\n"
    "    rules:\n"
    "      - alert: HighErrorRate\n"
    "        expr: rate(hedge_fund_requests_total{status=~\"5..\"}[5m]) > 0.1\n";

static void expect_docstring_error(const char *yaml) {
    struct diag_list diags;
    struct rules_load_options options = { 0 };
    struct rule_set *set = NULL;
    diag_list_init(&diags);
    assert_false(rules_load_text("alerts.yml", str_from(yaml), &options, &set, &diags));
    struct buf text;
    buf_init(&text, 1 << 16);
    diag_print(&diags, &text);
    assert_true(diags.error_count >= 1);
    assert_int_equal(diags.items[0].line, 2);
    assert_int_equal(diags.items[0].column, 1);
    assert_string_equal(diags.items[0].source_line, "\"\"\"");
    assert_non_null(strstr(buf_as_str(&text).ptr, "alerts.yml:2:1: error: "));
    if (strstr(diags.items[0].message, "docstring") == NULL &&
        strstr(diags.items[0].message, "\"\"\"") == NULL) {
        fail_msg("the cause is not named: %s", diags.items[0].message);
    }
    buf_finish(&text);
    diag_list_finish(&diags);
}

/* The fenced block that starts with the name of the rule file. */
static char *extract_block(const char *document) {
    const char *start = strstr(document, "```yaml\n# prometheus/alerts.yml\n");
    if (start == NULL) {
        return NULL;
    }
    start += strlen("```yaml\n");
    const char *end = strstr(start, "\n```");
    return end == NULL ? NULL : mem_strndup(start, (size_t)(end - start) + 1);
}

static void test_seed_block(void **state) {
    expect_docstring_error(seed_block);
    const char *path = getenv("SEED_FILE");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return; /* the equivalent above has been checked */
    }
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char *document = mem_calloc((size_t)st.st_size + 1, 1);
    assert_int_equal(read(fd, document, (size_t)st.st_size), st.st_size);
    (void)close(fd);
    char *block = extract_block(document);
    assert_non_null(block);
    expect_docstring_error(block);
    mem_free(block);
    mem_free(document);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),   cmocka_unit_test(test_structure),
        cmocka_unit_test(test_rules),      cmocka_unit_test(test_expression_positions),
        cmocka_unit_test(test_templates),  cmocka_unit_test(test_globs),
        cmocka_unit_test(test_gone),       cmocka_unit_test(test_upstream_files),
        cmocka_unit_test(test_seed_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
