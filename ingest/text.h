/*
 * Pages of metrics: text 0.0.4 and OpenMetrics 1.0. A pull parser over a borrowed body that hands
 * out one entry at a time and spends no memory; labels are built only when asked for.
 *
 * Errors are "LINE:COLUMN: what was expected".
 * Source: Prometheus docs/instrumenting/exposition_formats.md, docs/specs/om/open_metrics_spec.md.
 */
#pragma once

#include "model/model.h"

enum text_format {
    TEXT_PLAIN,       /* 0.0.4: timestamps are integer milliseconds */
    TEXT_OPENMETRICS, /* timestamps are seconds, "# EOF" ends the page, exemplars */
};

enum text_kind {
    TEXT_SERIES,
    TEXT_TYPE,
    TEXT_HELP,
    TEXT_UNIT,
    TEXT_END, /* of the page */
    TEXT_BAD, /* err is set */
};

struct text_parser {
    /* private */
    enum text_format format;
    struct str body;
    const char *pos;
    const char *end;
    const char *line_start;
    uint32_t line;
    struct str family; /* of the last TYPE line */
    enum family_type type;
    bool has_ended; /* "# EOF" was seen */
};

struct text_entry {
    uint32_t line; /* 1-based */
    size_t offset; /* of the entry in the body */

    /* TEXT_SERIES */
    struct str series; /* name and labels as written */
    double value;      /* a NaN is the ordinary NaN */
    bool has_t;
    int64_t t_ms;
    bool has_exemplar;

    /* TEXT_TYPE, TEXT_HELP, TEXT_UNIT; for TEXT_SERIES the family and type in force */
    struct str family; /* as written, quotes cut; may hold escapes (see text_unescape) */
    enum family_type type;
    struct str text; /* help with its escapes, unit */
};

void text_init(struct text_parser *parser, enum text_format format, struct str body);
enum text_kind text_next(struct text_parser *parser, struct text_entry *ret, struct err *err);

/*
 * The labels of a TEXT_SERIES entry, not yet normalized (see labels_normalize). `le` of histograms
 * and `quantile` of summaries get the canonical form ("1" becomes "1.0").
 * Ownership: lives in `arena` or points into the body.
 */
struct labels text_labels(const struct text_entry *entry, struct arena *arena);

/* \\ \" \n → \ " line feed; other escapes stay. The text itself when it has none. */
struct str text_unescape(struct str text, struct arena *arena);

/* What the comment lines say about one family, collected until the next family. */
struct text_family {
    struct str name; /* empty = nothing collected */
    struct family_metadata metadata;
};

/* Take a TEXT_TYPE, TEXT_HELP or TEXT_UNIT entry. True when it is about another family: then *ret
 * is the one collected before. Strings live in `arena` or in the body. */
bool text_family_add(struct text_family *family,
                     enum text_kind kind,
                     const struct text_entry *entry,
                     struct arena *arena,
                     struct text_family *ret);
