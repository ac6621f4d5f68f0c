/*
 * Adding a shipped journal to a restored copy: records behind the copy's own, table changes into
 * their tables, in the order of their commits, up to a moment. What the copy has already is passed
 * over; numbers that are missing are an error.
 */
#pragma once

#include "tsdb/verify/offline.h"

struct replay_shipped {
    const char *ship_dir; /* holds one directory per directory id */
    int64_t until_ms;     /* of commits, inclusive */
    /* results */
    uint64_t record_count;
    uint64_t change_count;
    bool is_at_end; /* nothing of after until_ms was met */
};

/* ERR_NOT_FOUND (missing records), ERR_CORRUPT (names file and byte), ERR_INVALID, ERR_IO. */
WARN_UNUSED bool replay_shipped(struct replay_shipped *replay,
                                struct offline *copy,
                                struct err *err);
