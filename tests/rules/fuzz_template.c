/*
 * Fuzz entry: any text as the template of an annotation compiles or is refused at a place inside
 * it, and expands within its limits to the same text twice.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "rules/expand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct labels make_labels(struct arena *arena) {
    static const char *const texts[][2] = {
        { "__name__", "up" },
        { "instance", "host.example.org:9090" },
        { "job", "a" },
    };
    struct labels labels = { .items = arena_calloc(arena, ARRAY_LEN(texts), sizeof(struct label)) };
    for (; labels.count < ARRAY_LEN(texts); labels.count++) {
        labels.items[labels.count].name = str_from(texts[labels.count][0]);
        labels.items[labels.count].value = str_from(texts[labels.count][1]);
    }
    return labels;
}

/* Two series for every query, so that ranges have something to walk. */
static bool answer(void *ctx,
                   struct str query,
                   struct arena *arena,
                   struct promql_result *ret,
                   struct err *err) {
    static struct promql_point points[] = { { 1000, 1.5 }, { 1000, -0.0 } };
    if (query.len == 0) {
        return err_set(err, ERR_INVALID, "empty query");
    }
    struct promql_series *series = arena_calloc(arena, 2, sizeof(*series));
    for (size_t i = 0; i < 2; i++) {
        series[i].labels = make_labels(arena);
        series[i].labels.count -= i;
        series[i].points = &points[i];
        series[i].point_count = 1;
    }
    *ret = (struct promql_result){ .type = PROMQL_VECTOR, .series = series, .series_count = 2 };
    return true;
}

static struct rule_set *load_empty(void) {
    struct diag_list diags;
    struct rules_load_options options = { .external_url = "http://localhost:9090/x" };
    struct rule_set *set = NULL;
    diag_list_init(&diags);
    if (!rules_load_text("empty.yml", STR(""), &options, &set, &diags)) {
        abort();
    }
    diag_list_finish(&diags);
    return set;
}

static void expand_twice(const struct rule_set *set, struct str text, struct tmpl *tmpl) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct expand_input input = {
        .set = set,
        .template_name = "__alert_Fuzz",
        .labels = make_labels(&arena),
        .value = 1234.5,
        .now_ms = 1700000000123,
        .query = answer,
    };
    struct rule_text rule_text = { .text = text, .tmpl = tmpl };
    struct err err = ERR_INIT;
    struct str first;
    struct str second;
    bool ok = rules_expand_text(&input, &rule_text, &arena, &first, &err);
    if (rules_expand_text(&input, &rule_text, &arena, &second, &err) != ok ||
        !str_eq(first, second)) {
        fprintf(stderr, "expands differently the second time\n");
        abort();
    }
    arena_finish(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = { .ptr = (const char *)data, .len = size };
    struct rule_set *set = load_empty();
    struct tmpl *tmpl = NULL;
    struct err err = ERR_INIT;
    size_t offset = 0;
    if (rules_expand_compile(set, "__alert_Fuzz", text, &tmpl, &offset, &err)) {
        expand_twice(set, text, tmpl);
        tmpl_destroy(tmpl);
    } else if (err.code == ERR_NONE || err.msg[0] == '\0' || offset > size) {
        fprintf(stderr, "refused without a proper error\n");
        abort();
    }
    rule_set_destroy(set);
    return 0;
}
