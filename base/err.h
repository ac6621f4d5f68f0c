/*
 * The error value. Written once where the failure happens, in words for the operator: what was
 * attempted, on which object, and what to do. Callers prepend context with err_wrap().
 *
 * Codes follow what a caller does about it; web/ maps them to HTTP in one place.
 */
#pragma once

#include <stdbool.h>

#include "base/attr.h"

enum err_code {
    ERR_NONE,
    ERR_INVALID,     /* malformed or contradictory input            400 bad_data */
    ERR_LIMIT,       /* a named cap was exceeded                     422, or 413 for bodies */
    ERR_EXEC,        /* valid request that cannot be evaluated       422 execution */
    ERR_NOT_FOUND,   /*                                              404 */
    ERR_TIMEOUT,     /* deadline passed                              503 timeout */
    ERR_UNAVAILABLE, /* overload or shutting down, retry later       503 */
    ERR_THROTTLED,   /* a rate, queue or cardinality cap, retry later 429 */
    ERR_NO_SPACE,    /* disk reserve reached, retry later            507 */
    ERR_CANCELED,    /* the client went away                         499 */
    ERR_CORRUPT,     /* stored bytes failed their checksum           500 */
    ERR_IO,          /* system call or network failure               500 */
    ERR_INTERNAL,    /*                                              500 */
    ERR_COUNT,
};

struct err {
    enum err_code code;
    char msg[512];
};

#define ERR_INIT \
    { .code = ERR_NONE, .msg = "" }

const char *err_code_to_string(enum err_code code);

/* Set code and message. Returns false, so that `return err_set(...)` reads as a failure. */
PRINTF_LIKE(3, 4) bool err_set(struct err *err, enum err_code code, const char *fmt, ...);

/* As err_set with ": <strerror>" appended; `errnum` is an errno value. ENOSPC/EDQUOT turn an
 * ERR_IO into ERR_NO_SPACE. */
PRINTF_LIKE(4, 5)
bool err_set_errno(struct err *err, enum err_code code, int errnum, const char *fmt, ...);

/* Prepend "<context>: " to a set error; keeps the code. Returns false. */
PRINTF_LIKE(2, 3) bool err_wrap(struct err *err, const char *fmt, ...);
