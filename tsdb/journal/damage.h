/*
 * Damage found on disk. Whoever meets a row whose bytes are not what was written leaves it out,
 * notes it here, and serves the rest: it is counted by kind, told to the program once per place
 * (tsdb_options.on_damage), and what could be of use to somebody is copied to DIR/quarantine/.
 * Nothing is repaired in place.
 *
 * Threads: any. The lock is a leaf.
 */
#pragma once

#include <pthread.h>

#include "base/err.h"
#include "base/metric.h"
#include "base/str.h"
#include "tsdb/head/u64map.h"

enum damage_kind {
    DAMAGE_RECORD,   /* journal: a record, or part of one */
    DAMAGE_TABLE,    /* journal: a row of a state table */
    DAMAGE_STATE,    /* store: meta/state */
    DAMAGE_SERIES,   /* store: labels, last window of a series */
    DAMAGE_WINDOW,   /* store: counts of a window */
    DAMAGE_ROW,      /* store: chunk references of a series in a window */
    DAMAGE_SEGMENT,  /* store: a segment or a chunk in it */
    DAMAGE_POSTINGS, /* store: the index of a window */
    DAMAGE_ROLLUP,   /* store: a rollup or its mark */
    DAMAGE_PAGES,    /* either: rows lost or misplaced in a table's pages */
    DAMAGE_KIND_COUNT,
};

struct damage {
    pthread_mutex_t lock;
    struct u64map told; /* guarded by lock: hashes of the texts */
    uint64_t count;     /* guarded by lock */
    struct metric *metrics[DAMAGE_KIND_COUNT];
    void (*report)(void *ctx, const char *what); /* may be NULL */
    void *ctx;
};

struct tsdb;

void damage_init(struct damage *damage, struct metric_registry *registry);
void damage_finish(struct damage *damage);

const char *damage_kind_to_string(enum damage_kind kind); /* "journal_record" … */

/* Count, and tell unless the same text was told before. */
void damage_note(struct tsdb *db, enum damage_kind kind, const struct err *what);

uint64_t damage_count(struct damage *damage);

/*
 * Keep a copy of damaged bytes in DIR/quarantine/NAME, unless there is one already or the folder
 * holds QUARANTINE_BYTES_MAX. A failure is only told: the damage itself matters more.
 */
#define QUARANTINE_BYTES_MAX ((uint64_t)256 << 20)

void damage_keep(struct tsdb *db, const char *name, struct str bytes);
