/* Private to base/template*: from template text to tokens, after Go's text/template/parse. */
#pragma once

#include "base/arena.h"

enum tmpl_token_type {
    TOKEN_ERROR, /* text is the message */
    TOKEN_EOF,
    TOKEN_TEXT, /* outside of actions, already trimmed */
    TOKEN_LEFT_DELIM,
    TOKEN_RIGHT_DELIM,
    TOKEN_SPACE,   /* separates arguments */
    TOKEN_ASSIGN,  /* = */
    TOKEN_DECLARE, /* := */
    TOKEN_PIPE,
    TOKEN_LEFT_PAREN,
    TOKEN_RIGHT_PAREN,
    TOKEN_CHAR, /* any other single character, such as a comma */
    TOKEN_BOOL,
    TOKEN_CHAR_CONSTANT,
    TOKEN_NUMBER,
    TOKEN_STRING, /* with its quotes */
    TOKEN_RAW_STRING,
    TOKEN_FIELD,    /* .Name */
    TOKEN_VARIABLE, /* $ or $name */
    TOKEN_IDENTIFIER,
    /* keywords from here on */
    TOKEN_DOT,
    TOKEN_NIL,
    TOKEN_BLOCK,
    TOKEN_BREAK,
    TOKEN_CONTINUE,
    TOKEN_DEFINE,
    TOKEN_ELSE,
    TOKEN_END,
    TOKEN_IF,
    TOKEN_RANGE,
    TOKEN_TEMPLATE,
    TOKEN_WITH,
};

struct tmpl_token {
    enum tmpl_token_type type;
    uint32_t pos;  /* byte offset */
    uint32_t line; /* 1-based, where it starts */
    struct str text;
};

struct tmpl_lexer {
    struct str input;
    struct arena *arena; /* for error messages */
    size_t pos;
    size_t start; /* of the token being read */
    uint32_t line;
    uint32_t start_line;
    int paren_depth;
    bool is_inside_action;
};

void tmpl_lex_init(struct tmpl_lexer *lexer, struct str input, struct arena *arena);

/* After TOKEN_ERROR or TOKEN_EOF only TOKEN_EOF follows. */
struct tmpl_token tmpl_lex_next(struct tmpl_lexer *lexer);

/* How Go names a token in messages: <define>, "text"..., EOF. */
struct str tmpl_token_describe(const struct tmpl_token *token, struct arena *arena);
