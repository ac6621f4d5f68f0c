/*
 * Text is pointer and length; never assumed NUL-terminated. A struct str borrows its bytes.
 * The inline functions here and in buf.h also compile as C++, for the shims.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/attr.h"

struct str {
    const char *ptr;
    size_t len;
};

/* Compile-time literal; usable in initialisers. */
#define STR(literal) ((struct str){ .ptr = (literal), .len = sizeof(literal) - 1 })

/* For "%.*s". */
#define STR_FMT(s) (int)(s).len, (s).ptr

static inline struct str str_from(const char *text) {
    struct str str = { text, text == NULL ? 0 : strlen(text) };
    return str;
}

static inline struct str str_n(const char *ptr, size_t len) {
    struct str str = { ptr, len };
    return str;
}

static inline bool str_eq(struct str a, struct str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool str_eq_c(struct str a, const char *b) {
    return str_eq(a, str_from(b));
}

int str_cmp(struct str a, struct str b);        /* byte order, shorter first on a tie */
bool str_eq_nocase(struct str a, struct str b); /* ASCII */
bool str_starts_with(struct str text, struct str prefix);
bool str_ends_with(struct str text, struct str suffix);
struct str str_trim(struct str text);                /* ASCII white space on both ends */
size_t str_find(struct str text, struct str needle); /* index, or SIZE_MAX */

/* Split at the first `sep`: *ret_head before it, *ret_tail after it. False (and head = text,
 * tail empty) when there is none. */
bool str_cut(struct str text, char sep, struct str *ret_head, struct str *ret_tail);

/* Whole-text parsers: reject empty text, trailing junk and overflow. ret untouched on failure. */
WARN_UNUSED bool str_parse_i64(struct str text, int64_t *ret);
WARN_UNUSED bool str_parse_u64(struct str text, uint64_t *ret);

/* Go's strconv.ParseFloat(…, 64) as Prometheus accepts it: decimal, exponent, hex float,
 * [+-]Inf/Infinity, NaN in any case; no locale. Out of range gives ±Inf and true. */
WARN_UNUSED bool str_parse_f64(struct str text, double *ret);

/* True if the bytes are well-formed UTF-8 (no surrogates, no overlong forms). */
bool str_is_utf8(struct str text);

/* Best spelling suggestion for `word` among `count` candidates, NULL when none is near. */
const char *str_nearest(struct str word, const char *const *candidates, size_t count);
