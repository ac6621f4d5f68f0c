/*
 * Replaying in two steps at once: the thread that walks the journal finds the series of a sample
 * and brings new ones into the head; a second one appends, in the order of the journal. Memory is
 * bounded by a few blocks of samples.
 *
 * Threads: one walker from begin to end; nobody else appends meanwhile.
 */
#pragma once

#include "tsdb/db.h"

struct replay;

WARN_UNUSED bool replay_begin(struct tsdb *db, struct replay **ret, struct err *err);
/* A sample of an in-order run; LSNs ascend. What is sealed already is left out. */
void replay_add(struct replay *replay, series_ref_t ref, struct sample sample, uint64_t lsn);
/* What is added from here on was not judged before it was written (defer.h). */
void replay_set_deferred(struct replay *replay, bool is_deferred);
/* Everything added is in the head when it returns. */
void replay_flush(struct replay *replay);
/* The same, for good. */
void replay_end(struct replay *replay);
