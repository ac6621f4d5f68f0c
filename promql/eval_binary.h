/* Binary operators: what their evaluators share. */
#pragma once

#include "promql/eval.h"

/* An operator on two floats. Comparisons give the left value and say whether to keep it. */
bool binary_apply(enum promql_op op, double lhs, double rhs, double *ret);

/* Results of arithmetic mean something else than their operands: names go. */
static inline bool binary_changes_schema(enum promql_op op) {
    return op <= PROMQL_OP_ATAN2;
}

/* Trimming operators work on native histograms only: say so. */
static inline bool binary_is_trim(enum promql_op op) {
    return op == PROMQL_OP_TRIM_UPPER || op == PROMQL_OP_TRIM_LOWER;
}

void binary_note_incompatible(struct eval *eval, const struct node *node);

/* Series of both sides that agree in the matching labels have the same signature. */
struct signatures {
    struct lset_names names;
    bool is_without;
    struct lset_scratch scratch;
    struct lset_index index;
};

void signatures_init(struct signatures *signatures, const struct node *node, struct arena *arena);
struct labels signature_labels(struct signatures *signatures, struct labels labels);
size_t signature_add(struct signatures *signatures, struct labels labels);

node_eval_fn eval_join; /* vector with vector (eval_match.c) */
node_eval_fn eval_set;  /* and, or, unless (eval_set.c) */
