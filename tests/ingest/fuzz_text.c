/*
 * Pages of metrics from bytes. The first byte chooses the format. Every entry lies inside the body,
 * lines ascend, and a series read once reads the same alone.
 */
#include <assert.h>

#include "ingest/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_series(const struct text_entry *entry, struct str body, struct arena *arena) {
    assert(entry->series.ptr >= body.ptr);
    assert(entry->series.ptr + entry->series.len <= body.ptr + body.len);
    struct labels labels = text_labels(entry, arena);
    assert(labels.count > 0);
    struct err err = ERR_INIT;
    if (!labels_normalize(&labels, &err)) {
        assert(err.code == ERR_INVALID || err.code == ERR_LIMIT);
        return;
    }
    struct buf line;
    buf_init(&line, SIZE_MAX);
    buf_str(&line, entry->series);
    buf_cstr(&line, " 1\n");
    struct text_parser again;
    struct text_entry other;
    text_init(&again, TEXT_PLAIN, buf_as_str(&line));
    enum text_kind kind = text_next(&again, &other, &err);
    assert(kind == TEXT_SERIES && str_eq(other.series, entry->series));
    (void)kind;
    buf_finish(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    struct str body = str_n((const char *)data + 1, size - 1);
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    struct text_parser parser;
    struct text_entry entry;
    struct text_family family = { .name = STR("") };
    struct text_family done;
    struct err err = ERR_INIT;
    text_init(&parser, data[0] % 2 == 0 ? TEXT_PLAIN : TEXT_OPENMETRICS, body);
    uint32_t line = 0;
    enum text_kind kind;
    while ((kind = text_next(&parser, &entry, &err)) != TEXT_END && kind != TEXT_BAD) {
        assert(entry.line > line && entry.offset < body.len);
        line = entry.line;
        if (kind == TEXT_SERIES) {
            check_series(&entry, body, &arena);
        } else {
            (void)text_family_add(&family, kind, &entry, &arena, &done);
        }
    }
    assert(kind == TEXT_END || (err.code == ERR_INVALID && err.msg[0] != '\0'));
    arena_finish(&arena);
    return 0;
}
