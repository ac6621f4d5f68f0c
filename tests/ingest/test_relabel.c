/*
 * Goal: relabelling does what Prometheus does, and rules that cannot mean anything are refused with
 * their place. Method: tables of rules as YAML, label sets in and out.
 * Source of the expectations: Prometheus model/relabel/relabel_test.go, restated.
 */
#include "ingest/ingest.h"
#include "tests/unit.h"

static struct ingest_relabel *decode(const char *text, struct buf *ret_findings) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    struct ingest_relabel *relabel = NULL;
    if (yaml_parse("t.yml", str_from(text), &doc, &diags)) {
        struct yaml_decode ctx = { .doc = doc, .diags = &diags };
        ingest_relabel_decode(&ctx, yaml_root(doc), &relabel);
    }
    diag_print(&diags, ret_findings);
    if (diags.error_count > 0) {
        ingest_relabel_destroy(relabel);
        relabel = NULL;
    }
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
    return relabel;
}

/* "a=b c=d" to labels. */
static struct labels parse_labels(const char *text, struct arena *arena) {
    struct labels_builder builder;
    labels_builder_init(&builder, arena, (struct labels){ .count = 0 });
    struct str rest = str_from(text);
    while (rest.len > 0) {
        struct str pair;
        struct str name;
        struct str value;
        str_cut(rest, ' ', &pair, &rest);
        str_cut(pair, '=', &name, &value);
        labels_builder_set(&builder, name, value);
    }
    return labels_builder_build(&builder);
}

static const char *apply(const char *rules, const char *labels, struct arena *arena) {
    struct buf findings;
    buf_init(&findings, 1 << 20);
    struct ingest_relabel *relabel = decode(rules, &findings);
    if (relabel == NULL) {
        fail_msg("%s\n%s", rules, findings.ptr);
    }
    struct labels out;
    struct buf text;
    buf_init(&text, 1 << 20);
    if (!ingest_relabel_apply(relabel, parse_labels(labels, arena), arena, &out)) {
        buf_cstr(&text, "dropped");
    } else {
        for (size_t i = 0; i < out.count; i++) {
            buf_printf(&text, "%s%.*s=%.*s", i == 0 ? "" : " ", STR_FMT(out.items[i].name),
                       STR_FMT(out.items[i].value));
        }
    }
    struct str result = arena_str(arena, buf_as_str(&text));
    buf_finish(&text);
    buf_finish(&findings);
    ingest_relabel_destroy(relabel);
    return result.ptr;
}

static const struct {
    const char *rules;
    const char *in;
    const char *out;
} actions[] = {
    { "[]", "a=foo", "a=foo" },
    /* replace */
    { "[{source_labels: [a], regex: 'f(.*)', target_label: d, replacement: ch$1-ch$1}]",
      "a=foo b=bar c=baz", "a=foo b=bar c=baz d=choo-choo" },
    { "[{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a,"
      " replacement: 'b${1}${2}m'},"
      " {source_labels: [c, a], regex: '(b).*b(.*)ba(.*)', target_label: d,"
      "  replacement: '$1$2$2$3'}]",
      "a=foo b=bar c=baz", "a=boobam b=bar c=baz d=boooom" },
    { "[{source_labels: [a], regex: 'o*', target_label: b, replacement: x}]", "a=foo", "a=foo" },
    { "[{source_labels: [a], regex: nothing, target_label: a, replacement: x}]", "a=boo", "a=boo" },
    { "[{source_labels: [a], target_label: a, replacement: ''}]", "a=x b=y", "b=y" },
    { "[{replacement: static, target_label: b}]", "a=x", "a=x b=static" },
    { "[{regex: , replacement: static, target_label: b}]", "a=x", "a=x b=static" },
    { "[{source_labels: [missing], target_label: b}]", "a=x b=y", "a=x" },
    { "[{source_labels: [a], regex: '(some)-(text)', target_label: '${1}_x',"
      " replacement: $2}]",
      "a=some-text", "a=some-text some_x=text" },
    { "[{source_labels: [a], regex: '(.)(?P<rest>.*)', target_label: b,"
      " replacement: '$$${rest}'}]",
      "a=xyz", "a=xyz b=$yz" },
    { "[{source_labels: [a, b], separator: '-', target_label: c}]", "a=1 b=2", "a=1 b=2 c=1-2" },
    { "[{source_labels: [a, b], separator: '', target_label: c}]", "a=1 b=2", "a=1 b=2 c=12" },
    /* keep, drop */
    { "[{source_labels: [a], regex: '.*o.*', action: drop}]", "a=foo", "dropped" },
    { "[{source_labels: [a], regex: f, action: drop}]", "a=foo", "a=foo" },
    { "[{source_labels: [a], regex: no, action: keep}]", "a=foo", "dropped" },
    { "[{source_labels: [a], regex: 'f|foo', action: Keep}]", "a=foo", "a=foo" },
    { "[{source_labels: [a], regex: '', action: keep}]", "b=x", "b=x" },
    { "[{source_labels: [a], action: dropequal, target_label: b}]", "a=x b=x", "dropped" },
    { "[{source_labels: [a], action: dropequal, target_label: b}]", "a=x b=y", "a=x b=y" },
    { "[{source_labels: [a], action: keepequal, target_label: b}]", "a=x b=x", "a=x b=x" },
    { "[{source_labels: [a], action: keepequal, target_label: b}]", "a=x b=y", "dropped" },
    /* hashmod: the last eight bytes of MD5 */
    { "[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]",
      "a=foo b=bar c=baz", "a=foo b=bar c=baz d=976" },
    { "[{source_labels: [a], target_label: d, action: hashmod, modulus: 1000}]", "a=foo\nbar",
      "a=foo\nbar d=734" },
    /* names */
    { "[{regex: '(b.*)', replacement: 'bar_${1}', action: labelmap}]", "a=foo b1=bar b2=baz",
      "a=foo b1=bar b2=baz bar_b1=bar bar_b2=baz" },
    { "[{regex: '__meta_(my.*)', action: labelmap}]",
      "__meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc a=foo",
      "__meta_my_bar=aaa __meta_my_baz=bbb __meta_other=ccc a=foo my_bar=aaa my_baz=bbb" },
    { "[{regex: 'b.*', action: labeldrop}]", "a=foo b1=bar b2=baz", "a=foo" },
    { "[{regex: 'b.*', action: labelkeep}]", "a=foo b1=bar b2=baz", "b1=bar b2=baz" },
    /* case */
    { "[{source_labels: [a], target_label: a_upper, action: uppercase},"
      " {source_labels: [a], target_label: a_lower, action: lowercase}]",
      "a=fOo-9", "a=fOo-9 a_lower=foo-9 a_upper=FOO-9" },
    /* order matters, a drop ends it */
    { "[{source_labels: [a], regex: foo, action: drop},"
      " {replacement: x, target_label: never}]",
      "a=foo", "dropped" },
};

