/*
 * The evaluator's private vocabulary: the plan, the state of one evaluation, series streams.
 *
 * A query runs in two stages. The plan (eval_plan.c) is the syntax tree with everything resolved
 * that does not depend on data: durations, @ times, parentheses, step-invariant parts. Each plan
 * node is then evaluated over all steps at once and hands its result, series by series, to a sink:
 * chains like sum(rate(m[5m])) never hold more than one series' steps. Nodes that need everything
 * at hand (joins, topk) collect their inputs in a step_matrix first.
 */
#pragma once

#include "promql/annotations.h"
#include "promql/ast.h"
#include "promql/eval_labels.h"
#include "promql/eval_steps.h"

/* Times further from the epoch are refused: beyond any real one, far from the ends of an int64. */
#define EVAL_TIME_MS_MAX (INT64_MAX / 4)

/* ---- plan ---- */

enum node_kind {
    NODE_NUMBER,
    NODE_STRING,
    NODE_SELECTOR,  /* instant vector selector */
    NODE_RANGE,     /* selector[range] */
    NODE_SUBQUERY,  /* args[0][range:resolution] */
    NODE_UNARY,     /* args[0] */
    NODE_BINARY,    /* args[0], args[1] */
    NODE_AGGREGATE, /* args[0]; args[1] is the parameter when there is one */
    NODE_CALL,      /* args as written */
    NODE_INVARIANT, /* args[0] evaluated at the first step, repeated at all */
    NODE_KIND_COUNT,
};

/* The series a selector found, looked up on first use and kept for the query. */
struct selection {
    struct tsdb_series_view *views;
    size_t count;
    bool is_loaded;
    bool is_unique_sans_name; /* dropping the metric name would not merge any two */
};

struct node {
    enum node_kind kind;
    enum promql_type type;
    const struct promql_expr *expr; /* as written: position, matchers, operator, matching */
    struct node **args;
    size_t arg_count;
    double number;               /* NUMBER */
    struct selection *selection; /* SELECTOR, RANGE */
    int64_t range_ms;            /* RANGE, SUBQUERY */
    int64_t resolution_ms;       /* SUBQUERY */
    int64_t offset_ms;           /* SELECTOR, RANGE, SUBQUERY */
    bool has_at;
    int64_t at_ms;
};

/* ---- state of one evaluation ---- */

struct eval {
    const struct promql_query *query;
    struct tsdb_querier *querier; /* NULL when the query selects nothing */
    struct arena arena;           /* plan, selections, label sets: as long as the query */
    struct annotations notes;
    int64_t lookback_ms;
    int64_t subquery_step_ms;
    bool delays_name_removal;

    uint64_t samples_max;
    uint64_t samples_now; /* held at this moment, counted as upstream does */
    uint64_t samples_peak;
    uint64_t samples_total; /* looked at, per step */

    size_t bytes_max;  /* budget for all matrices together */
    size_t bytes_held; /* by the matrices alive */
    int64_t work_left; /* until the next look at clock and cancel flag */
};

/* Receives the series of a node one after the other. A series is borrowed for the call; one without
 * any value is never passed on. */
struct sink {
    bool (*take)(void *ctx, const struct step_series *series, struct err *err);
    void *ctx;
};

static inline bool sink_take(const struct sink *sink,
                             const struct step_series *series,
                             struct err *err) {
    return series->count == 0 || sink->take(sink->ctx, series, err);
}

/* ---- plan building (eval_plan.c, eval_duration.c) ---- */

WARN_UNUSED bool plan_build(struct eval *eval,
                            const struct promql_expr *expr,
                            struct node **ret,
                            struct err *err);

/* Wrap the step-invariant parts of a complete plan. */
WARN_UNUSED bool plan_finish(struct eval *eval, struct node **root, struct err *err);

/* The value of a duration expression. Errors: ERR_EXEC in upstream's words. */
WARN_UNUSED bool plan_duration(const struct promql_query *query,
                               const struct promql_duration *duration,
                               bool may_be_negative,
                               int64_t *ret_ms,
                               struct err *err);

/* The time range of all samples the plan may look at; false when it selects nothing. */
bool plan_time_range(const struct eval *eval,
                     const struct node *node,
                     const struct steps *steps,
                     int64_t *ret_min_ms,
                     int64_t *ret_max_ms);

/* Where a selector or subquery looks at from step time t_ms: @ and offset applied. */
static inline int64_t node_reference_ms(const struct node *node, int64_t t_ms) {
    return (node->has_at ? node->at_ms : t_ms) - node->offset_ms;
}

/* ---- evaluation (eval.c) ---- */

WARN_UNUSED bool eval_stream(struct eval *eval,
                             const struct node *node,
                             const struct steps *steps,
                             const struct sink *sink,
                             struct err *err);

