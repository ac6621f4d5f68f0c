/*
 * The typed syntax tree. Private to promql/: the parser builds it, the printer and the evaluator
 * read it. Every node lives in the parse arena; positions are byte offsets into the query text.
 */
#pragma once

#include "promql/promql.h"

enum promql_kind {
    PROMQL_NODE_NUMBER,
    PROMQL_NODE_STRING,
    PROMQL_NODE_SELECTOR, /* instant vector selector */
    PROMQL_NODE_RANGE,    /* selector[range] */
    PROMQL_NODE_SUBQUERY, /* expr[range:step] */
    PROMQL_NODE_UNARY,
    PROMQL_NODE_BINARY,
    PROMQL_NODE_AGGREGATE,
    PROMQL_NODE_CALL,
    PROMQL_NODE_PAREN,
    PROMQL_NODE_DURATION, /* duration expression (a number of seconds known per query) */
    PROMQL_NODE_KIND_COUNT,
};

enum promql_op {
    PROMQL_OP_ADD,
    PROMQL_OP_SUB,
    PROMQL_OP_MUL,
    PROMQL_OP_DIV,
    PROMQL_OP_MOD,
    PROMQL_OP_POW,
    PROMQL_OP_ATAN2,
    PROMQL_OP_EQ,
    PROMQL_OP_NE,
    PROMQL_OP_LT,
    PROMQL_OP_LE,
    PROMQL_OP_GT,
    PROMQL_OP_GE,
    PROMQL_OP_AND,
    PROMQL_OP_OR,
    PROMQL_OP_UNLESS,
    PROMQL_OP_TRIM_UPPER, /* </ (native histograms) */
    PROMQL_OP_TRIM_LOWER, /* >/ */
    PROMQL_OP_COUNT,
};

enum promql_agg {
    PROMQL_AGG_SUM,
    PROMQL_AGG_AVG,
    PROMQL_AGG_COUNT,
    PROMQL_AGG_MIN,
    PROMQL_AGG_MAX,
    PROMQL_AGG_GROUP,
    PROMQL_AGG_STDDEV,
    PROMQL_AGG_STDVAR,
    PROMQL_AGG_TOPK,
    PROMQL_AGG_BOTTOMK,
    PROMQL_AGG_COUNT_VALUES,
    PROMQL_AGG_QUANTILE,
    PROMQL_AGG_LIMITK,
    PROMQL_AGG_LIMIT_RATIO,
    PROMQL_AGG_KIND_COUNT,
};

enum promql_card {
    PROMQL_ONE_TO_ONE,
    PROMQL_MANY_TO_ONE,  /* group_left */
    PROMQL_ONE_TO_MANY,  /* group_right */
    PROMQL_MANY_TO_MANY, /* set operators */
};

enum promql_at {
    PROMQL_AT_NONE,
    PROMQL_AT_TIME,  /* @ 123.4 */
    PROMQL_AT_START, /* @ start() */
    PROMQL_AT_END,   /* @ end() */
};

/* Operators of duration expressions beyond + - * / % ^. */
enum promql_duration_op {
    PROMQL_DURATION_NUMBER,
    PROMQL_DURATION_ADD,
    PROMQL_DURATION_SUB,
    PROMQL_DURATION_MUL,
    PROMQL_DURATION_DIV,
    PROMQL_DURATION_MOD,
    PROMQL_DURATION_POW,
    PROMQL_DURATION_NEG,
    PROMQL_DURATION_STEP,  /* step() */
    PROMQL_DURATION_RANGE, /* range() */
    PROMQL_DURATION_MIN,   /* min_of(a, b) */
    PROMQL_DURATION_MAX,   /* max_of(a, b) */
};

/* A duration that is a literal (expr NULL, ms holds it) or a duration expression. */
struct promql_duration {
    int64_t ms;
    struct promql_expr *expr;
};

/* offset and @, shared by selectors and subqueries. */
struct promql_shift {
    struct promql_duration offset; /* may be negative */
    enum promql_at at;
    int64_t at_ms;
};

