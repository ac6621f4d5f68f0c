/* Replacement templates, as Go's Regexp.Expand and ReplaceAllString. */
#include <assert.h>

#include "base/regex_syntax.h"
#include "base/utf8.h"

static const size_t no_number = SIZE_MAX;

/* A reference after its "$". */
struct reference {
    struct str name;
    size_t number; /* no_number when the name is not one */
    size_t bytes;  /* length of the reference in the template */
};

static size_t name_bytes(struct str text) {
    size_t len = 0;
    while (len < text.len) {
        unsigned char c = (unsigned char)text.ptr[len];
        if (c >= 0x80) {
            return regex_word_bytes(text);
        }
        bool is_word =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!is_word) {
            return len;
        }
        len++;
    }
    return len;
}

/* Leading zeros and more than eight digits make it a name, as in Go. */
static size_t group_number(struct str name) {
    uint64_t number;
    bool has_zeros = name.len > 1 && name.ptr[0] == '0';
    if (has_zeros || name.len > 9 || !str_parse_u64(name, &number) || number >= 1000000000) {
        return no_number;
    }
    return (size_t)number;
}

static bool parse_reference(struct str text, struct reference *ret) {
    bool has_brace = text.len > 0 && text.ptr[0] == '{';
    size_t start = has_brace ? 1 : 0;
    if (text.len <= start) {
        return false;
    }
    struct str rest = str_n(text.ptr + start, text.len - start);
    struct str name = str_n(rest.ptr, name_bytes(rest));
    if (name.len == 0) {
        return false;
    }
    if (has_brace && (name.len == rest.len || rest.ptr[name.len] != '}')) {
        return false;
    }
    *ret = (struct reference){
        .name = name,
        .number = group_number(name),
        .bytes = name.len + (has_brace ? 2 : 0),
    };
    return true;
}

/* Several groups may share a name, one per alternative: the first that took part counts. */
static struct str referenced_text(const struct regex *regex,
                                  const struct reference *reference,
                                  const struct str *groups,
                                  size_t group_count) {
    size_t number = reference->number;
    if (number != no_number) {
        bool is_set = number < group_count && groups[number].ptr != NULL;
        return is_set ? groups[number] : STR("");
    }
    for (size_t i = 1; i < group_count; i++) {
        if (groups[i].ptr != NULL && regex_group_has_name(regex, i, reference->name)) {
            return groups[i];
        }
    }
    return STR("");
}

void regex_expand(const struct regex *regex,
                  struct str replacement,
                  const struct str *groups,
                  size_t group_count,
                  struct buf *out) {
    struct str before;
    struct str rest = replacement;
    while (str_cut(rest, '$', &before, &rest)) {
        buf_str(out, before);
        struct reference reference;
        if (rest.len > 0 && rest.ptr[0] == '$') {
            buf_putc(out, '$');
            rest = str_n(rest.ptr + 1, rest.len - 1);
        } else if (parse_reference(rest, &reference)) {
            buf_str(out, referenced_text(regex, &reference, groups, group_count));
            rest = str_n(rest.ptr + reference.bytes, rest.len - reference.bytes);
        } else {
            buf_putc(out, '$'); /* not a reference: plain text */
        }
    }
    buf_str(out, before);
}

static size_t rune_bytes(struct str text, size_t at) {
    uint32_t rune;
    return at < text.len ? utf8_decode(text, at, &rune) : 0;
}

void regex_replace_all(const struct regex *regex,
                       struct str text,
                       struct str replacement,
                       struct buf *out) {
    if (text.ptr == NULL) {
        text = STR("");
    }
    size_t copied = 0; /* end of the last match */
    size_t at = 0;
    struct str groups[REGEX_GROUPS_MAX];
    while (at <= text.len && !out->is_over) {
        size_t count = regex_groups_from(regex, text, at, groups);
        if (count == 0) {
            break;
        }
        size_t start = (size_t)(groups[0].ptr - text.ptr);
        size_t end = start + groups[0].len;
        assert(start >= copied && end <= text.len);
        buf_str(out, str_n(text.ptr + copied, start - copied));
        /* An empty match right after another match is not a match of its own. */
        if (end > copied || start == 0) {
            regex_expand(regex, replacement, groups, count, out);
        }
        copied = end;
        size_t width = rune_bytes(text, at);
        if (at + width > end) {
            at += width;
        } else if (at + 1 > end) {
            at++;
        } else {
            at = end;
        }
    }
    buf_str(out, str_n(text.ptr + copied, text.len - copied));
}
