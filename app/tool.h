/*
 * What the offline tools (tocsin tsdb …) share: reading their flags, opening a data directory,
 * walking its samples, writing text.
 *
 * Tools print results to stdout and everything else to stderr; a failure is one line
 * "tocsin: what failed" and exit code 1, wrong usage 2 (verbs.h).
 */
#pragma once

#include "app/verbs.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/string_list.h"
#include "ingest/ingest.h"
#include "tsdb/tsdb.h"

/* ---- flags ---- */

enum tool_flag_type {
    TOOL_TEXT,     /* struct str */
    TOOL_LIST,     /* struct string_list */
    TOOL_BOOL,     /* bool */
    TOOL_COUNT,    /* uint64_t */
    TOOL_DURATION, /* int64_t, milliseconds */
    TOOL_TIME,     /* int64_t: Unix milliseconds (as promtool takes them) or RFC 3339 */
};

struct tool_flag {
    const char *name; /* with its dashes */
    enum tool_flag_type type;
    size_t offset; /* in the verb's arguments */
};

struct tool_usage {
    const char *verb; /* "tsdb dump", for messages */
    const struct tool_flag *flags;
    size_t flag_count;
    size_t operands_max;
};

/*
 * Read "--name=value", "--name value", "--bool" and operands into `args`; operands that are not
 * given stay as they are. False after a message on stderr: the caller returns EXIT_USAGE.
 */
WARN_UNUSED bool tool_parse(const struct tool_usage *usage,
                            int argc,
                            char *const *argv,
                            void *args,
                            struct str *operands,
                            size_t *ret_operand_count);

/* Print "tocsin: <message>" and return EXIT_FAILED. */
int tool_fail(const struct err *err);

/* ---- samples of a directory ---- */

#define TOOL_DIR_DEFAULT STR("data")

/* Which samples; init with TOOL_RANGE_INIT. */
struct tool_range {
    struct string_list match; /* selectors, united; none = every series */
    int64_t t_min_ms;
    int64_t t_max_ms;
    bool by_name; /* the series of a metric side by side, whatever labels sort before its name */
};

#define TOOL_RANGE_INIT \
    { .t_min_ms = INT64_MIN, .t_max_ms = INT64_MAX }

/* Open for reading, also while a server runs on it. */
WARN_UNUSED bool tool_open(struct str dir, struct tsdb **ret, struct err *err);

/* A slice of one series, ascending; `is_first` when it is the series' first. */
typedef bool (*tool_samples_fn)(void *ctx,
                                struct labels labels,
                                bool is_first,
                                const struct tsdb_column *samples,
                                struct err *err);

/* Every sample in range, series by series, sorted by labels (or by metric first), in slices: the
 * memory needed is that of the label sets and of one slice. Series without samples are left out. */
WARN_UNUSED bool tool_visit(struct tsdb *db,
                            const struct tool_range *range,
                            tool_samples_fn visit,
                            void *ctx,
                            struct err *err);

/* The samples of another server over its remote read endpoint. range->t_min_ms is needed (else
 * ERR_INVALID); t_max_ms defaults to now. See ingest_read_remote. */
WARN_UNUSED bool tool_read_remote(const char *url,
                                  const struct tool_range *range,
                                  ingest_rows_fn take,
                                  void *ctx,
                                  struct err *err);

/* ---- output ---- */

struct tool_out {
    struct buf text; /* append here, then tool_out_flush() */
    int fd;
    char *path;         /* NULL = stdout */
    char *path_partial; /* NULL = what is written to is not a file */
};

/* `path` empty or "-": stdout. A file appears under its name when it is complete. */
WARN_UNUSED bool tool_out_open(struct tool_out *out, struct str path, struct err *err);
/* Write what was appended once it is worth a system call. */
WARN_UNUSED bool tool_out_flush(struct tool_out *out, struct err *err);
/* Write the rest, sync and name the file. */
WARN_UNUSED bool tool_out_commit(struct tool_out *out, struct err *err);
void tool_out_finish(struct tool_out *out); /* drops a file that was not committed */
