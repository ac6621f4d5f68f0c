/*
 * Merging: samples of several parts become one merged part, its series in metric order (metric
 * name, labels without `le`, `le` as a number), so that a panel's chunks lie side by side; repeated
 * samples become one. Finished windows are merged one by one, then a day's worth of them.
 *
 * A merge goes in steps, each with at most one short write transaction, and nothing is seen of it
 * before the last one. A crash leaves the sources as they are, and litter.
 * Threads: everything here is called under the maintain lock.
 */
#pragma once

#include "tsdb/db.h"
#include "tsdb/parts/part.h"

/* May change or empty the column of a series on its way; column->t_ms stays ascending. `labels` are
 * valid during the call. */
typedef void (*merge_filter_fn)(void *ctx,
                                uint64_t id,
                                struct labels labels,
                                struct tsdb_column *column);

struct merge_plan {
    struct part *sources; /* by age of what they hold: of equal times the earlier part's wins */
    size_t source_count;
    int64_t window_first; /* of the part that is made */
    int64_t window_end;
    merge_filter_fn filter; /* NULL: everything stays as it is */
    void *filter_ctx;
};

struct merge_limits {
    int64_t end_window; /* windows before it are finished, late samples included */
    int64_t now_ms;
    bool is_forced; /* do not wait for quiet or for enough to be worth it */
};

/* What to merge next; *ret_found is false when there is nothing. ret->sources is for merge_begin(),
 * or mem_free. */
WARN_UNUSED bool merge_choose(struct tsdb *db,
                              const struct merge_limits *limits,
                              struct merge_plan *ret,
                              bool *ret_found,
                              struct err *err);

struct merge;

/* Takes plan->sources in any case. Every source must be indexed (table pending). */
WARN_UNUSED bool merge_begin(struct tsdb *db,
                             const struct merge_plan *plan,
                             struct merge **ret,
                             struct err *err);
/* False: the merge cannot go on; destroy it. ERR_CORRUPT: a source is damaged, all stays. */
WARN_UNUSED bool merge_step(struct merge *merge, bool *ret_is_done, struct err *err);
void merge_destroy(struct merge *merge); /* done or not; NULL ok */

/* Begin, all steps. For callers that rewrite parts through a filter. */
WARN_UNUSED bool merge_run(struct tsdb *db, const struct merge_plan *plan, struct err *err);

/* One step of the merge that runs (db->merge), or of the next one. *ret_is_idle: nothing to do. A
 * source with damage is noted and left as it is. */
WARN_UNUSED bool merge_work(struct tsdb *db,
                            const struct merge_limits *limits,
                            bool *ret_is_idle,
                            struct err *err);
/* Give the running merge up; its litter is swept later. */
void merge_abandon(struct tsdb *db);

/* Does the running merge use this part? */
bool merge_uses(const struct merge *merge, int64_t place);

/* Mark a merged part dead, to be swept. */
WARN_UNUSED bool merge_drop_part(struct tsdb *db, int64_t place, struct err *err);
/* Delete what dead parts and unfinished merges left, slice by slice. */
WARN_UNUSED bool merge_sweep(struct tsdb *db, struct err *err);
