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
    PROMQL_DURATION_MIN,   /* min(a, b) */
    PROMQL_DURATION_MAX,
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

/* Signature of a function; the table stands in functions.c. */
struct promql_function {
    const char *name;
    enum promql_type args[4];
    uint8_t arg_count; /* declared arguments (variadic: incl. the optional one) */
    int8_t variadic;   /* 0 fixed; n > 0: up to n more than arg_count - 1 …; -1 any number */
    enum promql_type returns;
    bool is_experimental;
    uint8_t id; /* enum of the evaluator's dispatch table */
};

const struct promql_function *promql_function_find(struct str name); /* NULL: unknown */

struct promql_expr {
    enum promql_kind kind;
    enum promql_type type;
    uint32_t pos_start; /* byte offsets, end exclusive */
    uint32_t pos_end;

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
