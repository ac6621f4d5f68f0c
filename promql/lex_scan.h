/*
 * The lexer's reading head: single characters, numbers, durations, quoted strings and words.
 * Private to lex.c and lex_scan.c.
 */
#pragma once

#include "promql/lex.h"

#define LEX_EOF UINT32_MAX

uint32_t promql_lex_next(struct promql_lexer *lexer); /* a stray byte reads as U+FFFD */
uint32_t promql_lex_peek(struct promql_lexer *lexer);
void promql_lex_backup(struct promql_lexer *lexer); /* undoes the last next; once */

struct str promql_lex_word(const struct promql_lexer *lexer); /* what was read of this token */

bool promql_is_space(uint32_t rune);
bool promql_is_digit(uint32_t rune);
bool promql_is_alpha(uint32_t rune); /* ASCII letter or underscore */
bool promql_is_alphanumeric(uint32_t rune);

/* The reserved word (any case) or PROMQL_TOKEN_IDENTIFIER. */
enum promql_token_type promql_lex_keyword(struct str word);
/* step, range, max_of, min_of; PROMQL_TOKEN_IDENTIFIER otherwise. */
enum promql_token_type promql_lex_duration_keyword(struct str word);

/* These read on from the current position; false when what they read is no such thing. */
bool promql_lex_scan_number(struct promql_lexer *lexer);
bool promql_lex_scan_duration(struct promql_lexer *lexer); /* the unit and what follows */

/* The rest of a quoted string whose opening `quote` has been read. False with lexer->message. */
bool promql_lex_scan_string(struct promql_lexer *lexer, uint32_t quote);
bool promql_lex_scan_raw_string(struct promql_lexer *lexer);
