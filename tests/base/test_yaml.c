/*
 * Goal: the YAML tree holds what the text says, knows where it stands, and refuses what is wrong
 * with every finding at its place. Method: tables of texts with the expected tree (printed in a
 * compact form), the expected findings, or the expected position.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/yaml.h"
#include "tests/unit.h"

/* [a,b] for lists, {k=v} for mappings, quoted scalars in '', nulls as ~. */
static void print_tree(struct buf *out, const struct yaml_node *node) {
    if (yaml_is_null(node)) {
        buf_putc(out, '~');
        return;
    }
    switch (node->kind) {
    case YAML_SCALAR:
        buf_cstr(out, node->is_quoted ? "'" : "");
        buf_str(out, node->scalar);
        buf_cstr(out, node->is_quoted ? "'" : "");
        break;
    case YAML_SEQUENCE:
        buf_putc(out, '[');
        for (size_t i = 0; i < node->count; i++) {
            buf_cstr(out, i > 0 ? "," : "");
            print_tree(out, node->items[i]);
        }
        buf_putc(out, ']');
        break;
    case YAML_MAPPING:
        buf_putc(out, '{');
        for (size_t i = 0; i < node->count; i++) {
            buf_cstr(out, i > 0 ? "," : "");
            buf_str(out, node->pairs[i].key->scalar);
            buf_putc(out, '=');
            print_tree(out, node->pairs[i].value);
        }
        buf_putc(out, '}');
        break;
    }
}

/* "line:col message|..." of all findings, warnings marked. */
static void print_findings(struct buf *out, const struct diag_list *diags) {
    for (size_t i = 0; i < diags->count; i++) {
        const struct diag *diag = &diags->items[i];
        buf_printf(out, "%s%u:%u %s%s", i > 0 ? "|" : "", diag->line, diag->column,
                   diag->severity == DIAG_WARNING ? "warning: " : "", diag->message);
    }
}

static void expect_tree(const char *text, const char *expected) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    struct buf out;
    buf_init(&out, 1 << 20);
    if (yaml_parse("t.yml", str_from(text), &doc, &diags)) {
        print_tree(&out, yaml_root(doc));
    } else {
        buf_cstr(&out, "error: ");
        print_findings(&out, &diags);
    }
    assert_string_equal(buf_as_str(&out).ptr, expected);
    buf_finish(&out);
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
}

static void trees(void **state) {
    expect_tree("", "~");
    expect_tree("# only a comment\n", "~");
    expect_tree("---\n", "~");
    expect_tree("a: 1\nb: [x, 'y', \"z\"]\nc:\nd: ~\ne: ''\n", "{a=1,b=[x,'y','z'],c=~,d=~,e=''}");
    expect_tree("\xef\xbb\xbf"
                "a: 1\n",
                "{a=1}");
    expect_tree("a: |\n  x\n   y\nb: >-\n  p\n  q\n", "{a='x\n y\n',b='p q'}");
    expect_tree("a: !!str 5\nb: ! 6\nc: !!int 7\n", "{a='5',b='6',c=7}");
    expect_tree("a: &x 1\nb: *x\n", "{a=1,b=1}");
    expect_tree("a: &x 1\nb: &x 2\nc: *x\n", "{a=1,b=2,c=2}");
    expect_tree("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n",
                "{base={x=1,y=2},use={y=3,x=1}}");
    expect_tree("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\n",
                "{a={x=1},b={x=2,y=2},c={z=3,x=1,y=2}}");
    expect_tree("'<<': 1\n", "{<<=1}");
    expect_tree("%YAML 1.1\n---\na: 1\n...\n", "{a=1}");
}

