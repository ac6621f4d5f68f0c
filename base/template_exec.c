/*
 * Running a template: text, actions, control structures, templates in templates.
 *
 * Invariant   a failure unwinds everything, so depth counters and variables are restored on the
 *             successful paths only.
 */
#include "base/template_exec.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "base/template_format.h"

enum {
    FRAMES_MAX = 1000,
    CONTEXT_BYTES_MAX = 120, /* of the <...> in messages */
};

#define VALUE_BYTES_MAX ((size_t)16 << 20) /* arena memory of one run */

enum outcome {
    OUTCOME_DONE,
    OUTCOME_BREAK,
    OUTCOME_CONTINUE,
    OUTCOME_FAILED,
};

/* ---- errors and limits ---- */

/* Where the node is, as Go prints it: line from 1, column from 0, in bytes. */
static void find_place(const struct tmpl_exec *x, size_t *ret_line, size_t *ret_column) {
    struct str text = x->tree->text;
    size_t pos = x->node->pos < text.len ? x->node->pos : text.len;
    *ret_line = 1;
    *ret_column = pos;
    for (size_t i = 0; i < pos; i++) {
        if (text.ptr[i] == '\n') {
            ++*ret_line;
            *ret_column = pos - i - 1;
        }
    }
}

bool tmpl_exec_fail(struct tmpl_exec *x, enum err_code code, const char *fmt, ...) {
    char message[sizeof(x->err->msg)];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    size_t line = 0;
    size_t column = 0;
    find_place(x, &line, &column);
    struct buf context;
    buf_init(&context, (size_t)1 << 20);
    tmpl_node_print(x->node, &context);
    struct str shown = buf_as_str(&context);
    bool is_cut = shown.len > CONTEXT_BYTES_MAX;
    shown.len = is_cut ? CONTEXT_BYTES_MAX : shown.len;
    struct str name = tmpl_quote(x->tree->name, x->arena);
    (void)err_set(x->err, code, "template: %.*s:%zu:%zu: executing %.*s at <%.*s%s>: %s",
                  STR_FMT(x->tree->parse_name), line, column, STR_FMT(name), STR_FMT(shown),
                  is_cut ? "..." : "", len < 0 ? "(message could not be formatted)" : message);
    buf_finish(&context);
    return false;
}

bool tmpl_exec_step(struct tmpl_exec *x) {
    if (++x->steps > TMPL_STEPS_MAX) {
        return tmpl_exec_fail(x, ERR_LIMIT, "more than %d steps", TMPL_STEPS_MAX);
    }
    if (arena_is_over(x->arena) || x->arena->bytes_used - x->arena_start > VALUE_BYTES_MAX) {
        return tmpl_exec_fail(x, ERR_LIMIT, "values take more memory than allowed");
    }
    return true;
}

bool tmpl_exec_enter(struct tmpl_exec *x) {
    if (++x->frame_depth > FRAMES_MAX) {
        return tmpl_exec_fail(x, ERR_LIMIT, "nested more than %d deep", FRAMES_MAX);
    }
    return true;
}

static enum outcome check_output(struct tmpl_exec *x) {
    if (x->out->is_over || x->out->len - x->out_start > TMPL_OUTPUT_BYTES_MAX) {
        (void)tmpl_exec_fail(x, ERR_LIMIT, "more than %zu bytes of output", TMPL_OUTPUT_BYTES_MAX);
        return OUTCOME_FAILED;
    }
    return OUTCOME_DONE;
}

/* ---- variables ---- */

void tmpl_push_var(struct tmpl_exec *x, struct str name, struct tmpl_value value) {
    x->vars = arena_vec_grow(x->arena, x->vars, &x->var_cap, x->var_count + 1, sizeof(x->vars[0]));
    x->vars[x->var_count++] = (struct tmpl_variable){ .name = name, .value = value };
}

