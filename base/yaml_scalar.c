/* Decoding of single YAML values, with go-yaml's reading of plain scalars. */
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/duration.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "base/yaml_doc.h"

enum {
    NUMBER_BYTES_MAX = 64,
};

void yaml_error(struct yaml_decode *ctx,
                const struct yaml_node *node,
                enum diag_severity severity,
                const char *fmt,
                ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    diag_add(ctx->diags, severity, yaml_at(ctx->doc, node), "%s",
             len < 0 ? "(message could not be formatted)" : text);
}

/* "a mapping", "the string "15x"" … for messages. */
static void describe(const struct yaml_node *node, struct buf *out) {
    if (yaml_is_null(node)) {
        buf_cstr(out, "nothing");
    } else if (node->kind == YAML_MAPPING) {
        buf_cstr(out, "a mapping");
    } else if (node->kind == YAML_SEQUENCE) {
        buf_cstr(out, "a list");
    } else {
        struct str text = node->scalar;
        bool is_cut = text.len > YAML_QUOTE_BYTES_MAX;
        text.len = is_cut ? utf8_floor(text, YAML_QUOTE_BYTES_MAX) : text.len;
        buf_cstr(out, node->is_quoted ? "the string \"" : "\"");
        buf_str(out, text);
        buf_cstr(out, is_cut ? "...\"" : "\"");
    }
}

bool yaml_refuse(struct yaml_decode *ctx, const struct yaml_node *node, const char *expected) {
    struct buf found;
    buf_init(&found, 512);
    describe(node, &found);
    yaml_error(ctx, node, DIAG_ERROR, "expected %s, found %s", expected, buf_as_str(&found).ptr);
    buf_finish(&found);
    return false;
}

/* ---- scalars ---- */

static bool parse_bool(struct str text, bool *ret) {
    static const char *const words[2][12] = {
        { "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N", NULL },
        { "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y", NULL },
    };
    for (size_t side = 0; side < 2; side++) {
        for (size_t i = 0; words[side][i] != NULL; i++) {
            if (str_eq_c(text, words[side][i])) {
                *ret = side == 1;
                return true;
            }
        }
    }
    return false;
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return 16;
}

static bool parse_digits(struct str text, unsigned base, uint64_t *ret) {
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)digit_value(text.ptr[i]);
        if (digit >= base || __builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value)) {
            return false;
        }
    }
    *ret = value;
    return text.len > 0;
}

/* Go's ParseInt with base 0 as go-yaml uses it: 0x, 0o, 0b, a leading 0 means octal. */
static bool parse_magnitude(struct str text, uint64_t *ret) {
    struct str tail = text.len > 2 ? str_n(text.ptr + 2, text.len - 2) : STR("");
    if (str_starts_with(text, STR("0x")) || str_starts_with(text, STR("0X"))) {
        return parse_digits(tail, 16, ret);
    }
    if (str_starts_with(text, STR("0o")) || str_starts_with(text, STR("0O"))) {
        return parse_digits(tail, 8, ret);
    }
    if (str_starts_with(text, STR("0b")) || str_starts_with(text, STR("0B"))) {
        return parse_digits(tail, 2, ret);
    }
    return parse_digits(text, text.len > 1 && text.ptr[0] == '0' ? 8 : 10, ret);
}

/* The scalar without the underscores YAML allows between digits. */
static bool plain_number(struct str text, char out[NUMBER_BYTES_MAX], struct str *ret) {
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '_') {
            continue;
        }
        if (len + 1 >= NUMBER_BYTES_MAX) {
            return false;
        }
        out[len++] = text.ptr[i];
    }
    *ret = str_n(out, len);
    return len > 0;
}

/* YAML spells infinities and NaN with a dot and nothing else. */
static bool parse_f64(struct str text, double *ret) {
    static const struct {
        const char *text;
        double value;
    } specials[] = {
        { ".inf", (double)INFINITY },   { ".Inf", (double)INFINITY },
        { ".INF", (double)INFINITY },   { "+.inf", (double)INFINITY },
        { "+.Inf", (double)INFINITY },  { "+.INF", (double)INFINITY },
        { "-.inf", -(double)INFINITY }, { "-.Inf", -(double)INFINITY },
        { "-.INF", -(double)INFINITY }, { ".nan", (double)NAN },
        { ".NaN", (double)NAN },        { ".NAN", (double)NAN },
    };

    for (size_t i = 0; i < ARRAY_LEN(specials); i++) {
        if (str_eq_c(text, specials[i].text)) {
            *ret = specials[i].value;
            return true;
        }
    }
    double value = 0;
    if (!str_parse_f64(text, &value) || !isfinite(value)) {
        return false;
    }
    *ret = value;
    return true;
}

