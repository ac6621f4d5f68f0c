/*
 * Samples older than the newest of their series: what becomes of them.
 *
 *   repeated   the same time and value is stored already, wherever: a duplicate, nothing to do
 *   conflict   another value is stored for that time: refused
 *   late       within out_of_order_ms of the newest sample of the series: accepted, to the side
 *              (side.h)
 *   otherwise  out of order: refused
 *
 * The window is measured from the series' own newest sample, so a client whose clock is ahead
 * cannot close it for others.
 */
#pragma once

#include "tsdb/db.h"

/* ---- judging: on the committer, under apply ---- */

struct late;
struct late *late_create(struct tsdb *db);
void late_destroy(struct late *late);

/*
 * The verdict; TSDB_ACCEPTED: to the side. Samples the group accepted before but did not publish
 * are known by late_note() alone.
 */
enum tsdb_outcome late_judge(struct late *late,
                             const struct series *series,
                             uint32_t handle,
                             struct sample sample);

/* A sample this group accepted, in order or late. */
void late_note(struct late *late, uint32_t handle, struct sample sample);

/* The group is judged: forget its samples, end the transaction. */
void late_end_group(struct late *late);

/* ---- replay ---- */

/*
 * The journal may give back samples that are sealed already: take those out of the side. Replay
 * calls it at the end, and in between when the side grows beyond SIDE_BYTES_SOFT. Nobody else uses
 * the store yet.
 */
void late_drop_sealed(struct tsdb *db, MDB_txn *store_txn);
