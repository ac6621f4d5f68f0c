/*
 * Scripts to commands. Lines are trimmed, comments are empty lines, an empty line ends a block.
 */
#include <assert.h>

#include "base/duration.h"
#include "base/mem.h"
#include "base/regex.h"
#include "tests/promql/promqltest.h"

#define RANGE_VECTOR STR("expect range vector")
#define STRING       STR("expect string")

struct reader {
    struct str *lines;
    size_t count;
    size_t next; /* index of the next line */
    struct arena *arena;
    struct err *err;
};

/* ---- lines ---- */

static void split_lines(struct str text, struct reader *reader) {
    size_t cap = 0;
    bool has_more = true;
    while (has_more) {
        struct str line;
        has_more = str_cut(text, '\n', &line, &text);
        line = str_trim(line);
        if (line.len > 0 && line.ptr[0] == '#') {
            line.len = 0;
        }
        reader->lines =
            arena_vec_grow(reader->arena, reader->lines, &cap, reader->count + 1, sizeof(line));
        reader->lines[reader->count++] = line;
    }
}

static bool next_in_block(struct reader *reader, struct str *ret) {
    if (reader->next == reader->count || reader->lines[reader->next].len == 0) {
        return false;
    }
    *ret = reader->lines[reader->next++];
    return true;
}

/* The first word and what follows it. */
static struct str take_word(struct str *text) {
    size_t len = 0;
    while (len < text->len && text->ptr[len] != ' ' && text->ptr[len] != '\t') {
        len++;
    }
    struct str word = str_n(text->ptr, len);
    *text = str_trim(str_n(text->ptr + len, text->len - len));
    return word;
}

static bool take_keyword(struct str *text, const char *keyword, struct err *err) {
    struct str word = take_word(text);
    return str_eq_c(word, keyword) ||
           err_set(err, ERR_INVALID, "expected \"%s\", got \"%.*s\"", keyword, STR_FMT(word));
}

static bool take_duration(struct str *text, const char *keyword, int64_t *ret_ms, struct err *err) {
    return take_keyword(text, keyword, err) && duration_parse(take_word(text), ret_ms, err);
}

static bool strip_prefix(struct str *text, struct str prefix) {
    if (!str_starts_with(*text, prefix)) {
        return false;
    }
    *text = str_trim(str_n(text->ptr + prefix.len, text->len - prefix.len));
    return true;
}

/* ---- load ---- */

/* "metric{…}@st …": start timestamps of the series on the next line. */
static bool is_start_times(struct str line) {
    struct str word = take_word(&line);
    return str_ends_with(word, STR("@st"));
}

/* A series that is written twice in a load counts as written last. */
static void add_loaded(struct reader *reader, struct pqt_load *load, struct pqt_series series) {
    for (size_t i = 0; i < load->count; i++) {
        if (labels_equal(load->series[i].labels, series.labels)) {
            load->series[i] = series;
            return;
        }
    }
    load->series =
        arena_vec_grow(reader->arena, load->series, &load->cap, load->count + 1, sizeof(series));
    load->series[load->count++] = series;
}

static bool parse_load_line(struct reader *reader, struct str line, struct pqt_load *load) {
    struct pqt_series series = { .count = 0 };
    bool has_start_times = is_start_times(line);
    if (has_start_times && !next_in_block(reader, &line)) {
        return err_set(reader->err, ERR_INVALID, "@st line has no following sample line");
    }
    if (!pqt_series_parse(line, reader->arena, &series, reader->err)) {
        return false;
    }
    series.has_start_times = has_start_times;
    add_loaded(reader, load, series);
    return true;
}

static bool parse_load(struct reader *reader, struct str line, struct pqt_load *load) {
    struct str command = take_word(&line);
    load->with_nhcb = str_eq_c(command, "load_with_nhcb");
    if (!load->with_nhcb && !str_eq_c(command, "load")) {
        return err_set(reader->err, ERR_INVALID, "invalid load command");
    }
    if (!duration_parse(line, &load->gap_ms, reader->err)) {
        return false;
    }
    while (next_in_block(reader, &line)) {
        if (!parse_load_line(reader, line, load)) {
            return false;
        }
    }
    return true;
}

/* ---- eval ---- */

static void add_expect(struct reader *reader, struct pqt_eval *eval, struct pqt_expect expect) {
    eval->expects = arena_vec_grow(reader->arena, eval->expects, &eval->expect_cap,
                                   eval->expect_count + 1, sizeof(expect));
    eval->expects[eval->expect_count++] = expect;
}

static bool set_pattern(struct reader *reader, struct str pattern, struct pqt_expect *expect) {
    return regex_create_unanchored(pattern, &expect->regex, reader->err);
}