bool tmpl_set_var(struct tmpl_exec *x, struct str name, struct tmpl_value value) {
    for (size_t i = x->var_count; i > x->var_floor; i--) {
        if (str_eq(x->vars[i - 1].name, name)) {
            x->vars[i - 1].value = value;
            return true;
        }
    }
    return tmpl_exec_fail(x, ERR_EXEC, "undefined variable: %.*s", STR_FMT(name));
}

/* ---- output ---- */

/* Does the output end where an attribute that holds a URL starts? */
static bool is_at_url(const struct buf *out) {
    static const char *const starts[] = { "href=\"", "href='",    "src=\"",
                                          "src='",   "action=\"", "action='" };
    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        size_t len = strlen(starts[i]);
        if (out->len >= len && strncasecmp(out->ptr + out->len - len, starts[i], len) == 0) {
            return true;
        }
    }
    return false;
}

/* html/template's filter: no scheme, or one that cannot run script. */
static bool is_safe_url(struct str url) {
    size_t colon = str_find(url, STR(":"));
    size_t slash = str_find(url, STR("/"));
    if (colon == SIZE_MAX || slash < colon) {
        return true;
    }
    struct str scheme = str_n(url.ptr, colon);
    return str_eq_nocase(scheme, STR("http")) || str_eq_nocase(scheme, STR("https")) ||
           str_eq_nocase(scheme, STR("mailto"));
}

