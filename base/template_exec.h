/* Private to base/template_exec.c and template_eval.c: one running template. */
#pragma once

#include "base/template_ast.h"

struct tmpl_variable {
    struct str name;
    struct tmpl_value value;
};

struct tmpl_exec {
    const struct tmpl *tmpl;
    const struct tmpl_run *run;
    struct arena *arena;
    struct buf *out;
    struct err *err;
    const struct tmpl_tree *tree; /* being run */
    const struct tmpl_node *node; /* where errors are */
    struct tmpl_variable *vars;   /* a stack; the running template's start at var_floor */
    size_t var_count;
    size_t var_cap;
    size_t var_floor;
    uint32_t steps;
    uint32_t template_depth;
    uint32_t frame_depth; /* nested lists and pipelines: bounds the C stack */
    size_t out_start;
    size_t arena_start;
    struct err call_err; /* of the function that failed; here because struct err is large */
};

/* "template: NAME:LINE:COL: executing ...: message"; returns false. */
PRINTF_LIKE(3, 4)
bool tmpl_exec_fail(struct tmpl_exec *x, enum err_code code, const char *fmt, ...);

/* One more step; false when a limit is passed. */
WARN_UNUSED bool tmpl_exec_step(struct tmpl_exec *x);
WARN_UNUSED bool tmpl_exec_enter(struct tmpl_exec *x); /* a nested list or pipeline */

void tmpl_push_var(struct tmpl_exec *x, struct str name, struct tmpl_value value);
WARN_UNUSED bool tmpl_set_var(struct tmpl_exec *x, struct str name, struct tmpl_value value);

/* The value of a pipeline, whose variables are declared or set. A NULL pipe is nil.
 * template_eval.c. */
WARN_UNUSED bool tmpl_eval_pipeline(struct tmpl_exec *x,
                                    struct tmpl_value dot,
                                    const struct tmpl_node *pipe,
                                    struct tmpl_value *ret);
