/* From the plan's root to the caller's result. */
#pragma once

#include "promql/eval.h"

/* Everything in *ret lives in `arena`. */
WARN_UNUSED bool result_build(struct eval *eval,
                              const struct node *root,
                              const struct steps *steps,
                              struct arena *arena,
                              struct promql_result *ret,
                              struct err *err);
