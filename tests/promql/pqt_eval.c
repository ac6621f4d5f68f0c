/*
 * One evaluation, tried in all the ways upstream tries it: an instant query also with every
 * selector pinned to its time by @ and evaluated at other times, and each of these also as the
 * middle step of a range query.
 */
#include <inttypes.h>

#include "tests/promql/promqltest.h"

#define SAMPLES_MAX 10000 /* upstream's limit for its own run of these files */
#define MINUTE_MS   60000

static const struct promql_features all_features = {
    .experimental_functions = true,
    .duration_expressions = true,
    .extended_range_selectors = true,
    .binop_fill_modifiers = true,
    .delayed_name_removal = true,
};

/* ---- queries ---- */

struct query {
    struct str text;
    struct promql_expr *expr;
    int64_t at_ms;
};

static bool parse(struct str text, struct arena *arena, struct query *ret, struct err *err) {
    ret->text = text;
    return promql_parse(text, &all_features, arena, &ret->expr, NULL, err);
}

static bool run(const struct pqt_store *store,
                const struct query *query,
                struct promql_query range,
                struct arena *arena,
                struct promql_result *ret,
                struct err *err) {
    range.db = store->db;
    range.text = query->text;
    range.samples_max = SAMPLES_MAX;
    range.features = all_features;
    return promql_eval(&range, query->expr, arena, ret, err);
}

/* Against everything the script says about the result or the failure. */
static bool run_and_match(const struct pqt_eval *eval,
                          const struct pqt_store *store,
                          const struct query *query,
                          struct promql_query range,
                          struct arena *arena,
                          struct promql_result *ret,
                          struct err *err) {
    struct err failure = ERR_INIT;
    bool may_fail = pqt_eval_expects(eval, PQT_EXPECT_FAIL);
    if (!run(store, query, range, arena, ret, &failure)) {
        if (may_fail) {
            return pqt_failure_matches(eval, failure.msg, err);
        }
        return err_set(err, failure.code, "%.*s", (int)sizeof(failure.msg) - 64, failure.msg);
    }
    if (may_fail) {
        return err_set(err, ERR_EXEC, "expected an error, got a result");
    }
    return pqt_annotations_match(eval, ret, err) && pqt_result_matches(eval, ret, err);
}

/* ---- the middle step of a range query ---- */

/* range(), step(), start() and end() depend on the query's range. */
static bool depends_on_range(struct str text) {
    static const struct str names[] = {
        { .ptr = "start()", .len = 7 },
        { .ptr = "end()", .len = 5 },
        { .ptr = "range()", .len = 7 },
        { .ptr = "step()", .len = 6 },
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_find(text, names[i]) != SIZE_MAX) {
            return true;
        }
    }
    return false;
}

/* The vector a matrix holds at one time. */
static void pick_step(struct promql_result *result, int64_t t_ms) {
    size_t kept = 0;
    for (size_t i = 0; i < result->series_count; i++) {
        struct promql_series *series = &result->series[i];
        for (size_t j = 0; j < series->point_count; j++) {
            if (series->points[j].t_ms == t_ms) {
                result->series[kept] = *series;
                result->series[kept].points = &series->points[j];
                result->series[kept++].point_count = 1;
                break;
            }
        }
    }
    result->series_count = kept;
    result->type = PROMQL_VECTOR;
}

static bool run_as_range(const struct pqt_eval *eval,
                         const struct pqt_store *store,
                         const struct query *query,
                         enum promql_type type,
                         struct arena *arena,
                         struct err *err) {
    struct promql_result result;
    struct promql_query range = {
        .start_ms = query->at_ms - MINUTE_MS,
        .end_ms = query->at_ms + MINUTE_MS,
        .step_ms = MINUTE_MS,
    };
    if (!run(store, query, range, arena, &result, err)) {
        return err_wrap(err, "in range mode");
    }
    if (pqt_eval_expects(eval, PQT_EXPECT_ORDERED)) {
        return true; /* a matrix is sorted by labels */
    }
    pick_step(&result, query->at_ms);
    if (type == PROMQL_SCALAR) {
        result.type = PROMQL_SCALAR;
        if (result.series_count == 0) {
            return err_set(err, ERR_EXEC, "in range mode: no scalar at the middle step");
        }
    }
    return pqt_result_matches(eval, &result, err) || err_wrap(err, "in range mode");
}

static bool run_instant(const struct pqt_eval *eval,
                        const struct pqt_store *store,
                        const struct query *query,
                        struct arena *arena,
                        struct err *err) {
    struct promql_result result;
    struct promql_query range = { .start_ms = query->at_ms, .end_ms = query->at_ms };
    if (!run_and_match(eval, store, query, range, arena, &result, err)) {
        return err_wrap(err, "at %" PRId64 " ms", query->at_ms);
    }
    if (pqt_eval_expects(eval, PQT_EXPECT_FAIL) || eval->has_range_vector || eval->is_string ||
        depends_on_range(query->text)) {
        return true;
    }
    return run_as_range(eval, store, query, result.type, arena, err) ||
           err_wrap(err, "at %" PRId64 " ms", query->at_ms);
}

/* ---- pinned to a time ---- */

/* Functions whose result moves with the evaluation time even when their argument does not. */
static bool is_at_unsafe(const struct promql_function *function) {
    switch ((enum promql_function_id)function->id) {
    case PROMQL_FN_DAYS_IN_MONTH:
    case PROMQL_FN_DAY_OF_MONTH:
    case PROMQL_FN_DAY_OF_WEEK:
    case PROMQL_FN_DAY_OF_YEAR:
    case PROMQL_FN_END:
    case PROMQL_FN_HOUR:
    case PROMQL_FN_MINUTE:
    case PROMQL_FN_MONTH:
    case PROMQL_FN_YEAR:
    case PROMQL_FN_PREDICT_LINEAR:
    case PROMQL_FN_RANGE:
    case PROMQL_FN_START:
    case PROMQL_FN_STEP:
    case PROMQL_FN_TIME:
    case PROMQL_FN_TIMESTAMP: return true;
    default: return false;
    }
}

