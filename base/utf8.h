/*
 * UTF-8, one character at a time. Decoding never fails: a byte that belongs to no well-formed
 * character counts as one character of its own, UTF8_INVALID.
 */
#pragma once

#include "base/buf.h"

#define UTF8_INVALID     UINT32_MAX /* what utf8_decode() reports for a stray byte */
#define UTF8_REPLACEMENT UINT32_C(0xfffd)

/* The character at byte `pos` (< text.len); returns its length in bytes, 1..4. Surrogates and
 * overlong forms are invalid. */
size_t utf8_decode(struct str text, size_t pos, uint32_t *ret_rune);

/* Append a character; anything that is not a Unicode scalar value becomes U+FFFD. */
void utf8_append(struct buf *out, uint32_t rune);

/* Columns a character takes on a terminal or in an editor: 2 for East Asian wide, else 1. */
uint32_t utf8_width(uint32_t rune);

/* Number of characters (stray bytes count as one each). */
size_t utf8_count(struct str text);

/* The largest cut point <= max that does not split a character. */
size_t utf8_floor(struct str text, size_t max);
