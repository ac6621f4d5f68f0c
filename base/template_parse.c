/*
 * The template parser: lists of text and actions, control structures, definitions. Pipelines are
 * parsed in template_parse_pipe.c. It follows Go's text/template/parse, so that what it refuses and
 * why is the same; columns are added to the positions.
 */
#include "base/template_parse.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- tokens ---- */

struct tmpl_token tmpl_next(struct tmpl_parser *p) {
    if (p->peek_count > 0) {
        return p->tokens[--p->peek_count];
    }
    p->last = tmpl_lex_next(&p->lexer);
    return p->last;
}

void tmpl_push_back(struct tmpl_parser *p, struct tmpl_token token) {
    assert((size_t)p->peek_count < ARRAY_LEN(p->tokens));
    p->tokens[p->peek_count++] = token;
}

struct tmpl_token tmpl_peek(struct tmpl_parser *p) {
    struct tmpl_token token = tmpl_next(p);
    tmpl_push_back(p, token);
    return token;
}

struct tmpl_token tmpl_next_non_space(struct tmpl_parser *p) {
    for (;;) {
        struct tmpl_token token = tmpl_next(p);
        if (token.type != TOKEN_SPACE) {
            return token;
        }
    }
}

struct tmpl_token tmpl_peek_non_space(struct tmpl_parser *p) {
    struct tmpl_token token = tmpl_next_non_space(p);
    tmpl_push_back(p, token);
    return token;
}

/* ---- errors ---- */

bool tmpl_parse_fail(struct tmpl_parser *p, const char *fmt, ...) {
    char message[400];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    size_t line_start = p->last.pos;
    while (line_start > 0 && p->text.ptr[line_start - 1] != '\n') {
        line_start--;
    }
    return err_set(p->err, ERR_INVALID, "template: %.*s:%u:%zu: %s", STR_FMT(p->parse_name),
                   p->last.line, p->last.pos - line_start + 1,
                   len < 0 ? "(message could not be formatted)" : message);
}

bool tmpl_unexpected(struct tmpl_parser *p, struct tmpl_token token, const char *context) {
    p->last = token;
    struct str text = tmpl_token_describe(&token, p->arena);
    if (token.type != TOKEN_ERROR) {
        return tmpl_parse_fail(p, "unexpected %.*s in %s", STR_FMT(text), context);
    }
    if (p->action_line == 0 || p->action_line == token.line) {
        return tmpl_parse_fail(p, "%.*s", STR_FMT(text));
    }
    bool is_action = str_ends_with(text, STR(" action"));
    return tmpl_parse_fail(p, "%.*s%s started at %.*s:%u", STR_FMT(text),
                           is_action ? "" : " in action", STR_FMT(p->parse_name), p->action_line);
}

static bool expect_right_delim(struct tmpl_parser *p, const char *context) {
    struct tmpl_token token = tmpl_next_non_space(p);
    return token.type == TOKEN_RIGHT_DELIM ? true : tmpl_unexpected(p, token, context);
}

/* ---- nodes ---- */

struct tmpl_node *tmpl_node_new(struct tmpl_parser *p, enum tmpl_node_kind kind, uint32_t pos) {
    struct tmpl_node *node = arena_calloc(p->arena, 1, sizeof(*node));
    node->kind = kind;
    node->pos = pos;
    return node;
}

void tmpl_nodes_add(struct tmpl_parser *p, struct tmpl_nodes *nodes, struct tmpl_node *node) {
    nodes->items = arena_vec_grow(p->arena, nodes->items, &nodes->cap, nodes->count + 1,
                                  sizeof(nodes->items[0]));
    nodes->items[nodes->count++] = node;
}

bool tmpl_tree_is_empty(const struct tmpl_tree *tree) {
    for (size_t i = 0; i < tree->root.count; i++) {
        const struct tmpl_node *node = tree->root.items[i];
        if (node->kind != NODE_TEXT || str_trim(node->text).len > 0) {
            return false;
        }
    }
    return true;
}

