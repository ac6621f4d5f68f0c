/*
 * Text to tokens. Which token a word is depends on where it stands (braces, brackets), as in
 * upstream's lexer; errors are tokens too, so that the parser decides which problem comes first.
 */
#pragma once

#include "base/buf.h"

enum promql_token_type {
    PROMQL_TOKEN_ERROR, /* text is the message */
    PROMQL_TOKEN_EOF,
    PROMQL_TOKEN_IDENTIFIER,
    PROMQL_TOKEN_METRIC_IDENTIFIER, /* has a colon */
    PROMQL_TOKEN_NUMBER,
    PROMQL_TOKEN_DURATION,
    PROMQL_TOKEN_STRING,
    PROMQL_TOKEN_EQL, /* = */
    PROMQL_TOKEN_COLON,
    PROMQL_TOKEN_COMMA,
    PROMQL_TOKEN_LEFT_BRACE,
    PROMQL_TOKEN_RIGHT_BRACE,
    PROMQL_TOKEN_LEFT_BRACKET,
    PROMQL_TOKEN_RIGHT_BRACKET,
    PROMQL_TOKEN_LEFT_PAREN,
    PROMQL_TOKEN_RIGHT_PAREN,
    /* operators */
    PROMQL_TOKEN_ADD,
    PROMQL_TOKEN_SUB,
    PROMQL_TOKEN_MUL,
    PROMQL_TOKEN_DIV,
    PROMQL_TOKEN_MOD,
    PROMQL_TOKEN_POW,
    PROMQL_TOKEN_ATAN2,
    PROMQL_TOKEN_EQLC, /* == */
    PROMQL_TOKEN_NEQ,
    PROMQL_TOKEN_LSS,
    PROMQL_TOKEN_LTE,
    PROMQL_TOKEN_GTR,
    PROMQL_TOKEN_GTE,
    PROMQL_TOKEN_TRIM_UPPER, /* </ */
    PROMQL_TOKEN_TRIM_LOWER, /* >/ */
    PROMQL_TOKEN_EQL_REGEX,
    PROMQL_TOKEN_NEQ_REGEX,
    PROMQL_TOKEN_LAND,
    PROMQL_TOKEN_LOR,
    PROMQL_TOKEN_LUNLESS,
    PROMQL_TOKEN_AT,
    /* aggregations, in the order of enum promql_agg */
    PROMQL_TOKEN_SUM,
    PROMQL_TOKEN_AVG,
    PROMQL_TOKEN_COUNT_AGG,
    PROMQL_TOKEN_MIN,
    PROMQL_TOKEN_MAX,
    PROMQL_TOKEN_GROUP,
    PROMQL_TOKEN_STDDEV,
    PROMQL_TOKEN_STDVAR,
    PROMQL_TOKEN_TOPK,
    PROMQL_TOKEN_BOTTOMK,
    PROMQL_TOKEN_COUNT_VALUES,
    PROMQL_TOKEN_QUANTILE,
    PROMQL_TOKEN_LIMITK,
    PROMQL_TOKEN_LIMIT_RATIO,
    /* keywords */
    PROMQL_TOKEN_OFFSET,
    PROMQL_TOKEN_SMOOTHED,
    PROMQL_TOKEN_ANCHORED,
    PROMQL_TOKEN_BY,
    PROMQL_TOKEN_WITHOUT,
    PROMQL_TOKEN_ON,
    PROMQL_TOKEN_IGNORING,
    PROMQL_TOKEN_GROUP_LEFT,
    PROMQL_TOKEN_GROUP_RIGHT,
    PROMQL_TOKEN_FILL,
    PROMQL_TOKEN_FILL_LEFT,
    PROMQL_TOKEN_FILL_RIGHT,
    PROMQL_TOKEN_BOOL,
    /* names with a meaning of their own in @ and in durations */
    PROMQL_TOKEN_START,
    PROMQL_TOKEN_END,
    PROMQL_TOKEN_STEP,
    PROMQL_TOKEN_RANGE,
    PROMQL_TOKEN_MAX_OF,
    PROMQL_TOKEN_MIN_OF,
    PROMQL_TOKEN_TYPE_COUNT,
};

struct promql_token {
    enum promql_token_type type;
    size_t pos;      /* byte offset */
    struct str text; /* as written; borrowed from the query (or from the lexer for an error) */
};

static inline bool promql_token_is_operator(enum promql_token_type type) {
    return type >= PROMQL_TOKEN_ADD && type <= PROMQL_TOKEN_AT;
}

static inline bool promql_token_is_aggregation(enum promql_token_type type) {
    return type >= PROMQL_TOKEN_SUM && type <= PROMQL_TOKEN_LIMIT_RATIO;
}

static inline bool promql_token_is_keyword(enum promql_token_type type) {
    return type >= PROMQL_TOKEN_OFFSET && type <= PROMQL_TOKEN_BOOL;
}

static inline bool promql_token_is_preprocessor(enum promql_token_type type) {
    return type >= PROMQL_TOKEN_START && type <= PROMQL_TOKEN_MIN_OF;
}

/* As error messages describe it: identifier "foo", <op:+>, end of input. */
void promql_token_describe(const struct promql_token *token, struct buf *out);

struct promql_lexer {
    struct str text;
    size_t pos;   /* next byte to read */
    size_t start; /* first byte of the token being read */
    size_t width; /* of the last character read; one step back */
    int paren_depth;
    bool is_brace_open;
    bool is_bracket_open;
    bool is_duration; /* directly inside brackets: only duration expressions */
    bool has_colon;   /* seen since the bracket opened */
    bool has_duration;
    bool is_done;
    struct buf message; /* of the error token */
};

void promql_lexer_init(struct promql_lexer *lexer, struct str text);
void promql_lexer_finish(struct promql_lexer *lexer);

/* After an error token or the end, only EOF follows. Comments are skipped. */
void promql_lexer_next(struct promql_lexer *lexer, struct promql_token *ret);
