/*
 * The lexer's states. Three places read differently: inside braces every word is a label name;
 * directly inside brackets only duration expressions are read, until their first number; everywhere
 * else words may be reserved.
 */
#include "promql/lex.h"

#include <assert.h>

#include "base/utf8.h"
#include "promql/lex_scan.h"
#include "promql/quote.h"

#define MESSAGE_BYTES_MAX 400
#define TOKEN_TEXT_SHOWN  10

void promql_lexer_init(struct promql_lexer *lexer, struct str text) {
    *lexer = (struct promql_lexer){ .text = text };
    buf_init(&lexer->message, MESSAGE_BYTES_MAX);
}

void promql_lexer_finish(struct promql_lexer *lexer) {
    buf_finish(&lexer->message);
}

/* ---- what a step yields ---- */

enum step {
    STEP_AGAIN, /* nothing yet */
    STEP_TOKEN,
};

static enum step emit(struct promql_lexer *lexer,
                      enum promql_token_type type,
                      struct promql_token *ret) {
    *ret = (struct promql_token){
        .type = type,
        .pos = lexer->start,
        .text = promql_lex_word(lexer),
    };
    lexer->start = lexer->pos;
    return STEP_TOKEN;
}

/* The message has been written. */
static enum step emit_error(struct promql_lexer *lexer, struct promql_token *ret) {
    *ret = (struct promql_token){
        .type = PROMQL_TOKEN_ERROR,
        .pos = lexer->start,
        .text = buf_as_str(&lexer->message),
    };
    lexer->is_done = true;
    return STEP_TOKEN;
}

static enum step emit_error_text(struct promql_lexer *lexer,
                                 const char *message,
                                 struct promql_token *ret) {
    buf_reset(&lexer->message);
    buf_cstr(&lexer->message, message);
    return emit_error(lexer, ret);
}

/* "<message>: 'c'" */
static enum step emit_error_rune(struct promql_lexer *lexer,
                                 const char *message,
                                 uint32_t rune,
                                 struct promql_token *ret) {
    buf_reset(&lexer->message);
    buf_cstr(&lexer->message, message);
    promql_quote_rune(&lexer->message, rune);
    return emit_error(lexer, ret);
}

/* ---- pieces ---- */

static enum step skip_spaces(struct promql_lexer *lexer) {
    while (promql_is_space(promql_lex_peek(lexer))) {
        promql_lex_next(lexer);
    }
    lexer->start = lexer->pos;
    return STEP_AGAIN;
}

static enum step skip_comment(struct promql_lexer *lexer) {
    uint32_t rune;
    do {
        rune = promql_lex_next(lexer);
    } while (rune != '\n' && rune != '\r' && rune != LEX_EOF);
    promql_lex_backup(lexer);
    lexer->start = lexer->pos;
    return STEP_AGAIN;
}

static enum step lex_string(struct promql_lexer *lexer, uint32_t quote, struct promql_token *ret) {
    bool is_whole =
        quote == '`' ? promql_lex_scan_raw_string(lexer) : promql_lex_scan_string(lexer, quote);
    return is_whole ? emit(lexer, PROMQL_TOKEN_STRING, ret) : emit_error(lexer, ret);
}

static enum step lex_number_or_duration(struct promql_lexer *lexer, struct promql_token *ret) {
    lexer->is_duration = false;
    if (promql_lex_scan_number(lexer)) {
        return emit(lexer, PROMQL_TOKEN_NUMBER, ret);
    }
    if (promql_lex_scan_duration(lexer)) {
        return emit(lexer, PROMQL_TOKEN_DURATION, ret);
    }
    buf_reset(&lexer->message);
    buf_cstr(&lexer->message, "bad number or duration syntax: ");
    promql_quote(&lexer->message, promql_lex_word(lexer));
    return emit_error(lexer, ret);
}

static bool is_followed_by_paren(const struct promql_lexer *lexer) {
    size_t pos = lexer->pos;
    while (pos < lexer->text.len && promql_is_space((unsigned char)lexer->text.ptr[pos])) {
        pos++;
    }
    return pos < lexer->text.len && lexer->text.ptr[pos] == '(';
}

static enum step lex_word(struct promql_lexer *lexer, struct promql_token *ret) {
    bool has_colon = false;
    uint32_t rune = promql_lex_next(lexer);
    while (promql_is_alphanumeric(rune) || rune == ':') {
        has_colon = has_colon || rune == ':';
        rune = promql_lex_next(lexer);
    }
    promql_lex_backup(lexer);
    enum promql_token_type type = promql_lex_keyword(promql_lex_word(lexer));
    if (type >= PROMQL_TOKEN_FILL && type <= PROMQL_TOKEN_FILL_RIGHT &&
        !is_followed_by_paren(lexer)) {
        type = PROMQL_TOKEN_IDENTIFIER; /* "fill + fill" was valid before the modifiers came */
    }
    if (type == PROMQL_TOKEN_IDENTIFIER && has_colon) {
        type = PROMQL_TOKEN_METRIC_IDENTIFIER;
    }
    return emit(lexer, type, ret);
}

