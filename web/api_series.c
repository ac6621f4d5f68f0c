/* /api/v1/series, labels, label values, metadata. */
#include "web/api.h"

static void write_strings(struct web_request *request,
                          const struct str *items,
                          size_t count,
                          uint64_t limit) {
    struct json_writer json;
    size_t kept = limit > 0 && count > limit ? (size_t)limit : count;
    web_json_open(request, &json);
    json_array(&json);
    for (size_t i = 0; i < kept; i++) {
        json_str(&json, items[i]);
    }
    json_array_end(&json);
    if (kept < count) {
        api_json_notes(&json, "warning", API_TRUNCATED, NULL, 0);
    }
    web_json_close(request, &json);
}

/* ---- series ---- */

static void write_series(struct web_request *request,
                         const struct tsdb_series_view *views,
                         size_t count,
                         uint64_t limit) {
    struct json_writer json;
    size_t kept = limit > 0 && count > limit ? (size_t)limit : count;
    web_json_open(request, &json);
    json_array(&json);
    for (size_t i = 0; i < kept; i++) {
        api_json_labels(&json, views[i].labels);
    }
    json_array_end(&json);
    if (kept < count) {
        api_json_notes(&json, "warning", API_TRUNCATED, NULL, 0);
    }
    web_json_close(request, &json);
}

static bool has_param(const struct web_request *request, const char *name) {
    return web_param(request, name).ptr != NULL;
}

void api_series(struct web_request *request) {
    uint64_t limit;
    struct api_selectors selectors;
    struct tsdb_querier *querier = NULL;
    struct err err = ERR_INIT;
    if (!has_param(request, "match[]")) {
        err_set(&err, ERR_INVALID, "no match[] parameter provided");
        web_reply_error(request, &err);
        return;
    }
    if (!api_param_limit(request, &limit) ||
        !api_selectors_parse(request, API_MATCH_NAMED, &selectors)) {
        return;
    }
    if (api_querier_open(request, &querier)) {
        struct tsdb_series_view *views = NULL;
        size_t count = 0;
        if (api_select(querier, &selectors, &request->arena, &views, &count, &err)) {
            write_series(request, views, count, limit);
        } else {
            web_reply_error(request, &err);
        }
    }
    tsdb_querier_close(querier);
    api_selectors_finish(&selectors);
}

/* ---- label names and values ---- */

/* Names (label empty) or the values of a label under one selector, or all series. */
static bool list_labels(struct tsdb_querier *querier,
                        struct str label,
                        const struct api_selectors *selectors,
                        size_t index,
                        struct arena *arena,
                        struct str **ret,
                        size_t *ret_count,
                        struct err *err) {
    const struct matcher *matchers = selectors->count == 0 ? NULL : selectors->matchers[index];
    size_t count = selectors->count == 0 ? 0 : selectors->matcher_counts[index];
    return label.len == 0
               ? tsdb_label_names(querier, matchers, count, arena, ret, ret_count, err)
               : tsdb_label_values(querier, label, matchers, count, arena, ret, ret_count, err);
}

/* Two sorted lists as one, each text once. */
static struct str *merge_sorted(struct arena *arena,
                                const struct str *a,
                                size_t a_count,
                                const struct str *b,
                                size_t b_count,
                                size_t *ret_count) {
    struct str *out = arena_calloc(arena, a_count + b_count, sizeof(*out));
    size_t i = 0;
    size_t j = 0;
    size_t n = 0;
    while (i < a_count || j < b_count) {
        int order = i == a_count ? 1 : j == b_count ? -1 : str_cmp(a[i], b[j]);
        out[n++] = order <= 0 ? a[i] : b[j];
        i += order <= 0;
        j += order >= 0;
    }
    *ret_count = n;
    return out;
}

static void answer_labels(struct web_request *request, struct str label) {
    uint64_t limit;
    struct api_selectors selectors;
    struct tsdb_querier *querier = NULL;
    if (!api_param_limit(request, &limit) ||
        !api_selectors_parse(request, API_MATCH_PLAIN, &selectors)) {
        return;
    }
    if (api_querier_open(request, &querier)) {
        struct err err = ERR_INIT;
        struct str *all = NULL;
        size_t count = 0;
        bool is_ok = true;
        size_t rounds = selectors.count == 0 ? 1 : selectors.count;
        for (size_t i = 0; is_ok && i < rounds; i++) {
            struct str *found = NULL;
            size_t found_count = 0;
            is_ok = list_labels(querier, label, &selectors, i, &request->arena, &found,
                                &found_count, &err);
            if (is_ok) {
                all = merge_sorted(&request->arena, all, count, found, found_count, &count);
            }
        }
        if (is_ok) {
            write_strings(request, all, count, limit);
        } else {
            web_reply_error(request, &err);
        }
    }
    tsdb_querier_close(querier);
    api_selectors_finish(&selectors);
}

