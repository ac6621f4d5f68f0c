/* Lines of JSON as VictoriaMetrics exports and imports them; the form is in ingest.h. */
#include <inttypes.h>
#include <math.h>

#include "base/float.h"
#include "base/json.h"
#include "base/mem.h"
#include "ingest/bulk.h"

#define HEX_DIGITS 16

/* ---- out ---- */

static bool is_odd_nan(double value) {
    return isnan(value) && double_bits(value) != NORMAL_NAN_BITS;
}

static void put_value(double value, struct buf *out) {
    if (isnan(value)) {
        buf_cstr(out, "null");
    } else if (isinf(value)) {
        buf_cstr(out, value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    } else if (value == 0 && signbit(value)) {
        buf_cstr(out, "-0.0"); /* "-0" would come back as an integer */
    } else {
        buf_float_general(out, value);
    }
}

static void put_odd_nans(const struct ingest_rows *rows, struct buf *out) {
    bool is_first = true;
    for (size_t i = 0; i < rows->count; i++) {
        if (is_odd_nan(rows->values[i])) {
            buf_printf(out, "%s[%zu,\"%016" PRIx64 "\"]", is_first ? ",\"nans\":[" : ",", i,
                       double_bits(rows->values[i]));
            is_first = false;
        }
    }
    buf_cstr(out, is_first ? "" : "]");
}

void ingest_put_jsonl(const struct ingest_rows *rows, struct buf *out) {
    buf_cstr(out, "{\"metric\":{");
    for (size_t i = 0; i < rows->labels.count; i++) {
        buf_cstr(out, i == 0 ? "" : ",");
        buf_json_str(out, rows->labels.items[i].name);
        buf_putc(out, ':');
        buf_json_str(out, rows->labels.items[i].value);
    }
    buf_cstr(out, "},\"values\":[");
    for (size_t i = 0; i < rows->count; i++) {
        buf_cstr(out, i == 0 ? "" : ",");
        put_value(rows->values[i], out);
    }
    buf_cstr(out, "],\"timestamps\":[");
    for (size_t i = 0; i < rows->count; i++) {
        buf_cstr(out, i == 0 ? "" : ",");
        buf_i64(out, rows->t_ms[i]);
    }
    buf_putc(out, ']');
    put_odd_nans(rows, out);
    buf_cstr(out, "}\n");
}

/* ---- in ---- */

struct line {
    struct arena arena;
    struct labels labels;
    int64_t *t_ms;
    double *values;
    size_t count;
};

static bool take_labels(const struct json_value *metric, struct line *line, struct err *err) {
    if (metric == NULL || metric->type != JSON_OBJECT || metric->count == 0) {
        return err_set(err, ERR_INVALID, "expected \"metric\", an object with labels");
    }
    line->labels.items = arena_alloc(&line->arena, metric->count * sizeof(struct label));
    line->labels.count = metric->count;
    for (size_t i = 0; i < metric->count; i++) {
        if (metric->items[i].type != JSON_STRING) {
            return err_set(err, ERR_INVALID, "the value of label \"%.*s\" is not a string",
                           STR_FMT(metric->keys[i]));
        }
        line->labels.items[i] =
            (struct label){ .name = metric->keys[i], .value = metric->items[i].string };
    }
    return true;
}

/* VictoriaMetrics' spellings of what JSON numbers cannot say. */
static bool special_value(const struct json_value *value, double *ret) {
    if (value->type == JSON_NULL) {
        *ret = double_from_bits(NORMAL_NAN_BITS);
        return true;
    }
    if (value->type != JSON_STRING) {
        return false;
    }
    bool is_nan =
        str_eq_nocase(value->string, STR("nan")) || str_eq_nocase(value->string, STR("null"));
    bool is_infinite = !is_nan && str_parse_f64(value->string, ret) && isinf(*ret);
    *ret = is_nan ? double_from_bits(NORMAL_NAN_BITS) : *ret;
    return is_nan || is_infinite;
}

static bool take_samples(const struct json_value *root, struct line *line, struct err *err) {
    const struct json_value *values = json_get(root, "values");
    const struct json_value *times = json_get(root, "timestamps");
    if (values == NULL || values->type != JSON_ARRAY || times == NULL ||
        times->type != JSON_ARRAY || values->count != times->count || values->count == 0) {
        return err_set(err, ERR_INVALID,
                       "expected \"values\" and \"timestamps\", arrays of the same length");
    }
    line->count = values->count;
    line->values = arena_alloc(&line->arena, line->count * sizeof(line->values[0]));
    line->t_ms = arena_alloc(&line->arena, line->count * sizeof(line->t_ms[0]));
    for (size_t i = 0; i < line->count; i++) {
        double value;
        if (times->items[i].type != JSON_I64) {
            return err_set(err, ERR_INVALID, "timestamp %zu is not a whole number", i);
        }
        if (!json_number(&values->items[i], &value) && !special_value(&values->items[i], &value)) {
            return err_set(err, ERR_INVALID, "value %zu is not a number, null or \"Infinity\"", i);
        }
        line->values[i] = value;
        line->t_ms[i] = times->items[i].i64;
    }
    return true;
}

static bool hex_bits(struct str text, uint64_t *ret) {
    uint64_t bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && !(c >= 'a' && c <= 'f')) {
            return false;
        }
        bits = bits << 4 | (uint64_t)(is_digit ? c - '0' : c - 'a' + 10);
    }
    *ret = bits;
    return text.len == HEX_DIGITS;
}

