/*
 * Growable bytes with a mandatory cap. An append past bytes_max writes nothing and sets the
 * sticky is_over flag, checked once at the end (every later append is then a no-op).
 * Threads: one owner at a time.
 */
#pragma once

#include "base/str.h"

struct buf {
    char *ptr; /* always NUL-terminated once anything was appended */
    size_t len;
    size_t cap;       /* private */
    size_t bytes_max; /* cap on len */
    bool is_over;
};

void buf_init(struct buf *buf, size_t bytes_max);
void buf_finish(struct buf *buf); /* also fine on a zeroed buf */
void buf_reset(struct buf *buf);  /* len 0, flag cleared, memory kept */

void buf_append(struct buf *buf, const void *bytes, size_t len);
void buf_str(struct buf *buf, struct str text);
void buf_cstr(struct buf *buf, const char *text);
void buf_putc(struct buf *buf, char c);
PRINTF_LIKE(2, 3) void buf_printf(struct buf *buf, const char *fmt, ...);
void buf_i64(struct buf *buf, int64_t value);
void buf_u64(struct buf *buf, uint64_t value);

/* Make room for `len` more bytes and return where they start, NULL when over the cap. The caller
 * fills them and adds to buf->len; the byte after the last reserved one is already NUL. */
char *buf_reserve(struct buf *buf, size_t len);

/* Hand the bytes to the caller (mem_free); the buf is empty afterwards. */
char *buf_take(struct buf *buf, size_t *ret_len);

static inline struct str buf_as_str(const struct buf *buf) {
    return str_n(buf->ptr == NULL ? "" : buf->ptr, buf->len);
}
