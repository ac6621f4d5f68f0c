/* Tables of expressions and what becomes of them, shared by the parser's tests. */
#pragma once

#include "promql/ast.h"
#include "tests/unit.h"

struct good_case {
    const char *text;
    const char *printed; /* NULL: the text itself */
};

struct bad_case {
    const char *text;
    size_t offset; /* in bytes */
    const char *msg;
};

extern const struct promql_features all_features;

/* Printed as expected; printed and pretty form read back to the same. */
void check_good(const struct good_case *cases, size_t count);
/* Refused with "LINE:COL: parse error: <msg>" at the offset. */
void check_bad(const struct promql_features *features, const struct bad_case *cases, size_t count);