/* The first letter has been read. IDENTIFIER (and nothing emitted) when it is no such keyword. */
static enum promql_token_type scan_duration_keyword(struct promql_lexer *lexer) {
    while (promql_is_alpha(promql_lex_next(lexer))) {
    }
    promql_lex_backup(lexer);
    return promql_lex_duration_keyword(promql_lex_word(lexer));
}

static bool may_start_duration_keyword(uint32_t rune) {
    return rune < 0x80 && rune != '\0' && strchr("srmSRM", (int)rune) != NULL;
}

static enum step lex_right_paren(struct promql_lexer *lexer, struct promql_token *ret) {
    emit(lexer, PROMQL_TOKEN_RIGHT_PAREN, ret);
    lexer->paren_depth--;
    if (lexer->paren_depth < 0) {
        return emit_error_rune(lexer, "unexpected right parenthesis ", ')', ret);
    }
    return STEP_TOKEN;
}

static bool is_number_start(struct promql_lexer *lexer, uint32_t rune) {
    return promql_is_digit(rune) || (rune == '.' && promql_is_digit(promql_lex_peek(lexer)));
}

/* Operators and punctuation that are one character everywhere; COUNT when it is something else. */
static enum promql_token_type simple_operator(uint32_t rune) {
    switch (rune) {
    case ',': return PROMQL_TOKEN_COMMA;
    case '*': return PROMQL_TOKEN_MUL;
    case '/': return PROMQL_TOKEN_DIV;
    case '%': return PROMQL_TOKEN_MOD;
    case '+': return PROMQL_TOKEN_ADD;
    case '-': return PROMQL_TOKEN_SUB;
    case '^': return PROMQL_TOKEN_POW;
    default: return PROMQL_TOKEN_TYPE_COUNT;
    }
}

/* ---- directly inside brackets ---- */

static enum step lex_duration_colon(struct promql_lexer *lexer, struct promql_token *ret) {
    emit(lexer, PROMQL_TOKEN_COLON, ret);
    if (!lexer->has_duration) {
        return emit_error_text(lexer, "unexpected colon before duration in duration expression",
                               ret);
    }
    if (lexer->has_colon) {
        return emit_error_text(lexer, "unexpected repeated colon in duration expression", ret);
    }
    lexer->has_colon = true;
    return STEP_TOKEN;
}

static enum step lex_duration_expr(struct promql_lexer *lexer, struct promql_token *ret) {
    uint32_t rune = promql_lex_next(lexer);
    if (promql_is_space(rune)) {
        return skip_spaces(lexer);
    }
    if (simple_operator(rune) != PROMQL_TOKEN_TYPE_COUNT) {
        return emit(lexer, simple_operator(rune), ret);
    }
    if (is_number_start(lexer, rune)) {
        promql_lex_backup(lexer);
        lexer->has_duration = true;
        return lex_number_or_duration(lexer, ret);
    }
    switch (rune) {
    case LEX_EOF:
        return emit_error_text(lexer, "unexpected end of input in duration expression", ret);
    case ']':
        lexer->is_duration = false;
        lexer->is_bracket_open = false;
        lexer->has_colon = false;
        return emit(lexer, PROMQL_TOKEN_RIGHT_BRACKET, ret);
    case ':': return lex_duration_colon(lexer, ret);
    case '(': lexer->paren_depth++; return emit(lexer, PROMQL_TOKEN_LEFT_PAREN, ret);
    case ')': return lex_right_paren(lexer, ret);
    default: break;
    }
    if (may_start_duration_keyword(rune)) {
        enum promql_token_type type = scan_duration_keyword(lexer);
        if (type != PROMQL_TOKEN_IDENTIFIER) {
            return emit(lexer, type, ret);
        }
    }
    return emit_error_rune(lexer, "unexpected character in duration expression: ", rune, ret);
}

/* ---- inside braces ---- */

static enum step lex_label_name(struct promql_lexer *lexer, struct promql_token *ret) {
    while (promql_is_alphanumeric(promql_lex_next(lexer))) {
    }
    promql_lex_backup(lexer);
    return emit(lexer, PROMQL_TOKEN_IDENTIFIER, ret);
}

