/* Findings about operator-written text: collected with their source line, printed with a caret. */
#include "base/diag.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/utf8.h"

enum {
    DIAG_ITEMS_MAX = 100,
    DIAG_MESSAGE_BYTES_MAX = 4096,
    DIAG_EXCERPT_CHARS_MAX = 120, /* longer source lines are cut around the caret */
};

void diag_list_init(struct diag_list *list) {
    *list = (struct diag_list){ 0 };
}

void diag_list_finish(struct diag_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->items[i].file);
        mem_free(list->items[i].message);
        mem_free(list->items[i].source_line);
    }
    mem_free(list->items);
    *list = (struct diag_list){ 0 };
}

/* The text of a 1-based line without its end; false when the text is shorter. */
static bool find_line(struct str text, uint32_t line, struct str *ret) {
    struct str rest = text;
    for (uint32_t i = 1;; i++) {
        struct str head;
        struct str tail;
        bool has_more = str_cut(rest, '\n', &head, &tail);
        if (i == line) {
            while (head.len > 0 && head.ptr[head.len - 1] == '\r') {
                head.len--;
            }
            *ret = head;
            return true;
        }
        if (!has_more) {
            return false;
        }
        rest = tail;
    }
}

/* Append one character of a source line in printable form; returns its width on a terminal. */
static uint32_t append_printable(struct buf *out, struct str line, size_t *pos) {
    uint32_t rune = 0;
    size_t len = utf8_decode(line, *pos, &rune);
    *pos += len;
    if (rune < 0x20 || (rune >= 0x7f && rune < 0xa0)) {
        buf_putc(out, ' ');
        return 1;
    }
    if (rune == UTF8_INVALID) {
        buf_putc(out, '?');
        return 1;
    }
    buf_append(out, line.ptr + *pos - len, len);
    return utf8_width(rune);
}

/*
 * Keep what is worth showing of a source line: no indentation, no control characters, a window
 * around the column when the line is long. *ret_caret is where the column stands in the result.
 */
static char *make_excerpt(struct str line, uint32_t column, uint32_t *ret_caret) {
    size_t pos = 0;
    uint32_t chars_before = 0; /* characters of the line already passed */
    while (pos < line.len && (line.ptr[pos] == ' ' || line.ptr[pos] == '\t') &&
           chars_before + 1 < column) {
        pos++;
        chars_before++;
    }
    struct buf out;
    buf_init(&out, (size_t)DIAG_EXCERPT_CHARS_MAX * 8);
    uint32_t caret = 0;
    uint32_t const half = DIAG_EXCERPT_CHARS_MAX / 2;
    if (column > chars_before + DIAG_EXCERPT_CHARS_MAX - 10) {
        while (pos < line.len && chars_before + half < column) {
            uint32_t rune = 0;
            pos += utf8_decode(line, pos, &rune);
            chars_before++;
        }
        buf_cstr(&out, "...");
        caret = 3;
    }
    uint32_t shown = 0;
    for (; pos < line.len && shown < DIAG_EXCERPT_CHARS_MAX; shown++) {
        uint32_t width = append_printable(&out, line, &pos);
        chars_before++;
        if (chars_before < column) {
            caret += width;
        }
    }
    if (pos < line.len) {
        buf_cstr(&out, "...");
    }
    *ret_caret = caret;
    char *text = mem_strndup(buf_as_str(&out).ptr, out.len);
    buf_finish(&out);
    return text;
}

/* Messages quote what the operator wrote: keep them on one line. */
PRINTF_LIKE(1, 0) static char *make_message(const char *fmt, va_list args) {
    char text[DIAG_MESSAGE_BYTES_MAX];
    int len = vsnprintf(text, sizeof(text), fmt, args);
    if (len < 0) {
        return mem_strdup("(message could not be formatted)");
    }
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = ' ';
        }
    }
    size_t used = strlen(text);
    if ((size_t)len > used) {
        used = utf8_floor(str_n(text, used), used);
    }
    return mem_strndup(text, used);
}

void diag_add(struct diag_list *list,
              enum diag_severity severity,
              struct diag_at at,
              const char *fmt,
              ...) {
    assert(severity == DIAG_ERROR || severity == DIAG_WARNING);
    if (severity == DIAG_ERROR) {
        list->error_count++;
    }
    if (list->count >= DIAG_ITEMS_MAX) {
        list->dropped++;
        return;
    }
    list->items = vec_grow(list->items, &list->cap, list->count + 1, sizeof(list->items[0]));
    struct diag *diag = &list->items[list->count++];
    *diag = (struct diag){
        .severity = severity,
        .file = mem_strdup(at.file == NULL ? "" : at.file),
        .line = at.line,
        .column = at.column,
    };
    va_list args;
    va_start(args, fmt);
    diag->message = make_message(fmt, args);
    va_end(args);
    struct str line;
    if (at.line > 0 && at.text.len > 0 && find_line(at.text, at.line, &line)) {
        diag->source_line = make_excerpt(line, at.column, &diag->caret);
    }
}

static void print_place(const struct diag *diag, struct buf *out) {
    if (diag->file[0] != '\0') {
        buf_printf(out, "%s:", diag->file);
    }
    if (diag->line > 0) {
        buf_printf(out, "%u:", diag->line);
        if (diag->column > 0) {
            buf_printf(out, "%u:", diag->column);
        }
    }
    if (diag->file[0] != '\0' || diag->line > 0) {
        buf_putc(out, ' ');
    }
}

void diag_print(const struct diag_list *list, struct buf *out) {
    for (size_t i = 0; i < list->count; i++) {
        const struct diag *diag = &list->items[i];
        print_place(diag, out);
        buf_cstr(out, diag->severity == DIAG_ERROR ? "error: " : "warning: ");
        buf_printf(out, "%s\n", diag->message);
        if (diag->source_line != NULL && diag->source_line[0] != '\0') {
            buf_printf(out, "    %s\n", diag->source_line);
            if (diag->column > 0) {
                buf_printf(out, "    %*s^\n", (int)diag->caret, "");
            }
        }
    }
    if (list->dropped > 0) {
        buf_printf(out, "(and %zu more findings)\n", list->dropped);
    }
}

bool diag_to_err(const struct diag_list *list, struct err *err) {
    for (size_t i = 0; i < list->count; i++) {
        const struct diag *diag = &list->items[i];
        if (diag->severity != DIAG_ERROR) {
            continue;
        }
        struct buf place;
        buf_init(&place, sizeof(err->msg));
        print_place(diag, &place);
        char more[40] = "";
        if (list->error_count > 1) {
            (void)snprintf(more, sizeof(more), " (and %zu more)", list->error_count - 1);
        }
        err_set(err, ERR_INVALID, "%s%s%s", buf_as_str(&place).ptr, diag->message, more);
        buf_finish(&place);
        return false;
    }
    return err_set(err, ERR_INVALID, "%zu errors", list->error_count);
}
