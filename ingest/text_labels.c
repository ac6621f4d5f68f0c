/* The parts of a series as written, and its labels. */
#include <assert.h>

#include "ingest/internal.h"
#include "ingest/text_cursor.h"

static bool is_label_char(char c, bool is_first) {
    return c != ':' && text_is_name_char(c, is_first);
}

/* ---- name{label="value",…} ---- */

static enum part_kind part_bad(struct cursor *cursor, const char *pos, const char *expected) {
    cursor->pos = pos;
    cursor->expected = expected;
    return PART_BAD;
}

bool quoted_take(struct cursor *cursor, struct str *ret) {
    const char *start = cursor->pos + 1;
    const char *pos = start;
    while (pos < cursor->end && *pos != '"' && *pos != '\n') {
        if (*pos == '\\' && pos + 1 < cursor->end && pos[1] != '\n') {
            pos++;
        }
        pos++;
    }
    if (pos >= cursor->end || *pos != '"') {
        cursor->pos = pos < cursor->end ? pos : cursor->end;
        cursor->expected = "a closing quote";
        return false;
    }
    *ret = str_n(start, (size_t)(pos - start));
    cursor->pos = pos + 1;
    return true;
}

/* After an item in the braces: a comma, or the end. */
static bool separator_take(struct cursor *cursor) {
    cursor->pos = text_skip_blanks(cursor->pos, cursor->end);
    if (cursor->pos < cursor->end && *cursor->pos == ',') {
        cursor->pos++;
        return true;
    }
    if (cursor->pos < cursor->end && *cursor->pos == '}') {
        return true;
    }
    cursor->expected = "',' or '}'";
    return false;
}

static enum part_kind label_take(struct cursor *cursor, struct part *ret) {
    if (*cursor->pos == '"') {
        if (!quoted_take(cursor, &ret->name)) {
            return PART_BAD;
        }
        ret->is_quoted = true;
        const char *after = text_skip_blanks(cursor->pos, cursor->end);
        if (after < cursor->end && (*after == ',' || *after == '}')) {
            if (cursor->has_name) {
                return part_bad(cursor, after, "'=' (the metric has a name already)");
            }
            cursor->has_name = true;
            return separator_take(cursor) ? PART_NAME : PART_BAD;
        }
    } else {
        const char *start = cursor->pos;
        while (cursor->pos < cursor->end && is_label_char(*cursor->pos, cursor->pos == start)) {
            cursor->pos++;
        }
        if (cursor->pos == start) {
            return part_bad(cursor, start, "a label name or '}'");
        }
        ret->name = str_n(start, (size_t)(cursor->pos - start));
    }
    cursor->pos = text_skip_blanks(cursor->pos, cursor->end);
    if (cursor->pos >= cursor->end || *cursor->pos != '=') {
        return part_bad(cursor, cursor->pos, "'='");
    }
    cursor->pos = text_skip_blanks(cursor->pos + 1, cursor->end);
    if (cursor->pos >= cursor->end || *cursor->pos != '"') {
        return part_bad(cursor, cursor->pos, "a quoted label value");
    }
    if (!quoted_take(cursor, &ret->value) || !separator_take(cursor)) {
        return PART_BAD;
    }
    return PART_LABEL;
}

enum part_kind part_next(struct cursor *cursor, struct part *ret) {
    *ret = (struct part){ .name = STR("") };
    if (cursor->is_done) {
        return PART_END;
    }
    if (!cursor->is_open) {
        const char *start = cursor->pos;
        while (cursor->pos < cursor->end && text_is_name_char(*cursor->pos, cursor->pos == start)) {
            cursor->pos++;
        }
        bool is_name = cursor->pos > start && !cursor->has_name;
        const char *brace = text_skip_blanks(cursor->pos, cursor->end);
        if (brace < cursor->end && *brace == '{') {
            cursor->is_open = true;
            cursor->pos = brace + 1;
        } else {
            cursor->is_done = true;
        }
        if (is_name) {
            cursor->has_name = true;
            ret->name = str_n(start, (size_t)(brace - start));
            while (ret->name.len > 0 && text_is_blank(ret->name.ptr[ret->name.len - 1])) {
                ret->name.len--;
            }
            return PART_NAME;
        }
        if (!cursor->is_open) {
            return part_bad(cursor, start, "a metric name");
        }
    }
    cursor->pos = text_skip_blanks(cursor->pos, cursor->end);
    if (cursor->pos < cursor->end && *cursor->pos == '}') {
        cursor->pos++;
        cursor->is_done = true;
        if (!cursor->has_name) {
            return part_bad(cursor, cursor->pos - 1, "a metric name");
        }
        return PART_END;
    }
    if (cursor->pos >= cursor->end) {
        return part_bad(cursor, cursor->pos, "'}'");
    }
    return label_take(cursor, ret);
}

