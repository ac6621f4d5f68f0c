/*
 * Evaluation of pipelines: commands, fields, function and method calls. Missing keys read as the
 * map's zero value (Go's missingkey=zero); a field of a nil dot or variable is nil, a field of a
 * nil field is an error.
 */
#include <assert.h>

#include "base/template_exec.h"
#include "base/template_format.h"

enum {
    ARGS_ANY = 255,
};

/* Operands after the first word of a command, and what the pipeline hands over. */
struct operands {
    const struct tmpl_node *const *nodes;
    size_t count;
    const struct tmpl_value *final; /* NULL in the first command */
};

static const struct operands no_operands = { .nodes = NULL, .count = 0, .final = NULL };

static bool eval_arg(struct tmpl_exec *x,
                     struct tmpl_value dot,
                     const struct tmpl_node *node,
                     struct tmpl_value *ret);

static bool has_operands(const struct operands *operands) {
    return operands->count > 0 || operands->final != NULL;
}

/* ---- calls ---- */

static bool check_count(struct tmpl_exec *x,
                        struct str name,
                        size_t count,
                        uint8_t min,
                        uint8_t max) {
    if (count >= min && (count <= max || max == ARGS_ANY)) {
        return true;
    }
    if (max != min && count < min) {
        return tmpl_exec_fail(x, ERR_EXEC,
                              "wrong number of args for %.*s: want at least %u got %zu",
                              STR_FMT(name), min, count);
    }
    return tmpl_exec_fail(x, ERR_EXEC, "wrong number of args for %.*s: want %u got %zu",
                          STR_FMT(name), max, count);
}

static bool eval_operands(struct tmpl_exec *x,
                          struct tmpl_value dot,
                          const struct operands *operands,
                          struct tmpl_value *ret) {
    for (size_t i = 0; i < operands->count; i++) {
        if (!eval_arg(x, dot, operands->nodes[i], &ret[i])) {
            return false;
        }
    }
    if (operands->final != NULL) {
        ret[operands->count] = *operands->final;
    }
    return true;
}

/* A function or method has failed: its message, and its code when it says more than "failed". */
static bool fail_call(struct tmpl_exec *x, const struct tmpl_node *node, struct str name) {
    enum err_code code = x->call_err.code;
    x->node = node;
    return tmpl_exec_fail(x, code == ERR_NONE || code == ERR_INVALID ? ERR_EXEC : code,
                          "error calling %.*s: %s", STR_FMT(name), x->call_err.msg);
}

/* and, or: the first argument that decides, the rest unevaluated. */
static bool eval_logic(struct tmpl_exec *x,
                       struct tmpl_value dot,
                       bool stops_at,
                       const struct operands *operands,
                       struct tmpl_value *ret) {
    for (size_t i = 0; i < operands->count; i++) {
        if (!eval_arg(x, dot, operands->nodes[i], ret)) {
            return false;
        }
        if (tmpl_is_true(ret) == stops_at) {
            return true;
        }
    }
    if (operands->final != NULL) {
        *ret = *operands->final;
    }
    return true;
}

static bool eval_function(struct tmpl_exec *x,
                          struct tmpl_value dot,
                          const struct tmpl_node *node,
                          const struct tmpl_node *command,
                          const struct operands *operands,
                          struct tmpl_value *ret) {
    assert(node->kind == NODE_IDENTIFIER);
    x->node = node;
    const struct tmpl_func *func = node->identifier.func;
    struct str name = node->identifier.name;
    size_t count = operands->count + (operands->final != NULL ? 1 : 0);
    if (!check_count(x, name, count, func->args_min, func->args_max)) {
        return false;
    }
    if (func->call == NULL) {
        return eval_logic(x, dot, str_eq_c(name, "or"), operands, ret);
    }
    struct tmpl_value *args = arena_calloc(x->arena, count + 1, sizeof(*args));
    if (!eval_operands(x, dot, operands, args)) {
        return false;
    }
    *ret = (struct tmpl_value){ .type = TMPL_NIL };
    x->call_err.code = ERR_NONE;
    x->call_err.msg[0] = '\0';
    if (!func->call(x->run->ctx, args, count, x->arena, ret, &x->call_err)) {
        return fail_call(x, command, name);
    }
    return true;
}

static const struct tmpl_method *find_method(const struct tmpl_value *value, struct str name) {
    const struct tmpl_method *methods = NULL;
    size_t count = 0;
    if (value->type == TMPL_LIST) {
        methods = value->list->methods;
        count = value->list->method_count;
    } else if (value->type == TMPL_MAP || value->type == TMPL_OBJECT) {
        methods = value->map->methods;
        count = value->map->method_count;
    }
    for (size_t i = 0; i < count; i++) {
        if (str_eq_c(name, methods[i].name)) {
            return &methods[i];
        }
    }
    return NULL;
}