/* Within one text a template may be defined once, except that empty ones give way. */
static bool add_tree(struct tmpl_parser *p, struct str name, struct tmpl_nodes root) {
    struct tmpl_tree *tree = arena_calloc(p->arena, 1, sizeof(*tree));
    *tree = (struct tmpl_tree){
        .name = name,
        .parse_name = p->parse_name,
        .text = p->text,
        .root = root,
    };
    const struct tmpl_tree *known = map_get(p->trees, name);
    if (known == NULL || tmpl_tree_is_empty(known)) {
        (void)map_put(p->trees, name, tree);
        return true;
    }
    if (tmpl_tree_is_empty(tree)) {
        return true;
    }
    return tmpl_parse_fail(p, "template: multiple definition of template \"%.*s\"", STR_FMT(name));
}

/* ---- lists and actions ---- */

static struct tmpl_node *parse_text_or_action(struct tmpl_parser *p);

/* Nodes up to {{end}} or {{else}}, whose kind is stored. */
static bool parse_list(struct tmpl_parser *p,
                       struct tmpl_nodes *ret,
                       enum tmpl_node_kind *ret_end) {
    while (tmpl_peek_non_space(p).type != TOKEN_EOF) {
        struct tmpl_node *node = parse_text_or_action(p);
        if (node == NULL) {
            return false;
        }
        if (node->kind == NODE_END || node->kind == NODE_ELSE) {
            *ret_end = node->kind;
            return true;
        }
        tmpl_nodes_add(p, ret, node);
    }
    return tmpl_parse_fail(p, "unexpected EOF");
}

static bool enter_control(struct tmpl_parser *p) {
    if (++p->control_depth > TMPL_DEPTH_MAX) {
        return tmpl_parse_fail(p, "control structures nested more than %d deep", TMPL_DEPTH_MAX);
    }
    return true;
}

/* The body of a definition or block, a template of its own: it sees no variables but $. */
static bool parse_body(struct tmpl_parser *p, struct str name, const char *context) {
    size_t var_floor = p->var_floor;
    int range_depth = p->range_depth;
    p->var_floor = p->var_count;
    p->range_depth = 0;
    struct tmpl_nodes root = { 0 };
    enum tmpl_node_kind end = NODE_END;
    if (!enter_control(p) || !parse_list(p, &root, &end)) {
        return false;
    }
    p->control_depth--;
    p->var_count = p->var_floor;
    p->var_floor = var_floor;
    p->range_depth = range_depth;
    if (end != NODE_END) {
        return tmpl_parse_fail(p, "unexpected {{else}} in %s", context);
    }
    return add_tree(p, name, root);
}

static bool parse_template_name(struct tmpl_parser *p, const char *context, struct str *ret) {
    struct tmpl_token token = tmpl_next_non_space(p);
    if (token.type != TOKEN_STRING && token.type != TOKEN_RAW_STRING) {
        return tmpl_unexpected(p, token, context);
    }
    return tmpl_unquote(p, token.text, ret);
}

static bool parse_define(struct tmpl_parser *p) {
    static const char context[] = "define clause";
    struct str name;
    return parse_template_name(p, context, &name) && expect_right_delim(p, context) &&
           parse_body(p, name, context);
}

/* {{block "name" pipeline}} body {{end}}: a definition and its use. */
static struct tmpl_node *parse_block(struct tmpl_parser *p) {
    static const char context[] = "block clause";
    struct tmpl_node *node = tmpl_node_new(p, NODE_TEMPLATE, tmpl_peek_non_space(p).pos);
    if (!parse_template_name(p, context, &node->call.name)) {
        return NULL;
    }
    node->call.pipe = tmpl_parse_pipeline(p, context, TOKEN_RIGHT_DELIM);
    if (node->call.pipe == NULL || !parse_body(p, node->call.name, context)) {
        return NULL;
    }
    return node;
}

