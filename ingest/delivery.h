/*
 * One body of samples on its way into the store: remembers where in the body every sample came
 * from, so that a verdict of the store can be told in the sender's terms.
 *
 *   delivery_create → (read) → delivery_begin → delivery_run, tsdb_batch_append … → delivery_commit
 * or delivery_fail at any point before the commit. Both settle the body and free the delivery.
 */
#pragma once

#include "ingest/internal.h"

struct delivery_run {
    uint32_t sample_first; /* index in the batch */
    uint32_t line;         /* 0 = not a matter of lines */
    uint32_t offset;       /* of the series in the body */
    uint32_t len;
};

struct delivery {
    struct ingest *ingest;
    enum door door;
    struct buf bytes;   /* the decompressed body */
    struct arena arena; /* labels under construction */
    struct tsdb_batch *batch;
    struct delivery_run *runs;
    size_t run_count;
    size_t run_cap;
    struct rejections rejections;
    uint64_t sample_count; /* in the body */
    struct err throttled;  /* the first series there was no room for */
    ingest_done_fn done;
    void *ctx;
    /* Print the series of a run for a message. */
    void (*describe)(struct delivery *delivery, const struct delivery_run *run, struct buf *out);
};

/* Decompress the body; NULL when that failed (settled already). */
struct delivery *delivery_create(struct ingest *ingest,
                                 enum door door,
                                 const struct ingest_body *body,
                                 struct str encoding,
                                 ingest_done_fn done,
                                 void *ctx);
/* Open the batch. False: settled already. */
WARN_UNUSED bool delivery_begin(struct delivery *delivery);
/* The samples appended from here on belong to this place. */
void delivery_run(struct delivery *delivery, uint32_t line, uint32_t offset, uint32_t len);
/* tsdb_series() refused: counts and names it. `count` samples are lost with it. */
void delivery_refuse_series(struct delivery *delivery,
                            uint32_t line,
                            uint32_t offset,
                            uint64_t count,
                            const struct err *err);
void delivery_commit(struct delivery *delivery);
/* The whole body is refused; an open batch is abandoned. */
void delivery_fail(struct delivery *delivery, enum refusal why, const struct err *err);