static bool call_method(struct tmpl_exec *x,
                        struct tmpl_value dot,
                        const struct tmpl_node *node,
                        const struct tmpl_method *method,
                        const struct tmpl_value *self,
                        const struct operands *operands,
                        struct tmpl_value *ret) {
    struct str name = str_from(method->name);
    size_t count = operands->count + (operands->final != NULL ? 1 : 0);
    if (!check_count(x, name, count, method->args_min, method->args_max)) {
        return false;
    }
    struct tmpl_value *args = arena_calloc(x->arena, count + 1, sizeof(*args));
    if (!eval_operands(x, dot, operands, args)) {
        return false;
    }
    *ret = (struct tmpl_value){ .type = TMPL_NIL };
    x->call_err.code = ERR_NONE;
    x->call_err.msg[0] = '\0';
    if (!method->call(self, args, count, x->arena, ret, &x->call_err)) {
        return fail_call(x, node, name);
    }
    return true;
}

/* ---- fields ---- */

static bool eval_field(struct tmpl_exec *x,
                       struct tmpl_value dot,
                       const struct tmpl_node *node,
                       struct str name,
                       const struct operands *operands,
                       struct tmpl_value receiver,
                       struct tmpl_value *ret) {
    if (receiver.type == TMPL_NIL) {
        *ret = receiver;
        return true;
    }
    const struct tmpl_method *method = find_method(&receiver, name);
    if (method != NULL) {
        return call_method(x, dot, node, method, &receiver, operands, ret);
    }
    const struct tmpl_value *found = NULL;
    if (receiver.type == TMPL_MAP || receiver.type == TMPL_OBJECT) {
        found = tmpl_map_find(receiver.map, name);
    }
    if (found == NULL && receiver.type != TMPL_MAP) {
        return tmpl_exec_fail(x, ERR_EXEC, "can't evaluate field %.*s in type %s", STR_FMT(name),
                              tmpl_type_name(&receiver));
    }
    if (has_operands(operands)) {
        return tmpl_exec_fail(x, ERR_EXEC,
                              receiver.type == TMPL_MAP
                                  ? "%.*s is not a method but has arguments"
                                  : "%.*s has arguments but cannot be invoked as function",
                              STR_FMT(name));
    }
    *ret = found != NULL ? *found : tmpl_map_zero(receiver.map);
    return true;
}

/* .A.B.C from `receiver`; only the last one gets the arguments. */
static bool eval_fields(struct tmpl_exec *x,
                        struct tmpl_value dot,
                        const struct tmpl_node *node,
                        size_t first,
                        struct tmpl_value receiver,
                        const struct operands *operands,
                        struct tmpl_value *ret) {
    assert(first < node->path.count);
    for (size_t i = first; i < node->path.count; i++) {
        bool is_last = i + 1 == node->path.count;
        struct tmpl_value next = { .type = TMPL_NIL };
        if (i > first && receiver.type == TMPL_NIL) {
            return tmpl_exec_fail(x, ERR_EXEC, "nil pointer evaluating interface {}.%.*s",
                                  STR_FMT(node->path.names[i]));
        }
        if (!eval_field(x, dot, node, node->path.names[i], is_last ? operands : &no_operands,
                        receiver, &next)) {
            return false;
        }
        receiver = next;
    }
    *ret = receiver;
    return true;
}

static bool refuse_operands(struct tmpl_exec *x,
                            const struct tmpl_node *node,
                            const struct operands *operands) {
    if (!has_operands(operands)) {
        return true;
    }
    struct buf text;
    buf_init(&text, 200);
    tmpl_node_print(node, &text);
    (void)tmpl_exec_fail(x, ERR_EXEC, "can't give argument to non-function %s",
                         buf_as_str(&text).ptr);
    buf_finish(&text);
    return false;
}

static bool get_var(struct tmpl_exec *x, struct str name, struct tmpl_value *ret) {
    for (size_t i = x->var_count; i > x->var_floor; i--) {
        if (str_eq(x->vars[i - 1].name, name)) {
            *ret = x->vars[i - 1].value;
            return true;
        }
    }
    return tmpl_exec_fail(x, ERR_EXEC, "undefined variable: %.*s", STR_FMT(name));
}

static bool eval_variable(struct tmpl_exec *x,
                          struct tmpl_value dot,
                          const struct tmpl_node *node,
                          const struct operands *operands,
                          struct tmpl_value *ret) {
    x->node = node;
    struct tmpl_value value = { .type = TMPL_NIL };
    if (!get_var(x, node->path.names[0], &value)) {
        return false;
    }
    if (node->path.count > 1) {
        return eval_fields(x, dot, node, 1, value, operands, ret);
    }
    *ret = value;
    return refuse_operands(x, node, operands);
}

