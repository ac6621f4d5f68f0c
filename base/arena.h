/*
 * Bump allocation for request-shaped work (one query, one evaluation, one decoded write).
 * Nothing is freed inside; arena_reset() drops everything. Never store an arena pointer in
 * long-lived state.
 *
 * Limits   bytes_max is a budget: an allocation past it still succeeds and sets the sticky
 *          over-budget flag, which loops check (arena_is_over) and turn into ERR_LIMIT. A single
 *          allocation whose size an outsider chose is asked for with arena_can() first.
 * Threads  one owner at a time.
 */
#pragma once

#include "base/str.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* private: newest first */
    char *next;                 /* private */
    size_t left;                /* private */
    size_t bytes_used;          /* handed out since init or reset */
    size_t bytes_max;           /* budget; SIZE_MAX = none */
};

void arena_init(struct arena *arena, size_t bytes_max);
void arena_finish(struct arena *arena); /* also fine on a zeroed arena */
void arena_reset(struct arena *arena);  /* keeps one block for reuse */

void *arena_alloc(struct arena *arena, size_t bytes); /* 16-aligned, uninitialised, never NULL */
void *arena_calloc(struct arena *arena, size_t count, size_t elem_bytes);
struct str arena_str(struct arena *arena, struct str text); /* copy; also NUL-terminated */
PRINTF_LIKE(2, 3) struct str arena_printf(struct arena *arena, const char *fmt, ...);

/* vec_grow for arena memory: old items are copied, the old block stays until reset. */
WARN_UNUSED void *arena_vec_grow(struct arena *arena,
                                 void *items,
                                 size_t *cap,
                                 size_t need,
                                 size_t elem_bytes);

static inline bool arena_is_over(const struct arena *arena) {
    return arena->bytes_used > arena->bytes_max;
}

/* True if `bytes` more would stay within the budget. */
bool arena_can(const struct arena *arena, size_t bytes);
