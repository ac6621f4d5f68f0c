/* Results against expectations, with upstream's tolerance. */
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "base/float.h"
#include "base/regex.h"
#include "tests/promql/promqltest.h"

#define EPSILON 0.000001 /* relative */

static bool almost_equal(double a, double b) {
    if (is_stale(a) || is_stale(b)) {
        return is_stale(a) && is_stale(b);
    }
    if ((isnan(a) && isnan(b)) || a == b) {
        return true;
    }
    double sum = fabs(a) + fabs(b);
    double difference = fabs(a - b);
    if (a == 0 || b == 0 || sum < DBL_MIN) {
        return difference < EPSILON * DBL_MIN;
    }
    return difference / fmin(sum, DBL_MAX) < EPSILON;
}

/* ---- errors ---- */

static bool fail_series(struct err *err, struct labels labels, const char *what) {
    struct buf text;
    buf_init(&text, sizeof(err->msg));
    labels_print(labels, &text);
    err_set(err, ERR_EXEC, "%s %.*s", what, STR_FMT(buf_as_str(&text)));
    buf_finish(&text);
    return false;
}

static bool fail_value(struct err *err, struct labels labels, double expected, double actual) {
    char expected_text[FLOAT_TEXT_MAX];
    char actual_text[FLOAT_TEXT_MAX];
    float_to_general(expected, expected_text);
    float_to_general(actual, actual_text);
    fail_series(err, labels, "for");
    return err_wrap(err, "expected %.64s, got %.64s", expected_text, actual_text);
}

/* ---- vectors ---- */

static size_t find_expected(const struct pqt_eval *eval, struct labels labels) {
    /* A series that is written twice counts as written last. */
    for (size_t i = eval->series_count; i > 0; i--) {
        if (labels_equal(eval->series[i - 1].labels, labels)) {
            return i - 1;
        }
    }
    return SIZE_MAX;
}

static bool all_found(const struct pqt_eval *eval,
                      const struct promql_result *result,
                      struct err *err) {
    for (size_t i = 0; i < eval->series_count; i++) {
        bool is_found = false;
        for (size_t j = 0; j < result->series_count && !is_found; j++) {
            is_found = labels_equal(eval->series[i].labels, result->series[j].labels);
        }
        if (!is_found) {
            return fail_series(err, eval->series[i].labels, "expected series not found:");
        }
    }
    return true;
}

static bool match_vector(const struct pqt_eval *eval,
                         const struct promql_result *result,
                         struct err *err) {
    if (eval->is_scalar) {
        return err_set(err, ERR_EXEC, "expected a scalar, got a vector");
    }
    bool is_ordered = pqt_eval_expects(eval, PQT_EXPECT_ORDERED);
    for (size_t i = 0; i < result->series_count; i++) {
        const struct promql_series *actual = &result->series[i];
        size_t index = find_expected(eval, actual->labels);
        if (index == SIZE_MAX) {
            return fail_series(err, actual->labels, "unexpected series");
        }
        if (is_ordered && index != i) {
            fail_series(err, actual->labels, "for");
            return err_wrap(err, "expected at position %zu, got it at %zu", index + 1, i + 1);
        }
        double expected = eval->series[index].values[0].number;
        if (!almost_equal(expected, actual->points[0].value)) {
            return fail_value(err, actual->labels, expected, actual->points[0].value);
        }
    }
    return all_found(eval, result, err);
}

/* ---- matrices ---- */

static bool match_points(const struct pqt_eval *eval,
                         const struct pqt_series *expected,
                         const struct promql_series *actual,
                         struct err *err) {
    size_t next = 0;
    for (size_t i = 0; i < expected->count; i++) {
        int64_t t_ms = eval->start_ms + (int64_t)i * eval->step_ms;
        if (t_ms > eval->end_ms) {
            return fail_series(err, actual->labels, "more points expected than steps for");
        }
        if (expected->values[i].kind == PQT_OMITTED) {
            continue;
        }
        bool is_there = next < actual->point_count && actual->points[next].t_ms == t_ms;
        if (!is_there || !almost_equal(actual->points[next].value, expected->values[i].number)) {
            double value = next < actual->point_count ? actual->points[next].value : (double)NAN;
            fail_value(err, actual->labels, expected->values[i].number, value);
            return err_wrap(err, "value %zu (t=%" PRId64 ")%s", i + 1, t_ms,
                            is_there ? "" : ", which is missing");
        }
        next++;
    }
    if (next != actual->point_count) {
        fail_series(err, actual->labels, "for");
        return err_wrap(err, "expected %zu points, got %zu", next, actual->point_count);
    }
    return true;
}

