/*
 * Taking samples out of parts: deletions by matcher and retention by class rewrite a part through
 * merge.h without them. A part changes in one step; readers see it before or after.
 *
 * Threads: under the maintain lock.
 */
#pragma once

#include "tsdb/db.h"
#include "tsdb/parts/part.h"

/* What goes: samples of these series with first_ms <= t <= last_ms. */
struct rewrite {
    struct tsdb *db;
    const struct idset *ids; /* normalized */
    int64_t t_first_ms;
    int64_t t_last_ms;
    uint64_t sample_count; /* taken out so far */
};

/* Ids of the part's series that match, normalized; its rows must all be indexed. */
WARN_UNUSED bool rewrite_find(struct tsdb *db,
                              const struct part *part,
                              const struct matcher *matchers,
                              size_t count,
                              struct idset *ret,
                              struct err *err);

/* Rewrite one part. A merge under way that uses it is given up. */
WARN_UNUSED bool rewrite_part(struct rewrite *rewrite, const struct part *part, struct err *err);

/* Take the same out of rollups: every bucket that has a share in the range. Those whose samples are
 * there are built again by the next maintenance. */
WARN_UNUSED bool rewrite_rollups(struct rewrite *rewrite, struct err *err);
