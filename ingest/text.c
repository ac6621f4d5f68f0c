/* Lexing of metric pages: one pass, no allocation, exact positions for errors. */
#include "ingest/text.h"

#include <math.h>

#include "base/utf8.h"
#include "ingest/text_cursor.h"

/* ---- errors ---- */

static enum text_kind fail(const struct text_parser *parser,
                           const char *at,
                           struct err *err,
                           const char *expected) {
    struct str before = str_n(parser->line_start, (size_t)(at - parser->line_start));
    size_t left = (size_t)(parser->end - at);
    size_t shown = 0;
    while (shown < left && shown < 20 && at[shown] != '\n') {
        shown++;
    }
    shown = utf8_floor(str_n(at, left), shown);
    err_set(err, ERR_INVALID, "%u:%zu: expected %s%s%.*s%s", parser->line, utf8_count(before) + 1,
            expected, shown > 0 ? ", found \"" : ", found the end of the line", (int)shown, at,
            shown > 0 ? "\"" : "");
    return TEXT_BAD;
}

/* ---- values and timestamps ---- */

static struct str token_take(struct text_parser *parser) {
    const char *start = parser->pos;
    while (parser->pos < parser->end && !text_is_blank(*parser->pos) && *parser->pos != '\n' &&
           *parser->pos != '\r') {
        parser->pos++;
    }
    return str_n(start, (size_t)(parser->pos - start));
}

static bool value_parse(struct str token, double *ret) {
    for (size_t i = 0; i < token.len; i++) {
        char c = token.ptr[i];
        if (c == 'p' || c == 'P' || c == '_') {
            return false; /* Go's hexadecimal floats are not part of the formats */
        }
    }
    if (!str_parse_f64(token, ret)) {
        return false;
    }
    if (isnan(*ret)) {
        *ret = double_from_bits(NORMAL_NAN_BITS);
    }
    return true;
}

static bool time_parse(const struct text_parser *parser, struct str token, int64_t *ret_ms) {
    if (parser->format == TEXT_PLAIN) {
        return str_parse_i64(token, ret_ms);
    }
    double seconds;
    if (!value_parse(token, &seconds) || !(fabs(seconds) < 9e15)) {
        return false;
    }
    *ret_ms = (int64_t)round(seconds * 1000);
    return true;
}

static bool at_line_end(const struct text_parser *parser) {
    const char *pos = parser->pos;
    if (pos < parser->end && *pos == '\r' && parser->format == TEXT_PLAIN) {
        pos++;
    }
    return pos >= parser->end || *pos == '\n';
}

static void line_advance(struct text_parser *parser) {
    while (parser->pos < parser->end && *parser->pos != '\n') {
        parser->pos++;
    }
    if (parser->pos < parser->end) {
        parser->pos++;
        parser->line++;
        parser->line_start = parser->pos;
    }
}

/* ---- entries ---- */

/* " # {trace_id="…"} 0.67 1520879607.789": checked, then left out. */
static enum text_kind exemplar_take(struct text_parser *parser,
                                    struct text_entry *ret,
                                    struct err *err) {
    parser->pos = text_skip_blanks(parser->pos + 1, parser->end);
    struct cursor cursor = { .pos = parser->pos, .end = parser->end, .has_name = true };
    if (parser->pos >= parser->end || *parser->pos != '{') {
        return fail(parser, parser->pos, err, "an exemplar's labels");
    }
    struct part part;
    enum part_kind kind;
    do {
        kind = part_next(&cursor, &part);
    } while (kind == PART_LABEL);
    if (kind != PART_END) {
        return fail(parser, cursor.pos, err, cursor.expected);
    }
    parser->pos = text_skip_blanks(cursor.pos, parser->end);
    const char *start = parser->pos;
    double value;
    int64_t t_ms;
    if (!value_parse(token_take(parser), &value)) {
        return fail(parser, start, err, "an exemplar's value");
    }
    parser->pos = text_skip_blanks(parser->pos, parser->end);
    start = parser->pos;
    if (!at_line_end(parser) && !time_parse(parser, token_take(parser), &t_ms)) {
        return fail(parser, start, err, "an exemplar's timestamp");
    }
    ret->has_exemplar = true;
    return TEXT_SERIES;
}

