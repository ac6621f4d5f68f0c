/*
 * Heap allocation. Running out of memory aborts here and nowhere else; sizes that outsiders can
 * choose are capped before they get here.
 */
#pragma once

#include <stddef.h>

#include "base/attr.h"

/* Once, before there are threads: what a burst made large goes back to the system when freed. */
void mem_configure(void);

void *mem_alloc(size_t bytes);                     /* uninitialised; bytes may be 0 */
void *mem_calloc(size_t count, size_t elem_bytes); /* zeroed; overflow aborts */
/* Zeroed; `align` is a power of two that divides `bytes`. Freed like any other. */
void *mem_calloc_aligned(size_t align, size_t bytes);
void *mem_realloc(void *ptr, size_t bytes);
void mem_free(void *ptr); /* NULL is fine */
char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t len); /* adds the NUL */

/*
 * Grow a vector so that it holds at least `need` elements; doubles, updates *cap, returns the
 * new base. Usage: v->items = vec_grow(v->items, &v->cap, v->count + 1, sizeof(v->items[0]));
 */
WARN_UNUSED void *vec_grow(void *items, size_t *cap, size_t need, size_t elem_bytes);

/* For CLEANUP(mem_freep): frees what the pointed-to pointer points to. */
void mem_freep(void *ptr_to_ptr);
