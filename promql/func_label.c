/* label_replace and label_join: new labels, then series that became equal are joined. */
#include <assert.h>

#include "base/regex.h"
#include "promql/eval_call.h"

enum {
    LABEL_BYTES_MAX = 1 << 20
};

struct relabeler {
    struct eval *eval;
    const struct node *node;
    struct str target;
    struct regex *regex; /* label_replace */
    struct buf text;
    struct merger merger;
    bool (*make_value)(struct relabeler *relabeler, struct labels labels); /* into text */
};

static bool is_label_name(struct str name) {
    return name.len > 0 && str_is_utf8(name);
}

static bool relabel_series(void *ctx, const struct step_series *series, struct err *err) {
    struct relabeler *relabeler = ctx;
    struct step_series relabeled = *series;
    buf_reset(&relabeler->text);
    if (relabeler->make_value(relabeler, series->labels)) {
        if (relabeler->text.is_over) {
            return err_set(err, ERR_LIMIT, "label value of more than %d bytes", LABEL_BYTES_MAX);
        }
        struct arena *arena = &relabeler->eval->arena;
        struct str value = arena_str(arena, buf_as_str(&relabeler->text));
        relabeled.labels = lset_with(series->labels, relabeler->target, value, arena);
        if (str_eq(relabeler->target, METRIC_NAME)) {
            relabeled.drops_name = false;
        }
        if (arena_is_over(arena)) {
            return eval_too_many_bytes(relabeler->eval, err);
        }
    }
    return merger_take(&relabeler->merger, &relabeled, err);
}

static bool relabel(struct relabeler *relabeler,
                    const struct steps *steps,
                    const struct sink *sink,
                    struct err *err) {
    struct sink take = { .take = relabel_series, .ctx = relabeler };
    buf_init(&relabeler->text, LABEL_BYTES_MAX);
    merger_init(&relabeler->merger, relabeler->eval, steps);
    bool is_ok = eval_stream(relabeler->eval, relabeler->node->args[0], steps, &take, err) &&
                 matrix_stream(&relabeler->merger.matrix, sink, err);
    step_matrix_finish(&relabeler->merger.matrix);
    buf_finish(&relabeler->text);
    return is_ok;
}

/* ---- label_replace(v, target, replacement, source, regex) ---- */

static bool replace_value(struct relabeler *relabeler, struct labels labels) {
    struct str groups[REGEX_GROUPS_MAX];
    struct str source = labels_get(labels, call_string_arg(relabeler->node, 3));
    size_t count = regex_groups(relabeler->regex, source, groups);
    if (count == 0) {
        return false;
    }
    struct str replacement = call_string_arg(relabeler->node, 2);
    regex_expand(relabeler->regex, replacement, groups, count, &relabeler->text);
    return true;
}

bool func_label_replace(struct eval *eval,
                        const struct node *node,
                        const struct steps *steps,
                        const struct sink *sink,
                        struct err *err) {
    struct relabeler relabeler = {
        .eval = eval,
        .node = node,
        .target = call_string_arg(node, 1),
        .make_value = replace_value,
    };
    struct str pattern = call_string_arg(node, 4);
    struct err regex_err;
    if (!regex_create(pattern, &relabeler.regex, &regex_err)) {
        return err_set(err, ERR_EXEC, "invalid regular expression in label_replace(): %.*s",
                       STR_FMT(pattern));
    }
    bool is_ok = is_label_name(relabeler.target);
    if (!is_ok) {
        err_set(err, ERR_EXEC, "invalid destination label name in label_replace(): %.*s",
                STR_FMT(relabeler.target));
    }
    is_ok = is_ok && relabel(&relabeler, steps, sink, err);
    regex_destroy(relabeler.regex);
    return is_ok;
}

/* ---- label_join(v, target, separator, source…) ---- */

static bool join_value(struct relabeler *relabeler, struct labels labels) {
    for (size_t i = 3; i < relabeler->node->arg_count; i++) {
        if (i > 3) {
            buf_str(&relabeler->text, call_string_arg(relabeler->node, 2));
        }
        buf_str(&relabeler->text, labels_get(labels, call_string_arg(relabeler->node, i)));
    }
    return true;
}

bool func_label_join(struct eval *eval,
                     const struct node *node,
                     const struct steps *steps,
                     const struct sink *sink,
                     struct err *err) {
    for (size_t i = 3; i < node->arg_count; i++) {
        struct str source = call_string_arg(node, i);
        if (!is_label_name(source)) {
            return err_set(err, ERR_EXEC, "invalid source label name in label_join(): %.*s",
                           STR_FMT(source));
        }
    }
    struct relabeler relabeler = {
        .eval = eval,
        .node = node,
        .target = call_string_arg(node, 1),
        .make_value = join_value,
    };
    if (!is_label_name(relabeler.target)) {
        return err_set(err, ERR_EXEC, "invalid destination label name in label_join(): %.*s",
                       STR_FMT(relabeler.target));
    }
    return relabel(&relabeler, steps, sink, err);
}