static void faults(void **state) {
    expect_tree("a: 1\nb: 2\na: 3\nb: 4\n",
                "error: 3:1 duplicate key \"a\", first given at line 1, column 1|"
                "4:1 duplicate key \"b\", first given at line 2, column 1");
    expect_tree("a: *x\nb: *y\n", "error: 1:4 unknown anchor \"x\"|2:4 unknown anchor \"y\"");
    expect_tree("a: &x [1, *x]\n", "error: 1:11 alias \"x\" stands inside the value it refers to");
    expect_tree("a: 1\n---\nb: 2\n",
                "error: 2:1 a second document starts here; one file holds one document");
    expect_tree("a: {<<: 5}\n", "error: 1:9 \"<<\" merges a mapping or a list of mappings");
    expect_tree("[a]: 1\n", "error: 1:1 a mapping key must be a plain value");
    expect_tree("s: {{ $value }}\n", "error: 1:5 quote a value that starts with {{");
    expect_tree("a: !reset x\n", "error: 1:4 unsupported tag \"!reset\"");
    expect_tree("a: b: c\n", "error: 1:5 mapping values are not allowed in this context; "
                             "quote a value that contains \": \", or check the indentation");
    expect_tree(
        "a:\n\t- b\n",
        "error: 2:1 found character that cannot start any token, while scanning for the next "
        "token; a tab cannot indent YAML, use spaces");
    expect_tree(
        "a: @b\n",
        "error: 1:4 found character that cannot start any token, while scanning for the next "
        "token; quote a value that starts with this character");
    expect_tree(
        "a:\n  - b\n c: d\n",
        "error: 3:2 did not find expected key, while parsing a block mapping that starts at "
        "line 1; check the indentation and the quotes");
    expect_tree(
        "s: {{ $value }} is high\n",
        "error: 1:5 quote a value that starts with {{|1:17 did not find expected key, while "
        "parsing a block mapping; quote a value that starts with {{");
    expect_tree(
        "a: 'x\n",
        "error: 2:1 found unexpected end of stream, while scanning a quoted scalar that starts "
        "at line 1; a quote is opened and never closed");
    expect_tree("a: \xff\n", "error: 1:4 invalid leading UTF-8 octet (0xff)");
    expect_tree("ok: 1\nbad: \x01\n", "error: 2:6 control characters are not allowed (0x01)");
}

static void docstring_is_named(void **state) {
    const char *const seed = "# prometheus/alerts.yml\n"
                             "\"\"\"\n"
                             "告警规则配置\n"
                             "\n"
                             "1. 告警阈值基于 SLA 要求（如 99.9% 可用性 → 错误率 < 0.1%）\n"
                             "\"\"\"\n"
                             "\n"
                             "groups:\n"
                             "  - name: hedge_fund_alerts\n";
    const char *const cause =
        "a Python-style docstring (\"\"\") is not YAML; remove it or make it a "
        "comment: comment lines start with #";
    char expected[512];
    snprintf(expected, sizeof(expected), "error: 2:1 %s", cause);
    expect_tree(seed, expected);
    snprintf(expected, sizeof(expected), "error: 2:3 %s", cause);
    expect_tree("groups:\n  \"\"\"rules\n  more\n  \"\"\"\n  - name: x\n", expected);
    snprintf(expected, sizeof(expected), "error: 3:1 %s", cause);
    expect_tree("a: 1\nb: 2\n\"\"\"\ntext: x\n\"\"\"\nc: 1\n", expected);
    /* inside a block scalar it is text, and another line is to blame */
    expect_tree("a: |\n  \"\"\"\n  text\nb: c: d\n",
                "error: 4:5 mapping values are not allowed in this context; "
                "quote a value that contains \": \", or check the indentation");
    expect_tree("a: |\n  \"\"\"\n  text\n", "{a='\"\"\"\ntext\n'}");
}

/* ---- hostile texts ---- */

static char *repeat(const char *text, size_t count, size_t *ret_len) {
    size_t len = strlen(text);
    char *out = malloc(len * count + 1);
    for (size_t i = 0; i < count; i++) {
        memcpy(out + i * len, text, len);
    }
    out[len * count] = '\0';
    *ret_len = len * count;
    return out;
}

