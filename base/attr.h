/* Compiler attributes and the few macros the house allows: attributes, array length, cleanup. */
#pragma once

#include <stddef.h>

#define WARN_UNUSED             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define NORETURN                __attribute__((noreturn))
#define UNUSED                  __attribute__((unused))
#define ALWAYS_INLINE           inline __attribute__((always_inline))
/* A buffer on a hot path that is written before it is read: spared the zeroing of locals. */
#define UNINITIALIZED __attribute__((uninitialized))

/* Runs fn(&variable) when the variable leaves its scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* A state the program can never be in: prints "BUG: file:line: ..." with the values, aborts. */
#define BUG(...) bug_abort(__FILE__, __LINE__, __VA_ARGS__)

NORETURN PRINTF_LIKE(3, 4) void bug_abort(const char *file, int line, const char *fmt, ...);
