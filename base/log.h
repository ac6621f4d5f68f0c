/*
 * Structured log lines, JSON or logfmt, to one file descriptor. Only app, web and notify log;
 * libraries return errors.
 *
 * JSON   {"asctime":"2026-01-02T03:04:05.678Z","name":"tocsin.web","levelname":"INFO",
 *         "message":"Listening on","address":"127.0.0.1:9090"}
 * logfmt time=… level=info source=web msg="Listening on" address=127.0.0.1:9090
 * One line is one write(2); control characters and newlines in values are escaped.
 * Threads: any.
 */
#pragma once

#include "base/str.h"

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_CRITICAL,
    LOG_LEVEL_COUNT,
};

enum log_format {
    LOG_FORMAT_LOGFMT,
    LOG_FORMAT_JSON,
};

enum log_field_type {
    LOG_FIELD_STR,
    LOG_FIELD_I64,
    LOG_FIELD_F64,
    LOG_FIELD_BOOL,
};

struct log_field {
    const char *key; /* NULL ends the list */
    enum log_field_type type;
    struct str str;
    int64_t i64;
    double f64;
};

#define LOG_STR(k, v)                                 \
    (struct log_field) {                              \
        .key = (k), .type = LOG_FIELD_STR, .str = (v) \
    }
#define LOG_CSTR(k, v)                                        \
    (struct log_field) {                                      \
        .key = (k), .type = LOG_FIELD_STR, .str = str_from(v) \
    }
#define LOG_I64(k, v)                                          \
    (struct log_field) {                                       \
        .key = (k), .type = LOG_FIELD_I64, .i64 = (int64_t)(v) \
    }
#define LOG_F64(k, v)                                 \
    (struct log_field) {                              \
        .key = (k), .type = LOG_FIELD_F64, .f64 = (v) \
    }
#define LOG_BOOL(k, v)                                 \
    (struct log_field) {                               \
        .key = (k), .type = LOG_FIELD_BOOL, .i64 = (v) \
    }

struct log;

struct log *log_create(int fd, enum log_format format, enum log_level level_min);
void log_destroy(struct log *log); /* does not close fd; NULL ok */

/* "debug", "INFO", "warn", "WARNING", "error", "CRITICAL", "fatal" in any case. */
WARN_UNUSED bool log_level_parse(struct str text, enum log_level *ret);
const char *log_level_to_string(enum log_level level);

/* `source` is the module ("web"); fields end with a {0} entry (NULL = none). NULL log: no-op. */
void log_write(struct log *log,
               enum log_level level,
               const char *source,
               const char *message,
               const struct log_field *fields);

/* At least one field; a line without fields is log_write(…, NULL). */
#define LOG_FIELDS(...) ((const struct log_field[]){ __VA_ARGS__, { 0 } })
#define log_debug(log, source, message, ...) \
    log_write(log, LOG_LEVEL_DEBUG, source, message, LOG_FIELDS(__VA_ARGS__))
#define log_info(log, source, message, ...) \
    log_write(log, LOG_LEVEL_INFO, source, message, LOG_FIELDS(__VA_ARGS__))
#define log_warning(log, source, message, ...) \
    log_write(log, LOG_LEVEL_WARNING, source, message, LOG_FIELDS(__VA_ARGS__))
#define log_error(log, source, message, ...) \
    log_write(log, LOG_LEVEL_ERROR, source, message, LOG_FIELDS(__VA_ARGS__))