static enum step lex_negated_match(struct promql_lexer *lexer, struct promql_token *ret) {
    uint32_t rune = promql_lex_next(lexer);
    switch (rune) {
    case '~': return emit(lexer, PROMQL_TOKEN_NEQ_REGEX, ret);
    case '=': return emit(lexer, PROMQL_TOKEN_NEQ, ret);
    default:
        return emit_error_rune(lexer, "unexpected character after '!' inside braces: ", rune, ret);
    }
}

static enum step lex_inside_braces(struct promql_lexer *lexer, struct promql_token *ret) {
    uint32_t rune = promql_lex_next(lexer);
    if (promql_is_space(rune)) {
        return skip_spaces(lexer);
    }
    if (promql_is_alpha(rune)) {
        return lex_label_name(lexer, ret);
    }
    switch (rune) {
    case LEX_EOF: return emit_error_text(lexer, "unexpected end of input inside braces", ret);
    case '#': return skip_comment(lexer);
    case ',': return emit(lexer, PROMQL_TOKEN_COMMA, ret);
    case '"':
    case '\'':
    case '`': return lex_string(lexer, rune, ret);
    case '=':
        if (promql_lex_peek(lexer) == '~') {
            promql_lex_next(lexer);
            return emit(lexer, PROMQL_TOKEN_EQL_REGEX, ret);
        }
        return emit(lexer, PROMQL_TOKEN_EQL, ret);
    case '!': return lex_negated_match(lexer, ret);
    case '{': return emit_error_rune(lexer, "unexpected left brace ", rune, ret);
    case '}': lexer->is_brace_open = false; return emit(lexer, PROMQL_TOKEN_RIGHT_BRACE, ret);
    default: return emit_error_rune(lexer, "unexpected character inside braces: ", rune, ret);
    }
}

/* ---- everywhere else ---- */

static enum step lex_end(struct promql_lexer *lexer, struct promql_token *ret) {
    if (lexer->paren_depth != 0) {
        return emit_error_text(lexer, "unclosed left parenthesis", ret);
    }
    if (lexer->is_bracket_open) {
        return emit_error_text(lexer, "unclosed left bracket", ret);
    }
    lexer->is_done = true;
    return emit(lexer, PROMQL_TOKEN_EOF, ret);
}

/* =, !, <, > and what they form with the next character. */
static enum step lex_comparison(struct promql_lexer *lexer,
                                uint32_t rune,
                                struct promql_token *ret) {
    uint32_t second = promql_lex_peek(lexer);
    if (rune == '=' && second == '~') {
        return emit_error_rune(lexer, "unexpected character after '=': ", second, ret);
    }
    if (rune == '!' && second != '=') {
        promql_lex_next(lexer);
        return emit_error_rune(lexer, "unexpected character after '!': ", second, ret);
    }
    if (second == '=') {
        promql_lex_next(lexer);
        switch (rune) {
        case '=': return emit(lexer, PROMQL_TOKEN_EQLC, ret);
        case '!': return emit(lexer, PROMQL_TOKEN_NEQ, ret);
        case '<': return emit(lexer, PROMQL_TOKEN_LTE, ret);
        default: return emit(lexer, PROMQL_TOKEN_GTE, ret);
        }
    }
    if (rune == '=') {
        return emit(lexer, PROMQL_TOKEN_EQL, ret);
    }
    if (second == '/') {
        promql_lex_next(lexer);
        return emit(lexer, rune == '<' ? PROMQL_TOKEN_TRIM_UPPER : PROMQL_TOKEN_TRIM_LOWER, ret);
    }
    return emit(lexer, rune == '<' ? PROMQL_TOKEN_LSS : PROMQL_TOKEN_GTR, ret);
}

/* A word or colon inside brackets, after the first number. */
static enum step lex_bracket_word(struct promql_lexer *lexer,
                                  uint32_t rune,
                                  struct promql_token *ret) {
    if (rune == ':') {
        if (lexer->has_colon) {
            return emit_error_rune(lexer, "unexpected colon ", rune, ret);
        }
        lexer->has_colon = true;
        return emit(lexer, PROMQL_TOKEN_COLON, ret);
    }
    if (may_start_duration_keyword(rune)) {
        enum promql_token_type type = scan_duration_keyword(lexer);
        if (type != PROMQL_TOKEN_IDENTIFIER) {
            return emit(lexer, type, ret);
        }
    }
    emit_error_rune(lexer, "unexpected character: ", rune, ret);
    buf_cstr(&lexer->message, ", expected ':'");
    return emit_error(lexer, ret);
}

static enum step lex_left_bracket(struct promql_lexer *lexer, struct promql_token *ret) {
    if (lexer->is_bracket_open) {
        return emit_error_rune(lexer, "unexpected left bracket ", '[', ret);
    }
    emit(lexer, PROMQL_TOKEN_LEFT_BRACKET, ret);
    lexer->has_colon = false;
    lexer->is_bracket_open = true;
    lexer->is_duration = true;
    return STEP_TOKEN;
}

