/* Goal: layers of YAML merge key by key and print back. Method: two texts in, one text out. */
#include "base/mem.h"
#include "base/yaml.h"
#include "tests/unit.h"

static const struct yaml_keyed_list keyed[] = { { "receivers", "name" } };
static const char *const secrets[] = { "password", NULL };

static const struct {
    const char *base;
    const char *layer;
    const char *expected;
} cases[] = {
    { "a: 1\nb: 2\n", "b: 3\nc: 4\n", "a: 1\nb: 3\nc: 4\n" },
    { "g:\n  x: 1\n  y: 2\n", "g:\n  y: 5\n", "g:\n  x: 1\n  y: 5\n" },
    { "l: [1, 2]\n", "l: [3]\n", "l:\n  - 3\n" },
    { "a: 1\nb: 2\n", "a: null\n", "b: 2\n" },
    { "receivers:\n  - name: a\n    v: 1\n  - name: b\n", "receivers:\n  - name: a\n    v: 2\n",
      "receivers:\n  -\n    name: a\n    v: 2\n  -\n    name: b\n" },
    { "receivers:\n  - name: a\n", "receivers:\n  - name: c\n",
      "receivers:\n  -\n    name: a\n  -\n    name: c\n" },
    { "", "a: x y\n", "a: x y\n" },
    { "a: {}\n", "a: []\n", "a: []\n" },
    { "password: hunter2\nurl: http://h:80/\n", "", "password: <secret>\nurl: http://h:80/\n" },
    { "s: \"yes\"\nt: 'a: b'\n", "", "s: \"yes\"\nt: \"a: b\"\n" },
};

static struct yaml_doc *parse(const char *file, const char *text) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    assert_true(yaml_parse(file, str_from(text), &doc, &diags));
    diag_list_finish(&diags);
    return doc;
}

static void test_merge(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct yaml_doc *doc = parse("base.yml", cases[i].base);
        yaml_merge(doc, parse("layer.yml", cases[i].layer), keyed, ARRAY_LEN(keyed));
        struct buf out;
        buf_init(&out, 1 << 16);
        yaml_print(doc, secrets, &out);
        assert_string_equal(out.ptr, cases[i].expected);
        buf_finish(&out);
        yaml_doc_destroy(doc);
    }
}

static void test_positions_name_their_file(void **state) {
    (void)state;
    struct yaml_doc *doc = parse("base.yml", "a: 1\nb: 2\n");
    yaml_merge(doc, parse("layer.yml", "\n\nb: 3\n"), keyed, ARRAY_LEN(keyed));
    struct diag_at a = yaml_at(doc, yaml_get(yaml_root(doc), "a"));
    struct diag_at b = yaml_at(doc, yaml_get(yaml_root(doc), "b"));
    assert_string_equal(a.file, "base.yml");
    assert_int_equal(a.line, 1);
    assert_string_equal(b.file, "layer.yml");
    assert_int_equal(b.line, 3);
    yaml_doc_destroy(doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_positions_name_their_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
