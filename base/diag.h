/*
 * Findings about a text the operator wrote, all of them at once:
 *   rules.d/api.yml:12:14: error: not a valid duration: "15x"
 *       for: 15x
 *            ^
 * Limits: keeps the first 100, counts the rest.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum diag_severity {
    DIAG_ERROR,
    DIAG_WARNING,
};

struct diag {
    enum diag_severity severity;
    char *file;
    uint32_t line;   /* 1-based; 0 = whole file */
    uint32_t column; /* 1-based, in characters */
    char *message;
    char *source_line; /* what is shown of it (indentation cut, long lines cut); NULL = unknown */
    uint32_t caret;    /* where the column stands in source_line, in terminal columns from 0 */
};

struct diag_list {
    struct diag *items;
    size_t count;
    size_t cap;
    size_t error_count; /* all errors, also those past the cap */
    size_t dropped;
};

void diag_list_init(struct diag_list *list);
void diag_list_finish(struct diag_list *list);

struct diag_at {
    const char *file;
    uint32_t line;
    uint32_t column;
    struct str text; /* whole source, for the excerpt; may be empty */
};

PRINTF_LIKE(4, 5)
void diag_add(struct diag_list *list,
              enum diag_severity severity,
              struct diag_at at,
              const char *fmt,
              ...);

/* All findings with excerpts, compiler style. */
void diag_print(const struct diag_list *list, struct buf *out);

/* The first error (file:line:col: message) as a struct err; adds "(and N more)". Returns false. */
bool diag_to_err(const struct diag_list *list, struct err *err);