static void test_actions(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        const char *got = apply(actions[i].rules, actions[i].in, &arena);
        if (strcmp(got, actions[i].out) != 0) {
            fail_msg("%s\n%s\nexpected %s\ngot %s", actions[i].rules, actions[i].in, actions[i].out,
                     got);
        }
    }
    arena_finish(&arena);
}

static void test_no_rules_keep_everything(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct labels in = parse_labels("a=1 b=2", &arena);
    struct labels out;
    assert_true(ingest_relabel_apply(NULL, in, &arena, &out));
    assert_true(labels_equal(in, out));
    arena_finish(&arena);
}

static void test_rules_that_cannot_mean_anything(void **state) {
    (void)state;

    static const struct {
        const char *rules;
        const char *finding;
    } cases[] = {
        { "a: b", "t.yml:1:1: error: relabel rules must be a list" },
        { "- ", "empty relabel rule" },
        { "- x", "a mapping" },
        { "- {action: replac}", "did you mean \"replace\"?" },
        { "- {action: labelmpa}", "did you mean \"labelmap\"?" },
        { "- {regex: abc}", "action replace requires target_label" },
        { "- {regex: 'abc(def', target_label: x}", "t.yml:1:11: error: regex: " },
        { "- {source_labels: a, target_label: x}", "source_labels must be a list" },
        { "- {source_labels: [''], target_label: x}", "not a valid label name" },
        { "- {source_label: [a], target_label: x}", "did you mean \"source_labels\"?" },
        { "- {action: hashmod, target_label: x}", "requires a modulus" },
        { "- {action: hashmod, modulus: 8}", "action hashmod requires target_label" },
        { "- {action: lowercase}", "action lowercase requires target_label" },
        { "- {action: uppercase, target_label: x, replacement: y}", "replacement has no meaning" },
        { "- {action: keepequal, source_labels: [a]}", "action keepequal requires target_label" },
        { "- {action: dropequal, source_labels: [a], target_label: b, regex: foo}",
          "regex has no meaning for action dropequal" },
        { "- {action: labeldrop, source_labels: [a]}", "source_labels has no meaning" },
        { "- {action: labeldrop, target_label: a}", "target_label has no meaning" },
        { "- {action: labelkeep, modulus: 8}", "modulus has no meaning" },
        { "- {action: labelkeep, separator: ','}", "separator has no meaning" },
        { "- {action: labeldrop, replacement: x}", "replacement has no meaning" },
        { "- {action: labelmap, replacement: ''}", "labelmap requires a replacement" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf findings;
        buf_init(&findings, 1 << 20);
        struct ingest_relabel *relabel = decode(cases[i].rules, &findings);
        if (relabel != NULL || findings.len == 0 ||
            strstr(findings.ptr, cases[i].finding) == NULL) {
            fail_msg("%s\n%s", cases[i].rules, findings.len == 0 ? "accepted" : findings.ptr);
        }
        buf_finish(&findings);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_no_rules_keep_everything),
        cmocka_unit_test(test_rules_that_cannot_mean_anything),
    };
    return cmocka_run_group_tests_name("ingest/relabel", tests, NULL, NULL);
}
