/*
 * Who reads right now: one slot per open querier with the snapshot it reads at. A reader never
 * waits for a writer nor a writer for a reader: slots are words that each side sets and looks at.
 *
 * What this is for
 *   snapshots   the committer remembers, per series, where the snapshots that are open end;
 *               sealing leaves alone what one of them must not see yet. One that has been open for
 *               too long is ended instead: its querier then answers with an error.
 *   memory      what readers may still look at without a lock is retired instead of freed, under
 *               the epoch of that moment, and freed when every open slot is of a later one.
 *
 * Threads: any, for every function, unless stated.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define READER_SLOTS_MAX 320 /* open at once */

struct reader_slot {
    _Atomic uint64_t state; /* private; see readers.c */
    _Atomic uint64_t epoch;
    _Atomic int64_t since_ns;
};

struct readers {
    _Atomic uint64_t epoch;
    _Atomic uint32_t end; /* slots from here on were never used */
    struct reader_slot slots[READER_SLOTS_MAX];
};

void readers_init(struct readers *readers);

/* Open a slot at the newest snapshot, *visible_lsn. NULL: READER_SLOTS_MAX are open. */
struct reader_slot *readers_enter(struct readers *readers,
                                  const _Atomic uint64_t *visible_lsn,
                                  int64_t now_ns,
                                  uint64_t *ret_lsn);
void readers_leave(struct reader_slot *reader);
/* Was it ended (readers_end)? Asked after reading: what was read before may then be of a later
 * snapshot. */
bool reader_is_ended(const struct reader_slot *reader);

uint32_t readers_count(struct readers *readers);

/* The snapshots open now, those that were ended left out. */
struct snapshots {
    size_t count;
    uint64_t lsns[READER_SLOTS_MAX]; /* ascending, unique */
};

void readers_snapshots(struct readers *readers, struct snapshots *ret);
/* Is there one with from <= lsn < to? */
bool snapshots_between(const struct snapshots *snapshots, uint64_t from, uint64_t to);

/* The oldest of them; visible_lsn, as it was before the call, when there is none. */
uint64_t readers_floor(struct readers *readers, uint64_t visible_lsn);
/* End every reader of a snapshot before visible_lsn that is open since before_ns or longer. Returns
 * how many. */
uint32_t readers_end(struct readers *readers, uint64_t visible_lsn, int64_t before_ns);

/* ---- memory ---- */

struct retired_item {
    void *memory;
    uint64_t epoch;
};

/* Threads: guarded by whoever owns the list. */
struct retired {
    struct readers *readers; /* NULL: nobody else looks; what is retired is freed at once */
    struct retired_item *items;
    size_t count;
    size_t cap;
    size_t enough; /* private: at that many it is tried to free some */
};

void retired_init(struct retired *retired, struct readers *readers);
void retired_finish(struct retired *retired);
/* Free it (mem_free) when nobody can look at it any more, which may be now. It must not be
 * reachable from now on. */
void retire(struct retired *retired, void *memory);
/* Free what can be freed. */
void retired_release(struct retired *retired);
/* Begin an epoch: what became unreachable before belongs to the one returned. */
uint64_t readers_epoch(struct readers *readers);
/* Epoch of the oldest slot, ended ones included; UINT64_MAX when none is open. */
uint64_t readers_epoch_floor(struct readers *readers);
