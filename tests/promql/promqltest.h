/*
 * Runner of upstream's test language (load, clear, eval; see promql/promqltest/README.md of
 * Prometheus): scripts are read into commands, loads go into a real store in a temporary directory,
 * evaluations through the real parser and evaluator. What the engine does not have (native
 * histograms, start timestamps) is skipped and counted with its reason.
 */
#pragma once

#include "promql/ast.h"

struct regex;

/* ---- scripts ---- */

enum pqt_value_kind {
    PQT_OMITTED,
    PQT_FLOAT,
    PQT_HISTOGRAM, /* recognized, its contents are not kept */
};

struct pqt_value {
    enum pqt_value_kind kind;
    double number;
};

/* A line "metric{labels} values" of a load or of an expectation. */
struct pqt_series {
    struct labels labels;
    struct pqt_value *values;
    size_t count;
    size_t cap;
    bool has_histograms;
    bool has_start_times; /* an @st line stands before it */
};

struct pqt_load {
    int64_t gap_ms;
    bool with_nhcb; /* classic histograms are loaded as native ones too */
    struct pqt_series *series;
    size_t count;
    size_t cap;
};

enum pqt_expect_kind {
    PQT_EXPECT_FAIL,
    PQT_EXPECT_WARN,
    PQT_EXPECT_NO_WARN,
    PQT_EXPECT_INFO,
    PQT_EXPECT_NO_INFO,
    PQT_EXPECT_ORDERED,
    PQT_EXPECT_COUNT,
};

struct pqt_expect {
    enum pqt_expect_kind kind;
    struct str message;
    struct regex *regex; /* NULL: the message must be equal, unless there is none */
    bool is_any;
};

struct pqt_eval {
    struct str expr;
    bool is_range;
    int64_t start_ms;
    int64_t end_ms;
    int64_t step_ms;
    int64_t at_ms; /* of an instant query */
    /* the older forms eval_fail, eval_warn, eval_info */
    bool has_warning;
    bool has_info;
    struct pqt_expect *expects;
    size_t expect_count;
    size_t expect_cap;
    bool is_scalar;
    double scalar;
    bool is_string;
    struct str string;
    bool has_range_vector; /* an instant query that gives a matrix */
    struct pqt_series *series;
    size_t series_count;
    size_t series_cap;
};

enum pqt_command_kind {
    PQT_CLEAR,
    PQT_LOAD,
    PQT_EVAL,
};

struct pqt_command {
    enum pqt_command_kind kind;
    size_t line; /* from 1 */

    union {
        struct pqt_load load;
        struct pqt_eval eval;
    };
};

struct pqt_script {
    struct arena arena;
    struct pqt_command *commands;
    size_t count;
    size_t cap;
};

/* Errors name the line. */
WARN_UNUSED bool pqt_script_parse(struct str text, struct pqt_script *ret, struct err *err);
void pqt_script_finish(struct pqt_script *script);

/* "metric{labels} values" (pqt_series.c). */
WARN_UNUSED bool pqt_series_parse(struct str line,
                                  struct arena *arena,
                                  struct pqt_series *ret,
                                  struct err *err);
/* Go's number syntax: 0x1f, 017, 1e3, Inf. */
WARN_UNUSED bool pqt_number_parse(struct str text, double *ret);

bool pqt_eval_expects(const struct pqt_eval *eval, enum pqt_expect_kind kind);

/* ---- store ---- */

/* Why a series cannot be asked for. */
enum pqt_skip {
    PQT_SKIP_NONE,
    PQT_SKIP_HISTOGRAM_RESULT,
    PQT_SKIP_HISTOGRAM_INPUT,
    PQT_SKIP_START_TIMES,
    PQT_SKIP_COUNT,
};

const char *pqt_skip_to_string(enum pqt_skip skip);

struct pqt_gap {
    struct labels labels;
    enum pqt_skip skip;
};

struct pqt_store {
    struct tsdb *db;
    char path[256];
    struct arena arena;
    struct pqt_gap *gaps; /* series that are not (wholly) in the store */
    size_t gap_count;
    size_t gap_cap;
};

WARN_UNUSED bool pqt_store_open(struct pqt_store *ret, struct err *err);
void pqt_store_close(struct pqt_store *store); /* removes the directory */
WARN_UNUSED bool pqt_store_load(struct pqt_store *store,
                                const struct pqt_load *load,
                                struct err *err);
/* Whether an evaluation of `expr` would read a series that is not there. */
enum pqt_skip pqt_store_covers(const struct pqt_store *store, const struct promql_expr *expr);

/* ---- evaluation ---- */

enum pqt_outcome {
    PQT_PASSED,
    PQT_FAILED, /* err says why */
    PQT_SKIPPED,
};

enum pqt_outcome pqt_eval_run(const struct pqt_eval *eval,
                              const struct pqt_store *store,
                              enum pqt_skip *ret_skip,
                              struct err *err);

/* The result is what the script expects; false with the difference. */
bool pqt_result_matches(const struct pqt_eval *eval,
                        const struct promql_result *result,
                        struct err *err);
bool pqt_annotations_match(const struct pqt_eval *eval,
                           const struct promql_result *result,
                           struct err *err);
bool pqt_failure_matches(const struct pqt_eval *eval, const char *message, struct err *err);