static bool parse_expect_kind(struct str word, enum pqt_expect_kind *ret) {
    static const char *const names[] = {
        [PQT_EXPECT_FAIL] = "fail",       [PQT_EXPECT_WARN] = "warn",
        [PQT_EXPECT_NO_WARN] = "no_warn", [PQT_EXPECT_INFO] = "info",
        [PQT_EXPECT_NO_INFO] = "no_info", [PQT_EXPECT_ORDERED] = "ordered",
    };
    static_assert(ARRAY_LEN(names) == PQT_EXPECT_COUNT, "every kind has a name");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (str_eq_c(word, names[i])) {
            *ret = (enum pqt_expect_kind)i;
            return true;
        }
    }
    return false;
}

/* expect <kind> [msg:<text> | regex:<pattern>] */
static bool parse_expect(struct reader *reader, struct str line, struct pqt_eval *eval) {
    struct pqt_expect expect = { .is_any = true };
    take_word(&line);
    if (!parse_expect_kind(take_word(&line), &expect.kind)) {
        return err_set(reader->err, ERR_INVALID, "invalid expect statement");
    }
    if (strip_prefix(&line, STR("msg:"))) {
        expect.is_any = false;
        expect.message = line;
    } else if (strip_prefix(&line, STR("regex:"))) {
        expect.is_any = false;
        if (!set_pattern(reader, line, &expect)) {
            return false;
        }
    } else if (line.len > 0) {
        return err_set(reader->err, ERR_INVALID, "invalid match type in expect statement");
    }
    add_expect(reader, eval, expect);
    return true;
}

static bool parse_range_vector(struct reader *reader, struct str line, struct pqt_eval *eval) {
    strip_prefix(&line, RANGE_VECTOR);
    eval->has_range_vector = true;
    if (!take_duration(&line, "from", &eval->start_ms, reader->err) ||
        !take_duration(&line, "to", &eval->end_ms, reader->err) ||
        !take_duration(&line, "step", &eval->step_ms, reader->err)) {
        return false;
    }
    eval->at_ms = eval->end_ms;
    return true;
}

static bool parse_string(struct reader *reader, struct str line, struct pqt_eval *eval) {
    strip_prefix(&line, STRING);
    struct promql_expr *expr;
    if (!promql_parse(line, NULL, reader->arena, &expr, NULL, reader->err)) {
        return false;
    }
    if (promql_expr_type(expr) != PROMQL_STRING) {
        promql_expr_finish(expr);
        return err_set(reader->err, ERR_INVALID, "expected string is not a string literal");
    }
    eval->is_string = true;
    eval->string = expr->string;
    return true;
}

static bool parse_expected_series(struct reader *reader, struct str line, struct pqt_eval *eval) {
    struct pqt_series series;
    if (!pqt_series_parse(line, reader->arena, &series, reader->err)) {
        return false;
    }
    if (series.count > 1 && !eval->is_range && !eval->has_range_vector) {
        return err_set(reader->err, ERR_INVALID,
                       "expecting multiple values in instant evaluation not allowed");
    }
    if (series.count == 0) {
        return err_set(reader->err, ERR_INVALID, "expected series has no value");
    }
    eval->series = arena_vec_grow(reader->arena, eval->series, &eval->series_cap,
                                  eval->series_count + 1, sizeof(series));
    eval->series[eval->series_count++] = series;
    return true;
}

/* A line of the block under an eval. *ret_is_last when nothing may follow. */
static bool parse_eval_line(struct reader *reader,
                            struct str line,
                            struct pqt_eval *eval,
                            bool *ret_is_last) {
    struct pqt_expect fail = { .kind = PQT_EXPECT_FAIL };
    struct str rest = line;
    *ret_is_last = false;
    if (strip_prefix(&rest, STR("expected_fail_message"))) {
        fail.message = rest;
        *ret_is_last = true;
        add_expect(reader, eval, fail);
        return true;
    }
    if (strip_prefix(&rest, STR("expected_fail_regexp"))) {
        *ret_is_last = true;
        bool is_pattern = set_pattern(reader, rest, &fail);
        add_expect(reader, eval, fail);
        return is_pattern;
    }
    if (str_starts_with(line, RANGE_VECTOR)) {
        return parse_range_vector(reader, line, eval);
    }
    if (str_starts_with(line, STRING)) {
        return parse_string(reader, line, eval);
    }
    if (str_eq_c(take_word(&rest), "expect")) {
        return parse_expect(reader, line, eval);
    }
    if (pqt_number_parse(line, &eval->scalar)) {
        eval->is_scalar = true;
        *ret_is_last = true;
        return true;
    }
    return parse_expected_series(reader, line, eval);
}

