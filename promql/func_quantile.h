/* Quantiles of plain values, shared by quantile(), quantile_over_time() and mad_over_time(). */
#pragma once

#include "promql/eval.h"

/* The q-quantile by linear interpolation. Sorts `values` (NaN first). NaN for q NaN or nothing,
 * -Inf for q < 0, +Inf for q > 1. */
double quantile_of(double q, double *values, size_t count);

/* Warn about a quantile outside [0, 1] written at `pos`. */
void quantile_check(struct eval *eval, double q, uint32_t pos);
