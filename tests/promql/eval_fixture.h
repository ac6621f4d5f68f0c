/*
 * For tests of the evaluator: a store filled from a script in the test language's load notation,
 * and results as text, so that a case is a query and a string.
 */
#pragma once

#include "tests/promql/promqltest.h"

struct fixture {
    struct pqt_store store;
};

/* Fails the running test on any error. */
void fixture_open(struct fixture *fixture, const char *load);
void fixture_close(struct fixture *fixture);

/* A query; what is left 0 takes the evaluator's default. */
struct fixture_query {
    const char *text;
    int64_t start_ms;
    int64_t end_ms;  /* with step_ms > 0 */
    int64_t step_ms; /* 0: instant query at start_ms */
    struct promql_query options;
    size_t bytes_max; /* of the result's arena */
};

/* The result as text: one line per series ('metric{a="b"} 1@0 2@60000'), then lines "warning: …"
 * and "info: …"; "error: …" when it failed. Ends without a line feed. */
void fixture_print(const struct fixture *fixture,
                   const struct fixture_query *query,
                   struct buf *out);

struct fixture_case {
    const char *text;
    int64_t start_ms;
    int64_t end_ms;
    int64_t step_ms;
    const char *expected;
};

/* Every case's result must be the text expected. */
void fixture_check(const struct fixture *fixture,
                   const struct promql_query *options,
                   const struct fixture_case *cases,
                   size_t count);
