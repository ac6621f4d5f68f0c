/*
 * Numbers as text, identical to what Go programs print. C++ shim around std::to_chars.
 */
#pragma once

#include "base/buf.h"

#define FLOAT_TEXT_MAX 400 /* longest output of any function below, NUL included */

/* Shortest text that reads back to the same double. All return the length written to `out`
 * (NUL-terminated). Inf and NaN print as +Inf, -Inf, NaN. */
size_t float_to_text(double value, char out[FLOAT_TEXT_MAX]);     /* Go 'f' -1: no exponent */
size_t float_to_general(double value, char out[FLOAT_TEXT_MAX]);  /* Go 'g' -1: %v, exposition */
size_t float_to_exponent(double value, char out[FLOAT_TEXT_MAX]); /* Go 'e' -1: 1e+00 */
/* The query API's form: plain, with an exponent only if |x| < 1e-6 or |x| >= 1e21. */
size_t float_to_json(double value, char out[FLOAT_TEXT_MAX]);

void buf_float_text(struct buf *buf, double value);
void buf_float_json(struct buf *buf, double value);
void buf_float_general(struct buf *buf, double value);
