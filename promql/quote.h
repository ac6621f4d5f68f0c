/*
 * Text in quotes, byte for byte as Go's strconv.Quote and %q print it: the canonical form of
 * strings, label values and unusual names, and the tokens named in error messages.
 */
#pragma once

#include "base/buf.h"

void promql_quote(struct buf *out, struct str text);       /* "a\nb" */
void promql_quote_rune(struct buf *out, uint32_t rune);    /* 'x'; no character: U+FFFD */
void promql_describe_rune(struct buf *out, uint32_t rune); /* U+0078 'x' */

/* True for characters that need no escape (other than quotes and backslash). */
bool promql_rune_is_printable(uint32_t rune);