static enum step lex_right_bracket(struct promql_lexer *lexer, struct promql_token *ret) {
    if (!lexer->is_bracket_open) {
        return emit_error_rune(lexer, "unexpected right bracket ", ']', ret);
    }
    lexer->is_bracket_open = false;
    return emit(lexer, PROMQL_TOKEN_RIGHT_BRACKET, ret);
}

static enum step lex_statement(struct promql_lexer *lexer, struct promql_token *ret) {
    uint32_t rune = promql_lex_next(lexer);
    if (promql_is_space(rune)) {
        return skip_spaces(lexer);
    }
    if (simple_operator(rune) != PROMQL_TOKEN_TYPE_COUNT) {
        return emit(lexer, simple_operator(rune), ret);
    }
    if (is_number_start(lexer, rune)) {
        promql_lex_backup(lexer);
        return lex_number_or_duration(lexer, ret);
    }
    if (promql_is_alpha(rune) || rune == ':') {
        if (lexer->is_bracket_open) {
            return lex_bracket_word(lexer, rune, ret);
        }
        promql_lex_backup(lexer);
        return lex_word(lexer, ret);
    }
    switch (rune) {
    case LEX_EOF: return lex_end(lexer, ret);
    case '#': return skip_comment(lexer);
    case '=':
    case '!':
    case '<':
    case '>': return lex_comparison(lexer, rune, ret);
    case '"':
    case '\'':
    case '`': return lex_string(lexer, rune, ret);
    case '(': lexer->paren_depth++; return emit(lexer, PROMQL_TOKEN_LEFT_PAREN, ret);
    case ')': return lex_right_paren(lexer, ret);
    case '{': lexer->is_brace_open = true; return emit(lexer, PROMQL_TOKEN_LEFT_BRACE, ret);
    case '[': return lex_left_bracket(lexer, ret);
    case ']': return lex_right_bracket(lexer, ret);
    case '@': return emit(lexer, PROMQL_TOKEN_AT, ret);
    default: return emit_error_rune(lexer, "unexpected character: ", rune, ret);
    }
}

void promql_lexer_next(struct promql_lexer *lexer, struct promql_token *ret) {
    enum step step;
    do {
        if (lexer->is_done) {
            step = emit(lexer, PROMQL_TOKEN_EOF, ret);
        } else if (lexer->is_duration) {
            step = lex_duration_expr(lexer, ret);
        } else if (lexer->is_brace_open) {
            step = lex_inside_braces(lexer, ret);
        } else {
            step = lex_statement(lexer, ret);
        }
    } while (step == STEP_AGAIN);
}

/* ---- describing tokens ---- */

/* %.10q of Go: the first ten characters. */
static void quote_shortened(struct buf *out, struct str text) {
    if (text.len <= TOKEN_TEXT_SHOWN) {
        promql_quote(out, text);
        return;
    }
    size_t shown = 0;
    for (int i = 0; i < TOKEN_TEXT_SHOWN && shown < text.len; i++) {
        uint32_t rune;
        shown += utf8_decode(text, shown, &rune);
    }
    promql_quote(out, str_n(text.ptr, shown));
    buf_cstr(out, "...");
}

static const char *token_kind(enum promql_token_type type) {
    switch (type) {
    case PROMQL_TOKEN_IDENTIFIER: return "identifier ";
    case PROMQL_TOKEN_METRIC_IDENTIFIER: return "metric identifier ";
    case PROMQL_TOKEN_NUMBER: return "number ";
    case PROMQL_TOKEN_DURATION: return "duration ";
    case PROMQL_TOKEN_STRING: return "string ";
    default: return "";
    }
}

void promql_token_describe(const struct promql_token *token, struct buf *out) {
    enum promql_token_type type = token->type;
    if (type == PROMQL_TOKEN_EOF) {
        buf_cstr(out, "end of input");
        return;
    }
    if (promql_token_is_keyword(type)) {
        buf_printf(out, "<%.*s>", STR_FMT(token->text));
        return;
    }
    if (promql_token_is_operator(type)) {
        buf_printf(out, "<op:%.*s>", STR_FMT(token->text));
        return;
    }
    if (promql_token_is_aggregation(type)) {
        buf_printf(out, "<aggr:%.*s>", STR_FMT(token->text));
        return;
    }
    buf_cstr(out, token_kind(type));
    if (type == PROMQL_TOKEN_IDENTIFIER || type == PROMQL_TOKEN_METRIC_IDENTIFIER) {
        promql_quote(out, token->text);
    } else {
        quote_shortened(out, token->text);
    }
}
