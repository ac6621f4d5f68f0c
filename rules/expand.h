/*
 * Templates in the labels and annotations of alerting rules: compiling them at load, expanding
 * them for one element of an alert's vector.
 */
#pragma once

#include "rules/set.h"

/* How the `query` function of a template asks the store; the result lives in `arena`. */
typedef bool (*expand_query_fn)(void *ctx,
                                struct str query,
                                struct arena *arena,
                                struct promql_result *ret,
                                struct err *err);

/* Everything one element's templates see. Names and values are Prometheus'. */
struct expand_input {
    const struct rule_set *set;
    const char *template_name;
    struct labels labels; /* of the element, __name__ included */
    double value;
    int64_t now_ms;
    expand_query_fn query; /* NULL: `query` fails */
    void *query_ctx;
};

/* Functions common to all templates and those of rules, as one table in the arena. */
struct tmpl_func *rules_expand_funcs(struct arena *arena, size_t *ret_count);

/* Label set as a map; keys and values are borrowed. */
struct tmpl_map rules_expand_labels_map(struct labels labels, struct arena *arena);

/* "/graph?g0.expr=…&g0.tab=1", as upstream links to an expression. */
struct str rules_expand_table_link(struct str query, struct arena *arena);

/* True if the text needs the engine at all. */
bool rules_expand_is_template(struct str text);

/*
 * Compile one text. On a syntax error false, the cause in err and the byte offset it is at in
 * *ret_offset (0 when unknown).
 */
WARN_UNUSED bool rules_expand_compile(const struct rule_set *set,
                                      const char *template_name,
                                      struct str text,
                                      struct tmpl **ret,
                                      size_t *ret_offset,
                                      struct err *err);

/* The expanded text in the arena. False when the template failed: then *ret is upstream's
 * "<error expanding template: …>" and err holds the cause. */
bool rules_expand_text(const struct expand_input *input,
                       const struct rule_text *text,
                       struct arena *arena,
                       struct str *ret,
                       struct err *err);
