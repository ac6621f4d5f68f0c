/* Pattern text from Go's dialect to RE2's. One pass that only knows escapes, classes and groups. */
#include "base/regex_syntax.h"

struct scanner {
    struct str pattern;
    size_t at;
    size_t depth;
    struct buf *out;
};

static bool starts_at(const struct scanner *scanner, const char *text) {
    struct str rest = str_n(scanner->pattern.ptr + scanner->at, scanner->pattern.len - scanner->at);
    return str_starts_with(rest, str_from(text));
}

static void copy(struct scanner *scanner, size_t len) {
    size_t left = scanner->pattern.len - scanner->at;
    len = len < left ? len : left;
    buf_append(scanner->out, scanner->pattern.ptr + scanner->at, len);
    scanner->at += len;
}

static bool is_ascii_punctuation(char c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
}

/* After \Q: literals up to \E or the end. */
static void copy_quoted(struct scanner *scanner) {
    scanner->at += 2;
    while (scanner->at < scanner->pattern.len) {
        if (starts_at(scanner, "\\E")) {
            scanner->at += 2;
            return;
        }
        if (is_ascii_punctuation(scanner->pattern.ptr[scanner->at])) {
            buf_putc(scanner->out, '\\');
        }
        copy(scanner, 1);
    }
}

/* From "[" to the matching "]", or to the end when there is none (RE2 then reports it). */
static void copy_class(struct scanner *scanner) {
    copy(scanner, 1);
    if (starts_at(scanner, "^")) {
        copy(scanner, 1);
    }
    if (starts_at(scanner, "]")) {
        copy(scanner, 1); /* a first "]" is a literal */
    }
    while (scanner->at < scanner->pattern.len) {
        struct str rest =
            str_n(scanner->pattern.ptr + scanner->at, scanner->pattern.len - scanner->at);
        if (rest.ptr[0] == ']') {
            copy(scanner, 1);
            return;
        }
        if (rest.ptr[0] == '\\') {
            copy(scanner, 2);
        } else if (str_starts_with(rest, STR("[:")) && str_find(rest, STR(":]")) != SIZE_MAX) {
            copy(scanner, str_find(rest, STR(":]")) + 2);
        } else {
            copy(scanner, 1);
        }
    }
}

static void copy_group_start(struct scanner *scanner) {
    scanner->depth++;
    bool is_name =
        starts_at(scanner, "(?<") && !starts_at(scanner, "(?<=") && !starts_at(scanner, "(?<!");
    if (is_name) {
        buf_cstr(scanner->out, "(?P<");
        scanner->at += 3;
    } else {
        copy(scanner, 1);
    }
}

bool regex_translate(struct str pattern, struct buf *out, struct err *err) {
    if (pattern.len > REGEX_PATTERN_BYTES_MAX) {
        return err_set(err, ERR_LIMIT,
                       "regular expression of %zu bytes exceeds the limit of %d bytes", pattern.len,
                       REGEX_PATTERN_BYTES_MAX);
    }
    struct scanner scanner = { .pattern = pattern, .out = out };
    while (scanner.at < pattern.len) {
        char c = pattern.ptr[scanner.at];
        if (starts_at(&scanner, "\\Q")) {
            copy_quoted(&scanner);
        } else if (starts_at(&scanner, "\\C")) {
            return err_set(err, ERR_INVALID,
                           "error parsing regexp: invalid escape sequence: `\\C`");
        } else if (c == '\\') {
            copy(&scanner, 2);
        } else if (c == '[') {
            copy_class(&scanner);
        } else if (c == '(') {
            copy_group_start(&scanner);
        } else if (c == ')' && scanner.depth == 0) {
            return err_set(err, ERR_INVALID, "error parsing regexp: unexpected ): `%.*s`",
                           STR_FMT(pattern));
        } else {
            scanner.depth -= c == ')' ? 1 : 0;
            copy(&scanner, 1);
        }
    }
    return true;
}
