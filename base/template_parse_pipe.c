/* Parsing of pipelines, commands and operands. */
#include "base/template_format.h"
#include "base/template_parse.h"

/* ---- operands ---- */

static const struct tmpl_func *find_func(const struct tmpl_func *funcs,
                                         size_t count,
                                         struct str name) {
    for (size_t i = 0; i < count; i++) {
        if (str_eq_c(name, funcs[i].name)) {
            return &funcs[i];
        }
    }
    return NULL;
}

static struct tmpl_node *parse_identifier(struct tmpl_parser *p, struct tmpl_token token) {
    struct tmpl_node *node = tmpl_node_new(p, NODE_IDENTIFIER, token.pos);
    node->identifier.name = token.text;
    node->identifier.func = find_func(p->tmpl->funcs, p->tmpl->func_count, token.text);
    if (node->identifier.func == NULL) {
        node->identifier.func = find_func(tmpl_builtins, tmpl_builtin_count, token.text);
        node->identifier.is_builtin = true;
    }
    if (node->identifier.func == NULL) {
        p->last = token;
        (void)tmpl_parse_fail(p, "function %s not defined", tmpl_quote(token.text, p->arena).ptr);
        return NULL;
    }
    return node;
}

static void add_name(struct tmpl_parser *p, struct tmpl_node *node, struct str name) {
    node->path.names = arena_vec_grow(p->arena, node->path.names, &node->path.cap,
                                      node->path.count + 1, sizeof(node->path.names[0]));
    node->path.names[node->path.count++] = name;
}

static struct tmpl_node *new_path(struct tmpl_parser *p,
                                  enum tmpl_node_kind kind,
                                  struct tmpl_token token) {
    struct tmpl_node *node = tmpl_node_new(p, kind, token.pos);
    size_t dot = kind == NODE_FIELD ? 1 : 0;
    add_name(p, node, str_n(token.text.ptr + dot, token.text.len - dot));
    return node;
}

static struct tmpl_node *parse_variable(struct tmpl_parser *p, struct tmpl_token token) {
    bool is_known = str_eq_c(token.text, "$");
    for (size_t i = p->var_floor; i < p->var_count && !is_known; i++) {
        is_known = str_eq(p->vars[i], token.text);
    }
    if (!is_known) {
        p->last = token;
        (void)tmpl_parse_fail(p, "undefined variable %s", tmpl_quote(token.text, p->arena).ptr);
        return NULL;
    }
    return new_path(p, NODE_VARIABLE, token);
}

static struct tmpl_node *parse_parentheses(struct tmpl_parser *p) {
    if (p->paren_depth >= TMPL_DEPTH_MAX) {
        (void)tmpl_parse_fail(p, "max expression depth exceeded");
        return NULL;
    }
    p->paren_depth++;
    struct tmpl_node *node = tmpl_parse_pipeline(p, "parenthesized pipeline", TOKEN_RIGHT_PAREN);
    p->paren_depth--;
    return node;
}

static struct tmpl_node *parse_string(struct tmpl_parser *p, struct tmpl_token token) {
    struct tmpl_node *node = tmpl_node_new(p, NODE_STRING, token.pos);
    node->string.quoted = token.text;
    p->last = token;
    return tmpl_unquote(p, token.text, &node->string.value) ? node : NULL;
}

/* A term; NULL with *ret_ok still true when the next token is none (it is pushed back). */
static struct tmpl_node *parse_term(struct tmpl_parser *p, bool *ret_ok) {
    struct tmpl_token token = tmpl_next_non_space(p);
    struct tmpl_node *node = NULL;
    switch (token.type) {
    case TOKEN_IDENTIFIER: node = parse_identifier(p, token); break;
    case TOKEN_DOT: node = tmpl_node_new(p, NODE_DOT, token.pos); break;
    case TOKEN_NIL: node = tmpl_node_new(p, NODE_NIL, token.pos); break;
    case TOKEN_VARIABLE: node = parse_variable(p, token); break;
    case TOKEN_FIELD: node = new_path(p, NODE_FIELD, token); break;
    case TOKEN_BOOL:
        node = tmpl_node_new(p, NODE_BOOL, token.pos);
        node->boolean = str_eq_c(token.text, "true");
        break;
    case TOKEN_CHAR_CONSTANT: node = tmpl_parse_char_token(p, token); break;
    case TOKEN_NUMBER: node = tmpl_parse_number_token(p, token); break;
    case TOKEN_LEFT_PAREN: node = parse_parentheses(p); break;
    case TOKEN_STRING:
    case TOKEN_RAW_STRING: node = parse_string(p, token); break;
    default: tmpl_push_back(p, token); return NULL;
    }
    *ret_ok = node != NULL;
    return node;
}

static bool can_have_fields(enum tmpl_node_kind kind) {
    switch (kind) {
    case NODE_BOOL:
    case NODE_STRING:
    case NODE_NUMBER:
    case NODE_NIL:
    case NODE_DOT: return false;
    default: return true;
    }
}

/* A term and the fields taken from it: .A.B, $x.A, (pipeline).A */
static struct tmpl_node *parse_operand(struct tmpl_parser *p, bool *ret_ok) {
    struct tmpl_node *node = parse_term(p, ret_ok);
    if (node == NULL || tmpl_peek(p).type != TOKEN_FIELD) {
        return node;
    }
    struct tmpl_node *path = node;
    uint32_t pos = tmpl_peek(p).pos;
    if (!can_have_fields(node->kind)) {
        struct buf text;
        buf_init(&text, 256);
        tmpl_node_print(node, &text);
        struct str quoted = tmpl_quote(buf_as_str(&text), p->arena);
        buf_finish(&text);
        *ret_ok = tmpl_parse_fail(p, "unexpected . after term %s", quoted.ptr);
        return NULL;
    }
    if (node->kind != NODE_FIELD && node->kind != NODE_VARIABLE) {
        path = tmpl_node_new(p, NODE_CHAIN, pos);
        path->path.base = node;
    }
    path->pos = pos;
    while (tmpl_peek(p).type == TOKEN_FIELD) {
        struct str field = tmpl_next(p).text;
        add_name(p, path, str_n(field.ptr + 1, field.len - 1));
    }
    return path;
}