static struct tmpl_node *parse_template(struct tmpl_parser *p) {
    static const char context[] = "template clause";
    struct tmpl_node *node = tmpl_node_new(p, NODE_TEMPLATE, tmpl_peek_non_space(p).pos);
    if (!parse_template_name(p, context, &node->call.name)) {
        return NULL;
    }
    struct tmpl_token token = tmpl_next_non_space(p);
    if (token.type == TOKEN_RIGHT_DELIM) {
        return node;
    }
    tmpl_push_back(p, token);
    node->call.pipe = tmpl_parse_pipeline(p, context, TOKEN_RIGHT_DELIM);
    return node->call.pipe == NULL ? NULL : node;
}

static struct tmpl_node *parse_jump(struct tmpl_parser *p,
                                    enum tmpl_node_kind kind,
                                    uint32_t pos,
                                    const char *name) {
    struct tmpl_token token = tmpl_next_non_space(p);
    if (token.type != TOKEN_RIGHT_DELIM) {
        (void)tmpl_unexpected(p, token, name);
        return NULL;
    }
    if (p->range_depth == 0) {
        (void)tmpl_parse_fail(p, "%s outside {{range}}", name);
        return NULL;
    }
    return tmpl_node_new(p, kind, pos);
}

/* {{else}}, or the "else" of {{else if}} and {{else with}} with the keyword left to read. */
static struct tmpl_node *parse_else(struct tmpl_parser *p) {
    struct tmpl_token token = tmpl_peek_non_space(p);
    if (token.type != TOKEN_IF && token.type != TOKEN_WITH && !expect_right_delim(p, "else")) {
        return NULL;
    }
    return tmpl_node_new(p, NODE_ELSE, token.pos);
}

/* ---- control structures ---- */

static const char *control_name(enum tmpl_node_kind kind) {
    return kind == NODE_IF ? "if" : kind == NODE_WITH ? "with" : "range";
}

/* One condition and its list. */
static struct tmpl_node *parse_branch(struct tmpl_parser *p,
                                      enum tmpl_node_kind kind,
                                      enum tmpl_node_kind *ret_end) {
    struct tmpl_node *pipe = tmpl_parse_pipeline(p, control_name(kind), TOKEN_RIGHT_DELIM);
    if (pipe == NULL) {
        return NULL;
    }
    struct tmpl_node *node = tmpl_node_new(p, kind, pipe->pos);
    node->branch.pipe = pipe;
    p->range_depth += kind == NODE_RANGE ? 1 : 0;
    bool ok = parse_list(p, &node->branch.list, ret_end);
    p->range_depth -= kind == NODE_RANGE ? 1 : 0;
    return ok ? node : NULL;
}

/* Else-if chains nest as if written {{else}}{{if}}, but without recursion here. */
static struct tmpl_node *parse_chain(struct tmpl_parser *p, enum tmpl_node_kind kind) {
    enum tmpl_token_type again = kind == NODE_IF ? TOKEN_IF : TOKEN_WITH;
    enum tmpl_node_kind end = NODE_END;
    struct tmpl_node *first = parse_branch(p, kind, &end);
    struct tmpl_node *node = first;
    while (node != NULL && end == NODE_ELSE) {
        if (kind != NODE_RANGE && tmpl_peek(p).type == again) {
            (void)tmpl_next(p);
            struct tmpl_node *next = parse_branch(p, kind, &end);
            if (next == NULL) {
                return NULL;
            }
            tmpl_nodes_add(p, &node->branch.else_list, next);
            node = next;
            continue;
        }
        if (!parse_list(p, &node->branch.else_list, &end)) {
            return NULL;
        }
        if (end != NODE_END) {
            (void)tmpl_parse_fail(p, "expected end; found {{else}}");
            return NULL;
        }
    }
    return first;
}

static struct tmpl_node *parse_control(struct tmpl_parser *p, enum tmpl_node_kind kind) {
    size_t var_count = p->var_count;
    if (!enter_control(p)) {
        return NULL;
    }
    struct tmpl_node *node = parse_chain(p, kind);
    p->control_depth--;
    p->var_count = var_count;
    return node;
}

