/* Sealing: closed chunks of the head become segments of the store, and the journal shrinks. */
#pragma once

#include "tsdb/db.h"

struct seal_limits {
    int64_t end_window; /* open chunks of windows before it are closed and sealed too … */
    uint64_t lsn_idle;  /* … unless they got newer samples than this: somebody is backfilling */
    uint64_t lsn_cut;   /* open chunks with samples up to here as well; 0 = none */
};

/* Records after the newest one, whose LSN is returned, start a new epoch: once all samples up to it
 * are sealed, so is the journal trimmed. */
uint64_t seal_begin_epoch(struct tsdb *db);

/* Seal what the limits allow, in slices, then move applied_lsn and have the journal trimmed.
 * Under the maintain lock. */
WARN_UNUSED bool seal_chunks(struct tsdb *db, const struct seal_limits *limits, struct err *err);
/* All that was committed so far, also what would go on growing, and the index of it: the journal's
 * mark moves behind it. Under the maintain lock. ERR_UNAVAILABLE: a query open before goes on for
 * longer than 30 s. */
WARN_UNUSED bool seal_all(struct tsdb *db, struct err *err);
