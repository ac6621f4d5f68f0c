/* Warnings and infos of an evaluation. */
#include "promql/annotations.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/float.h"
#include "promql/quote.h"

struct note {
    struct note *next;
    enum note_level level;
    uint32_t pos;
    uint32_t rank;   /* of the evaluation that set pos */
    struct str text; /* complete, without position */
    struct note_monotonicity monotonicity;
};

enum {
    NOTE_BYTES_MAX = 1 << 16, /* of one text; names and label values are bounded by the store */
};

static const char *const prefixes[] = {
    [NOTE_WARNING] = "PromQL warning: ",
    [NOTE_INFO] = "PromQL info: ",
};
static_assert(ARRAY_LEN(prefixes) == NOTE_LEVEL_COUNT, "one prefix per level");

void annotations_init(struct annotations *notes, struct arena *arena) {
    *notes = (struct annotations){ .arena = arena };
    map_init(&notes->by_text);
}

void annotations_finish(struct annotations *notes) {
    map_finish(&notes->by_text, NULL);
}

static struct note *note_find_or_add(struct annotations *notes,
                                     enum note_level level,
                                     uint32_t pos,
                                     struct str text) {
    struct note *note = map_get(&notes->by_text, text);
    if (note == NULL) {
        note = arena_calloc(notes->arena, 1, sizeof(*note));
        note->level = level;
        note->text = arena_str(notes->arena, text);
        map_put(&notes->by_text, note->text, note);
        note->next = notes->first;
        notes->first = note;
        notes->counts[level]++;
    }
    note->pos = pos;
    return note;
}

void note_add(struct annotations *notes,
              enum note_level level,
              uint32_t pos,
              const char *fmt,
              ...) {
    char body[1024];
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(body, sizeof(body), fmt, args);
    va_end(args);
    assert(length >= 0);
    struct buf text;
    buf_init(&text, NOTE_BYTES_MAX);
    buf_cstr(&text, prefixes[level]);
    buf_cstr(&text, body);
    note_find_or_add(notes, level, pos, buf_as_str(&text));
    buf_finish(&text);
}

static void add_monotonicity(struct note_monotonicity *all, const struct note_monotonicity *what) {
    if (all->samples == 0) {
        *all = *what;
        return;
    }
    all->t_min_ms = what->t_min_ms < all->t_min_ms ? what->t_min_ms : all->t_min_ms;
    all->t_max_ms = what->t_max_ms > all->t_max_ms ? what->t_max_ms : all->t_max_ms;
    all->bucket_min = what->bucket_min < all->bucket_min ? what->bucket_min : all->bucket_min;
    all->bucket_max = what->bucket_max > all->bucket_max ? what->bucket_max : all->bucket_max;
    all->diff_max = what->diff_max > all->diff_max ? what->diff_max : all->diff_max;
    all->samples += what->samples;
}

void note_add_monotonicity(struct annotations *notes,
                           uint32_t pos,
                           struct str metric_name,
                           const struct note_monotonicity *what) {
    struct buf text;
    buf_init(&text, NOTE_BYTES_MAX);
    buf_cstr(&text, prefixes[NOTE_INFO]);
    buf_cstr(&text, "input to histogram_quantile needed to be fixed for monotonicity (see "
                    "https://prometheus.io/docs/prometheus/latest/querying/functions/"
                    "#histogram_quantile)");
    if (metric_name.len > 0) {
        buf_cstr(&text, " for metric name ");
        promql_quote(&text, metric_name);
    }
    struct note *note = note_find_or_add(notes, NOTE_INFO, pos, buf_as_str(&text));
    buf_finish(&text);
    add_monotonicity(&note->monotonicity, what);
}

void annotations_merge(struct annotations *notes, const struct annotations *later) {
    assert(notes->arena == later->arena);
    for (const struct note *from = later->first; from != NULL; from = from->next) {
        struct note *note = note_find_or_add(notes, from->level, from->pos, from->text);
        if (from->monotonicity.samples > 0) {
            add_monotonicity(&note->monotonicity, &from->monotonicity);
        }
    }
}

struct str note_quote(struct annotations *notes, struct str text) {
    struct buf out;
    buf_init(&out, NOTE_BYTES_MAX);
    promql_quote(&out, text);
    struct str quoted = arena_str(notes->arena, buf_as_str(&out));
    buf_finish(&out);
    return quoted;
}

struct str note_float(struct annotations *notes, double value) {
    char text[FLOAT_TEXT_MAX];
    size_t len = float_to_general(value, text);
    return arena_str(notes->arena, str_n(text, len));
}

/* ---- texts ---- */

static void print_position(struct buf *out, uint32_t pos, struct str query) {
    uint32_t line = 1;
    uint32_t line_start = 0;
    for (uint32_t i = 0; i < pos && i < query.len; i++) {
        if (query.ptr[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    buf_printf(out, " (%u:%u)", line, pos - line_start + 1);
}

/* Go's time.RFC3339 in UTC: whole seconds. */
static void print_rfc3339_seconds(struct buf *out, int64_t t_ms) {
    struct civil civil = civil_from_ms(t_ms);
    buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02dZ", civil.year, civil.month, civil.day,
               civil.hour, civil.minute, civil.second);
}

static void print_monotonicity(struct buf *out, const struct note_monotonicity *what) {
    buf_cstr(out, ", from buckets ");
    buf_float_general(out, what->bucket_min);
    buf_cstr(out, " to ");
    buf_float_general(out, what->bucket_max);
    buf_printf(out, ", with a max diff of %.2g, over %llu samples from ", what->diff_max,
               (unsigned long long)what->samples);
    print_rfc3339_seconds(out, what->t_min_ms);
    buf_cstr(out, " to ");
    print_rfc3339_seconds(out, what->t_max_ms);
}

static int compare_texts(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

struct str *annotations_texts(const struct annotations *notes,
                              enum note_level level,
                              struct str query,
                              struct arena *arena,
                              size_t *ret_count) {
    struct str *texts = arena_calloc(arena, notes->counts[level], sizeof(texts[0]));
    size_t count = 0;
    struct buf out;
    buf_init(&out, 2 * NOTE_BYTES_MAX);
    for (const struct note *note = notes->first; note != NULL; note = note->next) {
        if (note->level != level) {
            continue;
        }
        buf_reset(&out);
        buf_str(&out, note->text);
        if (note->monotonicity.samples > 0) {
            print_monotonicity(&out, &note->monotonicity);
        }
        print_position(&out, note->pos, query);
        texts[count++] = arena_str(arena, buf_as_str(&out));
    }
    buf_finish(&out);
    assert(count == notes->counts[level]);
    if (count > 1) {
        qsort(texts, count, sizeof(texts[0]), compare_texts);
    }
    *ret_count = count;
    return texts;
}
