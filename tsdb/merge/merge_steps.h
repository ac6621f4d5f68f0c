/* The inside of a merge, shared by merge*.c. */
#pragma once

#include "tsdb/merge/merge.h"
#include "tsdb/parts/posting_union.h"

#define MERGE_SLICE_BYTES   ((size_t)1 << 20)   /* written per transaction */
#define MERGE_SLICE_SAMPLES ((uint64_t)4 << 20) /* looked at per read transaction */
#define MERGE_GROUP_SERIES  16384               /* put in order at a time */

enum merge_phase {
    MERGE_CHUNKS,
    MERGE_DIRECTORY,
    MERGE_POSTINGS,
    MERGE_FLIP,
    MERGE_DONE,
};

struct merge_series {
    uint64_t id;
    struct labels labels;
    double upper_bound; /* le as a number; NaN when it is none */
};

/* The newest sample in order of a series, where it is not the last one of its run. */
struct merge_last {
    uint64_t id;
    struct store_row row; /* no chunks */
};

struct merge {
    struct tsdb *db;
    struct merge_plan plan;
    struct part target;
    uint64_t segment_floor; /* sealed later: not part of it */
    enum merge_phase phase;
    int64_t start_ns;

    /* which series, in which order */
    struct arena name_arena;
    struct str *names; /* metrics, ascending */
    size_t name_count;
    size_t name_cap;
    size_t name_next;        /* name_count: series without a metric name come; above: over */
    struct idset ids;        /* of all sources */
    struct idset taken;      /* not normalized */
    struct idset metric_ids; /* of the metric at hand */
    size_t metric_next;
    struct arena arena; /* of the group at hand */
    struct merge_series *series;
    size_t series_count;
    size_t series_cap;
    size_t series_next;
    const struct merge_series *written; /* the last one of the group that had samples */

    /* their samples */
    struct run_cache cache;
    struct run_writer writer;
    struct tsdb_column column;
    struct run_cut *cuts;
    size_t cut_cap;
    uint64_t slice_samples;

    /* what finds them */
    struct directory_entry *entries;
    size_t entry_count;
    size_t entry_cap;
    size_t entry_next;
    struct merge_last *lasts;
    size_t last_count;
    size_t last_cap;
    size_t last_next;
    struct idset entry_ids;
    int64_t *places; /* of the sources */
    struct posting_union postings;
};

/* Names and ids of the sources. */
WARN_UNUSED bool merge_load(struct merge *merge, struct err *err);
/* One slice of each; they move merge->phase on when they are through. */
WARN_UNUSED bool merge_chunks(struct merge *merge, struct err *err);
WARN_UNUSED bool merge_directory(struct merge *merge, struct err *err);
WARN_UNUSED bool merge_postings(struct merge *merge, struct err *err);
