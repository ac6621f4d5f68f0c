/* Parts of the canonical form that the pretty printer puts on lines of their own. */
#pragma once

#include "promql/ast.h"

void promql_print_operator(const struct promql_expr *expr, struct buf *out);    /* + on (a) */
void promql_print_aggregation(const struct promql_expr *expr, struct buf *out); /* sum by (a) */
void promql_print_subquery_suffix(const struct promql_expr *expr, struct buf *out);
