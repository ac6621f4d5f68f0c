/* Characters, numbers, durations, strings and words of the language. */
#include "promql/lex_scan.h"

#include <assert.h>

#include "base/utf8.h"
#include "promql/quote.h"

uint32_t promql_lex_next(struct promql_lexer *lexer) {
    assert(lexer->pos <= lexer->text.len);
    if (lexer->pos == lexer->text.len) {
        lexer->width = 0;
        return LEX_EOF;
    }
    uint32_t rune;
    lexer->width = utf8_decode(lexer->text, lexer->pos, &rune);
    lexer->pos += lexer->width;
    return rune == UTF8_INVALID ? UTF8_REPLACEMENT : rune;
}

void promql_lex_backup(struct promql_lexer *lexer) {
    assert(lexer->pos >= lexer->width);
    lexer->pos -= lexer->width;
}

uint32_t promql_lex_peek(struct promql_lexer *lexer) {
    uint32_t rune = promql_lex_next(lexer);
    promql_lex_backup(lexer);
    return rune;
}

struct str promql_lex_word(const struct promql_lexer *lexer) {
    return str_n(lexer->text.ptr + lexer->start, lexer->pos - lexer->start);
}

bool promql_is_space(uint32_t rune) {
    return rune == ' ' || rune == '\t' || rune == '\n' || rune == '\r';
}

bool promql_is_digit(uint32_t rune) {
    return rune >= '0' && rune <= '9';
}

bool promql_is_alpha(uint32_t rune) {
    return rune == '_' || (rune >= 'a' && rune <= 'z') || (rune >= 'A' && rune <= 'Z');
}

bool promql_is_alphanumeric(uint32_t rune) {
    return promql_is_alpha(rune) || promql_is_digit(rune);
}

/* ---- reserved words ---- */

struct keyword {
    const char *word;
    enum promql_token_type type;
};

static const struct keyword keywords[] = {
    { "and", PROMQL_TOKEN_LAND },
    { "or", PROMQL_TOKEN_LOR },
    { "unless", PROMQL_TOKEN_LUNLESS },
    { "atan2", PROMQL_TOKEN_ATAN2 },
    { "sum", PROMQL_TOKEN_SUM },
    { "avg", PROMQL_TOKEN_AVG },
    { "count", PROMQL_TOKEN_COUNT_AGG },
    { "min", PROMQL_TOKEN_MIN },
    { "max", PROMQL_TOKEN_MAX },
    { "group", PROMQL_TOKEN_GROUP },
    { "stddev", PROMQL_TOKEN_STDDEV },
    { "stdvar", PROMQL_TOKEN_STDVAR },
    { "topk", PROMQL_TOKEN_TOPK },
    { "bottomk", PROMQL_TOKEN_BOTTOMK },
    { "count_values", PROMQL_TOKEN_COUNT_VALUES },
    { "quantile", PROMQL_TOKEN_QUANTILE },
    { "limitk", PROMQL_TOKEN_LIMITK },
    { "limit_ratio", PROMQL_TOKEN_LIMIT_RATIO },
    { "offset", PROMQL_TOKEN_OFFSET },
    { "smoothed", PROMQL_TOKEN_SMOOTHED },
    { "anchored", PROMQL_TOKEN_ANCHORED },
    { "by", PROMQL_TOKEN_BY },
    { "without", PROMQL_TOKEN_WITHOUT },
    { "on", PROMQL_TOKEN_ON },
    { "ignoring", PROMQL_TOKEN_IGNORING },
    { "group_left", PROMQL_TOKEN_GROUP_LEFT },
    { "group_right", PROMQL_TOKEN_GROUP_RIGHT },
    { "fill", PROMQL_TOKEN_FILL },
    { "fill_left", PROMQL_TOKEN_FILL_LEFT },
    { "fill_right", PROMQL_TOKEN_FILL_RIGHT },
    { "bool", PROMQL_TOKEN_BOOL },
    { "start", PROMQL_TOKEN_START },
    { "end", PROMQL_TOKEN_END },
    { "step", PROMQL_TOKEN_STEP },
    { "range", PROMQL_TOKEN_RANGE },
    { "max_of", PROMQL_TOKEN_MAX_OF },
    { "min_of", PROMQL_TOKEN_MIN_OF },
    { "inf", PROMQL_TOKEN_NUMBER },
    { "nan", PROMQL_TOKEN_NUMBER },
};

enum promql_token_type promql_lex_keyword(struct str word) {
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        if (str_eq_nocase(word, str_from(keywords[i].word))) {
            return keywords[i].type;
        }
    }
    return PROMQL_TOKEN_IDENTIFIER;
}

enum promql_token_type promql_lex_duration_keyword(struct str word) {
    enum promql_token_type type = promql_lex_keyword(word);
    return type >= PROMQL_TOKEN_STEP && type <= PROMQL_TOKEN_MIN_OF ? type
                                                                    : PROMQL_TOKEN_IDENTIFIER;
}

/* ---- numbers ---- */

#define DIGITS     "0123456789"
#define HEX_DIGITS "0123456789abcdefABCDEF"

static bool is_one_of(uint32_t rune, const char *set) {
    return rune != '\0' && rune < 0x80 && strchr(set, (int)rune) != NULL;
}

static bool peek_is(struct promql_lexer *lexer, const char *set) {
    return is_one_of(promql_lex_peek(lexer), set);
}

static bool accept(struct promql_lexer *lexer, const char *set) {
    if (is_one_of(promql_lex_next(lexer), set)) {
        return true;
    }
    promql_lex_backup(lexer);
    return false;
}

struct number {
    const char *digits;
    bool is_hex;
    bool has_dot;
    bool has_exponent;
};

/* One step inside a number. False when the character must not stand here; what was read by then
 * shows up in the error, so the order of the reads is upstream's. */
