/* Private to base/template_parse*.c: the parser's state and token handling. */
#pragma once

#include "base/template_ast.h"
#include "base/template_lex.h"

struct tmpl_parser {
    struct tmpl *tmpl;
    struct arena *arena;
    struct err *err;
    struct map *trees;
    struct str parse_name;
    struct str text;
    struct tmpl_lexer lexer;
    struct tmpl_token tokens[3]; /* look-ahead, a stack: the next one is the last */
    int peek_count;
    struct tmpl_token last; /* the latest token read: where errors are */
    uint32_t action_line;   /* of the action being parsed, 0 = none */
    struct str *vars;       /* in scope, in order */
    size_t var_count;
    size_t var_cap;
    size_t var_floor; /* variables below belong to the enclosing template */
    int range_depth;
    int control_depth;
    int paren_depth;
};

struct tmpl_token tmpl_next(struct tmpl_parser *p);
struct tmpl_token tmpl_peek(struct tmpl_parser *p);
struct tmpl_token tmpl_next_non_space(struct tmpl_parser *p);
struct tmpl_token tmpl_peek_non_space(struct tmpl_parser *p);
void tmpl_push_back(struct tmpl_parser *p, struct tmpl_token token);

/* "template: NAME:LINE:COL: ..." at the latest token; returns false. */
PRINTF_LIKE(2, 3) bool tmpl_parse_fail(struct tmpl_parser *p, const char *fmt, ...);
bool tmpl_unexpected(struct tmpl_parser *p, struct tmpl_token token, const char *context);

struct tmpl_node *tmpl_node_new(struct tmpl_parser *p, enum tmpl_node_kind kind, uint32_t pos);
void tmpl_nodes_add(struct tmpl_parser *p, struct tmpl_nodes *nodes, struct tmpl_node *node);

/* A pipeline up to `end` (a right delimiter or parenthesis); NULL with an error.
 * template_parse_pipe.c. */
struct tmpl_node *tmpl_parse_pipeline(struct tmpl_parser *p,
                                      const char *context,
                                      enum tmpl_token_type end);

/* Literals; NULL or false with an error. template_literal.c. */
struct tmpl_node *tmpl_parse_number_token(struct tmpl_parser *p, struct tmpl_token token);
struct tmpl_node *tmpl_parse_char_token(struct tmpl_parser *p, struct tmpl_token token);
bool tmpl_unquote(struct tmpl_parser *p, struct str quoted, struct str *ret);