static enum text_kind series_take(struct text_parser *parser,
                                  struct text_entry *ret,
                                  struct err *err) {
    struct cursor cursor = { .pos = parser->pos, .end = parser->end };
    const char *start = parser->pos;
    struct part part;
    enum part_kind kind;
    const char *series_end = start;
    if (text_is_blank(*start)) { /* OpenMetrics only */
        return fail(parser, start, err, "a metric name at the start of the line");
    }
    do {
        kind = part_next(&cursor, &part);
        if (kind == PART_NAME && cursor.is_done) {
            series_end = part.name.ptr + part.name.len;
        }
    } while (kind == PART_NAME || kind == PART_LABEL);
    if (kind == PART_BAD) {
        return fail(parser, cursor.pos, err, cursor.expected);
    }
    if (cursor.is_open) {
        series_end = cursor.pos;
    }
    ret->series = str_n(start, (size_t)(series_end - start));
    ret->family = parser->family;
    ret->type = parser->type;
    parser->pos = text_skip_blanks(series_end, parser->end);
    if (!cursor.is_open && parser->pos == series_end) {
        return fail(parser, parser->pos, err, "a value or labels");
    }
    start = parser->pos;
    if (!value_parse(token_take(parser), &ret->value)) {
        return fail(parser, start, err, "a value");
    }
    parser->pos = text_skip_blanks(parser->pos, parser->end);
    start = parser->pos;
    bool is_openmetrics = parser->format == TEXT_OPENMETRICS;
    if (!at_line_end(parser) && !(is_openmetrics && *parser->pos == '#')) {
        if (!time_parse(parser, token_take(parser), &ret->t_ms)) {
            return fail(parser, start, err,
                        is_openmetrics ? "a timestamp in seconds" : "a timestamp in milliseconds");
        }
        ret->has_t = true;
        parser->pos = text_skip_blanks(parser->pos, parser->end);
    }
    if (is_openmetrics && parser->pos < parser->end && *parser->pos == '#' &&
        exemplar_take(parser, ret, err) == TEXT_BAD) {
        return TEXT_BAD;
    }
    parser->pos = text_skip_blanks(parser->pos, parser->end);
    if (!at_line_end(parser)) {
        return fail(parser, parser->pos, err, "the end of the line");
    }
    line_advance(parser);
    return TEXT_SERIES;
}

/* ---- comments ---- */

static bool word_take(struct text_parser *parser, const char *word) {
    size_t len = strlen(word);
    size_t left = (size_t)(parser->end - parser->pos);
    if (left < len || memcmp(parser->pos, word, len) != 0) {
        return false;
    }
    if (left > len && !text_is_blank(parser->pos[len]) && parser->pos[len] != '\n' &&
        parser->pos[len] != '\r') {
        return false;
    }
    parser->pos += len;
    return true;
}

/* The family a comment is about, quoted or plain. */
static bool family_take(struct text_parser *parser, struct str *ret, struct err *err) {
    parser->pos = text_skip_blanks(parser->pos, parser->end);
    if (parser->pos < parser->end && *parser->pos == '"') {
        struct cursor cursor = { .pos = parser->pos, .end = parser->end };
        if (!quoted_take(&cursor, ret)) {
            fail(parser, cursor.pos, err, cursor.expected);
            return false;
        }
        parser->pos = cursor.pos;
        return true;
    }
    const char *start = parser->pos;
    while (parser->pos < parser->end && text_is_name_char(*parser->pos, parser->pos == start)) {
        parser->pos++;
    }
    if (parser->pos == start ||
        (!at_line_end(parser) && parser->pos < parser->end && !text_is_blank(*parser->pos))) {
        fail(parser, parser->pos, err, "a metric name");
        return false;
    }
    *ret = str_n(start, (size_t)(parser->pos - start));
    return true;
}

static struct str rest_take(struct text_parser *parser) {
    if (parser->pos < parser->end && text_is_blank(*parser->pos)) {
        parser->pos = text_skip_blanks(parser->pos, parser->end);
    }
    const char *start = parser->pos;
    while (parser->pos < parser->end && *parser->pos != '\n') {
        parser->pos++;
    }
    struct str rest = str_n(start, (size_t)(parser->pos - start));
    if (rest.len > 0 && rest.ptr[rest.len - 1] == '\r' && parser->format == TEXT_PLAIN) {
        rest.len--;
    }
    return rest;
}

