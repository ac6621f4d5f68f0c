/*
 * A plain checker for JSON, run only on texts the fast parser has refused, to say where and why.
 * One pass, no recursion: the open containers are bits on a small stack.
 */
#include "base/json_fault.h"

#include <assert.h>
#include <math.h>

#include "base/utf8.h"

enum {
    DEPTH_LIMIT = 256,
};

struct checker {
    struct str text;
    size_t pos;
    const char *reason; /* set once a fault is found, which then is at pos */
    size_t depth;
    bool is_object[DEPTH_LIMIT];
};

static unsigned char peek(const struct checker *c) {
    return c->pos < c->text.len ? (unsigned char)c->text.ptr[c->pos] : '\0';
}

static bool fault(struct checker *c, const char *reason) {
    c->reason = c->pos >= c->text.len ? "the text ends too early" : reason;
    return false;
}

static void skip_space(struct checker *c) {
    while (peek(c) == ' ' || peek(c) == '\t' || peek(c) == '\n' || peek(c) == '\r') {
        c->pos++;
    }
}

static bool check_hex4(struct checker *c, uint32_t *ret) {
    *ret = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char digit = peek(c);
        bool is_digit = digit >= '0' && digit <= '9';
        bool is_letter = (digit | 0x20) >= 'a' && (digit | 0x20) <= 'f';
        if (!is_digit && !is_letter) {
            return fault(c, "\\u takes four hexadecimal digits");
        }
        *ret = *ret << 4 | (is_digit ? digit - 0x30U : (digit | 0x20U) - 0x61U + 10);
        c->pos++;
    }
    return true;
}

/* At the backslash. */
static bool check_escape(struct checker *c) {
    size_t start = c->pos++;
    unsigned char kind = peek(c);
    if (kind != 'u') {
        if (kind == '\0' || strchr("\"\\/bfnrt", kind) == NULL) {
            return fault(c, "unknown escape in a string");
        }
        c->pos++;
        return true;
    }
    c->pos++;
    uint32_t high = 0;
    uint32_t low = 0;
    if (!check_hex4(c, &high)) {
        return false;
    }
    bool is_pair = high >= 0xd800 && high < 0xdc00 && peek(c) == '\\' && c->pos + 1 < c->text.len &&
                   c->text.ptr[c->pos + 1] == 'u';
    if (is_pair) {
        c->pos += 2;
        if (!check_hex4(c, &low)) {
            return false;
        }
    }
    bool is_low_ok = low >= 0xdc00 && low < 0xe000;
    if (high >= 0xd800 && high < 0xe000 && !is_low_ok) {
        c->pos = start;
        return fault(c, "half of a surrogate pair");
    }
    return true;
}

static bool check_string(struct checker *c) {
    if (peek(c) != '"') {
        return fault(c, "expected a string");
    }
    c->pos++;
    for (;;) {
        unsigned char byte = peek(c);
        if (c->pos >= c->text.len) {
            return fault(c, "unclosed string");
        }
        if (byte == '"') {
            c->pos++;
            return true;
        }
        if (byte < 0x20) {
            return fault(c, "control character in a string, write it as an escape");
        }
        if (byte == '\\') {
            if (!check_escape(c)) {
                return false;
            }
            continue;
        }
        uint32_t rune = 0;
        size_t len = utf8_decode(c->text, c->pos, &rune);
        if (rune == UTF8_INVALID) {
            return fault(c, "not UTF-8");
        }
        c->pos += len;
    }
}

static size_t skip_digits(struct checker *c) {
    size_t start = c->pos;
    while (peek(c) >= '0' && peek(c) <= '9') {
        c->pos++;
    }
    return c->pos - start;
}

