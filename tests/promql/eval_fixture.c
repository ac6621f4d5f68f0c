/* A store for evaluator tests and results as text. */
#include "tests/promql/eval_fixture.h"

#include <inttypes.h>

#include "base/float.h"
#include "tests/unit.h"

#define TEXT_BYTES_MAX (1 << 20)

void fixture_open(struct fixture *fixture, const char *load) {
    struct err err = ERR_INIT;
    struct pqt_script script;
    if (!pqt_store_open(&fixture->store, &err) ||
        !pqt_script_parse(str_from(load), &script, &err)) {
        fail_msg("opening a store: %s", err.msg);
    }
    for (size_t i = 0; i < script.count; i++) {
        if (script.commands[i].kind == PQT_LOAD &&
            !pqt_store_load(&fixture->store, &script.commands[i].load, &err)) {
            fail_msg("loading: %s", err.msg);
        }
    }
    pqt_script_finish(&script);
}

void fixture_close(struct fixture *fixture) {
    pqt_store_close(&fixture->store);
}

static void print_result(const struct promql_result *result, struct buf *out) {
    if (result->type == PROMQL_STRING) {
        buf_str(out, result->string);
        buf_putc(out, '\n');
    }
    for (size_t i = 0; i < result->series_count; i++) {
        const struct promql_series *series = &result->series[i];
        labels_print(series->labels, out);
        for (size_t k = 0; k < series->point_count; k++) {
            buf_putc(out, ' ');
            buf_float_general(out, series->points[k].value);
            buf_printf(out, "@%" PRId64, series->points[k].t_ms);
        }
        buf_putc(out, '\n');
    }
    for (size_t i = 0; i < result->warning_count; i++) {
        buf_printf(out, "warning: %.*s\n", STR_FMT(result->warnings[i]));
    }
    for (size_t i = 0; i < result->info_count; i++) {
        buf_printf(out, "info: %.*s\n", STR_FMT(result->infos[i]));
    }
}

void fixture_print(const struct fixture *fixture,
                   const struct fixture_query *query,
                   struct buf *out) {
    struct promql_features features = query->options.features;
    features.experimental_functions = true;
    features.extended_range_selectors = true;
    features.duration_expressions = true;
    features.binop_fill_modifiers = true;
    struct err err = ERR_INIT;
    struct arena parse_arena;
    struct arena arena;
    struct promql_expr *expr = NULL;
    struct promql_result result;
    struct promql_query run = query->options;
    run.db = fixture->store.db;
    run.text = str_from(query->text);
    run.start_ms = query->start_ms;
    run.end_ms = query->step_ms > 0 ? query->end_ms : query->start_ms;
    run.step_ms = query->step_ms;
    run.features = features;
    arena_init(&parse_arena, SIZE_MAX);
    arena_init(&arena, query->bytes_max == 0 ? SIZE_MAX : query->bytes_max);
    size_t start = out->len;
    if (promql_parse(run.text, &features, &parse_arena, &expr, NULL, &err) &&
        promql_eval(&run, expr, &arena, &result, &err)) {
        print_result(&result, out);
    } else {
        buf_printf(out, "error: %s\n", err.msg);
    }
    if (out->len > start) {
        out->ptr[--out->len] = '\0';
    }
    promql_expr_finish(expr);
    arena_finish(&arena);
    arena_finish(&parse_arena);
}

void fixture_check(const struct fixture *fixture,
                   const struct promql_query *options,
                   const struct fixture_case *cases,
                   size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct fixture_query query = {
            .text = cases[i].text,
            .start_ms = cases[i].start_ms,
            .end_ms = cases[i].end_ms,
            .step_ms = cases[i].step_ms,
        };
        if (options != NULL) {
            query.options = *options;
        }
        struct buf out;
        buf_init(&out, TEXT_BYTES_MAX);
        fixture_print(fixture, &query, &out);
        if (!str_eq_c(buf_as_str(&out), cases[i].expected)) {
            fail_msg("%s\nexpected:\n%s\ngot:\n%.*s", cases[i].text, cases[i].expected,
                     STR_FMT(buf_as_str(&out)));
        }
        buf_finish(&out);
    }
}
