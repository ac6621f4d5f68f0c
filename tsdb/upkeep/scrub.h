/*
 * Scrubbing: the sealed rows nobody asks for are read again, slowly and for ever, so that damage is
 * told while a backup from before it still exists. One pass goes through every table of the store
 * and the state tables of the journal, row by row in key order:
 *
 *   - the checksum of every row over its key and bytes, segments included;
 *   - every series is found by its labels, and every pending row is there;
 *   - of every live part: its rows, chunks, samples (merged: series, bytes of segments) add up to
 *     what the part's own row says. That finds rows that are lost, and whole pages that came back
 *     as they once were.
 *
 * Damage is noted as reads note it (damage.h); nothing is changed. A pass stands in memory and, now
 * and then, in the store, so that restarts do not begin it again.
 * Threads: under the maintain lock.
 */
#pragma once

#include "tsdb/db.h"

struct scrub;

/* The work of one tick: a bounded number of bytes, or the rest between two passes. Failures are
 * noted as damage. */
void scrub_tick(struct tsdb *db);
/* A whole pass, from the start. */
void scrub_pass(struct tsdb *db);
void scrub_destroy(struct scrub *scrub); /* NULL ok */
