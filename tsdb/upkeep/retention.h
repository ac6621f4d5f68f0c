/* Dropping: windows past the retention, series rows nobody needs, idle series of the head. */
#pragma once

#include "tsdb/db.h"

/* Delete whole windows older than the retention, then the series rows only they needed. Under the
 * maintain lock. */
WARN_UNUSED bool retention_apply(struct tsdb *db, struct err *err);

/*
 * Let series leave the head that have nothing unsealed, are covered by window indexes and were not
 * looked up since the window before. A series that never had a sample gets its row first, so that
 * its ref stays good. Under the maintain lock.
 */
WARN_UNUSED bool retention_evict(struct tsdb *db, struct err *err);