static void pin_shift(struct promql_shift *shift, int64_t t_ms) {
    if (shift->at != PROMQL_AT_TIME) {
        shift->at = PROMQL_AT_TIME;
        shift->at_ms = t_ms;
    }
}

/* Sets @ wherever it is not set; not below a subquery, which pins all of its inside. False when
 * the expression moves with time all the same. */
static bool pin(struct promql_expr *expr, int64_t t_ms) {
    bool is_safe = true;
    switch (expr->kind) {
    case PROMQL_NODE_SELECTOR: pin_shift(&expr->selector.shift, t_ms); return true;
    case PROMQL_NODE_RANGE: return pin(expr->range.selector, t_ms);
    case PROMQL_NODE_SUBQUERY: pin_shift(&expr->subquery.shift, t_ms); return true;
    case PROMQL_NODE_UNARY: return pin(expr->unary.expr, t_ms);
    case PROMQL_NODE_PAREN: return pin(expr->paren, t_ms);
    case PROMQL_NODE_BINARY:
        is_safe = pin(expr->binary.lhs, t_ms);
        return pin(expr->binary.rhs, t_ms) && is_safe;
    case PROMQL_NODE_AGGREGATE:
        is_safe = expr->aggregate.param == NULL || pin(expr->aggregate.param, t_ms);
        return pin(expr->aggregate.expr, t_ms) && is_safe;
    case PROMQL_NODE_CALL:
        is_safe = !is_at_unsafe(expr->call.function);
        for (size_t i = 0; i < expr->call.arg_count; i++) {
            is_safe = pin(expr->call.args[i], t_ms) && is_safe;
        }
        return is_safe;
    case PROMQL_NODE_NUMBER:
    case PROMQL_NODE_STRING:
    case PROMQL_NODE_DURATION:
    case PROMQL_NODE_KIND_COUNT: break;
    }
    return true;
}

static bool run_pinned_at(const struct pqt_eval *eval,
                          const struct pqt_store *store,
                          struct query query,
                          struct arena *arena,
                          struct err *err) {
    int64_t ts = eval->at_ms;
    int64_t times[] = { -10 * ts, 0, ts / 5, ts, 10 * ts };
    if (ts == 0) {
        times[0] = -1000;
        times[1] = 0;
        times[2] = 1000;
    }
    size_t count = ts == 0 ? 3 : ARRAY_LEN(times);
    for (size_t i = 0; i < count; i++) {
        query.at_ms = times[i];
        if (!run_instant(eval, store, &query, arena, err)) {
            return err_wrap(err, "as %.*s", (int)(query.text.len < 120 ? query.text.len : 120),
                            query.text.ptr);
        }
    }
    return true;
}

/* The pinned expression is printed and read again, as upstream does. */
static bool run_pinned(const struct pqt_eval *eval,
                       const struct pqt_store *store,
                       struct arena *arena,
                       struct err *err) {
    struct query query;
    if (!parse(eval->expr, arena, &query, err)) {
        return false;
    }
    bool is_pinned = pin(query.expr, eval->at_ms);
    struct buf text;
    buf_init(&text, PROMQL_TEXT_BYTES_MAX);
    promql_print(query.expr, &text);
    promql_expr_finish(query.expr);
    bool is_done = true;
    if (is_pinned) {
        is_done = parse(buf_as_str(&text), arena, &query, err);
        if (is_done) {
            is_done = run_pinned_at(eval, store, query, arena, err);
            promql_expr_finish(query.expr);
        }
    }
    buf_finish(&text);
    return is_done;
}

/* ---- one evaluation ---- */

static enum pqt_skip find_skip(const struct pqt_eval *eval,
                               const struct pqt_store *store,
                               const struct promql_expr *expr) {
    for (size_t i = 0; i < eval->series_count; i++) {
        if (eval->series[i].has_histograms) {
            return PQT_SKIP_HISTOGRAM_RESULT;
        }
    }
    return pqt_store_covers(store, expr);
}

static bool run_all(const struct pqt_eval *eval,
                    const struct pqt_store *store,
                    const struct query *query,
                    struct arena *arena,
                    struct err *err) {
    if (!eval->is_range) {
        return run_instant(eval, store, query, arena, err) && run_pinned(eval, store, arena, err);
    }
    struct promql_result result;
    struct promql_query range = {
        .start_ms = eval->start_ms,
        .end_ms = eval->end_ms,
        .step_ms = eval->step_ms,
    };
    return run_and_match(eval, store, query, range, arena, &result, err);
}

enum pqt_outcome pqt_eval_run(const struct pqt_eval *eval,
                              const struct pqt_store *store,
                              enum pqt_skip *ret_skip,
                              struct err *err) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct query query = { .at_ms = eval->at_ms };
    enum pqt_outcome outcome = PQT_FAILED;
    if (parse(eval->expr, &arena, &query, err)) {
        *ret_skip = find_skip(eval, store, query.expr);
        if (*ret_skip != PQT_SKIP_NONE) {
            outcome = PQT_SKIPPED;
        } else if (run_all(eval, store, &query, &arena, err)) {
            outcome = PQT_PASSED;
        }
        promql_expr_finish(query.expr);
    }
    arena_finish(&arena);
    return outcome;
}