/* Evaluate and keep everything; ret is initialised here, finish it in any case. */
WARN_UNUSED bool eval_collect(struct eval *eval,
                              const struct node *node,
                              const struct steps *steps,
                              struct step_matrix *ret,
                              struct err *err);

/* As eval_collect, joining series whose labels became equal (their steps must not overlap). */
WARN_UNUSED bool eval_collect_merged(struct eval *eval,
                                     const struct node *node,
                                     const struct steps *steps,
                                     struct step_matrix *ret,
                                     struct err *err);

/* A scalar expression's value at every step, in `arena`. */
WARN_UNUSED bool eval_scalar(struct eval *eval,
                             const struct node *node,
                             const struct steps *steps,
                             struct arena *arena,
                             double **ret,
                             struct err *err);

/* A sink that joins series with equal labels. The matrix is the caller's to finish. */
struct merger {
    struct step_matrix matrix;
    struct lset_index index;
};

void merger_init(struct merger *merger, struct eval *eval, const struct steps *steps);
bool merger_take(void *ctx, const struct step_series *series, struct err *err);

/* Pass a matrix on. */
WARN_UNUSED bool matrix_stream(const struct step_matrix *matrix,
                               const struct sink *sink,
                               struct err *err);

/* Whether the series of a node stay distinct when their names are dropped; false is always safe. */
WARN_UNUSED bool eval_is_unique_sans_name(struct eval *eval,
                                          const struct node *node,
                                          bool *ret,
                                          struct err *err);

/* A stage that drops the names of arg's series: run() streams its results into the sink it is
 * given; they are joined on the way to `out` where names were all that told them apart. */
struct dropping_stage {
    bool (*run)(void *ctx, const struct sink *out, struct err *err);
    void *ctx;
};

WARN_UNUSED bool eval_dropping_names(struct eval *eval,
                                     const struct node *arg,
                                     const struct steps *steps,
                                     const struct dropping_stage *stage,
                                     const struct sink *out,
                                     struct err *err);

/* The labels a name-dropping operation gives its result; with delayed removal only the mark. */
void eval_drop_name(struct eval *eval, struct step_series *series);

/* ---- budgets (eval_budget.c) ---- */

/* Account for `units` samples or values touched; looks at deadline and cancel flag now and then. */
WARN_UNUSED bool eval_work(struct eval *eval, size_t units, struct err *err);
/* Change of the number of samples held; the limit is checked on the way up. */
WARN_UNUSED bool eval_hold(struct eval *eval, uint64_t samples, struct err *err);
/* Stages that work on a stream count for themselves and account when the stream has ended, because
 * only then is what they consumed complete, as upstream has it; until then they check their own. */
WARN_UNUSED bool eval_fits(const struct eval *eval, uint64_t samples, struct err *err);
/* Note that `samples` more than held now were held for a moment. */
WARN_UNUSED bool eval_touch(struct eval *eval, uint64_t samples, struct err *err);
/* Everything held since `mark` is released but for `kept` samples. */
WARN_UNUSED bool eval_release_to(struct eval *eval, uint64_t mark, uint64_t kept, struct err *err);
/* Upstream's account of evaluating step by step: on top of what is held now, one step's inputs
 * and the result were there at once; then only the result is left on top of `mark`. */
WARN_UNUSED bool eval_account(struct eval *eval,
                              uint64_t mark,
                              uint64_t gathered,
                              uint64_t produced,
                              struct err *err);
/* Memory of matrices: refuse before allocating, or count what was allocated. */
WARN_UNUSED bool eval_reserve_bytes(struct eval *eval, size_t bytes, struct err *err);
WARN_UNUSED bool eval_too_many_samples(struct err *err);
/* The number of steps bounds every array, whether there are samples or not. */
WARN_UNUSED bool eval_check_steps(const struct steps *steps, struct err *err);
WARN_UNUSED bool eval_too_many_bytes(const struct eval *eval, struct err *err);

/* ---- node kinds, one evaluator each ---- */

typedef bool node_eval_fn(struct eval *eval,
                          const struct node *node,
                          const struct steps *steps,
                          const struct sink *sink,
                          struct err *err);

node_eval_fn eval_selector;
node_eval_fn eval_unary;
node_eval_fn eval_binary;
node_eval_fn eval_aggregate;
node_eval_fn eval_call;

/* ---- selectors (eval_selector.c) ---- */

/* Look the series up if that has not happened yet. */
WARN_UNUSED bool selection_load(struct eval *eval, const struct node *node, struct err *err);

/* As eval_selector, but each value is the time of the sample found, in milliseconds. */
node_eval_fn eval_selector_times;

/* Fill a series with what an instant selector sees: at each step the newest sample within the
 * lookback, or its time in milliseconds. */
void selector_fill(const struct eval *eval,
                   const struct node *node,
                   const struct steps *steps,
                   const struct tsdb_column *column,
                   bool wants_times,
                   struct step_series *series);