static bool parse_signed(struct str text, bool *ret_is_negative, uint64_t *ret_magnitude) {
    *ret_is_negative = text.len > 0 && text.ptr[0] == '-';
    struct str digits = text;
    if (text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+')) {
        digits = str_n(text.ptr + 1, text.len - 1);
    }
    if (parse_magnitude(digits, ret_magnitude)) {
        return true;
    }
    double value = 0; /* 1e6 is a whole number too */
    if (!parse_f64(digits, &value) || value < 0 || value != floor(value) || value >= 0x1p63) {
        return false;
    }
    *ret_magnitude = (uint64_t)value;
    return true;
}

static bool decode_i64(struct yaml_decode *ctx, const struct yaml_node *node, int64_t *dest) {
    char digits[NUMBER_BYTES_MAX];
    struct str text;
    bool is_negative = false;
    uint64_t magnitude = 0;
    if (node->is_quoted || !plain_number(node->scalar, digits, &text) ||
        !parse_signed(text, &is_negative, &magnitude)) {
        return yaml_refuse(ctx, node, "a whole number");
    }
    if (magnitude > (uint64_t)INT64_MAX + (is_negative ? 1 : 0)) {
        return yaml_refuse(ctx, node, "a number that fits in 64 bits");
    }
    *dest = is_negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

static bool decode_u64(struct yaml_decode *ctx, const struct yaml_node *node, uint64_t *dest) {
    char digits[NUMBER_BYTES_MAX];
    struct str text;
    bool is_negative = false;
    uint64_t magnitude = 0;
    if (node->is_quoted || !plain_number(node->scalar, digits, &text) ||
        !parse_signed(text, &is_negative, &magnitude) || (is_negative && magnitude > 0)) {
        return yaml_refuse(ctx, node, "a whole number of 0 or more");
    }
    *dest = magnitude;
    return true;
}

static bool decode_f64(struct yaml_decode *ctx, const struct yaml_node *node, double *dest) {
    char digits[NUMBER_BYTES_MAX];
    struct str text;
    bool is_negative = false;
    uint64_t magnitude = 0;
    if (node->is_quoted || !plain_number(node->scalar, digits, &text)) {
        return yaml_refuse(ctx, node, "a number");
    }
    if (parse_f64(text, dest)) {
        return true;
    }
    if (!parse_signed(text, &is_negative, &magnitude)) {
        return yaml_refuse(ctx, node, "a number");
    }
    *dest = is_negative ? -(double)magnitude : (double)magnitude;
    return true;
}

static bool decode_bool(struct yaml_decode *ctx, const struct yaml_node *node, bool *dest) {
    if (node->is_quoted || !parse_bool(node->scalar, dest)) {
        return yaml_refuse(ctx, node,
                           node->is_quoted ? "true or false without quotes" : "true or false");
    }
    return true;
}

static bool decode_string(struct yaml_decode *ctx, const struct yaml_node *node, char **dest) {
    if (memchr(node->scalar.ptr, '\0', node->scalar.len) != NULL) {
        yaml_error(ctx, node, DIAG_ERROR, "a string must not contain a NUL character");
        return false;
    }
    mem_free(*dest);
    *dest = mem_strndup(node->scalar.ptr, node->scalar.len);
    return true;
}

static bool decode_duration(struct yaml_decode *ctx, const struct yaml_node *node, int64_t *dest) {
    struct err err = ERR_INIT;
    if (!duration_parse(node->scalar, dest, &err)) {
        yaml_error(ctx, node, DIAG_ERROR, "%s", err.msg);
        return false;
    }
    return true;
}

static bool decode_bytes(struct yaml_decode *ctx, const struct yaml_node *node, uint64_t *dest) {
    struct err err = ERR_INIT;
    if (!bytes_parse(node->scalar, dest, &err)) {
        yaml_error(ctx, node, DIAG_ERROR, "%s", err.msg);
        return false;
    }
    return true;
}

bool yaml_decode_scalar(struct yaml_decode *ctx,
                        const struct yaml_node *node,
                        enum yaml_type type,
                        void *dest) {
    static const char *const expected[] = {
        [YAML_STRING] = "a string",
        [YAML_BOOL] = "true or false",
        [YAML_I64] = "a whole number",
        [YAML_U64] = "a whole number of 0 or more",
        [YAML_F64] = "a number",
        [YAML_DURATION] = "a duration such as 30s or 1h30m",
        [YAML_BYTES] = "a size such as 10MB",
    };
    assert(type <= YAML_BYTES);
    if (node->kind != YAML_SCALAR || yaml_is_null(node)) {
        return yaml_refuse(ctx, node, expected[type]);
    }
    switch (type) {
    case YAML_STRING: return decode_string(ctx, node, dest);
    case YAML_BOOL: return decode_bool(ctx, node, dest);
    case YAML_I64: return decode_i64(ctx, node, dest);
    case YAML_U64: return decode_u64(ctx, node, dest);
    case YAML_F64: return decode_f64(ctx, node, dest);
    case YAML_DURATION: return decode_duration(ctx, node, dest);
    case YAML_BYTES: return decode_bytes(ctx, node, dest);
    case YAML_CUSTOM:
    case YAML_IGNORED: break;
    }
    BUG("yaml type %d is not a scalar type", (int)type);
}