void api_labels(struct web_request *request) {
    answer_labels(request, (struct str){ 0 });
}

/* ---- the U__ form of names ---- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void append_rune(struct buf *out, uint32_t rune) {
    if (rune < 0x80) {
        buf_putc(out, (char)rune);
    } else if (rune < 0x800) {
        buf_putc(out, (char)(0xc0 | rune >> 6));
        buf_putc(out, (char)(0x80 | (rune & 0x3f)));
    } else if (rune < 0x10000) {
        buf_putc(out, (char)(0xe0 | rune >> 12));
        buf_putc(out, (char)(0x80 | (rune >> 6 & 0x3f)));
        buf_putc(out, (char)(0x80 | (rune & 0x3f)));
    } else {
        buf_putc(out, (char)(0xf0 | rune >> 18));
        buf_putc(out, (char)(0x80 | (rune >> 12 & 0x3f)));
        buf_putc(out, (char)(0x80 | (rune >> 6 & 0x3f)));
        buf_putc(out, (char)(0x80 | (rune & 0x3f)));
    }
}

/* "U__my_2e_name" is "my.name": "__" an underscore, "_2e_" the rune 0x2e. False = not that form. */
static bool unescape_name(struct str name, struct buf *out) {
    if (!str_starts_with(name, STR("U__"))) {
        return false;
    }
    for (size_t i = 3; i < name.len; i++) {
        if (name.ptr[i] != '_') {
            buf_putc(out, name.ptr[i]);
            continue;
        }
        if (i + 1 < name.len && name.ptr[i + 1] == '_') {
            buf_putc(out, '_');
            i++;
            continue;
        }
        uint32_t rune = 0;
        size_t j = i + 1;
        for (; j < name.len && name.ptr[j] != '_' && j - i <= 6; j++) {
            int digit = hex_digit(name.ptr[j]);
            if (digit < 0) {
                return false;
            }
            rune = rune << 4 | (uint32_t)digit;
        }
        bool is_rune = rune <= 0x10ffff && !(rune >= 0xd800 && rune <= 0xdfff);
        if (j >= name.len || name.ptr[j] != '_' || j == i + 1 || !is_rune) {
            return false;
        }
        append_rune(out, rune);
        i = j;
    }
    return true;
}

void api_label_values(struct web_request *request) {
    struct str name = request->path_value;
    struct buf unescaped;
    buf_init(&unescaped, LABEL_NAME_BYTES_MAX);
    if (unescape_name(name, &unescaped) && !unescaped.is_over) {
        name = arena_str(&request->arena, buf_as_str(&unescaped));
    }
    buf_finish(&unescaped);
    if (name.len == 0 || name.len > LABEL_NAME_BYTES_MAX || !str_is_utf8(name)) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_INVALID, "invalid label name: \"%.*s\"",
                (int)(name.len < 64 ? name.len : 64), name.ptr);
        web_reply_error(request, &err);
        return;
    }
    answer_labels(request, name);
}

/* ---- metadata ---- */

struct metadata_visit {
    struct json_writer *json;
    int64_t left; /* negative: no limit */
};

static void write_metadata(void *ctx, struct str family, const struct family_metadata *metadata) {
    struct metadata_visit *visit = ctx;
    if (visit->left == 0) {
        return;
    }
    visit->left -= visit->left > 0;
    struct json_writer *json = visit->json;
    json_key_str(json, family);
    json_array(json);
    json_object(json);
    json_key(json, "type");
    json_cstr(json, family_type_to_string(metadata->type));
    json_key(json, "help");
    json_str(json, metadata->help);
    json_key(json, "unit");
    json_str(json, metadata->unit);
    json_object_end(json);
    json_array_end(json);
}

void api_metadata(struct web_request *request) {
    int64_t limit;
    int64_t limit_per_metric; /* one entry per metric is all there is */
    if (!api_param_count(request, "limit", &limit) ||
        !api_param_count(request, "limit_per_metric", &limit_per_metric)) {
        return;
    }
    struct json_writer json;
    web_json_open(request, &json);
    json_object(&json);
    struct metadata_visit visit = { .json = &json, .left = limit };
    tsdb_metadata(request->web->opts.db, web_param(request, "metric"), write_metadata, &visit);
    json_object_end(&json);
    web_json_close(request, &json);
}
