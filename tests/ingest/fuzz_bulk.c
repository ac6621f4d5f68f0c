/*
 * Files for import from bytes. The first byte chooses the format. Whatever is handed out survives a
 * trip through our lines of JSON with every bit; a fault names the file and a line.
 */
#include <assert.h>

#include "ingest/ingest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool compare(void *ctx, const struct ingest_rows *rows, struct err *err) {
    const struct ingest_rows *expected = ctx;
    assert(rows->count == expected->count);
    for (size_t i = 0; i < rows->count; i++) {
        assert(rows->t_ms[i] == expected->t_ms[i]);
        assert(double_bits(rows->values[i]) == double_bits(expected->values[i]));
    }
    assert(labels_equal(rows->labels, expected->labels));
    return true;
}

static bool take(void *ctx, const struct ingest_rows *rows, struct err *err) {
    assert(rows->count > 0 && rows->line > 0);
    struct label items[LABELS_COUNT_MAX];
    struct labels labels = { items, rows->labels.count };
    struct err why = ERR_INIT;
    if (labels.count > LABELS_COUNT_MAX) {
        return true;
    }
    memcpy(items, rows->labels.items, labels.count * sizeof(items[0]));
    if (!labels_normalize(&labels, &why) || labels.count == 0) {
        return true;
    }
    struct ingest_rows kept = *rows;
    kept.labels = labels;
    struct buf line;
    buf_init(&line, SIZE_MAX);
    ingest_put_jsonl(&kept, &line);
    bool is_ok =
        ingest_read_file(INGEST_FILE_JSONL, "line", buf_as_str(&line), compare, &kept, &why);
    assert(is_ok);
    (void)is_ok;
    buf_finish(&line);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    enum ingest_file_format format = (enum ingest_file_format)(data[0] % INGEST_FILE_FORMAT_COUNT);
    struct err err = ERR_INIT;
    if (!ingest_read_file(format, "f", str_n((const char *)data + 1, size - 1), take, NULL, &err)) {
        assert(err.code == ERR_INVALID || err.code == ERR_LIMIT);
        assert(str_starts_with(str_from(err.msg), STR("f:")));
    }
    return 0;
}