struct promql_matching {
    enum promql_card card;
    bool is_on;         /* on(...) rather than ignoring(...) */
    bool has_modifier;  /* on or ignoring was written */
    struct str *labels; /* sorted as written */
    size_t label_count;
    struct str *include; /* group_left/right(include) */
    size_t include_count;
    bool has_fill_left;
    bool has_fill_right;
    double fill_left;
    double fill_right;
};

/* Every function of the language, in the order of the table in functions_table.c (by name). */
enum promql_function_id {
    PROMQL_FN_ABS,
    PROMQL_FN_ABSENT,
    PROMQL_FN_ABSENT_OVER_TIME,
    PROMQL_FN_ACOS,
    PROMQL_FN_ACOSH,
    PROMQL_FN_ASIN,
    PROMQL_FN_ASINH,
    PROMQL_FN_ATAN,
    PROMQL_FN_ATANH,
    PROMQL_FN_AVG_OVER_TIME,
    PROMQL_FN_CEIL,
    PROMQL_FN_CHANGES,
    PROMQL_FN_CLAMP,
    PROMQL_FN_CLAMP_MAX,
    PROMQL_FN_CLAMP_MIN,
    PROMQL_FN_COS,
    PROMQL_FN_COSH,
    PROMQL_FN_COUNT_OVER_TIME,
    PROMQL_FN_DAY_OF_MONTH,
    PROMQL_FN_DAY_OF_WEEK,
    PROMQL_FN_DAY_OF_YEAR,
    PROMQL_FN_DAYS_IN_MONTH,
    PROMQL_FN_DEG,
    PROMQL_FN_DELTA,
    PROMQL_FN_DERIV,
    PROMQL_FN_DOUBLE_EXPONENTIAL_SMOOTHING,
    PROMQL_FN_END,
    PROMQL_FN_EXP,
    PROMQL_FN_FIRST_OVER_TIME,
    PROMQL_FN_FLOOR,
    PROMQL_FN_HISTOGRAM_AVG,
    PROMQL_FN_HISTOGRAM_COUNT,
    PROMQL_FN_HISTOGRAM_FRACTION,
    PROMQL_FN_HISTOGRAM_QUANTILE,
    PROMQL_FN_HISTOGRAM_QUANTILES,
    PROMQL_FN_HISTOGRAM_STDDEV,
    PROMQL_FN_HISTOGRAM_STDVAR,
    PROMQL_FN_HISTOGRAM_SUM,
    PROMQL_FN_HOUR,
    PROMQL_FN_IDELTA,
    PROMQL_FN_INCREASE,
    PROMQL_FN_INFO,
    PROMQL_FN_IRATE,
    PROMQL_FN_LABEL_JOIN,
    PROMQL_FN_LABEL_REPLACE,
    PROMQL_FN_LAST_OVER_TIME,
    PROMQL_FN_LN,
    PROMQL_FN_LOG10,
    PROMQL_FN_LOG2,
    PROMQL_FN_MAD_OVER_TIME,
    PROMQL_FN_MAX_OF,
    PROMQL_FN_MAX_OVER_TIME,
    PROMQL_FN_MIN_OF,
    PROMQL_FN_MIN_OVER_TIME,
    PROMQL_FN_MINUTE,
    PROMQL_FN_MONTH,
    PROMQL_FN_PI,
    PROMQL_FN_PREDICT_LINEAR,
    PROMQL_FN_PRESENT_OVER_TIME,
    PROMQL_FN_QUANTILE_OVER_TIME,
    PROMQL_FN_RAD,
    PROMQL_FN_RANGE,
    PROMQL_FN_RATE,
    PROMQL_FN_RESETS,
    PROMQL_FN_ROUND,
    PROMQL_FN_SCALAR,
    PROMQL_FN_SGN,
    PROMQL_FN_SIN,
    PROMQL_FN_SINH,
    PROMQL_FN_SORT,
    PROMQL_FN_SORT_BY_LABEL,
    PROMQL_FN_SORT_BY_LABEL_DESC,
    PROMQL_FN_SORT_DESC,
    PROMQL_FN_SQRT,
    PROMQL_FN_START,
    PROMQL_FN_START_TIMESTAMP,
    PROMQL_FN_STDDEV_OVER_TIME,
    PROMQL_FN_STDVAR_OVER_TIME,
    PROMQL_FN_STEP,
    PROMQL_FN_SUM_OVER_TIME,
    PROMQL_FN_TAN,
    PROMQL_FN_TANH,
    PROMQL_FN_TIME,
    PROMQL_FN_TIMESTAMP,
    PROMQL_FN_TS_OF_FIRST_OVER_TIME,
    PROMQL_FN_TS_OF_LAST_OVER_TIME,
    PROMQL_FN_TS_OF_MAX_OVER_TIME,
    PROMQL_FN_TS_OF_MIN_OVER_TIME,
    PROMQL_FN_VECTOR,
    PROMQL_FN_YEAR,
    PROMQL_FN_COUNT,
};

