/*
 * This program again, as a process of its own: for work on a data directory that the engine itself
 * has open, which LMDB allows once per process.
 */
#pragma once

#include "base/err.h"

/*
 * Run `tocsin <words…>` to its end; argv begins with "tocsin" and ends with NULL. True when it
 * exited with 0; else err has the last line it wrote to stderr. `is_stopping` (NULL ok) is asked a
 * few times a second; true ends the child.
 */
WARN_UNUSED bool child_run(const char *const *argv,
                           bool (*is_stopping)(void *ctx),
                           void *ctx,
                           struct err *err);
