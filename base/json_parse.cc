/*
 * JSON in: simdjson's DOM, copied into plain C values. Error codes only, no exceptions. The copy is
 * what lets values outlive the parser's buffers and keeps C++ inside this file.
 */
#include <new>
#include <simdjson.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" /* C11's anonymous members */
extern "C" {
#include "base/json.h"
#include "base/json_fault.h"
#include "base/mem.h"
}
#pragma GCC diagnostic pop

using simdjson::dom::element;
using simdjson::dom::element_type;

struct json_parser {
    simdjson::dom::parser impl;
    size_t bytes_max;

    explicit json_parser(size_t max, size_t capacity) : impl(capacity), bytes_max(max) {
    }
};

namespace {

constexpr size_t depth_max = JSON_DEPTH_MAX;
constexpr size_t capacity_min = 64; /* simdjson wants room for a minimal document */

struct copier {
    struct arena *arena;
    struct err *err;
};

/* Arena memory whose size the sender chose: asked for before it is taken. */
void *take(const copier &c, size_t count, size_t elem_bytes) {
    if (count > SIZE_MAX / elem_bytes || !arena_can(c.arena, count * elem_bytes)) {
        err_set(c.err, ERR_LIMIT, "JSON document needs more memory than allowed");
        return nullptr;
    }
    return arena_alloc(c.arena, count * elem_bytes);
}

bool copy_text(const copier &c, std::string_view text, struct str *ret) {
    auto *bytes = static_cast<char *>(take(c, text.size() + 1, 1));
    if (bytes == nullptr) {
        return false;
    }
    std::memcpy(bytes, text.data(), text.size());
    bytes[text.size()] = '\0';
    ret->ptr = bytes;
    ret->len = text.size();
    return true;
}

bool copy_value(const copier &c, const element &from, struct json_value *to);

bool copy_array(const copier &c, const simdjson::dom::array &from, struct json_value *to) {
    size_t count = 0;
    for (element item : from) {
        (void)item;
        count++;
    }
    to->type = JSON_ARRAY;
    to->count = count;
    to->keys = nullptr;
    to->items = static_cast<struct json_value *>(take(c, count, sizeof(struct json_value)));
    if (to->items == nullptr) {
        return false;
    }
    struct json_value *next = to->items;
    for (element item : from) {
        if (!copy_value(c, item, next++)) {
            return false;
        }
    }
    return true;
}

bool copy_object(const copier &c, const simdjson::dom::object &from, struct json_value *to) {
    size_t count = 0;
    for (auto field : from) {
        (void)field;
        count++;
    }
    to->type = JSON_OBJECT;
    to->count = count;
    to->items = static_cast<struct json_value *>(take(c, count, sizeof(struct json_value)));
    to->keys = to->items == nullptr ? nullptr
                                    : static_cast<struct str *>(take(c, count, sizeof(struct str)));
    if (to->keys == nullptr) {
        return false;
    }
    size_t i = 0;
    for (auto field : from) {
        if (!copy_text(c, field.key, &to->keys[i]) || !copy_value(c, field.value, &to->items[i])) {
            return false;
        }
        i++;
    }
    return true;
}

/* The type has just been asked for, so the accessors below cannot fail. */
bool copy_value(const copier &c, const element &from, struct json_value *to) {
    switch (from.type()) {
    case element_type::NULL_VALUE: to->type = JSON_NULL; return true;
    case element_type::BOOL:
        to->type = JSON_BOOL;
        to->boolean = from.get_bool().value_unsafe();
        return true;
    case element_type::INT64:
        to->type = JSON_I64;
        to->i64 = from.get_int64().value_unsafe();
        return true;
    case element_type::UINT64:
        to->type = JSON_U64;
        to->u64 = from.get_uint64().value_unsafe();
        return true;
    case element_type::DOUBLE:
        to->type = JSON_F64;
        to->f64 = from.get_double().value_unsafe();
        return true;
    case element_type::STRING:
        to->type = JSON_STRING;
        return copy_text(c, from.get_string().value_unsafe(), &to->string);
    case element_type::ARRAY: return copy_array(c, from.get_array().value_unsafe(), to);
    case element_type::OBJECT: return copy_object(c, from.get_object().value_unsafe(), to);
    }
    BUG("unknown simdjson type %d", static_cast<int>(from.type()));
}

bool report(struct str text, simdjson::error_code code, struct err *err) {
    if (code == simdjson::MEMALLOC) {
        BUG("out of memory in simdjson for %zu bytes", text.len);
    }
    struct json_fault fault;
    if (!json_find_fault(text, depth_max, &fault)) {
        return err_set(err, ERR_INVALID, "invalid JSON: %s", simdjson::error_message(code));
    }
    if (code == simdjson::DEPTH_ERROR) {
        return err_set(err, ERR_LIMIT, "JSON nested more than %zu levels deep at byte %zu",
                       depth_max, fault.offset);
    }
    return err_set(err, ERR_INVALID, "invalid JSON at byte %zu: %s", fault.offset, fault.reason);
}

} // namespace

extern "C" {

struct json_parser *json_parser_create(size_t bytes_max) {
    size_t capacity = bytes_max < capacity_min ? capacity_min : bytes_max;
    auto *parser = new (std::nothrow) json_parser(bytes_max, capacity);
    if (parser == nullptr) {
        BUG("out of memory for a JSON parser");
    }
    if (parser->impl.allocate(capacity_min, depth_max) != simdjson::SUCCESS) {
        BUG("out of memory for a JSON parser");
    }
    return parser;
}

void json_parser_destroy(struct json_parser *parser) {
    delete parser;
}

bool json_parse(struct json_parser *parser,
                struct str text,
                struct arena *arena,
                struct json_value **ret,
                struct err *err) {
    if (text.len > parser->bytes_max) {
        return err_set(err, ERR_LIMIT, "JSON document of %zu bytes is larger than %zu", text.len,
                       parser->bytes_max);
    }
    if (text.len == 0) {
        return err_set(err, ERR_INVALID, "invalid JSON: the document is empty");
    }
    element root;
    simdjson::error_code code = parser->impl.parse(text.ptr, text.len, true).get(root);
    if (code != simdjson::SUCCESS) {
        return report(text, code, err);
    }
    copier c = { arena, err };
    auto *value = static_cast<struct json_value *>(take(c, 1, sizeof(struct json_value)));
    if (value == nullptr || !copy_value(c, root, value)) {
        return false;
    }
    *ret = value;
    return true;
}

const struct json_value *json_get(const struct json_value *object, const char *key) {
    if (object == nullptr || object->type != JSON_OBJECT) {
        return nullptr;
    }
    struct str wanted = str_from(key);
    for (size_t i = object->count; i > 0; i--) {
        if (str_eq(object->keys[i - 1], wanted)) {
            return &object->items[i - 1];
        }
    }
    return nullptr;
}

bool json_number(const struct json_value *value, double *ret) {
    if (value == nullptr) {
        return false;
    }
    switch (value->type) {
    case JSON_I64: *ret = static_cast<double>(value->i64); return true;
    case JSON_U64: *ret = static_cast<double>(value->u64); return true;
    case JSON_F64: *ret = value->f64; return true;
    default: return false;
    }
}
}