/* The left delimiter has been read. */
static struct tmpl_node *parse_action(struct tmpl_parser *p) {
    struct tmpl_token token = tmpl_next_non_space(p);
    switch (token.type) {
    case TOKEN_BLOCK: return parse_block(p);
    case TOKEN_BREAK: return parse_jump(p, NODE_BREAK, token.pos, "{{break}}");
    case TOKEN_CONTINUE: return parse_jump(p, NODE_CONTINUE, token.pos, "{{continue}}");
    case TOKEN_ELSE: return parse_else(p);
    case TOKEN_END:
        return expect_right_delim(p, "end") ? tmpl_node_new(p, NODE_END, token.pos) : NULL;
    case TOKEN_IF: return parse_control(p, NODE_IF);
    case TOKEN_RANGE: return parse_control(p, NODE_RANGE);
    case TOKEN_TEMPLATE: return parse_template(p);
    case TOKEN_WITH: return parse_control(p, NODE_WITH);
    default: break;
    }
    tmpl_push_back(p, token);
    struct tmpl_node *node = tmpl_node_new(p, NODE_ACTION, token.pos);
    node->branch.pipe = tmpl_parse_pipeline(p, "command", TOKEN_RIGHT_DELIM);
    return node->branch.pipe == NULL ? NULL : node;
}

static struct tmpl_node *parse_text_or_action(struct tmpl_parser *p) {
    struct tmpl_token token = tmpl_next_non_space(p);
    if (token.type == TOKEN_TEXT) {
        struct tmpl_node *node = tmpl_node_new(p, NODE_TEXT, token.pos);
        node->text = token.text;
        return node;
    }
    if (token.type != TOKEN_LEFT_DELIM) {
        (void)tmpl_unexpected(p, token, "input");
        return NULL;
    }
    p->action_line = token.line;
    struct tmpl_node *node = parse_action(p);
    if (node != NULL) {
        p->action_line = 0;
    }
    return node;
}

/* ---- entry ---- */

static bool parse_top(struct tmpl_parser *p, struct str name) {
    struct tmpl_nodes root = { 0 };
    while (tmpl_peek(p).type != TOKEN_EOF) {
        if (tmpl_peek(p).type == TOKEN_LEFT_DELIM) {
            struct tmpl_token delim = tmpl_next(p);
            struct tmpl_token first = tmpl_next_non_space(p);
            if (first.type == TOKEN_DEFINE) {
                if (!parse_define(p)) {
                    return false;
                }
                continue;
            }
            tmpl_push_back(p, first);
            tmpl_push_back(p, delim);
        }
        struct tmpl_node *node = parse_text_or_action(p);
        if (node == NULL) {
            return false;
        }
        if (node->kind == NODE_END || node->kind == NODE_ELSE) {
            return tmpl_parse_fail(p, "unexpected %s",
                                   node->kind == NODE_END ? "{{end}}" : "{{else}}");
        }
        tmpl_nodes_add(p, &root, node);
    }
    return add_tree(p, name, root);
}

static void declare(struct tmpl_parser *p, struct str name) {
    p->vars = arena_vec_grow(p->arena, p->vars, &p->var_cap, p->var_count + 1, sizeof(p->vars[0]));
    p->vars[p->var_count++] = name;
}

bool tmpl_parse(struct tmpl *tmpl,
                struct str name,
                struct str text,
                struct map *trees,
                struct err *err) {
    struct tmpl_parser p = {
        .tmpl = tmpl,
        .arena = &tmpl->arena,
        .err = err,
        .trees = trees,
        .parse_name = name,
        .text = text,
    };
    tmpl_lex_init(&p.lexer, text, p.arena);
    for (size_t i = 0; i < tmpl->var_count; i++) {
        declare(&p, str_from(tmpl->var_names[i]));
    }
    return parse_top(&p, name);
}
