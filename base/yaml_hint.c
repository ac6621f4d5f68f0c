/*
 * Syntax errors. libyaml says what it expected; the cause is often a few characters away and one
 * of a handful of habits (a tab, an unquoted template, a docstring), which are named here.
 */
#include "base/yaml_hint.h"

#include <stdio.h>

#include "base/utf8.h"

/* The byte a 1-based line and column stand at, clamped to the line. */
static size_t byte_at(const struct yaml_doc *doc, uint32_t line, uint32_t column) {
    if (line == 0 || line > doc->line_count) {
        return doc->text.len;
    }
    size_t pos = doc->line_offsets[line - 1];
    size_t end = line < doc->line_count ? doc->line_offsets[line] : doc->text.len;
    for (uint32_t i = 1; i < column && pos < end; i++) {
        uint32_t rune = 0;
        pos += utf8_decode(doc->text, pos, &rune);
    }
    return pos;
}

static struct str line_at(const struct yaml_doc *doc, uint32_t line) {
    size_t start = byte_at(doc, line, 1);
    size_t end = line < doc->line_count ? doc->line_offsets[line] : doc->text.len;
    return str_n(doc->text.ptr + start, end - start);
}

static char char_at(const struct yaml_doc *doc, size_t pos) {
    return pos < doc->text.len ? doc->text.ptr[pos] : '\0';
}

bool yaml_is_template_at(const struct yaml_doc *doc, struct diag_at at) {
    size_t pos = byte_at(doc, at.line, at.column);
    while (pos > 0 && char_at(doc, pos - 1) == '{') {
        pos--;
    }
    return char_at(doc, pos) == '{' && char_at(doc, pos + 1) == '{';
}

/*
 * A line that starts with a Python docstring's quotes, between the last thing understood and the
 * place of the error. Inside a block scalar such a line is plain text, but then the scalar's end
 * has been understood and lies behind it.
 */
static uint32_t find_docstring(const struct yaml_doc *doc, uint32_t first, uint32_t last) {
    for (uint32_t line = first; line <= last && line <= doc->line_count; line++) {
        struct str text = str_trim(line_at(doc, line));
        if (str_starts_with(text, STR("\"\"\""))) {
            return line;
        }
    }
    return 0;
}

static bool report_docstring(const struct yaml_doc *doc,
                             uint32_t first,
                             uint32_t last,
                             struct diag_list *diags) {
    uint32_t line = find_docstring(doc, first, last);
    if (line == 0) {
        return false;
    }
    size_t pos = byte_at(doc, line, 1);
    while (char_at(doc, pos) != '"') {
        pos++;
    }
    diag_add(diags, DIAG_ERROR, yaml_at_byte(doc, pos),
             "a Python-style docstring (\"\"\") is not YAML; remove it or make it a comment: "
             "comment lines start with #");
    return true;
}

/* The likely cause, judged by what stands at the error; NULL when nothing can be said. */
static const char *find_cause(const struct yaml_doc *doc, const yaml_parser_t *parser) {
    uint32_t line = (uint32_t)parser->problem_mark.line + 1;
    size_t pos = byte_at(doc, line, (uint32_t)parser->problem_mark.column + 1);
    const char *problem = parser->problem == NULL ? "" : parser->problem;
    char c = char_at(doc, pos);
    if (strstr(problem, "cannot start any token") != NULL) {
        switch (c) {
        case '\t': return "a tab cannot indent YAML, use spaces";
        case '@':
        case '`':
        case '%': return "quote a value that starts with this character";
        default: return NULL;
        }
    }
    if (str_find(line_at(doc, line), STR("{{")) != SIZE_MAX) {
        return "quote a value that starts with {{";
    }
    if (strstr(problem, "mapping values are not allowed") != NULL) {
        return "quote a value that contains \": \", or check the indentation";
    }
    if (strstr(problem, "did not find expected key") != NULL) {
        return "check the indentation and the quotes";
    }
    if (strstr(problem, "unexpected end of stream") != NULL) {
        return "a quote is opened and never closed";
    }
    return NULL;
}

/* libyaml could not even read the characters: only a byte offset is known. */
static void report_reader(const struct yaml_doc *doc,
                          const yaml_parser_t *parser,
                          struct diag_list *diags) {
    struct diag_at at = yaml_at_byte(doc, parser->problem_offset);
    if (parser->problem_value >= 0) {
        diag_add(diags, DIAG_ERROR, at, "%s (0x%02x)", parser->problem,
                 (unsigned)parser->problem_value);
    } else {
        diag_add(diags, DIAG_ERROR, at, "%s", parser->problem);
    }
}

void yaml_report_syntax(const struct yaml_doc *doc,
                        const yaml_parser_t *parser,
                        uint32_t last_event_line,
                        struct diag_list *diags) {
    if (parser->error == YAML_MEMORY_ERROR) {
        BUG("out of memory in libyaml");
    }
    if (parser->error == YAML_READER_ERROR) {
        report_reader(doc, parser, diags);
        return;
    }
    uint32_t line = (uint32_t)parser->problem_mark.line + 1;
    if (report_docstring(doc, last_event_line, line, diags)) {
        return;
    }
    struct buf context;
    buf_init(&context, 256);
    if (parser->context != NULL) {
        buf_printf(&context, ", %s", parser->context);
        if (parser->context_mark.line != parser->problem_mark.line) {
            buf_printf(&context, " that starts at line %zu", parser->context_mark.line + 1);
        }
    }
    const char *cause = find_cause(doc, parser);
    struct diag_at at = {
        .file = doc->file,
        .line = line,
        .column = (uint32_t)parser->problem_mark.column + 1,
        .text = doc->text,
    };
    diag_add(diags, DIAG_ERROR, at, "%s%s%s%s",
             parser->problem == NULL ? "not YAML" : parser->problem, buf_as_str(&context).ptr,
             cause == NULL ? "" : "; ", cause == NULL ? "" : cause);
    buf_finish(&context);
}
