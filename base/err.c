/* The error value, and the abort of last resort for impossible states. */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const code_names[] = {
    [ERR_NONE] = "none",
    [ERR_INVALID] = "invalid",
    [ERR_LIMIT] = "limit",
    [ERR_EXEC] = "execution",
    [ERR_NOT_FOUND] = "not_found",
    [ERR_TIMEOUT] = "timeout",
    [ERR_UNAVAILABLE] = "unavailable",
    [ERR_THROTTLED] = "throttled",
    [ERR_NO_SPACE] = "no_space",
    [ERR_CANCELED] = "canceled",
    [ERR_CORRUPT] = "corrupt",
    [ERR_IO] = "io",
    [ERR_INTERNAL] = "internal",
};
static_assert(ARRAY_LEN(code_names) == ERR_COUNT, "one name per error code");

void bug_abort(const char *file, int line, const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fprintf(stderr, "BUG: %s:%d: %s\n", file, line, text);
    abort();
}

const char *err_code_to_string(enum err_code code) {
    if ((size_t)code >= ARRAY_LEN(code_names)) {
        BUG("unknown error code %d", (int)code);
    }
    return code_names[code];
}

/* A message cut by the buffer must say so and must not end inside a UTF-8 sequence. */
static void mark_cut(char *msg, size_t msg_bytes) {
    static const char mark[] = "...";
    size_t end = msg_bytes - sizeof(mark);
    while (end > 0 && ((unsigned char)msg[end] & 0xc0) == 0x80) {
        end--;
    }
    memcpy(msg + end, mark, sizeof(mark));
}

/* Formats aside first: the arguments may point into err->msg. */
PRINTF_LIKE(3, 0)

static void set_message(struct err *err, const char *tail, const char *fmt, va_list args) {
    char text[sizeof(err->msg)];
    int length = vsnprintf(text, sizeof(text), fmt, args);
    if (length < 0) {
        BUG("unprintable error format \"%s\"", fmt);
    }
    size_t used = (size_t)length;
    if (used < sizeof(text) && tail[0] != '\0') {
        int more = snprintf(text + used, sizeof(text) - used, ": %s", tail);
        used += more < 0 ? 0 : (size_t)more;
    }
    if (used >= sizeof(text)) {
        mark_cut(text, sizeof(text));
        used = strlen(text);
    }
    memcpy(err->msg, text, used + 1);
}

bool err_set(struct err *err, enum err_code code, const char *fmt, ...) {
    assert(code > ERR_NONE && code < ERR_COUNT);
    va_list args;
    va_start(args, fmt);
    set_message(err, "", fmt, args);
    va_end(args);
    err->code = code;
    return false;
}

bool err_set_errno(struct err *err, enum err_code code, int errnum, const char *fmt, ...) {
    assert(code > ERR_NONE && code < ERR_COUNT);
    char reason_buf[128];
    const char *reason = strerror_r(errnum, reason_buf, sizeof(reason_buf));
    va_list args;
    va_start(args, fmt);
    set_message(err, reason, fmt, args);
    va_end(args);
    bool is_full = errnum == ENOSPC || errnum == EDQUOT;
    err->code = code == ERR_IO && is_full ? ERR_NO_SPACE : code;
    return false;
}

bool err_wrap(struct err *err, const char *fmt, ...) {
    assert(err->code != ERR_NONE);
    char cause[sizeof(err->msg)];
    memcpy(cause, err->msg, sizeof(cause));
    va_list args;
    va_start(args, fmt);
    set_message(err, cause, fmt, args);
    va_end(args);
    return false;
}