/* What eval_ordered, eval_fail … stand for. */
static bool apply_suffix(struct reader *reader, struct str command, struct pqt_eval *eval) {
    struct pqt_expect expect = { .is_any = true };
    if (str_eq_c(command, "eval")) {
        return true;
    }
    if (str_eq_c(command, "eval_warn")) {
        eval->has_warning = true;
        return true;
    }
    if (str_eq_c(command, "eval_info")) {
        eval->has_info = true;
        return true;
    }
    if (str_eq_c(command, "eval_ordered")) {
        expect.kind = PQT_EXPECT_ORDERED;
    } else if (str_eq_c(command, "eval_fail")) {
        expect.kind = PQT_EXPECT_FAIL;
    } else {
        return err_set(reader->err, ERR_INVALID, "invalid evaluation command");
    }
    add_expect(reader, eval, expect);
    return true;
}

static bool parse_eval_head(struct reader *reader, struct str line, struct pqt_eval *eval) {
    if (!apply_suffix(reader, take_word(&line), eval)) {
        return false;
    }
    struct str mode = take_word(&line);
    eval->is_range = str_eq_c(mode, "range");
    if (eval->is_range) {
        if (!take_duration(&line, "from", &eval->start_ms, reader->err) ||
            !take_duration(&line, "to", &eval->end_ms, reader->err) ||
            !take_duration(&line, "step", &eval->step_ms, reader->err)) {
            return false;
        }
    } else if (!str_eq_c(mode, "instant")) {
        return err_set(reader->err, ERR_INVALID, "expected \"instant\" or \"range\"");
    } else if (!take_duration(&line, "at", &eval->at_ms, reader->err)) {
        return false;
    } else {
        eval->start_ms = eval->at_ms;
        eval->end_ms = eval->at_ms;
    }
    eval->expr = line;
    return true;
}

static bool parse_eval(struct reader *reader, struct str line, struct pqt_eval *eval) {
    if (!parse_eval_head(reader, line, eval)) {
        return false;
    }
    bool is_last = false;
    while (!is_last && next_in_block(reader, &line)) {
        if (!parse_eval_line(reader, line, eval, &is_last)) {
            return false;
        }
    }
    return true;
}

/* ---- scripts ---- */

static bool parse_command(struct reader *reader, struct str line, struct pqt_command *command) {
    struct str rest = line;
    struct str word = take_word(&rest);
    if (str_eq_c(word, "clear")) {
        command->kind = PQT_CLEAR;
        return true;
    }
    if (str_starts_with(word, STR("load"))) {
        command->kind = PQT_LOAD;
        return parse_load(reader, line, &command->load);
    }
    if (str_starts_with(word, STR("eval"))) {
        command->kind = PQT_EVAL;
        return parse_eval(reader, line, &command->eval);
    }
    return err_set(reader->err, ERR_INVALID, "invalid command");
}

static bool parse_commands(struct reader *reader, struct pqt_script *script) {
    while (reader->next < reader->count) {
        size_t line_number = reader->next + 1;
        struct str line = reader->lines[reader->next++];
        if (line.len == 0) {
            continue;
        }
        script->commands = arena_vec_grow(reader->arena, script->commands, &script->cap,
                                          script->count + 1, sizeof(struct pqt_command));
        struct pqt_command *command = &script->commands[script->count++];
        memset(command, 0, sizeof(*command));
        command->line = line_number;
        if (!parse_command(reader, line, command)) {
            return err_wrap(reader->err, "line %zu", reader->next);
        }
    }
    return true;
}

bool pqt_script_parse(struct str text, struct pqt_script *ret, struct err *err) {
    *ret = (struct pqt_script){ .count = 0 };
    arena_init(&ret->arena, SIZE_MAX);
    struct reader reader = { .arena = &ret->arena, .err = err };
    split_lines(text, &reader);
    if (!parse_commands(&reader, ret)) {
        pqt_script_finish(ret);
        return false;
    }
    return true;
}

void pqt_script_finish(struct pqt_script *script) {
    for (size_t i = 0; i < script->count; i++) {
        struct pqt_command *command = &script->commands[i];
        if (command->kind != PQT_EVAL) {
            continue;
        }
        for (size_t j = 0; j < command->eval.expect_count; j++) {
            regex_destroy(command->eval.expects[j].regex);
        }
    }
    arena_finish(&script->arena);
}

bool pqt_eval_expects(const struct pqt_eval *eval, enum pqt_expect_kind kind) {
    for (size_t i = 0; i < eval->expect_count; i++) {
        if (eval->expects[i].kind == kind) {
            return true;
        }
    }
    return false;
}
