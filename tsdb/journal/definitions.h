/*
 * Definitions of series in a journal record: id and encoded labels (labels_encode), written against
 * the definition before it in the record, because what is created together differs in few labels.
 * FORMAT.md draws the bytes.
 *
 * Threads: none of its own.
 */
#pragma once

#include "tsdb/codec/bytes.h"

/* What the next definition is written or read against; zeroed by definitions_init(). */
struct definitions {
    uint64_t id;
    struct buf last; /* encoded labels */
    struct buf next; /* private: of the one being read */
};

void definitions_init(struct definitions *definitions);
void definitions_finish(struct definitions *definitions);
void definitions_reset(struct definitions *definitions); /* another record begins */

/* `labels` as labels_encode() made them. */
void definitions_put(struct definitions *definitions,
                     uint64_t id,
                     struct str labels,
                     struct buf *out);
/* False when the bytes are malformed; they may be any. *ret_labels is what was put, valid until the
 * next call. */
WARN_UNUSED bool definitions_get(struct definitions *definitions,
                                 struct reader *reader,
                                 uint64_t *ret_id,
                                 struct str *ret_labels);
