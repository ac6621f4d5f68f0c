/* Reading a recorded corpus. */
#include "bench/recorded.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/compress.h"
#include "base/json.h"

#define FILE_BYTES_MAX ((size_t)64 << 20)
#define TEXT_BYTES_MAX ((size_t)1 << 30)
#define LINE_BYTES_MAX ((size_t)16 << 20)
#define SERIES_MAX     100000

static bool read_file(const char *path, struct buf *ret, struct err *err) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return err_set_errno(err, ERR_IO, errno, "opening %s", path);
    }
    char block[65536];
    size_t len;
    while ((len = fread(block, 1, sizeof(block), file)) > 0) {
        buf_append(ret, block, len);
    }
    bool ok = ferror(file) == 0 && !ret->is_over;
    (void)fclose(file);
    return ok || err_set(err, ERR_IO, "reading %s", path);
}

/* null is NaN, strings are the infinities. */
static double number_of(const struct json_value *value) {
    double number;
    if (json_number(value, &number)) {
        return number;
    }
    if (value->type == JSON_STRING) {
        return str_eq(value->string, STR("-Infinity")) ? -(double)INFINITY : (double)INFINITY;
    }
    return double_from_bits(NORMAL_NAN_BITS);
}

static struct labels labels_of(const struct json_value *metric, struct arena *arena) {
    struct labels labels = {
        .items = arena_calloc(arena, metric->count, sizeof(labels.items[0])),
        .count = metric->count,
    };
    for (size_t i = 0; i < metric->count; i++) {
        labels.items[i] = (struct label){ metric->keys[i], metric->items[i].string };
    }
    return labels;
}

static bool parse_line(struct recorded *recorded,
                       struct json_parser *parser,
                       struct str line,
                       struct err *err) {
    struct json_value *row;
    if (!json_parse(parser, line, &recorded->arena, &row, err)) {
        return false;
    }
    const struct json_value *metric = json_get(row, "metric");
    const struct json_value *values = json_get(row, "values");
    const struct json_value *times = json_get(row, "timestamps");
    if (metric == NULL || values == NULL || times == NULL || values->count != times->count ||
        values->count == 0 || recorded->count == SERIES_MAX) {
        return err_set(err, ERR_INVALID, "series %zu is not complete", recorded->count);
    }
    struct recorded_series *series = &recorded->series[recorded->count++];
    series->labels = labels_of(metric, &recorded->arena);
    series->count = values->count;
    series->t_ms = arena_calloc(&recorded->arena, series->count, sizeof(series->t_ms[0]));
    series->values = arena_calloc(&recorded->arena, series->count, sizeof(series->values[0]));
    for (size_t i = 0; i < series->count; i++) {
        series->t_ms[i] = times->items[i].i64;
        series->values[i] = number_of(&values->items[i]);
    }
    recorded->sample_count += series->count;
    return true;
}

bool recorded_load(struct recorded *recorded, const char *path, struct err *err) {
    struct buf packed;
    struct buf text;
    buf_init(&packed, FILE_BYTES_MAX);
    buf_init(&text, TEXT_BYTES_MAX);
    *recorded = (struct recorded){ .count = 0 };
    arena_init(&recorded->arena, SIZE_MAX);
    recorded->series = arena_calloc(&recorded->arena, SERIES_MAX, sizeof(recorded->series[0]));
    struct json_parser *parser = json_parser_create(LINE_BYTES_MAX);
    bool ok = read_file(path, &packed, err) && gzip_decode(buf_as_str(&packed), &text, err);
    struct str left = buf_as_str(&text);
    while (ok && left.len > 0) {
        const char *end = memchr(left.ptr, '\n', left.len);
        size_t len = end == NULL ? left.len : (size_t)(end - left.ptr) + 1;
        ok = parse_line(recorded, parser, str_n(left.ptr, len), err);
        left = str_n(left.ptr + len, left.len - len);
    }
    json_parser_destroy(parser);
    buf_finish(&packed);
    buf_finish(&text);
    return ok || err_wrap(err, "%s", path);
}

void recorded_finish(struct recorded *recorded) {
    arena_finish(&recorded->arena);
}

bool recorded_is_next_bucket(const struct recorded_series *a, const struct recorded_series *b) {
    if (a->labels.count != b->labels.count || labels_get(a->labels, STR("le")).len == 0) {
        return false;
    }
    for (size_t i = 0; i < a->labels.count; i++) {
        const struct label *x = &a->labels.items[i];
        const struct label *y = &b->labels.items[i];
        if (!str_eq(x->name, y->name) ||
            (!str_eq(x->name, STR("le")) && !str_eq(x->value, y->value))) {
            return false;
        }
    }
    return true;
}