static bool type_parse(enum text_format format, struct str word, enum family_type *ret) {
    if (format == TEXT_PLAIN && str_eq_c(word, "untyped")) {
        *ret = FAMILY_UNKNOWN;
        return true;
    }
    for (size_t i = 0; i < FAMILY_TYPE_COUNT; i++) {
        if (str_eq_c(word, family_type_to_string((enum family_type)i))) {
            *ret = (enum family_type)i;
            return true;
        }
    }
    return false;
}

static enum text_kind type_take(struct text_parser *parser,
                                struct text_entry *ret,
                                struct err *err) {
    if (!family_take(parser, &ret->family, err)) {
        return TEXT_BAD;
    }
    parser->pos = text_skip_blanks(parser->pos, parser->end);
    const char *start = parser->pos;
    struct str word = str_trim(rest_take(parser));
    if (!type_parse(parser->format, word, &ret->type)) {
        return fail(parser, start, err, "a metric type");
    }
    parser->family = ret->family;
    parser->type = ret->type;
    return TEXT_TYPE;
}

static enum text_kind unit_take(struct text_parser *parser,
                                struct text_entry *ret,
                                struct err *err) {
    if (!family_take(parser, &ret->family, err)) {
        return TEXT_BAD;
    }
    parser->pos = text_skip_blanks(parser->pos, parser->end);
    const char *start = parser->pos;
    ret->text = rest_take(parser);
    size_t unit_len = ret->text.len;
    size_t len = ret->family.len;
    bool is_suffix = len > unit_len && str_ends_with(ret->family, ret->text) &&
                     ret->family.ptr[len - unit_len - 1] == '_';
    if (unit_len > 0 && !is_suffix) {
        return fail(parser, start, err, "a unit that ends the metric's name");
    }
    return TEXT_UNIT;
}

/* After '#'. TEXT_END means: nothing to hand out, go on (or "# EOF" was seen). */
static enum text_kind comment_take(struct text_parser *parser,
                                   struct text_entry *ret,
                                   struct err *err) {
    const char *start = parser->pos;
    bool is_openmetrics = parser->format == TEXT_OPENMETRICS;
    parser->pos = text_skip_blanks(parser->pos + 1, parser->end);
    enum text_kind kind = TEXT_END;
    if (word_take(parser, "HELP")) {
        kind = family_take(parser, &ret->family, err) ? TEXT_HELP : TEXT_BAD;
        if (kind == TEXT_HELP) {
            ret->text = rest_take(parser);
        }
    } else if (word_take(parser, "TYPE")) {
        kind = type_take(parser, ret, err);
    } else if (is_openmetrics && word_take(parser, "UNIT")) {
        kind = unit_take(parser, ret, err);
    } else if (is_openmetrics && word_take(parser, "EOF") && at_line_end(parser)) {
        parser->has_ended = true;
    } else if (is_openmetrics) {
        return fail(parser, start, err, "# HELP, # TYPE, # UNIT or # EOF");
    }
    if (kind != TEXT_BAD) {
        line_advance(parser);
    }
    return kind;
}

void text_init(struct text_parser *parser, enum text_format format, struct str body) {
    *parser = (struct text_parser){
        .format = format,
        .body = body,
        .pos = body.ptr,
        .end = body.ptr + body.len,
        .line_start = body.ptr,
        .line = 1,
        .type = FAMILY_UNKNOWN,
    };
}

static enum text_kind end_check(struct text_parser *parser, struct err *err) {
    if (parser->format == TEXT_PLAIN) {
        return TEXT_END;
    }
    if (!parser->has_ended) {
        return fail(parser, parser->pos, err, "\"# EOF\" at the end of the page");
    }
    return parser->pos < parser->end ? fail(parser, parser->pos, err, "nothing after \"# EOF\"")
                                     : TEXT_END;
}

enum text_kind text_next(struct text_parser *parser, struct text_entry *ret, struct err *err) {
    while (parser->pos < parser->end && !parser->has_ended) {
        if (parser->format == TEXT_PLAIN) {
            parser->pos = text_skip_blanks(parser->pos, parser->end);
            if (at_line_end(parser)) {
                line_advance(parser);
                continue;
            }
        }
        *ret = (struct text_entry){
            .line = parser->line,
            .offset = (size_t)(parser->pos - parser->body.ptr),
            .type = FAMILY_UNKNOWN,
        };
        if (*parser->pos != '#') {
            return series_take(parser, ret, err);
        }
        enum text_kind kind = comment_take(parser, ret, err);
        if (kind != TEXT_END) {
            return kind;
        }
    }
    return end_check(parser, err);
}