static void expect_refused(struct str text, const char *message) {
    struct timespec start;
    struct timespec end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    assert_false(yaml_parse("t.yml", text, &doc, &diags));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double took_s =
        (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
    assert_true(took_s < 0.5); /* 20 s without the guards; generous for sanitizers */
    assert_string_equal(diags.items[diags.count - 1].message, message);
    diag_list_finish(&diags);
}

static void hostile_texts_are_refused_fast(void **state) {
    static const struct {
        const char *unit;
        size_t count;
        const char *message;
    } cases[] = {
        { "[", 100000, "nested more than 64 levels deep" },
        { "[\n", 100000, "nested more than 64 levels deep" },
        { "{a: ", 100000, "nested more than 64 levels deep" },
        { "- ", 100000, "nested more than 64 levels deep" },
        { "? ", 100000, "nested more than 64 levels deep" },
        { "- a\n", 100001, "more than 100000 values, aliases counted each time they are used" },
        { "%TAG ! x\n", 100000, "more than 16 lines that start with %" },
        { "0123456789abcdef", (4 << 16) + 1, "larger than 4 MiB" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = 0;
        char *text = repeat(cases[i].unit, cases[i].count, &len);
        expect_refused(str_n(text, len), cases[i].message);
        free(text);
    }
}

static void alias_bombs_are_counted(void **state) {
    struct buf text;
    buf_init(&text, 65536);
    buf_cstr(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 9; i++) {
        buf_printf(&text, "a%d: &a%d [", i, i);
        for (int j = 0; j < 10; j++) {
            buf_printf(&text, "*a%d, ", i - 1);
        }
        buf_cstr(&text, "]\n");
    }
    expect_refused(buf_as_str(&text),
                   "more than 100000 values, aliases counted each time they are used");
    buf_reset(&text);
    buf_cstr(&text, "a: &a x\nb:\n");
    for (int i = 0; i < 101; i++) {
        buf_cstr(&text, "- *a\n");
    }
    expect_refused(buf_as_str(&text), "more than 100 aliases");
    buf_finish(&text);
}

static void depth_64_is_allowed(void **state) {
    char text[200];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    assert_true(yaml_parse("t.yml", str_n(text, 128), &doc, &diags));
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
}

/* ---- positions ---- */

/* The marker ^ in the value of key "v" must be found at the marker's place in the text. */
static void check_offset(const char *text) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    assert_true(yaml_parse("t.yml", str_from(text), &doc, &diags));
    const struct yaml_node *node = yaml_get(yaml_root(doc), "v");
    assert_non_null(node);
    const char *in_value = memchr(node->scalar.ptr, '^', node->scalar.len);
    assert_non_null(in_value);
    uint32_t line = 1;
    uint32_t column = 1;
    for (const char *c = text; *c != '^'; c++) {
        if (*c == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*c & 0xc0) != 0x80) {
            column++;
        }
    }
    struct diag_at at = yaml_at_offset(doc, node, (size_t)(in_value - node->scalar.ptr));
    if (at.line != line || at.column != column) {
        fail_msg("%s\nexpected %u:%u, found %u:%u", text, line, column, at.line, at.column);
    }
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
}

static void offsets_map_into_every_style(void **state) {
    static const char *const texts[] = {
        "v: sum(x) ^\n",
        "v: 指标 ^\n",
        "a: 1\nv: sum(x)\n   by (y)\n\n   + ^\n",
        "v: 'it''s ''quoted'' ^'\n",
        "v: 'a\n\n    b  c ^'\n",
        "v: \"a\\tb \\\"c\\\" \\u4e2d \\x41\\U0001F600 ^\"\n",
        "v: \"a\\\n    b \\n c\n  d ^\"\n",
        "v: \"\\L\\P\\N\\_ ^\"\n",
        "v: |\n  one\n    two\n  three ^\n",
        "v: |2-  # comment\n    one\n  two ^\n",
        "v: >\n  one\n  two\n\n    kept\n  three ^\n",
        "v: >-\r\n  one\r\n  two ^\r\n",
        "v: &anchor ^\n",
        "v: !!str\n  text ^\n",
        "v: &a !!str |\n  x\n  ^\n",
        "v: ^\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        check_offset(texts[i]);
    }
}

static void check_offset_at(const char *text, size_t offset, uint32_t line, uint32_t column) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    assert_true(yaml_parse("t.yml", str_from(text), &doc, &diags));
    struct diag_at at = yaml_at_offset(doc, yaml_get(yaml_root(doc), "v"), offset);
    if (at.line != line || at.column != column) {
        fail_msg("%s\n%zu: expected %u:%u, found %u:%u", text, offset, line, column, at.line,
                 at.column);
    }
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
}

static void offsets_at_the_edges(void **state) {
    check_offset_at("v: abc\n", 0, 1, 4);
    check_offset_at("v: abc\n", 3, 1, 7);
    check_offset_at("v: abc\n", 99, 1, 7);
    check_offset_at("v: a  c\n", 2, 1, 6);
    check_offset_at("v: 'abc'\n", 3, 1, 8);
    check_offset_at("v: \"\"\n", 0, 1, 5);
    check_offset_at("v: |\n  ab\n  cd\n", 0, 2, 3);
    check_offset_at("v: |\n  ab\n  cd\n", 2, 2, 5);
    check_offset_at("v: |\n  ab\n  cd\n", 3, 3, 3);
    check_offset_at("v: |\n  ab\n  cd\n", 6, 3, 5);
    check_offset_at("v: >\n  ab\n  cd\n", 3, 3, 3);
    check_offset_at("v: &x !!str\n  abc\n", 1, 2, 4);
    check_offset_at("v: ! &x", 0, 1, 8);
    check_offset_at("? v\n:", 0, 2, 2);
    check_offset_at("v: &x !!str |-\n  abc\n", 1, 2, 4);
}

