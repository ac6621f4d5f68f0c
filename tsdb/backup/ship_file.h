/*
 * Files of a shipped journal: SHIPDIR/<directory id>/<LSN>-<sequence>.ship, named by what comes
 * first in them. Bytes are drawn in FORMAT.md. Appended to, synced, never changed; what a crash
 * left half-written at the end of the newest is cut off before going on.
 */
#pragma once

#include "tsdb/db.h"
#include "tsdb/env/disk.h"

enum ship_kind {
    SHIP_RECORD = 1, /* a journal record, its body as it is */
    SHIP_TABLES = 2, /* table changes: see ship.h */
};

struct ship_entry {
    enum ship_kind kind;
    uint8_t version; /* of the journal record */
    uint64_t lsn;    /* of the record; for table changes: of the record before or with them */
    uint64_t seq;    /* table changes: counts them up without a gap; else 0 */
    int64_t now_ms;  /* of the commit */
    bool has_tables; /* a record whose commit has table changes too: the next entry */
    struct str body;
};

/* Up to where something was shipped. */
struct ship_position {
    uint64_t lsn;
    uint64_t seq;
};

/* ---- writing ---- */

struct ship_writer {
    char dir[PATH_MAX];
    uint8_t id[FORMAT_ID_BYTES];
    int fd; /* -1: no file open */
    char path[PATH_MAX];
    uint64_t bytes;
    int64_t start_ms;
    struct buf pending;
};

void ship_writer_init(struct ship_writer *writer,
                      const char *dir,
                      const uint8_t id[FORMAT_ID_BYTES]);
void ship_writer_finish(struct ship_writer *writer); /* what was not synced is lost */
/* Make the directory, find where it ends, cut off what is half-written. *ret_found false: it is
 * empty. */
WARN_UNUSED bool ship_writer_resume(struct ship_writer *writer,
                                    struct ship_position *ret,
                                    bool *ret_found,
                                    struct err *err);
/* In memory until ship_writer_sync(). */
void ship_writer_add(struct ship_writer *writer, const struct ship_entry *entry);
/* Write and fsync what was added; begins a new file when the one there is large or old enough.
 * `first` names it. After a failure: finish, init and resume. */
WARN_UNUSED bool ship_writer_sync(struct ship_writer *writer,
                                  struct ship_position first,
                                  int64_t now_ms,
                                  struct err *err);

/* ---- reading ---- */

struct ship_listing {
    struct ship_file {
        char name[64];
        struct ship_position first;
    } * files; /* ascending */

    size_t count;
    size_t cap;
};

WARN_UNUSED bool ship_list(const char *dir, struct ship_listing *ret, struct err *err);
void ship_listing_finish(struct ship_listing *listing); /* fine on a zeroed one */

/*
 * Calls visit for every entry of a file until it returns false. *ret_end is where the last whole
 * entry ends; entries that are cut off by the end of the file are left out when `may_be_torn`.
 * Errors: ERR_CORRUPT naming file and offset.
 */
struct ship_read {
    const char *path;
    const uint8_t *id; /* of the directory it must belong to */
    bool may_be_torn;
    bool (*visit)(void *ctx, const struct ship_entry *entry);
    void *ctx;
};

WARN_UNUSED bool ship_read_file(const struct ship_read *read, uint64_t *ret_end, struct err *err);