static bool match_matrix(const struct pqt_eval *eval,
                         const struct promql_result *result,
                         struct err *err) {
    if (pqt_eval_expects(eval, PQT_EXPECT_ORDERED) || eval->is_scalar) {
        return err_set(err, ERR_EXEC, "expected an ordered or scalar result, got a matrix");
    }
    for (size_t i = 0; i < result->series_count; i++) {
        const struct promql_series *actual = &result->series[i];
        if (i > 0 && labels_cmp(result->series[i - 1].labels, actual->labels) > 0) {
            return fail_series(err, actual->labels, "matrix is not sorted by labels at");
        }
        size_t index = find_expected(eval, actual->labels);
        if (index == SIZE_MAX) {
            return fail_series(err, actual->labels, "unexpected series");
        }
        if (!match_points(eval, &eval->series[index], actual, err)) {
            return false;
        }
    }
    return all_found(eval, result, err);
}

/* ---- the rest ---- */

static bool match_scalar(const struct pqt_eval *eval, double actual, struct err *err) {
    if (!eval->is_scalar) {
        return err_set(err, ERR_EXEC, "expected a vector or matrix, got a scalar");
    }
    if (!almost_equal(eval->scalar, actual)) {
        return fail_value(err, (struct labels){ .count = 0 }, eval->scalar, actual);
    }
    return true;
}

bool pqt_result_matches(const struct pqt_eval *eval,
                        const struct promql_result *result,
                        struct err *err) {
    switch (result->type) {
    case PROMQL_MATRIX: return match_matrix(eval, result, err);
    case PROMQL_VECTOR: return match_vector(eval, result, err);
    case PROMQL_SCALAR: return match_scalar(eval, result->series[0].points[0].value, err);
    case PROMQL_STRING:
        return (eval->is_string && str_eq(eval->string, result->string)) ||
               err_set(err, ERR_EXEC, "got string \"%.*s\"", STR_FMT(result->string));
    case PROMQL_NONE:
    case PROMQL_TYPE_COUNT: break;
    }
    return err_set(err, ERR_INTERNAL, "unknown result type %d", (int)result->type);
}

static bool text_matches(const struct pqt_expect *expect, struct str text) {
    if (expect->is_any) {
        return true;
    }
    if (expect->regex != NULL) {
        struct str groups[REGEX_GROUPS_MAX];
        return regex_groups(expect->regex, text, groups) > 0;
    }
    return str_eq(expect->message, text);
}

/* Every expectation of the kind is met by a text, and every text was expected. */
static bool match_texts(const struct pqt_eval *eval,
                        enum pqt_expect_kind kind,
                        const struct str *texts,
                        size_t count,
                        struct err *err) {
    const char *name = kind == PQT_EXPECT_WARN ? "warning" : "info";
    struct str first = count > 0 ? texts[0] : STR("none");
    for (size_t i = 0; i < eval->expect_count; i++) {
        if (eval->expects[i].kind != kind) {
            continue;
        }
        bool is_met = false;
        for (size_t j = 0; j < count && !is_met; j++) {
            is_met = text_matches(&eval->expects[i], texts[j]);
        }
        if (!is_met) {
            return err_set(err, ERR_EXEC, "expected %s not found; first is: %.*s", name,
                           STR_FMT(first));
        }
    }
    for (size_t j = 0; j < count && pqt_eval_expects(eval, kind); j++) {
        bool is_expected = false;
        for (size_t i = 0; i < eval->expect_count && !is_expected; i++) {
            is_expected =
                eval->expects[i].kind == kind && text_matches(&eval->expects[i], texts[j]);
        }
        if (!is_expected) {
            return err_set(err, ERR_EXEC, "unexpected %s: %.*s", name, STR_FMT(texts[j]));
        }
    }
    return true;
}

bool pqt_annotations_match(const struct pqt_eval *eval,
                           const struct promql_result *result,
                           struct err *err) {
    if (eval->has_warning && result->warning_count == 0) {
        return err_set(err, ERR_EXEC, "expected warnings, got none");
    }
    if (eval->has_info && result->info_count == 0) {
        return err_set(err, ERR_EXEC, "expected infos, got none");
    }
    if (pqt_eval_expects(eval, PQT_EXPECT_NO_WARN) && result->warning_count > 0) {
        return err_set(err, ERR_EXEC, "unexpected warning: %.*s", STR_FMT(result->warnings[0]));
    }
    if (pqt_eval_expects(eval, PQT_EXPECT_NO_INFO) && result->info_count > 0) {
        return err_set(err, ERR_EXEC, "unexpected info: %.*s", STR_FMT(result->infos[0]));
    }
    return match_texts(eval, PQT_EXPECT_WARN, result->warnings, result->warning_count, err) &&
           match_texts(eval, PQT_EXPECT_INFO, result->infos, result->info_count, err);
}

bool pqt_failure_matches(const struct pqt_eval *eval, const char *message, struct err *err) {
    for (size_t i = 0; i < eval->expect_count; i++) {
        const struct pqt_expect *expect = &eval->expects[i];
        if (expect->kind == PQT_EXPECT_FAIL && !text_matches(expect, str_from(message))) {
            return err_set(err, ERR_EXEC, "expected another error, got: %.400s", message);
        }
    }
    return true;
}