/* ---- environment ---- */

static const char *lookup(void *ctx, const char *name) {
    (void)ctx;
    if (strcmp(name, "HOST") == 0) {
        return "db.example";
    }
    if (strcmp(name, "EMPTY") == 0) {
        return "";
    }
    return strcmp(name, "INJECT") == 0 ? "x\nevil: 1" : NULL;
}

static void check_env(const char *text, const char *expected) {
    static const char *const skip[] = { "expr", "annotations", NULL };
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    assert_true(yaml_parse("t.yml", str_from(text), &doc, &diags));
    yaml_expand_env(doc, lookup, NULL, skip, &diags);
    struct buf out;
    buf_init(&out, 65536);
    if (diags.error_count == 0) {
        print_tree(&out, yaml_root(doc));
    } else {
        buf_cstr(&out, "error: ");
        print_findings(&out, &diags);
    }
    assert_string_equal(buf_as_str(&out).ptr, expected);
    buf_finish(&out);
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
}

static void environment(void **state) {
    check_env("a: ${HOST}:80\nb: 'http://${HOST}/${NONE:-x}'\n",
              "{a=db.example:80,b='http://db.example/x'}");
    check_env("a: ${EMPTY}\nb: ${EMPTY:-d}\nc: ${NONE:-}\nd: ${HOST:?need}\n",
              "{a=~,b=d,c=~,d=db.example}");
    check_env("a: $$HOME $${HOST} $HOST cost$ 5$\n", "{a=$HOME ${HOST} $HOST cost$ 5$}");
    check_env("expr: ${X}\nannotations: {a: '${X}'}\nb: [expr, '${HOST}']\n",
              "{expr=${X},annotations={a='${X}'},b=[expr,'db.example']}");
    check_env("a: |\n  ${X}\n", "{a='${X}\n'}");
    check_env("${HOST}: x\n", "{${HOST}=x}");
    check_env("a: ${INJECT}\n", "{a=x\nevil: 1}");
    check_env(
        "k: x\na: pre ${NONE} ${NONE:?set it} ${EMPTY:?not empty}\n",
        "error: 2:8 environment variable NONE is not set; give a default with ${VAR:-default}|"
        "2:16 environment variable NONE: set it|2:32 environment variable EMPTY: not empty");
    check_env(
        "a: ${1}\nb: ${A B}\nc: ${HOST\n",
        "error: 1:4 \"${1}\" is not ${VAR}, ${VAR:-default} or ${VAR:?message}; write $$ for a "
        "dollar sign|"
        "2:4 \"${A B}\" is not ${VAR}, ${VAR:-default} or ${VAR:?message}; write $$ for a "
        "dollar sign|"
        "3:4 \"${\" without its \"}\"; write $$ for a dollar sign");
}

/* ---- decoder ---- */

struct settings {
    char *name;
    bool is_on;
    int64_t level;
    uint64_t count;
    double ratio;
    int64_t interval_ms;
    uint64_t size_bytes;
    char list[64];
};

static void decode_list(struct yaml_decode *ctx, const struct yaml_node *node, void *dest) {
    if (node->kind != YAML_SEQUENCE) {
        yaml_error(ctx, node, DIAG_ERROR, "expected a list");
        return;
    }
    (void)snprintf(dest, 64, "%zu items", node->count);
}

static const struct yaml_field fields[] = {
    { "name", YAML_STRING, offsetof(struct settings, name), true, NULL },
    { "enabled", YAML_BOOL, offsetof(struct settings, is_on), false, NULL },
    { "level", YAML_I64, offsetof(struct settings, level), false, NULL },
    { "count", YAML_U64, offsetof(struct settings, count), false, NULL },
    { "ratio", YAML_F64, offsetof(struct settings, ratio), false, NULL },
    { "scrape_interval", YAML_DURATION, offsetof(struct settings, interval_ms), false, NULL },
    { "size", YAML_BYTES, offsetof(struct settings, size_bytes), false, NULL },
    { "list", YAML_CUSTOM, offsetof(struct settings, list), false, decode_list },
    { "tracing", YAML_IGNORED, 0, false, NULL },
};

