/*
 * JSON out: a streaming writer over a buf that places commas itself. JSON in: simdjson behind a
 * C++ shim, giving a tree of plain C values in an arena.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/* ---- writer ---- */

#define JSON_DEPTH_MAX 64

struct json_writer {
    struct buf *out;
    uint32_t depth;
    bool has_item[JSON_DEPTH_MAX];
    bool after_key;
};

void json_init(struct json_writer *json, struct buf *out);
void json_object(struct json_writer *json);
void json_object_end(struct json_writer *json);
void json_array(struct json_writer *json);
void json_array_end(struct json_writer *json);
void json_key(struct json_writer *json, const char *key);
void json_key_str(struct json_writer *json, struct str key);
void json_str(struct json_writer *json, struct str value);   /* invalid UTF-8 becomes U+FFFD */
void json_cstr(struct json_writer *json, const char *value); /* NULL writes null */
void json_i64(struct json_writer *json, int64_t value);
void json_u64(struct json_writer *json, uint64_t value);
void json_f64(struct json_writer *json, double value); /* a JSON number; NaN/Inf write null */
void json_bool(struct json_writer *json, bool value);
void json_null(struct json_writer *json);
void json_raw(struct json_writer *json, struct str text); /* already JSON */

/* Just the escaped, quoted string. */
void buf_json_str(struct buf *out, struct str value);

/* ---- parser ---- */

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_I64,
    JSON_U64, /* only above INT64_MAX */
    JSON_F64,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_value {
    enum json_type type;

    union {
        bool boolean;
        int64_t i64;
        uint64_t u64;
        double f64;
        struct str string;

        struct {
            struct json_value *items;
            struct str *keys; /* objects only, in text order; duplicates kept */
            size_t count;
        };
    };
};

/* Holds simdjson's buffers; reuse one per thread of work. */
struct json_parser;
struct json_parser *json_parser_create(size_t bytes_max);
void json_parser_destroy(struct json_parser *parser);

/*
 * One JSON document, nothing after it. Ownership: *ret and all strings live in `arena`.
 * Limits: bytes_max of the parser, depth 64. Errors: ERR_INVALID with byte offset where known,
 * ERR_LIMIT.
 */
WARN_UNUSED bool json_parse(struct json_parser *parser,
                            struct str text,
                            struct arena *arena,
                            struct json_value **ret,
                            struct err *err);

/* A member, NULL when absent or not an object; the last one of duplicates, as Go decodes. */
const struct json_value *json_get(const struct json_value *object, const char *key);
/* Numbers of any JSON type as a double; false for other types. */
bool json_number(const struct json_value *value, double *ret);
