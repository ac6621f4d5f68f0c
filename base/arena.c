/* Bump allocation: a list of growing blocks, newest first. */
#include "base/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

#if defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define ARENA_GUARDED 1
#    endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#    define ARENA_GUARDED 1
#endif

/* Under the address sanitizer every allocation is followed by bytes nobody may touch, and a reset
 * arena is off limits until it is handed out again. */
#if defined(ARENA_GUARDED)
#    include <sanitizer/asan_interface.h>

enum {
    GUARD_BYTES = 16
};

static void forbid(void *start, size_t bytes) {
    ASAN_POISON_MEMORY_REGION(start, bytes);
}

static void allow(void *start, size_t bytes) {
    ASAN_UNPOISON_MEMORY_REGION(start, bytes);
}
#else
enum {
    GUARD_BYTES = 0
};

static void forbid(void *start, size_t bytes) {
    (void)start;
    (void)bytes;
}

static void allow(void *start, size_t bytes) {
    (void)start;
    (void)bytes;
}
#endif

enum {
    ARENA_ALIGN = 16,
    BLOCK_BYTES_MIN = 4096,
    BLOCK_BYTES_MAX = 1 << 20, /* growth stops here; larger single wishes get their own block */
};

struct arena_block {
    struct arena_block *next; /* older */
    size_t bytes;             /* capacity after the header */
};

static_assert(sizeof(struct arena_block) % ARENA_ALIGN == 0, "payload starts aligned");

static char *block_payload(struct arena_block *block) {
    return (char *)(block + 1);
}

void arena_init(struct arena *arena, size_t bytes_max) {
    *arena = (struct arena){ .bytes_max = bytes_max };
}

void arena_finish(struct arena *arena) {
    struct arena_block *block = arena->blocks;
    while (block != NULL) {
        struct arena_block *next = block->next;
        mem_free(block);
        block = next;
    }
    *arena = (struct arena){ .bytes_max = arena->bytes_max };
}

void arena_reset(struct arena *arena) {
    struct arena_block *kept = arena->blocks;
    if (kept != NULL) {
        struct arena_block *older = kept->next;
        while (older != NULL) {
            struct arena_block *next = older->next;
            mem_free(older);
            older = next;
        }
        kept->next = NULL;
        if (kept->bytes > BLOCK_BYTES_MAX) {
            mem_free(kept);
            kept = NULL;
        }
    }
    if (kept != NULL) {
        forbid(block_payload(kept), kept->bytes);
    }
    arena->blocks = kept;
    arena->next = kept == NULL ? NULL : block_payload(kept);
    arena->left = kept == NULL ? 0 : kept->bytes;
    arena->bytes_used = 0;
}

static struct arena_block *add_block(struct arena *arena, size_t payload_bytes) {
    size_t bytes;
    if (__builtin_add_overflow(payload_bytes, sizeof(struct arena_block), &bytes)) {
        bytes = SIZE_MAX;
    }
    struct arena_block *block = mem_alloc(bytes);
    block->bytes = payload_bytes;
    block->next = arena->blocks;
    arena->blocks = block;
    forbid(block_payload(block), payload_bytes);
    return block;
}

static void *alloc_slow(struct arena *arena, size_t bytes) {
    size_t newest_bytes = arena->blocks == NULL ? 0 : arena->blocks->bytes;
    size_t block_bytes = newest_bytes * 2;
    if (block_bytes < BLOCK_BYTES_MIN) {
        block_bytes = BLOCK_BYTES_MIN;
    }
    if (block_bytes > BLOCK_BYTES_MAX) {
        block_bytes = BLOCK_BYTES_MAX;
    }
    if (bytes > block_bytes / 2 && arena->blocks != NULL) {
        /* A block of its own behind the newest, so that the newest's rest stays in use. */
        struct arena_block *newest = arena->blocks;
        struct arena_block *own = add_block(arena, bytes);
        arena->blocks = newest;
        own->next = newest->next;
        newest->next = own;
        return block_payload(own);
    }
    struct arena_block *block = add_block(arena, bytes > block_bytes ? bytes : block_bytes);
    arena->next = block_payload(block) + bytes;
    arena->left = block->bytes - bytes;
    return block_payload(block);
}

static size_t sum_capped(size_t a, size_t b) {
    size_t sum;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

static size_t round_up(size_t bytes) {
    return sum_capped(bytes, ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
}

void *arena_alloc(struct arena *arena, size_t bytes) {
    size_t wanted = bytes == 0 ? 1 : bytes;
    size_t rounded = round_up(wanted);
    arena->bytes_used = sum_capped(arena->bytes_used, rounded);
    size_t taken = round_up(sum_capped(rounded, GUARD_BYTES));
    void *ptr;
    if (taken > arena->left) {
        ptr = alloc_slow(arena, taken);
    } else {
        ptr = arena->next;
        arena->next += taken;
        arena->left -= taken;
    }
    allow(ptr, wanted);
    return ptr;
}

void *arena_calloc(struct arena *arena, size_t count, size_t elem_bytes) {
    size_t bytes;
    if (__builtin_mul_overflow(count, elem_bytes, &bytes)) {
        bytes = SIZE_MAX;
    }
    void *ptr = arena_alloc(arena, bytes);
    memset(ptr, 0, bytes);
    return ptr;
}

struct str arena_str(struct arena *arena, struct str text) {
    char *copy = arena_alloc(arena, sum_capped(text.len, 1));
    if (text.len > 0) {
        memcpy(copy, text.ptr, text.len);
    }
    copy[text.len] = '\0';
    return str_n(copy, text.len);
}

struct str arena_printf(struct arena *arena, const char *fmt, ...) {
    assert(fmt != NULL);
    va_list args;
    va_list again;
    va_start(args, fmt);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (length < 0) {
        BUG("unprintable format \"%s\"", fmt);
    }
    char *text = arena_alloc(arena, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, fmt, again);
    va_end(again);
    return str_n(text, (size_t)length);
}

void *arena_vec_grow(struct arena *arena,
                     void *items,
                     size_t *cap,
                     size_t need,
                     size_t elem_bytes) {
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
        bytes = SIZE_MAX;
    }
    void *grown = arena_alloc(arena, bytes);
    if (*cap > 0) {
        memcpy(grown, items, *cap * elem_bytes);
    }
    *cap = wanted;
    return grown;
}

bool arena_can(const struct arena *arena, size_t bytes) {
    return arena->bytes_used <= arena->bytes_max && bytes <= arena->bytes_max - arena->bytes_used;
}
