/*
 * Warnings and infos of an evaluation, in upstream's words. The same text is kept once; the
 * position of the latest occurrence wins, as upstream.
 */
#pragma once

#include "base/arena.h"
#include "base/map.h"

enum note_level {
    NOTE_WARNING,
    NOTE_INFO,
    NOTE_LEVEL_COUNT,
};

/* Repairs of non-monotonic buckets, summed up over steps and series into one info. */
struct note_monotonicity {
    int64_t t_min_ms;
    int64_t t_max_ms;
    double bucket_min;
    double bucket_max;
    double diff_max;
    uint64_t samples; /* repaired; 0 when the note is of another kind */
};

struct note;

struct annotations {
    struct note *first; /* newest text first */
    struct map by_text;
    struct arena *arena;
    size_t counts[NOTE_LEVEL_COUNT];
};

void annotations_init(struct annotations *notes, struct arena *arena);
void annotations_finish(struct annotations *notes);

/* `pos` is the byte offset in the query the note points at; the text comes without the leading
 * "PromQL warning: ". */
PRINTF_LIKE(4, 5)
void note_add(struct annotations *notes, enum note_level level, uint32_t pos, const char *fmt, ...);

/* The info that bucket counts had to be made monotonic. metric_name may be empty. */
void note_add_monotonicity(struct annotations *notes,
                           uint32_t pos,
                           struct str metric_name,
                           const struct note_monotonicity *what);

/* A name in quotes as Go's %q prints it. */
struct str note_quote(struct annotations *notes, struct str text);
/* A number as Go's %g prints it. */
struct str note_float(struct annotations *notes, double value);

/* Add everything of `later`, as if it had been noted after what is in `notes`: for operands that
 * are evaluated first but come later. Both must use the same arena. */
void annotations_merge(struct annotations *notes, const struct annotations *later);

/* All texts of one level with positions in `query` ("(1:6)"), sorted, in `arena`. */
struct str *annotations_texts(const struct annotations *notes,
                              enum note_level level,
                              struct str query,
                              struct arena *arena,
                              size_t *ret_count);