/* ---- labels ---- */

struct str text_unescape(struct str text, struct arena *arena) {
    if (text.len == 0 || memchr(text.ptr, '\\', text.len) == NULL) {
        return text;
    }
    char *out = arena_alloc(arena, text.len);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        char next = i + 1 < text.len ? text.ptr[i + 1] : '\0';
        if (c == '\\' && (next == '\\' || next == '"' || next == 'n')) {
            c = next == 'n' ? '\n' : next;
            i++;
        }
        out[len++] = c;
    }
    return str_n(out, len);
}

/* Is this label a number that has one canonical form in a series of this family? */
static bool is_number_label(const struct text_entry *entry, struct str metric, struct str label) {
    bool is_histogram = entry->type == FAMILY_HISTOGRAM || entry->type == FAMILY_GAUGE_HISTOGRAM;
    if (is_histogram && str_eq_c(label, "le")) {
        return str_starts_with(metric, entry->family) &&
               str_eq_c(str_n(metric.ptr + entry->family.len, metric.len - entry->family.len),
                        "_bucket");
    }
    return entry->type == FAMILY_SUMMARY && str_eq_c(label, "quantile") &&
           str_eq(metric, entry->family);
}

static struct str canonical(struct str value, struct arena *arena) {
    double number;
    if (!str_parse_f64(value, &number)) {
        return value;
    }
    char text[BOUND_TEXT_MAX];
    struct str shortest = bound_to_text(number, text);
    return str_eq(shortest, value) ? value : arena_str(arena, shortest);
}

struct labels text_labels(const struct text_entry *entry, struct arena *arena) {
    struct labels labels = { 0 };
    size_t cap = 0;
    struct cursor cursor = {
        .pos = entry->series.ptr,
        .end = entry->series.ptr + entry->series.len,
    };
    struct str metric = STR("");
    struct part part;
    enum part_kind kind;
    while ((kind = part_next(&cursor, &part)) != PART_END) {
        assert(kind != PART_BAD);
        struct label label = { .name = METRIC_NAME, .value = STR("") };
        struct str name = part.is_quoted ? text_unescape(part.name, arena) : part.name;
        if (kind == PART_NAME) {
            metric = name;
            label.value = name;
        } else {
            label.name = name;
            label.value = text_unescape(part.value, arena);
        }
        if (labels.count > 2 * LABELS_COUNT_MAX) {
            continue; /* over the cap whatever follows */
        }
        labels.items =
            arena_vec_grow(arena, labels.items, &cap, labels.count + 1, sizeof(labels.items[0]));
        labels.items[labels.count++] = label;
    }
    for (size_t i = 0; i < labels.count; i++) {
        if (is_number_label(entry, metric, labels.items[i].name)) {
            labels.items[i].value = canonical(labels.items[i].value, arena);
        }
    }
    return labels;
}

/* ---- families ---- */

bool text_family_add(struct text_family *family,
                     enum text_kind kind,
                     const struct text_entry *entry,
                     struct arena *arena,
                     struct text_family *ret) {
    struct str name = text_unescape(entry->family, arena);
    bool is_other = family->name.len > 0 && !str_eq(family->name, name);
    if (is_other) {
        *ret = *family;
    }
    if (is_other || family->name.len == 0) {
        *family = (struct text_family){
            .name = name,
            .metadata = { .type = FAMILY_UNKNOWN, .help = STR(""), .unit = STR("") },
        };
    }
    switch (kind) {
    case TEXT_TYPE: family->metadata.type = entry->type; break;
    case TEXT_HELP: family->metadata.help = text_unescape(entry->text, arena); break;
    case TEXT_UNIT: family->metadata.unit = entry->text; break;
    default: BUG("a family made of entries of kind %d", (int)kind);
    }
    return is_other;
}
