/*
 * Label by label at the same position: a run of labels that are the same, or one that differs, from
 * its first differing byte on. A label is its two lengths and texts as labels_encode() writes them.
 */
#include "tsdb/journal/definitions.h"

#include <assert.h>

#include "model/model.h"

#define STEP_BYTES_MAX    (2 * UVARINT_BYTES_MAX) /* id, number of labels */
#define TOKEN_BYTES_EXTRA (2 * UVARINT_BYTES_MAX) /* of a label, besides its own bytes */
#define ENCODED_BYTES_MAX ((size_t)1 << 30)

void definitions_init(struct definitions *definitions) {
    *definitions = (struct definitions){ 0 };
    buf_init(&definitions->last, ENCODED_BYTES_MAX);
    buf_init(&definitions->next, ENCODED_BYTES_MAX);
}

void definitions_finish(struct definitions *definitions) {
    buf_finish(&definitions->last);
    buf_finish(&definitions->next);
}

void definitions_reset(struct definitions *definitions) {
    definitions->id = 0;
    buf_reset(&definitions->last);
}

/* The label the reader stands at; empty at the end, or when it is none. */
static struct str take_label(struct reader *labels) {
    const uint8_t *start = labels->next;
    if (reader_left(labels) == 0) {
        return STR("");
    }
    (void)reader_str(labels);
    (void)reader_str(labels);
    return labels->is_bad ? STR("") : str_n((const char *)start, (size_t)(labels->next - start));
}

static size_t common_prefix(struct str a, struct str b) {
    size_t len = a.len < b.len ? a.len : b.len;
    size_t at = 0;
    while (at < len && a.ptr[at] == b.ptr[at]) {
        at++;
    }
    return at;
}

/* A run is odd, a label that differs even: how many bytes of its own it has. */
static uint8_t *put_run(uint8_t *out, uint64_t *run) {
    if (*run > 0) {
        out = bytes_put_uvarint(out, (*run - 1) << 1 | 1);
        *run = 0;
    }
    return out;
}

void definitions_put(struct definitions *definitions,
                     uint64_t id,
                     struct str labels,
                     struct buf *out) {
    struct reader before = reader_init(definitions->last.ptr, definitions->last.len);
    struct reader reader = reader_init(labels.ptr, labels.len);
    (void)reader_uvarint(&before); /* bad at the first one, and stays so */
    uint64_t count = reader_uvarint(&reader);
    assert(count <= LABELS_COUNT_MAX);
    uint8_t *start =
        (uint8_t *)buf_reserve(out, STEP_BYTES_MAX + labels.len + count * TOKEN_BYTES_EXTRA);
    if (start == NULL) {
        return; /* the buffer says so */
    }
    uint8_t *end = bytes_put_uvarint(start, zigzag(i64_sub((int64_t)id, (int64_t)definitions->id)));
    end = bytes_put_uvarint(end, count);
    uint64_t run = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct str old = before.is_bad ? STR("") : take_label(&before);
        struct str label = take_label(&reader);
        assert(label.len > 0);
        if (str_eq(old, label)) {
            run++;
            continue;
        }
        size_t shared = common_prefix(old, label);
        end = put_run(end, &run);
        end = bytes_put_uvarint(end, (uint64_t)(label.len - shared) << 1);
        end = bytes_put_uvarint(end, shared);
        memcpy(end, label.ptr + shared, label.len - shared);
        end += label.len - shared;
    }
    end = put_run(end, &run);
    out->len += (size_t)(end - start);
    definitions->id = id;
    buf_reset(&definitions->last);
    buf_str(&definitions->last, labels);
}

/* One that differs from `old`, behind what is in `next`. */
static bool get_label(struct reader *reader, uint64_t own, struct str old, struct buf *next) {
    uint64_t shared = reader_uvarint(reader);
    const uint8_t *bytes = reader_bytes(reader, own);
    if (bytes == NULL || own == 0 || shared > old.len) {
        return false;
    }
    size_t start = next->len;
    buf_append(next, old.ptr, (size_t)shared);
    buf_append(next, bytes, (size_t)own);
    struct reader label = reader_init(next->ptr + start, next->len - start);
    return !next->is_over && take_label(&label).len == next->len - start;
}

static bool get_labels(struct definitions *definitions, struct reader *reader, uint64_t count) {
    struct reader before = reader_init(definitions->last.ptr, definitions->last.len);
    (void)reader_uvarint(&before);
    for (uint64_t i = 0; i < count;) {
        uint64_t token = reader_uvarint(reader);
        if ((token & 1) == 0) {
            struct str old = before.is_bad ? STR("") : take_label(&before);
            if (!get_label(reader, token >> 1, old, &definitions->next)) {
                return false;
            }
            i++;
            continue;
        }
        uint64_t run = (token >> 1) + 1;
        if (run > count - i) {
            return false;
        }
        for (; run > 0; run--, i++) {
            struct str old = before.is_bad ? STR("") : take_label(&before);
            if (old.len == 0) {
                return false;
            }
            buf_str(&definitions->next, old);
        }
    }
    return true;
}

bool definitions_get(struct definitions *definitions,
                     struct reader *reader,
                     uint64_t *ret_id,
                     struct str *ret_labels) {
    uint64_t id = definitions->id + (uint64_t)reader_svarint(reader);
    uint64_t count = reader_uvarint(reader);
    buf_reset(&definitions->next);
    buf_uvarint(&definitions->next, count);
    if (reader->is_bad || count > LABELS_COUNT_MAX || !get_labels(definitions, reader, count)) {
        return false;
    }
    struct buf next = definitions->next;
    definitions->next = definitions->last;
    definitions->last = next;
    definitions->id = id;
    *ret_id = id;
    *ret_labels = buf_as_str(&definitions->last);
    return true;
}
