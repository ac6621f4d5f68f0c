/*
 * How the samples of a series that are not sealed lie in the slab of its stripe; for append.c,
 * which changes them, and head_read.c, which looks at them meanwhile. Every word is stored with
 * RACE_STORE: a block that was freed may still be looked at.
 */
#pragma once

#include <assert.h>

#include "tsdb/head/head.h"

#define CHUNK_BLOCK_BYTES 28

struct chunk_block {
    uint32_t next;
    uint8_t bytes[CHUNK_BLOCK_BYTES];
};

static_assert(sizeof(struct chunk) == sizeof(struct chunk_block),
              "one size of slab block for both");

struct history_entry {
    uint64_t lsn;
    uint32_t count;
};

struct history {
    uint32_t count;
    uint32_t cap;
    struct history_entry entries[]; /* oldest first */
};
