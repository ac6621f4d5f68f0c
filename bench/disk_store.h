/*
 * A store in virtual time for the benchmark of bytes on disk, and what its directory takes.
 * Whatever fails ends the program.
 */
#pragma once

#include "base/clock.h"
#include "tsdb/tsdb.h"

struct disk_store {
    struct fake_clock clock;
    struct tsdb_options options;
    struct tsdb *db;
    char path[4096];
};

_Noreturn void disk_die(const char *what, const struct err *err);

/* In a new directory under /tmp, or in `directory` when it is not NULL. */
void disk_open(struct disk_store *store, const char *directory, int64_t now_ms);
void disk_close(struct disk_store *store);

struct tsdb_batch *disk_begin(struct disk_store *store);
/* Every sample must be taken. */
void disk_commit(struct disk_store *store, struct tsdb_batch *batch);

/* Let so much time pass in steps of half an hour, with maintenance after each. */
void disk_pass(struct disk_store *store, int64_t ms);
/* Let everything be sealed and merged, as with a process that has next to nothing to do. */
void disk_settle(struct disk_store *store);

/* One line: the directory, all files included. Returns the samples in it. */
double disk_report(struct disk_store *store, const char *when);
/* Where the bytes are, table by table; the store must be closed. */
void disk_report_tables(const struct disk_store *store, double samples);