/* html/template's normalisation: what cannot stand in a URL becomes %xx, escapes are kept. */
static void append_url(struct buf *out, struct str url) {
    static const char kept[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                               "-._~!#$*,/:;=?@[]%";
    for (size_t i = 0; i < url.len; i++) {
        char c = url.ptr[i];
        if (c != '\0' && strchr(kept, c) != NULL) {
            buf_putc(out, c);
        } else if (c == '&' || c == '+') {
            tmpl_append_html_strict(out, str_n(&c, 1));
        } else {
            buf_printf(out, "%%%02x", (unsigned)(unsigned char)c);
        }
    }
}

static void print_html(struct tmpl_exec *x, const struct tmpl_value *value) {
    if (value->type == TMPL_NIL) {
        return;
    }
    struct str text = tmpl_value_text(value, x->arena);
    bool is_marked = value->type == TMPL_STRING && value->is_html;
    if (is_at_url(x->out) && !is_safe_url(text)) {
        buf_cstr(x->out, "#ZgotmplZ");
    } else if (is_at_url(x->out)) {
        append_url(x->out, text);
    } else if (is_marked) {
        buf_str(x->out, text);
    } else {
        tmpl_append_html_strict(x->out, text);
    }
}

static enum outcome walk_action(struct tmpl_exec *x,
                                struct tmpl_value dot,
                                const struct tmpl_node *node) {
    const struct tmpl_node *pipe = node->branch.pipe;
    struct tmpl_value value;
    if (!tmpl_eval_pipeline(x, dot, pipe, &value)) {
        return OUTCOME_FAILED;
    }
    if (pipe->pipe.variables.count > 0) {
        return OUTCOME_DONE;
    }
    x->node = node;
    if (x->run->is_html) {
        print_html(x, &value);
    } else if (value.type == TMPL_NIL) {
        buf_cstr(x->out, "<no value>");
    } else {
        tmpl_append_value(x->out, &value);
    }
    return check_output(x);
}

/* ---- control structures ---- */

static enum outcome walk_list(struct tmpl_exec *x,
                              struct tmpl_value dot,
                              const struct tmpl_nodes *list);

/* {{else if}} chains are followed in a loop: each is the only node of its predecessor's else. */
static enum outcome walk_if_or_with(struct tmpl_exec *x,
                                    struct tmpl_value dot,
                                    const struct tmpl_node *node) {
    size_t mark = x->var_count;
    enum outcome outcome = OUTCOME_DONE;
    for (;;) {
        struct tmpl_value value;
        x->node = node;
        if (!tmpl_exec_step(x) || !tmpl_eval_pipeline(x, dot, node->branch.pipe, &value)) {
            return OUTCOME_FAILED;
        }
        if (tmpl_is_true(&value)) {
            outcome = walk_list(x, node->kind == NODE_WITH ? value : dot, &node->branch.list);
            break;
        }
        const struct tmpl_nodes *other = &node->branch.else_list;
        if (other->count == 1 &&
            (other->items[0]->kind == NODE_IF || other->items[0]->kind == NODE_WITH)) {
            node = other->items[0];
            continue;
        }
        outcome = walk_list(x, dot, other);
        break;
    }
    x->var_count = mark;
    return outcome;
}

/* Give the loop variables their values, then run the body. */
static enum outcome walk_iteration(struct tmpl_exec *x,
                                   const struct tmpl_node *node,
                                   size_t mark,
                                   struct tmpl_value index,
                                   struct tmpl_value element) {
    const struct tmpl_node *pipe = node->branch.pipe;
    size_t count = pipe->pipe.variables.count;
    for (size_t i = 0; i < count; i++) {
        struct tmpl_value value = count > 1 && i == 0 ? index : element;
        if (!pipe->pipe.is_assign) {
            x->vars[mark - count + i].value = value;
        } else if (!tmpl_set_var(x, pipe->pipe.variables.items[i]->path.names[0], value)) {
            return OUTCOME_FAILED;
        }
    }
    x->node = node;
    if (!tmpl_exec_step(x)) {
        return OUTCOME_FAILED;
    }
    enum outcome outcome = walk_list(x, element, &node->branch.list);
    x->var_count = mark;
    return outcome;
}

/* The number of iterations a value allows; false when it allows none at all. */
static bool count_iterations(struct tmpl_exec *x,
                             const struct tmpl_node *node,
                             const struct tmpl_value *value,
                             int64_t *ret) {
    switch (value->type) {
    case TMPL_NIL: *ret = 0; return true;
    case TMPL_LIST: *ret = (int64_t)value->list->count; return true;
    case TMPL_MAP: *ret = (int64_t)value->map->count; return true;
    case TMPL_INT:
        if (node->branch.pipe->pipe.variables.count > 1) {
            return tmpl_exec_fail(x, ERR_EXEC,
                                  "can't use %lld to iterate over more than one variable",
                                  (long long)value->integer);
        }
        *ret = value->integer;
        return true;
    default: {
        struct str text = tmpl_value_text(value, x->arena);
        return tmpl_exec_fail(x, ERR_EXEC, "range can't iterate over %.*s", STR_FMT(text));
    }
    }
}

static enum outcome walk_range(struct tmpl_exec *x,
                               struct tmpl_value dot,
                               const struct tmpl_node *node) {
    size_t outer_mark = x->var_count;
    struct tmpl_value value;
    int64_t count = 0;
    if (!tmpl_eval_pipeline(x, dot, node->branch.pipe, &value) ||
        !count_iterations(x, node, &value, &count)) {
        return OUTCOME_FAILED;
    }
    size_t mark = x->var_count;
    enum outcome outcome = OUTCOME_DONE;
    for (int64_t i = 0; i < count; i++) {
        struct tmpl_value index = tmpl_int(i);
        struct tmpl_value element = index;
        if (value.type == TMPL_LIST) {
            element = value.list->items[i];
        } else if (value.type == TMPL_MAP) {
            index = tmpl_string(value.map->keys[i]);
            element = value.map->values[i];
        }
        outcome = walk_iteration(x, node, mark, index, element);
        if (outcome == OUTCOME_FAILED || outcome == OUTCOME_BREAK) {
            break;
        }
    }
    if (outcome != OUTCOME_FAILED) {
        outcome = count > 0 ? OUTCOME_DONE : walk_list(x, dot, &node->branch.else_list);
    }
    x->var_count = outer_mark;
    return outcome;
}

static enum outcome walk_template(struct tmpl_exec *x,
                                  struct tmpl_value dot,
                                  const struct tmpl_node *node) {
    const struct tmpl_tree *tree = map_get(&x->tmpl->trees, node->call.name);
    if (tree == NULL) {
        struct str name = tmpl_quote(node->call.name, x->arena);
        (void)tmpl_exec_fail(x, ERR_EXEC, "template %.*s not defined", STR_FMT(name));
        return OUTCOME_FAILED;
    }
    if (x->template_depth >= TMPL_DEPTH_MAX) {
        (void)tmpl_exec_fail(x, ERR_LIMIT, "exceeded maximum template depth (%d)", TMPL_DEPTH_MAX);
        return OUTCOME_FAILED;
    }
    struct tmpl_value inner = { .type = TMPL_NIL };
    if (!tmpl_eval_pipeline(x, dot, node->call.pipe, &inner)) {
        return OUTCOME_FAILED;
    }
    const struct tmpl_tree *outer = x->tree;
    size_t floor = x->var_floor;
    size_t mark = x->var_count;
    x->tree = tree;
    x->var_floor = mark;
    x->template_depth++;
    tmpl_push_var(x, STR("$"), inner);
    enum outcome outcome = walk_list(x, inner, &tree->root);
    if (outcome != OUTCOME_FAILED) {
        x->template_depth--;
        x->var_count = mark;
        x->var_floor = floor;
        x->tree = outer;
    }
    return outcome;
}

static enum outcome walk(struct tmpl_exec *x, struct tmpl_value dot, const struct tmpl_node *node) {
    x->node = node;
    if (!tmpl_exec_step(x)) {
        return OUTCOME_FAILED;
    }
    switch (node->kind) {
    case NODE_TEXT: buf_str(x->out, node->text); return check_output(x);
    case NODE_ACTION: return walk_action(x, dot, node);
    case NODE_IF:
    case NODE_WITH: return walk_if_or_with(x, dot, node);
    case NODE_RANGE: return walk_range(x, dot, node);
    case NODE_BREAK: return OUTCOME_BREAK;
    case NODE_CONTINUE: return OUTCOME_CONTINUE;
    case NODE_TEMPLATE: return walk_template(x, dot, node);
    default: BUG("node %d in a list", (int)node->kind);
    }
}

static enum outcome walk_list(struct tmpl_exec *x,
                              struct tmpl_value dot,
                              const struct tmpl_nodes *list) {
    if (list->count == 0) {
        return OUTCOME_DONE;
    }
    if (!tmpl_exec_enter(x)) {
        return OUTCOME_FAILED;
    }
    enum outcome outcome = OUTCOME_DONE;
    for (size_t i = 0; i < list->count && outcome == OUTCOME_DONE; i++) {
        outcome = walk(x, dot, list->items[i]);
    }
    if (outcome != OUTCOME_FAILED) {
        x->frame_depth--;
    }
    return outcome;
}

/* ---- entry ---- */

bool tmpl_execute(const struct tmpl *tmpl,
                  const struct tmpl_run *run,
                  struct arena *arena,
                  struct buf *out,
                  struct err *err) {
    const struct tmpl_tree *tree = map_get(&tmpl->trees, str_from(run->name));
    if (tree == NULL) {
        struct str name = tmpl_quote(str_from(run->name), arena);
        return err_set(err, ERR_EXEC, "template: no template %.*s", STR_FMT(name));
    }
    struct tmpl_exec x = {
        .tmpl = tmpl,
        .run = run,
        .arena = arena,
        .out = out,
        .err = err,
        .tree = tree,
        .out_start = out->len,
        .arena_start = arena->bytes_used,
    };
    tmpl_push_var(&x, STR("$"), run->dot);
    for (size_t i = 0; i < run->var_count; i++) {
        tmpl_push_var(&x, str_from(run->var_names[i]), run->var_values[i]);
    }
    enum outcome outcome = walk_list(&x, run->dot, &tree->root);
    assert(outcome == OUTCOME_DONE || outcome == OUTCOME_FAILED);
    assert(outcome == OUTCOME_FAILED || (x.frame_depth == 0 && x.template_depth == 0));
    return outcome == OUTCOME_DONE;
}
