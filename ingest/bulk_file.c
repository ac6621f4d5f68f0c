/* Files of samples: pages of metrics of any length, a row per line. JSON is in bulk_jsonl.c. */
#include "ingest/bulk.h"
#include "ingest/text.h"

static bool read_page(enum text_format format,
                      const char *name,
                      struct str bytes,
                      ingest_rows_fn take,
                      void *ctx,
                      struct err *err) {
    struct arena arena CLEANUP(arena_finish);
    arena_init(&arena, SIZE_MAX);
    struct text_parser parser;
    struct text_entry entry;
    struct ingest_rows rows = { .count = 1 };
    struct str series = STR("");
    text_init(&parser, format, bytes);
    for (;;) {
        enum text_kind kind = text_next(&parser, &entry, err);
        if (kind == TEXT_BAD) {
            struct err fault = *err; /* begins with line:column */
            return err_set(err, fault.code, "%s:%s", name, fault.msg);
        }
        if (kind == TEXT_END) {
            return true;
        }
        if (kind != TEXT_SERIES) {
            continue;
        }
        if (!entry.has_t) {
            return err_set(err, ERR_INVALID, "%s:%u: the sample has no timestamp", name,
                           entry.line);
        }
        rows.is_same_series = series.len > 0 && str_eq(series, entry.series);
        if (!rows.is_same_series) {
            arena_reset(&arena);
            rows.labels = text_labels(&entry, &arena);
            series = entry.series;
        }
        rows.t_ms = &entry.t_ms;
        rows.values = &entry.value;
        rows.line = entry.line;
        if (!take(ctx, &rows, err)) {
            return false;
        }
    }
}

bool ingest_read_file(enum ingest_file_format format,
                      const char *name,
                      struct str bytes,
                      ingest_rows_fn take,
                      void *ctx,
                      struct err *err) {
    switch (format) {
    case INGEST_FILE_OPENMETRICS: return read_page(TEXT_OPENMETRICS, name, bytes, take, ctx, err);
    case INGEST_FILE_TEXT: return read_page(TEXT_PLAIN, name, bytes, take, ctx, err);
    case INGEST_FILE_JSONL: return bulk_read_jsonl(name, bytes, take, ctx, err);
    case INGEST_FILE_FORMAT_COUNT: break;
    }
    BUG("file format %d", (int)format);
}
