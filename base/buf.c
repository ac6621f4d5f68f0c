/* Growable bytes with a cap. */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

enum {
    BUF_BYTES_MIN = 64
};

void buf_init(struct buf *buf, size_t bytes_max) {
    *buf = (struct buf){ .bytes_max = bytes_max };
}

void buf_finish(struct buf *buf) {
    mem_free(buf->ptr);
    *buf = (struct buf){ .bytes_max = buf->bytes_max };
}

void buf_reset(struct buf *buf) {
    buf->len = 0;
    buf->is_over = false;
    if (buf->ptr != NULL) {
        buf->ptr[0] = '\0';
    }
}

/* One byte is always kept for the NUL. */
static void grow(struct buf *buf, size_t need) {
    size_t wanted = buf->cap < BUF_BYTES_MIN ? BUF_BYTES_MIN : buf->cap;
    while (wanted < need) {
        wanted = wanted > SIZE_MAX / 2 ? need : wanted * 2;
    }
    /* No more than the cap can ever use. */
    if (buf->bytes_max < SIZE_MAX && wanted > buf->bytes_max + 1 && need <= buf->bytes_max + 1) {
        wanted = buf->bytes_max + 1;
    }
    buf->ptr = mem_realloc(buf->ptr, wanted);
    buf->cap = wanted;
}

char *buf_reserve(struct buf *buf, size_t len) {
    assert(buf->len <= buf->bytes_max);
    if (buf->is_over || len > buf->bytes_max - buf->len || len > SIZE_MAX - buf->len - 1) {
        buf->is_over = true;
        return NULL;
    }
    size_t need = buf->len + len + 1;
    if (need > buf->cap) {
        grow(buf, need);
    }
    /* The caller may fill any number of the reserved bytes: the end stays terminated only if the
     * last possible one is. */
    buf->ptr[buf->len + len] = '\0';
    return buf->ptr + buf->len;
}

void buf_append(struct buf *buf, const void *bytes, size_t len) {
    char *dest = buf_reserve(buf, len);
    if (dest == NULL) {
        return;
    }
    if (len > 0) {
        memcpy(dest, bytes, len);
    }
    buf->len += len;
}

void buf_str(struct buf *buf, struct str text) {
    buf_append(buf, text.ptr, text.len);
}

void buf_cstr(struct buf *buf, const char *text) {
    buf_append(buf, text, strlen(text));
}

void buf_putc(struct buf *buf, char c) {
    if (buf->len + 1 < buf->cap && buf->len < buf->bytes_max && !buf->is_over) {
        buf->ptr[buf->len++] = c;
        buf->ptr[buf->len] = '\0';
        return;
    }
    buf_append(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *fmt, ...) {
    assert(fmt != NULL);
    char small[256];
    va_list args;
    va_list again;
    va_start(args, fmt);
    va_copy(again, args);
    int length = vsnprintf(small, sizeof(small), fmt, args);
    va_end(args);
    if (length < 0) {
        BUG("unprintable format \"%s\"", fmt);
    }
    if ((size_t)length < sizeof(small)) {
        buf_append(buf, small, (size_t)length);
    } else {
        char *dest = buf_reserve(buf, (size_t)length);
        if (dest != NULL) {
            vsnprintf(dest, (size_t)length + 1, fmt, again);
            buf->len += (size_t)length;
        }
    }
    va_end(again);
}

void buf_u64(struct buf *buf, uint64_t value) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    buf_append(buf, digits + at, sizeof(digits) - at);
}

void buf_i64(struct buf *buf, int64_t value) {
    if (value >= 0) {
        buf_u64(buf, (uint64_t)value);
        return;
    }
    /* One append, so that a full buffer never keeps a lone sign. */
    char digits[20];
    size_t at = sizeof(digits);
    uint64_t magnitude = 0 - (uint64_t)value;
    do {
        digits[--at] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude > 0);
    digits[--at] = '-';
    buf_append(buf, digits + at, sizeof(digits) - at);
}

char *buf_take(struct buf *buf, size_t *ret_len) {
    char *bytes = buf->ptr == NULL ? mem_strdup("") : buf->ptr;
    if (ret_len != NULL) {
        *ret_len = buf->len;
    }
    *buf = (struct buf){ .bytes_max = buf->bytes_max };
    return bytes;
}
