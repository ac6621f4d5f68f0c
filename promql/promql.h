/*
 * PromQL as of Prometheus 3.14: parse, print, evaluate.
 */
#pragma once

#include "tsdb/tsdb.h"

/* ---- limits (each tested at the limit and one past it) ---- */

#define PROMQL_TEXT_BYTES_MAX (64 * 1024)
#define PROMQL_NESTING_MAX    256  /* parentheses, calls and signs inside each other */
#define PROMQL_HEIGHT_MAX     1024 /* of the tree: a chain a + b + c … adds one per operator */

/* ---- expressions ---- */

enum promql_type {
    PROMQL_NONE,
    PROMQL_SCALAR,
    PROMQL_STRING,
    PROMQL_VECTOR,
    PROMQL_MATRIX,
    PROMQL_TYPE_COUNT,
};

/* As error messages name them: "scalar", "string", "instant vector", "range vector". */
const char *promql_type_to_string(enum promql_type type);
/* As the HTTP API names them: "scalar", "string", "vector", "matrix". */
const char *promql_type_to_api(enum promql_type type);

struct promql_expr;

/* Switches of experimental syntax; all false by default as upstream. */
struct promql_features {
    bool experimental_functions;   /* limitk, limit_ratio, info, mad_over_time … */
    bool duration_expressions;     /* [5m * 2], offset step() */
    bool extended_range_selectors; /* anchored, smoothed */
    bool binop_fill_modifiers;     /* fill, fill_left, fill_right */
    bool delayed_name_removal;     /* evaluation: names are dropped from the final result only */
    bool type_and_unit_labels;     /* evaluation: __type__ tells counters from gauges */
};

/*
 * Parse and type-check.
 * Ownership  *ret lives in `arena`, with copies of all names; `text` is not kept. Regexes of the
 *            matchers are compiled into heap memory: promql_expr_finish() before the arena goes.
 * Errors     ERR_INVALID "LINE:COL: parse error: …" in upstream's words; *ret_offset (NULL ok) is
 *            the byte offset of the error, to be mapped into a rule file. Limits: 64 KiB of text,
 *            nesting and height of the tree (ERR_LIMIT).
 */
WARN_UNUSED bool promql_parse(struct str text,
                              const struct promql_features *features,
                              struct arena *arena,
                              struct promql_expr **ret,
                              size_t *ret_offset,
                              struct err *err);
void promql_expr_finish(struct promql_expr *expr); /* NULL ok */

enum promql_type promql_expr_type(const struct promql_expr *expr);

/* Upstream's canonical form (Expr.String()). */
void promql_print(const struct promql_expr *expr, struct buf *out);
/* Upstream's Prettify: multi-line from 100 columns on. */
void promql_prettify(const struct promql_expr *expr, struct buf *out);

/* The tree as JSON, as upstream's /api/v1/parse_query shows it. */
void promql_tree(const struct promql_expr *expr, struct buf *out);

/* A bare series selector ("metric{a=\"b\"}"), as match[] takes it. Matchers are heap-owned: finish
 * each and mem_free the array. */
WARN_UNUSED bool promql_parse_selector(struct str text,
                                       struct matcher **ret_matchers,
                                       size_t *ret_count,
                                       struct err *err);

/* Calls visit for every vector selector in the tree with its matchers. */
void promql_visit_selectors(const struct promql_expr *expr,
                            void (*visit)(void *ctx, const struct matcher *matchers, size_t count),
                            void *ctx);

/* ---- evaluation ---- */

struct promql_query {
    struct tsdb *db;
    const struct tsdb_batch *overlay; /* NULL, or the caller's open batch to be seen too */
    struct str text;                  /* as parsed: for "(line:col)" in warnings; may be empty */
    int64_t start_ms;                 /* both inclusive; instant query: start == end */
    int64_t end_ms;
    int64_t step_ms;                 /* > 0 for a range query, 0 for an instant query */
    int64_t lookback_ms;             /* 0 = 5 min */
    int64_t subquery_step_ms;        /* default step of subqueries [1h:]; 0 = 1 min */
    uint64_t samples_max;            /* samples held at once; 0 = 50,000,000 */
    const struct clock *clock;       /* for the deadline; NULL = none */
    int64_t deadline_mono_ns;        /* 0 = none */
    const _Atomic bool *is_canceled; /* NULL ok; polled */
    struct promql_features features;
};

struct promql_point {
    int64_t t_ms;
    double value;
};

struct promql_series {
    struct labels labels;
    struct promql_point *points; /* ascending; a step without a value has no entry */
    size_t point_count;
};

struct promql_result {
    enum promql_type type; /* range queries: always PROMQL_MATRIX */
    /* SCALAR: one series without labels. VECTOR: one point per series, in evaluation order (sorted
     * when sort() asks for it). MATRIX: sorted by labels. */
    struct promql_series *series;
    size_t series_count;
    struct str string;    /* STRING */
    struct str *warnings; /* upstream's words, unique, sorted */
    size_t warning_count;
    struct str *infos;
    size_t info_count;
    uint64_t samples_read; /* total queryable samples */
    uint64_t samples_peak;
};

/*
 * Evaluate a parsed expression, once or at every step.
 *
 * Shape      steps = (end_ms - start_ms) / step_ms + 1. A real NaN is kept.
 * Lookback   A selector sees the newest sample in (t - lookback_ms, t]; a stale marker hides it.
 * Ownership  `expr` is borrowed and unchanged; all of *ret lives in `arena`; untouched on failure.
 * Errors     ERR_EXEC    type mismatch at run time, duplicate output labels, many-to-many match
 *            ERR_LIMIT   samples_max or the arena budget exceeded (message names which)
 *            ERR_TIMEOUT, ERR_CANCELED  polled per step and per 1024 series
 *            ERR_CORRUPT, ERR_IO  from the store
 * Threads    Any; opens its own querier.
 */
WARN_UNUSED bool promql_eval(const struct promql_query *query,
                             const struct promql_expr *expr,
                             struct arena *arena,
                             struct promql_result *ret,
                             struct err *err);
