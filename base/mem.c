/* Heap allocation that cannot fail: the one file that calls malloc, and the one that dies of it. */
#include "base/mem.h"

#include <assert.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

NORETURN static void die_out_of_memory(size_t bytes) {
    fprintf(stderr, "out of memory: cannot allocate %zu bytes\n", bytes);
    abort();
}

void mem_configure(void) {
    /* Else glibc raises the bound to the largest block ever freed, and keeps such blocks. */
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 20);
    (void)mallopt(M_ARENA_MAX, 4);
}

void *mem_alloc(size_t bytes) {
    void *ptr = malloc(bytes == 0 ? 1 : bytes);
    if (ptr == NULL) {
        die_out_of_memory(bytes);
    }
    return ptr;
}

void *mem_calloc(size_t count, size_t elem_bytes) {
    size_t bytes;
    if (__builtin_mul_overflow(count, elem_bytes, &bytes)) {
        die_out_of_memory(SIZE_MAX);
    }
    void *ptr = calloc(1, bytes == 0 ? 1 : bytes);
    if (ptr == NULL) {
        die_out_of_memory(bytes);
    }
    return ptr;
}

void *mem_calloc_aligned(size_t align, size_t bytes) {
    assert(bytes % align == 0);
    void *ptr = aligned_alloc(align, bytes);
    if (ptr == NULL) {
        die_out_of_memory(bytes);
    }
    return memset(ptr, 0, bytes);
}

void *mem_realloc(void *ptr, size_t bytes) {
    void *moved = realloc(ptr, bytes == 0 ? 1 : bytes);
    if (moved == NULL) {
        die_out_of_memory(bytes);
    }
    return moved;
}

void mem_free(void *ptr) {
    free(ptr);
}

char *mem_strdup(const char *text) {
    return mem_strndup(text, strlen(text));
}

char *mem_strndup(const char *text, size_t len) {
    if (len == SIZE_MAX) {
        die_out_of_memory(len);
    }
    char *copy = mem_alloc(len + 1);
    if (len > 0) {
        memcpy(copy, text, len);
    }
    copy[len] = '\0';
    return copy;
}

void *vec_grow(void *items, size_t *cap, size_t need, size_t elem_bytes) {
    assert(elem_bytes > 0);
    if (need <= *cap) {
        return items;
    }
    size_t wanted = *cap < 4 ? 4 : *cap;
    while (wanted < need) {
        wanted = wanted > SIZE_MAX / 2 ? need : wanted * 2;
    }
    size_t bytes;
    if (__builtin_mul_overflow(wanted, elem_bytes, &bytes)) {
        die_out_of_memory(SIZE_MAX);
    }
    items = mem_realloc(items, bytes);
    *cap = wanted;
    return items;
}

void mem_freep(void *ptr_to_ptr) {
    void **ptr = ptr_to_ptr;
    mem_free(*ptr);
    *ptr = NULL;
}
