/* The notation of series: metric{labels} 1 2+3x4 _ _x5 stale {{schema:0}}x3. */
#include <math.h>

#include "tests/promql/promqltest.h"

#define VALUES_MAX 1000000

struct cursor {
    struct str text;
    size_t pos;
    struct arena *arena;
    struct err *err;
};

static bool fail(struct cursor *cursor, const char *what) {
    return err_set(cursor->err, ERR_INVALID, "column %zu: %s: %.*s", cursor->pos + 1, what,
                   STR_FMT(cursor->text));
}

static char peek(const struct cursor *cursor) {
    return cursor->pos < cursor->text.len ? cursor->text.ptr[cursor->pos] : '\0';
}

static bool accept(struct cursor *cursor, char c) {
    if (peek(cursor) != c || c == '\0') {
        return false;
    }
    cursor->pos++;
    return true;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t';
}

static void skip_spaces(struct cursor *cursor) {
    while (is_space(peek(cursor))) {
        cursor->pos++;
    }
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_name(char c) {
    return is_letter(c) || is_digit(c) || c == '_' || c == ':';
}

static struct str take_name(struct cursor *cursor) {
    size_t start = cursor->pos;
    while (is_name(peek(cursor))) {
        cursor->pos++;
    }
    return str_n(cursor->text.ptr + start, cursor->pos - start);
}

/* ---- labels ---- */

/* A string literal of the language: the parser of the language reads it. */
static bool take_string(struct cursor *cursor, struct str *ret) {
    char quote = peek(cursor);
    size_t start = cursor->pos;
    if (quote != '"' && quote != '\'' && quote != '`') {
        return fail(cursor, "expected a string");
    }
    cursor->pos++;
    while (cursor->pos < cursor->text.len && peek(cursor) != quote) {
        cursor->pos += peek(cursor) == '\\' && quote != '`' ? 2 : 1;
    }
    if (!accept(cursor, quote)) {
        return fail(cursor, "unterminated string");
    }
    struct promql_expr *expr;
    struct str literal = str_n(cursor->text.ptr + start, cursor->pos - start);
    if (!promql_parse(literal, NULL, cursor->arena, &expr, NULL, cursor->err)) {
        return false;
    }
    *ret = expr->string;
    return true;
}

/* name="value", "quoted name"="value" or just "metric name". */
static bool parse_label(struct cursor *cursor, struct labels_builder *builder) {
    struct str name;
    bool is_quoted = !is_name(peek(cursor));
    if (!is_quoted) {
        name = take_name(cursor);
    } else if (!take_string(cursor, &name)) {
        return false;
    }
    skip_spaces(cursor);
    if (!accept(cursor, '=')) {
        if (!is_quoted) {
            return fail(cursor, "expected =");
        }
        labels_builder_set(builder, METRIC_NAME, name);
        return true;
    }
    skip_spaces(cursor);
    struct str value;
    if (!take_string(cursor, &value)) {
        return false;
    }
    labels_builder_set(builder, name, value);
    return true;
}

static bool parse_labels(struct cursor *cursor, struct labels *ret) {
    struct labels_builder builder;
    labels_builder_init(&builder, cursor->arena, (struct labels){ .count = 0 });
    struct str name = take_name(cursor);
    if (accept(cursor, '{')) {
        skip_spaces(cursor);
        while (!accept(cursor, '}')) {
            if (!parse_label(cursor, &builder)) {
                return false;
            }
            skip_spaces(cursor);
            if (!accept(cursor, ',') && peek(cursor) != '}') {
                return fail(cursor, "expected , or }");
            }
            skip_spaces(cursor);
        }
    }
    if (name.len > 0) {
        labels_builder_set(&builder, METRIC_NAME, name);
    }
    *ret = labels_builder_build(&builder);
    return true;
}

/* ---- values ---- */

/* Digits, at most one dot, an exponent. No hexadecimal: "0x3" is zero three more times. */
static struct str take_digits(struct cursor *cursor) {
    size_t start = cursor->pos;
    while (is_digit(peek(cursor)) || peek(cursor) == '.' || peek(cursor) == '_') {
        cursor->pos++;
    }
    if (peek(cursor) == 'e' || peek(cursor) == 'E') {
        cursor->pos++;
        if (peek(cursor) == '+' || peek(cursor) == '-') {
            cursor->pos++;
        }
        while (is_digit(peek(cursor))) {
            cursor->pos++;
        }
    }
    return str_n(cursor->text.ptr + start, cursor->pos - start);
}

static struct str take_letters(struct cursor *cursor) {
    size_t start = cursor->pos;
    while (is_letter(peek(cursor)) && peek(cursor) != 'x') {
        cursor->pos++;
    }
    return str_n(cursor->text.ptr + start, cursor->pos - start);
}

/* With an optional sign; stale only where a value may stand. */
static bool parse_number(struct cursor *cursor, bool may_be_stale, double *ret) {
    double sign = accept(cursor, '-') ? -1 : 1;
    bool has_sign = sign < 0 || accept(cursor, '+');
    struct str word = is_letter(peek(cursor)) ? take_letters(cursor) : take_digits(cursor);
    if (may_be_stale && !has_sign && str_eq_c(word, "stale")) {
        *ret = double_from_bits(STALE_NAN_BITS);
        return true;
    }
    double value;
    if (!pqt_number_parse(word, &value)) {
        return fail(cursor, "expected a number");
    }
    *ret = sign * value;
    return true;
}

static bool parse_count(struct cursor *cursor, uint64_t *ret) {
    size_t start = cursor->pos;
    while (is_digit(peek(cursor))) {
        cursor->pos++;
    }
    struct str digits = str_n(cursor->text.ptr + start, cursor->pos - start);
    return (str_parse_u64(digits, ret) && *ret <= VALUES_MAX) || fail(cursor, "invalid repetition");
}

static void add_value(struct cursor *cursor, struct pqt_series *series, struct pqt_value value) {
    series->values = arena_vec_grow(cursor->arena, series->values, &series->cap, series->count + 1,
                                    sizeof(value));
    series->values[series->count++] = value;
}

static bool parse_omitted(struct cursor *cursor, struct pqt_series *series) {
    uint64_t count = 1;
    if (accept(cursor, 'x') && !parse_count(cursor, &count)) {
        return false;
    }
    for (uint64_t i = 0; i < count; i++) {
        add_value(cursor, series, (struct pqt_value){ .kind = PQT_OMITTED });
    }
    return true;
}

static bool parse_float(struct cursor *cursor, struct pqt_series *series) {
    double value;
    double step = 0;
    uint64_t count = 0; /* repetitions after the first */
    if (!parse_number(cursor, true, &value)) {
        return false;
    }
    bool has_step = peek(cursor) == '+' || peek(cursor) == '-';
    if (has_step && !parse_number(cursor, false, &step)) {
        return false;
    }
    bool is_repeated = accept(cursor, 'x');
    if (is_repeated ? !parse_count(cursor, &count) : has_step) {
        return fail(cursor, "expected x and a count");
    }
    add_value(cursor, series, (struct pqt_value){ .kind = PQT_FLOAT, .number = value });
    /* Two loops: compilers turn "add if there is a step" into "add zero if there is none", and
     * arithmetic makes a stale marker an ordinary NaN. */
    for (uint64_t i = 0; !has_step && i < count; i++) {
        add_value(cursor, series, (struct pqt_value){ .kind = PQT_FLOAT, .number = value });
    }
    for (uint64_t i = 0; has_step && i < count; i++) {
        value += step;
        add_value(cursor, series, (struct pqt_value){ .kind = PQT_FLOAT, .number = value });
    }
    return true;
}

static bool skip_histogram(struct cursor *cursor) {
    struct str rest = str_n(cursor->text.ptr + cursor->pos, cursor->text.len - cursor->pos);
    size_t end = str_find(rest, STR("}}"));
    if (!str_starts_with(rest, STR("{{")) || end == SIZE_MAX) {
        return fail(cursor, "expected a histogram in {{ }}");
    }
    cursor->pos += end + 2;
    return true;
}

static bool parse_histogram(struct cursor *cursor, struct pqt_series *series) {
    uint64_t count = 0;
    if (!skip_histogram(cursor)) {
        return false;
    }
    if ((accept(cursor, '+') || accept(cursor, '-')) && !skip_histogram(cursor)) {
        return false;
    }
    if (accept(cursor, 'x') && !parse_count(cursor, &count)) {
        return false;
    }
    for (uint64_t i = 0; i <= count; i++) {
        add_value(cursor, series, (struct pqt_value){ .kind = PQT_HISTOGRAM });
    }
    series->has_histograms = true;
    return true;
}

static bool parse_item(struct cursor *cursor, struct pqt_series *series) {
    if (accept(cursor, '_')) {
        return parse_omitted(cursor, series);
    }
    if (peek(cursor) == '{') {
        return parse_histogram(cursor, series);
    }
    return parse_float(cursor, series);
}

bool pqt_series_parse(struct str line,
                      struct arena *arena,
                      struct pqt_series *ret,
                      struct err *err) {
    struct cursor cursor = { .text = line, .arena = arena, .err = err };
    struct pqt_series series = { .count = 0 };
    if (!parse_labels(&cursor, &series.labels)) {
        return false;
    }
    skip_spaces(&cursor);
    while (cursor.pos < line.len) {
        if (!parse_item(&cursor, &series)) {
            return false;
        }
        if (cursor.pos < line.len && !is_space(peek(&cursor))) {
            return fail(&cursor, "unexpected character in series values");
        }
        skip_spaces(&cursor);
    }
    *ret = series;
    return true;
}

bool pqt_number_parse(struct str text, double *ret) {
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    bool has_sign = text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+');
    struct str digits = has_sign ? str_n(text.ptr + 1, text.len - 1) : text;
    struct promql_expr *expr;
    struct err err = ERR_INIT;
    bool is_literal = digits.len > 0 && promql_parse(digits, NULL, &arena, &expr, NULL, &err);
    bool is_number = false;
    if (is_literal) {
        is_number = expr->kind == PROMQL_NODE_NUMBER && !expr->number.is_duration &&
                    digits.ptr[0] != '-' && digits.ptr[0] != '+';
        if (is_number) {
            *ret = has_sign && text.ptr[0] == '-' ? -expr->number.value : expr->number.value;
        }
        promql_expr_finish(expr);
    }
    arena_finish(&arena);
    return is_number;
}
