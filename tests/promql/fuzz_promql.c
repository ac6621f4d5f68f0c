/*
 * Fuzz entry: whatever parses prints, the printed form parses to the same printed form, and so does
 * the pretty form. What does not parse leaves an error and nothing behind.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "promql/promql.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct promql_features features = {
    .experimental_functions = true,
    .duration_expressions = true,
    .extended_range_selectors = true,
    .binop_fill_modifiers = true,
};

struct forms {
    struct buf printed;
    struct buf pretty;
};

static bool parse_and_print(struct str text, struct forms *forms, struct err *err) {
    struct arena arena;
    struct promql_expr *expr;
    size_t offset = 0;
    arena_init(&arena, SIZE_MAX);
    buf_init(&forms->printed, SIZE_MAX);
    buf_init(&forms->pretty, SIZE_MAX);
    bool is_parsed = promql_parse(text, &features, &arena, &expr, &offset, err);
    if (is_parsed) {
        promql_print(expr, &forms->printed);
        promql_prettify(expr, &forms->pretty);
        promql_expr_finish(expr);
    } else if (err->code == ERR_NONE || err->msg[0] == '\0' || offset > text.len) {
        fprintf(stderr, "refused without a proper error\n");
        abort();
    }
    arena_finish(&arena);
    return is_parsed;
}

static void finish_forms(struct forms *forms) {
    buf_finish(&forms->printed);
    buf_finish(&forms->pretty);
}

/* Upstream's form has whole milliseconds: a shorter range prints as 0s, which is refused. */
static bool has_vanished_range(struct str text) {
    return str_find(text, STR("[0s]")) != SIZE_MAX || str_find(text, STR("[0s:")) != SIZE_MAX ||
           str_find(text, STR(":0s]")) != SIZE_MAX;
}

static void check_same(struct str text, struct str expected) {
    struct forms forms;
    struct err err = ERR_INIT;
    if (text.len > PROMQL_TEXT_BYTES_MAX || has_vanished_range(text)) {
        return; /* the printed form may be longer than what was read */
    }
    if (!parse_and_print(text, &forms, &err) || !str_eq(buf_as_str(&forms.printed), expected)) {
        fprintf(stderr, "%.*s: does not read back: %s\n", STR_FMT(text), err.msg);
        abort();
    }
    finish_forms(&forms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str text = str_n((const char *)data, size);
    struct forms forms;
    struct err err = ERR_INIT;
    if (parse_and_print(text, &forms, &err)) {
        check_same(buf_as_str(&forms.printed), buf_as_str(&forms.printed));
        check_same(buf_as_str(&forms.pretty), buf_as_str(&forms.printed));
    }
    finish_forms(&forms);
    struct matcher *matchers;
    size_t count;
    if (promql_parse_selector(text, &matchers, &count, &err)) {
        for (size_t i = 0; i < count; i++) {
            matcher_finish(&matchers[i]);
        }
        mem_free(matchers);
    }
    return 0;
}
