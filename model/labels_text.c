/* Label sets as text and as bytes, and the names Prometheus' classic syntax allows. */
#include <assert.h>

#include "base/pb.h"
#include "model/model.h"

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(struct str name, bool allows_colon) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_digit = c >= '0' && c <= '9';
        if (!is_letter(c) && !(is_digit && i > 0) && !(allows_colon && c == ':')) {
            return false;
        }
    }
    return name.len > 0;
}

bool metric_name_is_valid_legacy(struct str name) {
    return is_name(name, true);
}

bool label_name_is_valid_legacy(struct str name) {
    return is_name(name, false);
}

void label_quote(struct str text, struct buf *out) {
    static const char hex[] = "0123456789abcdef";
    buf_putc(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        static const char escaped[] = "\a\b\f\n\r\t\v\"\\";
        static const char letters[] = "abfnrtv\"\\";
        const char *known = memchr(escaped, c, sizeof(escaped) - 1);
        if (known != NULL) {
            buf_putc(out, '\\');
            buf_putc(out, letters[known - escaped]);
        } else if (c < 0x20 || c == 0x7f) {
            buf_cstr(out, "\\x");
            buf_putc(out, hex[c >> 4]);
            buf_putc(out, hex[c & 15]);
        } else {
            buf_putc(out, (char)c);
        }
    }
    buf_putc(out, '"');
}

static void put_label(struct buf *out, const struct label *label, bool is_first) {
    if (!is_first) {
        buf_putc(out, ',');
    }
    if (label_name_is_valid_legacy(label->name)) {
        buf_str(out, label->name);
    } else {
        label_quote(label->name, out);
    }
    buf_putc(out, '=');
    label_quote(label->value, out);
}

void labels_print(struct labels labels, struct buf *out) {
    struct str metric = labels_get(labels, METRIC_NAME);
    bool is_plain = metric_name_is_valid_legacy(metric);
    if (is_plain) {
        buf_str(out, metric);
    }
    bool is_first = true;
    bool has_braces = labels.count == 0 || labels.count > 1 || !is_plain;
    if (has_braces) {
        buf_putc(out, '{');
    }
    if (metric.len > 0 && !is_plain) {
        label_quote(metric, out);
        is_first = false;
    }
    for (size_t i = 0; i < labels.count; i++) {
        if (!str_eq(labels.items[i].name, METRIC_NAME)) {
            put_label(out, &labels.items[i], is_first);
            is_first = false;
        }
    }
    if (has_braces) {
        buf_putc(out, '}');
    }
}

static const char *const match_names[] = {
    [MATCH_EQ] = "=",
    [MATCH_NE] = "!=",
    [MATCH_RE] = "=~",
    [MATCH_NRE] = "!~",
};
static_assert(ARRAY_LEN(match_names) == MATCH_TYPE_COUNT, "one operator per match type");

const char *match_type_to_string(enum match_type type) {
    if ((size_t)type >= ARRAY_LEN(match_names)) {
        BUG("unknown match type %d", (int)type);
    }
    return match_names[type];
}

void matcher_print(const struct matcher *matcher, struct buf *out) {
    if (label_name_is_valid_legacy(matcher->name)) {
        buf_str(out, matcher->name);
    } else {
        label_quote(matcher->name, out);
    }
    buf_cstr(out, match_type_to_string(matcher->type));
    label_quote(matcher->value, out);
}

static size_t encoded_bytes(struct str text) {
    size_t bytes = 1 + text.len;
    for (size_t len = text.len; len >= 0x80; len >>= 7) {
        bytes++;
    }
    return bytes;
}

static char *put_str(char *out, struct str text) {
    size_t len = text.len;
    for (; len >= 0x80; len >>= 7) {
        *out++ = (char)(unsigned char)(len | 0x80);
    }
    *out++ = (char)len;
    if (text.len > 0) {
        memcpy(out, text.ptr, text.len);
    }
    return out + text.len;
}

void labels_encode(struct labels labels, struct buf *out) {
    pb_put_varint(out, labels.count);
    size_t bytes = 0;
    for (size_t i = 0; i < labels.count; i++) {
        bytes += encoded_bytes(labels.items[i].name) + encoded_bytes(labels.items[i].value);
    }
    char *start = buf_reserve(out, bytes);
    char *end = start;
    for (size_t i = 0; start != NULL && i < labels.count; i++) {
        end = put_str(end, labels.items[i].name);
        end = put_str(end, labels.items[i].value);
    }
    out->len += (size_t)(end - start);
}

/* Shortest form only: one set has one encoding, so that encoded keys can be compared. */
static bool take_uint(struct str *rest, uint64_t *ret) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 35 && rest->len > 0; shift += 7) {
        unsigned char byte = (unsigned char)rest->ptr[0];
        *rest = str_n(rest->ptr + 1, rest->len - 1);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = value;
            return byte != 0 || shift == 0;
        }
    }
    return false;
}

static bool take_str(struct str *rest, struct str *ret) {
    uint64_t len;
    if (!take_uint(rest, &len) || len > rest->len) {
        return false;
    }
    *ret = str_n(rest->ptr, (size_t)len);
    *rest = str_n(rest->ptr + len, rest->len - (size_t)len);
    return true;
}

bool labels_decode(struct str bytes, struct arena *arena, struct labels *ret) {
    struct str rest = bytes;
    uint64_t count;
    /* Every label takes at least two bytes: a count beyond that is refused before memory is. */
    if (!take_uint(&rest, &count) || count > rest.len / 2) {
        return false;
    }
    struct labels labels = { .count = (size_t)count };
    labels.items = arena_alloc(arena, labels.count * sizeof(labels.items[0]));
    for (size_t i = 0; i < labels.count; i++) {
        struct label *label = &labels.items[i];
        if (!take_str(&rest, &label->name) || !take_str(&rest, &label->value)) {
            return false;
        }
        bool is_ordered = i == 0 || str_cmp(labels.items[i - 1].name, label->name) < 0;
        if (!is_ordered || label->name.len == 0 || label->value.len == 0) {
            return false;
        }
    }
    if (rest.len > 0) {
        return false;
    }
    *ret = labels;
    return true;
}

static const char *const family_names[] = {
    [FAMILY_UNKNOWN] = "unknown",
    [FAMILY_COUNTER] = "counter",
    [FAMILY_GAUGE] = "gauge",
    [FAMILY_HISTOGRAM] = "histogram",
    [FAMILY_GAUGE_HISTOGRAM] = "gaugehistogram",
    [FAMILY_SUMMARY] = "summary",
    [FAMILY_INFO] = "info",
    [FAMILY_STATESET] = "stateset",
};
static_assert(ARRAY_LEN(family_names) == FAMILY_TYPE_COUNT, "one name per family type");

const char *family_type_to_string(enum family_type type) {
    if ((size_t)type >= ARRAY_LEN(family_names)) {
        BUG("unknown family type %d", (int)type);
    }
    return family_names[type];
}
