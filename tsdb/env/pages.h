/*
 * The page structure of an LMDB file, looked at before LMDB maps it. LMDB 0.9 has no checksum of
 * pages and trusts what it reads: a damaged page header can end the process, or hide rows that
 * nobody then misses. (What rows hold is covered by their own checksums.)
 *
 * The file is read with pread, so nothing here can fault, and nobody may write to it meanwhile.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct pages_check {
    const char *path;   /* the file */
    const char *name;   /* "journal", "store" */
    uint64_t bytes_max; /* of pages; tables that would go beyond are left out, and then pages are
                           not accounted for */
    bool is_ours;       /* tables of names we do not know are told: ours, with a damaged name */
    bool is_repairing;  /* the head of a long value that is damaged is written again: the tree says
                           all of it, and LMDB would free other pages by it. Otherwise it is only
                           told; reading does not need it */
    /* Rows are missing or out of order, which LMDB survives. NULL ok. */
    void (*told)(void *ctx, const struct err *what);
    void *ctx;
};

struct pages_result {
    uint64_t pages; /* of the tables looked through */
    bool is_partial;
};

/*
 * Checks both metas, then every table reachable from the newer one: page numbers, kinds and bounds,
 * order of keys, counts of entries and pages; that no page is used twice or both used and free, and
 * none is lost. ERR_CORRUPT names the page: the file must not be opened. Missing or empty: true.
 */
WARN_UNUSED bool pages_check(const struct pages_check *check,
                             struct pages_result *ret,
                             struct err *err);

/*
 * The head page of LMDB's write transaction `txn_id` could not be written for want of space: make
 * sure that it is not on the disk, whatever a failed write left there, because the pages it leads
 * to are about to be written again. Returns 0, ENOSPC (the file says so already, but it is not sure
 * that the disk does: try again) or another errno (nothing is sure).
 */
WARN_UNUSED int pages_undo_head(const char *path, uint64_t txn_id);