static bool scan_number_part(struct promql_lexer *lexer, struct number *number) {
    if (number->has_dot && accept(lexer, ".")) {
        return false;
    }
    if (number->has_exponent && accept(lexer, "eE")) {
        return false;
    }
    if (accept(lexer, ".")) {
        number->has_dot = true;
        return !accept(lexer, "_.") && !number->is_hex;
    }
    if (accept(lexer, "eE")) {
        number->has_exponent = true;
        accept(lexer, "+-");
        return !accept(lexer, "._eE") && promql_lex_peek(lexer) != LEX_EOF;
    }
    if (accept(lexer, "_")) {
        return !accept(lexer, "._eE") && promql_lex_peek(lexer) != LEX_EOF;
    }
    while (accept(lexer, number->digits)) {
    }
    return true;
}

/* Accepts a little more than a number (an "e" without digits, say); reading its value decides. */
bool promql_lex_scan_number(struct promql_lexer *lexer) {
    size_t first = lexer->pos;
    struct number number = { .digits = DIGITS };
    if (accept(lexer, "0") && accept(lexer, "xX")) {
        accept(lexer, "_");
        number.digits = HEX_DIGITS;
        number.is_hex = true;
    }
    accept(lexer, ".");
    accept(lexer, number.digits);
    while (peek_is(lexer, number.digits) || peek_is(lexer, "._eE")) {
        if (!scan_number_part(lexer, &number)) {
            return false;
        }
    }
    return lexer->pos != first && !promql_is_alphanumeric(promql_lex_peek(lexer));
}

/* The digits before the first unit have been read by promql_lex_scan_number. Orders and units that
 * make no sense (1s1h, 5hs) are found when the value is read. */
bool promql_lex_scan_duration(struct promql_lexer *lexer) {
    if (!accept(lexer, "smhdwy")) {
        return false;
    }
    accept(lexer, "s");
    while (accept(lexer, DIGITS)) {
        while (accept(lexer, DIGITS)) {
        }
        if (!accept(lexer, "smhdw")) {
            return false;
        }
        accept(lexer, "s");
    }
    if (promql_is_alphanumeric(promql_lex_next(lexer))) {
        return false;
    }
    promql_lex_backup(lexer);
    return true;
}

/* ---- strings ---- */

static bool fail(struct promql_lexer *lexer, const char *message) {
    buf_reset(&lexer->message);
    buf_cstr(&lexer->message, message);
    return false;
}

static uint32_t digit_value(uint32_t rune) {
    if (promql_is_digit(rune)) {
        return rune - '0';
    }
    if (rune >= 'a' && rune <= 'f') {
        return rune - 'a' + 10;
    }
    if (rune >= 'A' && rune <= 'F') {
        return rune - 'A' + 10;
    }
    return 16;
}

struct escape {
    uint32_t rune; /* the first digit */
    uint32_t count;
    uint32_t base;
    uint32_t max;
};

static bool scan_escape_digits(struct promql_lexer *lexer, struct escape escape) {
    uint64_t value = 0;
    uint32_t rune = escape.rune;
    for (uint32_t i = 0; i < escape.count; i++) {
        if (i > 0) {
            rune = promql_lex_next(lexer);
        }
        if (digit_value(rune) >= escape.base) {
            if (rune == LEX_EOF) {
                return fail(lexer, "escape sequence not terminated");
            }
            fail(lexer, "illegal character ");
            promql_describe_rune(&lexer->message, rune);
            buf_cstr(&lexer->message, " in escape sequence");
            return false;
        }
        value = value * escape.base + digit_value(rune);
    }
    if (value > escape.max || (value >= 0xd800 && value < 0xe000)) {
        return fail(lexer, "escape sequence is an invalid Unicode code point");
    }
    return true;
}

static bool scan_escape(struct promql_lexer *lexer, uint32_t quote) {
    uint32_t rune = promql_lex_next(lexer);
    if (rune == quote || is_one_of(rune, "abfnrtv\\")) {
        return true;
    }
    struct escape escape = { .count = 3, .base = 8, .max = 255, .rune = rune };
    if (rune >= '0' && rune <= '7') {
        return scan_escape_digits(lexer, escape);
    }
    switch (rune) {
    case 'x': escape = (struct escape){ .count = 2, .base = 16, .max = 255 }; break;
    case 'u': escape = (struct escape){ .count = 4, .base = 16, .max = 0x10ffff }; break;
    case 'U': escape = (struct escape){ .count = 8, .base = 16, .max = 0x10ffff }; break;
    case LEX_EOF: return fail(lexer, "escape sequence not terminated");
    default:
        fail(lexer, "unknown escape sequence ");
        promql_describe_rune(&lexer->message, rune);
        return false;
    }
    escape.rune = promql_lex_next(lexer);
    return scan_escape_digits(lexer, escape);
}

bool promql_lex_scan_string(struct promql_lexer *lexer, uint32_t quote) {
    for (;;) {
        uint32_t rune = promql_lex_next(lexer);
        if (rune == quote) {
            return true;
        }
        switch (rune) {
        case '\\':
            if (!scan_escape(lexer, quote)) {
                return false;
            }
            break;
        case UTF8_REPLACEMENT: return fail(lexer, "invalid UTF-8 rune");
        case LEX_EOF:
        case '\n': return fail(lexer, "unterminated quoted string");
        default: break;
        }
    }
}

bool promql_lex_scan_raw_string(struct promql_lexer *lexer) {
    for (;;) {
        switch (promql_lex_next(lexer)) {
        case '`': return true;
        case UTF8_REPLACEMENT: return fail(lexer, "invalid UTF-8 rune");
        case LEX_EOF: return fail(lexer, "unterminated raw string");
        default: break;
        }
    }
}