static bool take_odd_nans(const struct json_value *nans, struct line *line, struct err *err) {
    for (size_t i = 0; nans != NULL && nans->type == JSON_ARRAY && i < nans->count; i++) {
        const struct json_value *pair = &nans->items[i];
        bool is_pair = pair->type == JSON_ARRAY && pair->count == 2 &&
                       pair->items[0].type == JSON_I64 && pair->items[1].type == JSON_STRING;
        uint64_t bits = 0;
        if (!is_pair || pair->items[0].i64 < 0 || (size_t)pair->items[0].i64 >= line->count ||
            !hex_bits(pair->items[1].string, &bits) || !isnan(double_from_bits(bits))) {
            return err_set(err, ERR_INVALID,
                           "entry %zu of \"nans\" is not [index, \"16 hex digits of a NaN\"]", i);
        }
        line->values[pair->items[0].i64] = double_from_bits(bits);
    }
    return true;
}

static bool take_line(struct json_parser *parser,
                      struct str text,
                      struct line *line,
                      struct err *err) {
    struct json_value *root;
    arena_reset(&line->arena);
    if (text.len > INGEST_JSONL_LINE_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "the line is longer than %u MiB",
                       INGEST_JSONL_LINE_BYTES_MAX >> 20);
    }
    return json_parse(parser, text, &line->arena, &root, err) &&
           (root->type == JSON_OBJECT || err_set(err, ERR_INVALID, "expected an object")) &&
           take_labels(json_get(root, "metric"), line, err) && take_samples(root, line, err) &&
           take_odd_nans(json_get(root, "nans"), line, err);
}

bool bulk_read_jsonl(const char *name,
                     struct str bytes,
                     ingest_rows_fn take,
                     void *ctx,
                     struct err *err) {
    struct line line = { 0 };
    arena_init(&line.arena, SIZE_MAX);
    struct json_parser *parser = json_parser_create(INGEST_JSONL_LINE_BYTES_MAX);
    bool is_ok = true;
    bool has_more = bytes.len > 0;
    for (uint64_t number = 1; is_ok && has_more; number++) {
        struct str text;
        has_more = str_cut(bytes, '\n', &text, &bytes);
        text = str_trim(text);
        if (text.len == 0) {
            continue;
        }
        is_ok = take_line(parser, text, &line, err) ||
                err_wrap(err, "%s:%llu", name, (unsigned long long)number);
        struct ingest_rows rows = { .labels = line.labels,
                                    .t_ms = line.t_ms,
                                    .values = line.values,
                                    .count = line.count,
                                    .line = number };
        is_ok = is_ok && take(ctx, &rows, err);
    }
    json_parser_destroy(parser);
    arena_finish(&line.arena);
    return is_ok;
}
