/* cmocka, which wants these headers before it in this order. */
#pragma once

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>

/* Say why a test does not run here; the caller returns. (cmocka 1.1.5 prints its own skip() as
 * "not ok", which TAP readers take for a failure.) scripts/test.py counts these lines. */
static inline void unit_skip(const char *why) {
    printf("# skipped: %s\n", why);
}
