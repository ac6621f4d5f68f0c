/* The streaming JSON writer. */
#include <assert.h>
#include <math.h>

#include "base/float.h"
#include "base/json.h"
#include "base/utf8.h"

void json_init(struct json_writer *json, struct buf *out) {
    *json = (struct json_writer){ .out = out };
}

/* Comma before every item but a container's first; nothing between a key and its value. */
static void before_value(struct json_writer *json) {
    if (json->after_key) {
        json->after_key = false;
        return;
    }
    if (json->has_item[json->depth]) {
        buf_putc(json->out, ',');
    }
    json->has_item[json->depth] = true;
}

static void open_container(struct json_writer *json, char bracket) {
    before_value(json);
    assert(json->depth + 1 < JSON_DEPTH_MAX);
    json->depth++;
    json->has_item[json->depth] = false;
    buf_putc(json->out, bracket);
}

static void close_container(struct json_writer *json, char bracket) {
    assert(json->depth > 0 && !json->after_key);
    json->depth--;
    buf_putc(json->out, bracket);
}

void json_object(struct json_writer *json) {
    open_container(json, '{');
}

void json_object_end(struct json_writer *json) {
    close_container(json, '}');
}

void json_array(struct json_writer *json) {
    open_container(json, '[');
}

void json_array_end(struct json_writer *json) {
    close_container(json, ']');
}

void json_key_str(struct json_writer *json, struct str key) {
    assert(json->depth > 0 && !json->after_key);
    before_value(json);
    buf_json_str(json->out, key);
    buf_putc(json->out, ':');
    json->after_key = true;
}

void json_key(struct json_writer *json, const char *key) {
    json_key_str(json, str_from(key));
}

void json_str(struct json_writer *json, struct str value) {
    before_value(json);
    buf_json_str(json->out, value);
}

void json_cstr(struct json_writer *json, const char *value) {
    if (value == NULL) {
        json_null(json);
    } else {
        json_str(json, str_from(value));
    }
}

void json_i64(struct json_writer *json, int64_t value) {
    before_value(json);
    buf_i64(json->out, value);
}

void json_u64(struct json_writer *json, uint64_t value) {
    before_value(json);
    buf_u64(json->out, value);
}

void json_f64(struct json_writer *json, double value) {
    before_value(json);
    if (isfinite(value)) {
        buf_float_json(json->out, value);
    } else {
        buf_cstr(json->out, "null");
    }
}

void json_bool(struct json_writer *json, bool value) {
    before_value(json);
    buf_cstr(json->out, value ? "true" : "false");
}

void json_null(struct json_writer *json) {
    before_value(json);
    buf_cstr(json->out, "null");
}

void json_raw(struct json_writer *json, struct str text) {
    before_value(json);
    buf_str(json->out, text);
}

/* ---- strings ---- */

static void append_escape(struct buf *out, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '"': buf_cstr(out, "\\\""); break;
    case '\\': buf_cstr(out, "\\\\"); break;
    case '\n': buf_cstr(out, "\\n"); break;
    case '\r': buf_cstr(out, "\\r"); break;
    case '\t': buf_cstr(out, "\\t"); break;
    case '\b': buf_cstr(out, "\\b"); break;
    case '\f': buf_cstr(out, "\\f"); break;
    default: {
        char text[] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 0xf] };
        buf_append(out, text, sizeof(text));
        break;
    }
    }
}

static bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void buf_json_str(struct buf *out, struct str value) {
    buf_putc(out, '"');
    size_t pos = 0;
    while (pos < value.len) {
        size_t start = pos;
        while (pos < value.len && is_plain((unsigned char)value.ptr[pos])) {
            pos++;
        }
        if (pos > start) {
            buf_append(out, value.ptr + start, pos - start);
        }
        if (pos == value.len) {
            break;
        }
        if ((unsigned char)value.ptr[pos] < 0x80) {
            append_escape(out, (unsigned char)value.ptr[pos++]);
            continue;
        }
        uint32_t rune = 0;
        pos += utf8_decode(value, pos, &rune);
        utf8_append(out, rune);
    }
    buf_putc(out, '"');
}