static bool check_number(struct checker *c) {
    size_t start = c->pos;
    c->pos += peek(c) == '-' ? 1 : 0;
    bool is_zero_first = peek(c) == '0';
    size_t digits = skip_digits(c);
    if (digits == 0) {
        return fault(c, "expected a digit");
    }
    if (is_zero_first && digits > 1) {
        c->pos = start;
        return fault(c, "a number must not start with 0");
    }
    bool is_float = peek(c) == '.' || peek(c) == 'e' || peek(c) == 'E';
    if (peek(c) == '.') {
        c->pos++;
        if (skip_digits(c) == 0) {
            return fault(c, "expected a digit");
        }
    }
    if (peek(c) == 'e' || peek(c) == 'E') {
        c->pos++;
        c->pos += peek(c) == '+' || peek(c) == '-' ? 1 : 0;
        if (skip_digits(c) == 0) {
            return fault(c, "expected a digit");
        }
    }
    struct str number = str_n(c->text.ptr + start, c->pos - start);
    double value = 0;
    int64_t i64 = 0;
    uint64_t u64 = 0;
    bool is_fit = is_float ? str_parse_f64(number, &value) && isfinite(value)
                           : str_parse_i64(number, &i64) || str_parse_u64(number, &u64);
    if (!is_fit) {
        c->pos = start;
        return fault(c, "number out of range");
    }
    return true;
}

static bool check_word(struct checker *c, const char *word) {
    for (; *word != '\0'; word++, c->pos++) {
        if (peek(c) != (unsigned char)*word) {
            return fault(c, "expected a value");
        }
    }
    return true;
}

static bool check_key(struct checker *c) {
    skip_space(c);
    if (peek(c) != '"') {
        return fault(c, "expected a key in quotes");
    }
    if (!check_string(c)) {
        return false;
    }
    skip_space(c);
    if (peek(c) != ':') {
        return fault(c, "expected \":\" after a key");
    }
    c->pos++;
    return true;
}

/* A scalar or the opening of a container; *ret_is_open when a value must follow. */
static bool check_value(struct checker *c, size_t depth_max, bool *ret_is_open) {
    skip_space(c);
    *ret_is_open = false;
    unsigned char first = peek(c);
    switch (first) {
    case '"': return check_string(c);
    case 't': return check_word(c, "true");
    case 'f': return check_word(c, "false");
    case 'n': return check_word(c, "null");
    case '{':
    case '[': break;
    default:
        if (first == '-' || (first >= '0' && first <= '9')) {
            return check_number(c);
        }
        return fault(c, "expected a value");
    }
    if (c->depth >= depth_max) {
        return fault(c, "nested too deep");
    }
    c->is_object[c->depth++] = first == '{';
    c->pos++;
    skip_space(c);
    if (peek(c) == (first == '{' ? '}' : ']')) {
        return true; /* closed by check_after */
    }
    *ret_is_open = true;
    return first == '{' ? check_key(c) : true;
}

/* What may follow a value: closings, then a comma or the end. */
static bool check_after(struct checker *c, bool *ret_is_open) {
    *ret_is_open = false;
    for (;;) {
        skip_space(c);
        if (c->depth == 0) {
            return c->pos == c->text.len ? true : fault(c, "text after the end of the document");
        }
        bool is_object = c->is_object[c->depth - 1];
        if (peek(c) == ',') {
            c->pos++;
            *ret_is_open = true;
            return is_object ? check_key(c) : true;
        }
        if (peek(c) != (is_object ? '}' : ']')) {
            return fault(c, is_object ? "expected \",\" or \"}\"" : "expected \",\" or \"]\"");
        }
        c->pos++;
        c->depth--;
    }
}

bool json_find_fault(struct str text, size_t depth_max, struct json_fault *ret) {
    assert(depth_max <= DEPTH_LIMIT);
    struct checker c = { .text = text };
    bool is_open = true;
    while (is_open) {
        if (!check_value(&c, depth_max, &is_open)) {
            break;
        }
        if (!is_open && !check_after(&c, &is_open)) {
            break;
        }
    }
    if (c.reason == NULL) {
        return false;
    }
    *ret = (struct json_fault){ .offset = c.pos, .reason = c.reason };
    return true;
}