static void check_decode(const char *text, const char *expected) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    assert_true(yaml_parse("t.yml", str_from(text), &doc, &diags));
    struct settings s = { .name = mem_strdup("default"), .level = -1, .ratio = 0.5 };
    struct yaml_decode ctx = { .doc = doc, .diags = &diags };
    bool ok = yaml_decode_mapping(&ctx, yaml_root(doc), fields, ARRAY_LEN(fields), &s);
    assert_int_equal(ok, diags.error_count == 0);
    struct buf out;
    buf_init(&out, 65536);
    if (ok) {
        buf_printf(&out, "%s %d %lld %llu %g %lld %llu %s", s.name, s.is_on, (long long)s.level,
                   (unsigned long long)s.count, s.ratio, (long long)s.interval_ms,
                   (unsigned long long)s.size_bytes, s.list);
    }
    if (diags.count > 0) {
        buf_cstr(&out, ok ? " " : "");
        print_findings(&out, &diags);
    }
    assert_string_equal(buf_as_str(&out).ptr, expected);
    buf_finish(&out);
    mem_free(s.name);
    yaml_doc_destroy(doc);
    diag_list_finish(&diags);
}

static void decoding(void **state) {
    check_decode(
        "name: x\nenabled: yes\nlevel: -3\ncount: 1_000\nratio: 1e3\nscrape_interval: 1m30s\n"
        "size: 10MB\nlist: [a, b]\n",
        "x 1 -3 1000 1000 90000 10485760 2 items");
    check_decode("name: 5\nlevel: 010\ncount: 0x1F\nratio: .inf\n", "5 0 8 31 inf 0 0 ");
    check_decode("name: x\nlevel: 1e3\ncount: 0b101\nratio: 1\n", "x 0 1000 5 1 0 0 ");
    check_decode("name: x\nlevel: -9223372036854775808\ncount: 18446744073709551615\n",
                 "x 0 -9223372036854775808 18446744073709551615 0.5 0 0 ");
    check_decode("name: x\nlevel:\nratio: ~\n", "x 0 -1 0 0.5 0 0 ");
    check_decode("name: x\ntracing: {a: 1}\n",
                 "x 0 -1 0 0.5 0 0  2:1 warning: \"tracing\" is not supported, ignored");
}

static void all_decoding_faults_at_once(void **state) {
    check_decode(
        "enabled: maybe\nlevel: 1.5\ncount: -1\nratio: x\nscrape_intervall: 5s\nzzz: 1\n"
        "list: 5\n",
        "1:10 expected true or false, found \"maybe\"|2:8 expected a whole number, found \"1.5\"|"
        "3:8 expected a whole number of 0 or more, found \"-1\"|"
        "4:8 expected a number, found \"x\"|"
        "5:1 unknown key \"scrape_intervall\", did you mean \"scrape_interval\"?|"
        "6:1 unknown key \"zzz\"|7:7 expected a list|1:1 \"name\" is missing");
    check_decode("name: [a]\nenabled: \"true\"\nlevel: \"5\"\n",
                 "1:7 expected a string, found a list|"
                 "2:10 expected true or false without quotes, found the string \"true\"|"
                 "3:8 expected a whole number, found the string \"5\"");
    check_decode("name:\nlevel: 9223372036854775808\n",
                 "1:1 \"name\" must not be empty|"
                 "2:8 expected a number that fits in 64 bits, found \"9223372036854775808\"");
    check_decode("name: \"a\\0b\"\n", "1:7 a string must not contain a NUL character");
    check_decode("- a\n", "1:1 expected a mapping (key: value), found a list");
    check_decode("", "0:0 \"name\" is missing");
}

static void file_errors(void **state) {
    struct diag_list diags;
    diag_list_init(&diags);
    struct yaml_doc *doc = NULL;
    assert_false(yaml_load("/nonexistent/x.yml", &doc, &diags));
    assert_string_equal(diags.items[0].message, "cannot open the file: No such file or directory");
    assert_false(yaml_load("/", &doc, &diags));
    assert_string_equal(diags.items[1].message, "cannot read the file: Is a directory");
    diag_list_finish(&diags);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees),
        cmocka_unit_test(faults),
        cmocka_unit_test(docstring_is_named),
        cmocka_unit_test(hostile_texts_are_refused_fast),
        cmocka_unit_test(alias_bombs_are_counted),
        cmocka_unit_test(depth_64_is_allowed),
        cmocka_unit_test(offsets_map_into_every_style),
        cmocka_unit_test(offsets_at_the_edges),
        cmocka_unit_test(environment),
        cmocka_unit_test(decoding),
        cmocka_unit_test(all_decoding_faults_at_once),
        cmocka_unit_test(file_errors),
    };
    return cmocka_run_group_tests_name("base/yaml", tests, NULL, NULL);
}
