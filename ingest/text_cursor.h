/*
 * Characters and the parts of `name{label="value",…}`, shared by the page parser and the builder of
 * labels.
 */
#pragma once

#include "ingest/text.h"

static inline bool text_is_blank(char c) {
    return c == ' ' || c == '\t';
}

static inline bool text_is_name_char(char c, bool is_first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           (!is_first && c >= '0' && c <= '9');
}

static inline const char *text_skip_blanks(const char *pos, const char *end) {
    while (pos < end && text_is_blank(*pos)) {
        pos++;
    }
    return pos;
}

enum part_kind {
    PART_NAME,
    PART_LABEL,
    PART_END,
    PART_BAD, /* cursor->pos is where, cursor->expected what */
};

struct part {
    struct str name; /* of the metric or the label, quotes cut */
    bool is_quoted;
    struct str value; /* as written between the quotes */
};

struct cursor {
    const char *pos;
    const char *end;
    bool has_name;
    bool is_open; /* inside the braces */
    bool is_done;
    const char *expected;
};

enum part_kind part_next(struct cursor *cursor, struct part *ret);

/* pos is at the opening quote; on success past the closing one. */
bool quoted_take(struct cursor *cursor, struct str *ret);
