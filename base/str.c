/* Slices: comparison, search, whole-text integer parsing, UTF-8 check, spelling suggestions. */
#include "base/str.h"

#include <assert.h>

static char ascii_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

int str_cmp(struct str a, struct str b) {
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common == 0 ? 0 : memcmp(a.ptr, b.ptr, common);
    if (order != 0) {
        return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

bool str_eq_nocase(struct str a, struct str b) {
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool str_starts_with(struct str text, struct str prefix) {
    return text.len >= prefix.len && str_eq(str_n(text.ptr, prefix.len), prefix);
}

bool str_ends_with(struct str text, struct str suffix) {
    if (text.len < suffix.len) {
        return false;
    }
    return suffix.len == 0 ||
           memcmp(text.ptr + (text.len - suffix.len), suffix.ptr, suffix.len) == 0;
}

struct str str_trim(struct str text) {
    while (text.len > 0 && is_space(text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len > 0 && is_space(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

size_t str_find(struct str text, struct str needle) {
    if (needle.len == 0) {
        return 0;
    }
    if (text.len < needle.len) {
        return SIZE_MAX;
    }
    const char *hit = memmem(text.ptr, text.len, needle.ptr, needle.len);
    return hit == NULL ? SIZE_MAX : (size_t)(hit - text.ptr);
}

bool str_cut(struct str text, char sep, struct str *ret_head, struct str *ret_tail) {
    const char *hit = text.len == 0 ? NULL : memchr(text.ptr, sep, text.len);
    if (hit == NULL) {
        *ret_head = text;
        *ret_tail = STR("");
        return false;
    }
    size_t head_len = (size_t)(hit - text.ptr);
    *ret_head = str_n(text.ptr, head_len);
    *ret_tail = str_n(hit + 1, text.len - head_len - 1);
    return true;
}

bool str_parse_u64(struct str text, uint64_t *ret) {
    if (text.len == 0) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c < '0' || c > '9') {
            return false;
        }
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(c - '0'), &value)) {
            return false;
        }
    }
    *ret = value;
    return true;
}

bool str_parse_i64(struct str text, int64_t *ret) {
    bool is_negative = text.len > 0 && text.ptr[0] == '-';
    if (text.len > 0 && (text.ptr[0] == '-' || text.ptr[0] == '+')) {
        text = str_n(text.ptr + 1, text.len - 1);
    }
    uint64_t magnitude;
    if (!str_parse_u64(text, &magnitude)) {
        return false;
    }
    uint64_t magnitude_max = (uint64_t)INT64_MAX + (is_negative ? 1 : 0);
    if (magnitude > magnitude_max) {
        return false;
    }
    *ret = (int64_t)(is_negative ? 0 - magnitude : magnitude);
    return true;
}

/* Length of the well-formed sequence at `p`, 0 when there is none (Unicode 15, table 3-7). */
static size_t utf8_sequence(const unsigned char *p, size_t left) {
    unsigned char first = p[0];
    if (first < 0x80) {
        return 1;
    }
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < len) {
        return 0;
    }
    unsigned char second_min = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char second_max = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < second_min || p[1] > second_max) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

bool str_is_utf8(struct str text) {
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t at = 0;
    while (at < text.len) {
        uint64_t word;
        if (text.len - at >= sizeof(word)) {
            memcpy(&word, p + at, sizeof(word));
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof(word);
                continue;
            }
        }
        size_t len = p[at] < 0x80 ? 1 : utf8_sequence(p + at, text.len - at);
        if (len == 0) {
            return false;
        }
        at += len;
    }
    return true;
}

enum {
    NEAREST_BYTES_MAX = 64
};

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Damerau-Levenshtein distance, optimal string alignment: insert, delete, replace, swap. */
static size_t edit_distance(struct str a, struct str b) {
    assert(a.len <= NEAREST_BYTES_MAX && b.len <= NEAREST_BYTES_MAX);
    size_t rows[3][NEAREST_BYTES_MAX + 1];
    size_t *before = rows[0];
    size_t *previous = rows[1];
    size_t *current = rows[2];
    for (size_t j = 0; j <= b.len; j++) {
        previous[j] = j;
        before[j] = 0;
    }
    for (size_t i = 1; i <= a.len; i++) {
        current[0] = i;
        char ca = ascii_lower(a.ptr[i - 1]);
        for (size_t j = 1; j <= b.len; j++) {
            char cb = ascii_lower(b.ptr[j - 1]);
            size_t best = previous[j - 1] + (ca == cb ? 0 : 1);
            best = min_size(best, previous[j] + 1);
            best = min_size(best, current[j - 1] + 1);
            if (i > 1 && j > 1 && ca == ascii_lower(b.ptr[j - 2]) &&
                cb == ascii_lower(a.ptr[i - 2])) {
                best = min_size(best, before[j - 2] + 1);
            }
            current[j] = best;
        }
        size_t *recycled = before;
        before = previous;
        previous = current;
        current = recycled;
    }
    return previous[b.len];
}

const char *str_nearest(struct str word, const char *const *candidates, size_t count) {
    if (word.len == 0 || word.len > NEAREST_BYTES_MAX) {
        return NULL;
    }
    /* One slip in three characters, at most three: farther words are guesses, not spellings. */
    size_t distance_max = word.len < 3 ? 1 : min_size((word.len + 2) / 3, 3);
    const char *best = NULL;
    for (size_t i = 0; i < count; i++) {
        struct str candidate = str_from(candidates[i]);
        if (candidate.len == 0 || candidate.len > NEAREST_BYTES_MAX) {
            continue;
        }
        size_t distance = edit_distance(word, candidate);
        bool shares_something = distance < word.len && distance < candidate.len;
        if (shares_something &&
            (distance < distance_max || (best == NULL && distance == distance_max))) {
            best = candidates[i];
            distance_max = distance;
        }
    }
    return best;
}