/* ---- commands and pipelines ---- */

/* Operands up to a pipe, which is read, or the end of the pipeline, which is not. */
static struct tmpl_node *parse_command(struct tmpl_parser *p) {
    struct tmpl_node *command = tmpl_node_new(p, NODE_COMMAND, tmpl_peek_non_space(p).pos);
    for (;;) {
        bool ok = true;
        (void)tmpl_peek_non_space(p);
        struct tmpl_node *operand = parse_operand(p, &ok);
        if (!ok) {
            return NULL;
        }
        if (operand != NULL) {
            tmpl_nodes_add(p, &command->args, operand);
        }
        struct tmpl_token token = tmpl_next(p);
        if (token.type == TOKEN_SPACE) {
            continue;
        }
        if (token.type == TOKEN_RIGHT_DELIM || token.type == TOKEN_RIGHT_PAREN) {
            tmpl_push_back(p, token);
        } else if (token.type != TOKEN_PIPE) {
            (void)tmpl_unexpected(p, token, "operand");
            return NULL;
        }
        break;
    }
    if (command->args.count == 0) {
        (void)tmpl_parse_fail(p, "empty command");
        return NULL;
    }
    return command;
}

static void add_variable(struct tmpl_parser *p, struct tmpl_node *pipe, struct tmpl_token token) {
    tmpl_nodes_add(p, &pipe->pipe.variables, new_path(p, NODE_VARIABLE, token));
    p->vars = arena_vec_grow(p->arena, p->vars, &p->var_cap, p->var_count + 1, sizeof(p->vars[0]));
    p->vars[p->var_count++] = token.text;
}

/* "$x :=", "$x =", "$i, $x :=" at the start of a pipeline. */
static bool parse_declarations(struct tmpl_parser *p, struct tmpl_node *pipe, const char *context) {
    bool is_range = strcmp(context, "range") == 0;
    for (;;) {
        struct tmpl_token variable = tmpl_peek_non_space(p);
        if (variable.type != TOKEN_VARIABLE) {
            return true;
        }
        (void)tmpl_next(p);
        struct tmpl_token after = tmpl_peek(p); /* a space makes the variable an operand */
        struct tmpl_token next = tmpl_peek_non_space(p);
        if (next.type == TOKEN_ASSIGN || next.type == TOKEN_DECLARE) {
            pipe->pipe.is_assign = next.type == TOKEN_ASSIGN;
            (void)tmpl_next_non_space(p);
            add_variable(p, pipe, variable);
            return true;
        }
        if (next.type != TOKEN_CHAR || !str_eq_c(next.text, ",")) {
            if (after.type == TOKEN_SPACE) {
                tmpl_push_back(p, after);
            }
            tmpl_push_back(p, variable);
            return true;
        }
        (void)tmpl_next_non_space(p);
        add_variable(p, pipe, variable);
        if (!is_range || pipe->pipe.variables.count >= 2) {
            return tmpl_parse_fail(p, "too many declarations in %s", context);
        }
        enum tmpl_token_type type = tmpl_peek_non_space(p).type;
        if (type != TOKEN_VARIABLE && type != TOKEN_RIGHT_DELIM && type != TOKEN_RIGHT_PAREN) {
            return tmpl_parse_fail(p, "range can only initialize variables");
        }
    }
}

static bool check_pipeline(struct tmpl_parser *p,
                           const struct tmpl_node *pipe,
                           const char *context) {
    if (pipe->pipe.commands.count == 0) {
        return tmpl_parse_fail(p, "missing value for %s", context);
    }
    for (size_t i = 1; i < pipe->pipe.commands.count; i++) {
        if (!can_have_fields(pipe->pipe.commands.items[i]->args.items[0]->kind)) {
            return tmpl_parse_fail(p, "non executable command in pipeline stage %zu", i + 1);
        }
    }
    return true;
}

struct tmpl_node *tmpl_parse_pipeline(struct tmpl_parser *p,
                                      const char *context,
                                      enum tmpl_token_type end) {
    struct tmpl_node *pipe = tmpl_node_new(p, NODE_PIPE, tmpl_peek_non_space(p).pos);
    if (!parse_declarations(p, pipe, context)) {
        return NULL;
    }
    for (;;) {
        struct tmpl_token token = tmpl_next_non_space(p);
        if (token.type == end) {
            return check_pipeline(p, pipe, context) ? pipe : NULL;
        }
        switch (token.type) {
        case TOKEN_BOOL:
        case TOKEN_CHAR_CONSTANT:
        case TOKEN_DOT:
        case TOKEN_FIELD:
        case TOKEN_IDENTIFIER:
        case TOKEN_NUMBER:
        case TOKEN_NIL:
        case TOKEN_RAW_STRING:
        case TOKEN_STRING:
        case TOKEN_VARIABLE:
        case TOKEN_LEFT_PAREN: {
            tmpl_push_back(p, token);
            struct tmpl_node *command = parse_command(p);
            if (command == NULL) {
                return NULL;
            }
            tmpl_nodes_add(p, &pipe->pipe.commands, command);
            break;
        }
        default: (void)tmpl_unexpected(p, token, context); return NULL;
        }
    }
}