static bool eval_chain(struct tmpl_exec *x,
                       struct tmpl_value dot,
                       const struct tmpl_node *node,
                       const struct operands *operands,
                       struct tmpl_value *ret) {
    x->node = node;
    struct tmpl_value base = { .type = TMPL_NIL };
    return eval_arg(x, dot, node->path.base, &base) &&
           eval_fields(x, dot, node, 0, base, operands, ret);
}

/* ---- constants, arguments ---- */

static bool eval_constant(struct tmpl_exec *x,
                          const struct tmpl_node *node,
                          struct tmpl_value *ret) {
    x->node = node;
    if (node->kind == NODE_BOOL) {
        *ret = tmpl_bool(node->boolean);
    } else if (node->kind == NODE_STRING) {
        *ret = tmpl_string(node->string.value);
    } else if (node->number.is_float) {
        *ret = tmpl_float(node->number.number);
    } else if (node->number.is_int) {
        *ret = tmpl_int(node->number.integer);
    } else {
        return tmpl_exec_fail(x, ERR_EXEC, "%.*s overflows int", STR_FMT(node->number.text));
    }
    return true;
}

static bool eval_arg(struct tmpl_exec *x,
                     struct tmpl_value dot,
                     const struct tmpl_node *node,
                     struct tmpl_value *ret) {
    x->node = node;
    if (!tmpl_exec_step(x)) {
        return false;
    }
    switch (node->kind) {
    case NODE_DOT: *ret = dot; return true;
    case NODE_NIL: *ret = (struct tmpl_value){ .type = TMPL_NIL }; return true;
    case NODE_FIELD: return eval_fields(x, dot, node, 0, dot, &no_operands, ret);
    case NODE_VARIABLE: return eval_variable(x, dot, node, &no_operands, ret);
    case NODE_PIPE: return tmpl_eval_pipeline(x, dot, node, ret);
    case NODE_IDENTIFIER: return eval_function(x, dot, node, node, &no_operands, ret);
    case NODE_CHAIN: return eval_chain(x, dot, node, &no_operands, ret);
    case NODE_BOOL:
    case NODE_STRING:
    case NODE_NUMBER: return eval_constant(x, node, ret);
    default: BUG("node %d as an argument", (int)node->kind);
    }
}

/* ---- commands ---- */

static bool eval_command(struct tmpl_exec *x,
                         struct tmpl_value dot,
                         const struct tmpl_node *command,
                         const struct tmpl_value *final,
                         struct tmpl_value *ret) {
    const struct tmpl_node *first = command->args.items[0];
    struct operands operands = {
        .nodes = (const struct tmpl_node *const *)command->args.items + 1,
        .count = command->args.count - 1,
        .final = final,
    };
    if (!tmpl_exec_step(x)) {
        return false;
    }
    switch (first->kind) {
    case NODE_FIELD: x->node = first; return eval_fields(x, dot, first, 0, dot, &operands, ret);
    case NODE_CHAIN: return eval_chain(x, dot, first, &operands, ret);
    case NODE_IDENTIFIER: return eval_function(x, dot, first, command, &operands, ret);
    case NODE_VARIABLE: return eval_variable(x, dot, first, &operands, ret);
    case NODE_PIPE:
        return refuse_operands(x, first, &operands) && tmpl_eval_pipeline(x, dot, first, ret);
    default: break;
    }
    x->node = first;
    if (!refuse_operands(x, first, &operands)) {
        return false;
    }
    if (first->kind == NODE_DOT) {
        *ret = dot;
        return true;
    }
    if (first->kind == NODE_NIL) {
        return tmpl_exec_fail(x, ERR_EXEC, "nil is not a command");
    }
    return eval_constant(x, first, ret);
}

bool tmpl_eval_pipeline(struct tmpl_exec *x,
                        struct tmpl_value dot,
                        const struct tmpl_node *pipe,
                        struct tmpl_value *ret) {
    *ret = (struct tmpl_value){ .type = TMPL_NIL };
    if (pipe == NULL) {
        return true;
    }
    x->node = pipe;
    if (!tmpl_exec_enter(x)) {
        return false;
    }
    struct tmpl_value value = *ret;
    for (size_t i = 0; i < pipe->pipe.commands.count; i++) {
        struct tmpl_value next = { .type = TMPL_NIL };
        if (!eval_command(x, dot, pipe->pipe.commands.items[i], i > 0 ? &value : NULL, &next)) {
            return false;
        }
        value = next;
    }
    for (size_t i = 0; i < pipe->pipe.variables.count; i++) {
        struct str name = pipe->pipe.variables.items[i]->path.names[0];
        if (!pipe->pipe.is_assign) {
            tmpl_push_var(x, name, value);
        } else if (!tmpl_set_var(x, name, value)) {
            return false;
        }
    }
    x->frame_depth--;
    *ret = value;
    return true;
}