#define PROMQL_FUNCTION_ARGS_MAX 5

/* Signature of a function; the table stands in functions_table.c. */
struct promql_function {
    const char *name;
    enum promql_type args[PROMQL_FUNCTION_ARGS_MAX]; /* the last one's type for surplus ones */
    uint8_t arg_count;                               /* entries used in args */
    /* 0: exactly arg_count arguments. n > 0: arg_count - 1 arguments and up to n more.
     * -1: arg_count - 1 arguments and any number more. */
    int8_t variadic;
    enum promql_type returns;
    bool is_experimental;
    uint8_t id; /* enum promql_function_id */
};

const struct promql_function *promql_function_find(struct str name); /* NULL: unknown */

struct promql_expr {
    enum promql_kind kind;
    enum promql_type type;
    uint32_t pos_start; /* byte offsets, end exclusive */
    uint32_t pos_end;
    uint32_t height; /* 1 for a leaf; bounds the recursion of everybody who walks the tree */

    union {
        struct {
            double value;
            bool is_duration; /* written as a duration literal: prints as one */
        } number;
        struct str string;

        struct {
            struct str name; /* metric name written before the braces; also among the matchers */
            struct matcher *matchers;
            size_t matcher_count;
            struct promql_shift shift;
            bool is_anchored; /* extended range selectors */
            bool is_smoothed;
        } selector;

        struct {
            struct promql_expr *selector; /* PROMQL_NODE_SELECTOR */
            struct promql_duration range;
        } range;

        struct {
            struct promql_expr *expr;
            struct promql_duration range;
            struct promql_duration step; /* 0 and no expr: default step */
            struct promql_shift shift;
        } subquery;

        struct {
            struct promql_expr *expr;
            enum promql_op op; /* ADD or SUB */
        } unary;

        struct {
            enum promql_op op;
            struct promql_expr *lhs;
            struct promql_expr *rhs;
            bool return_bool;
            struct promql_matching matching; /* vector-vector only */
        } binary;

        struct {
            enum promql_agg op;
            struct promql_expr *expr;
            struct promql_expr *param; /* NULL when the operator has none */
            struct str *grouping;
            size_t grouping_count;
            bool is_without;
            bool has_grouping; /* by or without was written */
        } aggregate;

        struct {
            const struct promql_function *function;
            struct promql_expr **args;
            size_t arg_count;
        } call;
        struct promql_expr *paren;

        struct {
            enum promql_duration_op op;
            double seconds;          /* NUMBER */
            bool is_duration;        /* NUMBER written as a duration literal: prints as one */
            struct promql_expr *lhs; /* duration nodes */
            struct promql_expr *rhs;
            bool is_wrapped; /* written in parentheses */
        } duration;
    };
};

const char *promql_op_to_string(enum promql_op op);
const char *promql_agg_to_string(enum promql_agg op);

static inline bool promql_op_is_comparison(enum promql_op op) {
    return op >= PROMQL_OP_EQ && op <= PROMQL_OP_GE;
}

static inline bool promql_op_is_set(enum promql_op op) {
    return op == PROMQL_OP_AND || op == PROMQL_OP_OR || op == PROMQL_OP_UNLESS;
}

/* The expression without surrounding parentheses. */
static inline const struct promql_expr *promql_unparen(const struct promql_expr *expr) {
    while (expr->kind == PROMQL_NODE_PAREN) {
        expr = expr->paren;
    }
    return expr;
}
