/*
 * What Go's unicode package knows about characters, as far as text functions of templates need it.
 * Case mapping follows Go's tables exactly; the classes beyond ASCII are coarse.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

uint32_t unicode_upper(uint32_t rune); /* the simple mapping: one character to one */
uint32_t unicode_lower(uint32_t rune);

bool unicode_is_space(uint32_t rune);  /* property White_Space */
bool unicode_is_letter(uint32_t rune); /* letter or digit; beyond ASCII: no space or punctuation */
bool unicode_is_print(uint32_t rune);  /* Go's strconv.IsPrint; beyond ASCII: assigned or not */
